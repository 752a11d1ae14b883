"""A synchronous app without a framework, for the tests of slots, queues and spools.

Where a test must know that a worker is at work, and for how long, the worker calls home: it tells
the socket GATE what it does, and waits for a word. Requests with an id are written to the file
JOURNAL as they begin.
"""
import hashlib
import json
import os
import socket
import threading
import time

lock = threading.Lock()
running = {"now": 0, "peak": 0}


def call(word):
    with socket.socket(socket.AF_UNIX) as home:
        home.connect(os.environ["GATE"])
        home.sendall(word.encode() + b"\n")
        return home.recv(100)


def record(environ):
    """The request's id, once it is in the journal."""
    number = environ["QUERY_STRING"]
    fd = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{environ['REQUEST_METHOD']} {number}\n".encode())
    os.close(fd)
    return number


def echo(environ, start, *_):
    """What came, as the app sees it."""
    body = hashlib.sha256()
    count = 0
    while piece := environ["wsgi.input"].read(65536):
        body.update(piece)
        count += len(piece)
    told = {k: v for k, v in environ.items() if isinstance(v, str)}
    return whole(start, json.dumps({"environ": told, "bytes": count, "sha256": body.hexdigest(),
                                    "now_us": time.time_ns() // 1000}))


def whole(start, text):
    body = text.encode()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def task(environ, start, ms):
    """/task/MS?ID: a database that takes its time."""
    with lock:
        running["now"] += 1
        running["peak"] = max(running["peak"], running["now"])
    number = record(environ)
    time.sleep(int(ms) / 1000)
    with lock:
        running["now"] -= 1
    return whole(start, number)


def peak(_, start):
    """How many were at /task at once so far, in this process."""
    return whole(start, str(running["peak"]))


def hold(_, start, name):
    """/hold/NAME: until the test lets it go."""
    call(name)
    return whole(start, name)


def some_bytes(_, start, count):
    start("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", count)])
    piece = bytes(range(256)) * 256
    left = int(count)
    while left > 0:
        yield piece[:left]
        left -= len(piece)


def flow(environ, start, count, ms):
    """/flow/COUNT/MS?ID: a page that is made piece by piece."""
    number = record(environ)
    start("200 OK", [("Content-Type", "text/plain")])
    for _ in range(int(count)):
        yield number.encode() + b"\n"
        time.sleep(int(ms) / 1000)


def events(_, start, count, ms):
    """/sse/COUNT/MS: each says when it was written."""
    start("200 OK", [("Content-Type", "text/event-stream")])
    for _ in range(int(count)):
        yield f"data: {time.time_ns()}\n\n".encode()
        time.sleep(int(ms) / 1000)


def steps(_, start, count):
    """/steps/COUNT: pieces, of which each waits until the test has the one before."""
    start("200 OK", [("Content-Type", "text/plain")])
    for number in range(int(count)):
        yield f"step {number}\n".encode()
        call(f"{number}")


ROUTES = {"echo": echo, "task": task, "peak": peak, "hold": hold, "bytes": some_bytes,
          "flow": flow, "sse": events, "steps": steps}


def app(environ, start):
    _, name, *words = environ["PATH_INFO"].split("/")
    return ROUTES[name](environ, start, *words)
