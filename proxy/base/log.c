/* One line to stderr or the journal, without ever waiting for its reader. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

#define LIMIT_MS 1000u

static struct {
    pthread_mutex_t lock;   /* nobody waits inside it, so nobody waits long for it */
    bool journal, quiet;
    bool torn;              /* the last write was short: its line has no end */
    bool socket;
    bool own;               /* fd is a description of ours, and non-blocking */
    int fd;
    uint64_t dropped;       /* lines since the last one that was written */
} log_state = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO};

/* JOURNAL_STREAM names the device and inode of the stream that the service manager made; whoever
 * started us may have put something else there and kept the variable (systemd.exec(5)). */
static bool stderr_is_journal(void) {
    char name[64];
    struct stat st;
    const char *stream = getenv("JOURNAL_STREAM");
    if (stream == NULL || fstat(STDERR_FILENO, &st) != 0) {
        return false;
    }
    struct text t = text_on(name, sizeof(name));
    text_u64(&t, st.st_dev);
    text_char(&t, ':');
    text_u64(&t, st.st_ino);
    return str_eq((struct str){name, t.len}, str_of(stream));
}

/* Other processes may write to the same pipe or terminal, and a terminal says that it is writable
 * while a part of a line fits: only a non-blocking write is sure not to wait. O_NONBLOCK belongs to
 * the description that we share with them, so we open one of our own. Not of a file, whose offset
 * is shared and shall be. */
static void stderr_open(void) {
    struct stat st;
    int fd = -1;
    bool known = fstat(STDERR_FILENO, &st) == 0;
    if (log_state.own) {
        close(log_state.fd);
    }
    if (known && (S_ISFIFO(st.st_mode) || isatty(STDERR_FILENO))) {
        fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    }
    log_state.socket = known && S_ISSOCK(st.st_mode);
    log_state.own = fd >= 0;
    log_state.fd = fd >= 0 ? fd : STDERR_FILENO;
}

void log_init(bool quiet) {
    log_state.journal = stderr_is_journal();
    log_state.quiet = quiet;
    stderr_open();
}

/* poll(2) says of a pipe that it is writable when PIPE_BUF bytes fit, so that a line which is
 * shorter goes whole. POLLERR: its reader is gone, and writing would raise SIGPIPE. */
static bool stderr_has_room(void) {
    struct pollfd fd = {.fd = log_state.fd, .events = POLLOUT};
    return poll(&fd, 1, 0) == 1 && fd.revents == POLLOUT;
}

static ssize_t bytes_write(const char *p, size_t len) {
    return log_state.socket ? send(log_state.fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                            : write(log_state.fd, p, len);
}

static bool line_write(const char *p, size_t len) {
    if (!stderr_has_room()) {
        return false;
    }
    if (log_state.torn && bytes_write("\n", 1) != 1) {
        return false;
    }
    ssize_t written = bytes_write(p, len);
    log_state.torn = written > 0 && (size_t)written < len;
    return written == (ssize_t)len;
}

static size_t line_make(char line[LOG_LINE_MAX], enum log_level level, const char *fmt,
                        va_list args) {
    char message[LOG_LINE_MAX] = "";
    struct text t = text_on(line, LOG_LINE_MAX - 1);
    if (log_state.journal) {
        text_char(&t, '<');
        text_u64(&t, level);
        text_char(&t, '>');
    } else {
        text_str(&t, level == LOG_LEVEL_ERROR  ? STR("gyre: error: ")
                     : level == LOG_LEVEL_WARN ? STR("gyre: warning: ")
                                               : STR("gyre: "));
    }
    int len = vsnprintf(message, sizeof(message), fmt, args);
    bool cut = len < 0 || (size_t)len >= sizeof(message);
    uint32_t from = t.len;
    text_str(&t, str_of(message));
    for (uint32_t i = from; i < t.len; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    if (cut || t.cut) {
        memcpy(line + t.len - 3, "...", 3);
    }
    line[t.len] = '\n';
    return t.len + 1;
}

static void line_log(enum log_level level, const char *fmt, va_list args) {
    char line[LOG_LINE_MAX];
    int saved = errno;
    size_t len = line_make(line, level, fmt, args);
    if (!line_write(line, len)) {
        log_state.dropped++;
    }
    errno = saved;
}

static __attribute__((format(printf, 2, 3))) void told(enum log_level level, const char *fmt,
                                                       ...) {
    va_list args;
    va_start(args, fmt);
    line_log(level, fmt, args);
    va_end(args);
}

static void log_line(enum log_level level, const char *fmt, va_list args) {
    pthread_mutex_lock(&log_state.lock);
    uint64_t dropped = log_state.dropped;
    if (dropped != 0) {
        told(LOG_LEVEL_WARN, "%llu lines of this log were dropped, as nobody read them",
             (unsigned long long)dropped);
        /* Written: the count starts again. Dropped as well: it is no line of its own. */
        log_state.dropped = log_state.dropped == dropped ? 0 : dropped;
    }
    line_log(level, fmt, args);
    pthread_mutex_unlock(&log_state.lock);
}

void log_error(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    log_line(LOG_LEVEL_ERROR, fmt, args);
    va_end(args);
}

void log_warn(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    log_line(LOG_LEVEL_WARN, fmt, args);
    va_end(args);
}

void log_info(const char *fmt, ...) {
    va_list args;
    if (log_state.quiet) {
        return;
    }
    va_start(args, fmt);
    log_line(LOG_LEVEL_INFO, fmt, args);
    va_end(args);
}

/* A moment that is further ahead than a limit ever sets is of another clock (a test's world). */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint32_t *held) {
    uint64_t next = atomic_load(&limit->next_ms);
    if ((now_ms < next && next - now_ms <= LIMIT_MS) ||
        !atomic_compare_exchange_strong(&limit->next_ms, &next, now_ms + LIMIT_MS)) {
        atomic_fetch_add(&limit->held, 1);
        return false;
    }
    *held = atomic_exchange(&limit->held, 0);
    return true;
}

void log_warn_limited(struct log_limit *limit, uint64_t now_ms, const char *fmt, ...) {
    char message[LOG_LINE_MAX];
    uint32_t held;
    va_list args;
    if (!log_limit_pass(limit, now_ms, &held)) {
        return;
    }
    int saved = errno;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    errno = saved;
    if (held == 0) {
        log_warn("%s", message);
    } else {
        log_warn("%s (%u times more since the last such line)", message, held);
    }
}
