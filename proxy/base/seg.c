/* Segments, and their pools. */
#include "base/buf.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/ensure.h"
#include "base/fault.h"
#include "base/mem.h"

#define SEG_MAGIC 0x53454721u
#define SEGPOOL_MAGIC 0x53504f4cu

/* So many segments stay warm, as they will be needed again. */
#define IDLE_KEPT 16u

/* Headers of a slab's segments; their bytes are one mapping, untouched until used. */
struct segpool_slab {
    struct segpool_slab *next;
    uint8_t *bytes;
    size_t mapped;
    uint32_t count;
    struct seg segs[];
};

void segpool_init(struct segpool *pool, const char *name, uint32_t seg_size, uint32_t live_max,
                  bool receive) {
    *pool = (struct segpool){.magic = SEGPOOL_MAGIC, .name = name, .seg_size = seg_size,
                             .live_max = live_max, .receive = receive,
                             .fault = (uint8_t)fault_of_pool(name)};
    list_init(&pool->free);
    list_init(&pool->cold);
}

void segpool_fini(struct segpool *pool) {
    ensure_magic(pool, SEGPOOL_MAGIC);
    ensure(pool->live == 0);
    memory_count(-(int64_t)pool->idle * pool->seg_size);
    while (pool->slabs != NULL) {
        struct segpool_slab *slab = pool->slabs;
        pool->slabs = slab->next;
        munmap(slab->bytes, slab->mapped);
        mem_free(slab);
    }
    pool->magic = 0;
}

static bool segpool_grow(struct segpool *pool) {
    uint32_t count = (1u << 20) / pool->seg_size;
    count = count < 8 ? 8 : count;
    size_t size = (size_t)count * pool->seg_size;
    void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED) {
        return false;
    }
    struct segpool_slab *slab = mem_try_zero(sizeof *slab + count * sizeof(struct seg));
    if (slab == NULL) {
        munmap(bytes, size);
        return false;
    }
    slab->next = pool->slabs;
    slab->bytes = bytes;
    slab->mapped = size;
    slab->count = count;
    pool->slabs = slab;
    for (uint32_t i = 0; i < count; i++) {
        struct seg *seg = &slab->segs[i];
        *seg = (struct seg){.magic = SEG_MAGIC, .size = pool->seg_size, .home = pool,
                            .data = slab->bytes + (size_t)i * pool->seg_size};
        list_append(&pool->cold, &seg->free);
    }
    return true;
}

/* The pages are gone when it returns; the kernel gives zeroed ones where they are used again. */
static void seg_cool(struct segpool *pool, struct seg *seg) {
    if (madvise(seg->data, seg->size, MADV_DONTNEED) != 0) {
        list_prepend(&pool->free, &seg->free);   /* locked pages: they stay */
        return;
    }
    seg->warm = false;
    pool->idle--;
    memory_count(-(int64_t)seg->size);
    list_prepend(&pool->cold, &seg->free);
}

bool segpool_trim(struct segpool *pool) {
    ensure_magic(pool, SEGPOOL_MAGIC);
    if (pool->seg_size % (uint32_t)sysconf(_SC_PAGESIZE) != 0) {
        return false;   /* a neighbour lies in the same page */
    }
    uint32_t unused = pool->idle_low > IDLE_KEPT ? pool->idle_low - IDLE_KEPT : 0;
    uint32_t surplus = memory_is_tight() ? pool->idle_low : (unused + 1) / 2;
    for (uint32_t i = 0; i < surplus; i++) {
        struct list_node *coldest = pool->free.prev;
        list_remove(coldest);
        seg_cool(pool, container_of(coldest, struct seg, free));
    }
    pool->idle_low = pool->idle;
    return pool->idle > IDLE_KEPT;
}

/* A segment whose pages are yet to be the process's. */
static __attribute__((noinline)) struct seg *segpool_warm(struct segpool *pool) {
    if ((list_empty(&pool->cold) && !segpool_grow(pool)) || !memory_has(pool->seg_size)) {
        return NULL;
    }
    struct seg *seg = container_of(list_pop(&pool->cold), struct seg, free);
    seg->warm = true;
    memory_count(seg->size);
    return seg;
}

static inline struct seg *segpool_take(struct segpool *pool) {
    if (list_empty(&pool->free)) {
        return segpool_warm(pool);
    }
    pool->idle--;
    pool->idle_low = pool->idle < pool->idle_low ? pool->idle : pool->idle_low;
    return container_of(list_pop(&pool->free), struct seg, free);
}

struct seg *seg_new(struct segpool *pool) {
    ensure_magic(pool, SEGPOOL_MAGIC);
    if (pool->live_max != 0 && pool->live >= pool->live_max) {
        return NULL;
    }
    struct seg *seg = fault_hit(pool->fault) ? NULL : segpool_take(pool);
    if (seg == NULL) {
        return NULL;
    }
    ensure(seg->magic == SEG_MAGIC && seg->refs == 0);
    seg->refs = 1;
    seg->used = 0;
    if (++pool->live > pool->live_peak) {
        pool->live_peak = pool->live;
    }
    return seg;
}

struct seg *seg_new_sized(uint32_t size) {
    struct seg *seg = fault_hit(FAULT_SEGMENT) ? NULL : mem_try_alloc(sizeof *seg + size);
    if (seg == NULL) {
        return NULL;
    }
    *seg = (struct seg){.magic = SEG_MAGIC, .refs = 1, .size = size};
    seg->data = (uint8_t *)(seg + 1);
    return seg;
}

void seg_unref(struct seg *seg) {
    ensure_magic(seg, SEG_MAGIC);
    ensure(seg->refs > 0);
    if (--seg->refs > 0) {
        return;
    }
    struct segpool *pool = seg->home;
    if (pool == NULL) {
        mem_free(seg);
        return;
    }
    pool->live--;
    pool->idle++;
    list_prepend(&pool->free, &seg->free);   /* the warmest first */
    if (pool->home != NULL) {
        pool->home(pool);
    }
}
