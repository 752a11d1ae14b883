/* The sending half of a stream: framing of what its owner pushes, room, and the end. */
#include "http/h1_priv.h"

/* A body of up to this is copied behind its head, so that both are one slice and one send. */
#define COPY_MAX 4096u

/* Where this many slices wait, small ones are copied together. */
#define SLICES_MANY 32u

void h1_tx_start(struct h1_tx *tx, enum h1_framing framing, uint64_t length) {
    *tx = (struct h1_tx){.framing = (uint8_t)framing, .head_sent = true, .left = length,
                         .done = framing == H1_TX_NONE};
}

/* One chunk of all that there is, or that there is room for. */
static void frame(struct h1_tx *tx, struct bufq *to, struct bufq *from, uint32_t n) {
    switch (tx->framing) {
    case H1_TX_NONE:
        bufq_drop(from, n);
        return;
    case H1_TX_LENGTH:
        ensure(n <= tx->left);
        tx->left -= n;
        break;
    case H1_TX_CHUNKED:
        h1_write_chunk_line(to, n);
        bufq_move_small(to, from, n, COPY_MAX);
        bufq_copy(to, "\r\n", 2);
        return;
    default:
        break;
    }
    bufq_move_small(to, from, n, COPY_MAX);
}

/* The last bytes are taken whatever room there is: so nothing of a stream is left behind when its
 * owner is done, and a wire holds at most its own mark and one stream's more. */
static void finish(struct h1_tx *tx, struct stream *st, struct wire *wire,
                   const struct head *trailers) {
    if (st->tx.bytes > 0) {
        frame(tx, wire_tx(wire), &st->tx, st->tx.bytes);
    }
    if (tx->framing == H1_TX_LENGTH && tx->left > 0) {
        tx->short_of = true;
        return;
    }
    if (tx->framing == H1_TX_CHUNKED) {
        h1_write_last_chunk(wire_tx(wire), trailers);
    }
    tx->done = true;
}

static void tell_sent(struct h1_tx *tx, struct http *http, struct stream *st,
                      const struct wire *wire) {
    if (tx->done && !tx->sent && st->tell_sent && wire_flushed(wire)) {
        tx->sent = true;
        stream_wake(http, st, STREAM_SENT);
    }
}

void h1_tx_push(struct h1_tx *tx, struct http *http, struct stream *st, struct wire *wire,
                const struct head *trailers) {
    if (tx->done || tx->short_of) {
        bufq_drop(&st->tx, st->tx.bytes);
        tell_sent(tx, http, st, wire);
        return;
    }
    if (st->tx.failed) {
        wire_tx(wire)->failed = true;   /* what is lost here ends it all */
    }
    st->tx_bytes += st->tx.bytes;
    if (st->tx_end) {
        wire->tell_sent = st->tell_sent;
        finish(tx, st, wire, trailers);
        wire->last = tx->last && tx->done;
        wire_push(wire);
        if (tx->done && tx->framing == H1_TX_RAW) {
            wire_finish(wire);
        }
        tell_sent(tx, http, st, wire);
        return;
    }
    uint32_t room;
    if (wire_room(wire) == 0) {
        wire_push(wire);   /* a head that has no room beside it, and was not pushed yet */
    }
    while (st->tx.bytes > 0 && (room = wire_room(wire)) > 0) {
        frame(tx, wire_tx(wire), &st->tx, st->tx.bytes < room ? st->tx.bytes : room);
        wire_push(wire);
    }
    st->tx_bytes -= st->tx.bytes;
    if (st->tx.bytes > 0) {
        (void)bufq_ask(&st->tx);
        h1_settle(&st->tx);
    }
}

void h1_tx_room(struct h1_tx *tx, struct http *http, struct stream *st, struct wire *wire) {
    if (st->tx.bytes > 0) {
        h1_tx_push(tx, http, st, wire, NULL);
    }
    if (st->tx.awaited && bufq_is_roomy(&st->tx)) {
        st->tx.awaited = false;
        stream_wake(http, st, STREAM_ROOM);
    }
    tell_sent(tx, http, st, wire);
}

void h1_settle(struct bufq *q) {
    if (q->count >= SLICES_MANY) {
        bufq_join(q, COPY_MAX);
    }
    bufq_settle(q);
}
