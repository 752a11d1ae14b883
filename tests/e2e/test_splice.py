"""Large plain responses of async servers, which go from socket to socket without being read."""
import hashlib
import socket
import threading

from harness import Front, check, equal, until
from wire import Client, Origin

MIB = 1 << 20
BYTES = 64 * MIB
PIECE = hashlib.shake_256(b"a large body").digest(MIB + 1)   # so that no two MiB are alike


def serve(exchange):
    """/N: a body of N bytes."""
    while (request := exchange.request()) is not None:
        left = int(request.target[1:])
        exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n")
        while left > 0:
            exchange.send(PIECE[:left])
            left -= min(left, len(PIECE))


def digest(count):
    whole, rest = divmod(count, len(PIECE))
    made = hashlib.sha256()
    for _ in range(whole):
        made.update(PIECE)
    made.update(PIECE[:rest])
    return made.hexdigest()


def taken(client, count):
    got = hashlib.sha256()
    while count > 0:
        piece = client.take(min(count, MIB))
        got.update(piece)
        count -= len(piece)
    return got.hexdigest()


def pipes(gyre):
    return [name for name in gyre.descriptor_names().values() if name.startswith("pipe:")]


def test_comes_whole():
    """Over TCP and unix sockets: each byte, on connections that are kept, and logged."""
    for unix in (False, True):
        origin = Origin(serve, unix=unix)
        with Front(origin.address, backend="mode = async") as front, \
                Client(front.address) as client:
            before = len(pipes(front.gyre))
            sizes = [BYTES, 10, 2 * MIB + 1, BYTES + 4711]
            for size in sizes:
                client.request("GET", f"/{size}")
                equal(client.head().get("Content-Length"), str(size), "Content-Length")
                equal(taken(client, size), digest(size), f"a body of {size} bytes")
            check(len(pipes(front.gyre)) > before, "nothing was spliced")
            equal(origin.connections, 1, "connections to the server")
            for line, size in zip(front.log_lines(len(sizes)), sizes):
                check(f'" 200 {size} ' in line, "the log says", line)


def test_requests_sent_ahead():
    """A client that sends its next requests, and ends its side, while a body is on its way."""
    origin = Origin(serve)
    with Front(origin.address, backend="mode = async", workers=2) as front, \
            Client(front.address) as client:
        client.request("GET", f"/{BYTES}")
        client.head()
        equal(client.take(MIB), (PIECE * 2)[:MIB], "the first bytes")
        client.request("GET", f"/{3 * MIB}")
        rest = hashlib.sha256((PIECE * 2)[:MIB])
        left = BYTES - MIB
        client.request("GET", "/7")
        while left > 0:
            piece = client.take(min(left, MIB))
            rest.update(piece)
            left -= len(piece)
        equal(rest.hexdigest(), digest(BYTES), "the first body")
        for size in (3 * MIB, 7):
            equal(client.head().get("Content-Length"), str(size), "Content-Length")
            equal(taken(client, size), digest(size), f"a body of {size} bytes")


def test_urgent_bytes():
    """TCP's urgent bytes are no part of the body: received or spliced, they are left out."""
    size = 8 * MIB

    def urgent(exchange):
        while exchange.request() is not None:
            exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
            for at in range(0, size, MIB):
                exchange.send(PIECE[:MIB])
                if at == 3 * MIB:
                    exchange.sock.send(b"!", socket.MSG_OOB)
    origin = Origin(urgent)
    with Front(origin.address, backend="mode = async\nstall_timeout = 2s") as front, \
            Client(front.address) as client:
        for _ in range(2):
            client.request()
            client.head()
            for at in range(0, size, MIB):
                check(client.take(MIB) == PIECE[:MIB], "other bytes in MiB", at // MIB)
        equal(origin.connections, 1, "connections to the server")


def test_answers_that_are_early():
    """A server that answers with much while it takes the request: both ways at once."""
    turns = 16

    def early(exchange):
        while exchange.request_head() is not None:
            exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {(turns + 1) * MIB}\r\n\r\n")
            for _ in range(turns):
                exchange.send(PIECE[:MIB])
                check(exchange.take(MIB) == PIECE[:MIB], "other bytes of the request")
            exchange.send(PIECE[:MIB])
    origin = Origin(early)
    with Front(origin.address, backend="mode = async") as front, \
            Client(front.address) as client:
        client.send("POST / HTTP/1.1\r\nHost: one.test\r\n"
                    f"Content-Length: {turns * MIB}\r\n\r\n")
        client.head()
        for turn in range(turns + 1):
            check(client.take(MIB) == PIECE[:MIB], "other bytes in MiB", turn)
            client.send(PIECE[:MIB] if turn < turns else b"")
        check(len(pipes(front.gyre)) > 0, "nothing was spliced")


def test_many_at_once():
    """More than there are pipes; those who get none have their bytes all the same."""
    origin = Origin(serve)
    size, failures = 3 * MIB, []

    def get(front):
        try:
            with Client(front.address) as client:
                for _ in range(2):
                    client.request("GET", f"/{size}")
                    client.head()
                    equal(taken(client, size), digest(size), "a body")
        except Exception as failure:    # pylint: disable=broad-except
            failures.append(failure)

    with Front(origin.address, backend="mode = async", workers=2,
               listener="max_connections_per_client = 1000") as front:
        threads = [threading.Thread(target=get, args=(front,)) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(failures, [], "failures")


def test_clients_that_go():
    """Amid a body that goes on for ever: with a FIN, and with a reset, reading and not."""
    def endless(exchange):
        exchange.request()
        exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {1 << 40}\r\n\r\n")
        try:
            while True:
                exchange.send(PIECE)
        except OSError:
            pass
    origin = Origin(endless)
    with Front(origin.address, backend="mode = async") as front:
        for count in (0, 8 * MIB):
            client = Client(front.address)
            client.request()
            client.head()
            client.skip(count)
            client.reset()
            until(lambda: origin.open == 0, "the server's connection to end")
        line = front.log_lines(2)[1]
        check("close=client-gone" in line, "the log says", line)
        until(lambda: len(pipes(front.gyre)) <= 2 * 16, "the pipes to be closed")
