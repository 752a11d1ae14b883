"""Servers that refuse, reset, hang, talk rubbish and fall ill, all at once and at random, under
several workers: nothing hangs, no answer is another's, nothing that may not be is executed twice,
and once they are well again every request is answered."""
import collections
import contextlib
import random
import socket
import struct
import threading
import time

import harness
from edge import FULL
from harness import Failed, Front, alone, check, equal, within
from test_sticky import secret
from wire import Client, Origin

CLIENTS = 16
SECONDS = 30 if FULL else 6
MOODS = ["well", "well", "resets", "hangs", "slow", "500 Oops", "breaks off", "rubbish", "ill"]
SOON = """
response_timeout = 300ms
connect_timeout = 300ms
queue_timeout = 3s
eject_time = 200ms
eject_time_max = 1s
"""


class Wild:
    """An origin that does with each request what its mood says."""
    def __init__(self):
        self.mood, self.there = "well", True
        self.seen = collections.Counter()       # of requests that may not be repeated
        self.origin = Origin(self.serve)

    def serve(self, exchange):
        with contextlib.suppress(Failed, OSError):      # gyre may give up at any time
            while (request := exchange.request()) and self.answer(exchange, request, self.mood):
                pass

    def answer(self, exchange, request, mood):
        """False: the connection ends."""
        if request.target == "/health":
            exchange.answer("", status="500 Ill" if mood == "ill" else "200 OK")
            return True
        if request.method == "POST":
            self.seen[request.target] += 1
        if mood in ("resets", "breaks off"):
            exchange.send("HTTP/1.1 200 OK\r\nContent-Le" if mood == "breaks off" else "")
            exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif mood == "hangs":
            time.sleep(0.6)
        elif mood == "rubbish":
            exchange.send("no response\r\n\r\n")
        else:
            time.sleep(0.02 if mood == "slow" else 0)
            exchange.answer(request.target, status=mood if mood[0] == "5" else "200 OK")
            return True
        return False

    def change(self, luck):
        if not self.there:
            self.come()
        elif luck.random() < 0.3:
            self.there = False
            self.origin.refuse()
        else:
            self.mood = luck.choice(MOODS)

    def come(self):
        if not self.there:
            self.there = True
            self.origin.listen()


class Asker:
    """A client that keeps its cookie, and now and then goes away in the midst of a request."""
    def __init__(self, address, number):
        self.address, self.number, self.luck = address, number, random.Random(number)
        self.cookie, self.count, self.stopping = None, 0, False
        self.statuses, self.failures = collections.Counter(), []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stopping:
                with Client(self.address) as client:
                    while not self.stopping and self.ask(client):
                        pass
        except Exception as failure:            # pylint: disable=broad-except
            self.failures.append(failure)

    def ask(self, client):
        self.count += 1
        method, target = self.luck.choice(["GET", "PUT", "POST"]), f"/{self.number}/{self.count}"
        body = b"" if method == "GET" else b"b" * self.luck.choice([1, 70000])
        client.request(method, target, *([f"Cookie: {self.cookie}"] if self.cookie else []),
                       body=body)
        if self.luck.random() < 0.05:
            client.reset()
            return False
        got = client.response(method)
        self.statuses[got.status] += 1
        check(got.status != 200 or got.body.decode() == target, "an answer to another one:", got)
        self.cookie = (got.get("Set-Cookie") or self.cookie or "").partition(";")[0]
        return got.get("Connection") != "close" and self.luck.random() < 0.8


def counted(askers):
    return sum((a.statuses for a in askers), collections.Counter())


def serves_all(askers):
    """True when the next few hundred requests are all answered well."""
    before = counted(askers)
    harness.until(lambda: counted(askers).total() > before.total() + 300, "more answers")
    return set(counted(askers) - before) == {200}


def storm(backend):
    servers, luck = [Wild() for _ in range(3)], random.Random(1)
    with Front(*(s.origin.address for s in servers), workers=4, glob=f"secret_file = {secret()}",
               backend=backend + SOON, expect=["is ejected|is ill"]) as front:
        front.gyre.expect += ["stays ejected|ejected no more|is ejected|is ill"]
        askers = [Asker(front.address, i) for i in range(CLIENTS)]
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:          # the time itself is what is tested
            time.sleep(luck.random() * 0.3)
            luck.choice(servers).change(luck)
        for server in servers:
            server.mood = "well"
            server.come()
        harness.until(lambda: serves_all(askers), "them to answer everything")
        for asker in askers:
            asker.stopping = True
        for asker in askers:
            asker.thread.join(harness.WAIT_S)
            check(not asker.thread.is_alive(), "a request hangs")
            equal(asker.failures, [], "failures")
        statuses = counted(askers)
    check(all(n == 1 for n in sum((s.seen for s in servers), collections.Counter()).values()),
          "a POST was executed twice")
    return str(dict(statuses))


@alone
@within(120)
def test_sync():
    return storm("slots = 2\ncheck = /health\ncheck_interval = 50ms\ncheck_timeout = 200ms\n"
                 "sticky = cookie\nslow_start = 1s")


@alone
@within(120)
def test_async():
    return storm("mode = async\nbalance = round_robin\ncheck = /health\ncheck_interval = 50ms\n"
                 "eject = connect, reset, timeout, 5xx\neject_after = 2\nretries = 2\n"
                 "slow_start = 500ms")


@alone
@within(120)
def test_hash():
    return storm("slots = 6\nidle_holds_slot = yes\nbalance = hash\nhash_on = path\ncheck = tcp\n"
                 "check_interval = 20ms\neject_after = 1")
