"""TLS with curl, with openssl's client and with Python's."""
import os
import re
import socket
import ssl
import subprocess

import harness
from harness import SHARED, WAIT_S, Curl, Front, Gyre, address_text, check, equal, free_address
from wire import Client, Origin, Stream

TWO = "certificate = {cert2}\nkey = {key2}"


class TlsClient(Client):
    """A client over TLS; its certificate is checked against the one that gyre was given."""
    def __init__(self, address, name="one.test", context=None, **options):
        context = context or context_for(**options)
        sock = harness.connect(address)
        # Not suppressed: an end without close_notify is an SSLEOFError.
        Stream.__init__(self, context.wrap_socket(sock, server_hostname=name,
                                                  suppress_ragged_eofs=False))
        harness.client_made(self)


def context_for(trusted=("cert", "cert2"), alpn=("http/1.1",), maximum=None):
    context = ssl.create_default_context()
    for name in trusted:
        context.load_verify_locations(SHARED[name])
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if maximum:
        context.maximum_version = maximum
    return context


def s_client(address, *args, data=b"", seconds=WAIT_S):
    """What openssl's client says; it stops at the end of its input."""
    done = subprocess.run(["openssl", "s_client", "-connect", address_text(address), *args],
                          input=data, capture_output=True, timeout=seconds, check=False)
    return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")


def test_versions():
    with Front(Origin().address, tls=True) as front:
        for flags, version in ((["--tls-max", "1.2"], "TLSv1.2"), (["--tlsv1.3"], "TLSv1.3")):
            got = Curl("-v", "--cacert", SHARED["cert"], *flags, "--connect-to",
                       "::" + address_text(front.address), "https://one.test/x")
            equal([got.status, got.body], [200, b"GET /x 0\n"], f"over {version}: {got.errors}")
            check(f"SSL connection using {version}" in got.errors, got.errors)
            check("accepted http/1.1" in got.errors, "no ALPN:", got.errors)
        for flags in (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
                      ["-tls1_2", "-cipher", "AES128-SHA:AES256-SHA256"]):
            said = s_client(front.address, *flags)
            check("Cipher is (NONE)" in said, "a handshake that should have failed:", flags, said)
        with TlsClient(front.address) as client:
            equal(client.ask().status, 200, "after failures")


def test_certificates_by_name():
    with Front(Origin().address, tls=True, listener=TWO.format(**SHARED)) as front:
        for name, subject in (("one.test", "one.test"), ("two.test", "two.test"),
                              ("TWO.test", "two.test"), ("a.wild.test", "two.test"),
                              ("a.b.wild.test", "one.test"), ("other.test", "one.test")):
            said = s_client(front.address, "-servername", name)
            check(re.search(f"subject=CN ?= ?{subject}", said), name, "got", said)
        check(re.search("subject=CN ?= ?one.test", s_client(front.address, "-noservername")),
              "without a name")
        with TlsClient(front.address, "two.test") as client:
            equal(client.ask(host="two.test").status, 200, "its own host")
            equal(client.ask(host="a.wild.test").status, 200, "another of its certificate")
            equal(client.ask(host="one.test").status, 421, "the other certificate's")


def test_resumption():
    for version, workers in (("-tls1_2", 2), ("-tls1_3", 2)):
        with Front(Origin().address, tls=True, workers=workers) as front:
            session = harness.path("session" + version)
            request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            said = s_client(front.address, version, "-sess_out", session, "-ign_eof", data=request)
            check("New, TLS" in said and "200 OK" in said, said)
            for _ in range(6):          # by whichever worker it comes to
                said = s_client(front.address, version, "-sess_in", session, "-ign_eof",
                                data=request)
                check("Reused, TLS" in said and "200 OK" in said, said)


def test_alpn():
    with Front(Origin().address, tls=True) as front:
        for offered, chosen in ((["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"),
                                ([], None)):
            with TlsClient(front.address, alpn=offered) as client:
                equal(client.sock.selected_alpn_protocol(), chosen, f"of {offered}")
                equal(client.ask().status, 200, "status")


def test_large_bodies():
    def serve(exchange):
        while (request := exchange.request()):
            exchange.answer(request.body)
    body = os.urandom(3 << 20)
    for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with Front(Origin(serve).address, tls=True) as front:
            with TlsClient(front.address, maximum=maximum) as client:
                for size in (0, 1, 16384, 16385, 3 << 20):
                    check(client.ask("POST", "/", body=body[:size]).body == body[:size],
                          f"{size} bytes came changed over {maximum}")


def test_close_notify():
    def serve(exchange):
        request = exchange.request()
        if request.target == "/cut":
            exchange.send("HTTP/1.1 200 OK\r\n\r\nto the end")
        else:
            exchange.answer("whole")
    with Front(Origin(serve).address, tls=True) as front:
        for target, version in (("/whole", "1.1"), ("/cut", "1.0")):
            with TlsClient(front.address) as client:
                client.request("GET", target, "Connection: close", version=version)
                check(client.response().body in (b"whole", b"to the end"), "body")
                client.expect_end()
        with TlsClient(front.address) as client:    # the client's close_notify is answered
            client.ask()
            client.sock.settimeout(WAIT_S)
            client.sock.unwrap().close()
        with TlsClient(front.address) as client:    # and its absence survived
            client.ask()
            client.sock.shutdown(socket.SHUT_RDWR)


def test_truncation_is_seen():
    def serve(exchange):
        exchange.request()
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    with Front(Origin(serve).address, tls=True) as front:
        with TlsClient(front.address) as client:
            client.request(version="1.0")
            seen = False
            try:
                client.head()
                client.rest()
            except (ssl.SSLEOFError, ConnectionResetError):
                seen = True
            check(seen, "it looks whole")


def test_what_is_no_tls():
    with Front(Origin().address, tls=True, listener="head_timeout = 300ms") as front:
        for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70000,
                     b"\0" * 1000, b"\x80\x2e\x01\x03\x01" + b"\0" * 100):
            with Client(front.address) as client:
                try:
                    client.send(data)
                except ConnectionError:
                    pass
                answer = client.expect_cut()
                check(not answer.startswith(b"HTTP/1.1 200"), answer)
        with Client(front.address) as client:       # half a hello: the handshake's time is bounded
            client.send(b"\x16\x03\x01\x02\x00\x01\x00")
            client.expect_cut()
        with Client(front.address) as client:       # nothing at all
            client.expect_cut()
        for _ in range(20):
            Client(front.address).reset()
        with TlsClient(front.address) as client:
            equal(client.ask().status, 200, "after all of that")


def test_hello_in_pieces():
    """The handshake is done by hand, a few bytes at a time."""
    with Front(Origin().address, tls=True) as front:
        raw = harness.connect(front.address)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context_for().wrap_bio(incoming, outgoing, server_hostname="one.test")

        def step(function):
            while True:
                try:
                    done = function()
                    raw.sendall(outgoing.read())
                    return done
                except ssl.SSLWantReadError:
                    data = outgoing.read()
                    for at in range(0, len(data), 50):
                        raw.sendall(data[at:at + 50])
                    incoming.write(raw.recv(65536))
        step(tls.do_handshake)
        step(lambda: tls.write(b"GET /pieces HTTP/1.1\r\nHost: a\r\n\r\n"))
        got = b""
        while b"GET /pieces 0\n" not in got:
            got += step(lambda: tls.read(4096))
        raw.close()


def test_plain_and_tls_in_one_process():
    """Several listeners, several addresses, a unix socket, TLS on it as well."""
    plain, secure, more = free_address(), free_address(), free_address()
    sock, secure_sock = harness.path("plain.sock"), harness.path("tls.sock")
    origin = Origin()
    for workers in (1, 2):
        ini = f"""
[global]
workers = {workers}
[listener plain]
bind = {address_text(plain)}, {address_text(more)}
bind = unix:{sock}
backend = app
[listener secure]
bind = {address_text(secure)}, unix:{secure_sock}
certificate = {SHARED['cert']}
key = {SHARED['key']}
backend = app
[backend app]
server = {address_text(origin.address)}
"""
        with Gyre(ini):
            for address in (plain, more, sock):
                for _ in range(8):
                    with Client(address) as client:
                        equal(client.ask().status, 200, f"status at {address}")
            for address in (secure, secure_sock):
                for _ in range(4):
                    with TlsClient(address) as client:
                        equal(client.ask().status, 200, f"status at {address}")
                        equal(origin.requests[-1].get("X-Forwarded-Proto"), "https", "proto")


def test_key_in_the_certificate_file():
    both = harness.write("both.pem", open(SHARED["cert"], encoding="utf-8").read()
                         + open(SHARED["key"], encoding="utf-8").read())
    with Front(Origin().address, listener=f"certificate = {both}") as front:
        with TlsClient(front.address) as client:
            equal(client.ask().status, 200, "status")
