/* conf: the reference and the sample come from the table and can not grow stale. */
#include "conf_lab.h"

#include <stdio.h>

#include "base/str.h"

static const char *const keys[] = {
#define KEY(section, key, ...) #key,
#define SERVER_KEY(key, ...) #key,
#include "conf/keys.def"
};
#define KEYS (sizeof(keys) / sizeof(*keys))

static char *printed(void (*print)(FILE *)) {
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    print(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static char *file_text(const char *path) {
    char *text = mem_zero(65536);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t len = fread(text, 1, 65535, file);
    assert_in_range(len, 1, 65534);
    fclose(file);
    return text;
}

/* After a change of keys.def: gyre --doc sample >conf/gyre.ini */
static void test_sample_is_fresh(void **state) {
    (void)state;
    char *made = printed(conf_doc_sample), *kept = file_text(GYRE_SOURCE_DIR "/conf/gyre.ini");
    assert_string_equal(made, kept);
    free(made);
    mem_free(kept);
}

static void test_sample_loads(void **state) {
    (void)state;
    struct conf_errors errors = {0};
    struct conf *conf = conf_load(GYRE_SOURCE_DIR "/conf/gyre.ini", &errors);
    assert_non_null(conf);
    assert_int_equal(conf->listener_count, 1);
    assert_int_equal(conf->backend_count, 1);
    assert_int_equal(conf->route_count, 0);
    conf_free(conf);
}

/* What it shows commented out is right as well, and all that is there. */
static void test_sample_whole(void **state) {
    (void)state;
    char *text = printed(conf_doc_sample);
    size_t seen = 0;
    for (char *line = text; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_in_range(end - line, 0, 78);
        if (*line == ';') {
            *line = ' ';
        }
        struct str body = str_trim((struct str){line, (uint32_t)(end - line)});
        for (size_t i = 0; i < KEYS; i++) {
            struct str name = str_of(keys[i]);
            seen += str_starts(body, name) && strncmp(body.p + name.len, " = ", 3) == 0;
        }
        line = end + 1;
    }
    assert_true(seen >= KEYS);
    struct conf *conf = lab_good(text);
    assert_int_equal(conf->route_count, 1);
    assert_string_equal(conf->global.user, "gyre");
    assert_int_equal(conf->listeners[0].certificate.count, 1);
    conf_free(conf);
    free(text);
}

static void test_reference(void **state) {
    (void)state;
    char *text = printed(conf_doc_keys), row[128];
    const char *at = text;
    for (size_t i = 0; i < KEYS; i++) {   /* in the order of the table */
        snprintf(row, sizeof(row), "\n| `%s` | ", keys[i]);
        at = strstr(at, row);
        if (at == NULL) {
            fail_msg("no row for %s", keys[i]);
        }
        const char *end = strchr(at + 1, '\n');
        size_t bars = 0;
        for (const char *c = at; c < end; c++) {
            bars += *c == '|';
        }
        assert_int_equal(bars, 5);
    }
    assert_non_null(strstr(text, "\n| `idle_timeout` | time from 1ms to 1d | `75s` | For a conn"));
    assert_non_null(strstr(text, "\n| `max_body` | size from 0 to 1024g | `1g` | Bytes of a req"));
    assert_non_null(strstr(text, "\n| `bind` | list of addresses | needed | "));
    assert_non_null(strstr(text, "\n| `user` | name | none | "));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample_is_fresh),
        cmocka_unit_test(test_sample_loads),
        cmocka_unit_test(test_sample_whole),
        cmocka_unit_test(test_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
