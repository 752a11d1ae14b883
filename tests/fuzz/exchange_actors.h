/* The actors of fuzz_exchange, who do as their scripts say; and what each of them said and got. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_ACTORS_H
#define GYRE_TESTS_FUZZ_EXCHANGE_ACTORS_H

#include "base/mem.h"
#include "exchange_conf.h"
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

/* How far things are some time after an actor has said something, and nothing since. */
#define LOOKS_MAX 8u
#define LOOK_MS 3000u
struct look {
    uint64_t at_us;
    uint32_t said, untaken;       /* of what it said gyre has not read so much */
    uint32_t got[CLIENTS_MAX];    /* bytes, by each client */
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
    uint64_t hung_us;             /* when it hung up; 0: it did not */
    uint64_t ended_us;            /* when it saw the other side end */
    uint32_t look_count;
    struct look looks[LOOKS_MAX];
};

/* The answer to one request, as an independent reader finds it in what its origin said. */
struct answer {
    enum naive_result result;
    uint32_t begin, end;          /* of the origin's bytes */
    uint32_t last;                /* where the last head of it begins: the others are interim */
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
    uint32_t asked_by[CLIENTS_MAX];   /* what each client had said when the first byte was there */
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
    uint32_t index, server, parsed;
    uint64_t accepted_us;
    uint32_t accepted_by[CLIENTS_MAX], asked_by[CLIENTS_MAX];   /* as record.asked_by */
    bool begun;                   /* the first byte of a request is there, the head not yet */
    uint32_t playing;             /* the next of its records to be answered */
    bool in_request, raw, broken, spoke_first;
    uint32_t old_said[64];        /* how much it had said at the times of old_us */
    uint64_t old_us[64];
    uint32_t old_count;
    uint32_t old_heard[64];       /* how much it had got at the times of heard_us */
    uint64_t heard_us[64];
    uint32_t heard_count;
};

static struct {
    struct play play;
    struct sim *sim;
    struct conf *confs[MODES][4];
    struct plan *plan;
    struct peer_listener *servers[2];
    struct worker workers[2];
    struct actor clients[CLIENTS_MAX];
    struct conn *conns[CONNS_MAX];
    uint32_t conn_count;
    struct record *records[RECORDS_MAX];
    uint32_t record_count, reply_next;
    bool too_much;                /* more than is kept */
    uint64_t began_us;
} stage;

static const struct mode *stage_mode(void) {
    return &modes[stage.play.conf >> 5];
}

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

static void actor_look(void *arg) {
    struct actor *a = arg;
    uint64_t now = sim_now_us(stage.sim);
    if (a->said_us + LOOK_MS * 1000u > now || a->look_count == LOOKS_MAX) {
        return;
    }
    struct look *look = &a->looks[a->look_count++];
    *look = (struct look){.at_us = now, .said = a->said.len,
                          .untaken = (uint32_t)sim_peer_unread(a->peer)};
    for (uint32_t i = 0; i < stage.play.client_count; i++) {
        look->got[i] = (uint32_t)stage.clients[i].peer->rx_total;
    }
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
    sim_after(stage.sim, LOOK_MS, actor_look, a);
}

static void actor_hang_up(struct actor *a, enum move_kind how) {
    if (!actor_can_send(a)) {
        return;
    }
    a->hung_up = true;
    a->hung_us = sim_now_us(stage.sim);
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

#endif
