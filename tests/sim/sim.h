/* The simulated ring's door: a world with virtual time, sockets, files, several rings, and luck
 * from one seed. It implements ring/ring.h; scripted peers are in sim/peer.h. */
#ifndef GYRE_TESTS_SIM_SIM_H
#define GYRE_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/str.h"
#include "ring/ring.h"
#include "sim/peer.h"

/* What can go wrong. Each is drawn on its own occasion, with its own chance in 10,000. */
#define SIM_FAULTS(X)                                                                         \
    X(SHORT_RECV, "a receive takes a part of what is there")                                  \
    X(SHORT_SEND, "a send takes a part of what fits")                                         \
    X(LATE, "a completion comes turns later, others overtake it")                             \
    X(DISARM, "a multishot op ends with a good completion")                                   \
    X(STARVE, "a ring has no receive buffers for a while")                                    \
    X(RESET, "the network resets a connection, seen at both ends")                            \
    X(REFUSE, "a connect is refused")                                                         \
    X(SYN_DROP, "a connect is never answered")                                                \
    X(BACKLOG, "a unix listener's backlog is full")                                           \
    X(EMFILE, "no descriptor for a new socket")                                               \
    X(STALL, "a direction stands still for up to stall_ms")                                   \
    X(SLOW_PEER, "a scripted peer does nothing for up to stall_ms")                           \
    X(SYS, "a sys_* call fails")                                                              \
    X(WRITE_SHORT, "a file write is short")                                                   \
    X(WRITE_FULL, "a file write fails with ENOSPC")                                            \
    X(READ_SHORT, "a file read is short")

enum sim_fault {
#define X(name, help) SIM_##name,
    SIM_FAULTS(X)
#undef X
    SIM_FAULT_COUNT
};

struct sim_params {
    uint32_t latency_us;              /* one way, drawn from 0..this for each flight (TCP) */
    uint32_t pipe_min, pipe_max;      /* bytes that one direction holds: drawn for each */
    uint32_t fd_max;                  /* descriptors of gyre's side */
    uint32_t backlog_max;             /* of any listener, as net.core.somaxconn; 0: as asked for */
    bool writes_wait;                 /* op_write takes nothing: a pipe that nobody reads */
    uint32_t stall_ms, late_us;       /* bounds of STALL and SLOW_PEER, of LATE and STARVE */
    uint16_t chance[SIM_FAULT_COUNT]; /* in 10,000; 0: off */
};

struct sim;

/* No faults, small latency, roomy pipes. */
struct sim_params sim_params_clean(void);
/* A draw of its own for each seed: some faults on, others off, rates and sizes at random, so that
 * many seeds cover combinations that no fixed rate would reach. */
struct sim_params sim_params_rough(uint64_t seed);

/* One world at a time: ring_new, sys_* and the peers belong to it. params NULL: clean. */
struct sim *sim_new(uint64_t seed, const struct sim_params *);
/* Every ring must be freed. Stops the process, with a report, when a descriptor is still open.
 * Peers that are left are freed. */
void sim_free(struct sim *);
/* What gyre's side holds now: descriptors by kind, ops in flight, receive segments. Returns their
 * number; text says what they are ("2 sockets, 1 op"). */
uint32_t sim_leaks(const struct sim *, char *text, uint32_t cap);

uint32_t sim_descriptors(const struct sim *);
/* Faults may be switched while the world runs. */
struct sim_params *sim_params(struct sim *);
uint64_t sim_hits(const struct sim *, enum sim_fault);
const char *sim_fault_word(enum sim_fault);

uint64_t sim_now_us(const struct sim *);
/* Runs one turn of one ring, or one move of one peer; or lets time pass. False when nothing can
 * ever happen again. */
bool sim_step(struct sim *);
/* As peers_run. A condition may look at the rings' objects too: it is called between turns. */
enum peers_end sim_run_until(struct sim *, bool (*cond)(void *), void *arg, uint64_t limit_ms);
/* Calls fn between turns once that time has come. */
void sim_after(struct sim *, uint64_t ms, void (*fn)(void *), void *arg);
/* Resets the connection of a descriptor, as seen at both its ends. */
void sim_break(struct sim *, int fd);

/* Everything that happened, in order, as one number: equal seeds give equal hashes. SIM_TRACE=1 in
 * the environment prints the events to stderr. */
uint64_t sim_trace_hash(const struct sim *);
/* A test's own event in the trace. */
void sim_note(struct sim *, const char *what, int64_t a, int64_t b, int64_t c);

/* Luck from the world's seed: 0..below-1. */
uint64_t sim_draw(struct sim *, uint64_t below);
bool sim_chance(struct sim *, uint32_t in_ten_thousand);

/* Bytes that a peer has sent and the far side has not read. */
uint64_t sim_peer_unread(const struct peer *);

/* What was written to a file by op_write; empty when it was never opened. */
struct str sim_file(struct sim *, const char *path);
/* And how many writes that took. */
uint32_t sim_file_appends(struct sim *, const char *path);

#endif
