/* The world: luck, the trace, the scheduler, and the end of all things. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim_priv.h"

#define SIM_MAGIC 0x73696d21u
#define RINGS_MAX 16
#define PEERS_MAX 4096

static struct sim *current;

struct sim *sim_current(void) {
    ensure_magic(current, SIM_MAGIC);
    return current;
}

/* --- Luck --------------------------------------------------------------------------------- */

/* splitmix64: one word of state, so a seed is the whole of it. */
static uint64_t luck_next(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_draw(struct sim *sim, uint64_t below) {
    ensure(below > 0);
    return luck_next(&sim->luck) % below;
}

bool sim_chance(struct sim *sim, uint32_t in_ten_thousand) {
    return in_ten_thousand != 0 && sim_draw(sim, 10000) < in_ten_thousand;
}

bool sim_fault(struct sim *sim, enum sim_fault which) {
    if (!sim_chance(sim, sim->params.chance[which])) {
        return false;
    }
    sim->hits[which]++;
    sim_note(sim, sim_fault_word(which), (int64_t)sim->hits[which], 0, 0);
    return true;
}

static const char *const fault_words[SIM_FAULT_COUNT] = {
#define X(name, help) #name,
    SIM_FAULTS(X)
#undef X
};

const char *sim_fault_word(enum sim_fault which) {
    ensure(which < SIM_FAULT_COUNT);
    return fault_words[which];
}

uint64_t sim_hits(const struct sim *sim, enum sim_fault which) {
    return sim->hits[which];
}

/* --- The trace ---------------------------------------------------------------------------- */

static uint64_t hash_mix(uint64_t hash, uint64_t value) {
    hash ^= value;
    hash *= 0x100000001b3u;
    return hash ^ (hash >> 29);
}

void sim_note(struct sim *sim, const char *what, int64_t a, int64_t b, int64_t c) {
    uint64_t h = sim->trace_hash;
    for (const char *p = what; *p != '\0'; p++) {
        h = hash_mix(h, (uint8_t)*p);
    }
    h = hash_mix(h, (uint64_t)a);
    h = hash_mix(h, (uint64_t)b);
    h = hash_mix(h, (uint64_t)c);
    sim->trace_hash = hash_mix(h, sim->now_us);
    if (sim->trace_print) {
        uint64_t us = sim->now_us - sim->start_us;
        fprintf(stderr, "%6" PRIu64 ".%03" PRIu64 " %-12s %" PRId64 " %" PRId64 " %" PRId64 "\n",
                us / 1000, us % 1000, what, a, b, c);
    }
}

uint64_t sim_trace_hash(const struct sim *sim) {
    return sim->trace_hash;
}

/* --- Parameters --------------------------------------------------------------------------- */

struct sim_params sim_params_clean(void) {
    return (struct sim_params){.latency_us = 300, .pipe_min = 65536, .pipe_max = 65536,
                               .fd_max = 4096, .stall_ms = 500, .late_us = 5000};
}

struct sim_params sim_params_rough(uint64_t seed) {
    /* The highest useful chance of each. What ends a connection is rarer than what delays it. */
    static const uint16_t most[SIM_FAULT_COUNT] = {
        [SIM_SHORT_RECV] = 6000, [SIM_SHORT_SEND] = 6000, [SIM_LATE] = 3000,
        [SIM_DISARM] = 3000,     [SIM_STARVE] = 300,      [SIM_RESET] = 150,
        [SIM_REFUSE] = 1500,     [SIM_SYN_DROP] = 800,    [SIM_BACKLOG] = 2000,
        [SIM_EMFILE] = 1000,     [SIM_STALL] = 200,       [SIM_SLOW_PEER] = 400,
        [SIM_SYS] = 300,         [SIM_WRITE_SHORT] = 3000, [SIM_WRITE_FULL] = 500,
        [SIM_READ_SHORT] = 3000,
    };
    uint64_t luck = seed ^ 0x67797265u;
    struct sim_params p = sim_params_clean();
    static const uint32_t latencies[] = {0, 100, 1000, 40000};
    p.latency_us = latencies[luck_next(&luck) % 4];
    p.pipe_max = 1u << (9 + luck_next(&luck) % 9);            /* 512 bytes to 128 KiB */
    p.pipe_min = 1 + (uint32_t)(luck_next(&luck) % p.pipe_max);
    p.late_us = 1 + (uint32_t)(luck_next(&luck) % 50000);
    p.stall_ms = 1 + (uint32_t)(luck_next(&luck) % 2000);
    for (int i = 0; i < SIM_FAULT_COUNT; i++) {
        bool on = luck_next(&luck) % 2 == 0;
        uint64_t rate = luck_next(&luck) % (most[i] + 1u);
        p.chance[i] = on ? (uint16_t)rate : 0;
    }
    return p;
}

struct sim_params *sim_params(struct sim *sim) {
    return &sim->params;
}

/* --- Birth and death ---------------------------------------------------------------------- */

struct sim *sim_new(uint64_t seed, const struct sim_params *params) {
    ensure(current == NULL);
    struct sim *sim = world_zero(sizeof *sim);
    sim->magic = SIM_MAGIC;
    sim->seed = sim->luck = seed;
    sim->params = params != NULL ? *params : sim_params_clean();
    ensure(sim->params.pipe_min > 0 && sim->params.pipe_min <= sim->params.pipe_max);
    ensure(sim->params.stall_ms > 0 && sim->params.late_us > 0 && sim->params.fd_max > 0);
    sim->trace_hash = 0xcbf29ce484222325u;
    const char *print = getenv("SIM_TRACE");
    sim->trace_print = print != NULL && strcmp(print, "1") == 0;
    list_init(&sim->rings);
    list_init(&sim->ends);
    list_init(&sim->listeners);
    list_init(&sim->files);
    list_init(&sim->peers);
    list_init(&sim->peer_listeners);
    list_init(&sim->alarms);
    /* A quarter of the worlds begin shortly before the milliseconds pass 2^32. */
    uint64_t start_ms = sim_draw(sim, 4) == 0 ? UINT32_MAX - sim_draw(sim, 2000)
                                              : 1000 + sim_draw(sim, 1000000);
    sim->now_us = sim->start_us = start_ms * 1000 + sim_draw(sim, 1000);
    sim->next_port = 32768;
    current = sim;
    return sim;
}

uint32_t sim_leaks(const struct sim *sim, char *text, uint32_t cap) {
    uint32_t by_kind[SIM_FD_KINDS] = {0};
    for (uint32_t i = 0; i < sim->fd_cap; i++) {
        if (sim->fds[i] != NULL) {
            by_kind[sim->fds[i]->kind]++;
        }
    }
    uint32_t ops = sim_rings_ops(sim), segments = sim_rings_segments(sim);
    struct text t = text_on(text, cap > 0 ? cap - 1 : 0);
    text_fmt(&t, "%u sockets, %u listeners, %u files, %u ops, %u receive segments",
             by_kind[SIM_FD_SOCKET], by_kind[SIM_FD_LISTENER], by_kind[SIM_FD_FILE], ops,
             segments);
    if (by_kind[SIM_FD_PIPE] > 0) {
        text_fmt(&t, ", %u ends of pipes", by_kind[SIM_FD_PIPE]);
    }
    if (cap > 0) {
        text[t.len] = '\0';
    }
    return by_kind[SIM_FD_SOCKET] + by_kind[SIM_FD_LISTENER] + by_kind[SIM_FD_FILE] +
           by_kind[SIM_FD_PIPE] + ops + segments;
}

void sim_free(struct sim *sim) {
    ensure_magic(sim, SIM_MAGIC);
    ensure(list_empty(&sim->rings));
    char text[256];
    if (sim_leaks(sim, text, sizeof text) != 0) {
        fprintf(stderr, "sim: seed %" PRIu64 " leaks: %s\n", sim->seed, text);
        abort();
    }
    sim_peers_free(sim);
    while (!list_empty(&sim->listeners)) {
        sim_listener_free(container_of(list_first(&sim->listeners), struct sim_listener, link));
    }
    sim_ends_free(sim);
    struct list_node *node;
    while ((node = list_pop(&sim->files)) != NULL) {
        struct sim_text_file *file = container_of(node, struct sim_text_file, link);
        world_free(file->path);
        world_free(file->bytes);
        world_free(file);
    }
    while ((node = list_pop(&sim->alarms)) != NULL) {
        world_free(container_of(node, struct sim_alarm, link));
    }
    world_free(sim->fds);
    sim->magic = 0;
    world_free(sim);
    current = NULL;
}

/* --- Time and turns ----------------------------------------------------------------------- */

uint64_t sim_now_us(const struct sim *sim) {
    return sim->now_us;
}

uint64_t sim_wall_us(const struct sim *sim) {
    return 1767225600000000u + sim->now_us - sim->start_us;   /* from the first of January 2026 */
}

void sim_after(struct sim *sim, uint64_t ms, void (*fn)(void *), void *arg) {
    struct sim_alarm *alarm = world_zero(sizeof *alarm);
    *alarm = (struct sim_alarm){.due_us = sim->now_us + ms * 1000, .fn = fn, .arg = arg};
    list_append(&sim->alarms, &alarm->link);
}

/* Who can act now: rings first, then peers. */
struct actors {
    struct ring *rings[RINGS_MAX];
    struct sim_peer *peers[PEERS_MAX];
    uint32_t ring_count, peer_count;
    uint64_t next_us;             /* when somebody else will be able to */
};

static bool actor_can(struct sim *sim, struct actors *actors, uint64_t us) {
    if (us > sim->now_us) {
        actors->next_us = us < actors->next_us ? us : actors->next_us;
    }
    return us <= sim->now_us;
}

static void actors_find(struct sim *sim, struct actors *a) {
    a->ring_count = a->peer_count = 0;
    a->next_us = SIM_NEVER;
    list_each(node, &sim->rings) {
        struct ring *ring = sim_ring_of(node);
        if (actor_can(sim, a, sim_ring_next_us(ring)) && a->ring_count < RINGS_MAX) {
            a->rings[a->ring_count++] = ring;
        }
    }
    list_each(node, &sim->peers) {
        struct sim_peer *peer = sim_peer_of(node);
        if (actor_can(sim, a, sim_peer_next_us(peer)) && a->peer_count < PEERS_MAX) {
            a->peers[a->peer_count++] = peer;
        }
    }
    list_each(node, &sim->ends) {
        actor_can(sim, a, sim_end_next_us(container_of(node, struct sim_end, link)));
    }
    list_each(node, &sim->alarms) {
        actor_can(sim, a, container_of(node, struct sim_alarm, link)->due_us);
    }
}

static bool alarm_run(struct sim *sim) {
    list_each(node, &sim->alarms) {
        struct sim_alarm *alarm = container_of(node, struct sim_alarm, link);
        if (alarm->due_us <= sim->now_us) {
            list_remove(node);
            alarm->fn(alarm->arg);
            world_free(alarm);
            return true;
        }
    }
    return false;
}

/* One step, which does not take the time past limit_us: 1 done, 0 nothing can ever happen, -1
 * nothing before the limit. */
static int step(struct sim *sim, uint64_t limit_us) {
    list_each(node, &sim->ends) {
        sim_end_settle(container_of(node, struct sim_end, link));
    }
    sim_ends_reap(sim);
    if (alarm_run(sim)) {
        return 1;
    }
    sim_peers_accept(sim);
    static struct actors actors;
    actors_find(sim, &actors);
    uint32_t count = actors.ring_count + actors.peer_count;
    if (count > 0) {
        uint32_t who = (uint32_t)sim_draw(sim, count);
        if (who < actors.ring_count) {
            sim_ring_turn(actors.rings[who]);
        } else {
            sim_peer_act(actors.peers[who - actors.ring_count]);
        }
        if (sim_draw(sim, 16) == 0) {
            sim->now_us += sim_draw(sim, 300);   /* work takes time too */
        }
        return 1;
    }
    if (actors.next_us == SIM_NEVER) {
        return 0;
    }
    if (actors.next_us > limit_us) {
        return -1;
    }
    sim->now_us = actors.next_us;
    return 1;
}

bool sim_step(struct sim *sim) {
    ensure_magic(sim, SIM_MAGIC);
    return step(sim, SIM_NEVER) != 0;
}

enum peers_end sim_run_until(struct sim *sim, bool (*cond)(void *), void *arg, uint64_t limit_ms) {
    ensure_magic(sim, SIM_MAGIC);
    uint64_t limit_us = sim->now_us + limit_ms * 1000;
    while (cond == NULL || !cond(arg)) {
        if (sim->now_us >= limit_us) {
            return PEERS_LIMIT;
        }
        int did = step(sim, limit_us);
        if (did == 0 && cond != NULL) {
            return PEERS_STUCK;
        }
        if (did <= 0) {
            sim->now_us = limit_us;
        }
    }
    return PEERS_MET;
}

enum peers_end peers_run(bool (*cond)(void *), void *arg, uint64_t limit_ms) {
    return sim_run_until(sim_current(), cond, arg, limit_ms);
}

void peers_sleep(uint64_t ms) {
    sim_run_until(sim_current(), NULL, NULL, ms);
}
