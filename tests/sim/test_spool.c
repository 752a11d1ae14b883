/* Spools: bytes come out as they went in, whatever memory, disk and timing do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "exchange/spool_priv.h"
#include "sim/sim.h"

#define COPY_BYTES 16384u

struct stage {
    struct sim *sim;
    struct ring *ring;
    struct spool_store store;
    struct pool pool;
    struct segpool copies;
    struct task owner;
    struct spool *spool;
    struct bufq in, out;
    uint64_t pushed, pulled, woken;
};
static struct stage stage;

static void owner_run(struct task *task) {
    (void)task;
    stage.woken++;
}

static void begin(uint64_t seed, const struct sim_params *params, uint64_t spool_max, bool keep) {
    memset(&stage, 0, sizeof stage);
    stage.sim = sim_new(seed, params);
    stage.ring = ring_new(&(struct ring_params){0}, NULL);
    stage.store = (struct spool_store){.folder = "/spool", .max = spool_max,
                                        .piece = SPOOL_PIECE_BYTES};
    pool_init(&stage.pool, "spools", sizeof(struct spool), 0);
    segpool_init(&stage.copies, "copies", COPY_BYTES, 0, false);
    bufq_init(&stage.in, UINT32_MAX, &stage.copies);
    bufq_init(&stage.out, UINT32_MAX, &stage.copies);
    task_init(&stage.owner, owner_run);
    stage.spool = spool_new(&stage.pool, stage.ring, &stage.store, &stage.copies, &stage.owner,
                            keep);
    assert_non_null(stage.spool);
}

static bool is_gone(void *arg) {
    (void)arg;
    return stage.pool.live == 0;
}

static void end(void) {
    spool_free(stage.spool);
    assert_int_equal(sim_run_until(stage.sim, is_gone, NULL, 10000), PEERS_MET);
    assert_int_equal(atomic_load(&stage.store.held), 0);
    task_cancel(stage.ring, &stage.owner);
    bufq_fini(&stage.in);
    bufq_fini(&stage.out);
    pool_fini(&stage.pool);
    segpool_fini(&stage.copies);
    ring_free(stage.ring);
    sim_free(stage.sim);
}

static uint8_t pattern(uint64_t at) {
    return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

static void feed(uint32_t len) {
    for (uint32_t i = 0; i < len; i++) {
        uint8_t c = pattern(stage.pushed + stage.in.bytes);
        bufq_copy(&stage.in, &c, 1);
    }
}

static uint32_t push(void) {
    uint32_t n = spool_push(stage.spool, &stage.in);
    stage.pushed += n;
    return n;
}

/* What comes out is what is next. */
static uint32_t pull(uint32_t max) {
    uint32_t n = spool_pull(stage.spool, &stage.out, max);
    assert_int_equal(n, stage.out.bytes);
    for (uint32_t len; stage.out.bytes > 0; bufq_drop(&stage.out, len)) {
        const uint8_t *p = bufq_front(&stage.out, &len);
        for (uint32_t i = 0; i < len; i++) {
            assert_int_equal(p[i], pattern(stage.pulled + i));
        }
        stage.pulled += len;
    }
    return n;
}

static bool was_woken(void *arg) {
    return stage.woken > *(uint64_t *)arg;
}

/* Who got nothing, or had no room, is woken: nothing else may be needed to go on. */
static void wait_woken(uint64_t since) {
    assert_int_equal(sim_run_until(stage.sim, was_woken, &since, 10000), PEERS_MET);
}

static void push_all(void) {
    while (stage.in.bytes > 0) {
        uint64_t since = stage.woken;
        if (push() == 0) {
            wait_woken(since);
        }
    }
}

static void pull_all(void) {
    while (spool_bytes(stage.spool) > 0) {
        uint64_t since = stage.woken;
        if (pull(UINT32_MAX) == 0) {
            wait_woken(since);
        }
    }
    assert_int_equal(stage.pulled, stage.pushed);
}

static void small_stays_in_memory(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    begin(1, &params, 1 << 30, false);
    spool_limit(stage.spool, 65536, 1 << 20);
    feed(60000);
    assert_int_equal(push(), 60000);
    assert_int_equal(pull(10), 10);      /* at once */
    pull_all();
    assert_int_equal(sim_file(stage.sim, "/spool/spool-0").len, 0);
    end();
}

static void large_goes_to_the_file(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    begin(1, &params, 1 << 30, false);
    spool_limit(stage.spool, 65536, 4 << 20);
    feed(2 << 20);
    push_all();
    assert_true(sim_file(stage.sim, "/spool/spool-0").len > (1 << 20));
    assert_true(stage.copies.live * COPY_BYTES < 65536 + 6 * 65536);
    assert_true(atomic_load(&stage.store.held) > (1 << 20));
    pull_all();
    end();
}

/* A body that never ends goes through a file that does not grow without end. */
static void the_file_goes_round(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    begin(1, &params, 1 << 30, false);
    spool_limit(stage.spool, 4096, 300000);
    for (int i = 0; i < 100; i++) {
        feed(250000);
        push_all();
        while (spool_bytes(stage.spool) > 40000) {
            uint64_t since = stage.woken;
            if (pull(UINT32_MAX) == 0) {
                wait_woken(since);
            }
        }
    }
    pull_all();
    assert_true(sim_file(stage.sim, "/spool/spool-0").len <= 300000 + 4 * 65536);
    end();
}

static void full_is_told(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    begin(1, &params, 1 << 30, false);
    spool_limit(stage.spool, 65536, 500000);
    feed(1000000);
    uint64_t none = 0;
    while (stage.pushed < 500000) {
        uint64_t since = stage.woken;
        none = push() == 0 ? none + 1 : 0;
        if (none > 0) {
            wait_woken(since);
        }
    }
    assert_int_equal(push(), 0);
    uint64_t since = stage.woken;
    while (stage.woken == since) {
        if (pull(1000) == 0) {
            wait_woken(since);
        }
    }
    assert_true(push() > 0);
    end();
}

/* Without a file memory alone is there, and the bytes in it are still right. */
static void no_disk(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    params.chance[SIM_SYS] = 10000;      /* no file can be opened */
    for (int i = 0; i < 2; i++) {
        begin(1, i == 0 ? &params : NULL, i == 0 ? 1 << 30 : 0, false);
        spool_limit(stage.spool, 200000, 1 << 20);
        feed(1000000);
        while (push() > 0) {
        }
        assert_true(stage.pushed >= 200000 && stage.pushed < 200000 + 5 * 65536);
        pull_all();
        while (stage.in.bytes > 0) {
            if (push() == 0) {
                pull_all();
            }
        }
        pull_all();
        end();
    }
}

static void the_store_has_a_bound(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    begin(1, &params, 300000, false);
    spool_limit(stage.spool, 65536, 4 << 20);
    feed(2 << 20);
    for (int i = 0; i < 100; i++) {
        (void)push();
        (void)sim_run_until(stage.sim, NULL, NULL, 10);
    }
    assert_true(stage.in.bytes > 0);
    assert_true(atomic_load(&stage.store.held) <= 300000);
    while (stage.in.bytes > 0 || spool_bytes(stage.spool) > 0) {
        uint64_t since = stage.woken;
        if (push() == 0 && pull(UINT32_MAX) == 0) {
            wait_woken(since);
        }
    }
    assert_int_equal(stage.pulled, 2 << 20);
    end();
}

static void kept_is_read_again(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    for (uint32_t len = 1; len < (3 << 20); len = len * 7 + 13) {
        begin(len, &params, 1 << 30, true);
        spool_limit(stage.spool, 65536, 4 << 20);
        feed(len);
        push_all();
        pull_all();
        stage.pulled = 0;
        spool_rewind(stage.spool);
        assert_int_equal(spool_bytes(stage.spool), len);
        for (uint32_t got = 0; got < len / 2;) {   /* half, and from the beginning again */
            uint64_t since = stage.woken;
            uint32_t n = pull(10000);
            got += n;
            if (n == 0) {
                wait_woken(since);
            }
        }
        stage.pulled = 0;
        spool_rewind(stage.spool);
        pull_all();
        end();
    }
}

/* Everything at random, with a disk that is slow, short and full. */
static void seeds(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct sim_params params = sim_params_rough(seed);
        params.chance[SIM_SYS] = seed % 5 == 0 ? 5000 : 0;
        bool keep = seed % 3 == 0;
        begin(seed, &params, seed % 4 == 0 ? 200000 : 1 << 30, keep);
        uint64_t memory = 4096 + sim_draw(stage.sim, 100000);
        spool_limit(stage.spool, memory, memory + sim_draw(stage.sim, 400000));
        uint32_t steps = (uint32_t)sim_draw(stage.sim, 60);
        for (uint32_t i = 0; i < steps && stage.spool->why == CLOSE_NONE; i++) {
            feed((uint32_t)sim_draw(stage.sim, 60000));
            (void)push();
            if (!keep) {
                (void)pull((uint32_t)sim_draw(stage.sim, 60000));
            }
            if (sim_chance(stage.sim, 3000)) {
                (void)sim_run_until(stage.sim, NULL, NULL, sim_draw(stage.sim, 20));
            }
        }
        if (seed % 2 == 0) {
            bufq_drop(&stage.in, stage.in.bytes);
            pull_all();
            if (keep) {
                stage.pulled = 0;
                spool_rewind(stage.spool);
                pull_all();
            }
        }                                 /* else: given up with all in flight */
        end();
    }
}

/* The disk takes its time; the ring's receive buffers are for others meanwhile. */
static void a_write_holds_no_buffers(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    begin(1, &params, 1 << 24, false);
    spool_limit(stage.spool, 0, 1 << 24);
    struct segpool buffers;
    segpool_init(&buffers, "receive", 16384, 4, true);
    feed(100000);
    (void)spool_push(stage.spool, &stage.in);
    assert_false(op_idle(&stage.spool->op_write));
    struct seg *segs[4];
    for (uint32_t i = 0; i < 4; i++) {
        segs[i] = seg_new(&buffers);
        memset(segs[i]->data, 0, 16384);
        bufq_push(&stage.in, segs[i], 0, 16384);
        seg_unref(segs[i]);
    }
    assert_int_equal(buffers.live, 4);
    assert_int_equal(spool_push(stage.spool, &stage.in), 4 * 16384);
    assert_false(op_idle(&stage.spool->op_write));
    assert_true(buffers.live <= 2);   /* half of them may stay: that is not scarce */
    end();
    segpool_fini(&buffers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_holds_no_buffers),
        cmocka_unit_test(small_stays_in_memory), cmocka_unit_test(large_goes_to_the_file),
        cmocka_unit_test(the_file_goes_round), cmocka_unit_test(full_is_told),
        cmocka_unit_test(no_disk), cmocka_unit_test(the_store_has_a_bound),
        cmocka_unit_test(kept_is_read_again), cmocka_unit_test(seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
