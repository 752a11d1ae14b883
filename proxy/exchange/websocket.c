/* The frames of WebSockets that go through a tunnel (RFC 6455 5.2): not what is in them, but where
 * they begin, so that a last one of gyre's own can stand between them when it stops. */
#include "exchange/exchange_priv.h"

#define OPCODE_CLOSE 8u

/* Without its mask. Known once two bytes of it are there. */
static uint32_t head_size(const struct frames *f) {
    unsigned len = f->head_len < 2 ? 0 : f->head[1] & 127u;
    return len == 127 ? 10 : len == 126 ? 4 : 2;
}

static void frame_begin(struct frames *f) {
    uint64_t len = f->head[1] & 127u;
    if (len >= 126) {
        len = 0;
        for (uint32_t i = 2; i < f->head_len; i++) {
            len = len << 8 | f->head[i];
        }
    }
    f->left = len + ((f->head[1] & 128u) != 0 ? 4 : 0);
    f->closed = f->closed || (f->head[0] & 15u) == OPCODE_CLOSE;
    f->head_len = 0;
}

/* Returns how many bytes it has read of the head. */
static uint32_t head_pass(struct frames *f, const uint8_t *p, uint32_t len) {
    uint32_t i = 0;
    while (i < len && f->head_len < head_size(f)) {
        f->head[f->head_len++] = p[i++];
    }
    if (f->head_len == head_size(f)) {
        frame_begin(f);
    }
    return i;
}

void frames_pass(struct frames *f, const struct bufq *q, uint32_t len) {
    for (uint32_t at = 0, n; at < len; at += n) {
        if (f->left > 0) {
            n = f->left < len - at ? (uint32_t)f->left : len - at;
            f->left -= n;
            continue;
        }
        struct iovec iov;
        ensure(bufq_peek(q, at, &iov, 1) == 1);
        n = iov.iov_len < len - at ? (uint32_t)iov.iov_len : len - at;
        n = head_pass(f, iov.iov_base, n);
    }
}

/* The mask of the one to a server is 0: there is nothing in it that a stranger has chosen (RFC 6455
 * 10.3). */
void frames_close(const struct frames *f, struct bufq *to, bool masked) {
    static const uint8_t plain[] = {128u | OPCODE_CLOSE, 2, 1001 >> 8, 1001 & 255};
    static const uint8_t hidden[] = {128u | OPCODE_CLOSE, 128u | 2, 0, 0, 0, 0,
                                     1001 >> 8, 1001 & 255};
    if (f->left > 0 || f->head_len > 0 || f->closed) {
        return;
    }
    bufq_copy(to, masked ? hidden : plain, masked ? sizeof hidden : sizeof plain);
}
