/* Slots, the queue, and servers that are away: whole gyres of one to eight rings against workers
 * that count what they are asked at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "script/lab.h"
#include "sim/sim.h"

#define CLIENTS_MAX 400u
#define SERVERS_MAX 2u
#define LINKS_MAX 4096u

/* --- Workers ------------------------------------------------------------------------------ */

/* A server: a request occupies one of its workers from its head to its answer, whether or not
 * somebody still waits for it. */
struct origin {
    struct addr addr;
    struct peer_listener *listener;
    uint32_t busy, busy_peak;         /* requests */
    uint32_t open, open_peak;         /* connections */
    uint32_t served;
};

struct link;
struct job {
    struct origin *origin;
    struct link *link;                /* NULL: its connection is gone */
};

/* A connection to an origin, which may outlive its listener. */
struct link {
    struct origin *origin;
    struct peer *peer;
    struct job *job;                  /* the request in hand, or NULL */
};

struct scene {
    struct sim *sim;
    struct lab lab;
    uint64_t seed;
    struct origin origins[SERVERS_MAX];
    uint32_t origin_count;
    uint32_t work_least_ms, work_ms;  /* the one and up to the other on top of it */
    bool closes;                      /* after each answer */
    struct job jobs[CLIENTS_MAX * 2]; /* one for each of them */
    uint32_t asked[CLIENTS_MAX * 2];  /* in the order in which the workers saw them */
    uint32_t asked_count;
    struct link links[LINKS_MAX];
    uint32_t link_count;
};
static struct scene scene;

static void job_done(void *arg) {
    struct job *job = arg;
    struct origin *origin = job->origin;
    struct link *link = job->link;
    origin->busy--;
    origin->served++;
    if (link != NULL) {
        link->job = NULL;
        peer_send_text(link->peer, scene.closes
            ? "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
            : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        if (scene.closes) {
            peer_fin(link->peer);
        }
    }
}

static void link_over(struct link *link) {
    link->origin->open--;
    link->peer->changed = NULL;
    if (link->job != NULL) {
        link->job->link = NULL;
    }
    if (!link->peer->reset) {
        peer_fin(link->peer);
    }
}

static void worker_hears(struct peer *peer) {
    struct link *link = peer->user;
    struct origin *origin = link->origin;
    if (peer->eof || peer->reset) {
        link_over(link);
        return;
    }
    if (link->job != NULL || !peer_has(peer, "\r\n\r\n")) {
        return;
    }
    unsigned id = 0;
    char line[32] = "";
    memcpy(line, peer->rx, peer->rx_len < sizeof line ? peer->rx_len : sizeof line - 1);
    assert_int_equal(sscanf(line, "GET /%u ", &id), 1);
    assert_true(scene.asked_count < CLIENTS_MAX * 2);
    scene.asked[scene.asked_count++] = id;
    peer_drop(peer, peer->rx_len);
    link->job = &scene.jobs[scene.asked_count - 1];
    *link->job = (struct job){origin, link};
    origin->busy++;
    origin->busy_peak = origin->busy > origin->busy_peak ? origin->busy : origin->busy_peak;
    uint32_t busy_ms = scene.work_least_ms + sim_draw(scene.sim, scene.work_ms);
    sim_after(scene.sim, busy_ms, job_done, link->job);
}

static void worker_accepts(struct peer *peer) {
    struct origin *origin = peer->listener->user;
    assert_true(scene.link_count < LINKS_MAX);
    struct link *link = &scene.links[scene.link_count++];
    *link = (struct link){.origin = origin, .peer = peer};
    peer->user = link;
    origin->open++;
    origin->open_peak = origin->open > origin->open_peak ? origin->open : origin->open_peak;
    peer->changed = worker_hears;
}

static void origin_listen(void *arg) {
    struct origin *origin = arg;
    origin->listener = peer_listen(&origin->addr, 256);
    assert_non_null(origin->listener);
    origin->listener->user = origin;
    origin->listener->accepted = worker_accepts;
}

static void origin_away(void *arg) {
    struct origin *origin = arg;
    peer_listener_close(origin->listener);
    origin->listener = NULL;
}

/* --- Clients ------------------------------------------------------------------------------ */

struct client {
    uint32_t id;
    struct peer *peer;
    uint32_t address;
    bool vanishes, gone;
};
static struct client clients[CLIENTS_MAX];
static uint32_t client_count;

static void client_start(void *arg) {
    struct client *c = arg;
    char text[128];
    snprintf(text, sizeof text, "127.0.1.%u:%u", c->address, 1024 + c->id);
    struct addr to = addr_of("127.0.0.1:80"), from = addr_of(text);
    c->peer = peer_dial(&to, &from);
    snprintf(text, sizeof text, "GET /%u HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", c->id);
    peer_send_text(c->peer, text);
}

static void client_vanish(void *arg) {
    struct client *c = arg;
    c->gone = true;
    if (c->peer != NULL && c->peer->state == PEER_OPEN) {
        sim_draw(scene.sim, 2) == 0 ? peer_reset(c->peer) : peer_close(c->peer);
    }
}

static void client_add(uint32_t address, uint64_t at_ms, uint64_t vanishes_ms) {
    struct client *c = &clients[client_count];
    *c = (struct client){.id = client_count, .address = address, .vanishes = vanishes_ms != 0};
    client_count++;
    sim_after(scene.sim, at_ms, client_start, c);
    if (c->vanishes) {
        sim_after(scene.sim, at_ms + vanishes_ms, client_vanish, c);
    }
}

static bool client_is_over(const struct client *c) {
    return c->gone || (c->peer != NULL && (c->peer->eof || c->peer->reset));
}

static bool all_over(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < client_count; i++) {
        if (!client_is_over(&clients[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < scene.origin_count; i++) {
        if (scene.origins[i].busy > 0) {
            return false;
        }
    }
    return true;
}

static uint32_t answered(const char *status) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < client_count; i++) {
        count += clients[i].peer != NULL && clients[i].peer->rx_len > 0 &&
                 peer_has(clients[i].peer, status);
    }
    return count;
}

/* --- A scene ------------------------------------------------------------------------------ */

static void begin(uint64_t seed, uint32_t workers, uint32_t servers, const char *backend) {
    memset(&scene, 0, sizeof scene);
    client_count = 0;
    scene.seed = seed;
    scene.work_least_ms = 1;
    scene.work_ms = 20;
    scene.sim = sim_new(seed, NULL);
    char ini[1024], *p = ini;
    p += sprintf(p, "[global]\nworkers = %u\n[listener web]\nbind = 127.0.0.1:80\n"
                    "backend = app\nmax_connections_per_client = 1000\n[backend app]\n", workers);
    for (uint32_t i = 0; i < servers; i++) {
        char text[32];
        snprintf(text, sizeof text, "127.0.0.1:%u", 8001 + i);
        scene.origins[i].addr = addr_of(text);
        p += sprintf(p, "server = %s\n", text);
        origin_listen(&scene.origins[i]);
    }
    scene.origin_count = servers;
    sprintf(p, "%s", backend);
    assert_true(lab_start(&scene.lab, true, ini, NULL));
}

static void run(void) {
    enum peers_end how = sim_run_until(scene.sim, all_over, NULL, 200000);
    if (how != PEERS_MET) {
        fail_msg("seed %llu: it does not end", (unsigned long long)scene.seed);
    }
}

static void end(void) {
    assert_true(lab_stop(&scene.lab, 60000));
    for (uint32_t i = 0; i < client_count; i++) {
        if (clients[i].peer != NULL) {
            peer_free(clients[i].peer);
        }
    }
    sim_free(scene.sim);
}

/* --- Tests -------------------------------------------------------------------------------- */

/* Never more than the slots, nobody is lost, whatever the number of rings; and every wait ends. */
static void slots_hold(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 160; seed++) {
        uint32_t slots = 1 + (uint32_t)(seed / 8 % 4), servers = 1 + (uint32_t)(seed % 2);
        bool idle = seed % 3 == 0;
        char backend[200];
        snprintf(backend, sizeof backend, "slots = %u\nidle_holds_slot = %s\nkeepalive = %u\n",
                 slots, idle ? "yes" : "no", (unsigned)(seed % 5 == 0 ? 0 : 8));
        begin(seed, 1 + (uint32_t)(seed % 8), servers, backend);
        scene.closes = seed % 4 == 0;
        for (uint32_t i = 0; i < 80; i++) {
            bool vanishes = sim_chance(scene.sim, 2500);
            client_add(1 + (uint32_t)sim_draw(scene.sim, 5), sim_draw(scene.sim, 150),
                       vanishes ? 1 + sim_draw(scene.sim, 100) : 0);
        }
        run();
        uint32_t stay = 0;
        for (uint32_t i = 0; i < client_count; i++) {
            stay += !clients[i].vanishes;
        }
        assert_true(answered("HTTP/1.1 200") >= stay);
        for (uint32_t i = 0; i < servers; i++) {
            assert_true(scene.origins[i].busy_peak <= slots);
            assert_int_equal(scene.origins[i].busy_peak, slots);   /* and all of them are used */
            if (idle) {   /* a connection that is being closed still counts for a moment */
                assert_true(scene.origins[i].open_peak <= 2 * slots);
                assert_true(scene.origins[i].open <= slots);
            }
        }
        end();
    }
}

/* One slot, one client address: strictly in order of arrival, across all rings. */
static void order_of_arrival(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 8), 1, "slots = 1\n");
        for (uint32_t i = 0; i < 60; i++) {
            client_add(1, 5 * (i + 1), 0);
        }
        run();
        assert_int_equal(scene.asked_count, 60);
        for (uint32_t i = 0; i < 60; i++) {
            assert_int_equal(scene.asked[i], i);
        }
        end();
    }
}

/* 200 requests of one address stand before one of another: it is served within two turns. */
static void fair_between_clients(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 1, "slots = 2\n");
        for (uint32_t i = 0; i < 200; i++) {
            client_add(1, 1, 0);
        }
        client_add(2, 100, 0);
        run();
        uint32_t at = 0;
        while (scene.asked[at] != 200) {
            at++;
        }
        assert_true(at < 100);
        assert_int_equal(answered("HTTP/1.1 200"), 201);
        end();
    }
}

static void bound_of_the_queue(void **state) {
    (void)state;
    begin(1, 2, 1, "slots = 1\nqueue = 10\nqueue_timeout = 5s\n");
    scene.work_ms = 1;
    for (uint32_t i = 0; i < 50; i++) {
        client_add(1, 1, 0);
    }
    run();
    assert_true(answered("HTTP/1.1 200") >= 11);
    assert_int_equal(answered("HTTP/1.1 200") + answered("HTTP/1.1 503"), 50);
    assert_int_equal(answered("HTTP/1.1 503"), answered("Retry-After: "));
    end();
}

/* A flood fills the queue; another client is let in, and one of the flood yields. */
static void the_flood_yields(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 1, "slots = 1\nqueue = 20\n");
        for (uint32_t i = 0; i < 60; i++) {
            client_add(1, 1, 0);
        }
        for (uint32_t i = 0; i < 5; i++) {
            client_add(2 + i, 50, 0);
        }
        run();
        for (uint32_t i = 60; i < 65; i++) {
            assert_true(peer_has(clients[i].peer, "HTTP/1.1 200"));
        }
        end();
    }
}

static void patience_ends(void **state) {
    (void)state;
    begin(1, 2, 1, "slots = 1\nqueue_timeout = 200ms\nresponse_timeout = 10s\n");
    scene.work_ms = 3000;
    for (uint32_t i = 0; i < 10; i++) {
        client_add(1, 1 + i, 0);
    }
    run();
    assert_true(answered("HTTP/1.1 200") >= 1);
    assert_int_equal(answered("HTTP/1.1 200") + answered("HTTP/1.1 503"), 10);
    end();
}

/* Who is not there any more leaves the queue, and no worker hears of it. */
static void who_left_is_never_asked(void **state) {
    (void)state;
    begin(1, 3, 1, "slots = 1\n");
    scene.work_ms = 1;
    client_add(1, 1, 0);
    scene.work_ms = 500;
    for (uint32_t i = 0; i < 20; i++) {
        client_add(1, 2, 0);
    }
    for (uint32_t i = 0; i < 20; i++) {
        client_add(1, 3, 1);
    }
    run();
    for (uint32_t i = 0; i < scene.asked_count; i++) {
        assert_true(clients[scene.asked[i]].id <= 20 || !clients[scene.asked[i]].gone);
    }
    end();
}

/* Five seconds without a server cost nobody an error, with slots and without, in order. */
static void a_restart_is_waited_for(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        uint32_t servers = 1 + (uint32_t)(seed % 2);
        begin(seed, 1 + (uint32_t)(seed % 4), servers, seed % 3 == 0 ? "" : "slots = 4\n");
        scene.closes = true;
        for (uint32_t i = 0; i < 100; i++) {
            client_add(1 + i % 7, 10 + 70 * i, 0);
        }
        for (uint32_t i = 0; i < servers; i++) {
            sim_after(scene.sim, 1000, origin_away, &scene.origins[i]);
            sim_after(scene.sim, 6000, origin_listen, &scene.origins[i]);
        }
        run();
        if (answered("HTTP/1.1 200") != 100) {
            fail_msg("seed %llu: %u of 100 answered", (unsigned long long)seed,
                     answered("HTTP/1.1 200"));
        }
        end();
    }
}

/* A server that does not come back: past the bounds of the queue it is 503, for who stands in line
 * and for who finds no place there; who comes after queue_timeout is told at once. */
static void a_server_that_stays_away(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 1 + (uint32_t)(seed % 2),
              "slots = 1\nqueue = 3\nqueue_timeout = 2s\nkeepalive = 0\n");
        client_add(1, 1, 0);
        client_add(1, 2, 0);
        run();
        assert_int_equal(answered("HTTP/1.1 200"), 2);
        for (uint32_t i = 0; i < scene.origin_count; i++) {
            origin_away(&scene.origins[i]);
        }
        for (uint32_t i = 0; i < 12; i++) {
            client_add(2 + i % 3, 10 + 5 * i, 0);
        }
        run();
        if (answered("HTTP/1.1 503") != 12 || answered("\r\nRetry-After: 5\r\n") != 12) {
            fail_msg("seed %llu: %u of 12 are told to come again", (unsigned long long)seed,
                     answered("\r\nRetry-After: 5\r\n"));
        }
        client_add(1, 100, 0);
        run();
        assert_int_equal(answered("HTTP/1.1 502"), 1);
        end();
    }
}

/* One that never was is not waited for as long as one that comes back. */
static void a_wrong_port_is_told_soon(void **state) {
    (void)state;
    begin(1, 2, 1, "connect_timeout = 1s\n");
    origin_away(&scene.origins[0]);
    for (uint32_t i = 0; i < 5; i++) {
        client_add(1, 1, 0);
    }
    uint64_t began = sim_now_us(scene.sim);
    run();
    assert_true(sim_now_us(scene.sim) - began < 2000000);
    assert_int_equal(answered("HTTP/1.1 502"), 5);
    client_add(1, 1, 0);
    began = sim_now_us(scene.sim);
    run();
    assert_true(sim_now_us(scene.sim) - began < 1000000);
    assert_int_equal(answered("HTTP/1.1 502"), 6);
    end();
}

/* Who came before a server that was never there has come up is served as all others are, though it
 * takes longer than they would have waited for nobody. */
static void a_late_server_serves_all(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 1, "slots = 1\nconnect_timeout = 1s\n");
        scene.work_ms = 200;
        origin_away(&scene.origins[0]);
        for (uint32_t i = 0; i < 40; i++) {
            client_add(1 + i % 3, 1 + 20 * i, 0);
        }
        sim_after(scene.sim, 900, origin_listen, &scene.origins[0]);
        run();
        if (answered("HTTP/1.1 200") != 40) {
            fail_msg("seed %llu: %u of 40 answered", (unsigned long long)seed,
                     answered("HTTP/1.1 200"));
        }
        end();
    }
}

/* Slots that idle connections of other rings occupy are had at once, all of them. */
static void idle_connections_give_way(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 1,
              "slots = 4\nidle_holds_slot = yes\nkeepalive_timeout = 20s\n");
        scene.work_least_ms = 100;
        for (uint32_t burst = 0; burst < 5; burst++) {
            for (uint32_t i = 0; i < 4; i++) {
                client_add(1 + i, 1, 0);
            }
            run();
            if (scene.origins[0].busy_peak != 4) {
                fail_msg("seed %llu, burst %u: %u at once", (unsigned long long)seed, burst,
                         scene.origins[0].busy_peak);
            }
            scene.origins[0].busy_peak = 0;
        }
        end();
    }
}

/* With everything that can go wrong: nobody hangs, nothing is left. */
static void storms(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        bool idle = seed % 3 == 0 && seed % 4 != 0;
        char backend[200];
        snprintf(backend, sizeof backend, "slots = %u\nidle_holds_slot = %s\nqueue_timeout = 3s\n"
                 "response_timeout = 2s\nconnect_timeout = 1s\n", (unsigned)(seed % 4),
                 idle ? "yes" : "no");
        begin(seed, 1 + (uint32_t)(seed % 8), 1 + (uint32_t)(seed % 2), backend);
        *sim_params(scene.sim) = sim_params_rough(seed);
        sim_params(scene.sim)->pipe_min = sim_params(scene.sim)->pipe_max = 4096;
        for (uint32_t i = 0; i < 60; i++) {
            client_add(1 + (uint32_t)sim_draw(scene.sim, 5), sim_draw(scene.sim, 1000),
                       1 + sim_draw(scene.sim, 3000));
        }
        run();
        *sim_params(scene.sim) = sim_params_clean();
        end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_hold), cmocka_unit_test(order_of_arrival),
        cmocka_unit_test(fair_between_clients), cmocka_unit_test(bound_of_the_queue),
        cmocka_unit_test(the_flood_yields), cmocka_unit_test(patience_ends),
        cmocka_unit_test(who_left_is_never_asked), cmocka_unit_test(a_restart_is_waited_for),
        cmocka_unit_test(a_server_that_stays_away),
        cmocka_unit_test(a_wrong_port_is_told_soon), cmocka_unit_test(a_late_server_serves_all),
        cmocka_unit_test(idle_connections_give_way), cmocka_unit_test(storms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
