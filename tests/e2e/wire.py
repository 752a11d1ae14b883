"""HTTP/1 by hand: a client that sends bytes as told, and an origin whose every move is scripted."""
import contextlib
import select
import socket
import ssl
import struct
import threading

import harness
from harness import Failed, check


class Message:
    """A request or a response as it stood on the wire."""
    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        self.raw = head
        self.line = lines[0]
        self.fields = [(n, v.strip()) for n, _, v in (line.partition(":") for line in lines[1:])]
        self.body, self.trailers, self.chunked = b"", [], False
        words = self.line.split(" ", 2)
        if self.line.startswith("HTTP/"):
            self.version, self.status = words[0], int(words[1])
        else:
            self.method, self.target, self.version = words

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name):
        """The value of a field that is there at most once."""
        values = self.all(name)
        check(len(values) <= 1, f"{name} is there {len(values)} times in", self.raw)
        return values[0] if values else None

    def __repr__(self):
        return f"{self.raw!r} + {len(self.body)} bytes"


class Stream:
    """A socket that is read by deadline, with what was read and not taken yet."""
    def __init__(self, sock):
        self.sock = sock
        self.have = b""
        self.ended = False          # FIN was seen

    def send(self, *parts):
        data = b"".join(p.encode("latin-1") if isinstance(p, str) else p for p in parts)
        self.sock.sendall(data)

    def fill(self):
        """Reads once; False at the end. A reset is a ConnectionError."""
        data = self.sock.recv(262144)
        self.have += data
        self.ended = self.ended or not data
        return bool(data)

    def take(self, count):
        while len(self.have) < count:
            if not self.fill():
                raise Failed(f"the connection ended after {self.have[-200:]!r}: "
                             f"{len(self.have)} of {count} bytes")
        taken, self.have = self.have[:count], self.have[count:]
        return taken

    def skip(self, count):
        """Reads so many bytes and forgets them."""
        while count > len(self.have):
            count -= len(self.have)
            self.have = b""
            check(self.fill(), f"the connection ended {count} bytes too early")
        self.have = self.have[count:]

    def take_until(self, mark):
        while mark not in self.have:
            if not self.fill():
                raise Failed(f"the connection ended within {self.have[-200:]!r}")
        taken, _, self.have = self.have.partition(mark)
        return taken

    def head(self):
        return Message(self.take_until(b"\r\n\r\n"))

    def chunks(self, message):
        message.chunked = True
        parts = []
        while True:
            size = int(self.take_until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                break
            parts.append(self.take(size))
            check(self.take(2) == b"\r\n", "a chunk without its end")
        message.body = b"".join(parts)
        while True:
            line = self.take_until(b"\r\n").decode("latin-1")
            if not line:
                return
            name, _, value = line.partition(":")
            message.trailers.append((name, value.strip()))

    def rest(self):
        """All until the end."""
        while self.fill():
            pass
        taken, self.have = self.have, b""
        return taken

    def expect_end(self):
        """Nothing more comes, and the connection ends (with FIN or reset)."""
        with contextlib.suppress(ConnectionError):
            while self.fill():
                check(not self.have, "bytes after the end:", self.have[:500])
        check(not self.have, "bytes after the end:", self.have[:500])

    def expect_cut(self):
        """The connection ends before what was promised: what came of it. (SSLEOFError: TLS that
        ended without close_notify.)"""
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            return self.rest()
        taken, self.have = self.have, b""
        return taken

    def expect_open(self):
        """Nothing has come, no end either."""
        check(not self.have and not harness.wait_readable([self.sock], 0),
              "the connection is not quiet:", self.have)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Client(Stream):
    """A client of gyre."""
    def __init__(self, address, source=None):
        super().__init__(harness.connect(address, source=source))
        harness.client_made(self)

    def request(self, method="GET", target="/", *fields, version="1.1", body=b"", host="one.test"):
        """Sends one; a body is counted."""
        lines = [f"{method} {target} HTTP/{version}", *([f"Host: {host}"] if host else []), *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines) + "\r\n\r\n", body)

    def response(self, method="GET", interim=None):
        """The next final response, whole; what came before it goes into interim, if that is a
        list."""
        while True:
            message = self.head()
            if message.status >= 200 or message.status == 101:
                break
            check(interim is not None, "an interim response:", message)
            interim.append(message)
        if method == "HEAD" or message.status in (101, 204, 304):
            return message
        if message.get("Transfer-Encoding"):
            check(message.get("Content-Length") is None, "two framings:", message)
            self.chunks(message)
        elif message.get("Content-Length") is not None:
            message.body = self.take(int(message.get("Content-Length")))
        else:
            message.body = self.rest()
        return message

    def ask(self, method="GET", target="/", *fields, **options):
        self.request(method, target, *fields, **options)
        return self.response(method)


class Exchange(Stream):
    """A connection from gyre to an origin."""
    def __init__(self, sock, origin):
        super().__init__(sock)
        self.origin = origin
        self.count = 0              # of requests on this connection

    def request(self):
        """The next request, whole, or None at the connection's end."""
        message = self.request_head()
        if message is not None:
            self.request_body(message)
        return message

    def request_head(self):
        while not self.have:
            try:
                if not self.fill():
                    return None
            except ConnectionError:
                return None
        message = self.head()
        self.count += 1
        with self.origin.lock:
            self.origin.requests.append(message)
        return message

    def request_body(self, message):
        if message.get("Transfer-Encoding"):
            self.chunks(message)
        else:
            message.body = self.take(int(message.get("Content-Length") or 0))

    def answer(self, body=b"", *fields, status="200 OK", version="1.1"):
        body = body.encode() if isinstance(body, str) else body
        lines = [f"HTTP/{version} {status}", f"Content-Length: {len(body)}", *fields]
        self.send("\r\n".join(lines) + "\r\n\r\n", body)

    def quiet(self):
        """Waits until gyre has ended the connection; what still came."""
        return self.expect_cut()


class Origin:
    """A server on TCP, or on a unix socket: serve(exchange) is called per connection, in a thread.

    What a thread raises is the test's failure, but for an end of its connection by gyre, and for
    the end of the test.
    """
    def __init__(self, serve=None, unix=False, backlog=1024, name="origin"):
        self.serve = serve or answer_ok
        self.lock = threading.Lock()
        self.requests, self.sockets, self.failures = [], [], []
        self.connections = 0        # so far
        self.open = 0
        self.closing = False
        if unix:
            self.address = harness.path(f"{name}.sock")
        else:
            self.address = harness.free_address()
        self.listen(backlog)
        harness.at_end(self.close)

    def listen(self, backlog=1024):
        """Also again, after refuse()."""
        unix = isinstance(self.address, str)
        self.listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(self.address)
        self.listener.listen(backlog)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            sock.settimeout(harness.WAIT_S)
            with self.lock:
                self.connections += 1
                self.open += 1
                self.sockets.append(sock)
            threading.Thread(target=self.run, args=(sock,), daemon=True).start()

    def run(self, sock):
        try:
            self.serve(Exchange(sock, self))
        except Exception as failure:    # pylint: disable=broad-except
            if not self.closing:
                self.failures.append(failure)
        finally:
            sock.close()
            with self.lock:
                self.open -= 1
                self.sockets.remove(sock)

    def request_count(self):
        with self.lock:
            return len(self.requests)

    def wait_requests(self, count):
        harness.until(lambda: self.request_count() >= count, f"{count} requests at the origin")

    def refuse(self):
        """From now on nobody listens."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def close(self):
        if self.closing:
            return
        self.closing = True
        with contextlib.suppress(OSError):
            self.refuse()
        with self.lock:
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        if self.failures:
            raise self.failures[0]


def answer_ok(exchange):
    """Answers every request with what it was, and keeps the connection."""
    while (request := exchange.request()) is not None:
        exchange.answer(f"{request.method} {request.target} {len(request.body)}\n")


def full_listener(unix=False):
    """A server that nobody can connect to, as it does not accept: its address, and the sockets
    that fill its queue. Connecting to it neither fails nor gets anywhere."""
    address = harness.path("full.sock") if unix else harness.free_address()
    listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
    listener.bind(address)
    listener.listen(0)
    held = [listener]
    for _ in range(64):
        sock = socket.socket(listener.family)
        sock.setblocking(False)
        held.append(sock)
        try:
            if sock.connect_ex(address) not in (0, 115):
                break               # EAGAIN: a unix socket's queue is full
        except BlockingIOError:
            break
        if not unix and len(held) > 2 and not writable(sock, 0.2):
            break                   # its SYN is dropped
    else:
        raise Failed("the queue of a listener has no end")
    return address, held


def writable(sock, seconds):
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))
