"""A WSGI app without a framework: what the server gave it, and how many it serves at once."""
import hashlib
import json
import os
import threading
import time

lock = threading.Lock()
running = 0


def seen(environ):
    """The variables as they came, and the body, read as PEP 3333 says."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return {"environ": {k: v for k, v in environ.items() if isinstance(v, str)},
            "scheme": environ["wsgi.url_scheme"], "pid": os.getpid(), "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest()}


def answer_env(environ, start_response):
    page = json.dumps(seen(environ)).encode()
    start_response("200 OK", [("Content-Type", "application/json"),
                              ("Content-Length", str(len(page)))])
    return [page]


def answer_slowly(environ, start_response):
    """Says how many requests this process was serving when it had been at this one for a while."""
    global running
    with lock:
        running += 1
    time.sleep(float(environ["QUERY_STRING"]))
    with lock:
        most = running
        running -= 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{most} {os.getpid()}".encode()]


def answer_parts(environ, start_response):
    """A part now and then, without a length: the end of the connection ends it."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    count, pause = environ["QUERY_STRING"].split("x")
    for i in range(int(count)):
        yield b"part %d\n" % i
        time.sleep(float(pause))


def app(environ, start_response):
    answers = {"/slow": answer_slowly, "/parts": answer_parts}
    return answers.get(environ["PATH_INFO"], answer_env)(environ, start_response)
