/* Who owns bytes: segments, slices, and queues of slices. */
#ifndef GYRE_BASE_BUF_H
#define GYRE_BASE_BUF_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/memory.h"

/* A segment is a piece of memory with a count of holders. It belongs to one ring (one thread);
 * its count is a plain integer. At 0 it goes home. */
struct seg {
    unsigned magic;
    uint32_t refs;
    uint32_t size;          /* bytes at data */
    uint32_t used;          /* bytes written so far, by whoever fills it (copies only) */
    bool warm;              /* its pages are the process's, and counted */
    struct segpool *home;
    uint8_t *data;
    struct list_node free;  /* in its pool, while refs is 0 */
};

/* A pool of segments of one size. Memory is mapped at once and touched page by page as it is
 * used; the bound is on segments handed out. What comes home stays warm for the next one; who has
 * a timer gives surplus pages back with segpool_trim. */
struct segpool {
    unsigned magic;
    const char *name;
    uint32_t seg_size;
    uint32_t live, live_max, live_peak;   /* live_max 0: no bound */
    bool receive;                         /* receive buffers: scarce, never to wait for a peer */
    uint8_t fault;                        /* enum fault_point: the row of this name */
    uint32_t idle, idle_low;              /* warm and free: now, the fewest since the last trim */
    struct list_node free;                /* warm ones, the last that came first */
    struct list_node cold;
    struct segpool_slab *slabs;
    void (*home)(struct segpool *);       /* NULL, or told when a segment has come home */
};

void segpool_init(struct segpool *, const char *name, uint32_t seg_size, uint32_t live_max,
                  bool receive);
void segpool_fini(struct segpool *);      /* ensures that nothing is live */
/* Gives the pages of segments back that nobody has needed since the last call (half of them, all
 * where memory is tight). False: none is left to give back. */
bool segpool_trim(struct segpool *);
/* refs 1, used 0; NULL at the bound (the pool's, or memory.h's), or without memory. */
struct seg *seg_new(struct segpool *);
/* A segment of any size straight from the C library; it has no pool to wait for. NULL without
 * memory. */
struct seg *seg_new_sized(uint32_t size);
static inline struct seg *seg_ref(struct seg *s) {
    s->refs++;
    return s;
}
void seg_unref(struct seg *);

/* A queue of slices: bytes in order, none of them copied unless somebody says so.
 *
 * Where memory for a slice or a copy can not be had, the queue has failed: it holds what came
 * before and takes nothing more. So it is never a stream with a hole, but one that was cut off, and
 * what its bytes are moved to has failed as well. Nobody need look at every call: a wire whose
 * queue has failed is lost, and so is a message whose body did not fit. */
struct slice {
    struct seg *seg;        /* holds one ref */
    uint32_t off, len;
};
#define BUFQ_FEW 2u         /* slices without an allocation: a small message needs no more */
struct bufq {
    struct slice *v;        /* a ring of cap slices; NULL while `few` are enough */
    struct slice few[BUFQ_FEW];
    uint16_t head, count, cap;
    bool failed;            /* bytes that should follow are lost, for want of memory */
    bool awaited;           /* a writer has found no room, and is to be told of some */
    uint32_t bytes;
    uint32_t mark;          /* where the writer should stop; a mark, not a wall */
    struct segpool *copies; /* where bufq_copy and bufq_reserve take segments from */
};

void bufq_init(struct bufq *, uint32_t mark, struct segpool *copies);
void bufq_drop_all_(struct bufq *);
static inline void bufq_fini(struct bufq *q) {      /* drops all; most often there is nothing */
    if (q->count > 0 || q->v != NULL) {
        bufq_drop_all_(q);
    }
}
void bufq_shrink(struct bufq *);          /* gives the slice array back when empty */
/* Where the writer should stop for now: earlier where memory is pressed. It may move at any time,
 * but not for an empty queue to be full; who finds no room (bufq_ask) hears of it when bytes leave.
 */
#define BUFQ_PRESSED 16384u
static inline uint32_t bufq_mark_now(uint32_t mark) {
    return mark > BUFQ_PRESSED && memory_is_pressed() ? BUFQ_PRESSED : mark;
}
static inline uint32_t bufq_mark(const struct bufq *q) {
    return bufq_mark_now(q->mark);
}
/* bufq_mark - bytes, never negative. */
static inline uint32_t bufq_room(const struct bufq *q) {
    uint32_t mark = bufq_mark(q);
    return q->bytes < mark ? mark - q->bytes : 0;
}
/* The same for a writer that has more: where there is none it waits to be told. (The mark may have
 * moved since it wrote last, so that whoever takes the bytes can not know by itself.) */
static inline uint32_t bufq_ask(struct bufq *q) {
    uint32_t room = bufq_room(q);
    q->awaited = q->awaited || room == 0;
    return room;
}
/* There is room enough for it to be worth telling a writer that waits. */
static inline bool bufq_is_roomy(const struct bufq *q) {
    return bufq_room(q) >= bufq_mark(q) / 2;
}
/* Appends bytes of seg; takes a ref of its own; merges with its neighbour where contiguous. */
void bufq_push(struct bufq *, struct seg *, uint32_t off, uint32_t len);
/* Appends a copy of the bytes, behind the last copied bytes where the segment has room. */
void bufq_copy(struct bufq *, const void *, uint32_t len);
/* Room to write into, at least `want` (at most the copies' segment size) contiguous bytes behind
 * the last slice; *got says how many. Valid until the next call on this queue. NULL, and *got 0,
 * when the queue has failed. */
uint8_t *bufq_reserve(struct bufq *, uint32_t want, uint32_t *got);
/* len bytes of what bufq_reserve returned have been written. */
void bufq_commit(struct bufq *, uint32_t len);
/* Moves up to max bytes, in order, without copying; returns how many were taken. */
uint32_t bufq_move(struct bufq *to, struct bufq *from, uint32_t max);
/* Moves as bufq_move does, but what is small (up to copy_max) and what is beside it come to be one
 * piece (one iovec): it is copied behind what was copied before, or, where it is to's last and
 * something large comes, before that, if its segment has room there that nobody holds. */
uint32_t bufq_move_small(struct bufq *to, struct bufq *from, uint32_t max, uint32_t copy_max);
/* Appends up to max of from's bytes, from skip on, to another queue: both hold them then. Returns
 * how many. */
uint32_t bufq_share(struct bufq *to, const struct bufq *from, uint32_t skip, uint32_t max);
/* Copies neighbours of up to copy_max bytes together, or changes nothing where memory is short. */
void bufq_join(struct bufq *, uint32_t copy_max);
/* Fills iov with the bytes from skip on; returns the number of entries. */
int bufq_peek(const struct bufq *, uint32_t skip, struct iovec *, int iov_max);
/* The first slice; the queue must not be empty. */
static inline const struct slice *bufq_first(const struct bufq *q) {
    return (q->v != NULL ? q->v : q->few) + q->head;
}
/* The first contiguous bytes; NULL when empty. */
static inline const uint8_t *bufq_front(const struct bufq *q, uint32_t *len) {
    if (q->count == 0) {
        *len = 0;
        return NULL;
    }
    const struct slice *first = bufq_first(q);
    *len = first->len;
    return first->seg->data + first->off;
}
void bufq_drop(struct bufq *, uint32_t len);
/* Copies the first len bytes out without dropping them; returns how many there were. */
uint32_t bufq_read(const struct bufq *, void *, uint32_t len);
/* The bytes of this queue will wait for a peer: what lies in receive buffers is copied out where
 * it is small, or where their pool runs low, and the buffers go home. Without memory they stay. */
void bufq_settle(struct bufq *);
/* True when bufq_settle would copy something. */
bool bufq_pins(const struct bufq *);

#endif
