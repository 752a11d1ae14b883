"""The app of bench/edge, for gunicorn (app:app): a page that takes 50 ms, as one that asks a
database does, and what slow clients ask for."""
import time

from flask import Flask, Response, request

WORK_S = 0.05

app = Flask(__name__)


@app.get('/work')
def work():
    """Says how long it really took: a machine that is busy with others shows there."""
    began = time.monotonic()
    time.sleep(WORK_S)
    took_ms = (time.monotonic() - began) * 1000
    return Response('ok\n', headers={'Server-Timing': f'app;dur={took_ms:.2f}'})


@app.get('/quick')
def quick():
    return 'ok\n'


@app.post('/upload')
def upload():
    request.get_data()
    return 'ok\n'


@app.get('/big/<int:size>')
def big(size):
    return Response(bytes(size), mimetype='application/octet-stream')
