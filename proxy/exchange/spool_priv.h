/* Bodies that wait: in memory first, then in a file without a name. */
#ifndef GYRE_EXCHANGE_SPOOL_PRIV_H
#define GYRE_EXCHANGE_SPOOL_PRIV_H

#include "exchange/exchange.h"

#define SPOOL_WRITE_IOV 16
/* One body, first in, first out. In order: head, what is in the file, tail. It belongs to one
 * ring, and outlives its owner until its ops are idle. */
struct spool {
    unsigned magic;
    struct ring *ring;
    struct pool *pool;             /* home */
    struct spool_store *store;
    struct task *owner;            /* woken when there is more to pull, or room again */
    uint64_t memory_max, max;      /* bytes that wait in memory; in all */
    bool keep;                     /* what was pulled stays, for spool_rewind */
    bool no_file;                  /* none could be had, or it takes no more */
    uint8_t why;                   /* enum close_reason: bytes of it are lost; NONE: none is */
    bool stale;                    /* the read in flight is of before a rewind */
    bool full;                     /* a push found no room: its owner waits for some */
    int fd;
    struct bufq head, tail;        /* memory */
    struct bufq window;            /* keep: read from the file, to be pulled */
    uint64_t head_at, tail_at;     /* keep: of these, so much was pulled */
    uint64_t read_at, write_at;    /* the file's bytes wait between these two */
    uint64_t charged;              /* of store->held */
    struct seg *reading;           /* while a read is in flight */
    struct iovec writing[SPOOL_WRITE_IOV];
    struct op op_read, op_write;
};

/* pool's objects are struct spool. NULL: the pool is at its bound. keep: it can be read again. */
struct spool *spool_new(struct pool *, struct ring *, struct spool_store *, struct segpool *copies,
                        struct task *owner, bool keep);
/* memory_max and max are soft: by up to a write in flight more. */
void spool_limit(struct spool *, uint64_t memory_max, uint64_t max);
/* Owner forgotten at once. */
void spool_free(struct spool *);
/* Bytes that spool_push would take now; after 0 the owner is woken when there is room again. */
uint32_t spool_room(struct spool *);
/* Takes up to spool_room bytes off `from`; how many. Where some are left the owner is woken when
 * there is room again. */
uint32_t spool_push(struct spool *, struct bufq *from);
/* Moves up to max bytes that are at hand; 0: wait to be woken, or there are none. */
uint32_t spool_pull(struct spool *, struct bufq *to, uint32_t max);
/* keep: the next pull begins anew. */
void spool_rewind(struct spool *);
/* All that waits to be pulled. */
uint64_t spool_bytes(const struct spool *);

#endif
