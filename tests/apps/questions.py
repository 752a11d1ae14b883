"""What every row is asked over HTTP. A question is a function of a Visit; it raises what is wrong.

Nothing waits for a time to pass where a gate can say that something has happened.
"""
import contextlib
import json
import os
import random
import ssl
import threading
import time

import gates
import harness
from harness import Failed, check, equal, until
from rows import ENDS_AT_ONCE

QUESTIONS = {}          # name: function, in the order of the table
MIB = 1 << 20
STEPS = 5               # of a stream
SPOOF = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: gopher", "X-Forwarded-Host: evil.test",
         "Forwarded: for=6.6.6.6;proto=gopher;host=evil.test"]


def question(name, of=None):
    """of: only of rows that have more to be asked."""
    def mark(function):
        function.of = of
        QUESTIONS[name] = function
        return function
    return mark


def good(response, status=200):
    equal(response.status, status, f"status ({response.body[:300]!r})")
    return response


class Gate:
    """One of gates.py, from the test's side."""
    count = 0

    def __init__(self):
        Gate.count += 1
        self.name = f"gate{Gate.count}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Whatever went wrong, nobody waits at it any more."""
        for step in range(STEPS + 1):
            self.open(step)

    def open(self, step=0):
        harness.write(os.path.join("gates", f"{self.name}.{step}"), "")

    def told(self):
        """The lines that the app has told."""
        with contextlib.suppress(FileNotFoundError):
            return harness.read(os.path.join("gates", self.name)).split()
        return []

    def wait_here(self, count):
        try:
            until(lambda: len(self.told()) >= count, f"{count} requests at the app")
        except Failed as failure:
            raise Failed(f"{failure}; there were {len(self.told())}") from None


@question("GET")
def get(visit):
    with visit.client() as client:
        said = good(client.ask("GET", "/hello"))
        check("scheme" in json.loads(said.body), said)
        equal(client.ask("GET", "/not/here").status in (403, 404), True, "status of no page")


@question("HEAD")
def head(visit):
    """The same head as GET's, no body, and the connection goes on."""
    with visit.client() as client:
        length = good(client.ask("GET", "/hello")).get("Content-Length")
        for _ in range(2):
            said = good(client.ask("HEAD", "/hello"))
            check(said.get("Content-Length") in (length, None), said, length)
            good(client.ask("GET", "/hello"))


@question("POST 4 MiB")
def post(visit):
    """Slowly, by more clients than there are workers; meanwhile others are served."""
    body = gates.pattern(4 * MIB)
    clients = [visit.client() for _ in range(min(visit.row.at_once, 8) + 1)]
    for client in clients:
        client.send(f"POST /echo HTTP/1.1\r\nHost: one.test\r\nContent-Length: {len(body)}\r\n\r\n",
                    body[:1000])
    with visit.client() as other:
        good(other.ask("GET", "/hello"))
    for client in clients[1:]:
        client.close()
    for at in range(1000, len(body), 65536):
        clients[0].send(body[at:at + 65536])
        time.sleep(0.002)       # slowness is what is asked for
    check(good(clients[0].response()).body == body, "the echo is another")
    clients[0].close()


@question("chunked")
def chunked(visit):
    """An upload whose length is not told."""
    body = gates.pattern(300_000)
    with visit.client() as client:
        client.send("POST /echo HTTP/1.1\r\nHost: one.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 7001):
            piece = body[at:at + 7001]
            client.send(f"{len(piece):x}\r\n", piece, "\r\n")
        client.send("0\r\n\r\n")
        check(good(client.response()).body == body, "the echo is another")
        good(client.ask("GET", "/hello"))


@question("PUT DELETE")
def put_and_delete(visit):
    with visit.client() as client:
        for size in (0, 1, 100_000):
            said = good(client.ask("PUT", "/item", *([] if size else ["Content-Length: 0"]),
                                   body=b"x" * size))
            equal(json.loads(said.body), {"bytes": size}, "what came")
        good(client.ask("DELETE", "/item"), 204)
        client.expect_open()
        good(client.ask("GET", "/hello"))


class Pieces:
    """A response that is read as it comes."""
    def __init__(self, client):
        self.client = client
        self.head = good(client.head())
        self.is_chunked = self.head.get("Transfer-Encoding") is not None
        self.have, self.ended = b"", False
        self.left = int(self.head.get("Content-Length") or -1)

    def take(self, count):
        while len(self.have) < count:
            check(not self.ended, "it ended after", self.have)
            self.more()
        taken, self.have = self.have[:count], self.have[count:]
        return taken

    def more(self):
        if not self.is_chunked:
            if self.left != 0 and not self.client.have:
                self.client.fill()
            self.have += self.client.have
            self.left -= len(self.client.have)
            self.ended = self.left == 0 or self.client.ended
            self.client.have = b""
            return
        size = int(self.client.take_until(b"\r\n").split(b";")[0], 16)
        self.have += self.client.take(size)
        self.ended = size == 0
        equal(self.client.take(2), b"\r\n", "the end of a chunk")

    def expect_end(self):
        while not self.ended:
            self.more()
        equal(self.have, b"", "more than was asked for")


def stepwise(visit, path, made, kind):
    """Each piece must come before the next may be made."""
    with Gate() as gate, visit.client() as client:
        client.request("GET", f"/{path}/{gate.name}/{STEPS}")
        gate.open(0)
        pieces = Pieces(client)
        check(pieces.head.get("Content-Type").startswith(kind), pieces.head)
        for number in range(STEPS):
            wanted = made(number)
            equal(pieces.take(len(wanted)), wanted, f"piece {number}")
            gate.open(number + 1)
        pieces.expect_end()


@question("SSE")
def events(visit):
    stepwise(visit, "events", gates.event, "text/event-stream")


@question("long poll")
def long_poll(visit):
    with Gate() as gate, visit.client() as client:
        client.request("GET", f"/poll/{gate.name}")
        gate.wait_here(1)
        client.expect_open()
        gate.open()
        equal(good(client.response()).body, b"open\n", "the answer")


@question("stream")
def stream(visit):
    stepwise(visit, "stream", gates.part, "text/html")


@question("slow reader")
def slow_reader(visit):
    """8 MiB for more clients than there are workers; meanwhile others are served."""
    size = 8 * MIB
    wanted = gates.pattern(size)
    clients = [visit.client(receive=65536) for _ in range(min(visit.row.at_once, 4) + 1)]
    for client in clients:
        client.request("GET", f"/bytes/{size}")
    pieces = [Pieces(client) for client in clients]
    with visit.client() as other:
        good(other.ask("GET", "/hello"))
    for client in clients[1:]:
        client.close()
    client, got = pieces[0], 0
    while got < size:
        check(client.take(65536) == wanted[got:got + 65536], "other bytes than were sent, at", got)
        got += 65536
        time.sleep(0.001)       # slowness is what is asked for
    client.expect_end()
    clients[0].close()


@question("forwarded")
def forwarded(visit):
    """What the app believes, by its framework's own way, also where a client lies."""
    with visit.client() as client:
        wanted = {"scheme": "https" if visit.tls else "http", "host": "one.test",
                  "client": client.sock.getsockname()[0]}
        for lies in ([], SPOOF):
            equal(json.loads(good(client.ask("GET", "/hello", *lies)).body), wanted, "believed")


@question("keep-alive")
def keep_alive(visit):
    with visit.client() as client:
        for number in range(30):
            good(client.ask("GET", "/hello"))
            if number % 3 == 0:
                equal(good(client.ask("POST", "/echo", body=b"x" * number + b"y")).body,
                      b"x" * number + b"y", "the echo")
        client.expect_open()


@question("200 at once")
def many_at_once(visit):
    """All of them wait; as many as the server takes are with it."""
    clients = []
    with Gate() as gate:
        for _ in range(200):
            clients.append(visit.client())
            clients[-1].request("GET", f"/poll/{gate.name}")
        gate.wait_here(visit.row.at_once)
        check(len(gate.told()) <= visit.row.slots(), "requests at the app:", len(gate.told()))
        for client in clients:
            client.expect_open()
    for client in clients:
        equal(good(client.response()).body, b"open\n", "the answer")
        client.close()


@question("client gone")
def client_gone(visit):
    """Within the request, while it waits, within the response: nobody else has less of it."""
    workers = min(visit.row.at_once, 8)
    with Gate() as gate:
        waiting = [visit.client() for _ in range(workers)]
        for client in waiting:
            client.request("GET", f"/poll/{gate.name}")
        gate.wait_here(workers)
        for client in waiting:
            client.reset()
    for _ in range(workers):
        client = visit.client()
        client.send("POST /echo HTTP/1.1\r\nHost: one.test\r\nContent-Length: 99999\r\n\r\nhalf")
        client.reset()
        client = visit.client()
        client.request("GET", f"/bytes/{MIB}")
        client.take(1000)
        client.reset()
    for _ in range(workers + 1):
        with visit.client() as client:
            good(client.ask("GET", "/hello"))


@question("idle close")
def idle_close(visit):
    """The server closes its idle connections, unannounced, about when the next requests come."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(visit.client()) for _ in range(24)]
        for client in clients:
            client.request("GET", "/hello")
        for client in clients:
            good(client.response())
        time.sleep(0.9)         # each server keeps them for 1 s, where that can be said
        for client in clients:
            client.request("GET", "/hello")
            time.sleep(0.01)
        for client in clients:
            good(client.response())


class Load:
    """Clients that go on asking; what they had that was not right."""
    MIX = [("GET", "/hello", b""), ("PUT", "/item", b"x" * 1000), ("GET", "/hello", b""),
           ("DELETE", "/item", b""), ("GET", "/bytes/100000", b"")]

    def __init__(self, visit, count=6):
        self.visit, self.stopped = visit, False
        self.done, self.wrong = [0] * count, []
        self.cut, self.lost = 0, 0
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, index):
        choose = random.Random(index).choice
        while not self.stopped:
            method, target, body = choose(self.MIX)
            try:
                with self.visit.client() as client:
                    for _ in range(5):
                        said = client.ask(method, target, body=body)
                        if said.status == 502:
                            self.lost += 1
                        elif said.status not in (200, 204):
                            self.wrong.append(f"{method} {target}: {said!r}")
                        self.done[index] += 1
            except (ConnectionError, ssl.SSLEOFError):
                self.cut += 1
            except Exception as failure:    # pylint: disable=broad-except
                self.wrong.append(f"{method} {target}: {failure!r}")

    def wait_more(self, count):
        goal = sum(self.done) + count
        until(lambda: sum(self.done) >= goal or self.wrong, f"{count} more answers", 40)

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join(harness.WAIT_S)


@question("restart")
def restart(visit):
    """The server is restarted in order under load, twice."""
    load = Load(visit)
    try:
        for _ in range(2):
            load.wait_more(50)
            visit.server.restart()
        load.wait_more(50)
    finally:
        load.stop()
    said = f"of {sum(load.done)} answers {load.cut} were cut, {load.lost} were 502"
    equal(load.wrong[:3], [], said)
    # What one restart can hit at most is what each client asks just then.
    most = 2 * len(load.threads) if visit.row.but.get("restart") == ENDS_AT_ONCE else 0
    check(load.cut + load.lost <= most, said)


@question("oddities", of="oddities")
def oddities(visit):
    """A body behind HEAD and behind 204, an unannounced close: the next one has its own answer."""
    with visit.client() as client:
        good(client.ask("HEAD", "/odd/head-body"))
        good(client.ask("GET", "/hello"))
        good(client.ask("GET", "/odd/no-content"), 204)
        good(client.ask("GET", "/hello"))
        for _ in range(5):
            equal(good(client.ask("GET", "/odd/closes")).body, b"right", "the body")
            good(client.ask("GET", "/hello"))
        client.expect_open()


