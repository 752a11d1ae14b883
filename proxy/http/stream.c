/* What all streams have in common, and the inbox of those that are new. */
#include "http/http_priv.h"

void stream_init(struct stream *st, struct http *http, const struct stream_ops *ops,
                 const struct http_limits *limits, struct task *owner) {
    *st = (struct stream){.magic = STREAM_MAGIC, .ops = ops, .owner = owner, .tell_sent = true};
    arena_init(&st->arena, &http->chunks);
    bufq_init(&st->rx, limits->rx_mark, &http->net->copies);
    bufq_init(&st->tx, limits->tx_mark, &http->net->copies);
}

void stream_fini(struct stream *st) {
    ensure_magic(st, STREAM_MAGIC);
    list_remove(&st->inbox);
    bufq_fini(&st->rx);
    bufq_fini(&st->tx);
    arena_fini(&st->arena);
    st->magic = 0;
}

void stream_wake(struct http *http, struct stream *st, unsigned ready) {
    st->ready |= (uint8_t)ready;
    if (st->owner != NULL) {
        task_wake(http->ring, st->owner);
    }
}

/* The first reason is the one that counts. */
void stream_lost(struct http *http, struct stream *st, enum close_reason why) {
    if (st->why == CLOSE_NONE) {
        st->why = (uint8_t)why;
        stream_wake(http, st, STREAM_LOST);
    }
}

struct head *stream_take_head(struct stream *st) {
    ensure_magic(st, STREAM_MAGIC);
    ensure(st->ready & STREAM_HEAD);
    st->ready &= (uint8_t)~STREAM_HEAD;
    return st->head;
}

struct stream *inbox_pop(struct inbox *inbox) {
    struct list_node *node = list_pop(&inbox->streams);
    return node == NULL ? NULL : container_of(node, struct stream, inbox);
}
