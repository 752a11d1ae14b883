/* A whole gyre on the simulated ring before three servers that fail in every way, and clients that
 * ask by every method with every kind of body: what the tests of retries share. */
#ifndef GYRE_TESTS_SIM_RETRY_LAB_H
#define GYRE_TESTS_SIM_RETRY_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "script/lab.h"
#include "sim/sim.h"

#define SERVERS 3u
#define ASKED_MAX 4000u
#define LINKS_MAX 12000u
#define BODY_MAX 20000u

/* What a server does when it has a request's head. */
enum fate {
    SERVES, RESETS, FINS, STOPS_INSIDE, HINTS_AND_RESETS, GOES_ON_AND_RESETS, BUSY, BUSY_ENDLESSLY,
    HINTS_AND_BUSY, FAILS, HANGS, FATES
};
static const char *const fate_words[FATES] = {
    "serves", "resets", "fins", "stops inside a head", "103 and resets", "100 and resets", "503",
    "503 without end", "103 and 503", "500", "hangs"};

enum body { NO_BODY, LENGTH, CHUNKED, EXPECT };
struct kind {
    const char *method;
    enum body body;
    bool idempotent;
};
static const struct kind kinds[] = {
    {"GET", NO_BODY, true}, {"HEAD", NO_BODY, true}, {"DELETE", NO_BODY, true},
    {"OPTIONS", NO_BODY, true}, {"PUT", LENGTH, true}, {"PUT", CHUNKED, true},
    {"PUT", EXPECT, true}, {"POST", NO_BODY, false}, {"POST", LENGTH, false},
    {"POST", CHUNKED, false}, {"POST", EXPECT, false}, {"PATCH", LENGTH, false},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

struct asked {
    const struct kind *kind;
    uint32_t len;                 /* of its body */
    uint32_t seen, whole;         /* times that a server has read its head, and all of it */
    uint32_t at[8];               /* which ones, in order */
    struct peer *client;
    bool vanishes, gone, body_sent;
};

struct origin {
    struct addr addr;
    struct peer_listener *listener;
    uint32_t index, seen, holds;  /* requests, ever and now */
    uint32_t holds_peak;
    uint32_t answer_ms;           /* 0: the scene's */
};

/* A connection to one of them. */
struct link {
    struct origin *origin;
    struct peer *peer;
    bool spoiled;                 /* nothing more is said over it */
    bool has_head, holds;
    uint32_t id;
};

static struct scene {
    struct sim *sim;
    struct lab lab;
    uint64_t seed;
    const char *what;
    struct origin origins[SERVERS];
    enum fate (*fate)(struct origin *, struct asked *);
    struct asked asked[ASKED_MAX];
    uint32_t asked_count, over;   /* all before this one are */
    struct link links[LINKS_MAX];
    uint32_t link_count, answers;
    uint32_t answer_ms;           /* what a good answer takes; of it so much may be luck */
    bool answers_by_luck;
    const char *wrong;            /* what an oracle found first */
    uint32_t wrong_id;
} scene;

static inline void wrong(const char *what, uint32_t id) {
    if (scene.wrong == NULL) {
        scene.wrong = what;
        scene.wrong_id = id;
    }
}

/* --- Bodies ------------------------------------------------------------------------------- */

static inline uint8_t pattern(uint32_t id, uint32_t i) {
    return (uint8_t)('a' + (id + i * 7 + i / 256) % 23);
}

static inline void body_send(struct peer *p, uint32_t id) {
    static uint8_t bytes[BODY_MAX];
    const struct asked *a = &scene.asked[id];
    for (uint32_t i = 0; i < a->len; i++) {
        bytes[i] = pattern(id, i);
    }
    if (a->kind->body != CHUNKED) {
        peer_send(p, bytes, a->len);
        return;
    }
    for (uint32_t at = 0; at < a->len;) {
        uint32_t n = 1 + (id * 977 + at * 13) % 5000;
        char line[16];
        n = n < a->len - at ? n : a->len - at;
        snprintf(line, sizeof line, "%x\r\n", n);
        peer_send_text(p, line);
        peer_send(p, bytes + at, n);
        peer_send_text(p, "\r\n");
        at += n;
    }
    peer_send_text(p, "0\r\n\r\n");
}

/* The length of a message's body on the wire, which begins at `p`; SIZE_MAX: it is not all there. Its
 * bytes go to `to`, their number to *len. */
static inline size_t body_read(const char *head, const uint8_t *p, size_t have, uint8_t *to,
                               uint32_t *len) {
    const char *length = strstr(head, "Content-Length: ");
    *len = 0;
    if (length != NULL) {
        *len = (uint32_t)strtoul(length + 16, NULL, 10);
        if (*len > BODY_MAX || have < *len) {
            return SIZE_MAX;
        }
        memcpy(to, p, *len);
        return *len;
    }
    if (strstr(head, "Transfer-Encoding: chunked") == NULL) {
        return 0;
    }
    for (size_t at = 0;;) {
        const uint8_t *eol = have > at ? memmem(p + at, have - at, "\r\n", 2) : NULL;
        if (eol == NULL) {
            return SIZE_MAX;
        }
        size_t n = strtoul((const char *)p + at, NULL, 16);
        at = (size_t)(eol - p) + 2;
        if (*len + n > BODY_MAX || have < at + n + 2) {
            return SIZE_MAX;
        }
        memcpy(to + *len, p + at, n);
        *len += (uint32_t)n;
        at += n + 2;
        if (n == 0) {
            return at;
        }
    }
}

/* --- Servers ------------------------------------------------------------------------------ */

static void link_hears(struct peer *peer);

static inline void link_lets_go(struct link *link) {
    if (link->holds) {
        link->holds = false;
        link->origin->holds--;
    }
}

static void link_answers(void *arg) {
    struct link *link = arg;
    if (link->peer->state != PEER_OPEN || link->peer->reset || link->spoiled) {
        return;
    }
    char text[128];
    bool head_only = scene.asked[link->id].kind->method[0] == 'H';
    snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-At: %u\r\n\r\n%s",
             link->origin->index, head_only ? "" : "served");
    scene.answers++;
    link_lets_go(link);
    link->has_head = false;
    peer_send_text(link->peer, text);
    link_hears(link->peer);
}

#define HINT "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
#define GO_ON "HTTP/1.1 100 Continue\r\n\r\n"
#define BUSY_TEXT "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\n"

static inline const char *fate_text(enum fate fate, bool head_only) {
    switch (fate) {
    case STOPS_INSIDE: return "HTTP/1.1 2";
    case HINTS_AND_RESETS: return HINT;
    case GOES_ON_AND_RESETS: return GO_ON;
    case BUSY: return head_only ? BUSY_TEXT : BUSY_TEXT "busy";
    case BUSY_ENDLESSLY:
        return "HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    case HINTS_AND_BUSY: return head_only ? HINT BUSY_TEXT : HINT BUSY_TEXT "busy";
    case FAILS: return "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
    default: return "";
    }
}

static void link_resets(void *arg) {
    struct link *link = arg;
    if (link->peer->state == PEER_OPEN) {
        peer_reset(link->peer);
        link_lets_go(link);
    }
}

/* Its head is there; whole: so is its body. True: the link goes on with the next request. */
static inline bool link_meets(struct link *link, enum fate fate, bool whole) {
    struct peer *p = link->peer;
    bool head_only = scene.asked[link->id].kind->method[0] == 'H';
    peer_send_text(p, fate_text(fate, head_only));
    bool answered = fate == BUSY || fate == HINTS_AND_BUSY || fate == FAILS;
    if (answered) {
        link_lets_go(link);
    }
    link->spoiled = !answered || !whole;
    link->has_head = !answered;
    if (fate == RESETS) {
        link_resets(link);
    } else if (fate == HINTS_AND_RESETS || fate == GOES_ON_AND_RESETS) {
        sim_after(scene.sim, 5, link_resets, link);   /* the network may not lose what it said */
    } else if (fate == FINS || fate == STOPS_INSIDE || (answered && !whole)) {
        peer_fin(p);
    }
    return answered && whole;
}

static inline void link_begins(struct link *link, const char *head) {
    char method[16];
    unsigned id = ASKED_MAX;
    struct origin *origin = link->origin;
    if (sscanf(head, "%15s /%u ", method, &id) != 2 || id >= scene.asked_count) {
        wrong("a server got a request that nobody sent", 0);
        link->spoiled = true;
        return;
    }
    struct asked *a = &scene.asked[id];
    if (strcmp(method, a->kind->method) != 0) {
        wrong("a server got another method", id);
    }
    link->id = id;
    link->has_head = link->holds = true;
    a->at[a->seen % 8] = origin->index;
    a->seen++;
    origin->seen++;
    origin->holds++;
    origin->holds_peak = origin->holds > origin->holds_peak ? origin->holds : origin->holds_peak;
    if (!a->kind->idempotent && a->seen > 1) {
        wrong("a request was repeated that may not be", id);
    }
}

static inline void body_check(uint32_t id, const uint8_t *body, uint32_t len) {
    bool same = len == scene.asked[id].len;
    for (uint32_t i = 0; same && i < len; i++) {
        same = body[i] == pattern(id, i);
    }
    if (!same) {
        wrong("a server got another body than was sent", id);
    }
    scene.asked[id].whole++;
}

/* One message, as far as it is there; false: it is not. */
static inline bool link_reads(struct link *link) {
    static uint8_t body[BODY_MAX];
    struct peer *p = link->peer;
    uint8_t *end = p->rx_len > 0 ? memmem(p->rx, p->rx_len, "\r\n\r\n", 4) : NULL;
    char head[2048];
    uint32_t len;
    if (end == NULL || (size_t)(end - p->rx) >= sizeof head) {
        return false;
    }
    size_t head_len = (size_t)(end - p->rx) + 4;
    memcpy(head, p->rx, head_len - 4);
    head[head_len - 4] = '\0';
    bool first = !link->has_head;
    if (first) {
        link_begins(link, head);
    }
    if (link->spoiled) {
        return false;
    }
    size_t body_len = body_read(head, p->rx + head_len, p->rx_len - head_len, body, &len);
    bool whole = body_len != SIZE_MAX;
    enum fate fate = first ? scene.fate(link->origin, &scene.asked[link->id]) : SERVES;
    if (first && fate == SERVES && !whole && strstr(head, "Expect: ") != NULL) {
        peer_send_text(p, GO_ON);
    }
    if (whole) {
        body_check(link->id, body, len);
        peer_drop(p, head_len + body_len);
    }
    if (fate != SERVES) {
        return link_meets(link, fate, whole);
    }
    if (whole) {
        uint32_t ms = link->origin->answer_ms != 0 ? link->origin->answer_ms : scene.answer_ms;
        ms = scene.answers_by_luck ? (uint32_t)sim_draw(scene.sim, ms + 1) : ms;
        sim_after(scene.sim, ms, link_answers, link);
    }
    return false;
}

static void link_hears(struct peer *peer) {
    struct link *link = peer->user;
    while (peer->state == PEER_OPEN && !peer->reset && !link->spoiled && link_reads(link)) {
    }
    if ((peer->eof || peer->reset) && peer->state == PEER_OPEN) {
        link_lets_go(link);
        link->spoiled = true;
        peer_fin(peer);
    }
}

static void origin_accepts(struct peer *peer) {
    assert_true(scene.link_count < LINKS_MAX);
    struct link *link = &scene.links[scene.link_count++];
    *link = (struct link){.origin = peer->listener->user, .peer = peer};
    peer->user = link;
    peer->changed = link_hears;
    link_hears(peer);
}

static void origin_listen(void *arg) {
    struct origin *origin = arg;
    origin->listener = peer_listen(&origin->addr, 256);
    assert_non_null(origin->listener);
    origin->listener->user = origin;
    origin->listener->accepted = origin_accepts;
}

static void origin_goes(void *arg) {
    struct origin *origin = arg;
    peer_listener_close(origin->listener);
    origin->listener = NULL;
}

/* --- Clients ------------------------------------------------------------------------------ */

static void asked_body(void *arg) {
    struct asked *a = arg;
    if (!a->body_sent && a->client->state == PEER_OPEN) {
        a->body_sent = true;
        body_send(a->client, (uint32_t)(a - scene.asked));
    }
}

static void client_hears(struct peer *peer) {
    struct asked *a = peer->user;
    if (a->kind->body == EXPECT && peer->rx_len > 0 && peer_has(peer, "HTTP/1.1 100 ")) {
        asked_body(a);
    }
}

static void asked_start(void *arg) {
    struct asked *a = arg;
    char text[256], more[64] = "";
    struct addr to = addr_of("127.0.0.1:80");
    if (a->kind->body == CHUNKED) {
        snprintf(more, sizeof more, "Transfer-Encoding: chunked\r\n");
    } else if (a->kind->body != NO_BODY) {
        snprintf(more, sizeof more, "Content-Length: %u\r\n%s", a->len,
                 a->kind->body == EXPECT ? "Expect: 100-continue\r\n" : "");
    }
    snprintf(text, sizeof text, "%s /%u HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n",
             a->kind->method, (uint32_t)(a - scene.asked), more);
    a->client = peer_dial(&to, NULL);
    a->client->user = a;
    a->client->changed = client_hears;
    peer_send_text(a->client, text);
    if (a->kind->body == LENGTH || a->kind->body == CHUNKED) {
        a->body_sent = true;
        body_send(a->client, (uint32_t)(a - scene.asked));
    }
}

static void asked_vanish(void *arg) {
    struct asked *a = arg;
    if (a->client != NULL && a->client->state == PEER_OPEN) {
        sim_draw(scene.sim, 2) == 0 ? peer_reset(a->client) : peer_close(a->client);
    }
    a->gone = true;
}

static inline struct asked *ask(const struct kind *kind, uint32_t len, uint64_t at_ms) {
    assert_true(scene.asked_count < ASKED_MAX);
    struct asked *a = &scene.asked[scene.asked_count++];
    *a = (struct asked){.kind = kind, .len = kind->body == NO_BODY ? 0 : len};
    sim_after(scene.sim, at_ms, asked_start, a);
    return a;
}

static inline bool asked_is_over(const struct asked *a) {
    return a->gone || (a->client != NULL && (a->client->eof || a->client->reset));
}

/* Of the final head that the client got; 0: none. */
static inline uint32_t status_of(const struct asked *a) {
    const struct peer *p = a->client;
    for (size_t at = 0; p != NULL && at + 12 <= p->rx_len;) {
        uint32_t status = (uint32_t)strtoul((const char *)p->rx + at + 9, NULL, 10);
        const uint8_t *end = memmem(p->rx + at, p->rx_len - at, "\r\n\r\n", 4);
        if (status >= 200 || end == NULL) {
            return end == NULL ? 0 : status;
        }
        at = (size_t)(end - p->rx) + 4;
    }
    return 0;
}

/* --- A scene ------------------------------------------------------------------------------ */

static inline void begin(uint64_t seed, uint32_t workers, const char *global, const char *backend,
                         const struct sim_params *params) {
    memset(&scene, 0, sizeof scene);
    scene.seed = seed;
    struct sim_params clean = sim_params_clean();
    scene.sim = sim_new(seed, &clean);
    char ini[1024];
    int len = snprintf(ini, sizeof ini,
                       "[global]\nworkers = %u\naccess_log = /access.log\ndrain_timeout = 5s\n%s"
                       "[listener web]\nbind = 127.0.0.1:80\nbackend = app\n"
                       "max_connections_per_client = 5000\n"
                       "[backend app]\nserver = 127.0.0.1:8001, 127.0.0.1:8002, 127.0.0.1:8003\n%s",
                       workers, global, backend);
    ensure(len > 0 && (size_t)len < sizeof ini);
    for (uint32_t i = 0; i < SERVERS; i++) {
        char text[32];
        snprintf(text, sizeof text, "127.0.0.1:%u", 8001 + i);
        scene.origins[i].addr = addr_of(text);
        scene.origins[i].index = i;
        origin_listen(&scene.origins[i]);
    }
    assert_true(lab_start(&scene.lab, true, ini, NULL));
    if (params != NULL) {
        *sim_params(scene.sim) = *params;
    }
}

static bool all_over(void *arg) {
    (void)arg;
    while (scene.over < scene.asked_count && asked_is_over(&scene.asked[scene.over])) {
        scene.over++;
    }
    return scene.over == scene.asked_count;
}

static inline void run(void) {
    if (sim_run_until(scene.sim, all_over, NULL, 300000) != PEERS_MET) {
        fail_msg("seed %llu (%s): it does not end", (unsigned long long)scene.seed,
                 scene.what != NULL ? scene.what : "-");
    }
}

static inline bool logged(const char *text) {
    struct str log = sim_file(scene.sim, "/access.log");
    return log.len > 0 && memmem(log.p, log.len, text, strlen(text)) != NULL;
}

static inline void end(void) {
    if (!lab_stop(&scene.lab, 120000)) {
        fail_msg("seed %llu: it does not drain", (unsigned long long)scene.seed);
    }
    char leaks[128];
    if (sim_leaks(scene.sim, leaks, sizeof leaks) != 0) {
        fail_msg("seed %llu leaks %s", (unsigned long long)scene.seed, leaks);
    }
    if (scene.wrong != NULL) {
        fail_msg("seed %llu (%s): %s: %s /%u, seen %u times", (unsigned long long)scene.seed,
                 scene.what != NULL ? scene.what : "-", scene.wrong,
                 scene.asked[scene.wrong_id].kind->method, scene.wrong_id,
                 scene.asked[scene.wrong_id].seen);
    }
    sim_free(scene.sim);
}

#endif
