/* What a script expects, held against the bytes that came. */
#include "script/script_priv.h"

/* --- Texts: {port}, {app}, ... are put in; {id}, {date}, {n}, {packet}, ... are matched --- */

char *text_make(const char *from, size_t len, const struct put_in *names, size_t count,
                       size_t *made_len) {
    char *made = mem_alloc(len * 8 + ADDR_TEXT_MAX);
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        size_t k = 0;
        while (k < count && (strlen(names[k].name) > len - i ||
                             memcmp(from + i, names[k].name, strlen(names[k].name)) != 0)) {
            k++;
        }
        if (k == count) {
            made[n++] = from[i++];
        } else {
            memcpy(made + n, names[k].text, strlen(names[k].text));
            n += strlen(names[k].text);
            i += strlen(names[k].name);
        }
    }
    made[n] = '\0';
    *made_len = n;
    return made;
}

static bool is_hex(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* "Sun, 06 Nov 1994 08:49:37 GMT": digits and letters in their places. */
static bool is_date(const uint8_t *p, size_t len) {
    static const char form[] = "Aaa, 00 Aaa 0000 00:00:00 GMT";
    for (size_t i = 0; i < len; i++) {
        bool ok = form[i] == '0' ? p[i] >= '0' && p[i] <= '9'
                  : form[i] == 'A' && i < 26 ? p[i] >= 'A' && p[i] <= 'Z'
                  : form[i] == 'a' ? p[i] >= 'a' && p[i] <= 'z' : p[i] == (uint8_t)form[i];
        if (!ok) {
            return false;
        }
    }
    return true;
}

static size_t span_hex(const uint8_t *p, size_t len) {
    size_t i = 0;
    while (i < len && is_hex(p[i])) {
        i++;
    }
    return i;
}

static size_t span_digits(const uint8_t *p, size_t len) {
    size_t i = 0;
    while (i < len && p[i] >= '0' && p[i] <= '9') {
        i++;
    }
    return i;
}

/* --- uwsgi packets, read with eyes of our own --------------------------------------------- */

/* What sizes have promised: where the name or value at hand ends, and the packet. */
struct packet_seen {
    bool inside;
    size_t string_end, end;
};

enum { TOOK_NOT = -1, TOOK_MORE = -2 };

static size_t packet_token(const char *left, size_t more) {
    static const char *const tokens[] = {"{packet}", "{u16}", "{end}"};
    for (size_t i = 0; i < 3; i++) {
        size_t len = strlen(tokens[i]);
        if (more >= len && memcmp(left, tokens[i], len) == 0) {
            return len;
        }
    }
    return 0;
}

/* How many of the bytes the token takes: {packet} a header, {u16} a size, before which another
 * string must have had the size that was said, {end} none, where all must have had theirs. */
static long match_packet(struct packet_seen *seen, char token, const uint8_t *p, size_t at,
                         size_t len) {
    if (token == 'p') {
        if (len - at < 4) {
            return TOOK_MORE;
        }
        *seen = (struct packet_seen){.inside = true, .string_end = at + 4,
                                     .end = at + 4 + p[at + 1] + ((size_t)p[at + 2] << 8)};
        return p[at] == 0 && p[at + 3] == 0 ? 4 : TOOK_NOT;
    }
    if (!seen->inside || at != seen->string_end) {
        return TOOK_NOT;
    }
    if (token == 'e') {
        seen->inside = false;
        return at == seen->end ? 0 : TOOK_NOT;
    }
    if (len - at < 2) {
        return TOOK_MORE;
    }
    seen->string_end = at + 2 + p[at] + ((size_t)p[at + 1] << 8);
    return seen->string_end <= seen->end ? 2 : TOOK_NOT;
}

/* --- What is matched ---------------------------------------------------------------------- */

long match_text(const char *pattern, size_t pattern_len, const uint8_t *p, size_t len) {
    struct packet_seen seen = {.inside = false};
    size_t at = 0;
    for (size_t i = 0; i < pattern_len;) {
        const char *left = pattern + i;
        size_t more = pattern_len - i, here = len - at, n;
        size_t token = packet_token(left, more);
        if (token > 0) {
            long took = match_packet(&seen, left[1], p, at, len);
            if (took < 0) {
                return took == TOOK_MORE ? MATCH_MORE : MATCH_NOT;
            }
            i += token;
            at += (size_t)took;
        } else if (more >= 4 && memcmp(left, "{id}", 4) == 0) {
            n = here < 32 ? here : 32;
            if (span_hex(p + at, n) < n) {
                return MATCH_NOT;
            }
            i += 4;
            at += n;
            if (n < 32) {
                return MATCH_MORE;
            }
        } else if (more >= 6 && memcmp(left, "{date}", 6) == 0) {
            n = here < 29 ? here : 29;
            if (!is_date(p + at, n)) {
                return MATCH_NOT;
            }
            i += 6;
            at += n;
            if (n < 29) {
                return MATCH_MORE;
            }
        } else if (more >= 3 && memcmp(left, "{n}", 3) == 0) {
            bool ends = seen.inside && seen.string_end <= len;
            n = span_digits(p + at, ends ? seen.string_end - at : here);
            if (n == here && !ends) {
                return MATCH_MORE;
            }
            if (n == 0) {
                return MATCH_NOT;
            }
            i += 3;
            at += n;
        } else if (here == 0) {
            return MATCH_MORE;
        } else if (p[at] != (uint8_t)pattern[i]) {
            return MATCH_NOT;
        } else {
            i++;
            at++;
        }
    }
    return (long)at;
}

uint8_t pattern_at(uint64_t i) {
    return (uint8_t)(i * 7u + (i >> 8) * 13u + (i >> 16));
}

/* --- Chunked bodies, read with eyes of our own ------------------------------------------- */

bool body_is(const char *text, uint64_t size, uint64_t at, const uint8_t *p, size_t len) {
    if (len > size - at) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (p[i] != (text != NULL ? (uint8_t)text[at + i] : pattern_at(at + i))) {
            return false;
        }
    }
    return true;
}

long match_chunk(const char *text, uint64_t body_len, uint64_t body_at, const uint8_t *p,
                        size_t len, uint64_t *size) {
    size_t digits = span_hex(p, len);
    if (digits > 8 || (digits == 0 && len > 0)) {
        return MATCH_NOT;
    }
    if (len < digits + 2) {
        return MATCH_MORE;
    }
    if (memcmp(p + digits, "\r\n", 2) != 0) {
        return MATCH_NOT;
    }
    *size = 0;
    for (size_t i = 0; i < digits; i++) {
        *size = *size * 16 + (uint64_t)(p[i] <= '9' ? p[i] - '0' : p[i] - 'a' + 10);
    }
    size_t at = digits + 2, here = len - at < *size ? len - at : (size_t)*size;
    if (*size == 0) {
        return body_at == body_len ? (long)at : MATCH_NOT;
    }
    if (!body_is(text, body_len, body_at, p + at, here)) {
        return MATCH_NOT;
    }
    if (len - at < *size + 2) {
        return MATCH_MORE;
    }
    at += (size_t)*size + 2;
    return memcmp(p + at - 2, "\r\n", 2) == 0 ? (long)at : MATCH_NOT;
}
