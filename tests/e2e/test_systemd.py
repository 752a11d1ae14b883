"""As a service: sockets from systemd, notifications, an unprivileged user, unix sockets."""
import os
import pwd
import re
import resource
import signal
import socket

import harness
from harness import Gyre, address_text, check, equal, free_address, path, until
from wire import Client, Origin

# systemd sets LISTEN_PID to the pid of the program that it runs.
WITH_PID = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]


def ini_for(*binds, glob="", listener=""):
    return (f"[global]\nworkers = 2\n{glob}\n[listener web]\nbind = {', '.join(binds)}\n"
            f"backend = app\n{listener}\n"
            f"[backend app]\nserver = {address_text(Origin().address)}\n")


def bound(address):
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.bind(address)
    sock.listen(64)
    return sock


def at_three(*sockets):
    """Called in the child: the sockets become 3, 4, ...; returns what Popen needs."""
    numbers = [s.fileno() for s in sockets]

    def place():
        kept = [os.dup2(n, 100 + i) for i, n in enumerate(numbers)]
        for i, n in enumerate(kept):
            os.dup2(n, 3 + i, inheritable=True)
    return {"preexec": place, "pass_fds": [3 + i for i in range(len(sockets))]}


def test_passed_sockets():
    """TCP, unix, and one that gyre binds itself."""
    tcp, unix, own = free_address(), path("passed.sock"), free_address()
    sockets = [bound(tcp), bound(unix)]
    gyre = Gyre(ini_for(address_text(tcp), address_text(unix), address_text(own)), wrap=WITH_PID,
                env={"LISTEN_FDS": "2"}, **at_three(*sockets))
    check("passed by systemd" in gyre.errors(), gyre.errors())
    for sock in sockets:
        sock.close()
    for address in (tcp, unix, own):
        for _ in range(6):
            with Client(address) as client:
                equal(client.ask().status, 200, f"status at {address}")
    gyre.stop()
    check(os.path.exists(unix), "a socket file that is not gyre's was removed")


def test_passed_and_not_named():
    used, other = free_address(), free_address()
    sockets = [bound(used), bound(other)]
    with Gyre(ini_for(address_text(used)), wrap=WITH_PID, env={"LISTEN_FDS": "2"},
              expect=[f"{other[1]}.*belongs to no listener"], **at_three(*sockets)):
        with Client(used) as client:
            equal(client.ask().status, 200, "status")
    for sock in sockets:
        sock.close()


def test_variables_for_somebody_else():
    """LISTEN_PID of another process: they are not gyre's."""
    address = free_address()
    with Gyre(ini_for(address_text(address)), env={"LISTEN_FDS": "1", "LISTEN_PID": "1"}):
        with Client(address) as client:
            equal(client.ask().status, 200, "status")


def test_notifications_and_watchdog():
    address = free_address()
    gyre = Gyre(ini_for(address_text(address)), env={"WATCHDOG_USEC": "300000"})
    gyre.wait_told("WATCHDOG=1")
    check(any(w.startswith("STATUS=") for w in gyre.told), gyre.told)

    def feeds():
        gyre.hear(1)
        return gyre.told.count("WATCHDOG=1") >= 4
    until(feeds, "the watchdog to be fed")
    gyre.process.send_signal(signal.SIGTERM)
    gyre.wait_told("STOPPING=1")
    gyre.wait_exit()
    gyre.judge(0)


def test_watchdog_is_not_fed_when_a_worker_hangs():
    """A worker that is held still is told by silence."""
    address = free_address()
    gyre = Gyre(ini_for(address_text(address)), env={"WATCHDOG_USEC": "300000"})
    gyre.wait_told("WATCHDOG=1")
    gyre.process.send_signal(signal.SIGSTOP)
    while gyre.hear(0.05) and harness.wait_readable([gyre.notify], 0.3):
        pass
    gyre.process.send_signal(signal.SIGCONT)
    count = gyre.told.count("WATCHDOG=1")
    until(lambda: gyre.hear(1) and gyre.told.count("WATCHDOG=1") > count, "it to be fed again")


def test_without_a_service_manager():
    address = free_address()
    gyre = Gyre(ini_for(address_text(address)), env={"NOTIFY_SOCKET": "", "JOURNAL_STREAM": ""},
                wait_ready=False)
    gyre.wait_errors("gyre: .*ready")
    with Client(address) as client:
        equal(client.ask().status, 200, "status")
    client.close()
    gyre.process.send_signal(signal.SIGTERM)
    equal(gyre.wait_exit(), 0, "exit code")
    for line in gyre.errors().splitlines():
        check(line.startswith("gyre: "), "a line without its sender:", line)


def test_unix_listeners():
    """A stale file is replaced; one that is in use, or no socket, is not."""
    sock = path("front.sock")
    bound(sock).close()
    check(os.path.exists(sock), "no stale file")
    with Gyre(ini_for(address_text(sock))):
        with Client(sock) as client:
            equal(client.ask().status, 200, "status")
        rc, _, err = harness.run_gyre("--bind", "unix:" + sock, "--backend", "127.0.0.1:1")
        equal(rc, 1, "exit code of the second")
        check(sock in err and "in use" in err, err)
        with Client(sock) as client:
            equal(client.ask().status, 200, "status of the first")
    harness.write("precious", "data")
    rc, _, err = harness.run_gyre("--bind", "unix:" + path("precious"), "--backend", "127.0.0.1:1")
    equal([rc, harness.read("precious")], [1, "data"], "a file that is no socket")
    rc, _, err = harness.run_gyre("--bind", "unix:" + path("no/such/folder.sock"), "--backend",
                                  "127.0.0.1:1")
    equal(rc, 1, "exit code without the folder")


def ids(pid):
    """Real, effective, saved and file system ids of every thread: users and groups."""
    found = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="utf-8") as file:
            text = file.read()
        found.add(tuple(re.findall(r"^(?:Uid|Gid):\s+(.*)$", text, re.M)))
    return found


def test_user():
    if os.geteuid() != 0:
        return "not root: nothing to drop here"
    user = pwd.getpwnam("nobody")
    address, log = free_address(), path("log/access.log")
    os.mkdir(path("log"), 0o777)
    os.chmod(path("log"), 0o777)
    with Gyre(ini_for(address_text(address), glob=f"user = nobody\naccess_log = {log}")) as gyre:
        wanted = tuple("\t".join([str(n)] * 4) for n in (user.pw_uid, user.pw_gid))
        equal(ids(gyre.pid), {wanted}, "ids")
        with open(f"/proc/{gyre.pid}/status", encoding="utf-8") as file:
            status = file.read()
        equal(re.search(r"CapEff:\s+(\w+)", status).group(1), "0" * 16, "capabilities")
        check(re.search(rf"Groups:\s+{user.pw_gid}? *$", status, re.M), "groups of root:", status)
        with Client(address) as client:
            equal(client.ask().status, 200, "status")
        until(lambda: "GET /" in harness.read("log/access.log"), "the log")
        os.rename(log, log + ".1")
        gyre.process.send_signal(signal.SIGUSR1)
        until(lambda: os.path.exists(log), "a new log of the user's own")
        equal(os.stat(log).st_uid, user.pw_uid, "owner of the log")
    check("running as root" not in gyre.errors(), gyre.errors())


def test_low_limit_of_descriptors():
    """The soft limit is raised to the hard one, and accepting pauses below it."""
    address = free_address()

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 200))
    # All come from one address; auto would refuse it half of what there is.
    ini = ini_for(address_text(address), listener="max_connections_per_client = 1000")
    with Gyre(ini, preexec=limit,
              expect=["not accepting for the moment"]) as gyre:
        with open(f"/proc/{gyre.pid}/limits", encoding="utf-8") as file:
            check(re.search(r"Max open files\s+200\s+200", file.read()), "the limit was not raised")
        waiting = {}
        for _ in range(250):
            client = Client(address)
            client.request()
            waiting[client.sock.fileno()] = client
        # Some are served, the others wait; as those go, all have their turn.
        while waiting:
            ready = harness.wait_readable(waiting, harness.WAIT_S)
            check(ready, f"{len(waiting)} clients never had their turn")
            for fd, _ in ready:
                client = waiting.pop(fd)
                equal(client.response().status, 200, "status")
                client.close()
