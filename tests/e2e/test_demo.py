"""packaging/demo, the first command of the README: with this gyre, on ports of its own."""
import importlib.util
import os
import signal
import socket
import subprocess

import harness
from harness import check, equal, free_port_everywhere, path, read, until, within

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Demo:
    def __init__(self, *args, http=None):
        self.folder = path("tmp")
        os.makedirs(self.folder, exist_ok=True)
        ports = ["--https", str(free_port_everywhere()),
                 "--http", str(http or free_port_everywhere())]
        with open(path("demo.log"), "wb") as said:
            self.process = subprocess.Popen(
                [os.path.join(ROOT, "packaging/demo"), "--gyre", harness.BINARY, *ports, *args],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                env=dict(os.environ, TMPDIR=self.folder),
                # Who runs the tests in the background ignores SIGINT, and bash keeps it so.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        harness.at_end(self.stop)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def ends(self, rc):
        equal(self.process.wait(50), rc, "exit code of the demo; it said " + read("demo.log"))
        equal(os.listdir(self.folder), [], "what it has left in its folder")
        equal(processes_with(self.folder), [], "what it has left running")


def processes_with(word):
    """Command lines that hold a word; every program of the demo was given its folder's name."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found


@within(120)
def test_once():
    demo = Demo("--once")
    demo.ends(0)
    said = read("demo.log")
    check("16 of 16 were right" in said and said.endswith("all was right\n"), said)


@within(120)
def test_talks_once():
    """The apps of tests/apps/talks. What Debian lacks of it tests/run does not install."""
    for module in ("gevent", "geventwebsocket", "tornado"):
        if importlib.util.find_spec(module) is None:
            return f"not run here: {module} is not installed (packaging/deps apps)"
    demo = Demo("talks", "--once")
    demo.ends(0)
    said = read("demo.log")
    check("10 of 10 were right" in said and said.endswith("all was right\n"), said)


@within(120)
def test_until_ctrl_c():
    demo = Demo()
    until(lambda: "Ctrl-C stops everything" in read("demo.log"), "the demo to serve", 40)
    check(processes_with(demo.folder), "no program of the demo was found")
    demo.process.send_signal(signal.SIGINT)
    demo.ends(0)


@within(120)
def test_what_ends_by_itself_ends_the_demo():
    demo = Demo()
    until(lambda: "Ctrl-C stops everything" in read("demo.log"), "the demo to serve", 40)
    children = f"/proc/{demo.process.pid}/task/{demo.process.pid}/children"

    def pids_of():
        with open(children, encoding="utf-8") as file:
            return [int(pid) for pid in file.read().split()]
    # For a moment what prints the text is a child as well.
    until(lambda: len(pids_of()) == 3, "gyre and the two apps to run, and nothing else", 10)
    pids = pids_of()
    os.kill(pids[0], signal.SIGTERM)
    demo.ends(1)
    check("has ended by itself" in read("demo.log"), read("demo.log"))


def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        Demo("--once", http=port).ends(1)
    check(f"port {port} is in use" in read("demo.log"), read("demo.log"))
