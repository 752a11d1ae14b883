/* What the clients of fuzz_exchange asked for, as readers see it that know nothing of gyre: the
 * judge compares all else with it. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_ASKED_H
#define GYRE_TESTS_FUZZ_EXCHANGE_ASKED_H

#include "exchange_stage.h"

#define ASKED_MAX 64u
#define EMPTY_LINES 4u            /* that are passed over before a request */
/* What an origin said longer ago than this before a request went out to it has been seen. */
#define JUDGE_OLD_US 3000000u

struct asked {
    uint32_t begin, end;          /* of what its client said */
    enum naive_result result;
    bool refused;                 /* well-formed, but never served */
    bool last;                    /* nothing may be read behind it */
    bool old;                     /* HTTP/1.0 */
    char authority[512], target[4096];   /* as they go to an origin */
    struct naive naive;
};

static struct asked *judge_asked[CLIENTS_MAX][ASKED_MAX];
static uint32_t judge_asked_count[CLIENTS_MAX];

/* --- Small tools -------------------------------------------------------------------------- */

static bool name_is(struct str name, const char *wanted) {
    return name.len == strlen(wanted) && strncasecmp(name.p, wanted, name.len) == 0;
}

static bool name_in(struct str name, const char *const *names) {
    for (; *names != NULL; names++) {
        if (name_is(name, *names)) {
            return true;
        }
    }
    return false;
}

/* True when one of the fields of that name holds the word in its comma list. */
static bool list_has(const struct naive *n, const char *name, struct str word) {
    for (uint32_t i = 0; i < n->field_count; i++) {
        struct str rest = n->fields[i].value;
        if (n->fields[i].trailer || !name_is(n->fields[i].name, name)) {
            continue;
        }
        while (rest.len > 0) {
            const char *comma = memchr(rest.p, ',', rest.len);
            uint32_t len = comma != NULL ? (uint32_t)(comma - rest.p) : rest.len;
            struct str one = naive_trim((struct str){rest.p, len});
            if (one.len == word.len && strncasecmp(one.p, word.p, word.len) == 0) {
                return true;
            }
            len += comma != NULL;
            rest = (struct str){rest.p + len, rest.len - len};
        }
    }
    return false;
}

static uint32_t count_of(const struct naive *n, const char *name) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->field_count; i++) {
        count += !n->fields[i].trailer && name_is(n->fields[i].name, name);
    }
    return count;
}

static struct str value_of(const struct naive *n, const char *name) {
    for (uint32_t i = 0; i < n->field_count; i++) {
        if (!n->fields[i].trailer && name_is(n->fields[i].name, name)) {
            return n->fields[i].value;
        }
    }
    return STR("");
}

static struct str body_of(const struct naive *n) {
    return (struct str){n->body, n->body_len};
}

static bool bytes_begin(struct str whole, struct str part) {
    return part.len <= whole.len && (part.len == 0 || memcmp(whole.p, part.p, part.len) == 0);
}

static bool is_clean(void) {
    return (stage.play.faults & FAULT_LOSSY) == 0;
}

static enum naive_result read_as(struct naive *n, struct str bytes, unsigned habits, bool request,
                                 bool head_only) {
    memset(n, 0, offsetof(struct naive, body));
    n->habits = habits;
    n->request = request;
    n->head_only = head_only;
    n->cgi = request && habits != NAIVE_STRICT;
    return naive_read(n, bytes);
}

/* Others read the same message: as many bytes, the same body. */
static bool all_agree(const struct naive *strict, enum naive_result result, struct str bytes,
                      bool request, bool head_only) {
    static const unsigned readers[] = {
        0, NAIVE_LENIENT | NAIVE_FOLD | NAIVE_CODING_ANY, NAIVE_LENIENT | NAIVE_CR,
        NAIVE_LENIENT | NAIVE_LENGTH_WINS | NAIVE_CODING_ANY,
        NAIVE_LENIENT | NAIVE_CR | NAIVE_FOLD | NAIVE_LAST | NAIVE_LENGTH_WINS,
    };
    static struct naive other;
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
        enum naive_result read = read_as(&other, bytes, readers[i], request, head_only);
        if (read != result || other.body_len != strict->body_len ||
            memcmp(other.body, strict->body, strict->body_len) != 0 ||
            (result == NAIVE_DONE && other.used != strict->used) ||
            other.head_used != strict->head_used) {
            return false;
        }
    }
    return true;
}

/* --- What a client asked for -------------------------------------------------------------- */

/* The target in origin form, and whom it is for (RFC 9112 3.2). */
static void asked_target(struct asked *a) {
    struct str target = a->naive.words[1], authority = a->naive.host;
    bool absolute = target.len > 7 && strncasecmp(target.p, "http://", 7) == 0;
    bool secure = target.len > 8 && strncasecmp(target.p, "https://", 8) == 0;
    const char *slash = "";
    if (absolute || secure) {
        uint32_t skip = absolute ? 7 : 8, len = skip;
        while (len < target.len && target.p[len] != '/' && target.p[len] != '?') {
            len++;
        }
        authority = (struct str){target.p + skip, len - skip};
        target = (struct str){target.p + len, target.len - len};
        if (target.len == 0) {
            target = str_eq(a->naive.words[0], STR("OPTIONS")) ? STR("*") : STR("/");
        } else if (target.p[0] == '?') {
            slash = "/";
        }
    }
    snprintf(a->target, sizeof a->target, "%s" STR_FMT, slash, STR_ARG(target));
    snprintf(a->authority, sizeof a->authority, STR_FMT, STR_ARG(authority));
}

static bool asked_is_refused(const struct naive *n) {
    struct str method = n->words[0];
    bool expects = count_of(n, "expect") > 0 && !naive_is_old(n) &&
                   (count_of(n, "expect") > 1 || !name_is(value_of(n, "expect"), "100-continue"));
    return str_eq(method, STR("TRACE")) || str_eq(method, STR("CONNECT")) || expects ||
           (n->lengths > 0 && n->length > STAGE_MAX_BODY);
}

/* All requests of a client, as the RFC reads them, up to the one after which nothing may be read.
 * False: too many. */
static bool asked_read(uint32_t client) {
    const struct said *said = &stage.clients[client].said;
    uint32_t at = 0, count = 0;
    bool over = false;
    while (!over && at < said->len) {
        uint32_t empty = 0;
        for (; empty < EMPTY_LINES && said->len - at >= 2 &&
               memcmp(said->bytes + at, "\r\n", 2) == 0; at += 2) {
            empty++;
        }
        if (at == said->len) {
            break;
        }
        if (count == ASKED_MAX) {
            return false;
        }
        struct asked **slot = &judge_asked[client][count++];
        if (*slot == NULL) {
            *slot = mem_zero(sizeof **slot);
        }
        struct asked *a = *slot;
        struct str rest = {said->bytes + at, said->len - at};
        a->result = read_as(&a->naive, rest, NAIVE_STRICT, true, false);
        a->begin = at;
        at += a->naive.used;
        a->end = at;
        a->old = a->naive.in_body && naive_is_old(&a->naive);
        a->refused = a->naive.in_body && asked_is_refused(&a->naive);
        a->last = a->result != NAIVE_DONE || a->refused || a->old ||
                  list_has(&a->naive, "connection", STR("close"));
        asked_target(a);
        over = a->last;
    }
    judge_asked_count[client] = count;
    return true;
}

#endif
