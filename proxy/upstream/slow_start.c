/* Slow start: the weight of a server that comes back grows from a tenth to all of it. */
#include "upstream/upstream_priv.h"

#define FIRST (SLOW_START_WHOLE / 10)
#define UNSTAMPED 1u   /* of rises_ms: since whoever looks first */

void slow_start_begin(struct server *server, uint64_t now_ms) {
    struct backend *backend = server->backend;
    uint64_t since = now_ms > UNSTAMPED ? now_ms : UNSTAMPED;
    if (backend->slow_start_ms != 0 && atomic_exchange(&server->rises_ms, since) == 0) {
        atomic_fetch_add(&backend->rising, 1);
    }
}

static bool rises(struct server *server, uint64_t now_ms) {
    uint64_t since = atomic_load(&server->rises_ms);
    if (since == UNSTAMPED && atomic_compare_exchange_strong(&server->rises_ms, &since, now_ms)) {
        return true;
    }
    if (since == 0 || now_ms < since + server->backend->slow_start_ms) {
        return since != 0;
    }
    if (!atomic_compare_exchange_strong(&server->rises_ms, &since, 0)) {
        return true;   /* it has begun anew, or another ring was faster */
    }
    atomic_fetch_sub(&server->backend->rising, 1);
    return false;
}

bool slow_start_runs(struct backend *backend, uint64_t now_ms) {
    bool any = false;
    for (uint32_t i = 0; i < backend->server_count; i++) {
        any |= rises(&backend->servers[i], now_ms);
    }
    return any;
}

uint32_t slow_start_weight(const struct server *server, uint64_t now_ms) {
    uint64_t since = atomic_load(&server->rises_ms), all = server->backend->slow_start_ms;
    uint64_t past = now_ms > since ? now_ms - since : 0;
    uint64_t part = since == 0 || past >= all
                        ? SLOW_START_WHOLE
                        : FIRST + (SLOW_START_WHOLE - FIRST) * past / all;
    return (uint32_t)(server->weight * part);
}
