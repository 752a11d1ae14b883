/* Inside the simulated ring: the world, connections, descriptors, and who may act. */
#ifndef GYRE_TESTS_SIM_SIM_PRIV_H
#define GYRE_TESTS_SIM_SIM_PRIV_H

#include <stdlib.h>

#include "base/ensure.h"
#include "base/list.h"
#include "sim/sim.h"

#define SIM_NEVER UINT64_MAX
/* Far from real descriptors, so that a stray real system call fails instead of doing harm. */
#define SIM_FD_BASE 100000

/* --- Memory of the world, which is not gyre's: memory.h must not count it ------------------ */

static inline void *world_alloc(size_t size) {
    void *p = malloc(size);
    ensure(p != NULL);
    return p;
}

static inline void *world_zero(size_t size) {
    void *p = calloc(1, size);
    ensure(p != NULL);
    return p;
}

static inline void *world_grow(void *old, size_t size) {
    void *p = realloc(old, size);
    ensure(p != NULL);
    return p;
}

static inline void world_free(void *p) {
    free(p);
}

/* --- Connections: two ends, and a pipe into each ------------------------------------------ */

/* Bytes on their way, or a FIN. */
struct sim_flight {
    uint64_t due_us;
    uint32_t len;
    bool fin;
    bool corked;                  /* leaves with what comes next, or late */
};

/* One direction. The bytes stand in a circle: `ready` that have arrived, then those in flight. */
struct sim_pipe {
    uint8_t *bytes;
    uint32_t limit, head, ready, flying;
    struct sim_flight *flights;
    uint32_t flight_head, flight_count, flight_cap;
    uint64_t last_due_us;         /* flights never overtake each other */
    uint64_t stalled_until_us;    /* takes nothing more until then */
    bool fin_sent, fin_seen;
};

struct sim_end {
    struct list_node link;        /* sim.ends, while anything can still happen to it */
    struct sim *sim;
    struct sim_end *far;          /* NULL before it is connected */
    struct sim_pipe in;           /* towards this end */
    struct addr local, remote;
    int family, index;
    int error;                    /* errno that the next call takes, once */
    bool dead;                    /* reset came or went */
    bool closed;                  /* this side's descriptor is gone */
    bool shut_read;
    bool hard_close;              /* SO_LINGER 0 */
    struct list_node waiting;     /* in its listener's backlog */
    uint64_t reset_due_us;        /* a reset is on its way here */
};

struct sim_listener {
    struct list_node link;        /* sim.listeners */
    struct addr addr;
    struct list_node queue;       /* ends that nobody has accepted yet */
    uint32_t queued, backlog;
    bool reuseport;
};

struct sim_end *sim_end_new(struct sim *, int family);
/* What a connect meets: 0 (connected), -ECONNREFUSED, -ENOENT, -EAGAIN (the backlog is full). */
int sim_end_connect(struct sim_end *, const struct addr *to);
/* Lets arrive what is due. */
void sim_end_settle(struct sim_end *);
/* Up to len bytes to `to`: > 0, 0 at the end, -errno, -EAGAIN when nothing is there. */
int sim_end_recv(struct sim_end *, void *to, uint32_t len);
/* > 0, -errno, -EAGAIN without room. more: MSG_MORE. */
int sim_end_send(struct sim_end *, const struct iovec *, int count, bool more);
uint32_t sim_end_room(const struct sim_end *);
bool sim_end_readable(const struct sim_end *);
bool sim_end_writable(const struct sim_end *);
unsigned sim_end_poll(const struct sim_end *);
void sim_end_fin(struct sim_end *);
void sim_end_close(struct sim_end *);
void sim_end_break(struct sim_end *);      /* both ends are reset */
/* The next time at which something arrives. */
uint64_t sim_end_next_us(const struct sim_end *);
void sim_ends_reap(struct sim *);    /* those to which nothing can happen any more */
void sim_ends_free(struct sim *);

struct sim_listener *sim_listener_new(struct sim *, const struct addr *, uint32_t backlog,
                                      bool reuseport);
struct sim_end *sim_listener_take(struct sim_listener *);
void sim_listener_free(struct sim_listener *);   /* resets what waits */
bool sim_addr_taken(const struct sim *, const struct addr *, bool reuseport);

/* --- Descriptors and files of gyre's side ------------------------------------------------- */

enum sim_fd_kind { SIM_FD_SOCKET, SIM_FD_LISTENER, SIM_FD_FILE, SIM_FD_PIPE, SIM_FD_KINDS };

/* What a descriptor stands for. Ops in flight hold it, as they hold the kernel's struct file. */

struct sim_fd {
    enum sim_fd_kind kind;
    uint32_t op_count;            /* in flight, in any ring */
    bool receiving, sending;      /* at most one of each kind */
    bool closing;                 /* an op_close was given */
    bool nonblock;                /* as sys_splice wants it */
    bool gone;                    /* its number is free; it ends with its last op */
    struct sim_end *end;
    struct sim_listener *listener;
    struct sim_text_file *file;
    struct sim_tube *tube;
};

struct sim_text_file {
    struct list_node link;
    char *path, *bytes;
    uint32_t len, cap;
    uint32_t appends;
};

int sim_fd_open(struct sim *, enum sim_fd_kind, struct sim_fd **);   /* or -EMFILE */
struct sim_fd *sim_fd_at(struct sim *, int fd);                      /* NULL: not open */
void sim_fd_close(struct sim *, int fd);
void sim_fd_put(struct sim_fd *);                                    /* one op less */
void sim_tube_put(struct sim_tube *);                                /* one descriptor less */
struct sim_text_file *sim_text_file_at(struct sim *, const char *path, bool make);
void sim_text_file_append(struct sim_text_file *, const void *, uint32_t len);
void sim_text_file_write(struct sim_text_file *, uint64_t at, const void *, uint32_t len);
struct sim *sim_current(void);

/* --- The world ---------------------------------------------------------------------------- */

struct sim_alarm {
    struct list_node link;
    uint64_t due_us;
    void (*fn)(void *);
    void *arg;
};

struct sim {
    unsigned magic;
    uint64_t seed, luck, now_us, start_us;
    struct sim_params params;
    uint64_t hits[SIM_FAULT_COUNT];
    uint64_t trace_hash;
    bool trace_print;
    struct list_node rings, ends, listeners, files, peers, peer_listeners, alarms;
    struct sim_fd **fds;          /* by number; NULL: free */
    uint32_t fd_cap, fd_open;
    int end_count, ring_count;
    uint64_t spool_count;
    uint16_t next_port;
};

bool sim_fault(struct sim *, enum sim_fault);     /* drawn, counted, traced */
uint64_t sim_wall_us(const struct sim *);

/* --- Who may act -------------------------------------------------------------------------- */

/* Each returns when it can act next: now or earlier means now. */
uint64_t sim_ring_next_us(struct ring *);
void sim_ring_turn(struct ring *);
struct ring *sim_ring_of(struct list_node *);
uint32_t sim_rings_ops(const struct sim *);
bool sim_rings_want(const struct sim *, const struct sim_fd *);   /* an op on it that is not cancelled */
uint32_t sim_rings_segments(const struct sim *);

struct sim_peer;
struct sim_peer *sim_peer_of(struct list_node *);
uint64_t sim_peer_next_us(struct sim_peer *);
void sim_peer_act(struct sim_peer *);
void sim_peers_free(struct sim *);
void sim_peers_accept(struct sim *);              /* listeners of peers take what waits */

#endif
