/* PROXY headers of balancers in front, and to servers. Sections are those of haproxy's
 * proxy-protocol.txt. */
#include "script/stage.h"

/* --- Headers ------------------------------------------------------------------------------ */

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define ENDS4 "\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\x01\xbb"
#define IP6(last) "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0" last
#define ENDS6 IP6("\x01") IP6("\x02") "\0\x09\x01\xbb"
#define PATH12 "\0\0\0\0\0\0\0\0\0\0\0\0"
#define PATH108 PATH12 PATH12 PATH12 PATH12 PATH12 PATH12 PATH12 PATH12 PATH12

#define IN4_V1 "PROXY TCP4 1.2.3.4 5.6.7.8 9 443\r\n"
#define IN6_V1 "PROXY TCP6 2001:db8::1 2001:DB8:0::2 9 443\r\n"
#define IN4_V2 SIGNATURE "\x21\x11\0\x0c" ENDS4
#define IN6_V2 SIGNATURE "\x21\x21\0\x24" ENDS6
#define IN_UNIX SIGNATURE "\x21\x31\0\xd8" PATH108 PATH108
#define IN_LOCAL SIGNATURE "\x20\0\0\0"
#define IN_UNSPEC SIGNATURE "\x21\0\0\0"
/* The server name, a cloud's own TLV, and a sum over all of it. */
#define IN4_TLVS SIGNATURE "\x21\x11\0\x28" ENDS4 "\x02\0\x0b" "example.org" "\xea\0\x04vpce"      \
    "\x03\0\x04\x98\xbd\xb2\xff"

/* Of a request whose id is "mine"; the sums are those of another program. */
#define ID_MINE "\x05\0\x04mine"
#define OUT4_V2 SIGNATURE "\x21\x11\0\x1a" ENDS4 ID_MINE "\x03\0\x04;@\x08\xf5"
#define OUT6_V2 SIGNATURE "\x21\x21\0\x32" ENDS6 ID_MINE "\x03\0\x04\xff\x81\xaa\xb4"
#define OUT4_TLS SIGNATURE "\x21\x11\0\x32" ENDS4 "\x02\0\x01" "a"                                \
    "\x20\0\x11\x01\0\0\0\x01" "\x21\0\x03toy" "\x23\0\x03xor" ID_MINE "\x03\0\x04Nk^\xbc"
#define OUT_V1 "PROXY TCP4 127.0.0.1 127.0.0.1 {n} {port}\r\n"
#define OUT_LOCAL SIGNATURE "\x20\0\0\0"

/* --- Requests ----------------------------------------------------------------------------- */

/* What gyre adds, of the client that a header told of. */
#define UP_TOLD_(client, real, port, proto)                                                       \
    "Via: 1.1 gyre\r\nX-Forwarded-For: " real "\r\nX-Real-IP: " real "\r\nX-Forwarded-Proto: "    \
    proto "\r\nX-Forwarded-Host: a\r\n" port "Forwarded: for=" client ";host=\"a\";proto=" proto  \
    "\r\n"
#define UP_TOLD(client, real, port, proto)                                                        \
    UP_TOLD_(client, real, port, proto) "X-Request-ID: {id}\r\n" STARTED
#define STARTED "X-Request-Start: t={n}\r\n"
#define P443 "X-Forwarded-Port: 443\r\n"
#define TOLD4 UP_TOLD("1.2.3.4", "1.2.3.4", P443, "http")
#define TOLD6 UP_TOLD("\"[2001:db8::1]\"", "2001:db8::1", P443, "http")
#define TOLD_UNIX UP_TOLD("unknown", "unix", "", "http")
#define GOT_OF(up) OX("GET /a HTTP/1.1\r\nHost: a\r\n" up "\r\n")
#define CLOSING "Connection: close\r\n"
#define ANSWERED O(OK_), CX(OKD)

#define ACCEPT .listener = "accept_proxy = yes\n"
#define TELLS(what, rule, header, up)                                                             \
    {what, rule, ACCEPT, .steps = STEPS(C_RAW(header), C(GET("/a")), GOT_OF(up), ANSWERED)}
#define REFUSES(what, rule, bytes)                                                                \
    {what, rule, ACCEPT, .steps = STEPS(C_RAW(bytes), GONE, WHY(BAD_PROXY), STAT_IS(REQUESTS, 0), \
        C_NEW, C_RAW(IN4_V1), C(GET("/a")), GOT_OF(TOLD4), ANSWERED)}

/* A request with an id of its own, of a told client that is trusted: the header that goes to the
 * server is the same in every run. */
#define ACCEPT_MINE ACCEPT, .global = "trusted_proxies = 1.2.3.0/24, 2001:db8::/32, unix\n"
#define GET_MINE "GET /a HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\n\r\n"
#define GOT_MINE(up)                                                                              \
    "GET /a HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\n" up STARTED CLOSING "\r\n"
#define HANDS_ON(what, rule, version, in, out, client, real, port)                                \
    {what, rule, ACCEPT_MINE, .servers = "server = {app} send_proxy=" version "\n",               \
     .steps = STEPS(C_RAW(in), C(GET_MINE),                                                       \
        OX(out GOT_MINE(UP_TOLD_(client, real, port, "http"))), ANSWERED, O_CLOSED)}

#define SEND(version) .servers = "server = {app} send_proxy=" version "\n"
#define ONCE(path) "GET " path " HTTP/1.1\r\nHost: a\r\n" UP CLOSING "\r\n"

static const struct script scripts[] = {
    /* Who the client is. */
    TELLS("v1 tells of an IPv4 client", "2.1", IN4_V1, TOLD4),
    TELLS("v1 tells of an IPv6 client", "2.1", IN6_V1, TOLD6),
    TELLS("v1 with a v4-mapped address tells of an IPv4 client", "4291 2.5.5.2",
        "PROXY TCP6 ::ffff:1.2.3.4 ::1 9 443\r\n", TOLD4),
    TELLS("v1 that does not know", "2.1", "PROXY UNKNOWN\r\n", UP),
    TELLS("v1 that does not know, and says it at length", "2.1",
        "PROXY UNKNOWN 1.2.3.4 5.6.7.8 9 10\r\n", UP),
    TELLS("v2 tells of an IPv4 client", "2.2", IN4_V2, TOLD4),
    TELLS("v2 tells of an IPv6 client", "2.2", IN6_V2, TOLD6),
    TELLS("v2 tells of a unix client", "2.2", IN_UNIX, TOLD_UNIX),
    TELLS("v2 for the balancer itself", "2.2", IN_LOCAL, UP),
    TELLS("v2 for the balancer itself, with bytes that are nobody's business", "2.2",
        SIGNATURE "\x20\x11\0\x05" "abcde", UP),
    TELLS("v2 of an unspecified protocol", "2.2", IN_UNSPEC, UP),
    TELLS("v2 with a server name, a cloud's TLV, and a sum", "2.2.3", IN4_TLVS, TOLD4),
    {"a told client is told of in every request", "2", ACCEPT, .steps = STEPS(
        C_RAW(IN4_V1), C(GET("/a") GET("/a")), GOT_OF(TOLD4), ANSWERED, GOT_OF(TOLD4), ANSWERED,
        WAIT(20), C(GET("/a")), GOT_OF(TOLD4), ANSWERED, STAT_IS(REUSED, 2))},
    {"the next connection is another client's", "2", ACCEPT, .steps = STEPS(
        C_RAW(IN4_V1), C(GET("/a")), GOT_OF(TOLD4), ANSWERED,
        C_NEW, C_RAW(IN6_V2), C(GET("/a")), GOT_OF(TOLD6), ANSWERED, STAT_IS(REUSED, 1))},
    {"a header that comes in two parts, and then nothing for a while", "2", ACCEPT,
     .steps = STEPS(
        C_RAW("PROXY TCP4 1.2."), WAIT(50), C_RAW("3.4 5.6.7.8 9 443\r\n"), WAIT(50),
        C(GET("/a")), GOT_OF(TOLD4), ANSWERED)},
    {"a WebSocket behind a header", "9110 7.8", ACCEPT, .steps = STEPS(
        C_RAW(IN4_V2), C("GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
          "Upgrade: websocket\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" TOLD4 "Connection: upgrade\r\nUpgrade: websocket\r\n"
           "\r\n"),
        O("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        CX("HTTP/1.1 101 Switching Protocols\r\n" DATE "Connection: upgrade\r\n"
           "Upgrade: websocket\r\n\r\n"), C("PROXY"), OX("PROXY"), O("y"), CX("y"))},
    {"over TLS the header comes before the hello", "2", ACCEPT, .tls = true, .steps = STEPS(
        C_RAW(IN4_V1), C(GET("/a")),
        GOT_OF(UP_TOLD("1.2.3.4", "1.2.3.4", P443, "https")), ANSWERED)},
    {"v2 over TLS", "2", ACCEPT, .tls = true, .steps = STEPS(
        C_RAW(IN6_V2), C(GET("/a")),
        GOT_OF(UP_TOLD("\"[2001:db8::1]\"", "2001:db8::1", P443, "https")), ANSWERED)},
    {"a second header is no request", "2", ACCEPT, .steps = STEPS(
        C_RAW(IN4_V1), C(IN4_V1), PAGE_CLOSE("400", "Bad Request"))},

    /* Whom to believe. */
    {"trust is in the told client", "7239 8.1", ACCEPT_MINE, .steps = STEPS(
        C_RAW(IN4_V1), C("GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\nVia: 1.1 gyre\r\nX-Forwarded-For: 9.9.9.9, 1.2.3.4\r\n"
           "X-Real-IP: 1.2.3.4\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n" P443
           "Forwarded: for=1.2.3.4;host=\"a\";proto=http\r\nX-Request-ID: {id}\r\n" STARTED "\r\n"),
        ANSWERED)},
    {"trust in the balancer is none in its clients", "7239 8.1", ACCEPT,
     .global = "trusted_proxies = 127.0.0.0/8\n", .steps = STEPS(
        C_RAW(IN4_V1), C("GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"),
        GOT_OF(TOLD4), ANSWERED)},

    /* No header, no answer. */
    REFUSES("a request without a header", "2", GET("/a")),
    REFUSES("a request of one byte", "2", "G"),
    REFUSES("a TLS hello", "2", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    REFUSES("an HTTP/2 preface", "2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    REFUSES("a blank line before it", "2.1", "\r\nPROXY UNKNOWN\r\n"),
    REFUSES("a line without CR", "2.1", "PROXY TCP4 1.2.3.4 5.6.7.8 9 443\n" GET("/a")),
    REFUSES("two blanks", "2.1", "PROXY TCP4  1.2.3.4 5.6.7.8 9 443\r\n" GET("/a")),
    REFUSES("an address with a leading zero", "2.1",
        "PROXY TCP4 1.2.3.04 5.6.7.8 9 443\r\n" GET("/a")),
    REFUSES("a port of 65536", "2.1", "PROXY TCP4 1.2.3.4 5.6.7.8 65536 443\r\n" GET("/a")),
    REFUSES("a line of 108 bytes", "2.1", "PROXY UNKNOWN " "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
    REFUSES("version 3", "2.2", SIGNATURE "\x31\x11\0\x0c" ENDS4 GET("/a")),
    REFUSES("an unknown command", "2.2", SIGNATURE "\x22\x11\0\x0c" ENDS4 GET("/a")),
    REFUSES("datagrams", "2.2", SIGNATURE "\x21\x12\0\x0c" ENDS4 GET("/a")),
    REFUSES("addresses cut short", "2.2", SIGNATURE "\x21\x11\0\x0b" ENDS4 GET("/a")),
    REFUSES("a header of more than a page", "2.2", SIGNATURE "\x21\x11\x0f\xf1" ENDS4),
    REFUSES("a TLV that runs past the end", "2.2",
        SIGNATURE "\x21\x11\0\x0f" ENDS4 "\x02\0\x01" GET("/a")),
    REFUSES("a sum that is wrong", "2.2.3",
        SIGNATURE "\x21\x11\0\x13" ENDS4 "\x03\0\x04" "abcd" GET("/a")),
    {"half a header and an end", "2", ACCEPT, .steps = STEPS(
        C_RAW("PROXY TCP4 1.2.3.4 5.6"), C_FIN, GONE, WHY(BAD_PROXY))},
    {"a balancer that only looks", "2", ACCEPT, .steps = STEPS(C_FIN, GONE, WHY(CLIENT_EOF))},
    {"a balancer that looks with a header", "2", ACCEPT, .steps = STEPS(
        C_RAW(IN_LOCAL), C_FIN, GONE, WHY(CLIENT_EOF))},
    {"a reset inside a header", "2", ACCEPT, .steps = STEPS(
        C_RAW("PROXY TCP4"), WAIT(20), C_RESET, WHY(CLIENT_GONE))},
    {"nothing at all", "2", .listener = "accept_proxy = yes\nhead_timeout = 300ms\n",
     .steps = STEPS(GONE, WHY(HEAD_TIMEOUT))},
    {"half a header, and no more", "2", .listener = "accept_proxy = yes\nhead_timeout = 300ms\n",
     .steps = STEPS(C_RAW("PROXY TCP4 1.2.3.4"), GONE, WHY(HEAD_TIMEOUT))},
    {"half a request behind a header", "9110 15.5.9",
     .listener = "accept_proxy = yes\nhead_timeout = 300ms\n", .steps = STEPS(
        C_RAW(IN4_V1), C("GET / HT"), PAGE_CLOSE("408", "Request Timeout"))},
    {"gyre stops while a header is on its way", "-", ACCEPT, .steps = STEPS(
        C_RAW("PROXY TCP4"), WAIT(20), STOP, GONE)},

    /* What servers are told. */
    {"v1 to a server: one connection a request, and it says so", "2", SEND("v1"), .steps = STEPS(
        C(GET("/a")), OX(OUT_V1 ONCE("/a")), ANSWERED, O_CLOSED, WHY(LINGER),
        C(GET("/b")), O_NEW, OX(OUT_V1 ONCE("/b")), ANSWERED, O_CLOSED,
        STAT_IS(DIALED, 2), STAT_IS(REUSED, 0))},
    {"v1 to a server on a unix socket", "2", .servers = "server = {unix} send_proxy=v1\n",
     .steps = STEPS(C(GET("/a")), OX(OUT_V1 ONCE("/a")), ANSWERED, O_CLOSED)},
    {"send_proxy of a backend is its servers'", "-", .backend = "send_proxy = v1\n",
     .steps = STEPS(C(GET("/a")), OX(OUT_V1 ONCE("/a")), ANSWERED, O_CLOSED)},
    {"an upload behind v1", "2", SEND("v1"), .steps = STEPS(
        C("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n"),
        OX(OUT_V1 "POST /a HTTP/1.1\r\nHost: a\r\n" UP "Content-Length: 70000\r\n" CLOSING "\r\n"),
        C_BODY(70000), OX_BODY(70000), O("HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"),
        CX("HTTP/1.1 200 OK\r\n" DATE "Content-Length: 90000\r\n\r\n"), O_BODY(90000),
        CX_BODY(90000), O_CLOSED)},
    {"a WebSocket behind v1", "9110 7.8", SEND("v1"), .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        OX(OUT_V1 "GET /a HTTP/1.1\r\nHost: a\r\n" UP "Connection: upgrade\r\n"
           "Upgrade: websocket\r\n\r\n"),
        O("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        CX("HTTP/1.1 101 Switching Protocols\r\n" DATE "Connection: upgrade\r\n"
           "Upgrade: websocket\r\n\r\n"), C("x"), OX("x"), O("y"), CX("y"))},
    {"a server that does not switch is not kept either", "9110 7.8", SEND("v1"), .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        OX(OUT_V1 "GET /a HTTP/1.1\r\nHost: a\r\n" UP "Connection: upgrade\r\n"
           "Upgrade: websocket\r\n\r\n"), ANSWERED, O_CLOSED)},
    HANDS_ON("v2 of a told IPv4 client", "2.2", "v2", IN4_V1, OUT4_V2, "1.2.3.4", "1.2.3.4", P443),
    HANDS_ON("v2 of a told IPv6 client", "2.2", "v2", IN6_V2, OUT6_V2, "\"[2001:db8::1]\"",
        "2001:db8::1", P443),
    HANDS_ON("v1 of a told IPv4 client", "2.1", "v1", IN4_V2,
        "PROXY TCP4 1.2.3.4 5.6.7.8 9 443\r\n", "1.2.3.4", "1.2.3.4", P443),
    HANDS_ON("v1 of a told IPv6 client", "2.1", "v1", IN6_V1,
        "PROXY TCP6 2001:db8::1 2001:db8::2 9 443\r\n", "\"[2001:db8::1]\"", "2001:db8::1", P443),
    HANDS_ON("v1 of a unix client does not know", "2.1", "v1", IN_UNIX, "PROXY UNKNOWN\r\n",
        "unknown", "unix", ""),
    HANDS_ON("v2 of a unix client speaks for itself", "2.2", "v2", IN_UNIX, OUT_LOCAL,
        "unknown", "unix", ""),
    {"v1 for a balancer that does not know: its own address", "2.1", ACCEPT, SEND("v1"),
     .steps = STEPS(C_RAW("PROXY UNKNOWN\r\n"), C(GET("/a")), OX(OUT_V1 ONCE("/a")), ANSWERED,
        O_CLOSED)},
    {"v2 of a client over TLS", "2.2.6", ACCEPT_MINE, SEND("v2"), .tls = true, .steps = STEPS(
        C_RAW(IN4_V2), C(GET_MINE),
        OX(OUT4_TLS GOT_MINE(UP_TOLD_("1.2.3.4", "1.2.3.4", P443, "https"))), ANSWERED, O_CLOSED)},
    {"two clients, each told of on its own connection", "2", ACCEPT, SEND("v1"), .steps = STEPS(
        C_RAW(IN4_V1), C(GET("/a")),
        OX("PROXY TCP4 1.2.3.4 5.6.7.8 9 443\r\nGET /a HTTP/1.1\r\nHost: a\r\n" TOLD4 CLOSING
           "\r\n"), ANSWERED, O_CLOSED,
        C_NEW, C_RAW(IN6_V1), C(GET("/a")), O_NEW,
        OX("PROXY TCP6 2001:db8::1 2001:db8::2 9 443\r\nGET /a HTTP/1.1\r\nHost: a\r\n" TOLD6
           CLOSING "\r\n"), ANSWERED, O_CLOSED, STAT_IS(REUSED, 0))},

    /* Beside servers that know nothing of it, and when things go wrong. */
    {"one server wants it, the other does not", "2", .backend = "balance = round_robin\n",
     .servers = "server = {app} send_proxy=v1\nserver = {second}\n", .steps = STEPS(
        C(GET("/1")), OX(OUT_V1 ONCE("/1")), ANSWERED, O_CLOSED,
        C(GET("/2")), O2_NEW, OX(GOT("/2")), ANSWERED,
        C(GET("/3")), O_NEW, OX(OUT_V1 ONCE("/3")), ANSWERED, O_CLOSED, STAT_IS(DIALED, 3))},
    {"each server is told in its own way", "2", .backend = "balance = round_robin\n",
     .servers = "server = {dead} send_proxy=v2\nserver = {app} send_proxy=v1\n", .steps = STEPS(
        C(GET("/1")), OX(OUT_V1 ONCE("/1")), ANSWERED, O_CLOSED, STAT_IS(DIAL_FAILED, 1))},
    {"a server that closes at once: a GET goes again, once", "9110 9.2.2", SEND("v1"),
     .steps = STEPS(
        C(GET("/a")), OX(OUT_V1 ONCE("/a")), O_CLOSE, O_NEW, OX(OUT_V1 ONCE("/a")), O_CLOSE,
        PAGE("502", "Bad Gateway"), WHY(BACKEND_CLOSED), STAT_IS(RETRIED, 1),
        C(GET("/b")), O_NEW, OX(OUT_V1 ONCE("/b")), ANSWERED, O_CLOSED)},
    {"a client that leaves takes its dial along", "-", .servers = "server = {full} send_proxy=v1\n",
     .backend = "connect_timeout = 30s\n", .steps = STEPS(
        C(GET("/a")), WAIT(50), C_RESET, WHY(CLIENT_GONE), WHY(BACKEND_IDLE))},
};

int main(void) {
    return SCRIPTS_RUN("proxy", scripts);
}
