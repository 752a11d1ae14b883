/* The last words of a process that found itself broken. */
#include "base/ensure.h"

#include <stdio.h>
#include <stdlib.h>

void ensure_failed(const char *cond, const char *file, int line, const char *func) {
    fprintf(stderr, "<2>gyre: broken invariant: %s (%s:%d, %s). This is a bug in gyre.\n", cond,
            file, line, func);
    abort();
}
