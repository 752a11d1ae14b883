/* Feeds a file to inih line by line, and keeps from it what it would read wrongly. */
#include <ini.h>

#include "base/ensure.h"
#include "conf/conf_priv.h"

/* inih cuts longer lines in silence (release 55 reads the tail as a line of its own), so they are
 * refused before it sees them. It wants room for CR, LF and NUL. */
#define LINE_MAX_BYTES (INI_MAX_LINE - 3u)

/* inih calls back without the number of the line, takes an indented key for the continuation of
 * the value above it, and tells of a section only by its keys. So blanks at the start are
 * stripped, lines are counted, and headers are read, here; inih takes keys, values and comments
 * behind values apart. */
struct lines {
    struct load *load;
    struct str rest;      /* of the text */
    bool waiting;         /* a line is with inih, which has not called back */
};

static bool is_text(struct str line) {
    for (uint32_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* The next line without its end (LF, CRLF, or the end of the file). */
static bool line_cut(struct lines *lines, struct str *line) {
    if (lines->rest.len == 0) {
        return false;
    }
    const char *end = memchr(lines->rest.p, '\n', lines->rest.len);
    uint32_t len = end != NULL ? (uint32_t)(end - lines->rest.p) : lines->rest.len;
    uint32_t used = end != NULL ? len + 1 : len;
    *line = (struct str){lines->rest.p, len};
    lines->rest.p += used;
    lines->rest.len -= used;
    if (line->len > 0 && line->p[line->len - 1] == '\r') {
        line->len--;
    }
    return true;
}

/* True when the line is one for inih. */
static bool line_is_key(struct load *load, struct str line) {
    if (line.len == 0 || line.p[0] == ';' || line.p[0] == '#') {
        return false;
    }
    if (!is_text(line)) {
        load_error(load, load->line, "the line holds a byte that is no text");
    } else if (line.len > LINE_MAX_BYTES) {
        load_error(load, load->line, "the line is longer than %u bytes; a list may go on in "
                   "another line with the same key", LINE_MAX_BYTES);
    } else if (line.p[0] == '[') {
        load_header(load, line);
    } else {
        return true;
    }
    return false;
}

/* inih's reader: the next line, with its newline. */
static char *lines_next(char *to, int size, void *stream) {
    struct lines *lines = stream;
    struct load *load = lines->load;
    struct str line;
    if (lines->waiting) {   /* inih has found no = in it */
        load_error(load, load->line, "neither [section] nor key = value");
        lines->waiting = false;
    }
    while (line_cut(lines, &line)) {
        load->line++;
        line = str_trim(line);
        if (line_is_key(load, line)) {
            ensure(size >= 0 && line.len + 2 < (uint32_t)size);
            memcpy(to, line.p, line.len);
            memcpy(to + line.len, "\n", 2);
            lines->waiting = true;
            return to;
        }
    }
    return NULL;
}

static int lines_key(void *user, const char *section, const char *name, const char *value) {
    struct lines *lines = user;
    (void)section;
    lines->waiting = false;
    load_key(lines->load, str_of(name), str_trim(str_of(value)));
    return 1;
}

void load_lines(struct load *load, struct str text) {
    struct lines lines = {.load = load, .rest = text};
    if (str_starts(text, STR("\xef\xbb\xbf"))) {   /* a byte order mark */
        lines.rest.p += 3;
        lines.rest.len -= 3;
    }
    /* What inih returns is the first line without =, which lines_next has reported. */
    ensure(ini_parse_stream(lines_next, &lines, lines_key, &lines) >= 0);
}
