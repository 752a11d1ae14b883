/* All that llhttp does not check of a head, and what follows from it: framing, reuse, upgrade. */
#include "http/h1_priv.h"

/* More options than this in Connection are no honest sender's; each is compared to each field. */
#define CONNECTION_OPTIONS_MAX 32u

/* --- Both --------------------------------------------------------------------------------- */

/* A second Host or Content-Length: somebody will read the other one (RFC 9112 3.2, 6.3). */
static enum refusal once_check(const struct head *head) {
    static const uint64_t once = 0
#define FIELD(name, text, flags) | ((flags) & FIELD_ONCE ? UINT64_C(1) << FIELD_##name : 0)
#include "http/field.def"
#undef FIELD
        ;
    uint64_t twice = head->again & once;
    if (twice == 0) {
        return REFUSE_NONE;
    }
    return (twice >> FIELD_HOST & 1) != 0 ? REFUSE_HOST_TWICE : REFUSE_LENGTH_TWICE;
}

/* Nineteen digits always fit. Zeros in front are octal to some, and nobody sends them. */
static enum refusal length_check(struct head *head) {
    const struct field *f = head_find(head, FIELD_CONTENT_LENGTH);
    if (f == NULL) {
        return REFUSE_NONE;
    }
    if (f->value.len > 19 || (f->value.len > 1 && f->value.p[0] == '0')) {
        return REFUSE_LENGTH_MALFORMED;
    }
    head->has_length = str_to_u64(f->value, &head->length);
    return head->has_length ? REFUSE_NONE : REFUSE_LENGTH_MALFORMED;
}

/* RFC 9112 6.1: only "chunked", only once, only in HTTP/1.1. Where the last coding is not chunked
 * nobody knows the length (6.3); other codings before it we do not undo. */
static enum refusal coding_check(const struct head *head) {
    const struct field *f = head_find(head, FIELD_TRANSFER_ENCODING);
    if (f == NULL) {
        return REFUSE_NONE;
    }
    if (head_find(head, FIELD_CONTENT_LENGTH) != NULL) {
        return REFUSE_LENGTH_AND_CODING;
    }
    if (head->minor == 0) {
        return REFUSE_CODING_OLD;
    }
    if (head_find_next(head, f) != NULL) {
        return REFUSE_CODING_TWICE;
    }
    if (str_eq_fold(f->value, STR("chunked"))) {
        return REFUSE_NONE;
    }
    struct str rest = f->value, last = STR("");
    while (str_next_element(&rest, &last)) {
    }
    return str_eq_fold(last, STR("chunked")) ? REFUSE_CODING_UNKNOWN : REFUSE_CODING_LAST;
}

/* What Connection says. */
struct options {
    bool close, keep_alive, upgrade;
    bool others;               /* which may nominate fields */
};

static void option_note(struct options *said, struct str option) {
    if (str_eq_fold(option, STR("close"))) {
        said->close = said->others = true;   /* as any other: there might be a field of that name */
    } else if (str_eq_fold(option, STR("keep-alive"))) {
        said->keep_alive = true;
    } else if (str_eq_fold(option, STR("upgrade"))) {
        said->upgrade = true;
    } else {
        said->others = true;
    }
}

static enum refusal connection_check(struct head *head, struct options *said) {
    uint32_t count = 0;
    *said = (struct options){0};
    const struct field *f = head_find(head, FIELD_CONNECTION);
    for (; f != NULL; f = head_find_next(head, f)) {
        struct str rest = f->value, option;
        while (str_next_element(&rest, &option)) {
            if (!h1_token_ok(option)) {
                return REFUSE_CONNECTION_MALFORMED;
            }
            if (++count > CONNECTION_OPTIONS_MAX) {
                return REFUSE_CONNECTION_OPTIONS;
            }
            option_note(said, option);
        }
    }
    head->nominates_none = !said->others;
    return REFUSE_NONE;
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

/* --- Requests ----------------------------------------------------------------------------- */

/* RFC 9112 3.2: HTTP/1.1 needs a Host, also beside an absolute-form target, which replaces it
 * (3.2.2). */
static enum refusal check_host(struct head *head) {
    struct field *host = head_find(head, FIELD_HOST);
    if (host == NULL) {
        return head->minor == 0 ? REFUSE_NONE : REFUSE_HOST_MISSING;
    }
    if (!h1_authority_ok(host->value)) {
        return REFUSE_HOST_MALFORMED;
    }
    if (head->authority.len != 0) {
        field_set(host, head->authority);
    } else {
        head->authority = host->value;
    }
    return REFUSE_NONE;
}

static enum refusal check_coding(struct head *head) {
    if (head_find(head, FIELD_TRANSFER_ENCODING) != NULL) {
        head->body = BODY_STREAM;
    }
    return coding_check(head);
}

static enum refusal check_length(struct head *head, const struct http_limits *limits) {
    enum refusal refusal = length_check(head);
    if (refusal != REFUSE_NONE) {
        return refusal;
    }
    if (head->has_length && head->length > limits->body_bytes_max) {
        return REFUSE_BODY_TOO_LARGE;
    }
    if (head->has_length && head->length > 0) {
        head->body = BODY_LENGTH;
    }
    return REFUSE_NONE;
}

/* RFC 9110 10.1.1: the only expectation is 100-continue; from HTTP/1.0 it is not heard, and without
 * a body it means nothing. */
static enum refusal check_expect(struct head *head) {
    const struct field *f = head_find(head, FIELD_EXPECT);
    if (f == NULL) {
        return REFUSE_NONE;
    }
    if (head->minor == 0) {
        head_drop(head, FIELD_EXPECT);
        return REFUSE_NONE;
    }
    if (head_find_next(head, f) != NULL || !str_eq_fold(f->value, STR("100-continue"))) {
        return REFUSE_EXPECT_UNKNOWN;
    }
    head->expect_continue = head->body != BODY_NONE;
    if (!head->expect_continue) {
        head_drop(head, FIELD_EXPECT);
    }
    return REFUSE_NONE;
}

/* RFC 9112 9.3: connections of HTTP/1.0 clients are not kept, whatever they ask for. 9110 7.8: for
 * an upgrade both fields are needed, and it is not from HTTP/1.0. A request with a body is served
 * without. */
static enum refusal check_connection(struct head *head) {
    struct options said;
    enum refusal refusal = connection_check(head, &said);
    if (refusal != REFUSE_NONE) {
        return refusal;
    }
    head->keep_alive = head->minor > 0 && !said.close;
    const struct field *f = head_find(head, FIELD_TE);
    for (; f != NULL; f = head_find_next(head, f)) {
        head->te_trailers = head->te_trailers || str_list_has(f->value, STR("trailers"));
    }
    if (said.upgrade && head->minor > 0 && head->body == BODY_NONE) {
        head->upgrade = upgrade_of(head);
    }
    return REFUSE_NONE;
}

enum refusal h1_check_request(struct head *head, const struct http_limits *limits) {
    enum refusal refusal = once_check(head);
    refusal = refusal == REFUSE_NONE ? check_host(head) : refusal;
    refusal = refusal == REFUSE_NONE ? check_coding(head) : refusal;
    refusal = refusal == REFUSE_NONE ? check_length(head, limits) : refusal;
    refusal = refusal == REFUSE_NONE ? check_expect(head) : refusal;
    return refusal == REFUSE_NONE ? check_connection(head) : refusal;
}

bool h1_check_underscore(struct str name) {
    return name.len > 0 && memchr(name.p, '_', name.len) != NULL;
}

/* --- Responses (RFC 9112 6.3, in its order) ----------------------------------------------- */

/* Decides on the body. */
static enum refusal response_framing(struct head *head, bool no_body, bool *until_eof) {
    enum refusal refusal = coding_check(head);
    if (refusal != REFUSE_NONE) {
        return refusal;
    }
    bool coded = head_find(head, FIELD_TRANSFER_ENCODING) != NULL;
    if (head->status < 200 || head->status == 204) {
        /* Framing has no place here (RFC 9110 8.6, RFC 9112 6.1). Who sends it all the same may
         * send a body, too, which would be taken for the next response. */
        bool framed = coded || (head->has_length && head->length > 0);
        head->keep_alive = head->keep_alive && !framed;
        head->has_length = false;
        return framed && head->status != 204 ? REFUSE_INTERIM_FRAMED : REFUSE_NONE;
    }
    if (no_body || head->status == 304) {
        return REFUSE_NONE;
    }
    if (coded) {
        head->body = BODY_STREAM;
    } else if (head->has_length) {
        head->body = head->length > 0 ? BODY_LENGTH : BODY_NONE;
    } else {
        head->body = BODY_STREAM;
        head->keep_alive = false;
        *until_eof = true;
    }
    return REFUSE_NONE;
}

enum refusal h1_check_response(struct head *head, bool no_body, bool *until_eof) {
    struct options said;
    *until_eof = false;
    enum refusal refusal = once_check(head);
    refusal = refusal == REFUSE_NONE ? length_check(head) : refusal;
    refusal = refusal == REFUSE_NONE ? connection_check(head, &said) : refusal;
    if (refusal != REFUSE_NONE) {
        return refusal;
    }
    head->keep_alive = !said.close && (head->minor > 0 || said.keep_alive);
    if (head->status == 101) {
        head->upgrade = upgrade_of(head);
    }
    return response_framing(head, no_body, until_eof);
}

/* --- What llhttp has refused by itself ---------------------------------------------------- */

/* Framing fields are read by llhttp as their bytes come: those before it tell the cases apart. */
static enum refusal framing_of_llhttp(const struct h1_read *r, llhttp_errno_t error) {
    const struct field *coding = head_find(r->head, FIELD_TRANSFER_ENCODING);
    if (r->phase == H1_TRAILERS) {
        return REFUSE_TRAILER_FRAMING;
    }
    if (error != HPE_INVALID_TRANSFER_ENCODING) {
        return coding != NULL ? REFUSE_LENGTH_AND_CODING
               : error == HPE_UNEXPECTED_CONTENT_LENGTH ? REFUSE_LENGTH_TWICE
                                                        : REFUSE_LENGTH_MALFORMED;
    }
    if (head_find(r->head, FIELD_CONTENT_LENGTH) != NULL) {
        return REFUSE_LENGTH_AND_CODING;
    }
    /* Not in a field: it is the end of the head that it does not like. */
    return coding != NULL && r->in_value ? REFUSE_CODING_TWICE : REFUSE_CODING_LAST;
}

/* A byte that may not stand in a field's line. */
static enum refusal byte_of_llhttp(const struct h1_read *r, const char before[2], char at) {
    if (before[0] == '\n') {
        return before[1] != '\r' ? REFUSE_BARE_LF
               : char_is_blank(at) ? REFUSE_FIELD_FOLDED : REFUSE_FIELD_NAME;
    }
    if (r->in_value) {
        return REFUSE_FIELD_VALUE;
    }
    if (char_is_blank(at) || char_is_blank(before[0])) {
        return REFUSE_FIELD_BLANK;
    }
    return at == '\r' || at == '\n' ? REFUSE_FIELD_COLON : REFUSE_FIELD_NAME;
}

static enum refusal chunk_of_llhttp(const struct h1_read *r, llhttp_errno_t error) {
    if (error == HPE_INVALID_CHUNK_SIZE) {
        return REFUSE_CHUNK_SIZE;
    }
    return r->in_chunk ? REFUSE_CHUNK_END : REFUSE_CHUNK_LINE;
}

enum refusal h1_check_llhttp(const struct h1_read *r, llhttp_errno_t error, const char before[2],
                             char at) {
    if (r->phase == H1_BODY) {
        return chunk_of_llhttp(r, error);
    }
    switch (error) {
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_TRANSFER_ENCODING:
        return framing_of_llhttp(r, error);
    case HPE_INVALID_HEADER_TOKEN:
        return byte_of_llhttp(r, before, at);
    case HPE_UNEXPECTED_SPACE:         /* before the first field */
        return REFUSE_FIELD_FOLDED;
    case HPE_CR_EXPECTED:
        return REFUSE_BARE_LF;
    case HPE_LF_EXPECTED:
    case HPE_STRICT:
        return REFUSE_BARE_CR;
    default:
        return REFUSE_READERS_DIFFER;
    }
}
