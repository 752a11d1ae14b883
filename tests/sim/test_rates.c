/* Timeouts and minimum rates against a whole gyre on the simulated ring, in exact virtual time: who
 * is too slow ends when it is said, for the reason that is said, and nobody else does.
 *
 * SIM_TEST=pattern runs those tests. */
#include "limits_lab.h"
#include "sim/toy_tls.h"

/* --- Request bodies ----------------------------------------------------------------------- */

#define UPLOAD "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
#define BODY_RATE "body_timeout = 10s\nmin_body_rate = 100\n"

static void a_slow_body(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        begin(seed, BODY_RATE);
        struct dripper d = {.peer = dial(), .bytes = 9, .every_ms = 100};
        peer_send_text(d.peer, UPLOAD);
        await_head();
        uint64_t since = now_ms();
        drip(&d);
        assert_int_equal(sim_run_until(sim, has_ended, d.peer, MINUTE), PEERS_MET);
        d.over = true;
        expect_ms(since, 10 * SECOND - 20, 10 * SECOND + 50);
        assert_true(peer_has(d.peer, "HTTP/1.1 408 ") && peer_has(d.peer, "Connection: close"));
        assert_int_equal(requests_ended(CLOSE_BODY_SLOW), 1);
        peer_free(d.peer);
        end();
    }
}

/* A little faster it may go on for as long as it likes, also when it comes in gushes. */
static void a_body_that_is_fast_enough(void **state) {
    (void)state;
    static const struct dripper kinds[] = {
        {.bytes = 11, .every_ms = 100}, {.bytes = 1000, .every_ms = 9900},
        {.bytes = 4000, .every_ms = 9900},
    };
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        begin(seed, BODY_RATE);
        struct dripper d = kinds[seed % 3];
        d.peer = dial();
        peer_send_text(d.peer, UPLOAD);
        await_head();
        drip(&d);
        sleep_ms(10 * MINUTE);
        assert_false(has_ended(d.peer));
        d.over = true;
        assert_true(origin->rx_total > 60000);
        peer_free(d.peer);
        end();
    }
}

/* What follows the last byte is said apart from what is too slow. */
static void a_body_that_stops(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        begin(seed, BODY_RATE);
        struct peer *p = dial();
        peer_send_text(p, UPLOAD);
        await_head();
        char bytes[1000];
        memset(bytes, 'x', sizeof bytes);
        uint64_t since = now_ms();
        peer_send(p, bytes, sizeof bytes);     /* just what is wanted of ten seconds */
        assert_int_equal(sim_run_until(sim, has_ended, p, MINUTE), PEERS_MET);
        expect_ms(since, 10 * SECOND, 10 * SECOND + 100);
        assert_int_equal(requests_ended(CLOSE_BODY_TIMEOUT), 1);
        peer_free(p);
        end();
    }
}

/* Trailers are body, too. */
static void slow_trailers(void **state) {
    (void)state;
    begin(0, BODY_RATE);
    struct dripper d = {.peer = dial(), .bytes = 9, .every_ms = 100};
    peer_send_text(d.peer, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "0\r\nX: ");
    await_head();
    uint64_t since = now_ms();
    drip(&d);
    assert_int_equal(sim_run_until(sim, has_ended, d.peer, MINUTE), PEERS_MET);
    d.over = true;
    expect_ms(since, 10 * SECOND - 20, 10 * SECOND + 50);
    assert_int_equal(requests_ended(CLOSE_BODY_SLOW), 1);
    peer_free(d.peer);
    end();
}

static uint64_t wanted;

static bool origin_has(void *arg) {
    (void)arg;
    return origin->rx_total >= wanted;
}

/* A server that reads nothing, then now and then: its slowness is not the client's. */
static void a_slow_server(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        begin(seed, "body_timeout = 2s\nmin_body_rate = 100k\n");
        struct peer *p = dial();
        peer_send_text(p, UPLOAD);
        await_head();
        peer_pause(origin, true);
        char *body = mem_zero(1000000);
        peer_send(p, body, 1000000);
        mem_free(body);
        wanted = 1000000;
        for (unsigned i = 0; i < 20; i++) {
            sleep_ms(10 * SECOND);
            peer_pause(origin, false);
            (void)sim_run_until(sim, origin_has, NULL, 20);
            peer_pause(origin, true);
        }
        assert_false(has_ended(p));
        peer_pause(origin, false);
        assert_int_equal(sim_run_until(sim, origin_has, NULL, MINUTE), PEERS_MET);
        peer_send_text(origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        sleep_ms(SECOND);
        assert_true(peer_has(p, "HTTP/1.1 200 OK"));
        peer_free(p);
        end();
    }
}

/* --- Answers ------------------------------------------------------------------------------ */

/* Takes so many bytes a second; the rest stays in its pipe. */
struct reader {
    struct peer *peer;
    uint64_t rate, since_us;
    bool over;
};

static bool reader_may(const struct reader *r) {
    return r->peer->rx_total * 1000000 < r->rate * (sim_now_us(sim) - r->since_us);
}

static void reader_changed(struct peer *peer) {
    struct reader *r = peer->user;
    peer_drop(peer, peer->rx_len);
    peer_pause(peer, !reader_may(r));
}

static void reader_tick(void *arg) {
    struct reader *r = arg;
    if (!r->over) {
        peer_pause(r->peer, !reader_may(r));
        sim_after(sim, 20, reader_tick, r);
    }
}

static void reader_start(struct reader *r, struct peer *peer, uint64_t rate) {
    *r = (struct reader){.peer = peer, .rate = rate, .since_us = sim_now_us(sim)};
    peer->user = r;
    peer->changed = reader_changed;
    reader_tick(r);
}

/* From now on it reads all, or nothing. */
static void reader_stop(struct reader *r, bool paused) {
    r->over = true;
    r->peer->changed = NULL;
    peer_pause(r->peer, paused);
}

#define ANSWER_BYTES 3000000u

static void answer_much(void) {
    char head[100];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", ANSWER_BYTES);
    peer_send_text(origin, head);
    char *body = mem_zero(ANSWER_BYTES);
    peer_send(origin, body, ANSWER_BYTES);
    mem_free(body);
}

static bool one_has_ended(void *arg) {
    return lab_closed(&lab, *(enum close_reason *)arg) > 0;
}

static void expect_end(enum close_reason why, uint64_t since, uint64_t min_ms, uint64_t max_ms) {
    assert_int_equal(sim_run_until(sim, one_has_ended, &why, 10 * MINUTE), PEERS_MET);
    expect_ms(since, min_ms, max_ms);
}

/* A wire is looked at eight times in send_timeout, first when it has waited for 200 ms, and with the
 * sweep, every 250 ms. */
#define SEND_MS (10 * SECOND)
#define SEND_LATE_MS (SEND_MS / 8 + 2 * 250 + 200)
#define SEND_RATE "send_timeout = 10s\nmin_send_rate = 10k\n"

static void a_slow_reader(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        begin(seed, SEND_RATE);
        struct peer *p = dial();
        peer_send_text(p, GET);
        await_head();
        struct reader r;
        reader_start(&r, p, 9000);
        uint64_t since = now_ms();
        answer_much();
        expect_end(CLOSE_SEND_SLOW, since, SEND_MS, SEND_MS + SEND_LATE_MS);
        assert_int_equal(requests_ended(CLOSE_SEND_SLOW), 1);
        assert_true(p->rx_total > 80000);
        reader_stop(&r, false);
        sleep_ms(SECOND);
        assert_true(p->reset);
        peer_free(p);
        end();
    }
}

static void a_reader_that_is_fast_enough(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        begin(seed, SEND_RATE);
        struct peer *p = dial();
        peer_send_text(p, GET);
        await_head();
        struct reader r;
        reader_start(&r, p, 11500);     /* 10k is 10240 */
        answer_much();
        sleep_ms(ANSWER_BYTES / 11500 * SECOND + 10 * SECOND);
        assert_true(p->rx_total > ANSWER_BYTES && !has_ended(p));
        assert_int_equal(requests_ended(CLOSE_NONE), 1);
        reader_stop(&r, false);
        peer_free(p);
        end();
    }
}

/* Without a minimum a drip is enough. */
static void a_reader_that_drips(void **state) {
    (void)state;
    begin(0, "send_timeout = 10s\nmin_send_rate = 0\n");
    struct peer *p = dial();
    peer_send_text(p, GET);
    await_head();
    struct reader r;
    reader_start(&r, p, 300);
    answer_much();
    sleep_ms(10 * MINUTE);
    assert_false(has_ended(p));
    reader_stop(&r, false);
    peer_free(p);
    end();
}

static void a_reader_that_stops(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        begin(seed, "send_timeout = 10s\nmin_send_rate = 0\n");
        struct peer *p = dial();
        peer_send_text(p, GET);
        await_head();
        struct reader r;
        reader_start(&r, p, 100000);
        answer_much();
        sleep_ms(7 * SECOND);
        reader_stop(&r, true);
        uint64_t since = now_ms();   /* it has read last up to one of its ticks ago */
        expect_end(CLOSE_SEND_TIMEOUT, since, SEND_MS - 20, SEND_MS + SEND_LATE_MS);
        assert_int_equal(requests_ended(CLOSE_SEND_TIMEOUT), 1);
        peer_free(p);
        end();
    }
}

/* It reads much at a time, and then long nothing. */
static void a_reader_in_gushes(void **state) {
    (void)state;
    begin(0, SEND_RATE);
    struct peer *p = dial();
    peer_send_text(p, GET);
    await_head();
    answer_much();
    struct reader r;
    for (unsigned i = 0; i < 20; i++) {
        reader_start(&r, p, 1000000000);
        while (p->rx_total < (i + 1) * 105000u) {
            assert_true(sim_step(sim));
        }
        reader_stop(&r, true);
        sleep_ms(9 * SECOND);
        assert_int_equal(lab_closed(&lab, CLOSE_SEND_SLOW) + lab_closed(&lab, CLOSE_SEND_TIMEOUT),
                         0);
    }
    peer_free(p);
    end();
}

/* A client that takes all that there is, is never slow. */
static void small_events(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        begin(seed, "send_timeout = 2s\nmin_send_rate = 1m\n");
        struct peer *p = dial();
        peer_send_text(p, GET);
        await_head();
        peer_send_text(origin, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n");
        for (unsigned i = 0; i < 200; i++) {
            peer_send_text(origin, "9\r\ndata: x\n\n\r\n");
            sleep_ms(i % 3 == 0 ? 40 : 3 * SECOND);
        }
        assert_false(has_ended(p));
        assert_true(p->rx_total > 200 * 14);
        peer_free(p);
        end();
    }
}

/* A tunnel's client is held to the same. */
static void a_slow_reader_of_a_tunnel(void **state) {
    (void)state;
    begin(0, SEND_RATE);
    struct peer *p = dial();
    peer_send_text(p, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                      "Upgrade: websocket\r\n\r\n");
    await_head();
    peer_send_text(origin, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                           "Upgrade: websocket\r\n\r\n");
    sleep_ms(SECOND);
    assert_true(peer_has(p, "101 Switching"));
    struct reader r;
    reader_start(&r, p, 9000);
    r.since_us -= 1000000;
    uint64_t since = now_ms();
    answer_much();
    expect_end(CLOSE_SEND_SLOW, since, SEND_MS, SEND_MS + SEND_LATE_MS);
    reader_stop(&r, false);
    peer_free(p);
    end();
}

/* --- Who is never done -------------------------------------------------------------------- */

/* A handshake, a head, an answer's head, byte by byte: none takes longer than its time. */
static void endless_handshakes(void **state) {
    (void)state;
    begin(0, "certificate = toy.pem\nkey = toy.key\nhead_timeout = 5s\n");
    struct toy_client toy;
    toy_client_init(&toy, "a");
    struct peer *p = dial();
    uint64_t since = now_ms();
    for (size_t i = 0; !has_ended(p) && i < toy.out.len; i++) {
        peer_send(p, toy.out.p + i, 1);
        sleep_ms(SECOND);
    }
    expect_ms(since, 5 * SECOND, 7 * SECOND);
    assert_int_equal(lab_closed(&lab, CLOSE_HANDSHAKE_TIMEOUT), 1);
    toy_client_fini(&toy);
    peer_free(p);
    end();
}

static void endless_heads(void **state) {
    (void)state;
    for (unsigned kept = 0; kept < 2; kept++) {
        struct sim_params params = params_of(0);
        begin_with(0, &params, "", "head_timeout = 5s\n", "");
        origin_listener->accepted = origin_comes;
        struct peer *p = dial();
        if (kept != 0) {
            peer_send_text(p, GET);
            sleep_ms(SECOND);
            assert_true(peer_has(p, "HTTP/1.1 200 OK"));
        }
        uint64_t since = now_ms();
        peer_send_text(p, "GET / HTTP/1.1\r\nX: ");
        struct dripper d = {.peer = p, .bytes = 1, .every_ms = 100};
        drip(&d);
        assert_int_equal(sim_run_until(sim, has_ended, p, MINUTE), PEERS_MET);
        d.over = true;
        assert_true(peer_has(p, "HTTP/1.1 408 "));
        expect_ms(since, 5 * SECOND - 20, 5 * SECOND + 50);
        assert_int_equal(requests_ended(CLOSE_HEAD_TIMEOUT), 1);
        peer_free(p);
        end();
    }
}

static void endless_heads_of_answers(void **state) {
    (void)state;
    for (unsigned interim = 0; interim < 2; interim++) {
        struct sim_params params = params_of(0);
        begin_with(0, &params, "", "", "response_timeout = 5s\n");
        struct peer *p = dial();
        peer_send_text(p, GET);
        await_head();
        uint64_t since = now_ms();
        struct dripper d = {.peer = origin, .bytes = 1, .every_ms = 100};
        if (interim == 0) {
            peer_send_text(origin, "HTTP/1.1 200 OK\r\nX: ");
            drip(&d);
        }
        for (unsigned i = 0; interim != 0 && i < 10; i++) {     /* as well, one by one */
            peer_send_text(origin, "HTTP/1.1 103 Early Hints\r\n\r\n");
            sleep_ms(400);
        }
        while (!peer_has(p, "HTTP/1.1 504 ")) {
            assert_true(sim_step(sim) && now_ms() < since + MINUTE);
        }
        d.over = true;
        expect_ms(since, 5 * SECOND - 20, 5 * SECOND + 50);
        assert_int_equal(requests_ended(CLOSE_RESPONSE_TIMEOUT), 1);
        peer_free(p);
        end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_body),
        cmocka_unit_test(a_body_that_is_fast_enough),
        cmocka_unit_test(a_body_that_stops),
        cmocka_unit_test(slow_trailers),
        cmocka_unit_test(a_slow_server),
        cmocka_unit_test(a_slow_reader),
        cmocka_unit_test(a_reader_that_is_fast_enough),
        cmocka_unit_test(a_reader_that_drips),
        cmocka_unit_test(a_reader_that_stops),
        cmocka_unit_test(a_reader_in_gushes),
        cmocka_unit_test(small_events),
        cmocka_unit_test(a_slow_reader_of_a_tunnel),
        cmocka_unit_test(endless_handshakes),
        cmocka_unit_test(endless_heads),
        cmocka_unit_test(endless_heads_of_answers),
    };
    cmocka_set_test_filter(getenv("SIM_TEST"));
    return cmocka_run_group_tests_name("rates", tests, NULL, NULL);
}
