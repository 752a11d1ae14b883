/* The command line. */
#ifndef GYRE_FLAGS_H
#define GYRE_FLAGS_H

#include <stdbool.h>

#include "conf/conf.h"

enum flags_mode { FLAGS_RUN, FLAGS_CHECK, FLAGS_DOC, FLAGS_VERSION, FLAGS_HELP, FLAGS_WRONG };

struct flags {
    enum flags_mode mode;
    const char *path;            /* of the ini file */
    const char *doc;             /* "keys", "close" or "sample" */
    bool fileless;               /* --bind and --backend stand for a file */
    struct conf_flags conf;
    const char **lists[4];       /* memory behind conf */
    char why[256];               /* with FLAGS_WRONG */
};

/* Never fails; FLAGS_WRONG says what would be right. */
void flags_parse(struct flags *, int argc, char **argv);
void flags_fini(struct flags *);
extern const char flags_help[];

#endif
