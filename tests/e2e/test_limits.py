"""Limits and timeouts: each with its own status, or a cut."""
import threading
import time

import harness
from harness import WAIT_S, Curl, Front, alone, check, equal
from wire import Client, Origin


def test_sizes_of_heads():
    origin = Origin()
    with Front(origin.address, listener="max_head = 2k\nmax_headers = 20") as front:
        for what, request, status in (
                ("long target", "GET /" + "a" * 3000 + " HTTP/1.1\r\nHost: a\r\n\r\n", 414),
                ("endless target", "GET /" + "a" * 100000, 414),
                ("large field", "GET / HTTP/1.1\r\nHost: a\r\nX: " + "a" * 3000 + "\r\n\r\n", 431),
                ("endless field", "GET / HTTP/1.1\r\nHost: a\r\nX: " + "a" * 100000, 431),
                ("endless name", "GET / HTTP/1.1\r\n" + "a" * 100000, 431),
                ("many fields", "GET / HTTP/1.1\r\nHost: a\r\n" + "A: b\r\n" * 20 + "\r\n", 431)):
            with Client(front.address) as client:
                client.send(request)
                equal(client.response().status, status, what)
                client.expect_end()
        equal(origin.request_count(), 0, "requests at the origin")
        with Client(front.address) as client:
            fields = ["A: b"] * 18
            equal(client.ask("GET", "/" + "a" * 1000, *fields).status, 200, "just below")


def test_sizes_of_bodies():
    def serve(exchange):
        while (request := exchange.request_head()):
            try:
                exchange.request_body(request)
            except (harness.Failed, ConnectionError):
                exchange.origin.halves += 1
                return
            exchange.answer("all of it")
    origin = Origin(serve)
    origin.halves = 0
    with Front(origin.address, listener="max_body = 10k", backend="mode = async") as front:
        with Client(front.address) as client:
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10241\r\n\r\n")
            equal(client.response().status, 413, "status before the body")
            client.expect_end()
        chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        with Client(front.address) as client:       # head, too much, and more in one go
            client.send(chunked, "4000\r\n", "x" * 0x4000, "\r\n0\r\n\r\n")
            equal(client.response().status, 413, "status of it all at once")
            client.expect_end()
        equal(origin.request_count(), 0, "requests at the origin")
        with Client(front.address) as client:
            client.send(chunked, "2000\r\n", "x" * 0x2000)
            origin.wait_requests(1)
            client.send("\r\n2000\r\n", "x" * 0x2000)
            equal(client.response().status, 413, "status within chunks")
            client.expect_end()
        harness.until(lambda: origin.halves == 1, "the origin to see no end")
        with Client(front.address) as client:
            equal(client.ask("POST", "/", body=b"x" * 10240).status, 200, "just as large as may be")
        big = Curl("--data-binary", "@-", front.url(), data=b"x" * (4 << 20))
        equal(big.status, 413, f"curl sees the 413 for 4 MiB: {big.errors}")


def test_head_timeout():
    origin = Origin()
    with Front(origin.address, listener="head_timeout = 150ms") as front:
        with Client(front.address) as client:
            client.send("GET / HTTP/1.1\r\nHo")
            equal(client.response().status, 408, "status")
            client.expect_end()
        with Client(front.address) as client:       # one byte now and then does not help
            done = threading.Event()

            def drip():
                for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 10000:
                    if done.wait(0.02):
                        return
                    try:
                        client.send(bytes([byte]))
                    except OSError:
                        return
            thread = threading.Thread(target=drip)
            thread.start()
            equal(client.response().status, 408, "status")
            done.set()
            thread.join()
        with Client(front.address) as client:       # who says nothing gets nothing
            client.expect_end()
        equal(origin.request_count(), 0, "requests at the origin")


def test_idle_timeout():
    with Front(Origin().address, listener="idle_timeout = 100ms\nhead_timeout = 20s") as front:
        with Client(front.address) as client:
            equal(client.ask().status, 200, "status")
            client.expect_end()
        equal(len(front.log_lines(1)), 1, "lines in the log")


def test_body_timeout():
    origin = Origin(lambda exchange: exchange.request_head() and exchange.quiet())
    with Front(origin.address, listener="body_timeout = 150ms") as front:
        with Client(front.address) as client:
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
            equal(client.response().status, 408, "status")
            client.expect_end()
        check("close=body-timeout" in front.log_lines(1)[0], front.log_lines(1))
        harness.until(lambda: origin.open == 0, "the origin's connection to end")


def test_response_timeout():
    origin = Origin(lambda exchange: exchange.request() and exchange.quiet())
    with Front(origin.address, backend="response_timeout = 150ms") as front:
        with Client(front.address) as client:
            equal(client.ask().status, 504, "status")
            equal(client.ask("POST", "/", body=b"abc").status, 504, "status, kept connection")
        check("close=response-timeout" in front.log_lines(2)[0], front.log_lines(2))
        equal(origin.connections, 2, "one try each")


def test_stall_timeout():
    def serve(exchange):
        if exchange.request():
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            exchange.quiet()
    with Front(Origin(serve).address, backend="stall_timeout = 150ms") as front:
        with Client(front.address) as client:
            client.request()
            equal(client.head().status, 200, "status")
            equal(client.expect_cut(), b"half", "what came")
        check("close=stall-timeout" in front.log_lines(1)[0], front.log_lines(1))


def test_slow_answers_are_no_timeouts():
    """What comes now and then, each well within its time, takes as long as it takes."""
    def serve(exchange):
        if exchange.request():
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
            for _ in range(8):
                done.wait(0.1)
                exchange.send("x")
    done = threading.Event()
    with Front(Origin(serve).address, backend="stall_timeout = 600ms") as front:
        with Client(front.address) as client:
            equal(client.ask().body, b"x" * 8, "body")


def test_send_timeout():
    """A client that takes nothing of its answer is cut off, and its server let go."""
    def serve(exchange):
        if exchange.request():
            try:
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n",
                              b"x" * 100000000)
            except OSError:
                cut.set()
    cut = threading.Event()
    with Front(Origin(serve).address, listener="send_timeout = 200ms") as front:
        with Client(front.address) as client:
            client.request()
            client.take(100)
            check(cut.wait(WAIT_S), "the server was not let go")
            check("close=send-timeout" in front.log_lines(1)[0], front.log_lines(1))


def test_max_connections():
    """At the limit accepting pauses, and resumes when one is gone."""
    # All come from one address; auto would let it have one of the three.
    with Front(Origin().address, listener="max_connections = 3\nmax_connections_per_client = 100",
               expect=["not accepting for the moment: max_connections"]) as front:
        clients = [Client(front.address) for _ in range(3)]
        for client in clients:
            equal(client.ask().status, 200, "status")
        late = Client(front.address)                # the kernel's queue takes it
        late.request("GET", "/late")
        for client in clients:
            equal(client.ask().status, 200, "those that are in are served")
        late.expect_open()
        clients.pop().close()
        equal(late.response().status, 200, "status of the one that waited")


def test_slow_body():
    """A body that drips keeps within body_timeout, and is too slow all the same."""
    origin = Origin(lambda exchange: exchange.request_head() and exchange.quiet())
    with Front(origin.address, listener="body_timeout = 400ms\nmin_body_rate = 10k") as front:
        with Client(front.address) as client:
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
            drip = Dripper(client, 0.02)
            equal(client.response().status, 408, "status")
            drip.end()
        check("close=body-slow" in front.log_lines(1)[0], front.log_lines(1))
        harness.until(lambda: origin.open == 0, "the origin's connection to end")


class Dripper:
    """Sends a byte now and then, in a thread of its own."""
    def __init__(self, client, seconds):
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(client, seconds))
        self.thread.start()

    def run(self, client, seconds):
        try:
            while not self.done.wait(seconds):
                client.send("x")
        except OSError:
            pass

    def end(self):
        self.done.set()
        self.thread.join()


def much(size):
    """An origin that answers with so much, or with what gyre takes of it."""
    def serve(exchange):
        while exchange.request():
            try:
                exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n", b"x" * size)
            except OSError:
                return
    return Origin(serve)


def read_at(client, rate, seconds):
    """Reads so many bytes a second; False when the connection has ended."""
    began, got = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        if got < rate * now:
            try:
                data = client.sock.recv(16384)
            except ConnectionError:
                return False
            if not data:
                return False
            got += len(data)
        else:
            time.sleep(0.01)
    return True


def test_slow_reader():
    """It takes some now and then, and too little on the average."""
    with Front(much(100000000).address,
               listener="send_timeout = 1s\nmin_send_rate = 100m") as front:
        with Client(front.address) as client:
            client.request()
            check(not read_at(client, 1 << 20, WAIT_S), "it was not cut")
        check("close=send-slow" in front.log_lines(1)[0], front.log_lines(1))


@alone
def test_reader_that_keeps_up():
    """What fills a large socket buffer is taken all the time, though for long no send is completed:
    that is what such a client must not be cut for."""
    with Front(much(100000000).address,
               listener="send_timeout = 2s\nmin_send_rate = 50k") as front:
        with Client(front.address) as client:
            client.request()
            check(read_at(client, 250 << 10, 9), "it was cut:", front.gyre.errors())


def test_connections_per_client():
    """Exactly as many as may be, whichever of two workers they come to."""
    limit, tries = 5, 20
    with Front(Origin().address, workers=2,
               listener=f"max_connections_per_client = {limit}",
               expect=[r"refused a connection of 127\.0\.0\.[12], which has 5 already"]) as front:
        served = {}
        for source in ("127.0.0.1", "127.0.0.2"):
            clients = [served_from(front, source) for _ in range(tries)]
            served[source] = [client for client in clients if client is not None]
            equal(len(served[source]), limit, f"connections of {source}")
        for client in served["127.0.0.1"][:2]:
            client.close()
        more = []

        def two_more():
            client = served_from(front, "127.0.0.1")
            if client is not None:
                more.append(client)
            return len(more) == 2
        harness.until(two_more, "those that went to make room")
        for _ in range(3):
            check(served_from(front, "127.0.0.1") is None, "one too many")
        for client in served["127.0.0.1"][2:] + served["127.0.0.2"] + more:
            equal(client.ask().status, 200, "those that are in are served")


def served_from(front, source):
    """A client that has an answer; None: it was closed, unanswered, with a reset."""
    try:
        client = Client(front.address, source=(source, 0))
        equal(client.ask().status, 200, "status")
        return client
    except ConnectionError:
        return None


def test_max_requests():
    origin = Origin()
    with Front(origin.address, listener="max_requests = 3") as front:
        with Client(front.address) as client:
            for i in (1, 2):
                equal(client.ask("GET", f"/{i}").get("Connection"), None, "not the last")
            client.request("GET", "/3")
            client.request("GET", "/4")
            equal(client.response().get("Connection"), "close", "the last one says so")
            client.expect_end()
        with Client(front.address) as client:
            equal(client.ask("GET", "/5").status, 200, "on a new connection")
        check(all("close=- " in line + " " for line in front.log_lines(4)), front.log_lines(4))
        equal([r.target for r in origin.requests], ["/1", "/2", "/3", "/5"], "what was asked")


@alone
def test_pipelining_without_reading():
    """A MiB of requests: gyre takes few of them while their client reads no answer, and all of them
    have one when it reads."""
    request = "GET / HTTP/1.1\r\nHost: a\r\nX: " + "x" * 200 + "\r\n\r\n"
    count = (1 << 20) // len(request)

    def serve(exchange):
        while exchange.request():
            exchange.answer(b"x" * 4000)
    origin = Origin(serve)
    with Front(origin.address, listener="max_pipelined = 16k") as front:
        with Client(front.address) as client:
            sender = threading.Thread(target=client.send, args=(request * count,))
            sender.start()
            # Answers fill the client's and gyre's socket buffers, some MiB, and then all stands.
            seen = [0]

            def stands_still():
                before, seen[0] = seen[0], origin.request_count()
                time.sleep(0.5)
                return seen[0] > 0 and origin.request_count() == before
            harness.until(stands_still, "gyre to stop reading requests")
            taken = origin.request_count()
            for _ in range(count):
                equal(client.response().status, 200, "status")
            sender.join()
        equal(origin.request_count(), count, "requests")
    return f"{taken} of {count} requests were taken of a client that reads nothing"


def test_client_that_goes_away():
    """Its server is let go at once: a synchronous worker is worth more than an answer to nobody."""
    origin = Origin(lambda exchange: exchange.request_head() and exchange.quiet())
    with Front(origin.address) as front:
        for how in ("fin", "reset"):
            client = Client(front.address)
            client.request("GET", "/" + how)
            origin.wait_requests(1)
            origin.requests.clear()
            if how == "reset":
                client.reset()
            else:
                client.close()
            harness.until(lambda: origin.open == 0, f"the server to be let go ({how})")
        lines = front.log_lines(2)
        check(all("close=client-gone" in line and '" 499 ' in line for line in lines), lines)
