/* A toy of HTTP/2, on its client side: many streams over one wire, in tiny frames, each with a
 * window of its own. It implements http.h's stream and session; the exchange can not tell. */
#ifndef GYRE_TESTS_SIM_MUX_CODEC_H
#define GYRE_TESTS_SIM_MUX_CODEC_H

#include <string.h>

#include "http/http_priv.h"

/* A frame: type (1), stream (2), length (2), payload. A HEAD's payload is text, one line for what
 * comes first ("GET /path", "200"), then "name: value" lines; an END's payload is trailers. */
enum mux_type { MUX_HEAD = 'H', MUX_HEAD_END = 'h', MUX_DATA = 'D', MUX_END = 'E', MUX_RESET = 'R',
                MUX_CREDIT = 'C' };
#define MUX_HEADER 5u
#define MUX_DATA_MAX 48u        /* in a frame of data */
#define MUX_HEAD_MAX 1024u
#define MUX_WINDOW 700u         /* bytes of a stream that may be on their way at first */
#define MUX_CREDIT_MIN 100u     /* a smaller credit waits for more */

struct mux_stream {
    struct stream stream;       /* first */
    struct mux_down *session;
    struct list_node link;      /* session->streams */
    uint16_t id;
    bool head_sent, ending, end_sent, told_sent, full;
    uint32_t credit;            /* bytes that the client takes now */
    uint64_t granted;           /* bytes that it may have sent up to now */
    struct bufq out;            /* pushed, and not yet framed */
    struct head head, trailers, out_trailers;
};

struct mux_down {
    struct session session;     /* first */
    struct http *http;
    const struct http_limits *limits;
    struct pool *sessions_pool, *streams_pool;
    struct inbox *inbox;
    struct wire *wire;          /* NULL when it is gone and streams are still held */
    struct conn_facts facts;
    struct task task;
    struct list_node streams;
    bool draining;
};

static const struct stream_ops mux_stream_ops;

static inline struct mux_stream *mux_of(struct stream *stream) {
    ensure_magic(stream, STREAM_MAGIC);
    return (struct mux_stream *)stream;
}

/* --- The end of a session ---------------------------------------------------------------- */

static void mux_free(struct mux_down *s) {
    ensure(list_empty(&s->streams) && s->wire == NULL);
    task_cancel(s->http->ring, &s->task);
    list_remove(&s->session.link);
    s->session.magic = 0;
    pool_put(s->sessions_pool, s);
}

static void mux_dead(struct mux_down *s, enum close_reason why) {
    wire_shut(s->wire, why);
    s->wire = NULL;
    list_each(node, &s->streams) {
        stream_lost(s->http, &container_of(node, struct mux_stream, link)->stream, why);
    }
    if (list_empty(&s->streams)) {
        mux_free(s);
    }
}

static void mux_close(struct mux_down *s, enum close_reason why) {
    wire_end(s->wire, why);
    s->wire = NULL;
    mux_free(s);
}

/* --- Frames out -------------------------------------------------------------------------- */

static void mux_frame(struct mux_down *s, enum mux_type type, uint16_t id, const void *payload,
                      uint32_t len) {
    uint8_t header[MUX_HEADER] = {(uint8_t)type, (uint8_t)(id >> 8), (uint8_t)id,
                                  (uint8_t)(len >> 8), (uint8_t)len};
    bufq_copy(wire_tx(s->wire), header, sizeof header);
    bufq_copy(wire_tx(s->wire), payload, len);
}

static void mux_text_fields(struct text *text, const struct head *head, uint8_t without) {
    for (uint32_t i = 0; head != NULL && i < head->field_count; i++) {
        const struct field *f = &head->fields[i];
        if (!f->dropped && (field_flags(f->id) & without) == 0) {
            text_fmt(text, STR_FMT ": " STR_FMT "\n", STR_ARG(f->name), STR_ARG(f->value));
        }
    }
}

static void mux_frame_end(struct mux_stream *st) {
    char bytes[MUX_HEAD_MAX];
    struct text text = text_on(bytes, sizeof bytes);
    mux_text_fields(&text, &st->out_trailers, FIELD_NO_TRAILER);
    ensure(!text.cut);
    mux_frame(st->session, MUX_END, st->id, text.p, text.len);
    st->end_sent = true;
}

/* One frame of this stream; false when it has none, or may not. */
static bool mux_frame_data(struct mux_stream *st) {
    uint8_t bytes[MUX_DATA_MAX];
    uint32_t max = st->credit < MUX_DATA_MAX ? st->credit : MUX_DATA_MAX;
    uint32_t len = bufq_read(&st->out, bytes, max);
    if (len > 0) {
        mux_frame(st->session, MUX_DATA, st->id, bytes, len);
        bufq_drop(&st->out, len);
        st->credit -= len;
        st->stream.tx_bytes += len;
        return true;
    }
    if (st->ending && !st->end_sent && st->out.bytes == 0) {
        mux_frame_end(st);
        return true;
    }
    return false;
}

/* A frame of each in turn, while the wire has room: no stream stands before another. */
static void mux_send(struct mux_down *s) {
    bool more = true;
    while (more && wire_room(s->wire) > 0) {
        more = false;
        list_each(node, &s->streams) {
            more |= mux_frame_data(container_of(node, struct mux_stream, link));
        }
    }
    wire_push(s->wire);
}

/* What the owners of streams wait for: room, and that all has left. */
static void mux_tell(struct mux_down *s) {
    list_each(node, &s->streams) {
        struct mux_stream *st = container_of(node, struct mux_stream, link);
        if (st->stream.tx.bytes > 0 && bufq_room(&st->out) > 0) {
            bufq_move(&st->out, &st->stream.tx, bufq_room(&st->out));
            task_wake(s->http->ring, &s->task);
        }
        if (st->full && bufq_room(&st->stream.tx) > 0) {
            st->full = false;
            stream_wake(s->http, &st->stream, STREAM_ROOM);
        }
        if (st->end_sent && !st->told_sent && st->stream.tell_sent && wire_flushed(s->wire)) {
            st->told_sent = true;
            stream_wake(s->http, &st->stream, STREAM_SENT);
        }
        bufq_settle(&st->out);
    }
}

/* --- Frames in --------------------------------------------------------------------------- */

static struct mux_stream *mux_find(struct mux_down *s, uint16_t id) {
    list_each(node, &s->streams) {
        struct mux_stream *st = container_of(node, struct mux_stream, link);
        if (st->id == id) {
            return st;
        }
    }
    return NULL;
}

static struct str mux_line(struct str *rest) {
    const char *end = rest->len > 0 ? memchr(rest->p, '\n', rest->len) : NULL;
    ensure(end != NULL);
    struct str line = {rest->p, (uint32_t)(end - rest->p)};
    rest->p += line.len + 1;
    rest->len -= line.len + 1;
    return line;
}

static void mux_take_fields(struct head *head, struct str rest) {
    while (rest.len > 0) {
        struct str line = mux_line(&rest);
        const char *colon = memchr(line.p, ':', line.len);
        ensure(colon != NULL);
        struct str name = {line.p, (uint32_t)(colon - line.p)};
        struct str value = {colon + 1, line.len - name.len - 1};
        head_add(head, field_id_of(name), name, str_trim(value));
    }
}

static struct str mux_copy(struct arena *arena, struct str s) {
    char *p = arena_get(arena, s.len + 1);
    memcpy(p, s.p, s.len);
    return (struct str){p, s.len};
}

static void mux_take_head(struct mux_stream *st, struct str text, bool ends) {
    struct head *head = &st->head;
    head_init(head, &st->stream.arena);
    struct str rest = mux_copy(&st->stream.arena, text);
    struct str line = mux_line(&rest);
    const char *blank = memchr(line.p, ' ', line.len);
    ensure(blank != NULL);
    head->method_name = (struct str){line.p, (uint32_t)(blank - line.p)};
    head->method = str_eq(head->method_name, STR("POST")) ? METHOD_POST : METHOD_GET;
    head->target = head->path = (struct str){blank + 1, line.len - head->method_name.len - 1};
    head->authority = STR("mux");
    head->minor = 1;
    head->keep_alive = head->te_trailers = true;
    head->conn = &st->session->facts;
    mux_take_fields(head, rest);
    const struct field *length = head_find(head, FIELD_CONTENT_LENGTH);
    head->has_length = length != NULL && str_to_u64(length->value, &head->length);
    head->body = ends ? BODY_NONE : head->has_length ? BODY_LENGTH : BODY_STREAM;
}

static void mux_open(struct mux_down *s, uint16_t id, struct str text, bool ends) {
    struct mux_stream *st = pool_get(s->streams_pool);
    memset(st, 0, sizeof *st);
    stream_init(&st->stream, s->http, &mux_stream_ops, s->limits, NULL);
    st->session = s;
    st->id = id;
    st->credit = MUX_WINDOW;
    st->granted = MUX_WINDOW;
    bufq_init(&st->out, s->limits->tx_mark, &s->http->net->copies);
    head_init(&st->out_trailers, &st->stream.arena);
    list_append(&s->streams, &st->link);
    mux_take_head(st, text, ends);
    st->stream.head = &st->head;
    st->stream.began_us = ring_now_us(s->http->ring);
    st->stream.rx_ended = ends;
    st->stream.ready |= (uint8_t)(STREAM_HEAD | (ends ? STREAM_END : 0));
    list_append(&s->inbox->streams, &st->stream.inbox);
    task_wake(s->http->ring, s->inbox->task);
}

static void mux_got_data(struct mux_stream *st, const uint8_t *payload, uint32_t len) {
    ensure(st->stream.rx_bytes + len <= st->granted && len <= bufq_room(&st->stream.rx));
    bufq_copy(&st->stream.rx, payload, len);
    st->stream.rx_bytes += len;
    stream_wake(st->session->http, &st->stream, STREAM_BODY);
}

static void mux_got_end(struct mux_stream *st, struct str text) {
    if (text.len > 0) {
        head_init(&st->trailers, &st->stream.arena);
        mux_take_fields(&st->trailers, mux_copy(&st->stream.arena, text));
        st->stream.trailers = &st->trailers;
    }
    st->stream.rx_ended = true;
    stream_wake(st->session->http, &st->stream, STREAM_END);
}

static void mux_got(struct mux_down *s, uint8_t type, uint16_t id, const uint8_t *p, uint32_t len) {
    struct str text = {(const char *)p, len};
    struct mux_stream *st = mux_find(s, id);
    if (type == MUX_HEAD || type == MUX_HEAD_END) {
        ensure(st == NULL);
        if (s->draining) {
            mux_frame(s, MUX_RESET, id, NULL, 0);
        } else {
            mux_open(s, id, text, type == MUX_HEAD_END);
        }
    } else if (st == NULL || st->stream.why != CLOSE_NONE) {
        return;   /* on its way while the stream ended */
    } else if (type == MUX_DATA) {
        mux_got_data(st, p, len);
    } else if (type == MUX_END) {
        mux_got_end(st, text);
    } else if (type == MUX_RESET) {
        stream_lost(s->http, &st->stream, CLOSE_CLIENT_GONE);
    } else {
        ensure(type == MUX_CREDIT && len == 2);
        st->credit += (uint32_t)(p[0] << 8 | p[1]);
    }
}

static void mux_read(struct mux_down *s) {
    struct bufq *rx = &s->wire->rx;
    uint8_t frame[MUX_HEADER + MUX_HEAD_MAX];
    uint32_t before = rx->bytes;
    while (bufq_read(rx, frame, MUX_HEADER) == MUX_HEADER) {
        uint32_t len = (uint32_t)(frame[3] << 8 | frame[4]);
        ensure(len <= MUX_HEAD_MAX);
        if (rx->bytes < MUX_HEADER + len) {
            break;
        }
        bufq_read(rx, frame, MUX_HEADER + len);
        bufq_drop(rx, MUX_HEADER + len);
        mux_got(s, frame[0], (uint16_t)(frame[1] << 8 | frame[2]), frame + MUX_HEADER, len);
    }
    if (rx->bytes != before) {
        wire_pull(s->wire);
    }
    bufq_settle(rx);
}

static void mux_run(struct task *task) {
    struct mux_down *s = container_of(task, struct mux_down, task);
    if (s->wire == NULL) {
        return;
    }
    unsigned ready = s->wire->ready;
    s->wire->ready = 0;
    if ((ready & WIRE_LOST) != 0) {
        mux_dead(s, s->wire->why);
        return;
    }
    mux_read(s);
    mux_send(s);
    mux_tell(s);
    if ((ready & WIRE_EOF) != 0) {
        mux_dead(s, list_empty(&s->streams) ? CLOSE_CLIENT_EOF : CLOSE_CLIENT_GONE);
    }
}

/* --- What the owner of a stream asks for ------------------------------------------------- */

static void mux_send_head(struct stream *stream, const struct head *head) {
    struct mux_stream *st = mux_of(stream);
    struct mux_down *s = st->session;
    ensure(!st->head_sent);
    bool final = head->status >= 200;
    st->head_sent = final;
    if (s->wire == NULL) {
        return;
    }
    char bytes[MUX_HEAD_MAX];
    struct text text = text_on(bytes, sizeof bytes);
    text_fmt(&text, "%u\n", head->status);
    mux_text_fields(&text, head, FIELD_HOP | FIELD_CODEC);
    if (final && head->body == BODY_LENGTH) {
        text_fmt(&text, "content-length: %llu\n", (unsigned long long)head->length);
    }
    ensure(!text.cut);
    bool ends = final && head->body == BODY_NONE;
    mux_frame(s, ends ? MUX_HEAD_END : MUX_HEAD, st->id, text.p, text.len);
    if (ends) {
        st->ending = st->end_sent = true;
    }
    task_wake(s->http->ring, &s->task);
}

static void mux_push(struct stream *stream, const struct head *trailers) {
    struct mux_stream *st = mux_of(stream);
    struct mux_down *s = st->session;
    ensure(st->head_sent);
    if (s->wire == NULL || stream->why != CLOSE_NONE) {
        bufq_drop(&stream->tx, stream->tx.bytes);
        return;
    }
    bufq_move(&st->out, &stream->tx, stream->tx_end ? stream->tx.bytes : bufq_room(&st->out));
    st->full = bufq_room(&stream->tx) == 0;
    for (uint32_t i = 0; trailers != NULL && i < trailers->field_count; i++) {
        const struct field *f = &trailers->fields[i];
        head_add(&st->out_trailers, f->id, mux_copy(&stream->arena, f->name),
                 mux_copy(&stream->arena, f->value))->dropped = f->dropped;
    }
    st->ending = st->ending || stream->tx_end;
    task_wake(s->http->ring, &s->task);
}

/* What the owner has taken the client may send again. */
static void mux_pull(struct stream *stream) {
    struct mux_stream *st = mux_of(stream);
    uint64_t may = stream->rx_bytes - stream->rx.bytes + MUX_WINDOW;
    if (st->session->wire == NULL || stream->rx_ended || may - st->granted < MUX_CREDIT_MIN) {
        return;
    }
    uint32_t more = (uint32_t)(may - st->granted);
    uint8_t payload[2] = {(uint8_t)(more >> 8), (uint8_t)more};
    st->granted = may;
    mux_frame(st->session, MUX_CREDIT, st->id, payload, sizeof payload);
    task_wake(st->session->http->ring, &st->session->task);
}

static void mux_tunnel(struct stream *stream) {
    (void)stream;
    ensure(!"nobody asks this codec for an upgrade");
}

/* Whatever is not complete is reset; the others go on. */
static void mux_release(struct stream *stream, enum close_reason why) {
    struct mux_stream *st = mux_of(stream);
    struct mux_down *s = st->session;
    bool whole = why == CLOSE_NONE && st->end_sent && stream->rx_ended;
    if (s->wire != NULL && !whole) {
        mux_frame(s, MUX_RESET, st->id, NULL, 0);
        task_wake(s->http->ring, &s->task);
    }
    s->session.served++;
    list_remove(&st->link);
    bufq_fini(&st->out);
    stream_fini(stream);
    pool_put(s->streams_pool, st);
    if (!list_empty(&s->streams)) {
        return;
    }
    if (s->wire == NULL) {
        mux_free(s);
    } else if (s->draining) {
        mux_close(s, CLOSE_DRAIN);
    }
}

static const struct stream_ops mux_stream_ops = {
    .send_head = mux_send_head,
    .push = mux_push,
    .pull = mux_pull,
    .tunnel = mux_tunnel,
    .release = mux_release,
};

/* --- Sessions ---------------------------------------------------------------------------- */

static unsigned mux_slots(const struct session *session) {
    (void)session;
    return 0;
}

static struct stream *mux_open_none(struct session *session, struct task *owner) {
    (void)session;
    (void)owner;
    return NULL;
}

static void mux_drain(struct session *session) {
    struct mux_down *s = (struct mux_down *)session;
    s->draining = true;
    if (s->wire != NULL && list_empty(&s->streams)) {
        mux_close(s, CLOSE_DRAIN);
    }
}

static void mux_kill(struct session *session, enum close_reason why) {
    struct mux_down *s = (struct mux_down *)session;
    if (s->wire != NULL) {
        mux_dead(s, why);
    }
}

/* It has no tunnels. */
static void mux_stop(struct session *session) {
    (void)session;
}

static const struct session_ops mux_session_ops = {
    .slots = mux_slots, .open = mux_open_none, .drain = mux_drain, .kill = mux_kill,
    .stop = mux_stop,
};

static inline void mux_pools_init(struct pool *sessions, struct pool *streams) {
    pool_init(sessions, "mux_sessions", sizeof(struct mux_down), 0);
    pool_init(streams, "mux_streams", sizeof(struct mux_stream), 0);
}

/* Serves a client over the accepted descriptor of params->wire, as h1_down_new does. */
static void mux_down_new(struct http *http, const struct down_params *params,
                         struct pool *sessions, struct pool *streams) {
    struct mux_down *s = pool_get(sessions);
    *s = (struct mux_down){
        .session = {.magic = SESSION_MAGIC, .ops = &mux_session_ops, .up = true},
        .http = http, .limits = params->limits, .inbox = params->inbox,
        .sessions_pool = sessions, .streams_pool = streams,
        .facts = {.client = params->client, .local = params->local,
                  .listener = params->listener, .id = ++http->connection_count},
    };
    list_init(&s->streams);
    task_init(&s->task, mux_run);
    s->wire = wire_accept(http->net, &params->wire, &s->task);
    ensure(s->wire != NULL);
    list_append(&http->sessions, &s->session.link);
}

#endif
