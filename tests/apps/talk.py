"""What every row is asked over WebSocket, with a real client."""
import asyncio
import os
import ssl

import websockets
from harness import SHARED, WAIT_S, check, equal, until
from questions import Gate, question
from rows import CODE_UNHEARD, PLAIN_WS

UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]


def talk(visit, path, conversation):
    """Runs conversation(ws) on a WebSocket through gyre."""
    options = {}
    if visit.tls:
        options.update(ssl=ssl.create_default_context(cafile=SHARED["cert"]),
                       server_hostname="one.test")

    async def run():
        host, port = visit.address
        uri = f"{'wss' if visit.tls else 'ws'}://one.test{path}"
        async with websockets.connect(uri, host=host, port=port, max_size=None,
                                      open_timeout=WAIT_S, close_timeout=WAIT_S,
                                      **options) as ws:
            await asyncio.wait_for(conversation(ws), WAIT_S)
            return ws
    return asyncio.run(run())


@question("ws")
def messages(visit):
    """Text, binary, fragments, large ones, pings."""
    async def conversation(ws):
        big = os.urandom(300_000)
        for message in ("hello", "é" * 1000, b"\0\xff", "x" * 65535, "y" * 65536, big):
            await ws.send(message)
            equal(await ws.recv(), message, "echo")
        if visit.row.but.get("ws") != PLAIN_WS:
            await ws.send(["in ", "three ", "fragments"])
            equal(await ws.recv(), "in three fragments", "echo of fragments")
            await ws.send([b"\xff", b"\0", big[:70_000]])
            equal(await ws.recv(), b"\xff\0" + big[:70_000], "echo of binary fragments")
            await (await ws.ping(b"are you there"))
        await asyncio.gather(*[ws.send(f"{i}") for i in range(100)])
        for i in range(100):
            equal(await ws.recv(), f"{i}", "echo in order")
    plain = visit.row.but.get("ws") == PLAIN_WS
    equal(talk(visit, f"/ws/{Gate().name}", conversation).close_code, 1005 if plain else 1000,
          "close code")


@question("ws close")
def close_codes(visit):
    """The server's code reaches the client, and the client's the app."""
    async def ask_to_close(ws):
        await ws.send("close 4321")
        await ws.wait_closed()

    async def close(ws):
        await ws.close(4123, "bye")
    equal(talk(visit, f"/ws/{Gate().name}", ask_to_close).close_code, 4321, "the app's code")
    gate = Gate()
    talk(visit, f"/ws/{gate.name}", close)
    until(gate.told, "the app to hear of the end")
    if visit.row.but.get("ws close") != CODE_UNHEARD:
        equal(gate.told(), ["4123"], "the client's code, as the app heard it")


@question("ws refused")
def refused(visit):
    """A handshake that the app does not take; the client has its answer, whatever it is."""
    with visit.client() as client:
        said = client.ask("GET", "/ws/refuse", *UPGRADE)
        check(said.status in (400, 403), said)
    with visit.client() as client:
        equal(client.ask("GET", "/hello").status, 200, "the next one")
