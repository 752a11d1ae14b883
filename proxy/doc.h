/* What gyre prints of itself: references made from its tables. */
#ifndef GYRE_DOC_H
#define GYRE_DOC_H

#include <stdbool.h>

bool doc_known(const char *which);
/* To standard output; the exit status. */
int doc_print(const char *which);

#endif
