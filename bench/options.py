"""What was tried of the ring's options and the compiler's, a row each: a change of gyre's source, or
of how it is built, and whether it was kept."""
from dataclasses import dataclass

URING, CORE, OPS = 'proxy/ring/uring.c', 'proxy/ring/core.c', 'proxy/ring/ops.c'
RECEIVE, SYS, BIND = 'proxy/ring/receive.c', 'proxy/ring/sys.c', 'proxy/ring/sys_bind.c'
WIRE_IO, NET, LISTENER = 'proxy/net/wire_io.c', 'proxy/net/net.c', 'proxy/net/listener.c'
ENGINE, CONTEXT = 'tls/engine.c', 'tls/context.c'


@dataclass(frozen=True)
class Option:
    name: str
    title: str
    kept: str                   # what gyre does, and why
    changes: tuple = ()         # (file, text that stands there once, text instead)
    cmake: tuple = ()           # more arguments
    rows: tuple = ()            # of bench/rows.py, beside those that all are measured with


SETUP = 'IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |'
SEND = '    io_uring_prep_send(sqe, fd, bytes, len, send_flags(more));\n'
SENDMSG = '    io_uring_prep_sendmsg(sqe, fd, message, (unsigned)send_flags(more));\n'
RECV = '    sqe->flags |= IOSQE_BUFFER_SELECT;\n'
ARGUMENT = '        .ts = wait_us == TIMER_NEVER ? 0 : (uint64_t)(uintptr_t)&time,\n'
CQ_ENTRIES = '        .cq_entries = params->cq_entries,\n'
MODE = 'SSL_MODE_RELEASE_BUFFERS | '


def flags(text):
    return ('-DCMAKE_C_FLAGS=' + text,)


def at_once(call, otherwise):
    """The entry's place in the ring is a NOP's then, which brings the result as a send would."""
    return f"""    ssize_t sent = {call};
    if (sent >= 0) {{
        io_uring_prep_nop(sqe);
        sqe->nop_flags = IORING_NOP_INJECT_RESULT;
        sqe->len = (unsigned)sent;
    }} else {{
    {otherwise}    }}
"""


def waits(usec, count):
    return ((URING, ARGUMENT, f'{ARGUMENT}        .min_wait_usec = {usec},\n'),
            (URING, 'wait_us == 0 ? 0 : 1,', f'wait_us == 0 ? 0 : {count},'))


def records(size):
    """Whole pages that hold so many KiB of records, and a step that makes as many."""
    pages = -(-size * 1024 * 16406 // 16384 // 4096)
    return ((NET, '#define RECORD_BYTES 36864u', f'#define RECORD_BYTES {pages * 4096}u'),
            (ENGINE, '#define STEP_BYTES 65536u',
             f'#define STEP_BYTES {max(size, 64) * 1024}u'))


CONNECT, TLS_BULK = ('connect', 'connect-tls'), ('tls-16k', 'tls-1m')


OPTIONS = (
    Option('coop', 'COOP_TASKRUN instead of DEFER_TASKRUN', 'not: deferred work is ours to time',
           ((URING, SETUP, 'IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |'),)),
    Option('no-flags', 'neither, and no SINGLE_ISSUER', 'not', ((URING, SETUP, ''),)),
    Option('sqpoll', 'SQPOLL instead of DEFER_TASKRUN, on the same core',
           'not: a thread of the kernel has part of the core, and the turns are still ours',
           ((URING, SETUP, 'IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SQPOLL |'),
            (URING, CQ_ENTRIES, CQ_ENTRIES + '        .sq_thread_idle = 1,\n'),
            (URING, '    if (ask.features & IORING_FEAT_NO_IOWAIT) {',
             '    ring->enter_flags |= IORING_ENTER_SQ_WAKEUP;\n'
             '    if (ask.features & IORING_FEAT_NO_IOWAIT) {'))),
    Option('no-sqarray', 'NO_SQARRAY', 'not: no gain that can be told, and Linux 6.6 at least',
           ((URING, SETUP, SETUP + ' IORING_SETUP_NO_SQARRAY |'),)),
    Option('no-ring-fd', 'the ring\'s descriptor not registered', 'not: registered',
           ((URING, 'if (io_uring_register_ring_fd(&ring->uring) == 1) {', 'if (false) {'),)),
    Option('iowait', 'waiting counts as waiting for a disk', 'not: monitors would show a busy machine',
           ((URING, 'if (ask.features & IORING_FEAT_NO_IOWAIT) {', 'if (false) {'),)),
    Option('wait-50', 'completions waited for, up to 16, for 50 µs', 'not: it holds up the few',
           waits(50, 16), rows=('get-8',)),
    Option('wait-200', 'the same for 200 µs', 'not: it holds up the few', waits(200, 16),
           rows=('get-8',)),
    Option('accept-one', 'one-shot accepts', 'not, but near a limit of connections',
           ((LISTENER, 'limit_headroom(l->limit) >= LISTENER_BACKLOG;', 'false;'),), rows=CONNECT),
    Option('one-shot', 'one-shot receives', 'not, but before Linux 6.8',
           ((URING, 'ring->one_shot = params->one_shot ||', 'ring->one_shot = true ||'),)),
    Option('window-32', '32 receive buffers on offer', 'not: 128',
           ((CORE, 'buf_window, 128)', 'buf_window, 32)'),)),
    Option('window-256', '256 receive buffers on offer', 'not: 128, less memory is touched',
           ((CORE, 'buf_window, 128)', 'buf_window, 256)'),)),
    Option('buffers-16k', 'receive buffers of 16 KiB', 'not: 64 KiB, for large bodies',
           ((CORE, 'buf_size, 64 * 1024)', 'buf_size, 16 * 1024)'),)),
    Option('recv-poll-first', 'POLL_FIRST on receives', 'not: no gain that can be told',
           ((RECEIVE, RECV, RECV + '    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;\n'),)),
    Option('send-poll-first', 'POLL_FIRST on sends', 'not',
           ((OPS, SEND, SEND + '    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;\n'),)),
    Option('sendmsg', 'SENDMSG for everything', 'not: SEND for one piece',
           ((WIRE_IO, 's->sending.count > 1 ? pool', 's->sending.count > 0 ? pool'),)),
    Option('send-now', 'send(2) at once, and its completion by a NOP', 'not: SEND in the ring',
           ((OPS, SEND, at_once('send(fd, bytes, len, send_flags(more) | MSG_DONTWAIT)', SEND)),
            (OPS, SENDMSG, at_once('sendmsg(fd, message, send_flags(more) | MSG_DONTWAIT)',
                                   SENDMSG)))),
    Option('sends-64k', 'at most 64 KiB in a send', 'not: 256 KiB',
           ((WIRE_IO, '#define SEND_BYTES_MAX (256u * 1024u)',
             '#define SEND_BYTES_MAX (64u * 1024u)'),)),
    Option('rcvbuf-256k', 'SO_RCVBUF of 256 KiB', 'not: the kernel tunes it',
           ((BIND, '    int err = option(fd, IPPROTO_TCP, TCP_NODELAY, 1);\n',
             '    int err = option(fd, IPPROTO_TCP, TCP_NODELAY, 1);\n'
             '    err = err == 0 ? option(fd, SOL_SOCKET, SO_RCVBUF, 256 * 1024) : err;\n'),
            (SYS, 'int sys_nodelay(int fd) {\n    int on = 1;\n',
             'int sys_nodelay(int fd) {\n    int on = 1, size = 256 * 1024;\n'
             '    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);\n')),
           rows=('send-1m',)),
    Option('records-16k', 'TLS: one record in a send', 'not: two', records(16), rows=TLS_BULK),
    Option('records-64k', 'TLS: four records in a send', 'not: two', records(64), rows=TLS_BULK),
    Option('records-128k', 'TLS: eight records in a send', 'not: two', records(128),
           rows=TLS_BULK),
    Option('keep-buffers', 'TLS: OpenSSL keeps its record buffers',
           'not: 16 KiB more for each connection that is idle', ((CONTEXT, MODE, ''),),
           rows=TLS_BULK),
    Option('two-tickets', 'TLS: two tickets', 'not: one', (
        (CONTEXT, 'SSL_CTX_set_num_tickets(ssl, 1)', 'SSL_CTX_set_num_tickets(ssl, 2)'),),
           rows=('full-p256',)),
    Option('no-lto', 'without link-time optimization', 'not: with it', cmake=('-DGYRE_LTO=OFF',)),
    # Flags of a build type stand behind CMAKE_C_FLAGS, and RelWithDebInfo's are gyre's own: -O2.
    Option('o3', '-O3', 'not: no gain that can be told, and more code',
           cmake=('-DCMAKE_BUILD_TYPE=Release', '-DCMAKE_C_FLAGS_RELEASE=-O3 -g')),
    Option('v2', '-march=x86-64-v2', 'not: no gain that can be told',
           cmake=flags('-march=x86-64-v2')),
    Option('v3', '-march=x86-64-v3', 'not: no gain that can be told',
           cmake=flags('-march=x86-64-v3')),
)

# What is no small change of the source, and was left alone.
NOT_TRIED = (
    ('SEND_ZC', 'bytes are free at a second completion, and each queue would have to hold them until '
     'then. Loopback copies them all the same; worth a try on a real network card'),
    ('direct descriptors', 'who a client is, and options of its socket, are asked of a descriptor '
     'that the process has; a multishot accept into direct ones does not tell the address'),
    ('PBUF_RING_INC', 'a buffer would be shared by several connections\' receives, and each '
     'completion be a part of one: who holds a part would hold all of it'),
    ('receive bundles', 'a completion would be several buffers; a receive brings one, and its 64 KiB are '
     'more than a socket has ready most times'),
    ('send bundles', 'they want what is sent in a ring of buffers of its own for each connection'),
    ('CQE_SKIP_SUCCESS on sends', 'what was sent is given back when its send is complete, and the '
     'sweep over sends that stand still goes by it'),
    ('linked timeouts', 'an entry more for each operation; a wheel in user space does it for all'),
    ('NAPI busy polling', 'there is nothing to poll on loopback'),
)
