/* Slabs of equal objects and a free list through them. */
#include "base/pool.h"

#include <string.h>

#include "base/ensure.h"
#include "base/fault.h"
#include "base/mem.h"

#if defined(__has_feature)            /* clang says it in its own way */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define POISON(p, n) (void)0
#define UNPOISON(p, n) (void)0
#endif

#define POOL_MAGIC 0x706f6f6cu
#define SLAB_BYTES 65536u

/* Objects follow the slab's head, at 64-byte alignment when the object asks for nothing odd. */
struct pool_slab {
    struct pool_slab *next;
    uint32_t count;
};
#define SLAB_HEAD 64u

void pool_init(struct pool *pool, const char *name, size_t size, uint32_t live_max) {
    ensure(size >= sizeof(void *) && size < SLAB_BYTES * 16);
    *pool = (struct pool){.magic = POOL_MAGIC, .name = name, .live_max = live_max};
    pool->size = (uint32_t)((size + 15) & ~(size_t)15);
    pool->fault = (uint8_t)fault_of_pool(name);
}

void pool_fini(struct pool *pool) {
    ensure_magic(pool, POOL_MAGIC);
    ensure(pool->live == 0);
    while (pool->slabs != NULL) {
        struct pool_slab *slab = pool->slabs;
        pool->slabs = slab->next;
        UNPOISON((char *)slab + SLAB_HEAD, (size_t)slab->count * pool->size);
        mem_free(slab);
    }
    pool->magic = 0;
}

static bool pool_grow(struct pool *pool) {
    uint32_t count = (SLAB_BYTES - SLAB_HEAD) / pool->size;
    count = count < 4 ? 4 : count;
    struct pool_slab *slab = mem_try_zero(SLAB_HEAD + (size_t)count * pool->size);
    if (slab == NULL) {
        return false;
    }
    slab->next = pool->slabs;
    slab->count = count;
    pool->slabs = slab;
    char *first = (char *)slab + SLAB_HEAD;
    for (uint32_t i = count; i-- > 0;) {
        char *object = first + (size_t)i * pool->size;
        *(void **)(void *)object = pool->free_first;
        pool->free_first = object;
        POISON(object, pool->size);
    }
    return true;
}

void *pool_get(struct pool *pool) {
    ensure_magic(pool, POOL_MAGIC);
    if (pool->live_max != 0 && pool->live >= pool->live_max) {
        return NULL;
    }
    if (fault_hit(pool->fault) || (pool->free_first == NULL && !pool_grow(pool))) {
        return NULL;
    }
    void *object = pool->free_first;
    UNPOISON(object, pool->size);
    pool->free_first = *(void **)object;
    *(void **)object = NULL;
    if (++pool->live > pool->live_peak) {
        pool->live_peak = pool->live;
    }
    return object;
}

void pool_put(struct pool *pool, void *object) {
    ensure_magic(pool, POOL_MAGIC);
    ensure(object != NULL && pool->live > 0);
    *(void **)object = pool->free_first;
    pool->free_first = object;
    POISON(object, pool->size);
    pool->live--;
}
