/* A whole gyre of two workers on the simulated ring, its clients and its server: what the tests of
 * limits share. */
#ifndef GYRE_TESTS_SIM_LIMITS_LAB_H
#define GYRE_TESTS_SIM_LIMITS_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "script/lab.h"
#include "sim/sim.h"

#define SEEDS 6u
#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define SECOND 1000u
#define MINUTE (60u * SECOND)

static struct sim *sim;
static struct lab lab;
static struct peer_listener *origin_listener;

/* --- The world ---------------------------------------------------------------------------- */

/* What cuts into pieces and delays, and ends nothing. A pipe holds little, so that what a peer
 * takes is known to within that. */
static inline struct sim_params params_of(uint64_t seed) {
    struct sim_params p = sim_params_clean();
    p.pipe_min = p.pipe_max = 2000;
    if (seed > 0) {
        p.latency_us = (uint32_t)(seed % 3) * 2000;
        p.late_us = 2000;
        p.chance[SIM_SHORT_RECV] = p.chance[SIM_SHORT_SEND] = 2000;
        p.chance[SIM_LATE] = p.chance[SIM_DISARM] = seed % 2 == 0 ? 1000 : 0;
    }
    return p;
}

static inline void begin_with(uint64_t seed, const struct sim_params *params, const char *glob,
                       const char *listener, const char *backend) {
    char ini[2048];
    snprintf(ini, sizeof ini,
             "[global]\nworkers = 2\ndrain_timeout = 2s\n%s[listener web]\nbind = 127.0.0.1:80\n"
             "backend = app\n%s[backend app]\nserver = 127.0.0.1:8001\n%s%s",
             glob, listener, strstr(backend, "mode = ") != NULL ? "" : "mode = async\n", backend);
    sim = sim_new(seed + 1, params);
    assert_true(lab_start(&lab, true, ini, NULL));
    struct addr at = addr_of("127.0.0.1:8001");
    origin_listener = peer_listen(&at, 64);
}

static inline void begin(uint64_t seed, const char *listener) {
    struct sim_params params = params_of(seed);
    begin_with(seed, &params, "", listener, "response_timeout = 1h\nstall_timeout = 1h\n");
}

static inline void end(void) {
    assert_true(lab_stop(&lab, MINUTE));
    char leaks[128];
    if (sim_leaks(sim, leaks, sizeof leaks) != 0) {
        fail_msg("leaks %s", leaks);
    }
    peer_listener_close(origin_listener);
    sim_free(sim);
}

static inline void sleep_ms(uint64_t ms) {
    (void)sim_run_until(sim, NULL, NULL, ms);
}

static inline uint64_t now_ms(void) {
    return sim_now_us(sim) / 1000;
}

static inline struct peer *dial_from(const char *from) {
    struct addr to = addr_of("127.0.0.1:80"), local;
    if (from != NULL) {
        local = addr_of(from);
        local.sa.in.sin_port = 0;   /* whichever is free */
    }
    return peer_dial(&to, from != NULL ? &local : NULL);
}

static inline struct peer *dial(void) {
    return dial_from(NULL);
}

static inline bool has_ended(void *arg) {
    const struct peer *p = arg;
    return p->eof || p->reset;
}

static struct peer *origin;

static inline bool origin_has_head(void *arg) {
    (void)arg;
    origin = origin != NULL ? origin : peer_take(origin_listener);
    return origin != NULL && peer_has(origin, "\r\n\r\n");
}

static inline void await_head(void) {
    origin = NULL;
    assert_int_equal(sim_run_until(sim, origin_has_head, NULL, 10 * SECOND), PEERS_MET);
}

/* Requests that ended so. */
static inline uint64_t requests_ended(enum close_reason why) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < lab.plan->worker_count; i++) {
        sum += stats_get_end(ring_stats(lab.workers[i].ring), why);
    }
    return sum;
}

/* Some time between these has gone by since. */
static inline void expect_ms(uint64_t since_ms, uint64_t min_ms, uint64_t max_ms) {
    uint64_t took = now_ms() - since_ms;
    if (took < min_ms || took > max_ms) {
        fail_msg("it took %llu ms, not %llu to %llu", (unsigned long long)took,
                 (unsigned long long)min_ms, (unsigned long long)max_ms);
    }
}

/* Sends so many bytes every so many milliseconds. */
struct dripper {
    struct peer *peer;
    uint32_t bytes, every_ms;
    bool over;
};

static inline void drip(void *arg) {
    struct dripper *d = arg;
    char bytes[4096];
    if (d->over || d->peer->state != PEER_OPEN) {
        return;
    }
    memset(bytes, 'x', d->bytes);
    peer_send(d->peer, bytes, d->bytes);
    sim_after(sim, d->every_ms, drip, d);
}

/* --- A server that answers ---------------------------------------------------------------- */

static inline void origin_answers(struct peer *p) {
    while (peer_has(p, "\r\n\r\n")) {
        uint8_t *last = memmem(p->rx, p->rx_len, "\r\n\r\n", 4);
        peer_drop(p, (size_t)(last - p->rx) + 4);
        peer_send_text(p, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        char body[1000];
        memset(body, 'b', sizeof body);
        peer_send(p, body, sizeof body);
    }
    if (p->eof && p->state == PEER_OPEN) {
        peer_fin(p);
    }
}

static inline void origin_comes(struct peer *p) {
    p->changed = origin_answers;
    origin_answers(p);
}

#endif
