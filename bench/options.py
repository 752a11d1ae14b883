"""What was tried of the ring's options and the compiler's, a row each: a change of gyre's source, or
of how it is built, and whether it was kept."""
from dataclasses import dataclass

URING, CORE, OPS = 'proxy/ring/uring.c', 'proxy/ring/core.c', 'proxy/ring/ops.c'
RECEIVE, WIRE_IO, MEMORY = 'proxy/ring/receive.c', 'proxy/net/wire_io.c', 'tls/memory.c'


@dataclass(frozen=True)
class Option:
    name: str
    title: str
    kept: str                   # what gyre does, and why
    changes: tuple = ()         # (file, text that stands there once, text instead)
    cmake: tuple = ()           # more arguments


SETUP = 'IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |'
SEND = '    io_uring_prep_send(sqe, fd, bytes, len, send_flags(more));\n'
RECV = '    sqe->flags |= IOSQE_BUFFER_SELECT;\n'


def flags(text):
    return ('-DCMAKE_C_FLAGS=' + text,)


OPTIONS = (
    Option('coop', 'COOP_TASKRUN instead of DEFER_TASKRUN', 'not: deferred work is ours to time',
           ((URING, SETUP, 'IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |'),)),
    Option('no-flags', 'neither, and no SINGLE_ISSUER', 'not', ((URING, SETUP, ''),)),
    Option('no-sqarray', 'NO_SQARRAY', 'not: no gain that can be told, and Linux 6.6 at least',
           ((URING, SETUP, SETUP + ' IORING_SETUP_NO_SQARRAY |'),)),
    Option('no-ring-fd', 'the ring\'s descriptor not registered', 'not: registered',
           ((URING, 'if (io_uring_register_ring_fd(&ring->uring) == 1) {', 'if (false) {'),)),
    Option('iowait', 'waiting counts as waiting for a disk', 'not: monitors would show a busy machine',
           ((URING, 'if (ask.features & IORING_FEAT_NO_IOWAIT) {', 'if (false) {'),)),
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
    Option('sends-64k', 'at most 64 KiB in a send', 'not: 256 KiB',
           ((WIRE_IO, '#define SEND_BYTES_MAX (256u * 1024u)',
             '#define SEND_BYTES_MAX (64u * 1024u)'),)),
    Option('no-lto', 'without link-time optimization', 'not: with it', cmake=('-DGYRE_LTO=OFF',)),
    # Flags of a build type stand behind CMAKE_C_FLAGS, and RelWithDebInfo's are gyre's own: -O2.
    Option('o3', '-O3', 'not: no gain that can be told, and more code',
           cmake=('-DCMAKE_BUILD_TYPE=Release', '-DCMAKE_C_FLAGS_RELEASE=-O3 -g')),
    Option('v2', '-march=x86-64-v2', 'not: no gain that can be told',
           cmake=flags('-march=x86-64-v2')),
    Option('v3', '-march=x86-64-v3', 'not: no gain that can be told',
           cmake=flags('-march=x86-64-v3')),
)
