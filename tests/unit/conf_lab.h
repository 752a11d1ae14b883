/* What the tests of conf share: a text that must load, and one whose errors must be these. */
#ifndef GYRE_TESTS_CONF_LAB_H
#define GYRE_TESTS_CONF_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "conf/conf.h"

/* What a text needs to be whole; tests put their lines before, behind or into it. */
#define LAB_BACKEND "[backend app]\nserver = 127.0.0.1:8001\n"
#define LAB_LISTENER "[listener web]\nbind = :80\nbackend = app\n"

/* The errors, a line each; the caller frees it. */
static inline char *lab_errors(const struct conf_errors *errors) {
    size_t len = 0;
    char *all = mem_copy("", 0);
    for (uint32_t i = 0; i < errors->count; i++) {
        size_t more = strlen(errors->text[i]);
        all = mem_grow(all, len + more + 2);
        memcpy(all + len, errors->text[i], more);
        memcpy(all + len + more, "\n", 2);
        len += more + 1;
    }
    return all;
}

/* The text in memory of just its size, so that the sanitizer sees a read past it. */
static inline struct conf *lab_load(const char *text, struct conf_errors *errors) {
    char *exact = mem_copy(text, strlen(text));
    struct conf *conf = conf_load_text("t", exact, errors);
    mem_free(exact);
    return conf;
}

static inline struct conf *lab_good(const char *text) {
    struct conf_errors errors = {0};
    struct conf *conf = lab_load(text, &errors);
    char *said = lab_errors(&errors);
    if (conf == NULL || errors.count != 0) {
        fail_msg("%s\nwas refused: %s", text, said);
    }
    mem_free(said);
    conf_errors_fini(&errors);
    return conf;
}

/* Takes the errors' memory. */
static inline void lab_said(struct conf *conf, struct conf_errors *errors, const char *expected) {
    char *said = lab_errors(errors);
    assert_null(conf);
    assert_string_equal(said, expected);
    mem_free(said);
    conf_errors_fini(errors);
}

static inline void lab_bad(const char *text, const char *expected) {
    struct conf_errors errors = {0};
    struct conf *conf = lab_load(text, &errors);
    lab_said(conf, &errors, expected);
}

/* One line in the section that it belongs to, as line 2 of an otherwise good text. */
static inline char *lab_line(const char *section, const char *line) {
    static char text[8192];
    const char *listener = "", *backend = "";
    if (strcmp(section, "listener") != 0) {
        listener = LAB_LISTENER;
    } else if (strstr(line, "bind") == NULL) {
        listener = "bind = :80\nbackend = app\n";
    } else {
        listener = "backend = app\n";
    }
    if (strcmp(section, "backend") != 0) {
        backend = LAB_BACKEND;
    } else if (strstr(line, "server") == NULL) {
        backend = "server = 127.0.0.1:8001\n";
    }
    bool is_backend = strcmp(section, "backend") == 0;
    const char *name = is_backend                         ? " app"
                       : strcmp(section, "listener") == 0 ? " web"
                       : strcmp(section, "route") == 0    ? " r"
                                                          : "";
    const char *rest = strcmp(section, "route") == 0 && strstr(line, "backend") == NULL
                           ? "backend = app\n" : "";
    int len = snprintf(text, sizeof(text), "[%s%s]\n%s\n%s%s%s", section, name, line, rest,
                       is_backend ? backend : listener, is_backend ? listener : backend);
    assert_in_range(len, 1, sizeof(text) - 1);
    return text;
}

static inline struct conf *lab_line_good(const char *section, const char *line) {
    return lab_good(lab_line(section, line));
}

/* expected without its "t:2: " and newline. */
static inline void lab_line_bad(const char *section, const char *line, const char *expected) {
    char all[2048];
    int len = snprintf(all, sizeof(all), "t:2: %s\n", expected);
    assert_in_range(len, 1, sizeof(all) - 1);
    lab_bad(lab_line(section, line), all);
}

#endif
