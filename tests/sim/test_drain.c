/* The end of a worker that has many idle clients, on the simulated ring: whoever is still served
 * waits for none of them. */
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

/* A worker that begins to end; one of its clients has a request that the origin has. */
static struct peer *begin_idle(uint64_t seed) {
    begin(seed, "max_connections_per_client = 10000\n");
    struct peer *busy = dial();
    peer_send_text(busy, GET);
    await_head();
    for (uint32_t i = 0; i < IDLE; i++) {
        idle[i] = dial();
    }
    uint32_t all = IDLE + 1;
    assert_int_equal(sim_run_until(sim, all_are_in, &all, MINUTE), PEERS_MET);
    worker_drain(&lab.workers[0]);
    worker_drain(&lab.workers[1]);
    return busy;
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

static void expect_last_answer(struct peer *p) {
    peer_send_text(origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_int_equal(sim_run_until(sim, has_answer, p, MINUTE), PEERS_MET);
    assert_true(peer_has(p, "Connection: close\r\n"));
    assert_int_equal(sim_run_until(sim, has_ended, p, MINUTE), PEERS_MET);
    peer_free(p);
}

/* Its request runs meanwhile: it is answered, and told that it was the last time. */
static void idle_ones_end_some_each_turn(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct peer *busy = begin_idle(seed);
        end_some_each_turn(1);
        expect_last_answer(busy);
        end_idle();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_ones_end_some_each_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
