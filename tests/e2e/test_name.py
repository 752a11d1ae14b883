"""Servers given by name: answers of a name server that the test is, as they change while gyre
runs."""
import socket
import struct
import threading
import time

import harness
from harness import Front, address_text, check, equal, run_gyre, until, within
from wire import Client, Origin

A, AAAA = 1, 28
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
SILENCE = None


class NameServer:
    """Answers by self.answers: name -> ([addresses], ttl), a response code, or SILENCE."""
    def __init__(self, **answers):
        self.answers = {name.replace("_", "."): answer for name, answer in answers.items()}
        self.asked, self.seen = [], set()
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = harness.free_address()
        self.socket.bind(self.address)
        threading.Thread(target=self.run, daemon=True).start()
        harness.at_end(self.close)

    def run(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
                reply = self.reply(query, (query, peer))
                if reply is not None:
                    self.socket.sendto(reply, peer)
            except OSError:
                return

    def reply(self, query, key):
        labels, at = [], 12
        while query[at] > 0:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        name = ".".join(labels).lower()
        with self.lock:
            answer = self.answers.get(name, NO_SUCH_NAME)
            if key not in self.seen:            # else the answer before was late
                self.asked.append((name, kind))
            self.seen.add(key)
        if answer is SILENCE:
            return None
        code, records = (answer, []) if isinstance(answer, int) else (NO_ERROR, [])
        for ip in answer[0] if code == NO_ERROR else []:
            family = socket.AF_INET6 if ":" in ip else socket.AF_INET
            if (kind == AAAA) == (family == socket.AF_INET6):
                data = socket.inet_pton(family, ip)
                records.append(struct.pack("!HHHIH", 0xc00c, kind, 1, answer[1], len(data)) + data)
        head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        return head + query[12:at + 5] + b"".join(records)

    def say(self, name, answer):
        with self.lock:
            self.answers[name] = answer

    def count(self, name, kind=A):
        with self.lock:
            return self.asked.count((name, kind))

    def wait_asked(self, name, more=2):
        """Until gyre has taken the answer that was set last."""
        before = self.count(name)
        until(lambda: self.count(name) >= before + more, f"lookups of {name}")

    def close(self):
        self.socket.close()


class At(Origin):
    """An origin on an address of the test's choice."""
    def __init__(self, address, serve=None):
        self.at = address
        super().__init__(serve)

    def listen(self, backlog=1024):
        self.address = self.at
        super().listen(backlog)


def origins_of(count, serve=None):
    """On addresses of ours that differ in nothing but their second byte, and one port."""
    host, port = harness.free_address()
    a, b, c, d = host.split(".")
    return [At((f"{a}.{int(b) + 64 * i}.{c}.{d}", port), serve) for i in range(count)]


def ips(*origins):
    return [o.address[0] for o in origins]


def front_of(server, names, backend="", **options):
    """server: "NAME:PORT options"."""
    return Front(glob=f"resolver = {address_text(names.address)}",
                 backend=f"server = {server}\n{backend}", **options)


def ask(front, count=1):
    with Client(front.address) as client:
        for _ in range(count):
            client.ask("GET", "/")


def gets_all(front, origin):
    """True once it is the only one that gets requests."""
    before = origin.request_count()
    ask(front, 6)
    return origin.request_count() == before + 6


class Askers:
    """Clients that ask on and on, on kept connections; none may get anything but 200."""
    def __init__(self, address, count):
        self.address, self.asked, self.failures, self.stopping = address, 0, [], False
        self.threads = [threading.Thread(target=self.run, args=(method,), daemon=True)
                        for method in ("GET", "POST") * (count // 2)]
        for thread in self.threads:
            thread.start()

    def run(self, method):
        try:
            while not self.stopping:
                with Client(self.address) as client:
                    self.ask(client, method)
        except Exception as failure:            # pylint: disable=broad-except
            self.failures.append(failure)

    def ask(self, client, method):
        for _ in range(100):
            if not self.stopping:
                client.request(method, "/", body=b"x" if method == "POST" else b"")
                equal(client.response().status, 200)
                self.asked += 1
                time.sleep(0.002)               # so that the access log has every line

    def wait_more(self, count):
        before = self.asked                     # threads may miss a count, and go on
        until(lambda: self.failures or self.asked >= before + count, f"{count} more requests")

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(harness.WAIT_S)
            check(not thread.is_alive(), "a request hangs")
        equal(self.failures, [])


def test_several_addresses():
    origins = origins_of(3)
    names = NameServer(app_internal=(ips(*origins), 3600))
    port = origins[0].address[1]
    with front_of(f"App.Internal:{port} weight=2", names, "balance = round_robin") as front:
        front.gyre.wait_errors(f"{address_text(origins[2].address)} is an address of app.internal")
        ask(front, 30)
        equal([o.request_count() for o in origins], [10, 10, 10], "shares")
        lines = front.log_lines(30)
        for origin in origins:
            equal(sum(f"server={address_text(origin.address)} " in line for line in lines), 10)


@within(120)
def test_changes_under_load():
    """Nobody loses anything by it; what runs at an address that is gone ends there."""
    hold = threading.Event()

    def serve(exchange):
        while (request := exchange.request()) is not None:
            if request.target == "/held":
                hold.wait(3 * harness.WAIT_S)
            exchange.answer("ok")
    first, second, third = origins = origins_of(3, serve)
    names = NameServer(app_internal=(ips(first), 1))
    with front_of(f"app.internal:{first.address[1]} addresses=2", names, workers=2) as front:
        ask(front)
        held = Client(front.address)
        held.request("GET", "/held")
        first.wait_requests(2)
        askers = Askers(front.address, 6)
        for now in [(second,), (first, second), (third, second), (third,), (second,)]:
            names.say("app.internal", (ips(*now), 1))
            names.wait_asked("app.internal")
            for origin in now:
                origin.wait_requests(origin.request_count() + 3)
        until(lambda: first.open == 1, "the end of what was idle at the first")
        seen = first.request_count()
        askers.wait_more(50)
        equal(first.request_count(), seen, "requests at an address that is gone")
        askers.stop()
        hold.set()
        equal(held.response().status, 200)
        held.close()
        until(lambda: first.open == 0, "the end of what was held")
        check(all(o.request_count() > 0 for o in origins))
        line = until(lambda: [line for line in harness.read("access.log").splitlines()
                              if "/held" in line], "the line of what was held")[0]
        check(f"server={address_text(first.address)} " in line, line)


def test_the_last_answer_stays():
    first, second = origins_of(2)
    names = NameServer(app_internal=(ips(first), 1))
    with front_of(f"app.internal:{first.address[1]}", names,
                  expect=["app.internal can not be resolved: .*; its last addresses "
                          "stay"]) as front:
        ask(front)
        for failure in [SERVER_FAILURE, NO_SUCH_NAME, ([], 1),
                        (["0.0.0.0"], 1)]:
            names.say("app.internal", failure)
            names.wait_asked("app.internal", 1)
            ask(front, 2)
        equal(front.gyre.errors().count("can not be resolved"), 1)
        names.say("app.internal", (ips(second), 1))
        until(lambda: gets_all(front, second), "requests at the new address")
        front.gyre.wait_errors("app.internal is resolved again")


def test_ttl():
    """A name is asked for when its answer is too old, and not before; 0 is not all the time."""
    short, long, none = origins_of(3)
    names = NameServer(short_test=(ips(short), 1), long_test=(ips(long), 3600),
                       none_test=(ips(none), 0))
    port = short.address[1]
    began = time.monotonic()
    with front_of(f"short.test:{port}\nserver = long.test:{port}\nserver = none.test:{port}",
                  names) as front:
        ask(front, 12)
        until(lambda: names.count("short.test") >= 4 and names.count("none.test") >= 4, "lookups")
        took = time.monotonic() - began
        check(took > 2.9, f"four lookups in {took} s")
        most = took + 2
        check(names.count("short.test") <= most and names.count("none.test") <= most, names.asked)
        equal(names.count("long.test"), 1)
        equal(sum(kind == AAAA for _, kind in names.asked), 0)


def test_ipv6_where_there_is_nothing_else():
    port = harness.free_port_everywhere("::1", socket.AF_INET6)
    both = origins_of(1)[0]
    listener = socket.create_server(("::1", port), family=socket.AF_INET6)
    names = NameServer(six_test=(["::1"], 60), both_test=(["::1", *ips(both)], 60))

    def accept():
        while True:
            try:
                sock = listener.accept()[0]
            except OSError:
                return
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsix")
            sock.close()
    threading.Thread(target=accept, daemon=True).start()
    harness.at_end(listener.close)
    more = (f"[backend both]\nserver = both.test:{both.address[1]}\n"
            "[route both]\npath = /both\nbackend = both")
    with front_of(f"six.test:{port}", names, more=more) as front, Client(front.address) as client:
        client.request("GET", "/")
        equal(client.response().body, b"six")
        client.request("GET", "/both")
        equal(client.response().status, 200)
        equal(both.request_count(), 1)


class Terse(NameServer):
    """What does not fit into 512 bytes it says over TCP alone (RFC 1035 4.2.1)."""
    def __init__(self, **answers):
        self.whole = 0
        super().__init__(**answers)
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(self.address)
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()
        harness.at_end(self.listener.close)

    def reply(self, query, key):
        reply = super().reply(query, key)
        if reply is None or len(reply) <= 512:
            return reply
        question = query[12:query.index(b"\0", 12) + 5]
        return reply[:2] + b"\x83\x80" + reply[4:6] + bytes(6) + question

    def serve(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            with sock, sock.makefile("rb") as file:
                query = file.read(*struct.unpack("!H", file.read(2)))
                reply = super().reply(query, (query, sock.getpeername()))
                self.whole += 1
                sock.sendall(struct.pack("!H", len(reply)) + reply)
                file.read(1)                    # until gyre is done with it


def test_more_addresses_than_a_datagram_has_room_for():
    origins = origins_of(2)
    port = origins[0].address[1]
    nobody = [f"127.9.1.{i}" for i in range(1, 151)]
    names = Terse(app_internal=(nobody[:75] + ips(*origins) + nobody[75:], 3600))
    with front_of(f"app.internal:{port} addresses=200", names) as front:
        ask(front, 40)                          # those that nobody listens at are away
        equal(front.gyre.errors().count("is an address of app.internal"), 152, "addresses")
        until(lambda: (ask(front), all(o.request_count() > 0 for o in origins))[1],
              "requests at both")
    check(names.whole > 0, "nobody asked over TCP")


def test_no_answer_at_start():
    """gyre is ready at once; who comes waits for the answer, and the stop for nothing."""
    origin = origins_of(1)[0]
    names = NameServer(app_internal=SILENCE, mute_test=SILENCE)
    more = "[backend mute]\nserver = mute.test:1\nconnect_timeout = 100ms\n" \
           "[route mute]\npath = /mute\nbackend = mute"
    with front_of(f"app.internal:{origin.address[1]}", names, "connect_timeout = 1m",
                  more=more) as front, Client(front.address) as client:
        client.request("GET", "/")
        with Client(front.address) as other:
            other.request("GET", "/mute")
            equal(other.response().status, 503)
        until(lambda: names.count("app.internal") > 0, "a lookup")
        names.say("app.internal", (ips(origin), 60))
        equal(client.response().status, 200)
        client.close()
        began = time.monotonic()
        front.gyre.stop()
        check(time.monotonic() - began < 10, "gyre waited for a name server")


def test_a_name_that_nobody_knows():
    names = NameServer()
    with front_of("tpyo.internal:8000", names, "connect_timeout = 200ms",
                  expect=[r"\[backend app\] tpyo.internal \(line \d+\) can not be resolved: it has "
                          "no address; it is tried again and again"]) as front:
        with Client(front.address) as client:
            client.request("GET", "/")
            equal(client.response().status, 503)
        front.gyre.wait_errors("tpyo.internal")
        check((("tpyo.internal", AAAA)) in names.asked, names.asked)


def test_check_asks_nobody():
    names = NameServer()
    ini = harness.write("check.ini", f"[global]\nresolver = {address_text(names.address)}\n"
                        "[listener web]\nbind = 127.0.0.1:80\nbackend = app\n"
                        "[backend app]\nserver = app.internal:8000\n")
    rc, _, err = run_gyre("--check", "-c", ini)
    equal((rc, err), (0, ""))
    equal(names.asked, [])


def test_many_names():
    """More than are looked up at once, and one name server of two is silent."""
    origin = origins_of(1)[0]
    names = NameServer(**{f"n{i}_test": (ips(origin), 60) for i in range(80)})
    mute = NameServer(**{f"n{i}_test": SILENCE for i in range(80)})
    port = origin.address[1]
    servers = "\n".join(f"server = n{i}.test:{port} addresses=1" for i in range(80))
    with Front(glob=f"resolver = {address_text(mute.address)}, {address_text(names.address)}",
               backend=servers) as front:
        until(lambda: front.gyre.errors().count("is an address of") == 80, "80 names")
        ask(front, 3)
        check(mute.count("n0.test") > 0)
