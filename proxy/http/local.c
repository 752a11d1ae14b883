/* An answer made here: an up stream without a connection. */
#include "http/http_priv.h"

struct local_stream {
    struct stream stream;         /* first */
    struct http *http;
    struct head head;
};

const size_t local_stream_size = sizeof(struct local_stream);

static struct http *local_http(struct stream *stream) {
    ensure_magic(stream, STREAM_MAGIC);
    return ((struct local_stream *)stream)->http;
}

/* The answer is the same whatever the request says; to HEAD the other side's codec sends none of
 * the body. */
static void local_send_head(struct stream *stream, const struct head *head) {
    (void)stream;
    (void)head;
}

static void local_push(struct stream *stream, const struct head *trailers) {
    (void)trailers;
    stream->tx_bytes += stream->tx.bytes;
    bufq_drop(&stream->tx, stream->tx.bytes);
    if (stream->tx_end && stream->tell_sent) {
        stream_wake(local_http(stream), stream, STREAM_SENT);
    }
}

static void local_pull(struct stream *stream) {
    (void)stream;
}

static void local_release(struct stream *stream, enum close_reason why) {
    (void)why;
    struct local_stream *st = (struct local_stream *)stream;
    struct http *http = local_http(stream);
    stream_fini(stream);
    pool_put(&http->locals, st);
}

static const struct stream_ops local_ops = {
    .send_head = local_send_head,
    .push = local_push,
    .pull = local_pull,
    .tunnel = local_pull,         /* nobody switches protocols with us */
    .release = local_release,
};

static struct str copy_str(struct arena *arena, struct str s) {
    char *p = arena_get(arena, s.len);
    if (p == NULL) {
        return STR("");
    }
    if (s.len > 0) {
        memcpy(p, s.p, s.len);
    }
    return (struct str){p, s.len};
}

static void put(struct bufq *q, struct str s) {
    bufq_copy(q, s.p, s.len);
}

static void local_body(struct local_stream *st, uint16_t status, struct str reason) {
    struct bufq *rx = &st->stream.rx;
    char digits[4] = {[3] = ' '};
    (void)three_put(digits, status);
    struct str number = {digits, sizeof digits};
    put(rx, STR("<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>"));
    put(rx, number);
    put(rx, reason);
    put(rx, STR("</title></head>\n<body><h1>"));
    put(rx, number);
    put(rx, reason);
    put(rx, STR("</h1></body>\n</html>\n"));
}

struct stream *local_stream_new(struct http *http, uint16_t status, const struct head *extra,
                                struct task *owner) {
    ensure_magic(http, HTTP_MAGIC);
    ensure(status == 204 || (status >= 300 && status <= 599));
    struct local_stream *st = pool_get(&http->locals);
    if (st == NULL) {
        return NULL;
    }
    static const struct http_limits limits = {.rx_mark = 65536, .tx_mark = 65536};
    struct stream *stream = &st->stream;
    stream_init(stream, http, &local_ops, &limits, owner);
    st->http = http;
    head_init(&st->head, &stream->arena);
    st->head.status = status;
    bool own = extra != NULL && extra->reason.len > 0;
    st->head.reason = own ? extra->reason : status_reason(status);
    if (status != 204 && status != 304) {
        local_body(st, status, st->head.reason);
        st->head.body = BODY_LENGTH;
        st->head.has_length = true;
        st->head.length = stream->rx.bytes;
        head_add(&st->head, FIELD_CONTENT_TYPE, field_text(FIELD_CONTENT_TYPE),
                 STR("text/html; charset=utf-8"));
    }
    for (uint32_t i = 0; extra != NULL && i < extra->field_count; i++) {
        const struct field *f = &extra->fields[i];
        head_add(&st->head, f->id, copy_str(&stream->arena, f->name),
                 copy_str(&stream->arena, f->value));
    }
    if (stream->arena.failed || stream->rx.failed) {
        local_release(stream, CLOSE_NO_MEMORY);
        return NULL;
    }
    stream->head = &st->head;
    stream->rx_ended = true;
    stream->rx_bytes = stream->rx.bytes;
    stream_wake(http, stream, STREAM_HEAD | STREAM_BODY | STREAM_END);
    return stream;
}
