"""What every test uses: its folder and address, waiting with deadlines, and gyre itself."""
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import time

BINARY = ""             # set by run
SHARED = {}             # set by servers.Shared: where the app servers and certificates are
WAIT_S = 20             # for whatever is expected to happen; sanitizers and two cores are slow

_now = {}               # of the test that this process runs


class Failed(Exception):
    pass


def check(truth, *said):
    """A failed check says what was seen."""
    if not truth:
        raise Failed(" ".join(s if isinstance(s, str) else repr(s) for s in said))


def equal(got, wanted, what=""):
    check(got == wanted, f"{what}: got {got!r:.2000}, wanted {wanted!r:.2000}")


def alone(function):
    """Marks a test that measures, or takes many descriptors: nothing else runs beside it."""
    function.alone = True
    return function


def within(seconds):
    """Marks a test that may take longer than the usual 60 seconds."""
    def mark(function):
        function.seconds_max = seconds
        return function
    return mark


# --- Of one test ---------------------------------------------------------------------------------

def begin(folder):
    # Process ids are below 2^22: an address of our own in 127.64.0.0/10, so that no port that a
    # test takes can be another one's.
    pid = os.getpid()
    _now.update(folder=folder, ports=10000, closing=[], clients=[],
                address=f"127.{64 | pid >> 16}.{pid >> 8 & 255}.{pid & 255}")
    os.environ.pop("NOTIFY_SOCKET", None)


def end():
    """Ends all that the test has not ended, in reverse; returns what went wrong with it."""
    failures = []
    for closing in reversed(_now["closing"]):
        try:
            closing()
        except Exception as failure:    # pylint: disable=broad-except
            failures.append(failure)
    return failures


def at_end(function):
    _now["closing"].append(function)


def client_made(client):
    """Clients are closed before their gyre is asked to stop: else it lingers for their FIN."""
    _now["clients"].append(client)


def path(name):
    return os.path.join(_now["folder"], name)


def write(name, text):
    with open(path(name), "w", encoding="utf-8") as file:
        file.write(text)
    return path(name)


def read(name):
    with open(path(name), encoding="utf-8", errors="replace") as file:
        return file.read()


def free_address():
    """(host, port) that nobody uses: the host is ours, the port below the ephemeral ones."""
    while True:
        _now["ports"] += 1
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_now["address"], _now["ports"]))
                return _now["address"], _now["ports"]
            except OSError:
                check(_now["ports"] < 32000, "no free port")


def free_port_everywhere(host="127.0.0.1", family=socket.AF_INET):
    """A port on an address that others use as well."""
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def raise_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# --- Waiting -------------------------------------------------------------------------------------

def until(condition, what, seconds=WAIT_S):
    """Asks until the condition holds, and returns what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < deadline, f"waited {seconds} s for {what}")
        time.sleep(0.005)


def wait_readable(fds, seconds):
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return poll.poll(seconds * 1000)


def address_text(address):
    if isinstance(address, str):
        return "unix:" + address
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connect(address, seconds=WAIT_S, source=None):
    """A socket connected to (host, port) or to a path."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(seconds)
        sock.connect(address)
        return sock
    sock = socket.create_connection(address[:2], seconds, source_address=source)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


# --- gyre ----------------------------------------------------------------------------------------

# What a sanitizer or a broken promise of gyre's own says.
BROKEN = re.compile(r"Sanitizer|runtime error:|ensure|SUMMARY:|core dumped")
# Warnings that every test may see.
USUAL = [r"running as root"]


class Gyre:
    """A running gyre. Ends with SIGTERM, exit code 0, and nothing unexpected on stderr.

    expect: patterns of warnings and errors that the test provokes. Each must be seen.
    """
    def __init__(self, ini=None, *, args=None, expect=(), env=None, wrap=(), wait_ready=True,
                 pass_fds=(), stdout=None, preexec=None):
        self.name = f"gyre{len(_now['closing'])}"
        self.expect = list(expect)
        self.rc = None
        self.err_path = path(self.name + ".err")
        self.out_path = path(self.name + ".out")
        if ini is not None:
            args = ["-c", write(self.name + ".ini", ini)]
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify_path = path(self.name + ".notify")
        self.notify.bind(self.notify_path)
        os.chmod(self.notify_path, 0o777)
        self.told = []
        with open(self.err_path, "wb") as err, open(self.out_path, "wb") as out:
            # With this each line starts with its level, as in the journal.
            stat = os.fstat(err.fileno())
            environment = {**os.environ, "NOTIFY_SOCKET": self.notify_path,
                           "JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}", **(env or {})}
            self.process = subprocess.Popen(
                [*wrap, BINARY, *args], stdin=subprocess.DEVNULL, stdout=stdout or out,
                stderr=err, env=environment, pass_fds=pass_fds, preexec_fn=preexec)
        self.pid = self.process.pid
        self.pidfd = os.pidfd_open(self.pid)
        at_end(self.stop)
        if wait_ready:
            self.wait_told("READY=1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def hear(self, seconds):
        """Takes one notification, if one comes; False when gyre is gone and all is heard."""
        wait_readable([self.notify, self.pidfd], seconds)
        try:
            self.told += self.notify.recv(65536, socket.MSG_DONTWAIT).decode().split("\n")
            return True
        except BlockingIOError:
            return not wait_readable([self.pidfd], 0)

    def wait_told(self, word, seconds=WAIT_S):
        deadline = time.monotonic() + seconds
        while word not in self.told:
            check(time.monotonic() < deadline, f"gyre did not say {word}: {self.told}")
            check(self.hear(0.5) or word in self.told,
                  f"gyre ended before {word}: {self.errors()}")

    def errors(self):
        with open(self.err_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def output(self):
        with open(self.out_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_errors(self, pattern):
        return until(lambda: re.search(pattern, self.errors()), f"{pattern!r} on stderr")

    def wait_exit(self, seconds=WAIT_S):
        """The exit code, however it ends."""
        try:
            self.rc = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.rc = "still running"
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            raise Failed(f"gyre was still running after {seconds} s; it said {self.errors()}")
        finally:
            self.notify.close()
        return self.rc

    def stop(self, rc=0):
        """Once: SIGTERM, and the judgement of how it ended."""
        if self.rc is None:
            for client in _now["clients"]:
                client.close()
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            self.wait_exit(60)
            os.close(self.pidfd)
            self.judge(rc)

    def judge(self, rc):
        errors = self.errors()
        check(not BROKEN.search(errors), "gyre said:", errors[-6000:])
        equal(self.rc, rc, f"gyre's exit code ({errors[-2000:]})")
        for line in errors.splitlines():
            if not line.startswith("<6>"):
                check(any(re.search(p, line) for p in USUAL + self.expect), "unexpected:", line)
        for pattern in self.expect:
            check(re.search(pattern, errors, re.M), f"expected {pattern!r} on stderr, got", errors)

    @staticmethod
    def is_sanitized():
        with open(BINARY, "rb") as file:
            return b"__asan_init" in file.read()

    def descriptor_names(self):
        names = {}
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                names[int(fd)] = os.readlink(f"/proc/{self.pid}/fd/{fd}")
            except FileNotFoundError:
                pass
        return names

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def switches(self):
        """How often its threads have gone to sleep or were put to it."""
        total = 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{thread}/status", encoding="utf-8") as file:
                total += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", file.read())))
        return total

    def wait_turns(self, count):
        """Until gyre has done something so many times more."""
        before = self.switches()
        until(lambda: self.switches() >= before + count, f"{count} turns of gyre")

    def memory(self, what="Rss"):
        """Resident bytes; Pss: its share of those that it has in common with others."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="utf-8") as file:
            return int(re.search(rf"^{what}:\s+(\d+) kB", file.read(), re.M).group(1)) * 1024


def run_gyre(*args, seconds=WAIT_S, **options):
    """Runs gyre to its end: (exit code, stdout, stderr)."""
    done = subprocess.run([BINARY, *args], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", timeout=seconds, check=False, **options)
    check(not BROKEN.search(done.stderr), "gyre said:", done.stderr)
    return done.returncode, done.stdout, done.stderr


class Front:
    """The usual gyre: one plain listener before one backend. Further settings by section."""
    def __init__(self, *servers, listener="", backend="", glob="", more="", tls=False,
                 workers=1, **options):
        self.address = free_address()
        lines = [f"[global]\nworkers = {workers}\naccess_log = {path('access.log')}", glob,
                 f"[listener web]\nbind = {address_text(self.address)}\nbackend = app"]
        if tls:
            lines.append(f"certificate = {SHARED['cert']}\nkey = {SHARED['key']}")
        lines += [listener, "[backend app]"]
        lines += [f"server = {address_text(s)}" for s in servers]
        lines += [backend, more]
        self.gyre = Gyre("\n".join(lines) + "\n", **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.gyre.stop()

    def url(self, target="/", scheme="http"):
        return f"{scheme}://{address_text(self.address)}{target}"

    def log_lines(self, count):
        """The access log, once it has so many lines."""
        def lines():
            try:
                text = read("access.log")
            except FileNotFoundError:
                return None
            return text.splitlines() if text.count("\n") >= count else None
        return until(lines, f"{count} lines in the access log")


# --- curl ----------------------------------------------------------------------------------------

class Curl:
    """One run of curl: rc, body, and facts, what `-w %{json}` says of the last transfer."""
    def __init__(self, *args, data=None, seconds=WAIT_S):
        done = subprocess.run(
            ["curl", "-sS", "-q", "--noproxy", "*", "--max-time", str(seconds),
             "-w", "%{stderr}%{json}", *args],
            input=data, capture_output=True, check=False)
        said = done.stderr.decode(errors="replace")
        self.rc, self.body = done.returncode, done.stdout
        self.errors, _, facts = said.rpartition("\n") if "\n{" in said else ("", "", said)
        self.facts = json.loads(facts) if facts.startswith("{") else {}
        self.status = self.facts.get("response_code")

    def json(self):
        return json.loads(self.body)
