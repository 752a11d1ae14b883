/* The end of workers that have many idle clients, on the simulated ring. (Its turns take no time:
 * what those who are still served wait for is the number of clients that end in one.) */
#include "limits_lab.h"

#define IDLE 600u
#define ENDED_PER_TURN 64u      /* of one worker */

static struct peer *idle[IDLE];

static uint32_t sessions(uint32_t worker) {
    return lab.workers[worker].http.downs.live;
}

static bool all_are_in(void *arg) {
    return sessions(0) + sessions(1) == *(uint32_t *)arg;
}

static uint64_t turns(uint32_t worker) {
    return stats_get(ring_stats(lab.workers[worker].ring), STAT_TURNS);
}

/* Steps until only so many sessions are left. */
static void end_some_each_turn(uint32_t left) {
    uint32_t before[2] = {sessions(0), sessions(1)};
    uint64_t since[2] = {turns(0), turns(1)};
    while (sessions(0) + sessions(1) > left) {
        assert_true(sim_step(sim));
        for (uint32_t i = 0; i < 2; i++) {
            assert_true(sessions(i) + ENDED_PER_TURN * (turns(i) - since[i]) >= before[i]);
            before[i] = sessions(i);
            since[i] = turns(i);
        }
    }
}

static void begin_workers(uint64_t seed, const char *drain_timeout) {
    char ini[512];
    snprintf(ini, sizeof ini, "[global]\nworkers = 2\ndrain_timeout = %s\n"
             "[listener web]\nbind = 127.0.0.1:80\nmax_connections_per_client = 10000\n"
             "backend = app\n[backend app]\nserver = 127.0.0.1:8001\n", drain_timeout);
    struct sim_params params = params_of(seed);
    sim = sim_new(seed + 1, &params);
    assert_true(lab_start(&lab, true, ini, NULL));
    struct addr at = addr_of("127.0.0.1:8001");
    origin_listener = peer_listen(&at, 64);
}

static void await_sessions(uint32_t count) {
    assert_int_equal(sim_run_until(sim, all_are_in, &count, MINUTE), PEERS_MET);
}

static void drain_workers(void) {
    worker_drain(&lab.workers[0]);
    worker_drain(&lab.workers[1]);
}

static void end_idle(void) {
    sleep_ms(SECOND);
    for (uint32_t i = 0; i < IDLE; i++) {
        assert_true(idle[i]->eof && !idle[i]->reset && idle[i]->rx_total == 0);
        peer_free(idle[i]);
    }
    end();
}

static bool has_answer(void *arg) {
    return peer_has(arg, "Content-Length: 2\r\n") && peer_has(arg, "\r\n\r\nok");
}

/* Whose request still runs is answered, and told that it was the last time. */
static void idle_ones_end_some_each_turn(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        begin_workers(seed, "2s");
        struct peer *busy = dial();
        peer_send_text(busy, GET);
        await_head();
        for (uint32_t i = 0; i < IDLE; i++) {
            idle[i] = dial();
        }
        await_sessions(IDLE + 1);
        drain_workers();
        end_some_each_turn(1);
        peer_send_text(origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_int_equal(sim_run_until(sim, has_answer, busy, MINUTE), PEERS_MET);
        assert_true(peer_has(busy, "Connection: close\r\n"));
        assert_int_equal(sim_run_until(sim, has_ended, busy, MINUTE), PEERS_MET);
        peer_free(busy);
        end_idle();
    }
}

/* There is none to wait in: all end at once, and in order all the same. */
static void without_any_time(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        begin_workers(seed, "0");
        for (uint32_t i = 0; i < IDLE; i++) {
            idle[i] = dial();
        }
        await_sessions(IDLE);
        drain_workers();
        end_idle();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_ones_end_some_each_turn),
        cmocka_unit_test(without_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
