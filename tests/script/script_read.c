/* Reads what a peer got into messages, and compares them. */
#include "script/script_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/ensure.h"
#include "base/mem.h"

/* --- Records ------------------------------------------------------------------------------ */

void record_add(struct record *r, const void *p, size_t len) {
    if (r->cap - r->len < len + 1) {
        r->cap = (r->len + len + 1) * 2;
        r->p = mem_grow(r->p, r->cap);
    }
    if (len > 0) {
        memcpy(r->p + r->len, p, len);
        r->len += len;
    }
}

void record_fini(struct record *r) {
    mem_free(r->p);
    *r = (struct record){0};
}

/* --- Lines -------------------------------------------------------------------------------- */

struct lines {
    const char *p;
    size_t len, at;
};

/* The next line without its CRLF; false when it is not whole. */
static bool line_next(struct lines *in, const char **line, size_t *len) {
    const char *from = in->p + in->at;
    const char *end = in->at < in->len ? memmem(from, in->len - in->at, "\r\n", 2) : NULL;
    if (end == NULL) {
        return false;
    }
    *line = from;
    *len = (size_t)(end - from);
    in->at += *len + 2;
    return true;
}

static bool line_is(const char *line, size_t len, const char *start) {
    return len >= strlen(start) && strncasecmp(line, start, strlen(start)) == 0;
}

/* Appends a line; of a field that differs from run to run, or that tells a client's address, which
 * may not be had (FAULT_PEER), its name alone. */
static void line_keep(char *to, size_t *used, const char *line, size_t len) {
    static const char *const masked[] = {"Date: ", "X-Request-ID: ", "X-Request-Start: ",
                                         "X-Forwarded-Port: ", "X-Forwarded-For: ", "X-Real-IP: ",
                                         "Forwarded: for=", "Server-Timing: ", "REMOTE_ADDR: ",
                                         "REMOTE_PORT: ", "SERVER_PORT: "};
    for (size_t i = 0; i < sizeof masked / sizeof masked[0]; i++) {
        len = line_is(line, len, masked[i]) ? strlen(masked[i]) : len;
    }
    memcpy(to + *used, line, len);
    *used += len;
    to[(*used)++] = '\n';
    to[*used] = '\0';
}

/* --- Heads -------------------------------------------------------------------------------- */

struct framing {
    bool chunked, counted;
    size_t length;
};

static bool start_ok(struct message *m, bool request, const char *line, size_t len) {
    if (request) {
        return len > 9 && memcmp(line + len - 9, " HTTP/1.1", 9) == 0;
    }
    if (!line_is(line, len, "HTTP/1.1 ") || len < 12) {
        return false;
    }
    m->status = atoi(line + 9);
    return m->status >= 100 && m->status <= 599;
}

static void field_look(struct message *m, struct framing *f, const char *line, size_t len) {
    if (line_is(line, len, "Content-Length: ")) {
        f->counted = true;
        f->length = strtoull(line + 16, NULL, 10);
    }
    f->chunked = f->chunked || line_is(line, len, "Transfer-Encoding: chunked");
    m->closes = m->closes || line_is(line, len, "Connection: close");
    m->tunnel = m->tunnel || line_is(line, len, "Connection: upgrade");
}

/* False: no head. m->has_head false: the bytes end before it does. */
static bool head_read(struct message *m, struct framing *f, bool request, struct lines *in) {
    const char *line;
    size_t len, used = 0;
    m->head = mem_alloc(in->len + 2);
    m->head[0] = '\0';
    for (bool first = true; line_next(in, &line, &len); first = false) {
        if (first && !start_ok(m, request, line, len)) {
            return false;
        }
        if (len == 0) {
            m->has_head = true;
            m->tunnel = request ? m->tunnel : m->status == 101;
            return true;
        }
        field_look(m, f, line, len);
        if (!line_is(line, len, "Connection: close")) {
            line_keep(m->head, &used, line, len);
        }
    }
    in->at = in->len;
    return true;
}

/* --- Bodies ------------------------------------------------------------------------------- */

static void body_add(struct message *m, const char *p, size_t len) {
    if (len > 0) {
        memcpy(m->body + m->body_len, p, len);
        m->body_len += len;
    }
}

static bool chunk_size(const char *line, size_t len, size_t *size) {
    static const char digits[] = "0123456789abcdef";
    *size = 0;
    for (size_t i = 0; i < len; i++) {
        const char *digit = memchr(digits, line[i], 16);
        if (digit == NULL || i == 8) {
            return false;
        }
        *size = *size * 16 + (size_t)(digit - digits);
    }
    return len > 0;
}

/* Trailers, to the empty line. */
static bool tail_read(struct message *m, struct lines *in) {
    const char *line;
    size_t len, used = 0;
    m->tail = mem_alloc(in->len + 2);
    m->tail[0] = '\0';
    while (line_next(in, &line, &len)) {
        if (len == 0) {
            m->whole = true;
            return true;
        }
        line_keep(m->tail, &used, line, len);
    }
    in->at = in->len;
    return true;
}

static bool chunks_read(struct message *m, struct lines *in) {
    const char *line;
    size_t len, size;
    while (line_next(in, &line, &len)) {
        if (!chunk_size(line, len, &size)) {
            return false;
        }
        if (size == 0) {
            return tail_read(m, in);
        }
        size_t here = in->len - in->at;
        body_add(m, in->p + in->at, size < here ? size : here);
        if (here < size + 2) {
            break;
        }
        in->at += size + 2;
        if (memcmp(in->p + in->at - 2, "\r\n", 2) != 0) {
            return false;
        }
    }
    in->at = in->len;
    return true;
}

static void count_read(struct message *m, struct lines *in, size_t length) {
    size_t here = in->len - in->at, n = length < here ? length : here;
    body_add(m, in->p + in->at, n);
    in->at += n;
    m->whole = n == length;
}

/* The answer to HEAD tells lengths, and the next one follows at once, or nothing does. */
static bool is_bodyless(const struct message *m, bool request, bool head_asked,
                        const struct lines *in) {
    if (m->tunnel || (!request && (m->status < 200 || m->status == 204 || m->status == 304))) {
        return true;
    }
    size_t here = in->len - in->at;
    return head_asked && !request && (here == 0 || line_is(in->p + in->at, here, "HTTP/1."));
}

/* --- uwsgi packets: their variables as lines of a head ------------------------------------ */

static bool var_next(struct lines *in, const char **p, size_t *len) {
    const uint8_t *at = (const uint8_t *)in->p + in->at;
    size_t left = in->len - in->at;
    *len = left >= 2 ? (size_t)at[0] + ((size_t)at[1] << 8) : 0;
    if (left < 2 || left - 2 < *len) {
        return false;
    }
    *p = (const char *)at + 2;
    in->at += 2 + *len;
    return true;
}

/* HTTP_X_Y is X-Y again. */
static size_t var_name(char *to, const char *name, size_t len) {
    size_t skip = line_is(name, len, "HTTP_") ? 5 : 0;
    for (size_t i = skip; i < len; i++) {
        to[i - skip] = name[i] == '_' && skip > 0 ? '-' : name[i];
    }
    memcpy(to + len - skip, ": ", 2);
    return len - skip + 2;
}

static bool packet_head(struct message *m, struct framing *f, struct lines *in) {
    const char *name, *value, *method = "", *target = "";
    size_t name_len, value_len, method_len = 0, target_len = 0, used = 0;
    char *lines = mem_alloc(in->len * 4), *line = mem_alloc(in->len + 8);
    lines[0] = '\0';
    bool good = true;
    while (good && in->at < in->len) {
        good = var_next(in, &name, &name_len) && var_next(in, &value, &value_len);
        if (!good) {
            break;
        }
        size_t len = var_name(line, name, name_len);
        memcpy(line + len, value, value_len);
        line_keep(lines, &used, line, len + value_len);
        if (line_is(line, len, "REQUEST_METHOD: ")) {
            method = value;
            method_len = value_len;
        } else if (line_is(line, len, "REQUEST_URI: ")) {
            target = value;
            target_len = value_len;
        } else if (line_is(line, len, "CONTENT_LENGTH: ")) {
            line[len + value_len] = '\0';
            f->length = strtoull(line + len, NULL, 10);
        }
    }
    size_t size = method_len + target_len + used + 16;
    m->head = mem_alloc(size);
    snprintf(m->head, size, "%.*s %.*s HTTP/1.1\n%s", (int)method_len, method, (int)target_len,
             target, lines);
    mem_free(lines);
    mem_free(line);
    return good;
}

/* It begins with a byte that no request of HTTP does. What of a packet is not all there is none
 * of its variables. */
static bool packet_read(struct message *m, const uint8_t *p, size_t len) {
    struct framing f = {0};
    size_t size = len >= 4 ? 4 + (size_t)p[1] + ((size_t)p[2] << 8) : SIZE_MAX;
    m->used = len;
    if (len < size) {
        m->head = mem_alloc(1);
        m->head[0] = '\0';
        return true;
    }
    struct lines vars = {(const char *)p + 4, size - 4, 0}, in = {(const char *)p, len, size};
    m->has_head = packet_head(m, &f, &vars);
    m->body = mem_alloc(len + 1);
    count_read(m, &in, f.length);
    m->used = in.at;
    return m->has_head && p[3] == 0;
}

/* --- Messages ------------------------------------------------------------------------------ */

bool message_read(struct message *m, bool request, bool head_asked, const uint8_t *p, size_t len) {
    struct lines in = {(const char *)p, len, 0};
    struct framing f = {0};
    *m = (struct message){0};
    if (request && len > 0 && p[0] == 0) {
        return packet_read(m, p, len);
    }
    bool good = head_read(m, &f, request, &in);
    if (good && m->has_head) {
        m->body = mem_zero(len + 1);   /* ends in a NUL */
        m->whole = is_bodyless(m, request, head_asked, &in);
        if (!m->whole && f.chunked) {
            good = chunks_read(m, &in);
        } else if (!m->whole && (f.counted || request)) {
            count_read(m, &in, f.length);
        } else if (!m->whole) {
            m->until_end = true;
            count_read(m, &in, len - in.at);
        }
    }
    m->used = in.at;
    return good;
}

void message_fini(struct message *m) {
    mem_free(m->head);
    mem_free(m->tail);
    mem_free(m->body);
}

/* --- Sequences ---------------------------------------------------------------------------- */

void reading_init(struct reading *reading, const struct record *r, bool request, bool head_asked) {
    *reading = (struct reading){0};
    size_t at = 0;
    while (at < r->len && !reading->bad) {
        ensure(reading->count < RECORD_MESSAGES_MAX);
        struct message *m = &reading->v[reading->count];
        bool good = message_read(m, request, head_asked, r->p + at, r->len - at);
        /* A server knows only by what follows whether its answer began a tunnel. */
        bool behind = !good && request && reading->count > 0 && m[-1].tunnel;
        if (!good) {
            message_fini(m);
            reading->bad = !behind;
            reading->bad_at = at;
        } else {
            m->whole = m->whole && !(m->until_end && r->reset);
            reading->count++;
            at += m->used;
        }
        if (behind || (good && !request && m->tunnel && m->has_head)) {
            reading->rest = r->p + at;
            reading->rest_len = r->len - at;
            return;
        }
    }
}

void reading_fini(struct reading *reading) {
    for (uint32_t i = 0; i < reading->count; i++) {
        message_fini(&reading->v[i]);
    }
}

bool message_is_part(const struct message *a, const struct message *b) {
    if (!a->has_head) {
        return strncmp(a->head, b->head, strlen(a->head)) == 0;
    }
    /* One that was cut off in both runs may have come farther in either. */
    size_t len = !b->whole && b->body_len < a->body_len ? b->body_len : a->body_len;
    return b->has_head && strcmp(a->head, b->head) == 0 && len <= b->body_len &&
           memcmp(a->body, b->body, len) == 0;
}

bool message_is_same(const struct message *a, const struct message *b) {
    return a->whole && b->whole && a->body_len == b->body_len && message_is_part(a, b) &&
           strcmp(a->tail != NULL ? a->tail : "", b->tail != NULL ? b->tail : "") == 0;
}

bool message_is_page(const struct message *m) {
    if (m->status != 308 && m->status < 400) {
        return false;
    }
    /* Without their fields these mean nothing. */
    if (m->has_head && ((m->status == 308 && strstr(m->head, "\nLocation: ") == NULL) ||
                        (m->status == 405 && strstr(m->head, "\nAllow: ") == NULL))) {
        return false;
    }
    char title[32];
    snprintf(title, sizeof title, "<title>%d ", m->status);
    bool page = strstr(m->head, "Content-Type: text/html; charset=utf-8\n") != NULL;
    if (!m->whole || m->body_len == 0) {
        return page || !m->has_head || strstr(m->head, "Content-Length: 0\n") != NULL ||
               strstr(m->head, "Content-Length") == NULL;
    }
    return page && memmem(m->body, m->body_len, title, strlen(title)) != NULL &&
           m->body_len > 8 && memcmp(m->body + m->body_len - 8, "</html>\n", 8) == 0;
}

size_t message_proxy_len(const uint8_t *p, size_t all) {
    static const char v2[] = "\r\n\r\n\0\r\nQUIT\n";
    if (all >= 6 && memcmp(p, "PROXY ", 6) == 0) {
        const uint8_t *end = memchr(p, '\n', all);
        return end != NULL ? (size_t)(end - p) + 1 : all;
    }
    if (all < 16 || memcmp(p, v2, 12) != 0) {
        return all < 16 && all > 0 && memcmp(p, v2, all < 12 ? all : 12) == 0
                   ? all : 0;
    }
    size_t len = 16u + ((size_t)p[14] << 8 | p[15]);
    return len < all ? len : all;
}
