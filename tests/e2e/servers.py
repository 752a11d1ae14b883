"""The real app servers, shared by all tests of a run, and the certificates."""
import os
import signal
import subprocess
import sys
import time

import harness

APPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "apps")
PYTHON = "/usr/bin/python3"
# Where they are and what they trust is up to the command line alone.
ENV = {k: v for k, v in os.environ.items()
       if not k.startswith(("GUNICORN_", "UVICORN_", "FLASK_", "WEB_CONCURRENCY",
                            "FORWARDED_ALLOW_IPS"))}
ENV["PYTHONDONTWRITEBYTECODE"] = "1"


def start(folder, name, args, sock):
    """Starts a server in a process group of its own, and waits until its socket answers."""
    with open(os.path.join(folder, name + ".said"), "wb") as said:
        process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                   cwd=APPS, env=ENV, start_new_session=True)

    def answers():
        harness.check(process.poll() is None, f"{name} ended: " + tail(folder, name))
        try:
            harness.connect(sock, 1).close()
            return True
        except OSError:
            return False
    harness.until(answers, f"{name} to listen", 30)
    return process


def tail(folder, name):
    with open(os.path.join(folder, name + ".said"), encoding="utf-8", errors="replace") as said:
        return said.read()[-2000:]


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def gunicorn(folder, name, *flags):
    """Flask on synchronous workers behind a unix socket: the path, the process."""
    sock = os.path.join(folder, name + ".sock")
    process = start(folder, name, [PYTHON, "-m", "gunicorn", "-b", "unix:" + sock, *flags,
                                   "flask_app:app"], sock)
    return sock, process


def uvicorn(folder, name, app="asgi_app:app"):
    """An ASGI app, by default that of WebSocket and event streams, behind a unix socket."""
    sock = os.path.join(folder, name + ".sock")
    process = start(folder, name, [PYTHON, "-m", "uvicorn", "--uds", sock, "--lifespan", "off",
                                   "--no-access-log", "--log-level", "warning",
                                   "--ws", "websockets", app], sock)
    return sock, process


def certificate(folder, name, *names):
    """A self-signed one: the paths of certificate and key."""
    cert, key = (os.path.join(folder, f"{name}.{kind}") for kind in ("pem", "key"))
    subject_names = ",".join(f"IP:{n}" if n[0].isdigit() else f"DNS:{n}" for n in names)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-keyout", key,
                    "-out", cert, "-subj", f"/CN={names[0]}", "-addext",
                    f"subjectAltName={subject_names}"],
                   check=True, capture_output=True)
    os.chmod(key, 0o644)        # for a gyre that runs as somebody else
    return cert, key


class Shared:
    """What is started once for a run."""
    def __init__(self, folder):
        began = time.monotonic()
        self.processes = []
        folder = os.path.join(folder, "shared")
        os.mkdir(folder, 0o755)
        harness.SHARED["cert"], harness.SHARED["key"] = certificate(
            folder, "one", "one.test", "localhost", "127.0.0.1")
        harness.SHARED["cert2"], harness.SHARED["key2"] = certificate(
            folder, "two", "two.test", "*.wild.test")
        try:
            for kind, made in (("flask", gunicorn(folder, "flask", "-w", "4")),
                               ("asgi", uvicorn(folder, "asgi"))):
                harness.SHARED[kind], process = made
                self.processes.append(process)
        except BaseException:
            self.stop()
            raise
        print(f"     gunicorn, uvicorn and certificates after {time.monotonic() - began:.1f} s",
              file=sys.stderr)

    def stop(self):
        for process in self.processes:
            stop(process)
