"""Servers of every kind, good and bad, played by the test."""
import socket
import threading

import harness
from harness import Front, check, equal, until
from wire import Client, Exchange, Origin, full_listener


def talk(serve, **options):
    """An origin that serves so, a gyre before it, and a client of that."""
    origin = Origin(serve)
    front = Front(origin.address, **options)
    return origin, front, Client(front.address)


def send_once(*parts):
    """An origin that answers each first request with these bytes and closes."""
    def serve(exchange):
        if exchange.request():
            exchange.send(*parts)
    return serve


def test_http_1_0_servers():
    def serve(exchange):
        request = exchange.request()
        if request.target == "/close":
            exchange.send("HTTP/1.0 200 OK\r\nX: 1\r\n\r\nto the end")
        elif request.target == "/length":
            exchange.send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        else:                                   # it keeps its connection, as it says
            while request:
                exchange.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"
                              "Content-Length: 4\r\n\r\nkept")
                request = exchange.request()
    origin, _, client = talk(serve)
    got = client.ask("GET", "/close")
    equal([got.body, got.chunked, got.version], [b"to the end", True, "HTTP/1.1"], "to the end")
    equal(client.ask("GET", "/length").body, b"abc", "with a length")
    before = origin.connections
    for _ in range(3):
        equal(client.ask("GET", "/keep").body, b"kept", "kept")
    equal(origin.connections, before + 1, "connections to a server that keeps them")


def test_close_delimited_to_http_1_0():
    _, front, _ = talk(send_once("HTTP/1.1 200 OK\r\n\r\n", b"x" * 100000))
    with Client(front.address) as client:
        client.request(version="1.0")
        got = client.response()
        equal([len(got.body), got.get("Transfer-Encoding")], [100000, None], "to HTTP/1.0")


def test_connections_are_kept_and_reused():
    origin, front, client = talk(None)
    for i in range(20):
        equal(client.ask("POST", f"/{i}", body=b"x" * i).body, b"POST /%d %d\n" % (i, i), "answer")
    with Client(front.address) as other:
        other.ask()
    equal(origin.connections, 1, "connections to the server")


def test_keepalive_timeout_and_bound():
    origin, _, client = talk(None, backend="keepalive_timeout = 50ms")
    client.ask()
    until(lambda: origin.open == 0, "the idle connection to end")
    client.ask()
    equal(origin.connections, 2, "connections")
    origin, _, client = talk(None, backend="keepalive = 0")
    for _ in range(3):
        client.ask()
    equal(origin.connections, 3, "connections with keepalive = 0")


def test_interim_responses():
    def serve(exchange):
        while exchange.request():
            exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
                          "HTTP/1.1 102 Processing\r\n\r\n",
                          "HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n")
            exchange.answer("done")
    _, front, client = talk(serve)
    interim = []
    client.request()
    equal(client.response(interim=interim).body, b"done", "final")
    equal([m.status for m in interim], [103, 102, 103], "interim")
    equal(interim[2].get("Link"), "</b.css>", "Link")
    with Client(front.address) as old:          # HTTP/1.0 knows no interim responses
        old.request(version="1.0")
        equal(old.response().body, b"done", "final to HTTP/1.0")


def test_trailers():
    def serve(exchange):
        while (request := exchange.request()):
            check(not request.body or request.trailers == [("X-Up", "1")], request.trailers)
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "3\r\nabc\r\n0\r\nX-Down: 2\r\n\r\n")
    origin, _, client = talk(serve, backend="mode = async")
    got = client.ask("GET", "/", "TE: trailers", "Connection: TE")
    equal([got.body, got.trailers], [b"abc", [("X-Down", "2")]], "with TE: trailers")
    got = client.ask()
    equal([got.body, got.trailers], [b"abc", []], "without")
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                "2;ext=1\r\nhi\r\n0\r\nX-Up: 1\r\nHost: evil\r\nAuthorization: x\r\n\r\n")
    equal(client.response().status, 200, "status")
    equal([origin.requests[-1].body, origin.requests[-1].trailers], [b"hi", [("X-Up", "1")]],
          "a request's trailers")


def test_expect_continue_is_gyres():
    """A sync server sees a body that is there already."""
    def serve(exchange):
        while (request := exchange.request()):
            equal(request.get("Expect"), None, "Expect")
            exchange.answer(request.body)
    origin, _, client = talk(serve)
    client.request("POST", "/yes", "Expect: 100-continue", "Content-Length: 5")
    equal(client.head().status, 100, "interim")
    equal(origin.request_count(), 0, "requests before the body")
    client.send("hello")
    equal(client.response().body, b"hello", "final")


def test_expect_continue_is_the_servers():
    """The server's 100 goes to the client, and so does its refusal, without the body."""
    def serve(exchange):
        while (request := exchange.request_head()):
            equal(request.get("Expect"), "100-continue", "Expect")
            exchange.expect_open()
            if request.target == "/no":
                exchange.answer("no", "Connection: close", status="403 Forbidden")
                return
            exchange.send("HTTP/1.1 100 Continue\r\n\r\n")
            exchange.request_body(request)
            exchange.answer(request.body)
    _, front, client = talk(serve, backend="mode = async")
    fields = ["Expect: 100-continue", "Content-Length: 5"]
    client.request("POST", "/yes", *fields)
    equal(client.head().status, 100, "interim")
    client.send("hello")
    equal(client.response().body, b"hello", "final")
    with Client(front.address) as refused:
        refused.request("POST", "/no", *fields)
        equal(refused.response().status, 403, "final without a body")
        refused.expect_end()


def test_early_answer_to_an_upload():
    """A server that answers before it has read all: the client sees the answer."""
    def serve(exchange):
        exchange.request_head()
        exchange.answer("too much", "Connection: close", status="413 Too Large")
        exchange.quiet()
    _, _, client = talk(serve, backend="mode = async")
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n", b"x" * 100)
    equal(client.response().status, 413, "status")


def test_bodies_that_were_not_promised():
    """Bytes behind a response are never the next one."""
    evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    def serve(exchange):
        request = exchange.request()
        first = {"/extra": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
                 "/204": "HTTP/1.1 204 No Content\r\n\r\n",
                 "/204te": "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
                 "/304": "HTTP/1.1 304 Not Modified\r\nContent-Length: 53\r\n\r\n",
                 "/head": "HTTP/1.1 200 OK\r\nContent-Length: 53\r\n\r\n"}[request.target]
        exchange.send(first, evil)
        exchange.quiet()
    _, _, client = talk(serve)
    for target, method in (("/extra", "GET"), ("/204", "GET"), ("/204te", "GET"),
                           ("/304", "GET"), ("/head", "HEAD"), ("/extra", "GET")):
        got = client.ask(method, target)
        check(got.status in (200, 204, 304) and b"evil" not in got.body, target, got)
        client.expect_open()


GARBAGE = [
    b"", b"\r\n\r\n", b"garbage\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 99 Low\r\n\r\n", b"HTTP/1.1 2000 High\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nBig: " + b"x" * 100000 + b"\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Le",
]


def test_garbage_is_502():
    def serve(exchange):
        request = exchange.request()
        if request:
            exchange.send(GARBAGE[int(request.target[1:])])
    _, _, client = talk(serve)
    for i, garbage in enumerate(GARBAGE):
        for _ in range(2):
            equal(client.ask("POST", f"/{i}").status, 502, f"status for {garbage[:60]!r}")


TRUNCATED = {
    "/length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe half",
    "/chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nthe half",
    "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nthe half\r\n",
    "/badchunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nthe half\r\nzz\r\n",
}


def test_truncated_responses_are_seen():
    def serve(exchange):
        request = exchange.request()
        if request:
            exchange.send(TRUNCATED[request.target])
    _, front, _ = talk(serve)
    for target in TRUNCATED:
        with Client(front.address) as client:
            client.request("GET", target)
            head = client.head()
            equal(head.status, 200, "status")
            body = client.expect_cut()
            check(b"the half" in body and b"0\r\n\r\n" not in body, target, "got", body)
        with Client(front.address) as old:      # nothing but a reset can tell this one
            old.request("GET", target, version="1.0")
            reset = False
            try:
                old.head()
                old.rest()
            except ConnectionResetError:
                reset = True
            check(reset or target == "/length", target, "looks whole to an HTTP/1.0 client")


def test_reset_inside_a_response():
    def serve(exchange):
        exchange.request()
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        ready.wait(harness.WAIT_S)
        exchange.reset()
    ready = threading.Event()
    _, front, client = talk(serve)
    client.request()
    client.head()
    equal(client.take(4), b"half", "what came")
    ready.set()
    equal(client.expect_cut(), b"", "after the reset")
    check("close=backend-cut" in front.log_lines(1)[0], front.log_lines(1))


# --- Servers that can not be reached -------------------------------------------------------------

def test_refused_goes_to_the_next_server():
    gone, there = Origin(), Origin()
    gone.refuse()
    with Front(gone.address, there.address, backend="balance = round_robin") as front:
        with Client(front.address) as client:
            for i in range(20):
                equal(client.ask("POST", f"/{i}", body=b"abc").body, b"POST /%d 3\n" % i, "answer")
    equal(there.request_count(), 20, "requests")


def test_all_refused_is_502():
    gone = Origin()
    gone.refuse()
    for servers in ([gone.address], [gone.address, harness.path("none.sock")]):
        with Front(*servers) as front, Client(front.address) as client:
            for method in ("GET", "POST", "HEAD"):
                equal(client.ask(method).status, 502, method)
            check("close=connect-refused" in front.log_lines(3)[0], front.log_lines(3))


def test_connect_timeout_is_504():
    address, held = full_listener()
    with Front(address, backend="connect_timeout = 100ms") as front:
        with Client(front.address) as client:
            equal(client.ask().status, 504, "status")
    for sock in held:
        sock.close()


def test_full_backlog_of_a_unix_socket_is_waited_for():
    """A backlog that stays full for queue_timeout is a server that is overloaded: 503."""
    address, held = full_listener(True)
    patience = "connect_timeout = 100ms\nqueue_timeout = 300ms"
    with Front(address, backend=patience) as front:
        with Client(front.address) as client:
            answer = client.ask()
            equal((answer.status, answer.get("retry-after")), (503, "5"), "answer")
        check("close=queue-timeout" in front.log_lines(1)[0], front.log_lines(1))
    for sock in held:
        sock.close()


def test_connect_timeout_goes_to_the_next_server():
    address, held = full_listener()
    origin = Origin()
    with Front(address, origin.address, backend="connect_timeout = 100ms\nbalance = round_robin"
               ) as front, Client(front.address) as client:
        for _ in range(4):
            equal(client.ask().status, 200, "status")
    for sock in held:
        sock.close()


def test_full_unix_backlog_is_waited_for():
    """gunicorn's queue is full for a moment: the request waits, it is not refused."""
    address, held = full_listener(unix=True)
    listener, fillers = held[0], held[1:]
    with Front(address, backend="connect_timeout = 15s") as front, Client(front.address) as client:
        client.request()
        front.gyre.wait_turns(10)           # it has tried, and tries again
        for sock in fillers:
            sock.close()
        listener.settimeout(harness.WAIT_S)
        sock = None
        while sock is None or not sock.recv(1, socket.MSG_PEEK):
            sock = listener.accept()[0]     # those that filled the queue say nothing
            sock.settimeout(harness.WAIT_S)
        exchange = Exchange(sock, Origin())
        equal(exchange.request().method, "GET", "method")
        exchange.answer("after all")
        equal(client.response().body, b"after all", "answer")
        sock.close()
    listener.close()
