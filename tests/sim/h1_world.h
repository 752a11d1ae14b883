/* One ring with an http room on the simulated ring, for tests of sessions and streams alone. */
#ifndef GYRE_TESTS_SIM_H1_WORLD_H
#define GYRE_TESTS_SIM_H1_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "http/http.h"
#include "sim/peer.h"
#include "sim/sim.h"

/* How the bytes of a script travel: the result must be the same. */
enum travel { TRAVEL_WHOLE, TRAVEL_BYTES, TRAVEL_TINY, TRAVEL_ROUGH, TRAVEL_COUNT };

struct h1_world {
    struct sim *sim;
    uint64_t seed;
    enum travel travel;
    struct ring *ring;
    struct net net;
    struct http http;
    struct http_limits limits;
};

static struct sim_params world_params(enum travel travel) {
    struct sim_params params = sim_params_clean();
    if (travel == TRAVEL_ROUGH) {
        params.chance[SIM_SHORT_RECV] = 3000;
        params.chance[SIM_SHORT_SEND] = 3000;
        params.chance[SIM_LATE] = 2000;
        params.chance[SIM_DISARM] = 2000;
        params.chance[SIM_STARVE] = 200;
        params.stall_ms = 20;
        params.late_us = 5000;
    }
    return params;
}

static inline void world_init(struct h1_world *w, uint64_t seed, enum travel travel) {
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->travel = travel;
    struct sim_params params = world_params(travel);
    w->sim = sim_new(seed, &params);
    bool tiny = travel == TRAVEL_TINY;
    struct ring_params ring = {.buf_size = tiny ? 64 : 4096, .buf_max = tiny ? 8 : 64,
                               .one_shot = tiny};
    w->ring = ring_new(&ring, NULL);
    net_init(&w->net, w->ring);
    http_init(&w->http, w->ring, &w->net);
    w->limits = (struct http_limits){
        .head_bytes_max = 4096, .field_count_max = 20, .head_ms = 10000, .body_ms = 3000,
        .idle_ms = 20000, .body_bytes_max = 1u << 20,
        .rx_mark = tiny ? 100 : 16384, .tx_mark = tiny ? 100 : 16384,
        .wire = {.rx_mark = tiny ? 100 : 16384, .tx_mark = tiny ? 100 : 16384,
                 .handshake_ms = 5000, .connect_ms = 2000, .send_ms = 30000, .linger_ms = 1000},
    };
}

static bool world_is_quiet(void *arg) {
    struct h1_world *w = arg;
    return net_wires(&w->net) == 0;
}

/* Sessions must be gone, or going; then nothing may be left of anything. */
static inline void world_fini(struct h1_world *w) {
    if (sim_run_until(w->sim, world_is_quiet, w, 60000) != PEERS_MET) {
        fail_msg("%u wires are left (seed %llu)", net_wires(&w->net),
                 (unsigned long long)w->seed);
    }
    assert_int_equal(w->http.downs.live, 0);
    assert_int_equal(w->http.ups.live, 0);
    assert_int_equal(w->http.down_streams.live, 0);
    assert_int_equal(w->http.up_streams.live, 0);
    assert_int_equal(w->http.locals.live, 0);
    assert_int_equal(w->http.chunks.live, 0);
    assert_int_equal(w->net.copies.live, 0);
    http_fini(&w->http);
    net_fini(&w->net);
    ring_free(w->ring);
    sim_free(w->sim);
}

static inline void world_sleep(struct h1_world *w, uint64_t ms) {
    (void)sim_run_until(w->sim, NULL, NULL, ms);
}

/* Sends as the world's way of travelling says. */
static inline void world_send(struct h1_world *w, struct peer *p, const char *bytes, size_t len) {
    size_t step = w->travel == TRAVEL_BYTES ? 1 : len;
    for (size_t at = 0; at < len; at += step) {
        peer_send(p, bytes + at, step);
        if (step == 1) {
            world_sleep(w, 1);
        }
    }
}

#endif
