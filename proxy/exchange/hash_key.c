/* balance = hash: what of a request chooses its server. */
#include "exchange/exchange_priv.h"

/* As far as one client is one to limits and turns, too. */
static uint64_t of_client(const struct exchange *e) {
    struct network network = endpoint_network(&e->client);
    char bytes[sizeof network.bits + 1];
    memcpy(bytes, &network.bits, sizeof network.bits);
    bytes[sizeof network.bits] = (char)network.family;
    return str_hash((struct str){bytes, sizeof bytes});
}

/* The first field of that name, whether gyre knows it or not. */
static bool field_of(const struct head *head, struct str name, struct str *value) {
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        if (!field->dropped && str_eq_fold(field->name, name)) {
            *value = field->value;
            return true;
        }
    }
    return false;
}

/* The value as it stands, quotes and all (RFC 6265 4.2.1, 5.4). */
static bool cookie_in(struct str pairs, struct str name, struct str *value) {
    while (pairs.len > 0) {
        const char *end = memchr(pairs.p, ';', pairs.len);
        uint32_t len = end != NULL ? (uint32_t)(end - pairs.p) : pairs.len;
        struct str pair = str_trim((struct str){pairs.p, len});
        if (pair.len > name.len && pair.p[name.len] == '=' && str_starts(pair, name)) {
            *value = (struct str){pair.p + name.len + 1, pair.len - name.len - 1};
            return true;
        }
        uint32_t used = end != NULL ? len + 1 : len;
        pairs = (struct str){pairs.p + used, pairs.len - used};
    }
    return false;
}

static bool cookie_of(const struct head *head, struct str name, struct str *value) {
    const struct field *f = head_find(head, FIELD_COOKIE);
    for (; f != NULL; f = head_find_next(head, f)) {
        if (cookie_in(f->value, name, value)) {
            return true;
        }
    }
    return false;
}

uint64_t exchange_hash_key(const struct exchange *e) {
    const struct conf_hash_on *on = &e->backend->hash_on;
    struct str value;
    bool found = false;
    switch (on->what) {
    case CONF_HASH_PATH:
        value = e->request->path;
        found = true;
        break;
    case CONF_HASH_HEADER:
        found = field_of(e->request, on->name, &value);
        break;
    case CONF_HASH_COOKIE:
        found = cookie_of(e->request, on->name, &value);
        break;
    default:
        break;
    }
    return found ? str_hash(value) : of_client(e);
}
