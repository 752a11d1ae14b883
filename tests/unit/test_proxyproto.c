/* net/proxyproto: what is a PROXY header and what is none, however it is cut; and what is written.
 * Long by its tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/proxyproto.h"

#define BYTES_MAX 70000u

struct bytes {
    uint8_t p[BYTES_MAX];
    uint32_t len;
};

static void add(struct bytes *b, const void *p, uint32_t len) {
    assert_true(len <= BYTES_MAX - b->len);
    memcpy(b->p + b->len, p, len);
    b->len += len;
}

static void add_u16(struct bytes *b, uint32_t value) {
    uint8_t two[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    add(b, two, 2);
}

/* From a block of just that size, so that the sanitizer sees a read past it. */
static enum proxyproto_result read_exact(const uint8_t *p, uint32_t len,
                                         struct proxyproto_ends *ends, uint32_t *used) {
    uint8_t *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, p, len);
    enum proxyproto_result result = proxyproto_read(exact, len, ends, used);
    free(exact);
    return result;
}

/* Each beginning of it is half a header, and says how much more it needs; with more behind it
 * nothing changes. */
static void good(const struct bytes *b, struct proxyproto_ends *ends) {
    static struct bytes longer;
    uint32_t used;
    for (uint32_t len = 0; len < b->len; len++) {
        if (read_exact(b->p, len, ends, &used) != PROXYPROTO_MORE) {
            fail_msg("not MORE after %u of %u bytes of %.40s", len, b->len, (const char *)b->p);
        }
        assert_true(used > len && used <= b->len);
    }
    for (uint32_t more = 0; more < 300; more += 7) {
        longer.len = 0;
        add(&longer, b->p, b->len);
        for (uint32_t i = 0; i < more; i++) {
            add(&longer, "\r\nPROXY \0" + i % 9, 1);
        }
        if (read_exact(longer.p, longer.len, ends, &used) != PROXYPROTO_DONE) {
            fail_msg("refused, with %u more: %.40s", more, (const char *)b->p);
        }
        assert_int_equal(used, b->len);
    }
}

/* Refused, at the latest with its last byte; and once it is refused no further byte helps. */
static void bad(const struct bytes *b) {
    struct proxyproto_ends ends;
    uint32_t used, at = 0;
    while (at <= b->len && read_exact(b->p, at, &ends, &used) == PROXYPROTO_MORE) {
        at++;
    }
    if (at > b->len) {
        fail_msg("still waiting after %u bytes: %.100s", b->len, (const char *)b->p);
    }
    for (; at <= b->len; at++) {
        if (read_exact(b->p, at, &ends, &used) != PROXYPROTO_BAD) {
            fail_msg("taken, with %u bytes: %.100s", at, (const char *)b->p);
        }
    }
}

/* ADDRESS PORT, as the tables write it. */
static void check_end(const struct endpoint *e, const char *wanted) {
    char text[ADDR_TEXT_MAX], all[ADDR_TEXT_MAX + 8];
    snprintf(all, sizeof all, "%s %u", endpoint_print(e, text), e->port);
    assert_string_equal(all, wanted);
}

/* --- v1 ----------------------------------------------------------------------------------- */

static struct bytes line;

static const struct bytes *line_of(const char *text, size_t len) {
    line.len = 0;
    add(&line, text, (uint32_t)len);
    return &line;
}

#define GROUPS7 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:"

static void test_v1(void **state) {
    (void)state;
    static const struct {
        const char *text, *client, *local;
    } rows[] = {
        {"TCP4 192.168.0.1 192.168.0.11 56324 443", "192.168.0.1 56324", "192.168.0.11 443"},
        {"TCP4 255.255.255.255 255.255.255.255 65535 65535", "255.255.255.255 65535",
         "255.255.255.255 65535"},
        {"TCP4 0.0.0.0 0.0.0.0 0 0", "0.0.0.0 0", "0.0.0.0 0"},
        {"TCP6 ::1 2001:db8::A 1 65535", "::1 1", "2001:db8::a 65535"},
        {"TCP6 " GROUPS7 "ffff " GROUPS7 "ffff 65535 65535", GROUPS7 "ffff 65535",
         GROUPS7 "ffff 65535"},
        {"TCP6 0001:0002:3:4:5:6:7:8 :: 9 10", "1:2:3:4:5:6:7:8 9", ":: 10"},
        /* One address has one face, however it comes. */
        {"TCP6 ::ffff:1.2.3.4 ::FFFF:0506:0708 9 10", "1.2.3.4 9", "5.6.7.8 10"},
        {"TCP6 ::ffff:1.2.3.4 ::1 9 10", "1.2.3.4 9", "::1 10"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct proxyproto_ends ends;
        char text[200];
        snprintf(text, sizeof text, "PROXY %s\r\n", rows[i].text);
        good(line_of(text, strlen(text)), &ends);
        assert_true(ends.told);
        check_end(&ends.client, rows[i].client);
        check_end(&ends.local, rows[i].local);
    }
}

/* 107 bytes are a line, one more is none. */
static void test_v1_unknown(void **state) {
    (void)state;
    static const char *const rows[] = {
        "", " ", " 1.2.3.4 5.6.7.8 9 10", " \t\x01\xff  TCP4 x",
        " " GROUPS7 "ffff " GROUPS7 "ffff 65535 65535",
    };
    struct proxyproto_ends ends;
    char text[200];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, "PROXY UNKNOWN%s\r\n", rows[i]);
        assert_true(strlen(text) <= PROXYPROTO_V1_MAX);
        good(line_of(text, strlen(text)), &ends);
        assert_false(ends.told);
    }
    assert_int_equal(strlen(text), PROXYPROTO_V1_MAX);
    good(line_of("PROXY UNKNOWN \0\r\n", 17), &ends);
    snprintf(text, sizeof text, "PROXY UNKNOWN%s \r\n", rows[4]);
    bad(line_of(text, strlen(text)));
}

static void test_v1_wrong(void **state) {
    (void)state;
    static const char *const rows[] = {
        /* No line of this kind. */
        "GET / HTTP/1.1\r\n", "proxy TCP4 1.2.3.4 5.6.7.8 9 10\r\n", " PROXY UNKNOWN\r\n",
        "\nPROXY UNKNOWN\r\n", "PROXY\r\n", "PROXY \r\n", "PROXY  TCP4 1.2.3.4 5.6.7.8 9 10\r\n",
        "PROXY\tTCP4 1.2.3.4 5.6.7.8 9 10\r\n", "PROXY TCP 1.2.3.4 5.6.7.8 9 10\r\n",
        "PROXY TCP5 1.2.3.4 5.6.7.8 9 10\r\n", "PROXY UDP4 1.2.3.4 5.6.7.8 9 10\r\n",
        "PROXY tcp4 1.2.3.4 5.6.7.8 9 10\r\n", "PROXY TCP44 1.2.3.4 5.6.7.8 9 10\r\n",
        "PROXY TCP4\r\n", "PROXY UNKNOWNX\r\n", "PROXY UNKNOW\r\n", "PROXY UNKNOWN\tx\r\n",
        "\x16\x03\x01\x02\x00\x01", "PRI * HTTP/2.0\r\n",
        /* Words. */
        "PROXY TCP4 \r\n", "PROXY TCP4 1.2.3.4\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 9\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 9 \r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 9 10 \r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 9 10 11\r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 9 10\r\n", "PROXY TCP4 1.2.3.4  5.6.7.8 9 10\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8  9 10\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 9  10\r\n",
        "PROXY TCP4 1.2.3.4\t5.6.7.8 9 10\r\n",
        /* Ends of lines. */
        "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\n", "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\rx\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\r\n", "PROXY UNKNOWN\n", "PROXY UNKNOWN\r\r\n",
        "PROXY UNKNOWN x\ny\r\n", "PROXY UNKNOWN x\ry\r\n",
        /* Addresses. */
        "PROXY TCP4 ::1 5.6.7.8 9 10\r\n", "PROXY TCP4 1.2.3.4 ::1 9 10\r\n",
        "PROXY TCP6 1.2.3.4 ::1 9 10\r\n", "PROXY TCP6 ::1 1.2.3.4 9 10\r\n",
        "PROXY TCP4 1.2.3 5.6.7.8 9 10\r\n", "PROXY TCP4 1.2.3.4.5 5.6.7.8 9 10\r\n",
        "PROXY TCP4 256.2.3.4 5.6.7.8 9 10\r\n", "PROXY TCP4 01.2.3.4 5.6.7.8 9 10\r\n",
        "PROXY TCP4 1.2.3.04 5.6.7.8 9 10\r\n", "PROXY TCP4 1.2.3.4. 5.6.7.8 9 10\r\n",
        "PROXY TCP4 0x1.2.3.4 5.6.7.8 9 10\r\n", "PROXY TCP4 localhost 5.6.7.8 9 10\r\n",
        "PROXY TCP4 -1.2.3.4 5.6.7.8 9 10\r\n", "PROXY TCP4 +1.2.3.4 5.6.7.8 9 10\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7 ::1 9 10\r\n", "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 9 10\r\n",
        "PROXY TCP6 1::2::3 ::1 9 10\r\n", "PROXY TCP6 12345::1 ::1 9 10\r\n",
        "PROXY TCP6 fe80::1%lo ::1 9 10\r\n", "PROXY TCP6 [::1] ::1 9 10\r\n",
        "PROXY TCP6 ::g ::1 9 10\r\n", "PROXY TCP6 ::ffff:1.2.3.04 ::1 9 10\r\n",
        "PROXY TCP6 :1 ::1 9 10\r\n",
        /* Ports. */
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 10\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 9 65536\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 99999999999 10\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 09 10\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 9 010\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 00 10\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 -9 10\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 +9 10\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 9x 10\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 0x9 10\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 9 http\r\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bad(line_of(rows[i], strlen(rows[i])));
    }
    static const char nul[] = "PROXY TCP4 1.2.3.4\0x 5.6.7.8 9 10\r\n";
    bad(line_of(nul, sizeof nul - 1));
    static const char nul_port[] = "PROXY TCP4 1.2.3.4 5.6.7.8 9 1\0000\r\n";
    bad(line_of(nul_port, sizeof nul_port - 1));
    char endless[200];
    memset(endless, 'x', sizeof endless);
    memcpy(endless, "PROXY UNKNOWN ", 14);
    bad(line_of(endless, sizeof endless));
    memcpy(endless, "PROXY TCP4 ", 11);
    bad(line_of(endless, sizeof endless));
}

/* --- v2 ----------------------------------------------------------------------------------- */

static struct bytes made;

enum { LOCAL = 0x20, PROXY = 0x21 };
enum { UNSPEC = 0x00, TCP4 = 0x11, TCP6 = 0x21, UNIX = 0x31 };
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static void begin(unsigned command, unsigned family) {
    made.len = 0;
    add(&made, SIGNATURE, 12);
    uint8_t two[4] = {(uint8_t)command, (uint8_t)family};
    add(&made, two, 4);
}

static const struct bytes *finish(void) {
    made.p[14] = (uint8_t)((made.len - 16) >> 8);
    made.p[15] = (uint8_t)(made.len - 16);
    return &made;
}

static void tlv(unsigned type, const void *p, uint32_t len) {
    uint8_t byte = (uint8_t)type;
    add(&made, &byte, 1);
    add_u16(&made, len);
    add(&made, p, len);
}

#define ENDS4 "\x01\x02\x03\x04\x05\x06\x07\x08\x00\x09\x01\xbb"

static void begin_tcp4(void) {
    begin(PROXY, TCP4);
    add(&made, ENDS4, 12);
}

/* Bit by bit, as RFC 3385 has it. */
static uint32_t crc32c(const uint8_t *p, uint32_t len) {
    uint32_t crc = 0xffffffffu;
    for (uint32_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

/* A sum at the end, wrong by `by`. */
static const struct bytes *finish_summed(uint32_t by) {
    tlv(0x03, "\0\0\0\0", 4);
    finish();
    uint32_t crc = htonl(crc32c(made.p, made.len) + by);
    memcpy(made.p + made.len - 4, &crc, 4);
    return &made;
}

static void check_ends4(const struct proxyproto_ends *ends) {
    assert_true(ends->told);
    check_end(&ends->client, "1.2.3.4 9");
    check_end(&ends->local, "5.6.7.8 443");
}

static void test_v2(void **state) {
    (void)state;
    struct proxyproto_ends ends;
    begin_tcp4();
    good(finish(), &ends);
    check_ends4(&ends);

    static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 1, [15] = 4};
    static const uint8_t six[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    begin(PROXY, TCP6);
    add(&made, six, 16);
    add(&made, mapped, 16);
    add(&made, "\xff\xff\x00\x50", 4);
    good(finish(), &ends);
    assert_true(ends.told);
    check_end(&ends.client, "2001:db8::1 65535");
    check_end(&ends.local, "1.0.0.4 80");

    static uint8_t paths[216] = "/run/a.sock";
    begin(PROXY, UNIX);
    add(&made, paths, sizeof paths);
    good(finish(), &ends);
    assert_true(ends.told);
    check_end(&ends.client, "unix 0");
    check_end(&ends.local, "unix 0");
}

/* What the sender does not know, or does not say, is the connection's own. */
static void test_v2_untold(void **state) {
    (void)state;
    static const uint8_t rows[][2] = {{LOCAL, UNSPEC}, {LOCAL, TCP4}, {LOCAL, 0xff},
                                      {LOCAL, 0x12}, {PROXY, UNSPEC}, {PROXY, 0x01}};
    struct proxyproto_ends ends;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(rows[i][0], rows[i][1]);
        good(finish(), &ends);
        assert_false(ends.told);
    }
    /* LOCAL's block is nobody's business, even if it makes no sense. */
    begin(LOCAL, TCP4);
    add(&made, "\x03\xff\xff\xff", 4);
    good(finish(), &ends);
    assert_false(ends.told);
    begin(PROXY, 0x10);
    add(&made, ENDS4, 12);
    good(finish(), &ends);
    assert_false(ends.told);
    begin(PROXY, UNSPEC);
    tlv(0x04, "abc", 3);
    good(finish(), &ends);
}

static void test_v2_tlvs(void **state) {
    (void)state;
    static uint8_t zeros[PROXYPROTO_HEADER_MAX];
    struct proxyproto_ends ends;
    begin_tcp4();
    tlv(0x01, "h2", 2);
    tlv(0x02, "example.org", 11);
    tlv(0x04, "", 0);
    tlv(0x05, zeros, 128);
    tlv(0x20, "\x01\0\0\0\0", 5);
    tlv(0x20, "\x01\0\0\0\0\x21\0\x07TLSv1.3\x23\0\0\x22\0\x01z", 5 + 10 + 3 + 4);
    tlv(0x30, "netns", 5);
    tlv(0xea, "\x01vpce-08d2bf15fac5001c9", 23);
    tlv(0xff, "", 0);
    good(finish_summed(0), &ends);
    check_ends4(&ends);
    /* The sum may stand anywhere. */
    begin_tcp4();
    tlv(0x03, "\0\0\0\0", 4);
    tlv(0x04, "x", 1);
    finish();
    uint32_t crc = htonl(crc32c(made.p, made.len));
    memcpy(made.p + 16 + 12 + 3, &crc, 4);
    good(&made, &ends);
    made.p[made.len - 1] ^= 1;
    bad(&made);
    /* As long as may be. */
    begin_tcp4();
    tlv(0x04, zeros, PROXYPROTO_HEADER_MAX - 16 - 12 - 3);
    assert_int_equal(made.len, PROXYPROTO_HEADER_MAX);
    good(finish(), &ends);
    check_ends4(&ends);
}

static void test_v2_wrong_head(void **state) {
    (void)state;
    for (uint32_t i = 1; i < 12; i++) {
        begin_tcp4();
        made.p[i] ^= 1;
        bad(finish());
    }
    for (unsigned command = 0; command < 256; command++) {
        if (command != LOCAL && command != PROXY) {
            begin(command, TCP4);
            add(&made, ENDS4, 12);
            bad(finish());
        }
    }
    for (unsigned family = 0; family < 256; family++) {
        if ((family & 15) > 1 || family >> 4 > 3) {
            static uint8_t zeros[216];
            begin(PROXY, family);
            add(&made, zeros, sizeof zeros);
            bad(finish());
        }
    }
}

static void test_v2_wrong_length(void **state) {
    (void)state;
    static uint8_t zeros[66000];
    static const struct { uint8_t family; uint32_t size; } rows[] = {
        {TCP4, 12}, {TCP6, 36}, {UNIX, 216}, {0x10, 12},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (uint32_t size = 0; size < rows[i].size; size++) {
            begin(PROXY, rows[i].family);
            add(&made, zeros, size);
            bad(finish());
        }
    }
    begin_tcp4();
    tlv(0x04, zeros, PROXYPROTO_HEADER_MAX - 16 - 12 - 3 + 1);
    bad(finish());
    begin(LOCAL, UNSPEC);
    add(&made, zeros, 65535);
    bad(finish());
}

static void test_v2_wrong_tlvs(void **state) {
    (void)state;
    static uint8_t zeros[129];
    static const struct { const char *bytes; uint32_t len; } tails[] = {
        {"\x04", 1}, {"\x04\0", 2}, {"\x04\0\x01", 3}, {"\x04\xff\xff", 3}, {"\x04\0\0\x04\0", 5},
        {"\x04\0\x02xy\x02\0\x02x", 9},
        {"\x20\0\0", 3}, {"\x20\0\x04zzzz", 7}, {"\x20\0\x06zzzzz\x21", 9},
        {"\x20\0\x08zzzzz\x21\0\x01", 11}, {"\x20\0\x08zzzzz\x21\0\x01q", 12},
        {"\x03\0\0", 3}, {"\x03\0\x03zzz", 6}, {"\x03\0\x05zzzzz", 8}, {"\x03\0\x04zzzz", 7},
    };
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        begin_tcp4();
        add(&made, tails[i].bytes, tails[i].len);
        bad(finish());
        begin(PROXY, UNSPEC);
        add(&made, tails[i].bytes, tails[i].len);
        bad(finish());
    }
    begin_tcp4();
    tlv(0x05, zeros, 129);
    bad(finish());
    begin_tcp4();
    bad(finish_summed(1));
    begin_tcp4();
    bad(finish_summed(0x80000000u));
    /* Two sums, both right: who can solve for two can solve for hundreds, each of which is work. */
    begin_tcp4();
    tlv(0x03, "\xc4\x73\xa8\x00", 4);
    tlv(0x03, "\xc2\x76\xa6\x99", 4);
    bad(finish());
    for (uint32_t at = 16 + 12 + 3; at < made.len; at += 7) {
        static struct bytes zeroed;
        zeroed = made;
        memset(zeroed.p + at, 0, 4);
        uint32_t sum = htonl(crc32c(zeroed.p, zeroed.len));
        assert_memory_equal(made.p + at, &sum, 4);
    }
    /* Any bit of a summed header. */
    for (uint32_t bit = 0; bit < 8 * (16 + 12 + 14 + 7); bit++) {
        struct proxyproto_ends ends;
        uint32_t used;
        begin_tcp4();
        tlv(0x02, "example.org", 11);
        finish_summed(0);
        made.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum proxyproto_result result = read_exact(made.p, made.len, &ends, &used);
        assert_true(result != PROXYPROTO_DONE || made.p[12] == LOCAL || bit / 8 == 28 + 14);
    }
}

/* --- Writing ------------------------------------------------------------------------------ */

static struct endpoint end_of(const char *text, uint16_t port) {
    struct endpoint e = {.port = port};
    if (inet_pton(AF_INET, text, e.ip) == 1) {
        e.family = AF_INET;
    } else if (inet_pton(AF_INET6, text, e.ip) == 1) {
        e.family = AF_INET6;
    } else {
        e.family = strcmp(text, "unix") == 0 ? AF_UNIX : 0;
    }
    return e;
}

static bool ends_eq(const struct proxyproto_ends *a, const struct proxyproto_ends *b) {
    return a->told == b->told && memcmp(&a->client, &b->client, sizeof a->client) == 0 &&
           memcmp(&a->local, &b->local, sizeof a->local) == 0;
}

static const struct {
    const char *client, *local, *v1;
} written[] = {
    {"1.2.3.4", "5.6.7.8", "PROXY TCP4 1.2.3.4 5.6.7.8 65535 0\r\n"},
    {"255.255.255.255", "255.255.255.254",
     "PROXY TCP4 255.255.255.255 255.255.255.254 65535 0\r\n"},
    {"2001:db8::1", "::1", "PROXY TCP6 2001:db8::1 ::1 65535 0\r\n"},
    {"1.2.3.4", "::1", "PROXY TCP6 ::ffff:1.2.3.4 ::1 65535 0\r\n"},
    {GROUPS7 "ffff", "1.2.3.4", "PROXY TCP6 " GROUPS7 "ffff ::ffff:1.2.3.4 65535 0\r\n"},
    {GROUPS7 "fffe", GROUPS7 "ffff", "PROXY TCP6 " GROUPS7 "fffe " GROUPS7 "ffff 65535 0\r\n"},
    {"unix", "unix", "PROXY UNKNOWN\r\n"},
    {"unix", "1.2.3.4", "PROXY UNKNOWN\r\n"},
    {"1.2.3.4", "unix", "PROXY UNKNOWN\r\n"},
    {"unknown", "1.2.3.4", "PROXY UNKNOWN\r\n"},
    {"1.2.3.4", "unknown", "PROXY UNKNOWN\r\n"},
};

/* What is written says what was to be said, to our own reader; or that nobody knows. */
static void test_written(void **state) {
    (void)state;
    static const struct proxyproto_ends untold;
    struct proxyproto_ends again;
    for (size_t i = 0; i < sizeof written / sizeof written[0]; i++) {
        struct proxyproto_ends ends = {true, end_of(written[i].client, 65535),
                                       end_of(written[i].local, 0)};
        bool known = strcmp(written[i].v1, "PROXY UNKNOWN\r\n") != 0;
        uint8_t to[PROXYPROTO_WRITE_MAX + 1];
        uint32_t len = proxyproto_write_v1(&ends, to);
        to[len] = '\0';
        assert_string_equal((char *)to, written[i].v1);
        good(line_of((char *)to, len), &again);
        assert_true(ends_eq(&again, known ? &ends : &untold));

        len = proxyproto_write_v2(&ends, NULL, to);
        good(line_of((char *)to, len), &again);
        assert_true(ends_eq(&again, known ? &ends : &untold));
        assert_int_equal(to[12], known ? PROXY : LOCAL);
    }
    uint8_t to[PROXYPROTO_WRITE_MAX];
    assert_int_equal(proxyproto_write_v1(&untold, to), 15);
    assert_memory_equal(to, "PROXY UNKNOWN\r\n", 15);
    assert_int_equal(proxyproto_write_v2(&untold, NULL, to), 16);
    assert_memory_equal(to, SIGNATURE "\x20\0\0\0", 16);
}

static const struct proxyproto_ends ends4 = {
    true, {AF_INET, 9, {1, 2, 3, 4}}, {AF_INET, 443, {5, 6, 7, 8}}};

static struct str run_of(uint32_t len) {
    static char run[300];
    memset(run, 'x', sizeof run);
    return (struct str){run, len};
}

/* Byte for byte. */
static void test_written_tlvs(void **state) {
    (void)state;
    uint8_t to[PROXYPROTO_WRITE_MAX];
    struct proxyproto_more more = {.tls = true, .tls_version = STR("TLSv1.3"),
                                   .tls_cipher = STR("TLS_AES_128_GCM_SHA256"),
                                   .authority = STR("example.org"), .unique_id = STR("id")};
    begin_tcp4();
    tlv(0x02, "example.org", 11);
    tlv(0x20, "\x01\0\0\0\x01\x21\0\x07TLSv1.3\x23\0\x16TLS_AES_128_GCM_SHA256", 5 + 10 + 25);
    tlv(0x05, "id", 2);
    finish_summed(0);
    assert_int_equal(proxyproto_write_v2(&ends4, &more, to), made.len);
    assert_memory_equal(to, made.p, made.len);

    more = (struct proxyproto_more){.authority = STR("not over tls"), .tls_version = STR("x")};
    begin_tcp4();
    tlv(0x02, "not over tls", 12);
    finish_summed(0);
    assert_int_equal(proxyproto_write_v2(&ends4, &more, to), made.len);
    assert_memory_equal(to, made.p, made.len);
}

/* The longest of all fits; what is longer than its bound is left out. */
static void test_written_bounds(void **state) {
    (void)state;
    uint8_t to[PROXYPROTO_WRITE_MAX];
    struct proxyproto_ends ends = {true, end_of(GROUPS7 "1", 1), end_of(GROUPS7 "2", 2)}, again;
    for (uint32_t by = 0; by < 2; by++) {
        struct str word = run_of(PROXYPROTO_TLS_WORD_MAX + by);
        struct proxyproto_more more = {.tls = true, .tls_version = word, .tls_cipher = word,
                                       .authority = run_of(PROXYPROTO_AUTHORITY_MAX + by),
                                       .unique_id = run_of(PROXYPROTO_UNIQUE_ID_MAX + by)};
        uint32_t len = proxyproto_write_v2(&ends, &more, to);
        uint32_t most = 16 + 36 + 3 + 255 + 3 + 5 + 2 * (3 + 64) + 3 + 128 + 3 + 4;
        assert_int_equal(len, by == 0 ? most : 16 + 36 + 3 + 5 + 3 + 4);
        assert_true(len <= PROXYPROTO_WRITE_MAX);
        good(line_of((char *)to, len), &again);
        assert_true(ends_eq(&ends, &again));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_v1_unknown),
        cmocka_unit_test(test_v1_wrong),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_v2_untold),
        cmocka_unit_test(test_v2_tlvs),
        cmocka_unit_test(test_v2_wrong_head),
        cmocka_unit_test(test_v2_wrong_length),
        cmocka_unit_test(test_v2_wrong_tlvs),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_written_tlvs),
        cmocka_unit_test(test_written_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
