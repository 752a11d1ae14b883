/* Dialling: a connect that ends in an open wire, or in a reason. */
#include <errno.h>

#include "net/net_priv.h"

/* A unix server whose backlog is full is busy, not away: it is asked again this often, until
 * connect_ms is over. There is nothing to wait on: the kernel tells nobody of the room. */
#define UNIX_RETRY_MS 10u

static enum close_reason dial_why(int err) {
    switch (err) {
    case ETIMEDOUT:
        return CLOSE_CONNECT_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case EADDRNOTAVAIL:
        return CLOSE_NO_DESCRIPTOR;
    default:
        return CLOSE_CONNECT_REFUSED;
    }
}

static void dial_unix(struct wire *w) {
    int err = sys_connect_unix(w->fd, w->to);
    if (err == 0) {
        wire_up(w);
    } else if (err == -EAGAIN) {
        uint32_t waited = (uint32_t)ring_now_ms(w->net->ring) - w->began_ms;
        if (waited >= w->limits->connect_ms) {
            wire_lost(w, CLOSE_CONNECT_TIMEOUT);
        } else {
            timer_arm(w->net->ring, &w->stall, UNIX_RETRY_MS);
        }
    } else {
        wire_lost(w, dial_why(-err));
    }
}

void wire_dial_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg;
    (void)armed;
    struct wire *w = container_of(op, struct wire, op_end);
    if (w->state == WIRE_DIALING && !w->dead) {
        if (res == 0) {
            wire_up(w);
        } else {
            wire_lost(w, dial_why(-res));
        }
    }
    wire_join(w);
}

static void dial_stall_fired(struct timer *timer) {
    struct wire *w = container_of(timer, struct wire, stall);
    if (w->to->sa.any.sa_family == AF_UNIX) {
        dial_unix(w);
    } else {
        wire_lost(w, CLOSE_CONNECT_TIMEOUT);
    }
}

void wire_dial_start(struct wire *w) {
    w->began_ms = (uint32_t)ring_now_ms(w->net->ring);
    timer_init(&w->stall, dial_stall_fired);
    if (w->to->sa.any.sa_family == AF_UNIX) {
        dial_unix(w);
        return;
    }
    (void)sys_nodelay(w->fd);   /* not fatal: without it small messages are late */
    timer_arm(w->net->ring, &w->stall, w->limits->connect_ms);
    op_init(&w->op_end, wire_dial_done);
    op_connect(w->net->ring, &w->op_end, w->fd, w->to);
}
