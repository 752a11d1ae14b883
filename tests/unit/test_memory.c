/* Memory is counted, and bounded: levels, refusals, and pages that go back. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/ensure.h"
#include "base/mem.h"
#include "base/memory.h"
#include "base/pool.h"

#define MIB (UINT64_C(1) << 20)
#define SLACK 131072u   /* what a thread has not added up yet, twice */

static uint64_t before;

static int count_begin(void **state) {
    (void)state;
    memory_bound(0);
    before = memory_used();
    return 0;
}

/* So that what the tests hold is what the bound is about. */
static int count_end(void **state) {
    (void)state;
    memory_bound(0);
    return memory_used() == before ? 0 : -1;
}

static void what_mem_gives_is_counted(void **state) {
    (void)state;
    char *a = mem_alloc(100000), *b = mem_zero(200000), *c = mem_try_alloc(300000);
    assert_true(memory_used() >= before + 600000 && memory_used() < before + 700000);
    a = mem_grow(a, 1000000);
    assert_true(memory_used() >= before + 1500000 && memory_used() < before + 1700000);
    char *d = mem_copy("text", 4);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(d);
    mem_free(NULL);
    assert_int_equal(memory_used(), before);
}

static void *take_and_leave(void *arg) {
    *(void **)arg = mem_alloc(MIB);
    return NULL;
}

/* What one thread took another one may give back. */
static void threads_add_up(void **state) {
    (void)state;
    void *taken[8];
    for (int i = 0; i < 8; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, take_and_leave, &taken[i]), 0);
        pthread_join(thread, NULL);
    }
    assert_true(memory_used() >= before + 8 * MIB - 8 * SLACK);
    for (int i = 0; i < 8; i++) {
        mem_free(taken[i]);
    }
    assert_true(memory_used() <= before + SLACK);
    before = memory_used();   /* what those threads had not added up is gone with them */
}

static void levels_come_and_go(void **state) {
    (void)state;
    void *held[16];
    memory_bound(before + 16 * MIB);
    uint64_t bound = before + 16 * MIB;
    int pressed_at = -1, tight_at = -1, full_at = -1;
    for (int i = 0; i < 16; i++) {
        held[i] = mem_try_alloc(MIB - 4096);
        if (pressed_at < 0 && memory_is_pressed()) {
            pressed_at = i;
        }
        if (tight_at < 0 && memory_is_tight()) {
            tight_at = i;
        }
        if (full_at < 0 && memory_level() == MEMORY_FULL) {
            full_at = i;
        }
    }
    assert_true(pressed_at > 0 && tight_at > pressed_at && full_at > tight_at);
    assert_null(mem_try_alloc(MIB));
    assert_null(mem_try_zero(MIB));
    assert_null(mem_try_copy("x", MIB));
    assert_true(memory_used() <= bound);
    char *sure = mem_alloc(MIB);   /* never refused */
    assert_non_null(sure);
    mem_free(sure);
    int plenty_at = -1;
    for (int i = 15; i >= 0; i--) {
        mem_free(held[i]);
        if (plenty_at < 0 && !memory_is_pressed()) {
            plenty_at = i;
        }
    }
    assert_true(plenty_at >= 0 && plenty_at < pressed_at);   /* later than it came */
    assert_int_equal(memory_level(), MEMORY_PLENTY);
}

static bool is_resident(const void *p) {
    unsigned char page;
    void *at = (void *)((uintptr_t)p & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1));
    assert_int_equal(mincore(at, 1, &page), 0);
    return (page & 1) != 0;
}

#define SEGS 200u
static void segments_are_counted_and_go_back(void **state) {
    (void)state;
    struct segpool pool;
    struct seg *segs[SEGS];
    const uint8_t *last;
    segpool_init(&pool, "test", 16384, 0, false);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < SEGS; i++) {
            segs[i] = seg_new(&pool);
            memset(segs[i]->data, 1, segs[i]->size);
        }
        assert_true(memory_used() >= before + SEGS * 16384u);
        last = segs[0]->data;
        segpool_trim(&pool);             /* all of them are in use */
        for (unsigned i = SEGS; i-- > 0;) {
            assert_int_equal(segs[i]->data[16383], 1);
            seg_unref(segs[i]);
        }
        assert_true(memory_used() >= before + SEGS * 16384u);   /* warm */
        assert_true(is_resident(last));
        unsigned trims = 0;
        while (segpool_trim(&pool)) {
            assert_true(++trims < 20);
        }
        assert_true(trims > 2);          /* half each time: who comes again finds some */
        assert_true(memory_used() < before + 40 * 16384u + MIB / 4);
        assert_false(is_resident(segs[SEGS - 1]->data));
    }
    segpool_fini(&pool);
}

static void segments_know_the_bound(void **state) {
    (void)state;
    struct segpool pool;
    struct seg *segs[SEGS];
    unsigned count = 0;
    segpool_init(&pool, "test", 16384, 0, false);
    memory_bound(before + MIB);
    while ((segs[count] = seg_new(&pool)) != NULL) {
        assert_true(++count < SEGS);
    }
    assert_true(count > 40 && count <= 64);
    seg_unref(segs[--count]);
    segs[count] = seg_new(&pool);        /* what is warm costs nothing more */
    assert_non_null(segs[count++]);
    while (count > 0) {
        seg_unref(segs[--count]);
    }
    while (segpool_trim(&pool)) {
    }
    assert_false(memory_is_tight());
    segpool_fini(&pool);
}

static void pages_that_are_shared_stay(void **state) {
    (void)state;
    struct segpool pool;
    struct seg *segs[64];
    segpool_init(&pool, "test", 1000, 0, false);
    for (unsigned i = 0; i < 64; i++) {
        segs[i] = seg_new(&pool);
    }
    for (unsigned i = 0; i < 64; i++) {
        seg_unref(segs[i]);
    }
    assert_false(segpool_trim(&pool));
    segpool_fini(&pool);
}

static void queues_hold_less_under_pressure(void **state) {
    (void)state;
    struct bufq large, small;
    bufq_init(&large, 262144, NULL);
    bufq_init(&small, 1000, NULL);
    assert_int_equal(bufq_room(&large), 262144);
    char *held = mem_alloc(8 * MIB);
    memory_bound(before + 14 * MIB);
    assert_int_equal(memory_level(), MEMORY_PRESSED);
    assert_int_equal(bufq_room(&large), BUFQ_PRESSED);
    assert_int_equal(bufq_room(&small), 1000);
    assert_true(bufq_is_roomy(&large));
    mem_free(held);
    assert_int_equal(bufq_room(&large), 262144);
    bufq_fini(&large);
    bufq_fini(&small);
}

#define OBJECTS 1000u
#define OBJECT_BYTES 1000u
static void objects_fill(struct pool *pool, uint8_t **objects) {
    for (unsigned i = 0; i < OBJECTS; i++) {
        objects[i] = pool_get(pool);
        assert_non_null(objects[i]);
        memset(objects[i], (int)i, OBJECT_BYTES);
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        assert_true(objects[i][0] == (uint8_t)i && objects[i][OBJECT_BYTES - 1] == (uint8_t)i);
    }
}

/* What nobody needs goes back at the second trim; what is used in between stays. */
static void objects_are_counted_and_go_back(void **state) {
    (void)state;
    struct pool pool;
    uint8_t *objects[OBJECTS];
    pool_init(&pool, "test", OBJECT_BYTES, 0);
    for (unsigned round = 0; round < 3; round++) {
        objects_fill(&pool, objects);
        pool_trim(&pool);                /* all of them are in use */
        pool_trim(&pool);
        assert_true(memory_used() >= before + OBJECTS * OBJECT_BYTES);
        const uint8_t *last = objects[OBJECTS - 1];
        assert_true(is_resident(last));
        for (unsigned i = OBJECTS; i-- > 1;) {
            assert_int_equal(objects[i][OBJECT_BYTES - 1], (uint8_t)i);
            pool_put(&pool, objects[i]);
        }
        pool_trim(&pool);
        assert_true(memory_used() >= before + OBJECTS * OBJECT_BYTES);   /* warm */
        pool_trim(&pool);
        assert_true(memory_used() < before + 65536 + 4096);
        assert_false(is_resident(last));
        assert_int_equal(objects[0][0], 0);
        pool_put(&pool, objects[0]);
    }
    pool_fini(&pool);
}

/* Where memory is tight empty slabs go back at once, so that what came to that level leaves it. */
static void objects_go_back_at_once_where_memory_is_tight(void **state) {
    (void)state;
    struct pool pool;
    uint8_t *objects[OBJECTS];
    pool_init(&pool, "test", OBJECT_BYTES, 0);
    memory_bound(before + OBJECTS * OBJECT_BYTES * 5 / 4);
    objects_fill(&pool, objects);
    assert_true(memory_is_tight());
    void *more[OBJECTS];
    unsigned count = 0;
    while ((more[count] = pool_get(&pool)) != NULL) {
        assert_true(++count < OBJECTS);
    }
    assert_true(count > 0 && memory_used() <= before + OBJECTS * OBJECT_BYTES * 5 / 4);
    for (unsigned i = 0; i < OBJECTS; i++) {
        pool_put(&pool, objects[i]);
    }
    assert_false(memory_is_tight());
    while (count > 0) {
        pool_put(&pool, more[--count]);
    }
    pool_fini(&pool);
}

/* A copy is a segment of its pool, or a small one where memory is tight and none is warm. */
static void copies_are_small_where_memory_is_tight(void **state) {
    (void)state;
    struct segpool copies;
    struct bufq queues[100];
    segpool_init(&copies, "copies", 16384, 0, false);
    char *held = mem_alloc(8 * MIB), text[5000];
    memset(text, 't', sizeof text);
    memory_bound(before + 10 * MIB);
    assert_true(memory_is_tight());
    uint64_t used = memory_used();
    for (unsigned i = 0; i < 100; i++) {
        bufq_init(&queues[i], 65536, &copies);
        for (unsigned n = 0; n < 10; n++) {
            bufq_copy(&queues[i], text, 100);
        }
        assert_true(queues[i].count == 1 && queues[i].bytes == 1000);
    }
    assert_true(memory_used() - used < 100 * 3000);
    uint32_t got;
    assert_non_null(bufq_reserve(&queues[0], 9000, &got));
    assert_true(got >= 9000);
    bufq_commit(&queues[0], 0);
    bufq_copy(&queues[0], text, sizeof text);
    assert_true(queues[0].bytes == 6000 && !queues[0].failed);
    for (unsigned i = 0; i < 100; i++) {
        bufq_fini(&queues[i]);
    }
    mem_free(held);
    segpool_fini(&copies);
}

/* Who finds no room is to be told, though the mark came down behind its last write. */
static void who_finds_no_room_is_remembered(void **state) {
    (void)state;
    struct segpool copies;
    struct bufq q;
    char *held = mem_alloc(8 * MIB), text[20000] = {0};
    segpool_init(&copies, "copies", 16384, 0, false);
    bufq_init(&q, 65536, &copies);
    bufq_copy(&q, text, sizeof text);
    assert_true(bufq_ask(&q) > 0 && !q.awaited);
    memory_bound(before + 14 * MIB);
    assert_int_equal(bufq_ask(&q), 0);
    assert_true(q.awaited && !bufq_is_roomy(&q));
    bufq_join(&q, 4096);
    assert_true(q.awaited);
    bufq_drop(&q, 12000);
    assert_true(q.awaited && bufq_is_roomy(&q));
    bufq_fini(&q);
    mem_free(held);
    segpool_fini(&copies);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, count_begin, count_end)
    const struct CMUnitTest tests[] = {
        CASE(what_mem_gives_is_counted), CASE(threads_add_up), CASE(levels_come_and_go),
        CASE(segments_are_counted_and_go_back), CASE(segments_know_the_bound),
        CASE(pages_that_are_shared_stay), CASE(queues_hold_less_under_pressure),
        CASE(objects_are_counted_and_go_back),
        CASE(objects_go_back_at_once_where_memory_is_tight),
        CASE(copies_are_small_where_memory_is_tight), CASE(who_finds_no_room_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
