/* ring/timer: never early, never lost, in order; against a plain list over long virtual times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ring/ring_priv.h"

#define TIMERS 200

/* The model: what is armed, and for when. */
struct item {
    struct timer timer;
    bool armed;
    uint64_t due_ms;
    unsigned fired;
};

static struct timer_wheel wheel;
static struct item items[TIMERS];
static uint64_t now_ms, last_due_ms, seed;
static bool mischief;   /* fired() arms and cancels others */

static uint64_t draw(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void item_arm(struct item *item, uint64_t in_ms) {
    item->armed = true;
    item->due_ms = now_ms + in_ms > wheel.at_ms ? now_ms + in_ms : wheel.at_ms + 1;
    timer_wheel_arm(&wheel, &item->timer, now_ms + in_ms);
    assert_true(timer_armed(&item->timer));
}

static void item_cancel(struct item *item) {
    item->armed = false;
    timer_cancel(NULL, &item->timer);
    assert_false(timer_armed(&item->timer));
}

/* From a ms to far beyond the wheel's span, every level alike. */
static uint64_t draw_ms(void) {
    return draw() % (1ull << (draw() % 39));
}

static void item_fired(struct timer *timer) {
    struct item *item = container_of(timer, struct item, timer);
    assert_true(item->armed);
    assert_true(item->due_ms <= now_ms);          /* never early */
    assert_true(item->due_ms >= last_due_ms);     /* in order */
    assert_false(timer_armed(timer));
    last_due_ms = item->due_ms;
    item->armed = false;
    item->fired++;
    if (mischief) {
        item_arm(&items[draw() % TIMERS], draw_ms());
        item_cancel(&items[draw() % TIMERS]);
        if (draw() % 4 == 0) {
            item_arm(item, 0);
        }
    }
}

static void start(uint64_t first_ms, uint64_t with_seed) {
    seed = with_seed;
    now_ms = first_ms;
    timer_wheel_init(&wheel, now_ms);
    memset(items, 0, sizeof items);
    for (unsigned i = 0; i < TIMERS; i++) {
        timer_init(&items[i].timer, item_fired);
    }
}

static uint64_t first_due_ms(void) {
    uint64_t first = TIMER_NEVER;
    for (unsigned i = 0; i < TIMERS; i++) {
        if (items[i].armed && items[i].due_ms < first) {
            first = items[i].due_ms;
        }
    }
    return first;
}

static void step(void) {
    for (unsigned n = draw() % 8; n > 0; n--) {
        struct item *item = &items[draw() % TIMERS];
        if (draw() % 3 == 0) {
            item_cancel(item);
        } else {
            item_arm(item, draw_ms());
        }
    }
    uint64_t next_ms = timer_wheel_next(&wheel);
    uint64_t first_ms = first_due_ms();
    if (first_ms == TIMER_NEVER) {
        assert_true(next_ms == TIMER_NEVER);
    } else {
        assert_true(next_ms > wheel.at_ms && next_ms <= first_ms);
    }
    switch (draw() % 4) {
    case 0:
        now_ms += draw() % 5;
        break;
    case 1:
        now_ms += draw_ms();   /* a long idle jump over many due times */
        break;
    default:
        if (next_ms != TIMER_NEVER) {
            now_ms = next_ms;
        }
    }
    last_due_ms = 0;
    timer_wheel_run(&wheel, now_ms);
    assert_true(wheel.at_ms == now_ms);
    /* What is still armed lies ahead; what fired() has armed for now comes with the next ms. */
    for (unsigned i = 0; i < TIMERS; i++) {
        assert_true(items[i].armed == timer_armed(&items[i].timer));
        assert_true(!items[i].armed || items[i].due_ms > now_ms);
    }
}

static void test_against_a_list(void **state) {
    (void)state;
    for (uint64_t round = 1; round <= 40; round++) {
        mischief = round % 2 == 0;
        /* Some start just before the top level's end and before 2^36. */
        start(round % 5 == 0 ? (1ull << 36) * round - 1000 : round * 977, round * 0x9e3779b97f4a7c15);
        for (unsigned n = 0; n < 4000; n++) {
            step();
        }
        mischief = false;
        while (first_due_ms() != TIMER_NEVER) {
            last_due_ms = 0;
            now_ms = timer_wheel_next(&wheel);
            timer_wheel_run(&wheel, now_ms);
        }
        assert_true(timer_wheel_next(&wheel) == TIMER_NEVER);
    }
}

static void test_each_at_its_ms(void **state) {
    (void)state;
    mischief = false;
    start(123456789, 1);
    for (unsigned i = 0; i < TIMERS; i++) {
        item_arm(&items[i], 1 + i * 7);
    }
    for (unsigned ms = 0; ms <= 1 + TIMERS * 7; ms++) {
        last_due_ms = 0;
        timer_wheel_run(&wheel, now_ms);
        for (unsigned i = 0; i < TIMERS; i++) {
            assert_int_equal(items[i].fired, now_ms >= items[i].due_ms);
        }
        now_ms++;
    }
}

/* Armed anew for later again and again, as an idle connection's is with each request: it fires when
 * the last one said, once, and what stands beside it in its first slot is not held up. */
static void test_later_and_later(void **state) {
    (void)state;
    mischief = false;
    start(1000000, 1);
    item_arm(&items[1], 700);
    for (unsigned ms = 0; ms < 6000; ms++) {
        if (ms < 5000) {
            item_arm(&items[0], 700);
        }
        last_due_ms = 0;
        uint64_t next_ms = timer_wheel_next(&wheel);
        assert_true(next_ms > now_ms && next_ms <= first_due_ms());
        now_ms++;
        timer_wheel_run(&wheel, now_ms);
        assert_int_equal(items[0].fired, now_ms >= 1000000 + 4999 + 700);
        assert_int_equal(items[1].fired, now_ms >= 1000000 + 700);
    }
    assert_int_equal(items[0].fired, 1);
    assert_true(timer_wheel_next(&wheel) == TIMER_NEVER);
    /* For sooner it is another matter. */
    item_arm(&items[0], 5000);
    item_arm(&items[0], 9000);
    item_arm(&items[0], 3);
    assert_true(timer_wheel_next(&wheel) == now_ms + 3);
    now_ms += 3;
    timer_wheel_run(&wheel, now_ms);
    assert_int_equal(items[0].fired, 2);
}

static unsigned ring_fired;

static void count_fired(struct timer *timer) {
    (void)timer;
    ring_fired++;
}

/* Through the door: the clock's us are rounded up, and a huge time does not overflow. */
static void test_never_early_in_us(void **state) {
    (void)state;
    struct ring_params params = {0};
    struct ring *ring = core_alloc(sizeof(struct ring_core));
    struct ring_core *core = core_of(ring);
    core_init(core, &params, 5000999, 0);
    struct timer timer, far;
    timer_init(&timer, count_fired);
    timer_init(&far, count_fired);
    ring_fired = 0;
    assert_true(core_turn_wait_us(core) == TIMER_NEVER);
    timer_arm(ring, &timer, 10);
    timer_arm(ring, &far, UINT64_MAX);
    assert_true(timer.due_ms * 1000 >= 5000999 + 10000);
    assert_true(core_turn_wait_us(core) <= 11000);
    core_turn_begin(core, 5000999 + 9999, 0);
    core_turn_run(core);
    assert_int_equal(ring_fired, 0);
    core_turn_begin(core, 5000999 + 11000, 0);
    core_turn_run(core);
    assert_int_equal(ring_fired, 1);
    assert_true(timer_armed(&far));
    timer_cancel(ring, &far);
    timer_cancel(ring, &far);
    assert_true(core_turn_wait_us(core) == TIMER_NEVER);
    core_fini(core);
    core_free(ring);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_list),
        cmocka_unit_test(test_each_at_its_ms),
        cmocka_unit_test(test_later_and_later),
        cmocka_unit_test(test_never_early_in_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
