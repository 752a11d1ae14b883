/* Plays a script: a gyre, its client and its origins, step by step. */
#include "script/script.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define ORIGIN_CONNECTIONS_MAX 16
#define SERVERS_MAX 2
#define SPLIT_PIECES_MAX 1500

struct play {
    const struct script *script;
    const struct script_mode *mode;
    const struct script_step *step;
    struct lab lab;
    struct addr at;                              /* gyre's listener */
    char port[8];
    struct peer *client;
    void *tls;
    struct peer_listener *servers[SERVERS_MAX], *full;
    struct peer *fillers[3];                     /* of full's backlog */
    struct peer *origins[ORIGIN_CONNECTIONS_MAX];
    bool origin_ended[ORIGIN_CONNECTIONS_MAX];   /* by the script */
    uint32_t origin_count;
    struct peer *origin;                         /* the one taken last */
    bool client_finished, mismatch;
    char *text;                                  /* of the step */
    size_t text_len;
    bool (*cond)(struct play *);
    uint64_t body_at;                            /* bytes of a body that the step has seen */
    char *why;
};

/* --- Telling what was wrong ------------------------------------------------------------------ */

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

static bool wrong(struct play *play, const char *what, const void *got, size_t len) {
    if (play->why[0] != '\0') {
        return false;
    }
    struct text to = text_on(play->why, SCRIPT_TEXT_MAX - 1);
    text_fmt(&to, "line %d: %s\n", play->step->line, what);
    if (play->step->text != NULL && play->step->kind != COUNTS) {
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

/* --- Texts: {port}, {app}, ... are put in; {id}, {date}, {n} are matched ---------------------- */

struct put_in {
    const char *name;
    char text[ADDR_TEXT_MAX];
};

/* Returns new memory. */
static char *text_make(const char *from, size_t len, const struct put_in *names, size_t count,
                       size_t *made_len) {
    char *made = mem_alloc(len * 8 + ADDR_TEXT_MAX);
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        size_t k = 0;
        while (k < count && (strlen(names[k].name) > len - i ||
                             memcmp(from + i, names[k].name, strlen(names[k].name)) != 0)) {
            k++;
        }
        if (k == count) {
            made[n++] = from[i++];
        } else {
            memcpy(made + n, names[k].text, strlen(names[k].text));
            n += strlen(names[k].text);
            i += strlen(names[k].name);
        }
    }
    made[n] = '\0';
    *made_len = n;
    return made;
}

static char *step_text(const struct play *play, size_t *len) {
    struct put_in port = {.name = "{port}"};
    snprintf(port.text, sizeof port.text, "%s", play->port);
    return text_make(play->step->text, play->step->len, &port, 1, len);
}

enum { MATCH_MORE = 0, MATCH_NOT = -1 };

static bool is_hex(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* "Sun, 06 Nov 1994 08:49:37 GMT": digits and letters in their places. */
static bool is_date(const uint8_t *p, size_t len) {
    static const char form[] = "Aaa, 00 Aaa 0000 00:00:00 GMT";
    for (size_t i = 0; i < len; i++) {
        bool ok = form[i] == '0' ? p[i] >= '0' && p[i] <= '9'
                  : form[i] == 'A' && i < 26 ? p[i] >= 'A' && p[i] <= 'Z'
                  : form[i] == 'a' ? p[i] >= 'a' && p[i] <= 'z' : p[i] == (uint8_t)form[i];
        if (!ok) {
            return false;
        }
    }
    return true;
}

static size_t span_hex(const uint8_t *p, size_t len) {
    size_t i = 0;
    while (i < len && is_hex(p[i])) {
        i++;
    }
    return i;
}

static size_t span_digits(const uint8_t *p, size_t len) {
    size_t i = 0;
    while (i < len && p[i] >= '0' && p[i] <= '9') {
        i++;
    }
    return i;
}

/* How many of the bytes the pattern takes; MATCH_MORE, MATCH_NOT. */
static long match(const char *pattern, size_t pattern_len, const uint8_t *p, size_t len) {
    size_t at = 0;
    for (size_t i = 0; i < pattern_len;) {
        const char *left = pattern + i;
        size_t more = pattern_len - i, here = len - at, n;
        if (more >= 4 && memcmp(left, "{id}", 4) == 0) {
            n = here < 32 ? here : 32;
            if (span_hex(p + at, n) < n) {
                return MATCH_NOT;
            }
            i += 4;
            at += n;
            if (n < 32) {
                return MATCH_MORE;
            }
        } else if (more >= 6 && memcmp(left, "{date}", 6) == 0) {
            n = here < 29 ? here : 29;
            if (!is_date(p + at, n)) {
                return MATCH_NOT;
            }
            i += 6;
            at += n;
            if (n < 29) {
                return MATCH_MORE;
            }
        } else if (more >= 3 && memcmp(left, "{n}", 3) == 0) {
            n = span_digits(p + at, here);
            if (n == here) {
                return MATCH_MORE;
            }
            if (n == 0) {
                return MATCH_NOT;
            }
            i += 3;
            at += n;
        } else if (here == 0) {
            return MATCH_MORE;
        } else if (p[at] != (uint8_t)pattern[i]) {
            return MATCH_NOT;
        } else {
            i++;
            at++;
        }
    }
    return (long)at;
}

static uint8_t pattern_at(uint64_t i) {
    return (uint8_t)(i * 7u + (i >> 8) * 13u + (i >> 16));
}

/* --- Chunked bodies, read with eyes of our own ----------------------------------------------- */

/* Body bytes in order: of the text, or (NULL) of the pattern. */
static bool body_is(const char *text, uint64_t size, uint64_t at, const uint8_t *p, size_t len) {
    if (len > size - at) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (p[i] != (text != NULL ? (uint8_t)text[at + i] : pattern_at(at + i))) {
            return false;
        }
    }
    return true;
}

/* One whole chunk, or the line of the last one: how many bytes it takes. size: of the body in it. */
static long match_chunk(const char *text, uint64_t body_len, uint64_t body_at, const uint8_t *p,
                        size_t len, uint64_t *size) {
    size_t digits = span_hex(p, len);
    if (digits > 8 || (digits == 0 && len > 0)) {
        return MATCH_NOT;
    }
    if (len < digits + 2) {
        return MATCH_MORE;
    }
    if (memcmp(p + digits, "\r\n", 2) != 0) {
        return MATCH_NOT;
    }
    *size = 0;
    for (size_t i = 0; i < digits; i++) {
        *size = *size * 16 + (uint64_t)(p[i] <= '9' ? p[i] - '0' : p[i] - 'a' + 10);
    }
    size_t at = digits + 2, here = len - at < *size ? len - at : (size_t)*size;
    if (*size == 0) {
        return body_at == body_len ? (long)at : MATCH_NOT;
    }
    if (!body_is(text, body_len, body_at, p + at, here)) {
        return MATCH_NOT;
    }
    if (len - at < *size + 2) {
        return MATCH_MORE;
    }
    at += (size_t)*size + 2;
    return memcmp(p + at - 2, "\r\n", 2) == 0 ? (long)at : MATCH_NOT;
}

/* --- The client's bytes, with or without TLS -------------------------------------------------- */

static const uint8_t *client_bytes(struct play *play, size_t *len) {
    if (play->tls != NULL) {
        play->mode->tls->pump(play->tls, play->client);
        return play->mode->tls->bytes(play->tls, len);
    }
    *len = play->client->rx_len;
    return play->client->rx;
}

static const uint8_t *side_bytes(struct play *play, bool client, size_t *len) {
    if (client) {
        return client_bytes(play, len);
    }
    *len = play->origin->rx_len;
    return play->origin->rx;
}

static void side_drop(struct play *play, bool client, size_t len) {
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

static void client_fin(struct play *play) {
    if (play->tls != NULL) {
        play->mode->tls->finish(play->tls, play->client);
    }
    peer_fin(play->client);
    play->client_finished = true;
}

static void client_come(struct play *play) {
    play->client = peer_dial(&play->at, NULL);
    play->client_finished = false;
    if (play->script->tls) {
        play->tls = play->mode->tls->begin();
    }
}

static void client_go(struct play *play) {
    if (play->tls != NULL) {
        play->mode->tls->end(play->tls);
        play->tls = NULL;
    }
    peer_free(play->client);
    play->client = NULL;
}

/* --- Time ------------------------------------------------------------------------------------- */

static bool pumped(void *arg) {
    struct play *play = arg;
    if (play->tls != NULL) {
        play->mode->tls->pump(play->tls, play->client);
    }
    return play->cond != NULL && play->cond(play);
}

/* The client's TLS has work to do whatever the script waits for. */
static enum peers_end run_until(struct play *play, bool (*cond)(struct play *), uint64_t ms) {
    play->cond = cond;
    return peers_run(pumped, play, ms);
}

/* --- Sending steps --------------------------------------------------------------------------- */

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
            (void)run_until(play, all_is_sent, 50);
            (void)run_until(play, NULL, 1);
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

/* --- Conditions ------------------------------------------------------------------------------- */

static bool take_origin(struct play *play, uint32_t server) {
    struct peer *peer = peer_take(play->servers[server]);
    if (peer == NULL) {
        return false;
    }
    ensure(play->origin_count < ORIGIN_CONNECTIONS_MAX);
    play->origin = play->origins[play->origin_count++] = peer;
    return true;
}

static bool origin_is_here(struct play *play) {
    return take_origin(play, (uint32_t)play->step->n);
}

static bool first_is_here(struct play *play) {
    return take_origin(play, 0);
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

/* What was expected has come, or something else has. */
static bool seen(struct play *play) {
    bool client = play->step->kind < O_COMES;
    size_t len;
    const uint8_t *p = side_bytes(play, client, &len);
    long taken;
    switch (play->step->kind) {
    case C_SEES:
    case O_SEES:
        taken = match(play->text, play->text_len, p, len);
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
    return taken != MATCH_MORE;
}

static bool client_ended(struct play *play) {
    size_t len;
    (void)client_bytes(play, &len);
    return play->client->eof || play->client->reset || play->client->state == PEER_REFUSED;
}

static bool origin_ended(struct play *play) {
    return play->origin->eof || play->origin->reset;
}

static bool was_closed(struct play *play) {
    return lab_closed(&play->lab, (enum close_reason)play->step->n) > 0;
}

static bool was_counted(struct play *play) {
    return lab_stat(&play->lab, (enum stats_counter)play->step->len) == play->step->n;
}

static bool await(struct play *play, bool (*cond)(struct play *), const char *what) {
    if (run_until(play, cond, play->mode->limit_ms) == PEERS_MET) {
        return true;
    }
    return wrong(play, what, NULL, 0);
}

/* --- Steps ------------------------------------------------------------------------------------ */

static bool do_sees(struct play *play) {
    bool client = play->step->kind < O_COMES;
    if (!client && play->origin == NULL && !await(play, first_is_here, "no connection came")) {
        return false;
    }
    enum peers_end end = run_until(play, seen, play->mode->limit_ms);
    if (end == PEERS_MET && !play->mismatch) {
        return true;
    }
    size_t len;
    const uint8_t *p = side_bytes(play, client, &len);
    return wrong(play, end == PEERS_MET ? "something else came" : "it did not come", p, len);
}

static bool do_sees_nothing(struct play *play) {
    bool client = play->step->kind < O_COMES;
    (void)run_until(play, NULL, play->step->n);
    if (!client && play->origin == NULL) {
        return first_is_here(play) ? wrong(play, "a connection came", NULL, 0) : true;
    }
    size_t len;
    const uint8_t *p = side_bytes(play, client, &len);
    if (len > 0 || (client ? client_ended(play) : origin_ended(play))) {
        return wrong(play, "something came, or the connection ended", p, len);
    }
    return true;
}

/* Half of a chunked body must not look like a whole one. */
static bool drop_half(struct play *play, bool client) {
    size_t len;
    const uint8_t *p = side_bytes(play, client, &len);
    if (len >= 5 && memmem(p, len, "0\r\n\r\n", 5) != NULL) {
        return wrong(play, "a last chunk before the cut", p, len);
    }
    side_drop(play, client, len);
    return true;
}

static bool do_sees_close(struct play *play, bool cut) {
    if (!await(play, client_ended, "the connection was not closed")) {
        return false;
    }
    size_t len;
    const uint8_t *p = client_bytes(play, &len);
    if (cut) {
        if (!play->client->reset) {
            return wrong(play, "no reset: the client can not tell that this is not all", p, len);
        }
        return drop_half(play, true);
    }
    if (play->client->reset || len > 0) {
        return wrong(play, len > 0 ? "bytes before the end" : "a reset, not a FIN", p, len);
    }
    return true;
}

static bool do_origin_ends(struct play *play) {
    play->origin_ended[play->origin_count - 1] = true;
    if (play->step->kind != O_SEES_CLOSE && play->step->kind != O_SEES_CUT) {
        (void)run_until(play, all_is_sent, play->mode->limit_ms);
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
        client_fin(play);
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
        client_go(play);
        client_come(play);
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
    side_send(play, client, play->text, play->text_len);
    return true;
}

static bool do_counts(struct play *play) {
    if (play->step->kind == COUNTS_CLOSED) {
        char what[80];
        snprintf(what, sizeof what, "no connection has ended for %s",
                 close_word((enum close_reason)play->step->n));
        return await(play, was_closed, what);
    }
    return await(play, was_counted, "a counter stands elsewhere");
}

static bool step_run(struct play *play) {
    switch (play->step->kind) {
    case C_SENDS: case C_SENDS_BODY: case O_SENDS: case O_SENDS_BODY:
        return do_sends(play);
    case C_SEES: case C_SEES_BODY: case C_SEES_CHUNKS: case C_SEES_PART: case C_SEES_CHUNKS_BODY:
    case O_SEES: case O_SEES_BODY: case O_SEES_CHUNKS: case O_SEES_PART: case O_SEES_CHUNKS_BODY:
        return do_sees(play);
    case C_SEES_NOTHING: case O_SEES_NOTHING:
        return do_sees_nothing(play);
    case C_SEES_CLOSE: case C_SEES_CUT:
        return do_sees_close(play, play->step->kind == C_SEES_CUT);
    case O_COMES:
        return await(play, origin_is_here, "no connection came");
    case O_FINS: case O_CLOSES: case O_RESETS: case O_SEES_CLOSE: case O_SEES_CUT:
        return do_origin_ends(play);
    case O_PAUSES: case O_RESUMES:
        peer_pause(play->origin, play->step->kind == O_PAUSES);
        return true;
    case WAITS:
        (void)run_until(play, NULL, play->step->n);
        return true;
    case COUNTS_CLOSED: case COUNTS:
        return do_counts(play);
    default:
        return do_client(play);
    }
}

static bool do_step(struct play *play) {
    play->text = step_text(play, &play->text_len);
    play->body_at = 0;
    bool ok = step_run(play);
    mem_free(play->text);
    play->text = NULL;
    return ok;
}

/* --- The stage -------------------------------------------------------------------------------- */

static struct peer_listener *listen_at(const struct addr *addr, uint32_t backlog) {
    struct peer_listener *listener = peer_listen(addr, backlog);
    ensure(listener != NULL);
    return listener;
}

/* On a port that is free. */
static struct peer_listener *listen_anywhere(uint32_t backlog) {
    struct addr addr = {.len = sizeof addr.sa.in};
    addr.sa.in = (struct sockaddr_in){.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return listen_at(&addr, backlog);
}

static struct peer_listener *listen_unix(void) {
    struct addr addr;
    const char *why;
    char path[64];
    snprintf(path, sizeof path, "unix:/tmp/gyre-script-%d.sock", (int)getpid());
    ensure(addr_parse(&addr, str_of(path), &why));
    return listen_at(&addr, 64);
}

/* A server that answers no SYN: its backlog is full, and nobody takes from it. */
static void full_begin(struct play *play) {
    play->full = listen_anywhere(1);
    peer_listener_pause(play->full, true);
    for (size_t i = 0; i < sizeof play->fillers / sizeof play->fillers[0]; i++) {
        play->fillers[i] = peer_dial(&play->full->addr, NULL);
    }
    peers_sleep(20);
}

static void full_end(struct play *play) {
    for (size_t i = 0; i < sizeof play->fillers / sizeof play->fillers[0]; i++) {
        peer_free(play->fillers[i]);
    }
    peer_listener_close(play->full);
}

static bool has(const char *text, const char *word) {
    return text != NULL && strstr(text, word) != NULL;
}

static void servers_begin(struct play *play) {
    play->servers[0] = has(play->script->servers, "{unix}") ? listen_unix() : listen_anywhere(64);
    play->servers[1] = listen_anywhere(64);
    if (has(play->script->servers, "{full}")) {
        full_begin(play);
    }
}

/* A port that is free now. */
static void port_choose(struct play *play) {
    struct peer_listener *listener = listen_anywhere(1);
    play->at = listener->addr;
    peer_listener_close(listener);
    snprintf(play->port, sizeof play->port, "%u", addr_port(&play->at));
}

static const char *or_empty(const char *text) {
    return text != NULL ? text : "";
}

static bool gyre_begin(struct play *play) {
    const struct script *s = play->script;
    char ini[4096];
    snprintf(ini, sizeof ini,
             "[global]\nworkers = 1\ndrain_timeout = 2s\n%s[listener web]\nbind = {web}\n%s%s%s"
             "[backend app]\n%s%s%s",
             or_empty(s->global), s->tls ? "certificate = toy.pem\nkey = toy.key\n" : "",
             s->bare ? "" : "backend = app\n", or_empty(s->listener),
             s->servers != NULL ? s->servers : "server = {app}\n", or_empty(s->backend),
             or_empty(s->more));
    struct put_in names[] = {{.name = "{web}"}, {.name = "{app}"}, {.name = "{second}"},
                             {.name = "{unix}"}, {.name = "{full}"},
                             {.name = "{dead}", .text = "127.0.0.1:1"}};
    addr_print(&play->at, names[0].text);
    addr_print(&play->servers[0]->addr, names[1].text);
    addr_print(&play->servers[1]->addr, names[2].text);
    addr_print(&play->servers[0]->addr, names[3].text);
    if (play->full != NULL) {
        addr_print(&play->full->addr, names[4].text);
    }
    size_t len;
    char *text = text_make(ini, strlen(ini), names, sizeof names / sizeof names[0], &len);
    bool ok = lab_start(&play->lab, play->mode->on_sim, text, &play->mode->ring);
    mem_free(text);
    return ok;
}

static bool all_have_ended(struct play *play) {
    bool all = client_ended(play) || play->client->state == PEER_CLOSED;
    for (uint32_t i = 0; i < play->origin_count; i++) {
        const struct peer *o = play->origins[i];
        all = all && (o->eof || o->reset || o->state != PEER_OPEN);
    }
    return all;
}

static void check_leftovers(struct play *play) {
    size_t len;
    const uint8_t *p = client_bytes(play, &len);
    if (len > 0) {
        wrong(play, "the client got more than the script says", p, len);
    }
    for (uint32_t i = 0; i < play->origin_count; i++) {
        if (play->origins[i]->rx_len > 0) {
            wrong(play, "a server got more than the script says", play->origins[i]->rx,
                  play->origins[i]->rx_len);
        }
    }
    for (uint32_t i = 0; i < SERVERS_MAX; i++) {
        if (take_origin(play, i)) {
            wrong(play, "a server got a connection that the script does not name", NULL, 0);
        }
    }
}

/* Everybody says FIN, so that gyre need not wait for anybody; then it is told to stop. */
static void gyre_end(struct play *play) {
    if (!play->client_finished && play->client->state == PEER_OPEN) {
        client_fin(play);
    }
    for (uint32_t i = 0; i < play->origin_count; i++) {
        if (!play->origin_ended[i]) {
            peer_fin(play->origins[i]);
        }
    }
    peer_pause(play->client, false);
    if (!lab_stop(&play->lab, 20000)) {
        fprintf(stderr, "%s: gyre does not stop; before that: %s\n", play->script->name,
                play->why[0] != '\0' ? play->why : "nothing");
        abort();   /* its rings and threads are in the way of whatever comes next */
    }
    (void)run_until(play, all_have_ended, 500);
    check_leftovers(play);
}

static void stage_end(struct play *play) {
    client_go(play);
    for (uint32_t i = 0; i < play->origin_count; i++) {
        peer_free(play->origins[i]);
    }
    for (uint32_t i = 0; i < SERVERS_MAX; i++) {
        peer_listener_close(play->servers[i]);
    }
    if (play->full != NULL) {
        full_end(play);
    }
}

bool script_play(const struct script *script, const struct script_mode *mode,
                 char why[SCRIPT_TEXT_MAX]) {
    struct play *play = mem_zero(sizeof *play);
    *play = (struct play){.script = script, .mode = mode, .step = script->steps, .why = why};
    why[0] = '\0';
    servers_begin(play);
    port_choose(play);
    ensure(gyre_begin(play));
    client_come(play);
    while (play->step->kind != STEP_END && do_step(play)) {
        play->step++;
    }
    gyre_end(play);
    stage_end(play);
    mem_free(play);
    return why[0] == '\0';
}
