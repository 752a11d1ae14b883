/* Servers that say who they are, and clients that tell what came of it: what the tests of
 * stickiness share. */
#ifndef GYRE_TESTS_SIM_STICKY_LAB_H
#define GYRE_TESTS_SIM_STICKY_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "script/lab.h"
#include "sim/sim.h"

#define SERVERS_MAX 3u
#define LINKS_MAX 4000u
#define COOKIE "sticky = cookie\nbalance = round_robin\n"

struct link {
    struct origin *origin;
    struct peer *peer;
    bool waits;                        /* for its answer */
};

struct origin {
    struct addr addr;
    struct peer_listener *listener;
    uint32_t index, requests, sid_count;
    bool holds, ill;
    const char *says;                  /* further fields of its answers */
    const char *answer;                /* NULL, or what it says whatever it is asked */
    char heard[1024];                  /* the last request's head, but for checks */
};

struct scene {
    struct sim *sim;
    struct lab lab;
    uint64_t seed;
    uint32_t port;                     /* of the gyre that is asked */
    uint32_t pieces;                   /* how an open packet is sent */
    char secret[32];
    struct origin origins[SERVERS_MAX];
    struct link links[LINKS_MAX];
    uint32_t link_count;
};
static struct scene scene;

/* --- Servers ------------------------------------------------------------------------------ */

static inline void link_answer(struct link *link, const char *status, const char *body) {
    char text[512];
    snprintf(text, sizeof text, "HTTP/1.1 %s\r\nX-Server: %u\r\n%sContent-Length: %zu\r\n\r\n",
             status, link->origin->index, link->origin->says != NULL ? link->origin->says : "",
             strlen(body));
    peer_send_text(link->peer, text);
    peer_send_text(link->peer, body);
    link->waits = false;
}

/* Whole, byte by byte as chunks, read in small pieces, or as protocol 3 has it. */
static inline void link_open(struct link *link) {
    char packet[160], text[2048];
    sim_params(scene.sim)->chance[SIM_SHORT_RECV] = scene.pieces == 2 ? 9000 : 0;
    snprintf(packet, sizeof packet, "0{\"sid\":\"s%u-%u\",\"upgrades\":[\"websocket\"],"
             "\"pingInterval\":250,\"pingTimeout\":200}", link->origin->index,
             ++link->origin->sid_count);
    if (scene.pieces == 1) {
        char *p = text + sprintf(text, "HTTP/1.1 200 OK\r\nX-Server: %u\r\n"
                                       "Transfer-Encoding: chunked\r\n\r\n", link->origin->index);
        for (const char *c = packet; *c != '\0'; c++) {
            p += sprintf(p, "1\r\n%c\r\n", *c);
        }
        sprintf(p, "0\r\n\r\n");
        peer_send_text(link->peer, text);
    } else {
        sprintf(text, "%zu:%s", strlen(packet), packet);
        link_answer(link, "200 OK", scene.pieces == 3 ? text : packet);
    }
}

static inline void link_serve(struct link *link) {
    char mine[16];
    const char *sid = strstr(link->origin->heard, "sid=");
    snprintf(mine, sizeof mine, "sid=s%u-", link->origin->index);
    if (link->origin->answer != NULL) {
        peer_send_text(link->peer, link->origin->answer);
        peer_fin(link->peer);
    } else if (sid != NULL && strncmp(sid, mine, strlen(mine)) != 0) {
        link_answer(link, "400 Bad Request", "{\"code\":1,\"message\":\"Session ID unknown\"}");
    } else if (sid == NULL && strstr(link->origin->heard, "transport=polling") != NULL) {
        link_open(link);
    } else {
        link_answer(link, "200 OK", "ok");
    }
}

static inline void origin_hears(struct peer *peer) {
    struct link *link = peer->user;
    struct origin *origin = link->origin;
    if (peer->eof || peer->reset) {
        peer->changed = NULL;
        link->waits = false;
        if (!peer->reset) {
            peer_fin(peer);
        }
    } else if (peer_has(peer, "\r\n\r\n") && peer_has(peer, "GET /health")) {
        peer_drop(peer, peer->rx_len);
        link_answer(link, origin->ill ? "500 Ill" : "200 OK", "");
    } else if (peer_has(peer, "\r\n\r\n")) {
        size_t len = peer->rx_len < sizeof origin->heard - 1 ? peer->rx_len
                                                             : sizeof origin->heard - 1;
        memcpy(origin->heard, peer->rx, len);
        origin->heard[len] = '\0';
        peer_drop(peer, peer->rx_len);
        origin->requests++;
        link->waits = true;
        if (!origin->holds) {
            link_serve(link);
        }
    }
}

static inline void origin_accepts(struct peer *peer) {
    assert_true(scene.link_count < LINKS_MAX);
    struct link *link = &scene.links[scene.link_count++];
    *link = (struct link){.origin = peer->listener->user, .peer = peer};
    peer->user = link;
    peer->changed = origin_hears;
}

static inline void origin_listen(struct origin *origin) {
    origin->listener = peer_listen(&origin->addr, 256);
    assert_non_null(origin->listener);
    origin->listener->user = origin;
    origin->listener->accepted = origin_accepts;
}

static inline void origin_leave(struct origin *origin) {
    peer_listener_close(origin->listener);
    origin->listener = NULL;
}

/* One of the requests that it holds, or all that wait; from then on it holds none. */
static inline void origin_answer(struct origin *origin) {
    for (uint32_t i = 0; i < scene.link_count; i++) {
        if (scene.links[i].origin == origin && scene.links[i].waits) {
            link_serve(&scene.links[i]);
            return;
        }
    }
}

static inline void origin_release(struct origin *origin) {
    origin->holds = false;
    for (uint32_t i = 0; i < scene.link_count; i++) {
        if (scene.links[i].origin == origin && scene.links[i].waits) {
            link_serve(&scene.links[i]);
        }
    }
}

static inline void origin_cut(struct origin *origin) {
    for (uint32_t i = 0; i < scene.link_count; i++) {
        struct link *link = &scene.links[i];
        if (link->origin == origin && link->waits) {
            link->waits = false;
            link->peer->changed = NULL;
            peer_reset(link->peer);
        }
    }
}

/* --- The scene ---------------------------------------------------------------------------- */

static inline void secret_write(char *path, int byte) {
    char bytes[32];
    memset(bytes, byte, sizeof bytes);
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
    close(fd);
}

static inline void begin_with(uint64_t seed, uint32_t workers, uint32_t servers, const char *glob,
                              const char *backend) {
    memset(&scene, 0, sizeof scene);
    scene.seed = seed;
    scene.port = 80;
    scene.sim = sim_new(seed, NULL);
    strcpy(scene.secret, "/tmp/gyre-secret-XXXXXX");
    secret_write(scene.secret, 's');
    char ini[1024], *p = ini;
    p += sprintf(p, "[global]\nworkers = %u\nsecret_file = %s\n%s[listener web]\n"
                    "bind = 127.0.0.1:80\nbackend = app\n[backend app]\n%s%s", workers,
                 scene.secret, glob, strstr(backend, "keepalive") == NULL ? "keepalive = 0\n" : "",
                 backend);
    for (uint32_t i = 0; i < servers; i++) {
        struct origin *origin = &scene.origins[i];
        char text[32];
        snprintf(text, sizeof text, "127.0.0.1:%u", 8001 + i);
        origin->index = i;
        origin->addr = addr_of(text);
        p += sprintf(p, "server = %s\n", text);
        origin_listen(origin);
    }
    assert_true(lab_start(&scene.lab, true, ini, NULL));
}

static inline void begin(uint64_t seed, uint32_t workers, uint32_t servers, const char *backend) {
    begin_with(seed, workers, servers, "", backend);
}

static inline void end(void) {
    assert_true(lab_stop(&scene.lab, 60000));
    sim_free(scene.sim);
    unlink(scene.secret);
}

static inline void wait_ms(uint64_t ms) {
    (void)sim_run_until(scene.sim, NULL, NULL, ms);
}

static inline uint64_t stat_of(enum stats_counter which) {
    return lab_stat(&scene.lab, which);
}

/* --- Clients ------------------------------------------------------------------------------ */

struct answer {
    int status;
    uint32_t server;                   /* that says it was the one; UINT32_MAX: none does */
    char set[160];                     /* the value of Set-Cookie; empty: there is none */
    char cookie[128];                  /* its NAME=VALUE */
    bool private;                      /* it has Cache-Control: private */
};

static inline bool has_ended(void *arg) {
    const struct peer *client = arg;
    return client->eof || client->reset;
}

static inline bool is_over(void *arg) {
    const struct peer *client = arg;
    return has_ended(arg) || client->state == PEER_REFUSED;
}

/* head: without the line that ends it. */
static inline struct peer *ask_now(const char *head) {
    char text[32];
    snprintf(text, sizeof text, "127.0.0.1:%u", scene.port);
    struct addr to = addr_of(text);
    struct peer *client = peer_dial(&to, NULL);
    peer_send_text(client, head);
    peer_send_text(client, "Accept-Encoding: gzip\r\nConnection: close\r\n\r\n");
    return client;
}

static inline struct peer *ask_as(const char *target, const char *cookie) {
    char head[1024];
    snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: a\r\n%s%s%s", target,
             cookie != NULL ? "Cookie: " : "", cookie != NULL ? cookie : "",
             cookie != NULL ? "\r\n" : "");
    return ask_now(head);
}

/* The Cookie field with one cookie in its place. */
static inline const char *cookies_of(const char *form, const char *cookie) {
    static char text[600];
    const char *at = strstr(form, "%s");
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - form), form, cookie, at + 2);
    return text;
}

static inline struct peer *ask_with(const char *form, const char *cookie) {
    return ask_as("/", cookies_of(form, cookie));
}

static inline struct peer *ended(struct peer *client) {
    if (sim_run_until(scene.sim, has_ended, client, 60000) != PEERS_MET) {
        fail_msg("seed %llu: a request hangs", (unsigned long long)scene.seed);
    }
    return client;
}

static inline struct peer *ask_raw(const char *head) {
    return ended(ask_now(head));
}

static inline bool ends_with(const struct peer *client, const char *body) {
    size_t len = strlen(body);
    return client->rx_len >= len && memcmp(client->rx + client->rx_len - len, body, len) == 0;
}

static inline struct answer answer_of(struct peer *client) {
    char text[2048];
    struct answer answer = {.server = UINT32_MAX};
    (void)ended(client);
    snprintf(text, sizeof text, "%.*s", (int)client->rx_len, (const char *)client->rx);
    peer_free(client);
    const char *server = strstr(text, "X-Server: "), *set = strstr(text, "Set-Cookie: ");
    assert_int_equal(sscanf(text, "HTTP/1.1 %d", &answer.status), 1);
    if (server != NULL) {
        answer.server = (uint32_t)strtoul(server + 10, NULL, 10);
    }
    if (set != NULL) {
        assert_int_equal(sscanf(set, "Set-Cookie: %159[^\r]", answer.set), 1);
        assert_int_equal(sscanf(set, "Set-Cookie: %127[^;]", answer.cookie), 1);
        assert_null(strstr(set + 1, "Set-Cookie: "));
    }
    answer.private = strstr(text, "Cache-Control: private\r\n") != NULL;
    return answer;
}

static inline struct answer asked(const char *head) {
    return answer_of(ask_now(head));
}

static inline struct answer asked_with(const char *form, const char *cookie) {
    return answer_of(ask_as("/", cookies_of(form, cookie)));
}

/* --- Sessions ----------------------------------------------------------------------------- */

/* Opens one with long polling; returns the server. */
static inline uint32_t opened(char sid[32]) {
    struct peer *client = ask_raw("GET /socket.io/?EIO=4&transport=polling&t=1 HTTP/1.1\r\n"
                                  "Host: a\r\n");
    char plain[1024];
    uint32_t len = 0;   /* without the framing of one-byte chunks */
    for (size_t i = 0; i < client->rx_len && len < sizeof plain - 1; i++) {
        const char *at = (const char *)client->rx + i;
        bool framing = i + 3 <= client->rx_len && memcmp(at, "\r\n1", 3) == 0;
        i += framing ? 4 : 0;
        if (!framing) {
            plain[len++] = *at;
        }
    }
    plain[len] = '\0';
    const char *open = strstr(plain, "\"sid\":\"");
    assert_non_null(open);
    assert_int_equal(sscanf(open, "\"sid\":\"%31[^\"]", sid), 1);
    peer_free(client);
    return (uint32_t)(sid[1] - '0');
}

/* The status of a request of that session. */
static inline int polled(const char *sid, const char *method) {
    char head[256];
    snprintf(head, sizeof head, "%s /socket.io/?sid=%s&EIO=4&transport=%s HTTP/1.1\r\nHost: a\r\n%s",
             method, sid, *method == 'G' ? "websocket" : "polling",
             *method == 'P' ? "Content-Length: 0\r\n" : "");
    return asked(head).status;
}

#endif
