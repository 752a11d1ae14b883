/* The http room of one ring: its pools, and what is done to all down sessions. */
#include "http/http_priv.h"

/* To end an idle connection takes some 10 us: 9,000 in one turn held up whoever is still served for
 * a tenth of a second. */
#define DRAINED_PER_TURN 64u

static void drain_run(struct task *task) {
    struct http *http = container_of(task, struct http, drain);
    for (uint32_t n = 0; n < DRAINED_PER_TURN && http->drain_left > 0; n++) {
        struct list_node *node = list_pop(&http->sessions);
        if (node == NULL) {
            http->drain_left = 0;
            return;
        }
        list_append(&http->sessions, node);     /* behind those whose turn is still to come */
        http->drain_left--;
        struct session *session = container_of(node, struct session, link);
        session->ops->drain(session);
    }
    if (http->drain_left > 0) {
        task_yield(http->ring, &http->drain);
    }
}

void http_init(struct http *http, struct ring *ring, struct net *net) {
    *http = (struct http){.magic = HTTP_MAGIC, .ring = ring, .net = net};
    pool_init(&http->chunks, "arena_chunks", ARENA_CHUNK, 0);
    pool_init(&http->downs, "down_sessions", h1_down_size, 0);
    pool_init(&http->ups, "up_sessions", h1_up_size, 0);
    pool_init(&http->down_streams, "down_streams", h1_down_stream_size, 0);
    pool_init(&http->up_streams, "up_streams", h1_up_stream_size, 0);
    pool_init(&http->locals, "local_streams", local_stream_size, 0);
    list_init(&http->sessions);
    task_init(&http->drain, drain_run);
}

void http_fini(struct http *http) {
    ensure_magic(http, HTTP_MAGIC);
    ensure(list_empty(&http->sessions));
    task_cancel(http->ring, &http->drain);
    pool_fini(&http->downs);
    pool_fini(&http->ups);
    pool_fini(&http->down_streams);
    pool_fini(&http->up_streams);
    pool_fini(&http->locals);
    pool_fini(&http->chunks);
    http->magic = 0;
}

void http_trim(struct http *http) {
    ensure_magic(http, HTTP_MAGIC);
    struct pool *pools[] = {&http->chunks, &http->downs, &http->ups, &http->down_streams,
                            &http->up_streams, &http->locals};
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        pool_trim(pools[i]);
    }
}

void http_bound(struct http *http, uint32_t clients, uint32_t servers) {
    ensure_magic(http, HTTP_MAGIC);
    http->downs.live_max = http->down_streams.live_max = http->locals.live_max = clients;
    http->ups.live_max = http->up_streams.live_max = servers;
}

bool http_has_room(const struct http *http) {
    const struct pool *downs = &http->downs;
    return (downs->live_max == 0 || downs->live < downs->live_max) && net_has_room(http->net);
}

void http_drain(struct http *http) {
    ensure_magic(http, HTTP_MAGIC);
    http->draining = true;
    list_each(node, &http->sessions) {
        http->drain_left++;
    }
    task_wake(http->ring, &http->drain);
}

void http_stop_tunnels(struct http *http) {
    ensure_magic(http, HTTP_MAGIC);
    for (struct list_node *node = http->sessions.next; node != &http->sessions;
         node = node->next) {
        struct session *session = container_of(node, struct session, link);
        session->ops->stop(session);
    }
}

void http_kill(struct http *http, enum close_reason why) {
    ensure_magic(http, HTTP_MAGIC);
    struct list_node *next;
    for (struct list_node *node = http->sessions.next; node != &http->sessions; node = next) {
        next = node->next;
        struct session *session = container_of(node, struct session, link);
        session->ops->kill(session, why);
    }
}
