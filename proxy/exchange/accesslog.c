/* The access log: one line an exchange, gathered per ring, appended without ever waiting. */
#include <errno.h>
#include <limits.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "exchange/exchange_priv.h"

/* The longest line, which a pipe takes in one piece (PIPE_BUF). What a client sent is bounded as it
 * is written, escapes and all, so that the fields behind it are always there. */
#define LINE_MAX_BYTES 4096u
#define REQUEST_MAX_BYTES 1500u
#define FIELD_MAX_BYTES 700u
/* A line is in the file at most so late. */
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
    write_start(log);
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
        return;
    }
    if (log->writing_off == log->writing_len) {
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

/* --- The line ----------------------------------------------------------------------------- */

/* Nothing that a client sent may end a line or a quoted field, or be taken for an escape. What does
 * not fit into max bytes is cut, and marked in a way that nobody can send. */
static void text_quoted(struct text *text, struct str s, uint32_t max) {
    static const char digits[] = "0123456789abcdef";
    static const struct str mark = {"\\...", 4};
    uint32_t end = text->len + max - mark.len;
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool escape = c < 0x20 || c == '"' || c == '\\' || c >= 0x7f;
        if (text->len + (escape ? 4 : 1) > end) {
            text_str(text, mark);
            return;
        }
        if (escape) {
            char escaped[4] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
            text_str(text, (struct str){escaped, 4});
        } else {
            text_char(text, (char)c);
        }
    }
}

static void text_field(struct text *text, const struct head *head, enum field_id id) {
    struct field *f = head != NULL ? head_find(head, id) : NULL;
    text_str(text, STR(" \""));
    if (f == NULL) {
        text_char(text, '-');
    } else {
        text_quoted(text, f->value, FIELD_MAX_BYTES);
    }
    text_char(text, '"');
}

static void text_ms(struct text *text, const char *name, uint64_t us) {
    text_fmt(text, " %s=%llu.%03llu", name, (unsigned long long)(us / 1000),
             (unsigned long long)(us % 1000));
}

/* [21/Nov/2026:09:30:00 +0000], made once a second. */
static void text_time(struct text *text, uint64_t wall_us) {
    static _Thread_local time_t made;
    static _Thread_local char line[40];
    time_t now = (time_t)(wall_us / 1000000);
    if (now != made || line[0] == '\0') {
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(line, sizeof line, " - - [%d/%b/%Y:%H:%M:%S +0000] \"", &tm);
        made = now;
    }
    text_str(text, str_of(line));
}

/* A refused request is shown as it came, as far as it came. */
static void text_request(struct text *text, const struct head *head) {
    if (head != NULL && head->refuse != 0 && head->line.len > 0) {
        text_quoted(text, head->line, REQUEST_MAX_BYTES);
    } else if (head != NULL && head->refuse == 0) {
        text_str(text, head->method_name);
        text_char(text, ' ');
        text_quoted(text, head->target, REQUEST_MAX_BYTES);
        text_str(text, head->minor == 0 ? STR(" HTTP/1.0") : STR(" HTTP/1.1"));
    } else {
        text_char(text, '-');
    }
}

/* How long the client had gyre alone: before a server was asked for, and after it was done. */
static uint64_t shielded_us(const struct exchange *e, uint64_t now) {
    if (e->asked_us == 0) {
        return 0;
    }
    uint64_t ended = e->lease.ended_us != 0 ? e->lease.ended_us : now;
    return e->asked_us - e->began_us + (now - ended);
}

static void text_times(struct text *text, const struct exchange *e) {
    uint64_t now = ring_now_us(e->room->ring);
    text_str(text, STR(" backend="));
    text_str(text, e->backend != NULL ? str_of(e->backend->name) : STR("-"));
    text_str(text, STR(" server="));
    text_str(text, str_of(lease_server_name(&e->lease)));
    text_ms(text, "queue_ms", e->lease.queued_us);
    text_ms(text, "connect_ms", e->connected_us);
    text_ms(text, "first_ms", e->first_us > e->began_us ? e->first_us - e->began_us : 0);
    text_ms(text, "shield_ms", shielded_us(e, now));
    text_ms(text, "total_ms", now > e->began_us ? now - e->began_us : 0);
    text_str(text, STR(" tries="));
    text_u64(text, e->lease.tries);
}

void accesslog_write(struct accesslog *log, const struct exchange *e) {
    if (log->fd < 0) {
        /* Off; or a file that could not be opened. */
        stats_add(ring_stats(log->ring), STAT_LOG_DROPPED, log->owned ? 1 : 0);
        return;
    }
    if (log->filling_len + LINE_MAX_BYTES > ACCESSLOG_BYTES) {
        write_start(log);
    }
    if (log->filling_len + LINE_MAX_BYTES > ACCESSLOG_BYTES) {
        lost_add(log, 1, 0);
        return;
    }
    struct text text = text_on(log->filling + log->filling_len, LINE_MAX_BYTES - 1);
    char printed[ADDR_TEXT_MAX];
    text_str(&text, str_of(endpoint_print(&e->client, printed)));
    text_time(&text, ring_wall_us(log->ring));
    text_request(&text, e->request);
    text_fmt(&text, "\" %u %llu", e->status != 0 ? e->status : 499u,
             (unsigned long long)e->down->tx_bytes);
    text_field(&text, e->request, FIELD_REFERER);
    text_field(&text, e->request, FIELD_USER_AGENT);
    text_times(&text, e);
    text_str(&text, STR(" close="));
    text_str(&text, str_of(close_word(e->why)));
    text_str(&text, STR(" why="));
    text_str(&text, str_of(refuse_word(e->refusal)));
    text_str(&text, STR(" id="));
    text_quoted(&text, e->id.len > 0 ? e->id : STR("-"), REQUEST_MAX_BYTES);
    ensure(!text.cut);
    text.p[text.len] = '\n';
    log->filling_len += text.len + 1;
    if (!timer_armed(&log->flush) && op_idle(&log->write)) {
        timer_arm(log->ring, &log->flush, FLUSH_MS);
    }
}
