/* Scripts as data: what a client and its origins do and must see, one step after the other. */
#ifndef GYRE_TESTS_SCRIPT_SCRIPT_H
#define GYRE_TESTS_SCRIPT_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "script/lab.h"

/* A step is done when what it says has happened; then the next one begins. In texts that are
 * expected, {id} is a request id, {date} a date of HTTP, {n} a number; {packet} is the header of a
 * uwsgi packet, {u16} the size of the name or value behind it, {end} its end; {port} is the
 * listener's port, also in texts that are sent. All else stands for itself. At the end of a script neither
 * side may have got a byte or a connection that no step has named. */
enum step_kind {
    STEP_END,
    C_SENDS, C_SENDS_BODY, C_SENDS_RAW, C_FINS, C_RESETS, C_PAUSES, C_RESUMES, C_COMES,
    C_SEES, C_SEES_BODY, C_SEES_CHUNKS, C_SEES_PART, C_SEES_CHUNKS_BODY, C_SEES_NOTHING,
    C_SEES_CLOSE, C_SEES_CUT, C_SEES_GONE,
    O_COMES, O_SENDS, O_SENDS_BODY, O_FINS, O_CLOSES, O_RESETS, O_PAUSES, O_RESUMES,
    O_SEES, O_SEES_BODY, O_SEES_CHUNKS, O_SEES_PART, O_SEES_CHUNKS_BODY, O_SEES_NOTHING,
    O_SEES_CLOSE, O_SEES_CUT,
    WAITS, STOPS, COUNTS_CLOSED, COUNTS
};

struct script_step {
    enum step_kind kind;
    const char *text;
    size_t len;
    uint64_t n;
    enum stats_counter counter;
    int line;               /* where it is written */
};

struct script {
    const char *name, *why;    /* what it shows; the rule: an RFC and its section, a CVE */
    const char *global, *listener, *backend, *more;   /* additions to the ini, by section */
    const char *servers;                          /* instead of "server = {app}" */
    bool tls;                                     /* the client speaks it */
    bool tls_port;                                /* only the listener does */
    bool sync;                                    /* mode of the backend; a queue */
    bool bare;                                    /* the listener has no backend */
    const struct script_step *steps;
};

#define STEPS(...) (const struct script_step[]) {__VA_ARGS__, {.kind = STEP_END}}
#define STEP_TEXT_(k, t) {.kind = k, .text = "" t, .len = sizeof("" t) - 1, .line = __LINE__}
#define STEP_N_(k, v) {.kind = k, .n = (uint64_t)(v), .line = __LINE__}

/* The client. C(): bytes that it sends; CX(): exactly what it must get next. */
#define C(text) STEP_TEXT_(C_SENDS, text)
#define C_BODY(bytes) STEP_N_(C_SENDS_BODY, bytes)          /* of a pattern */
#define C_RAW(text) STEP_TEXT_(C_SENDS_RAW, text)           /* before its TLS begins */
#define C_FIN STEP_N_(C_FINS, 0)
#define C_RESET STEP_N_(C_RESETS, 0)
#define C_PAUSE STEP_N_(C_PAUSES, 0)                        /* reads nothing from now on */
#define C_RESUME STEP_N_(C_RESUMES, 0)
#define C_NEW STEP_N_(C_COMES, 0)                           /* another client; the last one goes */
#define CX(text) STEP_TEXT_(C_SEES, text)
#define CX_BODY(bytes) STEP_N_(C_SEES_BODY, bytes)
/* A chunked body that joins to this, however it is cut; up to and with the last chunk's line.
 * Trailers and the empty line are for a CX behind it. */
#define CX_CHUNKS(text) STEP_TEXT_(C_SEES_CHUNKS, text)
#define CX_PART(text) STEP_TEXT_(C_SEES_PART, text)         /* chunks of it that are not the last */
#define CX_CHUNKS_BODY(bytes) STEP_N_(C_SEES_CHUNKS_BODY, bytes)
#define CX_NOTHING(ms) STEP_N_(C_SEES_NOTHING, ms)
#define CLOSED STEP_N_(C_SEES_CLOSE, 0)                     /* FIN, and nothing before it */
/* A reset; what may have come before it does not end a chunked body. */
#define CUT STEP_N_(C_SEES_CUT, 0)
/* The end, in whatever way, and not a byte before it. */
#define GONE STEP_N_(C_SEES_GONE, 0)

/* The origin: the connection taken last. The first one is taken by itself. */
#define O_NEW STEP_N_(O_COMES, 0)
#define O2_NEW STEP_N_(O_COMES, 1)                          /* at the second server */
#define O(text) STEP_TEXT_(O_SENDS, text)
#define O_BODY(bytes) STEP_N_(O_SENDS_BODY, bytes)
#define O_FIN STEP_N_(O_FINS, 0)
#define O_CLOSE STEP_N_(O_CLOSES, 0)
#define O_RESET STEP_N_(O_RESETS, 0)
#define O_PAUSE STEP_N_(O_PAUSES, 0)
#define O_RESUME STEP_N_(O_RESUMES, 0)
#define OX(text) STEP_TEXT_(O_SEES, text)
#define OX_BODY(bytes) STEP_N_(O_SEES_BODY, bytes)
#define OX_CHUNKS(text) STEP_TEXT_(O_SEES_CHUNKS, text)
#define OX_PART(text) STEP_TEXT_(O_SEES_PART, text)
#define OX_CHUNKS_BODY(bytes) STEP_N_(O_SEES_CHUNKS_BODY, bytes)
#define OX_NOTHING(ms) STEP_N_(O_SEES_NOTHING, ms)
#define O_CLOSED STEP_N_(O_SEES_CLOSE, 0)                   /* gyre ended it, in whatever way */

/* The same inside of a chunked body: more of it may have come, but not its last chunk. */
#define O_CUT STEP_N_(O_SEES_CUT, 0)

#define WAIT(ms) STEP_N_(WAITS, ms)
#define STOP STEP_N_(STOPS, 0)                              /* no counting after it */
/* A connection has ended for that reason; a counter stands at n. */
#define WHY(reason) STEP_N_(COUNTS_CLOSED, CLOSE_##reason)
#define STAT_IS(which, value)                                                                     \
    {.kind = COUNTS, .counter = STAT_##which, .n = (value), .line = __LINE__}

/* What gyre adds to a request of an HTTP/1.1 client from 127.0.0.1. */
#define UP_FROM(version, host, proto)                                                             \
    "Via: " version " gyre\r\nX-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n"             \
    "X-Forwarded-Proto: " proto "\r\nX-Forwarded-Host: " host "\r\nX-Forwarded-Port: {port}\r\n"  \
    "Forwarded: for=127.0.0.1;host=\"" host "\";proto=" proto "\r\nX-Request-ID: {id}\r\n"  \
    "X-Request-Start: t={n}\r\n"
#define UP UP_FROM("1.1", "a", "http")
#define DATE "Date: {date}\r\n"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define GOT(path) "GET " path " HTTP/1.1\r\nHost: a\r\n" UP "\r\n"
#define OK_ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define OKD "HTTP/1.1 200 OK\r\n" DATE "Content-Length: 2\r\n\r\nok"

/* A GET and its answer, on whatever connections there are. */
#define SERVES(path) C(GET(path)), OX(GOT(path)), O(OK_), CX(OKD)
/* One more exchange shows that both connections are as good as before. */
#define KEPT SERVES("/kept")
/* The server's connection was not kept: the next request comes on another one. */
#define KEPT_BY_CLIENT C(GET("/kept")), O_NEW, OX(GOT("/kept")), O(OK_), CX(OKD)

/* gyre's own page. */
#define PAGE_HTML(status, reason)                                                                 \
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>" status " " reason "</title></head>\n"    \
    "<body><h1>" status " " reason "</h1></body>\n</html>\n"
#define PAGE_HEAD(status, reason, extra, connection)                                              \
    "HTTP/1.1 " status " " reason "\r\nContent-Type: text/html; charset=utf-8\r\n" extra DATE     \
    "Content-Length: {n}\r\n" connection "\r\n"
#define PAGE(status, reason) CX(PAGE_HEAD(status, reason, "", "") PAGE_HTML(status, reason))
#define PAGE_CLOSE(status, reason)                                                                \
    CX(PAGE_HEAD(status, reason, "", "Connection: close\r\n") PAGE_HTML(status, reason)), CLOSED

/* How a script is run. */
struct script_tls {             /* what the client speaks; the implementation is the stage's */
    void *(*begin)(void);
    void (*end)(void *);
    void (*pump)(void *, struct peer *);     /* between the peer and the machine */
    void (*send)(void *, const void *, size_t);
    void (*finish)(void *, struct peer *);   /* close_notify */
    const uint8_t *(*bytes)(void *, size_t *len);
    void (*drop)(void *, size_t);
    bool (*ended)(void *);                   /* close_notify has come */
};

struct script_mode {
    bool on_sim;
    bool split;                 /* both sides send byte by byte */
    uint64_t limit_ms;          /* for each step */
    const struct script_tls *tls;
    struct ring_params ring;
};

#define SCRIPT_TEXT_MAX 16384

/* Plays it, on a gyre of its own that has nothing left at the end. False: why says what was
 * wrong. */
bool script_play(const struct script *, const struct script_mode *, char why[SCRIPT_TEXT_MAX]);

#endif
