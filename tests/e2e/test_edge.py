"""Sync servers behind slow clients: what the edge is for, with real servers."""
import hashlib
import json
import os
import re
import socket
import threading
import time

import harness
from edge import FULL, Gunicorn, UnixClient, local, quiet, spool_files, spool_folder, timed
from harness import SHARED, Front, alone, check, equal, until, within
from test_scale import FORGET
from test_tls import TlsClient
from wire import Client

KIB, MIB = 1 << 10, 1 << 20


def echoed(response):
    equal(response.status, 200, "status")
    return json.loads(response.body)


# --- Slow clients --------------------------------------------------------------------------------

class SlowClients:
    """A crowd in front of an address: a third writes a byte now and then, a third reads nothing of
    a large answer, a third does nothing, before or after an answer."""
    def __init__(self, address, count, kinds=None):
        self.socks, self.writers, self.readers = [], [], []
        kinds = kinds or [SlowClients.writer, SlowClients.reader, SlowClients.idle]
        for i in range(count):
            kind = kinds[i % len(kinds)]
            sock = socket.socket()
            harness.client_made(sock)
            if kind == SlowClients.reader:
                # As from far away: on loopback the kernel alone would take megabytes.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
            sock.settimeout(harness.WAIT_S)
            sock.connect(address)
            kind(self, sock, i)
            self.socks.append(sock)

    def writer(self, sock, i):
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx" if i % 2
                     else b"POST /echo HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        self.writers.append(sock)

    def reader(self, sock, i):
        sock.sendall(b"GET /bytes/1048576 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.readers.append(sock)

    def idle(self, sock, i):
        if i % 2:
            sock.sendall(b"GET /task/0?idle HTTP/1.1\r\nHost: a\r\n\r\n")

    def step(self):
        for sock in self.writers:
            sock.sendall(b"y")

    def close(self):
        for sock in self.socks:
            sock.close()


def normal_clients(front, requests):
    def run(stack):
        client = stack.enter_context(Client(front.address))

        def step():
            got = client.ask("GET", "/task/50?normal")
            equal([got.status, got.body], [200, b"normal"], "a normal client's answer")
        return step
    return timed(8, requests, run)


@alone
def test_bare_gunicorn_stands_still():
    """The control: what is asked of gyre below is too much for the server alone."""
    server = Gunicorn("-w", "4")
    for kind in (SlowClients.writer, SlowClients.reader, SlowClients.idle):
        slow = SlowClients(server.address, 8, [kind])
        with Client(server.address) as client:
            client.request("GET", "/task/0?bare")
            check(not harness.wait_readable([client.sock], 0.5), f"8 times {kind} did not stop it")
            slow.close()
            equal(client.response().status, 200, "status, when they are gone")


@alone
@within(120)
def test_slow_clients_stop_nobody():
    """1,000 of them, and four sync workers have as much time for others as before."""
    requests = 800 if FULL else 80
    server = Gunicorn("-w", "4")
    folder = spool_folder()
    with Front(server.address, glob=f"spool_dir = {folder}", backend="slots = 4", workers=2,
               listener="head_timeout = 60s\nbody_timeout = 60s") as front:
        normal_clients(front, 16)
        before = normal_clients(front, requests)
        slow = SlowClients(front.address, 1000)
        with Client(front.address) as last:     # behind all those that are to be served
            last.request("GET", "/task/0?last")
            last.sock.settimeout(60)
            equal(last.response().body, b"last", "the last one's answer")
        spools = len(spool_files(front.gyre, folder))
        done = threading.Event()

        def write():
            while not done.wait(0.1):
                slow.step()
        writing = threading.Thread(target=write, daemon=True)
        writing.start()
        beside = normal_clients(front, requests)
        done.set()
        writing.join()
        slow.close()
    said = (f"{requests} requests in {before:.2f} s, beside 1,000 slow clients in {beside:.2f} s; "
            f"{spools} spools")
    check(spools >= len(slow.readers) // 2, "the readers were no burden:", said)
    check(beside * (0.95 if FULL else 0.7) <= before, said)
    return said


# --- Requests that are taken whole ---------------------------------------------------------------

def send_chunks(client, body, size):
    for at in range(0, len(body), size):
        piece = body[at:at + size]
        client.send(f"{len(piece):x}\r\n", piece, "\r\n")
    client.send("0\r\n\r\n")


def test_chunked_upload_has_a_length():
    """WSGI knows no chunks: without a length the body would be empty there."""
    with Front(Gunicorn("-w", "1").address) as front, Client(front.address) as client:
        for count in (0, 1, 100_000, 3 * MIB):
            body = os.urandom(count)
            client.send("PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            send_chunks(client, body, 50_000)
            got = echoed(client.response())
            equal(got["sha256"], hashlib.sha256(body).hexdigest(), "the body")
            equal([got["environ"].get(n) for n in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")],
                  [str(count), None], "the framing")


def test_flask_reads_a_chunked_upload():
    with Front(SHARED["flask"]) as front, Client(front.address) as client:
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        send_chunks(client, b"hello " * 1000, 600)
        equal(json.loads(client.response().body)["bytes"], 6000, "bytes")


def test_expect_continue_is_answered_here():
    """Though no worker has time."""
    server = Gunicorn("-w", "1")
    with Front(server.address, backend="slots = 1") as front:
        with Client(front.address) as busy, Client(front.address) as client:
            busy.request("GET", "/hold/it")
            server.gate.wait_told("it")
            client.request("POST", "/echo", "Expect: 100-continue", "Content-Length: 5")
            equal(client.head().status, 100, "the interim answer")
            client.send("hello")
            server.gate.let_go("it")
            equal(busy.response().body, b"it", "the busy one's answer")
            got = echoed(client.response())
            equal([got["bytes"], got["environ"].get("HTTP_EXPECT")], [5, None], "at the app")


def test_upload_through_the_spool():
    """A big body waits in a file without a name, and no worker waits for it."""
    server = Gunicorn("-w", "1")
    folder = spool_folder()
    body = os.urandom(6 * MIB)
    with Front(server.address, backend="slots = 1\nrequest_memory = 64k",
               glob=f"spool_dir = {folder}") as front:
        with Client(front.address) as client, Client(front.address) as other:
            client.request("POST", "/echo", f"Content-Length: {len(body)}")
            client.send(body[:4 * MIB])
            until(lambda: sum(spool_files(front.gyre, folder)) >= 3 * MIB, "the file to grow")
            equal(other.ask("GET", "/task/0?other").body, b"other", "another's answer meanwhile")
            client.send(body[4 * MIB:])
            got = echoed(client.response())
            equal(got["sha256"], hashlib.sha256(body).hexdigest(), "the body")
            until(lambda: not spool_files(front.gyre, folder), "the file to be gone")


def test_upload_of_a_client_that_leaves():
    server = Gunicorn("-w", "1")
    folder = spool_folder()
    with Front(server.address, glob=f"spool_dir = {folder}", backend="slots = 1") as front:
        client = Client(front.address)
        client.request("POST", "/task/0?left", f"Content-Length: {4 * MIB}")
        client.send(b"x" * 3 * MIB)
        until(lambda: sum(spool_files(front.gyre, folder)) > 0, "a file")
        client.close()
        until(lambda: not spool_files(front.gyre, folder), "the file to be gone")
        with Client(front.address) as other:
            other.ask("GET", "/task/0?other")
    equal(harness.read("journal"), "GET other\n", "what the app saw")


def test_spool_max():
    """Of all files together; at the bound who would need more is answered with 503."""
    server = Gunicorn("-w", "1")
    folder = spool_folder()
    with Front(server.address, glob=f"spool_dir = {folder}\nspool_max = 1m",
               backend="request_memory = 64k", expect=["spool_max is reached"]) as front:
        first, second = Client(front.address), Client(front.address)
        first.request("POST", "/echo", f"Content-Length: {900 * KIB}")
        first.send(b"x" * 800 * KIB)
        until(lambda: sum(spool_files(front.gyre, folder)) >= 512 * KIB, "the first one's file")
        second.request("POST", "/echo", f"Content-Length: {900 * KIB}")
        second.send(b"x" * 800 * KIB)
        got = second.response()
        equal(got.status, 503, "the second one's status")
        check(got.get("Retry-After"), got)
        second.close()
        check("close=spool" in front.log_lines(1)[0], front.log_lines(1))
        first.send(b"x" * 100 * KIB)
        equal(echoed(first.response())["bytes"], 900 * KIB, "the first one's bytes")
        until(lambda: not spool_files(front.gyre, folder), "the files to be gone")
        for _ in range(3):                      # what they took is given back
            equal(echoed(first.ask("POST", "/echo", body=b"y" * 900 * KIB))["bytes"], 900 * KIB,
                  "bytes")
    with Front(server.address, glob="spool_max = 0", backend="request_memory = 64k") as front:
        with Client(front.address) as client:
            equal(echoed(client.ask("POST", "/echo", body=b"y" * 60 * KIB))["bytes"], 60 * KIB,
                  "bytes without files")
            client.request("POST", "/echo", f"Content-Length: {500 * KIB}")
            client.send(b"y" * 400 * KIB)
            equal(client.response().status, 503, "status without files")


def test_no_file_can_be_made():
    """Said at start, and when it matters."""
    server = Gunicorn("-w", "1")
    with Front(server.address, glob="spool_dir = /proc", backend="request_memory = 64k",
               expect=["spool_dir = /proc: no file can be made there",
                       "spool_dir = /proc: .* refused or waits"]) as front:
        with Client(front.address) as client:
            equal(echoed(client.ask("POST", "/echo", body=b"y" * 60 * KIB))["bytes"], 60 * KIB,
                  "bytes in memory")
            client.request("POST", "/echo", f"Content-Length: {500 * KIB}")
            client.send(b"y" * 400 * KIB)
            equal(client.response().status, 503, "status without a file")


def test_max_body():
    server = Gunicorn("-w", "1")
    with Front(server.address, listener="max_body = 100k") as front:
        with Client(front.address) as client:
            client.request("POST", "/task/0?big", "Content-Length: 102401")
            equal(client.response().status, 413, "status of a length")
        with Client(front.address) as client:
            client.send("POST /task/0?big HTTP/1.1\r\nHost: a\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n20000\r\n", b"x" * 131072)
            equal(client.response().status, 413, "status of chunks")
    check(not os.path.exists(server.journal), "the app saw one")


# --- Responses that are taken off the worker -----------------------------------------------------

def take_pattern(client, size):
    """Reads what /bytes/SIZE has sent."""
    pattern, at = bytes(range(256)) * 2048, 0
    while at < size:
        if not client.have:
            check(client.fill(), f"it ended after {at} of {size} bytes")
        piece, client.have = client.have[:size - at], client.have[size - at:]
        check(piece == pattern[at % 256:at % 256 + len(piece)], f"other bytes at {at}")
        at += len(piece)


def test_reader_that_does_not_read():
    """The only worker is free as soon as it has written, and the client still gets all."""
    server = Gunicorn("-w", "1")
    folder = spool_folder()
    size = 32 * MIB
    for tls in (False, True):
        kind = TlsClient if tls else Client
        with Front(server.address, glob=f"spool_dir = {folder}", tls=tls,
                   backend="slots = 1") as front, kind(front.address) as slow:
            slow.request("GET", f"/bytes/{size}")
            head = slow.head()
            with kind(front.address) as other:
                equal(other.ask("GET", "/task/0?other").body, b"other", "the next one's answer")
            check(sum(spool_files(front.gyre, folder)) > MIB, "there is no spool")
            equal(head.get("Content-Length"), str(size), "the length")
            take_pattern(slow, size)
            until(lambda: not spool_files(front.gyre, folder), "the file to be gone")


def test_response_max():
    """Beyond it the worker waits after all."""
    server = Gunicorn("-w", "1")
    folder = spool_folder()
    size = 64 * MIB
    front_path = harness.path("front.sock")
    with Front(server.address, glob=f"spool_dir = {folder}", more=local(front_path),
               backend="slots = 1\nresponse_max = 4m") as front:
        with Client(front.address) as slow, UnixClient(front_path) as other:
            slow.request("GET", f"/bytes/{size}")
            until(lambda: sum(spool_files(front.gyre, folder)) >= 3 * MIB, "the spool to be full")
            other.request("GET", "/task/0?other")
            quiet(front.gyre, other)
            check(sum(spool_files(front.gyre, folder)) < 5 * MIB, spool_files(front.gyre, folder))
            slow.head()
            take_pattern(slow, size)
            equal(other.response().body, b"other", "the next one's answer")


def test_reader_that_leaves():
    """With its answer in the spool: the file goes with it."""
    server = Gunicorn("-w", "1")
    folder = spool_folder()
    with Front(server.address, glob=f"spool_dir = {folder}", backend="slots = 1") as front:
        for _ in range(3):
            slow = Client(front.address)
            slow.request("GET", f"/bytes/{16 * MIB}")
            slow.head()
            until(lambda: sum(spool_files(front.gyre, folder)) > MIB, "a file")
            slow.reset()
            until(lambda: not spool_files(front.gyre, folder), "the file to be gone")
        with Client(front.address) as other:
            equal(other.ask("GET", "/task/0?other").body, b"other", "the next one's answer")


def test_response_with_no_room_in_the_spool():
    """Past spool_max there is only back-pressure: the worker waits, nothing is cut."""
    server = Gunicorn("-w", "1")
    folder = spool_folder()
    size = 32 * MIB
    with Front(server.address, glob=f"spool_dir = {folder}\nspool_max = 1m",
               backend="slots = 1", expect=["spool_max is reached"]) as front:
        for glob in ("full", "again"):
            with Client(front.address) as slow:
                slow.request("GET", f"/bytes/{size}")
                slow.head()
                until(lambda: sum(spool_files(front.gyre, folder)) > 512 * KIB, glob)
                check(sum(spool_files(front.gyre, folder)) <= MIB, spool_files(front.gyre, folder))
                take_pattern(slow, size)
        until(lambda: not spool_files(front.gyre, folder), "the file to be gone")


@alone
def test_memory_of_readers_that_do_not_read():
    """What waits for them is in files, and the workers are free."""
    count, size = (500, 8 * MIB) if FULL else (64, 8 * MIB)
    server = Gunicorn("-w", "4")
    folder = spool_folder()
    with Front(server.address, glob=f"spool_dir = {folder}\nspool_max = 8g", env=FORGET,
               backend="slots = 4\nqueue_timeout = 10m") as front:
        with Client(front.address) as fast:
            fast.request("GET", f"/bytes/{64 * MIB}")
            fast.head()
            take_pattern(fast, 64 * MIB)
        before = front.gyre.memory()
        slow = [Client(front.address) for _ in range(count)]
        for client in slow:
            client.request("GET", f"/bytes/{size}")
        with Client(front.address) as last:     # it is served when all others are
            last.sock.settimeout(300)
            equal(last.ask("GET", "/task/0?last").body, b"last", "the last one's answer")
        began = time.monotonic()
        with Client(front.address) as next_one:
            equal(next_one.ask("GET", "/task/0?next").body, b"next", "the next one's answer")
        took = time.monotonic() - began
        check(took < 1, f"the workers were not free: {took:.1f} s")
        each = (front.gyre.memory() - before) / count
        said = (f"{count} times {size // MIB} MiB: {each / KIB:.0f} KiB each in memory, "
                f"{sum(spool_files(front.gyre, folder)) / MIB:.0f} MiB in files")
        check(each < 1.5 * MIB, said)
        client = slow[count // 2]
        client.head()
        take_pattern(client, size)
        return said


# --- What is told --------------------------------------------------------------------------------

def test_request_start():
    server = Gunicorn("-w", "1")
    with Front(server.address, backend="slots = 1") as front:
        with Client(front.address) as busy, Client(front.address) as client:
            busy.request("GET", "/hold/it")
            server.gate.wait_told("it")
            before = time.time_ns() // 1000
            client.request("GET", "/echo", "X-Request-Start: t=1")
            harness.wait_readable([client.sock], 0.1)       # it waits, for a time to be told
            server.gate.let_go()
            busy.response()
            got = echoed(client.response())
            found = re.fullmatch(r"t=(\d{16})", got["environ"]["HTTP_X_REQUEST_START"])
            check(found, got["environ"])
            began = int(found[1])
            check(before - 2000 <= began <= got["now_us"] - 90_000, before, began, got["now_us"])


def test_server_timing():
    server = Gunicorn("-w", "1")
    with Front(server.address, backend="slots = 1\nserver_timing = yes") as front:
        with Client(front.address) as busy, Client(front.address) as client:
            busy.request("GET", "/hold/it")
            server.gate.wait_told("it")
            client.request("GET", "/task/60?timed")
            harness.wait_readable([client.sock], 0.1)
            server.gate.let_go()
            times = [timing(busy.response()), timing(client.response())]
        check(times[0][0] < 50 and times[0][1] >= 90, "of the first:", times)
        check(times[1][0] >= 90 and 59 <= times[1][1] < 1000, "of the one that waited:", times)
    with Front(server.address) as front, Client(front.address) as client:
        equal(client.ask("GET", "/task/0?untold").get("Server-Timing"), None, "when not asked for")


def timing(response):
    found = re.fullmatch(r"queue;dur=([\d.]+), app;dur=([\d.]+)",
                         response.get("Server-Timing") or "")
    check(found, response)
    return float(found[1]), float(found[2])
