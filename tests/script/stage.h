/* Where a table of scripts is played: on the simulated ring in several worlds, or with everything
 * failing in turn, or on sockets. */
#ifndef GYRE_TESTS_SCRIPT_STAGE_H
#define GYRE_TESTS_SCRIPT_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "script/script.h"

#ifndef GYRE_FAULTS
#define GYRE_FAULTS 0
#endif

#if GYRE_ON_SIM

#include "sim/sim.h"
#include "sim/toy_tls.h"

struct stage_tls {
    struct toy_client toy;
    bool finished;          /* sends nothing more */
};

static void *stage_tls_begin(void) {
    struct stage_tls *s = mem_zero(sizeof *s);
    toy_client_init(&s->toy, "a");
    return s;
}

static void stage_tls_end(void *tls) {
    struct stage_tls *s = tls;
    toy_client_fini(&s->toy);
    mem_free(s);
}

static void stage_tls_pump(void *tls, struct peer *peer) {
    struct stage_tls *s = tls;
    struct toy_bytes *out = &s->toy.out;
    if (peer->rx_len > 0) {
        toy_client_feed(&s->toy, peer->rx, peer->rx_len);
        peer_drop(peer, peer->rx_len);
        assert_false(s->toy.broken || (s->toy.alerted && !GYRE_FAULTS));
    }
    if (out->len > 0 && !s->finished && peer->state != PEER_CLOSED) {
        peer_send(peer, out->p, out->len);
    }
    toy_bytes_drop(out, out->len);
}

static void stage_tls_send(void *tls, const void *bytes, size_t len) {
    struct stage_tls *s = tls;
    toy_client_send(&s->toy, bytes, len);
}

static void stage_tls_finish(void *tls, struct peer *peer) {
    struct stage_tls *s = tls;
    toy_client_end(&s->toy);
    stage_tls_pump(s, peer);
    s->finished = true;
}

static const uint8_t *stage_tls_bytes(void *tls, size_t *len) {
    struct stage_tls *s = tls;
    *len = s->toy.plain.len;
    return s->toy.plain.p;
}

static void stage_tls_drop(void *tls, size_t len) {
    struct stage_tls *s = tls;
    toy_bytes_drop(&s->toy.plain, len);
}

static bool stage_tls_ended(void *tls) {
    return ((struct stage_tls *)tls)->toy.ended;
}

static const struct script_tls stage_tls_door = {
    stage_tls_begin, stage_tls_end, stage_tls_pump, stage_tls_send, stage_tls_finish,
    stage_tls_bytes, stage_tls_drop, stage_tls_ended,
};

#if GYRE_FAULTS
#include "script/stage_fault.h"
#else

/* Seeds 0 and 1 without faults; else what delays and cuts into pieces, and ends nothing: it must
 * change no outcome. */
static struct sim_params stage_params(uint64_t seed) {
    struct sim_params p = sim_params_clean();
    if (seed < 2) {
        return p;
    }
    static const uint32_t latencies[] = {0, 500, 4000};
    p.latency_us = latencies[seed % 3];
    p.late_us = 2000;
    p.chance[SIM_SHORT_RECV] = seed % 2 == 0 ? 6000 : 1500;
    p.chance[SIM_SHORT_SEND] = seed % 4 < 2 ? 5000 : 1000;
    p.chance[SIM_LATE] = 2000;
    p.chance[SIM_DISARM] = seed % 2 == 0 ? 0 : 3000;
    p.chance[SIM_STARVE] = seed % 3 == 0 ? 100 : 0;
    p.pipe_min = seed % 2 == 0 ? 600 : 65536;
    return p;
}

/* One seed in five sends byte by byte. */
static void stage_world(const struct script *script, uint64_t seed) {
    static char why[SCRIPT_TEXT_MAX];
    struct sim_params params = stage_params(seed);
    struct sim *sim = sim_new(seed + 1, &params);
    struct script_mode mode = {.on_sim = true, .split = seed % 5 == 1, .limit_ms = 60000,
                               .tls = &stage_tls_door,
                               .ring = {.sq_entries = 64, .cq_entries = 256, .buf_size = 4096,
                                        .buf_window = 16, .buf_max = 256,
                                        .one_shot = seed % 5 == 4}};
    bool ok = script_play(script, &mode, why);
    char leaks[128];
    if (ok && sim_leaks(sim, leaks, sizeof leaks) != 0) {
        snprintf(why, sizeof why, "leaks %s", leaks);
        ok = false;
    }
    sim_free(sim);
    if (!ok) {
        fail_msg("%s (%s), SIM_SEED=%d:\n%s", script->name, script->why, (int)seed, why);
    }
}

/* SIM_SEED=n plays that seed alone, SIM_SEEDS=n that many. */
static void stage_play(void **state) {
    const struct script *script = *state;
    const char *one = getenv("SIM_SEED"), *some = getenv("SIM_SEEDS");
    if (one != NULL) {
        stage_world(script, strtoull(one, NULL, 10));
        return;
    }
    uint64_t seeds = some != NULL ? strtoull(some, NULL, 10) : 14;
    for (uint64_t seed = 0; seed < seeds; seed++) {
        stage_world(script, seed);
    }
}

#endif

#else

static void stage_play(void **state) {
    static char why[SCRIPT_TEXT_MAX];
    const struct script *script = *state;
    struct script_mode mode = {.limit_ms = 8000};
    if (!script_play(script, &mode, why)) {
        fail_msg("%s (%s):\n%s", script->name, script->why, why);
    }
}

#endif

/* SCRIPT=word plays those with the word in their name. Scripts with TLS are for the simulated ring:
 * its TLS is a toy, and on sockets real clients speak the real one (tests/e2e). */
static int stage_run(const char *name, const struct script *scripts, size_t count) {
    struct CMUnitTest *tests = mem_zero(count * sizeof *tests);
    const char *word = getenv("SCRIPT");
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if ((GYRE_ON_SIM || !(scripts[i].tls || scripts[i].tls_port)) &&
            (word == NULL || strstr(scripts[i].name, word) != NULL)) {
            tests[n++] = (struct CMUnitTest){.name = scripts[i].name, .test_func = stage_play,
                                             .initial_state = (void *)&scripts[i]};
        }
    }
#if GYRE_FAULTS
    stage_fault_begin();
#endif
    int failed = _cmocka_run_group_tests(name, tests, n, NULL, NULL);
#if GYRE_FAULTS
    stage_fault_tell();
#endif
    mem_free(tests);
    return failed;
}

#define SCRIPTS_RUN(name, scripts) stage_run(name, scripts, sizeof(scripts) / sizeof(scripts)[0])

#endif
