/* base/log: the forms of a line, and that no reader of stderr can make gyre wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

static struct {
    int stderr_was, reader;
    char got[65536];
} t;

/* stderr becomes the write end of a pipe (or of a socket pair). */
static void capture(bool is_socket) {
    int fds[2];
    assert_int_equal(is_socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, fds) : pipe(fds), 0);
    t.stderr_was = dup(STDERR_FILENO);
    assert_true(t.stderr_was >= 0);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    close(fds[1]);
    t.reader = fds[0];
    log_init(false);
    assert_int_equal(fcntl(t.reader, F_SETFL, O_NONBLOCK), 0);
}

/* All that waits to be read. */
static const char *captured(void) {
    size_t len = 0;
    for (;;) {
        ssize_t n = read(t.reader, t.got + len, sizeof(t.got) - 1 - len);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    t.got[len] = '\0';
    return t.got;
}

static void restore(void) {
    assert_int_equal(dup2(t.stderr_was, STDERR_FILENO), STDERR_FILENO);
    close(t.stderr_was);
    if (t.reader >= 0) {
        close(t.reader);
    }
    unsetenv("JOURNAL_STREAM");
    log_init(false);
}

static void test_plain(void **state) {
    (void)state;
    capture(false);
    unsetenv("JOURNAL_STREAM");
    log_init(false);
    log_error("no %s in %d", "room", 7);
    log_warn("slow");
    log_info("up");
    const char *got = captured();
    restore();
    assert_string_equal(got, "gyre: error: no room in 7\ngyre: warning: slow\ngyre: up\n");
}

static void test_quiet(void **state) {
    (void)state;
    capture(false);
    log_init(true);
    log_error("a");
    log_warn("b");
    log_info("c");
    const char *got = captured();
    restore();
    assert_string_equal(got, "gyre: error: a\ngyre: warning: b\n");
}

/* The levels are written for the journal's own stream, and for no other that the variable is left
 * over for. */
static void test_journal(void **state) {
    (void)state;
    char name[64];
    struct stat st;
    capture(true);
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(name, sizeof(name), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", name, 1);
    log_init(false);
    log_error("a");
    log_warn("b");
    log_info("c");
    snprintf(name, sizeof(name), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino + 1);
    setenv("JOURNAL_STREAM", name, 1);
    log_init(false);
    log_info("d");
    setenv("JOURNAL_STREAM", "", 1);
    log_init(false);
    log_info("e");
    const char *got = captured();
    restore();
    assert_string_equal(got, "<3>a\n<4>b\n<6>c\ngyre: d\ngyre: e\n");
}

static void test_not_text(void **state) {
    (void)state;
    capture(false);
    log_info("GET /\r\n<3>forged\x1b[2J\x7f\t\xc3\xa9");
    const char *got = captured();
    restore();
    assert_string_equal(got, "gyre: GET /?" "?<3>forged?[2J?" "?\xc3\xa9\n");
}

static void test_long(void **state) {
    (void)state;
    char text[3000];
    memset(text, 'x', sizeof(text));
    size_t lengths[4];
    capture(false);
    for (int i = 0; i < 4; i++) {
        text[i == 0 ? 1017 : i == 1 ? 1018 : i == 2 ? 1024 : 2999] = '\0';
        log_info("%s", text);
        lengths[i] = strlen(captured());
        memset(text, 'x', sizeof(text));
    }
    restore();
    assert_int_equal(lengths[0], LOG_LINE_MAX);      /* "gyre: ", 1017, newline */
    for (int i = 1; i < 4; i++) {
        assert_int_equal(lengths[i], LOG_LINE_MAX);
    }
    assert_string_equal(t.got + LOG_LINE_MAX - 5, "x...\n");
}

static void reader_that_sleeps(bool is_socket) {
    char text[900];
    int saved;
    memset(text, 'y', sizeof(text));
    text[899] = '\0';
    capture(is_socket);
    log_init(false);
    for (int i = 0; i < 1000; i++) {   /* far more than a pipe or a socket holds */
        errno = 1234;
        log_info("%03d %s", i, text);
    }
    saved = errno;
    size_t lines = 0, whole = 0;
    for (const char *at = captured(); *at != '\0'; lines++) {
        const char *end = strchr(at, '\n');
        whole += end != NULL && (size_t)(end - at) == 6 + 4 + 899;
        at = end != NULL ? end + 1 : at + strlen(at);
    }
    log_info("awake");
    log_info("again");
    const char *got = captured();
    restore();
    char told[128];
    snprintf(told, sizeof(told),
             "gyre: warning: %zu lines of this log were dropped, as nobody read them\n"
             "gyre: awake\ngyre: again\n", 1000 - whole);
    assert_int_equal(saved, 1234);
    assert_true(lines > 10 && lines < 1000);
    assert_int_equal(lines, whole);
    assert_string_equal(got, told);
}

static void test_pipe_full(void **state) {
    (void)state;
    reader_that_sleeps(false);
}

static void test_socket_full(void **state) {
    (void)state;
    reader_that_sleeps(true);
}

/* A terminal that nobody reads takes parts of lines, and says that it is writable until it is full:
 * a blocking write would wait there. */
static void test_terminal_full(void **state) {
    (void)state;
    int master, slave;
    char text[900];
    memset(text, 'y', sizeof(text));
    text[899] = '\0';
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    t.stderr_was = dup(STDERR_FILENO);
    assert_int_equal(dup2(slave, STDERR_FILENO), STDERR_FILENO);
    log_init(false);
    alarm(20);                         /* that it comes back is the test */
    for (int i = 0; i < 1000; i++) {
        log_info("%03d %s", i, text);
    }
    assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);   /* the others' writes still wait */
    t.reader = master;
    assert_int_equal(fcntl(master, F_SETFL, O_NONBLOCK), 0);
    size_t torn = 0, lines = 0;
    for (int left = 1000; left > 0 && *captured() != '\0'; left--) {
        for (const char *at = t.got; (at = strstr(at, "gyre: ")) != NULL; at++) {
            lines++;
        }
    }
    log_info("awake");
    const char *got = captured();
    torn = strstr(got, "were dropped, as nobody read them\r\n") != NULL;
    const char *awake = strstr(got, "gyre: awake\r\n");
    alarm(0);
    restore();
    close(slave);
    assert_true(lines > 0 && lines < 1000);
    assert_int_equal(torn, 1);
    assert_non_null(awake);
}

static volatile bool filling;

static void *fill(void *arg) {
    char text[4096] = "";
    int fd = *(int *)arg;
    while (filling) {
        (void)!write(fd, text, sizeof(text));
    }
    return NULL;
}

/* Another process writes to the same pipe, and may fill it between our look and our line. */
static void test_shared_pipe_full(void **state) {
    (void)state;
    char text[900];
    pthread_t other;
    memset(text, 'y', sizeof(text));
    text[899] = '\0';
    capture(false);
    int shared = dup(STDERR_FILENO);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", shared);
    int theirs = open(path, O_WRONLY | O_NONBLOCK);
    assert_true(theirs >= 0);
    filling = true;
    assert_int_equal(pthread_create(&other, NULL, fill, &theirs), 0);
    alarm(20);
    for (int i = 0; i < 20000; i++) {
        char some[4096];
        log_info("%03d %s", i, text);
        if (i % 16 == 0) {
            (void)!read(t.reader, some, sizeof(some));
        }
    }
    alarm(0);
    filling = false;
    pthread_join(other, NULL);
    char some[4096];
    while (read(t.reader, some, sizeof(some)) > 0) {
    }
    log_info("awake");
    const char *got = captured();
    const char *awake = strstr(got, "gyre: awake\n");
    bool told = strstr(got, "lines of this log were dropped") != NULL;
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
    restore();
    close(shared);
    close(theirs);
    assert_non_null(awake);
    assert_true(told);
}

/* The default of SIGPIPE ends the process: were the line written, this test would not come back. */
static void test_reader_gone(void **state) {
    (void)state;
    void (*before)(int) = signal(SIGPIPE, SIG_DFL);
    capture(false);
    close(t.reader);
    t.reader = -1;
    log_error("nobody");
    close(STDERR_FILENO);
    log_error("closed");
    restore();
    capture(false);
    log_info("back");
    const char *got = captured();
    restore();
    signal(SIGPIPE, before);
    assert_string_equal(
        got, "gyre: warning: 2 lines of this log were dropped, as nobody read them\ngyre: back\n");
}

static void *shout(void *name) {
    for (int i = 0; i < 100; i++) {
        log_info("%s %s", (const char *)name, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    pthread_t threads[4];
    static char names[4][2] = {"a", "b", "c", "d"};
    capture(false);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, shout, names[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    size_t lines = 0;
    const char *got = captured();
    restore();
    for (const char *at = got; *at != '\0'; lines++) {
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        assert_int_equal(end - at, 6 + 2 + 36);
        at = end + 1;
    }
    assert_int_equal(lines, 400);
}

static void test_limit(void **state) {
    (void)state;
    struct log_limit limit = {0};
    uint32_t held = 99;
    assert_true(log_limit_pass(&limit, 5, &held));
    assert_int_equal(held, 0);
    assert_false(log_limit_pass(&limit, 5, &held));
    assert_false(log_limit_pass(&limit, 1004, &held));
    assert_true(log_limit_pass(&limit, 1005, &held));
    assert_int_equal(held, 2);
    assert_true(log_limit_pass(&limit, 5000, &held));
    assert_int_equal(held, 0);
    assert_false(log_limit_pass(&limit, 5000, &held));
    assert_true(log_limit_pass(&limit, 100, &held));   /* a clock that began anew */
    assert_int_equal(held, 1);
}

static struct log_limit shared_limit;
static _Atomic uint32_t passes, held_sum;

static void *ask(void *arg) {
    (void)arg;
    for (uint64_t ms = 0; ms < 10000; ms++) {
        uint32_t held;
        if (log_limit_pass(&shared_limit, 5000 + ms, &held)) {
            passes++;
            held_sum += held;
        }
    }
    return NULL;
}

/* A limit that threads share passes once a second in all, and forgets none. */
static void test_limit_of_all(void **state) {
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask, NULL), 0);
        if (i == 0) {
            pthread_join(threads[0], NULL);
            assert_int_equal(passes, 10);
            shared_limit.next_ms = 0;
            passes = 0;
        }
    }
    for (int i = 1; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    held_sum += shared_limit.held;
    assert_true(passes >= 10);
    assert_int_equal(held_sum + passes + 10, 40000);
}

static void test_limited_warning(void **state) {
    (void)state;
    struct log_limit limit = {0};
    capture(false);
    for (uint64_t ms = 1; ms < 2500; ms++) {
        errno = 17;
        log_warn_limited(&limit, ms, "short of %s", "room");
        assert_int_equal(errno, 17);
    }
    const char *got = captured();
    restore();
    assert_string_equal(
        got, "gyre: warning: short of room\n"
             "gyre: warning: short of room (999 times more since the last such line)\n"
             "gyre: warning: short of room (999 times more since the last such line)\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),       cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_journal),     cmocka_unit_test(test_not_text),
        cmocka_unit_test(test_long),        cmocka_unit_test(test_pipe_full),
        cmocka_unit_test(test_socket_full), cmocka_unit_test(test_terminal_full),
        cmocka_unit_test(test_shared_pipe_full), cmocka_unit_test(test_reader_gone),
        cmocka_unit_test(test_threads),     cmocka_unit_test(test_limit),
        cmocka_unit_test(test_limit_of_all), cmocka_unit_test(test_limited_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
