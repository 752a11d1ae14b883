/* ring/task, post, op and date: the parts of a turn that ask no kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "ring/ring_priv.h"

static struct ring *ring;
static struct ring_core *core;

static int setup(void **state) {
    (void)state;
    struct ring_params params = {.handshakes_per_turn = 3};
    ring = core_alloc(sizeof(struct ring_core));
    core = core_of(ring);
    core_init(core, &params, 1000000, 784111777ull * 1000000);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    core_fini(core);
    core_free(ring);
    return 0;
}

/* --- Tasks -------------------------------------------------------------------------------- */

struct worker {
    struct task task;
    unsigned runs;
    unsigned yields;          /* how often to yield yet */
    struct task *wakes;       /* whom each run wakes */
    struct task *cancels;
};

static void worker_run(struct task *task) {
    struct worker *worker = container_of(task, struct worker, task);
    worker->runs++;
    if (worker->wakes != NULL) {
        task_wake(ring, worker->wakes);
    }
    if (worker->cancels != NULL) {
        task_cancel(ring, worker->cancels);
    }
    if (worker->yields > 0) {
        worker->yields--;
        task_yield(ring, task);
    }
}

static struct worker worker_of(void) {
    struct worker worker = {0};
    task_init(&worker.task, worker_run);
    return worker;
}

static void test_wake_runs_once(void **state) {
    (void)state;
    struct worker a = worker_of();
    task_wake(ring, &a.task);
    task_wake(ring, &a.task);
    assert_true(core_turn_wait_us(core) == 0);
    core_turn_run(core);
    assert_int_equal(a.runs, 1);
    assert_true(core_turn_wait_us(core) == TIMER_NEVER);
    core_turn_run(core);
    assert_int_equal(a.runs, 1);
}

static void test_chain_runs_in_the_turn(void **state) {
    (void)state;
    struct worker c = worker_of(), b = worker_of(), a = worker_of();
    a.wakes = &b.task;
    b.wakes = &c.task;
    task_wake(ring, &a.task);
    core_turn_run(core);
    assert_int_equal(a.runs + b.runs + c.runs, 3);
}

static void test_endless_chain_is_bounded(void **state) {
    (void)state;
    struct worker a = worker_of(), b = worker_of();
    a.wakes = &b.task;
    b.wakes = &a.task;
    task_wake(ring, &a.task);
    core_turn_run(core);
    unsigned runs = a.runs + b.runs;
    assert_true(runs > 1 && runs < 100);
    assert_true(core_turn_wait_us(core) == 0);
    a.wakes = b.wakes = NULL;
    core_turn_run(core);
    assert_int_equal(a.runs + b.runs, runs + 1);
    assert_true(core_turn_wait_us(core) == TIMER_NEVER);
}

static void test_yield_runs_in_the_next_turn(void **state) {
    (void)state;
    struct worker a = worker_of(), waker = worker_of();
    a.yields = 2;
    waker.wakes = &a.task;
    task_wake(ring, &a.task);
    for (unsigned turn = 1; turn <= 3; turn++) {
        task_wake(ring, &waker.task);   /* a wake does not bring a yielded task forward */
        core_turn_run(core);
        assert_int_equal(a.runs, turn);
        assert_true((core_turn_wait_us(core) == 0) == (turn < 3));
        if (turn == 2) {
            waker.wakes = NULL;
        }
    }
}

static void test_yield_moves_a_ready_task(void **state) {
    (void)state;
    struct worker a = worker_of();
    task_wake(ring, &a.task);
    task_yield(ring, &a.task);
    task_cancel(ring, &a.task);
    core_turn_run(core);
    assert_int_equal(a.runs, 0);
    assert_true(core_turn_wait_us(core) == TIMER_NEVER);
}

static void test_cancel_within_the_batch(void **state) {
    (void)state;
    struct worker a = worker_of(), b = worker_of(), c = worker_of();
    a.cancels = &b.task;
    task_wake(ring, &a.task);
    task_wake(ring, &b.task);
    task_wake(ring, &c.task);
    core_turn_run(core);
    assert_int_equal(a.runs, 1);
    assert_int_equal(b.runs, 0);
    assert_int_equal(c.runs, 1);
    task_cancel(ring, &b.task);
}

static void test_handshakes_stand_apart(void **state) {
    (void)state;
    struct worker shake[8], live = worker_of();
    for (unsigned i = 0; i < 8; i++) {
        shake[i] = worker_of();
        shake[i].task.lane = TASK_HANDSHAKE;
        shake[i].wakes = &live.task;
        task_wake(ring, &shake[i].task);
    }
    static const unsigned after[] = {3, 6, 8};
    for (unsigned turn = 0; turn < 3; turn++) {
        live.runs = 0;
        core_turn_run(core);
        unsigned runs = 0;
        for (unsigned i = 0; i < 8; i++) {
            runs += shake[i].runs;
            assert_true(i == 0 || shake[i].runs <= shake[i - 1].runs);   /* in order */
        }
        assert_int_equal(runs, after[turn]);
        assert_int_equal(live.runs, 1);   /* whom they wake runs in the same turn */
        assert_true((core_turn_wait_us(core) == 0) == (turn < 2));
    }
}

/* What live tasks have asked of the kernel goes out first; but not for ever. */
static void test_handshakes_stand_back(void **state) {
    (void)state;
    struct worker shake[8], live = worker_of();
    for (unsigned i = 0; i < 8; i++) {
        shake[i] = worker_of();
        shake[i].task.lane = TASK_HANDSHAKE;
        task_wake(ring, &shake[i].task);
    }
    task_wake(ring, &live.task);
    core_turn_run(core);
    assert_int_equal(live.runs, 1);
    assert_int_equal(shake[0].runs, 0);
    assert_true(core_turn_wait_us(core) == 0);
    core_turn_run(core);
    assert_int_equal(shake[2].runs, 1);
    assert_int_equal(shake[3].runs, 0);
    /* Live ones that are there in each turn hold them up for four, and then again for four. */
    for (unsigned turn = 1; turn <= 10; turn++) {
        task_wake(ring, &live.task);
        core_turn_run(core);
        assert_int_equal(live.runs, 1 + turn);
        assert_int_equal(shake[3].runs, turn >= 5);
        assert_int_equal(shake[6].runs, turn >= 10);
    }
    assert_true(core_turn_wait_us(core) == TIMER_NEVER);
    /* Nobody has stood back while nobody waited: the next one does so for all its turns. */
    task_wake(ring, &live.task);
    core_turn_run(core);
    task_wake(ring, &shake[0].task);
    for (unsigned turn = 1; turn <= 5; turn++) {
        task_wake(ring, &live.task);
        core_turn_run(core);
        assert_int_equal(shake[0].runs, 1 + (turn == 5));
    }
}

static void bulk_wake(struct worker *bulk, unsigned count, struct worker *wakes) {
    for (unsigned i = 0; i < count; i++) {
        bulk[i] = worker_of();
        bulk[i].task.lane = TASK_BULK;
        bulk[i].yields = 1;
        bulk[i].wakes = wakes != NULL ? &wakes->task : NULL;
        task_wake(ring, &bulk[i].task);
    }
}

/* One of four in a turn, in order, whatever live tasks there are; what goes on stands behind the
 * others. */
static void test_bulk_goes_piece_by_piece(void **state) {
    (void)state;
    struct worker bulk[3], live = worker_of();
    bulk_wake(bulk, 3, &live);
    for (unsigned turn = 1; turn <= 6; turn++) {
        assert_true(core_turn_wait_us(core) == 0);
        task_wake(ring, &live.task);
        core_turn_run(core);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(bulk[i].runs, (turn + 2 - i) / 3);
        }
        assert_int_equal(live.runs, 2 * turn);   /* before it, and whom it wakes after it */
    }
    assert_true(core_turn_wait_us(core) == TIMER_NEVER);
}

/* The more of it there is, the more of a turn it has. */
static void test_bulk_has_its_share(void **state) {
    (void)state;
    struct worker bulk[16];
    bulk_wake(bulk, 16, NULL);
    unsigned runs = 0;
    for (unsigned turn = 1; turn <= 4; turn++) {
        core_turn_run(core);
        runs = 0;
        for (unsigned i = 0; i < 16; i++) {
            runs += bulk[i].runs;
        }
        assert_int_equal(runs, 4 * turn);
    }
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(bulk[i].runs, 1);
        task_cancel(ring, &bulk[i].task);
    }
}

/* Handshakes stand back for bulk as for live tasks: a storm of them is not to have a core that
 * downloads are at. */
static void test_handshakes_stand_back_for_bulk(void **state) {
    (void)state;
    struct worker bulk, shake[6];
    bulk_wake(&bulk, 1, NULL);
    bulk.yields = 20;
    for (unsigned i = 0; i < 6; i++) {
        shake[i] = worker_of();
        shake[i].task.lane = TASK_HANDSHAKE;
        task_wake(ring, &shake[i].task);
    }
    for (unsigned turn = 1; turn <= 10; turn++) {
        core_turn_run(core);
        assert_int_equal(bulk.runs, turn);
        assert_int_equal(shake[0].runs, turn >= 5);
        assert_int_equal(shake[3].runs, turn >= 10);
    }
    task_cancel(ring, &bulk.task);
}

/* --- Posts -------------------------------------------------------------------------------- */

#define SENDERS 4
#define POSTS 20000

struct numbered {
    struct post post;
    unsigned sender, number;
};
static struct numbered sent[SENDERS][POSTS];
static unsigned got[SENDERS], got_all;
static _Atomic unsigned wakes;

static void numbered_run(struct post *post) {
    struct numbered *numbered = container_of(post, struct numbered, post);
    assert_int_equal(numbered->number, got[numbered->sender]);
    got[numbered->sender]++;
    got_all++;
}

static void *sender_run(void *arg) {
    unsigned sender = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < POSTS; i++) {
        sent[sender][i] = (struct numbered){{.run = numbered_run}, sender, i};
        if (post_queue_push(&core->posts, &sent[sender][i].post)) {
            wakes++;
        }
    }
    return NULL;
}

static void test_posts_keep_their_order(void **state) {
    (void)state;
    pthread_t threads[SENDERS];
    for (uintptr_t i = 0; i < SENDERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, sender_run, (void *)i), 0);
    }
    unsigned taken = 0;
    while (got_all < SENDERS * POSTS) {
        if (!post_queue_empty(&core->posts)) {
            taken++;
            post_queue_run(&core->posts);
        }
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(got[i], POSTS);
    }
    assert_int_equal(taken, wakes);   /* one wake-up for each time that there was something */
    assert_true(post_queue_empty(&core->posts));
}

static struct post again;
static unsigned again_runs;

static void again_run(struct post *post) {
    again_runs++;
    post_queue_push(&core->posts, post);   /* the post is ours again */
}

static void test_post_that_posts_comes_next_turn(void **state) {
    (void)state;
    again.run = again_run;
    assert_true(post_queue_push(&core->posts, &again));
    core_turn_run(core);
    assert_int_equal(again_runs, 1);
    assert_true(core_turn_wait_us(core) == 0);
    core_turn_run(core);
    assert_int_equal(again_runs, 2);
}

/* --- Ops ---------------------------------------------------------------------------------- */

static int last_res;
static bool last_armed;
static unsigned dones;

static void op_done(struct op *op, int res, struct seg *seg, bool armed) {
    assert_null(seg);
    assert_true(op_idle(op) == !armed);
    last_res = res;
    last_armed = armed;
    dones++;
}

static void test_op_generations(void **state) {
    (void)state;
    struct op op;
    op_init(&op, op_done);
    op_begin(core, &op, OP_RECV, 7);
    uint64_t first = op_token(&op);
    assert_ptr_equal(op_of(first), &op);
    op_renew(core, &op);
    assert_null(op_of(first));
    uint64_t second = op_token(&op);
    dones = 0;
    op_deliver(core, &op, 5, NULL, true);
    assert_true(last_res == 5 && last_armed && dones == 1);
    op_deliver(core, &op, 0, NULL, false);
    assert_true(last_res == 0 && !last_armed && dones == 2);
    assert_null(op_of(second));
    /* The object is given back and taken again: the old completion still does not match. */
    op_init(&op, op_done);
    op_begin(core, &op, OP_RECV, 7);
    assert_null(op_of(first));
    assert_null(op_of(second));
    assert_int_equal(stats_get(&core->stats, STAT_RX_BYTES), 5);
    op_deliver(core, &op, -ECONNRESET, NULL, false);
    op_begin(core, &op, OP_SENDV, 7);
    op_deliver(core, &op, 9, NULL, false);
    assert_int_equal(stats_get(&core->stats, STAT_TX_BYTES), 9);
    assert_int_equal(core->ops, 0);
}

static void test_op_that_ends_later(void **state) {
    (void)state;
    struct op op;
    op_init(&op, op_done);
    op_begin(core, &op, OP_RECV, 7);
    dones = 0;
    op_end_later(core, &op);
    assert_int_equal(dones, 0);
    assert_true(core_turn_wait_us(core) == 0);
    op_ended_run(core);
    assert_true(dones == 1 && last_res == -ECANCELED && !last_armed);
    assert_true(core_turn_wait_us(core) == TIMER_NEVER);
}

/* --- The date ----------------------------------------------------------------------------- */

static void test_http_date(void **state) {
    (void)state;
    struct str date = ring_http_date(ring);
    assert_int_equal(date.len, 29);
    assert_memory_equal(date.p, "Sun, 06 Nov 1994 08:49:37 GMT", 29);
    core_turn_begin(core, 2000000, 784111778ull * 1000000);
    assert_memory_equal(ring_http_date(ring).p, "Sun, 06 Nov 1994 08:49:38 GMT", 29);

    char mine[HTTP_DATE_LEN], libc[64];
    for (uint64_t s = 0; s < 8000000000; s += 86399 * 3 + 7) {
        struct tm tm;
        time_t t = (time_t)s;
        assert_non_null(gmtime_r(&t, &tm));
        assert_int_equal(strftime(libc, sizeof libc, "%a, %d %b %Y %H:%M:%S GMT", &tm), 29);
        http_date_print(mine, s);
        assert_memory_equal(mine, libc, 29);
    }
    static const uint64_t leaps[] = {951782400, 951868799, 951868800, 4107542399, 4107542400};
    for (unsigned i = 0; i < sizeof leaps / sizeof leaps[0]; i++) {
        struct tm tm;
        time_t t = (time_t)leaps[i];
        assert_non_null(gmtime_r(&t, &tm));
        strftime(libc, sizeof libc, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        http_date_print(mine, leaps[i]);
        assert_memory_equal(mine, libc, 29);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_wake_runs_once),
        TEST(test_chain_runs_in_the_turn),
        TEST(test_endless_chain_is_bounded),
        TEST(test_yield_runs_in_the_next_turn),
        TEST(test_yield_moves_a_ready_task),
        TEST(test_cancel_within_the_batch),
        TEST(test_handshakes_stand_apart),
        TEST(test_handshakes_stand_back),
        TEST(test_bulk_goes_piece_by_piece),
        TEST(test_bulk_has_its_share),
        TEST(test_handshakes_stand_back_for_bulk),
        TEST(test_posts_keep_their_order),
        TEST(test_post_that_posts_comes_next_turn),
        TEST(test_op_generations),
        TEST(test_op_that_ends_later),
        TEST(test_http_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
