"""One of the three servers of bench/servers, with workers of its own for each port that it listens
on, so that proxies that are measured at once do not meet there.

    servers_app.py WORKERS WORK_MS PORT...

Lines that it reads say what it is from now on: well; slow (ten times); hung (takes connections and
requests, and never answers); 500 (says so at once); flapping (for half a second it is gone, with all
connections, and for half a second it is there)."""
import asyncio
import collections
import sys

SLOW, FLAP_S = 10, 0.5


class App:
    def __init__(self, work_s):
        self.work_s, self.state, self.servers, self.connections = work_s, 'well', [], set()
        self.flapping = None


class Workers:
    """Each serves one request at a time; more wait for one."""
    def __init__(self, app, count):
        self.app, self.idle, self.waiting = app, count, collections.deque()

    def take(self, connection):
        self.waiting.append(connection)
        self.next()

    def next(self):
        while self.idle and self.waiting:
            connection = self.waiting.popleft()
            if connection.transport.is_closing():
                continue
            self.idle -= 1
            work_s = self.app.work_s * (SLOW if self.app.state == 'slow' else 1)
            asyncio.get_running_loop().call_later(work_s, self.done, connection)

    def done(self, connection):
        self.idle += 1
        connection.answer()
        self.next()


class Connection(asyncio.Protocol):
    def __init__(self, app, workers):
        self.app, self.workers, self.had, self.transport = app, workers, b'', None

    def connection_made(self, transport):
        self.transport = transport
        self.app.connections.add(self)

    def connection_lost(self, _):
        self.app.connections.discard(self)

    def data_received(self, data):
        """One request at a time, and a POST has four bytes: see servers_ask.py."""
        self.had += data
        head, end, body = self.had.partition(b'\r\n\r\n')
        if end and len(body) >= (4 if head.startswith(b'POST') else 0):
            self.had = b''
            self.asked(head)

    def asked(self, head):
        if self.app.state == 'hung':
            return
        if self.app.state == '500' or head.startswith(b'GET /health'):
            self.answer()
        else:
            self.workers.take(self)

    def answer(self):
        status = {'hung': None, '500': b'500 Sorry'}.get(self.app.state, b'200 OK')
        if status and not self.transport.is_closing():
            self.transport.write(b'HTTP/1.1 ' + status + b'\r\nContent-Length: 3\r\n\r\nok\n')


async def listen(app, count, ports):
    loop = asyncio.get_running_loop()
    for port in ports:
        workers = Workers(app, count)
        app.servers.append(await loop.create_server(
            lambda workers=workers: Connection(app, workers), '127.0.0.1', port, backlog=1024))


async def flap(app, count, ports):
    while True:
        for server in app.servers:
            server.close()
        app.servers = []
        for connection in list(app.connections):
            connection.transport.abort()
        await asyncio.sleep(FLAP_S)
        await listen(app, count, ports)
        await asyncio.sleep(FLAP_S)


async def main(count, work_ms, *ports):
    app = App(work_ms / 1000)
    await listen(app, count, ports)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        app.state = line.decode().strip()
        if app.flapping:
            app.flapping.cancel()
            app.flapping = None
            if not app.servers:
                await listen(app, count, ports)
        if app.state == 'flapping':
            app.flapping = asyncio.create_task(flap(app, count, ports))


if __name__ == '__main__':
    asyncio.run(main(*map(int, sys.argv[1:])))
