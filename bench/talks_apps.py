"""The apps of bench/talks: the same pages in each framework.

    gunicorn 'talks_apps:flask_app()'           one of the synchronous ones
    talks_apps.py NAME PROCESSES PORT           one of the asynchronous ones

    /json   a small object              /rand/away  a package of a store elsewhere
    /rand   a package, of SQLite        /work       waits for 100 ms
"""
import asyncio
import os
import signal
import socket
import sys
import time

import rig
import talks_store

WORK_S = 0.1
JSON = {'hello': 'world', 'talks': ['sync', 'async'], 'number': 42}


def work():
    time.sleep(WORK_S)
    return {'waited': WORK_S}


async def work_async():
    await asyncio.sleep(WORK_S)
    return {'waited': WORK_S}


async def rand_async():
    """SQLite answers at once, so that nobody waits meanwhile."""
    return talks_store.here()


async def json_async():
    return JSON


SYNC = {'/json': lambda: JSON, '/rand': talks_store.here, '/rand/away': talks_store.away,
        '/work': work}
ASYNC = {'/json': json_async, '/rand': rand_async, '/rand/away': talks_store.away_async,
         '/work': work_async}


# --- Synchronous: WSGI ----------------------------------------------------------------------------

def flask_app():
    from flask import Flask
    app = Flask('talks')
    for path, page in SYNC.items():
        app.add_url_rule(path, path, page)
    return app


def bottle_app():
    import bottle
    app = bottle.Bottle()
    for path, page in SYNC.items():
        app.route(path, 'GET', page)
    return app


def pyramid_app():
    from pyramid.config import Configurator
    with Configurator() as config:
        for path, page in SYNC.items():
            config.add_route(path, path)
            config.add_view(lambda request, page=page: page(), route_name=path, renderer='json')
        return config.make_wsgi_app()


def django_app():
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.urls import path as at
    settings.configure(
        ALLOWED_HOSTS=['*'], SECRET_KEY='of a benchmark',
        MIDDLEWARE=['django.middleware.common.CommonMiddleware'],   # which tells the length
        ROOT_URLCONF=tuple(at(path[1:], lambda request, page=page: JsonResponse(page()))
                           for path, page in SYNC.items()))
    return get_wsgi_application()


# --- Asynchronous: each with the server that its documentation begins with ------------------------

def aiohttp_serve(sock):
    from aiohttp import web

    def handler(page):
        async def handle(_):
            return web.json_response(await page())
        return handle
    app = web.Application()
    for path, page in ASYNC.items():
        app.router.add_get(path, handler(page))
    web.run_app(app, sock=sock, access_log=None, print=None)


def tornado_serve(sock):
    from tornado.httpserver import HTTPServer
    from tornado.web import Application, RequestHandler

    class Page(RequestHandler):
        def initialize(self, page):
            self.page = page

        async def get(self):
            self.write(await self.page())

    async def main():
        HTTPServer(Application([(path, Page, {'page': page}) for path, page in ASYNC.items()]),
                   xheaders=True).add_socket(sock)
        await asyncio.Event().wait()
    sock.setblocking(False)
    asyncio.run(main())


def sanic_serve(sock):
    from sanic import Sanic
    from sanic.response import json

    def handler(page):
        async def handle(_):
            return json(await page())
        return handle
    app = Sanic('talks')
    for path, page in ASYNC.items():
        app.add_route(handler(page), path, name=path.strip('/').replace('/', '_'))
    app.run(sock=sock, single_process=True, access_log=False, motd=False)


def quart_serve(sock):
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from quart import Quart
    app = Quart('talks')
    for path, page in ASYNC.items():
        app.add_url_rule(path, path, page)
    config = Config()
    config.bind = [f'fd://{sock.fileno()}']
    asyncio.run(serve(app, config))


def fastapi_serve(sock):
    import uvicorn
    from fastapi import FastAPI
    app = FastAPI()
    for path, page in ASYNC.items():
        app.add_api_route(path, page)
    uvicorn.Server(uvicorn.Config(app, log_level='warning', access_log=False)).run([sock])


SERVE = {'aiohttp': aiohttp_serve, 'tornado': tornado_serve, 'sanic': sanic_serve,
         'quart': quart_serve, 'fastapi': fastapi_serve}


def main(name, processes, port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(('127.0.0.1', int(port)))
    sock.listen(2048)       # gunicorn's
    for _ in range(int(processes) - 1):
        if os.fork() == 0:
            rig.LIBC.prctl(rig.PR_SET_PDEATHSIG, signal.SIGKILL)
            break
    SERVE[name](sock)


if __name__ == '__main__':
    main(*sys.argv[1:])
