"""For the tests of slots, queues and spools: servers of their own, and what drives them."""
import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import threading
import time

import harness
from harness import WAIT_S, check, equal, until
from servers import APPS, ENV, PYTHON
from wire import Client, Stream

# The measured tests in the size and to the bounds of the promise; else quicker and with room for
# sanitizers and a busy machine. Restarts: 30 of each kind.
FULL = os.environ.get("GYRE_E2E_FULL") == "1"


class Gate:
    """Where the apps call home: what they told, in order, and who of them still waits."""
    def __init__(self):
        self.path = harness.path(f"gate{id(self):x}.sock")
        self.told, self.waiting = [], []
        self.changed = threading.Condition()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1024)
        threading.Thread(target=self.accept, daemon=True).start()
        harness.at_end(self.close)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock = self.listener.accept()[0]
                word = sock.makefile("rb").readline().decode().strip()
                with self.changed:
                    self.told.append(word)
                    self.waiting.append((word, sock))
                    self.changed.notify_all()

    def wait(self, condition, what):
        with self.changed:
            check(self.changed.wait_for(condition, WAIT_S), f"{what}; told so far:", self.told)

    def wait_told(self, *words):
        """Until all that was told is this."""
        self.wait(lambda: len(self.told) >= len(words), f"waited for {words}")
        equal(self.told, list(words), "what the app told")

    def wait_for(self, word):
        self.wait(lambda: word in self.told, f"waited for {word!r}")

    def let_go(self, word=None):
        """Whoever waits with this word, or has waited longest; its word."""
        self.wait(lambda: any(word in (None, w) for w, _ in self.waiting), f"nobody waits: {word}")
        with self.changed:
            found = next(w for w in self.waiting if word in (None, w[0]))
            self.waiting.remove(found)
        with contextlib.suppress(BrokenPipeError):      # it was killed
            found[1].sendall(b"go\n")
        found[1].close()
        return found[0]

    def close(self):
        self.listener.close()
        for _, sock in self.waiting:
            sock.close()


def group_of_its_own():
    """So that all can be killed at once; and no test that dies leaves it behind."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)      # PR_SET_PDEATHSIG


class Server:
    """An app server of the test's own, on TCP or a unix socket. It can be restarted and killed."""
    def __init__(self, *args, unix=False, bind=None):
        self.name = f"server{id(self):x}"
        self.address = harness.path(self.name + ".sock") if unix else harness.free_address()
        self.journal = harness.path("journal")
        self.gate = Gate()
        self.args = [*args, *(bind or [])]
        self.process = None
        self.start()
        harness.at_end(self.kill)

    def start(self):
        env = {**ENV, "GATE": self.gate.path, "JOURNAL": self.journal}
        with open(harness.path(self.name + ".said"), "ab") as said:
            self.process = subprocess.Popen([PYTHON, "-m", *self.command()], cwd=APPS, env=env,
                                            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                            preexec_fn=group_of_its_own)
        until(self.answers, f"{self.name} to listen", 30)

    def answers(self):
        check(self.process.poll() is None, "the server ended:", self.said()[-2000:])
        with contextlib.suppress(OSError):
            harness.connect(self.address, 1).close()
            return True

    def said(self):
        return harness.read(self.name + ".said")

    def end(self):
        """In order."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_S)

    def kill(self, workers=True):
        """The master, and all its workers in the same moment if they are to go with it."""
        if self.process.poll() is None:
            if workers:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
            self.process.wait()


class Gunicorn(Server):
    def command(self):
        return ["gunicorn", "-b", harness.address_text(self.address), "--log-level", "info",
                # A worker that is only just booting misses its SIGTERM.
                "--graceful-timeout", "5", *self.args, "edge_app:app"]

    def workers_booted(self):
        return len(re.findall(r"Booting worker", self.said()))

    def hang_up(self, workers):
        """SIGHUP, until as many new ones are there."""
        before = self.workers_booted()
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.workers_booted() >= before + workers, "new workers")


class Uvicorn(Server):
    def command(self):
        host, port = self.address
        return ["uvicorn", "--host", host, "--port", str(port), "--lifespan", "off",
                "--no-access-log", "--log-level", "warning", "--ws", "websockets", *self.args,
                "edge_asgi:app"]


def journal():
    """What the app began to work on: the lines of METHOD ID."""
    with contextlib.suppress(FileNotFoundError):
        return harness.read("journal").splitlines()
    return []


# --- gyre ----------------------------------------------------------------------------------------

class UnixClient(Client):
    """A client of gyre on a unix socket: what it has sent is with gyre when send returns."""
    def __init__(self, path):                       # pylint: disable=super-init-not-called
        Stream.__init__(self, harness.connect(path))
        harness.client_made(self)


def threads(gyre):
    """What the kernel says of each."""
    for thread in os.listdir(f"/proc/{gyre.pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):    # the kernel's helpers
            with open(f"/proc/{gyre.pid}/task/{thread}/status", encoding="utf-8") as file:
                yield file.read()


def states(gyre):
    """A letter for each thread."""
    return "".join(re.search(r"State:\s+(\S)", status).group(1) for status in threads(gyre))


def settle(gyre):
    """Until all threads of gyre sleep. What came to it before this on unix sockets, or by the end
    of a process, is dealt with then: the kernel wakes a thread within the sender's call."""
    def asleep():
        all_states, switches = "", 0
        for status in threads(gyre):
            all_states += re.search(r"State:\s+(\S)", status).group(1)
            switches += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status)))
        return switches if set(all_states) == {"S"} else None

    def twice():                        # one may have woken another that was looked at before
        first = asleep()
        return first is not None and first == asleep()
    until(twice, "gyre to sleep")


def quiet(gyre, *clients):
    """Nobody has an answer, and nobody will have one before something happens."""
    settle(gyre)
    for client in clients:
        client.expect_open()


def spool_files(gyre, folder):
    """The sizes of the spool files that gyre has open. None of them has a name."""
    equal(os.listdir(folder), [], "files with a name in spool_dir")
    sizes = []
    for fd in os.listdir(f"/proc/{gyre.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/{gyre.pid}/fd/{fd}").startswith(folder + "/"):
                sizes.append(os.stat(f"/proc/{gyre.pid}/fd/{fd}").st_size)
    return sizes


def local(front_path):
    """A second listener, on a unix socket, where what is sent is there when send returns."""
    return f"[listener local]\nbind = unix:{front_path}\nbackend = app\n"


def spool_folder():
    folder = os.path.realpath(harness.path("spool"))
    os.mkdir(folder)
    return folder


# --- Load ----------------------------------------------------------------------------------------

class Load:
    """Clients that ask one request after the other and keep count of how each ended.

    A request is (method, target); its id is added as query, and the whole answer must be the id,
    once or in several lines. ended[method, target] counts "200", other statuses, and "cut".
    """
    def __init__(self, address, requests, clients=8, name="load"):
        self.address, self.requests, self.name = address, requests, name
        self.ended, self.failures, self.answered = {}, [], set()
        self.lock = threading.Lock()
        self.stopping = False
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True)
                        for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, index):
        client, number = None, 0
        try:
            while not self.stopping:
                method, target = self.requests[(index + number) % len(self.requests)]
                number += 1
                if client is None:
                    client = Client(self.address)
                ended = self.ask(client, method, target, f"{self.name}.{index}.{number}")
                if ended != "200":
                    client.close()
                    client = None
                with self.lock:
                    key = (method, target, ended)
                    self.ended[key] = self.ended.get(key, 0) + 1
            if client is not None:
                client.expect_open()            # nothing was answered twice
        except Exception as failure:            # pylint: disable=broad-except
            self.failures.append(failure)

    def ask(self, client, method, target, name):
        client.request(method, f"{target}?{name}", body=b"x" * 100 if method == "POST" else b"")
        try:
            got = client.response(method)
        except ConnectionError:
            return "cut"
        except harness.Failed as failure:
            check("ended" in str(failure), str(failure))
            return "cut"
        if got.status == 200:
            equal(set(got.body.decode().split()), {name}, "an answer")
            with self.lock:
                self.answered.add(f"{method} {name}")
        return str(got.status)

    def count(self, ended=None):
        with self.lock:
            return sum(n for key, n in self.ended.items() if ended in (None, key[2]))

    def wait_more(self, count):
        """Until so many more requests have ended."""
        before = self.count()
        until(lambda: self.failures or self.count() >= before + count,
              f"{count} more requests to end", 2 * WAIT_S)
        self.judge()

    def judge(self):
        if self.failures:
            raise self.failures[0]

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(2 * WAIT_S)
            check(not thread.is_alive(), "a request hangs")
        self.judge()
        lines = journal()
        posts = [line for line in lines if line.startswith("POST")]
        equal(len(posts), len(set(posts)), "POSTs that the app saw, and different ones of them")
        check(self.answered <= set(lines), "answers of the app that it never gave:",
              self.answered - set(lines))
        return self.ended


def timed(clients, requests, run):
    """run(index) in so many threads, together so often; the seconds that took."""
    left = iter(range(requests))
    lock, failures = threading.Lock(), []

    def loop():
        try:
            with contextlib.ExitStack() as stack:
                step = run(stack)
                while True:
                    with lock:
                        if next(left, None) is None:
                            return
                    step()
        except Exception as failure:            # pylint: disable=broad-except
            failures.append(failure)
    threads = [threading.Thread(target=loop, daemon=True) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.monotonic() - began
