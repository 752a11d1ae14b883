/* What was seen under a fault, held against what is seen without one. */
#include <stdio.h>

#include "script/script_fault.h"
#include "script/script_priv.h"

struct check {
    const struct script *script;
    const struct script_fault *good, *seen;
    char *why;
    bool head_asked, tunnels;      /* the script's client asks for one */
    uint32_t robots[1024];         /* answers of the servers that took over: times each was seen */
};

static bool tell(struct check *c, const char *what, const struct record *r, size_t at) {
    if (c->why[0] == '\0') {
        struct text to = text_on(c->why, SCRIPT_TEXT_MAX - 1);
        text_fmt(&to, "%s; from byte %zu:\n", what, at);
        for (size_t i = at; i < r->len && i < at + 1500; i++) {
            if (r->p[i] == '\n' || (r->p[i] >= ' ' && r->p[i] < 0x7f)) {
                text_char(&to, (char)r->p[i]);
            } else if (r->p[i] != '\r') {
                text_fmt(&to, "\\x%02x", r->p[i]);
            }
        }
        text_fmt(&to, "\n(ended %d, reset %d)\n", r->ended, r->reset);
        c->why[to.len] = '\0';
    }
    return false;
}

/* --- Clients ------------------------------------------------------------------------------ */

/* An answer of a server that took over; each is for one request. */
static bool is_robot(struct check *c, const struct message *m) {
    if (strstr(m->head, "\nX-Robot: yes\n") == NULL) {
        return false;
    }
    unsigned number;
    if (!m->whole || m->body_len == 0 || sscanf((char *)m->body, "robot %6u", &number) != 1) {
        return true;
    }
    return number < 1024 && c->robots[number]++ == 0;
}

/* The answer, or the first one behind *at, that this is, or is the beginning of. */
static bool is_scripted(const struct message *m, const struct reading *good, uint32_t *at) {
    for (uint32_t i = *at; i < good->count; i++) {
        if (m->whole && !m->until_end ? message_is_same(m, &good->v[i])
                                      : message_is_part(m, &good->v[i])) {
            *at = i + 1;
            return true;
        }
    }
    return false;
}

/* Of a body that only the end of its connection ends: all of it, or an end that is no end. */
static bool is_cut_visibly(const struct message *m, const struct reading *good,
                           const struct record *r) {
    if (!m->until_end || r->reset || !r->ended) {
        return true;
    }
    for (uint32_t i = 0; i < good->count; i++) {
        if (message_is_same(m, &good->v[i])) {
            return true;
        }
    }
    return false;
}

/* gyre's own Close frame, earlier than in the good run, as less came before it. */
static size_t without_close(const uint8_t *rest, size_t len) {
    static const char to_client[] = "\x88\x02\x03\xe9", to_server[] = "\x88\x82\0\0\0\0\x03\xe9";
    if (len >= 8 && memcmp(rest + len - 8, to_server, 8) == 0) {
        return len - 8;
    }
    return len >= 4 && memcmp(rest + len - 4, to_client, 4) == 0 ? len - 4 : len;
}

static bool tunnel_ok(struct check *c, const struct reading *seen, const struct reading *good,
                      const struct record *r) {
    size_t len = without_close(seen->rest, seen->rest_len);
    if (len > good->rest_len || (len > 0 && memcmp(seen->rest, good->rest, len) != 0)) {
        return tell(c, "not the tunnel's bytes", r, r->len - len);
    }
    return true;
}

/* Here the client's connection is as good as before: it gets an answer, or a reset in place of it;
 * closed without a word it would not know what became of its request. */
static bool is_owed(enum fault_point p) {
    return (p >= FAULT_UP_SESSIONS && p <= FAULT_SLICES && p != FAULT_RECEIVE) || p == FAULT_RECV_MEMORY ||
           p == FAULT_SEND_MEMORY || p == FAULT_SEND_BUFFERS ||
           (p >= FAULT_CONNECT_REFUSED && p <= FAULT_CONNECT_MEMORY) ||
           p == FAULT_SOCKET_PROCESS || p == FAULT_SOCKET_MEMORY ||
           (p >= FAULT_UNIX_FULL && p <= FAULT_UNIX_DENIED);
}

static bool has_step(const struct script *script, enum step_kind kind) {
    const struct script_step *step = script->steps;
    while (step->kind != STEP_END && step->kind != kind) {
        step++;
    }
    return step->kind == kind;
}

static bool is_silent(const struct check *c, const struct record *r, uint32_t good_finals) {
    bool leaves = c->seen->polite || has_step(c->script, C_FINS) || has_step(c->script, C_RESETS) ||
                  has_step(c->script, C_COMES) || has_step(c->script, STOPS);
    return !leaves && is_owed(c->seen->point) && r->ended && !r->reset && r->len == 0 &&
           good_finals > 0;
}

static bool client_ok(struct check *c, const struct record *r, const struct record *good_record) {
    struct reading seen, good;
    reading_init(&seen, r, false, c->head_asked);
    reading_init(&good, good_record, false, c->head_asked);
    bool ok = !seen.bad || tell(c, "a client got what is no answer", r, seen.bad_at);
    uint32_t at = 0, finals = 0, good_finals = 0;
    bool closed = false;
    size_t byte = 0;
    for (uint32_t i = 0; i < good.count; i++) {
        good_finals += good.v[i].status >= 200 || good.v[i].tunnel;
    }
    for (uint32_t i = 0; i < seen.count && ok; i++) {
        const struct message *m = &seen.v[i];
        /* What a client sends into a tunnel that was not opened is a request that is none. */
        bool stray = c->tunnels && m->status >= 400 && m->closes;
        finals += (m->status >= 200 || m->tunnel) && !stray;
        if (closed) {
            ok = tell(c, "an answer behind the last one", r, byte);
        } else if (!is_scripted(m, &good, &at) && !message_is_page(m) && !is_robot(c, m)) {
            ok = tell(c, "a wrong answer", r, byte);
        } else if (!is_cut_visibly(m, &good, r)) {
            ok = tell(c, "half an answer that looks whole", r, byte);
        }
        closed = closed || (m->closes && m->has_head);
        byte += m->used;
    }
    if (ok && finals > (r->asked > good_finals ? r->asked : good_finals)) {
        ok = tell(c, "more answers than requests", r, 0);
    }
    if (ok && is_silent(c, r, good_finals)) {
        ok = tell(c, "no answer, and no reset", r, 0);
    }
    ok = ok && tunnel_ok(c, &seen, &good, r);
    reading_fini(&seen);
    reading_fini(&good);
    return ok;
}

/* --- Servers ------------------------------------------------------------------------------ */

struct asked {
    struct reading v[FAULT_ORIGINS_MAX];
    uint32_t count;
};

static void asked_init(struct asked *a, const struct script_fault *run) {
    a->count = run->origin_count;
    for (uint32_t i = 0; i < a->count; i++) {
        struct record requests = run->origins[i];
        size_t skip = message_proxy_len(requests.p, requests.len);
        requests.p += skip;
        requests.len -= skip;
        reading_init(&a->v[i], &requests, true, false);
    }
}

static void asked_fini(struct asked *a) {
    for (uint32_t i = 0; i < a->count; i++) {
        reading_fini(&a->v[i]);
    }
}

static bool is_idempotent(const struct message *m) {
    return strncmp(m->head, "POST ", 5) != 0 && strncmp(m->head, "PATCH ", 6) != 0;
}

/* How often its head was seen in all. */
static uint32_t times_asked(const struct asked *a, const struct message *m) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        for (uint32_t k = 0; k < a->v[i].count; k++) {
            const struct message *other = &a->v[i].v[k];
            n += other->has_head && strcmp(other->head, m->head) == 0;
        }
    }
    return n;
}

static bool is_asked(const struct asked *good, const struct message *m) {
    if (strncmp(m->head, "GET /recovered ", 15) == 0 || m->head[0] == '\0') {
        return true;
    }
    for (uint32_t i = 0; i < good->count; i++) {
        for (uint32_t k = 0; k < good->v[i].count; k++) {
            const struct message *other = &good->v[i].v[k];
            /* One that its server had no time to read whole may be whole now. */
            if (m->whole && other->whole ? message_is_same(m, other)
                                         : message_is_part(m, other)) {
                return true;
            }
        }
    }
    return false;
}

static bool rest_ok(const struct asked *good, const struct reading *seen) {
    size_t len = without_close(seen->rest, seen->rest_len);
    for (uint32_t i = 0; i < good->count; i++) {
        if (len <= good->v[i].rest_len &&
            (len == 0 || memcmp(seen->rest, good->v[i].rest, len) == 0)) {
            return true;
        }
    }
    return len == 0;
}

static bool origin_ok(struct check *c, const struct asked *seen, uint32_t index,
                      const struct asked *good) {
    const struct reading *reading = &seen->v[index];
    const struct record *r = &c->seen->origins[index];
    if (reading->bad) {
        return tell(c, "a server got what is no request", r, reading->bad_at);
    }
    size_t byte = 0;
    for (uint32_t i = 0; i < reading->count; i++) {
        const struct message *m = &reading->v[i];
        if (!is_asked(good, m)) {
            return tell(c, "a server got a request that nobody sent", r, byte);
        }
        if (m->has_head && !is_idempotent(m) && times_asked(seen, m) > times_asked(good, m)) {
            return tell(c, "a request that must not be repeated was", r, byte);
        }
        byte += m->used;
    }
    return rest_ok(good, reading) || tell(c, "not the tunnel's bytes", r, byte);
}

static bool origins_ok(struct check *c) {
    struct asked *seen = mem_zero(sizeof *seen), *good = mem_zero(sizeof *good);
    asked_init(seen, c->seen);
    asked_init(good, c->good);
    bool ok = true;
    for (uint32_t i = 0; i < seen->count && ok; i++) {
        ok = origin_ok(c, seen, i, good);
    }
    asked_fini(seen);
    asked_fini(good);
    mem_free(seen);
    mem_free(good);
    return ok;
}

/* --- Afterwards --------------------------------------------------------------------------- */

static bool after_ok(struct check *c) {
    const struct record *r = &c->seen->after;
    struct reading seen, good;
    reading_init(&seen, r, false, false);
    reading_init(&good, &c->good->after, false, false);
    bool ok = seen.count == good.count;
    for (uint32_t i = 0; i < seen.count && ok; i++) {
        ok = seen.v[i].whole == good.v[i].whole && strcmp(seen.v[i].head, good.v[i].head) == 0;
    }
    reading_fini(&seen);
    reading_fini(&good);
    return ok || tell(c, "a client that comes afterwards is not served as before", r, 0);
}

static bool asks_for(const struct script *script, const char *what) {
    for (const struct script_step *step = script->steps; step->kind != STEP_END; step++) {
        if (step->kind == C_SENDS && strcasestr(step->text, what) != NULL) {
            return true;
        }
    }
    return false;
}

bool script_fault_check(const struct script *script, const struct script_fault *good,
                        const struct script_fault *seen, char why[SCRIPT_TEXT_MAX]) {
    struct check *c = mem_zero(sizeof *c);
    *c = (struct check){.script = script, .good = good, .seen = seen, .why = why,
                        .head_asked = asks_for(script, "HEAD "),
                        .tunnels = asks_for(script, "Upgrade: ")};
    why[0] = '\0';
    bool ok = seen->client_count <= good->client_count;
    for (uint32_t i = 0; i < seen->client_count && ok; i++) {
        ok = client_ok(c, &seen->clients[i], &good->clients[i]);
    }
    ok = ok && origins_ok(c) && (seen->stopped || after_ok(c));
    mem_free(c);
    return ok;
}
