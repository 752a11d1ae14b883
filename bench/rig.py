"""What the benchmarks share: building, processes on their cores, and the kernel's accounts."""
import atexit
import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PROXY_CORE, CLIENT_CORE = 0, 1
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def fail(message):
    print(f'bench: {message}', file=sys.stderr)
    sys.exit(2)


def begin():
    """Checks the machine, and sees to it that signals end us the way that an error does."""
    if (os.cpu_count() or 1) < 2:
        fail('two cores are needed: one for the proxy, one for the clients and the origin')
    os.environ['PATH'] += ':/usr/sbin'      # where Debian has nginx and HAProxy
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))


def build(folder, *targets):
    subprocess.run([os.path.join(ROOT, 'packaging/deps'), 'bench'], check=True)
    subprocess.run(['cmake', '-S', ROOT, '-B', folder, '-DCMAKE_BUILD_TYPE=RelWithDebInfo'],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run(['cmake', '--build', folder, '-j2', '--target', *targets],
                   check=True, stdout=subprocess.DEVNULL)


# --- Processes ------------------------------------------------------------------------------------

def on_core(core, ahead=False, nice=0):
    """For preexec_fn. The child ends with us. core: its number, or several. ahead: it runs before
    all others of its core, where we may ask for that (it is to wait for events most of the time).
    """
    def prepare():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        os.sched_setaffinity(0, {core} if isinstance(core, int) else core)
        if nice != 0:
            os.nice(nice)
            os.setsid()     # the kernel weighs sessions first, and processes inside of one then
            with open('/proc/self/autogroup', 'w') as f:
                f.write(str(nice))
        if ahead:
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            except PermissionError:
                pass    # what is late for want of it tells so itself
    return prepare


def is_ahead(pid):
    return os.sched_getscheduler(pid) == os.SCHED_FIFO


def listens(where):
    """where: a port of 127.0.0.1, or the path of a unix socket."""
    unix = isinstance(where, str)
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as s:
        s.settimeout(1)
        return s.connect_ex(where if unix else ('127.0.0.1', where)) == 0


def start(name, argv, where, folder, core=PROXY_CORE, ahead=False, nice=0, environment=None):
    """Starts argv on its core, and waits until it listens there: see listens()."""
    log = open(os.path.join(folder, f'{name}.log'), 'wb')
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
                               preexec_fn=on_core(core, ahead, nice),
                               env={**os.environ, **(environment or {})})
    log.close()
    atexit.register(stop, process)
    for _ in range(500):
        if process.poll() is not None:
            fail(f'{name} has ended with {process.returncode}: see {log.name}')
        if listens(where):
            return process
        time.sleep(0.01)
    fail(f'{name} does not listen at {where}: see {log.name}')


class Tool:
    """A load generator: says ready, then, at its end, one JSON object. gyre-load waits for go()
    in between. program: another one than gyre-NAME."""
    def __init__(self, name, argv, bench, ahead=False, nice=0, core=CLIENT_CORE, program=None):
        self.name = name
        self.log = open(os.path.join(bench, f'{name}.log'), 'ab')
        self.process = subprocess.Popen(
            [*(program or [os.path.join(bench, f'gyre-{name}')]), *argv], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log, preexec_fn=on_core(core, ahead, nice))

    def ready(self, seconds):
        """False where it has ended, or takes longer."""
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return False
        return self.process.stdout.readline() == b'ready\n'

    def go(self):
        self.process.stdin.write(b'\n')
        self.process.stdin.flush()

    def result(self, seconds):
        try:
            out, _ = self.process.communicate(timeout=seconds)
            return json.loads(out.decode().removeprefix('ready\n'))
        except (subprocess.TimeoutExpired, ValueError):
            return None

    def end(self):
        stop(self.process)
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()


def stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def port_is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(('127.0.0.1', port))
        except OSError:
            return False
    return True


def wait_for_port(port):
    """The kernel takes a ring down some time after its process has ended, and its listeners."""
    for _ in range(500):
        if port_is_free(port):
            return
        time.sleep(0.01)
    check_port_is_free(port)


def check_port_is_free(port):
    if not port_is_free(port):
        fail(f'port {port} of 127.0.0.1 is needed')


# --- The kernel's accounts ------------------------------------------------------------------------

def family(pid):
    """pid and all that descend from it."""
    children = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open(f'/proc/{entry}/stat') as f:
                    parent = int(f.read().rpartition(')')[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def threads_ns(pid):
    """Time on the CPU of every thread of a process (io_uring's own are among them)."""
    found = {}
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/schedstat') as f:
            found[int(thread)] = int(f.read().split()[0])
    return found


def waited_ns(pid):
    """Time that the threads of a process were ready to run, and others had their core."""
    total = 0
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/schedstat') as f:
            total += int(f.read().split()[1])
    return total


def softirq_pids(cores=(PROXY_CORE,)):
    """The threads that the kernel has for the network's work; a container has none of them."""
    wanted, found = {f'ksoftirqd/{core}' for core in cores}, []
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open(f'/proc/{entry}/comm') as f:
                    if f.read().strip() in wanted:
                        found.append(int(entry))
            except FileNotFoundError:
                continue
    return found


def core_busy_ns(core=PROXY_CORE):
    """All that a core did, in the kernel's ticks of 10 ms; what a hypervisor stole included."""
    tick = 1_000_000_000 // os.sysconf('SC_CLK_TCK')
    with open('/proc/stat') as f:
        for line in f:
            field = line.split()
            if field[0] == f'cpu{core}':
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, field[1:9])
                return (user + nice + system + irq + softirq + steal) * tick
    return 0


def children_ns():
    """Time on the CPU of all our children that have ended, over all of their lives."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((used.ru_utime + used.ru_stime) * 1e9)


class Accounts:
    """What a proxy, the kernel for it, and others took of its cores since this was made. own:
    processes of ours that share these cores, and are no others; they may end meanwhile."""
    def __init__(self, pid, softirqs, cores=(PROXY_CORE,), own=()):
        self.pids, self.softirqs, self.cores, self.own = family(pid), softirqs, cores, own
        self.before = self.now()

    def own_ns(self):
        """Whoever ends goes over to the children that have."""
        alive = [pid for pid in self.own if os.path.exists(f'/proc/{pid}/task')]
        return children_ns() + sum(sum(threads_ns(pid).values()) for pid in alive)

    def now(self):
        threads = {}
        for pid in self.pids:
            threads.update(threads_ns(pid))
        soft = sum(sum(threads_ns(pid).values()) for pid in self.softirqs)
        own = self.own_ns() if self.own else 0
        waited = sum(waited_ns(pid) for pid in self.pids)
        return (time.monotonic_ns(), threads, soft, own, waited,
                sum(core_busy_ns(core) for core in self.cores))

    def taken(self):
        """busy, foreign: of the time that its cores had. waited: of the time that passed."""
        (began, had, *before), (ended, has, *now) = self.before, self.now()
        soft, own, waited, core = (after - so_far for so_far, after in zip(before, now))
        wall = ended - began
        time_of_cores = wall * len(self.cores)
        each = [ns - had.get(thread, 0) for thread, ns in has.items()]
        proxy = sum(each)
        return {'wall_s': wall / 1e9, 'proxy_s': proxy / 1e9, 'softirq_s': soft / 1e9,
                'busy': (proxy + soft) / time_of_cores,
                'waited': waited / wall,
                'foreign': max(0, core - proxy - soft - own) / time_of_cores,
                'threads_s': sorted((ns / 1e9 for ns in each if ns > 0), reverse=True)}


def pss_bytes(pid):
    """Memory of a process and all its children, what they share divided among them."""
    total = 0
    for one in family(pid):
        with open(f'/proc/{one}/smaps_rollup') as f:
            total += sum(int(line.split()[1]) * 1024 for line in f if line.startswith('Pss:'))
    return total


def descriptors(pid):
    return sum(len(os.listdir(f'/proc/{one}/fd')) for one in family(pid))
