/* What is refused: the rows of refuse.def. */
#include "http/http.h"

#define REFUSE_IN_BOTH (REFUSE_IN_REQUEST | REFUSE_IN_RESPONSE)

static const struct refuse_row rows[REFUSE_COUNT] = {
    [REFUSE_NONE] = {.word = "-"},
#define REFUSE(name, side, status, why, word, text, rule, setting) \
    [REFUSE_##name] = {status, CLOSE_##why, REFUSE_IN_##side, word, text, rule, setting},
#include "http/refuse.def"
#undef REFUSE
};

const struct refuse_row *refuse_row(enum refusal refusal) {
    ensure(refusal > REFUSE_NONE && refusal < REFUSE_COUNT);
    return &rows[refusal];
}

const char *refuse_word(enum refusal refusal) {
    ensure(refusal < REFUSE_COUNT);
    return rows[refusal].word;
}
