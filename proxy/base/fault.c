/* Fault points: which visit of which point fails, and how often each was visited. */
#include "base/fault.h"

#include <errno.h>
#include <string.h>

#include "base/ensure.h"

bool fault_armed_;

static struct {
    enum fault_point point;
    uint64_t first, count, hits;
    uint64_t visits[FAULT_COUNT];
} state;

static const struct {
    const char *word, *help;
    int error;
} rows[FAULT_COUNT] = {
#define FAULT(name, word, error, help) [FAULT_##name] = {word, help, error},
#include "base/fault.def"
#undef FAULT
};

bool fault_visit_(enum fault_point point) {
    ensure(point < FAULT_COUNT);
    uint64_t visit = state.visits[point]++;
    /* So written, as first + count may overflow. */
    if (point != state.point || visit < state.first || visit - state.first >= state.count) {
        return false;
    }
    state.hits++;
    return true;
}

int fault_error(enum fault_point point) {
    ensure(point < FAULT_COUNT);
    return -rows[point].error;
}

const char *fault_word(enum fault_point point) {
    ensure(point < FAULT_COUNT);
    return rows[point].word;
}

const char *fault_help(enum fault_point point) {
    ensure(point < FAULT_COUNT);
    return rows[point].help;
}

enum fault_point fault_of_pool(const char *name) {
    for (int i = 0; i < FAULT_COUNT; i++) {
        if (strcmp(rows[i].word, name) == 0) {
            return (enum fault_point)i;
        }
    }
    return FAULT_POOL;
}

void fault_arm(enum fault_point point, uint64_t first, uint64_t count) {
    ensure(point < FAULT_COUNT);
    memset(&state, 0, sizeof state);
    state.point = point;
    state.first = first;
    state.count = count;
    fault_armed_ = true;
}

void fault_disarm(void) {
    fault_armed_ = false;
}

uint64_t fault_visits(enum fault_point point) {
    ensure(point < FAULT_COUNT);
    return state.visits[point];
}

uint64_t fault_hits(void) {
    return state.hits;
}
