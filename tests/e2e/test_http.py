"""HTTP through gyre to a real app: Flask on four synchronous gunicorn workers."""
import hashlib
import os
import socket
import sys

import harness
from harness import SHARED, Curl, Front, check, equal
from wire import Client



def pattern(count, seed=0):
    """What the app's /bytes and /chunks send."""
    made = bytearray()
    while len(made) < count:
        made += hashlib.sha256(b"%d %d" % (seed, len(made))).digest() * 32
    return bytes(made[:count])


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_get_head_and_methods():
    with Front(SHARED["flask"]) as front:
        got = Curl(front.url("/echo/a%20b?c=d&e"))
        equal(got.status, 200, "status")
        equal([got.json()[k] for k in ("method", "path", "query")],
              ["GET", "/echo/a b", "c=d&e"], "what the app saw")
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
            equal(Curl("-X", method, front.url("/echo")).json()["method"], method, "method")
        head = Curl("-I", front.url("/bytes/5000"))
        equal(head.status, 200, "status of HEAD")
        check(b"Content-Length: 5000\r\n" in head.body, "HEAD lacks its length:", head.body)
        equal(Curl(front.url("/status/404")).status, 404, "the app's own 404")


def test_posts_of_all_sizes():
    with Front(SHARED["flask"]) as front:
        for size in (0, 1, 100, 4095, 16384, 65537, 1 << 20, 8 << 20):
            body = os.urandom(size)
            for fields in ([], ["-H", "Transfer-Encoding: chunked"]):
                got = Curl("--data-binary", "@-", *fields, front.url("/echo"), data=body)
                equal(got.status, 200, f"POST of {size} {fields}: {got.errors}")
                equal([got.json()["bytes"], got.json()["sha256"]], [size, sha256(body)],
                      f"POST of {size} {fields}")


def test_large_and_chunked_downloads():
    with Front(SHARED["flask"]) as front:
        got = Curl(front.url("/bytes/33554432"), seconds=50)
        check(got.body == pattern(33554432), "32 MiB came changed:", got.rc, len(got.body))
        got = Curl("-D", harness.path("head"), front.url("/chunks/300/7001"))
        check(got.body == b"".join(pattern(7001, i) for i in range(300)), "chunks came changed")
        check("Transfer-Encoding: chunked" in harness.read("head"), harness.read("head"))
        got = Curl("--http1.0", "-D", harness.path("head"), front.url("/chunks/3/1000"))
        check(got.body == b"".join(pattern(1000, i) for i in range(3)), "HTTP/1.0 came changed")
        check("Transfer-Encoding" not in harness.read("head"), harness.read("head"))


def test_no_content():
    with Front(SHARED["flask"]) as front, Client(front.address) as client:
        for status in (204, 304, 200, 204):
            got = client.ask("GET", f"/status/{status}")
            equal(got.status, status, "status")
            check(got.get("Transfer-Encoding") is None, "framing of no body:", got)
            if status == 204:
                check(got.get("Content-Length") is None, "a 204 with a length:", got)


def test_keepalive_and_pipelining():
    with Front(SHARED["flask"]) as front, Client(front.address) as client:
        for i in range(50):
            equal(client.ask("GET", f"/echo/{i}").status, 200, "kept connection")
        # Answers come in order, also behind one with a body and a HEAD.
        client.request("POST", "/echo/first", body=b"x" * 5000)
        client.request("HEAD", "/bytes/100")
        for i in range(20):
            client.request("GET", f"/bytes/{i}")
        first = client.response()
        check(b'"bytes":5000' in first.body and b"/echo/first" in first.body, first)
        equal(client.response("HEAD").get("Content-Length"), "100", "HEAD in the pipeline")
        for i in range(20):
            check(client.response().body == pattern(i), f"answer {i} of the pipeline")
        client.request("GET", "/echo", "Connection: close")
        equal(client.response().get("Connection"), "close", "Connection of the last")
        client.expect_end()


def test_expect_continue():
    with Front(SHARED["flask"]) as front:
        body = os.urandom(300000)
        got = Curl("-v", "-H", "Expect: 100-continue", "--expect100-timeout", "60",
                   "--data-binary", "@-", front.url("/echo"), data=body)
        equal(got.status, 200, "status")
        equal(got.json()["sha256"], sha256(body), "body")
        check("100 Continue" in got.errors, "no 100 came:", got.errors)


def test_http_1_0_client():
    with Front(SHARED["flask"]) as front:
        with Client(front.address) as client:
            client.send("GET /echo HTTP/1.0\r\n\r\n")       # no Host: allowed there
            got = client.response()
            equal(got.status, 200, "status")
            client.expect_end()
        with Client(front.address) as client:
            client.send("POST /echo HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
            check(b'"bytes":5' in client.response().body, "body of HTTP/1.0")
            client.expect_end()


def test_cookies_stay_apart():
    with Front(SHARED["flask"]) as front, Client(front.address) as client:
        equal(client.ask("GET", "/cookies").all("Set-Cookie"), ["one=1; Path=/", "two=2; Path=/"],
              "Set-Cookie")


def test_many_at_once():
    """More clients than workers, each on a connection that is kept: nothing mixed or lost."""
    with Front(SHARED["flask"], workers=2) as front:
        clients = [Client(front.address) for _ in range(40)]
        for turn in range(3):
            for i, client in enumerate(clients):
                client.request("POST", f"/echo/{turn}-{i}", body=b"%d" % i * 500)
            for i, client in enumerate(clients):
                got = client.response()
                equal(got.status, 200, "status")
                check(b'"rest":"%d-%d"' % (turn, i) in got.body, "mixed up:", i, got.body)
        for client in clients:
            client.close()


def test_what_flask_sees_of_the_client():
    with Front(SHARED["flask"], tls=True) as front:
        got = Curl("--cacert", SHARED["cert"], "--connect-to", "::" + harness.address_text(
            front.address), "https://one.test:8443/echo", "-H", "X-Forwarded-For: 6.6.6.6",
            "-H", "X_Forwarded_Proto: ftp", "-H", "X_Real_IP: 6.6.6.6")
        fields = {}
        for name, value in got.json()["headers"]:
            fields.setdefault(name.lower(), []).append(value)
        equal(fields["host"], ["one.test:8443"], "Host")
        equal(fields["x-forwarded-for"], ["127.0.0.1"], "X-Forwarded-For")
        equal(fields["x-forwarded-proto"], ["https"], "X-Forwarded-Proto")
        equal(fields["x-forwarded-host"], ["one.test:8443"], "X-Forwarded-Host")
        equal(fields["x-forwarded-port"], [str(front.address[1])], "X-Forwarded-Port")
        equal(fields["x-real-ip"], ["127.0.0.1"], "X-Real-IP")


# Of struct tcp_info (linux/tcp.h): segments that came, and those of them with bytes.
SEGS_IN, DATA_SEGS_IN = 140, 152


def empty_segments_of_last_answer(front, target):
    """What came without bytes, of an answer after which gyre closes."""
    with Client(front.address) as client:
        client.request("GET", target, "Connection: close")
        client.response()
        client.expect_end()
        info = client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    came, with_bytes = (int.from_bytes(info[at:at + 4], sys.byteorder)
                        for at in (SEGS_IN, DATA_SEGS_IN))
    return came - with_bytes


def test_the_end_goes_with_the_last_answer():
    with Front(SHARED["flask"]) as front:
        for target in ("/bytes/1000", "/bytes/100000", "/status/404"):
            seen = []
            while len(seen) < 30 and min(seen, default=9) > 2:
                seen.append(empty_segments_of_last_answer(front, target))
            check(min(seen) <= 2, f"{target}: a SYN, the request's acknowledgement, and no FIN of its "
                  "own:", seen)
