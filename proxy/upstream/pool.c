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

static void idle_remove(struct local_server *local, struct session *session) {
    list_remove(&session->link);
    local->idle_count--;
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

static void keep(struct local_server *local, struct session *session) {
    if (local->room->draining || !reserve_one(local)) {
        session_forget(session);
        return;
    }
    session->since_ms = ring_now_ms(local->room->ring);
    list_append(&local->idle, &session->link);
    local->idle_count++;
    if (!timer_armed(&local->expire)) {
        expire_arm(local);
    }
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

/* One of our sessions has changed: it is up and idle now, or dead. */
static void sessions_changed(struct task *task) {
    struct local_server *local = container_of(task, struct local_server, task);
    struct list_node *next;
    for (struct list_node *node = local->idle.next; node != &local->idle; node = next) {
        next = node->next;
        struct session *session = session_at(node);
        if (session->dead) {
            idle_remove(local, session);
            session_forget(session);
        }
    }
    for (struct list_node *node = local->others.next; node != &local->others; node = next) {
        next = node->next;
        struct session *session = session_at(node);
        if (session->dead || (session->up && session->idle)) {
            list_remove(&session->link);
            local_server_give(local, session);
        }
    }
}

struct session *local_server_take(struct local_server *local) {
    while (!list_empty(&local->idle)) {
        struct session *session = session_at(local->idle.prev);
        idle_remove(local, session);
        if (!session->dead && session->ops->slots(session) > 0) {
            return session;
        }
        session_forget(session);
    }
    return NULL;
}

/* What a PROXY header has said of a connection would be said of the next client, too: those never
 * come into the pool, in whatever state they are. */
void local_server_give(struct local_server *local, struct session *session) {
    session->owner = &local->task;
    if (session->dead || local->server->send_proxy != CONF_PROXY_NO) {
        session_forget(session);
    } else if (session->up && session->idle) {
        keep(local, session);
    } else if (local->room->draining) {
        session_forget(session);
    } else {
        list_append(&local->others, &session->link);
    }
}

void local_server_init(struct local_server *local, struct upstream *room, struct backend *backend,
                       struct server *server) {
    *local = (struct local_server){.room = room, .backend = backend, .server = server};
    list_init(&local->idle);
    list_init(&local->others);
    task_init(&local->task, sessions_changed);
    timer_init(&local->expire, expire_fired);
}

static void forget_all(struct list_node *sessions) {
    for (struct list_node *node; (node = list_pop(sessions)) != NULL;) {
        session_forget(session_at(node));
    }
}

void local_server_drain(struct local_server *local) {
    forget_all(&local->idle);
    forget_all(&local->others);
    local->idle_count = 0;
    expire_arm(local);
}

void local_server_fini(struct local_server *local) {
    local_server_drain(local);
    task_cancel(local->room->ring, &local->task);
}
