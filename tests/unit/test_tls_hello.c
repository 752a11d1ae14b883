/* Handshakes under attack: whatever comes first, what is too much of it, and what is left undone.
 * TLS_TIMES=1 prints what the dearest step of each took, and the memory that it held. Long by
 * its tables. */
#include "tls_forge.h"
#include "tls_site.h"

/* Of the door: records in a step, those that are no handshake in all; bytes of a message. */
#define STEP_RECORDS 256u
#define BARREN 8u
#define MESSAGE_BYTES 16384u
/* What OpenSSL may hold of a handshake that is not finished, and allocate at once: its buffers of
 * two records and a message. */
#define HALF_OPEN_BYTES (80u * 1024u)
#define AT_ONCE_BYTES (24u * 1024u)

/* --- What OpenSSL allocates --------------------------------------------------------------- */

static size_t held, at_once;
static bool counting;

/* The size lies in front of what is given out. */
static void *counted_realloc(void *p, size_t size, const char *file, int line) {
    (void)file, (void)line;
    size_t *base = p != NULL ? (size_t *)p - 2 : NULL;
    held -= counting && base != NULL ? base[0] : 0;
    base = realloc(base, size + 2 * sizeof *base);
    assert_non_null(base);
    base[0] = size;
    held += counting ? size : 0;
    at_once = counting && size > at_once ? size : at_once;
    return base + 2;
}

static void *counted_malloc(size_t size, const char *file, int line) {
    return size > 0 ? counted_realloc(NULL, size, file, line) : NULL;
}

static void counted_free(void *p, const char *file, int line) {
    (void)file, (void)line;
    if (p != NULL) {
        held -= counting ? ((size_t *)p - 2)[0] : 0;
        free((size_t *)p - 2);
    }
}

static void check_failed(struct lab *lab, enum close_reason why) {
    assert_int_equal(lab->want, TLS_FAILED);
    assert_int_equal(tls_why(lab->tls), why);
    assert_true(strlen(tls_error(lab->tls)) > 3);
    assert_false(tls_is_up(lab->tls));
    assert_int_equal(lab->plain_out.bytes, 0);
    assert_int_equal(ERR_peek_error(), 0);
}

/* The machine has sent this alert, in the clear and last. */
static void check_alert(const struct lab *lab, uint8_t description) {
    uint8_t bytes[65536];
    uint32_t n = bufq_read(&lab->cipher_out, bytes, sizeof bytes);
    assert_true(n >= 7);
    assert_int_equal(bytes[n - 7], 21);
    assert_int_equal(bytes[n - 2], 2);
    assert_int_equal(bytes[n - 1], description);
}

/* The machine has answered with a ServerHello. */
static void check_answered(const struct lab *lab) {
    uint8_t head[6];
    assert_int_equal(lab->want, TLS_WANT_CIPHER);
    assert_int_equal(tls_why(lab->tls), CLOSE_NONE);
    assert_int_equal(bufq_read(&lab->cipher_out, head, sizeof head), sizeof head);
    assert_int_equal(head[0], 22);
    assert_int_equal(head[5], 2);
    assert_false(tls_is_up(lab->tls));
}

/* The client's first flight. */
static void hello_take(struct lab *lab, struct forged *out) {
    lab_client_did(lab, SSL_do_handshake(lab->client));
    forged_client(out, lab);
}

static void feed(struct lab *lab, const void *p, size_t len) {
    bufq_copy(&lab->cipher_in, p, (uint32_t)len);
    while (lab_step(lab) == TLS_WANT_TURN) {
    }
}

/* --- The first bytes ---------------------------------------------------------------------- */

static void http_is_known_by_its_method(void **state) {
    (void)state;
    static const char *const methods[] = {
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "ACL",
        "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY",
        "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "PRI", "PROPFIND", "PROPPATCH", "PURGE", "QUERY",
        "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK",
        "UNSUBSCRIBE", "GET_PARAMETER", "ABCDEFGHIJKLMNOPQRST"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        struct lab lab;
        lab_init(&lab, lab_own.context, 0);
        for (const char *p = methods[i]; *p != '\0'; p++) {
            feed(&lab, p, 1);
            assert_int_equal(lab.want, TLS_WANT_CIPHER);
        }
        assert_int_equal(lab.cipher_in.bytes, strlen(methods[i]));
        feed(&lab, " ", 1);      /* the first byte that leaves no doubt */
        check_failed(&lab, CLOSE_PLAIN_HTTP);
        assert_int_equal(lab.cipher_out.bytes, 0);
        lab_fini(&lab);
        lab_init(&lab, lab_own.context, 0);
        char request[64];
        int n = snprintf(request, sizeof request, "%s / HTTP/1.1\r\n\r\n", methods[i]);
        feed(&lab, request, (size_t)n);
        check_failed(&lab, CLOSE_PLAIN_HTTP);
        lab_fini(&lab);
    }
}

/* What is neither is told so, in TLS. */
static void other_protocols_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *p;
        size_t len;
    } cases[] = {
        {"get / HTTP/1.1\r\n", 16}, {"SSH-2.0-x\r\n", 11}, {"GE / HTTP/1.1\r\n", 15},
        {" GET / HTTP/1.1\r\n", 17}, {"\r\nGET / HTTP/1.1\r\n", 18}, {"GET\t/ HTTP/1.1\r\n", 16},
        {"ABCDEFGHIJKLMNOPQRSTU / HTTP/1.1\r\n", 34}, {"PROXY1", 6}, {"\0\0\0\0", 4},
        {"\r\n\r\n\0\r\nQUIT\n", 12}, {"\x14\x03\x01\0\x01\x01", 6}, {"\x17\x03\x03\0\x01x", 6},
        /* SSLv2's hello, of its own and as OpenSSL 0.9 sent it for TLS. */
        {"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10", 11}, {"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10", 11},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t piece = 1; piece <= 100; piece += 99) {   /* byte by byte, and all at once */
            struct lab lab;
            lab_init(&lab, lab_own.context, 0);
            for (size_t at = 0; at < cases[i].len; at += piece) {
                size_t left = cases[i].len - at;
                feed(&lab, cases[i].p + at, left < piece ? left : piece);
            }
            check_failed(&lab, CLOSE_TLS_HANDSHAKE);
            assert_int_equal(lab.cipher_out.bytes, 7);
            check_alert(&lab, SSL_AD_UNEXPECTED_MESSAGE);
            lab_fini(&lab);
        }
    }
    /* An alert is not answered with one (RFC 8446 6.2). */
    struct lab lab;
    lab_init(&lab, lab_own.context, 0);
    feed(&lab, "\x15\x03\x01\0\x02\x02\x28", 7);
    check_failed(&lab, CLOSE_TLS_HANDSHAKE);
    assert_int_equal(lab.cipher_out.bytes, 0);
    lab_fini(&lab);
}

static void old_and_foreign_hellos_are_refused(void **state) {
    (void)state;
    static const uint16_t record_versions[] = {0x300, 0xfeff, 0xfefd, 0x200, 0x404, 0};
    struct lab lab;
    for (size_t i = 0; i < sizeof record_versions / sizeof *record_versions; i++) {
        struct forged out = {0};
        lab_init(&lab, lab_own.context, TLS1_2_VERSION);
        hello_take(&lab, &out);
        out.p[1] = (uint8_t)(record_versions[i] >> 8);   /* SSLv3, DTLS, nothing that is known */
        out.p[2] = (uint8_t)record_versions[i];
        if (record_versions[i] == 0x300) {
            out.p[9] = 3;                                /* the version that the hello offers */
            out.p[10] = 0;
        }
        feed(&lab, out.p, out.len);
        check_failed(&lab, CLOSE_TLS_HANDSHAKE);
        forged_fini(&out);
        lab_fini(&lab);
    }
}

/* --- Hellos that are too large ------------------------------------------------------------ */

static const uint8_t zeros[65536];
static size_t extension_len[2];     /* in the first hello, in the second one */
static uint32_t extension_count;

static int extension_add(SSL *ssl, unsigned type, unsigned context, const unsigned char **out,
                         size_t *len, X509 *x, size_t chain, int *alert, void *arg) {
    (void)ssl, (void)type, (void)context, (void)x, (void)chain, (void)alert, (void)arg;
    *out = zeros;
    *len = extension_len[extension_count > 0];
    extension_count++;
    return 1;
}

/* A client whose hellos carry an extension of such lengths that nobody knows. */
static void large_init(struct lab *lab, int version, size_t first, size_t second) {
    extension_len[0] = first;
    extension_len[1] = second;
    extension_count = 0;
    lab_init(lab, lab_own.context, version);
    SSL_free(lab->client);
    assert_int_equal(SSL_CTX_add_custom_ext(lab->client_context, 0xfabc, SSL_EXT_CLIENT_HELLO,
                                            extension_add, NULL, NULL, NULL, NULL), 1);
    lab->client = SSL_new(lab->client_context);
    SSL_set_app_data(lab->client, lab);
    lab->to_client = BIO_new(BIO_s_mem());
    lab->from_client = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(lab->to_client, -1);
    SSL_set_bio(lab->client, lab->to_client, lab->from_client);
    SSL_set_connect_state(lab->client);
}

static void check_too_long(struct lab *lab, const struct forged *out) {
    held = at_once = 0;
    counting = true;
    struct cost c = cost_of(lab, out, NULL);
    counting = false;
    cost_tell("a hello that is too long", &c);
    check_failed(lab, CLOSE_TLS_HANDSHAKE);
    check_alert(lab, SSL_AD_ILLEGAL_PARAMETER);
    assert_in_range(at_once, 0, AT_ONCE_BYTES);
}

static void large_hellos(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        for (uint32_t feed_max = 0; feed_max < 2; feed_max++) {
            struct lab lab;
            large_init(&lab, lab_versions[v], 15000, 0);
            lab.feed_max = feed_max;
            assert_true(lab_handshake(&lab));
            lab_echo(&lab);
            lab_fini(&lab);
        }
        static const size_t sizes[] = {MESSAGE_BYTES, 17000, 60000};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct lab lab;
            struct forged out = {0};
            large_init(&lab, lab_versions[v], sizes[i], 0);
            hello_take(&lab, &out);
            assert_true(out.len > sizes[i]);
            check_too_long(&lab, &out);
            forged_fini(&out);
            lab_fini(&lab);
        }
    }
}

/* Nine bytes that say how much is to come must not make OpenSSL take room for it; however the
 * four that matter are cut into records. */
static void a_length_is_not_believed(void **state) {
    (void)state;
    static const uint8_t lengths[][4] = {
        {1, 2, 1, 0x44}, {1, 0, 0x40, 1}, {1, 255, 255, 255}, {77, 1, 0, 0}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (size_t piece = 1; piece <= 4; piece++) {
            struct lab lab;
            struct forged out = {0};
            lab_init(&lab, lab_own.context, 0);
            for (size_t at = 0; at < 4; at += piece) {
                size_t left = 4 - at;
                forged_record(&out, 22, 0x301, lengths[i] + at, left < piece ? left : piece);
            }
            check_too_long(&lab, &out);
            forged_fini(&out);
            lab_fini(&lab);
        }
    }
}

/* Nor in the second hello, which answers a HelloRetryRequest. */
static void the_second_hello_is_measured_too(void **state) {
    (void)state;
    for (int large = 0; large < 2; large++) {
        struct lab lab;
        struct forged out = {0};
        large_init(&lab, TLS1_3_VERSION, 10, large ? 60000 : 9000);
        SSL_set1_groups_list(lab.client, "P-521:P-384");
        lab_client_did(&lab, SSL_do_handshake(lab.client));
        lab_to_machine(&lab);
        lab_to_client(&lab);
        if (large) {
            hello_take(&lab, &out);
            check_too_long(&lab, &out);
        } else {
            assert_true(lab_handshake(&lab));
            lab_echo(&lab);
        }
        assert_int_equal(extension_count, 2);
        forged_fini(&out);
        lab_fini(&lab);
    }
}

/* --- Hellos in pieces --------------------------------------------------------------------- */

/* Each record in the clear as many of one byte. */
static void cut_into_bytes(struct forged *to, const struct forged *from) {
    for (size_t at = 0; at < from->len;) {
        size_t len = (size_t)(from->p[at + 3] << 8 | from->p[at + 4]);
        for (size_t i = 0; i < len; i++) {
            forged_record(to, from->p[at], 0x303, from->p + at + 5 + i, 1);
        }
        at += 5 + len;
    }
}

/* Every byte a record, and every byte alone: it works, 256 records a step. */
static void a_hello_in_records_of_a_byte(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        struct forged hello = {0}, out = {0};
        lab_init(&lab, lab_own.context, lab_versions[v]);
        hello_take(&lab, &hello);
        cut_into_bytes(&out, &hello);
        struct cost c = cost_of(&lab, &out, NULL);
        cost_tell("a hello, a byte a record", &c);
        assert_int_equal(c.records, hello.len - 5);
        assert_true(c.records_max <= STEP_RECORDS);
        check_answered(&lab);
        lab_to_client(&lab);
        assert_true(lab_handshake(&lab));
        lab_echo(&lab);
        lab_fini(&lab);
        /* As it may come over a network. */
        lab_init(&lab, lab_own.context, lab_versions[v]);
        hello.len = out.len = 0;
        hello_take(&lab, &hello);
        cut_into_bytes(&out, &hello);
        for (size_t i = 0; i < out.len; i++) {
            feed(&lab, out.p + i, 1);
        }
        check_answered(&lab);
        forged_fini(&hello);
        forged_fini(&out);
        lab_fini(&lab);
    }
    /* The longest hello, cut so: more bytes than a handshake may have. */
    struct lab lab;
    struct forged hello = {0}, out = {0};
    large_init(&lab, TLS1_3_VERSION, 15000, 0);
    hello_take(&lab, &hello);
    cut_into_bytes(&out, &hello);
    assert_true(out.len > 65536);
    struct cost c = cost_of(&lab, &out, NULL);
    cost_tell("a long hello, a byte a record", &c);
    check_failed(&lab, CLOSE_TLS_FLOOD);
    assert_true(c.records_max <= STEP_RECORDS);
    forged_fini(&hello);
    forged_fini(&out);
    lab_fini(&lab);
}

/* --- Records that a handshake does not need ----------------------------------------------- */

static void barren_records_end_a_handshake(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint8_t type;
        uint8_t p[2];
        size_t len;
        bool before;             /* the hello */
    } cases[] = {
        {"CCS after the hello, 1.3", 20, {1}, 1, false},
        {"warnings after the hello, 1.3", 21, {1, 90}, 2, false},
        {"empty records in the hello", 22, {0}, 0, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lab lab;
        struct forged hello = {0}, out = {0};
        lab_init(&lab, lab_own.context, TLS1_3_VERSION);
        hello_take(&lab, &hello);
        if (cases[i].before) {
            forged_record(&out, 22, 0x301, hello.p + 5, 1);
        } else {
            forged_add(&out, hello.p, hello.len);
        }
        for (uint32_t k = 0; k < 1000; k++) {
            forged_record(&out, cases[i].type, 0x303, cases[i].p, cases[i].len);
        }
        struct cost c = cost_of(&lab, &out, NULL);
        cost_tell(cases[i].name, &c);
        check_failed(&lab, CLOSE_TLS_FLOOD);
        assert_true(c.records <= 1 + BARREN + 1);
        forged_fini(&hello);
        forged_fini(&out);
        lab_fini(&lab);
    }
    /* One CCS more than needed is nobody's harm (middlebox compatibility, RFC 8446 D.4). */
    struct lab lab;
    lab_init(&lab, lab_own.context, TLS1_3_VERSION);
    lab_client_did(&lab, SSL_do_handshake(lab.client));
    lab_to_machine(&lab);
    feed(&lab, "\x14\x03\x03\0\x01\x01", 6);
    lab_to_client(&lab);
    assert_true(lab_handshake(&lab));
    lab_echo(&lab);
    lab_fini(&lab);
}

/* After each flight, what does not belong there. */
static void junk_in_a_handshake(void **state) {
    (void)state;
    static const struct {
        const char *p;
        size_t len;
    } junk[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27}, {"\x17\x03\x03\0\x03" "abc", 8},
        {"\x16\x03\x03\0\x04\x14\0\0\0", 9},
        {"\x16\x03\x03\0\x04\x10\0\0\0", 9},
        {"\x15\x03\x03\0\x02\x02\x28", 7}, {"\x80\x2e\x01\x03\x01\0\x15", 7},
    };
    for (int v = 0; v < 2; v++) {
        for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
            struct lab lab;
            lab_init(&lab, lab_own.context, lab_versions[v]);
            lab_client_did(&lab, SSL_do_handshake(lab.client));
            lab_to_machine(&lab);
            feed(&lab, junk[i].p, junk[i].len);
            check_failed(&lab, CLOSE_TLS_HANDSHAKE);
            lab_fini(&lab);
        }
    }
}

/* --- Handshakes that nobody finishes ------------------------------------------------------ */

/* The client leaves after any byte of its flights: nothing is decided, and little is held. */
static void unfinished_handshakes_hold_little(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        struct forged hello = {0};
        lab_init(&lab, lab_own.context, lab_versions[v]);
        hello_take(&lab, &hello);
        lab_fini(&lab);
        static const size_t cuts[] = {0, 1, 5, 9, 60};
        size_t most = 0;
        for (size_t i = 0; i <= sizeof cuts / sizeof *cuts; i++) {
            size_t len = i < sizeof cuts / sizeof *cuts ? cuts[i] : hello.len;
            lab_init(&lab, lab_own.context, lab_versions[v]);
            held = at_once = 0;
            counting = true;
            feed(&lab, hello.p, len);
            counting = false;
            assert_int_equal(lab.want, TLS_WANT_CIPHER);
            assert_int_equal(tls_why(lab.tls), CLOSE_NONE);
            assert_true(len == hello.len || held == 0);   /* who says little costs little */
            assert_in_range(held, 0, HALF_OPEN_BYTES);
            most = held > most ? held : most;
            if (getenv("TLS_TIMES") != NULL) {
                print_message("after %zu bytes of the hello OpenSSL holds %zu bytes\n", len, held);
            }
            lab_fini(&lab);
        }
        assert_in_range(most, 20000, HALF_OPEN_BYTES);   /* or the counting is broken */
        forged_fini(&hello);
    }
}

/* A hello that is a recording of somebody's is answered, and that is all. */
static void a_replayed_hello_comes_to_nothing(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        struct forged bytes = {0};
        lab_init(&lab, lab_own.context, lab_versions[v]);
        lab_client_did(&lab, SSL_do_handshake(lab.client));
        forged_client(&bytes, &lab);
        size_t hello_len = bytes.len;
        feed(&lab, bytes.p, hello_len);
        lab_to_client(&lab);
        lab_client_did(&lab, SSL_do_handshake(lab.client));
        lab_to_client(&lab);
        forged_client(&bytes, &lab);
        lab_fini(&lab);
        lab_init(&lab, lab_own.context, lab_versions[v]);
        feed(&lab, bytes.p, hello_len);
        check_answered(&lab);
        feed(&lab, bytes.p + hello_len, bytes.len - hello_len);
        check_failed(&lab, CLOSE_TLS_HANDSHAKE);
        forged_fini(&bytes);
        lab_fini(&lab);
    }
}

/* --- What a handshake costs --------------------------------------------------------------- */

static uint32_t signature_count;

static void message_seen(int sent, int version, int type, const void *p, size_t len, SSL *ssl,
                         void *arg) {
    (void)version, (void)len, (void)ssl, (void)arg;
    uint8_t message = *(const uint8_t *)p;
    signature_count += !sent && type == SSL3_RT_HANDSHAKE &&
                       (message == SSL3_MT_SERVER_KEY_EXCHANGE ||
                        message == SSL3_MT_CERTIFICATE_VERIFY);
}

/* All of the work with the private key is in one step, once; resuming takes none. */
static void cost_of_handshake(struct tls_context *context, int version, const char *what,
                              const char *client_groups) {
    SSL_SESSION *session = NULL;
    for (int resumed = 0; resumed < 2; resumed++) {
        struct lab lab;
        struct forged out = {0};
        signature_count = 0;
        uint32_t costly = 0;
        lab_init(&lab, context, version);
        SSL_set_msg_callback(lab.client, message_seen);
        SSL_set1_groups_list(lab.client, client_groups);
        if (resumed) {
            assert_int_equal(SSL_set_session(lab.client, session), 1);
        }
        for (int flight = 0; flight < 4 && !tls_is_up(lab.tls); flight++) {
            uint32_t before = signature_count;
            out.len = 0;
            lab_client_did(&lab, SSL_do_handshake(lab.client));
            forged_client(&out, &lab);
            struct cost c = cost_of(&lab, &out, NULL);
            assert_int_equal(c.steps, 1);
            lab_to_client(&lab);
            lab_client_did(&lab, SSL_do_handshake(lab.client));
            costly += signature_count > before;
            char text[64];
            snprintf(text, sizeof text, "%s%s, flight %d", what, resumed ? ", resumed" : "",
                     flight + 1);
            cost_tell(text, &c);
            assert_true(signature_count - before <= 1);
        }
        assert_true(tls_is_up(lab.tls));
        assert_int_equal(costly, resumed ? 0 : 1);
        if (!resumed) {
            char byte;
            size_t done;
            lab_client_did(&lab, SSL_peek_ex(lab.client, &byte, 1, &done));   /* the ticket */
            assert_non_null(lab.session);
            session = lab.session;
            lab.session = NULL;
        }
        forged_fini(&out);
        lab_fini(&lab);
    }
    SSL_SESSION_free(session);
}

static void one_signature_a_handshake(void **state) {
    (void)state;
    struct lab_pair rsa = lab_rsa("rsa.test", "DNS:rsa.test");
    struct tls_certificate *certificate = lab_load("rsa.pem", &rsa);
    struct tls_context *context = lab_context(&certificate, 1, lab_own.tickets);
    cost_of_handshake(lab_own.context, TLS1_2_VERSION, "ECDSA, 1.2", "X25519:P-256");
    cost_of_handshake(lab_own.context, TLS1_3_VERSION, "ECDSA, 1.3", "X25519:P-256");
    cost_of_handshake(lab_own.context, TLS1_3_VERSION, "ECDSA, 1.3, P-384", "P-384");
    cost_of_handshake(lab_own.context, TLS1_3_VERSION, "ECDSA, 1.3, asked again", "P-521:P-384");
    cost_of_handshake(context, TLS1_2_VERSION, "RSA 2048, 1.2", "X25519:P-256");
    cost_of_handshake(context, TLS1_3_VERSION, "RSA 2048, 1.3", "X25519:P-256");
    tls_context_free(context);
    tls_certificate_free(certificate);
    lab_pair_free(&rsa);
}

int main(void) {
    if (CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free) != 1) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_is_known_by_its_method),
        cmocka_unit_test(other_protocols_are_refused),
        cmocka_unit_test(old_and_foreign_hellos_are_refused),
        cmocka_unit_test(large_hellos),
        cmocka_unit_test(a_length_is_not_believed),
        cmocka_unit_test(the_second_hello_is_measured_too),
        cmocka_unit_test(a_hello_in_records_of_a_byte),
        cmocka_unit_test(barren_records_end_a_handshake),
        cmocka_unit_test(junk_in_a_handshake),
        cmocka_unit_test(unfinished_handshakes_hold_little),
        cmocka_unit_test(a_replayed_hello_comes_to_nothing),
        cmocka_unit_test(one_signature_a_handshake),
    };
    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
