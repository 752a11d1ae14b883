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

static bool cookie_of(const struct head *head, struct str name, struct str *value) {
    const struct field *f = head_find(head, FIELD_COOKIE);
    for (; f != NULL; f = head_find_next(head, f)) {
        struct str rest = f->value, pair;
        while (cookie_next(&rest, &pair)) {
            if (cookie_is(pair, name, value)) {
                return true;
            }
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
