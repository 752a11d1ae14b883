/* What the benchmarks' own servers share: one ring, one listener, and an end by signal. */
#ifndef GYRE_BENCH_STAGE_H
#define GYRE_BENCH_STAGE_H

#include "net/net.h"

struct stage {
    struct ring *ring;
    struct net net;
    bool leaving;
    int bind_fd, signal_fd;
    struct connection_limit limit;
    struct wire_limits wires;
    struct listener *listener;
    struct task accept;
    struct op signal;
    struct timer leave;
    /* A connection has been accepted: make a wire of it, with limit as its limit. */
    void (*accepted)(struct stage *, int fd);
    /* The end has come: shut all wires. */
    void (*ended)(struct stage *);
};

/* Exits where it can not listen or has no ring. accepted and ended are the caller's to set. */
void stage_init(struct stage *, const struct addr *bind);
/* Until SIGINT, SIGTERM or stage_leave; then until the last wire is gone. */
void stage_run(struct stage *);
void stage_leave(struct stage *);
/* Ensures that nothing is live. */
void stage_fini(struct stage *);

/* An address of the command line; exits where it is none. */
void stage_address(struct addr *, const char *text);

#endif
