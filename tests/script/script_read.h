/* What a peer got, read by a small reader of its own: a sequence of messages, the last of them
 * perhaps cut off, and how two such sequences compare. It shares no line with gyre's reader, nor
 * with llhttp. */
#ifndef GYRE_TESTS_SCRIPT_SCRIPT_READ_H
#define GYRE_TESTS_SCRIPT_SCRIPT_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_MESSAGES_MAX 64

/* All that one connection brought. */
struct record {
    uint8_t *p;
    size_t len, cap;
    bool reset;                    /* it ended with a reset, or (TLS) without close_notify */
    bool ended;                    /* it ended at all */
    uint32_t asked;                /* a client's: requests that it sent, at most */
};
void record_add(struct record *, const void *, size_t len);
void record_fini(struct record *);

struct message {
    bool whole;                    /* head, body and trailers are all there */
    bool has_head;
    bool until_end;                /* only the end of the connection ends the body */
    bool closes;                   /* it says that nothing follows */
    bool tunnel;                   /* 101, or a request that asked for it */
    int status;                    /* 0: a request */
    char *head;                    /* normal: dates and ids are masked, Connection: close is left
                                      out; of a head that is cut off its whole lines */
    char *tail;                    /* trailers */
    uint8_t *body;
    size_t body_len, used;
};

/* Reads one message off the bytes, or (request) a uwsgi packet, whose head then are its method and
 * target as HTTP has them and its variables; what is not whole ends with them. head_asked: some response may
 * be one to HEAD. False: these bytes are no message. message_fini is due either way. */
bool message_read(struct message *, bool request, bool head_asked, const uint8_t *p, size_t len);
void message_fini(struct message *);
/* Bytes of a PROXY header in front of the requests (haproxy's proxy-protocol.txt 2.1, 2.2), as far
 * as it came. What it says is for the scripts of test_proxy.c. */
size_t message_proxy_len(const uint8_t *, size_t len);

struct reading {
    struct message v[RECORD_MESSAGES_MAX];
    uint32_t count;
    const uint8_t *rest;           /* behind a tunnel's beginning */
    size_t rest_len;
    bool bad;                      /* bytes that are no message: where */
    size_t bad_at;
};
void reading_init(struct reading *, const struct record *, bool request, bool head_asked);
void reading_fini(struct reading *);

/* True when a has the head of b, and as much of its body as it has. */
bool message_is_part(const struct message *a, const struct message *b);
bool message_is_same(const struct message *a, const struct message *b);
/* One of gyre's own answers, whole or in part: a page with its status, or a status alone. */
bool message_is_page(const struct message *);

#endif
