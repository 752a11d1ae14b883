/* Short system calls that do not block: sockets, files, luck, and limits. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/ensure.h"
#include "ring/ring.h"

static int result(int res) {
    return res >= 0 ? res : -errno;
}

/* Blocking: io_uring waits for a blocking socket by itself, and hands -EAGAIN of a non-blocking
 * one back. */
int sys_socket(int family) {
    return result(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

int sys_bound(int fd, struct addr *addr) {
    *addr = (struct addr){.len = sizeof addr->sa};
    return result(getsockname(fd, &addr->sa.any, &addr->len));
}

int sys_peer(int fd, struct endpoint *endpoint) {
    struct addr addr = {.len = sizeof addr.sa};
    int err = result(getpeername(fd, &addr.sa.any, &addr.len));
    if (err == 0) {
        endpoint_of(endpoint, &addr.sa.any, addr.len);
    }
    return err;
}

int sys_nodelay(int fd) {
    int on = 1;
    return result(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
}

/* In the ring a connect to a full backlog would occupy one of the kernel's threads until the
 * server accepts. */
int sys_connect_unix(int fd, const struct addr *addr) {
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        return -errno;
    }
    int err = result(connect(fd, &addr->sa.any, addr->len));
    if (fcntl(fd, F_SETFL, 0) != 0) {
        return -errno;
    }
    return err;
}

/* Not IORING_OP_SHUTDOWN, which always goes to one of the kernel's threads. */
int sys_shutdown(int fd, int how) {
    return result(shutdown(fd, how));
}

int sys_reset_on_close(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    return result(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
}

int sys_unsent(int fd) {
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : -errno;
}

int sys_close(int fd) {
    return result(close(fd));
}

/* Non-blocking for the open alone: a fifo without a reader must not hold us up, and op_write wants
 * a file that it can wait for. */
int sys_open_append(const char *path) {
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (fd < 0) {
        return -errno;
    }
    if (fcntl(fd, F_SETFL, O_APPEND) != 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

void sys_random(void *to, uint32_t len) {
    uint8_t *p = to;
    while (len > 0) {
        ssize_t got = getrandom(p, len, 0);
        if (got < 0) {
            ensure(errno == EINTR);
            continue;
        }
        p += got;
        len -= (uint32_t)got;
    }
}

uint32_t sys_raise_nofile(void) {
    struct rlimit limit;
    ensure(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlim_t soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        limit.rlim_cur = soft;   /* the hard limit may lie above what this kernel allows */
    }
    return limit.rlim_cur < UINT32_MAX ? (uint32_t)limit.rlim_cur : UINT32_MAX;
}
