/* Servers that are drained, disabled and made ready again while gyre runs. */
#include "eject_lab.h"

static struct origin *const first = &scene.origins[0];
static struct origin *const second = &scene.origins[1];

static struct server *server_of(const struct origin *origin) {
    return &scene.backend->servers[origin - scene.origins];
}

static void set(const struct origin *origin, enum server_admin admin) {
    server_set_admin(server_of(origin), admin);
}

#define KEPT "keepalive = 64\nkeepalive_timeout = 1h\n"
#define CLIENTS 24u

/* Requests that run go on to their end, new ones go elsewhere, in every balancer; what is idle stays
 * at one that is drained and is closed at one that is disabled. */
static void what_runs_ends(void **state) {
    (void)state;
    static const char *const balances[] = {"round_robin", "least_requests", "random", "hash"};
    for (uint64_t seed = 0; seed < 16; seed++) {
        bool drain = seed / 4 % 2 == 0;
        char keys[128];
        snprintf(keys, sizeof keys, KEPT "balance = %s\n", balances[seed % 4]);
        begin(seed, WORKERS(seed / 4), 2, keys);
        first->mood = second->mood = HOLDS;
        struct peer *clients[2 * CLIENTS];
        for (uint32_t i = 0; i < CLIENTS; i++) {
            clients[i] = ask();
        }
        wait_ms(50);
        uint32_t had = first->requests;
        assert_true(had > 0);   /* of one client with hash: for what is over its bound */
        set(first, drain ? SERVER_DRAIN : SERVER_DISABLED);
        for (uint32_t i = CLIENTS; i < 2 * CLIENTS; i++) {
            clients[i] = ask();
        }
        wait_ms(50);
        assert_int_equal(first->requests, had);
        assert_int_equal(second->requests, 2 * CLIENTS - had);
        assert_int_equal(links_of(first), had);
        let_go(first);
        let_go(second);
        for (uint32_t i = 0; i < 2 * CLIENTS; i++) {
            assert_int_equal(status_of(clients[i]), 200);
        }
        wait_ms(50);
        assert_int_equal(links_of(first), drain ? had : 0);
        assert_int_equal(shares(first, 20), 0);
        set(first, SERVER_DISABLED);
        wait_ms(50);
        assert_int_equal(links_of(first), 0);
        assert_true(links_of(second) > 0);
        set(first, SERVER_READY);
        set(second, SERVER_DRAIN);
        assert_int_equal(shares(first, 20), 20);
        end();
    }
}

/* Each order that changes anything is logged, once. */
static void said_once(void **state) {
    (void)state;
    begin(1, 3, 2, "");
    static const enum server_admin orders[] = {
        SERVER_READY, SERVER_DRAIN, SERVER_DRAIN, SERVER_DISABLED, SERVER_DISABLED, SERVER_DRAIN,
        SERVER_READY, SERVER_READY,
    };
    for (uint32_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        set(first, orders[i]);
    }
    assert_int_equal(said_count("[backend app] 127.0.0.1:8001 is drained"), 2);
    assert_int_equal(said_count("[backend app] 127.0.0.1:8001 is disabled"), 1);
    assert_int_equal(said_count("[backend app] 127.0.0.1:8001 is ready again"), 1);
    end();
}

/* Where none may be asked it is said at once, and not waited for. */
static void none_is_left(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, seed / 4 != 0 ? "slots = 2\n" : "");
        set(first, SERVER_DRAIN);
        set(second, SERVER_DISABLED);
        uint64_t began = now_ms();
        assert_int_equal(asked(), 503);
        assert_true(now_ms() - began < 100);
        assert_int_equal(first->requests + second->requests, 0);
        set(first, SERVER_READY);
        assert_int_equal(shares(first, 10), 10);
        end();
    }
}

/* One that is away counts as one to wait for; if it is drained, nobody waits for it. */
static void away_and_drained(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        begin(seed, WORKERS(seed), 2, "");
        (void)shares(first, 20);
        origin_leave(first);
        set(second, SERVER_DRAIN);
        struct peer *waits = ask();
        wait_ms(500);
        assert_false(is_over(waits));
        uint64_t began = now_ms();
        set(second, SERVER_READY);
        assert_int_equal(status_of(waits), 200);
        assert_true(now_ms() - began < 100);
        set(second, SERVER_DRAIN);
        set(first, SERVER_DRAIN);
        assert_int_equal(asked(), 503);
        end();
    }
}

/* Who waits for a slot goes to one that is made ready, whichever ring it is on. */
static void who_waits_goes_there(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        begin(seed, WORKERS(seed), 2, seed % 2 ? "slots = 1\n"
                                               : KEPT "slots = 1\nidle_holds_slot = yes\n");
        set(second, SERVER_DISABLED);
        first->mood = HOLDS;
        struct peer *held = ask(), *waits[4];
        wait_ms(20);
        for (uint32_t i = 0; i < 4; i++) {
            waits[i] = ask();
        }
        wait_ms(200);
        assert_int_equal(second->requests, 0);
        set(second, SERVER_READY);
        for (uint32_t i = 0; i < 4; i++) {
            assert_int_equal(status_of(waits[i]), 200);
        }
        assert_int_equal(second->requests, 4);
        let_go(first);
        assert_int_equal(status_of(held), 200);
        end();
    }
}

/* Its slots are held by idle connections, which are closed: nobody is stuck, nothing is lost. */
static void idle_slots(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, KEPT "slots = 3\nidle_holds_slot = yes\n");
        (void)shares(first, 30);
        set(first, SERVER_DRAIN);
        assert_int_equal(shares(first, 30), 0);
        set(first, SERVER_DISABLED);
        wait_ms(50);
        assert_int_equal(atomic_load(&server_of(first)->used), 0);
        assert_int_equal(shares(first, 10), 0);
        set(first, SERVER_READY);
        assert_true(shares(first, 40) > 0);
        end();
    }
}

/* A backup is asked where the others are drained; where all that are left are ill, those are. */
static void who_is_asked_instead(void **state) {
    (void)state;
    static const char *const options[] = {"", "backup=yes"};
    begin_with(1, 2, 2, options, "");
    set(first, SERVER_DRAIN);
    assert_int_equal(shares(second, 10), 10);
    end();
    begin(1, 2, 2, "check = /health\ncheck_interval = 50ms\n");
    first->ill = true;
    wait_ms(1000);
    assert_int_equal(shares(second, 10), 10);
    set(second, SERVER_DRAIN);
    assert_int_equal(shares(first, 10), 10);
    end();
}

/* Ejected and disabled: neither opens it by itself. */
static void ejected_and_disabled(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "keepalive = 64\neject = 5xx\neject_time = 1s\n");
        (void)until_ejected(first, SAYS_500);
        first->mood = WELL;
        set(first, seed % 2 ? SERVER_DRAIN : SERVER_DISABLED);
        wait_ms(2000);
        assert_int_equal(shares(first, 10), 0);
        set(second, SERVER_DRAIN);
        assert_int_equal(asked(), 503);
        assert_int_equal(said_count("8001 is ejected no more"), 0);
        set(second, SERVER_READY);
        set(first, SERVER_READY);
        assert_true(shares(first, 40) > 10);
        assert_false(atomic_load(&server_of(first)->shut));
        assert_true(links_of(first) > 0);
        end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_runs_ends, said_failed),
        cmocka_unit_test_teardown(said_once, said_failed),
        cmocka_unit_test_teardown(none_is_left, said_failed),
        cmocka_unit_test_teardown(away_and_drained, said_failed),
        cmocka_unit_test_teardown(who_waits_goes_there, said_failed),
        cmocka_unit_test_teardown(idle_slots, said_failed),
        cmocka_unit_test_teardown(who_is_asked_instead, said_failed),
        cmocka_unit_test_teardown(ejected_and_disabled, said_failed),
    };
    return cmocka_run_group_tests_name("admin", tests, NULL, NULL);
}
