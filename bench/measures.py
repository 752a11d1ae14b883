"""What a round of bench/run measures of one proxy: a function for each kind of row."""
import dataclasses
import time

import kernel_memory
import rig
import rows
import stands

FOREIGN_MAX = 0.05      # of a round, on the proxy's core, in anything else
WAITED_MAX = 0.02       # of a round, by a proxy that runs ahead of all others
LATE_P99_US_MAX = 250   # of the asking client: beyond these, and SHARE of the figure, it is the
AWAY_US_MAX = 3000      # client that is measured
SHARE = 0.05
LATE_S_MIN = 3          # p99.9 of a second is the 45th latest: mostly the machine's
CAPACITY_SHARE = 0.70
STEADY_WARMUP_MS = 300
IDLE_CONNECTIONS, DOWNLOADS, STORM_CONNECTIONS = 9000, 4, 64
LOAD_TOGETHER = 256     # that gyre-load has asking before it is ready
OWN_DESCRIPTORS = 100   # more than a proxy has without any connection
READY_S, RESULT_S = 90, 30      # what a generator may take beside its time


class Broken(Exception):
    """Why a round has no figure."""


# --- gyre-load ------------------------------------------------------------------------------------

def loader(row, peer, args, ms, more=None):
    """gyre-load, ready to go."""
    argv = ['--to', peer.address(row.tls), '--connections', str(row.connections), '--ms', str(ms),
            *(['--tls'] if row.tls else []), *(row.load if more is None else more)]
    tool = rig.Tool('load', argv, args.bench)
    if not tool.ready(READY_S):
        tool.end()
        raise Broken('its connections do not stand')
    return tool


def loaded(row, stage, peer, args, softirqs, ms):
    """What gyre-load counted, and what that took."""
    tool = loader(row, peer, args, ms)
    try:
        accounts = rig.Accounts(peer.process.pid, softirqs, peer.cores, ours(stage, peer, tool))
        tool.go()
        result = tool.result(ms / 1000 + RESULT_S)
        taken = accounts.taken()
    finally:
        tool.end()
    if result is None or result['done'] == 0:
        raise Broken('nothing was answered')
    return {'load': result, **taken, 'per_s': result['done'] / result['seconds']}


def ours(stage, peer, tool):
    """Who is to be there beside the proxy: clients and origin, where it has their core too."""
    shares = rig.CLIENT_CORE in peer.cores
    return [process.pid for process in (tool.process, *stage.servers)] if shares else []


def measure_load(row, stage, peer, args):
    """A fresh proxy is asked before it counts: its connections to the origin are kept ones then, as
    those of a proxy are that has run for a while."""
    if stage.fresh:
        loaded(row, stage, peer, args, [], int(args.seconds * 1000))
    one = loaded(row, stage, peer, args, rig.softirq_pids(peer.cores), int(args.seconds * 1000))
    cpu_s, done = one['proxy_s'] + one['softirq_s'], one['load']['done']
    one['figure'] = (cpu_s * rows.GIB / (done * row.op_bytes) if row.figure == 'gib' else
                     cpu_s * 1e6 / done)
    reasons = [f'{one["load"]["errors"]} errors'] if one['load']['errors'] else []
    if '--resume' in row.load and one['load']['resumed'] < done:
        reasons.append(f'{done - one["load"]["resumed"]} handshakes were not resumed')
    if 'two' in stands.variants(peer.name):
        most, second, *_ = *one['threads_s'], 0, 0
        one['imbalance'] = most / max(second, 0.001)
    elif one['busy'] < row.busy_min:    # two share their cores with those who keep them busy
        reasons.append(f'proxy busy for {one["busy"]:.0%} only')
    if one['foreign'] > FOREIGN_MAX:
        words = 'its core' if len(peer.cores) == 1 else 'both cores'
        reasons.append(f'others had {one["foreign"]:.0%} of {words}')
    return one, reasons


# --- Memory ---------------------------------------------------------------------------------------

def measure_memory(row, stage, peer, args):
    """One connection first, and then few at a time: what a proxy does once for all is no
    connection's, nor what it takes while many of them are busy."""
    pid, result = peer.process.pid, None
    first = loader(row, peer, args, 0, (*row.load, '--connections', '1'))
    try:
        before, kernel_before = rig.pss_bytes(pid), kernel_memory.caches()
        tool = loader(row, peer, args, 0, (*row.load, '--together', '8'))
        held, kernel_held = rig.pss_bytes(pid), kernel_memory.caches()
        tool.go()
        result = tool.result(RESULT_S)
        tool.end()
    finally:
        first.end()
    if result is None:
        raise Broken('gyre-load has no result')
    one = {'figure': (held - before) / row.connections, 'pss_before': before, 'pss_held': held,
           'load': result,
           **kernel_memory.per_connection(kernel_before, kernel_held, row.connections)}
    return one, [f'{result["errors"]} connections were lost'] if result['errors'] else []


# --- Latency --------------------------------------------------------------------------------------

def capacity(row, stage, args):
    """Requests a second that each peer comes to: the better of two rounds, as what disturbs one
    makes it less."""
    found = {}
    for peer in [*stage.peers.values()] * 2:
        one = loaded(row, stage, peer, args, rig.softirq_pids(), int(args.seconds * 500))
        found[peer.name] = max(one['per_s'], found.get(peer.name, 0))
    return found


def begin_beside(row, peer, args):
    """What goes on beside those whose latency is measured; None: nothing. A storm has what the
    proxy leaves of its core: on the clients' it would have nothing, and that for a while, as they
    are ahead of it. Downloads are of 1 GiB (stands.BIG_BYTES), one after the other on each
    connection, until the measurement ends."""
    limit = max(LATE_S_MIN, int(args.seconds)) + 120
    if row.beside == 'storm':
        tool = rig.Tool('mob', ['--to', peer.address(True), '--kind', 'handshake', '--connections',
                                str(STORM_CONNECTIONS), '--seconds', str(limit)],
                        args.bench, nice=19, core=rig.PROXY_CORE)
        if not tool.ready(READY_S):
            tool.end()
            raise Broken('there is no storm')
    elif row.downloads:
        row = dataclasses.replace(row, tls=row.beside == 'download-tls')
        tool = loader(row, peer, args, limit * 1000, ('--connections', str(DOWNLOADS), '--path',
                                                      '/big', '--first', '/'))
        tool.go()
    elif row.beside == 'idle':
        tool = loader(row, peer, args, 0, ('--connections', str(IDLE_CONNECTIONS)))
    else:
        tool = None
    return tool


def measure_latency(row, stage, peer, args):
    if stage.capacity is None:
        stage.capacity = capacity(row, stage, args)
        stage.rate = int(CAPACITY_SHARE * min(stage.capacity.values()))
    softirqs, seconds = rig.softirq_pids(), max(LATE_S_MIN, round(args.seconds))
    beside = begin_beside(row, peer, args)
    argv = ['--to', peer.address(row.tls), '--rate', str(stage.rate), '--connections',
            str(row.connections), '--seconds', str(seconds), '--warmup-ms',
            str(STEADY_WARMUP_MS), *(['--tls'] if row.tls else [])]
    steady = rig.Tool('steady', argv, args.bench, ahead=True)
    try:
        if not steady.ready(READY_S):
            raise Broken('the asking client could not connect')
        accounts = rig.Accounts(peer.process.pid, softirqs)
        found = steady.result(seconds + RESULT_S)
        taken = accounts.taken()
    finally:
        steady.end()
        if beside:
            beside.end()
        settle(peer, row)
    if found is None:
        raise Broken('the asking client has no result')
    one = {'figure': found['p999_us'], 'steady': found, 'capacity': stage.capacity, **taken}
    # A peer that does not answer in time has that in its figure, with the request's age.
    reasons = [f'{found["errors"]} errors'] if found['errors'] and peer.program == 'gyre' else []
    for name, most, words in (('late_p99_us', LATE_P99_US_MAX, 'was late itself, by'),
                              ('away_max_us', AWAY_US_MAX, 'was away itself, for')):
        if found[name] > max(most, SHARE * found['p999_us']):
            reasons.append(f'the client {words} {found[name]} us')
    if rig.is_ahead(peer.process.pid):
        # Others have what it leaves, and some of a core that it leaves nothing of. It waits for the
        # kernel's own threads too, which do its work: only what others had as well was theirs.
        waited = min(one['waited'], one['foreign'])
        if waited > WAITED_MAX:
            reasons.append(f'proxy waited for others, {waited:.0%} of the time')
    elif one['foreign'] > FOREIGN_MAX:
        reasons.append(f'others had {one["foreign"]:.0%} of its core')
    return one, reasons


def settle(peer, row):
    """Waits until a proxy has let go of its clients, so that the next round is its own. What it
    keeps to the origin stays: as many as have asked at once."""
    kept = max(LOAD_TOGETHER, row.connections)
    for _ in range(300):
        if rig.descriptors(peer.process.pid) < kept + OWN_DESCRIPTORS:
            return
        time.sleep(0.02)


MEASURES = {'load': measure_load, 'memory': measure_memory, 'latency': measure_latency}
