/* A laboratory for tls/: certificates made on the spot, and a client facing a machine. */
#ifndef GYRE_TESTS_TLS_LAB_H
#define GYRE_TESTS_TLS_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "tls/tls.h"

/* --- Luck that can be had again ----------------------------------------------------------- */

static inline uint32_t lab_random(uint64_t *seed, uint32_t below) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % below;
}

/* --- Certificates ------------------------------------------------------------------------- */

struct lab_pair {
    EVP_PKEY *key;
    X509 *x;
};

/* Names is a subjectAltName ("DNS:a,DNS:b") or NULL; the issuer NULL signs itself. */
static inline struct lab_pair lab_make(EVP_PKEY *key, const char *common, const char *names,
                                       const struct lab_pair *issuer) {
    static long serial;
    assert_non_null(key);
    X509 *x = X509_new();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, key);
    X509_NAME *subject = X509_NAME_new();
    if (common != NULL) {
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common, -1,
                                   -1, 0);
    }
    X509_set_subject_name(x, subject);
    X509_set_issuer_name(x, issuer != NULL ? X509_get_subject_name(issuer->x) : subject);
    X509_NAME_free(subject);
    if (names != NULL) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
        assert_non_null(e);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    EVP_PKEY *signer = issuer != NULL ? issuer->key : key;
    bool eddsa = EVP_PKEY_is_a(signer, "ED25519") || EVP_PKEY_is_a(signer, "ED448");
    assert_true(X509_sign(x, signer, eddsa ? NULL : EVP_sha256()) > 0);
    return (struct lab_pair){key, x};
}

static inline struct lab_pair lab_ec(const char *common, const char *names) {
    return lab_make(EVP_EC_gen("P-256"), common, names, NULL);
}

static inline struct lab_pair lab_rsa(const char *common, const char *names) {
    return lab_make(EVP_RSA_gen(2048), common, names, NULL);
}

static inline void lab_pair_free(struct lab_pair *pair) {
    X509_free(pair->x);
    EVP_PKEY_free(pair->key);
}

/* --- Files -------------------------------------------------------------------------------- */

static char lab_folder[64];

static inline int lab_folder_make(void **state) {
    (void)state;
    strcpy(lab_folder, "/tmp/gyre-tls-XXXXXX");
    return mkdtemp(lab_folder) == NULL;
}

static inline int lab_folder_drop(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", lab_folder);
    return system(command);
}

static inline const char *lab_path(const char *name) {
    static char paths[16][128];
    static unsigned turn;
    char *path = paths[turn++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", lab_folder, name);
    return path;
}

/* Appends what is given (each may be NULL) to the file. */
static inline const char *lab_file(const char *name, const char *raw, X509 *x, EVP_PKEY *key) {
    const char *path = lab_path(name);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    if (raw != NULL) {
        fputs(raw, file);
    }
    if (x != NULL) {
        assert_int_equal(PEM_write_X509(file, x), 1);
    }
    if (key != NULL) {
        assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    }
    fclose(file);
    return path;
}

static inline struct tls_certificate *lab_load(const char *name, const struct lab_pair *pair) {
    char why[TLS_WHY_MAX] = "";
    const char *path = lab_file(name, NULL, pair->x, pair->key);
    struct tls_certificate *certificate = tls_certificate_load(path, NULL, why);
    assert_string_equal(why, "");
    assert_non_null(certificate);
    unlink(path);
    return certificate;
}

/* --- A client and a machine back to back -------------------------------------------------- */

struct lab {
    struct segpool plains, records;
    struct bufq cipher_in, plain_out, plain_in, cipher_out;
    struct tls *tls;
    enum tls_want want;
    SSL_CTX *client_context;
    SSL *client;
    BIO *to_client, *from_client;   /* the client's */
    int client_error;               /* SSL_get_error of its last call */
    unsigned long client_reason;
    uint32_t feed_max;              /* bytes given to the machine at a time; 0: all */
    SSL_SESSION *session;           /* the newest ticket */
    uint32_t session_count;
    bool held;                      /* the client takes nothing */
};

static inline int lab_session_new(SSL *ssl, SSL_SESSION *session) {
    struct lab *lab = SSL_get_app_data(ssl);
    SSL_SESSION_free(lab->session);
    lab->session = session;
    lab->session_count++;
    return 1;
}

static inline void lab_init(struct lab *lab, struct tls_context *context, int version) {
    *lab = (struct lab){0};
    segpool_init(&lab->plains, "plains", 4096, 0, false);
    segpool_init(&lab->records, "records", 33 * 1024, 0, false);
    bufq_init(&lab->cipher_in, 1u << 20, &lab->plains);
    bufq_init(&lab->plain_out, 1u << 16, &lab->plains);
    bufq_init(&lab->plain_in, 1u << 20, &lab->plains);
    bufq_init(&lab->cipher_out, 32768, &lab->records);
    lab->tls = tls_new(context);
    assert_non_null(lab->tls);
    lab->client_context = SSL_CTX_new(TLS_client_method());
    if (version != 0) {
        SSL_CTX_set_min_proto_version(lab->client_context, version);
        SSL_CTX_set_max_proto_version(lab->client_context, version);
    }
    SSL_CTX_set_session_cache_mode(lab->client_context,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(lab->client_context, lab_session_new);
    lab->client = SSL_new(lab->client_context);
    SSL_set_app_data(lab->client, lab);
    lab->to_client = BIO_new(BIO_s_mem());
    lab->from_client = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(lab->to_client, -1);
    SSL_set_bio(lab->client, lab->to_client, lab->from_client);
    SSL_set_connect_state(lab->client);
}

/* All pools are empty at the end: nothing leaked, nothing is pinned. */
static inline void lab_fini(struct lab *lab) {
    tls_free(lab->tls);
    /* Or OpenSSL would think that the connection was cut, and its session not fit for use. */
    SSL_set_shutdown(lab->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(lab->client);
    SSL_CTX_free(lab->client_context);
    SSL_SESSION_free(lab->session);
    bufq_fini(&lab->cipher_in);
    bufq_fini(&lab->plain_out);
    bufq_fini(&lab->plain_in);
    bufq_fini(&lab->cipher_out);
    assert_int_equal(lab->plains.live, 0);
    assert_int_equal(lab->records.live, 0);
    segpool_fini(&lab->plains);
    segpool_fini(&lab->records);
    ERR_clear_error();
}

/* The client's result of a call. */
static inline bool lab_client_did(struct lab *lab, int rc) {
    lab->client_error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(lab->client, rc);
    if (lab->client_error == SSL_ERROR_SSL) {
        lab->client_reason = ERR_peek_last_error();
    }
    ERR_clear_error();
    return rc == 1;
}

static inline enum tls_want lab_step(struct lab *lab) {
    lab->want = tls_step(lab->tls, &lab->cipher_in, &lab->plain_out, &lab->plain_in,
                         &lab->cipher_out);
    return lab->want;
}

/* Brings the client's bytes to the machine, feed_max at a time, stepping as the door says. */
static inline void lab_to_machine(struct lab *lab) {
    uint8_t piece[65536];
    int size = lab->feed_max != 0 && lab->feed_max < sizeof piece ? (int)lab->feed_max
                                                                 : (int)sizeof piece;
    int n;
    do {
        n = BIO_read(lab->from_client, piece, size);
        if (n > 0) {
            bufq_copy(&lab->cipher_in, piece, (uint32_t)n);
        }
        while (lab_step(lab) == TLS_WANT_TURN) {
        }
    } while (n > 0);
}

static inline void lab_to_client(struct lab *lab) {
    uint32_t len;
    const uint8_t *p;
    while (!lab->held && (p = bufq_front(&lab->cipher_out, &len)) != NULL) {
        assert_int_equal(BIO_write(lab->to_client, p, (int)len), (int)len);
        bufq_drop(&lab->cipher_out, len);
    }
}

static inline bool lab_handshake(struct lab *lab) {
    for (int i = 0; i < 20; i++) {
        lab_client_did(lab, SSL_do_handshake(lab->client));
        lab_to_machine(lab);
        lab_to_client(lab);
        if (lab->want == TLS_FAILED) {
            lab_client_did(lab, SSL_do_handshake(lab->client));
            return false;
        }
        if (SSL_is_init_finished(lab->client) && tls_is_up(lab->tls)) {
            /* What follows the handshake: TLS 1.3's ticket. */
            char byte;
            size_t done;
            lab_client_did(lab, SSL_read_ex(lab->client, &byte, 0, &done));
            lab_client_did(lab, SSL_peek_ex(lab->client, &byte, 1, &done));
            return true;
        }
    }
    return false;
}

static inline void lab_client_write(struct lab *lab, const void *p, size_t len) {
    size_t done;
    assert_true(lab_client_did(lab, SSL_write_ex(lab->client, p, len, &done)));
    assert_int_equal(done, len);
}

/* What the client can read now; its end is in client_error. */
static inline size_t lab_client_read(struct lab *lab, void *to, size_t max) {
    size_t all = 0, done;
    while (all < max && lab_client_did(lab, SSL_read_ex(lab->client, (uint8_t *)to + all,
                                                        max - all, &done))) {
        all += done;
    }
    return all;
}

/* A request and an answer through an open connection. */
static inline void lab_echo(struct lab *lab) {
    char text[16] = "";
    lab_client_write(lab, "ping", 4);
    lab_to_machine(lab);
    assert_int_equal(bufq_read(&lab->plain_out, text, sizeof text), 4);
    assert_string_equal(text, "ping");
    bufq_move(&lab->plain_in, &lab->plain_out, 4);
    lab_to_machine(lab);
    lab_to_client(lab);
    memset(text, 0, sizeof text);
    assert_int_equal(lab_client_read(lab, text, sizeof text), 4);
    assert_string_equal(text, "ping");
}

/* --- A context of one certificate --------------------------------------------------------- */

struct lab_site {
    struct lab_pair pair;
    struct tls_certificate *certificate;
    struct tls_tickets *tickets;
    struct tls_context *context;
};

static inline struct tls_context *lab_context(struct tls_certificate *const *certificates,
                                              uint32_t count, struct tls_tickets *tickets) {
    char why[TLS_WHY_MAX] = "";
    struct tls_params params = {certificates, count, tickets};
    struct tls_context *context = tls_context_new(&params, why);
    assert_string_equal(why, "");
    assert_non_null(context);
    return context;
}

static inline void lab_site_init(struct lab_site *site) {
    site->pair = lab_ec("example.org", "DNS:example.org");
    site->certificate = lab_load("site.pem", &site->pair);
    site->tickets = tls_tickets_new();
    site->context = lab_context(&site->certificate, 1, site->tickets);
}

static inline void lab_site_fini(struct lab_site *site) {
    tls_context_free(site->context);
    tls_tickets_free(site->tickets);
    tls_certificate_free(site->certificate);
    lab_pair_free(&site->pair);
}

#endif
