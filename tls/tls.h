/* The tls door: a machine that turns cipher bytes into plain bytes. There is no socket in it. */
#ifndef GYRE_TLS_TLS_H
#define GYRE_TLS_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/close.h"
#include "base/str.h"

#define TLS_WHY_MAX 256

/* --- Signatures ------------------------------------------------------------------------------- */

#define TLS_MAC_LEN 32u
/* HMAC-SHA256 (RFC 2104). For what is made once: it takes memory. */
void tls_mac(struct str key, struct str text, uint8_t mac[TLS_MAC_LEN]);

/* --- Certificates: a chain and its key, parsed once for the whole process --------------------- */

/* Thread-safe reference counts; immutable after loading. */
struct tls_certificate;
/* key_path NULL: the key is in the chain's file. On error NULL, and why says which file and what
 * is wrong with it (not readable, no certificate, no key, encrypted key, key does not match). */
struct tls_certificate *tls_certificate_load(const char *chain_path, const char *key_path,
                                             char why[TLS_WHY_MAX]);
/* Lets go of the caller's reference; contexts have their own. */
void tls_certificate_free(struct tls_certificate *);

/* --- Tickets: stateless session tickets, keys shared by all workers --------------------------- */

#define TLS_TICKET_LIFE_S (12u * 3600u)

/* A current and a previous key; rotated by time, under any thread. */
struct tls_tickets;
struct tls_tickets *tls_tickets_new(void);
void tls_tickets_free(struct tls_tickets *);
/* Makes a new current key when the current one is older than its life (12 h, counted from the
 * first call); called by one thread now and then. now_s is any monotonic second. */
void tls_tickets_rotate(struct tls_tickets *, uint64_t now_s);

/* --- Contexts: one set per worker, as OpenSSL's locks are shared by those who share a context - */

struct tls_params {
    /* The first is the default; the rest by SNI: the exact name, then *.name for one label.
     * Certificates of one name with keys of different types (RSA and ECDSA) stand beside each
     * other, and the client's signature algorithms choose; of the same type the first wins. */
    struct tls_certificate *const *certificates;
    uint32_t certificate_count;
    struct tls_tickets *tickets;                   /* outlives the context */
};
/* Belongs to one thread, with all its machines. */
struct tls_context;
struct tls_context *tls_context_new(const struct tls_params *, char why[TLS_WHY_MAX]);
/* Machines hold references of their own. */
void tls_context_free(struct tls_context *);

/* --- One connection, server side -------------------------------------------------------------- */

/* What a step ended with: the first of these that holds. A step is due again after any of: bytes
 * for cipher_in or plain_in have come, plain_out was taken from, cipher_out was sent from; and in
 * the next turn after TLS_WANT_TURN. */
enum tls_want {
    TLS_FAILED,            /* tls_why says of what; cipher_out may hold an alert: send it. What
                              was decrypted before stays in plain_out */
    TLS_WANT_TURN,         /* the budget of this step is used up: call again next turn */
    TLS_WANT_FLUSH,        /* cipher_out is full and more is to be made: send from it */
    TLS_WANT_ROOM,         /* plain_out is full: take from it. More may wait inside, even where
                              cipher_in is empty */
    TLS_WANT_CIPHER        /* all input is used up: feed cipher_in. (But for the first bytes of a
                              connection: a record that is not whole, or what could begin HTTP.
                              16 KiB and 5 bytes is the most, or all that there is room for) */
};

/* Facts for the log and for the request's head; valid while the machine lives. Empty before the
 * handshake is complete, but for the server name. */
struct tls_facts {
    const char *version;        /* "TLSv1.3" */
    const char *cipher;
    struct str server_name;     /* SNI as sent; empty when none, or when it is no host name */
    bool resumed;
};

/* Has OpenSSL's memory counted as gyre's own (base/memory.h). Before anything else of OpenSSL. */
void tls_count_memory(void);

struct tls;
/* Cheap: OpenSSL's part is made in the step that sees the first bytes of a ClientHello. */
struct tls *tls_new(struct tls_context *);
void tls_free(struct tls *);
/* Runs as far as both ends have room and the budget allows: decrypts cipher_in to plain_out up to
 * its mark, encrypts plain_in to cipher_out up to its mark, answers the handshake. Bytes that were
 * used are dropped from cipher_in and plain_in; what is made is appended to copies of the two
 * output queues.
 * What a step may cost: about 64 KiB each way; 256 records of the peer's, of which 8 without data;
 * one flight of a handshake, with at most one private key operation (a connection has one in all).
 * What a peer may cost: 16 KiB of one handshake message, 64 KiB of a handshake and 8 records in it
 * that are none of its messages; then 32 records in a row without data (key updates, alerts, offers
 * to negotiate anew, empty ones).
 * Bounds: plain_out never passes its mark. Records are not cut short at cipher_out's mark: the one
 * that reaches it is whole (16 KiB + 22 bytes; with a mark of 32 KiB, two records go out at a
 * time), and replies to the peer's key updates come on top, at most 2 KiB; past that nothing is
 * read either. The handshake's flight (the certificates) is appended whole.
 * After close_notify the rest of cipher_in is dropped. When the socket has ended, step until
 * TLS_WANT_CIPHER before believing that !tls_is_ended() is a truncation. */
enum tls_want tls_step(struct tls *, struct bufq *cipher_in, struct bufq *plain_out,
                       struct bufq *plain_in, struct bufq *cipher_out);
/* Appends close_notify to cipher_out; nothing of plain_in is encrypted after it; decrypting goes
 * on. Idempotent. After TLS_FAILED, and before the handshake is complete, nothing is appended. */
void tls_end(struct tls *, struct bufq *cipher_out);
bool tls_is_up(const struct tls *);                /* the handshake is complete */
bool tls_is_ended(const struct tls *);             /* the peer has sent close_notify */
/* CLOSE_NONE while nothing failed; then CLOSE_TLS_HANDSHAKE, CLOSE_TLS_ERROR (after it),
 * CLOSE_TLS_FLOOD, CLOSE_NO_MEMORY, or CLOSE_PLAIN_HTTP: the first bytes are a method of HTTP and a
 * blank. No alert was made of that: a plain answer can be read by who sent it. */
enum close_reason tls_why(const struct tls *);
const char *tls_error(const struct tls *);         /* text of the failure, for the log */
void tls_facts(const struct tls *, struct tls_facts *);
/* For 421 (RFC 9110 15.5.20). True when the client named a server (SNI), its certificate here does
 * not cover host, and another certificate of the context does. host has no port; its case and a
 * final dot do not matter. Never true without SNI, nor for a host that no certificate names. */
bool tls_is_misdirected(const struct tls *, struct str host);

#endif
