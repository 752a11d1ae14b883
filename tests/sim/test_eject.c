/* Passive ejection: servers whose requests fail are left alone, for longer each time, tried by one
 * request, and never all of them; on whole gyres of one to four rings. Long, as each change of a
 * server's state is a scene of one lab. */
#include "eject_lab.h"

#define SHORT "eject_time = 1s\neject_time_max = 8s\nresponse_timeout = 200ms\n" \
              "connect_timeout = 100ms\n"
#define ALL "eject = connect, reset, timeout, 5xx\n" SHORT

static struct origin *const first = &scene.origins[0];
static struct origin *const second = &scene.origins[1];

/* --- In a row ----------------------------------------------------------------------------- */

/* Five in a row, and none after; every one is logged once. Keys say what counts. */
static void every_fault_ejects(void **state) {
    (void)state;
    static const struct {
        enum mood mood;
        const char *backend, *word;
    } faults[] = {
        {CUTS, "", "backend-closed"},
        {HANGS, "", "response-timeout"},
        {SAYS_500, "eject = 5xx\n", "status 500"},
        {SAYS_500, "eject = connect, 500-501, timeout\n", "status 500"},
        {SAYS_RUBBISH, "eject = 502\n", "bad-response"},
    };
    for (uint64_t seed = 0; seed < 20; seed++) {
        uint32_t at = (uint32_t)(seed % 5);
        char backend[256], line[128];
        snprintf(backend, sizeof backend, SHORT "%s", faults[at].backend);
        begin(seed, WORKERS(seed), 2, backend);
        assert_in_range(shares(first, 10), 3, 7);
        assert_int_equal(until_ejected(first, faults[at].mood), 5);
        assert_int_equal(shares(first, 20), 0);
        assert_int_equal(lab_stat(&scene.lab, STAT_EJECTIONS), 1);
        snprintf(line, sizeof line, "[backend app] 127.0.0.1:8001 is ejected for 1s: 5 requests in "
                 "a row failed, the last with %s", faults[at].word);
        assert_int_equal(said_count("ejected"), 1);
        assert_int_equal(said_count(line), 1);
        end();
    }
}

/* What is not asked for does not count, and an answer in between begins anew. */
static void what_does_not_eject(void **state) {
    (void)state;
    static const struct {
        enum mood mood;
        const char *backend;
    } faults[] = {
        {CUTS, "eject = connect, timeout, 5xx\n"},
        {HANGS, "eject = connect, reset, 5xx\n"},
        {SAYS_500, ""},
        {SAYS_RUBBISH, "eject = connect, reset, timeout, 503\n"},
        {CUTS, "eject = no\n"},
        {CUTS, "eject_after = 45\n"},
    };
    for (uint64_t seed = 0; seed < 12; seed++) {
        char backend[256];
        snprintf(backend, sizeof backend, SHORT "%s", faults[seed % 6].backend);
        begin(seed, WORKERS(seed), 2, backend);
        first->mood = faults[seed % 6].mood;
        for (uint32_t i = 0; i < 80; i++) {
            (void)asked();
        }
        assert_in_range(first->requests, 36, 44);
        assert_int_equal(lab_stat(&scene.lab, STAT_EJECTIONS), 0);
        end();
    }
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, ALL);
        for (uint32_t i = 0; i < 100; i++) {
            first->mood = first->requests % 5 == 4 ? WELL : seed % 2 ? CUTS : SAYS_500;
            (void)asked();
        }
        assert_in_range(first->requests, 46, 54);
        assert_int_equal(said_count("ejected"), 0);
        end();
    }
}

/* A backlog that takes nobody: the requests go on to the other one. */
static void no_connection(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, SHORT);
        peer_listener_close(first->listener);
        first->listener = peer_listen(&first->addr, 1);
        peer_listener_pause(first->listener, true);
        for (uint32_t i = 0; i < 40; i++) {   /* some fill the backlog, and are not answered */
            (void)asked();
        }
        assert_int_equal(said_count("8001 is ejected for 1s"), 1);
        uint64_t failed = lab_stat(&scene.lab, STAT_DIAL_FAILED), began = now_ms();
        while (now_ms() - began < 500) {
            assert_int_equal(asked(), 200);
            wait_ms(20);
        }
        assert_int_equal(lab_stat(&scene.lab, STAT_DIAL_FAILED), failed);
        end();
    }
}

/* The one that is ejected is not waited for where the others hang. */
static void no_connection_to_the_rest(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "eject_time = 1h\neject_time_max = 1h\n"
              "connect_timeout = 100ms\n");
        (void)until_ejected(first, CUTS);
        origin_leave(second);
        second->listener = peer_listen(&second->addr, 1);
        peer_listener_pause(second->listener, true);
        struct peer *fill[4];
        for (uint32_t i = 0; i < 4; i++) {
            fill[i] = peer_dial(&second->addr, NULL);
        }
        uint64_t began = now_ms();
        assert_int_equal(asked(), 504);
        assert_true(now_ms() - began < 250);
        for (uint32_t i = 0; i < 4; i++) {
            peer_free(fill[i]);
        }
        end();
    }
}

/* A unix server whose backlog is full is busy, which is no failure. */
static void a_full_backlog(void **state) {
    (void)state;
    struct origin *third = &scene.origins[2];
    begin(1, 2, 2, SHORT "eject_after = 1\nserver = unix:/run/app.sock\n");
    third->addr = addr_of("unix:/run/app.sock");
    third->listener = peer_listen(&third->addr, 1);
    peer_listener_pause(third->listener, true);
    struct peer *fill[4];
    for (uint32_t i = 0; i < 4; i++) {
        fill[i] = peer_dial(&third->addr, NULL);
    }
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(asked(), 200);
    }
    assert_true(lab_stat(&scene.lab, STAT_DIAL_FAILED) > 0);
    assert_int_equal(said_count("ejected"), 0);
    for (uint32_t i = 0; i < 4; i++) {
        peer_free(fill[i]);
    }
    end();
}

/* Kept connections that end as a request comes say nothing of a server. */
static void races(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "keepalive = 64\n" ALL);
        first->mood = second->mood = CUTS_KEPT;
        for (uint32_t i = 0; i < 100; i++) {
            assert_int_equal(status_of(ask_with(GET)), 200);
        }
        assert_true(lab_stat(&scene.lab, STAT_REUSED) > 20);
        assert_int_equal(said_count("ejected"), 0);
        end();
    }
}

/* All that time out together count, as many as there are. */
static void a_server_that_hangs(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, SHORT);
        first->mood = HANGS;
        struct peer *clients[40];
        for (uint32_t i = 0; i < 40; i++) {
            clients[i] = ask();
        }
        wait_ms(230);
        assert_int_equal(said_count("8001 is ejected"), 1);
        assert_int_equal(shares(first, 20), 0);
        for (uint32_t i = 0; i < 40; i++) {
            (void)status_of(clients[i]);
        }
        assert_int_equal(lab_stat(&scene.lab, STAT_EJECTIONS), 1);
        end();
    }
}

/* --- Killed ------------------------------------------------------------------------------- */

/* What a process takes with it is one failure: it is back as soon as it listens again. */
static void a_server_that_is_restarted(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        begin(seed, WORKERS(seed), 2, "eject_time = 1h\neject_time_max = 1h\n");
        struct peer *clients[60];
        first->mood = second->mood = HOLDS;
        for (uint32_t i = 0; i < 60; i++) {
            clients[i] = ask();
        }
        wait_ms(100);
        origin_dies(first);
        wait_ms(100);
        let_go(second);
        uint32_t lost = 0;
        for (uint32_t i = 0; i < 60; i++) {
            lost += status_of(clients[i]) == 502;
        }
        assert_true(lost >= 15);
        assert_int_equal(shares(second, 20), 20);
        first->mood = WELL;
        origin_listen(first);
        assert_true(until_asked(first, 10) <= 700);
        assert_in_range(shares(first, 20), 6, 14);
        assert_int_equal(said_count("ejected"), 0);
        end();
    }
}

/* It ends in two steps, as uWSGI does: first what its workers have at hand, and a second later what
 * waits for them. What the first step lost is not lost again in the second. */
static void one_that_ends_slowly(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 16; seed++) {
        begin(seed, WORKERS(seed), 1, seed % 2 ? "keepalive = 8\n" : "");
        struct peer *clients[8];
        assert_int_equal(asked(), 200);
        first->mood = HOLDS;
        for (uint32_t i = 0; i < 4; i++) {
            clients[i] = ask_with(GET);
        }
        wait_ms(200);
        cut_held(first);
        for (uint32_t i = 4; i < 8; i++) {   /* they are in the backlog */
            clients[i] = ask_with(GET);
        }
        wait_ms(1000);
        origin_dies(first);
        wait_ms(1000);
        first->mood = WELL;
        origin_listen(first);
        for (uint32_t i = 0; i < 8; i++) {
            assert_int_equal(status_of(clients[i]), 200);
        }
        end();
    }
}

/* One that lives is asked again as soon as it shows that, or after a while. */
static void one_that_has_lost_one(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 16; seed++) {
        bool lonely = seed % 2 != 0;
        begin(seed, WORKERS(seed), 1, "");
        first->mood = HOLDS;
        struct peer *client = ask_with(GET);
        wait_ms(100);
        cut_held(first);
        first->mood = WELL;
        uint64_t began = now_ms();
        if (!lonely) {
            assert_int_equal(asked(), 200);
        }
        assert_int_equal(status_of(client), 200);
        assert_in_range(now_ms() - began, lonely ? 1500 : 50, lonely ? 1600 : 150);
        end();
    }
}

/* The log says it once, whoever finds it, and once when it is back; of a short restart, nothing. */
static void who_is_away_is_told(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "");
        for (uint32_t round = 0; round < 3; round++) {
            uint64_t away_ms = round == 0 ? 1000 : 6000;
            origin_dies(first);
            for (uint64_t ms = 0; ms < away_ms; ms += 30) {
                assert_int_equal(asked(), 200);
                wait_ms(30);
            }
            assert_int_equal(said_count("8001 has taken no connection for 2s; it is tried"), round);
            origin_listen(first);
            assert_true(until_asked(first, 10) <= 700);
            assert_int_equal(said_count("8001 takes connections again, after 6s"), round);
        }
        assert_int_equal(said_count("8001"), 4);
        end();
    }
}

/* One that is ejected and then refuses connections is tried as those are: soon and often. */
static void ejected_and_then_gone(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "eject_time = 5s\n");
        (void)until_ejected(first, CUTS);
        origin_dies(first);
        wait_ms(5000);
        for (uint32_t i = 0; i < 20; i++) {
            assert_int_equal(asked(), 200);
            wait_ms(30);
        }
        assert_int_equal(said_count("8001 is ejected no more: it refuses connections"), 1);
        first->mood = WELL;
        origin_listen(first);
        assert_true(until_asked(first, 10) <= 700);
        assert_in_range(shares(first, 20), 6, 14);
        end();
    }
}

/* Where one failure is enough refusing connections is one, so that a server that is killed as soon
 * as it is back takes little with it; it stays ejected as long as it refuses when it is tried. */
static void a_server_that_flaps(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        begin(seed, WORKERS(seed), 2, "eject_time = 5s\neject_after = 1\n");
        origin_dies(first);
        assert_int_equal(shares(second, 10), 10);
        assert_int_equal(said_count("8001 is ejected for 5s: a request failed with "
                                    "connect-refused"), 1);
        origin_listen(first);
        wait_ms(3000);
        assert_int_equal(shares(first, 20), 0);
        origin_dies(first);
        wait_ms(2100);
        assert_int_equal(shares(second, 10), 10);
        assert_int_equal(said_count("8001 stays ejected, for 5s: the request that tried it"), 1);
        origin_listen(first);
        wait_ms(4000);
        assert_int_equal(shares(first, 20), 0);
        assert_true(until_asked(first, 10) <= 1200);
        assert_in_range(shares(first, 20), 6, 14);
        assert_int_equal(said_count("ejected"), 2);
        end();
    }
}

/* Else it is back as soon as it listens, however often. */
static void a_server_that_is_restarted_often(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "eject_time = 1h\neject_time_max = 1h\neject_after = 2\n");
        for (uint32_t i = 0; i < 4; i++) {
            origin_dies(first);
            assert_int_equal(shares(second, 10), 10);
            origin_listen(first);
            assert_true(until_asked(first, 10) <= 700);
        }
        assert_int_equal(said_count("ejected"), 0);
        end();
    }
}

/* --- Time --------------------------------------------------------------------------------- */

/* 1, 2, 4, 8 and 8 seconds; one request tries each time. Answered, it is back, and what it was is
 * forgotten bit by bit. */
static void longer_each_time(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, ALL);
        enum mood mood = seed % 2 ? CUTS : SAYS_500;
        (void)until_ejected(first, mood);
        static const uint32_t times[] = {1, 2, 4, 8, 8};
        for (uint32_t i = 0; i < 5; i++) {
            uint64_t took = until_asked(first, 10);
            assert_in_range(took, times[i] * 1000 - 20, times[i] * 1000 + 100);
            assert_int_equal(lab_stat(&scene.lab, STAT_EJECTION_TRIALS), i + 1);
            assert_int_equal(lab_stat(&scene.lab, STAT_EJECTIONS), i + 2);
        }
        assert_int_equal(said_count("8001 stays ejected, for 8s: the request that tried it ended "
                                    "with"), 3);
        first->mood = WELL;
        (void)until_asked(first, 10);
        assert_int_equal(said_count("8001 is asked again: the request that tried it was answered"),
                         1);
        assert_in_range(shares(first, 20), 6, 14);
        assert_int_equal(until_ejected(first, mood), 5);   /* nothing is forgotten yet */
        assert_int_equal(said_count("8001 is ejected for 8s"), 1);
        first->mood = WELL;
        (void)until_asked(first, 10);
        wait_ms(2100);                                     /* 8 s, then 4 s, then 2 s */
        (void)until_ejected(first, mood);
        assert_int_equal(said_count("8001 is ejected for 2s"), 1);
        first->mood = WELL;
        (void)until_asked(first, 10);
        wait_ms(10000);
        (void)until_ejected(first, mood);
        assert_int_equal(said_count("8001 is ejected for 1s"), 2);
        end();
    }
}

/* However many come at once, one tries; and where its client goes, the next one may. */
static void one_tries(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        begin(seed, WORKERS(seed), 2, "eject_time = 1s\nresponse_timeout = 5s\n");
        (void)until_ejected(first, CUTS);
        first->mood = HOLDS;
        wait_ms(1001);
        uint32_t before = first->requests;
        struct peer *clients[40];
        for (uint32_t i = 0; i < 40; i++) {
            clients[i] = ask();
        }
        wait_ms(1000);
        assert_int_equal(first->requests, before + 1);
        for (uint32_t i = 0; i < 40; i++) {
            peer_free(clients[i]);        /* one of them is the one that tries */
        }
        wait_ms(10);
        for (uint32_t i = 0; i < 40; i++) {
            clients[i] = ask();
        }
        wait_ms(1000);
        assert_int_equal(first->requests, before + 2);
        assert_int_equal(lab_stat(&scene.lab, STAT_EJECTION_TRIALS), 2);
        let_go(first);
        for (uint32_t i = 0; i < 40; i++) {
            assert_int_equal(status_of(clients[i]), 200);
        }
        assert_in_range(shares(first, 20), 6, 14);
        end();
    }
}

/* It waits for a slot of the only other server, and gets the one of that which is to be tried. */
static void who_waits_tries(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "slots = 1\neject_time = 1s\n");
        (void)until_ejected(first, CUTS);
        first->mood = WELL;
        second->mood = HOLDS;
        uint64_t began = now_ms();
        struct peer *holds = ask();
        wait_ms(50);
        uint32_t before = first->requests;
        assert_int_equal(asked(), 200);
        assert_int_equal(first->requests, before + 1);
        assert_in_range(now_ms() - began, 500, 1100);
        let_go(second);
        assert_int_equal(status_of(holds), 200);
        end();
    }
}

/* It waits when both are only busy; one is ejected then, and nothing but time gives a slot back. */
static void who_waited_before_tries(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "slots = 1\neject_time = 1s\neject_after = 1\n");
        first->mood = second->mood = HOLDS;
        struct peer *held[2] = {ask(), ask()};
        wait_ms(50);
        struct peer *waits = ask();
        wait_ms(50);
        cut_held(first);
        first->mood = WELL;
        uint64_t began = now_ms();
        assert_int_equal(status_of(waits), 200);
        assert_in_range(now_ms() - began, 950, 1100);
        let_go(second);
        assert_int_equal(status_of(held[0]) + status_of(held[1]), 200 + 502);
        end();
    }
}

/* What its checks say is sooner than its time. */
static void a_check_finds_it_well(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "eject_time = 1h\neject_time_max = 1h\ncheck = /health\n"
              "check_interval = 100ms\n");
        first->ill = true;
        (void)until_ejected(first, CUTS);
        wait_ms(2000);
        assert_int_equal(shares(first, 10), 0);
        first->ill = false;
        wait_ms(2000);
        first->mood = WELL;
        assert_true(shares(first, 20) > 0);
        assert_in_range(shares(first, 20), 6, 14);
        end();
    }
}

/* --- Never the last ----------------------------------------------------------------------- */

static void the_only_one(void **state) {
    (void)state;
    begin(1, 2, 1, ALL);
    first->mood = CUTS;
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(asked(), 502);
    }
    assert_int_equal(first->requests, 40);
    assert_int_equal(said_count("ejected"), 0);
    end();
}

/* All fail at once, on all rings: one of them is asked in any case, and each request has an answer. */
static void all_of_them(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        begin(seed, WORKERS(seed), 3, ALL);
        for (uint32_t i = 0; i < 3; i++) {
            scene.origins[i].mood = seed % 2 ? SAYS_500 : HANGS;
        }
        struct peer *clients[60];
        for (uint32_t i = 0; i < 60; i++) {
            clients[i] = ask();
        }
        for (uint32_t i = 0; i < 60; i++) {
            assert_int_equal(status_of(clients[i]), seed % 2 ? 500 : 504);
        }
        assert_int_equal(lab_stat(&scene.lab, STAT_EJECTIONS), 2);
        assert_int_equal(asked(), seed % 2 ? 500 : 504);
        for (uint32_t i = 0; i < 3; i++) {
            scene.origins[i].mood = WELL;
        }
        wait_ms(1000);
        (void)shares(first, 10);                 /* each of the two is tried */
        for (uint32_t i = 0; i < 3; i++) {
            assert_in_range(shares(&scene.origins[i], 30), 5, 15);
        }
        end();
    }
}

/* Where all others go away, fall ill, are drained, those that are ejected are asked again. */
static void the_last_one_is_taken_back(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        begin(seed, WORKERS(seed), 2, "eject_time = 1h\neject_time_max = 1h\ncheck = /health\n"
              "check_interval = 100ms\ncheck_fall = 100\n");
        (void)until_ejected(first, CUTS);
        first->mood = WELL;
        assert_int_equal(shares(first, 10), 0);
        if (seed % 3 == 0) {
            origin_leave(second);
        } else if (seed % 3 == 1) {
            atomic_store(&scene.backend->servers[1].ill, true);
        } else {
            server_set_admin(&scene.backend->servers[1], SERVER_DRAIN);
        }
        assert_int_equal(shares(first, 10), 10);
        assert_int_equal(said_count("8001 is ejected no more: no other server is left"), 1);
        end();
    }
}

/* It has been broken all the time: back in its place as soon as another server is there. */
static void taken_back_and_out_again(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "eject_time = 1h\neject_time_max = 1h\n");
        (void)until_ejected(first, CUTS);
        origin_leave(second);
        assert_int_equal(asked(), 502);
        assert_int_equal(asked(), 502);
        origin_listen(second);
        wait_ms(600);
        assert_true(until_ejected(first, CUTS) < 5);     /* which one that was well takes */
        assert_int_equal(shares(second, 10), 10);
        end();
    }
}

static void backups(void **state) {
    (void)state;
    static const char *const options[] = {"", "backup=yes"};
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin_with(seed, WORKERS(seed), 2, options, ALL);
        assert_int_equal(shares(first, 10), 10);
        (void)until_ejected(first, CUTS);
        assert_int_equal(shares(second, 10), 10);
        wait_ms(1000);
        first->mood = WELL;
        assert_int_equal(shares(first, 10), 10);
        end();
    }
}

/* --- Keys --------------------------------------------------------------------------------- */

/* Clients of one server go to another one meanwhile, and home again. */
static void home_again(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 3, "balance = hash\n" ALL);
        (void)asked();
        struct origin *home = first;
        while (home->requests == 0) {
            home++;
        }
        assert_int_equal(shares(home, 10), 10);
        assert_int_equal(until_ejected(home, CUTS), 5);
        assert_int_equal(shares(home, 10), 0);
        wait_ms(1000);
        home->mood = WELL;
        assert_int_equal(shares(home, 10), 10);
        end();
    }
}

/* --- Kept connections --------------------------------------------------------------------- */

/* Those of every ring are closed. */
static void none_is_kept(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        begin(seed, WORKERS(seed), 2, "keepalive = 64\nkeepalive_timeout = 1h\n" ALL);
        first->mood = second->mood = HOLDS;
        struct peer *clients[40];
        for (uint32_t i = 0; i < 40; i++) {
            clients[i] = ask();
        }
        wait_ms(50);
        let_go(first);
        let_go(second);
        for (uint32_t i = 0; i < 40; i++) {
            assert_int_equal(status_of(clients[i]), 200);
        }
        uint32_t kept = links_of(second);
        assert_true(links_of(first) > 10 && kept > 10);
        (void)until_ejected(first, SAYS_500);
        wait_ms(50);
        assert_int_equal(links_of(first), 0);
        assert_true(links_of(second) >= kept);
        end();
    }
}

/* --- Everything at once ------------------------------------------------------------------- */

static void meddle(void) {
    struct server *server = &scene.backend->servers[sim_draw(scene.sim, 3)];
    server_set_admin(server, (enum server_admin)sim_draw(scene.sim, 3));
}

/* Whatever was, nobody hangs, nothing is left, and when all is well all are asked. */
static void storms(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        begin(seed, WORKERS(seed), 3, seed % 2 ? "slots = 2\nslow_start = 2s\n" ALL
                                               : "slow_start = 2s\nbalance = hash\n" ALL);
        *sim_params(scene.sim) = sim_params_rough(seed);
        struct peer *clients[150];
        for (uint32_t i = 0; i < 150; i++) {
            scene.origins[sim_draw(scene.sim, 3)].mood = (enum mood)sim_draw(scene.sim, 6);
            if (sim_draw(scene.sim, 10) == 0) {
                meddle();
            }
            clients[i] = ask_with(sim_draw(scene.sim, 2) == 0 ? GET : POST);
            wait_ms(sim_draw(scene.sim, 60));
        }
        *sim_params(scene.sim) = sim_params_clean();
        for (uint32_t i = 0; i < 150; i++) {
            (void)status_of(clients[i]);
        }
        for (uint32_t i = 0; i < 3; i++) {
            scene.origins[i].mood = WELL;
            server_set_admin(&scene.backend->servers[i], SERVER_READY);
        }
        wait_ms(8000);
        for (uint32_t i = 0; i < 60; i++) {
            (void)asked();
            wait_ms(50);
        }
        for (uint32_t i = 0; i < 3; i++) {
            const struct server *server = &scene.backend->servers[i];
            bool home = scene.backend->balance == CONF_BALANCE_HASH;   /* no key leads there */
            assert_true(home || (!atomic_load(&server->ejected) && !atomic_load(&server->away_ms)));
            assert_true(home || shares(&scene.origins[i], 30) >= 5);
        }
        end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_fault_ejects, said_failed),
        cmocka_unit_test_teardown(what_does_not_eject, said_failed),
        cmocka_unit_test_teardown(no_connection, said_failed),
        cmocka_unit_test_teardown(no_connection_to_the_rest, said_failed),
        cmocka_unit_test_teardown(a_full_backlog, said_failed),
        cmocka_unit_test_teardown(races, said_failed),
        cmocka_unit_test_teardown(a_server_that_hangs, said_failed),
        cmocka_unit_test_teardown(a_server_that_is_restarted, said_failed),
        cmocka_unit_test_teardown(who_is_away_is_told, said_failed),
        cmocka_unit_test_teardown(one_that_ends_slowly, said_failed),
        cmocka_unit_test_teardown(one_that_has_lost_one, said_failed),
        cmocka_unit_test_teardown(ejected_and_then_gone, said_failed),
        cmocka_unit_test_teardown(a_server_that_flaps, said_failed),
        cmocka_unit_test_teardown(a_server_that_is_restarted_often, said_failed),
        cmocka_unit_test_teardown(longer_each_time, said_failed),
        cmocka_unit_test_teardown(one_tries, said_failed),
        cmocka_unit_test_teardown(who_waits_tries, said_failed),
        cmocka_unit_test_teardown(who_waited_before_tries, said_failed),
        cmocka_unit_test_teardown(a_check_finds_it_well, said_failed),
        cmocka_unit_test_teardown(the_only_one, said_failed),
        cmocka_unit_test_teardown(all_of_them, said_failed),
        cmocka_unit_test_teardown(the_last_one_is_taken_back, said_failed),
        cmocka_unit_test_teardown(taken_back_and_out_again, said_failed),
        cmocka_unit_test_teardown(backups, said_failed),
        cmocka_unit_test_teardown(home_again, said_failed),
        cmocka_unit_test_teardown(none_is_kept, said_failed),
        cmocka_unit_test_teardown(storms, said_failed),
    };
    return cmocka_run_group_tests_name("eject", tests, NULL, NULL);
}
