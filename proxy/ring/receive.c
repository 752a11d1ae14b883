/* Receiving: a window of provided buffers on the pool, and who waits for one. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "ring/uring_priv.h"

#define WINDOW_MAX 32768u   /* the kernel's own bound on a buffer ring */
#define WINDOW_GROUP 0

static uint32_t power_of_two(uint32_t at_least) {
    uint32_t n = 1;
    while (n < at_least && n < WINDOW_MAX) {
        n *= 2;
    }
    return n;
}

int window_init(struct ring *ring) {
    struct window *window = &ring->window;
    int err = 0;
    window->size = power_of_two(ring->core.params.buf_window);
    window->ring = io_uring_setup_buf_ring(&ring->uring, window->size, WINDOW_GROUP, 0, &err);
    if (window->ring == NULL) {
        return err;
    }
    window->slot = mem_zero(window->size * sizeof *window->slot);
    window->empty = mem_alloc(window->size * sizeof *window->empty);
    for (uint32_t id = window->size; id > 0; id--) {
        window->empty[window->empty_count++] = (uint16_t)(id - 1);
    }
    list_init(&window->starved);
    receive_settle(ring);
    /* Later on a buffer that is missing comes home; the first ones are asked for only here. */
    return window->empty_count < window->size ? 0 : -ENOMEM;
}

void window_fini(struct ring *ring) {
    struct window *window = &ring->window;
    if (window->ring == NULL) {
        return;
    }
    io_uring_free_buf_ring(&ring->uring, window->ring, window->size, WINDOW_GROUP);
    for (uint32_t id = 0; id < window->size; id++) {
        if (window->slot[id] != NULL) {
            seg_unref(window->slot[id]);
        }
    }
    mem_free(window->slot);
    mem_free(window->empty);
}

static struct seg *window_take(struct window *window, uint32_t id) {
    ensure(id < window->size && window->slot[id] != NULL);
    struct seg *seg = window->slot[id];
    window->slot[id] = NULL;
    window->empty[window->empty_count++] = (uint16_t)id;
    return seg;
}

/* At the end of the turn, not at each completion: the kernel looks at the ring again only when it
 * is entered, and by then the segments that this turn has emptied are home, still warm. */
static void window_fill(struct ring *ring) {
    struct window *window = &ring->window;
    int added = 0;
    while (window->empty_count > 0) {
        struct seg *seg = seg_new(&ring->core.receive);
        if (seg == NULL) {
            break;
        }
        uint16_t id = window->empty[--window->empty_count];
        window->slot[id] = seg;
        io_uring_buf_ring_add(window->ring, seg->data, seg->size, id,
                              io_uring_buf_ring_mask(window->size), added++);
    }
    if (added > 0) {
        io_uring_buf_ring_advance(window->ring, added);
    }
}

static struct io_uring_sqe *receive_sqe(struct ring *ring, int fd, uint32_t limit) {
    struct io_uring_sqe *sqe = uring_sqe(ring);
    if (ring->one_shot) {
        io_uring_prep_recv(sqe, fd, NULL, 0, 0);
    } else {
        io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
        sqe->optlen = limit;
    }
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = WINDOW_GROUP;
    return sqe;
}

/* No feature bit tells, so it is tried: one byte is the limit, two are there, and the receive must
 * end with them (the limit is looked at between receives, it does not cut one short). A kernel
 * that does not know the field says -EINVAL. */
bool receive_knows_limits(struct ring *ring) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return false;
    }
    bool known = write(pair[1], "12", 2) == 2;
    close(pair[1]);
    receive_sqe(ring, pair[0], 1)->user_data = 0;
    for (bool more = known; more;) {
        struct io_uring_cqe *cqe;
        if (io_uring_submit_and_wait(&ring->uring, 1) < 0 ||
            io_uring_peek_cqe(&ring->uring, &cqe) != 0) {
            known = false;
            break;
        }
        more = cqe->flags & IORING_CQE_F_MORE;
        known = known && !more && cqe->res > 0;
        receive_drop(ring, cqe->flags);
        io_uring_cqe_seen(&ring->uring, cqe);
    }
    close(pair[0]);
    receive_settle(ring);
    return known;
}

void receive_arm(struct ring *ring, struct op *op) {
    receive_sqe(ring, op->fd, ring->limits ? op->left : 0)->user_data = op_token(op);
}

void receive_settle(struct ring *ring) {
    struct window *window = &ring->window;
    if (window->empty_count == 0 && list_empty(&window->starved)) {
        return;
    }
    window_fill(ring);
    /* Not where the window alone was empty for a moment: the pool has filled it again. */
    if (window->empty_count > 0 && !list_empty(&window->starved)) {
        core_no_buffers(&ring->core);
    }
    /* Each may take a buffer at once; one more than there are would only come back. */
    uint32_t buffers = window->size - window->empty_count;
    for (; buffers > 0; buffers--) {
        struct list_node *node = list_pop(&window->starved);
        if (node == NULL) {
            break;
        }
        struct op *op = container_of(node, struct op, wait);
        op_renew(&ring->core, op);
        receive_arm(ring, op);
    }
}

bool receive_hungry(const struct ring *ring) {
    const struct window *window = &ring->window;
    return !list_empty(&window->starved) && window->empty_count < window->size;
}

void receive_drop(struct ring *ring, unsigned cqe_flags) {
    if (cqe_flags & IORING_CQE_F_BUFFER) {
        seg_unref(window_take(&ring->window, cqe_flags >> IORING_CQE_BUFFER_SHIFT));
    }
}

void receive_complete(struct ring *ring, struct op *op, int res, unsigned cqe_flags) {
    bool armed = cqe_flags & IORING_CQE_F_MORE;
    if (res > 0) {
        ensure(cqe_flags & IORING_CQE_F_BUFFER);
        struct seg *seg = window_take(&ring->window, cqe_flags >> IORING_CQE_BUFFER_SHIFT);
        bool all = ring->limits && op->left != 0 && (uint32_t)res >= op->left;
        op->left -= ring->limits && op->left != 0 && !all ? (uint32_t)res : 0;
        /* A multishot that delivers and says that it was the last time, within its limit, has met
         * a full completion queue: nothing is wrong with the socket. */
        if (!armed && !all && !ring->one_shot && op->state == OP_ARMED) {
            op_renew(&ring->core, op);
            receive_arm(ring, op);
            armed = true;
        }
        op_deliver(&ring->core, op, res, seg, armed);
        return;
    }
    receive_drop(ring, cqe_flags);
    if (res == -ENOBUFS && !armed) {
        stats_add(&ring->core.stats, STAT_NO_BUFFERS, 1);
        if (op->state == OP_ARMED) {
            /* Armed again now it would fail again at once, data or not. */
            list_append(&ring->window.starved, &op->wait);
            return;
        }
        res = -ECANCELED;
    }
    op_deliver(&ring->core, op, res, NULL, armed);
}
