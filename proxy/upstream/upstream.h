/* The upstream door: where a request may go. */
#ifndef GYRE_UPSTREAM_UPSTREAM_H
#define GYRE_UPSTREAM_UPSTREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "http/http.h"

/* --- Runtime objects: shared by all rings, keyed by name, outliving a configuration ------- */

/* What one ring counts of one server, on a cache line of its own: these counts only steer. */
struct server_count {
    _Alignas(64) _Atomic uint32_t requests;   /* running now; written by its ring alone */
};

struct server {
    struct addr addr;
    char name[ADDR_TEXT_MAX];                /* as the log prints it */
    uint32_t weight;
    enum conf_proxy send_proxy;              /* its connections are never shared by clients */
    uint32_t index;                          /* in its backend */
    _Alignas(64) _Atomic uint32_t kept;      /* idle connections, promised to the rings */
    struct server_count *counts;             /* one per ring */
};

struct backend {
    char *name;
    uint32_t index;                          /* in the registry */
    enum conf_balance balance;
    struct server *servers;
    uint32_t server_count;
    uint32_t connect_ms, response_ms, stall_ms;
    uint32_t keepalive_max, keepalive_ms;
    bool send_proxy;                         /* to one of its servers at least */
    struct http_limits limits;               /* of connections to its servers */
};

struct registry {
    struct backend *backends;
    uint32_t backend_count, ring_count;
};

/* Made before the rings, from a checked configuration; rings of at most ring_count. */
struct registry *registry_new(const struct conf *, uint32_t ring_count);
void registry_free(struct registry *);
struct backend *registry_find(struct registry *, struct str name);   /* NULL when there is none */

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
    bool draining;
    struct list_node wanting;                /* leases that wait for a descriptor to come home */
    struct task relief;                      /* the net's: descriptors are short, or came home */
};

void upstream_init(struct upstream *, struct http *, struct registry *, uint32_t ring_index);
/* Ends idle connections; those that come back later end too. */
void upstream_drain(struct upstream *);
void upstream_fini(struct upstream *);       /* every lease must have ended */

/* --- Leases ------------------------------------------------------------------------------- */

enum lease_state { LEASE_NONE, LEASE_WAITING, LEASE_READY, LEASE_FAILED };

#define LEASE_TRIES_MAX 64

struct lease {
    uint8_t state;                  /* enum lease_state */
    uint8_t why;                    /* enum close_reason, with FAILED */
    bool fresh;                     /* of its pick, for every server that is tried */
    bool reused;                    /* the stream is on a connection that was kept */
    struct upstream *room;
    struct backend *backend;
    struct server *server;          /* the one picked last */
    struct stream *stream;          /* with READY; owned as the lease is; lease_end releases it */
    struct session *session;        /* while dialling; NULL while there is no descriptor to dial */
    struct list_node want;          /* then: in the room's list */
    struct task *owner;
    struct task dialed;
    const struct client_told *told; /* of its pick */
    uint64_t tried;                 /* servers that refused this request, by index (first 64) */
    uint32_t tries;
    uint64_t asked_us, ready_us;
};

/* What servers with send_proxy are told of the client. */
struct client_told {
    struct proxyproto_ends ends;
    struct proxyproto_more more;
};

/* What the request asks for. */
struct pick {
    bool fresh;                     /* not on a kept-alive connection: the second try of a race */
    struct server *avoid;           /* NULL, or a server to take only if there is no other */
    const struct client_told *told; /* NULL: of nobody. Outlives the lease's waiting */
};

/* Asks for a connection to one of the backend's servers. On return the state is READY (a kept
 * connection; never at a server with send_proxy), FAILED (why), or WAITING: then owner is woken
 * when it is one of the others. Refused and late connections are tried at the other servers, each
 * once, before FAILED. Where no descriptor is left to dial with, idle connections of this ring are
 * closed, to whichever server, and it is tried again. */
void lease_ask(struct lease *, struct upstream *, struct backend *, const struct pick *,
               struct task *owner);
/* Any time, synchronous, in every state, also twice. READY: releases the stream, with `why` (NONE:
 * all went well) to tell its session whether the connection may be kept. WAITING: the dial goes on
 * without the lease and becomes an idle connection; with send_proxy it is given up. */
void lease_end(struct lease *, enum close_reason why);

#endif
