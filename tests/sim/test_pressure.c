/* A level of memory that comes between two writes, on the simulated ring: the mark comes down upon
 * bytes that were below it when they were written, and whoever has more then is told of room all
 * the same. */
#include "base/memory.h"
#include "script/overload_lab.h"

#define FIRST_LEN 16384u
#define REST_LEN 200000u

static struct peer *asked;

static void part_changed(struct peer *p) {
    uint8_t *end = p->rx_len > 0 ? memmem(p->rx, p->rx_len, "\r\n\r\n", 4) : NULL;
    if (end != NULL) {
        peer_drop(p, (size_t)(end - p->rx) + 4);
        asked = p;
    }
    if (p->eof && p->state == PEER_OPEN) {
        peer_fin(p);
    }
}

static void part_accepted(struct peer *p) {
    p->changed = part_changed;
    part_changed(p);
}

static bool is_asked(void *arg) {
    (void)arg;
    return asked != NULL;
}

static void part_head(uint32_t len) {
    char head[100];
    assert_int_equal(peers_run(is_asked, NULL, LIMIT_MS), PEERS_MET);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", len);
    peer_send_text(asked, head);
}

static void part_send(uint32_t from, uint32_t len) {
    static uint8_t bytes[REST_LEN];
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = pattern(from + i);
    }
    peer_send(asked, bytes, len);
    peers_sleep(200);
}

/* before: bytes that have come through, by way of a spool in mode sync. then: those that wait when
 * the mark comes down, in one queue or in two. */
static void level_between(const char *backend, uint32_t before, uint32_t then) {
    struct sim_params params = sim_params_clean();
    params.pipe_min = params.pipe_max = 4096;
    asked = NULL;
    world_start("spool_max = 0\n", backend, NULL, &params);
    world.servers[0]->accepted = part_accepted;
    struct client *c = client_start(&world.at, "/", 1, 0);
    peer_pause(c->peer, true);
    part_head(before + FIRST_LEN + then + REST_LEN);
    part_send(0, before);
    peer_pause(c->peer, false);
    peers_sleep(200);
    peer_pause(c->peer, true);
    part_send(before, FIRST_LEN);                  /* is being sent */
    part_send(before + FIRST_LEN, then);       /* waits, below the mark */
    memory_bound(memory_used() * 16 / 9);
    assert_int_equal(memory_level(), MEMORY_PRESSED);
    part_send(before + FIRST_LEN + then, REST_LEN);
    peer_pause(c->peer, false);
    clients_wait(0, LIMIT_MS);
    assert_true(c->good == 1 && c->left == 0);
    memory_bound(0);
    world_end();
}

static void a_level_comes_between(void **state) {
    (void)state;
    for (uint32_t then = 20000; then < 200000; then += 20000) {
        level_between("mode = async\n", 0, then);
        level_between("mode = sync\n", 0, then);
        level_between("mode = sync\n", REST_LEN, then);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_level_comes_between, said_failed),
    };
    return cmocka_run_group_tests_name("pressure", tests, NULL, NULL);
}
