/* The ring's door: operations, timers, tasks, posts, and all else that asks the kernel, the clock
 * or luck. tests/sim implements the same door with virtual time, sockets and a seed. */
#ifndef GYRE_RING_RING_H
#define GYRE_RING_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/stats.h"

struct ring;

struct ring_params {
    uint32_t sq_entries;          /* 0: default (1024); rounded up to a power of two */
    uint32_t cq_entries;          /* 0: default (8192) */
    uint32_t buf_size;            /* of one receive buffer, bytes; 0: default (64 KiB) */
    uint32_t buf_window;          /* buffers the kernel holds at once; 0: default (128) */
    uint32_t buf_max;             /* receive buffers in all, held by anybody; 0: default (1024) */
    uint32_t handshakes_per_turn; /* tasks of TASK_HANDSHAKE run in a turn; 0: default (1) */
    bool one_shot;                /* receive policy of kernels below 6.8, for tests */
};

/* Made by the thread that will run it. NULL when the kernel refuses; why (of at least
 * RING_WHY_MAX bytes) then says which cause it is and what to do about it, in one line. */
#define RING_WHY_MAX 512
struct ring *ring_new(const struct ring_params *, char *why);
/* By the thread that ran it. Every receive buffer must be at home. Ops that are still in flight are
 * ended and waited for, and their done is not called: after this no listener of the ring takes a
 * connection. */
void ring_free(struct ring *);
/* Turns until ring_stop; may be called again after that. */
void ring_run(struct ring *);
void ring_stop(struct ring *);              /* by the ring's own thread */

struct stats *ring_stats(struct ring *);
struct segpool *ring_receive_pool(struct ring *);

/* Clocks, read once a turn. */
uint64_t ring_now_ms(const struct ring *);       /* monotonic */
uint64_t ring_now_us(const struct ring *);       /* monotonic, the same moment */
uint64_t ring_wall_us(const struct ring *);      /* since 1970, the same moment */
/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7), 29 bytes; made once a second. */
struct str ring_http_date(struct ring *);

/* --- Operations ------------------------------------------------------------------------------
 * From op_*() to the last completion the op, and all that it was given (iovec, address, memory),
 * belong to the kernel. The op must be idle when it is armed, and its memory type-stable (a pool).
 * done runs straight off the completion queue: it touches its own object, wakes its owner, and
 * calls nobody above. armed says that more completions of this op will come; when it is false the
 * op is idle already, and may be armed again there. Errors are -errno. The ring retries what is its
 * own affair: a full submission queue, no receive buffers (done never sees -ENOBUFS), multishot ops
 * that the kernel disarmed without cause. op_*() never completes inside the call. The ring counts
 * the bytes of op_recv, op_send and op_sendv (STAT_RX_BYTES, STAT_TX_BYTES). */
enum op_state { OP_IDLE, OP_ARMED, OP_CANCELLED };

struct op {
    void (*done)(struct op *, int res, struct seg *, bool armed);
    uint16_t generation;      /* the ring's: tells a stale completion, across op_init too */
    uint8_t state;            /* enum op_state */
    uint8_t kind;             /* the ring's */
    int fd;                   /* the ring's: what to arm again */
    uint32_t left;            /* the ring's: of a receive's limit */
    struct list_node wait;    /* the ring's: for buffers, or for its cancellation */
};

static inline void op_init(struct op *op, void (*done)(struct op *, int, struct seg *, bool)) {
    *op = (struct op){.done = done};
}
static inline bool op_idle(const struct op *op) {
    return op->state == OP_IDLE;
}

/* Receives until cancelled, end (res 0) or error. res > 0 comes with a segment that holds res
 * bytes from its start; its reference passes to done. Arm again when !armed and more is wanted:
 * with the one-shot policy that is after every receive, else after limit bytes (0: no limit) and
 * up to a segment more.
 * Kernels that do not know the limit go on until the cancel: up to 32 segments past it. */
void op_recv(struct ring *, struct op *, int fd, uint32_t limit);
/* One send, at most one per socket at any time; may be short. Never raises SIGPIPE.
 * more: what is to follow at once, bytes or FIN, may leave with these. Where nothing follows they
 * are 200 ms late (tcp(7), MSG_MORE). */
void op_send(struct ring *, struct op *, int fd, const void *, uint32_t len, bool more);
void op_sendv(struct ring *, struct op *, int fd, const struct msghdr *, bool more);
/* res >= 0 is a new descriptor (CLOEXEC), which passes to done. many: until cancelled, and all that
 * waits in the backlog at once; else one. An error (-EMFILE, -ECONNABORTED, ...) ends it. */
void op_accept(struct ring *, struct op *, int fd, bool many);
void op_connect(struct ring *, struct op *, int fd, const struct addr *);
void op_close(struct ring *, struct op *, int fd);
/* One completion when poll(2) events (POLLIN, POLLRDHUP, ...) are there; res is their mask. */
void op_watch(struct ring *, struct op *, int fd, unsigned events);
/* Appends to a file, pipe or stream. May be short. A pipe without a reader is -EPIPE, and the
 * kernel raises SIGPIPE, which the process must ignore. */
void op_write(struct ring *, struct op *, int fd, const void *, uint32_t len);
/* At a place in a file that sys_open_spool made. May be short; a read behind the end is 0. The
 * kernel keeps the iovec until the completion, as it keeps the memory. */
void op_pread(struct ring *, struct op *, int fd, void *, uint32_t len, uint64_t at);
void op_pwritev(struct ring *, struct op *, int fd, const struct iovec *, int count, uint64_t at);
/* A request. done still comes with armed false, once, with -ECANCELED or whatever happened first;
 * what a multishot op has received or accepted by then comes before it, with armed true. Harmless
 * when the op is idle or cancelled already. */
void op_cancel(struct ring *, struct op *);

/* --- Timers: user space, synchronous, resolution 1 ms, never early ------------------------ */
struct timer {
    void (*fired)(struct timer *);
    struct list_node slot;
    uint64_t due_ms;
};
static inline void timer_init(struct timer *t, void (*fired)(struct timer *)) {
    *t = (struct timer){.fired = fired};
}
/* Moves the timer when it is armed already. fired runs in the turn in which it is due, after the
 * completions and before the tasks; it touches its own object and wakes its owner. What it arms
 * fires in a later turn. */
void timer_arm(struct ring *, struct timer *, uint64_t in_ms);
void timer_cancel(struct ring *, struct timer *);
static inline bool timer_armed(const struct timer *t) {
    return list_linked(&t->slot);
}

/* --- Tasks: what runs in a turn, after completions and timers ----------------------------- */
/* What takes long stands in lists of its own. Bulk moves large bodies, a piece at a time: one of
 * each four that wait goes on in a turn, behind what live tasks had to do. Handshakes: a few run in
 * a turn, and none in one that has live tasks or bulk, but for each fifth such turn in a row. */
enum task_lane { TASK_LIVE, TASK_HANDSHAKE, TASK_BULK, TASK_LANES };
struct task {
    void (*run)(struct task *);
    struct list_node ready;
    uint8_t lane;
};
static inline void task_init(struct task *t, void (*run)(struct task *)) {
    *t = (struct task){.run = run};
}
/* Runs in this turn, or when its lane comes to it; idempotent. Tasks that wake tasks do so 16 times
 * in a turn, then the chain goes on in the next one, which does not block. A task that has yielded
 * stays where it is. */
void task_wake(struct ring *, struct task *);
/* Behind its lane, from the next turn on, which does not block. */
void task_yield(struct ring *, struct task *);
void task_cancel(struct ring *, struct task *);  /* will not run; harmless when not ready */

/* --- Posts: the only way to talk to another ring ------------------------------------------ */
/* run is called on the target's thread, in a turn, before its timers and tasks; the posts of one
 * sender in their order. The post's memory is the
 * sender's until then and the receiver's from then on. Any thread may post, also one without a
 * ring. The target must outlive the call. */
struct post {
    void (*run)(struct post *);
    struct post *next;
};
void ring_post(struct ring *target, struct post *);

/* --- The world: short system calls that do not block ------------------------------------------
 * Return 0 or a descriptor, or -errno. */
int sys_socket(int family);                                /* stream, CLOEXEC, blocking */
/* Binds and listens. reuseport shares the port between rings (TCP). Options that an accepted
 * socket inherits (TCP_NODELAY, keep-alive probes) are set here. An IPv6 listener takes IPv6 alone,
 * a dual address IPv4 too (and 0.0.0.0 alone where there is no IPv6). A stale unix socket file is
 * replaced; one that somebody listens on, or a file that is no socket, is -EADDRINUSE. */
int sys_listen(const struct addr *, bool reuseport, int backlog);
/* Gives a listening socket that somebody else has made (systemd) what sys_listen gives to its own:
 * accepted sockets inherit the same options, and it is a blocking one. */
int sys_adopt(int fd);
/* 0 when a bind without SO_REUSEPORT (a unix socket: a connect) shows that nobody else listens on
 * the address. */
int sys_probe_bind(const struct addr *);
int sys_bound(int fd, struct addr *);                      /* getsockname */
int sys_peer(int fd, struct endpoint *);                   /* getpeername */
int sys_nodelay(int fd);                                   /* for dialled TCP sockets */
/* Non-blocking connect for AF_UNIX: 0, or -EAGAIN when the server's backlog is full. The socket is
 * a blocking one before and after. */
int sys_connect_unix(int fd, const struct addr *);
int sys_shutdown(int fd, int how);
int sys_reset_on_close(int fd);                            /* close(2) will send RST */
/* Bytes that the kernel has taken of us and the far end has not of the kernel: over TCP those that
 * are not acknowledged, at a unix socket those that are not read (by the memory that they take,
 * overhead included, and piece by piece as they were sent). */
int sys_unsent(int fd);
int sys_close(int fd);
/* Both ends do not block: fds[0] to read, fds[1] to write. -EMFILE also where it would have less
 * room than that. */
int sys_pipe(int fds[2], uint32_t bytes);
/* From a socket to a pipe, or from a pipe to a socket, which must not block (sys_nonblock): how
 * many bytes of up to len went. 0: the socket's peer has ended its side. -EAGAIN: nothing is there,
 * or there is no room. Raises SIGPIPE, which the process must ignore. */
int sys_splice(int from, int to, uint32_t len);
/* A socket that does not block is for sys_splice; operations may go on there. */
int sys_nonblock(int fd, bool on);
int sys_open_append(const char *path);                     /* made with mode 0640 */
/* A file without a name in that folder, for reading and writing; it is gone when it is closed. */
int sys_open_spool(const char *folder);
void sys_random(void *, uint32_t len);                     /* cryptographic */
/* Raises the soft limit of descriptors to the hard one; returns it. */
uint32_t sys_raise_nofile(void);
/* Bytes of memory that the machine has, or that our control groups may use, where that is less. */
uint64_t sys_memory(void);

#endif
