/* Where descriptors or a pool run out: idle connections make room for dials, and for clients. */
#include "base/log.h"
#include "upstream/upstream_priv.h"

static void say_short(const struct lease *lease) {
    static struct log_limit said;   /* of all rings */
    struct ring *ring = lease->room->ring;
    bool pool = lease->room->http->net->refused == CLOSE_NO_MEMORY;
    log_warn_limited(&said, ring_now_ms(ring), "answering 503: %s to dial %s",
                     pool ? "no memory, or no place in a pool," : "no descriptor is left",
                     lease->server->name);
}

/* A descriptor is back some turns after its connection was closed. Each that waits has one coming,
 * after those of the ones ahead of it; that another process is faster is why waiting has an end. */
bool relief_wait(struct lease *lease) {
    struct upstream *room = lease->room;
    struct net *net = room->http->net;
    uint64_t waited_ms = (ring_now_us(room->ring) - lease->went_us) / 1000;
    while (net->closing <= net->wanted && idle_evict(room)) {
    }
    if (net->closing <= net->wanted || waited_ms > lease->backend->connect_ms) {
        say_short(lease);
        return false;
    }
    list_append(&room->wanting, &lease->want);
    net->wanted++;
    return true;
}

void relief_forget(struct lease *lease) {
    if (list_linked(&lease->want)) {
        list_remove(&lease->want);
        lease->room->http->net->wanted--;
    }
}

/* Accepting may go on: half of what this ring keeps idle is closed. */
static void relieve_listeners(struct upstream *room) {
    uint32_t idle = 0;
    for (uint32_t i = 0; i < room->registry->backend_count; i++) {
        for (uint32_t k = 0; k < room->registry->backends[i].server_count; k++) {
            idle += room->backends[i].servers[k].idle_count;
        }
    }
    for (uint32_t n = (idle + 1) / 2; n > 0 && idle_evict(room); n--) {
    }
}

void relief_run(struct task *task) {
    struct upstream *room = container_of(task, struct upstream, relief);
    struct net *net = room->http->net;
    if (net->is_short) {
        net->is_short = false;
        relieve_listeners(room);
    }
    for (struct list_node *node; (node = list_first(&room->wanting)) != NULL;) {
        struct lease *lease = container_of(node, struct lease, want);
        relief_forget(lease);
        uint32_t behind = net->wanted;
        net->wanted = 0;   /* nobody is ahead of the first */
        lease_again(lease);
        bool waits = net->wanted > 0;
        net->wanted += behind;
        if (waits) {
            list_remove(&lease->want);
            list_prepend(&room->wanting, &lease->want);
            return;
        }
    }
}
