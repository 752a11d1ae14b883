/* Queues of slices. */
#include "base/buf.h"

#include <string.h>

#include "base/ensure.h"
#include "base/fault.h"
#include "base/mem.h"

/* Below this many bytes a waiting slice of a receive buffer is always copied out. */
#define SETTLE_SMALL 4096u

void bufq_init(struct bufq *q, uint32_t mark, struct segpool *copies) {
    q->v = NULL;
    q->head = q->count = 0;
    q->cap = BUFQ_FEW;
    q->failed = q->awaited = false;
    q->bytes = 0;
    q->mark = mark;
    q->copies = copies;
}

void bufq_drop_all_(struct bufq *q) {
    bufq_drop(q, q->bytes);
    bufq_shrink(q);
}

void bufq_shrink(struct bufq *q) {
    if (q->count == 0 && q->v != NULL) {
        mem_free(q->v);
        q->v = NULL;
        q->head = 0;
        q->cap = BUFQ_FEW;
    }
}

static struct slice *slice_at(const struct bufq *q, uint32_t i) {
    const struct slice *v = q->v != NULL ? q->v : q->few;
    return (struct slice *)(uintptr_t)&v[(q->head + i) & (q->cap - 1u)];
}

static struct slice *slice_last(const struct bufq *q) {
    return q->count == 0 ? NULL : slice_at(q, q->count - 1u);
}

/* Room for one slice more. */
static bool queue_grow(struct bufq *q) {
    if (fault_hit(FAULT_SLICES)) {   /* any of them may be the one that needs a longer array */
        q->failed = true;
        return false;
    }
    if (q->count < q->cap) {
        return true;
    }
    uint32_t cap = q->cap * 4u;
    ensure(cap <= 32768);
    struct slice *v = mem_try_alloc(cap * sizeof *v);
    if (v == NULL) {
        q->failed = true;
        return false;
    }
    for (uint32_t i = 0; i < q->count; i++) {
        v[i] = *slice_at(q, i);
    }
    mem_free(q->v);
    q->v = v;
    q->head = 0;
    q->cap = (uint16_t)cap;
    return true;
}

/* The segment that more copied bytes can be written to: the last one, when it is a copy's, nobody
 * else holds it, and our slice ends where its used part ends. */
static struct seg *open_seg(const struct bufq *q) {
    struct slice *last = slice_last(q);
    if (last == NULL || (last->seg->home != q->copies && last->seg->home != NULL) ||
        q->copies == NULL || last->seg->refs != 1 || last->off + last->len != last->seg->used) {
        return NULL;
    }
    return last->seg;
}

/* Small pieces in a row are gathered in a copy: a peer that sends its bytes one by one, or in
 * chunks of one, must not make a slice (and pin a segment) of each. So of two neighbours one is
 * longer than this, or a copy that has room no more. */
#define PIECE_SMALL 256u

static bool piece_is_gathered(const struct bufq *q, uint32_t len) {
    const struct slice *last = slice_last(q);
    return len <= PIECE_SMALL && last != NULL && q->copies != NULL &&
           (last->len <= PIECE_SMALL || open_seg(q) != NULL);
}

/* Appends a slice and takes over one reference on seg. */
static void slice_append(struct bufq *q, struct seg *seg, uint32_t off, uint32_t len) {
    ensure(len > 0 && off + len <= seg->size);
    if (q->failed) {
        seg_unref(seg);
        return;
    }
    struct slice *last = slice_last(q);
    if (last != NULL && last->seg == seg && last->off + last->len == off) {
        q->bytes += len;
        last->len += len;
        seg_unref(seg);
        return;
    }
    if (piece_is_gathered(q, len)) {
        bufq_copy(q, seg->data + off, len);
        seg_unref(seg);
        return;
    }
    if (!queue_grow(q)) {
        seg_unref(seg);
        return;
    }
    q->count++;
    q->bytes += len;
    *slice_last(q) = (struct slice){seg, off, len};
}

void bufq_push(struct bufq *q, struct seg *seg, uint32_t off, uint32_t len) {
    if (len > 0) {
        slice_append(q, seg_ref(seg), off, len);
    }
}

/* Where memory is tight a copy is not more than it must be: thousands of small answers that are
 * owed come to far less than as many segments of the pool. Copies are bounded by what is copied,
 * not by their pool. */
#define COPY_TIGHT 2048u

static struct seg *copy_new(struct segpool *copies, uint32_t want) {
    bool tight = memory_is_tight();
    struct seg *seg = tight && copies->idle == 0 ? NULL : seg_new(copies);
    if (seg != NULL) {
        return seg;
    }
    uint32_t least = want > COPY_TIGHT ? want : COPY_TIGHT;
    return seg_new_sized(tight && least < copies->seg_size ? least : copies->seg_size);
}

uint8_t *bufq_reserve(struct bufq *q, uint32_t want, uint32_t *got) {
    ensure(q->copies != NULL && want <= q->copies->seg_size);
    *got = 0;
    if (q->failed || fault_hit(FAULT_BYTES)) {
        q->failed = true;
        return NULL;
    }
    struct seg *seg = open_seg(q);
    if (seg != NULL && seg->size - seg->used >= want && seg->used < seg->size) {
        *got = seg->size - seg->used;
        return seg->data + seg->used;
    }
    seg = copy_new(q->copies, want);
    if (seg == NULL) {
        q->failed = true;
        return NULL;
    }
    if (!queue_grow(q)) {
        seg_unref(seg);
        return NULL;
    }
    q->count++;
    *slice_last(q) = (struct slice){seg, 0, 0};
    *got = seg->size;
    return seg->data;
}

void bufq_commit(struct bufq *q, uint32_t len) {
    if (q->failed) {
        ensure(len == 0);
        return;
    }
    struct slice *last = slice_last(q);
    ensure(last != NULL && last->seg->refs == 1 && last->off + last->len + len <= last->seg->size);
    last->len += len;
    last->seg->used = last->off + last->len;
    q->bytes += len;
    if (last->len == 0) {
        seg_unref(last->seg);
        q->count--;
    }
}

void bufq_copy(struct bufq *q, const void *from, uint32_t len) {
    const uint8_t *p = from;
    while (len > 0) {
        uint32_t got;
        uint8_t *to = bufq_reserve(q, 1, &got);
        if (to == NULL) {
            return;
        }
        uint32_t n = len < got ? len : got;
        memcpy(to, p, n);
        bufq_commit(q, n);
        p += n;
        len -= n;
    }
}

/* Takes up to max bytes off the front as a slice whose reference passes to the caller. */
static struct slice slice_take(struct bufq *q, uint32_t max) {
    struct slice *first = slice_at(q, 0);
    struct slice out = *first;
    if (out.len > max) {
        out.len = max;
        seg_ref(out.seg);
        first->off += max;
        first->len -= max;
    } else {
        q->head = (uint16_t)((q->head + 1u) & (q->cap - 1u));
        q->count--;
    }
    q->bytes -= out.len;
    return out;
}

/* Most moves are of one slice to an empty queue. */
static inline bool move_whole(struct bufq *to, struct bufq *from, uint32_t max) {
    if (from->count != 1 || to->count != 0 || from->bytes > max || from->failed || to->failed ||
        !queue_grow(to)) {
        return false;
    }
    to->count = 1;
    to->bytes = from->bytes;
    *slice_at(to, 0) = *slice_at(from, 0);
    from->head = (uint16_t)((from->head + 1u) & (from->cap - 1u));
    from->count = 0;
    from->bytes = 0;
    return true;
}

uint32_t bufq_move(struct bufq *to, struct bufq *from, uint32_t max) {
    uint32_t moved = from->bytes;
    if (move_whole(to, from, max)) {
        return moved;
    }
    moved = 0;
    while (moved < max && from->count > 0) {
        struct slice s = slice_take(from, max - moved);
        moved += s.len;
        slice_append(to, s.seg, s.off, s.len);
    }
    to->failed = to->failed || from->failed;
    return moved;
}

/* What is small before s (a head, before its body) goes into the segment of s, where nobody else
 * holds that, and s does not begin at its start (it came behind a head): one piece is sent for less
 * than two. */
static void slice_lead(struct bufq *q, struct slice *s, uint32_t copy_max) {
    struct slice *last = slice_last(q);
    if (last == NULL || last->len > copy_max || last->len > s->off || s->seg->refs > 1) {
        return;
    }
    memcpy(s->seg->data + s->off - last->len, last->seg->data + last->off, last->len);
    s->off -= last->len;
    s->len += last->len;
    q->bytes -= last->len;
    q->count--;
    seg_unref(last->seg);
}

uint32_t bufq_move_small(struct bufq *to, struct bufq *from, uint32_t max, uint32_t copy_max) {
    uint32_t moved = 0;
    while (moved < max && from->count > 0) {
        struct slice s = slice_take(from, max - moved);
        moved += s.len;
        if (s.len <= copy_max) {
            bufq_copy(to, s.seg->data + s.off, s.len);
            seg_unref(s.seg);
        } else {
            slice_lead(to, &s, copy_max);
            slice_append(to, s.seg, s.off, s.len);
        }
    }
    to->failed = to->failed || from->failed;
    return moved;
}

uint32_t bufq_share(struct bufq *to, const struct bufq *from, uint32_t skip, uint32_t max) {
    uint32_t shared = 0;
    for (uint32_t i = 0; i < from->count && shared < max; i++) {
        const struct slice *s = slice_at(from, i);
        if (skip >= s->len) {
            skip -= s->len;
            continue;
        }
        uint32_t n = s->len - skip < max - shared ? s->len - skip : max - shared;
        slice_append(to, seg_ref(s->seg), s->off + skip, n);
        shared += n;
        skip = 0;
    }
    to->failed = to->failed || from->failed;
    return shared;
}

void bufq_join(struct bufq *q, uint32_t copy_max) {
    struct bufq joined;
    bufq_init(&joined, q->mark, q->copies);
    for (uint32_t i = 0; i < q->count; i++) {
        const struct slice *s = slice_at(q, i);
        if (s->len <= copy_max) {
            bufq_copy(&joined, s->seg->data + s->off, s->len);
        } else {
            bufq_push(&joined, s->seg, s->off, s->len);
        }
    }
    if (joined.failed) {
        bufq_fini(&joined);
        return;
    }
    joined.failed = q->failed;
    joined.awaited = q->awaited;
    bufq_fini(q);
    *q = joined;
}

int bufq_peek(const struct bufq *q, uint32_t skip, struct iovec *iov, int iov_max) {
    int n = 0;
    for (uint32_t i = 0; i < q->count && n < iov_max; i++) {
        const struct slice *s = slice_at(q, i);
        if (skip >= s->len) {
            skip -= s->len;
            continue;
        }
        iov[n++] = (struct iovec){s->seg->data + s->off + skip, s->len - skip};
        skip = 0;
    }
    return n;
}

void bufq_drop(struct bufq *q, uint32_t len) {
    ensure(len <= q->bytes);
    q->bytes -= len;
    while (len > 0) {
        struct slice *first = slice_at(q, 0);
        if (first->len > len) {
            first->off += len;
            first->len -= len;
            return;
        }
        len -= first->len;
        q->head = (uint16_t)((q->head + 1u) & (q->cap - 1u));
        q->count--;
        seg_unref(first->seg);
    }
}

uint32_t bufq_read(const struct bufq *q, void *to, uint32_t len) {
    uint8_t *p = to;
    uint32_t done = 0;
    for (uint32_t i = 0; i < q->count && done < len; i++) {
        const struct slice *s = slice_at(q, i);
        uint32_t n = s->len < len - done ? s->len : len - done;
        memcpy(p + done, s->seg->data + s->off, n);
        done += n;
    }
    return done;
}

/* --- Settling ----------------------------------------------------------------------------- */

static bool slice_pins(const struct slice *s) {
    const struct segpool *pool = s->seg->home;
    if (pool == NULL || !pool->receive) {
        return false;
    }
    bool scarce = pool->live_max != 0 && pool->live > pool->live_max / 2;
    return scarce || s->len <= SETTLE_SMALL;
}

bool bufq_pins(const struct bufq *q) {
    for (uint32_t i = 0; i < q->count; i++) {
        if (slice_pins(slice_at(q, i))) {
            return true;
        }
    }
    return false;
}

void bufq_settle(struct bufq *q) {
    for (uint32_t i = 0; i < q->count; i++) {
        struct slice *s = slice_at(q, i);
        if (!slice_pins(s)) {
            continue;
        }
        struct seg *copy = seg_new_sized(s->len);
        if (copy == NULL) {
            return;
        }
        memcpy(copy->data, s->seg->data + s->off, s->len);
        copy->used = s->len;
        seg_unref(s->seg);
        s->seg = copy;
        s->off = 0;
    }
}
