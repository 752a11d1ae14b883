/* A server is drained, disabled, and made ready again at run time. */
#include "base/log.h"
#include "upstream/upstream_priv.h"

bool server_is_fit(const struct server *server) {
    return atomic_load(&server->admin) == SERVER_READY && !atomic_load(&server->ill) &&
           atomic_load(&server->away_ms) == 0;
}

void server_shut_set(struct server *server) {
    bool disabled = atomic_load(&server->admin) >= SERVER_DISABLED;
    atomic_store(&server->shut, disabled || atomic_load(&server->ejected));
}

static void tell_ring(struct server_count *count) {
    struct local_server *local = atomic_load(&count->local);
    if (local != NULL && !atomic_exchange(&count->yielding, true)) {
        count->yield.run = yield_run;
        ring_post(local->room->ring, &count->yield);
    }
}

void server_tell(struct server *server) {
    for (uint32_t r = 0; r < server->backend->ring_count; r++) {
        tell_ring(&server->counts[r]);
    }
}

void server_tell_checker(struct server *server) {
    tell_ring(&server->counts[server->checker]);
}

void server_set_admin(struct server *server, enum server_admin admin) {
    static const char *const words[] = {
        [SERVER_READY] = "ready again",
        [SERVER_DRAIN] = "drained: it gets no new requests",
        [SERVER_DISABLED] = "disabled: it gets no requests",
    };
    struct backend *backend = server->backend;
    pthread_mutex_lock(&backend->verdicts);
    uint8_t was = atomic_load(&server->admin);
    if (was != SERVER_ABSENT && was != (uint8_t)admin) {
        atomic_store(&server->admin, (uint8_t)admin);
        log_info("[backend %s] %s is %s", backend->name, server->name, words[admin]);
    }
    server_shut_set(server);
    pthread_mutex_unlock(&backend->verdicts);
    if (was == SERVER_ABSENT || was == (uint8_t)admin) {
        return;
    }
    if (admin == SERVER_READY) {
        slow_start_begin(server, 0);
    }
    server_tell(server);
}
