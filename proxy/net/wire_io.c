/* The bytes of a wire: one receive, one send, and TLS between them and the owner. */
#include <errno.h>
#include <poll.h>

#include "net/net_priv.h"

static bool wire_is_tls(const struct wire *w) {
    return w->tls != NULL && !w->plain;
}

static enum close_reason wire_gone(const struct wire *w) {
    return w->to == NULL ? CLOSE_CLIENT_GONE : CLOSE_BACKEND_CLOSED;
}

/* --- Receiving ---------------------------------------------------------------------------- */

/* So many bytes take TLS as long as some requests take in all: its turn is not among theirs. */
#define BULK_BYTES (32u * 1024u)

static void turn_wake(struct wire *w) {
    if (w->turn.lane != TASK_HANDSHAKE) {
        bool bulk = w->intake->cipher.bytes >= BULK_BYTES ||
                    (w->sender != NULL && w->sender->tx.bytes >= BULK_BYTES);
        w->turn.lane = bulk ? TASK_BULK : TASK_LIVE;
    }
    task_wake(w->net->ring, &w->turn);
}

/* Where received bytes go first, and how many more may come. */
static struct bufq *wire_landing(struct wire *w) {
    return wire_is_tls(w) || w->state == WIRE_PREFACE ? &w->intake->cipher : &w->rx;
}

/* While there is no room, only a client's death is of interest. A server that is gone may have
 * left the rest of its response in the kernel, and after that the receive tells. */
static void wire_watch(struct wire *w) {
    if (w->to == NULL && !w->hung_up && !w->close_sent && w->state == WIRE_OPEN &&
        op_idle(&w->op_end)) {
        op_watch(w->net->ring, &w->op_end, w->fd, POLLERR);
    }
}

static void read_on(struct wire *w, bool in_turn) {
    if (w->dead || w->eof || w->held || w->state == WIRE_DIALING || w->state == WIRE_CLOSING) {
        return;
    }
    if (bufq_room(wire_landing(w)) == 0) {
        if (w->tx_reset && w->to == NULL) {
            wire_lost(w, wire_gone(w));   /* the send took the error that a watch would wait for */
        } else if (!op_idle(&w->op_rx)) {
            op_cancel(w->net->ring, &w->op_rx);
        } else if (in_turn) {
            wire_watch(w);
        } else {
            /* The owner may yet take something in this turn: then there is no need to watch. */
            task_wake(w->net->ring, &w->turn);
        }
        return;
    }
    if (op_idle(&w->op_rx)) {
        op_cancel(w->net->ring, &w->op_end);
        op_recv(w->net->ring, &w->op_rx, w->fd, bufq_room(wire_landing(w)));
    }
}

void wire_read(struct wire *w) {
    read_on(w, false);
}

/* Whoever still sends after so much was dropped of it does not look at its answer; the reset that
 * destroys it then is its own doing. What is on its way when an answer comes early is less: the
 * largest windows of usual stacks are 4 to 16 MiB. */
#define LINGER_BYTES_MAX (16u << 20)

/* True when it has dropped enough, and is shut. */
static bool wire_lingered(struct wire *w, uint32_t len) {
    w->lingered += len;
    if (w->lingered <= LINGER_BYTES_MAX) {
        return false;
    }
    w->reset = w->reset || !wire_flushed(w);
    wire_shut(w, w->why);
    return true;
}

static void wire_received(struct wire *w, struct seg *seg, uint32_t len) {
    if (w->state == WIRE_ENDING && wire_lingered(w, len)) {
        return;
    }
    if (w->state == WIRE_CLOSING || w->dead || w->plain ||
        (w->state == WIRE_ENDING && !wire_is_tls(w))) {
        return;
    }
    if (w->state == WIRE_PREFACE) {
        wire_preface_received(w, seg, len);
    } else if (wire_is_tls(w)) {
        struct bufq *cipher = &w->intake->cipher;
        bufq_push(cipher, seg, 0, len);
        if (cipher->failed && w->state != WIRE_ENDING) {
            wire_starved(w);
            return;
        }
        turn_wake(w);
        if (w->turn.lane != TASK_LIVE) {
            bufq_settle(cipher);   /* its turn may be far: it stands in a lane of its own */
        }
    } else {
        bufq_push(&w->rx, seg, 0, len);
        wire_wake(w, WIRE_RX);
        if (w->rx.failed) {
            wire_starved(w);
        }
    }
}

/* The peer's FIN. Under TLS it counts once all that came before is decrypted. */
static void wire_ended(struct wire *w) {
    w->eof = true;
    if (w->state == WIRE_PREFACE) {
        wire_preface_ended(w);
    } else if (wire_is_tls(w)) {
        turn_wake(w);   /* the last of the handshake may have come as well */
    } else {
        wire_wake(w, WIRE_EOF);
    }
    wire_ending(w);
}

void wire_rx_done(struct op *op, int res, struct seg *seg, bool armed) {
    struct wire *w = container_of(op, struct wire, op_rx);
    if (res > 0) {
        wire_received(w, seg, (uint32_t)res);
        seg_unref(seg);
    } else if (w->state == WIRE_CLOSING || w->dead) {
        /* The last completion of a wire that is on its way out. */
    } else if (res == 0 && (!w->tx_reset || wire_is_tls(w))) {
        wire_ended(w);
    } else if (res == -ENOMEM) {
        wire_starved(w);
    } else if (res != -ECANCELED) {
        wire_lost(w, wire_gone(w));
    }
    if (!armed || bufq_room(wire_landing(w)) == 0) {
        wire_read(w);
    }
    if (w->splice != NULL) {
        splice_look(w->splice);
    }
    wire_join(w);
}

void wire_pull(struct wire *w) {
    ensure_magic(w, WIRE_MAGIC);
    if (wire_is_tls(w)) {
        if (!w->dead && (w->tls_waits || w->intake->cipher.bytes > 0 || w->eof)) {
            turn_wake(w);
        }
    } else if (w->op_rx.state != OP_ARMED && w->to != NULL) {
        task_wake(w->net->ring, &w->turn);   /* the owner may yet hold it in this turn */
    } else if (w->op_rx.state != OP_ARMED) {
        wire_read(w);
    }
}

/* --- Sending ------------------------------------------------------------------------------ */

/* The most that one send takes along; larger ones gain nothing, and hold other wires up. */
#define SEND_BYTES_MAX (256u * 1024u)

/* What waits in a send is held as what waits for one is: where memory is pressed it is no more. */
static uint32_t send_room(const struct sender *s) {
    uint32_t most = memory_is_pressed() ? BUFQ_PRESSED : SEND_BYTES_MAX;
    return s->sending.bytes < most ? most - s->sending.bytes : 0;
}

/* Its op is in flight. */
void sender_waits(struct sender *s, struct net *net) {
    s->began_ms = ring_now_ms(net->ring);
    pace_waits(s);
    list_append(&net->sends, &s->link);
    if (!timer_armed(&net->sweep)) {
        timer_arm(net->ring, &net->sweep, NET_SWEEP_MS);
    }
}

/* All that is left goes, and a FIN follows it, which leaves with it then: a segment less, and one
 * wake of the peer less. */
static bool is_last(const struct wire *w) {
    return w->sender->tx.bytes == 0 && (w->last || w->fin_wanted);
}

/* more: of all that is left. Of a part of it the rest follows when the peer takes it, no sooner. */
static void send_start(struct sender *s, struct net *net, int fd, bool more) {
    struct sendv *v = s->sending.count > 1 ? pool_get(&net->sendvs) : NULL;
    if (v == NULL) {   /* one piece, or no memory to name them all */
        const uint8_t *p = bufq_front(&s->sending, &s->asked);
        op_send(net->ring, &s->op, fd, p, s->asked, more && s->asked == s->sending.bytes);
    } else {
        int n = bufq_peek(&s->sending, 0, v->iov, SENDV_MAX);
        v->msg = (struct msghdr){.msg_iov = v->iov, .msg_iovlen = (size_t)n};
        s->asked = 0;
        for (int i = 0; i < n; i++) {
            s->asked += (uint32_t)v->iov[i].iov_len;
        }
        s->sendv = v;
        op_sendv(net->ring, &s->op, fd, &v->msg, more && s->asked == s->sending.bytes);
    }
    sender_waits(s, net);
}

/* Starts a send of what is ready to go; when nothing is left, what was to follow it follows. */
static void wire_flush(struct wire *w) {
    if (w->dead || w->state == WIRE_DIALING || w->state == WIRE_PREFACE) {
        return;
    }
    struct sender *s = w->sender;
    if (s != NULL && s->tx.bytes > 0 && !wire_is_tls(w) && op_idle(&s->op)) {
        bufq_move(&s->sending, &s->tx, send_room(s));
    }
    if (sender_is_lost(w)) {
        wire_starved(w);
        return;
    }
    if (s != NULL && !op_idle(&s->op)) {
        return;
    }
    if (s != NULL && s->sending.bytes > 0) {
        send_start(s, w->net, w->fd, is_last(w));
        return;
    }
    bool ended = !wire_is_tls(w) || w->end_sent || w->tx_dead;
    if (w->fin_wanted && !w->fin_sent && (s == NULL || s->tx.bytes == 0) && ended) {
        w->fin_sent = true;
        (void)sys_shutdown(w->fd, SHUT_WR);   /* ENOTCONN: the peer was faster */
    }
}

/* Under TLS the turn encrypts first, and flushes then. */
void wire_send(struct wire *w) {
    if (wire_is_tls(w)) {
        if (!w->dead) {
            turn_wake(w);
        }
    } else {
        wire_flush(w);
    }
}

/* The kernel takes no more bytes of us. What the peer has sent may still be read. */
static void wire_tx_broken(struct wire *w) {
    w->tx_dead = true;
    if (w->sender != NULL) {
        bufq_drop(&w->sender->sending, w->sender->sending.bytes);
        bufq_drop(&w->sender->tx, w->sender->tx.bytes);
    }
    wire_read(w);
}

/* A reset is told once: the send that takes it leaves the receive an end that looks like the peer's
 * FIN (tcp_reset() of Linux). Where the FIN had come, the error is EPIPE. */
void wire_send_failed(struct wire *w, int res) {
    w->tx_reset = res != -EPIPE;
    wire_tx_broken(w);
}

static void wire_tell_room(struct wire *w, bool sent) {
    bool flushed = sent && w->tell_sent && wire_flushed(w);
    struct bufq *tx = w->sender != NULL ? &w->sender->tx : NULL;
    bool roomy = tx != NULL && tx->awaited && (w->tx_dead || bufq_is_roomy(tx));
    if (roomy) {
        tx->awaited = false;
    }
    if (flushed || roomy) {
        wire_wake(w, WIRE_ROOM);
    }
}

static void send_went(struct sender *s, uint32_t len) {
    bufq_drop(&s->sending, len);
    pace_sent(s, len);
    if (len < s->asked) {
        bufq_settle(&s->sending);   /* what is left waits for a slow peer */
    }
}

void wire_tx_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg;
    (void)armed;
    struct sender *s = container_of(op, struct sender, op);
    struct wire *w = s->wire;
    bool settling = s->settling;
    s->settling = false;
    if (s->sendv != NULL) {
        pool_put(&w->net->sendvs, s->sendv);
        s->sendv = NULL;
    }
    list_remove(&s->link);
    if (res >= 0) {
        w->sent = true;
        send_went(s, (uint32_t)res);
    }
    if (res == -ENOMEM || res == -ENOBUFS) {
        wire_starved(w);
    }
    if (w->dead || w->state == WIRE_CLOSING) {
        wire_join(w);
        return;
    }
    if (settling && res == -ECANCELED) {
        bufq_settle(&s->sending);
    } else if (res < 0) {
        wire_send_failed(w, res);
    }
    wire_send(w);
    wire_tell_room(w, true);
    if (w->splice != NULL) {
        splice_look(w->splice);
    }
    sender_settle(w);
    wire_ending(w);
    wire_join(w);
}

/* Of the ring's receive buffers the last ones are in use. Those that go into a send now would come
 * home when its peer takes it, or when the sweep sees that it does not: too late for others. */
static bool buffers_are_tight(const struct wire *w) {
    const struct segpool *pool = ring_receive_pool(w->net->ring);
    return pool->live_max != 0 && pool->live_max - pool->live <= pool->live_max / 16;
}

void wire_push(struct wire *w) {
    ensure_magic(w, WIRE_MAGIC);
    struct bufq *tx = w->sender != NULL ? &w->sender->tx : NULL;
    if (w->tx_dead || w->dead) {
        if (tx != NULL) {
            bufq_drop(tx, tx->bytes);
        }
        if (!w->dead) {
            wire_tell_room(w, true);
        }
        sender_settle(w);
        return;
    }
    if (tx != NULL && buffers_are_tight(w)) {
        bufq_settle(tx);
    }
    wire_send(w);
    if (wire_room(w) == 0) {
        bufq_settle(&w->sender->tx);
    }
}

/* --- TLS ---------------------------------------------------------------------------------- */

/* Received bytes that may wait for TLS to take them. */
#define CIPHER_MARK (64u * 1024u)

static void turn_failed(struct wire *w) {
    w->tls_failed = true;
    wire_flush(w);   /* the alert */
    wire_lost(w, tls_why(w->tls));
}

/* An alert would look like noise to a client that speaks HTTP. */
static void turn_plain(struct wire *w) {
    w->plain = true;
    w->turn.lane = TASK_LIVE;
    bufq_drop(&w->intake->cipher, w->intake->cipher.bytes);
    wire_wake(w, WIRE_PLAIN);
    read_on(w, true);
}

static void turn_up(struct wire *w) {
    struct tls_facts facts;
    tls_facts(w->tls, &facts);
    stats_add(ring_stats(w->net->ring), STAT_HANDSHAKES, 1);
    if (facts.resumed) {
        stats_add(ring_stats(w->net->ring), STAT_RESUMED, 1);
    }
    w->turn.lane = TASK_LIVE;
    w->intake->cipher.mark = CIPHER_MARK;
    wire_up(w);
}

/* The peer's end, as its owner is to see it: after the last plain byte. */
static void turn_ended(struct wire *w, enum tls_want want) {
    if (w->end_told) {
        return;
    }
    if (tls_is_ended(w->tls)) {
        w->end_told = true;
        w->eof = true;
        op_cancel(w->net->ring, &w->op_rx);
        wire_wake(w, WIRE_EOF);
    } else if (w->eof && want == TLS_WANT_CIPHER && w->state == WIRE_HANDSHAKE) {
        wire_lost(w, wire_gone(w));
    } else if (w->eof && want == TLS_WANT_CIPHER) {
        w->end_told = true;
        w->cut = true;
        wire_wake(w, WIRE_EOF);
    }
}

static enum tls_want turn_step(struct wire *w, struct sender *s) {
    uint32_t before = w->rx.bytes;
    enum tls_want want = tls_step(w->tls, &w->intake->cipher, &w->rx, &s->tx, &s->sending);
    if (w->state == WIRE_HANDSHAKE && tls_is_up(w->tls)) {
        turn_up(w);
    }
    if (w->state == WIRE_ENDING) {
        bufq_drop(&w->rx, w->rx.bytes);
    } else if (w->rx.bytes > before) {
        wire_wake(w, WIRE_RX);
    }
    return want;
}

/* close_notify goes after the last byte of tx. */
static void turn_end(struct wire *w, struct sender *s) {
    if (w->fin_wanted && !w->end_sent && s->tx.bytes == 0 && tls_is_up(w->tls)) {
        tls_end(w->tls, &s->sending);
        w->end_sent = true;
    }
}

void wire_turn_run(struct task *task) {
    struct wire *w = container_of(task, struct wire, turn);
    if (w->dead || w->state == WIRE_CLOSING) {
        return;
    }
    if (!wire_is_tls(w) || w->state == WIRE_PREFACE) {
        read_on(w, true);
        return;
    }
    struct sender *s = sender_get(w);   /* for what OpenSSL itself has to say, too */
    if (s == NULL) {
        wire_starved(w);
        return;
    }
    enum tls_want want = turn_step(w, s);
    if ((w->rx.failed || sender_is_lost(w)) && w->state != WIRE_CLOSING) {
        wire_starved(w);
        return;
    }
    w->tls_waits = want != TLS_WANT_CIPHER;
    if (want == TLS_FAILED && tls_why(w->tls) == CLOSE_PLAIN_HTTP) {
        turn_plain(w);
        return;
    }
    if (want == TLS_FAILED) {
        turn_failed(w);
        return;
    }
    turn_end(w, s);
    if (w->tx_dead) {
        bufq_drop(&s->sending, s->sending.bytes);
    }
    if (want == TLS_WANT_TURN || (want == TLS_WANT_ROOM && w->state == WIRE_ENDING)) {
        task_yield(w->net->ring, &w->turn);
    }
    turn_ended(w, want);
    bufq_settle(&w->intake->cipher);
    wire_flush(w);
    wire_tell_room(w, false);
    sender_settle(w);
    read_on(w, true);
    wire_ending(w);
}
