/* How much memory the process holds, and the bound that all of it together has. */
#ifndef GYRE_BASE_MEMORY_H
#define GYRE_BASE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What grows with clients is counted: all that mem.h gives, and the pages of segments that were
 * used since they were mapped. Threads count by themselves and add up in steps of 64 KiB, so that
 * no line of memory is fought for; the sum is late by as much for each of them.
 *
 * Before the bound come levels at which ever less is taken in, so that what has begun ends well:
 *   PRESSED (1/2)  queues hold less (bufq_room), so that reading stops earlier, and so do sends;
 *                  spools go to their files
 *   TIGHT (3/4)    new requests are answered 503, and their connections closed; all memory that is
 *                  only kept warm goes back; copies are no larger than they must be
 *   FULL (15/16)   nobody is accepted
 * At the bound itself mem_try_* and seg_new give NULL, as without memory. */
enum memory_level { MEMORY_PLENTY, MEMORY_PRESSED, MEMORY_TIGHT, MEMORY_FULL };

/* Bytes; 0: no bound (as long as nobody sets one). Before there are other threads. */
void memory_bound(uint64_t bytes);
/* These bytes were taken, or (negative) given back. */
void memory_count(int64_t bytes);
/* False: so many more would be over the bound. */
bool memory_has(uint64_t bytes);
/* Now and then, by one thread: where far less is used than was a while ago, the C library gives its
 * free pages back, which it does not do by itself. Others who allocate wait for it meanwhile. */
void memory_trim(void);
/* As far as it was added up. */
uint64_t memory_used(void);

extern _Atomic uint8_t memory_level_now;
static inline enum memory_level memory_level(void) {
    return (enum memory_level)atomic_load_explicit(&memory_level_now, memory_order_relaxed);
}
static inline bool memory_is_pressed(void) {
    return memory_level() >= MEMORY_PRESSED;
}
static inline bool memory_is_tight(void) {
    return memory_level() >= MEMORY_TIGHT;
}

#endif
