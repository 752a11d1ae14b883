"""The routes of the matrix in aiohttp: app.py ADDRESS"""
import gates
import listen
from aiohttp import WSCloseCode, WSMsgType, web


@web.middleware
async def proxied(request, handler):
    """aiohttp's way to believe the one proxy in front; it knows the host by itself."""
    return await handler(request.clone(scheme=request.headers["X-Forwarded-Proto"],
                                       remote=request.headers["X-Forwarded-For"]))


routes = web.RouteTableDef()


@routes.get("/hello")
async def hello(request):
    return web.json_response({"scheme": request.scheme, "host": request.host,
                              "client": request.remote})


@routes.post("/echo")
async def echo(request):
    return web.Response(body=await request.read())


@routes.put("/item")
async def put(request):
    return web.json_response({"bytes": len(await request.read())})


@routes.delete("/item")
async def delete(request):
    return web.Response(status=204)


@routes.get("/poll/{name}")
async def poll(request):
    return web.Response(text=await gates.poll_async(request.match_info["name"]))


async def steps(request, made, kind):
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(request)
    info = request.match_info
    async for piece in gates.steps_async(made, info["name"], int(info["count"])):
        await response.write(piece)
    return response


@routes.get("/events/{name}/{count}")
async def events(request):
    return await steps(request, gates.event, "text/event-stream")


@routes.get("/stream/{name}/{count}")
async def stream(request):
    return await steps(request, gates.part, "text/html")


@routes.get("/bytes/{count}")
async def some_bytes(request):
    return web.Response(body=gates.pattern(int(request.match_info["count"])))


@routes.get("/ws/{name}")
async def websocket(request):
    name = request.match_info["name"]
    if name == "refuse":
        raise web.HTTPForbidden()
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        if message.type == WSMsgType.BINARY:
            await ws.send_bytes(message.data)
        elif message.data.startswith("close "):
            await ws.close(code=int(message.data[6:]))
        else:
            await ws.send_str(message.data)
    gates.tell(name, int(ws.close_code or WSCloseCode.ABNORMAL_CLOSURE))
    return ws


app = web.Application(middlewares=[proxied], client_max_size=8 << 20)
app.add_routes(routes)
web.run_app(app, sock=listen.listener(), keepalive_timeout=1, access_log=None)
