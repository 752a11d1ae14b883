"""The routes of the matrix in Quart."""
import asyncio

import gates
from quart import Quart, Response, request, websocket

app = Quart(__name__)


class ProxyFix:
    """What newer Hypercorns have as ProxyFixMiddleware: believes the one proxy in front."""
    def __init__(self, wrapped):
        self.wrapped = wrapped

    async def __call__(self, scope, receive, send):
        if scope["type"] in ("http", "websocket"):
            said = {name.decode(): value.decode() for name, value in scope["headers"]}
            scheme = said["x-forwarded-proto"]
            if scope["type"] == "websocket":
                scheme = scheme.replace("http", "ws")
            scope = {**scope, "scheme": scheme, "client": (said["x-forwarded-for"], 0)}
        await self.wrapped(scope, receive, send)


app.asgi_app = ProxyFix(app.asgi_app)


@app.get("/hello")
async def hello():
    return {"scheme": request.scheme, "host": request.host, "client": request.remote_addr}


@app.post("/echo")
async def echo():
    return Response(await request.get_data(), mimetype="application/octet-stream")


@app.put("/item")
async def put():
    return {"bytes": len(await request.get_data())}


@app.delete("/item")
async def delete():
    return "", 204


@app.get("/poll/<name>")
async def poll(name):
    return await gates.poll_async(name)


@app.get("/events/<name>/<int:count>")
async def events(name, count):
    response = Response(gates.steps_async(gates.event, name, count), mimetype="text/event-stream")
    response.timeout = None
    return response


@app.get("/stream/<name>/<int:count>")
async def stream(name, count):
    return Response(gates.steps_async(gates.part, name, count), mimetype="text/html")


@app.get("/bytes/<int:count>")
async def some_bytes(count):
    return Response(gates.pattern(count), mimetype="application/octet-stream")


@app.websocket("/ws/refuse")
async def refuse():
    return "not for you\n", 403


@app.websocket("/ws/<name>")
async def echo_messages(name):
    try:
        while True:
            message = await websocket.receive()
            if isinstance(message, str) and message.startswith("close "):
                await websocket.close(int(message[6:]))
            else:
                await websocket.send(message)
    except asyncio.CancelledError:
        gates.tell(name, "closed")      # Quart does not tell the code
        raise
