/* More of what is sent to have two readers see two requests: each is refused, nothing of it reaches a
 * server, and what is behind it is never a request. Beside them what looks like it and is right. */
#include "script/stage.h"

/* What a smuggler would like to see at the server. */
#define NEXT "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
#define REFUSED_FOR(close, what, rule, bytes, status, reason)                                     \
    {what, rule, .steps = STEPS(C(bytes NEXT), PAGE_CLOSE(status, reason), C_FIN, WHY(close),     \
                                STAT_IS(DIALED, 0))}
#define REFUSED(what, rule, bytes, status, reason)                                                \
    REFUSED_FOR(BAD_REQUEST, what, rule, bytes, status, reason)
#define BAD(what, rule, bytes) REFUSED(what, rule, bytes, "400", "Bad Request")
#define UNKNOWN(what, rule, bytes) REFUSED(what, rule, bytes, "501", "Not Implemented")
#define NOT_DONE(what, rule, bytes)                                                               \
    {what, rule, .steps = STEPS(C(bytes NEXT),                                                    \
        CX(PAGE_HEAD("405", "Method Not Allowed",                                                 \
                     "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n",                   \
                     "Connection: close\r\n") PAGE_HTML("405", "Method Not Allowed")), CLOSED,    \
        C_FIN, WHY(REFUSED), STAT_IS(DIALED, 0))}
#define LINE(line) line "\r\nHost: a\r\n\r\n"
#define WITH_HOST(host) "GET / HTTP/1.1\r\nHost:" host "\r\n\r\n"
#define GET_WITH(fields) "GET /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define POST_WITH(fields, body) "POST /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n" body
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define CODING(value) POST_WITH("Transfer-Encoding:" value "\r\n", CHUNKS)
#define LENGTH(value) POST_WITH("Content-Length:" value "\r\n", "hello")
#define TEN(x) x x x x x x x x x x
#define CHUNKS "5\r\nhello\r\n0\r\n\r\n"
#define POSTED(fields) "POST /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define BAD_CHUNK_WITH(settings, what, rule, bytes, status, reason)                               \
    {what, rule, .listener = settings, .steps = STEPS(                                            \
        C(POST_WITH(CHUNKED, "2\r\nhi\r\n")), OX(POSTED(UP CHUNKED)), OX_PART("hi"),              \
        C(bytes NEXT), PAGE_CLOSE(status, reason), O_CUT)}
#define BAD_CHUNK(what, rule, bytes)                                                              \
    BAD_CHUNK_WITH("", what, rule, bytes, "400", "Bad Request")
/* All of a request, and another one behind it: the server sees two, one after the other. */
#define TWO(what, rule, bytes, ...)                                                               \
    {what, rule, .steps = STEPS(C(bytes GET("/next")), __VA_ARGS__, O(OK_), CX(OKD),              \
                                OX(GOT("/next")), O(OK_), CX(OKD), KEPT)}
#define CHUNKS_PASS(what, rule, chunks, text)                                                     \
    TWO(what, rule, POST_WITH(CHUNKED, chunks), OX(POSTED(UP CHUNKED)), OX_CHUNKS(text),          \
        OX("\r\n"))
#define EMPTY "Content-Length: 0\r\n"

static const struct script scripts[] = {
    /* The request line. */
    BAD("a NUL in the method", "9110 9.1", LINE("G\0T / HTTP/1.1")),
    BAD("a CR in front of the line", "9112 2.2", "\r" GET("/a")),
    BAD("an LF in front of the line", "9112 2.2", "\n" GET("/a")),
    BAD("an empty line of LF alone after a good one", "9112 2.2", "\r\n\n" GET("/a")),
    BAD("a NUL in front of the line", "9112 3", "\0" GET("/a")),
    BAD("two CRs behind the line", "9112 2.2", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    BAD("no target", "9112 3", LINE("GET HTTP/1.1")),
    BAD("a method alone", "9112 3", LINE("GET")),
    BAD("a target with a blank", "9112 3.2", LINE("GET /a b HTTP/1.1")),
    BAD("a second request in the target", "CVE-2023-25690",
        LINE("GET /a HTTP/1.1 /b HTTP/1.1")),
    BAD("a vertical tab in the line", "9112 3", LINE("GET /\x0b HTTP/1.1")),
    BAD("a form feed for a blank", "9112 3", LINE("GET\x0c/\x0cHTTP/1.1")),
    BAD("a blank of Latin-1 in the target", "9112 3", LINE("GET /\xa0 HTTP/1.1")),
    BAD("http in lower case", "9112 2.3", LINE("GET / http/1.1")),
    BAD("HTTP/1.10", "9112 2.3", LINE("GET / HTTP/1.10")),
    BAD("HTTP/01.1", "9112 2.3", LINE("GET / HTTP/01.1")),
    BAD("HTTP/1", "9112 2.3", LINE("GET / HTTP/1")),
    BAD("HTTP/1,1", "9112 2.3", LINE("GET / HTTP/1,1")),
    BAD("HTTP/-1.1", "9112 2.3", LINE("GET / HTTP/-1.1")),
    BAD("a version behind the version", "9112 2.3", LINE("GET / HTTP/1.1 HTTP/1.0")),
    REFUSED("HTTP/1.9", "9110 2.5", LINE("GET / HTTP/1.9"), "505", "HTTP Version Not Supported"),
    REFUSED("HTTP/0.9 that can not do chunks", "9112 2.3",
            "POST / HTTP/0.9\r\nHost: a\r\n" CHUNKED "\r\n" CHUNKS, "505",
            "HTTP Version Not Supported"),
    UNKNOWN("a method with its last letter in lower case", "9110 9.1", LINE("GEt / HTTP/1.1")),
    UNKNOWN("a method of RTSP", "FACTS D3", LINE("DESCRIBE / HTTP/1.1")),
    UNKNOWN("a method that begins as another one", "9110 9.1", LINE("GETX / HTTP/1.1")),
    NOT_DONE("CONNECT of a path", "9112 3.2.3", LINE("CONNECT / HTTP/1.1")),
    NOT_DONE("CONNECT with a port that is none", "9110 9.3.6", LINE("CONNECT a:x HTTP/1.1")),
    NOT_DONE("CONNECT without a port", "9110 9.3.6", LINE("CONNECT a HTTP/1.1")),
    NOT_DONE("CONNECT with a length, which some do not read", "FACTS D3",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\nhello"),
    NOT_DONE("TRACE with a body", "9110 9.3.8",
        "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    NOT_DONE("TRACE with Max-Forwards: 0", "9110 7.6.2",
        "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"),

    /* Targets. */
    BAD("a fragment in the query", "9112 3.2.1, CVE-2023-45539", LINE("GET /a?b#c HTTP/1.1")),
    BAD("a fragment of an absolute form", "9112 3.2.2", LINE("GET http://a/#b HTTP/1.1")),
    BAD("a backslash for the authority's end", "3986 3.2", LINE("GET http://a\\@b/ HTTP/1.1")),
    BAD("a port out of range in an absolute form", "9110 4.2.1",
        LINE("GET http://a:65536/ HTTP/1.1")),
    BAD("a bad IPv6 address in an absolute form", "3986 3.2.2",
        LINE("GET http://[::g]/ HTTP/1.1")),
    BAD("a scheme with one slash", "9112 3.2.2", LINE("GET http:/a/ HTTP/1.1")),
    BAD("a scheme with a blank behind it", "9112 3.2.2", LINE("GET http ://a/ HTTP/1.1")),
    BAD("a scheme of a WebSocket", "9112 3.2.2", LINE("GET ws://a/ HTTP/1.1")),
    BAD("a target that is a query", "9112 3.2.1", LINE("GET ?a HTTP/1.1")),
    BAD("an asterisk and a query", "9112 3.2.4", LINE("OPTIONS *?a HTTP/1.1")),
    BAD("OPTIONS of a name", "9112 3.2.4", LINE("OPTIONS a HTTP/1.1")),
    BAD("a target of dots", "9112 3.2.1", LINE("GET ../a HTTP/1.1")),

    /* Host. */
    BAD("a Host with a tab inside", "9110 7.2", WITH_HOST(" a\tb")),
    BAD("a Host with a NUL", "9110 7.2", WITH_HOST(" a\0b")),
    BAD("a Host with a quote", "9110 7.2", WITH_HOST(" a\"b")),
    BAD("a Host with a scheme", "9110 7.2", WITH_HOST(" http://a")),
    BAD("a Host with a query", "9110 7.2", WITH_HOST(" a?b")),
    BAD("a Host with a fragment", "9110 7.2", WITH_HOST(" a#b")),
    BAD("a Host with a backslash", "9110 7.2", WITH_HOST(" a\\b")),
    BAD("a Host above 127", "9110 7.2", WITH_HOST(" \xc3\xa4")),
    BAD("a Host with two ports", "9110 7.2", WITH_HOST(" a:1:2")),
    BAD("a Host that is a port", "9110 7.2", WITH_HOST(" :80")),
    BAD("a Host with a signed port", "9110 7.2", WITH_HOST(" a:+80")),
    BAD("an IPv6 Host with a zone", "3986 3.2.2", WITH_HOST(" [fe80::1%25eth0]")),
    BAD("an IPv6 Host with something behind it", "3986 3.2.2", WITH_HOST(" [::1]a")),
    BAD("an IPv6 Host without brackets", "3986 3.2.2", WITH_HOST(" ::1")),
    BAD("a folded Host", "9112 5.2", WITH_HOST("\r\n a")),
    BAD("two Hosts in different case", "9112 3.2", GET_WITH("HOST: b\r\n")),
    BAD("an empty Host beside a good one", "9112 3.2", GET_WITH("Host:\r\n")),
    BAD("two Hosts in HTTP/1.0", "9112 3.2", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    BAD("a malformed Host in HTTP/1.0", "9112 3.2", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n"),
    BAD("a malformed Host beside an absolute form", "9112 3.2.2",
        "GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n"),
    BAD("two Hosts beside an absolute form", "9112 3.2.2",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),

    /* Fields. */
    BAD("a tab before the colon", "9112 5.1, CVE-2021-22959", GET_WITH("X\t: y\r\n")),
    BAD("a blank before the colon of a coding", "CVE-2019-16869, CVE-2021-22959",
        POST_WITH("Transfer-Encoding : chunked\r\n", CHUNKS)),
    BAD("a blank in a name", "CVE-2015-5739", POST_WITH("Content Length: 5\r\n", "hello")),
    BAD("a NUL in a name", "9110 5.1", POST_WITH("Content-Length\0: 5\r\n", "hello")),
    BAD("a vertical tab in a name", "9110 5.1", GET_WITH("X\x0b: y\r\n")),
    BAD("a CR in a name", "9112 2.2", POST_WITH("Content\r-Length: 5\r\n", "hello")),
    BAD("a name above 127", "9110 5.1", GET_WITH("X\xe9: y\r\n")),
    BAD("a name in quotes", "9110 5.1", GET_WITH("\"X\": y\r\n")),
    BAD("an empty name before a length", "CVE-2023-25725",
        POST_WITH(": x\r\nContent-Length: 5\r\n", "hello")),
    BAD("a second colon and no name", "9110 5.1", GET_WITH(":X: y\r\n")),
    BAD("a tab that folds", "9112 5.2", GET_WITH("X: a\r\n\tb\r\n")),
    BAD("a fold of nothing", "9112 5.2", GET_WITH("X: a\r\n \r\n")),
    BAD("a fold behind an empty value", "CVE-2024-27982",
        POST_WITH("X:\r\n Content-Length: 5\r\n", "hello")),
    BAD("a fold of the line", "9112 2.2", "GET /\r\n HTTP/1.1\r\nHost: a\r\n\r\n"),
    BAD("a blank line with a blank", "9112 2.2", "GET / HTTP/1.1\r\nHost: a\r\n \r\n"),
    BAD("an LF LF that ends the head", "CVE-2022-32214", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    BAD("a CR CR LF that ends the head", "9112 2.2", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n"),
    BAD("a CR alone between fields", "CVE-2022-35256",
        "POST / HTTP/1.1\r\nHost: a\rTransfer-Encoding: chunked\r\n\r\n" CHUNKS),
    BAD("an LF in a value", "9110 5.5", GET_WITH("X: a\nTransfer-Encoding: chunked\r\n")),
    BAD("a CR at the end of a value", "9112 2.2", GET_WITH("X: a\r\r\n")),
    BAD("DEL in a value", "9110 5.5", GET_WITH("X: a\x7f\r\n")),
    BAD("ESC in a value", "9110 5.5", GET_WITH("X: \x1b[2J\r\n")),
    BAD("close behind a semicolon in Connection", "FACTS D3",
        GET_WITH("Connection: foo;close\r\n")),
    REFUSED("an obscured expectation", "9110 10.1.1",
            POST_WITH("Expect: y 100-continue\r\nContent-Length: 5\r\n", "hello"), "417",
            "Expectation Failed"),
    REFUSED("an empty expectation", "9110 10.1.1",
            POST_WITH("Expect:\r\nContent-Length: 5\r\n", "hello"), "417", "Expectation Failed"),
    REFUSED("an expectation twice in a list", "9110 10.1.1",
            POST_WITH("Expect: 100-continue, 100-continue\r\nContent-Length: 5\r\n", "hello"),
            "417", "Expectation Failed"),
    {"a name that is too long", "9110 5.4", .listener = "max_head = 512\n", .steps = STEPS(
        C(GET_WITH(TEN(TEN("abcdef")) ": x\r\n") NEXT),
        PAGE_CLOSE("431", "Request Header Fields Too Large"), C_FIN, WHY(HEAD_TOO_LARGE))},
    {"a method that is too long", "9112 3", .listener = "max_head = 512\n", .steps = STEPS(
        C(LINE(TEN(TEN("ABCDEF")) " / HTTP/1.1") NEXT), PAGE_CLOSE("414", "URI Too Long"), C_FIN,
        WHY(HEAD_TOO_LARGE))},

    /* Lengths. */
    BAD("a length in two cases", "9112 6.3",
        POST_WITH("Content-Length: 5\r\ncontent-length: 0\r\n", "hello")),
    BAD("a length in GET, twice", "9112 6.3",
        GET_WITH("Content-Length: 0\r\nContent-Length: 44\r\n")),
    BAD("a length with a NUL", "9110 8.6", LENGTH(" 5\0")),
    BAD("a length with a vertical tab", "9110 8.6", LENGTH(" 5\x0b")),
    BAD("a length with a comma behind it", "9110 8.6", LENGTH(" 5,")),
    BAD("a length with a comma in front", "9110 8.6", LENGTH(" ,5")),
    BAD("a length of two words", "9110 8.6", LENGTH(" 5 5")),
    BAD("a length of two zeros", "FACTS D3", LENGTH(" 00")),
    BAD("a length with an underscore, which int() takes", "9110 8.6", LENGTH(" 0_5")),
    BAD("a length with an exponent", "9110 8.6", LENGTH(" 5e0")),
    BAD("a length with a point", "9110 8.6", LENGTH(" 5.0")),
    BAD("a length in quotes", "9110 8.6", LENGTH(" \"5\"")),
    BAD("a length of minus zero", "9110 8.6", LENGTH(" -0")),
    BAD("a length in other digits", "9110 8.6", LENGTH(" \xd9\xa5")),
    BAD("a length of 2^64 - 1 with zeros", "FACTS D3", LENGTH(" 0018446744073709551615")),
    BAD("a length of twenty digits", "9110 8.6", LENGTH(" 10000000000000000000")),
    REFUSED_FOR(BODY_TOO_LARGE, "a length of 2^63", "9110 15.5.14", LENGTH(" 9223372036854775808"),
                "413", "Content Too Large"),

    /* Codings. */
    BAD("a coding beside a length of 0", "9112 6.1, TE.0",
        POST_WITH("Content-Length: 0\r\n" CHUNKED, CHUNKS)),
    BAD("a coding in lower case beside a length", "9112 6.1, CL.TE",
        POST_WITH("Content-Length: 5\r\ntransfer-encoding: chunked\r\n", CHUNKS)),
    BAD("another coding beside a length", "9112 6.1", POST_WITH(
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "hello")),
    BAD("a coding and a length in HTTP/1.0", "9112 6.1",
        "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n" CHUNKED "\r\n" CHUNKS),
    BAD("a coding in GET beside a length", "9112 6.1",
        GET_WITH("Content-Length: 5\r\n" CHUNKED) CHUNKS),
    BAD("an empty coding in HTTP/1.0", "9112 6.1",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    BAD("chunked, then identity in a second field", "TE.TE",
        POST_WITH(CHUNKED "Transfer-Encoding: identity\r\n", CHUNKS)),
    BAD("identity, then chunked in a second field", "TE.TE",
        POST_WITH("Transfer-Encoding: identity\r\n" CHUNKED, CHUNKS)),
    BAD("an empty coding, then chunked in a second field", "TE.TE",
        POST_WITH("Transfer-Encoding:\r\n" CHUNKED, CHUNKS)),
    BAD("gzip, then chunked in a second field", "9112 6.1",
        POST_WITH("Transfer-Encoding: gzip\r\n" CHUNKED, CHUNKS)),
    BAD("chunked, then an empty second field", "TE.TE",
        POST_WITH(CHUNKED "Transfer-Encoding:\r\n", CHUNKS)),
    BAD("chunked, identity", "CVE-2022-32213", CODING(" chunked, identity")),
    UNKNOWN("identity, chunked", "9112 6.1", CODING(" identity, chunked")),
    BAD("chunked with a comma behind it", "TE.TE", CODING(" chunked,")),
    BAD("chunked with a semicolon behind it", "TE.TE", CODING(" chunked;")),
    BAD("chunked in single quotes", "TE.TE", CODING(" 'chunked'")),
    BAD("chunked with a NUL", "TE.TE", CODING(" chunked\0")),
    BAD("chunked with a form feed", "TE.TE", CODING(" \x0c" "chunked")),
    BAD("chunked with a blank of Latin-1", "TE.TE", CODING(" chunked\xa0")),
    BAD("chunked with a vertical tab behind it", "CVE-2019-18277", CODING(" chunked\x0b")),
    BAD("chunke", "TE.TE", CODING(" chunke")),
    BAD("chunkedx", "CVE-2024-1135", CODING(" chunkedx")),
    BAD("chunked and a word", "TE.TE", CODING(" chunked x")),
    BAD("a word and chunked", "CVE-2022-32213", CODING(" x chunked")),
    BAD("gzip alone", "9112 6.3", CODING(" gzip")),
    BAD("deflate, gzip", "9112 6.3", CODING(" deflate, gzip")),
    BAD("a folded chunked", "CVE-2022-32215", CODING("\r\n chunked")),
    BAD("a name with a NUL before chunked", "TE.TE",
        POST_WITH("Transfer-Encoding\0: chunked\r\n", CHUNKS)),

    /* Chunks. */
    BAD_CHUNK("a CR for the end of a size", "9112 7.1", "5\rhello\r\n0\r\n\r\n"),
    BAD_CHUNK("an LF and a CR for the end of a size", "9112 7.1", "5\n\rhello\r\n0\r\n\r\n"),
    BAD_CHUNK("two CRs behind a size", "9112 7.1", "5\r\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a tab behind a size", "9112 7.1", "5\t\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a negative size", "9112 7.1", "-5\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a size with an underscore", "9112 7.1", "0_5\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a size with a point", "9112 7.1", "5.0\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a size with an h", "9112 7.1", "5h\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("no size", "9112 7.1", "\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("an extension without a size", "9112 7.1", ";a=b\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a NUL in a size", "9112 7.1", "5\0\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("an LF for the end of an extension", "CVE-2025-22871",
        "5;a\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("an LF alone behind a semicolon", "CVE-2025-55315", "2;\nxx\r\n0\r\n\r\n"),
    BAD_CHUNK("a CR alone behind a semicolon", "CVE-2025-55315", "2;\rxx\r\n0\r\n\r\n"),
    BAD_CHUNK("a CR in an extension", "CVE-2021-22960", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("an LF in the quotes of an extension", "CVE-2021-22960",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a CR LF in the quotes of an extension", "CVE-2021-22960",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("a NUL in an extension", "9112 7.1.1", "5;a\0\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("an LF alone behind the data", "9112 7.1", "5\r\nhello\n0\r\n\r\n"),
    BAD_CHUNK("a CR alone behind the data", "9112 7.1", "5\r\nhello\r0\r\n\r\n"),
    BAD_CHUNK("two bytes of anything behind the data", "9112 7.1", "5\r\nhelloXX0\r\n\r\n"),
    BAD_CHUNK("a chunk shorter than its size", "9112 7.1", "7\r\nhello\r\n0\r\n\r\n"),
    BAD_CHUNK("an empty line behind the data", "9112 7.1", "5\r\nhello\r\n\r\n0\r\n\r\n"),
    BAD_CHUNK_WITH("", "a chunk of 2^64 - 1", "9110 15.5.14", "ffffffffffffffff\r\nhello", "413",
        "Content Too Large"),
    BAD_CHUNK_WITH("max_body = 10\n", "a chunk that would be too much", "9110 15.5.14",
        "00000009\r\nh", "413", "Content Too Large"),
    BAD_CHUNK_WITH("max_head = 512\n", "extensions of small chunks without end", "CVE-2023-39326",
        TEN("1;" TEN("abcdef") "\r\nx\r\n") TEN("1;" TEN("abcdef") "\r\nx\r\n"), "400",
        "Bad Request"),

    /* Trailers. */
    BAD_CHUNK("a fold in the trailers", "9112 5.2", "0\r\nX: y\r\n Host: b\r\n\r\n"),
    BAD_CHUNK("a fold that begins the trailers", "9112 5.2", "0\r\n X: y\r\n\r\n"),
    BAD_CHUNK("LFs in the trailers", "9112 2.2", "0\r\nX: y\n\n"),
    BAD_CHUNK("an LF for the end of the trailers", "9112 7.1.2", "0\r\n\n"),
    BAD_CHUNK("a CR for the end of the trailers", "CVE-2025-23167", "0\r\n\rX"),
    BAD_CHUNK("a NUL in the trailers", "9110 5.5", "0\r\nX: \0\r\n\r\n"),
    BAD_CHUNK("no colon in the trailers", "9112 5", "0\r\nX\r\n\r\n"),
    BAD_CHUNK("a request in the trailers", "9112 7.1.2", "0\r\n" GET("/a")),
    BAD_CHUNK_WITH("max_headers = 5\n", "too many trailers", "9112 7.1.2",
        "0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\n\r\n", "400", "Bad Request"),
    BAD_CHUNK_WITH("max_head = 512\n", "trailers that are too large", "9112 7.1.2",
        "0\r\nX: " TEN(TEN("abcdef")) "\r\n\r\n", "400", "Bad Request"),

    /* What looks like it, and has one meaning. */
    TWO("no length and no coding: no body", "9112 6.3 7", POST_WITH("", ""), OX(POSTED(UP EMPTY))),
    TWO("GET with a length", "9110 9.3.1", GET_WITH("Content-Length: 5\r\n") "hello",
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP "Content-Length: 5\r\n\r\nhello")),
    TWO("a request as a body", "CL.0", POST_WITH("Content-Length: 37\r\n", NEXT "12"),
        OX(POSTED(UP "Content-Length: 37\r\n") NEXT "12")),
    TWO("blanks and tabs round a length", "9110 5.5", LENGTH(" \t 5  "),
        OX(POSTED(UP "Content-Length: 5\r\n") "hello")),
    TWO("a coding in capitals", "9112 7", CODING("\tCHUNKED "), OX(POSTED(UP CHUNKED)),
        OX_CHUNKS("hello"), OX("\r\n")),
    TWO("an unknown field with a known one's name in it", "CVE-2021-40346",
        POST_WITH("Content-Length0" TEN(TEN("aaa")) ": x\r\nContent-Length: 5\r\n", "hello"),
        OX(POSTED("Content-Length0" TEN(TEN("aaa")) ": x\r\n" UP "Content-Length: 5\r\n")
           "hello")),
    CHUNKS_PASS("zeros before a size", "9112 7.1", "000000000000000000005\r\nhello\r\n000\r\n\r\n",
                "hello"),
    CHUNKS_PASS("sizes in both cases", "9112 7.1", "A\r\nhello hell\r\na\r\no hello he\r\n0\r\n\r\n",
                "hello hello hello he"),
    CHUNKS_PASS("extensions end here", "9112 7.1.1",
                "5;a;b=c;d=\"e;f\"\r\nhello\r\n1;x\r\n!\r\n0;last=1\r\n\r\n", "hello!"),
    CHUNKS_PASS("a request as a chunk", "TE.0", "23\r\n" NEXT "\r\n0\r\n\r\n", NEXT),
    CHUNKS_PASS("Connection in a trailer closes nothing", "FACTS D3",
                "0\r\nConnection: close\r\n\r\n", ""),
    CHUNKS_PASS("what a trailer may not say", "9110 6.5.1",
                "0\r\nHost: b\r\nTE: x\r\nCookie: x\r\nX-Real-IP: 1\r\nTrailer: x\r\n"
                "Expect: x\r\nUpgrade: x\r\nMax-Forwards: 0\r\nContent-Type: x\r\n\r\n", ""),
    TWO("empty elements of Connection", "9110 5.6.1", GET_WITH("Connection: ,, keep-alive ,\r\n"),
        OX(GOT("/a"))),
    TWO("Proxy-Connection says nothing", "FACTS D3", GET_WITH("Proxy-Connection: close\r\n"),
        OX(GOT("/a"))),
    TWO("a target with slashes, dots and escapes stays as it is", "9110 7.7",
        LINE("GET //a/%2e%2e/..;/%00 HTTP/1.1"),
        OX("GET //a/%2e%2e/..;/%00 HTTP/1.1\r\nHost: a\r\n" UP "\r\n")),

    /* Max-Forwards. */
    TWO("OPTIONS with Max-Forwards loses one", "9110 7.6.2",
        "OPTIONS /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 10\r\n\r\n",
        OX("OPTIONS /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 9\r\n" UP "\r\n")),
    TWO("Max-Forwards of other methods stays", "9110 7.6.2", GET_WITH("Max-Forwards: 0\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n" UP "\r\n")),
    TWO("a Max-Forwards that is no number stays", "9110 7.6.2",
        "OPTIONS /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n",
        OX("OPTIONS /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n" UP "\r\n")),
    {"OPTIONS with Max-Forwards: 0 ends here", "9110 7.6.2", .steps = STEPS(
        C("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"),
        CX("HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n"
           DATE "\r\n"), STAT_IS(DIALED, 0), KEPT)},

    /* In company. */
    {"a refused request behind a body", "9112 9.3", .steps = STEPS(
        C(POST_WITH("Content-Length: 5\r\n", "hello") LINE("GET /b#c HTTP/1.1") NEXT),
        OX(POSTED(UP "Content-Length: 5\r\n") "hello"), O(OK_), CX(OKD),
        PAGE_CLOSE("400", "Bad Request"), C_FIN, WHY(BAD_REQUEST))},
    {"a refused request behind chunks", "9112 9.3", .steps = STEPS(
        C(POST_WITH(CHUNKED, CHUNKS) POST_WITH(CHUNKED "Content-Length: 5\r\n", CHUNKS) NEXT),
        OX(POSTED(UP CHUNKED)), OX_CHUNKS("hello"), OX("\r\n"), O(OK_), CX(OKD),
        PAGE_CLOSE("400", "Bad Request"), C_FIN, WHY(BAD_REQUEST))},
    {"bytes behind a body are the next request, and none", "9112 9.3", .steps = STEPS(
        C(POST_WITH("Content-Length: 5\r\n", "hello!") NEXT),
        OX(POSTED(UP "Content-Length: 5\r\n") "hello"), O(OK_), CX(OKD),
        PAGE_CLOSE("501", "Not Implemented"), C_FIN, WHY(BAD_REQUEST))},
};

int main(void) {
    return SCRIPTS_RUN("smuggle", scripts);
}
