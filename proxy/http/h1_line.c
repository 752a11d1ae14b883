/* Start lines: the request line with its target, and the status line. */
#include <arpa/inet.h>

#include "http/h1_priv.h"

/* --- Characters --------------------------------------------------------------------------- */

enum {
    CHAR_TOKEN = 1,   /* RFC 9110 5.6.2 */
    CHAR_PATH = 2,    /* in a path, as it comes in real life */
    CHAR_QUERY = 4,
    CHAR_HOST = 8     /* reg-name, but for percent-encoding and the comma */
};

#define CHAR_ALL (CHAR_TOKEN | CHAR_PATH | CHAR_QUERY | CHAR_HOST)
#define CHAR_URI (CHAR_PATH | CHAR_QUERY)

/* RFC 3986 allows less in targets; browsers send | and ^ raw in paths, and in queries also ` { } \
 * (the WHATWG URL standard's percent-encode sets). None of them means anything to us. A fragment,
 * quotes, angle brackets and a backslash in the path never come from one. */
static const uint8_t chars[256] = {
    ['!'] = CHAR_ALL, ['#'] = CHAR_TOKEN, ['$'] = CHAR_ALL, ['%'] = CHAR_TOKEN | CHAR_URI,
    ['&'] = CHAR_ALL, ['\''] = CHAR_ALL, ['('] = CHAR_URI | CHAR_HOST, [')'] = CHAR_URI | CHAR_HOST,
    ['*'] = CHAR_ALL, ['+'] = CHAR_ALL, [','] = CHAR_URI, ['-'] = CHAR_ALL,
    ['.'] = CHAR_ALL, ['/'] = CHAR_URI,
    ['0'] = CHAR_ALL, ['1'] = CHAR_ALL, ['2'] = CHAR_ALL, ['3'] = CHAR_ALL, ['4'] = CHAR_ALL,
    ['5'] = CHAR_ALL, ['6'] = CHAR_ALL, ['7'] = CHAR_ALL, ['8'] = CHAR_ALL, ['9'] = CHAR_ALL,
    [':'] = CHAR_URI, [';'] = CHAR_URI | CHAR_HOST, ['='] = CHAR_URI | CHAR_HOST,
    ['?'] = CHAR_QUERY, ['@'] = CHAR_URI,
    ['A'] = CHAR_ALL, ['B'] = CHAR_ALL, ['C'] = CHAR_ALL, ['D'] = CHAR_ALL, ['E'] = CHAR_ALL,
    ['F'] = CHAR_ALL, ['G'] = CHAR_ALL, ['H'] = CHAR_ALL, ['I'] = CHAR_ALL, ['J'] = CHAR_ALL,
    ['K'] = CHAR_ALL, ['L'] = CHAR_ALL, ['M'] = CHAR_ALL, ['N'] = CHAR_ALL, ['O'] = CHAR_ALL,
    ['P'] = CHAR_ALL, ['Q'] = CHAR_ALL, ['R'] = CHAR_ALL, ['S'] = CHAR_ALL, ['T'] = CHAR_ALL,
    ['U'] = CHAR_ALL, ['V'] = CHAR_ALL, ['W'] = CHAR_ALL, ['X'] = CHAR_ALL, ['Y'] = CHAR_ALL,
    ['Z'] = CHAR_ALL,
    ['['] = CHAR_URI, ['\\'] = CHAR_QUERY, [']'] = CHAR_URI, ['^'] = CHAR_TOKEN | CHAR_URI,
    ['_'] = CHAR_ALL, ['`'] = CHAR_TOKEN | CHAR_QUERY,
    ['a'] = CHAR_ALL, ['b'] = CHAR_ALL, ['c'] = CHAR_ALL, ['d'] = CHAR_ALL, ['e'] = CHAR_ALL,
    ['f'] = CHAR_ALL, ['g'] = CHAR_ALL, ['h'] = CHAR_ALL, ['i'] = CHAR_ALL, ['j'] = CHAR_ALL,
    ['k'] = CHAR_ALL, ['l'] = CHAR_ALL, ['m'] = CHAR_ALL, ['n'] = CHAR_ALL, ['o'] = CHAR_ALL,
    ['p'] = CHAR_ALL, ['q'] = CHAR_ALL, ['r'] = CHAR_ALL, ['s'] = CHAR_ALL, ['t'] = CHAR_ALL,
    ['u'] = CHAR_ALL, ['v'] = CHAR_ALL, ['w'] = CHAR_ALL, ['x'] = CHAR_ALL, ['y'] = CHAR_ALL,
    ['z'] = CHAR_ALL,
    ['{'] = CHAR_QUERY, ['|'] = CHAR_TOKEN | CHAR_URI, ['}'] = CHAR_QUERY, ['~'] = CHAR_ALL,
};

static bool char_is(char c, uint8_t class) {
    return (chars[(unsigned char)c] & class) != 0;
}

/* How many of the first bytes are of that class. */
static uint32_t span_of(struct str s, uint8_t class) {
    const char *p = s.p, *end = s.p + s.len;
    while (p < end && char_is(*p, class)) {
        p++;
    }
    return (uint32_t)(p - s.p);
}

bool h1_token_char(char c) {
    return char_is(c, CHAR_TOKEN);
}

bool h1_token_ok(struct str token) {
    return token.len > 0 && span_of(token, CHAR_TOKEN) == token.len;
}

static struct str str_from(struct str s, uint32_t skip) {
    return (struct str){s.p + skip, s.len - skip};
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_hex(char c) {
    return is_digit(c) || (char_lower(c) >= 'a' && char_lower(c) <= 'f');
}

/* --- Authorities: host [":" port] (RFC 9110 4.2, RFC 3986 3.2) ---------------------------- */

/* "[::1]": its length, 0 when it is none. Zones and future versions are of no use here. */
static uint32_t ip_literal(struct str s) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr ip;
    const char *end = memchr(s.p, ']', s.len);
    if (end == NULL || (size_t)(end - s.p) > sizeof text) {
        return 0;
    }
    uint32_t len = (uint32_t)(end - s.p) - 1;
    memcpy(text, s.p + 1, len);
    text[len] = '\0';
    return inet_pton(AF_INET6, text, &ip) == 1 ? len + 2 : 0;
}

/* A registered name or an IPv4 address: its length, 0 when it is none. A comma might stand in one
 * (RFC 3986 3.2.2) and does in none: it is what two Hosts look like that somebody has joined. */
static uint32_t reg_name(struct str s) {
    uint32_t len = span_of(s, CHAR_HOST);
    while (len < s.len && s.p[len] == '%') {
        if (s.len - len < 3 || !is_hex(s.p[len + 1]) || !is_hex(s.p[len + 2])) {
            return 0;
        }
        len += 3;
        len += span_of(str_from(s, len), CHAR_HOST);
    }
    return len == s.len || s.p[len] == ':' ? len : 0;
}

/* No user information; a port may be empty (RFC 3986 3.2.3). */
bool h1_authority_ok(struct str authority) {
    if (authority.len == 0) {
        return false;
    }
    uint32_t host = authority.p[0] == '[' ? ip_literal(authority) : reg_name(authority);
    if (host == 0 || host == authority.len) {
        return host != 0;
    }
    struct str port = str_from(authority, host + 1);
    uint64_t number = 0;
    return authority.p[host] == ':' &&
           (port.len == 0 || (port.len <= 5 && str_to_u64(port, &number) && number <= 65535));
}

/* --- Targets (RFC 9112 3.2) --------------------------------------------------------------- */

/* "/path?query": everything in it is what may stand there. */
static enum refusal origin_form(struct head *head, struct str target) {
    uint32_t path = span_of(target, CHAR_PATH), end = path;
    if (path < target.len && target.p[path] == '?') {
        end += span_of(str_from(target, path), CHAR_QUERY);
    }
    if (end < target.len) {
        return target.p[end] == '#' ? REFUSE_TARGET_FRAGMENT : REFUSE_TARGET_CHARACTER;
    }
    head->target = target;
    head->path = (struct str){target.p, path};
    return REFUSE_NONE;
}

/* What is left of an absolute-form target after its authority, in origin form. */
static enum refusal absolute_rest(struct head *head, struct str rest) {
    if (rest.len == 0) {
        /* RFC 9112 3.2.4: OPTIONS of a whole server becomes an asterisk. */
        head->target = head->method == METHOD_OPTIONS ? STR("*") : STR("/");
        head->path = head->target;
        return REFUSE_NONE;
    }
    if (rest.p[0] != '?') {
        return origin_form(head, rest);
    }
    char *with_path = arena_get(head->arena, rest.len + 1);
    if (with_path == NULL) {
        return REFUSE_NONE;   /* the arena has failed: that is what the reader looks at */
    }
    with_path[0] = '/';
    memcpy(with_path + 1, rest.p, rest.len);
    return origin_form(head, (struct str){with_path, rest.len + 1});
}

static enum refusal absolute_form(struct head *head, struct str target) {
    static const struct str schemes[] = {{"http://", 7}, {"https://", 8}};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        struct str scheme = schemes[i];
        if (target.len < scheme.len ||
            !str_eq_fold((struct str){target.p, scheme.len}, scheme)) {
            continue;
        }
        struct str rest = str_from(target, scheme.len);
        uint32_t len = 0;
        while (len < rest.len && rest.p[len] != '/' && rest.p[len] != '?') {
            len++;
        }
        head->authority = (struct str){rest.p, len};
        return h1_authority_ok(head->authority) ? absolute_rest(head, str_from(rest, len))
                                                : REFUSE_TARGET_AUTHORITY;
    }
    return target.len > 0 && memmem(target.p, target.len, "://", 3) != NULL ? REFUSE_TARGET_SCHEME
                                                                           : REFUSE_TARGET_FORM;
}

static enum refusal target_check(struct head *head, struct str target) {
    if (target.len > 0 && target.p[0] == '/') {
        return origin_form(head, target);
    }
    if (target.len > 0 && target.p[0] == '*') {
        head->target = head->path = target;
        return target.len == 1 && head->method == METHOD_OPTIONS ? REFUSE_NONE
                                                                 : REFUSE_TARGET_ASTERISK;
    }
    return absolute_form(head, target);
}

/* --- The request line: method SP target SP version (RFC 9112 3) --------------------------- */

static enum method method_of(struct str name) {
#define METHOD(name_, idempotent)          \
    if (str_eq(name, STR(#name_))) {       \
        return METHOD_##name_;             \
    }
#include "http/method.def"
#undef METHOD
    return METHOD_OTHER;
}

/* Cuts off what stands before the next blank, and the blank. False when there is none. */
static bool cut_word(struct str *rest, struct str *word) {
    const char *blank = rest->len == 0 ? NULL : memchr(rest->p, ' ', rest->len);
    if (blank == NULL) {
        return false;
    }
    word->p = rest->p;
    word->len = (uint32_t)(blank - rest->p);
    *rest = str_from(*rest, word->len + 1);
    return true;
}

/* "HTTP/1.0" or "HTTP/1.1"; other digits are versions that we do not speak. */
static enum refusal version_check(struct head *head, struct str version) {
    if (version.len != 8 || memcmp(version.p, "HTTP/", 5) != 0 || !is_digit(version.p[5]) ||
        version.p[6] != '.' || !is_digit(version.p[7])) {
        return REFUSE_VERSION_MALFORMED;
    }
    if (version.p[5] != '1' || version.p[7] > '1') {
        return REFUSE_VERSION_UNKNOWN;
    }
    head->minor = (uint8_t)(version.p[7] - '0');
    return REFUSE_NONE;
}

/* Exactly one blank between the parts, and none round them: anything else is read in other ways by
 * others (RFC 9112 3: "a recipient MAY instead parse on whitespace", which is where it starts). */
static enum refusal request_line(struct head *head, struct str line) {
    struct str name, target;
    if (!cut_word(&line, &name)) {
        return REFUSE_LINE_SHORT;
    }
    if (!h1_token_ok(name)) {
        return REFUSE_METHOD_MALFORMED;
    }
    head->method = method_of(name);
    head->method_name = name;
    if (!cut_word(&line, &target)) {
        return REFUSE_LINE_SHORT;
    }
    if (target.len == 0) {
        return REFUSE_LINE_BLANKS;
    }
    enum refusal refusal = version_check(head, line);
    if (refusal != REFUSE_NONE) {
        return memchr(line.p, ' ', line.len) != NULL ? REFUSE_LINE_BLANKS : refusal;
    }
    /* No forward proxy, no mirror of cookies (RFC 9110 9.3.6, 9.3.8). */
    return head->method == METHOD_CONNECT ? REFUSE_CONNECT
           : head->method == METHOD_TRACE ? REFUSE_TRACE : target_check(head, target);
}

/* Neither CR nor tab may stand in any part, so that a good line has none. Of a bad one they are
 * what is told first, and nothing of it is believed. */
enum refusal h1_line_request(struct head *head, struct str line) {
    enum refusal refusal = request_line(head, line);
    if (refusal == REFUSE_NONE) {
        return refusal;
    }
    bool cr = memchr(line.p, '\r', line.len) != NULL;
    if (!cr && memchr(line.p, '\t', line.len) == NULL) {
        return refusal;
    }
    head->method = METHOD_NONE;
    head->minor = 1;
    head->method_name = head->target = head->path = head->authority = (struct str){NULL, 0};
    return cr ? REFUSE_BARE_CR : REFUSE_LINE_BLANKS;
}

/* --- The status line: version SP status SP reason (RFC 9112 4) ---------------------------- */

/* Visible characters, blanks and obs-text. */
static bool reason_ok(struct str reason) {
    for (uint32_t i = 0; i < reason.len; i++) {
        unsigned char c = (unsigned char)reason.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Old servers leave the last blank out where there is no reason; that is harmless. */
static enum refusal status_line(struct head *head, struct str line) {
    struct str version, rest = line;
    if (!cut_word(&rest, &version)) {
        return REFUSE_VERSION_MALFORMED;
    }
    enum refusal refusal = version_check(head, version);
    if (refusal != REFUSE_NONE) {
        return refusal;
    }
    uint64_t status;
    if (rest.len < 3 || (rest.len > 3 && rest.p[3] != ' ') ||
        !str_to_u64((struct str){rest.p, 3}, &status) || status < 100 || status > 599) {
        return REFUSE_STATUS;
    }
    head->status = (uint16_t)status;
    head->reason = rest.len > 4 ? str_trim(str_from(rest, 4)) : STR("");
    return reason_ok(head->reason) ? REFUSE_NONE : REFUSE_REASON;
}

/* As with requests: no good line has a CR, and of a bad one it is told first. */
enum refusal h1_line_status(struct head *head, struct str line) {
    enum refusal refusal = status_line(head, line);
    return refusal != REFUSE_NONE && memchr(line.p, '\r', line.len) != NULL ? REFUSE_BARE_CR
                                                                            : refusal;
}
