/* Limits of number and size against a whole gyre on the simulated ring: connections of one client,
 * what is sent ahead of answers, and what comes when nobody wants it any more.
 *
 * SIM_TEST=pattern runs those tests. */
#include "base/fault.h"
#include "limits_lab.h"
#include "sim/toy_tls.h"

/* --- Connections of one client ------------------------------------------------------------ */

#define DIALS 20u
#define RECEIVE_BYTES 4096u   /* of a segment of the simulated ring */

static uint32_t count_open(struct peer *const *peers, uint32_t count) {
    uint32_t open = 0;
    for (uint32_t i = 0; i < count; i++) {
        open += peers[i]->state == PEER_OPEN && !has_ended(peers[i]);
    }
    return open;
}

static void free_all(struct peer *const *peers, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        peer_free(peers[i]);
    }
}

/* Two workers, whichever of them a connection comes to: neither one more nor one less. */
static void clients_are_counted(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct sim_params params = params_of(seed);
        begin_with(seed, &params, "", "max_connections_per_client = 7\n", "");
        struct peer *one[DIALS], *other[DIALS];
        for (uint32_t i = 0; i < DIALS; i++) {
            one[i] = dial_from("10.1.1.1:1");
            other[i] = dial_from("10.1.1.2:1");
        }
        sleep_ms(SECOND);
        assert_int_equal(count_open(one, DIALS), 7);
        assert_int_equal(count_open(other, DIALS), 7);
        assert_int_equal(lab_closed(&lab, CLOSE_CLIENT_LIMIT), 2 * (DIALS - 7));
        for (uint32_t i = 0; i < DIALS; i++) {
            assert_true(one[i]->rx_total == 0 && (!has_ended(one[i]) || one[i]->reset));
        }
        /* Where some go, as many may come. */
        uint32_t gone = 0;
        for (uint32_t i = 0; i < DIALS && gone < 3; i++) {
            if (!has_ended(one[i])) {
                peer_close(one[i]);
                gone++;
            }
        }
        sleep_ms(SECOND);
        struct peer *more[5];
        for (uint32_t i = 0; i < 5; i++) {
            more[i] = dial_from("10.1.1.1:1");
        }
        sleep_ms(SECOND);
        assert_int_equal(count_open(more, 5), 3);
        free_all(one, DIALS);
        free_all(other, DIALS);
        free_all(more, 5);
        end();
    }
}

/* While clients come and go, at no time more than may be. */
static void clients_are_counted_in_a_storm(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct sim_params params = sim_params_rough(seed);
        params.chance[SIM_EMFILE] = params.chance[SIM_SYS] = 0;
        struct sim_params quiet = sim_params_clean();
        begin_with(seed, &quiet, "", "max_connections_per_client = 4\nhead_timeout = 500ms\n", "");
        memcpy(sim_params(sim)->chance, params.chance, sizeof params.chance);
        struct endpoint who;
        struct addr from = addr_of("10.1.1.1:1");
        endpoint_of(&who, &from.sa.any, from.len);
        struct peer *peers[100];
        for (uint32_t i = 0; i < 100; i++) {
            peers[i] = dial_from("10.1.1.1:1");
            sleep_ms(sim_draw(sim, 40));
            if (i >= 6 && sim_draw(sim, 2) == 0) {
                peer_reset(peers[i - sim_draw(sim, 6)]);
            }
            assert_true(client_held(lab.plan->clients[0], &who) <= 4);
            uint32_t wires = net_wires(&lab.workers[0].net) + net_wires(&lab.workers[1].net);
            assert_true(wires <= 4);
        }
        sleep_ms(MINUTE);
        assert_int_equal(client_held(lab.plan->clients[0], &who), 0);
        assert_true(lab_closed(&lab, CLOSE_CLIENT_LIMIT) > 0);
        free_all(peers, 100);
        end();
    }
}

static void some_clients_are_not_counted(void **state) {
    (void)state;
    struct sim_params params = params_of(0);
    begin_with(0, &params, "trusted_proxies = 10.2.0.0/16\n",
               "bind = unix:/run/gyre.sock\nmax_connections_per_client = 2\n", "");
    struct peer *trusted[DIALS], *local[DIALS], *usual[DIALS];
    struct addr path = addr_of("unix:/run/gyre.sock");
    for (uint32_t i = 0; i < DIALS; i++) {
        trusted[i] = dial_from("10.2.3.4:1");
        local[i] = peer_dial(&path, NULL);
        usual[i] = dial_from("10.3.3.4:1");
    }
    sleep_ms(SECOND);
    assert_int_equal(count_open(trusted, DIALS), DIALS);
    assert_int_equal(count_open(local, DIALS), DIALS);
    assert_int_equal(count_open(usual, DIALS), 2);
    free_all(trusted, DIALS);
    free_all(local, DIALS);
    free_all(usual, DIALS);
    end();
}

/* Whose address comes only with its first bytes is counted then. */
struct late_world {
    struct ring *ring;
    struct net net;
    struct connection_limit limit;
    struct client_counts *counts;
    struct listener *listener;
    struct task accepting, owner;
    struct wire *wires[DIALS];
    uint32_t count;
};

static const struct wire_limits late_limits = {.rx_mark = 4096, .tx_mark = 4096, .send_ms = 1000,
                                               .linger_ms = 1000};

static void late_accept(struct task *task) {
    struct late_world *w = container_of(task, struct late_world, accepting);
    int fd;
    while ((fd = listener_take(w->listener)) >= 0) {
        struct wire_params params = {.fd = fd, .limits = &late_limits, .limit = &w->limit,
                                     .clients = w->counts};
        w->wires[w->count] = wire_accept(&w->net, &params, &w->owner);
        assert_non_null(w->wires[w->count++]);
    }
}

static void late_owner(struct task *task) {
    (void)task;
}

static bool late_is_quiet(void *arg) {
    return net_is_empty(arg);
}

static void clients_that_are_known_later(void **state) {
    (void)state;
    static struct late_world w;
    memset(&w, 0, sizeof w);
    sim = sim_new(1, NULL);
    w.ring = ring_new(&(struct ring_params){0}, NULL);
    net_init(&w.net, w.ring);
    w.limit.max = 100;
    w.counts = client_counts_new(2, "web", NULL, 0);
    struct addr at = addr_of("127.0.0.1:80"), from = addr_of("10.1.1.1:1");
    int fd = sys_listen(&at, false, 16);
    task_init(&w.accepting, late_accept);
    task_init(&w.owner, late_owner);
    w.listener = listener_new(&w.net, fd, &w.limit, &w.accepting);
    struct peer *peers[4];
    for (uint32_t i = 0; i < 4; i++) {
        peers[i] = dial();
    }
    sleep_ms(SECOND);
    assert_int_equal(w.count, 4);
    struct endpoint who, unknown = {0};
    endpoint_of(&who, &from.sa.any, from.len);
    assert_true(wire_count(w.wires[0], &unknown));
    assert_true(wire_count(w.wires[1], &who));
    assert_true(wire_count(w.wires[2], &who));
    assert_false(wire_count(w.wires[3], &who));
    assert_int_equal(client_held(w.counts, &who), 2);
    w.wires[3]->reset = true;
    wire_shut(w.wires[3], CLOSE_CLIENT_LIMIT);
    sleep_ms(SECOND);
    assert_true(peers[3]->reset && !has_ended(peers[2]));
    assert_int_equal(client_held(w.counts, &who), 2);
    for (uint32_t i = 0; i < 3; i++) {
        wire_shut(w.wires[i], CLOSE_DRAIN);
    }
    listener_shut(w.listener);
    assert_int_equal(sim_run_until(sim, late_is_quiet, &w.net, 10 * SECOND), PEERS_MET);
    assert_int_equal(client_held(w.counts, &who), 0);
    client_counts_free(w.counts);
    free_all(peers, 4);
    assert_int_equal(sys_close(fd), 0);
    net_fini(&w.net);
    ring_free(w.ring);
    sim_free(sim);
}

/* auto: half of what the listener may hold. */
static void half_is_for_others(void **state) {
    (void)state;
    struct sim_params params = params_of(0);
    begin_with(0, &params, "", "max_connections = 10\n", "");
    struct peer *one[DIALS], *other[DIALS];
    for (uint32_t i = 0; i < DIALS; i++) {
        one[i] = dial_from("10.1.1.1:1");
    }
    sleep_ms(SECOND);
    assert_int_equal(count_open(one, DIALS), 5);
    for (uint32_t i = 0; i < 3; i++) {
        other[i] = dial_from("10.1.1.2:1");
    }
    sleep_ms(SECOND);
    assert_int_equal(count_open(other, 3), 3);
    free_all(one, DIALS);
    free_all(other, 3);
    end();
}

/* --- What is sent ahead, and what comes too late ------------------------------------------ */

static void drop_all(struct peer *p) {
    peer_drop(p, p->rx_len);
}

/* A MiB of requests of a client that reads nothing: no more than max_pipelined is read of it while
 * it has answers to read; when it reads, each of them has its answer. */
static void a_mib_of_requests(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 2; seed++) {
        struct sim_params params = params_of(seed);
        params.pipe_min = params.pipe_max = 65536;
        begin_with(seed, &params, "", "max_pipelined = 32k\nmax_requests = 100000\n"
                   "send_timeout = 1h\n", "");
        origin_listener->accepted = origin_comes;
        struct peer *p = dial();
        peer_pause(p, true);
        uint32_t count = (1u << 20) / (sizeof GET - 1);
        for (uint32_t i = 0; i < count; i++) {
            peer_send_text(p, GET);
        }
        sleep_ms(10 * SECOND);
        assert_true(lab_stat(&lab, STAT_PIPELINE_FULL) >= 1);
        uint64_t answered = lab_stat(&lab, STAT_RESPONSES), full = lab_stat(&lab,
                                                                            STAT_PIPELINE_FULL);
        assert_true(answered < 1000);          /* what queues and pipes hold of answers */
        assert_true(p->tx_len > (1u << 20) - answered * sizeof GET - 32768 - 2 * 65536 - 65536);
        sleep_ms(10 * SECOND);
        assert_int_equal(lab_stat(&lab, STAT_RESPONSES), answered);
        assert_int_equal(lab_stat(&lab, STAT_PIPELINE_FULL), full);
        p->changed = drop_all;
        peer_pause(p, false);
        while (lab_stat(&lab, STAT_RESPONSES) < count) {
            assert_true(sim_step(sim));
        }
        sleep_ms(SECOND);
        assert_true(p->rx_total > count * 1000ull);
        peer_free(p);
        end();
    }
}

#define REFUSED "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n"

/* The client of the lingering tests: plain, or with the toy's TLS. */
struct giver {
    struct peer *peer;
    struct toy_client toy;
    bool tls;
};

static void giver_changed(struct peer *peer) {
    struct giver *s = peer->user;
    toy_client_feed(&s->toy, peer->rx, peer->rx_len);
    peer_drop(peer, peer->rx_len);
    if (s->toy.out.len > 0 && peer->state == PEER_OPEN) {
        peer_send(peer, s->toy.out.p, s->toy.out.len);
        s->toy.out.len = 0;
    }
}

static void giver_send(struct giver *s, const void *bytes, size_t len) {
    if (s->tls) {
        toy_client_send(&s->toy, bytes, len);
        giver_changed(s->peer);
    } else {
        peer_send(s->peer, bytes, len);
    }
}

static bool giver_got(struct giver *s, const char *text) {
    if (!s->tls) {
        return peer_has(s->peer, text);
    }
    return s->toy.plain.len > 0 &&
           memmem(s->toy.plain.p, s->toy.plain.len, text, strlen(text)) != NULL;
}

static void giver_begin(struct giver *s, bool tls) {
    struct sim_params params = sim_params_clean();
    begin_with(0, &params, "", tls ? "certificate = toy.pem\nkey = toy.key\nmax_body = 10\n"
                                   : "max_body = 10\n", "");
    *s = (struct giver){.peer = dial(), .tls = tls};
    if (tls) {
        toy_client_init(&s->toy, "a");
        s->peer->user = s;
        s->peer->changed = giver_changed;
        giver_changed(s->peer);
    }
    giver_send(s, REFUSED, sizeof REFUSED - 1);
}

static void giver_end(struct giver *s) {
    if (s->tls) {
        toy_client_fini(&s->toy);
    }
    peer_free(s->peer);
    end();
}

/* A refused upload goes on and on: it is dropped for a while, so that its client gets to see the
 * answer, and not for ever. */
static void lingering_is_bounded(void **state) {
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct giver s;
        giver_begin(&s, tls != 0);
        char *body = mem_zero(1u << 20);
        uint64_t since = now_ms();
        for (unsigned i = 0; i < 64; i++) {
            giver_send(&s, body, 1u << 20);
        }
        mem_free(body);
        assert_int_equal(sim_run_until(sim, has_ended, s.peer, MINUTE), PEERS_MET);
        while (s.peer->tx_len > 0) {   /* until the reset */
            assert_true(sim_step(sim));
        }
        expect_ms(since, 0, 4900);     /* and not the five seconds of lingering */
        uint64_t got = lab_stat(&lab, STAT_RX_BYTES);
        assert_true(got > 16u << 20 && got < 18u << 20);
        assert_int_equal(lab_closed(&lab, CLOSE_BODY_TOO_LARGE), 1);
        giver_end(&s);
    }
}

static void an_upload_that_is_too_late_sees_its_answer(void **state) {
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct giver s;
        giver_begin(&s, tls != 0);
        char *body = mem_zero(15u << 20);
        giver_send(&s, body, 15u << 20);
        mem_free(body);
        assert_int_equal(sim_run_until(sim, has_ended, s.peer, MINUTE), PEERS_MET);
        assert_true(giver_got(&s, "HTTP/1.1 413 ") && !s.peer->reset);
        while (s.peer->tx_len > 0 && !s.peer->reset) {
            assert_true(sim_step(sim));
        }
        assert_false(s.peer->reset);
        if (tls == 0) {
            peer_fin(s.peer);
        }
        sleep_ms(6 * SECOND);
        assert_false(s.peer->reset);
        assert_int_equal(lab_closed(&lab, CLOSE_BODY_TOO_LARGE), 1);
        giver_end(&s);
    }
}

/* In one piece with a head whose answer needs no server, and no route: it was answered by nobody,
 * and timed by nothing. */
static void a_bad_body_behind_what_is_answered_at_once(void **state) {
    (void)state;
    static const struct {
        const char *body, *status;
    } cases[] = {{"x\r\n", "HTTP/1.1 400 "}, {"5\r\nhelloXX", "HTTP/1.1 400 "},
                 {"0\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 400 "},
                 {"FFFF\r\n", "HTTP/1.1 413 "}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sim_params params = sim_params_clean();
        char text[256];
        begin_with(0, &params, "", "max_body = 1000\n", "");
        struct peer *peer = dial();
        snprintf(text, sizeof text, "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n%s", cases[i].body);
        peer_send_text(peer, text);
        assert_int_equal(sim_run_until(sim, has_ended, peer, SECOND), PEERS_MET);
        assert_true(peer->rx_len > 13 && memcmp(peer->rx, cases[i].status, 13) == 0);
        peer_free(peer);
        end();
    }
}

/* --- Pieces ------------------------------------------------------------------------------- */

/* Without memory to name them all at once, the pieces of a last answer are sent one by one. One that
 * fills the client's window to the byte leaves at once, as the next has to wait for that. */
static void last_answer_in_pieces(void **state) {
    (void)state;
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n";
    static char answer[sizeof head - 1 + 5000];
    memset(answer, 'x', sizeof answer);
    memcpy(answer, head, sizeof head - 1);
    uint32_t window = 65536;
    for (unsigned i = 0; i < 2; i++) {   /* the first time shows how long the first send is */
        struct sim_params params = sim_params_clean();
        params.pipe_min = params.pipe_max = window;
        begin_with(0, &params, "", "", "");
        struct peer *p = dial();
        sim_params(sim)->pipe_min = sim_params(sim)->pipe_max = 65536;
        peer_send_text(p, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        await_head();
        fault_arm(FAULT_SENDVS, 0, 1000);
        peer_send(origin, answer, sizeof answer);
        assert_int_equal(sim_run_until(sim, has_ended, p, MINUTE), PEERS_MET);
        assert_int_equal(fault_hits(), i);
        fault_disarm();
        assert_true(p->eof && !p->reset);
        uint32_t first = (uint32_t)p->rx_len - (sizeof answer - RECEIVE_BYTES);
        assert_int_equal(first % 3, 0);
        window = first / 3;              /* the rest is there when the last third of it is due */
        peer_free(p);
        end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_answer_in_pieces),
        cmocka_unit_test(clients_are_counted),
        cmocka_unit_test(clients_are_counted_in_a_storm),
        cmocka_unit_test(some_clients_are_not_counted),
        cmocka_unit_test(clients_that_are_known_later),
        cmocka_unit_test(half_is_for_others),
        cmocka_unit_test(a_mib_of_requests),
        cmocka_unit_test(lingering_is_bounded),
        cmocka_unit_test(a_bad_body_behind_what_is_answered_at_once),
        cmocka_unit_test(an_upload_that_is_too_late_sees_its_answer),
    };
    cmocka_set_test_filter(getenv("SIM_TEST"));
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
