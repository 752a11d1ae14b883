"""What plain keep-alive requests cost in system calls: the turns' io_uring_enter, and no other."""
import contextlib
import os
import re
import signal
import subprocess
import threading
from collections import Counter

import harness
from harness import SHARED, Gyre, address_text, check, equal, until
from test_tls import TlsClient
from wire import Client, Origin

BODY = b"x" * 1024
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + BODY
ONE_BY_ONE = 200
AT_ONCE, ROUNDS = 32, 10

# A request is two messages to gyre and two sends of its own. Each is a turn where requests come one
# by one: a send is complete when the turn that asked for it has entered the ring.
TURNS_MAX, SENDS = 4, 2
# 32 at once share them: two turns for their requests, as the kernel gives 20 completions in one
# (from Linux 6.13 on), two for the answers, and one each for the sends of the last. As much again
# may disturb them.
TURNS_AT_ONCE_MAX = 12 / AT_ONCE
# What is not the requests' own: the end of what went before them, and strace's coming.
STRAY = 8
# An address sanitizer maps memory of its own. malloc asks the kernel seldom: it keeps what it has.
MEMORY = {"mmap", "munmap", "madvise", "mprotect", "brk", "mremap"}
# Calls that are made once for many requests: numbers at random are bought ahead.
SELDOM = {"getrandom": 1 / 20}
PF_IO_WORKER = 0x10     # in a thread's flags (sched.h of Linux)


def worker_of(gyre):
    """Its one worker's thread id. The kernel's own threads for a ring look like gyre's, and like
    ones that are in io_uring_enter for ever."""
    found = []
    for thread in os.listdir(f"/proc/{gyre.pid}/task"):
        with open(f"/proc/{gyre.pid}/task/{thread}/stat", encoding="utf-8") as file:
            flags = int(file.read().rpartition(")")[2].split()[6])
        if int(thread) != gyre.pid and not flags & PF_IO_WORKER:
            found.append(thread)
    equal(len(found), 1, "threads beside the first")
    return found[0]


class Calls:
    """The system calls of gyre's one worker from here on, until they are counted."""
    LINE = re.compile(r"(\w+)\(.*\) += (-?\d+)(?: ([A-Z]+))?")

    def __init__(self, gyre):
        self.path, self.said = harness.path("calls"), harness.path("strace.err")
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen(
                ["strace", "-p", worker_of(gyre), "-o", self.path],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        harness.at_end(self.end)
        until(lambda: "attached" in self.words() or self.process.poll() is not None,
              "strace to attach")
        check(self.process.poll() is None, "strace has ended:", self.words())

    def words(self):
        with open(self.said, encoding="utf-8") as said:
            return said.read()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)     # it lets go of gyre
            self.process.wait(harness.WAIT_S)

    def count(self):
        """(call -> times, entries that the ring was handed). Turns in which there was nothing but
        a timer, or a signal, are none of a client's."""
        self.end()
        times, handed = Counter(), 0
        with open(self.path, encoding="utf-8", errors="replace") as file:
            for call, result, why in map(re.Match.groups, filter(None, map(self.LINE.match, file))):
                times[call] += call != "io_uring_enter" or why not in ("ETIME", "EINTR")
                handed += max(int(result), 0) if call == "io_uring_enter" else 0
        return times, handed


def begin(serve, mode, tls):
    origin = Origin(serve)
    address = harness.free_address()
    secure = f"certificate = {SHARED['cert']}\nkey = {SHARED['key']}\n" if tls else ""
    gyre = Gyre("[global]\nworkers = 1\naccess_log = off\n"
                f"[listener web]\nbind = {address_text(address)}\nbackend = app\n{secure}"
                f"[backend app]\nserver = {address_text(origin.address)}\nmode = {mode}\n")
    return gyre, address


def judge(gyre, calls, requests, turns_max):
    """Each request is two sends and so many turns at most, and nothing else."""
    times, handed = calls.count()
    said = f"{requests} requests: {dict(times)}, {handed} entries"
    for call, count in times.items():
        if call == "io_uring_enter":
            check(count <= requests * turns_max + STRAY, "too many turns,", said)
        elif call in MEMORY:
            check(gyre.is_sanitized() or count <= STRAY, f"memory is mapped ({call}),", said)
        else:
            check(count <= requests * SELDOM.get(call, 0), f"{call} is called,", said)
    check(abs(handed - SENDS * requests) <= STRAY, "a message is more, or less, than a send,", said)
    return said


def one_by_one(mode, tls=False):
    def serve(exchange):
        while exchange.request_head():
            exchange.send(ANSWER)
    gyre, address = begin(serve, mode, tls)
    with (TlsClient if tls else Client)(address) as client:
        for _ in range(20):                     # pools and buffers are there from now on
            client.ask()
        calls = Calls(gyre)
        for _ in range(ONE_BY_ONE):
            client.request()
            got = client.sock.recv(65536)       # head and body have left together
            check(got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"\r\n\r\n" + BODY), got)
        return judge(gyre, calls, ONE_BY_ONE, TURNS_MAX)


def test_one_by_one():
    return one_by_one("sync")


def test_one_by_one_streamed():
    return one_by_one("async")


def test_one_by_one_tls():
    return one_by_one("sync", tls=True)


def state(gyre, thread):
    with open(f"/proc/{gyre.pid}/task/{thread}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


@contextlib.contextmanager
def stopped(gyre):
    """What comes for gyre in this time gathers."""
    worker = worker_of(gyre)
    os.kill(gyre.pid, signal.SIGSTOP)
    try:
        # One that strace has in its hands is a "t" either way; the first thread is not in them.
        until(lambda: state(gyre, gyre.pid) == "T" and state(gyre, worker) in "Tt",
              "gyre to be stopped")
        yield
    finally:
        os.kill(gyre.pid, signal.SIGCONT)


class Gathered:
    """An origin that answers when it has all the requests of a round, and answers all at once."""
    def __init__(self):
        self.asked = threading.Semaphore(0)
        self.answers = threading.Semaphore(0)
        self.answered = threading.Semaphore(0)

    def serve(self, exchange):
        while exchange.request_head():
            self.asked.release()
            self.answers.acquire()
            exchange.send(ANSWER)
            self.answered.release()

    @staticmethod
    def wait(what):
        for _ in range(AT_ONCE):
            check(what.acquire(timeout=harness.WAIT_S), "the origin has waited in vain")

    def round(self, gyre, clients):
        with stopped(gyre):
            for client in clients:
                client.request()
        self.wait(self.asked)
        with stopped(gyre):
            self.answers.release(AT_ONCE)
            self.wait(self.answered)
        for client in clients:
            equal(client.response().body, BODY, "the body")


def at_once(mode, tls=False):
    gathered = Gathered()
    gyre, address = begin(gathered.serve, mode, tls)
    clients = [(TlsClient if tls else Client)(address) for _ in range(AT_ONCE)]
    gathered.round(gyre, clients)               # their servers' connections stand from now on
    calls = Calls(gyre)
    for _ in range(ROUNDS):
        gathered.round(gyre, clients)
    return judge(gyre, calls, ROUNDS * AT_ONCE, TURNS_AT_ONCE_MAX)


def test_at_once():
    return at_once("sync")


def test_at_once_streamed():
    return at_once("async")


def test_at_once_tls():
    return at_once("sync", tls=True)
