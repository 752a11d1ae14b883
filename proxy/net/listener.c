/* Accepting connections, as many as the process may hold. */
#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/net_priv.h"

#define LISTENER_MAGIC 0x4c53544eu
/* How long a listener that stopped at a limit waits before it looks again. */
#define PAUSE_MS 50u

struct listener {
    unsigned magic;
    int fd;
    bool paused, shut;
    struct net *net;
    struct connection_limit *limit;
    struct task *owner;
    struct op accept;
    struct timer resume;
    int *waiting;             /* accepted, not yet taken: a queue */
    uint32_t head, count, cap;
    struct log_limit said;
};

static bool limit_is_reached(const struct connection_limit *limit) {
    for (; limit != NULL; limit = limit->parent) {
        if (atomic_load_explicit(&limit->count, memory_order_relaxed) >= limit->max) {
            return true;
        }
    }
    return false;
}

static void limit_count(struct connection_limit *limit) {
    for (; limit != NULL; limit = limit->parent) {
        atomic_fetch_add_explicit(&limit->count, 1, memory_order_relaxed);
    }
}

void wire_close_limit(struct connection_limit *limit) {
    for (; limit != NULL; limit = limit->parent) {
        atomic_fetch_sub_explicit(&limit->count, 1, memory_order_relaxed);
    }
}

static void waiting_push(struct listener *l, int fd) {
    if (l->count == l->cap) {
        uint32_t cap = l->cap == 0 ? 64 : l->cap * 2;
        int *waiting = mem_alloc(cap * sizeof *waiting);
        for (uint32_t i = 0; i < l->count; i++) {
            waiting[i] = l->waiting[(l->head + i) % l->cap];
        }
        mem_free(l->waiting);
        l->waiting = waiting;
        l->head = 0;
        l->cap = cap;
    }
    l->waiting[(l->head + l->count++) % l->cap] = fd;
}

int listener_take(struct listener *l) {
    ensure_magic(l, LISTENER_MAGIC);
    if (l->count == 0) {
        return -1;
    }
    int fd = l->waiting[l->head];
    l->head = (l->head + 1) % l->cap;
    l->count--;
    return fd;
}

static void listener_pause(struct listener *l, const char *cause) {
    if (!l->paused) {
        l->paused = true;
        stats_add(ring_stats(l->net->ring), STAT_ACCEPT_PAUSED, 1);
        uint32_t held;
        if (log_limit_pass(&l->said, ring_now_ms(l->net->ring), &held)) {
            log_warn("not accepting for the moment: %s", cause);
        }
    }
    op_cancel(l->net->ring, &l->accept);
    timer_arm(l->net->ring, &l->resume, PAUSE_MS);
}

static void listener_join(struct listener *l) {
    if (!l->shut || !op_idle(&l->accept)) {
        return;
    }
    for (int fd; (fd = listener_take(l)) >= 0;) {
        (void)sys_close(fd);
        wire_close_limit(l->limit);
    }
    l->net->listeners--;
    mem_free(l->waiting);
    l->magic = 0;
    mem_free(l);
}

static void listener_accepted(struct listener *l, int res, bool armed) {
    if (res >= 0) {
        limit_count(l->limit);
        stats_add(ring_stats(l->net->ring), STAT_ACCEPTED, 1);
        waiting_push(l, res);
        if (limit_is_reached(l->limit)) {
            listener_pause(l, "max_connections is reached (or what descriptors allow)");
        }
        return;
    }
    if (armed || res == -ECANCELED) {
        return;
    }
    stats_add(ring_stats(l->net->ring), STAT_ACCEPT_FAILED, 1);
    /* ECONNABORTED and what the network left in the backlog (accept(2)) mean: the next one. */
    bool ours = res == -EMFILE || res == -ENFILE || res == -ENOBUFS || res == -ENOMEM;
    listener_pause(l, ours ? "out of descriptors or memory" : "accept failed");
}

static void listener_accept_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg;
    struct listener *l = container_of(op, struct listener, accept);
    if (l->shut) {
        if (res >= 0) {
            (void)sys_close(res);
        }
        listener_join(l);
        return;
    }
    listener_accepted(l, res, armed);
    if (op_idle(&l->accept) && !l->paused) {
        op_accept(l->net->ring, &l->accept, l->fd);
    }
    if (l->count > 0) {
        task_wake(l->net->ring, l->owner);
    }
}

static void listener_resume_fired(struct timer *timer) {
    struct listener *l = container_of(timer, struct listener, resume);
    if (limit_is_reached(l->limit) || !op_idle(&l->accept)) {
        timer_arm(l->net->ring, &l->resume, PAUSE_MS);
        return;
    }
    l->paused = false;
    op_accept(l->net->ring, &l->accept, l->fd);
}

struct listener *listener_new(struct net *net, int fd, struct connection_limit *limit,
                              struct task *owner) {
    struct listener *l = mem_zero(sizeof *l);
    l->magic = LISTENER_MAGIC;
    l->fd = fd;
    l->net = net;
    net->listeners++;
    l->limit = limit;
    l->owner = owner;
    op_init(&l->accept, listener_accept_done);
    timer_init(&l->resume, listener_resume_fired);
    op_accept(net->ring, &l->accept, fd);
    return l;
}

void listener_shut(struct listener *l) {
    ensure_magic(l, LISTENER_MAGIC);
    l->shut = true;
    timer_cancel(l->net->ring, &l->resume);
    op_cancel(l->net->ring, &l->accept);
    listener_join(l);
}
