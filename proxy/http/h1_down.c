/* HTTP/1 with a client: a session reads requests one by one, a stream is one of them. */
#include "base/log.h"
#include "http/h1_down_priv.h"

const size_t h1_down_size = sizeof(struct h1_down);
const size_t h1_down_stream_size = sizeof(struct h1_down_stream);

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
    if (h1_down_in_head(s)) {
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

/* --- Events of the wire ------------------------------------------------------------------- */

/* The request that has come is not read, and its client hears why. */
static void down_starve(struct h1_down *s) {
    static struct log_limit said;   /* of all rings */
    log_warn_limited(&said, ring_now_ms(s->http->ring),
                     "answering 503: the pool of requests is at its bound, or there is no memory");
    stats_add(ring_stats(s->http->ring), STAT_RESPONSES, 1);
    h1_write_bare(wire_tx(s->wire), 503, ring_http_date(s->http->ring));
    stats_end(ring_stats(s->http->ring), CLOSE_NO_MEMORY);
    down_close(s, CLOSE_NO_MEMORY);
}

/* From here on it is known who the client is: at the accept, or when the PROXY header has told.
 * Under TLS that is before the handshake. */
static void down_know(struct h1_down *s) {
    const struct proxyproto_ends *told = wire_told(s->wire);
    if (told->told) {
        s->facts.client = told->client;
        s->facts.local = told->local;
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
            h1_down_got_end(s);
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
        } else if (s->timer_for == TIMER_HEAD && h1_down_in_head(s)) {
            h1_read_bad(&s->stream->read, REFUSE_HEAD_LATE);
            h1_down_publish(s);
        }
        return;
    case TIMER_BODY:
        if (h1_down_in_body(s)) {
            bool slow = s->body_bytes > 0;
            s->stream->stream.refusal = slow ? REFUSE_BODY_SLOW : REFUSE_BODY_LATE;
            stream_lost(s->http, &s->stream->stream,
                        slow ? CLOSE_BODY_SLOW : CLOSE_BODY_TIMEOUT);
        }
        return;
    default:
        return;
    }
}

/* Plain HTTP on a TLS port: a request that is not read, and answered in plain as any other that is
 * refused. */
static void down_plain(struct h1_down *s) {
    s->facts.tls = NULL;
    if (h1_down_begin(s)) {   /* else a bare 503 goes out */
        h1_read_bad(&s->stream->read, REFUSE_PLAIN_HTTP);
        h1_down_publish(s);
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
        h1_down_arm(s, TIMER_HEAD);   /* until then it was the handshake's time */
    }
    if ((ready & WIRE_PLAIN) != 0) {
        down_plain(s);
    }
    if ((ready & WIRE_ROOM) != 0 && s->stream != NULL) {
        h1_tx_room(&s->stream->tx, s->http, &s->stream->stream, wire);
    }
    h1_down_read(s);
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

/* An interim response; HTTP/1.0 knows none (RFC 9110 15.2). */
static void down_send_interim(struct h1_down *s, const struct head *head) {
    struct h1_down_stream *st = s->stream;
    if (st->old) {
        return;
    }
    if (head->status == 100) {
        st->expect = false;
        h1_down_time(s, 0);
    }
    h1_write_response(wire_tx(s->wire), head, &(struct h1_response){.framing = H1_TX_NONE});
    wire_push(s->wire);
}

/* Whether the connection can be kept is known now, and said (RFC 9112 9.6). An answer that is
 * earlier than the rest of the body ends it: nobody waits for a body that nobody wants. A client
 * that waits for a 100 may send its body or may not: what comes next could not be told apart (RFC
 * 9110 10.1.1). */
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
    struct h1_response how = {.framing = h1_write_framing(head, st->head_only, st->old),
                              .head_only = st->head_only,
                              .date = ring_http_date(s->http->ring)};
    st->keep = st->keep && st->stream.why == CLOSE_NONE && !s->eof && !s->draining &&
               !s->http->draining && how.framing != H1_TX_CLOSE && !st->expect && !switching &&
               h1_read_has_rest(&st->read, &s->wire->rx);
    st->last = st->keep && s->session.served + 1 == s->limits->request_count_max;
    st->keep = st->keep && !st->last;
    how.close = !st->keep;
    h1_write_response(wire_tx(s->wire), head, &how);
    h1_tx_start(&st->tx, switching ? H1_TX_RAW : how.framing, head->length);
    st->tx.last = !st->keep && !switching && st->read.phase == H1_END;
    stats_add(ring_stats(s->http->ring), STAT_RESPONSES, 1);
    if (st->tx.done) {
        s->wire->tell_sent = st->stream.tell_sent;
        s->wire->last = st->tx.last;
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
        h1_down_time(s, 0);
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

static uint64_t down_raw(struct stream *stream, enum raw_half half, struct wire **wire) {
    struct h1_down *s = down_of(stream);
    *wire = s->wire;
    return half == RAW_TX && s->wire != NULL ? h1_tx_raw(&s->stream->tx, stream) : 0;
}

static void down_moved(struct stream *stream, enum raw_half half, uint64_t bytes) {
    ensure(half == RAW_TX);
    h1_tx_moved(&down_of(stream)->stream->tx, stream, bytes);
}

/* The session goes on to its next request. */
static void down_next(struct h1_down *s) {
    s->wire->tell_sent = false;
    s->session.served++;
    s->session.since_ms = ring_now_ms(s->http->ring);
    h1_down_arm(s, TIMER_IDLE);
    if (s->wire->rx.bytes > 0 || s->eof) {
        task_wake(s->http->ring, &s->task);
    }
}

/* An answered connection is closed for what was wrong with its last request. */
static enum close_reason down_why(const struct h1_down_stream *st) {
    return st->head.refuse != 0 ? (enum close_reason)st->head.why
           : st->stream.why != CLOSE_NONE ? (enum close_reason)st->stream.why
           : st->last ? CLOSE_REQUEST_LIMIT : CLOSE_LINGER;
}

static void down_release(struct stream *stream, enum close_reason why) {
    struct h1_down *s = down_of(stream);
    struct h1_down_stream *st = s->stream;
    bool answered = st->tx.done, begun = st->tx.head_sent;
    /* The answer may have promised more before it was known that gyre stops. */
    bool keep = why == CLOSE_NONE && answered && st->keep && s->wire != NULL &&
                !s->wire->tx_dead && !s->draining;
    if (keep && st->read.phase != H1_END) {
        keep = h1_read_drop_rest(&st->read, &s->wire->rx);
        wire_pull(s->wire);
    }
    enum close_reason reason = why == CLOSE_NONE ? down_why(st) : why;
    down_stream_free(s);
    if (s->wire == NULL) {
        down_free(s);
    } else if (keep) {
        down_next(s);
    } else if (answered) {
        down_close(s, reason);
    } else {
        /* What the client has is not the whole: it must be able to tell (RFC 9112 8). */
        s->wire->reset = begun;
        wire_shut(s->wire, why == CLOSE_NONE ? CLOSE_CLIENT_GONE : why);
        s->wire = NULL;
        down_free(s);
    }
}

const struct stream_ops h1_down_stream_ops = {
    .send_head = down_send_head,
    .push = down_push,
    .pull = down_pull,
    .tunnel = down_tunnel,
    .raw = down_raw,
    .moved = down_moved,
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

static void down_stop(struct session *session) {
    struct h1_down *s = (struct h1_down *)session;
    ensure_magic(session, SESSION_MAGIC);
    if (s->stream != NULL && s->stream->stream.tunnelled) {
        stream_wake(s->http, &s->stream->stream, STREAM_STOP);
    }
}

static const struct session_ops down_session_ops = {
    .drain = down_drain,
    .kill = down_kill,
    .stop = down_stop,
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
    s->facts.tls = s->wire->tls;
    list_append(&http->sessions, &s->session.link);
    if (!params->wire.proxy) {
        down_know(s);
    }
    if (s->wire->state == WIRE_OPEN) {
        h1_down_arm(s, TIMER_HEAD);
    }
    return true;
}
