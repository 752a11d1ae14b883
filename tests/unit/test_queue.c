/* The queue of a backend: order, fairness between clients, its bound, and who yields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <cmocka.h>

#include "ring/ring.h"
#include "upstream/queue_priv.h"

#define PLACES 4096u

static struct queue queue;
static struct queue_place places[PLACES];

static struct endpoint v4(uint32_t n) {
    return (struct endpoint){.family = AF_INET, .ip = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8),
                                                       (uint8_t)n}};
}

static bool join(uint32_t place, uint32_t client, struct queue_place **yields) {
    struct endpoint from = v4(client);
    from.port = (uint16_t)place;   /* other connections of one client */
    return queue_join(&queue, &places[place], &from, yields);
}

static void joins(uint32_t place, uint32_t client) {
    struct queue_place *yields;
    assert_true(join(place, client, &yields));
    assert_null(yields);
}

static uint32_t serve(void) {
    struct queue_place *next = queue_next(&queue);
    assert_non_null(next);
    queue_serve(&queue, next);
    return (uint32_t)(next - places);
}

static void served(const uint32_t *order, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(serve(), order[i]);
    }
}
#define SERVED(...)                                                                               \
    served((const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void begin(uint32_t max) {
    memset(places, 0, sizeof places);
    queue_init(&queue, max);
}

static void end(void) {
    assert_null(queue_next(&queue));
    queue_fini(&queue);
}

static void one_client_in_order(void **state) {
    (void)state;
    begin(100);
    for (uint32_t i = 0; i < 100; i++) {
        joins(i, 1);
    }
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(serve(), i);
    }
    end();
}

/* All that wait, from the first on, without serving them: each once. */
static void one_after_the_other(void **state) {
    (void)state;
    begin(100);
    for (uint32_t i = 0; i < 12; i++) {
        joins(i, i % 3);
    }
    static const uint32_t order[] = {0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11};
    struct queue_place *place = queue_next(&queue);
    for (uint32_t i = 0; i < 12; i++) {
        assert_ptr_equal(place, &places[order[i]]);
        place = queue_after(&queue, place);
    }
    assert_null(place);
    queue_serve(&queue, &places[9]);   /* and whoever it is may be served */
    SERVED(1, 2, 0, 4, 5, 3, 7, 8, 6, 10, 11);
    end();
}

static void many_clients_in_order(void **state) {
    (void)state;
    begin(100);
    for (uint32_t i = 0; i < 100; i++) {
        joins(i, i);
    }
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(serve(), i);
    }
    end();
}

static void a_flood_lets_others_in_turn(void **state) {
    (void)state;
    begin(100);
    for (uint32_t i = 0; i < 6; i++) {
        joins(i, 1);
    }
    joins(10, 2);
    joins(11, 2);
    joins(20, 3);
    SERVED(0, 10, 20, 1, 11, 2);
    joins(30, 4);
    SERVED(3, 30, 4, 5);
    end();
}

static void the_longest_yields_to_others(void **state) {
    (void)state;
    struct queue_place *yields;
    begin(4);
    for (uint32_t i = 0; i < 4; i++) {
        joins(i, 1);
    }
    assert_false(join(4, 1, &yields));          /* its own flood */
    assert_true(join(5, 2, &yields));
    assert_ptr_equal(yields, &places[3]);       /* the last of the longest */
    assert_null(yields->line);
    assert_true(join(6, 2, &yields));           /* 3 to 1: one yields, and both have 2 */
    assert_ptr_equal(yields, &places[2]);
    assert_false(join(7, 2, &yields));
    assert_true(join(8, 3, &yields));           /* who has none yet may be one more */
    assert_ptr_equal(yields, &places[1]);
    assert_true(join(9, 4, &yields));
    assert_ptr_equal(yields, &places[6]);
    assert_false(join(10, 5, &yields));         /* now all have one */
    assert_int_equal(atomic_load(&queue.waiting), 4);
    SERVED(0, 5, 8, 9);
    end();
}

static void who_returns_is_first(void **state) {
    (void)state;
    begin(3);
    for (uint32_t i = 0; i < 3; i++) {
        joins(i, i);
    }
    struct endpoint from = v4(7);
    assert_true(queue_return(&queue, &places[7], &from));   /* past the bound */
    assert_int_equal(atomic_load(&queue.waiting), 4);
    SERVED(7, 0);
    from = v4(1);
    assert_true(queue_return(&queue, &places[8], &from));   /* before those of its own line */
    SERVED(8, 2, 1);
    end();
}

static void who_leaves_keeps_nobody_up(void **state) {
    (void)state;
    begin(10);
    for (uint32_t i = 0; i < 4; i++) {
        joins(i, i / 2);
    }
    queue_leave(&queue, &places[0]);
    SERVED(1, 2);
    queue_leave(&queue, &places[3]);
    end();
}

static void none_may_wait(void **state) {
    (void)state;
    struct queue_place *yields;
    begin(0);
    assert_false(join(0, 1, &yields));
    assert_null(yields);
    struct endpoint from = v4(1);
    assert_false(queue_return(&queue, &places[0], &from));   /* it would be served at once, again */
    end();
}

static void a_network_is_one_client(void **state) {
    (void)state;
    struct queue_place *yields;
    begin(2);
    struct endpoint a = {.family = AF_INET6, .ip = {0x20, 1, [7] = 1, [15] = 1}};
    struct endpoint b = a;
    b.ip[15] = 2;                               /* another address of the same /64 */
    assert_true(queue_join(&queue, &places[0], &a, &yields));
    assert_true(queue_join(&queue, &places[1], &b, &yields));
    assert_false(queue_join(&queue, &places[2], &b, &yields));
    a.ip[7] = 2;
    assert_true(queue_join(&queue, &places[3], &a, &yields));
    assert_ptr_equal(yields, &places[1]);
    SERVED(0, 3);
    end();
}

/* Random joins, services and leaves against a slow model: lines as arrays. */
struct model_line {
    uint32_t client, count, waiting[PLACES];
};
static struct model_line model[32];
static uint32_t model_turns[32], model_turn_count;

static uint32_t luck_state = 12345;
static uint32_t luck(uint32_t below) {
    luck_state = luck_state * 1664525u + 1013904223u;
    return (luck_state >> 8) % below;
}

static void model_turn_remove(uint32_t client) {
    uint32_t to = 0;
    for (uint32_t i = 0; i < model_turn_count; i++) {
        if (model_turns[i] != client) {
            model_turns[to++] = model_turns[i];
        }
    }
    model_turn_count = to;
}

static void model_join(uint32_t place, uint32_t client) {
    if (model[client].count == 0) {
        model_turns[model_turn_count++] = client;
    }
    model[client].waiting[model[client].count++] = place;
}

static void model_leave(uint32_t client, uint32_t at) {
    struct model_line *line = &model[client];
    memmove(&line->waiting[at], &line->waiting[at + 1],
            (line->count - at - 1) * sizeof *line->waiting);
    if (--line->count == 0) {
        model_turn_remove(client);
    }
}

static uint32_t model_serve(void) {
    uint32_t client = model_turns[0], place = model[client].waiting[0];
    model_turn_remove(client);
    model_turns[model_turn_count++] = client;
    model_leave(client, 0);
    return place;
}

static void like_a_model(void **state) {
    (void)state;
    begin(200);
    uint32_t used = 0, waiting = 0;
    struct queue_place *yields;
    for (uint32_t i = 0; i < 200000; i++) {
        uint32_t what = luck(5);
        if (what < 2 && waiting < 200) {
            uint32_t client = luck(32);
            while (places[used].line != NULL) {
                used = (used + 1) % PLACES;
            }
            assert_true(join(used, client, &yields));
            model_join(used, client);
            used = (used + 1) % PLACES;
            waiting++;
        } else if (what < 4 && waiting > 0) {
            assert_int_equal(serve(), model_serve());
            waiting--;
        } else if (waiting > 0) {
            uint32_t client = model_turns[luck(model_turn_count)];
            uint32_t at = luck(model[client].count);
            queue_leave(&queue, &places[model[client].waiting[at]]);
            model_leave(client, at);
            waiting--;
        }
        assert_int_equal(atomic_load(&queue.waiting), waiting);
    }
    while (waiting-- > 0) {
        assert_int_equal(serve(), model_serve());
    }
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_client_in_order),
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(many_clients_in_order),
        cmocka_unit_test(a_flood_lets_others_in_turn),
        cmocka_unit_test(the_longest_yields_to_others),
        cmocka_unit_test(who_returns_is_first),
        cmocka_unit_test(who_leaves_keeps_nobody_up),
        cmocka_unit_test(none_may_wait),
        cmocka_unit_test(a_network_is_one_client),
        cmocka_unit_test(like_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
