/* Requests that go again: after every way to fail, by every method, with every kind of body, in both
 * modes, over several rings. What a server may have done is never asked of another one, unless it
 * may be done twice; and an outage is not made worse.
 *
 * SIM_SEED=n runs one seed of the storm, SIM_SEEDS=n that many. */
#include "retry_lab.h"

static const struct kind *const get = &kinds[0];
static const struct kind *const put_chunked = &kinds[5];
static const struct kind *const post = &kinds[8];

/* --- Every case --------------------------------------------------------------------------- */

static enum fate next_fate;
static uint32_t failing;          /* requests that still meet it */

static enum fate fate_once(struct origin *origin, struct asked *a) {
    (void)origin;
    (void)a;
    return failing > 0 && failing-- > 0 ? next_fate : SERVES;
}

static uint32_t status_without(enum fate fate) {
    switch (fate) {
    case SERVES: return 200;
    case BUSY: case BUSY_ENDLESSLY: case HINTS_AND_BUSY: return 503;
    case FAILS: return 500;
    case HANGS: return 504;
    default: return 502;
    }
}

static bool fate_may(enum fate fate) {
    return fate == RESETS || fate == FINS || fate == BUSY || fate == BUSY_ENDLESSLY ||
           fate == HANGS;
}

static void one_case(const struct kind *kind, enum fate fate, bool sync, uint32_t workers) {
    char what[128];
    snprintf(what, sizeof what, "%s, body %d, %s, %s, %u rings", kind->method, (int)kind->body,
             fate_words[fate], sync ? "sync" : "async", workers);
    begin(1, workers, "", sync ? "mode = sync\nslots = 2\nresponse_timeout = 300ms\n"
                                 "stall_timeout = 300ms\nretry_on = reset, timeout, 503\n"
                               : "mode = async\nresponse_timeout = 300ms\nstall_timeout = 300ms\n"
                                 "retry_on = reset, timeout, 503\n", NULL);
    scene.what = what;
    scene.fate = fate_once;
    next_fate = fate;
    failing = fate == SERVES ? 0 : 1;
    struct asked *a = ask(kind, 5000, 1);
    run();
    bool streams = !sync && (kind->body == LENGTH || kind->body == CHUNKED);
    bool again = fate_may(fate) && kind->idempotent && !streams;
    uint32_t want = again ? 200 : status_without(fate);
    if (status_of(a) != want || a->seen != 1u + again) {
        fail_msg("%s: %u, not %u, seen %u times", what, status_of(a), want, a->seen);
    }
    if (again) {
        assert_int_not_equal(a->at[0], a->at[1]);
    }
    assert_int_equal(lab_stat(&scene.lab, STAT_RETRIED), again);
    sim_run_until(scene.sim, NULL, NULL, 500);
    assert_true(logged(again ? "tries=2 " : "tries=1 "));
    end();
}

static void every_case(void **state) {
    (void)state;
    for (uint32_t k = 0; k < KINDS; k++) {
        for (enum fate fate = 0; fate < FATES; fate++) {
            for (uint32_t i = 0; i < 4; i++) {
                one_case(&kinds[k], fate, i % 2 == 0, i < 2 ? 1 : 3);
            }
        }
    }
}

/* --- How often, and where ----------------------------------------------------------------- */

static void count_is(const char *backend, enum fate fate, uint32_t fails, uint32_t status,
                     uint32_t seen) {
    begin(3, 2, "", backend, NULL);
    scene.what = backend;
    scene.fate = fate_once;
    next_fate = fate;
    failing = fails;
    struct asked *a = ask(get, 0, 1);
    run();
    if (status_of(a) != status || a->seen != seen) {
        fail_msg("%s: %u, seen %u times", backend, status_of(a), a->seen);
    }
    bool differ = seen < 3 || (a->at[0] != a->at[1] && a->at[1] != a->at[2] && a->at[0] != a->at[2]);
    assert_true(differ);   /* as long as there are others */
    end();
}

static void as_often_as_said(void **state) {
    (void)state;
    count_is("retries = 0\n", RESETS, 1, 502, 1);
    count_is("retries = 1\n", RESETS, 2, 502, 2);
    count_is("retries = 2\n", RESETS, 2, 200, 3);
    count_is("retries = 2\n", FINS, 3, 502, 3);
    count_is("retries = 5\n", RESETS, 4, 200, 5);
    count_is("retries = 2\nretry_on = 5xx\n", FAILS, 2, 200, 3);
    count_is("retries = 2\nretry_on = 5xx\n", FAILS, 3, 500, 3);
    count_is("retries = 2\nretry_on = 5xx\n", RESETS, 1, 502, 1);
    count_is("retry_on = connect\n", RESETS, 1, 502, 1);
    count_is("retry_on = no\n", RESETS, 1, 502, 1);
}

/* Refused connections: any request goes to each of the others, but where it was not to. */
static void refused_goes_on(void **state) {
    (void)state;
    for (uint32_t k = 0; k < KINDS; k++) {
        for (uint32_t i = 0; i < 4; i++) {
            char backend[128];
            bool stays = i == 3;
            snprintf(backend, sizeof backend, "balance = round_robin\nmode = %s\n%s",
                     i % 2 == 0 ? "sync" : "async", stays ? "retries = 0\n" : "");
            begin(k + 1, 1, "", backend, NULL);
            scene.fate = fate_once;
            origin_goes(&scene.origins[0]);
            origin_goes(&scene.origins[1]);
            struct asked *a = ask(&kinds[k], 3000, 1);
            run();
            assert_int_equal(status_of(a), stays ? 502 : 200);
            assert_int_equal(a->seen, !stays);
            assert_int_equal(lab_stat(&scene.lab, STAT_RETRIED_CONNECT), stays ? 0 : 2);
            assert_int_equal(lab_stat(&scene.lab, STAT_RETRIED), 0);
            sim_run_until(scene.sim, NULL, NULL, 500);
            assert_true(logged(stays ? "tries=1 " : "tries=3 "));
            end();
        }
    }
}

static enum fate fate_of_first(struct origin *origin, struct asked *a) {
    (void)a;
    return origin->index == 0 ? RESETS : SERVES;
}

/* The server that failed is free, the others are busy: one of them is waited for. */
static void the_busy_one_is_waited_for(void **state) {
    (void)state;
    for (uint32_t workers = 1; workers <= 3; workers++) {
        begin(workers, workers, "", "balance = round_robin\nslots = 1\n", NULL);
        scene.fate = fate_of_first;
        scene.answer_ms = 400;
        for (uint32_t i = 0; i < 9; i++) {
            ask(get, 0, 1 + i);
        }
        run();
        for (uint32_t i = 0; i < scene.asked_count; i++) {
            const struct asked *a = &scene.asked[i];
            if (status_of(a) != 200 || a->seen > 2) {
                fail_msg("%u rings: request %u got %u", workers, i, status_of(a));
            }
        }
        assert_true(lab_stat(&scene.lab, STAT_RETRIED) > 0);
        for (uint32_t i = 0; i < SERVERS; i++) {
            assert_true(scene.origins[i].holds_peak <= 1);
        }
        end();
    }
}

static enum fate fate_of_third(struct origin *origin, struct asked *a) {
    return origin->index == 0 && a == &scene.asked[2] && a->seen == 1 ? RESETS : SERVES;
}

/* Both others are busy for long. Those behind it go to the server that it avoids, and after five
 * seconds so does it. */
static void nobody_waits_for_who_avoids(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        begin(1 + i, 1 + i % 4, "", "slots = 1\nresponse_timeout = 20s\n", NULL);
        scene.fate = fate_of_third;
        scene.answer_ms = 10000;
        scene.origins[0].answer_ms = 20;
        origin_goes(&scene.origins[0]);
        ask(get, 0, 1);
        ask(get, 0, 1);
        sim_run_until(scene.sim, NULL, NULL, 100);
        origin_listen(&scene.origins[0]);
        struct asked *a = ask(get, 0, 1000);
        for (uint32_t k = 0; k < 10; k++) {
            ask(get, 0, 1100 + 30 * k);
        }
        sim_run_until(scene.sim, NULL, NULL, 1900);
        for (uint32_t k = 3; k < 13; k++) {
            assert_int_equal(status_of(&scene.asked[k]), 200);
        }
        sim_run_until(scene.sim, NULL, NULL, 4000);
        assert_false(asked_is_over(a));
        sim_run_until(scene.sim, NULL, NULL, 300);
        assert_int_equal(status_of(a), 200);
        assert_int_equal(a->at[1], 0);
        run();
        end();
    }
}

/* A worker that hangs is busy, whether or not its request has gone elsewhere: its slot stays taken,
 * and no second request comes to it. */
static void a_hung_worker_keeps_its_slot(void **state) {
    (void)state;
    begin(1, 2, "", "balance = round_robin\nslots = 1\nresponse_timeout = 1s\n"
                    "retry_on = timeout\nkeepalive = 0\n", NULL);
    scene.fate = fate_once;
    next_fate = HANGS;
    failing = 1;
    struct asked *first = ask(get, 0, 1);
    for (uint32_t i = 0; i < 20; i++) {
        ask(get, 0, 1100 + i * 20);
    }
    run();
    assert_int_equal(status_of(first), 200);
    assert_int_equal(first->seen, 2);
    assert_int_equal(scene.origins[first->at[0]].seen, 1);
    assert_int_equal(lab_stat(&scene.lab, STAT_ORPHANS), 1);
    assert_int_equal(lab_stat(&scene.lab, STAT_RETRIED_TIMEOUT), 1);
    end();
}

static enum fate fate_of_fourth(struct origin *origin, struct asked *a) {
    if (origin->index != 0 || a != &scene.asked[3]) {
        return SERVES;
    }
    sim_after(scene.sim, 1, origin_goes, origin);
    return RESETS;
}

/* The fourth waits for the first server, which dies under it, and waits for the others: no longer
 * than queue_timeout in all; and where its client leaves meanwhile, nobody is asked for it any more. */
static void waits_end(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        bool vanishes = i % 2 == 1;
        begin(1 + i, 1 + i / 2, "", "slots = 1\nqueue_timeout = 600ms\nresponse_timeout = 20s\n",
              NULL);
        scene.fate = fate_of_fourth;
        scene.answer_ms = 3000;
        scene.origins[0].answer_ms = 400;
        for (uint32_t k = 0; k < 3; k++) {
            ask(get, 0, 1 + 2 * k);
        }
        struct asked *a = ask(get, 0, 10);
        uint64_t began_us = sim_now_us(scene.sim) + 10 * 1000;
        if (vanishes) {
            sim_after(scene.sim, 500, asked_vanish, a);
        }
        while (!asked_is_over(a) && sim_step(scene.sim)) {
        }
        uint64_t took_ms = (sim_now_us(scene.sim) - began_us) / 1000;
        assert_int_equal(lab_stat(&scene.lab, STAT_RETRIED), 1);
        assert_true(vanishes || status_of(a) == 503);
        assert_true(vanishes || (took_ms >= 595 && took_ms < 650));
        run();
        sim_run_until(scene.sim, NULL, NULL, 5000);
        assert_int_equal(a->seen, 1);
        end();
    }
}

/* --- The body that came with its server's end --------------------------------------------- */

static struct asked *late_body;

static enum fate fate_body_late(struct origin *origin, struct asked *a) {
    (void)origin;
    if (a->seen > 1) {
        return SERVES;
    }
    sim_after(scene.sim, a->len % 3, asked_body, a);   /* before, with, and after the reset */
    return RESETS;
}

static void late_start(void *arg) {
    struct asked *a = arg;
    char text[128];
    struct addr to = addr_of("127.0.0.1:80");
    snprintf(text, sizeof text, "%s /%u HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
             "Transfer-Encoding: chunked\r\n\r\n", a->kind->method, (uint32_t)(a - scene.asked));
    a->client = peer_dial(&to, NULL);
    a->client->user = a;
    peer_send_text(a->client, text);
}

/* In mode async: what of a body comes in the turn in which its server is lost is not lost with it.
 * Either the next server gets all of it, or there is none. */
static void body_beside_a_reset(void **state) {
    (void)state;
    uint32_t served = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct sim_params params = sim_params_clean();
        params.latency_us = 300 * (uint32_t)(seed % 4);
        params.chance[SIM_LATE] = seed % 2 == 0 ? 3000 : 0;
        params.late_us = 1000;
        begin(seed, 1, "", "mode = async\nresponse_timeout = 2s\n", &params);
        scene.fate = fate_body_late;
        assert_true(scene.asked_count == 0);
        late_body = &scene.asked[scene.asked_count++];
        *late_body = (struct asked){.kind = put_chunked, .len = 900 + (uint32_t)(seed % 7)};
        sim_after(scene.sim, 1, late_start, late_body);
        run();
        uint32_t status = status_of(late_body);
        assert_true(status == 200 || status == 502);
        served += status == 200;
        end();
    }
    assert_true(served > 5);
}

/* --- Nothing has left --------------------------------------------------------------------- */

static enum fate fate_serves(struct origin *origin, struct asked *a) {
    (void)origin;
    (void)a;
    return SERVES;
}

/* A POST over a kept connection that was reset before the kernel took a byte of it goes again;
 * one that has left does not, whether the server read it or not. */
static void unsent_posts(void **state) {
    (void)state;
    uint32_t again = 0, failed = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct sim_params params = sim_params_clean();
        bool reads = seed % 4 == 0;   /* and resets then; gyre may yet learn first of the reset */
        params.latency_us = reads ? 0 : 200 * (uint32_t)(seed % 3);
        params.chance[SIM_LATE] = 4000;
        params.late_us = reads ? 20000 : 2000;
        begin(seed, 1, "", seed % 2 == 0 ? "mode = sync\nkeepalive_timeout = 10s\n"
                                         : "mode = async\nkeepalive_timeout = 10s\n", &params);
        scene.fate = fate_serves;
        struct asked *a = ask(get, 0, 1);
        run();
        struct asked *b = ask(post, seed % 5 == 0 ? 9000 : 20, 100);
        if (reads) {
            scene.fate = fate_once;
            next_fate = RESETS;
            failing = 1;
        } else {
            sim_after(scene.sim, 99 + seed % 3, link_resets, &scene.links[0]);
        }
        run();
        assert_int_equal(status_of(a), 200);
        bool retried = lab_stat(&scene.lab, STAT_RETRIED) == 1;
        uint32_t status = status_of(b);
        again += retried;
        failed += status == 502;
        assert_true(status == 502 || (status == 200 && b->whole == 1));
        assert_true(b->seen <= 1 && (!retried || status == 200));
        end();
    }
    if (again == 0 || failed == 0) {
        fail_msg("%u went again, %u failed", again, failed);
    }
}

/* --- The budget --------------------------------------------------------------------------- */

static bool outage;

static enum fate fate_outage(struct origin *origin, struct asked *a) {
    (void)origin;
    (void)a;
    return outage ? RESETS : SERVES;
}

#define FLOOR 30u
#define FLOOR_PER_S 3u

/* All servers reset every request: retries are the fifth of what clients ask, and the floor. */
static void an_outage_is_not_doubled(void **state) {
    (void)state;
    for (uint32_t workers = 1; workers <= 3; workers += 2) {
        begin(workers, workers, "", "retries = 3\n", NULL);
        scene.fate = fate_outage;
        outage = true;
        for (uint32_t i = 0; i < 3000; i++) {
            ask(get, 0, 1 + i * 5);       /* 200 a second, for 15 seconds */
        }
        run();
        uint32_t seen = 0;
        for (uint32_t i = 0; i < SERVERS; i++) {
            seen += scene.origins[i].seen;
        }
        uint32_t most = 3000 + 3000 / 5 + FLOOR + 16 * FLOOR_PER_S;
        if (seen > most || seen < 3000 + 3000 / 10) {
            fail_msg("%u requests came to the servers, %u may", seen, most);
        }
        assert_int_equal(lab_stat(&scene.lab, STAT_RETRIED), seen - 3000);
        assert_true(lab_stat(&scene.lab, STAT_RETRY_OVER_BUDGET) >= 3000 - (most - 3000));
        end();
    }
}

/* A burst of failures among many requests that went well is what the budget is for; and what was
 * spent comes back. */
static void a_burst_is_afforded(void **state) {
    (void)state;
    begin(5, 3, "", "", NULL);
    scene.fate = fate_outage;
    outage = false;
    for (uint32_t i = 0; i < 1000; i++) {
        ask(get, 0, 1 + i * 5);
    }
    run();
    scene.fate = fate_of_first;
    for (uint32_t i = 0; i < 200; i++) {
        ask(get, 0, 1 + i % 4);
    }
    run();
    for (uint32_t i = 0; i < scene.asked_count; i++) {
        assert_int_equal(status_of(&scene.asked[i]), 200);
    }
    assert_true(lab_stat(&scene.lab, STAT_RETRIED_RESET) > 30);
    assert_int_equal(lab_stat(&scene.lab, STAT_RETRY_OVER_BUDGET), 0);
    end();
}

static void no_budget(void **state) {
    (void)state;
    begin(6, 2, "retry_budget = 0%\n", "", NULL);
    scene.fate = fate_outage;
    outage = true;
    for (uint32_t i = 0; i < 500; i++) {
        ask(get, 0, 1);
    }
    run();
    assert_int_equal(lab_stat(&scene.lab, STAT_RETRIED), FLOOR);
    assert_int_equal(lab_stat(&scene.lab, STAT_RETRY_OVER_BUDGET), 500 - FLOOR);
    uint32_t before = (uint32_t)lab_stat(&scene.lab, STAT_RETRIED);
    sim_run_until(scene.sim, NULL, NULL, 20000);
    ask(get, 0, 1);
    run();
    assert_int_equal(lab_stat(&scene.lab, STAT_RETRIED), before + 1);
    end();
}

/* --- The storm ---------------------------------------------------------------------------- */

static enum fate fate_by_luck(struct origin *origin, struct asked *a) {
    (void)origin;
    (void)a;
    return sim_draw(scene.sim, 2) == 0 ? SERVES : (enum fate)sim_draw(scene.sim, FATES);
}

static void origin_comes_back(void *arg) {
    struct origin *origin = arg;
    if (origin->listener == NULL) {
        origin_listen(origin);
    }
}

static void origin_leaves(void *arg) {
    struct origin *origin = arg;
    if (origin->listener != NULL) {
        origin_goes(origin);
    }
}

static void storm(uint64_t seed) {
    struct sim_params params = seed % 3 == 0 ? sim_params_clean() : sim_params_rough(seed);
    char backend[400];
    uint32_t retries = (uint32_t)(seed % 4);
    snprintf(backend, sizeof backend,
             "mode = %s\nslots = %u\nretries = %u\nretry_on = connect, reset, timeout, 5xx\n"
             "connect_timeout = 200ms\nresponse_timeout = 300ms\nstall_timeout = 300ms\n"
             "queue_timeout = 2s\nrequest_memory = 4k\nidle_holds_slot = %s\nbalance = %s\n",
             seed % 2 == 0 ? "sync" : "async", (uint32_t)(seed / 2 % 4), retries,
             seed / 2 % 4 != 0 && seed % 5 == 0 ? "yes" : "no",
             seed % 7 == 0 ? "hash" : seed % 7 == 1 ? "round_robin" : "least_requests");
    begin(seed, 1 + (uint32_t)(seed % 4), seed % 6 == 0 ? "retry_budget = 0%\n" : "", backend,
          &params);
    scene.fate = fate_by_luck;
    scene.answer_ms = 80;
    scene.answers_by_luck = true;
    for (uint32_t i = 0; i < 80; i++) {
        const struct kind *kind = &kinds[sim_draw(scene.sim, KINDS)];
        uint32_t len = (uint32_t)sim_draw(scene.sim, sim_draw(scene.sim, 2) == 0 ? 100 : BODY_MAX);
        uint64_t at = sim_draw(scene.sim, 2000);
        struct asked *a = ask(kind, len, at);
        if (sim_chance(scene.sim, 1500)) {
            a->vanishes = true;
            sim_after(scene.sim, at + 1 + sim_draw(scene.sim, 400), asked_vanish, a);
        }
    }
    for (uint32_t i = 0; i < SERVERS; i++) {
        if (sim_draw(scene.sim, 3) == 0) {
            uint64_t at = sim_draw(scene.sim, 2000);
            sim_after(scene.sim, at, origin_leaves, &scene.origins[i]);
            sim_after(scene.sim, at + 300, origin_comes_back, &scene.origins[i]);
        }
    }
    sim_run_until(scene.sim, NULL, NULL, 5000);
    memset(sim_params(scene.sim)->chance, 0, sizeof params.chance);
    run();
    for (uint32_t i = 0; i < scene.asked_count; i++) {
        /* The race of a kept connection is not counted, and can be had once. */
        if (scene.asked[i].seen > 1 + retries + (retries > 0 ? 1 : 0)) {
            wrong("a request went again more often than it may", i);
        }
    }
    end();
}

static void storms(void **state) {
    (void)state;
    const char *one = getenv("SIM_SEED"), *many = getenv("SIM_SEEDS");
    if (one != NULL) {
        storm(strtoull(one, NULL, 10));
        return;
    }
    uint64_t count = many != NULL ? strtoull(many, NULL, 10) : 200;
    for (uint64_t seed = 1; seed <= count; seed++) {
        storm(seed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case),
        cmocka_unit_test(as_often_as_said),
        cmocka_unit_test(refused_goes_on),
        cmocka_unit_test(the_busy_one_is_waited_for),
        cmocka_unit_test(nobody_waits_for_who_avoids),
        cmocka_unit_test(a_hung_worker_keeps_its_slot),
        cmocka_unit_test(waits_end),
        cmocka_unit_test(body_beside_a_reset),
        cmocka_unit_test(unsent_posts),
        cmocka_unit_test(an_outage_is_not_doubled),
        cmocka_unit_test(a_burst_is_afforded),
        cmocka_unit_test(no_budget),
        cmocka_unit_test(storms),
    };
    cmocka_set_test_filter(getenv("SIM_TEST"));
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
