/* gyre-relay: ring and net alone as a TCP relay, the floor that the benchmarks measure.
 *
 *   gyre-relay --bind ADDR --to ADDR [--once]        --once: ends with its first connection */
#include <getopt.h>
#include <stdlib.h>

#include "base/log.h"
#include "bench/stage.h"

struct relay {
    struct stage stage;
    struct addr to;
    bool once;
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

static void pair_free(struct pair *pair) {
    struct relay *relay = pair->relay;
    task_cancel(relay->stage.ring, &pair->turn);
    list_remove(&pair->live);
    pool_put(&relay->pairs, pair);
    if (relay->once) {
        stage_leave(&relay->stage);
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
    uint32_t room;
    while (from->rx.bytes > 0 && (room = wire_room(to)) > 0) {
        bufq_move(wire_tx(to), &from->rx, room);
        wire_push(to);
    }
    bufq_settle(&from->rx);   /* what is left waits for a slow peer */
    if (from->eof && from->rx.bytes == 0 && !to->fin_wanted) {
        wire_finish(to);
        /* A side that has ended is not read any more, so its death shows in sends alone. */
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

static void relay_accepted(struct stage *stage, int fd) {
    struct relay *relay = container_of(stage, struct relay, stage);
    struct pair *pair = pool_get(&relay->pairs);
    *pair = (struct pair){.relay = relay};
    task_init(&pair->turn, pair_run);
    list_append(&relay->live, &pair->live);
    struct wire_params down = {.fd = fd, .limits = &stage->wires, .limit = &stage->limit};
    struct wire_params up = {.to = &relay->to, .limits = &stage->wires};
    pair->down = wire_accept(&stage->net, &down, &pair->turn);
    pair->up = pair->down == NULL ? NULL : wire_dial(&stage->net, &up, &pair->turn);
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

static void relay_ended(struct stage *stage) {
    struct relay *relay = container_of(stage, struct relay, stage);
    for (struct list_node *node; (node = list_first(&relay->live)) != NULL;) {
        pair_shut(container_of(node, struct pair, live), CLOSE_DRAIN);
    }
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"bind", required_argument, NULL, 'b'},
                                            {"to", required_argument, NULL, 't'},
                                            {"once", no_argument, NULL, 'o'},
                                            {0}};
    static struct relay relay = {.stage = {.accepted = relay_accepted, .ended = relay_ended}};
    struct addr bind = {0};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'o') {
            relay.once = true;
        } else if (c == '?') {
            return 2;   /* getopt has said why */
        } else {
            stage_address(c == 'b' ? &bind : &relay.to, optarg);
        }
    }
    if (optind < argc || bind.len == 0 || relay.to.len == 0) {
        log_error("usage: gyre-relay --bind ADDR --to ADDR [--once]");
        return 2;
    }
    pool_init(&relay.pairs, "pairs", sizeof(struct pair), 0);
    list_init(&relay.live);
    stage_init(&relay.stage, &bind);
    stage_run(&relay.stage);
    pool_fini(&relay.pairs);
    stage_fini(&relay.stage);
    return 0;
}
