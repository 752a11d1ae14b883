/* The life of a wire: made, begun, up, ending, closing, joined. */
#include <errno.h>
#include <poll.h>

#include "net/net_priv.h"

static void wire_end_done(struct op *op, int res, struct seg *seg, bool armed);

static void wire_handshake_fired(struct timer *timer) {
    struct wire *w = container_of(timer, struct wire, stall);
    wire_lost(w, w->state == WIRE_PREFACE ? CLOSE_HEAD_TIMEOUT : CLOSE_HANDSHAKE_TIMEOUT);
}

static void wire_linger_fired(struct timer *timer) {
    struct wire *w = container_of(timer, struct wire, stall);
    wire_shut(w, w->why);
}

/* Received bytes that may wait for a handshake's turn: a whole record. */
#define HANDSHAKE_MARK (17u * 1024u)

static bool wire_intake(struct wire *w, const struct wire_params *params) {
    if (params->tls == NULL && !params->proxy) {
        return true;
    }
    w->intake = pool_get(&w->net->intakes);
    if (w->intake == NULL) {
        return false;
    }
    *w->intake = (struct intake){0};
    bufq_init(&w->intake->cipher, HANDSHAKE_MARK, &w->net->copies);
    if (params->tls != NULL) {
        w->tls = tls_new(params->tls);
        if (w->tls == NULL) {
            pool_put(&w->net->intakes, w->intake);
            return false;
        }
    }
    return true;
}

static struct wire *wire_new(struct net *net, const struct wire_params *params,
                             struct task *owner, int fd) {
    ensure_magic(net, NET_MAGIC);
    struct wire *w = pool_get(&net->wires);
    net->refused = CLOSE_NO_MEMORY;
    if (w == NULL) {
        return NULL;
    }
    *w = (struct wire){
        .magic = WIRE_MAGIC, .fd = fd, .net = net, .owner = owner, .limits = params->limits,
        .tell_sent = true,
        .op_rx.generation = w->op_rx.generation,
        .op_end.generation = w->op_end.generation,
    };
    op_init(&w->op_rx, wire_rx_done);
    op_init(&w->op_end, wire_end_done);
    task_init(&w->turn, wire_turn_run);
    if (!wire_intake(w, params)) {
        w->magic = 0;
        pool_put(&net->wires, w);
        return NULL;
    }
    bufq_init(&w->rx, w->limits->rx_mark, &net->copies);
    return w;
}

/* Nobody waits for the end of a connection that never was: with a reset nothing of it is left. */
static void accept_refuse(struct net *net, const struct wire_params *params) {
    (void)sys_reset_on_close(params->fd);
    (void)sys_close(params->fd);
    wire_close_limit(params->limit);
    stats_close(ring_stats(net->ring), CLOSE_CLIENT_LIMIT);
}

struct wire *wire_accept(struct net *net, const struct wire_params *params, struct task *owner) {
    bool counts = params->clients != NULL && params->client.family != 0;
    if (counts && !client_take(params->clients, &params->client, ring_now_ms(net->ring))) {
        accept_refuse(net, params);
        return NULL;
    }
    struct wire *w = wire_new(net, params, owner, params->fd);
    if (w == NULL) {
        (void)sys_close(params->fd);
        wire_close_limit(params->limit);
        if (counts) {
            client_give(params->clients, &params->client);
        }
        stats_close(ring_stats(net->ring), CLOSE_NO_MEMORY);
        return NULL;
    }
    w->limit = params->limit;
    w->clients = params->clients;
    w->client = params->client;
    timer_init(&w->stall, wire_handshake_fired);
    if (w->tls != NULL || params->proxy) {
        timer_arm(net->ring, &w->stall, w->limits->handshake_ms);
    }
    if (params->proxy) {
        w->state = WIRE_PREFACE;
        wire_read(w);
    } else {
        wire_begin(w);
    }
    return w;
}

void wire_begin(struct wire *w) {
    if (w->tls == NULL) {
        wire_up(w);
        return;
    }
    w->state = WIRE_HANDSHAKE;
    w->turn.lane = TASK_HANDSHAKE;
    wire_read(w);
}

static enum close_reason socket_why(int err) {
    switch (err) {
    case EMFILE:
    case ENFILE:
        return CLOSE_NO_DESCRIPTOR;
    case ENOBUFS:
    case ENOMEM:
        return CLOSE_NO_MEMORY;
    default:
        return CLOSE_CONNECT_REFUSED;   /* a family that this machine does not speak */
    }
}

/* Pipes that nobody uses are the first to make room. */
static int dial_socket(struct net *net, int family) {
    int fd = sys_socket(family);
    if ((fd == -EMFILE || fd == -ENFILE) && net->pipes.idle_count > 0) {
        pipes_trim(net);
        fd = sys_socket(family);
    }
    return fd;
}

struct wire *wire_dial(struct net *net, const struct wire_params *params, struct task *owner) {
    int fd = dial_socket(net, params->to->sa.any.sa_family);
    if (fd < 0) {
        net->refused = (uint8_t)socket_why(-fd);
        return NULL;
    }
    struct wire *w = wire_new(net, params, owner, fd);
    if (w == NULL) {
        (void)sys_close(fd);
        return NULL;
    }
    w->state = WIRE_DIALING;
    w->to = params->to;
    w->limit = params->limit;
    if (w->limit != NULL) {
        atomic_fetch_add_explicit(&w->limit->count, 1, memory_order_relaxed);
    }
    if (params->preface.len > 0) {
        bufq_copy(wire_tx(w), params->preface.p, params->preface.len);
    }
    wire_dial_start(w);
    return w;
}

bool wire_count(struct wire *w, const struct endpoint *client) {
    ensure_magic(w, WIRE_MAGIC);
    ensure(w->to == NULL && w->client.family == 0);
    if (w->clients == NULL || client->family == 0) {
        return true;
    }
    if (!client_take(w->clients, client, ring_now_ms(w->net->ring))) {
        return false;
    }
    w->client = *client;
    return true;
}

const struct proxyproto_ends *wire_told(const struct wire *w) {
    static const struct proxyproto_ends nothing;
    return w->intake != NULL ? &w->intake->told : &nothing;
}

void wire_own(struct wire *w, struct task *owner) {
    ensure_magic(w, WIRE_MAGIC);
    w->owner = owner;
    if (w->ready != 0) {
        task_wake(w->net->ring, owner);
    }
}

void wire_wake(struct wire *w, unsigned ready) {
    w->ready |= (uint8_t)ready;
    if (w->owner != NULL) {
        task_wake(w->net->ring, w->owner);
    }
}

void wire_up(struct wire *w) {
    timer_cancel(w->net->ring, &w->stall);
    w->state = WIRE_OPEN;
    op_init(&w->op_end, wire_end_done);
    wire_wake(w, WIRE_UP);
    wire_read(w);
    wire_send(w);
}

static void wire_stop(struct wire *w) {
    struct ring *ring = w->net->ring;
    timer_cancel(ring, &w->stall);
    task_cancel(ring, &w->turn);
    op_cancel(ring, &w->op_rx);
    if (w->sender != NULL) {
        op_cancel(ring, &w->sender->op);
    }
    if (!w->close_sent) {
        op_cancel(ring, &w->op_end);
    }
}

/* A splice moves nothing more once one of its wires comes to an end. */
static void wire_unsplice(struct wire *w) {
    if (w->splice != NULL) {
        splice_break(w->splice);
    }
}

/* Every op gets its last completion, so an owner that was told may take its time. */
void wire_lost(struct wire *w, enum close_reason why) {
    if (w->dead || w->state == WIRE_CLOSING) {
        return;
    }
    w->dead = true;
    wire_unsplice(w);
    if (w->owner == NULL) {
        w->reset = w->reset || !wire_flushed(w);   /* a truncation must be seen */
        wire_shut(w, w->state == WIRE_ENDING ? (enum close_reason)w->why : why);
        return;
    }
    w->why = (uint8_t)why;
    if (!w->tls_failed) {
        wire_stop(w);
    }
    wire_wake(w, WIRE_LOST);
}

/* The connection itself is well, so nothing but a reset tells the peer that it has not got all. */
void wire_starved(struct wire *w) {
    w->reset = w->reset || w->state != WIRE_ENDING;
    wire_lost(w, CLOSE_NO_MEMORY);
}

void wire_shut(struct wire *w, enum close_reason why) {
    ensure_magic(w, WIRE_MAGIC);
    ensure(w->state != WIRE_CLOSING);
    w->owner = NULL;
    w->dead = true;
    wire_unsplice(w);
    w->state = WIRE_CLOSING;
    w->net->closing++;
    list_remove(&w->endings);
    w->why = (uint8_t)why;
    wire_stop(w);
    bufq_fini(&w->rx);
    if (w->sender != NULL) {
        bufq_fini(&w->sender->tx);
    }
    if (w->intake != NULL) {
        bufq_fini(&w->intake->cipher);
    }
    wire_join(w);
}

void wire_end(struct wire *w, enum close_reason why) {
    ensure_magic(w, WIRE_MAGIC);
    ensure(w->state != WIRE_CLOSING && w->state != WIRE_ENDING);
    if ((w->state != WIRE_OPEN && !w->plain) || w->dead) {
        wire_shut(w, why);
        return;
    }
    wire_unsplice(w);
    timer_cancel(w->net->ring, &w->stall);   /* of a plain one: the handshake's */
    w->owner = NULL;
    w->state = WIRE_ENDING;
    list_append(&w->net->endings, &w->endings);
    w->why = (uint8_t)why;
    w->fin_wanted = true;
    bufq_drop(&w->rx, w->rx.bytes);
    wire_send(w);
    wire_ending(w);
}

/* Once our FIN is out, all that is left is to wait for the peer's, dropping what it sends, so that
 * no reset of the kernel's destroys what is still on its way to it (RFC 9112 9.6). */
void wire_ending(struct wire *w) {
    if (w->state != WIRE_ENDING || !w->fin_sent) {
        return;
    }
    if (w->eof || w->tx_dead) {
        wire_shut(w, w->why);
        return;
    }
    if (!timer_armed(&w->stall)) {
        timer_init(&w->stall, wire_linger_fired);
        timer_arm(w->net->ring, &w->stall, w->limits->linger_ms);
    }
    wire_read(w);
}

void wire_finish(struct wire *w) {
    ensure_magic(w, WIRE_MAGIC);
    if (!w->dead) {
        w->fin_wanted = true;
        wire_send(w);
    }
}

static void wire_free(struct wire *w) {
    struct net *net = w->net;
    sender_free(w);
    if (w->tls != NULL) {
        tls_free(w->tls);
    }
    if (w->intake != NULL) {
        pool_put(&net->intakes, w->intake);
    }
    stats_close(ring_stats(net->ring), w->why);
    wire_close_limit(w->limit);
    if (w->clients != NULL && w->client.family != 0) {
        client_give(w->clients, &w->client);
    }
    w->magic = 0;
    pool_put(&net->wires, w);
    net->closing--;
    net_trim_later(net);
    if (net->wanted > 0) {
        task_wake(net->ring, net->relief);
    }
}

static void wire_end_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg;
    (void)armed;
    struct wire *w = container_of(op, struct wire, op_end);
    if (w->close_sent) {
        wire_free(w);
        return;
    }
    /* The watch of a wire that does not read. Without POLLERR the client has but ended its side,
     * and what came before that waits in the kernel. io_uring's poll tells of it again and again,
     * wanted or not, so there is no more watching then. */
    if ((res > 0 && !(res & POLLERR)) || (res < 0 && res != -ECANCELED)) {
        w->hung_up = true;   /* nor where the kernel can not watch: the next send or read tells */
    } else if (res > 0 && w->state == WIRE_OPEN) {
        wire_lost(w, CLOSE_CLIENT_GONE);
    }
    wire_read(w);
    wire_join(w);
}

void wire_join(struct wire *w) {
    if (w->state != WIRE_CLOSING || w->close_sent || !op_idle(&w->op_rx) ||
        (w->sender != NULL && !op_idle(&w->sender->op)) || !op_idle(&w->op_end)) {
        return;
    }
    w->close_sent = true;
    if (w->reset) {
        (void)sys_reset_on_close(w->fd);
    }
    w->op_end.done = wire_end_done;
    op_close(w->net->ring, &w->op_end, w->fd);
}
