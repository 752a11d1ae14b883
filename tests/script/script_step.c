/* The steps of a script: what each side sends, and what it must see. */
#include "script/script_priv.h"

#include <stdio.h>

#define SPLIT_PIECES_MAX 1500

/* --- Telling what was wrong -------------------------------------------------------------- */

static void tell_bytes(struct text *to, const void *bytes, size_t len) {
    const uint8_t *p = bytes;
    text_str(to, STR("    "));
    for (size_t i = 0; i < len && i < 4000; i++) {
        if (p[i] == '\n') {
            text_str(to, STR("\\n\n    "));
        } else if (p[i] == '\r') {
            text_str(to, STR("\\r"));
        } else if (p[i] < ' ' || p[i] >= 0x7f) {
            text_fmt(to, "\\x%02x", p[i]);
        } else {
            text_char(to, (char)p[i]);
        }
    }
    text_char(to, '\n');
}

bool play_wrong(struct play *play, const char *what, const void *got, size_t len) {
    play->off = true;
    if (play->why[0] != '\0' || play->faulted != NULL) {
        return false;
    }
    struct text to = text_on(play->why, SCRIPT_TEXT_MAX - 1);
    text_fmt(&to, "line %d: %s\n", play->step->line, what);
    if (play->step->text != NULL) {
        text_str(&to, STR("  the step says:\n"));
        tell_bytes(&to, play->step->text, play->step->len);
    }
    if (got != NULL) {
        text_str(&to, STR("  what there is:\n"));
        tell_bytes(&to, got, len);
    }
    play->why[to.len] = '\0';
    return false;
}

/* --- The client's bytes, with or without TLS --------------------------------------------- */

const uint8_t *play_client_bytes(struct play *play, size_t *len) {
    if (play->tls != NULL) {
        play->mode->tls->pump(play->tls, play->client);
        return play->mode->tls->bytes(play->tls, len);
    }
    *len = play->client->rx_len;
    return play->client->rx;
}

static const uint8_t *side_bytes(struct play *play, bool client, size_t *len) {
    if (client) {
        return play_client_bytes(play, len);
    }
    *len = play->origin->rx_len;
    return play->origin->rx;
}

static void side_drop(struct play *play, bool client, size_t len) {
    if (play->faulted != NULL) {
        size_t all;
        faulted_saw(play, client, side_bytes(play, client, &all), len);
    }
    if (client && play->tls != NULL) {
        play->mode->tls->drop(play->tls, len);
    } else {
        peer_drop(client ? play->client : play->origin, len);
    }
}

static void client_send(struct play *play, const void *bytes, size_t len) {
    if (play->tls != NULL) {
        play->mode->tls->send(play->tls, bytes, len);
        play->mode->tls->pump(play->tls, play->client);
    } else {
        peer_send(play->client, bytes, len);
    }
}

void play_client_fin(struct play *play) {
    if (play->tls != NULL) {
        play->mode->tls->finish(play->tls, play->client);
    }
    peer_fin(play->client);
    play->client_finished = true;
}

void play_client_come(struct play *play) {
    play->client = peer_dial(&play->at, NULL);
    play->client_finished = false;
    if (play->script->tls) {
        play->tls = play->mode->tls->begin();
    }
}

void play_client_go(struct play *play) {
    if (play->faulted != NULL) {
        faulted_client_gone(play);
    }
    if (play->tls != NULL) {
        play->mode->tls->end(play->tls);
        play->tls = NULL;
    }
    peer_free(play->client);
    play->client = NULL;
}

/* --- Time -------------------------------------------------------------------------------- */

static bool pumped(void *arg) {
    struct play *play = arg;
    if (play->tls != NULL) {
        play->mode->tls->pump(play->tls, play->client);
    }
    if (play->faulted != NULL) {
        faulted_turn(play);
    }
    return play->cond != NULL && play->cond(play);
}

enum peers_end play_run(struct play *play, bool (*cond)(struct play *), uint64_t ms) {
    play->cond = cond;
    return peers_run(pumped, play, ms);
}

/* --- Sending steps ----------------------------------------------------------------------- */

static bool all_is_sent(struct play *play) {
    return play->client->state != PEER_DIALING && play->client->tx_len == 0 &&
           (play->origin == NULL || play->origin->tx_len == 0);
}

static void side_send(struct play *play, bool client, const void *bytes, size_t len) {
    const uint8_t *p = bytes;
    size_t piece = !play->mode->split ? len : len / SPLIT_PIECES_MAX + 1;
    for (size_t at = 0; at < len;) {
        size_t n = piece < len - at ? piece : len - at;
        if (client) {
            client_send(play, p + at, n);
        } else {
            peer_send(play->origin, p + at, n);
        }
        at += n;
        if (play->mode->split) {
            (void)play_run(play, all_is_sent, 50);
            (void)play_run(play, NULL, 1);
        }
    }
}

static void side_send_body(struct play *play, bool client, uint64_t len) {
    uint8_t *bytes = mem_alloc((size_t)len);
    for (uint64_t i = 0; i < len; i++) {
        bytes[i] = pattern_at(i);
    }
    side_send(play, client, bytes, (size_t)len);
    mem_free(bytes);
}

/* --- Conditions -------------------------------------------------------------------------- */

bool play_take_origin(struct play *play, uint32_t server) {
    struct peer *peer = peer_take(play->servers[server]);
    if (peer == NULL) {
        return false;
    }
    ensure(play->origin_count < ORIGIN_CONNECTIONS_MAX);
    play->origin = play->origins[play->origin_count++] = peer;
    return true;
}

static bool origin_is_here(struct play *play) {
    return play_take_origin(play, (uint32_t)play->step->n);
}

static bool first_is_here(struct play *play) {
    return play_take_origin(play, 0);
}

/* Bodies are taken as they come. */
static long seen_body(struct play *play, bool client, const uint8_t *p, size_t len) {
    uint64_t left = play->step->n - play->body_at;
    size_t n = len < left ? len : (size_t)left;
    if (!body_is(NULL, play->step->n, play->body_at, p, n)) {
        return MATCH_NOT;
    }
    side_drop(play, client, n);
    play->body_at += n;
    return n == left ? 1 : MATCH_MORE;
}

static long seen_chunks(struct play *play, bool client, const char *text, uint64_t body_len) {
    bool part = play->step->kind == C_SEES_PART || play->step->kind == O_SEES_PART;
    for (;;) {
        size_t len;
        const uint8_t *p = side_bytes(play, client, &len);
        uint64_t size = 0;
        long taken = match_chunk(text, body_len, play->body_at, p, len, &size);
        if (taken <= 0) {
            return taken;
        }
        side_drop(play, client, (size_t)taken);
        play->body_at += size;
        if (size == 0 || (part && play->body_at == body_len)) {
            return 1;
        }
    }
}

bool play_client_ended(struct play *play) {
    size_t len;
    (void)play_client_bytes(play, &len);
    return play->client->eof || play->client->reset || play->client->state == PEER_REFUSED;
}

static bool origin_ended(struct play *play) {
    return play->origin->eof || play->origin->reset;
}

/* What was expected has come, or something else has. */
static bool seen(struct play *play) {
    bool client = play->step->kind < O_COMES;
    size_t len;
    const uint8_t *p = side_bytes(play, client, &len);
    long taken;
    switch (play->step->kind) {
    case C_SEES:
    case O_SEES:
        taken = match_text(play->text, play->text_len, p, len);
        side_drop(play, client, taken > 0 ? (size_t)taken : 0);
        break;
    case C_SEES_CHUNKS: case C_SEES_PART:
    case O_SEES_CHUNKS: case O_SEES_PART:
        taken = seen_chunks(play, client, play->text, play->text_len);
        break;
    case C_SEES_CHUNKS_BODY:
    case O_SEES_CHUNKS_BODY:
        taken = seen_chunks(play, client, NULL, play->step->n);
        break;
    default:
        taken = seen_body(play, client, p, len);
        break;
    }
    play->mismatch = taken == MATCH_NOT;
    if (taken == MATCH_MORE && play->faulted != NULL &&
        (client ? play_client_ended(play) : origin_ended(play))) {
        play->mismatch = true;   /* it will not come */
    }
    return taken != MATCH_MORE || play->mismatch;
}

static bool was_closed(struct play *play) {
    return lab_closed(&play->lab, (enum close_reason)play->step->n) > 0;
}

static bool was_counted(struct play *play) {
    return lab_stat(&play->lab, play->step->counter) == play->step->n;
}

static bool await(struct play *play, bool (*cond)(struct play *), const char *what) {
    if (play_run(play, cond, play->mode->limit_ms) == PEERS_MET) {
        return true;
    }
    return play_wrong(play, what, NULL, 0);
}

/* --- Steps ------------------------------------------------------------------------------- */

static bool do_sees(struct play *play) {
    bool client = play->step->kind < O_COMES;
    if (!client && play->origin == NULL && !await(play, first_is_here, "no connection came")) {
        return false;
    }
    enum peers_end end = play_run(play, seen, play->mode->limit_ms);
    if (end == PEERS_MET && !play->mismatch) {
        return true;
    }
    size_t len;
    const uint8_t *p = side_bytes(play, client, &len);
    return play_wrong(play, end == PEERS_MET ? "something else came" : "it did not come", p, len);
}

static bool do_sees_nothing(struct play *play) {
    bool client = play->step->kind < O_COMES;
    (void)play_run(play, NULL, play->step->n);
    if (!client && play->origin == NULL) {
        return first_is_here(play) ? play_wrong(play, "a connection came", NULL, 0) : true;
    }
    size_t len;
    const uint8_t *p = side_bytes(play, client, &len);
    if (len > 0 || (client ? play_client_ended(play) : origin_ended(play))) {
        return play_wrong(play, "something came, or the connection ended", p, len);
    }
    return true;
}

/* Half of a chunked body must not look like a whole one. */
static bool drop_half(struct play *play, bool client) {
    size_t len;
    const uint8_t *p = side_bytes(play, client, &len);
    if (len >= 5 && memmem(p, len, "0\r\n\r\n", 5) != NULL) {
        return play_wrong(play, "a last chunk before the cut", p, len);
    }
    side_drop(play, client, len);
    return true;
}

static bool do_sees_close(struct play *play) {
    bool cut = play->step->kind == C_SEES_CUT, gone = play->step->kind == C_SEES_GONE;
    if (!await(play, play_client_ended, "the connection was not closed")) {
        return false;
    }
    size_t len;
    const uint8_t *p = play_client_bytes(play, &len);
    if (cut) {
        if (!play->client->reset) {
            return play_wrong(play, "no reset: this looks like the whole", p, len);
        }
        return drop_half(play, true);
    }
    if ((play->client->reset && !gone) || len > 0) {
        return play_wrong(play, len > 0 ? "bytes before the end" : "a reset, not a FIN", p, len);
    }
    return true;
}

static bool do_origin_ends(struct play *play) {
    play->origin_ended[play->origin_count - 1] = true;
    if (play->step->kind != O_SEES_CLOSE && play->step->kind != O_SEES_CUT) {
        (void)play_run(play, all_is_sent, play->mode->limit_ms);
    }
    switch (play->step->kind) {
    case O_FINS:
        peer_fin(play->origin);
        return true;
    case O_CLOSES:
        peer_close(play->origin);
        return true;
    case O_RESETS:
        peer_reset(play->origin);
        return true;
    default:
        return await(play, origin_ended, "gyre keeps its connection to the server") &&
               (play->step->kind == O_SEES_CLOSE || drop_half(play, false));
    }
}

static bool do_client(struct play *play) {
    switch (play->step->kind) {
    case C_FINS:
        play_client_fin(play);
        return true;
    case C_RESETS:
        peer_reset(play->client);
        play->client_finished = true;
        return true;
    case C_PAUSES:
    case C_RESUMES:
        peer_pause(play->client, play->step->kind == C_PAUSES);
        return true;
    default:
        play_client_go(play);
        play_client_come(play);
        return true;
    }
}

static bool do_sends(struct play *play) {
    enum step_kind kind = play->step->kind;
    bool client = kind < O_COMES;
    if (kind == C_SENDS_BODY || kind == O_SENDS_BODY) {
        side_send_body(play, client, play->step->n);
        return true;
    }
    void *tls = play->tls;
    if (kind == C_SENDS_RAW) {
        play->tls = NULL;       /* its hello waits, too */
    }
    side_send(play, client, play->text, play->text_len);
    play->tls = tls;
    return true;
}

static bool do_counts(struct play *play) {
    char what[80];
    if (play->faulted != NULL) {
        return true;   /* a fault has its own reasons and counts */
    }
    if (play->step->kind == COUNTS_CLOSED) {
        snprintf(what, sizeof what, "no connection has ended for %s",
                 close_word((enum close_reason)play->step->n));
        return await(play, was_closed, what);
    }
    snprintf(what, sizeof what, "%s stands at %llu", stat_word(play->step->counter),
             (unsigned long long)lab_stat(&play->lab, play->step->counter));
    return await(play, was_counted, what);
}

static bool step_run(struct play *play) {
    switch (play->step->kind) {
    case C_SENDS: case C_SENDS_BODY: case C_SENDS_RAW: case O_SENDS: case O_SENDS_BODY:
        return do_sends(play);
    case C_SEES: case C_SEES_BODY: case C_SEES_CHUNKS: case C_SEES_PART: case C_SEES_CHUNKS_BODY:
    case O_SEES: case O_SEES_BODY: case O_SEES_CHUNKS: case O_SEES_PART: case O_SEES_CHUNKS_BODY:
        return do_sees(play);
    case C_SEES_NOTHING: case O_SEES_NOTHING:
        return do_sees_nothing(play);
    case C_SEES_CLOSE: case C_SEES_CUT: case C_SEES_GONE:
        return do_sees_close(play);
    case O_COMES:
        return await(play, origin_is_here, "no connection came");
    case O_FINS: case O_CLOSES: case O_RESETS: case O_SEES_CLOSE: case O_SEES_CUT:
        return do_origin_ends(play);
    case O_PAUSES: case O_RESUMES:
        peer_pause(play->origin, play->step->kind == O_PAUSES);
        return true;
    case WAITS:
        (void)play_run(play, NULL, play->step->n);
        return true;
    case STOPS:
        worker_drain(&play->lab.workers[0]);
        return true;
    case COUNTS_CLOSED: case COUNTS:
        return do_counts(play);
    default:
        return do_client(play);
    }
}

static char *step_text(const struct play *play, size_t *len) {
    struct put_in port = {.name = "{port}"};
    snprintf(port.text, sizeof port.text, "%s", play->port);
    return text_make(play->step->text, play->step->len, &port, 1, len);
}

bool play_step(struct play *play) {
    play->text = step_text(play, &play->text_len);
    play->body_at = 0;
    bool ok = step_run(play);
    mem_free(play->text);
    play->text = NULL;
    return ok;
}
