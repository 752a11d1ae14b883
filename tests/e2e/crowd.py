"""Thousands of WebSockets at little cost: processes that hold the clients, and one that echoes."""
import json
import os
import select
import socket
import ssl
import struct
import traceback

import harness
from harness import WAIT_S, check

MASK = b"\1\2\3\4"
CLOSE = 0x88
GOING_AWAY = struct.pack("!BBH", CLOSE, 2, 1001)


def frame(payload, mask=b""):
    """A short text message."""
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([0x81, len(payload) | (0x80 if mask else 0)]) + mask + payload


def unframe(data):
    """(first byte, payload, rest) of a short message, or None when it is not whole."""
    if len(data) < 2:
        return None
    masked, length = data[1] & 0x80, data[1] & 0x7F
    check(length < 126, "a long message")
    begin = 6 if masked else 2
    if len(data) < begin + length:
        return None
    payload = data[begin:begin + length]
    if masked:
        payload = bytes(byte ^ data[2 + i % 4] for i, byte in enumerate(payload))
    return data[0], payload, data[begin + length:]


class Child:
    """A process that answers what it is asked: one line of JSON each way. (It is of the test's
    process group, and ends with the test at the latest.)"""
    def __init__(self, serve, *args):
        self.asked = ""
        self.sock, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self.sock.close()
            try:
                serve(theirs, *args)
                os._exit(0)
            except BaseException:       # pylint: disable=broad-except
                traceback.print_exc()
                os._exit(1)
        theirs.close()
        self.file = self.sock.makefile("rw")

    def ask(self, *words):
        self.asked = words
        self.file.write(json.dumps(words) + "\n")
        self.file.flush()

    def told(self, seconds=WAIT_S):
        self.sock.settimeout(seconds)
        try:
            line = self.file.readline()
        except TimeoutError:
            line = "null"
        check(line and line != "null", f"a process that was asked {self.asked} says nothing")
        return json.loads(line)

    def end(self):
        self.file.close()
        self.sock.close()
        os.waitpid(self.pid, 0)


# --- The origin ----------------------------------------------------------------------------------

class Echo:
    """One connection: an upgrade, then messages, which go back."""
    def __init__(self, sock):
        self.sock, self.have, self.up = sock, b"", False

    def heard(self, count):
        """False: it has ended."""
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            return False
        self.have += data
        if not self.up and b"\r\n\r\n" in self.have:
            self.have = self.have.partition(b"\r\n\r\n")[2]
            self.up = True
            count["up"] += 1
            self.sock.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                           b"Upgrade: websocket\r\n\r\n")
        while self.up and (message := unframe(self.have)):
            first, payload, self.have = message
            if first == CLOSE:
                count["going away"] += payload == GOING_AWAY[2:]
                return False
            self.sock.send(frame(payload))
        return bool(data)


def echo_origin(control, listener):
    """Until its asker is gone; each question is answered with what it has counted."""
    count, echoes = {"up": 0, "going away": 0}, {}
    poll = select.epoll()
    for one in (control, listener):
        one.setblocking(False)
        poll.register(one, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == control.fileno():
                if not control.recv(4096):
                    return
                control.send(json.dumps(count).encode() + b"\n")
            elif fd == listener.fileno():
                sock = listener.accept()[0]
                echoes[sock.fileno()] = Echo(sock)
                poll.register(sock, select.EPOLLIN)
            elif not echoes[fd].heard(count):
                echoes.pop(fd).sock.close()


def start_origin():
    """(its address, its process)"""
    address = harness.free_address()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(4096)
    child = Child(echo_origin, listener)
    listener.close()
    return address, child


# --- Clients -------------------------------------------------------------------------------------

class Clients:
    """Over TLS, from many addresses, so that none of them has more than it may."""
    def __init__(self, address):
        self.address, self.socks = address, []
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def open(self, count):
        for i in range(count):
            sock = socket.create_connection(self.address, WAIT_S,
                                            source_address=(f"127.0.0.{1 + i % 200}", 0))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = self.context.wrap_socket(sock, server_hostname="one.test",
                                            suppress_ragged_eofs=False)
            sock.sendall(b"GET /ws HTTP/1.1\r\nHost: one.test\r\nConnection: Upgrade\r\n"
                         b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            head = sock.recv(4096)
            check(head.startswith(b"HTTP/1.1 101 ") and head.endswith(b"\r\n\r\n"), head)
            self.socks.append(sock)
        return len(self.socks)

    def echo(self, every):
        """A message there and back, on each so many-th of them."""
        asked = self.socks[::every]
        for i, sock in enumerate(asked):
            sock.sendall(frame(b"message %d" % i, MASK))
        for i, sock in enumerate(asked):
            got = sock.recv(4096)
            check(got == frame(b"message %d" % i), "an echo:", got)
        return len(asked)

    def end(self):
        """How many are told to go, and then see the end, as it should be over TLS."""
        told = 0
        for sock in self.socks:
            got = sock.recv(4096)
            check(got == GOING_AWAY, "instead of a Close:", got)
            check(sock.recv(4096) == b"", "more behind the Close")
            sock.close()
            told += 1
        return told


def hold_clients(control, address):
    clients, file = Clients(address), control.makefile("rw")
    for line in file:
        what, *args = json.loads(line)
        file.write(json.dumps(getattr(clients, what)(*args)) + "\n")
        file.flush()
