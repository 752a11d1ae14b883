/* The PROXY header that an accepted wire begins with: nothing else is done before it is there. */
#include "net/net_priv.h"

static enum proxyproto_result preface_read(struct wire *w, uint32_t *used) {
    uint8_t bytes[PROXYPROTO_HEADER_MAX];
    uint32_t len = bufq_read(&w->intake->cipher, bytes, PROXYPROTO_V1_MAX);
    enum proxyproto_result result = proxyproto_read(bytes, len, &w->intake->told, used);
    if (result == PROXYPROTO_MORE && *used > len && *used <= w->intake->cipher.bytes) {
        len = bufq_read(&w->intake->cipher, bytes, *used);
        result = proxyproto_read(bytes, len, &w->intake->told, used);
    }
    return result;
}

/* Half a header waits for its sender: not in a receive buffer, nor, however it is cut, in more
 * memory than its bytes need. */
static void preface_keep(struct wire *w) {
    struct seg *seg = w->intake->cipher.failed ? NULL : seg_new_sized(w->intake->cipher.bytes);
    if (seg != NULL) {
        seg->used = bufq_read(&w->intake->cipher, seg->data, w->intake->cipher.bytes);
        bufq_drop(&w->intake->cipher, w->intake->cipher.bytes);
        bufq_push(&w->intake->cipher, seg, 0, seg->used);
        seg_unref(seg);
    }
    if (w->intake->cipher.failed || seg == NULL) {
        wire_starved(w);
    }
}

/* What follows the header goes on untouched: to TLS, or to the owner. */
static void preface_done(struct wire *w, uint32_t len) {
    bufq_drop(&w->intake->cipher, len);
    if (w->intake->told.told && !wire_count(w, &w->intake->told.client)) {
        w->reset = true;
        wire_lost(w, CLOSE_CLIENT_LIMIT);
        return;
    }
    bool more = w->intake->cipher.bytes > 0;
    if (w->tls == NULL) {
        bufq_move(&w->rx, &w->intake->cipher, w->intake->cipher.bytes);
    }
    if (w->rx.failed) {
        wire_starved(w);
        return;
    }
    wire_wake(w, WIRE_TOLD | (more && w->tls == NULL ? WIRE_RX : 0));
    wire_begin(w);
    if (more && w->tls != NULL) {
        bufq_settle(&w->intake->cipher);
        task_wake(w->net->ring, &w->turn);
    }
}

void wire_preface_received(struct wire *w, struct seg *seg, uint32_t len) {
    uint32_t used = 0;
    bufq_push(&w->intake->cipher, seg, 0, len);
    switch (preface_read(w, &used)) {
    case PROXYPROTO_MORE:
        preface_keep(w);
        return;
    case PROXYPROTO_DONE:
        preface_done(w, used);
        return;
    case PROXYPROTO_BAD:
        wire_lost(w, CLOSE_BAD_PROXY);
        return;
    }
}

/* A balancer that only looks whether somebody listens says nothing; half a header is none. */
void wire_preface_ended(struct wire *w) {
    wire_lost(w, w->intake->cipher.bytes == 0 ? CLOSE_CLIENT_EOF : CLOSE_BAD_PROXY);
}
