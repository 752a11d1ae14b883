"""WebSockets: a real client, gyre, a real app on uvicorn; and upgrades by hand."""
import asyncio
import json
import os
import socket
import ssl

import websockets

import harness
from harness import SHARED, Curl, Front, check, equal
from wire import Client, Origin

UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]


def talk(front, path, conversation, tls=False, **options):
    """Runs conversation(ws) on a WebSocket through gyre."""
    if tls:
        options.update(ssl=ssl.create_default_context(cafile=SHARED["cert"]),
                       server_hostname="one.test")

    async def run():
        host, port = front.address
        uri = f"{'wss' if tls else 'ws'}://one.test{path}"
        async with websockets.connect(uri, host=host, port=port, max_size=None,
                                      open_timeout=harness.WAIT_S, close_timeout=harness.WAIT_S,
                                      **options) as ws:
            await asyncio.wait_for(conversation(ws), harness.WAIT_S)
            return ws
    return asyncio.run(run())


async def echoes(ws):
    big = os.urandom(1 << 20)
    for message in ("hello", "", "é" * 1000, b"", b"\0\xff", "x" * 65535, "y" * 65536, big):
        await ws.send(message)
        equal(await ws.recv(), message, "echo")
    await asyncio.gather(*[ws.send(f"{i}") for i in range(200)])
    for i in range(200):
        equal(await ws.recv(), f"{i}", "echo in order")
    await (await ws.ping(b"are you there"))


def test_messages():
    with Front(SHARED["asgi"]) as front:
        ws = talk(front, "/ws/echo", echoes)
        equal(ws.close_code, 1000, "close code")
        lines = front.log_lines(1)
        check('" 101 ' in lines[0] and "close=tunnel-end" in lines[0], lines)


def test_messages_over_tls():
    with Front(SHARED["asgi"], tls=True, workers=2) as front:
        equal(talk(front, "/ws/echo", echoes, tls=True).close_code, 1000, "close code")


def test_close_codes():
    async def ask_to_close(ws):
        await ws.send("close 4321")
        await ws.wait_closed()

    async def close(ws):
        await ws.close(4123, "bye")
    with Front(SHARED["asgi"]) as front:
        equal(talk(front, "/ws/echo", ask_to_close).close_code, 4321, "the app's code")
        talk(front, f"/ws/tell-{os.getpid()}", close)
        # What the app saw comes through its gate: an event stream tells it.
        got = Curl("-N", front.url(f"/sse/tell-{os.getpid()}"), "-X", "GET", seconds=1)
        check(b"data: 4123" in got.body, "the client's code:", got.body)


def test_server_speaks_first():
    async def listen(ws):
        for i in range(100):
            equal(await ws.recv(), f"{i}", "message")
    with Front(SHARED["asgi"]) as front:
        talk(front, "/ws/burst", listen)


def test_heads():
    async def listen(ws):
        fields = dict(json.loads(await ws.recv()))
        equal(fields["host"], "one.test", "Host")
        equal(fields["x-forwarded-for"], "127.0.0.1", "X-Forwarded-For")
        equal(fields["x-forwarded-proto"], "https", "X-Forwarded-Proto")
        equal(fields["upgrade"].lower(), "websocket", "Upgrade")
        equal(ws.subprotocol, "chat", "subprotocol")
    with Front(SHARED["asgi"], tls=True) as front:
        talk(front, "/ws/headers", listen, tls=True, subprotocols=["chat", "other"])


def test_refused_by_the_app():
    with Front(SHARED["asgi"]) as front, Client(front.address) as client:
        equal(client.ask("GET", "/ws/refuse", *UPGRADE).status, 403, "status")
    with Front(SHARED["flask"]) as front, Client(front.address) as client:
        # Flask has no use for one, and says so itself.
        equal(client.ask("GET", "/echo", *UPGRADE).status, 400, "an app that does not upgrade")
        equal(client.ask("GET", "/echo").status, 200, "and its connection goes on")


def switch(upgrade="websocket", extra=""):
    """An origin that answers an upgrade with this, then echoes in capitals."""
    def serve(exchange):
        request = exchange.request()
        if request is None:
            return
        if request.get("Upgrade") is None:
            exchange.answer("no upgrade")
            exchange.request()
            return
        exchange.send(f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                      f"Upgrade: {upgrade}\r\n{extra}\r\n", "early from the server;")
        while exchange.have or exchange.fill():
            data, exchange.have = exchange.have, b""
            exchange.send(data.upper())
        exchange.send("last words")
    return serve


def test_early_bytes_and_half_close():
    with Front(Origin(switch()).address) as front, Client(front.address) as client:
        client.request("GET", "/ws", *UPGRADE)
        client.send("sent before the 101;")
        got = client.response()
        equal([got.status, got.get("Upgrade"), got.get("Connection").lower()],
              [101, "websocket", "upgrade"], "the 101")
        equal(client.take(42), b"early from the server;SENT BEFORE THE 101;", "early bytes")
        client.send("more")
        equal(client.take(4), b"MORE", "more")
        client.sock.shutdown(socket.SHUT_WR)
        equal(client.rest(), b"last words", "after the client's end")


def test_other_protocols_and_wrong_answers():
    with Front(Origin(switch("chat/1")).address) as front:
        with Client(front.address) as client:
            got = client.ask("GET", "/", "Connection: upgrade", "Upgrade: chat/1")
            equal([got.status, got.get("Upgrade")], [101, "chat/1"], "another protocol")
        with Client(front.address) as client:       # the server names what was not asked for
            equal(client.ask("GET", "/", *UPGRADE).status, 502, "status")
        for fields in (["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                        "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"],
                       ["Connection: upgrade", "Upgrade: H2C"],
                       ["Connection: upgrade", "Upgrade: h2c, websocket"],
                       ["Connection: keep-alive", "Upgrade: websocket"],
                       ["Upgrade: websocket"]):
            with Client(front.address) as client:
                got = client.ask("GET", "/", *fields)
                equal([got.status, got.body], [200, b"no upgrade"], f"{fields}")
        with Client(front.address) as client:
            client.request("GET", "/", *UPGRADE, version="1.0")
            equal(client.response().body, b"no upgrade", "of HTTP/1.0")


def test_tunnel_timeout():
    with Front(Origin(switch()).address, listener="tunnel_timeout = 200ms",
               backend="stall_timeout = 50ms\nresponse_timeout = 100ms") as front:
        with Client(front.address) as client:
            client.ask("GET", "/", *UPGRADE)
            for _ in range(6):                      # what is used lives on
                client.send("still here")
                client.take(10)
                harness.wait_readable([client.sock], 0.08)
                client.have = b""
            client.expect_cut()
        check("close=tunnel-timeout" in front.log_lines(1)[0], front.log_lines(1))


def test_ends_from_either_side():
    """An end or a reset of one side ends the other, too."""
    def serve(exchange):
        exchange.request()
        exchange.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        word = exchange.take(5)
        exchange.send("heard")
        if word == b"reset":
            exchange.reset()
        elif word == b"close":
            exchange.sock.close()
        else:
            exchange.quiet()
    origin = Origin(serve)
    with Front(origin.address) as front:
        for word in ("reset", "close", "never"):
            with Client(front.address) as client:
                equal(client.ask("GET", "/", *UPGRADE).status, 101, "status")
                client.send(word)
                if word == "never":
                    equal(client.take(5), b"heard", "the server's answer")
                if word == "never":
                    client.reset()
                else:
                    client.expect_cut()
            harness.until(lambda: origin.open == 0, f"the other side's end ({word})")
