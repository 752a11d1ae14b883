/* HTTP/1 as others read it: a second opinion that shares no line with gyre's reader, nor with
 * llhttp. Without habits it is lenient where gyre is strict and says BAD wherever two servers could
 * disagree, so that whatever gyre lets through is seen as the most gullible server behind it would
 * see it. With habits it is one such server; or, strict, what the RFC calls well-formed. */
#ifndef GYRE_TESTS_FUZZ_NAIVE_H
#define GYRE_TESTS_FUZZ_NAIVE_H

#include <stdlib.h>
#include <strings.h>

#include "base/str.h"

enum naive_result {
    NAIVE_BAD,      /* no message, or one that can be read in two ways */
    NAIVE_SHORT,    /* the beginning of a message */
    NAIVE_DONE
};

/* What servers do with what is not well-formed. */
enum naive_habit {
    NAIVE_STRICT = 1,             /* say BAD */
    NAIVE_LENIENT = 2,            /* make the best of it; what follows says how */
    NAIVE_FOLD = 4,               /* a line that begins with a blank continues the value before */
    NAIVE_CR = 8,                 /* a CR alone ends a line */
    NAIVE_CODING_ANY = 16,        /* "chunked" anywhere in Transfer-Encoding counts */
    NAIVE_LENGTH_WINS = 32,       /* Content-Length counts beside a coding */
    NAIVE_LAST = 64               /* of several lengths or codings the last counts */
};

#define NAIVE_FIELDS_MAX 3200u     /* more than fit into the longest input */

struct naive_field {
    struct str name, value;
    bool trailer;
};

struct naive {
    /* asked for */
    bool request, cgi;            /* cgi: '_' in a name is '-' */
    bool head_only;               /* a response to HEAD */
    bool at_eof;                  /* a response that may end with the connection */
    unsigned habits;
    /* the answer */
    struct str words[3];          /* of the start line */
    struct str host, upgrade, connection;
    uint32_t hosts, lengths, codings, upgrades, connections;
    uint64_t length;
    bool chunked, until_eof;
    uint32_t body_len, used;
    uint32_t head_used;           /* bytes to the end of the head; 0: it has not ended */
    bool in_body;                 /* its head, with its framing, is one */
    uint32_t field_count;
    char body[16384];
    struct naive_field fields[NAIVE_FIELDS_MAX];
};

struct naive_at {
    const char *p;
    uint32_t size, at;
};

/* To the first CR or LF; CRLF is one end. */
static inline enum naive_result naive_line_cr(struct naive_at *in, struct str *line) {
    uint32_t end = in->at;
    while (end < in->size && in->p[end] != '\n' && in->p[end] != '\r') {
        end++;
    }
    if (end + 1 >= in->size && (end == in->size || in->p[end] == '\r')) {
        return NAIVE_SHORT;
    }
    *line = (struct str){in->p + in->at, end - in->at};
    in->at = end + (in->p[end] == '\r' && in->p[end + 1] == '\n' ? 2 : 1);
    return NAIVE_DONE;
}

/* The next line, without its LF and the CR before that. */
static inline enum naive_result naive_line(const struct naive *n, struct naive_at *in,
                                           struct str *line) {
    if ((n->habits & NAIVE_CR) != 0) {
        return naive_line_cr(in, line);
    }
    const char *end = memchr(in->p + in->at, '\n', in->size - in->at);
    if (end == NULL) {
        return NAIVE_SHORT;
    }
    if ((n->habits & NAIVE_STRICT) != 0 && (end == in->p + in->at || end[-1] != '\r')) {
        return NAIVE_BAD;
    }
    *line = (struct str){in->p + in->at, (uint32_t)(end - in->p) - in->at};
    in->at += line->len + 1;
    if (line->len > 0 && line->p[line->len - 1] == '\r') {
        line->len--;
    }
    /* Some end a line at a CR, and some a text at a NUL. */
    bool two = line->len > 0 && (memchr(line->p, '\r', line->len) != NULL ||
                                 memchr(line->p, '\0', line->len) != NULL);
    return two && (n->habits & NAIVE_LENIENT) == 0 ? NAIVE_BAD : NAIVE_DONE;
}

static inline bool naive_named(const struct naive *n, struct str name, const char *wanted) {
    uint32_t i = 0;
    for (; i < name.len && wanted[i] != '\0'; i++) {
        char c = n->cgi && name.p[i] == '_' ? '-' : name.p[i];
        if (strncasecmp(&c, &wanted[i], 1) != 0) {
            return false;
        }
    }
    return i == name.len && wanted[i] == '\0';
}

static inline struct str naive_trim(struct str s) {
    while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

/* "chunked", and nothing else; or wherever in the value it stands. */
static inline bool naive_is_chunked(const struct naive *n, struct str value) {
    bool anywhere = (n->habits & NAIVE_CODING_ANY) != 0;
    for (uint32_t i = 0; i + 7 <= value.len && (i == 0 || anywhere); i++) {
        if (strncasecmp(value.p + i, "chunked", 7) == 0 && (anywhere || value.len == 7)) {
            return true;
        }
    }
    return false;
}

/* What is counted of a field: what decides about framing, or whom a message is for. */
static inline void naive_count(struct naive *n, struct str name, struct str value) {
    bool last = (n->habits & NAIVE_LAST) != 0;
    if (naive_named(n, name, "host")) {
        n->hosts++;
        n->host = value;
    } else if (naive_named(n, name, "content-length")) {
        if (n->lengths++ == 0 || last || n->habits == 0) {
            n->length = strtoull(value.p, NULL, 10);   /* ends at the line's end at the latest */
        }
    } else if (naive_named(n, name, "transfer-encoding")) {
        bool chunked = naive_is_chunked(n, value);
        bool either = (n->habits & NAIVE_CODING_ANY) != 0 && n->chunked;
        n->codings++;
        n->chunked = chunked || either;
    } else if (naive_named(n, name, "upgrade")) {
        n->upgrades++;
        n->upgrade = value;
    } else if (naive_named(n, name, "connection")) {
        n->connections++;
        n->connection = value;
    }
}

/* RFC 9110 5.6.2. */
static inline bool naive_token(struct str s) {
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]) != NULL) {
            return false;
        }
    }
    return s.len > 0;
}

/* No controls but the tab (RFC 9110 5.5). */
static inline bool naive_text(struct str s) {
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static inline bool naive_field(struct naive *n, struct str line, bool trailer) {
    bool lenient = (n->habits & NAIVE_LENIENT) != 0;
    const char *colon = memchr(line.p, ':', line.len);
    bool folded = line.p[0] == ' ' || line.p[0] == '\t';
    if (folded && (n->habits & NAIVE_FOLD) != 0 && n->field_count > 0) {
        struct naive_field *before = &n->fields[n->field_count - 1];
        before->value.len = (uint32_t)(line.p - before->value.p) + line.len;
        return true;
    }
    if (colon == NULL || folded) {
        return lenient;           /* a folded line belongs to the one before, for some */
    }
    struct str name = {line.p, (uint32_t)(colon - line.p)};
    struct str value = naive_trim((struct str){colon + 1, line.len - name.len - 1});
    if ((n->habits & NAIVE_STRICT) != 0 && (!naive_token(name) || !naive_text(value))) {
        return false;
    }
    name = naive_trim(name);
    if (n->field_count == NAIVE_FIELDS_MAX) {
        return false;
    }
    n->fields[n->field_count++] = (struct naive_field){name, value, trailer};
    return true;
}

/* To the empty line. Trailers count for nothing. */
static inline enum naive_result naive_fields(struct naive *n, struct naive_at *in, bool trailers) {
    struct str line;
    uint32_t first = n->field_count;
    for (;;) {
        enum naive_result result = naive_line(n, in, &line);
        if (result == NAIVE_DONE && line.len == 0) {
            break;
        }
        if (result == NAIVE_DONE && !naive_field(n, line, trailers)) {
            result = NAIVE_BAD;
        }
        if (result != NAIVE_DONE) {
            return result;
        }
    }
    for (uint32_t i = first; !trailers && i < n->field_count; i++) {
        naive_count(n, n->fields[i].name, n->fields[i].value);
    }
    return NAIVE_DONE;
}

/* Cuts at the first and, in responses and requests alike, the second blank. */
static inline bool naive_words(struct naive *n, struct str line) {
    for (int i = 0; i < 2; i++) {
        const char *blank = line.len == 0 ? NULL : memchr(line.p, ' ', line.len);
        uint32_t len = blank == NULL ? line.len : (uint32_t)(blank - line.p);
        n->words[i] = (struct str){line.p, len};
        len += blank != NULL;
        line = (struct str){line.p + len, line.len - len};
    }
    n->words[2] = line;
    return n->words[1].len > 0;
}

static inline enum naive_result naive_bytes(struct naive *n, struct naive_at *in, uint64_t len) {
    uint32_t have = in->size - in->at;
    uint32_t take = len < have ? (uint32_t)len : have;
    if (take > sizeof n->body - n->body_len) {
        return NAIVE_BAD;
    }
    memcpy(n->body + n->body_len, in->p + in->at, take);
    n->body_len += take;
    in->at += take;
    return take == len ? NAIVE_DONE : NAIVE_SHORT;
}

/* The size of a chunk, of its line. RFC 9112 7.1: hex digits, then nothing or an extension. */
static inline bool naive_chunk_size(const struct naive *n, struct str line, uint64_t *size) {
    char *end;
    *size = strtoull(line.p, &end, 16);
    if ((n->habits & NAIVE_LENIENT) != 0) {
        return true;
    }
    struct str rest = {end, line.len - (uint32_t)(end - line.p)};
    if ((n->habits & NAIVE_STRICT) != 0) {
        uint32_t digits = (uint32_t)strspn(line.p, "0123456789abcdefABCDEF");
        return digits > 0 && end == line.p + digits && *size != UINT64_MAX && naive_text(rest) &&
               (rest.len == 0 || strchr("; \t", rest.p[0]) != NULL);
    }
    return end != line.p && (*end == ';' || *end == '\r' || *end == '\n');
}

/* The line end behind a chunk. */
static inline enum naive_result naive_chunk_end(const struct naive *n, struct naive_at *in) {
    struct str line;
    if ((n->habits & NAIVE_LENIENT) != 0 && in->at < in->size && in->p[in->at] != '\r' &&
        in->p[in->at] != '\n') {
        return NAIVE_DONE;        /* it is missing */
    }
    enum naive_result result = naive_line(n, in, &line);
    return result == NAIVE_DONE && line.len > 0 ? NAIVE_BAD : result;
}

static inline enum naive_result naive_chunks(struct naive *n, struct naive_at *in) {
    struct str line;
    for (;;) {
        uint64_t len;
        enum naive_result result = naive_line(n, in, &line);
        if (result != NAIVE_DONE) {
            return result;
        }
        if (!naive_chunk_size(n, line, &len)) {
            return NAIVE_BAD;
        }
        if (len == 0) {
            return naive_fields(n, in, true);
        }
        result = naive_bytes(n, in, len);
        if (result == NAIVE_DONE) {
            result = naive_chunk_end(n, in);
        }
        if (result != NAIVE_DONE) {
            return result;
        }
    }
}

static inline bool naive_bodyless(const struct naive *n) {
    const char *status = n->words[1].p;
    return !n->request && (n->head_only || status[0] == '1' || strncmp(status, "204", 3) == 0 ||
                           strncmp(status, "304", 3) == 0);
}

static inline bool naive_is_old(const struct naive *n) {
    struct str version = n->words[n->request ? 2 : 0];
    return version.len == 8 && version.p[7] == '0';
}

/* RFC 9112 6.3: one length, or one coding, which is chunked. */
static inline bool naive_framing_ok(const struct naive *n) {
    if ((n->habits & NAIVE_LENIENT) != 0) {
        return true;
    }
    if (n->lengths + n->codings > 1 || (n->codings == 1 && !n->chunked)) {
        return false;
    }
    if ((n->habits & NAIVE_STRICT) == 0) {
        return true;
    }
    for (uint32_t i = 0; i < n->field_count; i++) {
        struct str value = n->fields[i].value;
        if (naive_named(n, n->fields[i].name, "content-length") && !n->fields[i].trailer &&
            (value.len == 0 || strspn(value.p, "0123456789") != value.len)) {
            return false;
        }
    }
    return n->codings == 0 || !naive_is_old(n);
}

static inline enum naive_result naive_body(struct naive *n, struct naive_at *in) {
    n->in_body = naive_bodyless(n) || naive_framing_ok(n);
    if (naive_bodyless(n) || !n->in_body) {
        return n->in_body ? NAIVE_DONE : NAIVE_BAD;
    }
    bool counted = n->lengths > 0 && (n->habits & NAIVE_LENGTH_WINS) != 0;
    if (n->chunked && !counted) {
        return naive_chunks(n, in);
    }
    if (n->lengths > 0) {
        return naive_bytes(n, in, n->length);
    }
    n->until_eof = !n->request;
    return n->request ? NAIVE_DONE : naive_bytes(n, in, in->size - in->at);
}

/* RFC 9112 3 and 4, and that there is one Host (3.2). */
static inline bool naive_start_ok(const struct naive *n) {
    struct str version = n->words[n->request ? 2 : 0];
    if ((n->habits & NAIVE_STRICT) == 0) {
        return true;
    }
    if (version.len != 8 || memcmp(version.p, "HTTP/1.", 7) != 0 ||
        (version.p[7] != '0' && version.p[7] != '1')) {
        return false;
    }
    if (!n->request) {
        return n->words[1].len == 3 && strspn(n->words[1].p, "0123456789") >= 3 &&
               naive_text(n->words[2]);
    }
    for (uint32_t i = 0; i < n->words[1].len; i++) {
        if (n->words[1].p[i] <= ' ' || n->words[1].p[i] >= 0x7f) {
            return false;
        }
    }
    return naive_token(n->words[0]);
}

/* The bytes must be followed by one that may be read and is no digit: a NUL does. */
static inline enum naive_result naive_read(struct naive *n, struct str bytes) {
    struct naive_at in = {bytes.p, bytes.len, 0};
    struct str line;
    enum naive_result result = naive_line(n, &in, &line);
    if (result == NAIVE_DONE) {
        result = naive_words(n, line) && naive_start_ok(n) ? naive_fields(n, &in, false)
                                                           : NAIVE_BAD;
    }
    if (result == NAIVE_DONE) {
        bool one_host = n->hosts == 1 || (n->hosts == 0 && (!n->request || naive_is_old(n)));
        bool host_ok = (n->habits & NAIVE_STRICT) != 0 ? one_host : n->hosts <= 1;
        n->head_used = in.at;
        result = host_ok || (n->habits & NAIVE_LENIENT) != 0 ? naive_body(n, &in) : NAIVE_BAD;
    }
    n->used = in.at;
    return result;
}

#endif
