/* Judges what was said in fuzz_exchange, by readers that know nothing of gyre: what reached an
 * origin is a request of its client, in order, whole or visibly cut, and read alike by everybody;
 * what reached a client is a page, or the answer to its own request. NULL, or what is wrong. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_JUDGE_H
#define GYRE_TESTS_FUZZ_EXCHANGE_JUDGE_H

#include "exchange_stage.h"

#define ASKED_MAX 64u
#define EMPTY_LINES 4u            /* that are passed over before a request */
/* What an origin said longer ago than this before a request went out to it has been seen. */
#define JUDGE_OLD_US 3000000u

struct asked {
    uint32_t begin, end;          /* of what its client said */
    enum naive_result result;
    bool refused;                 /* well-formed, but never served */
    bool last;                    /* nothing may be read behind it */
    bool old;                     /* HTTP/1.0 */
    char authority[512], target[4096];   /* as they go to an origin */
    struct naive naive;
};

static struct asked *judge_asked[CLIENTS_MAX][ASKED_MAX];
static uint32_t judge_asked_count[CLIENTS_MAX];

/* --- Small tools -------------------------------------------------------------------------- */

static bool name_is(struct str name, const char *wanted) {
    return name.len == strlen(wanted) && strncasecmp(name.p, wanted, name.len) == 0;
}

static bool name_in(struct str name, const char *const *names) {
    for (; *names != NULL; names++) {
        if (name_is(name, *names)) {
            return true;
        }
    }
    return false;
}

/* True when one of the fields of that name holds the word in its comma list. */
static bool list_has(const struct naive *n, const char *name, struct str word) {
    for (uint32_t i = 0; i < n->field_count; i++) {
        struct str rest = n->fields[i].value;
        if (n->fields[i].trailer || !name_is(n->fields[i].name, name)) {
            continue;
        }
        while (rest.len > 0) {
            const char *comma = memchr(rest.p, ',', rest.len);
            uint32_t len = comma != NULL ? (uint32_t)(comma - rest.p) : rest.len;
            struct str one = naive_trim((struct str){rest.p, len});
            if (one.len == word.len && strncasecmp(one.p, word.p, word.len) == 0) {
                return true;
            }
            len += comma != NULL;
            rest = (struct str){rest.p + len, rest.len - len};
        }
    }
    return false;
}

static uint32_t count_of(const struct naive *n, const char *name) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->field_count; i++) {
        count += !n->fields[i].trailer && name_is(n->fields[i].name, name);
    }
    return count;
}

static struct str value_of(const struct naive *n, const char *name) {
    for (uint32_t i = 0; i < n->field_count; i++) {
        if (!n->fields[i].trailer && name_is(n->fields[i].name, name)) {
            return n->fields[i].value;
        }
    }
    return STR("");
}

static struct str body_of(const struct naive *n) {
    return (struct str){n->body, n->body_len};
}

static bool bytes_begin(struct str whole, struct str part) {
    return part.len <= whole.len && (part.len == 0 || memcmp(whole.p, part.p, part.len) == 0);
}

static bool is_clean(void) {
    return (stage.play.faults & FAULT_LOSSY) == 0;
}

static enum naive_result read_as(struct naive *n, struct str bytes, unsigned habits, bool request,
                                 bool head_only) {
    memset(n, 0, offsetof(struct naive, body));
    n->habits = habits;
    n->request = request;
    n->head_only = head_only;
    n->cgi = request && habits != NAIVE_STRICT;
    return naive_read(n, bytes);
}

/* Others read the same message: as many bytes, the same body. */
static bool all_agree(const struct naive *strict, enum naive_result result, struct str bytes,
                      bool request, bool head_only) {
    static const unsigned readers[] = {
        0, NAIVE_LENIENT | NAIVE_FOLD | NAIVE_CODING_ANY, NAIVE_LENIENT | NAIVE_CR,
        NAIVE_LENIENT | NAIVE_LENGTH_WINS | NAIVE_CODING_ANY,
        NAIVE_LENIENT | NAIVE_CR | NAIVE_FOLD | NAIVE_LAST | NAIVE_LENGTH_WINS,
    };
    static struct naive other;
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
        enum naive_result read = read_as(&other, bytes, readers[i], request, head_only);
        if (read != result || other.body_len != strict->body_len ||
            memcmp(other.body, strict->body, strict->body_len) != 0 ||
            (result == NAIVE_DONE && other.used != strict->used) ||
            other.head_used != strict->head_used) {
            return false;
        }
    }
    return true;
}

/* --- What a client asked for -------------------------------------------------------------- */

/* The target in origin form, and whom it is for (RFC 9112 3.2). */
static void asked_target(struct asked *a) {
    struct str target = a->naive.words[1], authority = a->naive.host;
    bool absolute = target.len > 7 && strncasecmp(target.p, "http://", 7) == 0;
    bool secure = target.len > 8 && strncasecmp(target.p, "https://", 8) == 0;
    const char *slash = "";
    if (absolute || secure) {
        uint32_t skip = absolute ? 7 : 8, len = skip;
        while (len < target.len && target.p[len] != '/' && target.p[len] != '?') {
            len++;
        }
        authority = (struct str){target.p + skip, len - skip};
        target = (struct str){target.p + len, target.len - len};
        if (target.len == 0) {
            target = str_eq(a->naive.words[0], STR("OPTIONS")) ? STR("*") : STR("/");
        } else if (target.p[0] == '?') {
            slash = "/";
        }
    }
    snprintf(a->target, sizeof a->target, "%s" STR_FMT, slash, STR_ARG(target));
    snprintf(a->authority, sizeof a->authority, STR_FMT, STR_ARG(authority));
}

static bool asked_is_refused(const struct naive *n) {
    struct str method = n->words[0];
    bool expects = count_of(n, "expect") > 0 && !naive_is_old(n) &&
                   (count_of(n, "expect") > 1 || !name_is(value_of(n, "expect"), "100-continue"));
    return str_eq(method, STR("TRACE")) || str_eq(method, STR("CONNECT")) || expects ||
           (n->lengths > 0 && n->length > STAGE_MAX_BODY);
}

/* All requests of a client, as the RFC reads them, up to the one after which nothing may be read.
 * False: too many. */
static bool asked_read(uint32_t client) {
    const struct said *said = &stage.clients[client].said;
    uint32_t at = 0, count = 0;
    bool over = false;
    while (!over && at < said->len) {
        uint32_t empty = 0;
        for (; empty < EMPTY_LINES && said->len - at >= 2 &&
               memcmp(said->bytes + at, "\r\n", 2) == 0; at += 2) {
            empty++;
        }
        if (at == said->len) {
            break;
        }
        if (count == ASKED_MAX) {
            return false;
        }
        struct asked **slot = &judge_asked[client][count++];
        if (*slot == NULL) {
            *slot = mem_zero(sizeof **slot);
        }
        struct asked *a = *slot;
        struct str rest = {said->bytes + at, said->len - at};
        a->result = read_as(&a->naive, rest, NAIVE_STRICT, true, false);
        a->begin = at;
        at += a->naive.used;
        a->end = at;
        a->old = a->naive.in_body && naive_is_old(&a->naive);
        a->refused = a->naive.in_body && asked_is_refused(&a->naive);
        a->last = a->result != NAIVE_DONE || a->refused || a->old ||
                  list_has(&a->naive, "connection", STR("close"));
        asked_target(a);
        over = a->last;
    }
    judge_asked_count[client] = count;
    return true;
}

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
               (name_is(f->name, "date") && own != names_own);
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

/* What this request is a repetition of, by the number that gyre gave it; -1: of none. */
static int repeated(const struct record *r) {
    struct str id = value_of(&r->request, "x-request-id");
    for (uint32_t i = 0; stage.records[i] != r; i++) {
        const struct record *before = stage.records[i];
        if (before->client == r->client && record_may_be(r, before->asked, 1) &&
            str_eq(value_of(&before->request, "x-request-id"), id)) {
            return before->asked;
        }
    }
    return -1;
}

/* Each request belongs to one of its client's, in their order; a repeated one may be. */
static const char *record_find(struct record *r) {
    static const char *const repeatable[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", NULL};
    uint32_t client = (uint32_t)r->client;
    uint32_t often = name_in(r->request.words[0], repeatable) ? 2 : 1;
    r->asked = often > 1 ? repeated(r) : -1;
    for (uint32_t times = 0; times < often && r->asked < 0; times++) {
        for (int i = 0; i < (int)judge_asked_count[client] && r->asked < 0; i++) {
            r->asked = record_may_be(r, i, times) ? i : -1;
        }
    }
    return r->asked >= 0 ? NULL
                         : "an origin got a request that its client has not sent, or not then";
}

/* Of one client a request goes out only after the one before has its answer. Connections may be
 * of unequal speed: so this is known only where the answer was said after the request was heard. */
static const char *order_check(const struct record *r) {
    bool after = r->answer.result == NAIVE_DONE && r->answer.begin >= r->said;
    bool calm = is_clean() && (stage.play.faults & FAULT_STALL) == 0 &&
                !r->conn->actor.was_paused && !r->conn->actor.left;
    for (uint32_t i = 0; after && calm && r->asked >= 0 && stage.records[i] != r; i++) {
        const struct record *before = stage.records[i];
        if (before->client == r->client && before->asked > r->asked) {
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

/* --- What a client got -------------------------------------------------------------------- */

static const char *const names_own_down[] = {
    "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
    "http2-settings", "content-length", NULL};

static const struct {
    const char *status, *reason;
} pages[] = {
    {"400", "Bad Request"}, {"404", "Not Found"}, {"405", "Method Not Allowed"},
    {"408", "Request Timeout"}, {"413", "Content Too Large"}, {"414", "URI Too Long"},
    {"417", "Expectation Failed"}, {"431", "Request Header Fields Too Large"},
    {"501", "Not Implemented"}, {"502", "Bad Gateway"}, {"503", "Service Unavailable"},
    {"504", "Gateway Timeout"}, {"505", "HTTP Version Not Supported"},
};

/* An answer that gyre makes itself, to its last byte, or cut. */
static bool is_page(const struct naive *n, bool whole, bool head_only) {
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        if (!str_eq(n->words[1], str_of(pages[i].status)) ||
            !str_eq(n->words[2], str_of(pages[i].reason))) {
            continue;
        }
        char text[512];
        int len = snprintf(text, sizeof text,
                           "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>%s %s</title></head>\n"
                           "<body><h1>%s %s</h1></body>\n</html>\n",
                           pages[i].status, pages[i].reason, pages[i].status, pages[i].reason);
        struct str body = {text, (uint32_t)len};
        return name_is(value_of(n, "content-type"), "text/html; charset=utf-8") &&
               n->length == body.len && (head_only ? n->body_len == 0
                                         : whole ? str_eq(body_of(n), body)
                                                 : bytes_begin(body, body_of(n)));
    }
    return false;
}

struct got {
    struct naive naive;
    bool whole;
    uint32_t interim_count, used;
    char interims[INTERIMS_MAX][4];
};

static bool answer_is_whole(const struct record *r) {
    const struct answer *a = &r->answer;
    const struct actor *origin = &r->conn->actor;
    return a->result == NAIVE_DONE &&
           (!a->head.until_eof || (origin->hung_up && !origin->was_reset));
}

/* What the client got is this answer, changed as an intermediary may. */
static const char *answer_compare(const struct record *r, const struct got *g, bool old) {
    const struct answer *a = &r->answer;
    const struct naive *n = &g->naive;
    if (a->head.head_used == 0 || !str_eq(a->head.words[1], n->words[1])) {
        return "another status";
    }
    struct str reason = naive_trim(a->head.words[2]);
    if (reason.len > 0 && !str_eq(reason, n->words[2])) {
        return "another reason";
    }
    if (g->whole ? !str_eq(body_of(&a->head), body_of(n)) || !answer_is_whole(r)
                 : !bytes_begin(body_of(&a->head), body_of(n))) {
        return "another body";
    }
    uint32_t k = 0;
    for (uint32_t i = 0; i < g->interim_count; i++) {
        while (k < a->interim_count && strcmp(a->interims[k], g->interims[i]) != 0) {
            k++;
        }
        if (old || k++ >= a->interim_count) {
            return "an interim answer that nobody has sent";
        }
    }
    const char *wrong = fields_compare(&a->head, n, names_own_down, true);
    return wrong != NULL ? wrong : trailers_compare(&a->head, n);
}

/* The framing of an answer fits who asked, and what it is. */
static const char *framing_check(const struct naive *n, bool old) {
    const char *status = n->words[1].p;
    bool bare = status[0] == '1' || strncmp(status, "204", 3) == 0;
    if (!str_eq(n->words[0], STR("HTTP/1.1"))) {
        return "another version";
    }
    if ((old && n->codings > 0) || (bare && n->codings + n->lengths > 0)) {
        return "framing where there can be none";
    }
    if (old && status[0] == '1') {
        return "an interim answer for HTTP/1.0";
    }
    bool tunnel = strncmp(status, "101", 3) == 0;
    struct str connection = value_of(n, "connection");
    if (n->upgrades != (tunnel ? 1u : 0u) || count_of(n, "connection") > 1 ||
        (connection.len > 0 && !name_is(connection, tunnel ? "upgrade" : "close"))) {
        return "a hop-by-hop field in an answer";
    }
    return NULL;
}

static bool is_same_request(const struct asked *a, const struct asked *b) {
    return str_eq(a->naive.words[0], b->naive.words[0]) && strcmp(a->target, b->target) == 0 &&
           strcmp(a->authority, b->authority) == 0;
}

/* Whatever is said over this connection is said at once. */
static bool is_swift(const struct conn *c) {
    for (uint32_t i = 0; i < stage.record_count; i++) {
        const struct script *reply = stage.records[i]->reply;
        if (stage.records[i]->conn != c) {
            continue;
        }
        for (uint32_t k = 0; k < reply->count; k++) {
            if (reply->when != ACT_REPLY || reply->moves[k].kind != MOVE_SEND) {
                return false;
            }
        }
    }
    return !c->spoke_first;
}

/* An origin has given a plain, whole answer in good time to a whole request: it may not be lost. */
static bool is_plain(const struct record *r) {
    const struct answer *a = &r->answer;
    if (!is_clean() || !r->whole || !answer_is_whole(r) || a->begin != r->said ||
        a->interim_count > 0 || a->head.field_count > 3 || a->tunnel ||
        (stage.play.faults & FAULT_STALL) != 0 || !is_swift(r->conn)) {
        return false;
    }
    if (!str_eq(a->head.words[2], STR("OK")) || !str_eq(a->head.words[1], STR("200")) ||
        !str_eq(a->head.words[0], STR("HTTP/1.1")) || a->head.until_eof ||
        a->head.lengths + a->head.codings != 1 || a->head.length > STAGE_MAX_BODY) {
        return false;
    }
    for (uint32_t i = 0; i < a->head.field_count; i++) {
        struct str name = a->head.fields[i].name, value = a->head.fields[i].value;
        bool zeros = value.len > 1 && value.p[0] == '0';
        if (a->head.fields[i].trailer ||
            !((name_is(name, "content-length") && !zeros) || name_is(name, "x-id") ||
              (name_is(name, "transfer-encoding") && name_is(value, "chunked")))) {
            return false;
        }
    }
    return true;
}

/* An origin that speaks before it hears, and hangs up, never sees whose request its answer was
 * taken for. One record for each such answer, of no client yet. */
static void unheard_add(void) {
    for (uint32_t i = 0; i < stage.conn_count && stage.record_count < RECORDS_MAX; i++) {
        struct conn *c = stage.conns[i];
        const struct record *last = conn_last(c);
        uint32_t begin = last != NULL ? last->answer.end : 0;
        bool ended = c->actor.hung_up || c->actor.peer->reset;
        bool open = last == NULL || (last->whole && answer_keeps(&last->answer));
        if (!c->raw && ended && open && c->actor.said.len > begin) {
            struct record *r = record_place(c, begin);
            r->said = begin;
            r->answer.begin = begin;
        }
    }
}

/* That answer, if it may be to this request; it is nobody else's then. */
static bool unheard_take(uint32_t client, uint32_t i, const struct got *g) {
    const struct asked *a = judge_asked[client][i];
    for (uint32_t k = 0; k < stage.record_count; k++) {
        struct record *r = stage.records[k];
        if (r->client >= 0 || r->heard) {
            continue;
        }
        r->head_only = str_eq(a->naive.words[0], STR("HEAD"));
        r->upgrades = 0;
        answer_read(r, r->answer.begin);
        if (!r->answer.tunnel && answer_compare(r, g, a->old) == NULL) {
            r->client = (int)client;
            r->asked = (int)i;
            return true;
        }
    }
    return false;
}

/* The i-th answer of a client is a page, or an answer to its i-th request. */
static const char *got_check(uint32_t client, uint32_t i, struct got *g) {
    const struct asked *a = i < judge_asked_count[client] ? judge_asked[client][i] : NULL;
    if (a == NULL) {
        return "more answers than requests";
    }
    const char *wrong = framing_check(&g->naive, a->old);
    if (wrong != NULL) {
        return wrong;
    }
    bool page = is_page(&g->naive, g->whole, g->naive.head_only);
    wrong = "an answer that nobody has sent";
    for (uint32_t k = 0; k < stage.record_count; k++) {
        struct record *r = stage.records[k];
        if (r->client != (int)client || r->asked < 0 ||
            (r->asked != (int)i && !is_same_request(judge_asked[client][r->asked], a))) {
            continue;
        }
        if (page && r->asked == (int)i && is_plain(r)) {
            return "a page in place of a plain answer";
        }
        const char *other = answer_compare(r, g, a->old);
        if (other == NULL) {
            return NULL;
        }
        wrong = other;
    }
    return page || unheard_take(client, i, g) ? NULL : wrong;
}

/* Bytes behind a 101 are the other side's, in order. */
static const char *tunnel_check(uint32_t client, uint32_t i, struct str down) {
    const char *wrong = "a tunnel that nobody has asked for";
    for (uint32_t k = 0; k < stage.record_count; k++) {
        struct record *r = stage.records[k];
        if (r->client != (int)client || r->asked != (int)i || !r->answer.tunnel) {
            continue;
        }
        const struct said *origin = &r->conn->actor.said, *mine = &stage.clients[client].said;
        uint32_t end = judge_asked[client][i]->end;
        struct str said = {origin->bytes + r->answer.end, origin->len - r->answer.end};
        struct str asked = {mine->bytes + end, mine->len - end};
        struct str all = heard(&r->conn->actor);
        struct str up = {all.p + r->end, all.len - r->end};
        if (bytes_begin(said, down) && bytes_begin(asked, up)) {
            return NULL;
        }
        wrong = "a tunnel carries other bytes";    /* or it was repeated: see the next */
    }
    return wrong;
}

/* One answer with its interim ones. SHORT: what is left is none that is whole. */
static enum naive_result got_read(struct got *g, struct str bytes, bool head_only) {
    g->interim_count = g->used = 0;
    for (;;) {
        struct str rest = {bytes.p + g->used, bytes.len - g->used};
        if (rest.len == 0) {
            return NAIVE_SHORT;
        }
        enum naive_result result = read_as(&g->naive, rest, NAIVE_STRICT, false, head_only);
        if (result == NAIVE_BAD || !all_agree(&g->naive, result, rest, false, head_only)) {
            return NAIVE_BAD;
        }
        const char *status = g->naive.words[1].p;
        bool interim = g->naive.head_used > 0 && status[0] == '1' && strncmp(status, "101", 3) != 0;
        g->used += g->naive.used;
        if (result != NAIVE_DONE || !interim) {
            return result;
        }
        if (framing_check(&g->naive, false) != NULL) {
            return NAIVE_BAD;
        }
        if (g->interim_count < INTERIMS_MAX) {
            memcpy(g->interims[g->interim_count++], status, 3);
        }
    }
}

/* gyre may end a connection that was idle just when a request came; who does not read sees only
 * later that it was ended before. */
static bool is_idle_race(const struct actor *a) {
    return a->was_paused || a->said_us + 1000000 > a->ended_us;
}

/* Its answer has begun, and was cut before the first byte of it came: by a reset. */
static bool is_cut_early(uint32_t client, uint32_t i) {
    for (uint32_t k = 0; stage.clients[client].peer->reset && k < stage.record_count; k++) {
        const struct record *r = stage.records[k];
        if (r->client == (int)client && r->asked == (int)i && r->answer.head.head_used > 0) {
            return true;
        }
    }
    return false;
}

static const char *client_end_check(uint32_t client, uint32_t answered, bool closing, bool cut) {
    const struct actor *a = &stage.clients[client];
    uint32_t owed = 0;
    for (uint32_t i = 0; i < judge_asked_count[client]; i++) {
        owed += judge_asked[client][i]->result != NAIVE_SHORT;
    }
    bool stalls = (stage.play.faults & FAULT_STALL) != 0 || a->script == NULL ||
                  a->script != &stage.play.clients[client];
    if (answered >= owed || closing || cut || a->left || !is_clean() || stalls ||
        is_idle_race(a) || is_cut_early(client, answered)) {
        return NULL;
    }
    return "a request is left without an answer, and without a sign of it";
}

static const char *client_check(uint32_t client) {
    static struct got g;
    struct actor *a = &stage.clients[client];
    struct str all = heard(a);
    uint32_t at = 0, answered = 0;
    bool closing = false, cut = false;
    while (at < all.len) {
        struct str rest = {all.p + at, all.len - at};
        const struct asked *asked =
            answered < judge_asked_count[client] ? judge_asked[client][answered] : NULL;
        bool head_only = asked != NULL && str_eq(asked->naive.words[0], STR("HEAD"));
        if (closing) {
            return "bytes behind the last answer";
        }
        enum naive_result result = got_read(&g, rest, head_only);
        /* A page for what is no request has its body, unless it was seen to be HEAD. */
        if (head_only && asked->result == NAIVE_BAD && result == NAIVE_DONE &&
            g.used < rest.len) {
            result = got_read(&g, rest, false);
        }
        if (result == NAIVE_BAD) {
            return "a client got a malformed answer";
        }
        cut = result == NAIVE_SHORT || (g.naive.until_eof && a->peer->reset);
        if (g.naive.head_used == 0 || (result == NAIVE_SHORT && g.interim_count > 0 &&
                                       rest.len == g.used)) {
            break;                /* a head that is cut off, or interim ones alone */
        }
        g.whole = !cut && (!g.naive.until_eof || a->peer->eof);
        const char *wrong = got_check(client, answered, &g);
        if (wrong != NULL) {
            return wrong;
        }
        at += g.used;
        if (strncmp(g.naive.words[1].p, "101", 3) == 0) {
            return tunnel_check(client, answered, (struct str){all.p + at, all.len - at});
        }
        answered += !cut;
        closing = list_has(&g.naive, "connection", STR("close")) || asked->old;
        if (cut) {
            break;
        }
    }
    return client_end_check(client, answered, closing, cut);
}

/* --- All of it ---------------------------------------------------------------------------- */

static const char *judge(void) {
    const char *wrong = NULL;
    for (uint32_t i = 0; i < stage.play.client_count; i++) {
        if (!asked_read(i) || stage.too_much) {
            return NULL;          /* more than is kept */
        }
    }
    for (uint32_t i = 0; i < stage.conn_count && wrong == NULL; i++) {
        wrong = conn_check(stage.conns[i]);
    }
    for (uint32_t i = 0; i < stage.record_count && wrong == NULL; i++) {
        wrong = record_check(stage.records[i]);
    }
    for (uint32_t i = 0; i < stage.conn_count && wrong == NULL; i++) {
        wrong = reuse_check(stage.conns[i]);
    }
    for (uint32_t i = 0; i < stage.record_count && wrong == NULL; i++) {
        wrong = order_check(stage.records[i]);
    }
    unheard_add();
    for (uint32_t i = 0; i < stage.play.client_count && wrong == NULL; i++) {
        wrong = client_check(i);
    }
    return wrong;
}

#endif
