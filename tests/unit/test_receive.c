/* ring/receive: too few buffers, too small a completion queue: every byte arrives all the same. */
#include "ring_bench.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "ring/refusal_priv.h"

#define STREAMS_MAX 400

/* A receiver that checks its bytes and keeps its segments for some turns, as a slow peer does. */
struct stream {
    struct op op;
    int from, to;
    uint32_t sent, got, total;
    bool ended;
};

static struct stream streams[STREAMS_MAX];
static unsigned stream_count;
static struct seg *held[STREAMS_MAX];
static unsigned held_count, held_max;
static bool multishot;

/* Byte n of stream i: no two streams and no two places look alike for long. */
static uint8_t byte_of(const struct stream *stream, uint32_t n) {
    uint32_t x = n * 2654435761u + (uint32_t)(stream - streams) * 40503u;
    return (uint8_t)(x >> 24);
}

static void release(unsigned count) {
    while (count > 0 && held_count > 0) {
        seg_unref(held[--held_count]);
        count--;
    }
}

static void stream_done(struct op *op, int res, struct seg *seg, bool armed) {
    struct stream *stream = container_of(op, struct stream, op);
    assert_true(res != -ENOBUFS);
    assert_true(res >= 0);
    for (int i = 0; i < res; i++) {
        if (seg->data[i] != byte_of(stream, stream->got + (uint32_t)i)) {
            fail_msg("a wrong byte at %u", stream->got + (uint32_t)i);
        }
    }
    stream->got += (uint32_t)res;
    if (seg != NULL) {
        if (held_count < held_max) {
            held[held_count++] = seg;
        } else {
            seg_unref(seg);
        }
    }
    stream->ended = res == 0;
    assert_true(!armed || multishot);
    if (!armed && !stream->ended) {
        op_recv(ring, op, stream->to, 0);
    }
    ring_stop(ring);
}

static void streams_open(unsigned count, uint32_t total, bool tcp) {
    struct addr bound;
    int listener = tcp ? listen_loopback(&bound, (int)count) : -1;
    stream_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct stream *stream = &streams[i];
        int fds[2];
        if (tcp) {
            fds[0] = connect_now(&bound);
            fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        } else {
            pair(fds);
        }
        assert_true(fds[0] >= 0 && fds[1] >= 0);
        *stream = (struct stream){.from = fds[0], .to = fds[1], .total = total};
        assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
        op_init(&stream->op, stream_done);
        op_recv(ring, &stream->op, stream->to, 0);
    }
    if (tcp) {
        close(listener);
    }
}

/* Writes what each socket takes, at most piece bytes; ends it behind its last byte. */
static void streams_feed(uint32_t piece) {
    uint8_t bytes[16384];
    for (unsigned i = 0; i < stream_count; i++) {
        struct stream *stream = &streams[i];
        uint32_t len = stream->total - stream->sent;
        if (len == 0) {
            continue;
        }
        len = len < piece ? len : piece;
        for (uint32_t n = 0; n < len; n++) {
            bytes[n] = byte_of(stream, stream->sent + n);
        }
        ssize_t wrote = write(stream->from, bytes, len);
        assert_true(wrote > 0 || errno == EAGAIN);
        stream->sent += wrote > 0 ? (uint32_t)wrote : 0;
        if (stream->sent == stream->total) {
            shutdown(stream->from, SHUT_WR);
        }
    }
}

static bool streams_ended(void) {
    for (unsigned i = 0; i < stream_count; i++) {
        if (!streams[i].ended) {
            return false;
        }
    }
    return true;
}

static void streams_close(void) {
    release(held_count);
    for (unsigned i = 0; i < stream_count; i++) {
        assert_int_equal(streams[i].got, streams[i].total);
        assert_true(op_idle(&streams[i].op));
        close(streams[i].from);
        close(streams[i].to);
    }
}

/* --- No buffers --------------------------------------------------------------------------- */

static void starve(bool one_shot, bool tcp) {
    multishot = !one_shot;
    bench_open((struct ring_params){.buf_max = 4, .buf_size = 4096, .one_shot = one_shot});
    held_max = 4;
    streams_open(64, 50000, tcp);
    uint64_t no_buffers = 0;
    for (unsigned n = 0; !streams_ended(); n++) {
        assert_true(n < 200000);
        streams_feed(5000);
        turn();
        turn();
        assert_true(ring_receive_pool(ring)->live <= 4);
        no_buffers = stats_get(ring_stats(ring), STAT_NO_BUFFERS);
        release(n % 3);   /* they come home late, a few at a time */
    }
    assert_true(no_buffers > 0);
    streams_close();
    bench_close();
}

static void test_starved_multishot(void **state) {
    (void)state;
    starve(false, false);
    starve(false, true);
}

static void test_starved_one_shot(void **state) {
    (void)state;
    starve(true, false);
    starve(true, true);
}

static unsigned later_fired;

static void later(struct timer *timer) {
    (void)timer;
    later_fired++;
    ring_stop(ring);
}

/* All buffers are held: the ring waits, and does not turn round and round. A starved op can be
 * cancelled, and what remains starved goes on when buffers come home. */
static void waits_without_turning(bool one_shot) {
    multishot = !one_shot;
    bench_open((struct ring_params){.buf_max = 4, .buf_size = 4096, .one_shot = one_shot});
    held_max = 4;
    streams_open(40, 9000, false);
    streams_feed(9000);
    while (stats_get(ring_stats(ring), STAT_NO_BUFFERS) < 36) {
        turn();
    }
    assert_int_equal(held_count, 4);
    struct timer timer;
    timer_init(&timer, later);
    uint64_t turns = stats_get(ring_stats(ring), STAT_TURNS);
    later_fired = 0;
    timer_arm(ring, &timer, 60);
    UNTIL(later_fired == 1);
    assert_true(stats_get(ring_stats(ring), STAT_TURNS) - turns < 12);

    /* A receive that comes now starves at once, data or not, and can be cancelled all the same. */
    struct probe idle[20];
    int fds[20][2];
    for (unsigned i = 0; i < 20; i++) {
        pair(fds[i]);
        probe_init(&idle[i]);
        op_recv(ring, &idle[i].op, fds[i][1], 0);
    }
    turn();
    turn();
    turn();
    for (unsigned i = 0; i < 20; i++) {
        assert_false(op_idle(&idle[i].op));
        op_cancel(ring, &idle[i].op);
        op_cancel(ring, &idle[i].op);
        assert_int_equal(idle[i].dones, 0);
    }
    turn();
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(idle[i].dones, 1);
        assert_int_equal(idle[i].res, -ECANCELED);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    held_max = 0;
    release(4);
    turn();   /* at whose end they are found at home */
    UNTIL(streams_ended());
    streams_close();
    bench_close();
}

/* ring_free knows the ops that the kernel does not hold. */
static void test_free_while_starved(void **state) {
    (void)state;
    multishot = true;
    bench_open((struct ring_params){.buf_max = 1, .buf_size = 4096});
    held_max = 1;
    streams_open(20, 1000, false);
    streams_feed(1000);
    while (stats_get(ring_stats(ring), STAT_NO_BUFFERS) < 19) {
        turn();
    }
    op_cancel(ring, &streams[19].op);
    release(1);
    bench_close();
    for (unsigned i = 0; i < 20; i++) {
        assert_true(op_idle(&streams[i].op));
        close(streams[i].from);
        close(streams[i].to);
    }
}

static void test_waits_without_turning(void **state) {
    (void)state;
    waits_without_turning(false);
    waits_without_turning(true);
}

/* Many starved ops whose sockets are silent, while buffers are there: they are armed again, a few
 * in each turn, and then the ring sleeps. */
static void test_silent_ops_leave_the_queue(void **state) {
    (void)state;
    multishot = true;
    bench_open((struct ring_params){.buf_max = 2, .buf_size = 4096});
    held_max = 2;
    streams_open(2, 8000, false);
    streams_feed(100);
    UNTIL(held_count == 2);
    static struct probe silent[50];
    int fds[50][2];
    for (unsigned i = 0; i < 50; i++) {
        pair(fds[i]);
        probe_init(&silent[i]);
        op_recv(ring, &silent[i].op, fds[i][1], 0);
    }
    turn();
    turn();
    uint64_t no_buffers = stats_get(ring_stats(ring), STAT_NO_BUFFERS);
    assert_true(no_buffers >= 50);
    held_max = 0;
    release(2);
    struct timer timer;
    timer_init(&timer, later);
    uint64_t turns = stats_get(ring_stats(ring), STAT_TURNS);
    later_fired = 0;
    timer_arm(ring, &timer, 60);
    UNTIL(later_fired == 1);
    assert_true(stats_get(ring_stats(ring), STAT_TURNS) - turns < 60);
    assert_int_equal(stats_get(ring_stats(ring), STAT_NO_BUFFERS), no_buffers);
    for (unsigned i = 0; i < 50; i++) {
        write_all(fds[i][0], "now", 3);
        receive_until(&silent[i], fds[i][1], 3);
        probe_end(&silent[i]);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    while (!streams_ended()) {
        streams_feed(4000);
        turn();
    }
    streams_close();
    bench_close();
}

/* --- A small completion queue ------------------------------------------------------------- */

static void overflow(bool one_shot, bool tcp) {
    multishot = !one_shot;
    bench_open((struct ring_params){.sq_entries = 64, .cq_entries = 64, .buf_size = 2048,
                                    .one_shot = one_shot});
    held_max = 0;
    streams_open(STREAMS_MAX, 20000, tcp);
    turn();
    /* All sockets have something before the ring looks, several times over. */
    for (unsigned n = 0; !streams_ended(); n++) {
        assert_true(n < 20000);
        streams_feed(3000);
        turn();
    }
    streams_close();
    assert_true(tcp || stats_get(ring_stats(ring), STAT_CQ_OVERFLOW) > 0);
    bench_close();
}

static void test_overflow_loses_nothing(void **state) {
    (void)state;
    overflow(false, false);
    overflow(false, true);
    overflow(true, false);
    overflow(true, true);
}

static void test_overflow_of_accepts(void **state) {
    (void)state;
    bench_open((struct ring_params){.sq_entries = 16, .cq_entries = 16});
    struct addr bound;
    struct probe accept;
    int listener = listen_loopback(&bound, 512), clients[300];
    probe_init(&accept);
    op_init(&accept.op, probe_accept_done);
    op_accept(ring, &accept.op, listener, true);
    turn();
    for (unsigned i = 0; i < 300; i++) {
        clients[i] = connect_now(&bound);
        assert_true(clients[i] >= 0);
    }
    UNTIL(accept.fd_count == 300);
    assert_int_equal(accept.ends, 0);
    probe_end(&accept);
    for (unsigned i = 0; i < 300; i++) {
        assert_true(fcntl(accept.fds[i], F_GETFD) >= 0);   /* each is a descriptor, once */
        close(accept.fds[i]);
        close(clients[i]);
    }
    close(listener);
    bench_close();
}

static struct post note;
static unsigned notes;

static void note_run(struct post *post) {
    (void)post;
    notes++;
    ring_stop(ring);
}

static void *note_sender(void *arg) {
    usleep(10000);
    ring_post(arg, &note);
    return NULL;
}

/* The overflow disarms the ring's own multishot too, the one that wakes it for posts. */
static void test_overflow_and_posts(void **state) {
    (void)state;
    multishot = true;
    bench_open((struct ring_params){.sq_entries = 16, .cq_entries = 16});
    note.run = note_run;
    streams_open(100, 3000, false);
    turn();
    for (unsigned n = 1; n <= 10; n++) {
        pthread_t thread;
        streams_feed(300);
        ring_post(ring, &note);   /* its completion stands behind those of 100 sockets */
        UNTIL(notes == 2 * n - 1);
        for (unsigned i = 0; i < 20; i++) {
            turn();
        }
        assert_int_equal(pthread_create(&thread, NULL, note_sender, ring), 0);
        UNTIL(notes == 2 * n);
        pthread_join(thread, NULL);
    }
    UNTIL(streams_ended());
    streams_close();
    bench_close();
}

/* --- The peer's end ----------------------------------------------------------------------- */

static void reset(bool one_shot) {
    bench_open((struct ring_params){.one_shot = one_shot});
    struct addr bound;
    struct probe rx;
    int listener = listen_loopback(&bound, 4);
    int client = connect_now(&bound);
    int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(client >= 0 && server >= 0);
    probe_init(&rx);
    op_recv(ring, &rx.op, server, 0);
    turn();
    assert_int_equal(sys_reset_on_close(client), 0);
    close(client);
    UNTIL(op_idle(&rx.op));
    assert_int_equal(rx.res, -ECONNRESET);
    turn();
    turn();
    assert_int_equal(rx.dones, 1);
    close(server);
    close(listener);
    bench_close();
}

static void test_reset(void **state) {
    (void)state;
    reset(false);
    reset(true);
}

/* What a receive may bring past its limit: the rest of a segment, or, on kernels that know no
 * limit, what 32 rounds bring before the cancel. */
static uint64_t excess_max(void) {
    struct utsname name;
    unsigned major, minor;
    assert_int_equal(uname(&name), 0);
    assert_int_equal(sscanf(name.release, "%u.%u", &major, &minor), 2);
    return kernel_older(major, minor, 6, 18) ? 32 * 4096 : 4096;
}

static void test_limit(void **state) {
    (void)state;
    static uint8_t bytes[100000];
    int fds[2];
    bench_open((struct ring_params){.buf_size = 4096});
    pair(fds);
    assert_int_equal(write(fds[0], bytes, sizeof bytes), sizeof bytes);
    close(fds[0]);
    struct probe rx;
    probe_init(&rx);
    while (rx.bytes < sizeof bytes) {
        uint64_t before = rx.bytes;
        op_recv(ring, &rx.op, fds[1], 8192);
        UNTIL(op_idle(&rx.op) || rx.bytes - before >= 8192);
        assert_true(rx.bytes - before <= 8192 + excess_max());
        probe_end(&rx);
        assert_true(rx.bytes - before <= 8192 + excess_max());
    }
    assert_int_equal(rx.bytes, sizeof bytes);
    close(fds[1]);
    bench_close();
}

int main(void) {
    sys_raise_nofile();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starved_multishot),
        cmocka_unit_test(test_starved_one_shot),
        cmocka_unit_test(test_waits_without_turning),
        cmocka_unit_test(test_free_while_starved),
        cmocka_unit_test(test_silent_ops_leave_the_queue),
        cmocka_unit_test(test_overflow_loses_nothing),
        cmocka_unit_test(test_overflow_of_accepts),
        cmocka_unit_test(test_overflow_and_posts),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
