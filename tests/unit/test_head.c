/* Heads: every field by its name, hop-by-hop fields, additions and drops. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "http/http.h"

struct lab {
    struct pool chunks;
    struct arena arena;
    struct head head;
};

static int setup(void **state) {
    static struct lab lab;
    pool_init(&lab.chunks, "chunks", ARENA_CHUNK, 0);
    arena_init(&lab.arena, &lab.chunks);
    head_init(&lab.head, &lab.arena);
    *state = &lab;
    return 0;
}

static int teardown(void **state) {
    struct lab *lab = *state;
    arena_fini(&lab->arena);
    pool_fini(&lab->chunks);
    return 0;
}

static void add(struct lab *lab, const char *name, const char *value) {
    head_add(&lab->head, field_id_of(str_of(name)), str_of(name), str_of(value));
}

static const struct field *by_name(const struct lab *lab, const char *name) {
    for (uint32_t i = 0; i < lab->head.field_count; i++) {
        if (str_eq(lab->head.fields[i].name, str_of(name))) {
            return &lab->head.fields[i];
        }
    }
    fail_msg("no field %s", name);
    return NULL;
}

static void assert_dropped(const struct lab *lab, const char *name, bool dropped) {
    if (by_name(lab, name)->dropped != dropped) {
        fail_msg("%s is %sdropped", name, dropped ? "not " : "");
    }
}

/* The switch of field_id_of against the table: each row, in three writings, and near misses. */
static void every_field_is_found(void **state) {
    (void)state;
    for (unsigned id = FIELD_OTHER + 1; id < FIELD_COUNT; id++) {
        struct str text = field_text((enum field_id)id);
        char lower[40], upper[40], wrong[40];
        for (uint32_t i = 0; i < text.len; i++) {
            lower[i] = char_lower(text.p[i]);
            upper[i] = lower[i] >= 'a' && lower[i] <= 'z' ? (char)(lower[i] - 32) : lower[i];
        }
        assert_int_equal(field_id_of(text), id);
        assert_int_equal(field_id_of((struct str){lower, text.len}), id);
        assert_int_equal(field_id_of((struct str){upper, text.len}), id);
        for (uint32_t i = 0; i < text.len; i++) {
            memcpy(wrong, text.p, text.len);
            wrong[i] = '!';
            assert_int_equal(field_id_of((struct str){wrong, text.len}), FIELD_OTHER);
        }
        assert_int_equal(field_id_of((struct str){text.p, text.len - 1}), FIELD_OTHER);
    }
    assert_int_equal(field_id_of(STR("")), FIELD_OTHER);
    assert_int_equal(field_id_of(STR("X")), FIELD_OTHER);
    assert_int_equal(field_id_of(STR("Accept-Encoding")), FIELD_OTHER);
}

static void fields_are_found_in_order(void **state) {
    struct lab *lab = *state;
    for (int i = 0; i < 100; i++) {
        add(lab, "X-Filler", "x");
    }
    add(lab, "Via", "1.0 a");
    add(lab, "via", "1.1 b");
    add(lab, "Accept", "*/*");
    assert_null(head_find(&lab->head, FIELD_DATE));
    struct field *first = head_find(&lab->head, FIELD_VIA);
    assert_true(str_eq(first->value, STR("1.0 a")));
    struct field *second = head_find_next(&lab->head, first);
    assert_true(str_eq(second->value, STR("1.1 b")));
    assert_null(head_find_next(&lab->head, second));
    first->dropped = true;
    assert_ptr_equal(head_find(&lab->head, FIELD_VIA), second);
    head_drop(&lab->head, FIELD_VIA);
    assert_null(head_find(&lab->head, FIELD_VIA));
    assert_int_equal(lab->head.field_count, 103);
}

static void hop_by_hop_fields_go(void **state) {
    struct lab *lab = *state;
    add(lab, "Host", "a");
    add(lab, "X-Secret", "1");
    add(lab, "x-other", "2");
    add(lab, "Cookie", "c");
    add(lab, "Authorization", "d");
    add(lab, "Content-Length", "5");
    add(lab, "X-Forwarded-For", "1.2.3.4");
    add(lab, "Connection", "close, connection, X-Secret");
    add(lab, "connection", "X-OTHER ,cookie, Host, authorization,content-length, x-forwarded-for");
    add(lab, "Keep-Alive", "timeout=5");
    add(lab, "Proxy-Connection", "keep-alive");
    add(lab, "TE", "gzip");
    add(lab, "Transfer-Encoding", "chunked");
    add(lab, "Upgrade", "websocket");
    add(lab, "HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA");
    add(lab, "Trailer", "X-Sum");
    add(lab, "Sec-WebSocket-Key", "k");
    head_drop_hop_by_hop(&lab->head);
    static const char *const gone[] = {"X-Secret", "x-other", "Connection", "connection",
                                       "Keep-Alive", "Proxy-Connection", "TE",
                                       "Transfer-Encoding", "Upgrade", "HTTP2-Settings"};
    static const char *const kept[] = {"Host", "Cookie", "Authorization", "Content-Length",
                                       "X-Forwarded-For", "Trailer", "Sec-WebSocket-Key"};
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) {
        assert_dropped(lab, gone[i], true);
    }
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        assert_dropped(lab, kept[i], false);
    }
}

static void methods_that_repeat(void **state) {
    (void)state;
    assert_true(method_idempotent(METHOD_GET) && method_idempotent(METHOD_PUT));
    assert_false(method_idempotent(METHOD_POST) || method_idempotent(METHOD_PATCH) ||
                 method_idempotent(METHOD_OTHER) || method_idempotent(METHOD_NONE));
}

static void reasons(void **state) {
    (void)state;
    assert_true(str_eq(status_reason(404), STR("Not Found")));
    assert_int_equal(status_reason(599).len, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_found),
        cmocka_unit_test_setup_teardown(fields_are_found_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(hop_by_hop_fields_go, setup, teardown),
        cmocka_unit_test(methods_that_repeat),
        cmocka_unit_test(reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
