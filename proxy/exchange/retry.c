/* A request that goes again: after what, whether it may, and where. */
#include "exchange/exchange_priv.h"

/* A server that dies takes its listener with it, yet some moments later: who came back at once
 * would be lost again. The race of a kept connection is another thing: it shows as soon as the
 * request is there, and says nothing of the server. One that is stopped shows both, one after the
 * other: it ends its kept connections, and then its listener with those who came back in its queue.
 * So the race does not count; what goes again goes on no kept connection, and has no second one. */
#define PAUSE_MS 50u
/* Some stop accepting long before they close their listener (uWSGI: a second): who comes back then
 * waits in its backlog, and is lost with that. So the last try at the only server there is waits
 * until that has answered somebody, or is away, at most for so long. */
#define PAUSE_MAX_MS 1500u

static const enum stats_counter counter_of[] = {
    [RETRY_RESET] = STAT_RETRIED_RESET,
    [RETRY_TIMEOUT] = STAT_RETRIED_TIMEOUT,
    [RETRY_STATUS] = STAT_RETRIED_STATUS,
};

static bool is_race(const struct exchange *e) {
    return e->lease.reused && ring_now_us(e->room->ring) - e->moved_us < LEASE_RACE_US;
}

/* What was streamed is gone. */
static bool has_body(const struct exchange *e) {
    return e->request_spool != NULL || (e->up->tx_bytes == 0 && e->up->tx.bytes == 0);
}

/* A server may have done what it was asked, whatever it says or does not say: only what may be done
 * twice is asked again (RFC 9110 9.2.2), or what it has never seen. */
static bool may_repeat(const struct exchange *e) {
    return e->retries < e->backend->retries && !e->hinted && has_body(e) &&
           (method_idempotent(e->request->method) || e->up->unsent);
}

/* A race is no reason to leave the server that the request belongs to. Others are as good, and one
 * that has begun to fail looks the same on its kept connections. */
static bool has_home(const struct exchange *e) {
    return e->stuck != NULL || e->backend->balance == CONF_BALANCE_HASH;
}

/* To another server; to the same one after a pause, if there is no other. */
static enum step retry(struct exchange *e, enum retry_cause cause, enum close_reason why) {
    struct lease *lease = &e->lease;
    struct stats *stats = ring_stats(e->room->ring);
    bool pause = false;
    if (cause != RETRY_RACE || !has_home(e)) {
        lease->avoid |= server_bit(lease->server);
    }
    if (cause != RETRY_RACE) {
        pause = !upstream_has_other(e->backend, lease->avoid);
        stats_add(stats, counter_of[cause], 1);
    }
    stats_add(stats, STAT_RETRIED, 1);
    e->retries += cause != RETRY_RACE;
    e->uploading = e->request->body != BODY_NONE;   /* its end may have gone: it goes again */
    if (!e->request->expect_continue) {
        head_drop(e->request, FIELD_EXPECT);        /* its client has been told */
    }
    lease_end(lease, why);
    e->up = NULL;
    shield_rewind(e);
    timer_cancel(e->room->ring, &e->timer);
    e->late = false;
    if (!pause) {
        return exchange_ask(e, true);
    }
    e->lost_us = cause == RETRY_RESET && e->retries == e->backend->retries
                     ? ring_now_us(e->room->ring) : 0;
    timer_arm(e->room->ring, &e->timer, PAUSE_MS);
    return STEP_lease;
}

bool retry_waits(struct exchange *e) {
    uint64_t waited_us = ring_now_us(e->room->ring) - e->lost_us;
    bool waits = e->lost_us != 0 && waited_us < PAUSE_MAX_MS * 1000 &&
                 upstream_is_silent(&e->lease);
    if (waits) {
        timer_arm(e->room->ring, &e->timer, PAUSE_MS);
    }
    return waits;
}

enum step retry_lost(struct exchange *e) {
    enum close_reason why = (enum close_reason)e->up->why;
    enum retry_cause cause = is_race(e) ? RETRY_RACE : RETRY_RESET;
    bool may = e->up->may_retry && e->backend->retry_on.reset && may_repeat(e);
    if (may && (cause == RETRY_RACE || upstream_affords_retry(e->room->upstream))) {
        return retry(e, cause, why);
    }
    return exchange_fail(e, why);
}

enum step retry_late(struct exchange *e) {
    bool may = e->backend->retry_on.timeout && may_repeat(e);
    if (may && upstream_affords_retry(e->room->upstream)) {
        return retry(e, RETRY_TIMEOUT, CLOSE_RESPONSE_TIMEOUT);
    }
    return exchange_fail(e, CLOSE_RESPONSE_TIMEOUT);
}

bool retry_wants(struct exchange *e, uint16_t status) {
    return status >= 200 && conf_has_status(&e->backend->retry_on.statuses, status) &&
           may_repeat(e) && upstream_affords_retry(e->room->upstream);
}

/* An answer that has come whole leaves its connection as good as any; of others nobody knows how
 * much there is to come. */
enum step retry_unwanted(struct exchange *e) {
    return retry(e, RETRY_STATUS, e->up->rx_ended ? CLOSE_NONE : CLOSE_RETRIED);
}
