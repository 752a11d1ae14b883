/* Slow start: the share of a server that comes back, in every balancer against theory; and what is a
 * coming back. */
#include "eject_lab.h"

#define PICKS 200000u
#define KEYS 100000u
#define BEGAN_MS 1000000u
#define LASTS_MS 100000u
#define RISES "slow_start = 100s\n"

static struct origin *const first = &scene.origins[0];

/* --- Shares ------------------------------------------------------------------------------- */

static struct lab plain;
static struct sim *sim;
static struct upstream *room;
static struct backend *backend;
static uint32_t picked[5];

static const uint32_t weights[] = {4, 1, 2, 3, 2};

static void picks_begin(const char *balance, uint32_t servers) {
    sim = sim_new(3, NULL);
    char ini[1024], *p = ini;
    p += snprintf(p, 256, "[global]\nworkers = 1\n[listener web]\nbind = 127.0.0.1:80\n"
                  "backend = app\n[backend app]\nbalance = %s\n" RISES, balance);
    for (uint32_t i = 0; i < servers; i++) {
        p += snprintf(p, 64, "server = 127.0.0.1:%u weight=%u\n", 8001 + i, weights[i]);
    }
    assert_true(lab_start(&plain, true, ini, NULL));
    room = &plain.workers[0].upstream;
    backend = &room->registry->backends[0];
    room->luck = 42;
    memset(picked, 0, sizeof picked);
}

static void picks_end(void) {
    assert_true(lab_stop(&plain, 60000));
    sim_free(sim);
}

static struct server *pick(uint64_t key, uint64_t past_ms) {
    struct choice choice = {.key = key, .now_ms = BEGAN_MS + past_ms};
    return balance_pick(room, backend, &choice);
}

/* What the first one is to have of all, so long after it came back: from a tenth of its weight on,
 * in a straight line. */
static double theory(uint32_t servers, uint64_t past_ms) {
    double part = past_ms < LASTS_MS ? 0.1 + 0.9 * (double)past_ms / LASTS_MS : 1;
    double sum = weights[0] * part;
    for (uint32_t i = 1; i < servers; i++) {
        sum += weights[i];
    }
    return weights[0] * part / sum;
}

static void share_is(double have, double want, double off, const char *of, uint64_t past_ms) {
    if (have < want * (1 - off) || have > want * (1 + off)) {
        fail_msg("%s: %.4f after %llu ms, not %.4f", of, have, (unsigned long long)past_ms, want);
    }
}

static const uint64_t moments[] = {0, 20000, 50000, 90000, LASTS_MS, 10 * LASTS_MS};
#define MOMENTS (sizeof moments / sizeof *moments)

static void by_picks(void **state) {
    (void)state;
    static const char *const balances[] = {"round_robin", "random", "hash"};
    for (uint32_t b = 0; b < 3; b++) {
        picks_begin(balances[b], 5);
        slow_start_begin(&backend->servers[0], BEGAN_MS);
        for (uint32_t m = 0; m < MOMENTS; m++) {
            memset(picked, 0, sizeof picked);
            for (uint32_t i = 0; i < PICKS; i++) {
                picked[pick(i, moments[m])->index]++;
            }
            share_is((double)picked[0] / PICKS, theory(5, moments[m]), 0.03, balances[b],
                     moments[m]);
            assert_int_equal(atomic_load(&backend->rising), moments[m] < LASTS_MS);
        }
        assert_int_equal(atomic_load(&backend->servers[0].rises_ms), 0);
        picks_end();
    }
}

/* 600 run at once, and as one ends another begins: what runs at the first one, in the mean. */
static void by_load(void **state) {
    (void)state;
    for (uint32_t servers = 3; servers <= 5; servers += 2) {   /* all compared; two drawn */
        picks_begin("least_requests", servers);
        slow_start_begin(&backend->servers[0], BEGAN_MS);
        static struct server *running[600];
        memset(running, 0, sizeof running);
        for (uint32_t m = 0; m < MOMENTS; m++) {
            uint64_t sum = 0;
            for (uint32_t i = 0; i < PICKS; i++) {
                struct server **at = &running[upstream_random(room, 600)];
                if (*at != NULL) {
                    atomic_fetch_sub(&(*at)->counts[0].requests, 1);
                }
                *at = pick(0, moments[m]);
                atomic_fetch_add(&(*at)->counts[0].requests, 1);
                sum += i >= PICKS / 2 ? balance_load(room, &backend->servers[0]) : 0;
            }
            share_is((double)sum / (PICKS / 2) / 600, theory(servers, moments[m]), 0.06,
                     "least_requests", moments[m]);
        }
        for (uint32_t i = 0; i < 600; i++) {
            if (running[i] != NULL) {
                atomic_fetch_sub(&running[i]->counts[0].requests, 1);
            }
        }
        picks_end();
    }
}

/* Keys come home one by one: each of them moves once, and no other. */
static void keys_come_home_once(void **state) {
    (void)state;
    static uint8_t homes[KEYS];
    picks_begin("hash", 5);
    slow_start_begin(&backend->servers[0], BEGAN_MS);
    for (uint32_t key = 0; key < KEYS; key++) {
        homes[key] = (uint8_t)pick(key, 0)->index;
    }
    uint32_t moved = 0;
    for (uint32_t m = 1; m < MOMENTS; m++) {
        for (uint32_t key = 0; key < KEYS; key++) {
            uint8_t now = (uint8_t)pick(key, moments[m])->index;
            assert_true(now == homes[key] || now == 0);
            moved += now != homes[key];
            homes[key] = now;
        }
    }
    assert_true(moved > KEYS / 5);
    picks_end();
}

/* Two at once, each with a time of its own; one that begins anew; and all of them. */
static void several(void **state) {
    (void)state;
    picks_begin("random", 2);
    slow_start_begin(&backend->servers[0], BEGAN_MS);
    slow_start_begin(&backend->servers[1], BEGAN_MS + 50000);
    assert_int_equal(atomic_load(&backend->rising), 2);
    (void)pick(0, LASTS_MS);
    assert_int_equal(atomic_load(&backend->rising), 1);
    slow_start_begin(&backend->servers[1], BEGAN_MS + LASTS_MS);
    assert_int_equal(atomic_load(&backend->rising), 1);
    slow_start_begin(&backend->servers[0], BEGAN_MS + LASTS_MS);
    for (uint32_t i = 0; i < PICKS; i++) {
        picked[pick(0, LASTS_MS)->index]++;
    }
    share_is((double)picked[0] / PICKS, 0.8, 0.01, "both", LASTS_MS);
    (void)pick(0, 2 * LASTS_MS);
    assert_int_equal(atomic_load(&backend->rising), 0);
    picks_end();
}

/* --- What is a coming back ---------------------------------------------------------------- */

#define SLOW "slow_start = 10s\neject_time = 1s\n"
#define CHECKED SLOW "check = /health\ncheck_interval = 50ms\n"

/* One a hundredth of a second for the next ten: about a third of them with slow start (1 - ln(2 /
 * 1.1) / 0.9 is 0.336), half without; and half in any case after that. */
static void rises(bool slow) {
    uint32_t before = first->requests;
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(asked(), 200);
        wait_ms(10);
    }
    if (slow) {
        assert_in_range(first->requests - before, 300, 370);
    } else {
        assert_in_range(first->requests - before, 480, 520);
    }
    wait_ms(1000);
    assert_in_range(shares(first, 100), 45, 55);
    assert_int_equal(atomic_load(&scene.backend->rising), 0);
}

static void after_ejection(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        begin(seed, WORKERS(seed), 2, SLOW);
        (void)until_ejected(first, CUTS);
        wait_ms(1000);
        first->mood = WELL;
        (void)until_asked(first, 1);
        rises(true);
        end();
    }
}

static void after_illness(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        begin(seed, WORKERS(seed), 2, CHECKED);
        first->ill = true;
        wait_ms(1000);
        assert_int_equal(shares(first, 20), 0);
        first->ill = false;
        (void)until_asked(first, 1);
        rises(true);
        end();
    }
}

static void after_an_order(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        begin(seed, WORKERS(seed), 2, SLOW);
        struct server *server = &scene.backend->servers[0];
        server_set_admin(server, seed % 2 ? SERVER_DRAIN : SERVER_DISABLED);
        wait_ms(100);
        assert_int_equal(shares(first, 20), 0);
        server_set_admin(server, SERVER_READY);
        wait_ms(20000);                /* nobody asks: it begins with the first one who does */
        rises(true);
        end();
    }
}

/* Long enough to be another process; a moment is none; and that nobody had ever seen it is the
 * beginning of all. */
static void after_refusing(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        begin(seed, WORKERS(seed), 2, SLOW);
        if (seed % 3 != 2) {
            (void)shares(first, 20);
        }
        origin_leave(first);
        (void)shares(first, 20);
        for (uint32_t i = 0; i < (seed % 3 == 1 ? 100 : 400); i++) {
            assert_int_equal(asked(), 200);
            wait_ms(10);
        }
        origin_listen(first);
        (void)until_asked(first, 1);
        rises(seed % 3 == 0);
        end();
    }
}

static void not_at_the_start(void **state) {
    (void)state;
    begin(1, 2, 2, CHECKED);
    rises(false);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_picks), cmocka_unit_test(by_load),
        cmocka_unit_test(keys_come_home_once), cmocka_unit_test(several),
        cmocka_unit_test_teardown(after_ejection, said_failed),
        cmocka_unit_test_teardown(after_illness, said_failed),
        cmocka_unit_test_teardown(after_an_order, said_failed),
        cmocka_unit_test_teardown(after_refusing, said_failed),
        cmocka_unit_test_teardown(not_at_the_start, said_failed),
    };
    return cmocka_run_group_tests_name("slow_start", tests, NULL, NULL);
}
