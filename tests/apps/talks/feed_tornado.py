"""A live feed in Tornado: one producer, and any number of WebSocket and event-stream clients.

    feed_tornado.py SOCKET

POST /feed/tornado is heard by all of /feed/tornado/ws and /feed/tornado/events.
"""
import asyncio
import os
import sys

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

listeners = set()       # what each does with a message


def publish(text):
    for listener in list(listeners):
        listener(text)
    return len(listeners)


class Producer(RequestHandler):
    def post(self):
        self.write({"process": os.getpid(), "heard by": publish(self.request.body.decode())})


class Events(RequestHandler):
    async def get(self):
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-store")
        await self.flush()
        self.waiting = asyncio.Queue()
        listeners.add(self.waiting.put_nowait)
        while (text := await self.waiting.get()) is not None:
            self.write(f"data: {text}\n\n")
            await self.flush()

    def on_connection_close(self):
        listeners.discard(self.waiting.put_nowait)
        self.waiting.put_nowait(None)


class Socket(WebSocketHandler):
    def open(self):
        listeners.add(self.write_message)

    def on_close(self):
        listeners.discard(self.write_message)


async def main(path):
    app = Application([("/feed/tornado", Producer), ("/feed/tornado/events", Events),
                       ("/feed/tornado/ws", Socket)])
    HTTPServer(app, xheaders=True).add_socket(bind_unix_socket(path))
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
