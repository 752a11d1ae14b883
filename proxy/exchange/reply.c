/* Answers made here: a reason becomes a status and a short page. */
#include "exchange/exchange_priv.h"

/* 0: the client is not there to read an answer. */
uint16_t reply_status(enum close_reason why) {
    switch (why) {
    case CLOSE_BAD_REQUEST:
    case CLOSE_PLAIN_HTTP:
        return 400;
    case CLOSE_NO_ROUTE:
        return 404;
    case CLOSE_REFUSED:
        return 405;
    case CLOSE_HEAD_TIMEOUT:
    case CLOSE_BODY_TIMEOUT:
    case CLOSE_BODY_SLOW:
        return 408;
    case CLOSE_BODY_TOO_LARGE:
        return 413;
    case CLOSE_MISDIRECTED:
        return 421;
    case CLOSE_HEAD_TOO_LARGE:
        return 431;
    case CLOSE_REDIRECT:
        return 308;
    case CLOSE_CONNECT_REFUSED:
    case CLOSE_BACKEND_CLOSED:
    case CLOSE_BACKEND_CUT:
    case CLOSE_BAD_RESPONSE:
        return 502;
    case CLOSE_QUEUE_FULL:
    case CLOSE_QUEUE_TIMEOUT:
    case CLOSE_SPOOL:
    case CLOSE_NO_SERVER:
    case CLOSE_NO_MEMORY:
    case CLOSE_NO_DESCRIPTOR:
        return 503;
    case CLOSE_CONNECT_TIMEOUT:
    case CLOSE_RESPONSE_TIMEOUT:
    case CLOSE_SEND_TIMEOUT:
    case CLOSE_STALL_TIMEOUT:
        return 504;
    default:
        return 0;
    }
}

/* What each of these statuses comes with. False without memory. */
static bool reply_fields(struct exchange *e, uint16_t status, struct head *extra) {
    struct field *added = NULL;
    if (e->why == CLOSE_PLAIN_HTTP) {
        extra->reason = STR("This port speaks TLS: use https");
    }
    if (status == 308) {
        added = head_add(extra, FIELD_LOCATION, field_text(FIELD_LOCATION), str_of(e->location));
    } else if (status == 503) {
        added = head_add(extra, FIELD_RETRY_AFTER, field_text(FIELD_RETRY_AFTER), STR("5"));
    } else if (status == 405 || status == 204) {
        added = head_add(extra, FIELD_ALLOW, field_text(FIELD_ALLOW),
                         STR("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"));
    } else {
        return true;
    }
    return added != NULL;
}

void reply_bare(struct stream *down, uint16_t status) {
    struct head head;
    struct field field;
    head_init_bare(&head, &field, status);
    down->ops->send_head(down, &head);
}

enum step step_reply(struct exchange *e) {
    uint16_t status = e->own_status != 0 ? e->own_status
                      : e->request != NULL && e->request->refuse != 0 ? e->request->refuse
                                                                      : reply_status(e->why);
    lease_end(&e->lease, e->why);
    timer_cancel(e->room->ring, &e->timer);
    e->late = false;
    e->uploading = false;
    shield_drop(e);
    struct head extra;
    head_init(&extra, &e->down->arena);
    bool whole = reply_fields(e, status, &extra);   /* a bare 503 has its field by itself */
    e->up = whole ? local_stream_new(e->room->http, status, &extra, &e->task) : NULL;
    if (e->up == NULL) {
        if (status == 204 || status == 308 || status == 405) {   /* nothing without their fields */
            e->why = CLOSE_NO_MEMORY;
            status = reply_status(e->why);
        }
        reply_bare(e->down, status);
        e->status = status;
        return STEP_done;
    }
    e->local = true;
    struct head *head = stream_take_head(e->up);
    if (e->request != NULL && e->request->method == METHOD_HEAD) {
        head->body = BODY_NONE;
    }
    e->down->ops->send_head(e->down, head);
    e->head_sent = true;
    e->status = status;
    return STEP_relay;
}
