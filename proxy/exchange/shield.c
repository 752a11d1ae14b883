/* What a sync server need not wait for: a request is taken whole before it is asked, and what it
 * answers is taken off its hands. */
#include "exchange/exchange_priv.h"

static struct spool *shield_spool(struct exchange *e, bool keep) {
    struct exchanges *room = e->room;
    return spool_new(&room->spools, room->ring, room->store, &room->http->net->copies, &e->task,
                     keep);
}

void shield_drop(struct exchange *e) {
    if (e->request_spool != NULL) {
        spool_free(e->request_spool);
        e->request_spool = NULL;
    }
    if (e->response_spool != NULL) {
        spool_free(e->response_spool);
        e->response_spool = NULL;
    }
}

void shield_rewind(struct exchange *e) {
    if (e->request_spool != NULL) {
        spool_rewind(e->request_spool);
    }
}

/* --- spool: the request's body is taken whole --------------------------------------------- */

/* Who waits for leave to send is told to, here: the server sees a body that is there already
 * (RFC 9110 10.1.1). */
static void shield_continue(struct exchange *e) {
    struct head go_on;
    head_init(&go_on, &e->down->arena);
    go_on.status = 100;
    go_on.reason = status_reason(100);
    e->down->ops->send_head(e->down, &go_on);
    e->request->expect_continue = false;
    head_drop(e->request, FIELD_EXPECT);
}

/* Its body is taken whole. In mode async, too, where a server must know how long it is and the
 * client does not say. */
static bool shield_wanted(const struct exchange *e) {
    bool unknown = e->backend->lengths && e->request->body == BODY_STREAM;
    return e->uploading && (e->backend->shields || unknown);
}

static bool shield_start(struct exchange *e) {
    e->request_spool = shield_spool(e, true);
    if (e->request_spool == NULL) {
        return false;
    }
    spool_limit(e->request_spool, e->backend->request_memory, e->conf->max_body);
    return true;
}

enum step step_spool(struct exchange *e) {
    struct stream *down = e->down;
    bool whole = e->request_spool != NULL || shield_wanted(e);
    if (whole && e->request_spool == NULL && !shield_start(e)) {
        return exchange_fail(e, CLOSE_NO_MEMORY);
    }
    if (e->request->expect_continue && (whole || e->backend->lengths)) {
        shield_continue(e);   /* nobody behind CGI's variables does */
    }
    if (!whole) {
        return exchange_ask(e, false);
    }
    struct spool *spool = e->request_spool;
    down->ready &= (uint8_t)~(STREAM_BODY | STREAM_END);
    if (spool_push(spool, &down->rx) > 0) {
        down->ops->pull(down);
    }
    if (spool->why != CLOSE_NONE) {
        return exchange_fail(e, (enum close_reason)spool->why);
    }
    if (down->rx_ended && down->rx.bytes == 0) {
        /* A length is known now, whatever the client knew: CGI-like servers need one. */
        e->request->body = BODY_LENGTH;
        e->request->length = spool_bytes(spool);
        return exchange_ask(e, false);
    }
    bufq_settle(&down->rx);
    if (down->rx.bytes > 0 && spool_room(spool) == 0 && spool->no_file) {
        return exchange_fail(e, CLOSE_SPOOL);
    }
    return STEP_spool;
}

/* From the spool to the server. */
void shield_upload(struct exchange *e) {
    struct spool *spool = e->request_spool;
    struct stream *up = e->up;
    uint32_t room;
    while (!up->tx_end && (room = bufq_ask(&up->tx)) > 0) {
        uint32_t got = spool_pull(spool, &up->tx, room);
        up->tx_end = spool_bytes(spool) == 0;
        if (got == 0 && !up->tx_end) {
            break;
        }
        up->ops->push(up, NULL);
        e->moved_us = ring_now_us(e->room->ring);
    }
    up->ready &= (uint8_t)~STREAM_ROOM;
    e->uploading = !up->tx_end;
}

/* --- relay: the response is taken off the server ------------------------------------------ */

/* From now on what the client has not yet taken waits in a spool. Without memory for one the
 * server waits as well. */
void shield_begin(struct exchange *e) {
    e->response_spool = shield_spool(e, false);
    if (e->response_spool != NULL) {
        spool_limit(e->response_spool, e->backend->response_memory, e->backend->response_max);
    }
}

/* A copy, that outlives the server's stream. What there is no memory for is left out, as anybody on
 * the way may do (RFC 9110 6.5.1). */
static const struct head *trailers_copy(const struct head *from, struct arena *arena) {
    struct head *to = arena_get(arena, sizeof *to);
    if (to == NULL) {
        return NULL;
    }
    head_init(to, arena);
    for (uint32_t i = 0; i < from->field_count; i++) {
        const struct field *f = &from->fields[i];
        char *text = arena_get(arena, f->name.len + f->value.len + 1);
        if (text == NULL) {
            return NULL;
        }
        memcpy(text, f->name.p, f->name.len);
        memcpy(text + f->name.len, f->value.p, f->value.len);
        if (head_add(to, (enum field_id)f->id, (struct str){text, f->name.len},
                     (struct str){text + f->name.len, f->value.len}) == NULL) {
            return NULL;
        }
    }
    return to;
}

static void shield_take(struct exchange *e) {
    struct stream *up = e->up;
    if (spool_push(e->response_spool, &up->rx) > 0) {
        e->moved_us = ring_now_us(e->room->ring);
        up->ops->pull(up);
    }
    up->ready &= (uint8_t)~(STREAM_BODY | STREAM_END);
    if (up->rx.bytes > 0) {
        bufq_settle(&up->rx);
    } else if (up->rx_ended) {
        if (up->trailers != NULL && e->request->te_trailers) {
            e->trailers = trailers_copy(up->trailers, &e->down->arena);
        }
        relay_release_server(e, CLOSE_NONE);
    } else if ((up->ready & STREAM_LOST) != 0) {
        e->lost = up->why;
        relay_release_server(e, (enum close_reason)up->why);
    }
}

/* True when the server will add nothing to what is in the spool. */
static bool shield_has_all(const struct exchange *e) {
    return e->up == NULL && e->lost == CLOSE_NONE;
}

static void shield_give(struct exchange *e) {
    struct spool *spool = e->response_spool;
    struct stream *down = e->down;
    uint32_t room;
    while (!down->tx_end && (room = bufq_ask(&down->tx)) > 0) {
        uint32_t got = spool_pull(spool, &down->tx, room);
        down->tx_end = spool_bytes(spool) == 0 && shield_has_all(e);
        if (got == 0 && !down->tx_end) {
            break;
        }
        down->ops->push(down, down->tx_end ? e->trailers : NULL);
    }
    down->ready &= (uint8_t)~STREAM_ROOM;
}

enum close_reason shield_relay(struct exchange *e) {
    if (e->up != NULL) {
        shield_take(e);
    }
    shield_give(e);
    if (e->response_spool->why != CLOSE_NONE) {
        return (enum close_reason)e->response_spool->why;
    }
    bool empty = spool_bytes(e->response_spool) == 0;
    return empty && e->up == NULL ? (enum close_reason)e->lost : CLOSE_NONE;
}
