/* Listening, connecting and accepting between virtual sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "sim/sim_priv.h"

/* --- Addresses ---------------------------------------------------------------------------- */

/* :PORT takes IPv4 as well. */
static bool addr_answers(const struct addr *listening, const struct addr *to) {
    if (addr_eq(listening, to)) {
        return true;
    }
    int here = listening->sa.any.sa_family, there = to->sa.any.sa_family;
    return here != AF_UNIX && there != AF_UNIX && addr_port(listening) == addr_port(to) &&
           addr_is_any(listening) && (here == there || listening->dual);
}

static void addr_set_port(struct addr *a, uint16_t port) {
    if (a->sa.any.sa_family == AF_INET) {
        a->sa.in.sin_port = htons(port);
    } else if (a->sa.any.sa_family == AF_INET6) {
        a->sa.in6.sin6_port = htons(port);
    }
}

static uint16_t port_new(struct sim *sim) {
    sim->next_port = sim->next_port == UINT16_MAX ? 32768 : (uint16_t)(sim->next_port + 1);
    return sim->next_port;
}

/* Where a socket that was not bound connects from. */
static void addr_of_caller(struct sim *sim, struct addr *a, const struct addr *to) {
    *a = (struct addr){.len = to->len};
    a->sa.any.sa_family = to->sa.any.sa_family;
    if (to->sa.any.sa_family == AF_INET) {
        a->sa.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else if (to->sa.any.sa_family == AF_INET6) {
        a->sa.in6.sin6_addr = in6addr_loopback;
    } else {
        a->len = sizeof(sa_family_t);   /* an unnamed unix socket */
    }
    addr_set_port(a, port_new(sim));
}

/* --- Listeners ---------------------------------------------------------------------------- */

bool sim_addr_taken(const struct sim *sim, const struct addr *addr, bool reuseport) {
    list_each(node, &sim->listeners) {
        const struct sim_listener *l = container_of(node, struct sim_listener, link);
        bool shared = reuseport && l->reuseport && addr->sa.any.sa_family != AF_UNIX;
        if (!shared && (addr_answers(&l->addr, addr) || addr_answers(addr, &l->addr))) {
            return true;
        }
    }
    return false;
}

struct sim_listener *sim_listener_new(struct sim *sim, const struct addr *addr, uint32_t backlog,
                                      bool reuseport) {
    struct sim_listener *l = world_zero(sizeof *l);
    l->addr = *addr;
    uint32_t max = sim->params.backlog_max;
    l->backlog = max != 0 && max < backlog ? max : backlog;
    l->reuseport = reuseport;
    list_init(&l->queue);
    if (addr->sa.any.sa_family != AF_UNIX && addr_port(addr) == 0) {
        addr_set_port(&l->addr, port_new(sim));
    }
    list_append(&sim->listeners, &l->link);
    return l;
}

struct sim_end *sim_listener_take(struct sim_listener *l) {
    struct list_node *node = list_pop(&l->queue);
    if (node == NULL) {
        return NULL;
    }
    l->queued--;
    return container_of(node, struct sim_end, waiting);
}

void sim_listener_free(struct sim_listener *l) {
    struct sim_end *end;
    while ((end = sim_listener_take(l)) != NULL) {
        if (end->family == AF_UNIX) {
            sim_end_break(end);
        }
        end->hard_close = true;
        sim_end_close(end);
    }
    list_remove(&l->link);
    world_free(l);
}

/* SO_REUSEPORT spreads by a hash of the addresses: to us, by luck. */
static struct sim_listener *listener_find(struct sim *sim, const struct addr *to) {
    struct sim_listener *found = NULL;
    uint32_t count = 0;
    list_each(node, &sim->listeners) {
        struct sim_listener *l = container_of(node, struct sim_listener, link);
        if (addr_answers(&l->addr, to) && sim_draw(sim, ++count) == 0) {
            found = l;
        }
    }
    return found;
}

int sim_end_connect(struct sim_end *end, const struct addr *to) {
    struct sim *sim = end->sim;
    ensure(end->far == NULL);
    struct sim_listener *l = listener_find(sim, to);
    if (l == NULL) {
        bool no_file = to->sa.any.sa_family == AF_UNIX && sim_draw(sim, 2) == 0;
        return no_file ? -ENOENT : -ECONNREFUSED;
    }
    if (l->queued >= l->backlog) {
        return -EAGAIN;
    }
    struct sim_end *far = sim_end_new(sim, end->family);
    end->far = far;
    far->far = end;
    if (end->local.len == 0) {
        addr_of_caller(sim, &end->local, to);
    } else if (addr_port(&end->local) == 0) {
        addr_set_port(&end->local, port_new(sim));
    }
    end->remote = far->local = *to;
    far->remote = end->local;
    list_append(&l->queue, &far->waiting);
    l->queued++;
    sim_note(sim, "connected", end->index, far->index, addr_port(to));
    return 0;
}
