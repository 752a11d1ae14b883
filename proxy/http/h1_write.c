/* Writes heads and chunk framing, straight into the segments that will be sent. */
#include "http/h1_priv.h"

/* --- A pen on a queue --------------------------------------------------------------------- */

/* A new segment is begun where less than this is left, so that most heads are one slice. */
#define PEN_WANT 512u

struct pen {
    struct bufq *q;
    uint8_t *p;
    uint32_t used, left;
};

static struct pen pen_on(struct bufq *q) {
    struct pen pen = {.q = q};
    uint32_t want = q->copies->seg_size < PEN_WANT ? q->copies->seg_size : PEN_WANT;
    pen.p = bufq_reserve(q, want, &pen.left);
    return pen;
}

static void pen_end(struct pen *pen) {
    bufq_commit(pen->q, pen->used);
}

/* The segment is full: the rest goes into others, by copies. */
static void pen_turn(struct pen *pen, const char *p, uint32_t len) {
    pen_end(pen);
    bufq_copy(pen->q, p, len);
    pen->used = 0;
    pen->p = bufq_reserve(pen->q, 1, &pen->left);
}

static inline void pen_put(struct pen *pen, const char *p, uint32_t len) {
    if (len > pen->left) {   /* also where there is no memory to write to */
        pen_turn(pen, p, len);
    } else if (len > 0) {
        memcpy(pen->p + pen->used, p, len);
        pen->used += len;
        pen->left -= len;
    }
}

static inline void pen_str(struct pen *pen, struct str s) {
    pen_put(pen, s.p, s.len);
}

#define pen_text(pen, literal) pen_put(pen, literal, sizeof(literal) - 1)

static void pen_u64(struct pen *pen, uint64_t value) {
    char digits[U64_TEXT_MAX];
    pen_put(pen, digits, (uint32_t)(u64_put(digits, value) - digits));
}

static void pen_field_in_pieces(struct pen *pen, struct str name, struct str value) {
    pen_str(pen, name);
    pen_text(pen, ": ");
    pen_str(pen, value);
    pen_text(pen, "\r\n");
}

/* One look for room is enough for most. */
static inline void pen_field(struct pen *pen, struct str name, struct str value) {
    uint64_t len = (uint64_t)name.len + value.len + 4;
    if (len > pen->left || value.len == 0) {
        pen_field_in_pieces(pen, name, value);
        return;
    }
    uint8_t *p = pen->p + pen->used;
    memcpy(p, name.p, name.len);
    memcpy(p + name.len, ": ", 2);
    memcpy(p + name.len + 2, value.p, value.len);
    memcpy(p + len - 2, "\r\n", 2);
    pen->used += (uint32_t)len;
    pen->left -= (uint32_t)len;
}

/* --- Fields ------------------------------------------------------------------------------- */

/* Lines that stand one behind the other already, as those of a received head do: they are written
 * at once. */
struct run {
    const char *from, *end;
};

static void run_end(struct run *run, struct pen *pen) {
    if (run->from != NULL) {
        pen_put(pen, run->from, (uint32_t)(run->end - run->from));
        run->from = run->end = NULL;
    }
}

static inline void run_add(struct run *run, struct pen *pen, const char *p, uint32_t len) {
    if (run->end != p) {
        run_end(run, pen);
        run->from = p;
    }
    run->end = p + len;
}

static inline void run_field(struct run *run, struct pen *pen, const struct field *f) {
    if (f->whole) {
        run_add(run, pen, f->name.p, f->name.len + f->value.len + 4);
    } else {
        run_end(run, pen);
        pen_field(pen, f->name, f->value);
    }
}

/* What only the codec writes is left out here, whoever has put it in. */
static void pen_fields(struct pen *pen, struct run *run, const struct head *head,
                       const struct field *written) {
    static const uint64_t ours = 0
#define FIELD(name, text, flags) | ((flags) & (FIELD_HOP | FIELD_CODEC) ? FIELD_BIT(name) : 0)
#include "http/field.def"
#undef FIELD
        ;
    const struct field *f = head->fields;
    for (uint32_t left = head->field_count; left > 0; left--, f++) {
        if (!f->dropped && f != written && (ours >> f->id & 1) == 0) {
            run_field(run, pen, f);
        }
    }
    run_end(run, pen);
}

static void pen_length(struct pen *pen, uint64_t length) {
    pen_text(pen, "Content-Length: ");
    pen_u64(pen, length);
    pen_text(pen, "\r\n");
}

static void pen_upgrade(struct pen *pen, struct str protocol) {
    pen_text(pen, "Connection: upgrade\r\nUpgrade: ");
    pen_str(pen, protocol);
    pen_text(pen, "\r\n");
}

/* --- Requests ----------------------------------------------------------------------------- */

/* RFC 9110 8.6: a method that expects content says that there is none. */
static bool length_expected(const struct head *head) {
    return head->has_length || head->method == METHOD_POST || head->method == METHOD_PUT ||
           head->method == METHOD_PATCH;
}

static void pen_request_framing(struct pen *pen, const struct head *head) {
    switch (head->body) {
    case BODY_LENGTH:
        pen_length(pen, head->length);
        break;
    case BODY_STREAM:
        pen_text(pen, "Transfer-Encoding: chunked\r\n");
        break;
    case BODY_NONE:
        if (length_expected(head)) {
            pen_length(pen, 0);
        }
        break;
    }
}

static void pen_request_line(struct pen *pen, struct run *run, const struct head *head) {
    if (head->line_whole && head->target.p == head->line.p + head->method_name.len + 1) {
        run_add(run, pen, head->line.p, head->line.len + 2);
        return;
    }
    pen_str(pen, head->method_name);
    pen_text(pen, " ");
    pen_str(pen, head->target);
    pen_text(pen, " HTTP/1.1\r\n");
}

/* Host goes first (RFC 9110 7.2). Connections are kept by default in HTTP/1.1. Connection is one
 * field, as of two some servers read one. An upgrade stands alone in it, as some look for nothing
 * else there: what it leads to ends the connection anyway, and if it is refused we close it
 * unannounced; trailers are not asked for beside it. */
void h1_write_request(struct bufq *tx, const struct head *head, bool close) {
    struct pen pen = pen_on(tx);
    struct run run = {NULL, NULL};
    const struct field *host = head_find(head, FIELD_HOST);
    pen_request_line(&pen, &run, head);
    if (host != NULL && host->whole && str_eq(host->name, STR("Host"))) {
        run_field(&run, &pen, host);
    } else {
        run_end(&run, &pen);
        pen_field(&pen, STR("Host"), host != NULL ? host->value : head->authority);
    }
    pen_fields(&pen, &run, head, host);
    pen_request_framing(&pen, head);
    if (head->upgrade.len > 0) {
        pen_upgrade(&pen, head->upgrade);
    } else if (head->te_trailers) {
        pen_text(&pen, "TE: trailers\r\nConnection: TE");
        pen_str(&pen, close ? STR(", close\r\n") : STR("\r\n"));
    } else if (close) {
        pen_text(&pen, "Connection: close\r\n");
    }
    pen_text(&pen, "\r\n");
    pen_end(&pen);
}

/* --- Responses ---------------------------------------------------------------------------- */

static void pen_status_line(struct pen *pen, struct run *run, const struct head *head) {
    if (head->line_whole) {
        run_add(run, pen, head->line.p, head->line.len + 2);
        return;
    }
    char digits[4] = {[3] = ' '};
    (void)three_put(digits, head->status);
    pen_text(pen, "HTTP/1.1 ");
    pen_put(pen, digits, sizeof digits);
    pen_str(pen, head->reason.len > 0 ? head->reason : status_reason(head->status));
    pen_text(pen, "\r\n");
}

/* RFC 9110 8.6, RFC 9112 6.1: never in a 1xx or 204; told, without a body, of HEAD and 304. */
static void pen_response_framing(struct pen *pen, const struct head *head,
                                 const struct h1_response *how) {
    if (head->status < 200 || head->status == 204) {
        return;
    }
    if (how->framing == H1_TX_CHUNKED) {
        pen_text(pen, "Transfer-Encoding: chunked\r\n");
    } else if (how->framing == H1_TX_LENGTH) {
        pen_length(pen, head->length);
    } else if (how->head_only || head->status == 304) {
        if (head->has_length || head->body == BODY_LENGTH) {
            pen_length(pen, head->length);
        }
    } else if (how->framing == H1_TX_NONE) {
        pen_length(pen, 0);
    }
}

enum h1_framing h1_write_framing(const struct head *head, bool head_only, bool old) {
    if (head_only || head->body == BODY_NONE || head->status == 204 || head->status == 304) {
        return H1_TX_NONE;
    }
    if (head->body == BODY_LENGTH) {
        return H1_TX_LENGTH;
    }
    return old ? H1_TX_CLOSE : H1_TX_CHUNKED;
}

void h1_write_response(struct bufq *tx, const struct head *head, const struct h1_response *how) {
    struct pen pen = pen_on(tx);
    struct run run = {NULL, NULL};
    pen_status_line(&pen, &run, head);
    pen_fields(&pen, &run, head, NULL);
    if (how->date.len > 0 && head_find(head, FIELD_DATE) == NULL) {
        pen_field(&pen, STR("Date"), how->date);
    }
    pen_response_framing(&pen, head, how);
    if (head->status == 101) {
        pen_upgrade(&pen, head->upgrade);
    } else if (how->close) {
        pen_text(&pen, "Connection: close\r\n");
    }
    pen_text(&pen, "\r\n");
    pen_end(&pen);
}

void h1_write_bare(struct bufq *tx, uint16_t status, struct str date) {
    struct head head;
    struct field field;
    head_init_bare(&head, &field, status);
    h1_write_response(tx, &head, &(struct h1_response){.framing = H1_TX_NONE, .close = true,
                                                       .date = date});
}

/* --- Chunks (RFC 9112 7.1) ---------------------------------------------------------------- */

void h1_write_chunk_line(struct bufq *tx, uint32_t len) {
    static const char hex[] = "0123456789abcdef";
    char line[10] = {[8] = '\r', [9] = '\n'};
    uint32_t at = 8;
    do {
        line[--at] = hex[len & 15];
        len >>= 4;
    } while (len != 0);
    bufq_copy(tx, line + at, (uint32_t)sizeof line - at);
}

/* Fields that would change what was read already are no trailers (RFC 9110 6.5.1). */
void h1_write_last_chunk(struct bufq *tx, const struct head *trailers) {
    struct pen pen = pen_on(tx);
    pen_text(&pen, "0\r\n");
    for (uint32_t i = 0; trailers != NULL && i < trailers->field_count; i++) {
        const struct field *f = &trailers->fields[i];
        if (!f->dropped && (field_flags(f->id) & FIELD_NO_TRAILER) == 0) {
            pen_field(&pen, f->name, f->value);
        }
    }
    pen_text(&pen, "\r\n");
    pen_end(&pen);
}
