/* The balancers: a million picks of each against theory, with a fixed seed; what moves when servers
 * come and go; and who is asked while others are away. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "script/lab.h"
#include "sim/sim.h"
#include "upstream/upstream_priv.h"

#define PICKS 1000000u
#define KEYS 100000u
#define SERVERS_MAX 12u

struct scene {
    struct sim *sim;
    struct lab lab;
    struct upstream *room;
    struct backend *backend;
    uint32_t picked[SERVERS_MAX];
};
static struct scene scene;

/* weights: of servers 1 to n, "-" in front of one that is a backup. */
static void begin(const char *balance, const int *weights, uint32_t count) {
    memset(&scene, 0, sizeof scene);
    scene.sim = sim_new(7, NULL);
    char ini[2048], *p = ini;
    p += sprintf(p, "[global]\nworkers = 1\n[listener web]\nbind = 127.0.0.1:80\nbackend = app\n"
                    "[backend app]\nbalance = %s\n", balance);
    for (uint32_t i = 0; i < count; i++) {
        p += sprintf(p, "server = 127.0.0.1:%u weight=%d backup=%s\n", 8001 + i, abs(weights[i]),
                     weights[i] < 0 ? "yes" : "no");
    }
    assert_true(lab_start(&scene.lab, true, ini, NULL));
    scene.room = &scene.lab.workers[0].upstream;
    scene.backend = &scene.room->registry->backends[0];
}

static void end(void) {
    assert_true(lab_stop(&scene.lab, 60000));
    sim_free(scene.sim);
}

static struct server *pick(uint64_t tried, uint64_t key) {
    struct choice choice = {.tried = tried, .key = key, .now_ms = 1};
    return balance_pick(scene.room, scene.backend, &choice);
}

static void runs(struct server *server, int change) {
    atomic_fetch_add(&server->counts[0].requests, (uint32_t)change);
}

static uint64_t sum_of(const int *weights, uint32_t count) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += (uint64_t)weights[i];
    }
    return sum;
}

/* Each server's picks are what its weight says, to `off` in ten thousand of that. */
static void shares_are(const int *weights, uint32_t count, uint32_t picks, uint32_t off) {
    for (uint32_t i = 0; i < count; i++) {
        double want = (double)picks * weights[i] / (double)sum_of(weights, count);
        double have = scene.picked[i];
        if (have < want * (1 - off / 10000.0) || have > want * (1 + off / 10000.0)) {
            fail_msg("server %u: %.0f of %u picks, %.0f by its weight", i, have, picks, want);
        }
    }
}

static void pick_all(uint32_t picks) {
    for (uint32_t i = 0; i < picks; i++) {
        scene.picked[pick(0, i)->index]++;
    }
}

static const int uneven[] = {5, 1, 2, 8, 4};
static const int even[] = {1, 1, 1, 1, 1, 1, 1, 1};
#define COUNT(array) (uint32_t)(sizeof(array) / sizeof *(array))

/* --- Shares ------------------------------------------------------------------------------- */

static void round_robin_is_exact(void **state) {
    (void)state;
    begin("round_robin", uneven, COUNT(uneven));
    pick_all(PICKS);
    shares_are(uneven, COUNT(uneven), PICKS, 0);
    end();
}

/* The spread of a binomial: of 50,000 to 400,000 in a million a hundredth is over two sigma for the
 * smallest, and over six for the others; the seed is fixed. */
static void random_by_weight(void **state) {
    (void)state;
    begin("random", uneven, COUNT(uneven));
    pick_all(PICKS);
    shares_are(uneven, COUNT(uneven), PICKS, 100);
    end();
}

static void hash_by_weight(void **state) {
    (void)state;
    begin("hash", uneven, COUNT(uneven));
    pick_all(PICKS);
    shares_are(uneven, COUNT(uneven), PICKS, 100);
    end();
}

/* Nothing runs, so all are equal: two draws and then luck. */
static void least_requests_without_load(void **state) {
    (void)state;
    begin("least_requests", even, COUNT(even));
    pick_all(PICKS);
    shares_are(even, COUNT(even), PICKS, 100);
    end();
}

/* Nor are they when each server has its own weight: of many the first draw says, of few luck. */
static void least_requests_by_weight(void **state) {
    (void)state;
    for (uint32_t count = 2; count <= COUNT(uneven); count++) {
        begin("least_requests", uneven, count);
        pick_all(PICKS);
        shares_are(uneven, count, PICKS, 100);
        end();
    }
}

/* A loaded one is left for those that are idle, and they share what comes by their weights. */
static void least_requests_beside_a_busy_one(void **state) {
    (void)state;
    static const int weights[] = {4, 3, 1, 2};
    for (uint32_t busy = 0; busy < COUNT(weights); busy++) {
        begin("least_requests", weights, COUNT(weights));
        runs(&scene.backend->servers[busy], 40);
        pick_all(PICKS);
        runs(&scene.backend->servers[busy], -40);
        int others[COUNT(weights)];
        memcpy(others, weights, sizeof others);
        others[busy] = 0;
        shares_are(others, COUNT(others), PICKS, 100);
        end();
    }
}

static uint32_t apart(void) {
    uint32_t most = 0, least = UINT32_MAX;
    for (uint32_t i = 0; i < scene.backend->server_count; i++) {
        uint32_t load = (uint32_t)balance_load(scene.room, &scene.backend->servers[i]);
        most = load > most ? load : most;
        least = load < least ? load : least;
    }
    return most - least;
}

/* 800 requests run at once at eight servers, and as one of them ends another begins: how far the
 * most and the least loaded are apart, in the mean. */
static double mean_apart(const char *balance) {
    begin(balance, even, COUNT(even));
    static struct server *running[800];
    memset(running, 0, sizeof running);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < PICKS; i++) {
        uint32_t at = upstream_random(scene.room, COUNT(running));
        if (running[at] != NULL) {
            runs(running[at], -1);
        }
        running[at] = pick(0, i);
        runs(running[at], 1);
        sum += i >= PICKS / 2 ? apart() : 0;
    }
    for (uint32_t i = 0; i < COUNT(running); i++) {
        runs(running[i], -1);
    }
    end();
    return (double)sum / (PICKS / 2);
}

/* The better of two choices levels them, one random choice does not (Mitzenmacher, 2001); a model
 * of the same game gives 4.8 and 28. */
static void least_requests_levels(void **state) {
    (void)state;
    double random = mean_apart("random"), least = mean_apart("least_requests");
    if (least > 5.5 || random < 25) {
        fail_msg("apart by %.1f with least_requests, by %.1f with random", least, random);
    }
}

/* --- Hash: who moves ---------------------------------------------------------------------- */

static uint8_t homes[2][KEYS];

static void homes_of(uint8_t *home, uint64_t without) {
    for (uint32_t key = 0; key < KEYS; key++) {
        home[key] = (uint8_t)pick(without, key)->index;
        assert_int_equal(pick(without, key)->index, home[key]);
    }
}

/* A server less, and so, read backwards, one more: its keys move, and no others. */
static void only_its_keys_move(void **state) {
    (void)state;
    begin("hash", even, COUNT(even));
    homes_of(homes[0], 0);
    for (uint32_t gone = 0; gone < COUNT(even); gone++) {
        homes_of(homes[1], (uint64_t)1 << gone);
        uint32_t moved = 0;
        for (uint32_t key = 0; key < KEYS; key++) {
            moved += homes[0][key] != homes[1][key];
            assert_true(homes[0][key] == homes[1][key] || homes[0][key] == gone);
        }
        double share = (double)moved * COUNT(even) / KEYS;
        assert_true(share > 0.95 && share < 1.05);
    }
    end();
}

/* The order of the lines does not matter, nor who else is there: names do. */
static void homes_go_by_name(void **state) {
    (void)state;
    begin("hash", even, 5);
    homes_of(homes[0], 0);
    end();
    begin("hash", even, 5);
    struct server first = scene.backend->servers[0];
    scene.backend->servers[0].hash = scene.backend->servers[4].hash;
    scene.backend->servers[4].hash = first.hash;
    homes_of(homes[1], 0);
    for (uint32_t key = 0; key < KEYS; key++) {
        uint8_t was = homes[0][key];
        assert_int_equal(homes[1][key], was == 0 ? 4 : was == 4 ? 0 : was);
    }
    end();
}

/* All want the same server: it gets 1.25 of its share, rounded up, and the others the rest. */
static void a_hot_key_is_bounded(void **state) {
    (void)state;
    static const int weights[] = {1, 2, 3};
    begin("hash", weights, COUNT(weights));
    struct server *home = pick(0, 42);
    for (uint32_t n = 1; n <= 600; n++) {
        runs(pick(0, 42), 1);
        for (uint32_t i = 0; i < COUNT(weights); i++) {
            struct server *server = &scene.backend->servers[i];
            uint32_t bound = (5 * n * server->weight + 23) / 24;
            assert_true(balance_load(scene.room, server) <= bound);
        }
    }
    uint32_t bound = (5 * 600 * home->weight + 23) / 24;
    assert_int_equal(balance_load(scene.room, home), bound);
    for (uint32_t i = 0; i < COUNT(weights); i++) {
        atomic_store(&scene.backend->servers[i].counts[0].requests, 0);
    }
    assert_ptr_equal(pick(0, 42), home);
    end();
}

/* --- Backups ------------------------------------------------------------------------------ */

static void backups_wait_for_all_others(void **state) {
    (void)state;
    static const char *const balances[] = {"round_robin", "least_requests", "random", "hash"};
    static const int weights[] = {1, 1, -1, -1};
    for (uint32_t b = 0; b < COUNT(balances); b++) {
        begin(balances[b], weights, COUNT(weights));
        struct server *servers = scene.backend->servers;
        pick_all(1000);
        assert_int_equal(scene.picked[2] + scene.picked[3], 0);
        assert_true(pick(1, 0) == &servers[1] && pick(2, 0) == &servers[0]);
        assert_true(pick(3, 0)->backup);             /* both have refused this very request */
        assert_true(pick(7, 0) == &servers[3] && pick(15, 0) == NULL);
        for (uint32_t i = 0; i < 2; i++) {           /* away, and not to be tried yet */
            atomic_store(&servers[i].away_ms, 1);
            atomic_store(&servers[i].retry_ms, 1000);
        }
        memset(scene.picked, 0, sizeof scene.picked);
        pick_all(1000);
        assert_int_equal(scene.picked[0] + scene.picked[1], 0);
        assert_true(scene.picked[2] > 300 && scene.picked[3] > 300);
        atomic_store(&servers[1].retry_ms, 0);       /* one of them is to be tried */
        assert_ptr_equal(pick(0, 0), &servers[1]);
        atomic_store(&servers[0].away_ms, 0);
        atomic_store(&servers[0].retry_ms, 0);
        servers[0].slots = 1;                        /* busy is not away */
        atomic_store(&servers[0].used, 1);
        atomic_store(&servers[1].retry_ms, 1000);
        assert_null(pick(0, 0));
        atomic_store(&servers[0].used, 0);
        atomic_store(&servers[1].away_ms, 0);
        end();
    }
}

static _Atomic bool picked_enough;

static void *comes_and_goes(void *arg) {
    struct server *server = arg;
    while (!atomic_load(&picked_enough)) {
        atomic_store(&server->away_ms, 1);
        atomic_store(&server->away_ms, 0);
    }
    return NULL;
}

/* Other rings change what a pick looks at, while it looks. */
static void servers_change_meanwhile(void **state) {
    (void)state;
    static const char *const balances[] = {"hash", "least_requests", "round_robin", "random"};
    static const int weights[] = {1, 2};
    for (uint32_t b = 0; b < COUNT(balances); b++) {
        begin(balances[b], weights, COUNT(weights));
        pthread_t threads[COUNT(weights)];
        atomic_store(&picked_enough, false);
        for (uint32_t i = 0; i < COUNT(weights); i++) {
            struct server *server = &scene.backend->servers[i];
            atomic_store(&server->retry_ms, UINT64_MAX);
            assert_int_equal(pthread_create(&threads[i], NULL, comes_and_goes, server), 0);
        }
        uint32_t none = 0;
        for (uint32_t i = 0; i < 200000; i++) {
            none += pick(0, i) == NULL;
        }
        atomic_store(&picked_enough, true);
        for (uint32_t i = 0; i < COUNT(weights); i++) {
            pthread_join(threads[i], NULL);
        }
        assert_true(none < 200000);
        end();
    }
}

/* The one that just died under this request is asked again only where there is no other. */
static void who_is_avoided(void **state) {
    (void)state;
    begin("hash", even, 2);
    for (uint32_t key = 0; key < 100; key++) {
        struct server *home = pick(0, key);
        struct choice choice = {.key = key, .avoid = server_bit(home), .now_ms = 1};
        assert_ptr_not_equal(balance_pick(scene.room, scene.backend, &choice), home);
        choice.tried = (uint64_t)1 << (1 - home->index);
        assert_ptr_equal(balance_pick(scene.room, scene.backend, &choice), home);
    }
    end();
}

/* Whatever the balancer says, it is that one: busy it is waited for; and only where it is not fit
 * the others are asked. */
static void who_is_stuck(void **state) {
    (void)state;
    static const char *const balances[] = {"round_robin\nsticky = socketio",
                                           "hash\nsticky = socketio"};
    static const int weights[] = {1, 1, -1};
    for (uint32_t b = 0; b < COUNT(balances); b++) {
        begin(balances[b], weights, COUNT(weights));
        struct server *servers = scene.backend->servers;
        for (uint32_t i = 0; i < COUNT(weights); i++) {   /* a backup as well */
            struct choice choice = {.stuck = &servers[i], .key = 1, .now_ms = 1};
            for (uint32_t n = 0; n < 10; n++) {
                assert_ptr_equal(balance_pick(scene.room, scene.backend, &choice), &servers[i]);
            }
            choice.tried = (uint64_t)1 << i;
            assert_ptr_not_equal(balance_pick(scene.room, scene.backend, &choice), &servers[i]);
            choice.tried = 0;
            choice.avoid = server_bit(&servers[i]);
            assert_ptr_not_equal(balance_pick(scene.room, scene.backend, &choice), &servers[i]);
            choice.avoid = 0;
            atomic_store(&servers[i].ill, true);
            assert_ptr_not_equal(balance_pick(scene.room, scene.backend, &choice), &servers[i]);
            assert_false(balance_sticks(scene.backend, &choice));
            atomic_store(&servers[i].ill, false);
            atomic_store(&servers[i].away_ms, 1);
            atomic_store(&servers[i].retry_ms, 1000);
            assert_ptr_not_equal(balance_pick(scene.room, scene.backend, &choice), &servers[i]);
            atomic_store(&servers[i].away_ms, 0);
            atomic_store(&servers[i].retry_ms, 0);
        }
        end();
    }
    static const char slots[] = "round_robin\nsticky = socketio\nslots = 1";
    begin(slots, weights, COUNT(weights));
    struct choice choice = {.stuck = &scene.backend->servers[0], .now_ms = 1};
    atomic_store(&scene.backend->servers[0].used, 1);
    assert_null(balance_pick(scene.room, scene.backend, &choice));
    assert_true(balance_sticks(scene.backend, &choice));
    choice.avoid = server_bit(choice.stuck);
    assert_ptr_equal(balance_pick(scene.room, scene.backend, &choice), &scene.backend->servers[1]);
    atomic_store(&scene.backend->servers[0].used, 0);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_robin_is_exact), cmocka_unit_test(random_by_weight),
        cmocka_unit_test(hash_by_weight), cmocka_unit_test(least_requests_without_load),
        cmocka_unit_test(least_requests_by_weight),
        cmocka_unit_test(least_requests_beside_a_busy_one),
        cmocka_unit_test(least_requests_levels), cmocka_unit_test(only_its_keys_move),
        cmocka_unit_test(homes_go_by_name), cmocka_unit_test(a_hot_key_is_bounded),
        cmocka_unit_test(backups_wait_for_all_others), cmocka_unit_test(who_is_avoided),
        cmocka_unit_test(who_is_stuck), cmocka_unit_test(servers_change_meanwhile),
    };
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
