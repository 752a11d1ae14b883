/* conf: every error with its exact words. */
#include "conf_lab.h"

#include <stdio.h>

static void test_sections(void **state) {
    (void)state;
    lab_bad("[lisener web]\nbind = x\n" LAB_LISTENER LAB_BACKEND,
            "t:1: unknown section [lisener web]; did you mean listener?\n");
    lab_bad("[server x]\n[]\n" LAB_LISTENER LAB_BACKEND,
            "t:1: unknown section [server x]; there are [global], [listener NAME], [route NAME] "
            "and [backend NAME]\n"
            "t:2: unknown section []; there are [global], [listener NAME], [route NAME] and "
            "[backend NAME]\n");
    lab_bad("[listener]\nbind = :80\nbackend = app\n[global x]\n" LAB_BACKEND,
            "t:1: [listener] has a name; write [listener NAME]\n"
            "t:4: [global] has no name; write [global]\n");
    lab_bad("[listener a b]\nbind = :80\nbackend = app\n" LAB_BACKEND,
            "t:1: a section's name is made of letters, digits, _, - and .\n");
    lab_bad("[listener web\nbind = :80\n" LAB_LISTENER LAB_BACKEND,
            "t:1: the ] that ends a section's header is missing\n");
    lab_bad("[listener web] bind = :80\nbind = :80\nbackend = app\n" LAB_BACKEND,
            "t:1: behind a section's header stands nothing but a comment\n");
    lab_bad("[listener aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nbind = :80\nbackend = app\n"
            LAB_BACKEND,
            "t:1: the name of a section is too long; between [ and ] stand at most 49 bytes\n");
    conf_free(lab_good("[ listener\taaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ] ; 49 bytes\n"
                       "bind = :80\nbackend = app\n[backend app]#\nserver = 127.0.0.1:1\n"));
    lab_bad(LAB_LISTENER LAB_BACKEND LAB_BACKEND "[global]\n[listener web]\nbind = :81\n[global]\n"
            "backend = app\n",
            "t:6: duplicate section [backend app]; it stands in line 4 already\n"
            "t:9: duplicate section [listener web]; it stands in line 1 already\n"
            "t:9: [listener web] has no backend, no redirect_https and no route that reaches it; "
            "write backend = NAME\n"
            "t:11: duplicate section [global]; it stands in line 8 already\n"
            "t:12: unknown key backend in [global]; it is a key of a listener section\n");
}

static void test_keys(void **state) {
    (void)state;
    lab_bad("workers = 2\n" LAB_LISTENER LAB_BACKEND,
            "t:1: a key stands in a section: [global], [listener NAME], [route NAME] or "
            "[backend NAME]\n");
    lab_line_bad("global", "workes = 2", "unknown key workes in [global]; did you mean workers?");
    lab_line_bad("listener", "haed_timeout = 2s",
                 "unknown key haed_timeout in [listener web]; did you mean head_timeout?");
    lab_line_bad("listener", "keepalive = 2",
                 "unknown key keepalive in [listener web]; it is a key of a backend section");
    lab_line_bad("listener", "colour = red",
                 "unknown key colour in [listener web]; gyre --doc keys lists what there is");
    lab_line_bad("listener", "x = red",
                 "unknown key x in [listener web]; gyre --doc keys lists what there is");
    lab_line_bad("listener", "max_headmax_headmax_headmax_headmax_headmax_headmax_headmax_headm = 1",
                 "unknown key max_headmax_headmax_headmax_headmax_headmax_headmax_headmax_headm in "
                 "[listener web]; gyre --doc keys lists what there is");
    lab_line_bad("listener", "max_head", "neither [section] nor key = value");
    lab_line_bad("listener", "max_head 127.0.0.1:80", "neither [section] nor key = value");
    lab_line_bad("listener", "max_head ;= 32k", "neither [section] nor key = value");
    lab_line_bad("listener", "= 32k", "no key stands before the =");
    lab_line_bad("listener", "max_head =", "max_head has no value");
    lab_line_bad("listener", "max_head = ; 32k", "max_head has no value");
    lab_line_bad("route", "host = , ,", "host has no value");
    lab_line_bad("listener", "max_head = 32k # more",
                 "max_head = 32k # more: a comment behind a value begins with ; not with #");
    lab_bad("[listener web]\nbind = :80\nbackend = app\nmax_head = 1k\nmax_head = 2k\n"
            "max_head = x\n" LAB_BACKEND,
            "t:5: duplicate key max_head; it stands in line 4 already\n"
            "t:6: duplicate key max_head; it stands in line 4 already\n");
}

static void test_numbers(void **state) {
    (void)state;
    lab_line_bad("global", "workers = 0",
                 "workers = 0: write auto or a number from 1 to 1024");
    lab_line_bad("global", "workers = many",
                 "workers = many: write auto or a number from 1 to 1024");
    lab_line_bad("global", "workers = 1025",
                 "workers = 1025: write auto or a number from 1 to 1024");
    lab_line_bad("listener", "max_headers = -1",
                 "max_headers = -1: write a number from 1 to 1000");
    lab_line_bad("listener", "max_headers = 99999999999999999999",
                 "max_headers = 99999999999999999999: write a number from 1 to 1000");
    lab_line_bad("listener", "redirect_https = on",
                 "redirect_https = on: write yes, no, or the port to name, from 1 to 65535");
    lab_line_bad("listener", "redirect_https = 65536",
                 "redirect_https = 65536: write yes, no, or the port to name, from 1 to 65535");
    lab_line_bad("backend", "weight = 0", "weight = 0: write a number from 1 to 1000");
    lab_line_bad("backend", "balance = leastconn",
                 "balance = leastconn: write round_robin, least_requests, random or hash");
    lab_line_bad("backend", "check = health",
                 "check = health: write no, tcp, or a path as in /health");
    lab_line_bad("backend", "check = /a b", "check = /a b: write no, tcp, or a path as in /health");
    lab_line_bad("backend", "check_rise = 0", "check_rise = 0: write a number from 1 to 1000");
    static const char *const statuses[] = {"ok", "99", "200-", "300-200", "200, 600", "2xx", "-"};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        char line[64], want[128];
        snprintf(line, sizeof line, "check_expect = %s", statuses[i]);
        snprintf(want, sizeof want, "%s: write statuses from 100 to 599, as in 200-299, 304", line);
        lab_line_bad("backend", line, want);
    }
    static const char *const faults[] = {"yes", "no, reset", "refused", "resets", "5XX", "6xx", "399",
                                         "302-502"};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        char line[64], want[160];
        snprintf(line, sizeof line, "eject = %s", faults[i]);
        snprintf(want, sizeof want, "%s: write no, or a list of connect, reset, timeout, 5xx and "
                 "statuses from 400 to 599", line);
        lab_line_bad("backend", line, want);
    }
    lab_line_bad("backend", "retry_on = refused", "retry_on = refused: write no, or a list of "
                 "connect, reset, timeout, 5xx and statuses from 400 to 599");
    static const char *const percents[] = {"20", "101%", "%", "-1%", "2.5%", "20 %"};
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
        char line[64], want[128];
        snprintf(line, sizeof line, "retry_budget = %s", percents[i]);
        snprintf(want, sizeof want, "%s: write a percentage from 0%% to 100%%, as in 20%%", line);
        lab_line_bad("global", line, want);
    }
    lab_line_bad("backend", "retries = 11", "retries = 11: write a number from 0 to 10");
    const char *hash_on = ": write client, path, header:NAME or cookie:NAME";
    static const char *const bad[] = {"ip", "header:", "header", "cookie:a b", "cookie:a;b", "Path"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char line[64], want[128];
        snprintf(line, sizeof line, "hash_on = %s", bad[i]);
        snprintf(want, sizeof want, "%s%s", line, hash_on);
        lab_line_bad("backend", line, want);
    }
}

static void test_sticky(void **state) {
    (void)state;
    lab_line_bad("backend", "sticky = yes", "sticky = yes: write no, cookie or socketio");
    lab_line_bad("backend", "sticky = cookie",
                 "sticky = cookie needs a secret to sign with; make one with `(umask 077; head -c "
                 "32 /dev/urandom >/etc/gyre/secret)` and write secret_file = /etc/gyre/secret in "
                 "[global]");
    static const char *const bad[] = {"a b", "a=b", "a,b", "\"a\"", "caf\xc3\xa9", "a/b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char line[64], want[256];
        snprintf(line, sizeof line, "sticky_name = %s", bad[i]);
        snprintf(want, sizeof want, "%s: write a cookie's name: at most 100 letters, digits or any "
                                    "of !#$%%&'*+-.^_`|~", line);
        lab_line_bad("backend", line, want);
    }
    conf_free(lab_line_good("backend", "sticky = socketio"));
    conf_free(lab_good("[backend app]\nserver = 127.0.0.1:1\nsticky = cookie\n" LAB_LISTENER
                       "[global]\nsecret_file = secret\n"));
}

static void test_units(void **state) {
    (void)state;
    const char *time = ": write a time, as in 10s; its units are ms, s, m, h and d";
    const char *size = ": write a size in bytes, or as in 32k; its units are k, m and g";
    static const char *const times[] = {"ten", "-1s", "1.5s", "1m30s", "10 s", "10S", "10min",
                                        "s", "10sec"};
    static const char *const sizes[] = {"big", "32kb", "1.5k", "32 k", "32K", "k", "-1"};
    char line[128], expected[256];
    for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
        snprintf(line, sizeof(line), "idle_timeout = %s", times[i]);
        snprintf(expected, sizeof(expected), "%s%s", line, time);
        lab_line_bad("listener", line, expected);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        snprintf(line, sizeof(line), "max_head = %s", sizes[i]);
        snprintf(expected, sizeof(expected), "%s%s", line, size);
        lab_line_bad("listener", line, expected);
    }
    lab_line_bad("listener", "idle_timeout = 75",
                 "idle_timeout = 75: a time has a unit; write 75s or 75ms");
    lab_line_bad("listener", "idle_timeout = 0",
                 "idle_timeout = 0: write a time from 1ms to 1d");
    lab_line_bad("listener", "idle_timeout = 0s",
                 "idle_timeout = 0s: write a time from 1ms to 1d");
    lab_line_bad("listener", "idle_timeout = 25h",
                 "idle_timeout = 25h: write a time from 1ms to 1d");
    lab_line_bad("listener", "idle_timeout = 18446744073709551615d",
                 "idle_timeout = 18446744073709551615d: write a time from 1ms to 1d");
    lab_line_bad("global", "drain_timeout = 2d",
                 "drain_timeout = 2d: write a time from 0 to 1d");
    lab_line_bad("listener", "max_head = 511", "max_head = 511: write a size from 512 to 1m");
    lab_line_bad("listener", "max_head = 1025k",
                 "max_head = 1025k: write a size from 512 to 1m");
    lab_line_bad("listener", "max_body = 99999999999999999999g",
                 "max_body = 99999999999999999999g: write a size from 0 to 1024g");
}

static void test_words(void **state) {
    (void)state;
    lab_line_bad("global", "user = a b",
                 "user = a b: write one name of at most 64 bytes, without blanks");
    lab_line_bad("global", "access_log = of",
                 "access_log = of: write off, stderr, stdout, or a file's path with a / in it");
    lab_line_bad("route", "path = ws/", "path = ws/: a path begins with /");
    lab_line_bad("route", "path = /ws/*",
                 "path = /ws/*: a path is what requests begin with; leave the * out");
    lab_line_bad("route", "path = /a?b", "path = /a?b: a path holds no ?, # or blank");
    lab_line_bad("route", "path = /a b", "path = /a b: a path holds no ?, # or blank");
    lab_line_bad("global", "trusted_proxies = 10.0.0.0/8, 10.0.0.1/8",
                 "trusted_proxies = 10.0.0.1/8: the bits behind the prefix must be 0, as in "
                 "10.0.0.0/8");
    lab_bad("[global]\ntrusted_proxies = a, ::1, /\n" LAB_LISTENER LAB_BACKEND,
            "t:2: trusted_proxies = a: write an address, a block like 10.0.0.0/8 or fd00::/8, or "
            "unix\n"
            "t:2: trusted_proxies = /: write an address, a block like 10.0.0.0/8 or fd00::/8, or "
            "unix\n");
}

static void test_hosts(void **state) {
    (void)state;
    const char *labels =
        "a host is labels of 1 to 63 letters, digits, - or _ with a dot between them";
    const char *wild = "a wildcard is the whole first label, as in *.example.org";
    const struct {
        const char *host, *why;
    } rows[] = {
        {"*", "for every host leave the key out"},
        {"*.", wild},
        {"*example.org", wild},
        {"a.*.org", wild},
        {"*.*.org", wild},
        {"example.org:443", "a host stands without port"},
        {"b\xc3\xbc" "cher.example", "write a name beyond ASCII in its xn-- form"},
        {".example.org", labels},
        {"example..org", labels},
        {"example.org.", labels},
        {"*..org", labels},
        {"exa mple", labels},
        {"a/b", labels},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.org", labels},
        {"[", "between [ and ] stands an IPv6 address"},
        {"[::1", "between [ and ] stands an IPv6 address"},
        {"[::1]:80", "between [ and ] stands an IPv6 address"},
        {"[127.0.0.1]", "between [ and ] stands an IPv6 address"},
    };
    char line[256], expected[512];
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        snprintf(line, sizeof(line), "host = %s", rows[i].host);
        snprintf(expected, sizeof(expected), "host = %s: %s", rows[i].host, rows[i].why);
        lab_line_bad("route", line, expected);
    }
    lab_line_bad("route", "host = a.example, A.Example",
                 "host = a.example: it stands here twice");
    lab_bad("[route r]\nhost = a.example\nbackend = app\nhost = b.example, a.example\n"
            LAB_LISTENER LAB_BACKEND,
            "t:4: host = a.example: it stands in line 2 already\n");
}

static void test_listeners(void **state) {
    (void)state;
    lab_bad("[listener web]\nbackend = app\n" LAB_BACKEND,
            "t:1: [listener web] has no bind; write bind = :80\n");
    lab_bad("[listener web]\nbind = :80\n" LAB_BACKEND,
            "t:1: [listener web] has no backend, no redirect_https and no route that reaches it; "
            "write backend = NAME\n");
    lab_bad(LAB_LISTENER "[listener other]\nbind = :81\n[route r]\nlistener = web\nbackend = app\n"
            LAB_BACKEND,
            "t:4: [listener other] has no backend, no redirect_https and no route that reaches it; "
            "write backend = NAME\n");
    lab_bad("[listener web]\nbind = :80\nredirect_https = yes\nbackend = app\n" LAB_BACKEND,
            "t:4: redirect_https beside backend: a listener redirects or serves, drop one of "
            "them\n");
    lab_bad("[listener web]\nbind = :80\ncertificate = a\nredirect_https = 8443\n",
            "t:4: redirect_https beside certificate: what comes over TLS needs no redirect to "
            "https, drop one of them\n");
    lab_line_bad("listener", "key = a.key",
                 "key without certificate: write certificate = FILE, or drop the key");
    lab_bad("[listener web]\nbind = :80\nbackend = app\ncertificate = a\nkey = a, b\nkey = c\n"
            LAB_BACKEND,
            "t:5: more keys (3) than certificates (1): the nth key belongs to the nth certificate\n");
    lab_bad("[listener web]\nbind = :80\nbackend = app\ncertificate = a\ncertificate = b, a\n"
            LAB_BACKEND,
            "t:5: certificate = a: it stands in line 4 already\n");
    lab_line_bad("listener", "bind = :80, 80",
                 "bind = 80: write HOST:PORT, [V6]:PORT, :PORT or unix:PATH");
    lab_line_bad("listener", "bind = *:80", "bind = *:80: for every address write :PORT");
    lab_bad("# nothing\n\n", "t:2: there is no listener; write [listener NAME] and bind = :80 "
            "below it\n");
    lab_bad("", "t:1: there is no listener; write [listener NAME] and bind = :80 below it\n");
}

static void test_binds(void **state) {
    (void)state;
    lab_line_bad("listener", "bind = 127.0.0.1:80, 127.0.0.1:80",
                 "bind = 127.0.0.1:80: 127.0.0.1:80 in line 2 has this address already");
    lab_bad("[listener a]\nbind = :80\nbind = [::1]:81, unix:/a\nbackend = app\n"
            "[listener b]\nbind = 0.0.0.0:80\nbind = [::]:81\nbind = unix:/a\nbackend = app\n"
            "[listener c]\nbind = 10.0.0.1:81\nbind = 0.0.0.0:81\nbind = [::]:80\nbackend = app\n"
            LAB_BACKEND,
            "t:6: bind = 0.0.0.0:80: :80 in line 2 has this address already\n"
            "t:7: bind = [::]:81: [::1]:81 in line 3 has this address already\n"
            "t:8: bind = unix:/a: unix:/a in line 3 has this address already\n"
            "t:12: bind = 0.0.0.0:81: 10.0.0.1:81 in line 11 has this address already\n"
            "t:13: bind = [::]:80: :80 in line 2 has this address already\n");
}

static void test_references(void **state) {
    (void)state;
    lab_bad("[listener web]\nbind = :80\nbackend = ap\n" LAB_BACKEND,
            "t:3: backend = ap: there is no [backend ap]; did you mean app?\n");
    lab_bad("[listener web]\nbind = :80\nbackend = other\n" LAB_BACKEND,
            "t:3: backend = other: there is no [backend other]\n");
    lab_bad(LAB_LISTENER "[route r]\nlistener = wbe\nbackend = aap\n" LAB_BACKEND,
            "t:5: listener = wbe: there is no [listener wbe]; did you mean web?\n"
            "t:6: backend = aap: there is no [backend aap]; did you mean app?\n");
    lab_bad(LAB_LISTENER "[route r]\n" LAB_BACKEND,
            "t:4: [route r] has no backend; write backend = app\n");
    lab_bad("[listener web]\nbind = :80\nredirect_https = yes\n[route r]\nlistener = web\n"
            "backend = app\n" LAB_BACKEND,
            "t:5: listener = web: it redirects every request to https, so that none reaches this "
            "route\n");
    /* A listener that only a route with a slip may reach is not told as well. */
    lab_bad("[listener web]\nbind = :80\n[route r]\nlistener = wbe\nbackend = app\n" LAB_BACKEND,
            "t:4: listener = wbe: there is no [listener wbe]; did you mean web?\n");
}

static void test_routes(void **state) {
    (void)state;
    lab_bad(LAB_LISTENER "[route a]\nhost = h\nbackend = app\n[route b]\nbackend = app\n"
            "host = x, H\n[route c]\nbackend = app\n[route d]\nbackend = app\npath = /\n"
            "[route e]\nbackend = app\nhost = h\n" LAB_BACKEND,
            "t:9: [route b] takes the same requests as [route a] in line 5: host h, path /\n"
            "t:12: [route d] takes the same requests as [route c] in line 10: host (any), path /\n"
            "t:17: [route e] takes the same requests as [route a] in line 5: host h, path /\n");
}

/* An app that stands somewhere, and servers that can be told. */
static void test_uwsgi(void **state) {
    (void)state;
    lab_bad(LAB_LISTENER "[backend app]\nserver = 127.0.0.1:1 slots=2, 127.0.0.1:2\n"
            "idle_holds_slot = yes\n",
            "t:5: idle_holds_slot = yes without slots: there is nothing to hold; add slots = N, the "
            "server's number of workers\n");
    lab_bad(LAB_LISTENER "[backend app]\nserver = 127.0.0.1:1 backup=yes, 127.0.0.1:2\nbackup = yes\n",
            "t:5: [backend app] has backups only: one server at least is asked first, and is none\n");
    lab_bad(LAB_LISTENER "[route r]\npath = /a\nmount = yes\nbackend = up\n"
            "[backend up]\nserver = 127.0.0.1:1\nprotocol = uwsgi\n" LAB_BACKEND,
            "t:6: mount = yes: path = /a must end in /\n");
    lab_bad(LAB_LISTENER "[route r]\npath = /a/\nmount = yes\nbackend = app\n" LAB_BACKEND,
            "t:6: mount = yes: no server of [backend app] has protocol = uwsgi, and others can not "
            "be told\n");
    lab_bad(LAB_LISTENER "[route r]\npath = /a/\nmount = yes\nbackend = aap\n" LAB_BACKEND,
            "t:7: backend = aap: there is no [backend aap]; did you mean app?\n");
    lab_bad("[listener web]\nbind = :80\nbackend = app\n"
            "[backend app]\nprotocol = uwsgi\nsend_proxy = v2\nserver = 127.0.0.1:1\n"
            "server = 127.0.0.1:2 send_proxy=no\nserver = 127.0.0.1:3 protocol=http\n",
            "t:7: send_proxy beside protocol = uwsgi: a packet says who the client is, drop one of "
            "them\n");
    lab_line_bad("backend", "protocol = fastcgi", "protocol = fastcgi: write http or uwsgi");
    struct conf *conf = lab_good(
        LAB_LISTENER "[route r]\nmount = yes\nbackend = up\n[backend up]\n"
        "server = 127.0.0.1:1, 127.0.0.1:2 protocol=uwsgi\n" LAB_BACKEND);
    assert_true(conf->routes[0].mount);
    assert_int_equal(conf->backends[0].servers[0].protocol, CONF_PROTOCOL_HTTP);
    assert_int_equal(conf->backends[0].servers[1].protocol, CONF_PROTOCOL_UWSGI);
    conf_free(conf);
}

/* What has no effect is told; what is written to be off keeps its settings. */
static void test_settings(void **state) {
    (void)state;
    static const char *const rows[][4] = {
        {"hash_on = path", "hash_on without balance", "balance = hash", "balance = random"},
        {"sticky_name = s", "sticky_name without sticky", "sticky = cookie", "sticky = no"},
        {"check_interval = 3s", "check_interval without check", "check = /health", "check = no"},
        {"check_timeout = 3s", "check_timeout without check", "check = /health", "check = no"},
        {"check_expect = 200", "check_expect without check", "check = /health", "check = no"},
        {"check_host = a", "check_host without check", "check = /health", "check = no"},
        {"check_fall = 4", "check_fall without check", "check = /health", "check = no"},
        {"check_rise = 4", "check_rise without check", "check = /health", "check = no"},
    };
    char text[256], want[256];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(want, sizeof want, "%s: it has no effect; write %s as well, or drop it",
                 rows[i][1], rows[i][2]);
        lab_line_bad("backend", rows[i][0], want);
        snprintf(text, sizeof text, LAB_LISTENER "[backend app]\nserver = 127.0.0.1:1\n%s\n%s\n",
                 rows[i][0], rows[i][3]);
        conf_free(lab_good(text));
    }
    lab_line_bad("backend", "eject_time = 301s",
                 "eject_time is 301s, and eject_time_max 300s: the longest time can not be shorter");
    lab_line_bad("backend", "eject_time_max = 9500ms",
                 "eject_time is 10s, and eject_time_max 9500ms: the longest time can not be "
                 "shorter");
    lab_bad(LAB_LISTENER "[backend app]\nserver = 127.0.0.1:1\neject_time_max = 1s\n"
            "eject_time = 2s\n",
            "t:7: eject_time is 2s, and eject_time_max 1s: the longest time can not be shorter\n");
}

static void test_servers(void **state) {
    (void)state;
    lab_bad(LAB_LISTENER "[backend app]\n",
            "t:4: [backend app] has no server; write server = 127.0.0.1:8001\n");
    lab_line_bad("backend", "server = 127.0.0.1",
                 "server = 127.0.0.1: write HOST:PORT, [V6]:PORT, :PORT or unix:PATH");
    lab_line_bad("backend", "server = :8001",
                 "server = :8001: a server has a host, as in 127.0.0.1:8001");
    lab_line_bad("backend", "server = 0.0.0.0:8001 weight=2",
                 "server = 0.0.0.0:8001 weight=2: a server has a host, as in 127.0.0.1:8001");
    lab_line_bad("backend", "server = 127.0.0.1:1, 127.0.0.1:1 weight=2",
                 "server = 127.0.0.1:1 weight=2: it stands here twice");
    lab_bad(LAB_LISTENER "[backend app]\nserver = unix:/a\nserver = unix:/b\nserver = unix:/a\n",
            "t:7: server = unix:/a: it stands in line 5 already\n");
    lab_line_bad("backend", "server = 127.0.0.1:1 weight=0",
                 "weight = 0: write a number from 1 to 1000");
    lab_line_bad("backend", "server = 127.0.0.1:1 wieght=2",
                 "server = 127.0.0.1:1 wieght=2: unknown option wieght; did you mean weight?");
    lab_line_bad("backend", "server = 127.0.0.1:1 standby=1",
                 "server = 127.0.0.1:1 standby=1: unknown option standby; there is slots= idle_holds_slot= "
                 "protocol= weight= backup= addresses= send_proxy=");
    lab_line_bad("backend", "server = 127.0.0.1:1 balance=x",
                 "server = 127.0.0.1:1 balance=x: unknown option balance; there is slots= idle_holds_slot= "
                 "protocol= weight= backup= addresses= send_proxy=");
    lab_line_bad("backend", "server = 127.0.0.1:1 weight=1 weight=1",
                 "server = 127.0.0.1:1 weight=1 weight=1: weight stands twice");
    lab_bad(LAB_LISTENER "[backend app]\nserver = app:1 weight=2\nserver = App:1\n",
            "t:6: server = App:1: it stands in line 5 already\n");
    lab_line_bad("backend", "server = a..b:1",
                 "server = a..b:1: a host is labels of 1 to 63 letters, digits, - or _ with a dot "
                 "between them");
    lab_line_bad("backend", "server = app:1 addresses=501",
                 "addresses = 501: write a number from 1 to 500");
    static const char *const numbers[] = {"127.0.0.1:1", "[::1]:1", "unix:/a", "localhost:1"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char given[64];
        snprintf(given, sizeof given, "server = %s addresses=4", numbers[i]);
        lab_line_bad("backend", given, "addresses=4 behind an address that is no name: there is "
                                       "nothing to look up, drop it");
    }
    conf_free(lab_line_good("backend", "server = app:1 addresses=4"));
    conf_free(lab_line_good("backend", "addresses = 4"));   /* of those that are names */
    lab_line_bad("global", "resolver = ns1:53",
                 "resolver = ns1:53: a name server has a numeric address, as in 127.0.0.1:53");
    lab_line_bad("global", "resolver = unix:/ns",
                 "resolver = unix:/ns: a name server has a numeric address, as in 127.0.0.1:53");
    lab_line_bad("global", "resolver = 127.0.0.1",
                 "resolver = 127.0.0.1: write HOST:PORT, [V6]:PORT, :PORT or unix:PATH");
    static const char *const odd[] = {"backup", "weight=", "=2"};
    char line[128], expected[256];
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
        snprintf(line, sizeof(line), "server = 127.0.0.1:1 %s", odd[i]);
        snprintf(expected, sizeof(expected), "%s: behind an address stand options as in weight=2, "
                 "without blanks round the =", line);
        lab_line_bad("backend", line, expected);
    }
}

/* A list has an end, though no one will see it. */
static void test_bounds(void **state) {
    (void)state;
    char *text = mem_alloc(64 * 1024);
    size_t len = (size_t)sprintf(text, "[listener web]\nbackend = app\n");
    for (int i = 0; i < 257; i++) {
        len += (size_t)sprintf(text + len, "bind = 127.0.0.1:%d\n", i + 1);
    }
    sprintf(text + len, LAB_BACKEND);
    lab_bad(text, "t:259: bind = 127.0.0.1:257: there may be at most 256\n");
    mem_free(text);
    text = mem_alloc(512 * 1024);
    len = (size_t)sprintf(text, LAB_LISTENER LAB_BACKEND);
    for (int i = 2; i < 10001; i++) {
        len += (size_t)sprintf(text + len, "[backend %d]\nserver = unix:/a\n", i);
    }
    lab_bad(text, "t:20002: there may be at most 10000 sections\n");
    mem_free(text);
}

/* All in one run, in the order of the lines, up to a bound. */
static void test_many(void **state) {
    (void)state;
    lab_bad("[global]\nworkers = x\n[listener web]\n[backend app]\nweight = x\nserver = x\n"
            "[rout r]\n",
            "t:2: workers = x: write auto or a number from 1 to 1024\n"
            "t:3: [listener web] has no bind; write bind = :80\n"
            "t:3: [listener web] has no backend, no redirect_https and no route that reaches it; "
            "write backend = NAME\n"
            "t:5: weight = x: write a number from 1 to 1000\n"
            "t:6: server = x: write HOST:PORT, [V6]:PORT, :PORT or unix:PATH\n"
            "t:7: unknown section [rout r]; did you mean route?\n");
    char *text = mem_alloc(8192);
    memset(text, 'a', 8191);
    for (int i = 1; i < 8191; i += 2) {
        text[i] = '\n';
    }
    text[8191] = '\0';
    struct conf_errors errors = {0};
    assert_null(conf_load_text("t", text, &errors));
    assert_int_equal(errors.count, CONF_ERRORS_MAX);
    assert_string_equal(errors.text[0], "t:1: neither [section] nor key = value");
    assert_string_equal(errors.text[998], "t:999: neither [section] nor key = value");
    assert_string_equal(errors.text[999], "t: there are more errors than are shown");
    conf_errors_fini(&errors);
    mem_free(text);
}

/* What others find wrong later stands in its place, too. */
static void test_error(void **state) {
    (void)state;
    struct conf_errors errors = {0};
    conf_error(&errors, "f", 9, "no %s", "key");
    conf_error(&errors, "f", 2, "first");
    conf_error(&errors, "f", 9, "again");
    conf_error(&errors, "f", 0, "of the whole");
    lab_said(NULL, &errors, "f: of the whole\nf:2: first\nf:9: no key\nf:9: again\n");
}

static void test_flags(void **state) {
    (void)state;
    struct conf_errors errors = {0};
    struct conf_flags flags = {0};
    lab_said(conf_of_flags(&flags, &errors), &errors,
             "command line: --bind ADDR is missing\ncommand line: --backend ADDR is missing\n");
    const char *bind[] = {"80", ":81", "127.0.0.1:81", ""};
    const char *backend[] = {"127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:2 weight=x"};
    const char *key[] = {"a"};
    flags = (struct conf_flags){bind, backend, NULL, key, 4, 3, 0, 1};
    lab_said(conf_of_flags(&flags, &errors), &errors,
             "command line: --bind 80: write HOST:PORT, [V6]:PORT, :PORT or unix:PATH\n"
             "command line: --bind has no value\n"
             "command line: --backend 127.0.0.1:1: it stands here twice\n"
             "command line: --backend x: write a number from 1 to 1000\n"
             "command line: key without certificate: write certificate = FILE, or drop the key\n"
             "command line: --bind 127.0.0.1:81: :81 has this address already\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sections),   cmocka_unit_test(test_keys),
        cmocka_unit_test(test_numbers),    cmocka_unit_test(test_units),
        cmocka_unit_test(test_sticky),
        cmocka_unit_test(test_words),      cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_listeners),  cmocka_unit_test(test_binds),
        cmocka_unit_test(test_references), cmocka_unit_test(test_routes),
        cmocka_unit_test(test_servers), cmocka_unit_test(test_settings),    cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_many),       cmocka_unit_test(test_error),
        cmocka_unit_test(test_flags),      cmocka_unit_test(test_uwsgi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
