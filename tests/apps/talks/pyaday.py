"""A package a day: what is known of Python packages, to be made, read, changed and deleted.

    PYADAY_DB=packages.db gunicorn -w 4 --bind unix:pyaday.sock pyaday:app

Synchronous Flask and SQLite. GET /rand is the package of the day: any one.
"""
import importlib.metadata
import os
import sqlite3

from flask import Flask, abort, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)

TABLE = "CREATE TABLE IF NOT EXISTS package (name PRIMARY KEY, version, summary)"
FIELDS = "SELECT name, version, summary FROM package"


def database():
    if "database" not in g:
        g.database = sqlite3.connect(os.environ.get("PYADAY_DB", "packages.db"), timeout=20,
                                     isolation_level=None)
        g.database.row_factory = sqlite3.Row
    return g.database


@app.teardown_appcontext
def close(_):
    if "database" in g:
        g.pop("database").close()


def fill():
    """The packages of this machine, the first time."""
    with app.app_context():
        database().execute(TABLE)
        known = {d.metadata["Name"]: (d.metadata["Name"], d.version, d.metadata["Summary"])
                 for d in importlib.metadata.distributions()}
        database().executemany("INSERT OR IGNORE INTO package VALUES (?, ?, ?)", known.values())


def one(where, *values):
    row = database().execute(f"{FIELDS} {where}", values).fetchone()
    return dict(row) if row else abort(404)


@app.get("/packages")
def names():
    return {"packages": [row[0] for row in database().execute("SELECT name FROM package")]}


@app.get("/packages/<name>")
def read(name):
    return one("WHERE name = ?", name)


@app.put("/packages/<name>")
def write(name):
    said = request.get_json()
    database().execute("INSERT OR REPLACE INTO package VALUES (?, ?, ?)",
                       (name, said.get("version"), said.get("summary")))
    return one("WHERE name = ?", name)


@app.delete("/packages/<name>")
def delete(name):
    if database().execute("DELETE FROM package WHERE name = ?", (name,)).rowcount == 0:
        abort(404)
    return "", 204


@app.get("/rand")
def rand():
    return one("ORDER BY random() LIMIT 1")


fill()
