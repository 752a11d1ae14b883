"""The access log."""
import os
import re
import signal

import harness
from harness import Front, check, equal, until
from wire import Client, Origin

LINE = re.compile(
    r'(?P<client>\S+) - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d \+0000\] '
    r'"(?P<request>(?:[^"\\]|\\x[0-9a-f]{2})*)" (?P<status>\d{3}) (?P<bytes>\d+) '
    r'"(?P<referer>[^"]*)" "(?P<agent>[^"]*)" backend=(?P<backend>\S+) server=(?P<server>\S+) '
    r'connect_ms=(?P<connect>\d+\.\d{3}) first_ms=(?P<first>\d+\.\d{3}) '
    r'total_ms=(?P<total>\d+\.\d{3}) tries=(?P<tries>\d+) close=(?P<close>\S+) id=(?P<id>\S+)')


def parsed(lines):
    found = []
    for line in lines:
        match = LINE.fullmatch(line)
        check(match, "not a line of the log:", line)
        found.append(match.groupdict())
    return found


def test_fields():
    origin = Origin()
    with Front(origin.address) as front:
        with Client(front.address) as client:
            client.ask("GET", "/a?b=c", "User-Agent: me/1.0", "Referer: http://x.test/")
            client.ask("POST", "/post", body=b"x" * 10)
            client.send("GET /bad HTTP/1.1\r\n\r\n")
            client.response()
        one, two, three = parsed(front.log_lines(3))
        equal([one[k] for k in ("client", "request", "status", "bytes", "referer", "agent",
                                "backend", "server", "tries", "close")],
              ["127.0.0.1", "GET /a?b=c HTTP/1.1", "200", "13", "http://x.test/", "me/1.0", "app",
               harness.address_text(origin.address), "1", "-"], "the first line")
        check(float(one["total"]) >= float(one["first"]) > 0, one)
        check(float(one["connect"]) > 0, one)
        equal(one["id"], origin.requests[0].get("X-Request-ID"), "id")
        equal([two["request"], two["bytes"], two["referer"], two["connect"]],
              ["POST /post HTTP/1.1", "14", "-", "0.000"], "the second line")
        equal([three["status"], three["close"], three["backend"]], ["400", "bad-request", "-"],
              "the third line")


def test_no_client_can_forge_a_line():
    with Front(Origin().address) as front:
        with Client(front.address) as client:
            client.ask("GET", "/", 'User-Agent: a" "b\\x0a\xff', 'Referer: \t"')
            client.ask("GET", "/" + "a" * 6000, "User-Agent: " + "b" * 6000)
        one, two = parsed(front.log_lines(2))
        equal(one["agent"], r"a\x22 \x22b\x5cx0a\xff", "User-Agent")
        check(len(two["request"]) < 2000 and two["close"] == "-", two)


def test_reopen():
    """SIGUSR1 after a rename: nothing is lost, and the old file is let go."""
    with Front(Origin().address, workers=2) as front:
        clients = [Client(front.address) for _ in range(8)]
        sent = 0
        for turn in range(4):
            for client in clients:
                client.ask("GET", f"/{turn}")
                sent += 1
            log, old = harness.path("access.log"), harness.path(f"old.{turn}")
            os.rename(log, old)
            front.gyre.process.send_signal(signal.SIGUSR1)
            until(lambda: os.path.exists(log), "a new log file")

            def let_go(old=old):
                fds = f"/proc/{front.gyre.pid}/fd"
                return old not in [os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds)
                                   if os.path.lexists(f"{fds}/{fd}")]
            until(let_go, "the old log to be closed")
        for client in clients:
            client.close()
        front.gyre.stop()
        lines = []
        for name in ("old.0", "old.1", "old.2", "old.3", "access.log"):
            lines += harness.read(name).splitlines()
        equal(len(parsed(lines)), sent, "lines in all files")


def test_to_stdout_stderr_and_off():
    for where in ("stdout", "stderr", "off"):
        origin = Origin(name=where)
        address = harness.free_address()
        gyre = harness.Gyre(f"[global]\naccess_log = {where}\n[listener web]\n"
                            f"bind = {harness.address_text(address)}\nbackend = app\n"
                            f"[backend app]\nserver = {harness.address_text(origin.address)}\n",
                            expect=[] if where != "stderr" else [r"^127\.0\.0\.1 - - \["])
        with Client(address) as client:
            for i in range(3):
                client.ask("GET", f"/{i}")
        gyre.process.send_signal(signal.SIGUSR1)        # nothing to reopen
        gyre.stop()
        seen = {"stdout": gyre.output, "stderr": gyre.errors, "off": str}[where]()
        lines = [line for line in seen.splitlines() if '"GET /' in line]
        equal(len(parsed(lines)), 0 if where == "off" else 3, f"lines on {where}")
        if where != "stdout":
            equal(gyre.output(), "", "stdout")


def test_a_log_that_nobody_reads_holds_nothing_up():
    """stdout is a pipe that is full: requests are served, lines are dropped, gyre stops."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 4096):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    address = harness.free_address()
    gyre = harness.Gyre(f"[global]\naccess_log = stdout\nworkers = 1\ndrain_timeout = 300ms\n"
                        f"[listener web]\nbind = {harness.address_text(address)}\nbackend = app\n"
                        f"[backend app]\nserver = {harness.address_text(Origin().address)}\n",
                        stdout=writer)
    with Client(address) as client:
        for i in range(2000):
            equal(client.ask("GET", f"/{i}").status, 200, "status")
    gyre.process.send_signal(signal.SIGTERM)
    gyre.wait_exit(10)
    gyre.judge(0)
    os.close(reader)
    os.close(writer)
