"""What bench/run measures, a row each: the load, who takes it, and what is claimed of it."""
from dataclasses import dataclass, replace

PROXIES = ('gyre', 'nginx', 'haproxy')
BOTH_MODES = ('gyre', 'gyre+stream', 'nginx', 'haproxy')
LOGGED = ('gyre', 'gyre+log', 'nginx', 'nginx+log', 'haproxy', 'haproxy+log')
FLOORS = ('relay', 'epoll')

# figure: its unit, and what it is.
FIGURES = {
    'us': ('µs', 'CPU time per request'),
    'gib': ('s/GiB', 'CPU time per GiB of bodies'),
    'bytes': ('B', 'user memory (PSS) per connection'),
    'p999': ('µs', 'p99.9 of the latency'),
}


# --- Claims ---------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Claim:
    """value() of the figures of one cycle, peer -> figure, is to be at most must, and better aim.
    None: nothing was said."""
    words: str
    peers: tuple
    value: object
    must: float
    aim: float
    unit: str = ''


def ratio(ours, theirs, must, aim=None):
    return Claim(f'{ours} / {theirs}', (ours, theirs), lambda f: f[ours] / f[theirs], must, aim)


def above(ours, floor, must, aim):
    return Claim(f'{ours} − {floor}', (ours, floor), lambda f: f[ours] - f[floor], must, aim, 'µs')


def most(ours, must, aim, unit):
    return Claim(ours, (ours,), lambda f: f[ours], must, aim, unit)


def to_better(ours, must, aim):
    return Claim(f'{ours} / the better peer', PROXIES,
                 lambda f: f[ours] / min(f['nginx'], f['haproxy']), must, aim)


def added(variant, share, must, aim):
    """What a variant adds, less a share of what it adds to nginx. (No ratio: nginx's may be 0.)"""
    def value(f):
        ours, theirs = (f[f'{name}+{variant}'] - f[name] for name in ('gyre', 'nginx'))
        return ours - share * theirs
    times = '' if share == 1 else f'{share:g} × '
    return Claim(f'added to gyre − {times}added to nginx',
                 ('gyre', f'gyre+{variant}', 'nginx', f'nginx+{variant}'), value, must, aim, 'µs')


def beside(nginx, haproxy, ours='gyre'):
    """must and aim, to each of the two."""
    return (ratio(ours, 'nginx', *nginx), ratio(ours, 'haproxy', *haproxy))


# --- Rows -----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Row:
    name: str
    title: str
    peers: tuple = PROXIES
    how: str = 'load'           # gyre-load counts; memory: it holds; latency: gyre-steady asks
    figure: str = 'us'
    connections: int = 64
    tls: bool = False
    load: tuple = ()            # more arguments of gyre-load
    origin: tuple = ()          # of gyre-origin
    op_bytes: int = 0           # gib: of a request, or of its answer
    claims: tuple = ()
    quick: bool = False         # is measured by --quick too
    busy_min: float = 0.75      # of the time; a proxy that waits, wakes, and waking costs
    beside: str = ''            # latency: what else goes on

    @property
    def kind(self):
        """What its peers are suited to."""
        return 'bulk' if self.figure == 'gib' else self.how

    @property
    def downloads(self):
        """Whether proxies have downloads to move beside, which take all that is left of a core."""
        return self.beside.startswith('download')


KIB, MIB = 1 << 10, 1 << 20
GIB = 1 << 30


def gets(name, title, connections, **more):
    return Row(name, title, BOTH_MODES + FLOORS, connections=connections, **more)


def big(name, title, op_bytes, load, origin, claims=(), **more):
    return Row(name, title, ('gyre+stream', 'gyre', 'nginx+stream', 'nginx', 'haproxy', *FLOORS),
               figure='gib', connections=16, op_bytes=op_bytes, load=load, origin=origin,
               claims=claims, **more)


def tls(name, title, size, **more):
    return Row(name, title, tls=True, origin=('--bytes', str(size)), **more)


def late(name, what, **more):
    return Row(name, f'p99.9 of {what}', how='latency', figure='p999', **more)


ANSWERS = ('--bytes', str(MIB))
SHAKE = ('--kind', 'handshake')
# Where a client has more to do than a proxy, no proxy is busy all of the time. To wake is a
# hundredth of a handshake; of a connection it is more, but then who is busy least wakes most.
CLIENT_BOUND = 0.5


def send_tls(name, title, op_bytes):
    """A client encrypts what a proxy decrypts, and sends a record at a time."""
    return Row(name, title, ('gyre+stream', 'gyre', 'nginx+stream', 'nginx', 'haproxy'),
               figure='gib', connections=16, tls=True, op_bytes=op_bytes, busy_min=CLIENT_BOUND,
               load=('--send', str(op_bytes)), origin=('--takes', str(op_bytes)))


MANY = (*beside((0.62, 0.53), (0.46, 0.38)), above('gyre', 'relay', 2.5, 1.5))

ROWS = (
    gets('get-64', '1 KiB GET, 64 connections', 64, quick=True, claims=(
        *beside((0.72, 0.62), (0.55, 0.46)), above('gyre', 'relay', 1.5, 0.8),
        ratio('gyre', 'gyre+stream', 1.05, 1.02))),
    gets('get-8', '1 KiB GET, 8 connections', 8, busy_min=0.4),
    gets('get-512', '1 KiB GET, 512 connections', 512, quick=True, claims=MANY),
    gets('get-9000', '1 KiB GET, 9,000 connections', 9000, claims=MANY),
    gets('get-16k', '16 KiB GET', 64, origin=('--bytes', str(16 * KIB)), quick=True,
         claims=beside((0.76, 0.66), (0.56, 0.50))),
    big('get-1m', '1 MiB GET', MIB, (), ANSWERS, quick=True, claims=(
        ratio('gyre+stream', 'nginx+stream', 0.95, 0.55),
        ratio('gyre+stream', 'haproxy', 0.70, 0.45), ratio('gyre+stream', 'relay', None, 1.0))),

    tls('tls-1k', 'TLS 1.3, 1 KiB GET', KIB, peers=BOTH_MODES, quick=True,
        claims=beside((0.68, 0.60), (0.54, 0.54))),
    tls('tls-8', 'TLS 1.3, 1 KiB GET, 8 connections', KIB, connections=8, busy_min=0.4),
    tls('tls-512', 'TLS 1.3, 1 KiB GET, 512 connections', KIB, connections=512),
    tls('tls-9000', 'TLS 1.3, 1 KiB GET, 9,000 connections', KIB, connections=9000),
    tls('tls-16k', 'TLS 1.3, 16 KiB GET', 16 * KIB, quick=True,
        claims=beside((0.72, 0.63), (0.62, 0.62))),
    Row('tls-1m', 'TLS 1.3, 1 MiB GET', ('gyre+stream', 'gyre', 'nginx+stream', 'haproxy'),
        figure='gib', connections=16, tls=True, op_bytes=MIB, origin=ANSWERS, quick=True,
        claims=(ratio('gyre+stream', 'nginx+stream', 1.0, 0.85),
                ratio('gyre+stream', 'haproxy', 0.75, 0.62))),
    send_tls('tls-send-64k', 'TLS 1.3, 64 KiB upload', 64 * KIB),
    send_tls('tls-send-1m', 'TLS 1.3, 1 MiB upload', MIB),
    Row('full-p256', 'full handshake, P-256', tls=True, load=SHAKE, quick=True,
        busy_min=CLIENT_BOUND, claims=beside((1.0, 0.93), (0.88, None))),
    Row('full-rsa', 'full handshake', ('gyre+rsa', 'nginx+rsa', 'haproxy+rsa'), tls=True,
        load=SHAKE),
    Row('resumed', 'resumed handshake, P-256', tls=True, load=(*SHAKE, '--resume')),
    Row('resumed-rsa', 'resumed handshake', ('gyre+rsa', 'nginx+rsa', 'haproxy+rsa'), tls=True,
        load=(*SHAKE, '--resume')),
    Row('connect', 'a new connection per request', BOTH_MODES, load=('--kind', 'connect'),
        quick=True, busy_min=CLIENT_BOUND, claims=beside((0.88, 0.80), (0.80, None))),
    Row('connect-tls', 'a new connection per request, TLS, resumed', tls=True,
        load=('--kind', 'connect', '--resume')),

    Row('log', '1 KiB GET', LOGGED,
        claims=(added('log', 1, 0, None), added('log', 0.5, None, 0))),
    Row('log-tls', 'TLS 1.3, 1 KiB GET', LOGGED, tls=True),
    Row('message', '64 B WebSocket message, 1,000 tunnels', (*BOTH_MODES, *FLOORS),
        connections=1000, load=('--kind', 'message'), origin=('--message',), quick=True, claims=(
            *beside((0.97, 0.90), (0.80, None)), ratio('gyre', 'relay', None, 1.0))),
    Row('message-tls', '64 B WebSocket message, 1,000 tunnels, TLS', connections=1000, tls=True,
        load=('--kind', 'message'), origin=('--message',)),
    big('send-64k', '64 KiB upload', 64 * KIB, ('--send', str(64 * KIB)),
        ('--takes', str(64 * KIB))),
    big('send-1m', '1 MiB upload', MIB, ('--send', str(MIB)), ('--takes', str(MIB))),

    Row('idle', 'idle keep-alive connection', PROXIES, 'memory', figure='bytes', connections=9000,
        quick=True, claims=(most('gyre', 700, 450, 'B'),)),
    # What the keys were exchanged with stays with the connection, in OpenSSL: 4 kB of it for P-256.
    # X25519 is what clients offer first.
    Row('idle-tls', 'idle keep-alive connection, TLS, X25519', PROXIES, 'memory', figure='bytes',
        tls=True, connections=9000, load=('--group', 'X25519'), quick=True,
        claims=(most('gyre', 15500, 14000, 'B'),)),
    Row('idle-p256', 'idle keep-alive connection, TLS, P-256', PROXIES, 'memory', figure='bytes',
        tls=True, connections=9000),
    Row('tunnel', 'idle tunnel', PROXIES, 'memory', figure='bytes', connections=9000,
        load=('--kind', 'message'), origin=('--message',)),
    Row('tunnel-tls', 'idle tunnel, TLS', PROXIES, 'memory', figure='bytes', tls=True,
        connections=9000, load=('--kind', 'message'), origin=('--message',)),
    Row('unix', '1 KiB GET', ('gyre+unix', 'nginx+unix', 'haproxy+unix', 'relay+unix',
                              'epoll+unix')),
    Row('two', '1 KiB GET', ('gyre', 'gyre+two', 'nginx+two', 'haproxy+two'),
        claims=(ratio('gyre+two', 'gyre', 1.05, 1.0),)),

    Row('late', 'p99.9 at 70 % of the slowest\'s capacity', how='latency', figure='p999',
        quick=True, claims=(to_better('gyre', 1.0, 0.7),)),
    Row('late-storm', 'p99.9 over TLS, in a storm of handshakes', how='latency', figure='p999',
        tls=True, beside='storm', claims=(to_better('gyre', 1.0, 0.7),)),
    Row('late-download', 'p99.9 beside four 1 GiB downloads', how='latency',
        figure='p999', beside='download', claims=(to_better('gyre', 1.0, 0.7),)),
    Row('late-download-tls', 'p99.9 beside four 1 GiB downloads over TLS', how='latency',
        figure='p999', beside='download-tls'),
    Row('late-idle', 'p99.9 beside 9,000 idle connections', how='latency', figure='p999',
        beside='idle', claims=(to_better('gyre', 1.0, 0.7),)),
    late('late-16k', '16 KiB GET', origin=('--bytes', str(16 * KIB))),
    late('late-tls', 'TLS 1.3, 1 KiB GET', tls=True),
    late('late-log', '1 KiB GET', peers=tuple(f'{peer}+log' for peer in PROXIES)),
    late('late-512', '1 KiB GET, 512 connections', connections=512),
)


def claimed(row):
    """The row with those peers only of whom something is claimed."""
    named = {peer for claim in row.claims for peer in claim.peers}
    return replace(row, peers=tuple(peer for peer in row.peers if peer in named))
