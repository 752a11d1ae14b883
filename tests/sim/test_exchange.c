/* Whole requests through a whole gyre on the simulated ring, with faults: over many seeds no
 * response is lost without a visible end, mixed up, cut unseen, or given to a request twice.
 * Long, as a world is one thing: both peers, and what they must have seen.
 *
 * SIM_SEED=n runs one seed, SIM_SEEDS=n that many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "script/lab.h"
#include "sim/sim.h"

#define IDS_MAX 512u
#ifndef CLEAN_SEEDS
#define CLEAN_SEEDS 100u
#endif
#ifndef SPLICES          /* all bodies that may be spliced are, however small, and servers stream */
#define SPLICES 0
#endif

/* --- What was asked, as both ends know it ------------------------------------------------- */

struct asked {
    bool post, chunked_up;
    uint32_t up_len, down_len;
    char mode;                 /* of the response: l(ength), c(hunked), x (until close), n (204) */
    bool interim;              /* a 103 comes first */
    uint32_t seen;             /* times that an origin read its head */
};
static struct asked asked[IDS_MAX];
static uint32_t asked_count;
static const char *broken;     /* what an oracle found wrong */
static uint32_t broken_id;

static uint8_t pattern(uint32_t id, uint32_t i) {
    return (uint8_t)(id * 131u + i * 7u + (i >> 8));
}

static void wrong(const char *what, uint32_t id) {
    if (broken == NULL) {
        broken = what;
        broken_id = id;
    }
}

static void send_pattern(struct peer *p, uint32_t id, uint32_t from, uint32_t len) {
    uint8_t *bytes = mem_alloc(len);
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = pattern(id, from + i);
    }
    peer_send(p, bytes, len);
    mem_free(bytes);
}

static void send_chunked(struct peer *p, uint32_t id, uint32_t len) {
    for (uint32_t at = 0; at < len;) {
        uint32_t n = 1 + (id * 977u + at * 13u) % 9000u;
        n = n < len - at ? n : len - at;
        char line[16];
        snprintf(line, sizeof line, "%x\r\n", n);
        peer_send_text(p, line);
        send_pattern(p, id, at, n);
        peer_send_text(p, "\r\n");
        at += n;
    }
    peer_send_text(p, "0\r\n\r\n");
}

/* --- A small reader of messages, independent of gyre's ------------------------------------ */

enum read_end { READ_MORE, READ_DONE, READ_BAD };

struct message {
    char head[4096];           /* NUL-terminated, lower case kept as sent */
    bool has_head, chunked, until_close;
    uint64_t length;           /* of the body, or of the chunk, to come */
    uint32_t body_len, id;
    bool in_chunk, last_chunk;
};

static const char *field_of(const struct message *m, const char *name) {
    static char value[256];
    size_t len = strlen(name);
    for (const char *line = strstr(m->head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            const char *from = line + len + 1 + strspn(line + len + 1, " ");
            snprintf(value, sizeof value, "%.*s", (int)strcspn(from, "\r"), from);
            return value;
        }
    }
    return NULL;
}

static enum read_end read_head(struct message *m, struct peer *p) {
    if (p->rx_len == 0) {
        return READ_MORE;
    }
    uint8_t *end = memmem(p->rx, p->rx_len, "\r\n\r\n", 4);
    if (end == NULL) {
        return READ_MORE;
    }
    size_t len = (size_t)(end - p->rx) + 4;
    if (len >= sizeof m->head) {
        return READ_BAD;
    }
    *m = (struct message){.has_head = true};
    memcpy(m->head, p->rx, len);
    peer_drop(p, len);
    const char *length = field_of(m, "content-length");
    m->length = length != NULL ? strtoull(length, NULL, 10) : 0;
    bool sized = length != NULL;
    m->chunked = field_of(m, "transfer-encoding") != NULL;
    m->until_close = !sized && !m->chunked;
    return sized && m->chunked ? READ_BAD : READ_DONE;
}

/* Checks bytes of the body against their pattern. */
static void take_body(struct message *m, struct peer *p, size_t len, bool check) {
    for (size_t i = 0; check && i < len; i++) {
        if (p->rx[i] != pattern(m->id, m->body_len + (uint32_t)i)) {
            wrong("a body's bytes are not its own", m->id);
            break;
        }
    }
    m->body_len += (uint32_t)len;
    peer_drop(p, len);
}

static enum read_end read_chunked(struct message *m, struct peer *p, bool check) {
    for (;;) {
        if (!m->in_chunk) {
            uint8_t *eol = p->rx_len > 0 ? memmem(p->rx, p->rx_len, "\r\n", 2) : NULL;
            if (eol == NULL) {
                return READ_MORE;
            }
            char *end;
            m->length = strtoull((char *)p->rx, &end, 16);
            if (end != (char *)eol) {
                return READ_BAD;
            }
            m->last_chunk = m->length == 0;
            m->in_chunk = true;
            peer_drop(p, (size_t)(eol - p->rx) + 2);
        }
        size_t n = p->rx_len < m->length ? p->rx_len : (size_t)m->length;
        take_body(m, p, n, check);
        m->length -= n;
        if (m->length > 0 || p->rx_len < 2) {
            return READ_MORE;
        }
        if (memcmp(p->rx, "\r\n", 2) != 0) {
            return READ_BAD;
        }
        peer_drop(p, 2);
        m->in_chunk = false;
        if (m->last_chunk) {
            return READ_DONE;
        }
    }
}

static enum read_end read_body(struct message *m, struct peer *p, bool check) {
    if (m->chunked) {
        return read_chunked(m, p, check);
    }
    if (m->until_close) {
        take_body(m, p, p->rx_len, check);
        return p->eof ? READ_DONE : READ_MORE;
    }
    size_t n = p->rx_len < m->length ? p->rx_len : (size_t)m->length;
    take_body(m, p, n, check);
    m->length -= n;
    return m->length == 0 ? READ_DONE : READ_MORE;
}

/* --- The origin --------------------------------------------------------------------------- */

struct origin {
    struct message m;
    bool dead;
};

static void origin_answer(struct peer *p, uint32_t id) {
    const struct asked *a = &asked[id];
    char head[256];
    if (a->interim) {
        peer_send_text(p, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    }
    const char *status = a->mode == 'n' ? "204 No Content" : "200 OK";
    snprintf(head, sizeof head, "HTTP/1.1 %s\r\nX-Id: %u\r\n", status, id);
    peer_send_text(p, head);
    if (a->mode == 'l') {
        snprintf(head, sizeof head, "Content-Length: %u\r\n\r\n", a->down_len);
        peer_send_text(p, head);
        send_pattern(p, id, 0, a->down_len);
    } else if (a->mode == 'c') {
        peer_send_text(p, "Transfer-Encoding: chunked\r\n\r\n");
        send_chunked(p, id, a->down_len);
    } else if (a->mode == 'x') {
        peer_send_text(p, "Connection: close\r\n\r\n");
        send_pattern(p, id, 0, a->down_len);
        peer_fin(p);
    } else {
        peer_send_text(p, "\r\n");
    }
}

static bool origin_begin(struct origin *o) {
    const char *id = field_of(&o->m, "x-ask");
    o->m.until_close = false;   /* a request without length has no body */
    if (id == NULL || strtoul(id, NULL, 10) >= asked_count) {
        wrong("the origin got a request that nobody sent", 0);
        return false;
    }
    o->m.id = (uint32_t)strtoul(id, NULL, 10);
    struct asked *a = &asked[o->m.id];
    a->seen++;
    if (a->post ? a->seen > 1 : a->seen > 2) {
        wrong("a request was repeated that may not be", o->m.id);
    }
    if ((strncmp(o->m.head, "POST ", 5) == 0) != a->post) {
        wrong("the origin got another method", o->m.id);
    }
    return true;
}

static void origin_changed(struct peer *p) {
    struct origin *o = p->user;
    while (!o->dead && !p->reset) {
        if (!o->m.has_head) {
            enum read_end end = read_head(&o->m, p);
            if (end == READ_MORE) {
                break;
            }
            if (end == READ_BAD || !origin_begin(o)) {
                wrong("the origin got a malformed head", 0);
                o->dead = true;
                break;
            }
        }
        enum read_end end = read_body(&o->m, p, true);
        if (end == READ_MORE) {
            break;
        }
        if (end == READ_BAD || o->m.body_len != asked[o->m.id].up_len) {
            wrong("the origin got a wrong body", o->m.id);
        }
        origin_answer(p, o->m.id);
        o->dead = asked[o->m.id].mode == 'x';
        o->m.has_head = false;
    }
    if (p->eof && !p->reset && p->state == PEER_OPEN) {
        peer_fin(p);
    }
}

static struct origin origins[4096];
static uint32_t origin_count;

static void origin_accepted(struct peer *p) {
    ensure(origin_count < 4096);
    struct origin *o = &origins[origin_count++];
    *o = (struct origin){0};
    p->user = o;
    p->changed = origin_changed;
    origin_changed(p);
}

/* --- The client --------------------------------------------------------------------------- */

struct client {
    struct peer *peer;
    struct message m;
    uint32_t first, count, sent, answered;
    uint32_t good, pages;      /* answers 200 or 204, and gyre's own */
    uint32_t window;           /* requests on their way at once */
    bool over, closing, vanishes;
};
static struct client clients[64];
static uint32_t client_count;

static void client_ask(struct client *c) {
    uint32_t id = c->first + c->sent++;
    const struct asked *a = &asked[id];
    char head[300];
    char length[64] = "";
    if (a->chunked_up) {
        snprintf(length, sizeof length, "Transfer-Encoding: chunked\r\n");
    } else if (a->post) {
        snprintf(length, sizeof length, "Content-Length: %u\r\n", a->up_len);
    }
    snprintf(head, sizeof head, "%s /r/%u HTTP/1.1\r\nHost: sim\r\nX-Ask: %u\r\n%s\r\n",
             a->post ? "POST" : "GET", id, id, length);
    peer_send_text(c->peer, head);
    if (a->chunked_up) {
        send_chunked(c->peer, id, a->up_len);
    } else if (a->post) {
        send_pattern(c->peer, id, 0, a->up_len);
    }
}

static void client_over(struct client *c) {
    if (!c->over) {
        c->over = true;
        if (c->peer->state == PEER_OPEN) {
            peer_close(c->peer);
        }
    }
}

/* One response has been read to its end. */
static void client_got(struct client *c, uint32_t status) {
    const struct asked *a = &asked[c->m.id];
    if (status == 200 || status == 204) {
        const char *id = field_of(&c->m, "x-id");
        uint32_t want = a->mode == 'n' ? 0 : a->down_len;
        if (id == NULL || strtoul(id, NULL, 10) != c->m.id) {
            wrong("a response went to another request", c->m.id);
        }
        if (c->m.body_len != want) {
            wrong("a response is short and looks whole", c->m.id);
        }
        c->good++;
    } else if (status >= 400 && status < 600) {
        c->pages++;
    } else {
        wrong("a status that nobody sent", c->m.id);
    }
    const char *connection = field_of(&c->m, "connection");
    c->closing = connection != NULL && strcmp(connection, "close") == 0;
    c->answered++;
    c->m.has_head = false;
}

static bool client_read(struct client *c) {
    struct peer *p = c->peer;
    if (!c->m.has_head) {
        enum read_end end = read_head(&c->m, p);
        if (end == READ_MORE) {
            return false;
        }
        if (end == READ_BAD) {
            wrong("a response has a malformed head", c->first + c->answered);
            return false;
        }
        c->m.id = c->first + c->answered;
        if (c->answered >= c->sent) {
            wrong("a response came that nobody asked for", c->m.id);
            return false;
        }
    }
    uint32_t status = (uint32_t)strtoul(c->m.head + 9, NULL, 10);
    if (status < 200) {
        c->m.has_head = false;
        return true;
    }
    if (status == 204) {
        c->m.until_close = c->m.chunked = false;
        c->m.length = 0;
    }
    if (read_body(&c->m, p, status == 200) == READ_MORE) {
        return false;
    }
    client_got(c, status);
    return true;
}

static void client_changed(struct peer *p) {
    struct client *c = p->user;
    if (c->over) {
        return;
    }
    while (broken == NULL && client_read(c)) {
    }
    bool gone = p->state == PEER_REFUSED || p->reset || p->eof;
    if (gone || c->answered == c->count || (c->vanishes && c->answered > 0) || broken != NULL) {
        client_over(c);
        return;
    }
    while (p->state == PEER_OPEN && !c->closing && c->sent < c->count &&
           c->sent - c->answered < c->window) {
        client_ask(c);
    }
}

/* --- A run -------------------------------------------------------------------------------- */

static const char ini[] = "[global]\nworkers = 2\ndrain_timeout = 5s\n"
                          "[listener web]\nbind = 127.0.0.1:80\nbackend = app\n"
                          "head_timeout = 60s\nbody_timeout = 60s\nsend_timeout = 60s\n"
                          "[backend app]\nserver = 127.0.0.1:8001\nserver = 127.0.0.1:8002\n"
                          "server = unix:/run/app.sock\nkeepalive = 4\n"
                          "response_timeout = 60s\nstall_timeout = 60s\n";

static void start(struct lab *lab) {
    char text[1024];
    snprintf(text, sizeof text, "%s%s", ini, SPLICES ? "mode = async\n" : "");
    assert_true(lab_start(lab, true, text, NULL));
    for (uint32_t i = 0; SPLICES && i < lab->plan->worker_count; i++) {
        lab->workers[i].exchanges.splice_min = 1;
    }
}

/* Long bodies on good ground only, where a run of them is short. */
static void ask_one(struct sim *sim, bool clean) {
    static const char modes[] = "llccxn";
    struct asked *a = &asked[asked_count++];
    *a = (struct asked){.post = sim_draw(sim, 3) == 0, .interim = sim_draw(sim, 6) == 0};
    a->mode = modes[sim_draw(sim, sizeof modes - 1)];
    static const uint32_t scales[] = {3000, 3000, 3000, 3000, 3000, 3000, 300000, 2000000};
    uint32_t scale = scales[sim_draw(sim, clean ? 8 : 7)];
    a->down_len = (uint32_t)sim_draw(sim, scale);
    a->up_len = a->post ? (uint32_t)sim_draw(sim, scale) : 0;
    a->chunked_up = a->post && sim_draw(sim, 2) == 0;
}

static void client_start(struct sim *sim, bool clean) {
    struct client *c = &clients[client_count++];
    *c = (struct client){.first = asked_count, .count = 1 + (uint32_t)sim_draw(sim, 8),
                         .window = 1 + (uint32_t)sim_draw(sim, 3)};
    c->vanishes = !clean && sim_draw(sim, 8) == 0;
    for (uint32_t i = 0; i < c->count; i++) {
        ask_one(sim, clean);
    }
    struct addr to;
    const char *why;
    ensure(addr_parse(&to, STR("127.0.0.1:80"), &why));
    c->peer = peer_dial(&to, NULL);
    c->peer->user = c;
    c->peer->changed = client_changed;
    client_changed(c->peer);
}

static bool all_over(void *arg) {
    (void)arg;
    bool over = true;
    for (uint32_t i = 0; i < client_count; i++) {
        over = over && clients[i].over;
    }
    return over || broken != NULL;
}

static void origins_listen(void) {
    static const char *at[] = {"127.0.0.1:8001", "127.0.0.1:8002", "unix:/run/app.sock"};
    for (unsigned i = 0; i < 3; i++) {
        struct addr addr;
        const char *why;
        ensure(addr_parse(&addr, str_of(at[i]), &why));
        struct peer_listener *listener = peer_listen(&addr, 16);
        ensure(listener != NULL);
        listener->accepted = origin_accepted;
    }
}

struct tally {
    uint64_t good, pages, unanswered, spliced, hash;
};

static void run_seed(uint64_t seed, bool clean, struct tally *tally) {
    struct sim_params params = clean ? sim_params_clean() : sim_params_rough(seed);
    if (clean) {
        params.pipe_max = 65536u << seed % 5;
        if (seed % 2 == 0) {   /* what a network may do and nobody must notice */
            params.chance[SIM_SHORT_SEND] = params.chance[SIM_SHORT_RECV] = 2000;
            params.chance[SIM_LATE] = params.chance[SIM_SLOW_PEER] = 500;
        }
    }
    struct sim *sim = sim_new(seed, &params);
    asked_count = client_count = origin_count = 0;
    broken = NULL;
    struct lab lab;
    memset(sim_params(sim)->chance, 0, sizeof params.chance);   /* gyre starts on good ground */
    start(&lab);
    memcpy(sim_params(sim)->chance, params.chance, sizeof params.chance);
    origins_listen();
    uint32_t count = 2 + (uint32_t)sim_draw(sim, 12);
    for (uint32_t i = 0; i < count; i++) {
        client_start(sim, clean);
    }
    enum peers_end end = sim_run_until(sim, all_over, NULL, 20 * 60 * 1000);
    if (end != PEERS_MET || broken != NULL) {
        fail_msg("seed %llu: %s (id %u); again with SIM_SEED=%llu SIM_TRACE=1",
                 (unsigned long long)seed, broken != NULL ? broken : end == PEERS_STUCK ? "a deadlock" : "too slow", broken_id,
                 (unsigned long long)seed);
    }
    tally->spliced += lab_stat(&lab, STAT_SPLICED_BYTES);
    if (!lab_stop(&lab, 60 * 1000)) {
        fail_msg("seed %llu: does not drain", (unsigned long long)seed);
    }
    for (uint32_t i = 0; i < client_count; i++) {
        tally->good += clients[i].good;
        tally->pages += clients[i].pages;
        tally->unanswered += clients[i].count - clients[i].good - clients[i].pages;
    }
    tally->hash = sim_trace_hash(sim);
    char leaks[128];
    if (sim_leaks(sim, leaks, sizeof leaks) != 0) {
        fail_msg("seed %llu leaks %s", (unsigned long long)seed, leaks);
    }
    sim_free(sim);
}

static uint64_t seeds_wanted(uint64_t otherwise) {
    const char *seeds = getenv("SIM_SEEDS");
    return seeds != NULL ? strtoull(seeds, NULL, 10) : otherwise;
}

static void with_faults(void **state) {
    (void)state;
    struct tally tally = {0};
    const char *one = getenv("SIM_SEED");
    if (one != NULL) {
        run_seed(strtoull(one, NULL, 10), false, &tally);
        return;
    }
    uint64_t seeds = seeds_wanted(1000);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        run_seed(seed, false, &tally);
    }
    printf("%llu seeds with faults: %llu answered, %llu pages, %llu with a visible end\n",
           (unsigned long long)seeds, (unsigned long long)tally.good,
           (unsigned long long)tally.pages, (unsigned long long)tally.unanswered);
    assert_true(!SPLICES || tally.spliced > 0);
    assert_true(tally.good > tally.unanswered);   /* the faults have left something to test */
}

static void without_faults(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= CLEAN_SEEDS; seed++) {
        struct tally tally = {0};
        run_seed(seed, true, &tally);
        if (tally.pages + tally.unanswered != 0) {
            fail_msg("seed %llu: %llu pages, %llu unanswered, with nothing wrong",
                     (unsigned long long)seed, (unsigned long long)tally.pages,
                     (unsigned long long)tally.unanswered);
        }
    }
}

static struct sim *toggled;

static void toggle(void *arg) {
    struct client *c = arg;
    if (!c->over) {
        peer_pause(c->peer, sim_draw(toggled, 3) != 0);
        sim_after(toggled, sim_draw(toggled, 4), toggle, c);
    }
}

/* A reader that reads in bursts: whatever lies in which queue when it stands still, the rest
 * follows when it reads on, and not at a timeout. */
static void bursty_reader(void **state) {
    (void)state;
    for (uint32_t len = 150000; len < 900000; len += 3571) {
        struct sim_params params = sim_params_clean();
        params.pipe_min = params.pipe_max = 16384u << len % 4;
        struct sim *sim = toggled = sim_new(len, &params);
        asked_count = client_count = origin_count = 0;
        broken = NULL;
        struct lab lab;
        start(&lab);
        origins_listen();
        client_start(sim, true);
        clients[0].count = asked_count = 1;
        asked[0] = (struct asked){.down_len = len, .mode = len % 2 == 0 ? 'c' : 'l'};
        toggle(&clients[0]);
        if (sim_run_until(sim, all_over, NULL, 20 * 1000) != PEERS_MET || clients[0].good != 1) {
            fail_msg("%u bytes: %s", len, broken != NULL ? broken : "the rest does not come");
        }
        assert_true(lab_stop(&lab, 60 * 1000));
        sim_free(sim);
    }
}

static void replays_exactly(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct tally first = {0}, second = {0};
        run_seed(seed, false, &first);
        run_seed(seed, false, &second);
        assert_int_equal(first.hash, second.hash);
        assert_int_equal(first.good, second.good);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_faults),
        cmocka_unit_test(bursty_reader),
        cmocka_unit_test(with_faults),
        cmocka_unit_test(replays_exactly),
    };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
