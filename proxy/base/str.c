/* Counted strings, and a bounded writer of text. */
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/ensure.h"

bool str_eq_fold(struct str a, struct str b) {
    if (a.len != b.len) {
        return false;
    }
    if (str_eq(a, b)) {
        return true;   /* most are written as they are looked for */
    }
    for (uint32_t i = 0; i < a.len; i++) {
        if (char_lower(a.p[i]) != char_lower(b.p[i])) {
            return false;
        }
    }
    return true;
}

bool str_starts(struct str s, struct str prefix) {
    return s.len >= prefix.len && str_eq((struct str){s.p, prefix.len}, prefix);
}

bool str_ends_fold(struct str s, struct str suffix) {
    return s.len >= suffix.len &&
           str_eq_fold((struct str){s.p + (s.len - suffix.len), suffix.len}, suffix);
}

struct str str_trim_ends(struct str s) {
    while (s.len > 0 && char_is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && char_is_blank(s.p[s.len - 1])) {
        s.len--;
    }
    return s;
}

bool str_to_u64(struct str s, uint64_t *value) {
    uint64_t n = 0;
    if (s.len == 0) {
        return false;
    }
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (n > (UINT64_MAX - digit) / 10) {
            return false;
        }
        n = n * 10 + digit;
    }
    *value = n;
    return true;
}

uint64_t str_hash(struct str s) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint32_t i = 0; i < s.len; i++) {
        hash = (hash ^ (uint8_t)s.p[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

bool str_next_element(struct str *rest, struct str *element) {
    while (rest->len > 0) {
        const char *comma = memchr(rest->p, ',', rest->len);
        uint32_t len = comma != NULL ? (uint32_t)(comma - rest->p) : rest->len;
        struct str piece = str_trim((struct str){rest->p, len});
        uint32_t used = comma != NULL ? len + 1 : len;
        rest->p += used;
        rest->len -= used;
        if (piece.len > 0) {
            *element = piece;
            return true;
        }
    }
    return false;
}

bool str_list_has(struct str list, struct str token) {
    struct str element;
    while (str_next_element(&list, &element)) {
        if (str_eq_fold(element, token)) {
            return true;
        }
    }
    return false;
}

char *u64_put_long_(char *p, uint64_t n) {
    return three_put(u64_put(p, n / 1000), (uint32_t)(n % 1000));
}

void text_str_cut_(struct text *text, struct str s) {
    text->cut = true;
    s.len = text->cap - text->len;
    text_str(text, s);
}

void text_char(struct text *text, char c) {
    text_str(text, (struct str){&c, 1});
}

void text_u64(struct text *text, uint64_t value) {
    if (text->cap - text->len >= U64_TEXT_MAX) {
        text->len = (uint32_t)(u64_put(text->p + text->len, value) - text->p);
        return;
    }
    char digits[U64_TEXT_MAX];
    text_str(text, (struct str){digits, (uint32_t)(u64_put(digits, value) - digits)});
}

void text_fmt(struct text *text, const char *fmt, ...) {
    char line[1024];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    ensure(len >= 0);
    if ((size_t)len >= sizeof line) {
        text->cut = true;
        len = sizeof line - 1;
    }
    text_str(text, (struct str){line, (uint32_t)len});
}
