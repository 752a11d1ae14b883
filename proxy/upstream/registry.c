/* Backends and servers at run time: shared by all rings, and outliving a configuration. */
#include <stdlib.h>

#include "base/mem.h"
#include "upstream/upstream_priv.h"

/* What a server may send as a head: generous, as it is one of ours, and bounded all the same. */
#define RESPONSE_HEAD_MAX (64u * 1024u)
#define RESPONSE_FIELDS_MAX 256u

/* Body bytes that may wait in a stream and in its wire. Together with a receive buffer in hand
 * they bound what one slow peer makes gyre hold. */
#define UP_STREAM_MARK (64u * 1024u)
#define UP_WIRE_MARK (128u * 1024u)
#define UP_LINGER_MS 1000u

static void backend_limits(struct backend *backend, const struct conf_backend *conf) {
    backend->limits = (struct http_limits){
        .head_bytes_max = RESPONSE_HEAD_MAX,
        .field_count_max = RESPONSE_FIELDS_MAX,
        .body_bytes_max = UINT64_MAX,
        .rx_mark = UP_STREAM_MARK,
        .tx_mark = UP_STREAM_MARK,
        .wire = {
            .rx_mark = UP_WIRE_MARK,
            .tx_mark = UP_WIRE_MARK,
            .connect_ms = (uint32_t)conf->connect_timeout_ms,
            .send_ms = (uint32_t)conf->stall_timeout_ms,
            .linger_ms = UP_LINGER_MS,
        },
    };
}

void server_call(struct server *server) {
    addr_print(&server->addr, server->name);
    server->hash = str_hash(str_of(server->name));
}

static void server_init(struct server *server, struct backend *backend, uint32_t index,
                        const struct conf_server *conf) {
    *server = (struct server){.addr = conf->addr, .backend = backend, .index = index,
                              .weight = conf->weight,
                              .send_proxy = conf->send_proxy, .slots = conf->slots,
                              .counted = conf->slots != 0,
                              .idle_holds_slot = conf->idle_holds_slot,
                              .uwsgi = conf->protocol == CONF_PROTOCOL_UWSGI,
                              .backup = conf->backup};
    server_call(server);
    size_t size = backend->ring_count * sizeof *server->counts;
    server->counts = aligned_alloc(_Alignof(struct server_count), size);
    ensure(server->counts != NULL);
    memset(server->counts, 0, size);
}

/* Those that are stuck to a server wait for none but it, and stand in nobody's way. */
static void server_queue(struct server *server, struct backend *backend) {
    if (backend->sticky != CONF_STICKY_NO && server->slots != 0) {
        server->queue = mem_zero(sizeof *server->queue);
        queue_init(server->queue, backend->queue->max);
        backend->has_queues = true;
    }
}

static void checking_init(struct checking *checking, const struct conf_backend *conf) {
    bool checks = strcmp(conf->check, "no") != 0;
    *checking = (struct checking){
        .what = checks ? mem_copy(conf->check, strlen(conf->check)) : NULL,
        .host = mem_copy(conf->check_host, strlen(conf->check_host)),
        .interval_ms = (uint32_t)conf->check_interval_ms,
        .timeout_ms = (uint32_t)conf->check_timeout_ms,
        .expect = conf->check_expect,
        .fall = conf->check_fall,
        .rise = conf->check_rise,
    };
}

/* A name's line is several. */
static void servers_init(struct backend *backend, const struct conf_backend *conf) {
    for (uint32_t k = 0; k < conf->server_count; k++) {
        backend->server_count += conf_server_places(&conf->servers[k]);
    }
    atomic_store(&backend->present, backend->server_count);
    size_t size = backend->server_count * sizeof *backend->servers;
    backend->servers = aligned_alloc(_Alignof(struct server), size);
    ensure(backend->servers != NULL);
    for (uint32_t i = 0, k = 0, line = 0; i < backend->server_count; i++, k++) {
        if (k == conf_server_places(&conf->servers[line])) {
            line++;
            k = 0;
        }
        struct server *server = &backend->servers[i];
        server_init(server, backend, i, &conf->servers[line]);
        backend->send_proxy |= server->send_proxy != CONF_PROXY_NO;
        backend->lengths |= server->uwsgi;
        backend->has_backups |= server->backup;
        server_queue(server, backend);
    }
}

static void backend_init(struct backend *backend, uint32_t index, const struct conf_backend *conf,
                         uint32_t ring_count) {
    *backend = (struct backend){
        .name = mem_copy(conf->name, strlen(conf->name)),
        .index = index,
        .balance = conf->balance,
        .connect_ms = (uint32_t)conf->connect_timeout_ms,
        .response_ms = (uint32_t)conf->response_timeout_ms,
        .stall_ms = (uint32_t)conf->stall_timeout_ms,
        .keepalive_max = (uint32_t)conf->keepalive,
        .keepalive_ms = (uint32_t)conf->keepalive_timeout_ms,
        .queue_ms = (uint32_t)conf->queue_timeout_ms,
        .request_memory = conf->request_memory,
        .retries = conf->retries,
        /* response_max is what waits in all. */
        .response_memory = conf->response_memory < conf->response_max ? conf->response_memory
                                                                      : conf->response_max,
        .response_max = conf->response_max,
        .server_timing = conf->server_timing,
        .sticky = conf->sticky,
        .sticky_name = mem_copy(conf->sticky_name, strlen(conf->sticky_name)),
        .sids = conf->sticky == CONF_STICKY_SOCKETIO ? sids_new(SIDS_MAX) : NULL,
        .hash_on_text = mem_copy(conf->hash_on, strlen(conf->hash_on)),
        .shields = conf->mode == CONF_MODE_SYNC,
        .ejecting = {.faults = conf->eject, .after = conf->eject_after,
                     .time_ms = conf->eject_time_ms, .time_max_ms = conf->eject_time_max_ms},
        .slow_start_ms = conf->slow_start_ms,
        .ring_count = ring_count,
        .queue = mem_zero(sizeof *backend->queue),
    };
    if (conf->retries > 0) {
        backend->retry_on = conf->retry_on;
        backend->retry_statuses = conf_has_statuses(&conf->retry_on.statuses);
    }
    backend->hash_on = conf_hash_on(str_of(backend->hash_on_text));
    checking_init(&backend->checking, conf);
    pthread_mutex_init(&backend->verdicts, NULL);
    queue_init(backend->queue, (uint32_t)conf->queue);
    backend_limits(backend, conf);
    servers_init(backend, conf);
}

struct registry *registry_new(const struct conf *conf, uint32_t ring_count) {
    struct registry *registry = mem_zero(sizeof *registry);
    registry->ring_count = ring_count;
    registry->backend_count = conf->backend_count;
    registry->budget = budget_new(conf->global.retry_budget, ring_count);
    registry->backends = mem_zero(conf->backend_count * sizeof *registry->backends);
    for (uint32_t i = 0; i < conf->backend_count; i++) {
        backend_init(&registry->backends[i], i, &conf->backends[i], ring_count);
    }
    names_init(registry, conf);
    return registry;
}

void registry_free(struct registry *registry) {
    for (uint32_t i = 0; i < registry->backend_count; i++) {
        struct backend *backend = &registry->backends[i];
        for (uint32_t k = 0; k < backend->server_count; k++) {
            ensure(atomic_load(&backend->servers[k].kept) == 0);
            ensure(atomic_load(&backend->servers[k].used) == 0);
            ensure(atomic_load(&backend->servers[k].wires.count) == 0);
            free(backend->servers[k].counts);
            if (backend->servers[k].queue != NULL) {
                queue_fini(backend->servers[k].queue);
                mem_free(backend->servers[k].queue);
            }
        }
        free(backend->servers);
        queue_fini(backend->queue);
        pthread_mutex_destroy(&backend->verdicts);
        mem_free(backend->queue);
        mem_free(backend->name);
        mem_free(backend->hash_on_text);
        mem_free(backend->sticky_name);
        if (backend->sids != NULL) {
            sids_free(backend->sids);
        }
        mem_free(backend->checking.what);
        mem_free(backend->checking.host);
    }
    budget_free(registry->budget);
    mem_free(registry->backends);
    names_fini(registry);
    mem_free(registry);
}

struct backend *registry_find(struct registry *registry, struct str name) {
    for (uint32_t i = 0; i < registry->backend_count; i++) {
        if (str_eq(str_of(registry->backends[i].name), name)) {
            return &registry->backends[i];
        }
    }
    return NULL;
}
