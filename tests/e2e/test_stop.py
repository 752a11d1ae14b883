"""Stopping: what is in flight is finished, what is idle is closed, and it takes no longer than it
may."""
import signal
import threading
import time

import harness
from harness import WAIT_S, Front, check, equal, until
from test_tls import TlsClient
from wire import Client, Origin


def held_origin():
    """An origin that answers /held only when it is told to."""
    def serve(exchange):
        while (request := exchange.request()):
            if request.target.startswith("/held"):
                exchange.origin.release.wait(WAIT_S)
            exchange.answer(request.target)
    origin = Origin(serve)
    origin.release = threading.Event()
    return origin


def is_refused(address):
    try:
        harness.connect(address, 2).close()
        return False
    except OSError:
        return True


def test_requests_in_flight_are_finished():
    for signum in (signal.SIGTERM, signal.SIGINT):
        for tls in (False, True):
            origin = held_origin()
            front = Front(origin.address, tls=tls, workers=2)
            busy = (TlsClient if tls else Client)(front.address)
            idle = (TlsClient if tls else Client)(front.address)
            idle.ask()
            busy.request("GET", "/held")
            origin.wait_requests(2)
            front.gyre.process.send_signal(signum)
            front.gyre.wait_told("STOPPING=1")
            idle.expect_end()
            idle.close()
            until(lambda: is_refused(front.address), "new clients to be refused")
            origin.release.set()
            got = busy.response()
            equal([got.status, got.body], [200, b"/held"], "the answer")
            equal(got.get("Connection"), "close", "Connection")
            busy.expect_end()
            busy.close()
            front.gyre.wait_exit()
            front.gyre.judge(0)
            origin.close()


def test_uploads_and_downloads_in_flight_are_finished():
    for mode in ("sync", "async"):
        origin = Origin()
        front = Front(origin.address, backend=f"mode = {mode}")
        with Client(front.address) as client:
            client.request("POST", "/up", "Expect: 100-continue", "Content-Length: 10")
            if mode == "async":
                origin.wait_requests(1)
            else:
                equal(client.head().status, 100, "interim: gyre has the head")
            client.send("hello")
            front.gyre.process.send_signal(signal.SIGTERM)
            front.gyre.wait_told("STOPPING=1")
            client.send("world")
            equal(client.response().body, b"POST /up 10\n", f"answer, {mode}")
            client.expect_end()
        front.gyre.wait_exit()
        front.gyre.judge(0)


def test_drain_timeout():
    origin = held_origin()
    front = Front(origin.address, glob="drain_timeout = 200ms")
    with Client(front.address) as client:
        client.request("GET", "/held")
        origin.wait_requests(1)
        began = time.monotonic()
        front.gyre.process.send_signal(signal.SIGTERM)
        client.expect_cut()
    front.gyre.wait_exit()
    check(0.15 < time.monotonic() - began < 5, "it took", time.monotonic() - began)
    front.gyre.judge(0)
    origin.release.set()


def test_tunnels_are_bounded_too():
    def serve(exchange):
        if exchange.request():
            exchange.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n"
                          "Upgrade: websocket\r\n\r\n")
            exchange.quiet()
    front = Front(Origin(serve).address, glob="drain_timeout = 200ms")
    with Client(front.address) as client:
        equal(client.ask("GET", "/", "Connection: upgrade", "Upgrade: websocket").status, 101, "")
        front.gyre.process.send_signal(signal.SIGTERM)
        client.expect_cut()
    front.gyre.wait_exit()
    front.gyre.judge(0)


def test_second_signal_stops_at_once():
    for signum in (signal.SIGTERM, signal.SIGINT):
        origin = held_origin()
        front = Front(origin.address, expect=["again: stopping at once"])
        with Client(front.address) as client:
            client.request("GET", "/held")
            origin.wait_requests(1)
            front.gyre.process.send_signal(signal.SIGTERM)
            front.gyre.wait_told("STOPPING=1")
            began = time.monotonic()
            front.gyre.process.send_signal(signum)
            rc = front.gyre.wait_exit(5)
            check(time.monotonic() - began < 2, "it was not at once")
        front.gyre.judge(rc)
        origin.release.set()


def test_idle_clients_do_not_hold_it_up():
    """Who does not react to the end of an idle connection is not waited for long."""
    front = Front(Origin().address)
    clients = [Client(front.address) for _ in range(20)]
    for client in clients[:10]:
        client.ask()
    began = time.monotonic()
    front.gyre.process.send_signal(signal.SIGTERM)
    front.gyre.wait_exit()
    took = time.monotonic() - began
    check(took < 6, f"stopping took {took:.1f} s")
    front.gyre.judge(0)
    return f"{took:.1f} s"


def test_stop_right_behind_an_answer():
    """A client that has its answer before gyre knows that it was sent: its connection ends, too."""
    origin = Origin()
    for _ in range(15):
        front = Front(origin.address)
        with Client(front.address) as client:
            client.ask()
            front.gyre.process.send_signal(signal.SIGTERM)
            client.expect_end()
        front.gyre.wait_exit()
        front.gyre.judge(0)


def test_hangup_goes_on():
    with Front(Origin().address, expect=["SIGHUP.*reload"]) as front:
        with Client(front.address) as client:
            client.ask()
            front.gyre.process.send_signal(signal.SIGHUP)
            front.gyre.wait_errors("SIGHUP")
            equal(client.ask().status, 200, "status")


def test_stop_without_a_client():
    for workers in (1, 2, 5):
        Front(Origin().address, workers=workers).gyre.stop()


def test_stop_while_it_starts():
    """A signal at any moment of the start ends it in order."""
    ini = (f"[global]\nworkers = 2\n[listener web]\nbind = "
           f"{harness.address_text(harness.free_address())}\nbackend = app\n"
           "[backend app]\nserver = 127.0.0.1:1\n")
    for i in range(8):
        gyre = harness.Gyre(ini, wait_ready=False)
        time.sleep(0.004 * i)       # no condition to wait for: the moment itself is the test
        gyre.process.send_signal(signal.SIGTERM)
        rc = gyre.wait_exit()
        # Before it listens to signals it dies of one, as anybody does.
        check(rc in (0, -signal.SIGTERM), rc)
        gyre.judge(rc)
