"""The routes of the matrix in Tornado: app.py ADDRESS"""
import asyncio

import gates
import listen
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler


class Hello(RequestHandler):
    def get(self):
        request = self.request
        self.write({"scheme": request.protocol, "host": request.host,
                    "client": request.remote_ip})

    head = get


class Echo(RequestHandler):
    def post(self):
        self.set_header("Content-Type", "application/octet-stream")
        self.write(self.request.body)


class Item(RequestHandler):
    def put(self):
        self.write({"bytes": len(self.request.body)})

    def delete(self):
        self.set_status(204)


class Poll(RequestHandler):
    async def get(self, name):
        self.write(await gates.poll_async(name))


class Steps(RequestHandler):
    async def get(self, kind, name, count):
        self.set_header("Content-Type",
                        "text/event-stream" if kind == "events" else "text/html")
        made = gates.event if kind == "events" else gates.part
        async for piece in gates.steps_async(made, name, int(count)):
            self.write(piece)
            await self.flush()


class Bytes(RequestHandler):
    def get(self, count):
        self.set_header("Content-Type", "application/octet-stream")
        self.write(gates.pattern(int(count)))


class Socket(WebSocketHandler):
    def prepare(self):
        if self.path_args == ["refuse"]:
            self.send_error(403)

    def open(self, name):
        self.name = name

    def on_message(self, message):
        if isinstance(message, str) and message.startswith("close "):
            self.close(int(message[6:]))
        else:
            self.write_message(message, binary=isinstance(message, bytes))

    def on_close(self):
        gates.tell(self.name, self.close_code)


async def main():
    app = Application([(r"/hello", Hello), (r"/echo", Echo), (r"/item", Item),
                       (r"/poll/(.*)", Poll), (r"/(events|stream)/(.*)/(.*)", Steps),
                       (r"/bytes/(.*)", Bytes), (r"/ws/(.*)", Socket)])
    # "Running behind a load balancer": xheaders
    server = HTTPServer(app, xheaders=True, idle_connection_timeout=1)
    sock = listen.listener()
    sock.setblocking(False)
    server.add_socket(sock)
    await asyncio.Event().wait()

asyncio.run(main())
