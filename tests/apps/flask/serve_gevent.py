"""gevent's own WSGI server: serve_gevent.py ADDRESS"""
from gevent import monkey

monkey.patch_all()

import signal  # noqa: E402

import app  # noqa: E402
import gevent  # noqa: E402
import listen  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402

server = WSGIServer(listen.listener(), app.app, log=None)
gevent.signal_handler(signal.SIGTERM, server.stop, 10)      # in order: who is served gets the rest
server.serve_forever()
