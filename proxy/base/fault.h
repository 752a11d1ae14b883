/* Fault points: places where a test makes a call fail. In production none ever does. */
#ifndef GYRE_BASE_FAULT_H
#define GYRE_BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum fault_point {
#define FAULT(name, word, error, help) FAULT_##name,
#include "base/fault.def"
#undef FAULT
    FAULT_COUNT
};

/* True when this visit of the point shall fail. Without a test it is one branch on a global that is
 * never written. */
extern bool fault_armed_;
bool fault_visit_(enum fault_point);
static inline bool fault_hit(enum fault_point point) {
    return __builtin_expect(fault_armed_, 0) && fault_visit_(point);
}

/* The negative errno of a row; its word; the row of a pool by the pool's name. */
int fault_error(enum fault_point);
const char *fault_word(enum fault_point);
const char *fault_help(enum fault_point);
enum fault_point fault_of_pool(const char *name);

/* --- For tests: one thread, as the counts are plain ------------------------------------------ */

/* From now on visits are counted from 0, and those of `point` from first on, `count` of them in a
 * row, fail. With a count of 0 none does. */
void fault_arm(enum fault_point, uint64_t first, uint64_t count);
void fault_disarm(void);
uint64_t fault_visits(enum fault_point);   /* since it was armed */
uint64_t fault_hits(void);                 /* how many of them failed */

#endif
