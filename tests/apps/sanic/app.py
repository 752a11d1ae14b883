"""The routes of the matrix in Sanic: app.py ADDRESS"""
import gates
import listen
from sanic import Sanic
from sanic.exceptions import Forbidden
from sanic.response import empty, json, raw, text

app = Sanic("matrix")
app.config.PROXIES_COUNT = 1            # "Proxy headers": one proxy in front
app.config.KEEP_ALIVE_TIMEOUT = 1


@app.route("/hello", methods=["GET", "HEAD"])
async def hello(request):
    return json({"scheme": request.scheme, "host": request.host, "client": request.remote_addr})


@app.post("/echo")
async def echo(request):
    return raw(request.body)


@app.put("/item")
async def put(request):
    return json({"bytes": len(request.body)})


@app.delete("/item")
async def delete(request):
    return empty()


@app.get("/poll/<name>")
async def poll(request, name):
    return text(await gates.poll_async(name))


async def steps(request, made, kind, name, count):
    response = await request.respond(content_type=kind)
    async for piece in gates.steps_async(made, name, count):
        await response.send(piece)
    await response.eof()


@app.get("/events/<name>/<count:int>")
async def events(request, name, count):
    await steps(request, gates.event, "text/event-stream", name, count)


@app.get("/stream/<name>/<count:int>")
async def stream(request, name, count):
    await steps(request, gates.part, "text/html", name, count)


@app.get("/bytes/<count:int>")
async def some_bytes(request, count):
    return raw(gates.pattern(count))


@app.get("/ws/refuse")
async def refuse(request):
    raise Forbidden()


@app.websocket("/ws/<name>")
async def websocket(request, ws, name):
    try:
        async for message in ws:
            if isinstance(message, str) and message.startswith("close "):
                await ws.close(int(message[6:]))
            else:
                await ws.send(message)
    finally:
        rcvd = ws.ws_proto.close_rcvd
        gates.tell(name, rcvd.code if rcvd else "lost")


if __name__ == "__main__":
    app.run(sock=listen.listener(), single_process=True, access_log=False, motd=False)
