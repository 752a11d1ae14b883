/* The words of close.def. */
#include "base/close.h"

#include "base/ensure.h"

static const struct {
    const char *word, *help;
} rows[CLOSE_COUNT] = {
#define CLOSE(name, word, help) {word, help},
#include "base/close.def"
#undef CLOSE
};

const char *close_word(enum close_reason why) {
    ensure(why < CLOSE_COUNT);
    return rows[why].word;
}

const char *close_help(enum close_reason why) {
    ensure(why < CLOSE_COUNT);
    return rows[why].help;
}
