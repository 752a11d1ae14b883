/* memory_max on the simulated ring: whatever clients do to make gyre hold memory, it holds less
 * than the bound, sheds and says so, cuts nobody off, and recovers by itself once they are gone.
 *
 * In one thread the count is exact, and asked before each taking: so nothing may be held beyond the
 * bound but what malloc rounds the last piece up to. (Threads add up late, by 64 KiB each at most,
 * and two may ask before either takes. OpenSSL, which is not here, is not asked at all.)
 *
 * SIM_TEST=pattern runs those tests, SIM_SEED=n that seed alone. */
#include "base/fault.h"
#include "base/memory.h"
#include "script/overload_lab.h"

#define MIB ((uint64_t)1 << 20)
#define ROUNDED 32u            /* malloc's, of one piece */
/* What each ring keeps warm when all are gone: 16 segments for copies and 16 to receive into, of
 * this world's sizes; and what a count in steps may be late by. */
#define RECEIVE_BYTES 4096u
#define KEPT (16 * (16384 + RECEIVE_BYTES) + 65536)
#define HOLDERS_MAX 4500u
#define UPLOAD_LEN 200000u

/* One of the ways in which clients make gyre hold memory. */
struct way {
    const char *name, *backend;
    uint32_t seeds;
    uint64_t bound;                /* beyond what an idle gyre holds */
    void (*start)(uint32_t id);    /* one client more */
    void (*release)(void);         /* they want nothing more than what they are owed */
    void (*judge)(void);           /* what they got */
};

static struct {
    const struct way *way;
    uint64_t idle, peak, bound;
    enum memory_level level_most;
    uint32_t started;
} run;

/* --- Watching ----------------------------------------------------------------------------- */

static bool watch(void *arg) {
    (void)arg;
    uint64_t used = memory_used();
    run.peak = used > run.peak ? used : run.peak;
    run.level_most = memory_level() > run.level_most ? memory_level() : run.level_most;
    if (used > run.bound + ROUNDED) {
        fail_msg("%s, seed %u: %u bytes over the bound", run.way->name, (unsigned)world_seed,
                 (unsigned)(used - run.bound));
    }
    return false;
}

static bool watch_over(void *arg) {
    return watch(NULL) || clients_over(arg);
}

/* As the main thread does: each worker is asked for a sign of life now and then. */
static void watched_sleep(uint64_t ms) {
    for (uint64_t left = ms; left > 0;) {
        uint64_t now = left < 10000 ? left : 10000;
        left -= now;
        (void)peers_run(watch, NULL, now);
        for (uint32_t i = 0; now == 10000 && i < world.lab.plan->worker_count; i++) {
            worker_ping(&world.lab.workers[i]);
        }
    }
}

static uint64_t ended(enum close_reason why) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < world.lab.plan->worker_count; i++) {
        sum += stats_get_end(ring_stats(world.lab.workers[i].ring), why);
    }
    return sum;
}

/* How connections and requests ended, for who has to find out. */
static void tell(void) {
    for (unsigned why = 0; why < CLOSE_COUNT; why++) {
        uint64_t wires = lab_closed(&world.lab, why), requests = ended(why);
        if (wires + requests > 0) {
            print_error("%s: %u connections, %u requests\n", close_word(why), (unsigned)wires,
                        (unsigned)requests);
        }
    }
}

static void clients_settle(uint32_t from) {
    clients_from = from;
    if (peers_run(watch_over, NULL, LIMIT_MS) != PEERS_MET) {
        tell();
        fail_msg("%s, seed %u: it does not end", run.way->name, (unsigned)world_seed);
    }
}

/* --- Requests ----------------------------------------------------------------------------- */

static struct client *client_told(const char *text, uint32_t asks) {
    ensure(client_count < CLIENTS_MAX);
    struct client *c = &clients[client_count++];
    *c = (struct client){.target = "/", .wanted = asks, .sent = asks};
    c->peer = peer_dial(&world.at, NULL);
    c->peer->user = c;
    c->peer->changed = client_changed;
    peer_send_text(c->peer, text);
    return c;
}

/* All of them are answered: with a 200 each, or with a 503 behind which nothing is owed, as it ends
 * its connection or was the last. (A request that gyre has whole, and for which there is no memory
 * any more at the bound itself, does not cost its client the connection.) */
static void all_answered(void) {
    for (uint32_t i = 1; i < client_count; i++) {
        const struct client *c = &clients[i];
        bool good = c->shed == 0 ? c->good == c->wanted
                                 : c->shed == 1 && (c->last || c->good + 1 == c->wanted);
        if (!c->over || !good || c->left > 0) {
            tell();
            fail_msg("%s, seed %u: client %u of %u has %u answers of %u, and %u times 503; %s",
                     run.way->name, (unsigned)world_seed, i, client_count, c->good, c->wanted,
                     c->shed,
                     !c->over ? "it waits" : c->left > 0 ? "it was cut off" : "it is over");
        }
    }
}

static void held_release(void) {
    origin_unpause();
    origin_release();
}

/* Bodies that must be whole before a server is asked, or that a server does not take. */
static void upload_start(uint32_t id) {
    (void)id;
    origin.paused = true;
    client_start(&world.at, "/", 1, UPLOAD_LEN);
}

static void read_start(uint32_t id) {
    (void)id;
    peer_pause(client_start(&world.at, "/big", 1, 0)->peer, true);
}

static void read_release(void) {
    for (uint32_t i = 1; i < client_count; i++) {
        peer_pause(clients[i].peer, false);
    }
}

#define HEAD_LEN 1000u
static void head_start(uint32_t id) {
    char text[20000];
    int n = snprintf(text, sizeof text,
                     "GET /held HTTP/1.1\r\nHost: a\r\nX-Id: %u\r\nX-Long: ", id);
    memset(text + n, 'x', HEAD_LEN);
    memcpy(text + n + HEAD_LEN, "\r\n\r\n", 5);
    client_told(text, 1);
}

/* One that waits for its answer, and many behind it. */
#define AHEAD 200u
static void ahead_start(uint32_t id) {
    static char text[AHEAD * 300u];
    (void)id;
    int n = snprintf(text, sizeof text, "GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    for (uint32_t i = 0; i < AHEAD; i++) {
        n += snprintf(text + n, sizeof text - (size_t)n,
                      "GET / HTTP/1.1\r\nHost: a\r\nX-Long: %0240u\r\n\r\n", i);
    }
    client_told(text, AHEAD + 1);
}

/* --- Tunnels ------------------------------------------------------------------------------ */

#define FRAMES 300u
#define FRAME_LEN 1000u
#define TUNNEL_BYTES_MAX (FRAMES * (FRAME_LEN + 8))

static struct tunnel {
    struct peer *client, *server;
    size_t up, down;           /* bytes that have come through */
    bool open, shed, over;
} tunnels[HOLDERS_MAX];
static uint32_t tunnel_count;

/* Binary messages; a client's are masked, with zeros. */
static size_t messages(uint8_t *out, bool masked) {
    uint8_t *p = out;
    for (uint32_t i = 0; i < FRAMES; i++) {
        *p++ = 0x82;
        *p++ = (uint8_t)(126 | (masked ? 0x80 : 0));
        *p++ = FRAME_LEN >> 8;
        *p++ = FRAME_LEN & 255;
        memset(p, 0, 4);
        p += masked ? 4 : 0;
        for (uint32_t at = 0; at < FRAME_LEN; at++) {
            *p++ = pattern(i * FRAME_LEN + at);
        }
    }
    return (size_t)(p - out);
}

static void messages_send(struct peer *p, bool masked) {
    static uint8_t bytes[TUNNEL_BYTES_MAX];
    peer_send(p, bytes, messages(bytes, masked));
}

static void messages_take(struct peer *p, size_t *got, bool masked) {
    static uint8_t all[2][TUNNEL_BYTES_MAX];
    static size_t len[2];
    if (len[masked] == 0) {
        len[masked] = messages(all[masked], masked);
    }
    assert_true(*got + p->rx_len <= len[masked]);
    assert_memory_equal(p->rx, all[masked] + *got, p->rx_len);
    *got += p->rx_len;
    peer_drop(p, p->rx_len);
}

static uint8_t *head_end(const struct peer *p) {
    return p->rx_len == 0 ? NULL : memmem(p->rx, p->rx_len, "\r\n\r\n", 4);
}

static void tunnel_client(struct peer *p) {
    struct tunnel *t = p->user;
    uint8_t *end = t->open ? NULL : head_end(p);
    if (end != NULL) {
        t->open = memcmp(p->rx, "HTTP/1.1 101 ", 13) == 0;
        t->shed = memcmp(p->rx, "HTTP/1.1 503 ", 13) == 0;
        if (t->shed) {
            t->over = true;
            assert_true(peer_has(p, "\r\nRetry-After: 5\r\n"));
            return;
        }
        peer_drop(p, (size_t)(end - p->rx) + 4);
        peer_pause(p, true);
        messages_send(p, true);
    }
    if (t->open && p->rx_len > 0) {
        messages_take(p, &t->down, false);
    }
    t->over = t->over || p->eof || p->reset;
}

static void tunnel_server(struct peer *p) {
    struct tunnel *t = p->user;
    if (t == NULL && head_end(p) != NULL) {
        unsigned id = 0;
        char line[32] = "";
        memcpy(line, p->rx, p->rx_len < sizeof line ? p->rx_len : sizeof line - 1);
        assert_int_equal(sscanf(line, "GET /other/%u ", &id), 1);
        assert_true(id < tunnel_count);
        t = p->user = &tunnels[id];
        t->server = p;
        peer_drop(p, (size_t)(head_end(p) - p->rx) + 4);
        peer_send_text(p, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                          "Upgrade: websocket\r\n\r\n");
        peer_pause(p, true);
        messages_send(p, false);
    }
    if (t != NULL && p->rx_len > 0) {
        messages_take(p, &t->up, true);
    }
    if (p->eof && p->state == PEER_OPEN) {
        peer_fin(p);
    }
}

static void tunnel_accepted(struct peer *p) {
    p->changed = tunnel_server;
    tunnel_server(p);
}

static void tunnel_start(uint32_t id) {
    (void)id;
    world.servers[1]->accepted = tunnel_accepted;
    struct tunnel *t = &tunnels[tunnel_count];
    *t = (struct tunnel){.client = peer_dial(&world.at, NULL)};
    t->client->user = t;
    t->client->changed = tunnel_client;
    char text[256];
    snprintf(text, sizeof text, "GET /other/%u HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
             "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", tunnel_count++);
    peer_send_text(t->client, text);
}

static void tunnel_release(void) {
    for (uint32_t i = 0; i < tunnel_count; i++) {
        peer_pause(tunnels[i].client, false);
        if (tunnels[i].server != NULL) {
            peer_pause(tunnels[i].server, false);
        }
    }
}

static bool tunnels_have_all(void *arg) {
    (void)watch(arg);
    for (uint32_t i = 0; i < tunnel_count; i++) {
        const struct tunnel *t = &tunnels[i];
        size_t all = FRAMES * (FRAME_LEN + 4);
        if (!t->over && (t->down < all || t->up < all + FRAMES * 4)) {
            return false;
        }
    }
    return true;
}

/* Every message of those that were let in has come, both ways; and then they close. */
static void tunnel_judge(void) {
    assert_int_equal(peers_run(tunnels_have_all, NULL, LIMIT_MS), PEERS_MET);
    for (uint32_t i = 0; i < tunnel_count; i++) {
        assert_true(tunnels[i].open ? !tunnels[i].over : tunnels[i].shed);
    }
}

/* --- Those who say nothing ---------------------------------------------------------------- */

static void idle_start(uint32_t id) {
    (void)id;
    client_told("", 0);
}

/* Most of them go; a few have something to ask after all, some of whom were not accepted yet. */
#define IDLE_STAY 20u
static void idle_release(void) {
    uint32_t stay = 0;
    for (uint32_t i = client_count; i-- > 1;) {
        struct client *c = &clients[i];
        if (c->wanted > 0) {
            continue;
        }
        if (stay++ < IDLE_STAY) {
            c->wanted = 1;
            client_ask(c);
        } else {
            peer_close(c->peer);
            c->over = true;
        }
    }
}

/* --- All of it ---------------------------------------------------------------------------- */

static void any_start(uint32_t id) {
    static void (*const starts[])(uint32_t) = {upload_start, read_start, head_start, ahead_start,
                                               tunnel_start, idle_start, idle_start, idle_start};
    starts[sim_draw(world.sim, sizeof starts / sizeof *starts)](id);
}

static void all_release(void) {
    held_release();
    read_release();
    tunnel_release();
    idle_release();
}

static void all_judge(void) {
    all_answered();
    tunnel_judge();
}

/* Where some of what is asked for fails besides, it is enough that all of it ends. */
static void faults_judge(void) {
    fault_disarm();
    assert_int_equal(peers_run(tunnels_have_all, NULL, LIMIT_MS), PEERS_MET);
}

/* --- The test ----------------------------------------------------------------------------- */

#define SYNC "mode = sync\n"
#define ASYNC "mode = async\n"
#define WHOLE SYNC "request_memory = 1m\n"
static const struct way ways[] = {
    {"uploads", WHOLE, 6, 6 * MIB, upload_start, held_release, all_answered},
    {"answers", SYNC, 22, 6 * MIB, read_start, read_release, all_answered},
    {"answers, async", ASYNC, 8, 6 * MIB, read_start, read_release, all_answered},
    {"heads", ASYNC, 6, 6 * MIB, head_start, held_release, all_answered},
    {"requests ahead", ASYNC, 4, 6 * MIB, ahead_start, held_release, all_answered},
    {"tunnels", ASYNC, 6, 6 * MIB, tunnel_start, tunnel_release, tunnel_judge},
    {"idle", ASYNC, 4, 2 * MIB, idle_start, idle_release, all_answered},
    {"all of it", WHOLE, 8, 8 * MIB, any_start, all_release, all_judge},
    {"faults", WHOLE, 10, 8 * MIB, any_start, all_release, faults_judge},
};

static struct sim_params params_of(uint64_t seed) {
    struct sim_params p = sim_params_clean();
    p.fd_max = 20000;
    p.pipe_min = 2048;
    p.pipe_max = 8192;
    if (seed % 2 == 0) {
        p.latency_us = 500;
        p.late_us = 2000;
        p.chance[SIM_SHORT_RECV] = p.chance[SIM_SHORT_SEND] = 1000;
        p.chance[SIM_LATE] = p.chance[SIM_DISARM] = 500;
    }
    return p;
}

static void begin(const struct way *way, uint64_t seed) {
    struct sim_params params = params_of(seed);
    char glob[200];
    snprintf(glob, sizeof glob, "workers = %u\nspool_max = %s\n", 1 + (unsigned)(seed / 2 % 2),
             seed % 3 == 0 ? "1g" : "0");
    world_seed = seed;
    tunnel_count = 0;
    /* Few: the kernel holds them all in the end, so that they are not what grows with clients. */
    static const struct ring_params ring = {.buf_size = RECEIVE_BYTES, .buf_max = 64};
    world_start(glob, way->backend, &ring, &params);
    world_apart();
    memset(&run, 0, sizeof run);
    run.way = way;
    run.bound = UINT64_MAX / 2;
    client_start(&world.at, "/", 3, 0);
    clients_settle(0);
    assert_int_equal(clients_good(0), 3);
    watched_sleep(40000);
    run.idle = memory_used();
    run.bound = run.idle + way->bound;
    memory_bound(run.bound);
    run.peak = 0;
}

static bool has_shed(void) {
    return ended(CLOSE_NO_MEMORY) > 0 || lab_stat(&world.lab, STAT_ACCEPT_PAUSED) > 0;
}

/* Ever more of them, and some after the first of them was turned away. */
static void press(void) {
    uint32_t after = 0;
    while (after < 30) {
        if (++run.started > HOLDERS_MAX) {
            fail_msg("%s, seed %u: nobody is shed, with %u KiB", run.way->name,
                     (unsigned)world_seed, (unsigned)((memory_used() - run.idle) >> 10));
        }
        run.way->start(run.started);
        (void)peers_run(watch, NULL, 1 + sim_draw(world.sim, 5));
        after += run.level_most >= MEMORY_TIGHT && has_shed();
    }
    watched_sleep(2000);
    assert_true(run.level_most >= MEMORY_TIGHT && run.peak > run.bound / 2);
}

/* Those who did not get what they asked for were turned away for this reason, and the operator was
 * told. */
static void shed_is_counted(void) {
    uint32_t shed = clients_shed(0);
    for (uint32_t i = 0; i < tunnel_count; i++) {
        shed += tunnels[i].shed;
    }
    assert_int_equal(ended(CLOSE_NO_MEMORY), shed);
    assert_true(said_count("memory_max is near") > 0);
    if (shed > 0) {
        assert_true(said_count("answering 503: ") > 0);
    }
}

static void gyre_recovers(void) {
    watched_sleep(40000);
    uint64_t used = memory_used();
    if (used > run.idle + KEPT * world.lab.plan->worker_count || memory_level() != MEMORY_PLENTY) {
        fail_msg("%s, seed %u: %u KiB are left, of %u before and %u at the most", run.way->name,
                 (unsigned)world_seed, (unsigned)(used >> 10), (unsigned)(run.idle >> 10),
                 (unsigned)(run.peak >> 10));
    }
    uint32_t from = client_count;
    for (uint32_t i = 0; i < 10; i++) {
        client_start(&world.at, "/", 5, 0);
        clients_settle(from);
    }
    assert_int_equal(clients_good(from), 50);
}

/* One of the points where memory is asked for fails some times in a row. */
static void faults_begin(void) {
    static const enum fault_point points[] = {
        FAULT_WIRES, FAULT_DOWN_STREAMS, FAULT_EXCHANGES, FAULT_SPOOLS, FAULT_ARENA, FAULT_BYTES,
        FAULT_COPIES, FAULT_SEGMENT, FAULT_SLICES, FAULT_SPOOL_SPACE,
    };
    enum fault_point point = points[world_seed % (sizeof points / sizeof *points)];
    fault_arm(point, sim_draw(world.sim, 400), 1 + sim_draw(world.sim, 20));
}

static void play(const struct way *way, uint64_t seed) {
    bool faults = way->judge == faults_judge;
    begin(way, seed);
    if (faults) {
        faults_begin();
    }
    press();
    way->release();
    clients_settle(0);
    way->judge();
    if (!faults) {
        shed_is_counted();
    }
    for (uint32_t i = 0; i < tunnel_count; i++) {
        peer_free(tunnels[i].client);
    }
    gyre_recovers();
    memory_bound(0);
    world_end();
}

static void memory_is_bounded(void **state) {
    const struct way *way = *state;
    const char *one = getenv("SIM_SEED");
    if (one != NULL) {
        play(way, strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= way->seeds; seed++) {
        play(way, seed);
    }
}

#define WAYS (sizeof ways / sizeof *ways)

int main(void) {
    struct CMUnitTest tests[WAYS];
    for (size_t i = 0; i < WAYS; i++) {
        tests[i] = (struct CMUnitTest){.name = ways[i].name, .test_func = memory_is_bounded,
                                       .teardown_func = said_failed,
                                       .initial_state = (void *)(uintptr_t)&ways[i]};
    }
    cmocka_set_test_filter(getenv("SIM_TEST"));
    return cmocka_run_group_tests_name("memory_max", tests, NULL, NULL);
}
