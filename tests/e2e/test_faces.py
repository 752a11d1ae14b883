"""The program's faces: flags, documents, --check, and what it says when it can not run."""
import ctypes
import errno
import os
import re
import struct

import harness
from harness import (SHARED, Curl, Front, Gyre, address_text, check, equal, free_address, run_gyre,
                     write)
from test_tls import TlsClient
from wire import Client, Origin

KEYS = ("workers user access_log drain_timeout trusted_proxies bind redirect_https certificate key "
        "backend head_timeout body_timeout idle_timeout send_timeout tunnel_timeout max_head "
        "max_headers max_body max_connections host path listener server balance connect_timeout "
        "response_timeout stall_timeout keepalive keepalive_timeout weight").split()


def test_version_and_help():
    rc, out, err = run_gyre("--version")
    equal([rc, err], [0, ""], "--version")
    check(re.fullmatch(r"gyre \d+\.\d+\.\d+\S*\n", out), out)
    rc, out, err = run_gyre("--help")
    equal([rc, err], [0, ""], "--help")
    for word in ("-c FILE", "--bind", "--backend", "--certificate", "--key", "--check", "--doc",
                 "--version", "/etc/gyre/gyre.ini"):
        check(word in out, f"{word} is not in", out)


def test_documents():
    rc, out, err = run_gyre("--doc", "keys")
    equal([rc, err], [0, ""], "--doc keys")
    for key in KEYS:
        check(f"`{key}`" in out, f"--doc keys does not tell of {key}")
    rc, out, err = run_gyre("--doc", "close")
    equal([rc, err], [0, ""], "--doc close")
    for word in ("client-gone", "bad-request", "backend-cut", "stall-timeout", "drain"):
        check(f"`{word}`" in out, f"--doc close does not tell of {word}")


def test_wrong_flags():
    for flags in (["--frob"], ["-c"], ["--doc", "poems"], ["--doc"], ["extra"], ["--bind", ":1"],
                  ["--backend", "127.0.0.1:1"], ["-c", "x", "--bind", ":1", "--backend", ":2"]):
        rc, out, err = run_gyre(*flags)
        equal([rc, out], [1, ""], f"{flags}")
        check(err.startswith("gyre: ") and "--help" in err, flags, err)


def test_no_file():
    missing = harness.path("missing.ini")
    for flags in ([], ["--check"]):
        rc, _, err = run_gyre(*flags, "-c", missing)
        equal(rc, 1, "exit code")
        check(missing in err and "No such file" in err, err)
        if not os.path.exists("/etc/gyre/gyre.ini"):
            rc, _, err = run_gyre(*flags)
            equal(rc, 1, "exit code")
            check("/etc/gyre/gyre.ini" in err and "No such file" in err, err)
    rc, _, err = run_gyre("-c", harness.path(""))
    equal(rc, 1, "exit code for a folder")


def test_check_of_a_good_file():
    good = write("good.ini", f"""
[global]
workers = auto
user = nobody
access_log = {harness.path('a.log')}
drain_timeout = 30s
trusted_proxies = 127.0.0.1/32, ::1/128

[listener web]
bind = 0.0.0.0:80, [::]:80
redirect_https = yes            ; 308 to https
[listener secure]
bind = 0.0.0.0:443
certificate = {SHARED['cert']}
key = {SHARED['key']}
certificate = {SHARED['cert2']}
key = {SHARED['key2']}
backend = app
head_timeout = 10s
body_timeout = 30s
idle_timeout = 75s
send_timeout = 60s
tunnel_timeout = 1h
max_head = 32k
max_headers = 100
max_body = 1g
max_connections = 100000
[route live]
host = example.org, *.example.org
path = /ws/
listener = secure
backend = live
[backend app]
server = unix:/run/app.sock
server = 127.0.0.1:8001 weight=2
balance = least_requests
connect_timeout = 2s
response_timeout = 60s
stall_timeout = 60s
keepalive = 64
keepalive_timeout = 1500ms
[backend live]
server = 127.0.0.1:8002
weight = 3
""")
    rc, out, err = run_gyre("--check", "-c", good)
    equal([rc, err], [0, ""], "--check")
    check(good in out, out)
    sample = write("sample.ini", run_gyre("--doc", "sample")[1])
    equal(run_gyre("--check", "-c", sample)[0], 0, "--check of the sample")


BAD = """[global]
workers = many
colour = blue
drain_timeout = 5 parsecs
trusted_proxies = 10.0.0.0/33

[listener a]
bind = 127.0.0.1:99999
backend = nowhere
max_head = lots

[listener b]
bind = 127.0.0.1:8099
max_body = -1

[listener a]
bind = 127.0.0.1:8098
backend = app
[route r]
listener = b
backend = missing

[nonsense]
x = y

[backend app]
server = 127.0.0.1:1
server = 127.0.0.1:2 wieght=2
balance = sometimes
keepalive = 1
keepalive = 2
what is this

[backend empty]
"""
BAD_LINES = [2, 3, 4, 5, 8, 9, 10, 14, 16, 21, 23, 28, 29, 31, 32, 34]


def test_check_tells_every_error():
    bad = write("bad.ini", BAD)
    for flags in (["--check"], []):
        rc, _, err = run_gyre(*flags, "-c", bad)
        equal(rc, 1, "exit code")
        found = re.findall(rf"^{re.escape(bad)}:(\d+): \S", err, re.M)
        equal([int(n) for n in found], BAD_LINES, "lines in\n" + err)
        equal(len(err.splitlines()), len(BAD_LINES), "lines of stderr")


def check_one(ini, line, pattern):
    """--check of this names this line, with words that match."""
    name = write("one.ini", ini)
    rc, _, err = run_gyre("--check", "-c", name)
    equal(rc, 1, f"exit code; it said {err}")
    check(re.search(rf"^{re.escape(name)}:{line}: .*{pattern}", err, re.M),
          f"no {pattern!r} of line {line} in", err)


APP = "[backend app]\nserver = 127.0.0.1:1\n"


def test_check_of_what_is_named():
    """Files, users, hosts: what a line names is looked up."""
    web = "[listener web]\nbind = 127.0.0.1:1\nbackend = app\n"
    check_one(web + "certificate = /nowhere.pem\n" + APP, 4, "No such file")
    check_one(web + f"certificate = {SHARED['cert']}\nkey = /nowhere.key\n" + APP, "[45]",
              "No such file")
    check_one(web + f"certificate = {SHARED['cert']}\nkey = {SHARED['key2']}\n" + APP, "[45]",
              "key")
    check_one(web + f"certificate = {SHARED['cert']}\n" + APP, 4, "key")
    check_one(web + f"certificate = {SHARED['key']}\nkey = {SHARED['key']}\n" + APP, 4, "cert")
    check_one(web + f"key = {SHARED['key']}\n" + APP, "[14]", "certificate")
    check_one("[global]\nuser = nobodyatall\n" + web + APP, 2, "no such user|there is no user")
    check_one("[global]\naccess_log = /nowhere/at.log\n" + web + APP, 2, "/nowhere")
    check_one("[global]\nspool_dir = /nowhere\n" + web + APP, 2, "/nowhere: No such file")
    check_one("[global]\nspool_dir = /etc/hostname\n" + web + APP, 2, "no folder")
    check_one(web + "[backend app]\nserver = no where:80\n", 5, "no where|where:80")
    check_one("[listener web]\nbind = 127.0.0.1:1\n" + APP, 1, "backend")
    check_one("[listener web]\nbind = 127.0.0.1:1\nbackend = app\nredirect_https = yes\n" + APP,
              "[134]", "redirect_https|backend")
    check_one("[listener web]\nbackend = app\n" + APP, 1, "bind")
    check_one(web + "[listener too]\nbind = 127.0.0.1:1\nbackend = app\n" + APP, 5, "127.0.0.1:1")
    check_one(web + "[backend app]\nserver = 127.0.0.1:1\nserver = 127.0.0.1:1\n", 6,
              "127.0.0.1:1")
    check_one(web + APP + "x" * 5000 + "\n", 6, "long")
    check_one("", 1, "listener")


def test_missing_files_beside_other_errors():
    """All errors in one run: also those of files that are named."""
    name = write("mixed.ini", "[listener web]\nbind = 127.0.0.1:1\nbackend = app\n"
                 "certificate = /nowhere.pem\nmax_head = lots\n" + APP)
    rc, _, err = run_gyre("--check", "-c", name)
    equal(rc, 1, "exit code")
    for line in (4, 5):
        check(f"{name}:{line}: " in err, f"line {line} is not in", err)


def test_without_a_file():
    origin, second = Origin(), Origin(unix=True)
    address, secure = free_address(), free_address()
    backends = ["--backend", address_text(origin.address),
                "--backend", address_text(second.address)]
    with Gyre(args=["--bind", address_text(address), *backends]):
        for i in range(10):
            with Client(address) as client:
                equal(client.ask("GET", f"/{i}").status, 200, "plain")
    check(origin.request_count() > 0 and second.request_count() > 0, "one server took all")
    with Gyre(args=["--bind", address_text(secure), *backends, "--certificate", SHARED["cert"],
                    "--key", SHARED["key"]]):
        with TlsClient(secure) as client:
            equal(client.ask().status, 200, "TLS")
    rc, _, err = run_gyre("--bind", address_text(address), "--backend", "nonsense", "--check")
    equal(rc, 1, "exit code of a wrong flag's value")
    check("nonsense" in err, err)


def test_every_address():
    """:PORT is every address, of both families."""
    port = harness.free_port_everywhere("0.0.0.0")
    with Gyre(args=["--bind", f":{port}", "--backend", address_text(Origin().address)]):
        for host in ("127.0.0.1", "127.9.8.7", "::1"):
            with Client((host, port)) as client:
                equal(client.ask().status, 200, f"by {host}")


def test_port_in_use():
    with Front(Origin().address, workers=2) as front:
        text = address_text(front.address)
        # The same port of a gyre with SO_REUSEPORT, by another of the same user.
        rc, _, err = run_gyre("--bind", text, "--backend", "127.0.0.1:1")
        equal(rc, 1, "exit code")
        check(text in err and "in use" in err and "another process" in err, err)
        equal(Curl(front.url()).status, 200, "the first one goes on")
        everywhere = f":{front.address[1]}"
        equal(run_gyre("--bind", everywhere, "--backend", "127.0.0.1:1")[0], 1, "the wildcard")
        two = write("two.ini", f"[listener a]\nbind = {text}\nbackend = app\n[listener b]\n"
                    f"bind = {address_text(('203.0.113.1', 80))}\nbackend = app\n" + APP)
        rc, _, err = run_gyre("-c", two)
        equal(rc, 1, "exit code")
        check("two.ini:2: " in err and "two.ini:5: " in err, "both are told:", err)


# --- io_uring refused ----------------------------------------------------------------------------

NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
IO_URING_SETUP, ALLOW, ERRNO = 425, 0x7fff0000, 0x00050000


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def without_io_uring(code):
    """Makes io_uring_setup fail with that error in what is run from here on."""
    code = b"".join(struct.pack("HBBI", *step) for step in (
        (0x20, 0, 0, 0),                            # the system call's number
        (0x15, 0, 1, IO_URING_SETUP),
        (0x06, 0, 0, ERRNO | code),
        (0x06, 0, 0, ALLOW)))
    steps = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.addressof(steps))
    libc = ctypes.CDLL(None, use_errno=True)

    def apply():
        if (libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
                or libc.prctl(SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0)):
            raise OSError(ctypes.get_errno(), "seccomp")
    apply.keep = steps, program
    return apply


def test_io_uring_refused():
    flags = ["--bind", address_text(free_address()), "--backend", "127.0.0.1:1"]
    for code, words in ((errno.EPERM, ["EPERM", "seccomp", "io_uring_setup"]),
                        (errno.ENOSYS, ["ENOSYS", "CONFIG_IO_URING"]),
                        (errno.ENOMEM, ["ENOMEM", "ulimit -l"]),
                        (errno.EINVAL, ["6.1"])):
        rc, _, err = run_gyre(*flags, preexec_fn=without_io_uring(code))
        equal(rc, 1, f"exit code; it said {err}")
        for word in words:
            check(word in err, f"{word} is not in", err)
        check("io_uring" in err, err)
    # What needs no ring works all the same.
    equal(run_gyre("--version", preexec_fn=without_io_uring(errno.EPERM))[0], 0, "--version")
