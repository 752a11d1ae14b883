"""The packages that the apps of bench/talks read, as tests/apps/talks/pyaday.py has them: in
SQLite, in the app's own process, or in a store elsewhere, which takes its time for an answer.

    talks_store.py SOCKET MS        the store elsewhere: a line is asked, a line is answered

The store waits as a database on another machine does, without work for this one: what differs
between the frameworks is what they do with that time.
"""
import asyncio
import functools
import importlib.metadata
import json
import os
import random
import socket
import sqlite3
import sys

ANY = 'SELECT name, version, summary FROM package ORDER BY random() LIMIT 1'


def packages():
    """Of this machine."""
    return list({d.metadata['Name']: (d.metadata['Name'], d.version, d.metadata['Summary'])
                 for d in importlib.metadata.distributions()}.values())


# --- In the app's process -------------------------------------------------------------------------

@functools.cache
def database():
    """One for each process: it is asked for the first time when they have forked."""
    made = sqlite3.connect(':memory:')
    made.row_factory = sqlite3.Row
    made.execute('CREATE TABLE package (name PRIMARY KEY, version, summary)')
    made.executemany('INSERT INTO package VALUES (?, ?, ?)', packages())
    return made


def here():
    return dict(database().execute(ANY).fetchone())


# --- Elsewhere ------------------------------------------------------------------------------------

@functools.cache
def link():
    """A synchronous process has one."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(os.environ['TALKS_STORE'])
    return made.makefile('rwb')


def away():
    link().write(b'rand\n')
    link().flush()
    return json.loads(link().readline())


links = []      # of this process: asyncio knows readers by weak references, and so do frameworks
idle = []       # those that nobody waits for


async def away_async():
    if idle:
        reader, writer = idle.pop()
    else:
        reader, writer = await asyncio.open_unix_connection(os.environ['TALKS_STORE'])
        links.append(reader)
    writer.write(b'rand\n')
    row = await reader.readline()
    idle.append((reader, writer))
    return json.loads(row)


class Store(asyncio.Protocol):
    def __init__(self, rows, wait_s):
        self.rows, self.wait_s, self.transport = rows, wait_s, None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, _):
        asyncio.get_running_loop().call_later(self.wait_s, self.answer)

    def answer(self):
        self.transport.write(random.choice(self.rows))


async def main(path, wait_ms):
    rows = [json.dumps(dict(zip(('name', 'version', 'summary'), row))).encode() + b'\n'
            for row in packages()]
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: Store(rows, int(wait_ms) / 1000), path, backlog=1024)
    await server.serve_forever()


if __name__ == '__main__':
    asyncio.run(main(*sys.argv[1:]))
