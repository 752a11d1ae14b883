/* Whole gyres of one to four rings before servers that fail in every way: what the tests of who is
 * asked, and how much, share. */
#ifndef GYRE_TESTS_SIM_EJECT_LAB_H
#define GYRE_TESTS_SIM_EJECT_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "script/lab.h"
#include "script/said.h"
#include "sim/sim.h"
#include "upstream/upstream_priv.h"

#define SERVERS_MAX 6u
#define LINKS_MAX 20000u
#define WORKERS(seed) (1 + (uint32_t)((seed) % 4))

/* How a server takes its requests. CUTS_KEPT: it closes kept connections as a request comes.
 * HOLDS: it answers those that it was asked so far once it is told to (let_go). */
enum mood { WELL, SAYS_500, CUTS, HANGS, SAYS_RUBBISH, CUTS_KEPT, HOLDS };

struct origin {
    struct addr addr;
    struct peer_listener *listener;
    enum mood mood;
    bool ill;                          /* its checks fail */
    uint32_t requests;
};

struct link {
    struct origin *origin;
    struct peer *peer;                 /* NULL: it is over */
    uint32_t requests;
    bool held;
};

struct scene {
    struct sim *sim;
    struct lab lab;
    struct backend *backend;
    struct origin origins[SERVERS_MAX];
    uint32_t origin_count;
    struct link links[LINKS_MAX];
    uint32_t link_count;
};
static struct scene scene;

#define PAGE_OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define PAGE_500 "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\noh!"

/* --- Servers ------------------------------------------------------------------------------ */

static inline void link_close(struct link *link) {
    link->peer->changed = NULL;
    peer_free(link->peer);
    link->peer = NULL;
}

static inline void link_answer(struct link *link) {
    switch (link->origin->mood) {
    case WELL:
        peer_send_text(link->peer, PAGE_OK);
        break;
    case SAYS_500:
        peer_send_text(link->peer, PAGE_500);
        break;
    case CUTS:
        link_close(link);
        break;
    case HANGS:
        break;
    case SAYS_RUBBISH:
        peer_send_text(link->peer, "this is no response\r\n\r\n");
        break;
    case CUTS_KEPT:
        if (link->requests > 1) {
            link_close(link);
        } else {
            peer_send_text(link->peer, PAGE_OK);
        }
        break;
    case HOLDS:
        link->held = true;
        break;
    }
}

static inline void link_hears(struct peer *peer) {
    struct link *link = peer->user;
    if (peer->eof || peer->reset) {
        link_close(link);
    } else if (peer_has(peer, "\r\n\r\n") && peer_has(peer, "GET /health")) {
        peer_drop(peer, peer->rx_len);
        peer_send_text(peer, link->origin->ill ? PAGE_500 : PAGE_OK);
    } else if (peer_has(peer, "\r\n\r\n")) {
        peer_drop(peer, peer->rx_len);
        link->origin->requests++;
        link->requests++;
        link_answer(link);
    }
}

static inline void link_accepted(struct peer *peer) {
    assert_true(scene.link_count < LINKS_MAX);
    struct link *link = &scene.links[scene.link_count++];
    *link = (struct link){.origin = peer->listener->user, .peer = peer};
    peer->user = link;
    peer->changed = link_hears;
}

static inline void origin_listen(struct origin *origin) {
    origin->listener = peer_listen(&origin->addr, 256);
    assert_non_null(origin->listener);
    origin->listener->user = origin;
    origin->listener->accepted = link_accepted;
}

static inline void origin_leave(struct origin *origin) {
    peer_listener_close(origin->listener);
    origin->listener = NULL;
}

/* Its process is killed: all that it had is cut at once. */
static inline void origin_dies(struct origin *origin) {
    origin_leave(origin);
    for (uint32_t i = 0; i < scene.link_count; i++) {
        struct link *link = &scene.links[i];
        if (link->origin == origin && link->peer != NULL) {
            link->peer->changed = NULL;
            peer_reset(link->peer);
            link->peer = NULL;
        }
    }
}

static inline void cut_held(struct origin *origin) {
    for (uint32_t i = 0; i < scene.link_count; i++) {
        struct link *link = &scene.links[i];
        if (link->origin == origin && link->peer != NULL && link->held) {
            link_close(link);
        }
    }
}

static inline void let_go(struct origin *origin) {
    origin->mood = WELL;
    for (uint32_t i = 0; i < scene.link_count; i++) {
        struct link *link = &scene.links[i];
        if (link->origin == origin && link->peer != NULL && link->held) {
            link->held = false;
            peer_send_text(link->peer, PAGE_OK);
        }
    }
}

static inline uint32_t links_of(const struct origin *origin) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < scene.link_count; i++) {
        count += scene.links[i].origin == origin && scene.links[i].peer != NULL;
    }
    return count;
}

/* --- The world ---------------------------------------------------------------------------- */

/* options: of each server, "" or as they stand in the file. */
static inline void begin_with(uint64_t seed, uint32_t workers, uint32_t servers,
                              const char *const *options, const char *backend) {
    memset(&scene, 0, sizeof scene);
    said_begin();
    scene.sim = sim_new(seed, NULL);
    char ini[2048], *p = ini;
    p += snprintf(p, 512, "[global]\nworkers = %u\n[listener web]\nbind = 127.0.0.1:80\n"
                  "backend = app\n[backend app]\nmode = async\n%s%s", workers,
                  strstr(backend, "balance = ") != NULL ? "" : "balance = round_robin\n",
                  strstr(backend, "keepalive = ") != NULL ? "" : "keepalive = 0\n");
    for (uint32_t i = 0; i < servers; i++) {
        char text[32];
        snprintf(text, sizeof text, "127.0.0.1:%u", 8001 + i);
        scene.origins[i].addr = addr_of(text);
        p += snprintf(p, 128, "server = %s %s\n", text, options != NULL ? options[i] : "");
        origin_listen(&scene.origins[i]);
    }
    scene.origin_count = servers;
    snprintf(p, (size_t)(ini + sizeof ini - p), "%s", backend);
    assert_true(lab_start(&scene.lab, true, ini, NULL));
    scene.backend = &scene.lab.workers[0].upstream.registry->backends[0];
}

static inline void begin(uint64_t seed, uint32_t workers, uint32_t servers, const char *backend) {
    begin_with(seed, workers, servers, NULL, backend);
}

static inline void end(void) {
    assert_true(lab_stop(&scene.lab, 120000));
    char leaks[128];
    if (sim_leaks(scene.sim, leaks, sizeof leaks) != 0) {
        fail_msg("leaks %s", leaks);
    }
    sim_free(scene.sim);
    said_end();
}

static inline void wait_ms(uint64_t ms) {
    (void)sim_run_until(scene.sim, NULL, NULL, ms);
}

static inline uint64_t now_ms(void) {
    return sim_now_us(scene.sim) / 1000;
}

/* --- Clients ------------------------------------------------------------------------------ */

#define GET "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
/* It never goes again. */
#define POST "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

static inline struct peer *ask_with(const char *request) {
    struct addr to = addr_of("127.0.0.1:80");
    struct peer *client = peer_dial(&to, NULL);
    peer_send_text(client, request);
    return client;
}

static inline struct peer *ask(void) {
    return ask_with(POST);
}

static inline bool is_over(void *arg) {
    const struct peer *client = arg;
    return client->eof || client->reset || client->state == PEER_REFUSED;
}

/* The status of its answer; 0: it has none. */
static inline uint32_t status_of(struct peer *client) {
    if (sim_run_until(scene.sim, is_over, client, 100000) != PEERS_MET) {
        fail_msg("a request hangs");
    }
    uint32_t status = peer_has(client, "HTTP/1.1 ") ? (uint32_t)atoi((char *)client->rx + 9) : 0;
    peer_free(client);
    return status;
}

static inline uint32_t asked(void) {
    return status_of(ask());
}

/* How many of so many requests, one after the other, the server gets; all are answered well. */
static inline uint32_t shares(const struct origin *origin, uint32_t count) {
    uint32_t before = origin->requests;
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(asked(), 200);
    }
    return origin->requests - before;
}

/* Asks on and on until the server gets one. How long that took. */
static inline uint64_t until_asked(const struct origin *origin, uint32_t step_ms) {
    uint64_t began = now_ms();
    uint32_t before = origin->requests;
    while (origin->requests == before) {
        assert_true(now_ms() - began < 1000000);
        (void)asked();
        wait_ms(step_ms);
    }
    return now_ms() - began;
}

/* Asks on and on, with the server in that mood, until it is ejected; how many it took of it. */
static inline uint32_t until_ejected(struct origin *origin, enum mood mood) {
    struct server *server = &scene.backend->servers[origin - scene.origins];
    uint32_t before = origin->requests;
    origin->mood = mood;
    for (uint32_t i = 0; !atomic_load(&server->ejected); i++) {
        assert_true(i < 1000);
        (void)asked();
    }
    return origin->requests - before;
}

#endif
