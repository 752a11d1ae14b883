/* The origins of fuzz_exchange: each reads what it gets as requests, and answers them as the play
 * says. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_ORIGINS_H
#define GYRE_TESTS_FUZZ_EXCHANGE_ORIGINS_H

#include "exchange_actors.h"

/* --- Origins ------------------------------------------------------------------------------ */

static const struct script reply_otherwise = {.when = ACT_REPLY};

/* Answers that are said unasked are no answers to a request. */
static const struct script *reply_pick(void) {
    for (uint32_t i = 0; i < stage.play.reply_count; i++) {
        const struct script *s = &stage.play.replies[stage.reply_next++ % stage.play.reply_count];
        if (s->when != ACT_REPLY_UNASKED) {
            return s;
        }
    }
    return &reply_otherwise;
}

static void conn_token(struct conn *c, uint32_t number) {
    snprintf(c->actor.token, sizeof c->actor.token, "T%03x", number & 0xfffu);
}

/* Finds the end of the answer to one record, from where the one before has ended. */
static void answer_read(struct record *r, uint32_t begin) {
    struct answer *a = &r->answer;
    struct said *said = &r->conn->actor.said;
    a->begin = a->end = a->last = begin;
    a->interim_count = 0;
    a->tunnel = false;
    a->result = NAIVE_SHORT;
    memset(&a->head, 0, offsetof(struct naive, body));
    while (a->end < said->len) {
        memset(&a->head, 0, offsetof(struct naive, body));
        a->last = a->end;
        a->head.habits = NAIVE_STRICT;
        a->head.head_only = r->head_only;
        struct str rest = {said->bytes + a->end, said->len - a->end};
        a->result = naive_read(&a->head, rest);
        if (a->result != NAIVE_DONE) {
            return;
        }
        a->end += a->head.used;
        const char *status = a->head.words[1].p;
        a->tunnel = strncmp(status, "101", 3) == 0;
        if (status[0] != '1' || a->tunnel) {
            return;
        }
        if (a->interim_count < INTERIMS_MAX) {
            memcpy(a->interims[a->interim_count++], status, 3);
        }
        a->result = NAIVE_SHORT;
    }
}

/* The answers to all records of a connection, one after the other. */
static void conn_read_answers(struct conn *c) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < stage.record_count; i++) {
        struct record *r = stage.records[i];
        if (r->conn == c) {
            answer_read(r, at);
            const struct naive *head = &r->answer.head;
            if (r->answer.tunnel &&
                (r->upgrades != 1 || head->upgrades != 1 ||
                 head->upgrade.len != strlen(r->upgrade) ||
                 strncasecmp(r->upgrade, head->upgrade.p, head->upgrade.len) != 0)) {
                r->answer.tunnel = false;
                r->answer.result = NAIVE_BAD;
            }
            at = r->answer.end;
        }
    }
}

static struct record *conn_last(const struct conn *c) {
    for (uint32_t i = stage.record_count; i > 0; i--) {
        if (stage.records[i - 1]->conn == c) {
            return stage.records[i - 1];
        }
    }
    return NULL;
}

/* Begins the answer to its next request, when it is time. */
static void conn_play_next(struct conn *c) {
    struct actor *a = &c->actor;
    if (a->script != NULL || a->until_us != 0) {
        return;
    }
    uint32_t nth = 0;
    for (uint32_t i = 0; i < stage.record_count; i++) {
        struct record *r = stage.records[i];
        if (r->conn != c || nth++ != c->playing) {
            continue;
        }
        if (!r->whole && r->reply->when != ACT_REPLY_EARLY) {
            break;
        }
        c->playing++;
        conn_token(c, i + 1);
        if (r->reply == &reply_otherwise) {
            static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\001";
            actor_say(a, text, sizeof text - 1);
            continue;
        }
        a->script = r->reply;
        a->next = 0;
        actor_go(a);
        return;
    }
    if (a->peer->eof && !a->hung_up) {
        actor_hang_up(a, MOVE_CLOSE);
    }
}

static void clients_said(uint32_t said[CLIENTS_MAX]) {
    for (uint32_t i = 0; i < CLIENTS_MAX; i++) {
        said[i] = stage.clients[i].said.len;
    }
}

/* A record with nothing in it, of what begins there. */
static struct record *record_place(struct conn *c, uint32_t begin) {
    struct record **slot = &stage.records[stage.record_count++];
    if (*slot == NULL) {
        *slot = mem_zero(sizeof **slot);
    }
    struct record *r = *slot;
    memset(r, 0, offsetof(struct record, request));
    r->conn = c;
    r->begin = r->end = begin;
    r->client = r->asked = -1;
    r->reply = &reply_otherwise;
    r->answer.result = NAIVE_SHORT;
    r->answer.tunnel = false;
    return r;
}

static struct record *record_new(struct conn *c, const struct naive *naive) {
    if (stage.record_count == RECORDS_MAX) {
        stage.too_much = true;
        c->raw = true;
        return NULL;
    }
    struct record *r = record_place(c, c->parsed);
    r->heard = true;
    r->said = c->actor.said.len;
    r->at_us = sim_now_us(stage.sim);
    memcpy(r->asked_by, c->asked_by, sizeof r->asked_by);
    c->begun = false;
    r->head_only = str_eq(naive->words[0], STR("HEAD"));
    r->upgrades = naive->upgrades;
    struct str upgrade = naive->upgrades > 0 ? naive->upgrade : STR("");
    uint32_t len = upgrade.len < sizeof r->upgrade ? upgrade.len : 0;
    memcpy(r->upgrade, upgrade.p, len);
    r->upgrade[len] = '\0';
    r->reply = reply_pick();
    return r;
}

/* Reads what is there of the next request; false when that is not all of it. */
static bool conn_read(struct conn *c) {
    struct str all = heard(&c->actor);
    if (c->raw || c->broken || c->parsed >= all.len) {
        return false;
    }
    if (!c->in_request && !c->begun) {
        c->begun = true;
        clients_said(c->asked_by);
    }
    struct record *last = conn_last(c);
    if (last != NULL && last->whole && last->upgrades > 0) {
        conn_read_answers(c);
        c->raw = last->answer.tunnel;
    }
    struct str rest = {all.p + c->parsed, all.len - c->parsed};
    static struct naive naive;
    memset(&naive, 0, offsetof(struct naive, body));
    naive.request = naive.cgi = true;
    enum naive_result result = c->raw ? NAIVE_SHORT : naive_read(&naive, rest);
    if (result == NAIVE_BAD) {
        c->broken = true;
    }
    if (naive.head_used > 0 && !c->in_request && naive.in_body) {
        last = record_new(c, &naive);
        c->in_request = last != NULL;
    }
    if (!c->in_request) {
        return false;
    }
    last->end = c->parsed + naive.used;
    if (result == NAIVE_DONE) {
        last->whole = true;
        c->parsed += naive.used;
        c->in_request = false;
    }
    return result == NAIVE_DONE;
}

static void conn_changed(struct peer *p) {
    struct conn *c = p->user;
    if (c->heard_count < 64) {
        c->old_heard[c->heard_count] = (uint32_t)p->rx_total;
        c->heard_us[c->heard_count++] = sim_now_us(stage.sim);
    }
    while (conn_read(c)) {
    }
    actor_heard(&c->actor);
    conn_play_next(c);
}

static void conn_accepted(struct peer *p) {
    if (stage.conn_count == CONNS_MAX) {
        stage.too_much = true;
        peer_reset(p);
        return;
    }
    struct conn *c = mem_zero(sizeof *c);
    c->index = stage.conn_count;
    c->server = p->listener == stage.servers[0] ? 0 : 1;
    c->accepted_us = sim_now_us(stage.sim);
    clients_said(c->accepted_by);
    c->actor.peer = p;
    stage.conns[stage.conn_count++] = c;
    p->user = c;
    p->changed = conn_changed;
    conn_token(c, 0xf00u + c->index);
    uint32_t nth = 0;
    for (uint32_t i = 0; i < stage.play.reply_count; i++) {
        if (stage.play.replies[i].when == ACT_REPLY_UNASKED && nth++ == c->index) {
            c->actor.script = &stage.play.replies[i];
            c->spoke_first = true;
            actor_go(&c->actor);
        }
    }
    conn_changed(p);
}

#endif
