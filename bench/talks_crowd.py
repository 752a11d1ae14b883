#!/usr/bin/python3
"""The crowd of bench/talks: WebSockets that stay open, all of which are to hear every message.

    bench/talks_crowd.py --to HOST:PORT|PATH... [--count N] [--together N] [--messages N]

Opens N WebSockets of /feed/tornado, the addresses taking turns, with so many --together on their
way; says "ready" when each is open or has failed. After a line on stdin it posts so many messages,
one after the other, each when the last of the crowd has had the one before, or no more will. Prints
one JSON object. Connections over TCP come from 127.0.0.11 and the 15 addresses behind it.
"""
import argparse
import errno
import json
import selectors
import socket
import sys
import time

FEED = '/feed/tornado'
ASKED = (f'GET {FEED}/ws HTTP/1.1\r\nHost: bench.test\r\nConnection: Upgrade\r\n'
         'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
         'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n').encode()
SOURCE_FIRST, SOURCES = 11, 16
OPEN_S, HEAR_S = 90, 30


def connected(to, nth=0):
    """A socket on its way there, and why not."""
    if isinstance(to, str):
        sock = socket.socket(socket.AF_UNIX)
    else:
        sock = socket.socket()
        sock.bind((f'127.0.0.{SOURCE_FIRST + nth % SOURCES}', 0))
    sock.setblocking(False)
    code = sock.connect_ex(to)
    return sock, None if code in (0, errno.EINPROGRESS) else errno.errorcode[code]


class Crowd:
    def __init__(self, args):
        self.args, self.selector = args, selectors.DefaultSelector()
        self.busy, self.begun, self.errors = 0, 0, {}
        self.members, self.missing, self.lost = {}, {}, 0

    def failed(self, why):
        self.errors[why] = self.errors.get(why, 0) + 1

    def begin(self):
        sock, why = connected(self.args.to[self.begun % len(self.args.to)], self.begun)
        self.begun += 1
        if why:
            sock.close()
            self.failed(why)
            return
        self.busy += 1
        self.selector.register(sock, selectors.EVENT_WRITE, b'')

    def open_all(self):
        until = time.monotonic() + OPEN_S
        while (self.begun < self.args.count or self.busy) and time.monotonic() < until:
            while self.begun < self.args.count and self.busy < self.args.together:
                self.begin()
            for key, mask in self.selector.select(0.5):
                try:
                    if key.data is None:
                        self.hear(key.fileobj)      # too early for anything but its end
                    else:
                        self.opening(key, mask)
                except OSError as error:
                    self.over(key.fileobj, errno.errorcode[error.errno])
        for _ in range(self.busy):
            self.failed('no answer')

    def opening(self, key, mask):
        sock, had = key.fileobj, key.data
        if mask & selectors.EVENT_WRITE:
            sock.send(ASKED)
            self.selector.modify(sock, selectors.EVENT_READ, b'')
            return
        data = sock.recv(4096)
        had += data
        if data and b'\r\n\r\n' not in had:
            self.selector.modify(sock, selectors.EVENT_READ, had)
        elif had.startswith(b'HTTP/1.1 101 '):
            self.busy -= 1
            self.members[sock] = True
            self.selector.modify(sock, selectors.EVENT_READ, None)
        else:
            self.over(sock, had[9:12].decode() or 'closed')

    def over(self, sock, why):
        self.busy -= 1
        self.selector.unregister(sock)
        sock.close()
        self.failed(why)

    def tell(self, nth):
        """One message: when the last had it, and how many had it."""
        body = f'message {nth} of the feed'.encode()
        frame = bytes([0x81, len(body)]) + body
        self.missing = {sock: frame for sock in self.members}
        producer, _ = connected(self.args.to[0])
        producer.setblocking(True)
        began = last = time.monotonic()
        producer.sendall(f'POST {FEED} HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n'
                         f'Content-Length: {len(body)}\r\n\r\n'.encode() + body)
        while self.missing and time.monotonic() < began + HEAR_S:
            for key, _ in self.selector.select(1):
                self.hear(key.fileobj)
                last = time.monotonic()
        heard = len(self.members) - len(self.missing)
        producer.close()
        return {'heard': heard, 'last_s': last - began}

    def hear(self, sock):
        """All that a member may hear is the message, once."""
        try:
            data = sock.recv(4096)
        except OSError:
            data = b''
        left = self.missing.get(sock, b'')
        if data and left.startswith(data):
            self.missing[sock] = left[len(data):]
            if not self.missing[sock]:
                del self.missing[sock]
            return
        self.lost += 1
        self.selector.unregister(sock)
        del self.members[sock]
        self.missing.pop(sock, None)
        sock.close()


def address(text):
    host, _, port = text.rpartition(':')
    return (host, int(port)) if host else text


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--to', required=True, nargs='+', type=address)
    parser.add_argument('--count', type=int, default=10000)
    parser.add_argument('--together', type=int, default=64)
    parser.add_argument('--messages', type=int, default=3)
    args = parser.parse_args()
    crowd = Crowd(args)
    began = time.monotonic()
    crowd.open_all()
    took = time.monotonic() - began
    print('ready', flush=True)
    sys.stdin.readline()
    connected_count = len(crowd.members)
    messages = [crowd.tell(nth) for nth in range(args.messages)]
    print(json.dumps({'count': args.count, 'connected': connected_count, 'errors': crowd.errors,
                      'open_s': took, 'messages': messages, 'lost': crowd.lost}))


if __name__ == '__main__':
    main()
