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

/* Servers that may be picked. */
struct choice {
    uint64_t tried;                  /* not these, by index */
    const struct server *avoid;      /* nor this one */
    uint64_t now_ms;
};

static bool is_usable(const struct server *server, const struct choice *choice) {
    bool was_tried = server->index < LEASE_TRIES_MAX &&
                     (choice->tried >> server->index & 1) != 0;
    return !was_tried && server != choice->avoid && server_is_open(server, choice->now_ms);
}

/* Smooth weighted round robin, as nginx made it known: every server earns its weight, the richest
 * is picked and pays the sum. */
static struct server *pick_round_robin(struct upstream *room, struct backend *backend,
                                       const struct choice *choice) {
    struct local_server *best = NULL;
    int64_t sum = 0;
    for (uint32_t i = 0; i < backend->server_count; i++) {
        struct local_server *local = &room->backends[backend->index].servers[i];
        if (!is_usable(local->server, choice)) {
            continue;
        }
        local->turn += local->server->weight;
        sum += local->server->weight;
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

static uint64_t server_load(const struct upstream *room, const struct server *server) {
    uint64_t requests = 0;
    for (uint32_t i = 0; i < room->registry->ring_count; i++) {
        requests += atomic_load_explicit(&server->counts[i].requests, memory_order_relaxed);
    }
    return requests;
}

/* True when a is less loaded for its weight than b; equals are decided by luck. */
static bool is_lighter(struct upstream *room, const struct server *a, const struct server *b) {
    uint64_t load_a = (server_load(room, a) + 1) * b->weight;
    uint64_t load_b = (server_load(room, b) + 1) * a->weight;
    return load_a != load_b ? load_a < load_b : upstream_random(room, 2) == 0;
}

/* One usable server, each as likely as its weight says. */
static struct server *draw(struct upstream *room, struct backend *backend,
                           const struct choice *choice) {
    struct server *drawn = NULL;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < backend->server_count; i++) {
        struct server *server = &backend->servers[i];
        if (is_usable(server, choice)) {
            sum += server->weight;
            if (upstream_random(room, sum) < server->weight) {
                drawn = server;
            }
        }
    }
    return drawn;
}

static struct server *pick_least_requests(struct upstream *room, struct backend *backend,
                                          const struct choice *choice) {
    if (backend->server_count > COMPARE_ALL_MAX) {
        struct server *one = draw(room, backend, choice);
        struct server *two = draw(room, backend, choice);
        return one != NULL && one != two && is_lighter(room, two, one) ? two : one;
    }
    struct server *best = NULL;
    for (uint32_t i = 0; i < backend->server_count; i++) {
        struct server *server = &backend->servers[i];
        if (is_usable(server, choice) &&
            (best == NULL || is_lighter(room, server, best))) {
            best = server;
        }
    }
    return best;
}

struct server *balance_pick(struct upstream *room, struct backend *backend, uint64_t tried,
                            const struct server *avoid) {
    struct choice choice = {tried, avoid, ring_now_ms(room->ring)};
    struct server *server = backend->balance == CONF_BALANCE_LEAST_REQUESTS
                                ? pick_least_requests(room, backend, &choice)
                                : pick_round_robin(room, backend, &choice);
    if (server == NULL && avoid != NULL) {
        server = balance_pick(room, backend, tried, NULL);
    }
    return server;
}
