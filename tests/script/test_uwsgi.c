/* A server that speaks uwsgi: what becomes of requests, bodies, and answers. */
#include "script/stage.h"

#define V(name, value) "{u16}" name "{u16}" value

/* What gyre adds to a request of an HTTP/1.1 client from 127.0.0.1, as variables. */
#define ADDED(scheme)                                                                             \
    V("HTTP_VIA", "1.1 gyre") V("HTTP_X_FORWARDED_FOR", "127.0.0.1")                              \
    V("HTTP_X_REAL_IP", "127.0.0.1") V("HTTP_X_FORWARDED_PROTO", scheme)                          \
    V("HTTP_X_FORWARDED_HOST", "a") V("HTTP_X_FORWARDED_PORT", "{port}")                          \
    V("HTTP_FORWARDED", "for=127.0.0.1;host=\"a\";proto=" scheme)                                 \
    V("HTTP_X_REQUEST_ID", "{id}") V("HTTP_X_REQUEST_START", "t={n}")
#define PACKET(method, uri, script_name, path, query, length, scheme, https, fields)              \
    "{packet}" V("QUERY_STRING", query) V("REQUEST_METHOD", method) V("REQUEST_URI", uri)         \
    V("SCRIPT_NAME", script_name) V("PATH_INFO", path) V("CONTENT_TYPE", "")                      \
    V("CONTENT_LENGTH", length) V("SERVER_PROTOCOL", "HTTP/1.1") V("SERVER_NAME", "a")            \
    V("SERVER_PORT", "{port}") V("REQUEST_SCHEME", scheme) https V("REMOTE_ADDR", "127.0.0.1")    \
    V("REMOTE_PORT", "{n}") V("HTTP_HOST", "a") fields ADDED(scheme) "{end}"
#define ASKED(method, path, length) PACKET(method, path, "", path, "", length, "http", "", "")
#define GOT_PACKET(path) ASKED("GET", path, "")
#define WITH(fields) PACKET("GET", "/a", "", "/a", "", "", "http", "", fields)

#define UWSGI .backend = "protocol = uwsgi\n"
/* uWSGI closes behind its answer, and gyre does not wait for that. */
#define ANSWERED O(OK_), CX(OKD), O_CLOSED
#define ANOTHER C(GET("/next")), O_NEW, OX(GOT_PACKET("/next")), ANSWERED

#define POST(fields, body) "POST /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n" body
#define LENGTH(n) "Content-Length: " #n "\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define EXPECT "Expect: 100-continue\r\n"

#define X16 "xxxxxxxxxxxxxxxx"
#define X256 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16
#define X4K X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256
#define X64K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K
#define LARGE_HEADS .listener = "max_head = 128k\n"

static const struct script scripts[] = {
    {"a request, and one connection for each", "-", UWSGI, .steps = STEPS(
        C(GET("/a")), OX(GOT_PACKET("/a")), ANSWERED, ANOTHER, ANOTHER)},
    {"a query, and a path that is decoded", "3875 4.1.5", UWSGI, .steps = STEPS(
        C(GET("/%c3%a4/%2f?x=%20")),
        OX(PACKET("GET", "/%c3%a4/%2f?x=%20", "", "/\xc3\xa4//", "x=%20", "", "http", "", "")),
        ANSWERED)},
    {"OPTIONS *", "9112 3.2.4", UWSGI, .steps = STEPS(
        C("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        OX(PACKET("OPTIONS", "*", "", "*", "", "", "http", "", "")), ANSWERED)},
    {"over TLS", "-", UWSGI, .tls = true, .steps = STEPS(
        C(GET("/a")), OX(PACKET("GET", "/a", "", "/a", "", "", "https", V("HTTPS", "on"), "")),
        ANSWERED)},
    {"on a unix socket", "-", UWSGI, .servers = "server = {unix}\n", .steps = STEPS(
        C(GET("/a")), OX(GOT_PACKET("/a")), ANSWERED, ANOTHER)},
    {"one server of two", "-", .servers = "server = {app} weight=1 protocol=uwsgi\n",
     .steps = STEPS(C(GET("/a")), OX(GOT_PACKET("/a")), ANSWERED)},

    /* Where the app stands. */
    {"a route that is a mount", "3875 4.1.13", .more =
         "[route shop]\npath = /shop/\nmount = yes\nbackend = two\n"
         "[backend two]\nserver = {second}\nprotocol = uwsgi\n", .steps = STEPS(
        C(GET("/shop/%41?q")), O2_NEW,
        OX(PACKET("GET", "/shop/%41?q", "/shop", "/A", "q", "", "http", "", "")), ANSWERED,
        C(GET("/shop")), O2_NEW,
        OX(PACKET("GET", "/shop", "/shop", "", "", "", "http", "", "")), ANSWERED,
        C(GET("/shopping")), O_NEW, OX(GOT("/shopping")), O(OK_), CX(OKD))},
    {"a route that is none", "-", .more =
         "[route shop]\npath = /shop/\nbackend = two\n"
         "[backend two]\nserver = {second}\nprotocol = uwsgi\n", .steps = STEPS(
        C(GET("/shop/x")), O2_NEW, OX(GOT_PACKET("/shop/x")), ANSWERED)},

    /* Fields. */
    {"fields that end here", "9110 7.6.1, CVE-2016-5385", UWSGI,
     .listener = "keep_underscores = yes\n", .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nProxy: evil:80\r\nConnection: x-a, Upgrade\r\nX-A: 1\r\n"
          "Keep-Alive: 1\r\nUpgrade: websocket\r\nTE: trailers\r\nX_Real_IP: 1.2.3.4\r\nX_B: 1\r\n"
          "Accept: */*\r\n\r\n"), OX(WITH(V("HTTP_ACCEPT", "*/*"))), ANSWERED)},
    {"fields of one name", "9110 5.3, 6265 5.4", UWSGI, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nCookie: a\r\nX-A: 1\r\ncookie: b\r\nx-a: 2\r\n\r\n"),
        OX(WITH(V("HTTP_COOKIE", "a; b") V("HTTP_X_A", "1, 2"))), ANSWERED)},
    {"a stranger's forwarded fields are not believed", "7239 8.1", UWSGI, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 1.2.3.4\r\n"
          "X-Forwarded-For: 1.2.3.4\r\n\r\n"), OX(WITH("")), ANSWERED)},

    /* Bodies of requests. */
    {"a body goes behind the packet as it comes", "-", UWSGI, .steps = STEPS(
        C(POST(LENGTH(5), "he")), OX(ASKED("POST", "/a", "5") "he"), C("llo"), OX("llo"), ANSWERED,
        ANOTHER)},
    {"an empty body", "9110 8.6", UWSGI, .steps = STEPS(
        C(POST(LENGTH(0), "")), OX(ASKED("POST", "/a", "0")), ANSWERED, ANOTHER)},
    {"a large body", "-", UWSGI, .steps = STEPS(
        C(POST("Content-Length: 300000\r\n", "")), C_BODY(300000),
        OX(ASKED("POST", "/a", "300000")), OX_BODY(300000), ANSWERED, ANOTHER)},
    {"a body in chunks is taken whole", "3875 4.1.2", UWSGI, .steps = STEPS(
        C(POST(CHUNKED, "2\r\nhe\r\n")), CX_NOTHING(50), C("3\r\nllo\r\n0\r\nX: trailer\r\n\r\n"),
        OX(ASKED("POST", "/a", "5") "hello"), ANSWERED, ANOTHER)},
    {"a body in chunks, mode sync", "3875 4.1.2", UWSGI, .sync = true, .steps = STEPS(
        C(POST(CHUNKED, "5\r\nhello\r\n0\r\n\r\n")), OX(ASKED("POST", "/a", "5") "hello"),
        ANSWERED, ANOTHER)},
    {"an empty body in chunks", "3875 4.1.2", UWSGI, .steps = STEPS(
        C(POST(CHUNKED, "0\r\n\r\n")), OX(ASKED("POST", "/a", "0")), ANSWERED, ANOTHER)},
    {"gyre gives leave to send", "9110 10.1.1", UWSGI, .steps = STEPS(
        C(POST(EXPECT LENGTH(2), "")), CX("HTTP/1.1 100 Continue\r\n\r\n"),
        OX(ASKED("POST", "/a", "2")), C("hi"), OX("hi"), ANSWERED, ANOTHER)},
    {"gyre gives leave to send, in chunks", "9110 10.1.1", UWSGI, .steps = STEPS(
        C(POST(EXPECT CHUNKED, "")), CX("HTTP/1.1 100 Continue\r\n\r\n"),
        C("2\r\nhi\r\n0\r\n\r\n"), OX(ASKED("POST", "/a", "2") "hi"), ANSWERED, ANOTHER)},
    {"Expect without a body means nothing", "9110 10.1.1", UWSGI, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\n" EXPECT "\r\n"), OX(GOT_PACKET("/a")), ANSWERED)},
    {"the client goes in the middle of its body", "-", UWSGI, .steps = STEPS(
        C(POST(LENGTH(5), "he")), OX(ASKED("POST", "/a", "5") "he"), C_RESET, O_CLOSED)},

    /* Answers. */
    {"a body that ends with the connection", "9112 6.3", UWSGI, .steps = STEPS(
        C(GET("/a")), OX(GOT_PACKET("/a")), O("HTTP/1.1 200 OK\r\nX: y\r\n\r\nhel"),
        CX("HTTP/1.1 200 OK\r\nX: y\r\n" DATE CHUNKED "\r\n"), CX_PART("hel"), O("lo"), O_CLOSE,
        CX_CHUNKS("lo"), CX("\r\n"), ANOTHER)},
    {"an answer of HTTP/1.0", "-", UWSGI, .steps = STEPS(
        C(GET("/a")), OX(GOT_PACKET("/a")), O("HTTP/1.0 404 Not Here\r\nContent-Length: 2\r\n\r\nno"),
        CX("HTTP/1.1 404 Not Here\r\n" DATE LENGTH(2) "\r\nno"), O_CLOSED, ANOTHER)},
    {"a large answer", "-", UWSGI, .steps = STEPS(
        C(GET("/a")), OX(GOT_PACKET("/a")), O("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"),
        O_BODY(300000), CX("HTTP/1.1 200 OK\r\n" DATE "Content-Length: 300000\r\n\r\n"),
        CX_BODY(300000), O_CLOSED, ANOTHER)},
    {"HEAD", "9110 9.3.2", UWSGI, .steps = STEPS(
        C("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"), OX(ASKED("HEAD", "/a", "")),
        O("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        CX("HTTP/1.1 200 OK\r\n" DATE LENGTH(5) "\r\n"), O_CLOSED, ANOTHER)},
    {"an answer before the body is there", "9112 9.5", UWSGI, .steps = STEPS(
        C(POST(LENGTH(5) "Connection: close\r\n", "he")), OX(ASKED("POST", "/a", "5") "he"),
        O("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
        CX("HTTP/1.1 403 No\r\n" DATE "Content-Length: 0\r\nConnection: close\r\n\r\n"),
        O_CLOSED, C_FIN, CLOSED)},
    {"nobody was asked for an upgrade", "9110 7.8", UWSGI, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        OX(GOT_PACKET("/a")),
        O("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        PAGE("502", "Bad Gateway"), O_CLOSED)},
    {"no answer", "-", UWSGI, .steps = STEPS(
        C(POST(LENGTH(2), "hi")), OX(ASKED("POST", "/a", "2") "hi"), O_CLOSE,
        PAGE("502", "Bad Gateway"), ANOTHER)},
    {"half an answer", "-", UWSGI, .steps = STEPS(
        C(GET("/a")), OX(GOT_PACKET("/a")), O("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"),
        CX("HTTP/1.1 200 OK\r\n" DATE LENGTH(5) "\r\nhe"), O_CLOSE, CUT)},
    {"no HTTP", "-", UWSGI, .steps = STEPS(
        C(GET("/a")), OX(GOT_PACKET("/a")), O("Status: 200 OK\r\n\r\nhello"),
        PAGE("502", "Bad Gateway"), O_CLOSED)},

    /* What no packet can hold: nothing of it goes up. */
    {"a path with a NUL", "-", UWSGI, .steps = STEPS(
        C(GET("/a%00b")), O_NEW, PAGE("400", "Bad Request"), O_CLOSED, ANOTHER)},
    {"a head above 64k", "-", UWSGI, LARGE_HEADS, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nX: " X64K "\r\n\r\n"), O_NEW,
        PAGE("431", "Request Header Fields Too Large"), O_CLOSED, ANOTHER)},
    {"a head above 64k, and a body", "-", UWSGI, LARGE_HEADS, .sync = true, .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: " X64K "\r\n\r\nhello"), O_NEW,
        PAGE("431", "Request Header Fields Too Large"), O_CLOSED, ANOTHER)},
    {"a head of nearly 64k", "-", UWSGI, LARGE_HEADS, .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nX: " X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K
          X4K X4K "\r\n\r\n"),
        OX(WITH(V("HTTP_X", X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K X4K))),
        ANSWERED)},
};

int main(void) {
    return SCRIPTS_RUN("uwsgi", scripts);
}
