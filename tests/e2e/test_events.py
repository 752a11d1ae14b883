"""What comes in pieces goes on in pieces: event streams down, uploads up."""
import os

from harness import SHARED, Curl, Front, check, equal, until
from test_tls import TlsClient
from wire import Client, Origin


def test_each_event_arrives_before_the_next_is_written():
    """The app writes an event only when the client, having seen the last one, asks for it."""
    name = f"events-{os.getpid()}"
    for tls in (False, True):
        with Front(SHARED["asgi"], tls=tls) as front:
            with (TlsClient if tls else Client)(front.address) as client:
                client.request("GET", "/sse/" + name)
                for i in range(1, 21):
                    got = Curl("--unix-socket", SHARED["asgi"], "-d", f"word {i}",
                               f"http://one.test/gate/{name}")
                    equal(got.status, 200, "status of the gate")
                    if i == 1:
                        head = client.head()
                        equal(head.get("Content-Type"), "text/event-stream", "Content-Type")
                    size = int(client.take_until(b"\r\n"), 16)
                    equal(client.take(size + 2), b"id: %d\ndata: word %d\n\n\r\n" % (i, i), "event")
                    client.expect_open()
                Curl("--unix-socket", SHARED["asgi"], "-d", "end", f"http://one.test/gate/{name}")
                equal(client.take(5), b"0\r\n\r\n", "the end")


def test_upload_goes_on_as_it_comes():
    """An asynchronous server sees each piece of a slow upload when it comes."""
    def serve(exchange):
        exchange.request_head()
        for i in range(20):
            size = int(exchange.take_until(b"\r\n"), 16)
            equal(exchange.take(size + 2), b"piece %d\r\n" % i, "piece")
            exchange.origin.seen = i
        equal(exchange.take(5), b"0\r\n\r\n", "the end")
        exchange.answer("thanks")
    origin = Origin(serve)

    with Front(origin.address, backend="mode = async") as front, Client(front.address) as client:
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(20):
            piece = f"piece {i}"
            client.send(f"{len(piece):x}\r\n{piece}\r\n")
            until(lambda i=i: getattr(origin, "seen", -1) == i, f"piece {i} at the server")
        client.send("0\r\n\r\n")
        equal(client.response().body, b"thanks", "answer")


def test_head_comes_before_the_body():
    """A head goes on by itself; an answer may begin while the request still comes (RFC 9112)."""
    def serve(exchange):
        exchange.request_head()
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            exchange.send("1\r\n", exchange.take(1), "\r\n")
        exchange.send("0\r\n\r\n")
    with Front(Origin(serve).address, backend="mode = async") as front, \
            Client(front.address) as client:
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        equal(client.head().status, 200, "status before the body")
        for byte in (b"h", b"e", b"l", b"l", b"o"):
            client.send(byte)
            check(client.take(6) == b"1\r\n%s\r\n" % byte, "an echo of each byte")
        equal(client.take(5), b"0\r\n\r\n", "the end")
