/* Records that no library would send: a client's keys in the test's own hands. */
#ifndef GYRE_TESTS_TLS_FORGE_H
#define GYRE_TESTS_TLS_FORGE_H

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <time.h>

#include "tls_lab.h"

/* --- Bytes -------------------------------------------------------------------------------- */

struct forged {
    uint8_t *p;
    size_t len, cap;
};

static inline void forged_add(struct forged *f, const void *p, size_t len) {
    if (f->cap - f->len < len) {
        f->cap = (f->len + len) * 2;
        f->p = realloc(f->p, f->cap);
        assert_non_null(f->p);
    }
    if (len > 0) {
        memcpy(f->p + f->len, p, len);
        f->len += len;
    }
}

static inline void forged_fini(struct forged *f) {
    free(f->p);
    *f = (struct forged){0};
}

/* A record in the clear. */
static inline void forged_record(struct forged *f, uint8_t type, uint16_t version, const void *p,
                                 size_t len) {
    uint8_t head[5] = {type, (uint8_t)(version >> 8), (uint8_t)version, (uint8_t)(len >> 8),
                       (uint8_t)len};
    forged_add(f, head, sizeof head);
    forged_add(f, p, len);
}

/* What the client has to say, so far. */
static inline void forged_client(struct forged *f, struct lab *lab) {
    uint8_t piece[4096];
    int n;
    while ((n = BIO_read(lab->from_client, piece, sizeof piece)) > 0) {
        forged_add(f, piece, (size_t)n);
    }
}

/* --- The client's keys: AES-128-GCM in both versions -------------------------------------- */

struct forge {
    bool tls13;
    uint8_t key[16], iv[12];
    uint64_t number;
    EVP_CIPHER_CTX *cipher;
};

static uint8_t forge_secret[32];   /* of the client whose handshake was last */

static inline void forge_keylog(const SSL *ssl, const char *line) {
    (void)ssl;
    static const char label[] = "CLIENT_TRAFFIC_SECRET_0 ";
    if (strncmp(line, label, sizeof label - 1) == 0) {
        const char *hex = strrchr(line, ' ') + 1;
        for (size_t i = 0; i < sizeof forge_secret; i++) {
            unsigned byte;
            assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
            forge_secret[i] = (uint8_t)byte;
        }
    }
}

static inline void forge_derive(const char *kdf, const OSSL_PARAM *params, void *to, size_t len) {
    EVP_KDF *method = EVP_KDF_fetch(NULL, kdf, NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(method);
    assert_non_null(context);
    assert_int_equal(EVP_KDF_derive(context, to, len, params), 1);
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(method);
}

/* RFC 8446 7.1: HKDF-Expand-Label with an empty context. */
static inline void forge_expand(const char *label, void *to, size_t len) {
    char digest[] = "SHA256", info[32];
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    size_t label_len = strlen(label);
    int n = snprintf(info, sizeof info, "%c%c%ctls13 %s%c", 0, (int)len, (int)label_len + 6, label,
                     0);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, forge_secret, sizeof forge_secret),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, (size_t)n),
        OSSL_PARAM_construct_end(),
    };
    forge_derive("HKDF", params, to, len);
}

/* RFC 5246 6.3: the key block. */
static inline void forge_keys_12(struct forge *f, const struct lab *lab) {
    char digest[] = "SHA256";
    uint8_t master[48], seed[13 + 64], block[40];
    assert_int_equal(SSL_SESSION_get_master_key(SSL_get_session(lab->client), master,
                                                sizeof master), sizeof master);
    memcpy(seed, "key expansion", 13);
    SSL_get_server_random(lab->client, seed + 13, 32);
    SSL_get_client_random(lab->client, seed + 45, 32);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, sizeof master),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof seed),
        OSSL_PARAM_construct_end(),
    };
    forge_derive("TLS1-PRF", params, block, sizeof block);
    memcpy(f->key, block, 16);
    memcpy(f->iv, block + 32, 4);
    f->number = 1;   /* the Finished was 0 */
}

/* An open connection whose client's records are made here from now on. */
static inline void forge_open(struct forge *f, struct lab *lab, struct tls_context *context,
                              int version) {
    *f = (struct forge){.tls13 = version == TLS1_3_VERSION, .cipher = EVP_CIPHER_CTX_new()};
    lab_init(lab, context, version);
    SSL_CTX_set_keylog_callback(lab->client_context, forge_keylog);
    assert_true(lab_handshake(lab));
    if (f->tls13) {
        forge_expand("key", f->key, sizeof f->key);
        forge_expand("iv", f->iv, sizeof f->iv);
    } else {
        forge_keys_12(f, lab);
    }
}

static inline void forge_close(struct forge *f, struct lab *lab) {
    EVP_CIPHER_CTX_free(f->cipher);
    lab_fini(lab);
}

/* After a key update of the client's: its next keys (RFC 8446 7.2). */
static inline void forge_update(struct forge *f) {
    uint8_t next[sizeof forge_secret];
    forge_expand("traffic upd", next, sizeof next);
    memcpy(forge_secret, next, sizeof next);
    forge_expand("key", f->key, sizeof f->key);
    forge_expand("iv", f->iv, sizeof f->iv);
    f->number = 0;
}

static inline void forge_crypt(struct forge *f, const uint8_t nonce[12], const uint8_t *aad,
                               int aad_len, const uint8_t *plain, int len, uint8_t *to) {
    int n;
    assert_int_equal(EVP_EncryptInit_ex(f->cipher, EVP_aes_128_gcm(), NULL, f->key, nonce), 1);
    assert_int_equal(EVP_EncryptUpdate(f->cipher, NULL, &n, aad, aad_len), 1);
    if (len > 0) {
        assert_int_equal(EVP_EncryptUpdate(f->cipher, to, &n, plain, len), 1);
    }
    assert_int_equal(EVP_EncryptFinal_ex(f->cipher, to + len, &n), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(f->cipher, EVP_CTRL_AEAD_GET_TAG, 16, to + len), 1);
}

static inline void number_put(uint8_t *to, uint64_t number) {
    for (int i = 0; i < 8; i++) {
        to[i] = (uint8_t)(number >> (56 - 8 * i));
    }
}

/* One encrypted record; padding is for TLS 1.3. */
static inline void forge_record(struct forge *f, struct forged *out, uint8_t type, const void *p,
                                size_t len, size_t padding) {
    static uint8_t plain[20000], sealed[20100];
    uint8_t nonce[12], aad[13];
    if (len > 0) {
        memcpy(plain, p, len);
    }
    memcpy(nonce, f->iv, sizeof nonce);
    if (f->tls13) {
        plain[len] = type;
        memset(plain + len + 1, 0, padding);
        len += 1 + padding;
        uint8_t number[8];
        number_put(number, f->number++);
        for (int i = 0; i < 8; i++) {
            nonce[4 + i] ^= number[i];
        }
        uint8_t head[5] = {23, 3, 3, (uint8_t)((len + 16) >> 8), (uint8_t)(len + 16)};
        forge_crypt(f, nonce, head, sizeof head, plain, (int)len, sealed);
        forged_record(out, 23, 0x303, sealed, len + 16);
        return;
    }
    number_put(nonce + 4, f->number);
    number_put(aad, f->number++);
    memcpy(aad + 8, (uint8_t[]){type, 3, 3, (uint8_t)(len >> 8), (uint8_t)len}, 5);
    memcpy(sealed, nonce + 4, 8);
    forge_crypt(f, nonce, aad, sizeof aad, plain, (int)len, sealed + 8);
    forged_record(out, type, 0x303, sealed, len + 24);
}

/* --- Feeding, and what a step costs ------------------------------------------------------- */

struct cost {
    uint32_t steps, records, records_max;   /* in all, and in one step */
    uint32_t bytes_max;
    double us_max;                          /* of the processor; TLS_TIMES=1 prints it */
};

static inline double cost_now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static inline void cost_tell(const char *what, const struct cost *c) {
    if (getenv("TLS_TIMES") != NULL) {
        print_message("%-44s %5u steps, %6u records, at most %3u and %6u bytes in %8.1f us\n", what,
                      c->steps, c->records, c->records_max, c->bytes_max, c->us_max);
    }
}

/* Gives the machine all of it at once and steps until it wants no more, taking what comes out; the
 * bytes must be records, so that they can be counted. got may be NULL. */
static inline struct cost cost_of(struct lab *lab, const struct forged *f, struct forged *got) {
    struct cost c = {0};
    size_t at = 0, head = 0;
    lab->cipher_in.mark = UINT32_MAX;
    bufq_copy(&lab->cipher_in, f->p, (uint32_t)f->len);
    do {
        uint32_t before = lab->cipher_in.bytes, records = 0;
        double began = cost_now_us();
        lab_step(lab);
        double us = cost_now_us() - began;
        uint32_t bytes = before - lab->cipher_in.bytes;
        for (at += bytes; head < at; records++) {
            head += 5u + (uint32_t)(f->p[head + 3] << 8 | f->p[head + 4]);
        }
        c.steps++;
        c.records += records;
        c.records_max = records > c.records_max ? records : c.records_max;
        c.bytes_max = bytes > c.bytes_max ? bytes : c.bytes_max;
        c.us_max = us > c.us_max ? us : c.us_max;
        assert_true(c.steps < 100000);
        uint32_t n = lab->plain_out.bytes;
        uint8_t *plain = malloc(n + 1);
        bufq_read(&lab->plain_out, plain, n);
        bufq_drop(&lab->plain_out, n);
        if (got != NULL) {
            forged_add(got, plain, n);
        }
        free(plain);
    } while (lab->want == TLS_WANT_TURN || lab->want == TLS_WANT_ROOM);
    return c;
}

#endif
