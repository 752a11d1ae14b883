/* Lines of waiting requests, one for each client, that are served in turn. */
#include "upstream/queue_priv.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "ring/ring.h"

#define BUCKETS_MAX 65536u
/* Those that return to a full queue: at most the requests of one turn that found a server away. */
#define LINES_SPARE 64u

/* --- Lines by client ---------------------------------------------------------------------- */

static uint32_t bucket_of(const struct queue *q, const struct network *client) {
    return (uint32_t)network_hash(client, q->secrets) & q->bucket_mask;
}

static struct queue_line *line_find(const struct queue *q, const struct network *client) {
    for (uint32_t at = q->buckets[bucket_of(q, client)]; at != 0; at = q->lines[at - 1].next) {
        if (network_eq(&q->lines[at - 1].client, client)) {
            return &q->lines[at - 1];
        }
    }
    return NULL;
}

/* There are as many lines as may wait, and one for who returns to a full queue. */
static struct queue_line *line_new(struct queue *q, const struct network *client) {
    uint32_t at = q->free_line;
    if (at != 0) {
        q->free_line = q->lines[at - 1].next;
    } else if (q->lines_used < q->max + LINES_SPARE) {
        at = ++q->lines_used;   /* memory that was never touched costs nothing */
    } else {
        return NULL;
    }
    struct queue_line *line = &q->lines[at - 1];
    uint32_t *bucket = &q->buckets[bucket_of(q, client)];
    *line = (struct queue_line){.client = *client, .next = *bucket};
    *bucket = at;
    list_init(&line->waiting);
    list_append(&q->turns, &line->turn);
    return line;
}

static void line_free(struct queue *q, struct queue_line *line) {
    uint32_t at = (uint32_t)(line - q->lines) + 1;
    uint32_t *from = &q->buckets[bucket_of(q, &line->client)];
    while (*from != at) {
        from = &q->lines[*from - 1].next;
    }
    *from = line->next;
    list_remove(&line->turn);
    line->next = q->free_line;
    q->free_line = at;
}

/* --- Lines by length ---------------------------------------------------------------------- */

static uint32_t rank_of(uint32_t count) {
    return count < QUEUE_RANKS ? count : QUEUE_RANKS - 1;
}

static void line_count(struct queue *q, struct queue_line *line, int change) {
    uint32_t before = rank_of(line->count);
    line->count += (uint32_t)change;
    atomic_fetch_add(&q->waiting, (uint32_t)change);
    list_remove(&line->rank);
    if (list_empty(&q->ranks[before])) {
        q->ranks_used &= ~((uint64_t)1 << before);
    }
    if (line->count == 0) {
        line_free(q, line);
        return;
    }
    list_append(&q->ranks[rank_of(line->count)], &line->rank);
    q->ranks_used |= (uint64_t)1 << rank_of(line->count);
}

/* A line of the highest rank: the longest, or one that is very long. */
static struct queue_line *line_longest(const struct queue *q) {
    uint32_t rank = 63u - (uint32_t)__builtin_clzll(q->ranks_used);
    return container_of(list_first(&q->ranks[rank]), struct queue_line, rank);
}

/* --- Waiting ------------------------------------------------------------------------------ */

static void place_out(struct queue *q, struct queue_place *place) {
    struct queue_line *line = place->line;
    list_remove(&place->link);
    place->line = NULL;
    line_count(q, line, -1);
}

bool queue_join(struct queue *q, struct queue_place *place, const struct endpoint *from,
                struct queue_place **yields) {
    ensure(place->line == NULL);
    struct network client = endpoint_network(from);
    struct queue_line *line = line_find(q, &client);
    *yields = NULL;
    if (atomic_load(&q->waiting) >= q->max) {
        struct queue_line *longest = q->ranks_used != 0 ? line_longest(q) : NULL;
        if (longest == NULL || longest->count <= (line != NULL ? line->count : 0) + 1) {
            return false;
        }
        *yields = container_of(longest->waiting.prev, struct queue_place, link);
        place_out(q, *yields);
    }
    line = line != NULL ? line : line_new(q, &client);
    if (line == NULL) {
        return false;
    }
    list_append(&line->waiting, &place->link);
    place->line = line;
    line_count(q, line, 1);
    return true;
}

bool queue_return(struct queue *q, struct queue_place *place, const struct endpoint *from) {
    ensure(place->line == NULL);
    struct network client = endpoint_network(from);
    struct queue_line *line = line_find(q, &client);
    line = line != NULL ? line : q->max > 0 ? line_new(q, &client) : NULL;
    if (line == NULL) {
        return false;
    }
    list_prepend(&line->waiting, &place->link);
    list_remove(&line->turn);
    list_prepend(&q->turns, &line->turn);
    place->line = line;
    line_count(q, line, 1);
    return true;
}

struct queue_place *queue_next(const struct queue *q) {
    struct list_node *first = list_first(&q->turns);
    if (first == NULL) {
        return NULL;
    }
    struct queue_line *line = container_of(first, struct queue_line, turn);
    return container_of(list_first(&line->waiting), struct queue_place, link);
}

struct queue_place *queue_after(const struct queue *q, const struct queue_place *place) {
    const struct queue_line *line = place->line;
    if (place->link.next != &line->waiting) {
        return container_of(place->link.next, struct queue_place, link);
    }
    if (line->turn.next == &q->turns) {
        return NULL;
    }
    line = container_of(line->turn.next, struct queue_line, turn);
    return container_of(list_first(&line->waiting), struct queue_place, link);
}

void queue_serve(struct queue *q, struct queue_place *place) {
    struct queue_line *line = place->line;
    list_remove(&line->turn);
    list_append(&q->turns, &line->turn);
    place_out(q, place);
}

void queue_leave(struct queue *q, struct queue_place *place) {
    ensure(place->line != NULL);
    place_out(q, place);
}

/* --- The queue ---------------------------------------------------------------------------- */

void queue_init(struct queue *q, uint32_t max) {
    *q = (struct queue){.max = max};
    pthread_mutex_init(&q->lock, NULL);
    sys_random(q->secrets, sizeof q->secrets);
    q->secrets[1] |= 1;
    uint32_t buckets = 16;
    while (buckets < max && buckets < BUCKETS_MAX) {
        buckets *= 2;
    }
    q->bucket_mask = buckets - 1;
    q->buckets = mem_zero(buckets * sizeof *q->buckets);
    q->lines = mem_zero((max + LINES_SPARE) * sizeof *q->lines);
    list_init(&q->turns);
    for (uint32_t i = 0; i < QUEUE_RANKS; i++) {
        list_init(&q->ranks[i]);
    }
}

void queue_fini(struct queue *q) {
    ensure(atomic_load(&q->waiting) == 0);
    pthread_mutex_destroy(&q->lock);
    mem_free(q->lines);
    mem_free(q->buckets);
}
