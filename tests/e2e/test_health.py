"""Servers are asked whether they are well, and those that are not get no requests."""
import threading

import harness
from harness import Front, check, equal, until
from wire import Client, Origin

CHECKS = "check = /health\ncheck_interval = 50ms\ncheck_timeout = 300ms\nbalance = round_robin"


class Patient:
    """An origin whose health is what it is told."""
    def __init__(self):
        self.status, self.hangs = "200 OK", threading.Event()
        self.hangs.set()
        self.requests = self.checks = 0
        self.origin = Origin(self.serve)
        self.address = self.origin.address

    def serve(self, exchange):
        while request := exchange.request():
            if request.target == "/health":
                self.checks += 1
                status = self.status
                self.hangs.wait(harness.WAIT_S)
                exchange.answer("", status=status)
            else:
                self.requests += 1
                exchange.answer("ok")


def asked(front, patients, count=20):
    """How many of so many requests each of them gets; all are answered."""
    before = [p.requests for p in patients]
    with Client(front.address) as client:
        for i in range(count):
            equal(client.ask("GET", f"/{i}").status, 200, "status")
    return [p.requests - b for p, b in zip(patients, before)]


def ill_and_well(front, patients, fall, rise):
    name = harness.address_text(patients[0].address)
    equal(asked(front, patients), [10, 10], "shares, both well")
    fall()
    front.gyre.wait_errors(f"{name} is ill")
    equal(asked(front, patients), [0, 20], "shares, one ill")
    rise()
    front.gyre.wait_errors(f"{name} is well again")
    equal(asked(front, patients), [10, 10], "shares, both well again")


def front_of(patients, backend=CHECKS, expect=("is ill: ",)):
    return Front(*(p.address for p in patients), backend=backend, workers=2, expect=[*expect])


def test_status():
    patients = [Patient(), Patient()]
    with front_of(patients) as front:
        def say(status):
            patients[0].status = status
        ill_and_well(front, patients, lambda: say("503 Service Unavailable"),
                     lambda: say("204 No Content"))
        check("its check is answered with 503" in front.gyre.errors(), front.gyre.errors())


def test_hanging():
    patients = [Patient(), Patient()]
    with front_of(patients) as front:
        ill_and_well(front, patients, patients[0].hangs.clear, patients[0].hangs.set)
        check("no answer to its check within check_timeout" in front.gyre.errors(),
              front.gyre.errors())


def test_tcp():
    patients = [Patient(), Patient()]
    with front_of(patients, CHECKS.replace("/health", "tcp") + "\nkeepalive = 0") as front:
        ill_and_well(front, patients, patients[0].origin.refuse, patients[0].origin.listen)
        check("its check ended with connect-refused" in front.gyre.errors(), front.gyre.errors())
        equal([p.checks for p in patients], [0, 0], "requests of a check by tcp")


def test_all_ill():
    patients = [Patient(), Patient()]
    with front_of(patients) as front:
        for patient in patients:
            patient.status = "500 Internal Server Error"
        for patient in patients:
            front.gyre.wait_errors(f"{harness.address_text(patient.address)} is ill")
        equal(asked(front, patients), [10, 10], "shares, both ill")


def test_waiting_goes_to_who_is_well_again():
    """Its only slot is held at the one that is well; the other is well again: nobody waits on."""
    held = threading.Event()

    def serve(exchange):
        while request := exchange.request():
            if request.target.startswith("/hold"):
                held.wait(harness.WAIT_S)
            exchange.answer("ok")
    busy, patient = Origin(serve), Patient()
    patient.status = "500 Internal Server Error"
    front = Front(busy.address, patient.address, backend=CHECKS + "\nslots = 1",
                  expect=["is ill: "])
    front.gyre.wait_errors(f"{harness.address_text(patient.address)} is ill")
    with Client(front.address) as first, Client(front.address) as second:
        first.request("GET", "/hold")
        until(lambda: any(r.target == "/hold" for r in busy.requests), "the request")
        second.request("GET", "/late")
        patient.status = "200 OK"
        equal(second.response().status, 200, "status of the one that waited")
        equal(patient.requests, 1, "requests at the one that is well again")
        held.set()
        equal(first.response().status, 200, "status of the one that held")
