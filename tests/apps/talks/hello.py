"""Hello, three seconds of waiting, world: on asyncio, where waiting costs nothing.

    uvicorn --uds hello.sock hello:app

A thousand clients that come at once have their world after three seconds, all of them.
"""
import asyncio


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello\n", "more_body": True})
    await asyncio.sleep(3)
    await send({"type": "http.response.body", "body": b"world\n"})
