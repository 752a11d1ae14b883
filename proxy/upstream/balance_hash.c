/* balance = hash: requests with the same key go to the same server. */
#include <math.h>

#include "upstream/upstream_priv.h"

/* No server is given more than this share of what it would have by its weight, of the requests that
 * run: what is too much goes on to the server that is next for its key, and comes back when there
 * is room ("Consistent Hashing with Bounded Loads", Mirrokni, Thorup, Zadimoghaddam, 2016). */
#define SHARE_NUMERATOR 5u
#define SHARE_DENOMINATOR 4u

static uint64_t mix(uint64_t x) {   /* the finalizer of splitmix64 */
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* How much a server wants a key: the highest has it (rendezvous hashing, Thaler and Ravishankar,
 * 1998). Nobody else's score changes when a server comes or goes, so that only its own keys move;
 * weight / -ln(u) makes its share of keys as large as its weight. */
static double score(const struct server *server, const struct choice *choice) {
    uint64_t bits = mix(server->hash ^ mix(choice->key)) >> 12;
    double u = ((double)bits + 0.5) / (double)(UINT64_C(1) << 52);   /* exact: never 0, nor 1 */
    return balance_weight(server, choice) / -log(u);
}

/* What all that may be picked have together. */
struct sums {
    uint64_t load, weight;
};

static struct sums sums_of(const struct upstream *room, const struct backend *backend,
                           const struct choice *choice) {
    struct sums sums = {0};
    for (uint32_t i = 0; i < backend->server_count; i++) {
        if (balance_may(&backend->servers[i], choice)) {
            sums.load += balance_load(room, &backend->servers[i]);
            sums.weight += balance_weight(&backend->servers[i], choice);
        }
    }
    return sums;
}

/* One more would be within its bound, which is rounded up: where little runs nobody has to move.
 * Where nobody was open when the sums were made it is the first, and alone. */
static bool has_room(const struct upstream *room, const struct server *server,
                     const struct choice *choice, struct sums sums) {
    if (sums.weight == 0) {
        return true;
    }
    uint64_t share = SHARE_NUMERATOR * (sums.load + 1) * balance_weight(server, choice);
    uint64_t whole = SHARE_DENOMINATOR * sums.weight;
    return balance_load(room, server) < (share + whole - 1) / whole;
}

struct server *balance_hash(struct upstream *room, struct backend *backend,
                            const struct choice *choice) {
    struct sums sums = sums_of(room, backend, choice);
    struct server *best = NULL, *best_of_all = NULL;
    double most = -1, most_of_all = -1;
    for (uint32_t i = 0; i < backend->server_count; i++) {
        struct server *server = &backend->servers[i];
        if (!balance_may(server, choice)) {
            continue;
        }
        double wants = score(server, choice);
        if (wants > most_of_all) {
            most_of_all = wants;
            best_of_all = server;
        }
        if (wants > most && has_room(room, server, choice, sums)) {
            most = wants;
            best = server;
        }
    }
    /* The counts move while they are looked at: then nobody may seem to have room. */
    return best != NULL ? best : best_of_all;
}
