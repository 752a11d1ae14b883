/* Requests that a server goes on with though nobody wants their answer any more. */
#include "upstream/upstream_priv.h"

/* A worker does not notice that its client has gone, before it writes. Were its slot free at once,
 * the next request would be one more than the server has workers. So what it says is read, and
 * dropped, until it has said all. */
struct orphan {
    struct lease lease;              /* READY: a slot, a connection, and its stream */
    struct task task;
    struct timer late;               /* response_timeout; then TALK_MS */
    bool talks;                      /* the final head has come */
    struct list_node link;
};

/* A worker that writes does notice. What it was about to say is read for so long, as it is free
 * soon then; a stream of events would have no end. */
#define TALK_MS 1000u

static void orphan_free(struct orphan *orphan, enum close_reason why) {
    struct upstream *room = orphan->lease.room;
    lease_put_back(&orphan->lease, why);
    timer_cancel(room->ring, &orphan->late);
    task_cancel(room->ring, &orphan->task);
    list_remove(&orphan->link);
    pool_put(&room->orphans, orphan);
}

static void orphan_hear(struct orphan *orphan) {
    const struct head *head = orphan->lease.stream->head;   /* NULL before the first one */
    if (!orphan->talks && head != NULL && head->status >= 200) {
        uint32_t most = orphan->lease.backend->response_ms;
        orphan->talks = true;
        timer_arm(orphan->lease.room->ring, &orphan->late, most < TALK_MS ? most : TALK_MS);
    }
}

static void orphan_run(struct task *task) {
    struct orphan *orphan = container_of(task, struct orphan, task);
    struct stream *stream = orphan->lease.stream;
    while ((stream->ready & STREAM_HEAD) != 0) {
        if (stream_take_head(stream)->status == 101) {
            orphan_free(orphan, CLOSE_CLIENT_GONE);
            return;
        }
        stream->ops->pull(stream);
    }
    orphan_hear(orphan);
    stream->ready = 0;
    if (stream->rx.bytes > 0) {
        bufq_drop(&stream->rx, stream->rx.bytes);
        stream->ops->pull(stream);
    }
    if (stream->why != CLOSE_NONE) {
        orphan_free(orphan, (enum close_reason)stream->why);
    } else if (stream->rx_ended) {
        orphan_free(orphan, CLOSE_NONE);
    }
}

static void orphan_late(struct timer *timer) {
    orphan_free(container_of(timer, struct orphan, late), CLOSE_CLIENT_GONE);
}

bool orphan_new(struct lease *lease) {
    struct upstream *room = lease->room;
    struct stream *stream = lease->stream;
    bool began = stream->tx_end || stream->tx_bytes > 0;
    bool busy = lease->backend->shields && lease->server->slots != 0 && !room->draining && began &&
                stream->why == CLOSE_NONE && !stream->tunnelled && !stream->rx_ended;
    struct orphan *orphan = busy ? pool_get(&room->orphans) : NULL;
    if (orphan == NULL) {
        return false;
    }
    *orphan = (struct orphan){.lease = *lease};
    task_init(&orphan->task, orphan_run);
    timer_init(&orphan->late, orphan_late);
    list_append(&room->orphaned, &orphan->link);
    timer_arm(room->ring, &orphan->late, lease->backend->response_ms);
    stats_add(ring_stats(room->ring), STAT_ORPHANS, 1);
    stream->owner = &orphan->task;
    if (!stream->tx_end) {   /* its body is lost: a worker that reads it is to see an end */
        stream->tx_end = true;
        stream->ops->push(stream, NULL);
    }
    task_wake(room->ring, &orphan->task);
    lease->stream = NULL;
    lease->session = NULL;
    return true;
}

void orphans_init(struct upstream *room) {
    pool_init(&room->orphans, "orphans", sizeof(struct orphan), 0);   /* slots are their bound */
    list_init(&room->orphaned);
}

void orphans_kill(struct upstream *room) {
    for (struct list_node *node; (node = list_first(&room->orphaned)) != NULL;) {
        orphan_free(container_of(node, struct orphan, link), CLOSE_DRAIN);
    }
}
