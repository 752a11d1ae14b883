/* What one ring holds of a backend and its servers. */
#ifndef GYRE_UPSTREAM_PRIV_H
#define GYRE_UPSTREAM_PRIV_H

#include "upstream/queue_priv.h"
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
    bool brief;                  /* it closes connections unannounced, just after an answer */
    uint32_t reserved;           /* of server->kept, ours */
    int64_t turn;                /* smooth round robin: what this server is owed */
    /* Owners: of the idle ones, which are many and change when they die; and of those in use and
     * the others, which are few: each answer wakes it. */
    struct task died, settled;
    struct timer expire;         /* keepalive_timeout of the oldest */
};

struct local_backend {
    struct local_server *servers;   /* by server->index */
    struct timer retry;             /* servers are away, and somebody waits: look again */
    struct upstream *room;
    struct backend *backend;
};

/* One who waits in a backend's queue, apart from its lease, as it may outlive it: it belongs to
 * whoever holds the queue's lock while QUEUED, and to its own ring once it is GRANTED (it has left
 * the queue, and a post, or its ring's list, carries it home). */
enum waiter_state { WAITER_QUEUED, WAITER_GRANTED };
/* Who may be picked, and by what. */
struct choice {
    uint64_t tried;                 /* not these: see server_bit */
    uint64_t avoid;                 /* nor these, if there is another */
    uint64_t key;                   /* balance = hash */
    const struct server *stuck;     /* NULL, or this one alone as long as it is there */
    uint64_t now_ms;                /* set by slot_take */
    bool backups;                   /* set by balance_pick: all others are away, or were tried */
    bool all_ill;                   /* set by balance_pick: then it makes no difference */
    bool rises;                     /* set by balance_pick: one has a slow start */
};

struct waiter {
    struct queue_place place;
    struct post post;
    struct list_node granted;
    struct upstream *room;
    struct backend *backend;
    struct lease *lease;            /* its ring's; NULL: given up */
    struct queue *queue;            /* the backend's, or that of the server it is stuck to */
    struct server *server;          /* GRANTED: where it has a slot; NULL: it had to yield */
    uint64_t key, avoid;            /* of its lease */
    bool moved;                     /* GRANTED, no slot: the server that it was stuck to is not
                                       there any more */
    uint8_t state;                  /* enum waiter_state */
    bool trial;                     /* GRANTED: of a server that was away */
};

/* eject.c: what requests say of the servers that had them. */
/* Its dial has failed, not for want of anything of ours. True: its server is ejected for it. */
bool eject_missed(struct lease *, enum close_reason);
/* A lease that is READY ends, and has no answer. */
void eject_ended(struct lease *, enum close_reason);
/* It refuses connections: that is known sooner than by waiting. With the lock. */
void eject_refused(struct server *, uint64_t now_ms);
/* The servers of a backend that are ejected are asked again, if no other is left; false: one is, or
 * none is ejected. */
bool eject_lift(struct backend *, uint64_t now_ms);
/* Its checks have found it well: a request may try it now. */
void eject_hint(struct server *, uint64_t now_ms);

/* slow_start.c */
#define SLOW_START_WHOLE 256u       /* weights are in parts of so many */
/* The server is back. now_ms 0: whoever looks first knows the time. */
void slow_start_begin(struct server *, uint64_t now_ms);
/* True while one of its servers has a slow start. */
bool slow_start_runs(struct backend *, uint64_t now_ms);
uint32_t slow_start_weight(const struct server *, uint64_t now_ms);

/* server_admin.c */
/* Asked, as far as it is for us to say: READY, not ill, not away. */
bool server_is_fit(const struct server *);
/* Whether it is shut is known now on every ring, and who waits may go there, soon. */
void server_tell(struct server *);
/* The ring that checks it has a slot for that, soon. */
void server_tell_checker(struct server *);
/* With the lock. */
void server_shut_set(struct server *);

/* server_say.c: it is away, and is there again. With the lock. */
void server_say_away(struct server *, uint64_t for_ms);
void server_say_there(struct server *, uint64_t for_ms);

/* sticky.c: what cookies say of it. */
void server_sign(struct server *, struct str secret);

/* registry.c: of its address. */
void server_call(struct server *);

/* name.c */
void names_init(struct registry *, const struct conf *);
void names_fini(struct registry *);
/* How many servers a line of the configuration is. */
static inline uint32_t conf_server_places(const struct conf_server *server) {
    return server->name[0] != '\0' ? 2 * server->addresses : 1;
}
/* How long it is worth while to wait for the first answers. */
uint64_t names_left_ms(const struct upstream *, struct backend *);

/* pool.c: kept connections. */
/* On its own ring: a server is shut, or wanted. */
void yield_run(struct post *);
void local_server_init(struct local_server *, struct upstream *, struct backend *,
                       struct server *);
void local_server_drain(struct local_server *);
void local_server_fini(struct local_server *);
/* The connection used last, taken out of the pool; NULL when there is none alive. proven: of those
 * that the server is known to keep. */
struct session *local_server_take(struct local_server *, bool proven);
/* A session that its lease lets go of, in whatever state it is. True: it is idle, and the slot
 * of its lease is its own now (idle_holds_slot). */
bool local_server_give(struct local_server *, struct session *);
/* idle_holds_slot: takes the slot of the connection that local_server_take would give. */
bool local_server_rob(struct local_server *);
/* The rings' idle connections that hold slots of the backend: each lets go of as many as are waited
 * for. */
void local_backend_ask(struct upstream *, struct backend *);

/* --- slot.c: who may go to a server now --------------------------------------------------- */

/* True when a request may be given to it: it has a slot, and is not away. */
bool server_is_open(const struct server *, uint64_t now_ms);
/* It takes connections, as far as is known: where it is not open its slots are taken. */
bool server_is_there(const struct server *);
/* Somebody waits for a slot that may be this server's. */
static inline bool server_is_awaited(const struct backend *backend, const struct server *server) {
    return atomic_load(&backend->queue->waiting) > 0 ||
           (server->queue != NULL && atomic_load(&server->queue->waiting) > 0);
}
/* Takes a slot of the server that the balancer picks among those that are open; NULL: none is.
 * *trial: the server was away, and this request tries whether it is back. */
struct server *slot_take(struct upstream *, struct backend *, struct choice, bool *trial);
/* A slot of that very server, if one is free. */
bool slot_take_of(struct server *);
/* For its check; false: the next one is, and health_serve is called for it. */
bool slot_take_check(struct server *);
/* No check waits for one any more. */
void slot_leave_check(struct upstream *, struct server *);
/* Gives it back; who is next in the queue has it then. */
void slot_give(struct upstream *, struct backend *, struct server *);
/* Gives slots that are free to those that are next. */
void slot_serve(struct upstream *, struct backend *);
/* What a dial of the lease showed: its server is there, or it is away. */
void slot_found(struct lease *);
void slot_missed(struct lease *);
/* Of a server that was away nothing was shown: the next one may try. */
void slot_untried(struct lease *);
/* Where the lease is to stand in line. */
struct queue *slot_stuck_queue(const struct lease *);
static inline struct queue *slot_queue(const struct lease *lease) {
    return lease->stuck == NULL ? lease->backend->queue : slot_stuck_queue(lease);
}
/* The lease stands in line, until lease_granted or lease_expired; NONE, or why it can not. */
enum close_reason slot_wait(struct lease *);
/* It waits no longer; false: it has a slot already, which is on its way. */
bool slot_leave(struct lease *);
/* It waits no longer, and does not want what may be on its way. */
void slot_abandon(struct lease *);
/* True when every server has been away for so long that nobody waits for it any more. */
bool slot_hopeless(const struct upstream *, struct backend *);
bool slot_all_away(const struct backend *);
/* True when none is READY. */
bool slot_none_ready(const struct backend *);
/* True when no server that one request may try (READY, not ejected) is left but these. */
bool slot_tried_all(const struct backend *, uint64_t tried);
/* A server is away: when it may be tried, somebody who waits does. */
void slot_retry_arm(struct upstream *, struct backend *);
/* True when they are away, and nobody has ever seen one: the configuration is wrong, more likely
 * than that they are being restarted. */
bool slot_never_there(const struct backend *);
void slot_init(struct upstream *);
void slot_fini(struct upstream *);

/* lease.c: a lease that waited has a slot of that server; NULL: it had to yield its place. */
void lease_granted(struct lease *, struct server *);
/* The server that it is stuck to is not there any more. */
void lease_moved(struct lease *);
/* It has waited as long as anybody may. */
void lease_expired(struct lease *);

/* Its stream is released, its connection and its slot go back. */
void lease_put_back(struct lease *, enum close_reason why);

/* The PROXY header that a server is to get; empty: none. told NULL: the connection is our own. */
struct str server_preface(const struct server *, const struct client_told *told,
                          uint8_t to[PROXYPROTO_WRITE_MAX]);

/* budget.c: requests that may go again, of the whole process; each ring that runs has joined. */
struct budget *budget_new(uint32_t percent, uint32_t ring_count);
void budget_free(struct budget *);
void budget_join(struct upstream *);
void budget_leave(struct upstream *);

/* health.c: the checks of this ring's servers. */
void health_init(struct upstream *);
/* A server has a slot for the check that waits for it. */
void health_serve(struct upstream *, const struct server *);
void health_stop(struct upstream *);
void health_fini(struct upstream *);

/* orphan.c: a stream whose lease gives it up is read to its end. */
/* False: it is not one that occupies a worker, or there is no memory for it. */
bool orphan_new(struct lease *);
void orphans_init(struct upstream *);
void orphans_kill(struct upstream *);

/* Closes the connection of this ring that has been idle longest; false when none is. */
bool idle_evict(struct upstream *);

/* relief.c: what to do where descriptors, or a pool, run out. */
void relief_run(struct task *);
/* The lease waits, if any connection is closing or idle: relief_run tries again. */
bool relief_wait(struct lease *);
void relief_forget(struct lease *);

/* lease.c: one that has waited for a descriptor tries its server again; its owner is woken. */
void lease_again(struct lease *);

/* balance.c: picks a server that is open; NULL: none is. */
struct server *balance_pick(struct upstream *, struct backend *, const struct choice *);
bool balance_may(const struct server *, const struct choice *);
static inline uint32_t balance_weight(const struct server *server, const struct choice *choice) {
    return choice->rises ? slow_start_weight(server, choice->now_ms)
                         : server->weight * SLOW_START_WHOLE;
}
/* Requests that run at it, in the whole process. */
uint64_t balance_load(const struct upstream *, const struct server *);
/* True when who is stuck to a server is to wait for it where it has no slot free. */
bool balance_sticks(const struct backend *, const struct choice *);
/* balance_hash.c */
struct server *balance_hash(struct upstream *, struct backend *, const struct choice *);
uint32_t upstream_random(struct upstream *, uint32_t below);

static inline struct local_server *local_server_of(struct upstream *room,
                                                   const struct backend *backend,
                                                   const struct server *server) {
    return &room->backends[backend->index].servers[server->index];
}

#endif
