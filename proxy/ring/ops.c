/* Operations: how each is asked of io_uring, cancelled, and what its completions mean. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/ensure.h"
#include "ring/uring_priv.h"

/* The token of a request to cancel an op: the op's own with this bit, which is 0 in an address.
 * Alone it is the token of the request to cancel everything. */
#define TOKEN_CANCEL 1ull

static struct io_uring_sqe *begin(struct ring *ring, struct op *op, enum op_kind kind, int fd) {
    op_begin(&ring->core, op, kind, fd);
    return uring_sqe(ring);
}

void op_recv(struct ring *ring, struct op *op, int fd, uint32_t limit) {
    op_begin(&ring->core, op, OP_RECV, fd);
    op->left = limit;
    receive_arm(ring, op);
}

/* MSG_WAITALL is not asked for: what a short send left is gathered with what has come since. */
static int send_flags(bool more) {
    return more ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
}

void op_send(struct ring *ring, struct op *op, int fd, const void *bytes, uint32_t len, bool more) {
    struct io_uring_sqe *sqe = begin(ring, op, OP_SEND, fd);
    io_uring_prep_send(sqe, fd, bytes, len, send_flags(more));
    sqe->user_data = op_token(op);
}

void op_sendv(struct ring *ring, struct op *op, int fd, const struct msghdr *message, bool more) {
    struct io_uring_sqe *sqe = begin(ring, op, OP_SENDV, fd);
    io_uring_prep_sendmsg(sqe, fd, message, (unsigned)send_flags(more));
    sqe->user_data = op_token(op);
}

static void accept_arm(struct ring *ring, struct op *op) {
    struct io_uring_sqe *sqe = uring_sqe(ring);
    io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = op_token(op);
}

void op_accept(struct ring *ring, struct op *op, int fd, bool many) {
    if (many) {
        op_begin(&ring->core, op, OP_ACCEPT, fd);
        accept_arm(ring, op);
        return;
    }
    struct io_uring_sqe *sqe = begin(ring, op, OP_ACCEPT_ONE, fd);
    io_uring_prep_accept(sqe, fd, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = op_token(op);
}

void op_connect(struct ring *ring, struct op *op, int fd, const struct addr *to) {
    struct io_uring_sqe *sqe = begin(ring, op, OP_CONNECT, fd);
    io_uring_prep_connect(sqe, fd, &to->sa.any, to->len);
    sqe->user_data = op_token(op);
}

void op_close(struct ring *ring, struct op *op, int fd) {
    struct io_uring_sqe *sqe = begin(ring, op, OP_CLOSE, fd);
    io_uring_prep_close(sqe, fd);
    sqe->user_data = op_token(op);
}

void op_watch(struct ring *ring, struct op *op, int fd, unsigned events) {
    struct io_uring_sqe *sqe = begin(ring, op, OP_WATCH, fd);
    io_uring_prep_poll_add(sqe, fd, events);
    sqe->user_data = op_token(op);
}

void op_write(struct ring *ring, struct op *op, int fd, const void *bytes, uint32_t len) {
    struct io_uring_sqe *sqe = begin(ring, op, OP_WRITE, fd);
    io_uring_prep_write(sqe, fd, bytes, len, (uint64_t)-1);   /* -1: where the file stands */
    sqe->user_data = op_token(op);
}

void op_pread(struct ring *ring, struct op *op, int fd, void *to, uint32_t len, uint64_t at) {
    struct io_uring_sqe *sqe = begin(ring, op, OP_PREAD, fd);
    io_uring_prep_read(sqe, fd, to, len, at);
    sqe->user_data = op_token(op);
}

void op_pwritev(struct ring *ring, struct op *op, int fd, const struct iovec *iov, int count,
                uint64_t at) {
    struct io_uring_sqe *sqe = begin(ring, op, OP_PWRITEV, fd);
    io_uring_prep_writev(sqe, fd, iov, (unsigned)count, at);
    sqe->user_data = op_token(op);
}

/* A multishot poll is edge-triggered: every write to the eventfd completes it once more, and its
 * counter need not be read (it would take 500 years to be full). */
static void wake_arm(struct ring *ring) {
    struct io_uring_sqe *sqe = uring_sqe(ring);
    io_uring_prep_poll_multishot(sqe, ring->wake_fd, POLLIN);
    sqe->user_data = op_token(&ring->wake);
}

/* No done: the posts themselves are run in every turn. */
void ops_arm_wake(struct ring *ring) {
    op_init(&ring->wake, NULL);
    op_begin(&ring->core, &ring->wake, OP_WAKE, ring->wake_fd);
    wake_arm(ring);
}

static void cancel_ask(struct ring *ring, struct op *op) {
    struct io_uring_sqe *sqe = uring_sqe(ring);
    io_uring_prep_cancel64(sqe, op_token(op), 0);
    sqe->user_data = op_token(op) | TOKEN_CANCEL;
}

void op_cancel(struct ring *ring, struct op *op) {
    if (op->state != OP_ARMED) {
        return;
    }
    if (list_linked(&op->wait)) {   /* starved: the kernel does not hold it */
        op_end_later(&ring->core, op);
        return;
    }
    op->state = OP_CANCELLED;
    cancel_ask(ring, op);
}

void ops_cancel_all(struct ring *ring) {
    struct io_uring_sqe *sqe = uring_sqe(ring);
    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    sqe->user_data = TOKEN_CANCEL;
}

/* The kernel tells whether it found the op; it may be found between two places where it is looked
 * for (taken off a poll list, not yet run again). Then neither a completion comes nor the cancel
 * has worked, so it is asked for again, once a turn at most. */
static void cancel_complete(struct ring *ring, uint64_t token, int res) {
    if (token == TOKEN_CANCEL || res != -ENOENT) {
        return;
    }
    struct op *op = op_of(token & ~TOKEN_CANCEL);
    if (op != NULL && op->state == OP_CANCELLED) {
        cancel_ask(ring, op);
    }
}

/* A completion that carries a descriptor may also be the last one: with a full completion queue
 * the kernel disarms a multishot, and it says so on a good result. */
static void accept_complete(struct ring *ring, struct op *op, int res, bool armed) {
    if (res >= 0 && !armed && op->state == OP_ARMED) {
        op_renew(&ring->core, op);
        accept_arm(ring, op);
        armed = true;
    }
    op_deliver(&ring->core, op, res, NULL, armed);
}

static void wake_complete(struct ring *ring, struct op *op, bool armed) {
    if (!armed) {
        op_renew(&ring->core, op);
        wake_arm(ring);
    }
}

/* In ring_free: an op that has ended is idle, nobody is told, nothing is leaked. */
static void ending_complete(struct ring *ring, struct op *op, int res, unsigned cqe_flags) {
    receive_drop(ring, cqe_flags);
    if ((op->kind == OP_ACCEPT || op->kind == OP_ACCEPT_ONE) && res >= 0) {
        close(res);
    }
    if (!(cqe_flags & IORING_CQE_F_MORE)) {
        op_abandon(&ring->core, op);
    }
}

void ops_complete(struct ring *ring, uint64_t token, int res, unsigned cqe_flags) {
    if (token & TOKEN_CANCEL) {
        cancel_complete(ring, token, res);
        return;
    }
    struct op *op = op_of(token);
    bool armed = cqe_flags & IORING_CQE_F_MORE;
    if (op == NULL) {   /* of an earlier life: 6.1 to 6.10 send some after -ECONNRESET */
        receive_drop(ring, cqe_flags);
    } else if (ring->ending) {
        ending_complete(ring, op, res, cqe_flags);
    } else if (op->kind == OP_RECV) {
        receive_complete(ring, op, res, cqe_flags);
    } else if (op->kind == OP_ACCEPT) {
        accept_complete(ring, op, res, armed);
    } else if (op->kind == OP_WAKE) {
        wake_complete(ring, op, armed);
    } else {
        op_deliver(&ring->core, op, res, NULL, armed);
    }
}
