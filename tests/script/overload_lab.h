/* What the tests of overload share: a whole gyre, clients that count, servers that hold answers
 * back, and what gyre said to its operator meanwhile. */
#ifndef GYRE_TESTS_SCRIPT_OVERLOAD_LAB_H
#define GYRE_TESTS_SCRIPT_OVERLOAD_LAB_H

#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "script/lab.h"
#include "script/said.h"
#if GYRE_ON_SIM
#include "sim/sim.h"
#endif

#define LIMIT_MS 60000u
#define CLIENTS_MAX 4000u

/* --- Servers ------------------------------------------------------------------------------ */

static inline uint8_t pattern(uint64_t i) {
    return (uint8_t)(i * 7 + (i >> 8) * 3);
}

static inline void send_pattern(struct peer *p, size_t len) {
    uint8_t *bytes = malloc(len);   /* not gyre's: memory.h must not count it */
    ensure(bytes != NULL);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = pattern(i);
    }
    peer_send(p, bytes, len);
    free(bytes);
}

/* One connection to a server: /held is answered when it is told to, /big with a megabyte, the
 * others at once. */
#define BIG_LEN 1000000u
struct served {
    uint64_t left, body;       /* bytes of a request's body to come, and so far */
    bool held;
    uint32_t len;              /* of the answer to come */
};
static struct {
    bool release;              /* what is held is answered */
    uint32_t held, requests, broken;
    struct peer *peers[3 * CLIENTS_MAX];
    uint32_t peer_count;
    bool paused;               /* connections that are new read nothing */
} origin;

static inline void origin_answer(struct peer *p) {
    struct served *s = p->user;
    char head[128];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", s->len);
    peer_send_text(p, head);
    send_pattern(p, s->len);
}

static inline bool origin_head(struct peer *p) {
    struct served *s = p->user;
    uint8_t *end = p->rx_len > 0 ? memmem(p->rx, p->rx_len, "\r\n\r\n", 4) : NULL;
    if (end == NULL) {
        return false;
    }
    *end = '\0';
    const char *head = (const char *)p->rx, *length = strstr(head, "Content-Length: ");
    *s = (struct served){.left = length != NULL ? strtoull(length + 16, NULL, 10) : 0};
    s->held = strstr(head, " /held ") != NULL;
    s->len = strstr(head, " /big ") != NULL ? BIG_LEN : 3;
    origin.held += s->held;
    origin.requests++;
    peer_drop(p, (size_t)(end - p->rx) + 4);
    if (s->left == 0 && (!s->held || origin.release)) {
        origin_answer(p);
    }
    return true;
}

static inline void origin_changed(struct peer *p) {
    struct served *s = p->user;
    if (p->eof && p->state == PEER_OPEN) {
        peer_fin(p);
        return;
    }
    while (p->state == PEER_OPEN && !p->reset) {
        if (s->left == 0 && !origin_head(p)) {
            return;
        }
        size_t n = p->rx_len < s->left ? p->rx_len : (size_t)s->left;
        for (size_t i = 0; i < n; i++) {
            origin.broken += p->rx[i] != pattern(s->body + i);
        }
        peer_drop(p, n);
        s->body += n;
        s->left -= n;
        if (n > 0 && s->left == 0) {
            origin_answer(p);
        }
        if (s->left > 0) {
            return;
        }
    }
}

static inline void origin_accepted(struct peer *p) {
    ensure(origin.peer_count < 3 * CLIENTS_MAX);
    origin.peers[origin.peer_count++] = p;
    p->user = mem_zero(sizeof(struct served));
    p->changed = origin_changed;
    peer_pause(p, origin.paused);
    origin_changed(p);
}

static inline void origin_release(void) {
    origin.release = true;
    for (uint32_t i = 0; i < origin.peer_count; i++) {
        struct served *s = origin.peers[i]->user;
        if (s->held && origin.peers[i]->state == PEER_OPEN) {
            s->held = false;
            origin_answer(origin.peers[i]);
        }
    }
}

static inline void origin_unpause(void) {
    origin.paused = false;
    for (uint32_t i = 0; i < origin.peer_count; i++) {
        peer_pause(origin.peers[i], false);
    }
}

/* --- Clients ------------------------------------------------------------------------------ */

/* Asks `wanted` times one after the other, then closes, or stays. */
struct client {
    struct peer *peer;
    const char *target;
    uint32_t wanted, sent, upload;
    uint32_t good, shed;       /* answers 200, and 503 with Retry-After */
    bool stays, over, in_body, page, last;
    uint64_t left, body;
};
static struct client clients[CLIENTS_MAX];
static uint32_t client_count, client_broken;

static inline void client_ask(struct client *c) {
    char head[256], length[64] = "";
    if (c->upload > 0) {
        snprintf(length, sizeof length, "Content-Length: %u\r\n", c->upload);
    }
    snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n",
             c->upload > 0 ? "POST" : "GET", c->target, length);
    c->sent++;
    peer_send_text(c->peer, head);
    if (c->upload > 0) {
        send_pattern(c->peer, c->upload);
    }
}

static inline bool client_head(struct client *c) {
    struct peer *p = c->peer;
    uint8_t *end = p->rx_len > 0 ? memmem(p->rx, p->rx_len, "\r\n\r\n", 4) : NULL;
    if (end == NULL) {
        return false;
    }
    end[2] = '\0';
    const char *head = (const char *)p->rx, *length = strstr(head, "Content-Length: ");
    unsigned status = (unsigned)strtoul(head + 9, NULL, 10);
    if (length == NULL || (status == 503 && strstr(head, "Retry-After: 5\r\n") == NULL) ||
        (status != 200 && status != 503)) {
        client_broken++;
    }
    c->left = length != NULL ? strtoull(length + 16, NULL, 10) : 0;
    c->body = 0;
    c->good += status == 200;
    c->shed += status == 503;
    c->in_body = true;
    c->page = status != 200;
    c->last = strstr(head, "Connection: close\r\n") != NULL;
    peer_drop(p, (size_t)(end - p->rx) + 4);
    return true;
}

static inline bool client_body(struct client *c) {
    struct peer *p = c->peer;
    size_t n = p->rx_len < c->left ? p->rx_len : (size_t)c->left;
    for (size_t i = 0; !c->page && i < n; i++) {
        client_broken += p->rx[i] != pattern(c->body + i);
    }
    peer_drop(p, n);
    c->body += n;
    c->left -= n;
    c->in_body = c->left > 0;
    return !c->in_body;
}

static inline void client_changed(struct peer *p) {
    struct client *c = p->user;
    while (!c->over && (c->in_body || client_head(c)) && client_body(c)) {
        if (c->good + c->shed == c->wanted || c->last) {
            c->over = true;
            if (!c->stays || c->last) {
                peer_close(p);
            }
        } else if (c->sent < c->wanted) {
            client_ask(c);
        }
    }
    if (!c->over && (p->eof || p->reset || p->state == PEER_REFUSED)) {
        c->over = true;        /* unanswered: good and shed tell */
    }
}

static inline struct client *client_start(const struct addr *to, const char *target,
                                          uint32_t wanted, uint32_t upload) {
    ensure(client_count < CLIENTS_MAX);
    struct client *c = &clients[client_count++];
    *c = (struct client){.target = target, .wanted = wanted, .upload = upload};
    c->peer = peer_dial(to, NULL);
    c->peer->user = c;
    c->peer->changed = client_changed;
    client_ask(c);
    return c;
}

/* Once more, on the connection that it has kept. */
static inline void client_again(struct client *c, const char *target) {
    ensure(c->over && c->stays);
    c->over = false;
    c->wanted++;
    c->target = target;
    c->upload = 0;
    client_ask(c);
}

/* Those from `from` on. */
static uint32_t clients_from;

static inline bool clients_over(void *arg) {
    (void)arg;
    for (uint32_t i = clients_from; i < client_count; i++) {
        if (!clients[i].over) {
            return false;
        }
    }
    return true;
}

static inline void clients_wait(uint32_t from, uint64_t limit_ms) {
    clients_from = from;
    assert_int_equal(peers_run(clients_over, NULL, limit_ms), PEERS_MET);
    assert_int_equal(client_broken, 0);
    assert_int_equal(origin.broken, 0);
}

static inline uint32_t clients_good(uint32_t from) {
    uint32_t good = 0;
    for (uint32_t i = from; i < client_count; i++) {
        good += clients[i].good;
    }
    return good;
}

static inline uint32_t clients_asked(uint32_t from) {
    uint32_t asked = 0;
    for (uint32_t i = from; i < client_count; i++) {
        asked += clients[i].sent;
    }
    return asked;
}

static inline uint32_t clients_shed(uint32_t from) {
    uint32_t shed = 0;
    for (uint32_t i = from; i < client_count; i++) {
        shed += clients[i].shed;
    }
    return shed;
}

/* --- A world ------------------------------------------------------------------------------ */

static struct {
    struct lab lab;
    struct addr at;
    struct peer_listener *servers[2];
#if GYRE_ON_SIM
    struct sim *sim;
#endif
} world;
#if GYRE_ON_SIM
static uint64_t world_seed = 1;
#endif

static inline struct addr port_zero(void) {
    struct addr addr = {.len = sizeof addr.sa.in};
    addr.sa.in.sin_family = AF_INET;
    addr.sa.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return addr;
}

/* glob, backend: more settings (one worker, mode async, where they do not say). params_sim: NULL,
 * or of the simulated world. */
static inline void world_start(const char *glob, const char *backend,
                               const struct ring_params *params, void *params_sim) {
    char ini[2048], web[ADDR_TEXT_MAX], one[ADDR_TEXT_MAX], two[ADDR_TEXT_MAX];
    struct addr any = port_zero();
#if GYRE_ON_SIM
    world.sim = sim_new(world_seed, params_sim);
#else
    (void)params_sim;
    struct rlimit files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
#endif
    signal(SIGPIPE, SIG_IGN);
    origin.release = origin.paused = false;
    origin.held = origin.requests = origin.broken = origin.peer_count = 0;
    client_count = client_broken = 0;
    world.at = lab_free_address(GYRE_ON_SIM);
    for (int i = 0; i < 2; i++) {
        world.servers[i] = peer_listen(&any, 1024);
        assert_non_null(world.servers[i]);
        world.servers[i]->accepted = origin_accepted;
    }
    const char *mode = strstr(backend, "mode = ") != NULL ? "" : "mode = async\n";
    const char *workers = strstr(glob, "workers = ") != NULL ? "" : "workers = 1\n";
    snprintf(ini, sizeof ini,
             "[global]\n%s%s[listener web]\nbind = %s\nbackend = app\n"
             "send_timeout = 10m\nhead_timeout = 10m\nbody_timeout = 10m\nmin_body_rate = 0\n"
             "min_send_rate = 0\n"
             "[route other]\npath = /other\nbackend = other\n"
             "[backend app]\nserver = %s\nresponse_timeout = 10m\nstall_timeout = 10m\n%s%s"
             "[backend other]\nserver = %s\n%s%s",
             workers, glob, addr_print(&world.at, web),
             addr_print(&world.servers[0]->addr, one), mode, backend,
             addr_print(&world.servers[1]->addr, two), mode, backend);
    said_begin();
    assert_true(lab_start(&world.lab, GYRE_ON_SIM, ini, params));
}

/* For tests that count what is said: it is said once a second by the process, so the world before
 * must not count. Virtual clocks begin anew in each world. */
static inline void world_apart(void) {
    static uint64_t worlds;
    peers_sleep(GYRE_ON_SIM ? 600000 * ++worlds : 1100);
}

static inline struct worker *worker(void) {
    return &world.lab.workers[0];
}

/* Every pool is at 0, and no descriptor is left. */
static inline void world_end(void) {
    assert_true(lab_stop(&world.lab, LIMIT_MS));
    assert_int_equal(client_broken, 0);
    assert_int_equal(origin.broken, 0);
    for (uint32_t i = 0; i < origin.peer_count; i++) {
        mem_free(origin.peers[i]->user);
        origin.peers[i]->user = NULL;
        peer_free(origin.peers[i]);
    }
    for (uint32_t i = 0; i < client_count; i++) {
        peer_free(clients[i].peer);
    }
    peer_listener_close(world.servers[0]);
    peer_listener_close(world.servers[1]);
#if GYRE_ON_SIM
    char leaks[128];
    if (sim_leaks(world.sim, leaks, sizeof leaks) != 0) {
        fail_msg("leaks %s", leaks);
    }
    sim_free(world.sim);
#endif
    said_end();
}

static inline bool is_held(void *count) {
    return origin.held >= *(uint32_t *)count;
}

static inline void held_wait(uint32_t count) {
    assert_int_equal(peers_run(is_held, &count, LIMIT_MS), PEERS_MET);
}

#endif
