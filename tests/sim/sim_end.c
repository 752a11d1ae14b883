/* Connections: what two ends and the network between them do, as Linux does it. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "sim/sim_priv.h"

/* --- Pipes -------------------------------------------------------------------------------- */

static void pipe_init(struct sim *sim, struct sim_pipe *pipe) {
    uint32_t span = sim->params.pipe_max - sim->params.pipe_min + 1;
    *pipe = (struct sim_pipe){.limit = sim->params.pipe_min + (uint32_t)sim_draw(sim, span)};
    pipe->bytes = world_alloc(pipe->limit);
}

static void pipe_fini(struct sim_pipe *pipe) {
    world_free(pipe->bytes);
    world_free(pipe->flights);
    pipe->bytes = NULL;
    pipe->flights = NULL;
}

static uint32_t pipe_held(const struct sim_pipe *pipe) {
    return pipe->ready + pipe->flying;
}

static struct sim_flight *pipe_first(const struct sim_pipe *pipe) {
    return pipe->flight_count == 0 ? NULL : &pipe->flights[pipe->flight_head];
}

/* What waited for more leaves with it. */
static void pipe_uncork(struct sim_pipe *pipe) {
    for (uint32_t i = pipe->flight_count; i > 0; i--) {
        struct sim_flight *flight = &pipe->flights[pipe->flight_head + i - 1];
        if (!flight->corked) {
            return;
        }
        flight->corked = false;
        flight->due_us = flight->due_us < pipe->last_due_us ? flight->due_us : pipe->last_due_us;
    }
}

static struct sim_flight *pipe_flight(struct sim_pipe *pipe) {
    if (pipe->flight_head + pipe->flight_count == pipe->flight_cap) {
        if (pipe->flight_head > 0) {
            memmove(pipe->flights, pipe->flights + pipe->flight_head,
                    pipe->flight_count * sizeof *pipe->flights);
            pipe->flight_head = 0;
        } else {
            pipe->flight_cap = pipe->flight_cap == 0 ? 8 : pipe->flight_cap * 2;
            pipe->flights = world_grow(pipe->flights, pipe->flight_cap * sizeof *pipe->flights);
        }
    }
    return &pipe->flights[pipe->flight_head + pipe->flight_count++];
}

static void pipe_fly(struct sim_pipe *pipe, uint64_t due_us, uint32_t len, bool fin) {
    pipe->last_due_us = due_us > pipe->last_due_us ? due_us : pipe->last_due_us;
    pipe_uncork(pipe);
    *pipe_flight(pipe) = (struct sim_flight){.due_us = pipe->last_due_us, .len = len, .fin = fin};
}

/* tcp(7): 200 ms are the most that output is corked. */
#define CORKED_US (200u * 1000u)

static void pipe_cork(struct sim_pipe *pipe, uint64_t now_us, uint32_t len) {
    *pipe_flight(pipe) =
        (struct sim_flight){.due_us = now_us + CORKED_US, .len = len, .corked = true};
}

/* What has not arrived never will. */
static void pipe_lose(struct sim_pipe *pipe) {
    pipe->flying = 0;
    pipe->flight_count = 0;
}

/* --- Ends --------------------------------------------------------------------------------- */

static uint64_t latency_us(struct sim_end *end) {
    struct sim *sim = end->sim;
    if (end->family == AF_UNIX || sim->params.latency_us == 0) {
        return sim->now_us;
    }
    return sim->now_us + sim_draw(sim, sim->params.latency_us + 1u);
}

struct sim_end *sim_end_new(struct sim *sim, int family) {
    struct sim_end *end = world_zero(sizeof *end);
    end->sim = sim;
    end->family = family;
    end->index = sim->end_count++;
    end->reset_due_us = SIM_NEVER;
    pipe_init(sim, &end->in);
    list_append(&sim->ends, &end->link);
    return end;
}

/* RFC 9293 3.10.7.4, and tcp_reset() of Linux: what was received stays readable; the next call
 * takes the error, once; a side that has seen FIN gets EPIPE where it sends. */
static void end_die(struct sim_end *end) {
    if (end->dead) {
        return;
    }
    end->dead = true;
    end->reset_due_us = SIM_NEVER;
    end->error = end->in.fin_seen ? EPIPE : ECONNRESET;
    pipe_lose(&end->in);
    sim_note(end->sim, "reset", end->index, end->in.ready, end->error);
}

/* Sends a reset to the far end; what is in flight may still come before it. */
static void end_send_reset(struct sim_end *end) {
    struct sim_end *far = end->far;
    if (far != NULL && !far->dead && far->reset_due_us == SIM_NEVER) {
        far->reset_due_us = latency_us(end);
    }
    end->dead = true;
    pipe_lose(&end->in);
}

void sim_end_break(struct sim_end *end) {
    if (end->far != NULL) {
        end_die(end->far);
    }
    end_die(end);
}

void sim_end_settle(struct sim_end *end) {
    struct sim_pipe *in = &end->in;
    struct sim_flight *first;
    while ((first = pipe_first(in)) != NULL && first->due_us <= end->sim->now_us) {
        struct sim_flight flight = *first;
        ensure(!flight.corked);     /* gyre said that more follows at once */
        in->flight_head++;
        in->flight_count--;
        in->flying -= flight.len;
        if (flight.fin) {
            in->fin_seen = true;
        } else if (end->closed) {
            /* Bytes for a descriptor that is gone are answered with a reset (RFC 1122 4.2.2.13):
             * the reason why a server lingers. */
            end_send_reset(end);
            return;
        } else {
            in->ready += flight.len;
        }
    }
    if (end->reset_due_us <= end->sim->now_us) {
        end_die(end);
    }
}

uint64_t sim_end_next_us(const struct sim_end *end) {
    const struct sim_flight *first = pipe_first(&end->in);
    uint64_t us = first != NULL ? first->due_us : SIM_NEVER;
    us = end->reset_due_us < us ? end->reset_due_us : us;
    /* The far end may send again then. */
    uint64_t stalled = end->in.stalled_until_us;
    return stalled > end->sim->now_us && stalled < us ? stalled : us;
}

bool sim_end_readable(const struct sim_end *end) {
    return end->in.ready > 0 || end->in.fin_seen || end->dead || end->shut_read;
}

uint32_t sim_end_room(const struct sim_end *end) {
    const struct sim_end *far = end->far;
    if (far == NULL || far->in.stalled_until_us > end->sim->now_us) {
        return 0;
    }
    return far->in.limit - pipe_held(&far->in);
}

/* A unix socket whose far end is closed takes nothing more. */
static bool end_cannot_send(const struct sim_end *end) {
    return end->error != 0 || end->dead || end->far->in.fin_sent ||
           (end->family == AF_UNIX && end->far->closed);
}

bool sim_end_writable(const struct sim_end *end) {
    return end->far != NULL && (end_cannot_send(end) || sim_end_room(end) > 0);
}

unsigned sim_end_poll(const struct sim_end *end) {
    unsigned events = 0;
    if (end->far == NULL) {
        return POLLHUP;
    }
    events |= sim_end_readable(end) ? POLLIN : 0u;
    events |= sim_end_writable(end) ? POLLOUT : 0u;
    events |= end->in.fin_seen || end->dead || end->shut_read ? (unsigned)POLLRDHUP : 0u;
    events |= end->dead || (end->in.fin_seen && end->far->in.fin_sent) ? POLLHUP : 0u;
    events |= end->error != 0 ? POLLERR : 0u;
    return events;
}

int sim_end_recv(struct sim_end *end, void *to, uint32_t len) {
    struct sim_pipe *in = &end->in;
    ensure(len > 0);
    if (end->far == NULL) {
        return -ENOTCONN;
    }
    if (in->ready > 0) {
        uint32_t n = in->ready < len ? in->ready : len;
        uint32_t straight = in->limit - in->head;
        straight = straight < n ? straight : n;
        memcpy(to, in->bytes + in->head, straight);
        memcpy((uint8_t *)to + straight, in->bytes, n - straight);
        in->head = (in->head + n) % in->limit;
        in->ready -= n;
        return (int)n;
    }
    /* TCP looks at SOCK_DONE before the error, af_unix at the error before the end. */
    if (end->error != 0 && (!in->fin_seen || end->family == AF_UNIX)) {
        int error = end->error;
        end->error = 0;
        return -error;
    }
    if (in->fin_seen) {
        return 0;
    }
    return end->dead || end->shut_read ? 0 : -EAGAIN;
}

static void pipe_put(struct sim_pipe *pipe, const uint8_t *from, uint32_t len) {
    uint32_t at = (pipe->head + pipe_held(pipe)) % pipe->limit;
    uint32_t straight = pipe->limit - at;
    straight = straight < len ? straight : len;
    memcpy(pipe->bytes + at, from, straight);
    memcpy(pipe->bytes, from + straight, len - straight);
    pipe->flying += len;
}

int sim_end_send(struct sim_end *end, const struct iovec *iov, int count, bool more) {
    struct sim *sim = end->sim;
    struct sim_end *far = end->far;
    if (far == NULL) {
        return -ENOTCONN;
    }
    if (end_cannot_send(end)) {
        int error = end->error != 0 ? end->error : EPIPE;
        end->error = 0;
        return -error;
    }
    if (end->family != AF_UNIX && sim_fault(sim, SIM_RESET)) {
        sim_end_break(end);
        return -EAGAIN;      /* the next look finds it */
    }
    if (sim_fault(sim, SIM_STALL)) {
        far->in.stalled_until_us = sim->now_us + 1000 * (1 + sim_draw(sim, sim->params.stall_ms));
    }
    uint32_t room = sim_end_room(end);
    if (room == 0) {
        return -EAGAIN;
    }
    if (sim_fault(sim, SIM_SHORT_SEND)) {
        room = 1 + (uint32_t)sim_draw(sim, room);
    }
    uint32_t sent = 0, asked = 0;
    for (int i = 0; i < count; i++) {
        asked += (uint32_t)iov[i].iov_len;
    }
    for (int i = 0; i < count && sent < room; i++) {
        uint32_t n = (uint32_t)iov[i].iov_len;
        n = n < room - sent ? n : room - sent;
        pipe_put(&far->in, iov[i].iov_base, n);
        sent += n;
    }
    /* What a send could not take pushes the rest out (tcp_sendmsg_locked() of Linux). */
    if (more && sent == asked && end->family != AF_UNIX) {
        pipe_cork(&far->in, sim->now_us, sent);
    } else if (sent > 0) {
        pipe_fly(&far->in, latency_us(end), sent, false);
    }
    return (int)sent;
}

void sim_end_fin(struct sim_end *end) {
    struct sim_end *far = end->far;
    if (far == NULL || end->dead || far->in.fin_sent) {
        return;
    }
    far->in.fin_sent = true;
    pipe_fly(&far->in, latency_us(end), 0, true);
    sim_note(end->sim, "fin", end->index, 0, 0);
}

void sim_end_close(struct sim_end *end) {
    ensure(!end->closed);
    struct sim_end *far = end->far;
    sim_note(end->sim, "close", end->index, end->in.ready, end->hard_close);
    end->closed = true;
    if (far == NULL || end->dead) {
        return;
    }
    if (end->family == AF_UNIX) {
        /* af_unix has no SO_LINGER; unread bytes make the far end's error (unix_release_sock). */
        if (end->in.ready > 0 && !far->dead) {
            far->error = ECONNRESET;
        }
        sim_end_fin(end);
    } else if (end->hard_close || end->in.ready > 0) {
        end_send_reset(end);   /* RFC 2525 2.17: unread bytes must not look like a clean end */
    } else {
        sim_end_fin(end);
    }
}

static bool end_is_over(const struct sim_end *end) {
    bool quiet = end->in.flight_count == 0 && end->reset_due_us == SIM_NEVER;
    return end->closed && (quiet || end->dead);
}

/* Ends point at each other, so they leave together. */
void sim_ends_reap(struct sim *sim) {
    struct list_node *node = sim->ends.next;
    while (node != &sim->ends) {
        struct sim_end *end = container_of(node, struct sim_end, link);
        node = node->next;
        struct sim_end *far = end->far;
        if (!end_is_over(end) || (far != NULL && !end_is_over(far))) {
            continue;
        }
        if (far != NULL) {
            node = node == &far->link ? node->next : node;
            pipe_fini(&far->in);
            list_remove(&far->link);
            world_free(far);
        }
        pipe_fini(&end->in);
        list_remove(&end->link);
        world_free(end);
    }
}

void sim_ends_free(struct sim *sim) {
    struct list_node *node;
    while ((node = list_pop(&sim->ends)) != NULL) {
        struct sim_end *end = container_of(node, struct sim_end, link);
        pipe_fini(&end->in);
        world_free(end);
    }
}
