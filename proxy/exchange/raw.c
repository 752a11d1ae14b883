/* Large responses of known length: their bytes go from the server's socket to the client's without
 * being read, where both are plain. */
#include "exchange/exchange_priv.h"

/* What is still to come, and to go: the same bytes, where none is in our hands. */
static uint64_t raw_bytes(struct exchange *e, struct wire **from, struct wire **to) {
    if (e->up->rx.bytes > 0 || e->down->tx.bytes > 0) {
        return 0;
    }
    uint64_t come = e->up->ops->raw(e->up, RAW_RX, from);
    uint64_t go = e->down->ops->raw(e->down, RAW_TX, to);
    return come == go ? come : 0;
}

/* A sync server is not to wait for its client, as it would here: what it answers is taken off it as
 * fast as it comes. */
static bool raw_wanted(const struct exchange *e) {
    return e->splice == NULL && !e->unspliced && !e->local && !e->backend->shields &&
           e->opening == NULL && e->down->ops->raw != NULL && e->up->ops->raw != NULL;
}

/* Once is enough: what has ended one would end the next. */
void raw_end(struct exchange *e) {
    struct splice *s = e->splice;
    if (s == NULL) {
        return;
    }
    raw_note(e);
    /* What has come and not gone has not come: else the response would be at its end, and not all
     * of it would be sent. */
    if (s->given > 0) {
        e->up->ops->moved(e->up, RAW_RX, s->given);
        e->down->ops->moved(e->down, RAW_TX, s->given);
    }
    e->splice = NULL;
    e->unspliced = true;
    splice_free(s);
}

/* While it holds, what has come goes on as ever. */
static bool raw_goes(struct exchange *e) {
    struct wire *from, *to;
    if (e->up->rx.bytes > 0 || e->down->tx.bytes > 0 || !splice_may_go(e->splice)) {
        return false;
    }
    uint64_t bytes = raw_bytes(e, &from, &to);
    if (bytes == 0) {
        raw_end(e);
        return false;
    }
    splice_go(e->splice, bytes);
    return true;
}

void raw_begin(struct exchange *e) {
    if (e->splice != NULL && e->splice->state == SPLICE_HOLDING) {
        (void)raw_goes(e);   /* of bytes that a dead connection has dropped nobody tells */
    }
    struct wire *from, *to;
    if (!raw_wanted(e) || raw_bytes(e, &from, &to) < e->room->splice_min) {
        return;
    }
    e->splice = splice_hold(from, to, &e->task);
    e->unspliced = e->splice == NULL;
}

bool raw_moves(struct exchange *e) {
    if (e->splice == NULL) {
        return false;
    }
    if (e->splice->state == SPLICE_HOLDING) {
        return raw_goes(e);
    }
    if (e->splice->state == SPLICE_OVER) {
        raw_end(e);
    }
    return e->splice != NULL;
}

bool raw_is_blocked(const struct exchange *e) {
    return e->splice != NULL && splice_is_full(e->splice);
}

void raw_note(struct exchange *e) {
    if (e->splice != NULL && e->splice->moved_us > e->moved_us) {
        e->moved_us = e->splice->moved_us;
    }
}
