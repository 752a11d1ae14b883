/* What gyre says to its operator while a test runs. */
#ifndef GYRE_TESTS_SCRIPT_SAID_H
#define GYRE_TESTS_SCRIPT_SAID_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static struct {
    int was, file;
    bool left;                 /* a test has failed and left its world behind */
} said;

/* What was said goes where it would have gone. */
static inline void said_tell(void) {
    char part[4096];
    ssize_t len;
    for (off_t at = 0; (len = pread(said.file, part, sizeof part, at)) > 0; at += len) {
        (void)!write(said.was, part, (size_t)len);
    }
    dup2(said.was, STDERR_FILENO);
    said.left = true;
}

static inline void said_aborts(int signum) {
    (void)signum;
    said_tell();
    _exit(1);
}

static inline void said_begin(void) {
    if (said.left) {
        fflush(stdout);
        _exit(1);
    }
    signal(SIGABRT, said_aborts);
    said.was = dup(STDERR_FILENO);
    said.file = memfd_create("said", 0);
    assert_true(said.was >= 0 && said.file >= 0);
    dup2(said.file, STDERR_FILENO);
    log_init(false);
}

/* Lines so far that hold the text. */
static inline uint32_t said_count(const char *text) {
    static char all[1 << 20];
    ssize_t len = pread(said.file, all, sizeof all - 1, 0);
    assert_true(len >= 0 && len < (ssize_t)sizeof all - 1);
    all[len] = '\0';
    uint32_t count = 0;
    for (char *line = all; *line != '\0';) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        count += strstr(line, text) != NULL;
        line = end + 1;
    }
    return count;
}

static inline void said_end(void) {
    dup2(said.was, STDERR_FILENO);
    close(said.was);
    close(said.file);
    log_init(false);
    said.was = -1;
    signal(SIGABRT, SIG_DFL);
}

/* A teardown. After a test that has failed there is no other. */
static inline int said_failed(void **state) {
    (void)state;
    if (said.was > 0) {
        said_tell();
    }
    return 0;
}

#endif
