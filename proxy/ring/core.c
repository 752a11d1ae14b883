/* A turn of the ring, but for the kernel: its clock, posts, timers and tasks, in this order. */
#include <stdlib.h>
#include <string.h>

#include "base/ensure.h"
#include "base/log.h"
#include "ring/ring_priv.h"

#define CORE_MAGIC 0x676e6972u   /* "ring" */

struct ring *core_alloc(size_t ring_size) {
    size_t size = (ring_size + 63) & ~(size_t)63;
    struct ring *ring = aligned_alloc(64, size);
    ensure(ring != NULL && "out of memory");
    memset((void *)ring, 0, size);
    return ring;
}

void core_free(struct ring *ring) {
    free(ring);
}

static uint32_t or_default(uint32_t value, uint32_t otherwise) {
    return value != 0 ? value : otherwise;
}

void core_init(struct ring_core *core, const struct ring_params *params, uint64_t now_us,
               uint64_t wall_us) {
    core->magic = CORE_MAGIC;
    core->params = (struct ring_params){
        .sq_entries = or_default(params->sq_entries, 1024),
        .cq_entries = or_default(params->cq_entries, 8192),
        .buf_size = or_default(params->buf_size, 64 * 1024),
        .buf_window = or_default(params->buf_window, 128),
        .buf_max = or_default(params->buf_max, 1024),
        .handshakes_per_turn = or_default(params->handshakes_per_turn, 1),
        .one_shot = params->one_shot,
    };
    core->now_us = now_us;
    core->now_ms = now_us / 1000;
    core->wall_us = wall_us;
    list_init(&core->ended);
    timer_wheel_init(&core->timers, core->now_ms);
    task_lanes_init(&core->tasks, core->params.handshakes_per_turn);
    post_queue_init(&core->posts);
    segpool_init(&core->receive, "receive", core->params.buf_size, core->params.buf_max, true);
}

void core_fini(struct ring_core *core) {
    ensure_magic(core, CORE_MAGIC);
    ensure(core->ops == 0);
    segpool_fini(&core->receive);
    core->magic = 0;
}

void core_turn_begin(struct ring_core *core, uint64_t now_us, uint64_t wall_us) {
    core->now_us = now_us;
    core->now_ms = now_us / 1000;
    core->wall_us = wall_us;
    stats_add(&core->stats, STAT_TURNS, 1);
}

void core_turn_run(struct ring_core *core) {
    post_queue_run(&core->posts);
    timer_wheel_run(&core->timers, core->now_ms);
    task_lanes_run(&core->tasks);
}

void core_no_buffers(const struct ring_core *core) {
    static struct log_limit said;   /* of all rings */
    log_warn_limited(&said, core->now_ms,
                     "receiving waits: all %u receive buffers of a worker are in use",
                     core->receive.live_max);
}

uint64_t core_turn_wait_us(struct ring_core *core) {
    if (task_lanes_ready(&core->tasks) || !list_empty(&core->ended) ||
        !post_queue_empty(&core->posts)) {
        return 0;
    }
    uint64_t next_ms = timer_wheel_next(&core->timers);
    if (next_ms == TIMER_NEVER) {
        return TIMER_NEVER;
    }
    uint64_t next_us = next_ms * 1000;
    return next_us > core->now_us ? next_us - core->now_us : 0;
}

void ring_stop(struct ring *ring) {
    core_of(ring)->stop = true;
}

struct stats *ring_stats(struct ring *ring) {
    return &core_of(ring)->stats;
}

struct segpool *ring_receive_pool(struct ring *ring) {
    return &core_of(ring)->receive;
}

uint64_t ring_now_ms(const struct ring *ring) {
    return ((const struct ring_core *)ring)->now_ms;
}

uint64_t ring_now_us(const struct ring *ring) {
    return ((const struct ring_core *)ring)->now_us;
}

uint64_t ring_wall_us(const struct ring *ring) {
    return ((const struct ring_core *)ring)->wall_us;
}
