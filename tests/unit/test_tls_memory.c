/* TLS without memory: each allocation that OpenSSL asks for while a machine works fails in turn. */
#include "tls_lab.h"

#include "base/mem.h"

/* Without FAULTS=all so many of them fail, spread over all. */
#define FAILURES 150u

/* --- The memory of OpenSSL ---------------------------------------------------------------- */

static struct {
    bool on;                       /* while the machine works: the client's memory never fails */
    uint64_t asked, fails_at;      /* the visit that fails; UINT64_MAX: none */
    bool lasts;                    /* and all that follow it */
    int64_t live;
} memory;

static bool memory_fails(void) {
    uint64_t visit = memory.asked;
    memory.asked += memory.on;
    return memory.on && (memory.lasts ? visit >= memory.fails_at : visit == memory.fails_at);
}

static void *memory_get(size_t size, const char *file, int line) {
    (void)file, (void)line;
    if (memory_fails()) {
        return NULL;
    }
    memory.live++;
    return malloc(size);
}

static void *memory_grow(void *p, size_t size, const char *file, int line) {
    (void)file, (void)line;
    if (memory_fails()) {
        return NULL;
    }
    memory.live += p == NULL;
    return realloc(p, size);
}

static void memory_put(void *p, const char *file, int line) {
    (void)file, (void)line;
    memory.live -= p != NULL;
    free(p);
}

/* --- Scenes ------------------------------------------------------------------------------- */

struct scene {
    int version;
    bool resumed;                  /* by a ticket of a connection before */
    const char *name;              /* SNI: chooses the second certificate */
};

static struct lab_site site;
static struct lab_pair second_pair;
static struct tls_certificate *both[2];

/* The machine's part of it, during which allocations fail. OpenSSL's error queue is empty after. */
static enum tls_want machine_works(struct lab *lab) {
    memory.on = true;
    lab_to_machine(lab);
    memory.on = false;
    assert_int_equal(ERR_peek_error(), 0);
    lab_to_client(lab);
    return lab->want;
}

static bool hands_shake(struct lab *lab) {
    for (int i = 0; i < 20 && lab->want != TLS_FAILED; i++) {
        lab_client_did(lab, SSL_do_handshake(lab->client));
        machine_works(lab);
        if (lab->want != TLS_FAILED && SSL_is_init_finished(lab->client) && tls_is_up(lab->tls)) {
            char byte;
            size_t done;
            lab_client_did(lab, SSL_peek_ex(lab->client, &byte, 1, &done));   /* its ticket */
            return true;
        }
    }
    return false;
}

/* What comes out at the far side is what went in, or the beginning of it. */
static bool bytes_pass(struct lab *lab) {
    static uint8_t sent[40000], got[40000];
    for (size_t i = 0; i < sizeof sent; i++) {
        sent[i] = (uint8_t)(i * 7);
    }
    lab_client_write(lab, sent, sizeof sent);
    uint32_t arrived = 0;
    for (int i = 0; i < 20 && lab->want != TLS_FAILED && arrived < sizeof sent; i++) {
        machine_works(lab);
        uint32_t len = bufq_read(&lab->plain_out, got, sizeof got);
        assert_true(arrived + len <= sizeof sent);
        assert_memory_equal(got, sent + arrived, len);
        arrived += len;
        bufq_move(&lab->plain_in, &lab->plain_out, len);
    }
    size_t back = 0;
    for (int i = 0; i < 20 && back < sizeof sent; i++) {
        machine_works(lab);
        size_t len = lab_client_read(lab, got, sizeof got);
        assert_true(back + len <= sizeof sent);
        assert_memory_equal(got, sent + back, len);
        back += len;
    }
    assert_true(lab->want == TLS_FAILED || back == sizeof sent);
    return lab->want != TLS_FAILED;
}

/* Close_notify both ways. */
static void ends(struct lab *lab) {
    memory.on = true;
    tls_end(lab->tls, &lab->cipher_out);
    memory.on = false;
    assert_int_equal(ERR_peek_error(), 0);
    lab_to_client(lab);
    SSL_shutdown(lab->client);
    ERR_clear_error();
    machine_works(lab);
    assert_true(lab->want == TLS_FAILED || tls_is_ended(lab->tls));
}

static void after_failure(struct lab *lab) {
    enum close_reason why = tls_why(lab->tls);
    assert_true(why == CLOSE_NO_MEMORY || why == CLOSE_TLS_HANDSHAKE || why == CLOSE_TLS_ERROR);
    assert_non_null(tls_error(lab->tls));
    uint32_t bytes = lab->cipher_out.bytes;
    memory.on = true;
    assert_int_equal(lab_step(lab), TLS_FAILED);
    tls_end(lab->tls, &lab->cipher_out);
    struct tls_facts facts;
    tls_facts(lab->tls, &facts);
    memory.on = false;
    assert_int_equal(lab->cipher_out.bytes, bytes);
    assert_int_equal(ERR_peek_error(), 0);
}

/* A connection from its first byte to its last. True when nothing failed. */
static bool scene_play(const struct scene *scene, SSL_SESSION *session) {
    struct lab lab;
    lab_init(&lab, site.context, scene->version);
    lab.want = TLS_WANT_CIPHER;
    if (scene->name != NULL) {
        SSL_set_tlsext_host_name(lab.client, scene->name);
    }
    if (session != NULL) {
        /* A copy: OpenSSL gives up a session whose connection has failed. */
        SSL_SESSION *copy = SSL_SESSION_dup(session);
        SSL_set_session(lab.client, copy);
        SSL_SESSION_free(copy);
    }
    bool good = hands_shake(&lab) && bytes_pass(&lab);
    if (good) {
        struct tls_facts facts;
        tls_facts(lab.tls, &facts);
        /* A ticket that can not be opened costs a full handshake. */
        assert_true(facts.resumed == (session != NULL) || memory.fails_at != UINT64_MAX);
        ends(&lab);
        good = lab.want != TLS_FAILED;
    }
    if (!good) {
        after_failure(&lab);
    }
    lab_fini(&lab);
    return good;
}

static SSL_SESSION *session_get(const struct scene *scene) {
    struct lab lab;
    lab_init(&lab, site.context, scene->version);
    assert_true(lab_handshake(&lab));
    lab_echo(&lab);
    SSL_SESSION *session = lab.session;
    assert_non_null(session);
    SSL_SESSION_up_ref(session);
    lab_fini(&lab);
    return session;
}

static void memory_arm(uint64_t fails_at, bool lasts) {
    memory.asked = 0;
    memory.fails_at = fails_at;
    memory.lasts = lasts;
}

/* Counts, then fails each in turn. OpenSSL fills caches of its own as it goes, so one scene is
 * played before anything is counted. */
static void scene_fails_everywhere(const struct scene *scene) {
    SSL_SESSION *session = scene->resumed ? session_get(scene) : NULL;
    memory_arm(UINT64_MAX, false);
    assert_true(scene_play(scene, session));
    memory_arm(UINT64_MAX, false);
    assert_true(scene_play(scene, session));
    uint64_t all = memory.asked;
    assert_true(all > 10);
    const char *faults = getenv("FAULTS");
    bool every = faults != NULL && strcmp(faults, "all") == 0;
    uint64_t runs = every || all < FAILURES ? all : FAILURES, failed = 0;
    int64_t live = memory.live;
    for (uint64_t i = 0; i < runs; i++) {
        memory_arm(i * all / runs, i % 4 == 3);
        failed += !scene_play(scene, session);
    }
    memory_arm(UINT64_MAX, false);
    assert_true(scene_play(scene, session));   /* when it has passed all is as before */
    fprintf(stderr, "%llu allocations, %llu fail, %llu connections lost, %lld more live\n",
            (unsigned long long)all, (unsigned long long)runs, (unsigned long long)failed,
            (long long)(memory.live - live));
    assert_true(failed > runs / 4);
    SSL_SESSION_free(session);
}

static void without_memory_tls13(void **state) {
    (void)state;
    scene_fails_everywhere(&(struct scene){.version = TLS1_3_VERSION});
}

static void without_memory_tls12(void **state) {
    (void)state;
    scene_fails_everywhere(&(struct scene){.version = TLS1_2_VERSION});
}

static void without_memory_sni(void **state) {
    (void)state;
    scene_fails_everywhere(&(struct scene){.version = TLS1_3_VERSION, .name = "second.test"});
}

static void without_memory_resumed13(void **state) {
    (void)state;
    scene_fails_everywhere(&(struct scene){.version = TLS1_3_VERSION, .resumed = true});
}

static void without_memory_resumed12(void **state) {
    (void)state;
    scene_fails_everywhere(&(struct scene){.version = TLS1_2_VERSION, .resumed = true});
}

/* A key that can not be made now is made at the next call; until then the old one serves. */
static void without_memory_for_a_ticket_key(void **state) {
    (void)state;
    struct scene scene = {.version = TLS1_3_VERSION};
    tls_tickets_rotate(site.tickets, 1000);
    SSL_SESSION *session = session_get(&scene);
    memory_arm(0, true);
    memory.on = true;
    tls_tickets_rotate(site.tickets, 1000 + TLS_TICKET_LIFE_S);
    memory.on = false;
    ERR_clear_error();
    memory_arm(UINT64_MAX, false);
    assert_true(scene_play(&scene, session));
    SSL_SESSION_free(session);
}

static int sites_make(void **state) {
    if (lab_folder_make(state) != 0) {
        return -1;
    }
    lab_site_init(&site);
    second_pair = lab_ec("second.test", "DNS:second.test");
    both[0] = site.certificate;
    both[1] = lab_load("second.pem", &second_pair);
    tls_context_free(site.context);
    site.context = lab_context(both, 2, site.tickets);
    return 0;
}

static int sites_drop(void **state) {
    tls_certificate_free(both[1]);
    lab_pair_free(&second_pair);
    lab_site_fini(&site);
    return lab_folder_drop(state);
}

int main(void) {
    /* Before anything else of OpenSSL, or it refuses. */
    if (CRYPTO_set_mem_functions(memory_get, memory_grow, memory_put) != 1) {
        return 1;
    }
    memory_arm(UINT64_MAX, false);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_tls13),
        cmocka_unit_test(without_memory_tls12),
        cmocka_unit_test(without_memory_sni),
        cmocka_unit_test(without_memory_resumed13),
        cmocka_unit_test(without_memory_resumed12),
        cmocka_unit_test(without_memory_for_a_ticket_key),
    };
    return cmocka_run_group_tests(tests, sites_make, sites_drop);
}
