/* gyre-relay: ring and net alone as a TCP relay, the floor that the benchmarks measure.
 *
 *   gyre-relay --bind ADDR --to ADDR [--once]        --once: ends with its first connection */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/net.h"

#define QUEUE_BYTES (256u * 1024u)   /* each way: four receive buffers */
#define BACKLOG 4096
#define LEAVE_MS 1u                  /* how often a relay that ends looks for wires that remain */

struct relay {
    struct ring *ring;
    struct net net;
    struct addr bind, to;
    bool once, leaving;
    int bind_fd, signal_fd;
    struct connection_limit limit;
    struct wire_limits wires;
    struct listener *listener;
    struct task accept;
    struct op signal;
    struct timer leave;
    struct pool pairs;
    struct list_node live;
};

/* A client's wire, its server's wire, and the task that both of them wake. */
struct pair {
    struct relay *relay;
    struct wire *down, *up;
    struct task turn;
    struct list_node live;
};

static void relay_leave(struct relay *relay);

static void pair_free(struct pair *pair) {
    struct relay *relay = pair->relay;
    task_cancel(relay->ring, &pair->turn);
    list_remove(&pair->live);
    pool_put(&relay->pairs, pair);
    if (relay->once) {
        relay_leave(relay);
    }
}

/* With a reset: whoever was sent half of something is not to take it for the whole. */
static void pair_shut(struct pair *pair, enum close_reason why) {
    pair->down->reset = pair->up->reset = true;
    wire_shut(pair->down, why);
    wire_shut(pair->up, why);
    pair_free(pair);
}

static void flow(struct wire *from, struct wire *to) {
    while (bufq_move(&to->tx, &from->rx, bufq_room(&to->tx)) > 0) {
        wire_push(to);
    }
    bufq_settle(&from->rx);   /* what is left waits for a slow peer */
    if (from->eof && from->rx.bytes == 0 && !to->fin_wanted) {
        wire_finish(to);
        /* A side that has ended is not read any more, so that its death shows in sends alone. */
        from->tell_sent = true;
    }
    wire_pull(from);
}

static void pair_run(struct task *task) {
    struct pair *pair = container_of(task, struct pair, turn);
    struct wire *down = pair->down, *up = pair->up;
    unsigned ready = down->ready | up->ready;
    down->ready = up->ready = 0;
    if (ready & WIRE_LOST || down->tx_dead || up->tx_dead) {
        pair_shut(pair, (enum close_reason)(down->why != CLOSE_NONE ? down->why : up->why));
        return;
    }
    flow(down, up);
    flow(up, down);
    if (down->fin_wanted && up->fin_wanted) {
        wire_end(down, CLOSE_TUNNEL_END);
        wire_end(up, CLOSE_TUNNEL_END);
        pair_free(pair);
    }
}

static void pair_new(struct relay *relay, int fd) {
    struct pair *pair = pool_get(&relay->pairs);
    *pair = (struct pair){.relay = relay};
    task_init(&pair->turn, pair_run);
    list_append(&relay->live, &pair->live);
    struct wire_params down = {.fd = fd, .limits = &relay->wires, .limit = &relay->limit};
    struct wire_params up = {.to = &relay->to, .limits = &relay->wires};
    pair->down = wire_accept(&relay->net, &down, &pair->turn);
    pair->up = pair->down == NULL ? NULL : wire_dial(&relay->net, &up, &pair->turn);
    if (pair->up == NULL) {
        if (pair->down != NULL) {
            wire_shut(pair->down, CLOSE_NO_DESCRIPTOR);
        }
        pair_free(pair);
        return;
    }
    /* What makes room matters, not each send that is done: one wake less for each message. */
    pair->down->tell_sent = pair->up->tell_sent = false;
}

static void relay_accept_run(struct task *task) {
    struct relay *relay = container_of(task, struct relay, accept);
    for (int fd; !relay->leaving && (fd = listener_take(relay->listener)) >= 0;) {
        pair_new(relay, fd);
    }
}

/* Wires outlive their owners until the kernel has let go of them. */
static void relay_leave_fired(struct timer *timer) {
    struct relay *relay = container_of(timer, struct relay, leave);
    if (net_wires(&relay->net) == 0) {
        ring_stop(relay->ring);
    } else {
        timer_arm(relay->ring, &relay->leave, LEAVE_MS);
    }
}

static void relay_leave(struct relay *relay) {
    if (relay->leaving) {
        return;
    }
    relay->leaving = true;
    task_cancel(relay->ring, &relay->accept);
    listener_shut(relay->listener);
    for (struct list_node *node; (node = list_first(&relay->live)) != NULL;) {
        pair_shut(container_of(node, struct pair, live), CLOSE_DRAIN);
    }
    timer_arm(relay->ring, &relay->leave, LEAVE_MS);
}

static void relay_signal_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)res;
    (void)seg;
    (void)armed;
    relay_leave(container_of(op, struct relay, signal));
}

static void relay_init(struct relay *relay) {
    relay->bind_fd = sys_listen(&relay->bind, false, BACKLOG);
    if (relay->bind_fd < 0) {
        log_error("can not listen: %s", strerror(-relay->bind_fd));
        exit(1);
    }
    char why[RING_WHY_MAX];
    relay->ring = ring_new(&(struct ring_params){0}, why);
    if (relay->ring == NULL) {
        log_error("%s", why);
        exit(1);
    }
    net_init(&relay->net, relay->ring);
    pool_init(&relay->pairs, "pairs", sizeof(struct pair), 0);
    list_init(&relay->live);
    relay->limit.max = sys_raise_nofile() / 2 - 16;   /* a pair has two descriptors */
    relay->wires = (struct wire_limits){.rx_mark = QUEUE_BYTES, .tx_mark = QUEUE_BYTES,
                                        .connect_ms = 5000, .send_ms = 60000, .linger_ms = 1000};
    task_init(&relay->accept, relay_accept_run);
    timer_init(&relay->leave, relay_leave_fired);
    relay->listener = listener_new(&relay->net, relay->bind_fd, &relay->limit, &relay->accept);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    relay->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    op_init(&relay->signal, relay_signal_done);
    op_watch(relay->ring, &relay->signal, relay->signal_fd, POLLIN);
}

/* Each pool ensures that nothing is live. */
static void relay_fini(struct relay *relay) {
    pool_fini(&relay->pairs);
    net_fini(&relay->net);
    ring_free(relay->ring);
    (void)sys_close(relay->bind_fd);
    (void)sys_close(relay->signal_fd);
}

static void usage(const char *what, const char *why) {
    log_error("%s: %s", what, why);
    log_error("usage: gyre-relay --bind ADDR --to ADDR [--once]");
    exit(2);
}

static void address_take(struct addr *addr, const char *text) {
    const char *why;
    if (!addr_parse(addr, str_of(text), &why)) {
        usage(text, why);
    }
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"bind", required_argument, NULL, 'b'},
                                            {"to", required_argument, NULL, 't'},
                                            {"once", no_argument, NULL, 'o'},
                                            {0}};
    static struct relay relay;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'b':
            address_take(&relay.bind, optarg);
            break;
        case 't':
            address_take(&relay.to, optarg);
            break;
        case 'o':
            relay.once = true;
            break;
        default:
            usage("arguments", "not understood");
        }
    }
    if (optind < argc || relay.bind.len == 0 || relay.to.len == 0) {
        usage("arguments", "--bind and --to are needed, and nothing else");
    }
    relay_init(&relay);
    ring_run(relay.ring);
    relay_fini(&relay);
    return 0;
}
