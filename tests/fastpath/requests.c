/* The fast path and nothing else: keep-alive clients on the simulated ring ask for 1 KiB, one
 * worker relays it. tests/fastpath/run counts the instructions.
 *
 *   fastpath REQUESTS [log]     of each of the 32 clients; with the access log on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/lab.h"
#include "sim/sim.h"

#define CLIENTS 32u
#define BODY_BYTES 1024

static const char asked[] = "GET /catalog/items?page=3 HTTP/1.1\r\n"
                            "Host: www.example.org\r\n"
                            "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0\r\n"
                            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9\r\n"
                            "Accept-Language: en-US,en;q=0.5\r\n"
                            "Accept-Encoding: gzip, deflate, br\r\n"
                            "Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";
static const char answer_head[] = "HTTP/1.1 200 OK\r\n"
                                  "Server: gunicorn\r\n"
                                  "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                                  "Connection: keep-alive\r\n"
                                  "Content-Type: text/html; charset=utf-8\r\n"
                                  "Content-Length: 1024\r\n\r\n";
static char answer[sizeof answer_head - 1 + BODY_BYTES];

struct client {
    struct peer *peer;
    unsigned long left;
};
static struct client clients[CLIENTS];

static void origin_hears(struct peer *peer) {
    if (peer_has(peer, "\r\n\r\n")) {
        peer_drop(peer, peer->rx_len);
        peer_send(peer, answer, sizeof answer);
    }
}

static void origin_accepts(struct peer *peer) {
    peer->changed = origin_hears;
}

static void client_hears(struct peer *peer) {
    struct client *client = peer->user;
    char end[9] = "";
    if (peer->rx_len > BODY_BYTES) {
        memcpy(end, peer->rx + peer->rx_len - 8, 8);
    }
    if (strcmp(end, "the end\n") == 0) {
        ensure(memcmp(peer->rx, "HTTP/1.1 200 OK\r\n", 17) == 0);
        peer_drop(peer, peer->rx_len);
        if (--client->left > 0) {
            peer_send(peer, asked, sizeof asked - 1);
        }
    }
}

static bool all_served(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        if (clients[i].left > 0) {
            return false;
        }
    }
    return true;
}

static unsigned long lines_in(struct str text) {
    unsigned long count = 0;
    for (uint32_t i = 0; i < text.len; i++) {
        count += text.p[i] == '\n';
    }
    return count;
}

int main(int argc, char **argv) {
    unsigned long each = argc >= 2 ? strtoul(argv[1], NULL, 10) : 0;
    bool log = argc == 3 && strcmp(argv[2], "log") == 0;
    if (each == 0 || argc > (log ? 3 : 2)) {
        fprintf(stderr, "usage: fastpath REQUESTS [log]\n");
        return 2;
    }
    memset(answer, 'x', sizeof answer);
    memcpy(answer, answer_head, sizeof answer_head - 1);
    memcpy(answer + sizeof answer - 8, "the end\n", 8);
    struct sim *sim = sim_new(1, NULL);
    struct addr origin = addr_of("127.0.0.1:8001"), gyre = addr_of("127.0.0.1:80");
    struct peer_listener *listener = peer_listen(&origin, 256);
    listener->accepted = origin_accepts;
    struct lab lab;
    char conf[256];
    snprintf(conf, sizeof conf, "[global]\nworkers = 1\naccess_log = %s\n"
                                "[listener web]\nbind = 127.0.0.1:80\nbackend = app\n"
                                "max_requests = 1000000000\n"
                                "[backend app]\nserver = 127.0.0.1:8001\n",
             log ? "/access.log" : "off");
    ensure(lab_start(&lab, true, conf, NULL));
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){peer_dial(&gyre, NULL), each};
        clients[i].peer->user = &clients[i];
        clients[i].peer->changed = client_hears;
        peer_send(clients[i].peer, asked, sizeof asked - 1);
    }
    ensure(sim_run_until(sim, all_served, NULL, 1000000) == PEERS_MET);
    ensure(lab_stop(&lab, 60000));
    ensure(!log || lines_in(sim_file(sim, "/access.log")) == each * CLIENTS);
    sim_free(sim);
    return 0;
}
