/* Servers that answer badly, late, in halves, or not at all; clients that go or stand still. */
#include "script/stage.h"

#define STATUS "HTTP/1.1 200 OK\r\n"
#define LENGTH(n) "Content-Length: " #n "\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define ASKS C(GET("/a")), OX(GOT("/a"))
#define POSTS(n, body)                                                                            \
    C("POST /a HTTP/1.1\r\nHost: a\r\n" LENGTH(n) "\r\n" body),                                   \
    OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP LENGTH(n) "\r\n" body)
#define TEN(x) x x x x x x x x x x
#define FIFTY(x) TEN(x) TEN(x) TEN(x) TEN(x) TEN(x)
#define MUCH (GYRE_ON_SIM ? 1000000 : 16000000)   /* more than all buffers on the way hold */

/* A body that is longer than what all buffers on the way to the server hold. */
#if GYRE_ON_SIM
#define LONG 900000
#define LONG_LENGTH LENGTH(900000)
#else
#define LONG 8000000
#define LONG_LENGTH LENGTH(8000000)
#endif

/* A response that gyre has and its client does not take: all of it, where the size of what lies
 * between is known, else more than that. */
#if GYRE_ON_SIM
#define QUEUED O_BODY(300000), O_FIN
#else
#define QUEUED O_BODY(MUCH)
#endif

/* A malformed head is no answer, and its connection is of no more use; the client's is. */
#define BAD(what, rule, bytes)                                                                    \
    {what, rule, .steps = STEPS(ASKS, O(bytes), PAGE("502", "Bad Gateway"), O_CLOSED,             \
                                WHY(BAD_RESPONSE), KEPT_BY_CLIENT)}
/* The head was good and is out; what follows is not. */
#define BAD_BODY(what, rule, body)                                                                \
    {what, rule, .steps = STEPS(ASKS, O(STATUS CHUNKED "\r\n5\r\nhello\r\n"),                     \
        CX(STATUS DATE CHUNKED "\r\n"), CX_PART("hello"), O(body), CUT, O_CLOSED,                 \
        WHY(BAD_RESPONSE), C_NEW, KEPT_BY_CLIENT)}
/* What comes after a good response is nobody's answer. */
#define MORE(what, rule, bytes)                                                                   \
    {what, rule, .steps = STEPS(ASKS, O(OK_), CX(OKD), O(bytes), O_CLOSED, KEPT_BY_CLIENT)}

static const struct script scripts[] = {
    /* Status lines. */
    BAD("no HTTP at all", "9112 4", "SSH-2.0-OpenSSH_9.2\r\n"),
    BAD("HTTP/2.0", "FACTS D3", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    BAD("HTTP/0.9 by its name", "FACTS D3", "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
    BAD("RTSP", "FACTS D3", "RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    BAD("ICY", "FACTS D3", "ICY 200 OK\r\n\r\n"),
    BAD("status 000", "9110 15", "HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n"),
    BAD("status 099", "9110 15", "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n"),
    BAD("status 600", "9110 15", "HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n"),
    BAD("status 999", "9110 15", "HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n"),
    BAD("a status of two digits", "9112 4", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    BAD("a status of four digits", "9112 4", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    BAD("a control in the reason", "FACTS D3", "HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n"),
    BAD("a NUL in the reason", "FACTS D3", "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n"),
    BAD("a bare CR in the reason", "9112 2.2", "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n"),
    BAD("bare LFs", "9112 2.2", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),

    /* Fields and framing. */
    BAD("a blank before the colon", "9112 5.1", STATUS "X : y\r\nContent-Length: 0\r\n\r\n"),
    BAD("a folded field", "9112 5.2", STATUS "X: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    BAD("a NUL in a value", "9110 5.5", STATUS "X: a\0\r\nContent-Length: 0\r\n\r\n"),
    BAD("CR LF CR X is no end of a head", "CVE-2025-23167",
        STATUS "X: a\r\n\rContent-Length: 0\r\n\r\n"),
    BAD("two lengths", "9112 6.3 5", STATUS LENGTH(2) LENGTH(3) "\r\nok"),
    BAD("two equal lengths", "9110 8.6", STATUS LENGTH(2) LENGTH(2) "\r\nok"),
    BAD("a list of lengths", "9110 8.6", STATUS "Content-Length: 2, 2\r\n\r\nok"),
    BAD("a length that is none", "9112 6.3 5", STATUS "Content-Length: two\r\n\r\nok"),
    BAD("a signed length", "9112 6.3 5", STATUS "Content-Length: +2\r\n\r\nok"),
    BAD("an empty length", "9112 6.3 5", STATUS "Content-Length:\r\n\r\nok"),
    BAD("a length and chunks", "9112 6.3 3", STATUS LENGTH(2) CHUNKED "\r\n2\r\nok\r\n0\r\n\r\n"),
    BAD("chunked, gzip", "9112 6.3 4", STATUS "Transfer-Encoding: chunked, gzip\r\n\r\nok"),
    BAD("gzip, chunked", "9112 6.1",
        STATUS "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    BAD("an empty transfer coding", "FACTS D3", STATUS "Transfer-Encoding:\r\n\r\nok"),
    BAD("chunked from HTTP/1.0", "9112 6.1", "HTTP/1.0 200 OK\r\n" CHUNKED "\r\n0\r\n\r\n"),
    BAD("a length in a 103", "FACTS D3", "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n"),
    BAD("chunks in a 103", "FACTS D3", "HTTP/1.1 103 Early Hints\r\n" CHUNKED "\r\n"),
    BAD("a length in a 150", "FACTS D3", "HTTP/1.1 150 Odd\r\nContent-Length: 5\r\n\r\nhello" OK_),
    BAD("a head of 64k", "9110 5.4", STATUS "X: " FIFTY(FIFTY("abcdefghijklmnopqrstuvwxyzab"))
        "\r\n\r\n"),
    BAD("300 fields", "9110 5.4", STATUS FIFTY("A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\n")
        "\r\n"),
    BAD("a request", "9112 6", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),

    /* Bodies. */
    BAD_BODY("a chunk size that is none", "9112 7.1", "x\r\n"),
    BAD_BODY("a signed chunk size", "9112 7.1", "-5\r\nhello\r\n"),
    BAD_BODY("a chunk size above 2^64", "9112 7.1", "10000000000000005\r\nhello\r\n"),
    BAD_BODY("no CR LF behind a chunk", "9112 7.1", "2\r\nokx"),
    BAD_BODY("a malformed trailer", "9112 7.1.2", "0\r\nX y\r\n\r\n"),
    {"204 with chunks: what follows is not read", "FACTS D3", .steps = STEPS(ASKS,
        O("HTTP/1.1 204 No Content\r\n" CHUNKED "\r\n5\r\nHTTP/\r\n0\r\n\r\n"),
        CX("HTTP/1.1 204 No Content\r\n" DATE "\r\n"), O_CLOSED, KEPT_BY_CLIENT)},
    {"204 with a length: what follows is not read", "9110 8.6", .steps = STEPS(ASKS,
        O("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
        CX("HTTP/1.1 204 No Content\r\n" DATE "\r\n"), O_CLOSED, KEPT_BY_CLIENT)},
    {"304 with a body", "9112 6.3 1", .steps = STEPS(ASKS,
        O("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"),
        CX("HTTP/1.1 304 Not Modified\r\n" DATE LENGTH(5) "\r\n"), O_CLOSED, KEPT_BY_CLIENT)},
    {"a body behind the answer to HEAD", "9112 6.3 1", .steps = STEPS(
        C("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"), OX("HEAD /a HTTP/1.1\r\nHost: a\r\n" UP "\r\n"),
        O(OK_), CX(STATUS DATE LENGTH(2) "\r\n"), O_CLOSED, KEPT_BY_CLIENT)},
    {"205 with a body is framed like any other", "FACTS D3", .steps = STEPS(ASKS,
        O("HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nok"),
        CX("HTTP/1.1 205 Reset Content\r\n" DATE LENGTH(2) "\r\nok"), KEPT)},
    MORE("bytes behind a response", "9112 9.2", "x"),
    MORE("a second response", "9112 9.2", STATUS LENGTH(4) "\r\nevil"),
    MORE("a 408 on an idle connection", "9112 9.5",
         "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"),
    {"a second response behind the first, in one piece", "9112 9.2", .steps = STEPS(ASKS,
        O(OK_ STATUS LENGTH(4) "\r\nevil"), CX(OKD), O_CLOSED, KEPT_BY_CLIENT)},

    /* Servers that end too early. */
    {"no answer but a FIN, twice", "9110 9.2.2", .steps = STEPS(ASKS, O_FIN, O_NEW,
        OX(GOT("/a")), O_FIN, PAGE("502", "Bad Gateway"), WHY(BACKEND_CLOSED), KEPT_BY_CLIENT)},
    {"no answer but a reset, twice", "9110 9.2.2", .steps = STEPS(ASKS, O_RESET, O_NEW,
        OX(GOT("/a")), O_RESET, PAGE("502", "Bad Gateway"), WHY(BACKEND_CLOSED),
        KEPT_BY_CLIENT)},
    {"half a head and a FIN", "9112 8", .steps = STEPS(ASKS, O(STATUS "Content-Le"), O_FIN,
        PAGE("502", "Bad Gateway"), WHY(BACKEND_CUT), KEPT_BY_CLIENT)},
    {"half a status line and a FIN", "9112 8", .steps = STEPS(ASKS, O("HTTP/1.1 20"), O_FIN,
        PAGE("502", "Bad Gateway"), WHY(BACKEND_CUT), KEPT_BY_CLIENT)},
    {"a 103 and a FIN", "9112 8", .steps = STEPS(ASKS, O("HTTP/1.1 103 Early Hints\r\n\r\n"),
        CX("HTTP/1.1 103 Early Hints\r\n\r\n"), O_FIN, PAGE("502", "Bad Gateway"),
        WHY(BACKEND_CUT), KEPT_BY_CLIENT)},
    {"a body cut by a FIN", "9112 8", .steps = STEPS(ASKS, O(STATUS LENGTH(10) "\r\nhello"),
        CX(STATUS DATE LENGTH(10) "\r\nhello"), O_FIN, CUT, WHY(BACKEND_CUT), C_NEW,
        KEPT_BY_CLIENT)},
    {"a body cut by a reset", "9112 8", .steps = STEPS(ASKS, O(STATUS LENGTH(10) "\r\nhello"),
        CX(STATUS DATE LENGTH(10) "\r\nhello"), O_RESET, CUT, C_NEW, KEPT_BY_CLIENT)},
    {"a chunked body cut by a FIN", "9112 8", .steps = STEPS(ASKS,
        O(STATUS CHUNKED "\r\n5\r\nhello\r\n5\r\nw"), CX(STATUS DATE CHUNKED "\r\n"),
        CX_PART("hellow"), O_FIN, CUT, WHY(BACKEND_CUT))},
    {"a chunked body without its last chunk", "9112 8", .steps = STEPS(ASKS,
        O(STATUS CHUNKED "\r\n5\r\nhello\r\n"), CX(STATUS DATE CHUNKED "\r\n"),
        CX_PART("hello"), O_FIN, CUT, WHY(BACKEND_CUT))},
    {"a chunked body without the end of its trailers", "9112 8", .steps = STEPS(ASKS,
        O(STATUS CHUNKED "\r\n5\r\nhello\r\n0\r\nX: y\r\n"), CX(STATUS DATE CHUNKED "\r\n"),
        CX_PART("hello"), O_FIN, CUT, WHY(BACKEND_CUT))},
    {"a body until close that a reset ends", "9112 6.3 8", .steps = STEPS(ASKS,
        O(STATUS "\r\nhello"), CX(STATUS DATE CHUNKED "\r\n"), CX_PART("hello"), O_RESET, CUT)},
    {"a body until close that a reset ends, to HTTP/1.0", "9112 6.3 8", .steps = STEPS(
        C("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.0", "a", "http") "\r\n"),
        O("HTTP/1.0 200 OK\r\n\r\nhello"), CX(STATUS DATE "Connection: close\r\n\r\nhello"),
        O_RESET, CUT)},
    {"a body cut under TLS", "9112 9.8", .tls = true, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") "\r\n"),
        O(STATUS LENGTH(10) "\r\nhello"), CX(STATUS DATE LENGTH(10) "\r\nhello"), O_FIN, CUT)},
    {"the server is gone while the body goes up", "-", .steps = STEPS(
        POSTS(10, "hello"), O_RESET, PAGE_CLOSE("502", "Bad Gateway"), C("world"))},

    /* The race of kept connections. */
    {"the race: a GET goes again, on a fresh connection", "9110 9.2.2", .steps = STEPS(
        SERVES("/a"), C(GET("/b")), OX(GOT("/b")), O_CLOSE, O_NEW, OX(GOT("/b")), O(OK_), CX(OKD),
        STAT_IS(RETRIED, 1), KEPT)},
    {"the race, by a reset", "9110 9.2.2", .steps = STEPS(
        SERVES("/a"), C(GET("/b")), OX(GOT("/b")), O_RESET, O_NEW, OX(GOT("/b")), O(OK_), CX(OKD),
        STAT_IS(RETRIED, 1), KEPT)},
    {"the race: a DELETE goes again", "9110 9.2.2", .steps = STEPS(
        SERVES("/a"), C("DELETE /b HTTP/1.1\r\nHost: a\r\n\r\n"),
        OX("DELETE /b HTTP/1.1\r\nHost: a\r\n" UP "\r\n"), O_CLOSE, O_NEW,
        OX("DELETE /b HTTP/1.1\r\nHost: a\r\n" UP "\r\n"), O(OK_), CX(OKD), STAT_IS(RETRIED, 1))},
    {"the race, and then a server that is stopped", "9110 9.2.2", .steps = STEPS(
        SERVES("/a"), C(GET("/b")), OX(GOT("/b")), O_CLOSE, O_NEW, OX(GOT("/b")), O_CLOSE,
        O_NEW, OX(GOT("/b")), O(OK_), CX(OKD), STAT_IS(RETRIED, 2), KEPT)},
    {"the race, and a server that does not answer: no fourth time", "9110 9.2.2", .steps = STEPS(
        SERVES("/a"), C(GET("/b")), OX(GOT("/b")), O_CLOSE, O_NEW, OX(GOT("/b")), O_CLOSE,
        O_NEW, OX(GOT("/b")), O_CLOSE, PAGE("502", "Bad Gateway"), STAT_IS(RETRIED, 2),
        KEPT_BY_CLIENT)},
    {"the race: never a POST", "9110 9.2.2", .steps = STEPS(
        SERVES("/a"), SERVES("/b"), POSTS(2, "hi"), O_CLOSE, PAGE("502", "Bad Gateway"), STAT_IS(RETRIED, 0),
        KEPT_BY_CLIENT)},
    {"the race: never a POST without a body", "9110 9.2.2", .steps = STEPS(
        SERVES("/a"), SERVES("/b"), POSTS(0, ""), O_CLOSE, PAGE("502", "Bad Gateway"),
        STAT_IS(RETRIED, 0))},
    {"a connection that has served twice is good enough for a POST", "-", .steps = STEPS(
        SERVES("/a"), SERVES("/b"), POSTS(2, "hi"), O(OK_), CX(OKD), STAT_IS(DIALED, 1), KEPT)},
    {"the race: never a PUT whose body is gone", "9110 9.2.2", .steps = STEPS(
        SERVES("/a"), C("PUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"),
        OX("PUT /b HTTP/1.1\r\nHost: a\r\n" UP LENGTH(2) "\r\nhi"), O_CLOSE,
        PAGE("502", "Bad Gateway"), STAT_IS(RETRIED, 0))},
    {"the race: never after a byte of response", "9110 9.2.2", .steps = STEPS(
        SERVES("/a"), C(GET("/b")), OX(GOT("/b")), O("HTTP/1.1 2"), O_FIN,
        PAGE("502", "Bad Gateway"), STAT_IS(RETRIED, 0))},
    {"a worker that is killed: what may be repeated is answered", "9110 9.2.2", .steps = STEPS(
        ASKS, O_CLOSE, O_NEW, OX(GOT("/a")), O(OK_), CX(OKD), STAT_IS(RETRIED, 1))},
    {"a worker that is killed: never a POST", "9110 9.2.2", .steps = STEPS(
        POSTS(2, "hi"), O_CLOSE, PAGE("502", "Bad Gateway"), STAT_IS(RETRIED, 0))},

    /* Servers that can not be reached. */
    {"refused: the next server", "-", .servers = "server = {dead}\nserver = {app}\n",
     .backend = "balance = round_robin\nkeepalive = 0\n", .steps = STEPS(
        SERVES("/a"), O_CLOSED, KEPT_BY_CLIENT, O_CLOSED, KEPT_BY_CLIENT)},
    {"refused by all", "-", .servers = "server = {dead}\n", .steps = STEPS(
        C(GET("/a")), PAGE("502", "Bad Gateway"), C(GET("/b")), PAGE("502", "Bad Gateway"),
        WHY(CONNECT_REFUSED))},
    {"refused by a unix socket that is not there", "-", .servers = "server = unix:/nowhere/x\n",
     .steps = STEPS(C(GET("/a")), PAGE("502", "Bad Gateway"))},
    {"refused: a body that can not go anywhere", "9112 9.3", .servers = "server = {dead}\n",
     .steps = STEPS(C("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"),
        PAGE_CLOSE("502", "Bad Gateway"))},
    {"connect_timeout: 504", "-", .servers = "server = {full}\n",
     .backend = "connect_timeout = 60ms\n", .steps = STEPS(C(GET("/a")),
        PAGE("504", "Gateway Timeout"), WHY(CONNECT_TIMEOUT))},
    {"connect_timeout: the next server", "-", .servers = "server = {full}\nserver = {app}\n",
     .backend = "connect_timeout = 150ms\nbalance = round_robin\n", .steps = STEPS(
        SERVES("/a"), SERVES("/b"), SERVES("/c"))},

    /* Time. */
    {"response_timeout: 504", "-", .backend = "response_timeout = 300ms\n", .steps = STEPS(
        ASKS, PAGE("504", "Gateway Timeout"), O_CLOSED, WHY(RESPONSE_TIMEOUT), KEPT_BY_CLIENT)},
    {"response_timeout: half a head is no byte of response", "-",
     .backend = "response_timeout = 300ms\n", .steps = STEPS(
        ASKS, O(STATUS), PAGE("504", "Gateway Timeout"), O_CLOSED, KEPT_BY_CLIENT)},
    {"response_timeout: a head that drips", "Slow response",
     .backend = "response_timeout = 400ms\n", .steps = STEPS(
        ASKS, O(STATUS), WAIT(150), O("X: y\r\n"), WAIT(150), O("X: y\r\n"),
        PAGE("504", "Gateway Timeout"), O_CLOSED, WHY(RESPONSE_TIMEOUT), KEPT_BY_CLIENT)},
    {"response_timeout: a 103 is no answer", "-", .backend = "response_timeout = 300ms\n",
     .steps = STEPS(ASKS, O("HTTP/1.1 103 Early Hints\r\n\r\n"),
        CX("HTTP/1.1 103 Early Hints\r\n\r\n"), PAGE("504", "Gateway Timeout"), O_CLOSED)},
    {"response_timeout runs from the end of the request", "-",
     .backend = "response_timeout = 500ms\n", .steps = STEPS(
        POSTS(15, "hello"), WAIT(300), C("world"), OX("world"), WAIT(300), C("again"), OX("again"),
        O(OK_), CX(OKD), KEPT)},
    {"stall_timeout: a cut", "-", .backend = "stall_timeout = 80ms\n", .steps = STEPS(
        ASKS, O(STATUS LENGTH(10) "\r\nhello"), CX(STATUS DATE LENGTH(10) "\r\nhello"), CUT,
        O_CLOSED, WHY(STALL_TIMEOUT))},
    {"stall_timeout runs from the last byte", "-", .backend = "stall_timeout = 500ms\n",
     .steps = STEPS(ASKS, O(STATUS LENGTH(3) "\r\na"), WAIT(300), O("b"), WAIT(300), O("c"),
        CX(STATUS DATE LENGTH(3) "\r\nabc"), KEPT)},
    {"head_timeout: 408", "-", .listener = "head_timeout = 100ms\n", .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHos"), PAGE_CLOSE("408", "Request Timeout"))},
    {"head_timeout: a head that drips", "Slowloris", .listener = "head_timeout = 120ms\n",
     .steps = STEPS(C("GET /a HTTP/1.1\r\n"), WAIT(50), C("X: y\r\n"), WAIT(50), C("X: y\r\n"),
        PAGE_CLOSE("408", "Request Timeout"))},
    {"head_timeout: a client that says nothing gets nothing", "-",
     .listener = "head_timeout = 80ms\n", .steps = STEPS(CLOSED, C_FIN, WHY(HEAD_TIMEOUT))},
    {"head_timeout: the second request of a connection", "-",
     .listener = "head_timeout = 300ms\n", .steps = STEPS(SERVES("/a"), WAIT(400), C("GET /b"),
        PAGE_CLOSE("408", "Request Timeout"))},
    {"body_timeout: 408", "-", .listener = "body_timeout = 80ms\n", .steps = STEPS(
        POSTS(10, "hello"), PAGE_CLOSE("408", "Request Timeout"), O_CLOSED)},
    {"body_timeout runs from the last byte", "-",
     .listener = "body_timeout = 500ms\nmin_body_rate = 0\n",
     .steps = STEPS(POSTS(3, "a"), WAIT(300), C("b"), OX("b"), WAIT(300), C("c"), OX("c"), O(OK_),
        CX(OKD), KEPT)},
    {"min_body_rate: 408 to a body that drips", "Slow POST",
     .listener = "body_timeout = 1s\nmin_body_rate = 1k\n", .steps = STEPS(
        POSTS(9000, "a"), WAIT(200), C("b"), OX("b"), WAIT(200), C("c"), OX("c"),
        PAGE_CLOSE("408", "Request Timeout"), O_CLOSED)},
    {"min_body_rate: a server that does not read is no slow client", "-",
     .listener = "body_timeout = 1500ms\nmin_body_rate = 10k\n", .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\n" LONG_LENGTH "\r\n"),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP LONG_LENGTH "\r\n"), O_PAUSE,
        C_BODY(LONG), WAIT(2500), O_RESUME, OX_BODY(LONG), O(OK_), CX(OKD), KEPT)},
    {"body_timeout: trailers that drip", "Slow POST",
     .listener = "body_timeout = 300ms\n", .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\n" CHUNKED "\r\n0\r\nX: "),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP CHUNKED "\r\n"), WAIT(100), C("y"), WAIT(100),
        C("y"), PAGE_CLOSE("408", "Request Timeout"), O_CUT)},
    {"body_timeout does not run while the client waits for a 100", "9110 10.1.1",
     .listener = "body_timeout = 300ms\n", .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
        OX("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" UP LENGTH(2) "\r\n"),
        WAIT(400),
        O("HTTP/1.1 100 Continue\r\n\r\n"), CX("HTTP/1.1 100 Continue\r\n\r\n"), C("hi"), OX("hi"),
        O(OK_), CX(OKD), KEPT)},
    {"idle_timeout", "9112 9.5", .listener = "idle_timeout = 80ms\n", .steps = STEPS(
        SERVES("/a"), CLOSED, C_FIN, WHY(IDLE_TIMEOUT))},
    {"idle_timeout does not run while a server works", "-", .listener = "idle_timeout = 300ms\n",
     .steps = STEPS(ASKS, WAIT(400), O(OK_), CX(OKD), KEPT)},
    {"send_timeout: a client that reads nothing is let go, and its server", "-",
     .listener = "send_timeout = 150ms\n", .steps = STEPS(ASKS, C_PAUSE,
        O(STATUS "Content-Length: 99999999\r\n\r\n"), O_BODY(MUCH), WHY(SEND_TIMEOUT), O_CLOSED,
        C_RESUME, CX(STATUS DATE "Content-Length: 99999999\r\n\r\n"), CUT)},
    {"send_timeout: to HTTP/1.0 the cut is a reset", "9112 8", .listener = "send_timeout = 150ms\n",
     .steps = STEPS(C("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.0", "a", "http") "\r\n"), C_PAUSE,
        O(STATUS "\r\n"), O_BODY(MUCH), WHY(SEND_TIMEOUT), O_CLOSED, C_RESUME,
        CX(STATUS DATE "Connection: close\r\n\r\n"), CUT)},

    /* Number and size. */
    {"max_requests: the last answer says so", "9112 9.6", .listener = "max_requests = 2\n",
     .steps = STEPS(SERVES("/a"), C(GET("/b") GET("/c")), OX(GOT("/b")), O(OK_),
        CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED, C_FIN,
        WHY(REQUEST_LIMIT), OX_NOTHING(20), C_NEW, KEPT)},
    {"max_requests: only one", "9112 9.6", .listener = "max_requests = 1\n", .steps = STEPS(
        ASKS, O(STATUS LENGTH(2) "Connection: keep-alive\r\n\r\nok"),
        CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED, C_FIN,
        WHY(REQUEST_LIMIT))},
    {"max_requests: pages are answers, too", "9112 9.6", .servers = "server = {dead}\n",
     .listener = "max_requests = 1\n", .steps = STEPS(
        C(GET("/a")), PAGE_CLOSE("502", "Bad Gateway"), C_FIN, WHY(REQUEST_LIMIT))},
    {"max_requests over TLS", "9112 9.6", .tls = true, .listener = "max_requests = 1\n",
     .steps = STEPS(C(GET("/a")), OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https")
        "\r\n"), O(OK_), CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED, C_FIN,
        WHY(REQUEST_LIMIT))},
    {"max_pipelined: what is sent ahead waits with its sender", "9112 9.3.2",
     .listener = "max_pipelined = 16k\n", .steps = STEPS(ASKS, STAT_IS(PIPELINE_FULL, 0),
        C_BODY(40000), STAT_IS(PIPELINE_FULL, 1), O(OK_), CX(OKD),
        PAGE_CLOSE("400", "Bad Request"))},

    /* Clients that go. */
    {"the client is gone while its request runs", "-", .steps = STEPS(
        ASKS, C_FIN, O_CLOSED, WHY(CLIENT_GONE))},
    {"the client resets while its request runs", "-", .steps = STEPS(
        ASKS, C_RESET, O_CLOSED, WHY(CLIENT_GONE))},
    {"the client is gone inside of its body", "-", .steps = STEPS(
        POSTS(10, "hello"), C_FIN, O_CLOSED, WHY(CLIENT_GONE))},
    {"the client is gone inside of the response", "-", .steps = STEPS(
        ASKS, O(STATUS LENGTH(10) "\r\nhello"), CX(STATUS DATE LENGTH(10) "\r\nhello"), C_RESET,
        O_CLOSED, WHY(CLIENT_GONE))},
    {"the client is gone inside of its head", "-", .steps = STEPS(
        C("GET /a HTTP/1.1\r\n"), C_FIN, CLOSED, WHY(CLIENT_GONE))},
    {"the client is gone while gyre connects", "-", .servers = "server = {full}\n",
     .backend = "connect_timeout = 500ms\n", .steps = STEPS(C(GET("/a")), WAIT(20), C_RESET,
        WHY(CLIENT_GONE))},
    {"the client ends its idle connection", "9112 9.6", .steps = STEPS(
        SERVES("/a"), C_FIN, CLOSED, WHY(CLIENT_EOF))},

    /* gyre that stops. */
    {"stopping: an idle connection is closed", "-", .steps = STEPS(SERVES("/a"), STOP, CLOSED,
        C_FIN, O_CLOSED)},
    {"stopping: what runs is finished, and said to be the last", "9112 9.6", .steps = STEPS(
        ASKS, STOP, WAIT(30), O(OK_), CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"),
        CLOSED, O_CLOSED)},
    {"stopping: a body that runs is finished", "9112 9.6", .steps = STEPS(
        ASKS, O(STATUS LENGTH(10) "\r\nhello"), CX(STATUS DATE LENGTH(10) "\r\nhello"), STOP,
        WAIT(30), O("world"), CX("world"), CLOSED, O_CLOSED)},
    {"stopping: drain_timeout cuts what still runs", "9112 8", .global = "drain_timeout = 100ms\n",
     .steps = STEPS(ASKS, O(STATUS LENGTH(10) "\r\nhello"), CX(STATUS DATE LENGTH(10) "\r\nhello"),
        STOP, CUT, O_CLOSED)},
    {"stopping: drain_timeout cuts what waits for its answer", "-",
     .global = "drain_timeout = 100ms\n", .steps = STEPS(ASKS, STOP, CLOSED, O_CLOSED)},
    {"stopping: drain_timeout cuts what a client does not read, visibly", "9112 8",
     .global = "drain_timeout = 200ms\n", .steps = STEPS(
        C("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.0", "a", "http") "\r\n"), C_PAUSE,
        O(STATUS "\r\n"), QUEUED, WAIT(50), STOP, O_CLOSED, WAIT(400),
        C_RESUME, CX(STATUS DATE "Connection: close\r\n\r\n"), CUT)},
    {"a client goes, the next one gets the kept connection", "-", .steps = STEPS(
        SERVES("/a"), C_NEW, KEPT, STAT_IS(DIALED, 1))},
};

int main(void) {
    return SCRIPTS_RUN("response", scripts);
}
