/* Out of pools, out of receive buffers, a completion queue that is too small, and a herd: gyre sheds
 * or waits, says so once a second, loses no answer that it owes, and recovers by itself. */
#include "script/overload_lab.h"

/* Lines a second: both clocks have been looked at, the one before and the one after. */
static uint64_t began_ms;

static uint64_t clock_ms(void) {
    return ring_now_ms(worker()->ring);
}

static void clock_start(bool stop) {
    if (!stop) {
        world_apart();
    }
    began_ms = clock_ms();
}

/* In tests that stop it amid the want it may have been said in the world before. */
static void said_at_most_once_a_second(const char *text, bool stop) {
    uint64_t seconds = (clock_ms() - began_ms) / 1000;
    uint32_t count = said_count(text);
    if ((count < 1 && !stop) || count > seconds + 2) {
        fail_msg("\"%s\" was said %u times in %u s", text, count, (unsigned)seconds);
    }
}

/* --- Pools -------------------------------------------------------------------------------- */

struct pool_case {
    const char *name, *says;
    uint32_t held;               /* requests that servers hold back when the pool is at its bound */
    enum close_reason why;       /* of requests that are shed; NONE: they wait to be accepted */
    void (*bound)(struct worker *, uint32_t);
};

static void bound_wires(struct worker *w, uint32_t n) {
    w->net.wires.live_max = n != 0 ? 2 * n : 0;
}
static void bound_downs(struct worker *w, uint32_t n) {
    w->http.downs.live_max = n;
}
static void bound_down_streams(struct worker *w, uint32_t n) {
    w->http.down_streams.live_max = n;
}
static void bound_exchanges(struct worker *w, uint32_t n) {
    w->exchanges.pool.live_max = n;
}
static void bound_ups(struct worker *w, uint32_t n) {
    w->http.ups.live_max = n;
}
static void bound_up_streams(struct worker *w, uint32_t n) {
    w->http.up_streams.live_max = n;
}

static const struct pool_case pool_cases[] = {
    {"wires", "not accepting for the moment: a pool", 4, CLOSE_NONE, bound_wires},
    {"client sessions", "not accepting for the moment: a pool", 4, CLOSE_NONE, bound_downs},
    {"client streams", "answering 503: the pool of requests", 4, CLOSE_LINGER, bound_down_streams},
    {"exchanges", "answering 503: the pool of exchanges", 4, CLOSE_NO_MEMORY, bound_exchanges},
    {"server sessions", "answering 503: no memory", 4, CLOSE_NO_MEMORY, bound_ups},
    {"server streams", NULL, 4, CLOSE_NO_MEMORY, bound_up_streams},
};

/* What a client has seen is counted a moment later. One for which there was no stream had no
 * request. */
static bool shed_is_counted(void *arg) {
    const struct pool_case *c = arg;
    return (c->why == CLOSE_LINGER
                ? lab_stat(&world.lab, STAT_RESPONSES)
                : stats_get_end(ring_stats(worker()->ring), c->why)) == 20;
}

/* The held ones first; then those for whom there is nothing. */
static void pool_fill(const struct pool_case *c, bool stop) {
    world_start("", "", NULL, NULL);
    clock_start(stop);
    c->bound(worker(), c->held);
    for (uint32_t i = 0; i < c->held; i++) {
        client_start(&world.at, "/held", 1, 0);
    }
    held_wait(c->held);
    assert_int_equal(origin.held, c->held);
}

/* Clients that come meanwhile: shed with a 503 and Retry-After at once, or not served yet. */
static void pool_shed(const struct pool_case *c, bool stop) {
    uint32_t from = client_count;
    for (uint32_t i = 0; i < 20; i++) {
        client_start(&world.at, "/", 1, 0);
    }
    if (c->why != CLOSE_NONE) {
        clients_wait(from, LIMIT_MS);
        assert_int_equal(clients_shed(from), 20);
        assert_int_equal(peers_run(shed_is_counted, (void *)(uintptr_t)c, LIMIT_MS), PEERS_MET);
    } else {
        peers_sleep(stop ? 200 : 2200);   /* nobody is served, however long it takes */
        assert_int_equal(clients_good(from) + clients_shed(from), 0);
        assert_true(lab_stat(&world.lab, STAT_ACCEPT_PAUSED) > 0);
    }
    assert_int_equal(origin.held, c->held);
    if (c->says != NULL) {
        said_at_most_once_a_second(c->says, stop);
    }
}

static void pool_at_its_bound(void **state) {
    const struct pool_case *c = *state;
    pool_fill(c, false);
    pool_shed(c, false);
    origin_release();
    clients_wait(0, LIMIT_MS);   /* the owed answers, and those of who waited */
    assert_int_equal(clients_good(0), client_count - clients_shed(0));
    uint32_t from = client_count;
    for (uint32_t i = 0; i < c->held; i++) {   /* as many as there is room for, once more */
        client_start(&world.at, "/", 5, 0);
        clients_wait(from + i, LIMIT_MS);
    }
    assert_int_equal(clients_good(from), 5 * c->held);
    world_end();
}

static void pool_at_its_bound_and_stop(void **state) {
    const struct pool_case *c = *state;
    pool_fill(c, true);
    pool_shed(c, true);
    worker_drain(worker());
    peers_sleep(50);
    origin_release();
    clients_from = 0;
    for (uint32_t i = 0; i < c->held; i++) {
        clients_from = i;
        assert_int_equal(peers_run(clients_over, NULL, LIMIT_MS), PEERS_MET);
        assert_int_equal(clients[i].good, 1);
    }
    world_end();
}

#if GYRE_ON_SIM
/* An answer is made here even where the pool of pages is empty: without its text. (On sockets the
 * worker's pools are its thread's.) */
static void pages_run_out(void **state) {
    (void)state;
    world_start("", "", NULL, NULL);
    worker()->http.ups.live_max = 1;
    worker()->http.locals.live_max = 1;
    client_start(&world.at, "/held", 1, 0);
    held_wait(1);
    struct stream *taken = local_stream_new(&worker()->http, 503, NULL, NULL);
    assert_non_null(taken);
    for (uint32_t i = 0; i < 10; i++) {
        client_start(&world.at, "/", 1, 0);
    }
    clients_wait(1, LIMIT_MS);
    assert_int_equal(clients_shed(1), 10);
    taken->ops->release(taken, CLOSE_NONE);
    origin_release();
    clients_wait(0, LIMIT_MS);
    world_end();
}

#endif

/* The bounds that a configuration leads to. */
static void bounds_follow_the_limits(void **state) {
    (void)state;
    world_start("", "keepalive = 7\n", NULL, NULL);
    const struct plan *plan = world.lab.plan;
    const struct worker *w = worker();
    uint32_t most = plan->process_limit.max < 100000 ? plan->process_limit.max : 100000;
    uint32_t servers = 2 * most + 2 * 7;
    servers = servers < plan->process_limit.max ? servers : plan->process_limit.max;
    assert_true(w->http.downs.live_max > most && w->http.downs.live_max <= most + 64);
    assert_true(w->http.ups.live_max > servers && w->http.ups.live_max <= servers + 64);
    const struct pool *pools[] = {&w->net.wires, &w->net.intakes, &w->net.senders,
                                  &w->net.sendvs, &w->http.down_streams, &w->http.up_streams,
                                  &w->http.locals, &w->exchanges.pool};
    for (unsigned i = 0; i < sizeof pools / sizeof *pools; i++) {
        assert_true(pools[i]->live_max >= most);
    }
    world_end();
}

/* --- Receive buffers ---------------------------------------------------------------------- */

/* Readers that do not read and servers that do not read hold all buffers; both sides want more. The
 * others are served all the same, and in the end every byte arrives. */
static void buffers_run_out(void **state) {
    bool stop = *state != NULL;
    static const struct ring_params few = {.buf_size = 16384, .buf_window = 2, .buf_max = 2};
    world_start("", "", &few, NULL);
    clock_start(stop);
    origin.paused = true;
    for (uint32_t i = 0; i < 20; i++) {
        client_start(&world.at, "/other", 1, 300000);   /* their server reads nothing */
    }
    peers_sleep(500);
    origin.paused = false;
    uint32_t readers = client_count;
    for (uint32_t i = 0; i < 20; i++) {
        peer_pause(client_start(&world.at, "/big", 1, 0)->peer, true);
    }
    peers_sleep(500);
    uint32_t from = client_count;
    for (uint32_t i = 0; i < 10; i++) {
        client_start(&world.at, "/", 20, 0);
    }
    clients_wait(from, LIMIT_MS);
    assert_int_equal(clients_good(from), 200);
    if (stop) {
        worker_drain(worker());
        peers_sleep(20);
    }
    for (uint32_t i = readers; i < from; i++) {
        peer_pause(clients[i].peer, false);
    }
    origin_unpause();
    clients_wait(0, LIMIT_MS);
    assert_int_equal(clients_good(0), 240);
    assert_true(lab_stat(&world.lab, STAT_NO_BUFFERS) > 0);
    said_at_most_once_a_second("receiving waits: all 2 receive buffers", stop);
    world_end();
}

/* --- A completion queue that is too small ------------------------------------------------- */

/* On the simulated ring what an overflow does: multishot operations end with good completions. */
static void queue_overflows(void **state) {
    bool stop = *state != NULL;
    static const struct ring_params small = {.sq_entries = 16, .cq_entries = 16};
    uint32_t count = GYRE_ON_SIM ? 200 : 1200;
#if GYRE_ON_SIM
    struct sim_params params = sim_params_clean();
    params.chance[SIM_DISARM] = 7000;
    world_start("", "", &small, &params);
#else
    world_start("", "", &small, NULL);
#endif
    clock_start(stop);
    for (uint32_t i = 0; i < count; i++) {
        client_start(&world.at, i % 3 == 0 ? "/other" : "/", 4, i % 2 * 2000);
    }
    for (uint32_t i = 0; i < 5; i++) {
        client_start(&world.at, "/held", 1, 0);
    }
    held_wait(5);
    if (stop) {
        clients_from = 0;
        worker_drain(worker());
        origin_release();
        assert_int_equal(peers_run(clients_over, NULL, LIMIT_MS), PEERS_MET);
        for (uint32_t i = count; i < client_count; i++) {
            assert_int_equal(clients[i].good, 1);
        }
    } else {
        origin_release();
        clients_wait(0, LIMIT_MS);
        assert_int_equal(clients_good(0), 4 * count + 5);
    }
#if !GYRE_ON_SIM
    assert_true(lab_stat(&world.lab, STAT_CQ_OVERFLOW) > 0);
    said_at_most_once_a_second("the completion queue was full", stop);
#endif
    world_end();
}

/* --- A herd ------------------------------------------------------------------------------- */

/* All at once, more than may be in at a time, and on the simulated ring more than the backlog
 * holds: every one of them is served in the end. */
static void a_herd(void **state) {
    (void)state;
#if GYRE_ON_SIM
    struct sim_params params = sim_params_clean();
    params.backlog_max = 16;
    uint32_t count = 600;
    world_start("", "", NULL, &params);
#else
    uint32_t count = 2000;
    world_start("", "", NULL, NULL);
#endif
    world.lab.plan->limits[0].max = 50;
    clock_start(false);
    for (uint32_t i = 0; i < count; i++) {
        client_start(&world.at, "/", 2, 0);
    }
    clients_wait(0, 4 * LIMIT_MS);
    assert_int_equal(clients_good(0), 2 * count);
    assert_true(lab_stat(&world.lab, STAT_ACCEPT_PAUSED) > 0);
    said_at_most_once_a_second("not accepting for the moment: max_connections", false);
    world_end();
}

/* ------------------------------------------------------------------------------------------ */

static struct CMUnitTest tests[32];
static size_t test_count;

static void add(const char *name, const char *what, CMUnitTestFunction run, const void *state) {
    static char names[32][80];
    char *text = names[test_count];
    snprintf(text, sizeof names[0], "%s%s%s", name, what != NULL ? ": " : "",
             what != NULL ? what : "");
    tests[test_count++] = (struct CMUnitTest){.name = text, .test_func = run, .teardown_func = said_failed,
                                              .initial_state = (void *)(uintptr_t)state};
}

int main(void) {
    for (unsigned i = 0; i < sizeof pool_cases / sizeof *pool_cases; i++) {
        add("pool_at_its_bound", pool_cases[i].name, pool_at_its_bound, &pool_cases[i]);
        add("stop at its bound", pool_cases[i].name, pool_at_its_bound_and_stop, &pool_cases[i]);
    }
#if GYRE_ON_SIM
    add("pages_run_out", NULL, pages_run_out, NULL);
#endif
    add("bounds_follow_the_limits", NULL, bounds_follow_the_limits, NULL);
    add("buffers_run_out", NULL, buffers_run_out, NULL);
    add("buffers_run_out", "stop", buffers_run_out, "stop");
    add("queue_overflows", NULL, queue_overflows, NULL);
    add("queue_overflows", "stop", queue_overflows, "stop");
    add("a_herd", NULL, a_herd, NULL);
    const char *only = getenv("ONLY");
    for (size_t i = 0; only != NULL && i < test_count; i++) {
        if (strstr(tests[i].name, only) != NULL) {
            tests[0] = tests[i];
            test_count = 1;
        }
    }
    return _cmocka_run_group_tests("overload", tests, test_count, NULL, NULL);
}
