"""Who is measured by bench/run, and before what: proxies with configurations of their own for each
row, the relays that are the floor, and the origin behind them."""
import contextlib
import json
import os
import pwd
import re
import shutil
import subprocess

import rig
from rig import fail

ORIGIN_PORT, BIG_PORT = 19101, 19106
PEER_PORT = 19110           # each has two: plain, and TLS behind it
PEERS_MAX = 10
BIG_BYTES = 1 << 30
FRESH_CONNECTIONS = 2000
DESCRIPTORS = 19000         # that a proxy needs for 9,000 clients and their servers

# A peer's name is the program's, and the variants that it runs in: nginx+log.
PROGRAMS = {'gyre': 'gyre', 'nginx': 'nginx', 'haproxy': 'HAProxy', 'relay': 'relay, io_uring',
            'epoll': 'relay, epoll'}
PROXIES = ('gyre', 'nginx', 'haproxy')
OPENSSL_CONF = os.path.join(rig.HERE, 'peers', 'run.openssl.cnf')
FILES = {'gyre': 'run.gyre.ini', 'nginx': 'run.nginx.conf', 'haproxy': 'run.haproxy.cfg'}
VARIANTS = {'stream': 'streamed both ways (mode = async)', 'log': 'access log on',
            'two': 'two workers', 'unix': 'unix sockets upstream', 'rsa': 'RSA 2048'}
BASE = {
    'gyre': {'WORKERS': '1', 'ACCESS_LOG': 'off', 'SERVER': f'127.0.0.1:{ORIGIN_PORT}',
             'PEM': 'p256.pem', 'MODE': 'sync'},
    'nginx': {'WORKERS': '1', 'ACCESS_LOG': 'off', 'SERVER': f'127.0.0.1:{ORIGIN_PORT}',
              'PEM': 'p256.pem', 'REQUEST_BUFFERING': 'on', 'TEMP_FILE': '1024m',
              'BUFFER': '32k', 'MULTI_ACCEPT': 'on'},
    'haproxy': {'WORKERS': '1', 'ACCESS_LOG': '# no log', 'SERVER': f'127.0.0.1:{ORIGIN_PORT}',
                'PEM': 'p256.pem', 'LOW_LATENCY': 'off', 'BUFFER': '16384'},
}
SUITED = {      # to what a row is about, where a peer's documentation has another word for it
    ('nginx', 'memory'): {'BUFFER': '4k'},
    ('nginx', 'latency'): {'MULTI_ACCEPT': 'off'},
    ('haproxy', 'latency'): {'LOW_LATENCY': 'on'},
    ('haproxy', 'bulk'): {'BUFFER': '65536'},
}
CHANGES = {
    ('gyre', 'stream'): {'MODE': 'async'},
    ('gyre', 'log'): {'ACCESS_LOG': './access.log'},
    ('gyre', 'two'): {'WORKERS': '2'},
    ('gyre', 'unix'): {'SERVER': 'unix:../origin.sock'},
    ('gyre', 'rsa'): {'PEM': 'rsa.pem'},
    ('nginx', 'stream'): {'REQUEST_BUFFERING': 'off', 'TEMP_FILE': '0'},
    ('nginx', 'log'): {'ACCESS_LOG': 'access.log combined buffer=64k flush=1s'},
    ('nginx', 'two'): {'WORKERS': '2'},
    ('nginx', 'unix'): {'SERVER': 'unix:../origin.sock'},
    ('nginx', 'rsa'): {'PEM': 'rsa.pem'},
    ('haproxy', 'log'): {'ACCESS_LOG': 'log stdout format raw local0\n    option httplog'},
    ('haproxy', 'two'): {'WORKERS': '2'},
    ('haproxy', 'unix'): {'SERVER': 'unix@../origin.sock'},
    ('haproxy', 'rsa'): {'PEM': 'rsa.pem'},
}


def program(peer):
    return peer.partition('+')[0]


def variants(peer):
    return peer.split('+')[1:]


def said(peer):
    more = ', '.join(VARIANTS[variant] for variant in variants(peer))
    return PROGRAMS[program(peer)] + (f' ({more})' if more else '')


def cores(peer):
    both = 'two' in variants(peer)
    return {rig.PROXY_CORE, rig.CLIENT_CORE} if both else {rig.PROXY_CORE}


def binary(name, build):
    """gyre is what was built; the others are the packages', or what NAME_BIN says."""
    return (os.path.join(build, 'gyre') if name == 'gyre' else
            os.environ.get(f'{name.upper()}_BIN') or name)


# --- Certificates ---------------------------------------------------------------------------------

def certificate(path, *key):
    """A self-signed one, and its key, in one file."""
    for argv in (['openssl', 'genpkey', *key, '-out', path],
                 ['openssl', 'req', '-x509', '-new', '-key', path, '-subj', '/CN=bench.test',
                  '-days', '30', '-out', f'{path}.crt']):
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode != 0:
            fail(f'no certificate: {done.stderr}')
    with open(path, 'a') as pem, open(f'{path}.crt') as crt:
        pem.write(crt.read())


def certificates(folder):
    certificate(os.path.join(folder, 'p256.pem'), '-algorithm', 'EC', '-pkeyopt',
                'ec_paramgen_curve:P-256')
    certificate(os.path.join(folder, 'rsa.pem'), '-algorithm', 'RSA', '-pkeyopt',
                'rsa_keygen_bits:2048')


# --- One stage: an origin, and all peers of a row before it ---------------------------------------

class Peer:
    def __init__(self, name, nth, kind):
        self.name, self.program, self.kind = name, program(name), kind
        self.port, self.tls_port = PEER_PORT + 2 * nth, PEER_PORT + 2 * nth + 1
        self.cores = cores(name)
        self.config, self.process = None, None

    def address(self, tls):
        return f'127.0.0.1:{self.tls_port if tls else self.port}'


class Stage:
    """What stands while a row is measured; end() it."""
    def __init__(self, row, args, fresh=False):
        self.args, self.processes, self.servers = args, [], []
        self.capacity, self.rate = None, 0      # for latency: what each comes to, and what is asked
        self.peers = {name: Peer(name, nth, row.kind) for nth, name in enumerate(row.peers)}
        self.ahead = row.how == 'latency'       # what else the machine does is not to be measured
        # Who takes all of a core at real-time priority is stopped for 50 ms of each second.
        self.proxy_ahead = self.ahead and not row.downloads
        self.fresh = fresh or row.how == 'memory' or row.connections > FRESH_CONNECTIONS
        self.origins(row)
        for peer in () if self.fresh else self.peers.values():
            self.begin(peer)

    def start(self, *args, **more):
        process = rig.start(*args, **more)
        self.processes.append(process)
        return process

    def origins(self, row):
        bench, folder = self.args.bench, self.args.folder
        tool = os.path.join(bench, 'gyre-origin')
        wanted = {f'127.0.0.1:{ORIGIN_PORT}': ORIGIN_PORT}
        if any('unix' in variants(peer) for peer in row.peers):
            wanted['unix:origin.sock'] = os.path.join(folder, 'origin.sock')
        for nth, (bind, where) in enumerate(wanted.items()):
            self.servers.append(
                self.start(f'origin{nth}', [tool, '--bind', bind, *row.origin], where, folder,
                           core=rig.CLIENT_CORE, ahead=self.ahead))
        if row.downloads:
            self.start('big', [tool, '--bind', f'127.0.0.1:{BIG_PORT}', '--bytes', str(BIG_BYTES)],
                       BIG_PORT, folder, core=rig.CLIENT_CORE)

    def begin(self, peer):
        """In a folder of its own, as nginx wants one."""
        folder = os.path.join(self.args.folder, peer.name)
        os.makedirs(folder, exist_ok=True)
        if peer.program in FILES:
            for pem in ('p256.pem', 'rsa.pem'):
                shutil.copy(os.path.join(self.args.folder, pem), folder)
            peer.config = configured(peer)
            with open(os.path.join(folder, FILES[peer.program]), 'w') as f:
                f.write(peer.config)
        environment = {'OPENSSL_CONF': OPENSSL_CONF} if peer.program == 'haproxy' else None
        argv = command(peer, folder, self.args)
        peer.config = told(peer, argv)
        peer.process = self.start(peer.name, argv, peer.port, folder, core=peer.cores,
                                  ahead=self.proxy_ahead, environment=environment)

    @contextlib.contextmanager
    def peer(self, peer):
        """Sees to it that a peer runs: a fresh one, where it would hold memory, or thousands of
        the origin's connections, while it is the others' turn."""
        if self.fresh:
            self.begin(peer)
        try:
            yield peer
        finally:
            if self.fresh:
                rig.stop(peer.process)
                self.processes.remove(peer.process)

    def end(self):
        for process in reversed(self.processes):
            rig.stop(process)
        for peer in self.peers:     # a log that was measured is of no more use, and large
            for name in ('access.log', f'{peer}.log'):
                path = os.path.join(self.args.folder, peer, name)
                if 'log' in variants(peer) and os.path.exists(path):
                    os.unlink(path)


def configured(peer):
    values = {**BASE[peer.program], **SUITED.get((peer.program, peer.kind), {}),
              'PORT': str(peer.port), 'TLS_PORT': str(peer.tls_port)}
    for variant in variants(peer.name):
        values.update(CHANGES[peer.program, variant])
    with open(os.path.join(rig.HERE, 'peers', FILES[peer.program])) as f:
        return re.sub('@([A-Z_]+)@', lambda match: values[match[1]], f.read())


def told(peer, argv):
    """Everything that a process was told: its configuration, OpenSSL's, and its command line."""
    lines = [f'# {" ".join(argv)}', *([peer.config] if peer.config else [])]
    if peer.program == 'haproxy':
        with open(OPENSSL_CONF) as f:
            lines += [f'# OPENSSL_CONF={OPENSSL_CONF}', f.read()]
    return '\n'.join(lines)


def command(peer, folder, args):
    us = ['-g', f'user {pwd.getpwuid(os.getuid()).pw_name};'] if os.geteuid() == 0 else []
    to = ('unix:../origin.sock' if 'unix' in variants(peer.name) else
          f'127.0.0.1:{ORIGIN_PORT}')
    relay = ['--bind', f'127.0.0.1:{peer.port}', '--to', to]
    name = binary(peer.program, args.build)
    return {'gyre': [name, '-c', FILES['gyre']],
            'nginx': [name, '-p', folder, '-e', 'stderr', *us, '-c',
                      os.path.join(folder, FILES['nginx'])],
            'haproxy': [name, '-db', '-f', FILES['haproxy']],
            'relay': [os.path.join(args.bench, 'gyre-relay'), *relay],
            'epoll': [os.path.join(args.bench, 'gyre-relay-epoll'), *relay]}[peer.program]


def check_ports():
    for port in (ORIGIN_PORT, BIG_PORT, *range(PEER_PORT, PEER_PORT + 2 * PEERS_MAX)):
        rig.check_port_is_free(port)


# --- What they are --------------------------------------------------------------------------------

def output(*argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True)
    except OSError as error:
        fail(f'{argv[0]}: {error.strerror}')
    return (done.stdout + done.stderr).strip()


def versions(build):
    """name -> what it says of itself, and the TLS library that it is run with."""
    found = {}
    for name, flag in (('gyre', '--version'), ('nginx', '-v'), ('haproxy', '-v')):
        path = shutil.which(binary(name, build)) or fail(f'no {binary(name, build)}')
        library = re.search(r'libssl\S* => (\S+)', output('ldd', path))
        found[name] = {'version': output(path, flag).partition('\n')[0],
                       'path': os.path.relpath(path, rig.ROOT) if name == 'gyre' else path,
                       'libssl': os.path.realpath(library[1]) if library else 'its own'}
    commit = subprocess.run(['git', '-C', rig.ROOT, 'describe', '--always', '--dirty'],
                            capture_output=True, text=True)
    if commit.returncode == 0:
        found['gyre']['version'] += f' ({commit.stdout.strip()})'
    return found


def built(build):
    """The compiler and the flags of gyre, without warnings and names; and what it is linked with
    beside the TLS library, under the versions that it was built against."""
    with open(os.path.join(build, 'compile_commands.json')) as f:
        command = next(one['command'] for one in json.load(f)
                       if one['file'] == os.path.join(rig.ROOT, 'proxy', 'main.c'))
    with open(os.path.join(build, 'CMakeCache.txt')) as f:
        cache = dict(re.findall(r'^(\w+):\w+=(.*)$', f.read(), re.MULTILINE))
    flags = re.findall(r'(?<= )-(?:[Ofgm]|std=|U|D_FORTIFY)\S*', command)
    linked = output('ldd', os.path.join(build, 'gyre'))
    libraries = {}
    for name in ('liburing', 'libllhttp'):
        path = re.search(rf'{name}\S* => (\S+)', linked)
        libraries[name] = {'version': cache.get(f'{name.removeprefix("lib").upper()}_VERSION', '?'),
                           'path': os.path.realpath(path[1]) if path else 'its own'}
    return {'compiler': output(cache['CMAKE_C_COMPILER'], '--version').partition('\n')[0],
            'flags': ' '.join(flag for flag in flags if not flag.startswith('-ffile-prefix')),
            'libraries': libraries}


def machine():
    with open('/proc/cpuinfo') as f:
        model = re.search(r'model name\s*: (.*)', f.read())
    with open('/proc/meminfo') as f:
        memory_kb = int(re.search(r'MemTotal:\s*(\d+)', f.read())[1])
    with open('/proc/sys/net/ipv4/tcp_congestion_control') as f:
        congestion = f.read().strip()
    return {'cpu': model[1] if model else os.uname().machine, 'cores': os.cpu_count(),
            'memory_gib': round(memory_kb / (1 << 20), 1), 'kernel': os.uname().release,
            'congestion_control': congestion, 'openssl': output('openssl', 'version')}
