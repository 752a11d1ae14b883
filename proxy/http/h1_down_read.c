/* What a client sends, as requests and their bodies; and how long it may take. */
#include "http/h1_down_priv.h"

/* Empty lines before a request line that are passed over (RFC 9112 2.2). */
#define EMPTY_LINES_MAX 4u

/* --- Time ---------------------------------------------------------------------------------- */

void h1_down_arm(struct h1_down *s, enum down_timer what) {
    uint32_t ms = what == TIMER_IDLE ? s->limits->idle_ms
                  : what == TIMER_HEAD ? s->limits->head_ms : s->limits->body_ms;
    s->timer_for = (uint8_t)what;
    s->timed_out = false;
    timer_arm(s->http->ring, &s->timer, ms);
}

bool h1_down_in_head(const struct h1_down *s) {
    return s->stream != NULL && !s->stream->published;
}

bool h1_down_in_body(const struct h1_down *s) {
    const struct h1_down_stream *st = s->stream;
    return st != NULL && st->published && !st->expect && st->stream.why == CLOSE_NONE &&
           (st->read.phase == H1_BODY || st->read.phase == H1_TRAILERS) &&
           bufq_room(&st->stream.rx) > 0;
}

/* Bytes of body that must come within body_ms. Without a minimum any byte will do. */
static uint64_t down_body_quota(const struct http_limits *limits) {
    uint64_t bytes = (uint64_t)limits->body_rate_min * limits->body_ms / 1000;
    return bytes > 0 ? bytes : 1;
}

void h1_down_time(struct h1_down *s, uint32_t came) {
    if (h1_down_in_head(s)) {
        if (s->timer_for != TIMER_HEAD) {
            h1_down_arm(s, TIMER_HEAD);
        }
    } else if (h1_down_in_body(s)) {
        s->body_bytes += came;
        if (s->timer_for != TIMER_BODY || s->body_bytes >= down_body_quota(s->limits)) {
            s->body_bytes = 0;
            h1_down_arm(s, TIMER_BODY);
        }
    } else if (s->timer_for != TIMER_IDLE && s->stream != NULL) {
        s->timer_for = TIMER_NONE;
    }
}

/* --- Reading ------------------------------------------------------------------------------ */

/* Empty lines before a request do not begin one. A lone CR waits for its LF; anything else is for
 * the reader to refuse. */
static bool down_skip_empty(struct h1_down *s) {
    struct bufq *rx = &s->wire->rx;
    char two[2];
    while (s->empty_lines < EMPTY_LINES_MAX && bufq_read(rx, two, 1) == 1 && two[0] == '\r') {
        if (bufq_read(rx, two, 2) < 2) {
            return false;
        }
        if (two[1] != '\n') {
            break;
        }
        bufq_drop(rx, 2);
        s->empty_lines++;
    }
    return rx->bytes > 0;
}

bool h1_down_begin(struct h1_down *s) {
    struct h1_down_stream *st = pool_get(&s->http->down_streams);
    if (st == NULL) {
        s->starved = true;
        return false;
    }
    stream_init(&st->stream, s->http, &h1_down_stream_ops, s->limits, NULL);
    st->session = s;
    st->published = st->keep = st->last = st->expect = false;
    st->tx = (struct h1_tx){.framing = H1_TX_NONE};
    h1_read_start(&st->read, true, &st->head, &st->trailers, &st->stream.arena, s->limits);
    st->stream.head = &st->head;
    st->stream.began_us = ring_now_us(s->http->ring);
    st->head.conn = &s->facts;
    s->empty_lines = 0;
    s->stream = st;
    return true;
}

/* Answers that a client does not read must not pile up: with no room for one, its next request
 * waits. */
static bool down_next_request(struct h1_down *s) {
    return wire_room(s->wire) > 0 && down_skip_empty(s) && h1_down_begin(s);
}

/* Fields and trailers whose names are not forwarded. */
static void down_count_dropped(struct h1_down *s) {
    struct h1_read *read = &s->stream->read;
    if (read->fields_dropped > 0) {
        stats_add(ring_stats(s->http->ring), STAT_FIELDS_DROPPED, read->fields_dropped);
        read->fields_dropped = 0;
    }
}

void h1_down_got_end(struct h1_down *s) {
    struct h1_down_stream *st = s->stream;
    down_count_dropped(s);
    st->stream.rx_ended = true;
    if (st->read.head == &st->trailers && st->trailers.field_count > 0) {
        st->stream.trailers = &st->trailers;
    }
    stream_wake(s->http, &st->stream, STREAM_END);
}

void h1_down_publish(struct h1_down *s) {
    struct h1_down_stream *st = s->stream;
    struct head *head = &st->head;
    st->published = true;
    st->keep = st->read.phase != H1_BROKEN && head->keep_alive;
    st->head_only = head->method == METHOD_HEAD;
    st->old = head->minor == 0;
    if (st->read.phase == H1_BROKEN) {
        head->refuse = st->read.refuse;
        head->why = st->read.why;
        head->refusal = st->read.refusal;
        head->keep_alive = false;
    } else {
        st->expect = head->expect_continue;
        stats_add(ring_stats(s->http->ring), STAT_REQUESTS, 1);
    }
    down_count_dropped(s);
    if (st->read.phase == H1_END) {
        h1_down_got_end(s);
    }
    st->stream.ready |= STREAM_HEAD;
    list_append(&s->inbox->streams, &st->stream.inbox);
    task_wake(s->http->ring, s->inbox->task);
}

static bool down_read_body(struct h1_down *s) {
    struct h1_down_stream *st = s->stream;
    struct bufq *rx = &st->stream.rx;
    if (st->stream.why != CLOSE_NONE) {
        return false;
    }
    uint64_t before = st->read.body_bytes;
    enum h1_result result = h1_read_body(&st->read, &s->wire->rx, rx);
    if (st->read.body_bytes > before) {
        st->expect = false;   /* it did not wait for the 100 */
        st->stream.rx_bytes = st->read.body_bytes;
        stream_wake(s->http, &st->stream, STREAM_BODY);
    }
    if (result == H1_GOT_END) {
        h1_down_got_end(s);
    } else if (result == H1_BAD) {
        st->stream.refusal = st->read.refusal;
        stream_lost(s->http, &st->stream, st->read.why);
    }
    if (bufq_room(rx) == 0) {
        h1_settle(rx);
    }
    return false;
}

/* Reads what is next; false when there is nothing to do for now. */
static bool down_read_some(struct h1_down *s) {
    struct h1_down_stream *st = s->stream;
    switch (st->read.phase) {
    case H1_LINE:
    case H1_FIELDS:
        if (h1_read_head(&st->read, &s->wire->rx) == H1_MORE) {
            return false;
        }
        h1_down_publish(s);
        return true;
    case H1_BODY:
    case H1_TRAILERS:
        return down_read_body(s);
    case H1_TUNNEL: {
        uint32_t n = bufq_move(&st->stream.rx, &s->wire->rx, bufq_room(&st->stream.rx));
        if (n > 0) {
            st->stream.rx_bytes += n;
            stream_wake(s->http, &st->stream, STREAM_BODY);
        }
        if (st->stream.rx.failed) {
            stream_lost(s->http, &st->stream, CLOSE_NO_MEMORY);
        }
        return false;
    }
    default:
        return false;   /* H1_END: what is here belongs to the next; H1_BROKEN: to nobody */
    }
}

/* A client that is not read, as it has sent all that it may ahead of its answers. */
static void down_count_full(struct h1_down *s) {
    bool ahead = s->stream == NULL || s->stream->read.phase == H1_END;
    bool full = ahead && bufq_room(&s->wire->rx) == 0;
    if (full && !s->full) {
        stats_add(ring_stats(s->http->ring), STAT_PIPELINE_FULL, 1);
    }
    s->full = full;
}

static void down_read_all(struct h1_down *s) {
    struct bufq *rx = &s->wire->rx;
    uint32_t before = rx->bytes;
    while (rx->bytes > 0 && (s->stream != NULL || down_next_request(s)) && down_read_some(s)) {
    }
    if (rx->bytes != before) {
        wire_pull(s->wire);
    }
    h1_down_time(s, before - rx->bytes);
    down_count_full(s);
    if (rx->bytes > 0) {
        h1_settle(rx);
    }
}

void h1_down_read(struct h1_down *s) {
    if (s->wire->rx.bytes > 0) {
        down_read_all(s);
    } else {
        h1_down_time(s, 0);
        s->full = false;
    }
}
