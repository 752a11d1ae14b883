/* The net room of one ring: its pools, and the sweep over sends that stand still. */
#include "net/net_priv.h"

/* A head and a small body ride in one copy; a TLS record of 16 KiB and its overhead fit twice into
 * one segment of records, which is one send (32 KiB measured best). Whole pages, so that they can
 * be given back one by one. */
#define COPY_BYTES 16384u
#define RECORD_BYTES 36864u

#define TRIM_MS 1000u

static void net_sweep_fired(struct timer *timer) {
    struct net *net = container_of(timer, struct net, sweep);
    uint64_t now = ring_now_ms(net->ring);
    struct list_node *next;
    for (struct list_node *node = net->sends.next; node != &net->sends; node = next) {
        next = node->next;
        struct sender *s = container_of(node, struct sender, link);
        struct wire *w = s->wire;
        if (w->dead) {
            continue;
        }
        enum close_reason why = pace_judge(s);
        if (why != CLOSE_NONE) {
            w->reset = true;   /* a FIN behind what has gone would look like the end of it all */
            wire_lost(w, why);
        } else if (now - s->began_ms >= STALLED_MS) {
            bufq_settle(&s->tx);
            if (!s->settling && bufq_pins(&s->sending)) {
                s->settling = true;
                op_cancel(net->ring, &s->op);
            }
        }
    }
    if (!list_empty(&net->sends)) {
        timer_arm(net->ring, &net->sweep, NET_SWEEP_MS);
    }
}

static void net_trim_fired(struct timer *timer) {
    struct net *net = container_of(timer, struct net, trim);
    bool copies = segpool_trim(&net->copies), records = segpool_trim(&net->records);
    bool buffers = segpool_trim(ring_receive_pool(net->ring));
    if (copies || records || buffers) {
        net_trim_later(net);
    }
}

void net_trim_later(struct net *net) {
    if (!timer_armed(&net->trim)) {
        timer_arm(net->ring, &net->trim, TRIM_MS);
    }
}

static void net_copy_home(struct segpool *pool) {
    net_trim_later(container_of(pool, struct net, copies));
}

static void net_record_home(struct segpool *pool) {
    net_trim_later(container_of(pool, struct net, records));
}

void net_init(struct net *net, struct ring *ring) {
    *net = (struct net){.magic = NET_MAGIC, .ring = ring};
    pool_init(&net->wires, "wires", sizeof(struct wire), 0);
    pool_init(&net->intakes, "intakes", sizeof(struct intake), 0);
    pool_init(&net->senders, "senders", sizeof(struct sender), 0);
    pool_init(&net->sendvs, "sendvs", sizeof(struct sendv), 0);
    pool_init(&net->splices, "splices", sizeof(struct splice), 0);
    net->pipes.max = PIPES_MAX;
    segpool_init(&net->copies, "copies", COPY_BYTES, 0, false);
    segpool_init(&net->records, "records", RECORD_BYTES, 0, false);
    net->copies.home = net_copy_home;
    net->records.home = net_record_home;
    timer_init(&net->trim, net_trim_fired);
    list_init(&net->sends);
    bufq_init(&net->nowhere, 0, &net->copies);
    net->nowhere.failed = true;
    list_init(&net->endings);
    timer_init(&net->sweep, net_sweep_fired);
}

void net_fini(struct net *net) {
    ensure_magic(net, NET_MAGIC);
    ensure(net->listeners == 0);
    timer_cancel(net->ring, &net->sweep);
    timer_cancel(net->ring, &net->trim);
    pool_fini(&net->wires);
    pool_fini(&net->intakes);
    pool_fini(&net->senders);
    pool_fini(&net->sendvs);
    pool_fini(&net->splices);
    pipes_trim(net);
    ensure(net->pipes.live == 0);
    segpool_fini(&net->copies);
    segpool_fini(&net->records);
    net->magic = 0;
}

void net_bound(struct net *net, uint32_t wires, uint32_t pipes) {
    net->pipes.max = pipes;
    net->wires.live_max = wires;
    net->intakes.live_max = wires;
    net->senders.live_max = wires;
    net->sendvs.live_max = wires;
    net->splices.live_max = wires;
}

void net_trim(struct net *net) {
    pool_trim(&net->wires);
    pool_trim(&net->intakes);
    pool_trim(&net->senders);
    pool_trim(&net->sendvs);
    pool_trim(&net->splices);
    pipes_trim(net);
}

bool net_has_room(const struct net *net) {
    return net->wires.live_max == 0 || net->wires.live < net->wires.live_max;
}

uint32_t net_wires(const struct net *net) {
    return net->wires.live;
}

bool net_is_empty(const struct net *net) {
    return net->wires.live == 0 && net->listeners == 0;
}

void net_shut_endings(struct net *net) {
    for (struct list_node *node; (node = list_first(&net->endings)) != NULL;) {
        struct wire *w = container_of(node, struct wire, endings);
        w->reset = w->reset || !wire_flushed(w);
        wire_shut(w, w->why);
    }
}
