/* The ring that stands on io_uring: what its files share. */
#ifndef GYRE_RING_URING_PRIV_H
#define GYRE_RING_URING_PRIV_H

#include <liburing.h>

#include "ring/refusal_priv.h"
#include "ring/ring_priv.h"

/* The receive buffers that the kernel holds: a window on the larger pool. A slot is a buffer id;
 * it is empty from the completion that hands its segment out until the end of the turn, when it is
 * filled from the pool again, if the pool has one. */
struct window {
    struct io_uring_buf_ring *ring;
    struct seg **slot;
    uint16_t *empty;              /* a stack of the ids of empty slots */
    uint32_t size, empty_count;
    struct list_node starved;     /* receives that found no buffer, the longest waiting first */
};

struct ring {
    struct ring_core core;        /* first: core_of() */
    struct io_uring uring;
    unsigned enter_flags;         /* of every io_uring_enter */
    bool one_shot;                /* receive policy */
    bool limits;                  /* the kernel ends a multishot receive after so many bytes */
    bool ending;                  /* in ring_free: no op's done is called any more */
    int wake_fd;                  /* an eventfd: posts have come */
    struct op wake;
    uint64_t wall_ahead_us;       /* the wall clock less the monotonic one */
    uint64_t wall_read_us;        /* when that was looked at (monotonic) */
    struct window window;
};

/* uring.c. A clean submission queue entry; where the queue is full it is submitted first. */
struct io_uring_sqe *uring_sqe(struct ring *);

/* ops.c. One completion queue entry. */
void ops_complete(struct ring *, uint64_t token, int res, unsigned cqe_flags);
/* The ring's own op, which completes when wake_fd is written. */
void ops_arm_wake(struct ring *);
/* Asks the kernel to cancel everything. */
void ops_cancel_all(struct ring *);

/* receive.c. Returns 0 or -errno. */
int window_init(struct ring *);
void window_fini(struct ring *);
/* True when a multishot receive can be given a limit (Linux 6.18). */
bool receive_knows_limits(struct ring *);
void receive_arm(struct ring *, struct op *);
void receive_complete(struct ring *, struct op *, int res, unsigned cqe_flags);
/* The segment of a completion that nobody waits for goes home. */
void receive_drop(struct ring *, unsigned cqe_flags);
/* The end of a turn: fills the window, and arms as many starved receives as it has buffers. */
void receive_settle(struct ring *);
/* True when more starved receives could be armed than receive_settle has armed. */
bool receive_hungry(const struct ring *);

#endif
