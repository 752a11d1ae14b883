/* The access log: one line an exchange, gathered per ring, appended without ever waiting. */
#include <errno.h>
#include <limits.h>

#include "base/log.h"
#include "base/mem.h"
#include "exchange/accesslog_priv.h"

/* The longest line, which a pipe takes in one piece (PIPE_BUF). */
#define LINE_MAX_BYTES 4096u
/* So much is worth a write: each is a thread's that io_uring wakes, as files that are written to
 * can make whoever writes wait, and most of what it takes does not depend on its length. */
#define BATCH_BYTES 262144u
/* Or a line that has waited for so long. */
#define FLUSH_MS 200u

/* --- Writing ------------------------------------------------------------------------------ */

static void write_start(struct accesslog *log);

/* --- Lines that are lost ------------------------------------------------------------------ */

/* Those of all rings, since it was last said. */
static _Atomic uint64_t lost_count;
static struct log_limit lost_said;

static void lost_say(const struct accesslog *log, const char *more) {
    unsigned long long count = atomic_exchange(&lost_count, 0);
    if (count > 0) {
        log_warn("access log: %llu line%s dropped: %s%s", count, count == 1 ? "" : "s",
                 log->why == 0 ? "nobody reads it" : strerror(log->why), more);
    }
}

static void lost_tell(const struct accesslog *log, bool again) {
    uint32_t held;
    if (atomic_load(&lost_count) > 0 &&
        log_limit_pass(&lost_said, ring_now_ms(log->ring), &held)) {
        lost_say(log, again ? "; it can be written again" : "");
    }
}

static void lost_add(struct accesslog *log, uint32_t lines, int why) {
    stats_add(ring_stats(log->ring), STAT_LOG_DROPPED, lines);
    atomic_fetch_add(&lost_count, lines);
    log->why = why;
    lost_tell(log, false);
}

static uint32_t lines_in(const char *from, const char *to) {
    uint32_t count = 0;
    for (; from < to; from++) {
        count += *from == '\n';
    }
    return count;
}

/* No space, or a pipe without a reader: what is in hand is given up; what comes later is tried
 * anew, so that the log goes on by itself. */
static void write_failed(struct accesslog *log, int err) {
    uint32_t off = log->writing_off;
    if (off == log->writing_len) {
        return;
    }
    uint32_t lost = lines_in(log->writing + (off > 0 ? off : 1), log->writing + log->writing_len);
    log->torn = off == 0 || log->writing[off - 1] != '\n';
    lost -= log->torn && off > 0 && log->writing[off] == '\n';   /* it will get that one yet */
    log->writing_off = log->writing_len;
    lost_add(log, lost, err);
}

static void take_next(struct accesslog *log) {
    if (log->next_fd < 0) {
        return;
    }
    if (log->owned && log->fd >= 0) {
        (void)sys_close(log->fd);
    }
    log->fd = log->next_fd;
    log->next_fd = -1;
    log->owned = true;
    log->torn = false;
}

/* Not what has come while this was written: there is always some of it on a busy ring. */
static bool more_is_due(const struct accesslog *log) {
    return log->writing_off < log->writing_len || log->due || log->next_fd >= 0 ||
           log->filling_len >= BATCH_BYTES;
}

static void accesslog_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)seg;
    (void)armed;
    struct accesslog *log = container_of(op, struct accesslog, write);
    if (res > 0) {
        log->writing_off += (uint32_t)res;
        lost_tell(log, true);
    } else if (res == -EAGAIN) {
        /* Full, and non-blocking, as somebody else has made it who shares it with us: nothing tells
         * of its room, so it is asked again now and then. */
        timer_arm(log->ring, &log->flush, FLUSH_MS);
        return;
    } else if (res != -EINTR) {
        write_failed(log, res == 0 ? EIO : res == -ECANCELED ? 0 : -res);
    }
    if (more_is_due(log)) {
        write_start(log);
    }
}

/* How much goes into one write: all of it, or as many whole lines as a pipe takes at once without
 * mixing them with those of other rings. */
static uint32_t write_len(const struct accesslog *log) {
    uint32_t left = log->writing_len - log->writing_off;
    if (!log->whole_lines || left <= PIPE_BUF) {
        return left;
    }
    const char *from = log->writing + log->writing_off;
    const char *last = memrchr(from, '\n', PIPE_BUF);
    return last != NULL ? (uint32_t)(last - from) + 1 : PIPE_BUF;
}

static void write_start(struct accesslog *log) {
    if (log->fd < 0 || !op_idle(&log->write)) {
        log->due = true;
        return;
    }
    if (log->writing_off == log->writing_len) {
        log->due = false;
        take_next(log);
        char *empty = log->writing;
        log->writing = log->filling;
        log->writing_len = log->filling_len;
        /* Every buffer begins with a newline, which goes along after a line that has none. */
        log->writing_off = log->torn && log->writing_len > 1 ? 0 : 1;
        log->torn = log->torn && log->writing_off == 1;
        log->filling = empty;
        log->filling_len = 1;
    }
    if (log->writing_len > log->writing_off) {
        op_write(log->ring, &log->write, log->fd, log->writing + log->writing_off,
                 write_len(log));
    }
}

static void flush_fired(struct timer *timer) {
    write_start(container_of(timer, struct accesslog, flush));
}

bool accesslog_flush(struct accesslog *log) {
    write_start(log);
    return log->fd < 0 ||
           (op_idle(&log->write) && log->filling_len == 1 && log->writing_off == log->writing_len);
}

void accesslog_abandon(struct accesslog *log) {
    if (log->fd < 0) {
        return;
    }
    uint32_t lost = lines_in(log->filling + 1, log->filling + log->filling_len);
    log->filling_len = 1;
    if (lost > 0) {
        lost_add(log, lost, 0);
    }
    if (op_idle(&log->write)) {
        write_failed(log, 0);
    }
    op_cancel(log->ring, &log->write);
}

/* There are none for a log that is off, or could not be opened yet. */
static void accesslog_buffers(struct accesslog *log) {
    if (log->fd >= 0 && log->filling == NULL) {
        log->filling = mem_alloc(ACCESSLOG_BYTES);
        log->writing = mem_alloc(ACCESSLOG_BYTES);
        log->filling[0] = log->writing[0] = '\n';
        log->filling_len = log->writing_len = log->writing_off = 1;
    }
}

void accesslog_init(struct accesslog *log, struct ring *ring, int fd, bool owned,
                    bool whole_lines) {
    *log = (struct accesslog){.ring = ring, .fd = fd, .next_fd = -1, .owned = owned,
                              .whole_lines = whole_lines};
    op_init(&log->write, accesslog_done);
    timer_init(&log->flush, flush_fired);
    accesslog_buffers(log);
}

void accesslog_reopen(struct accesslog *log, int fd) {
    if (log->next_fd >= 0) {
        (void)sys_close(log->next_fd);
    }
    log->next_fd = fd;
    if (log->fd < 0) {
        take_next(log);   /* nothing is in flight: the first one could not be opened */
        accesslog_buffers(log);
    }
    write_start(log);
}

void accesslog_fini(struct accesslog *log) {
    ensure(op_idle(&log->write));
    timer_cancel(log->ring, &log->flush);
    lost_say(log, "");
    take_next(log);
    if (log->owned && log->fd >= 0) {
        (void)sys_close(log->fd);
    }
    mem_free(log->filling);
    mem_free(log->writing);
}

/* --- Lines -------------------------------------------------------------------------------- */

void accesslog_write(struct accesslog *log, const struct exchange *e) {
    if (log->fd < 0) {
        /* Off; or a file that could not be opened. */
        stats_add(ring_stats(log->ring), STAT_LOG_DROPPED, log->owned ? 1 : 0);
        return;
    }
    if (log->filling_len + LOGLINE_ROOM > ACCESSLOG_BYTES) {
        lost_add(log, 1, 0);
        return;
    }
    uint32_t len = logline_put(log->filling + log->filling_len, &log->time, e);
    ensure(len <= LINE_MAX_BYTES);
    log->filling_len += len;
    if (log->filling_len >= BATCH_BYTES && log->writing_off == log->writing_len) {
        write_start(log);
    }
    if (!timer_armed(&log->flush)) {
        timer_arm(log->ring, &log->flush, FLUSH_MS);
    }
}
