/* The rows of keys.def, and how to find one. */
#include <stddef.h>

#include "base/ensure.h"
#include "conf/conf_priv.h"

/* A row whose member has another C type than types.def says does not compile. */
#define TYPE(type, member, ...) typedef member member_##type;
#include "conf/types.def"
#undef TYPE
#define MEMBER_FITS(section, type, member) \
    _Static_assert(_Generic(((struct conf_##section *)NULL)->member, member_##type: 1, \
                            default: 0), "types.def has another C type for this member");
#define KEY(section, key, type, member, ...) MEMBER_FITS(section, type, member)
#define SERVER_KEY(key, type, member, ...) \
    MEMBER_FITS(backend, type, member) \
    MEMBER_FITS(server, type, member)
#include "conf/keys.def"

#define MEMBER(section, member) \
    offsetof(struct conf_##section, member), sizeof(((struct conf_##section *)NULL)->member)

static const struct conf_key rows[KEY_COUNT] = {
#define KEY(section, key, type, member, fallback, min, max, sample, help) \
    {CONF_SECTION_##section, TYPE_##type, #key, fallback, sample, help, min, max, \
     MEMBER(section, member), false, 0},
#define SERVER_KEY(key, type, member, fallback, min, max, sample, help) \
    {CONF_SECTION_backend, TYPE_##type, #key, fallback, sample, help, min, max, \
     MEMBER(backend, member), true, offsetof(struct conf_server, member)},
#include "conf/keys.def"
};

static const struct {
    const char *word, *sample, *help;
} sections[CONF_SECTION_COUNT] = {
#define SECTION(section, sample, help) {#section, sample, help},
#include "conf/keys.def"
};

const struct conf_key *key_row(enum conf_key_id id) {
    ensure(id < KEY_COUNT);
    return &rows[id];
}

const char *section_word(enum conf_section section) {
    ensure(section < CONF_SECTION_COUNT);
    return sections[section].word;
}

const char *section_sample(enum conf_section section) {
    ensure(section < CONF_SECTION_COUNT);
    return sections[section].sample;
}

const char *section_help(enum conf_section section) {
    ensure(section < CONF_SECTION_COUNT);
    return sections[section].help;
}

bool section_is_named(enum conf_section section) {
    return section != CONF_SECTION_global;
}

enum conf_key_id key_find(enum conf_section section, struct str name) {
    for (enum conf_key_id id = 0; id < KEY_COUNT; id++) {
        if (rows[id].section == section && str_eq(str_of(rows[id].name), name)) {
            return id;
        }
    }
    return KEY_COUNT;
}
