/* Why the kernel gives us no ring, and what to do about it. */
#ifndef GYRE_RING_REFUSAL_PRIV_H
#define GYRE_RING_REFUSAL_PRIV_H

#include "ring/ring.h"

struct refusal {
    int err;                      /* positive; 0: the version alone */
    int disabled;                 /* kernel.io_uring_disabled; -1: this kernel has no such switch */
    unsigned major, minor;        /* of the kernel */
};

#define KERNEL_FLOOR_MAJOR 6u
#define KERNEL_FLOOR_MINOR 1u

static inline bool kernel_older(unsigned major, unsigned minor, unsigned than_major,
                                unsigned than_minor) {
    return major < than_major || (major == than_major && minor < than_minor);
}

/* Asks the kernel for what the error does not tell. */
void refusal_look(struct refusal *, int err);
/* One line; pure. */
void refusal_print(const struct refusal *, char why[RING_WHY_MAX]);

#endif
