"""For servers that are started from Python: the socket that the command line names."""
import os
import socket
import sys


def listener():
    """HOST:PORT or unix:PATH, from the command line."""
    kind, _, rest = sys.argv[1].rpartition(":")
    if kind == "unix":
        if os.path.exists(rest):
            os.unlink(rest)         # of the run before
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(rest)
    else:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((kind, int(rest)))
    sock.listen(1024)
    return sock
