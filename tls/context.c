/* Contexts: what a worker's TLS connections have in common: versions, suites, groups, ALPN. */
#include <openssl/err.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "tls/tls_priv.h"

/* Forward secrecy and AEAD only (RFC 9325 4.2). AES-128 first: it is the faster one; a client
 * without AES in hardware puts ChaCha first and gets it (PRIORITIZE_CHACHA). */
#define SUITES_12 \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define SUITES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"
#define GROUPS_HYBRID "X25519MLKEM768:" GROUPS   /* OpenSSL 3.5 and later */

/* --- ALPN ------------------------------------------------------------------------------------- */

static bool alpn_offers(const unsigned char *list, unsigned int len, struct str protocol,
                        const unsigned char **out) {
    for (unsigned int at = 0; at < len; at += 1u + list[at]) {
        struct str offered = {(const char *)list + at + 1, list[at]};
        if (offered.len < len - at && str_eq(offered, protocol)) {
            *out = list + at + 1;
            return true;
        }
    }
    return false;
}

/* A client that names protocols and HTTP/1 not among them would not understand an answer: RFC 7301
 * 3.2 has an alert for it. Without ALPN, HTTP/1.1 goes without saying. */
static int alpn_done(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                     const unsigned char *list, unsigned int len, void *arg) {
    (void)ssl, (void)arg;
    if (alpn_offers(list, len, STR("http/1.1"), out) ||
        alpn_offers(list, len, STR("http/1.0"), out)) {
        *out_len = 8;
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* --- Contexts --------------------------------------------------------------------------------- */

static bool groups_set(SSL_CTX *ssl) {
    if (SSL_CTX_set1_groups_list(ssl, GROUPS_HYBRID) == 1) {
        return true;
    }
    ERR_clear_error();
    return SSL_CTX_set1_groups_list(ssl, GROUPS) == 1;
}

static bool rules_set(struct tls_context *context) {
    static const unsigned char session_context[] = "gyre";
    SSL_CTX *ssl = context->ssl;
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    /* RELEASE_BUFFERS: an idle connection holds no record buffers. NO_AUTO_CHAIN: the chain is
     * what the file says; OpenSSL would search its store in every handshake. */
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    /* Tickets hold the session: nothing is kept here, and any worker can resume it. */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ssl, TLS_TICKET_LIFE_S);
    SSL_CTX_set_client_hello_cb(ssl, tls_hello_done, context);
    SSL_CTX_set_alpn_select_cb(ssl, alpn_done, NULL);
    return SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ssl, 0) == 1 &&
           SSL_CTX_set_cipher_list(ssl, SUITES_12) == 1 &&
           SSL_CTX_set_ciphersuites(ssl, SUITES_13) == 1 && groups_set(ssl) &&
           SSL_CTX_set_num_tickets(ssl, 1) == 1 &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, tls_tickets_key) == 1 &&
           SSL_CTX_set_session_id_context(ssl, session_context, sizeof session_context - 1) == 1;
}

static bool certificates_set(struct tls_context *context, char why[TLS_WHY_MAX]) {
    for (int type = 0; type < KEY_TYPES; type++) {
        const struct tls_certificate *c = context->sites.fallback.by_type[type];
        if (c != NULL &&
            SSL_CTX_use_cert_and_key(context->ssl, c->leaf, c->key, c->chain, 1) != 1) {
            tls_why_set(why, c->path, "OpenSSL refuses to serve it: %s", tls_reason());
            return false;
        }
    }
    return true;
}

struct tls_context *tls_context_new(const struct tls_params *params, char why[TLS_WHY_MAX]) {
    ensure(params->certificate_count > 0 && params->tickets != NULL);
    struct tls_context *context = mem_zero(sizeof *context);
    context->magic = TLS_CONTEXT_MAGIC;
    context->refs = 1;
    context->tickets = params->tickets;
    context->certificate_count = params->certificate_count;
    context->certificates = mem_alloc(params->certificate_count * sizeof(*context->certificates));
    for (uint32_t i = 0; i < params->certificate_count; i++) {
        context->certificates[i] = tls_certificate_ref(params->certificates[i]);
    }
    tls_sites_init(&context->sites, context->certificates, context->certificate_count);
    tls_engine_init();
    ERR_clear_error();
    context->ssl = SSL_CTX_new(TLS_server_method());
    bool good = context->ssl != NULL && rules_set(context);
    if (!good) {
        tls_why_set(why, "", "OpenSSL can not be set up: %s", tls_reason());
    }
    good = good && certificates_set(context, why);
    ERR_clear_error();
    if (!good) {
        tls_context_free(context);
        return NULL;
    }
    return context;
}

void tls_context_free(struct tls_context *context) {
    ensure_magic(context, TLS_CONTEXT_MAGIC);
    ensure(context->refs > 0);
    if (--context->refs > 0) {
        return;
    }
    SSL_CTX_free(context->ssl);
    tls_sites_fini(&context->sites);
    for (uint32_t i = 0; i < context->certificate_count; i++) {
        tls_certificate_free(context->certificates[i]);
    }
    mem_free(context->certificates);
    context->magic = 0;
    mem_free(context);
}
