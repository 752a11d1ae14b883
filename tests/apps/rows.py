"""The rows of the matrix: which server runs which app, and what it can not do.

A command has {bind} (HOST:PORT or unix:PATH), {host}, {port} and {path} in it. No row may say
more of gyre's configuration than slots, sticky or protocol.
"""
import importlib.util
import os
import re
from dataclasses import dataclass, field

PYTHON = "{python}"
GUNICORN = [PYTHON, "-m", "gunicorn", "-b", "{bind}", "--log-level", "warning",
            "--keep-alive", "1", "--graceful-timeout", "10"]
UWSGI_RELOAD = "spawned uWSGI worker"
UWSGI = ["/usr/bin/uwsgi-core", "--plugins", "python3", "--need-app", "--master", "--die-on-term",
         "--disable-logging", "--chmod-socket=666", "--listen", "1024"]

NO_WS_SYNC = "a synchronous worker would serve one client for ever"
NO_WS_WSGI = "WSGI has none, and this server adds none"
NO_STREAM = "Tornado's WSGIContainer sends a response when it has all of it"
PLAIN_WS = ("asked without fragments, which uWSGI 2.0 does not put together, without pings, whose "
            "words its pongs lack, and without a code in its Close")
CODE_UNHEARD = "Quart does not tell its app the client's close code"
ENDS_AT_ONCE = ("it ends at once, whatever it is at: of what it has then an answer that has begun is "
                "cut, and a request that is lost twice, as it comes back too soon, is a 502; all "
                "others are answered")
NO_CODES = "its API has no close codes"
QUESTIONS_WS = ("ws", "ws close", "ws refused")


# What the apps import, beside what their command names.
MODULES = {"flask": ["flask", "wsproto"], "django": ["django", "channels"], "bottle": ["bottle"],
           "pyramid": ["pyramid"], "quart": ["quart"], "fastapi": ["fastapi"],
           "tornado": ["tornado"], "twisted": ["twisted", "autobahn"], "aiohttp": ["aiohttp"],
           "raw": ["h11", "wsproto"], "sanic": ["aiofiles", "multidict"], "sio": ["socketio"]}


def is_installed(module):
    """(A folder of ours has the name of each framework, and is no package.)"""
    found = importlib.util.find_spec(module)
    return found is not None and found.origin is not None


@dataclass
class Row:
    name: str
    app: str                    # a folder beside this file
    command: list
    tcp: list = field(default_factory=list)     # what follows for a port ...
    unix: list = field(default_factory=list)    # ... and for a unix socket
    gyre: str = ""              # beside server =
    at_once: int = 200          # requests that it serves at the same time
    has_not: dict = field(default_factory=dict)     # question: why it can not be asked
    pip: tuple = ()             # what it needs of requirements.txt
    short: bool = False         # also in tests/run
    reload: tuple = ()          # SIGHUP restarts it: a word of its log, and how often it is said
    python_max: tuple = (9, 9)  # the newest Python that it can be run on
    servers: int = 1            # so many of it, in one backend
    more: str = ""              # questions of its own
    but: dict = field(default_factory=dict)         # question: what this server does in its way

    def slug(self):
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def slots(self):
        """At most so many requests may be at the server."""
        return int((re.search(r"slots = (\d+)", self.gyre) or [0, 200])[1])

    def lacks(self):
        """What of it is not installed (packaging/deps apps)."""
        words = self.command
        named = [words[i + 1] for i, word in enumerate(words) if word in ("-m", "-k")]
        named = [name for name in named if name != "gthread"]       # a worker of gunicorn's own
        named += [word[6:-3] for word in words if word in ("serve_gevent.py", "serve_eventlet.py")]
        modules = [*named, *MODULES[self.app], *MODULES.get(self.more, [])]
        missing = [name for name in modules if not is_installed(name)]
        if words[0] != PYTHON and not os.access(words[0], os.X_OK):
            missing.append(words[0])
        return missing

    def without(self, questions):
        """{question: (word of the table, why)} of those that are not asked."""
        cells = {name: ("n/a", why) for name, why in self.has_not.items()}
        for name, ask in questions.items():
            if ask.of not in (None, self.more):
                cells[name] = ("", "")
        return {name: cells[name] for name in questions if name in cells}


def without_ws(why, **more):
    return {**dict.fromkeys(QUESTIONS_WS, why), **more}


UVICORN = [PYTHON, "-m", "uvicorn", "--no-access-log", "--log-level", "warning",
           "--timeout-keep-alive", "1", "--ws", "websockets", "--proxy-headers",
           "--forwarded-allow-ips", "*"]
UVICORN_AT = {"tcp": ["--host", "{host}", "--port", "{port}"], "unix": ["--uds", "{path}"]}

ROWS = [
    Row("Flask, gunicorn sync -w 4", "flask", [*GUNICORN, "-w", "4", "app:app"],
        gyre="slots = 4", at_once=4, has_not=without_ws(NO_WS_SYNC), short=True),
    Row("Flask, gunicorn -k gthread", "flask",
        [*GUNICORN, "-k", "gthread", "--threads", "8", "app:app"],
        gyre="slots = 8", at_once=8),
    Row("Flask, gunicorn -k gevent", "flask", [*GUNICORN, "-k", "gevent", "app:app"]),
    Row("Flask, gunicorn -k eventlet", "flask", [*GUNICORN, "-k", "eventlet", "app:app"]),
    Row("Flask, gunicorn -k tornado", "flask", [*GUNICORN, "-k", "tornado", "-w", "4", "app:app"],
        gyre="slots = 4", at_once=1, but={"restart": ENDS_AT_ONCE},
        has_not=without_ws(NO_WS_WSGI, **dict.fromkeys(("SSE", "stream"), NO_STREAM))),
    Row("Flask, gevent's WSGIServer", "flask", [PYTHON, "serve_gevent.py", "{bind}"]),
    Row("Flask, eventlet's wsgi.server", "flask", [PYTHON, "serve_eventlet.py", "{bind}"]),
    Row("Flask, uWSGI http-socket", "flask",
        [*UWSGI, "--processes", "4", "--module", "app:app", "--http-socket", "{bind}"],
        gyre="slots = 4", at_once=4, has_not=without_ws(NO_WS_SYNC), reload=(UWSGI_RELOAD, 4)),
    Row("Flask, uWSGI with gevent", "flask",
        [*UWSGI, "--plugins", "gevent_python3", "--gevent", "250", "--gevent-monkey-patch",
         "--worker-reload-mercy", "2", "--module", "uwsgi_app", "--http-socket", "{bind}"],
        has_not={"ws close": NO_CODES}, but={"ws": PLAIN_WS}, reload=(UWSGI_RELOAD, 1)),
    Row("Flask, uWSGI uwsgi-socket", "flask",
        [*UWSGI, "--processes", "4", "--module", "app:app", "--buffer-size", "65535",
         "--uwsgi-socket", "{bind}"],
        gyre="slots = 4\nprotocol = uwsgi", at_once=4, short=True, reload=(UWSGI_RELOAD, 4),
        has_not=without_ws("the uwsgi protocol has no upgrade")),
    Row("Flask, Meinheld", "flask", [PYTHON, "serve_meinheld.py", "{bind}"],
        pip=("meinheld",), python_max=(3, 10),
        at_once=1, gyre="slots = 1", has_not=without_ws(NO_WS_WSGI)),
    Row("Django, gunicorn sync -w 4", "django", [*GUNICORN, "-w", "4", "wsgi:application"],
        gyre="slots = 4", at_once=4, has_not=without_ws(NO_WS_SYNC)),
    Row("Django with Channels, daphne", "django",
        [PYTHON, "-m", "daphne", "--proxy-headers", "-v", "0", "asgi:application"],
        tcp=["-e", "tcp:{port}:interface={host}:backlog=1024"],     # its own is 50
        unix=["-e", "unix:{path}:backlog=1024"], short=True,
        but={"restart": ENDS_AT_ONCE}),
    Row("Django with Channels, uvicorn", "django", [*UVICORN, "asgi:application"], **UVICORN_AT),
    Row("Bottle, gunicorn sync -w 4", "bottle", [*GUNICORN, "-w", "4", "app:app"],
        gyre="slots = 4", at_once=4, has_not=without_ws(NO_WS_SYNC)),
    Row("Pyramid, waitress", "pyramid",
        [PYTHON, "-m", "waitress", "--threads=8", "--channel-timeout=1", "--cleanup-interval=1"],
        tcp=["--listen={bind}", "--trusted-proxy=*",
             "--trusted-proxy-headers=x-forwarded-for x-forwarded-proto x-forwarded-host",
             "app:app"],
        unix=["--unix-socket={path}", "--trusted-proxy=*",
              "--trusted-proxy-headers=x-forwarded-for x-forwarded-proto x-forwarded-host",
              "app:app"],
        gyre="slots = 8", at_once=8, has_not=without_ws(NO_WS_WSGI),
        but={"restart": ENDS_AT_ONCE}),
    Row("Quart, hypercorn", "quart",
        [PYTHON, "-m", "hypercorn", "--keep-alive", "1", "--backlog", "1024", "-b", "{bind}",
         "app:app"],
        but={"ws close": CODE_UNHEARD}),
    Row("Sanic", "sanic", [PYTHON, "app.py", "{bind}"],
        pip=("sanic", "sanic-routing", "html5tagger", "tracerite", "httptools", "uvloop")),
    Row("FastAPI, uvicorn", "fastapi", [*UVICORN, "app:app"], **UVICORN_AT, short=True),
    Row("python-socketio on two uvicorns", "fastapi", [*UVICORN, "sio:app"], **UVICORN_AT,
        servers=2, gyre="sticky = socketio", more="sio"),
    Row("Tornado", "tornado", [PYTHON, "app.py", "{bind}"], short=True,
        but={"restart": ENDS_AT_ONCE}),
    Row("Twisted", "twisted", [PYTHON, "app.py", "{bind}"],
        but={"restart": ENDS_AT_ONCE}),
    Row("aiohttp", "aiohttp", [PYTHON, "app.py", "{bind}"]),
    Row("plain asyncio", "raw", [PYTHON, "serve_asyncio.py", "{bind}"], short=True,
        more="oddities", but={"restart": ENDS_AT_ONCE}),
    Row("Curio", "raw", [PYTHON, "serve_curio.py", "{bind}"], pip=("curio",),
        more="oddities", but={"restart": ENDS_AT_ONCE}),
]
