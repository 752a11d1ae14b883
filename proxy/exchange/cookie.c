/* Cookies of a request (RFC 6265 4.2.1, 5.4). */
#include "exchange/exchange_priv.h"

bool cookie_next(struct str *rest, struct str *pair) {
    if (rest->len == 0) {
        return false;
    }
    const char *end = memchr(rest->p, ';', rest->len);
    uint32_t len = end != NULL ? (uint32_t)(end - rest->p) : rest->len;
    uint32_t used = end != NULL ? len + 1 : len;
    *pair = str_trim((struct str){rest->p, len});
    *rest = (struct str){rest->p + used, rest->len - used};
    return true;
}

bool cookie_is(struct str pair, struct str name, struct str *value) {
    if (pair.len <= name.len || pair.p[name.len] != '=' || !str_starts(pair, name)) {
        return false;
    }
    *value = (struct str){pair.p + name.len + 1, pair.len - name.len - 1};
    return true;
}

static bool cookie_in(struct str pairs, struct str name) {
    struct str pair, value;
    while (cookie_next(&pairs, &pair)) {
        if (cookie_is(pair, name, &value)) {
            return true;
        }
    }
    return false;
}

/* All but those of that name. */
static struct str without(struct arena *arena, struct str pairs, struct str name) {
    char *p = arena_get(arena, 2 * pairs.len);   /* a blank may come behind each ; */
    struct text text = text_on(p, p != NULL ? 2 * pairs.len : 0);
    struct str pair, value;
    while (cookie_next(&pairs, &pair)) {
        if (pair.len > 0 && !cookie_is(pair, name, &value)) {
            text_str(&text, text.len > 0 ? STR("; ") : STR(""));
            text_str(&text, pair);
        }
    }
    return (struct str){text.p, text.len};
}

void cookie_drop(struct head *head, struct str name) {
    struct field *f = head_find(head, FIELD_COOKIE);
    for (; f != NULL; f = head_find_next(head, f)) {
        if (cookie_in(f->value, name)) {
            field_set(f, without(head->arena, f->value, name));
            f->dropped = f->value.len == 0;
        }
    }
}
