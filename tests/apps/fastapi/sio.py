"""python-socketio beside the FastAPI app: who is connected is known to its own process alone."""
import os

import socketio
from app import app as pages

sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
counts = {}


@sio.event
async def connect(sid, environ):
    counts[sid] = 0


@sio.event
async def disconnect(sid):
    del counts[sid]


@sio.event
async def say(sid, word):
    """Tells the client its word, how many it has said, and which process heard it."""
    counts[sid] += 1
    await sio.emit("said", [word, counts[sid], os.getpid()], to=sid)


app = socketio.ASGIApp(sio, pages)
