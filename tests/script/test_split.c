/* More of what servers send that is no answer, or is more than one: the client sees 502 or a cut,
 * the connection is never used again, and the next client gets its own answer. */
#include "script/stage.h"

#define STATUS "HTTP/1.1 200 OK\r\n"
#define LENGTH(n) "Content-Length: " #n "\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define EVIL "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
#define ASKS C(GET("/a")), OX(GOT("/a"))
#define HEAD_A "HEAD /a HTTP/1.1\r\nHost: a\r\n"
#define TEN(x) x x x x x x x x x x
#define THOUSAND(x) TEN(TEN(TEN(x)))

/* Another client asks: on a fresh connection, and nothing of the first answer is there. */
#define OTHER C_NEW, KEPT_BY_CLIENT
/* No answer; a second one stands ready behind it. */
#define BAD(what, rule, bytes)                                                                    \
    {what, rule, .steps = STEPS(ASKS, O(bytes EVIL), PAGE("502", "Bad Gateway"), O_CLOSED,        \
                                WHY(BAD_RESPONSE), KEPT_BY_CLIENT, C_NEW, KEPT)}
#define BAD_BODY(what, rule, body)                                                                \
    {what, rule, .steps = STEPS(ASKS, O(STATUS CHUNKED "\r\n5\r\nhello\r\n"),                     \
        CX(STATUS DATE CHUNKED "\r\n"), CX_PART("hello"), O(body EVIL), CUT, O_CLOSED,            \
        WHY(BAD_RESPONSE), OTHER)}
/* The answer is good and what comes behind it nobody's: in one piece with it, and later. */
#define MORE(what, rule, ask, asked, answer, got, more)                                           \
    {what ", at once", rule, .steps = STEPS(C(ask), OX(asked), O(answer more), CX(got),           \
                                            O_CLOSED, OTHER)},                                    \
    {what ", later", rule, .steps = STEPS(C(ask), OX(asked), O(answer), CX(got), O(more),         \
                                          O_CLOSED, OTHER)}
/* As with MORE, where nothing can come later: the connection is closed at once. */
#define CLOSES(what, rule, answer, got)                                                           \
    {what, rule, .steps = STEPS(ASKS, O(answer), CX(got), O_CLOSED, OTHER)}

static const struct script scripts[] = {
    /* Status lines. */
    BAD("http in lower case", "9112 4", "http/1.1 200 OK\r\n\r\n"),
    BAD("a tab for a blank", "9112 4", "HTTP/1.1\t200 OK\r\n\r\n"),
    BAD("two blanks before the status", "9112 4", "HTTP/1.1  200 OK\r\n\r\n"),
    BAD("a status that is none", "9110 15", "HTTP/1.1 2x0 OK\r\n\r\n"),
    BAD("a signed status", "9110 15", "HTTP/1.1 +20 OK\r\n\r\n"),
    BAD("no status", "9112 4", "HTTP/1.1\r\n\r\n"),
    BAD("an empty status", "9112 4", "HTTP/1.1 \r\n\r\n"),
    BAD("HTTP/1.2", "9112 2.3", "HTTP/1.2 200 OK\r\n\r\n"),
    BAD("HTTP/1.10", "9112 2.3", "HTTP/1.10 200 OK\r\n\r\n"),
    BAD("an empty line first", "9112 2.2", "\r\n" STATUS "\r\n"),
    BAD("HTTP/0.9", "9112 2.3", "<html>hello</html>\r\n"),
    BAD("DEL in the reason", "9112 4", "HTTP/1.1 200 O\x7fK\r\n\r\n"),
    BAD("an LF in the reason", "9112 4", "HTTP/1.1 200 O\nX: y\r\n\r\n"),
    BAD("a blank line of LF", "9112 2.2", STATUS "\n"),

    /* Fields: where one value becomes two fields, or two responses. */
    BAD("a CR in a value", "response splitting", STATUS "X: a\rSet-Cookie: b\r\n\r\n"),
    BAD("an LF in a value", "response splitting", STATUS "X: a\nSet-Cookie: b\r\n\r\n"),
    BAD("an LF LF in a value", "response splitting", STATUS "X: a\n\nHTTP/1.1 200 OK\r\n\r\n"),
    BAD("a CR CR in a value", "response splitting", STATUS "X: a\r\rb\r\n\r\n"),
    BAD("a NUL before a line's end", "9110 5.5", STATUS "Location: /x\0y\r\n\r\n"),
    BAD("DEL in a value", "9110 5.5", STATUS "X: a\x7f\r\n\r\n"),
    BAD("an ESC in a value", "9110 5.5", STATUS "X: \x1b[0m\r\n\r\n"),
    BAD("no name", "9110 5.1", STATUS ": x\r\n\r\n"),
    BAD("a name that is no token", "9110 5.1", STATUS "X(Y): x\r\n\r\n"),
    BAD("a NUL in a name", "9110 5.1", STATUS "X\0: x\r\n\r\n"),
    BAD("no colon", "9112 5", STATUS "X\r\n\r\n"),
    BAD("a blank before the first field", "9112 2.2", STATUS " X: y\r\n\r\n"),
    BAD("a fold by a tab", "9112 5.2", STATUS "X: a\r\n\tb\r\n\r\n"),
    BAD("options of Connection that are no tokens", "9110 7.6.1",
        STATUS "Connection: a b\r\nContent-Length: 0\r\n\r\n"),

    /* Framing. */
    BAD("a blank before a length's colon", "9112 5.1", STATUS "Content-Length : 2\r\n\r\nok"),
    BAD("a length in two cases", "9112 6.3", STATUS "Content-Length: 2\r\ncontent-length: 9\r\n\r\nok"),
    BAD("a length with zeros in front", "FACTS D3", STATUS "Content-Length: 002\r\n\r\nok"),
    BAD("a length in hex", "9112 6.3", STATUS "Content-Length: 0x2\r\n\r\nok"),
    BAD("a negative length", "9112 6.3", STATUS "Content-Length: -2\r\n\r\nok"),
    BAD("a length of 2^64", "9112 6.3", STATUS "Content-Length: 18446744073709551616\r\n\r\nok"),
    BAD("chunks and a length", "9112 6.3", STATUS CHUNKED LENGTH(2) "\r\n2\r\nok\r\n0\r\n\r\n"),
    BAD("a coding and a length of HTTP/1.0", "9112 6.1",
        "HTTP/1.0 200 OK\r\n" CHUNKED LENGTH(2) "\r\n2\r\nok\r\n0\r\n\r\n"),
    BAD("chunked twice", "9112 6.1", STATUS CHUNKED CHUNKED "\r\n2\r\nok\r\n0\r\n\r\n"),
    BAD("chunked in a list, twice", "9112 6.1",
        STATUS "Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    BAD("identity", "9112 6.1", STATUS "Transfer-Encoding: identity\r\n\r\nok"),
    BAD("gzip alone", "9112 6.3 4", STATUS "Transfer-Encoding: gzip\r\n\r\nok"),
    BAD("nearly chunked", "9112 7", STATUS "Transfer-Encoding: xchunked\r\n\r\nok"),
    BAD("a comma before chunked", "9112 7", STATUS "Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n"),
    BAD("a length and a coding in a 204", "9110 8.6",
        "HTTP/1.1 204 No Content\r\n" LENGTH(2) CHUNKED "\r\n"),
    BAD("a length and a coding in a 304", "9110 8.6",
        "HTTP/1.1 304 Not Modified\r\n" LENGTH(2) CHUNKED "\r\n"),
    {"a length and a coding in the answer to HEAD", "9110 8.6", .steps = STEPS(
        C(HEAD_A "\r\n"), OX(HEAD_A UP "\r\n"), O(STATUS LENGTH(2) CHUNKED "\r\n" EVIL),
        CX(PAGE_HEAD("502", "Bad Gateway", "", "")), O_CLOSED, WHY(BAD_RESPONSE), OTHER)},
    BAD("a length in a 100", "9110 8.6", "HTTP/1.1 100 Continue\r\n" LENGTH(5) "\r\nhello"),
    BAD("chunks in a 102", "9112 6.1", "HTTP/1.1 102 Processing\r\n" CHUNKED "\r\n0\r\n\r\n"),
    {"a malformed answer behind a 103", "9110 15.2", .steps = STEPS(
        ASKS, O("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 O\0K\r\n\r\n" EVIL),
        CX("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), PAGE("502", "Bad Gateway"), O_CLOSED,
        WHY(BAD_RESPONSE), OTHER)},
    BAD("a 101 that nobody asked for", "9110 15.2.2",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    BAD("a head without end", "9110 5.4", STATUS THOUSAND("X: " TEN("abcdefgh") "\r\n")),
    BAD("a status line without end", "9110 5.4", "HTTP/1.1 200 " THOUSAND(TEN("abcdefgh"))),

    /* Bodies. */
    BAD_BODY("a chunk size in C", "9112 7.1", "0x5\r\nhello\r\n"),
    BAD_BODY("a blank behind a chunk size", "9112 7.1", "5 \r\nhello\r\n"),
    BAD_BODY("no chunk size", "9112 7.1", "\r\nhello\r\n"),
    BAD_BODY("an LF behind a chunk size", "9112 7.1, CVE-2025-22871", "5\nhello\r\n"),
    BAD_BODY("an LF in an extension", "CVE-2021-22960", "5;a\nb\r\nhello\r\n"),
    BAD_BODY("a bare semicolon", "9112 7.1.1", "5;\r\nhello\r\n"),
    BAD_BODY("a chunk longer than its size", "9112 7.1", "4\r\nhello\r\n"),
    BAD_BODY("an LF behind a chunk", "9112 7.1", "5\r\nhello\n"),
    BAD_BODY("a length among the trailers", "9110 6.5.1", "0\r\nContent-Length: 4\r\n\r\n"),
    BAD_BODY("a coding among the trailers", "9110 6.5.1", "0\r\nTransfer-Encoding: x\r\n\r\n"),
    BAD_BODY("a fold in the trailers", "9112 5.2", "0\r\nX: y\r\n z\r\n\r\n"),
    BAD_BODY("CR LF CR X for the end of the trailers", "CVE-2025-23167", "0\r\n\rX\r\n"),
    BAD_BODY("LFs in the trailers", "9112 2.2", "0\r\nX: y\n\n"),
    BAD_BODY("zeros before a chunk size without end", "FACTS D3", THOUSAND(TEN("0000000"))),
    BAD_BODY("an extension without end", "FACTS D3", "1;" THOUSAND(TEN("abcdefg"))),
    BAD_BODY("trailers without end", "9112 7.1.2", "0\r\n" THOUSAND("X: " TEN("abcdefgh") "\r\n")),

    /* More than was asked for. */
    MORE("a second response", "9112 9.2", GET("/a"), GOT("/a"), OK_, OKD, EVIL),
    MORE("one byte", "9112 9.2", GET("/a"), GOT("/a"), OK_, OKD, "\n"),
    MORE("a CR LF", "9112 9.2", GET("/a"), GOT("/a"), OK_, OKD, "\r\n"),
    MORE("a 100 behind the response", "9110 15.2", GET("/a"), GOT("/a"), OK_, OKD,
         "HTTP/1.1 100 Continue\r\n\r\n"),
    MORE("bytes behind the last chunk", "9112 9.2", GET("/a"), GOT("/a"),
         STATUS CHUNKED "\r\n0\r\n\r\n", STATUS DATE CHUNKED "\r\n0\r\n\r\n", EVIL),
    MORE("a body behind a length of 0", "9112 9.2", GET("/a"), GOT("/a"),
         STATUS LENGTH(0) "\r\n", STATUS DATE LENGTH(0) "\r\n", "hello"),
    MORE("a body behind the answer to HEAD", "9112 6.3 1", HEAD_A "\r\n", HEAD_A UP "\r\n",
         STATUS LENGTH(2) "\r\n", STATUS DATE LENGTH(2) "\r\n", "ok"),
    MORE("chunks behind the answer to HEAD", "9112 6.3 1", HEAD_A "\r\n", HEAD_A UP "\r\n",
         STATUS CHUNKED "\r\n", STATUS DATE "\r\n", "2\r\nok\r\n0\r\n\r\n"),
    MORE("a body behind a 304", "9112 6.3 1", GET("/a"), GOT("/a"),
         "HTTP/1.1 304 Not Modified\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n" DATE "\r\n", "hello"),
    MORE("chunks behind a 304", "9112 6.3 1", GET("/a"), GOT("/a"),
         "HTTP/1.1 304 Not Modified\r\n" CHUNKED "\r\n",
         "HTTP/1.1 304 Not Modified\r\n" DATE "\r\n", "2\r\nok\r\n0\r\n\r\n"),
    MORE("a body behind a 204", "9112 6.3 1", GET("/a"), GOT("/a"),
         "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n" DATE "\r\n", "hello"),
    CLOSES("chunks behind a 204", "9112 6.1",
           "HTTP/1.1 204 No Content\r\n" CHUNKED "\r\n2\r\nok\r\n0\r\n\r\n" EVIL,
           "HTTP/1.1 204 No Content\r\n" DATE "\r\n"),
    CLOSES("a response behind one that closes", "9112 9.6",
           STATUS "Connection: close\r\n" LENGTH(2) "\r\nok" EVIL, OKD),
    {"a response behind one that an earlier client did not wait for", "9112 9.2", .steps = STEPS(
        ASKS, C_RESET, O_CLOSED, WHY(CLIENT_GONE), OTHER)},
    {"a response behind half of a request", "9112 9.5", .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\n" LENGTH(10) "\r\nhello"),
        OX("POST /a HTTP/1.1\r\nHost: a\r\n" UP LENGTH(10) "\r\nhello"), O(OK_ EVIL),
        CX(STATUS DATE LENGTH(2) "Connection: close\r\n\r\nok"), CLOSED, O_CLOSED, OTHER)},
    {"an answer before its question", "9112 9.2", .steps = STEPS(
        SERVES("/a"), O(EVIL), O_CLOSED, KEPT_BY_CLIENT)},

    /* Servers that are only careless. */
    {"a response until close that says keep-alive", "9112 6.3 8", .steps = STEPS(ASKS,
        O(STATUS "Connection: keep-alive\r\n\r\nhello"), O_FIN, CX(STATUS DATE CHUNKED "\r\n"),
        CX_CHUNKS("hello"), CX("\r\n"), OTHER)},
    {"a close that was not announced", "9112 9.6", .steps = STEPS(
        SERVES("/a"), O_CLOSE, WHY(BACKEND_IDLE), KEPT_BY_CLIENT, O_CLOSE, C_NEW, KEPT_BY_CLIENT)},
    {"a close that was announced, and does not come", "9112 9.6", .steps = STEPS(ASKS,
        O(STATUS "Connection: close\r\n" LENGTH(2) "\r\nok"), CX(OKD), O_CLOSED, OTHER)},
    {"Connection in a trailer closes nothing", "FACTS D3", .steps = STEPS(ASKS,
        O(STATUS CHUNKED "\r\n2\r\nok\r\n0\r\nConnection: close\r\n\r\n"),
        CX(STATUS DATE CHUNKED "\r\n"), CX_CHUNKS("ok"), CX("\r\n"), KEPT)},
    {"extensions of a response end here", "9112 7.1.1", .steps = STEPS(ASKS,
        O(STATUS CHUNKED "\r\n002;a=\"b;c\"\r\nok\r\n00;x\r\n\r\n"),
        CX(STATUS DATE CHUNKED "\r\n"), CX_CHUNKS("ok"), CX("\r\n"), KEPT)},
    {"no blank behind the status", "9112 4", .steps = STEPS(ASKS,
        O("HTTP/1.1 200\r\n" LENGTH(2) "\r\nok"), CX(OKD), KEPT)},
    {"a reason above 127", "9112 4", .steps = STEPS(ASKS,
        O("HTTP/1.1 200 \xc3\xa4\r\n" LENGTH(2) "\r\nok"),
        CX("HTTP/1.1 200 \xc3\xa4\r\n" DATE LENGTH(2) "\r\nok"), KEPT)},
    {"a length beside a chunked body of HEAD is no body", "9112 6.3 1", .steps = STEPS(
        C(HEAD_A "\r\n"), OX(HEAD_A UP "\r\n"), O(STATUS LENGTH(99999999) "\r\n"),
        CX(STATUS DATE LENGTH(99999999) "\r\n"), KEPT)},

    /* Time. */
    {"a head that drips", "9112 4", .backend = "response_timeout = 300ms\n", .steps = STEPS(ASKS,
        O("HTTP/1.1 "), WAIT(80), O("200 OK\r\n"), WAIT(80), O("X: y\r\n"), WAIT(80), O("X: z\r\n"),
        PAGE("504", "Gateway Timeout"), O_CLOSED, WHY(RESPONSE_TIMEOUT), OTHER)},
    {"103s that drip", "9110 15.2", .backend = "response_timeout = 300ms\n", .steps = STEPS(ASKS,
        O("HTTP/1.1 103 Early Hints\r\n\r\n"), CX("HTTP/1.1 103 Early Hints\r\n\r\n"), WAIT(120),
        O("HTTP/1.1 103 Early Hints\r\n\r\n"), CX("HTTP/1.1 103 Early Hints\r\n\r\n"), WAIT(120),
        PAGE("504", "Gateway Timeout"), O_CLOSED, WHY(RESPONSE_TIMEOUT), OTHER)},
};

int main(void) {
    return SCRIPTS_RUN("split", scripts);
}
