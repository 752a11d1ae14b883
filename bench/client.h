/* What the load generators share: their clock, their sockets, TLS as a client, and answers. */
#ifndef GYRE_BENCH_CLIENT_H
#define GYRE_BENCH_CLIENT_H

#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define CLIENT_S 1000000000ull   /* in the clock's unit */

/* All descriptors that there may be, and no SIGPIPE: OpenSSL writes without MSG_NOSIGNAL. */
void client_begin(void);

uint64_t clock_ns(void);                           /* monotonic */

/* A non-blocking socket that is connecting. source: the last byte of the loopback address that it
 * comes from, 0 for any. rx_bytes: of its receive buffer, mss: of a segment; 0 for the kernel's
 * choice, which on loopback are 64 KiB.
 * Exits where there is none to have: the benchmark would be another one. */
int client_connect(const struct addr *to, unsigned source, int rx_bytes, int mss);
/* Closes with a reset, so that no address is held up in TIME_WAIT. */
void client_abort(int fd);

/* TLS 1.3, P-256 and AES-128-GCM, whatever servers would like better: all do the same work. No
 * certificate is checked, no session kept. */
SSL_CTX *client_tls(void);
SSL *client_tls_new(SSL_CTX *, int fd);            /* fd -1: on memory */

/* An answer as it comes. All zeros: none has begun. */
#define ANSWER_HEAD_MAX 4096u
struct answer {
    unsigned status;
    uint32_t head_len;         /* what has come of the head; 0 and body_left: its body */
    uint64_t body_left;
    char head[ANSWER_HEAD_MAX];
};
enum answer_state { ANSWER_MORE, ANSWER_WHOLE, ANSWER_WRONG };
/* Takes what belongs to the answer off *p. Right are those with a Content-Length, and a 101. */
enum answer_state answer_take(struct answer *, const char **p, size_t *len);

/* Of the command line; exit where it is none, or past max. */
uint64_t client_number(const char *text, uint64_t max);
struct addr client_addr(const char *text);

/* SIGTERM and SIGINT end a mob in order: from the call on they only set this. */
extern volatile sig_atomic_t client_leaving;
void client_leave_on_signals(void);

#endif
