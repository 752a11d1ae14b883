"""The routes of the matrix in FastAPI."""
import gates
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse

app = FastAPI()


@app.api_route("/hello", methods=["GET", "HEAD"])
async def hello(request: Request):
    return {"scheme": request.url.scheme, "host": request.url.netloc,
            "client": request.client.host}


@app.post("/echo")
async def echo(request: Request):
    return Response(await request.body(), media_type="application/octet-stream")


@app.put("/item")
async def put(request: Request):
    return {"bytes": len(await request.body())}


@app.delete("/item", status_code=204)
async def delete():
    return Response(status_code=204)


@app.get("/poll/{name}")
async def poll(name: str):
    return PlainTextResponse(await gates.poll_async(name))


@app.get("/events/{name}/{count}")
async def events(name: str, count: int):
    return StreamingResponse(gates.steps_async(gates.event, name, count),
                             media_type="text/event-stream")


@app.get("/stream/{name}/{count}")
async def stream(name: str, count: int):
    return StreamingResponse(gates.steps_async(gates.part, name, count), media_type="text/html")


@app.get("/bytes/{count}")
async def some_bytes(count: int):
    return Response(gates.pattern(count), media_type="application/octet-stream")


@app.websocket("/ws/{name}")
async def websocket(ws: WebSocket, name: str):
    if name == "refuse":
        await ws.close(1008)
        return
    await ws.accept()
    try:
        await echo_messages(ws)
    except WebSocketDisconnect as closed:
        gates.tell(name, closed.code)


async def echo_messages(ws):
    while True:
        message = await ws.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        text = message.get("text")
        if text is None:
            await ws.send_bytes(message["bytes"])
        elif text.startswith("close "):
            await ws.close(int(text[6:]))
        else:
            await ws.send_text(text)
