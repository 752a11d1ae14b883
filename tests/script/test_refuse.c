/* Requests that are refused: the client gets a status and the end of its connection, the server
 * nothing, and what follows is never read as a request. */
#include "script/stage.h"

/* What a smuggler would like to see at the server. */
#define NEXT "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
#define REFUSED(what, rule, bytes, status, reason)                                                \
    {what, rule, .steps = STEPS(C(bytes NEXT), PAGE_CLOSE(status, reason), C_FIN,                 \
                                WHY(BAD_REQUEST), STAT_IS(DIALED, 0))}
#define BAD(what, rule, bytes) REFUSED(what, rule, bytes, "400", "Bad Request")
#define LINE(line) line "\r\nHost: a\r\n\r\n"
#define GET_WITH(fields) "GET /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define POST_WITH(fields, body) "POST /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n" body
#define TEN(x) x x x x x x x x x x
#define CHUNKS "5\r\nhello\r\n0\r\n\r\n"

/* A body that turns out to be malformed when its head is at the server already. */
#define BAD_CHUNK(what, rule, bytes)                                                              \
    {what, rule, .steps = STEPS(                                                                  \
        C(POST_WITH("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n")),                            \
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP "Transfer-Encoding: chunked\r\n\r\n"),            \
        OX_PART("hi"), C(bytes NEXT), PAGE_CLOSE("400", "Bad Request"), O_CUT)}

static const struct script scripts[] = {
    /* The request line. */
    BAD("two blanks before the target", "9112 3", LINE("GET  / HTTP/1.1")),
    BAD("two blanks before the version", "9112 3", LINE("GET /  HTTP/1.1")),
    BAD("a blank in front", "9112 3", LINE(" GET / HTTP/1.1")),
    BAD("a blank behind the version", "9112 3", LINE("GET / HTTP/1.1 ")),
    BAD("tabs in the line", "9112 3", LINE("GET\t/\tHTTP/1.1")),
    BAD("a bare LF behind the line", "9112 2.2", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    BAD("a bare CR in the line", "9112 2.2", "GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD("a NUL in the line", "9112 3", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD("more empty lines than a slip", "9112 2.2", "\r\n\r\n\r\n\r\n\r\n" GET("/a")),
    BAD("HTTP/0.9", "9112 2.3", "GET /\r\n"),
    BAD("HTTP/0.9 with fields", "FACTS D3", "GET /\r\nHost: a\r\n\r\n"),
    REFUSED("HTTP/0.9 by its name", "FACTS D3", LINE("GET / HTTP/0.9"), "505",
            "HTTP Version Not Supported"),
    REFUSED("HTTP/2.0 in the line", "FACTS D3", LINE("GET / HTTP/2.0"), "505",
            "HTTP Version Not Supported"),
    REFUSED("HTTP/1.2", "9110 2.5", LINE("GET / HTTP/1.2"), "505", "HTTP Version Not Supported"),
    REFUSED("the preface of HTTP/2", "9113 3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505",
            "HTTP Version Not Supported"),
    BAD("RTSP", "FACTS D3", LINE("OPTIONS * RTSP/1.0")),
    BAD("ICE", "FACTS D3", LINE("SOURCE / ICE/1.0")),
    BAD("a TLS hello on a plain listener", "-", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    REFUSED("an extension method", "9110 9.1", LINE("FROBNICATE / HTTP/1.1"), "501",
            "Not Implemented"),
    REFUSED("a method in lower case", "9110 9.1", LINE("get / HTTP/1.1"), "501",
            "Not Implemented"),
    BAD("a method that is no token", "9110 9.1", LINE("G@T(/ / HTTP/1.1")),
    {"TRACE", "9110 9.3.8", .steps = STEPS(C(LINE("TRACE / HTTP/1.1") NEXT),
        CX(PAGE_HEAD("405", "Method Not Allowed",
                     "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n",
                     "Connection: close\r\n") PAGE_HTML("405", "Method Not Allowed")), CLOSED)},
    {"CONNECT", "9110 9.3.6", .steps = STEPS(
        C("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n" NEXT),
        CX(PAGE_HEAD("405", "Method Not Allowed",
                     "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n",
                     "Connection: close\r\n") PAGE_HTML("405", "Method Not Allowed")), CLOSED)},

    /* Targets and authorities. */
    BAD("a fragment", "9112 3.2.1", LINE("GET /a#b HTTP/1.1")),
    BAD("quotes in the target", "3986", LINE("GET /\"a\" HTTP/1.1")),
    BAD("a backslash in the path", "3986", LINE("GET /a\\..\\b HTTP/1.1")),
    BAD("angle brackets", "3986", LINE("GET /<a> HTTP/1.1")),
    BAD("bytes above 127", "3986", LINE("GET /\xc3\xa4 HTTP/1.1")),
    BAD("DEL", "3986", LINE("GET /\x7f HTTP/1.1")),
    BAD("an asterisk with more behind it", "FACTS D3", LINE("GET *evil HTTP/1.1")),
    BAD("an asterisk of GET", "9112 3.2.4", LINE("GET * HTTP/1.1")),
    BAD("a target without a slash", "9112 3.2.1", LINE("GET a HTTP/1.1")),
    BAD("another scheme", "9112 3.2.2", LINE("GET ftp://a/ HTTP/1.1")),
    BAD("user information", "9110 4.2.4", LINE("GET http://u:p@a/ HTTP/1.1")),
    BAD("an absolute form without authority", "9110 4.2.1", LINE("GET http:///a HTTP/1.1")),
    BAD("an authority as target", "9112 3.2.3", LINE("GET a:80 HTTP/1.1")),
    BAD("no Host", "9112 3.2", "GET / HTTP/1.1\r\n\r\n"),
    BAD("no Host beside an absolute form", "9112 3.2.2", "GET http://a/ HTTP/1.1\r\n\r\n"),
    BAD("two Hosts", "9112 3.2", GET_WITH("Host: b\r\n")),
    BAD("two equal Hosts", "9112 3.2", GET_WITH("Host: a\r\n")),
    BAD("an empty Host", "9112 3.2", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    BAD("a Host with a path", "9112 3.2", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    BAD("a Host with user information", "9110 7.2", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    BAD("a list of Hosts", "9110 7.2", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    BAD("a list without blanks", "9110 7.2", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"),
    BAD("a port that is none", "9110 4.2", "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"),
    BAD("a port out of range", "9110 4.2", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
    BAD("half an IPv6 address", "3986 3.2.2", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),

    /* Fields. */
    BAD("a blank before the colon", "9112 5.1, CVE-2021-22959", GET_WITH("X : y\r\n")),
    BAD("a blank before the colon of a length", "CVE-2021-22959",
        POST_WITH("Content-Length : 5\r\n", "hello")),
    BAD("a blank before the first field", "9112 2.2", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    BAD("a folded field", "9112 5.2", GET_WITH("X: a\r\n b\r\n")),
    BAD("a folded length", "CVE-2024-27982", POST_WITH("X: a\r\n Content-Length: 5\r\n", "hello")),
    BAD("a folded transfer coding", "CVE-2022-32215",
        POST_WITH("Transfer-Encoding: x\r\n , chunked\r\n", CHUNKS)),
    BAD("a bare CR in a value", "CVE-2023-30589",
        POST_WITH("X-Abc: \rxTransfer-Encoding: chunked\r\n", CHUNKS)),
    BAD("a field that does not end in CR LF", "CVE-2022-35256",
        POST_WITH("X: y\rContent-Length: 5\r\n", "hello")),
    BAD("fields that end in LF alone", "CVE-2022-32214",
        "POST / HTTP/1.1\r\nHost: a\nContent-Length: 5\n\nhello"),
    BAD("CR LF CR X is no end of a head", "CVE-2025-23167",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Test: val\r\n\rX-Smuggled: yes\r\n\r\n"),
    BAD("a NUL in a value", "9110 5.5", GET_WITH("X: a\0b\r\n")),
    BAD("a control in a value", "9110 5.5", GET_WITH("X: a\x01" "b\r\n")),
    BAD("no name", "9110 5.1", GET_WITH(": x\r\n")),
    BAD("a name that is no token", "9110 5.1", GET_WITH("X(Y): x\r\n")),
    BAD("a line without a colon", "9112 5", GET_WITH("X\r\n")),
    BAD("options of Connection that are no tokens", "9110 7.6.1", GET_WITH("Connection: a b\r\n")),
    {"a head that is too large", "9110 5.4", .listener = "max_head = 512\n", .steps = STEPS(
        C(GET_WITH("X: " TEN(TEN("abcdef")) "\r\n") NEXT),
        PAGE_CLOSE("431", "Request Header Fields Too Large"))},
    {"too many fields", "9110 5.4", .listener = "max_headers = 5\n", .steps = STEPS(
        C(GET_WITH("A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n") NEXT),
        PAGE_CLOSE("431", "Request Header Fields Too Large"))},
    {"a target that is too long", "9112 3", .listener = "max_head = 512\n", .steps = STEPS(
        C(LINE("GET /" TEN(TEN("abcdef")) " HTTP/1.1") NEXT), PAGE_CLOSE("414", "URI Too Long"))},
    REFUSED("an expectation that nobody knows", "9110 10.1.1",
            POST_WITH("Expect: 200-ok\r\nContent-Length: 2\r\n", "hi"), "417",
            "Expectation Failed"),
    REFUSED("two expectations", "9110 10.1.1", POST_WITH(
            "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 2\r\n", "hi"), "417",
            "Expectation Failed"),

    /* Framing. */
    BAD("a length and chunks", "9112 6.1, CL.TE",
        POST_WITH("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", CHUNKS)),
    BAD("chunks and a length", "9112 6.1, TE.CL",
        POST_WITH("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", CHUNKS)),
    BAD("two lengths", "9112 6.3",
        POST_WITH("Content-Length: 5\r\nContent-Length: 6\r\n", "hello")),
    BAD("two equal lengths", "9110 8.6",
        POST_WITH("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
    BAD("a list of lengths", "9110 8.6", POST_WITH("Content-Length: 5, 5\r\n", "hello")),
    BAD("an empty length", "9110 8.6", POST_WITH("Content-Length:\r\n", "hello")),
    BAD("a signed length", "9110 8.6", POST_WITH("Content-Length: +5\r\n", "hello")),
    BAD("a negative length", "9110 8.6", POST_WITH("Content-Length: -5\r\n", "hello")),
    BAD("a length in hex", "9110 8.6", POST_WITH("Content-Length: 0x5\r\n", "hello")),
    BAD("a length with zeros in front", "FACTS D3", POST_WITH("Content-Length: 005\r\n", "hello")),
    BAD("a length of 2^64", "9110 8.6", POST_WITH("Content-Length: 18446744073709551616\r\n", "")),
    BAD("a length with a comment", "9110 8.6", POST_WITH("Content-Length: 5;x\r\n", "hello")),
    BAD("an empty transfer coding", "FACTS D3", POST_WITH("Transfer-Encoding:\r\n", CHUNKS)),
    BAD("an empty transfer coding beside a length", "FACTS D3",
        POST_WITH("Transfer-Encoding:\r\nContent-Length: 5\r\n", "hello")),
    REFUSED("an empty element before chunked", "FACTS D3",
            POST_WITH("Transfer-Encoding: , chunked\r\n", CHUNKS), "501", "Not Implemented"),
    REFUSED("gzip, chunked", "9112 6.1", POST_WITH("Transfer-Encoding: gzip, chunked\r\n", CHUNKS),
            "501", "Not Implemented"),
    BAD("chunked, gzip", "9112 6.3", POST_WITH("Transfer-Encoding: chunked, gzip\r\n", CHUNKS)),
    BAD("chunked twice", "9112 6.1", POST_WITH("Transfer-Encoding: chunked, chunked\r\n", CHUNKS)),
    BAD("chunked in two fields", "9112 6.1",
        POST_WITH("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKS)),
    BAD("identity", "9112 7", POST_WITH("Transfer-Encoding: identity\r\n", CHUNKS)),
    BAD("xchunked", "CVE-2022-32213", POST_WITH("Transfer-Encoding: xchunked\r\n", CHUNKS)),
    BAD("chunked in quotes", "9112 7", POST_WITH("Transfer-Encoding: \"chunked\"\r\n", CHUNKS)),
    BAD("chunked with a parameter", "9112 7",
        POST_WITH("Transfer-Encoding: chunked;x=1\r\n", CHUNKS)),
    BAD("chunked with a vertical tab", "TE.TE",
        POST_WITH("Transfer-Encoding: \vchunked\r\n", CHUNKS)),
    BAD("chunked in HTTP/1.0", "9112 6.1",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNKS),
    {"a length above max_body", "9110 15.5.14", .listener = "max_body = 10\n", .steps = STEPS(
        C(POST_WITH("Content-Length: 11\r\n", "hello world") NEXT),
        PAGE_CLOSE("413", "Content Too Large"))},

    /* Chunks. */
    BAD_CHUNK("a chunk size that is none", "9112 7.1", "x\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a chunk size in C", "9112 7.1", "0x5\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a signed chunk size", "9112 7.1", "+5\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a blank before a chunk size", "9112 7.1", " 5\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a blank behind a chunk size", "9112 7.1", "5 \r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a chunk size above 2^64", "9112 7.1", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("an LF behind a chunk size", "9112 7.1", "5\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("an LF in an extension", "CVE-2021-22960", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a chunk longer than its size", "9112 7.1", "3\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("no CR LF behind a chunk", "9112 7.1", "5\r\nhello0\r\n\r\n"),
    BAD_CHUNK("a bare semicolon", "9112 7.1.1", "5;\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a length among the trailers", "9110 6.5.1", "0\r\nContent-Length: 5\r\n\r\n"),
    BAD_CHUNK("a coding among the trailers", "9110 6.5.1", "0\r\nTransfer-Encoding: x\r\n\r\n"),
    BAD_CHUNK("a malformed trailer", "9112 7.1.2", "0\r\nX : y\r\n\r\n"),
    {"zeros before a chunk size without end", "FACTS D3", .listener = "max_head = 512\n",
     .steps = STEPS(C(POST_WITH("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n")),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP "Transfer-Encoding: chunked\r\n\r\n"),
        OX_PART("hi"), C(TEN(TEN("000000")) "1\r\nx\r\n" NEXT), PAGE_CLOSE("400", "Bad Request"),
        O_CUT)},
    {"an extension without end", "FACTS D3", .listener = "max_head = 512\n", .steps = STEPS(
        C(POST_WITH("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n")),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP "Transfer-Encoding: chunked\r\n\r\n"),
        OX_PART("hi"), C("1;x=" TEN(TEN("abcdef")) "\r\nx\r\n" NEXT),
        PAGE_CLOSE("400", "Bad Request"), O_CUT)},
    {"chunks above max_body", "9110 15.5.14", .listener = "max_body = 10\n", .steps = STEPS(
        C(POST_WITH("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n")),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP "Transfer-Encoding: chunked\r\n\r\n"),
        OX_PART("hi"), C("9\r\n123456789\r\n0\r\n\r\n" NEXT),
        PAGE_CLOSE("413", "Content Too Large"), O_CUT)},
    {"a malformed chunk after the answer has begun is a cut", "9112 8", .steps = STEPS(
        C(POST_WITH("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n")),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP "Transfer-Encoding: chunked\r\n\r\n"),
        OX_PART("hi"), O("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"),
        CX("HTTP/1.1 200 OK\r\n" DATE "Content-Length: 5\r\nConnection: close\r\n\r\nhe"), C("x\r\n" NEXT), CUT,
        O_CLOSED)},

    /* In company. */
    {"a request before it is served first", "9112 9.3.2", .steps = STEPS(
        C(GET("/a") GET_WITH("Host: b\r\n") NEXT), OX(GOT("/a")), O(OK_), CX(OKD),
        PAGE_CLOSE("400", "Bad Request"))},
    {"over TLS", "-", .tls = true, .steps = STEPS(
        C(GET_WITH("Host: b\r\n") NEXT),
        CX(PAGE_HEAD("400", "Bad Request", "", "Connection: close\r\n")
           PAGE_HTML("400", "Bad Request")), CLOSED)},
};

int main(void) {
    return SCRIPTS_RUN("refuse", scripts);
}
