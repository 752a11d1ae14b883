/* What servers with send_proxy are told of the client, before its request. */
#include "base/arena.h"
#include "exchange/exchange_priv.h"

/* The TLS machine may be gone while a lease still tries one server after the other. */
static struct str kept(struct exchange *e, struct str s) {
    char *p = arena_get(e->request->arena, s.len + 1);
    if (p == NULL) {
        return STR("");
    }
    memcpy(p, s.p, s.len);
    return (struct str){p, s.len};
}

static void introduce_tls(struct exchange *e, struct proxyproto_more *more) {
    struct tls_facts facts;
    tls_facts(e->request->conn->tls, &facts);
    more->tls = true;
    more->tls_version = kept(e, str_of(facts.version));
    more->tls_cipher = kept(e, str_of(facts.cipher));
    if (facts.server_name.len > 0) {
        more->authority = kept(e, facts.server_name);
    }
}

const struct client_told *introduce_client(struct exchange *e) {
    const struct conn_facts *conn = e->request->conn;
    if (!e->backend->send_proxy) {
        return NULL;
    }
    struct client_told *told = arena_get(e->request->arena, sizeof *told);
    if (told == NULL) {
        return NULL;
    }
    *told = (struct client_told){
        .ends = {.told = true, .client = conn->client, .local = conn->local},
        .more = {.unique_id = e->id},
    };
    if (conn->tls != NULL) {
        introduce_tls(e, &told->more);
    }
    return told;
}
