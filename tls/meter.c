/* The meter: what a peer's bytes may cost. It looks at them before OpenSSL does, and counts. */
#include "base/ensure.h"
#include "tls/tls_priv.h"

/* What one step may take of a peer: bytes, records, and records that bring no data. The dearest of
 * these, a key update that asks for one, costs as much as thirty records of data. */
#define STEP_BYTES 65536u
#define STEP_RECORDS 256u
#define STEP_BARREN 8u
/* Records in a row without a byte of data: key updates, alerts, offers to negotiate anew, empty
 * ones. OpenSSL has no limit for the first of these. So many are more than any client needs. */
#define BARREN_MAX 32u
/* The same of all of a handshake, which needs one: the CCS. */
#define BARREN_HANDSHAKE_MAX 8u
/* The longest handshake message that is believed. OpenSSL would take 128 KiB of a ClientHello, and
 * allocate them as soon as it has read their length. The longest honest ones, with keys for a group
 * that is safe from quantum computers and a ticket, have some 3 KiB. */
#define MESSAGE_BYTES_MAX 16384u
/* All of a handshake: two ClientHellos, and 16 KiB of early data that is passed over; or one whose
 * sender cuts it into records of next to nothing. */
#define HANDSHAKE_BYTES_MAX 65536u
/* No method of HTTP is longer. */
#define METHOD_MAX 20u

/* --- The first bytes -------------------------------------------------------------------------- */

/* A method and a blank. No other protocol in which the client speaks first begins so. */
static enum tls_first first_of_text(const uint8_t *p, uint32_t len) {
    for (uint32_t i = 0; i < len; i++) {
        if (p[i] == ' ' && i >= 3) {
            return FIRST_HTTP;
        }
        bool in_method = (p[i] >= 'A' && p[i] <= 'Z') || p[i] == '-' || p[i] == '_';
        if (!in_method || i == METHOD_MAX) {
            return FIRST_OTHER;
        }
    }
    return FIRST_MORE;
}

/* Up to the end of the first record, or all that there is room for. OpenSSL takes 72 KiB as soon as
 * it begins, so whoever has sent but a part of a hello has none of them. */
static enum tls_first first_of_record(const struct bufq *cipher_in, const uint8_t *p) {
    uint32_t len = 5u + (uint32_t)(p[3] << 8 | p[4]);
    bool whole = cipher_in->bytes >= 5 && cipher_in->bytes >= len;
    bool too_long = cipher_in->bytes >= 5 && len > 5 + TLS_RECORD_MAX;
    return whole || too_long || bufq_room(cipher_in) == 0 ? FIRST_TLS : FIRST_MORE;
}

enum tls_first tls_first_of(const struct bufq *cipher_in) {
    uint8_t bytes[METHOD_MAX + 1] = {0};
    uint32_t len = bufq_read(cipher_in, bytes, sizeof bytes);
    if (len == 0) {
        return FIRST_MORE;
    }
    switch (bytes[0]) {
    case SSL3_RT_HANDSHAKE:
        return first_of_record(cipher_in, bytes);
    case SSL3_RT_ALERT:
        return FIRST_ALERT;
    default:
        return first_of_text(bytes, len);
    }
}

/* --- Records ---------------------------------------------------------------------------------- */

void meter_step(struct tls_meter *m) {
    m->bytes_left = STEP_BYTES;
    m->records_left = STEP_RECORDS;
    m->barren_left = STEP_BARREN;
}

static void meter_refuse(struct tls_meter *m, enum close_reason why, const char *text) {
    m->refused = text;
    m->why = why;
}

/* Between records OpenSSL can be made to wait, and a flood be told from what brings data: had the
 * last record brought any, OpenSSL would not ask for the next one. */
uint32_t meter_room(struct tls_meter *m) {
    bool between = m->body_left == 0 && m->head_len == 0;
    if (between && m->barren > (m->up ? BARREN_MAX : BARREN_HANDSHAKE_MAX)) {
        meter_refuse(m, CLOSE_TLS_FLOOD, "too many records without data");
    }
    bool used_up = m->bytes_left == 0 || m->records_left == 0 || m->barren_left == 0;
    if (m->refused != NULL || (between && used_up)) {
        return 0;
    }
    return m->body_left > 0 ? m->body_left : (uint32_t)sizeof m->head - m->head_len;
}

/* While the handshake lasts, its messages are what is wanted (in TLS 1.3 they hide in records of
 * data); their bytes have a bound. */
static void meter_head(struct tls_meter *m, const struct tls *tls) {
    uint8_t type = m->head[0];
    m->body_left = (uint16_t)(m->head[3] << 8 | m->head[4]);
    m->head_len = 0;
    m->records_left--;
    bool wanted = !m->up && m->body_left > 0 &&
                  (type == SSL3_RT_HANDSHAKE || type == SSL3_RT_APPLICATION_DATA);
    if (!wanted) {
        m->barren++;
        m->barren_left--;
        m->fresh = true;
    }
    if (type == SSL3_RT_CHANGE_CIPHER_SPEC && SSL_version(tls->ssl) < TLS1_3_VERSION) {
        m->sealed = true;
    }
}

/* Handshake messages in the clear, over records cut in whatever way. (In TLS 1.3 what is encrypted
 * says that it is data.) */
static void meter_messages(struct tls_meter *m, const uint8_t *p, uint32_t len) {
    while (len > 0) {
        if (m->message_left > 0) {
            uint32_t n = m->message_left < len ? m->message_left : len;
            m->message_left -= n;
            p += n;
            len -= n;
            continue;
        }
        m->message[m->message_len++] = *p++;
        len--;
        if (m->message_len == sizeof m->message) {
            m->message_len = 0;
            m->message_left = (uint32_t)m->message[1] << 16 | (uint32_t)m->message[2] << 8 |
                              m->message[3];
        }
        if (m->message_left > MESSAGE_BYTES_MAX) {
            meter_refuse(m, CLOSE_TLS_HANDSHAKE, "handshake message too long");
            return;
        }
    }
}

bool meter_take(struct tls_meter *m, const struct tls *tls, const uint8_t *p, uint32_t len) {
    m->bytes_left -= m->bytes_left < len ? m->bytes_left : len;
    if (!m->up && (m->handshake_bytes += len) > HANDSHAKE_BYTES_MAX) {
        meter_refuse(m, CLOSE_TLS_FLOOD, "too many bytes for a handshake");
    }
    if (m->body_left == 0) {
        memcpy(m->head + m->head_len, p, len);
        m->head_len += (uint8_t)len;
        if (m->head_len == sizeof m->head) {
            meter_head(m, tls);
        }
        return m->refused == NULL;
    }
    m->body_left -= (uint16_t)len;
    if (!m->up && !m->sealed && m->head[0] == SSL3_RT_HANDSHAKE) {
        meter_messages(m, p, len);
    }
    return m->refused == NULL;
}

void meter_up(struct tls_meter *m) {
    m->up = true;
    m->barren = 0;
}

void meter_data(struct tls_meter *m) {
    m->barren = 0;
    m->barren_left += m->fresh;
    m->fresh = false;
}
