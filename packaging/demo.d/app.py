"""A synchronous Flask app: one request at a time in each gunicorn worker.

    gunicorn -w 4 --bind unix:app.sock app:app
"""
import hashlib
import os

from flask import Flask, request, send_file
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
# One proxy stands in front and sets these fields itself: the app may believe them.
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_port=1)

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html")


@app.get("/")
def page():
    return send_file(PAGE, max_age=0)


@app.get("/hello")
def hello():
    """What reaches the app of a request that came through gyre."""
    return {
        "worker": os.getpid(),
        "client": request.remote_addr,
        "scheme": request.scheme,
        "host": request.host,
        "via": request.headers.get("Via"),
        "request_id": request.headers.get("X-Request-ID"),
    }


@app.post("/digest")
def digest():
    """Reads the whole body, of any framing, and says what it was."""
    size, sha256 = 0, hashlib.sha256()
    while piece := request.stream.read(65536):
        size += len(piece)
        sha256.update(piece)
    return {"worker": os.getpid(), "bytes": size, "sha256": sha256.hexdigest()}


@app.get("/bytes/<int:size>")
def some_bytes(size):
    """SIZE bytes in pieces, with no Content-Length: the way a generated download comes."""
    line = b"0123456789abcdef" * 1024

    def pieces():
        left = size
        while left > 0:
            yield line[:left]
            left -= min(left, len(line))
    return app.response_class(pieces(), mimetype="application/octet-stream")
