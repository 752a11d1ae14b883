/* A whole gyre in a test: workers made from ini text, on the simulated ring or on sockets. */
#include "script/lab.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static bool lab_plan(struct lab *lab, const char *ini) {
    struct conf_errors errors = {0};
    lab->conf = conf_load_text("lab.ini", ini, &errors);
    lab->plan = lab->conf != NULL ? plan_new(lab->conf, &errors) : NULL;
    for (uint32_t i = 0; i < errors.count; i++) {
        fprintf(stderr, "%s\n", errors.text[i]);
    }
    conf_errors_fini(&errors);
    if (lab->plan == NULL) {
        return false;
    }
    ensure(lab->plan->worker_count <= LAB_WORKERS_MAX);
    return plan_listen(lab->plan);
}

static bool worker_is(const struct worker *w, enum worker_state state) {
    return atomic_load(&w->state) == (int)state;
}

static bool lab_thread(struct lab *lab, uint32_t i) {
    struct worker *w = &lab->workers[i];
    w->ring_params = lab->ring_params;
    if (!worker_start(w, lab->plan, i, lab->event_fd)) {
        return false;
    }
    while (worker_is(w, WORKER_STARTING)) {
        usleep(200);
    }
    return worker_is(w, WORKER_RUNNING);
}

bool lab_start(struct lab *lab, bool on_sim, const char *ini, const struct ring_params *params) {
    memset(lab, 0, sizeof *lab);
    lab->on_sim = on_sim;
    lab->ring_params = params != NULL ? *params : (struct ring_params){0};
    lab->event_fd = eventfd(0, EFD_CLOEXEC);
    if (!lab_plan(lab, ini)) {
        return false;
    }
    for (uint32_t i = 0; i < lab->plan->worker_count; i++) {
        struct worker *w = &lab->workers[i];
        bool ok = on_sim ? worker_make(w, lab->plan, i, &lab->ring_params) : lab_thread(lab, i);
        if (!ok) {
            fprintf(stderr, "lab: %s\n", w->why);
            return false;
        }
    }
    return true;
}

static bool lab_is_over(void *arg) {
    struct lab *lab = arg;
    for (uint32_t i = 0; i < lab->plan->worker_count; i++) {
        struct worker *w = &lab->workers[i];
        if (lab->on_sim ? !w->over : !worker_is(w, WORKER_DONE)) {
            return false;
        }
    }
    return true;
}

bool lab_stop(struct lab *lab, uint64_t limit_ms) {
    for (uint32_t i = 0; i < lab->plan->worker_count; i++) {
        worker_drain(&lab->workers[i]);
    }
    if (peers_run(lab_is_over, lab, limit_ms) != PEERS_MET) {
        return false;
    }
    for (uint32_t i = 0; i < lab->plan->worker_count; i++) {
        if (lab->on_sim) {
            worker_unmake(&lab->workers[i]);
        } else {
            worker_join(&lab->workers[i]);
        }
    }
    plan_free(lab->plan);
    conf_free(lab->conf);
    close(lab->event_fd);
    return true;
}

uint64_t lab_stat(const struct lab *lab, enum stats_counter which) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < lab->plan->worker_count; i++) {
        sum += stats_get(ring_stats(lab->workers[i].ring), which);
    }
    return sum;
}

uint64_t lab_closed(const struct lab *lab, enum close_reason why) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < lab->plan->worker_count; i++) {
        sum += stats_get_close(ring_stats(lab->workers[i].ring), why);
    }
    return sum;
}

#define PORTS_FIRST 20000u     /* those of bench lie below */
#define PORTS_COUNT 12000u
#define PORTS_EACH 499u     /* of a process, before its neighbour's begin */

struct addr lab_free_address(bool on_sim) {
    static uint32_t given;
    struct addr addr = {.len = sizeof addr.sa.in};
    addr.sa.in = (struct sockaddr_in){.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (uint32_t tries = 0; tries < PORTS_EACH; tries++) {
        uint32_t port = (uint32_t)getpid() * PORTS_EACH + given++;
        addr.sa.in.sin_port = on_sim ? 0 : htons((uint16_t)(PORTS_FIRST + port % PORTS_COUNT));
        struct peer_listener *listener = peer_listen(&addr, 1);
        if (listener != NULL) {
            addr = listener->addr;
            peer_listener_close(listener);
            return addr;
        }
    }
    ensure(false && "no port is free");
}
