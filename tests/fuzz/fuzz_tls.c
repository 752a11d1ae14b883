/* Any bytes as TLS: before a handshake they are read the same however they are cut; after one,
 * whatever is done to the cipher bytes, each end reads only what the other wrote.
 *
 * What is dear is done seldom, so that a core does thousands of inputs a second: most connections
 * begin with a ticket, whose handshake has no public keys in it, and only so many bytes of an input
 * come in small pieces. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/ensure.h"
#include "tls/tls_priv.h"

#define INPUT_MAX 2048u
#define STREAM_MAX 65536u
#define STEPS_MAX 1000u
#define PIECES_MAX 600u
#define FIRST_MAX 16389u        /* of a first record that is not whole */

/* What the first byte of an input says. */
enum {
    HOW_AFTER = 1,      /* the rest are deeds on an open connection; else the client's bytes */
    HOW_TLS12 = 2,
    HOW_PIECES = 12,    /* how long the pieces are */
    HOW_MORE = 240,
    HOW_WITHOUT_TICKET = 16   /* of HOW_MORE: the handshake is a whole one */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- A certificate and a context, once ---------------------------------------------------- */

static struct tls_context *context;
static struct segpool plains, records;
static SSL_CTX *clients;
static SSL_SESSION *sessions[2];   /* the client's tickets: of TLS 1.3, of TLS 1.2 */

static void write_certificate(int fd) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    FILE *file = fdopen(dup(fd), "w");
    ensure(key != NULL && x != NULL && file != NULL);
    X509_set_version(x, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, key);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)"a", -1, -1, 0);
    X509_set_issuer_name(x, name);
    ensure(X509_sign(x, key, EVP_sha256()) > 0);
    ensure(PEM_write_X509(file, x) == 1);
    ensure(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
    fclose(file);
    X509_free(x);
    EVP_PKEY_free(key);
}

/* Of each version the client keeps the ticket of its last whole handshake. */
static int on_ticket(SSL *client, SSL_SESSION *session) {
    SSL_SESSION **kept = &sessions[SSL_version(client) == TLS1_2_VERSION];
    if (SSL_session_reused(client) && *kept != NULL) {
        return 0;
    }
    SSL_SESSION_free(*kept);
    *kept = session;
    return 1;
}

static void room_init(void) {
    char path[64], why[TLS_WHY_MAX];
    int fd = memfd_create("a.pem", MFD_CLOEXEC);
    ensure(fd >= 0);
    write_certificate(fd);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct tls_certificate *certificate = tls_certificate_load(path, NULL, why);
    ensure(certificate != NULL);
    close(fd);
    struct tls_params params = {&certificate, 1, tls_tickets_new()};
    context = tls_context_new(&params, why);
    ensure(context != NULL);
    tls_certificate_free(certificate);
    clients = SSL_CTX_new(TLS_client_method());
    ensure(clients != NULL);
    SSL_CTX_set_session_cache_mode(clients, SSL_SESS_CACHE_CLIENT |
                                                SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(clients, on_ticket);
    /* A ticket alone is the key: not for gyre, which has forward secrecy, but fast (RFC 8446
     * 4.2.9). */
    SSL_CTX_set_options(clients, SSL_OP_ALLOW_NO_DHE_KEX);
    SSL_CTX_set_options(context->ssl, SSL_OP_ALLOW_NO_DHE_KEX);
    segpool_init(&plains, "plains", 4096, 0, false);
    segpool_init(&records, "records", 33 * 1024, 0, false);
}

/* --- One machine -------------------------------------------------------------------------- */

struct machine {
    struct tls *tls;
    struct bufq cipher_in, plain_out, plain_in, cipher_out;
    enum tls_want want;
    BIO *peer;                    /* takes what is sent; NULL: nobody does */
    bool first;                   /* nothing of what came was used up yet */
    uint32_t got;                 /* plain bytes that came out: what the client has written */
    uint32_t pieces;              /* small ones that were fed */
};

/* The byte at a place of either stream. */
static uint8_t byte_at(uint32_t i) {
    return (uint8_t)(i * 131u + (i >> 8));
}

static void machine_init(struct machine *m) {
    *m = (struct machine){0};
    m->tls = tls_new(context);
    m->first = true;
    bufq_init(&m->cipher_in, STREAM_MAX, &plains);
    bufq_init(&m->plain_out, 4096, &plains);
    bufq_init(&m->plain_in, STREAM_MAX, &plains);
    bufq_init(&m->cipher_out, 8192, &records);
}

static void machine_fini(struct machine *m) {
    tls_free(m->tls);
    bufq_fini(&m->cipher_in);
    bufq_fini(&m->plain_out);
    bufq_fini(&m->plain_in);
    bufq_fini(&m->cipher_out);
}

static void machine_take(struct machine *m) {
    uint32_t n;
    ensure(m->plain_out.bytes <= m->plain_out.mark);
    while (m->plain_out.bytes > 0) {
        const uint8_t *p = bufq_front(&m->plain_out, &n);
        for (uint32_t i = 0; i < n; i++) {
            ensure(p[i] == byte_at(m->got + i));
        }
        m->got += n;
        bufq_drop(&m->plain_out, n);
    }
    while (m->cipher_out.bytes > 0) {
        const uint8_t *p = bufq_front(&m->cipher_out, &n);
        ensure(m->peer == NULL || BIO_write(m->peer, p, (int)n) == (int)n);
        bufq_drop(&m->cipher_out, n);
    }
}

/* Until it wants bytes, or has failed for good. */
static void machine_run(struct machine *m) {
    bool failed = m->want == TLS_FAILED && tls_why(m->tls) != CLOSE_NONE;
    uint32_t steps = 0;
    do {
        m->want = tls_step(m->tls, &m->cipher_in, &m->plain_out, &m->plain_in, &m->cipher_out);
        ensure((m->want == TLS_FAILED) == (tls_why(m->tls) != CLOSE_NONE));
        ensure(!failed || m->want == TLS_FAILED);
        ensure(m->want != TLS_WANT_ROOM || m->plain_out.bytes > 0);
        ensure(m->want != TLS_WANT_FLUSH || m->cipher_out.bytes > 0);
        machine_take(m);
        ensure(++steps < STEPS_MAX);
    } while (m->want != TLS_FAILED && m->want != TLS_WANT_CIPHER);
    ensure(m->want == TLS_FAILED || m->cipher_in.bytes == 0 ||
           (m->first && m->cipher_in.bytes <= FIRST_MAX));
    m->first = m->first && m->cipher_in.bytes > 0;
}

static void machine_feed(struct machine *m, const uint8_t *bytes, uint32_t len, uint32_t piece) {
    for (uint32_t at = 0, n; at < len; at += n) {
        bool small = piece > 0 && piece < len - at && m->pieces < PIECES_MAX;
        n = small ? piece : len - at;
        m->pieces += small;
        bufq_copy(&m->cipher_in, bytes + at, n);
        machine_run(m);
    }
}

/* --- Before a handshake: the bytes as they are -------------------------------------------- */

static void run_before(const uint8_t *bytes, uint32_t len, uint32_t piece) {
    static struct machine whole, pieces;
    machine_init(&whole);
    machine_init(&pieces);
    machine_feed(&whole, bytes, len, 0);
    machine_feed(&pieces, bytes, len, piece);
    ensure(whole.want == pieces.want && tls_why(whole.tls) == tls_why(pieces.tls));
    ensure(!tls_is_up(whole.tls) && whole.got == 0 && pieces.got == 0);
    struct tls_facts facts;
    tls_facts(whole.tls, &facts);
    ensure(facts.server_name.len == 0 ||
           memchr(facts.server_name.p, '\0', facts.server_name.len) == NULL);
    machine_fini(&whole);
    machine_fini(&pieces);
}

/* --- After one: deeds ---------------------------------------------------------------------- */

struct pair {
    struct machine m;
    SSL *client;
    BIO *to_client, *from_client;
    uint32_t client_wrote, machine_wrote, client_got;
    uint32_t updates;
    bool spoiled;                 /* bytes were put in, or changed, under way */
    bool client_ended, machine_ended;
};

static void pair_bytes(uint8_t *to, uint32_t from, uint32_t len) {
    for (uint32_t i = 0; i < len; i++) {
        to[i] = byte_at(from + i);
    }
}

static void pair_check(const struct pair *p) {
    ensure(p->m.got <= p->client_wrote);
}

/* What the client can read now must be what comes next of what was written. */
static void client_read(struct pair *p) {
    uint8_t bytes[4096];
    size_t n;
    while (SSL_read_ex(p->client, bytes, sizeof bytes, &n) == 1) {
        for (size_t i = 0; i < n; i++) {
            ensure(bytes[i] == byte_at(p->client_got++));
        }
    }
    ensure(p->client_got <= p->machine_wrote);
    ERR_clear_error();
}

/* Up to max of the client's bytes go on their way; one of them may be spoiled. */
static void deliver(struct pair *p, uint32_t max, uint32_t piece, uint8_t flip) {
    uint8_t bytes[4096];
    int n;
    while (max > 0 && (n = BIO_read(p->from_client, bytes,
                                    (int)(max < sizeof bytes ? max : sizeof bytes))) > 0) {
        if (flip != 0) {
            bytes[flip % (uint32_t)n] ^= (uint8_t)(1u << flip % 8);
            p->spoiled = true;
            flip = 0;
        }
        machine_feed(&p->m, bytes, (uint32_t)n, piece);
        max -= (uint32_t)n;
    }
    machine_run(&p->m);
}

static void pair_open(struct pair *p, bool tls12, bool with_ticket) {
    memset(p, 0, sizeof *p);
    machine_init(&p->m);
    p->client = SSL_new(clients);
    p->m.peer = p->to_client = BIO_new(BIO_s_mem());
    p->from_client = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(p->to_client, -1);
    SSL_set_bio(p->client, p->to_client, p->from_client);
    SSL_set_connect_state(p->client);
    SSL_set_max_proto_version(p->client, tls12 ? TLS1_2_VERSION : TLS1_3_VERSION);
    if (with_ticket && sessions[tls12] != NULL) {
        /* Its own copy: a connection that fails spoils its session. */
        SSL_SESSION *session = SSL_SESSION_dup(sessions[tls12]);
        ensure(session != NULL && SSL_set_session(p->client, session) == 1);
        SSL_SESSION_free(session);
    }
    for (int i = 0; i < 6 && !(SSL_is_init_finished(p->client) && tls_is_up(p->m.tls)); i++) {
        (void)SSL_do_handshake(p->client);
        deliver(p, UINT32_MAX, 0, 0);
    }
    ensure(SSL_is_init_finished(p->client) && tls_is_up(p->m.tls));
    client_read(p);   /* takes the ticket */
}

static void pair_close(struct pair *p) {
    machine_fini(&p->m);
    SSL_free(p->client);
    ERR_clear_error();
}

static void client_write(struct pair *p, uint32_t len) {
    uint8_t bytes[8192];
    size_t n;
    len = len < STREAM_MAX - p->client_wrote ? len : STREAM_MAX - p->client_wrote;
    pair_bytes(bytes, p->client_wrote, len);
    if (!p->client_ended && len > 0 && SSL_write_ex(p->client, bytes, len, &n) == 1) {
        p->client_wrote += (uint32_t)n;
    }
    ERR_clear_error();
}

static void machine_write(struct pair *p, uint32_t len) {
    uint8_t bytes[8192];
    pair_bytes(bytes, p->machine_wrote, len);
    bufq_copy(&p->m.plain_in, bytes, len);
    p->machine_wrote += len;
    machine_run(&p->m);
}

static void do_deed(struct pair *p, uint8_t deed, uint8_t much, uint32_t piece) {
    static const uint8_t junk[] = {23, 3, 3, 0, 32, 22, 3, 3, 0, 4, 0, 0, 0, 0, 21, 3, 3, 0, 2, 1};
    switch (deed % 8) {
    case 0:
        client_write(p, much * 23u);
        break;
    case 1:
        machine_write(p, much * 31u);
        break;
    case 2:
        p->updates += SSL_key_update(p->client, much % 2) == 1 && SSL_do_handshake(p->client) == 1;
        break;
    case 3:
        machine_feed(&p->m, junk + much % sizeof junk, sizeof junk - much % sizeof junk, piece);
        p->spoiled = true;
        break;
    case 4:
        deliver(p, 1 + much * 9u, piece, much);
        break;
    case 5:
        (void)SSL_shutdown(p->client);
        p->client_ended = true;
        break;
    case 6:
        tls_end(p->m.tls, &p->m.cipher_out);
        p->machine_ended = true;
        break;
    default:
        deliver(p, 1 + much * 9u, piece, 0);
        client_read(p);
        break;
    }
    pair_check(p);
}

static void run_after(const uint8_t *deeds, uint32_t count, uint32_t piece, uint8_t how) {
    static struct pair p;
    pair_open(&p, (how & HOW_TLS12) != 0, (how & HOW_MORE) != HOW_WITHOUT_TICKET);
    for (uint32_t i = 0; i + 1 < count && i < 256; i += 2) {
        do_deed(&p, deeds[i], deeds[i + 1], piece);
    }
    deliver(&p, UINT32_MAX, piece, 0);
    client_read(&p);
    pair_check(&p);
    bool failed = p.m.want == TLS_FAILED;
    /* A client that only changes its keys is cut off in the end; no other that is honest. */
    ensure(!failed || p.spoiled || p.updates > 16);
    ensure(failed || p.spoiled || p.m.got == p.client_wrote);
    ensure(failed || p.spoiled || !p.client_ended || tls_is_ended(p.m.tls));
    ensure(failed || p.spoiled || p.client_ended || p.machine_ended ||
           p.client_got == p.machine_wrote);
    pair_close(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint32_t pieces[] = {1, 3, 40, 0};
    if (size < 2 || size > INPUT_MAX) {
        return 0;
    }
    if (context == NULL) {
        room_init();
    }
    uint32_t piece = pieces[(data[0] & HOW_PIECES) >> 2];
    if ((data[0] & HOW_AFTER) != 0) {
        run_after(data + 1, (uint32_t)size - 1, piece, data[0]);
    } else {
        run_before(data + 1, (uint32_t)size - 1, piece);
    }
    ensure(plains.live == 0 && records.live == 0);
    return 0;
}
