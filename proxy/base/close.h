/* Why a connection or an exchange ended. */
#ifndef GYRE_BASE_CLOSE_H
#define GYRE_BASE_CLOSE_H

enum close_reason {
#define CLOSE(name, word, help) CLOSE_##name,
#include "base/close.def"
#undef CLOSE
    CLOSE_COUNT
};

/* The word that the access log and the metrics use, and its line of help. */
const char *close_word(enum close_reason);
const char *close_help(enum close_reason);

#endif
