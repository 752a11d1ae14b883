/* What an intermediary changes in heads on their way (RFC 9110 7.6, RFC 7239). */
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

/* All values of a field as one list, with room for more behind it. */
static struct text list_begin(const struct head *head, enum field_id id, uint32_t more) {
    uint32_t cap = more;
    for (struct field *f = head_find(head, id); f != NULL; f = head_find_next(head, f)) {
        cap += f->value.len + 2;
    }
    struct text text = text_in(head->arena, cap);
    for (struct field *f = head_find(head, id); f != NULL; f = head_find_next(head, f)) {
        if (f->value.len > 0) {
            text_str(&text, f->value);
            text_str(&text, STR(", "));
        }
    }
    return text;
}

static struct str text_done(const struct text *text) {
    ensure(!text->cut || text->p == NULL);
    return (struct str){text->p, text->len};
}

/* What a trusted proxy said stays; else ours takes its place. Of two one is not the proxy's: it has
 * let through what its client said, and servers do not agree on which of them counts. */
static void set_unless_trusted(struct head *head, enum field_id id, struct str value,
                               bool trusted) {
    const struct field *given = head_find(head, id);
    if (trusted && given != NULL && head_find_next(head, given) == NULL) {
        return;
    }
    head_drop(head, id);
    if (value.len > 0) {
        set_field(head, id, value);
    }
}

static struct str arena_text(struct arena *arena, struct str s) {
    char *p = arena_get(arena, s.len + 1);
    if (p == NULL) {
        return STR("");
    }
    memcpy(p, s.p, s.len);
    return (struct str){p, s.len};
}

/* --- The forwarded fields ----------------------------------------------------------------- */

static void forward_for(struct head *head, struct str client, bool trusted) {
    if (!trusted) {
        head_drop(head, FIELD_X_FORWARDED_FOR);
    }
    struct text list = list_begin(head, FIELD_X_FORWARDED_FOR, client.len);
    text_str(&list, client);
    head_drop(head, FIELD_X_FORWARDED_FOR);
    set_field(head, FIELD_X_FORWARDED_FOR, text_done(&list));
}

/* for=192.0.2.1;host="example.org";proto=https, an IPv6 address in brackets and quotes, an unknown
 * client by that word (RFC 7239 4, 6). A host that would need escaping is left out. */
static void forward_rfc7239(struct exchange *e, struct head *head, struct str client,
                            struct str proto, bool trusted) {
    if (!trusted) {
        head_drop(head, FIELD_FORWARDED);
    }
    struct str host = head->authority;
    struct text list = list_begin(head, FIELD_FORWARDED, client.len + host.len + 64);
    text_str(&list, STR("for="));
    if (e->client.family == AF_INET6) {
        text_str(&list, STR("\"["));
        text_str(&list, client);
        text_str(&list, STR("]\""));
    } else {
        text_str(&list, e->client.family == AF_INET ? client : STR("unknown"));
    }
    if (host.len > 0 && memchr(host.p, '"', host.len) == NULL) {
        text_str(&list, STR(";host=\""));
        text_str(&list, host);
        text_char(&list, '"');
    }
    text_str(&list, STR(";proto="));
    text_str(&list, proto);
    head_drop(head, FIELD_FORWARDED);
    set_field(head, FIELD_FORWARDED, text_done(&list));
}

static struct str client_port(struct head *head) {
    if (head->conn->local.port == 0) {
        return (struct str){"", 0};
    }
    struct text text = text_in(head->arena, 8);
    text_u64(&text, head->conn->local.port);
    return text_done(&text);
}

static void forward_fields(struct exchange *e, struct head *head, bool trusted) {
    char printed[ADDR_TEXT_MAX];
    struct str client = arena_text(head->arena, str_of(endpoint_print(&e->client, printed)));
    struct str proto = head->conn->tls != NULL ? STR("https") : STR("http");
    forward_for(head, client, trusted);
    set_unless_trusted(head, FIELD_X_REAL_IP, client, trusted);
    set_unless_trusted(head, FIELD_X_FORWARDED_PROTO, proto, trusted);
    set_unless_trusted(head, FIELD_X_FORWARDED_HOST, head->authority, trusted);
    set_unless_trusted(head, FIELD_X_FORWARDED_PORT, client_port(head), trusted);
    set_unless_trusted(head, FIELD_X_FORWARDED_SERVER, (struct str){"", 0}, trusted);
    forward_rfc7239(e, head, client, proto, trusted);
}

/* --- The request id ----------------------------------------------------------------------- */

static struct str request_id_new(struct exchanges *room, struct arena *arena) {
    enum { ID_BYTES = 16 };
    static const char digits[] = "0123456789abcdef";
    if (room->luck_left < ID_BYTES) {
        sys_random(room->luck, sizeof room->luck);
        room->luck_left = sizeof room->luck;
    }
    room->luck_left -= ID_BYTES;
    const uint8_t *luck = room->luck + room->luck_left;
    char *p = arena_get(arena, ID_BYTES * 2);
    if (p == NULL) {
        return STR("");
    }
    for (uint32_t i = 0; i < ID_BYTES; i++) {
        p[2 * i] = digits[luck[i] >> 4];
        p[2 * i + 1] = digits[luck[i] & 15];
    }
    return (struct str){p, ID_BYTES * 2};
}

static bool request_id_is_sane(struct str id) {
    for (uint32_t i = 0; i < id.len; i++) {
        if (id.p[i] <= ' ' || id.p[i] >= 0x7f || id.p[i] == '"' || id.p[i] == '\\') {
            return false;
        }
    }
    return id.len > 0 && id.len <= REQUEST_ID_MAX;
}

static void set_request_id(struct exchange *e, struct head *head, bool trusted) {
    struct field *given = head_find(head, FIELD_X_REQUEST_ID);
    if (trusted && given != NULL && request_id_is_sane(given->value) &&
        head_find_next(head, given) == NULL) {
        e->id = given->value;
        return;
    }
    head_drop(head, FIELD_X_REQUEST_ID);
    e->id = request_id_new(e->room, head->arena);
    set_field(head, FIELD_X_REQUEST_ID, e->id);
}

/* --- What the wait was --------------------------------------------------------------------- */

/* t=MICROSECONDS since 1970, when the request's first byte came: app servers and their monitors
 * take the difference to their own clock for the time in the queue. */
static void set_request_start(const struct exchange *e, struct head *head, bool trusted) {
    struct ring *ring = e->room->ring;
    struct text text = text_in(head->arena, 24);
    text_str(&text, STR("t="));
    text_u64(&text, ring_wall_us(ring) - (ring_now_us(ring) - e->began_us));
    set_unless_trusted(head, FIELD_X_REQUEST_START, text_done(&text), trusted);
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
            f->value = text_done(&text);
        }
    }
}

void rewrite_request(struct exchange *e) {
    struct head *head = e->request;
    bool trusted = client_is_trusted(e);
    drop_framing(head);
    count_forward(head);
    set_field(head, FIELD_VIA, head->minor == 0 ? STR("1.0 gyre") : STR("1.1 gyre"));
    forward_fields(e, head, trusted);
    set_request_id(e, head, trusted);
    set_request_start(e, head, trusted);
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
