/* Binding: listeners on TCP and unix sockets, and whether an address is free. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring/ring.h"

/* A client that has vanished without a word is noticed after two minutes of silence. */
#define PROBE_IDLE_S 60
#define PROBE_INTERVAL_S 15
#define PROBE_COUNT 4

static int option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

/* Accepted sockets inherit all of these, so that none of them costs a call per connection. Never
 * SO_RCVBUF: it would turn the kernel's own tuning off. */
static int tcp_options(int fd) {
    int err = option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (err == 0) {
        err = option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    }
    if (err == 0) {
        err = option(fd, IPPROTO_TCP, TCP_KEEPIDLE, PROBE_IDLE_S);
    }
    if (err == 0) {
        err = option(fd, IPPROTO_TCP, TCP_KEEPINTVL, PROBE_INTERVAL_S);
    }
    if (err == 0) {
        err = option(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBE_COUNT);
    }
    return err;
}

static int fd_bind(int fd, const struct addr *addr) {
    return bind(fd, &addr->sa.any, addr->len) == 0 ? 0 : -errno;
}

/* A socket of the address' family, bound to it. */
static int tcp_bind_exact(const struct addr *addr, bool reuseport) {
    int fd = sys_socket(addr->sa.any.sa_family);
    if (fd < 0) {
        return fd;
    }
    /* Connections of our predecessor that still wait in TIME_WAIT must not keep us out. */
    int err = option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (err == 0 && reuseport) {
        err = option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (err == 0 && addr->sa.any.sa_family == AF_INET6) {
        err = option(fd, IPPROTO_IPV6, IPV6_V6ONLY, addr->dual ? 0 : 1);
    }
    if (err == 0) {
        err = fd_bind(fd, addr);
    }
    if (err != 0) {
        close(fd);
        return err;
    }
    return fd;
}

static int tcp_bind(const struct addr *addr, bool reuseport) {
    int fd = tcp_bind_exact(addr, reuseport);
    if (addr->dual && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)) {   /* no IPv6 here */
        struct addr v4 = {.len = sizeof v4.sa.in};
        v4.sa.in.sin_family = AF_INET;
        v4.sa.in.sin_port = addr->sa.in6.sin6_port;
        fd = tcp_bind_exact(&v4, reuseport);
    }
    return fd;
}

/* -ENOENT: no such file; -ECONNREFUSED: a socket file that nobody listens on; -EADDRINUSE: one
 * that somebody listens on, or a file that is no socket (connect(2) would call that refused, too,
 * and it is not ours to remove). */
static int unix_probe(const struct addr *addr) {
    struct stat file;
    if (lstat(addr->sa.un.sun_path, &file) != 0) {
        return -errno;
    }
    if (!S_ISSOCK(file.st_mode)) {
        return -EADDRINUSE;
    }
    int fd = sys_socket(AF_UNIX);
    if (fd < 0) {
        return fd;
    }
    int err = sys_connect_unix(fd, addr);
    close(fd);
    return err == 0 || err == -EAGAIN ? -EADDRINUSE : err;
}

static int unix_bind(const struct addr *addr) {
    int fd = sys_socket(AF_UNIX);
    if (fd < 0) {
        return fd;
    }
    int err = fd_bind(fd, addr);
    if (err == -EADDRINUSE) {
        err = unix_probe(addr);
        if (err == -ECONNREFUSED && unlink(addr->sa.un.sun_path) != 0 && errno != ENOENT) {
            err = -errno;
        }
        if (err == -ECONNREFUSED || err == -ENOENT) {
            err = fd_bind(fd, addr);
        }
    }
    if (err != 0) {
        close(fd);
        return err;
    }
    return fd;
}

int sys_listen(const struct addr *addr, bool reuseport, int backlog) {
    bool unix_socket = addr->sa.any.sa_family == AF_UNIX;
    int fd = unix_socket ? unix_bind(addr) : tcp_bind(addr, reuseport);
    if (fd < 0) {
        return fd;
    }
    int err = unix_socket ? 0 : tcp_options(fd);
    if (err == 0 && listen(fd, backlog) != 0) {
        err = -errno;
    }
    if (err != 0) {
        close(fd);
        return err;
    }
    return fd;
}

int sys_adopt(int fd) {
    struct addr addr;
    int err = sys_bound(fd, &addr);
    if (err == 0 && addr.sa.any.sa_family != AF_UNIX) {
        err = tcp_options(fd);
    }
    int flags = err == 0 ? fcntl(fd, F_GETFL) : -1;
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        return err != 0 ? err : -errno;
    }
    return 0;
}

int sys_probe_bind(const struct addr *addr) {
    if (addr->sa.any.sa_family == AF_UNIX) {
        int err = unix_probe(addr);
        return err == -ENOENT || err == -ECONNREFUSED ? 0 : err;
    }
    int fd = tcp_bind(addr, false);
    if (fd < 0) {
        return fd;
    }
    close(fd);
    return 0;
}
