"""An asynchronous app without a framework: server-sent events and a WebSocket.

    uvicorn --port 8002 live:app
"""
import asyncio
import json
import os
import urllib.parse


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket" and scope["path"] == "/live/ws":
        await echo(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/live/events":
        await events(scope, receive, send)
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404,
                    "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"no such page\n"})
    else:
        await send({"type": "websocket.close", "code": 1008})


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def events(scope, receive, send):
    """/live/events?count=N&every=SECONDS: one event after the other, for ever without count."""
    query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
    count, every = int(query.get("count", 0)), float(query.get("every", 1))
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/event-stream"),
                            (b"cache-control", b"no-store")]})
    gone = asyncio.create_task(client_gone(receive))
    number = 0
    while not gone.done() and (count == 0 or number < count):
        number += 1
        text = json.dumps({"number": number, "process": os.getpid()})
        await send({"type": "http.response.body", "more_body": True,
                    "body": f"id: {number}\ndata: {text}\n\n".encode()})
        if number != count:
            await asyncio.wait({gone}, timeout=every)
    gone.cancel()
    await send({"type": "http.response.body"})


async def client_gone(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def echo(receive, send):
    """Sends back what comes, text as text and bytes as bytes, until the client closes."""
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message.get("text") is not None:
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
