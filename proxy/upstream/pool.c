/* Kept connections: per server and ring, bounded per server in the whole process. */
#include "upstream/upstream_priv.h"

/* --- Our share of keepalive --------------------------------------------------------------- */

/* A ring reserves before it keeps, and gives back lazily, so that a busy ring takes and returns
 * its connections without touching what the others touch. */
static bool reserve_one(struct local_server *local) {
    if (local->idle_count < local->reserved) {
        return true;
    }
    struct server *server = local->server;
    uint32_t kept = atomic_load_explicit(&server->kept, memory_order_relaxed);
    do {
        if (kept >= local->backend->keepalive_max) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&server->kept, &kept, kept + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    local->reserved++;
    return true;
}

static void reserve_shrink(struct local_server *local) {
    uint32_t spare = local->reserved - local->idle_count;
    if (spare > 0) {
        atomic_fetch_sub_explicit(&local->server->kept, spare, memory_order_relaxed);
        local->reserved -= spare;
    }
}

/* --- Idle sessions ------------------------------------------------------------------------ */

static struct session *session_at(struct list_node *node) {
    return container_of(node, struct session, link);
}

static struct server_count *idle_counts(struct local_server *local) {
    return &local->server->counts[local->room->ring_index];
}

/* The connection and the slot that it holds part. */
static void slot_part(struct local_server *local, struct session *session) {
    session->holds_slot = false;
    atomic_fetch_sub(&idle_counts(local)->idle, 1);
}

static void idle_unlink(struct local_server *local, struct session *session) {
    list_remove(&session->link);
    local->idle_count--;
}

/* What is not idle any more gives its slot up: who takes it over has one of its own. */
static void idle_remove(struct local_server *local, struct session *session) {
    idle_unlink(local, session);
    if (session->holds_slot) {
        slot_part(local, session);
        slot_give(local->room, local->backend, local->server);
    }
}

static void expire_arm(struct local_server *local) {
    struct list_node *oldest = list_first(&local->idle);
    if (oldest == NULL) {
        timer_cancel(local->room->ring, &local->expire);
        reserve_shrink(local);
        return;
    }
    uint64_t due = session_at(oldest)->since_ms + local->backend->keepalive_ms;
    uint64_t now = ring_now_ms(local->room->ring);
    timer_arm(local->room->ring, &local->expire, due > now ? due - now : 0);
}

static void expire_fired(struct timer *timer) {
    struct local_server *local = container_of(timer, struct local_server, expire);
    uint64_t now = ring_now_ms(local->room->ring);
    for (struct list_node *node; (node = list_first(&local->idle)) != NULL;) {
        struct session *session = session_at(node);
        if (session->since_ms + local->backend->keepalive_ms > now) {
            break;
        }
        idle_remove(local, session);
        session_forget(session);
    }
    reserve_shrink(local);
    expire_arm(local);
}

static bool keep(struct local_server *local, struct session *session) {
    bool shut = local->room->draining || atomic_load(&local->server->shut);
    if (shut || !reserve_one(local)) {
        session_forget(session);
        return false;
    }
    session->since_ms = ring_now_ms(local->room->ring);
    local->brief = local->brief && session->served < 2;
    session->owner = &local->died;
    list_append(&local->idle, &session->link);
    local->idle_count++;
    if (!timer_armed(&local->expire)) {
        expire_arm(local);
    }
    return true;
}

static struct local_server *idlest(struct upstream *room) {
    struct local_server *best = NULL;
    for (uint32_t i = 0; i < room->registry->backend_count; i++) {
        for (uint32_t k = 0; k < room->registry->backends[i].server_count; k++) {
            struct local_server *local = &room->backends[i].servers[k];
            struct list_node *first = list_first(&local->idle);
            if (first != NULL && (best == NULL || session_at(first)->since_ms <
                                                      session_at(best->idle.next)->since_ms)) {
                best = local;
            }
        }
    }
    return best;
}

bool idle_evict(struct upstream *room) {
    struct local_server *local = idlest(room);
    if (local == NULL) {
        return false;
    }
    struct session *session = session_at(local->idle.next);
    idle_remove(local, session);
    session_forget(session);
    return true;
}

/* Some servers close after each answer, unannounced and a moment later (uWSGI's http-socket). Once
 * one was seen to, what can not be repeated goes on no connection of it that has not served twice,
 * or is still there after a while. */
#define PROVEN_MS 50u

static bool is_proven(const struct local_server *local, const struct session *session) {
    return session->served > 1 ||
           ring_now_ms(local->room->ring) - session->since_ms >= PROVEN_MS;
}

static void idle_died(struct local_server *local, struct session *session) {
    local->brief = local->brief || (session->dead && !is_proven(local, session));
    idle_remove(local, session);
    session_forget(session);
}

static void sessions_died(struct task *task) {
    struct local_server *local = container_of(task, struct local_server, died);
    struct list_node *next;
    for (struct list_node *node = local->idle.next; node != &local->idle; node = next) {
        next = node->next;
        struct session *session = session_at(node);
        if (session->dead) {
            idle_died(local, session);
        }
    }
}

/* One of the others is up and idle now, or dead. */
static void sessions_settled(struct task *task) {
    struct local_server *local = container_of(task, struct local_server, settled);
    struct list_node *next;
    for (struct list_node *node = local->others.next; node != &local->others; node = next) {
        next = node->next;
        struct session *session = session_at(node);
        if (session->dead || (session->up && session->idle)) {
            list_remove(&session->link);
            (void)local_server_give(local, session);
        }
    }
}

struct session *local_server_take(struct local_server *local, bool proven) {
    proven = proven && local->brief && !local->server->idle_holds_slot;
    struct list_node *before;
    for (struct list_node *node = local->idle.prev; node != &local->idle; node = before) {
        struct session *session = session_at(node);
        before = node->prev;
        bool usable = !session->dead && session->ops->slots(session) > 0;
        if (usable && proven && !is_proven(local, session)) {
            continue;
        }
        if (!usable) {
            idle_died(local, session);
            continue;
        }
        idle_remove(local, session);
        return session;
    }
    return NULL;
}

/* What a PROXY header has said of a connection would be said of the next client, too, and a worker
 * of uWSGI that has taken one waits for a request on it: those never come into the pool, in
 * whatever state they are. */
bool local_server_give(struct local_server *local, struct session *session) {
    bool idle = !session->dead && session->up && session->idle;
    bool gone = atomic_load_explicit(&local->server->admin, memory_order_relaxed) == SERVER_ABSENT;
    bool once = local->server->send_proxy != CONF_PROXY_NO || local->server->uwsgi;
    session->owner = &local->settled;
    if (session->dead || once ||
        (!idle && (local->room->draining || local->server->idle_holds_slot || gone))) {
        session_forget(session);
        return false;
    }
    if (!idle) {
        list_append(&local->others, &session->link);
        return false;
    }
    if (!keep(local, session) || !local->server->idle_holds_slot || local->server->slots == 0) {
        return false;
    }
    session->holds_slot = true;
    atomic_fetch_add(&idle_counts(local)->idle, 1);
    if (server_is_awaited(local->backend, local->server) ||
        atomic_load(&local->server->check_waits)) {
        idle_remove(local, session);   /* somebody waits for just this slot */
        session_forget(session);
    }
    return true;
}

bool local_server_rob(struct local_server *local) {
    struct list_node *last = list_empty(&local->idle) ? NULL : local->idle.prev;
    if (last == NULL || !session_at(last)->holds_slot) {
        return false;
    }
    slot_part(local, session_at(last));
    return true;
}

static void idle_close_all(struct local_server *local) {
    for (struct list_node *node; (node = list_first(&local->idle)) != NULL;) {
        idle_remove(local, session_at(node));
        session_forget(session_at(node));
    }
    expire_arm(local);
}

void local_server_drain(struct local_server *local) {
    idle_close_all(local);
    for (struct list_node *node; (node = list_pop(&local->others)) != NULL;) {
        session_forget(session_at(node));
    }
}

void yield_run(struct post *post) {
    struct server_count *count = container_of(post, struct server_count, yield);
    struct local_server *local = atomic_load(&count->local);
    atomic_store(&count->yielding, false);
    if (atomic_load(&local->server->admin) == SERVER_ABSENT) {
        local_server_drain(local);
    } else if (atomic_load(&local->server->shut)) {
        idle_close_all(local);
    }
    if (atomic_load(&local->server->check_waits)) {
        health_serve(local->room, local->server);
    }
    if (server_is_awaited(local->backend, local->server)) {
        slot_serve(local->room, local->backend);
    }
    /* Those that came while the first one's post was on its way have sent none. */
    while (server_is_awaited(local->backend, local->server)) {
        struct list_node *oldest = list_first(&local->idle);
        if (oldest == NULL || !session_at(oldest)->holds_slot) {
            return;
        }
        struct session *session = session_at(oldest);
        idle_remove(local, session);
        session_forget(session);
    }
}

void local_backend_ask(struct upstream *room, struct backend *backend) {
    for (uint32_t i = 0; i < backend->server_count; i++) {
        struct server *server = &backend->servers[i];
        for (uint32_t r = 0; server->idle_holds_slot && r < room->registry->ring_count; r++) {
            struct server_count *count = &server->counts[r];
            if (atomic_load(&count->idle) > 0 && !atomic_exchange(&count->yielding, true)) {
                count->yield.run = yield_run;
                ring_post(atomic_load(&count->local)->room->ring, &count->yield);
            }
        }
    }
}

void local_server_init(struct local_server *local, struct upstream *room, struct backend *backend,
                       struct server *server) {
    *local = (struct local_server){.room = room, .backend = backend, .server = server};
    list_init(&local->idle);
    list_init(&local->others);
    task_init(&local->died, sessions_died);
    task_init(&local->settled, sessions_settled);
    timer_init(&local->expire, expire_fired);
    atomic_store(&idle_counts(local)->local, local);
}

void local_server_fini(struct local_server *local) {
    local_server_drain(local);
    task_cancel(local->room->ring, &local->died);
    task_cancel(local->room->ring, &local->settled);
}
