/* The words of stats.def. */
#include "base/stats.h"

#include "base/ensure.h"

static const struct {
    const char *word, *help;
} rows[STAT_COUNT] = {
#define STAT(name, word, help) {word, help},
#include "base/stats.def"
#undef STAT
};

const char *stat_word(enum stats_counter which) {
    ensure(which < STAT_COUNT);
    return rows[which].word;
}

const char *stat_help(enum stats_counter which) {
    ensure(which < STAT_COUNT);
    return rows[which].help;
}
