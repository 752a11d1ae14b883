#!/usr/bin/python3
"""Makes real requests to the demo through gyre, and says what came back.

    visit.py CERTIFICATE HTTPS-PORT HTTP-PORT

One line for each check; exit code 0 only if all were right.
"""
import asyncio
import hashlib
import http.client
import json
import os
import socket
import ssl
import sys
import time

import websockets

os.environ["no_proxy"] = "*"     # what listens on this machine is reached without a proxy
PATIENCE = 20                    # seconds for any one answer

EVENTS, EVERY = 5, 0.2


class Visit:
    """One way in: a port, plain or TLS. The certificate is verified, by its name too."""

    def __init__(self, certificate, port, secure):
        self.port, self.secure = port, secure
        self.tls = ssl.create_default_context(cafile=certificate) if secure else None
        if secure:
            self.tls.set_alpn_protocols(["http/1.1"])

    def url(self, path, scheme="http"):
        return f"{scheme}{'s' if self.secure else ''}://localhost:{self.port}{path}"

    def connect(self):
        if self.secure:
            return http.client.HTTPSConnection("localhost", self.port, context=self.tls,
                                               timeout=PATIENCE)
        return http.client.HTTPConnection("localhost", self.port, timeout=PATIENCE)


def right(condition, message):
    if not condition:
        raise RuntimeError(message)


def ask(connection, method, path, body=None, chunked=False):
    """The body of a response that must be a 200."""
    headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
    connection.request(method, path, body=body, headers=headers, encode_chunked=chunked)
    response = connection.getresponse()
    text = response.read()
    right(response.status == 200, f"status {response.status}: {text[:200]!r}")
    return text


def get(visit):
    connection = visit.connect()
    said = json.loads(ask(connection, "GET", "/hello"))
    right(said["scheme"] == ("https" if visit.secure else "http"),
          f"the app took the scheme for {said['scheme']}")
    right(said["client"] in ("127.0.0.1", "::1"), f"the app took the client for {said['client']}")
    right(said["host"] == f"localhost:{visit.port}", f"the app was told Host: {said['host']}")
    right(said["request_id"], "the app was given no X-Request-ID")
    right(said["via"], "the app was given no Via")
    how = "plain"
    if visit.secure:
        how = f"{connection.sock.version()}, ALPN {connection.sock.selected_alpn_protocol()}"
        right(connection.sock.selected_alpn_protocol() == "http/1.1", how)
    return f"{how}; the app saw scheme {said['scheme']}, client {said['client']}"


def keep_alive(visit):
    connection = visit.connect()
    connection.connect()
    own, workers, count = connection.sock.getsockname(), set(), 40
    for _ in range(count):
        workers.add(json.loads(ask(connection, "GET", "/hello"))["worker"])
        right(connection.sock and connection.sock.getsockname() == own,
              "the connection was not kept alive")
    return f"{count} requests on one connection, answered by {len(workers)} of 4 workers"


def post(visit):
    return send_body(visit, os.urandom(1 << 20), chunked=False)


def post_chunked(visit):
    return send_body(visit, os.urandom(300_000), chunked=True)


def send_body(visit, sent, chunked):
    pieces = (sent[i:i + 10_000] for i in range(0, len(sent), 10_000)) if chunked else sent
    said = json.loads(ask(visit.connect(), "POST", "/digest", pieces, chunked))
    right(said["bytes"] == len(sent), f"{said['bytes']} of {len(sent)} bytes came to the app")
    right(said["sha256"] == hashlib.sha256(sent).hexdigest(), "the app read other bytes")
    return f"{len(sent)} bytes{' in chunks' if chunked else ''}, sha256 as sent"


def download(visit):
    size, line = 8 << 20, b"0123456789abcdef"
    got = ask(visit.connect(), "GET", f"/bytes/{size}")
    right(len(got) == size, f"{len(got)} of {size} bytes")
    right(got == line * (size // len(line)), "other bytes than the app sent")
    return f"{size} bytes, as sent"


def server_sent_events(visit):
    """Each event must come when the app sends it, not when there are many."""
    connection = visit.connect()
    connection.request("GET", f"/live/events?count={EVENTS}&every={EVERY}")
    response = connection.getresponse()
    right(response.getheader("Content-Type") == "text/event-stream",
          f"status {response.status}, {response.getheader('Content-Type')}")
    numbers, times = [], []
    while line := response.readline():
        if line.startswith(b"data: "):
            numbers.append(json.loads(line[6:])["number"])
            times.append(time.monotonic())
    right(numbers == list(range(1, EVENTS + 1)), f"events {numbers}")
    gaps = [b - a for a, b in zip(times, times[1:])]
    # A machine that is busy may hold one of them up; a proxy that gathers them shows in more.
    right(sorted(gaps)[1] > EVERY / 2, "events came together: gaps of "
          + ", ".join(f"{gap:.3f} s" for gap in gaps))
    return f"{EVENTS} events, one by one, {min(gaps):.2f} to {max(gaps):.2f} s apart"


def web_socket(visit):
    return asyncio.run(asyncio.wait_for(talk(visit), PATIENCE))


async def talk(visit):
    big = os.urandom(200_000)
    tls = {"ssl": visit.tls} if visit.secure else {}
    async with websockets.connect(visit.url("/live/ws", "ws"), max_size=None, **tls) as live:
        begin = time.monotonic()
        for number in range(100):
            await live.send(f"message {number}")
            answer = await live.recv()
            right(answer == f"message {number}", f"the echo was {answer!r}")
        each = (time.monotonic() - begin) / 100
        await live.send(big)
        right(await live.recv() == big, "the echo of 200000 bytes was another")
    right(live.close_code == 1000, f"it closed with {live.close_code}")
    return f"100 messages there and back, {each * 1000:.2f} ms each; 200000 bytes; closed 1000"


def ambiguous(visit):
    """Two framings in one request are how requests are smuggled: it must get no further."""
    request = (f"POST /digest HTTP/1.1\r\nHost: localhost:{visit.port}\r\nContent-Length: 4\r\n"
               "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    with socket.create_connection(("localhost", visit.port), timeout=PATIENCE) as plain:
        wire = visit.tls.wrap_socket(plain, server_hostname="localhost") if visit.secure else plain
        wire.sendall(request.encode())
        answer = b""
        while piece := wire.recv(65536):
            answer += piece
        wire.close()
    right(answer.startswith(b"HTTP/1.1 400 "), f"the answer was {answer[:60]!r}")
    return "400, and the connection was closed"


CHECKS = [("GET", get), ("keep-alive", keep_alive), ("POST", post),
          ("POST, chunked", post_chunked), ("download", download),
          ("server-sent events", server_sent_events), ("WebSocket", web_socket),
          ("two framings at once", ambiguous)]


def main(checks):
    certificate, https, plain = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    wrong = 0
    for visit in (Visit(certificate, https, True), Visit(certificate, plain, False)):
        print(f"through {visit.url('/')}")
        for title, check in checks:
            try:
                print(f"  ok    {title}: {check(visit)}", flush=True)
            except (OSError, RuntimeError, ValueError, KeyError, TimeoutError,
                    asyncio.TimeoutError, http.client.HTTPException,
                    websockets.WebSocketException) as error:
                wrong += 1
                print(f"  WRONG {title}: {type(error).__name__}: {error}", flush=True)
    print(f"{2 * len(checks) - wrong} of {2 * len(checks)} were right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(CHECKS))
