/* Objects of one type and size, kept for reuse. */
#ifndef GYRE_BASE_POOL_H
#define GYRE_BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

/* A pool belongs to one thread. Its memory is type-stable: where an object was there is an object
 * of this pool, or zeros, until pool_fini, so a late completion may still read its op. Objects come
 * in slabs; the pages of those in which nothing is live go back with pool_trim, and, as soon as
 * they are empty, where memory is tight. */
struct pool {
    unsigned magic;
    const char *name;
    uint32_t size;        /* of one object, bytes */
    uint32_t fetched;     /* of them, before somebody takes it */
    uint32_t live;        /* objects handed out now */
    uint32_t live_max;    /* 0: no bound */
    uint32_t live_peak;
    uint8_t fault;        /* enum fault_point: the row of this name */
    uint32_t slab_size;   /* bytes */
    uint32_t idle, idle_low;      /* slabs of `empty`: now, the fewest since the last trim */
    struct list_node partial;     /* slabs with live objects and free ones */
    struct list_node empty;       /* nothing is live there; the last that became so first */
    struct list_node cold;        /* the same, and their pages are the kernel's */
    struct list_node full;
};

void pool_init(struct pool *, const char *name, size_t size, uint32_t live_max);
/* Ensures that nothing is live. */
void pool_fini(struct pool *);
/* Gives the pages of slabs back that nobody has needed since the last call. */
void pool_trim(struct pool *);
/* Not zeroed: whatever its last user left. Fresh memory is zero but for the first word. NULL when
 * live_max objects are out, or when there is no memory for more. */
void *pool_get(struct pool *);
void pool_put(struct pool *, void *object);

#endif
