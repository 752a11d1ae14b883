/* Responses as a reader takes or refuses them, however they are cut: framing in RFC 9112 6.3's
 * order, and what llhttp would let pass. */
#include "h1_lab.h"

static void expect(const char *bytes, bool head_only, bool eof, const char *want) {
    struct h1_lab lab;
    lab_init(&lab, false);
    lab.head_only = head_only;
    lab.eof = eof;
    const char *got = lab_all(&lab, bytes, strlen(bytes));
    assert_string_equal(got, want);
    lab_fini(&lab);
}

static void bodies(void **state) {
    (void)state;
    expect("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhelloHTTP/1.1", false, false,
           "200 OK 1.1\nbody 1 length 1:5 keep 1 expect 0 te 0 upgrade  eof 0 bytes 49\n"
           "Content-Length=5\nServer=x\n[hello]\ncomplete, left <HTTP/1.1>\n");
    expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, false,
           "200 OK 1.1\nbody 0 length 1:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 38\n"
           "Content-Length=0\n[]\ncomplete, left <>\n");
    expect("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
           "2\r\nab\r\n0\r\nX: y\r\n\r\n", false, false,
           "404 Not Found 1.1\nbody 2 length 0:0 keep 0 expect 0 te 0 upgrade  eof 0 bytes 73\n"
           "Transfer-Encoding=chunked\nConnection=close\n[ab]\ntrailer X=y\n"
           "complete, left <>\n");
    expect("HTTP/1.0 200 OK\r\n\r\nall that comes\r\n", false, true,
           "200 OK 1.0\nbody 2 length 0:0 keep 0 expect 0 te 0 upgrade  eof 1 bytes 19\n"
           "[all that comes\r\n]\ncomplete, left <>\n");
    expect("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\na", false, false,
           "200 OK 1.0\nbody 1 length 1:1 keep 1 expect 0 te 0 upgrade  eof 0 bytes 62\n"
           "Connection=Keep-Alive\nContent-Length=1\n[a]\ncomplete, left <>\n");
    expect("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, false,
           "200  1.1\nbody 0 length 1:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 35\n"
           "Content-Length=0\n[]\ncomplete, left <>\n");
}

/* No body follows whatever the fields say (RFC 9112 6.3, 1). */
static void no_bodies(void **state) {
    (void)state;
    expect("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nHTTP", true, false,
           "200 OK 1.1\nbody 0 length 1:50 keep 1 expect 0 te 0 upgrade  eof 0 bytes 39\n"
           "Content-Length=50\n[]\ncomplete, left <HTTP>\n");
    expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, false,
           "200 OK 1.1\nbody 0 length 0:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 47\n"
           "Transfer-Encoding=chunked\n[]\ncomplete, left <>\n");
    expect("HTTP/1.1 200 OK\r\n\r\n", true, false,
           "200 OK 1.1\nbody 0 length 0:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 19\n"
           "[]\ncomplete, left <>\n");
    expect("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", false, false,
           "304 Not Modified 1.1\nbody 0 length 1:7 keep 1 expect 0 te 0 upgrade  eof 0 bytes 48\n"
           "Content-Length=7\n[]\ncomplete, left <>\n");
    expect("HTTP/1.1 204 No Content\r\n\r\n", false, false,
           "204 No Content 1.1\nbody 0 length 0:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 27\n"
           "[]\ncomplete, left <>\n");
    /* Who frames a 204 may send a body, too: the connection is not kept. */
    expect("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, false,
           "204 No Content 1.1\nbody 0 length 0:0 keep 0 expect 0 te 0 upgrade  eof 0 bytes 55\n"
           "Transfer-Encoding=chunked\n[]\ncomplete, left <0\r\n\r\n>\n");
    expect("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200", false, false,
           "100 Continue 1.1\nbody 0 length 0:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 25\n"
           "[]\ncomplete, left <HTTP/1.1 200>\n");
    expect("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", false, false,
           "103 Early Hints 1.1\nbody 0 length 0:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 40\n"
           "Link=</a>\n[]\ncomplete, left <>\n");
    expect("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi",
           false, false,
           "101 Go 1.1\nbody 0 length 0:0 keep 1 expect 0 te 0 upgrade websocket eof 0 bytes 60\n"
           "Connection=upgrade\nUpgrade=websocket\n[]\ncomplete, left <\x81\x02hi>\n");
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *what, *bytes;
    } rows[] = {
        {"coding and length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
         "Content-Length: 3\r\n\r\n0\r\n\r\n"},
        {"length and coding", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
        {"a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc"},
        {"a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc"},
        {"chunked is not the last", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nx"},
        {"two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
        {"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"},
        {"an empty coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nx"},
        {"a coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {"100 with a length", "HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc"},
        {"150 with a length", "HTTP/1.1 150 x\r\nContent-Length: 3\r\n\r\nabc"},
        {"103 with a coding", "HTTP/1.1 103 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {"status 000", "HTTP/1.1 000 x\r\n\r\n"},
        {"status 099", "HTTP/1.1 099 x\r\n\r\n"},
        {"status 600", "HTTP/1.1 600 x\r\n\r\n"},
        {"status 999", "HTTP/1.1 999 x\r\n\r\n"},
        {"status of two digits", "HTTP/1.1 20 OK\r\n\r\n"},
        {"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"},
        {"two blanks before the status", "HTTP/1.1  200 OK\r\n\r\n"},
        {"a control in the reason", "HTTP/1.1 200 O\x01K\r\n\r\n"},
        {"a bare CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n"},
        {"two CRs", "HTTP/1.1 200 OK\r\r\n\r\n"},
        {"a bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"},
        {"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n"},
        {"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n"},
        {"HTTP/0.9", "<html>hello</html>"},
        {"RTSP", "RTSP/1.0 200 OK\r\n\r\n"},
        {"ICY", "ICY 200 OK\r\n\r\n"},
        {"an empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n"},
        {"a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"},
        {"a blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc"},
        {"a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"},
    };
    struct h1_lab lab;
    lab_init(&lab, false);
    lab.eof = true;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *got = lab_all(&lab, rows[i].bytes, strlen(rows[i].bytes));
        if (strstr(got, "broken 502 bad-response") == NULL) {
            fail_msg("%s:\n%s", rows[i].what, got);
        }
    }
    static const char nul[] = "HTTP/1.1 200 O\0K\r\n\r\n";
    assert_non_null(strstr(lab_all(&lab, nul, sizeof nul - 1), "broken 502"));
    lab_fini(&lab);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies),
        cmocka_unit_test(no_bodies),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
