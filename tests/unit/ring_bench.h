/* What the ring's tests share: a ring that turns until something is so, and ops that remember. */
#ifndef GYRE_TESTS_RING_BENCH_H
#define GYRE_TESTS_RING_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ensure.h"
#include "ring/ring.h"

#define PATIENCE_MS 20000

static struct ring *ring;
static bool bench_late;

static inline void bench_late_fired(struct timer *timer) {
    (void)timer;
    bench_late = true;
    ring_stop(ring);
}

static inline void bench_tick_run(struct task *task) {
    (void)task;
    ring_stop(ring);
}

/* Turns once; does not block. */
static inline void turn(void) {
    struct task tick;
    task_init(&tick, bench_tick_run);
    task_wake(ring, &tick);
    ring_run(ring);
}

/* Turns until cond; blocks between completions, whose done stops the ring. */
#define UNTIL(cond)                                              \
    do {                                                         \
        struct timer patience_;                                  \
        timer_init(&patience_, bench_late_fired);                \
        timer_arm(ring, &patience_, PATIENCE_MS);                \
        bench_late = false;                                      \
        while (!(cond)) {                                        \
            ring_run(ring);                                      \
            if (bench_late) {                                    \
                fail_msg("waited too long for: %s", #cond);      \
            }                                                    \
        }                                                        \
        timer_cancel(ring, &patience_);                          \
    } while (0)

/* An op that remembers what came. */
struct probe {
    struct op op;
    unsigned dones, ends;      /* calls; calls with armed false */
    int res;                   /* of the last */
    uint64_t bytes;            /* received */
    uint8_t text[256];         /* the first of them */
    int fds[512];
    unsigned fd_count;
};

static inline void probe_done(struct op *op, int res, struct seg *seg, bool armed) {
    struct probe *probe = container_of(op, struct probe, op);
    assert_true(armed != op_idle(op));
    assert_true(seg == NULL || res > 0);
    probe->dones++;
    probe->ends += armed ? 0 : 1;
    probe->res = res;
    if (seg != NULL) {
        for (int i = 0; i < res && probe->bytes + (unsigned)i < sizeof probe->text; i++) {
            probe->text[probe->bytes + (unsigned)i] = seg->data[i];
        }
        probe->bytes += (unsigned)res;
        seg_unref(seg);
    }
    ring_stop(ring);
}

static inline void probe_accept_done(struct op *op, int res, struct seg *seg, bool armed) {
    struct probe *probe = container_of(op, struct probe, op);
    if (res >= 0) {
        assert_true(probe->fd_count < 512);
        probe->fds[probe->fd_count++] = res;
    }
    probe_done(op, res, seg, armed);
}

static inline void probe_init(struct probe *probe) {
    memset(probe, 0, sizeof *probe);
    op_init(&probe->op, probe_done);
}

/* With the one-shot policy each receive is armed anew. */
static inline void receive_until(struct probe *probe, int fd, uint64_t bytes) {
    while (probe->bytes < bytes) {
        if (op_idle(&probe->op)) {
            op_recv(ring, &probe->op, fd, 0);
        }
        unsigned dones = probe->dones;
        UNTIL(probe->dones > dones);
    }
}

/* Whatever state the op is in, it ends. */
static inline void probe_end(struct probe *probe) {
    op_cancel(ring, &probe->op);
    UNTIL(op_idle(&probe->op));
}

static inline struct addr loopback(uint16_t port) {
    struct addr addr = {.len = sizeof addr.sa.in};
    addr.sa.in.sin_family = AF_INET;
    addr.sa.in.sin_port = htons(port);
    addr.sa.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return addr;
}

/* A listener on a port that the kernel chooses, and its address. */
static inline int listen_loopback(struct addr *bound, int backlog) {
    struct addr any = loopback(0);
    int fd = sys_listen(&any, false, backlog);
    assert_true(fd >= 0);
    assert_int_equal(sys_bound(fd, bound), 0);
    return fd;
}

static inline void pair(int fds[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static inline int connect_now(const struct addr *to) {
    int fd = socket(to->sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, &to->sa.any, to->len) != 0) {
        int err = errno;
        close(fd);
        return -err;
    }
    return fd;
}

static inline void write_all(int fd, const void *bytes, size_t len) {
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
}

static inline void bench_open(struct ring_params params) {
    char why[RING_WHY_MAX];
    ring = ring_new(&params, why);
    if (ring == NULL) {
        fail_msg("%s", why);
    }
}

/* Nothing may be left: ring_free ensures that every buffer is at home. */
static inline void bench_close(void) {
    ring_free(ring);
    ring = NULL;
}

#endif
