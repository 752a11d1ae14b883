/* Accepting connections, as many as the process may hold. */
#include <errno.h>

#include "base/fault.h"
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
};

/* How many more the tightest of the limits allows. */
static uint32_t limit_headroom(const struct connection_limit *limit) {
    uint32_t least = UINT32_MAX;
    for (; limit != NULL; limit = limit->parent) {
        uint32_t count = atomic_load_explicit(&limit->count, memory_order_relaxed);
        uint32_t room = count < limit->max ? limit->max - count : 0;
        least = room < least ? room : least;
    }
    return least;
}

/* Counts one more in all of them, or in none. */
static bool limit_take(struct connection_limit *limit) {
    for (struct connection_limit *at = limit; at != NULL; at = at->parent) {
        if (atomic_fetch_add_explicit(&at->count, 1, memory_order_relaxed) < at->max) {
            continue;
        }
        for (struct connection_limit *undo = limit;; undo = undo->parent) {
            atomic_fetch_sub_explicit(&undo->count, 1, memory_order_relaxed);
            if (undo == at) {
                return false;
            }
        }
    }
    return true;
}

void wire_close_limit(struct connection_limit *limit) {
    for (; limit != NULL; limit = limit->parent) {
        atomic_fetch_sub_explicit(&limit->count, 1, memory_order_release);   /* who finds none */
    }
}

/* False without memory for one more. */
static bool waiting_push(struct listener *l, int fd) {
    if (l->count == l->cap) {
        uint32_t cap = l->cap == 0 ? 64 : l->cap * 2;
        int *waiting = fault_hit(FAULT_WAITING) ? NULL : mem_try_alloc(cap * sizeof *waiting);
        if (waiting == NULL) {
            return false;
        }
        for (uint32_t i = 0; i < l->count; i++) {
            waiting[i] = l->waiting[(l->head + i) % l->cap];
        }
        mem_free(l->waiting);
        l->waiting = waiting;
        l->head = 0;
        l->cap = cap;
    }
    l->waiting[(l->head + l->count++) % l->cap] = fd;
    return true;
}

static int waiting_pop(struct listener *l) {
    int fd = l->waiting[l->head];
    l->head = (l->head + 1) % l->cap;
    l->count--;
    return fd;
}

/* All that the backlog holds at once, or, where that could be too many, one by one. */
static void listener_arm(struct listener *l) {
    bool many = limit_headroom(l->limit) >= LISTENER_BACKLOG;
    op_accept(l->net->ring, &l->accept, l->fd, many);
}

enum cause { CAUSE_LIMIT, CAUSE_KERNEL, CAUSE_POOL, CAUSE_MEMORY, CAUSE_FAILED, CAUSE_COUNT };

static void listener_pause(struct listener *l, enum cause cause) {
    static const char *const texts[CAUSE_COUNT] = {
        "max_connections is reached (or what descriptors allow)",
        "out of descriptors or memory", "a pool is at its bound", "memory_max is near",
        "accept failed",
    };
    static struct log_limit said[CAUSE_COUNT];   /* of all listeners of all rings */
    if (!l->paused) {
        l->paused = true;
        stats_add(ring_stats(l->net->ring), STAT_ACCEPT_PAUSED, 1);
        log_warn_limited(&said[cause], ring_now_ms(l->net->ring),
                         "not accepting for the moment: %s", texts[cause]);
    }
    op_cancel(l->net->ring, &l->accept);
    timer_arm(l->net->ring, &l->resume, PAUSE_MS);
}

void listener_hold(struct listener *l) {
    ensure_magic(l, LISTENER_MAGIC);
    listener_pause(l, CAUSE_POOL);
}

/* What came before the limit was seen waits here, unserved, as it would in the backlog. */
int listener_take(struct listener *l) {
    ensure_magic(l, LISTENER_MAGIC);
    if (l->count == 0) {
        return -1;
    }
    if (memory_level() == MEMORY_FULL) {
        listener_pause(l, CAUSE_MEMORY);
        return -1;
    }
    if (!limit_take(l->limit)) {
        listener_pause(l, CAUSE_LIMIT);
        return -1;
    }
    stats_add(ring_stats(l->net->ring), STAT_ACCEPTED, 1);
    int fd = waiting_pop(l);
    if (l->paused && l->count == 0 && limit_headroom(l->limit) > 0 && op_idle(&l->accept)) {
        l->paused = false;   /* all that were here are in, and there is room */
        timer_cancel(l->net->ring, &l->resume);
        listener_arm(l);
    }
    return fd;
}

static void listener_join(struct listener *l) {
    if (!l->shut || !op_idle(&l->accept)) {
        return;
    }
    while (l->count > 0) {
        (void)sys_close(waiting_pop(l));
    }
    l->net->listeners--;
    mem_free(l->waiting);
    l->magic = 0;
    mem_free(l);
}

static void listener_failed(struct listener *l, int err) {
    stats_add(ring_stats(l->net->ring), STAT_ACCEPT_FAILED, 1);
    if (err == ECONNABORTED) {
        return;   /* that client is gone: the next one (accept(2)) */
    }
    bool ours = err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
    if (ours && l->net->relief != NULL) {
        l->net->is_short = true;
        pipes_trim(l->net);
        task_wake(l->net->ring, l->net->relief);
    }
    listener_pause(l, ours ? CAUSE_KERNEL : CAUSE_FAILED);
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
    if (res >= 0 && waiting_push(l, res)) {
        task_wake(l->net->ring, l->owner);
    } else if (res >= 0) {
        (void)sys_close(res);
        listener_failed(l, ENOMEM);
    } else if (!armed && res != -ECANCELED) {
        listener_failed(l, -res);
    }
    if (op_idle(&l->accept) && !l->paused && limit_headroom(l->limit) > l->count) {
        listener_arm(l);
    } else if (op_idle(&l->accept) && !l->paused) {
        listener_pause(l, CAUSE_LIMIT);
    }
}

static void listener_resume_fired(struct timer *timer) {
    struct listener *l = container_of(timer, struct listener, resume);
    bool room = limit_headroom(l->limit) > 0;
    if (l->count > 0 && room) {
        task_wake(l->net->ring, l->owner);   /* those that are here first, then others */
    }
    if (l->count > 0 || !room || !op_idle(&l->accept)) {
        timer_arm(l->net->ring, &l->resume, PAUSE_MS);
        return;
    }
    l->paused = false;
    listener_arm(l);
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
    listener_arm(l);
    return l;
}

void listener_shut(struct listener *l) {
    ensure_magic(l, LISTENER_MAGIC);
    l->shut = true;
    timer_cancel(l->net->ring, &l->resume);
    op_cancel(l->net->ring, &l->accept);
    listener_join(l);
}
