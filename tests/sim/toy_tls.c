/* A toy of TLS whose every byte a seed repeats: its records, its client, and the door tls/tls.h. */
#include "tls/tls.h"

#include <string.h>

#include "base/ensure.h"
#include "base/fault.h"
#include "base/mem.h"
#include "sim/toy_tls.h"

#define STEP_RECORDS 16u

/* --- Signatures --------------------------------------------------------------------------- */

void tls_mac(struct str key, struct str text, uint8_t mac[TLS_MAC_LEN]) {
    for (uint32_t i = 0; i < TLS_MAC_LEN; i++) {
        uint64_t secrets[2] = {str_hash(key), i};
        mac[i] = (uint8_t)str_hash_secret(text, secrets);
    }
}

/* --- Records ------------------------------------------------------------------------------ */

static uint32_t stream_start(uint32_t number, bool from_client) {
    return (number * 2u + (from_client ? 1u : 0u)) * 2654435761u + 12345u;
}

static void stream_xor(uint8_t *to, const uint8_t *from, uint32_t len, uint32_t state) {
    for (uint32_t i = 0; i < len; i++) {
        state = state * 1664525u + 1013904223u;
        to[i] = (uint8_t)(from[i] ^ (state >> 24));
    }
}

static uint32_t record_sum(uint32_t start, uint8_t type, const uint8_t *plain, uint32_t len) {
    uint32_t sum = start ^ type;
    for (uint32_t i = 0; i < len; i++) {
        sum = (sum ^ plain[i]) * 16777619u;
    }
    return sum;
}

uint32_t toy_record_seal(uint8_t *to, enum toy_type type, uint32_t number, bool from_client,
                         const void *plain, uint32_t len) {
    ensure(len <= TOY_PAYLOAD_MAX);
    uint32_t start = stream_start(number, from_client);
    uint32_t sum = record_sum(start, (uint8_t)type, plain, len);
    to[0] = (uint8_t)type;
    to[1] = (uint8_t)(len >> 8);
    to[2] = (uint8_t)len;
    stream_xor(to + 3, plain, len, start);
    for (int i = 0; i < 4; i++) {
        to[3 + len + (uint32_t)i] = (uint8_t)(sum >> (8 * i));
    }
    return len + TOY_OVERHEAD;
}

uint32_t toy_record_size(const uint8_t *bytes, size_t len) {
    if (len >= 1 && (bytes[0] < TOY_CLIENT_HELLO || bytes[0] > TOY_ALERT)) {
        return UINT32_MAX;
    }
    if (len < 3) {
        return 0;
    }
    uint32_t payload = (uint32_t)bytes[1] << 8 | bytes[2];
    return payload > TOY_PAYLOAD_MAX ? UINT32_MAX : payload + TOY_OVERHEAD;
}

int toy_record_open(const uint8_t *record, uint32_t number, bool from_client,
                    uint8_t plain[TOY_PAYLOAD_MAX], enum toy_type *type) {
    uint32_t len = (uint32_t)record[1] << 8 | record[2];
    uint32_t start = stream_start(number, from_client);
    stream_xor(plain, record + 3, len, start);
    uint32_t sum = record_sum(start, record[0], plain, len);
    for (int i = 0; i < 4; i++) {
        if (record[3 + len + (uint32_t)i] != (uint8_t)(sum >> (8 * i))) {
            return -1;
        }
    }
    *type = (enum toy_type)record[0];
    return (int)len;
}

/* --- The client --------------------------------------------------------------------------- */

void toy_bytes_add(struct toy_bytes *b, const void *p, size_t len) {
    if (b->cap - b->len < len) {
        b->cap = (b->len + len) * 2;
        b->p = mem_grow(b->p, b->cap);
    }
    if (len > 0) {
        memcpy(b->p + b->len, p, len);
        b->len += len;
    }
}

void toy_bytes_drop(struct toy_bytes *b, size_t len) {
    ensure(len <= b->len);
    b->len -= len;
    if (b->len > 0) {
        memmove(b->p, b->p + len, b->len);
    }
}

static void client_seal(struct toy_client *c, enum toy_type type, const void *plain,
                        uint32_t len) {
    uint8_t record[TOY_RECORD_MAX];
    uint32_t size = toy_record_seal(record, type, c->sent_count++, true, plain, len);
    toy_bytes_add(&c->out, record, size);
}

void toy_client_init(struct toy_client *c, const char *server_name) {
    *c = (struct toy_client){.up = false};
    uint8_t hello[300] = {0};
    size_t len = strlen(server_name);
    ensure(len < 200);
    memcpy(hello, server_name, len);
    client_seal(c, TOY_CLIENT_HELLO, hello, sizeof hello);
}

void toy_client_fini(struct toy_client *c) {
    mem_free(c->plain.p);
    mem_free(c->out.p);
    mem_free(c->waiting.p);
    mem_free(c->in.p);
}

static void client_flush(struct toy_client *c) {
    if (!c->up) {
        return;
    }
    size_t at = 0;
    while (at < c->waiting.len) {
        size_t left = c->waiting.len - at;
        uint32_t n = left < TOY_PAYLOAD_MAX ? (uint32_t)left : TOY_PAYLOAD_MAX;
        client_seal(c, TOY_DATA, c->waiting.p + at, n);
        at += n;
    }
    c->waiting.len = 0;
    if (c->end_wanted) {
        client_seal(c, TOY_CLOSE_NOTIFY, "", 0);
        c->end_wanted = false;
    }
}

void toy_client_send(struct toy_client *c, const void *plain, size_t len) {
    toy_bytes_add(&c->waiting, plain, len);
    client_flush(c);
}

void toy_client_end(struct toy_client *c) {
    c->end_wanted = true;
    client_flush(c);
}

static void client_take(struct toy_client *c, enum toy_type type, const uint8_t *plain,
                        uint32_t len) {
    if (type == TOY_SERVER_HELLO && !c->up) {
        c->up = true;
        client_seal(c, TOY_FINISHED, "", 0);
        client_flush(c);
    } else if (type == TOY_DATA && c->up && !c->ended) {
        toy_bytes_add(&c->plain, plain, len);
    } else if (type == TOY_CLOSE_NOTIFY && c->up) {
        c->ended = true;
    } else if (type == TOY_ALERT) {
        c->alerted = true;
    } else {
        c->broken = true;
    }
}

void toy_client_feed(struct toy_client *c, const void *cipher, size_t len) {
    toy_bytes_add(&c->in, cipher, len);
    while (!c->broken) {
        uint32_t size = toy_record_size(c->in.p, c->in.len);
        if (size == 0 || (size != UINT32_MAX && size > c->in.len)) {
            return;
        }
        uint8_t plain[TOY_PAYLOAD_MAX];
        enum toy_type type = TOY_ALERT;
        int n = size == UINT32_MAX
                    ? -1
                    : toy_record_open(c->in.p, c->received_count++, false, plain, &type);
        if (n < 0) {
            c->broken = true;
            return;
        }
        toy_bytes_drop(&c->in, size);
        client_take(c, type, plain, (uint32_t)n);
    }
}

/* --- Certificates, tickets, contexts: names only ------------------------------------------ */

struct tls_certificate {
    int loaded;
};

struct tls_certificate *tls_certificate_load(const char *chain_path, const char *key_path,
                                             char why[TLS_WHY_MAX]) {
    (void)key_path;
    if (chain_path[0] == '\0') {
        memcpy(why, "no path", sizeof "no path");
        return NULL;
    }
    struct tls_certificate *certificate = mem_zero(sizeof *certificate);
    certificate->loaded = 1;
    return certificate;
}

void tls_certificate_free(struct tls_certificate *certificate) {
    mem_free(certificate);
}

struct tls_tickets {
    uint64_t rotated_s;
};

struct tls_tickets *tls_tickets_new(void) {
    return mem_zero(sizeof(struct tls_tickets));
}

void tls_tickets_free(struct tls_tickets *tickets) {
    mem_free(tickets);
}

void tls_tickets_rotate(struct tls_tickets *tickets, uint64_t now_s) {
    tickets->rotated_s = now_s;
}

struct tls_context {
    uint32_t refs;
};

struct tls_context *tls_context_new(const struct tls_params *params, char why[TLS_WHY_MAX]) {
    (void)params;
    (void)why;
    struct tls_context *context = mem_zero(sizeof *context);
    context->refs = 1;
    return context;
}

void tls_context_free(struct tls_context *context) {
    ensure(context->refs > 0);
    if (--context->refs == 0) {
        mem_free(context);
    }
}

/* --- One connection ----------------------------------------------------------------------- */

struct tls {
    struct tls_context *context;
    uint32_t sent_count, received_count;
    bool hello_sent, up, ended, end_sent, failed;
    enum close_reason why;
    const char *error;
    char server_name[256];
    uint8_t held[TOY_PAYLOAD_MAX];      /* opened, and no room for it yet */
    uint32_t held_at, held_len;
};

struct tls *tls_new(struct tls_context *context) {
    if (fault_hit(FAULT_TLS_NEW)) {
        return NULL;
    }
    struct tls *tls = mem_zero(sizeof *tls);
    tls->context = context;
    context->refs++;
    return tls;
}

void tls_free(struct tls *tls) {
    tls_context_free(tls->context);
    mem_free(tls);
}

static void seal(struct tls *tls, struct bufq *to, enum toy_type type, const void *plain,
                 uint32_t len) {
    uint8_t record[TOY_RECORD_MAX];
    bufq_copy(to, record, toy_record_seal(record, type, tls->sent_count++, false, plain, len));
}

static enum tls_want fail(struct tls *tls, struct bufq *cipher_out, const char *error) {
    tls->failed = true;
    tls->why = tls->up ? CLOSE_TLS_ERROR : CLOSE_TLS_HANDSHAKE;
    tls->error = error;
    seal(tls, cipher_out, TOY_ALERT, "", 0);
    return TLS_FAILED;
}

/* As the real one: a method of HTTP and a blank; while it may be one, nothing is used up. */
static bool is_http(const uint8_t *bytes, uint32_t len, bool *whole) {
    uint32_t i = 0;
    while (i < len && i < 20 && bytes[i] >= 'A' && bytes[i] <= 'Z') {
        i++;
    }
    *whole = i >= 3 && i < len && bytes[i] == ' ';
    return *whole || (i > 0 && i == len);
}

/* True when the held bytes are all out. */
static bool held_out(struct tls *tls, struct bufq *plain_out) {
    uint32_t room = bufq_room(plain_out);
    uint32_t n = tls->held_len < room ? tls->held_len : room;
    bufq_copy(plain_out, tls->held + tls->held_at, n);
    tls->held_at += n;
    tls->held_len -= n;
    return tls->held_len == 0;
}

static bool take(struct tls *tls, enum toy_type type, const uint8_t *plain, uint32_t len,
                 struct bufq *cipher_out) {
    if (type == TOY_CLIENT_HELLO && !tls->hello_sent && len < sizeof tls->server_name + 100) {
        size_t name = strnlen((const char *)plain, len < 255 ? len : 255);
        memcpy(tls->server_name, plain, name);
        uint8_t chain[TOY_SERVER_HELLO_LEN] = {0};
        seal(tls, cipher_out, TOY_SERVER_HELLO, chain, sizeof chain);
        tls->hello_sent = true;
    } else if (type == TOY_FINISHED && tls->hello_sent && !tls->up) {
        tls->up = true;
    } else if (type == TOY_DATA && tls->up) {
        memcpy(tls->held, plain, len);
        tls->held_at = 0;
        tls->held_len = len;
    } else if (type == TOY_CLOSE_NOTIFY && tls->up) {
        tls->ended = true;
    } else {
        return false;
    }
    return true;
}

static enum tls_want step_read(struct tls *tls, struct bufq *cipher_in, struct bufq *plain_out,
                               struct bufq *cipher_out) {
    for (uint32_t n = 0; held_out(tls, plain_out); n++) {
        if (tls->ended) {
            bufq_drop(cipher_in, cipher_in->bytes);   /* RFC 8446 6.1: what follows is ignored */
            return TLS_WANT_CIPHER;
        }
        uint8_t record[TOY_RECORD_MAX];
        uint32_t have = bufq_read(cipher_in, record, sizeof record);
        bool whole;
        if (!tls->hello_sent && is_http(record, have, &whole)) {
            tls->failed = whole;
            tls->why = whole ? CLOSE_PLAIN_HTTP : CLOSE_NONE;
            return whole ? TLS_FAILED : TLS_WANT_CIPHER;
        }
        uint32_t size = toy_record_size(record, have);
        if (size == 0 || (size != UINT32_MAX && size > have)) {
            return TLS_WANT_CIPHER;
        }
        if (n == STEP_RECORDS) {
            return TLS_WANT_TURN;
        }
        uint8_t plain[TOY_PAYLOAD_MAX];
        enum toy_type type = TOY_ALERT;
        int len = size == UINT32_MAX
                      ? -1
                      : toy_record_open(record, tls->received_count++, true, plain, &type);
        if (len < 0) {
            return fail(tls, cipher_out, "no record, or not the next one");
        }
        bufq_drop(cipher_in, size);
        if (!take(tls, type, plain, (uint32_t)len, cipher_out)) {
            return fail(tls, cipher_out, "unexpected record");
        }
        if (bufq_room(plain_out) == 0 && tls->held_len == 0 && type == TOY_DATA) {
            return TLS_WANT_ROOM;
        }
    }
    return TLS_WANT_ROOM;
}

static enum tls_want step_write(struct tls *tls, struct bufq *plain_in, struct bufq *cipher_out) {
    for (uint32_t n = 0; plain_in->bytes > 0 && tls->up && !tls->end_sent; n++) {
        if (bufq_room(cipher_out) == 0) {
            return TLS_WANT_FLUSH;
        }
        if (n == STEP_RECORDS) {
            return TLS_WANT_TURN;
        }
        uint8_t plain[TOY_PAYLOAD_MAX];
        uint32_t len = bufq_read(plain_in, plain, sizeof plain);
        bufq_drop(plain_in, len);
        seal(tls, cipher_out, TOY_DATA, plain, len);
    }
    return TLS_WANT_CIPHER;
}

enum tls_want tls_step(struct tls *tls, struct bufq *cipher_in, struct bufq *plain_out,
                       struct bufq *plain_in, struct bufq *cipher_out) {
    if (tls->failed) {
        return TLS_FAILED;
    }
    if (fault_hit(FAULT_TLS_STEP)) {
        tls->failed = true;   /* without memory there is no alert either */
        tls->why = tls->up ? CLOSE_TLS_ERROR : CLOSE_TLS_HANDSHAKE;
        return TLS_FAILED;
    }
    enum tls_want want = step_read(tls, cipher_in, plain_out, cipher_out);
    if (want != TLS_FAILED) {
        /* The door's order is the enum's: the first that holds. */
        enum tls_want writing = step_write(tls, plain_in, cipher_out);
        want = writing < want ? writing : want;
    }
    return want;
}

void tls_end(struct tls *tls, struct bufq *cipher_out) {
    if (tls->failed || tls->end_sent) {
        return;
    }
    tls->end_sent = true;
    if (tls->up) {
        seal(tls, cipher_out, TOY_CLOSE_NOTIFY, "", 0);
    }
}

bool tls_is_up(const struct tls *tls) {
    return tls->up;
}

/* The close_notify is seen when the bytes before it are out. */
bool tls_is_ended(const struct tls *tls) {
    return tls->ended && tls->held_len == 0;
}

enum close_reason tls_why(const struct tls *tls) {
    return tls->why;
}

const char *tls_error(const struct tls *tls) {
    return tls->error != NULL ? tls->error : "";
}

void tls_facts(const struct tls *tls, struct tls_facts *facts) {
    *facts = (struct tls_facts){
        .version = tls->up ? "toy" : "",
        .cipher = tls->up ? "xor" : "",
        .server_name = str_of(tls->server_name),
    };
}

bool tls_is_misdirected(const struct tls *tls, struct str host) {
    (void)tls;
    (void)host;
    return false;
}
