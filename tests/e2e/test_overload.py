"""Out of something: gyre sheds with 503 or by not accepting, says so at most once a second, loses no
answer that it owes, and goes on by itself when there is enough again."""
import contextlib
import ctypes
import os
import re
import resource
import select
import signal
import socket
import threading
import time

import harness
from harness import WAIT_S, Front, alone, check, equal, until, within
from test_stop import held_origin
from test_systemd import WITH_PID, at_three
from test_tls import TlsClient
from wire import Client, Origin

ACCEPT_SHORT = "not accepting for the moment: out of descriptors"
DIAL_SHORT = "answering 503: no descriptor is left to dial"
# All clients of these tests have one address, and ask for long.
ONE_CLIENT = "max_connections_per_client = 100000\n"
TCP_RTO_MAX_MS = 44  # linux/tcp.h; this Python does not name it
LONG_LIFE = "max_requests = 1000000000\n"


def said_at_most_once_a_second(gyre, text, began):
    count = len([line for line in gyre.errors().splitlines() if text in line])
    seconds = time.monotonic() - began
    check(1 <= count <= seconds + 2, f"{text!r} was said {count} times in {seconds:.1f} s")


def descriptors_left(gyre, count):
    """Lowers gyre's limit to what it has and so many more. It may have gaps: a limit is on the
    number of the next one, so the first free numbers are counted."""
    have = {int(fd) for fd in os.listdir(f"/proc/{gyre.pid}/fd")}
    limit = 0
    while count >= 0:
        count -= limit not in have
        limit += count >= 0
    hard = resource.prlimit(gyre.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(gyre.pid, resource.RLIMIT_NOFILE, (limit, hard))


def descriptors_back(gyre):
    hard = resource.prlimit(gyre.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(gyre.pid, resource.RLIMIT_NOFILE, (hard, hard))


def terminate(front, seconds=10):
    front.gyre.process.send_signal(signal.SIGTERM)
    front.gyre.wait_told("STOPPING=1")
    return time.monotonic() + seconds


def ended(front, deadline):
    """It ends in time, in order."""
    front.gyre.wait_exit(max(1, deadline - time.monotonic()))
    front.gyre.judge(0)


# --- Descriptors ---------------------------------------------------------------------------------

def test_accept_without_descriptors():
    for stop in (False, True):
        origin = held_origin()
        front = Front(origin.address, listener="max_connections = 1000", expect=[ACCEPT_SHORT])
        began = time.monotonic()
        owed = Client(front.address)
        owed.request("GET", "/held")
        origin.wait_requests(1)
        descriptors_left(front.gyre, 0)
        # The accept that waits was asked for under the limit before (Linux): it gets one more.
        idle = Client(front.address)
        late = [Client(front.address) for _ in range(50)]   # the kernel's queue takes them
        for client in late:
            client.request("GET", "/late")
        front.gyre.wait_errors(ACCEPT_SHORT)
        if not stop:
            time.sleep(2.2)                                 # how often it is said is the question
        for client in late:
            client.expect_open()
        said_at_most_once_a_second(front.gyre, ACCEPT_SHORT, began)
        idle.close()
        if stop:
            deadline = terminate(front)
            origin.release.set()
            equal(owed.response().body, b"/held", "the answer that was owed")
            ended(front, deadline)
        else:
            descriptors_back(front.gyre)
            for client in late:
                equal(client.response().status, 200, "status of one that waited")
            origin.release.set()
            equal(owed.response().body, b"/held", "the answer that was owed")
            front.gyre.stop()


def test_dial_takes_an_idle_connection():
    """Another server's, too: nobody sees that descriptors ran out."""
    one, two = Origin(name="one"), held_origin()
    more = (f"[route two]\npath = /held\nbackend = two\n"
            f"[backend two]\nserver = {harness.address_text(two.address)}\n")
    with Front(one.address, backend="keepalive_timeout = 10m", more=more) as front:
        clients = [Client(front.address) for _ in range(8)]
        barrier = threading.Barrier(8)

        def serve(exchange):                                # so that each has one of its own
            while (request := exchange.request()):
                barrier.wait(WAIT_S)
                exchange.answer(request.target)
        one.serve = serve
        for client in clients:
            client.request()
        for client in clients:
            equal(client.response().status, 200, "status")
        until(lambda: one.open == 8, "eight kept connections")
        descriptors_left(front.gyre, 0)
        for client in clients:
            client.request("GET", "/held")
        two.wait_requests(8)
        until(lambda: one.open == 0, "the idle ones to be closed")
        two.release.set()
        for client in clients:
            equal(client.response().body, b"/held", "the answer")
        descriptors_back(front.gyre)


def test_dial_without_descriptors():
    for stop in (False, True):
        origin = held_origin()
        front = Front(origin.address, backend="keepalive = 0", expect=[DIAL_SHORT])
        began = time.monotonic()
        clients = [Client(front.address) for _ in range(10)]
        owed = Client(front.address)
        owed.request("GET", "/held")
        origin.wait_requests(1)
        for client in clients:
            equal(client.ask().status, 200, "status")
        until(lambda: origin.open == 1, "the others' connections to be closed")
        held = front.gyre.descriptors()
        descriptors_left(front.gyre, 0)
        for _ in range(20):
            for client in clients:
                got = client.ask()
                equal([got.status, got.get("Retry-After"), got.get("Connection")],
                      [503, "5", None], "the answer")
            time.sleep(0 if stop else 0.11)                 # how often it is said is the question
        lines = front.log_lines(431 if stop else 210)   # both append to one file
        equal(len([line for line in lines if "close=no-descriptor" in line]), 400 if stop else 200,
              "in the log")
        said_at_most_once_a_second(front.gyre, DIAL_SHORT, began)
        equal(front.gyre.descriptors(), held, "descriptors")
        if stop:
            deadline = terminate(front)
        else:
            descriptors_back(front.gyre)
            for client in clients:
                equal(client.ask().status, 200, "status")
        origin.release.set()
        equal(owed.response().body, b"/held", "the answer that was owed")
        if stop:
            for client in clients:
                client.expect_end()
            ended(front, deadline)
        else:
            front.gyre.stop()


@alone
@within(120)
def test_a_small_limit_of_descriptors():
    """Clients and what is kept for three servers share few descriptors: everybody is served, as
    those that are idle make room, and not one sees a 503."""
    origins = [Origin(name=f"o{i}") for i in range(3)]

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (170, 170))
    more = "".join(f"[route r{i}]\npath = /{i}\nbackend = b{i}\n[backend b{i}]\n"
                   f"server = {harness.address_text(o.address)}\nkeepalive_timeout = 10m\n"
                   for i, o in enumerate(origins))
    with Front(origins[0].address, more=more, preexec=limit, listener=ONE_CLIENT,
               expect=["not accepting for the moment"]) as front:
        failures = []

        def run(k):
            try:
                for _ in range(4):
                    with Client(front.address) as client:
                        for i in range(6):
                            target = f"/{(i + k) % 3}"
                            equal(client.ask("GET", target).status, 200, "status")
            except Exception as failure:    # pylint: disable=broad-except
                failures.append(failure)
        threads = [threading.Thread(target=run, args=(k,)) for k in range(150)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(not failures, failures[:3])
        said = re.search(r"at most (\d+) clients", front.gyre.errors()).group(1)
    return f"150 clients, 3,600 requests, at most {said} at a time"


# --- The access log ------------------------------------------------------------------------------

DROPPED = r"access log: \d+ lines? dropped: "


def dropped(gyre):
    return sum(map(int, re.findall(r"access log: (\d+) lines? dropped", gyre.errors())))


def front_with_log(where, origin, **options):
    front = Front.__new__(Front)
    front.address = harness.free_address()
    front.gyre = harness.Gyre(
        f"[global]\naccess_log = {where}\nworkers = 1\n[listener web]\n"
        f"bind = {harness.address_text(front.address)}\nbackend = app\n{LONG_LIFE}"
        f"[backend app]\nserver = {harness.address_text(origin.address)}\n", **options)
    return front


def ask_for(front, seconds):
    """Requests for so long: how many; each must be served."""
    began, count = time.monotonic(), 0
    with Client(front.address) as client:
        while time.monotonic() < began + seconds:
            equal(client.ask("GET", f"/{count}").status, 200, "status")
            count += 1
    return count


def test_log_device_full():
    front = front_with_log("/dev/full", Origin(), expect=[DROPPED + "No space left on device"])
    began = time.monotonic()
    asked = ask_for(front, 2.5)
    front.gyre.process.send_signal(signal.SIGTERM)
    front.gyre.wait_exit(10)
    front.gyre.judge(0)
    said_at_most_once_a_second(front.gyre, "access log:", began)
    equal(dropped(front.gyre), asked, "lines that are said to be dropped")
    return f"{asked} requests"


def test_log_disk_full():
    """A file system without space that gets some again: whole lines follow, by themselves."""
    if os.geteuid() != 0:
        return "not root: no file system of our own"
    libc = ctypes.CDLL(None, use_errno=True)
    folder = harness.path("disk")
    os.mkdir(folder)
    check(libc.unshare(0x20000) == 0, "CLONE_NEWNS")
    check(libc.mount(b"none", b"/", None, 1 << 18 | 1 << 14, None) == 0, "private mounts")
    check(libc.mount(b"full", folder.encode(), b"tmpfs", 0, b"size=64k") == 0, "a tmpfs")
    harness.at_end(lambda: libc.umount2(folder.encode(), 2))
    log = folder + "/access.log"
    front = front_with_log(log, Origin(), expect=[DROPPED + "No space left on device"])
    began, asked = time.monotonic(), 0
    while dropped(front.gyre) == 0:
        check(time.monotonic() < began + WAIT_S, "the disk is never full")
        asked += ask_for(front, 0.1)
    asked += ask_for(front, 1.5)
    first = open(log, "rb").read()
    os.truncate(log, 0)
    asked += ask_for(front, 0.3)
    until(lambda: os.stat(log).st_size > 0, "lines in the log again")
    front.gyre.stop()
    said_at_most_once_a_second(front.gyre, "access log:", began)
    second = open(log, "rb").read()
    whole = [line for line in (first + b"\n" + second).split(b"\n")
             if re.fullmatch(rb"127\.0\.0\.1 - - .* id=[0-9a-f]{32}", line)]
    check(all(line.count(b" - - [") <= 1 for line in (first + second).split(b"\n")),
          "a line goes on where another was cut")
    equal(len(whole) + dropped(front.gyre), asked, "lines and what is said to be dropped")
    return f"{asked} requests, {len(whole)} lines, {dropped(front.gyre)} dropped"


class Fifo:
    """A log that is read, or not."""
    def __init__(self):
        self.path = harness.path("log.fifo")
        os.mkfifo(self.path)
        self.open()

    def open(self):
        self.fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def close(self):
        os.close(self.fd)

    def read(self):
        """All that is there now."""
        parts = []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.fd, 65536):
                parts.append(data)
        return b"".join(parts)

    def read_until(self, mark):
        text = b""

        def more():
            nonlocal text
            text += self.read()
            return mark in text
        until(more, f"{mark!r} in the log")
        return text


def test_log_that_is_not_read_for_a_while():
    fifo = Fifo()
    front = front_with_log(fifo.path, Origin(), expect=[DROPPED + "nobody reads it"])
    began = time.monotonic()
    asked = ask_for(front, 0.3)
    while dropped(front.gyre) == 0:
        check(time.monotonic() < began + WAIT_S, "the pipe is never full")
        asked += ask_for(front, 0.1)
    asked += ask_for(front, 1.2)
    text, done = b"", threading.Event()

    def read():
        nonlocal text
        while not done.is_set():
            select.select([fifo.fd], [], [], 0.05)
            text += fifo.read()
    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: text.count(b"\n") > 100, "the log to be read")
    time.sleep(0.5)                          # all of the two buffers has come
    with Client(front.address) as client:
        client.ask("GET", "/again")
    until(lambda: b"GET /again " in text, "lines that are written again")
    front.gyre.stop()
    done.set()
    reader.join()
    text += fifo.read()
    said_at_most_once_a_second(front.gyre, "access log:", began)
    lines = text.split(b"\n")[:-1]
    check(all(re.fullmatch(rb"127\.0\.0\.1 - - .* id=[0-9a-f]{32}", line) for line in lines),
          "a line is torn")
    equal(len(lines) + dropped(front.gyre), asked + 1, "lines and what is said to be dropped")
    return f"{asked} requests, {dropped(front.gyre)} dropped"


def test_log_whose_reader_dies():
    """Another one comes: it gets the lines from then on, without a signal."""
    fifo = Fifo()
    front = front_with_log(fifo.path, Origin(), expect=[DROPPED])
    ask_for(front, 0.2)
    fifo.close()
    ask_for(front, 0.6)
    front.gyre.wait_errors(DROPPED)
    fifo.open()
    with Client(front.address) as client:
        client.ask("GET", "/again")
    lines = fifo.read_until(b"GET /again ").split(b"\n")
    check(lines[0].startswith(b"127.0.0.1 - - ["), "the first line is torn", lines[0])
    fifo.close()
    front.gyre.stop()


def test_stopping_with_a_log_that_nobody_reads():
    """It takes about a second, and not drain_timeout's thirty."""
    fifo = Fifo()
    origin = held_origin()
    front = front_with_log(fifo.path, origin, expect=[DROPPED + "nobody reads it"])
    while dropped(front.gyre) == 0:
        ask_for(front, 0.2)
    owed = Client(front.address)
    owed.request("GET", "/held")
    until(lambda: any(r.target == "/held" for r in origin.requests), "the request")
    deadline = terminate(front)
    origin.release.set()
    equal(owed.response().body, b"/held", "the answer that was owed")
    owed.close()
    ended(front, deadline)
    fifo.close()


def full_pipe(nonblocking):
    """A pipe without room. Nobody else has it, so O_NONBLOCK stays as asked for."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, b"x" * 4096):
            pass
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, b"x"):
            pass
    os.set_blocking(writer, not nonblocking)
    return reader, writer


def cpu_seconds(gyre):
    with open(f"/proc/{gyre.pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_log_pipe_that_somebody_made_nonblocking():
    """A full one answers EAGAIN at once: it is asked again now and then, and not all the time."""
    reader, writer = full_pipe(nonblocking=True)
    front = front_with_log("stdout", Origin(), stdout=writer)
    with Client(front.address) as client:
        equal(client.ask("GET", "/first").status, 200, "status")
        time.sleep(0.3)                      # its line is being written now
        before = cpu_seconds(front.gyre)
        time.sleep(1.5)
        used = cpu_seconds(front.gyre) - before
        check(used < 0.7, f"{used:.2f} s of processor time in 1.5 s of waiting")
        text = b""
        while b"GET /first " not in text:
            check(harness.wait_readable([reader], WAIT_S), "the line never comes")
            text += os.read(reader, 65536)
    front.gyre.stop()
    os.close(reader)
    os.close(writer)
    return f"{used:.2f} s"


def test_messages_that_nobody_reads():
    """stderr is a full pipe, and there is much to say: nothing waits for it, and what was dropped
    is told when it is read again."""
    reader, writer = full_pipe(nonblocking=False)

    def place():
        os.dup2(writer, 2)
    origin = held_origin()
    front = front_with_log("/dev/full", origin, preexec=place, pass_fds=[writer])
    os.close(writer)
    asked = ask_for(front, 2.5)
    owed = Client(front.address)
    owed.request("GET", "/held")
    until(lambda: any(r.target == "/held" for r in origin.requests), "the request")
    text = b""
    while harness.wait_readable([reader], 0):
        text += os.read(reader, 65536)
    deadline = terminate(front)
    origin.release.set()
    equal(owed.response().body, b"/held", "the answer that was owed")
    owed.close()
    ended(front, deadline)
    while data := os.read(reader, 65536):
        text += data
    os.close(reader)
    text = text.lstrip(b"x")
    check(re.search(rb"^gyre: warning: \d+ lines of this log were dropped, as nobody read them$",
                    text, re.M), "what was dropped is not told:", text)
    check(text.endswith(b"gyre: stopped\n"), text)
    return f"{asked} requests"


# --- Connections ---------------------------------------------------------------------------------

def knows_rto_max():
    """Linux 6.15 and later."""
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, 1000)
        except OSError:
            return False
    return True


@alone
@within(90)
def test_a_herd():
    """1,200 connects while gyre stands still, at a backlog of 64, more than may be in at once: the
    kernel drops most, and the clients' own come again; all of them are served.

    The clients' kernel comes again once a second, where it can be told to. By itself it waits twice
    as long each time, and about 63 s (net.ipv4.tcp_synack_retries) after a connect whose last
    segment was dropped the listening side forgets it: then the kernel resets a client that gyre
    has never seen. Where that can not be had the herd is small enough to be through before."""
    harness.raise_descriptors()
    short_wait = knows_rto_max()
    count = 1200 if short_wait else 150
    origin = Origin()
    address = harness.free_address()
    listener = socket.socket()
    listener.bind(address)
    listener.listen(64)
    gyre = harness.Gyre(
        f"[global]\nworkers = 2\n[listener web]\nbind = {harness.address_text(address)}\n"
        f"backend = app\nmax_connections = 40\n[backend app]\n"
        f"server = {harness.address_text(origin.address)}\n", wrap=WITH_PID,
        env={"LISTEN_FDS": "1"}, expect=["not accepting for the moment: max_connections"],
        **at_three(listener))
    listener.close()
    began = time.monotonic()
    os.kill(gyre.pid, signal.SIGSTOP)
    poll, left = select.epoll(), {}
    for i in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        if short_wait:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, 1000)
        sock.bind((f"127.0.0.{1 + i % 200}", 0))
        sock.connect_ex(address)
        left[sock.fileno()] = [sock, b""]
        poll.register(sock, select.EPOLLOUT)
    os.kill(gyre.pid, signal.SIGCONT)
    good, slowest = 0, 0
    while left:
        check(time.monotonic() < began + 75, f"{len(left)} were not served")
        for fd, events in poll.poll(1):
            state = left[fd]
            sock = state[0]
            check(not events & select.EPOLLERR, "a connect failed",
                  sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            if events & select.EPOLLIN:
                data = sock.recv(65536)
                check(data, f"ended after {state[1]!r}")
                state[1] += data
                if state[1].endswith(b"GET /herd 0\n"):
                    check(state[1].startswith(b"HTTP/1.1 200"), state[1])
                    good += 1
                    slowest = time.monotonic() - began
                    poll.unregister(fd)
                    sock.close()
                    del left[fd]
            elif events & select.EPOLLOUT:
                sock.send(b"GET /herd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                poll.modify(fd, select.EPOLLIN)
    equal(good, count, "answers")
    gyre.stop()
    said_at_most_once_a_second(gyre, "max_connections is reached", began)
    return f"{count} clients, the last after {slowest:.1f} s"


def test_handshakes_at_the_limit():
    """Handshakes that never come to an end hold all places: those who wait outside get in when the
    time of the others is over; and stopping waits for none of them."""
    for stop in (False, True):
        origin = held_origin()
        front = Front(origin.address, tls=True,
                      listener=ONE_CLIENT +
                      f"max_connections = 4\nhead_timeout = {'20s' if stop else '1500ms'}",
                      expect=["not accepting for the moment: max_connections"])
        owed = TlsClient(front.address)
        owed.request("GET", "/held")
        origin.wait_requests(1)
        silent = [Client(front.address) for _ in range(3)]
        silent[0].send(b"\x16\x03\x01")
        got = []

        def late(front=front, got=got):
            with contextlib.suppress(OSError, harness.Failed):
                with TlsClient(front.address) as client:
                    got.append(client.ask("GET", "/late").status)
        thread = threading.Thread(target=late)
        thread.start()
        front.gyre.wait_errors("max_connections")
        equal(got, [], "answers to who is not in")
        if stop:
            deadline = terminate(front)
            origin.release.set()
            equal(owed.response().body, b"/held", "the answer that was owed")
            owed.close()
            for client in silent:
                client.close()
            ended(front, deadline)
            thread.join()
        else:
            thread.join()
            equal(got, [200], "answers to the one that waited")
            origin.release.set()
            equal(owed.response().body, b"/held", "the answer that was owed")
            front.gyre.stop()


def test_stopping_at_max_connections():
    """Who is in gets the answer; who waits outside is let go."""
    origin = held_origin()
    front = Front(origin.address, listener=ONE_CLIENT + "max_connections = 2",
                  expect=["not accepting for the moment: max_connections"])
    owed = [Client(front.address) for _ in range(2)]
    for client in owed:
        client.request("GET", "/held")
    origin.wait_requests(2)
    late = Client(front.address)
    late.request("GET", "/late")
    front.gyre.wait_errors("max_connections")
    deadline = terminate(front)
    origin.release.set()
    for client in owed:
        equal(client.response().body, b"/held", "the answer that was owed")
        client.close()
    late.expect_end()
    ended(front, deadline)
    equal(len([r for r in origin.requests if r.target == "/late"]), 0, "requests from outside")


# --- Threads -------------------------------------------------------------------------------------

def test_no_thread():
    """The message names the kernel's reason, and not whatever errno was left over."""
    if os.geteuid() != 0:
        return "not root: no user of our own"
    user = 100000 + os.getpid()              # that has no other process
    ini = harness.write("thread.ini",
                        "[global]\nworkers = 2\n[listener web]\nbind = "
                        f"{harness.address_text(harness.free_address())}\nbackend = app\n"
                        "[backend app]\nserver = 127.0.0.1:1\n")

    def become():
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    # LeakSanitizer would want a thread.
    options = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    rc, _, err = harness.run_gyre("-c", ini, preexec_fn=become, env=options)
    equal(rc, 1, f"exit code ({err})")
    check("can not start a thread: Resource temporarily unavailable" in err, err)
    return None
