/* What an intermediary changes in heads on their way (RFC 9110 7.6, RFC 7239). */
#include <endian.h>

#include "exchange/exchange_priv.h"

#define REQUEST_ID_MAX 128u

/* --- Whom to believe ---------------------------------------------------------------------- */

static bool client_is_trusted(const struct exchange *e) {
    const struct conf_global *global = &e->generation->conf->global;
    for (uint32_t i = 0; i < global->trusted_proxy_count; i++) {
        if (cidr_has(&global->trusted_proxies[i], &e->client)) {
            return true;
        }
    }
    return false;
}

/* --- Small tools -------------------------------------------------------------------------- */

static void set_field(struct head *head, enum field_id id, struct str value) {
    head_add(head, id, field_text(id), value);
}

/* Text in the arena of a head. Without memory nothing is written: the arena has failed, and who
 * asked for this rewriting looks at that. */
static struct text text_in(struct arena *arena, uint32_t cap) {
    char *p = arena_get(arena, cap);
    return text_on(p, p != NULL ? cap : 0);
}

static struct str text_done(const struct text *text) {
    ensure(!text->cut || text->p == NULL);
    return (struct str){text->p, text->len};
}

/* --- Fields that we add to a request ------------------------------------------------------ */

/* They are written into one text, each as it will go out, so that the codec finds one piece. */
struct draft {
    struct head *head;
    struct text text;
    uint32_t line;             /* where the field in hand begins */
    bool trusted;              /* what the client says of others is believed */
};

/* All values of a field as one list. */
static uint32_t list_len(const struct head *head, enum field_id id) {
    uint32_t len = 0;
    for (struct field *f = head_find(head, id); f != NULL; f = head_find_next(head, f)) {
        len += f->value.len + 2;
    }
    return len;
}

static void draft_list(struct draft *d, enum field_id id) {
    for (struct field *f = head_find(d->head, id); f != NULL; f = head_find_next(d->head, f)) {
        if (f->value.len > 0) {
            text_str(&d->text, f->value);
            text_str(&d->text, STR(", "));
        }
    }
}

/* Every name, blank and end of line, a request id, numbers, and what stands round addresses. */
#define DRAFT_BYTES 320u

static bool draft_start(struct draft *d, struct head *head, struct str client, bool trusted) {
    uint32_t cap = DRAFT_BYTES + 3 * client.len + 2 * head->authority.len;
    if (trusted) {
        cap += list_len(head, FIELD_X_FORWARDED_FOR) + list_len(head, FIELD_FORWARDED);
    }
    *d = (struct draft){.head = head, .text = text_in(head->arena, cap), .trusted = trusted};
    return d->text.p != NULL;
}

static inline void draft_begin(struct draft *d, struct str name) {
    d->line = d->text.len;
    text_str(&d->text, name);
}

static inline struct str draft_end(struct draft *d, enum field_id id, struct str name) {
    char *p = d->text.p + d->line;
    struct str value = {p + name.len, d->text.len - d->line - name.len};
    text_str(&d->text, STR("\r\n"));
    ensure(!d->text.cut);
    struct field *field = head_add(d->head, id, (struct str){p, name.len - 2}, value);
    if (field != NULL) {
        field->whole = value.len > 0;
    }
    return value;
}

static inline void draft_field(struct draft *d, enum field_id id, struct str name,
                               struct str value) {
    draft_begin(d, name);
    text_str(&d->text, value);
    draft_end(d, id, name);
}

/* What a trusted proxy said stays; else ours takes its place. Of two one is not the proxy's: it has
 * let through what its client said, and servers do not agree on which of them counts. */
static inline bool draft_takes(struct draft *d, enum field_id id) {
    const struct field *given = head_find(d->head, id);
    if (given == NULL) {
        return true;
    }
    if (d->trusted && head_find_next(d->head, given) == NULL) {
        return false;
    }
    head_drop(d->head, id);
    return true;
}

/* --- The forwarded fields ----------------------------------------------------------------- */

static void forward_for(struct draft *d, struct str client) {
    draft_begin(d, FIELD_LEAD(X_FORWARDED_FOR));
    if (d->trusted) {
        draft_list(d, FIELD_X_FORWARDED_FOR);
    }
    text_str(&d->text, client);
    head_drop(d->head, FIELD_X_FORWARDED_FOR);
    draft_end(d, FIELD_X_FORWARDED_FOR, FIELD_LEAD(X_FORWARDED_FOR));
}

/* for=192.0.2.1;host="example.org";proto=https, an IPv6 address in brackets and quotes, an unknown
 * client by that word (RFC 7239 4, 6). A host that would need escaping is left out. */
static void forward_rfc7239(struct draft *d, uint8_t family, struct str client,
                            struct str proto) {
    struct text *text = &d->text;
    struct str host = d->head->authority;
    draft_begin(d, FIELD_LEAD(FORWARDED));
    if (d->trusted) {
        draft_list(d, FIELD_FORWARDED);
    }
    text_str(text, STR("for="));
    if (family == AF_INET6) {
        text_str(text, STR("\"["));
        text_str(text, client);
        text_str(text, STR("]\""));
    } else {
        text_str(text, family == AF_INET ? client : STR("unknown"));
    }
    if (host.len > 0 && memchr(host.p, '"', host.len) == NULL) {
        text_str(text, STR(";host=\""));
        text_str(text, host);
        text_str(text, STR("\""));
    }
    text_str(text, STR(";proto="));
    text_str(text, proto);
    head_drop(d->head, FIELD_FORWARDED);
    draft_end(d, FIELD_FORWARDED, FIELD_LEAD(FORWARDED));
}

static void forward_port(struct draft *d) {
    uint16_t port = d->head->conn->local.port;
    if (draft_takes(d, FIELD_X_FORWARDED_PORT) && port != 0) {
        draft_begin(d, FIELD_LEAD(X_FORWARDED_PORT));
        text_u64(&d->text, port);
        draft_end(d, FIELD_X_FORWARDED_PORT, FIELD_LEAD(X_FORWARDED_PORT));
    }
}

static void forward_fields(struct draft *d, uint8_t family, struct str client) {
    struct head *head = d->head;
    struct str proto = head->conn->tls != NULL ? STR("https") : STR("http");
    forward_for(d, client);
    if (draft_takes(d, FIELD_X_REAL_IP)) {
        draft_field(d, FIELD_X_REAL_IP, FIELD_LEAD(X_REAL_IP), client);
    }
    if (draft_takes(d, FIELD_X_FORWARDED_PROTO)) {
        draft_field(d, FIELD_X_FORWARDED_PROTO, FIELD_LEAD(X_FORWARDED_PROTO), proto);
    }
    if (draft_takes(d, FIELD_X_FORWARDED_HOST) && head->authority.len > 0) {
        draft_field(d, FIELD_X_FORWARDED_HOST, FIELD_LEAD(X_FORWARDED_HOST), head->authority);
    }
    forward_port(d);
    draft_takes(d, FIELD_X_FORWARDED_SERVER);   /* there is none of ours */
    forward_rfc7239(d, family, client, proto);
}

/* --- The request id ----------------------------------------------------------------------- */

/* The hexadecimal digits of four bytes, the first one in the lowest byte: the bytes are spread to
 * every other one, their nibbles parted, and what is above 9 is moved on from '9' to 'a'. */
static uint64_t eight_hex(uint32_t bytes) {
    uint64_t x = (uint64_t)(bytes & 0xffff0000) << 16 | (bytes & 0xffff);
    x = (x << 8 | x) & UINT64_C(0x00ff00ff00ff00ff);
    x = (x << 8 | x >> 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    uint64_t letters = (x + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101);
    return x + UINT64_C(0x3030303030303030) + letters * ('a' - '9' - 1);
}

static void request_id_new(struct exchanges *room, struct text *text) {
    enum { ID_BYTES = 16 };
    if (room->luck_left < ID_BYTES) {
        sys_random(room->luck, sizeof room->luck);
        room->luck_left = sizeof room->luck;
    }
    room->luck_left -= ID_BYTES;
    char id[ID_BYTES * 2];
    for (uint32_t i = 0; i < ID_BYTES; i += 4) {
        uint32_t bytes;
        memcpy(&bytes, room->luck + room->luck_left + i, sizeof bytes);
        uint64_t hex = htole64(eight_hex(le32toh(bytes)));
        memcpy(id + (size_t)2 * i, &hex, sizeof hex);
    }
    text_str(text, (struct str){id, sizeof id});
}

static bool request_id_is_sane(struct str id) {
    for (uint32_t i = 0; i < id.len; i++) {
        if (id.p[i] <= ' ' || id.p[i] >= 0x7f || id.p[i] == '"' || id.p[i] == '\\') {
            return false;
        }
    }
    return id.len > 0 && id.len <= REQUEST_ID_MAX;
}

static struct str draft_request_id(struct draft *d, struct exchanges *room) {
    struct field *given = head_find(d->head, FIELD_X_REQUEST_ID);
    if (d->trusted && given != NULL && request_id_is_sane(given->value) &&
        head_find_next(d->head, given) == NULL) {
        return given->value;
    }
    head_drop(d->head, FIELD_X_REQUEST_ID);
    draft_begin(d, FIELD_LEAD(X_REQUEST_ID));
    request_id_new(room, &d->text);
    return draft_end(d, FIELD_X_REQUEST_ID, FIELD_LEAD(X_REQUEST_ID));
}

/* --- What the wait was --------------------------------------------------------------------- */

/* t=MICROSECONDS since 1970, when the request's first byte came: app servers and their monitors
 * take the difference to their own clock for the time in the queue. */
static void draft_request_start(struct draft *d, const struct exchange *e) {
    struct ring *ring = e->room->ring;
    if (draft_takes(d, FIELD_X_REQUEST_START)) {
        draft_begin(d, FIELD_LEAD(X_REQUEST_START));
        text_str(&d->text, STR("t="));
        text_u64(&d->text, ring_wall_us(ring) - (ring_now_us(ring) - e->began_us));
        draft_end(d, FIELD_X_REQUEST_START, FIELD_LEAD(X_REQUEST_START));
    }
}

static void text_duration(struct text *text, const char *name, uint64_t us) {
    text_fmt(text, "%s;dur=%llu.%03u", name, (unsigned long long)(us / 1000),
             (unsigned)(us % 1000));
}

/* Server-Timing (W3C): milliseconds in the queue, and until the server's first byte. */
static void set_server_timing(const struct exchange *e, struct head *head) {
    uint64_t now = ring_now_us(e->room->ring);
    struct text text = text_in(head->arena, 96);
    text_duration(&text, "queue", e->lease.queued_us);
    text_str(&text, STR(", "));
    text_duration(&text, "app", now - e->lease.ready_us);
    set_field(head, FIELD_SERVER_TIMING, text_done(&text));
}

/* --- Both ways ---------------------------------------------------------------------------- */

static void drop_framing(struct head *head) {
    head_drop_hop_by_hop(head);
    head_drop(head, FIELD_CONTENT_LENGTH);
}

/* RFC 9110 7.6.2; of TRACE as well, but that is refused. */
static void count_forward(struct head *head) {
    struct field *f = head->method == METHOD_OPTIONS ? head_find(head, FIELD_MAX_FORWARDS) : NULL;
    for (; f != NULL; f = head_find_next(head, f)) {
        uint64_t forwards;
        if (str_to_u64(f->value, &forwards) && forwards > 0) {
            struct text text = text_in(head->arena, 20);
            text_u64(&text, forwards - 1);
            field_set(f, text_done(&text));
        }
    }
}

/* Without memory for it the arena has failed, and who asked looks at that. */
void rewrite_request(struct exchange *e) {
    struct head *head = e->request;
    struct draft draft;
    char printed[ADDR_TEXT_MAX];
    struct str client = str_of(endpoint_print(&e->client, printed));
    drop_framing(head);
    count_forward(head);
    if (!draft_start(&draft, head, client, client_is_trusted(e))) {
        return;
    }
    draft_field(&draft, FIELD_VIA, FIELD_LEAD(VIA),
                head->minor == 0 ? STR("1.0 gyre") : STR("1.1 gyre"));
    forward_fields(&draft, e->client.family, client);
    e->id = draft_request_id(&draft, e->room);
    draft_request_start(&draft, e);
}

void rewrite_response(struct exchange *e, struct head *head) {
    drop_framing(head);
    if (e->backend->server_timing && head->status >= 200) {
        set_server_timing(e, head);
    }
    if (e->backend->sticky != CONF_STICKY_NO && (head->status >= 200 || head->status == 101)) {
        sticky_response(e, head);
    }
}
