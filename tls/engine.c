/* The engine: one connection's machine over OpenSSL, fed from queues and not from a socket. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <pthread.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "tls/tls_priv.h"

/* What one step may encrypt, and give out decrypted, before others have their turn. */
#define STEP_BYTES 65536u
/* Beyond its mark and one record, cipher_out holds only replies that the peer's messages have
 * brought about. A peer that sends such messages and reads nothing is no longer read. */
#define REPLY_BYTES_MAX 1024u
#define RECORD_OVERHEAD 64u

/* --- The BIO: cipher bytes between OpenSSL and the step's queues ------------------------------ */

static BIO_METHOD *queue_method;
static pthread_once_t queue_method_once = PTHREAD_ONCE_INIT;

static int queue_read(BIO *bio, char *to, int len) {
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    uint32_t n = tls->cipher_in != NULL ? meter_room(&tls->meter) : 0;
    if (tls->meter.refused != NULL) {
        return -1;   /* no retry: the call of OpenSSL that is under way fails */
    }
    n = n < (uint32_t)len ? n : (uint32_t)len;
    n = n > 0 ? bufq_read(tls->cipher_in, to, n) : 0;
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    bufq_drop(tls->cipher_in, n);
    return meter_take(&tls->meter, tls, (const uint8_t *)to, n) ? (int)n : -1;
}

static int queue_write(BIO *bio, const char *from, int len) {
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ensure(tls->cipher_out != NULL && len > 0);
    bufq_copy(tls->cipher_out, from, (uint32_t)len);
    return tls->cipher_out->failed ? -1 : len;   /* no retry, as above */
}

/* 1 for what OpenSSL needs of a sink and 0 for all else: a BIO that says yes to everything claims
 * to be kTLS. Not BIO_CTRL_EOF either: the end of the socket is not told here. */
static long queue_ctrl(BIO *bio, int command, long number, void *p) {
    (void)bio, (void)number, (void)p;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int queue_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

static void queue_method_make(void) {
    int type = BIO_get_new_index();
    ensure(type != -1);
    queue_method = BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "gyre queues");
    ensure(queue_method != NULL && BIO_meth_set_read(queue_method, queue_read) == 1 &&
           BIO_meth_set_write(queue_method, queue_write) == 1 &&
           BIO_meth_set_ctrl(queue_method, queue_ctrl) == 1 &&
           BIO_meth_set_create(queue_method, queue_create) == 1);
}

void tls_engine_init(void) {
    pthread_once(&queue_method_once, queue_method_make);
}

/* The error queue is the thread's, and SSL_get_error believes whatever it finds there. Looking is
 * cheap, clearing is not (a twelfth of a small record's cost). */
static void errors_clear(void) {
    if (ERR_peek_error() != 0) {
        ERR_clear_error();
    }
}

/* --- Life ------------------------------------------------------------------------------------- */

struct tls *tls_new(struct tls_context *context) {
    ensure_magic(context, TLS_CONTEXT_MAGIC);
    struct tls *tls = mem_try_zero(sizeof *tls);
    if (tls == NULL) {
        return NULL;
    }
    tls->magic = TLS_MAGIC;
    tls->context = context;
    tls->site = &context->sites.fallback;
    context->refs++;
    return tls;
}

/* OpenSSL's part costs some 10 us and 8.5 KiB, so whoever sends nothing, or no TLS, gets none. */
static bool ssl_make(struct tls *tls) {
    errors_clear();
    SSL *ssl = SSL_new(tls->context->ssl);
    BIO *bio = BIO_new(queue_method);
    if (ssl == NULL || bio == NULL || SSL_set_app_data(ssl, tls) != 1) {
        SSL_free(ssl);
        BIO_free(bio);
        errors_clear();
        return false;
    }
    BIO_set_data(bio, tls);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_accept_state(ssl);
    tls->ssl = ssl;
    return true;
}

void tls_free(struct tls *tls) {
    ensure_magic(tls, TLS_MAGIC);
    ensure(tls->cipher_in == NULL && tls->cipher_out == NULL);
    SSL_free(tls->ssl);
    tls_context_free(tls->context);
    mem_free(tls->server_name);
    tls->magic = 0;
    mem_free(tls);
}

/* --- The step --------------------------------------------------------------------------------- */

/* OpenSSL's first complaint is the one of who asked for memory; a queue's failure is ours. */
static bool no_memory(const struct tls *tls) {
    return ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE || tls->cipher_out->failed;
}

static enum tls_want tls_refuse(struct tls *tls, enum close_reason why, const char *text) {
    tls->failed = true;
    tls->why = why;
    tls->error = text;
    return TLS_FAILED;
}

/* An alert in the clear: there are no keys yet. Of the first version, which every client reads. */
static void alert_put(struct tls *tls, uint8_t description) {
    uint8_t record[] = {SSL3_RT_ALERT, 3, 1, 0, 2, SSL3_AL_FATAL, description};
    bufq_copy(tls->cipher_out, record, sizeof record);
}

/* OpenSSL has limits of its own for warnings and for empty records. */
static bool is_flood(unsigned long error) {
    int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    return reason == SSL_R_TOO_MANY_WARN_ALERTS || reason == SSL_R_RECORD_TOO_SMALL ||
           reason == SSL_R_TOO_MANY_KEY_UPDATES;
}

static enum tls_want tls_fail(struct tls *tls) {
    const struct tls_meter *m = &tls->meter;
    unsigned long error = ERR_peek_last_error();
    const char *text = tls_reason();
    bool starved = no_memory(tls);
    errors_clear();
    if (starved) {
        return tls_refuse(tls, CLOSE_NO_MEMORY, "out of memory");
    }
    if (m->refused == NULL) {
        enum close_reason why = tls->up ? CLOSE_TLS_ERROR : CLOSE_TLS_HANDSHAKE;
        return tls_refuse(tls, is_flood(error) ? CLOSE_TLS_FLOOD : why, text);
    }
    if (m->why == CLOSE_TLS_HANDSHAKE) {
        alert_put(tls, SSL_AD_ILLEGAL_PARAMETER);
    }
    return tls_refuse(tls, m->why, m->refused);
}

/* OpenSSL has asked for bytes: there are none, or this step has had its share. */
static enum tls_want want_bytes(const struct tls *tls) {
    return tls->cipher_in->bytes > 0 ? TLS_WANT_TURN : TLS_WANT_CIPHER;
}

/* The first bytes say whether OpenSSL is needed at all: true, when it is there. */
static bool step_first(struct tls *tls, enum tls_want *want) {
    switch (tls_first_of(tls->cipher_in)) {
    case FIRST_MORE:
        *want = TLS_WANT_CIPHER;
        return false;
    case FIRST_HTTP:
        *want = tls_refuse(tls, CLOSE_PLAIN_HTTP, "plain HTTP");
        return false;
    case FIRST_OTHER:
        alert_put(tls, SSL_AD_UNEXPECTED_MESSAGE);
        *want = tls_refuse(tls, CLOSE_TLS_HANDSHAKE, "not TLS");
        return false;
    case FIRST_ALERT:
        *want = tls_refuse(tls, CLOSE_TLS_HANDSHAKE, "an alert and no hello");
        return false;
    case FIRST_TLS:
        break;
    }
    if (!ssl_make(tls)) {
        *want = tls_refuse(tls, CLOSE_NO_MEMORY, "out of memory");
    }
    return tls->ssl != NULL;
}

static enum tls_want step_handshake(struct tls *tls) {
    enum tls_want want = TLS_FAILED;
    if (tls->ssl == NULL && !step_first(tls, &want)) {
        return want;
    }
    errors_clear();
    int rc = SSL_do_handshake(tls->ssl);
    if (rc == 1) {
        tls->up = true;
        meter_up(&tls->meter);
        return TLS_WANT_CIPHER;
    }
    if (SSL_get_error(tls->ssl, rc) == SSL_ERROR_WANT_READ) {
        return want_bytes(tls);
    }
    return tls_fail(tls);
}

static bool replies_full(const struct tls *tls) {
    const struct bufq *out = tls->cipher_out;
    return out->bytes > out->mark &&
           out->bytes - out->mark > TLS_RECORD_MAX + RECORD_OVERHEAD + REPLY_BYTES_MAX;
}

static enum tls_want step_read(struct tls *tls, struct bufq *plain_out) {
    uint32_t made = 0, room;
    while (!tls->ended && (room = bufq_room(plain_out)) > 0) {
        if (tls->cipher_in->bytes == 0 && !SSL_has_pending(tls->ssl)) {
            return TLS_WANT_CIPHER;   /* asking OpenSSL in vain costs it two allocations */
        }
        if (made >= STEP_BYTES) {
            return TLS_WANT_TURN;
        }
        if (replies_full(tls)) {
            return TLS_WANT_FLUSH;
        }
        uint32_t got;
        uint8_t *to = bufq_reserve(plain_out, 1, &got);
        if (to == NULL) {
            return tls_refuse(tls, CLOSE_NO_MEMORY, "out of memory");
        }
        size_t done = 0;
        errors_clear();
        int rc = SSL_read_ex(tls->ssl, to, got < room ? got : room, &done);
        bufq_commit(plain_out, (uint32_t)done);
        made += (uint32_t)done;
        if (rc == 1) {
            meter_data(&tls->meter);
            continue;
        }
        switch (SSL_get_error(tls->ssl, rc)) {
        case SSL_ERROR_WANT_READ:
            return want_bytes(tls);
        case SSL_ERROR_ZERO_RETURN:
            tls->ended = true;
            break;
        default:
            return tls_fail(tls);
        }
    }
    if (tls->ended) {
        /* RFC 8446 6.1: what comes after close_notify is ignored. */
        bufq_drop(tls->cipher_in, tls->cipher_in->bytes);
        return TLS_WANT_CIPHER;
    }
    return TLS_WANT_ROOM;
}

/* The next record's bytes: in place where they lie together, gathered where they are in pieces, as
 * a record for each piece costs more than the copy. */
static const uint8_t *record_bytes(struct tls *tls, const struct bufq *plain_in, uint32_t *len) {
    const uint8_t *front = bufq_front(plain_in, len);
    if (*len < TLS_RECORD_MAX && *len < plain_in->bytes) {
        *len = bufq_read(plain_in, tls->context->gather, TLS_RECORD_MAX);
        return tls->context->gather;
    }
    *len = *len < TLS_RECORD_MAX ? *len : TLS_RECORD_MAX;
    return front;
}

static enum tls_want step_write(struct tls *tls, struct bufq *plain_in) {
    uint32_t taken = 0;
    while (plain_in->bytes > 0 && !tls->end_sent) {
        if (bufq_room(tls->cipher_out) == 0) {
            return TLS_WANT_FLUSH;
        }
        if (taken >= STEP_BYTES) {
            return TLS_WANT_TURN;
        }
        uint32_t len;
        const uint8_t *from = record_bytes(tls, plain_in, &len);
        size_t done = 0;
        errors_clear();
        int rc = SSL_write_ex(tls->ssl, from, len, &done);
        if (rc != 1) {
            /* Half a key update has come: OpenSSL sends nothing before it has the rest. */
            return SSL_get_error(tls->ssl, rc) == SSL_ERROR_WANT_READ ? want_bytes(tls)
                                                                      : tls_fail(tls);
        }
        bufq_drop(plain_in, (uint32_t)done);
        taken += (uint32_t)done;
    }
    return TLS_WANT_CIPHER;
}

enum tls_want tls_step(struct tls *tls, struct bufq *cipher_in, struct bufq *plain_out,
                       struct bufq *plain_in, struct bufq *cipher_out) {
    ensure_magic(tls, TLS_MAGIC);
    if (tls->failed) {
        return TLS_FAILED;
    }
    tls->cipher_in = cipher_in;
    tls->cipher_out = cipher_out;
    meter_step(&tls->meter);
    enum tls_want want = tls->up ? TLS_WANT_CIPHER : step_handshake(tls);
    if (tls->up) {
        want = step_read(tls, plain_out);
        if (want != TLS_FAILED) {
            /* The door's order is the enum's: the first that holds. */
            enum tls_want writing = step_write(tls, plain_in);
            want = writing < want ? writing : want;
        }
    }
    tls->cipher_in = tls->cipher_out = NULL;
    return want;
}

void tls_end(struct tls *tls, struct bufq *cipher_out) {
    ensure_magic(tls, TLS_MAGIC);
    if (tls->failed || tls->end_sent) {
        return;
    }
    tls->end_sent = true;
    if (!tls->up) {
        return;
    }
    tls->cipher_out = cipher_out;
    errors_clear();
    /* Fails only while half a key update has come; then the connection ends without the alert. */
    SSL_shutdown(tls->ssl);
    errors_clear();
    tls->cipher_out = NULL;
}

/* --- What is known ---------------------------------------------------------------------------- */

bool tls_is_up(const struct tls *tls) {
    return tls->up;
}

bool tls_is_ended(const struct tls *tls) {
    return tls->ended;
}

enum close_reason tls_why(const struct tls *tls) {
    return tls->why;
}

const char *tls_error(const struct tls *tls) {
    return tls->error != NULL ? tls->error : "";
}

void tls_facts(const struct tls *tls, struct tls_facts *facts) {
    ensure_magic(tls, TLS_MAGIC);
    *facts = (struct tls_facts){
        .version = tls->up ? SSL_get_version(tls->ssl) : "",
        .cipher = tls->up ? SSL_get_cipher_name(tls->ssl) : "",
        .server_name = {tls->server_name, tls->server_name_len},
        .resumed = tls->up && SSL_session_reused(tls->ssl) == 1,
    };
}
