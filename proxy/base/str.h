/* Counted strings, and a bounded writer of text. */
#ifndef GYRE_BASE_STR_H
#define GYRE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that somebody else owns. Not NUL-terminated. */
struct str {
    const char *p;
    uint32_t len;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).len, (s).p

static inline struct str str_of(const char *cstring) {
    return (struct str){cstring, (uint32_t)strlen(cstring)};
}

static inline bool str_eq(struct str a, struct str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* ASCII letters only; the locale is never asked. */
static inline char char_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool str_eq_fold(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_ends_fold(struct str s, struct str suffix);
struct str str_trim_ends(struct str s);
/* Without blanks and tabs at both ends; most have none. */
static inline bool char_is_blank(char c) {
    return c == ' ' || c == '\t';
}
static inline struct str str_trim(struct str s) {
    bool trimmed = s.len > 0 && !char_is_blank(s.p[0]) && !char_is_blank(s.p[s.len - 1]);
    return trimmed ? s : str_trim_ends(s);
}
/* Decimal digits only, at least one, no sign, no overflow. */
bool str_to_u64(struct str s, uint64_t *value);
/* FNV-1a. The same in every process, and so for steering only: whoever chooses the text can choose
 * the hash. */
uint64_t str_hash(struct str s);
/* SipHash-2-4: nobody who does not know the secrets can choose texts by their hashes. */
uint64_t str_hash_secret(struct str s, const uint64_t secrets[2]);
/* Cuts the next element of a comma list off *rest, trimmed. Empty elements are skipped. False at
 * the end of the list. (RFC 9110 5.6.1) */
bool str_next_element(struct str *rest, struct str *element);
/* True when the comma list holds the token, without regard to case. */
bool str_list_has(struct str list, struct str token);

/* Numbers in decimal, written without a look whether there is room: each returns where it ends. */
#define U64_TEXT_MAX 20u
/* n is below 1,000; always three digits. */
static inline char *three_put(char *p, uint32_t n) {
    uint32_t rest = n % 100;
    p[0] = (char)('0' + n / 100);
    p[1] = (char)('0' + rest / 10);
    p[2] = (char)('0' + rest % 10);
    return p + 3;
}
char *u64_put_long_(char *p, uint64_t n);
/* At most U64_TEXT_MAX bytes. Most numbers are short: a status, a part of an address. */
static inline char *u64_put(char *p, uint64_t n) {
    if (n >= 1000) {
        return u64_put_long_(p, n);
    }
    uint32_t few = (uint32_t)n;   /* 32 bits are divided with less */
    if (few >= 100) {
        return three_put(p, few);
    }
    if (few >= 10) {
        *p++ = (char)('0' + few / 10);
    }
    *p = (char)('0' + few % 10);
    return p + 1;
}

/* A writer into memory that the caller owns. Past cap it writes nothing more and sets cut. */
struct text {
    char *p;
    uint32_t len, cap;
    bool cut;
};

static inline struct text text_on(char *p, uint32_t cap) {
    return (struct text){p, 0, cap, false};
}
void text_str_cut_(struct text *, struct str);
static inline void text_str(struct text *text, struct str s) {
    if (s.len > text->cap - text->len) {
        text_str_cut_(text, s);
    } else if (s.len > 0) {
        memcpy(text->p + text->len, s.p, s.len);
        text->len += s.len;
    }
}
void text_char(struct text *, char);
void text_u64(struct text *, uint64_t value);
void text_fmt(struct text *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
