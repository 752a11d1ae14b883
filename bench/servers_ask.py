"""The client of bench/servers: asks at a fixed rate, whatever the answers do, and keeps what became
of every single request. Latencies count from when a request was due."""
import asyncio
import time

HEAD = 'Host: bench.test\r\n'
GET = f'GET /work HTTP/1.1\r\n{HEAD}\r\n'.encode()
POST = f'POST /work HTTP/1.1\r\n{HEAD}Content-Length: 4\r\n\r\nbody'.encode()
POST_EACH = 5           # every fifth is a POST
GIVE_UP_S = 8


class Answer(asyncio.Protocol):
    """A connection, and the answer of the request that it carries, if any."""
    def __init__(self, client):
        self.client, self.had, self.waiter, self.transport = client, b'', None, None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.had += data
        head, end, body = self.had.partition(b'\r\n\r\n')
        if not end:
            return
        fields = head.lower()
        at = fields.find(b'content-length:')
        if at >= 0 and len(body) >= int(fields[at + 15:].split(b'\r\n', 1)[0]):
            self.over(head[9:12].decode(), b'\r\nconnection: close' not in fields)

    def connection_lost(self, _):
        if self in self.client.idle:
            self.client.idle.remove(self)
        # A whole head without a length: the answer ends with its connection.
        self.over(self.had[9:12].decode() if b'\r\n\r\n' in self.had else 'cut', False)

    def over(self, said, keep):
        self.had = b''
        if keep:
            self.client.idle.append(self)
        else:
            self.transport.close()
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(said)
        self.waiter = None


class Client:
    def __init__(self, port, rate, seconds):
        self.port, self.rate, self.seconds = port, rate, seconds
        self.idle, self.samples, self.late_s = [], [], []

    async def ask(self, due, post):
        loop, connection = asyncio.get_running_loop(), None
        try:
            async with asyncio.timeout_at(loop.time() + GIVE_UP_S):
                if self.idle:
                    connection = self.idle.pop()
                else:
                    _, connection = await loop.create_connection(lambda: Answer(self),
                                                                 '127.0.0.1', self.port)
                connection.waiter = loop.create_future()
                connection.transport.write(POST if post else GET)
                said = await connection.waiter
        except TimeoutError:
            said = 'none'
            if connection:
                connection.transport.abort()
        except OSError:
            said = 'refused'
        self.samples.append((due, time.monotonic(), post, said))

    async def run(self, start, offset_s):
        """offset_s: proxies that are asked at once are asked in turns."""
        tasks = []
        for n in range(int(self.rate * self.seconds)):
            due = start + offset_s + n / self.rate
            await asyncio.sleep(max(0, due - time.monotonic()))
            self.late_s.append(time.monotonic() - due)
            tasks.append(asyncio.create_task(self.ask(due, n % POST_EACH == POST_EACH - 1)))
        await asyncio.gather(*tasks)
        for connection in list(self.idle):
            connection.transport.abort()
