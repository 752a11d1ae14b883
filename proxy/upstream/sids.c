/* sticky = socketio: which server has opened a session, for all rings; in parts that are locked one
 * by one, as requests of one session seldom meet. */
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "upstream/upstream_priv.h"

#define SHARDS 64u
#define SHARD_SHIFT 58u              /* the highest bits choose it, the lowest its bucket */

struct sid {
    uint64_t hash;                   /* is all that is kept of the text */
    uint64_t due_ms;                 /* when it is forgotten */
    uint32_t idle_ms;
    uint32_t server;
    uint32_t next;                   /* in its bucket; index + 1 */
    struct list_node age;            /* in opened or in heard */
};

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct sid *sids;                /* max of them */
    uint32_t *buckets;               /* index + 1 */
    uint32_t bucket_mask, max, used;
    struct list_node opened;         /* those of which nothing came yet, the oldest first */
    struct list_node heard;          /* the others, by when they were last heard of */
};

struct sids {
    uint64_t secrets[2];
    struct shard shards[SHARDS];
};

static struct sid *sid_at(struct list_node *node) {
    return container_of(node, struct sid, age);
}

static uint32_t *bucket_of(struct shard *shard, uint64_t hash) {
    return &shard->buckets[(uint32_t)hash & shard->bucket_mask];
}

static struct sid *shard_find(struct shard *shard, uint64_t hash) {
    for (uint32_t at = *bucket_of(shard, hash); at != 0; at = shard->sids[at - 1].next) {
        if (shard->sids[at - 1].hash == hash) {
            return &shard->sids[at - 1];
        }
    }
    return NULL;
}

static void shard_unlink(struct shard *shard, struct sid *sid) {
    uint32_t at = (uint32_t)(sid - shard->sids) + 1;
    uint32_t *from = bucket_of(shard, sid->hash);
    while (*from != at) {
        from = &shard->sids[*from - 1].next;
    }
    *from = sid->next;
    list_remove(&sid->age);
}

/* One that may be overwritten: whoever opens sessions and never comes back pushes out none of those
 * that others use. */
static struct sid *shard_oldest(const struct shard *shard, uint64_t now_ms) {
    struct list_node *opened = list_first(&shard->opened), *heard = list_first(&shard->heard);
    bool is_over = heard != NULL && sid_at(heard)->due_ms <= now_ms;
    return sid_at(opened == NULL || is_over ? heard : opened);
}

static struct sid *shard_make(struct shard *shard, uint64_t now_ms, bool *evicted) {
    if (shard->used < shard->max) {
        return &shard->sids[shard->used++];   /* memory that was never touched costs nothing */
    }
    struct sid *sid = shard_oldest(shard, now_ms);
    *evicted = sid->due_ms > now_ms;
    shard_unlink(shard, sid);
    return sid;
}

bool sids_learn(struct sids *sids, struct str text, uint32_t server, uint32_t idle_ms,
                uint64_t now_ms) {
    uint64_t hash = str_hash_secret(text, sids->secrets);
    struct shard *shard = &sids->shards[hash >> SHARD_SHIFT];
    bool evicted = false;
    pthread_mutex_lock(&shard->lock);
    struct sid *sid = shard_find(shard, hash);
    if (sid != NULL) {
        shard_unlink(shard, sid);
    } else {
        sid = shard_make(shard, now_ms, &evicted);
    }
    uint32_t *bucket = bucket_of(shard, hash);
    *sid = (struct sid){.hash = hash, .due_ms = now_ms + idle_ms, .idle_ms = idle_ms,
                        .server = server, .next = *bucket};
    *bucket = (uint32_t)(sid - shard->sids) + 1;
    list_append(&shard->opened, &sid->age);
    pthread_mutex_unlock(&shard->lock);
    return evicted;
}

int64_t sids_find(struct sids *sids, struct str text, uint64_t now_ms) {
    uint64_t hash = str_hash_secret(text, sids->secrets);
    struct shard *shard = &sids->shards[hash >> SHARD_SHIFT];
    int64_t server = -1;
    pthread_mutex_lock(&shard->lock);
    struct sid *sid = shard_find(shard, hash);
    if (sid != NULL && sid->due_ms > now_ms) {
        server = sid->server;
        sid->due_ms = now_ms + sid->idle_ms;
        list_remove(&sid->age);
        list_append(&shard->heard, &sid->age);
    }
    pthread_mutex_unlock(&shard->lock);
    return server;
}

void sids_forget(struct sids *sids, uint32_t server) {
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &sids->shards[i];
        pthread_mutex_lock(&shard->lock);
        for (uint32_t k = 0; k < shard->used; k++) {
            shard->sids[k].due_ms = shard->sids[k].server == server ? 0 : shard->sids[k].due_ms;
        }
        pthread_mutex_unlock(&shard->lock);
    }
}

struct sids *sids_new(uint32_t max) {
    struct sids *sids = aligned_alloc(_Alignof(struct sids), sizeof *sids);
    ensure(sids != NULL);
    memset(sids, 0, sizeof *sids);
    sys_random(sids->secrets, sizeof sids->secrets);
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &sids->shards[i];
        uint32_t buckets = 1;
        shard->max = (max + SHARDS - 1) / SHARDS;
        while (buckets < shard->max) {
            buckets *= 2;
        }
        shard->bucket_mask = buckets - 1;
        shard->sids = mem_zero(shard->max * sizeof *shard->sids);
        shard->buckets = mem_zero(buckets * sizeof *shard->buckets);
        pthread_mutex_init(&shard->lock, NULL);
        list_init(&shard->opened);
        list_init(&shard->heard);
    }
    return sids;
}

void sids_free(struct sids *sids) {
    for (uint32_t i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&sids->shards[i].lock);
        mem_free(sids->shards[i].sids);
        mem_free(sids->shards[i].buckets);
    }
    free(sids);
}
