/* The process's memory, counted. */
#include "base/memory.h"

#include <malloc.h>

#define STEP_BYTES 65536
#define TRIM_BYTES_MIN (32u << 20)

_Atomic uint8_t memory_level_now;

static uint64_t bound;
/* A thread may give back what another one took. Written far less often than its neighbours are
 * read: on a line of its own. */
static _Alignas(64) struct {
    _Atomic int64_t bytes;
    char rest[56];
} total;
static _Thread_local int64_t uncounted;

/* A level is left a sixteenth lower than it was come to. */
static enum memory_level level_of(uint64_t used, enum memory_level now) {
    static const uint8_t sixteenths[] = {[MEMORY_PRESSED] = 8, [MEMORY_TIGHT] = 12,
                                         [MEMORY_FULL] = 15};
    enum memory_level level = MEMORY_FULL;
    while (level > MEMORY_PLENTY) {
        unsigned from = sixteenths[level] - (level <= now ? 1u : 0u);
        if (bound != 0 && used > bound / 16 * from) {
            break;
        }
        level--;
    }
    return level;
}

static void level_set(int64_t used) {
    enum memory_level now = memory_level();
    enum memory_level next = level_of(used > 0 ? (uint64_t)used : 0, now);
    if (next != now) {
        atomic_store_explicit(&memory_level_now, (uint8_t)next, memory_order_relaxed);
    }
}

void memory_bound(uint64_t bytes) {
    bound = bytes;
    level_set(atomic_load_explicit(&total.bytes, memory_order_relaxed));
}

void memory_count(int64_t bytes) {
    uncounted += bytes;
    if (uncounted < STEP_BYTES && uncounted > -STEP_BYTES) {
        return;
    }
    int64_t used = uncounted;
    used += atomic_fetch_add_explicit(&total.bytes, uncounted, memory_order_relaxed);
    uncounted = 0;
    level_set(used);
}

uint64_t memory_used(void) {
    int64_t used = atomic_load_explicit(&total.bytes, memory_order_relaxed) + uncounted;
    return used > 0 ? (uint64_t)used : 0;
}

bool memory_has(uint64_t bytes) {
    return bound == 0 || memory_used() + bytes <= bound;
}

void memory_trim(void) {
    static uint64_t most;
    uint64_t used = memory_used();
    most = used > most ? used : most;
    if (most - used > most / 2 && most - used > TRIM_BYTES_MIN) {
        malloc_trim(0);
        most = used;
    }
}
