/* Feeds the reader of HTTP/1 with one message, whole or in pieces, and keeps what came of it. */
#ifndef GYRE_TESTS_FUZZ_H1_FEED_H
#define GYRE_TESTS_FUZZ_H1_FEED_H

#include "http/h1_priv.h"

#define FEED_MAX 8192u            /* of an input */
#define FEED_DUMP (FEED_MAX * 6)

/* What the first byte of an input says. The rest of it is the message. */
enum {
    FEED_CUT = 7,                 /* how long the pieces are: a row of feed_pieces */
    FEED_NO_ROOM = 8,             /* there is room for little of the body at a time */
    FEED_SMALL = 16,              /* small limits */
    FEED_HEAD_ONLY = 32           /* a response to HEAD: lower-case letters */
};

static const uint16_t feed_pieces[FEED_CUT + 1] = {0 /* by luck */, 1, 2, 3, 5, 16, 61, 250};

struct feed {
    struct http_limits limits;
    struct h1_read r;
    struct head head, trailers;
    struct arena arena;
    struct bufq in, out;
    bool got_head;
    uint32_t taken;               /* bytes of the input that the reader has dropped */
    uint32_t framing;             /* of them, since the last byte of a chunked body */
    struct text body;
    char body_bytes[FEED_MAX];
};

static struct pool feed_chunks;
static struct segpool feed_copies;

static inline void feed_room_init(void) {
    if (feed_chunks.name == NULL) {
        pool_init(&feed_chunks, "chunks", ARENA_CHUNK, 0);
        segpool_init(&feed_copies, "copies", 256, 0, false);
    }
}

static void feed_take_body(struct feed *f) {
    while (f->out.bytes > 0) {
        uint32_t len;
        const char *p = (const char *)bufq_front(&f->out, &len);
        text_str(&f->body, (struct str){p, len});
        bufq_drop(&f->out, len);
    }
    ensure(!f->body.cut);
}

/* One call of the reader. False when nothing more comes of what is here. */
static bool feed_turn(struct feed *f) {
    uint32_t before = f->in.bytes, body_before = f->out.bytes;
    enum h1_result result;
    if (f->r.phase == H1_LINE || f->r.phase == H1_FIELDS) {
        result = h1_read_head(&f->r, &f->in);
        ensure(result != H1_GOT_END);
    } else if (f->r.phase == H1_BODY || f->r.phase == H1_TRAILERS) {
        result = h1_read_body(&f->r, &f->in, &f->out);
        ensure(result != H1_GOT_HEAD && f->out.bytes <= f->out.mark);
        ensure((result == H1_GOT_END) == (f->r.phase == H1_END));
    } else {
        return false;
    }
    ensure((result == H1_BAD) == (f->r.phase == H1_BROKEN));
    bool moved = f->in.bytes < before || f->out.bytes > body_before;
    if (f->got_head) {
        f->framing = f->out.bytes > body_before ? 0 : f->framing + before - f->in.bytes;
        ensure(result == H1_BAD || f->framing <= f->limits.head_bytes_max);
    }
    if (bufq_room(&f->out) == 0) {
        feed_take_body(f);
    }
    if (result == H1_GOT_HEAD) {
        ensure(!f->got_head);
        f->got_head = true;
        return true;
    }
    return result == H1_MORE && f->in.bytes > 0 && moved;
}

static inline uint32_t feed_piece(uint8_t how, uint32_t at, uint32_t left) {
    uint32_t n = feed_pieces[how & FEED_CUT];
    if (n == 0) {
        n = 1 + (uint32_t)(((at + 1) * UINT64_C(0x9e3779b97f4a7c15)) >> 32) % 40;
    }
    return n < left ? n : left;
}

/* Reads the message; it stays in *f until feed_end. Each piece has memory of its exact size. */
static inline void feed_read(struct feed *f, bool request, uint8_t how, bool whole,
                             const uint8_t *bytes, uint32_t size) {
    bool small = (how & FEED_SMALL) != 0;
    feed_room_init();
    memset(f, 0, offsetof(struct feed, body_bytes));
    f->limits = (struct http_limits){.head_bytes_max = small ? 256 : 4096,
                                     .field_count_max = small ? 4 : 20,
                                     .body_bytes_max = small ? 16 : 1000};
    f->body = text_on(f->body_bytes, sizeof f->body_bytes);
    arena_init(&f->arena, &feed_chunks);
    bufq_init(&f->in, FEED_MAX, &feed_copies);
    bufq_init(&f->out, !whole && (how & FEED_NO_ROOM) != 0 ? 3 : FEED_MAX, &feed_copies);
    h1_read_start(&f->r, request, &f->head, &f->trailers, &f->arena, &f->limits);
    f->r.no_body = !request && (how & FEED_HEAD_ONLY) != 0;
    for (uint32_t at = 0; at < size && f->r.phase != H1_BROKEN;) {
        uint32_t n = whole ? size : feed_piece(how, at, size - at);
        struct seg *seg = seg_new_sized(n);
        memcpy(seg->data, bytes + at, n);
        bufq_push(&f->in, seg, 0, n);
        seg_unref(seg);
        at += n;
        while (feed_turn(f)) {
        }
        f->taken = at - f->in.bytes;
    }
    feed_take_body(f);
    ensure((f->r.phase == H1_BROKEN) == (f->r.refuse != 0));
}

static inline void feed_end(struct feed *f) {
    bufq_fini(&f->in);
    bufq_fini(&f->out);
    arena_fini(&f->arena);
    ensure(feed_chunks.live == 0 && feed_copies.live == 0);
}

/* --- The result in words, to compare ------------------------------------------------------- */

static void feed_dump_fields(struct text *to, const struct head *head) {
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        text_fmt(to, "\n%d %d ", field->id, field->dropped);
        text_str(to, field->name);
        text_char(to, '=');
        text_str(to, field->value);
    }
}

static inline void feed_dump(struct text *to, const struct feed *f) {
    const struct head *h = &f->head;
    text_fmt(to, "phase %d refuse %d why %d %s head %d ", f->r.phase, f->r.refuse, f->r.why,
             refuse_word(f->r.refusal), f->got_head);
    if (f->got_head) {
        text_fmt(to, "%d %d 1.%d %d%d%d %d %d:%llu %u %d%d|", (int)h->method, h->status, h->minor,
                 h->keep_alive, h->expect_continue, h->te_trailers, (int)h->body, h->has_length,
                 (unsigned long long)h->length, h->bytes, f->r.until_eof, f->r.chunked);
        const struct str all[] = {h->method_name, h->target, h->path, h->authority, h->reason,
                                  h->upgrade};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            text_str(to, all[i]);
            text_char(to, '|');
        }
        feed_dump_fields(to, h);
    }
    if (f->r.phase == H1_END) {
        feed_dump_fields(to, &f->trailers);
    }
    /* How much of a body that is too large had come before its end was seen depends on the cut. */
    if (f->r.refuse != 413) {
        text_fmt(to, "\nbody %u ", f->body.len);
        text_str(to, (struct str){f->body.p, f->body.len});
    }
    text_fmt(to, "\ntaken %u", f->r.phase == H1_BROKEN ? 0 : f->taken);
    ensure(!to->cut);
}

/* --- What holds of every head that was taken ---------------------------------------------- */

static inline bool feed_clean(struct str s) {
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static inline void feed_check_fields(const struct feed *f, const struct head *head) {
    ensure(head->field_count <= f->limits.field_count_max);
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        ensure(h1_token_ok(field->name) && feed_clean(field->value));
        ensure(str_eq(field->value, str_trim(field->value)));
        ensure(field->id == field_id_of(field->name));
    }
}

static inline uint32_t feed_count(const struct head *head, enum field_id id) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < head->field_count; i++) {
        count += head->fields[i].id == id;
    }
    return count;
}

/* The framing is of one kind only, and the head ends where its bytes end. */
static inline void feed_check_head(const struct feed *f, const uint8_t *bytes) {
    const struct head *h = &f->head;
    ensure(h->bytes <= f->limits.head_bytes_max);
    ensure(h->bytes >= 4 && memcmp(bytes + h->bytes - 4, "\r\n\r\n", 4) == 0);
    ensure(h->minor <= 1 && h->refuse == 0);
    feed_check_fields(f, h);
    uint32_t lengths = feed_count(h, FIELD_CONTENT_LENGTH);
    uint32_t codings = feed_count(h, FIELD_TRANSFER_ENCODING);
    ensure(feed_count(h, FIELD_HOST) <= 1 && lengths <= 1 && codings <= 1);
    switch (h->body) {
    case BODY_NONE:
        ensure(f->body.len == 0);
        break;
    case BODY_LENGTH:
        ensure(lengths == 1 && codings == 0 && h->has_length && h->length > 0);
        ensure(f->body.len <= h->length);
        ensure((f->r.phase == H1_END) == (f->body.len == h->length));
        break;
    case BODY_STREAM:
        ensure(lengths == 0 && f->r.chunked != f->r.until_eof);
        ensure(codings == (f->r.chunked ? 1 : 0) && (h->minor == 1 || f->r.until_eof));
        break;
    }
    if (f->r.head == &f->trailers) {
        feed_check_fields(f, &f->trailers);
    }
}

/* Reads in pieces and whole; both must come to the same. What was read whole stays in *f. */
static inline void feed_both(struct feed *f, bool request, uint8_t how, const uint8_t *bytes,
                             uint32_t size) {
    static char in_pieces[FEED_DUMP], at_once[FEED_DUMP];
    struct text a = text_on(in_pieces, sizeof in_pieces), b = text_on(at_once, sizeof at_once);
    feed_read(f, request, how, false, bytes, size);
    feed_dump(&a, f);
    feed_end(f);
    feed_read(f, request, how, true, bytes, size);
    feed_dump(&b, f);
    ensure(str_eq((struct str){a.p, a.len}, (struct str){b.p, b.len}));
    if (f->got_head) {
        feed_check_head(f, bytes);
    }
}

/* --- What gyre would send on --------------------------------------------------------------- */

/* The body in chunks of a few bytes, as many turns would make them. */
static inline void feed_write_chunks(struct bufq *tx, struct str body,
                                     const struct head *trailers) {
    for (uint32_t at = 0, n; at < body.len; at += n) {
        n = body.len - at < 37 ? body.len - at : 37;
        h1_write_chunk_line(tx, n);
        bufq_copy(tx, body.p + at, n);
        bufq_copy(tx, "\r\n", 2);
    }
    h1_write_last_chunk(tx, trailers);
}

/* Takes all of the queue out into one piece of its exact size; the caller frees it. */
static inline struct str feed_flat(struct bufq *tx) {
    struct str flat = {.len = tx->bytes};
    char *p = mem_alloc(flat.len + 1);
    ensure(bufq_read(tx, p, flat.len) == flat.len);
    bufq_drop(tx, flat.len);
    flat.p = p;
    return flat;
}

#endif
