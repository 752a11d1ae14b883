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
        const char *what, *bytes, *word;
    } rows[] = {
        {"coding and length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
         "Content-Length: 3\r\n\r\n0\r\n\r\n", "length-and-coding"},
        {"length and coding", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "length-and-coding"},
        {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
         "length-twice"},
        {"a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
         "length-malformed"},
        {"a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc", "length-malformed"},
        {"chunked is not the last", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nx",
         "coding-last"},
        {"two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
         "coding-unknown"},
        {"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx", "coding-last"},
        {"an empty coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nx", "coding-last"},
        {"a coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "coding-old"},
        {"100 with a length", "HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc",
         "interim-framed"},
        {"150 with a length", "HTTP/1.1 150 x\r\nContent-Length: 3\r\n\r\nabc", "interim-framed"},
        {"103 with a coding", "HTTP/1.1 103 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "interim-framed"},
        {"status 000", "HTTP/1.1 000 x\r\n\r\n", "status"},
        {"status 099", "HTTP/1.1 099 x\r\n\r\n", "status"},
        {"status 600", "HTTP/1.1 600 x\r\n\r\n", "status"},
        {"status 999", "HTTP/1.1 999 x\r\n\r\n", "status"},
        {"status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "status"},
        {"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "status"},
        {"two blanks before the status", "HTTP/1.1  200 OK\r\n\r\n", "status"},
        {"a control in the reason", "HTTP/1.1 200 O\x01K\r\n\r\n", "reason"},
        {"a bare CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", "bare-cr"},
        {"two CRs", "HTTP/1.1 200 OK\r\r\n\r\n", "bare-cr"},
        {"a bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "bare-lf"},
        {"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", "version-unknown"},
        {"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", "version-unknown"},
        {"HTTP/0.9", "<html>hello</html>", "not-http"},
        {"RTSP", "RTSP/1.0 200 OK\r\n\r\n", "not-http"},
        {"ICY", "ICY 200 OK\r\n\r\n", "not-http"},
        {"an empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n", "not-http"},
        {"a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "field-folded"},
        {"a blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc",
         "field-blank"},
        {"a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
         "chunk-size"},
        {"no version", "HTTP 200 OK\r\n\r\n", "version-malformed"},
        {"no blank", "HTTP/1.1\r\n\r\n", "version-malformed"},
        {"a control in a value", "HTTP/1.1 200 OK\r\nX: \x01\r\n\r\n", "field-value"},
        {"no name", "HTTP/1.1 200 OK\r\n: x\r\n\r\n", "field-name"},
        {"no colon", "HTTP/1.1 200 OK\r\nX\r\n\r\n", "field-colon"},
        {"a bare LF behind a value", "HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", "bare-lf"},
        {"a bare CR in a value", "HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n", "bare-cr"},
        {"CR LF CR X ends no head", "HTTP/1.1 200 OK\r\nX: a\r\n\rY: b\r\n\r\n", "bare-cr"},
        {"two Hosts", "HTTP/1.1 200 OK\r\nHost: a\r\nHost: a\r\n\r\n", "host-twice"},
        {"no token in Connection", "HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n",
         "connection-malformed"},
        {"two codings in two lines", "HTTP/1.1 200 OK\r\n" "Transfer-Encoding: gzip\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "coding-twice"},
        {"twice chunked", "HTTP/1.1 200 OK\r\n" "Transfer-Encoding: chunked\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "coding-twice"},
        {"a coding beside a length in a 204", "HTTP/1.1 204 x\r\n" "Content-Length: 3\r\n"
         "Transfer-Encoding: chunked\r\n\r\n", "length-and-coding"},
        {"zeros before a length", "HTTP/1.1 200 OK\r\n" "Content-Length: 003\r\n\r\nabc",
         "length-malformed"},
        {"a length of twenty digits", "HTTP/1.1 200 OK\r\n"
         "Content-Length: 10000000000000000000\r\n\r\n", "length-malformed"},
        {"an LF in a chunk extension", "HTTP/1.1 200 OK\r\n"
         "Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\n", "chunk-line"},
        {"a chunk longer than its size", "HTTP/1.1 200 OK\r\n"
         "Transfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n", "chunk-end"},
        {"a length among the trailers", "HTTP/1.1 200 OK\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n" "Content-Length: 3\r\n\r\n", "trailer-framing"},
    };
    struct h1_lab lab;
    lab_init(&lab, false);
    lab.eof = true;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char want[80];
        snprintf(want, sizeof want, "broken 502 bad-response %s\n", rows[i].word);
        const char *got = lab_all(&lab, rows[i].bytes, strlen(rows[i].bytes));
        if (strstr(got, want) == NULL) {
            fail_msg("%s, wanted %s:\n%s", rows[i].what, want, got);
        }
    }
    static const char nul[] = "HTTP/1.1 200 O\0K\r\n\r\n";
    assert_non_null(strstr(lab_all(&lab, nul, sizeof nul - 1), "broken 502 bad-response reason"));
    lab_fini(&lab);
}

/* Too much of anything. */
static void limits_hold(void **state) {
    (void)state;
#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    static const struct {
        const char *before, *piece, *behind, *word;
        int count;
    } rows[] = {
        {"HTTP/1.1 200 ", "x", "\r\n\r\n", "head-too-large", 600},
        {"HTTP/1.1 200 OK\r\nX: ", "x", "\r\n\r\n", "head-too-large", 600},
        {"HTTP/1.1 200 OK\r\n", "X: y\r\n", "\r\n", "too-many-fields", 21},
        {"HTTP/1.1 200 OK\r\nConnection: ", "a,", "\r\n\r\n", "connection-options", 33},
        {CHUNKED "1;", "x", "\r\n", "chunk-overhead", 600},
        {CHUNKED, "1;abcdefghijklmnopqrstuvwxyz\r\nx\r\n", "0\r\n\r\n", "chunk-overhead", 40},
        {CHUNKED "0\r\n", "X: y\r\n", "\r\n", "too-many-trailers", 21},
    };
    struct h1_lab lab;
    lab_init(&lab, false);
    lab.limits.head_bytes_max = 512;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char bytes[DUMP_MAX], want[80];
        struct text text = text_on(bytes, sizeof bytes);
        text_str(&text, str_of(rows[i].before));
        for (int n = 0; n < rows[i].count; n++) {
            text_str(&text, str_of(rows[i].piece));
        }
        text_str(&text, str_of(rows[i].behind));
        snprintf(want, sizeof want, "broken 502 bad-response %s\n", rows[i].word);
        const char *got = lab_all(&lab, bytes, text.len);
        if (strstr(got, want) == NULL) {
            fail_msg("wanted %s:\n%s", want, got);
        }
    }
    lab_fini(&lab);
}

/* The last one: what the others have come to. */
static void every_row_has_a_case(void **state) {
    (void)state;
    lab_all_refused(REFUSE_IN_RESPONSE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies),
        cmocka_unit_test(no_bodies),
        cmocka_unit_test(refusals),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(every_row_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
