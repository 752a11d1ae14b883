/* All that llhttp does not check of a head, and what follows from it: framing, reuse, upgrade. */
#include "http/h1_priv.h"

/* More options than this in Connection are no honest sender's; each is compared to each field. */
#define CONNECTION_OPTIONS_MAX 32u

/* --- Both --------------------------------------------------------------------------------- */

/* A second Host or Content-Length: somebody will read the other one (RFC 9112 3.2, 6.3). */
static bool once_ok(const struct head *head) {
    uint64_t got = 0;
    for (uint32_t i = 0; i < head->field_count; i++) {
        uint8_t id = head->fields[i].id;
        if ((field_flags(id) & FIELD_ONCE) != 0) {
            if ((got >> id & 1) != 0) {
                return false;
            }
            got |= UINT64_C(1) << id;
        }
    }
    return true;
}

/* Nineteen digits always fit. Zeros in front are octal to some, and nobody sends them. */
static bool length_ok(struct head *head) {
    const struct field *f = head_find(head, FIELD_CONTENT_LENGTH);
    if (f == NULL) {
        return true;
    }
    if (f->value.len > 19 || (f->value.len > 1 && f->value.p[0] == '0')) {
        return false;
    }
    head->has_length = str_to_u64(f->value, &head->length);
    return head->has_length;
}

/* True when one of the Connection fields holds the option. */
static bool connection_has(const struct head *head, struct str option) {
    const struct field *f = head_find(head, FIELD_CONNECTION);
    for (; f != NULL; f = head_find_next(head, f)) {
        if (str_list_has(f->value, option)) {
            return true;
        }
    }
    return false;
}

static bool connection_ok(const struct head *head) {
    uint32_t options = 0;
    const struct field *f = head_find(head, FIELD_CONNECTION);
    for (; f != NULL; f = head_find_next(head, f)) {
        struct str rest = f->value, option;
        while (str_next_element(&rest, &option)) {
            if (!h1_token_ok(option) || ++options > CONNECTION_OPTIONS_MAX) {
                return false;
            }
        }
    }
    return true;
}

/* The one protocol that Upgrade names: "websocket", or name/version. Empty where it is a list, or
 * several fields, or h2c: switching to HTTP/2 in clear text would take all that follows out of our
 * sight (RFC 9113 3.1 has withdrawn it). */
static struct str upgrade_of(const struct head *head) {
    const struct field *f = head_find(head, FIELD_UPGRADE);
    if (f == NULL || head_find_next(head, f) != NULL) {
        return STR("");
    }
    struct str name = f->value;
    const char *slash = name.len == 0 ? NULL : memchr(name.p, '/', name.len);
    if (slash != NULL) {
        struct str version = {slash + 1, name.len - (uint32_t)(slash + 1 - name.p)};
        if (!h1_token_ok(version)) {
            return STR("");
        }
        name.len = (uint32_t)(slash - name.p);
    }
    if (!h1_token_ok(name) || str_eq_fold(name, STR("h2c")) || str_eq_fold(name, STR("h2"))) {
        return STR("");
    }
    return f->value;
}

/* --- Requests: each returns 0 or a status ------------------------------------------------- */

static uint16_t check_once(struct head *head, const struct http_limits *limits) {
    (void)limits;
    return once_ok(head) ? 0 : 400;
}

/* RFC 9112 3.2: HTTP/1.1 needs a Host, also beside an absolute-form target, which replaces it
 * (3.2.2). */
static uint16_t check_host(struct head *head, const struct http_limits *limits) {
    (void)limits;
    struct field *host = head_find(head, FIELD_HOST);
    if (host == NULL) {
        return head->minor == 0 ? 0 : 400;
    }
    if (!h1_authority_ok(host->value)) {
        return 400;
    }
    if (head->authority.len != 0) {
        host->value = head->authority;
    } else {
        head->authority = host->value;
    }
    return 0;
}

/* RFC 9112 6.1: only "chunked", only once, only in HTTP/1.1. Where the last coding is not chunked
 * nobody knows the length (6.3: 400); other codings before it we do not undo (501). */
static uint16_t check_transfer_encoding(struct head *head, const struct http_limits *limits) {
    (void)limits;
    const struct field *f = head_find(head, FIELD_TRANSFER_ENCODING);
    if (f == NULL) {
        return 0;
    }
    if (head->minor == 0 || head_find(head, FIELD_CONTENT_LENGTH) != NULL ||
        head_find_next(head, f) != NULL) {
        return 400;
    }
    if (str_eq_fold(f->value, STR("chunked"))) {
        head->body = BODY_STREAM;
        return 0;
    }
    struct str rest = f->value, last = STR("");
    while (str_next_element(&rest, &last)) {
    }
    return str_eq_fold(last, STR("chunked")) ? 501 : 400;
}

static uint16_t check_length(struct head *head, const struct http_limits *limits) {
    if (!length_ok(head)) {
        return 400;
    }
    if (head->has_length && head->length > limits->body_bytes_max) {
        return 413;
    }
    if (head->has_length && head->length > 0) {
        head->body = BODY_LENGTH;
    }
    return 0;
}

/* RFC 9110 10.1.1: the only expectation is 100-continue; from HTTP/1.0 it is not heard, and without
 * a body it means nothing. */
static uint16_t check_expect(struct head *head, const struct http_limits *limits) {
    (void)limits;
    const struct field *f = head_find(head, FIELD_EXPECT);
    if (f == NULL) {
        return 0;
    }
    if (head->minor == 0) {
        head_drop(head, FIELD_EXPECT);
        return 0;
    }
    if (head_find_next(head, f) != NULL || !str_eq_fold(f->value, STR("100-continue"))) {
        return 417;
    }
    head->expect_continue = head->body != BODY_NONE;
    if (!head->expect_continue) {
        head_drop(head, FIELD_EXPECT);
    }
    return 0;
}

/* RFC 9112 9.3: connections of HTTP/1.0 clients are not kept, whatever they ask for. */
static uint16_t check_connection(struct head *head, const struct http_limits *limits) {
    (void)limits;
    if (!connection_ok(head)) {
        return 400;
    }
    head->keep_alive = head->minor > 0 && !connection_has(head, STR("close"));
    const struct field *f = head_find(head, FIELD_TE);
    for (; f != NULL; f = head_find_next(head, f)) {
        head->te_trailers = head->te_trailers || str_list_has(f->value, STR("trailers"));
    }
    return 0;
}

/* RFC 9110 7.8: both fields, not from HTTP/1.0. A request with a body is served without. */
static uint16_t check_upgrade(struct head *head, const struct http_limits *limits) {
    (void)limits;
    if (head_find(head, FIELD_UPGRADE) != NULL && head->minor > 0 && head->body == BODY_NONE &&
        connection_has(head, STR("upgrade"))) {
        head->upgrade = upgrade_of(head);
    }
    return 0;
}

uint16_t h1_check_request(struct head *head, const struct http_limits *limits) {
    static uint16_t (*const checks[])(struct head *, const struct http_limits *) = {
        check_once, check_host, check_transfer_encoding, check_length, check_expect,
        check_connection, check_upgrade,
    };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        uint16_t refuse = checks[i](head, limits);
        if (refuse != 0) {
            return refuse;
        }
    }
    return 0;
}

/* CGI, WSGI and their like turn '-' and '_' into the same: what was dropped or set under one name
 * must not come in under the other. */
bool h1_check_twin(struct str name) {
    char twin[32];
    if (name.len > sizeof twin || memchr(name.p, '_', name.len) == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < name.len; i++) {
        twin[i] = name.p[i] == '_' ? '-' : name.p[i];
    }
    return field_id_of((struct str){twin, name.len}) != FIELD_OTHER;
}

/* --- Responses (RFC 9112 6.3, in its order) ----------------------------------------------- */

/* Decides on the body. False: ambiguous. */
static bool response_framing(struct head *head, bool no_body, bool *until_eof) {
    const struct field *te = head_find(head, FIELD_TRANSFER_ENCODING);
    if (te != NULL && (head->minor == 0 || head->has_length || head_find_next(head, te) != NULL ||
                       !str_eq_fold(te->value, STR("chunked")))) {
        return false;
    }
    if (head->status < 200 || head->status == 204) {
        /* Framing has no place here (RFC 9110 8.6, RFC 9112 6.1). Who sends it all the same may
         * send a body, too, which would be taken for the next response. */
        bool framed = te != NULL || (head->has_length && head->length > 0);
        head->keep_alive = head->keep_alive && !framed;
        head->has_length = false;
        return !framed || head->status == 204;
    }
    if (no_body || head->status == 304) {
        return true;
    }
    if (te != NULL) {
        head->body = BODY_STREAM;
    } else if (head->has_length) {
        head->body = head->length > 0 ? BODY_LENGTH : BODY_NONE;
    } else {
        head->body = BODY_STREAM;
        head->keep_alive = false;
        *until_eof = true;
    }
    return true;
}

bool h1_check_response(struct head *head, bool no_body, bool *until_eof) {
    *until_eof = false;
    if (!once_ok(head) || !length_ok(head) || !connection_ok(head)) {
        return false;
    }
    head->keep_alive = !connection_has(head, STR("close")) &&
                       (head->minor > 0 || connection_has(head, STR("keep-alive")));
    if (head->status == 101) {
        head->upgrade = upgrade_of(head);
    }
    return response_framing(head, no_body, until_eof);
}
