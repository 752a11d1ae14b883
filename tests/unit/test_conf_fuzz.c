/* conf: no bytes make it crash, hang or leak, and what it takes is whole. */
#include "conf_lab.h"

#include <netdb.h>
#include <stdio.h>
#include <time.h>

#define TEXT_MAX 16384u
#define SECONDS 2

/* In place of the C library's: what luck makes of an address shall not be asked of a name server. */
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict all) {
    (void)name;
    (void)service;
    (void)hints;
    (void)all;
    return EAI_NONAME;
}

static uint64_t seed = 20260101;

static uint32_t luck(uint32_t below) {
    seed ^= seed << 13;   /* xorshift64 */
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % below;
}

/* Pieces that mean something, so that mutations get past the first check. */
static const char *const pieces[] = {
    "[global]", "[listener web]", "[listener b]", "[route r]", "[backend app]", "[backend b]", "\n",
    "=", " = ", ":", ",", ";", " ;", "#", "]", "[", "\r\n", "\t", " ", "\xef\xbb\xbf", "0", "1",
    "99999999999999999999", "yes", "auto", "ms", "k", "weight=", "weight=2", "127.0.0.1:1",
    "unix:/a", ":80", "[::]:80", "bind = :81\n", "server = 127.0.0.1:2\n", "backend = app\n",
    "listener = web\n", "host = *.b\n", "path = /\n", "certificate = a\n", "key = a\n",
    "redirect_https = yes\n", "trusted_proxies = ::/0, unix\n", "weight = 3\n", "\\", "*", "/",
};

static uint32_t mutate(char *text, uint32_t len) {
    uint32_t at = luck(len + 1), some = luck(luck(8) == 0 ? 400 : 12);
    const char *piece;
    switch (luck(6)) {
    case 0:   /* one byte is another */
        if (at < len) {
            text[at] = (char)luck(256);
        }
        return len;
    case 1:   /* some are gone */
        some = some < len - at ? some : len - at;
        memmove(text + at, text + at + some, len - at - some);
        return len - some;
    case 2:   /* one comes many times */
        some = some < TEXT_MAX - len ? some : TEXT_MAX - len;
        memmove(text + at + some, text + at, len - at);
        memset(text + at, (char)luck(256), some);
        return len + some;
    case 3:   /* some move */
        if (len > 0) {
            uint32_t from = luck(len);
            uint32_t room = len - (at > from ? at : from);
            memmove(text + at, text + from, some < room ? some : room);
        }
        return len;
    default:
        piece = pieces[luck(sizeof(pieces) / sizeof(*pieces))];
        some = (uint32_t)strlen(piece);
        if (len + some > TEXT_MAX) {
            return len;
        }
        memmove(text + at + some, text + at, len - at);
        memcpy(text + at, piece, some);
        return len + some;
    }
}

/* A conf that was taken keeps what its door promises. */
static void inspect(const struct conf *conf) {
    assert_true(conf->listener_count > 0);
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        assert_true(l->bind_count > 0);
        assert_true(l->key.count <= l->certificate.count);
        assert_true(l->backend == NULL || strcmp(conf->backends[l->backend_index].name,
                                                 l->backend) == 0);
        assert_true(l->backend == NULL || l->redirect_https == 0);
        assert_in_range(l->max_head, 512, 1 << 20);
        assert_in_range(l->idle_timeout_ms, 1, 86400000);
    }
    for (uint32_t i = 0; i < conf->route_count; i++) {
        const struct conf_route *r = &conf->routes[i];
        assert_int_equal(r->path[0], '/');
        assert_string_equal(conf->backends[r->backend_index].name, r->backend);
        assert_true(r->listener == NULL ? r->listener_index == -1
                                        : strcmp(conf->listeners[r->listener_index].name,
                                                 r->listener) == 0);
    }
    for (uint32_t i = 0; i < conf->backend_count; i++) {
        assert_true(conf->backends[i].server_count > 0);
        for (uint32_t s = 0; s < conf->backends[i].server_count; s++) {
            assert_in_range(conf->backends[i].servers[s].weight, 1, 1000);
        }
    }
}

/* Every error has its line, in order. True when the text was taken. */
static bool run(const char *text) {
    struct conf_errors errors = {0};
    struct conf *conf = lab_load(text, &errors);
    assert_true((conf == NULL) == (errors.count != 0));
    for (uint32_t i = 0; i < errors.count; i++) {
        assert_memory_equal(errors.text[i], i == CONF_ERRORS_MAX - 1 ? "t: " : "t:", 2);
        assert_true(i == 0 || errors.lines[i - 1] <= errors.lines[i]);
    }
    bool taken = conf != NULL;
    if (taken) {
        inspect(conf);
    }
    conf_free(conf);
    conf_errors_fini(&errors);
    return taken;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_bytes(void **state) {
    (void)state;
    char text[513];
    for (int i = 0; i < 3000; i++) {
        uint32_t len = luck(512);
        for (uint32_t j = 0; j < len; j++) {
            text[j] = (char)(luck(4) == 0 ? luck(255) + 1 : 32 + luck(95));
        }
        text[len] = '\0';
        run(text);
    }
}

static void test_mutations(void **state) {
    (void)state;
    static const char small[] = "[global]\nworkers = 2\n[listener web]\nbind = :80\nbackend = app\n"
                                "[route r]\nhost = a, *.a\npath = /a\nlistener = web\n"
                                "backend = app\n[backend app]\nserver = 127.0.0.1:1 weight=2\n";
    char *sample = mem_zero(TEXT_MAX + 1), *text = mem_zero(TEXT_MAX + 1);
    FILE *file = fopen(GYRE_SOURCE_DIR "/conf/gyre.ini", "re");
    assert_non_null(file);
    size_t sample_len = fread(sample, 1, TEXT_MAX, file);
    fclose(file);
    uint32_t taken = 0, refused = 0;
    for (double end = now() + SECONDS; now() < end;) {
        bool is_small = luck(4) != 0;
        uint32_t len = (uint32_t)(is_small ? strlen(small) : sample_len);
        memcpy(text, is_small ? small : sample, len);
        for (uint32_t n = 1 + luck(6); n > 0; n--) {
            len = mutate(text, len);
        }
        text[len] = '\0';
        if (run(text)) {
            taken++;
        } else {
            refused++;
        }
    }
    assert_true(taken > 10 && refused > 10);
    mem_free(sample);
    mem_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
