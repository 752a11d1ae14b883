"""Many clients, slow clients, large bodies: what they may cost."""
import os
import random
import resource
import signal
import socket
import threading
import time

import crowd
import harness
from harness import SHARED, WAIT_S, Curl, Front, alone, check, equal, until, within
from test_tls import TlsClient
from test_websocket import UPGRADE
from wire import Client, Origin

MIB = 1 << 20
# An address sanitizer keeps what was freed, and that would be measured.
FORGET = {"ASAN_OPTIONS": ":".join([os.environ.get("ASAN_OPTIONS", ""), "quarantine_size_mb=1"])}
REQUEST = b"GET /idle HTTP/1.1\r\nHost: one.test\r\n\r\n"


@alone
@within(120)
def test_9000_idle_clients():
    """Held, each after an answer, while others are served."""
    wanted = 9000
    # gyre has one descriptor for each, and so have we.
    count = min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500)
    origin = Origin()
    with Front(origin.address, workers=2, listener="idle_timeout = 10m") as front:
        before = front.gyre.memory()
        idle = []
        for i in range(count):
            sock = socket.create_connection(front.address, WAIT_S,
                                            source_address=(f"127.0.0.{1 + i % 200}", 0))
            sock.sendall(REQUEST)
            idle.append(sock)
            if i % 100 == 99:
                for one in idle[-100:]:
                    answer = one.recv(4096)
                    check(answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"GET /idle 0\n"),
                          "an answer:", answer)
        for one in idle[count - count % 100:]:
            check(one.recv(4096).startswith(b"HTTP/1.1 200"), "an answer")
        check(front.gyre.descriptors() >= count, "they are not held")
        each = (front.gyre.memory() - before) / count
        began = time.monotonic()
        with Client(front.address) as client:
            for i in range(500):
                equal(client.ask("POST", f"/{i}", body=b"x" * 100).status, 200, "status")
        took = time.monotonic() - began
        for one in random.sample(idle, 300):        # and they are alive
            one.sendall(REQUEST)
            check(one.recv(4096).startswith(b"HTTP/1.1 200"), "an idle one is asked again")
        for one in idle:
            one.close()
        until(lambda: front.gyre.descriptors() < 100, "all to be closed")
    short = "" if count == wanted else f" (of {wanted}: the limit of descriptors is too low)"
    return f"{count} clients{short}, {each / 1024:.1f} KiB each, 500 requests in {took:.2f} s"


# For each tunnel over TLS that says nothing: two connections, two requests, OpenSSL's. An address
# sanitizer's red zones, and what it keeps of what was freed, are not gyre's to count.
TUNNEL_BYTES_MAX = 48 * 1024
TUNNEL_BYTES_SANITIZED = 96 * 1024


@alone
@within(180)
def test_9000_idle_tunnels():
    """WebSockets over TLS on one worker: all are let in, work, cost little, and are told to go."""
    wanted, processes = 9000, 3
    # gyre has two descriptors for each of them.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(wanted, (hard - 1000) // 2) // processes * processes
    address, origin = crowd.start_origin()
    # All of them end at once: the access log is not for that, nor is the completion queue. Either
    # may say so.
    front = Front(address, tls=True, workers=1, env=FORGET, glob="drain_timeout = 4s",
                  backend="mode = async",
                  expect=["is ready: 1 worker|access log: .* dropped|completion queue was full"])
    clients = [crowd.Child(crowd.hold_clients, front.address) for _ in range(processes)]

    def each(*words, seconds=WAIT_S):
        for child in clients:
            child.ask(*words)
        return sum(child.told(seconds) for child in clients)
    each("open", 10)                                # its slabs are there from now on
    before, began = front.gyre.memory("Pss"), time.monotonic()
    equal(each("open", count // processes - 10, seconds=120), count, "tunnels")
    took, grown = time.monotonic() - began, front.gyre.memory("Pss") - before
    check(front.gyre.descriptors() >= 2 * count, "they are not held")
    echoed = each("echo", max(count // 600, 1))
    check(echoed >= min(count, 500), f"{echoed} are asked")
    check(front.gyre.descriptors() >= 2 * count, "they are not held any more")
    most = TUNNEL_BYTES_SANITIZED if front.gyre.is_sanitized() else TUNNEL_BYTES_MAX
    said = f"{grown / count / 1024:.1f} KiB each (PSS)"
    check(grown < count * most, said)
    front.gyre.process.send_signal(signal.SIGTERM)
    equal(each("end", seconds=40), count, "clients that got a Close")
    front.gyre.wait_exit(60)
    front.gyre.judge(0)

    def origin_told():
        origin.ask("count")
        return origin.told()["going away"] == count
    until(origin_told, "the server to have got a Close for each")
    for line in front.log_lines(1):
        check('" 101 ' in line and "close=drain" in line, line)
    short = "" if count == wanted else f" (of {wanted}: the limit of descriptors is too low)"
    return f"{count} tunnels{short} after {took:.1f} s, {said}, {echoed} were used"


def endless(size):
    """An origin that sends, or takes, so much, and counts."""
    def serve(exchange):
        origin = exchange.origin
        request = exchange.request_head()
        if request is None:
            return
        try:
            if request.method == "POST":
                if request.target == "/never":
                    origin.done.wait(WAIT_S)
                else:
                    exchange.skip(int(request.get("Content-Length")))
                    exchange.answer("all of it")
                return
            exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
            sent = 0
            while sent < size:
                exchange.send(b"x" * 65536)
                sent += 65536
                with origin.lock:
                    origin.sent += 65536
        except OSError:
            pass
    origin = Origin(serve)
    origin.sent = 0
    origin.done = threading.Event()
    return origin


def until_still(value):
    """Until it has not changed for a while; what it is then."""
    last, since = value(), time.monotonic()
    deadline = since + WAIT_S
    while time.monotonic() < since + 0.3:
        check(time.monotonic() < deadline, "it never stands still")
        time.sleep(0.01)
        if value() != last:
            last, since = value(), time.monotonic()
    return last


# What a worker's receive buffers may come to, whoever uses them.
RECEIVE_BYTES_MAX = 64 * MIB
# For each client that reads nothing, and each whose server reads nothing: what may wait in the
# queues of both sides (64 + 128 KiB; 64 + 256 KiB, and as much in the send), and the buffer that a
# receive brings past its limit. Before Linux 6.18 a receive knows no limit, and one that is being
# cancelled may still bring the kernel's 32 rounds of a buffer.
KERNEL = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
SLOW_BYTES_MAX = MIB + (0 if KERNEL >= (6, 18) else 2 * MIB)
# Under TLS also the records on their way out, and what OpenSSL has.
TLS_BYTES_MAX = MIB


@alone
def test_clients_that_read_nothing():
    """Of 256 MiB each: gyre holds what it says and no more, and the servers are held back."""
    said = []
    for tls in (False, True):
        many = RECEIVE_BYTES_MAX + 64 * (SLOW_BYTES_MAX + tls * TLS_BYTES_MAX)
        for count, bound in ((1, 8 * MIB), (64, many)):
            origin = endless(256 * MIB)
            with Front(origin.address, tls=tls, backend="mode = async", env=FORGET) as front:
                kind = TlsClient if tls else Client
                with kind(front.address) as fast:       # its buffers are there from now on
                    fast.request()
                    fast.skip(64 * MIB)
                until_still(lambda: origin.sent)
                before, sent_before = front.gyre.memory(), origin.sent
                clients = [kind(front.address) for _ in range(count)]
                for client in clients:
                    client.request()
                origin.wait_requests(1 + count)
                sent = (until_still(lambda: origin.sent) - sent_before) / count
                grown = front.gyre.memory() - before
                said.append(f"{'TLS' if tls else 'plain'}, {count}: {grown / MIB:.1f} MiB, "
                            f"after {sent / MIB:.1f} MiB each")
                check(grown < bound, said[-1])
                check(sent < 64 * MIB, "the server was not held back:", said[-1])
    return "; ".join(said)


@alone
def test_memory_max():
    """Of 500 clients that are sent 8 MiB each and read nothing, in plain and over TLS, gyre holds
    less than memory_max. It says 503 to some, for a while; those that read get all of it; and when
    they are gone it serves as before."""
    size, count, bound = 8 * MIB, 500, 64 * MIB
    origin = endless(size)
    with Front(origin.address, glob="memory_max = 64m\nspool_max = 200m", env=FORGET, tls=True,
               more=f"[listener plain]\nbind = {(plain := harness.free_address())[0]}:{plain[1]}\n"
                    "backend = app\n",
               expect=["answering 503: .* memory_max is near|not accepting .* memory_max is near",
                       "spool_max is reached"]) as front:
        before, peak = front.gyre.memory(), 0
        clients = []
        for i in range(count):
            client = (TlsClient(front.address) if i % 2 else Client(plain))
            client.request()
            clients.append(client)
            peak = max(peak, front.gyre.memory() if i % 10 == 0 else 0)
        until_still(lambda: origin.sent)
        peak = max(peak, front.gyre.memory())
        said = f"{(peak - before) / MIB:.0f} MiB of {bound / MIB:.0f}"
        # An address sanitizer's red zones and shadow are not gyre's to count.
        check(peak - before < (1.5 if front.gyre.is_sanitized() else 1) * bound, said)
        answers = [client.head().status for client in clients]
        good = answers.count(200)
        check(all(status == 200 for status in answers[:20]), "the first ones:", answers)
        for client in clients[:4]:
            client.skip(size)
        for client in clients:
            client.close()

        def served():
            with Client(plain) as client:
                return client.ask("GET", "/none").status == 200
        until(served, "to be served again")
        # The kernel keeps a worker's 16 MiB of receive buffers, and malloc holes of what it had.
        until(lambda: front.gyre.memory() < peak - 8 * MIB, "memory to be given back")
        left = (front.gyre.memory() - before) / MIB
    return f"{said}, {good} were served; {left:.0f} MiB a while after"


@alone
def test_servers_that_read_nothing():
    """Of an upload of 256 MiB: the client is held back."""
    size, count = 256 * MIB, 8
    origin = endless(size)
    with Front(origin.address, backend="mode = async", env=FORGET) as front:
        with Client(front.address) as fast:
            equal(fast.ask("POST", "/all", body=b"x" * 64 * MIB).status, 200, "status")
        before, taken = front.gyre.memory(), 0
        for _ in range(count):
            client = Client(front.address)
            client.send(f"POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
            client.sock.settimeout(0.3)
            try:
                while taken < count * size:
                    taken += client.sock.send(b"x" * 65536)
            except TimeoutError:
                pass
        grown, taken = (front.gyre.memory() - before) / count, taken / count
        said = f"{grown / 1024:.0f} KiB each, after {taken / MIB:.1f} MiB"
        check(grown < SLOW_BYTES_MAX, said)
        check(taken < 64 * MIB, "the client was not held back:", said)
        origin.done.set()
    return said


@alone
def test_no_descriptor_leaks():
    """500 connections of all kinds, and then as many descriptors as before."""
    def serve(exchange):
        while (request := exchange.request()):
            if request.target == "/cut":
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                return
            if request.target == "/drop":
                return
            if request.get("Upgrade"):
                exchange.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n"
                              "Upgrade: websocket\r\n\r\n")
                exchange.quiet()
                return
            exchange.answer("fine")

    def plain(client):
        client.ask()

    def refused(client):
        client.send("GET / HTTP/1.1\r\n\r\n")
        client.response()

    def half_a_head(client):
        client.send("GET / HT")

    def cut(client):
        client.request("GET", "/cut")
        client.expect_cut()

    def dropped(client):
        equal(client.ask("POST", "/drop").status, 502, "status")

    def upgraded(client):
        equal(client.ask("GET", "/", *UPGRADE).status, 101, "status")

    def unread(client):
        client.request()

    def no_route(client):
        equal(client.ask("GET", "/gone").status, 502, "status")
    kinds = [plain, refused, half_a_head, cut, dropped, upgraded, unread, no_route]
    gone = Origin()
    gone.refuse()
    secure = harness.free_address()
    more = (f"[listener tls]\nbind = {harness.address_text(secure)}\n"
            f"certificate = {SHARED['cert']}\nkey = {SHARED['key']}\nbackend = app\n"
            f"[route gone]\npath = /gone\nbackend = gone\n"
            f"[backend gone]\nserver = {harness.address_text(gone.address)}\n")
    with Front(Origin(serve).address, more=more, workers=2,
               backend="keepalive_timeout = 100ms") as front:
        before = front.gyre.descriptors()
        luck = random.Random(1)
        for i in range(500):
            kind = kinds[i % len(kinds)]
            if i % 5 == 4:
                client = TlsClient(secure)
            else:
                client = Client(front.address)
            kind(client)
            if luck.random() < 0.3:
                client.reset()
            else:
                client.close()
        for _ in range(20):                     # handshakes that never were
            Client(secure).close()
        until(lambda: front.gyre.descriptors() <= before, "all to be closed")
        equal(front.gyre.descriptors(), before, "descriptors")


@alone
def test_slow_uploads_hold_nobody_up():
    """Two hundred clients send a byte now and then; others are served at once."""
    with Front(SHARED["asgi"], workers=1) as front:
        slow = [Client(front.address) for _ in range(200)]
        for client in slow:
            client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n")
        worst = 0
        for _ in range(20):
            for client in slow:
                client.send("x")
            began = time.monotonic()
            equal(Curl(front.url("/echo")).status, 200, "status")
            worst = max(worst, time.monotonic() - began)
        for client in slow:
            check(b'"bytes": 20' in client.response().body, "a slow upload came changed")
    check(worst < 5, f"a request took {worst:.2f} s")
    return f"the slowest of 20 requests beside 200 uploads: {worst * 1000:.0f} ms with curl's start"


@alone
def test_slow_readers():
    """They get all of it, at their own pace, while others are served."""
    size = 4 * MIB

    def serve(exchange):
        while exchange.request():
            exchange.answer(b"x" * size)
    with Front(Origin(serve).address, workers=2) as front:
        slow = [Client(front.address) for _ in range(20)]
        for client in slow:
            client.request()
        with Client(front.address) as client:
            equal(len(client.ask().body), size, "a fast one")
        left = set(slow)
        got = dict.fromkeys(slow, 0)
        while left:
            for client in list(left):
                data = client.sock.recv(65536)
                check(data, "the answer ended early")
                got[client] += len(data)
                if got[client] >= size + 50:
                    left.discard(client)
