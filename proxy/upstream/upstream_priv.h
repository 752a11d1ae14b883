/* What one ring holds of a backend and its servers. */
#ifndef GYRE_UPSTREAM_PRIV_H
#define GYRE_UPSTREAM_PRIV_H

#include "upstream/upstream.h"

#define UPSTREAM_MAGIC 0x55505354u

/* Sessions of this ring to one server that no lease holds. */
struct local_server {
    struct upstream *room;
    struct backend *backend;
    struct server *server;
    struct list_node idle;       /* ready for a request; the one used last stands last */
    struct list_node others;     /* dialling without a lease, or finishing a message */
    uint32_t idle_count;
    uint32_t reserved;           /* of server->kept, ours */
    int64_t turn;                /* smooth round robin: what this server is owed */
    struct task task;            /* owner of these sessions */
    struct timer expire;         /* keepalive_timeout of the oldest */
};

struct local_backend {
    struct local_server *servers;   /* by server->index */
};

/* pool.c: kept connections. */
void local_server_init(struct local_server *, struct upstream *, struct backend *,
                       struct server *);
void local_server_drain(struct local_server *);
void local_server_fini(struct local_server *);
/* The connection used last, taken out of the pool; NULL when there is none alive. */
struct session *local_server_take(struct local_server *);
/* A session that its lease lets go of, in whatever state it is. */
void local_server_give(struct local_server *, struct session *);

/* Closes the connection of this ring that has been idle longest; false when none is. */
bool idle_evict(struct upstream *);

/* relief.c: what to do where descriptors, or a pool, run out. */
void relief_run(struct task *);
/* The lease waits, if any connection is closing or idle: relief_run tries again. */
bool relief_wait(struct lease *);
void relief_forget(struct lease *);

/* lease.c: one that has waited for a descriptor tries its server again; its owner is woken. */
void lease_again(struct lease *);

/* balance.c: picks a server that is not in `tried` (a set of indexes); NULL: none is left. */
struct server *balance_pick(struct upstream *, struct backend *, uint64_t tried,
                            const struct server *avoid);
uint32_t upstream_random(struct upstream *, uint32_t below);

static inline struct local_server *local_server_of(struct upstream *room,
                                                   const struct backend *backend,
                                                   const struct server *server) {
    return &room->backends[backend->index].servers[server->index];
}

#endif
