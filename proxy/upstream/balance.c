/* Which server of a backend is next. */
#include "upstream/upstream_priv.h"

/* Up to so many servers are all compared; of more, two are drawn (two choices are nearly as good
 * as all, and do not send every ring to the same server at once). */
#define COMPARE_ALL_MAX 4u

/* xorshift64*: steering needs no secret, and is asked at every request. */
uint32_t upstream_random(struct upstream *room, uint32_t below) {
    uint64_t x = room->luck;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    room->luck = x;
    uint32_t high = (uint32_t)((x * 2685821657736338717u) >> 32);
    return (uint32_t)(((uint64_t)high * below) >> 32);
}

/* Not by this request, not while another one is well, or not at all; `most`: of the orders that it
 * may have been given. */
static bool is_out(const struct server *server, const struct choice *choice,
                   enum server_admin most) {
    bool was_tried = choice->tried != 0 && (choice->tried & server_bit(server)) != 0;
    bool ill = atomic_load_explicit(&server->ill, memory_order_relaxed) && !choice->all_ill;
    return was_tried || ill ||
           atomic_load_explicit(&server->admin, memory_order_acquire) > most;
}

static bool is_avoided(const struct server *server, const struct choice *choice) {
    return choice->avoid != 0 && (choice->avoid & server_bit(server)) != 0;
}

bool balance_may(const struct server *server, const struct choice *choice) {
    return !is_out(server, choice, SERVER_READY) && !is_avoided(server, choice) &&
           server->backup == choice->backups && server_is_open(server, choice->now_ms);
}

/* Not while one of the others is only busy: then workers are short, not servers. */
static bool needs_backups(const struct backend *backend, const struct choice *choice) {
    for (uint32_t i = 0; i < backend->server_count; i++) {
        const struct server *server = &backend->servers[i];
        if (!server->backup && !is_out(server, choice, SERVER_READY) &&
            atomic_load(&server->away_ms) == 0) {
            return false;
        }
    }
    return true;
}

/* Smooth weighted round robin, as nginx made it known: every server earns its weight, the richest
 * is picked and pays the sum. */
static struct server *pick_round_robin(struct upstream *room, struct backend *backend,
                                       const struct choice *choice) {
    struct local_server *best = NULL;
    int64_t sum = 0;
    for (uint32_t i = 0; i < backend->server_count; i++) {
        struct local_server *local = &room->backends[backend->index].servers[i];
        if (!balance_may(local->server, choice)) {
            continue;
        }
        uint32_t weight = balance_weight(local->server, choice);
        local->turn += weight;
        sum += weight;
        if (best == NULL || local->turn > best->turn) {
            best = local;
        }
    }
    if (best == NULL) {
        return NULL;
    }
    best->turn -= sum;
    return best->server;
}

uint64_t balance_load(const struct upstream *room, const struct server *server) {
    uint64_t requests = 0;
    for (uint32_t i = 0; i < room->registry->ring_count; i++) {
        requests += atomic_load_explicit(&server->counts[i].requests, memory_order_relaxed);
    }
    return requests;
}

/* True when a is less loaded for its weight than b; equals are decided by luck. Of two that are
 * idle none is: all would go to the heaviest where requests come one at a time. */
static bool is_lighter(struct upstream *room, const struct choice *choice, const struct server *a,
                       const struct server *b, bool *both_idle) {
    uint64_t runs_a = balance_load(room, a), runs_b = balance_load(room, b);
    uint64_t load_a = (runs_a + 1) * balance_weight(b, choice);
    uint64_t load_b = (runs_b + 1) * balance_weight(a, choice);
    *both_idle = runs_a + runs_b == 0;
    return !*both_idle && (load_a != load_b ? load_a < load_b : upstream_random(room, 2) == 0);
}

/* One usable server, each as likely as its weight says. */
static struct server *draw(struct upstream *room, struct backend *backend,
                           const struct choice *choice) {
    struct server *drawn = NULL;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < backend->server_count; i++) {
        struct server *server = &backend->servers[i];
        if (balance_may(server, choice)) {
            uint32_t weight = balance_weight(server, choice);
            sum += weight;
            if (upstream_random(room, sum) < weight) {
                drawn = server;
            }
        }
    }
    return drawn;
}

/* The lightest of all; of those that are idle each as likely as its weight says. */
static struct server *pick_lightest(struct upstream *room, struct backend *backend,
                                    const struct choice *choice) {
    struct server *best = NULL;
    uint32_t idle_weight = 0;   /* of the best, and of those that are as idle */
    for (uint32_t i = 0; i < backend->server_count; i++) {
        struct server *server = &backend->servers[i];
        if (!balance_may(server, choice)) {
            continue;
        }
        uint32_t weight = balance_weight(server, choice);
        bool both_idle = false;
        bool lighter = best == NULL || is_lighter(room, choice, server, best, &both_idle);
        idle_weight = lighter ? weight : both_idle ? idle_weight + weight : idle_weight;
        if (lighter || (both_idle && upstream_random(room, idle_weight) < weight)) {
            best = server;
        }
    }
    return best;
}

static struct server *pick_least_requests(struct upstream *room, struct backend *backend,
                                          const struct choice *choice) {
    if (atomic_load_explicit(&backend->present, memory_order_relaxed) <= COMPARE_ALL_MAX) {
        return pick_lightest(room, backend, choice);
    }
    struct server *one = draw(room, backend, choice);
    struct server *two = draw(room, backend, choice);
    bool both_idle;
    return one != NULL && one != two && is_lighter(room, choice, two, one, &both_idle) ? two : one;
}

/* Checks may be wrong, and no server at all is worse than any. */
static bool all_ill(const struct backend *backend) {
    uint32_t i = 0;
    while (i < backend->server_count && (atomic_load(&backend->servers[i].ill) ||
                                         atomic_load(&backend->servers[i].admin) != SERVER_READY)) {
        i++;
    }
    return i == backend->server_count;
}

/* For those that are stuck to it, who stay with a server that drains. */
static bool is_fit(const struct server *server, const struct choice *choice) {
    return !is_out(server, choice, SERVER_DRAIN) && !is_avoided(server, choice);
}

bool balance_sticks(const struct backend *backend, const struct choice *wanted) {
    struct choice choice = *wanted;
    choice.all_ill = backend->checking.what != NULL && all_ill(backend);
    return choice.stuck != NULL && choice.stuck->queue != NULL && server_is_there(choice.stuck) &&
           is_fit(choice.stuck, &choice);
}

static struct server *pick(struct upstream *room, struct backend *backend,
                           const struct choice *choice) {
    static struct server *(*const picks[])(struct upstream *, struct backend *,
                                           const struct choice *) = {
        [CONF_BALANCE_ROUND_ROBIN] = pick_round_robin,
        [CONF_BALANCE_LEAST_REQUESTS] = pick_least_requests,
        [CONF_BALANCE_RANDOM] = draw,
        [CONF_BALANCE_HASH] = balance_hash,
    };
    return picks[backend->balance](room, backend, choice);
}

/* One that was not to be avoided is there, and only busy: it is better waited for. */
static bool others_are_busy(const struct backend *backend, const struct choice *choice) {
    struct choice rest = *choice;
    rest.tried |= rest.avoid;
    return !needs_backups(backend, &rest);
}

bool upstream_has_other(const struct backend *backend, uint64_t avoid) {
    struct choice choice = {.avoid = avoid,
                            .all_ill = backend->checking.what != NULL && all_ill(backend)};
    return others_are_busy(backend, &choice);
}

struct server *balance_pick(struct upstream *room, struct backend *backend,
                            const struct choice *wanted) {
    struct choice choice = *wanted;
    choice.all_ill = backend->checking.what != NULL && all_ill(backend);
    if (choice.stuck != NULL) {
        struct server *stuck = &backend->servers[choice.stuck->index];
        if (is_fit(stuck, &choice) && server_is_open(stuck, choice.now_ms)) {
            return stuck;
        }
        if (balance_sticks(backend, &choice)) {
            return NULL;
        }
    }
    choice.rises = atomic_load_explicit(&backend->rising, memory_order_relaxed) > 0 &&
                   slow_start_runs(backend, choice.now_ms);
    for (;;) {
        choice.backups = false;
        struct server *server = pick(room, backend, &choice);
        if (server == NULL && backend->has_backups && needs_backups(backend, &choice)) {
            choice.backups = true;
            server = pick(room, backend, &choice);
        }
        if (server != NULL) {
            return server;
        }
        bool over = choice.avoid != 0 ? others_are_busy(backend, &choice)
                                      : !eject_lift(backend, choice.now_ms);
        if (over) {
            return NULL;
        }
        choice.avoid = 0;
    }
}
