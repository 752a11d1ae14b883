/* Stickiness: whole gyres of one to four rings, by cookie and by the sessions of Engine.IO. */
#include "sticky_lab.h"
#include "upstream/upstream_priv.h"

/* --- By cookie ---------------------------------------------------------------------------- */

static void it_stays(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 3, COOKIE);
        uint32_t homes = 0;
        for (uint32_t client = 0; client < 9; client++) {
            struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
            char want[160];
            snprintf(want, sizeof want, "%s; Path=/; HttpOnly; SameSite=Lax", first.cookie);
            assert_string_equal(first.set, want);
            assert_true(first.private);
            homes |= 1u << first.server;
            for (uint32_t i = 0; i < 5; i++) {
                struct answer next = asked_with("a=1; %s; b=2", first.cookie);
                assert_int_equal(next.server, first.server);
                assert_string_equal(next.set, "");
                assert_false(next.private);
                assert_non_null(strstr(scene.origins[first.server].heard, "Cookie: a=1; b=2\r\n"));
            }
            (void)asked_with("%s", first.cookie);
            assert_null(strstr(scene.origins[first.server].heard, "Cookie:"));
        }
        assert_int_equal(homes, 7);   /* each had some */
        assert_int_equal(stat_of(STAT_STICKY_KEPT), 9 * 6);
        assert_int_equal(stat_of(STAT_STICKY_REPLACED) + stat_of(STAT_STICKY_REFUSED), 0);
        end();
    }
}

static void a_server_that_is_away(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 2, COOKIE);
        struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
        origin_leave(&scene.origins[first.server]);
        struct answer second = asked_with("%s", first.cookie);
        assert_int_equal(second.server, 1 - first.server);
        assert_string_not_equal(second.set, "");
        assert_string_not_equal(second.cookie, first.cookie);
        assert_int_equal(stat_of(STAT_STICKY_REPLACED), 1);
        origin_listen(&scene.origins[first.server]);
        wait_ms(2000);
        for (uint32_t i = 0; i < 10; i++) {   /* it stays where it is now */
            struct answer third = asked_with("%s", second.cookie);
            assert_int_equal(third.server, second.server);
            assert_string_equal(third.set, "");
        }
        assert_int_equal(asked_with("%s", first.cookie).server, first.server);
        end();
    }
}

/* Ill is away; where all are ill, everybody stays. */
static void a_server_that_is_ill(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 2,
              COOKIE "check = /health\ncheck_interval = 100ms\ncheck_fall = 2\ncheck_rise = 1\n");
        struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
        scene.origins[first.server].ill = true;
        wait_ms(1000);
        assert_int_equal(asked_with("%s", first.cookie).server, 1 - first.server);
        scene.origins[1 - first.server].ill = true;
        wait_ms(1000);
        assert_int_equal(asked_with("%s", first.cookie).server, first.server);
        end();
    }
}

static void forged_and_foreign(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 3, COOKIE);
        struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
        char forged[128];
        snprintf(forged, sizeof forged, "%s", first.cookie);
        char *last = forged + strlen(forged) - 1;
        *last = *last == 'A' ? 'B' : 'A';
        struct answer other = asked_with("%s", forged);
        assert_string_not_equal(other.set, "");
        assert_int_equal(stat_of(STAT_STICKY_REFUSED), 1);
        (void)asked_with("%s", "gyre_server=; gyre_server=127.0.0.1:8001; gyre_server=x");
        assert_int_equal(stat_of(STAT_STICKY_REFUSED), 4);
        char both[300];
        snprintf(both, sizeof both, "%s; %s", forged, first.cookie);
        struct answer good = asked_with("%s", both);   /* the first that is ours wins */
        assert_int_equal(good.server, first.server);
        assert_string_equal(good.set, "");
        assert_int_equal(stat_of(STAT_STICKY_REFUSED), 5);
        assert_int_equal(stat_of(STAT_STICKY_REPLACED), 0);
        end();
    }
}

/* Another process, other servers in another order, and the same secret; then another one. */
static void gyres_agree(void **state) {
    (void)state;
    begin(3, 2, 3, COOKIE);
    struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
    struct lab second, third;
    char ini[1024];
    static const char form[] =
        "[global]\nworkers = 2\nsecret_file = %s\n[listener web]\nbind = 127.0.0.1:%u\n"
        "backend = app\n[backend app]\nkeepalive = 0\nsticky = cookie\n"
        "server = 127.0.0.1:8003, 127.0.0.1:8009, 127.0.0.1:8002, 127.0.0.1:8001\n";
    snprintf(ini, sizeof ini, form, scene.secret, 81u);
    assert_true(lab_start(&second, true, ini, NULL));
    char other[] = "/tmp/gyre-secret-XXXXXX";
    secret_write(other, 'o');
    snprintf(ini, sizeof ini, form, other, 82u);
    assert_true(lab_start(&third, true, ini, NULL));
    for (uint32_t i = 0; i < 10; i++) {
        scene.port = 81;
        struct answer there = asked_with("%s", first.cookie);
        assert_int_equal(there.server, first.server);
        assert_string_equal(there.set, "");
        scene.port = 82;
        assert_string_not_equal(asked_with("%s", first.cookie).set, "");
    }
    assert_int_equal(lab_stat(&third, STAT_STICKY_REFUSED), 10);
    assert_true(lab_stop(&third, 60000) && lab_stop(&second, 60000));
    unlink(other);
    end();
}

/* Secure where the client came by https: here a proxy says so that is trusted, or is not. */
static void https_and_caches(void **state) {
    (void)state;
    static const char ask[] = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n";
    begin(1, 1, 1, COOKIE);
    assert_null(strstr(asked(ask).set, "Secure"));
    end();
    begin_with(1, 1, 1, "trusted_proxies = 0.0.0.0/0\n", COOKIE "sticky_name = __Host-s\n");
    struct answer first = asked(ask);
    assert_non_null(strstr(first.set, "; SameSite=Lax; Secure"));
    assert_int_equal(strncmp(first.set, "__Host-s=", 9), 0);
    assert_null(strstr(asked("GET / HTTP/1.1\r\nHost: a\r\n").set, "Secure"));
    scene.origins[0].says = "Cache-Control: max-age=5\r\nCache-Control: x, No-Store\r\n";
    assert_false(asked(ask).private);
    scene.origins[0].says = "Cache-Control: public\r\n";
    assert_true(asked(ask).private);
    end();
}

/* --- Waiting for it ----------------------------------------------------------------------- */

#define SLOTS COOKIE "slots = 1\nqueue_timeout = 5s\nqueue = 3\n"

/* It waits for its server, whoever else has room; others do not wait with it. */
static void it_waits_for_a_slot(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 2, SLOTS);
        struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
        struct origin *home = &scene.origins[first.server];
        home->holds = true;
        struct peer *holder = ask_with("%s", first.cookie);
        wait_ms(100);
        struct peer *waiter = ask_with("%s", first.cookie);
        wait_ms(100);
        assert_int_equal(home->requests, 2);
        for (uint32_t i = 0; i < 5; i++) {
            assert_int_equal(asked("GET / HTTP/1.1\r\nHost: a\r\n").server, 1 - first.server);
        }
        origin_release(home);
        struct answer held = answer_of(holder), waited = answer_of(waiter);
        assert_true(held.server == first.server && waited.server == first.server);
        assert_string_equal(waited.set, "");
        end();
    }
}

static void it_waits_no_longer_than_queue_timeout(void **state) {
    (void)state;
    begin(1, 2, 2, SLOTS);
    struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
    scene.origins[first.server].holds = true;
    struct peer *holder = ask_with("%s", first.cookie);
    wait_ms(100);
    uint64_t began = sim_now_us(scene.sim);
    struct answer waited = asked_with("%s", first.cookie);
    assert_int_equal(waited.status, 503);
    assert_string_equal(waited.set, "");
    assert_in_range((sim_now_us(scene.sim) - began) / 1000, 4900, 5500);
    origin_release(&scene.origins[first.server]);
    assert_int_equal(answer_of(holder).status, 200);
    end();
}

/* queue = 3: the fourth goes elsewhere; so does everybody where queue = 0. */
static void where_its_queue_is_full(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        uint32_t room = seed % 2 ? 3 : 0;
        begin(seed, 1 + (uint32_t)(seed % 4), 2,
              room != 0 ? SLOTS : COOKIE "slots = 1\nqueue = 0\n");
        struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
        struct origin *home = &scene.origins[first.server];
        home->holds = true;
        struct peer *waiters[4] = {NULL};
        for (uint32_t i = 0; i < 1 + room; i++) {
            waiters[i] = ask_with("%s", first.cookie);
            wait_ms(50);
        }
        struct answer moved = asked_with("%s", first.cookie);
        assert_int_equal(moved.server, 1 - first.server);
        assert_string_not_equal(moved.set, "");
        assert_int_equal(home->requests, 2);
        origin_release(home);
        for (uint32_t i = 0; i < 1 + room; i++) {
            assert_int_equal(answer_of(waiters[i]).server, first.server);
        }
        end();
    }
}

/* The server goes away, or falls ill, while they wait for it: they are moved at once. */
static void it_waits_for_nobody(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 16; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 2, SLOTS);
        struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
        struct origin *home = &scene.origins[first.server];
        home->holds = true;
        struct peer *holder = ask_with("%s", first.cookie);
        wait_ms(100);
        struct peer *waiters[3];
        for (uint32_t i = 0; i < 3; i++) {
            waiters[i] = ask_with("%s", first.cookie);
        }
        wait_ms(100);
        if (seed % 2) {
            origin_leave(home);
            origin_cut(home);   /* the holder's connection breaks: its slot is tried, and refused */
        } else {
            struct server *servers = scene.lab.plan->registry->backends[0].servers;
            atomic_store(&servers[first.server].ill, true);   /* as a check would say */
            origin_answer(home);
        }
        for (uint32_t i = 0; i < 3; i++) {
            struct answer moved = answer_of(waiters[i]);
            assert_int_equal(moved.status, 200);
            assert_int_equal(moved.server, 1 - first.server);
            assert_string_not_equal(moved.set, "");
        }
        peer_free(holder);
        end();
    }
}

static void woken(struct task *task) {
    (void)task;
}

static bool is_ready(void *arg) {
    return ((const struct lease *)arg)->state == LEASE_READY;
}

/* Who is stuck to the server that just broke does not wait for it: the next slot will do. */
static void it_waits_for_none_that_it_avoids(void **state) {
    (void)state;
    begin(1, 1, 2, SLOTS);
    struct upstream *room = &scene.lab.workers[0].upstream;
    struct backend *backend = &room->registry->backends[0];
    struct server *home = &backend->servers[0], *other = &backend->servers[1];
    struct lease lease = {.avoid = server_bit(home)};
    struct task owner;
    task_init(&owner, woken);
    assert_true(slot_take_of(home) && slot_take_of(other));
    struct pick pick = {.stuck = home};
    lease_ask(&lease, room, backend, &pick, &owner);
    assert_int_equal(lease.state, LEASE_WAITING);
    slot_give(room, backend, other);
    assert_int_equal(sim_run_until(scene.sim, is_ready, &lease, 1000), PEERS_MET);
    assert_ptr_equal(lease.server, other);
    lease_end(&lease, CLOSE_BACKEND_IDLE);
    task_cancel(room->ring, &owner);
    slot_give(room, backend, home);
    end();
}

/* A kept connection of another ring holds the only slot of its server: it is given up for it, and
 * those of other servers are left alone. */
static void idle_connections_make_way(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        begin(seed, 2 + (uint32_t)(seed % 3), 2,
              COOKIE "slots = 1\nidle_holds_slot = yes\nkeepalive = 8\nkeepalive_timeout = 1h\n");
        struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
        struct answer second = asked("GET / HTTP/1.1\r\nHost: a\r\n");
        assert_int_equal(second.server, 1 - first.server);
        for (uint32_t i = 0; i < 20; i++) {
            struct answer next = asked_with("%s", i % 4 != 0 ? first.cookie : second.cookie);
            assert_int_equal(next.server, i % 4 != 0 ? first.server : second.server);
        }
        assert_int_equal(stat_of(STAT_STICKY_REPLACED), 0);
        assert_true(stat_of(STAT_REUSED) > 0);
        end();
    }
}

/* A slot that both wait for goes to those that are stuck and to all others by turns. */
static void by_turns(void **state) {
    (void)state;
    begin(1, 1, 1, COOKIE "slots = 1\nqueue = 100\n");
    struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
    struct origin *home = &scene.origins[0];
    home->holds = true;
    struct peer *holder = ask_with("%s", first.cookie), *stuck[8], *loose[8];
    wait_ms(50);
    for (uint32_t i = 0; i < 8; i++) {
        stuck[i] = ask_as("/stuck", first.cookie);
        loose[i] = ask_as("/loose", NULL);
    }
    wait_ms(50);
    uint32_t stuck_count = 0;
    for (uint32_t i = 0; i < 16; i++) {
        origin_answer(home);
        wait_ms(20);
        stuck_count += strstr(home->heard, "GET /stuck") == home->heard;
        assert_int_equal(home->requests, 3 + i);
        assert_in_range(stuck_count, (i + 1) / 2, (i + 2) / 2);
    }
    origin_release(home);
    assert_int_equal(answer_of(holder).status, 200);
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(answer_of(stuck[i]).status, 200);
        assert_int_equal(answer_of(loose[i]).status, 200);
    }
    end();
}

/* --- By session --------------------------------------------------------------------------- */

/* Opened at whatever ring, however the packet is cut; used from all of them at once. */
static void sessions_are_known_to_all(void **state) {
    (void)state;
    enum { CLIENTS = 24 };
    for (uint64_t seed = 1; seed <= 12; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 3,
              seed % 3 ? "sticky = socketio\nmode = async\n" : "sticky = socketio\nmode = sync\n");
        char sids[CLIENTS][32];
        uint32_t homes = 0;
        for (uint32_t i = 0; i < CLIENTS; i++) {
            scene.pieces = i % 4;
            uint32_t home = opened(sids[i]);
            homes |= 1u << home;
            assert_null(strstr(scene.origins[home].heard, "Accept-Encoding"));
        }
        assert_int_equal(homes, 7);
        for (uint32_t i = 0; i < 6 * CLIENTS; i++) {
            assert_int_equal(polled(sids[i % CLIENTS], i % 2 ? "GET" : "POST"), 200);
        }
        assert_int_equal(stat_of(STAT_STICKY_SIDS), CLIENTS);
        assert_int_equal(stat_of(STAT_STICKY_KEPT), 6 * CLIENTS);
        assert_int_equal(stat_of(STAT_STICKY_SIDS_UNKNOWN), 0);
        end();
    }
}

static void sessions_end(void **state) {
    (void)state;
    begin(5, 2, 2, "sticky = socketio\n");
    char sid[32];
    (void)opened(sid);                         /* pingInterval 250, pingTimeout 200 */
    for (uint32_t i = 0; i < 10; i++) {
        wait_ms(800);
        assert_int_equal(polled(sid, "GET"), 200);
    }
    wait_ms(1000);
    (void)polled(sid, "GET");                  /* wherever the balancer sends it */
    assert_int_equal(stat_of(STAT_STICKY_SIDS_UNKNOWN), 1);
    (void)polled("nobody", "GET");
    assert_int_equal(stat_of(STAT_STICKY_SIDS_UNKNOWN), 2);
    end();
}

/* What is no answer that opens a session is not taken for one, and passes as it is. */
static void what_opens_none(void **state) {
    (void)state;
    static const char *const rows[] = {
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 11\r\n\r\n0{\"sid\":\"s\"",
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 12\r\n\r\n0{\"sid\":\"s\"}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    };
    begin(2, 1, 1, "sticky = socketio\n");
    for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        scene.origins[0].answer = rows[i];
        struct peer *client = ask_raw("GET /a/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n");
        const char *body = strstr(rows[i], "\r\n\r\n") + 4;
        assert_true(ends_with(client, body));
        peer_free(client);
    }
    scene.origins[0].answer = NULL;
    static char large[70000];
    char *p = large + sprintf(large, "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n0{\"a\":\"");
    memset(p, 'x', 60000);
    scene.origins[0].answer = large;
    struct peer *client = ask_raw("GET /a/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n");
    assert_true(has_ended(client) || sim_run_until(scene.sim, has_ended, client, 20000) == PEERS_MET);
    assert_true(client->rx_len > 60000);
    peer_free(client);
    assert_int_equal(stat_of(STAT_STICKY_SIDS), 0);
    end();
}

/* --- Storms ------------------------------------------------------------------------------- */

/* Everything that can go wrong, with servers that come and go: nobody hangs, nothing is left. */
static void storms(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        begin(seed, 1 + (uint32_t)(seed % 4), 3,
              COOKIE "slots = 2\nqueue = 20\nqueue_timeout = 3s\nresponse_timeout = 5s\n"
              "check = /health\ncheck_interval = 100ms\n");
        struct answer first = asked("GET / HTTP/1.1\r\nHost: a\r\n");
        *sim_params(scene.sim) = sim_params_rough(seed);
        struct peer *clients[80];
        for (uint32_t i = 0; i < 80; i++) {
            struct origin *origin = &scene.origins[sim_draw(scene.sim, 3)];
            origin->ill = sim_draw(scene.sim, 4) == 0;
            origin->holds = sim_draw(scene.sim, 4) == 0;
            if (sim_draw(scene.sim, 6) == 0 && origin->listener != NULL) {
                origin_leave(origin);
            } else if (origin->listener == NULL) {
                origin_listen(origin);
            }
            clients[i] = ask_as("/", sim_draw(scene.sim, 3) != 0 ? first.cookie : NULL);
            wait_ms(sim_draw(scene.sim, 60));
        }
        *sim_params(scene.sim) = sim_params_clean();
        for (uint32_t i = 0; i < 80; i++) {
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
        cmocka_unit_test(it_stays), cmocka_unit_test(a_server_that_is_away),
        cmocka_unit_test(a_server_that_is_ill), cmocka_unit_test(forged_and_foreign),
        cmocka_unit_test(gyres_agree), cmocka_unit_test(https_and_caches),
        cmocka_unit_test(it_waits_for_a_slot),
        cmocka_unit_test(it_waits_no_longer_than_queue_timeout),
        cmocka_unit_test(where_its_queue_is_full), cmocka_unit_test(it_waits_for_nobody),
        cmocka_unit_test(it_waits_for_none_that_it_avoids),
        cmocka_unit_test(idle_connections_make_way), cmocka_unit_test(by_turns),
        cmocka_unit_test(sessions_are_known_to_all),
        cmocka_unit_test(sessions_end), cmocka_unit_test(what_opens_none),
        cmocka_unit_test(storms),
    };
    return cmocka_run_group_tests_name("sticky", tests, NULL, NULL);
}
