/* Health checks: whole gyres of one to four rings against servers that fall ill in every way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "script/lab.h"
#include "sim/sim.h"

#define SERVERS_MAX 3u
#define LINKS_MAX 20000u

/* How a server takes its checks; requests are answered all the same. */
enum mood { WELL, SAYS_500, SAYS_NOTHING, CUTS, SAYS_EARLY_HINTS };

struct origin {
    struct addr addr;
    struct peer_listener *listener;
    enum mood mood;
    uint32_t checks, requests, checks_at_once, checks_peak;
    bool holds;                        /* requests are not answered for now */
    uint32_t takes_ms;                 /* a request; 0: no time */
    uint32_t at_once, peak;            /* requests and checks */
    char check[512];                   /* the last one, as it came */
};

struct link {
    struct origin *origin;
    struct peer *peer;
    bool asked;
    bool checking, counted;
};

struct scene {
    struct sim *sim;
    struct lab lab;
    uint64_t seed;
    struct origin origins[SERVERS_MAX];
    uint32_t origin_count;
    struct link links[LINKS_MAX];
    uint32_t link_count;
};
static struct scene scene;

#define PAGE_OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void check_answer(struct link *link) {
    switch (link->origin->mood) {
    case WELL:
        peer_send_text(link->peer, "HTTP/1.1 204 No Content\r\n\r\n");
        break;
    case SAYS_EARLY_HINTS:
        peer_send_text(link->peer, "HTTP/1.1 103 Early Hints\r\n\r\n" PAGE_OK);
        break;
    case SAYS_500:
        peer_send_text(link->peer, "HTTP/1.1 500 Internal Server Error\r\n"
                                   "Content-Length: 100000\r\n\r\nmore than anybody reads");
        break;
    case SAYS_NOTHING:
        break;
    case CUTS:
        peer_close(link->peer);
        break;
    }
}

static void link_uncount(struct link *link) {
    link->origin->at_once -= link->counted;
    link->counted = false;
}

static void link_over(struct link *link) {
    link->origin->checks_at_once -= link->checking;
    link_uncount(link);
    link->peer->changed = NULL;
    if (!link->peer->reset) {
        peer_fin(link->peer);
    }
}

static void page_late(void *arg) {
    struct link *link = arg;
    link_uncount(link);
    if (link->peer->changed != NULL) {
        peer_send_text(link->peer, PAGE_OK);
    }
}

static void count_peak(struct link *link) {
    struct origin *origin = link->origin;
    link->counted = true;
    origin->at_once++;
    origin->peak = origin->at_once > origin->peak ? origin->at_once : origin->peak;
}

static void origin_hears(struct peer *peer) {
    struct link *link = peer->user;
    struct origin *origin = link->origin;
    if (peer_has(peer, "\r\n\r\n")) {
        count_peak(link);
    }
    if (peer->eof || peer->reset) {
        link_over(link);
    } else if (peer_has(peer, "\r\n\r\n") && peer_has(peer, "GET /health")) {
        uint32_t len = (uint32_t)(peer->rx_len < sizeof origin->check - 1
                                      ? peer->rx_len : sizeof origin->check - 1);
        memcpy(origin->check, peer->rx, len);
        origin->check[len] = '\0';
        peer_drop(peer, peer->rx_len);
        origin->checks++;
        link->checking = true;
        origin->checks_at_once++;
        origin->checks_peak = origin->checks_at_once > origin->checks_peak ? origin->checks_at_once
                                                                           : origin->checks_peak;
        check_answer(link);
        link_uncount(link);
    } else if (peer_has(peer, "\r\n\r\n")) {
        peer_drop(peer, peer->rx_len);
        origin->requests++;
        if (origin->takes_ms != 0 && !origin->holds) {
            sim_after(scene.sim, origin->takes_ms, page_late, link);
        } else if (!origin->holds) {
            peer_send_text(peer, PAGE_OK);
        }
    }
}

static void origin_accepts(struct peer *peer) {
    assert_true(scene.link_count < LINKS_MAX);
    struct link *link = &scene.links[scene.link_count++];
    *link = (struct link){.origin = peer->listener->user, .peer = peer};
    peer->user = link;
    peer->changed = origin_hears;
}

static void origin_listen(struct origin *origin) {
    origin->listener = peer_listen(&origin->addr, 256);
    assert_non_null(origin->listener);
    origin->listener->user = origin;
    origin->listener->accepted = origin_accepts;
}

static void origin_leave(struct origin *origin) {
    peer_listener_close(origin->listener);
    origin->listener = NULL;
}

static void begin(uint64_t seed, uint32_t workers, uint32_t servers, const char *backend) {
    memset(&scene, 0, sizeof scene);
    scene.seed = seed;
    scene.sim = sim_new(seed, NULL);
    char ini[1024], *p = ini;
    p += sprintf(p, "[global]\nworkers = %u\n[listener web]\nbind = 127.0.0.1:80\nbackend = app\n"
                    "[backend app]\nkeepalive = 0\nbalance = round_robin\n", workers);
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

static void end(void) {
    assert_true(lab_stop(&scene.lab, 60000));
    sim_free(scene.sim);
}

static bool never(void *arg) {
    (void)arg;
    return false;
}

static void wait_ms(uint64_t ms) {
    (void)sim_run_until(scene.sim, never, NULL, ms);
}

/* --- Requests ----------------------------------------------------------------------------- */

static struct peer *ask(void) {
    struct addr to = addr_of("127.0.0.1:80");
    struct peer *client = peer_dial(&to, NULL);
    peer_send_text(client, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    return client;
}

static bool has_ended(void *arg) {
    const struct peer *client = arg;
    return client->eof || client->reset;
}

static bool is_over(void *arg) {
    const struct peer *client = arg;
    return has_ended(arg) || client->state == PEER_REFUSED;
}

static bool served(void) {
    struct peer *client = ask();
    bool ended = sim_run_until(scene.sim, has_ended, client, 20000) == PEERS_MET;
    bool good = ended && peer_has(client, "HTTP/1.1 200 OK");
    peer_free(client);
    return good;
}

/* All of so many are answered well; returns how many of them the first server got. */
static uint32_t shares_of_first(uint32_t count) {
    uint32_t before = scene.origins[0].requests;
    for (uint32_t i = 0; i < count; i++) {
        if (!served()) {
            fail_msg("seed %llu: request %u is not answered", (unsigned long long)scene.seed, i);
        }
    }
    return scene.origins[0].requests - before;
}

/* --- Tests -------------------------------------------------------------------------------- */

#define SHORT "check_interval = 100ms\ncheck_timeout = 200ms\ncheck_fall = 3\ncheck_rise = 2\n"

/* Ill after check_fall checks, and asked no more; well after check_rise, and asked again. */
static void every_illness(void **state) {
    (void)state;
    static const enum mood moods[] = {SAYS_500, SAYS_NOTHING, CUTS};
    for (uint64_t seed = 1; seed <= 24; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 2, "check = /health?x=1\n" SHORT);
        wait_ms(1000);
        assert_int_equal(shares_of_first(10) > 0, true);
        scene.origins[0].mood = moods[seed % 3];
        uint32_t before = scene.origins[0].checks;
        while (scene.origins[0].checks < before + 2) {   /* two of three: it is well all the same */
            wait_ms(1);
        }
        assert_true(shares_of_first(8) > 0);
        wait_ms(2000);
        assert_int_equal(shares_of_first(20), 0);
        scene.origins[0].mood = seed % 2 ? WELL : SAYS_EARLY_HINTS;
        wait_ms(2000);
        assert_true(shares_of_first(10) > 0);
        assert_true(lab_stat(&scene.lab, STAT_CHECKS_FAILED) >= 3);
        assert_true(strstr(scene.origins[0].check, "GET /health?x=1 HTTP/1.1\r\nHost: localhost\r\n")
                    == scene.origins[0].check);
        end();
    }
}

/* That it refuses connections requests find as well; here nobody asks. */
static void a_server_that_is_gone(void **state) {
    (void)state;
    static const char *const checks[] = {"check = /health\n" SHORT, "check = tcp\n" SHORT};
    for (uint64_t seed = 1; seed <= 16; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 2, checks[seed % 2]);
        wait_ms(500);
        origin_leave(&scene.origins[0]);
        wait_ms(2000);
        uint64_t failed = lab_stat(&scene.lab, STAT_DIAL_FAILED);
        assert_int_equal(shares_of_first(20), 0);
        assert_int_equal(lab_stat(&scene.lab, STAT_DIAL_FAILED), failed);   /* nobody tried it */
        origin_listen(&scene.origins[0]);
        wait_ms(2000);
        assert_true(shares_of_first(10) > 0);
        end();
    }
}

/* One prober for the whole process, and one check at a time. */
static void one_prober(void **state) {
    (void)state;
    for (uint32_t workers = 1; workers <= 4; workers++) {
        begin(workers, workers, 3, "check = /health\ncheck_interval = 1s\n");
        wait_ms(20500);
        for (uint32_t i = 0; i < 3; i++) {
            assert_in_range(scene.origins[i].checks, 19, 21);
            assert_int_equal(scene.origins[i].checks_peak, 1);
        }
        assert_int_equal(lab_stat(&scene.lab, STAT_CHECKS_FAILED), 0);
        end();
    }
}

static void where_all_are_ill_all_are_asked(void **state) {
    (void)state;
    begin(1, 2, 2, "check = /health\n" SHORT);
    scene.origins[0].mood = scene.origins[1].mood = SAYS_500;
    wait_ms(3000);
    uint32_t first = shares_of_first(10);
    assert_true(first > 0 && first < 10);
    scene.origins[1].mood = WELL;
    wait_ms(1000);
    assert_int_equal(shares_of_first(10), 0);
    end();
}

/* A check is a request like others to a server with slots, and that it is busy is no illness. */
static void a_check_takes_a_slot(void **state) {
    (void)state;
    begin(1, 2, 1, "slots = 1\ncheck = /health\n" SHORT);
    wait_ms(1000);
    scene.origins[0].holds = true;
    struct peer *held = ask();
    wait_ms(100);
    assert_int_equal(scene.origins[0].requests, 1);
    uint32_t before = scene.origins[0].checks;
    wait_ms(2000);
    assert_int_equal(scene.origins[0].checks, before);
    assert_int_equal(lab_stat(&scene.lab, STAT_CHECKS_FAILED), 0);
    scene.origins[0].holds = false;
    peer_free(held);
    scene.origins[0].mood = SAYS_NOTHING;
    wait_ms(70000);                       /* response_timeout: the orphan's slot is free again */
    assert_true(scene.origins[0].checks > before);
    assert_true(served());                /* ill, and the only one; the check's slot comes back */
    end();
}

/* Clients that wait for a slot at all times, who take each one that comes free. */
#define CROWD 6u

static void a_busy_server_is_checked(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        bool idle_holds = seed % 3 == 0;
        char backend[256];
        uint32_t slots = 1 + (uint32_t)(seed % 2);
        snprintf(backend, sizeof backend, "slots = %u\nidle_holds_slot = %s\ncheck = /health\n%s",
                 slots, idle_holds ? "yes" : "no", SHORT);
        begin(seed, 1 + (uint32_t)(seed % 4), 1, backend);
        struct origin *origin = &scene.origins[0];
        origin->takes_ms = 30;
        struct peer *clients[CROWD] = {0};
        for (uint32_t ms = 0; ms < 6000; ms++) {
            for (uint32_t i = 0; i < CROWD; i++) {
                if (clients[i] != NULL && is_over(clients[i])) {
                    assert_true(peer_has(clients[i], "HTTP/1.1 200 OK"));
                    peer_free(clients[i]);
                    clients[i] = NULL;
                }
                clients[i] = clients[i] != NULL ? clients[i] : ask();
            }
            wait_ms(1);
        }
        /* One each 100 ms, but for the time that a slot takes to come free, and its own. */
        assert_in_range(origin->checks, 6000 / 160, 6000 / 100);
        assert_true(origin->requests > 6000 / 30 * slots * 8 / 10);   /* and they lose little */
        assert_in_range(origin->peak, slots, slots);
        assert_int_equal(lab_stat(&scene.lab, STAT_CHECKS_FAILED), 0);
        assert_true(lab_stop(&scene.lab, 60000));                     /* whatever waits */
        for (uint32_t i = 0; i < CROWD; i++) {
            if (clients[i] != NULL) {
                peer_free(clients[i]);
            }
        }
        sim_free(scene.sim);
    }
}

static void what_is_expected(void **state) {
    (void)state;
    begin(1, 1, 2, "check = /health\ncheck_host = app.example\ncheck_expect = 200-203, 500\n" SHORT);
    scene.origins[1].mood = SAYS_500;      /* and the first one says 204 */
    wait_ms(2000);
    assert_int_equal(shares_of_first(10), 0);
    assert_non_null(strstr(scene.origins[1].check, "\r\nHost: app.example\r\n"));
    end();
}

/* A backup is asked when the others are ill, too. */
static void backups_for_the_ill(void **state) {
    (void)state;
    begin(1, 2, 2, "server = 127.0.0.1:8003 backup=yes\ncheck = /health\n" SHORT);
    scene.origins[2].addr = addr_of("127.0.0.1:8003");
    origin_listen(&scene.origins[2]);
    wait_ms(1000);
    scene.origins[0].mood = scene.origins[1].mood = SAYS_500;
    wait_ms(2000);
    assert_int_equal(shares_of_first(10), 0);
    assert_int_equal(scene.origins[2].requests, 10);
    scene.origins[0].mood = WELL;
    wait_ms(2000);
    assert_int_equal(shares_of_first(10), 10);
    end();
}

/* Stopping waits for no check. */
static void stopping_in_a_check(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 2,
              "slots = 2\ncheck = /health\ncheck_interval = 50ms\ncheck_timeout = 1h\n");
        scene.origins[0].mood = SAYS_NOTHING;
        wait_ms(60 + seed * 3);
        uint64_t began = sim_now_us(scene.sim);
        assert_true(lab_stop(&scene.lab, 60000));
        assert_true(sim_now_us(scene.sim) - began < 2000000);
        sim_free(scene.sim);
    }
}

/* Everything that can go wrong, with checks in between: nobody hangs, nothing is left. */
static void storms(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 3,
              seed % 2 ? "slots = 2\ncheck = /health\n" SHORT : "check = tcp\n" SHORT);
        *sim_params(scene.sim) = sim_params_rough(seed);
        struct peer *clients[60];
        for (uint32_t i = 0; i < 60; i++) {
            scene.origins[sim_draw(scene.sim, 3)].mood = (enum mood)sim_draw(scene.sim, 5);
            clients[i] = ask();
            wait_ms(sim_draw(scene.sim, 60));
        }
        *sim_params(scene.sim) = sim_params_clean();
        for (uint32_t i = 0; i < 60; i++) {
            if (sim_run_until(scene.sim, is_over, clients[i], 100000) != PEERS_MET) {
                fail_msg("seed %llu: request %u hangs", (unsigned long long)seed, i);
            }
            peer_free(clients[i]);
        }
        end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_illness), cmocka_unit_test(a_server_that_is_gone),
        cmocka_unit_test(one_prober), cmocka_unit_test(where_all_are_ill_all_are_asked),
        cmocka_unit_test(a_check_takes_a_slot),
        cmocka_unit_test(a_busy_server_is_checked), cmocka_unit_test(what_is_expected),
        cmocka_unit_test(backups_for_the_ill), cmocka_unit_test(stopping_in_a_check),
        cmocka_unit_test(storms),
    };
    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
