/* Messages as they pass through: keep-alive, pipelining, bodies and their framing, trailers, HEAD,
 * HTTP/1.0, interim responses, Expect. */
#include "script/stage.h"

#define POST(path, fields, body) "POST " path " HTTP/1.1\r\nHost: a\r\n" fields "\r\n" body
#define POSTED(path, framing) "POST " path " HTTP/1.1\r\nHost: a\r\n" UP framing "\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define LENGTH(n) "Content-Length: " #n "\r\n"
#define STATUS "HTTP/1.1 200 OK\r\n"
#define GET_TE "GET /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
#define GOT_TE "GET /a HTTP/1.1\r\nHost: a\r\n" UP "TE: trailers\r\nConnection: TE\r\n\r\n"
#define UP10 UP_FROM("1.0", "a", "http")

static const struct script scripts[] = {
    /* Connections. */
    {"a GET, and another on the same two connections", "9112 9.3", .steps = STEPS(
        SERVES("/a"), KEPT, STAT_IS(DIALED, 1), STAT_IS(REUSED, 1), STAT_IS(ACCEPTED, 1))},
    {"over TLS", "9110 4.2.2", .tls = true, .steps = STEPS(
        C(GET("/a")), OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") "\r\n"),
        O(OK_), CX(OKD),
        C(GET("/b")), OX("GET /b HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") "\r\n"),
        O(OK_), CX(OKD), STAT_IS(HANDSHAKES, 1))},
    {"pipelined: answers in order, one request at a time", "9112 9.3.2", .steps = STEPS(
        C(GET("/1") GET("/2") GET("/3")), OX(GOT("/1")), OX_NOTHING(20), O(OK_), CX(OKD),
        OX(GOT("/2")), OX_NOTHING(20), O("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"),
        CX("HTTP/1.1 200 OK\r\n" DATE "Content-Length: 3\r\n\r\ntwo"),
        OX(GOT("/3")), O(OK_), CX(OKD), KEPT)},
    {"pipelined with bodies", "9112 9.3.2", .steps = STEPS(SERVES("/a"), SERVES("/b"),
        C(POST("/1", LENGTH(5), "hello") POST("/2", CHUNKED, "3\r\nyou\r\n0\r\n\r\n") GET("/3")),
        OX(POSTED("/1", LENGTH(5)) "hello"), O(OK_), CX(OKD),
        OX(POSTED("/2", CHUNKED)), OX_CHUNKS("you"), OX("\r\n"), O(OK_), CX(OKD),
        OX(GOT("/3")), O(OK_), CX(OKD), KEPT)},
    {"pipelined over TLS", "9112 9.3.2", .tls = true, .steps = STEPS(
        C("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"),
        OX("GET /1 HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") "\r\n"), O(OK_), CX(OKD),
        OX("GET /2 HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") "\r\n"), O(OK_),
        CX(OKD))},
    {"the client says close", "9112 9.6", .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/never")), OX(GOT("/a")),
        O(OK_), CX("HTTP/1.1 200 OK\r\n" DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED)},
    {"the client says close among other options", "9110 7.6.1", .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nConnection: x-a, Close\r\nX-A: 1\r\n\r\n"), OX(GOT("/a")),
        O(OK_), CX("HTTP/1.1 200 OK\r\n" DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED)},
    {"the server says close: its connection is not used again, the client's is", "9112 9.6",
     .steps = STEPS(C(GET("/a")), OX(GOT("/a")),
        O("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"), CX(OKD), O_CLOSED,
        KEPT_BY_CLIENT)},
    {"empty lines before a request are passed over", "9112 2.2", .steps = STEPS(
        C("\r\n\r\n" GET("/a")), OX(GOT("/a")), O(OK_), CX(OKD), C("\r\n"), KEPT)},
    {"a kept connection that the server ends is not used again", "9112 9.5", .steps = STEPS(
        SERVES("/a"), O_FIN, O_CLOSED, WHY(BACKEND_IDLE), KEPT_BY_CLIENT)},
    {"keepalive = 0: no connection is kept", "9112 9.3", .backend = "keepalive = 0\n",
     .steps = STEPS(SERVES("/a"), O_CLOSED, KEPT_BY_CLIENT)},
    {"keepalive_timeout ends a kept connection", "9112 9.5",
     .backend = "keepalive_timeout = 60ms\n", .steps = STEPS(SERVES("/a"), O_CLOSED,
        KEPT_BY_CLIENT)},
    {"a unix socket as server", "-", .servers = "server = {unix}\n", .steps = STEPS(
        SERVES("/a"), KEPT)},

    /* Requests with bodies. */
    {"a body with its length", "9112 6.2", .steps = STEPS(
        C(POST("/a", LENGTH(11), "hello world")), OX(POSTED("/a", LENGTH(11)) "hello world"),
        O(OK_), CX(OKD), KEPT)},
    {"a body without bytes", "9110 8.6", .steps = STEPS(
        C(POST("/a", LENGTH(0), "")), OX(POSTED("/a", LENGTH(0))), O(OK_), CX(OKD), KEPT)},
    {"a POST without any length says that there is none", "9110 8.6", .steps = STEPS(
        C(POST("/a", "", "")), OX(POSTED("/a", LENGTH(0))), O(OK_), CX(OKD), KEPT)},
    {"a GET with a body", "9110 9.3.1", .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP LENGTH(2) "\r\nhi"), O(OK_), CX(OKD), KEPT)},
    {"a chunked body is framed anew", "9112 7.1", .steps = STEPS(
        C(POST("/a", CHUNKED, "5\r\nhello\r\n1\r\n \r\n0005\r\nworld\r\n0\r\n\r\n")),
        OX(POSTED("/a", CHUNKED)), OX_CHUNKS("hello world"), OX("\r\n"), O(OK_), CX(OKD), KEPT)},
    {"a chunked body without bytes", "9112 7.1", .steps = STEPS(
        C(POST("/a", CHUNKED, "0\r\n\r\n")), OX(POSTED("/a", CHUNKED)), OX_CHUNKS(""), OX("\r\n"),
        O(OK_), CX(OKD), KEPT)},
    {"chunk extensions end here", "9112 7.1.1", .steps = STEPS(
        C(POST("/a", CHUNKED, "5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n")),
        OX(POSTED("/a", CHUNKED)),
        OX_CHUNKS("hello"), OX("\r\n"), O(OK_), CX(OKD), KEPT)},
    {"CHUNKED in any case", "9112 7", .steps = STEPS(
        C(POST("/a", "TRANSFER-encoding: ChunKed\r\n", "2\r\nhi\r\n0\r\n\r\n")),
        OX(POSTED("/a", CHUNKED)), OX_CHUNKS("hi"), OX("\r\n"), O(OK_), CX(OKD), KEPT)},
    {"a body streams: what has come goes on at once", "-", .steps = STEPS(
        C(POST("/a", LENGTH(10), "hello")), OX(POSTED("/a", LENGTH(10)) "hello"), OX_NOTHING(20),
        C("world"), OX("world"), O(OK_), CX(OKD), KEPT)},
    {"a large body up", "-", .steps = STEPS(
        C(POST("/a", LENGTH(200000), "")), C_BODY(200000), OX(POSTED("/a", LENGTH(200000))),
        OX_BODY(200000), O(OK_), CX(OKD), KEPT)},
    {"a large body up to a server that reads late", "-", .steps = STEPS(
        C(POST("/a", LENGTH(400000), "")), OX(POSTED("/a", LENGTH(400000))), O_PAUSE,
        C_BODY(400000), WAIT(30), O_RESUME, OX_BODY(400000), O(OK_), CX(OKD), KEPT)},
    {"a body that fills every queue waits for its server", "-", .steps = STEPS(
        C(POST("/a", LENGTH(900000), "")), OX(POSTED("/a", LENGTH(900000))), O_PAUSE,
        C_BODY(900000), WAIT(500), O_RESUME, OX_BODY(900000), O(OK_), CX(OKD), KEPT)},
    {"a large body up from TLS", "-", .tls = true, .steps = STEPS(
        C(POST("/a", LENGTH(60000), "")), C_BODY(60000),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") LENGTH(60000) "\r\n"),
        OX_BODY(60000), O(OK_), CX(OKD))},
    {"an answer before the end of the request's body", "9112 9.3", .steps = STEPS(
        C(POST("/a", LENGTH(10), "hello")), OX(POSTED("/a", LENGTH(10)) "hello"), O(OK_),
        CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), O_CLOSED, CLOSED)},

    /* Responses with bodies. */
    {"a chunked response is framed anew", "9112 7.1", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")),
        O(STATUS CHUNKED "\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"),
        CX(STATUS DATE CHUNKED "\r\n"), CX_CHUNKS("hello world"), CX("\r\n"), KEPT)},
    {"a response without bytes", "9112 6.2", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(STATUS LENGTH(0) "\r\n"), CX(STATUS DATE LENGTH(0) "\r\n"),
        KEPT)},
    {"a chunked response without bytes", "9112 7.1", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(STATUS CHUNKED "\r\n0\r\n\r\n"),
        CX(STATUS DATE CHUNKED "\r\n"), CX_CHUNKS(""), CX("\r\n"), KEPT)},
    {"a response until close becomes a chunked one", "9112 6.3", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(STATUS "\r\nhello"), CX(STATUS DATE CHUNKED "\r\n"),
        O(" you"),
        O_FIN, CX_CHUNKS("hello you"), CX("\r\n"), KEPT_BY_CLIENT)},
    {"a response until close without bytes", "9112 6.3", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(STATUS "\r\n"), O_FIN, CX(STATUS DATE CHUNKED "\r\n"),
        CX_CHUNKS(""), CX("\r\n"), KEPT_BY_CLIENT)},
    {"a response streams: an event goes on at once", "-", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(STATUS CHUNKED "\r\n"), CX(STATUS DATE CHUNKED "\r\n"),
        O("9\r\ndata: 1\n\n\r\n"), CX_PART("data: 1\n\n"), CX_NOTHING(20),
        O("9\r\ndata: 2\n\n\r\n"),
        CX_PART("data: 2\n\n"), O("0\r\n\r\n"), CX_CHUNKS(""), CX("\r\n"), KEPT)},
    {"a large response", "-", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(STATUS LENGTH(300000) "\r\n"), O_BODY(300000),
        CX(STATUS DATE LENGTH(300000) "\r\n"), CX_BODY(300000), KEPT)},
    {"a large response to a client that reads late", "-", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), C_PAUSE, O(STATUS LENGTH(250000) "\r\n"), O_BODY(250000),
        WAIT(30), C_RESUME, CX(STATUS DATE LENGTH(250000) "\r\n"), CX_BODY(250000), KEPT)},
    {"a larger one, that goes through our hands", "-", .tls = true, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") "\r\n"), C_PAUSE,
        O(STATUS LENGTH(500000) "\r\n"), O_BODY(500000),
        WAIT(30), C_RESUME, CX(STATUS DATE LENGTH(500000) "\r\n"), CX_BODY(500000))},
    {"a large response that does not: both connections are kept", "-", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(STATUS LENGTH(2000000) "\r\n"), O_BODY(2000000),
        CX(STATUS DATE LENGTH(2000000) "\r\n"), CX_BODY(2000000), KEPT,
        STAT_IS(SPLICE_REFUSED, 0), STAT_IS(DIALED, 1))},
    {"a large response until close", "-", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(STATUS "\r\n"), O_BODY(100000), O_FIN,
        CX(STATUS DATE CHUNKED "\r\n"), CX_CHUNKS_BODY(100000), CX("\r\n"), KEPT_BY_CLIENT)},
    {"a large response over TLS", "-", .tls = true, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") "\r\n"),
        O(STATUS LENGTH(100000) "\r\n"), O_BODY(100000), CX(STATUS DATE LENGTH(100000) "\r\n"),
        CX_BODY(100000))},
    {"a reason phrase passes, an empty one is filled in", "9112 4", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O("HTTP/1.1 299 Quite Fine\r\nContent-Length: 0\r\n\r\n"),
        CX("HTTP/1.1 299 Quite Fine\r\n" DATE LENGTH(0) "\r\n"),
        C(GET("/b")), OX(GOT("/b")), O("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"),
        CX("HTTP/1.1 404 Not Found\r\n" DATE LENGTH(0) "\r\n"), KEPT)},
    {"a Date that the server sent stays", "9110 6.6.1", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")),
        O("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n"),
        CX("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n"),
        KEPT)},

    /* No body, whatever the head says. */
    {"HEAD: the length is told, no body follows", "9112 6.3 1", .steps = STEPS(
        C("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"), OX("HEAD /a HTTP/1.1\r\nHost: a\r\n" UP "\r\n"),
        O(STATUS LENGTH(1234) "\r\n"), CX(STATUS DATE LENGTH(1234) "\r\n"), KEPT)},
    {"HEAD of what would be chunked", "9112 6.3 1", .steps = STEPS(
        C("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"), OX("HEAD /a HTTP/1.1\r\nHost: a\r\n" UP "\r\n"),
        O(STATUS CHUNKED "\r\n"), CX(STATUS DATE "\r\n"), KEPT)},
    {"HEAD without any length", "9112 6.3 1", .steps = STEPS(
        C("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"), OX("HEAD /a HTTP/1.1\r\nHost: a\r\n" UP "\r\n"),
        O(STATUS "\r\n"), CX(STATUS DATE "\r\n"), KEPT)},
    {"a page of gyre's own to HEAD has no body", "9110 9.3.2", .listener = "max_body = 10\n",
     .servers = "server = {dead}\n", .steps = STEPS(
        C("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        CX("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html; charset=utf-8\r\n" DATE
           "Content-Length: {n}\r\n\r\n"), CX_NOTHING(20))},
    {"204 has neither body nor length", "9110 15.3.5", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O("HTTP/1.1 204 No Content\r\n\r\n"),
        CX("HTTP/1.1 204 No Content\r\n" DATE "\r\n"), KEPT)},
    {"204 with Content-Length: 0", "9110 8.6", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        CX("HTTP/1.1 204 No Content\r\n" DATE "\r\n"), KEPT)},
    {"304 keeps its length and has no body", "9110 15.4.5", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), 
        O("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n"),
        CX("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n" DATE LENGTH(99) "\r\n"), KEPT)},
    {"205 without a body", "9110 15.3.6", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O("HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
        CX("HTTP/1.1 205 Reset Content\r\n" DATE LENGTH(0) "\r\n"), KEPT)},

    /* Trailers. */
    {"trailers of a request", "9110 6.5", .steps = STEPS(
        C(POST("/a", "Trailer: X-Sum\r\n" CHUNKED, "2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n")),
        OX("POST /a HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\n" UP CHUNKED "\r\n"), OX_CHUNKS("hi"),
        OX("X-Sum: 7\r\n\r\n"), O(OK_), CX(OKD), KEPT)},
    {"fields that are no trailers are dropped from a request's", "9110 6.5.1", .steps = STEPS(
        C(POST("/a", CHUNKED, "2\r\nhi\r\n0\r\nHost: b\r\nX-A: 1\r\nAuthorization: x\r\n"
               "X-Forwarded-For: 1.2.3.4\r\nCookie: c\r\nForwarded: for=x\r\n\r\n")),
        OX(POSTED("/a", CHUNKED)), OX_CHUNKS("hi"), OX("X-A: 1\r\n\r\n"), O(OK_), CX(OKD), KEPT)},
    {"trailers of a response, to a client that takes them", "9110 6.5.1", .steps = STEPS(
        C(GET_TE), OX(GOT_TE), O(STATUS CHUNKED "\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nX-B: 8\r\n\r\n"),
        CX(STATUS DATE CHUNKED "\r\n"), CX_CHUNKS("ok"), CX("X-Sum: 7\r\nX-B: 8\r\n\r\n"), KEPT)},
    {"trailers of a response, to a client that did not ask", "9110 6.5.1", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(STATUS CHUNKED "\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"),
        CX(STATUS DATE CHUNKED "\r\n"), CX_CHUNKS("ok"), CX("\r\n"), KEPT)},
    {"fields that are no trailers are dropped from a response's", "9110 6.5.1", .steps = STEPS(
        C(GET_TE), OX(GOT_TE), 
        O(STATUS CHUNKED "\r\n2\r\nok\r\n0\r\nSet-Cookie: a=b\r\nX-Sum: 7\r\n"
          "Location: /x\r\nConnection: X-Sum\r\n\r\n"),
        CX(STATUS DATE CHUNKED "\r\n"), CX_CHUNKS("ok"), CX("X-Sum: 7\r\n\r\n"), KEPT)},
    {"TE names only what gyre means", "9110 10.1.4", .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nTE: gzip;q=0.5, trailers\r\nConnection: TE\r\n\r\n"),
        OX(GOT_TE), O(OK_), CX(OKD),
        C("GET /a HTTP/1.1\r\nHost: a\r\nTE: gzip\r\nConnection: TE\r\n\r\n"), OX(GOT("/a")),
        O(OK_), CX(OKD), KEPT)},

    /* HTTP/1.0. */
    {"an HTTP/1.0 client: served, then closed", "9112 9.3", .steps = STEPS(
        C("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"), OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP10 "\r\n"),
        O(OK_), CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED)},
    {"an HTTP/1.0 client that asks for keep-alive", "9112 9.3", .steps = STEPS(
        C("GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP10 "\r\n"), O(OK_),
        CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED)},
    {"an HTTP/1.0 client without Host", "9112 3.2", .steps = STEPS(
        C("GET /a HTTP/1.0\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: \r\nVia: 1.0 gyre\r\nX-Forwarded-For: 127.0.0.1\r\n"
           "X-Real-IP: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: {port}\r\n"
           "Forwarded: for=127.0.0.1;proto=http\r\nX-Request-ID: {id}\r\n"
           "X-Request-Start: t={n}\r\n\r\n"),
        O(OK_), CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED)},
    {"an HTTP/1.0 client never gets chunks", "9112 6.1", .steps = STEPS(
        C("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"), OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP10 "\r\n"),
        O(STATUS CHUNKED "\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n"),
        CX(STATUS DATE "Connection: close\r\n\r\nhello world"), CLOSED)},
    {"an HTTP/1.0 client sees a cut response as a reset", "9112 8", .steps = STEPS(
        C("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"), OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP10 "\r\n"),
        O(STATUS CHUNKED "\r\n5\r\nhello\r\n"), CX(STATUS DATE "Connection: close\r\n\r\nhello"),
        O_FIN, CUT, WHY(BACKEND_CUT))},
    {"an HTTP/1.0 client with a body", "9112 6.3", .steps = STEPS(
        C("POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP10 LENGTH(2) "\r\nhi"), O(OK_),
        CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED)},
    {"an HTTP/1.0 server: its connection is not kept", "9112 9.3", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), CX(OKD),
        O_CLOSED, KEPT_BY_CLIENT)},
    {"an HTTP/1.0 server that says keep-alive is kept", "9112 9.3", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")),
        O("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"), CX(OKD),
        KEPT)},
    {"an HTTP/1.0 server until close", "9112 6.3", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O("HTTP/1.0 200 OK\r\n\r\nhello"), O_CLOSE,
        CX(STATUS DATE CHUNKED "\r\n"), CX_CHUNKS("hello"), CX("\r\n"), KEPT_BY_CLIENT)},
    {"HTTP/1.0 on both sides, until close", "9112 6.3", .steps = STEPS(
        C("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"), OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP10 "\r\n"),
        O("HTTP/1.0 200 OK\r\n\r\nhello"), O_FIN, CX(STATUS DATE "Connection: close\r\n\r\nhello"),
        CLOSED)},

    /* Interim responses. */
    {"103 goes before its answer", "9110 15.2", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
        CX("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), CX_NOTHING(20), O(OK_), CX(OKD),
        KEPT)},
    {"several 1xx in one piece with their answer", "9110 15.2", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n"
          "Link: </x>\r\n\r\nHTTP/1.1 199 Whatever\r\n\r\n" OK_),
        CX("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
           "HTTP/1.1 199 Whatever\r\n\r\n" OKD), KEPT)},
    {"sixteen 1xx", "9110 15.2", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")),
#define FOUR "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"                    \
             "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"
        O(FOUR FOUR FOUR FOUR OK_), CX(FOUR FOUR FOUR FOUR OKD), KEPT)},
    {"ever more 1xx are no answer", "9110 15.2", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(FOUR FOUR FOUR FOUR "HTTP/1.1 103 Early Hints\r\n\r\n"),
        CX(FOUR FOUR FOUR FOUR), PAGE("502", "Bad Gateway"), O_CLOSED, KEPT_BY_CLIENT)},
    {"1xx never goes to an HTTP/1.0 client", "9110 15.2", .steps = STEPS(
        C("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"), OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP10 "\r\n"),
        O("HTTP/1.1 103 Early Hints\r\n\r\n" OK_),
        CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED)},
    {"a 100 that nobody asked for is forwarded", "9110 15.2", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O("HTTP/1.1 100 Continue\r\n\r\n" OK_),
        CX("HTTP/1.1 100 Continue\r\n\r\n" OKD), KEPT)},
    {"103 over TLS", "9110 15.2", .tls = true, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") "\r\n"),
        O("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" OK_),
        CX("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" OKD))},

    /* Expect. */
#define EXPECT "Expect: 100-continue\r\n"
#define EXPECTED "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" UP LENGTH(5) "\r\n"
    {"Expect: the server's 100 is forwarded, then the body comes", "9110 10.1.1", .steps = STEPS(
        C(POST("/a", EXPECT LENGTH(5), "")), OX(EXPECTED), OX_NOTHING(20),
        O("HTTP/1.1 100 Continue\r\n\r\n"), CX("HTTP/1.1 100 Continue\r\n\r\n"), C("hello"),
        OX("hello"), O(OK_), CX(OKD), KEPT)},
    {"Expect: in any case, with a chunked body", "9110 10.1.1", .steps = STEPS(
        C(POST("/a", "Expect: 100-CONTINUE\r\n" CHUNKED, "")),
        OX("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-CONTINUE\r\n" UP CHUNKED "\r\n"),
        O("HTTP/1.1 100 Continue\r\n\r\n"), CX("HTTP/1.1 100 Continue\r\n\r\n"),
        C("5\r\nhello\r\n0\r\n\r\n"), OX_CHUNKS("hello"), OX("\r\n"), O(OK_), CX(OKD), KEPT)},
    {"Expect: a final answer before the body closes the connection", "9110 10.1.1", .steps = STEPS(
        C(POST("/a", EXPECT LENGTH(5), "")), OX(EXPECTED),
        O("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
        CX("HTTP/1.1 403 Forbidden\r\n" DATE LENGTH(2) "Connection: close\r\n\r\nno"), O_CLOSED,
        CLOSED)},
    {"Expect: a client that does not wait", "9110 10.1.1", .steps = STEPS(
        C(POST("/a", EXPECT LENGTH(5), "hello")), OX(EXPECTED "hello"),
        O("HTTP/1.1 100 Continue\r\n\r\n" OK_), CX("HTTP/1.1 100 Continue\r\n\r\n" OKD), KEPT)},
    {"Expect: 417 from the server passes", "9110 15.5.18", .steps = STEPS(
        C(POST("/a", EXPECT LENGTH(5), "")), OX(EXPECTED),
        O("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"),
        CX("HTTP/1.1 417 Expectation Failed\r\n" DATE LENGTH(0) "Connection: close\r\n\r\n"),
        CLOSED)},
    {"Expect without a body means nothing", "9110 10.1.1", .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"), OX(GOT("/a")), O(OK_),
        CX(OKD), KEPT)},
    {"Expect from an HTTP/1.0 client is not heard", "9110 10.1.1", .steps = STEPS(
        C("POST /a HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP10 LENGTH(2) "\r\nhi"), O(OK_),
        CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED)},
};

int main(void) {
    return SCRIPTS_RUN("message", scripts);
}
