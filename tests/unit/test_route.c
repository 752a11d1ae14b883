/* From host, path and listener to a backend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "exchange/exchange_priv.h"

static const char ini[] =
    "[listener one]\nbind = 127.0.0.1:81\nbackend = fallback\n"
    "[listener two]\nbind = 127.0.0.1:82\n"
    "[route exact]\nhost = Example.org\nbackend = exact\n"
    "[route wild]\nhost = *.example.org\nbackend = wild\n"
    "[route deep]\nhost = *.deep.example.org\nbackend = deep\n"
    "[route api]\nhost = example.org\npath = /api\nbackend = api\n"
    "[route api2]\nhost = example.org\npath = /api/v2/\nbackend = api2\n"
    "[route any]\npath = /any/\nbackend = any\n"
    "[route onlytwo]\npath = /any/\nlistener = two\nbackend = onlytwo\n"
    "[route shop]\npath = /shop/\nmount = yes\nbackend = shop\n"
    "[route six]\nhost = [2001:db8::1]\nbackend = six\n"
    "[backend fallback]\nserver = 127.0.0.1:1\n[backend exact]\nserver = 127.0.0.1:1\n"
    "[backend wild]\nserver = 127.0.0.1:1\n[backend deep]\nserver = 127.0.0.1:1\n"
    "[backend api]\nserver = 127.0.0.1:1\n[backend api2]\nserver = 127.0.0.1:1\n"
    "[backend any]\nserver = 127.0.0.1:1\n[backend onlytwo]\nserver = 127.0.0.1:1\n"
    "[backend six]\nserver = 127.0.0.1:1\n"
    "[backend shop]\nserver = 127.0.0.1:1 protocol=uwsgi\n";

static const struct {
    uint32_t listener;
    const char *authority, *path, *backend;
} rows[] = {
    {0, "example.org", "/", "exact"},
    {0, "EXAMPLE.ORG:8080", "/x", "exact"},
    {0, "example.org.", "/", "exact"},
    {0, "example.org", "/api", "api"},
    {0, "example.org", "/apix", "api"},
    {0, "example.org", "/api/v2/users", "api2"},
    {0, "www.example.org", "/api", "wild"},
    {0, "a.b.example.org", "/", "wild"},
    {0, "a.deep.example.org", "/", "deep"},
    {0, "deep.example.org", "/", "wild"},
    {0, "example.org.evil", "/", "fallback"},
    {0, "notexample.org", "/", "fallback"},
    {0, ".example.org", "/", "fallback"},
    {0, "other", "/any/1", "any"},
    {1, "other", "/any/1", "onlytwo"},
    {1, "example.org", "/any/1", "exact"},   /* a host counts before a path */
    {1, "other", "/", NULL},
    {0, "[2001:db8::1]:8443", "/", "six"},
    {0, "", "/", "fallback"},
    {0, "other", "/shop/", "shop"},
    {0, "other", "/shop/a/b", "shop"},
    {0, "other", "/shop", "shop"},
    {0, "other", "/shopping", "fallback"},
    {0, "other", "/%73hop/", "fallback"},
    {0, "other", "/sho", "fallback"},
    {0, "other", "*", "fallback"},
};

static void first_of_the_best(void **state) {
    (void)state;
    struct conf_errors errors = {0};
    struct conf *conf = conf_load_text("test", ini, &errors);
    for (uint32_t i = 0; i < errors.count; i++) {
        print_message("%s\n", errors.text[i]);
    }
    assert_non_null(conf);
    struct router *router = router_new(conf);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t mount;
        int32_t found = router_find(router, rows[i].listener, str_of(rows[i].authority),
                                    str_of(rows[i].path), &mount);
        const char *name = found < 0 ? "none" : conf->backends[found].name;
        const char *want = rows[i].backend != NULL ? rows[i].backend : "none";
        if (strcmp(name, want) != 0) {
            fail_msg("%s%s by listener %u goes to %s, not to %s", rows[i].authority,
                     rows[i].path, rows[i].listener, name, want);
        }
        assert_int_equal(mount, strcmp(name, "shop") == 0 ? strlen("/shop") : 0);
    }
    router_free(router);
    conf_free(conf);
    conf_errors_fini(&errors);
}

/* --- Any routes, and what their order says ---------------------------------------------------- */

#define ROUTES 60u
#define ASKED 400u

static uint64_t seed;

static uint32_t draw(uint32_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

struct route {
    char host[32];
    const char *path;
    int listener;               /* -1: all */
};

static void draw_name(char *to) {
    static const char *const labels[] = {"a", "b", "ab", "a-b"};
    *to = '\0';
    for (uint32_t n = 1 + draw(4); n > 0; n--) {
        strcat(to, labels[draw(4)]);
        strcat(to, n > 1 ? "." : "");
    }
}

/* Of its own: no two take the same requests. */
static void draw_row(struct route *drawn, uint32_t count) {
    static const char *const paths[] = {"/", "/x", "/x/", "/xy", "/y"};
    struct route *row = &drawn[count];
    bool taken;
    do {
        *row = (struct route){.path = paths[draw(5)], .listener = (int)draw(3) - 1};
        uint32_t kind = draw(20);
        strcpy(row->host, kind < 4 ? "*." : "");
        if (kind < 19) {
            draw_name(row->host + strlen(row->host));
        }
        taken = false;
        for (uint32_t i = 0; i < count; i++) {
            taken = taken || (strcmp(drawn[i].host, row->host) == 0 && drawn[i].path == row->path &&
                              drawn[i].listener == row->listener);
        }
    } while (taken);
}

static struct conf *conf_of(const struct route *drawn) {
    static char text[ROUTES * 200 + 1000];
    size_t at = (size_t)snprintf(text, sizeof text,
                                 "[listener l0]\nbind = 127.0.0.1:81\nbackend = rest\n"
                                 "[listener l1]\nbind = 127.0.0.1:82\nbackend = rest\n");
    for (uint32_t i = 0; i < ROUTES; i++) {
        const struct route *r = &drawn[i];
        at += (size_t)snprintf(text + at, sizeof text - at,
                               "[route r%u]\npath = %s\nbackend = b%u\n", i, r->path, i);
        if (r->host[0] != '\0') {
            at += (size_t)snprintf(text + at, sizeof text - at, "host = %s\n", r->host);
        }
        if (r->listener >= 0) {
            at += (size_t)snprintf(text + at, sizeof text - at, "listener = l%d\n", r->listener);
        }
        at += (size_t)snprintf(text + at, sizeof text - at, "[backend b%u]\nserver = 127.0.0.1:1\n",
                               i);
    }
    snprintf(text + at, sizeof text - at, "[backend rest]\nserver = 127.0.0.1:1\n");
    struct conf_errors errors = {0};
    struct conf *conf = conf_load_text("test", text, &errors);
    if (conf == NULL) {
        fail_msg("%s", errors.text[0]);
    }
    conf_errors_fini(&errors);
    return conf;
}

/* The same host, as a client may write it. */
static void draw_spelling(char *to, const char *host) {
    for (; *host != '\0'; host++) {
        *to++ = draw(2) == 0 && *host >= 'a' ? (char)(*host - 'a' + 'A') : *host;
    }
    *to = '\0';
    strcat(to, draw(4) == 0 ? "." : "");
    strcat(to, draw(4) == 0 ? ":8080" : "");
}

/* How well it suits: the first of an exact host, a long wildcard, none; then the longest path; then
 * its own listener. 0: not at all. */
static uint32_t worth(const struct route *row, const char *host, const char *path, int listener) {
    uint32_t by_host = 1;
    if (row->host[0] == '*') {
        size_t len = strlen(host), rest = strlen(row->host) - 1;
        if (len <= rest || strcmp(host + len - rest, row->host + 1) != 0) {
            return 0;
        }
        by_host = 1 + (uint32_t)rest;
    } else if (row->host[0] != '\0') {
        if (strcmp(host, row->host) != 0) {
            return 0;
        }
        by_host = 100;
    }
    if (strncmp(path, row->path, strlen(row->path)) != 0 ||
        (row->listener >= 0 && row->listener != listener)) {
        return 0;
    }
    return by_host * 100 + (uint32_t)strlen(row->path) * 2 + (row->listener >= 0);
}

static void as_their_order_says(void **state) {
    (void)state;
    static const char *const asked[] = {"/", "/x", "/x/1", "/xyz", "/y", "/z"};
    uint32_t hits = 0, misses = 0;
    for (uint64_t round = 1; round <= 50; round++) {
        struct route drawn[ROUTES];
        seed = round;
        for (uint32_t i = 0; i < ROUTES; i++) {
            draw_row(drawn, i);
        }
        struct conf *conf = conf_of(drawn);
        struct router *router = router_new(conf);
        for (uint32_t i = 0; i < ASKED; i++) {
            char host[32], spelt[40];
            draw_name(host);
            draw_spelling(spelt, host);
            const char *path = asked[draw(6)];
            uint32_t listener = draw(2), best = 0, mount;
            int32_t want = (int32_t)ROUTES;
            for (uint32_t r = 0; r < ROUTES; r++) {
                uint32_t is = worth(&drawn[r], host, path, (int)listener);
                want = is > best ? (int32_t)r : want;
                best = is > best ? is : best;
            }
            int32_t found = router_find(router, listener, str_of(spelt), str_of(path), &mount);
            if (found != want) {
                fail_msg("seed %u: %s%s by listener %u goes to %d, not to %d", (unsigned)round,
                         spelt, path, listener, found, want);
            }
            hits += best > 0;
            misses += best == 0;
        }
        router_free(router);
        conf_free(conf);
    }
    assert_true(hits > 1000 && misses > 1000);
}

/* Names about as long as a line has room for, and what only looks like one: dots and nothing else,
 * and far more than any name has. */
static void the_longest_names(void **state) {
    (void)state;
    char text[2000], longest[200] = "", host[40000];
    for (uint32_t i = 0; i < 90; i++) {
        strcat(longest, "a.");
    }
    strcat(longest, "b");
    snprintf(text, sizeof text, "[listener l]\nbind = 127.0.0.1:81\nbackend = rest\n"
             "[route r]\nhost = %s\nbackend = exact\n[route w]\nhost = *.%s\nbackend = wild\n"
             "[backend exact]\nserver = 127.0.0.1:1\n[backend wild]\nserver = 127.0.0.1:1\n"
             "[backend rest]\nserver = 127.0.0.1:1\n", longest, longest);
    struct conf_errors errors = {0};
    struct conf *conf = conf_load_text("test", text, &errors);
    assert_non_null(conf);
    struct router *router = router_new(conf);
    uint32_t mount;
    assert_int_equal(router_find(router, 0, str_of(longest), STR("/"), &mount), 0);
    snprintf(host, sizeof host, "x.%s", longest);
    assert_int_equal(router_find(router, 0, str_of(host), STR("/"), &mount), 1);
    snprintf(host, sizeof host, ".%s", longest);
    assert_int_equal(router_find(router, 0, str_of(host), STR("/"), &mount), 2);
    memset(host, '.', sizeof host);
    for (uint32_t len = 0; len < 600; len++) {
        assert_int_equal(router_find(router, 0, (struct str){host, len}, STR("/"), &mount), 2);
    }
    memset(host, 'x', sizeof host);
    memcpy(host + sizeof host - strlen(longest), longest, strlen(longest));
    host[sizeof host - strlen(longest) - 1] = '.';
    assert_int_equal(router_find(router, 0, (struct str){host, sizeof host}, STR("/"), &mount), 1);
    router_free(router);
    conf_free(conf);
    conf_errors_fini(&errors);
}

/* One wildcard within the other, as deep as a line can say: the longest that has the path. */
static void wildcards_in_wildcards(void **state) {
    (void)state;
    enum { DEEP = 90 };
    static char text[DEEP * 300 + 1000];
    char host[2 * DEEP + 1] = "";
    size_t at = (size_t)snprintf(text, sizeof text, "[listener l]\nbind = 127.0.0.1:81\n"
                                 "[backend b]\nserver = 127.0.0.1:1\n");
    for (uint32_t i = 0; i < DEEP; i++) {
        strcat(host, i > 0 ? ".a" : "a");
        at += (size_t)snprintf(text + at, sizeof text - at, "[backend b%u]\nserver = 127.0.0.1:1\n"
                               "[route r%u]\nhost = *.%s\nbackend = b%u\npath = /%u/\n", i, i,
                               host, i, i);
    }
    struct conf_errors errors = {0};
    struct conf *conf = conf_load_text("test", text, &errors);
    assert_non_null(conf);
    struct router *router = router_new(conf);
    char asked[2 * DEEP + 10], path[10];
    snprintf(asked, sizeof asked, "x.%s", host);
    for (uint32_t i = 0; i < DEEP; i++) {
        uint32_t mount;
        snprintf(path, sizeof path, "/%u/", i);
        assert_int_equal(router_find(router, 0, str_of(asked), str_of(path), &mount), i + 1);
    }
    router_free(router);
    conf_free(conf);
    conf_errors_fini(&errors);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(first_of_the_best),
                                       cmocka_unit_test(as_their_order_says),
                                       cmocka_unit_test(the_longest_names),
                                       cmocka_unit_test(wildcards_in_wildcards)};
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
