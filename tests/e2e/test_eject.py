"""One of three servers is killed, hangs, says 500, comes and goes: what clients see of it, and how
soon it is asked again."""
import os
import re
import signal
import threading
import time

import harness
from edge import FULL, Gunicorn, Load
from harness import Front, alone, check, equal, until, within
from wire import Client, Origin

CLIENTS = 8
MIX = [("GET", "/task/5"), ("POST", "/task/5")]
ROUNDS = 10 if FULL else 2


def three(*servers, backend, expect=()):
    return Front(*(s.address for s in servers), workers=2, expect=[*expect],
                 backend="mode = async\nbalance = round_robin\n" + backend)


def gunicorns():
    return [Gunicorn("-w", "1", "-k", "gthread", "--threads", "8") for _ in range(3)]


def asked(server):
    """Requests so far that the access log knows of it."""
    name = harness.address_text(server.address)
    return len(re.findall(re.escape(name) + r"\b", harness.read("access.log")))


def wait_asked(server, count=5):
    """How long until it gets so many more requests."""
    before, began = asked(server), time.monotonic()
    until(lambda: asked(server) >= before + count, f"{count} requests at {server.address}")
    return time.monotonic() - began


def others_than_200(load):
    return {key: n for key, n in load.stop().items() if key[2] != "200"}


@alone
@within(180)
def test_killed():
    """With it go those that it had, of which a GET goes again; it is back as soon as it listens."""
    servers = gunicorns()
    back = []
    with three(*servers, backend="keepalive = 0\neject_time = 1h\neject_time_max = 1h") as front:
        load = Load(front.address, MIX, CLIENTS)
        for _ in range(ROUNDS):
            load.wait_more(60)
            servers[0].kill()
            load.wait_more(60)
            servers[0].start()
            back.append(wait_asked(servers[0]))
        bad = others_than_200(load)
        said = f"{load.count()} requests; others than 200: {bad}; back after {max(back):.2f} s"
        check("ejected" not in front.gyre.errors(), front.gyre.errors())
    check(all(how in ("502", "cut") and (method == "POST" or how == "cut")
              for method, _, how in bad), said)
    check(sum(bad.values()) <= ROUNDS * CLIENTS, said)
    return said


@alone
@within(120)
def test_hanging():
    """It takes connections and says nothing: those that run there time out, then nobody but the
    one that tries waits for it."""
    servers = gunicorns()
    with three(*servers, backend="response_timeout = 1s\neject_time = 1s",
               expect=["is ejected for 1s: 5 requests in a row failed, the last with "
                       "response-timeout", "stays ejected, for 2s"]) as front:
        load = Load(front.address, [("GET", "/task/1")], CLIENTS)
        load.wait_more(60)
        os.killpg(servers[0].process.pid, signal.SIGSTOP)
        front.gyre.wait_errors("stays ejected, for 2s")
        before = load.count("504")
        load.wait_more(200)
        os.killpg(servers[0].process.pid, signal.SIGCONT)
        back = wait_asked(servers[0])
        bad = others_than_200(load)
        said = f"{load.count()} requests; others than 200: {bad}; back after {back:.2f} s"
    equal({how for _, _, how in bad}, {"504"}, said)
    # Those that ran, up to four of them before and with the fifth, and one that tried.
    check(before <= 5 + CLIENTS + 1 and sum(bad.values()) <= before + 1, said)
    return said


class Moody:
    """An origin that answers with the status that it is told."""
    def __init__(self):
        self.status = "200 OK"
        self.count = 0
        self.origin = Origin(self.serve)
        self.address = self.origin.address

    def serve(self, exchange):
        while exchange.request():
            self.count += 1
            exchange.answer("ok", status=self.status)


def statuses(front, count):
    got = []
    with Client(front.address) as client:
        for i in range(count):
            got.append(client.ask("POST", f"/{i}", body=b"x").status)
    return got


def test_saying_500():
    """Five of them, and one each time that it is tried."""
    servers = [Moody() for _ in range(3)]
    with three(*servers, backend="eject = 5xx\neject_time = 500ms",
               expect=["is ejected for 500ms: 5 requests in a row failed, the last with status 500",
                       "stays ejected, for 1s: the request that tried it ended with status 500"]
               ) as front:
        name = harness.address_text(servers[0].address)
        servers[0].status = "500 Internal Server Error"
        got = statuses(front, 30)
        equal(got.count(500), 5, "answers of 500")
        front.gyre.wait_errors(f"{name} is ejected")

        def tried():
            return statuses(front, 3).count(500)
        equal(until(tried, "the one that tries"), 1, "answers of 500 when it is tried")
        front.gyre.wait_errors(f"{name} stays ejected")
        servers[0].status = "200 OK"
        count = servers[0].count
        until(lambda: (statuses(front, 3), servers[0].count > count)[1], "the next one that tries")
        front.gyre.wait_errors(f"{name} is asked again")
        count = servers[0].count
        equal(statuses(front, 30), [200] * 30, "answers when it is well")
        check(5 <= servers[0].count - count <= 15, "its share of 30:", servers[0].count - count)


def test_slow_start():
    """What comes back has its share of the requests by and by."""
    servers = [Moody() for _ in range(3)]
    with three(*servers, backend="eject = 5xx\neject_time = 500ms\nslow_start = 1h",
               expect=["is ejected"]) as front:
        servers[0].status = "500 Internal Server Error"
        equal(statuses(front, 30).count(500), 5, "answers of 500")
        servers[0].status = "200 OK"
        count = servers[0].count
        until(lambda: (statuses(front, 3), servers[0].count > count)[1], "the one that tries")
        count = servers[0].count
        statuses(front, 210)
        check(5 <= servers[0].count - count <= 17,
              "a tenth of a share is 10 of 210:", servers[0].count - count)


@alone
@within(120)
def test_coming_and_going():
    """It listens for a moment, again and again: no GET sees it."""
    servers = [Moody() for _ in range(3)]
    with three(*servers, backend="keepalive = 0") as front:
        stop = threading.Event()

        def flap():
            while not stop.wait(0.03):
                servers[0].origin.refuse()
                stop.wait(0.03)
                servers[0].origin.listen()
        flapping = threading.Thread(target=flap)
        flapping.start()
        bad = total = 0
        until_when = time.monotonic() + (10 if FULL else 3)   # the time itself is the test
        while time.monotonic() < until_when:
            with Client(front.address) as client:
                bad += sum(client.ask("GET", f"/{i}").status != 200 for i in range(100))
                total += 100
        stop.set()
        flapping.join()
        equal(bad, 0, f"of {total} requests, others than 200")
        return f"{total} requests"
