/* The simulated ring itself: what it promises to the tests that stand on it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "ring/ring.h"
#include "sim/peer.h"
#include "sim/sim.h"

static struct addr at(const char *text) {
    struct addr a;
    const char *why;
    assert_true(addr_parse(&a, str_of(text), &why));
    return a;
}

/* --- An echo between two rings, of ops alone ---------------------------------------------- */

#define ECHO_BYTES 20000u

/* One socket with one receive and one send: sends what it received, or a pattern. */
struct side {
    struct ring *ring;
    struct op accept, connect, recv, send, close;
    int listen_fd, fd;
    uint8_t bytes[ECHO_BYTES];
    uint32_t received, sent, sending;
    bool echoes, ended, closed;
    struct addr to;
};

static void side_send(struct side *s) {
    uint32_t ready = s->echoes ? s->received : ECHO_BYTES;
    if (!op_idle(&s->send) || s->sent == ready) {
        return;
    }
    s->sending = ready - s->sent;
    op_send(s->ring, &s->send, s->fd, s->bytes + s->sent, s->sending, false);
}

static void side_sent(struct op *op, int res, struct seg *seg, bool armed) {
    struct side *s = container_of(op, struct side, send);
    assert_null(seg);
    assert_false(armed);
    assert_true(res > 0 && (uint32_t)res <= s->sending);
    s->sent += (uint32_t)res;
    side_send(s);
    if (s->sent == ECHO_BYTES && s->echoes) {
        assert_int_equal(sys_shutdown(s->fd, SHUT_WR), 0);
    }
}

static void side_close(struct side *s) {
    s->ended = true;
    op_close(s->ring, &s->close, s->fd);
}

static void side_received(struct op *op, int res, struct seg *seg, bool armed) {
    struct side *s = container_of(op, struct side, recv);
    assert_true(res >= 0);
    if (res == 0) {
        assert_false(armed);
        assert_int_equal(s->received, ECHO_BYTES);
        side_close(s);
        return;
    }
    assert_true(s->received + (uint32_t)res <= ECHO_BYTES);
    if (s->echoes) {
        memcpy(s->bytes + s->received, seg->data, (uint32_t)res);
        s->received += (uint32_t)res;
        side_send(s);
    } else {
        assert_memory_equal(s->bytes + s->received, seg->data, (uint32_t)res);
        s->received += (uint32_t)res;
        if (s->received == ECHO_BYTES) {
            assert_int_equal(sys_shutdown(s->fd, SHUT_WR), 0);
        }
    }
    seg_unref(seg);
    if (!armed) {
        op_recv(s->ring, &s->recv, s->fd, 0);
    }
}

static void side_accepted(struct op *op, int res, struct seg *seg, bool armed) {
    struct side *s = container_of(op, struct side, accept);
    assert_null(seg);
    if (res == -ECANCELED) {
        return;
    }
    if (res >= 0) {
        s->fd = res;
        op_recv(s->ring, &s->recv, s->fd, 0);
        op_cancel(s->ring, &s->accept);
    } else if (!armed) {
        assert_int_equal(res, -EMFILE);
        op_accept(s->ring, &s->accept, s->listen_fd, true);
    }
}

static void side_connected(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg, (void)armed;
    struct side *s = container_of(op, struct side, connect);
    assert_int_equal(res, 0);
    op_recv(s->ring, &s->recv, s->fd, 0);
    side_send(s);
}

static void side_closed(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg, (void)armed;
    assert_int_equal(res, 0);
    container_of(op, struct side, close)->closed = true;
}

static struct side *side_new(struct ring *ring, bool echoes) {
    struct side *s = mem_zero(sizeof *s);
    s->ring = ring;
    s->echoes = echoes;
    op_init(&s->accept, side_accepted);
    op_init(&s->connect, side_connected);
    op_init(&s->recv, side_received);
    op_init(&s->send, side_sent);
    op_init(&s->close, side_closed);
    return s;
}

static bool sides_closed(void *arg) {
    struct side **s = arg;
    return s[0]->closed && s[1]->closed && op_idle(&s[0]->accept);
}

static uint64_t echo(uint64_t seed, const struct sim_params *params, uint64_t *hits) {
    struct sim *sim = sim_new(seed, params);
    struct ring_params rp = {.buf_size = 1024, .buf_max = 8};
    struct ring *rings[2] = {ring_new(&rp, NULL), ring_new(&rp, NULL)};
    struct side *s[2] = {side_new(rings[0], true), side_new(rings[1], false)};
    for (uint32_t i = 0; i < ECHO_BYTES; i++) {
        s[1]->bytes[i] = (uint8_t)(i * 7 + i / 251);
    }
    struct addr addr = at("127.0.0.1:8000");
    while ((s[0]->listen_fd = sys_listen(&addr, false, 16)) < 0) {
    }
    while ((s[1]->fd = sys_socket(AF_INET)) < 0) {
    }
    op_accept(rings[0], &s[0]->accept, s[0]->listen_fd, true);
    op_connect(rings[1], &s[1]->connect, s[1]->fd, &addr);
    if (sim_run_until(sim, sides_closed, s, 3600000) != PEERS_MET) {
        fail_msg("seed %llu: the echo stands still", (unsigned long long)seed);
    }
    assert_memory_equal(s[0]->bytes, s[1]->bytes, ECHO_BYTES);
    assert_int_equal(sys_close(s[0]->listen_fd), 0);
    uint64_t hash = sim_trace_hash(sim);
    for (int i = 0; hits != NULL && i < SIM_FAULT_COUNT; i++) {
        hits[i] += sim_hits(sim, (enum sim_fault)i);
    }
    for (int i = 0; i < 2; i++) {
        ring_free(rings[i]);
        mem_free(s[i]);
    }
    sim_free(sim);
    return hash;
}

/* Rough, but for what ends a connection: the echo must come through. */
static struct sim_params rough_but_whole(uint64_t seed) {
    struct sim_params p = sim_params_rough(seed);
    static const enum sim_fault ends[] = {SIM_RESET, SIM_REFUSE, SIM_SYN_DROP, SIM_SYS};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        p.chance[ends[i]] = 0;
    }
    return p;
}

static void test_echo_clean(void **state) {
    (void)state;
    uint64_t hits[SIM_FAULT_COUNT] = {0};
    for (uint64_t seed = 0; seed < 20; seed++) {
        echo(seed, NULL, hits);
    }
    for (int i = 0; i < SIM_FAULT_COUNT; i++) {
        assert_int_equal(hits[i], 0);
    }
}

static void test_echo_rough_and_replay(void **state) {
    (void)state;
    uint64_t hits[SIM_FAULT_COUNT] = {0}, last = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct sim_params p = rough_but_whole(seed);
        uint64_t hash = echo(seed, &p, hits);
        assert_true(hash == echo(seed, &p, NULL));
        assert_true(hash != last);
        last = hash;
    }
    static const enum sim_fault met[] = {SIM_SHORT_RECV, SIM_SHORT_SEND, SIM_LATE, SIM_DISARM,
                                         SIM_STARVE, SIM_STALL, SIM_EMFILE};
    for (size_t i = 0; i < sizeof met / sizeof met[0]; i++) {
        if (hits[met[i]] == 0) {
            fail_msg("%s never happened", sim_fault_word(met[i]));
        }
    }
}

/* --- One op at a time --------------------------------------------------------------------- */

/* A ring-side socket that only notes what its ops meet. */
struct probe {
    struct sim *sim;
    struct ring *ring;
    struct peer_listener *origin;
    struct peer *peer;
    struct op op, second;
    int fd, results[64], second_result;
    uint32_t count, bytes;
    bool armed, second_done;
    struct addr addr;
};

static void probe_done(struct op *op, int res, struct seg *seg, bool armed) {
    struct probe *p = container_of(op, struct probe, op);
    assert_true(p->count < 64);
    p->results[p->count++] = res;
    p->armed = armed;
    if (seg != NULL) {
        p->bytes += (uint32_t)res;
        seg_unref(seg);
    }
}

static void second_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)armed;
    assert_null(seg);
    struct probe *p = container_of(op, struct probe, second);
    p->second_result = res;
    p->second_done = true;
}

static bool probe_is_idle(void *arg) {
    struct probe *p = arg;
    return p->count > 0 && op_idle(&p->op);
}

static int last_result(const struct probe *p) {
    return p->results[p->count - 1];
}

static struct probe *probe_begin(uint64_t seed, const struct sim_params *params) {
    struct probe *p = mem_zero(sizeof *p);
    p->sim = sim_new(seed, params);
    struct ring_params rp = {.buf_size = 512, .buf_max = 64};
    p->ring = ring_new(&rp, NULL);
    op_init(&p->op, probe_done);
    op_init(&p->second, second_done);
    p->fd = -1;
    return p;
}

/* A connection to an origin that a test owns. */
static void probe_connect(struct probe *p) {
    p->addr = at("127.0.0.1:9000");
    p->origin = peer_listen(&p->addr, 8);
    assert_non_null(p->origin);
    p->addr = p->origin->addr;
    p->fd = sys_socket(AF_INET);
    op_connect(p->ring, &p->op, p->fd, &p->addr);
    assert_int_equal(sim_run_until(p->sim, probe_is_idle, p, 1000), PEERS_MET);
    assert_int_equal(last_result(p), 0);
    peers_sleep(10);
    p->peer = peer_take(p->origin);
    assert_non_null(p->peer);
    p->count = 0;
}

static void probe_end(struct probe *p) {
    if (p->fd >= 0) {
        assert_int_equal(sys_close(p->fd), 0);
    }
    ring_free(p->ring);
    sim_free(p->sim);
    mem_free(p);
}

static void test_cancel(void **state) {
    (void)state;
    uint32_t with_bytes = 0, without = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct probe *p = probe_begin(seed, NULL);
        probe_connect(p);
        peer_send_text(p->peer, "some bytes");
        op_recv(p->ring, &p->op, p->fd, 0);
        for (uint64_t n = seed % 8; n > 0; n--) {
            sim_step(p->sim);
        }
        uint32_t before = p->bytes;
        op_cancel(p->ring, &p->op);
        op_cancel(p->ring, &p->op);
        assert_false(op_idle(&p->op));
        assert_int_equal(sim_run_until(p->sim, probe_is_idle, p, 1000), PEERS_MET);
        assert_int_equal(last_result(p), -ECANCELED);
        assert_false(p->armed);
        with_bytes += p->bytes > before;
        without += p->bytes == before;
        op_cancel(p->ring, &p->op);
        peers_sleep(100);
        assert_int_equal(last_result(p), -ECANCELED);
        probe_end(p);
    }
    assert_true(with_bytes > 0 && without > 0);
}

/* tcp_reset() of Linux: one error for whoever comes first; then the end, or EPIPE. */
static void test_reset_is_told_once(void **state) {
    (void)state;
    uint32_t receive_took = 0, send_took = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct sim_params params = sim_params_clean();
        params.pipe_min = params.pipe_max = 4;
        struct probe *p = probe_begin(seed, &params);
        probe_connect(p);
        peer_pause(p->peer, true);
        op_recv(p->ring, &p->op, p->fd, 0);
        op_send(p->ring, &p->second, p->fd, "0123456789", 10, false);
        peers_sleep(10);
        if (p->second_done) {
            op_send(p->ring, &p->second, p->fd, "0123456789", 10, false);
        }
        peer_reset(p->peer);
        p->second_done = false;
        peers_sleep(10);
        assert_true(op_idle(&p->op));
        assert_true(p->second_done);
        receive_took += last_result(p) == -ECONNRESET;
        send_took += last_result(p) == 0;
        if (p->second_result < 0) {
            assert_int_equal(p->second_result, last_result(p) == 0 ? -ECONNRESET : -EPIPE);
        }
        probe_end(p);
    }
    assert_true(receive_took > 0 && send_took > 0);
}

static void test_fin_and_half_close(void **state) {
    (void)state;
    struct probe *p = probe_begin(1, NULL);
    probe_connect(p);
    peer_send_text(p->peer, "last words");
    peer_fin(p->peer);
    op_recv(p->ring, &p->op, p->fd, 0);
    assert_int_equal(sim_run_until(p->sim, probe_is_idle, p, 1000), PEERS_MET);
    assert_int_equal(last_result(p), 0);
    assert_int_equal(p->bytes, 10);
    op_send(p->ring, &p->second, p->fd, "answer", 6, false);
    peers_sleep(10);
    assert_int_equal(p->second_result, 6);
    assert_true(peer_has(p->peer, "answer"));
    assert_false(p->peer->eof);
    assert_int_equal(sys_shutdown(p->fd, SHUT_WR), 0);
    peers_sleep(10);
    assert_true(p->peer->eof);
    probe_end(p);
}

static void test_watch(void **state) {
    (void)state;
    struct probe *p = probe_begin(2, NULL);
    probe_connect(p);
    op_watch(p->ring, &p->op, p->fd, POLLRDHUP);
    peer_send_text(p->peer, "x");
    peers_sleep(10);
    assert_int_equal(p->count, 0);
    peer_fin(p->peer);
    assert_int_equal(sim_run_until(p->sim, probe_is_idle, p, 1000), PEERS_MET);
    assert_true((last_result(p) & POLLRDHUP) != 0);
    probe_end(p);
}

/* A close with unread bytes resets (RFC 2525 2.17). */
static void test_close_with_unread_bytes(void **state) {
    (void)state;
    struct probe *p = probe_begin(3, NULL);
    probe_connect(p);
    peer_send_text(p->peer, "not read");
    peers_sleep(10);
    op_close(p->ring, &p->op, p->fd);
    assert_int_equal(sim_run_until(p->sim, probe_is_idle, p, 1000), PEERS_MET);
    peers_sleep(10);
    assert_true(p->peer->reset);
    p->fd = -1;
    probe_end(p);
}

static void test_connect_refused_and_unix(void **state) {
    (void)state;
    struct probe *p = probe_begin(4, NULL);
    p->addr = at("127.0.0.1:9");
    p->fd = sys_socket(AF_INET);
    op_connect(p->ring, &p->op, p->fd, &p->addr);
    assert_int_equal(sim_run_until(p->sim, probe_is_idle, p, 1000), PEERS_MET);
    assert_int_equal(last_result(p), -ECONNREFUSED);

    struct addr path = at("unix:/run/app.sock");
    int fds[3];
    struct peer_listener *origin = peer_listen(&path, 2);
    peer_listener_pause(origin, true);
    for (int i = 0; i < 3; i++) {
        fds[i] = sys_socket(AF_UNIX);
        assert_int_equal(sys_connect_unix(fds[i], &path), i < 2 ? 0 : -EAGAIN);
    }
    peer_listener_pause(origin, false);
    peers_sleep(1);
    assert_int_equal(sys_connect_unix(fds[2], &path), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sys_close(fds[i]), 0);
    }
    probe_end(p);
}

static void test_file(void **state) {
    (void)state;
    struct sim_params params = sim_params_clean();
    params.chance[SIM_WRITE_SHORT] = 10000;
    struct probe *p = probe_begin(5, &params);
    p->fd = sys_open_append("/var/log/access.log");
    op_write(p->ring, &p->op, p->fd, "hello", 5);
    assert_int_equal(sim_run_until(p->sim, probe_is_idle, p, 1000), PEERS_MET);
    struct str written = sim_file(p->sim, "/var/log/access.log");
    assert_int_equal(written.len, last_result(p));
    assert_memory_equal(written.p, "hello", written.len);
    sim_params(p->sim)->chance[SIM_WRITE_FULL] = 10000;
    op_write(p->ring, &p->op, p->fd, "hello", 5);
    p->count = 0;
    assert_int_equal(sim_run_until(p->sim, probe_is_idle, p, 1000), PEERS_MET);
    assert_int_equal(last_result(p), -ENOSPC);
    probe_end(p);
}

/* --- Time, posts, and the end ------------------------------------------------------------- */

struct clock_probe {
    struct timer timer;
    struct post post;
    struct ring *ring;
    uint64_t fired_ms;
    bool posted;
};

static void clock_fired(struct timer *timer) {
    struct clock_probe *c = container_of(timer, struct clock_probe, timer);
    c->fired_ms = ring_now_ms(c->ring);
}

static void clock_posted(struct post *post) {
    container_of(post, struct clock_probe, post)->posted = true;
}

static bool clock_has_fired(void *arg) {
    return ((struct clock_probe *)arg)->fired_ms != 0;
}

static void test_time_and_posts(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct sim *sim = sim_new(seed, NULL);
        struct ring_params rp = {0};
        struct ring *a = ring_new(&rp, NULL), *b = ring_new(&rp, NULL);
        struct clock_probe c = {.ring = a, .post = {.run = clock_posted}};
        timer_init(&c.timer, clock_fired);
        uint64_t start_ms = ring_now_ms(a);
        timer_arm(a, &c.timer, 3600000);
        ring_post(b, &c.post);
        assert_int_equal(sim_run_until(sim, clock_has_fired, &c, 10), PEERS_LIMIT);
        assert_true(c.posted);
        assert_int_equal(sim_run_until(sim, clock_has_fired, &c, 4000000), PEERS_MET);
        assert_in_range(c.fired_ms - start_ms, 3600000, 3600002);
        c.fired_ms = 0;
        assert_int_equal(sim_run_until(sim, clock_has_fired, &c, 1000), PEERS_STUCK);
        ring_free(a);
        ring_free(b);
        sim_free(sim);
    }
}

static void test_leaks_are_found(void **state) {
    (void)state;
    struct probe *p = probe_begin(6, NULL);
    char text[256];
    assert_int_equal(sim_leaks(p->sim, text, sizeof text), 0);
    probe_connect(p);
    op_recv(p->ring, &p->op, p->fd, 0);
    assert_int_equal(sim_leaks(p->sim, text, sizeof text), 2);
    assert_string_equal(text, "1 sockets, 0 listeners, 0 files, 1 ops, 0 receive segments");
    peer_send_text(p->peer, "x");
    peer_fin(p->peer);
    struct seg *kept = seg_new(ring_receive_pool(p->ring));
    assert_int_equal(sim_run_until(p->sim, probe_is_idle, p, 1000), PEERS_MET);
    assert_int_equal(sim_leaks(p->sim, text, sizeof text), 2);
    assert_string_equal(text, "1 sockets, 0 listeners, 0 files, 0 ops, 1 receive segments");
    seg_unref(kept);
    probe_end(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_clean),
        cmocka_unit_test(test_echo_rough_and_replay),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_reset_is_told_once),
        cmocka_unit_test(test_fin_and_half_close),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_close_with_unread_bytes),
        cmocka_unit_test(test_connect_refused_and_unix),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_time_and_posts),
        cmocka_unit_test(test_leaks_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
