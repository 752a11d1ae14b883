/* Health checks: each server of a backend with `check` is asked now and then, by one ring of the
 * process, over a connection of its own. */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "upstream/upstream_priv.h"

struct probe {
    struct upstream *room;
    struct backend *backend;
    struct server *server;
    struct timer next;              /* the next check */
    struct timer late;              /* check_timeout */
    struct task task;               /* of its connection and its request */
    struct session *session;        /* while it runs */
    struct stream *stream;          /* with a path, once it is connected */
    uint32_t against;               /* checks in a row that speak against the verdict */
    uint32_t moves;                 /* named: whom they speak of */
};

/* --- Verdicts ----------------------------------------------------------------------------- */

static void probe_said(const struct probe *probe, bool well, const char *why) {
    if (well) {
        log_info("[backend %s] %s is well again", probe->backend->name, probe->server->name);
    } else {
        log_warn("[backend %s] %s is ill: %s; others are asked, if any is well",
                 probe->backend->name, probe->server->name, why);
    }
}

/* One check has ended: why NULL: well. */
static void probe_judge(struct probe *probe, const char *why) {
    struct upstream *room = probe->room;
    const struct checking *checking = &probe->backend->checking;
    bool ill = atomic_load(&probe->server->ill);
    stats_add(ring_stats(room->ring), STAT_CHECKS, 1);
    stats_add(ring_stats(room->ring), STAT_CHECKS_FAILED, why != NULL);
    if (atomic_load(&probe->server->admin) == SERVER_ABSENT) {
        return;
    }
    probe->against = ill == (why == NULL) ? probe->against + 1 : 0;
    if (probe->against < (ill ? checking->rise : checking->fall)) {
        return;
    }
    probe->against = 0;
    atomic_store(&probe->server->ill, !ill);
    probe_said(probe, ill, why);
    if (ill) {
        slow_start_begin(probe->server, ring_now_ms(room->ring));
        eject_hint(probe->server, ring_now_ms(room->ring));
    }
    slot_serve(room, probe->backend);   /* who waits may go there; or all are ill, and it is one */
}

/* --- One check ---------------------------------------------------------------------------- */

static void probe_clear(struct probe *probe) {
    struct upstream *room = probe->room;
    timer_cancel(room->ring, &probe->late);
    if (probe->stream != NULL) {
        probe->stream->ops->release(probe->stream, CLOSE_BACKEND_IDLE);
        probe->stream = NULL;
    }
    if (probe->session != NULL) {
        session_forget(probe->session);
        probe->session = NULL;
    }
    task_cancel(room->ring, &probe->task);   /* releasing wakes it */
}

static void probe_over(struct probe *probe, const char *why) {
    probe_clear(probe);
    timer_arm(probe->room->ring, &probe->next, probe->backend->checking.interval_ms);
    probe_judge(probe, why);
    slot_give(probe->room, probe->backend, probe->server);
}

static void probe_late(struct timer *timer) {
    struct probe *probe = container_of(timer, struct probe, late);
    probe_over(probe, probe->stream != NULL ? "no answer to its check within check_timeout"
                                            : "no connection for its check within check_timeout");
}

/* Nothing was learned, for want of a descriptor or of memory of our own. */
static void probe_put_off(struct probe *probe) {
    probe_clear(probe);
    slot_give(probe->room, probe->backend, probe->server);
    timer_arm(probe->room->ring, &probe->next, probe->backend->checking.interval_ms);
}

static bool probe_asks(const struct probe *probe) {
    return probe->backend->checking.what[0] == '/';
}

static bool probe_ask(struct probe *probe) {
    struct stream *stream = probe->session->ops->open(probe->session, &probe->task);
    if (stream == NULL) {
        return false;
    }
    probe->stream = stream;
    const struct checking *checking = &probe->backend->checking;
    struct str target = str_of(checking->what);
    const char *query = memchr(target.p, '?', target.len);
    struct head head;
    head_init(&head, &stream->arena);
    head.method = METHOD_GET;
    head.method_name = STR("GET");
    head.target = target;
    head.path = (struct str){target.p, query != NULL ? (uint32_t)(query - target.p) : target.len};
    head.authority = str_of(checking->host);
    (void)head_add(&head, FIELD_USER_AGENT, field_text(FIELD_USER_AGENT), STR("gyre (check)"));
    stream->ops->send_head(stream, &head);
    stream->tx_end = true;
    return true;
}

static void probe_lost(struct probe *probe, enum close_reason why) {
    char text[64];
    snprintf(text, sizeof text, "its check ended with %s", close_word(why));
    probe_over(probe, text);
}

static void probe_answered(struct probe *probe, uint32_t status) {
    char why[64];
    snprintf(why, sizeof why, "its check is answered with %u", status);
    probe_over(probe, conf_has_status(&probe->backend->checking.expect, status) ? NULL : why);
}

static void probe_hears(struct probe *probe) {
    struct stream *stream = probe->stream;
    while ((stream->ready & STREAM_HEAD) != 0) {
        uint32_t status = stream_take_head(stream)->status;
        if (status >= 200 || status == 101) {
            probe_answered(probe, status);
            return;
        }
        stream->ops->pull(stream);
    }
    if (stream->why != CLOSE_NONE) {
        probe_lost(probe, (enum close_reason)stream->why);
    }
}

static void probe_run(struct task *task) {
    struct probe *probe = container_of(task, struct probe, task);
    if (probe->stream != NULL) {
        probe_hears(probe);
    } else if (probe->session->dead) {
        probe_lost(probe, (enum close_reason)probe->session->why);
    } else if (probe->session->up && !probe_asks(probe)) {
        probe_over(probe, NULL);
    } else if (probe->session->up && !probe_ask(probe)) {
        probe_put_off(probe);
    }
}

/* It has a slot. */
static void probe_begin(struct probe *probe) {
    struct upstream *room = probe->room;
    uint32_t moves = atomic_load(&probe->server->moves);
    probe->against = moves == probe->moves ? probe->against : 0;
    probe->moves = moves;
    uint8_t preface[PROXYPROTO_WRITE_MAX];
    struct up_params params = {.to = &probe->server->addr, .limits = &probe->backend->limits,
                               .preface = server_preface(probe->server, NULL, preface),
                               .limit = probe->server->named ? &probe->server->wires : NULL,
                               .once = true,
                               .protocol = probe->server->uwsgi ? UP_UWSGI : UP_HTTP};
    timer_arm(room->ring, &probe->late, probe->backend->checking.timeout_ms);
    probe->session = h1_up_new(room->http, &params, &probe->task);
    if (probe->session == NULL) {
        probe_put_off(probe);
    }
}

/* A server whose slots are all taken is busy, which is no illness: it is asked when it has one. */
static void probe_due(struct timer *timer) {
    struct probe *probe = container_of(timer, struct probe, next);
    if (atomic_load(&probe->server->admin) == SERVER_ABSENT) {
        slot_leave_check(probe->room, probe->server);
    } else if (slot_take_check(probe->server)) {
        probe_begin(probe);
        return;
    }
    timer_arm(probe->room->ring, &probe->next, probe->backend->checking.interval_ms);
}

void health_serve(struct upstream *room, const struct server *server) {
    for (uint32_t i = 0; i < room->probe_count; i++) {
        struct probe *probe = &room->probes[i];
        if (probe->server == server && probe->session == NULL && timer_armed(&probe->next)) {
            timer_cancel(room->ring, &probe->next);
            probe_due(&probe->next);
        }
    }
}

/* --- The room's part ---------------------------------------------------------------------- */

static void probe_init(struct probe *probe, struct upstream *room, struct backend *backend,
                       uint32_t index) {
    *probe = (struct probe){.room = room, .backend = backend, .server = &backend->servers[index]};
    timer_init(&probe->next, probe_due);
    timer_init(&probe->late, probe_late);
    task_init(&probe->task, probe_run);
    probe->server->checker = room->ring_index;
    /* Not all at once. */
    uint64_t after = (uint64_t)backend->checking.interval_ms * index / backend->server_count;
    timer_arm(room->ring, &probe->next, after + 1);
}

/* Servers go round the rings; probes NULL: they are only counted. */
static uint32_t probes_make(struct upstream *room, struct probe *probes) {
    struct registry *registry = room->registry;
    uint32_t servers = 0, mine = 0;
    for (uint32_t i = 0; i < registry->backend_count; i++) {
        struct backend *backend = &registry->backends[i];
        uint32_t count = backend->checking.what != NULL ? backend->server_count : 0;
        for (uint32_t k = 0; k < count; k++) {
            if (servers++ % registry->ring_count != room->ring_index) {
                continue;
            }
            if (probes != NULL) {
                probe_init(&probes[mine], room, backend, k);
            }
            mine++;
        }
    }
    return mine;
}

void health_init(struct upstream *room) {
    room->probe_count = probes_make(room, NULL);
    room->probes = mem_zero(room->probe_count * sizeof *room->probes);
    (void)probes_make(room, room->probes);
}

void health_stop(struct upstream *room) {
    for (uint32_t i = 0; i < room->probe_count; i++) {
        struct probe *probe = &room->probes[i];
        timer_cancel(room->ring, &probe->next);
        slot_leave_check(room, probe->server);
        if (probe->session != NULL) {
            probe_clear(probe);
            slot_give(room, probe->backend, probe->server);
        }
    }
}

void health_fini(struct upstream *room) {
    health_stop(room);
    mem_free(room->probes);
}
