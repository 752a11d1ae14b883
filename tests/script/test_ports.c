/* Plain HTTP on a TLS port: an answer that the client can read. TLS on a plain port: an end at
 * once. Of neither does the server hear. */
#include "script/stage.h"

/* The answer is there before the request is; what follows is not read. */
#define PLAIN_PAGE                                                                                \
    PAGE_CLOSE("400", "This port speaks TLS: use https")
#define PLAIN(what, bytes)                                                                        \
    {what, "9110 15.5.1", .tls_port = true,                                                       \
     .steps = STEPS(C(bytes), PLAIN_PAGE, C_FIN, WHY(PLAIN_HTTP), STAT_IS(REQUESTS, 0),           \
                    STAT_IS(HANDSHAKES, 0))}
#define HELLO "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"

static const struct script scripts[] = {
    PLAIN("a GET on a TLS port", GET("/a")),
    PLAIN("two of them", GET("/a") GET("/b")),
    PLAIN("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"),
    PLAIN("a HEAD has its page as well", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PLAIN("a POST and a part of its body",
          "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello"),
    PLAIN("OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    PLAIN("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    PLAIN("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    PLAIN("a method and a blank, and not a byte more", "DELETE "),
    {"a request whose body is still on its way", "9112 9.6", .tls_port = true, .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n"), C_BODY(300000),
        PLAIN_PAGE, C_FIN, WHY(PLAIN_HTTP))},
    {"a client that does not read", "9112 9.6", .tls_port = true, .steps = STEPS(
        C_PAUSE, C(GET("/a")), WAIT(20), C_RESUME, PLAIN_PAGE, C_FIN, WHY(PLAIN_HTTP))},
    {"a client that has said its last word", "9112 9.6", .tls_port = true, .steps = STEPS(
        C(GET("/a")), C_FIN, PLAIN_PAGE, STAT_IS(REQUESTS, 0))},
    {"a client that is gone", "-", .tls_port = true, .steps = STEPS(
        C(GET("/a")), C_RESET, STAT_IS(REQUESTS, 0), C_NEW, C(GET("/a")), PLAIN_PAGE)},
    {"a client that does not close is closed", "9112 9.6", .tls_port = true, .steps = STEPS(
        C(GET("/a")), PLAIN_PAGE, WHY(PLAIN_HTTP))},
    {"half a method has the handshake's time", "-", .tls_port = true,
     .listener = "head_timeout = 80ms\n", .steps = STEPS(
        C("OPTION"), CLOSED, WHY(HANDSHAKE_TIMEOUT))},
    {"half a method and its end", "-", .tls_port = true, .steps = STEPS(
        C("OPTION"), C_FIN, CLOSED, WHY(CLIENT_GONE))},
    {"stopping with an answer on its way", "-", .tls_port = true, .steps = STEPS(
        C(GET("/a")), PLAIN_PAGE, STOP)},

    /* The page is noise to a client of TLS, but such noise is what it knows as `no TLS here`; an
     * alert would say that there is some, which has refused it. */
    {"TLS on a plain port", "-", .steps = STEPS(
        C(HELLO), PAGE_CLOSE("400", "Bad Request"), C_FIN, WHY(BAD_REQUEST), STAT_IS(REQUESTS, 0))},
    {"one byte of TLS is enough", "-", .steps = STEPS(
        C("\x16"), PAGE_CLOSE("400", "Bad Request"), C_FIN, WHY(BAD_REQUEST))},
    {"SSLv2 on a plain port", "-", .steps = STEPS(
        C("\x80\x2e\x01\0\x02\0\x15\0\0\0\x10"), PAGE_CLOSE("400", "Bad Request"), C_FIN)},
    {"TLS after a request", "-", .steps = STEPS(
        SERVES("/a"), C(HELLO), PAGE_CLOSE("400", "Bad Request"), C_FIN)},
};

int main(void) {
    return SCRIPTS_RUN("ports", scripts);
}
