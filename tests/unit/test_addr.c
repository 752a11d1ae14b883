/* base/addr: what is an address, what is none and why, and how each is printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

/* The text is copied to a block of just its size, so that the sanitizer sees a read past it. */
static bool parse(struct addr *a, const char *text, const char **why) {
    size_t len = strlen(text);
    char *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    bool good = addr_parse(a, (struct str){exact, (uint32_t)len}, why);
    free(exact);
    return good;
}

static void good(const char *text, const char *printed, int family, uint16_t port, bool dual) {
    struct addr a, again;
    const char *why;
    char p[ADDR_TEXT_MAX];
    if (!parse(&a, text, &why)) {
        fail_msg("%s: %s", text, why);
    }
    assert_int_equal(a.sa.any.sa_family, family);
    assert_int_equal(addr_port(&a), port);
    assert_int_equal(a.dual, dual);
    assert_string_equal(addr_print(&a, p), printed);
    assert_true(parse(&again, p, &why));
    assert_true(addr_eq(&a, &again));
    assert_int_equal(again.dual, dual);
}

static void bad(const char *text, const char *reason) {
    struct addr a;
    const char *why;
    if (parse(&a, text, &why)) {
        fail_msg("%s was taken", text);
    }
    assert_string_equal(why, reason);
}

static void test_addresses(void **state) {
    (void)state;
    good("127.0.0.1:8001", "127.0.0.1:8001", AF_INET, 8001, false);
    good("0.0.0.0:1", "0.0.0.0:1", AF_INET, 1, false);
    good("255.255.255.255:65535", "255.255.255.255:65535", AF_INET, 65535, false);
    good("[::1]:443", "[::1]:443", AF_INET6, 443, false);
    good("[2001:DB8::A]:00080", "[2001:db8::a]:80", AF_INET6, 80, false);
    good("[::]:80", "[::]:80", AF_INET6, 80, false);
    good("[fe80::1%lo]:80", "[fe80::1%lo]:80", AF_INET6, 80, false);
    good(":80", ":80", AF_INET6, 80, true);
    good("[::ffff:192.0.2.7]:80", "192.0.2.7:80", AF_INET, 80, false);
    good("localhost:99", "127.0.0.1:99", AF_INET, 99, false);
    good("LOCALHOST:99", "127.0.0.1:99", AF_INET, 99, false);
    good("unix:/run/app.sock", "unix:/run/app.sock", AF_UNIX, 0, false);
    good("unix:app:80", "unix:app:80", AF_UNIX, 0, false);
}

static void test_errors(void **state) {
    (void)state;
    const char *form = "write HOST:PORT, [V6]:PORT, :PORT or unix:PATH";
    const char *port = "the port is a number from 1 to 65535";
    const char *v6 = "between [ and ] stands an IPv6 address, as in [::1]:80";
    const char *v4 = "an IPv4 address has four numbers from 0 to 255, as in 127.0.0.1";
    bad("", form);
    bad("localhost", form);
    bad("8080", form);
    bad("[::1", form);
    bad("[::1]", form);
    bad("[:80", form);
    bad("]:80", form);
    bad("127.0.0.1:", port);
    bad("127.0.0.1:0", port);
    bad("127.0.0.1:65536", port);
    bad("127.0.0.1:+80", port);
    bad("127.0.0.1:http", port);
    bad("127.0.0.1: 80", port);
    bad(":", port);
    bad("[]:80", v6);
    bad("[127.0.0.1]:80", v6);
    bad("[::1::]:80", v6);
    bad("[::11111]:80", v6);
    bad("[fe80::1%none0]:80",
        "behind the % stands the name of a network interface of this machine");
    bad("[1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1]:80", v6);
    bad("127.0.0:80", v4);
    bad("1:80", v4);
    bad("127.0.0.256:80", v4);
    bad("127.0.0.1.:80", v4);
    bad("::1:80", "an IPv6 address stands in brackets, as in [::1]:80");
    bad("*:80", "for every address write :PORT");
    bad("a b:80", "a host is a numeric address or a name of letters, digits, - and .");
    bad("http://localhost:80", "an address has no scheme; write HOST:PORT");
    bad("a:/b:80", "an IPv6 address stands in brackets, as in [::1]:80");
    bad("unix:", "unix: needs the path of a socket, as in unix:/run/app.sock");
    bad("unix:/run/", "unix: needs the path of a socket, as in unix:/run/app.sock");
    bad("unix:@app",
        "abstract sockets have no owner and no mode; use a path, as in unix:/run/app.sock");
    struct addr a;
    const char *why;
    assert_false(addr_parse(&a, (struct str){"unix:/a\0b", 9}, &why));
    assert_string_equal(why, "a path holds no NUL byte");
    assert_false(addr_parse(&a, (struct str){"[::\0" "1]:80", 9}, &why));
    assert_string_equal(why, v6);
}

static void test_lengths(void **state) {
    (void)state;
    char text[400] = "unix:", p[ADDR_TEXT_MAX];
    struct addr a;
    const char *why;
    memset(text + 5, 'a', 107);
    assert_true(parse(&a, text, &why));
    assert_string_equal(addr_print(&a, p), text);
    assert_int_equal(a.len, sizeof(struct sockaddr_un));
    text[5 + 107] = 'a';
    bad(text, "the path of a unix socket is at most 107 bytes");
    memset(text, 'a', 254);
    memcpy(text + 254, ":80", 4);
    bad(text, "a host name is at most 253 bytes");
}

/* RFC 6761 6.4: .invalid never resolves; whether a name server says so or none is there. */
static void test_unknown_name(void **state) {
    (void)state;
    struct addr a;
    const char *why;
    assert_false(parse(&a, "gyre-test.invalid:80", &why));
    assert_true(strcmp(why, "the system knows no address of this name") == 0 ||
                strcmp(why, "the name can not be resolved now; is a name server reachable?") == 0 ||
                strcmp(why, "the name can not be resolved") == 0);
}

static void test_equal(void **state) {
    (void)state;
    static const char *const all[] = {"127.0.0.1:80", "127.0.0.1:81", "127.0.0.2:80", "[::]:80",
                                      "[::1]:80", "[fe80::1]:80", "[fe80::1%lo]:80", "unix:/a",
                                      "unix:/ab"};
    struct addr a, b;
    const char *why;
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        for (size_t j = 0; j < sizeof(all) / sizeof(*all); j++) {
            assert_true(parse(&a, all[i], &why) && parse(&b, all[j], &why));
            assert_int_equal(addr_eq(&a, &b), i == j);
        }
    }
    assert_true(parse(&a, ":80", &why) && parse(&b, "[::]:80", &why));
    assert_true(addr_eq(&a, &b));
    assert_true(addr_is_any(&a) && addr_is_any(&b));
    assert_true(parse(&a, "0.0.0.0:80", &why) && addr_is_any(&a));
    assert_true(parse(&a, "0.0.0.1:80", &why) && !addr_is_any(&a));
    assert_true(parse(&a, "[::1]:80", &why) && !addr_is_any(&a));
    assert_true(parse(&a, "unix:/a", &why) && !addr_is_any(&a));
    struct addr none = {0}, nothing = {0};
    assert_true(addr_eq(&none, &nothing));
    assert_false(addr_is_any(&none));
}

/* What getsockname and getpeername hand out. */
static void test_kernel_forms(void **state) {
    (void)state;
    char p[ADDR_TEXT_MAX];
    struct addr a = {.len = offsetof(struct sockaddr_un, sun_path)};
    a.sa.un.sun_family = AF_UNIX;
    assert_string_equal(addr_print(&a, p), "unix:");
    a.len += 4;
    memcpy(a.sa.un.sun_path, "\0app", 4);
    assert_string_equal(addr_print(&a, p), "unix:@app");
    a.len = sizeof(struct sockaddr_un);
    memset(a.sa.un.sun_path, 'x', sizeof(a.sa.un.sun_path));   /* 108 bytes and no NUL */
    assert_int_equal(strlen(addr_print(&a, p)), 5 + 108);
    memset(&a, 0, sizeof(a));
    assert_string_equal(addr_print(&a, p), "unknown");
    a.sa.in6.sin6_family = AF_INET6;
    a.sa.in6.sin6_scope_id = 4000000000u;
    assert_string_equal(addr_print(&a, p), "[::%4000000000]:0");
}

static void endpoint(struct endpoint *e, const char *text) {
    struct addr a;
    const char *why;
    assert_true(parse(&a, text, &why));
    endpoint_of(e, &a.sa.any, a.len);
}

static void test_endpoints(void **state) {
    (void)state;
    struct endpoint e;
    char p[ADDR_TEXT_MAX];
    endpoint(&e, "192.0.2.7:1234");
    assert_int_equal(e.family, AF_INET);
    assert_int_equal(e.port, 1234);
    assert_string_equal(endpoint_print(&e, p), "192.0.2.7");
    endpoint(&e, "0.9.10.99:1");
    assert_string_equal(endpoint_print(&e, p), "0.9.10.99");
    endpoint(&e, "100.109.199.255:1");
    assert_string_equal(endpoint_print(&e, p), "100.109.199.255");
    endpoint(&e, "[2001:db8::1]:9");
    assert_int_equal(e.family, AF_INET6);
    assert_int_equal(e.port, 9);
    assert_string_equal(endpoint_print(&e, p), "2001:db8::1");
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(7)};
    assert_int_equal(inet_pton(AF_INET6, "::ffff:10.1.2.3", &mapped.sin6_addr), 1);
    endpoint_of(&e, (struct sockaddr *)&mapped, sizeof(mapped));
    assert_int_equal(e.family, AF_INET);
    assert_int_equal(e.port, 7);
    assert_string_equal(endpoint_print(&e, p), "10.1.2.3");
    endpoint(&e, "unix:/run/x");
    assert_int_equal(e.family, AF_UNIX);
    assert_string_equal(endpoint_print(&e, p), "unix");
    endpoint_of(&e, (struct sockaddr *)&mapped, sizeof(struct sockaddr_in));   /* cut short */
    assert_string_equal(endpoint_print(&e, p), "unknown");
    endpoint_of(&e, NULL, 0);
    assert_string_equal(endpoint_print(&e, p), "unknown");
}

static void same_network(const char *one, const char *other, bool expected) {
    static const uint64_t secrets[2] = {1234567, 7654321};
    struct endpoint a, b;
    endpoint(&a, one);
    endpoint(&b, other);
    struct network na = endpoint_network(&a), nb = endpoint_network(&b);
    assert_int_equal(network_eq(&na, &nb), expected);
    assert_int_equal(network_hash(&na, secrets) == network_hash(&nb, secrets), expected);
}

static void test_networks(void **state) {
    (void)state;
    same_network("192.0.2.7:1", "192.0.2.7:2", true);
    same_network("192.0.2.7:1", "192.0.2.6:1", false);
    same_network("[2001:db8::1]:1", "[2001:db8::ffff:0:0:2]:1", true);
    same_network("[2001:db8:0:1::1]:1", "[2001:db8::1]:1", false);
    same_network("[c000:207::]:1", "192.0.2.7:1", false);   /* the same first bytes */
    same_network("unix:/run/x", "unix:/run/y", true);
    same_network("unix:/run/x", "0.0.0.0:1", false);
}

static void has(const char *block, const char *peer, bool expected) {
    struct cidr c;
    struct endpoint e;
    const char *why;
    endpoint(&e, peer);
    if (!cidr_parse(&c, str_of(block), &why)) {
        fail_msg("%s: %s", block, why);
    }
    if (cidr_has(&c, &e) != expected) {
        fail_msg("%s in %s", peer, block);
    }
}

static void test_blocks(void **state) {
    (void)state;
    has("127.0.0.1", "127.0.0.1:1", true);
    has("127.0.0.1/32", "127.0.0.1:1", true);
    has("127.0.0.1/32", "127.0.0.0:1", false);
    has("10.0.0.0/8", "10.255.255.255:1", true);
    has("10.0.0.0/8", "11.0.0.0:1", false);
    has("192.0.2.64/27", "192.0.2.95:1", true);
    has("192.0.2.64/27", "192.0.2.96:1", false);
    has("192.0.2.64/27", "192.0.2.63:1", false);
    has("0.0.0.0/0", "255.1.2.3:1", true);
    has("0.0.0.0/0", "[::1]:1", false);
    has("0.0.0.0/0", "unix:/a", false);
    has("::1", "[::1]:1", true);
    has("::1/128", "[::2]:1", false);
    has("::/0", "[ffff::1]:1", true);
    has("::/0", "1.2.3.4:1", false);
    has("fd00::/8", "[fdff::1]:1", true);
    has("fd00::/8", "[fc00::1]:1", false);
    has("2001:db8:0:8000::/49", "[2001:db8:0:ffff::1]:1", true);
    has("2001:db8:0:8000::/49", "[2001:db8:0:7fff::1]:1", false);
    has("::ffff:10.0.0.0/104", "10.9.9.9:1", true);
    has("::ffff:10.0.0.0/104", "11.9.9.9:1", false);
    has("unix", "unix:/a", true);
    has("unix", "127.0.0.1:1", false);
}

static void bad_block(const char *text, const char *reason) {
    struct cidr c;
    const char *why;
    if (cidr_parse(&c, str_of(text), &why)) {
        fail_msg("%s was taken", text);
    }
    assert_string_equal(why, reason);
}

static void test_bad_blocks(void **state) {
    (void)state;
    const char *form = "write an address, a block like 10.0.0.0/8 or fd00::/8, or unix";
    bad_block("", form);
    bad_block("/8", form);
    bad_block("10.0.0.0.0/8", form);
    bad_block("10/8", form);
    bad_block("localhost", form);
    bad_block("Unix", form);
    bad_block("[::1]/128", form);
    bad_block("1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111", form);
    bad_block("10.0.0.0/", "behind the / stands a number from 0 to 32");
    bad_block("10.0.0.0/33", "behind the / stands a number from 0 to 32");
    bad_block("10.0.0.0/-1", "behind the / stands a number from 0 to 32");
    bad_block("::/129", "behind the / stands a number from 0 to 128");
    bad_block("10.0.0.1/8", "the bits behind the prefix must be 0, as in 10.0.0.0/8");
    bad_block("::1/0", "the bits behind the prefix must be 0, as in 10.0.0.0/8");
    /* An address that nobody has given belongs to no block. */
    struct cidr c;
    struct endpoint unknown = {0};
    const char *why;
    assert_true(cidr_parse(&c, STR("0.0.0.0/0"), &why));
    assert_false(cidr_has(&c, &unknown));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),    cmocka_unit_test(test_errors),
        cmocka_unit_test(test_lengths),      cmocka_unit_test(test_unknown_name),
        cmocka_unit_test(test_equal),        cmocka_unit_test(test_kernel_forms),
        cmocka_unit_test(test_endpoints),    cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_bad_blocks),   cmocka_unit_test(test_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
