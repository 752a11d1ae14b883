/* What a hello may hold: names, protocols, suites, groups, tickets and early data, as long and as
 * wrong as they can be. TLS_TIMES=1 prints what the dearest step of each took. */
#include "tls_forge.h"
#include "tls_site.h"

#define HELLO_MAX 16384u

/* --- A hello with other contents ---------------------------------------------------------- */

enum { SNI = 0, GROUPS = 10, SIGNATURES = 13, ALPN = 16, PSK = 41, EARLY_DATA = 42, VERSIONS = 43,
       KEY_SHARE = 51 };

static uint32_t number_at(const uint8_t *p) {
    return (uint32_t)(p[0] << 8 | p[1]);
}

static void put_16(struct forged *f, size_t n) {
    assert_true(n < 65536);
    forged_add(f, (uint8_t[]){(uint8_t)(n >> 8), (uint8_t)n}, 2);
}

/* A TLS client's hello with its suites replaced (where count > 0) and one extension replaced or
 * added (where type >= 0) at its end, as records. */
static void hello_with(struct lab *lab, struct forged *out, const uint8_t *suites, size_t suites_len,
                       int type, const struct forged *value) {
    struct forged hello = {0}, body = {0}, extensions = {0};
    lab_client_did(lab, SSL_do_handshake(lab->client));
    forged_client(&hello, lab);
    const uint8_t *p = hello.p + 9, *end = hello.p + hello.len;
    forged_add(&body, p, 34 + 1u + p[34]);                       /* version, random, session */
    p += 34 + 1 + p[34];
    put_16(&body, suites_len > 0 ? suites_len : number_at(p));
    forged_add(&body, suites_len > 0 ? suites : p + 2, suites_len > 0 ? suites_len : number_at(p));
    p += 2 + number_at(p);
    forged_add(&body, p, 1u + p[0]);                             /* compression */
    p += 1 + p[0];
    for (p += 2; p < end; p += 4 + number_at(p + 2)) {
        if ((int)number_at(p) != type) {
            forged_add(&extensions, p, 4 + number_at(p + 2));
        }
    }
    if (type >= 0) {
        put_16(&extensions, (size_t)type);
        put_16(&extensions, value->len);
        forged_add(&extensions, value->p, value->len);
    }
    put_16(&body, extensions.len);
    forged_add(&body, extensions.p, extensions.len);
    struct forged message = {0};
    forged_add(&message, (uint8_t[]){1, (uint8_t)(body.len >> 16), (uint8_t)(body.len >> 8),
                                     (uint8_t)body.len}, 4);
    forged_add(&message, body.p, body.len);
    for (size_t at = 0; at < message.len; at += HELLO_MAX) {
        size_t left = message.len - at;
        forged_record(out, 22, 0x301, message.p + at, left < HELLO_MAX ? left : HELLO_MAX);
    }
    forged_fini(&hello);
    forged_fini(&body);
    forged_fini(&extensions);
    forged_fini(&message);
}

enum outcome { REFUSED, ANSWERED, EITHER };

static void check_outcome(const struct lab *lab, enum outcome wanted) {
    uint8_t head[6] = {0};
    bufq_read(&lab->cipher_out, head, sizeof head);
    bool answered = lab->want == TLS_WANT_CIPHER && head[0] == 22 && head[5] == 2;
    bool refused = lab->want == TLS_FAILED && tls_why(lab->tls) == CLOSE_TLS_HANDSHAKE &&
                   head[0] == 21;
    assert_true(answered || refused);
    assert_true(wanted == EITHER || answered == (wanted == ANSWERED));
    assert_false(tls_is_up(lab->tls));
    assert_int_equal(ERR_peek_error(), 0);
}

/* The machine's answer to such a hello; what it takes for the name goes to name (may be NULL). */
static void try_hello(const char *what, int version, int type, const struct forged *value,
                      enum outcome wanted, char name[300]) {
    struct lab lab;
    struct forged out = {0};
    lab_init(&lab, lab_own.context, version);
    hello_with(&lab, &out, NULL, 0, type, value);
    struct cost c = cost_of(&lab, &out, NULL);
    cost_tell(what, &c);
    check_outcome(&lab, wanted);
    struct tls_facts facts;
    tls_facts(lab.tls, &facts);
    if (name != NULL) {
        assert_true(facts.server_name.len < 300);
        memcpy(name, facts.server_name.len > 0 ? facts.server_name.p : "", facts.server_name.len);
        name[facts.server_name.len] = '\0';
    }
    forged_fini(&out);
    lab_fini(&lab);
}

static void forged_of(struct forged *f, const void *p, size_t len) {
    f->len = 0;
    forged_add(f, p, len);
}

static void forged_fill(struct forged *f, int byte, size_t len) {
    for (size_t i = 0; i < len; i++) {
        forged_add(f, (uint8_t[]){(uint8_t)byte}, 1);
    }
}

/* --- Names -------------------------------------------------------------------------------- */

static void sni_of(struct forged *f, const void *name, size_t len) {
    f->len = 0;
    put_16(f, len + 3);
    forged_add(f, (uint8_t[]){0}, 1);
    put_16(f, len);
    forged_add(f, name, len);
}

static void names(void **state) {
    (void)state;
    static const struct {
        const char *sent;
        size_t len;
        enum outcome outcome;
        const char *taken;       /* for the log */
    } cases[] = {
        {"EXAMPLE.org", 11, ANSWERED, "EXAMPLE.org"},
        {"example.org.", 12, ANSWERED, "example.org."},
        {"exa\0mple.org", 12, REFUSED, ""},
        {"\0", 1, REFUSED, ""},
        {"example.org\0.evil.test", 22, REFUSED, ""},
        {"", 0, ANSWERED, ""},
        {"127.0.0.1", 9, ANSWERED, "127.0.0.1"},
        {"::1", 3, ANSWERED, ""},
        {"[::1]", 5, ANSWERED, ""},
        {"a\nb", 3, ANSWERED, ""},
        {"\xff\xfe", 2, ANSWERED, ""},
    };
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct forged value = {0};
        char taken[300];
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            sni_of(&value, cases[i].sent, cases[i].len);
            try_hello("a name", version, SNI, &value, cases[i].outcome, taken);
            assert_string_equal(taken, cases[i].taken);
        }
        /* Longer than any name may be, up to all that a hello may hold. */
        static const size_t lens[] = {254, 255, 256, 1000, 15000};
        static char name[15000];
        memset(name, 'a', sizeof name);
        for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
            sni_of(&value, name, lens[i]);
            try_hello("a long name", version, SNI, &value, lens[i] > 255 ? REFUSED : ANSWERED,
                      taken);
            assert_string_equal(taken, "");
        }
        /* Lists that lie about their lengths, hold nothing, or another kind of name. */
        static const uint8_t lists[][9] = {
            {0}, {0, 0}, {0, 4, 0, 0, 1, 'a'}, {0, 5, 0, 0, 2, 'a'}, {255, 255, 0, 255, 255, 'a'},
            {0, 3, 0, 0, 0}, {0, 4, 7, 0, 1, 'a'}, {0, 1, 0}};
        static const uint8_t list_lens[] = {0, 2, 5, 6, 6, 5, 6, 3};
        for (size_t i = 0; i < sizeof list_lens; i++) {
            forged_of(&value, lists[i], list_lens[i]);
            try_hello("a list of names", version, SNI, &value, EITHER, taken);
            assert_string_equal(taken, "");
        }
        forged_fini(&value);
    }
}

/* --- Protocols ---------------------------------------------------------------------------- */

static void protocols(void **state) {
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        /* Ours is the last of seven thousand. */
        struct forged list = {0}, value = {0};
        for (int i = 0; i < 7000; i++) {
            forged_add(&list, "\x01x", 2);
        }
        forged_add(&list, "\x08http/1.1", 9);
        struct lab lab;
        lab_init(&lab, lab_own.context, version);
        assert_int_equal(SSL_set_alpn_protos(lab.client, list.p, (unsigned)list.len), 0);
        assert_true(lab_handshake(&lab));
        const unsigned char *chosen;
        unsigned len;
        SSL_get0_alpn_selected(lab.client, &chosen, &len);
        assert_int_equal(len, 8);
        assert_memory_equal(chosen, "http/1.1", 8);
        lab_echo(&lab);
        lab_fini(&lab);
        put_16(&value, list.len);
        forged_add(&value, list.p, list.len);
        try_hello("seven thousand protocols", version, ALPN, &value, ANSWERED, NULL);
        value.len = 0;
        put_16(&value, list.len - 9);
        forged_add(&value, list.p, list.len - 9);
        try_hello("seven thousand protocols, none ours", version, ALPN, &value, REFUSED, NULL);
        static const uint8_t wrong[][6] = {
            {0}, {0, 0}, {0, 1, 0}, {0, 3, 2, 'h', '2', 0}, {0, 3, 9, 'h', '2'}, {0, 9, 2, 'h', '2'}};
        static const uint8_t wrong_lens[] = {0, 2, 3, 6, 5, 5};
        for (size_t i = 0; i < sizeof wrong_lens; i++) {
            forged_of(&value, wrong[i], wrong_lens[i]);
            try_hello("a list of protocols", version, ALPN, &value, REFUSED, NULL);
        }
        forged_fini(&list);
        forged_fini(&value);
    }
}

/* --- Long lists of everything else -------------------------------------------------------- */

/* count values that nobody knows, and one that we do at the end. */
static void list_of(struct forged *f, uint32_t count, uint32_t first, uint32_t last) {
    f->len = 0;
    put_16(f, 2 * (count + 1));
    for (uint32_t i = 0; i < count; i++) {
        put_16(f, first + i % 0x0f00);
    }
    put_16(f, last);
}

static void long_lists(void **state) {
    (void)state;
    struct forged value = {0};
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        list_of(&value, 7000, 0x4000, 0x0403);
        try_hello("seven thousand signature algorithms", version, SIGNATURES, &value, ANSWERED,
                  NULL);
        list_of(&value, 7000, 0x0403 - 0, 0x0403);
        try_hello("seven thousand of almost ours", version, SIGNATURES, &value, EITHER, NULL);
        list_of(&value, 7000, 0x4000, 0x001d);
        try_hello("seven thousand groups", version, GROUPS, &value, EITHER, NULL);
        list_of(&value, 7000, 0x4000, version == TLS1_3_VERSION ? 0x1301 : 0xc02b);
        struct lab lab;
        struct forged out = {0};
        lab_init(&lab, lab_own.context, version);
        hello_with(&lab, &out, value.p + 2, value.len - 2, -1, NULL);
        struct cost c = cost_of(&lab, &out, NULL);
        cost_tell("seven thousand suites", &c);
        check_outcome(&lab, ANSWERED);
        forged_fini(&out);
        lab_fini(&lab);
    }
    /* Key shares for groups that nobody knows, and no share of those that both know. */
    value.len = 0;
    put_16(&value, 5 * 3000);
    for (uint32_t i = 0; i < 3000; i++) {
        put_16(&value, 0x4000 + i);
        put_16(&value, 1);
        forged_add(&value, "x", 1);
    }
    try_hello("three thousand key shares", TLS1_3_VERSION, KEY_SHARE, &value, EITHER, NULL);
    list_of(&value, 120, 0x7a00, 0x0304);
    value.p[1] = (uint8_t)(value.len - 2);
    memmove(value.p, value.p + 1, --value.len);      /* the length of this list is one byte */
    try_hello("a hundred versions", TLS1_3_VERSION, VERSIONS, &value, EITHER, NULL);
    forged_fini(&value);
}

/* --- Tickets ------------------------------------------------------------------------------ */

static SSL_SESSION *session_get(int version) {
    struct lab lab;
    lab_init(&lab, lab_own.context, version);
    assert_true(lab_handshake(&lab));
    lab_echo(&lab);
    SSL_SESSION *session = lab.session;
    lab.session = NULL;
    lab_fini(&lab);
    assert_non_null(session);
    return session;
}

/* OpenSSL's clients use a session of TLS 1.3 but once; others need not be so polite. */
static void session_offer(struct lab *lab, SSL_SESSION *session) {
    SSL_SESSION *twin = SSL_SESSION_dup(session);
    assert_int_equal(SSL_set_session(lab->client, twin), 1);
    SSL_SESSION_free(twin);
}

/* A client that offers this session; what became of it. */
static bool resumed_with(SSL_SESSION *session, int version, bool *good) {
    struct lab lab;
    struct tls_facts facts;
    lab_init(&lab, lab_own.context, version);
    session_offer(&lab, session);
    *good = lab_handshake(&lab);
    tls_facts(lab.tls, &facts);
    bool resumed = facts.resumed;
    if (*good) {
        assert_int_equal(SSL_session_reused(lab.client), resumed);
        lab_echo(&lab);
    } else {
        assert_int_equal(tls_why(lab.tls), CLOSE_TLS_HANDSHAKE);
        assert_int_equal(lab.plain_out.bytes, 0);
    }
    lab_fini(&lab);
    return resumed;
}

/* A ticket with any byte changed is no ticket: a full handshake. One that is right with another
 * secret than its own is an attack. */
static void forged_tickets(void **state) {
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_SESSION *session = session_get(version);
        const unsigned char *ticket;
        size_t len;
        bool good;
        SSL_SESSION_get0_ticket(session, &ticket, &len);
        assert_true(len > 80);
        assert_true(resumed_with(session, version, &good) && good);
        assert_true(resumed_with(session, version, &good) && good);   /* once more does no harm */
        for (size_t at = 0; at < len; at += 7) {
            ((unsigned char *)ticket)[at] ^= 0x40;
            assert_false(resumed_with(session, version, &good));
            assert_true(good);
            ((unsigned char *)ticket)[at] ^= 0x40;
        }
        unsigned char secret[48];
        size_t n = SSL_SESSION_get_master_key(session, secret, sizeof secret);
        secret[0] ^= 1;
        assert_int_equal(SSL_SESSION_set1_master_key(session, secret, n), 1);
        (void)resumed_with(session, version, &good);
        assert_false(good);
        SSL_SESSION_free(session);
    }
}

/* As many offers of tickets as a hello can hold, each under the name of the key that is in use, so
 * that each is tried. */
static void many_tickets(void **state) {
    (void)state;
    SSL_SESSION *session = session_get(TLS1_3_VERSION);
    const unsigned char *ticket;
    size_t len;
    SSL_SESSION_get0_ticket(session, &ticket, &len);
    struct forged value = {0};
    enum { COUNT = 140, TICKET = 72 };
    put_16(&value, COUNT * (2 + TICKET + 4));
    for (int i = 0; i < COUNT; i++) {
        put_16(&value, TICKET);
        forged_add(&value, ticket, 32);
        forged_fill(&value, i, TICKET - 32 + 4);
    }
    put_16(&value, COUNT * 33);
    for (int i = 0; i < COUNT; i++) {
        forged_add(&value, "\x20", 1);
        forged_fill(&value, 0, 32);
    }
    try_hello("a hundred and forty tickets", TLS1_3_VERSION, PSK, &value, ANSWERED, NULL);
    forged_fini(&value);
    SSL_SESSION_free(session);
}

/* --- Early data --------------------------------------------------------------------------- */

/* It is never promised, and refused where it comes all the same: passed over, up to 16 KiB. */
static void early_data(void **state) {
    (void)state;
    SSL_SESSION *session = session_get(TLS1_3_VERSION);
    assert_int_equal(SSL_SESSION_get_max_early_data(session), 0);
    assert_int_equal(SSL_SESSION_set_max_early_data(session, 100000), 1);
    for (int large = 0; large < 2; large++) {
        struct lab lab;
        struct forged out = {0}, got = {0};
        static uint8_t text[60000];
        size_t done, size = large ? sizeof text : 10000;
        lab_init(&lab, lab_own.context, TLS1_3_VERSION);
        session_offer(&lab, session);
        assert_int_equal(SSL_write_early_data(lab.client, text, size, &done), 1);
        assert_int_equal(done, size);
        forged_client(&out, &lab);
        struct cost c = cost_of(&lab, &out, &got);
        cost_tell("early data", &c);
        assert_int_equal(got.len, 0);
        if (large) {
            assert_int_equal(lab.want, TLS_FAILED);
            assert_int_equal(tls_why(lab.tls), CLOSE_TLS_HANDSHAKE);
        } else {
            lab_to_client(&lab);
            assert_true(lab_handshake(&lab));
            assert_int_equal(SSL_get_early_data_status(lab.client), SSL_EARLY_DATA_REJECTED);
            assert_int_equal(lab.plain_out.bytes, 0);
            lab_echo(&lab);
        }
        forged_fini(&out);
        forged_fini(&got);
        lab_fini(&lab);
    }
    SSL_SESSION_free(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(protocols),
        cmocka_unit_test(long_lists),
        cmocka_unit_test(forged_tickets),
        cmocka_unit_test(many_tickets),
        cmocka_unit_test(early_data),
    };
    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
