/* SNI: which certificates stand for which name, and the choice by the ClientHello. */
#include <openssl/err.h>
#include <stdlib.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "tls/tls_priv.h"

/* --- Names ------------------------------------------------------------------------------------ */

static bool name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

bool tls_name_normal(struct str name, char room[TLS_NAME_MAX], struct str *normal) {
    if (name.len > 0 && name.p[name.len - 1] == '.') {
        name.len--;
    }
    if (name.len == 0 || name.len > TLS_NAME_MAX || name.p[0] == '.') {
        return false;
    }
    for (uint32_t i = 0; i < name.len; i++) {
        room[i] = char_lower(name.p[i]);
        if (!name_char(room[i])) {
            return false;
        }
    }
    *normal = (struct str){room, name.len};
    return true;
}

/* --- Sites ------------------------------------------------------------------------------------ */

static int str_order(struct str a, struct str b) {
    int order = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int site_order(const void *a, const void *b) {
    return str_order(((const struct tls_site *)a)->name, ((const struct tls_site *)b)->name);
}

static void site_add(struct tls_site *site, struct tls_certificate *certificate) {
    if (site->by_type[certificate->type] == NULL) {
        site->by_type[certificate->type] = certificate;
    }
}

static struct tls_site *site_search(const struct tls_sites *sites, struct str name) {
    struct tls_site key = {.name = name};
    return sites->count == 0
               ? NULL
               : bsearch(&key, sites->v, sites->count, sizeof *sites->v, site_order);
}

/* The first certificate, and what else is shown for its first name: a client without SNI that can
 * not use the one may be able to use the other. */
static void fallback_init(struct tls_sites *sites, struct tls_certificate *first) {
    site_add(&sites->fallback, first);
    if (first->name_count == 0) {
        return;
    }
    sites->fallback.name = str_of(first->names[0]);
    const struct tls_site *same = site_search(sites, sites->fallback.name);
    for (int type = 0; type < KEY_TYPES; type++) {
        if (same->by_type[type] != NULL) {
            site_add(&sites->fallback, same->by_type[type]);
        }
    }
}

void tls_sites_init(struct tls_sites *sites, struct tls_certificate *const *certificates,
                    uint32_t count) {
    *sites = (struct tls_sites){0};
    uint32_t name_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        name_count += certificates[i]->name_count;
    }
    sites->v = mem_zero(name_count * sizeof *sites->v);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < certificates[i]->name_count; k++) {
            sites->v[sites->count++].name = str_of(certificates[i]->names[k]);
        }
    }
    if (sites->count > 0) {
        qsort(sites->v, sites->count, sizeof *sites->v, site_order);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sites->count; i++) {
        if (kept == 0 || !str_eq(sites->v[kept - 1].name, sites->v[i].name)) {
            sites->v[kept++] = sites->v[i];
        }
    }
    sites->count = kept;
    /* In the order of the configuration, so that of one type the first wins. */
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < certificates[i]->name_count; k++) {
            site_add(site_search(sites, str_of(certificates[i]->names[k])), certificates[i]);
        }
    }
    fallback_init(sites, certificates[0]);
}

void tls_sites_fini(struct tls_sites *sites) {
    mem_free(sites->v);
    *sites = (struct tls_sites){0};
}

const struct tls_site *tls_sites_find(const struct tls_sites *sites, struct str host) {
    const struct tls_site *site = site_search(sites, host);
    const char *dot = memchr(host.p, '.', host.len);
    if (site != NULL || dot == NULL || dot == host.p) {
        return site;
    }
    char wild[TLS_NAME_MAX + 1];
    struct str rest = {dot, host.len - (uint32_t)(dot - host.p)};
    wild[0] = '*';
    memcpy(wild + 1, rest.p, rest.len);
    return site_search(sites, (struct str){wild, rest.len + 1});
}

/* --- The ClientHello -------------------------------------------------------------------------- */

/* RFC 6066 3: a list's length, then a type (0: host name), a length and the name. What is
 * malformed is left to OpenSSL, which reads it again and refuses it. */
static bool hello_name(SSL *ssl, struct str *name) {
    const unsigned char *p;
    size_t len;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &len) != 1 || len < 5) {
        return false;
    }
    size_t list_len = (size_t)p[0] << 8 | p[1];
    size_t name_len = (size_t)p[3] << 8 | p[4];
    if (list_len != len - 2 || p[2] != TLSEXT_NAMETYPE_host_name || name_len > len - 5) {
        return false;
    }
    *name = (struct str){(const char *)p + 5, (uint32_t)name_len};
    return true;
}

static bool site_same(const struct tls_site *a, const struct tls_site *b) {
    return memcmp(a->by_type, b->by_type, sizeof a->by_type) == 0;
}

/* SSL_set_SSL_CTX would need a context for each name and takes over nothing but certificates
 * anyway. One context and its certificates per connection is the smaller way, and costs nothing
 * where the default is meant. */
static bool site_show(SSL *ssl, const struct tls_site *site) {
    SSL_certs_clear(ssl);
    for (int type = 0; type < KEY_TYPES; type++) {
        const struct tls_certificate *c = site->by_type[type];
        if (c != NULL && SSL_use_cert_and_key(ssl, c->leaf, c->key, c->chain, 1) != 1) {
            return false;
        }
    }
    return true;
}

int tls_hello_done(SSL *ssl, int *alert, void *arg) {
    struct tls_context *context = arg;
    struct tls *tls = SSL_get_app_data(ssl);
    ensure_magic(context, TLS_CONTEXT_MAGIC);
    ensure_magic(tls, TLS_MAGIC);
    /* After a HelloRetryRequest this runs a second time; the choice is made by the first. */
    struct str sent, normal;
    char room[TLS_NAME_MAX];
    if (tls->server_name != NULL || !hello_name(ssl, &sent) ||
        !tls_name_normal(sent, room, &normal)) {
        return SSL_CLIENT_HELLO_SUCCESS;
    }
    tls->server_name = mem_try_copy(sent.p, sent.len);
    if (tls->server_name == NULL) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    tls->server_name_len = sent.len;
    const struct tls_site *site = tls_sites_find(&context->sites, normal);
    if (site == NULL) {
        return SSL_CLIENT_HELLO_SUCCESS;
    }
    tls->site = site;
    if (!site_same(site, &context->sites.fallback) && !site_show(ssl, site)) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* --- Misdirected requests --------------------------------------------------------------------- */

bool tls_is_misdirected(const struct tls *tls, struct str host) {
    ensure_magic(tls, TLS_MAGIC);
    struct str sent = {tls->server_name, tls->server_name_len}, normal;
    char room[TLS_NAME_MAX];
    if (sent.len == 0 || str_eq_fold(host, sent) || !tls_name_normal(host, room, &normal)) {
        return false;
    }
    const struct tls_site *other = tls_sites_find(&tls->context->sites, normal);
    if (other == NULL || other == tls->site) {
        return false;
    }
    for (int type = 0; type < KEY_TYPES; type++) {
        const struct tls_certificate *shown = tls->site->by_type[type];
        if (shown != NULL && tls_certificate_covers(shown, normal)) {
            return false;
        }
    }
    return true;
}
