/* Pools, arenas, lists, strings and the tables of words. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/list.h"
#include "base/pool.h"
#include "base/stats.h"
#include "base/str.h"

struct thing {
    uint64_t a, b, c;
};

static void pool_keeps_count(void **state) {
    (void)state;
    struct pool pool;
    pool_init(&pool, "things", sizeof(struct thing), 3);
    struct thing *t[4];
    for (int i = 0; i < 3; i++) {
        t[i] = pool_get(&pool);
        assert_non_null(t[i]);
        t[i]->c = (uint64_t)i;
    }
    assert_null(pool_get(&pool));
    assert_int_equal(pool.live, 3);
    pool_put(&pool, t[1]);
    t[3] = pool_get(&pool);
    assert_ptr_equal(t[3], t[1]);           /* type-stable: the same memory, */
    assert_int_equal(t[3]->c, 1);           /* with what its last life left in it */
    pool_put(&pool, t[0]);
    pool_put(&pool, t[2]);
    pool_put(&pool, t[3]);
    assert_int_equal(pool.live_peak, 3);
    pool_fini(&pool);
}

static void arena_gives_and_grows(void **state) {
    (void)state;
    struct pool chunks;
    pool_init(&chunks, "chunks", ARENA_CHUNK, 2);
    for (unsigned seed = 1; seed < 40; seed++) {
        srand(seed);
        struct arena arena;
        arena_init(&arena, &chunks);
        uint8_t *piece[100];
        size_t size[100];
        for (unsigned i = 0; i < 100; i++) {
            size[i] = 1 + (size_t)rand() % (rand() % 10 == 0 ? 9000 : 60);
            piece[i] = arena_get(&arena, size[i]);
            assert_int_equal((uintptr_t)piece[i] % 8, 0);
            memset(piece[i], (int)i, size[i]);
            if (rand() % 3 == 0) {
                size_t more = size[i] + (size_t)rand() % 300;
                piece[i] = arena_grow(&arena, piece[i], size[i], more);
                memset(piece[i] + size[i], (int)i, more - size[i]);
                size[i] = more;
            }
        }
        for (unsigned i = 0; i < 100; i++) {
            for (size_t k = 0; k < size[i]; k++) {
                assert_int_equal(piece[i][k], i);
            }
        }
        arena_fini(&arena);
        assert_int_equal(chunks.live, 0);
    }
    pool_fini(&chunks);
}

static void list_in_order(void **state) {
    (void)state;
    struct list_node head, other, n[4] = {0};
    list_init(&head);
    assert_null(list_first(&head));
    assert_false(list_linked(&n[0]));
    for (int i = 0; i < 3; i++) {
        list_append(&head, &n[i]);
    }
    list_prepend(&head, &n[3]);
    list_remove(&n[1]);
    list_remove(&n[1]);
    list_take_all(&other, &head);
    assert_true(list_empty(&head));
    assert_ptr_equal(list_pop(&other), &n[3]);
    assert_ptr_equal(list_pop(&other), &n[0]);
    assert_ptr_equal(list_pop(&other), &n[2]);
    assert_null(list_pop(&other));
}

static void strings(void **state) {
    (void)state;
    uint64_t n;
    assert_true(str_to_u64(STR("18446744073709551615"), &n) && n == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &n));
    assert_false(str_to_u64(STR(""), &n));
    assert_false(str_to_u64(STR("+1"), &n));
    assert_false(str_to_u64(STR("1 "), &n));
    assert_true(str_eq_fold(STR("Keep-Alive"), STR("keep-alive")));
    assert_false(str_eq_fold(STR("a["), STR("a{")));
    assert_true(str_eq(str_trim(STR(" \t x y\t ")), STR("x y")));
    assert_true(str_ends_fold(STR("www.Example.org"), STR(".example.ORG")));
    assert_false(str_ends_fold(STR("org"), STR("example.org")));
}

static void comma_lists(void **state) {
    (void)state;
    struct str list = STR(" ,a ,, \tb\t,c"), element;
    const char *want[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        assert_true(str_next_element(&list, &element));
        assert_true(str_eq(element, str_of(want[i])));
    }
    assert_false(str_next_element(&list, &element));
    assert_true(str_list_has(STR("keep-alive, Upgrade"), STR("upgrade")));
    assert_false(str_list_has(STR("upgrades"), STR("upgrade")));
    assert_false(str_list_has(STR(""), STR("x")));
}

static void text_is_bounded(void **state) {
    (void)state;
    char memory[8];
    struct text text = text_on(memory, sizeof memory);
    text_u64(&text, 1234);
    text_char(&text, '/');
    assert_false(text.cut);
    text_fmt(&text, "%d", 56789);
    assert_true(text.cut);
    assert_int_equal(text.len, 8);
    assert_memory_equal(memory, "1234/567", 8);
}

/* What u64_put writes, and not a byte more. */
static void assert_number(uint64_t n, const char *want) {
    char memory[U64_TEXT_MAX + 2], rest[U64_TEXT_MAX + 2];
    memset(memory, '#', sizeof memory);
    memset(rest, '#', sizeof rest);
    size_t len = (size_t)(u64_put(memory + 1, n) - (memory + 1));
    assert_int_equal(len, strlen(want));
    assert_memory_equal(memory + 1, want, len);
    assert_int_equal(memory[0], '#');
    assert_memory_equal(memory + 1 + len, rest, sizeof memory - 1 - len);
}

static void numbers(void **state) {
    (void)state;
    assert_number(0, "0");
    assert_number(9, "9");
    assert_number(10, "10");
    assert_number(99, "99");
    assert_number(100, "100");
    assert_number(999, "999");
    assert_number(1000, "1000");
    assert_number(4294967295, "4294967295");
    assert_number(4294967296, "4294967296");
    assert_number(UINT64_MAX, "18446744073709551615");
    uint64_t power = 1;
    for (uint32_t zeros = 0; zeros < U64_TEXT_MAX; zeros++, power *= 10) {
        for (uint64_t n = power - 1; n <= power + 1; n++) {
            char want[U64_TEXT_MAX + 1];
            snprintf(want, sizeof want, "%" PRIu64, n);
            assert_number(n, want);
        }
    }
}

static void three_digits(void **state) {
    (void)state;
    for (uint32_t n = 0; n < 1000; n++) {
        char memory[] = "####", want[16];
        assert_ptr_equal(three_put(memory, n), memory + 3);
        snprintf(want, sizeof want, "%03u#", n);
        assert_string_equal(memory, want);
    }
}

/* With room for any number, with just enough, and with too little. */
static void numbers_are_cut(void **state) {
    (void)state;
    for (uint32_t cap = 0; cap <= U64_TEXT_MAX + 3; cap++) {
        char memory[U64_TEXT_MAX + 4];
        memset(memory, '#', sizeof memory);
        struct text text = text_on(memory, cap);
        text_str(&text, STR("n="));
        text_u64(&text, 1234567);
        uint32_t len = cap < 9 ? cap : 9;
        assert_int_equal(text.len, len);
        assert_int_equal(text.cut, cap < 9);
        assert_memory_equal(memory, "n=1234567", len);
        assert_int_equal(memory[len], '#');
    }
}

static void numbers_as_text(void **state) {
    (void)state;
    uint64_t value = 1;
    for (uint32_t digits = 1; digits <= 20; digits++, value *= 10) {
        for (uint64_t n = value - 1; n < value + 120; n++) {
            char memory[24] = "", want[24];
            struct text text = text_on(memory, sizeof memory);
            text_u64(&text, n);
            snprintf(want, sizeof want, "%llu", (unsigned long long)n);
            assert_string_equal(memory, want);
        }
    }
    char memory[24] = "";
    struct text text = text_on(memory, sizeof memory);
    text_u64(&text, UINT64_MAX);
    assert_string_equal(memory, "18446744073709551615");
}

/* The words are an interface: unique, and fit for a metric's name or a log field. */
static void tables_of_words(void **state) {
    (void)state;
    for (int i = 0; i < CLOSE_COUNT; i++) {
        assert_true(strlen(close_help(i)) > 10);
        assert_int_equal(strspn(close_word(i), "abcdefghijklmnopqrstuvwxyz-"),
                         strlen(close_word(i)));
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(close_word(i), close_word(k));
        }
    }
    for (int i = 0; i < STAT_COUNT; i++) {
        assert_true(strlen(stat_help(i)) > 5);
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(stat_word(i), stat_word(k));
        }
    }
}

/* The vectors of its authors: the key and the text are 0, 1, 2, ... */
static void hashes_with_a_secret(void **state) {
    (void)state;
    static const struct {
        uint32_t len;
        uint64_t hash;
    } rows[] = {
        {0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd}, {7, 0xab0200f58b01d137},
        {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5}, {63, 0x958a324ceb064572},
    };
    static const uint64_t secrets[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    char text[64];
    for (uint32_t i = 0; i < sizeof text; i++) {
        text[i] = (char)i;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct str s = {text, rows[i].len};
        assert_true(str_hash_secret(s, secrets) == rows[i].hash);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_keeps_count), cmocka_unit_test(arena_gives_and_grows),
        cmocka_unit_test(list_in_order),    cmocka_unit_test(strings),
        cmocka_unit_test(comma_lists),      cmocka_unit_test(text_is_bounded),
        cmocka_unit_test(numbers),
        cmocka_unit_test(three_digits),
        cmocka_unit_test(numbers_are_cut),
        cmocka_unit_test(numbers_as_text),
        cmocka_unit_test(tables_of_words),  cmocka_unit_test(hashes_with_a_secret),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
