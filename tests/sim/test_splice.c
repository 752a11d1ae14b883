/* Large plain responses, which go from socket to socket without being read, on the simulated ring:
 * nothing of what is promised of any response is different for them. */
#include "base/fault.h"
#include "limits_lab.h"

#define LARGE 1000000u
#define KEYS "keepalive = 4\nresponse_timeout = 5s\nstall_timeout = 5s\n"

static struct sim_params params_large(uint64_t seed) {
    struct sim_params p = params_of(seed);
    p.pipe_min = 1000;
    p.pipe_max = 4000u << seed % 6;
    return p;
}

static void start(uint64_t seed, const char *listener) {
    struct sim_params params = params_large(seed);
    begin_with(seed, &params, "access_log = /log\n", listener, KEYS);
}

static char pattern(uint32_t i) {
    return (char)(i * 7 + (i >> 8) * 13 + (i >> 16));
}

static void send_part(uint32_t from, uint32_t to) {
    char *body = mem_alloc(to - from);
    for (uint32_t i = from; i < to; i++) {
        body[i - from] = pattern(i);
    }
    peer_send(origin, body, to - from);
    mem_free(body);
}

static void send_head(uint32_t length) {
    char head[100];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", length);
    peer_send_text(origin, head);
}

struct want {
    struct peer *peer;
    size_t total;
};

static bool has_come(void *arg) {
    const struct want *w = arg;
    return w->peer->rx_total >= w->total;
}

static bool has_head(void *arg) {
    const struct peer *p = arg;
    return peer_has(p, "\r\n\r\n");
}

/* A head, and all of its body, byte for byte; both are dropped. */
static void expect_body(struct peer *p, uint32_t length) {
    assert_int_equal(sim_run_until(sim, has_head, p, MINUTE), PEERS_MET);
    uint8_t *last = memmem(p->rx, p->rx_len, "\r\n\r\n", 4);
    peer_drop(p, (size_t)(last - p->rx) + 4);
    struct want w = {p, p->rx_total - p->rx_len + length};
    assert_int_equal(sim_run_until(sim, has_come, &w, 10 * MINUTE), PEERS_MET);
    for (uint32_t i = 0; i < length; i++) {
        if ((char)p->rx[i] != pattern(i)) {
            fail_msg("byte %u is not its own", i);
        }
    }
    peer_drop(p, length);
}

static uint64_t spliced(void) {
    return lab_stat(&lab, STAT_SPLICED_BYTES);
}

static bool is_spliced(void *arg) {
    return spliced() >= *(uint64_t *)arg;
}

/* Until so many bytes have gone that way. */
static void await_spliced(uint64_t bytes) {
    assert_int_equal(sim_run_until(sim, is_spliced, &bytes, MINUTE), PEERS_MET);
}

static bool one_has_ended(void *arg) {
    return requests_ended(*(enum close_reason *)arg) == 1;
}

static void expect_ended(enum close_reason why) {
    if (sim_run_until(sim, one_has_ended, &why, MINUTE) != PEERS_MET) {
        fail_msg("no request has ended with %s", close_word(why));
    }
}

static struct peer *ask(void) {
    struct peer *p = dial();
    peer_send_text(p, GET);
    await_head();
    peer_drop(origin, origin->rx_len);
    return p;
}

/* --- All goes well ------------------------------------------------------------------------ */

/* Two large ones and a small one, one after the other and sent ahead, on the same two connections:
 * nothing of one is in another, and the log has its bytes. */
static void comes_whole(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4 * SEEDS; seed++) {
        start(seed, "");
        struct peer *p = dial();
        peer_send_text(p, GET GET GET);
        static const uint32_t lengths[] = {LARGE, LARGE + 4711, 10};
        await_head();
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(sim_run_until(sim, has_head, origin, MINUTE), PEERS_MET);
            peer_drop(origin, origin->rx_len);
            send_head(lengths[i]);
            send_part(0, lengths[i]);
            expect_body(p, lengths[i]);
        }
        sleep_ms(2 * SECOND);
        assert_true(spliced() > LARGE && spliced() < 2 * LARGE + 4711);
        assert_int_equal(lab_stat(&lab, STAT_REUSED), 2);
        assert_int_equal(lab_stat(&lab, STAT_DIALED), 1);
        assert_int_equal(lab_stat(&lab, STAT_SPLICE_REFUSED), 0);
        assert_int_equal(requests_ended(CLOSE_NONE), 3);
        assert_true(lab_stat(&lab, STAT_TX_BYTES) > 2 * LARGE + 4711);
        assert_true(lab_stat(&lab, STAT_RX_BYTES) > 2 * LARGE + 4711);
        struct str log = sim_file(sim, "/log");
        assert_non_null(memmem(log.p, log.len, "\" 200 1000000 ", 14));
        assert_non_null(memmem(log.p, log.len, "\" 200 1004711 ", 14));
        peer_free(p);
        end();
    }
}

static bool moves_a_piece(void *arg) {
    static uint64_t before;
    struct peer **p = arg;
    uint64_t now = spliced();
    before = now < before ? 0 : before;   /* another seed's */
    assert_true(now - before <= SPLICE_TURN_BYTES);
    before = now;
    return p[0]->rx_total > LARGE && p[1]->rx_total > LARGE && p[2]->rx_total > LARGE;
}

/* However much sockets hold, and clients take, a turn moves a piece of one of a few. */
static void piece_by_piece(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim_params params = params_of(seed);
        params.pipe_min = 100000;
        params.pipe_max = 2 * LARGE;
        begin_with(seed, &params, "", "", KEYS);
        struct peer *p[3], *asked[3];
        for (unsigned i = 0; i < 3; i++) {
            p[i] = ask();
            asked[i] = origin;
        }
        for (unsigned i = 0; i < 3; i++) {
            origin = asked[i];
            send_head(LARGE);
            send_part(0, LARGE);
        }
        assert_int_equal(sim_run_until(sim, moves_a_piece, p, MINUTE), PEERS_MET);
        for (unsigned i = 0; i < 3; i++) {
            expect_body(p[i], LARGE);
            peer_free(p[i]);
        }
        assert_true(spliced() > LARGE);
        end();
    }
}

/* It comes in pieces, with pauses of less than stall_timeout between them. */
static void comes_in_pieces(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        start(seed, "");
        struct peer *p = ask();
        send_head(LARGE);
        for (uint32_t at = 0, n; at < LARGE; at += n) {
            n = 1 + (uint32_t)sim_draw(sim, at % 2 == 0 ? 10 : 100000);
            n = n < LARGE - at ? n : LARGE - at;
            send_part(at, at + n);
            sleep_ms(sim_draw(sim, 3000));
        }
        expect_body(p, LARGE);
        assert_true(spliced() > LARGE / 2);
        peer_free(p);
        end();
    }
}

/* What follows the body is not its, and its connection is not used again. */
static void more_than_was_promised(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        start(seed, "");
        struct peer *p = ask();
        if (seed % 2 == 0) {
            peer_send_text(p, GET);   /* it waits for the end of the first */
        }
        send_head(LARGE);
        send_part(0, LARGE);
        peer_send_text(origin, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad");
        expect_body(p, LARGE);
        struct peer *before = origin;
        if (seed % 2 != 0) {
            peer_send_text(p, GET);
        }
        await_head();
        assert_ptr_not_equal(origin, before);
        send_head(10);
        send_part(0, 10);
        expect_body(p, 10);
        assert_true(spliced() > LARGE / 2);
        peer_free(p);
        end();
    }
}

/* --- The client --------------------------------------------------------------------------- */

/* That it waits is not its server's fault, whatever stall_timeout says. */
static void a_client_that_pauses(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        start(seed, "send_timeout = 10m\n");
        struct peer *p = ask();
        send_head(LARGE);
        send_part(0, LARGE);
        for (unsigned i = 0; i < 4; i++) {
            await_spliced(1 + i * 100000);
            peer_pause(p, true);
            sleep_ms(20 * SECOND);
            peer_pause(p, false);
        }
        expect_body(p, LARGE);
        assert_int_equal(requests_ended(CLOSE_NONE), 1);
        peer_free(p);
        end();
    }
}

static void a_client_that_stops(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        start(seed, "send_timeout = 10s\n");
        struct peer *p = ask();
        send_head(LARGE);
        send_part(0, LARGE);
        await_spliced(100000);
        peer_pause(p, true);
        uint64_t since = now_ms();
        expect_ended(CLOSE_SEND_TIMEOUT);
        expect_ms(since, 10 * SECOND - 20, 12 * SECOND);
        peer_free(p);
        end();
    }
}

/* How it goes: a FIN, a reset, or a close with bytes unread. */
static void a_client_that_leaves(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 3 * SEEDS; seed++) {
        start(seed, "");
        struct peer *p = ask();
        send_head(LARGE);
        send_part(0, LARGE - 1);
        await_spliced(1 + sim_draw(sim, LARGE / 2));
        bool stands = seed % 2 == 0;
        if (stands) {
            peer_pause(p, true);
            sleep_ms(100);
        }
        if (seed % 3 == 0) {
            peer_fin(p);
        } else if (seed % 3 == 1) {
            peer_reset(p);
        } else {
            peer_close(p);
        }
        expect_ended(CLOSE_CLIENT_GONE);
        sleep_ms(SECOND);
        assert_true(origin->reset || origin->eof);
        peer_free(p);
        end();
    }
}

/* Nobody hears of its FIN, as what it has sent ahead fills all that may wait; then its reset comes
 * just as something is sent to it: that fails, and nothing else tells. What is left of the response
 * goes nowhere, as ever, and both are let go. Even seeds: before it is spliced. */
static void a_client_that_leaves_unheard(void **state) {
    (void)state;
    uint64_t hits[2] = {0};
    for (uint64_t seed = 0; seed < 4 * SEEDS; seed++) {
        struct sim_params params = params_large(seed);
        params.pipe_max = 2000;
        begin_with(seed, &params, "", "max_pipelined = 16k\nsend_timeout = 10m\n", KEYS);
        struct peer *p = ask();
        for (unsigned i = 0; i < 16 * 1024 / (sizeof GET - 1) + 1; i++) {
            peer_send_text(p, GET);
        }
        peer_fin(p);
        sleep_ms(2 * SECOND);
        peer_pause(p, true);
        send_head(LARGE);
        send_part(0, LARGE);
        sleep_ms(100);
        fault_arm(seed % 2 == 0 ? FAULT_SEND_PIPE : FAULT_SPLICE_PIPE, 0, 1);
        peer_pause(p, false);
        sleep_ms(20 * SECOND);
        hits[seed % 2] += fault_hits();
        fault_disarm();
        if (requests_ended(CLOSE_NONE) + requests_ended(CLOSE_CLIENT_GONE) == 0) {
            fail_msg("seed %u: its request does not end", (unsigned)seed);
        }
        peer_free(p);
        end();
    }
    assert_true(hits[0] > 0 && hits[1] > 0);
}

/* --- The server --------------------------------------------------------------------------- */

static void a_server_that_breaks_off(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        start(seed, "");
        struct peer *p = ask();
        send_head(LARGE);
        uint32_t come = LARGE / 2 + (uint32_t)sim_draw(sim, LARGE / 2);
        send_part(0, come);
        struct want w = {p, come};
        assert_int_equal(sim_run_until(sim, has_come, &w, MINUTE), PEERS_MET);
        if (seed % 2 == 0) {
            peer_fin(origin);
        } else {
            peer_reset(origin);
        }
        expect_ended(CLOSE_BACKEND_CUT);
        sleep_ms(SECOND);
        assert_true(p->reset && p->rx_total >= come);
        peer_free(p);
        end();
    }
}

static void a_server_that_stalls(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        start(seed, "");
        struct peer *p = ask();
        send_head(LARGE);
        send_part(0, LARGE / 2);
        struct want w = {p, LARGE / 2};
        assert_int_equal(sim_run_until(sim, has_come, &w, MINUTE), PEERS_MET);
        uint64_t since = now_ms();
        expect_ended(CLOSE_STALL_TIMEOUT);
        expect_ms(since, 4 * SECOND, 6 * SECOND);
        sleep_ms(SECOND);
        assert_true(p->reset);
        peer_free(p);
        end();
    }
}

#define POST "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"

/* It answers early, and takes the rest of the request all the while. */
static void a_server_that_answers_early(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        start(seed, "");
        struct peer *p = dial();
        peer_send_text(p, POST);
        await_head();
        send_head(LARGE);
        send_part(0, LARGE / 2);
        await_spliced(1);
        char some[1000];
        memset(some, 'x', sizeof some);
        for (unsigned i = 0; i < 99; i++) {
            peer_send(p, some, sizeof some);
            sleep_ms(10);
        }
        send_part(LARGE / 2, LARGE);
        expect_body(p, LARGE);
        peer_send(p, some, sizeof some);
        assert_true(spliced() > LARGE / 4);
        assert_int_equal(requests_ended(CLOSE_NONE), 1);
        peer_free(p);
        end();
    }
}

/* It has answered, and takes no more of its request: its connection is given up while the last
 * bytes of the answer are in the pipe, on their way to a client that reads later. */
static void a_server_that_takes_no_more(void **state) {
    (void)state;
    unsigned cut = 0;
    for (uint64_t seed = 0; seed < 4 * SEEDS; seed++) {
        struct sim_params params = params_large(seed);
        params.pipe_max = 3000;
        begin_with(seed, &params, "", "send_timeout = 10m\n", KEYS);
        struct peer *p = dial();
        peer_send_text(p, POST);
        await_head();
        peer_pause(origin, true);
        char much[100000];
        memset(much, 'x', sizeof much);
        peer_send(p, much, sizeof much);
        sleep_ms(SECOND);
        uint32_t early = LARGE - 2000 - (uint32_t)sim_draw(sim, 2000);
        send_head(LARGE);
        send_part(0, early);
        struct want w = {p, early};
        assert_int_equal(sim_run_until(sim, has_come, &w, 4 * SECOND), PEERS_MET);
        peer_pause(p, true);
        send_part(early, LARGE);
        sleep_ms(20 * SECOND);
        peer_pause(p, false);
        sleep_ms(5 * SECOND);
        cut += p->reset;
        if (!p->reset && requests_ended(CLOSE_NONE) != 1) {
            fail_msg("seed %u: the client waits for ever", (unsigned)seed);
        }
        peer_free(p);
        end();
    }
    assert_true(cut > SEEDS);
}

/* --- Where it can not be ------------------------------------------------------------------ */

/* No pipe, no memory: they are copied. */
static void without_a_pipe(void **state) {
    (void)state;
    static const enum fault_point points[] = {FAULT_PIPE, FAULT_SPLICES};
    for (unsigned i = 0; i < 2; i++) {
        start(i, "");
        fault_arm(points[i], 0, 1000);
        struct peer *p = ask();
        send_head(LARGE);
        send_part(0, LARGE);
        expect_body(p, LARGE);
        assert_int_equal(spliced(), 0);
        assert_int_equal(lab_stat(&lab, STAT_SPLICE_REFUSED), points[i] == FAULT_PIPE);
        assert_int_equal(requests_ended(CLOSE_NONE), 1);
        fault_disarm();
        peer_free(p);
        end();
    }
}

/* Each of its first calls fails in turn. Where a splice to the client does, what is in the pipe is
 * lost, and so is the client; all else is received as ever. */
static void calls_that_fail(void **state) {
    (void)state;
    static const enum fault_point points[] = {FAULT_SPLICE_RESET, FAULT_SPLICE_PIPE,
                                              FAULT_SPLICE_MEMORY, FAULT_WATCH_MEMORY,
                                              FAULT_SENDERS};
    for (unsigned i = 0; i < 10 * sizeof points / sizeof points[0]; i++) {
        enum fault_point point = points[i / 10];
        start(i % 3, "");
        struct peer *p = ask();
        fault_arm(point, i % 10, 1);
        send_head(LARGE);
        send_part(0, LARGE);
        bool cut = sim_run_until(sim, has_ended, p, 20 * SECOND) == PEERS_MET;
        bool hit = fault_hits() > 0;
        fault_disarm();
        if (cut != (p->rx_total < LARGE) || (cut && !hit)) {
            fail_msg("%s %u: %zu bytes, %s", fault_word(point), i % 10, p->rx_total,
                     cut ? "cut" : "not cut");
        }
        assert_int_equal(requests_ended(CLOSE_NONE), !cut);
        peer_free(p);
        end();
    }
}

/* A pipe that nobody uses makes room for a dial. */
static void without_a_descriptor(void **state) {
    (void)state;
    start(0, "");
    struct peer *p = ask();
    send_head(LARGE);
    send_part(0, LARGE);
    expect_body(p, LARGE);
    assert_true(spliced() > 0);
    peer_fin(origin);
    sleep_ms(100);
    fault_arm(FAULT_SOCKET_PROCESS, 0, 1);
    peer_send_text(p, GET);
    await_head();
    assert_int_equal(fault_hits(), 1);
    fault_disarm();
    send_head(10);
    send_part(0, 10);
    expect_body(p, 10);
    peer_free(p);
    end();
}

/* A sync server's answer is taken off it, however slow its client is; TLS is not plain; chunks are
 * not what they are on the wire. */
static void what_is_copied(void **state) {
    (void)state;
    struct sim_params params = params_large(0);
    begin_with(0, &params, "", "", "mode = sync\n");
    struct peer *p = ask();
    send_head(LARGE);
    send_part(0, LARGE);
    expect_body(p, LARGE);
    assert_int_equal(spliced(), 0);
    peer_free(p);
    p = ask();
    peer_send_text(origin, "HTTP/1.1 200 OK\r\n\r\n");
    send_part(0, LARGE);
    peer_fin(origin);
    expect_ended(CLOSE_NONE);
    assert_int_equal(spliced(), 0);
    peer_free(p);
    end();
}

/* --- The end of gyre ---------------------------------------------------------------------- */

/* Draining lets it come to its end, and drain_timeout cuts it. */
static void gyre_stops(void **state) {
    (void)state;
    for (unsigned slow = 0; slow < 2; slow++) {
        start(slow, "");
        struct peer *p = ask();
        send_head(LARGE);
        send_part(0, slow ? LARGE - 1 : LARGE);
        await_spliced(100000);
        assert_true(lab_stop(&lab, MINUTE));
        sleep_ms(SECOND);
        assert_int_equal(p->reset, slow);
        assert_true(p->rx_total > LARGE / 2);
        peer_free(p);
        peer_listener_close(origin_listener);
        sim_free(sim);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_whole),
        cmocka_unit_test(piece_by_piece),
        cmocka_unit_test(comes_in_pieces),
        cmocka_unit_test(more_than_was_promised),
        cmocka_unit_test(a_client_that_pauses),
        cmocka_unit_test(a_client_that_stops),
        cmocka_unit_test(a_client_that_leaves),
        cmocka_unit_test(a_client_that_leaves_unheard),
        cmocka_unit_test(a_server_that_breaks_off),
        cmocka_unit_test(a_server_that_stalls),
        cmocka_unit_test(a_server_that_answers_early),
        cmocka_unit_test(a_server_that_takes_no_more),
        cmocka_unit_test(without_a_pipe),
        cmocka_unit_test(calls_that_fail),
        cmocka_unit_test(without_a_descriptor),
        cmocka_unit_test(what_is_copied),
        cmocka_unit_test(gyre_stops),
    };
    cmocka_set_test_filter(getenv("SIM_TEST"));
    return cmocka_run_group_tests_name("splice", tests, NULL, NULL);
}
