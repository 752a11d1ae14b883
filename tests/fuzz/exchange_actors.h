/* The actors of fuzz_exchange, and its origins, who do as their scripts say; and what each of
 * them said and got. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_ACTORS_H
#define GYRE_TESTS_FUZZ_EXCHANGE_ACTORS_H

#include "base/mem.h"
#include "exchange_play.h"
#include "naive.h"
#include "script/lab.h"
#include "sim/sim.h"

#define CONNS_MAX 256u
#define RECORDS_MAX 256u
#define INTERIMS_MAX 32u
#define STAGE_HOURS_MS (3u * 3600u * 1000u)

/* --- What is kept ------------------------------------------------------------------------- */

struct said {
    char *bytes;                  /* with a NUL behind the last */
    uint32_t len, cap;
};

/* One side of one connection at work on a script. */
struct actor {
    const struct script *script;
    struct peer *peer;
    struct said said;
    uint32_t next;                /* move */
    uint64_t until_us;            /* does nothing before */
    bool awaits, hung_up, paused, was_paused;   /* hung_up: FIN or worse was said */
    bool left;                    /* it was the first to do so */
    bool was_reset;               /* it did so by a reset */
    size_t awaited;               /* bytes that had come before */
    char token[TOKEN_LEN + 1];    /* of an origin */
    uint64_t said_us;             /* when it last said something */
    uint64_t ended_us;            /* when it saw the other side end */
};

/* The answer to one request, as an independent reader finds it in what its origin said. */
struct answer {
    enum naive_result result;
    uint32_t begin, end;          /* of the origin's bytes */
    uint32_t interim_count;
    char interims[INTERIMS_MAX][4];
    bool tunnel;                  /* a 101, to who asked for it */
    struct naive head;
};

/* A request that an origin got. */
struct record {
    struct conn *conn;
    uint32_t begin, end;          /* of what the origin got */
    uint32_t said;                /* what the origin had said when the head was there, ... */
    uint64_t at_us;               /* ... and when that was */
    const struct script *reply;
    bool heard;                   /* its head was there: else only an answer is known */
    bool whole, head_only;
    uint32_t upgrades;
    char upgrade[64];             /* what it asks for */
    int client, asked;            /* whose request it is, and which; -1: not known yet */
    struct naive request;
    struct answer answer;
};

struct conn {
    struct actor actor;
    uint32_t index, parsed;
    uint32_t playing;             /* the next of its records to be answered */
    bool in_request, raw, broken, spoke_first;
    uint32_t old_said[64];        /* how much it had said at the times of old_us */
    uint64_t old_us[64];
    uint32_t old_count;
};

static struct {
    struct play play;
    struct sim *sim;
    struct conf *confs[4];
    struct plan *plan;
    struct worker workers[2];
    struct actor clients[CLIENTS_MAX];
    struct conn *conns[CONNS_MAX];
    uint32_t conn_count;
    struct record *records[RECORDS_MAX];
    uint32_t record_count, reply_next;
    bool too_much;                /* more than is kept */
} stage;

static void said_put(struct said *said, const char *p, uint32_t len) {
    if (said->cap - said->len < len + 1) {
        said->cap = (said->len + len + 1) * 2;
        said->bytes = mem_grow(said->bytes, said->cap);
    }
    memcpy(said->bytes + said->len, p, len);
    said->len += len;
    said->bytes[said->len] = '\0';
}

/* What has come, with a NUL behind it. */
static struct str heard(const struct actor *a) {
    if (a->peer == NULL || a->peer->rx_len == 0) {
        return STR("");
    }
    a->peer->rx[a->peer->rx_len] = '\0';   /* there is room: see sim_peer.c, move_read */
    return (struct str){(const char *)a->peer->rx, (uint32_t)a->peer->rx_len};
}

/* --- Actors ------------------------------------------------------------------------------- */

static void actor_go(struct actor *);
static void conn_play_next(struct conn *);

static bool actor_is_client(const struct actor *a) {
    return a >= stage.clients && a < stage.clients + CLIENTS_MAX;
}

static struct conn *conn_of(struct actor *a) {
    return container_of(a, struct conn, actor);
}

static bool actor_can_send(const struct actor *a) {
    return !a->hung_up && (a->peer->state == PEER_OPEN || a->peer->state == PEER_DIALING);
}

static void actor_say(struct actor *a, const char *p, uint32_t len) {
    if (!actor_can_send(a)) {
        return;
    }
    for (uint32_t i = 0; i < len;) {
        const char *mark = a->token[0] != '\0' ? memchr(p + i, '\001', len - i) : NULL;
        uint32_t n = mark != NULL ? (uint32_t)(mark - p) - i : len - i;
        said_put(&a->said, p + i, n);
        peer_send(a->peer, p + i, n);
        i += n;
        if (mark != NULL) {
            said_put(&a->said, a->token, TOKEN_LEN);
            peer_send(a->peer, a->token, TOKEN_LEN);
            i++;
        }
    }
    a->said_us = sim_now_us(stage.sim);
    if (!actor_is_client(a)) {
        struct conn *c = conn_of(a);
        uint32_t i = c->old_count < 64 ? c->old_count++ : 63;
        c->old_said[i] = a->said.len;
        c->old_us[i] = a->said_us;
    }
}

static void actor_hang_up(struct actor *a, enum move_kind how) {
    if (!actor_can_send(a)) {
        return;
    }
    a->hung_up = true;
    a->left = a->ended_us == 0;
    a->was_reset = how == MOVE_RESET;
    if (how == MOVE_RESET) {
        peer_reset(a->peer);
    } else if (how == MOVE_CLOSE && a->peer->tx_len == 0) {
        peer_close(a->peer);
    } else {
        peer_fin(a->peer);
    }
}

static void actor_woken(void *arg) {
    struct actor *a = arg;
    if (sim_now_us(stage.sim) >= a->until_us) {
        a->until_us = 0;
        a->awaits = false;
        actor_go(a);
    }
}

static void actor_wait(struct actor *a, uint32_t ms) {
    a->until_us = sim_now_us(stage.sim) + 1000u * ms;
    sim_after(stage.sim, ms, actor_woken, a);
}

static void actor_move(struct actor *a, const struct move *move) {
    switch ((enum move_kind)move->kind) {
    case MOVE_SEND:
        actor_say(a, stage.play.text + move->at, move->len);
        break;
    case MOVE_WAIT:
        actor_wait(a, move->len);
        break;
    case MOVE_AWAIT:
        if (a->peer->rx_total <= a->awaited) {
            a->awaits = true;
            actor_wait(a, move->len);
        }
        a->awaited = (size_t)a->peer->rx_total;
        break;
    case MOVE_PAUSE:
    case MOVE_RESUME:
        a->paused = move->kind == MOVE_PAUSE;
        a->was_paused = a->was_paused || a->paused;
        peer_pause(a->peer, a->paused);
        break;
    default:
        actor_hang_up(a, move->kind);
        break;
    }
}

/* All that can be done now. Who reads nothing at the end of its script does so for long enough. */
static void actor_go(struct actor *a) {
    while (a->script != NULL && a->next < a->script->count && a->until_us == 0) {
        actor_move(a, &a->script->moves[a->next++]);
    }
    if (a->until_us != 0) {
        return;
    }
    if (actor_is_client(a)) {
        if (a->paused) {
            a->paused = false;
            static const struct script last = {.count = 2, .moves = {
                {.kind = MOVE_WAIT, .len = 100000}, {.kind = MOVE_RESUME}}};
            a->script = &last;
            a->next = 0;
            actor_go(a);
        }
    } else if (a->script != NULL) {
        a->script = NULL;
        a->paused = false;
        peer_pause(a->peer, false);
        conn_play_next(conn_of(a));
    }
}

/* What both sides do when the other has said something, or has ended. */
static void actor_heard(struct actor *a) {
    struct peer *p = a->peer;
    if ((p->eof || p->reset) && a->ended_us == 0) {
        a->ended_us = sim_now_us(stage.sim);
    }
    if (a->awaits && (p->rx_total > a->awaited || p->eof || p->reset)) {
        a->awaits = false;
        a->awaited = (size_t)p->rx_total;
        a->until_us = 0;
        actor_go(a);
    }
}

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
    a->begin = a->end = begin;
    a->interim_count = 0;
    a->tunnel = false;
    a->result = NAIVE_SHORT;
    memset(&a->head, 0, offsetof(struct naive, body));
    while (a->end < said->len) {
        memset(&a->head, 0, offsetof(struct naive, body));
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
