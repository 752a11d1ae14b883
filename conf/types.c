/* Values: text becomes a member of a settings struct, or an error that says what would be right. */
#include "base/ensure.h"
#include "base/mem.h"
#include "conf/conf_priv.h"
#include "conf/types_priv.h"

#define BOUNDS_MAX 64

struct unit {
    const char *word;
    uint64_t factor;
};
static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", CONF_HOUR}, {"d", CONF_DAY}, {NULL, 0},
};
static const struct unit size_units[] = {
    {"", 1}, {"k", 1024}, {"m", CONF_MIB}, {"g", CONF_GIB}, {NULL, 0},
};

#define WORDS(words) (unsigned)(sizeof(words) / sizeof(*(words)))

static bool in_bounds(const struct conf_key *key, uint64_t value) {
    return value >= key->min && value <= key->max;
}

static bool is_number(const struct conf_key *key, struct str text, uint64_t *value) {
    return str_to_u64(text, value) && in_bounds(key, *value);
}

static void unit_print(struct text *t, const struct unit *units, uint64_t value) {
    const struct unit *unit = units;
    while (unit[1].word != NULL && value != 0 && value % unit[1].factor == 0) {
        unit++;
    }
    text_u64(t, value / unit->factor);
    if (value != 0) {
        text_str(t, str_of(unit->word));
    }
}

/* "from MIN to MAX", as the key's users write them. */
static void bounds_print(struct text *t, const struct conf_key *key) {
    bool is_size = key->type == TYPE_SIZE || key->type == TYPE_MEMORY;
    const struct unit *units = key->type == TYPE_TIME   ? time_units
                               : is_size ? size_units
                                                        : NULL;
    for (int i = 0; i < 2; i++) {
        uint64_t value = i == 0 ? key->min : key->max;
        text_str(t, i == 0 ? STR("from ") : STR(" to "));
        if (units != NULL) {
            unit_print(t, units, value);
        } else {
            text_u64(t, value);
            text_str(t, key->type == TYPE_PERCENT ? STR("%") : STR(""));
        }
    }
}

static const char *bounds(const struct conf_key *key, char p[BOUNDS_MAX]) {
    struct text t = text_on(p, BOUNDS_MAX - 1);
    bounds_print(&t, key);
    p[t.len] = '\0';
    return p;
}

static void type_set_number(struct load *load, const struct conf_key *key, void *member,
                            struct str text) {
    char p[BOUNDS_MAX];
    uint64_t value;
    if (!is_number(key, text, &value)) {
        value_error(load, key, text, "write a number %s", bounds(key, p));
        return;
    }
    *(uint64_t *)member = value;
}

static void type_set_number32(struct load *load, const struct conf_key *key, void *member,
                              struct str text) {
    uint64_t value = *(uint32_t *)member;
    type_set_number(load, key, &value, text);
    *(uint32_t *)member = (uint32_t)value;
}

static void type_set_auto(struct load *load, const struct conf_key *key, void *member,
                          struct str text) {
    char p[BOUNDS_MAX];
    uint64_t value = 0;
    if (!str_eq(text, STR("auto")) && !is_number(key, text, &value)) {
        value_error(load, key, text, "write auto or a number %s", bounds(key, p));
        return;
    }
    *(uint32_t *)member = (uint32_t)value;
}

static void type_set_redirect(struct load *load, const struct conf_key *key, void *member,
                              struct str text) {
    char p[BOUNDS_MAX];
    uint64_t port = str_eq(text, STR("yes")) ? 443 : 0;
    if (port == 0 && !str_eq(text, STR("no")) && !is_number(key, text, &port)) {
        value_error(load, key, text, "write yes, no, or the port to name, %s", bounds(key, p));
        return;
    }
    *(uint32_t *)member = (uint32_t)port;
}

static void type_set_flag(struct load *load, const struct conf_key *key, void *member,
                          struct str text) {
    if (!str_eq(text, STR("yes")) && !str_eq(text, STR("no"))) {
        value_error(load, key, text, "write yes or no");
        return;
    }
    *(bool *)member = str_eq(text, STR("yes"));
}

/* Digits and a unit. False when it is neither; a value that no integer holds is the largest. */
static bool unit_parse(const struct unit *units, struct str text, uint64_t *value,
                       struct str *suffix) {
    uint32_t digits = 0;
    while (digits < text.len && text.p[digits] >= '0' && text.p[digits] <= '9') {
        digits++;
    }
    *suffix = (struct str){text.p + digits, text.len - digits};
    if (digits == 0) {
        return false;
    }
    if (!str_to_u64((struct str){text.p, digits}, value)) {
        *value = UINT64_MAX;
    }
    for (const struct unit *unit = units; unit->word != NULL; unit++) {
        if (str_eq(*suffix, str_of(unit->word))) {
            *value = *value > UINT64_MAX / unit->factor ? UINT64_MAX : *value * unit->factor;
            return true;
        }
    }
    return suffix->len == 0;   /* the caller says whether a bare number is one */
}

static void type_set_time(struct load *load, const struct conf_key *key, void *member,
                          struct str text) {
    char p[BOUNDS_MAX];
    struct str suffix;
    uint64_t value;
    if (!unit_parse(time_units, text, &value, &suffix)) {
        value_error(load, key, text, "write a time, as in 10s; its units are ms, s, m, h and d");
    } else if (suffix.len == 0 && value != 0) {
        value_error(load, key, text, "a time has a unit; write " STR_FMT "s or " STR_FMT "ms",
                    STR_ARG(text), STR_ARG(text));
    } else if (!in_bounds(key, value)) {
        value_error(load, key, text, "write a time %s", bounds(key, p));
    } else {
        *(uint64_t *)member = value;
    }
}

static void type_set_size(struct load *load, const struct conf_key *key, void *member,
                          struct str text) {
    char p[BOUNDS_MAX];
    struct str suffix;
    uint64_t value;
    if (!unit_parse(size_units, text, &value, &suffix)) {
        value_error(load, key, text, "write a size in bytes, or as in 32k; its units are k, m "
                    "and g");
    } else if (!in_bounds(key, value)) {
        value_error(load, key, text, "write a size %s", bounds(key, p));
    } else {
        *(uint64_t *)member = value;
    }
}

static void type_set_memory(struct load *load, const struct conf_key *key, void *member,
                            struct str text) {
    if (str_eq(text, STR("auto"))) {
        *(uint64_t *)member = 0;
        return;
    }
    type_set_size(load, key, member, text);
}

/* "a, b or c". */
static void words_print(struct text *t, const char *const *words, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        text_str(t, i == 0 ? STR("") : i + 1 < count ? STR(", ") : STR(" or "));
        text_str(t, str_of(words[i]));
    }
}

static void word_set(struct load *load, const struct conf_key *key, unsigned *member,
                     struct str text, const char *const *words, unsigned count) {
    unsigned i = 0;
    while (i < count && !str_eq(text, str_of(words[i]))) {
        i++;
    }
    if (i < count) {
        *member = i;
        return;
    }
    char hint[128];
    struct text t = text_on(hint, sizeof hint - 1);
    words_print(&t, words, count);
    hint[t.len] = '\0';
    value_error(load, key, text, "write %s", hint);
}

/* The setter of an enum, by the words of its values. */
#define WORD_SETTER(name, ...)                                                               \
    static void type_set_##name(struct load *load, const struct conf_key *key, void *member,  \
                                struct str text) {                                            \
        static const char *const words[] = {__VA_ARGS__};                                     \
        _Static_assert(sizeof(enum conf_##name) == sizeof(unsigned), "set as a number");       \
        word_set(load, key, member, text, words, WORDS(words));                               \
    }
WORD_SETTER(balance, [CONF_BALANCE_ROUND_ROBIN] = "round_robin",
            [CONF_BALANCE_LEAST_REQUESTS] = "least_requests", [CONF_BALANCE_RANDOM] = "random",
            [CONF_BALANCE_HASH] = "hash")
WORD_SETTER(proxy, [CONF_PROXY_NO] = "no", [CONF_PROXY_V1] = "v1", [CONF_PROXY_V2] = "v2")
WORD_SETTER(mode, [CONF_MODE_SYNC] = "sync", [CONF_MODE_ASYNC] = "async")
WORD_SETTER(protocol, [CONF_PROTOCOL_HTTP] = "http", [CONF_PROTOCOL_UWSGI] = "uwsgi")

WORD_SETTER(sticky, [CONF_STICKY_NO] = "no", [CONF_STICKY_COOKIE] = "cookie",
            [CONF_STICKY_SOCKETIO] = "socketio")

static void string_set(void *member, struct str text) {
    const char **string = member;
    mem_free((char *)*string);   /* the default */
    *string = mem_copy(text.p, text.len);
}

static void type_set_word(struct load *load, const struct conf_key *key, void *member,
                          struct str text) {
    if (text.len > key->max || memchr(text.p, ' ', text.len) || memchr(text.p, '\t', text.len)) {
        value_error(load, key, text, "write one name of at most %llu bytes, without blanks",
                    (unsigned long long)key->max);
        return;
    }
    string_set(member, text);
}

/* Whether there is such a section is seen when all were read. */
static void type_set_name(struct load *load, const struct conf_key *key, void *member,
                          struct str text) {
    (void)load;
    (void)key;
    string_set(member, text);
}

/* A slip in one of the words shall not become a file of that name. */
static void type_set_log(struct load *load, const struct conf_key *key, void *member,
                         struct str text) {
    if (!str_eq(text, STR("off")) && !str_eq(text, STR("stderr")) &&
        !str_eq(text, STR("stdout")) && memchr(text.p, '/', text.len) == NULL) {
        value_error(load, key, text, "write off, stderr, stdout, or a file's path with a / in it");
        return;
    }
    string_set(member, text);
}

static void type_set_folder(struct load *load, const struct conf_key *key, void *member,
                            struct str text) {
    if (text.p[0] != '/') {
        value_error(load, key, text, "write a folder's path from / on");
        return;
    }
    string_set(member, text);
}

static void type_set_file(struct load *load, const struct conf_key *key, void *member,
                          struct str text) {
    if (text.len > key->max) {
        value_error(load, key, text, "write a path of at most %llu bytes",
                    (unsigned long long)key->max);
        return;
    }
    string_set(member, text);
}

/* RFC 9110 5.6.2: the names of fields and of cookies. */
static bool is_token(struct str s) {
    for (uint32_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        if (c <= ' ' || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c) != NULL) {
            return false;
        }
    }
    return s.len > 0;
}

static void type_set_cookie(struct load *load, const struct conf_key *key, void *member,
                            struct str text) {
    if (!is_token(text) || text.len > key->max) {
        value_error(load, key, text, "write a cookie's name: at most %llu letters, digits or any "
                    "of !#$%%&'*+-.^_`|~", (unsigned long long)key->max);
        return;
    }
    string_set(member, text);
}

/* A field's name is compared as it came, without regard to case; a cookie's as it is. */
static void type_set_hash_on(struct load *load, const struct conf_key *key, void *member,
                             struct str text) {
    struct conf_hash_on on = conf_hash_on(text);
    bool named = on.what == CONF_HASH_HEADER || on.what == CONF_HASH_COOKIE;
    if (on.what == CONF_HASH_NOTHING || (named && !is_token(on.name))) {
        value_error(load, key, text, "write client, path, header:NAME or cookie:NAME");
        return;
    }
    string_set(member, text);
}

static void type_set_check(struct load *load, const struct conf_key *key, void *member,
                           struct str text) {
    bool good = str_eq(text, STR("no")) || str_eq(text, STR("tcp")) || text.p[0] == '/';
    for (uint32_t i = 0; i < text.len; i++) {
        good = good && text.p[i] > ' ' && text.p[i] < 0x7f && text.p[i] != '#';
    }
    if (!good) {
        value_error(load, key, text, "write no, tcp, or a path as in /health");
        return;
    }
    string_set(member, text);
}

/* "204" or "200-299". */
static bool statuses_add(struct conf_statuses *set, struct str element) {
    const char *dash = memchr(element.p, '-', element.len);
    uint32_t len = dash != NULL ? (uint32_t)(dash - element.p) : element.len;
    struct str first = str_trim((struct str){element.p, len}), last = first;
    if (dash != NULL) {
        last = str_trim((struct str){dash + 1, element.len - len - 1});
    }
    uint64_t from, to;
    if (!str_to_u64(first, &from) || !str_to_u64(last, &to) || from < CONF_STATUS_MIN ||
        to > CONF_STATUS_MAX || from > to) {
        return false;
    }
    for (uint64_t at = from - CONF_STATUS_MIN; at <= to - CONF_STATUS_MIN; at++) {
        set->bits[at / 64] |= UINT64_C(1) << at % 64;
    }
    return true;
}

static void type_set_statuses(struct load *load, const struct conf_key *key, void *member,
                              struct str text) {
    struct conf_statuses set = {0};
    struct str rest = text, element;
    bool good = true, any = false;
    while (good && str_next_element(&rest, &element)) {
        good = statuses_add(&set, element);
        any = true;
    }
    if (!good || !any) {
        value_error(load, key, text, "write statuses from 100 to 599, as in 200-299, 304");
        return;
    }
    *(struct conf_statuses *)member = set;
}

/* Below are answers that no server is to be blamed for. */
#define FAULT_STATUS_MIN 400u

static bool faults_add(struct conf_faults *faults, struct str element) {
    if (str_eq(element, STR("connect"))) {
        faults->connect = true;
    } else if (str_eq(element, STR("reset"))) {
        faults->reset = true;
    } else if (str_eq(element, STR("timeout"))) {
        faults->timeout = true;
    } else {
        bool all = str_eq(element, STR("5xx"));
        return statuses_add(&faults->statuses, all ? STR("500-599") : element);
    }
    return true;
}

static void type_set_faults(struct load *load, const struct conf_key *key, void *member,
                            struct str text) {
    struct conf_faults faults = {0};
    struct str rest = text, element;
    bool good = true, any = str_eq(text, STR("no"));
    while (good && !str_eq(text, STR("no")) && str_next_element(&rest, &element)) {
        good = faults_add(&faults, element);
        any = true;
    }
    for (uint32_t status = CONF_STATUS_MIN; status < FAULT_STATUS_MIN; status++) {
        good = good && !conf_has_status(&faults.statuses, status);
    }
    if (!good || !any) {
        value_error(load, key, text, "write no, or a list of connect, reset, timeout, 5xx and "
                                     "statuses from 400 to 599");
        return;
    }
    *(struct conf_faults *)member = faults;
}

static void type_set_percent(struct load *load, const struct conf_key *key, void *member,
                             struct str text) {
    char p[BOUNDS_MAX];
    uint64_t value;
    struct str number = {text.p, text.len - 1};
    if (text.p[text.len - 1] != '%' || !is_number(key, number, &value)) {
        value_error(load, key, text, "write a percentage %s, as in 20%%", bounds(key, p));
        return;
    }
    *(uint32_t *)member = (uint32_t)value;
}

static void type_set_prefix(struct load *load, const struct conf_key *key, void *member,
                            struct str text) {
    const char *why = NULL;
    if (text.p[0] != '/') {
        why = "a path begins with /";
    } else if (text.p[text.len - 1] == '*') {
        why = "a path is what requests begin with; leave the * out";
    }
    for (uint32_t i = 0; why == NULL && i < text.len; i++) {
        if (strchr("?# \t", text.p[i]) != NULL) {
            why = "a path holds no ?, # or blank";
        }
    }
    if (why != NULL) {
        value_error(load, key, text, "%s", why);
        return;
    }
    string_set(member, text);
}

void type_set(struct load *load, const struct conf_key *key, void *member, struct str text) {
    static void (*const set[TYPE_COUNT])(struct load *, const struct conf_key *, void *,
                                         struct str) = {
#define TYPE(type, member, set, release, help) [TYPE_##type] = type_set_##set,
#include "conf/types.def"
#undef TYPE
    };
    ensure(text.len > 0);
    set[key->type](load, key, member, text);
}

static void release_keep(void *member) {
    (void)member;
}

static void release_string(void *member) {
    mem_free(*(char **)member);
}

static void release_array(void *member) {
    void *items;
    memcpy(&items, member, sizeof(items));   /* whatever it points to */
    mem_free(items);
}

static void release_list(void *member) {
    struct conf_list *list = member;
    for (uint32_t i = 0; i < list->count; i++) {
        mem_free(list->items[i]);
    }
    mem_free(list->items);
    mem_free(list->lines);
}

static void (*const release_of[TYPE_COUNT])(void *) = {
#define TYPE(type, member, set, release, help) [TYPE_##type] = release_##release,
#include "conf/types.def"
#undef TYPE
};

void type_release(const struct conf_key *key, void *member) {
    release_of[key->type](member);
}

bool type_is_list(const struct conf_key *key) {
    return release_of[key->type] == release_list || release_of[key->type] == release_array;
}

void type_print(struct text *t, const struct conf_key *key) {
    static const char *const help_of[TYPE_COUNT] = {
#define TYPE(type, member, set, release, help) [TYPE_##type] = help,
#include "conf/types.def"
#undef TYPE
    };
    struct str help = str_of(help_of[key->type]);
    if (str_ends_fold(help, STR("from"))) {
        help.len -= 4;
        text_str(t, help);
        bounds_print(t, key);
    } else {
        text_str(t, help);
    }
}
