/* Cookies, Engine.IO's queries and open packets, and the table of its sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "exchange/exchange_priv.h"
#include "upstream/upstream_priv.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* --- Cookies ------------------------------------------------------------------------------ */

/* text: the values of Cookie fields, | between them; left: what goes on, "-" for nothing. */
static const struct {
    const char *text, *values, *left;
} cookies[] = {
    {"", "", "-"},
    {"g=1", "1 ", "-"},
    {"g=1; a=2", "1 ", "a=2"},
    {"a=2; g=1", "1 ", "a=2"},
    {"a=2;g=1;b=3", "1 ", "a=2; b=3"},
    {"a=2;b=3", "", "a=2;b=3"},
    {"a=1;b=2;c=3;d=4;e=5;f=6;h=7;g=1", "1 ", "a=1; b=2; c=3; d=4; e=5; f=6; h=7"},
    {"g=1; g=2; a=g=3", "1 2 ", "a=g=3"},
    {"gg=1; G=2; g; g =3; =g", "", "gg=1; G=2; g; g =3; =g"},
    {"g=", " ", "-"},
    {"g=a=b", "a=b ", "-"},
    {"  g=\"1\" ;; ; a=2;", "\"1\" ", "a=2"},
    {"g=1|a=2; g=3|b=4|g=5", "1 3 5 ", "a=2|b=4"},
    {";;;", "", ";;;"},
};

static void fields_of(struct head *head, const char *text) {
    for (const char *end; *text != '\0'; text = *end != '\0' ? end + 1 : end) {
        end = strchrnul(text, '|');
        struct str value = {text, (uint32_t)(end - text)};
        assert_non_null(head_add(head, FIELD_COOKIE, field_text(FIELD_COOKIE), value));
    }
}

static void cookies_are_read_and_dropped(void **state) {
    (void)state;
    struct pool chunks;
    pool_init(&chunks, "chunks", ARENA_CHUNK, 0);
    for (size_t i = 0; i < COUNT(cookies); i++) {
        struct arena arena;
        arena_init(&arena, &chunks);
        struct head head;
        head_init(&head, &arena);
        fields_of(&head, cookies[i].text);
        char got[256] = "", left[256] = "";
        const struct field *f = head_find(&head, FIELD_COOKIE);
        for (; f != NULL; f = head_find_next(&head, f)) {
            struct str rest = f->value, pair, value;
            while (cookie_next(&rest, &pair)) {
                if (cookie_is(pair, STR("g"), &value)) {
                    snprintf(got + strlen(got), sizeof got - strlen(got), STR_FMT " ",
                             STR_ARG(value));
                }
            }
        }
        assert_string_equal(got, cookies[i].values);
        cookie_drop(&head, STR("g"));
        for (f = head_find(&head, FIELD_COOKIE); f != NULL; f = head_find_next(&head, f)) {
            snprintf(left + strlen(left), sizeof left - strlen(left), "%s" STR_FMT,
                     *left != '\0' ? "|" : "", STR_ARG(f->value));
        }
        assert_string_equal(*left != '\0' ? left : "-", cookies[i].left);
        arena_fini(&arena);
    }
    pool_fini(&chunks);
}

/* --- Signed names ------------------------------------------------------------------------- */

static const char two[] = "[listener web]\nbind = 127.0.0.1:81\nbackend = app\n"
                          "[global]\nsecret_file = /nowhere\n"
                          "[backend app]\nsticky = cookie\nserver = 127.0.0.1:1, unix:/run/a\n";
static const char turned[] = "[listener web]\nbind = 127.0.0.1:81\nbackend = app\n"
                             "[global]\nsecret_file = /nowhere\n"
                             "[backend app]\nsticky = cookie\n"
                             "server = 127.0.0.1:3\nserver = unix:/run/a\nserver = 127.0.0.1:1\n"
                             "[backend other]\nsticky = cookie\nserver = 127.0.0.1:1\n";

struct signed_conf {
    struct conf *conf;
    struct registry *registry;
};

static struct signed_conf signed_by(const char *ini, const char *secret) {
    struct conf_errors errors = {0};
    struct signed_conf made = {.conf = conf_load_text("t", ini, &errors)};
    assert_non_null(made.conf);
    made.registry = registry_new(made.conf, 1);
    registry_sign(made.registry, str_of(secret));
    return made;
}

static void signed_free(struct signed_conf *made) {
    registry_free(made->registry);
    conf_free(made->conf);
}

static struct str says(const struct signed_conf *made, uint32_t backend, uint32_t server) {
    return (struct str){made->registry->backends[backend].servers[server].sticky, STICKY_LEN};
}

static const char *found(const struct signed_conf *made, uint32_t backend, struct str value) {
    const struct server *server = sticky_find(&made->registry->backends[backend], value);
    return server != NULL ? server->name : "-";
}

static void names_are_stable(void **state) {
    (void)state;
    struct signed_conf a = signed_by(two, "secret"), b = signed_by(turned, "secret");
    struct signed_conf c = signed_by(two, "secreT");
    for (uint32_t i = 0; i < 2; i++) {
        const char *name = a.registry->backends[0].servers[i].name;
        assert_string_equal(found(&a, 0, says(&a, 0, i)), name);
        assert_string_equal(found(&b, 0, says(&a, 0, i)), name);   /* in whatever order */
        assert_string_equal(found(&b, 1, says(&a, 0, i)), "-");    /* of another backend */
        assert_string_equal(found(&c, 0, says(&a, 0, i)), "-");    /* by another secret */
        assert_null(memmem(says(&a, 0, i).p, STICKY_LEN, "127", 3));
    }
    assert_string_equal(found(&a, 0, says(&b, 0, 0)), "-");        /* a server that is gone */
    signed_free(&a);
    signed_free(&b);
    signed_free(&c);
}

/* Every bit counts, and every length but the right one is wrong. */
static void names_are_not_forged(void **state) {
    (void)state;
    struct signed_conf a = signed_by(two, "secret");
    char value[STICKY_LEN + 1] = {0};
    memcpy(value, says(&a, 0, 1).p, STICKY_LEN);
    for (uint32_t i = 0; i < STICKY_LEN * 8; i++) {
        value[i / 8] = (char)(value[i / 8] ^ 1 << i % 8);
        assert_string_equal(found(&a, 0, (struct str){value, STICKY_LEN}), "-");
        value[i / 8] = (char)(value[i / 8] ^ 1 << i % 8);
    }
    for (uint32_t len = 0; len <= STICKY_LEN + 1; len++) {
        const char *want = len == STICKY_LEN ? "unix:/run/a" : "-";
        assert_string_equal(found(&a, 0, (struct str){value, len}), want);
    }
    for (uint32_t i = 0; i < STICKY_LEN; i++) {
        char c = value[i];
        assert_true((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_');
    }
    signed_free(&a);
}

/* --- Queries ------------------------------------------------------------------------------ */

static const struct {
    const char *query;
    bool is, polling;
    const char *sid;
} queries[] = {
    {"", false, false, ""},
    {"EIO=4&transport=polling", true, true, ""},
    {"EIO=4&transport=polling&t=abc&sid=lv_VI97HAXpY6yYWAAAC", true, true, "lv_VI97HAXpY6yYWAAAC"},
    {"sid=x&transport=websocket&EIO=3", true, false, "x"},
    {"transport=websocket&EIO=4", true, false, ""},
    {"transport=polling&sid=x", false, true, "x"},
    {"EIO", true, false, ""},
    {"xEIO=4&EIOx=4", false, false, ""},
    {"EIO=4&sid=&sid=a&sid=b&xsid=c", true, false, "a"},
    {"&&=&EIO=4&&transport=polling=&", true, false, ""},
};

static void queries_are_read(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(queries); i++) {
        struct engineio_query query;
        assert_int_equal(engineio_query(str_of(queries[i].query), &query), queries[i].is);
        assert_int_equal(query.polling, queries[i].polling);
        assert_true(str_eq(query.sid, str_of(queries[i].sid)));
    }
}

/* --- Open packets ------------------------------------------------------------------------- */

#define LONG "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BODY(text) {text, sizeof(text) - 1}

/* whole: so many bytes of it say all. */
static const struct {
    struct str body;
    const char *sid;
    uint32_t idle_ms;
    enum engineio_found found;
} packets[] = {
    {BODY("0{\"sid\":\"lv_VI97HAXpY6yYWAAAC\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,"
          "\"pingTimeout\":5000}"), "lv_VI97HAXpY6yYWAAAC", 60000, ENGINEIO_OPEN},
    {BODY("0{\"sid\":\"s\"}"), "s", 90000, ENGINEIO_OPEN},
    {BODY("97:0{\"sid\":\"s\",\"pingInterval\":1,\"pingTimeout\":2}"), "s", 6, ENGINEIO_OPEN},
    {BODY("0000097:0{}"), "", 0, ENGINEIO_OTHER},
    {BODY("\0\x09\x07\xff" "0{\"sid\":\"s\",\"pingTimeout\":2}"), "s", 50004, ENGINEIO_OPEN},
    {BODY("0 {"), "", 0, ENGINEIO_OTHER},
    {BODY("0{ \"pingInterval\" : 10 ,\n \"a\" : { \"sid\" : \"x\", \"b\":[1,{}] } , \"q\":\"\\\"}\","
          "\"sid\" : \"s\" , \"pingTimeout\":-1 }"), "s", 2 * (10 + 20000), ENGINEIO_OPEN},
    {BODY("0{\"sid\":\"s\",\"pingInterval\":86400001,\"pingTimeout\":\"x\"}"), "s", 90000,
     ENGINEIO_OPEN},
    {BODY("0{\"pingInterval\":1}"), "", 0, ENGINEIO_OTHER},
    {BODY("0{\"sid\":\"\"}"), "", 0, ENGINEIO_OTHER},
    {BODY("0{\"sid\":7}"), "7", 90000, ENGINEIO_OPEN},
    {BODY("0{\"sid\":\"a\\\"b\"}"), "", 0, ENGINEIO_OTHER},
    {BODY("0{\"sid\":\"" LONG LONG "\"}"), LONG LONG, 90000, ENGINEIO_OPEN},
    {BODY("0{\"sid\":\"" LONG LONG "x\"}"), "", 0, ENGINEIO_OTHER},
    {BODY("0{\"sid\":]"), "", 0, ENGINEIO_OTHER},
    {BODY("0{sid"), "", 0, ENGINEIO_OTHER},
    {BODY("0{}"), "", 0, ENGINEIO_OTHER},
    {BODY("1{"), "", 0, ENGINEIO_OTHER},
    {BODY("{\"code\""), "", 0, ENGINEIO_OTHER},
    {BODY("<html>"), "", 0, ENGINEIO_OTHER},
    {BODY("3probe"), "", 0, ENGINEIO_OTHER},
    {BODY("2:40"), "", 0, ENGINEIO_OTHER},
    {BODY("0{\"sid\":\"s\"0"), "", 0, ENGINEIO_OTHER},
};

/* Every beginning of it says that more is to come, or already what all says; never too much. */
static void packets_are_read(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(packets); i++) {
        enum engineio_found last = ENGINEIO_MORE;
        for (uint32_t len = 0; len <= packets[i].body.len; len++) {
            struct str sid;
            uint32_t idle_ms;
            char *exact = mem_alloc(len + 1);   /* on the heap: nothing may be read behind it */
            char *body = memcpy(exact + 1, packets[i].body.p, len);
            enum engineio_found now = engineio_open((struct str){body, len}, &sid, &idle_ms);
            assert_true(last == ENGINEIO_MORE || now == last);
            if (now == ENGINEIO_OPEN) {
                assert_true(len == packets[i].body.len);
                assert_true(str_eq(sid, str_of(packets[i].sid)));
                assert_int_equal(idle_ms, packets[i].idle_ms);
            }
            last = now;
            mem_free(exact);
        }
        if (last != packets[i].found) {
            fail_msg("packet %zu: %d, not %d", i, last, packets[i].found);
        }
    }
}

/* What comes behind it (a second packet) makes no difference. */
static void packets_end(void **state) {
    (void)state;
    struct str sid;
    uint32_t idle_ms;
    assert_int_equal(engineio_open(STR("0{\"sid\":\"s\"}\x1e" "40"), &sid, &idle_ms),
                     ENGINEIO_OPEN);
    assert_int_equal(engineio_open(STR("11:0{\"sid\":\"s\"}2:40"), &sid, &idle_ms), ENGINEIO_OPEN);
    assert_true(str_eq(sid, STR("s")));
}

/* --- Sessions ----------------------------------------------------------------------------- */

static struct str numbered(uint32_t n, char text[16]) {
    return (struct str){text, (uint32_t)snprintf(text, 16, "sid%u", n)};
}

static void sessions_expire(void **state) {
    (void)state;
    struct sids *sids = sids_new(640);
    assert_int_equal(sids_find(sids, STR("a"), 0), -1);
    assert_false(sids_learn(sids, STR("a"), 3, 100, 1000));
    assert_false(sids_learn(sids, STR("b"), 4, 100, 1000));
    assert_int_equal(sids_find(sids, STR("a"), 1099), 3);
    assert_int_equal(sids_find(sids, STR("b"), 1100), -1);   /* nothing came of it */
    assert_int_equal(sids_find(sids, STR("a"), 1198), 3);    /* refreshed */
    assert_int_equal(sids_find(sids, STR("a"), 1298), -1);
    assert_false(sids_learn(sids, STR("a"), 5, 10, 2000));   /* opened anew, elsewhere */
    assert_int_equal(sids_find(sids, STR("a"), 2009), 5);
    assert_int_equal(sids_find(sids, STR("A"), 2009), -1);
    sids_free(sids);
}

/* Ten times as many as there is room for are opened while 100 are in use: those stay. */
static void sessions_are_bounded(void **state) {
    (void)state;
    enum { MAX = 6400, IN_USE = 100, FLOOD = 10 * MAX };
    struct sids *sids = sids_new(MAX);
    char text[16];
    uint32_t evicted = 0, known = 0;
    for (uint32_t i = 0; i < IN_USE; i++) {
        assert_false(sids_learn(sids, numbered(i, text), i, 1000000, 1));
        assert_int_equal(sids_find(sids, numbered(i, text), 2), i);
    }
    for (uint32_t i = IN_USE; i < FLOOD; i++) {
        evicted += sids_learn(sids, numbered(i, text), i, 1000000, 3 + i);
    }
    for (uint32_t i = 0; i < IN_USE; i++) {
        assert_int_equal(sids_find(sids, numbered(i, text), 4), i);
    }
    for (uint32_t i = IN_USE; i < FLOOD; i++) {
        int64_t server = sids_find(sids, numbered(i, text), 4);
        assert_true(server == -1 || server == i);
        known += server == i;
    }
    assert_int_equal(evicted, FLOOD - MAX);
    assert_int_equal(known, MAX - IN_USE);
    sids_free(sids);
}

/* Where all are in use the one that was heard of longest ago goes; one that is over goes first. */
static void sessions_make_room(void **state) {
    (void)state;
    enum { MAX = 64, USED = 6400 };
    struct sids *sids = sids_new(MAX);   /* one in each part */
    char text[16];
    uint32_t evicted = 0;
    for (uint32_t i = 0; i < USED; i++) {
        evicted += sids_learn(sids, numbered(i, text), i, 100, i);
        assert_int_equal(sids_find(sids, numbered(i, text), i), i);
    }
    /* Each learned within 100 ms of one in its part evicts that, all others find one that is over:
     * of 64 parts a share of about 1 - (63/64)^100. */
    assert_in_range(evicted, USED * 70 / 100, USED * 88 / 100);
    sids_free(sids);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cookies_are_read_and_dropped), cmocka_unit_test(names_are_stable),
        cmocka_unit_test(names_are_not_forged), cmocka_unit_test(queries_are_read),
        cmocka_unit_test(packets_are_read), cmocka_unit_test(packets_end),
        cmocka_unit_test(sessions_expire), cmocka_unit_test(sessions_are_bounded),
        cmocka_unit_test(sessions_make_room),
    };
    return cmocka_run_group_tests_name("sticky", tests, NULL, NULL);
}
