"""A usual synchronous app: what it was asked for, and bodies of any kind and size."""
import hashlib
import os

from flask import Flask, Response, jsonify, request

app = Flask(__name__)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def pattern(count, seed=0):
    """Bytes that are at no other place the same."""
    made = bytearray()
    while len(made) < count:
        made += hashlib.sha256(b"%d %d" % (seed, len(made))).digest() * 32
    return bytes(made[:count])


@app.route("/echo", methods=METHODS)
@app.route("/echo/<path:rest>", methods=METHODS)
def echo(rest=""):
    body = request.get_data()
    return jsonify(method=request.method, path=request.path, rest=rest,
                   query=request.query_string.decode(), headers=list(request.headers.items()),
                   scheme=request.scheme, bytes=len(body), pid=os.getpid(),
                   sha256=hashlib.sha256(body).hexdigest())


@app.route("/bytes/<int:count>")
def some_bytes(count):
    return Response(pattern(count), mimetype="application/octet-stream")


@app.route("/chunks/<int:count>/<int:size>")
def chunks(count, size):
    return Response((pattern(size, i) for i in range(count)), mimetype="application/octet-stream")


@app.route("/status/<int:status>")
def answer(status):
    return Response("" if status in (204, 304) else f"status {status}\n", status=status)


@app.route("/cookies")
def cookies():
    response = Response("two cookies\n")
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    return response
