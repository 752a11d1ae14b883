"""The routes of the matrix in Bottle."""
import bottle
import gates
from bottle import request, response

bottle.BaseRequest.MEMFILE_MAX = 8 << 20        # of request.body.read()
app = bottle.Bottle()


@app.get("/hello")
def hello():
    # Both look at X-Forwarded-*: urlparts at -Proto and -Host, remote_route at -For.
    return {"scheme": request.urlparts.scheme, "host": request.urlparts.netloc,
            "client": request.remote_addr}


@app.post("/echo")
def echo():
    response.content_type = "application/octet-stream"
    return request.body.read()


@app.put("/item")
def put():
    return {"bytes": len(request.body.read())}


@app.delete("/item")
def delete():
    response.status = 204


@app.get("/poll/<name>")
def poll(name):
    return gates.poll(name)


@app.get("/events/<name>/<count:int>")
def events(name, count):
    response.content_type = "text/event-stream"
    return gates.steps(gates.event, name, count)


@app.get("/stream/<name>/<count:int>")
def stream(name, count):
    return gates.steps(gates.part, name, count)


@app.get("/bytes/<count:int>")
def some_bytes(count):
    response.content_type = "application/octet-stream"
    return gates.pattern(count)
