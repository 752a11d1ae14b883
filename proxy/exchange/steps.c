/* The steps from a request's head to the response's head. */
#include "exchange/exchange_priv.h"

/* --- head: what may be served at all ------------------------------------------------------ */

/* https://HOST[:PORT]TARGET, with the port only where it is not the usual one. */
static enum step redirect_https(struct exchange *e) {
    struct head *request = e->request;
    struct str host = request->authority;
    for (uint32_t i = host.len; i > 0 && host.p[i - 1] != ']'; i--) {
        if (host.p[i - 1] == ':') {
            host.len = i - 1;
            break;
        }
    }
    if (host.len == 0) {
        request->refusal = REFUSE_HOST_MISSING;   /* HTTP/1.0 without Host: nowhere to send */
        return exchange_fail(e, CLOSE_BAD_REQUEST);
    }
    uint32_t cap = host.len + request->target.len + 32;
    char *p = arena_get(request->arena, cap);
    if (p == NULL) {
        return exchange_fail(e, CLOSE_NO_MEMORY);
    }
    struct text text = text_on(p, cap);
    text_str(&text, STR("https://"));
    text_str(&text, host);
    if (e->conf->redirect_https != 443) {
        text_char(&text, ':');
        text_u64(&text, e->conf->redirect_https);
    }
    text_str(&text, request->target.p[0] == '/' ? request->target : STR("/"));
    text_char(&text, '\0');
    ensure(!text.cut);
    e->location = text.p;
    return exchange_fail(e, CLOSE_REDIRECT);
}

/* RFC 9110 7.6.2: who gets OPTIONS with a Max-Forwards of 0 is its final recipient. */
static bool no_more_forwards(const struct head *request) {
    if (request->method != METHOD_OPTIONS) {
        return false;
    }
    const struct field *f = head_find(request, FIELD_MAX_FORWARDS);
    for (; f != NULL; f = head_find_next(request, f)) {
        uint64_t forwards;
        if (str_to_u64(f->value, &forwards) && forwards == 0) {
            return true;
        }
    }
    return false;
}

enum step step_head(struct exchange *e) {
    if ((e->down->ready & STREAM_HEAD) == 0) {
        return STEP_head;
    }
    struct head *request = stream_take_head(e->down);
    e->request = request;
    e->client = request->conn->client;
    e->site = request->conn->listener;
    e->conf = &e->generation->conf->listeners[e->site->index];
    if (request->refuse != 0) {
        return exchange_fail(e, request->why);
    }
    if (e->conf->redirect_https != 0) {
        return redirect_https(e);
    }
    if (e->site->multi_certificate && request->conn->tls != NULL &&
        tls_is_misdirected(request->conn->tls, request->authority)) {
        return exchange_fail(e, CLOSE_MISDIRECTED);
    }
    if (no_more_forwards(request)) {
        e->own_status = 204;
        return STEP_reply;
    }
    return STEP_route;
}

/* --- route -------------------------------------------------------------------------------- */

enum step step_route(struct exchange *e) {
    struct head *request = e->request;
    uint32_t mount;
    int32_t index = router_find(e->generation->router, e->site->index, request->authority,
                                request->path, &mount);
    if (index < 0) {
        return exchange_fail(e, CLOSE_NO_ROUTE);
    }
    e->backend = e->generation->backends[index];
    request->script_name = (struct str){request->path.p, mount};
    rewrite_request(e);
    if (e->backend->sticky != CONF_STICKY_NO) {
        sticky_request(e);
    }
    e->uploading = request->body != BODY_NONE;
    return STEP_spool;
}

/* --- lease: a connection to a server ------------------------------------------------------ */

enum step exchange_ask(struct exchange *e, bool fresh) {
    struct pick pick = {.fresh = fresh, .once = !method_idempotent(e->request->method),
                        .told = introduce_client(e), .client = e->client, .stuck = e->stuck,
                        .arena = e->request->arena};
    if (e->backend->balance == CONF_BALANCE_HASH) {
        pick.key = exchange_hash_key(e);
    }
    if (e->request->arena->failed) {
        return exchange_fail(e, CLOSE_NO_MEMORY);
    }
    e->asked_us = e->asked_us != 0 ? e->asked_us : ring_now_us(e->room->ring);
    lease_ask(&e->lease, e->room->upstream, e->backend, &pick, &e->task);
    return STEP_lease;
}

enum step step_lease(struct exchange *e) {
    if (e->lease.state == LEASE_NONE && e->late) {
        e->late = false;   /* the pause is over */
        if (retry_waits(e)) {
            return STEP_lease;
        }
        enum step next = exchange_ask(e, true);
        if (next != STEP_lease) {
            return next;
        }
    }
    switch ((enum lease_state)e->lease.state) {
    case LEASE_NONE:
    case LEASE_WAITING:
        return STEP_lease;
    case LEASE_FAILED:
        return exchange_fail(e, e->lease.why);
    default:
        break;
    }
    e->up = e->lease.stream;
    e->up->tell_sent = false;   /* nobody waits for the request to leave */
    if (!e->lease.reused) {
        e->connected_us = e->lease.ready_us - e->lease.asked_us - e->lease.queued_us;
    }
    return STEP_request;
}

/* --- request: the head goes up ------------------------------------------------------------ */

enum step step_request(struct exchange *e) {
    e->up->ops->send_head(e->up, e->request);
    e->up->tx_end = !e->uploading;
    e->moved_us = ring_now_us(e->room->ring);
    e->late = false;
    timer_arm(e->room->ring, &e->timer, e->backend->response_ms);
    return STEP_response;
}

/* --- response: until its head is here ----------------------------------------------------- */

/* Time runs from the last byte that went up: a long upload is not a slow server. */
static bool response_is_late(struct exchange *e) {
    if (!e->late) {
        return false;
    }
    e->late = false;
    uint64_t now = ring_now_us(e->room->ring);
    if (relay_client_owes(e)) {
        e->moved_us = now;
    }
    uint64_t waited_ms = (now - e->moved_us) / 1000;
    if (waited_ms >= e->backend->response_ms) {
        return true;
    }
    timer_arm(e->room->ring, &e->timer, e->backend->response_ms - waited_ms);
    return false;
}

static enum step response_head(struct exchange *e) {
    struct head *head = stream_take_head(e->up);
    lease_answered(&e->lease, head->status);
    if (e->backend->retry_statuses && retry_wants(e, head->status)) {
        return retry_unwanted(e);
    }
    if (e->first_us == 0) {
        e->first_us = ring_now_us(e->room->ring);
    }
    rewrite_response(e, head);
    if (head->arena->failed) {
        return exchange_fail(e, CLOSE_NO_MEMORY);
    }
    e->down->ops->send_head(e->down, head);
    if (head->status < 200 && head->status != 101) {
        e->request->expect_continue = e->request->expect_continue && head->status != 100;
        e->hinted = e->hinted || head->status != 100;
        e->up->ops->pull(e->up);   /* interim: the final one is still to come */
        return STEP_response;
    }
    e->head_sent = true;
    e->status = head->status;
    timer_cancel(e->room->ring, &e->timer);   /* from here on it is the next step's */
    e->late = false;
    e->moved_us = ring_now_us(e->room->ring);
    return head->status == 101 ? STEP_tunnel : STEP_relay;
}

enum step step_response(struct exchange *e) {
    if (e->uploading && (e->up->ready & STREAM_LOST) == 0) {
        relay_request(e);   /* else it would be lost as well, and another server may want it */
    }
    if (e->request_spool != NULL && e->request_spool->why != CLOSE_NONE) {
        return exchange_fail(e, (enum close_reason)e->request_spool->why);
    }
    while ((e->up->ready & STREAM_HEAD) != 0) {
        enum step next = response_head(e);
        if (next != STEP_response) {
            return next;
        }
    }
    if ((e->up->ready & STREAM_LOST) != 0) {
        return retry_lost(e);
    }
    if (response_is_late(e)) {
        return retry_late(e);
    }
    return STEP_response;
}

/* --- done --------------------------------------------------------------------------------- */

enum step step_done(struct exchange *e) {
    raw_end(e);
    accesslog_write(e->room->log, e);
    stats_end(ring_stats(e->room->ring), e->why);
    if (e->local) {
        e->up->ops->release(e->up, CLOSE_NONE);
    }
    lease_end(&e->lease, e->why);
    e->up = NULL;
    shield_drop(e);
    /* A page that was sent whole ends its exchange well, as far as the connection goes. */
    e->down->ops->release(e->down, e->cut ? (enum close_reason)e->why : CLOSE_NONE);
    return STEP_done;
}
