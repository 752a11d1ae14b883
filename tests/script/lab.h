/* A whole gyre in a test: workers made from ini text, on the simulated ring or on sockets. */
#ifndef GYRE_TESTS_SCRIPT_LAB_H
#define GYRE_TESTS_SCRIPT_LAB_H

#include "sim/peer.h"
#include "worker.h"

#define LAB_WORKERS_MAX 8

struct lab {
    struct conf *conf;
    struct plan *plan;
    struct worker workers[LAB_WORKERS_MAX];
    struct ring_params ring_params;
    bool on_sim;
    int event_fd;
};

/* On the simulated ring the workers run in the test's world, on sockets in threads of their own.
 * Prints why and returns false when the configuration is wrong or an address is taken. */
bool lab_start(struct lab *, bool on_sim, const char *ini, const struct ring_params *);
/* SIGTERM's way: drains, waits for the end, ensures that no pool has anything live. False when the
 * end did not come within limit_ms (of the world's time). */
bool lab_stop(struct lab *, uint64_t limit_ms);
/* Where nobody listens, and, on sockets, where no connection's own end can come to be before
 * somebody does: below the ports that the kernel gives out, and apart from other processes. */
struct addr lab_free_address(bool on_sim);
/* Sums of all workers' counters. */
uint64_t lab_stat(const struct lab *, enum stats_counter);
uint64_t lab_closed(const struct lab *, enum close_reason);

#endif
