"""A live feed on gevent: one producer, and any number of WebSocket and event-stream clients.

    feed_gevent.py SOCKET

POST /feed/gevent is heard by all of /feed/gevent/ws and /feed/gevent/events. Blocking code, as it
is written for threads; gevent makes each wait a switch.
"""
import json
import os
import sys

import gevent
from gevent import socket
from gevent.pywsgi import WSGIServer
from gevent.queue import Queue
from geventwebsocket.exceptions import WebSocketError
from geventwebsocket.handler import WebSocketHandler

listeners = set()       # a queue for each client


def produce(environ, start_response):
    text = environ["wsgi.input"].read().decode()
    for queue in listeners:
        queue.put(text)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"process": os.getpid(), "heard by": len(listeners)}).encode()]


def messages():
    """All that is produced from now on."""
    queue = Queue()
    listeners.add(queue)
    try:
        yield None
        while True:
            yield queue.get()
    finally:
        listeners.discard(queue)


def events(_, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream"),
                              ("Cache-Control", "no-store")])
    for text in messages():
        yield b": welcome\n\n" if text is None else f"data: {text}\n\n".encode()


def tell(ws):
    for text in messages():
        if text is not None:
            ws.send(text)


def websocket(environ, _):
    """Tells in one greenlet, and hears in another when the client goes."""
    ws = environ["wsgi.websocket"]
    telling = gevent.spawn(tell, ws)
    try:
        while ws.receive() is not None:
            pass
    except WebSocketError:
        pass            # it went without a word
    telling.kill()
    return []


ROUTES = {"/feed/gevent": produce, "/feed/gevent/events": events, "/feed/gevent/ws": websocket}


def app(environ, start_response):
    route = ROUTES.get(environ["PATH_INFO"])
    if route is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"no such page\n"]
    return route(environ, start_response)


listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1024)
WSGIServer(listener, app, handler_class=WebSocketHandler, log=None).serve_forever()
