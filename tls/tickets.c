/* Session tickets: the keys that all workers share, and OpenSSL's callback that uses them. */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <pthread.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "tls/tls_priv.h"

#define TICKET_NAME_LEN 16
#define TICKET_IV_LEN 16

struct ticket_key {
    unsigned char name[TICKET_NAME_LEN];
    unsigned char aes[32];    /* AES-256-CBC */
    unsigned char hmac[32];   /* HMAC-SHA256 */
};

struct tls_tickets {
    pthread_mutex_t lock;     /* held for a copy of one key: once in a handshake */
    struct ticket_key current, previous;
    bool has_previous;
    bool dated;               /* current_s is known */
    uint64_t current_s;       /* since when current is current */
    EVP_CIPHER *cipher;       /* fetched once: a fetch takes locks of the library */
};

/* False without random bytes, for which OpenSSL may want memory. */
static bool key_make(struct ticket_key *key) {
    return RAND_bytes(key->name, sizeof key->name) == 1 &&
           RAND_priv_bytes(key->aes, sizeof key->aes) == 1 &&
           RAND_priv_bytes(key->hmac, sizeof key->hmac) == 1;
}

struct tls_tickets *tls_tickets_new(void) {
    struct tls_tickets *tickets = mem_zero(sizeof *tickets);
    ensure(pthread_mutex_init(&tickets->lock, NULL) == 0);
    tickets->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    ensure(tickets->cipher != NULL);
    ensure(key_make(&tickets->current));   /* a server without random bytes must not begin */
    return tickets;
}

void tls_tickets_free(struct tls_tickets *tickets) {
    EVP_CIPHER_free(tickets->cipher);
    pthread_mutex_destroy(&tickets->lock);
    OPENSSL_cleanse(tickets, sizeof *tickets);
    mem_free(tickets);
}

void tls_tickets_rotate(struct tls_tickets *tickets, uint64_t now_s) {
    struct ticket_key fresh;
    pthread_mutex_lock(&tickets->lock);
    if (!tickets->dated) {
        tickets->dated = true;
        tickets->current_s = now_s;
    }
    uint64_t age = now_s > tickets->current_s ? now_s - tickets->current_s : 0;
    /* Where no key can be made now, the current one lives until the next call. */
    if (age >= TLS_TICKET_LIFE_S && key_make(&fresh)) {
        tickets->previous = tickets->current;
        /* Where nobody called for two lives, the old key has had its second one already. */
        tickets->has_previous = age < 2 * (uint64_t)TLS_TICKET_LIFE_S;
        tickets->current = fresh;
        tickets->current_s = now_s;
        OPENSSL_cleanse(&fresh, sizeof fresh);
    }
    pthread_mutex_unlock(&tickets->lock);
}

/* The key of that name into *key; false when it is unknown. */
static bool key_find(struct tls_tickets *tickets, const unsigned char *name,
                     struct ticket_key *key, bool *is_current) {
    bool found = true;
    pthread_mutex_lock(&tickets->lock);
    *is_current = memcmp(name, tickets->current.name, TICKET_NAME_LEN) == 0;
    if (*is_current) {
        *key = tickets->current;
    } else if (tickets->has_previous &&
               memcmp(name, tickets->previous.name, TICKET_NAME_LEN) == 0) {
        *key = tickets->previous;
    } else {
        found = false;
    }
    pthread_mutex_unlock(&tickets->lock);
    return found;
}

static bool mac_init(EVP_MAC_CTX *mac, struct ticket_key *key) {
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof key->hmac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int ticket_seal(struct tls_tickets *tickets, unsigned char *name, unsigned char *iv,
                       EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac) {
    struct ticket_key key;
    pthread_mutex_lock(&tickets->lock);
    key = tickets->current;
    pthread_mutex_unlock(&tickets->lock);
    memcpy(name, key.name, TICKET_NAME_LEN);
    bool good = RAND_bytes(iv, TICKET_IV_LEN) == 1 &&
                EVP_EncryptInit_ex2(cipher, tickets->cipher, key.aes, iv, NULL) == 1 &&
                mac_init(mac, &key);
    OPENSSL_cleanse(&key, sizeof key);
    return good ? 1 : -1;
}

static int ticket_open(struct tls_tickets *tickets, SSL *ssl, const unsigned char *name,
                       const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac) {
    struct ticket_key key;
    bool is_current;
    if (!key_find(tickets, name, &key, &is_current)) {
        return 0;   /* a full handshake */
    }
    bool good = mac_init(mac, &key) &&
                EVP_DecryptInit_ex2(cipher, tickets->cipher, key.aes, iv, NULL) == 1;
    OPENSSL_cleanse(&key, sizeof key);
    if (!good) {
        return -1;
    }
    /* 2 asks for a new ticket. In TLS 1.3 always: a client should use each once (RFC 8446 C.4). */
    return is_current && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2;
}

int tls_tickets_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, int encrypt) {
    struct tls *tls = SSL_get_app_data(ssl);
    ensure_magic(tls, TLS_MAGIC);
    struct tls_tickets *tickets = tls->context->tickets;
    return encrypt ? ticket_seal(tickets, name, iv, cipher, mac)
                   : ticket_open(tickets, ssl, name, iv, cipher, mac);
}
