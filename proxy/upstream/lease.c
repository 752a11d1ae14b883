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

static void lease_lose_slot(struct lease *lease) {
    slot_give(lease->room, lease->backend, lease->server);
}

/* --- From a server to a stream ------------------------------------------------------------ */

static void lease_fail(struct lease *lease, enum close_reason why) {
    lease->state = LEASE_FAILED;
    lease->why = (uint8_t)why;
}

static bool lease_open(struct lease *lease, struct session *session) {
    session->owner = &lease_local(lease)->settled;
    struct stream *stream = session->ops->open(session, lease->owner);
    if (stream == NULL) {
        return false;
    }
    lease->session = session;
    lease->stream = stream;
    lease->ready_us = ring_now_us(lease->room->ring);
    lease->state = LEASE_READY;
    return true;
}

/* It can carry no stream now, for want of memory or as its server has ended it. Without a request
 * it would occupy a worker of a server with slots. */
static void lease_leave(struct lease *lease, struct session *session) {
    if (session->dead || lease->server->slots != 0) {
        session_forget(session);
    } else {
        (void)local_server_give(lease_local(lease), session);
    }
}

/* What a kept connection does says nothing about whether its server takes new ones. */
static bool lease_reuse(struct lease *lease) {
    struct session *session = local_server_take(lease_local(lease), lease->once);
    if (session == NULL) {
        return false;
    }
    if (!lease_open(lease, session)) {
        lease_leave(lease, session);
        return false;
    }
    slot_untried(lease);
    lease->reused = true;
    stats_add(ring_stats(lease->room->ring), STAT_REUSED, 1);
    return true;
}

/* A slot that an idle connection of this ring holds, which lease_reuse then takes as well. */
static struct server *lease_rob(struct lease *lease) {
    const struct queue *queue = slot_queue(lease);
    for (uint32_t i = 0; !lease->fresh && i < lease->backend->server_count; i++) {
        struct server *server = &lease->backend->servers[i];
        bool sticks = queue == server->queue;
        enum server_admin most = sticks ? SERVER_DRAIN : SERVER_READY;
        if ((sticks || queue == lease->backend->queue) && !atomic_load(&server->ill) &&
            atomic_load(&server->admin) <= most &&
            local_server_rob(local_server_of(lease->room, lease->backend, server))) {
            return server;
        }
    }
    return NULL;
}

struct str server_preface(const struct server *server, const struct client_told *told,
                          uint8_t to[PROXYPROTO_WRITE_MAX]) {
    static const struct client_told nobody;
    told = told != NULL ? told : &nobody;
    uint32_t len = 0;
    if (server->send_proxy == CONF_PROXY_V1) {
        len = proxyproto_write_v1(&told->ends, to);
    } else if (server->send_proxy == CONF_PROXY_V2) {
        len = proxyproto_write_v2(&told->ends, &told->more, to);
    }
    return (struct str){(const char *)to, len};
}

/* Of what we lack ourselves the next server's connection would lack as well. */
static bool lease_lacks(enum close_reason why) {
    return why == CLOSE_NO_DESCRIPTOR || why == CLOSE_NO_MEMORY;
}

/* To the server that was picked. NONE: the lease waits for it, or for a descriptor to dial with;
 * its slot is its own meanwhile. */
static enum close_reason lease_dial(struct lease *lease) {
    struct upstream *room = lease->room;
    uint8_t preface[PROXYPROTO_WRITE_MAX];
    struct up_params params = {.to = &lease->server->addr, .limits = &lease->backend->limits,
                               .preface = server_preface(lease->server, lease->told, preface),
                               .limit = lease->server->named ? &lease->server->wires : NULL,
                               .once = lease->server->send_proxy != CONF_PROXY_NO,
                               .protocol = lease->server->uwsgi ? UP_UWSGI : UP_HTTP};
    lease->state = LEASE_WAITING;
    lease->session = h1_up_new(room->http, &params, &lease->dialed);
    if (lease->session != NULL) {
        stats_add(ring_stats(room->ring), STAT_DIALED, 1);
        return CLOSE_NONE;
    }
    enum close_reason why = room->http->net->refused;
    return lease_lacks(why) && relief_wait(lease) ? CLOSE_NONE : why;
}

/* A kept connection, or a new one; NONE: there is one, or the lease waits for it. */
static enum close_reason lease_connect(struct lease *lease) {
    return !lease->fresh && lease_reuse(lease) ? CLOSE_NONE : lease_dial(lease);
}

/* A connect to a unix socket takes time only while its backlog is full. */
static bool lease_found_full(const struct lease *lease, enum close_reason why) {
    return why == CLOSE_CONNECT_TIMEOUT && lease->server->addr.sa.any.sa_family == AF_UNIX;
}

/* No connection to its server: the slot goes back. */
static void lease_missed(struct lease *lease, enum close_reason why) {
    bool full = lease_found_full(lease, why), lacks = lease_lacks(why);
    bool ejected = !lacks && (!full || lease->trial) && eject_missed(lease, why);
    if (full) {
        atomic_store(&lease->server->seen, true);
    }
    if (!ejected && (full || why == CLOSE_CONNECT_REFUSED || (lease->trial && !lacks))) {
        slot_missed(lease);
    } else {
        slot_untried(lease);
    }
    lease->stuck = NULL;   /* if it was this one, it has had its chance */
    stats_add(ring_stats(lease->room->ring), STAT_DIAL_FAILED, 1);
    count_request(lease, -1);
    lease_lose_slot(lease);
}

/* --- Which server ------------------------------------------------------------------------- */

static bool lease_tried_all(const struct lease *lease) {
    uint32_t tries = lease->tries - lease->tries_before;
    return tries > 0 && (tries >= lease->backend->server_count ||
                         slot_tried_all(lease->backend, lease->tried));
}

/* One that has a slot for it now; NULL: none. Who comes when others wait goes behind them. */
static struct server *lease_pick(struct lease *lease) {
    bool first = lease->tries == lease->tries_before;
    bool others_wait = atomic_load(&slot_queue(lease)->waiting) > 0;
    if (lease_tried_all(lease) || (first && others_wait)) {
        return NULL;
    }
    struct choice choice = {.tried = lease->tried, .avoid = lease->avoid, .key = lease->key,
                            .stuck = lease->stuck};
    struct server *server = slot_take(lease->room, lease->backend, choice, &lease->trial);
    server = server != NULL ? server : lease_rob(lease);
    if (!first && server != NULL) {
        stats_add(ring_stats(lease->room->ring), STAT_RETRIED_CONNECT, 1);
    }
    return server;
}

/* It has tried all, and none is there; or others have. */
static bool lease_none_there(const struct lease *lease) {
    return slot_all_away(lease->backend) ||
           (lease->met != CLOSE_NO_SERVER && lease_tried_all(lease));
}

static enum close_reason lease_met(const struct lease *lease) {
    bool refused = lease->met == CLOSE_NO_SERVER && !slot_none_ready(lease->backend);
    return refused ? CLOSE_CONNECT_REFUSED : (enum close_reason)lease->met;
}

/* No server is left to try at once. Whether it is worth while to wait for one: those that hang
 * would hang the next time, too. False: not for the one that it was stuck to, so that there may be
 * another to try. */
static bool lease_wait(struct lease *lease, enum close_reason last) {
    bool away = last == CLOSE_CONNECT_REFUSED || last == CLOSE_NO_SERVER ||
                lease_found_full(lease, last);
    lease->met = (uint8_t)last;
    if (lease_lacks(last) || (!away && lease_tried_all(lease))) {
        lease_fail(lease, last);
        return true;
    }
    if (slot_hopeless(lease->room, lease->backend)) {
        lease_fail(lease, lease_met(lease));
        return true;
    }
    enum close_reason why = slot_wait(lease);
    lease->state = LEASE_WAITING;
    if (why == CLOSE_QUEUE_FULL && lease->stuck != NULL) {
        lease->stuck = NULL;
        return false;
    }
    if (why != CLOSE_NONE) {
        bool nobody_may = why == CLOSE_QUEUE_FULL && lease->backend->queue->max == 0;
        lease_fail(lease, nobody_may && lease_none_there(lease) ? lease_met(lease) : why);
    }
    return true;
}

/* The server may be another one by the time that the name is asked for. */
static void lease_note_name(struct lease *lease) {
    const char *name = lease->server->name;
    size_t size = strlen(name) + 1;
    char *copy = lease->arena != NULL ? arena_get(lease->arena, size) : NULL;
    lease->name = copy != NULL ? memcpy(copy, name, size) : "-";
}

/* To `server`, of which it has a slot, or to the next one (NULL), as far as can be without
 * waiting. */
static void lease_next(struct lease *lease, struct server *server, enum close_reason last) {
    for (;; server = NULL) {
        server = server != NULL ? server : lease_pick(lease);
        if (server == NULL) {
            if (lease_wait(lease, last)) {
                return;
            }
            continue;
        }
        lease->server = server;
        if (server->named) {
            lease_note_name(lease);
        } else {
            lease->name = NULL;   /* the one before may have been */
        }
        lease->went_us = ring_now_us(lease->room->ring);
        lease->tries++;
        /* Should the server be away: it was here before those that wait, and only so many are. */
        lease->parked = lease->parked || server->slots != 0;
        lease->tried |= server_bit(server);
        count_request(lease, 1);
        last = lease_connect(lease);
        if (last == CLOSE_NONE) {
            return;
        }
        lease_missed(lease, last);
        if (lease_lacks(last) || !lease->backend->retry_on.connect) {
            lease_fail(lease, last);
            return;
        }
    }
}

/* After a connection that failed. */
static void lease_elsewhere(struct lease *lease, enum close_reason why) {
    if (lease->backend->retry_on.connect) {
        lease_next(lease, NULL, why);
    } else {
        lease_fail(lease, why);
    }
}

static void lease_tell(struct lease *lease) {
    if (lease->state != LEASE_WAITING) {
        task_wake(lease->room->ring, lease->owner);
    }
}

void lease_again(struct lease *lease) {
    enum close_reason why = lease_connect(lease);
    if (why != CLOSE_NONE) {
        lease_missed(lease, why);
        if (lease_lacks(why)) {
            lease_fail(lease, why);
        } else {
            lease_elsewhere(lease, why);
        }
    }
    lease_tell(lease);
}

/* The dial has ended, well or not. */
static void lease_dialed_run(struct task *task) {
    struct lease *lease = container_of(task, struct lease, dialed);
    struct session *session = lease->session;
    if (lease->state != LEASE_WAITING || session == NULL || (!session->up && !session->dead)) {
        return;
    }
    /* Up, and of no use: the server has ended it at once, or spoke first; or there is no memory for
     * a stream. */
    bool ready = !session->dead && session->ops->slots(session) > 0;
    enum close_reason why = ready         ? CLOSE_NO_MEMORY
                            : session->up ? CLOSE_BACKEND_CLOSED
                                          : (enum close_reason)session->why;
    if (session->up) {
        slot_found(lease);
    }
    if (session->dead || !lease_open(lease, session)) {
        lease->session = NULL;
        lease_leave(lease, session);
        lease_missed(lease, why);
        lease_elsewhere(lease, why);
    }
    lease_tell(lease);
}

/* --- Waiting for a slot ------------------------------------------------------------------- */

static void lease_waited(struct lease *lease) {
    timer_cancel(lease->room->ring, &lease->patience);
    lease->queued_us += ring_now_us(lease->room->ring) - lease->waits_us;
    lease->waits_us = 0;
}

void lease_granted(struct lease *lease, struct server *server) {
    lease_waited(lease);
    lease->parked = true;   /* from now on it goes before those that come later */
    lease->tried = 0;
    lease->tries_before = lease->tries;
    if (server == NULL) {
        lease_fail(lease, CLOSE_QUEUE_FULL);
    } else {
        lease_next(lease, server, CLOSE_NONE);
    }
    lease_tell(lease);
}

void lease_moved(struct lease *lease) {
    lease_waited(lease);
    lease->stuck = NULL;
    lease->tried = 0;
    lease->tries_before = lease->tries;
    lease_next(lease, NULL, CLOSE_NO_SERVER);
    lease_tell(lease);
}

void lease_expired(struct lease *lease) {
    lease_waited(lease);
    lease_fail(lease, slot_never_there(lease->backend) ? lease_met(lease) : CLOSE_QUEUE_TIMEOUT);
    task_wake(lease->room->ring, lease->owner);
}

void lease_ask(struct lease *lease, struct upstream *room, struct backend *backend,
               const struct pick *pick, struct task *owner) {
    ensure_magic(room, UPSTREAM_MAGIC);
    uint32_t tries = lease->tries;
    uint64_t avoid = lease->avoid, queued_us = lease->queued_us;
    *lease = (struct lease){.room = room, .backend = backend, .owner = owner, .told = pick->told,
                            .arena = pick->arena,
                            .client = pick->client, .key = pick->key, .fresh = pick->fresh,
                            .once = pick->once, .parked = pick->fresh, .avoid = avoid,
                            .tries = tries, .tries_before = tries, .queued_us = queued_us,
                            .stuck = pick->stuck};
    if (pick->stuck != NULL && (avoid & server_bit(pick->stuck)) != 0) {
        lease->stuck = NULL;   /* nor is it waited for */
    }
    lease->asked_us = ring_now_us(room->ring) - queued_us;
    task_init(&lease->dialed, lease_dialed_run);
    room->leases++;
    lease_next(lease, NULL, CLOSE_NO_SERVER);
}

/* --- The end ------------------------------------------------------------------------------ */

/* A dial that nobody waits for becomes an idle connection. */
static void lease_leave_dial(struct lease *lease) {
    struct session *session = lease->session;
    lease->session = NULL;
    relief_forget(lease);
    count_request(lease, -1);
    slot_untried(lease);
    if (session != NULL) {
        lease_leave(lease, session);
    }
    lease_lose_slot(lease);
}

void lease_put_back(struct lease *lease, enum close_reason why) {
    lease->stream->ops->release(lease->stream, why);
    lease->stream = NULL;
    count_request(lease, -1);
    struct session *session = lease->session;
    lease->session = NULL;
    if (!local_server_give(lease_local(lease), session)) {
        lease_lose_slot(lease);
    }
}

void lease_end(struct lease *lease, enum close_reason why) {
    if (lease->state == LEASE_NONE) {
        return;
    }
    ensure(lease->room->leases > 0);
    lease->room->leases--;
    task_cancel(lease->room->ring, &lease->dialed);
    if (lease->waits_us != 0) {
        lease_waited(lease);
    }
    lease->ended_us = ring_now_us(lease->room->ring);
    enum lease_state state = (enum lease_state)lease->state;
    lease->state = LEASE_NONE;
    if (state == LEASE_READY && !lease->answered) {
        eject_ended(lease, why);
    }
    if (state == LEASE_READY && (why == CLOSE_NONE || !orphan_new(lease))) {
        lease_put_back(lease, why);
    } else if (state == LEASE_WAITING && lease->waiter != NULL) {
        slot_abandon(lease);
    } else if (state == LEASE_WAITING) {
        lease_leave_dial(lease);
    }
}

bool upstream_is_silent(const struct lease *lease) {
    const struct server *server = lease->server;
    return atomic_load(&server->failed) != 0 && server_is_fit(server) &&
           lease->backend->queue->max != 0 && !upstream_has_other(lease->backend, lease->avoid);
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
    slot_init(room);
    budget_join(room);
    orphans_init(room);
    health_init(room);
}

static void each_server(struct upstream *room, void (*call)(struct local_server *)) {
    for (uint32_t i = 0; i < room->registry->backend_count; i++) {
        for (uint32_t k = 0; k < room->registry->backends[i].server_count; k++) {
            call(&room->backends[i].servers[k]);
        }
    }
}

void upstream_trim(struct upstream *room) {
    pool_trim(&room->waiters);
    pool_trim(&room->orphans);
}

void upstream_drain(struct upstream *room) {
    room->draining = true;
    health_stop(room);
    orphans_kill(room);   /* nobody waits for them, and no slot is needed any more */
    each_server(room, local_server_drain);
}

void upstream_kill(struct upstream *room) {
    orphans_kill(room);
}

bool upstream_is_idle(const struct upstream *room) {
    return room->waiters.live == 0 && room->orphans.live == 0;
}

void upstream_fini(struct upstream *room) {
    ensure_magic(room, UPSTREAM_MAGIC);
    ensure(room->leases == 0);
    orphans_kill(room);
    health_fini(room);
    budget_leave(room);
    each_server(room, local_server_fini);
    slot_fini(room);
    pool_fini(&room->orphans);
    room->http->net->relief = NULL;
    task_cancel(room->ring, &room->relief);
    for (uint32_t i = 0; i < room->registry->backend_count; i++) {
        mem_free(room->backends[i].servers);
    }
    mem_free(room->backends);
    room->magic = 0;
}
