/* What is wrong, in the order of the lines, and what was probably meant. */
#include <stdarg.h>
#include <stdio.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "conf/conf_priv.h"

#define WORD_MAX 64u   /* longer ones have no likeness */

void *items_grow(void *items, uint32_t count, size_t item_size) {
    if ((count & (count - 1)) != 0) {
        return items;   /* room for the next power of two was made already */
    }
    return mem_grow(items, (count != 0 ? (size_t)count * 2 : 1) * item_size);
}

static __attribute__((format(printf, 1, 0))) char *print(const char *fmt, va_list args) {
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    ensure(len >= 0);
    char *p = mem_alloc((size_t)len + 1);
    vsnprintf(p, (size_t)len + 1, fmt, again);
    va_end(again);
    return p;
}

static __attribute__((format(printf, 1, 2))) char *print_new(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    char *p = print(fmt, args);
    va_end(args);
    return p;
}

/* Takes the text over. */
static void errors_add(struct conf_errors *errors, uint32_t line, char *text) {
    errors->text = items_grow(errors->text, errors->count, sizeof(*errors->text));
    errors->lines = items_grow(errors->lines, errors->count, sizeof(*errors->lines));
    uint32_t at = errors->count++;
    while (at > 0 && errors->lines[at - 1] > line) {
        errors->text[at] = errors->text[at - 1];
        errors->lines[at] = errors->lines[at - 1];
        at--;
    }
    errors->text[at] = text;
    errors->lines[at] = line;
}

static void errors_put(struct conf_errors *errors, const char *path, uint32_t line,
                       const char *message) {
    if (errors->count >= CONF_ERRORS_MAX) {
        return;
    }
    if (errors->count == CONF_ERRORS_MAX - 1) {
        line = UINT32_MAX;
        errors_add(errors, line, print_new("%s: there are more errors than are shown", path));
    } else if (line == 0) {
        errors_add(errors, line, print_new("%s: %s", path, message));
    } else {
        errors_add(errors, line, print_new("%s:%u: %s", path, line, message));
    }
}

void conf_error(struct conf_errors *errors, const char *path, uint32_t line, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    char *message = print(fmt, args);
    va_end(args);
    errors_put(errors, path, line, message);
    mem_free(message);
}

void conf_errors_fini(struct conf_errors *errors) {
    for (uint32_t i = 0; i < errors->count; i++) {
        mem_free(errors->text[i]);
    }
    mem_free(errors->text);
    mem_free(errors->lines);
    *errors = (struct conf_errors){0};
}

void load_error(struct load *load, uint32_t line, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    char *message = print(fmt, args);
    va_end(args);
    errors_put(load->errors, load->conf->path, line, message);
    mem_free(message);
}

void value_error(struct load *load, const struct conf_key *key, struct str value, const char *fmt,
                 ...) {
    va_list args;
    va_start(args, fmt);
    char *message = print(fmt, args);
    va_end(args);
    if (load->flag != NULL) {
        load_error(load, load->line, "%s " STR_FMT ": %s", load->flag, STR_ARG(value), message);
    } else {
        load_error(load, load->line, "%s = " STR_FMT ": %s", key->name, STR_ARG(value), message);
    }
    mem_free(message);
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Letters to insert, drop, change or swap with their neighbour (optimal string alignment). */
static uint32_t distance(struct str a, struct str b) {
    uint32_t rows[3][WORD_MAX + 1];
    uint32_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (uint32_t j = 0; j <= b.len; j++) {
        last[j] = j;
    }
    for (uint32_t i = 1; i <= a.len; i++) {
        row[0] = i;
        for (uint32_t j = 1; j <= b.len; j++) {
            uint32_t change = a.p[i - 1] != b.p[j - 1];
            row[j] = least(least(last[j] + 1, row[j - 1] + 1), last[j - 1] + change);
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1]) {
                row[j] = least(row[j], before[j - 2] + 1);
            }
        }
        uint32_t *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[b.len];
}

/* Near: at most a third of the letters are wrong, or one of a short word. */
void nearest_show(struct nearest *nearest, const char *candidate) {
    struct str word = str_of(candidate);
    uint32_t longer = word.len > nearest->wanted.len ? word.len : nearest->wanted.len;
    if (longer > WORD_MAX || word.len == 0 || nearest->wanted.len < 2) {
        return;
    }
    uint32_t steps = distance(nearest->wanted, word);
    if (steps <= (longer < 6 ? 1 : longer / 3) &&
        (nearest->word == NULL || steps < nearest->distance)) {
        nearest->word = candidate;
        nearest->distance = steps;
    }
}

const char *nearest_hint(const struct nearest *nearest, const char *instead, char p[HINT_MAX]) {
    struct text t = text_on(p, HINT_MAX - 1);
    if (nearest->word != NULL) {
        text_fmt(&t, "; did you mean %s?", nearest->word);
    } else {
        text_str(&t, str_of(instead));
    }
    p[t.len] = '\0';
    return p;
}
