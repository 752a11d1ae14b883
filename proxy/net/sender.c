/* The sending half of a wire: there from its first byte to its last, and what the owner sees of
 * it. */
#include "net/net_priv.h"

/* Sends of TLS hold records; plain ones whatever the owner pushed. */
struct sender *sender_get(struct wire *w) {
    if (w->sender != NULL) {
        return w->sender;
    }
    struct net *net = w->net;
    struct sender *s = pool_get(&net->senders);
    if (s == NULL) {
        w->tx_failed = true;
        return NULL;
    }
    s->wire = w;
    s->settling = false;
    s->sendv = NULL;
    s->link = (struct list_node){0};
    s->pace.waits = false;
    s->pace.given = 0;
    bufq_init(&s->tx, w->limits->tx_mark, &net->copies);
    bufq_init(&s->sending, net->records.seg_size, w->tls != NULL ? &net->records : &net->copies);
    op_init(&s->op, wire_tx_done);
    w->sender = s;
    return s;
}

static bool sender_failed(const struct sender *s) {
    return s->tx.failed || s->sending.failed;
}

void sender_free(struct wire *w) {
    struct sender *s = w->sender;
    if (s != NULL) {
        ensure(op_idle(&s->op));
        bufq_fini(&s->tx);
        bufq_fini(&s->sending);
        w->sender = NULL;
        pool_put(&w->net->senders, s);
    }
}

void sender_settle(struct wire *w) {
    struct sender *s = w->sender;
    if (s != NULL && op_idle(&s->op) && s->tx.bytes == 0 && s->sending.bytes == 0 &&
        !sender_failed(s)) {
        sender_free(w);
    }
}

bool sender_is_lost(const struct wire *w) {
    return w->tx_failed || (w->sender != NULL && sender_failed(w->sender));
}

/* --- The door ----------------------------------------------------------------------------- */

struct bufq *wire_tx(struct wire *w) {
    ensure_magic(w, WIRE_MAGIC);
    struct sender *s = sender_get(w);
    return s != NULL ? &s->tx : &w->net->nowhere;
}

uint32_t wire_room(struct wire *w) {
    return w->sender != NULL ? bufq_ask(&w->sender->tx) : bufq_mark_now(w->limits->tx_mark);
}

bool wire_sent_none(const struct wire *w) {
    return !w->sent && (w->sender == NULL || op_idle(&w->sender->op));
}

bool wire_flushed(const struct wire *w) {
    const struct sender *s = w->sender;
    bool empty = s == NULL || (s->tx.bytes == 0 && s->sending.bytes == 0);
    return w->tx_dead || (empty && !sender_is_lost(w));
}
