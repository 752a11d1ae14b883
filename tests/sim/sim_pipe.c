/* Pipes of gyre's side, and what goes through them from socket to socket. */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "sim/sim_priv.h"

/* Both descriptors stand for it; it ends with the second one. */
struct sim_tube {
    uint8_t *bytes;
    uint32_t limit, held;
    uint32_t fds;
};

void sim_tube_put(struct sim_tube *tube) {
    if (--tube->fds == 0) {
        world_free(tube->bytes);
        world_free(tube);
    }
}

/* What a pipe holds of small packets is less than its size: any number of bytes. */
int sys_pipe(int fds[2], uint32_t bytes) {
    struct sim *sim = sim_current();
    struct sim_fd *ends[2];
    if (fault_hit(FAULT_PIPE)) {
        return fault_error(FAULT_PIPE);
    }
    if (sim_fault(sim, SIM_EMFILE) || sim->params.fd_max - sim->fd_open < 2) {
        return -EMFILE;
    }
    struct sim_tube *tube = world_zero(sizeof *tube);
    uint32_t most = sim->params.pipe_max < bytes ? sim->params.pipe_max : bytes;
    tube->limit = 1 + (uint32_t)sim_draw(sim, most);
    tube->bytes = world_alloc(tube->limit);
    tube->fds = 2;
    for (unsigned i = 0; i < 2; i++) {
        fds[i] = sim_fd_open(sim, SIM_FD_PIPE, &ends[i]);
        ensure(fds[i] >= 0);
        ends[i]->tube = tube;
    }
    sim_note(sim, "pipe", fds[0], fds[1], tube->limit);
    return 0;
}

int sys_nonblock(int fd, bool on) {
    struct sim_fd *f = sim_fd_at(sim_current(), fd);
    ensure(f != NULL && f->kind == SIM_FD_SOCKET && f->nonblock != on);
    f->nonblock = on;
    return 0;
}

static int tube_fill(struct sim *sim, struct sim_fd *from, struct sim_tube *tube, uint32_t len) {
    uint32_t room = tube->limit - tube->held;
    len = len < room ? len : room;
    if (len == 0) {
        return -EAGAIN;
    }
    if (fault_hit(FAULT_SPLICE_MEMORY)) {
        return fault_error(FAULT_SPLICE_MEMORY);
    }
    if (fault_hit(FAULT_SPLICE_RESET)) {
        sim_end_break(from->end);
        from->end->error = 0;
        return fault_error(FAULT_SPLICE_RESET);
    }
    if (sim_fault(sim, SIM_SHORT_RECV)) {
        len = 1 + (uint32_t)sim_draw(sim, len);
    }
    int n = sim_end_recv(from->end, tube->bytes + tube->held, len);
    tube->held += n > 0 ? (uint32_t)n : 0;
    return n;
}

static int tube_drain(struct sim_tube *tube, struct sim_fd *to, uint32_t len) {
    struct iovec iov = {tube->bytes, len < tube->held ? len : tube->held};
    if (iov.iov_len == 0) {
        return -EAGAIN;
    }
    if (fault_hit(FAULT_SPLICE_MEMORY)) {
        return fault_error(FAULT_SPLICE_MEMORY);
    }
    if (fault_hit(FAULT_SPLICE_PIPE)) {
        sim_end_break(to->end);
        to->end->error = 0;
        return fault_error(FAULT_SPLICE_PIPE);
    }
    int n = sim_end_send(to->end, &iov, 1, false);
    if (n > 0) {
        tube->held -= (uint32_t)n;
        memmove(tube->bytes, tube->bytes + n, tube->held);
    }
    return n;
}

/* The kernel would wait where a socket blocks, and a pipe of which somebody else reads or sends
 * would have its bytes in any order. */
int sys_splice(int from, int to, uint32_t len) {
    struct sim *sim = sim_current();
    struct sim_fd *source = sim_fd_at(sim, from), *sink = sim_fd_at(sim, to);
    ensure(source != NULL && sink != NULL && len > 0);
    bool fills = source->kind == SIM_FD_SOCKET;
    struct sim_fd *socket = fills ? source : sink, *pipe = fills ? sink : source;
    ensure(pipe->kind == SIM_FD_PIPE && socket->kind == SIM_FD_SOCKET && socket->nonblock);
    ensure(!socket->closing && !(fills ? socket->receiving : socket->sending));
    int n = fills ? tube_fill(sim, socket, pipe->tube, len) : tube_drain(pipe->tube, socket, len);
    sim_note(sim, "splice", from, to, n);
    return n;
}
