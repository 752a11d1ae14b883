/* The ring on io_uring: set-up, the turn with its one system call, and the end. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/ensure.h"
#include "base/log.h"
#include "ring/uring_priv.h"

/* Linux 6.15; liburing 2.9 does not name them yet. Without them an idle ring counts as waiting
 * for a disk, and every monitor shows a busy machine. */
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1u << 7)
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1u << 17)
#endif

#define FEATURES_NEEDED (IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_FAST_POLL)
#define WALL_LOOK_US 1000000u      /* a step of the wall clock is seen after this */
#define SUBMIT_TRIES_MAX 1000u
#define WORKERS_FILES 4u           /* the kernel's own threads, for writes that would block: */
#define WORKERS_OTHER 4u           /* unbounded by default */

static uint64_t clock_us(clockid_t clock) {
    struct timespec now;
    ensure(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* --- Into the kernel ---------------------------------------------------------------------- */

/* Makes the prepared entries visible; says how many the kernel has not taken yet. */
static unsigned sq_flush(struct io_uring_sq *sq) {
    sq->sqe_head = sq->sqe_tail;
    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    return sq->sqe_tail - *sq->khead;
}

/* EAGAIN (no memory for a request) and EBUSY (overflown completions wait) leave the entries in the
 * queue for the next time. */
static void enter_check(int res) {
    ensure(res >= 0 || res == -ETIME || res == -EINTR || res == -EAGAIN || res == -EBUSY);
}

static void uring_submit(struct ring *ring) {
    enter_check(io_uring_enter2((unsigned)ring->uring.enter_ring_fd, sq_flush(&ring->uring.sq), 0,
                                ring->enter_flags, NULL, 0));
}

struct io_uring_sqe *uring_sqe(struct ring *ring) {
    struct io_uring_sqe *sqe;
    for (unsigned tries = 0; (sqe = io_uring_get_sqe(&ring->uring)) == NULL; tries++) {
        ensure(tries < SUBMIT_TRIES_MAX && "the kernel has no memory for requests");
        uring_submit(ring);
    }
    return sqe;
}

/* The turn's one system call: submits, runs what the kernel has deferred to us, and waits for the
 * first completion or the time. liburing's own call would do it too, but for NO_IOWAIT. */
static void uring_enter(struct ring *ring, uint64_t wait_us) {
    struct __kernel_timespec time = {
        .tv_sec = (long long)(wait_us / 1000000u),
        .tv_nsec = (long long)(wait_us % 1000000u * 1000u),
    };
    struct io_uring_getevents_arg arg = {
        .ts = wait_us == TIMER_NEVER ? 0 : (uint64_t)(uintptr_t)&time,
    };
    enter_check(io_uring_enter2((unsigned)ring->uring.enter_ring_fd, sq_flush(&ring->uring.sq),
                                wait_us == 0 ? 0 : 1,
                                ring->enter_flags | IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                                (void *)&arg, sizeof arg));
    if (io_uring_cq_has_overflow(&ring->uring)) {
        static struct log_limit said;   /* of all rings */
        stats_add(&ring->core.stats, STAT_CQ_OVERFLOW, 1);
        log_warn_limited(&said, ring->core.now_ms,
                         "the completion queue was full for a moment; the kernel keeps the rest");
    }
}

/* All that are there, and no more: what the kernel may add in one turn is bounded by the queue,
 * and from 6.13 by 20 deferred items, so no connection is served twice before the others' turn. */
static void completions_run(struct ring *ring) {
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&ring->uring, head, cqe) {
        count++;
        ops_complete(ring, cqe->user_data, cqe->res, cqe->flags);
    }
    io_uring_cq_advance(&ring->uring, count);
    op_ended_run(&ring->core);
}

/* --- The turn ----------------------------------------------------------------------------- */

static void clocks_read(struct ring *ring) {
    uint64_t now_us = clock_us(CLOCK_MONOTONIC);
    if (now_us - ring->wall_read_us >= WALL_LOOK_US) {
        ring->wall_ahead_us = clock_us(CLOCK_REALTIME) - now_us;
        ring->wall_read_us = now_us;
    }
    core_turn_begin(&ring->core, now_us, now_us + ring->wall_ahead_us);
}

static void ring_turn(struct ring *ring, uint64_t wait_us) {
    uring_enter(ring, wait_us);
    clocks_read(ring);
    completions_run(ring);
    core_turn_run(&ring->core);
    receive_settle(ring);
}

void ring_run(struct ring *ring) {
    ring->core.stop = false;
    while (!ring->core.stop) {
        ring_turn(ring, receive_hungry(ring) ? 0 : core_turn_wait_us(&ring->core));
    }
    uring_submit(ring);   /* what the last turn has asked for */
}

void ring_post(struct ring *target, struct post *post) {
    if (post_queue_push(&target->core.posts, post)) {
        uint64_t one = 1;
        ssize_t written = write(target->wake_fd, &one, sizeof one);
        ensure(written == sizeof one);
    }
}

/* --- Beginning and end -------------------------------------------------------------------- */

static int uring_init(struct ring *ring) {
    const struct ring_params *params = &ring->core.params;
    struct io_uring_params ask = {
        /* DEFER_TASKRUN: the kernel does its part of a completion when we enter, never by an
         * interrupt of what we do. SUBMIT_ALL: one bad entry does not hold up those behind it. */
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
        .cq_entries = params->cq_entries,
    };
    uint32_t sq_entries =
        params->sq_entries < params->cq_entries ? params->sq_entries : params->cq_entries;
    int err = io_uring_queue_init_params(sq_entries, &ring->uring, &ask);
    if (err != 0) {
        ring->uring.ring_fd = -1;
        return err;
    }
    if ((ask.features & FEATURES_NEEDED) != FEATURES_NEEDED) {
        return -EINVAL;
    }
    if (ask.features & IORING_FEAT_NO_IOWAIT) {
        ring->enter_flags |= IORING_ENTER_NO_IOWAIT;
    }
    /* Saves the kernel looking the descriptor up; where it can not, the descriptor does. */
    if (io_uring_register_ring_fd(&ring->uring) == 1) {
        ring->enter_flags |= IORING_ENTER_REGISTERED_RING;
    }
    unsigned workers[2] = {WORKERS_FILES, WORKERS_OTHER};
    return io_uring_register_iowq_max_workers(&ring->uring, workers);
}

/* The first submission is made here, so that a filter that forbids io_uring_enter or
 * io_uring_register, and not io_uring_setup, is found now and not under the first client. */
static int ring_start(struct ring *ring) {
    int err = uring_init(ring);
    if (err != 0) {
        return err;
    }
    err = window_init(ring);
    if (err != 0) {
        return err;
    }
    ring->limits = !ring->one_shot && receive_knows_limits(ring);
    ring->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->wake_fd < 0) {
        return -errno;
    }
    ops_arm_wake(ring);
    int res = io_uring_submit(&ring->uring);
    if (res < 0) {
        op_abandon(&ring->core, &ring->wake);
        return res;
    }
    return 0;
}

static void ring_unmake(struct ring *ring) {
    if (ring->uring.ring_fd >= 0) {
        window_fini(ring);
        io_uring_queue_exit(&ring->uring);
    }
    if (ring->wake_fd >= 0) {
        close(ring->wake_fd);
    }
    core_fini(&ring->core);
    core_free(ring);
}

struct ring *ring_new(const struct ring_params *params, char *why) {
    struct refusal refusal;
    refusal_look(&refusal, 0);
    if (kernel_older(refusal.major, refusal.minor, KERNEL_FLOOR_MAJOR, KERNEL_FLOOR_MINOR)) {
        refusal_print(&refusal, why);
        return NULL;
    }
    struct ring *ring = core_alloc(sizeof *ring);
    core_init(&ring->core, params, clock_us(CLOCK_MONOTONIC), clock_us(CLOCK_REALTIME));
    ring->wall_read_us = ring->core.now_us;
    ring->wall_ahead_us = ring->core.wall_us - ring->core.now_us;
    ring->wake_fd = -1;
    /* Below 6.8 nothing bounds what one multishot receive takes in a turn. */
    ring->one_shot = params->one_shot || kernel_older(refusal.major, refusal.minor, 6, 8);
    int err = ring_start(ring);
    if (err != 0) {
        refusal_look(&refusal, -err);
        refusal_print(&refusal, why);
        ring_unmake(ring);
        return NULL;
    }
    return ring;
}

/* The kernel ends a ring some time after its descriptor is closed; until then a listener with an
 * accept in the ring would go on taking connections, and memory of ours be written to. So all is
 * cancelled first, and waited for. */
void ring_free(struct ring *ring) {
    struct ring_core *core = &ring->core;
    ring->ending = true;
    op_abandon_all(core, &core->ended);
    op_abandon_all(core, &ring->window.starved);
    while (core->ops > 0) {
        ops_cancel_all(ring);
        uring_enter(ring, 100 * 1000);
        completions_run(ring);
    }
    ring_unmake(ring);
}
