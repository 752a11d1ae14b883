/* The exchange door: one request and its response, from the head to the log line. */
#ifndef GYRE_EXCHANGE_EXCHANGE_H
#define GYRE_EXCHANGE_EXCHANGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "http/http.h"
#include "upstream/upstream.h"

/* --- A generation: settings and routes, replaced as a whole by a reload ------------------- */

/* Immutable and shared by all rings. Each ring counts its own holders (exchanges) plainly. */
struct router;
struct generation {
    const struct conf *conf;
    struct router *router;
    struct backend **backends;   /* by their index in conf */
};
/* conf and registry outlive it. */
struct generation *generation_new(const struct conf *, struct registry *);
void generation_free(struct generation *);

/* --- A listener at run time: keyed by name, outliving a generation ------------------------ */

struct site {
    const char *name;
    uint32_t index;              /* of its settings in the generation's conf */
    struct http_limits limits;   /* of its connections */
    bool multi_certificate;      /* several names: a request may come by the wrong connection */
    bool accept_proxy;           /* its connections begin with a PROXY header */
};

/* --- The access log of one ring ----------------------------------------------------------- */

struct logline_time {
    uint64_t second;             /* since 1970 */
    size_t len;                  /* 0: not made yet */
    char text[40];               /* the part of a line that says it */
};

/* Begins with a newline, which is written after a line that was torn. */
struct accesslog_buffer {
    char *bytes;
    uint32_t size, len;
};

/* Lines are gathered and appended by the ring, one write in flight; what does not fit while the
 * file takes nothing is dropped and counted. */
struct accesslog {
    struct ring *ring;
    int fd;                      /* -1: off */
    bool whole_lines;            /* a pipe or terminal: each write is at most PIPE_BUF of lines */
    bool owned;
    int next_fd;                 /* after reopening: used when the write in flight is done */
    struct accesslog_buffer filling, writing;
    uint32_t writing_off;
    bool due;                    /* once the write in flight is done, the next one begins */
    bool torn;                   /* the last line that was written has no end */
    int why;                     /* errno of the lines lost last; 0: the file took nothing */
    struct op write;
    struct timer flush;
    struct logline_time time;
};
/* A buffer has the lesser size where the file takes what it is given, and no turn has more lines.
 * Else the one that is filled grows, to the greater size or until memory is pressed, so that some
 * ms of a disk lose no lines; what has grown goes back with accesslog_trim. */
#define ACCESSLOG_BYTES_MIN 65536u
#define ACCESSLOG_BYTES_MAX 524288u
/* fd -1: no log. owned: accesslog_fini closes fd. whole_lines: it is no regular file. */
void accesslog_init(struct accesslog *, struct ring *, int fd, bool owned, bool whole_lines);
/* From now on lines go to fd (owned as well). */
void accesslog_reopen(struct accesslog *, int fd);
/* Starts writing what is gathered; true when all of it has been written. */
bool accesslog_flush(struct accesslog *);
/* Gives up what was not written: who stops does not wait for a reader that does not read. */
void accesslog_abandon(struct accesslog *);
/* Now and then. */
void accesslog_trim(struct accesslog *);
void accesslog_fini(struct accesslog *);     /* flushed, or what is left is lost */

/* --- The room: one per ring --------------------------------------------------------------- */

/* Where bodies of all rings wait that memory does not hold. */
struct spool_store {
    const char *folder;          /* outlives it */
    uint64_t max;                /* bytes of all files; 0: there are none */
    uint32_t piece;              /* bytes that are written, or read, at one go */
    _Atomic uint64_t held;
};

/* Small enough to come back soon from a busy disk, large enough to be worth the call. */
#define SPOOL_PIECE_BYTES (64u * 1024u)

/* Less is not worth what it takes to begin: the server's receive is cancelled, and what is on its
 * way to the client must have left. */
#define SPLICE_BYTES_MIN (256u * 1024u)

struct exchanges {
    unsigned magic;
    struct ring *ring;
    struct http *http;
    struct upstream *upstream;
    struct generation *generation;      /* what new exchanges run by */
    uint32_t generation_holders;
    struct accesslog *log;
    struct inbox inbox;                 /* new requests of all down sessions of this ring */
    struct task front;                  /* takes them out of the inbox */
    struct spool_store *store;
    struct pool pool, spools;
    uint64_t splice_min;                /* bytes of a response that are worth a splice */
    uint8_t luck[4096];                 /* random bytes for request ids, drawn in bulk */
    uint32_t luck_left;
};
void exchanges_init(struct exchanges *, struct http *, struct upstream *, struct generation *,
                    struct accesslog *, struct spool_store *);
/* True when none runs, and no file of one is being written or read. */
bool exchanges_are_over(const struct exchanges *);
/* The most exchanges at a time (0: any number); requests above are answered 503. */
void exchanges_bound(struct exchanges *, uint32_t count);
/* Gives the memory of pools back that nobody has needed since the last call (pool_trim). */
void exchanges_trim(struct exchanges *);
uint32_t exchanges_running(const struct exchanges *);
void exchanges_fini(struct exchanges *);     /* none may be running */

#endif
