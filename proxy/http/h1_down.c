/* HTTP/1 with a client: a session reads requests one by one, a stream is one of them. */
#include "http/h1_down_priv.h"

/* Empty lines before a request line that are passed over (RFC 9112 2.2). */
#define EMPTY_LINES_MAX 4u

const size_t h1_down_size = sizeof(struct h1_down);
const size_t h1_down_stream_size = sizeof(struct h1_down_stream);

static const struct stream_ops down_stream_ops;
static const struct session_ops down_session_ops;

static struct h1_down *down_of(struct stream *stream) {
    ensure_magic(stream, STREAM_MAGIC);
    return ((struct h1_down_stream *)stream)->session;
}

/* --- Timers ------------------------------------------------------------------------------- */

static void down_fired(struct timer *timer) {
    struct h1_down *s = container_of(timer, struct h1_down, timer);
    s->timed_out = true;
    task_wake(s->http->ring, &s->task);
}

static void down_arm(struct h1_down *s, enum down_timer what) {
    uint32_t ms = what == TIMER_IDLE ? s->limits->idle_ms
                  : what == TIMER_HEAD ? s->limits->head_ms : s->limits->body_ms;
    s->timer_for = (uint8_t)what;
    s->timed_out = false;
    timer_arm(s->http->ring, &s->timer, ms);
}

static bool down_in_head(const struct h1_down *s) {
    return s->stream != NULL && !s->stream->published;
}

/* True while it is the client's turn to send body. */
static bool down_in_body(const struct h1_down *s) {
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

/* After each read: what the client owes us next. Time for a body begins anew when its bytes have
 * come, and when the client's turn does: it does not pay for a slow server. */
static void down_time(struct h1_down *s, uint32_t came) {
    if (down_in_head(s)) {
        if (s->timer_for != TIMER_HEAD) {
            down_arm(s, TIMER_HEAD);
        }
    } else if (down_in_body(s)) {
        s->body_bytes += came;
        if (s->timer_for != TIMER_BODY || s->body_bytes >= down_body_quota(s->limits)) {
            s->body_bytes = 0;
            down_arm(s, TIMER_BODY);
        }
    } else if (s->timer_for != TIMER_IDLE && s->stream != NULL) {
        s->timer_for = TIMER_NONE;
    }
}

/* --- The end of a session ----------------------------------------------------------------- */

static void down_stream_free(struct h1_down *s) {
    struct h1_down_stream *st = s->stream;
    s->stream = NULL;
    stream_fini(&st->stream);
    pool_put(&s->http->down_streams, st);
}

/* The wire is let go, and nobody holds a stream. */
static void down_free(struct h1_down *s) {
    ensure(s->stream == NULL && s->wire == NULL);
    timer_cancel(s->http->ring, &s->timer);
    task_cancel(s->http->ring, &s->task);
    list_remove(&s->session.link);
    s->session.magic = 0;
    pool_put(&s->http->downs, s);
}

/* Nothing of a message is in anybody's hands: what was sent is flushed, then all goes. */
static void down_close(struct h1_down *s, enum close_reason why) {
    if (s->stream != NULL) {
        down_stream_free(s);
    }
    wire_end(s->wire, why);
    s->wire = NULL;
    down_free(s);
}

/* The connection is dead. Whoever holds the stream is told, and releases it. */
static void down_dead(struct h1_down *s, enum close_reason why) {
    wire_shut(s->wire, why);
    s->wire = NULL;
    if (down_in_head(s)) {
        down_stream_free(s);
    }
    if (s->stream == NULL) {
        down_free(s);
        return;
    }
    /* A client that was still to get its answer (its body is too large) is gone now as well, and
     * whoever waits for that answer to leave must hear of it. */
    s->stream->stream.why = CLOSE_NONE;
    s->stream->stream.gone = true;
    stream_lost(s->http, &s->stream->stream, why);
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

/* Starts the next request. Answers that a client does not read must not pile up: with no room for
 * one, its next request waits. */
static bool down_begin(struct h1_down *s) {
    if (bufq_room(&s->wire->tx) == 0 || !down_skip_empty(s)) {
        return false;
    }
    struct h1_down_stream *st = pool_get(&s->http->down_streams);
    if (st == NULL) {
        s->starved = true;
        return false;
    }
    stream_init(&st->stream, s->http, &down_stream_ops, s->limits, NULL);
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

static void down_got_end(struct h1_down *s) {
    struct h1_down_stream *st = s->stream;
    st->stream.rx_ended = true;
    if (st->read.head == &st->trailers && st->trailers.field_count > 0) {
        st->stream.trailers = &st->trailers;
    }
    stream_wake(s->http, &st->stream, STREAM_END);
}

/* The request has a head, or it is refused: somebody is to answer it. */
static void down_publish(struct h1_down *s) {
    struct h1_down_stream *st = s->stream;
    struct head *head = &st->head;
    st->published = true;
    st->keep = st->read.phase != H1_BROKEN && head->keep_alive;
    st->head_only = head->method == METHOD_HEAD;
    st->old = head->minor == 0;
    if (st->read.phase == H1_BROKEN) {
        head->refuse = st->read.refuse;
        head->why = st->read.why;
        head->keep_alive = false;
    } else {
        st->expect = head->expect_continue;
        stats_add(ring_stats(s->http->ring), STAT_REQUESTS, 1);
    }
    if (st->read.phase == H1_END) {
        down_got_end(s);
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
        down_got_end(s);
    } else if (result == H1_BAD) {
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
        down_publish(s);
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

static void down_read(struct h1_down *s) {
    struct bufq *rx = &s->wire->rx;
    uint32_t before = rx->bytes;
    while (rx->bytes > 0 && (s->stream != NULL || down_begin(s)) && down_read_some(s)) {
    }
    if (rx->bytes != before) {
        wire_pull(s->wire);
    }
    down_time(s, before - rx->bytes);
    down_count_full(s);
    if (rx->bytes > 0) {
        h1_settle(rx);
    }
}

/* The request that has come is not read, and its client hears why. */
static void down_starve(struct h1_down *s) {
    h1_write_bare(&s->wire->tx, 503, ring_http_date(s->http->ring));
    stats_end(ring_stats(s->http->ring), CLOSE_NO_MEMORY);
    down_close(s, CLOSE_NO_MEMORY);
}

/* --- Events of the wire ------------------------------------------------------------------- */

/* From here on it is known who the client is: at the accept, or when the PROXY header has told.
 * Under TLS that is before the handshake. */
static void down_know(struct h1_down *s) {
    if (s->wire->told.told) {
        s->facts.client = s->wire->told.client;
        s->facts.local = s->wire->told.local;
    }
}

/* The client has ended its side. While its request waits or runs it is gone; but for a tunnel, and
 * where all of the answer is on its way already. */
static void down_ended(struct h1_down *s) {
    struct h1_down_stream *st = s->stream;
    if (st == NULL || !st->published) {
        down_close(s, st == NULL ? CLOSE_CLIENT_EOF : CLOSE_CLIENT_GONE);
        return;
    }
    if (st->read.phase == H1_TUNNEL) {
        if (s->wire->rx.bytes == 0 && !st->stream.rx_ended) {
            down_got_end(s);
        }
        return;
    }
    if (!st->tx.done) {
        stream_lost(s->http, &st->stream, CLOSE_CLIENT_GONE);
    }
}

static void down_timeout(struct h1_down *s) {
    s->timed_out = false;
    switch (s->timer_for) {
    case TIMER_IDLE:
    case TIMER_HEAD:
        if (s->stream == NULL) {
            down_close(s, s->timer_for == TIMER_IDLE ? CLOSE_IDLE_TIMEOUT : CLOSE_HEAD_TIMEOUT);
        } else if (s->timer_for == TIMER_HEAD && down_in_head(s)) {
            h1_read_bad(&s->stream->read, 408, CLOSE_HEAD_TIMEOUT);
            down_publish(s);
        }
        return;
    case TIMER_BODY:
        if (down_in_body(s)) {
            stream_lost(s->http, &s->stream->stream,
                        s->body_bytes > 0 ? CLOSE_BODY_SLOW : CLOSE_BODY_TIMEOUT);
        }
        return;
    default:
        return;
    }
}

static void down_run(struct task *task) {
    struct h1_down *s = container_of(task, struct h1_down, task);
    struct wire *wire = s->wire;
    if (wire == NULL) {
        return;
    }
    unsigned ready = wire->ready;
    wire->ready = 0;
    if ((ready & WIRE_LOST) != 0) {
        down_dead(s, wire->why);
        return;
    }
    if ((ready & WIRE_TOLD) != 0) {
        down_know(s);
    }
    if (s->push_waits) {
        s->push_waits = false;
        wire_push(wire);
    }
    if ((ready & WIRE_UP) != 0 && s->timer_for == TIMER_NONE && s->stream == NULL) {
        down_arm(s, TIMER_HEAD);   /* until then it was the handshake's time */
    }
    if ((ready & WIRE_ROOM) != 0 && s->stream != NULL) {
        h1_tx_room(&s->stream->tx, s->http, &s->stream->stream, wire);
    }
    down_read(s);
    if (s->starved) {
        down_starve(s);
        return;
    }
    s->eof = s->eof || (ready & WIRE_EOF) != 0;
    if (s->eof) {
        down_ended(s);
    } else if (s->timed_out) {
        down_timeout(s);
    }
}

/* --- What the owner of a stream asks for -------------------------------------------------- */

/* How the body is framed for this client. */
static enum h1_framing down_framing(const struct h1_down_stream *st, const struct head *head) {
    if (st->head_only || head->body == BODY_NONE || head->status == 204 ||
        head->status == 304) {
        return H1_TX_NONE;
    }
    if (head->body == BODY_LENGTH) {
        return H1_TX_LENGTH;
    }
    return st->old ? H1_TX_CLOSE : H1_TX_CHUNKED;
}

/* An interim response; HTTP/1.0 knows none (RFC 9110 15.2). */
static void down_send_interim(struct h1_down *s, const struct head *head) {
    struct h1_down_stream *st = s->stream;
    if (st->old) {
        return;
    }
    if (head->status == 100) {
        st->expect = false;
        down_time(s, 0);
    }
    h1_write_response(&s->wire->tx, head, &(struct h1_response){.framing = H1_TX_NONE});
    wire_push(s->wire);
}

/* Whether the connection can be kept is known now, and said (RFC 9112 9.6). A client that waits for
 * a 100 may send its body or may not: what comes next could not be told apart (RFC 9110 10.1.1). */
static void down_send_head(struct stream *stream, const struct head *head) {
    struct h1_down *s = down_of(stream);
    struct h1_down_stream *st = s->stream;
    ensure(!st->tx.head_sent);
    bool switching = head->status == 101;
    if (s->wire == NULL) {
        st->tx.head_sent = st->tx.head_sent || head->status >= 200 || switching;
        return;
    }
    if (head->status < 200 && !switching) {
        down_send_interim(s, head);
        return;
    }
    struct h1_response how = {.framing = down_framing(st, head),
                              .head_only = st->head_only,
                              .date = ring_http_date(s->http->ring)};
    st->keep = st->keep && st->stream.why == CLOSE_NONE && !s->eof && !s->draining &&
               !s->http->draining && how.framing != H1_TX_CLOSE && !st->expect && !switching;
    st->last = st->keep && s->session.served + 1 == s->limits->request_count_max;
    st->keep = st->keep && !st->last;
    how.close = !st->keep;
    h1_write_response(&s->wire->tx, head, &how);
    h1_tx_start(&st->tx, switching ? H1_TX_RAW : how.framing, head->length);
    stats_add(ring_stats(s->http->ring), STAT_RESPONSES, 1);
    if (st->tx.done) {
        s->wire->tell_sent = st->stream.tell_sent;
        wire_push(s->wire);
    } else {
        s->push_waits = true;
        task_wake(s->http->ring, &s->task);
    }
}

static void down_push(struct stream *stream, const struct head *trailers) {
    struct h1_down *s = down_of(stream);
    struct h1_down_stream *st = s->stream;
    if (s->wire == NULL) {
        bufq_drop(&stream->tx, stream->tx.bytes);
        return;
    }
    ensure(st->tx.head_sent);
    s->push_waits = false;
    h1_tx_push(&st->tx, s->http, stream, s->wire, trailers);
}

static void down_pull(struct stream *stream) {
    struct h1_down *s = down_of(stream);
    if (s->wire == NULL) {
        return;
    }
    if (s->wire->rx.bytes > 0 || s->eof) {
        task_wake(s->http->ring, &s->task);
    } else {
        down_time(s, 0);
    }
}

static void down_tunnel(struct stream *stream) {
    struct h1_down *s = down_of(stream);
    struct h1_down_stream *st = s->stream;
    ensure(!stream->tunnelled && (s->wire == NULL || st->tx.framing == H1_TX_RAW));
    stream->tunnelled = true;
    stream->rx_ended = stream->tx_end = false;               /* those were of the messages */
    stream->ready &= (uint8_t)~(STREAM_END | STREAM_SENT);
    stream->rx_bytes = 0;
    st->read.phase = H1_TUNNEL;
    stats_add(ring_stats(s->http->ring), STAT_TUNNELS, 1);
    task_wake(s->http->ring, &s->task);
}

/* The session goes on to its next request. */
static void down_next(struct h1_down *s) {
    s->wire->tell_sent = false;
    s->session.served++;
    s->session.since_ms = ring_now_ms(s->http->ring);
    down_arm(s, TIMER_IDLE);
    if (s->wire->rx.bytes > 0 || s->eof) {
        task_wake(s->http->ring, &s->task);
    }
}

static void down_release(struct stream *stream, enum close_reason why) {
    struct h1_down *s = down_of(stream);
    struct h1_down_stream *st = s->stream;
    bool answered = st->tx.done, begun = st->tx.head_sent, last = st->last;
    /* The answer may have promised more before it was known that gyre stops. */
    bool keep = why == CLOSE_NONE && answered && st->keep && st->read.phase == H1_END &&
                !s->draining;
    down_stream_free(s);
    if (s->wire == NULL) {
        down_free(s);
    } else if (keep) {
        down_next(s);
    } else if (answered) {
        down_close(s, why != CLOSE_NONE ? why : last ? CLOSE_REQUEST_LIMIT : CLOSE_LINGER);
    } else {
        /* What the client has is not the whole: it must be able to tell (RFC 9112 8). */
        s->wire->reset = begun;
        wire_shut(s->wire, why == CLOSE_NONE ? CLOSE_CLIENT_GONE : why);
        s->wire = NULL;
        down_free(s);
    }
}

static const struct stream_ops down_stream_ops = {
    .send_head = down_send_head,
    .push = down_push,
    .pull = down_pull,
    .tunnel = down_tunnel,
    .release = down_release,
};

/* --- Sessions ----------------------------------------------------------------------------- */

static void down_drain(struct session *session) {
    struct h1_down *s = (struct h1_down *)session;
    ensure_magic(session, SESSION_MAGIC);
    s->draining = true;
    if (s->wire != NULL && s->stream == NULL && s->wire->rx.bytes == 0) {
        down_close(s, CLOSE_DRAIN);
    }
}

static void down_kill(struct session *session, enum close_reason why) {
    struct h1_down *s = (struct h1_down *)session;
    ensure_magic(session, SESSION_MAGIC);
    if (s->wire != NULL) {
        s->wire->reset = s->stream != NULL && s->stream->tx.head_sent &&
                         !(s->stream->tx.done && wire_flushed(s->wire));
        down_dead(s, why);
    }
}

static const struct session_ops down_session_ops = {
    .drain = down_drain,
    .kill = down_kill,
};

bool h1_down_new(struct http *http, const struct down_params *params) {
    ensure_magic(http, HTTP_MAGIC);
    struct h1_down *s = pool_get(&http->downs);
    if (s == NULL) {
        struct wire *wire = wire_accept(http->net, &params->wire, NULL);
        if (wire != NULL) {
            wire_shut(wire, CLOSE_NO_MEMORY);
        }
        return false;
    }
    *s = (struct h1_down){
        .session = {.magic = SESSION_MAGIC, .ops = &down_session_ops, .up = true},
        .http = http, .limits = params->limits, .inbox = params->inbox,
        .facts = {.client = params->client, .local = params->local,
                  .listener = params->listener, .id = ++http->connection_count},
    };
    task_init(&s->task, down_run);
    timer_init(&s->timer, down_fired);
    s->wire = wire_accept(http->net, &params->wire, &s->task);
    if (s->wire == NULL) {
        pool_put(&http->downs, s);
        return false;
    }
    s->wire->tell_sent = false;
    s->facts.tls_machine = s->wire->tls;
    s->facts.tls = s->wire->tls != NULL;
    list_append(&http->sessions, &s->session.link);
    if (!params->wire.proxy) {
        down_know(s);
    }
    if (s->wire->state == WIRE_OPEN) {
        down_arm(s, TIMER_HEAD);
    }
    return true;
}
