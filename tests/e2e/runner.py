"""Runs tests: each in a process of its own, with a folder, an address and a deadline."""
import os
import shutil
import signal
import sys
import time
import traceback

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
OWN = [HERE]            # folders whose lines say where a test failed


def told(failure):
    """One line per step within our own files, then what went wrong."""
    for step in traceback.extract_tb(failure.__traceback__):
        if step.filename.startswith(tuple(OWN)) and step.name not in ("check", "equal", "child"):
            print(f"{os.path.basename(step.filename)}:{step.lineno}: {step.line}")
    print("".join(traceback.format_exception_only(failure)).rstrip())


class Test:
    def __init__(self, name, function):
        self.name = name
        self.function = function
        self.alone = getattr(function, "alone", False)
        self.seconds_max = getattr(function, "seconds_max", 60)
        self.pid = 0

    def start(self, folder):
        """Forks the process that runs it; its stdout and stderr go to a file."""
        self.folder = os.path.join(folder, self.name)
        os.mkdir(self.folder, 0o755)
        self.began = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            os._exit(self.child())
        try:
            os.setpgid(self.pid, self.pid)
        except OSError:
            pass            # the child was faster
        self.pidfd = os.pidfd_open(self.pid)

    def child(self):
        fd = os.open(os.path.join(self.folder, "said"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        harness.begin(self.folder)
        failures = []
        try:
            note = self.function()
            if note:
                harness.write("note", str(note))
        except BaseException as failure:    # pylint: disable=broad-except
            failures.append(failure)
        failures += harness.end()
        for failure in failures:
            told(failure)
        sys.stdout.flush()
        sys.stderr.flush()
        return 1 if failures else 0

    def poll(self):
        """None while it runs, then "" or why it failed."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        late = time.monotonic() - self.began > self.seconds_max
        if pid == 0 and not late:
            return None
        if pid == 0:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.sweep()
        os.close(self.pidfd)
        if pid == 0:
            return f"still running after {self.seconds_max} s"
        return "" if status == 0 else f"exit {os.waitstatus_to_exitcode(status)}"

    def sweep(self):
        """What a test that died has left: all of it is in its process group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def read(self, name):
        try:
            with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def report(self, why):
        seconds = time.monotonic() - self.began
        note = self.read("note")
        print(f"{'FAIL' if why else 'ok  '} {self.name} ({seconds:.1f} s)"
              f"{': ' + note if note else ''}{': ' + why if why else ''}", flush=True)
        if why:
            for name in ["said"] + sorted(n for n in os.listdir(self.folder)
                                          if n.endswith((".err", ".log"))):
                lines = self.read(name).splitlines()
                for line in lines[-(12 if name.endswith(".log") else 60):]:
                    print(f"     {name}: {line[:400]}", flush=True)


def run_all(tests, jobs, folder):
    """The number of those that failed."""
    failed, running = 0, []
    waiting = [t for t in tests if not t.alone]
    lonely = [t for t in tests if t.alone]
    while waiting or lonely or running:
        while waiting and len(running) < jobs:
            running.append(waiting.pop(0))
            running[-1].start(folder)
        if not running:
            running.append(lonely.pop(0))
            running[-1].start(folder)
        harness.wait_readable([t.pidfd for t in running], 0.5)
        for test in list(running):
            why = test.poll()
            if why is not None:
                running.remove(test)
                test.report(why)
                failed += why != ""
                shutil.rmtree(test.folder, ignore_errors=True)
    return failed
