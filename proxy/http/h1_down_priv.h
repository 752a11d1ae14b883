/* What a session with a client is made of. */
#ifndef GYRE_HTTP_H1_DOWN_PRIV_H
#define GYRE_HTTP_H1_DOWN_PRIV_H

#include "http/h1_priv.h"

/* What the session's one timer is for. An idle one is not cancelled when a request comes; it finds
 * the session busy. */
enum down_timer { TIMER_NONE, TIMER_IDLE, TIMER_HEAD, TIMER_BODY };

struct h1_down_stream {
    struct stream stream;         /* first */
    struct h1_down *session;
    bool published;               /* the inbox has it, or had: it is its owner's to release */
    bool keep;                    /* the connection may serve another request */
    bool last;                    /* it may not, as it has served so many */
    bool head_only, old;          /* the request is HEAD; is of HTTP/1.0 */
    bool expect;                  /* the client waits for a 100 before it sends the body */
    struct h1_tx tx;
    struct h1_read read;
    struct head head, trailers;
};

struct h1_down {
    struct session session;       /* first */
    struct http *http;
    const struct http_limits *limits;
    struct wire *wire;            /* NULL when it is gone and a stream is still held */
    struct inbox *inbox;
    struct h1_down_stream *stream;
    struct conn_facts facts;
    struct task task;
    struct timer timer;
    uint8_t timer_for;            /* enum down_timer */
    uint8_t empty_lines;
    bool timed_out, eof, draining, push_waits;
    bool full;                    /* pipelined requests wait, as many as may */
    bool starved;                 /* no memory for the next request */
    uint64_t body_bytes;          /* that came since TIMER_BODY was armed, framing included */
};

/* --- h1_down_read.c ------------------------------------------------------------------------- */

void h1_down_arm(struct h1_down *, enum down_timer);
/* After each read: what the client owes us next. Time for a body begins anew when its bytes have
 * come, and when the client's turn does: it does not pay for a slow server. */
void h1_down_time(struct h1_down *, uint32_t came);
/* A request has begun that nobody was told of. */
bool h1_down_in_head(const struct h1_down *);
/* It is the client's turn to send body. */
bool h1_down_in_body(const struct h1_down *);
/* The next request has a stream; false: there is none, and the session is starved. */
bool h1_down_begin(struct h1_down *);
/* The request has a head, or it is refused: somebody is to answer it. */
void h1_down_publish(struct h1_down *);
void h1_down_got_end(struct h1_down *);
/* Reads what is there, as far as somebody takes it. */
void h1_down_read(struct h1_down *);

/* --- h1_down.c ------------------------------------------------------------------------------ */

extern const struct stream_ops h1_down_stream_ops;

#endif
