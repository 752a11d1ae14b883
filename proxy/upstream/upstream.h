/* The upstream door: where a request may go. */
#ifndef GYRE_UPSTREAM_UPSTREAM_H
#define GYRE_UPSTREAM_UPSTREAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "http/http.h"

/* --- Runtime objects: shared by all rings, keyed by name, outliving a configuration ------- */

/* What one ring counts of one server, on a cache line of its own; written by its ring alone. */
struct server_count {
    _Alignas(64) _Atomic uint32_t requests;   /* running now: this only steers */
    _Atomic uint32_t idle;                    /* kept connections that hold a slot each */
    struct post yield;                        /* asks that ring to close some of them */
    _Atomic bool yielding;                    /* the post is on its way */
    struct local_server *_Atomic local;       /* whom it is for; NULL until its room is made */
};

/* What a cookie says of a server: 144 bits that nobody without the secret can make, or tell from
 * those of another one; as base64url. */
#define STICKY_LEN 24u

/* READY; DRAIN: it gets no new requests, but those of clients that stick to it, and those that run
 * end; DISABLED: none at all, and idle connections to it are closed; ABSENT: it has no address now,
 * which nobody orders. */
enum server_admin { SERVER_READY, SERVER_DRAIN, SERVER_DISABLED, SERVER_ABSENT };

struct server {
    struct addr addr;                        /* this, name, hash and sticky: see struct name */
    struct backend *backend;
    char name[ADDR_TEXT_MAX];                /* as the log prints it */
    bool named;                              /* it is one of a name's addresses */
    bool counted;                            /* used counts its requests: named, or with slots */
    struct connection_limit wires;           /* named: connections to it, for as long as they are */
    _Atomic uint32_t moves;                  /* named: addresses that it has had */
    uint32_t weight;
    enum conf_proxy send_proxy;              /* its connections are never shared by clients */
    uint32_t index;                          /* in its backend */
    uint32_t slots;                          /* requests at once; 0: any number */
    bool idle_holds_slot;                    /* an idle connection occupies a worker too */
    bool uwsgi;                              /* it speaks that: one request a connection */
    bool backup;                             /* asked only while all others are away */
    uint64_t hash;                           /* of its name, for balance = hash */
    char sticky[STICKY_LEN];                 /* sticky = cookie: see registry_sign */
    struct queue *queue;                     /* those that are stuck to it, and wait; NULL: they
                                                never do, or the backend is not sticky */
    _Alignas(64) _Atomic uint32_t kept;      /* idle connections, promised to the rings */
    _Atomic uint32_t used;                   /* of slots, by requests (and idle connections) */
    _Atomic bool check_waits;                /* one of slots is kept free for its check */
    uint32_t checker;                        /* index of the ring that checks it */
    _Atomic uint64_t away_ms;                /* since when it refuses connections, or is ejected;
                                              * 0: it does not, and is not */
    _Atomic uint64_t retry_ms;               /* away: when one request may try again */
    _Atomic bool trying;                     /* away: one does */
    _Atomic bool seen;                       /* it was there once */
    _Atomic bool ill;                        /* say its checks; set by the ring that makes them */
    _Atomic uint8_t admin;                   /* enum server_admin; server_set_admin sets it, and
                                              * name.c */
    _Atomic bool ejected;                    /* away: say its requests; retry_ms ends it */
    _Atomic bool shut;                       /* ejected or disabled: no connection is kept */
    _Atomic uint32_t failed;                 /* requests in a row that speak against it; not 0 while
                                              * it is ejected */
    _Atomic bool refused;                    /* ejected: as it refused connections */
    _Atomic uint64_t rises_ms;               /* slow start: since when; 0: not */
    bool away_told;                          /* by the log; with the lock */
    uint32_t ejections;                      /* in a row; this and the next two: with the lock */
    uint64_t back_ms;                        /* when it was asked again after the last one */
    uint64_t reset_us;                       /* when connections were last cut: once for all */
    struct server_count *counts;             /* one per ring */
    _Atomic bool owes;                       /* the next slot is theirs, whoever else waits */
};

/* How its servers are asked whether they are well. */
struct checking {
    char *what;                              /* NULL: not at all; "tcp", or a path */
    char *host;
    uint32_t interval_ms, timeout_ms;
    struct conf_statuses expect;
    uint32_t fall, rise;                     /* checks in a row that change the verdict */
};

/* What ejects a server, when, and for how long. */
struct ejecting {
    struct conf_faults faults;
    uint32_t after;
    uint64_t time_ms, time_max_ms;
};

struct backend {
    char *name;
    uint32_t index;                          /* in the registry */
    enum conf_balance balance;
    char *hash_on_text;
    struct conf_hash_on hash_on;             /* into that text */
    struct server *servers;
    uint32_t server_count;
    _Atomic uint32_t present;                /* servers that are not ABSENT */
    _Atomic uint32_t unanswered;             /* names of which no address is known yet */
    _Atomic uint64_t unanswered_ms;          /* since when a request has waited for that */
    enum conf_sticky sticky;
    char *sticky_name;                       /* of its cookie */
    struct sids *sids;                       /* sticky = socketio, else NULL */
    bool has_queues;                         /* one of its servers at least */
    uint32_t connect_ms, response_ms, stall_ms;
    uint32_t keepalive_max, keepalive_ms;
    uint32_t queue_ms;                       /* the longest wait */
    uint64_t request_memory, response_memory, response_max;   /* bytes; mode sync */
    uint32_t retries;
    struct conf_faults retry_on;             /* nothing where retries is 0 */
    bool retry_statuses;                     /* it has some */
    bool server_timing;
    bool shields;                            /* mode sync: a worker waits for no client */
    bool lengths;                            /* a server must know how long a body is (uwsgi) */
    struct checking checking;
    struct ejecting ejecting;
    uint64_t slow_start_ms;                  /* 0: none */
    pthread_mutex_t verdicts;                /* around every change of away, ejected and admin */
    _Atomic uint32_t ejected, rising;        /* servers that are, and that are in slow start */
    uint32_t ring_count;
    struct queue *queue;                     /* who waits, in the whole process */
    bool send_proxy, has_backups;            /* one of its servers at least */
    struct http_limits limits;               /* of connections to its servers */
};

/* Servers that are given by the name of their host: places of the backend, which addresses come to
 * and go from while the rings run. A place is ABSENT while it has none. What requests have of it
 * then they keep: its address changes only once no ring knows of any connection or request at it.
 * So a ring may read the address of a place, and what is made of it, in a turn in which it has
 * found it not ABSENT, and while it holds a slot of it (named: they are counted always).
 *
 * All of a name's answers come from one thread, which alone uses it. */
struct name {
    struct registry *registry;
    struct backend *backend;
    char *host;
    uint32_t line;                           /* of the configuration */
    struct addr port;                        /* the rest of each address */
    struct server *places;                   /* of the backend, all in a row */
    uint32_t place_count;
    struct addr *wanted;                     /* the last answer, as far as it is taken */
    uint32_t wanted_count, wanted_max;
    bool failing, crowded, waits;            /* was logged */
};

struct registry {
    struct backend *backends;
    struct budget *budget;                   /* of requests that go again */
    uint32_t backend_count, ring_count;
    struct name *names;
    uint32_t name_count;
    struct stats *lookups;                   /* counted by the thread that looks names up */
    struct str secret;                       /* for names in backends with sticky = cookie */
};

/* Addresses (family and IP; their ports are not looked at) that were found for a name, in whatever
 * order. Those that are not among the servers become some, the others leave. */
void name_found(struct name *, const struct addr *, uint32_t count);
/* Nothing was found, so that nothing changes. */
void name_failed(struct name *, const char *why);
/* True: an address waits for a place where requests still run; to be called again soon. */
bool name_settle(struct name *);

/* Made before the rings, from a checked configuration; rings of at most ring_count. */
struct registry *registry_new(const struct conf *, uint32_t ring_count);
void registry_free(struct registry *);
/* Once, where there is a secret: what cookies say of servers. The same secret, backend's name and
 * server's address make the same in every process. */
void registry_sign(struct registry *, struct str secret);
struct backend *registry_find(struct registry *, struct str name);   /* NULL when there is none */
/* At run time, from any thread, while the rings run; logged where it changes anything. A server
 * that is made READY has its slow start, and who waits may go there. Checks go on. (Its users are
 * the admin page, which is to come, and tests.) */
void server_set_admin(struct server *, enum server_admin);

/* The server that a cookie names; NULL: none of this backend. Takes as long for every value. */
struct server *sticky_find(const struct backend *, struct str value);

/* --- Who looks names up ------------------------------------------------------------------- */

/* A thread of its own, which asks no ring for anything and holds none up. */
struct resolver;
/* While the rings run. asks: name servers, each with its port; none: those of /etc/resolv.conf.
 * NULL: there are no names. */
struct resolver *resolver_new(struct registry *, const struct addr *asks, uint32_t ask_count);
/* Before the rings end. NULL is none. */
void resolver_free(struct resolver *);

/* --- Sessions of Engine.IO: by any thread ------------------------------------------------- */

#define SIDS_MAX 65536u
/* Where max live sessions are known one makes room for the next: the one that was opened longest
 * ago and not heard of since, else the one that was heard of longest ago. */
struct sids *sids_new(uint32_t max);
void sids_free(struct sids *);
/* The server with that index has opened a session. It is forgotten when nothing has come of it for
 * idle_ms. True: another one, that was live, had to make room. */
bool sids_learn(struct sids *, struct str sid, uint32_t server, uint32_t idle_ms, uint64_t now_ms);
/* No session is at that server any more. */
void sids_forget(struct sids *, uint32_t server);
/* A request of the session: the server's index; -1: it is not known. */
int64_t sids_find(struct sids *, struct str sid, uint64_t now_ms);

/* --- The room: one per ring --------------------------------------------------------------- */

struct local_backend;                        /* what this ring holds of one backend */
struct upstream {
    unsigned magic;
    struct ring *ring;
    struct http *http;
    struct registry *registry;
    uint32_t ring_index;
    struct local_backend *backends;          /* by backend->index */
    uint64_t luck;                           /* state of a small generator, for balancing */
    uint32_t leases;                         /* asked for and not ended */
    struct pool waiters, orphans;
    struct list_node granted;                /* waiters of this ring whose wait is over */
    struct task grants;                      /* serves them */
    struct probe *probes;                    /* of the servers that this ring checks */
    uint32_t probe_count;
    struct list_node orphaned;               /* requests that a server goes on with, unasked */
    bool draining;
    struct list_node wanting;                /* leases that wait for a descriptor to come home */
    struct task relief;                      /* the net's: descriptors are short, or came home */
};

void upstream_init(struct upstream *, struct http *, struct registry *, uint32_t ring_index);
/* Gives the memory of pools back that nobody has needed since the last call (pool_trim). */
void upstream_trim(struct upstream *);
/* Ends idle connections; those that come back later end too. Checks end. */
void upstream_drain(struct upstream *);
/* True when nothing of another ring is on its way to this one, and no orphan is left: then, with
 * every lease ended, it may be finished. */
bool upstream_is_idle(const struct upstream *);
/* Orphans are ended at once. */
void upstream_kill(struct upstream *);
void upstream_fini(struct upstream *);       /* every lease must have ended */

/* --- Leases ------------------------------------------------------------------------------- */

enum lease_state { LEASE_NONE, LEASE_WAITING, LEASE_READY, LEASE_FAILED };

/* The race of a kept connection, which its server closes just as a request comes: it shows within
 * such a time, happens to servers that are well, and says nothing of them. */
#define LEASE_RACE_US 20000u
/* Its place in a set of servers. Of more than 64 some share one: who has failed at one of those
 * goes to none of them as long as there are others. */
static inline uint64_t server_bit(const struct server *server) {
    return (uint64_t)1 << server->index % 64;
}

struct lease {
    uint8_t state;                  /* enum lease_state */
    uint8_t why;                    /* enum close_reason, with FAILED */
    bool fresh, once;               /* of its pick, for every server that is tried */
    bool reused;                    /* the stream is on a connection that was kept */
    bool trial;                     /* its dial shows whether a server is back; if that is ejected,
                                     * its answer */
    bool answered;                  /* lease_answered was called */
    uint8_t met;                    /* enum close_reason: of its last try, before it waits */
    bool parked;                    /* it had its turn once, and goes before later ones */
    struct upstream *room;
    struct backend *backend;
    struct server *server;          /* the one picked last */
    struct stream *stream;          /* with READY; owned as the lease is; lease_end releases it */
    struct session *session;        /* while dialling; NULL while there is no descriptor to dial */
    struct list_node want;          /* then: in the room's list */
    struct task *owner;
    struct task dialed;
    const struct client_told *told; /* of its pick */
    struct arena *arena;            /* of its pick */
    const char *name;               /* of its server, if that is named: see lease_server_name */
    uint64_t key;                   /* of its pick */
    const struct server *stuck;     /* of its pick, as long as it is there */
    uint64_t tried;                 /* servers that refused this request: see server_bit */
    uint64_t avoid;                 /* its owner's: servers to go to only if no other is there;
                                       one that is but busy is waited for, up to five
                                       seconds */
    uint32_t tries, tries_before;   /* all; those before its last wait in the queue */
    struct waiter *waiter;          /* while it waits for a slot */
    struct endpoint client;         /* whose turn it takes in the queue */
    struct timer patience;          /* queue_timeout */
    uint64_t asked_us;              /* less what it had waited for slots before */
    uint64_t ready_us;
    uint64_t went_us;               /* when its server was picked */
    uint64_t queued_us;             /* how long it has waited for slots, so far */
    uint64_t ended_us;              /* when its server was done with it; 0: not yet */
    uint64_t waits_us;              /* since when it waits now; 0: it does not */
};

/* What servers with send_proxy are told of the client. */
struct client_told {
    struct proxyproto_ends ends;
    struct proxyproto_more more;
};

/* What the request asks for. */
struct pick {
    bool fresh;                     /* not on a kept-alive connection: the second try of a race */
    bool once;                      /* it can not be repeated: no race may lose it */
    const struct client_told *told; /* NULL: of nobody. Outlives the lease's waiting */
    struct arena *arena;            /* NULL: nobody asks for lease_server_name */
    struct endpoint client;         /* who asks: the queue is fair between clients */
    uint64_t key;                   /* balance = hash: equal keys go to the same server */
    const struct server *stuck;     /* NULL, or the only one to take as long as it is there: its
                                       slot is waited for. What the lease avoids goes
                                       before it */
};

/* Asks for a slot of one of the backend's servers, and a connection to it. On return the state is
 * READY (a kept connection; never at a server with send_proxy), FAILED (why), or WAITING: then
 * owner is woken when it is one of the others. Refused and late connections are tried at the other
 * servers, each once, where retry_on says so; where all refuse (they are being restarted) the
 * request waits in the queue, too, for one to be back. Where no descriptor is left to dial with,
 * idle connections of this ring are closed, to whichever server, and it is tried again; its slot
 * stays its own meanwhile. A lease is zeroed before it is asked for first. One that has ended may
 * be asked for again: it goes on counting its tries and its wait, which has one queue_timeout, and
 * avoids what it avoids. */
void lease_ask(struct lease *, struct upstream *, struct backend *, const struct pick *,
               struct task *owner);
/* READY: a head of the response is here. A lease that ends without a final one (or 101) is held
 * against its server, by `why`. */
static inline void lease_answered(struct lease *, uint32_t status);
/* Any time, synchronous, in every state, also twice. READY: releases the stream, with `why` (NONE:
 * all went well) to tell its session whether the connection may be kept. A request that has begun
 * to go up and is given up occupies its worker all the same: on a server with slots in mode sync
 * it lives on as an orphan, which holds the slot until the server has answered, or for
 * response_timeout if it says nothing, and a second once it does. WAITING: it leaves the queue; a
 * dial goes on without the lease and becomes an idle connection, but to a server with slots or
 * send_proxy it is given up. */
void lease_end(struct lease *, enum close_reason why);

/* Of the server that was picked last, also when the lease has ended; "-": it had none. */
static inline const char *lease_server_name(const struct lease *lease) {
    return lease->name != NULL ? lease->name : lease->server != NULL ? lease->server->name : "-";
}

/* The rare part of lease_answered: it says something new of the server. */
void eject_answered(struct lease *, uint32_t status);
static inline void lease_answered(struct lease *lease, uint32_t status) {
    if (status < 200 && status != 101) {
        return;
    }
    lease->answered = true;
    if (status >= 400 ||
        atomic_load_explicit(&lease->server->failed, memory_order_relaxed) != 0) {
        eject_answered(lease, status);
    }
}

/* --- Requests that go again --------------------------------------------------------------- */

/* True when a server is there, busy or not, that is none of these. */
bool upstream_has_other(const struct backend *, uint64_t avoid);
/* True when the lease's server has answered nobody since it failed one, is not known to be away,
 * and there is no other. */
bool upstream_is_silent(const struct lease *);
/* True when one more request may go again: that is one of so many. */
bool upstream_affords_retry(struct upstream *);

#endif
