/* How fast peers take what waits for them: who takes nothing, or too little, is given up. */
#include "net/net_priv.h"

/* A wire is looked at (a system call) so often within the time that is measured. */
#define LOOKS 8u

/* While one send follows the other something waits all the time. */
void pace_waits(struct sender *s) {
    if (!s->pace.waits) {
        s->pace.waits = true;
        s->pace.known = false;
        s->pace.looked_ms = s->began_ms;
    }
}

/* Who takes all that there is, is never slow, however little that is. */
void pace_sent(struct sender *s, uint32_t len) {
    s->pace.given += len;
    s->pace.waits = s->sending.bytes > 0 || s->tx.bytes > 0;
}

/* The kernel sends for us only while we are in it (DEFER_TASKRUN), and every completion has been
 * dealt with before any timer fires: given is exact here. An error is of a socket that is dead, or
 * of a kernel that does not tell: then completed sends are all that is known. */
static int64_t pace_look(const struct sender *s) {
    int unsent = sys_unsent(s->wire->fd);
    return (int64_t)s->pace.given - (unsent > 0 ? unsent : 0);
}

static void pace_window(struct pace *p, uint64_t now) {
    p->window_ms = now;
    p->window_bytes = 0;
}

/* The first look, as something has waited for a while: a peer that keeps up costs nothing. */
static void pace_begin(struct pace *p, uint64_t now, int64_t taken) {
    p->known = true;
    p->taken = taken;
    p->looked_ms = p->taken_ms = now;
    pace_window(p, now);
}

/* Less than before it can be at a unix socket alone, where the kernel counts its own overhead. */
static void pace_add(struct pace *p, uint64_t now, int64_t taken) {
    if (taken > p->taken) {
        p->taken_ms = now;
        p->window_bytes += (uint64_t)(taken - p->taken);
    }
    p->taken = taken;
    p->looked_ms = now;
}

/* The window begins anew as soon as its bytes are taken: at no time may the next ones take longer
 * than send_ms. Without a minimum none are asked for. */
enum close_reason pace_judge(struct sender *s) {
    struct pace *p = &s->pace;
    const struct wire_limits *limits = s->wire->limits;
    uint64_t now = ring_now_ms(s->wire->net->ring);
    if (now - p->looked_ms < (p->known ? limits->send_ms / LOOKS : STALLED_MS)) {
        return CLOSE_NONE;
    }
    if (!p->known) {
        pace_begin(p, now, pace_look(s));
        return CLOSE_NONE;
    }
    pace_add(p, now, pace_look(s));
    if (now - p->taken_ms >= limits->send_ms) {
        return CLOSE_SEND_TIMEOUT;
    }
    if (p->window_bytes >= (uint64_t)limits->send_rate_min * limits->send_ms / 1000) {
        pace_window(p, now);
    }
    return now - p->window_ms >= limits->send_ms ? CLOSE_SEND_SLOW : CLOSE_NONE;
}
