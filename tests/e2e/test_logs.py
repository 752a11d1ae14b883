"""The access log."""
import os
import re
import signal
import threading
import time

import harness
from edge import settle
from harness import Front, check, equal, until
from test_stop import held_origin
from wire import Client, Origin

LINE = re.compile(
    r'(?P<client>\S+) - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d \+0000\] '
    r'"(?P<request>(?:[^"\\]|\\x[0-9a-f]{2}|\\\.\.\.)*)" (?P<status>\d{3}) (?P<bytes>\d+) '
    r'"(?P<referer>[^"]*)" "(?P<agent>[^"]*)" backend=(?P<backend>\S+) server=(?P<server>\S+) '
    r'queue_ms=(?P<queue>\d+\.\d{3}) connect_ms=(?P<connect>\d+\.\d{3}) '
    r'first_ms=(?P<first>\d+\.\d{3}) shield_ms=(?P<shield>\d+\.\d{3}) '
    r'total_ms=(?P<total>\d+\.\d{3}) tries=(?P<tries>\d+) close=(?P<close>\S+) why=(?P<why>\S+) '
    r'id=(?P<id>\S+)')


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
        equal([three["status"], three["close"], three["why"], three["backend"]],
              ["400", "bad-request", "host-missing", "-"], "the third line")
        equal([one["why"], two["why"]], ["-", "-"], "why of good requests")


def test_where_time_went():
    """In the queue of a server, and with a client that is slow to send or to read."""
    origin, big = held_origin(), 32 << 20
    with Front(origin.address, backend="slots = 1") as front:
        with Client(front.address) as one, Client(front.address) as two, \
                Client(front.address) as slow:
            one.request("GET", "/held")
            origin.wait_requests(1)
            two.request("GET", "/queued")
            settle(front.gyre)
            since = time.monotonic()
            time.sleep(0.1)
            origin.release.set()
            waited = (time.monotonic() - since) * 1000
            equal([one.response().status, two.response().status], [200, 200], "answers")
            slow.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
            settle(front.gyre)
            since = time.monotonic()
            time.sleep(0.1)
            shielded = (time.monotonic() - since) * 1000
            slow.send("cd")
            equal(slow.response().status, 200, "the slow one's answer")
        lines = {line["request"].split()[1]: line for line in parsed(front.log_lines(3))}
        check(float(lines["/queued"]["queue"]) >= waited, lines)
        equal([lines[k]["queue"] for k in ("/held", "/slow")], ["0.000"] * 2, "not queued")
        check(float(lines["/slow"]["shield"]) >= shielded, lines)
        check(float(lines["/queued"]["shield"]) < waited, lines)

    def serve(exchange):
        exchange.request()
        exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {big}\r\n\r\n")
        exchange.send(b"x" * big)
        exchange.origin.sent.set()
    origin = Origin(serve)
    origin.sent = threading.Event()
    with Front(origin.address) as front:
        with Client(front.address) as slow:
            slow.request()
            check(origin.sent.wait(harness.WAIT_S), "the server is held")
            settle(front.gyre)
            since = time.monotonic()
            time.sleep(0.1)
            shielded = (time.monotonic() - since) * 1000
            equal(len(slow.response().body), big, "bytes")
        line = parsed(front.log_lines(4))[-1]               # behind those of the first
        check(float(line["shield"]) >= shielded, line)


def test_what_was_refused():
    """Each as it came, as far as it came, and why."""
    cases = [
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a#b HTTP/1.1", "target-fragment", "400"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET  / HTTP/1.1", "line-blanks", "400"),
        ("GET / HTTP/2.0\r\n\r\n", "GET / HTTP/2.0", "version-unknown", "505"),
        ("TRACE /x HTTP/1.0\r\n\r\n", "TRACE /x HTTP/1.0", "trace", "405"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "CONNECT a:1 HTTP/1.1", "connect", "405"),
        ("FROB / HTTP/1.1\r\nHost: a\r\n\r\n", "FROB / HTTP/1.1", "method-unknown", "501"),
        ("F" * 3000 + " / HTTP/1.1\r\nHost: a\r\n\r\n", "F" * 1496 + r"\...", "method-unknown",
         "501"),
        ("GET /x\r\n", "GET /x", "line-short", "400"),
        ("GET /\x00\xe9 HTTP/1.1\r\n\r\n", r"GET /\x00\xe9 HTTP/1.1", "target-character", "400"),
        ("GET http://u@b/x HTTP/1.1\r\nHost: b\r\n\r\n", "GET http://u@b/x HTTP/1.1",
         "target-authority", "400"),
        ("GET http://b/x HTTP/1.1\r\n\r\n", "GET http://b/x HTTP/1.1", "host-missing", "400"),
        ("GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET /x HTTP/1.1", "host-twice", "400"),
        ("GET /x HTTP/1.1\r\nHost : a\r\n\r\n", "GET /x HTTP/1.1", "field-blank", "400"),
        ("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
         "POST /x HTTP/1.1", "chunk-size", "400"),
        (b"\x16\x03\x01\x02\x00\x01", None, "tls-hello", "400"),
        ("GET /late HT", "GET /late HT", "head-late", "408"),
    ]
    with Front(Origin().address, listener="head_timeout = 300ms") as front:
        for bytes_, _, _, status in cases:
            with Client(front.address) as client:
                client.send(bytes_)
                equal(str(client.response().status), status, f"status for {bytes_!r}")
        lines = parsed(front.log_lines(len(cases)))
        for (bytes_, request, why, status), line in zip(cases, lines):
            equal([line["why"], line["status"]], [why, status], f"{bytes_!r}")
            if request is None:
                check(line["request"].startswith(r"\x16"), line)
            else:
                equal(line["request"], request, f"{bytes_!r}")


def test_what_was_wrong_with_a_response():
    def serve(exchange):
        if exchange.request_head() is not None:
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")
    with Front(Origin(serve).address) as front:
        with Client(front.address) as client:
            equal(client.ask("GET", "/").status, 502, "status")
        line, = parsed(front.log_lines(1))
        equal([line["close"], line["why"]], ["bad-response", "length-twice"], "why")


def test_long_lines_keep_all_their_fields():
    """However much has to be escaped."""
    with Front(Origin().address) as front:
        with Client(front.address) as client:
            client.ask("GET", "/" + "a" * 3000, "User-Agent: " + "\xe9" * 3000,
                       "Referer: " + '"' * 3000)
        with Client(front.address) as client:
            client.send("GET /" + "\xe9" * 8000 + " HTTP/1.1\r\n\r\n")
            client.response()
        with Client(front.address) as client:
            client.send("GET /" + "a" * 40000)
            equal(client.response().status, 414, "status")
        good, bad, long = parsed(front.log_lines(3))
        check(good["request"].startswith("GET /aaa") and
              good["request"].endswith("aaa\\... HTTP/1.1"), good)
        check(good["agent"].startswith(r"\xe9") and good["agent"].endswith("\\..."), good)
        check(good["referer"].endswith(r"\x22\..."), good)
        check(max(len(good["agent"]), len(good["referer"])) <= 700, good)
        check(bad["request"].endswith(r"\xe9\...") and len(bad["request"]) <= 1500, bad)
        equal([good["why"], bad["why"], long["why"], long["close"]],
              ["-", "target-character", "target-too-long", "head-too-large"], "why")


def test_a_log_that_could_not_be_opened():
    """It is opened at SIGUSR1; until then there are no lines, and nothing else is missing."""
    log = harness.path("access.log")
    os.mkdir(log)
    with Front(Origin().address, expect=[r"can not open the access log"]) as front:
        with Client(front.address) as client:
            equal(client.ask("GET", "/1").status, 200, "status without a log")
            front.gyre.process.send_signal(signal.SIGUSR1)       # still not
            equal(client.ask("GET", "/2").status, 200, "status without a log")
            os.rmdir(log)
            front.gyre.process.send_signal(signal.SIGUSR1)
            until(lambda: os.path.exists(log), "the log file")
            until(lambda: "access log reopened" in front.gyre.errors(), "the log to be open")
            until(lambda: client.ask("GET", "/3").status == 200 and
                  '"GET /3 ' in harness.read("access.log"), "a line in the log")


def test_no_client_can_forge_a_line():
    with Front(Origin().address) as front:
        with Client(front.address) as client:
            client.ask("GET", "/", 'User-Agent: a" "b\\x0a\xff', 'Referer: \t"')
            client.ask("GET", "/" + "a" * 6000, "User-Agent: " + "b" * 6000)
        one, two = parsed(front.log_lines(2))
        equal(one["agent"], r"a\x22 \x22b\x5cx0a\xff", "User-Agent")
        check(len(two["request"]) < 2000 and two["close"] == "-", two)


def test_escapes_wherever_they_stand():
    """However long the field is: sixteen bytes are looked at together."""
    texts = [text for length in (1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 50)
             for text in ["a" * length] + ["b" * at + sign + "c" * (length - at - 1)
                                           for sign, at in (('"', 0), ("\\", length - 1),
                                                            ("\x80", length // 2))]]
    texts += ["a" + sign + "~ !#[]" + "d" * 12 for sign in ("\xff", "\x81", "\t")]
    with Front(Origin().address) as front:
        with Client(front.address) as client:
            for text in texts:
                client.ask("GET", "/", f"User-Agent: {text}")
        for line, text in zip(parsed(front.log_lines(len(texts))), texts):
            equal(line["agent"], "".join(
                c if " " <= c < "\x7f" and c not in '"\\' else f"\\x{ord(c):02x}" for c in text),
                  f"the log's word for {text!r}")


def test_cut_where_it_is_full():
    """Of 700 bytes four are the mark's."""
    with Front(Origin().address) as front:
        with Client(front.address) as client:
            for length in (696, 697):
                client.ask("GET", "/", "User-Agent: " + "a" * length)
        whole, cut = parsed(front.log_lines(2))
        equal([whole["agent"], cut["agent"]], ["a" * 696, "a" * 696 + "\\..."], "User-Agent")


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
                        stdout=writer,
                        expect=[r"access log: \d+ lines? dropped: nobody reads it"])
    with Client(address) as client:
        for i in range(4000):
            equal(client.ask("GET", f"/{i}").status, 200, "status")
    gyre.process.send_signal(signal.SIGTERM)
    gyre.wait_exit(10)
    gyre.judge(0)
    os.close(reader)
    os.close(writer)
