/* Connections by client address: one table for all rings, so that a limit is exact. */
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/net_priv.h"

/* A shard is locked for a few instructions, when a connection comes and when it is gone. */
#define SHARDS 64u
#define SLOTS_FIRST 16u

/* Linear probing; count 0: free. */
struct client_slot {
    struct network network;
    uint32_t count;
};

struct client_shard {
    pthread_mutex_t lock;
    struct client_slot *slots;
    uint32_t used, cap;       /* cap: a power of two, or 0 */
};

struct client_counts {
    struct client_shard shards[SHARDS];
    uint32_t max;
    const char *listener;
    const struct cidr *exempt;
    uint32_t exempt_count;
    uint64_t secrets[2];      /* of network_hash */
    pthread_mutex_t said_lock;
    struct log_limit said;
};

/* --- Addresses ---------------------------------------------------------------------------- */

static struct client_slot slot_of(const struct endpoint *client) {
    return (struct client_slot){.network = endpoint_network(client), .count = 1};
}

static uint64_t slot_hash(const struct client_counts *c, const struct client_slot *slot) {
    return network_hash(&slot->network, c->secrets);
}

static bool client_counted(const struct client_counts *c, const struct endpoint *client) {
    if (client->family != AF_INET && client->family != AF_INET6) {
        return false;
    }
    for (uint32_t i = 0; i < c->exempt_count; i++) {
        if (cidr_has(&c->exempt[i], client)) {
            return false;
        }
    }
    return true;
}

/* --- A shard ------------------------------------------------------------------------------ */

static struct client_shard *shard_of(struct client_counts *c, uint64_t hash) {
    return &c->shards[hash >> 32 & (SHARDS - 1)];
}

/* Where it is, or where it would stand. */
static uint32_t shard_find(const struct client_counts *c, const struct client_shard *shard,
                           const struct client_slot *slot) {
    uint32_t at = (uint32_t)slot_hash(c, slot) & (shard->cap - 1);
    while (shard->slots[at].count > 0 && !network_eq(&shard->slots[at].network, &slot->network)) {
        at = (at + 1) & (shard->cap - 1);
    }
    return at;
}

static void shard_resize(const struct client_counts *c, struct client_shard *shard, uint32_t cap) {
    struct client_shard old = *shard;
    shard->slots = mem_zero(cap * sizeof *shard->slots);
    shard->cap = cap;
    for (uint32_t i = 0; i < old.cap; i++) {
        if (old.slots[i].count > 0) {
            shard->slots[shard_find(c, shard, &old.slots[i])] = old.slots[i];
        }
    }
    mem_free(old.slots);
}

/* Those behind it that would have stood here move up, so that a search may end at a free slot. */
static void shard_remove(const struct client_counts *c, struct client_shard *shard, uint32_t at) {
    uint32_t mask = shard->cap - 1;
    for (uint32_t i = (at + 1) & mask; shard->slots[i].count > 0; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)slot_hash(c, &shard->slots[i]) & mask;
        if (((i - home) & mask) >= ((i - at) & mask)) {
            shard->slots[at] = shard->slots[i];
            at = i;
        }
    }
    shard->slots[at].count = 0;
    shard->used--;
    if (shard->cap > SLOTS_FIRST && shard->used < shard->cap / 8) {
        shard_resize(c, shard, shard->cap / 2);
    }
}

static bool shard_take(const struct client_counts *c, struct client_shard *shard,
                       const struct client_slot *client) {
    if (shard->used + 1 > shard->cap / 4 * 3) {
        shard_resize(c, shard, shard->cap == 0 ? SLOTS_FIRST : shard->cap * 2);
    }
    struct client_slot *slot = &shard->slots[shard_find(c, shard, client)];
    if (slot->count >= c->max) {
        return false;
    }
    if (slot->count == 0) {
        *slot = *client;
        shard->used++;
    } else {
        slot->count++;
    }
    return true;
}

/* --- The door ----------------------------------------------------------------------------- */

struct client_counts *client_counts_new(uint32_t max, const char *listener,
                                        const struct cidr *exempt, uint32_t exempt_count) {
    ensure(max > 0);
    struct client_counts *c = mem_alloc(sizeof *c);
    *c = (struct client_counts){.max = max, .listener = listener, .exempt = exempt,
                                .exempt_count = exempt_count};
    sys_random(c->secrets, sizeof c->secrets);
    c->secrets[1] |= 1;
    ensure(pthread_mutex_init(&c->said_lock, NULL) == 0);
    for (uint32_t i = 0; i < SHARDS; i++) {
        ensure(pthread_mutex_init(&c->shards[i].lock, NULL) == 0);
    }
    return c;
}

void client_counts_free(struct client_counts *c) {
    for (uint32_t i = 0; i < SHARDS; i++) {
        ensure(c->shards[i].used == 0);
        mem_free(c->shards[i].slots);
        pthread_mutex_destroy(&c->shards[i].lock);
    }
    pthread_mutex_destroy(&c->said_lock);
    mem_free(c);
}

static void client_warn(struct client_counts *c, const struct endpoint *client, uint64_t now_ms) {
    uint32_t held;
    pthread_mutex_lock(&c->said_lock);
    bool say = log_limit_pass(&c->said, now_ms, &held);
    pthread_mutex_unlock(&c->said_lock);
    if (say) {
        char text[ADDR_TEXT_MAX];
        log_warn("[listener %s] refused a connection of %s, which has %u already "
                 "(max_connections_per_client); refused since this was said last: %u",
                 c->listener, endpoint_print(client, text), c->max, held);
    }
}

bool client_take(struct client_counts *c, const struct endpoint *client, uint64_t now_ms) {
    if (!client_counted(c, client)) {
        return true;
    }
    struct client_slot slot = slot_of(client);
    struct client_shard *shard = shard_of(c, slot_hash(c, &slot));
    pthread_mutex_lock(&shard->lock);
    bool taken = shard_take(c, shard, &slot);
    pthread_mutex_unlock(&shard->lock);
    if (!taken) {
        client_warn(c, client, now_ms);
    }
    return taken;
}

void client_give(struct client_counts *c, const struct endpoint *client) {
    if (!client_counted(c, client)) {
        return;
    }
    struct client_slot slot = slot_of(client);
    struct client_shard *shard = shard_of(c, slot_hash(c, &slot));
    pthread_mutex_lock(&shard->lock);
    ensure(shard->used > 0);
    uint32_t at = shard_find(c, shard, &slot);
    ensure(shard->slots[at].count > 0);
    if (--shard->slots[at].count == 0) {
        shard_remove(c, shard, at);
    }
    pthread_mutex_unlock(&shard->lock);
}

uint32_t client_held(struct client_counts *c, const struct endpoint *client) {
    struct client_slot slot = slot_of(client);
    struct client_shard *shard = shard_of(c, slot_hash(c, &slot));
    pthread_mutex_lock(&shard->lock);
    uint32_t count = shard->cap > 0 ? shard->slots[shard_find(c, shard, &slot)].count : 0;
    pthread_mutex_unlock(&shard->lock);
    return count;
}
