/* The access log: one line an exchange, gathered per ring, appended without ever waiting. */
#include <errno.h>
#include <limits.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/memory.h"
#include "exchange/accesslog_priv.h"

/* The longest line, which a pipe takes in one piece (PIPE_BUF). */
#define LINE_MAX_BYTES 4096u
/* A line waits for no longer; or until half of its buffer is full, as each write is a thread's that
 * io_uring wakes (files that are written to can make whoever writes wait). Writes of 32 KiB to
 * 256 KiB can not be told from each other by what a request takes. */
#define FLUSH_MS 200u

/* --- Writing ------------------------------------------------------------------------------ */

static void write_start(struct accesslog *log);

/* --- Lines that are lost ------------------------------------------------------------------ */

/* Those of all rings, since it was last said. */
static _Atomic uint64_t lost_count;
static struct log_limit lost_said;

static const char *lost_why(const struct accesslog *log) {
    return log->why != 0     ? strerror(log->why)
           : log->whole_lines ? "nobody reads it"
                              : "they came faster than its file takes them";
}

static void lost_say(const struct accesslog *log, const char *more) {
    unsigned long long count = atomic_exchange(&lost_count, 0);
    if (count > 0) {
        log_warn("access log: %llu line%s dropped: %s%s", count, count == 1 ? "" : "s",
                 lost_why(log), more);
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
    if (off == log->writing.len) {
        return;
    }
    const char *bytes = log->writing.bytes;
    uint32_t lost = lines_in(bytes + (off > 0 ? off : 1), bytes + log->writing.len);
    log->torn = off == 0 || bytes[off - 1] != '\n';
    lost -= log->torn && off > 0 && bytes[off] == '\n';   /* it will get that one yet */
    log->writing_off = log->writing.len;
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

static bool half_is_full(const struct accesslog *log) {
    return log->filling.len >= log->filling.size / 2;
}

/* Not what has come while this was written: there is always some of it on a busy ring. */
static bool more_is_due(const struct accesslog *log) {
    return log->writing_off < log->writing.len || log->due || log->next_fd >= 0 ||
           half_is_full(log);
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
    uint32_t left = log->writing.len - log->writing_off;
    if (!log->whole_lines || left <= PIPE_BUF) {
        return left;
    }
    const char *from = log->writing.bytes + log->writing_off;
    const char *last = memrchr(from, '\n', PIPE_BUF);
    return last != NULL ? (uint32_t)(last - from) + 1 : PIPE_BUF;
}

static void write_start(struct accesslog *log) {
    if (log->fd < 0 || !op_idle(&log->write)) {
        log->due = true;
        return;
    }
    if (log->writing_off == log->writing.len) {
        log->due = false;
        take_next(log);
        struct accesslog_buffer empty = {log->writing.bytes, log->writing.size, 1};
        log->writing = log->filling;
        /* Every buffer begins with a newline, which goes along after a line that has none. */
        log->writing_off = log->torn && log->writing.len > 1 ? 0 : 1;
        log->torn = log->torn && log->writing_off == 1;
        log->filling = empty;
    }
    if (log->writing.len > log->writing_off) {
        op_write(log->ring, &log->write, log->fd, log->writing.bytes + log->writing_off,
                 write_len(log));
    }
}

static void flush_fired(struct timer *timer) {
    write_start(container_of(timer, struct accesslog, flush));
}

bool accesslog_flush(struct accesslog *log) {
    write_start(log);
    return log->fd < 0 ||
           (op_idle(&log->write) && log->filling.len == 1 && log->writing_off == log->writing.len);
}

void accesslog_abandon(struct accesslog *log) {
    if (log->fd < 0) {
        return;
    }
    uint32_t lost = lines_in(log->filling.bytes + 1, log->filling.bytes + log->filling.len);
    log->filling.len = 1;
    if (lost > 0) {
        lost_add(log, lost, 0);
    }
    if (op_idle(&log->write)) {
        write_failed(log, 0);
    }
    op_cancel(log->ring, &log->write);
}

/* --- Buffers ------------------------------------------------------------------------------ */

static struct accesslog_buffer buffer_make(void) {
    struct accesslog_buffer b = {mem_alloc(ACCESSLOG_BYTES_MIN), ACCESSLOG_BYTES_MIN, 1};
    b.bytes[0] = '\n';
    return b;
}

/* There are none for a log that is off, or could not be opened yet. */
static void buffers_make(struct accesslog *log) {
    if (log->fd >= 0 && log->filling.bytes == NULL) {
        log->filling = buffer_make();
        log->writing = buffer_make();
        log->writing_off = 1;
    }
}

static bool buffer_resize(struct accesslog_buffer *b, uint32_t size) {
    char *bytes = fault_hit(FAULT_LOG) ? NULL : mem_regrow(b->bytes, size);
    if (bytes == NULL) {
        return false;
    }
    b->bytes = bytes;
    b->size = size;
    return true;
}

/* For one line more. Memory that is not pressed has room for twice as much. */
static bool buffer_has_room(struct accesslog_buffer *b) {
    return b->len + LOGLINE_ROOM <= b->size ||
           (b->size < ACCESSLOG_BYTES_MAX && !memory_is_pressed() && buffer_resize(b, 2 * b->size));
}

static void buffer_trim(struct accesslog_buffer *b) {
    if (b->size > ACCESSLOG_BYTES_MIN && b->len <= ACCESSLOG_BYTES_MIN / 2) {
        (void)buffer_resize(b, ACCESSLOG_BYTES_MIN);
    }
}

void accesslog_trim(struct accesslog *log) {
    buffer_trim(&log->filling);
    bool written = op_idle(&log->write) && log->writing_off == log->writing.len;
    if (written && log->writing.size > ACCESSLOG_BYTES_MIN) {
        log->writing.len = log->writing_off = 1;
        buffer_trim(&log->writing);
    }
}

/* --- Its life ----------------------------------------------------------------------------- */

void accesslog_init(struct accesslog *log, struct ring *ring, int fd, bool owned,
                    bool whole_lines) {
    *log = (struct accesslog){.ring = ring, .fd = fd, .next_fd = -1, .owned = owned,
                              .whole_lines = whole_lines};
    op_init(&log->write, accesslog_done);
    timer_init(&log->flush, flush_fired);
    buffers_make(log);
}

void accesslog_reopen(struct accesslog *log, int fd) {
    if (log->next_fd >= 0) {
        (void)sys_close(log->next_fd);
    }
    log->next_fd = fd;
    if (log->fd < 0) {
        take_next(log);   /* nothing is in flight: the first one could not be opened */
        buffers_make(log);
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
    mem_free(log->filling.bytes);
    mem_free(log->writing.bytes);
}

/* --- Lines -------------------------------------------------------------------------------- */

void accesslog_write(struct accesslog *log, const struct exchange *e) {
    if (log->fd < 0) {
        /* Off; or a file that could not be opened. */
        stats_add(ring_stats(log->ring), STAT_LOG_DROPPED, log->owned ? 1 : 0);
        return;
    }
    if (!buffer_has_room(&log->filling)) {
        lost_add(log, 1, 0);
        return;
    }
    uint32_t len = logline_put(log->filling.bytes + log->filling.len, &log->time, e);
    ensure(len <= LINE_MAX_BYTES);
    log->filling.len += len;
    if (half_is_full(log) && log->writing_off == log->writing.len) {
        write_start(log);
    }
    if (!timer_armed(&log->flush)) {
        timer_arm(log->ring, &log->flush, FLUSH_MS);
    }
}
