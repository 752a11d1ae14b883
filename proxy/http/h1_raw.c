/* Bytes of body that move below us: how many may, and what follows when they have. */
#include "http/h1_priv.h"

uint64_t h1_tx_raw(const struct h1_tx *tx, const struct stream *st) {
    bool may = tx->head_sent && tx->framing == H1_TX_LENGTH && !tx->short_of && st->tx.bytes == 0;
    return may ? tx->left : 0;
}

void h1_tx_moved(struct h1_tx *tx, struct stream *st, uint64_t bytes) {
    ensure(bytes <= tx->left);
    tx->left -= bytes;
    st->tx_bytes += bytes;
}

uint64_t h1_read_raw(const struct h1_read *r) {
    return r->phase == H1_BODY && !r->chunked && !r->until_eof ? r->body_left : 0;
}

bool h1_read_moved(struct h1_read *r, uint64_t bytes) {
    ensure(bytes <= r->body_left);
    r->body_left -= bytes;
    r->body_bytes += bytes;
    if (bytes > 0 && r->body_left == 0) {
        r->phase = H1_END;
        return true;
    }
    return false;
}
