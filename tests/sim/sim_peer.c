/* Scripted peers in the simulated world: they read and write when luck lets them. */
#include <errno.h>
#include <string.h>

#include "sim/sim_priv.h"

#define READ_MAX 65536u

struct sim_peer {
    struct peer peer;
    struct list_node link;         /* sim.peers */
    struct list_node taken;        /* in its listener, until peer_take */
    struct sim *sim;
    struct sim_end *end;           /* NULL once closed */
    struct addr to;
    uint8_t *tx;
    size_t tx_at, tx_cap;          /* what is sent already lies before tx_at */
    bool paused, fin_wanted, fin_sent, freed;
    uint64_t act_us;               /* does nothing before */
};

struct sim_peer_listener {
    struct peer_listener listener;
    struct list_node link;         /* sim.peer_listeners */
    struct sim_listener *sockets;
    struct list_node accepted;     /* not yet taken */
    bool paused;
};

static struct sim_peer *of(struct peer *peer) {
    return container_of(peer, struct sim_peer, peer);
}

struct sim_peer *sim_peer_of(struct list_node *node) {
    return container_of(node, struct sim_peer, link);
}

/* --- Birth and death ---------------------------------------------------------------------- */

static struct sim_peer *peer_new(struct sim *sim, struct sim_end *end) {
    struct sim_peer *p = world_zero(sizeof *p);
    p->sim = sim;
    p->end = end;
    list_append(&sim->peers, &p->link);
    return p;
}

struct peer *peer_dial(const struct addr *to, const struct addr *from) {
    struct sim *sim = sim_current();
    struct sim_peer *p = peer_new(sim, sim_end_new(sim, to->sa.any.sa_family));
    p->to = *to;
    p->peer.state = PEER_DIALING;
    if (from != NULL) {
        p->end->local = *from;
    }
    p->act_us = sim->now_us;
    if (to->sa.any.sa_family != AF_UNIX) {
        p->act_us += sim_draw(sim, 2u * sim->params.latency_us + 1);
    }
    return &p->peer;
}

static void peer_leave(struct sim_peer *p) {
    if (p->end != NULL) {
        sim_end_close(p->end);
        p->end = NULL;
    }
    if (p->peer.state != PEER_REFUSED) {
        p->peer.state = PEER_CLOSED;
    }
    p->peer.tx_len = 0;
}

void peer_close(struct peer *peer) {
    peer_leave(of(peer));
}

void peer_reset(struct peer *peer) {
    struct sim_peer *p = of(peer);
    if (p->end != NULL) {
        p->end->hard_close = true;
    }
    peer_leave(p);
}

static void peer_bury(struct sim_peer *p) {
    list_remove(&p->link);
    list_remove(&p->taken);
    world_free(p->tx);
    world_free(p->peer.rx);
    world_free(p);
}

/* It may be freed by its own callback: it is buried at its next move. */
void peer_free(struct peer *peer) {
    struct sim_peer *p = of(peer);
    peer_leave(p);
    peer->changed = NULL;
    p->freed = true;
    p->act_us = 0;
}

void sim_peers_free(struct sim *sim) {
    while (!list_empty(&sim->peers)) {
        struct sim_peer *p = sim_peer_of(list_first(&sim->peers));
        peer_leave(p);
        peer_bury(p);
    }
    while (!list_empty(&sim->peer_listeners)) {
        struct list_node *node = list_first(&sim->peer_listeners);
        peer_listener_close(&container_of(node, struct sim_peer_listener, link)->listener);
    }
}

/* --- What a script does ------------------------------------------------------------------- */

void peer_send(struct peer *peer, const void *bytes, size_t len) {
    struct sim_peer *p = of(peer);
    ensure(!p->fin_wanted);
    if (p->end == NULL || len == 0) {
        return;
    }
    if (p->tx_at > 0) {
        memmove(p->tx, p->tx + p->tx_at, peer->tx_len);
        p->tx_at = 0;
    }
    if (p->tx_cap - peer->tx_len < len) {
        p->tx_cap = (peer->tx_len + len) * 2;
        p->tx = world_grow(p->tx, p->tx_cap);
    }
    memcpy(p->tx + peer->tx_len, bytes, len);
    peer->tx_len += len;
}

void peer_send_text(struct peer *peer, const char *text) {
    peer_send(peer, text, strlen(text));
}

void peer_fin(struct peer *peer) {
    of(peer)->fin_wanted = true;
}

void peer_pause(struct peer *peer, bool paused) {
    of(peer)->paused = paused;
}

void peer_drop(struct peer *peer, size_t len) {
    ensure(len <= peer->rx_len);
    peer->rx_len -= len;
    if (peer->rx_len > 0) {
        memmove(peer->rx, peer->rx + len, peer->rx_len);
    }
}

uint64_t sim_peer_unread(const struct peer *peer) {
    const struct sim_peer *p = container_of(peer, struct sim_peer, peer);
    const struct sim_end *far = p->end != NULL ? p->end->far : NULL;
    return peer->tx_len + (far != NULL ? far->in.ready + far->in.flying : 0);
}

bool peer_has(const struct peer *peer, const char *text) {
    return peer->rx_len > 0 && memmem(peer->rx, peer->rx_len, text, strlen(text)) != NULL;
}

/* --- A move ------------------------------------------------------------------------------- */

static bool wants_read(const struct sim_peer *p) {
    return !p->paused && !p->peer.eof && !p->peer.reset && sim_end_readable(p->end);
}

static bool wants_send(const struct sim_peer *p) {
    return p->peer.tx_len > 0 && sim_end_writable(p->end);
}

static bool wants_fin(const struct sim_peer *p) {
    return p->fin_wanted && !p->fin_sent && p->peer.tx_len == 0;
}

uint64_t sim_peer_next_us(struct sim_peer *p) {
    bool wants = p->freed || p->peer.state == PEER_DIALING ||
                 (p->peer.state == PEER_OPEN && (wants_read(p) || wants_send(p) || wants_fin(p)));
    return wants ? p->act_us : SIM_NEVER;
}

static void move_dial(struct sim_peer *p) {
    int res = sim_end_connect(p->end, &p->to);
    if (res == -EAGAIN) {
        p->act_us = p->sim->now_us + 1000000;     /* its SYN goes again */
    } else if (res < 0) {
        p->peer.state = PEER_REFUSED;
        peer_leave(p);
    } else {
        p->peer.state = PEER_OPEN;
    }
}

static void peer_was_reset(struct sim_peer *p) {
    p->peer.reset = true;
    p->peer.tx_len = 0;
    sim_note(p->sim, "peer-reset", (int64_t)p->peer.rx_total, 0, 0);
}

static void move_read(struct sim_peer *p) {
    struct sim *sim = p->sim;
    uint32_t len = p->end->in.ready < READ_MAX ? p->end->in.ready : READ_MAX;
    if (len > 1 && sim_fault(sim, SIM_SHORT_RECV)) {
        len = 1 + (uint32_t)sim_draw(sim, len);
    }
    struct peer *peer = &p->peer;
    peer->rx = world_grow(peer->rx, peer->rx_len + len + 1);
    int n = sim_end_recv(p->end, peer->rx + peer->rx_len, len > 0 ? len : 1);
    sim_note(sim, "peer-read", p->end->index, n, 0);
    if (n > 0) {
        peer->rx_len += (uint32_t)n;
        peer->rx_total += (uint32_t)n;
    } else if (n == 0) {
        /* A second look after a reset whose error the send took is a reset still. */
        peer->eof = !p->end->dead || p->end->in.fin_seen;
        peer->reset = !peer->eof;
    } else if (n != -EAGAIN) {
        peer_was_reset(p);
    }
}

static void move_send(struct sim_peer *p) {
    struct iovec iov = {p->tx + p->tx_at, p->peer.tx_len};
    int n = sim_end_send(p->end, &iov, 1, false);
    sim_note(p->sim, "peer-send", p->end->index, n, 0);
    if (n >= 0) {
        p->tx_at += (size_t)n;
        p->peer.tx_len -= (size_t)n;
    } else if (n == -EPIPE) {
        p->peer.tx_len = 0;      /* the far side takes no more; what it sent can still be read */
    } else if (n != -EAGAIN) {
        peer_was_reset(p);
    }
}

void sim_peer_act(struct sim_peer *p) {
    struct sim *sim = p->sim;
    if (p->freed) {
        peer_bury(p);
        return;
    }
    if (sim_fault(sim, SIM_SLOW_PEER)) {
        p->act_us = sim->now_us + 1000 * (1 + sim_draw(sim, sim->params.stall_ms));
        return;
    }
    if (p->peer.state == PEER_DIALING) {
        move_dial(p);
    } else if (wants_read(p) && (!wants_send(p) || sim_draw(sim, 2) == 0)) {
        move_read(p);
    } else if (wants_send(p)) {
        move_send(p);
    } else {
        p->fin_sent = true;
        sim_end_fin(p->end);
        return;
    }
    if (p->peer.changed != NULL) {
        p->peer.changed(&p->peer);
    }
}

/* --- Listeners ---------------------------------------------------------------------------- */

struct peer_listener *peer_listen(const struct addr *addr, uint32_t backlog) {
    struct sim *sim = sim_current();
    if (sim_addr_taken(sim, addr, false)) {
        return NULL;
    }
    struct sim_peer_listener *l = world_zero(sizeof *l);
    l->sockets = sim_listener_new(sim, addr, backlog, false);
    l->listener.addr = l->sockets->addr;
    list_init(&l->accepted);
    list_append(&sim->peer_listeners, &l->link);
    return &l->listener;
}

static struct sim_peer_listener *listener_of(struct peer_listener *listener) {
    return container_of(listener, struct sim_peer_listener, listener);
}

void sim_peers_accept(struct sim *sim) {
    list_each(node, &sim->peer_listeners) {
        struct sim_peer_listener *l = container_of(node, struct sim_peer_listener, link);
        struct sim_end *end;
        while (!l->paused && (end = sim_listener_take(l->sockets)) != NULL) {
            struct sim_peer *p = peer_new(sim, end);
            p->peer.state = PEER_OPEN;
            p->peer.listener = &l->listener;
            l->listener.accepted_count++;
            if (l->listener.accepted != NULL) {
                l->listener.accepted(&p->peer);
            } else {
                list_append(&l->accepted, &p->taken);
            }
        }
    }
}

struct peer *peer_take(struct peer_listener *listener) {
    struct list_node *node = list_pop(&listener_of(listener)->accepted);
    return node == NULL ? NULL : &container_of(node, struct sim_peer, taken)->peer;
}

void peer_listener_pause(struct peer_listener *listener, bool paused) {
    listener_of(listener)->paused = paused;
}

void peer_listener_close(struct peer_listener *listener) {
    struct sim_peer_listener *l = listener_of(listener);
    list_remove(&l->link);
    struct list_node *node;
    while ((node = list_pop(&l->accepted)) != NULL) {
        peer_close(&container_of(node, struct sim_peer, taken)->peer);
    }
    sim_listener_free(l->sockets);
    world_free(l);
}
