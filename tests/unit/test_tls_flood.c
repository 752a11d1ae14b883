/* An open connection under attack: what floods it ends it, what does not is served at a bounded
 * cost. TLS_TIMES=1 prints what the dearest step of each took. (Of a release build on one core of a
 * shared 2.x GHz machine, see below at each; the bounds that are asserted are counts.) */
#include "tls_forge.h"
#include "tls_site.h"

/* Of the door: in one step, and in a row without data. */
#define STEP_RECORDS 256u
#define STEP_BARREN 8u
#define BARREN 32u

enum { CCS = 20, ALERT = 21, HANDSHAKE = 22, DATA = 23 };

static void check_failed(struct lab *lab, enum close_reason why) {
    assert_int_equal(lab->want, TLS_FAILED);
    assert_int_equal(tls_why(lab->tls), why);
    assert_true(strlen(tls_error(lab->tls)) > 3);
    assert_int_equal(ERR_peek_error(), 0);   /* nothing for the next connection */
}

/* The connection is as good as before. */
static void check_serves(struct forge *f, struct lab *lab) {
    struct forged out = {0}, got = {0};
    forge_record(f, &out, DATA, "ping", 4, 0);
    (void)cost_of(lab, &out, &got);
    assert_int_equal(got.len, 4);
    assert_memory_equal(got.p, "ping", 4);
    assert_int_equal(lab->want, TLS_WANT_CIPHER);
    forged_fini(&out);
    forged_fini(&got);
}

/* --- What brings no data ------------------------------------------------------------------ */

static const uint8_t update_asked[] = {24, 0, 0, 1, 1}, update[] = {24, 0, 0, 1, 0};
static const uint8_t user_cancelled[] = {1, 90};

struct barren {
    const char *name;
    int version;
    uint8_t type;
    const uint8_t *p;
    size_t len, padding;
    uint32_t allowed;           /* in a row; one more is the end */
    bool updates;
};

/* OpenSSL's own limit of warnings is 5 (the fifth is refused). */
static const struct barren barrens[] = {
    {"key updates that ask for one", TLS1_3_VERSION, HANDSHAKE, update_asked, 5, 0, BARREN, true},
    {"key updates", TLS1_3_VERSION, HANDSHAKE, update, 5, 0, BARREN, true},
    {"empty data, 1.3", TLS1_3_VERSION, DATA, update, 0, 0, BARREN, false},
    {"padding of 16 KiB", TLS1_3_VERSION, DATA, update, 0, 16384, BARREN, false},
    {"empty data, 1.2", TLS1_2_VERSION, DATA, update, 0, 0, BARREN, false},
    {"user_cancelled, 1.3", TLS1_3_VERSION, ALERT, user_cancelled, 2, 0, 4, false},
    {"user_cancelled, 1.2", TLS1_2_VERSION, ALERT, user_cancelled, 2, 0, 4, false},
};

static void forge_barren(struct forge *f, struct forged *out, const struct barren *b,
                         uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        forge_record(f, out, b->type, b->p, b->len, b->padding);
        if (b->updates) {
            forge_update(f);
        }
    }
}

static void floods_end(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof barrens / sizeof *barrens; i++) {
        const struct barren *b = &barrens[i];
        struct lab lab;
        struct forge f;
        struct forged out = {0};
        forge_open(&f, &lab, lab_own.context, b->version);
        forge_barren(&f, &out, b, 3000);
        struct cost c = cost_of(&lab, &out, NULL);
        cost_tell(b->name, &c);
        check_failed(&lab, CLOSE_TLS_FLOOD);
        assert_true(c.records_max <= STEP_BARREN);
        assert_true(c.records <= b->allowed + 1);
        assert_true(lab.cipher_out.bytes < 40 * 64);
        forged_fini(&out);
        forge_close(&f, &lab);
    }
}

/* As many as are allowed, over and over, with a byte between: served, a few in a step. */
static void what_is_allowed_is_served(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof barrens / sizeof *barrens; i++) {
        const struct barren *b = &barrens[i];
        struct lab lab;
        struct forge f;
        struct forged out = {0}, got = {0};
        forge_open(&f, &lab, lab_own.context, b->version);
        for (uint32_t k = 0; k < 20; k++) {
            forge_barren(&f, &out, b, b->allowed);
            forge_record(&f, &out, DATA, "x", 1, 0);
        }
        struct cost c = cost_of(&lab, &out, &got);
        cost_tell(b->name, &c);
        assert_int_equal(lab.want, TLS_WANT_CIPHER);
        assert_int_equal(got.len, 20);
        /* No more of them than the step may have; data may stand between them. */
        assert_true(c.records_max <= STEP_BARREN + STEP_BARREN / b->allowed + 1);
        check_serves(&f, &lab);
        /* One more in a row than that. */
        out.len = 0;
        forge_barren(&f, &out, b, b->allowed + 1);
        (void)cost_of(&lab, &out, NULL);
        check_failed(&lab, CLOSE_TLS_FLOOD);
        forged_fini(&out);
        forged_fini(&got);
        forge_close(&f, &lab);
    }
}

/* A peer that ends with its limit of them, and says nothing more, is not refused for it. */
static void the_last_one_is_no_flood(void **state) {
    (void)state;
    struct lab lab;
    struct forge f;
    struct forged out = {0};
    forge_open(&f, &lab, lab_own.context, TLS1_3_VERSION);
    forge_barren(&f, &out, &barrens[0], BARREN);
    (void)cost_of(&lab, &out, NULL);
    assert_int_equal(lab.want, TLS_WANT_CIPHER);
    check_serves(&f, &lab);
    forged_fini(&out);
    forge_close(&f, &lab);
}

/* --- Tiny records ------------------------------------------------------------------------- */

static void tiny_records_work(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        struct forge f;
        struct forged out = {0}, got = {0};
        forge_open(&f, &lab, lab_own.context, lab_versions[v]);
        for (uint32_t i = 0; i < 5000; i++) {
            uint8_t byte = (uint8_t)(i * 7 + i / 256);
            forge_record(&f, &out, DATA, &byte, 1, 0);
        }
        struct cost c = cost_of(&lab, &out, &got);
        cost_tell(v == 0 ? "a byte a record, 1.2" : "a byte a record, 1.3", &c);
        assert_int_equal(lab.want, TLS_WANT_CIPHER);
        assert_int_equal(got.len, 5000);
        for (uint32_t i = 0; i < 5000; i++) {
            assert_int_equal(got.p[i], (uint8_t)(i * 7 + i / 256));
        }
        assert_int_equal(c.records_max, STEP_RECORDS);
        assert_int_equal(c.steps, 5000 / STEP_RECORDS + 1);
        forged_fini(&out);
        forged_fini(&got);
        forge_close(&f, &lab);
    }
}

/* Full ones, for comparison: a step takes 64 KiB of them. */
static void full_records_are_bounded(void **state) {
    (void)state;
    static const uint8_t text[16384];
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        struct forge f;
        struct forged out = {0}, got = {0};
        forge_open(&f, &lab, lab_own.context, lab_versions[v]);
        lab.plain_out.mark = 1u << 20;
        for (uint32_t i = 0; i < 40; i++) {
            forge_record(&f, &out, DATA, text, sizeof text, 0);
        }
        struct cost c = cost_of(&lab, &out, &got);
        cost_tell(v == 0 ? "16 KiB a record, 1.2" : "16 KiB a record, 1.3", &c);
        assert_int_equal(got.len, 40 * sizeof text);
        assert_true(c.bytes_max <= 65536 + 2 * (sizeof text + 64));
        forged_fini(&out);
        forged_fini(&got);
        forge_close(&f, &lab);
    }
}

/* --- Negotiating anew --------------------------------------------------------------------- */

/* TLS 1.2: each offer is refused with a warning, and what is refused 32 times is a flood. The body
 * of the offer does not matter: it is not read. */
static void renegotiation_floods_end(void **state) {
    (void)state;
    uint8_t hello[200] = {1, 0, 0, sizeof hello - 4, 3, 3};
    struct lab lab;
    struct forge f;
    struct forged out = {0};
    forge_open(&f, &lab, lab_own.context, TLS1_2_VERSION);
    for (uint32_t i = 0; i < BARREN; i++) {
        forge_record(&f, &out, HANDSHAKE, hello, sizeof hello, 0);
    }
    struct cost c = cost_of(&lab, &out, NULL);
    cost_tell("offers to negotiate anew", &c);
    assert_int_equal(lab.want, TLS_WANT_CIPHER);
    assert_true(c.records_max <= STEP_BARREN);
    /* A warning each: 7 bytes and what encrypts them; no ServerHello. */
    assert_int_equal(lab.cipher_out.bytes, BARREN * (5 + 8 + 2 + 16));
    check_serves(&f, &lab);
    out.len = 0;
    for (uint32_t i = 0; i < 100; i++) {
        forge_record(&f, &out, HANDSHAKE, hello, sizeof hello, 0);
    }
    (void)cost_of(&lab, &out, NULL);
    check_failed(&lab, CLOSE_TLS_FLOOD);
    forged_fini(&out);
    forge_close(&f, &lab);
}

/* --- What is plainly wrong ---------------------------------------------------------------- */

static void wrong_records_are_errors(void **state) {
    (void)state;
    static const uint8_t hello[] = {1, 0, 0, 2, 3, 3}, finished[36] = {20, 0, 0, 32};
    static const uint8_t request[] = {0, 0, 0, 0}, fatal[] = {2, 40}, half[] = {2};
    static const uint8_t long_update[] = {24, 0, 0, 2, 0, 0}, ccs[] = {1}, big[16400];
    static const uint8_t update_of_7[] = {24, 0, 0, 1, 7}, huge[] = {24, 255, 255, 255};
    static const uint8_t refusal[] = {1, 100};   /* of an offer that nobody made */
    static const uint8_t two_updates[] = {24, 0, 0, 1, 0, 24, 0, 0, 1, 0};
    static const struct {
        int version;
        uint8_t type;
        const uint8_t *p;
        size_t len;
    } cases[] = {
        {TLS1_3_VERSION, HANDSHAKE, hello, sizeof hello},
        {TLS1_3_VERSION, HANDSHAKE, finished, sizeof finished},
        {TLS1_3_VERSION, HANDSHAKE, request, sizeof request},
        {TLS1_3_VERSION, HANDSHAKE, long_update, sizeof long_update},
        {TLS1_3_VERSION, HANDSHAKE, update_of_7, sizeof update_of_7},
        {TLS1_3_VERSION, HANDSHAKE, huge, sizeof huge},
        {TLS1_3_VERSION, HANDSHAKE, two_updates, sizeof two_updates},
        {TLS1_3_VERSION, HANDSHAKE, hello, 0},
        {TLS1_3_VERSION, ALERT, fatal, sizeof fatal},
        {TLS1_3_VERSION, ALERT, half, sizeof half},
        {TLS1_3_VERSION, ALERT, half, 0},
        {TLS1_3_VERSION, ALERT, refusal, sizeof refusal},
        {TLS1_3_VERSION, CCS, ccs, sizeof ccs},
        {TLS1_3_VERSION, 99, ccs, sizeof ccs},
        {TLS1_3_VERSION, 0, ccs, 0},
        {TLS1_3_VERSION, DATA, big, sizeof big},
        {TLS1_2_VERSION, HANDSHAKE, finished, sizeof finished},
        {TLS1_2_VERSION, ALERT, fatal, sizeof fatal},
        {TLS1_2_VERSION, ALERT, half, sizeof half},
        {TLS1_2_VERSION, ALERT, refusal, sizeof refusal},
        {TLS1_2_VERSION, CCS, ccs, sizeof ccs},
        {TLS1_2_VERSION, 99, ccs, sizeof ccs},
        {TLS1_2_VERSION, DATA, big, sizeof big},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lab lab;
        struct forge f;
        struct forged out = {0}, got = {0};
        forge_open(&f, &lab, lab_own.context, cases[i].version);
        forge_record(&f, &out, DATA, "good", 4, 0);
        forge_record(&f, &out, cases[i].type, cases[i].p, cases[i].len, 0);
        forge_record(&f, &out, DATA, "bad", 3, 0);
        (void)cost_of(&lab, &out, &got);
        check_failed(&lab, CLOSE_TLS_ERROR);
        assert_int_equal(got.len, 4);   /* what came before it, and no more */
        forged_fini(&out);
        forged_fini(&got);
        forge_close(&f, &lab);
    }
}

/* In the clear, after the handshake: junk, a hello, plain HTTP, a CCS, another record's version. */
static void plain_records_are_errors(void **state) {
    (void)state;
    static const struct {
        const char *p;
        size_t len;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27},
        {"\x16\x03\x01\0\x04\x01\0\0\0", 9},
        {"\x14\x03\x03\0\x01\x01", 6},
        {"\x15\x03\x03\0\x02\x02\x28", 7},
        {"\x17\x03\x03\0\0", 5},
        {"\x17\x03\x03\xff\xff", 5},
        {"\x80\x2e\x01\x03\x01", 5},
        {"\0\0\0\0\0\0\0\0", 8},
    };
    for (int v = 0; v < 2; v++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct lab lab;
            struct forge f;
            forge_open(&f, &lab, lab_own.context, lab_versions[v]);
            bufq_copy(&lab.cipher_in, cases[i].p, (uint32_t)cases[i].len);
            while (lab_step(&lab) == TLS_WANT_TURN) {
            }
            check_failed(&lab, CLOSE_TLS_ERROR);
            assert_int_equal(lab.plain_out.bytes, 0);
            forge_close(&f, &lab);
        }
    }
}

static void a_wrong_mac_is_an_error(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        struct forge f;
        struct forged out = {0};
        forge_open(&f, &lab, lab_own.context, lab_versions[v]);
        f.number++;                      /* a record is missing before it */
        forge_record(&f, &out, DATA, "replayed", 8, 0);
        (void)cost_of(&lab, &out, NULL);
        check_failed(&lab, CLOSE_TLS_ERROR);
        assert_true(lab.cipher_out.bytes > 0);   /* bad_record_mac */
        forged_fini(&out);
        forge_close(&f, &lab);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floods_end),
        cmocka_unit_test(what_is_allowed_is_served),
        cmocka_unit_test(the_last_one_is_no_flood),
        cmocka_unit_test(tiny_records_work),
        cmocka_unit_test(full_records_are_bounded),
        cmocka_unit_test(renegotiation_floods_end),
        cmocka_unit_test(wrong_records_are_errors),
        cmocka_unit_test(plain_records_are_errors),
        cmocka_unit_test(a_wrong_mac_is_an_error),
    };
    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
