/* Slabs of equal objects and a free list through them. */
#include "base/pool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/ensure.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/memory.h"

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
#define PAGE_BYTES 4096u       /* where pages are larger they are not given back (EINVAL) */

/* The slab's head stands by itself, so that all of its pages can go. Behind each object there is a
 * pointer to it. */
struct pool_slab {
    struct list_node link;
    char *objects;
    void *free_first;          /* a list through the free objects */
    uint32_t live;
};
#define TAIL_BYTES 8u

#define LINE_BYTES 64u
#define FETCHED_MAX 768u       /* what is used first; the rest comes while that is */

void pool_init(struct pool *pool, const char *name, size_t size, uint32_t live_max) {
    ensure(size >= sizeof(void *) && size < SLAB_BYTES * 16);
    *pool = (struct pool){.magic = POOL_MAGIC, .name = name, .live_max = live_max};
    pool->size = (uint32_t)((size + 7) & ~(size_t)7);
    pool->fetched = pool->size < FETCHED_MAX ? pool->size : FETCHED_MAX;
    uint32_t least = 4 * (pool->size + TAIL_BYTES);
    pool->slab_size = least < SLAB_BYTES ? SLAB_BYTES
                                         : (least + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    pool->fault = (uint8_t)fault_of_pool(name);
    list_init(&pool->partial);
    list_init(&pool->empty);
    list_init(&pool->cold);
    list_init(&pool->full);
}

static struct pool_slab *slab_of(struct list_node *link) {
    return container_of(link, struct pool_slab, link);
}

static void slabs_free(struct pool *pool, struct list_node *slabs, bool counted) {
    while (!list_empty(slabs)) {
        struct pool_slab *slab = slab_of(list_pop(slabs));
        UNPOISON(slab->objects, pool->slab_size);
        free(slab->objects);
        mem_free(slab);
        memory_count(counted ? -(int64_t)pool->slab_size : 0);
    }
}

void pool_fini(struct pool *pool) {
    ensure_magic(pool, POOL_MAGIC);
    ensure(pool->live == 0 && list_empty(&pool->partial) && list_empty(&pool->full));
    slabs_free(pool, &pool->empty, true);
    slabs_free(pool, &pool->cold, false);
    pool->magic = 0;
}

/* --- Slabs -------------------------------------------------------------------------------- */

/* Its memory is zero: it is new, or was cold. */
static void slab_warm(struct pool *pool, struct pool_slab *slab) {
    uint32_t step = pool->size + TAIL_BYTES;
    slab->free_first = NULL;
    for (uint32_t i = pool->slab_size / step; i-- > 0;) {
        char *object = slab->objects + (size_t)i * step;
        *(void **)(void *)object = slab->free_first;
        *(struct pool_slab **)(void *)(object + pool->size) = slab;
        slab->free_first = object;
    }
    POISON(slab->objects, pool->slab_size);
    memory_count(pool->slab_size);
    list_prepend(&pool->empty, &slab->link);
    pool->idle++;
}

static bool slab_new(struct pool *pool) {
    struct pool_slab *slab = mem_try_zero(sizeof *slab);
    char *objects = slab != NULL && memory_has(pool->slab_size)
                        ? aligned_alloc(PAGE_BYTES, pool->slab_size) : NULL;
    if (objects == NULL) {
        mem_free(slab);
        return false;
    }
    memset(objects, 0, pool->slab_size);
    slab->objects = objects;
    slab_warm(pool, slab);
    return true;
}

static void slab_cool(struct pool *pool, struct pool_slab *slab) {
    if (madvise(slab->objects, pool->slab_size, MADV_DONTNEED) != 0) {
        return;   /* locked pages: they stay */
    }
    UNPOISON(slab->objects, pool->slab_size);   /* late completions read zeros there */
    list_remove(&slab->link);
    list_append(&pool->cold, &slab->link);
    pool->idle--;
    memory_count(-(int64_t)pool->slab_size);
}

/* An empty one, for want of a partial one; NULL: there is no memory. */
static __attribute__((noinline)) struct pool_slab *slab_begin(struct pool *pool) {
    if (list_empty(&pool->empty) && !list_empty(&pool->cold)) {
        if (!memory_has(pool->slab_size)) {
            return NULL;
        }
        slab_warm(pool, slab_of(list_pop(&pool->cold)));
    }
    if (list_empty(&pool->empty) && !slab_new(pool)) {
        return NULL;
    }
    struct pool_slab *slab = slab_of(list_pop(&pool->empty));
    list_prepend(&pool->partial, &slab->link);
    pool->idle--;
    pool->idle_low = pool->idle < pool->idle_low ? pool->idle : pool->idle_low;
    return slab;
}

/* One with a free object, or NULL. */
static inline struct pool_slab *slab_find(struct pool *pool) {
    return !list_empty(&pool->partial) ? slab_of(pool->partial.next) : slab_begin(pool);
}

void pool_trim(struct pool *pool) {
    ensure_magic(pool, POOL_MAGIC);
    uint32_t surplus = memory_is_tight() ? pool->idle : pool->idle_low;
    struct list_node *next, *node = pool->empty.prev;
    for (; surplus > 0; surplus--, node = next) {
        next = node->prev;
        slab_cool(pool, slab_of(node));
    }
    pool->idle_low = pool->idle;
}

/* --- Objects ------------------------------------------------------------------------------ */

/* Who takes the next object finds it in the processor's cache, all lines at once: where many
 * requests wait at a time, it has been out of use for as long as they do. */
static inline __attribute__((always_inline)) void object_fetch(const struct pool *pool,
                                                               const char *object) {
    for (const char *end = object + pool->fetched; object < end; object += 4 * LINE_BYTES) {
        __builtin_prefetch(object, 1);
        __builtin_prefetch(object + LINE_BYTES, 1);
        __builtin_prefetch(object + 2 * LINE_BYTES, 1);
        __builtin_prefetch(object + 3 * LINE_BYTES, 1);
    }
}

void *pool_get(struct pool *pool) {
    ensure_magic(pool, POOL_MAGIC);
    if (pool->live_max != 0 && pool->live >= pool->live_max) {
        return NULL;
    }
    struct pool_slab *slab = fault_hit(pool->fault) ? NULL : slab_find(pool);
    if (slab == NULL) {
        return NULL;
    }
    void *object = slab->free_first;
    UNPOISON(object, pool->size);
    slab->free_first = *(void **)object;
    *(void **)object = NULL;
    slab->live++;
    if (slab->free_first == NULL) {
        list_remove(&slab->link);
        list_append(&pool->full, &slab->link);
    } else {
        object_fetch(pool, slab->free_first);
    }
    if (++pool->live > pool->live_peak) {
        pool->live_peak = pool->live;
    }
    return object;
}

static struct pool_slab *slab_behind(const struct pool *pool, char *object) {
    UNPOISON(object + pool->size, TAIL_BYTES);
    struct pool_slab *slab = *(struct pool_slab **)(void *)(object + pool->size);
    POISON(object + pool->size, TAIL_BYTES);
    return slab;
}

void pool_put(struct pool *pool, void *object) {
    ensure_magic(pool, POOL_MAGIC);
    ensure(object != NULL && pool->live > 0);
    struct pool_slab *slab = slab_behind(pool, object);
    if (slab->free_first == NULL || slab->live == 1) {
        list_remove(&slab->link);
        list_prepend(slab->live == 1 ? &pool->empty : &pool->partial, &slab->link);
    }
    *(void **)object = slab->free_first;
    slab->free_first = object;
    POISON(object, pool->size);
    pool->live--;
    if (--slab->live == 0) {
        pool->idle++;
        if (memory_is_tight()) {
            slab_cool(pool, slab);
        }
    }
}
