/* Tickets: resumption across contexts, time and threads. */
#include <pthread.h>
#include <stdatomic.h>

#include "tls_lab.h"

static struct lab_site site;
static struct tls_context *second;   /* another worker's context */

static int setup(void **state) {
    if (lab_folder_make(state) != 0) {
        return -1;
    }
    lab_site_init(&site);
    second = lab_context(&site.certificate, 1, site.tickets);
    return 0;
}

static int teardown(void **state) {
    tls_context_free(second);
    lab_site_fini(&site);
    return lab_folder_drop(state);
}

static bool same_ticket(const SSL_SESSION *a, const SSL_SESSION *b) {
    const unsigned char *p, *q;
    size_t p_len, q_len;
    SSL_SESSION_get0_ticket(a, &p, &p_len);
    SSL_SESSION_get0_ticket(b, &q, &q_len);
    return p_len == q_len && memcmp(p, q, p_len) == 0;
}

/* A connection with that session (or none); returns the session that the client has then. */
static SSL_SESSION *connect_with(struct tls_context *context, int version, SSL_SESSION *session,
                                 const char *name, bool *resumed) {
    struct lab lab;
    struct tls_facts facts;
    lab_init(&lab, context, version);
    if (name != NULL) {
        SSL_set_tlsext_host_name(lab.client, name);
    }
    if (session != NULL) {
        /* A copy: OpenSSL's client spoils a session of TLS 1.3 that it has used. */
        SSL_SESSION *copy = SSL_SESSION_dup(session);
        assert_int_equal(SSL_set_session(lab.client, copy), 1);
        SSL_SESSION_free(copy);
    }
    assert_true(lab_handshake(&lab));
    lab_echo(&lab);
    tls_facts(lab.tls, &facts);
    assert_int_equal(facts.resumed, SSL_session_reused(lab.client));
    assert_int_equal(facts.server_name.len, name != NULL ? strlen(name) : 0);
    *resumed = facts.resumed;
    /* TLS 1.3: one ticket each time. TLS 1.2 tells of a renewed one in the session only. */
    if (version == TLS1_3_VERSION || session == NULL) {
        assert_int_equal(lab.session_count, 1);
    }
    SSL_SESSION *newest = SSL_get1_session(lab.client);
    lab_fini(&lab);
    return newest;
}

static bool resumes(struct tls_context *context, int version, SSL_SESSION *session) {
    bool resumed;
    SSL_SESSION_free(connect_with(context, version, session, NULL, &resumed));
    return resumed;
}

static void resumes_anywhere(void **state) {
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        bool resumed;
        SSL_SESSION *session = connect_with(site.context, version, NULL, "example.org", &resumed);
        assert_false(resumed);
        for (int i = 0; i < 4; i++) {   /* from worker to worker */
            SSL_SESSION *next = connect_with(i % 2 == 0 ? second : site.context, version, session,
                                             "example.org", &resumed);
            assert_true(resumed);
            assert_int_equal(same_ticket(session, next), version == TLS1_2_VERSION);
            SSL_SESSION_free(session);
            session = next;
        }
        SSL_SESSION_free(session);
    }
}

static void strangers_tickets_are_ignored(void **state) {
    (void)state;
    struct tls_tickets *others = tls_tickets_new();
    struct tls_context *stranger = lab_context(&site.certificate, 1, others);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        bool resumed;
        SSL_SESSION *session = connect_with(stranger, version, NULL, NULL, &resumed);
        assert_false(resumes(site.context, version, session));   /* a full handshake, no failure */
        assert_true(resumes(stranger, version, session));
        SSL_SESSION_free(session);
    }
    tls_context_free(stranger);
    tls_tickets_free(others);
}

static void rotation(void **state) {
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct tls_tickets *tickets = tls_tickets_new();
        struct tls_context *own = lab_context(&site.certificate, 1, tickets);
        bool resumed;
        uint64_t now_s = 1000;
        tls_tickets_rotate(tickets, now_s);   /* its first call says when the key was made */
        SSL_SESSION *session = connect_with(own, version, NULL, NULL, &resumed);
        tls_tickets_rotate(tickets, now_s += TLS_TICKET_LIFE_S - 1);
        assert_true(resumes(own, version, session));
        tls_tickets_rotate(tickets, now_s += 1);
        /* Now it is the previous key's: it works, and a newer ticket comes with it. */
        SSL_SESSION *newer = connect_with(own, version, session, NULL, &resumed);
        assert_true(resumed);
        assert_false(same_ticket(session, newer));
        tls_tickets_rotate(tickets, now_s += TLS_TICKET_LIFE_S);
        assert_false(resumes(own, version, session));
        assert_true(resumes(own, version, newer));
        /* Nobody has called for two lives: both keys are too old. */
        tls_tickets_rotate(tickets, now_s += 2 * TLS_TICKET_LIFE_S);
        assert_false(resumes(own, version, newer));
        SSL_SESSION_free(session);
        SSL_SESSION_free(newer);
        tls_context_free(own);
        tls_tickets_free(tickets);
    }
}

/* --- Threads ------------------------------------------------------------------------------ */

static _Atomic bool stop;

static void *rotate_always(void *arg) {
    struct tls_tickets *tickets = arg;
    uint64_t now_s = 0;
    while (!atomic_load(&stop)) {
        tls_tickets_rotate(tickets, now_s += TLS_TICKET_LIFE_S);
    }
    return NULL;
}

static void *connect_always(void *arg) {
    struct tls_context *context = arg;
    bool resumed;
    SSL_SESSION *session = NULL;
    for (int i = 0; i < 40; i++) {
        SSL_SESSION *next = connect_with(context, i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION,
                                         NULL, NULL, &resumed);
        SSL_SESSION_free(session);
        session = next;
        resumes(context, i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION, session);
    }
    SSL_SESSION_free(session);
    return NULL;
}

static void keys_change_under_threads(void **state) {
    (void)state;
    struct tls_tickets *tickets = tls_tickets_new();
    struct tls_context *contexts[2];
    pthread_t rotator, workers[2];
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&rotator, NULL, rotate_always, tickets), 0);
    for (int i = 0; i < 2; i++) {
        contexts[i] = lab_context(&site.certificate, 1, tickets);
        assert_int_equal(pthread_create(&workers[i], NULL, connect_always, contexts[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(workers[i], NULL);
        tls_context_free(contexts[i]);
    }
    atomic_store(&stop, true);
    pthread_join(rotator, NULL);
    tls_tickets_free(tickets);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resumes_anywhere),
        cmocka_unit_test(strangers_tickets_are_ignored),
        cmocka_unit_test(rotation),
        cmocka_unit_test(keys_change_under_threads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
