/* The judge's part at what modes and slots promise: a request is whole before a server of mode sync
 * hears of it, no server has more of them than slots, and no byte waits that could go on. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_JUDGE_MODE_H
#define GYRE_TESTS_FUZZ_EXCHANGE_JUDGE_MODE_H

#include "exchange_judge_up.h"

/* What is said, or done, arrives within this: but through the narrowest pipes. */
#define JUDGE_SOON_US 3000000u
/* Both ways, where that is slowest: who has left is heard of by then. */
#define JUDGE_STILLBORN_US 50000u

static bool is_narrow(void) {
    return (stage.play.network >> 2 & 3) == 2;
}

static bool is_calm(void) {
    return is_clean() && !is_narrow() && (stage.play.faults & FAULT_STALL) == 0;
}

/* --- A request of mode sync --------------------------------------------------------------- */

static bool asked_has_body(const struct asked *a) {
    return a->naive.codings > 0 || a->naive.length > 0;
}

/* Its client waits for a 100, and gyre says it. */
static bool asked_awaits(const struct asked *a) {
    return stage_mode()->sync && !a->old && asked_has_body(a) && count_of(&a->naive, "expect") > 0;
}

/* It goes up only when all of it is there, and with its length. */
static const char *sync_check(const struct record *r) {
    const struct asked *a = judge_asked[r->client][r->asked];
    const struct naive *n = &r->request;
    if (a->result != NAIVE_DONE || a->end > r->asked_by[r->client]) {
        return "a server hears of a request that is not whole yet";
    }
    bool told = n->lengths == 1 || (n->lengths == 0 && !asked_has_body(a));
    if (n->codings > 0 || !told || n->length != a->naive.body_len) {
        return "a request goes up without its length";
    }
    if (asked_has_body(a) && count_of(n, "expect") > 0) {
        return "a server is to say 100 for a body that is there";
    }
    return NULL;
}

/* Nobody dials before there is a request for it. */
static const char *sync_dial_check(const struct conn *c) {
    for (uint32_t i = 0; i < stage.play.client_count; i++) {
        for (uint32_t k = 0; k < judge_asked_count[i]; k++) {
            const struct asked *a = judge_asked[i][k];
            if (a->result == NAIVE_DONE && !a->refused && a->end <= c->accepted_by[i]) {
                return NULL;
            }
        }
    }
    return "a connection is made for a request that is not whole yet";
}

/* --- Clients that have gone --------------------------------------------------------------- */

/* A request of a client that has gone since does not go up. (Who does not read hears it later.) */
static const char *gone_check(const struct record *r) {
    const struct actor *a = &stage.clients[r->client];
    bool last = judge_asked[r->client][r->asked]->end == a->said.len;
    if (is_calm() && !r->conn->actor.was_paused && last && a->left &&
        a->hung_us + JUDGE_SOON_US < r->at_us) {
        return "a server hears of a request whose client has gone";
    }
    return NULL;
}

/* --- A server that has said nothing ------------------------------------------------------- */

/* gyre has ended the connection to a server that had not yet begun to answer, and read all;
 * nor had it said anything else. */
static bool is_dropped(const struct record *r) {
    const struct actor *origin = &r->conn->actor;
    return origin->ended_us != 0 && !origin->left && !origin->was_paused &&
           r->answer.begin == r->said && said_us(r->conn, r->said + 1) > origin->ended_us;
}

/* What was whole before it went up comes whole, as long as there is anybody to answer. */
static const char *half_check(const struct record *r) {
    if (is_calm() && !r->whole && is_dropped(r) && !stage.clients[r->client].left) {
        return "a server gets half of a request that was whole";
    }
    return NULL;
}

/* A worker does not notice that it is left alone: its slot is taken until it has answered, or has
 * had response_timeout for that, from when its request went up. */
static const char *orphan_check(const struct record *r) {
    if (is_calm() && r->whole && is_dropped(r) &&
        r->conn->actor.ended_us + JUDGE_SOON_US < r->at_us + STAGE_RESPONSE_US) {
        return "a slot is free though its worker has not answered";
    }
    return NULL;
}

/* --- Slots -------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t us, uint64_t other) {
    return other != 0 && other < us ? other : us;
}

/* Since when nothing of that connection keeps its server busy, as gyre could know. */
static uint64_t conn_over_us(const struct conn *c) {
    return earlier(earlier(UINT64_MAX, c->actor.ended_us), c->actor.hung_us);
}

/* When its answer was said, or will never be. */
static uint64_t record_over_us(const struct record *r) {
    const struct answer *a = &r->answer;
    bool said = a->result == NAIVE_DONE && !a->tunnel && !a->head.until_eof;
    uint64_t over = conn_over_us(r->conn), done = said ? said_us(r->conn, a->end) : UINT64_MAX;
    over = done < over ? done : over;
    return over > r->at_us ? over : r->at_us;
}

/* Its times are known. */
static bool conn_is_clear(const struct conn *c) {
    return !c->actor.was_paused && c->old_count < 64;
}

/* A connection that gyre has ended may be seen to end after the next one has begun. */
static bool is_busy(uint64_t over_us, const struct conn *c, uint64_t at_us) {
    bool ends = c->actor.ended_us != 0 && c->actor.ended_us <= at_us + JUDGE_SOON_US;
    return over_us > at_us && !ends;
}

/* gyre had given it up, or had its answer that was said unasked, perhaps before it was heard. */
static bool is_given_up(const struct record *r) {
    const struct answer *a = &r->answer;
    uint64_t ended_us = r->conn->actor.ended_us;
    bool served = a->result == NAIVE_DONE && a->begin >= r->said &&
                  said_us(r->conn, a->end) <= ended_us;
    return ended_us != 0 && ended_us <= r->at_us + JUDGE_SOON_US && !served;
}

static const char *slots_check(const struct record *r) {
    uint32_t busy = 0;
    if (!conn_is_clear(r->conn) || conn_over_us(r->conn) <= r->at_us || is_given_up(r)) {
        return NULL;              /* it was heard late, or where nobody serves it */
    }
    for (uint32_t i = 0; stage.records[i] != r; i++) {
        const struct record *other = stage.records[i];
        busy += other->conn->server == r->conn->server && other->conn != r->conn &&
                conn_is_clear(other->conn) &&
                is_busy(record_over_us(other), other->conn, r->at_us);
    }
    return busy + 1 > stage_mode()->slots ? "a server has more requests than slots" : NULL;
}

/* Its client left while it was dialled, and it came to be all the same: it is ended at once. */
static bool is_stillborn(const struct conn *c) {
    return c->actor.peer->rx_total == 0 && c->actor.ended_us != 0 &&
           c->actor.ended_us <= c->accepted_us + JUDGE_STILLBORN_US;
}

static const char *idle_slots_check(const struct conn *c) {
    uint32_t open = 0;
    if (!conn_is_clear(c) || is_stillborn(c)) {
        return NULL;
    }
    for (uint32_t i = 0; i < c->index; i++) {
        const struct conn *other = stage.conns[i];
        open += other->server == c->server && conn_is_clear(other) &&
                is_busy(conn_over_us(other), other, c->accepted_us);
    }
    return open + 1 > stage_mode()->slots ? "a server has more connections than slots" : NULL;
}

/* --- 503 ---------------------------------------------------------------------------------- */

static bool has_trailers(const struct naive *n) {
    return n->field_count > 0 && n->fields[n->field_count - 1].trailer;
}

/* A slot may be held for as long as the client of its answer likes: trailers that it asked for wait
 * where they came. */
static bool waits_for_clients(const struct record *r) {
    const struct mode *mode = stage_mode();
    bool trailers = r->asked >= 0 && has_trailers(&r->answer.head) &&
                    list_has(&judge_asked[r->client][r->asked]->naive, "te", STR("trailers"));
    bool waits = !mode->sync || mode->response_max != 0 || trailers;
    for (uint32_t i = 0; i < stage.play.client_count && waits; i++) {
        if (stage.clients[i].was_paused) {
            return true;
        }
    }
    return false;
}

/* Somebody may have waited in vain: with three clients for at most two others, each of which may have
 * gone three times. */
static bool is_any_slow(void) {
    for (uint32_t i = 0; i < stage.record_count; i++) {
        const struct record *r = stage.records[i];
        if (!conn_is_clear(r->conn) || waits_for_clients(r) || r->answer.tunnel ||
            record_over_us(r) - r->at_us > STAGE_QUEUE_US / 6 - 200000) {
            return true;
        }
    }
    return false;
}

/* A 503 has its reason: nothing is short here but slots, the queue, and room for a body. */
static bool may_shed(const struct asked *a) {
    const struct mode *mode = stage_mode();
    if (!is_calm()) {
        return true;
    }
    if (mode->no_spool) {
        uint32_t memory = (stage.play.conf & 4) != 0 ? SHRUNK_MEMORY : STAGE_MEMORY;
        return a->naive.body_len > memory;
    }
    return mode->slots > 0 && (mode->queue < CLIENTS_MAX || is_any_slow());
}

/* --- Bytes that wait ---------------------------------------------------------------------- */

/* Gone before that time. */
static bool is_over(const struct actor *a, uint64_t at_us) {
    return (a->ended_us != 0 && a->ended_us < at_us) || (a->hung_us != 0 && a->hung_us < at_us);
}

/* What an origin has said of an answer is at its client some time later, as far as it is read. The
 * answer is at `at` of what the client got. */
static const char *held_check(const struct record *r, uint32_t at, uint32_t last) {
    static struct naive up, down;
    const struct actor *client = &stage.clients[r->client];
    const struct answer *a = &r->answer;
    if (!is_calm() || client->was_paused || a->begin < r->said || a->tunnel) {
        return NULL;
    }
    struct str got = heard(client);
    for (uint32_t i = 0; i < r->conn->actor.look_count; i++) {
        const struct look *look = &r->conn->actor.looks[i];
        uint32_t end = look->said < a->end ? look->said : a->end;
        if (end <= a->last || is_over(client, look->at_us) ||
            is_over(&r->conn->actor, look->at_us)) {
            continue;
        }
        struct str said = {r->conn->actor.said.bytes + a->last, end - a->last};
        struct str came = {got.p + at + last, look->got[r->client] - at - last};
        came.len = look->got[r->client] > at + last ? came.len : 0;
        enum naive_result result = read_as(&up, said, NAIVE_STRICT, false, r->head_only);
        (void)read_as(&down, came, NAIVE_STRICT, false, r->head_only);
        if (result != NAIVE_BAD && up.in_body && (!down.in_body || down.body_len < up.body_len)) {
            return "an answer is held back";
        }
    }
    return NULL;
}

/* How much its server had of a request at that time. */
static struct str heard_until(const struct record *r, uint64_t at_us) {
    uint32_t len = r->begin;
    for (uint32_t i = 0; i < r->conn->heard_count && r->conn->heard_us[i] <= at_us; i++) {
        len = r->conn->old_heard[i] > len ? r->conn->old_heard[i] : len;
    }
    return (struct str){heard(&r->conn->actor).p + r->begin, len - r->begin};
}

/* What a client has said of a request that is on its way up is at its server some time later; of
 * mode sync, when it is whole. */
static const char *held_up_check(const struct record *r) {
    static struct naive said, came;
    const struct actor *client = &stage.clients[r->client], *origin = &r->conn->actor;
    const struct asked *a = judge_asked[r->client][r->asked];
    if (!is_calm() || origin->was_paused || r->conn->heard_count == 64 ||
        r->answer.begin != r->said) {
        return NULL;
    }
    for (uint32_t i = 0; i < client->look_count; i++) {
        const struct look *look = &client->looks[i];
        bool answers = said_us(r->conn, r->said + 1) <= look->at_us;
        if (r->at_us > look->at_us || answers || is_over(client, look->at_us) ||
            is_over(origin, look->at_us) || (stage_mode()->sync && look->said < a->end)) {
            continue;
        }
        uint32_t end = look->said < a->end ? look->said : a->end;
        struct str asked = {client->said.bytes + a->begin, end - a->begin};
        enum naive_result result = read_as(&said, asked, NAIVE_STRICT, true, false);
        (void)read_as(&came, heard_until(r, look->at_us), NAIVE_STRICT, true, false);
        if (result != NAIVE_BAD && said.in_body && came.body_len < said.body_len) {
            return "a request is held back";
        }
    }
    return NULL;
}

/* Who waits for a 100 has it before the body is there. Known of a client's first request: for others
 * an answer may have to come before. */
static const char *awaited_check(uint32_t client) {
    const struct actor *a = &stage.clients[client];
    const struct asked *first = judge_asked[client][0];
    if (judge_asked_count[client] == 0 || !first->naive.in_body || first->refused ||
        !asked_awaits(first) || !is_calm() || a->was_paused) {
        return NULL;
    }
    for (uint32_t i = 0; i < a->look_count; i++) {
        const struct look *look = &a->looks[i];
        bool waits = look->said >= first->begin + first->naive.head_used &&
                     look->said < first->end;
        if (waits && look->got[client] == 0 && !is_over(a, look->at_us)) {
            return "a client waits for a 100";
        }
    }
    return NULL;
}

/* A server of mode sync waits for no client: what it says is taken at once. (One that reads nothing
 * does not hear that it was refused.) */
static const char *taken_check(const struct conn *c) {
    const struct mode *mode = stage_mode();
    bool shields = mode->sync && mode->response_max == 0 && !mode->no_spool;
    if (!shields || !is_calm() || c->raw || c->actor.was_paused) {
        return NULL;
    }
    for (uint32_t i = 0; i < c->actor.look_count; i++) {
        const struct look *look = &c->actor.looks[i];
        bool ended = c->actor.ended_us != 0 && c->actor.ended_us < look->at_us;
        if (look->untaken > 0 && !ended && !c->actor.was_reset) {
            return "a server waits for a client";
        }
    }
    return NULL;
}

/* --- All of it, but for answers ------------------------------------------------------------ */

static const char *mode_check(void) {
    const struct mode *mode = stage_mode();
    bool stalls = (stage.play.faults & FAULT_STALL) != 0 || is_narrow();
    const char *wrong = NULL;
    for (uint32_t i = 0; i < stage.conn_count && wrong == NULL; i++) {
        const struct conn *c = stage.conns[i];
        wrong = mode->sync ? sync_dial_check(c) : NULL;
        wrong = wrong == NULL && mode->idle_holds_slot && !stalls ? idle_slots_check(c) : wrong;
    }
    for (uint32_t i = 0; i < stage.record_count && wrong == NULL; i++) {
        const struct record *r = stage.records[i];
        wrong = mode->slots > 0 && !stalls ? slots_check(r) : NULL;
        if (wrong == NULL && r->asked >= 0) {
            wrong = mode->sync ? sync_check(r) : NULL;
            wrong = wrong == NULL && mode->sync ? half_check(r) : wrong;
            wrong = wrong == NULL && mode->sync && mode->slots > 0 ? orphan_check(r) : wrong;
            wrong = wrong == NULL ? gone_check(r) : wrong;
            wrong = wrong == NULL ? held_up_check(r) : wrong;
        }
    }
    return wrong;
}

#endif
