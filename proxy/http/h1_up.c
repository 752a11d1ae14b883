/* HTTP/1 with a server, or uwsgi: a session carries one request at a time, a stream is one. */
#include "http/h1_priv.h"

/* More interim responses than this are no answer. */
#define INTERIM_MAX 16u

struct h1_up_stream {
    struct stream stream;         /* first */
    struct h1_up *session;
    uint8_t interim_count;
    bool interim;                 /* the head in hand is not the last one */
    bool switching;               /* it is a 101 */
    bool keep;                    /* the server keeps the connection */
    struct str upgrade;           /* the protocol that was asked for */
    struct h1_tx tx;
    struct h1_read read;
    struct head head, trailers;
};

struct h1_up {
    struct session session;       /* first */
    struct http *http;
    const struct http_limits *limits;
    struct wire *wire;            /* NULL when dead */
    struct h1_up_stream *stream;
    struct task task;
    bool eof, lost;               /* the server's FIN; the wire is dead. rx may hold what came */
    bool draining, forgotten, push_waits;
    bool once;                    /* one request, and no other */
    bool uwsgi;                   /* requests are packets */
};

const size_t h1_up_size = sizeof(struct h1_up);
const size_t h1_up_stream_size = sizeof(struct h1_up_stream);

static const struct stream_ops up_stream_ops;
static const struct session_ops up_session_ops;

static struct h1_up *up_of(struct stream *stream) {
    ensure_magic(stream, STREAM_MAGIC);
    return ((struct h1_up_stream *)stream)->session;
}

/* --- The holder of the session ------------------------------------------------------------ */

static void up_tell(struct h1_up *s) {
    if (s->session.owner != NULL) {
        task_wake(s->http->ring, s->session.owner);
    }
}

static void up_free(struct h1_up *s) {
    ensure(s->stream == NULL && s->wire == NULL);
    task_cancel(s->http->ring, &s->task);
    list_remove(&s->session.link);
    s->session.magic = 0;
    pool_put(&s->http->ups, s);
}

/* No message will go over it again. */
static void up_dead(struct h1_up *s, enum close_reason why) {
    if (s->wire != NULL) {
        wire_shut(s->wire, why);
        s->wire = NULL;
    }
    s->session.idle = false;
    s->session.dead = true;
    s->session.why = (uint8_t)why;
    if (s->forgotten && s->stream == NULL) {
        up_free(s);
    } else {
        up_tell(s);
    }
}

static void up_idle(struct h1_up *s) {
    s->wire->tell_sent = false;
    s->session.idle = true;
    s->session.since_ms = ring_now_ms(s->http->ring);
    up_tell(s);
}

/* --- Reading ------------------------------------------------------------------------------ */

static void up_got_end(struct h1_up *s) {
    struct h1_up_stream *st = s->stream;
    st->stream.rx_ended = true;
    if (st->read.head == &st->trailers && st->trailers.field_count > 0) {
        st->stream.trailers = &st->trailers;
    }
    /* An answer to half of a request: the rest of it would be the next one (RFC 9112 9.5). */
    if (!st->tx.done) {
        st->keep = false;
    }
    stream_wake(s->http, &st->stream, STREAM_END);
}

static void up_start_head(struct h1_up *s) {
    struct h1_up_stream *st = s->stream;
    bool no_body = st->read.no_body;
    h1_read_start(&st->read, false, &st->head, &st->trailers, &st->stream.arena, s->limits);
    st->read.no_body = no_body;
    st->interim = false;
}

/* 101 is an answer only to who asked for just that (RFC 9110 7.8, 15.2.2). */
static bool up_switch_ok(const struct h1_up_stream *st) {
    return st->upgrade.len > 0 && str_eq_fold(st->head.upgrade, st->upgrade);
}

/* A head is complete: it goes to the owner, if it is one that we take. */
static enum refusal up_got_head(struct h1_up *s) {
    struct h1_up_stream *st = s->stream;
    struct head *head = &st->head;
    st->keep = head->keep_alive;
    if (head->status == 101) {
        if (!up_switch_ok(st)) {
            return REFUSE_SWITCH_UNASKED;
        }
        st->switching = true;
    } else if (head->status < 200) {
        st->interim = true;
        if (++st->interim_count > INTERIM_MAX) {
            return REFUSE_INTERIM_TOO_MANY;
        }
    } else if (st->read.phase == H1_END) {
        up_got_end(s);
    }
    stream_wake(s->http, &st->stream, STREAM_HEAD);
    return REFUSE_NONE;
}

static enum h1_result up_read_head(struct h1_up *s) {
    struct h1_up_stream *st = s->stream;
    enum h1_result result = h1_read_head(&st->read, &s->wire->rx);
    enum refusal refusal = result == H1_GOT_HEAD ? up_got_head(s) : REFUSE_NONE;
    return refusal != REFUSE_NONE ? h1_read_bad(&st->read, refusal) : result;
}

static enum h1_result up_read_body(struct h1_up *s) {
    struct h1_up_stream *st = s->stream;
    struct stream *stream = &st->stream;
    uint64_t before = stream->rx_bytes;
    enum h1_result result = H1_MORE;
    if (st->read.phase == H1_TUNNEL) {
        stream->rx_bytes += bufq_move(&stream->rx, &s->wire->rx, bufq_room(&stream->rx));
        result = stream->rx.failed ? h1_read_starved(&st->read) : result;
    } else {
        result = h1_read_body(&st->read, &s->wire->rx, &stream->rx);
        stream->rx_bytes = st->read.body_bytes;
    }
    if (stream->rx_bytes > before) {
        stream_wake(s->http, stream, STREAM_BODY);
    }
    if (bufq_room(&stream->rx) == 0) {
        h1_settle(&stream->rx);
    }
    if (result == H1_GOT_END) {
        up_got_end(s);
    }
    return result;
}

/* Reads what is next; false when there is nothing to do for now. */
static bool up_read_some(struct h1_up *s) {
    struct h1_up_stream *st = s->stream;
    enum h1_result result;
    if (st->stream.why != CLOSE_NONE) {
        return false;
    }
    if (st->interim) {
        if ((st->stream.ready & STREAM_HEAD) != 0) {
            return false;
        }
        up_start_head(s);
    }
    switch (st->read.phase) {
    case H1_LINE:
    case H1_FIELDS:
        result = up_read_head(s);
        break;
    case H1_BODY:
    case H1_TRAILERS:
    case H1_TUNNEL:
        result = up_read_body(s);
        break;
    default:
        return false;
    }
    if (result == H1_BAD) {
        st->stream.refusal = st->read.refusal;
        stream_lost(s->http, &st->stream, st->read.why);
    }
    return result == H1_GOT_HEAD;
}

/* The connection has ended, and all that it brought was read. */
static void up_ended(struct h1_up *s) {
    struct h1_up_stream *st = s->stream;
    struct stream *stream = &st->stream;
    if (stream->rx_ended || stream->why != CLOSE_NONE) {
        return;
    }
    bool clean = !s->lost && !s->wire->cut;
    if (st->switching && !s->lost) {
        if (st->read.phase == H1_TUNNEL) {
            up_got_end(s);
        }
        return;   /* else the tunnel is yet to begin, with whatever came before the end */
    }
    if (st->read.phase == H1_BODY && st->read.until_eof && clean) {
        st->read.phase = H1_END;
        up_got_end(s);
        return;
    }
    bool nothing = st->read.head_bytes == 0 && st->interim_count == 0;
    if (s->lost && s->wire->why != CLOSE_BACKEND_CLOSED) {
        stream_lost(s->http, stream, s->wire->why);
    } else if (nothing) {
        /* A kept connection was closed while our request was on its way, or the server died. */
        stream->may_retry = true;
        stream->unsent = wire_sent_none(s->wire);
        stream_lost(s->http, stream, CLOSE_BACKEND_CLOSED);
    } else {
        stream_lost(s->http, stream, CLOSE_BACKEND_CUT);
    }
}

static void up_read(struct h1_up *s) {
    struct bufq *rx = &s->wire->rx;
    uint32_t before = rx->bytes;
    while (rx->bytes > 0 && up_read_some(s)) {
    }
    if (rx->bytes != before) {
        wire_pull(s->wire);
    }
    if (rx->bytes > 0) {
        h1_settle(rx);
    }
    if ((s->eof || s->lost) && rx->bytes == 0) {
        up_ended(s);
    }
}

static void up_run(struct task *task) {
    struct h1_up *s = container_of(task, struct h1_up, task);
    struct wire *wire = s->wire;
    if (wire == NULL) {
        return;
    }
    unsigned ready = wire->ready;
    wire->ready = 0;
    if (s->push_waits) {
        s->push_waits = false;
        wire_push(wire);
    }
    if ((ready & WIRE_UP) != 0 && !s->session.up) {
        s->session.up = true;
        if (s->stream == NULL) {
            up_idle(s);
        }
    }
    s->eof = s->eof || (ready & WIRE_EOF) != 0;
    s->lost = s->lost || (ready & WIRE_LOST) != 0;
    if (s->stream == NULL) {
        /* Dialling failed; or a kept connection ended, or said what nobody had asked for. */
        if (s->eof || s->lost || wire->rx.bytes > 0) {
            up_dead(s, s->session.up ? CLOSE_BACKEND_IDLE : (enum close_reason)wire->why);
        }
        return;
    }
    if ((ready & WIRE_ROOM) != 0) {
        h1_tx_room(&s->stream->tx, s->http, &s->stream->stream, wire);
    }
    up_read(s);
}

/* --- What the owner of a stream asks for -------------------------------------------------- */

/* False: the stream is lost. */
static bool up_write_head(struct h1_up *s, const struct head *head) {
    struct stream *stream = &s->stream->stream;
    if (!s->uwsgi) {
        h1_write_request(wire_tx(s->wire), head, s->once);
        return true;
    }
    enum refusal refusal = uwsgi_write_request(wire_tx(s->wire), head, &stream->arena);
    if (refusal != REFUSE_NONE) {
        stream->refusal = (uint8_t)refusal;
        stream_lost(s->http, stream, refuse_row(refusal)->why);
    }
    return refusal == REFUSE_NONE;
}

static void up_send_head(struct stream *stream, const struct head *head) {
    struct h1_up *s = up_of(stream);
    struct h1_up_stream *st = s->stream;
    ensure(!st->tx.head_sent);
    ensure(!s->uwsgi || head->body != BODY_STREAM);
    st->read.no_body = head->method == METHOD_HEAD;
    if (head->upgrade.len > 0 && !s->uwsgi) {
        char *protocol = arena_get(&stream->arena, head->upgrade.len);
        if (protocol == NULL) {
            stream_lost(s->http, stream, CLOSE_NO_MEMORY);
            return;
        }
        memcpy(protocol, head->upgrade.p, head->upgrade.len);
        st->upgrade = (struct str){protocol, head->upgrade.len};
    }
    h1_tx_start(&st->tx, head->body == BODY_STREAM ? H1_TX_CHUNKED
                         : head->body == BODY_LENGTH ? H1_TX_LENGTH : H1_TX_NONE, head->length);
    if (s->wire == NULL || !up_write_head(s, head)) {
        return;
    }
    if (st->tx.done) {
        s->wire->tell_sent = stream->tell_sent;
        wire_push(s->wire);
    } else {
        s->push_waits = true;
        task_wake(s->http->ring, &s->task);
    }
}

static void up_push(struct stream *stream, const struct head *trailers) {
    struct h1_up *s = up_of(stream);
    struct h1_up_stream *st = s->stream;
    if (s->wire == NULL || s->lost || stream->why != CLOSE_NONE) {
        bufq_drop(&stream->tx, stream->tx.bytes);
        return;
    }
    ensure(st->tx.head_sent);
    s->push_waits = false;
    h1_tx_push(&st->tx, s->http, stream, s->wire, trailers);
    if (st->tx.short_of) {
        wire_finish(s->wire);
    }
}

static void up_pull(struct stream *stream) {
    struct h1_up *s = up_of(stream);
    if (s->wire != NULL && (s->wire->rx.bytes > 0 || s->eof || s->lost)) {
        task_wake(s->http->ring, &s->task);
    }
}

static void up_tunnel(struct stream *stream) {
    struct h1_up *s = up_of(stream);
    struct h1_up_stream *st = s->stream;
    ensure(!stream->tunnelled && st->switching);
    stream->tunnelled = true;
    stream->rx_ended = stream->tx_end = false;               /* those were of the messages */
    stream->ready &= (uint8_t)~(STREAM_END | STREAM_SENT);
    st->read.phase = H1_TUNNEL;
    h1_tx_start(&st->tx, H1_TX_RAW, 0);
    task_wake(s->http->ring, &s->task);
}

static uint64_t up_raw(struct stream *stream, enum raw_half half, struct wire **wire) {
    struct h1_up *s = up_of(stream);
    *wire = s->wire;
    bool may = half == RAW_RX && s->wire != NULL && !s->lost && stream->why == CLOSE_NONE;
    return may ? h1_read_raw(&s->stream->read) : 0;
}

static void up_moved(struct stream *stream, enum raw_half half, uint64_t bytes) {
    struct h1_up *s = up_of(stream);
    struct h1_read *read = &s->stream->read;
    ensure(half == RAW_RX);
    bool ends = h1_read_moved(read, bytes);
    stream->rx_bytes = read->body_bytes;
    if (ends) {
        up_got_end(s);
    }
}

/* True when the connection can carry another request: both messages are complete, the server keeps
 * it, and there is no sign of anything after the response. */
static bool up_reusable(const struct h1_up *s) {
    const struct h1_up_stream *st = s->stream;
    return st->stream.rx_ended && st->read.phase == H1_END && st->tx.done &&
           st->keep && !s->once && !s->eof && !s->lost && !s->draining && !s->forgotten &&
           s->wire->rx.bytes == 0 && !s->wire->surplus &&
           (s->wire->ready & ~(unsigned)WIRE_ROOM) == 0;
}

static void up_release(struct stream *stream, enum close_reason why) {
    struct h1_up *s = up_of(stream);
    struct h1_up_stream *st = s->stream;
    bool reusable = s->wire != NULL && why == CLOSE_NONE && up_reusable(s);
    bool flush = s->wire != NULL && !s->lost && stream->tunnelled && st->tx.done;
    s->session.served++;
    s->stream = NULL;
    stream_fini(stream);
    pool_put(&s->http->up_streams, st);
    if (reusable) {
        up_idle(s);
        return;
    }
    enum close_reason reason = why == CLOSE_NONE ? CLOSE_LINGER : why;
    if (flush) {
        wire_end(s->wire, reason);   /* the last bytes of a tunnel are on their way */
        s->wire = NULL;
    }
    up_dead(s, reason);
}

static const struct stream_ops up_stream_ops = {
    .send_head = up_send_head,
    .push = up_push,
    .pull = up_pull,
    .tunnel = up_tunnel,
    .raw = up_raw,
    .moved = up_moved,
    .release = up_release,
};

/* --- Sessions ----------------------------------------------------------------------------- */

/* What the wire has told and nobody has looked at yet counts as well: a connection that has ended
 * in this very turn is not used. */
static unsigned up_slots(const struct session *session) {
    const struct h1_up *s = (const struct h1_up *)session;
    ensure_magic(session, SESSION_MAGIC);
    return session->idle && !s->draining && !s->forgotten && s->wire != NULL && !s->wire->dead &&
           s->wire->rx.bytes == 0 && (s->wire->ready & (WIRE_RX | WIRE_EOF | WIRE_LOST)) == 0;
}

static struct stream *up_open(struct session *session, struct task *owner) {
    struct h1_up *s = (struct h1_up *)session;
    if (up_slots(session) == 0) {
        return NULL;
    }
    struct h1_up_stream *st = pool_get(&s->http->up_streams);
    if (st == NULL) {
        return NULL;
    }
    stream_init(&st->stream, s->http, &up_stream_ops, s->limits, owner);
    st->session = s;
    s->wire->sent = false;
    st->interim_count = 0;
    st->switching = st->keep = false;
    st->upgrade = STR("");
    st->tx = (struct h1_tx){.framing = H1_TX_NONE};
    st->read.no_body = false;
    s->stream = st;
    st->stream.head = &st->head;
    up_start_head(s);
    session->idle = false;
    return &st->stream;
}

static void up_drain(struct session *session) {
    struct h1_up *s = (struct h1_up *)session;
    ensure_magic(session, SESSION_MAGIC);
    s->draining = true;
    if (s->stream == NULL && !session->dead) {
        up_dead(s, CLOSE_BACKEND_IDLE);
    }
}

static void up_kill(struct session *session, enum close_reason why) {
    struct h1_up *s = (struct h1_up *)session;
    ensure_magic(session, SESSION_MAGIC);
    if (session->dead) {
        return;
    }
    if (s->stream != NULL) {
        stream_lost(s->http, &s->stream->stream, why);
    }
    up_dead(s, why);
}

static const struct session_ops up_session_ops = {
    .slots = up_slots,
    .open = up_open,
    .drain = up_drain,
    .kill = up_kill,
};

struct session *h1_up_new(struct http *http, const struct up_params *params,
                          struct task *owner) {
    ensure_magic(http, HTTP_MAGIC);
    struct h1_up *s = pool_get(&http->ups);
    if (s == NULL) {
        http->net->refused = CLOSE_NO_MEMORY;
        return NULL;
    }
    *s = (struct h1_up){.session = {.magic = SESSION_MAGIC, .ops = &up_session_ops,
                                    .owner = owner},
                        .http = http, .limits = params->limits,
                        .once = params->once || params->protocol == UP_UWSGI,
                        .uwsgi = params->protocol == UP_UWSGI};
    task_init(&s->task, up_run);
    struct wire_params wire = {.fd = -1, .to = params->to, .limits = &params->limits->wire,
                               .preface = params->preface, .limit = params->limit};
    s->wire = wire_dial(http->net, &wire, &s->task);
    if (s->wire == NULL) {
        pool_put(&http->ups, s);
        return NULL;
    }
    s->wire->tell_sent = false;
    return &s->session;
}

void session_forget(struct session *session) {
    struct h1_up *s = (struct h1_up *)session;
    ensure_magic(session, SESSION_MAGIC);
    ensure(session->ops == &up_session_ops && !s->forgotten);
    session->owner = NULL;
    s->forgotten = true;
    if (s->stream != NULL) {
        return;
    }
    if (session->dead) {
        up_free(s);
    } else {
        up_dead(s, CLOSE_BACKEND_IDLE);
    }
}
