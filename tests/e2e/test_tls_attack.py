"""TLS under attack: what is no TLS, what is too much of it, and what nobody finishes."""
import contextlib
import ssl
import struct
import subprocess
import threading

import harness
from harness import WAIT_S, Curl, Front, address_text, check, equal, until
from test_tls import TlsClient, context_for
from wire import Client, Origin

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
QUICK = "head_timeout = 300ms"


class Hand:
    """TLS by hand: the records that Python's client makes go through the test's own fingers."""
    def __init__(self, address, **options):
        self.sock = harness.connect(address)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context_for(**options).wrap_bio(self.incoming, self.outgoing,
                                                   server_hostname="one.test")
        harness.client_made(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def run(self, function, send=None):
        """The function, with what it needs of the network; send changes what goes out."""
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                done = function()
                self.sock.sendall(self.outgoing.read())
                return done
            data = self.outgoing.read()
            self.sock.sendall(send(data) if send else data)
            got = self.sock.recv(65536)
            check(got, "the connection ended")
            self.incoming.write(got)

    def expect_end(self):
        """Whatever comes, the end comes."""
        with contextlib.suppress(ConnectionError):
            while self.sock.recv(65536):
                pass


def hello():
    """A ClientHello of Python's."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context_for().wrap_bio(incoming, outgoing, server_hostname="one.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def split_records(data):
    """Each record in the clear as records of one byte; those that are encrypted as they are."""
    out, sealed = b"", False
    while data:
        kind, size = data[0], struct.unpack(">H", data[3:5])[0]
        body, whole, data = data[5:5 + size], data[:5 + size], data[5 + size:]
        sealed = sealed or kind != 22
        out += whole if sealed else b"".join(bytes([22, 3, 3, 0, 1, byte]) for byte in body)
    return out


def check_plain_page(data):
    """The answer to plain HTTP on a TLS port: complete, and it says what to do."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    check(lines[0].startswith(b"HTTP/1.1 400 "), data)
    check(b"https" in body and b"Connection: close" in lines, data)
    check(f"Content-Length: {len(body)}".encode() in lines, data)
    check(any(line.startswith(b"Date: ") for line in lines), data)


def test_plain_http_is_answered():
    with Front(Origin().address, tls=True) as front:
        got = Curl(front.url("/secret"))
        equal([got.rc, got.status], [0, 400], f"plain HTTP to a TLS port: {got.errors}")
        check(b"https" in got.body, got.body)
        requests = [GET, b"GET / HTTP/1.0\r\n\r\n", b"M-SEARCH * HTTP/1.1\r\n\r\n",
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", GET * 50,
                    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", b"QUERY "]
        for request in requests:
            with Client(front.address) as client:
                client.send(request)
                check_plain_page(client.rest())
        lines = front.log_lines(1 + len(requests))
        check(all(' "-" 400 ' in line and "close=plain-http" in line for line in lines), lines)
        with TlsClient(front.address) as client:
            equal(client.ask().status, 200, "after all of that")


def test_plain_http_byte_by_byte():
    """The answer is there as soon as there is no doubt, which is before the request is."""
    with Front(Origin().address, tls=True) as front:
        with Client(front.address) as client:
            for byte in b"OPTIONS":
                client.expect_open()
                client.send(bytes([byte]))
            client.send(b" ")
            check_plain_page(client.rest())


def test_plain_http_that_goes_on():
    """No reset destroys the answer while the client is still sending (RFC 9112 9.6)."""
    with Front(Origin().address, tls=True) as front:
        with Client(front.address) as client:
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n")
            client.send(b"x" * 4000000)
            check_plain_page(client.rest())


def test_tls_on_a_plain_port():
    """The client learns at once that there is no TLS, and says so in its own words."""
    with Front(Origin().address) as front:
        try:
            TlsClient(front.address)
            raise harness.Failed("a handshake with a plain port")
        except ssl.SSLError as error:
            check("WRONG_VERSION_NUMBER" in str(error), error)
        got = Curl("--cacert", harness.SHARED["cert"], front.url("/", "https"))
        equal(got.rc, 35, "curl's exit code")
        for data in (hello(), b"\x16", b"\x16\x03\x01", b"\x80\x2e\x01\x03\x01"):
            with Client(front.address) as client:
                client.send(data)
                check(client.rest().startswith(b"HTTP/1.1 400 "), "no end after", data)
        lines = front.log_lines(6)
        check(all("close=bad-request" in line for line in lines), lines)


def test_hello_in_tiny_records():
    with Front(Origin().address, tls=True) as front:
        for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with Hand(front.address, maximum=maximum) as hand:
                hand.run(hand.tls.do_handshake, split_records)
                hand.run(lambda: hand.tls.write(GET))        # pylint: disable=cell-var-from-loop
                got = hand.run(lambda: hand.tls.read(4096))  # pylint: disable=cell-var-from-loop
                check(got.startswith(b"HTTP/1.1 200 "), got)


def test_hello_too_large():
    """Announced or sent, as one record or many: refused with an alert, at once."""
    with Front(Origin().address, tls=True) as front:
        body = b"\x01\x00\xff\x00" + b"\x03\x03" + b"x" * 65278
        sent = b"".join(b"\x16\x03\x01" + struct.pack(">H", len(body[at:at + 16384]))
                        + body[at:at + 16384] for at in range(0, len(body), 16384))
        for data in (b"\x16\x03\x01\x00\x04\x01\x02\x00\x00", sent):
            with Client(front.address) as client:
                with contextlib.suppress(ConnectionError):
                    client.send(data)
                answer = client.expect_cut()
                check(answer in (b"\x15\x03\x01\x00\x02\x02\x2f", b""), answer)
                check(answer or data is sent, "no alert")
        with TlsClient(front.address) as client:
            equal(client.ask().status, 200, "after that")


def test_handshakes_that_nobody_finishes():
    """After any flight the handshake's time is over, and nothing is left of it."""
    with Front(Origin().address, tls=True, listener=QUICK) as front:
        with TlsClient(front.address) as client:
            equal(client.ask().status, 200, "before")
        with TlsClient(front.address) as live:
            equal(live.ask().status, 200, "live")
            before = front.gyre.descriptors()
            held, data = [], hello()
            for size in [0, 1, 3, 5, 6, 50, len(data) - 1, len(data)] * 25:
                sock = harness.connect(front.address)
                sock.sendall(data[:size])
                held.append(sock)
            for _ in range(20):      # who is there is served meanwhile
                with TlsClient(front.address) as client:
                    equal(client.ask().status, 200, "beside 200 half handshakes")
            for sock in held:
                with contextlib.suppress(ConnectionError):
                    while sock.recv(65536):
                        pass
                sock.close()
            until(lambda: front.gyre.descriptors() <= before, "the end of half handshakes")
        with TlsClient(front.address) as client:
            equal(client.ask().status, 200, "after")


def held_request(origin, hand):
    """A request that the origin has, and does not answer."""
    count = origin.request_count()
    hand.run(lambda: hand.tls.write(GET))
    origin.wait_requests(count + 1)


def hold(exchange):
    """Takes requests and never answers."""
    while exchange.request() is not None:
        pass


def test_junk_after_the_handshake():
    """The request that runs ends with it, and its line says of what."""
    record = b"\x17\x03\x03\x00\x20" + b"x" * 32
    for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        origin = Origin(hold)
        with Front(origin.address, tls=True) as front:
            junk = [record, GET, b"\0" * 100, b"\x17\x03\x03\xff\xff", b"\x16\x03\x01\x00\x00",
                    b"\x14\x03\x03\x00\x01\x01", b"\x15\x03\x03\x00\x02\x02\x28"]
            for data in junk:
                with Hand(front.address, maximum=maximum) as hand:
                    hand.run(hand.tls.do_handshake)
                    held_request(origin, hand)
                    hand.sock.sendall(data)
                    if data == b"\x16\x03\x01\x00\x00":
                        hand.sock.sendall(record)   # an empty record alone is not an error in 1.2
                    hand.expect_end()
            lines = front.log_lines(len(junk))
            check(all("close=tls-error" in line for line in lines), lines)


class SClient:
    """openssl's client at its terminal: its commands go in one by one."""
    def __init__(self, address, *args):
        self.said = b""
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", address_text(address), "-servername", "one.test",
             *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        harness.at_end(self.close)
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        self.wait(b"Verify return code")

    def listen(self):
        while (data := self.process.stdout.read1(65536)):
            self.said += data

    def send(self, data):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def wait_or_end(self, mark, count):
        until(lambda: self.said.count(mark) >= count or self.process.poll() is not None,
              f"{count} times {mark} of s_client")

    def wait(self, mark, count=1):
        self.wait_or_end(mark, count)
        if self.process.poll() is not None:
            self.listener.join(WAIT_S)
        check(self.said.count(mark) >= count, "s_client ended with", self.said[-2000:])

    def wait_end(self):
        """Its end, and all that it said until then."""
        self.process.wait(WAIT_S)
        self.listener.join(WAIT_S)
        check(not self.listener.is_alive(), "s_client ended, but not what it says")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def test_renegotiation_is_refused():
    with Front(Origin().address, tls=True) as front:
        client = SClient(front.address, "-tls1_2")
        client.send(b"R\n")
        client.wait_end()
        check(b"no renegotiation" in client.said, client.said[-2000:])
        with TlsClient(front.address) as other:
            equal(other.ask().status, 200, "after that")


def test_key_updates():
    """A few are served. Too many in a row end the connection, and the request that runs on it."""
    origin = Origin(hold)
    with Front(Origin().address, tls=True) as front:
        client = SClient(front.address, "-tls1_3")
        for i in range(1, 6):
            client.send(b"K\n" if i % 2 else b"k\n")
            client.wait(b"KEYUPDATE", i)
        client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        client.wait(b"HTTP/1.1 200 OK")
    with Front(origin.address, tls=True) as front:
        client = SClient(front.address, "-tls1_3")
        client.send(GET)
        origin.wait_requests(1)
        for i in range(1, 40):
            client.send(b"K\n")
            client.wait_or_end(b"KEYUPDATE", i)
        client.wait_end()
        lines = front.log_lines(2)      # the first is the other gyre's
        check("close=tls-flood" in lines[1], lines)


def test_tiny_records_are_served():
    """A request whose every byte is a record, over many turns."""
    body = bytes(range(256)) * 20

    def serve(exchange):
        while (request := exchange.request()):
            exchange.answer(request.body)
    with Front(Origin(serve).address, tls=True) as front:
        for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with TlsClient(front.address, maximum=maximum) as client:
                for byte in b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5120\r\n\r\n" + body:
                    client.sock.sendall(bytes([byte]))
                check(client.response().body == body, "bytes came changed")
