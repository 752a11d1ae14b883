/* Plays a script while something fails, and keeps what both sides got. */
#include "script/script_fault.h"

#include <stdio.h>
#include <stdlib.h>

#include "script/script_priv.h"

/* Longer than all timeouts: an idle tunnel may last an hour. */
#define CLOSED_MS (2u * 3600u * 1000u)
/* A fault that lasts does so a while longer than the script. */
#define LASTS_MS 5000u

/* A server that answers every whole request. */
struct robot {
    struct peer *peer;
    struct record *record;
    size_t looked_at;              /* bytes that were there when it looked last */
    bool over;                     /* what came is no request */
};

struct faulted {
    struct script_fault *fault;
    struct record *client;                              /* of the client that is there */
    struct record *origins[ORIGIN_CONNECTIONS_MAX];     /* as play->origins */
    struct robot robots[FAULT_ORIGINS_MAX];
    uint32_t robot_count, answer_count;
    bool robots_serve, after;
};

/* --- What was seen ------------------------------------------------------------------------ */

static struct record *origin_record(struct script_fault *fault) {
    ensure(fault->origin_count < FAULT_ORIGINS_MAX);
    return &fault->origins[fault->origin_count++];
}

static struct record *script_origin(struct faulted *f, uint32_t i) {
    if (f->origins[i] == NULL) {
        f->origins[i] = origin_record(f->fault);
    }
    return f->origins[i];
}

static struct record *client_record(struct faulted *f) {
    if (f->client == NULL) {
        struct script_fault *fault = f->fault;
        ensure(f->after || fault->client_count < FAULT_CLIENTS_MAX);
        f->client = f->after ? &fault->after : &fault->clients[fault->client_count++];
    }
    return f->client;
}

void faulted_saw(struct play *play, bool client, const void *p, size_t len) {
    struct faulted *f = play->faulted;
    record_add(client ? client_record(f) : script_origin(f, play->origin_count - 1), p, len);
}

/* A cut is seen by a reset; over TLS also by the want of a close_notify. */
static void client_note_end(struct play *play) {
    struct record *r = client_record(play->faulted);
    r->ended = play_client_ended(play);
    r->reset = r->ended && (play->client->reset || play->client->state == PEER_REFUSED ||
                            (play->tls != NULL && !play->mode->tls->ended(play->tls)));
}

void faulted_client_gone(struct play *play) {
    size_t len;
    const uint8_t *p = play_client_bytes(play, &len);
    record_add(client_record(play->faulted), p, len);
    client_note_end(play);
    play->faulted->client = NULL;
}

static void origins_note(struct play *play) {
    struct faulted *f = play->faulted;
    for (uint32_t i = 0; i < play->origin_count; i++) {
        record_add(script_origin(f, i), play->origins[i]->rx, play->origins[i]->rx_len);
    }
    for (uint32_t i = 0; i < f->robot_count; i++) {
        record_add(f->robots[i].record, f->robots[i].peer->rx, f->robots[i].peer->rx_len);
    }
}

/* --- Servers that answer ------------------------------------------------------------------ */

static void robot_answer(struct faulted *f, struct robot *r, const struct message *m) {
    char text[256], body[64];
    const char *target = strchr(m->head, ' ');
    int len = snprintf(body, sizeof body, "robot %06u %.30s", ++f->answer_count,
                       target != NULL ? target + 1 : "");
    body[strcspn(body, "\n")] = '\0';
    len = (int)strlen(body);
    bool head = strncmp(m->head, "HEAD ", 5) == 0;
    snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nX-Robot: yes\r\nContent-Length: %d\r\n\r\n%s",
             len, head ? "" : body);
    peer_send_text(r->peer, text);
}

static void robot_look(struct faulted *f, struct robot *r) {
    while (!r->over && r->peer->state == PEER_OPEN && r->peer->rx_len != r->looked_at) {
        struct message m;
        size_t proxy = message_proxy_len(r->peer->rx, r->peer->rx_len);
        bool good = message_read(&m, true, false, r->peer->rx + proxy, r->peer->rx_len - proxy);
        if (good && m.whole) {
            robot_answer(f, r, &m);
            record_add(r->record, r->peer->rx, proxy + m.used);
            peer_drop(r->peer, proxy + m.used);
            r->looked_at = 0;
        } else {
            r->looked_at = r->peer->rx_len;
            r->over = !good;
        }
        message_fini(&m);
    }
    if (r->peer->eof && r->peer->state == PEER_OPEN) {
        peer_close(r->peer);
    }
}

void faulted_turn(struct play *play) {
    struct faulted *f = play->faulted;
    if (!f->robots_serve) {
        return;
    }
    for (uint32_t server = 0; server < SERVERS_MAX; server++) {
        struct peer *peer;
        while ((peer = peer_take(play->servers[server])) != NULL) {
            f->robots[f->robot_count++] = (struct robot){.peer = peer,
                                                         .record = origin_record(f->fault)};
        }
    }
    for (uint32_t i = 0; i < f->robot_count; i++) {
        robot_look(f, &f->robots[i]);
    }
}

/* --- The script, as far as it goes -------------------------------------------------------- */

/* Something else has come. The script's servers know no more what to say. */
static void script_left(struct play *play) {
    struct faulted *f = play->faulted;
    if (f->robots_serve) {
        return;
    }
    f->robots_serve = true;
    f->fault->as_written = false;
    for (uint32_t i = 0; i < play->origin_count; i++) {
        peer_pause(play->origins[i], false);
        if (f->fault->polite) {
            peer_reset(play->origins[i]);
        }
    }
}

/* What is left of a script when it is left: its client, and time. */
static bool is_for_client(enum step_kind kind) {
    return (kind >= C_SENDS && kind <= C_COMES) || kind == WAITS || kind == STOPS;
}

static void asks(struct play *play) {
    const struct script_step *step = play->step;
    struct record *r = client_record(play->faulted);
    const char *at = step->text;
    while (at != NULL && (at = memmem(at, step->len - (size_t)(at - step->text), " HTTP/1.", 8))) {
        r->asked++;
        at += 8;
    }
}

static void steps_play(struct play *play) {
    for (; play->step->kind != STEP_END; play->step++) {
        enum step_kind kind = play->step->kind;
        if (play->off) {
            script_left(play);
            if (!is_for_client(kind)) {
                continue;
            }
        }
        if (kind == C_SENDS) {
            asks(play);
        }
        play->faulted->fault->stopped |= kind == STOPS;
        (void)play_step(play);
        if (play->off) {
            (void)play_run(play, NULL, 5);
        }
    }
    if (play->off) {
        script_left(play);
    }
}

/* --- The end ------------------------------------------------------------------------------ */

static bool gyre_has_none(struct play *play) {
    return play->lab.workers[0].net.wires.live == 0;
}

static bool all_is_closed(struct play *play) {
    bool all = gyre_has_none(play) &&
               (play_client_ended(play) || play->client->state == PEER_CLOSED);
    for (uint32_t i = 0; i < play->origin_count; i++) {
        const struct peer *o = play->origins[i];
        all = all && (o->eof || o->reset || o->state != PEER_OPEN);
    }
    return all;
}

static bool wrong(struct play *play, const char *what) {
    if (play->why[0] == '\0') {
        snprintf(play->why, SCRIPT_TEXT_MAX, "%s\n", what);
    }
    return false;
}

static bool close_all(struct play *play) {
    struct faulted *f = play->faulted;
    if (play->client->state != PEER_CLOSED) {
        peer_pause(play->client, false);
    }
    for (uint32_t i = 0; i < play->origin_count; i++) {
        if (play->origins[i]->state == PEER_OPEN) {
            peer_pause(play->origins[i], false);
        }
    }
    if (f->fault->count > 1) {
        (void)play_run(play, NULL, LASTS_MS);
        fault_disarm();
    }
    if (f->fault->polite) {
        if (!play->client_finished && play->client->state == PEER_OPEN) {
            play_client_fin(play);
        }
        for (uint32_t i = 0; i < play->origin_count && !play->off; i++) {
            if (!play->origin_ended[i] && play->origins[i]->state == PEER_OPEN) {
                peer_fin(play->origins[i]);
            }
        }
    }
    return play_run(play, all_is_closed, CLOSED_MS) == PEERS_MET ||
           wrong(play, "a connection does not end");
}

/* --- Afterwards --------------------------------------------------------------------------- */

static bool is_answered(struct play *play) {
    size_t len;
    const uint8_t *p = play_client_bytes(play, &len);
    struct message m;
    bool whole = len > 0 && message_read(&m, false, false, p, len) && m.whole && !m.until_end;
    if (len > 0) {
        message_fini(&m);
    }
    return whole || play_client_ended(play);
}

static void ask_once(struct play *play) {
    static const char text[] = "GET /recovered HTTP/1.1\r\nHost: a\r\n\r\n";
    play_client_go(play);
    record_fini(&play->faulted->fault->after);
    play->faulted->after = true;
    play_client_come(play);
    if (play->tls != NULL) {
        play->mode->tls->send(play->tls, text, sizeof text - 1);
        play->mode->tls->pump(play->tls, play->client);
    } else {
        peer_send(play->client, text, sizeof text - 1);
    }
    (void)play_run(play, is_answered, play->mode->limit_ms);
}

/* Where the fault comes only now, the one after it is looked at. */
static void ask_again(struct play *play) {
    play->faulted->robots_serve = true;
    uint64_t hits = fault_hits();
    ask_once(play);
    if (fault_hits() != hits) {
        ask_once(play);
    }
}

bool script_play_faulty(const struct script *script, const struct script_mode *mode,
                        struct script_fault *fault, char why[SCRIPT_TEXT_MAX]) {
    struct faulted *f = mem_zero(sizeof *f);
    struct play *play = mem_zero(sizeof *play);
    f->fault = fault;
    fault->as_written = true;
    *play = (struct play){.script = script, .mode = mode, .step = script->steps, .why = why,
                          .faulted = f};
    why[0] = '\0';
    play_begin(play);
    fault_arm(fault->point, fault->first, fault->count);
    play_client_come(play);
    (void)client_record(f);
    steps_play(play);
    if (close_all(play)) {
        client_note_end(play);
        if (!fault->stopped) {
            ask_again(play);
        }
    }
    if (!play->client_finished && play->client->state == PEER_OPEN) {
        play_client_fin(play);
    }
    if (!lab_stop(&play->lab, 20000)) {
        fprintf(stderr, "%s: gyre does not stop; before that: %s\n", script->name,
                why[0] != '\0' ? why : "nothing");
        abort();
    }
    (void)play_run(play, NULL, 100);
    for (int i = 0; i < FAULT_COUNT; i++) {
        fault->visits[i] = fault_visits((enum fault_point)i);
    }
    fault->hits = fault_hits();
    fault_disarm();
    origins_note(play);
    f->after = true;   /* whoever is there is no client of the script's */
    for (uint32_t i = 0; i < f->robot_count; i++) {
        peer_free(f->robots[i].peer);
    }
    play_end(play);
    mem_free(play);
    mem_free(f);
    return why[0] == '\0';
}

void script_fault_fini(struct script_fault *fault) {
    for (uint32_t i = 0; i < fault->client_count; i++) {
        record_fini(&fault->clients[i]);
    }
    for (uint32_t i = 0; i < fault->origin_count; i++) {
        record_fini(&fault->origins[i]);
    }
    record_fini(&fault->after);
    *fault = (struct script_fault){0};
}
