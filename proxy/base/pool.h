/* Objects of one type and size, kept for reuse. */
#ifndef GYRE_BASE_POOL_H
#define GYRE_BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

/* A pool belongs to one thread. Its memory is type-stable: an object that was given back stays
 * an object of this pool until pool_fini, so a late completion may still read its op. */
struct pool {
    unsigned magic;
    const char *name;
    uint32_t size;        /* of one object, bytes */
    uint32_t live;        /* objects handed out now */
    uint32_t live_max;    /* 0: no bound */
    uint32_t live_peak;
    uint8_t fault;        /* enum fault_point: the row of this name */
    void *free_first;
    struct pool_slab *slabs;
};

void pool_init(struct pool *, const char *name, size_t size, uint32_t live_max);
/* Ensures that nothing is live. */
void pool_fini(struct pool *);
/* Not zeroed: whatever its last user left, which for ops keeps their generation. Fresh memory is
 * zero but for the first word. NULL when live_max objects are out, or when
 * there is no memory for more. */
void *pool_get(struct pool *);
void pool_put(struct pool *, void *object);

#endif
