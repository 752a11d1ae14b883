/* What gyre changes in heads on their way, whom it believes, where it sends requests. */
#include "script/stage.h"

#define ANSWERED O(OK_), CX(OKD)
#define WITH(fields) "GET /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define GOT_WITH(fields) "GET /a HTTP/1.1\r\nHost: a\r\n" fields UP "\r\n"
/* A request, and what becomes of it. */
#define PASSES(what, rule, sent, got)                                                             \
    {what, rule, .steps = STEPS(C(sent), OX(got), ANSWERED, KEPT)}
/* A response, and what becomes of it. */
#define RETURNS(what, rule, sent, got)                                                            \
    {what, rule, .steps = STEPS(C(GET("/a")), OX(GOT("/a")), O(sent), CX(got), KEPT)}
#define TRUSTED(what, rule, sent, got)                                                            \
    {what, rule, .global = "trusted_proxies = 10.0.0.0/8, 127.0.0.0/8\n", .steps = STEPS(         \
        C(sent), OX(got), ANSWERED)}
#define LIES "X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"     \
    "X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Server: evil\r\n"               \
    "Forwarded: for=1.2.3.4;proto=https\r\nX-Request-ID: mine\r\n"
#define UNDERSCORES "X_Forwarded_For: 1.2.3.4\r\nX-Forwarded_Proto: https\r\n"                    \
    "x_real_ip: 1.2.3.4\r\nX_Request_ID: mine\r\nForwarded_: x\r\nContent_Length: 5\r\n"           \
    "Transfer_Encoding: chunked\r\nX_Mine: 1\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define LIST "HTTP/1.1 200 OK\r\n"
#define ROUTES(routes) .more = routes "[backend two]\nserver = {second}\n"
/* It goes to the second server. */
#define TO_TWO(host, path)                                                                        \
    C("GET " path " HTTP/1.1\r\nHost: " host "\r\n\r\n"), O2_NEW,                                 \
    OX("GET " path " HTTP/1.1\r\nHost: " host "\r\n" UP_FROM("1.1", host, "http") "\r\n"), ANSWERED
#define TO_APP(host, path)                                                                        \
    C("GET " path " HTTP/1.1\r\nHost: " host "\r\n\r\n"), O_NEW,                                  \
    OX("GET " path " HTTP/1.1\r\nHost: " host "\r\n" UP_FROM("1.1", host, "http") "\r\n"), ANSWERED

static const struct script scripts[] = {
    /* Hop by hop. */
    PASSES("fields of this hop end here", "9110 7.6.1",
        WITH("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n"
             "Upgrade: foo\r\nTE: gzip\r\nX-B: 1\r\n"), GOT_WITH("X-B: 1\r\n")),
    PASSES("fields that Connection names end here", "9110 7.6.1",
        WITH("X-A: 1\r\nConnection: x-a, X-B\r\nx-b: 2\r\nX-C: 3\r\nX-A: 4\r\n"),
        GOT_WITH("X-C: 3\r\n")),
    PASSES("two Connection fields", "9110 7.6.1",
        WITH("Connection: x-a\r\nX-A: 1\r\nConnection: x-b\r\nX-B: 2\r\n"), GOT_WITH("")),
    PASSES("Connection can not strip what goes end to end", "9110 7.6.1",
        WITH("Connection: Host, Cookie, Authorization, X-Forwarded-For, X-Request-ID, Via\r\n"
             "Cookie: c\r\nAuthorization: b\r\n"), GOT_WITH("Cookie: c\r\nAuthorization: b\r\n")),
    {"Connection can not strip a length", "9110 7.6.1", .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\n"
          "Content-Length: 2\r\n\r\nhi"),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP "Content-Length: 2\r\n\r\nhi"), ANSWERED, KEPT)},
    RETURNS("fields of this hop end here, in responses", "9110 7.6.1",
        LIST "Connection: keep-alive, X-A\r\nKeep-Alive: timeout=5\r\nX-A: 1\r\nX-B: 2\r\n"
        "Upgrade: h2c\r\nProxy-Connection: x\r\nContent-Length: 0\r\n\r\n",
        LIST "X-B: 2\r\n" DATE "Content-Length: 0\r\n\r\n"),
    {"a Connection of a thousand options", "-", .steps = STEPS(
        C(WITH("Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a"
               "\r\n")), PAGE_CLOSE("400", "Bad Request"))},

    /* What passes as it is. */
    PASSES("fields keep their order, their case, and their number", "9110 5.3",
        WITH("x-One: 1\r\nX-two: 2\r\nx-one: 3\r\nAccept: */*\r\n"),
        GOT_WITH("x-One: 1\r\nX-two: 2\r\nx-one: 3\r\nAccept: */*\r\n")),
    PASSES("blanks round a value end here", "9110 5.5", WITH("A: \t x y \t\r\nB:z\r\nC:\r\n"),
        GOT_WITH("A: x y\r\nB: z\r\nC: \r\n")),
    PASSES("bytes above 127 in a value", "9110 5.5", WITH("A: \xc3\xa4\r\n"),
        GOT_WITH("A: \xc3\xa4\r\n")),
    PASSES("the target stays as it was sent", "9110 7.7",
        "GET /a/../b//c%2e%2E/%41;x=1?q=/../%zz&r=a|b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/../b//c%2e%2E/%41;x=1?q=/../%zz&r=a|b HTTP/1.1\r\nHost: a\r\n" UP "\r\n"),
    PASSES("OPTIONS *", "9112 3.2.4", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n" UP "\r\n"),
    PASSES("a method that gyre does not know by name", "9110 9.1",
        "PROPFIND /a HTTP/1.1\r\nHost: a\r\n\r\n", "PROPFIND /a HTTP/1.1\r\nHost: a\r\n" UP "\r\n"),
    RETURNS("Set-Cookie is never joined", "9110 5.3",
        LIST "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: x\r\nContent-Length: 0\r\n\r\n",
        LIST "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: x\r\n" DATE
        "Content-Length: 0\r\n\r\n"),
    PASSES("Via is added to", "9110 7.6.3", WITH("Via: 1.0 fred\r\n"),
        GOT_WITH("Via: 1.0 fred\r\n")),
    RETURNS("Via of a response stays", "9110 7.6.3",
        LIST "Via: 1.1 back\r\nContent-Length: 0\r\n\r\n",
        LIST "Via: 1.1 back\r\n" DATE "Content-Length: 0\r\n\r\n"),

    /* Host. */
    PASSES("Host stays as it was sent, and comes first", "9110 7.2",
        "GET /a HTTP/1.1\r\nX: 1\r\nhost: Example.ORG:8080\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: Example.ORG:8080\r\nX: 1\r\n"
        UP_FROM("1.1", "Example.ORG:8080", "http") "\r\n"),
    PASSES("an IPv6 Host", "3986 3.2.2", "GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: [::1]:80\r\n" UP_FROM("1.1", "[::1]:80", "http") "\r\n"),
    PASSES("an absolute form names the host", "9112 3.2.2",
        "GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x?y HTTP/1.1\r\nHost: b:81\r\n" UP_FROM("1.1", "b:81", "http") "\r\n"),
    PASSES("an absolute form without a path", "9112 3.2.1",
        "GET HTTP://b HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: b\r\n" UP_FROM("1.1", "b", "http") "\r\n"),
    PASSES("an absolute form with a query alone", "9112 3.2.1",
        "GET http://b?x HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET /?x HTTP/1.1\r\nHost: b\r\n" UP_FROM("1.1", "b", "http") "\r\n"),
    PASSES("an absolute form of https on a plain listener", "9110 4.2.2",
        "GET https://b/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: b\r\n" UP_FROM("1.1", "b", "http") "\r\n"),

    /* Whom to believe. */
    PASSES("a stranger's forwarded fields are not believed", "7239 8.1", WITH(LIES), GOT("/a")),
    {"names that CGI would take for others", "RFC 3875 4.1.18", .steps = STEPS(
        C(WITH(UNDERSCORES "X-Mine: 2\r\n")), OX(GOT_WITH("X-Mine: 2\r\n")), ANSWERED,
        STAT_IS(FIELDS_DROPPED, 8), KEPT)},
    {"keep_underscores", "RFC 3875 4.1.18", .listener = "keep_underscores = yes\n",
     .steps = STEPS(C(WITH(UNDERSCORES)), OX(GOT_WITH(UNDERSCORES)), ANSWERED,
        STAT_IS(FIELDS_DROPPED, 0), KEPT)},
    {"names with _ among trailers", "RFC 3875 4.1.18", .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\n" CHUNKED "\r\n0\r\nX_Real_IP: 1\r\nX-Sum: 2\r\n\r\n"),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP CHUNKED "\r\n"), OX_CHUNKS(""),
        OX("X-Sum: 2\r\n\r\n"), ANSWERED, STAT_IS(FIELDS_DROPPED, 1), KEPT)},
    {"names with _ among trailers, with keep_underscores", "RFC 3875 4.1.18",
     .listener = "keep_underscores = yes\n", .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\n" CHUNKED "\r\n0\r\nX_Sum: 1\r\n\r\n"),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP CHUNKED "\r\n"), OX_CHUNKS(""),
        OX("X_Sum: 1\r\n\r\n"), ANSWERED, STAT_IS(FIELDS_DROPPED, 0), KEPT)},
    RETURNS("names with _ in responses", "9110 5.1",
        LIST "X_Mine: 1\r\nContent-Length: 0\r\n\r\n",
        LIST "X_Mine: 1\r\n" DATE "Content-Length: 0\r\n\r\n"),
    TRUSTED("a trusted proxy's fields are kept and added to", "7239 4", WITH(LIES),
        "GET /a HTTP/1.1\r\nHost: a\r\nX-Real-IP: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
        "X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Server: evil\r\n"
        "X-Request-ID: mine\r\nVia: 1.1 gyre\r\nX-Forwarded-For: 1.2.3.4, 127.0.0.1\r\n"
        "Forwarded: for=1.2.3.4;proto=https, for=127.0.0.1;host=\"a\";proto=http\r\n"
        "X-Request-Start: t={n}\r\n\r\n"),
    TRUSTED("a trusted proxy that says nothing", "7239 4", GET("/a"), GOT("/a")),
    TRUSTED("several X-Forwarded-For become one list", "9110 5.3",
        WITH("X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nX-Forwarded-For: 9.9.9.9\r\n"),
        "GET /a HTTP/1.1\r\nHost: a\r\nVia: 1.1 gyre\r\n"
        "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 9.9.9.9, 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n"
        "X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: {port}\r\n"
        "Forwarded: for=127.0.0.1;host=\"a\";proto=http\r\nX-Request-ID: {id}\r\n"
        "X-Request-Start: t={n}\r\n\r\n"),
    TRUSTED("a request id that is none is made anew", "-",
        WITH("X-Request-ID: a b\r\n"), GOT("/a")),
    TRUSTED("two request ids are none", "-",
        WITH("X-Request-ID: a\r\nX-Request-ID: b\r\n"), GOT("/a")),
    TRUSTED("of two that should be one, one is not the trusted proxy's", "-",
        WITH("X-Real-IP: 1.2.3.4\r\nX-Real-IP: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n"
             "X-Forwarded-Proto: http\r\nX-Forwarded-Host: b\r\nX-Forwarded-Host: c\r\n"),
        GOT("/a")),
    {"trust is by address", "-", .global = "trusted_proxies = 10.0.0.0/8\n", .steps = STEPS(
        C(WITH(LIES)), OX(GOT("/a")), ANSWERED)},
    {"over TLS the scheme is https", "7239 5.4", .tls = true, .steps = STEPS(
        C(WITH(LIES)), OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.1", "a", "https") "\r\n"),
        ANSWERED)},
    {"every request has an id of its own", "-", .steps = STEPS(
        C(GET("/a") GET("/b")), OX(GOT("/a")), ANSWERED, OX(GOT("/b")), ANSWERED)},

    /* Where to. */
    {"no route and no backend: 404", "-", .bare = true,
     .more = "[route r]\nhost = b\nbackend = app\n", .steps = STEPS(
        C(GET("/a")), PAGE("404", "Not Found"), C("GET / HTTP/1.1\r\nHost: b\r\n\r\n"),
        OX("GET / HTTP/1.1\r\nHost: b\r\n" UP_FROM("1.1", "b", "http") "\r\n"), ANSWERED)},
    {"404 to a request with a body", "9112 9.3", .bare = true,
     .more = "[route r]\nhost = b\nbackend = app\n", .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"),
        PAGE_CLOSE("404", "Not Found"))},
    {"404 to a client that waits for a 100", "9110 10.1.1", .bare = true,
     .more = "[route r]\nhost = b\nbackend = app\n", .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
        PAGE_CLOSE("404", "Not Found"))},
    {"hosts and paths", "-", ROUTES("[route r]\nhost = b, *.c.d\npath = /ws/\nbackend = two\n"),
     .steps = STEPS(TO_APP("b", "/"), TO_TWO("b", "/ws/"))},
    {"a wildcard is for what is below it", "-", ROUTES("[route r]\nhost = *.c.d\nbackend = two\n"),
     .steps = STEPS(TO_APP("c.d", "/"), TO_TWO("x.C.d:80", "/"))},
    {"an absolute form routes by its authority", "9112 3.2.2",
     ROUTES("[route r]\nhost = b\nbackend = two\n"), .steps = STEPS(
        C("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), O2_NEW,
        OX("GET / HTTP/1.1\r\nHost: b\r\n" UP_FROM("1.1", "b", "http") "\r\n"), ANSWERED)},
    {"the longest path", "-", ROUTES("[route r]\npath = /x\nbackend = app\n"
     "[route s]\npath = /x/y\nbackend = two\n"), .steps = STEPS(
        TO_APP("a", "/x/z"), TO_TWO("a", "/x/y?q"))},
    {"redirect_https: 308", "9110 15.4.9", .bare = true, .listener = "redirect_https = yes\n",
     .steps = STEPS(C("POST /a?b=c HTTP/1.1\r\nHost: ex.org:80\r\nContent-Length: 0\r\n\r\n"),
        CX(PAGE_HEAD("308", "Permanent Redirect", "Location: https://ex.org/a?b=c\r\n", "")
           PAGE_HTML("308", "Permanent Redirect")),
        C("POST /a?b=c HTTP/1.1\r\nHost: ex.org:80\r\nContent-Length: 2\r\n\r\n"),
        CX(PAGE_HEAD("308", "Permanent Redirect", "Location: https://ex.org/a?b=c\r\n",
                     "Connection: close\r\n") PAGE_HTML("308", "Permanent Redirect")), CLOSED)},
    {"redirect_https to another port", "9110 15.4.9", .bare = true,
     .listener = "redirect_https = 8443\n", .steps = STEPS(
        C("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
        CX(PAGE_HEAD("308", "Permanent Redirect", "Location: https://[::1]:8443/\r\n", "")
           PAGE_HTML("308", "Permanent Redirect")))},
    {"redirect_https without Host", "-", .bare = true, .listener = "redirect_https = yes\n",
     .steps = STEPS(C("GET / HTTP/1.0\r\n\r\n"), PAGE_CLOSE("400", "Bad Request"))},
    {"two servers in turn", "-", .servers = "server = {app}\nserver = {second}\n",
     .backend = "balance = round_robin\n", .steps = STEPS(
        TO_APP("a", "/1"), TO_TWO("a", "/2"), STAT_IS(DIALED, 2))},
};

int main(void) {
    return SCRIPTS_RUN("forward", scripts);
}
