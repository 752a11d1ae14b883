/* Engine.IO, as far as it says which session a message belongs to: queries, and the packet that
 * opens a session with long polling (protocols 3 and 4). */
#include "exchange/exchange_priv.h"

#define SID_LEN_MAX 128u
/* What a server says of none of them is what its library has by default. */
#define PING_INTERVAL_MS 25000u
#define PING_TIMEOUT_MS 20000u
#define PING_MS_MAX (24u * 3600u * 1000u)

/* --- Queries ------------------------------------------------------------------------------ */

static bool parameter_next(struct str *rest, struct str *name, struct str *value) {
    if (rest->len == 0) {
        return false;
    }
    const char *end = memchr(rest->p, '&', rest->len);
    uint32_t len = end != NULL ? (uint32_t)(end - rest->p) : rest->len;
    const char *sign = memchr(rest->p, '=', len);
    uint32_t name_len = sign != NULL ? (uint32_t)(sign - rest->p) : len;
    uint32_t skip = sign != NULL ? name_len + 1 : len;
    *name = (struct str){rest->p, name_len};
    *value = (struct str){rest->p + skip, len - skip};
    uint32_t used = end != NULL ? len + 1 : len;
    *rest = (struct str){rest->p + used, rest->len - used};
    return true;
}

bool engineio_query(struct str query, struct engineio_query *found) {
    struct str name, value;
    bool is = false;
    *found = (struct engineio_query){0};
    while (parameter_next(&query, &name, &value)) {
        if (str_eq(name, STR("EIO"))) {
            is = true;
        } else if (str_eq(name, STR("transport"))) {
            found->polling = str_eq(value, STR("polling"));
        } else if (str_eq(name, STR("sid")) && found->sid.len == 0) {
            found->sid = value;
        }
    }
    return is;
}

/* --- The packet --------------------------------------------------------------------------- */

/* A cursor; at its end more may come. */
struct cursor {
    const char *p, *end;
};

static void skip_blanks(struct cursor *c) {
    while (c->p < c->end && (char_is_blank(*c->p) || *c->p == '\n' || *c->p == '\r')) {
        c->p++;
    }
}

/* Past `what`, which is next but for blanks. */
static enum engineio_found take(struct cursor *c, char what) {
    skip_blanks(c);
    if (c->p == c->end) {
        return ENGINEIO_MORE;
    }
    return *c->p++ == what ? ENGINEIO_OPEN : ENGINEIO_OTHER;
}

/* Past the quote that ends it. What would need to be unescaped is no sid, and no key of ours. */
static enum engineio_found take_text(struct cursor *c, struct str *text) {
    enum engineio_found found = take(c, '"');
    if (found != ENGINEIO_OPEN) {
        return found;
    }
    const char *from = c->p;
    bool escaped = false;
    while (c->p < c->end && *c->p != '"') {
        escaped |= *c->p == '\\';
        c->p += *c->p == '\\' && c->p + 1 < c->end ? 2 : 1;
    }
    if (c->p == c->end) {
        return ENGINEIO_MORE;
    }
    *text = escaped ? (struct str){from, 0} : (struct str){from, (uint32_t)(c->p - from)};
    c->p++;
    return ENGINEIO_OPEN;
}

/* A number, a word, an array or an object: up to the comma or the brace that ends it. */
static enum engineio_found take_other(struct cursor *c, struct str *text) {
    const char *from = c->p;
    uint32_t depth = 0;
    struct str skipped;
    while (c->p < c->end && (depth > 0 || (*c->p != ',' && *c->p != '}'))) {
        if (*c->p == '"') {
            enum engineio_found found = take_text(c, &skipped);
            if (found != ENGINEIO_OPEN) {
                return found;
            }
            continue;
        }
        depth += *c->p == '[' || *c->p == '{';
        if (*c->p == ']' || *c->p == '}') {
            if (depth == 0) {
                return ENGINEIO_OTHER;
            }
            depth--;
        }
        c->p++;
    }
    *text = str_trim((struct str){from, (uint32_t)(c->p - from)});
    return c->p == c->end ? ENGINEIO_MORE : ENGINEIO_OPEN;
}

static enum engineio_found take_value(struct cursor *c, struct str *text) {
    skip_blanks(c);
    return c->p < c->end && *c->p == '"' ? take_text(c, text) : take_other(c, text);
}

static void milliseconds(struct str text, uint32_t *ms) {
    uint64_t value;
    if (str_to_u64(text, &value) && value <= PING_MS_MAX) {
        *ms = (uint32_t)value;
    }
}

/* "key": value and the comma or brace behind it; *last: the brace. */
static enum engineio_found take_member(struct cursor *c, struct str *sid, uint32_t ping_ms[2],
                                       bool *last) {
    struct str key = {"", 0}, value = {"", 0};
    enum engineio_found found = take_text(c, &key);
    found = found == ENGINEIO_OPEN ? take(c, ':') : found;
    found = found == ENGINEIO_OPEN ? take_value(c, &value) : found;
    if (found != ENGINEIO_OPEN) {
        return found;
    }
    if (str_eq(key, STR("sid"))) {
        *sid = value;
    } else if (str_eq(key, STR("pingInterval"))) {
        milliseconds(value, &ping_ms[0]);
    } else if (str_eq(key, STR("pingTimeout"))) {
        milliseconds(value, &ping_ms[1]);
    }
    skip_blanks(c);
    if (c->p == c->end) {
        return ENGINEIO_MORE;
    }
    *last = *c->p == '}';
    return *c->p++ == ',' || *last ? ENGINEIO_OPEN : ENGINEIO_OTHER;
}

/* What protocol 3 has before a packet: its length, in digits and a colon; or, in binary payloads, a
 * zero, the digits as numbers, and 255. */
static void skip_length(struct cursor *c) {
    enum { DIGITS_MAX = 6 };
    const char *p = c->p;
    bool binary = p < c->end && *p == '\0';
    p += binary ? 1 : 0;
    uint32_t digits = 0;
    char zero = binary ? '\0' : '0';
    while (p < c->end && digits < DIGITS_MAX && *p >= zero && *p <= zero + 9) {
        p++;
        digits++;
    }
    if (p == c->end) {
        c->p = p;   /* the digits may go on, or be a packet's own first one: it is not known yet */
    } else if (digits > 0 && *p == (binary ? (char)255 : ':')) {
        c->p = p + 1;
    }
}

enum engineio_found engineio_open(struct str body, struct str *sid, uint32_t *idle_ms) {
    struct cursor c = {body.p, body.p + body.len};
    uint32_t ping_ms[2] = {PING_INTERVAL_MS, PING_TIMEOUT_MS};
    skip_length(&c);
    if (c.p < c.end && *c.p++ != '0') {
        return ENGINEIO_OTHER;
    }
    if (c.p < c.end && *c.p++ != '{') {
        return ENGINEIO_OTHER;
    }
    *sid = (struct str){"", 0};
    for (bool last = false; !last;) {
        enum engineio_found found = take_member(&c, sid, ping_ms, &last);
        if (found != ENGINEIO_OPEN) {
            return found;
        }
    }
    /* The other end gives up after so long; twice that is on the safe side. */
    *idle_ms = 2 * (ping_ms[0] + ping_ms[1]);
    return sid->len > 0 && sid->len <= SID_LEN_MAX ? ENGINEIO_OPEN : ENGINEIO_OTHER;
}
