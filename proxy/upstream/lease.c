/* A lease: from "this backend" to a stream on a connection, or a reason why not. */
#include "base/mem.h"
#include "upstream/upstream_priv.h"

static struct local_server *lease_local(struct lease *lease) {
    return local_server_of(lease->room, lease->backend, lease->server);
}

/* --- Counts that steer -------------------------------------------------------------------- */

static void count_request(struct lease *lease, int change) {
    _Atomic uint32_t *count = &lease->server->counts[lease->room->ring_index].requests;
    uint32_t now = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, now + (uint32_t)change, memory_order_relaxed);
}

/* --- From a server to a stream ------------------------------------------------------------ */

static void lease_fail(struct lease *lease, enum close_reason why) {
    lease->state = LEASE_FAILED;
    lease->why = (uint8_t)why;
}

static bool lease_open(struct lease *lease, struct session *session) {
    session->owner = &lease_local(lease)->task;
    struct stream *stream = session->ops->open(session, lease->owner);
    if (stream == NULL) {
        local_server_give(lease_local(lease), session);
        return false;
    }
    lease->session = session;
    lease->stream = stream;
    lease->ready_us = ring_now_us(lease->room->ring);
    lease->state = LEASE_READY;
    return true;
}

static bool lease_reuse(struct lease *lease) {
    struct session *session = local_server_take(lease_local(lease));
    if (session == NULL || !lease_open(lease, session)) {
        return false;
    }
    lease->reused = true;
    stats_add(ring_stats(lease->room->ring), STAT_REUSED, 1);
    return true;
}

/* The PROXY header that this server is to get; empty: none. Without a client to speak of it says
 * that the connection is our own. */
static struct str lease_preface(const struct lease *lease, uint8_t to[PROXYPROTO_WRITE_MAX]) {
    static const struct client_told nobody;
    const struct client_told *told = lease->told != NULL ? lease->told : &nobody;
    uint32_t len = 0;
    if (lease->server->send_proxy == CONF_PROXY_V1) {
        len = proxyproto_write_v1(&told->ends, to);
    } else if (lease->server->send_proxy == CONF_PROXY_V2) {
        len = proxyproto_write_v2(&told->ends, &told->more, to);
    }
    return (struct str){(const char *)to, len};
}

/* To the server that was picked. */
static void lease_dial(struct lease *lease) {
    struct upstream *room = lease->room;
    uint8_t preface[PROXYPROTO_WRITE_MAX];
    struct up_params params = {.to = &lease->server->addr, .limits = &lease->backend->limits,
                               .preface = lease_preface(lease, preface),
                               .once = lease->server->send_proxy != CONF_PROXY_NO};
    lease->state = LEASE_WAITING;
    lease->session = h1_up_new(room->http, &params, &lease->dialed);
    if (lease->session != NULL) {
        stats_add(ring_stats(room->ring), STAT_DIALED, 1);
        return;
    }
    enum close_reason why = room->http->net->refused;
    bool short_of = why == CLOSE_NO_DESCRIPTOR || why == CLOSE_NO_MEMORY;
    if (!short_of || !relief_wait(lease)) {
        stats_add(ring_stats(room->ring), STAT_DIAL_FAILED, 1);
        lease_fail(lease, why);
    }
}

/* Of what we lack, the next server's connection would lack as well. */
static bool lease_is_over(const struct lease *lease) {
    return lease->why == CLOSE_NO_DESCRIPTOR || lease->why == CLOSE_NO_MEMORY;
}

/* Picks the next server and gets as far with it as can be without waiting. */
static void lease_next(struct lease *lease, const struct server *avoid, enum close_reason last) {
    for (;;) {
        struct server *server = balance_pick(lease->room, lease->backend, lease->tried, avoid);
        if (server == NULL || lease->tries >= lease->backend->server_count) {
            lease_fail(lease, last);
            return;
        }
        lease->server = server;
        lease->tries++;
        if (server->index < LEASE_TRIES_MAX) {
            lease->tried |= (uint64_t)1 << server->index;
        }
        count_request(lease, 1);
        if (!lease->fresh && lease_reuse(lease)) {
            return;
        }
        lease_dial(lease);
        if (lease->state != LEASE_FAILED) {
            return;
        }
        count_request(lease, -1);
        if (lease_is_over(lease)) {
            return;
        }
        last = lease->why;
    }
}

void lease_again(struct lease *lease) {
    if (!lease->fresh && lease_reuse(lease)) {
        task_wake(lease->room->ring, lease->owner);
        return;
    }
    lease_dial(lease);
    if (lease->state == LEASE_FAILED) {
        count_request(lease, -1);
        if (!lease_is_over(lease)) {
            lease_next(lease, NULL, lease->why);
        }
    }
    if (lease->state != LEASE_WAITING) {
        task_wake(lease->room->ring, lease->owner);
    }
}

/* The dial has ended, well or not. */
static void lease_dialed_run(struct task *task) {
    struct lease *lease = container_of(task, struct lease, dialed);
    struct upstream *room = lease->room;
    struct session *session = lease->session;
    if (lease->state != LEASE_WAITING || session == NULL || (!session->up && !session->dead)) {
        return;
    }
    bool dead = session->dead;
    /* Up, and of no use: the server has ended it at once, or spoke first; or there is no memory for
     * a stream. The pool has it then. */
    bool ready = !dead && session->ops->slots(session) > 0;
    enum close_reason why = ready         ? CLOSE_NO_MEMORY
                            : session->up ? CLOSE_BACKEND_CLOSED
                                          : (enum close_reason)session->why;
    if (dead || !lease_open(lease, session)) {
        if (dead) {
            session_forget(session);
        }
        lease->session = NULL;
        stats_add(ring_stats(room->ring), STAT_DIAL_FAILED, 1);
        count_request(lease, -1);
        lease_next(lease, NULL, why);
    }
    if (lease->state != LEASE_WAITING) {
        task_wake(room->ring, lease->owner);
    }
}

void lease_ask(struct lease *lease, struct upstream *room, struct backend *backend,
               const struct pick *pick, struct task *owner) {
    ensure_magic(room, UPSTREAM_MAGIC);
    *lease = (struct lease){.room = room, .backend = backend, .owner = owner,
                            .fresh = pick->fresh, .told = pick->told};
    lease->asked_us = ring_now_us(room->ring);
    task_init(&lease->dialed, lease_dialed_run);
    room->leases++;
    lease_next(lease, pick->avoid, CLOSE_NO_SERVER);
}

void lease_end(struct lease *lease, enum close_reason why) {
    if (lease->state == LEASE_NONE) {
        return;
    }
    ensure(lease->room->leases > 0);
    lease->room->leases--;
    task_cancel(lease->room->ring, &lease->dialed);
    if (lease->state == LEASE_READY) {
        lease->stream->ops->release(lease->stream, why);
        lease->stream = NULL;
    }
    if (lease->state == LEASE_READY || lease->state == LEASE_WAITING) {
        count_request(lease, -1);
        relief_forget(lease);
        if (lease->session != NULL) {
            local_server_give(lease_local(lease), lease->session);
        }
        lease->session = NULL;
    }
    lease->state = LEASE_NONE;
}

/* --- The room ----------------------------------------------------------------------------- */

void upstream_init(struct upstream *room, struct http *http, struct registry *registry,
                   uint32_t ring_index) {
    ensure(ring_index < registry->ring_count);
    *room = (struct upstream){.magic = UPSTREAM_MAGIC, .ring = http->ring, .http = http,
                              .registry = registry, .ring_index = ring_index};
    sys_random(&room->luck, sizeof room->luck);
    room->luck |= 1;
    list_init(&room->wanting);
    task_init(&room->relief, relief_run);
    http->net->relief = &room->relief;
    room->backends = mem_zero(registry->backend_count * sizeof *room->backends);
    for (uint32_t i = 0; i < registry->backend_count; i++) {
        struct backend *backend = &registry->backends[i];
        struct local_server *servers = mem_zero(backend->server_count * sizeof *servers);
        room->backends[i].servers = servers;
        for (uint32_t k = 0; k < backend->server_count; k++) {
            local_server_init(&servers[k], room, backend, &backend->servers[k]);
        }
    }
}

static void each_server(struct upstream *room, void (*call)(struct local_server *)) {
    for (uint32_t i = 0; i < room->registry->backend_count; i++) {
        for (uint32_t k = 0; k < room->registry->backends[i].server_count; k++) {
            call(&room->backends[i].servers[k]);
        }
    }
}

void upstream_drain(struct upstream *room) {
    room->draining = true;
    each_server(room, local_server_drain);
}

void upstream_fini(struct upstream *room) {
    ensure_magic(room, UPSTREAM_MAGIC);
    ensure(room->leases == 0);
    each_server(room, local_server_fini);
    room->http->net->relief = NULL;
    task_cancel(room->ring, &room->relief);
    for (uint32_t i = 0; i < room->registry->backend_count; i++) {
        mem_free(room->backends[i].servers);
    }
    mem_free(room->backends);
    room->magic = 0;
}
