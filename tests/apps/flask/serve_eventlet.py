"""eventlet's own WSGI server: serve_eventlet.py ADDRESS"""
import eventlet

eventlet.monkey_patch()

import signal  # noqa: E402
import socket  # noqa: E402

import app  # noqa: E402
import eventlet.wsgi  # noqa: E402
import listen  # noqa: E402

listener = eventlet.greenio.GreenSocket(listen.listener())
serving = eventlet.spawn(eventlet.wsgi.server, listener, app.app, log_output=False,
                         socket_timeout=1, minimum_chunk_size=1)


def stop():
    """In order: nobody new, who would wait to be accepted; and who is served gets the rest."""
    listener.shutdown(socket.SHUT_RDWR)
    serving.kill()


signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(stop))
try:
    serving.wait()
except eventlet.greenlet.GreenletExit:
    pass
