/* ring/ops and uring: every operation on real sockets, with both receive policies. Long, as there
 * are many operations. */
#include "ring_bench.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static int open_multishot(void **state) {
    (void)state;
    bench_open((struct ring_params){0});
    return 0;
}

static int open_one_shot(void **state) {
    (void)state;
    bench_open((struct ring_params){.one_shot = true});
    return 0;
}

static int close_ring(void **state) {
    (void)state;
    bench_close();
    return 0;
}

static void test_send_and_receive(void **state) {
    (void)state;
    int fds[2];
    pair(fds);
    struct probe tx, rx;
    probe_init(&tx);
    probe_init(&rx);
    op_recv(ring, &rx.op, fds[1], 0);
    op_send(ring, &tx.op, fds[0], "hello ", 6, false);
    UNTIL(op_idle(&tx.op));
    assert_int_equal(tx.res, 6);
    char text[] = "the gathered one";
    struct iovec iov[3] = {{text, 4}, {text + 4, 9}, {text + 13, 3}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 3};
    op_sendv(ring, &tx.op, fds[0], &message, false);
    UNTIL(tx.ends == 2);
    assert_int_equal(tx.res, 16);
    receive_until(&rx, fds[1], 22);
    assert_memory_equal(rx.text, "hello the gathered one", 22);
    assert_int_equal(stats_get(ring_stats(ring), STAT_RX_BYTES), 22);
    assert_int_equal(stats_get(ring_stats(ring), STAT_TX_BYTES), 22);
    /* The end: res 0, once, and idle. */
    if (op_idle(&rx.op)) {
        op_recv(ring, &rx.op, fds[1], 0);
    }
    unsigned ends = rx.ends;
    shutdown(fds[0], SHUT_WR);
    UNTIL(op_idle(&rx.op));
    assert_int_equal(rx.res, 0);
    assert_int_equal(rx.ends, ends + 1);
    close(fds[0]);
    close(fds[1]);
}

static void test_send_to_a_closed_peer(void **state) {
    (void)state;
    int fds[2];
    pair(fds);
    close(fds[1]);
    struct probe tx;
    probe_init(&tx);
    op_send(ring, &tx.op, fds[0], "x", 1, false);   /* no SIGPIPE */
    UNTIL(tx.ends == 1);
    assert_int_equal(tx.res, -EPIPE);
    close(fds[0]);
}

/* 4 MB both ways of a pair whose buffers hold far less: short sends, and every byte in order. */
#define BULK (4u << 20)

struct bulk {
    struct probe tx, rx;
    int from, to;
    const uint8_t *bytes;
    uint32_t sent, got, wrong;
};

static void bulk_sent(struct op *op, int res, struct seg *seg, bool armed) {
    struct bulk *bulk = container_of(op, struct bulk, tx.op);
    assert_true(res > 0 && !armed && seg == NULL);
    bulk->sent += (uint32_t)res;
    if (bulk->sent < BULK) {
        op_send(ring, op, bulk->from, bulk->bytes + bulk->sent, BULK - bulk->sent, false);
    }
    ring_stop(ring);
}

static void bulk_received(struct op *op, int res, struct seg *seg, bool armed) {
    struct bulk *bulk = container_of(op, struct bulk, rx.op);
    if (res > 0) {
        bulk->wrong += memcmp(seg->data, bulk->bytes + bulk->got, (size_t)res) != 0;
        bulk->got += (uint32_t)res;
        seg_unref(seg);
        if (!armed) {
            op_recv(ring, op, bulk->to, 0);
        }
    }
    ring_stop(ring);
}

static void test_bulk_both_ways(void **state) {
    (void)state;
    int fds[2];
    pair(fds);
    uint8_t *bytes = malloc(BULK);
    assert_non_null(bytes);
    sys_random(bytes, BULK);
    struct bulk bulk[2];
    for (unsigned i = 0; i < 2; i++) {
        bulk[i] = (struct bulk){.from = fds[i], .to = fds[1 - i], .bytes = bytes};
        op_init(&bulk[i].tx.op, bulk_sent);
        op_init(&bulk[i].rx.op, bulk_received);
        op_recv(ring, &bulk[i].rx.op, bulk[i].to, 0);
        op_send(ring, &bulk[i].tx.op, bulk[i].from, bytes, BULK, false);
    }
    UNTIL(bulk[0].got == BULK && bulk[1].got == BULK);
    assert_int_equal(bulk[0].wrong + bulk[1].wrong, 0);
    shutdown(fds[0], SHUT_RDWR);
    UNTIL(op_idle(&bulk[0].rx.op) && op_idle(&bulk[1].rx.op));
    free(bytes);
    close(fds[0]);
    close(fds[1]);
}

static void test_accept_connect_close(void **state) {
    (void)state;
    struct addr bound;
    struct probe accept, dial[20];
    int fds[20];
    probe_init(&accept);
    op_init(&accept.op, probe_accept_done);
    int listener = listen_loopback(&bound, 128);
    op_accept(ring, &accept.op, listener, true);
    for (unsigned i = 0; i < 20; i++) {
        probe_init(&dial[i]);
        fds[i] = sys_socket(AF_INET);
        assert_true(fds[i] >= 0);
        op_connect(ring, &dial[i].op, fds[i], &bound);
    }
    UNTIL(accept.fd_count == 20);
    assert_int_equal(accept.ends, 0);
    for (unsigned i = 0; i < 20; i++) {
        UNTIL(op_idle(&dial[i].op));
        assert_int_equal(dial[i].res, 0);
        int on;
        socklen_t len = sizeof on;
        assert_int_equal(getsockopt(accept.fds[i], IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, &len), 0);
        assert_true(on != 0);   /* inherited */
        assert_true(fcntl(accept.fds[i], F_GETFD) & FD_CLOEXEC);
        struct endpoint endpoint;
        assert_int_equal(sys_peer(accept.fds[i], &endpoint), 0);
        assert_int_equal(endpoint.family, AF_INET);
        op_close(ring, &dial[i].op, fds[i]);
    }
    UNTIL(op_idle(&dial[19].op));
    for (unsigned i = 0; i < 20; i++) {
        UNTIL(op_idle(&dial[i].op));
        assert_int_equal(dial[i].res, 0);
        assert_true(fcntl(fds[i], F_GETFD) < 0);
        close(accept.fds[i]);
    }
    probe_end(&accept);
    assert_int_equal(accept.res, -ECANCELED);
    assert_int_equal(accept.ends, 1);
    close(listener);
    /* Nobody listens there any more. */
    int fd = sys_socket(AF_INET);
    op_connect(ring, &dial[0].op, fd, &bound);
    UNTIL(op_idle(&dial[0].op));
    assert_int_equal(dial[0].res, -ECONNREFUSED);
    close(fd);
}

static void test_accept_without_descriptors(void **state) {
    (void)state;
    struct addr bound;
    struct probe accept;
    struct rlimit was, tight;
    probe_init(&accept);
    op_init(&accept.op, probe_accept_done);
    int listener = listen_loopback(&bound, 16);
    int client = sys_socket(AF_INET);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    tight = was;
    tight.rlim_cur = (rlim_t)client + 1;
    op_accept(ring, &accept.op, listener, true);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    assert_int_equal(connect(client, &bound.sa.any, bound.len), 0);
    UNTIL(accept.ends == 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(accept.res, -EMFILE);
    /* It may be armed again at once. */
    op_accept(ring, &accept.op, listener, true);
    close(client);
    client = connect_now(&bound);
    UNTIL(accept.fd_count > 0 && accept.res >= 0);
    probe_end(&accept);
    for (unsigned i = 0; i < accept.fd_count; i++) {
        close(accept.fds[i]);
    }
    close(client);
    close(listener);
}

static void test_watch(void **state) {
    (void)state;
    int fds[2];
    pair(fds);
    struct probe watch;
    probe_init(&watch);
    op_watch(ring, &watch.op, fds[1], POLLIN);
    turn();
    assert_false(op_idle(&watch.op));
    write_all(fds[0], "x", 1);
    UNTIL(op_idle(&watch.op));
    assert_true(watch.res > 0 && (watch.res & POLLIN));
    op_watch(ring, &watch.op, fds[1], POLLRDHUP);
    turn();
    assert_false(op_idle(&watch.op));   /* the byte that waits is not what it watches for */
    close(fds[0]);
    UNTIL(op_idle(&watch.op));
    assert_true(watch.res > 0 && (watch.res & POLLRDHUP));
    close(fds[1]);
}

static void test_write(void **state) {
    (void)state;
    char path[] = "/tmp/gyre-test-XXXXXX", text[16];
    int made = mkstemp(path);
    assert_true(made >= 0);
    write_all(made, "one ", 4);
    int fd = sys_open_append(path);
    assert_true(fd >= 0);
    struct probe write;
    probe_init(&write);
    op_write(ring, &write.op, fd, "two ", 4);
    UNTIL(op_idle(&write.op));
    assert_int_equal(write.res, 4);
    write_all(made, "lost", 4);   /* at its own place: over ours */
    op_write(ring, &write.op, fd, "three", 5);
    UNTIL(op_idle(&write.op));
    assert_int_equal(pread(made, text, sizeof text, 0), 13);
    assert_memory_equal(text, "one lostthree", 13);
    close(fd);
    close(made);
    unlink(path);

    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    op_write(ring, &write.op, pipe_fds[1], "pipe", 4);
    UNTIL(op_idle(&write.op));
    assert_int_equal(write.res, 4);
    assert_int_equal(read(pipe_fds[0], text, sizeof text), 4);
    close(pipe_fds[0]);
    signal(SIGPIPE, SIG_IGN);
    op_write(ring, &write.op, pipe_fds[1], "pipe", 4);
    UNTIL(op_idle(&write.op));
    assert_int_equal(write.res, -EPIPE);
    close(pipe_fds[1]);
}

/* --- Cancelling, in each state that an op can be in --------------------------------------- */

static void test_cancel_receive(void **state) {
    (void)state;
    int fds[2];
    pair(fds);
    struct probe rx;
    probe_init(&rx);
    op_cancel(ring, &rx.op);             /* idle: harmless */
    op_recv(ring, &rx.op, fds[1], 0);
    op_cancel(ring, &rx.op);             /* not submitted yet */
    op_cancel(ring, &rx.op);
    assert_int_equal(rx.dones, 0);
    UNTIL(op_idle(&rx.op));
    assert_true(rx.res == -ECANCELED && rx.dones == 1);

    op_recv(ring, &rx.op, fds[1], 0);
    turn();
    turn();
    probe_end(&rx);                      /* waits in the kernel */
    assert_true(rx.res == -ECANCELED && rx.dones == 2);

    op_recv(ring, &rx.op, fds[1], 0);
    turn();
    turn();
    write_all(fds[0], "late", 4);        /* data is there before the cancel is */
    probe_end(&rx);
    turn();
    assert_int_equal(rx.ends, 3);
    if (rx.bytes == 0) {
        receive_until(&rx, fds[1], 4);   /* or it stays for the next receive */
        probe_end(&rx);
    }
    assert_memory_equal(rx.text, "late", 4);

    op_recv(ring, &rx.op, fds[1], 0);
    close(fds[0]);                       /* ends while it is being cancelled */
    probe_end(&rx);
    assert_true(rx.res == 0 || rx.res == -ECANCELED);
    turn();
    turn();
    assert_true(op_idle(&rx.op));
    close(fds[1]);
}

static void cancel_in_done(struct op *op, int res, struct seg *seg, bool armed) {
    if (armed) {
        op_cancel(ring, op);
    }
    probe_done(op, res, seg, armed);
}

/* As a wire does whose mark is reached: what had come before the cancel is not lost. */
static void test_cancel_in_done(void **state) {
    (void)state;
    int fds[2];
    struct addr bound;
    int listener = listen_loopback(&bound, 16);
    fds[0] = connect_now(&bound);
    fds[1] = accept(listener, NULL, NULL);
    close(listener);
    struct probe rx;
    probe_init(&rx);
    op_init(&rx.op, cancel_in_done);
    uint8_t *bytes = calloc(1, 1 << 20);
    assert_non_null(bytes);
    ssize_t wrote = send(fds[0], bytes, 1 << 20, MSG_DONTWAIT);
    assert_true(wrote > 0);
    while (rx.bytes < (uint64_t)wrote) {
        op_recv(ring, &rx.op, fds[1], 0);
        UNTIL(op_idle(&rx.op));
        assert_true(rx.res > 0 || rx.res == -ECANCELED);
    }
    assert_int_equal(rx.bytes, wrote);
    free(bytes);
    close(fds[0]);
    close(fds[1]);
}

static void test_cancel_send_and_write(void **state) {
    (void)state;
    int fds[2], pipe_fds[2];
    static uint8_t bytes[1 << 20];
    pair(fds);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    struct probe tx;
    probe_init(&tx);
    do {                                 /* fill the socket */
        op_send(ring, &tx.op, fds[0], bytes, sizeof bytes, false);
        turn();
        turn();
    } while (op_idle(&tx.op));
    unsigned ends = tx.ends;
    probe_end(&tx);
    assert_true(tx.ends == ends + 1 && (tx.res == -ECANCELED || tx.res > 0));
    do {
        op_write(ring, &tx.op, pipe_fds[1], bytes, sizeof bytes);
        for (unsigned i = 0; i < 20 && !op_idle(&tx.op); i++) {
            usleep(1000);
            turn();
        }
    } while (op_idle(&tx.op));
    ends = tx.ends;
    probe_end(&tx);
    assert_int_equal(tx.ends, ends + 1);
    assert_true(tx.res == -ECANCELED || tx.res == -EINTR || tx.res > 0);
    for (unsigned i = 0; i < 2; i++) {
        close(fds[i]);
        close(pipe_fds[i]);
    }
}

static void test_cancel_connect_and_watch(void **state) {
    (void)state;
    struct addr bound;
    struct probe dial, watch;
    probe_init(&dial);
    probe_init(&watch);
    int listener = listen_loopback(&bound, 0), fds[8];
    unsigned count = 0;
    do {                                 /* fill the backlog: then a connect hangs */
        assert_true(count < 8);
        fds[count] = sys_socket(AF_INET);
        op_connect(ring, &dial.op, fds[count++], &bound);
        for (unsigned i = 0; i < 20 && !op_idle(&dial.op); i++) {
            usleep(1000);
            turn();
        }
    } while (op_idle(&dial.op));
    op_watch(ring, &watch.op, listener, POLLRDHUP);
    probe_end(&dial);
    assert_int_equal(dial.res, -ECANCELED);
    turn();
    probe_end(&watch);
    assert_int_equal(watch.res, -ECANCELED);
    while (count > 0) {
        close(fds[--count]);
    }
    close(listener);
}

/* --- Posts, timers, the end --------------------------------------------------------------- */

static struct post hello;
static _Atomic unsigned hellos;

static void hello_run(struct post *post) {
    (void)post;
    hellos++;
    ring_stop(ring);
}

static void *hello_sender(void *arg) {
    usleep(20000);
    ring_post(arg, &hello);
    return NULL;
}

static void test_post_wakes_a_ring_that_waits(void **state) {
    (void)state;
    for (unsigned n = 1; n <= 3; n++) {
        pthread_t thread;
        hello.run = hello_run;
        assert_int_equal(pthread_create(&thread, NULL, hello_sender, ring), 0);
        UNTIL(hellos == n);
        pthread_join(thread, NULL);
    }
    hellos = 0;
}

#define VOLLEYS 20000

struct ball {
    struct post post;
    struct ring *here, *there;
    unsigned left;
};

static void ball_run(struct post *post) {
    struct ball *ball = container_of(post, struct ball, post);
    struct ring *here = ball->there;
    ball->there = ball->here;
    ball->here = here;
    if (ball->left-- <= 2) {
        ring_stop(here);     /* the last but one stops that side, the last this one */
    }
    if (ball->left > 0) {
        ring_post(ball->there, post);
    }
}

static _Atomic(struct ring *) other_ring;
static _Atomic bool nobody_posts;

static void *other_side(void *arg) {
    char why[RING_WHY_MAX];
    struct ring *mine = ring_new(&(struct ring_params){0}, why);
    ensure(mine != NULL);
    other_ring = mine;
    ring_run(mine);
    while (!nobody_posts) {   /* the target must outlive ring_post */
        usleep(100);
    }
    ring_free(mine);
    return arg;
}

static void test_posts_between_two_rings(void **state) {
    (void)state;
    pthread_t thread;
    other_ring = NULL;
    assert_int_equal(pthread_create(&thread, NULL, other_side, NULL), 0);
    while (other_ring == NULL) {
        usleep(100);
    }
    struct ball ball = {.post.run = ball_run, .here = ring, .there = other_ring, .left = VOLLEYS};
    ring_post(other_ring, &ball.post);
    ring_run(ring);
    nobody_posts = true;
    pthread_join(thread, NULL);
    assert_int_equal(ball.left, 0);
}

static unsigned fired;

static void stop_fired(struct timer *timer) {
    (void)timer;
    fired++;
    ring_stop(ring);
}

static uint64_t monotonic_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void test_timers_in_real_time(void **state) {
    (void)state;
    struct timer timer;
    timer_init(&timer, stop_fired);
    for (unsigned in_ms = 0; in_ms < 30; in_ms += 7) {
        turn();
        uint64_t begin_us = ring_now_us(ring);
        uint64_t turns = stats_get(ring_stats(ring), STAT_TURNS);
        fired = 0;
        timer_arm(ring, &timer, in_ms);
        UNTIL(fired > 0);
        uint64_t took_us = monotonic_us() - begin_us;
        assert_true(took_us >= in_ms * 1000);
        assert_true(took_us < in_ms * 1000 + 500000);
        assert_true(stats_get(ring_stats(ring), STAT_TURNS) - turns < 10);   /* it waits */
    }
    usleep(1100000);   /* the wall clock is looked at once a second */
    turn();
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    uint64_t wall_us = (uint64_t)wall.tv_sec * 1000000 + (uint64_t)wall.tv_nsec / 1000;
    assert_true(wall_us - ring_wall_us(ring) < 5000000);
    assert_int_equal(ring_now_us(ring) / 1000, ring_now_ms(ring));
}

/* More ops in one turn than the submission queue holds. */
static void test_full_submission_queue(void **state) {
    (void)state;
    static struct probe rx[200];
    int fds[200][2];
    bench_close();
    bench_open((struct ring_params){.sq_entries = 4});
    for (unsigned i = 0; i < 200; i++) {
        pair(fds[i]);
        probe_init(&rx[i]);
        op_recv(ring, &rx[i].op, fds[i][1], 0);
    }
    for (unsigned i = 0; i < 200; i++) {
        write_all(fds[i][0], "ok", 2);
    }
    for (unsigned i = 0; i < 200; i++) {
        UNTIL(rx[i].bytes == 2);
        op_cancel(ring, &rx[i].op);
    }
    for (unsigned i = 0; i < 200; i++) {
        UNTIL(op_idle(&rx[i].op));
        close(fds[i][0]);
        close(fds[i][1]);
    }
}

/* After ring_free nothing of the ring takes a connection or a byte. */
static void test_free_with_ops_in_flight(void **state) {
    (void)state;
    struct addr bound;
    static struct probe accept, rx;
    int fds[2], refused = 0;
    for (unsigned n = 0; n < 20; n++) {
        probe_init(&accept);
        op_init(&accept.op, probe_accept_done);
        probe_init(&rx);
        pair(fds);
        int listener = listen_loopback(&bound, 16);
        op_accept(ring, &accept.op, listener, true);
        op_recv(ring, &rx.op, fds[1], 0);
        if (n % 2 == 0) {
            turn();
            turn();
        }
        int client = n % 3 == 0 ? connect_now(&bound) : -1;
        write_all(fds[0], "unread", 6);
        bench_close();
        assert_true(op_idle(&accept.op) && op_idle(&rx.op));
        close(listener);
        int fd = connect_now(&bound);
        refused += fd == -ECONNREFUSED;
        close(client);
        close(fds[0]);
        close(fds[1]);
        bench_open((struct ring_params){0});
    }
    assert_int_equal(refused, 20);
}

#define BOTH(name)                                                                          \
    {#name " (multishot)", name, open_multishot, close_ring, NULL},                         \
    {#name " (one-shot)", name, open_one_shot, close_ring, NULL}
#define ONCE(name) cmocka_unit_test_setup_teardown(name, open_multishot, close_ring)

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH(test_send_and_receive),
        BOTH(test_bulk_both_ways),
        BOTH(test_cancel_receive),
        BOTH(test_cancel_in_done),
        BOTH(test_free_with_ops_in_flight),
        ONCE(test_send_to_a_closed_peer),
        ONCE(test_accept_connect_close),
        ONCE(test_accept_without_descriptors),
        ONCE(test_watch),
        ONCE(test_write),
        ONCE(test_cancel_send_and_write),
        ONCE(test_cancel_connect_and_watch),
        ONCE(test_post_wakes_a_ring_that_waits),
        ONCE(test_posts_between_two_rings),
        ONCE(test_timers_in_real_time),
        ONCE(test_full_submission_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
