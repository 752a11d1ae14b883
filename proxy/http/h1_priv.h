/* What the files of HTTP/1 share: the reader, the checks, the writer. */
#ifndef GYRE_HTTP_H1_PRIV_H
#define GYRE_HTTP_H1_PRIV_H

#include <llhttp.h>

#include "http/http_priv.h"

/* --- Reading: h1_read.c ------------------------------------------------------------------- */

enum h1_phase {
    H1_LINE,       /* the request line or the status line */
    H1_FIELDS,
    H1_BODY,
    H1_TRAILERS,
    H1_END,        /* the message is complete */
    H1_TUNNEL,     /* bytes are raw */
    H1_BROKEN      /* refuse and why say of what */
};

enum h1_result {
    H1_MORE,       /* all that is here (or that there is room for) was read */
    H1_GOT_HEAD,
    H1_GOT_END,
    H1_BAD
};

/* Reads one message. The line and the framing are ours; fields and chunks are llhttp's. */
struct h1_read {
    llhttp_t parser;              /* first */
    const struct http_limits *limits;
    struct arena *arena;
    struct head *head;            /* where fields go: the head, later the trailers */
    struct head *trailers;
    bool request;
    bool no_body;                 /* a response to HEAD */
    bool until_eof;               /* the body ends with the connection */
    bool chunked;
    bool in_value;                /* of a field: behind its colon */
    bool in_chunk;                /* from its size to its CR LF */
    uint8_t phase;                /* enum h1_phase */
    uint8_t refusal;              /* enum refusal, when BROKEN, and what follows from it: */
    uint8_t why;                  /* enum close_reason */
    uint16_t refuse;              /* the status that says so; 0: not broken */
    char last[2];                 /* bytes that were read before those at hand, the last first */
    uint16_t fields_dropped;      /* for their names, and not yet counted by the session */
    uint32_t head_bytes;
    char *piece;                  /* of the arena: what the head is copied to */
    uint32_t piece_used, piece_cap;
    const char *open;             /* where the line or field in hand begins there, or NULL */
    struct str name, string;      /* of the field in hand; the string in hand */
    uint64_t body_left, body_bytes;
    struct seg *seg;              /* of the chunk that is being read */
    struct bufq *out;
    const char *frame_at;         /* where framing of chunks started in it */
    uint32_t frame_bytes;         /* before that, since the last byte of body */
    uint64_t frame_total, frame_allowed;   /* of the whole body so far */
};

void h1_read_start(struct h1_read *, bool request, struct head *, struct head *trailers,
                   struct arena *, const struct http_limits *);
/* Reads from `in` and drops what was read. H1_GOT_HEAD: the head is complete and checked; phase
 * says what follows. */
enum h1_result h1_read_head(struct h1_read *, struct bufq *in);
/* Reads body from `in` to `out`, as far as out has room. */
enum h1_result h1_read_body(struct h1_read *, struct bufq *in, struct bufq *out);
/* What could not be kept of it for want of memory. */
enum h1_result h1_read_starved(struct h1_read *);
/* The rest of the body, if there is one, stands in `in`: the next message begins behind it. */
bool h1_read_has_rest(const struct h1_read *, const struct bufq *in);
/* Drops that rest, which nobody wants, and ends the message; false: it is not there. */
bool h1_read_drop_rest(struct h1_read *, struct bufq *in);
/* Marks the message as broken; returns H1_BAD. */
enum h1_result h1_read_bad(struct h1_read *, enum refusal);

/* --- Start lines: h1_line.c --------------------------------------------------------------- */

/* Both take the line without its CRLF and fill in the head. */
enum refusal h1_line_request(struct head *, struct str line);
enum refusal h1_line_status(struct head *, struct str line);
bool h1_authority_ok(struct str authority);
bool h1_token_ok(struct str token);
bool h1_token_char(char c);

/* --- Checks: h1_check.c ------------------------------------------------------------------- */

/* Everything that llhttp does not check, once the fields are there; decides on the framing. */
enum refusal h1_check_request(struct head *, const struct http_limits *);
/* The same of a response. until_eof: the body ends with the connection. */
enum refusal h1_check_response(struct head *, bool no_body, bool *until_eof);
/* CGI, WSGI and their like turn '-' and '_' into the same: what gyre drops or sets under one name
 * would come in under the other. */
bool h1_check_underscore(struct str name);
/* What llhttp's error of fields or chunks says, at the byte `at`, with the two before it, the
 * nearer one first. */
enum refusal h1_check_llhttp(const struct h1_read *, llhttp_errno_t, const char before[2], char at);

/* --- Writing: h1_write.c ------------------------------------------------------------------ */

enum h1_framing {
    H1_TX_NONE,        /* no body, or none yet */
    H1_TX_LENGTH,
    H1_TX_CHUNKED,
    H1_TX_CLOSE,       /* until the connection closes */
    H1_TX_RAW          /* a tunnel */
};

/* close: the connection ends with the answer. */
void h1_write_request(struct bufq *tx, const struct head *, bool close);
/* date empty: no Date. */
struct h1_response {
    enum h1_framing framing;
    bool close;
    bool head_only;    /* the answer to HEAD: lengths are told, no body follows */
    struct str date;
};
/* How the body of a response is framed for this client; old: of HTTP/1.0. */
enum h1_framing h1_write_framing(const struct head *, bool head_only, bool old);
void h1_write_response(struct bufq *tx, const struct head *, const struct h1_response *);
/* A response that is made without memory, the last one of its connection. */
void h1_write_bare(struct bufq *tx, uint16_t status, struct str date);
/* The size line of a chunk; and the last chunk, with its trailers (may be NULL). */
void h1_write_chunk_line(struct bufq *tx, uint32_t len);
void h1_write_last_chunk(struct bufq *tx, const struct head *trailers);

/* uwsgi_write.c: the same request for a server that speaks uwsgi; its body, of a known length, goes
 * behind it as it is. What is needed to make it comes from the arena. Not NONE: nothing was
 * written; PATH_NUL, PACKET_TOO_LARGE or NO_MEMORY. */
enum refusal uwsgi_write_request(struct bufq *tx, const struct head *, struct arena *);

/* --- The sending half of a stream: h1_tx.c ------------------------------------------------ */

struct h1_tx {
    uint8_t framing;              /* enum h1_framing */
    bool head_sent;               /* the final one */
    bool done;                    /* the message is complete, as far as we are concerned */
    bool short_of;                /* tx_end came before all of the length */
    bool sent;                    /* SENT was told */
    bool last;                    /* the wire ends with it */
    uint64_t left;                /* H1_TX_LENGTH */
};

void h1_tx_start(struct h1_tx *, enum h1_framing, uint64_t length);
/* Frames what is in stream->tx and gives it to the wire; sets SENT where all has left already. */
void h1_tx_push(struct h1_tx *, struct http *, struct stream *, struct wire *,
                const struct head *trailers);
/* The wire told ROOM. */
void h1_tx_room(struct h1_tx *, struct http *, struct stream *, struct wire *);

/* RAW_TX of both kinds of streams, and RAW_RX. */
uint64_t h1_tx_raw(const struct h1_tx *, const struct stream *);
void h1_tx_moved(struct h1_tx *, struct stream *, uint64_t bytes);
uint64_t h1_read_raw(const struct h1_read *);
/* True when the message is complete. */
bool h1_read_moved(struct h1_read *, uint64_t bytes);

/* Bytes of this queue wait: no receive buffer may, and small slices do not pile up. */
void h1_settle(struct bufq *);

#endif
