/* Short system calls that do not block: sockets, files, luck, and limits. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Filesystems without O_TMPFILE (overlayfs of old kernels, NFS) get a name for a moment. */
static int open_unlinked(const char *folder) {
    char path[PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/gyre-spool-XXXXXX", folder);
    if (len < 0 || (size_t)len >= sizeof path) {
        return -ENAMETOOLONG;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    (void)unlink(path);
    return fd;
}

int sys_open_spool(const char *folder) {
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) {
        return fd;
    }
    return errno == EOPNOTSUPP || errno == EISDIR ? open_unlinked(folder) : -errno;
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

/* --- Memory ------------------------------------------------------------------------------- */

/* The number in a file of a control group; UINT64_MAX where there is none ("max"). */
static uint64_t group_limit(const char *group) {
    char path[PATH_MAX + 64], text[32];
    int len = snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
    int fd = len > 0 && (size_t)len < sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    text[got > 0 ? got : 0] = '\0';
    return text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
}

/* Our control group and all above it (cgroups(7), version 2: "0::/path"). */
static uint64_t groups_limit(void) {
    char text[PATH_MAX + 8];
    int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    text[got > 0 ? got : 0] = '\0';
    char *group = strstr(text, "0::/");
    if (group == NULL || (group != text && group[-1] != '\n')) {
        return UINT64_MAX;
    }
    group += 3;
    group[strcspn(group, "\n")] = '\0';
    uint64_t least = group_limit(group);
    for (char *slash; (slash = strrchr(group, '/')) != NULL;) {
        *slash = '\0';
        uint64_t limit = group_limit(group);
        least = limit < least ? limit : least;
    }
    return least;
}

uint64_t sys_memory(void) {
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t groups = groups_limit();
    return machine < groups ? machine : groups;
}
