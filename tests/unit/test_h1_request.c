/* Requests as a reader takes or refuses them: good ones, what llhttp would let pass, and payloads
 * that fooled others. Each is read in every way that it can be cut. */
#include "h1_lab.h"

struct sample {
    const char *what;
    const char *bytes;
    int status;
    const char *word;
};

#define OK(what, bytes) {what, bytes, 0, NULL}
#define H "Host: h\r\n"

static const struct sample refusals[] = {
    /* The line. */
    {"two blanks before the target", "GET  / HTTP/1.1\r\n" H "\r\n", 400, "line-blanks"},
    {"two blanks before the version", "GET /  HTTP/1.1\r\n" H "\r\n", 400, "line-blanks"},
    {"a blank at the end", "GET / HTTP/1.1 \r\n" H "\r\n", 400, "line-blanks"},
    {"a blank at the start", " GET / HTTP/1.1\r\n" H "\r\n", 400, "line-blanks"},
    {"a tab", "GET\t/ HTTP/1.1\r\n" H "\r\n", 400, "line-blanks"},
    {"a bare LF", "GET / HTTP/1.1\nHost: h\n\n", 400, "bare-lf"},
    {"a CR in front", "\rGET / HTTP/1.1\r\n" H "\r\n", 400, "empty-lines"},
    {"HTTP/0.9 without a version", "GET /\r\n", 400, "line-short"},
    {"HTTP/0.9", "GET / HTTP/0.9\r\n" H "\r\n", 505, "version-unknown"},
    {"HTTP/1.2", "GET / HTTP/1.2\r\n" H "\r\n", 505, "version-unknown"},
    {"HTTP/2.0", "GET / HTTP/2.0\r\n" H "\r\n", 505, "version-unknown"},
    {"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version-unknown"},
    {"HTTP/1.1.1", "GET / HTTP/1.1.1\r\n" H "\r\n", 400, "version-malformed"},
    {"http/1.1", "GET / http/1.1\r\n" H "\r\n", 400, "version-malformed"},
    {"RTSP", "OPTIONS * RTSP/1.0\r\n" H "\r\n", 400, "version-malformed"},
    {"ICE", "SOURCE /x ICE/1.0\r\n" H "\r\n", 400, "version-malformed"},
    OK("SOURCE with HTTP", "SOURCE /x HTTP/1.1\r\n" H "\r\n"),
    {"a method of RTSP", "DESCRIBE / HTTP/1.1\r\n" H "\r\n", 501, "method-unknown"},
    {"an extension method", "FROBNICATE / HTTP/1.1\r\n" H "\r\n", 501, "method-unknown"},
    {"a lower-case method", "get / HTTP/1.1\r\n" H "\r\n", 501, "method-unknown"},
    {"no token as method", "G(T / HTTP/1.1\r\n" H "\r\n", 400, "method-malformed"},
    {"a TLS hello", "\x16\x03\x01\x02\x01\x01", 400, "tls-hello"},
    {"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, "connect"},
    {"TRACE", "TRACE / HTTP/1.1\r\n" H "\r\n", 405, "trace"},
    {"a NUL in the line, cut", "GET /", -1, NULL},
    /* The target. */
    {"a fragment", "GET /a#b HTTP/1.1\r\n" H "\r\n", 400, "target-fragment"},
    {"a fragment in the query", "GET /a?b#c HTTP/1.1\r\n" H "\r\n", 400, "target-fragment"},
    {"a quote", "GET /\"a HTTP/1.1\r\n" H "\r\n", 400, "target-character"},
    {"an angle bracket", "GET /<a HTTP/1.1\r\n" H "\r\n", 400, "target-character"},
    {"a backslash", "GET /a\\b HTTP/1.1\r\n" H "\r\n", 400, "target-character"},
    {"obs-text", "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", 400, "target-character"},
    {"a control", "GET /\x01 HTTP/1.1\r\n" H "\r\n", 400, "target-character"},
    {"DEL", "GET /\x7f HTTP/1.1\r\n" H "\r\n", 400, "target-character"},
    OK("what browsers send raw in a query", "GET /a|b^c?d={\\|`} HTTP/1.1\r\n" H "\r\n"),
    {"an asterisk with more", "GET *evil HTTP/1.1\r\n" H "\r\n", 400, "target-asterisk"},
    {"an asterisk of GET", "GET * HTTP/1.1\r\n" H "\r\n", 400, "target-asterisk"},
    OK("an asterisk of OPTIONS", "OPTIONS * HTTP/1.1\r\n" H "\r\n"),
    {"a target without a slash", "GET a HTTP/1.1\r\n" H "\r\n", 400, "target-form"},
    {"another scheme", "GET ftp://h/ HTTP/1.1\r\n" H "\r\n", 400, "target-scheme"},
    {"user information", "GET http://u:p@h/ HTTP/1.1\r\n" H "\r\n", 400, "target-authority"},
    {"no authority", "GET http:///a HTTP/1.1\r\n" H "\r\n", 400, "target-authority"},
    /* Host. */
    {"no Host", "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", 400, "host-missing"},
    {"no fields at all", "GET / HTTP/1.1\r\n\r\n", 400, "host-missing"},
    OK("no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"),
    {"two Hosts", "GET / HTTP/1.1\r\n" H H "\r\n", 400, "host-twice"},
    {"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\n" H H "\r\n", 400, "host-twice"},
    {"an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "host-malformed"},
    {"a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "host-malformed"},
    {"a Host with user information", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "host-malformed"},
    {"a Host with a blank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "host-malformed"},
    {"two Hosts in one", "GET / HTTP/1.1\r\nHost: a\x80\r\n\r\n", 400, "host-malformed"},
    {"a port that is none", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "host-malformed"},
    {"a port out of range", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "host-malformed"},
    {"a broken IPv6 address", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "host-malformed"},
    {"no IPv6 address", "GET / HTTP/1.1\r\nHost: [1.2.3.4]\r\n\r\n", 400, "host-malformed"},
    {"half an escape", "GET / HTTP/1.1\r\nHost: a%2\r\n\r\n", 400, "host-malformed"},
    OK("an IPv6 address", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n\r\n"),
    OK("an empty port", "GET / HTTP/1.1\r\nHost: a_b.example:\r\n\r\n"),
    {"no Host beside an absolute form", "GET http://h/ HTTP/1.1\r\n\r\n", 400, "host-missing"},
    /* Fields. */
    {"a blank before the colon", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400, "field-blank"},
    {"a tab before the colon", "GET / HTTP/1.1\r\nHost\t: h\r\n\r\n", 400, "field-blank"},
    {"a blank before the first field", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400, "field-folded"},
    {"a line folded", "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", 400, "field-folded"},
    {"a length folded", "POST / HTTP/1.1\r\n" H "X: a\r\n Content-Length: 5\r\n\r\nhello",
     400, "field-folded"},
    {"a bare CR", "GET / HTTP/1.1\r\n" H "X-Abc: \rxTransfer-Encoding: chunked\r\n\r\n",
     400, "bare-cr"},
    {"a bare LF in the fields", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400, "bare-lf"},
    {"CR LF CR X ends no head", "GET / HTTP/1.1\r\n" H "X-Test: val\r\n\rX-Smug: yes\r\n\r\n",
     400, "bare-cr"},
    {"no end by CR LF", "GET / HTTP/1.1\r\n" H "X: y\rZ: w\r\n\r\n", 400, "bare-cr"},
    {"no name", "GET / HTTP/1.1\r\n" H ": x\r\n\r\n", 400, "field-name"},
    {"no colon", "GET / HTTP/1.1\r\n" H "nonsense\r\n\r\n", 400, "field-colon"},
    {"a control in a value", "GET / HTTP/1.1\r\n" H "X: a\x01\r\n\r\n", 400, "field-value"},
    {"DEL in a value", "GET / HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n", 400, "field-value"},
    {"a slash in a name", "GET / HTTP/1.1\r\n" H "X/Y: a\r\n\r\n", 400, "field-name"},
    OK("obs-text in a value", "GET / HTTP/1.1\r\n" H "X: \xc3\xa4\r\n\r\n"),
    /* Framing. */
    {"coding and length", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
     "Content-Length: 3\r\n\r\n0\r\n\r\n", 400, "length-and-coding"},
    {"length and coding", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n"
     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "length-and-coding"},
    {"an empty coding and a length", "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n"
     "Content-Length: 3\r\n\r\nabc", 400, "length-and-coding"},
    {"an empty coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \r\n\r\n", 400, "coding-last"},
    {"a comma before the coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: , chunked\r\n\r\n"
     "0\r\n\r\n", 501, "coding-unknown"},
    {"two codings", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n"
     "0\r\n\r\n", 501, "coding-unknown"},
    {"two codings in two lines", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n"
     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "coding-twice"},
    {"chunked is not the last", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n"
     "0\r\n\r\n", 400, "coding-last"},
    {"another coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n",
     400, "coding-last"},
    {"identity", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", 400, "coding-last"},
    {"twice chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n"
     "0\r\n\r\n", 400, "coding-last"},
    {"nearly chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n"
     "0\r\n\r\n", 400, "coding-last"},
    {"chunked with a parameter", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;q=1\r\n\r\n"
     "0\r\n\r\n", 400, "coding-last"},
    {"a quoted coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n"
     "0\r\n\r\n", 400, "coding-last"},
    {"a coding in several lines", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
     "Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400, "coding-twice"},
    {"a coding in HTTP/1.0", "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
     "0\r\n\r\n", 400, "coding-old"},
    {"two lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
     400, "length-twice"},
    {"the same length twice", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n"
     "\r\nabc", 400, "length-twice"},
    {"a list of lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\nabc",
     400, "length-malformed"},
    {"a signed length", "POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc",
     400, "length-malformed"},
    {"a negative length", "POST / HTTP/1.1\r\n" H "Content-Length: -3\r\n\r\nabc",
     400, "length-malformed"},
    {"a hexadecimal length", "POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\nabc",
     400, "length-malformed"},
    {"an empty length", "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\nabc",
     400, "length-malformed"},
    {"zeros before a length", "POST / HTTP/1.1\r\n" H "Content-Length: 003\r\n\r\nabc",
     400, "length-malformed"},
    {"a length of twenty digits", "POST / HTTP/1.1\r\n" H
     "Content-Length: 10000000000000000000\r\n\r\nabc", 400, "length-malformed"},
    {"a length past 2^64", "POST / HTTP/1.1\r\n" H
     "Content-Length: 18446744073709551617\r\n\r\nabc", 400, "length-malformed"},
    {"a body over the bound", "POST / HTTP/1.1\r\n" H "Content-Length: 1001\r\n\r\nabc",
     413, "body-too-large"},
    /* Expect, Connection. */
    {"another expectation", "POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\n\r\n",
     417, "expect-unknown"},
    {"two expectations", "POST / HTTP/1.1\r\n" H "Expect: 100-continue, x\r\n\r\n",
     417, "expect-unknown"},
    OK("another expectation of HTTP/1.0", "POST / HTTP/1.0\r\n" H "Expect: 200-ok\r\n\r\n"),
    {"no token in Connection", "GET / HTTP/1.1\r\n" H "Connection: a b\r\n\r\n",
     400, "connection-malformed"},
};

static void refusals_are_refused(void **state) {
    (void)state;
    struct h1_lab lab;
    lab_init(&lab, true);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct sample *row = &refusals[i];
        const char *got = lab_all(&lab, row->bytes, strlen(row->bytes));
        char want[64];
        snprintf(want, sizeof want, "broken %d %s %s\n", row->status,
                 row->status == 413 ? "body-too-large"
                 : row->status == 405 ? "refused" : "bad-request", row->word);
        bool right = row->status > 0 ? strstr(got, want) != NULL
                     : row->status == 0 ? strstr(got, "complete, left <>") != NULL
                                        : strstr(got, "in the line") != NULL;
        if (!right) {
            fail_msg("%s: wanted %d, got\n%s", row->what, row->status, got);
        }
    }
    lab_fini(&lab);
}

static void expect(bool request, const char *bytes, const char *want) {
    struct h1_lab lab;
    lab_init(&lab, request);
    const char *got = lab_all(&lab, bytes, strlen(bytes));
    assert_string_equal(got, want);
    lab_fini(&lab);
}

static void a_get(void **state) {
    (void)state;
    expect(true, "GET /a/b?c=d&e HTTP/1.1\r\nHost: example.org\r\nX:  y \t\r\nEmpty:\r\n"
           "User-Agent: t\r\n\r\nGET /next",
           "1 GET /a/b?c=d&e path /a/b at example.org 1.1\n"
           "body 0 length 0:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 78\n"
           "Host=example.org\nX=y\nEmpty=\nUser-Agent=t\n[]\ncomplete, left <GET /next>\n");
}

/* What goes out of them is not what came: the lab compares. */
static void fields_that_are_not_whole(void **state) {
    (void)state;
    expect(true, "GET / HTTP/1.1\r\nA:\tb\r\nB: c \r\nC:d\r\nD:  e\r\nE: \r\nF:\r\nG: g\r\n"
           "host:h\r\n\r\n",
           "1 GET / path / at h 1.1\n"
           "body 0 length 0:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 66\n"
           "A=b\nB=c\nC=d\nD=e\nE=\nF=\nG=g\nhost=h\n[]\ncomplete, left <>\n");
}

static void absolute_forms(void **state) {
    (void)state;
    expect(true, "GET HTTP://Other.example:81/p?q HTTP/1.1\r\nHost: h\r\n\r\n",
           "1 GET /p?q path /p at Other.example:81 1.1\n"
           "body 0 length 0:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 53\n"
           "Host=Other.example:81\n[]\ncomplete, left <>\n");
    expect(true, "GET https://o?q=/ HTTP/1.1\r\nHost: h\r\n\r\n",
           "1 GET /?q=/ path / at o 1.1\n"
           "body 0 length 0:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 39\n"
           "Host=o\n[]\ncomplete, left <>\n");
    expect(true, "OPTIONS http://o HTTP/1.0\r\n\r\n",
           "6 OPTIONS * path * at o 1.0\n"
           "body 0 length 0:0 keep 0 expect 0 te 0 upgrade  eof 0 bytes 29\n"
           "[]\ncomplete, left <>\n");
}

static void bodies(void **state) {
    (void)state;
    expect(true, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
           "helloGET /",
           "3 POST / path / at h 1.1\n"
           "body 1 length 1:5 keep 1 expect 1 te 0 upgrade  eof 0 bytes 69\n"
           "Host=h\nContent-Length=5\nExpect=100-continue\n[hello]\ncomplete, left <GET />\n");
    expect(true, "PUT /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: Chunked\r\n"
           "TE: gzip, trailers;q=1\r\nTE: trailers\r\nConnection: close , TE\r\n\r\n"
           "5;ext=\"a;b\"\r\nhello\r\n001\r\n!\r\n0;x\r\nX-Sum: 1 \r\nEmpty:\r\n\r\nPOST",
           "4 PUT /x path /x at h 1.1\n"
           "body 2 length 0:0 keep 0 expect 0 te 1 upgrade  eof 0 bytes 118\n"
           "host=h\ntransfer-encoding=Chunked\nTE=gzip, trailers;q=1\nTE=trailers\n"
           "Connection=close , TE\n[hello!]\ntrailer X-Sum=1\ntrailer Empty=\n"
           "complete, left <POST>\n");
    expect(true, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
           "3 POST / path / at h 1.1\n"
           "body 0 length 1:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 69\n"
           "Host=h\nContent-Length=0\nExpect=100-continue dropped\n[]\ncomplete, left <>\n");
}

static void upgrades(void **state) {
    (void)state;
    static const struct {
        const char *fields, *upgrade;
    } rows[] = {
        {"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n", "WebSocket"},
        {"Connection: Upgrade\r\nUpgrade: x/1\r\n", "x/1"},
        {"Upgrade: websocket\r\n", ""},
        {"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", ""},
        {"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", ""},
        {"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n", ""},
        {"Connection: Upgrade\r\nUpgrade: H2C/1\r\n", ""},
        {"Connection: Upgrade\r\nUpgrade: web socket\r\n", ""},
        {"Connection: Upgrade\r\nUpgrade:\r\n", ""},
    };
    struct h1_lab lab;
    lab_init(&lab, true);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char bytes[512], want[64];
        int len = snprintf(bytes, sizeof bytes, "GET /ws HTTP/1.1\r\nHost: h\r\n%s\r\n\x81\x05xx",
                           rows[i].fields);
        snprintf(want, sizeof want, "upgrade %s eof", rows[i].upgrade);
        const char *got = lab_all(&lab, bytes, (size_t)len);
        if (strstr(got, want) == NULL || strstr(got, "complete, left <\x81\x05xx>") == NULL) {
            fail_msg("%s:\n%s", rows[i].fields, got);
        }
    }
    const char *old = "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_non_null(strstr(lab_all(&lab, old, strlen(old)), "upgrade  eof"));
    const char *body = "POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                       "Content-Length: 2\r\n\r\nab";
    const char *got = lab_all(&lab, body, strlen(body));
    assert_non_null(strstr(got, "upgrade  eof"));
    assert_non_null(strstr(got, "[ab]\ncomplete"));
    lab_fini(&lab);
}

/* What CGI-like servers would read as a field that we set or drop, and all that is like it. */
static void underscores_are_dropped(void **state) {
    (void)state;
    static const char bytes[] =
        "POST / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 1\r\nx-real_ip: 2\r\n_: 4\r\n"
        "Content_Length: 5\r\nMy_Field: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\nX_Sum: 1\r\nX-Sum: 2\r\n\r\n";
    struct h1_lab lab;
    lab_init(&lab, true);
    assert_string_equal(lab_all(&lab, bytes, sizeof bytes - 1),
        "3 POST / path / at h 1.1\n"
        "body 2 length 0:0 keep 1 expect 0 te 0 upgrade  eof 0 bytes 128\n"
        "Host=h\nX_Forwarded_For=1 dropped\nx-real_ip=2 dropped\n_=4 dropped\n"
        "Content_Length=5 dropped\nMy_Field=3 dropped\nTransfer-Encoding=chunked\n[]\n"
        "trailer X_Sum=1 dropped\ntrailer X-Sum=2\ncomplete, left <>\n");
    lab.limits.keep_underscores = true;
    assert_null(strstr(lab_all(&lab, bytes, sizeof bytes - 1), "dropped"));
    lab_fini(&lab);
}

static void chunks_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *chunks, *word;
    } bad[] = {
        {"5 \r\nhello\r\n0\r\n\r\n", "chunk-size"},
        {" 5\r\nhello\r\n0\r\n\r\n", "chunk-size"},
        {"0x5\r\nhello\r\n0\r\n\r\n", "chunk-size"},
        {"+5\r\nhello\r\n0\r\n\r\n", "chunk-size"},
        {"-1\r\n", "chunk-size"}, {"g\r\n", "chunk-size"}, {";x\r\n", "chunk-size"},
        {"\r\n", "chunk-size"}, {"fffffffffffffffff\r\nx", "chunk-size"},
        {"5\nhello\r\n0\r\n\r\n", "chunk-line"}, {"5\r\rhello\r\n", "chunk-line"},
        {"5; a\r\nhello\r\n0\r\n\r\n", "chunk-line"},
        {"5;\r\nhello\r\n0\r\n\r\n", "chunk-line"},
        {"5;a\nb\r\nhello\r\n0\r\n\r\n", "chunk-line"},
        {"5;a\x01\r\nhello\r\n0\r\n\r\n", "chunk-line"},
        {"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", "chunk-line"},
        {"5;\n\nhello\r\n0\r\n\r\n", "chunk-line"},
        {"5\r\nhello0\r\n\r\n", "chunk-end"}, {"5\r\nhellox\r\n0\r\n\r\n", "chunk-end"},
        {"5\r\nhello\n0\r\n\r\n", "chunk-end"}, {"5\r\nhello\rx0\r\n\r\n", "chunk-end"},
        {"5\r\nhelloXX0\r\n\r\n", "chunk-end"},
        {"0\r\nContent-Length: 3\r\n\r\n", "trailer-framing"},
        {"0\r\nTransfer-Encoding: chunked\r\n\r\n", "trailer-framing"},
        {"0\r\nTransfer-Encoding:\r\n\r\n", "trailer-framing"},
        {"0\r\nX: y\r\ncontent-length: 0\r\n\r\n", "trailer-framing"},
        {"0\r\nX: a\r\n\n b", "bare-lf"}, {"0\r\n(: a\r\n\r\n", "field-name"},
        {"0\r\n X: a\r\n\r\n", "field-folded"}, {"0\r\nX: a\nY: b\r\n\r\n", "bare-lf"},
        {"0\r\nX : a\r\n\r\n", "field-blank"}, {"0\r\nX: a\r\n\rY: b\r\n\r\n", "bare-cr"},
        {"0\r\nX\r\n\r\n", "field-colon"}, {"0\r\nX: \x01\r\n\r\n", "field-value"},
        {"0\r\n\n", "bare-lf"}, {"0\r\n\rX", "bare-cr"},
    };
    struct h1_lab lab;
    lab_init(&lab, true);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char bytes[512], want[80];
        int len = snprintf(bytes, sizeof bytes, "POST / HTTP/1.1\r\nHost: h\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n%s", bad[i].chunks);
        snprintf(want, sizeof want, "broken 400 bad-request %s\n", bad[i].word);
        const char *got = lab_all(&lab, bytes, (size_t)len);
        if (strstr(got, want) == NULL) {
            fail_msg("<%s>, wanted %s:\n%s", bad[i].chunks, want, got);
        }
    }
    lab_fini(&lab);
}

/* Fills with `count` times c, between two texts. */
static size_t stretched(char *to, const char *before, char c, size_t count, const char *after) {
    size_t len = strlen(before);
    memcpy(to, before, len);
    memset(to + len, c, count);
    memcpy(to + len + count, after, strlen(after) + 1);
    return len + count + strlen(after);
}

static void limits_hold(void **state) {
    (void)state;
    static char bytes[8000];
    struct h1_lab lab;
    lab_init(&lab, true);
    lab.limits.head_bytes_max = 1200;
    const char *chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const struct {
        const char *before, *after;
        char c;
        size_t count;
        const char *want;
    } rows[] = {
        {"GET /", " HTTP/1.1\r\nHost: h\r\n\r\n", 'a', 1200, "broken 414"},
        {"GET /", "", 'a', 1200, "broken 414"},
        {"GET /", " HTTP/1.1\r\nHost: h\r\n\r\n", 'a', 1200 - 27, "complete"},
        {"GET /", " HTTP/1.1\r\nHost: h\r\n\r\n", 'a', 1200 - 26, "broken 431"},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: ", "\r\n\r\n", 'a', 1200, "broken 431"},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: ", "\r\n\r\n", 'a', 1167, "bytes 1199"},
        {"GET / HTTP/1.1\r\nHost: h\r\n", ": b\r\n\r\n", 'a', 1200, "broken 431"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len = stretched(bytes, rows[i].before, rows[i].c, rows[i].count, rows[i].after);
        const char *got = lab_all(&lab, bytes, len);
        if (strstr(got, rows[i].want) == NULL) {
            fail_msg("row %zu: wanted %s, got\n%s", i, rows[i].want, got);
        }
    }
    char start[256];
    snprintf(start, sizeof start, "%s", chunked);
    size_t len = stretched(bytes, start, '0', 1300, "5\r\nhello\r\n0\r\n\r\n");
    assert_non_null(strstr(lab_all(&lab, bytes, len), "broken 400"));
    snprintf(start, sizeof start, "%s5;", chunked);
    len = stretched(bytes, start, 'e', 1300, "\r\nhello\r\n0\r\n\r\n");
    assert_non_null(strstr(lab_all(&lab, bytes, len), "broken 400"));
    snprintf(start, sizeof start, "%s0\r\nX: ", chunked);
    len = stretched(bytes, start, 't', 1300, "\r\n\r\n");
    assert_non_null(strstr(lab_all(&lab, bytes, len), "broken 400"));
    len = stretched(bytes, start, 't', 1000, "\r\n\r\n");
    assert_non_null(strstr(lab_all(&lab, bytes, len), "complete"));
    int count = snprintf(bytes, sizeof bytes, "%s0\r\n", chunked);
    for (int i = 0; i < 21; i++) {
        count += snprintf(bytes + count, sizeof bytes - (size_t)count, "X: %d\r\n", i);
    }
    count += snprintf(bytes + count, sizeof bytes - (size_t)count, "\r\n");
    assert_non_null(strstr(lab_all(&lab, bytes, (size_t)count),
                           "broken 400 bad-request too-many-trailers"));
    lab.limits.body_bytes_max = 10;
    snprintf(bytes, sizeof bytes, "%sa\r\n0123456789\r\n0\r\n\r\n", chunked);
    assert_non_null(strstr(lab_all(&lab, bytes, strlen(bytes)), "complete"));
    snprintf(bytes, sizeof bytes, "%sb\r\n0123456789a\r\n0\r\n\r\n", chunked);
    assert_non_null(strstr(lab_read(&lab, bytes, strlen(bytes), NULL, 0),
                           "broken 413 body-too-large"));
    lab_fini(&lab);
}

static void fields_are_counted(void **state) {
    (void)state;
    static char bytes[2000];
    struct h1_lab lab;
    lab_init(&lab, true);
    for (int count = 19; count <= 20; count++) {
        int len = snprintf(bytes, sizeof bytes, "GET / HTTP/1.1\r\nHost: h\r\n");
        for (int i = 0; i < count; i++) {
            len += snprintf(bytes + len, sizeof bytes - (size_t)len, "X-%d: %d\r\n", i, i);
        }
        len += snprintf(bytes + len, sizeof bytes - (size_t)len, "\r\n");
        const char *got = lab_all(&lab, bytes, (size_t)len);
        assert_non_null(strstr(got, count == 19 ? "X-18=18\n[]\ncomplete" : "broken 431"));
    }
    int len = snprintf(bytes, sizeof bytes, "GET / HTTP/1.1\r\nHost: h\r\nConnection: ");
    for (int i = 0; i < 40; i++) {
        len += snprintf(bytes + len, sizeof bytes - (size_t)len, "a%d,", i);
    }
    len += snprintf(bytes + len, sizeof bytes - (size_t)len, "\r\n\r\n");
    assert_non_null(strstr(lab_all(&lab, bytes, (size_t)len), "broken 400"));
    lab_fini(&lab);
}

/* NUL bytes, which no table of C strings holds. */
static void nul_bytes(void **state) {
    (void)state;
    static const char line[] = "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n";
    static const char value[] = "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n";
    static const char name[] = "GET / HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n";
    struct h1_lab lab;
    lab_init(&lab, true);
    assert_non_null(strstr(lab_all(&lab, line, sizeof line - 1), "broken 400"));
    assert_non_null(strstr(lab_all(&lab, value, sizeof value - 1), "broken 400"));
    assert_non_null(strstr(lab_all(&lab, name, sizeof name - 1), "broken 400"));
    lab_fini(&lab);
}

/* Much framing for little body: at one place, and in all. */
static void chunks_have_an_overhead(void **state) {
    (void)state;
    static char bytes[DUMP_MAX];
    struct h1_lab lab;
    lab_init(&lab, true);
    lab.limits.head_bytes_max = 512;
    for (int count = 12; count <= 13; count++) {   /* of 58 bytes, 18 of them for nothing */
        int len = snprintf(bytes, sizeof bytes, "POST / HTTP/1.1\r\nHost: h\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n");
        for (int i = 0; i < count; i++) {
            len += snprintf(bytes + len, sizeof bytes - (size_t)len, "1;%050d=1\r\nx\r\n", i);
        }
        len += snprintf(bytes + len, sizeof bytes - (size_t)len, "0\r\n\r\n");
        const char *got = lab_all(&lab, bytes, (size_t)len);
        bool ok = count == 12 ? strstr(got, "[xxxxxxxxxxxx]\ncomplete") != NULL
                              : strstr(got, "broken 400 bad-request chunk-overhead") != NULL;
        if (!ok) {
            fail_msg("%d chunks:\n%s", count, got);
        }
    }
    /* Honest senders of small chunks and short extensions may go on for ever. */
    int len = snprintf(bytes, sizeof bytes, "POST / HTTP/1.1\r\nHost: h\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 100; i++) {
        len += snprintf(bytes + len, sizeof bytes - (size_t)len, "001;%d=ab\r\nx\r\n", i % 10);
    }
    len += snprintf(bytes + len, sizeof bytes - (size_t)len, "0\r\n\r\n");
    assert_non_null(strstr(lab_read(&lab, bytes, (size_t)len, NULL, 0), "complete"));
    lab_fini(&lab);
}

/* The last one: what the others have come to. */
static void every_row_has_a_case(void **state) {
    (void)state;
    lab_all_refused(REFUSE_IN_REQUEST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get),
        cmocka_unit_test(fields_that_are_not_whole),
        cmocka_unit_test(absolute_forms),
        cmocka_unit_test(bodies),
        cmocka_unit_test(upgrades),
        cmocka_unit_test(underscores_are_dropped),
        cmocka_unit_test(refusals_are_refused),
        cmocka_unit_test(chunks_are_checked),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(fields_are_counted),
        cmocka_unit_test(nul_bytes),
        cmocka_unit_test(chunks_have_an_overhead),
        cmocka_unit_test(every_row_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
