/* Mode sync: a request is taken whole before a server hears of it, and a response is taken off the
 * server, whatever the client does. */
#include "script/stage.h"

#define STATUS "HTTP/1.1 200 OK\r\n"
#define LENGTH(n) "Content-Length: " #n "\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define POST(fields, body) "POST /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n" body
#define POSTED(n) "POST /a HTTP/1.1\r\nHost: a\r\n" UP LENGTH(n) "\r\n"
#define POSTED_TLS(n)                                                                             \
    "POST /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") LENGTH(n) "\r\n"
#define PUT(n) "PUT /a HTTP/1.1\r\nHost: a\r\n" LENGTH(n) "\r\n"
#define WAS_PUT(n) "PUT /a HTTP/1.1\r\nHost: a\r\n" UP LENGTH(n) "\r\n"
#define EXPECT "Expect: 100-continue\r\n"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define ASKS C(GET("/a")), OX(GOT("/a"))
#define ANSWERED O(OK_), CX(OKD)
#define PAGE_503(connection)                                                                      \
    CX(PAGE_HEAD("503", "Service Unavailable", "Retry-After: {n}\r\n", connection)                \
       PAGE_HTML("503", "Service Unavailable"))
/* Nothing has gone to a server yet. */
#define UNHEARD WAIT(30), STAT_IS(DIALED, 0)
/* Little memory, so that most of a body is in a file. */
#define SMALL "request_memory = 4k\nresponse_memory = 4k\n"
#define UPLOAD_400000(up) C_BODY(400000), OX(up), OX_BODY(400000), ANSWERED
/* What waits for a client is more than the sockets hold; its server is done with it. */
#if GYRE_ON_SIM
#define MUCH 1000000
#define MUCH_LENGTH LENGTH(1000000)
#define MUCH_CHUNK "F4240\r\n"
#else
#define MUCH 8000000
#define MUCH_LENGTH LENGTH(8000000)
#define MUCH_CHUNK "7A1200\r\n"
#endif
#define TAKEN C_PAUSE, O(STATUS MUCH_LENGTH "\r\n"), O_BODY(MUCH), O_CLOSED, WHY(BACKEND_IDLE)
#define ASKS_TE C("GET /a HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n\r\n"),        \
    OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP "TE: trailers\r\nConnection: TE\r\n\r\n")
#define TAKEN_TRAILERS C_PAUSE, O(STATUS CHUNKED "\r\n" MUCH_CHUNK), O_BODY(MUCH),                 \
    O("\r\n0\r\nX-Sum: 7\r\nX-B: 8\r\n\r\n"), O_CLOSED, WHY(BACKEND_IDLE)
#define GIVEN C_RESUME, CX(STATUS DATE MUCH_LENGTH "\r\n"), CX_BODY(MUCH)

#define SYNC .sync = true
static const struct script scripts[] = {
    /* Requests. */
    {"no body", "-", SYNC, .steps = STEPS(SERVES("/a"), KEPT, STAT_IS(DIALED, 1))},
    {"a body is taken whole first", "-", SYNC, .steps = STEPS(
        C(POST(LENGTH(5), "")), UNHEARD, C("hel"), UNHEARD, C("lo"), OX(POSTED(5) "hello"),
        ANSWERED, KEPT)},
    {"a body that comes with its head", "-", SYNC, .steps = STEPS(
        C(POST(LENGTH(5), "hello")), OX(POSTED(5) "hello"), ANSWERED, KEPT)},
    {"an empty body keeps its length", "9110 8.6", SYNC, .steps = STEPS(
        C(POST(LENGTH(0), "")), OX(POSTED(0)), ANSWERED, KEPT)},
    {"pipelined", "9112 9.3.2", SYNC, .steps = STEPS(
        C(POST(LENGTH(5), "hello") GET("/b")), OX(POSTED(5) "hello"), ANSWERED,
        OX(GOT("/b")), ANSWERED, KEPT)},
    {"chunks go up with a length", "9112 6.3", SYNC, .steps = STEPS(
        C(POST(CHUNKED, "5\r\nhello\r\n")), UNHEARD, C("6\r\n world\r\n0\r\n\r\n"),
        OX(POSTED(11) "hello world"), ANSWERED, KEPT)},
    {"an empty chunked body is a length of 0", "9112 6.3", SYNC, .steps = STEPS(
        C(POST(CHUNKED, "0\r\n\r\n")), OX(POSTED(0)), ANSWERED, KEPT)},
    {"trailers have no place behind a length", "9110 6.5.1", SYNC, .steps = STEPS(
        C(POST(CHUNKED, "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")), OX(POSTED(5) "hello"), ANSWERED,
        KEPT)},
    {"Expect: gyre says 100, the server sees a body that is there", "9110 10.1.1", SYNC,
     .steps = STEPS(C(POST(EXPECT LENGTH(5), "")), CX(CONTINUE), UNHEARD, C("hello"),
        OX(POSTED(5) "hello"), ANSWERED, KEPT)},
    {"Expect: with a chunked body", "9110 10.1.1", SYNC, .steps = STEPS(
        C(POST(EXPECT CHUNKED, "")), CX(CONTINUE), C("5\r\nhello\r\n0\r\n\r\n"),
        OX(POSTED(5) "hello"), ANSWERED, KEPT)},
    {"a large body waits in a file", "-", SYNC, .backend = SMALL, .steps = STEPS(
        C(POST(LENGTH(400000), "")), UPLOAD_400000(POSTED(400000)), KEPT)},
    {"a large body waits in a file, over TLS", "-", SYNC, .tls = true, .backend = SMALL,
     .steps = STEPS(C(POST(LENGTH(400000), "")), UPLOAD_400000(POSTED_TLS(400000)))},
    {"a large body for a server that reads late", "-", SYNC, .backend = SMALL, .steps = STEPS(
        C(POST(LENGTH(400000), "")), C_BODY(400000), OX(POSTED(400000)), O_PAUSE, WAIT(50),
        O_RESUME, OX_BODY(400000), ANSWERED, KEPT)},
    {"max_body: a length that is too long", "9110 15.5.14", SYNC,
     .listener = "max_body = 100\n", .steps = STEPS(
        C(POST(LENGTH(101), "")), PAGE_CLOSE("413", "Content Too Large"), STAT_IS(DIALED, 0))},
    {"max_body: chunks that never end", "9110 15.5.14", SYNC, .listener = "max_body = 7\n",
     .steps = STEPS(C(POST(CHUNKED, "5\r\nhello\r\n")), UNHEARD, C("5\r\nhello\r\n"),
        PAGE_CLOSE("413", "Content Too Large"), STAT_IS(DIALED, 0))},
    {"without files a body has its memory", "-", SYNC, .global = "spool_max = 0\n",
     .backend = "request_memory = 400000\n", .steps = STEPS(
        C(POST(LENGTH(400000), "")), UPLOAD_400000(POSTED(400000)), KEPT)},
    {"without files a body that is larger is refused", "9110 15.6.4", SYNC,
     .global = "spool_max = 0\n", .backend = SMALL, .steps = STEPS(
        C(POST(LENGTH(300000), "")), C_BODY(300000), PAGE_503("Connection: close\r\n"),
        STAT_IS(DIALED, 0))},
    {"who goes away before the end is never heard of", "-", SYNC, .steps = STEPS(
        C(POST(LENGTH(10), "hello")), UNHEARD, C_RESET, STAT_IS(DIALED, 0), C_NEW,
        SERVES("/a"))},
    {"body_timeout: 408, and no server hears of it", "-", SYNC,
     .listener = "body_timeout = 80ms\n", .steps = STEPS(
        C(POST(LENGTH(10), "hello")), PAGE_CLOSE("408", "Request Timeout"), STAT_IS(DIALED, 0))},

    /* Going again. */
    {"a worker that is killed: a PUT goes again with its body", "9110 9.2.2", SYNC,
     .steps = STEPS(C(PUT(5) "hello"), OX(WAS_PUT(5) "hello"), O_CLOSE, O_NEW,
        OX(WAS_PUT(5) "hello"), ANSWERED, STAT_IS(RETRIED, 1))},
    {"a worker that is killed: a large PUT goes again, out of its file", "9110 9.2.2", SYNC,
     .backend = SMALL, .steps = STEPS(C(PUT(400000)), C_BODY(400000), OX(WAS_PUT(400000)),
        OX_BODY(400000), O_CLOSE, O_NEW, OX(WAS_PUT(400000)), OX_BODY(400000), ANSWERED,
        STAT_IS(RETRIED, 1))},
    {"a worker that is killed: never a POST", "9110 9.2.2", SYNC, .steps = STEPS(
        C(POST(LENGTH(2), "hi")), OX(POSTED(2) "hi"), O_CLOSE, PAGE("502", "Bad Gateway"),
        STAT_IS(RETRIED, 0))},
    {"a server that never was is not waited for", "-", SYNC, .servers = "server = {dead}\n",
     .backend = "connect_timeout = 60ms\n", .steps = STEPS(
        C(POST(LENGTH(2), "hi")), PAGE("502", "Bad Gateway"))},
    {"nor is one that nobody may wait for", "-", SYNC, .servers = "server = {dead}\n",
     .backend = "queue = 0\n", .steps = STEPS(C(GET("/a")), PAGE("502", "Bad Gateway"))},

    /* Responses. */
    {"a server is free when its last byte is read", "-", SYNC,
     .backend = "keepalive_timeout = 50ms\n", .listener = "send_timeout = 1m\n",
     .steps = STEPS(ASKS, TAKEN, GIVEN, KEPT_BY_CLIENT)},
    {"its answer waits in a file", "-", SYNC, .backend = SMALL "keepalive_timeout = 50ms\n",
     .listener = "send_timeout = 1m\n", .steps = STEPS(ASKS, TAKEN, GIVEN, KEPT_BY_CLIENT)},
    {"trailers are kept for the client, not by the server", "9110 6.5.1", SYNC,
     .backend = "keepalive_timeout = 50ms\n", .listener = "send_timeout = 1m\n",
     .steps = STEPS(ASKS_TE, TAKEN_TRAILERS, C_RESUME, CX(STATUS DATE CHUNKED "\r\n"),
        CX_CHUNKS_BODY(MUCH), CX("X-Sum: 7\r\nX-B: 8\r\n\r\n"), KEPT_BY_CLIENT)},
    {"trailers that the client does not want are not waited with", "9110 6.5.1", SYNC,
     .backend = "keepalive_timeout = 50ms\n", .listener = "send_timeout = 1m\n",
     .steps = STEPS(ASKS, TAKEN_TRAILERS, C_RESUME, CX(STATUS DATE CHUNKED "\r\n"),
        CX_CHUNKS_BODY(MUCH), CX("\r\n"), KEPT_BY_CLIENT)},
    {"response_max: then the server waits", "-", SYNC, .backend = SMALL "response_max = 64k\n",
     .listener = "send_timeout = 1m\n", .steps = STEPS(
        ASKS, C_PAUSE, O(STATUS MUCH_LENGTH "\r\n"), O_BODY(MUCH), GIVEN, KEPT)},
    {"without files the server waits for the client", "-", SYNC, .global = "spool_max = 0\n",
     .backend = SMALL, .listener = "send_timeout = 1m\n", .steps = STEPS(
        ASKS, C_PAUSE, O(STATUS MUCH_LENGTH "\r\n"), O_BODY(MUCH), GIVEN, KEPT)},
    {"reading ahead is not holding back", "-", SYNC, .steps = STEPS(
        ASKS, O(STATUS CHUNKED "\r\n1\r\na\r\n"), CX(STATUS DATE CHUNKED "\r\n"), CX_PART("a"),
        O("1\r\nb\r\n"), CX_PART("b"), O("1\r\nc\r\n"), CX_PART("c"), O("0\r\n\r\n"),
        CX_CHUNKS(""), CX("\r\n"), KEPT)},
    {"an interim response goes at once", "9110 15.2", SYNC, .steps = STEPS(
        ASKS, O("HTTP/1.1 103 Early Hints\r\n\r\n"), CX("HTTP/1.1 103 Early Hints\r\n\r\n"),
        ANSWERED, KEPT)},
    {"a server that breaks off: what it gave is given, and cut", "9112 8", SYNC,
     .backend = SMALL, .listener = "send_timeout = 1m\n", .steps = STEPS(
        ASKS, C_PAUSE, O(STATUS MUCH_LENGTH "\r\n"), O_BODY(300000), O_FIN, O_CLOSED, C_RESUME,
        CX(STATUS DATE MUCH_LENGTH "\r\n"), CUT, WHY(BACKEND_CUT))},
    {"an upgrade", "9110 7.8", SYNC, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: toy\r\nConnection: upgrade\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP "Connection: upgrade\r\nUpgrade: toy\r\n\r\n"),
        O("HTTP/1.1 101 Switching Protocols\r\nUpgrade: toy\r\nConnection: upgrade\r\n\r\n"),
        CX("HTTP/1.1 101 Switching Protocols\r\n" DATE "Connection: upgrade\r\nUpgrade: toy\r\n\r\n"),
        C("ping"), OX("ping"), O("pong"), CX("pong"), O_FIN, CLOSED)},

    /* Slots. */
    {"a request that is given up holds its slot until it is answered", "-", SYNC,
     .backend = "slots = 1\n", .steps = STEPS(
        ASKS, C_RESET, WHY(CLIENT_GONE), C_NEW, C(GET("/b")), OX_NOTHING(50), O(OK_), OX(GOT("/b")), ANSWERED,
        STAT_IS(ORPHANS, 1), STAT_IS(QUEUED, 1), STAT_IS(DIALED, 1))},
    {"and no longer than response_timeout", "-", SYNC,
     .backend = "slots = 1\nresponse_timeout = 300ms\n", .steps = STEPS(
        ASKS, C_RESET, WHY(CLIENT_GONE), C_NEW, C(GET("/b")), OX_NOTHING(50), O_CLOSED, O_NEW, OX(GOT("/b")),
        ANSWERED, STAT_IS(ORPHANS, 1))},
    {"a stream of events that nobody hears any more is cut", "-", SYNC, .backend = "slots = 1\n",
     .steps = STEPS(ASKS, O(STATUS CHUNKED "\r\n1\r\na\r\n"), CX(STATUS DATE CHUNKED "\r\n"),
        CX_PART("a"), C_RESET, WHY(CLIENT_GONE), C_NEW, C(GET("/b")), OX_NOTHING(50),
        O("1\r\nb\r\n"), O_CLOSED, O_NEW, OX(GOT("/b")), ANSWERED, STAT_IS(ORPHANS, 1))},
    {"so is one that begins when nobody waits for it", "-", SYNC, .backend = "slots = 1\n",
     .steps = STEPS(ASKS, C_RESET, WHY(CLIENT_GONE), C_NEW, C(GET("/b")),
        O("HTTP/1.1 103 Early Hints\r\n\r\n"), OX_NOTHING(50),
        O(STATUS CHUNKED "\r\n1\r\na\r\n"), O_CLOSED, O_NEW, OX(GOT("/b")), ANSWERED,
        STAT_IS(ORPHANS, 1))},
    {"the rest of an answer that nobody wants is waited for", "-", SYNC, .backend = "slots = 1\n",
     .steps = STEPS(ASKS, O(STATUS CHUNKED "\r\n1\r\na\r\n"), CX(STATUS DATE CHUNKED "\r\n"),
        CX_PART("a"), C_RESET, WHY(CLIENT_GONE), C_NEW, C(GET("/b")), OX_NOTHING(50),
        O("1\r\nb\r\n0\r\n\r\n"), OX(GOT("/b")), ANSWERED, STAT_IS(ORPHANS, 1),
        STAT_IS(DIALED, 1))},
    {"who waits in vain is told so", "9110 15.6.4", SYNC,
     .backend = "slots = 1\nqueue_timeout = 100ms\n", .steps = STEPS(
        ASKS, C_RESET, WHY(CLIENT_GONE), C_NEW, C(GET("/a")), PAGE_503(""))},
    {"where nobody may wait", "9110 15.6.4", SYNC, .backend = "slots = 1\nqueue = 0\n",
     .steps = STEPS(ASKS, C_RESET, WHY(CLIENT_GONE), C_NEW, C(GET("/a")), PAGE_503(""))},
    {"server_timing tells the client", "-", SYNC, .backend = "server_timing = yes\n",
     .steps = STEPS(ASKS, O(OK_),
        CX(STATUS "Server-Timing: queue;dur={n}.{n}, app;dur={n}.{n}\r\n" DATE LENGTH(2) "\r\nok"))},
};

int main(void) {
    return SCRIPTS_RUN("sync", scripts);
}
