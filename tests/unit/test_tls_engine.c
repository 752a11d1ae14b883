/* The machine: handshakes, data both ways, ends, failures and floods. Long, as each of these is a
 * few lines of one lab. */
#include "tls_site.h"

static void handshake_both_versions(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        for (uint32_t feed = 0; feed < 2; feed++) {   /* all at once, and byte by byte */
            struct lab lab;
            struct tls_facts facts;
            lab_init(&lab, lab_own.context, lab_versions[v]);
            lab.feed_max = feed;
            tls_facts(lab.tls, &facts);
            assert_string_equal(facts.version, "");
            assert_false(tls_is_up(lab.tls));
            assert_true(lab_handshake(&lab));
            tls_facts(lab.tls, &facts);
            assert_string_equal(facts.version, v == 0 ? "TLSv1.2" : "TLSv1.3");
            assert_string_equal(facts.cipher, v == 0 ? "ECDHE-ECDSA-AES128-GCM-SHA256"
                                                     : "TLS_AES_128_GCM_SHA256");
            assert_int_equal(facts.server_name.len, 0);
            assert_false(facts.resumed);
            assert_int_equal(lab.want, TLS_WANT_CIPHER);
            assert_int_equal(tls_why(lab.tls), CLOSE_NONE);
            assert_string_equal(tls_error(lab.tls), "");
            lab_echo(&lab);
            assert_int_equal(lab.session_count, 1);   /* one ticket, not two */
            lab_fini(&lab);
        }
    }
}

static void prefers_chacha_where_the_client_does(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        struct tls_facts facts;
        lab_init(&lab, lab_own.context, lab_versions[v]);
        SSL_set_cipher_list(lab.client,
                            "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256");
        SSL_set_ciphersuites(lab.client, "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256");
        assert_true(lab_handshake(&lab));
        tls_facts(lab.tls, &facts);
        assert_non_null(strstr(facts.cipher, "CHACHA20"));
        lab_fini(&lab);
    }
}

static void groups(void **state) {
    (void)state;
    static const char *const names[] = {"X25519", "P-256", "P-384", "P-521", "X25519MLKEM768"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct lab lab;
        lab_init(&lab, lab_own.context, TLS1_3_VERSION);
        if (SSL_set1_groups_list(lab.client, names[i]) == 1) {
            assert_int_equal(lab_handshake(&lab), strcmp(names[i], "P-521") != 0);
        }
        lab_fini(&lab);
    }
    /* A HelloRetryRequest: the client guesses a group that is not ours. */
    struct lab lab;
    lab_init(&lab, lab_own.context, TLS1_3_VERSION);
    SSL_set1_groups_list(lab.client, "P-521:P-384");
    SSL_set_tlsext_host_name(lab.client, "example.org");
    assert_true(lab_handshake(&lab));
    lab_echo(&lab);
    lab_fini(&lab);
}

/* --- Data --------------------------------------------------------------------------------- */

/* Sends size random bytes both ways at once, in random pieces, with the given marks, taking from
 * plain_out and cipher_out in random pieces too. Returns what steps wanted, a set. */
static unsigned transfer(int version, uint32_t size, uint32_t plain_mark, uint32_t cipher_mark,
                     uint32_t piece_max, uint64_t seed) {
    struct lab lab;
    lab_init(&lab, lab_own.context, version);
    assert_true(lab_handshake(&lab));
    lab.plain_out.mark = plain_mark;
    lab.cipher_out.mark = cipher_mark;
    uint8_t *text = malloc(size), *up = malloc(size), *down = malloc(size + 1), wire[65536];
    assert_int_equal(RAND_bytes(text, (int)size), 1);
    uint32_t sent_up = 0, sent_down = 0, got_up = 0, got_down = 0, idle = 0;
    unsigned wanted = 0;
    while ((got_up < size || got_down < size) && idle < 2000) {
        uint32_t before = sent_up + sent_down + got_up + got_down;
        uint32_t n = 1 + lab_random(&seed, piece_max);
        n = n < size - sent_up ? n : size - sent_up;
        if (n > 0 && BIO_pending(lab.from_client) < 200000) {
            lab_client_write(&lab, text + sent_up, n);
            sent_up += n;
        }
        n = 1 + lab_random(&seed, piece_max);
        n = n < size - sent_down ? n : size - sent_down;
        if (lab.plain_in.bytes < 200000) {
            bufq_copy(&lab.plain_in, text + sent_down, n);
            sent_down += n;
        }
        if (lab.cipher_in.bytes < 100000) {
            int got = BIO_read(lab.from_client, wire, 1 + (int)lab_random(&seed, sizeof wire));
            bufq_copy(&lab.cipher_in, wire, got > 0 ? (uint32_t)got : 0);
        }
        lab_step(&lab);
        wanted |= 1u << lab.want;
        assert_int_not_equal(lab.want, TLS_FAILED);
        assert_true(lab.plain_out.bytes <= plain_mark);
        assert_true(lab.cipher_out.bytes < cipher_mark + 16384 + 64);
        n = lab_random(&seed, lab.plain_out.bytes + 1);
        n = bufq_read(&lab.plain_out, up + got_up, n);
        bufq_drop(&lab.plain_out, n);
        got_up += n;
        n = bufq_read(&lab.cipher_out, wire, lab_random(&seed, sizeof wire));
        assert_true(n == 0 || BIO_write(lab.to_client, wire, (int)n) == (int)n);
        bufq_drop(&lab.cipher_out, n);
        got_down += (uint32_t)lab_client_read(&lab, down + got_down, size + 1 - got_down);
        idle = before == sent_up + sent_down + got_up + got_down ? idle + 1 : 0;
    }
    assert_int_equal(got_up, size);
    assert_int_equal(got_down, size);
    assert_memory_equal(up, text, size);
    assert_memory_equal(down, text, size);
    free(text);
    free(up);
    free(down);
    lab_fini(&lab);
    return wanted;
}

static void data_both_ways(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        /* The smallest marks first. */
        unsigned wanted = transfer(lab_versions[v], 60000, 1, 1, 2000, 1);
        wanted |= transfer(lab_versions[v], 200000, 1000, 700, 5000, 2);
        wanted |= transfer(lab_versions[v], 4000000, 65536, 32768, 60000, 3);
        wanted |= transfer(lab_versions[v], 4000000, 20000, 16384, 16384, 4);
        wanted |= transfer(lab_versions[v], 4000000, 400000, 400000, 65536, 5);
        wanted |= transfer(lab_versions[v], 30000, 65536, 32768, 3, 6);      /* tiny records */
        assert_int_equal(wanted, 1u << TLS_WANT_CIPHER | 1u << TLS_WANT_ROOM |
                                     1u << TLS_WANT_FLUSH | 1u << TLS_WANT_TURN);
    }
}

static void records_are_full(void **state) {
    (void)state;
    struct lab lab;
    uint8_t text[1000] = {0};
    lab_init(&lab, lab_own.context, TLS1_3_VERSION);
    assert_true(lab_handshake(&lab));
    for (int i = 0; i < 40; i++) {
        struct seg *seg = seg_new_sized(sizeof text);   /* pieces that do not lie together */
        memcpy(seg->data, text, sizeof text);
        bufq_push(&lab.plain_in, seg, 0, sizeof text);
        seg_unref(seg);
    }
    lab_step(&lab);
    assert_int_equal(lab.want, TLS_WANT_FLUSH);
    /* Two full records reach the mark of 32 KiB, in one segment: one send. */
    assert_int_equal(lab.cipher_out.bytes, 2 * (16384 + 22));
    assert_int_equal(lab.cipher_out.count, 1);
    assert_int_equal(lab.plain_in.bytes, 40000 - 2 * 16384);
    lab_to_client(&lab);
    lab_step(&lab);
    assert_int_equal(lab.want, TLS_WANT_CIPHER);
    assert_int_equal(lab.cipher_out.bytes, 40000 - 2 * 16384 + 22);
    lab_fini(&lab);
}

static void a_step_is_bounded(void **state) {
    (void)state;
    struct lab lab;
    static uint8_t text[300000];
    lab_init(&lab, lab_own.context, TLS1_3_VERSION);
    assert_true(lab_handshake(&lab));
    lab.plain_out.mark = lab.cipher_out.mark = 1u << 20;
    for (uint32_t at = 0; at < sizeof text; at += 10000) {
        lab_client_write(&lab, text + at, 10000);
    }
    char *p;
    long len = BIO_get_mem_data(lab.from_client, &p);
    bufq_copy(&lab.cipher_in, p, (uint32_t)len);
    bufq_copy(&lab.plain_in, text, sizeof text);
    uint32_t decrypted = 0, encrypted = 0, steps = 0;
    do {
        uint32_t out = lab.plain_out.bytes, in = lab.plain_in.bytes;
        lab_step(&lab);
        decrypted = lab.plain_out.bytes - out;
        encrypted = in - lab.plain_in.bytes;
        assert_true(decrypted <= 65536 + 4096 && encrypted <= 65536 + 16384);
        steps++;
    } while (lab.want == TLS_WANT_TURN);
    assert_true(steps >= 5);
    assert_int_equal(lab.want, TLS_WANT_CIPHER);
    assert_int_equal(lab.plain_out.bytes, sizeof text);
    assert_int_equal(lab.plain_in.bytes, 0);
    lab_fini(&lab);
}

static void full_plain_out_stops_reading(void **state) {
    (void)state;
    struct lab lab;
    static uint8_t text[16384];
    lab_init(&lab, lab_own.context, TLS1_3_VERSION);
    assert_true(lab_handshake(&lab));
    lab.plain_out.mark = 100;
    lab_client_write(&lab, text, sizeof text);
    lab_client_write(&lab, text, sizeof text);
    lab_to_machine(&lab);
    assert_int_equal(lab.want, TLS_WANT_ROOM);
    assert_int_equal(lab.plain_out.bytes, 100);
    /* The second record has not been touched. */
    assert_int_equal(lab.cipher_in.bytes, 16384 + 22);
    bufq_drop(&lab.plain_out, 100);
    lab_step(&lab);
    assert_int_equal(lab.want, TLS_WANT_ROOM);
    lab.plain_out.mark = 1u << 20;
    lab_step(&lab);
    assert_int_equal(lab.want, TLS_WANT_CIPHER);
    assert_int_equal(lab.plain_out.bytes, 2 * sizeof text - 100);
    lab_fini(&lab);
}

/* --- Ends --------------------------------------------------------------------------------- */

static void ends_both_ways(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        char text[32] = "";
        lab_init(&lab, lab_own.context, lab_versions[v]);
        assert_true(lab_handshake(&lab));
        /* The client ends first: what it said before is kept, what comes after is ignored. */
        lab_client_write(&lab, "last words", 10);
        assert_int_equal(SSL_shutdown(lab.client), 0);
        lab.plain_out.mark = 4;
        lab_to_machine(&lab);
        assert_int_equal(lab.want, TLS_WANT_ROOM);
        assert_false(tls_is_ended(lab.tls));   /* not before all of it was taken */
        lab.plain_out.mark = 100;
        lab_step(&lab);
        assert_true(tls_is_ended(lab.tls));
        assert_int_equal(lab.want, TLS_WANT_CIPHER);
        bufq_read(&lab.plain_out, text, sizeof text);
        assert_string_equal(text, "last words");
        bufq_copy(&lab.cipher_in, "garbage", 7);
        assert_int_equal(lab_step(&lab), TLS_WANT_CIPHER);
        assert_int_equal(lab.cipher_in.bytes, 0);
        /* Our side still speaks, then ends. */
        bufq_copy(&lab.plain_in, "answer", 6);
        lab_step(&lab);
        tls_end(lab.tls, &lab.cipher_out);
        uint32_t len = lab.cipher_out.bytes;
        tls_end(lab.tls, &lab.cipher_out);
        bufq_copy(&lab.plain_in, "too late", 8);
        lab_step(&lab);
        assert_int_equal(lab.cipher_out.bytes, len);
        assert_int_equal(lab.plain_in.bytes, 8);
        lab_to_client(&lab);
        memset(text, 0, sizeof text);
        assert_int_equal(lab_client_read(&lab, text, sizeof text), 6);
        assert_string_equal(text, "answer");
        assert_int_equal(lab.client_error, SSL_ERROR_ZERO_RETURN);
        assert_int_equal(tls_why(lab.tls), CLOSE_NONE);
        lab_fini(&lab);
    }
}

static void we_end_first_and_still_read(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        char byte;
        lab_init(&lab, lab_own.context, lab_versions[v]);
        assert_true(lab_handshake(&lab));
        tls_end(lab.tls, &lab.cipher_out);
        lab_client_write(&lab, "on its way", 10);
        lab_to_machine(&lab);
        assert_int_equal(lab.want, TLS_WANT_CIPHER);
        assert_int_equal(lab.plain_out.bytes, 10);
        lab_to_client(&lab);
        assert_int_equal(lab_client_read(&lab, &byte, 1), 0);
        assert_int_equal(lab.client_error, SSL_ERROR_ZERO_RETURN);
        assert_int_equal(SSL_shutdown(lab.client), 1);
        lab_to_machine(&lab);
        assert_true(tls_is_ended(lab.tls));
        lab_fini(&lab);
    }
}

static void end_before_the_handshake_is_silent(void **state) {
    (void)state;
    struct lab lab;
    lab_init(&lab, lab_own.context, 0);
    tls_end(lab.tls, &lab.cipher_out);
    assert_int_equal(lab.cipher_out.bytes, 0);
    lab_client_did(&lab, SSL_do_handshake(lab.client));
    lab.feed_max = 50;
    lab_to_machine(&lab);
    lab_fini(&lab);
}

static void truncation_shows(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        uint8_t text[1000] = {0}, wire[1200];
        lab_init(&lab, lab_own.context, lab_versions[v]);
        assert_true(lab_handshake(&lab));
        lab_client_write(&lab, text, sizeof text);
        int n = BIO_read(lab.from_client, wire, sizeof wire);
        bufq_copy(&lab.cipher_in, wire, (uint32_t)n - 1);
        assert_int_equal(lab_step(&lab), TLS_WANT_CIPHER);
        /* Nothing of a record that lacks its last byte is believed. */
        assert_int_equal(lab.plain_out.bytes, 0);
        assert_int_equal(lab.cipher_in.bytes, 0);
        assert_false(tls_is_ended(lab.tls));
        lab_fini(&lab);
    }
}

/* --- Failures ----------------------------------------------------------------------------- */

static void check_failed(struct lab *lab, enum close_reason why) {
    assert_int_equal(lab->want, TLS_FAILED);
    assert_int_equal(tls_why(lab->tls), why);
    assert_true(strlen(tls_error(lab->tls)) > 3);
    uint32_t len = lab->cipher_out.bytes;
    assert_int_equal(lab_step(lab), TLS_FAILED);   /* it stays so, and says it once */
    tls_end(lab->tls, &lab->cipher_out);
    assert_int_equal(lab->cipher_out.bytes, len);
    assert_int_equal(ERR_peek_error(), 0);         /* nothing for the next connection */
}

static void refuses_old_versions_and_suites(void **state) {
    (void)state;
    static const struct {
        int version;
        const char *suites;
        int reason;
    } cases[] = {
        {TLS1_1_VERSION, "ALL:@SECLEVEL=0", SSL_R_TLSV1_ALERT_PROTOCOL_VERSION},
        {TLS1_VERSION, "ALL:@SECLEVEL=0", SSL_R_TLSV1_ALERT_PROTOCOL_VERSION},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE},
        {TLS1_2_VERSION, "AES128-GCM-SHA256", SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE},
        {TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256", SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lab lab;
        lab_init(&lab, lab_own.context, cases[i].version);
        assert_int_equal(SSL_set_cipher_list(lab.client, cases[i].suites), 1);
        assert_false(lab_handshake(&lab));
        assert_int_equal(lab.client_error, SSL_ERROR_SSL);   /* it has read our alert */
        assert_int_equal(ERR_GET_REASON(lab.client_reason), cases[i].reason);
        check_failed(&lab, CLOSE_TLS_HANDSHAKE);
        lab_fini(&lab);
    }
}

static void refuses_garbage(void **state) {
    (void)state;
    struct lab lab;
    uint64_t seed = 7;
    for (int i = 0; i < 300; i++) {
        uint8_t noise[200];
        for (size_t k = 0; k < sizeof noise; k++) {
            noise[k] = (uint8_t)lab_random(&seed, 256);
        }
        noise[0] = i % 2 == 0 ? 22 : noise[0];   /* half of it looks like a handshake */
        noise[1] = i % 2 == 0 ? 3 : noise[1];
        noise[2] = i % 4 == 0 ? 1 : noise[2];
        noise[3] = 0;
        noise[4] = i % 2 == 0 ? 100 : noise[4];
        lab_init(&lab, lab_own.context, 0);
        bufq_copy(&lab.cipher_in, noise, sizeof noise);
        lab_to_machine(&lab);
        if (lab.want == TLS_FAILED) {
            check_failed(&lab, CLOSE_TLS_HANDSHAKE);
        }
        lab_fini(&lab);
    }
    lab_init(&lab, lab_own.context, 0);
    bufq_copy(&lab.cipher_in, "SSH-2.0-OpenSSH_9.2p1 Debian\r\n", 30);
    lab_to_machine(&lab);
    check_failed(&lab, CLOSE_TLS_HANDSHAKE);
    lab_fini(&lab);
}

/* A real ClientHello with some bytes changed: refused or served, but never out of bounds. */
static void survives_mutation(void **state) {
    (void)state;
    uint64_t seed = 11;
    for (int i = 0; i < 400; i++) {
        struct lab lab;
        uint8_t wire[4096];
        lab_init(&lab, lab_own.context, 0);
        SSL_set_tlsext_host_name(lab.client, "www.example.org");
        SSL_set_alpn_protos(lab.client, (const unsigned char *)"\x08http/1.1", 9);
        lab_client_did(&lab, SSL_do_handshake(lab.client));
        int n = BIO_read(lab.from_client, wire, sizeof wire);
        for (uint32_t k = 0; k <= lab_random(&seed, 3); k++) {
            wire[lab_random(&seed, (uint32_t)n)] ^= (uint8_t)(1u << lab_random(&seed, 8));
        }
        bufq_copy(&lab.cipher_in, wire, (uint32_t)n);
        lab_to_machine(&lab);
        if (lab.want == TLS_FAILED) {
            check_failed(&lab, CLOSE_TLS_HANDSHAKE);
        }
        lab_fini(&lab);
    }
}

static void knows_plain_http(void **state) {
    (void)state;
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", "POST /x HTTP/1.1\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n", "PUT /a HTTP/1.1\r\n\r\n",
        "CONNECT example.org:443 HTTP/1.1\r\n\r\n"};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct lab lab;
        lab_init(&lab, lab_own.context, 0);
        bufq_copy(&lab.cipher_in, requests[i], (uint32_t)strlen(requests[i]));
        lab_to_machine(&lab);
        assert_int_equal(lab.cipher_out.bytes, 0);   /* no alert in front of a readable answer */
        check_failed(&lab, CLOSE_PLAIN_HTTP);
        lab_fini(&lab);
    }
}

static void a_damaged_record_is_an_error(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct lab lab;
        uint8_t wire[256];
        lab_init(&lab, lab_own.context, lab_versions[v]);
        assert_true(lab_handshake(&lab));
        lab_client_write(&lab, "good", 4);
        lab_client_write(&lab, "bad", 3);
        int n = BIO_read(lab.from_client, wire, sizeof wire);
        wire[n - 1] ^= 1;
        bufq_copy(&lab.cipher_in, wire, (uint32_t)n);
        lab_step(&lab);
        assert_int_equal(lab.plain_out.bytes, 4);   /* what came before it */
        assert_true(lab.cipher_out.bytes > 0);      /* bad_record_mac */
        check_failed(&lab, CLOSE_TLS_ERROR);
        lab_fini(&lab);
    }
}

static void a_fatal_alert_is_an_error(void **state) {
    (void)state;
    struct lab lab;
    lab_init(&lab, lab_own.context, TLS1_3_VERSION);
    SSL_set_verify(lab.client, SSL_VERIFY_PEER, NULL);   /* it does not know our issuer */
    lab_client_did(&lab, SSL_do_handshake(lab.client));
    lab_to_machine(&lab);
    lab_to_client(&lab);
    assert_false(lab_client_did(&lab, SSL_do_handshake(lab.client)));
    lab_to_machine(&lab);
    assert_non_null(strstr(tls_error(lab.tls), "alert"));
    check_failed(&lab, CLOSE_TLS_HANDSHAKE);
    lab_fini(&lab);
}

/* --- Floods ------------------------------------------------------------------------------- */

static void key_updates(struct lab *lab, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(SSL_key_update(lab->client, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_true(lab_client_did(lab, SSL_do_handshake(lab->client)));
    }
}

static void key_updates_are_bounded(void **state) {
    (void)state;
    struct lab lab;
    lab_init(&lab, lab_own.context, TLS1_3_VERSION);
    assert_true(lab_handshake(&lab));
    /* As many as are allowed, over and over, with data between: works, and is answered. */
    for (int i = 0; i < 4; i++) {
        key_updates(&lab, 32);
        lab_echo(&lab);
    }
    /* One more than that: the end. */
    key_updates(&lab, 33);
    lab_to_machine(&lab);
    check_failed(&lab, CLOSE_TLS_FLOOD);
    lab_fini(&lab);

    lab_init(&lab, lab_own.context, TLS1_3_VERSION);
    assert_true(lab_handshake(&lab));
    key_updates(&lab, 10000);
    lab_to_machine(&lab);
    assert_true(lab.cipher_out.bytes < 33 * 64);
    check_failed(&lab, CLOSE_TLS_FLOOD);
    lab_fini(&lab);
}

/* A peer that makes us reply and reads nothing: the replies have a bound, and then it is not read;
 * no step takes more than its share. */
static void replies_are_bounded(void **state) {
    (void)state;
    struct lab lab;
    lab_init(&lab, lab_own.context, TLS1_3_VERSION);
    assert_true(lab_handshake(&lab));
    lab.held = true;
    lab.cipher_out.mark = 1000;
    for (uint32_t i = 0; i < 3000; i++) {
        key_updates(&lab, 20);
        lab_client_write(&lab, "x", 1);
        if (i == 1) {
            bufq_copy(&lab.plain_in, "answer", 6);
        }
    }
    uint8_t wire[65536];
    int n;
    uint32_t steps = 0;
    while ((n = BIO_read(lab.from_client, wire, sizeof wire)) > 0) {
        bufq_copy(&lab.cipher_in, wire, (uint32_t)n);
    }
    do {
        lab_step(&lab);
        steps++;
    } while (lab.want == TLS_WANT_TURN);
    assert_int_equal(lab.want, TLS_WANT_FLUSH);
    assert_true(steps > 10);
    assert_true(lab.cipher_out.bytes < 1000 + 16384 + 3072);
    assert_true(lab.cipher_in.bytes > 100000);
    lab_fini(&lab);
}

/* OpenSSL holds data back while half a message has come; nothing breaks. */
static void half_a_key_update(void **state) {
    (void)state;
    struct lab lab;
    uint8_t wire[256];
    lab_init(&lab, lab_own.context, TLS1_3_VERSION);
    assert_true(lab_handshake(&lab));
    key_updates(&lab, 1);
    int n = BIO_read(lab.from_client, wire, sizeof wire);
    bufq_copy(&lab.cipher_in, wire, (uint32_t)n - 1);
    bufq_copy(&lab.plain_in, "answer", 6);
    assert_int_equal(lab_step(&lab), TLS_WANT_CIPHER);
    bufq_copy(&lab.cipher_in, wire + n - 1, 1);
    assert_int_equal(lab_step(&lab), TLS_WANT_CIPHER);
    assert_int_equal(lab.plain_in.bytes, 0);
    lab_to_client(&lab);
    char text[16] = "";
    assert_int_equal(lab_client_read(&lab, text, sizeof text), 6);
    lab_echo(&lab);
    /* Key updates after our own close_notify do no harm either. */
    tls_end(lab.tls, &lab.cipher_out);
    key_updates(&lab, 3);
    lab_client_write(&lab, "still", 5);
    lab_to_machine(&lab);
    assert_int_equal(lab.want, TLS_WANT_CIPHER);
    assert_int_equal(lab.plain_out.bytes, 5);
    lab_fini(&lab);
}

static void renegotiation_is_refused(void **state) {
    (void)state;
    struct lab lab;
    char byte;
    lab_init(&lab, lab_own.context, TLS1_2_VERSION);
    assert_true(lab_handshake(&lab));
    assert_int_equal(SSL_renegotiate(lab.client), 1);
    lab_client_did(&lab, SSL_do_handshake(lab.client));
    lab_to_machine(&lab);
    assert_int_equal(lab.want, TLS_WANT_CIPHER);
    lab_to_client(&lab);
    assert_int_equal(lab_client_read(&lab, &byte, 1), 0);
    assert_int_equal(lab.client_error, SSL_ERROR_SSL);
    assert_int_equal(ERR_GET_REASON(lab.client_reason), SSL_R_NO_RENEGOTIATION);
    lab_fini(&lab);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake_both_versions),
        cmocka_unit_test(prefers_chacha_where_the_client_does),
        cmocka_unit_test(groups),
        cmocka_unit_test(data_both_ways),
        cmocka_unit_test(records_are_full),
        cmocka_unit_test(a_step_is_bounded),
        cmocka_unit_test(full_plain_out_stops_reading),
        cmocka_unit_test(ends_both_ways),
        cmocka_unit_test(we_end_first_and_still_read),
        cmocka_unit_test(end_before_the_handshake_is_silent),
        cmocka_unit_test(truncation_shows),
        cmocka_unit_test(refuses_old_versions_and_suites),
        cmocka_unit_test(refuses_garbage),
        cmocka_unit_test(survives_mutation),
        cmocka_unit_test(knows_plain_http),
        cmocka_unit_test(a_damaged_record_is_an_error),
        cmocka_unit_test(a_fatal_alert_is_an_error),
        cmocka_unit_test(key_updates_are_bounded),
        cmocka_unit_test(replies_are_bounded),
        cmocka_unit_test(half_a_key_update),
        cmocka_unit_test(renegotiation_is_refused),
    };
    return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
