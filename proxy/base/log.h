/* What gyre says to its operator: stderr or the journal. */
#ifndef GYRE_BASE_LOG_H
#define GYRE_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6 };

/* Where stderr is the journal's stream each line starts with its <level> (sd-daemon(3)); else it
 * is plain text that starts with the program's name. quiet: no info. Called once, before threads;
 * before that log_* writes plain text. */
void log_init(bool quiet);

#define LOG_LINE_MAX 1024u   /* all of it; what is longer is cut and ends with ... */

/* One line, without newline. Bytes that are no text (a peer may have sent them) become ?. Safe
 * from any thread; never blocks: where the reader of stderr does not read, the line is dropped
 * and counted, and the count is told later. errno stays as it was. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* For what may happen ten thousand times a second: true at most once a second for each limit, with
 * the number of calls that were held back since in *held. now_ms is the ring's clock. All rings may
 * share one (a static one), so that the process says it once a second and not each of them. */
struct log_limit {
    _Atomic uint64_t next_ms;
    _Atomic uint32_t held;
};
bool log_limit_pass(struct log_limit *, uint64_t now_ms, uint32_t *held);
/* A warning within a limit; it says how many were held back since the last one. */
void log_warn_limited(struct log_limit *, uint64_t now_ms, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
