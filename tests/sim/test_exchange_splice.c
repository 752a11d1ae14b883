/* The exchange's scenes once more, with every body spliced that may be, however small. */
#include "script/lab.h"

#define SPLICES 1
#include "sim/test_exchange.c"
