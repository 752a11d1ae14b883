"""Slots and the queue: nobody but a free worker is asked, and who waits is served in order."""
import signal
import socket
import threading
import time

import harness
import wire
from edge import FULL, Gunicorn, UnixClient, local, quiet, settle
from harness import Front, alone, check, equal, until
from wire import Client, Origin


class Held:
    """A server with so many slots before a gate, and a gyre that is asked over a unix socket."""
    def __init__(self, slots=1, backend="", workers=1, glob=""):
        self.server = Gunicorn("-w", "1", "-k", "gthread", "--threads", "16")
        self.gate = self.server.gate
        self.path = harness.path("front.sock")
        self.front = Front(self.server.address, workers=workers, more=local(self.path),
                           glob=glob, backend=f"slots = {slots}\n{backend}")
        self.gyre = self.front.gyre

    def ask(self, name, method="GET", body=b""):
        """A client whose request is with gyre."""
        client = UnixClient(self.path)
        client.request(method, f"/hold/{name}", body=body)
        settle(self.gyre)
        return client

    def ask_from(self, source, name):
        """On TCP, from this address."""
        client = Client(self.front.address, source=(source, 0))
        client.request("GET", f"/hold/{name}")
        return client

    def fill(self):
        """Takes the only slot."""
        busy = self.ask("busy")
        self.gate.wait_told("busy")
        return busy


def answered(client, name):
    got = client.response()
    equal([got.status, got.body.decode()], [200, name], "an answer")
    client.close()


def log_line(front, word):
    """The access log's line that has this word, once it is there."""
    def found():
        return next((li for li in harness.read("access.log").splitlines() if word in li), None)
    front.log_lines(1)
    return until(found, f"a line with {word!r}")


# --- A burst -------------------------------------------------------------------------------------

class Burst:
    """So many requests at once, each on a connection of its own, all sent before an answer is
    read. Any answer but the right one is a failure."""
    def __init__(self, address, count, target):
        self.clients = [Client(address) for _ in range(count)]
        self.began = time.monotonic()
        for i, client in enumerate(self.clients):
            client.request("GET", f"{target}?{i}")
        self.failures, self.order = [], []
        for i, client in enumerate(self.clients):
            got = client.response()
            if [got.status, got.body] != [200, b"%d" % i]:
                self.failures.append((i, got))
        self.took = time.monotonic() - self.began
        equal(len(self.failures), 0, f"failures, such as {self.failures[:3]}")
        for client in self.clients:
            client.close()


def burst(server, backend, **options):
    count, ms = 1000, 50 if FULL else 15
    ideal = count * ms / 4 / 1000
    with Front(server.address, backend=backend, **options) as front:
        Burst(front.address, 8, "/task/0")          # all is there and warm
        took = Burst(front.address, count, f"/task/{ms}").took
    said = f"1,000 in {took:.2f} s, ideal are {ideal:.2f}"
    check(took < ideal * (1.1 if FULL else 1.8), said)
    return said


@alone
def test_burst_on_tcp():
    return burst(Gunicorn("-w", "4"), "slots = 4")


@alone
def test_burst_on_a_unix_socket():
    return burst(Gunicorn("-w", "4", "--backlog", "64", unix=True), "slots = 4", workers=2)


@alone
def test_burst_on_a_full_backlog():
    """Without slots nothing but the socket says that there is no room."""
    return burst(Gunicorn("-w", "4", "--backlog", "64", unix=True), "")


@alone
def test_no_fifth_request():
    """16 threads, and the app never sees more than the slots, from however many of gyre's."""
    server = Gunicorn("-w", "1", "-k", "gthread", "--threads", "16")
    for workers in (1, 4):
        with Front(server.address, backend="slots = 4", workers=workers) as front:
            Burst(front.address, 200, "/task/5")
            with Client(front.address) as client:
                equal(client.ask("GET", "/peak").body, b"4", f"at once, with {workers} workers")


# --- Order ---------------------------------------------------------------------------------------

def test_order_of_arrival():
    for workers in (1, 2, 8):
        held = Held(workers=workers)
        busy = held.fill()
        names = [f"{i}" for i in range(20)]
        clients = [held.ask(name) for name in names]
        quiet(held.gyre, busy, *clients)
        equal(held.gate.let_go(), "busy", "the first one")
        answered(busy, "busy")
        for name, client in zip(names, clients):
            equal(held.gate.let_go(), name, f"the next one, with {workers} workers")
            answered(client, name)
        equal(held.gate.told, ["busy", *names], "the order at the app")
        held.front.gyre.stop()


def test_a_flood_starves_nobody():
    """One address asks for much before another asks at all: they take turns."""
    held = Held(workers=2)
    busy = held.fill()
    flood = [held.ask_from("127.0.0.1", f"a{i}") for i in range(30)]
    until(lambda: waiting_sockets(held, flood), "the flood to be with gyre")
    other = []
    for i in range(5):
        other.append(held.ask_from("127.0.0.2", f"b{i}"))
        until(lambda: waiting_sockets(held, other), "the others to be with gyre")
    for _ in range(36):
        held.gate.let_go()
    answered(busy, "busy")
    for name, crowd in (("a", flood), ("b", other)):
        for i, client in enumerate(crowd):
            answered(client, f"{name}{i}")
    places = [held.gate.told.index(f"b{i}") for i in range(5)]
    equal(places, sorted(places), "the order of the others")
    check(places[-1] <= 12, "the others waited for the flood:", held.gate.told)


def waiting_sockets(held, clients):
    """Whether all that these have sent has come to gyre, and gyre has dealt with it."""
    for client in clients:
        info = client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        if int.from_bytes(info[24:28], "little") != 0:      # tcpi_unacked
            return False
    settle(held.gyre)
    return True


# --- Bounds --------------------------------------------------------------------------------------

def test_queue_is_bounded():
    held = Held(backend="queue = 5")
    busy = held.fill()
    clients = [held.ask(f"{i}") for i in range(5)]
    quiet(held.gyre, busy, *clients)
    for method in ("GET", "POST"):
        late = held.ask("late", method)
        got = late.response()
        equal(got.status, 503, "status of one too many")
        check(int(got.get("Retry-After")) > 0, got)
        late.close()
        check("close=queue-full" in log_line(held.front, f"{method} /hold/late"), "log")
    held.gate.let_go()
    held.gate.wait(lambda: len(held.gate.told) == 2, "the first one's turn")
    clients.append(held.ask("5"))               # there is room again
    for _ in range(6):
        held.gate.let_go()
    answered(busy, "busy")
    for i, client in enumerate(clients):
        answered(client, f"{i}")


def test_full_queue_has_room_for_others():
    """Who has the whole queue yields to one who has nothing in it."""
    held = Held(backend="queue = 5")
    busy = held.fill()
    flood = [held.ask_from("127.0.0.1", f"a{i}") for i in range(5)]
    until(lambda: waiting_sockets(held, flood), "the flood to be with gyre")
    other = held.ask_from("127.0.0.2", "b")
    until(lambda: waiting_sockets(held, [other]), "the other to be with gyre")
    refused = [c for c in flood if harness.wait_readable([c.sock], 0)]
    equal([c.response().status for c in refused], [503], "those that had to go")
    for _ in range(6):
        held.gate.let_go()
    answered(busy, "busy")
    answered(other, "b")
    equal([c.response().status for c in flood if c not in refused], [200] * 4, "the flood")


def test_queue_0():
    """Nobody waits: a free slot, or 503."""
    held = Held(backend="queue = 0")
    busy = held.fill()
    late = held.ask("late")
    equal(late.response().status, 503, "status without a queue")
    held.gate.let_go()
    answered(busy, "busy")
    late.request("GET", "/task/0?now")
    equal(late.response().body, b"now", "when it is free")


def test_queue_timeout():
    held = Held(backend="queue_timeout = 200ms")
    busy = held.fill()
    began = time.monotonic()
    late = held.ask("late")
    got = late.response()
    took = time.monotonic() - began
    equal(got.status, 503, "status")
    check(int(got.get("Retry-After")) > 0, got)
    check(0.19 < took < 5, "it took", took)
    check("close=queue-timeout" in log_line(held.front, "/hold/late"), harness.read("access.log"))
    held.gate.let_go()
    answered(busy, "busy")                      # the one that runs has all its time
    equal(held.gate.told, ["busy"], "what the app saw")


# --- Connections that occupy a worker ------------------------------------------------------------

def one_at_a_time():
    """A server that has one worker, and serves a connection until its end (uWSGI)."""
    turn = threading.Lock()

    def serve(exchange):
        with turn:
            wire.answer_ok(exchange)
    return Origin(serve)


def test_idle_connection_that_holds_the_slot():
    """Whoever of gyre's threads has it: it is used, or closed for the next one's sake."""
    origin = one_at_a_time()
    with Front(origin.address, workers=4, backend="slots = 1\nidle_holds_slot = yes\n"
               "keepalive_timeout = 1m\nresponse_timeout = 10s") as front:
        clients = [Client(front.address) for _ in range(12)]
        for i in range(5):
            for k, client in enumerate(clients):
                equal(client.ask("GET", f"/{i}.{k}").status, 200, "status, one by one")
            for client in clients:
                client.request("GET", f"/{i}")
            for client in clients:
                equal(client.response().status, 200, "status, all at once")
        check(origin.connections < 120, "no connection was ever used again")


# --- Clients that leave --------------------------------------------------------------------------

def test_waiter_that_leaves():
    """Its request never reaches a worker, and the one behind it does not wait for it."""
    held = Held(workers=2)
    busy = held.fill()
    left = [held.ask("left0"), held.ask("left1", "POST", b"x" * 1000), held.ask("left2")]
    stays = held.ask("stays")
    left[0].close()
    left[1].close()
    left[2].sock.shutdown(socket.SHUT_WR)
    for i in range(3):
        check("close=client-gone" in log_line(held.front, f"/hold/left{i}"), "the log")
    quiet(held.gyre, stays)
    for _ in range(2):
        held.gate.let_go()
    answered(busy, "busy")
    answered(stays, "stays")
    settle(held.gyre)
    equal(held.gate.told, ["busy", "stays"], "what the app saw")


def test_client_that_leaves_its_worker_at_work():
    """The worker does not know it: the slot is free when the worker is."""
    held = Held()
    busy = held.fill()
    stays = held.ask("stays")
    busy.close()
    check("close=client-gone" in log_line(held.front, "/hold/busy"), harness.read("access.log"))
    quiet(held.gyre, stays)
    equal(held.gate.told, ["busy"], "what the app saw while its worker was busy")
    held.gate.let_go("busy")
    held.gate.wait_told("busy", "stays")
    held.gate.let_go("stays")
    answered(stays, "stays")


def test_client_that_leaves_a_body_that_nobody_reads():
    """More of it than the sockets hold is still with gyre: the worker has it all the same."""
    held = Held()
    large = held.ask("large", "POST", b"x" * (32 << 20))
    held.gate.wait_told("large")
    stays = held.ask("stays")
    large.close()
    check("close=client-gone" in log_line(held.front, "/hold/large"), harness.read("access.log"))
    quiet(held.gyre, stays)
    equal(held.gate.told, ["large"], "what the app saw while its worker was busy")
    held.gate.let_go("large")
    held.gate.wait_told("large", "stays")
    held.gate.let_go("stays")
    answered(stays, "stays")


def test_stopping_does_not_wait_for_them():
    """Nobody wants what such a worker has to say."""
    held = Held()
    held.fill().close()
    check("close=client-gone" in log_line(held.front, "/hold/busy"), harness.read("access.log"))
    began = time.monotonic()
    held.gyre.stop()
    check(time.monotonic() - began < 10, f"it took {time.monotonic() - began:.1f} s")


def test_stopping_serves_those_that_wait():
    """They were taken: they are in flight."""
    held = Held(workers=2)
    busy = held.fill()
    clients = [held.ask(f"{i}") for i in range(5)]
    held.gyre.process.send_signal(signal.SIGTERM)
    held.gyre.wait_told("STOPPING=1")
    quiet(held.gyre, busy, *clients)
    for _ in range(6):
        held.gate.let_go()
    answered(busy, "busy")
    for i, client in enumerate(clients):
        answered(client, f"{i}")
    held.gyre.wait_exit()
    held.gyre.judge(0)


def test_drain_timeout_ends_those_that_wait():
    held = Held(workers=2, glob="drain_timeout = 300ms")
    busy = held.fill()
    clients = [held.ask(f"{i}") for i in range(5)]
    held.gyre.process.send_signal(signal.SIGTERM)
    for client in [busy, *clients]:
        client.expect_cut()
        client.close()
    held.gyre.wait_exit()
    held.gyre.judge(0)
    equal(held.gate.told, ["busy"], "what the app saw")


def test_slots_are_all_given_back():
    """After clients of every kind have left at any time, there are as many as before."""
    held = Held(slots=4, workers=2)
    for i in range(40):
        with UnixClient(held.path) as client:
            client.request("POST" if i % 2 else "GET", f"/task/{i % 3}?{i}",
                           body=b"x" * 10 if i % 2 else b"")
            if i % 4 == 0:
                client.response("GET")
            elif i % 4 == 1:
                settle(held.gyre)
    clients = [held.ask(f"{i}") for i in range(5)]
    held.gate.wait(lambda: len(held.gate.told) >= 4, "four at once")
    quiet(held.gyre, *clients)
    equal(len(held.gate.told), 4, "those at the app")
    for _ in range(5):
        held.gate.let_go()
    for i, client in enumerate(clients):
        answered(client, f"{i}")
