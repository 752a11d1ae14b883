/* What the files of tls/ share: certificates, sites and the machine's insides. */
#ifndef GYRE_TLS_TLS_PRIV_H
#define GYRE_TLS_TLS_PRIV_H

#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdatomic.h>

#include "tls/tls.h"

#define TLS_CERTIFICATE_MAGIC 0x54434552u
#define TLS_CONTEXT_MAGIC 0x54435458u
#define TLS_MAGIC 0x544c5321u

/* Plain bytes of a full record (RFC 8446 5.1). */
#define TLS_RECORD_MAX 16384u
#define TLS_NAME_MAX 253u

/* What one name may have side by side: OpenSSL keeps one certificate of each in a connection. */
enum tls_key_type { KEY_EC, KEY_RSA, KEY_RSA_PSS, KEY_ED25519, KEY_ED448, KEY_TYPES };

struct tls_certificate {
    unsigned magic;
    _Atomic uint32_t refs;
    char *path;                 /* of the chain, for messages */
    X509 *leaf;
    STACK_OF(X509) *chain;      /* without the leaf */
    EVP_PKEY *key;
    enum tls_key_type type;
    char **names;               /* lower case, *. in front of a wildcard */
    uint32_t name_count;
};
struct tls_certificate *tls_certificate_ref(struct tls_certificate *);
/* True when one of its names is the host, or a wildcard for it. The host is normal. */
bool tls_certificate_covers(const struct tls_certificate *, struct str host);
/* why becomes "PATH: MESSAGE"; a long path loses its beginning, never the message. */
void tls_why_set(char why[TLS_WHY_MAX], const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Makes what all machines share; called before the first of them is. */
void tls_engine_init(void);
/* The newest entry of OpenSSL's error queue in words; static text. */
const char *tls_reason(void);

/* A name, and the certificates that are shown for it. */
struct tls_site {
    struct str name;            /* in the names of one of its certificates */
    struct tls_certificate *by_type[KEY_TYPES];
};
struct tls_sites {
    struct tls_site *v;         /* sorted by name */
    uint32_t count;
    struct tls_site fallback;   /* the first certificate, and its like of other key types */
};
void tls_sites_init(struct tls_sites *, struct tls_certificate *const *, uint32_t count);
void tls_sites_fini(struct tls_sites *);
/* NULL when no certificate names the host. The host is normal. */
const struct tls_site *tls_sites_find(const struct tls_sites *, struct str host);
/* Lower case, without a final dot, in room; false when it can not be a host's name. */
bool tls_name_normal(struct str name, char room[TLS_NAME_MAX], struct str *normal);
/* Reads the server's name out of a ClientHello and chooses the certificates: OpenSSL's callback. */
int tls_hello_done(SSL *, int *alert, void *context);

/* OpenSSL's callback for ticket keys; finds the tickets through the machine. */
int tls_tickets_key(SSL *, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *, EVP_MAC_CTX *,
                    int encrypt);

struct tls_context {
    unsigned magic;
    uint32_t refs;
    SSL_CTX *ssl;
    struct tls_tickets *tickets;
    struct tls_certificate **certificates;
    uint32_t certificate_count;
    struct tls_sites sites;
    uint8_t gather[TLS_RECORD_MAX];   /* where small pieces become one record */
};

/* What a peer's bytes are, and what they may cost: meter.c. */
struct tls_meter {
    uint8_t head[5];            /* of the record that is under way */
    uint8_t head_len;
    uint16_t body_left;         /* of that record */
    bool up;                    /* the handshake is complete */
    bool fresh;                 /* a record was counted as barren that may yet bring data */
    bool sealed;                /* TLS 1.2: handshake messages are encrypted from here on */
    uint8_t message[4];         /* the head of a handshake message in the clear */
    uint8_t message_len;
    uint32_t message_left;      /* of its body */
    uint32_t handshake_bytes;   /* taken before the handshake was complete */
    uint32_t barren;            /* records without data since the last data */
    uint32_t bytes_left, records_left, barren_left;   /* of this step */
    const char *refused;        /* static text: OpenSSL gets no more of this */
    enum close_reason why;
};
enum tls_first { FIRST_MORE, FIRST_TLS, FIRST_ALERT, FIRST_HTTP, FIRST_OTHER };
/* What the first bytes of a connection begin. FIRST_MORE: too few of them. */
enum tls_first tls_first_of(const struct bufq *cipher_in);
void meter_step(struct tls_meter *);            /* a step begins */
/* How many of the next bytes OpenSSL may have, never over the end of a record or its head; 0: none
 * in this step, or, where it is refused, none ever. */
uint32_t meter_room(struct tls_meter *);
/* OpenSSL is to have these; false: it must not. */
bool meter_take(struct tls_meter *, const struct tls *, const uint8_t *, uint32_t len);
void meter_up(struct tls_meter *);              /* the handshake is complete */
void meter_data(struct tls_meter *);            /* OpenSSL has given us data */

struct tls {
    unsigned magic;
    bool up, ended, end_sent, failed;
    SSL *ssl;                   /* NULL before the first bytes of TLS */
    struct tls_context *context;
    struct bufq *cipher_in, *cipher_out;   /* while OpenSSL works for us; else NULL */
    struct tls_meter meter;
    enum close_reason why;
    const char *error;          /* static text */
    const struct tls_site *site;
    char *server_name;          /* as sent, or NULL */
    uint32_t server_name_len;
};

#endif
