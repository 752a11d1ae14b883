/* Reads one message: the start line by itself, fields and chunks with llhttp. */
#include "http/h1_priv.h"

/* A first piece of text holds a usual head; with it and the fields, a chunk of the arena has room
 * for what gyre adds, and little more. */
#define PIECE_FIRST 1024u
#define PIECE_NEXT 2048u

/* So much of a head is copied and read at a time. What is copied too far is of its body. */
#define STEP_MAX 512u
#define STEP_LEAST 128u

/* Of framing, for each chunk: a size, a short extension, two line ends. */
#define CHUNK_BYTES_ALLOWED 16u

/* Where this many slices wait, small ones are copied together. */
#define SLICES_MANY 16u
#define SLICE_SMALL 1024u

static struct str text_take(struct h1_read *);

/* What came of the request line is what the log can tell of it. */
enum h1_result h1_read_bad(struct h1_read *r, enum refusal refusal) {
    const struct refuse_row *row = refuse_row(refusal);
    ensure((row->sides & (r->request ? REFUSE_IN_REQUEST : REFUSE_IN_RESPONSE)) != 0);
    if (r->request && r->phase == H1_LINE && r->head->line.len == 0) {
        r->head->line = text_take(r);
    }
    r->phase = H1_BROKEN;
    r->refusal = (uint8_t)refusal;
    r->refuse = r->request ? row->status : 502;
    r->why = r->request ? row->why : (uint8_t)CLOSE_BAD_RESPONSE;
    return H1_BAD;
}

/* A server is not to blame for it either. */
enum h1_result h1_read_starved(struct h1_read *r) {
    h1_read_bad(r, REFUSE_NO_MEMORY);
    r->refuse = 503;
    r->why = CLOSE_NO_MEMORY;
    return H1_BAD;
}

/* --- Text: the head is copied once, as it comes, and its strings lie in that copy ---------- */

/* Room for at least `want` bytes behind the text. The line or field in hand moves when its piece is
 * full; those before it stay. 0, or -1 without memory: the message is broken then. */
static int text_room(struct h1_read *r, uint32_t want) {
    if (want <= r->piece_cap - r->piece_used) {
        return 0;
    }
    uint32_t have = r->open != NULL ? (uint32_t)(r->piece + r->piece_used - r->open) : 0;
    uint32_t cap = r->piece_cap == 0 ? PIECE_FIRST : PIECE_NEXT;
    cap = cap < 2 * (have + want) ? 2 * (have + want) : cap;
    char *piece = arena_get(r->arena, cap);
    if (piece == NULL) {
        h1_read_starved(r);
        return -1;
    }
    if (have > 0) {
        memcpy(piece, r->open, have);
        r->name.p = r->in_value ? piece + (r->name.p - r->open) : r->name.p;
        r->string.p = r->string.len > 0 ? piece + (r->string.p - r->open) : r->string.p;
        r->open = piece;
    }
    r->piece = piece;
    r->piece_cap = cap;
    r->piece_used = have;
    return 0;
}

/* The string in hand goes on with what stands at p in the piece. It is never in parts: folded
 * fields are not read. */
static inline int text_add(struct h1_read *r, const char *p, uint32_t len) {
    if (r->string.len == 0) {
        r->string.p = p;
        r->open = r->open == NULL ? p : r->open;
    } else if (r->string.p + r->string.len != p) {
        h1_read_bad(r, REFUSE_FIELD_FOLDED);
        return -1;
    }
    r->string.len += len;
    return 0;
}

/* The same with bytes that are elsewhere. */
static int text_put(struct h1_read *r, const char *p, uint32_t len) {
    if (text_room(r, len) != 0) {
        return -1;
    }
    char *to = r->piece + r->piece_used;
    if (len > 0) {
        memcpy(to, p, len);
        r->piece_used += len;
    }
    return text_add(r, to, len);
}

/* Ends the string in hand. */
static struct str text_take(struct h1_read *r) {
    struct str s = r->string.len > 0 ? r->string : STR("");
    r->string.len = 0;
    return s;
}

/* --- What llhttp tells -------------------------------------------------------------------- */

static struct h1_read *reader_of(llhttp_t *parser) {
    return container_of(parser, struct h1_read, parser);
}

/* Of a name or a value. Trailers are read where they were received. */
static int on_text(llhttp_t *parser, const char *at, size_t len) {
    struct h1_read *r = reader_of(parser);
    return r->phase == H1_TRAILERS ? text_put(r, at, (uint32_t)len)
                                   : text_add(r, at, (uint32_t)len);
}

static int on_field_complete(llhttp_t *parser) {
    struct h1_read *r = reader_of(parser);
    r->name = text_take(r);
    r->in_value = true;
    return 0;
}

/* It stands in our copy as it would be written: "Name: value", and the end of its line. */
static inline bool is_whole(const struct field *f) {
    const char *end = f->name.p + f->name.len;
    return f->value.len > 0 && f->value.p == end + 2 && memcmp(end, ": ", 2) == 0 &&
           memcmp(f->value.p + f->value.len, "\r\n", 2) == 0;
}

static int too_many(struct h1_read *r) {
    h1_read_bad(r, r->phase == H1_TRAILERS ? REFUSE_TOO_MANY_TRAILERS : REFUSE_TOO_MANY_FIELDS);
    return -1;
}

/* What else there is to know of a field of the head, or of the trailers. */
static int field_look(struct h1_read *r, struct field *field) {
    if (r->phase != H1_TRAILERS) {
        field->whole = is_whole(field);
    } else if (field->id == FIELD_CONTENT_LENGTH || field->id == FIELD_TRANSFER_ENCODING) {
        h1_read_bad(r, REFUSE_TRAILER_FRAMING);   /* llhttp takes some of them */
        return -1;
    }
    if (field->id == FIELD_OTHER && r->request && !r->limits->keep_underscores &&
        h1_check_underscore(field->name)) {
        field->dropped = true;
        r->fields_dropped++;
    }
    return 0;
}

static int on_value_complete(llhttp_t *parser) {
    struct h1_read *r = reader_of(parser);
    r->in_value = false;
    r->open = NULL;
    if (r->head->field_count == r->limits->field_count_max) {
        return too_many(r);
    }
    struct field *field = head_add(r->head, field_id_of(r->name), r->name,
                                   str_trim(text_take(r)));
    if (field == NULL) {
        h1_read_starved(r);
        return -1;
    }
    return field_look(r, field);
}

/* What follows is decided outside of llhttp, which knows too little. */
static int on_head(llhttp_t *parser) {
    (void)parser;
    return HPE_PAUSED;
}

/* How much more framing there may be: sizes with their zeros and extensions (which end here, RFC
 * 9112 7.1.1), and trailers. Since the last byte of body it is bounded as a head is; and so is all
 * that there is of it, but for some bytes for each chunk and twice its size: else a client could
 * make us read thousands of bytes for each one of body (CVE-2023-39326). Chunks are credited when
 * they end, so that it is the same wherever the bytes are cut. */
static uint64_t frame_left(const struct h1_read *r) {
    uint32_t max = r->limits->head_bytes_max;
    uint64_t here = max - r->frame_bytes, in_all = max + r->frame_allowed - r->frame_total;
    return here < in_all ? here : in_all;
}

/* Counts framing up to p; false when it is too much. */
static bool frame_ok(struct h1_read *r, const char *p) {
    uint32_t n = (uint32_t)(p - r->frame_at);
    bool ok = n <= frame_left(r);
    r->frame_bytes += n;
    r->frame_total += n;
    r->frame_at = p;
    return ok;
}

/* Without a copy, unless so many small slices wait that they would cost more than their bytes. */
static void body_push(struct bufq *out, struct seg *seg, const char *at, uint32_t len) {
    if (out->count >= SLICES_MANY && len < SLICE_SMALL) {
        bufq_copy(out, at, len);
    } else {
        bufq_push(out, seg, (uint32_t)((const uint8_t *)at - seg->data), len);
    }
}

static int on_body(llhttp_t *parser, const char *at, size_t len) {
    struct h1_read *r = reader_of(parser);
    if (!frame_ok(r, at)) {
        h1_read_bad(r, REFUSE_CHUNK_OVERHEAD);
        return -1;
    }
    r->body_bytes += len;
    r->frame_allowed += 2 * (uint64_t)len;
    body_push(r->out, r->seg, at, (uint32_t)len);
    r->frame_bytes = 0;
    r->frame_at = at + len;
    return 0;
}

/* A chunk's size is known. Behind that of the last chunk fields are trailers. */
static int on_chunk(llhttp_t *parser) {
    struct h1_read *r = reader_of(parser);
    if (parser->content_length == 0) {
        head_init(r->trailers, r->arena);
        r->head = r->trailers;
        r->phase = H1_TRAILERS;
    }
    r->in_chunk = parser->content_length > 0;
    if (r->request && parser->content_length > r->limits->body_bytes_max - r->body_bytes) {
        h1_read_bad(r, REFUSE_BODY_TOO_LARGE);
        return -1;
    }
    return 0;
}

static int on_chunk_end(llhttp_t *parser) {
    struct h1_read *r = reader_of(parser);
    r->frame_allowed += r->in_chunk ? CHUNK_BYTES_ALLOWED : 0;
    r->in_chunk = false;
    return 0;
}

static int on_end(llhttp_t *parser) {
    (void)parser;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_text,
    .on_header_field_complete = on_field_complete,
    .on_header_value = on_text,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_head,
    .on_chunk_header = on_chunk,
    .on_chunk_complete = on_chunk_end,
    .on_body = on_body,
    .on_message_complete = on_end,
};

void h1_read_start(struct h1_read *r, bool request, struct head *head, struct head *trailers,
                   struct arena *arena, const struct http_limits *limits) {
    /* All but llhttp's, which llhttp clears. */
    memset((char *)r + sizeof r->parser, 0, sizeof *r - sizeof r->parser);
    r->limits = limits;
    r->arena = arena;
    r->head = head;
    r->trailers = trailers;
    r->request = request;
    r->phase = H1_LINE;
    head_init(head, arena);
    llhttp_init(&r->parser, request ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
}

/* --- Heads -------------------------------------------------------------------------------- */

/* llhttp sees the line as well, and so it must like what we liked: its list of methods is what we
 * can pass on. */
static enum h1_result line_to_llhttp(struct h1_read *r, struct str line) {
    switch (llhttp_execute(&r->parser, line.p, line.len)) {
    case HPE_OK:
        r->phase = H1_FIELDS;
        return H1_MORE;
    case HPE_INVALID_METHOD:
    case HPE_INVALID_CONSTANT:         /* a method of RTSP or ICE */
    case HPE_PAUSED_H2_UPGRADE:
        return h1_read_bad(r, r->request ? REFUSE_METHOD_UNKNOWN : REFUSE_READERS_DIFFER);
    default:
        return h1_read_bad(r, REFUSE_READERS_DIFFER);
    }
}

/* In our version, and nothing was cut off. */
static bool is_line_whole(const struct head *head, bool request) {
    struct str last = request ? head->target : head->reason;
    uint32_t before = request ? head->method_name.len + 1 : sizeof "HTTP/1.1 200 " - 1;
    uint32_t behind = request ? sizeof " HTTP/1.1" - 1 : 0;
    return head->minor == 1 && last.len > 0 && last.p == head->line.p + before &&
           before + last.len + behind == head->line.len;
}

static enum h1_result line_done(struct h1_read *r) {
    struct str line = text_take(r);
    r->open = NULL;
    bool crlf = line.len >= 2 && line.p[line.len - 2] == '\r';
    struct str text = {line.p, line.len - (crlf ? 2 : 1)};
    r->head->line = text;
    if (!crlf) {
        return h1_read_bad(r, REFUSE_BARE_LF);
    }
    enum refusal refusal = r->request ? h1_line_request(r->head, text)
                                      : h1_line_status(r->head, text);
    if (r->arena->failed) {
        return h1_read_starved(r);
    }
    r->head->line_whole = is_line_whole(r->head, r->request);
    return refusal != REFUSE_NONE ? h1_read_bad(r, refusal) : line_to_llhttp(r, line);
}

/* The first byte tells a TLS hello, or an answer that is none, without waiting for a whole line. */
static enum refusal first_check(const struct h1_read *r, char c) {
    if (!r->request) {
        return c == 'H' ? REFUSE_NONE : REFUSE_NOT_HTTP;
    }
    switch (c) {
    case 0x16:
        return REFUSE_TLS_HELLO;
    case '\r':
    case '\n':
        return REFUSE_EMPTY_LINES;
    case ' ':
    case '\t':
        return REFUSE_LINE_BLANKS;
    default:
        return h1_token_char(c) ? REFUSE_NONE : REFUSE_METHOD_MALFORMED;
    }
}

static enum h1_result read_line(struct h1_read *r, struct bufq *in) {
    uint32_t len;
    const char *p = (const char *)bufq_front(in, &len);
    uint32_t left = r->limits->head_bytes_max - r->head_bytes;
    enum refusal refusal = r->head_bytes == 0 ? first_check(r, *p) : REFUSE_NONE;
    uint32_t n = len < left ? len : left;
    const char *end = memchr(p, '\n', n);
    if (end != NULL) {
        n = (uint32_t)(end - p) + 1;
    }
    if (text_put(r, p, n) != 0) {
        return H1_BAD;
    }
    if (refusal != REFUSE_NONE) {
        return h1_read_bad(r, refusal);
    }
    bufq_drop(in, n);
    r->head_bytes += n;
    enum h1_result result = end != NULL ? line_done(r) : H1_MORE;
    if (result == H1_MORE && r->head_bytes == r->limits->head_bytes_max) {
        return h1_read_bad(r, r->request ? REFUSE_TARGET_TOO_LONG : REFUSE_HEAD_TOO_LARGE);
    }
    return result;
}

/* Two readers of the framing must agree, or there are two framings. */
static bool llhttp_agrees(const struct h1_read *r) {
    bool chunked = (r->parser.flags & F_CHUNKED) != 0;
    bool has_length = (r->parser.flags & F_CONTENT_LENGTH) != 0;
    return chunked == head_has_had(r->head, FIELD_TRANSFER_ENCODING) &&
           has_length == head_has_had(r->head, FIELD_CONTENT_LENGTH) &&
           (!r->head->has_length || r->parser.content_length == r->head->length);
}

static enum h1_result head_done(struct h1_read *r) {
    struct head *head = r->head;
    head->bytes = r->head_bytes;
    enum refusal refusal = r->request ? h1_check_request(head, r->limits)
                                      : h1_check_response(head, r->no_body, &r->until_eof);
    if (refusal == REFUSE_NONE && !llhttp_agrees(r)) {
        refusal = REFUSE_READERS_DIFFER;
    }
    if (refusal != REFUSE_NONE) {
        return h1_read_bad(r, refusal);
    }
    if (head->body == BODY_NONE) {
        r->phase = H1_END;
        return H1_GOT_HEAD;
    }
    r->phase = H1_BODY;
    r->body_left = head->length;
    r->chunked = head->body == BODY_STREAM && !r->until_eof;
    if (r->chunked) {
        llhttp_resume(&r->parser);
    }
    return H1_GOT_HEAD;
}

/* The first n bytes of p have been read: the last two of all that were. */
static void last_bytes(const struct h1_read *r, const char *p, size_t n, char last[2]) {
    char one = n > 0 ? p[n - 1] : r->last[0];
    last[1] = n > 1 ? p[n - 2] : r->last[1 - n];
    last[0] = one;
}

/* llhttp stopped where it does not go on, or one of our callbacks did. */
static enum h1_result llhttp_bad(struct h1_read *r, llhttp_errno_t error, const char *p,
                                 uint32_t n) {
    if (r->phase == H1_BROKEN) {
        return H1_BAD;
    }
    const char *pos = llhttp_get_error_pos(&r->parser);
    size_t at = pos >= p && pos <= p + n ? (size_t)(pos - p) : 0;
    char before[2];
    last_bytes(r, p, at, before);
    return h1_read_bad(r, h1_check_llhttp(r, error, before, at < n ? p[at] : '\0'));
}

/* The next bytes of the head are copied behind those before; NULL without memory. */
static const char *step_copy(struct h1_read *r, const struct bufq *in, uint32_t *len) {
    const char *p = (const char *)bufq_front(in, len);
    uint32_t left = r->limits->head_bytes_max - r->head_bytes;
    uint32_t n = *len < left ? *len : left;
    if (text_room(r, n < STEP_LEAST ? n : STEP_LEAST) != 0) {
        return NULL;
    }
    uint32_t room = r->piece_cap - r->piece_used;
    room = room < STEP_MAX ? room : STEP_MAX;
    *len = n < room ? n : room;
    return memcpy(r->piece + r->piece_used, p, *len);
}

static enum h1_result read_fields(struct h1_read *r, struct bufq *in) {
    uint32_t n;
    const char *p = step_copy(r, in, &n);
    if (p == NULL) {
        return H1_BAD;
    }
    llhttp_errno_t error = llhttp_execute(&r->parser, p, n);
    if (error != HPE_OK && error != HPE_PAUSED) {
        return llhttp_bad(r, error, p, n);
    }
    if (error == HPE_PAUSED) {
        n = (uint32_t)(llhttp_get_error_pos(&r->parser) - p);
    }
    r->piece_used += n;
    r->head_bytes += n;
    last_bytes(r, p, n, r->last);
    bufq_drop(in, n);
    if (error == HPE_PAUSED) {
        return head_done(r);
    }
    return r->head_bytes == r->limits->head_bytes_max ? h1_read_bad(r, REFUSE_HEAD_TOO_LARGE)
                                                      : H1_MORE;
}

enum h1_result h1_read_head(struct h1_read *r, struct bufq *in) {
    enum h1_result result = H1_MORE;
    while (result == H1_MORE && in->bytes > 0) {
        result = r->phase == H1_LINE ? read_line(r, in) : read_fields(r, in);
    }
    return result;
}

/* --- Bodies ------------------------------------------------------------------------------- */

static void move_body(struct bufq *out, struct bufq *in, uint32_t max) {
    while (max > 0) {
        uint32_t len;
        (void)bufq_front(in, &len);
        uint32_t n = len < max ? len : max;
        if (out->count >= SLICES_MANY && n < SLICE_SMALL) {
            bufq_move_small(out, in, n, n);
        } else {
            bufq_move(out, in, n);
        }
        max -= n;
    }
}

/* Counted, or to the end of the connection. */
static enum h1_result read_plain(struct h1_read *r, struct bufq *in, struct bufq *out) {
    uint32_t n = bufq_room(out);
    n = n < in->bytes ? n : in->bytes;
    if (!r->until_eof && n > r->body_left) {
        n = (uint32_t)r->body_left;
    }
    move_body(out, in, n);
    r->body_bytes += n;
    if (r->until_eof) {
        return H1_MORE;
    }
    r->body_left -= n;
    if (r->body_left > 0) {
        return H1_MORE;
    }
    r->phase = H1_END;
    return H1_GOT_END;
}

/* llhttp is never fed more than there is room for, so it never makes more body than that; and no
 * further than the first byte of framing that is too much: what is behind it is not seen. */
static enum h1_result read_chunks(struct h1_read *r, struct bufq *in, struct bufq *out) {
    r->out = out;
    while (in->bytes > 0) {
        uint32_t n, room = r->phase == H1_TRAILERS ? UINT32_MAX : bufq_room(out);
        const char *p = (const char *)bufq_front(in, &n);
        n = n < room ? n : room;
        if (n == 0) {
            return H1_MORE;
        }
        n = n > frame_left(r) ? (uint32_t)frame_left(r) + 1 : n;
        r->seg = bufq_first(in)->seg;
        r->frame_at = p;
        llhttp_errno_t error = llhttp_execute(&r->parser, p, n);
        if (error == HPE_PAUSED) {
            n = (uint32_t)(llhttp_get_error_pos(&r->parser) - p);
        }
        if (error != HPE_OK && error != HPE_PAUSED) {
            return llhttp_bad(r, error, p, n);
        }
        if (!frame_ok(r, p + n)) {
            return h1_read_bad(r, REFUSE_CHUNK_OVERHEAD);
        }
        last_bytes(r, p, n, r->last);
        bufq_drop(in, n);
        if (error == HPE_PAUSED) {
            r->phase = H1_END;
            return H1_GOT_END;
        }
    }
    return H1_MORE;
}

enum h1_result h1_read_body(struct h1_read *r, struct bufq *in, struct bufq *out) {
    ensure(r->phase == H1_BODY || r->phase == H1_TRAILERS);
    enum h1_result result = r->chunked ? read_chunks(r, in, out) : read_plain(r, in, out);
    return out->failed ? h1_read_starved(r) : result;
}

/* Chunks would have to be read to be known. */
bool h1_read_has_rest(const struct h1_read *r, const struct bufq *in) {
    return r->phase == H1_END ||
           (r->phase == H1_BODY && !r->chunked && r->body_left <= in->bytes);
}

bool h1_read_drop_rest(struct h1_read *r, struct bufq *in) {
    if (!h1_read_has_rest(r, in)) {
        return false;
    }
    if (r->phase == H1_BODY) {
        bufq_drop(in, (uint32_t)r->body_left);
        r->phase = H1_END;
    }
    return true;
}
