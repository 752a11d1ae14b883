/* Bytes that go from one wire to another by splice(2): from socket to pipe to socket, and nobody
 * reads them. The calls are synchronous, as the ring's own splice would go to one of the kernel's
 * threads; what is awaited is readiness, with the op that would else receive, or send. */
#include <errno.h>
#include <poll.h>

#include "net/net_priv.h"

/* What one pipe holds: more than is moved at one go, as what comes in small pieces takes up more of
 * it. */
#define PIPE_BYTES (256u * 1024u)

/* --- Pipes -------------------------------------------------------------------------------- */

static void pipe_close(struct net *net, const int fds[2]) {
    (void)sys_close(fds[0]);
    (void)sys_close(fds[1]);
    net->pipes.live--;
}

void pipes_trim(struct net *net) {
    struct pipes *pipes = &net->pipes;
    while (pipes->idle_count > 0) {
        pipe_close(net, pipes->idle[--pipes->idle_count]);
    }
}

static bool pipe_get(struct net *net, int fds[2]) {
    struct pipes *pipes = &net->pipes;
    if (pipes->idle_count > 0) {
        const int *idle = pipes->idle[--pipes->idle_count];
        fds[0] = idle[0];
        fds[1] = idle[1];
        return true;
    }
    if (pipes->live >= pipes->max || net->is_short || sys_pipe(fds, PIPE_BYTES) != 0) {
        return false;
    }
    pipes->live++;
    return true;
}

/* What is in it would come out at its next user's. */
static void pipe_put(struct splice *s) {
    struct pipes *pipes = &s->net->pipes;
    if (s->piped > 0 || pipes->idle_count == PIPES_IDLE_MAX || s->net->is_short) {
        pipe_close(s->net, s->pipe);
    } else {
        int *idle = pipes->idle[pipes->idle_count++];
        idle[0] = s->pipe[0];
        idle[1] = s->pipe[1];
    }
}

/* --- The end ------------------------------------------------------------------------------ */

/* Both wires are as they were before; an op that waits for readiness ends by and by. */
void splice_break(struct splice *s) {
    struct wire *from = s->from, *to = s->to;
    bool moving = s->state == SPLICE_MOVING;
    s->state = SPLICE_OVER;
    task_cancel(s->net->ring, &s->task);
    from->splice = to->splice = NULL;
    s->from = s->to = NULL;
    from->held = false;
    pipe_put(s);
    if (moving) {
        (void)sys_nonblock(from->fd, false);
        (void)sys_nonblock(to->fd, false);
        op_cancel(s->net->ring, &from->op_rx);
        op_cancel(s->net->ring, &to->sender->op);
        sender_settle(to);
    }
    wire_read(from);
    task_wake(s->net->ring, s->owner);
}

void splice_free(struct splice *s) {
    if (s->state != SPLICE_OVER) {
        splice_break(s);
    }
    pool_put(&s->net->splices, s);
}

/* --- Readiness ---------------------------------------------------------------------------- */

/* The op may be that of a splice which is over, and there may be another one by now. */
static void splice_ready(struct splice *s) {
    if (s->state == SPLICE_MOVING) {
        task_wake(s->net->ring, &s->task);
    } else {
        splice_look(s);
    }
}

/* The kernel has no memory to watch with. */
static bool watch_failed(int res) {
    return res < 0 && res != -ECANCELED;
}

static void in_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg;
    (void)armed;
    struct wire *w = container_of(op, struct wire, op_rx);
    op->done = wire_rx_done;
    if (w->splice != NULL && watch_failed(res)) {
        splice_break(w->splice);
    } else if (w->splice != NULL) {
        w->splice->readable = res > 0;
        splice_ready(w->splice);
    } else {
        wire_read(w);
    }
    wire_join(w);
}

static void out_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg;
    (void)armed;
    struct sender *sender = container_of(op, struct sender, op);
    struct wire *w = sender->wire;
    op->done = wire_tx_done;
    list_remove(&sender->link);
    if (w->splice != NULL && watch_failed(res)) {
        wire_starved(w);   /* what is in the pipe can not be had back */
    } else if (w->splice != NULL) {
        splice_ready(w->splice);
    } else if (!w->dead && w->state != WIRE_CLOSING) {
        wire_send(w);
        sender_settle(w);
    }
    wire_join(w);
}

static void in_watch(struct splice *s) {
    struct op *op = &s->from->op_rx;
    if (op_idle(op)) {
        op->done = in_done;
        op_watch(s->net->ring, op, s->from->fd, POLLIN);
    }
}

/* Among the sends, so that a peer which takes too little is given up. */
static void out_watch(struct splice *s) {
    struct sender *sender = s->to->sender;
    if (op_idle(&sender->op)) {
        sender->op.done = out_done;
        op_watch(s->net->ring, &sender->op, s->to->fd, POLLOUT);
        sender_waits(sender, s->net);
    }
}

/* --- The bytes ---------------------------------------------------------------------------- */

/* What is in the pipe can not be had back: nothing may follow it. Where `to` takes no more it
 * counts as given, as all does that is dropped there from now on. */
static void give_failed(struct splice *s, int res) {
    struct wire *to = s->to;
    s->given += s->piped;
    splice_break(s);
    if (res == -ENOMEM || res == -ENOBUFS) {
        wire_starved(to);
    } else {
        wire_send_failed(to, res);
    }
}

/* False: it is over, or has to wait. */
static bool take(struct splice *s, uint32_t most) {
    uint32_t len = s->left < most ? (uint32_t)s->left : most;
    int res = sys_splice(s->from->fd, s->pipe[1], len);
    if (res == -EAGAIN && !s->readable) {
        s->to->sender->pace.waits = false;   /* it has taken all that there is */
        in_watch(s);
        return false;
    }
    s->readable = false;
    if (res <= 0) {
        /* Whatever it is, the next receive meets it, and tells; an urgent byte of TCP, which
         * splice(2) does not pass, it leaves out. */
        splice_break(s);
        return false;
    }
    s->piped = (uint32_t)res;
    s->left -= s->piped;
    s->taken += s->piped;
    s->moved_us = ring_now_us(s->net->ring);
    stats_add(ring_stats(s->net->ring), STAT_RX_BYTES, s->piped);
    return true;
}

static bool give(struct splice *s) {
    struct wire *to = s->to;
    int res = sys_splice(s->pipe[0], to->fd, s->piped);
    if (res == -EAGAIN) {
        out_watch(s);
        return false;
    }
    if (res <= 0) {
        give_failed(s, res);
        return false;
    }
    s->piped -= (uint32_t)res;
    s->given += (uint32_t)res;
    to->sent = true;
    to->sender->pace.given += (uint32_t)res;
    stats_add(ring_stats(s->net->ring), STAT_TX_BYTES, (uint32_t)res);
    stats_add(ring_stats(s->net->ring), STAT_SPLICED_BYTES, (uint32_t)res);
    return true;
}

/* What stands behind the last byte would be seen by nobody until the next receive, and the wire may
 * be used again before. */
static void splice_done(struct splice *s) {
    int res = sys_splice(s->from->fd, s->pipe[1], 1);
    s->from->surplus = res != -EAGAIN;
    s->piped = res > 0 ? 1 : 0;
    splice_break(s);
}

static void splice_run(struct task *task) {
    struct splice *s = container_of(task, struct splice, task);
    uint64_t begun = s->given;
    while (s->left > 0 || s->piped > 0) {
        if (s->piped > 0) {
            if (!give(s)) {
                return;
            }
        } else if (s->given - begun >= SPLICE_TURN_BYTES) {
            task_yield(s->net->ring, &s->task);
            return;
        } else if (!take(s, SPLICE_TURN_BYTES - (uint32_t)(s->given - begun))) {
            return;
        }
    }
    splice_done(s);
}

/* --- The door ----------------------------------------------------------------------------- */

static bool wire_is_plain(const struct wire *w) {
    return w->state == WIRE_OPEN && w->tls == NULL && !w->dead && w->splice == NULL;
}

struct splice *splice_hold(struct wire *from, struct wire *to, struct task *owner) {
    ensure_magic(from, WIRE_MAGIC);
    ensure_magic(to, WIRE_MAGIC);
    struct net *net = from->net;
    if (!wire_is_plain(from) || !wire_is_plain(to) || from->eof || to->tx_dead) {
        return NULL;
    }
    struct splice *s = pool_get(&net->splices);
    if (s == NULL) {
        return NULL;
    }
    *s = (struct splice){.state = SPLICE_HOLDING, .net = net, .from = from, .to = to,
                         .owner = owner, .moved_us = ring_now_us(net->ring)};
    if (!pipe_get(net, s->pipe)) {
        stats_add(ring_stats(net->ring), STAT_SPLICE_REFUSED, 1);
        pool_put(&net->splices, s);
        return NULL;
    }
    task_init(&s->task, splice_run);
    s->task.lane = TASK_BULK;
    from->splice = to->splice = s;
    from->held = true;
    op_cancel(net->ring, &from->op_rx);
    splice_look(s);
    return s;
}

bool splice_may_go(const struct splice *s) {
    const struct wire *from = s->from, *to = s->to;
    bool sends = to->sender != NULL && !op_idle(&to->sender->op);
    return op_idle(&from->op_rx) && from->rx.bytes == 0 && wire_flushed(to) && !sends;
}

void splice_look(struct splice *s) {
    if (s->state == SPLICE_HOLDING && splice_may_go(s)) {
        task_wake(s->net->ring, s->owner);
    }
}

void splice_go(struct splice *s, uint64_t bytes) {
    ensure(s->state == SPLICE_HOLDING && bytes > 0);
    if (sender_get(s->to) == NULL) {
        wire_starved(s->to);
        return;
    }
    s->state = SPLICE_MOVING;
    s->left = bytes;
    bool can = sys_nonblock(s->from->fd, true) == 0 && sys_nonblock(s->to->fd, true) == 0;
    ensure(can);   /* else its calls would block us */
    task_wake(s->net->ring, &s->task);
}

bool splice_is_full(const struct splice *s) {
    return s->state == SPLICE_HOLDING || s->piped > 0 || list_linked(&s->task.ready);
}
