"""The routes of the matrix in Flask: one synchronous app for every WSGI server."""
import gates
import wsgi_ws
from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
# "Tell Flask it is Behind a Proxy"
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)
app.wsgi_app = wsgi_ws.WebSockets(app.wsgi_app)


@app.get("/hello")
def hello():
    return {"scheme": request.scheme, "host": request.host, "client": request.remote_addr}


@app.post("/echo")
def echo():
    return Response(request.get_data(), mimetype="application/octet-stream")


@app.put("/item")
def put():
    return {"bytes": len(request.get_data())}


@app.delete("/item")
def delete():
    return "", 204


@app.get("/poll/<name>")
def poll(name):
    return gates.poll(name)


@app.get("/events/<name>/<int:count>")
def events(name, count):
    return Response(gates.steps(gates.event, name, count), mimetype="text/event-stream")


@app.get("/stream/<name>/<int:count>")
def stream(name, count):
    return Response(gates.steps(gates.part, name, count), mimetype="text/html")


@app.get("/bytes/<int:count>")
def some_bytes(count):
    return Response(gates.pattern(count), mimetype="application/octet-stream")
