#!/usr/bin/python3
"""The normal clients of bench/edge: they ask, read the answer at once, and ask again.

    bench/edge_ask.py --to HOST:PORT [--connections N] [--warmup S] [--seconds S] [--timeout S]
                      [--heed PID]
    bench/edge_ask.py --to HOST:PORT --burst N [--seconds S]

Each of N clients has one request for /work under way, over a connection that it keeps if the
server lets it. An answer of 200 that came whole within --timeout is a success, anything else an
error, and the client goes on. Latency counts from when the request was due (where a new connection
is needed: from before it), for errors as well, and for what is not answered at the end.
--heed: a process whose share of time is told that it, and its children, could run and did not.
--burst: N requests at once, one each on a connection of its own; ends with the last answer.
Prints one JSON object, with every figure.
"""
import argparse
import errno
import json
import os
import selectors
import socket
import time

import rig

REQUEST = b'GET /work HTTP/1.1\r\nHost: bench.test\r\n\r\n'


class Client:
    def __init__(self, run):
        self.run, self.nth = run, None      # nth: in the order of asking
        self.socket = None
        self.due = 0.0

    def ask(self, now):
        self.due, self.answer = now, b''
        if self.socket is not None:
            self.send()
            return
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self.socket.connect_ex(self.run.to)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, 'connect')
        self.run.selector.register(self.socket, selectors.EVENT_WRITE, self)

    def send(self):
        """Into an empty buffer: it is taken whole, or the connection is gone."""
        try:
            self.socket.send(REQUEST)
            self.nth, self.run.sent = self.run.sent, self.run.sent + 1
            return True
        except OSError as error:
            self.ended(errno.errorcode[error.errno])
            return False

    def close(self):
        if self.socket is not None:
            self.run.selector.unregister(self.socket)
            self.socket.close()
            self.socket = None

    def ready(self, mask):
        if mask & selectors.EVENT_WRITE:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self.ended(errno.errorcode[code])
            elif self.send():
                self.run.selector.modify(self.socket, selectors.EVENT_READ, self)
            return
        try:
            data = self.socket.recv(65536)
        except OSError as error:
            self.ended(errno.errorcode[error.errno])
            return
        if not data:
            self.ended('closed')
            return
        self.answer += data
        head, found, body = self.answer.partition(b'\r\n\r\n')
        if not found:
            return
        fields = {name.strip().lower(): value.strip() for name, _, value in
                  (line.partition(b':') for line in head.split(b'\r\n')[1:])}
        if len(body) < int(fields.get(b'content-length', b'0')):
            return
        status = head.split(b' ', 2)[1].decode()
        timing = fields.get(b'server-timing', b'').partition(b'dur=')[2]
        keep = status == '200' and fields.get(b'connection', b'').lower() != b'close'
        self.ended(None if status == '200' else status, float(timing) if timing else None, keep)

    def ended(self, error, app_ms=None, keep=False):
        if not keep:
            self.close()
        self.run.took(self, error, app_ms)


class Run:
    """Begins clients, and keeps what became of their requests."""
    def __init__(self, to, connections):
        self.to, self.selector = to, selectors.DefaultSelector()
        self.clients = [Client(self) for _ in range(connections)]
        self.answered, self.errors, self.latencies_ms, self.app_ms = 0, {}, [], []
        self.idle, self.sent = [], 0

    def took(self, client, error, app_ms):
        self.idle.append(client)
        self.keep((time.monotonic() - client.due) * 1000, error, app_ms)

    def keep(self, latency_ms, error, app_ms=None):
        self.latencies_ms.append(round(latency_ms, 2))
        if error:
            self.errors[error] = self.errors.get(error, 0) + 1
        else:
            self.answered += 1
        if app_ms is not None:
            self.app_ms.append(app_ms)

    def turn(self, seconds):
        for key, mask in self.selector.select(max(0, seconds)):
            if key.data.socket is key.fileobj:      # not closed in this turn
                key.data.ready(mask)

    def forget(self):
        self.answered, self.errors, self.latencies_ms, self.app_ms = 0, {}, [], []

    def found(self, seconds):
        return {'seconds': seconds, 'answered': self.answered, 'errors': self.errors,
                'latencies_ms': self.latencies_ms, 'app_ms': self.app_ms}


def waited_ns(pid):
    """How long the threads of a process, and of its children, waited for a core."""
    total = 0
    for one in rig.family(pid) if pid else ():
        for thread in os.listdir(f'/proc/{one}/task'):
            with open(f'/proc/{one}/task/{thread}/schedstat') as f:
                total += int(f.read().split()[1])
    return total


def loop(args):
    waited = 0
    run = Run(args.to, args.connections)
    began, end = time.monotonic() + args.warmup, time.monotonic() + args.warmup + args.seconds
    run.idle = list(run.clients)
    warm = False
    while (now := time.monotonic()) < end:
        if not warm and now >= began:
            warm = True
            run.forget()
            waited = waited_ns(args.heed)
        for client in run.clients:
            if client.socket and client not in run.idle and now - client.due > args.timeout:
                client.ended('timeout')
        idle, run.idle = run.idle, []
        for client in idle:
            client.ask(now)
        run.turn(min(0.1, end - now))
    found = run.found(args.seconds)
    # What has waited longer than most answers take is seen in the latencies, and is no error yet.
    pending_ms = [(end - client.due) * 1000 for client in run.clients if client not in run.idle]
    return {**found, 'pending_ms': [round(ms, 2) for ms in pending_ms],
            'waited': (waited_ns(args.heed) - waited) / 1e9 / args.seconds}


def burst(args):
    run = Run(args.to, args.burst)
    order, waited = [], waited_ns(args.heed)
    began = time.monotonic()
    for client in run.clients:
        client.ask(began)
    while len(order) < args.burst and time.monotonic() < began + args.seconds:
        run.turn(1)
        order += [client.nth for client in run.idle]
        run.idle.clear()
    took = time.monotonic() - began
    return {**run.found(took), 'unanswered': args.burst - len(order), 'order': order,
            'waited': (waited_ns(args.heed) - waited) / 1e9 / took}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--to', required=True)
    parser.add_argument('--connections', type=int, default=16)
    parser.add_argument('--warmup', type=float, default=1)
    parser.add_argument('--seconds', type=float, default=8)
    parser.add_argument('--timeout', type=float, default=3)
    parser.add_argument('--heed', type=int)
    parser.add_argument('--burst', type=int)
    args = parser.parse_args()
    host, _, port = args.to.rpartition(':')
    args.to = (host, int(port))
    print(json.dumps(burst(args) if args.burst else loop(args)))


if __name__ == '__main__':
    main()
