#!/usr/bin/python3
"""Makes real requests to the demo of the talks through gyre, and says what came back.

    visit_talks.py CERTIFICATE HTTPS-PORT HTTP-PORT
"""
import asyncio
import json
import sys
import time

import visit
import websockets
from visit import PATIENCE, ask, right

CLIENTS, MESSAGES, GREETED = 20, 10, 100


def crud(way):
    """Made, read, changed, deleted."""
    connection, path = way.connect(), "/packages/of-a-visit"

    def put(version):
        connection.request("PUT", path, json.dumps({"version": version}),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        right(json.loads(response.read())["version"] == version, f"status {response.status}")
    put("1")
    put("2")
    right(json.loads(ask(connection, "GET", path))["version"] == "2", "it was not changed")
    right("of-a-visit" in ask(connection, "GET", "/packages").decode(), "it is not in the list")
    for status in (204, 404):
        connection.request("DELETE", path)
        response = connection.getresponse()
        response.read()
        right(response.status == status, f"status {response.status}, not {status}")
    return "made, changed, read, listed, deleted"


def rand(way):
    connection = way.connect()
    names = [json.loads(ask(connection, "GET", "/rand"))["name"] for _ in range(40)]
    right(len(set(names)) > 1, f"always {names[0]}")
    return f"40 packages of the day, {len(set(names))} different ones, such as {names[0]}"


class Events:
    """A client of an event stream."""
    def __init__(self, way, path):
        self.way, self.path = way, path

    async def __aenter__(self):
        tls = {"ssl": self.way.tls, "server_hostname": "localhost"} if self.way.secure else {}
        self.reader, self.writer = await asyncio.open_connection("localhost", self.way.port, **tls)
        self.writer.write(f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        right(head.startswith(b"HTTP/1.1 200 "), f"the answer was {head[:60]!r}")
        return self

    async def __aexit__(self, *_):
        self.writer.close()

    async def recv(self):
        while True:
            line = await self.reader.readline()
            right(line, "the events ended")
            if line.startswith(b"data: "):
                return line[6:].decode().rstrip()


async def produce(way, path, clients):
    """Each message is heard by all; some may come late to the feed, and are waited for."""
    connection = way.connect()

    def post(text):
        return json.loads(ask(connection, "POST", path, text))["heard by"]
    deadline = time.monotonic() + PATIENCE
    while await asyncio.to_thread(post, "are you there?") < len(clients):
        right(time.monotonic() < deadline, "not all clients are at the feed")
    for number in range(MESSAGES):
        await asyncio.to_thread(post, f"message {number}")
    for client in clients:
        heard = []
        while len(heard) < MESSAGES:
            text = await client.recv()
            if text != "are you there?":
                heard.append(text)
        right(heard == [f"message {i}" for i in range(MESSAGES)], f"one has heard {heard}")


async def feed(way, path):
    tls = {"ssl": way.tls} if way.secure else {}
    sockets = [websockets.connect(way.url(path + "/ws", "ws"), **tls) for _ in range(CLIENTS)]
    clients = sockets + [Events(way, path + "/events") for _ in range(CLIENTS)]
    opened = await asyncio.gather(*[client.__aenter__() for client in clients])
    try:
        await produce(way, path, opened)
    finally:
        await asyncio.gather(*[client.__aexit__(None, None, None) for client in clients])
    return (f"{MESSAGES} messages, each heard by {CLIENTS} WebSocket and {CLIENTS} event-stream "
            "clients, in order")


def feed_of(name):
    return lambda way: asyncio.run(asyncio.wait_for(feed(way, f"/feed/{name}"), 2 * PATIENCE))


async def greet(way):
    """The three seconds pass for all of them at once."""
    async def one():
        async with Events(way, "/hello") as client:
            rest = await client.reader.readuntil(b"world\n")
            right(b"hello\n" in rest, f"it said {rest!r}")
    began = time.monotonic()
    await asyncio.gather(*[one() for _ in range(GREETED)])
    took = time.monotonic() - began
    right(2.9 < took < 3 * GREETED / 4 / 2, f"it took {took:.1f} s")
    return f"{GREETED} clients at once, each waits 3 s: {took:.1f} s in all"


def hello(way):
    return asyncio.run(asyncio.wait_for(greet(way), 3 * PATIENCE))


CHECKS = [("a package's life", crud), ("GET /rand", rand), ("feed on gevent", feed_of("gevent")),
          ("feed on Tornado", feed_of("tornado")), ("hello, sleep 3, world", hello)]

if __name__ == "__main__":
    sys.exit(visit.main(CHECKS))
