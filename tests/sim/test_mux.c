/* The exchange over a multiplexed codec, on the simulated ring: many streams of one connection at
 * once, interleaved in tiny frames, with windows of their own, cancelled at any time. What HTTP/2
 * will ask of the exchange is asked here.
 *
 * SIM_SEED=n runs one seed with faults, SIM_SEEDS=n that many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mux_lab.h"
#include "script/lab.h"
#include "sim/sim.h"

/* --- A gyre with a door for the codec ---------------------------------------------------- */

static const char ini[] = "[global]\nworkers = 1\ndrain_timeout = 5s\n"
                          "[listener web]\nbind = 127.0.0.1:80\nbackend = app\n"
                          "head_timeout = 60s\nbody_timeout = 60s\nsend_timeout = 60s\n"
                          "[backend app]\nserver = 127.0.0.1:8001\nserver = 127.0.0.1:8002\n"
                          "keepalive = 4\nresponse_timeout = 60s\nstall_timeout = 60s\n"
                          "mode = async\n";

struct stage {
    struct sim *sim;
    struct lab lab;
    struct pool sessions, streams;
    struct http_limits limits;
    struct listener *listener;
    struct task task;
    struct post open, shut;
    struct addr at;
    int fd;
};

static void stage_accept(struct task *task) {
    struct stage *stage = container_of(task, struct stage, task);
    struct worker *w = &stage->lab.workers[0];
    for (int fd; (fd = listener_take(stage->listener)) >= 0;) {
        struct down_params params = {
            .wire = {.fd = fd, .limits = &stage->limits.wire, .limit = &w->plan->limits[0]},
            .limits = &stage->limits, .inbox = &w->exchanges.inbox, .local.port = 81,
            .listener = &w->plan->sites[0]};
        (void)sys_peer(fd, &params.client);
        mux_down_new(&w->http, &params, &stage->sessions, &stage->streams);
    }
}

static void stage_open(struct post *post) {
    struct stage *stage = container_of(post, struct stage, open);
    struct worker *w = &stage->lab.workers[0];
    stage->listener = listener_new(&w->net, stage->fd, &w->plan->limits[0], &stage->task);
}

static void stage_shut(struct post *post) {
    struct stage *stage = container_of(post, struct stage, shut);
    listener_shut(stage->listener);
    task_cancel(stage->lab.workers[0].ring, &stage->task);
    stage->listener = NULL;
}

static bool listener_is_open(void *arg) {
    return ((struct stage *)arg)->listener != NULL;
}

static bool listener_is_shut(void *arg) {
    return ((struct stage *)arg)->listener == NULL;
}

static void addr_read(struct addr *addr, const char *text) {
    const char *why;
    ensure(addr_parse(addr, str_of(text), &why));
}

static void stage_begin(struct stage *stage, uint64_t seed, const struct sim_params *params) {
    memset(stage, 0, sizeof *stage);
    stage->sim = sim_new(seed, params);
    struct sim_params *now = sim_params(stage->sim);
    memset(now->chance, 0, sizeof now->chance);   /* gyre starts on good ground */
    call_count = client_count = origin_count = 0;
    memset(calls, 0, sizeof calls);
    broken = NULL;
    origins_silent = false;
    assert_true(lab_start(&stage->lab, true, ini, NULL));
    mux_pools_init(&stage->sessions, &stage->streams);
    stage->limits = stage->lab.plan->sites[0].limits;
    stage->limits.rx_mark = MUX_WINDOW;
    stage->limits.tx_mark = 2000;
    stage->limits.wire.tx_mark = 3000;
    addr_read(&stage->at, "127.0.0.1:81");
    stage->fd = sys_listen(&stage->at, false, 64);
    task_init(&stage->task, stage_accept);
    stage->open.run = stage_open;
    ring_post(stage->lab.workers[0].ring, &stage->open);
    assert_int_equal(sim_run_until(stage->sim, listener_is_open, stage, 1000), PEERS_MET);
    for (int i = 0; i < 2; i++) {
        struct addr addr;
        addr_read(&addr, i == 0 ? "127.0.0.1:8001" : "127.0.0.1:8002");
        peer_listen(&addr, 64)->accepted = origin_accepted;
    }
    memcpy(now->chance, params->chance, sizeof now->chance);
}

static void stage_end(struct stage *stage, uint64_t seed) {
    stage->shut.run = stage_shut;
    ring_post(stage->lab.workers[0].ring, &stage->shut);
    assert_int_equal(sim_run_until(stage->sim, listener_is_shut, stage, 60000), PEERS_MET);
    if (!lab_stop(&stage->lab, 60000)) {
        fail_msg("seed %llu: does not drain", (unsigned long long)seed);
    }
    pool_fini(&stage->sessions);
    pool_fini(&stage->streams);
    (void)sys_close(stage->fd);
    char leaks[128];
    if (sim_leaks(stage->sim, leaks, sizeof leaks) != 0) {
        fail_msg("seed %llu leaks %s", (unsigned long long)seed, leaks);
    }
    sim_free(stage->sim);
}

static struct client *client_start(struct stage *stage, uint32_t first, uint32_t window) {
    struct client *c = &clients[client_count++];
    *c = (struct client){.first = first, .count = call_count - first, .window = window};
    c->peer = peer_dial(&stage->at, NULL);
    c->peer->user = c;
    c->peer->changed = client_changed;
    return c;
}

static bool all_over(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < client_count; i++) {
        if (clients[i].opened < clients[i].count || client_running(&clients[i]) > 0) {
            return broken != NULL;
        }
    }
    return true;
}

static void must_end(struct stage *stage, uint64_t seed, bool (*cond)(void *), void *arg) {
    enum peers_end end = sim_run_until(stage->sim, cond, arg, 20 * 60 * 1000);
    if (end != PEERS_MET || broken != NULL) {
        fail_msg("seed %llu: %s (stream %u); again with SIM_SEED=%llu SIM_TRACE=1",
                 (unsigned long long)seed, broken != NULL ? broken : "somebody hangs", broken_id,
                 (unsigned long long)seed);
    }
}

/* --- Many streams, by seeds -------------------------------------------------------------- */

struct tally {
    uint64_t ends[CALL_CANCELLED + 1], switches;
    uint32_t streams_peak;
};

static void call_draw(struct sim *sim) {
    static const char modes[] = "llccxn";
    struct call *a = &calls[call_count++];
    *a = (struct call){.post = sim_draw(sim, 3) == 0, .sized = sim_draw(sim, 2) == 0,
                       .interim = sim_draw(sim, 6) == 0, .trailers = sim_draw(sim, 4) == 0,
                       .mode = modes[sim_draw(sim, sizeof modes - 1)], .cancel_at = UINT32_MAX};
    a->down_len = (uint32_t)sim_draw(sim, sim_draw(sim, 6) == 0 ? 20000 : 1500);
    a->up_len = a->post ? (uint32_t)sim_draw(sim, sim_draw(sim, 6) == 0 ? 20000 : 1500) : 0;
    if (sim_draw(sim, 8) == 0) {
        a->cancel_at = (uint32_t)sim_draw(sim, a->down_len + 1);
    }
}

static void run_seed(uint64_t seed, bool clean, struct tally *tally) {
    static struct stage stage;
    struct sim_params params = clean ? sim_params_clean() : sim_params_rough(seed);
    stage_begin(&stage, seed, &params);
    uint32_t count = 1 + (uint32_t)sim_draw(stage.sim, 4);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = call_count, n = 1 + (uint32_t)sim_draw(stage.sim, 50);
        for (uint32_t k = 0; k < n; k++) {
            call_draw(stage.sim);
        }
        client_start(&stage, first, 1 + (uint32_t)sim_draw(stage.sim, 40));
    }
    must_end(&stage, seed, all_over, NULL);
    for (uint32_t i = 0; i < call_count; i++) {
        tally->ends[calls[i].end]++;
    }
    for (uint32_t i = 0; i < client_count; i++) {
        tally->switches += clients[i].switches;
        peer_close(clients[i].peer);
    }
    uint32_t peak = stage.streams.live_peak;
    tally->streams_peak = peak > tally->streams_peak ? peak : tally->streams_peak;
    stage_end(&stage, seed);
}

static void many_streams(void **state) {
    (void)state;
    struct tally tally = {0};
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run_seed(seed, true, &tally);
    }
    assert_int_equal(tally.ends[CALL_PAGE] + tally.ends[CALL_RESET], 0);
    assert_true(tally.ends[CALL_GOOD] > 1000 && tally.ends[CALL_CANCELLED] > 100);
    assert_true(tally.streams_peak > 50);
    assert_true(tally.switches > 10000);   /* frames of many streams stood between each other */
}

static void many_streams_with_faults(void **state) {
    (void)state;
    struct tally tally = {0};
    const char *one = getenv("SIM_SEED"), *some = getenv("SIM_SEEDS");
    if (one != NULL) {
        run_seed(strtoull(one, NULL, 10), false, &tally);
        return;
    }
    uint64_t seeds = some != NULL ? strtoull(some, NULL, 10) : 200;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        run_seed(seed, false, &tally);
    }
    assert_true(tally.ends[CALL_GOOD] > tally.ends[CALL_RESET]);
}

/* --- One thing at a time ----------------------------------------------------------------- */

static struct call *call_add(bool post, uint32_t up_len, uint32_t down_len) {
    struct call *a = &calls[call_count++];
    *a = (struct call){.post = post, .sized = true, .mode = 'l', .up_len = up_len,
                       .down_len = down_len, .cancel_at = UINT32_MAX};
    return a;
}

static bool but_first_over(void *arg) {
    struct client *c = arg;
    return c->opened == c->count && client_running(c) <= 1 && calls[c->first].end == CALL_RUNS;
}

static bool server_is_free(void *arg) {
    return ((struct stage *)arg)->lab.workers[0].upstream.leases == 0;
}

/* The first stream's window is used up and never opens again. */
static void stalled_stream(void **state) {
    (void)state;
    static struct stage stage;
    struct sim_params params = sim_params_clean();
    for (uint64_t seed = 1; seed <= 10; seed++) {
        stage_begin(&stage, seed, &params);
        call_add(false, 0, 2000000)->stalled = true;
        for (int i = 0; i < 30; i++) {
            call_add(i % 3 == 0, i % 3 == 0 ? 5000 : 0, 5000);
        }
        struct client *c = client_start(&stage, 0, 40);
        must_end(&stage, seed, but_first_over, c);
        assert_int_equal(calls[0].got, MUX_WINDOW);
        /* What gyre has taken of it is bounded by marks and by what its sockets hold. */
        assert_true(lab_stat(&stage.lab, STAT_RX_BYTES) < 800000);
        call_cancel(c, 0);
        must_end(&stage, seed, server_is_free, &stage);   /* the cancel lets its server go */
        peer_close(c->peer);
        stage_end(&stage, seed);
    }
}

static bool uploads_stand(void *arg) {
    struct client *c = arg;
    return c->opened == c->count && calls[0].credit == 0 && calls[1].credit == 0;
}

/* Servers that read nothing: the clients' windows close, and a cancel frees all. */
static void stalled_uploads(void **state) {
    (void)state;
    static struct stage stage;
    struct sim_params params = sim_params_clean();
    for (uint64_t seed = 1; seed <= 10; seed++) {
        stage_begin(&stage, seed, &params);
        origins_silent = true;
        call_add(true, 2000000, 10);
        call_add(true, 2000000, 10)->sized = false;
        struct client *c = client_start(&stage, 0, 40);
        must_end(&stage, seed, uploads_stand, c);
        peers_sleep(1000);
        assert_true(uploads_stand(c));
        assert_true(calls[0].sent < 400000 && calls[1].sent < 400000);
        call_cancel(c, 0);
        call_cancel(c, 1);
        must_end(&stage, seed, server_is_free, &stage);
        peer_close(c->peer);
        stage_end(&stage, seed);
    }
}

static bool all_at_origins(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < call_count; i++) {
        if (calls[i].got < 100) {
            return false;
        }
    }
    return true;
}

/* What runs is finished, what is new is refused, then the session ends. */
static void drain(void **state) {
    (void)state;
    static struct stage stage;
    struct sim_params params = sim_params_clean();
    for (uint64_t seed = 1; seed <= 10; seed++) {
        stage_begin(&stage, seed, &params);
        for (int i = 0; i < 10; i++) {
            call_add(false, 0, 20000);
        }
        struct client *c = client_start(&stage, 0, 40);
        must_end(&stage, seed, all_at_origins, NULL);
        http_drain(&stage.lab.workers[0].http);
        call_add(false, 0, 10);
        c->count++;
        client_changed(c->peer);
        must_end(&stage, seed, all_over, NULL);
        for (uint32_t i = 0; i < 10; i++) {
            assert_int_equal(calls[i].end, CALL_GOOD);
        }
        assert_int_equal(calls[10].end, CALL_RESET);
        peer_fin(c->peer);
        stage_end(&stage, seed);
    }
}

/* The connection goes while all its streams run. */
static void lost_connection(void **state) {
    (void)state;
    static struct stage stage;
    struct sim_params params = sim_params_clean();
    for (uint64_t seed = 1; seed <= 20; seed++) {
        stage_begin(&stage, seed, &params);
        for (int i = 0; i < 20; i++) {
            call_add(i % 2 == 0, i % 2 == 0 ? 3000 : 0, 20000);
        }
        struct client *c = client_start(&stage, 0, 40);
        must_end(&stage, seed, all_at_origins, NULL);
        if (seed % 2 == 0) {
            peer_reset(c->peer);
        } else {
            peer_close(c->peer);
        }
        must_end(&stage, seed, server_is_free, &stage);
        stage_end(&stage, seed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_streams),
        cmocka_unit_test(many_streams_with_faults),
        cmocka_unit_test(stalled_stream),
        cmocka_unit_test(stalled_uploads),
        cmocka_unit_test(drain),
        cmocka_unit_test(lost_connection),
    };
    return cmocka_run_group_tests_name("mux", tests, NULL, NULL);
}
