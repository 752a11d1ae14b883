/* The body path: from one stream's rx to the other's tx, both ways, and tunnels. */
#include "exchange/exchange_priv.h"

/* Half of a tunnel has ended; the other half has so long to say what it still has to say. */
#define TUNNEL_HALF_MS 10000u

/* Until one side has no more, or the other no room: only then is there somebody who will wake us.
 * A push makes room in tx at once where its connection has some. */
static uint32_t pump_bytes(struct stream *to, struct stream *from, struct frames *frames) {
    uint32_t moved = 0, room;
    while (!to->tx_end && from->rx.bytes > 0 && (room = bufq_ask(&to->tx)) > 0) {
        if (frames != NULL) {
            frames_pass(frames, &from->rx, room < from->rx.bytes ? room : from->rx.bytes);
        }
        moved += bufq_move(&to->tx, &from->rx, room);
        if (from->rx.bytes > 0) {
            to->ops->push(to, NULL);
        }
    }
    return moved;
}

/* Moves what there is room for. True when something was moved or the end was passed on. */
static bool pump(struct stream *to, struct stream *from, bool trailers, struct frames *frames) {
    uint32_t moved = pump_bytes(to, from, frames);
    bool ends = from->rx_ended && from->rx.bytes == 0 && !to->tx_end;
    to->tx_end = to->tx_end || ends;
    if (moved > 0 || ends) {
        to->ops->push(to, ends && trailers ? from->trailers : NULL);
    }
    if (moved > 0) {
        from->ops->pull(from);
    }
    if (from->rx.bytes > 0) {
        bufq_settle(&from->rx);
    }
    from->ready &= (uint8_t)~(STREAM_BODY | STREAM_END);
    to->ready &= (uint8_t)~STREAM_ROOM;
    return moved > 0 || ends;
}

void relay_request(struct exchange *e) {
    if (!e->uploading) {
        return;
    }
    if (e->request_spool != NULL) {
        shield_upload(e);
        return;
    }
    if (pump(e->up, e->down, true, NULL)) {
        e->moved_us = ring_now_us(e->room->ring);
    }
    e->uploading = !e->up->tx_end;
}

/* While the client owes the rest of its body, its own body_timeout runs. Who waits for a 100 owes
 * nothing yet: it is the server's turn. */
bool relay_client_owes(const struct exchange *e) {
    if (e->request_spool != NULL) {
        return false;
    }
    bool asked = !e->request->expect_continue || e->up->tx_bytes > 0;
    return e->uploading && asked && bufq_room(&e->up->tx) > 0;
}

/* The client's slowness is not the server's: time runs only while the client has taken all, or the
 * spool takes it for it, and while the client has sent all. */
static bool relay_is_late(struct exchange *e) {
    if (!e->late) {
        return false;
    }
    e->late = false;
    uint64_t now = ring_now_us(e->room->ring);
    raw_note(e);
    bool blocked = e->response_spool != NULL ? e->response_spool->full
                                             : bufq_room(&e->down->tx) == 0;
    if (blocked || raw_is_blocked(e) || relay_client_owes(e)) {
        e->moved_us = now;
    }
    uint64_t waited_ms = (now - e->moved_us) / 1000;
    if (waited_ms >= e->backend->stall_ms) {
        return true;
    }
    timer_arm(e->room->ring, &e->timer, e->backend->stall_ms - waited_ms);
    return false;
}

/* Whatever the client does. */
void relay_release_server(struct exchange *e, enum close_reason why) {
    if (!e->local && e->up != NULL) {
        raw_end(e);
        lease_end(&e->lease, why);
        e->up = NULL;
        timer_cancel(e->room->ring, &e->timer);
    }
}

/* Each time before something of it is moved. */
static void relay_look(struct exchange *e) {
    if (e->opening != NULL && e->up != NULL) {
        sticky_body(e);
    }
}

/* From the server to the client, at once where the client takes it. Not NONE: no more will come. */
static enum close_reason relay_response(struct exchange *e) {
    relay_look(e);
    if (raw_moves(e)) {
        return CLOSE_NONE;
    }
    if (e->response_spool == NULL && e->up != NULL) {
        if (pump(e->down, e->up, e->request->te_trailers, NULL)) {
            e->moved_us = ring_now_us(e->room->ring);
        }
        if (e->up->rx.bytes > 0 && !e->local && e->backend->shields) {
            shield_begin(e);
        }
        raw_begin(e);
    }
    if (e->response_spool != NULL) {
        relay_look(e);
        return shield_relay(e);
    }
    bool lost = (e->up->ready & STREAM_LOST) != 0 && e->up->rx.bytes == 0;
    return lost && !e->down->tx_end ? (enum close_reason)e->up->why : CLOSE_NONE;
}

enum step step_relay(struct exchange *e) {
    if (!e->local && e->up != NULL) {
        relay_request(e);
    }
    if (!e->down->tx_end) {
        enum close_reason why = relay_response(e);
        if (why != CLOSE_NONE) {
            return exchange_fail(e, why);
        }
    }
    if (e->down->tx_end) {
        relay_release_server(e, CLOSE_NONE);
        return (e->down->ready & STREAM_SENT) != 0 ? STEP_done : STEP_relay;
    }
    if (e->up == NULL) {
        return STEP_relay;   /* what is left is between the spool and the client */
    }
    if (!e->local && !timer_armed(&e->timer)) {
        timer_arm(e->room->ring, &e->timer, e->backend->stall_ms);
    }
    return relay_is_late(e) ? exchange_fail(e, CLOSE_STALL_TIMEOUT) : STEP_relay;
}

/* --- tunnel ------------------------------------------------------------------------------- */

static uint32_t tunnel_ms(const struct exchange *e) {
    uint64_t ms = e->conf->tunnel_timeout_ms;
    bool half = e->up->tx_end || e->down->tx_end;
    return (uint32_t)(half && ms > TUNNEL_HALF_MS ? TUNNEL_HALF_MS : ms);
}

static bool tunnel_is_late(struct exchange *e) {
    if (!e->late && timer_armed(&e->timer)) {
        return false;
    }
    e->late = false;
    uint64_t waited_ms = (ring_now_us(e->room->ring) - e->moved_us) / 1000;
    if (waited_ms >= tunnel_ms(e)) {
        return true;
    }
    timer_arm(e->room->ring, &e->timer, tunnel_ms(e) - waited_ms);
    return false;
}

static void tunnel_begin(struct exchange *e) {
    e->up->ops->tunnel(e->up);
    e->down->ops->tunnel(e->down);
    e->up->tell_sent = true;
    e->websocket = str_eq_fold(e->request->upgrade, STR("websocket"));
    timer_cancel(e->room->ring, &e->timer);
}

/* gyre is about to stop. Who is still there hears that it is not cut off by accident: WebSockets by
 * a Close frame (RFC 6455 7.4.1), all others by the end alone. */
static void tunnel_stop(struct exchange *e) {
    e->down->ready &= (uint8_t)~STREAM_STOP;
    e->stopped = true;
    struct stream *ends[] = {e->down, e->up};
    for (unsigned i = 0; i < 2; i++) {
        if (ends[i]->tx_end) {
            continue;
        }
        if (e->websocket) {
            frames_close(i == 0 ? &e->to_client : &e->to_server, &ends[i]->tx, i == 1);
        }
        ends[i]->tx_end = true;
        ends[i]->ops->push(ends[i], NULL);
    }
}

enum step step_tunnel(struct exchange *e) {
    if (!e->down->tunnelled) {
        tunnel_begin(e);
    }
    bool was_half = e->up->tx_end || e->down->tx_end;
    bool moved = pump(e->up, e->down, false, e->websocket ? &e->to_server : NULL);
    moved |= pump(e->down, e->up, false, e->websocket ? &e->to_client : NULL);
    if ((e->down->ready & STREAM_STOP) != 0) {
        tunnel_stop(e);
        moved = true;   /* however long it was silent, it has its time to end */
    }
    if (moved) {
        e->moved_us = ring_now_us(e->room->ring);
    }
    if (!was_half && (e->up->tx_end || e->down->tx_end)) {
        timer_cancel(e->room->ring, &e->timer);   /* it is a shorter one now */
    }
    bool sent = (e->down->ready & e->up->ready & STREAM_SENT) != 0;
    if (e->up->tx_end && e->down->tx_end && sent) {
        e->why = e->stopped ? CLOSE_DRAIN : CLOSE_TUNNEL_END;
        return STEP_done;
    }
    if ((e->up->ready & STREAM_LOST) != 0 && e->up->rx.bytes == 0) {
        return exchange_fail(e, e->up->why);
    }
    return tunnel_is_late(e) ? exchange_fail(e, CLOSE_TUNNEL_TIMEOUT) : STEP_tunnel;
}
