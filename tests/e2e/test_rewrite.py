"""What gyre changes in heads, seen by an origin of our own, byte by byte."""
import re
import socket

import harness
from harness import Front, address_text, check, equal
from wire import Client, Origin

SPOOFED = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: gopher", "X-Forwarded-Host: evil.test",
           "X-Forwarded-Port: 6", "X-Forwarded-Server: evil", "X-Real-IP: 6.6.6.6",
           "Forwarded: for=6.6.6.6", "X-Request-ID: spoofed"]


def seen(fields, method="GET", listener="", glob="", **options):
    """The request as the origin sees it."""
    origin = Origin()
    with Front(origin.address, listener=listener, glob=glob) as front:
        with Client(front.address) as client:
            equal(client.ask(method, "/x", *fields, **options).status, 200, "status")
    return origin.requests[0], front


def test_forwarded_fields():
    got, front = seen(["User-Agent: me"], host="one.test:81")
    equal(got.get("Host"), "one.test:81", "Host")
    equal(got.get("X-Forwarded-For"), "127.0.0.1", "X-Forwarded-For")
    equal(got.get("X-Forwarded-Proto"), "http", "X-Forwarded-Proto")
    equal(got.get("X-Forwarded-Host"), "one.test:81", "X-Forwarded-Host")
    equal(got.get("X-Forwarded-Port"), str(front.address[1]), "X-Forwarded-Port")
    equal(got.get("X-Real-IP"), "127.0.0.1", "X-Real-IP")
    equal(got.get("Forwarded"), 'for=127.0.0.1;host="one.test:81";proto=http', "Forwarded")
    check("1.1 gyre" in got.get("Via"), got)
    check(re.fullmatch("[0-9a-f]{32}", got.get("X-Request-ID")), got)
    equal(got.get("User-Agent"), "me", "User-Agent")
    equal(got.version, "HTTP/1.1", "version")


def test_spoofed_fields_are_dropped():
    got, _ = seen(SPOOFED)
    check(b"6.6.6.6" not in got.raw and b"evil" not in got.raw and b"gopher" not in got.raw
          and b"spoofed" not in got.raw, got)
    equal(got.get("X-Forwarded-For"), "127.0.0.1", "X-Forwarded-For")
    # Apps see _ and - as the same.
    alike = [f.replace("-", "_") for f in SPOOFED] + ["Content_Length: 7", "My_Own: x"]
    got, _ = seen(alike)
    check(b"6.6.6.6" not in got.raw and b"evil" not in got.raw and b"_" not in got.raw, got)
    got, _ = seen(alike, listener="keep_underscores = yes")
    equal([got.get("X_Real_IP"), got.get("My_Own")], ["6.6.6.6", "x"], "with keep_underscores")


def test_trusted_proxies_are_believed():
    got, _ = seen(SPOOFED, glob="trusted_proxies = 127.0.0.0/8")
    equal(got.get("X-Forwarded-For"), "6.6.6.6, 127.0.0.1", "X-Forwarded-For")
    equal(got.get("X-Forwarded-Proto"), "gopher", "X-Forwarded-Proto")
    equal(got.get("X-Forwarded-Host"), "evil.test", "X-Forwarded-Host")
    equal(got.get("X-Real-IP"), "6.6.6.6", "X-Real-IP")
    equal(got.get("X-Request-ID"), "spoofed", "X-Request-ID")
    check(got.get("Forwarded").startswith("for=6.6.6.6, for=127.0.0.1;"), got)
    got, _ = seen(["X-Request-ID: not one\tword"], glob="trusted_proxies = 127.0.0.0/8")
    check(re.fullmatch("[0-9a-f]{32}", got.get("X-Request-ID")), got)
    got, _ = seen(SPOOFED, glob="trusted_proxies = 10.0.0.0/8, ::/0")
    equal(got.get("X-Forwarded-For"), "127.0.0.1", "X-Forwarded-For by one who is not trusted")


def test_hop_by_hop_fields():
    got, _ = seen(["Connection: keep-alive, X-Mine, Cookie, X-Forwarded-For", "Keep-Alive: 5",
                   "X-Mine: 1", "Cookie: a=b", "Proxy-Connection: x", "TE: gzip",
                   "Upgrade: h2c", "HTTP2-Settings: AAMAAABk", "X-Kept: yes"])
    for name in ("Keep-Alive", "X-Mine", "Proxy-Connection", "Upgrade", "HTTP2-Settings", "TE"):
        equal(got.all(name), [], name)
    check(all("X-Mine" not in v for v in got.all("Connection")), got)
    equal(got.get("X-Kept"), "yes", "X-Kept")
    equal(got.get("Cookie"), "a=b", "an end-to-end field that Connection nominates")
    equal(got.get("X-Forwarded-For"), "127.0.0.1", "X-Forwarded-For")


def test_targets():
    """What is in a path or query goes on as it came; an absolute form becomes an origin form."""
    origin = Origin()
    with Front(origin.address) as front, Client(front.address) as client:
        for target in ("/a//b/../c/./%2e%2F?q=%20&x=[1]|{2}", "/?", "/;p=1,2", "/~%ff", "//x"):
            client.ask("GET", target)
            equal(origin.requests[-1].target, target, "target")
        client.ask("GET", "http://two.test:82/abs?x", host="one.test")
        equal([origin.requests[-1].target, origin.requests[-1].get("Host")],
              ["/abs?x", "two.test:82"], "absolute form")
        client.ask("GET", "http://two.test")
        equal(origin.requests[-1].target, "/", "absolute form without a path")
        client.ask("OPTIONS", "*")
        equal(origin.requests[-1].target, "*", "asterisk form")


def test_request_ids_differ_and_are_logged():
    origin = Origin()
    with Front(origin.address) as front, Client(front.address) as client:
        for _ in range(100):
            client.ask()
        ids = [r.get("X-Request-ID") for r in origin.requests]
        equal(len(set(ids)), 100, "different ids")
        lines = front.log_lines(100)
        check(all(f"id={one}" in line for one, line in zip(ids, lines)), lines[0], ids[0])


def test_responses():
    def serve(exchange):
        while exchange.request():
            exchange.answer("body", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: 5",
                            "Proxy-Connection: x", "Set-Cookie: a=1", "Set-Cookie: b=2",
                            "Server: mine", "X-Bytes: caf\xe9", status="299 My Own Reason")
    origin = Origin(serve)
    with Front(origin.address) as front, Client(front.address) as client:
        got = client.ask()
        equal(got.line, "HTTP/1.1 299 My Own Reason", "status line")
        for name in ("X-Hop", "Keep-Alive", "Proxy-Connection"):
            equal(got.all(name), [], name)
        equal(got.all("Set-Cookie"), ["a=1", "b=2"], "Set-Cookie")
        equal([got.get("Server"), got.get("X-Bytes")], ["mine", "caf\xe9"], "fields")
        check(got.get("Date"), "no Date was added:", got)


def test_clients_by_ipv6_and_unix():
    origin = Origin()
    port = harness.free_port_everywhere("::1", socket.AF_INET6)
    sock = harness.path("front.sock")
    more = (f"[listener six]\nbind = [::1]:{port}, {address_text(sock)}\nbackend = app\n")
    with Front(origin.address, more=more):
        with Client(("::1", port)) as client:
            equal(client.ask().status, 200, "status over IPv6")
        with Client(sock) as client:
            equal(client.ask().status, 200, "status over a unix socket")
    six, unix = origin.requests
    equal(six.get("X-Forwarded-For"), "::1", "X-Forwarded-For")
    check(six.get("Forwarded").startswith('for="[::1]";'), six)
    check(unix.get("Forwarded").startswith("for=unknown;"), unix)
