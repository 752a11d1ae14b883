/* HTTP/1 as a careless server reads it: a second opinion that shares no line with gyre's reader,
 * nor with llhttp. It is lenient where gyre is strict, so that whatever gyre lets through is seen
 * as the most gullible server behind it would see it. */
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

struct naive {
    /* asked for */
    bool request, cgi;            /* cgi: '_' in a name is '-' */
    bool head_only;               /* a response to HEAD */
    bool at_eof;                  /* a response that may end with the connection */
    /* the answer */
    struct str words[3];          /* of the start line */
    struct str host, upgrade, connection;
    uint32_t hosts, lengths, codings, upgrades, connections;
    uint64_t length;
    bool chunked, until_eof;
    uint32_t body_len, used;
    char body[16384];
};

struct naive_at {
    const char *p;
    uint32_t size, at;
};

/* The next line, without its LF and the CR before that. */
static inline enum naive_result naive_line(struct naive_at *in, struct str *line) {
    const char *end = memchr(in->p + in->at, '\n', in->size - in->at);
    if (end == NULL) {
        return NAIVE_SHORT;
    }
    *line = (struct str){in->p + in->at, (uint32_t)(end - in->p) - in->at};
    in->at += line->len + 1;
    if (line->len > 0 && line->p[line->len - 1] == '\r') {
        line->len--;
    }
    /* Some end a line at a CR, and some a text at a NUL. */
    bool two = line->len > 0 && (memchr(line->p, '\r', line->len) != NULL ||
                                 memchr(line->p, '\0', line->len) != NULL);
    return two ? NAIVE_BAD : NAIVE_DONE;
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

static inline bool naive_field(struct naive *n, struct str line) {
    const char *colon = memchr(line.p, ':', line.len);
    if (colon == NULL || line.p[0] == ' ' || line.p[0] == '\t') {
        return false;             /* a folded line belongs to the one before, for some */
    }
    struct str name = {line.p, (uint32_t)(colon - line.p)};
    struct str value = {colon + 1, line.len - name.len - 1};
    while (name.len > 0 && (name.p[name.len - 1] == ' ' || name.p[name.len - 1] == '\t')) {
        name.len--;
    }
    while (value.len > 0 && (value.p[0] == ' ' || value.p[0] == '\t')) {
        value.p++;
        value.len--;
    }
    while (value.len > 0 &&
           (value.p[value.len - 1] == ' ' || value.p[value.len - 1] == '\t')) {
        value.len--;
    }
    if (naive_named(n, name, "host")) {
        n->hosts++;
        n->host = value;
    } else if (naive_named(n, name, "content-length")) {
        n->lengths++;
        n->length = strtoull(value.p, NULL, 10);   /* ends at the line's end at the latest */
    } else if (naive_named(n, name, "transfer-encoding")) {
        n->codings++;
        n->chunked = value.len == 7 && strncasecmp(value.p, "chunked", 7) == 0;
    } else if (naive_named(n, name, "upgrade")) {
        n->upgrades++;
        n->upgrade = value;
    } else if (naive_named(n, name, "connection")) {
        n->connections++;
        n->connection = value;
    }
    return true;
}

/* To the empty line. Trailers count for nothing. */
static inline enum naive_result naive_fields(struct naive *n, struct naive_at *in, bool count) {
    static struct naive ignored;
    struct str line;
    for (;;) {
        enum naive_result result = naive_line(in, &line);
        if (result != NAIVE_DONE || line.len == 0) {
            return result;
        }
        if (!naive_field(count ? n : &ignored, line)) {
            return NAIVE_BAD;
        }
    }
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

static inline enum naive_result naive_chunks(struct naive *n, struct naive_at *in) {
    struct str line;
    for (;;) {
        enum naive_result result = naive_line(in, &line);
        if (result != NAIVE_DONE) {
            return result;
        }
        char *end;
        uint64_t len = strtoull(line.p, &end, 16);
        if (end == line.p || (*end != ';' && *end != '\r' && *end != '\n')) {
            return NAIVE_BAD;
        }
        if (len == 0) {
            return naive_fields(n, in, false);
        }
        result = naive_bytes(n, in, len);
        if (result == NAIVE_DONE) {
            result = naive_line(in, &line);
            if (result == NAIVE_DONE && line.len > 0) {
                return NAIVE_BAD;
            }
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

static inline enum naive_result naive_body(struct naive *n, struct naive_at *in) {
    if (naive_bodyless(n)) {
        return NAIVE_DONE;
    }
    if (n->lengths + n->codings > 1 || (n->codings == 1 && !n->chunked)) {
        return NAIVE_BAD;
    }
    if (n->chunked) {
        return naive_chunks(n, in);
    }
    if (n->lengths == 1) {
        return naive_bytes(n, in, n->length);
    }
    n->until_eof = !n->request;
    return n->request ? NAIVE_DONE : naive_bytes(n, in, in->size - in->at);
}

/* The bytes must be followed by one that may be read and is no digit: a NUL does. */
static inline enum naive_result naive_read(struct naive *n, struct str bytes) {
    struct naive_at in = {bytes.p, bytes.len, 0};
    struct str line;
    enum naive_result result = naive_line(&in, &line);
    if (result == NAIVE_DONE) {
        result = naive_words(n, line) ? naive_fields(n, &in, true) : NAIVE_BAD;
    }
    if (result == NAIVE_DONE) {
        result = n->hosts > 1 ? NAIVE_BAD : naive_body(n, &in);
    }
    n->used = in.at;
    return result;
}

#endif
