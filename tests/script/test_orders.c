/* Orders to servers from a thread of its own while every ring has requests: drained, disabled and
 * made ready, on the simulated ring and on sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "script/lab.h"
#if GYRE_ON_SIM
#include "sim/sim.h"
#endif

#define CLIENTS 16u
#define LINKS_MAX 4000u
#define ORDERS 300u
#define LIMIT_MS 60000u

struct origin {
    struct peer_listener *listener;
    uint32_t requests, links;
};

static struct lab lab;
static struct addr at;
static struct origin origins[2];
static struct peer *clients[CLIENTS];
static uint32_t answers;

static void origin_hears(struct peer *peer) {
    struct origin *origin = peer->user;
    if (peer->eof || peer->reset) {
        peer->changed = NULL;
        peer_free(peer);
        origin->links--;
    } else if (peer_has(peer, "\r\n\r\n")) {
        peer_drop(peer, peer->rx_len);
        origin->requests++;
        peer_send_text(peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

static void origin_accepts(struct peer *peer) {
    struct origin *origin = peer->listener->user;
    origin->links++;
    peer->user = origin;
    peer->changed = origin_hears;
}

static void client_hears(struct peer *peer) {
    assert_false(peer->eof || peer->reset);
    if (peer_has(peer, "\r\n\r\nok")) {
        assert_true(peer_has(peer, "HTTP/1.1 200 OK\r\n"));
        peer_drop(peer, peer->rx_len);
        answers++;
        peer_send_text(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    }
}

static bool has_answers(void *arg) {
    return answers >= *(uint32_t *)arg;
}

static void more(uint32_t count) {
    uint32_t want = answers + count;
    assert_int_equal(peers_run(has_answers, &want, LIMIT_MS), PEERS_MET);
}

static bool has_no_links(void *arg) {
    return ((struct origin *)arg)->links == 0;
}

static void begin(void) {
    static char ini[512];
    struct addr any = addr_of("127.0.0.1:1");
    any.sa.in.sin_port = 0;   /* whichever is free */
    uint32_t ports[2];
    for (uint32_t i = 0; i < 2; i++) {
        origins[i].listener = peer_listen(&any, 256);
        assert_non_null(origins[i].listener);
        origins[i].listener->user = &origins[i];
        origins[i].listener->accepted = origin_accepts;
        ports[i] = addr_port(&origins[i].listener->addr);
    }
    struct peer_listener *free_port = peer_listen(&any, 1);
    assert_non_null(free_port);
    at = free_port->addr;
    peer_listener_close(free_port);
    snprintf(ini, sizeof ini, "[global]\nworkers = 3\n[listener web]\nbind = 127.0.0.1:%u\n"
             "backend = app\n[backend app]\nmode = async\nbalance = round_robin\n"
             "keepalive_timeout = 1h\nslow_start = 20ms\nserver = 127.0.0.1:%u\n"
             "server = 127.0.0.1:%u\n", addr_port(&at), ports[0], ports[1]);
    assert_true(lab_start(&lab, GYRE_ON_SIM, ini, NULL));
}

static void orders(void **state) {
    (void)state;
#if GYRE_ON_SIM
    struct sim *sim = sim_new(1, NULL);
#endif
    begin();
    struct server *servers = lab.plan->registry->backends[0].servers;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = peer_dial(&at, NULL);
        clients[i]->changed = client_hears;
        peer_send_text(clients[i], "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    }
    more(100);
    for (uint32_t i = 0; i < ORDERS; i++) {
        struct server *server = &servers[i / 3 % 2];
        server_set_admin(server, (enum server_admin)((i + 1) % 3));   /* READY is the third */
        more(5);
    }
    server_set_admin(&servers[1], SERVER_DISABLED);
    assert_int_equal(peers_run(has_no_links, &origins[1], LIMIT_MS), PEERS_MET);
    assert_true(origins[0].requests > 100 && origins[1].requests > 100);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i]->changed = NULL;
        peer_free(clients[i]);
    }
    assert_true(lab_stop(&lab, LIMIT_MS));
    for (uint32_t i = 0; i < 2; i++) {
        peer_listener_close(origins[i].listener);
    }
#if GYRE_ON_SIM
    sim_free(sim);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(orders)};
    return cmocka_run_group_tests_name("orders", tests, NULL, NULL);
}
