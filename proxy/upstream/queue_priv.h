/* Who waits for a slot of a backend: a queue of the whole process, first come first served within a
 * client address, in turn between addresses. */
#ifndef GYRE_UPSTREAM_QUEUE_PRIV_H
#define GYRE_UPSTREAM_QUEUE_PRIV_H

#include <pthread.h>

#include "base/addr.h"
#include "base/list.h"

/* Those of one client (a network of one) that wait. */
struct queue_line {
    struct network client;
    uint32_t count;
    uint32_t next;                   /* in its bucket, or of the free ones; index + 1 */
    struct list_node waiting;        /* queue_place, in order of arrival */
    struct list_node turn;           /* among the lines that have somebody */
    struct list_node rank;           /* among those of about its length */
};

/* One that waits: a member of whatever waits. */
struct queue_place {
    struct list_node link;
    struct queue_line *line;         /* NULL: it does not wait */
};

#define QUEUE_RANKS 64u
struct queue {
    pthread_mutex_t lock;            /* around every call below */
    _Atomic uint32_t waiting;        /* may be read without it */
    uint32_t max;
    uint64_t secrets[2];             /* of network_hash */
    struct queue_line *lines;        /* max of them */
    uint32_t *buckets, bucket_mask;  /* index + 1 of a line */
    uint32_t free_line, lines_used;  /* index + 1 of the first free one; those ever used */
    struct list_node turns;          /* lines; the first is next */
    struct list_node ranks[QUEUE_RANKS];   /* lines with as many waiting; the last: or more */
    uint64_t ranks_used;             /* a bit for each rank that has a line */
};

void queue_init(struct queue *, uint32_t max);
void queue_fini(struct queue *);     /* nobody may wait */
/* Appends. Where the queue is full: if somebody's line is longer than this client's would be, the
 * last of the longest yields (*yields, which has left), so that one client's flood keeps no other
 * out; else false. */
bool queue_join(struct queue *, struct queue_place *, const struct endpoint *client,
                struct queue_place **yields);
/* Puts one that was let go in vain before all others. The queue may pass its bound by it, but where
 * that is 0 nobody waits. */
bool queue_return(struct queue *, struct queue_place *, const struct endpoint *client);
/* Who is next; NULL: nobody. It stays until queue_serve, which also passes the turn on. */
struct queue_place *queue_next(const struct queue *);
void queue_serve(struct queue *, struct queue_place *);
/* Who comes behind that one, as things stand. */
struct queue_place *queue_after(const struct queue *, const struct queue_place *);
/* One goes without having been served; its line keeps its turn. */
void queue_leave(struct queue *, struct queue_place *);

#endif
