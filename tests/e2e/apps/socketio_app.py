"""python-socketio, whose sessions live in the process that opened them."""
import os

import socketio

server = socketio.AsyncServer(async_mode="asgi", ping_interval=2, ping_timeout=20)
app = socketio.ASGIApp(server)


@server.event
async def echo(_sid, said):
    """Who answers, and what was said."""
    return os.getpid(), said
