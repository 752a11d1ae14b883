/* Upgrades and tunnels: who may switch, when it begins, how it ends. */
#include "script/stage.h"

#define ASK_FIELDS(upgrade) "Connection: Upgrade\r\nUpgrade: " upgrade "\r\n"
#define KEY "Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n"
#define ASK "GET /ws HTTP/1.1\r\nHost: a\r\n" ASK_FIELDS("websocket") KEY "\r\n"
#define ASKED(up, upgrade)                                                                        \
    "GET /ws HTTP/1.1\r\nHost: a\r\n" KEY up "Connection: upgrade\r\nUpgrade: " upgrade "\r\n\r\n"
#define SWITCH "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Accept: x\r\n\r\n"
#define SWITCHED "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n" DATE           \
    "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
/* Both sides agree. */
#define OPENS C(ASK), OX(ASKED(UP, "websocket")), O(SWITCH), CX(SWITCHED)
/* Frames as they come: any bytes. */
#define PING "\x89\x84\1\2\3\4pong"
#define HELLO "\x81\x05hello"
#define MASKED "\x81\x85\1\2\3\4hello"
/* gyre's own: Close, 1001. */
#define GOING_AWAY "\x88\x02\x03\xe9"
#define TO_SERVER "\x88\x82\0\0\0\0\x03\xe9"
#define SOON .global = "drain_timeout = 100ms\n"
/* No switch was asked for as far as the server can tell. */
#define NOT_ASKED(what, rule, asked, got)                                                         \
    {what, rule, .steps = STEPS(C(asked), OX(got), O(OK_), CX(OKD), KEPT)}
#define NO_SWITCH(what, rule, answer)                                                             \
    {what, rule, .steps = STEPS(C(ASK), OX(ASKED(UP, "websocket")), O(answer),                    \
        PAGE("502", "Bad Gateway"), O_CLOSED, WHY(BAD_RESPONSE), KEPT_BY_CLIENT)}

static const struct script scripts[] = {
    {"a WebSocket: bytes both ways, the client ends it", "9110 7.8", .steps = STEPS(
        OPENS, C(HELLO), OX(HELLO), O(PING), CX(PING), C(PING HELLO), OX(PING HELLO), C_FIN,
        O_CLOSED, O_FIN, CLOSED, WHY(TUNNEL_END), STAT_IS(TUNNELS, 1))},
    {"a WebSocket: the server ends it", "9110 7.8", .steps = STEPS(
        OPENS, O(HELLO), CX(HELLO), O_FIN, CLOSED, C_FIN, O_CLOSED, WHY(TUNNEL_END))},
    {"a WebSocket over TLS", "9110 7.8", .tls = true, .steps = STEPS(
        C(ASK), OX(ASKED(UP_FROM("1.1", "a", "https"), "websocket")), O(SWITCH), CX(SWITCHED),
        C(HELLO), OX(HELLO), O(PING), CX(PING), C_FIN, O_CLOSED, O_FIN, CLOSED)},
    {"half of a tunnel ends, the other goes on", "9110 9.3.6", .steps = STEPS(
        OPENS, C(HELLO), C_FIN, OX(HELLO), O_CLOSED, O("still "), CX("still "), O("here"),
        CX("here"), O_FIN, CLOSED, WHY(TUNNEL_END))},
    {"the other half of a tunnel ends first", "9110 9.3.6", .steps = STEPS(
        OPENS, O(HELLO), O_FIN, CX(HELLO), CLOSED, C("still "), OX("still "), C("here"),
        OX("here"), C_FIN, O_CLOSED, WHY(TUNNEL_END))},
    {"a server that ends its tunnel at once", "9110 7.8", .steps = STEPS(
        C(ASK), OX(ASKED(UP, "websocket")), O(SWITCH "bye"), O_FIN, CX(SWITCHED "bye"), CLOSED,
        C_FIN, O_CLOSED)},
    {"bytes of the server's that come with its 101", "9110 7.8", .steps = STEPS(
        C(ASK), OX(ASKED(UP, "websocket")), O(SWITCH HELLO), CX(SWITCHED HELLO), C(PING),
        OX(PING))},
    {"bytes of the client's wait for the 101", "9110 7.8", .steps = STEPS(
        C(ASK HELLO), OX(ASKED(UP, "websocket")), OX_NOTHING(30), O(SWITCH), CX(SWITCHED),
        OX(HELLO), C(PING), OX(PING))},
    {"a 103 before the 101", "9110 15.2", .steps = STEPS(
        C(ASK), OX(ASKED(UP, "websocket")), O("HTTP/1.1 103 Early Hints\r\n\r\n" SWITCH),
        CX("HTTP/1.1 103 Early Hints\r\n\r\n" SWITCHED), C(HELLO), OX(HELLO))},
    {"much through a tunnel", "-", .steps = STEPS(
        OPENS, C_BODY(150000), OX_BODY(150000), O_BODY(150000), CX_BODY(150000), C_FIN, O_CLOSED,
        O_FIN, CLOSED)},
    {"much through a tunnel to who reads late", "-", .steps = STEPS(
        OPENS, O_PAUSE, C_BODY(300000), WAIT(30), O_RESUME, OX_BODY(300000), C_PAUSE,
        O_BODY(300000), WAIT(30), C_RESUME, CX_BODY(300000))},
    {"a tunnel takes its last bytes along", "9110 9.3.6", .steps = STEPS(
        OPENS, C_BODY(100000), C_FIN, OX_BODY(100000), O_CLOSED, O_BODY(100000), O_FIN,
        CX_BODY(100000), CLOSED)},
    {"the protocol's name in another case", "9110 7.8", .steps = STEPS(
        C("GET /ws HTTP/1.1\r\nHost: a\r\nconnection: keep-alive, upgrade\r\nUPGRADE: WebSocket\r\n"
          KEY "\r\n"), OX(ASKED(UP, "WebSocket")), O(SWITCH), CX(SWITCHED), C(HELLO), OX(HELLO))},
    {"another protocol, with its version", "9110 7.8", .steps = STEPS(
        C("GET /ws HTTP/1.1\r\nHost: a\r\n" ASK_FIELDS("foo/1.2") KEY "\r\n"),
        OX(ASKED(UP, "foo/1.2")),
        O("HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo/1.2\r\nConnection: Upgrade\r\n\r\n"),
        CX("HTTP/1.1 101 Switching Protocols\r\n" DATE
           "Connection: upgrade\r\nUpgrade: foo/1.2\r\n\r\n"), C(HELLO), OX(HELLO))},
    {"Content-Length: 0 beside an upgrade", "9110 7.8", .steps = STEPS(
        C("GET /ws HTTP/1.1\r\nHost: a\r\n" ASK_FIELDS("websocket") "Content-Length: 0\r\n\r\n"),
        OX("GET /ws HTTP/1.1\r\nHost: a\r\n" UP "Content-Length: 0\r\nConnection: upgrade\r\n"
           "Upgrade: websocket\r\n\r\n"), O(SWITCH), CX(SWITCHED), C(HELLO), OX(HELLO))},
    {"after other requests on the same connections", "-", .steps = STEPS(
        SERVES("/a"), OPENS, C(HELLO), OX(HELLO), C_FIN, O_CLOSED, O_FIN, CLOSED)},

    /* Not switched. */
    {"the server answers as if nothing had been asked", "9110 7.8", .steps = STEPS(
        C(ASK), OX(ASKED(UP, "websocket")), O(OK_), CX(OKD), KEPT)},
    {"the server refuses", "6455 4.2.2", .steps = STEPS(
        C(ASK), OX(ASKED(UP, "websocket")),
        O("HTTP/1.1 426 Upgrade Required\r\nUpgrade: foo\r\nConnection: Upgrade\r\n"
          "Content-Length: 0\r\n\r\n"),
        CX("HTTP/1.1 426 Upgrade Required\r\n" DATE "Content-Length: 0\r\n\r\n"), KEPT)},
    {"a WebSocket's bytes after a refusal are no request", "9110 7.8", .steps = STEPS(
        C(ASK HELLO), OX(ASKED(UP, "websocket")),
        O("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
        CX("HTTP/1.1 403 Forbidden\r\n" DATE "Content-Length: 0\r\n\r\n"),
        PAGE_CLOSE("400", "Bad Request"))},
    NO_SWITCH("101 to another protocol", "9110 7.8",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n"),
    NO_SWITCH("101 to h2c", "9113 3.1",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
    NO_SWITCH("101 that names nothing", "9110 15.2.2",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n"),
    NO_SWITCH("101 that names several", "9110 7.8",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket, foo\r\nConnection: Upgrade\r\n"
        "\r\n"),
    NO_SWITCH("101 with a length", "9110 8.6",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Content-Length: 5\r\n\r\nhello"),
    {"101 that nobody asked for", "9110 15.2.2", .steps = STEPS(
        C(GET("/a")), OX(GOT("/a")), O(SWITCH), PAGE("502", "Bad Gateway"), O_CLOSED,
        WHY(BAD_RESPONSE), KEPT_BY_CLIENT)},
    {"no answer to an upgrade", "-", .steps = STEPS(C(ASK), OX(ASKED(UP, "websocket")), O_FIN,
        O_NEW, OX(ASKED(UP, "websocket")), O_FIN, PAGE("502", "Bad Gateway"), KEPT_BY_CLIENT)},

    /* Not asked for. */
    NOT_ASKED("h2c never passes", "9113 3.1",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", GOT("/a")),
    NOT_ASKED("h2c in a list never passes", "h2c smuggling",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        GOT("/a")),
    NOT_ASKED("h2c in a second field never passes", "h2c smuggling",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Upgrade: h2c\r\n\r\n", GOT("/a")),
    NOT_ASKED("HTTP2-Settings never passes", "h2c smuggling",
        "GET /a HTTP/1.1\r\nHost: a\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", GOT("/a")),
    NOT_ASKED("Upgrade without its option", "9110 7.8",
        "GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", GOT("/a")),
    NOT_ASKED("the option without Upgrade", "9110 7.8",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\r\n", GOT("/a")),
    NOT_ASKED("Upgrade with a body", "9110 7.8",
        "GET /a HTTP/1.1\r\nHost: a\r\n" ASK_FIELDS("websocket") "Content-Length: 2\r\n\r\nhi",
        "GET /a HTTP/1.1\r\nHost: a\r\n" UP "Content-Length: 2\r\n\r\nhi"),
    {"Upgrade with chunks", "9110 7.8", .steps = STEPS(
        C("GET /a HTTP/1.1\r\nHost: a\r\n" ASK_FIELDS("websocket")
          "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP "Transfer-Encoding: chunked\r\n\r\n"),
        OX_CHUNKS("hi"), OX("\r\n"), O(OK_), CX(OKD), KEPT)},
    {"Upgrade from HTTP/1.0", "9110 7.8", .steps = STEPS(
        C("GET /a HTTP/1.0\r\nHost: a\r\n" ASK_FIELDS("websocket") "\r\n"),
        OX("GET /a HTTP/1.1\r\nHost: a\r\n" UP_FROM("1.0", "a", "http") "\r\n"), O(OK_),
        CX("HTTP/1.1 200 OK\r\n" DATE "Content-Length: 2\r\nConnection: close\r\n\r\nok"), CLOSED)},

    /* Ends that are none. */
    {"the client resets its tunnel", "-", .steps = STEPS(OPENS, C(HELLO), OX(HELLO), C_RESET,
        O_CLOSED, WHY(CLIENT_GONE))},
    {"the server resets its tunnel", "-", .steps = STEPS(OPENS, O(HELLO), CX(HELLO), O_RESET, CUT)},
    {"tunnel_timeout", "-", .listener = "tunnel_timeout = 80ms\n", .steps = STEPS(
        OPENS, CUT, O_CLOSED, WHY(TUNNEL_TIMEOUT))},
    {"tunnel_timeout runs from the last byte, of either side", "-",
     .listener = "tunnel_timeout = 500ms\n", .steps = STEPS(
        OPENS, WAIT(300), C("a"), OX("a"), WAIT(300), O("b"), CX("b"), CUT,
        O_CLOSED, WHY(TUNNEL_TIMEOUT))},
    {"other timeouts are not a tunnel's", "-", .listener = "body_timeout = 50ms\n"
     "idle_timeout = 50ms\nhead_timeout = 400ms\n",
     .backend = "response_timeout = 400ms\nstall_timeout = 50ms\n", .steps = STEPS(
        OPENS, WAIT(550), C(HELLO), OX(HELLO), O(PING), CX(PING))},

    /* Stopping. */
    {"a WebSocket is closed in order before drain_timeout", "6455 7.4.1", SOON, .steps = STEPS(
        OPENS, C(MASKED), OX(MASKED), O(HELLO), CX(HELLO), STOP, CX(GOING_AWAY), CLOSED,
        OX(TO_SERVER), O_CLOSED)},
    {"over TLS", "6455 7.4.1", SOON, .tls = true, .steps = STEPS(
        C(ASK), OX(ASKED(UP_FROM("1.1", "a", "https"), "websocket")), O(SWITCH), CX(SWITCHED),
        STOP, CX(GOING_AWAY), CLOSED, OX(TO_SERVER), O_CLOSED)},
    {"over TLS, one that was silent for long", "6455 7.4.1", SOON, .tls = true, .steps = STEPS(
        C(ASK), OX(ASKED(UP_FROM("1.1", "a", "https"), "websocket")), O(SWITCH), CX(SWITCHED),
        WAIT(11000), STOP, CX(GOING_AWAY), CLOSED, OX(TO_SERVER), O_CLOSED, WHY(DRAIN))},
    {"behind a long frame, a longer one, and one of many pieces", "6455 5.2", SOON,
     .steps = STEPS(OPENS, O("\x82\x7e\x00\x03" "abc"), CX("\x82\x7e\x00\x03" "abc"),
        O("\x82\x7f\0\0\0\0\0\0\0\x02" "de\x89\0"), CX("\x82\x7f\0\0\0\0\0\0\0\x02" "de\x89\0"),
        O("\x01"), CX("\x01"), O("\x83"), CX("\x83"), O("\1\2"), CX("\1\2"), O("\3\4ab"),
        CX("\3\4ab"), O("c"), CX("c"), STOP, CX(GOING_AWAY), CLOSED, OX(TO_SERVER), O_CLOSED)},
    {"nothing is put into a frame", "6455 5.2", SOON, .steps = STEPS(
        OPENS, O("\x81\x05" "hell"), CX("\x81\x05" "hell"), STOP, CLOSED, OX(TO_SERVER), O_CLOSED)},
    {"nor into the head of one", "6455 5.2", SOON, .steps = STEPS(
        OPENS, O(HELLO "\x81"), CX(HELLO "\x81"), STOP, CLOSED, OX(TO_SERVER), O_CLOSED)},
    {"nor into a mask", "6455 5.3", SOON, .steps = STEPS(
        OPENS, O("\x81\x81\1\2\3"), CX("\x81\x81\1\2\3"), STOP, CLOSED, OX(TO_SERVER), O_CLOSED)},
    {"nor behind the server's own Close", "6455 5.5.1", SOON, .steps = STEPS(
        OPENS, O("\x88\0"), CX("\x88\0"), STOP, CLOSED, OX(TO_SERVER), O_CLOSED)},
    {"other protocols have an end alone", "9110 7.8", SOON, .steps = STEPS(
        C("GET /ws HTTP/1.1\r\nHost: a\r\n" ASK_FIELDS("echo") KEY "\r\n"),
        OX(ASKED(UP, "echo")),
        O("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"),
        CX("HTTP/1.1 101 Switching Protocols\r\n" DATE "Connection: upgrade\r\nUpgrade: echo\r\n"
           "\r\n"), STOP, CLOSED, O_CLOSED)},
    {"it goes on until then", "-", SOON, .steps = STEPS(
        OPENS, STOP, O(HELLO), CX(HELLO GOING_AWAY), CLOSED,
        OX(TO_SERVER), O_CLOSED)},
};

int main(void) {
    return SCRIPTS_RUN("upgrade", scripts);
}
