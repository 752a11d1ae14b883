/* Where the plays of fuzz_exchange are played: a whole gyre on the simulated ring, with clients and
 * origins that do as their scripts say, until all timeouts have run out. Keeps what each side said
 * and what it got. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_STAGE_H
#define GYRE_TESTS_FUZZ_EXCHANGE_STAGE_H

#include "exchange_actors.h"

/* --- Clients ------------------------------------------------------------------------------ */

/* A client that is told that it is over hangs up as well. */
static void client_changed(struct peer *p) {
    struct actor *a = p->user;
    if (p->eof && p->state == PEER_OPEN) {
        a->hung_up = true;
        peer_close(p);
    }
    actor_heard(a);
}

static bool client_is_over(const struct actor *a) {
    const struct peer *p = a->peer;
    return p->state == PEER_REFUSED || p->state == PEER_CLOSED || p->eof || p->reset;
}

static bool stage_is_over(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < stage.play.client_count; i++) {
        if (!client_is_over(&stage.clients[i])) {
            return false;
        }
    }
    return true;
}

static struct addr stage_addr(const char *text) {
    struct addr addr;
    const char *why;
    bool ok = addr_parse(&addr, str_of(text), &why);
    ensure(ok);
    return addr;
}

static const char *const client_addrs[CLIENTS_MAX] = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};

static void client_start(uint32_t i) {
    char from[32];
    snprintf(from, sizeof from, "%s:%u", client_addrs[i], 4000 + i);
    struct addr to = stage_addr("127.0.0.1:80"), local = stage_addr(from);
    struct actor *a = &stage.clients[i];
    a->script = &stage.play.clients[i];
    a->peer = peer_dial(&to, &local);
    a->peer->user = a;
    a->peer->changed = client_changed;
    actor_go(a);
}

/* --- The world ---------------------------------------------------------------------------- */

/* Small numbers, so that small inputs reach them. */
#define STAGE_MAX_BODY 6000u
#define STAGE_INI(workers, more)                                                              \
    "[global]\nworkers = " workers "\ndrain_timeout = 5s\n" more                              \
    "[listener web]\nbind = 127.0.0.1:80\nbackend = app\nmax_head = 2k\nmax_headers = 30\n"   \
    "max_body = 6000\nhead_timeout = 10s\nbody_timeout = 10s\nidle_timeout = 8s\n"            \
    "send_timeout = 10s\ntunnel_timeout = 15s\n"                                              \
    "[backend app]\nserver = 127.0.0.1:8001\nserver = 127.0.0.1:8002\nmode = async\n"         \
    "queue = 0\nkeepalive = 2\n"                                                             \
    "keepalive_timeout = 6s\nresponse_timeout = 12s\nstall_timeout = 8s\n"

static const char *const stage_inis[4] = {
    STAGE_INI("1", ""),
    STAGE_INI("2", ""),
    STAGE_INI("1", "trusted_proxies = 10.0.0.1/32\n"),
    STAGE_INI("1", "") "keepalive = 0\n[route other]\nhost = other\nbackend = none\n"
                       "[backend none]\nserver = 127.0.0.1:9\nconnect_timeout = 1s\n",
};

static struct conf *stage_conf(uint32_t which) {
    if (stage.confs[which] == NULL) {
        struct conf_errors errors = {0};
        char ini[2048];
        snprintf(ini, sizeof ini, "%s", stage_inis[which]);
        if (which == 3) {         /* a key may stand but once */
            char *twice = strstr(ini, "keepalive = 2\n");
            memmove(twice, twice + 14, strlen(twice + 14) + 1);
        }
        stage.confs[which] = conf_load_text("fuzz.ini", ini, &errors);
        for (uint32_t i = 0; i < errors.count; i++) {
            fprintf(stderr, "%s\n", errors.text[i]);
        }
        ensure(stage.confs[which] != NULL);
        conf_errors_fini(&errors);
    }
    return stage.confs[which];
}

static struct sim_params stage_params(void) {
    static const uint32_t latencies[] = {300, 0, 4000, 40000};
    static const uint32_t pipes[][2] = {{16384, 16384}, {700, 700}, {1, 3000}, {4096, 12288}};
    static const uint16_t shorts[] = {3000, 9000};
    struct sim_params p = sim_params_clean();
    uint8_t network = stage.play.network, faults = stage.play.faults;
    p.latency_us = latencies[network & 3];
    p.pipe_min = pipes[network >> 2 & 3][0];
    p.pipe_max = pipes[network >> 2 & 3][1];
    p.late_us = (network & 16) != 0 ? 20000 : 1000;
    p.stall_ms = 300;
    uint16_t often = shorts[network >> 5 & 1];
#define SET(fault, which, much) p.chance[SIM_##which] = (faults & FAULT_##fault) != 0 ? (much) : 0
    SET(SHORT_RECV, SHORT_RECV, often);
    SET(SHORT_SEND, SHORT_SEND, often);
    SET(LATE, LATE, 3000);
    SET(DISARM, DISARM, 3000);
    SET(STALL, STALL, 200);
    SET(STALL, SLOW_PEER, 300);
    SET(RESET, RESET, 150);
    SET(CONNECT, REFUSE, 1500);
    SET(CONNECT, SYN_DROP, 500);
    SET(SYS, SYS, 300);
    SET(SYS, EMFILE, (faults & FAULT_CONNECT) != 0 ? 1000 : 0);
    SET(SYS, STARVE, 100);
#undef SET
    return p;
}

static void limits_shrink(struct http_limits *limits) {
    limits->rx_mark = limits->tx_mark = 1500;
    limits->wire.rx_mark = 2500;
    limits->wire.tx_mark = 3000;
}

static void stage_open(void) {
    struct sim_params params = stage_params();
    struct conf_errors errors = {0};
    uint8_t conf = stage.play.conf;
    struct sim_params calm = params;
    memset(calm.chance, 0, sizeof calm.chance);    /* gyre starts on good ground */
    stage.sim = sim_new(stage.play.seed, &calm);
    stage.plan = plan_new(stage_conf(conf & 3), &errors);
    bool ok = stage.plan != NULL && plan_listen(stage.plan);
    ensure(ok);
    conf_errors_fini(&errors);
    if ((conf & 4) != 0) {
        limits_shrink(&stage.plan->sites[0].limits);
        limits_shrink(&stage.plan->registry->backends[0].limits);
    }
    struct ring_params ring = {.buf_size = (conf & 8) != 0 ? 512 : 4096, .buf_window = 8,
                               .buf_max = 64, .one_shot = (conf & 16) != 0};
    for (uint32_t i = 0; i < stage.plan->worker_count; i++) {
        struct worker *w = &stage.workers[i];
        *w = (struct worker){.event_fd = -1};
        ok = worker_make(w, stage.plan, i, &ring);
        ensure(ok);
    }
    static const char *const origins[] = {"127.0.0.1:8001", "127.0.0.1:8002"};
    for (int i = 0; i < 2; i++) {
        struct addr addr = stage_addr(origins[i]);
        struct peer_listener *listener = peer_listen(&addr, 16);
        ensure(listener != NULL);
        listener->accepted = conn_accepted;
    }
    memcpy(sim_params(stage.sim)->chance, params.chance, sizeof params.chance);
}

static bool workers_are_over(void *arg) {
    (void)arg;
    bool over = true;
    for (uint32_t i = 0; i < stage.plan->worker_count; i++) {
        over = over && stage.workers[i].over;
    }
    return over;
}

static uint32_t stage_running(void) {
    uint32_t running = 0;
    for (uint32_t i = 0; i < stage.plan->worker_count; i++) {
        running += exchanges_running(&stage.workers[i].exchanges);
    }
    return running;
}

/* The play to its end. NULL, or what is wrong with it: a hang. What is left of it stays until
 * stage_close. */
static const char *stage_play(void) {
    stage.conn_count = stage.record_count = stage.reply_next = 0;
    stage.too_much = false;
    for (uint32_t i = 0; i < CLIENTS_MAX; i++) {
        struct said said = stage.clients[i].said;
        said.len = 0;
        stage.clients[i] = (struct actor){.said = said};
    }
    stage_open();
    for (uint32_t i = 0; i < stage.play.client_count; i++) {
        client_start(i);
    }
    if (peers_run(stage_is_over, NULL, STAGE_HOURS_MS) != PEERS_MET) {
        return "a client is neither served nor let go";
    }
    memset(sim_params(stage.sim)->chance, 0, sizeof sim_params(stage.sim)->chance);
    peers_sleep(60 * 1000);       /* longer than any timeout of what has no client any more */
    if (stage_running() > 0) {
        return "an exchange runs on without its client";
    }
    return NULL;
}

/* Stops gyre: every pool at 0, nothing leaks. */
static const char *stage_close(void) {
    for (uint32_t i = 0; i < stage.plan->worker_count; i++) {
        worker_drain(&stage.workers[i]);
    }
    if (peers_run(workers_are_over, NULL, 60 * 1000) != PEERS_MET) {
        return "it does not drain";
    }
    for (uint32_t i = 0; i < stage.plan->worker_count; i++) {
        worker_unmake(&stage.workers[i]);
    }
    plan_free(stage.plan);
    static char leaks[128];
    bool leaky = sim_leaks(stage.sim, leaks, sizeof leaks) != 0;
    for (uint32_t i = 0; i < stage.conn_count; i++) {
        mem_free(stage.conns[i]->actor.said.bytes);
        mem_free(stage.conns[i]);
    }
    stage.conn_count = 0;
    sim_free(stage.sim);
    return leaky ? leaks : NULL;
}

#endif
