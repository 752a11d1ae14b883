/* Counters of one ring. */
#ifndef GYRE_BASE_STATS_H
#define GYRE_BASE_STATS_H

#include <stdint.h>

#include "base/close.h"

enum stats_counter {
#define STAT(name, word, help) STAT_##name,
#include "base/stats.def"
#undef STAT
    STAT_COUNT
};

/* Written by its ring alone; read by anybody with stats_get. One per ring, on its own lines. */
struct stats {
    _Alignas(64) uint64_t counter[STAT_COUNT];
    uint64_t closed[CLOSE_COUNT];   /* connections, by reason */
    uint64_t ended[CLOSE_COUNT];    /* requests, by reason: as the access log says */
};

static inline void stats_add(struct stats *s, enum stats_counter which, uint64_t n) {
    __atomic_store_n(&s->counter[which], s->counter[which] + n, __ATOMIC_RELAXED);
}

static inline void stats_close(struct stats *s, enum close_reason why) {
    __atomic_store_n(&s->closed[why], s->closed[why] + 1, __ATOMIC_RELAXED);
}

static inline void stats_end(struct stats *s, enum close_reason why) {
    __atomic_store_n(&s->ended[why], s->ended[why] + 1, __ATOMIC_RELAXED);
}

static inline uint64_t stats_get(const struct stats *s, enum stats_counter which) {
    return __atomic_load_n(&s->counter[which], __ATOMIC_RELAXED);
}

static inline uint64_t stats_get_close(const struct stats *s, enum close_reason why) {
    return __atomic_load_n(&s->closed[why], __ATOMIC_RELAXED);
}

static inline uint64_t stats_get_end(const struct stats *s, enum close_reason why) {
    return __atomic_load_n(&s->ended[why], __ATOMIC_RELAXED);
}

/* The metric's name and its line of help. */
const char *stat_word(enum stats_counter);
const char *stat_help(enum stats_counter);

#endif
