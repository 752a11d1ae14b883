/* conf: what inih would read wrongly never reaches it, and lines are counted right. */
#include "conf_lab.h"

#include <stdio.h>
#include <unistd.h>

static void test_ends(void **state) {
    (void)state;
    conf_free(lab_good("[listener web]\r\nbind = :80\r\nbackend = app\r\n\r\n[backend app]\r\n"
                       "server = 127.0.0.1:1\r\n"));
    conf_free(lab_good("\xef\xbb\xbf" LAB_LISTENER LAB_BACKEND));
    conf_free(lab_good("\xef\xbb\xbf\n" LAB_LISTENER "[backend app]\nserver = 127.0.0.1:1"));
    conf_free(lab_good(LAB_LISTENER "[backend app]\nserver = 127.0.0.1:1 ; no newline"));
    lab_bad(LAB_LISTENER LAB_BACKEND "x\r", "t:6: neither [section] nor key = value\n");
    lab_bad(LAB_LISTENER LAB_BACKEND "\xef\xbb\xbf[global]",
            "t:6: neither [section] nor key = value\n");
    lab_bad("\xef\xbb\xbf", "t:1: there is no listener; write [listener NAME] and bind = :80 "
            "below it\n");
}

/* inih takes an indented line for more of the value above it. */
static void test_indented(void **state) {
    (void)state;
    struct conf *conf = lab_good("  [listener web]\n\tbind = :80\n  bind = :81\n    backend = app\n"
                                 " [backend app]\n   server = 127.0.0.1:1\n     weight = 5\n");
    assert_int_equal(conf->listeners[0].bind_count, 2);
    assert_int_equal(conf->backends[0].servers[0].weight, 5);
    conf_free(conf);
    lab_bad("[listener web]\nbind = :80,\n  :81\nbackend = app\n" LAB_BACKEND,
            "t:3: no key stands before the =\n");
    lab_bad("[listener web]\nbind = :80\nbackend = app\n[backend app]\nserver = 127.0.0.1:1\n"
            "  unix-app\n",
            "t:6: neither [section] nor key = value\n");
}

static void test_comments(void **state) {
    (void)state;
    struct conf *conf = lab_good("; a\n# b\n  ; c\n\t# d [global]\n;\n#\n" LAB_LISTENER
                                 "max_headers = 7 ; fewer\n" LAB_BACKEND
                                 "server = unix:/run/a;b\t; a path with a ;\n"
                                 "server = unix:/run/a#b\n");
    assert_int_equal(conf->listeners[0].max_headers, 7);
    assert_string_equal(conf->backends[0].servers[1].addr.sa.un.sun_path, "/run/a;b");
    assert_string_equal(conf->backends[0].servers[2].addr.sa.un.sun_path, "/run/a#b");
    conf_free(conf);
}

/* The first of = and : separates, as inih has it. */
static void test_colon(void **state) {
    (void)state;
    struct conf *conf = lab_good("[listener web]\nbind = [::1]:80\nbind=:81\nbackend: app\n"
                                 LAB_BACKEND);
    assert_int_equal(conf->listeners[0].bind_count, 2);
    conf_free(conf);
}

/* A line of `bytes` bytes: a path of that length less "access_log = ". */
static char *long_line(char *text, uint32_t bytes, const char *behind) {
    strcpy(text, "[global]\naccess_log = /");
    size_t at = strlen(text), len = strlen("[global]\n") + bytes;
    memset(text + at, 'x', len - at);
    strcpy(text + len, behind);
    return text;
}

static void test_long(void **state) {
    (void)state;
    char text[4096];
    const char *rest = "\nwat\n" LAB_LISTENER LAB_BACKEND;
    const char *bad = "t:2: the line is longer than 197 bytes; a list may go on in another line "
                      "with the same key\nt:3: neither [section] nor key = value\n";
    const char *fits = "t:3: neither [section] nor key = value\n";
    lab_bad(long_line(text, 197, rest), fits);
    lab_bad(long_line(text, 197, "\r\nwat\r\n" LAB_LISTENER LAB_BACKEND), fits);
    lab_bad(long_line(text, 197, "     \t   \nwat\n" LAB_LISTENER LAB_BACKEND), fits);
    static const uint32_t sizes[] = {198, 199, 200, 201, 250, 304, 395, 396, 397, 398, 399, 1000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        lab_bad(long_line(text, sizes[i], rest), bad);
    }
    /* The value is whole, and a long comment is none of inih's business. */
    struct conf *conf = lab_good(long_line(text, 197, "\n" LAB_LISTENER LAB_BACKEND));
    assert_int_equal(strlen(conf->global.access_log), 197 - 13);
    conf_free(conf);
    memset(text, ';', 1000);
    strcpy(text + 1000, "\nwat\n" LAB_LISTENER LAB_BACKEND);
    lab_bad(text, "t:2: neither [section] nor key = value\n");
}

static void test_not_text(void **state) {
    (void)state;
    lab_bad(LAB_LISTENER "max_head\x01 = 1k\nmax_head = 1k\x7f\nmax_head = 1k\rmax_body = 1\n"
            "[global\x1b]\n; \x01 in a comment\n" LAB_BACKEND,
            "t:4: the line holds a byte that is no text\n"
            "t:5: the line holds a byte that is no text\n"
            "t:6: the line holds a byte that is no text\n"
            "t:7: the line holds a byte that is no text\n");
}

/* NUL bytes come from files alone: a text ends with them. */
static void test_nul(void **state) {
    (void)state;
    static const char bytes[] = LAB_LISTENER "max_head = 1k\0\nmax_body\0= 1\n" LAB_BACKEND
                                "\0\n\0";
    char path[] = "/tmp/gyre-test-conf-XXXXXX", expected[512];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, sizeof(bytes) - 1), sizeof(bytes) - 1);
    close(fd);
    struct conf_errors errors = {0};
    struct conf *conf = conf_load(path, &errors);
    unlink(path);
    snprintf(expected, sizeof(expected),
             "%s:4: the line holds a byte that is no text\n"
             "%s:5: the line holds a byte that is no text\n"
             "%s:8: the line holds a byte that is no text\n"
             "%s:9: the line holds a byte that is no text\n", path, path, path, path);
    lab_said(conf, &errors, expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),     cmocka_unit_test(test_indented),
        cmocka_unit_test(test_comments), cmocka_unit_test(test_colon),
        cmocka_unit_test(test_long),     cmocka_unit_test(test_not_text),
        cmocka_unit_test(test_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
