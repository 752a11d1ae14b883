"""Requests that are malformed, ambiguous, or not gyre's: refused, and nothing of them goes on."""
import harness
from harness import Front, check, equal
from wire import Client, Origin

GET = "GET / HTTP/1.1\r\n"
POST = "POST / HTTP/1.1\r\nHost: a\r\n"
HOST = "Host: a\r\n"
END = "\r\n"

# (what it is, the bytes, the status or the statuses that are right)
REQUEST_LINES = [
    ("no target", "GET HTTP/1.1\r\n" + HOST + END, 400),
    ("two blanks", "GET  / HTTP/1.1\r\n" + HOST + END, 400),
    ("a blank in front", " GET / HTTP/1.1\r\n" + HOST + END, 400),
    ("a blank at the end", "GET / HTTP/1.1 \r\n" + HOST + END, 400),
    ("tabs", "GET\t/\tHTTP/1.1\r\n" + HOST + END, 400),
    ("HTTP/0.9, short", "GET /\r\n", (400, 505)),
    ("HTTP/0.9, short, with fields", "GET /\r\n" + HOST + END, (400, 505)),
    ("HTTP/0.9", "GET / HTTP/0.9\r\n" + HOST + END, 505),
    ("HTTP/2.0", "GET / HTTP/2.0\r\n" + HOST + END, 505),
    ("HTTP/3", "GET / HTTP/3\r\n" + HOST + END, (400, 505)),
    ("HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 501, 505)),
    ("http in lower case", "GET / http/1.1\r\n" + HOST + END, (400, 505)),
    ("HTTP/1.10", "GET / HTTP/1.10\r\n" + HOST + END, (400, 505)),
    ("HTTP/01.1", "GET / HTTP/01.1\r\n" + HOST + END, (400, 505)),
    ("RTSP", "GET / RTSP/1.0\r\n" + HOST + END, (400, 505)),
    ("ICE", "SOURCE / ICE/1.0\r\n" + HOST + END, (400, 501, 505)),
    ("a method in lower case", "get / HTTP/1.1\r\n" + HOST + END, 501),
    ("an unknown method", "FROB / HTTP/1.1\r\n" + HOST + END, 501),
    ("a method that is no token", "GE(T / HTTP/1.1\r\n" + HOST + END, (400, 501)),
    ("TRACE", "TRACE / HTTP/1.1\r\n" + HOST + END, 405),
    ("CONNECT", "CONNECT one.test:443 HTTP/1.1\r\nHost: one.test:443\r\n\r\n", (405, 501)),
    ("CONNECT of a path", "CONNECT / HTTP/1.1\r\n" + HOST + END, (400, 405, 501)),
    ("a fragment", "GET /#x HTTP/1.1\r\n" + HOST + END, 400),
    ("angle brackets", "GET /<x> HTTP/1.1\r\n" + HOST + END, 400),
    ("a backslash", "GET /a\\..\\b HTTP/1.1\r\n" + HOST + END, 400),
    ("a quote", 'GET /"x" HTTP/1.1\r\n' + HOST + END, 400),
    ("a control", "GET /\x01 HTTP/1.1\r\n" + HOST + END, 400),
    ("NUL", "GET /\0 HTTP/1.1\r\n" + HOST + END, 400),
    ("DEL", "GET /\x7f HTTP/1.1\r\n" + HOST + END, 400),
    ("a byte above 127", "GET /\xe9 HTTP/1.1\r\n" + HOST + END, 400),
    ("bare CR in the target", "GET /\rx HTTP/1.1\r\n" + HOST + END, 400),
    ("no slash", "GET x HTTP/1.1\r\n" + HOST + END, 400),
    ("* with GET", "GET * HTTP/1.1\r\n" + HOST + END, 400),
    ("*x", "OPTIONS *x HTTP/1.1\r\n" + HOST + END, 400),
    ("authority form", "GET one.test:80 HTTP/1.1\r\n" + HOST + END, 400),
    ("another scheme", "GET ftp://a/ HTTP/1.1\r\n" + HOST + END, 400),
    ("user information", "GET http://me@a/ HTTP/1.1\r\n" + HOST + END, 400),
    ("no authority", "GET http:///x HTTP/1.1\r\n" + HOST + END, 400),
    ("a bad port", "GET http://a:99999/ HTTP/1.1\r\n" + HOST + END, 400),
    ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, 400),
    ("a telnet", "\xff\xf4\xff\xfd\x06\r\n\r\n", 400),
    ("many empty lines", "\r\n" * 1000 + GET + HOST + END, 400),
    ("bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400),
]
FIELDS = [
    ("no Host", GET + END, 400),
    ("no Host beside an absolute form", "GET http://a/ HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", GET + HOST + "Host: b\r\n\r\n", 400),
    ("the same Host twice", GET + HOST + HOST + END, 400),
    ("an empty Host", GET + "Host:\r\n\r\n", 400),
    ("a Host with a path", GET + "Host: a/b\r\n\r\n", 400),
    ("a Host with a user", GET + "Host: me@a\r\n\r\n", 400),
    ("a Host with a blank", GET + "Host: a b\r\n\r\n", 400),
    ("a Host list", GET + "Host: a, b\r\n\r\n", 400),
    ("a Host with a bad port", GET + "Host: a:b\r\n\r\n", 400),
    ("a blank before the colon", GET + "Host : a\r\n\r\n", 400),
    ("a tab before the colon", GET + HOST + "X\t: a\r\n\r\n", 400),
    ("a blank before the first field", GET + " Host: a\r\n\r\n", 400),
    ("a folded field", GET + HOST + "X: a\r\n b\r\n\r\n", 400),
    ("a folded length", POST + "Content-Length:\r\n 5\r\n\r\nhello", 400),
    ("no colon", GET + HOST + "X\r\n\r\n", 400),
    ("no name", GET + HOST + ": x\r\n\r\n", 400),
    ("a name that is no token", GET + HOST + "X(: x\r\n\r\n", 400),
    ("NUL in a value", GET + HOST + "X: a\0b\r\n\r\n", 400),
    ("DEL in a value", GET + HOST + "X: a\x7fb\r\n\r\n", 400),
    ("bare CR in a value", GET + HOST + "X: a\rb\r\n\r\n", 400),
    ("bare CR hiding a field", GET + HOST + "X: \rTransfer-Encoding: chunked\r\n\r\n", 400),
    ("CR CR at the end of the head", GET + HOST + "X: a\r\n\rX-Smuggled: yes\r\n\r\n", 400),
    ("bare LF hiding a field", GET + HOST + "X: a\nY: b\r\n\r\n", 400),
    ("a Connection that is no list", GET + HOST + "Connection: a b;\r\n\r\n", 400),
    ("an unknown expectation", POST + "Expect: tea\r\nContent-Length: 3\r\n\r\nabc", 417),
]
CHUNKS = "Transfer-Encoding: chunked\r\n"
FRAMING = [
    ("length and chunks", POST + "Content-Length: 5\r\n" + CHUNKS + "\r\n0\r\n\r\n", 400),
    ("chunks and length", POST + CHUNKS + "Content-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("chunks of HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\n" + CHUNKS + "\r\n0\r\n\r\n", 400),
    ("two lengths", POST + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    ("the same length twice", POST + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("chunked twice", POST + CHUNKS + CHUNKS + "\r\n0\r\n\r\n", 400),
] + [
    (f"a length of {v!r}", POST + f"Content-Length: {v}\r\n\r\nhello", 400)
    for v in ("", "+5", "-5", "0x5", "5, 5", "5 5", "5;", "5.0", "05", "abc", "5\x0b",
              "18446744073709551616", "99999999999999999999999999")
] + [
    (f"a coding of {v!r}", POST + f"Transfer-Encoding: {v}\r\n\r\n0\r\n\r\n", statuses)
    for v, statuses in (
        ("", 400), (", chunked", (400, 501)), ("chunked,", (400, 501)), ("gzip", (400, 501)),
        ("gzip, chunked", 501), ("chunked, chunked", (400, 501)), ("chunked, gzip", 400),
        ("identity", 400), ("xchunked", (400, 501)), ("chunked;q=1", 400), ('"chunked"', 400),
        ("chunked\x0b", 400), ("identity, chunked", (400, 501)))
] + [("an empty coding beside a length",
      POST + "Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello", 400)]


def refuse_all(table):
    """Each by itself, and each behind a good request on the same connection."""
    origin = Origin()
    with Front(origin.address) as front:
        for what, request, statuses in table:
            for first in (0, 1):
                with Client(front.address) as client:
                    if first:
                        client.request("GET", "/first")
                    client.send(request, "GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
                    if first:
                        equal(client.response().status, 200, f"before {what}")
                    got = client.response()
                    statuses = statuses if isinstance(statuses, tuple) else (statuses,)
                    check(got.status in statuses, f"{what}: got {got.line}, wanted {statuses}")
                    equal(got.get("Connection"), "close", f"{what}: Connection")
                    client.expect_end()
        equal({r.target for r in origin.requests}, {"/first"}, "what reached the origin")
        equal(len(origin.requests), len(table), "requests at the origin")
        with Client(front.address) as client:
            equal(client.ask().status, 200, "a good request after all")
    return f"{len(table)} requests, each twice"


def test_request_lines():
    return refuse_all(REQUEST_LINES)


def test_fields():
    return refuse_all(FIELDS)


def test_framing():
    return refuse_all(FRAMING)


BAD_CHUNKS = [
    "zz\r\n", "-5\r\nhello\r\n", "0x5\r\nhello\r\n", "5 \r\nhello\r\n", " 5\r\nhello\r\n",
    "5;\r\nhello\r\n", "5\nhello\r\n", "5\r\nhelloX\r\n", "5\r\nhello\n", "+5\r\nhello\r\n",
    "FFFFFFFFFFFFFFFFF\r\n", "10000000000000000\r\n", "5;a=\"\n\"\r\nhello\r\n",
    "5;" + "a" * 100000 + "\r\nhello\r\n", "0" * 100000 + "5\r\nhello\r\n", "\r\n5\r\nhello\r\n",
    "0\r\nContent-Length: 5\r\n\r\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "0\r\nX : a\r\n\r\n", "0\r\nno colon\r\n\r\n", "0\r\nX: " + "a" * 100000 + "\r\n\r\n",
]


def test_chunks():
    """The head may have gone on; the message is never completed at the origin."""
    def serve(exchange):
        request = exchange.request_head()
        if request is None:
            return
        if request.get("Transfer-Encoding"):
            body = exchange.quiet()
            check(b"0\r\n\r\n" not in body, "completed at the origin:", body[-100:])
        else:
            exchange.answer("ok")
    origin = Origin(serve)
    with Front(origin.address, backend="mode = async") as front:
        for bad in BAD_CHUNKS:
            with Client(front.address) as client:
                client.send(POST, CHUNKS, END, "3\r\nabc\r\n")
                origin.wait_requests(1)
                client.send(bad, "0\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n")
                got = client.response()
                equal(got.status, 400, f"status for {bad[:40]!r}")
                client.expect_end()
            harness.until(lambda: origin.open == 0, "gyre to end its connection to the origin")
            equal([r.target for r in origin.requests], ["/"], "at the origin")
            origin.requests.clear()
    return f"{len(BAD_CHUNKS)} bodies"


def test_what_is_strange_and_still_right():
    origin = Origin()
    with Front(origin.address) as front, Client(front.address) as client:
        client.send("\r\n" + GET + HOST + END)                  # an empty line in front
        equal(client.response().status, 200, "an empty line")
        client.send(GET + "hOST:a\r\nX:\t \r\nEmpty:\r\nY: b \t\r\nBytes: \xe9\xff\r\n\r\n")
        equal(client.response().status, 200, "fields")
        got = origin.requests[-1]
        equal([got.get("X"), got.get("Y"), got.get("Bytes")], ["", "b", "\xe9\xff"], "values")
        client.send(POST + "Transfer-Encoding: Chunked\r\n\r\n"
                    "A;x=y;z=\"q\"\r\n0123456789\r\n0003\r\nabc\r\n0;last\r\n\r\n")
        equal(client.response().status, 200, "chunks")
        equal(origin.requests[-1].body, b"0123456789abc", "body")
        client.send(GET + "Host: a\r\nContent-Length: 3\r\n\r\nabc")     # a GET with a body
        equal(client.response().body, b"GET / 3\n", "a GET with a body")
        for one in ("GET / HTTP/1.1\r\nHo", "st: a", "\r\n", "\r", "\n"):
            client.send(one)
        equal(client.response().status, 200, "a head in pieces")


def test_bad_bodies_of_redirected_requests():
    """In one piece with their heads, which are answered without a server."""
    with Front(Origin().address, more=f"[listener r]\nbind = "
               f"{harness.address_text(other := harness.free_address())}\nredirect_https = yes\n"
               ) as front:
        for body in ("x\r\n", "5\r\nhelloXX", "0\r\nContent-Length: 1\r\n\r\n"):
            for address, head in ((other, "POST / HTTP/1.1"),
                                  (front.address, "OPTIONS / HTTP/1.1\r\nMax-Forwards: 0")):
                with Client(address) as client:
                    client.send(f"{head}\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
                    equal(client.response().status, 400, body)
                    client.expect_end()
