"""A client's requests stay at one server: real clients with cookies, and python-socketio."""
import asyncio
import os
import re

import socketio

import harness
import servers
from harness import Curl, Front, check, equal, path, run_gyre, within, write
from wire import Origin


def secret(name="secret", mode=0o600, size=32, byte="s"):
    made = write(name, byte * size)
    os.chmod(made, mode)
    return made


def cookie_front(*origins, backend="", **options):
    return Front(*[o.address for o in origins], glob=f"secret_file = {secret()}",
                 backend="sticky = cookie\nbalance = round_robin\n" + backend, **options)


# --- cookie --------------------------------------------------------------------------------------

def at_home(origins, ask):
    """Asks some more, and tells which one of them answers all of it."""
    before = [o.request_count() for o in origins]
    for _ in range(10):
        ask()
    answered = [o.request_count() - b for o, b in zip(origins, before)]
    check(sorted(answered) == [0] * (len(origins) - 1) + [10], "answers by server:", answered)
    return answered.index(10)


def test_a_client_that_keeps_cookies():
    """curl, as a browser does it; and what becomes of it when its server is away."""
    origins = [Origin() for _ in range(3)]
    with cookie_front(*origins, workers=2, backend="keepalive = 0") as front:
        jar = path("jar")

        def ask():
            done = Curl("-c", jar, "-b", jar, "-b", "jar=1", front.url())
            equal(done.status, 200, "status")
        ask()
        home = at_home(origins, ask)
        kept = harness.read("jar")
        check("gyre_server" in kept and "#HttpOnly_" in kept, kept)
        for request in origins[home].requests:
            check("gyre_server" not in str(request.fields), request.fields)
        origins[home].refuse()
        ask()
        second = at_home(origins, ask)
        check(second != home and harness.read("jar") != kept, "moved from", home, "to", second)
        origins[home].listen()


def test_secure_over_tls():
    with cookie_front(Origin(), tls=True) as front:
        done = Curl("-k", "-D", path("head"), front.url(scheme="https"))
        equal(done.status, 200, "status")
        head = harness.read("head")
        check(re.search(r"^Set-Cookie: gyre_server=[A-Za-z0-9_-]{24}; Path=/; HttpOnly; "
                        r"SameSite=Lax; Secure\r?$", head, re.M), head)
        check("Cache-Control: private" in head, head)


def test_two_gyres_and_a_restart():
    """The same secret, the servers in another order; then another secret."""
    origins = [Origin() for _ in range(4)]
    jar = path("jar")

    def home_at(front):
        return at_home(origins, lambda: Curl("-c", jar, "-b", jar, front.url()))
    with cookie_front(*origins) as front:
        Curl("-c", jar, front.url())
        home = home_at(front)
    with cookie_front(*reversed(origins)) as front:
        equal(home_at(front), home, "home at the second gyre")
        kept = harness.read("jar")
    other = f"secret_file = {secret('other', byte='o')}"
    with Front(*[o.address for o in origins], glob=other, backend="sticky = cookie") as front:
        Curl("-c", jar, "-b", jar, front.url())
        check(harness.read("jar") != kept, "a cookie of another secret was believed")


def test_wrong_secrets():
    for name, made, why in (
            ("short", secret("short", size=31), "it is too short: at least 32 bytes are needed"),
            ("long", secret("long", size=4097), "it is too long"),
            ("open", secret("open", mode=0o644), "everybody may read or write it; chmod 600 it"),
            ("gone", path("nowhere"), "No such file or directory"),
            ("folder", harness.path("."), "it is no regular file")):
        ini = write(name + ".ini", f"[global]\nsecret_file = {made}\n[listener web]\n"
                    "bind = 127.0.0.1:1\nbackend = app\n[backend app]\nserver = 127.0.0.1:2\n"
                    "sticky = cookie\n")
        rc, out, err = run_gyre("--check", "-c", ini)
        equal([rc, out], [1, ""], name)
        check(f"{ini}:2: secret_file = {made}: {why}" in err, name, "said", err)
    for size in (32, 4096):
        ini = write("good.ini", f"[global]\nsecret_file = {secret('good', size=size)}\n"
                    "[listener web]\nbind = 127.0.0.1:1\nbackend = app\n[backend app]\n"
                    "server = 127.0.0.1:2\nsticky = cookie\n")
        equal(run_gyre("--check", "-c", ini)[0], 0, f"{size} bytes")


# --- socketio ------------------------------------------------------------------------------------

def socketio_servers(count):
    made = []
    for i in range(count):
        sock, process = servers.uvicorn(path("."), f"sio{i}", "socketio_app:app")
        harness.at_end(lambda process=process: servers.stop(process))
        made.append(sock)
    return made


async def talk(front, transports, ready, go_on):
    """One client: connects, talks, and is still connected when all others are done as well."""
    client = socketio.AsyncClient(reconnection=False)
    answers = set()
    try:
        await client.connect(front.url(), transports=transports, wait_timeout=harness.WAIT_S)
        for i in range(5):
            who, said = await client.call("echo", f"{i}", timeout=harness.WAIT_S)
            equal(said, f"{i}", "echo")
            answers.add(who)
        ready.release()
        await go_on.wait()
        answers.add((await client.call("echo", "still here", timeout=harness.WAIT_S))[0])
        return answers
    finally:
        await client.disconnect()


async def crowd(front, kinds):
    ready, go_on = asyncio.Semaphore(0), asyncio.Event()
    tasks = [asyncio.create_task(talk(front, kind, ready, go_on)) for kind in kinds]
    for _ in kinds:
        waiting = asyncio.create_task(ready.acquire())
        await asyncio.wait([waiting, *[t for t in tasks if not t.done()]],
                           return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()       # raises what went wrong
        await waiting
    go_on.set()
    return await asyncio.gather(*tasks)


@within(150)
def test_socketio():
    """100 clients behind one address, by polling, by WebSocket, and from the one to the other."""
    kinds = [["polling"]] * 40 + [["polling", "websocket"]] * 40 + [["websocket"]] * 20
    with Front(*socketio_servers(2), workers=2,
               backend="mode = async\nsticky = socketio\nkeepalive_timeout = 4s") as front:
        answers = asyncio.run(crowd(front, kinds))
        check(all(len(a) == 1 for a in answers), "a client heard of two servers:", answers)
        shares = sorted(sum(a == {who} for a in answers) for who in set.union(*answers))
        check(len(shares) == 2 and shares[0] >= 20, "clients by server:", shares)
    for i in range(2):
        said = servers.tail(path("."), f"sio{i}")
        check("Invalid session" not in said, said)
    return f"clients by server {shares}"


def test_without_it_sessions_break():
    """That the test above can fail: round robin sends a session's second request to another
    server, which knows nothing of it."""
    with Front(*socketio_servers(2), backend="mode = async\nbalance = round_robin") as front:
        target = "/socket.io/?EIO=4&transport=polling"
        opened = Curl(front.url(target))
        sid = re.search(rb'"sid":"([^"]+)"', opened.body).group(1).decode()
        done = Curl("--data", "40", front.url(f"{target}&sid={sid}"))
        equal([done.status, b"Invalid session" in done.body], [400, True], "the second request")
