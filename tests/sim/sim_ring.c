/* The ring's door over virtual sockets: ops that complete when, and in what order, luck says.
 * Longer than most files: all kinds of ops stand in one order of completion, drawn in one place. */
#include <errno.h>
#include <poll.h>

#include "base/fault.h"
#include "ring/ring_priv.h"
#include "sim/sim_priv.h"

/* What the kernel was given: an op in flight, until its last completion is reaped. */
struct sim_op {
    struct list_node link;            /* ring.ops */
    struct op *op;
    int fd;
    struct sim_fd *file;              /* what fd was when the op was armed */
    struct iovec one;                 /* op_send, op_write */
    const struct msghdr *msg;         /* op_sendv: read as late as the kernel may read it */
    bool more;                        /* op_send, op_sendv */
    const struct addr *to;
    const struct iovec *iov;          /* op_pwritev: read as late as the kernel may read it */
    int iov_count;
    uint64_t at;                      /* op_pread, op_pwritev */
    unsigned events;
    int result;                       /* of a connect, due at due_us; of a watch that fails */
    uint64_t due_us;
    bool late_drawn, starved;
    uint64_t hold_us;                 /* a late completion: not before */
    bool finished;                    /* its last completion is in the queue */
};

struct sim_cqe {
    struct list_node link;            /* ring.completions */
    struct sim_op *sim_op;
    int res;
    struct seg *seg;
    bool armed;
};

struct ring {
    struct ring_core core;
    struct list_node link;            /* sim.rings */
    struct sim *sim;
    int index;
    struct list_node ops, completions;
    uint64_t starved_until_us;
};

/* A SYN that is dropped is sent again after 1, 3, 7, ... s; Linux gives up after 127 s. */
#define SYN_GIVE_UP_US 127000000u
#define SYN_AGAIN_US 1000000u

/* --- Birth and death ---------------------------------------------------------------------- */

struct ring *ring_new(const struct ring_params *params, char *why) {
    (void)why;                        /* nothing refuses here */
    struct sim *sim = sim_current();
    struct ring_params p = *params;
    p.buf_size = p.buf_size != 0 ? p.buf_size : 4096;
    p.buf_max = p.buf_max != 0 ? p.buf_max : 256;
    struct ring *ring = core_alloc(sizeof *ring);
    core_init(&ring->core, &p, sim->now_us, sim_wall_us(sim));
    ring->sim = sim;
    ring->index = sim->ring_count++;
    list_init(&ring->ops);
    list_init(&ring->completions);
    list_append(&sim->rings, &ring->link);
    return ring;
}

void ring_free(struct ring *ring) {
    ensure(list_empty(&ring->ops) && list_empty(&ring->completions));
    core_fini(&ring->core);
    list_remove(&ring->link);
    core_free(ring);
}

void ring_run(struct ring *ring) {
    ring->core.stop = false;
    while (!ring->core.stop) {
        bool alive = sim_step(ring->sim);
        ensure(alive && "nothing can happen any more, and nobody has stopped the ring");
    }
}

void ring_post(struct ring *ring, struct post *post) {
    (void)post_queue_push(&ring->core.posts, post);
}

struct ring *sim_ring_of(struct list_node *node) {
    return container_of(node, struct ring, link);
}

uint32_t sim_rings_ops(const struct sim *sim) {
    uint32_t count = 0;
    list_each(node, &sim->rings) {
        count += sim_ring_of(node)->core.ops;
    }
    return count;
}

bool sim_rings_want(const struct sim *sim, const struct sim_fd *f) {
    list_each(ring_node, &sim->rings) {
        list_each(node, &sim_ring_of(ring_node)->ops) {
            const struct sim_op *s = container_of(node, struct sim_op, link);
            if (s->file == f && s->op->state == OP_ARMED) {
                return true;
            }
        }
    }
    return false;
}

uint32_t sim_rings_segments(const struct sim *sim) {
    uint32_t count = 0;
    list_each(node, &sim->rings) {
        count += sim_ring_of(node)->core.receive.live;
    }
    return count;
}

/* --- Submission --------------------------------------------------------------------------- */

static struct sim_op *op_submit(struct ring *ring, struct op *op, enum op_kind kind, int fd) {
    struct sim *sim = ring->sim;
    struct sim_fd *f = sim_fd_at(sim, fd);
    ensure(f != NULL && !f->closing && "an op on a descriptor that is not open");
    ensure(kind != OP_RECV || !f->receiving);
    ensure((kind != OP_SEND && kind != OP_SENDV) || !f->sending);
    ensure(!f->nonblock || kind != OP_CLOSE);   /* whoever made it so makes it block again */
    ensure(kind != OP_CLOSE || f->op_count == 0);
    f->receiving = f->receiving || kind == OP_RECV;
    f->sending = f->sending || kind == OP_SEND || kind == OP_SENDV;
    f->closing = kind == OP_CLOSE;
    f->op_count++;
    op_begin(&ring->core, op, kind, fd);
    struct sim_op *s = world_zero(sizeof *s);
    s->op = op;
    s->fd = fd;
    s->file = f;
    list_append(&ring->ops, &s->link);
    sim_note(sim, "arm", ring->index * 16 + (int)kind, fd, 0);
    return s;
}

/* Half of the kernels do not know limits. */
void op_recv(struct ring *ring, struct op *op, int fd, uint32_t limit) {
    op_submit(ring, op, OP_RECV, fd);
    op->left = ring->sim->seed % 2 == 0 ? limit : 0;
}

void op_send(struct ring *ring, struct op *op, int fd, const void *p, uint32_t len, bool more) {
    ensure(len > 0);
    struct sim_op *s = op_submit(ring, op, OP_SEND, fd);
    s->one = (struct iovec){(void *)(uintptr_t)p, len};
    s->more = more;
}

void op_sendv(struct ring *ring, struct op *op, int fd, const struct msghdr *msg, bool more) {
    ensure(msg->msg_iovlen > 0);
    struct sim_op *s = op_submit(ring, op, OP_SENDV, fd);
    s->msg = msg;
    s->more = more;
}

void op_accept(struct ring *ring, struct op *op, int fd, bool many) {
    op_submit(ring, op, many ? OP_ACCEPT : OP_ACCEPT_ONE, fd);
}

void op_connect(struct ring *ring, struct op *op, int fd, const struct addr *to) {
    struct sim *sim = ring->sim;
    struct sim_op *s = op_submit(ring, op, OP_CONNECT, fd);
    s->to = to;
    s->due_us = sim->now_us + sim_draw(sim, 2u * sim->params.latency_us + 1);
    if (sim_fault(sim, SIM_REFUSE)) {
        s->result = -ECONNREFUSED;
    } else if (sim_fault(sim, SIM_SYN_DROP)) {
        s->due_us = sim->now_us + SYN_GIVE_UP_US;
        s->result = -ETIMEDOUT;
    }
}

void op_close(struct ring *ring, struct op *op, int fd) {
    op_submit(ring, op, OP_CLOSE, fd);
}

void op_watch(struct ring *ring, struct op *op, int fd, unsigned events) {
    struct sim_op *s = op_submit(ring, op, OP_WATCH, fd);
    s->events = events;
    s->result = fault_hit(FAULT_WATCH_MEMORY) ? fault_error(FAULT_WATCH_MEMORY) : 0;
}

void op_write(struct ring *ring, struct op *op, int fd, const void *p, uint32_t len) {
    ensure(len > 0);
    op_submit(ring, op, OP_WRITE, fd)->one = (struct iovec){(void *)(uintptr_t)p, len};
}

void op_pread(struct ring *ring, struct op *op, int fd, void *to, uint32_t len, uint64_t at) {
    ensure(len > 0);
    struct sim_op *s = op_submit(ring, op, OP_PREAD, fd);
    s->one = (struct iovec){to, len};
    s->at = at;
}

void op_pwritev(struct ring *ring, struct op *op, int fd, const struct iovec *iov, int count,
                uint64_t at) {
    ensure(count > 0);
    struct sim_op *s = op_submit(ring, op, OP_PWRITEV, fd);
    s->iov = iov;
    s->iov_count = count;
    s->at = at;
}

void op_cancel(struct ring *ring, struct op *op) {
    if (op->state == OP_ARMED) {
        op->state = OP_CANCELLED;
        sim_note(ring->sim, "cancel", ring->index * 16 + op->kind, op->fd, 0);
    }
}

/* --- Completion --------------------------------------------------------------------------- */

static void complete(struct ring *ring, struct sim_op *s, int res, struct seg *seg, bool armed) {
    struct sim_cqe *cqe = world_zero(sizeof *cqe);
    *cqe = (struct sim_cqe){.sim_op = s, .res = res, .seg = seg, .armed = armed};
    list_append(&ring->completions, &cqe->link);
    s->finished = !armed;
    s->late_drawn = false;
    sim_note(ring->sim, "complete", ring->index * 16 + s->op->kind, s->fd, res);
}

static bool has_buffer(const struct ring *ring) {
    const struct segpool *pool = &ring->core.receive;
    return ring->starved_until_us <= ring->sim->now_us && pool->live < pool->live_max;
}

/* Visits these points; the error of the one that shall fail, or 0. */
static int fault_among(enum fault_point first, enum fault_point last) {
    int error = 0;
    for (int point = (int)first; point <= (int)last; point++) {
        error = fault_hit((enum fault_point)point) ? fault_error((enum fault_point)point) : error;
    }
    return error;
}

/* The error has been taken by whom it was for. */
static void end_break_told(struct sim_end *end) {
    sim_end_break(end);
    end->error = 0;
}

/* -ENOBUFS, which the ring keeps to itself: once, until a buffer is there for it. */
static void starve(struct ring *ring, struct sim_op *s) {
    if (s->starved) {
        return;
    }
    s->starved = true;
    stats_add(&ring->core.stats, STAT_NO_BUFFERS, 1);
    if (ring->core.receive.live >= ring->core.receive.live_max) {
        core_no_buffers(&ring->core);
    }
}

static void attempt_recv(struct ring *ring, struct sim_op *s, struct sim_fd *f) {
    struct sim *sim = ring->sim;
    struct sim_end *end = f->end;
    if (sim_fault(sim, SIM_STARVE)) {
        ring->starved_until_us = sim->now_us + 1 + sim_draw(sim, sim->params.late_us);
    }
    if (!has_buffer(ring)) {
        starve(ring, s);
        return;
    }
    s->starved = false;
    struct seg *seg = seg_new(&ring->core.receive);
    if (seg == NULL) {
        stats_add(&ring->core.stats, STAT_NO_BUFFERS, 1);
        ring->starved_until_us = sim->now_us + 20000;
        return;
    }
    int error = fault_among(FAULT_RECV_RESET, FAULT_RECV_MEMORY);
    if (error != 0) {
        seg_unref(seg);
        if (error != -ENOMEM) {
            end_break_told(end);
        }
        complete(ring, s, error, NULL, false);
        return;
    }
    uint32_t want = end->in.ready > seg->size ? seg->size : end->in.ready;
    uint32_t left = s->op->left;
    if (want > 0 && sim_fault(sim, SIM_SHORT_RECV)) {
        want = 1 + (uint32_t)sim_draw(sim, want);
    }
    int n = sim_end_recv(end, seg->data, want > 0 ? want : 1);
    if (n <= 0) {
        seg_unref(seg);
        if (n != -EAGAIN) {
            complete(ring, s, n, NULL, false);
        }
        return;
    }
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) {
        sum = sum * 31 + seg->data[i];
    }
    sim_note(sim, "bytes", s->fd, n, (int64_t)sum);
    bool all = left != 0 && (uint32_t)n >= left;   /* one receive is not cut short */
    s->op->left -= left != 0 && !all ? (uint32_t)n : 0;
    bool armed = !all && !ring->core.params.one_shot && !sim_fault(sim, SIM_DISARM);
    complete(ring, s, n, seg, armed);
}

/* One look, as without MSG_WAITALL: whatever fits, and the op is over. */
static void attempt_send(struct ring *ring, struct sim_op *s, struct sim_fd *f) {
    int error = fault_among(FAULT_SEND_RESET, FAULT_SEND_BUFFERS);
    if (f->end->in.fin_seen && fault_hit(FAULT_SEND_PIPE)) {
        error = fault_error(FAULT_SEND_PIPE);
    }
    if (error != 0) {
        if (error != -ENOMEM && error != -ENOBUFS) {
            end_break_told(f->end);
        }
        complete(ring, s, error, NULL, false);
        return;
    }
    int n = s->msg != NULL
                ? sim_end_send(f->end, s->msg->msg_iov, (int)s->msg->msg_iovlen, s->more)
                : sim_end_send(f->end, &s->one, 1, s->more);
    if (n != -EAGAIN) {
        complete(ring, s, n, NULL, false);
    }
}

static void attempt_accept(struct ring *ring, struct sim_op *s, struct sim_fd *f) {
    struct sim *sim = ring->sim;
    struct sim_fd *opened;
    int error = fault_among(FAULT_ACCEPT_PROCESS, FAULT_ACCEPT_PROTOCOL);
    if (error == -ECONNABORTED || error == -EPROTO) {
        struct sim_end *end = sim_listener_take(f->listener);
        end->hard_close = true;
        sim_end_close(end);
    }
    if (error != 0) {
        complete(ring, s, error, NULL, false);
        return;
    }
    /* The descriptor is found before the connection: on EMFILE it stays in the backlog. */
    int fd = sim_fault(sim, SIM_EMFILE) ? -EMFILE : sim_fd_open(sim, SIM_FD_SOCKET, &opened);
    if (fd < 0) {
        complete(ring, s, fd, NULL, false);
        return;
    }
    opened->end = sim_listener_take(f->listener);
    complete(ring, s, fd, NULL, s->op->kind == OP_ACCEPT && !sim_fault(sim, SIM_DISARM));
}

static void attempt_connect(struct ring *ring, struct sim_op *s, struct sim_fd *f) {
    int error = fault_among(FAULT_CONNECT_REFUSED, FAULT_CONNECT_MEMORY);
    int res = error != 0 ? error : s->result;
    if (res == 0) {
        res = sim_end_connect(f->end, s->to);
    }
    if (res == -EAGAIN) {
        s->due_us = ring->sim->now_us + SYN_AGAIN_US;
    } else {
        complete(ring, s, res, NULL, false);
    }
}

static void attempt_write(struct ring *ring, struct sim_op *s, struct sim_fd *f) {
    struct sim *sim = ring->sim;
    ensure(f->kind == SIM_FD_FILE);
    int error = fault_among(FAULT_WRITE_SPACE, FAULT_WRITE_IO);
    if (error != 0) {
        complete(ring, s, error, NULL, false);
        return;
    }
    if (sim_fault(sim, SIM_WRITE_FULL)) {
        complete(ring, s, -ENOSPC, NULL, false);
        return;
    }
    uint32_t len = (uint32_t)s->one.iov_len;
    if (sim_fault(sim, SIM_WRITE_SHORT)) {
        len = 1 + (uint32_t)sim_draw(sim, len);
    } else if (fault_hit(FAULT_WRITE_SHORT)) {
        len = (len + 1) / 2;
    }
    sim_text_file_append(f->file, s->one.iov_base, len);
    complete(ring, s, (int)len, NULL, false);
}

static void attempt_pread(struct ring *ring, struct sim_op *s, struct sim_fd *f) {
    if (fault_hit(FAULT_SPOOL_IO)) {
        complete(ring, s, fault_error(FAULT_SPOOL_IO), NULL, false);
        return;
    }
    uint32_t there = s->at < f->file->len ? f->file->len - (uint32_t)s->at : 0;
    uint32_t len = there < s->one.iov_len ? there : (uint32_t)s->one.iov_len;
    if (len > 0 && sim_fault(ring->sim, SIM_READ_SHORT)) {
        len = 1 + (uint32_t)sim_draw(ring->sim, len);
    }
    memcpy(s->one.iov_base, f->file->bytes + s->at, len);
    complete(ring, s, (int)len, NULL, false);
}

static void attempt_pwritev(struct ring *ring, struct sim_op *s, struct sim_fd *f) {
    struct sim *sim = ring->sim;
    if (sim_fault(sim, SIM_WRITE_FULL) || fault_hit(FAULT_SPOOL_SPACE)) {
        complete(ring, s, -ENOSPC, NULL, false);
        return;
    }
    uint32_t done = 0;
    for (int i = 0; i < s->iov_count; i++) {
        sim_text_file_write(f->file, s->at + done, s->iov[i].iov_base, (uint32_t)s->iov[i].iov_len);
        done += (uint32_t)s->iov[i].iov_len;
    }
    if (sim_fault(sim, SIM_WRITE_SHORT)) {
        done = 1 + (uint32_t)sim_draw(sim, done);
    } else if (fault_hit(FAULT_SPOOL_PART)) {
        done = (done + 1) / 2;
    }
    complete(ring, s, (int)done, NULL, false);
}

static unsigned watch_events(const struct sim_op *s) {
    return sim_end_poll(s->file->end) & (s->events | POLLERR | POLLHUP);
}

/* When the kernel could complete something of this op; SIM_NEVER: it waits for others. */
static uint64_t op_ready_us(const struct ring *ring, const struct sim_op *s) {
    struct sim *sim = ring->sim;
    const struct sim_fd *f = s->file;
    bool now = true;
    switch (s->op->kind) {
    case OP_RECV:
        now = sim_end_readable(f->end);
        if (now && ring->starved_until_us > sim->now_us) {
            return ring->starved_until_us;
        }
        now = now && has_buffer(ring);
        break;
    case OP_SEND:
    case OP_SENDV:
        now = sim_end_writable(f->end);
        break;
    case OP_ACCEPT:
    case OP_ACCEPT_ONE:
        now = f->listener->queued > 0;
        break;
    case OP_WRITE:
        now = !sim->params.writes_wait;
        break;
    case OP_CONNECT:
        return s->due_us > sim->now_us ? s->due_us : sim->now_us;
    case OP_WATCH:
        now = s->result != 0 || watch_events(s) != 0;
        break;
    default:
        break;
    }
    return now ? sim->now_us : SIM_NEVER;
}

static void attempt(struct ring *ring, struct sim_op *s) {
    struct sim_fd *f = s->file;
    switch (s->op->kind) {
    case OP_RECV:
        attempt_recv(ring, s, f);
        break;
    case OP_SEND:
    case OP_SENDV:
        attempt_send(ring, s, f);
        break;
    case OP_ACCEPT:
    case OP_ACCEPT_ONE:
        attempt_accept(ring, s, f);
        break;
    case OP_CONNECT:
        attempt_connect(ring, s, f);
        break;
    case OP_CLOSE:
        sim_fd_put(f);
        sim_fd_close(ring->sim, s->fd);
        complete(ring, s, fault_among(FAULT_CLOSE_IO, FAULT_CLOSE_IO), NULL, false);
        break;
    case OP_WATCH:
        complete(ring, s, s->result != 0 ? s->result : (int)watch_events(s), NULL, false);
        break;
    case OP_PREAD:
        attempt_pread(ring, s, f);
        break;
    case OP_PWRITEV:
        attempt_pwritev(ring, s, f);
        break;
    default:
        attempt_write(ring, s, f);
        break;
    }
}

static bool op_is_cancelled(const struct sim_op *s) {
    return s->op->state == OP_CANCELLED && s->op->kind != OP_CLOSE;
}

/* A late op is one that was ready and is passed over for a while, its cancellation too. */
static bool op_is_held(struct ring *ring, struct sim_op *s) {
    struct sim *sim = ring->sim;
    if (!s->late_drawn) {
        s->late_drawn = true;
        s->hold_us = sim->now_us;
        if (sim_fault(sim, SIM_LATE)) {
            s->hold_us += 1 + sim_draw(sim, sim->params.late_us);
        }
    }
    return s->hold_us > sim->now_us;
}

/* The kernel's look at one op. */
static void op_look(struct ring *ring, struct sim_op *s) {
    struct sim *sim = ring->sim;
    bool ready = op_ready_us(ring, s) <= sim->now_us;
    if (s->op->kind == OP_RECV && !ready && sim_end_readable(s->file->end)) {
        starve(ring, s);
    }
    if (s->finished || (!ready && !op_is_cancelled(s)) || op_is_held(ring, s)) {
        return;
    }
    if (op_is_cancelled(s)) {
        /* What happened first: the kernel may have been at it when the request came. */
        if (ready && sim_draw(sim, 2) == 0) {
            attempt(ring, s);
        }
        if (!s->finished) {
            complete(ring, s, -ECANCELED, NULL, false);
        }
        return;
    }
    attempt(ring, s);
}

/* --- A turn ------------------------------------------------------------------------------- */

static void kernel_run(struct ring *ring) {
    enum { LOOKS_MAX = 16384 };
    static struct sim_op *looks[LOOKS_MAX];
    uint32_t count = 0;
    list_each(node, &ring->ops) {
        ensure(count < LOOKS_MAX);   /* one that is not looked at waits for ever */
        looks[count++] = container_of(node, struct sim_op, link);
    }
    while (count > 0) {
        uint32_t i = (uint32_t)sim_draw(ring->sim, count);
        struct sim_op *s = looks[i];
        op_look(ring, s);
        /* A multishot may go on at once. */
        bool more = s->op->kind == OP_RECV || s->op->kind == OP_ACCEPT;
        if (!more || sim_draw(ring->sim, 2) == 0) {
            looks[i] = looks[--count];
        }
    }
}

static void reap(struct ring *ring, struct sim_cqe *cqe) {
    struct sim_op *s = cqe->sim_op;
    struct op *op = s->op;
    if (!cqe->armed) {
        struct sim_fd *f = s->file;
        if (op->kind != OP_CLOSE) {
            f->receiving = f->receiving && op->kind != OP_RECV;
            f->sending = f->sending && op->kind != OP_SEND && op->kind != OP_SENDV;
            sim_fd_put(f);
        }
        list_remove(&s->link);
        world_free(s);
    }
    op_deliver(&ring->core, op, cqe->res, cqe->seg, cqe->armed);
    world_free(cqe);
}

uint64_t sim_ring_next_us(struct ring *ring) {
    uint64_t now_us = ring->sim->now_us;
    if (!list_empty(&ring->completions) || !post_queue_empty(&ring->core.posts)) {
        return now_us;
    }
    uint64_t wait_us = core_turn_wait_us(&ring->core);
    uint64_t next_us = wait_us == TIMER_NEVER ? SIM_NEVER : ring->core.now_us + wait_us;
    list_each(node, &ring->ops) {
        struct sim_op *s = container_of(node, struct sim_op, link);
        uint64_t us = op_is_cancelled(s) ? now_us : op_ready_us(ring, s);
        if (us != SIM_NEVER && s->late_drawn && s->hold_us > us) {
            us = s->hold_us;
        }
        next_us = us < next_us ? us : next_us;
    }
    return next_us;
}

void sim_ring_turn(struct ring *ring) {
    struct sim *sim = ring->sim;
    sim_note(sim, "turn", ring->index, 0, 0);
    kernel_run(ring);
    core_turn_begin(&ring->core, sim->now_us, sim_wall_us(sim));
    uint32_t count = 0;
    list_each(node, &ring->completions) {
        (void)node;
        count++;
    }
    if (count > 0 && sim_fault(sim, SIM_LATE)) {
        count = (uint32_t)sim_draw(sim, count + 1);
    }
    while (count-- > 0) {
        reap(ring, container_of(list_pop(&ring->completions), struct sim_cqe, link));
    }
    op_ended_run(&ring->core);
    core_turn_run(&ring->core);
}
