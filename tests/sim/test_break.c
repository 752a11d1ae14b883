/* Hostile clients and broken origins against a whole gyre on the simulated ring: whatever they do,
 * everything ends in time, nothing is leaked, and what was found once stays mended.
 *
 * SIM_SEED=n runs one seed of the storm, SIM_SEEDS=n that many, SIM_TEST=pattern those tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "script/lab.h"
#include "sim/sim.h"

static struct sim *sim;
static struct lab lab;

static struct peer *dial(void) {
    struct addr to = addr_of("127.0.0.1:80");
    return peer_dial(&to, NULL);
}

static void begin(uint64_t seed, const struct sim_params *params, const char *ini) {
    sim = sim_new(seed, params);
    assert_true(lab_start(&lab, true, ini, NULL));
}

static void end(void) {
    assert_true(lab_stop(&lab, 60 * 1000));
    char leaks[128];
    if (sim_leaks(sim, leaks, sizeof leaks) != 0) {
        fail_msg("leaks %s", leaks);
    }
    sim_free(sim);
}

static uint32_t running(void) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < lab.plan->worker_count; i++) {
        sum += exchanges_running(&lab.workers[i].exchanges);
    }
    return sum;
}

static uint64_t requests_counted(void) {
    uint64_t sum = 0;
    const struct registry *registry = lab.plan->registry;
    for (uint32_t b = 0; b < registry->backend_count; b++) {
        for (uint32_t s = 0; s < registry->backends[b].server_count; s++) {
            for (uint32_t r = 0; r < registry->ring_count; r++) {
                sum += registry->backends[b].servers[s].counts[r].requests;
            }
        }
    }
    return sum;
}

/* --- The storm ---------------------------------------------------------------------------- */

static const char storm_ini[] =
    "[global]\nworkers = 2\ndrain_timeout = 3s\n"
    "[listener web]\nbind = 127.0.0.1:80\nbackend = app\nhead_timeout = 300ms\n"
    "body_timeout = 300ms\nidle_timeout = 500ms\nsend_timeout = 400ms\ntunnel_timeout = 700ms\n"
    "max_body = 3k\nmax_head = 2k\nmax_headers = 20\n"
    "[backend app]\nserver = 127.0.0.1:8001\nserver = 127.0.0.1:8002\n"
    "server = unix:/run/app.sock\nkeepalive = 3\nkeepalive_timeout = 150ms\n"
    "connect_timeout = 100ms\nresponse_timeout = 250ms\nstall_timeout = 200ms\n";

#define HOST " HTTP/1.1\r\nHost: a\r\n"

static const char *const client_says[] = {
    "GET /a" HOST "\r\n",
    "GET /a" HOST "\r\nGET /b" HOST "\r\nGET /c" HOST "\r\n",
    "HEAD /a" HOST "\r\n",
    "GET /a HTTP/1.0\r\n\r\n",
    "GET /a" HOST "Connection: close\r\n\r\n",
    "GET /a" HOST "TE: trailers\r\nConnection: TE\r\n\r\n",
    "POST /a" HOST "Content-Length: 10\r\n\r\nhello",
    "world",
    "POST /a" HOST "Content-Length: 5\r\n\r\nhelloGET /b" HOST "\r\n",
    "PUT /a" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "DELETE /a" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "0\r\nX-T: 1\r\n\r\n",
    "POST /a" HOST "Transfer-Encoding: chunked\r\n\r\nfff\r\n",
    "POST /a" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "POST /a" HOST "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    "POST /a" HOST "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n",
    "GET /ws" HOST "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "GET /ws" HOST "Connection: upgrade\r\nUpgrade: websocket\r\n\r\nearly bytes",
    "\r\n\r\n", "\r", "garbage\r\n\r\n", "GET /half", "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a" HOST "Content-Length: 99999\r\n\r\n",
};

static const char *const origin_says[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf of it",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "5\r\nhello\r\n", "0\r\nX-T: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil close",
    "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi",
    "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "garbage", "HTTP/1.1 200", "\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
};

#define STORM_PEERS 400u
struct actor {
    struct peer *peer;
    uint32_t moves;           /* that it still makes */
    bool client, paused;
};
static struct actor actors[STORM_PEERS];
static uint32_t actor_count;

static void big_body(struct peer *p, bool client) {
    static const uint8_t bytes[60000];
    static const uint32_t lens[] = {300, 3000, 20000, 60000};
    uint32_t len = lens[sim_draw(sim, 4)];
    char head[128];
    snprintf(head, sizeof head, "%s\r\nContent-Length: %u\r\n\r\n",
             client ? "POST /big HTTP/1.1\r\nHost: a" : "HTTP/1.1 200 OK", len);
    peer_send_text(p, head);
    peer_send(p, bytes, len);
}

static void say(struct actor *a) {
    uint64_t count = a->client ? sizeof client_says / sizeof client_says[0]
                               : sizeof origin_says / sizeof origin_says[0];
    uint64_t which = sim_draw(sim, count + 2);
    if (which >= count) {
        big_body(a->peer, a->client);
    } else {
        peer_send_text(a->peer, a->client ? client_says[which] : origin_says[which]);
    }
}

static void move(void *arg) {
    struct actor *a = arg;
    struct peer *p = a->peer;
    if (p->state == PEER_CLOSED || p->state == PEER_REFUSED || p->reset) {
        return;
    }
    switch (a->moves == 0 ? 17 + sim_draw(sim, 2) : sim_draw(sim, 20)) {
    case 14:
        peer_pause(p, a->paused = !a->paused);
        break;
    case 15:
        peer_fin(p);
        a->moves = 1;   /* what is left is to close */
        break;
    case 16:
        break;
    case 17:
        peer_close(p);
        return;
    case 18:
        peer_reset(p);
        return;
    case 19:
        say(a);
        peer_reset(p);
        return;
    default:
        peer_drop(p, p->rx_len);
        say(a);
        break;
    }
    a->moves -= a->moves > 0;
    static const uint32_t rests[] = {1, 5, 60, 260, 450, 800};
    sim_after(sim, sim_draw(sim, rests[sim_draw(sim, 6)]), move, a);
}

static struct actor *actor_new(struct peer *p, bool client) {
    ensure(actor_count < STORM_PEERS);
    struct actor *a = &actors[actor_count++];
    *a = (struct actor){.peer = p, .client = client, .moves = 1 + (uint32_t)sim_draw(sim, 12)};
    p->user = a;
    return a;
}

/* An origin makes a move for whatever comes, and at times one of its own. */
static void origin_changed(struct peer *p) {
    struct actor *a = p->user;
    if (p->rx_len > 0 && p->state == PEER_OPEN && !p->reset && a->moves > 0) {
        peer_drop(p, p->rx_len);
        if (sim_draw(sim, 8) != 0) {
            a->moves--;
            say(a);
        }
    }
}

static void origin_accepted(struct peer *p) {
    if (actor_count == STORM_PEERS) {
        peer_close(p);
        return;
    }
    struct actor *a = actor_new(p, false);
    p->changed = origin_changed;
    if (sim_draw(sim, 3) == 0) {
        sim_after(sim, sim_draw(sim, 300), move, a);
    }
}

static void storm_origins(void) {
    static const char *at[] = {"127.0.0.1:8001", "127.0.0.1:8002", "unix:/run/app.sock"};
    for (unsigned i = 0; i < 3; i++) {
        struct addr addr = addr_of(at[i]);
        if (sim_draw(sim, 6) != 0) {   /* else it is down */
            peer_listen(&addr, 4)->accepted = origin_accepted;
        }
    }
}

static void storm_client(void *arg) {
    (void)arg;
    if (actor_count < STORM_PEERS) {
        struct actor *a = actor_new(dial(), true);
        move(a);
    }
}

static void storm(uint64_t seed) {
    struct sim_params params = seed % 3 == 0 ? sim_params_clean() : sim_params_rough(seed);
    params.pipe_max = 2048u << seed % 6;
    params.pipe_min = 512;
    struct sim_params clean = sim_params_clean();
    actor_count = 0;
    begin(seed, &clean, storm_ini);
    *sim_params(sim) = params;
    storm_origins();
    uint32_t clients = 4 + (uint32_t)sim_draw(sim, 40);
    for (uint32_t i = 0; i < clients; i++) {
        sim_after(sim, sim_draw(sim, 1500), storm_client, NULL);
    }
    bool midway = seed % 4 == 0;   /* SIGTERM comes in the storm */
    sim_run_until(sim, NULL, NULL, midway ? sim_draw(sim, 1500) : 8000);
    if (!midway) {
        memset(sim_params(sim)->chance, 0, sizeof params.chance);
        sim_run_until(sim, NULL, NULL, 20000);
        if (running() != 0 || requests_counted() != 0) {
            fail_msg("seed %llu: %u exchanges never end, %llu requests are still counted",
                     (unsigned long long)seed, running(), (unsigned long long)requests_counted());
        }
    }
    if (!lab_stop(&lab, 60 * 1000)) {
        fail_msg("seed %llu: does not drain: %u exchanges, %u and %u wires",
                 (unsigned long long)seed, running(), net_wires(&lab.workers[0].net),
                 net_wires(&lab.workers[1].net));
    }
    char leaks[128];
    if (sim_leaks(sim, leaks, sizeof leaks) != 0) {
        fail_msg("seed %llu leaks %s", (unsigned long long)seed, leaks);
    }
    sim_free(sim);
}

static void storms(void **state) {
    (void)state;
    const char *one = getenv("SIM_SEED"), *many = getenv("SIM_SEEDS");
    if (one != NULL) {
        storm(strtoull(one, NULL, 10));
        return;
    }
    uint64_t count = many != NULL ? strtoull(many, NULL, 10) : 300;
    for (uint64_t seed = 1; seed <= count; seed++) {
        storm(seed);
    }
}

/* --- Once broken -------------------------------------------------------------------------- */

static const char one_ini[] =
    "[global]\nworkers = 1\ndrain_timeout = 20s\n"
    "[listener web]\nbind = 127.0.0.1:80\nbackend = app\nmax_body = 1k\nbody_timeout = 10s\n"
    "send_timeout = 2s\nidle_timeout = 30s\n"
    "[backend app]\nserver = 127.0.0.1:8001\nresponse_timeout = 3s\nstall_timeout = 3s\n"
    "mode = async\n"
    "keepalive_timeout = 20s\nconnect_timeout = 5s\n";

static struct peer_listener *origin;

#define GET_A "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void begin_seed(uint64_t seed, const struct sim_params *params, const char *ini) {
    begin(seed, params, ini);
    struct addr addr = addr_of("127.0.0.1:8001");
    origin = peer_listen(&addr, 8);
}

static void begin_one(const struct sim_params *params, const char *ini) {
    begin_seed(1, params, ini);
}

static bool taken(void *arg) {
    struct peer **p = arg;
    return *p != NULL || (*p = peer_take(origin)) != NULL;
}

static struct peer *origin_take(void) {
    struct peer *p = NULL;
    sim_run_until(sim, taken, &p, 1000);
    assert_non_null(p);
    return p;
}

static struct wait {
    struct peer *peer;
    const char *text;
} waited;

static bool has(void *arg) {
    struct wait *w = arg;
    return w->peer->rx_len > 0 && peer_has(w->peer, w->text);
}

static bool comes(struct peer *p, const char *text, uint64_t ms) {
    waited = (struct wait){p, text};
    return sim_run_until(sim, has, &waited, ms) == PEERS_MET;
}

static bool none_runs(void *arg) {
    (void)arg;
    return running() == 0;
}

/* An answer to a body that is too long was on its way when the client reset its connection: that
 * was its second loss, and nobody was told of it. */
static void gone_after_refused_body(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    params.pipe_min = params.pipe_max = 8192;
    begin_one(&params, one_ini);
    struct peer *c = dial();
    peer_pause(c, true);
    peer_send_text(c, GET_A);
    struct peer *o = origin_take();
    assert_true(comes(o, "\r\n\r\n", 1000));
    static const uint8_t bytes[8040];   /* with the head nearly all that the network holds */
    peer_send_text(o, "HTTP/1.1 200 OK\r\nContent-Length: 8040\r\n\r\n");
    peer_send(o, bytes, sizeof bytes);
    assert_int_equal(sim_run_until(sim, none_runs, NULL, 1000), PEERS_MET);
    peer_send_text(c, "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n");
    peer_send(c, bytes, 2000);
    sim_run_until(sim, NULL, NULL, 100);
    assert_int_equal(running(), 1);     /* its page waits for room */
    assert_int_equal(sim_run_until(sim, none_runs, NULL, 15000), PEERS_MET);
    end();
}

/* An interim response stood still, as the client read nothing: its timeout found an exchange that
 * wanted to answer with a page, and waited for the page to leave. */
static void interim_to_nobody(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    params.pipe_min = params.pipe_max = 8192;
    begin_one(&params, one_ini);
    struct peer *c = dial();
    peer_pause(c, true);
    peer_send_text(c, GET_A);
    struct peer *o = origin_take();
    assert_true(comes(o, "\r\n\r\n", 1000));
    static char hint[9000];
    memset(hint, 'x', sizeof hint - 1);
    peer_send_text(o, "HTTP/1.1 103 Early Hints\r\nLink: ");
    peer_send_text(o, hint);
    peer_send_text(o, "\r\n\r\n");
    assert_int_equal(sim_run_until(sim, none_runs, NULL, 15000), PEERS_MET);
    end();
}

static bool is_closed(void *arg) {
    struct peer *p = arg;
    return p->eof || p->reset;
}

/* SIGTERM came after a response's head, which said nothing of closing: the connection was kept all
 * the same, and the process with it, until drain_timeout. */
static void drained_after_the_head(void **state) {
    (void)state;
    begin_one(NULL, one_ini);
    struct peer *c = dial();
    peer_send_text(c, GET_A);
    struct peer *o = origin_take();
    assert_true(comes(o, "\r\n\r\n", 1000));
    peer_send_text(o, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    assert_true(comes(c, "\r\n\r\no", 1000));
    worker_drain(&lab.workers[0]);
    sim_run_until(sim, NULL, NULL, 500);
    peer_send_text(o, "k");
    assert_int_equal(sim_run_until(sim, is_closed, c, 1000), PEERS_MET);
    assert_true(peer_has(c, "ok"));
    end();
}

/* While it is the client who owes the rest of its body, the server is not late. */
static void slow_upload_is_not_a_late_answer(void **state) {
    (void)state;
    begin_one(NULL, one_ini);
    struct peer *c = dial();
    peer_send_text(c, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    struct peer *o = origin_take();
    assert_true(comes(o, "ab", 1000));
    sim_run_until(sim, NULL, NULL, 6000);   /* response_timeout is 3s, body_timeout 10s */
    peer_send_text(c, "cd");
    assert_true(comes(o, "cd", 1000));
    sim_run_until(sim, NULL, NULL, 2000);
    peer_send_text(o, OK2);
    assert_true(comes(c, "200 OK", 1000));
    end();
}

/* But a server that neither says 100 nor answers is. */
static void expect_without_an_answer_is_late(void **state) {
    (void)state;
    begin_one(NULL, one_ini);
    struct peer *c = dial();
    peer_send_text(c, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
                      "Expect: 100-continue\r\n\r\n");
    origin_take();
    assert_true(comes(c, "504", 4000));
    end();
}

/* One request, so that the connection to the server is a kept one. */
static struct peer *kept_connection(struct peer *c) {
    peer_send_text(c, GET_A);
    struct peer *o = origin_take();
    assert_true(comes(o, "\r\n\r\n", 1000));
    peer_drop(o, o->rx_len);
    peer_send_text(o, OK2);
    assert_true(comes(c, "ok", 1000));
    peer_drop(c, c->rx_len);
    return o;
}

/* The race of a kept connection, with a body of no chunk but the last: that one goes again too. */
static void retried_with_an_empty_body(void **state) {
    (void)state;
    begin_one(NULL, one_ini);
    struct peer *c = dial();
    struct peer *o = kept_connection(c);
    peer_send_text(c, "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_true(comes(o, "\r\n0\r\n\r\n", 1000));
    peer_reset(o);
    o = origin_take();
    assert_true(comes(o, "\r\n0\r\n\r\n", 1000));
    peer_send_text(o, OK2);
    assert_true(comes(c, "ok", 1000));
    end();
}

static bool two_dialed(void *arg) {
    (void)arg;
    return lab_stat(&lab, STAT_DIALED) == 2;
}

/* A connection that was dialled for a client who left, and kept: the same race. */
static void race_on_a_connection_never_used(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    begin_one(&params, one_ini);
    peer_listener_pause(origin, true);
    sim_params(sim)->latency_us = 20000;
    struct peer *gone = dial();
    peer_send_text(gone, GET_A);
    static struct peer *c;
    c = dial();
    bool dialled = false;
    for (uint32_t i = 0; i < 10000 && !dialled; i++) {
        sim_step(sim);
        dialled = lab_stat(&lab, STAT_DIALED) == 1;
    }
    assert_true(dialled);
    peer_reset(gone);
    peer_listener_pause(origin, false);
    struct peer *o = origin_take();
    sim_run_until(sim, none_runs, NULL, 1000);
    sim_run_until(sim, NULL, NULL, 100);
    peer_send_text(c, GET_A);
    assert_true(comes(o, "\r\n\r\n", 1000));
    assert_int_equal(lab_stat(&lab, STAT_DIALED), 1);
    peer_reset(o);
    sim_run_until(sim, two_dialed, NULL, 1000);
    o = origin_take();
    peer_send_text(o, OK2);
    assert_true(comes(c, "200 OK", 1000));
    end();
}

/* The client's reset was told to the send that was in flight, while nothing was read of it for all
 * that it had sent ahead: and its requests went on to the servers, one by one, for nobody. */
static void reset_with_many_sent_ahead(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        begin_seed(seed, NULL, one_ini);
        struct peer *c = dial();
        peer_pause(c, true);
        for (uint32_t i = 0; i < 8000; i++) {
            peer_send_text(c, GET_A);
        }
        struct peer *o = origin_take();
        assert_true(comes(o, "\r\n\r\n", 1000));
        static const uint8_t bytes[300000];
        peer_send_text(o, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
        peer_send(o, bytes, sizeof bytes);
        sim_run_until(sim, NULL, NULL, 500);
        assert_int_equal(running(), 1);     /* its answer waits for room */
        peer_reset(c);
        assert_int_equal(sim_run_until(sim, none_runs, NULL, 100), PEERS_MET);
        assert_int_equal(lab_stat(&lab, STAT_REQUESTS), 1);
        end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gone_after_refused_body),
        cmocka_unit_test(interim_to_nobody),
        cmocka_unit_test(drained_after_the_head),
        cmocka_unit_test(slow_upload_is_not_a_late_answer),
        cmocka_unit_test(expect_without_an_answer_is_late),
        cmocka_unit_test(retried_with_an_empty_body),
        cmocka_unit_test(race_on_a_connection_never_used),
        cmocka_unit_test(reset_with_many_sent_ahead),
        cmocka_unit_test(storms),
    };
    cmocka_set_test_filter(getenv("SIM_TEST"));
    return cmocka_run_group_tests_name("break", tests, NULL, NULL);
}
