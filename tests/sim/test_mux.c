/* The exchange over a multiplexed codec, on the simulated ring: many streams of one connection at
 * once, interleaved in tiny frames, with windows of their own, cancelled at any time. What HTTP/2
 * will ask of the exchange is asked here.
 *
 * SIM_SEED=n runs one seed with faults, SIM_SEEDS=n that many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "mux_codec.h"
#include "script/lab.h"
#include "sim/sim.h"

#define CALLS_MAX 512u
#define CLIENTS_MAX 8u

static const char *broken;      /* what an oracle found wrong */
static uint32_t broken_id;

static void wrong(const char *what, uint32_t id) {
    if (broken == NULL) {
        broken = what;
        broken_id = id;
    }
}

static uint8_t pattern(uint32_t id, uint32_t i) {
    return (uint8_t)(id * 131u + i * 7u + (i >> 8));
}

/* --- What is asked, as both ends know it ------------------------------------------------- */

enum call_end { CALL_RUNS, CALL_GOOD, CALL_PAGE, CALL_RESET, CALL_CANCELLED };

struct call {
    bool post, sized, interim, trailers;
    char mode;                  /* of the response: l(ength), c(hunked), x (until close), n (204) */
    uint32_t up_len, down_len;
    uint32_t cancel_at;         /* bytes of response after which the client has enough */
    bool stalled;               /* the client gives no credit */
    uint32_t seen;              /* times that an origin read its head */
    /* The client's. */
    uint32_t sent, got, credit, status;
    bool end_sent, got_interim, got_trailer;
    enum call_end end;
};
static struct call calls[CALLS_MAX];
static uint32_t call_count;

/* --- The client -------------------------------------------------------------------------- */

struct client {
    struct peer *peer;
    uint32_t first, count, opened, window;   /* calls; at once */
    uint16_t last;                           /* stream of the last frame of data */
    uint32_t switches;                       /* times that another stream came next */
};
static struct client clients[CLIENTS_MAX];
static uint32_t client_count;

static void frame_send(struct client *c, enum mux_type type, uint32_t id, const void *payload,
                       uint32_t len) {
    uint8_t header[MUX_HEADER] = {(uint8_t)type, (uint8_t)(id >> 8), (uint8_t)id,
                                  (uint8_t)(len >> 8), (uint8_t)len};
    peer_send(c->peer, header, sizeof header);
    peer_send(c->peer, payload, len);
}

static void call_open(struct client *c, uint32_t id) {
    struct call *a = &calls[id];
    char text[200];
    struct text head = text_on(text, sizeof text);
    text_fmt(&head, "%s /r/%u\nx-ask: %u\n", a->post ? "POST" : "GET", id, id);
    if (a->post && a->sized) {
        text_fmt(&head, "content-length: %u\n", a->up_len);
    }
    a->credit = MUX_WINDOW;
    a->end_sent = !a->post;
    frame_send(c, a->post ? MUX_HEAD : MUX_HEAD_END, id, text, head.len);
}

static void call_cancel(struct client *c, uint32_t id) {
    frame_send(c, MUX_RESET, id, NULL, 0);
    calls[id].end = CALL_CANCELLED;
}

/* One frame of the request's body, or its end. */
static bool call_send(struct client *c, uint32_t id) {
    struct call *a = &calls[id];
    if (a->end != CALL_RUNS || a->end_sent) {
        return false;
    }
    if (a->sent == a->up_len) {
        const char *trailer = a->trailers && !a->sized ? "x-sum: 7\n" : "";
        frame_send(c, MUX_END, id, trailer, (uint32_t)strlen(trailer));
        a->end_sent = true;
        return true;
    }
    uint8_t bytes[MUX_DATA_MAX];
    uint32_t n = a->up_len - a->sent, most = 1 + (id * 13 + a->sent) % MUX_DATA_MAX;
    n = n < most ? n : most;
    n = n < a->credit ? n : a->credit;
    for (uint32_t i = 0; i < n; i++) {
        bytes[i] = pattern(id, a->sent + i);
    }
    if (n > 0) {
        frame_send(c, MUX_DATA, id, bytes, n);
        a->sent += n;
        a->credit -= n;
    }
    return n > 0;
}

static void call_over(uint32_t id) {
    struct call *a = &calls[id];
    if (a->status == 200 || a->status == 204) {
        uint32_t want = a->mode == 'n' ? 0 : a->down_len;
        if (a->got != want) {
            wrong("a response is short and looks whole", id);
        }
        if (a->interim && !a->got_interim) {
            wrong("an interim response is lost", id);
        }
        if (a->trailers && a->mode == 'c' && !a->got_trailer) {
            wrong("a trailer is lost", id);
        }
        a->end = CALL_GOOD;
    } else {
        a->end = CALL_PAGE;
    }
}

static void call_got_data(struct client *c, uint32_t id, const uint8_t *p, uint32_t len) {
    struct call *a = &calls[id];
    for (uint32_t i = 0; a->status == 200 && i < len; i++) {
        if (p[i] != pattern(id, a->got + i)) {
            wrong("a response's bytes are not its own", id);
            return;
        }
    }
    a->got += len;
    c->switches += c->last != id;
    c->last = (uint16_t)id;
    if (!a->stalled) {
        uint8_t credit[2] = {(uint8_t)(len >> 8), (uint8_t)len};
        frame_send(c, MUX_CREDIT, id, credit, sizeof credit);
    }
    if (a->got >= a->cancel_at) {
        call_cancel(c, id);
    }
}

static void call_got_head(uint32_t id, const uint8_t *p, uint32_t len) {
    char text[MUX_HEAD_MAX + 1], own[32];
    memcpy(text, p, len);
    text[len] = '\0';
    uint32_t status = (uint32_t)strtoul(text, NULL, 10);
    if (status < 200) {
        calls[id].got_interim = true;
        return;
    }
    calls[id].status = status;
    snprintf(own, sizeof own, "X-Id: %u\n", id);
    if ((status == 200 || status == 204) && strstr(text, own) == NULL) {
        wrong("a response went to another request", id);
    }
}

static void client_frame(struct client *c, uint8_t type, uint32_t id, const uint8_t *p,
                         uint32_t len) {
    if (id < c->first || id >= c->first + c->opened) {
        wrong("a frame of a stream that is not this client's", id);
        return;
    }
    struct call *a = &calls[id];
    if (a->end != CALL_RUNS) {
        return;   /* it was on its way */
    }
    if (type == MUX_HEAD || type == MUX_HEAD_END) {
        call_got_head(id, p, len);
    } else if (type == MUX_DATA) {
        call_got_data(c, id, p, len);
    } else if (type == MUX_CREDIT) {
        a->credit += (uint32_t)(p[0] << 8 | p[1]);
    } else if (type == MUX_RESET) {
        a->end = CALL_RESET;
    }
    if (type == MUX_END) {
        a->got_trailer = len > 0;
    }
    if ((type == MUX_END || type == MUX_HEAD_END) && a->end == CALL_RUNS) {
        call_over(id);
    }
}

static uint32_t client_running(const struct client *c) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->opened; i++) {
        n += calls[c->first + i].end == CALL_RUNS;
    }
    return n;
}

static void client_write(struct client *c) {
    while (c->opened < c->count && client_running(c) < c->window) {
        uint32_t id = c->first + c->opened++;
        call_open(c, id);
        if (calls[id].cancel_at == 0) {
            call_cancel(c, id);
        }
    }
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < c->opened; i++) {
            more |= call_send(c, c->first + i);
        }
    }
}

static void client_changed(struct peer *p) {
    struct client *c = p->user;
    uint32_t len;
    while (p->rx_len >= MUX_HEADER &&
           p->rx_len >= MUX_HEADER + (len = (uint32_t)(p->rx[3] << 8 | p->rx[4]))) {
        client_frame(c, p->rx[0], (uint32_t)(p->rx[1] << 8 | p->rx[2]), p->rx + MUX_HEADER, len);
        peer_drop(p, MUX_HEADER + len);
    }
    if (p->eof || p->reset || p->state == PEER_REFUSED) {
        c->opened = c->count;
        for (uint32_t i = 0; i < c->count; i++) {
            struct call *a = &calls[c->first + i];
            a->end = a->end == CALL_RUNS ? CALL_RESET : a->end;
        }
    } else if (p->state == PEER_OPEN) {
        client_write(c);
    }
}

/* --- The origin: HTTP/1.1 ---------------------------------------------------------------- */

struct origin {
    bool in_body, chunked, in_chunk, last, dead, silent;
    uint32_t id, got;
    uint64_t left;
};
static struct origin origins[4096];
static uint32_t origin_count;
static bool origins_silent;     /* they read no body and answer nothing */

static void send_pattern(struct peer *p, uint32_t id, uint32_t from, uint32_t len) {
    uint8_t *bytes = mem_alloc(len);
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = pattern(id, from + i);
    }
    peer_send(p, bytes, len);
    mem_free(bytes);
}

static void send_chunks(struct peer *p, uint32_t id) {
    const struct call *a = &calls[id];
    char line[32];
    for (uint32_t at = 0, n; at < a->down_len; at += n) {
        n = 1 + (id * 977u + at * 13u) % 900u;
        n = n < a->down_len - at ? n : a->down_len - at;
        snprintf(line, sizeof line, "%x\r\n", n);
        peer_send_text(p, line);
        send_pattern(p, id, at, n);
        peer_send_text(p, "\r\n");
    }
    peer_send_text(p, a->trailers ? "0\r\nX-Sum: 8\r\n\r\n" : "0\r\n\r\n");
}

static void origin_answer(struct peer *p, struct origin *o) {
    const struct call *a = &calls[o->id];
    char head[200];
    if (a->interim) {
        peer_send_text(p, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    }
    snprintf(head, sizeof head, "HTTP/1.1 %s\r\nX-Id: %u\r\n",
             a->mode == 'n' ? "204 No Content" : "200 OK", o->id);
    peer_send_text(p, head);
    if (a->mode == 'l') {
        snprintf(head, sizeof head, "Content-Length: %u\r\n\r\n", a->down_len);
        peer_send_text(p, head);
        send_pattern(p, o->id, 0, a->down_len);
    } else if (a->mode == 'c') {
        peer_send_text(p, "Transfer-Encoding: chunked\r\n\r\n");
        send_chunks(p, o->id);
    } else if (a->mode == 'x') {
        peer_send_text(p, "Connection: close\r\n\r\n");
        send_pattern(p, o->id, 0, a->down_len);
        peer_fin(p);
        o->dead = true;
    } else {
        peer_send_text(p, "\r\n");
    }
}

static const char *field_at(char *head, const char *name) {
    char *at = strcasestr(head, name);
    return at != NULL ? at + strlen(name) : NULL;
}

/* False when it is not all here. */
static bool origin_head(struct peer *p, struct origin *o) {
    char head[2048];
    const uint8_t *end = p->rx_len > 0 ? memmem(p->rx, p->rx_len, "\r\n\r\n", 4) : NULL;
    size_t len = end != NULL ? (size_t)(end - p->rx) + 4 : 0;
    if (len == 0 || len >= sizeof head) {
        return false;
    }
    memcpy(head, p->rx, len);
    head[len] = '\0';
    peer_drop(p, len);
    const char *id = field_at(head, "\r\nx-ask: ");
    const char *length = field_at(head, "\r\ncontent-length: ");
    *o = (struct origin){.in_body = true, .silent = o->silent,
                         .chunked = field_at(head, "\r\ntransfer-encoding: ") != NULL};
    o->id = id != NULL ? (uint32_t)strtoul(id, NULL, 10) : CALLS_MAX;
    if (o->id >= call_count || field_at(head, "\r\nhost: mux\r\n") == NULL) {
        wrong("the origin got a request that nobody sent", o->id);
        return false;
    }
    o->left = length != NULL ? strtoull(length, NULL, 10) : 0;
    if (++calls[o->id].seen > (calls[o->id].post ? 1 : 2)) {
        wrong("a request was repeated that may not be", o->id);
    }
    return true;
}

static bool origin_chunk_line(struct peer *p, struct origin *o) {
    const uint8_t *eol = p->rx_len > 0 ? memmem(p->rx, p->rx_len, "\r\n", 2) : NULL;
    if (eol == NULL) {
        return false;
    }
    size_t len = (size_t)(eol - p->rx) + 2;
    if (!o->last) {
        o->left = strtoull((char *)p->rx, NULL, 16);
        o->last = o->left == 0;
        o->in_chunk = !o->last;
    } else if (len == 2) {
        o->in_body = false;   /* the empty line behind the trailers */
    }
    peer_drop(p, len);
    return true;
}

static void origin_bytes(struct peer *p, struct origin *o) {
    uint64_t n = p->rx_len < o->left ? p->rx_len : o->left;
    for (uint64_t i = 0; i < n; i++) {
        if (p->rx[i] != pattern(o->id, o->got + (uint32_t)i)) {
            wrong("a request's bytes are not its own", o->id);
            break;
        }
    }
    o->got += (uint32_t)n;
    o->left -= n;
    peer_drop(p, (size_t)n);
}

/* True when it got on. */
static bool origin_body(struct peer *p, struct origin *o) {
    if (!o->chunked) {
        origin_bytes(p, o);
        o->in_body = o->left > 0;
        return !o->in_body;
    }
    if (!o->in_chunk) {
        return origin_chunk_line(p, o);
    }
    origin_bytes(p, o);
    if (o->left > 0 || p->rx_len < 2) {
        return false;
    }
    peer_drop(p, 2);
    o->in_chunk = false;
    return true;
}

static void origin_changed(struct peer *p) {
    struct origin *o = p->user;
    bool more = !p->reset && !o->silent;
    while (more && !o->dead && broken == NULL) {
        if (!o->in_body) {
            more = origin_head(p, o);
        } else {
            more = origin_body(p, o);
        }
        if (more && !o->in_body) {
            if (o->got != calls[o->id].up_len) {
                wrong("the origin got a wrong body", o->id);
            }
            origin_answer(p, o);
        }
    }
    if (p->eof && p->state == PEER_OPEN && !p->reset) {
        peer_fin(p);
    }
}

static void origin_accepted(struct peer *p) {
    ensure(origin_count < 4096);
    struct origin *o = &origins[origin_count++];
    *o = (struct origin){.silent = origins_silent};
    p->user = o;
    p->changed = origin_changed;
    if (o->silent) {
        peer_pause(p, true);
    }
    origin_changed(p);
}

/* --- A gyre with a door for the codec ---------------------------------------------------- */

static const char ini[] = "[global]\nworkers = 1\ndrain_timeout = 5s\n"
                          "[listener web]\nbind = 127.0.0.1:80\nbackend = app\n"
                          "head_timeout = 60s\nbody_timeout = 60s\nsend_timeout = 60s\n"
                          "[backend app]\nserver = 127.0.0.1:8001\nserver = 127.0.0.1:8002\n"
                          "keepalive = 4\nresponse_timeout = 60s\nstall_timeout = 60s\n";

struct stage {
    struct sim *sim;
    struct lab lab;
    struct pool sessions, streams;
    struct http_limits limits;
    struct listener *listener;
    struct task task;
    struct post open, shut;
    struct addr at;
    int fd;
};

static void stage_accept(struct task *task) {
    struct stage *stage = container_of(task, struct stage, task);
    struct worker *w = &stage->lab.workers[0];
    for (int fd; (fd = listener_take(stage->listener)) >= 0;) {
        struct down_params params = {
            .wire = {.fd = fd, .limits = &stage->limits.wire, .limit = &w->plan->limits[0]},
            .limits = &stage->limits, .inbox = &w->exchanges.inbox, .local_port = 81,
            .listener = &w->plan->sites[0]};
        (void)sys_peer(fd, &params.client);
        mux_down_new(&w->http, &params, &stage->sessions, &stage->streams);
    }
}

static void stage_open(struct post *post) {
    struct stage *stage = container_of(post, struct stage, open);
    struct worker *w = &stage->lab.workers[0];
    stage->listener = listener_new(&w->net, stage->fd, &w->plan->limits[0], &stage->task);
}

static void stage_shut(struct post *post) {
    struct stage *stage = container_of(post, struct stage, shut);
    listener_shut(stage->listener);
    task_cancel(stage->lab.workers[0].ring, &stage->task);
    stage->listener = NULL;
}

static bool listener_is_open(void *arg) {
    return ((struct stage *)arg)->listener != NULL;
}

static bool listener_is_shut(void *arg) {
    return ((struct stage *)arg)->listener == NULL;
}

static void addr_read(struct addr *addr, const char *text) {
    const char *why;
    ensure(addr_parse(addr, str_of(text), &why));
}

static void stage_begin(struct stage *stage, uint64_t seed, const struct sim_params *params) {
    memset(stage, 0, sizeof *stage);
    stage->sim = sim_new(seed, params);
    struct sim_params *now = sim_params(stage->sim);
    memset(now->chance, 0, sizeof now->chance);   /* gyre starts on good ground */
    call_count = client_count = origin_count = 0;
    memset(calls, 0, sizeof calls);
    broken = NULL;
    origins_silent = false;
    assert_true(lab_start(&stage->lab, true, ini, NULL));
    mux_pools_init(&stage->sessions, &stage->streams);
    stage->limits = stage->lab.plan->sites[0].limits;
    stage->limits.rx_mark = MUX_WINDOW;
    stage->limits.tx_mark = 2000;
    stage->limits.wire.tx_mark = 3000;
    addr_read(&stage->at, "127.0.0.1:81");
    stage->fd = sys_listen(&stage->at, false, 64);
    task_init(&stage->task, stage_accept);
    stage->open.run = stage_open;
    ring_post(stage->lab.workers[0].ring, &stage->open);
    assert_int_equal(sim_run_until(stage->sim, listener_is_open, stage, 1000), PEERS_MET);
    for (int i = 0; i < 2; i++) {
        struct addr addr;
        addr_read(&addr, i == 0 ? "127.0.0.1:8001" : "127.0.0.1:8002");
        peer_listen(&addr, 64)->accepted = origin_accepted;
    }
    memcpy(now->chance, params->chance, sizeof now->chance);
}

static void stage_end(struct stage *stage, uint64_t seed) {
    stage->shut.run = stage_shut;
    ring_post(stage->lab.workers[0].ring, &stage->shut);
    assert_int_equal(sim_run_until(stage->sim, listener_is_shut, stage, 60000), PEERS_MET);
    if (!lab_stop(&stage->lab, 60000)) {
        fail_msg("seed %llu: does not drain", (unsigned long long)seed);
    }
    pool_fini(&stage->sessions);
    pool_fini(&stage->streams);
    (void)sys_close(stage->fd);
    char leaks[128];
    if (sim_leaks(stage->sim, leaks, sizeof leaks) != 0) {
        fail_msg("seed %llu leaks %s", (unsigned long long)seed, leaks);
    }
    sim_free(stage->sim);
}

static struct client *client_start(struct stage *stage, uint32_t first, uint32_t window) {
    struct client *c = &clients[client_count++];
    *c = (struct client){.first = first, .count = call_count - first, .window = window};
    c->peer = peer_dial(&stage->at, NULL);
    c->peer->user = c;
    c->peer->changed = client_changed;
    return c;
}

static bool all_over(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < client_count; i++) {
        if (clients[i].opened < clients[i].count || client_running(&clients[i]) > 0) {
            return broken != NULL;
        }
    }
    return true;
}

static void must_end(struct stage *stage, uint64_t seed, bool (*cond)(void *), void *arg) {
    enum peers_end end = sim_run_until(stage->sim, cond, arg, 20 * 60 * 1000);
    if (end != PEERS_MET || broken != NULL) {
        fail_msg("seed %llu: %s (stream %u); again with SIM_SEED=%llu SIM_TRACE=1",
                 (unsigned long long)seed, broken != NULL ? broken : "somebody hangs", broken_id,
                 (unsigned long long)seed);
    }
}

/* --- Many streams, by seeds -------------------------------------------------------------- */

struct tally {
    uint64_t ends[CALL_CANCELLED + 1], switches;
    uint32_t streams_peak;
};

static void call_draw(struct sim *sim) {
    static const char modes[] = "llccxn";
    struct call *a = &calls[call_count++];
    *a = (struct call){.post = sim_draw(sim, 3) == 0, .sized = sim_draw(sim, 2) == 0,
                       .interim = sim_draw(sim, 6) == 0, .trailers = sim_draw(sim, 4) == 0,
                       .mode = modes[sim_draw(sim, sizeof modes - 1)], .cancel_at = UINT32_MAX};
    a->down_len = (uint32_t)sim_draw(sim, sim_draw(sim, 6) == 0 ? 20000 : 1500);
    a->up_len = a->post ? (uint32_t)sim_draw(sim, sim_draw(sim, 6) == 0 ? 20000 : 1500) : 0;
    if (sim_draw(sim, 8) == 0) {
        a->cancel_at = (uint32_t)sim_draw(sim, a->down_len + 1);
    }
}

static void run_seed(uint64_t seed, bool clean, struct tally *tally) {
    static struct stage stage;
    struct sim_params params = clean ? sim_params_clean() : sim_params_rough(seed);
    stage_begin(&stage, seed, &params);
    uint32_t count = 1 + (uint32_t)sim_draw(stage.sim, 4);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = call_count, n = 1 + (uint32_t)sim_draw(stage.sim, 50);
        for (uint32_t k = 0; k < n; k++) {
            call_draw(stage.sim);
        }
        client_start(&stage, first, 1 + (uint32_t)sim_draw(stage.sim, 40));
    }
    must_end(&stage, seed, all_over, NULL);
    for (uint32_t i = 0; i < call_count; i++) {
        tally->ends[calls[i].end]++;
    }
    for (uint32_t i = 0; i < client_count; i++) {
        tally->switches += clients[i].switches;
        peer_close(clients[i].peer);
    }
    uint32_t peak = stage.streams.live_peak;
    tally->streams_peak = peak > tally->streams_peak ? peak : tally->streams_peak;
    stage_end(&stage, seed);
}

static void many_streams(void **state) {
    (void)state;
    struct tally tally = {0};
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run_seed(seed, true, &tally);
    }
    assert_int_equal(tally.ends[CALL_PAGE] + tally.ends[CALL_RESET], 0);
    assert_true(tally.ends[CALL_GOOD] > 1000 && tally.ends[CALL_CANCELLED] > 100);
    assert_true(tally.streams_peak > 50);
    assert_true(tally.switches > 10000);   /* frames of many streams stood between each other */
}

static void many_streams_with_faults(void **state) {
    (void)state;
    struct tally tally = {0};
    const char *one = getenv("SIM_SEED"), *some = getenv("SIM_SEEDS");
    if (one != NULL) {
        run_seed(strtoull(one, NULL, 10), false, &tally);
        return;
    }
    uint64_t seeds = some != NULL ? strtoull(some, NULL, 10) : 200;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        run_seed(seed, false, &tally);
    }
    assert_true(tally.ends[CALL_GOOD] > tally.ends[CALL_RESET]);
}

/* --- One thing at a time ----------------------------------------------------------------- */

static struct call *call_add(bool post, uint32_t up_len, uint32_t down_len) {
    struct call *a = &calls[call_count++];
    *a = (struct call){.post = post, .sized = true, .mode = 'l', .up_len = up_len,
                       .down_len = down_len, .cancel_at = UINT32_MAX};
    return a;
}

static bool but_first_over(void *arg) {
    struct client *c = arg;
    return c->opened == c->count && client_running(c) <= 1 && calls[c->first].end == CALL_RUNS;
}

static bool server_is_free(void *arg) {
    return ((struct stage *)arg)->lab.workers[0].upstream.leases == 0;
}

/* The first stream's window is used up and never opens again. */
static void stalled_stream(void **state) {
    (void)state;
    static struct stage stage;
    struct sim_params params = sim_params_clean();
    for (uint64_t seed = 1; seed <= 10; seed++) {
        stage_begin(&stage, seed, &params);
        call_add(false, 0, 2000000)->stalled = true;
        for (int i = 0; i < 30; i++) {
            call_add(i % 3 == 0, i % 3 == 0 ? 5000 : 0, 5000);
        }
        struct client *c = client_start(&stage, 0, 40);
        must_end(&stage, seed, but_first_over, c);
        assert_int_equal(calls[0].got, MUX_WINDOW);
        /* What gyre has taken of it is bounded by marks and by what its sockets hold. */
        assert_true(lab_stat(&stage.lab, STAT_RX_BYTES) < 800000);
        call_cancel(c, 0);
        must_end(&stage, seed, server_is_free, &stage);   /* the cancel lets its server go */
        peer_close(c->peer);
        stage_end(&stage, seed);
    }
}

static bool uploads_stand(void *arg) {
    struct client *c = arg;
    return c->opened == c->count && calls[0].credit == 0 && calls[1].credit == 0;
}

/* Servers that read nothing: the clients' windows close, and a cancel frees all. */
static void stalled_uploads(void **state) {
    (void)state;
    static struct stage stage;
    struct sim_params params = sim_params_clean();
    for (uint64_t seed = 1; seed <= 10; seed++) {
        stage_begin(&stage, seed, &params);
        origins_silent = true;
        call_add(true, 2000000, 10);
        call_add(true, 2000000, 10)->sized = false;
        struct client *c = client_start(&stage, 0, 40);
        must_end(&stage, seed, uploads_stand, c);
        peers_sleep(1000);
        assert_true(uploads_stand(c));
        assert_true(calls[0].sent < 400000 && calls[1].sent < 400000);
        call_cancel(c, 0);
        call_cancel(c, 1);
        must_end(&stage, seed, server_is_free, &stage);
        peer_close(c->peer);
        stage_end(&stage, seed);
    }
}

static bool all_at_origins(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < call_count; i++) {
        if (calls[i].got < 100) {
            return false;
        }
    }
    return true;
}

/* What runs is finished, what is new is refused, then the session ends. */
static void drain(void **state) {
    (void)state;
    static struct stage stage;
    struct sim_params params = sim_params_clean();
    for (uint64_t seed = 1; seed <= 10; seed++) {
        stage_begin(&stage, seed, &params);
        for (int i = 0; i < 10; i++) {
            call_add(false, 0, 20000);
        }
        struct client *c = client_start(&stage, 0, 40);
        must_end(&stage, seed, all_at_origins, NULL);
        http_drain(&stage.lab.workers[0].http);
        call_add(false, 0, 10);
        c->count++;
        client_changed(c->peer);
        must_end(&stage, seed, all_over, NULL);
        for (uint32_t i = 0; i < 10; i++) {
            assert_int_equal(calls[i].end, CALL_GOOD);
        }
        assert_int_equal(calls[10].end, CALL_RESET);
        peer_fin(c->peer);
        stage_end(&stage, seed);
    }
}

/* The connection goes while all its streams run. */
static void lost_connection(void **state) {
    (void)state;
    static struct stage stage;
    struct sim_params params = sim_params_clean();
    for (uint64_t seed = 1; seed <= 20; seed++) {
        stage_begin(&stage, seed, &params);
        for (int i = 0; i < 20; i++) {
            call_add(i % 2 == 0, i % 2 == 0 ? 3000 : 0, 20000);
        }
        struct client *c = client_start(&stage, 0, 40);
        must_end(&stage, seed, all_at_origins, NULL);
        if (seed % 2 == 0) {
            peer_reset(c->peer);
        } else {
            peer_close(c->peer);
        }
        must_end(&stage, seed, server_is_free, &stage);
        stage_end(&stage, seed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_streams),
        cmocka_unit_test(many_streams_with_faults),
        cmocka_unit_test(stalled_stream),
        cmocka_unit_test(stalled_uploads),
        cmocka_unit_test(drain),
        cmocka_unit_test(lost_connection),
    };
    return cmocka_run_group_tests_name("mux", tests, NULL, NULL);
}
