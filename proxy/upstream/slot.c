/* Slots of servers, counted for the whole process; who waits for one; and servers that are away. */
#include "upstream/upstream_priv.h"

/* A server that refuses connections is tried again by one request at a time: soon, and the longer
 * it is away the less often. */
#define AWAY_RETRY_MIN_MS 50u
#define AWAY_RETRY_MAX_MS 500u
/* One that was away for longer is not the process that it was, and has its slow start. */
#define AWAY_COLD_MS 2000u

/* How long a request waits for other servers than those that have failed it. */
#define AVOIDS_MS 5000u

/* --- Servers that are away ---------------------------------------------------------------- */

bool server_is_there(const struct server *server) {
    return atomic_load(&server->away_ms) == 0;
}

/* Those that wait would take every slot that comes free, and a saturated server was never checked:
 * so the next one is the check's. */
static uint32_t slots_for_requests(const struct server *server) {
    bool checks = atomic_load_explicit(&server->check_waits, memory_order_relaxed);
    return server->slots - (checks ? 1 : 0);
}

bool server_is_open(const struct server *server, uint64_t now_ms) {
    if (atomic_load(&server->away_ms) != 0) {
        return now_ms >= atomic_load(&server->retry_ms) && !atomic_load(&server->trying);
    }
    return server->slots == 0 || atomic_load(&server->used) < slots_for_requests(server);
}

/* One that was never there is not waited for as long as one that is being restarted: who has just
 * written the wrong port shall see it soon. */
static uint64_t away_limit_ms(const struct backend *backend, const struct server *server) {
    return atomic_load(&server->seen) ? backend->queue_ms : backend->connect_ms;
}

/* How long it is worth while to wait for one of the servers to be back. */
static uint64_t away_left_ms(const struct upstream *room, struct backend *backend) {
    uint64_t now = ring_now_ms(room->ring), left = names_left_ms(room, backend);
    for (uint32_t i = 0; i < backend->server_count; i++) {
        const struct server *server = &backend->servers[i];
        uint64_t since = atomic_load(&server->away_ms);
        if (atomic_load(&server->admin) != SERVER_READY) {
            continue;
        }
        uint64_t limit = since == 0 ? backend->queue_ms : away_limit_ms(backend, server);
        uint64_t waited = since == 0 || now < since ? 0 : now - since;
        left = limit > waited && limit - waited > left ? limit - waited : left;
    }
    return left;
}

static void away_tried(struct server *server, uint64_t retry_ms) {
    atomic_store(&server->retry_ms, retry_ms);
    atomic_store(&server->trying, false);
}

/* The next one may, unless that was settled otherwise meanwhile. */
static void away_untried(struct server *server, uint64_t now) {
    if (atomic_load(&server->trying)) {
        away_tried(server, now);
    }
}

/* With the lock. False: known already, and somebody else is to try. */
static bool away_missed(struct server *server, bool trial, uint64_t now) {
    uint64_t since = atomic_load(&server->away_ms);
    if (since != 0 && !trial) {
        return false;
    }
    eject_refused(server, now);
    if (since == 0) {
        since = now | 1;
        atomic_store(&server->away_ms, since);
    }
    uint64_t pause = now > since ? (now - since) / 4 : 0;
    if (now > since + AWAY_COLD_MS) {
        server_say_away(server, now - since);
    }
    pause = pause < AWAY_RETRY_MIN_MS ? AWAY_RETRY_MIN_MS : pause;
    pause = pause > AWAY_RETRY_MAX_MS ? AWAY_RETRY_MAX_MS : pause;
    away_tried(server, now + pause);
    return true;
}

void slot_missed(struct lease *lease) {
    struct backend *backend = lease->backend;
    if (backend->queue->max == 0) {
        return;   /* nobody may wait for its being back, so each request tries for itself */
    }
    pthread_mutex_lock(&backend->verdicts);
    bool missed = away_missed(lease->server, lease->trial, ring_now_ms(lease->room->ring));
    pthread_mutex_unlock(&backend->verdicts);
    if (missed) {
        lease->trial = false;
        slot_retry_arm(lease->room, backend);   /* those that wait came when it was only busy */
    }
}

void slot_untried(struct lease *lease) {
    if (lease->trial) {
        lease->trial = false;
        away_untried(lease->server, ring_now_ms(lease->room->ring));
    }
}

/* Only a new process is cold, and one that was there before. */
static void away_over(struct lease *lease, bool was_seen) {
    struct server *server = lease->server;
    uint64_t now = ring_now_ms(lease->room->ring), since = 0;
    pthread_mutex_lock(&lease->backend->verdicts);
    if (!atomic_load(&server->ejected)) {
        since = atomic_exchange(&server->away_ms, 0);
        server_say_there(server, now > since ? now - since : 0);
        atomic_store(&server->trying, false);
        atomic_store(&server->failed, 0);
    }
    pthread_mutex_unlock(&lease->backend->verdicts);
    if (was_seen && since != 0 && now > since + AWAY_COLD_MS) {
        slow_start_begin(server, now);
    }
    slot_serve(lease->room, lease->backend);
}

void slot_found(struct lease *lease) {
    struct server *server = lease->server;
    bool was_seen = atomic_load_explicit(&server->seen, memory_order_relaxed);
    if (!was_seen) {
        atomic_store(&server->seen, true);
    }
    bool away = atomic_load_explicit(&server->away_ms, memory_order_relaxed) != 0;
    if (away && atomic_load(&server->ejected)) {
        return;   /* what it answers shows more */
    }
    lease->trial = false;
    if (away) {
        away_over(lease, was_seen);
    }
}

/* --- Slots -------------------------------------------------------------------------------- */

static bool take_one(struct server *server, uint32_t of) {
    uint32_t used = atomic_load(&server->used);
    while (server->slots == 0 || used < of) {
        if (atomic_compare_exchange_weak(&server->used, &used, used + 1)) {
            return true;
        }
    }
    return false;
}

bool slot_take_of(struct server *server) {
    return !server->counted || take_one(server, slots_for_requests(server));
}

bool slot_take_check(struct server *server) {
    bool has = !server->counted || take_one(server, server->slots);
    if (!has) {   /* one that comes free from now on is told; one before, seen */
        atomic_store(&server->check_waits, true);
        has = take_one(server, server->slots);
    }
    if (has) {
        atomic_store(&server->check_waits, false);
    }
    return has;
}

void slot_leave_check(struct upstream *room, struct server *server) {
    if (atomic_exchange(&server->check_waits, false)) {
        slot_serve(room, server->backend);
    }
}

/* Of one that is away: this request is the one that tries it. */
static bool away_take(struct upstream *room, struct server *server, uint64_t now_ms, bool *trial) {
    if (now_ms < atomic_load(&server->retry_ms) || atomic_exchange(&server->trying, true)) {
        return false;
    }
    *trial = slot_take_of(server);
    if (!*trial) {
        atomic_store(&server->trying, false);
    } else if (atomic_load(&server->ejected)) {
        stats_add(ring_stats(room->ring), STAT_EJECTION_TRIALS, 1);
    }
    return *trial;
}

static bool server_take(struct upstream *room, struct server *server, uint64_t now_ms,
                        bool *trial) {
    *trial = false;
    return atomic_load(&server->away_ms) == 0 ? slot_take_of(server)
                                              : away_take(room, server, now_ms, trial);
}

struct server *slot_take(struct upstream *room, struct backend *backend, struct choice choice,
                         bool *trial) {
    choice.now_ms = ring_now_ms(room->ring);
    for (uint32_t i = 0; i < backend->server_count; i++) {
        struct server *server = balance_pick(room, backend, &choice);
        if (server == NULL || server_take(room, server, choice.now_ms, trial)) {
            return server;
        }
        /* Another ring was faster. */
        if (server != choice.stuck) {
            choice.tried |= server_bit(server);
        }
    }
    return NULL;
}

void slot_give(struct upstream *room, struct backend *backend, struct server *server) {
    if (server->counted) {
        uint32_t before = atomic_fetch_sub(&server->used, 1);
        ensure(before > 0);
        if (atomic_load(&server->check_waits)) {
            server_tell_checker(server);
        }
    }
    if (server_is_awaited(backend, server)) {
        slot_serve(room, backend);
    }
}

/* --- Waiting ------------------------------------------------------------------------------ */

static struct waiter *waiter_at(struct queue_place *place) {
    return container_of(place, struct waiter, place);
}

/* To its own ring, which alone may touch its lease. */
static void waiter_send(struct upstream *from, struct waiter *waiter) {
    if (waiter->room == from) {
        list_append(&from->granted, &waiter->granted);
        task_wake(from->ring, &from->grants);
    } else {
        ring_post(waiter->room->ring, &waiter->post);
    }
}

/* Home again. A slot that nobody wants any more goes to the next one. */
static void waiter_over(struct waiter *waiter) {
    struct upstream *room = waiter->room;
    struct backend *backend = waiter->backend;
    struct lease *lease = waiter->lease;
    struct server *server = waiter->server;
    bool trial = waiter->trial, moved = waiter->moved;
    pool_put(&room->waiters, waiter);
    if (lease != NULL) {
        lease->waiter = NULL;
        lease->trial = trial;
        if (moved) {
            lease_moved(lease);
        } else {
            lease_granted(lease, server);
        }
        return;
    }
    if (server != NULL) {
        if (trial) {
            away_untried(server, ring_now_ms(room->ring));
        }
        slot_give(room, backend, server);
    }
}

static void waiter_run(struct post *post) {
    waiter_over(container_of(post, struct waiter, post));
}

static void grants_run(struct task *task) {
    struct upstream *room = container_of(task, struct upstream, grants);
    struct list_node granted;
    list_take_all(&granted, &room->granted);
    for (struct list_node *node; (node = list_pop(&granted)) != NULL;) {
        waiter_over(container_of(node, struct waiter, granted));
    }
}

static void waiter_grant(struct waiter *waiter, struct list_node *served) {
    queue_serve(waiter->queue, &waiter->place);
    waiter->state = WAITER_GRANTED;
    list_append(served, &waiter->granted);
}

/* So many that avoid the servers with free slots are passed by, each time. */
#define PASSED_MAX 16u

/* Those that may go anywhere. */
static void serve_any(struct upstream *room, struct backend *backend, struct list_node *served) {
    struct queue *queue = backend->queue;
    pthread_mutex_lock(&queue->lock);
    uint32_t passed = 0;
    struct queue_place *place = queue_next(queue);
    while (place != NULL && passed < PASSED_MAX) {
        struct waiter *waiter = waiter_at(place);
        struct choice choice = {.key = waiter->key, .avoid = waiter->avoid};
        waiter->server = slot_take(room, backend, choice, &waiter->trial);
        if (waiter->server != NULL) {
            atomic_store_explicit(&waiter->server->owes, true, memory_order_relaxed);
            waiter_grant(waiter, served);
            place = queue_next(queue);
        } else if (waiter->avoid != 0) {
            passed++;   /* what it avoids may be just right for those behind it */
            place = queue_after(queue, place);
        } else {
            break;
        }
    }
    pthread_mutex_unlock(&queue->lock);
}

/* Those that are stuck to one server: as many as it has slots for, or `max`. All of them, without a
 * slot, where it is not there any more. */
static void serve_stuck(struct backend *backend, struct server *server, uint32_t max,
                        struct list_node *served) {
    struct queue *queue = server->queue;
    pthread_mutex_lock(&queue->lock);
    bool sticks = balance_sticks(backend, &(struct choice){.stuck = server});
    struct queue_place *place;
    for (uint32_t n = 0; (place = queue_next(queue)) != NULL && (n < max || !sticks); n++) {
        struct waiter *waiter = waiter_at(place);
        if (sticks && !slot_take_of(server)) {
            break;
        }
        waiter->server = sticks ? server : NULL;
        waiter->moved = !sticks;
        atomic_store_explicit(&server->owes, false, memory_order_relaxed);
        waiter_grant(waiter, served);
    }
    pthread_mutex_unlock(&queue->lock);
}

/* The slots of a server that both wait for go by turns. */
static void serve_each_stuck(struct backend *backend, bool by_turn, struct list_node *served) {
    for (uint32_t i = 0; backend->has_queues && i < backend->server_count; i++) {
        struct server *server = &backend->servers[i];
        if (server->queue != NULL && atomic_load(&server->queue->waiting) > 0 &&
            (!by_turn || atomic_load_explicit(&server->owes, memory_order_relaxed))) {
            serve_stuck(backend, server, by_turn ? 1 : UINT32_MAX, served);
        }
    }
}

void slot_serve(struct upstream *room, struct backend *backend) {
    struct list_node served;
    list_init(&served);
    serve_each_stuck(backend, true, &served);
    serve_any(room, backend, &served);
    serve_each_stuck(backend, false, &served);
    for (struct list_node *node; (node = list_pop(&served)) != NULL;) {
        waiter_send(room, container_of(node, struct waiter, granted));
    }
}

/* While servers are away nobody gives a slot back: time does. */
void slot_retry_arm(struct upstream *room, struct backend *backend) {
    struct local_backend *local = &room->backends[backend->index];
    uint64_t now = ring_now_ms(local->room->ring), due = UINT64_MAX;
    for (uint32_t i = 0; i < local->backend->server_count; i++) {
        const struct server *server = &local->backend->servers[i];
        if (atomic_load(&server->away_ms) != 0) {
            uint64_t retry = atomic_load(&server->retry_ms);
            retry = retry > now ? retry : now + AWAY_RETRY_MIN_MS;
            due = retry < due ? retry : due;
        }
    }
    if (due != UINT64_MAX && atomic_load(&local->backend->queue->waiting) > 0) {
        timer_arm(local->room->ring, &local->retry, due - now);
    }
}

static void retry_fired(struct timer *timer) {
    struct local_backend *local = container_of(timer, struct local_backend, retry);
    slot_serve(local->room, local->backend);
    slot_retry_arm(local->room, local->backend);
}

static uint64_t patience_left_ms(const struct lease *lease) {
    uint64_t waited = (ring_now_us(lease->room->ring) - lease->asked_us) / 1000;
    uint64_t left = lease->backend->queue_ms > waited ? lease->backend->queue_ms - waited : 0;
    uint64_t away = away_left_ms(lease->room, lease->backend);
    return left < away ? left : away;
}

/* The others have been busy for long, or for as long as it may wait: then it may as well go where
 * it failed. */
static void avoids_no_more(struct lease *lease) {
    struct queue *queue = lease->waiter->queue;
    pthread_mutex_lock(&queue->lock);
    lease->waiter->avoid = 0;
    pthread_mutex_unlock(&queue->lock);
    slot_serve(lease->room, lease->backend);
}

static void patience_fired(struct timer *timer) {
    struct lease *lease = container_of(timer, struct lease, patience);
    if (lease->waiter->avoid != 0) {
        avoids_no_more(lease);
    }
    uint64_t left_ms = patience_left_ms(lease);
    if (left_ms > 0) {   /* a server that was away has come back */
        timer_arm(lease->room->ring, &lease->patience, left_ms);
    } else if (slot_leave(lease)) {
        lease_expired(lease);
    }   /* else: served this very moment */
}

static void patience_arm(struct lease *lease) {
    uint64_t left_ms = patience_left_ms(lease);
    bool sooner = lease->avoid != 0 && left_ms > AVOIDS_MS;
    timer_init(&lease->patience, patience_fired);
    timer_arm(lease->room->ring, &lease->patience, sooner ? AVOIDS_MS : left_ms);
}

/* Stands in line. False: there is no room. */
static bool waiter_join(struct waiter *waiter) {
    struct lease *lease = waiter->lease;
    struct queue *queue = waiter->queue;
    struct queue_place *yields = NULL;
    pthread_mutex_lock(&queue->lock);
    bool joined = lease->parked ? queue_return(queue, &waiter->place, &lease->client)
                                : queue_join(queue, &waiter->place, &lease->client, &yields);
    if (yields != NULL) {
        waiter_at(yields)->state = WAITER_GRANTED;
        waiter_at(yields)->server = NULL;
    }
    pthread_mutex_unlock(&queue->lock);
    if (yields != NULL) {
        waiter_send(waiter->room, waiter_at(yields));
    }
    return joined;
}

struct queue *slot_stuck_queue(const struct lease *lease) {
    struct choice choice = {.stuck = lease->stuck, .tried = lease->tried};
    return balance_sticks(lease->backend, &choice) ? lease->stuck->queue : lease->backend->queue;
}

enum close_reason slot_wait(struct lease *lease) {
    struct upstream *room = lease->room;
    struct backend *backend = lease->backend;
    struct waiter *waiter = pool_get(&room->waiters);
    if (waiter == NULL) {
        return CLOSE_NO_MEMORY;
    }
    *waiter = (struct waiter){.post.run = waiter_run, .room = room, .backend = backend,
                              .lease = lease, .queue = slot_queue(lease), .key = lease->key,
                              .avoid = lease->avoid,
                              .state = WAITER_QUEUED};
    if (!waiter_join(waiter)) {
        pool_put(&room->waiters, waiter);
        return CLOSE_QUEUE_FULL;
    }
    stats_add(ring_stats(room->ring), STAT_QUEUED, 1);
    lease->waiter = waiter;
    lease->waits_us = ring_now_us(room->ring);
    patience_arm(lease);
    slot_serve(room, backend);   /* one may have come free before we stood in line */
    local_backend_ask(room, backend);
    slot_retry_arm(room, backend);
    return CLOSE_NONE;
}

bool slot_leave(struct lease *lease) {
    struct waiter *waiter = lease->waiter;
    struct queue *queue = waiter->queue;
    pthread_mutex_lock(&queue->lock);
    bool queued = waiter->state == WAITER_QUEUED;
    if (queued) {
        queue_leave(queue, &waiter->place);
    }
    pthread_mutex_unlock(&queue->lock);
    if (queued) {
        pool_put(&lease->room->waiters, waiter);
        lease->waiter = NULL;
    }
    return queued;
}

void slot_abandon(struct lease *lease) {
    timer_cancel(lease->room->ring, &lease->patience);
    if (!slot_leave(lease)) {
        lease->waiter->lease = NULL;   /* it has a slot already, and will give it back */
        lease->waiter = NULL;
    }
}

bool slot_tried_all(const struct backend *backend, uint64_t tried) {
    bool left = false;
    for (uint32_t i = 0; i < backend->server_count && !left; i++) {
        const struct server *server = &backend->servers[i];
        bool was_tried = (tried & server_bit(server)) != 0;
        left = !was_tried && atomic_load(&server->admin) == SERVER_READY &&
               !atomic_load(&server->ejected);
    }
    return !left;
}

bool slot_none_ready(const struct backend *backend) {
    uint32_t i = 0;
    while (i < backend->server_count && atomic_load(&backend->servers[i].admin) != SERVER_READY) {
        i++;
    }
    return i == backend->server_count;
}

bool slot_all_away(const struct backend *backend) {
    uint32_t i = 0;
    while (i < backend->server_count && (atomic_load(&backend->servers[i].away_ms) != 0 ||
                                         atomic_load(&backend->servers[i].admin) != SERVER_READY)) {
        i++;
    }
    return i == backend->server_count;
}

bool slot_never_there(const struct backend *backend) {
    uint32_t i = 0;
    while (i < backend->server_count && !atomic_load(&backend->servers[i].seen)) {
        i++;
    }
    return i == backend->server_count && slot_all_away(backend);
}

bool slot_hopeless(const struct upstream *room, struct backend *backend) {
    return away_left_ms(room, backend) == 0;
}

/* --- The room's part ---------------------------------------------------------------------- */

void slot_init(struct upstream *room) {
    pool_init(&room->waiters, "waiters", sizeof(struct waiter), 0);   /* the queues have bounds */
    list_init(&room->granted);
    task_init(&room->grants, grants_run);
    for (uint32_t i = 0; i < room->registry->backend_count; i++) {
        struct local_backend *local = &room->backends[i];
        local->room = room;
        local->backend = &room->registry->backends[i];
        timer_init(&local->retry, retry_fired);
    }
}

void slot_fini(struct upstream *room) {
    for (uint32_t i = 0; i < room->registry->backend_count; i++) {
        timer_cancel(room->ring, &room->backends[i].retry);
    }
    task_cancel(room->ring, &room->grants);
    pool_fini(&room->waiters);
}
