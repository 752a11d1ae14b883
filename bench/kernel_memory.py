"""What connections take in the kernel, by its own list of what it has allocated (/proc/slabinfo).

A control group's account is no use for it: what a connection takes as its handshake ends, in a
softirq, is nobody's there, and that is the socket itself.

The list is the whole machine's, so it has both ends of a connection. Each socket has exactly one
file, one directory entry and one label of a security module, which other processes have many of;
these are counted by the sockets. Everything else is what the cache has grown by, and what others
allocate meanwhile is in it: a few hundred bytes with 9,000 connections. Memory that is not of these
caches is not told, nor the slack in their pages: an idle connection has no other to speak of."""
import re

SOCKET = ('TCP', 'TCPv6')
PER_SOCKET = ('dentry', 'lsm_inode_cache')      # one each, and many that are others'
GROWN = re.compile('TCP(v6)?|sock_inode_cache|filp|lsm_file_cache|skbuff_.*|request_sock_TCP(v6)?|'
                   'io_kiocb|eventpoll_.*|ep_head|kmalloc-(cg-)?(64|96|128|192|256|512|1k)')
WHOLE = 0.02    # of a socket: a connection has a whole number of them, or others had some


def caches():
    """name -> (objects, bytes of each), or None where only root is told, and we are not."""
    try:
        with open('/proc/slabinfo') as f:
            lines = [line.split() for line in f][2:]
    except (FileNotFoundError, PermissionError):
        return None
    return {name: (int(objects), int(size)) for name, objects, _, size, *_ in lines}


def per_connection(before, after, connections):
    """{'kernel': bytes, 'sockets': how many}, of each connection; {} where it can not be told."""
    if before is None or after is None:
        return {}

    def grown(name):
        return after[name][0] - before.get(name, (0, 0))[0] if name in after else 0
    sockets = sum(grown(name) for name in SOCKET)
    each = round(sockets / connections)
    if each < 2 or abs(sockets / connections - each) > WHOLE * each:
        return {}
    total = sum(grown(name) * size for name, (_, size) in after.items() if GROWN.fullmatch(name))
    total += sum(sockets * after[name][1] for name in PER_SOCKET if name in after)
    return {'kernel': total / connections, 'sockets': each}
