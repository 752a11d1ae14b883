/* Passive ejection: a server whose requests fail in a row is away for a while, longer each time;
 * then one request tries it. slot.c heeds that it is away, and lets that request through. */
#include <stdio.h>

#include "base/log.h"
#include "upstream/upstream_priv.h"

/* What a dying process takes with it it takes within such a time. */
#define DYING_US 1000000u

/* --- What speaks against a server --------------------------------------------------------- */

static bool speaks_against(const struct conf_faults *faults, enum close_reason why) {
    switch (why) {
    case CLOSE_CONNECT_REFUSED:
    case CLOSE_CONNECT_TIMEOUT:
        return faults->connect;
    case CLOSE_BACKEND_CLOSED:
    case CLOSE_BACKEND_CUT:
        return faults->reset;
    case CLOSE_RESPONSE_TIMEOUT:
    case CLOSE_SEND_TIMEOUT:
        return faults->timeout;
    case CLOSE_BAD_RESPONSE:
        return conf_has_status(&faults->statuses, 502);
    default:
        return false;
    }
}

/* Who tries one that is ejected has to get an answer, whatever it was ejected for. */
static bool speaks_here(const struct lease *lease, enum close_reason why) {
    struct conf_faults faults = lease->backend->ejecting.faults;
    if (lease->trial) {
        faults.connect = faults.reset = faults.timeout = true;
    }
    return speaks_against(&faults, why);
}

/* A process that dies cuts all its connections, which is one failure and not as many: it refuses
 * new ones next, and is asked again as soon as it does not. Requests that came later count anew. */
static bool is_same_cut(struct server *server, const struct lease *lease, enum close_reason why) {
    if (why != CLOSE_BACKEND_CLOSED && why != CLOSE_BACKEND_CUT) {
        return false;
    }
    uint64_t now_us = ring_now_us(lease->room->ring);
    bool same = lease->went_us <= server->reset_us && now_us < server->reset_us + DYING_US;
    server->reset_us = same ? server->reset_us : now_us;
    return same;
}

/* Refusing a connection counts as a failure where one is enough, so that one that is killed as soon
 * as it is back, again and again, is left alone; and so does refusing when it is tried then. */
static bool refusal_counts(const struct lease *lease) {
    const struct server *server = lease->server;
    if (atomic_load(&server->ejected)) {
        return lease->trial && atomic_load(&server->refused);
    }
    return lease->backend->ejecting.after == 1 && atomic_load(&server->away_ms) == 0;
}

/* --- In and out --------------------------------------------------------------------------- */

/* For how long now: what it was ejected before is forgotten bit by bit while it stays well. */
static uint64_t longer(struct server *server, bool was_back, uint64_t now_ms) {
    const struct ejecting *ejecting = &server->backend->ejecting;
    uint64_t well_ms = was_back && now_ms > server->back_ms ? now_ms - server->back_ms : 0;
    uint64_t forgiven = well_ms / ejecting->time_ms;
    server->ejections -= forgiven < server->ejections ? (uint32_t)forgiven : server->ejections;
    uint64_t ms = ejecting->time_ms;
    for (uint32_t i = 0; i < server->ejections && ms < ejecting->time_max_ms; i++) {
        ms *= 2;
    }
    if (ms >= ejecting->time_max_ms) {
        return ejecting->time_max_ms;
    }
    server->ejections++;
    return ms;
}

static bool has_fit(const struct backend *backend, const struct server *but) {
    uint32_t i = 0;
    while (i < backend->server_count &&
           (&backend->servers[i] == but || !server_is_fit(&backend->servers[i]))) {
        i++;
    }
    return i < backend->server_count;
}

/* It is asked again, or is away as those that refuse connections are. */
static void come_in(struct server *server, uint64_t away_ms, uint64_t now_ms) {
    atomic_store(&server->away_ms, away_ms);
    atomic_store(&server->ejected, false);
    atomic_store(&server->trying, false);
    server_shut_set(server);
    server->back_ms = now_ms;
    atomic_fetch_sub(&server->backend->ejected, 1);
}

static void go_out(struct server *server, uint64_t now_ms, uint64_t for_ms) {
    if (!atomic_exchange(&server->ejected, true)) {
        atomic_fetch_add(&server->backend->ejected, 1);
    }
    atomic_store(&server->retry_ms, now_ms + for_ms);
    atomic_store(&server->trying, false);
    atomic_store(&server->away_ms, now_ms | 1);
    server_shut_set(server);
}

/* With the lock. For how long its server is ejected now; 0: it is not, or not for this. */
static uint64_t judge(struct lease *lease, bool cut_before, bool refused, uint64_t now_ms) {
    struct server *server = lease->server;
    uint64_t for_ms = 0;
    if (atomic_load(&server->ejected)) {
        if (lease->trial && atomic_load(&server->trying)) {   /* it may be up again at any time */
            for_ms = refused ? server->backend->ejecting.time_ms : longer(server, false, now_ms);
        }
    } else if (atomic_load(&server->away_ms) == 0 && !cut_before) {
        bool many = atomic_fetch_add(&server->failed, 1) + 1 >= server->backend->ejecting.after;
        for_ms = many && has_fit(server->backend, server) ? longer(server, true, now_ms) : 0;
    }
    if (for_ms != 0) {
        atomic_store(&server->refused, refused);
        go_out(server, now_ms, for_ms);
    }
    return for_ms;
}

static void say_ejected(const struct lease *lease, uint64_t ms, uint32_t failed, const char *why) {
    const char *unit = ms % 1000 == 0 ? "s" : "ms";
    unsigned long long time = ms % 1000 == 0 ? ms / 1000 : ms;
    const char *backend = lease->backend->name, *server = lease->server->name;
    if (lease->trial) {
        log_warn("[backend %s] %s stays ejected, for %llu%s: the request that tried it ended with "
                 "%s", backend, server, time, unit, why);
    } else if (failed == 1) {
        log_warn("[backend %s] %s is ejected for %llu%s: a request failed with %s", backend, server,
                 time, unit, why);
    } else {
        log_warn("[backend %s] %s is ejected for %llu%s: %u requests in a row failed, the last "
                 "with %s", backend, server, time, unit, failed, why);
    }
}

/* True: its server is ejected for it. */
static bool speak(struct lease *lease, enum close_reason why, const char *word) {
    struct server *server = lease->server;
    uint64_t now_ms = ring_now_ms(lease->room->ring);
    pthread_mutex_lock(&server->backend->verdicts);
    bool refused = why == CLOSE_CONNECT_REFUSED && refusal_counts(lease);
    uint64_t for_ms = judge(lease, is_same_cut(server, lease, why), refused, now_ms);
    uint32_t failed = atomic_load(&server->failed);
    pthread_mutex_unlock(&server->backend->verdicts);
    if (for_ms == 0) {
        return false;
    }
    stats_add(ring_stats(lease->room->ring), STAT_EJECTIONS, 1);
    say_ejected(lease, for_ms, failed, word);
    lease->trial = false;
    server_tell(server);
    slot_retry_arm(lease->room, lease->backend);   /* those that wait came when it was only busy */
    return true;
}

/* --- What a lease says -------------------------------------------------------------------- */

/* One that refuses connections is away at once where requests may wait for it. */
bool eject_missed(struct lease *lease, enum close_reason why) {
    bool away = why == CLOSE_CONNECT_REFUSED && lease->backend->queue->max != 0 &&
                !refusal_counts(lease);
    return !away && speaks_here(lease, why) && speak(lease, why, close_word(why));
}

static bool is_race(const struct lease *lease, enum close_reason why) {
    return why == CLOSE_BACKEND_CLOSED && lease->reused &&
           ring_now_us(lease->room->ring) - lease->ready_us < LEASE_RACE_US;
}

void eject_ended(struct lease *lease, enum close_reason why) {
    bool client = why == CLOSE_SEND_TIMEOUT && lease->stream->why != CLOSE_SEND_TIMEOUT;
    if (!client && !is_race(lease, why) && speaks_here(lease, why)) {
        (void)speak(lease, why, close_word(why));
    }
    slot_untried(lease);
}

/* What an ejected server says to requests that it had before is no news. */
static void speak_well(struct lease *lease) {
    struct server *server = lease->server;
    uint64_t now_ms = ring_now_ms(lease->room->ring);
    pthread_mutex_lock(&server->backend->verdicts);
    bool back = lease->trial && atomic_load(&server->ejected) && atomic_load(&server->trying);
    if (back) {
        come_in(server, 0, now_ms);
    }
    if (!atomic_load(&server->ejected)) {
        atomic_store(&server->failed, 0);
    }
    pthread_mutex_unlock(&server->backend->verdicts);
    lease->trial = false;
    if (back) {
        log_info("[backend %s] %s is asked again: the request that tried it was answered",
                 server->backend->name, server->name);
        slow_start_begin(server, now_ms);
        slot_serve(lease->room, lease->backend);
    }
}

void eject_answered(struct lease *lease, uint32_t status) {
    if (conf_has_status(&lease->backend->ejecting.faults.statuses, status)) {
        char word[32];
        snprintf(word, sizeof word, "status %u", status);
        (void)speak(lease, CLOSE_NONE, word);
    } else if (atomic_load(&lease->server->failed) != 0) {
        speak_well(lease);
    }
}

/* --- What others know --------------------------------------------------------------------- */

void eject_refused(struct server *server, uint64_t now_ms) {
    if (atomic_load(&server->ejected)) {
        log_info("[backend %s] %s is ejected no more: it refuses connections, and is tried until "
                 "it does not", server->backend->name, server->name);
        server->away_told = true;
        come_in(server, atomic_load(&server->away_ms), now_ms);
    }
}

bool eject_lift(struct backend *backend, uint64_t now_ms) {
    if (atomic_load(&backend->ejected) == 0 || has_fit(backend, NULL)) {
        return false;
    }
    bool lifted = false;
    pthread_mutex_lock(&backend->verdicts);
    bool left = has_fit(backend, NULL);   /* another ring may have been faster */
    for (uint32_t i = 0; i < backend->server_count && !left; i++) {
        struct server *server = &backend->servers[i];
        if (atomic_load(&server->ejected) && atomic_load(&server->admin) == SERVER_READY) {
            come_in(server, 0, now_ms);
            lifted = true;
            log_warn("[backend %s] %s is ejected no more: no other server is left", backend->name,
                     server->name);
        }
    }
    pthread_mutex_unlock(&backend->verdicts);
    return lifted;
}

void eject_hint(struct server *server, uint64_t now_ms) {
    pthread_mutex_lock(&server->backend->verdicts);
    if (atomic_load(&server->ejected)) {
        atomic_store(&server->retry_ms, now_ms);
    }
    pthread_mutex_unlock(&server->backend->verdicts);
}
