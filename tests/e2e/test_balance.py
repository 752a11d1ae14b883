"""How requests are shared out among servers."""
import threading
import time

from harness import WAIT_S, Front, check, equal, until
from wire import Client, Origin


def fronted(weights, balance, workers=1, serve=None):
    origins = [Origin(serve) for _ in weights]
    lines = [f"server = {o.address[0]}:{o.address[1]} weight={w}"
             for o, w in zip(origins, weights)]
    front = Front(backend="\n".join([f"balance = {balance}", *lines]), workers=workers)
    return origins, front


def test_round_robin():
    origins, front = fronted([1, 1, 1], "round_robin")
    with Client(front.address) as client:
        for i in range(30):
            client.ask("GET", f"/{i}")
    equal([o.request_count() for o in origins], [10, 10, 10], "shares")


def test_round_robin_with_weights():
    origins, front = fronted([5, 1, 2], "round_robin")
    with Client(front.address) as client:
        for i in range(80):
            client.ask("GET", f"/{i}")
            if i % 8 == 7:          # smooth: each round of eight has its right shares
                equal([o.request_count() for o in origins],
                      [5 * (i + 1) // 8, (i + 1) // 8, 2 * (i + 1) // 8], f"after {i + 1}")


def test_a_backends_weight_is_its_servers_default():
    origins = [Origin(), Origin()]
    lines = (f"weight = 3\nserver = {origins[1].address[0]}:{origins[1].address[1]} weight=1\n"
             "balance = round_robin")
    with Front(origins[0].address, backend=lines) as front, Client(front.address) as client:
        for _ in range(40):
            client.ask()
    equal([o.request_count() for o in origins], [30, 10], "shares")


def hold(held):
    """An origin that answers only when it is told to."""
    def serve(exchange):
        while exchange.request():
            held.wait(WAIT_S)
            exchange.answer("at last")
    return serve


def test_least_requests():
    """Those that run are counted: each new one goes to the server with the fewest for its weight,
    in the whole process."""
    for weights, count, shares in (([1, 1, 1], 12, [4, 4, 4]), ([1, 3], 16, [4, 12])):
        held = threading.Event()
        origins, front = fronted(weights, "least_requests", workers=2, serve=hold(held))
        clients = []
        for i in range(count):
            clients.append(Client(front.address))
            clients[-1].request("GET", f"/{i}")
            until(lambda i=i: sum(o.request_count() for o in origins) == i + 1, "the request")
        equal([o.request_count() for o in origins], shares, f"shares of {weights}")
        held.set()
        for client in clients:
            equal(client.response().status, 200, "status")
        front.gyre.stop()


def test_least_requests_avoids_the_slow_one():
    held = threading.Event()
    slow, fast = Origin(hold(held)), Origin()
    with Front(slow.address, fast.address) as front:        # least_requests is the default
        stuck = []
        while slow.request_count() == 0:
            stuck.append(Client(front.address))
            stuck[-1].request("GET", "/stuck")
            before = slow.request_count() + fast.request_count()
            until(lambda: slow.request_count() + fast.request_count() >= max(before, len(stuck)),
                  "the request")
            check(len(stuck) < 64, "the slow server is never asked")
        with Client(front.address) as client:
            for i in range(50):
                equal(client.ask("GET", f"/{i}").status, 200, "status")
        equal(slow.request_count(), 1, "requests at the server that is busy")
        held.set()


# --- hash ----------------------------------------------------------------------------------------

def homes(origins, front, ask, count=40):
    """Where each of so many keys goes, twice."""
    found = []
    for _ in range(2):
        seen = []
        for i in range(count):
            before = [o.request_count() for o in origins]
            ask(front, i)
            after = [o.request_count() for o in origins]
            seen.append([a - b for a, b in zip(after, before)].index(1))
        found.append(seen)
    equal(found[0], found[1], "the same keys' servers")
    check(len(set(found[0])) == len(origins), "not all servers have keys:", found[0])
    return found[0]


def from_address(front, i):
    with Client(front.address, source=(f"127.3.{i}.1", 0)) as client:
        client.ask("GET", f"/{time.monotonic_ns()}")


def of_path(front, i):
    with Client(front.address) as client:
        client.ask("GET", f"/item/{i}?{time.monotonic_ns()}")


def of_header(front, i):
    with Client(front.address) as client:
        client.ask("GET", f"/{time.monotonic_ns()}", f"x-TENANT: t{i}")


def of_cookie(front, i):
    with Client(front.address) as client:
        client.ask("GET", "/", f"Cookie: xsid=no; a={time.monotonic_ns()}; sid=s{i}; b=1")


def test_hash():
    for key, ask in (("client", from_address), ("path", of_path), ("header:X-Tenant", of_header),
                     ("cookie:sid", of_cookie)):
        origins, front = fronted([1, 1, 1], f"hash\nhash_on = {key}", workers=2)
        homes(origins, front, ask)
        front.gyre.stop()


def test_hash_without_its_field_goes_by_client():
    origins, front = fronted([1, 1, 1], "hash\nhash_on = cookie:sid")
    homes(origins, front, from_address)


# --- backup --------------------------------------------------------------------------------------

def test_backup():
    """It is asked while the others refuse, with no error in between, and left alone again."""
    first, second, backup = Origin(), Origin(), Origin()
    lines = f"server = {backup.address[0]}:{backup.address[1]} backup=yes\nkeepalive = 0"
    with Front(first.address, second.address, backend=lines) as front:
        with Client(front.address) as client:
            def ask(count):
                for i in range(count):
                    equal(client.ask("GET", f"/{i}").status, 200, "status")
            ask(20)
            equal(backup.request_count(), 0, "requests at the backup")
            first.refuse()
            ask(20)
            equal(backup.request_count(), 0, "requests at the backup, one of two away")
            second.refuse()
            ask(20)
            equal(backup.request_count(), 20, "requests at the backup, both away")
            first.listen()
            before = first.request_count()
            until(lambda: ask(1) or first.request_count() > before, "the first one is asked again")
            there = backup.request_count()
            ask(20)
            equal(backup.request_count(), there, "requests at the backup, one is back")
