/* Memory that lives and dies with one message. */
#ifndef GYRE_BASE_ARENA_H
#define GYRE_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"

/* Chunks come from a pool of the ring (objects of ARENA_CHUNK bytes); a larger request gets a
 * block of its own. Nothing is freed alone; arena_fini gives all of it back. A chunk holds a usual
 * request's head: the first piece of its text, a first table of fields, and what gyre adds. Who has
 * a tunnel, or waits for a server, holds two. */
#define ARENA_CHUNK 2560u

struct arena_block;
struct arena {
    struct pool *chunks;
    struct arena_block *blocks;   /* newest first */
    uint8_t *at, *end;            /* what is left of the newest chunk */
    bool failed;                  /* some piece could not be had: what was to be in it is lost */
};

/* Takes no memory before the first arena_get. */
void arena_init(struct arena *, struct pool *chunks);
void arena_fini(struct arena *);
/* Aligned to 8 bytes. NULL without memory, and then `failed` is set: who builds something of many
 * pieces may go on with what it has, look at the end, and give all of it up. */
void *arena_get(struct arena *, size_t size);
/* Makes the newest piece (p, of old bytes) larger, in place where it can. NULL: p stays. */
void *arena_grow(struct arena *, void *p, size_t old, size_t size);

#endif
