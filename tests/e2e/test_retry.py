"""One of three servers fails: requests that may be repeated are answered by the others, those that
may not are executed once, and an outage of all is not made worse."""
import contextlib
import socket
import struct
import threading
import time

import harness
from harness import Front, check, equal
from wire import Client, Origin


class Moody:
    """An origin that does what its mood says with each request that it has read."""
    def __init__(self, mood="well"):
        self.mood, self.released = mood, threading.Event()
        self.origin = Origin(self.serve)
        self.address = self.origin.address
        harness.at_end(self.released.set)

    def serve(self, exchange):
        while request := exchange.request():
            if self.mood == "well":
                exchange.answer(f"{request.method} {request.target} {len(request.body)}")
            elif self.mood == "resets":
                exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                         struct.pack("ii", 1, 0))
                return
            elif self.mood == "hangs":
                self.released.wait(harness.WAIT_S)
                return
            else:
                exchange.answer("no", status=self.mood)

    def times(self, target):
        with self.origin.lock:
            return sum(r.target == target for r in self.origin.requests)


def three(mood):
    return [Moody(mood), Moody(), Moody()]


def front_of(servers, backend, **options):
    return Front(*(s.address for s in servers), workers=2,
                 backend=("" if "balance" in backend else "balance = round_robin\n")
                 + "eject = no\n" + backend, **options)


def ask_all(front, servers, failed, rounds):
    """Requests of every kind: what may be repeated is answered well, what may not is answered well
    or with `failed`, and executed once."""
    bad = i = 0
    while i < rounds or (bad == 0 and i < 60):     # whom a request meets is luck
        for method, body in (("GET", b""), ("PUT", b"p" * 70000), ("POST", b"x" * 500),
                             ("DELETE", b""), ("PATCH", b"y")):
            target = f"/{method}/{i}"
            with Client(front.address) as client:
                got = client.ask(method, target, body=body)
            times = sum(s.times(target) for s in servers)
            if method in ("POST", "PATCH"):
                check(got.status in (200, failed), f"{method} {i}: {got.status}")
                equal(times, 1, f"executions of {method} {i}")
                bad += got.status == failed
            else:
                equal(got.status, 200, f"{method} {i}")
                check(times <= 2, f"executions of {method} {i}: {times}")
            if got.status == 200:
                equal(got.body.decode(), f"{method} {target} {len(body)}", "answer")
        i += 1
    check(bad > 0, "nothing that may not be repeated met the server that fails")
    lines = front.log_lines(i * 5)
    check(any(" tries=2 " in line for line in lines), "no retry was logged")
    check(all(" tries=1 " in line for line in lines if '"POST ' in line or '"PATCH ' in line),
          "a request went again that may not")


def test_one_resets():
    servers = three("resets")
    with front_of(servers, "") as front:
        ask_all(front, servers, 502, 12)


def test_one_answers_502():
    servers = three("502 Bad Gateway")
    with front_of(servers, "retry_on = connect, reset, 502") as front:
        ask_all(front, servers, 502, 12)


def test_one_hangs():
    servers = three("hangs")
    with front_of(servers, "retry_on = timeout\nresponse_timeout = 1s\nslots = 8") as front:
        ask_all(front, servers, 504, 2)


def test_one_is_not_there():
    """Nothing was sent: whatever it is, it goes to another one."""
    servers = three("well")
    servers[0].origin.refuse()
    with front_of(servers, "") as front, Client(front.address) as client:
        for i in range(20):
            equal(client.ask(("GET", "POST")[i % 2], f"/{i}", body=b"").status, 200, "status")
            equal(sum(s.times(f"/{i}") for s in servers), 1, "executions")


def test_many_servers():
    """More than a set of 64 has places for: hash would go to the same one again and again."""
    servers = [Moody("well") for _ in range(72)]
    for late in servers[64:]:
        late.mood = "resets"
    with front_of(servers, "retries = 8\nbalance = hash\nhash_on = header:X-Key") as front:
        for i in range(150):
            with Client(front.address) as client:
                equal(client.ask("GET", f"/{i}", f"X-Key: {i}").status, 200, "status")
    check(sum(late.origin.request_count() for late in servers[64:]) > 0, "nobody met one of them")


def test_never():
    servers = three("resets")
    with front_of(servers, "retries = 0") as front:
        statuses = []
        for i in range(9):
            with Client(front.address) as client:
                statuses.append(client.ask("GET", f"/{i}").status)
            equal(sum(s.times(f"/{i}") for s in servers), 1, "executions")
    check(statuses.count(502) >= 2, statuses)


def test_statuses_are_passed_on_where_nobody_asked():
    servers = [Moody("503 Service Unavailable")]
    with front_of(servers, "") as front, Client(front.address) as client:
        got = client.ask("GET", "/a")
        equal([got.status, got.body, servers[0].times("/a")], [503, b"no", 1], "answer")


def test_same_server_again():
    """There is no other: it is asked again, a moment later, and its last answer is the answer."""
    servers = [Moody("503 Service Unavailable")]
    with front_of(servers, "retry_on = 5xx\nretries = 2") as front, \
            Client(front.address) as client:
        began = time.monotonic()
        got = client.ask("GET", "/a")
        equal([got.status, got.body, servers[0].times("/a")], [503, b"no", 3], "answer")
        check(time.monotonic() - began >= 0.09, "it was asked again at once")


def test_outage_of_all():
    """Of what clients ask a fifth goes again, and thirty, and three a second."""
    servers = [Moody("resets") for _ in range(3)]
    count = 400
    with front_of(servers, "") as front:
        began = time.monotonic()
        for i in range(count):
            with Client(front.address) as client:
                equal(client.ask("GET", f"/{i}").status, 502, "status")
        took = time.monotonic() - began
        seen = sum(s.origin.request_count() for s in servers)
        most = count * 1.2 + 30 + 3 * (took + 1)
        check(count < seen <= most, f"{seen} requests came to the servers, {most:.0f} may")
        for server in servers:
            server.mood = "well"
        with contextlib.closing(Client(front.address)) as client:
            equal(client.ask("GET", "/after").status, 200, "status when they are well")
