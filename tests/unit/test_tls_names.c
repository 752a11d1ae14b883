/* Names: which certificate is shown to whom, misdirected requests, and ALPN. */
#include "tls_lab.h"

enum { FIRST, EXACT, WILD, BOTH_EC, BOTH_RSA, COMMON, ED, CERTIFICATES };

static struct lab_pair pairs[CERTIFICATES];
static struct tls_certificate *certificates[CERTIFICATES];
static struct tls_tickets *tickets;
static struct tls_context *context;

static int setup(void **state) {
    if (lab_folder_make(state) != 0) {
        return -1;
    }
    pairs[FIRST] = lab_ec("first.test", "DNS:first.test,DNS:www.first.test");
    pairs[EXACT] = lab_ec("x", "DNS:deep.example.org,DNS:EXACT.example.org,IP:127.0.0.1");
    pairs[WILD] = lab_ec("y", "DNS:*.example.org,DNS:example.org,DNS:f*.partial.org");
    pairs[BOTH_EC] = lab_ec("both.test", "DNS:both.test");
    pairs[BOTH_RSA] = lab_rsa("both.test", "DNS:both.test,DNS:rsa.test");
    pairs[COMMON] = lab_ec("Common.test", NULL);
    pairs[ED] = lab_make(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL, "DNS:ed.test", NULL);
    for (int i = 0; i < CERTIFICATES; i++) {
        certificates[i] = lab_load("names.pem", &pairs[i]);
    }
    tickets = tls_tickets_new();
    context = lab_context(certificates, CERTIFICATES, tickets);
    return 0;
}

static int teardown(void **state) {
    tls_context_free(context);
    tls_tickets_free(tickets);
    for (int i = 0; i < CERTIFICATES; i++) {
        tls_certificate_free(certificates[i]);
        lab_pair_free(&pairs[i]);
    }
    return lab_folder_drop(state);
}

static void check_shown(struct lab *lab, int which) {
    X509 *shown = SSL_get0_peer_certificate(lab->client);
    assert_non_null(shown);
    assert_int_equal(X509_cmp(shown, pairs[which].x), 0);
}

static void check_sni(const char *name, int version, const char *sigalgs, int which) {
    struct lab lab;
    struct tls_facts facts;
    lab_init(&lab, context, version);
    if (name != NULL) {
        SSL_set_tlsext_host_name(lab.client, name);
    }
    if (sigalgs != NULL) {
        assert_int_equal(SSL_set1_sigalgs_list(lab.client, sigalgs), 1);
    }
    assert_true(lab_handshake(&lab));
    check_shown(&lab, which);
    tls_facts(lab.tls, &facts);
    assert_int_equal(facts.server_name.len, name != NULL ? strlen(name) : 0);
    assert_memory_equal(facts.server_name.p != NULL ? facts.server_name.p : "",
                        name != NULL ? name : "", facts.server_name.len);
    lab_echo(&lab);
    lab_fini(&lab);
}

static void chooses_by_name(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int which;
    } cases[] = {
        {NULL, FIRST},
        {"first.test", FIRST},
        {"www.first.test", FIRST},
        {"unknown.test", FIRST},
        {"exact.example.org", EXACT},
        {"Deep.Example.ORG", EXACT},
        {"example.org", WILD},
        {"other.example.org", WILD},
        {"OTHER.example.org", WILD},
        {"one.two.example.org", FIRST},   /* a wildcard stands for one label */
        {"foo.partial.org", FIRST},       /* and for the whole of it */
        {"common.test", COMMON},
        {"x", FIRST},                     /* a common name beside a SAN is none */
        {"ed.test", ED},
        {"127.0.0.1", FIRST},
        {"localhost", FIRST},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_sni(cases[i].name, TLS1_3_VERSION, NULL, cases[i].which);
        check_sni(cases[i].name, TLS1_2_VERSION, NULL, cases[i].which);
    }
}

static void key_type_is_the_clients_choice(void **state) {
    (void)state;
    static const char rsa[] = "rsa_pss_rsae_sha256:RSA+SHA256", ec[] = "ECDSA+SHA256";
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        check_sni("both.test", version, rsa, BOTH_RSA);
        check_sni("both.test", version, ec, BOTH_EC);
        check_sni("rsa.test", version, rsa, BOTH_RSA);
    }
    /* A client that can do both gets the cheaper one. */
    check_sni("both.test", TLS1_2_VERSION, NULL, BOTH_EC);
    /* The name has an RSA certificate only, though the context has others. */
    struct lab lab;
    lab_init(&lab, context, TLS1_3_VERSION);
    SSL_set_tlsext_host_name(lab.client, "rsa.test");
    SSL_set1_sigalgs_list(lab.client, ec);
    assert_false(lab_handshake(&lab));
    assert_int_equal(tls_why(lab.tls), CLOSE_TLS_HANDSHAKE);
    lab_fini(&lab);
    lab_init(&lab, context, TLS1_2_VERSION);
    SSL_set_tlsext_host_name(lab.client, "both.test");
    SSL_set_cipher_list(lab.client, "ECDHE-RSA-AES128-GCM-SHA256");
    assert_true(lab_handshake(&lab));
    check_shown(&lab, BOTH_RSA);
    lab_fini(&lab);
}

/* The default too may be a pair of keys, for clients that send no name. */
static void default_of_two_key_types(void **state) {
    (void)state;
    struct tls_certificate *two[] = {certificates[BOTH_EC], certificates[BOTH_RSA]};
    for (int swap = 0; swap < 2; swap++) {
        struct tls_context *own = lab_context(two, 2, tickets);
        for (int which = BOTH_EC; which <= BOTH_RSA; which++) {
            struct lab lab;
            lab_init(&lab, own, 0);
            SSL_set1_sigalgs_list(lab.client, which == BOTH_EC ? "ECDSA+SHA256"
                                                               : "rsa_pss_rsae_sha256");
            assert_true(lab_handshake(&lab));
            check_shown(&lab, which);
            lab_fini(&lab);
        }
        tls_context_free(own);
        struct tls_certificate *first = two[0];
        two[0] = two[1];
        two[1] = first;
    }
}

static void first_of_one_type_wins(void **state) {
    (void)state;
    struct lab_pair again = lab_ec("both.test", "DNS:both.test");
    struct tls_certificate *same = lab_load("again.pem", &again);
    struct tls_certificate *list[] = {certificates[FIRST], certificates[BOTH_EC], same};
    struct tls_context *own = lab_context(list, 3, tickets);
    struct lab lab;
    lab_init(&lab, own, 0);
    SSL_set_tlsext_host_name(lab.client, "both.test");
    assert_true(lab_handshake(&lab));
    check_shown(&lab, BOTH_EC);
    lab_fini(&lab);
    tls_context_free(own);
    tls_certificate_free(same);
    lab_pair_free(&again);
}

/* A certificate without any name can still be the default. */
static void nameless_default(void **state) {
    (void)state;
    struct lab_pair pair = lab_ec(NULL, NULL);
    struct tls_certificate *certificate = lab_load("nameless.pem", &pair);
    struct tls_context *own = lab_context(&certificate, 1, tickets);
    struct lab lab;
    lab_init(&lab, own, 0);
    SSL_set_tlsext_host_name(lab.client, "any.test");
    assert_true(lab_handshake(&lab));
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(lab.client), pair.x), 0);
    assert_false(tls_is_misdirected(lab.tls, STR("other.test")));
    lab_fini(&lab);
    tls_context_free(own);
    tls_certificate_free(certificate);
    lab_pair_free(&pair);
}

/* What is no host name is as good as no name; it must not reach a log. */
static void strange_names(void **state) {
    (void)state;
    static const char *const names[] = {"a b", "a\"b", "a\nb", "*.example.org", "a:b", "..", "."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct lab lab;
        struct tls_facts facts;
        lab_init(&lab, context, 0);
        SSL_set_tlsext_host_name(lab.client, names[i]);
        assert_true(lab_handshake(&lab));
        check_shown(&lab, FIRST);
        tls_facts(lab.tls, &facts);
        assert_int_equal(facts.server_name.len, 0);
        lab_fini(&lab);
    }
    /* A final dot is against RFC 6066, and harmless. */
    check_sni("example.org.", TLS1_3_VERSION, NULL, WILD);
}

static void context_outlives_its_owner(void **state) {
    (void)state;
    struct tls_context *own = lab_context(certificates, 2, tickets);
    struct lab lab;
    lab_init(&lab, own, 0);
    tls_context_free(own);
    assert_true(lab_handshake(&lab));
    lab_echo(&lab);
    lab_fini(&lab);
}

/* --- Misdirected requests ----------------------------------------------------------------- */

static void misdirected(void **state) {
    (void)state;
    static const struct {
        const char *name, *host;
        bool is;
    } cases[] = {
        {"example.org", "example.org", false},
        {"example.org", "EXAMPLE.org", false},
        {"example.org", "example.org.", false},
        {"example.org", "first.test", true},
        {"example.org", "www.FIRST.test.", true},
        {"example.org", "other.example.org", false},   /* the same certificate */
        {"example.org", "exact.example.org", false},   /* its wildcard covers it all the same */
        {"exact.example.org", "example.org", true},
        {"exact.example.org", "deep.example.org", false},
        {"example.org", "nobody.test", false},
        {"example.org", "", false},
        {"example.org", "[::1]", false},
        {"both.test", "rsa.test", false},
        {"rsa.test", "both.test", false},
        {"unknown.test", "first.test", false},         /* the default covers it */
        {"unknown.test", "unknown.test", false},
        {"unknown.test", "example.org", true},
        {NULL, "example.org", false},
        {NULL, "first.test", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lab lab;
        lab_init(&lab, context, 0);
        if (cases[i].name != NULL) {
            SSL_set_tlsext_host_name(lab.client, cases[i].name);
        }
        assert_true(lab_handshake(&lab));
        assert_int_equal(tls_is_misdirected(lab.tls, str_of(cases[i].host)), cases[i].is);
        lab_fini(&lab);
    }
}

/* --- ALPN --------------------------------------------------------------------------------- */

static void alpn(void **state) {
    (void)state;
    static const struct {
        const char *offer, *chosen;   /* chosen NULL: refused */
    } cases[] = {
        {"", ""},
        {"\x08http/1.1", "http/1.1"},
        {"\x02h2\x08http/1.1", "http/1.1"},
        {"\x08http/1.0\x08http/1.1", "http/1.1"},
        {"\x08http/1.0", "http/1.0"},
        {"\x02h2", NULL},
        {"\x02h2\x08spdy/3.1", NULL},
        {"\x08HTTP/1.1", NULL},
    };
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct lab lab;
            const unsigned char *chosen;
            unsigned int len = (unsigned int)strlen(cases[i].offer);
            lab_init(&lab, context, version);
            SSL_set_alpn_protos(lab.client, (const unsigned char *)cases[i].offer, len);
            assert_int_equal(lab_handshake(&lab), cases[i].chosen != NULL);
            if (cases[i].chosen == NULL) {
                assert_int_equal(ERR_GET_REASON(lab.client_reason),
                                 SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL);
                assert_int_equal(tls_why(lab.tls), CLOSE_TLS_HANDSHAKE);
            } else {
                SSL_get0_alpn_selected(lab.client, &chosen, &len);
                assert_int_equal(len, strlen(cases[i].chosen));
                assert_memory_equal(chosen != NULL ? (const char *)chosen : "", cases[i].chosen,
                                    len);
            }
            lab_fini(&lab);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chooses_by_name),
        cmocka_unit_test(key_type_is_the_clients_choice),
        cmocka_unit_test(default_of_two_key_types),
        cmocka_unit_test(first_of_one_type_wins),
        cmocka_unit_test(nameless_default),
        cmocka_unit_test(strange_names),
        cmocka_unit_test(context_outlives_its_owner),
        cmocka_unit_test(misdirected),
        cmocka_unit_test(alpn),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
