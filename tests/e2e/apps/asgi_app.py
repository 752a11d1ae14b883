"""An asynchronous app without a framework: WebSocket, server-sent events, streams.

What it waits for is told to it by other requests, so that no test has to guess how long.
"""
import asyncio
import json

gates = {}              # name: an event that POST /gate/NAME sets


def gate(name):
    return gates.setdefault(name, asyncio.Queue())


async def read_body(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def answer(send, status, body, kind=b"text/plain"):
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", kind), (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope, receive, send):
    body = await read_body(receive)
    await answer(send, 200, json.dumps({
        "method": scope["method"], "path": scope["path"], "scheme": scope["scheme"],
        "query": scope["query_string"].decode(), "bytes": len(body),
        "headers": [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]],
    }).encode(), b"application/json")


async def open_gate(scope, receive, send):
    """POST /gate/NAME: lets whoever waits there go one step, with the body as word."""
    gate(scope["path"].split("/")[2]).put_nowait(await read_body(receive))
    await answer(send, 200, b"open\n")


async def events(scope, receive, send):
    """GET /sse/NAME: an event for each word that comes through the gate, until "end"."""
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/event-stream"),
                            (b"cache-control", b"no-cache")]})
    number = 0
    while True:
        word = await gate(scope["path"].split("/")[2]).get()
        if word == b"end":
            break
        number += 1
        await send({"type": "http.response.body", "more_body": True,
                    "body": b"id: %d\ndata: %s\n\n" % (number, word)})
    await send({"type": "http.response.body", "body": b""})


async def upload(scope, receive, send):
    """POST /upload/NAME: tells each piece as it comes through the gate's own event stream."""
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        total += len(message.get("body", b""))
        gate(scope["path"].split("/")[2]).put_nowait(b"%d" % total)
        if not message.get("more_body"):
            break
    await answer(send, 200, b"%d" % total)


ROUTES = {"echo": echo, "gate": open_gate, "sse": events, "upload": upload}


async def websocket(scope, receive, send):
    await receive()
    path = scope["path"].rsplit("/", 1)[-1]
    if path == "refuse":
        await send({"type": "websocket.close", "code": 1008})
        return
    wanted = scope.get("subprotocols") or [None]
    await send({"type": "websocket.accept", "subprotocol": wanted[0]})
    if path == "headers":
        await send({"type": "websocket.send", "text": json.dumps(
            [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]])})
    if path == "burst":         # before the client has said anything
        for i in range(100):
            await send({"type": "websocket.send", "text": f"{i}"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            if path.startswith("tell-"):
                gate(path).put_nowait(b"%d" % message["code"])
            return
        text = message.get("text")
        if text is not None and text.startswith("close "):
            await send({"type": "websocket.close", "code": int(text[6:])})
            return
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
        return
    handler = ROUTES.get(scope["path"].split("/")[1])
    if handler is None:
        await answer(send, 404, b"nothing here\n")
    else:
        await handler(scope, receive, send)
