/* What the files of conf/ share: the rows of keys.def, and the state of one load. */
#ifndef GYRE_CONF_CONF_PRIV_H
#define GYRE_CONF_CONF_PRIV_H

#include "base/str.h"
#include "conf/conf.h"

#define CONF_HOUR (3600ull * 1000)   /* times in ms */
#define CONF_DAY (24 * CONF_HOUR)
#define CONF_MIB (1024ull * 1024)
#define CONF_GIB (1024 * CONF_MIB)

/* --- The table ------------------------------------------------------------------------------- */

#define NONE ""        /* the default of a key that needs none */
#define NEEDED NULL    /* the default of a key that must be there */
#define SAME NULL      /* the sample of a key that shows its default */

enum conf_section {
#define SECTION(section, sample, help) CONF_SECTION_##section,
#include "conf/keys.def"
    CONF_SECTION_COUNT
};

enum conf_key_id {
#define KEY(section, key, ...) KEY_##section##_##key,
#define SERVER_KEY(key, ...) KEY_backend_##key,
#include "conf/keys.def"
    KEY_COUNT
};

/* A set of keys. */
struct key_set {
    bool has[KEY_COUNT];
};

enum conf_type {
#define TYPE(type, ...) TYPE_##type,
#include "conf/types.def"
#undef TYPE
    TYPE_COUNT
};

struct conf_key {
    enum conf_section section;
    enum conf_type type;
    const char *name, *fallback, *sample, *help;
    uint64_t min, max;       /* of the value; of a list: how many there may be */
    size_t offset, size;     /* of the member, in its section's struct */
    bool server;             /* also an option of a server: */
    size_t server_offset;    /* its member, in struct conf_server */
};

const struct conf_key *key_row(enum conf_key_id);
const char *section_word(enum conf_section);
const char *section_sample(enum conf_section);
const char *section_help(enum conf_section);
bool section_is_named(enum conf_section);                  /* all but global */
/* KEY_COUNT when the section has no such key. */
enum conf_key_id key_find(enum conf_section, struct str name);

/* --- The state of one load ------------------------------------------------------------------- */

/* A section as it stood in the file; what was set, and where. */
struct part {
    enum conf_section section;
    uint32_t index;               /* in the conf's array of its kind */
    uint32_t line;
    struct key_set seen;          /* keys that stood here */
    uint32_t lines[KEY_COUNT];    /* where each stood first */
    struct key_set *server_seen;  /* for each server of a backend: its own options */
};

struct load {
    struct conf *conf;
    struct conf_errors *errors;
    uint32_t line;                /* the one being read; 0: flags */
    const char *flag;             /* "--bind", where the value came from a flag */
    bool skipping;                /* in a section that nobody knows */
    struct part *parts;           /* the last one is the one that keys go to */
    uint32_t part_count;
};

/* object.c: the settings structs. */
/* Appends a struct without settings and takes the name over; returns its index. */
uint32_t object_add(struct conf *, enum conf_section, const char *name, uint32_t line);
void defaults_set(struct load *, enum conf_section, uint32_t index);
void *part_object(const struct load *, const struct part *);
const char *part_name(const struct load *, const struct part *);   /* "" for global */

/* load.c: sections and keys as they come, from the file's lines or from flags. */
void load_part(struct load *, enum conf_section, struct str name);
void load_header(struct load *, struct str text);          /* "[listener web]" and what follows */
void load_key(struct load *, struct str name, struct str value);
static inline bool part_has(const struct part *part, enum conf_key_id id) {
    return part->seen.has[id];
}

/* How a section is called in messages: printf format and arguments. */
#define PART_FMT "[%s%s%s]"
#define PART_ARG(load, part) \
    section_word((part)->section), *part_name(load, part) != '\0' ? " " : "", \
        part_name(load, part)

/* lines.c: feeds the text to inih, line by line. */
void load_lines(struct load *, struct str text);

/* types.c: makes a member from the text of a value, or says what is wrong with it. */
void type_set(struct load *, const struct conf_key *, void *member, struct str value);
void type_release(const struct conf_key *, void *member);
bool type_is_list(const struct conf_key *);
void type_print(struct text *, const struct conf_key *);   /* for the reference */

/* check.c: what no single line shows. */
void load_check(struct load *);

/* errors.c */
void load_error(struct load *, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Of the line being read: "KEY = VALUE: message". */
void value_error(struct load *, const struct conf_key *, struct str value, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Makes room for one more item behind count items; items may move. */
void *items_grow(void *items, uint32_t count, size_t item_size);

/* The word that was most likely meant: keeps the nearest of what it is shown. */
struct nearest {
    struct str wanted;
    const char *word;          /* NULL: nothing is near */
    uint32_t distance;
};
void nearest_show(struct nearest *, const char *candidate);
/* "; did you mean X?", or instead; returns p. */
#define HINT_MAX 128
const char *nearest_hint(const struct nearest *, const char *instead, char p[HINT_MAX]);

#endif
