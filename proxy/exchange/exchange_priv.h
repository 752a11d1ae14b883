/* One request and its response: what the steps share. */
#ifndef GYRE_EXCHANGE_PRIV_H
#define GYRE_EXCHANGE_PRIV_H

#include "exchange/exchange.h"
#include "exchange/spool_priv.h"

#define EXCHANGES_MAGIC 0x45584753u
#define EXCHANGE_MAGIC 0x45584348u

enum step {
#define STEP(name) STEP_##name,
#include "exchange/step.def"
#undef STEP
    STEP_COUNT
};

/* Where the frames of one direction of a WebSocket begin: websocket.c. */
struct frames {
    uint64_t left;                   /* bytes of the frame under way, its mask included */
    uint8_t head[10];                /* of the next one, as far as it has passed */
    uint8_t head_len;
    bool closed;                     /* a Close has passed: nothing may follow it */
};

struct exchange {
    unsigned magic;
    uint8_t step;                    /* enum step */
    uint8_t why;                     /* enum close_reason: how it ended, for the log */
    uint8_t refusal;                 /* enum refusal: what was wrong with a message */
    bool head_sent;                  /* a final head went down */
    bool cut;                        /* the client does not get its whole answer */
    bool local;                      /* up is an answer made here */
    bool uploading;
    bool hinted;                     /* an interim head other than 100 went down */
    uint8_t retries;                 /* times that the request went again */
    uint8_t lost;                    /* enum close_reason: the server broke off, its rest goes on */
    uint16_t status;                 /* that went down; 0: none */
    uint16_t own_status;             /* of an answer made here that is no failure; 0: none */
    struct exchanges *room;
    struct generation *generation;
    const struct site *site;
    const struct conf_listener *conf;
    struct task task;
    struct timer timer;              /* response, stall, tunnel: whichever is the step's */
    bool late;                       /* it fired */
    struct stream *down, *up;        /* up: the lease's, or a local one */
    struct head *request;
    struct backend *backend;
    struct lease lease;
    struct splice *splice;           /* of a large response, or NULL */
    bool unspliced;                  /* none may be had for this one */
    struct spool *request_spool;     /* mode sync: the request's body, whole */
    struct spool *response_spool;    /* mode sync: what the client has not taken yet */
    const struct head *trailers;     /* mode sync: the response's, of a server that is free */
    uint64_t asked_us;               /* when it was ready for a server; 0: never */
    struct endpoint client;
    struct str id;                   /* X-Request-ID, in the request's arena */
    uint64_t began_us, first_us;     /* request's first byte; first byte of the response */
    uint64_t connected_us;           /* time to get a connection; 0: none was needed */
    uint64_t moved_us;               /* the backend's last sign of life */
    uint64_t lost_us;                /* when its only server lost it, before its last try */
    bool websocket, stopped;         /* a tunnel: its frames are known; it was told to end */
    struct frames to_client, to_server;
    const char *location;            /* of a redirect that gyre makes */
    struct server *stuck;            /* the server that the client's requests go to; NULL: none */
    bool opens;                      /* sticky = socketio: the answer may open a session */
    struct opening *opening;         /* and it is looked for; in the request's arena */
};

#define STEP(name) enum step step_##name(struct exchange *);
#include "exchange/step.def"
#undef STEP

/* exchange.c: ends the exchange with a reason; the client sees its page, or a cut. */
enum step exchange_fail(struct exchange *, enum close_reason);

/* steps.c: asks for a server; fresh: on a new connection. */
enum step exchange_ask(struct exchange *, bool fresh);

/* retry.c: the request goes again, if it may; else the exchange ends with that failure. */
enum retry_cause { RETRY_RACE, RETRY_RESET, RETRY_TIMEOUT, RETRY_STATUS };
enum step retry_lost(struct exchange *);                 /* the server gave no answer, */
enum step retry_late(struct exchange *);                 /* or has none yet */
bool retry_wants(struct exchange *, uint16_t status);    /* true: it is not the answer, so */
enum step retry_unwanted(struct exchange *);
bool retry_waits(struct exchange *);                     /* the pause before it goes on */

/* shield.c: what a sync server need not wait for. */
void shield_upload(struct exchange *);                   /* from the spool to the server */
void shield_begin(struct exchange *);                    /* the client is slower than the server */
enum close_reason shield_relay(struct exchange *);       /* by the spool; not NONE: it is over */
void shield_rewind(struct exchange *);                   /* the request goes again */
void shield_drop(struct exchange *);                     /* nobody needs the spools any more */

/* relay.c: moves what can be moved. */
void relay_request(struct exchange *);       /* down to up */
/* The server has given all that it had, or no more will come of it: it is free. */
void relay_release_server(struct exchange *, enum close_reason);
bool relay_client_owes(const struct exchange *);   /* it is its turn, not the server's */

/* raw.c: the rest of a large response moves below us, as soon as it can. */
void raw_begin(struct exchange *);
bool raw_moves(struct exchange *);           /* it does: there is nothing else to be done */
void raw_end(struct exchange *);
bool raw_is_blocked(const struct exchange *);   /* by the client */
void raw_note(struct exchange *);            /* when the server gave something last */

/* websocket.c: before the first len bytes of the queue pass. */
void frames_pass(struct frames *, const struct bufq *, uint32_t len);
/* A Close frame (1001: going away) behind what has passed, where one may stand; masked as a
 * client's must be. */
void frames_close(const struct frames *, struct bufq *to, bool masked);

/* reply.c */
uint16_t reply_status(enum close_reason);
/* The answer of which there is nothing but its status: it needs no memory of its own. */
void reply_bare(struct stream *down, uint16_t status);

/* rewrite.c: a request on its way up, a response on its way down. */
void rewrite_request(struct exchange *);
void rewrite_response(struct exchange *, struct head *);

/* introduce.c: in the request's arena, which may fail; NULL where no server of the backend wants to
 * know. */
const struct client_told *introduce_client(struct exchange *);
/* balance = hash: the key by which its server is chosen. */
uint64_t exchange_hash_key(const struct exchange *);

/* sticky.c: of backends that are. A request before it is sent, the final head of its response, and,
 * while there is an opening, the body before it passes. */
void sticky_request(struct exchange *);
void sticky_response(struct exchange *, struct head *);
void sticky_body(struct exchange *);

/* cookie.c: the pairs of a Cookie field, one after the other; the value of one, as it stands,
 * quotes and all, if it has that name. */
bool cookie_next(struct str *rest, struct str *pair);
bool cookie_is(struct str pair, struct str name, struct str *value);
/* No pair of that name goes on. */
void cookie_drop(struct head *, struct str name);

/* engineio.c: what a query says; false where it is none of Engine.IO. */
struct engineio_query {
    bool polling;                    /* the transport */
    struct str sid;                  /* empty: a new session is asked for */
};
bool engineio_query(struct str query, struct engineio_query *);
/* The packet that opens a session, of the first bytes of a body: its sid, and how long the session
 * lives without a sign of life. MORE: it goes on; OTHER: it is none. */
enum engineio_found { ENGINEIO_MORE, ENGINEIO_OPEN, ENGINEIO_OTHER };
enum engineio_found engineio_open(struct str body, struct str *sid, uint32_t *idle_ms);

/* route.c */
struct router *router_new(const struct conf *);
void router_free(struct router *);
/* The index of the backend for a request; -1: none. *mount: how much of the path is where the app
 * stands (of a route with mount = yes); else 0. */
int32_t router_find(const struct router *, uint32_t listener, struct str authority,
                    struct str path, uint32_t *mount);

/* accesslog.c */
void accesslog_write(struct accesslog *, const struct exchange *);

#endif
