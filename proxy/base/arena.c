/* A bump allocator over pooled chunks. */
#include "base/arena.h"

#include <string.h>

#include "base/ensure.h"
#include "base/fault.h"
#include "base/mem.h"

struct arena_block {
    struct arena_block *next;
    size_t size;              /* of the whole block; ARENA_CHUNK: from the pool */
};
#define BLOCK_HEAD 16u
#define ROUND8(n) (((n) + 7) & ~(size_t)7)

void arena_init(struct arena *arena, struct pool *chunks) {
    ensure(chunks->size >= ARENA_CHUNK);
    *arena = (struct arena){.chunks = chunks};
}

void arena_fini(struct arena *arena) {
    while (arena->blocks != NULL) {
        struct arena_block *block = arena->blocks;
        arena->blocks = block->next;
        if (block->size == ARENA_CHUNK) {
            pool_put(arena->chunks, block);
        } else {
            mem_free(block);
        }
    }
    arena->at = arena->end = NULL;
}

/* The pool of chunks may be at its bound; a head in hand is finished all the same, from the C
 * library: what bounds heads is their own limit. */
static struct arena_block *block_new(struct arena *arena, size_t size) {
    struct arena_block *block = NULL;
    if (size <= ARENA_CHUNK) {
        block = pool_get(arena->chunks);
        size = ARENA_CHUNK;
        if (block == NULL) {
            size = ARENA_CHUNK + BLOCK_HEAD;
        }
    }
    if (block == NULL) {
        block = mem_try_alloc(size);
    }
    if (block != NULL) {
        block->size = size;
    }
    return block;
}

void *arena_get(struct arena *arena, size_t size) {
    size = ROUND8(size);
    if (fault_hit(FAULT_ARENA)) {   /* any of them may be the one that needs a block */
        arena->failed = true;
        return NULL;
    }
    if (arena->at != NULL && size <= (size_t)(arena->end - arena->at)) {
        void *p = arena->at;
        arena->at += size;
        return p;
    }
    struct arena_block *block = block_new(arena, BLOCK_HEAD + size);
    if (block == NULL) {
        arena->failed = true;
        return NULL;
    }
    uint8_t *first = (uint8_t *)block + BLOCK_HEAD;
    uint8_t *end = (uint8_t *)block + block->size;
    block->next = arena->blocks;
    arena->blocks = block;
    /* The newest block is bumped from, also when the one before has more left: only so can its
     * newest piece grow in place. */
    arena->at = first + size;
    arena->end = end;
    return first;
}

void *arena_grow(struct arena *arena, void *p, size_t old, size_t size) {
    ensure(size >= old);
    uint8_t *piece = p;
    if (piece != NULL && piece + ROUND8(old) == arena->at &&
        ROUND8(size) <= (size_t)(arena->end - piece)) {
        arena->at = piece + ROUND8(size);
        return p;
    }
    void *moved = arena_get(arena, size);
    if (moved != NULL && old != 0) {
        memcpy(moved, p, old);
    }
    return moved;
}
