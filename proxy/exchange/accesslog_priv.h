/* A line of the access log: what accesslog.c and logline.c share. */
#ifndef GYRE_EXCHANGE_ACCESSLOG_PRIV_H
#define GYRE_EXCHANGE_ACCESSLOG_PRIV_H

#include "exchange/exchange_priv.h"

/* What must be free where a line is written, which is more than the longest one takes. */
#define LOGLINE_ROOM 8192u

/* The line of an exchange, its newline included; returns its length. */
uint32_t logline_put(char *line, struct logline_time *, const struct exchange *);

#endif
