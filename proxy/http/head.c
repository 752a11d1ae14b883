/* Heads: fields by id, added, found, dropped. */
#include "http/http.h"

#define FIELDS_FIRST 24u

_Static_assert(FIELD_COUNT <= 64, "struct head's seen has a bit for each field");

static const struct str texts[FIELD_COUNT] = {
#define FIELD(name, text, flags) [FIELD_##name] = {text, sizeof(text) - 1},
#include "http/field.def"
#undef FIELD
};

struct str field_text(enum field_id id) {
    ensure(id < FIELD_COUNT);
    return texts[id];
}

const uint8_t field_flags_[FIELD_COUNT] = {
#define FIELD(name, text, flags) [FIELD_##name] = (flags),
#include "http/field.def"
#undef FIELD
};

bool method_idempotent(enum method method) {
    switch (method) {
#define METHOD(name, idempotent) case METHOD_##name: return idempotent;
#include "http/method.def"
#undef METHOD
    default: return false;
    }
}

/* --- By name ------------------------------------------------------------------------------ */

/* The one known field of that length and first letter (for X-Forwarded and a few others: a
 * further letter) that the name can be. A test finds every row of field.def. */
static inline enum field_id candidate_long(struct str name, char first) {
    switch (name.len) {
    case 13:
        switch (first) {
        case 'a': return FIELD_AUTHORIZATION;
        case 'c': return char_lower(name.p[1]) == 'a' ? FIELD_CACHE_CONTROL : FIELD_CONTENT_RANGE;
        case 's': return FIELD_SERVER_TIMING;
        default: return FIELD_OTHER;
        }
    case 14: return first == 'c' ? FIELD_CONTENT_LENGTH : FIELD_HTTP2_SETTINGS;
    case 15: return char_lower(name.p[2]) == 'r' ? FIELD_X_REQUEST_START
                                                : FIELD_X_FORWARDED_FOR;
    case 16:
        switch (first) {
        case 'c': return FIELD_CONTENT_ENCODING;
        case 'p': return FIELD_PROXY_CONNECTION;
        case 'w': return FIELD_WWW_AUTHENTICATE;
        case 'x': return char_lower(name.p[12]) == 'h' ? FIELD_X_FORWARDED_HOST
                                                       : FIELD_X_FORWARDED_PORT;
        default: return FIELD_OTHER;
        }
    case 17: return first == 't' ? FIELD_TRANSFER_ENCODING
                    : first == 's' ? FIELD_SEC_WEBSOCKET_KEY : FIELD_X_FORWARDED_PROTO;
    case 18: return first == 'p' ? FIELD_PROXY_AUTHENTICATE : FIELD_X_FORWARDED_SERVER;
    case 19: return FIELD_PROXY_AUTHORIZATION;
    case 20: return FIELD_SEC_WEBSOCKET_ACCEPT;
    default: return FIELD_OTHER;
    }
}

static inline enum field_id candidate(struct str name) {
    char first = (char)(name.p[0] | 0x20);   /* of a letter: in lower case */
    switch (name.len) {
    case 2: return FIELD_TE;
    case 3: return FIELD_VIA;
    case 4: return first == 'h' ? FIELD_HOST : FIELD_DATE;
    case 5: return FIELD_ALLOW;
    case 6: return first == 'c' ? FIELD_COOKIE : FIELD_EXPECT;
    case 7:
        switch (first) {
        case 't': return FIELD_TRAILER;
        case 'u': return FIELD_UPGRADE;
        case 'r': return FIELD_REFERER;
        default: return FIELD_OTHER;
        }
    case 8: return FIELD_LOCATION;
    case 9: return first == 'f' ? FIELD_FORWARDED : FIELD_X_REAL_IP;
    case 10:
        switch (first) {
        case 'c': return FIELD_CONNECTION;
        case 'k': return FIELD_KEEP_ALIVE;
        case 's': return FIELD_SET_COOKIE;
        case 'u': return FIELD_USER_AGENT;
        default: return FIELD_OTHER;
        }
    case 11: return FIELD_RETRY_AFTER;
    case 12:
        switch (first) {
        case 'c': return FIELD_CONTENT_TYPE;
        case 'm': return FIELD_MAX_FORWARDS;
        case 'x': return FIELD_X_REQUEST_ID;
        default: return FIELD_OTHER;
        }
    default: return name.len > 12 && name.len <= 20 ? candidate_long(name, first) : FIELD_OTHER;
    }
}

static inline uint64_t eight_bytes(const char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint32_t four_bytes(const char *p) {
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Whether bytes of a token are those of a known name, in any case: that has letters, digits and
 * dashes, and no other byte of a token (RFC 9110 5.6.2) differs from one of them in that bit. */
#define FOLD UINT64_C(0x2020202020202020)
static inline bool differ_8(const char *a, const char *b) {
    return ((eight_bytes(a) ^ eight_bytes(b)) & ~FOLD) != 0;
}
static inline bool differ_4(const char *a, const char *b) {
    return ((four_bytes(a) ^ four_bytes(b)) & ~(uint32_t)FOLD) != 0;
}

/* By words, the last of which may cover some bytes again. */
static inline bool is_known(struct str name, struct str known) {
    const char *a = name.p, *b = known.p;
    uint32_t len = name.len;
    if (len != known.len) {
        return false;
    }
    if (len < 4) {
        return str_eq_fold(name, known);
    }
    if (len < 8) {
        return !differ_4(a, b) && !differ_4(a + len - 4, b + len - 4);
    }
    return !differ_8(a, b) && !differ_8(a + len - 8, b + len - 8) &&
           (len <= 16 || !differ_8(a + 8, b + 8));
}

enum field_id field_id_of(struct str name) {
    if (name.len < 2) {
        return FIELD_OTHER;
    }
    enum field_id id = candidate(name);
    return id != FIELD_OTHER && is_known(name, texts[id]) ? id : FIELD_OTHER;
}

/* --- Heads -------------------------------------------------------------------------------- */

void head_init(struct head *head, struct arena *arena) {
    *head = (struct head){.arena = arena, .minor = 1};
}

void head_init_bare(struct head *head, struct field *field, uint16_t status) {
    head_init(head, NULL);
    head->status = status;
    if (status == 503) {
        *field = (struct field){.id = FIELD_RETRY_AFTER, .name = field_text(FIELD_RETRY_AFTER),
                                .value = STR("5")};
        head->fields = field;
        head->field_count = head->field_cap = 1;
        head->seen = UINT64_C(1) << FIELD_RETRY_AFTER;
    }
}

bool head_grow_(struct head *head) {
    uint32_t cap = head->field_cap == 0 ? FIELDS_FIRST : head->field_cap * 2;
    struct field *fields = arena_grow(head->arena, head->fields,
                                      head->field_cap * sizeof *head->fields,
                                      cap * sizeof *head->fields);
    if (fields == NULL) {
        return false;
    }
    head->fields = fields;
    head->field_cap = cap;
    return true;
}

static struct field *head_find_from(const struct head *head, enum field_id id, uint32_t i) {
    for (; i < head->field_count; i++) {
        struct field *field = &head->fields[i];
        if (field->id == id && !field->dropped) {
            return field;
        }
    }
    return NULL;
}

struct field *head_find_(const struct head *head, enum field_id id) {
    return head_find_from(head, id, 0);
}

struct field *head_find_next(const struct head *head, const struct field *after) {
    if ((head->again >> after->id & 1) == 0) {
        return NULL;
    }
    return head_find_from(head, after->id, (uint32_t)(after - head->fields) + 1);
}

void head_drop(struct head *head, enum field_id id) {
    for (struct field *f = head_find(head, id); f != NULL; f = head_find_next(head, f)) {
        f->dropped = true;
    }
}

/* --- Hop-by-hop (RFC 9110 7.6.1) ---------------------------------------------------------- */

#define HOP_FIELD(id, flags) (((flags) & FIELD_HOP) != 0 ? UINT64_C(1) << (id) : 0)
static const uint64_t hop_fields =
#define FIELD(name, text, flags) HOP_FIELD(FIELD_##name, flags) |
#include "http/field.def"
#undef FIELD
    0;

/* What is for the other end can not be nominated away (a sender must not, and who does it wants it
 * stripped on the way); hop-by-hop fields go anyway. */
static void drop_nominated(struct head *head, struct str option) {
    enum field_id id = field_id_of(option);
    if (id != FIELD_OTHER) {
        if ((field_flags(id) & (FIELD_KEEP | FIELD_HOP)) == 0) {
            head_drop(head, id);
        }
        return;
    }
    for (uint32_t i = 0; i < head->field_count; i++) {
        struct field *field = &head->fields[i];
        if (field->id == FIELD_OTHER && str_eq_fold(field->name, option)) {
            field->dropped = true;
        }
    }
}

static void drop_all_nominated(struct head *head) {
    const struct field *f = head_find(head, FIELD_CONNECTION);
    for (; f != NULL; f = head_find_next(head, f)) {
        struct str rest = f->value, option;
        while (str_next_element(&rest, &option)) {
            drop_nominated(head, option);
        }
    }
}

void head_drop_hop_by_hop(struct head *head) {
    if ((head->seen & hop_fields) == 0) {
        return;
    }
    if (!head->nominates_none) {
        drop_all_nominated(head);
    }
    for (uint32_t i = 0; i < head->field_count; i++) {
        if ((hop_fields >> head->fields[i].id & 1) != 0) {
            head->fields[i].dropped = true;
        }
    }
}
