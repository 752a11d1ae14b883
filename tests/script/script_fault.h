/* A script played under a fault: what must hold whatever fails. */
#ifndef GYRE_TESTS_SCRIPT_SCRIPT_FAULT_H
#define GYRE_TESTS_SCRIPT_SCRIPT_FAULT_H

#include "base/fault.h"
#include "script/script.h"
#include "script/script_read.h"

#define FAULT_CLIENTS_MAX 8
#define FAULT_ORIGINS_MAX 64

/* One run: what is asked for, and what was seen. */
struct script_fault {
    enum fault_point point;        /* visits first.. of it fail, count in a row */
    uint64_t first, count;
    bool polite;                   /* at the end everybody says FIN; else nobody, and gyre's own
                                      timeouts must end it all */
    uint64_t visits[FAULT_COUNT], hits;
    bool as_written;               /* nothing but what the script says was seen */
    bool stopped;                  /* the script itself stops gyre */
    struct record clients[FAULT_CLIENTS_MAX], origins[FAULT_ORIGINS_MAX];
    uint32_t client_count, origin_count;
    struct record after;           /* what a client got that came when the fault had passed */
};

/* Plays the script as far as it goes. What a side must see is waited for, and where something else
 * comes the script is left: its client goes on to send what it says, its servers are reset (or
 * fall silent), and servers that answer every whole request take their place. Then every connection
 * must end, a new client must be served, and gyre must stop with nothing left. False: why. */
bool script_play_faulty(const struct script *, const struct script_mode *, struct script_fault *,
                        char why[SCRIPT_TEXT_MAX]);
/* What was seen is right, held against a run without a fault: clients got the answers that the
 * script names, pages, or the beginning of one of them as the visible last; servers got the
 * requests that the script names, each non-idempotent one no more often. False: why. */
bool script_fault_check(const struct script *, const struct script_fault *good,
                        const struct script_fault *seen, char why[SCRIPT_TEXT_MAX]);
void script_fault_fini(struct script_fault *);

#endif
