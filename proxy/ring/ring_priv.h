/* What every ring has in common, the simulated one too: a turn's parts that ask no kernel. */
#ifndef GYRE_RING_RING_PRIV_H
#define GYRE_RING_RING_PRIV_H

#include <stdatomic.h>

#include "ring/ring.h"

/* --- timer.c: a hierarchical wheel -------------------------------------------------------- */

#define TIMER_LEVELS 6u                     /* of 64 slots: 2^36 ms, two years */
#define TIMER_NEVER UINT64_MAX

struct timer_wheel {
    uint64_t at_ms;                         /* everything due until here has expired */
    uint64_t next_ms;                       /* no slot with a timer begins before, or TIMER_NEVER */
    struct list_node *next;                 /* that slot; NULL: none. All may be cancelled there */
    uint64_t occupied[TIMER_LEVELS];        /* a bit per slot; an empty slot's may be set */
    struct list_node slot[TIMER_LEVELS][64];
    struct list_node expired;               /* while they are being fired */
};

void timer_wheel_init(struct timer_wheel *, uint64_t now_ms);
void timer_wheel_arm(struct timer_wheel *, struct timer *, uint64_t due_ms);
/* Fires, in the order of their due times, all that are due. What they arm fires later. */
void timer_wheel_run(struct timer_wheel *, uint64_t now_ms);
/* When to run next: not after the first due time, perhaps before it. TIMER_NEVER: no timer. */
uint64_t timer_wheel_next(struct timer_wheel *);

/* --- task.c: three lanes ------------------------------------------------------------------- */

struct task_lanes {
    struct list_node ready[TASK_LANES];     /* by enum task_lane */
    struct list_node next;                  /* yielded: of any lane, for the next turn */
    uint32_t handshakes_per_turn;
    uint32_t turns_stood_back;              /* handshakes have, in a row, for live tasks */
};

void task_lanes_init(struct task_lanes *, uint32_t handshakes_per_turn);
void task_lanes_run(struct task_lanes *);
/* True when some task waits for the next turn. */
bool task_lanes_ready(const struct task_lanes *);

/* --- post.c: many senders, one receiver, no lock ------------------------------------------ */

struct post_queue {
    _Atomic(struct post *) newest;
};

void post_queue_init(struct post_queue *);
/* True when the queue was empty, so that its ring must be woken. */
bool post_queue_push(struct post_queue *, struct post *);
/* Runs all posts that are there, in the order in which they were pushed. */
void post_queue_run(struct post_queue *);
bool post_queue_empty(struct post_queue *);

/* --- date.c ------------------------------------------------------------------------------- */

#define HTTP_DATE_LEN 29u
void http_date_print(char p[HTTP_DATE_LEN], uint64_t unix_s);

/* --- core.c: the first member of every struct ring ---------------------------------------- */

struct ring_core {
    unsigned magic;
    bool stop;
    uint16_t generation;                    /* of the op that was armed last */
    uint32_t ops;                           /* that are not idle */
    struct ring_params params;              /* with the defaults filled in */
    uint64_t now_us, now_ms, wall_us;
    struct list_node ended;                 /* ops that end at the next completions, cancelled */
    struct timer_wheel timers;
    struct task_lanes tasks;
    struct segpool receive;
    uint64_t date_s;
    char date[HTTP_DATE_LEN];
    _Alignas(64) struct post_queue posts;   /* other threads write here */
    struct stats stats;
};

/* struct ring starts with a struct ring_core, in each implementation. */
static inline struct ring_core *core_of(struct ring *ring) {
    return (struct ring_core *)ring;
}

/* Zeroed memory for a struct ring of that size, aligned as struct ring_core wants it. */
struct ring *core_alloc(size_t ring_size);
void core_free(struct ring *);

void core_init(struct ring_core *, const struct ring_params *, uint64_t now_us, uint64_t wall_us);
/* Ensures that no op is armed and that every receive buffer is at home. */
void core_fini(struct ring_core *);

/* A turn: core_turn_begin when the wait has ended; then the completions (op_deliver, and
 * op_ended_run); core_turn_run for posts, timers and tasks; then submit what they have asked for
 * and wait for at most core_turn_wait_us. */
void core_turn_begin(struct ring_core *, uint64_t now_us, uint64_t wall_us);
void core_turn_run(struct ring_core *);
/* The pool of receive buffers is at its bound and somebody waits for one: said, once a second. */
void core_no_buffers(const struct ring_core *);
/* 0: do not block; TIMER_NEVER: no timer is armed. */
uint64_t core_turn_wait_us(struct ring_core *);

/* --- op.c: the life of an op -------------------------------------------------------------- */

enum op_kind {
    OP_NONE, OP_RECV, OP_SEND, OP_SENDV, OP_ACCEPT, OP_CONNECT, OP_CLOSE, OP_WATCH, OP_WRITE,
    OP_ACCEPT_ONE, OP_PREAD, OP_PWRITEV,
    OP_WAKE,     /* the ring's own: posts have come */
};

/* The op must be idle. Gives it a generation that no earlier completion carries. */
void op_begin(struct ring_core *, struct op *, enum op_kind, int fd);
/* The ring arms the op once more by itself: a new generation, the same state. */
void op_renew(struct ring_core *, struct op *);
/* What the kernel is given and gives back: the op's address and its generation. */
uint64_t op_token(const struct op *);
/* The op of a token; NULL when it belongs to an earlier life. */
struct op *op_of(uint64_t token);
/* Calls done; the op is idle before that when armed is false. Counts bytes. */
void op_deliver(struct ring_core *, struct op *, int res, struct seg *, bool armed);
/* An op that the kernel does not hold has been cancelled: done comes with the next completions,
 * and the wait before them does not block. */
void op_end_later(struct ring_core *, struct op *);
void op_ended_run(struct ring_core *);
/* The op is idle and nobody is told: the ring comes to its end. The kernel must not hold it. */
void op_abandon(struct ring_core *, struct op *);
void op_abandon_all(struct ring_core *, struct list_node *list);

#endif
