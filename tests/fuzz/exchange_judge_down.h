/* The judge's part at the clients: what each of them got is the answers to its own requests. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_JUDGE_DOWN_H
#define GYRE_TESTS_FUZZ_EXCHANGE_JUDGE_DOWN_H

#include "exchange_judge_mode.h"

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
    uint32_t at, last;            /* where it begins; and from there, its last head */
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
static const char *answer_compare(const struct record *r, const struct got *g,
                                  const struct asked *asked) {
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
    bool go_on = asked_awaits(asked);
    if (go_on && (g->interim_count == 0 || strcmp(g->interims[0], "100") != 0)) {
        return "a client that waits for a 100 is not told to go on";
    }
    for (uint32_t i = go_on ? 1 : 0; i < g->interim_count; i++) {
        while (k < a->interim_count && strcmp(a->interims[k], g->interims[i]) != 0) {
            k++;
        }
        if (asked->old || k++ >= a->interim_count) {
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
        bool number = value.len > 0 && strspn(value.p, "0123456789") >= value.len &&
                      (value.len == 1 || value.p[0] != '0');
        if (a->head.fields[i].trailer ||
            !((name_is(name, "content-length") && number) || name_is(name, "x-id") ||
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
        if (!r->answer.tunnel && answer_compare(r, g, a) == NULL) {
            r->client = (int)client;
            r->asked = (int)i;
            return true;
        }
    }
    return false;
}

/* It is the answer that r got. */
static const char *matched_check(const struct record *r, uint32_t i, const struct got *g) {
    const struct actor *client = &stage.clients[r->client];
    if (r->asked != (int)i) {
        return NULL;
    }
    if (!g->whole && is_plain(r) && is_calm() && !client->was_paused && !client->left) {
        return "a plain answer is cut";
    }
    return held_check(r, g->at, g->last);
}

/* Of requests that are alike nobody can tell which of them went up. */
static bool was_asked_twice(uint32_t client, uint32_t i) {
    for (uint32_t k = 0; k < judge_asked_count[client]; k++) {
        if (k != i && is_same_request(judge_asked[client][k], judge_asked[client][i])) {
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
        if (page && r->asked == (int)i && is_plain(r) && !was_asked_twice(client, i)) {
            return "a page in place of a plain answer";
        }
        const char *other = answer_compare(r, g, a);
        if (other == NULL) {
            return matched_check(r, i, g);
        }
        wrong = other;
    }
    if (page && str_eq(g->naive.words[1], STR("503")) && !may_shed(a)) {
        return "503, and nothing was short";
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
        g->last = g->used;
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

/* Its answer has begun, or that to one like it or behind it, and was cut before the first byte of it
 * came: by a reset, which overtakes what was on its way. */
static bool is_cut_early(uint32_t client, uint32_t i) {
    struct asked *const *asked = judge_asked[client];
    for (uint32_t k = 0; stage.clients[client].peer->reset && k < stage.record_count; k++) {
        const struct record *r = stage.records[k];
        if (r->client == (int)client && r->asked >= 0 && r->answer.head.head_used > 0 &&
            (r->asked >= (int)i || is_same_request(asked[r->asked], asked[i]))) {
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
        g.at = at;
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

#endif
