/* A line of the access log: what is the same for many of them is prepared, the rest is copied. */
#include <time.h>

#include "exchange/accesslog_priv.h"

/* What a client sent is bounded as it is written, escapes and all, so that the fields behind it are
 * always there. */
#define REQUEST_MAX_BYTES 1500u
#define FIELD_MAX_BYTES 700u
/* What is written without looking whether there is room comes to less than this: names, times (five
 * of at most 36 bytes), counts, and words of tables. */
#define NAMES_MAX_BYTES 2048u
#define METHOD_MAX_BYTES 32u
#define REST_MAX_BYTES 768u

/* As the names may be long together, no line is too long for the room before it is known to be. */
_Static_assert(2 * REQUEST_MAX_BYTES + 2 * FIELD_MAX_BYTES + NAMES_MAX_BYTES + REST_MAX_BYTES <=
               LOGLINE_ROOM, "there is room for the longest line");

/* --- Pieces: each writes to p and returns where it ends ----------------------------------- */

#define PUT(p, literal) \
    ((char *)memcpy((p), (literal), sizeof(literal) - 1) + (sizeof(literal) - 1))

static char *put_str(char *p, struct str s) {
    if (s.len > 0) {
        memcpy(p, s.p, s.len);
    }
    return p + s.len;
}

/* In milliseconds. Nobody waits, mostly. */
static char *put_us(char *p, uint64_t us) {
    if (us == 0) {
        return PUT(p, "0.000");
    }
    p = u64_put(p, us / 1000);
    *p = '.';
    return three_put(p + 1, (uint32_t)(us % 1000));
}

/* --- What a client sent ------------------------------------------------------------------- */

static bool is_escaped(unsigned char c) {
    return c < 0x20 || c == '"' || c == '\\' || c >= 0x7f;
}

/* The same of sixteen at once. Bytes from 0x80 on are negative. */
typedef int8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t halves16 __attribute__((vector_size(16)));

static halves16 escaped_of(const char *from) {
    bytes16 c;
    memcpy(&c, from, sizeof c);
    return (halves16)(c < 0x20) | (halves16)(c == '"') | (halves16)(c == '\\') |
           (halves16)(c == 0x7f);
}

static bool is_plain(struct str s) {
    if (s.len < sizeof(bytes16)) {
        bool found = false;
        for (uint32_t i = 0; i < s.len; i++) {
            found |= is_escaped((unsigned char)s.p[i]);
        }
        return !found;
    }
    const char *last = s.p + s.len - sizeof(bytes16);
    halves16 found = escaped_of(last);
    for (const char *from = s.p; from < last; from += sizeof(bytes16)) {
        found |= escaped_of(from);
    }
    return (found[0] | found[1]) == 0;
}

static const struct str cut_mark = {"\\...", 4};

static char *put_escaped(char *p, struct str s, uint32_t max) {
    static const char digits[] = "0123456789abcdef";
    const char *end = p + max - cut_mark.len;
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool escape = is_escaped(c);
        if (p + (escape ? 4 : 1) > end) {
            return put_str(p, cut_mark);
        }
        if (escape) {
            char escaped[4] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
            p = put_str(p, (struct str){escaped, 4});
        } else {
            *p++ = (char)c;
        }
    }
    return p;
}

/* Nothing that a client sent may end a line or a quoted field, or be taken for an escape. What does
 * not fit into max bytes is cut, and marked in a way that nobody can send. */
static char *put_quoted(char *p, struct str s, uint32_t max) {
    return s.len <= max - cut_mark.len && is_plain(s) ? put_str(p, s) : put_escaped(p, s, max);
}

static char *put_field(char *p, const struct head *head, enum field_id id) {
    struct field *f = head != NULL ? head_find(head, id) : NULL;
    p = PUT(p, " \"");
    p = f != NULL ? put_quoted(p, f->value, FIELD_MAX_BYTES) : PUT(p, "-");
    return PUT(p, "\"");
}

/* A refused request is shown as it came, as far as it came. */
static char *put_request(char *p, const struct head *head) {
    if (head != NULL && head->refuse != 0 && head->line.len > 0) {
        return put_quoted(p, head->line, REQUEST_MAX_BYTES);
    }
    if (head == NULL || head->refuse != 0) {
        return PUT(p, "-");
    }
    /* One that is known, so that it is short: another would have been refused. */
    ensure(head->method_name.len <= METHOD_MAX_BYTES);
    p = put_str(p, head->method_name);
    p = PUT(p, " ");
    p = put_quoted(p, head->target, REQUEST_MAX_BYTES);
    return head->minor == 0 ? PUT(p, " HTTP/1.0") : PUT(p, " HTTP/1.1");
}

/* --- The line ----------------------------------------------------------------------------- */

/* [21/Nov/2026:09:30:00 +0000], made once a second. */
static char *put_time(char *p, struct logline_time *time, uint64_t wall_us) {
    uint64_t second = wall_us / 1000000;
    if (second != time->second || time->len == 0) {
        time_t now = (time_t)second;
        struct tm tm;
        gmtime_r(&now, &tm);
        time->len = strftime(time->text, sizeof time->text,
                             " - - [%d/%b/%Y:%H:%M:%S +0000] \"", &tm);
        time->second = second;
    }
    memcpy(p, time->text, sizeof time->text);   /* a known size is copied without a call */
    return p + time->len;
}

/* How long the client had gyre alone: before a server was asked for, and after it was done. */
static uint64_t shielded_us(const struct exchange *e, uint64_t now) {
    if (e->asked_us == 0) {
        return 0;
    }
    uint64_t ended = e->lease.ended_us != 0 ? e->lease.ended_us : now;
    return e->asked_us - e->began_us + (now - ended);
}

static char *put_times(char *p, const struct exchange *e) {
    uint64_t now = ring_now_us(e->room->ring);
    p = put_us(PUT(p, " queue_ms="), e->lease.queued_us);
    p = put_us(PUT(p, " connect_ms="), e->connected_us);
    p = put_us(PUT(p, " first_ms="), e->first_us > e->began_us ? e->first_us - e->began_us : 0);
    p = put_us(PUT(p, " shield_ms="), shielded_us(e, now));
    return put_us(PUT(p, " total_ms="), now > e->began_us ? now - e->began_us : 0);
}

uint32_t logline_put(char *line, struct logline_time *time, const struct exchange *e) {
    const struct head *request = e->request;
    struct str backend = e->backend != NULL ? str_of(e->backend->name) : STR("-");
    struct str server = str_of(lease_server_name(&e->lease));
    ensure((uint64_t)backend.len + server.len <= NAMES_MAX_BYTES);
    char *p = endpoint_put(line, &e->client);
    p = put_time(p, time, ring_wall_us(e->room->ring));
    p = put_request(p, request);
    p = u64_put(PUT(p, "\" "), e->status != 0 ? e->status : 499u);
    p = u64_put(PUT(p, " "), e->down->tx_bytes);
    p = put_field(p, request, FIELD_REFERER);
    p = put_field(p, request, FIELD_USER_AGENT);
    p = put_str(PUT(p, " backend="), backend);
    p = put_str(PUT(p, " server="), server);
    p = put_times(p, e);
    p = u64_put(PUT(p, " tries="), e->lease.tries);
    p = put_str(PUT(p, " close="), str_of(close_word(e->why)));
    p = put_str(PUT(p, " why="), str_of(refuse_word(e->refusal)));
    p = put_quoted(PUT(p, " id="), e->id.len > 0 ? e->id : STR("-"), REQUEST_MAX_BYTES);
    p = PUT(p, "\n");
    return (uint32_t)(p - line);
}
