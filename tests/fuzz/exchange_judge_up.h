/* The judge's part at the servers: what each of them got is what was asked for, and no more. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_JUDGE_UP_H
#define GYRE_TESTS_FUZZ_EXCHANGE_JUDGE_UP_H

#include "exchange_asked.h"

/* --- What an origin got ------------------------------------------------------------------- */

/* Fields that gyre makes itself, or takes out. */
static const char *const names_own[] = {
    "host", "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
    "http2-settings", "content-length", "via", "x-forwarded-for", "x-forwarded-proto",
    "x-forwarded-host", "x-forwarded-port", "x-forwarded-server", "forwarded", "x-real-ip",
    "x-request-id", "x-request-start", NULL};
/* Fields that stay, though Connection names them. */
static const char *const names_kept[] = {
    "host", "content-length", "content-type", "content-encoding", "content-range", "date",
    "expect", "via", "cookie", "set-cookie", "authorization", "proxy-authorization",
    "proxy-authenticate", "www-authenticate", "location", "cache-control", "max-forwards",
    "forwarded", "trailer", "user-agent", "referer", "sec-websocket-accept", "sec-websocket-key",
    "allow", "retry-after", NULL};
/* Never trailers (RFC 9110 6.5.1). */
static const char *const names_no_trailer[] = {
    "host", "connection", "te", "transfer-encoding", "content-length", "content-type",
    "content-encoding", "content-range", "trailer", "cookie", "set-cookie", "authorization",
    "expect", "upgrade", "x-forwarded-for", "x-real-ip", "forwarded", NULL};

/* MUST be there on the other side, MAY be, or NEVER. */
enum duty { DUTY_SKIP, DUTY_MUST, DUTY_MAY, DUTY_NEVER };

static enum duty duty_of(const struct naive *from, const struct naive_field *f,
                         const char *const *own) {
    if (f->trailer || name_in(f->name, own)) {
        return DUTY_SKIP;
    }
    bool kept = name_in(f->name, names_kept);
    if (list_has(from, "connection", f->name)) {
        return kept || strncasecmp(f->name.p, "x-", 2) == 0 ? DUTY_MAY : DUTY_NEVER;
    }
    bool may = memchr(f->name.p, '_', f->name.len) != NULL || name_is(f->name, "expect") ||
               (name_is(f->name, "date") && own != names_own) ||
               (name_is(f->name, "accept-encoding") && stage_mode()->sticky);   /* of an opening */
    return may ? DUTY_MAY : DUTY_MUST;
}

/* What is in `to` came from `from`, in its order, and nothing is missing. */
static const char *fields_compare(const struct naive *from, const struct naive *to,
                                  const char *const *own, bool whole) {
    uint32_t k = 0;
    for (uint32_t i = 0; i < from->field_count; i++) {
        const struct naive_field *f = &from->fields[i];
        enum duty duty = duty_of(from, f, own);
        if (duty == DUTY_SKIP) {
            continue;
        }
        while (k < to->field_count && (to->fields[k].trailer || name_in(to->fields[k].name, own))) {
            k++;
        }
        bool same = k < to->field_count && str_eq(to->fields[k].name, f->name) &&
                    str_eq(to->fields[k].value, f->value);
        if (same && duty == DUTY_NEVER) {
            return "a field is forwarded that Connection takes out";
        }
        if (same) {
            k++;
        } else if (duty == DUTY_MUST && whole) {
            return "a field is lost, or has changed";
        }
    }
    for (; k < to->field_count; k++) {
        bool date = name_is(to->fields[k].name, "date");
        if (!to->fields[k].trailer && !name_in(to->fields[k].name, own) &&
            !(date && own != names_own)) {
            return "a field came that nobody has sent";
        }
    }
    return NULL;
}

static const char *trailers_compare(const struct naive *from, const struct naive *to) {
    for (uint32_t i = 0; i < to->field_count; i++) {
        const struct naive_field *t = &to->fields[i];
        if (!t->trailer) {
            continue;
        }
        if (name_in(t->name, names_no_trailer)) {
            return "a trailer that may not be one";
        }
        bool found = false;
        for (uint32_t k = 0; k < from->field_count; k++) {
            found = found || (from->fields[k].trailer && str_eq(from->fields[k].name, t->name) &&
                              str_eq(from->fields[k].value, t->value));
        }
        if (!found) {
            return "a trailer came that nobody has sent";
        }
    }
    return NULL;
}

/* The last element of X-Forwarded-For is always gyre's own. */
static int client_of(const struct naive *request) {
    struct str list = value_of(request, "x-forwarded-for");
    uint32_t from = list.len;
    while (from > 0 && list.p[from - 1] != ' ' && list.p[from - 1] != ',') {
        from--;
    }
    struct str last = {list.p + from, list.len - from};
    for (uint32_t i = 0; i < stage.play.client_count; i++) {
        if (str_eq(last, str_of(client_addrs[i]))) {
            return (int)i;
        }
    }
    return -1;
}

/* What gyre itself writes into a request. */
static const char *own_fields_check(const struct naive *n, uint32_t client) {
    static const char *const once[] = {"host", "x-forwarded-for", "x-real-ip", "forwarded",
                                       "x-request-id", "x-request-start",
                                       "x-forwarded-proto", NULL};
    for (const char *const *name = once; *name != NULL; name++) {
        if (count_of(n, *name) != 1) {
            return "a field of gyre's own is not there once";
        }
    }
    bool trusted = (stage.play.conf & 3) == 2 && client == 0;
    if (!trusted && (!str_eq(value_of(n, "x-real-ip"), str_of(client_addrs[client])) ||
                     !str_eq(value_of(n, "x-forwarded-for"), str_of(client_addrs[client])) ||
                     !str_eq(value_of(n, "x-forwarded-proto"), STR("http")))) {
        return "a client may say who it is";
    }
    struct str connection = value_of(n, "connection"), te = value_of(n, "te");
    bool upgrade = name_is(connection, "upgrade") && n->upgrades == 1 && n->body_len == 0;
    bool trailers = name_is(connection, "te") && str_eq(te, STR("trailers"));
    if (count_of(n, "connection") > 1 || n->upgrades > 1 || count_of(n, "te") > 1 ||
        (connection.len > 0 && !upgrade && !trailers)) {
        return "a hop-by-hop field is forwarded";
    }
    return NULL;
}

/* Underscores that become dashes must not make a second one of what gyre itself says. */
static bool has_twin(const struct naive *n) {
    for (uint32_t i = 0; i < n->field_count; i++) {
        struct str name = n->fields[i].name;
        char twin[64];
        if (name.len >= sizeof twin || memchr(name.p, '_', name.len) == NULL) {
            continue;
        }
        for (uint32_t k = 0; k < name.len; k++) {
            twin[k] = name.p[k] == '_' ? '-' : name.p[k];
        }
        if (name_in((struct str){twin, name.len}, names_own)) {
            return true;
        }
    }
    return false;
}

static bool is_asked(const struct record *r, const struct asked *a) {
    const struct naive *n = &r->request;
    if (!a->naive.in_body || a->refused || !str_eq(n->words[0], a->naive.words[0]) ||
        !str_eq(n->words[1], str_of(a->target)) || !str_eq(n->host, str_of(a->authority))) {
        return false;
    }
    return r->whole ? a->result == NAIVE_DONE && str_eq(body_of(n), body_of(&a->naive))
                    : bytes_begin(body_of(&a->naive), body_of(n));
}

/* How often, and last over this connection, that request has come before. */
static uint32_t times_seen(const struct record *r, int asked, int *last_here) {
    uint32_t times = 0;
    *last_here = -1;
    for (uint32_t i = 0; stage.records[i] != r; i++) {
        const struct record *before = stage.records[i];
        if (before->client == r->client) {
            times += before->asked == asked;
            *last_here = before->conn == r->conn && before->asked > *last_here ? before->asked
                                                                                : *last_here;
        }
    }
    return times;
}

static bool record_may_be(const struct record *r, int asked, uint32_t times) {
    int last;
    return times_seen(r, asked, &last) == times && asked > last &&
           is_asked(r, judge_asked[r->client][asked]);
}

/* What this request is a repetition of, by the number that gyre gave it; -1: of none. It goes again
 * once, and once more where it went first over a kept connection that its server was closing; that
 * may be one over which nothing had come yet, as who it was made for has left. */
static int repeated(const struct record *r) {
    struct str id = value_of(&r->request, "x-request-id");
    for (uint32_t i = 0; stage.records[i] != r; i++) {
        const struct record *before = stage.records[i];
        if (before->client == r->client &&
            (record_may_be(r, before->asked, 1) || record_may_be(r, before->asked, 2)) &&
            str_eq(value_of(&before->request, "x-request-id"), id)) {
            return before->asked;
        }
    }
    return -1;
}

/* Whether gyre began with it earlier, as it says: t=MICROSECONDS, of as many digits as any other.
 * True where that is not known. */
static bool began_earlier(const struct record *a, const struct record *b) {
    struct str x = value_of(&a->request, "x-request-start");
    struct str y = value_of(&b->request, "x-request-start");
    return x.len != y.len || x.len == 0 || memcmp(x.p, y.p, x.len) < 0;
}

/* The place behind those that its client had asked for before: of requests that are alike an earlier
 * one may have been answered without a server. Those that were heard before it and began no earlier
 * are none: one whose answer was said before it was heard is heard late. */
static int after_those_before(const struct record *r) {
    int most = -1;
    for (uint32_t i = 0; stage.records[i] != r; i++) {
        const struct record *before = stage.records[i];
        bool counts = before->client == r->client && began_earlier(before, r);
        most = counts && before->asked > most ? before->asked : most;
    }
    return most + 1;
}

/* Each request belongs to one of its client's, in their order; a repeated one may be. */
static const char *record_find(struct record *r) {
    static const char *const repeatable[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", NULL};
    uint32_t client = (uint32_t)r->client;
    uint32_t often = name_in(r->request.words[0], repeatable) ? 2 : 1;
    r->asked = often > 1 ? repeated(r) : -1;
    int count = (int)judge_asked_count[client], first = after_those_before(r);
    for (uint32_t times = 0; times < often && r->asked < 0; times++) {
        for (int i = 0; i < count && r->asked < 0; i++) {
            int at = (first + i) % count;
            r->asked = record_may_be(r, at, times) ? at : -1;
        }
    }
    return r->asked >= 0 ? NULL
                         : "an origin got a request that its client has not sent, or not then";
}

/* What its client asked for more than once: which of them this is was a guess, as one whose answer
 * was said before it was heard is heard late. */
static bool has_twins(const struct record *r) {
    uint32_t alike = 0;
    for (uint32_t i = 0; i < judge_asked_count[r->client]; i++) {
        alike += is_asked(r, judge_asked[r->client][i]);
    }
    return alike > 1;
}

/* Of one client a request goes out only after the one before has its answer. Connections may be
 * of unequal speed: so this is known only where the answer was said after the request was heard. */
static const char *order_check(const struct record *r) {
    bool after = r->answer.result == NAIVE_DONE && r->answer.begin >= r->said;
    bool calm = is_clean() && (stage.play.faults & FAULT_STALL) == 0 &&
                !r->conn->actor.was_paused && !r->conn->actor.left;
    for (uint32_t i = 0; after && calm && r->asked >= 0 && stage.records[i] != r; i++) {
        const struct record *before = stage.records[i];
        if (before->client == r->client && before->asked > r->asked && !has_twins(before) &&
            !has_twins(r)) {
            return "the order of a client's requests has changed";
        }
    }
    return NULL;
}

static const char *record_check(struct record *r) {
    const struct naive *n = &r->request;
    const char *wrong = NULL;
    r->client = client_of(n);
    if (r->client < 0) {
        return is_clean() ? "an origin got a request of nobody" : NULL;
    }
    if ((wrong = own_fields_check(n, (uint32_t)r->client)) != NULL ||
        (wrong = record_find(r)) != NULL) {
        return wrong;
    }
    const struct asked *a = judge_asked[r->client][r->asked];
    if (has_twin(n)) {
        return "a twin of a known field is forwarded";
    }
    wrong = fields_compare(&a->naive, n, names_own, true);
    return wrong != NULL ? wrong : trailers_compare(&a->naive, n);
}

/* What a reader leaves of a message that is cut: of a chunk's line, or a trailer, the beginning. */
static bool is_part_of_line(struct str rest) {
    rest.len -= rest.p[rest.len - 1] == '\r';
    return naive_text(rest);
}

/* What an origin got is requests, and everybody reads the same ones. */
static const char *conn_check(struct conn *c) {
    struct str all = heard(&c->actor);
    uint32_t at = 0;
    bool cut = false;
    for (uint32_t i = 0; i < stage.record_count; i++) {
        struct record *r = stage.records[i];
        if (r->conn != c) {
            continue;
        }
        struct str rest = {all.p + at, all.len - at};
        enum naive_result result = read_as(&r->request, rest, NAIVE_STRICT, true, false);
        if (cut || result == NAIVE_BAD || (result == NAIVE_DONE) != r->whole || r->begin != at) {
            return "an origin got a malformed request";
        }
        if (!str_eq(r->request.words[2], STR("HTTP/1.1")) ||
            !all_agree(&r->request, result, rest, true, false)) {
            return "a request is read in several ways";
        }
        cut = !r->whole;
        at += r->request.used;
    }
    static struct naive naive;
    struct str rest = {all.p + at, all.len - at};
    if (c->raw || rest.len == 0) {
        return NULL;
    }
    bool part = cut ? is_part_of_line(rest)
                    : !c->in_request &&
                          read_as(&naive, rest, NAIVE_STRICT, true, false) == NAIVE_SHORT;
    if (c->broken || !part) {
        return "an origin got bytes that are no request";
    }
    return NULL;
}

/* --- Reuse of connections to origins ------------------------------------------------------ */

static bool answer_keeps(const struct answer *a) {
    const struct naive *n = &a->head;
    if (a->result != NAIVE_DONE || a->tunnel || n->until_eof ||
        list_has(n, "connection", STR("close"))) {
        return false;
    }
    return !naive_is_old(n) || list_has(n, "connection", STR("keep-alive"));
}

/* When the origin had said all up to there. */
static uint64_t said_us(const struct conn *c, uint32_t len) {
    for (uint32_t i = 0; i < c->old_count; i++) {
        if (c->old_said[i] >= len) {
            return c->old_us[i];
        }
    }
    return UINT64_MAX;
}

/* A request goes over a connection again only where the answer before was whole, and nothing came
 * behind it that gyre must have seen. */
static const char *reuse_check(struct conn *c) {
    struct record *before = NULL;
    conn_read_answers(c);
    for (uint32_t i = 0; i < stage.record_count; i++) {
        struct record *r = stage.records[i];
        if (r->conn != c) {
            continue;
        }
        uint32_t end = before != NULL ? before->answer.end : 0;
        if (before != NULL && !answer_keeps(&before->answer)) {
            return "a connection is used again that can not be";
        }
        bool calm = (stage.play.faults & FAULT_STALL) == 0 && !c->actor.was_paused;
        uint64_t surplus_us = said_us(c, end + 1);
        if (calm && surplus_us != UINT64_MAX && surplus_us + JUDGE_OLD_US < r->at_us) {
            return "a connection is used on which something had come unasked";
        }
        before = r;
    }
    return NULL;
}

#endif
