/* Wires that begin with a PROXY header, on the simulated ring: however it is cut, plain or before
 * TLS, and whatever ends the connection inside it. */
#include "h1_world.h"
#include "sim/toy_tls.h"
#include "tls/tls.h"

#define GOT_MAX 256

struct stage {
    struct h1_world world;
    struct addr addr;
    int fd;
    struct connection_limit limit;
    struct listener *listener;
    struct task accepting, task;
    struct tls_context *tls;
    struct wire *wire;           /* the one connection; NULL when it is gone */
    bool came, told, up, eof;
    struct proxyproto_ends ends;
    enum close_reason lost;
    uint64_t lost_ms;
    char got[GOT_MAX];
    uint32_t got_len;
    struct peer *client;
    struct toy_client toy;
};

static void stage_run(struct task *task) {
    struct stage *s = container_of(task, struct stage, task);
    struct wire *w = s->wire;
    if (w == NULL) {
        return;
    }
    unsigned ready = w->ready;
    w->ready = 0;
    if ((ready & WIRE_LOST) != 0) {
        s->lost = w->why;
        s->lost_ms = ring_now_ms(s->world.ring);
        s->wire = NULL;
        wire_shut(w, w->why);
        return;
    }
    if ((ready & WIRE_TOLD) != 0) {
        assert_false(s->told || s->up);
        s->told = true;
        s->ends = *wire_told(w);
    }
    if ((ready & WIRE_UP) != 0) {
        assert_true(s->told);
        s->up = true;
    }
    s->eof = s->eof || (ready & WIRE_EOF) != 0;
    uint32_t len = bufq_read(&w->rx, s->got + s->got_len, GOT_MAX - s->got_len);
    assert_true(len == 0 || s->up);
    s->got_len += len;
    bufq_drop(&w->rx, len);
    if (len > 0) {
        wire_pull(w);
    }
}

static void stage_accepting(struct task *task) {
    struct stage *s = container_of(task, struct stage, accepting);
    for (int fd; (fd = listener_take(s->listener)) >= 0;) {
        struct wire_params params = {.fd = fd, .tls = s->tls, .limits = &s->world.limits.wire,
                                     .limit = &s->limit, .proxy = true};
        s->wire = wire_accept(&s->world.net, &params, &s->task);
        assert_non_null(s->wire);
        s->came = true;
    }
}

static bool stage_came(void *arg) {
    return ((struct stage *)arg)->came;
}

static void stage_until(struct stage *s, bool (*cond)(void *)) {
    assert_int_equal(sim_run_until(s->world.sim, cond, s, 60000), PEERS_MET);
}

static void stage_init(struct stage *s, enum travel travel, bool tls) {
    const char *why;
    char text[TLS_WHY_MAX];
    memset(s, 0, sizeof *s);
    world_init(&s->world, 1, travel);
    s->world.limits.wire.rx_mark = 10;   /* smaller than any header: it must not matter */
    assert_true(addr_parse(&s->addr, STR("127.0.0.1:80"), &why));
    s->fd = sys_listen(&s->addr, true, 16);
    s->limit.max = 10;
    task_init(&s->accepting, stage_accepting);
    task_init(&s->task, stage_run);
    s->tls = tls ? tls_context_new(&(struct tls_params){0}, text) : NULL;
    s->listener = listener_new(&s->world.net, s->fd, &s->limit, &s->accepting);
    s->client = peer_dial(&s->addr, NULL);
    toy_client_init(&s->toy, "example.org");
    stage_until(s, stage_came);
}

static bool stage_is_gone(void *arg) {
    return net_wires(&((struct stage *)arg)->world.net) == 0;
}

static void stage_fini(struct stage *s) {
    if (s->wire != NULL) {
        wire_shut(s->wire, CLOSE_DRAIN);
        s->wire = NULL;
    }
    stage_until(s, stage_is_gone);
    assert_int_equal(s->limit.count, 0);
    listener_shut(s->listener);
    world_sleep(&s->world, 10);
    assert_int_equal(sys_close(s->fd), 0);
    if (s->tls != NULL) {
        tls_context_free(s->tls);
    }
    toy_client_fini(&s->toy);
    peer_free(s->client);
    world_fini(&s->world);
}

/* --- What a client says ------------------------------------------------------------------- */

struct said {
    char p[1024];
    size_t len;
};

static void say(struct said *said, const void *p, size_t len) {
    assert_true(len <= sizeof said->p - said->len);
    memcpy(said->p + said->len, p, len);
    said->len += len;
}

static const struct proxyproto_ends told_ends = {
    true, {AF_INET, 56324, {192, 0, 2, 7}}, {AF_INET, 443, {198, 51, 100, 1}}};

enum header { V1, V2, V2_LONG, UNKNOWN, LOCAL, HEADERS };

static void say_header(struct said *said, enum header which) {
    static const struct proxyproto_ends untold;
    static char run[255];
    memset(run, 'x', sizeof run);
    const struct proxyproto_ends *ends = which == UNKNOWN || which == LOCAL ? &untold : &told_ends;
    struct proxyproto_more more = {.authority = {run, which == V2_LONG ? sizeof run : 0}};
    uint8_t to[PROXYPROTO_WRITE_MAX];
    bool v1 = which == V1 || which == UNKNOWN;
    uint32_t len = v1 ? proxyproto_write_v1(ends, to) : proxyproto_write_v2(ends, &more, to);
    say(said, to, len);
}

static bool header_tells(enum header which) {
    return which < UNKNOWN;
}

/* Behind the header: bytes, under TLS after a hello. */
#define HELLO "hello, wire"
static void say_hello(struct stage *s, struct said *said) {
    if (s->tls == NULL) {
        say(said, HELLO, strlen(HELLO));
        return;
    }
    toy_client_send(&s->toy, HELLO, strlen(HELLO));
    say(said, s->toy.out.p, s->toy.out.len);
    s->toy.out.len = 0;
}

static void stage_pump(struct stage *s) {
    toy_client_feed(&s->toy, s->client->rx, s->client->rx_len);
    peer_drop(s->client, s->client->rx_len);
    if (s->toy.out.len > 0) {
        peer_send(s->client, s->toy.out.p, s->toy.out.len);
        s->toy.out.len = 0;
    }
}

static bool stage_got_hello(void *arg) {
    struct stage *s = arg;
    if (s->tls != NULL) {
        stage_pump(s);
    }
    return s->got_len == strlen(HELLO);
}

static void check_hello(struct stage *s, enum header which) {
    stage_until(s, stage_got_hello);
    assert_memory_equal(s->got, HELLO, strlen(HELLO));
    assert_true(s->told && s->up);
    assert_int_equal(s->ends.told, header_tells(which));
    if (s->ends.told) {
        assert_memory_equal(&s->ends.client, &told_ends.client, sizeof told_ends.client);
        assert_memory_equal(&s->ends.local, &told_ends.local, sizeof told_ends.local);
    }
}

/* Half a header holds its own bytes in memory of their size, and no receive buffer. */
static void check_half(struct stage *s, size_t len) {
    assert_false(s->told || s->up);
    assert_non_null(s->wire);
    assert_int_equal(s->wire->intake->cipher.bytes, len);
    assert_false(bufq_pins(&s->wire->intake->cipher));
    assert_true(s->wire->intake->cipher.count <= 1);
    if (len > 0) {
        assert_int_equal(bufq_first(&s->wire->intake->cipher)->seg->size, len);
    }
}

/* --- Cuts --------------------------------------------------------------------------------- */

static void play_cut(enum header which, bool tls, size_t cut, enum travel travel) {
    struct stage s;
    struct said said = {.len = 0};
    stage_init(&s, travel, tls);
    say_header(&said, which);
    size_t header = said.len;
    say_hello(&s, &said);
    cut = cut < said.len ? cut : said.len;
    peer_send(s.client, said.p, cut);
    world_sleep(&s.world, 50);
    if (cut < header) {
        check_half(&s, cut);
        wire_pull(s.wire);   /* of an owner that knows no better: it must not matter */
    } else {
        assert_true(s.told);
    }
    peer_send(s.client, said.p + cut, said.len - cut);
    check_hello(&s, which);
    stage_fini(&s);
}

static void test_cut_anywhere(void **state) {
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        for (enum header which = 0; which < HEADERS; which++) {
            struct said said = {.len = 0};
            say_header(&said, which);
            for (size_t cut = 0; cut <= said.len + 15; cut++) {
                play_cut(which, tls, cut, TRAVEL_WHOLE);
            }
        }
    }
}

static void test_byte_by_byte(void **state) {
    (void)state;
    static const enum travel ways[] = {TRAVEL_BYTES, TRAVEL_TINY, TRAVEL_ROUGH};
    for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        for (int tls = 0; tls < 2; tls++) {
            for (enum header which = 0; which < HEADERS; which++) {
                struct stage s;
                struct said said = {.len = 0};
                stage_init(&s, ways[way], tls);
                say_header(&said, which);
                say_hello(&s, &said);
                world_send(&s.world, s.client, said.p, said.len);
                check_hello(&s, which);
                stage_fini(&s);
            }
        }
    }
}

/* --- Ends --------------------------------------------------------------------------------- */

static bool stage_is_lost(void *arg) {
    return ((struct stage *)arg)->lost != CLOSE_NONE;
}

static bool stage_client_ended(void *arg) {
    struct stage *s = arg;
    return s->client->eof || s->client->reset;
}

/* The client is sent away without a byte. */
static void check_lost(struct stage *s, enum close_reason why) {
    stage_until(s, stage_is_lost);
    if (s->lost != why) {
        fail_msg("%s instead of %s", close_word(s->lost), close_word(why));
    }
    if (s->client->state == PEER_OPEN) {
        stage_until(s, stage_client_ended);
    }
    assert_int_equal(s->client->rx_total, 0);
    stage_fini(s);
}

static void test_no_header(void **state) {
    (void)state;
    static const char *const rows[] = {
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "X", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "\r\n\r\nGET /", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\nGET / HTTP/1.1\r\n\r\n",
    };
    for (int tls = 0; tls < 2; tls++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            for (enum travel travel = TRAVEL_WHOLE; travel < TRAVEL_COUNT; travel++) {
                struct stage s;
                stage_init(&s, travel, tls);
                world_send(&s.world, s.client, rows[i], strlen(rows[i]));
                assert_false(s.told || s.up);
                check_lost(&s, CLOSE_BAD_PROXY);
            }
        }
    }
}

/* A TLS client that nobody speaks for. */
static void test_hello_without_header(void **state) {
    (void)state;
    struct stage s;
    struct said said = {.len = 0};
    stage_init(&s, TRAVEL_WHOLE, true);
    say_hello(&s, &said);
    peer_send(s.client, said.p, said.len);
    check_lost(&s, CLOSE_BAD_PROXY);
}

static void test_silence(void **state) {
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        for (size_t bytes = 0; bytes < 20; bytes += 6) {
            struct stage s;
            struct said said = {.len = 0};
            stage_init(&s, TRAVEL_WHOLE, tls);
            uint64_t began = ring_now_ms(s.world.ring);
            say_header(&said, V2);
            for (size_t i = 0; i < bytes; i++) {    /* a byte now and then is no progress */
                peer_send(s.client, said.p + i, 1);
                world_sleep(&s.world, 200);
            }
            stage_until(&s, stage_is_lost);
            assert_in_range(s.lost_ms - began, 4990, 5050);
            check_lost(&s, CLOSE_HEAD_TIMEOUT);
        }
    }
}

/* The time for header and handshake is one. */
static void test_silence_behind_it(void **state) {
    (void)state;
    struct stage s;
    struct said said = {.len = 0};
    stage_init(&s, TRAVEL_WHOLE, true);
    uint64_t began = ring_now_ms(s.world.ring);
    world_sleep(&s.world, 3000);
    say_header(&said, V1);
    peer_send(s.client, said.p, said.len);
    stage_until(&s, stage_is_lost);
    assert_true(s.told && !s.up);
    assert_in_range(s.lost_ms - began, 4990, 5050);
    check_lost(&s, CLOSE_HANDSHAKE_TIMEOUT);
}

/* Plain: once it is told of, and up, the time is its owner's. */
static void test_plain_is_up(void **state) {
    (void)state;
    struct stage s;
    struct said said = {.len = 0};
    stage_init(&s, TRAVEL_WHOLE, false);
    say_header(&said, V1);
    peer_send(s.client, said.p, said.len);
    world_sleep(&s.world, 20000);
    assert_true(s.told && s.up && s.wire != NULL);
    stage_fini(&s);
}

static void test_fin(void **state) {
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        for (enum header which = 0; which < HEADERS; which++) {
            struct said said = {.len = 0};
            say_header(&said, which);
            for (size_t len = 0; len <= said.len; len++) {
                struct stage s;
                stage_init(&s, TRAVEL_WHOLE, tls);
                peer_send(s.client, said.p, len);
                if (len % 2 == 0) {
                    world_sleep(&s.world, 10);   /* else it comes together */
                }
                peer_fin(s.client);
                if (len < said.len) {
                    check_lost(&s, len == 0 ? CLOSE_CLIENT_EOF : CLOSE_BAD_PROXY);
                } else if (tls) {
                    check_lost(&s, CLOSE_CLIENT_GONE);
                } else {
                    world_sleep(&s.world, 10);
                    assert_true(s.told && s.up && s.eof && s.lost == CLOSE_NONE);
                    stage_fini(&s);
                }
            }
        }
    }
}

static void test_reset(void **state) {
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        for (size_t len = 0; len < 28; len += 3) {
            struct stage s;
            struct said said = {.len = 0};
            stage_init(&s, TRAVEL_WHOLE, tls);
            say_header(&said, V2);
            peer_send(s.client, said.p, len);
            world_sleep(&s.world, 10);
            peer_reset(s.client);
            check_lost(&s, CLOSE_CLIENT_GONE);
        }
    }
}

/* The owner has enough of it: a half header is flushed to nobody and lingers for nobody. */
static void test_owner_ends(void **state) {
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct stage s;
        stage_init(&s, TRAVEL_WHOLE, how % 2 == 1);
        peer_send(s.client, "PROXY ", 6);
        world_sleep(&s.world, 10);
        struct wire *w = s.wire;
        s.wire = NULL;
        if (how < 2) {
            wire_end(w, CLOSE_DRAIN);
        } else {
            wire_shut(w, CLOSE_DRAIN);
        }
        world_sleep(&s.world, 10);
        assert_int_equal(net_wires(&s.world.net), 0);
        stage_until(&s, stage_client_ended);
        assert_int_equal(s.client->rx_total, 0);
        stage_fini(&s);
    }
}

/* --- Dialling ----------------------------------------------------------------------------- */

struct dialler {
    struct h1_world world;
    struct addr addr;
    struct peer_listener *origin;
    struct peer *peer;
    struct wire *wire;
    struct task task;
    bool up;
};

static void dialler_run(struct task *task) {
    struct dialler *d = container_of(task, struct dialler, task);
    d->up = d->up || (d->wire->ready & WIRE_UP) != 0;
    d->wire->ready = 0;
}

static bool dialler_came(void *arg) {
    struct dialler *d = arg;
    d->peer = d->peer != NULL ? d->peer : peer_take(d->origin);
    return d->peer != NULL && d->peer->rx_len >= 7;
}

/* The bytes are the first of all, and need nobody to push them. */
static void test_dial(void **state) {
    (void)state;
    static const char *const places[] = {"127.0.0.1:8001", "unix:/run/app.sock"};
    for (int i = 0; i < 2; i++) {
        for (enum travel travel = 0; travel < TRAVEL_COUNT; travel++) {
            struct dialler d;
            const char *why;
            char first[8] = "PREFACE";
            memset(&d, 0, sizeof d);
            world_init(&d.world, 3, travel);
            assert_true(addr_parse(&d.addr, str_of(places[i]), &why));
            d.origin = peer_listen(&d.addr, 4);
            task_init(&d.task, dialler_run);
            struct wire_params params = {.to = &d.addr, .limits = &d.world.limits.wire,
                                         .preface = str_of(first)};
            d.wire = wire_dial(&d.world.net, &params, &d.task);
            memset(first, 'x', sizeof first);    /* it was copied */
            assert_int_equal(sim_run_until(d.world.sim, dialler_came, &d, 60000), PEERS_MET);
            assert_true(d.up);
            assert_memory_equal(d.peer->rx, "PREFACE", 7);
            bufq_copy(wire_tx(d.wire), "more", 4);
            wire_push(d.wire);
            world_sleep(&d.world, 500);
            assert_int_equal(d.peer->rx_len, 11);
            assert_memory_equal(d.peer->rx, "PREFACEmore", 11);
            wire_shut(d.wire, CLOSE_DRAIN);
            peer_free(d.peer);
            peer_listener_close(d.origin);
            world_fini(&d.world);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_no_header),
        cmocka_unit_test(test_hello_without_header),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_silence_behind_it),
        cmocka_unit_test(test_plain_is_up),
        cmocka_unit_test(test_fin),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_owner_ends),
        cmocka_unit_test(test_dial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
