/* Sections and keys as they come, one at a time. */
#include "base/ensure.h"
#include "base/mem.h"
#include "conf/conf_priv.h"

#define PARTS_MAX 10000u
#define HEADER_BYTES_MAX 49u   /* what inih's own buffer for a section holds */

/* --- Sections -------------------------------------------------------------------------------- */

static void duplicate_check(struct load *load, enum conf_section section, struct str name) {
    for (uint32_t i = 0; i < load->part_count; i++) {
        const struct part *part = &load->parts[i];
        if (part->section == section && str_eq(str_of(part_name(load, part)), name)) {
            load_error(load, load->line, "duplicate section " PART_FMT "; it stands in line %u "
                       "already", PART_ARG(load, part), part->line);
            return;
        }
    }
}

void load_part(struct load *load, enum conf_section section, struct str name) {
    duplicate_check(load, section, name);
    char *owned = section_is_named(section) ? mem_copy(name.p, name.len) : NULL;
    struct part part = {.section = section, .line = load->line};
    if (section == CONF_SECTION_global && load->conf->global.line != 0) {
        part.index = 0;   /* a second [global]: its keys are checked, and set over the first's */
    } else {
        part.index = object_add(load->conf, section, owned, load->line);
        if (section_is_named(section)) {
            defaults_set(load, section, part.index);   /* global has them from the start */
        }
    }
    load->parts = items_grow(load->parts, load->part_count, sizeof(part));
    load->parts[load->part_count++] = part;
    load->skipping = false;
}

static void section_unknown(struct load *load, struct str kind, struct str text) {
    char hint[HINT_MAX];
    struct nearest nearest = {.wanted = kind};
    for (enum conf_section s = 0; s < CONF_SECTION_COUNT; s++) {
        nearest_show(&nearest, section_word(s));
    }
    load_error(load, load->line, "unknown section [" STR_FMT "]%s", STR_ARG(text),
               nearest_hint(&nearest, "; there are [global], [listener NAME], [route NAME] and "
                            "[backend NAME]", hint));
}

static bool name_is_plain(struct str name) {
    for (uint32_t i = 0; i < name.len; i++) {
        char c = char_lower(name.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
              c == '.')) {
            return false;
        }
    }
    return true;
}

/* A header that is wrong in its name alone still opens its section, so that its keys are checked
 * in the same run. */
static void header_open(struct load *load, struct str text) {
    uint32_t len = 0;
    while (len < text.len && text.p[len] != ' ' && text.p[len] != '\t') {
        len++;
    }
    struct str kind = {text.p, len};
    struct str name = str_trim((struct str){text.p + len, text.len - len});
    enum conf_section section = 0;
    while (section < CONF_SECTION_COUNT && !str_eq(kind, str_of(section_word(section)))) {
        section++;
    }
    if (section == CONF_SECTION_COUNT) {
        section_unknown(load, kind, text);
        return;
    }
    if (load->part_count >= PARTS_MAX) {
        load_error(load, load->line, "there may be at most %u sections", PARTS_MAX);
        return;
    }
    if (text.len > HEADER_BYTES_MAX) {
        load_error(load, load->line, "the name of a section is too long; between [ and ] stand at "
                   "most %u bytes", HEADER_BYTES_MAX);
    } else if (!section_is_named(section) && name.len > 0) {
        load_error(load, load->line, "[" STR_FMT "] has no name; write [" STR_FMT "]",
                   STR_ARG(kind), STR_ARG(kind));
        name.len = 0;
    } else if (section_is_named(section) && name.len == 0) {
        load_error(load, load->line, "[" STR_FMT "] has a name; write [" STR_FMT " NAME]",
                   STR_ARG(kind), STR_ARG(kind));
    } else if (!name_is_plain(name)) {
        load_error(load, load->line, "a section's name is made of letters, digits, _, - and .");
    }
    load_part(load, section, name);
}

void load_header(struct load *load, struct str text) {
    const char *end = memchr(text.p, ']', text.len);
    load->skipping = true;   /* until a section is open */
    if (end == NULL) {
        load_error(load, load->line, "the ] that ends a section's header is missing");
        return;
    }
    uint32_t len = (uint32_t)(end - text.p);
    struct str rest = str_trim((struct str){end + 1, text.len - len - 1});
    if (rest.len > 0 && rest.p[0] != ';' && rest.p[0] != '#') {
        load_error(load, load->line, "behind a section's header stands nothing but a comment");
    }
    header_open(load, str_trim((struct str){text.p + 1, len - 1}));
}

/* --- Keys ------------------------------------------------------------------------------------ */

static void key_unknown(struct load *load, const struct part *part, struct str name) {
    char hint[HINT_MAX];
    struct nearest nearest = {.wanted = name};
    if (name.len == 0) {
        load_error(load, load->line, "no key stands before the =");
        return;
    }
    if (memchr(name.p, ' ', name.len) != NULL || memchr(name.p, '\t', name.len) != NULL) {
        load_error(load, load->line, "neither [section] nor key = value");
        return;
    }
    for (enum conf_key_id id = 0; id < KEY_COUNT; id++) {
        const struct conf_key *key = key_row(id);
        if (key->section == part->section) {
            nearest_show(&nearest, key->name);
        }
    }
    for (enum conf_section s = 0; nearest.word == NULL && s < CONF_SECTION_COUNT; s++) {
        if (key_find(s, name) != KEY_COUNT) {
            load_error(load, load->line, "unknown key " STR_FMT " in " PART_FMT "; it is a key of "
                       "a %s section", STR_ARG(name), PART_ARG(load, part), section_word(s));
            return;
        }
    }
    load_error(load, load->line, "unknown key " STR_FMT " in " PART_FMT "%s", STR_ARG(name),
               PART_ARG(load, part),
               nearest_hint(&nearest, "; gyre --doc keys lists what there is", hint));
}

/* A value that holds commas and blanks alone is none. */
static bool value_is_empty(struct str value) {
    struct str element;
    return !str_next_element(&value, &element);
}

/* inih takes ` ;` for the start of a comment, but not ` #`. */
static bool value_has_hash(struct str value) {
    for (uint32_t i = 1; i < value.len; i++) {
        if (value.p[i] == '#' && (value.p[i - 1] == ' ' || value.p[i - 1] == '\t')) {
            return true;
        }
    }
    return false;
}

void load_key(struct load *load, struct str name, struct str value) {
    if (load->skipping) {
        return;   /* the section's own error is enough */
    }
    if (load->part_count == 0) {
        load_error(load, load->line, "a key stands in a section: [global], [listener NAME], "
                   "[route NAME] or [backend NAME]");
        return;
    }
    struct part *part = &load->parts[load->part_count - 1];
    enum conf_key_id id = key_find(part->section, name);
    if (id == KEY_COUNT) {
        key_unknown(load, part, name);
        return;
    }
    const struct conf_key *key = key_row(id);
    bool first = !part_has(part, id);
    if (first) {
        part->seen.has[id] = true;
        part->lines[id] = load->line;
    }
    if (!first && !type_is_list(key)) {
        load_error(load, load->line, "duplicate key %s; it stands in line %u already", key->name,
                   part->lines[id]);
    } else if (value_is_empty(value)) {
        load_error(load, load->line, "%s has no value",
                   load->flag != NULL ? load->flag : key->name);
    } else if (value_has_hash(value)) {
        value_error(load, key, value, "a comment behind a value begins with ; not with #");
    } else {
        type_set(load, key, (char *)part_object(load, part) + key->offset, value);
    }
}
