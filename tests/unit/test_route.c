/* From host, path and listener to a backend. */
#include <setjmp.h>
#include <stdarg.h>
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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(first_of_the_best)};
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
