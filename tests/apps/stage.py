"""The stage of a row: its server on a port or a unix socket, gyre in front, and who visits."""
import contextlib
import ctypes
import functools
import os
import signal
import socket
import ssl
import subprocess

import harness
import servers
from harness import SHARED, WAIT_S, Failed, Gyre, address_text, check, until
from wire import Client, Stream

HERE = os.path.dirname(os.path.abspath(__file__))


def group_of_its_own():
    """So that all can be killed at once; and no test that dies leaves it behind."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)      # PR_SET_PDEATHSIG


class Server:
    """What a row starts."""
    def __init__(self, row, python, unix, number=0):
        self.name = f"server{number}-{'unix' if unix else 'tcp'}"
        self.address = harness.path(self.name + ".sock") if unix else harness.free_address()
        words = {"bind": self.address if unix else address_text(self.address), "python": python}
        if unix:
            words.update(path=self.address)
            words["bind"] = self.uwsgi_or("unix:", row) + self.address
        else:
            words.update(host=self.address[0], port=self.address[1])
        self.command = [word.format(**words)
                        for word in row.command + (row.unix if unix else row.tcp)]
        self.row = row
        self.process = None
        harness.at_end(self.kill)
        self.start()

    @staticmethod
    def uwsgi_or(prefix, row):
        """uWSGI names a unix socket by its path alone."""
        return "" if "uwsgi" in row.command[0] else prefix

    def start(self):
        env = {**servers.ENV, "GATES": harness.path("gates"), "PYTHONUNBUFFERED": "1",
               "PYTHONFAULTHANDLER": "1", "PYTHONPATH": os.path.join(HERE, "common")}
        with open(harness.path(self.name + ".log"), "ab") as said:
            self.process = subprocess.Popen(
                self.command, cwd=os.path.join(HERE, self.row.app), env=env, stdout=said,
                stderr=said, stdin=subprocess.DEVNULL, preexec_fn=group_of_its_own)
        until(self.answers, f"{self.name} to listen", 30)

    def answers(self):
        check(self.process.poll() is None, "the server ended:",
              harness.read(self.name + ".log")[-2000:])
        with contextlib.suppress(OSError):
            harness.connect(self.address, 1).close()
            return True

    def end(self):
        """In order."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(WAIT_S)
        self.kill()

    def restart(self):
        """As its own docs say: by SIGHUP where it has that, else it is ended and started."""
        if not self.row.reload:
            self.end()
            self.start()
            return
        word, workers = self.row.reload
        before = self.said(word)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.said(word) >= before + workers, "new workers")

    def said(self, word):
        return harness.read(self.name + ".log").count(word)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Front:
    """gyre with its two listeners before the servers, and nothing else in its configuration."""
    def __init__(self, name, addresses, more):
        self.plain, self.secure = harness.free_address(), harness.free_address()
        self.gyre = Gyre("\n".join(
            [f"[global]\naccess_log = {harness.path(name)}",
             f"[listener web]\nbind = {address_text(self.plain)}\nbackend = app",
             f"[listener secure]\nbind = {address_text(self.secure)}\nbackend = app",
             f"certificate = {SHARED['cert']}\nkey = {SHARED['key']}",
             "[backend app]", *[f"server = {address_text(a)}" for a in addresses], more, ""]))


@functools.cache
def client_context():
    return ssl.create_default_context(cafile=SHARED["cert"])


class Visit:
    """One way in to a row."""
    def __init__(self, row, server, front, tls):
        self.row, self.server, self.tls = row, server, tls
        self.address = front.secure if tls else front.plain

    def client(self, receive=0):
        return Visitor(self.address, self.tls, receive)


class Visitor(Client):
    """A client, plain or over TLS; receive: the bytes that its kernel takes unasked."""
    def __init__(self, address, tls, receive):      # pylint: disable=super-init-not-called
        sock = socket.socket()
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.settimeout(WAIT_S)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            sock = client_context().wrap_socket(sock, server_hostname="one.test",
                                                suppress_ragged_eofs=False)
        Stream.__init__(self, sock)
        harness.client_made(self)

    def expect_open(self):
        """Of TLS the kernel may hold records that are nothing to read, such as tickets."""
        self.sock.settimeout(0)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            self.fill()
            raise Failed(f"the connection is not quiet: {self.have[:500]!r}")
        self.sock.settimeout(WAIT_S)
