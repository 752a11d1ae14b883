/* One thread, one ring: builds its rooms in order and drains them in reverse. */
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* While it drains a worker looks so often whether all is over. */
#define DRAINED_MS 10u
/* Clients that have their last answer have so long to close their side, once nothing runs. */
#define HURRY_MS 1000u

/* --- Doors: a listening socket, and the sessions made of what it accepts ------------------ */

struct door {
    struct worker *worker;
    const struct plan_socket *socket;
    struct listener *listener;
    struct task task;
};

/* The address of ours that the client came to. A wildcard is no address, so the kernel is asked;
 * where it can not tell, the port is known all the same. */
static void door_local(const struct door *door, int fd, struct endpoint *local) {
    struct addr addr = door->socket->addr;
    if (addr_is_any(&addr) && sys_bound(fd, &addr) != 0) {
        *local = (struct endpoint){.port = door->socket->port};
        return;
    }
    endpoint_of(local, &addr.sa.any, addr.len);
}

static void door_session(struct door *door, int fd) {
    struct worker *w = door->worker;
    const struct site *site = &w->plan->sites[door->socket->site];
    struct down_params params = {
        .wire = {.fd = fd, .tls = w->tls[site->index], .limits = &site->limits.wire,
                 .limit = &w->plan->limits[site->index],
                 .clients = w->plan->clients[site->index], .proxy = site->accept_proxy},
        .limits = &site->limits,
        .inbox = &w->exchanges.inbox,
        .listener = site,
    };
    /* ENOTCONN: reset before it was accepted; the session will find out by itself. */
    (void)sys_peer(fd, &params.client);
    door_local(door, fd, &params.local);
    if (!site->accept_proxy) {
        params.wire.client = params.client;   /* else its PROXY header says who is to be counted */
    }
    (void)h1_down_new(&w->http, &params);   /* at a bound it has closed the descriptor */
}

static void door_run(struct task *task) {
    struct door *door = container_of(task, struct door, task);
    for (int fd; http_has_room(&door->worker->http);) {
        fd = listener_take(door->listener);
        if (fd < 0) {
            return;
        }
        door_session(door, fd);
    }
    listener_hold(door->listener);
}

static void doors_open(struct worker *w) {
    struct plan *plan = w->plan;
    w->doors = mem_zero(plan->socket_count * sizeof *w->doors);
    for (uint32_t i = 0; i < plan->socket_count; i++) {
        struct door *door = mem_zero(sizeof *door);
        door->worker = w;
        door->socket = &plan->sockets[i];
        task_init(&door->task, door_run);
        door->listener = listener_new(&w->net, door->socket->fds[w->index],
                                      &plan->limits[door->socket->site], &door->task);
        w->doors[i] = door;
    }
}

/* Sockets of this worker alone are closed at once: while they are open the kernel goes on to
 * queue clients there, whom nobody will serve. The accept in flight keeps hold of the socket until
 * its cancel is done. A shared one is the plan's: other workers may still be at it. */
static void doors_shut(struct worker *w) {
    for (uint32_t i = 0; i < w->plan->socket_count; i++) {
        struct door *door = w->doors[i];
        if (door->listener != NULL) {
            listener_shut(door->listener);
            door->listener = NULL;
            task_cancel(w->ring, &door->task);
            if (!door->socket->shared) {
                (void)sys_close(door->socket->fds[w->index]);
            }
        }
    }
}

static void doors_free(struct worker *w) {
    for (uint32_t i = 0; i < w->plan->socket_count; i++) {
        mem_free(w->doors[i]);
    }
    mem_free(w->doors);
}

/* --- TLS contexts: one set per worker ----------------------------------------------------- */

static bool contexts_make(struct worker *w) {
    struct plan *plan = w->plan;
    w->tls = mem_zero(plan->conf->listener_count * sizeof *w->tls);
    for (uint32_t i = 0; i < plan->conf->listener_count; i++) {
        uint32_t count = plan->conf->listeners[i].certificate.count;
        if (count == 0) {
            continue;
        }
        struct tls_params params = {.certificates = plan->certificates[i],
                                    .certificate_count = count, .tickets = plan->tickets};
        char why[TLS_WHY_MAX];
        w->tls[i] = tls_context_new(&params, why);
        if (w->tls[i] == NULL) {
            snprintf(w->why, sizeof w->why, "[listener %s] TLS: %s",
                     plan->conf->listeners[i].name, why);
            return false;
        }
    }
    return true;
}

static void contexts_free(struct worker *w) {
    for (uint32_t i = 0; i < w->plan->conf->listener_count; i++) {
        if (w->tls[i] != NULL) {
            tls_context_free(w->tls[i]);
        }
    }
    mem_free(w->tls);
}

/* --- Draining ----------------------------------------------------------------------------- */

static void drained_fired(struct timer *timer) {
    struct worker *w = container_of(timer, struct worker, drained);
    uint64_t now = ring_now_ms(w->ring);
    if (exchanges_running(&w->exchanges) > 0) {
        w->hurry_ms = now + HURRY_MS;
    } else if (now >= w->hurry_ms) {
        net_shut_endings(&w->net);
    }
    bool over = net_is_empty(&w->net) && exchanges_are_over(&w->exchanges) &&
                upstream_is_idle(&w->upstream);
    if (over && accesslog_flush(&w->log)) {
        w->over = true;
        ring_stop(w->ring);
        return;
    }
    if (over && now >= w->hurry_ms) {
        accesslog_abandon(&w->log);   /* nothing but the log is left, and nobody reads it */
    }
    timer_arm(w->ring, &w->drained, DRAINED_MS);
}

/* Tunnels end by themselves at no time: shortly before the deadline they are told. */
static void tunnels_fired(struct timer *timer) {
    struct worker *w = container_of(timer, struct worker, tunnels);
    http_stop_tunnels(&w->http);
}

static void deadline_fired(struct timer *timer) {
    struct worker *w = container_of(timer, struct worker, deadline);
    http_kill(&w->http, CLOSE_DRAIN);
    upstream_drain(&w->upstream);
    upstream_kill(&w->upstream);
    net_shut_endings(&w->net);
    if (net_is_empty(&w->net) && exchanges_running(&w->exchanges) == 0) {
        accesslog_abandon(&w->log);   /* nothing but the log is left */
    }
    timer_arm(w->ring, &w->deadline, 100);   /* what ended only now may linger no longer */
}

static void stop_run(struct post *post) {
    struct worker *w = container_of(post, struct worker, stop);
    w->draining = true;
    w->hurry_ms = ring_now_ms(w->ring) + HURRY_MS;
    doors_shut(w);
    http_drain(&w->http);
    upstream_drain(&w->upstream);
    uint64_t drain_ms = w->plan->conf->global.drain_timeout_ms;
    timer_arm(w->ring, &w->deadline, drain_ms);
    timer_arm(w->ring, &w->tunnels, drain_ms - (drain_ms / 4 < HURRY_MS ? drain_ms / 4 : HURRY_MS));
    timer_arm(w->ring, &w->drained, 0);
}

void worker_drain(struct worker *w) {
    if (!atomic_exchange(&w->stop_sent, true)) {
        w->stop.run = stop_run;
        ring_post(w->ring, &w->stop);
    }
}

/* --- Other posts of the main thread ------------------------------------------------------- */

static void ping_run(struct post *post) {
    struct worker *w = container_of(post, struct worker, ping);
    net_trim(&w->net);
    http_trim(&w->http);
    upstream_trim(&w->upstream);
    exchanges_trim(&w->exchanges);
    accesslog_trim(&w->log);
    atomic_fetch_add(&w->beats, 1);
    atomic_store(&w->ping_sent, false);
}

void worker_ping(struct worker *w) {
    if (!atomic_exchange(&w->ping_sent, true)) {
        w->ping.run = ping_run;
        ring_post(w->ring, &w->ping);
    }
}

static void reopen_run(struct post *post) {
    struct worker *w = container_of(post, struct worker, reopen);
    int fd = w->reopen_fd;
    atomic_store(&w->reopen_sent, false);
    accesslog_reopen(&w->log, fd);
}

void worker_reopen(struct worker *w, int log_fd) {
    if (atomic_exchange(&w->reopen_sent, true)) {
        (void)sys_close(log_fd);   /* the one before is not even open yet: it will do */
        return;
    }
    w->reopen_fd = log_fd;
    w->reopen.run = reopen_run;
    ring_post(w->ring, &w->reopen);
}

/* --- The thread --------------------------------------------------------------------------- */

static void worker_tell(struct worker *w, enum worker_state state) {
    atomic_store(&w->state, state);
    uint64_t one = 1;
    ssize_t n = write(w->event_fd, &one, sizeof one);
    ensure(n == sizeof one);
}

static bool rooms_make(struct worker *w) {
    if (!contexts_make(w)) {
        contexts_free(w);
        return false;
    }
    net_init(&w->net, w->ring);
    http_init(&w->http, w->ring, &w->net);
    upstream_init(&w->upstream, &w->http, w->plan->registry, w->index);
    accesslog_init(&w->log, w->ring, plan_open_log(w->plan), w->plan->log_is_file,
                   w->plan->log_whole_lines);
    exchanges_init(&w->exchanges, &w->http, &w->upstream, w->plan->generation, &w->log,
                   &w->plan->store);
    /* A wire is on its way out some turns longer than its session. */
    const struct plan_bounds *bounds = &w->plan->bounds;
    net_bound(&w->net, bounds->clients + 2 * bounds->servers, bounds->pipes);
    http_bound(&w->http, bounds->clients, bounds->servers);
    exchanges_bound(&w->exchanges, bounds->clients);
    timer_init(&w->drained, drained_fired);
    timer_init(&w->deadline, deadline_fired);
    timer_init(&w->tunnels, tunnels_fired);
    doors_open(w);
    return true;
}

bool worker_make(struct worker *w, struct plan *plan, uint32_t index,
                 const struct ring_params *params) {
    w->plan = plan;
    w->index = index;
    w->ring = ring_new(params, w->why);
    if (w->ring == NULL) {
        return false;
    }
    if (!rooms_make(w)) {
        ring_free(w->ring);
        return false;
    }
    return true;
}

void worker_unmake(struct worker *w) {
    timer_cancel(w->ring, &w->deadline);
    timer_cancel(w->ring, &w->tunnels);
    doors_free(w);
    exchanges_fini(&w->exchanges);
    accesslog_fini(&w->log);
    upstream_fini(&w->upstream);
    http_fini(&w->http);
    net_fini(&w->net);
    contexts_free(w);
    ring_free(w->ring);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    if (!worker_make(w, w->plan, w->index, &w->ring_params)) {
        worker_tell(w, WORKER_FAILED);
        return NULL;
    }
    worker_tell(w, WORKER_RUNNING);
    ring_run(w->ring);
    worker_tell(w, WORKER_DONE);
    /* Whoever posts is inside ring_post a moment longer than the post is on its way. */
    while (sem_wait(&w->joined) != 0) {
    }
    worker_unmake(w);
    return NULL;
}

bool worker_start(struct worker *w, struct plan *plan, uint32_t index, int event_fd) {
    w->plan = plan;
    w->index = index;
    w->event_fd = event_fd;
    sem_init(&w->joined, 0, 0);
    errno = pthread_create(&w->thread, NULL, worker_main, w);   /* it does not set it itself */
    return errno == 0;
}

void worker_join(struct worker *w) {
    sem_post(&w->joined);
    pthread_join(w->thread, NULL);
    sem_destroy(&w->joined);
}
