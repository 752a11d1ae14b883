/* sticky = cookie: what a cookie says of a server. */
#include "base/mem.h"
#include "tls/tls.h"
#include "upstream/upstream_priv.h"

_Static_assert(STICKY_LEN % 4 == 0 && STICKY_LEN / 4 * 3 <= TLS_MAC_LEN, "whole groups of it");

/* RFC 4648 5 */
static void base64url(const uint8_t *from, char to[STICKY_LEN]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (uint32_t i = 0; i < STICKY_LEN; i += 4, from += 3) {
        uint32_t bits = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
        for (uint32_t k = 0; k < 4; k++) {
            to[i + k] = digits[bits >> (18 - 6 * k) & 63];
        }
    }
}

/* The signature of its name is all that a cookie needs to say of a server: who has no secret can
 * neither make one nor see from it which address was signed. */
void server_sign(struct server *server, struct str secret) {
    static const char purpose[] = "gyre sticky 1";
    const struct backend *backend = server->backend;
    uint32_t cap = (uint32_t)(sizeof purpose + strlen(backend->name) + 1 + sizeof server->name);
    struct text text = text_on(mem_alloc(cap), cap);
    text_str(&text, (struct str){purpose, sizeof purpose});
    text_str(&text, (struct str){backend->name, (uint32_t)strlen(backend->name) + 1});
    text_str(&text, str_of(server->name));
    ensure(!text.cut);
    uint8_t mac[TLS_MAC_LEN];
    tls_mac(secret, (struct str){text.p, text.len}, mac);
    base64url(mac, server->sticky);
    mem_free(text.p);
}

void registry_sign(struct registry *registry, struct str secret) {
    for (uint32_t i = 0; i < registry->backend_count; i++) {
        struct backend *backend = &registry->backends[i];
        uint32_t count = backend->sticky == CONF_STICKY_COOKIE ? backend->server_count : 0;
        for (uint32_t k = 0; k < count; k++) {
            server_sign(&backend->servers[k], secret);
        }
    }
    if (registry->name_count > 0) {   /* their servers are signed as they come */
        registry->secret = (struct str){mem_copy(secret.p, secret.len), secret.len};
    }
}

static bool is_same(const char *a, const char *b) {
    uint64_t x[STICKY_LEN / sizeof(uint64_t)], y[STICKY_LEN / sizeof(uint64_t)];
    volatile uint64_t differs = 0;   /* no compiler may find out sooner */
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    for (uint32_t i = 0; i < STICKY_LEN / sizeof(uint64_t); i++) {
        differs |= x[i] ^ y[i];
    }
    return differs == 0;
}

struct server *sticky_find(const struct backend *backend, struct str value) {
    struct server *found = NULL;
    for (uint32_t i = 0; value.len == STICKY_LEN && i < backend->server_count; i++) {
        struct server *server = &backend->servers[i];
        if (atomic_load_explicit(&server->admin, memory_order_acquire) != SERVER_ABSENT) {
            found = is_same(server->sticky, value.p) ? server : found;
        }
    }
    return found;
}
