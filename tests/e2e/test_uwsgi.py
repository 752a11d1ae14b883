"""protocol = uwsgi, to a real uWSGI: over TCP and over a unix socket."""
import concurrent.futures
import hashlib
import os
import re
import time

import harness
import servers
from harness import Curl, Front, at_end, check, equal, free_address, read, within
from test_http import pattern, sha256
from wire import Client

PROTOCOL = "protocol = uwsgi"


def uwsgi(*flags, module="wsgi_app:app", unix=True, processes=4, buffer=65535):
    """Its address; it ends with the test."""
    address = harness.path("uwsgi.sock") if unix else free_address()
    at = address if unix else f"{address[0]}:{address[1]}"
    process = servers.start(harness.path("."), "uwsgi", [
        "/usr/bin/uwsgi-core", "--plugins", "python3", "--module", module, "--need-app", "--master",
        "--processes", str(processes), "--uwsgi-socket", at, "--buffer-size", str(buffer),
        "--die-on-term", "--disable-logging", *flags], address)
    at_end(lambda: servers.stop(process))
    return address


def environ(got):
    equal(got.status, 200, f"status ({got.errors})")
    return got.json()["environ"]


def test_flask_on_tcp_and_unix():
    for unix in (True, False):
        with Front(uwsgi(module="flask_app:app", unix=unix), backend=PROTOCOL) as front:
            got = Curl("-H", "X-A: 1", "-H", "X-A: 2", front.url("/echo/a%20b?c=d&e"))
            equal(got.status, 200, f"status ({got.errors})")
            equal([got.json()[k] for k in ("method", "path", "query", "scheme")],
                  ["GET", "/echo/a b", "c=d&e", "http"], "what the app saw")
            check(["X-A", "1, 2"] in got.json()["headers"], got.json())
            for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
                equal(Curl("-X", method, front.url("/echo")).json()["method"], method, "method")
            head = Curl("-I", front.url("/bytes/5000"))
            equal(head.status, 200, "status of HEAD")
            check(b"Content-Length: 5000\r\n" in head.body, "HEAD lacks its length:", head.body)
            for status in (404, 204, 304, 500):
                equal(Curl(front.url(f"/status/{status}")).status, status, "the app's own status")


def test_variables():
    with Front(uwsgi(), backend=PROTOCOL, tls=True) as front:
        got = Curl("-k", "-H", "Cookie: a=1", "-H", "Cookie: b=2", "-H", "Proxy: evil:80",
                   "-H", "X_Real_IP: 1.2.3.4", "-H", "X-Forwarded-For: 1.2.3.4",
                   "-H", "Content-Type: text/x", "--data-binary", "hello", "--path-as-is",
                   front.url("/%C3%BC/../%2f%41%0d%0aX?q=%20", "https"))
        seen = environ(got)
        equal(got.json()["scheme"], "https", "wsgi.url_scheme")
        host, port = front.address
        wanted = {
            "REQUEST_METHOD": "POST", "REQUEST_URI": "/%C3%BC/../%2f%41%0d%0aX?q=%20",
            "SCRIPT_NAME": "", "PATH_INFO": "/\u00c3\u00bc/..//A\r\nX", "QUERY_STRING": "q=%20",
            "CONTENT_TYPE": "text/x", "CONTENT_LENGTH": "5", "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": host, "SERVER_PORT": str(port), "REQUEST_SCHEME": "https",
            "HTTPS": "on", "HTTP_HOST": f"{host}:{port}", "HTTP_COOKIE": "a=1; b=2",
            "HTTP_VIA": "1.1 gyre", "HTTP_X_FORWARDED_PROTO": "https"}
        equal({k: seen.get(k) for k in wanted}, wanted, "variables")
        check("1.2.3.4" not in repr(seen) and "evil" not in repr(seen), seen)
        equal(seen["HTTP_X_FORWARDED_FOR"], seen["REMOTE_ADDR"], "whom the client is")
        check(re.fullmatch(r"t=\d{16}", seen["HTTP_X_REQUEST_START"]), seen)
        check(0 < int(seen["REMOTE_PORT"]) < 65536, seen)
        check("HTTP_CONNECTION" not in seen and "HTTP_CONTENT_TYPE" not in seen, seen)


def test_bodies_of_all_sizes():
    for mode in ("sync", "async"):
        with Front(uwsgi(unix=mode == "sync"), backend=f"{PROTOCOL}\nmode = {mode}") as front:
            for size in (0, 1, 100, 4095, 65537, 1 << 20, 8 << 20):
                body = os.urandom(size)
                for fields in ([], ["-H", "Transfer-Encoding: chunked"],
                               ["-H", "Expect: 100-continue"]):
                    got = Curl("--data-binary", "@-", *fields, front.url("/"), data=body)
                    seen = environ(got)
                    equal([got.json()["bytes"], got.json()["sha256"], seen["CONTENT_LENGTH"]],
                          [size, hashlib.sha256(body).hexdigest(), str(size)],
                          f"POST of {size} {fields}, mode {mode}")
                    check("HTTP_EXPECT" not in seen and "HTTP_TRANSFER_ENCODING" not in seen, seen)


def test_large_answers():
    for mode in ("sync", "async"):
        with Front(uwsgi(module="flask_app:app", unix=mode == "sync"),
                   backend=f"{PROTOCOL}\nmode = {mode}") as front:
            got = Curl(front.url("/bytes/33554432"), seconds=50)
            check(got.body == pattern(33554432), "32 MiB came changed:", got.rc, len(got.body))
            got = Curl("-D", harness.path("head"), front.url("/chunks/300/7001"))
            equal(sha256(got.body), sha256(b"".join(pattern(7001, i) for i in range(300))), "parts")
            check("Transfer-Encoding: chunked" in read("head"), read("head"))


def test_parts_come_as_they_are_written():
    """No length: what has come goes on at once, in mode sync as well."""
    with Front(uwsgi(), backend=PROTOCOL) as front, Client(front.address) as client:
        client.request(target="/parts?4x0.3")
        head = client.head()
        equal([head.status, head.get("Transfer-Encoding")], [200, "chunked"], "head")
        times = []
        for i in range(4):
            client.take_until(b"part %d\n" % i)
            times.append(time.monotonic())
        check(times[3] - times[0] > 0.7, "the parts came together", times)


def mounted(*flags):
    address = uwsgi(*flags)
    more = ("[route shop]\npath = /shop/\nmount = yes\nbackend = app\n"
            "[route raw]\npath = /raw/\nbackend = app\n")
    return Front(address, backend=PROTOCOL, more=more)


def test_script_name():
    with mounted() as front:
        for target, wanted in (("/shop/a%20b?c", ["/shop", "/a b"]), ("/shop/", ["/shop", "/"]),
                               ("/shop", ["/shop", ""]), ("/shopping", ["", "/shopping"]),
                               ("/raw/x", ["", "/raw/x"]), ("/", ["", "/"])):
            seen = environ(Curl(front.url(target)))
            equal([seen.get("SCRIPT_NAME"), seen["PATH_INFO"], seen["REQUEST_URI"]],
                  [*wanted, target], target)


def test_script_name_of_uwsgi_itself():
    """uWSGI's own mounts: by manage-script-name where gyre says nothing, by SCRIPT_NAME else."""
    with mounted("--mount", "/raw=wsgi_app:app", "--manage-script-name") as front:
        for target, wanted in (("/raw/x", ["/raw", "/x"]), ("/y", ["", "/y"]),
                               ("/shop/z", ["/shop", "/z"])):
            seen = environ(Curl(front.url(target)))
            equal([seen.get("SCRIPT_NAME"), seen["PATH_INFO"]], wanted, target)


def test_slots():
    """One process that could serve sixteen at once is given four."""
    address = uwsgi("--threads", "16", "--enable-threads", processes=1)
    with Front(address, backend=f"{PROTOCOL}\nslots = 4", workers=4) as front, \
            concurrent.futures.ThreadPoolExecutor(40) as pool:
        got = list(pool.map(lambda _: Curl(front.url("/slow?0.05")), range(120)))
        equal({g.status for g in got}, {200}, "statuses")
        most = max(int(g.body.split()[0]) for g in got)
        check(2 <= most <= 4, "the app served at once:", most)
        return f"{most} at once"


@within(120)
def test_a_burst_on_four_workers():
    """As many as come; each worker has one request at a time, and none is refused."""
    address = uwsgi("--listen", "64", processes=4)
    with Front(address, backend=f"{PROTOCOL}\nslots = 4", workers=4) as front:
        clients = [Client(front.address) for _ in range(300)]
        for client in clients:
            client.request(target="/slow?0.01")
        answers = [client.response() for client in clients]
        equal({a.status for a in answers}, {200}, "statuses")
        equal({a.body.split()[0] for a in answers}, {b"1"}, "requests at once in a worker")
        equal(len({a.body.split()[1] for a in answers}), 4, "workers that served")


def test_what_is_too_large_or_no_path():
    with Front(uwsgi(), backend=PROTOCOL, listener="max_head = 128k") as front:
        with Client(front.address) as client:
            answer = client.ask("GET", "/", "X: " + "x" * 60000)
            equal([answer.status, b'"HTTP_X": "xxx' in answer.body], [200, True], "60,000 bytes")
            equal(client.ask("GET", "/", "X: " + "x" * 66000).status, 431, "66,000 bytes")
            equal(client.ask("GET", "/a%00b").status, 400, "a NUL")
            equal(client.ask().status, 200, "the next one")
        for reason in ("head-too-large why=packet-too-large", "bad-request why=path-nul"):
            harness.until(lambda: f" close={reason} " in read("access.log"), reason)


def test_what_uwsgi_does_not_take():
    """Its buffer-size is 4k unless it is told: it hangs up, and the client hears of it."""
    with Front(uwsgi(buffer=4096), backend=PROTOCOL) as front, Client(front.address) as client:
        equal(client.ask("GET", "/", "X: " + "x" * 2000).status, 200, "2,000 bytes")
        equal(client.ask("POST", "/", "X: " + "x" * 5000, body=b"hello").status, 502, "5,000 bytes")
        equal(client.ask().status, 200, "the next one")
