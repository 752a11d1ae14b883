/* Where the plays of fuzz_exchange are played: a whole gyre on the simulated ring, with clients and
 * origins that do as their scripts say, until all timeouts have run out. Keeps what each side said
 * and what it got. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_STAGE_H
#define GYRE_TESTS_FUZZ_EXCHANGE_STAGE_H

#include "exchange_origins.h"
#include "upstream/queue_priv.h"

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
    SET(SYS, WRITE_FULL, 1000);
    SET(SHORT_SEND, WRITE_SHORT, often);
    SET(SHORT_RECV, READ_SHORT, often);
#undef SET
    return p;
}

static void limits_shrink(struct http_limits *limits) {
    limits->rx_mark = limits->tx_mark = 1500;
    limits->wire.rx_mark = 2500;
    limits->wire.tx_mark = 3000;
}

/* Bodies of small inputs go to files: other places hold but little of them. */
static void spools_shrink(void) {
    struct backend *backend = &stage.plan->registry->backends[0];
    struct http_limits *down = &stage.plan->sites[0].limits;
    backend->limits.rx_mark = backend->limits.tx_mark = down->tx_mark = 300;
    backend->limits.wire.tx_mark = down->wire.tx_mark = 500;
    backend->request_memory = backend->response_memory = SHRUNK_MEMORY;
    backend->response_max = stage_mode()->response_max != 0 ? SHRUNK_RESPONSE_MAX
                                                            : backend->response_max;
    stage.plan->store.piece = 256;
}

static struct conf *stage_conf(void) {
    struct conf **conf = &stage.confs[stage.play.conf >> 5][stage.play.conf & 3];
    if (*conf == NULL) {
        struct conf_errors errors = {0};
        char ini[2048];
        conf_write(ini, sizeof ini, stage_mode(), stage.play.conf & 3);
        *conf = conf_load_text("fuzz.ini", ini, &errors);
        for (uint32_t i = 0; i < errors.count; i++) {
            fprintf(stderr, "%s\n", errors.text[i]);
        }
        ensure(*conf != NULL);
        conf_errors_fini(&errors);
    }
    return *conf;
}

static void stage_open(void) {
    struct sim_params params = stage_params();
    struct conf_errors errors = {0};
    uint8_t conf = stage.play.conf;
    struct sim_params calm = params;
    memset(calm.chance, 0, sizeof calm.chance);    /* gyre starts on good ground */
    stage.sim = sim_new(stage.play.seed, &calm);
    stage.plan = plan_new(stage_conf(), &errors);
    bool ok = stage.plan != NULL && plan_listen(stage.plan);
    ensure(ok);
    conf_errors_fini(&errors);
    if ((conf & 4) != 0) {
        limits_shrink(&stage.plan->sites[0].limits);
        limits_shrink(&stage.plan->registry->backends[0].limits);
        if (stage_mode()->sync) {
            spools_shrink();
        }
    }
    struct ring_params ring = {.buf_size = (conf & 8) != 0 ? 512 : 4096, .buf_window = 8,
                               .buf_max = 64, .one_shot = (conf & 16) != 0};
    for (uint32_t i = 0; i < stage.plan->worker_count; i++) {
        struct worker *w = &stage.workers[i];
        *w = (struct worker){.event_fd = -1};
        ok = worker_make(w, stage.plan, i, &ring);
        ensure(ok);
        if (stage.play.seed % 2 == 0) {
            w->exchanges.splice_min = 1;   /* all that may be spliced is */
        }
    }
    static const char *const origins[] = {"127.0.0.1:8001", "127.0.0.1:8002"};
    for (int i = 0; i < 2; i++) {
        struct addr addr = stage_addr(origins[i]);
        stage.servers[i] = peer_listen(&addr, 16);
        ensure(stage.servers[i] != NULL);
        stage.servers[i]->accepted = conn_accepted;
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

/* Without a request nobody waits, has a slot, or a file. */
static const char *stage_lost(void) {
    const struct registry *registry = stage.plan->registry;
    for (uint32_t i = 0; i < registry->backend_count; i++) {
        const struct backend *backend = &registry->backends[i];
        if (atomic_load(&backend->queue->waiting) > 0) {
            return "somebody who has gone waits on";
        }
        for (uint32_t k = 0; k < backend->server_count; k++) {
            if (atomic_load(&backend->servers[k].used) > 0) {
                return "a slot is lost";
            }
        }
    }
    return atomic_load(&stage.plan->store.held) > 0 ? "a file is not given back" : NULL;
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
    stage.began_us = sim_now_us(stage.sim);
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
    return stage_lost();
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
