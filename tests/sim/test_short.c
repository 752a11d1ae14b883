/* Short of descriptors, and an access log that can not be written, on the simulated ring: what gyre
 * does amid it, what it says, and that it recovers by itself. */
#include "base/fault.h"
#include "script/overload_lab.h"

static uint64_t began_ms;

static uint64_t clock_ms(void) {
    return ring_now_ms(worker()->ring);
}

static void start(const char *glob, const char *backend) {
    world_start(glob, backend, NULL, NULL);
    world_apart();
    began_ms = clock_ms();
}

static void said_at_most_once_a_second(const char *text) {
    uint64_t seconds = (clock_ms() - began_ms) / 1000;
    uint32_t count = said_count(text);
    if (count < 1 || count > seconds + 2) {
        fail_msg("\"%s\" was said %u times in %u s", text, count, (unsigned)seconds);
    }
}

/* From now on gyre may have so many descriptors more than it has: others have the rest. */
static void descriptors_left(uint32_t count) {
    sim_params(world.sim)->fd_max = sim_descriptors(world.sim) + count;
}

static void descriptors_back(void) {
    sim_params(world.sim)->fd_max = 4096;
}

static uint64_t stat(enum stats_counter which) {
    return lab_stat(&world.lab, which);
}

/* --- Descriptors -------------------------------------------------------------------------- */

static bool first_over(void *arg) {
    (void)arg;
    return clients[0].over;
}

static void accept_without_descriptors(void **state) {
    bool stop = *state != NULL;
    start("", "");
    client_start(&world.at, "/held", 1, 0);
    held_wait(1);
    descriptors_left(0);
    uint32_t from = client_count;
    for (uint32_t i = 0; i < 30; i++) {
        client_start(&world.at, "/", 1, 0);
    }
    peers_sleep(3500);
    assert_int_equal(clients_good(from), 0);
    assert_true(stat(STAT_ACCEPT_FAILED) > 0 && stat(STAT_ACCEPT_PAUSED) > 0);
    said_at_most_once_a_second("not accepting for the moment: out of descriptors");
    if (stop) {
        worker_drain(worker());
        origin_release();
        assert_int_equal(peers_run(first_over, NULL, LIMIT_MS), PEERS_MET);
    } else {
        descriptors_back();
        clients_wait(from, LIMIT_MS);      /* the held one still is */
        assert_int_equal(clients_good(from), 30);
        origin_release();
        clients_wait(0, LIMIT_MS);
    }
    assert_int_equal(clients[0].good, 1);
    world_end();
}

/* A connection to another server, which clients have left idle, gives its descriptor to a dial. */
static void dial_takes_an_idle_one(void **state) {
    bool slots = *state != NULL;
    start("", slots ? "keepalive_timeout = 10m\nslots = 6\n"
                    : "keepalive_timeout = 10m\n");
    for (uint32_t i = 0; i < 6; i++) {
        client_start(&world.at, "/other", 1, 200000)->stays = true;
    }
    clients_wait(0, LIMIT_MS);
    assert_int_equal(stat(STAT_DIALED), 6);
    descriptors_left(0);
    for (uint32_t i = 0; i < 6; i++) {     /* all at once: each closes one of its own */
        client_again(&clients[i], "/held");
    }
    held_wait(6);
    assert_int_equal(stat(STAT_DIALED), 12);
    assert_int_equal(stat(STAT_DIAL_FAILED), 0);
    assert_int_equal(lab_closed(&world.lab, CLOSE_BACKEND_IDLE), 6);
    assert_int_equal(said_count("warning"), 0);
    origin_release();
    clients_wait(0, LIMIT_MS);
    assert_int_equal(clients_good(0), 12);
    world_end();
}

/* The client goes away while its dial waits for a descriptor; the slot that it had meanwhile is the
 * next one's. */
static void client_leaves_a_dial_that_waits(void **state) {
    bool slots = *state != NULL;
    start("", slots ? "keepalive_timeout = 10m\nslots = 1\n" : "keepalive_timeout = 10m\n");
    for (uint32_t i = 0; i < 2; i++) {
        client_start(&world.at, "/other", 1, 200000)->stays = true;
    }
    clients_wait(0, LIMIT_MS);
    descriptors_left(0);
    client_again(&clients[0], "/held");
    while (worker()->net.wanted == 0) {
        assert_true(sim_step(world.sim));
    }
    peer_reset(clients[0].peer);
    client_again(&clients[1], "/held");
    held_wait(1);
    origin_release();
    clients_wait(1, LIMIT_MS);
    assert_int_equal(clients_good(1), 2);
    assert_int_equal(worker()->net.wanted, 0);
    world_end();
}

/* Accepting goes before what is idle. */
static void accept_takes_idle_ones(void **state) {
    (void)state;
    start("", "keepalive_timeout = 10m\n");
    for (uint32_t i = 0; i < 16; i++) {
        client_start(&world.at, "/other", 1, 200000)->stays = true;
    }
    clients_wait(0, LIMIT_MS);
    descriptors_left(0);
    uint32_t from = client_count;
    for (uint32_t i = 0; i < 8; i++) {
        client_start(&world.at, "/", 1, 0);
    }
    clients_wait(from, LIMIT_MS);
    assert_int_equal(clients_good(from), 8);
    assert_true(stat(STAT_ACCEPT_FAILED) > 0);
    world_end();
}

/* None is idle: 503 at once; what servers hold back is delivered, and then it goes on. */
static void dial_without_descriptors(void **state) {
    bool stop = *state != NULL;
    start("", "keepalive = 0\n");
    client_start(&world.at, "/held", 1, 0);
    client_start(&world.at, "/held", 1, 0);
    held_wait(2);
    for (uint32_t i = 0; i < 10; i++) {
        client_start(&world.at, "/", 1, 0)->stays = true;
    }
    clients_wait(2, LIMIT_MS);
    peers_sleep(100);
    descriptors_left(0);
    for (uint32_t round = 0; round < 30; round++) {
        for (uint32_t i = 2; i < 12; i++) {
            client_again(&clients[i], "/");
        }
        clients_wait(2, 1000);
        peers_sleep(100);
    }
    assert_int_equal(clients_good(2), 10);
    assert_int_equal(clients_shed(2), 300);
    assert_int_equal(stat(STAT_DIAL_FAILED), 300);
    assert_int_equal(stats_get_end(ring_stats(worker()->ring), CLOSE_NO_DESCRIPTOR), 300);
    said_at_most_once_a_second("answering 503: no descriptor is left to dial 127.0.0.1:");
    if (stop) {
        worker_drain(worker());
    } else {
        descriptors_back();
        for (uint32_t i = 2; i < 12; i++) {
            client_again(&clients[i], "/");
        }
        clients_wait(2, LIMIT_MS);
        assert_int_equal(clients_good(2), 20);
    }
    origin_release();
    clients_from = 0;
    assert_int_equal(peers_run(clients_over, NULL, LIMIT_MS), PEERS_MET);
    assert_int_equal(clients[0].good + clients[1].good, 2);
    world_end();
}

/* A kernel that refuses now and then, and rings that run dry: nobody waits for ever. */
static void descriptors_come_and_go(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct sim_params params = sim_params_clean();
        params.chance[SIM_LATE] = seed % 2 == 0 ? 2000 : 0;
        world_start("", seed % 3 == 0 ? "keepalive = 0\n" : "keepalive = 3\n", NULL, &params);
        for (uint32_t i = 0; i < 40; i++) {
            client_start(&world.at, i % 2 == 0 ? "/other" : "/", 6, i % 3 * 5000);
        }
        for (uint32_t i = 0; i < 40 && !clients_over(NULL); i++) {
            clients_from = 0;
            descriptors_left((uint32_t)sim_draw(world.sim, 3));
            sim_params(world.sim)->chance[SIM_EMFILE] = (uint16_t)sim_draw(world.sim, 3000);
            peers_sleep(sim_draw(world.sim, 30));
        }
        sim_params(world.sim)->chance[SIM_EMFILE] = 0;
        descriptors_back();
        clients_wait(0, LIMIT_MS);
        assert_int_equal(clients_good(0) + clients_shed(0), clients_asked(0));
        assert_true(clients_good(0) > 40);
        world_end();
    }
}

/* --- The access log ----------------------------------------------------------------------- */

static void lines_check(struct str text, uint32_t *whole, uint32_t *torn) {
    *whole = *torn = 0;
    for (const char *at = text.p; at < text.p + text.len;) {
        const char *end = memchr(at, '\n', (size_t)(text.p + text.len - at));
        assert_non_null(end);
        bool begins = strncmp(at, "127.0.0.1 - - [", 15) == 0;
        bool ends = end - at > 35 && end[-33] == '=' && memmem(at, (size_t)(end - at), " id=", 4);
        *whole += begins && ends;
        *torn += !(begins && ends);
        /* No line goes on where another was cut. */
        assert_null(memmem(at + 1, (size_t)(end - at), "127.0.0.1 - - [", 15));
        at = end + 1;
    }
}

static uint64_t requests_start(uint64_t ms) {
    uint64_t asked = 0;
    for (uint64_t until = clock_ms() + ms; clock_ms() < until; asked += 50) {
        uint32_t from = client_count;
        client_start(&world.at, "/", 50, 0);
        clients_wait(from, 1000);   /* at full speed: it takes no longer than without a log */
        assert_int_equal(clients_good(from), 50);
        peers_sleep(50);
    }
    return asked;
}

/* No space, with and without parts of lines that still fit; then space again. */
static void log_without_space(void **state) {
    (void)state;
    start("access_log = /access.log\n", "");
    uint64_t asked = requests_start(500);
    sim_params(world.sim)->chance[SIM_WRITE_FULL] = 10000;
    asked += requests_start(3000);
    uint64_t dropped = stat(STAT_LOG_DROPPED);
    assert_true(dropped > 0);
    sim_params(world.sim)->chance[SIM_WRITE_FULL] = 3000;
    sim_params(world.sim)->chance[SIM_WRITE_SHORT] = 9000;
    asked += requests_start(3000);
    said_at_most_once_a_second(" dropped: No space left on device");
    sim_params(world.sim)->chance[SIM_WRITE_FULL] = 0;
    peers_sleep(1000);
    dropped = stat(STAT_LOG_DROPPED);
    asked += requests_start(1500);
    assert_int_equal(stat(STAT_LOG_DROPPED), dropped);
    assert_true(said_count("it can be written again") > 0);
    peers_sleep(1000);
    uint32_t whole, torn;
    lines_check(sim_file(world.sim, "/access.log"), &whole, &torn);
    assert_int_equal(whole + dropped, asked);   /* each is written, or counted */
    assert_true(torn <= dropped);
    world_end();
}

/* A file that takes nothing, and then goes on. */
static void log_that_takes_nothing(void **state) {
    bool stop = *state != NULL;
    start("access_log = /access.log\n", "");
    uint64_t asked = requests_start(300);
    peers_sleep(1000);
    sim_params(world.sim)->writes_wait = true;
    asked += requests_start(4000);
    uint64_t dropped = stat(STAT_LOG_DROPPED);
    assert_true(dropped > 0);
    said_at_most_once_a_second("dropped: they came faster than its file takes them");
    if (stop) {
        uint64_t now = clock_ms();
        client_start(&world.at, "/held", 1, 0);
        held_wait(1);
        worker_drain(worker());
        origin_release();
        clients_wait(client_count - 1, LIMIT_MS);
        assert_int_equal(clients[client_count - 1].good, 1);
        assert_true(clock_ms() - now < 10000);   /* of drain_timeout's 30 s */
    } else {
        sim_params(world.sim)->writes_wait = false;
        peers_sleep(2000);
        asked += requests_start(300);
        peers_sleep(1000);
        assert_int_equal(stat(STAT_LOG_DROPPED), dropped);
        uint32_t whole, torn;
        lines_check(sim_file(world.sim, "/access.log"), &whole, &torn);
        assert_int_equal(whole + dropped, asked);
        assert_int_equal(torn, 0);
        assert_true(said_count("it can be written again") > 0);
    }
    world_end();
}

/* What comes while a write takes its time is not worth one of its own when that is done: it waits
 * for more, though no longer than any line. */
static void log_gathers_lines(void **state) {
    (void)state;
    start("access_log = /access.log\n", "");
    sim_params(world.sim)->writes_wait = true;
    uint64_t asked = requests_start(1);
    peers_sleep(200);                       /* these are being written */
    asked += requests_start(1);
    sim_params(world.sim)->writes_wait = false;
    peers_sleep(20);
    assert_int_equal(sim_file_appends(world.sim, "/access.log"), 1);
    peers_sleep(200);
    assert_int_equal(sim_file_appends(world.sim, "/access.log"), 2);
    uint32_t whole, torn;
    lines_check(sim_file(world.sim, "/access.log"), &whole, &torn);
    assert_int_equal(whole, asked);
    assert_int_equal(torn, 0);
    world_end();
}

static uint64_t memory_after_a_while(void) {
    peers_sleep(1000);
    worker_ping(worker());
    peers_sleep(1000);
    return memory_used();
}

/* A disk that is held up, for more than the buffers take as they begin: they grow, nothing is lost,
 * and afterwards they are as they were. Unless there is no memory: then lines are dropped. */
static void log_buffer_grows(void **state) {
    bool fails = strcmp(*state, "no memory") == 0, pressed = strcmp(*state, "pressed") == 0;
    start("access_log = /access.log\n", "");
    uint64_t asked = requests_start(500);
    uint64_t before = memory_after_a_while();
    sim_params(world.sim)->writes_wait = true;
    if (fails) {
        fault_arm(FAULT_LOG, 0, 1000000);
    }
    if (pressed) {
        atomic_store(&memory_level_now, MEMORY_PRESSED);
    }
    asked += requests_start(1200);
    uint64_t grown = memory_used() - before;
    uint64_t dropped = stat(STAT_LOG_DROPPED);
    fault_disarm();
    atomic_store(&memory_level_now, MEMORY_PLENTY);
    assert_int_equal(dropped > 0, fails || pressed);
    assert_int_equal(grown >= ACCESSLOG_BYTES_MIN, !fails && !pressed);
    assert_true(grown < 2 * ACCESSLOG_BYTES_MAX);
    sim_params(world.sim)->writes_wait = false;
    uint64_t after = memory_after_a_while();
    assert_true(after < before + ACCESSLOG_BYTES_MIN);
    asked += requests_start(1200);
    assert_int_equal(stat(STAT_LOG_DROPPED), dropped);
    peers_sleep(1000);
    uint32_t whole, torn;
    lines_check(sim_file(world.sim, "/access.log"), &whole, &torn);
    assert_int_equal(whole + dropped, asked);
    assert_int_equal(torn, 0);
    world_end();
}

#define TEST(name, state) {#name " " state, name, NULL, said_failed, \
                           (void *)(uintptr_t)(state[0] != '\0' ? state : NULL)}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(accept_without_descriptors, ""),
        TEST(accept_without_descriptors, "stop"),
        TEST(dial_takes_an_idle_one, ""),
        TEST(dial_takes_an_idle_one, "slots"),
        TEST(client_leaves_a_dial_that_waits, ""),
        TEST(client_leaves_a_dial_that_waits, "slots"),
        TEST(accept_takes_idle_ones, ""),
        TEST(dial_without_descriptors, ""),
        TEST(dial_without_descriptors, "stop"),
        TEST(descriptors_come_and_go, ""),
        TEST(log_gathers_lines, ""),
        TEST(log_buffer_grows, "memory"),
        TEST(log_buffer_grows, "no memory"),
        TEST(log_buffer_grows, "pressed"),
        TEST(log_without_space, ""),
        TEST(log_that_takes_nothing, ""),
        TEST(log_that_takes_nothing, "stop"),
    };
    return cmocka_run_group_tests_name("short", tests, NULL, NULL);
}
