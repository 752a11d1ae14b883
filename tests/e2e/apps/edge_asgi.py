"""An asynchronous app that tells the socket GATE of each thing that it hears of."""
import asyncio
import os


async def call(word, wait=False):
    reader, writer = await asyncio.open_unix_connection(os.environ["GATE"])
    writer.write(word.encode() + b"\n")
    if wait:
        await reader.readline()
    writer.close()


async def heard(path, receive):
    """Every piece of the body, and the client's end."""
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            await call(f"{path} gone")
            return
        total += len(message.get("body", b""))
        await call(f"{path} {total}{'' if message.get('more_body') else ' all'}")


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})
    await call(f"closed {message['code']}")


async def app(scope, receive, send):
    """/silent says nothing, /begun sends a head and one piece, /echo sends back as it comes."""
    path = scope["path"]
    if scope["type"] == "websocket":
        await websocket(receive, send)
        return
    if path != "/silent":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    if path == "/begun":
        await send({"type": "http.response.body", "body": b"begun\n", "more_body": True})
    if path != "/echo":
        await heard(path, receive)
        return
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""),
                    "more_body": more})
