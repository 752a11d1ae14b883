/* conf: the settings that come out of a file, a text and flags. */
#include "conf_lab.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The example that users are shown, as it stands in the issue tracker and the README. */
static const char example[] =
    "[global]\n"
    "workers = auto\n"
    "user = gyre                     ; when started as root\n"
    "access_log = off                ; off | stderr | stdout | FILE\n"
    "drain_timeout = 30s\n"
    "trusted_proxies = 127.0.0.1/32, ::1/128      ; default: none\n"
    "\n"
    "[listener web]\n"
    "bind = 0.0.0.0:80, [::]:80      ; one or several\n"
    "redirect_https = yes            ; 308 to https; or a port number. Not beside a backend\n"
    "\n"
    "[listener secure]\n"
    "bind = 0.0.0.0:443\n"
    "certificate = /etc/gyre/example.pem      ; PEM chain: TLS is on. May repeat\n"
    "key = /etc/gyre/example.key              ; not needed where the PEM holds the key\n"
    "backend = app                   ; where requests go that no route takes\n"
    "head_timeout = 10s              ; the whole request head (and the TLS handshake)\n"
    "body_timeout = 30s              ; between two reads of a body\n"
    "idle_timeout = 75s              ; a kept-alive connection between requests\n"
    "send_timeout = 60s              ; between two writes to a client that reads slowly\n"
    "tunnel_timeout = 1h             ; a WebSocket with nothing either way\n"
    "max_head = 32k\n"
    "max_headers = 100\n"
    "max_body = 1g\n"
    "max_connections = 100000        ; of the whole process\n"
    "\n"
    "[route live]\n"
    "host = example.org, *.example.org\n"
    "path = /ws/\n"
    "listener = secure               ; default: all\n"
    "backend = live\n"
    "\n"
    "[backend app]\n"
    "server = unix:/run/app.sock\n"
    "server = 127.0.0.1:8001 weight=2\n"
    "balance = least_requests\n"
    "connect_timeout = 2s\n"
    "response_timeout = 60s          ; to the first byte of the response\n"
    "stall_timeout = 60s             ; between two bytes of it\n"
    "keepalive = 64                  ; idle connections kept per server, in the whole process\n"
    "keepalive_timeout = 1500ms      ; below gunicorn's 2s\n"
    "\n"
    "[backend live]\n"
    "server = 127.0.0.1:8002\n";

static void assert_addr(const struct addr *addr, const char *text) {
    char p[ADDR_TEXT_MAX];
    assert_string_equal(addr_print(addr, p), text);
}

static void test_example(void **state) {
    (void)state;
    struct conf *conf = lab_good(example);
    assert_string_equal(conf->path, "t");
    assert_int_equal(conf->global.line, 1);
    assert_int_equal(conf->global.workers, 0);
    assert_string_equal(conf->global.user, "gyre");
    assert_int_equal(conf->global.user_line, 3);
    assert_string_equal(conf->global.access_log, "off");
    assert_int_equal(conf->global.access_log_line, 4);
    assert_int_equal(conf->global.drain_timeout_ms, 30000);
    assert_int_equal(conf->global.trusted_proxy_count, 2);
    assert_int_equal(conf->global.trusted_proxies[1].family, AF_INET6);
    assert_int_equal(conf->global.trusted_proxies[1].bits, 128);

    assert_int_equal(conf->listener_count, 2);
    const struct conf_listener *l = &conf->listeners[0];
    assert_string_equal(l->name, "web");
    assert_int_equal(l->line, 8);
    assert_int_equal(l->bind_count, 2);
    assert_addr(&l->binds[0], "0.0.0.0:80");
    assert_addr(&l->binds[1], "[::]:80");
    assert_int_equal(l->bind_lines[1], 9);
    assert_int_equal(l->redirect_https, 443);
    assert_null(l->backend);
    assert_int_equal(l->backend_index, -1);
    l = &conf->listeners[1];
    assert_int_equal(l->redirect_https, 0);
    assert_int_equal(l->certificate.count, 1);
    assert_string_equal(l->certificate.items[0], "/etc/gyre/example.pem");
    assert_int_equal(l->certificate.lines[0], 14);
    assert_string_equal(l->key.items[0], "/etc/gyre/example.key");
    assert_string_equal(l->backend, "app");
    assert_int_equal(l->backend_index, 0);
    assert_int_equal(l->tunnel_timeout_ms, 3600000);
    assert_int_equal(l->max_head, 32768);
    assert_int_equal(l->max_headers, 100);
    assert_int_equal(l->max_body, 1ll << 30);
    assert_int_equal(l->max_connections, 100000);

    assert_int_equal(conf->route_count, 1);
    const struct conf_route *r = &conf->routes[0];
    assert_string_equal(r->name, "live");
    assert_int_equal(r->host.count, 2);
    assert_string_equal(r->host.items[1], "*.example.org");
    assert_string_equal(r->path, "/ws/");
    assert_string_equal(r->listener, "secure");
    assert_int_equal(r->listener_index, 1);
    assert_int_equal(r->backend_index, 1);

    assert_int_equal(conf->backend_count, 2);
    const struct conf_backend *b = &conf->backends[0];
    assert_int_equal(b->server_count, 2);
    assert_addr(&b->servers[0].addr, "unix:/run/app.sock");
    assert_int_equal(b->servers[0].weight, 1);
    assert_int_equal(b->servers[0].line, 34);
    assert_addr(&b->servers[1].addr, "127.0.0.1:8001");
    assert_int_equal(b->servers[1].weight, 2);
    assert_int_equal(b->balance, CONF_BALANCE_LEAST_REQUESTS);
    assert_int_equal(b->keepalive, 64);
    assert_int_equal(b->keepalive_timeout_ms, 1500);
    assert_int_equal(conf->backends[1].server_count, 1);
    conf_free(conf);
}

/* The smallest file has the values that the example spells out. */
static void test_defaults(void **state) {
    (void)state;
    struct conf *conf = lab_good(LAB_LISTENER "[route r]\nbackend = app\n" LAB_BACKEND);
    const struct conf_listener *l = &conf->listeners[0];
    const struct conf_backend *b = &conf->backends[0];
    assert_int_equal(conf->global.line, 0);
    assert_int_equal(conf->global.workers, 0);
    assert_null(conf->global.user);
    assert_int_equal(conf->global.user_line, 0);
    assert_string_equal(conf->global.access_log, "off");
    assert_int_equal(conf->global.drain_timeout_ms, 30000);
    assert_int_equal(conf->global.trusted_proxy_count, 0);
    assert_int_equal(l->certificate.count + l->key.count, 0);
    assert_int_equal(l->redirect_https, 0);
    assert_int_equal(l->head_timeout_ms, 10000);
    assert_int_equal(l->body_timeout_ms, 30000);
    assert_int_equal(l->idle_timeout_ms, 75000);
    assert_int_equal(l->send_timeout_ms, 60000);
    assert_int_equal(l->tunnel_timeout_ms, 3600000);
    assert_int_equal(l->max_head, 32768);
    assert_int_equal(l->max_headers, 100);
    assert_int_equal(l->max_body, 1ll << 30);
    assert_int_equal(l->max_connections, 100000);
    assert_int_equal(conf->routes[0].host.count, 0);
    assert_string_equal(conf->routes[0].path, "/");
    assert_null(conf->routes[0].listener);
    assert_int_equal(conf->routes[0].listener_index, -1);
    assert_int_equal(b->balance, CONF_BALANCE_LEAST_REQUESTS);
    assert_int_equal(b->connect_timeout_ms, 2000);
    assert_int_equal(b->response_timeout_ms, 60000);
    assert_int_equal(b->stall_timeout_ms, 60000);
    assert_int_equal(b->keepalive, 64);
    assert_int_equal(b->keepalive_timeout_ms, 1500);
    assert_int_equal(b->weight, 1);
    assert_int_equal(b->servers[0].weight, 1);
    assert_int_equal(b->retries, 1);
    assert_true(b->retry_on.connect && b->retry_on.reset && !b->retry_on.timeout);
    assert_false(conf_has_statuses(&b->retry_on.statuses));
    assert_int_equal(conf->global.retry_budget, 20);
    conf_free(conf);
}

static void test_faults(void **state) {
    (void)state;
    struct conf *conf = lab_line_good("backend", "retry_on = timeout, 5xx, 429, 401-403");
    const struct conf_faults *on = &conf->backends[0].retry_on;
    assert_true(!on->connect && !on->reset && on->timeout);
    assert_true(conf_has_status(&on->statuses, 500) && conf_has_status(&on->statuses, 599));
    assert_true(conf_has_status(&on->statuses, 429) && conf_has_status(&on->statuses, 402));
    assert_false(conf_has_status(&on->statuses, 499) || conf_has_status(&on->statuses, 404));
    conf_free(conf);
    conf = lab_line_good("backend", "retry_on = no");
    on = &conf->backends[0].retry_on;
    assert_false(on->connect || on->reset || on->timeout || conf_has_statuses(&on->statuses));
    conf_free(conf);
    conf = lab_line_good("global", "retry_budget = 0%");
    assert_int_equal(conf->global.retry_budget, 0);
    conf_free(conf);
}

static uint64_t number_of(const char *line) {
    struct conf *conf = lab_line_good("listener", line);
    const struct conf_listener *l = &conf->listeners[0];
    uint64_t value = strncmp(line, "idle_timeout", 12) == 0   ? l->idle_timeout_ms
                     : strncmp(line, "max_body", 8) == 0      ? l->max_body
                     : strncmp(line, "max_headers", 11) == 0  ? l->max_headers
                     : strncmp(line, "redirect_https", 14) == 0 ? l->redirect_https
                                                              : UINT64_MAX;
    conf_free(conf);
    return value;
}

static void test_numbers(void **state) {
    (void)state;
    assert_int_equal(number_of("idle_timeout = 1ms"), 1);
    assert_int_equal(number_of("idle_timeout = 007s"), 7000);
    assert_int_equal(number_of("idle_timeout = 90m"), 90 * 60000);
    assert_int_equal(number_of("idle_timeout=24h"), 86400000);
    assert_int_equal(number_of("idle_timeout = 1d"), 86400000);
    assert_int_equal(number_of("idle_timeout = 86400000ms"), 86400000);
    assert_int_equal(number_of("max_body = 0"), 0);
    assert_int_equal(number_of("max_body = 0g"), 0);
    assert_int_equal(number_of("max_body = 1025"), 1025);
    assert_int_equal(number_of("max_body = 3k"), 3072);
    assert_int_equal(number_of("max_body = 5m"), 5 << 20);
    assert_int_equal(number_of("max_body = 1024g"), 1ll << 40);
    assert_int_equal(number_of("max_headers = 1"), 1);
    assert_int_equal(number_of("max_headers = 1000"), 1000);
    assert_int_equal(number_of("redirect_https = no"), 0);
    struct conf *conf = lab_good("[global]\nworkers = 1024\ndrain_timeout = 0\n"
                                 "access_log = ./a.log\n[listener a]\nbind = :80\n"
                                 "redirect_https = 8443\n");
    assert_int_equal(conf->global.workers, 1024);
    assert_int_equal(conf->global.drain_timeout_ms, 0);
    assert_string_equal(conf->global.access_log, "./a.log");
    assert_int_equal(conf->listeners[0].redirect_https, 8443);
    conf_free(conf);
    conf = lab_line_good("backend", "balance = round_robin");
    assert_int_equal(conf->backends[0].balance, CONF_BALANCE_ROUND_ROBIN);
    conf_free(conf);
}

/* A list key may hold commas, repeat, and do both. */
static void test_lists(void **state) {
    (void)state;
    struct conf *conf = lab_good(
        "[listener web]\nbind = :80\nbind = 127.0.0.1:81,127.0.0.1:82 , 127.0.0.1:83,\n"
        "certificate = a.pem\ncertificate = b.pem\nkey = a.key\nbackend = app\n"
        "[route r]\nhost = A.Example, *.B.example\nhost = [::1], 127.0.0.1\nbackend = app\n"
        "[backend app]\nserver = 127.0.0.1:1 weight=3, 127.0.0.1:2\nweight = 7\n"
        "server = unix:/a\tweight=1\n");
    const struct conf_listener *l = &conf->listeners[0];
    assert_int_equal(l->bind_count, 4);
    assert_true(l->binds[0].dual);
    assert_int_equal(l->bind_lines[0], 2);
    assert_int_equal(l->bind_lines[3], 3);
    assert_int_equal(l->certificate.count, 2);
    assert_int_equal(l->certificate.lines[1], 5);
    assert_int_equal(l->key.count, 1);
    const struct conf_list *host = &conf->routes[0].host;
    assert_int_equal(host->count, 4);
    assert_string_equal(host->items[0], "a.example");
    assert_string_equal(host->items[1], "*.b.example");
    assert_string_equal(host->items[2], "[::1]");
    assert_int_equal(host->lines[3], 10);
    const struct conf_backend *b = &conf->backends[0];
    assert_int_equal(b->server_count, 3);
    assert_int_equal(b->weight, 7);
    assert_int_equal(b->servers[0].weight, 3);
    assert_int_equal(b->servers[1].weight, 7);   /* its backend's, which stands below it */
    assert_int_equal(b->servers[2].weight, 1);
    conf_free(conf);
}

/* Addresses that look alike and do not clash. */
static void test_binds(void **state) {
    (void)state;
    conf_free(lab_good("[listener a]\nbind = 0.0.0.0:80, [::]:80, :81\nbackend = app\n"
                       "[listener b]\nbind = 127.0.0.1:82, 127.0.0.2:82, [::1]:82\n"
                       "bind = unix:/a, unix:/b\nbackend = app\n" LAB_BACKEND));
}

/* A listener without a backend of its own is reached by a route for all, or for it. */
static void test_reached(void **state) {
    (void)state;
    conf_free(lab_good("[listener web]\nbind = :80\n[route r]\nbackend = app\n" LAB_BACKEND));
    conf_free(lab_good("[listener web]\nbind = :80\n[route r]\nlistener = web\nbackend = app\n"
                       LAB_BACKEND));
    /* The same host and path on two listeners, and the same host on two paths. */
    conf_free(lab_good("[listener a]\nbind = :80\n[listener b]\nbind = :81\n"
                       "[route r]\nhost = h\nlistener = a\nbackend = app\n"
                       "[route s]\nhost = h\nlistener = b\nbackend = app\n"
                       "[route t]\nhost = h\npath = /t\nbackend = app\n"
                       "[route u]\nhost = h\nbackend = app\n" LAB_BACKEND));
}

static void test_flags(void **state) {
    (void)state;
    const char *bind[] = {"127.0.0.1:8080", ":8443"};
    const char *backend[] = {"127.0.0.1:1 weight=2", " unix:/b "};
    const char *certificate[] = {"a.pem"}, *key[] = {"a.key"};
    struct conf_flags flags = {bind, backend, certificate, key, 2, 2, 1, 1};
    struct conf_errors errors = {0};
    struct conf *conf = conf_of_flags(&flags, &errors);
    assert_non_null(conf);
    assert_int_equal(errors.count, 0);
    assert_string_equal(conf->path, "command line");
    assert_int_equal(conf->listener_count, 1);
    assert_int_equal(conf->backend_count, 1);
    assert_int_equal(conf->route_count, 0);
    assert_string_equal(conf->listeners[0].name, "main");
    assert_int_equal(conf->listeners[0].bind_count, 2);
    assert_int_equal(conf->listeners[0].backend_index, 0);
    assert_string_equal(conf->listeners[0].certificate.items[0], "a.pem");
    assert_int_equal(conf->listeners[0].certificate.lines[0], 0);
    assert_string_equal(conf->listeners[0].key.items[0], "a.key");
    assert_int_equal(conf->listeners[0].head_timeout_ms, 10000);
    assert_string_equal(conf->backends[0].name, "main");
    assert_int_equal(conf->backends[0].servers[0].weight, 2);
    assert_int_equal(conf->backends[0].servers[1].weight, 1);
    assert_addr(&conf->backends[0].servers[1].addr, "unix:/b");
    conf_free(conf);
}

static void test_file(void **state) {
    (void)state;
    char path[] = "/tmp/gyre-test-conf-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    /* More than one read, and no newline at the end. */
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    for (int i = 0; i < 3000; i++) {
        fprintf(file, "# line %d of a file that does not fit into one buffer\n", i);
    }
    fputs(LAB_LISTENER "[backend app]\nserver = 127.0.0.1:8001", file);
    fclose(file);
    struct conf_errors errors = {0};
    struct conf *conf = conf_load(path, &errors);
    assert_non_null(conf);
    assert_string_equal(conf->path, path);
    assert_int_equal(conf->backends[0].servers[0].line, 3005);
    conf_free(conf);

    /* A file of 4 MiB and more is none of ours. */
    assert_int_equal(truncate(path, (4 << 20) + 1), 0);
    assert_null(conf_load(path, &errors));
    assert_int_equal(errors.count, 1);
    assert_non_null(strstr(errors.text[0], ":1: the file can not be read: File too large"));
    conf_errors_fini(&errors);
    unlink(path);

    assert_null(conf_load("/nonexistent/gyre.ini", &errors));
    assert_null(conf_load("/", &errors));
    assert_int_equal(errors.count, 2);
    assert_string_equal(errors.text[0], "/nonexistent/gyre.ini:1: the file can not be read: "
                                        "No such file or directory");
    assert_string_equal(errors.text[1], "/:1: the file can not be read: Is a directory");
    conf_errors_fini(&errors);
    conf_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_lists),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_binds),   cmocka_unit_test(test_reached),
        cmocka_unit_test(test_flags),   cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
