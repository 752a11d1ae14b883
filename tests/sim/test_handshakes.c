/* What takes TLS long: however many handshakes wait, what is live is served in the turn in which it
 * comes, and large bodies stand in a lane of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/net.h"
#include "sim/peer.h"
#include "sim/sim.h"
#include "sim/toy_tls.h"
#include "tls/tls.h"

#define LIVE_COUNT 20u
#define STORM_COUNT 500u
#define COUNT (LIVE_COUNT + STORM_COUNT)
#define PER_TURN 8u
#define BUFFERS 4096u           /* more than are ever needed */

/* --- A server that says what it hears ----------------------------------------------------- */

struct conn {
    struct server *server;
    struct wire *wire;
    struct task task;
};

struct server {
    struct ring *ring;
    struct net net;
    struct tls_context *tls;
    struct listener *listener;
    struct task accepting;
    struct addr addr;
    int fd;
    struct wire_limits limits;
    struct connection_limit limit;
    struct conn conns[COUNT];
    uint32_t count, gone;
};

static void conn_run(struct task *task) {
    struct conn *c = container_of(task, struct conn, task);
    unsigned ready = c->wire->ready;
    c->wire->ready = 0;
    if ((ready & WIRE_LOST) != 0) {
        wire_shut(c->wire, c->wire->why);
    } else {
        if (bufq_move(wire_tx(c->wire), &c->wire->rx, c->wire->rx.bytes) > 0) {
            wire_push(c->wire);
            wire_pull(c->wire);
        }
        if ((ready & WIRE_EOF) == 0) {
            return;
        }
        wire_end(c->wire, CLOSE_CLIENT_EOF);
    }
    task_cancel(c->server->ring, &c->task);
    c->wire = NULL;
    c->server->gone++;
}

static void server_accepting(struct task *task) {
    struct server *s = container_of(task, struct server, accepting);
    for (int fd; (fd = listener_take(s->listener)) >= 0;) {
        assert_true(s->count < COUNT);
        struct conn *c = &s->conns[s->count++];
        c->server = s;
        task_init(&c->task, conn_run);
        struct wire_params params = {.fd = fd, .tls = s->tls, .limits = &s->limits,
                                     .limit = &s->limit};
        c->wire = wire_accept(&s->net, &params, &c->task);
        assert_non_null(c->wire);
    }
}

static struct server *server_new(uint32_t buf_size, uint32_t buf_max) {
    struct server *s = mem_zero(sizeof *s);
    const char *error;
    char why[TLS_WHY_MAX];
    s->ring = ring_new(&(struct ring_params){.handshakes_per_turn = PER_TURN, .buf_size = buf_size,
                                             .buf_max = buf_max}, NULL);
    net_init(&s->net, s->ring);
    s->tls = tls_context_new(&(struct tls_params){0}, why);
    s->limits = (struct wire_limits){.rx_mark = 16384, .tx_mark = 16384, .handshake_ms = 60000,
                                     .connect_ms = 1000, .send_ms = 60000, .linger_ms = 1000};
    s->limit.max = COUNT + LISTENER_BACKLOG;
    assert_true(addr_parse(&s->addr, STR("127.0.0.1:443"), &error));
    s->fd = sys_listen(&s->addr, false, COUNT);
    assert_true(s->fd >= 0);
    task_init(&s->accepting, server_accepting);
    s->listener = listener_new(&s->net, s->fd, &s->limit, &s->accepting);
    return s;
}

static bool server_is_empty(void *arg) {
    struct server *s = arg;
    return net_is_empty(&s->net);
}

static void server_free(struct server *s) {
    listener_shut(s->listener);
    assert_int_equal(peers_run(server_is_empty, s, 10000), PEERS_MET);
    assert_int_equal(sys_close(s->fd), 0);
    net_fini(&s->net);
    tls_context_free(s->tls);
    ring_free(s->ring);
    mem_free(s);
}

/* --- Clients ------------------------------------------------------------------------------ */

struct client {
    struct peer *peer;
    struct toy_client toy;
    uint32_t said, heard;        /* bytes */
};

static void client_flush(struct client *c) {
    if (c->toy.out.len > 0 && c->peer->state == PEER_OPEN) {
        peer_send(c->peer, c->toy.out.p, c->toy.out.len);
        c->toy.out.len = 0;
    }
}

static void client_changed(struct peer *peer) {
    struct client *c = peer->user;
    toy_client_feed(&c->toy, peer->rx, peer->rx_len);
    peer_drop(peer, peer->rx_len);
    assert_false(c->toy.broken || c->toy.alerted);
    c->heard += (uint32_t)c->toy.plain.len;
    toy_bytes_drop(&c->toy.plain, c->toy.plain.len);
    if (c->toy.up) {
        client_flush(c);
    }
}

static void client_init(struct client *c, const struct server *s) {
    toy_client_init(&c->toy, "a");
    c->peer = peer_dial(&s->addr, NULL);
    c->peer->user = c;
    c->peer->changed = client_changed;
}

static void client_ping(struct client *c) {
    toy_client_send(&c->toy, "ping", 4);
    c->said += 4;
    client_flush(c);
}

/* --- The storm ---------------------------------------------------------------------------- */

static bool all_accepted(void *arg) {
    return ((struct server *)arg)->count == COUNT;
}

struct wanted {
    struct server *server;
    uint32_t handshakes;
};

static bool all_up(void *arg) {
    struct wanted *w = arg;
    return stats_get(ring_stats(w->server->ring), STAT_HANDSHAKES) >= w->handshakes;
}

/* Between turns nothing that came for a live connection is left lying; how many handshakes do. */
static uint32_t check_turn(const struct server *s) {
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct wire *w = s->conns[i].wire;
        if (w->state == WIRE_HANDSHAKE) {
            waiting += w->intake->cipher.bytes > 0;
            assert_int_equal(w->turn.lane, TASK_HANDSHAKE);
        } else {
            assert_int_equal(w->intake->cipher.bytes + w->rx.bytes, 0);
            assert_true(w->sender == NULL || w->sender->tx.bytes == 0);
            assert_int_equal(w->turn.lane, TASK_LIVE);
        }
    }
    return waiting;
}

static void live_is_served_in_a_storm(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct sim_params params = sim_params_clean();
        params.latency_us = 0;
        struct sim *sim = sim_new(seed, &params);
        struct server *s = server_new(2048, BUFFERS);
        struct client *clients = mem_zero(COUNT * sizeof *clients);
        struct wanted wanted = {s, LIVE_COUNT};
        for (uint32_t i = 0; i < COUNT; i++) {
            client_init(&clients[i], s);
        }
        assert_int_equal(sim_run_until(sim, all_accepted, s, 1000), PEERS_MET);
        for (uint32_t i = 0; i < LIVE_COUNT; i++) {
            client_flush(&clients[i]);
        }
        assert_int_equal(sim_run_until(sim, all_up, &wanted, 1000), PEERS_MET);
        for (uint32_t i = LIVE_COUNT; i < COUNT; i++) {
            client_flush(&clients[i]);
        }
        const struct stats *stats = ring_stats(s->ring);
        uint64_t began = stats_get(stats, STAT_TURNS), before = LIVE_COUNT, turns = began;
        uint32_t most = 0, echoes = 0;
        wanted.handshakes = COUNT;
        for (uint32_t i = 0; !all_up(&wanted); i++) {
            struct client *c = &clients[i % LIVE_COUNT];
            echoes += c->heard == c->said;
            if (c->heard == c->said) {
                client_ping(c);
            }
            assert_true(sim_step(sim));
            uint32_t waiting = check_turn(s);
            most = waiting > most ? waiting : most;
            uint64_t now = stats_get(stats, STAT_HANDSHAKES);
            assert_true(now - before <= PER_TURN * (stats_get(stats, STAT_TURNS) - turns));
            before = now;
            turns = stats_get(stats, STAT_TURNS);
        }
        /* Two flights of each, a few in each turn; and all the while pings and their echoes. */
        assert_true(most > STORM_COUNT / 2);
        assert_true(turns - began >= 2 * STORM_COUNT / PER_TURN);
        assert_true(echoes > LIVE_COUNT * 5);
        for (uint32_t i = 0; i < COUNT; i++) {
            peer_fin(clients[i].peer);
        }
        server_free(s);
        for (uint32_t i = 0; i < COUNT; i++) {
            toy_client_fini(&clients[i].toy);
        }
        mem_free(clients);
        sim_free(sim);
    }
}

static bool one_accepted(void *arg) {
    return ((struct server *)arg)->count == 1;
}

static bool has_heard(void *arg) {
    const struct client *c = arg;
    return c->heard == c->said;
}

/* What TLS takes long for stands in a lane of its own, and what is short among the live ones again:
 * of the same connection, too. */
static void large_bodies_have_a_lane(void **state) {
    (void)state;
    static const char large[48 * 1024];
    struct sim *sim = sim_new(1, NULL);
    struct server *s = server_new(2048, BUFFERS);
    struct client client = {.said = 0};
    struct wanted wanted = {s, 1};
    client_init(&client, s);
    assert_int_equal(sim_run_until(sim, one_accepted, s, 1000), PEERS_MET);
    client_flush(&client);
    assert_int_equal(sim_run_until(sim, all_up, &wanted, 1000), PEERS_MET);
    struct wire *w = s->conns[0].wire;
    for (uint32_t i = 0; i < 3; i++) {
        bufq_copy(wire_tx(w), large, sizeof large);
        client.said += (uint32_t)sizeof large;
        wire_push(w);
        assert_int_equal(w->turn.lane, TASK_BULK);
        assert_int_equal(sim_run_until(sim, has_heard, &client, 10000), PEERS_MET);
        client_ping(&client);
        assert_int_equal(sim_run_until(sim, has_heard, &client, 10000), PEERS_MET);
        assert_int_equal(w->turn.lane, TASK_LIVE);
    }
    peer_fin(client.peer);
    server_free(s);
    toy_client_fini(&client.toy);
    sim_free(sim);
}

#define UPLOADS 40u

static bool uploads_accepted(void *arg) {
    return ((struct server *)arg)->count == UPLOADS + 1;
}

static bool uploads_heard(const struct client *clients) {
    for (uint32_t i = 1; i <= UPLOADS; i++) {
        if (clients[i].heard < clients[i].said) {
            return false;
        }
    }
    return true;
}

/* How many wait in the lane of bulk. What was received while buffers were scarce is copied for them,
 * so that half of all buffers are left to others. Of those that do not wait nothing but a piece of a
 * record is left lying. */
static uint32_t check_bulk(struct server *s, uint32_t buffers) {
    uint32_t waiting = 0, held = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct wire *w = s->conns[i].wire;
        const struct bufq *cipher = &w->intake->cipher;
        if (w->turn.lane == TASK_BULK && list_linked(&w->turn.ready)) {
            waiting++;
            held += bufq_first(cipher)->seg->home == ring_receive_pool(s->ring);
        } else {
            assert_true(cipher->bytes < TOY_RECORD_MAX && w->rx.bytes == 0);
        }
    }
    assert_true(held <= buffers / 2 + 1);
    return waiting;
}

/* Bodies that come: they stand in the lane of bulk, even where there are few receive buffers all
 * comes through, and who sends little meanwhile is heard in the turn in which it comes. */
static void large_uploads_have_it_too(void **state) {
    (void)state;
    static const char large[60 * 1024];
    static const uint32_t buffers[] = {BUFFERS, 16};
    for (uint32_t round = 0; round < 6; round++) {
        uint32_t buf_max = buffers[round % 2];
        struct sim_params params = sim_params_clean();
        params.latency_us = 0;
        params.pipe_min = params.pipe_max = 2 * sizeof large;
        struct sim *sim = sim_new(round, &params);
        struct server *s = server_new(sizeof large + 4096, buf_max);
        struct client *clients = mem_zero((UPLOADS + 1) * sizeof *clients);
        struct wanted wanted = {s, UPLOADS + 1};
        for (uint32_t i = 0; i <= UPLOADS; i++) {
            client_init(&clients[i], s);
        }
        assert_int_equal(sim_run_until(sim, uploads_accepted, s, 1000), PEERS_MET);
        for (uint32_t i = 0; i <= UPLOADS; i++) {
            client_flush(&clients[i]);
        }
        assert_int_equal(sim_run_until(sim, all_up, &wanted, 1000), PEERS_MET);
        for (uint32_t i = 1; i <= UPLOADS; i++) {
            toy_client_send(&clients[i].toy, large, sizeof large);
            clients[i].said += (uint32_t)sizeof large;
            client_flush(&clients[i]);
        }
        uint32_t most = 0, echoes = 0;
        while (!uploads_heard(clients)) {
            assert_true(sim_step(sim));
            uint32_t waiting = check_bulk(s, buf_max);
            most = waiting > most ? waiting : most;
            if (clients[0].heard == clients[0].said) {
                echoes++;
                client_ping(&clients[0]);
            }
        }
        assert_true(most > UPLOADS / 4 && echoes > 0);
        for (uint32_t i = 0; i <= UPLOADS; i++) {
            peer_fin(clients[i].peer);
        }
        server_free(s);
        for (uint32_t i = 0; i <= UPLOADS; i++) {
            toy_client_fini(&clients[i].toy);
        }
        mem_free(clients);
        sim_free(sim);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_is_served_in_a_storm),
        cmocka_unit_test(large_bodies_have_a_lane),
        cmocka_unit_test(large_uploads_have_it_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
