"""Servers that are restarted, go away, or are killed, under load."""
import re
import signal
import time

import harness
from edge import FULL, Gunicorn, Load, UnixClient, journal, local, states
from harness import Front, alone, check, equal, until, within
from test_tls import TlsClient
from wire import Client

ROUNDS = 30 if FULL else 4
MIX = [("GET", "/task/5"), ("POST", "/task/5"), ("GET", "/task/1"), ("GET", "/flow/4/2"),
       ("POST", "/flow/3/2")]


def no_errors(load):
    ended = load.stop()
    equal({key: n for key, n in ended.items() if key[2] != "200"}, {}, "what did not end well")
    equal(len(journal()), len(set(journal())), "requests that the app saw, and different ones")
    return load.count()


@alone
@within(180)
def test_graceful_restart():
    """gunicorn's SIGHUP: all its workers are replaced, and no client sees it."""
    server = Gunicorn("-w", "4", unix=True)
    with Front(server.address, backend="slots = 4", workers=2) as front:
        load = Load(front.address, MIX)
        for _ in range(ROUNDS):
            load.wait_more(40)
            server.hang_up(4)
        load.wait_more(40)
        return f"{ROUNDS} restarts, {no_errors(load)} requests"


@alone
def test_workers_that_retire():
    """gunicorn's max_requests: a worker is replaced after each few."""
    server = Gunicorn("-w", "4", "--max-requests", "25", "--max-requests-jitter", "10")
    with Front(server.address, backend="slots = 4") as front:
        load = Load(front.address, MIX)
        until(lambda: server.workers_booted() >= 4 + (40 if FULL else 8), "new workers", 60)
        return f"{server.workers_booted()} workers, {no_errors(load)} requests"


def away(unix):
    server = Gunicorn("-w", "4", unix=unix)
    with Front(server.address, backend="slots = 4", workers=2) as front:
        with Client(front.address) as client:
            equal(client.ask("GET", "/task/0?before").status, 200, "status before")
        server.end()
        load = Load(front.address, MIX, clients=20)
        deadline = time.monotonic() + (5 if FULL else 1)
        while time.monotonic() < deadline:          # the time itself is what is tested
            time.sleep(0.05)
        equal(load.count(), 0, "requests that ended while nobody was there")
        server.start()
        began = time.monotonic()
        load.wait_more(1)
        took = time.monotonic() - began
        check(took < 2, f"the first answer came {took:.2f} s after the server")
        load.wait_more(100)
        return f"first answer after {took:.2f} s, {no_errors(load)} requests"


def test_socket_that_is_away():
    """It is gone for a while: who comes then waits, and nobody is refused."""
    return away(True)


def test_port_that_is_away():
    return away(False)


def test_server_that_was_never_there():
    """Who has written the wrong port sees it soon, and not as a queue that is full."""
    with Front(harness.free_address(), backend="slots = 4\nconnect_timeout = 200ms") as front:
        with Client(front.address) as client:
            began = time.monotonic()
            equal(client.ask("GET", "/").status, 502, "status")
            check(time.monotonic() - began < 10, "it took", time.monotonic() - began)
        check("close=connect-refused" in front.log_lines(1)[0], front.log_lines(1))


def test_server_that_stays_away():
    """At queue_timeout the wait is over: 503. Who comes then does not wait any more: 502."""
    server = Gunicorn("-w", "1")
    with Front(server.address, backend="slots = 1\nqueue_timeout = 500ms") as front:
        with Client(front.address) as client:
            equal(client.ask("GET", "/task/0?first").status, 200, "status before")
            server.end()
            began = time.monotonic()
            late = client.ask("GET", "/task/0?late")
            equal((late.status, late.get("retry-after")), (503, "5"), "after the wait")
            check(0.4 < time.monotonic() - began < 10, "it took", time.monotonic() - began)
            time.sleep(0.05)
            equal(client.ask("GET", "/task/0?later").status, 502, "status when it is known")
        reasons = [line.partition("close=")[2].split()[0] for line in front.log_lines(3)[1:]]
        equal(reasons, ["queue-timeout", "connect-refused"], "in the log")


def test_away_and_queue_full():
    """Those that stand in line while the first one finds that the server is away: it goes back to
    their head, all of them are served when it is there again, and there are no more than may be."""
    server = Gunicorn("-w", "1")
    front_path = harness.path("front.sock")
    with Front(server.address, backend="slots = 1\nqueue = 3", more=local(front_path)) as front:
        clients = [UnixClient(front_path) for _ in range(8)]
        for client in clients:
            equal(client.ask("GET", "/task/0?first").status, 200, "status before")
        server.end()
        front.gyre.process.send_signal(signal.SIGSTOP)
        until(lambda: set(states(front.gyre)) == {"T"}, "gyre to stand still")
        for i, client in enumerate(clients):        # all of them are there when it looks
            client.request("GET", f"/task/0?{i}")
        front.gyre.process.send_signal(signal.SIGCONT)
        for client in clients[4:]:
            equal(client.response().status, 503, "status of those that are too many")
        server.start()
        equal([c.response().status for c in clients[:4]], [200] * 4, "the others")
    equal(journal()[8:], [f"GET {i}" for i in range(4)], "the order at the app")


def kill_rounds(workers_too):
    server = Gunicorn("-w", "4", unix=True)
    with Front(server.address, backend="slots = 4", workers=2) as front:
        load = Load(front.address, MIX)
        for _ in range(ROUNDS):
            load.wait_more(40)
            server.kill(workers_too)
            server.start()
        load.wait_more(40)
        ended = load.stop()
    bad = {key: n for key, n in ended.items() if key[2] != "200"}
    said = f"{ROUNDS} kills, {load.count()} requests; others than 200: {bad}"
    for method, _, how in bad:
        check(how in ("502", "cut"), said)
        # What may be repeated fails only where its answer had begun.
        check(method != "GET" or how == "cut", said)
    # A kill can hit those that are at a worker, and those that came to take their slots.
    check(sum(bad.values()) <= ROUNDS * 4 * (2 if workers_too else 1), said)
    return said


@alone
@within(180)
def test_master_is_killed():
    """Its workers finish what they have and go; a new master takes over."""
    return kill_rounds(False)


@alone
@within(180)
def test_all_are_killed():
    """What may be repeated is answered; the rest is a 502 or a visible cut; nothing hangs."""
    return kill_rounds(True)


def test_killed_inside_a_response():
    """Of what was promised the half came: the client sees that it is not all, plain and TLS."""
    for tls in (False, True):
        server = Gunicorn("-w", "1")
        with Front(server.address, tls=tls, backend="slots = 1") as front:
            with (TlsClient if tls else Client)(front.address) as client:
                client.request("GET", "/steps/2")
                client.head()
                client.take_until(b"step 0\n")
                server.gate.wait_told("0")
                server.kill()
                rest = client.expect_cut()
                check(b"0\r\n\r\n" not in rest, "it looks whole:", rest)
            line = front.log_lines(1)[0]
            check(re.search("close=backend-c(ut|losed)", line), line)


def test_killed_before_a_response():
    """A GET goes again and is answered by the next one; a POST is not repeated."""
    server = Gunicorn("-w", "1", "-k", "gthread", "--threads", "2")
    with Front(server.address, backend="slots = 2") as front:
        with Client(front.address) as get, Client(front.address) as post:
            get.request("GET", "/hold/get")
            server.gate.wait_for("get")
            post.request("POST", "/hold/post", body=b"once")
            server.gate.wait_for("post")
            server.kill()
            equal(post.response().status, 502, "status of the POST")
            server.start()
            server.gate.wait(lambda: server.gate.told.count("get") == 2, "the GET to come again")
            while server.gate.waiting:
                server.gate.let_go()
            got = get.response()
            equal([got.status, got.body], [200, b"get"], "the GET")
            equal(server.gate.told.count("post"), 1, "times that the POST came")
        check("tries=2" not in front.log_lines(2)[0], front.log_lines(2))


def test_upload_goes_again_from_the_spool():
    """A PUT may be repeated, and its body is still there."""
    server = Gunicorn("-w", "1")
    body = bytes(range(256)) * 8192
    with Front(server.address, backend="slots = 1\nrequest_memory = 64k") as front:
        with Client(front.address) as client, Client(front.address) as busy:
            busy.request("GET", "/hold/busy")
            server.gate.wait_for("busy")
            client.request("PUT", "/hold/put", body=body)
            server.gate.let_go("busy")
            equal(busy.response().status, 200, "status")
            server.gate.wait_for("put")
            server.kill()
            server.start()
            server.gate.wait(lambda: server.gate.told.count("put") == 2, "the PUT to come again")
            while server.gate.waiting:
                server.gate.let_go()
            equal(client.response().status, 200, "status of the PUT")
