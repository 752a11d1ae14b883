"""PROXY headers: from curl and from HAProxy in front of gyre, and to HAProxy behind it."""
import re
import socket

import harness
import servers
from harness import (SHARED, Curl, Front, Gyre, address_text, check, equal, free_address,
                     free_port_everywhere, path, write)
from test_tls import TlsClient, context_for
from wire import Client, Origin

ACCEPT = "accept_proxy = yes"


def haproxy(text, address):
    """HAProxy with these sections, once it listens there."""
    file = write(f"haproxy{address[1]}.cfg", f"""global
    maxconn 500
defaults
    mode tcp
    timeout connect 10s
    timeout client 20s
    timeout server 20s
{text}""")
    process = servers.start(path(""), f"haproxy{address[1]}", ["haproxy", "-db", "-f", file],
                            address)
    harness.at_end(lambda: servers.stop(process))


def balancer(gyre, *options, bind=""):
    """HAProxy in front of gyre: its address. It relays bytes, so the requests are the client's."""
    address = free_address()
    haproxy(f"""listen front
    bind {address_text(address)} {bind}
    unique-id-format %ci-%cp
    server gyre {address_text(gyre)} {' '.join(options)}
""", address)
    return address


TELL = "%[src] %[src_port] %[dst] %[dst_port] '%[fc_pp_authority]' '%[fc_pp_unique_id]'"


def app():
    """HAProxy behind gyre: answers with what PROXY headers told it."""
    address = free_address()
    haproxy(f"""frontend app
    mode http
    bind {address_text(address)} accept-proxy
    http-request return status 200 content-type text/plain lf-string "{TELL}"
""", address)
    return address


def told(response):
    """client, client's port, local address, local port, authority, id."""
    match = re.fullmatch(rb"(\S+) (\d+) (\S+) (\d+) '(.*)' '(.*)'", response.body)
    check(match, "not what HAProxy was told to say:", response)
    return [part.decode() for part in match.groups()]


def local(client):
    return client.sock.getsockname()[:2]


# --- In front -------------------------------------------------------------------------------------

def check_fields(got, client, port, proto="http"):
    equal(got.get("X-Forwarded-For"), client, "X-Forwarded-For")
    equal(got.get("X-Real-IP"), client, "X-Real-IP")
    equal(got.get("X-Forwarded-Port"), str(port), "X-Forwarded-Port")
    equal(got.get("X-Forwarded-Proto"), proto, "X-Forwarded-Proto")
    check(f"for={client};" in got.get("Forwarded"), got)


def test_curl_speaks_v1():
    origin = Origin()
    with Front(origin.address, listener=ACCEPT) as front:
        got = Curl("--haproxy-protocol", "--interface", "127.9.8.7", front.url("/a"))
        equal([got.status, got.body], [200, b"GET /a 0\n"], f"with a header: {got.errors}")
        check_fields(origin.requests[0], "127.9.8.7", front.address[1])
        check(front.log_lines(1)[0].startswith("127.9.8.7 - - ["), front.log_lines(1))
        got = Curl(front.url("/b"))
        check(got.rc != 0 and got.body == b"", "answered without a header:", got.body)
        equal(origin.request_count(), 1, "requests at the origin")


def test_curl_speaks_v1_before_tls():
    origin = Origin()
    with Front(origin.address, listener=ACCEPT, tls=True) as front:
        to = ["--cacert", SHARED["cert"], "--connect-to", "::" + address_text(front.address)]
        got = Curl("--haproxy-protocol", "--interface", "127.9.8.7", *to, "https://one.test/a")
        equal([got.status, got.body], [200, b"GET /a 0\n"], f"with a header: {got.errors}")
        check_fields(origin.requests[0], "127.9.8.7", front.address[1], "https")
        check(Curl(*to, "https://one.test/b").rc != 0, "a handshake without a header")
        equal(origin.request_count(), 1, "requests at the origin")


def test_haproxy_in_front():
    origin = Origin()
    with Front(origin.address, listener=ACCEPT, workers=2,
               backend="keepalive_timeout = 60s") as front:
        for options in (["send-proxy"], ["send-proxy-v2"],
                        ["send-proxy-v2", "proxy-v2-options", "crc32c,unique-id"]):
            address = balancer(front.address, *options)
            for source in ("127.9.8.7", "127.9.8.8"):
                with Client(address, source=(source, 0)) as client:
                    for _ in range(3):
                        equal(client.ask(body=b"x" * 1000, method="POST").status, 200, options)
                        check_fields(origin.requests[-1], source, address[1])
        said = sorted(line.split(" ", 1)[0] for line in front.log_lines(18))
        equal(said, ["127.9.8.7"] * 9 + ["127.9.8.8"] * 9, "the log's clients")
        check(origin.connections <= 2, "connections to the server are not shared")


def test_haproxy_in_front_of_tls():
    """It relays TLS as it is, behind its header."""
    origin = Origin()
    with Front(origin.address, listener=ACCEPT, tls=True) as front:
        for options in (["send-proxy"], ["send-proxy-v2", "proxy-v2-options", "crc32c"]):
            address = balancer(front.address, *options)
            for _ in range(2):
                with TlsClient(address) as client:
                    equal(client.ask().status, 200, options)
                check_fields(origin.requests[-1], "127.0.0.1", address[1], "https")


def test_haproxy_ends_tls_in_front():
    """With all the TLVs that it has."""
    both = path("both.pem")
    with open(both, "wb") as file:
        for name in ("cert", "key"):
            with open(SHARED[name], "rb") as part:
                file.write(part.read())
    origin = Origin()
    with Front(origin.address, listener=ACCEPT) as front:
        address = balancer(front.address, "send-proxy-v2", "proxy-v2-options",
                           "ssl,cert-cn,cert-key,cert-sig,ssl-cipher,authority,crc32c,unique-id",
                           bind=f"ssl crt {both}")
        with TlsClient(address, context=context_for(alpn=())) as client:
            equal(client.ask().status, 200, "status")
        check_fields(origin.requests[-1], "127.0.0.1", address[1])


def test_haproxy_asks_for_health():
    """With LOCAL or UNKNOWN, on connections that bring no request or one of its own."""
    origin = Origin()
    with Front(origin.address, listener=ACCEPT) as front:
        for version in ("send-proxy", "send-proxy-v2"):
            address = free_address()
            haproxy(f"""listen front
    mode http
    option httpchk GET /health
    bind {address_text(address)}
    server gyre {address_text(front.address)} {version} check inter 200ms
""", address)
            before = origin.request_count()
            origin.wait_requests(before + 3)
            equal(origin.requests[-1].target, "/health", "target")
            got = Curl(f"http://{address_text(address)}/x")
            equal(got.status, 200, f"behind a server that is checked: {got.errors}")


def test_a_front_without_header():
    with Front(Origin().address, listener=ACCEPT) as front:
        for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01", b"PROXY TCP4 x\r\n"):
            with Client(front.address) as client:
                client.send(data)
                client.expect_end()
        with Client(front.address) as client:
            client.send("PROXY TCP4 192.0.2.7 198.51.100.1 5 6\r\n")
            equal(client.ask().status, 200, "after those")


# --- Behind ---------------------------------------------------------------------------------------

def test_haproxy_behind():
    server = app()
    for version in ("v1", "v2"):
        with Front(server, backend=f"send_proxy = {version}", workers=2) as front:
            with Client(front.address, source=("127.9.8.7", 0)) as one, \
                    Client(front.address, source=("127.9.8.8", 0)) as two:
                for client in (one, two, one, one, two):
                    got = told(client.ask())
                    host, port = local(client)
                    equal(got[:4], [host, str(port), front.address[0], str(front.address[1])],
                          f"what {version} told")
                    equal(len(got[5]), 32 if version == "v2" else 0, f"an id in {version}")


def test_haproxy_behind_is_told_of_tls():
    with Front(app(), backend="send_proxy = v2", tls=True) as front:
        with TlsClient(front.address) as client:
            got = told(client.ask())
            host, port = local(client)
            equal(got[:5], [host, str(port), front.address[0], str(front.address[1]), "one.test"],
                  "what v2 told")
        line = front.log_lines(1)[0]
        check(line.endswith("id=" + got[5]), "the id that v2 told", got[5], "and the log's:", line)


def test_haproxy_on_both_sides():
    """The client that the one in front tells of, the one behind is told of."""
    server = app()
    for version in ("v1", "v2"):
        with Front(server, listener=ACCEPT, backend=f"send_proxy = {version}") as front:
            for options in ("send-proxy", "send-proxy-v2"):
                address = balancer(front.address, options)
                with Client(address, source=("127.9.8.7", 0)) as client:
                    got = told(client.ask())
                    equal(got[:4], ["127.9.8.7", str(local(client)[1]), address[0],
                                    str(address[1])], f"{options}, {version}")


def test_on_every_address():
    """A listener on all addresses tells the one that the client came to."""
    port = free_port_everywhere("::", socket.AF_INET6)
    server = app()
    for version in ("v1", "v2"):
        with Gyre(f"""[global]
workers = 1
[listener web]
bind = :{port}
backend = app
[backend app]
server = {address_text(server)} send_proxy={version}
"""):
            for host in ("127.9.8.7", "::1"):
                with Client((host, port)) as client:
                    equal(told(client.ask())[:4], [*map(str, local(client)), host, str(port)],
                          f"what {version} told of a client of {host}")


def test_a_client_without_address():
    """Of a unix client nothing can be told: the server sees gyre itself."""
    server = app()
    for version in ("v1", "v2"):
        sock = path(f"{version}.sock")
        with Gyre(f"[global]\nworkers = 1\n[listener web]\nbind = unix:{sock}\nbackend = app\n"
                  f"[backend app]\nserver = {address_text(server)} send_proxy={version}\n"):
            with Client(sock) as client:
                got = told(client.ask())
                equal([got[0], got[2], got[3]], ["127.0.0.1", server[0], str(server[1])], got)


def test_connections_are_not_shared():
    """Each request has a connection, says so, and its header is the first on it."""
    seen = []

    def serve(exchange):
        seen.append(exchange.take_until(b"\r\n").decode())
        request = exchange.request()
        equal(request.get("Connection"), "close", "Connection")
        exchange.answer("ok")       # and would keep it
        equal(exchange.quiet(), b"", "bytes after the one request")
    origin = Origin(serve)
    with Front(origin.address, backend="send_proxy = v1\nkeepalive = 10") as front:
        with Client(front.address) as client:
            wanted = []
            for _ in range(5):
                equal(client.ask().status, 200, "status")
                wanted.append("PROXY TCP4 127.0.0.1 {} {} {}".format(
                    front.address[0], local(client)[1], front.address[1]))
            equal(seen, wanted, "headers")
        harness.until(lambda: origin.open == 0, "the connections to end")
        equal(origin.connections, 5, "connections")
