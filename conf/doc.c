/* The reference of the keys and the sample file, printed from the table. */
#include "base/ensure.h"
#include "conf/conf_priv.h"

#define WRAP_BYTES 78u
#define LINE_BYTES 1024u

/* `gyre --doc keys`: Markdown, a table for each section. */
static void doc_row(FILE *out, const struct conf_key *key) {
    char line[LINE_BYTES];
    struct text t = text_on(line, LINE_BYTES);
    text_fmt(&t, "| `%s` | ", key->name);
    type_print(&t, key);
    if (key->fallback == NULL) {
        text_str(&t, STR(" | needed | "));
    } else if (*key->fallback == '\0') {
        text_str(&t, STR(" | none | "));
    } else {
        text_fmt(&t, " | `%s` | ", key->fallback);
    }
    text_fmt(&t, "%s%s |\n", key->help,
             key->server ? " May also stand behind the address of one server." : "");
    ensure(!t.cut);
    fwrite(line, 1, t.len, out);
}

void conf_doc_keys(FILE *out) {
    for (enum conf_section section = 0; section < CONF_SECTION_COUNT; section++) {
        fprintf(out, "%s### [%s%s]\n\n%s\n\n| key | type | default | what it says |\n"
                "|---|---|---|---|\n", section != 0 ? "\n" : "", section_word(section),
                section_is_named(section) ? " NAME" : "", section_help(section));
        for (enum conf_key_id id = 0; id < KEY_COUNT; id++) {
            if (key_row(id)->section == section) {
                doc_row(out, key_row(id));
            }
        }
    }
    fputs("\nA size is a number of bytes, or has a unit: `k`, `m` or `g`. A time always has one: "
          "`ms`, `s`, `m`,\n`h` or `d`. The elements of a list are separated by commas, and its "
          "key may be repeated. An address\nis `HOST:PORT`, `[V6]:PORT`, `:PORT` or `unix:PATH`. "
          "A comment begins a line with `;` or `#`, or\nstands behind a value after a blank and "
          "`;`.\n", out);
}

/* The text in comments of at most WRAP_BYTES. */
static void comment_print(FILE *out, const char *text) {
    struct str rest = str_of(text);
    while (rest.len > 0) {
        uint32_t len = rest.len;
        if (len > WRAP_BYTES - 2) {
            len = WRAP_BYTES - 2;
            while (len > 0 && rest.p[len] != ' ') {
                len--;
            }
            ensure(len > 0);   /* no word of the table is so long */
        }
        fprintf(out, "# " STR_FMT "\n", (int)len, rest.p);
        rest = str_trim((struct str){rest.p + len, rest.len - len});
    }
}

static void sample_key(FILE *out, const struct conf_key *key, bool in_comment) {
    const char *value = key->sample != NULL ? key->sample : key->fallback;
    bool commented = in_comment || key->sample == NULL || *value == ';';
    ensure(value != NULL && *value != '\0');
    fputc('\n', out);
    comment_print(out, key->help);
    fprintf(out, "%s%s = %s\n", commented ? ";" : "", key->name, value + (*value == ';'));
}

void conf_doc_sample(FILE *out) {
    comment_print(out, "gyre's configuration. Every key is here; what is commented out with ; is "
                  "at its default, or an example of what has none. gyre --check -c FILE tells what "
                  "is wrong with a file, gyre --doc keys prints the reference.");
    for (enum conf_section section = 0; section < CONF_SECTION_COUNT; section++) {
        const char *header = section_sample(section);
        fputc('\n', out);
        comment_print(out, section_help(section));
        fprintf(out, "%s\n", header);
        for (enum conf_key_id id = 0; id < KEY_COUNT; id++) {
            if (key_row(id)->section == section) {
                sample_key(out, key_row(id), *header == ';');
            }
        }
    }
}
