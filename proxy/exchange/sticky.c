/* Which server a client's requests belong to: by gyre's own cookie, or by the session of Engine.IO
 * that they are of. */
#include "exchange/exchange_priv.h"

/* Cookies of the name that are looked at; clients send one. */
#define COOKIES_MAX 8u
/* An open packet is whole in so many bytes; 120 are usual. */
#define OPENING_BYTES 512u

/* The answer that opens a session of Engine.IO: its first bytes, as they pass. */
struct opening {
    uint32_t len;
    char begin[OPENING_BYTES];
};

/* --- The request -------------------------------------------------------------------------- */

static void find_by_cookie(struct exchange *e) {
    struct str name = str_of(e->backend->sticky_name);
    uint32_t count = 0;
    const struct field *f = head_find(e->request, FIELD_COOKIE);
    for (; f != NULL; f = head_find_next(e->request, f)) {
        struct str rest = f->value, pair, value;
        while (cookie_next(&rest, &pair) && count < COOKIES_MAX && e->stuck == NULL) {
            if (cookie_is(pair, name, &value)) {
                e->stuck = sticky_find(e->backend, value);
                count++;
            }
        }
    }
    if (count > 0) {
        cookie_drop(e->request, name);
        uint64_t refused = e->stuck != NULL ? count - 1 : count;
        stats_add(ring_stats(e->room->ring), STAT_STICKY_REFUSED, refused);
    }
}

/* What opens a session is one small packet, and is to be read. */
static void ask_plainly(struct head *head) {
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (str_eq_fold(head->fields[i].name, STR("Accept-Encoding"))) {
            head->fields[i].dropped = true;
        }
    }
}

static void find_by_sid(struct exchange *e) {
    struct str target = e->request->target;
    const char *mark = memchr(target.p, '?', target.len);
    struct engineio_query query;
    if (mark == NULL ||
        !engineio_query((struct str){mark + 1, (uint32_t)(target.p + target.len - mark) - 1},
                        &query)) {
        return;
    }
    if (query.sid.len > 0) {
        int64_t at = sids_find(e->backend->sids, query.sid, ring_now_ms(e->room->ring));
        e->stuck = at >= 0 ? &e->backend->servers[at] : NULL;
        stats_add(ring_stats(e->room->ring), STAT_STICKY_SIDS_UNKNOWN, at < 0);
    } else if (query.polling &&
               (e->request->method == METHOD_GET || e->request->method == METHOD_POST)) {
        ask_plainly(e->request);
        e->opens = true;
    }
}

void sticky_request(struct exchange *e) {
    if (e->backend->sticky == CONF_STICKY_COOKIE) {
        find_by_cookie(e);
    } else {
        find_by_sid(e);
    }
}

/* --- The response's head ------------------------------------------------------------------ */

/* As rewrite.c has left it: of a proxy that is trusted, or ours. */
static bool client_has_https(const struct head *request) {
    const struct field *proto = head_find(request, FIELD_X_FORWARDED_PROTO);
    struct str rest = proto != NULL ? proto->value : STR(""), first;
    return str_next_element(&rest, &first) && str_eq_fold(first, STR("https"));
}

/* NAME=VALUE; Path=/; HttpOnly; SameSite=Lax[; Secure] */
static void set_cookie(const struct exchange *e, struct head *head) {
    struct str name = str_of(e->backend->sticky_name);
    uint32_t cap = name.len + STICKY_LEN + 64;
    char *p = arena_get(head->arena, cap);
    struct text text = text_on(p, p != NULL ? cap : 0);
    text_str(&text, name);
    text_char(&text, '=');
    text_str(&text, (struct str){e->lease.server->sticky, STICKY_LEN});
    text_str(&text, STR("; Path=/; HttpOnly; SameSite=Lax"));
    text_str(&text, client_has_https(e->request) ? STR("; Secure") : STR(""));
    (void)head_add(head, FIELD_SET_COOKIE, field_text(FIELD_SET_COOKIE),
                   (struct str){text.p, text.len});
}

/* A cache that many share would give one client's cookie to all (RFC 9111 7.3). */
static void keep_private(struct head *head) {
    const struct field *f = head_find(head, FIELD_CACHE_CONTROL);
    for (; f != NULL; f = head_find_next(head, f)) {
        if (str_list_has(f->value, STR("private")) || str_list_has(f->value, STR("no-store"))) {
            return;
        }
    }
    (void)head_add(head, FIELD_CACHE_CONTROL, field_text(FIELD_CACHE_CONTROL), STR("private"));
}

static bool is_identity(const struct head *head) {
    const struct field *f = head_find(head, FIELD_CONTENT_ENCODING);
    return f == NULL || str_eq_fold(f->value, STR("identity"));
}

void sticky_response(struct exchange *e, struct head *head) {
    if (e->stuck != NULL) {
        bool kept = e->lease.server == e->stuck;
        stats_add(ring_stats(e->room->ring), kept ? STAT_STICKY_KEPT : STAT_STICKY_REPLACED, 1);
    }
    if (e->backend->sticky == CONF_STICKY_COOKIE && e->lease.server != e->stuck) {
        set_cookie(e, head);
        keep_private(head);
    }
    if (e->opens && head->status == 200 && head->body != BODY_NONE && is_identity(head)) {
        e->opening = arena_get(&e->down->arena, sizeof *e->opening);
        if (e->opening != NULL) {
            *e->opening = (struct opening){0};
        }
    }
}

/* --- The response's body ------------------------------------------------------------------ */

/* From here on any ring knows whose session it is: before the client does. */
static void learn(struct exchange *e, struct str sid, uint32_t idle_ms) {
    struct stats *stats = ring_stats(e->room->ring);
    bool evicted = sids_learn(e->backend->sids, sid, e->lease.server->index, idle_ms,
                              ring_now_ms(e->room->ring));
    stats_add(stats, STAT_STICKY_SIDS, 1);
    stats_add(stats, STAT_STICKY_SIDS_EVICTED, evicted);
}

/* Copies what has come since the last time, as far as there is room. Without memory for it, it is
 * not there; the stream will break. */
static void opening_take(struct opening *opening, const struct stream *up) {
    while (opening->len < up->rx_bytes && opening->len < OPENING_BYTES && !up->rx.failed) {
        uint64_t fresh = up->rx_bytes - opening->len;
        ensure(fresh <= up->rx.bytes);   /* nothing has passed that was not looked at */
        struct iovec iov;
        (void)bufq_peek(&up->rx, up->rx.bytes - (uint32_t)fresh, &iov, 1);
        uint32_t room = OPENING_BYTES - opening->len;
        uint32_t len = iov.iov_len < room ? (uint32_t)iov.iov_len : room;
        memcpy(opening->begin + opening->len, iov.iov_base, len);
        opening->len += len;
    }
}

void sticky_body(struct exchange *e) {
    struct opening *opening = e->opening;
    struct str sid;
    uint32_t idle_ms;
    opening_take(opening, e->up);
    enum engineio_found found = engineio_open((struct str){opening->begin, opening->len}, &sid,
                                              &idle_ms);
    if (found == ENGINEIO_OPEN) {
        learn(e, sid, idle_ms);
    }
    if (found != ENGINEIO_MORE || opening->len == OPENING_BYTES) {
        e->opening = NULL;
    }
}
