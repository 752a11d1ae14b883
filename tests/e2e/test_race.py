"""The keep-alive race: a server ends a kept connection just as the next request comes."""
import contextlib
import socket
import threading
import time

import harness
from harness import Front, check, equal
from wire import Client, Origin


def server_that_drops(how):
    """Serves one request a connection and keeps it; when the next one comes it ends the
    connection, having read it (fin) or not (reset)."""
    def serve(exchange):
        request = exchange.request()
        if request is None:
            return
        exchange.answer("" if request.method == "HEAD" else request.target)
        if how == "reset":
            harness.wait_readable([exchange.sock], harness.WAIT_S)
            with contextlib.suppress(ConnectionError):
                if exchange.sock.recv(1, socket.MSG_PEEK):
                    exchange.origin.dropped += 1        # closing with unread bytes: a reset
        elif exchange.request() is not None:
            exchange.origin.dropped += 1
    origin = Origin(serve)
    origin.dropped = 0
    return origin


def test_get_goes_again():
    for how in ("fin", "reset"):
        origin = server_that_drops(how)
        with Front(origin.address, workers=1) as front, Client(front.address) as client:
            for i in range(30):
                method = ("GET", "HEAD", "OPTIONS", "DELETE")[i % 4]
                got = client.ask(method, f"/{i}")
                equal(got.status, 200, f"{method} {i} over {how}")
            check(any("tries=2" in line for line in front.log_lines(30)), "no retry was logged")
        check(origin.dropped >= 25, f"only {origin.dropped} requests met the race ({how})")


def test_post_is_not_sent_twice():
    for how in ("fin", "reset"):
        origin = server_that_drops(how)
        with Front(origin.address) as front, Client(front.address) as client:
            client.ask("GET", "/first")
            time.sleep(0.1)             # for so long it must be there before a POST goes on it
            got = client.ask("POST", "/once", body=b"pay")
            equal(got.status, 502, f"POST over {how}")
            equal(origin.dropped, 1, "the race")
            posts = [r for r in origin.requests if r.method == "POST"]
            equal(len(posts), 1 if how == "fin" else 0, "times that the POST came")


def test_post_does_not_run_into_it():
    """Some servers close after their first answer, a moment later and unannounced: once one was seen
    to, a POST does not go on a connection that has served once, just now."""
    seen = []

    def serve(exchange):
        while (request := exchange.request()) is not None:
            seen.append((request.method, exchange.count))
            exchange.answer("")
            if request.target == "/close":
                time.sleep(0.01)
                return
    origin = Origin(serve)
    for _ in range(20):         # a machine that is busy may let a while pass, and that is enough
        with Front(origin.address, workers=1) as front, Client(front.address) as client:
            equal(client.ask("GET", "/close").status, 200, "the first")
            time.sleep(0.02)
            for method in ("GET", "POST"):
                equal(client.ask(method, "/").status, 200, method)
        if seen[-1] == ("POST", 1):
            return
    raise harness.Failed(f"each POST came behind a GET: {seen}")


def test_put_with_a_body():
    """It may be repeated, but for its body, which may be gone: 200 or 502, never half a body."""
    origin = server_that_drops("fin")
    with Front(origin.address) as front, Client(front.address) as client:
        client.ask("GET", "/first")
        got = client.ask("PUT", "/x", body=b"x" * 500000)
        check(got.status in (200, 502), got)
    check(all(len(r.body) == 500000 for r in origin.requests if r.method == "PUT"), "half a body")


def test_only_once():
    """A server that ends without an answer, twice, is a failure: there is no third try, and of a
    POST no second."""
    def serve(exchange):
        exchange.request()
    for method, times in (("GET", 2), ("POST", 1)):
        origin = Origin(serve)
        with Front(origin.address) as front, Client(front.address) as client:
            equal(client.ask(method).status, 502, "status")
            check("close=backend-closed" in front.log_lines(1)[0], front.log_lines(1))
        equal(origin.request_count(), times, f"{method} requests")


def test_natural_race():
    """A server that ends each connection right after its answer, without a word of it."""
    def serve(exchange):
        request = exchange.request()
        if request:
            exchange.answer(request.target)
    origin = Origin(serve)
    with Front(origin.address, workers=2) as front:
        clients = [Client(front.address) for _ in range(4)]
        for i in range(150):
            for k, client in enumerate(clients):
                client.request("GET", f"/{i}-{k}")
            for k, client in enumerate(clients):
                got = client.response()
                equal([got.status, got.body], [200, b"/%d-%d" % (i, k)], "answer")


def test_idle_close_is_noticed():
    """A connection that the server has ended while it was idle is not used again."""
    def serve(exchange):
        request = exchange.request()
        if request:
            exchange.answer(request.target)
            exchange.origin.released.wait(harness.WAIT_S)
    origin = Origin(serve)
    origin.released = threading.Event()
    with Front(origin.address, backend="keepalive_timeout = 60s") as front:
        with Client(front.address) as client:
            client.ask("POST", "/one")
            before = front.gyre.descriptor_names()
            origin.released.set()
            try:
                harness.until(lambda: front.gyre.descriptors() == len(before) - 1,
                              "gyre to close its end")
            except harness.Failed as failed:
                raise harness.Failed(f"{failed}: it had {before}, and has "
                                     f"{front.gyre.descriptor_names()}") from None
            equal(client.ask("POST", "/two").body, b"/two", "POST on a fresh connection")
