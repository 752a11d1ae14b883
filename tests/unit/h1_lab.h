/* Feeds a reader of HTTP/1 with bytes cut at any places, and writes down all that came of it. */
#ifndef GYRE_TESTS_UNIT_H1_LAB_H
#define GYRE_TESTS_UNIT_H1_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "http/h1_priv.h"

#define DUMP_MAX 8192

struct h1_lab {
    struct pool chunks;
    struct segpool copies;
    struct http_limits limits;
    bool request, head_only;       /* a request; a response to HEAD */
    bool eof;                      /* the connection ends after the bytes */
    uint32_t room;                 /* of the body's queue */
    char dump[DUMP_MAX];
};

/* What the cases of this file have been refused for. */
static bool lab_refusals[REFUSE_COUNT];

static inline void lab_init(struct h1_lab *lab, bool request) {
    memset(lab, 0, sizeof *lab);
    pool_init(&lab->chunks, "chunks", ARENA_CHUNK, 0);
    segpool_init(&lab->copies, "copies", 256, 0, false);
    lab->limits = (struct http_limits){.head_bytes_max = 4096, .field_count_max = 20,
                                       .body_bytes_max = 1000};
    lab->request = request;
    lab->room = 4096;
}

/* Lines and fields that were to be written as they came. */
static unsigned lab_wholes;

/* Every row of refuse.def that a reader can come to was come to. */
static inline void lab_all_refused(unsigned side) {
    assert_true(lab_wholes > 0);
    for (enum refusal refusal = REFUSE_NONE + 1; refusal < REFUSE_COUNT; refusal++) {
        bool elsewhere = refusal == REFUSE_INTERIM_TOO_MANY || refusal == REFUSE_SWITCH_UNASKED ||
                         refusal == REFUSE_HEAD_LATE || refusal == REFUSE_BODY_LATE ||
                         refusal == REFUSE_BODY_SLOW || refusal == REFUSE_NO_MEMORY ||
                         refusal == REFUSE_PLAIN_HTTP || refusal == REFUSE_PATH_NUL ||
                         refusal == REFUSE_PACKET_TOO_LARGE ||
                         refusal == REFUSE_READERS_DIFFER;   /* that is what must never happen */
        bool expected = (refuse_row(refusal)->sides & side) != 0 && !elsewhere;
        if (lab_refusals[refusal] != expected) {
            fail_msg("%s: %s", refuse_word(refusal), expected ? "no case" : "unexpected");
        }
    }
}

static inline void lab_fini(struct h1_lab *lab) {
    pool_fini(&lab->chunks);
    segpool_fini(&lab->copies);
}

static inline void lab_push(struct bufq *q, const char *bytes, size_t len) {
    if (len > 0) {
        struct seg *seg = seg_new_sized((uint32_t)len);
        memcpy(seg->data, bytes, len);
        bufq_push(q, seg, 0, (uint32_t)len);
        seg_unref(seg);
    }
}

static void dump_fields(struct text *to, const struct head *head, const char *mark) {
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *f = &head->fields[i];
        text_str(to, str_of(mark));
        text_str(to, f->name);
        text_char(to, '=');
        text_str(to, f->value);
        text_str(to, f->dropped ? STR(" dropped\n") : STR("\n"));
    }
}

static inline void dump_head(struct text *to, const struct h1_lab *lab, const struct h1_read *r) {
    const struct head *head = r->head;
    if (lab->request) {
        text_fmt(to, "%d " STR_FMT " ", (int)head->method, STR_ARG(head->method_name));
        text_str(to, head->target);
        text_str(to, STR(" path "));
        text_str(to, head->path);
        text_fmt(to, " at " STR_FMT " 1.%d\n", STR_ARG(head->authority), head->minor);
    } else {
        text_fmt(to, "%d " STR_FMT " 1.%d\n", head->status, STR_ARG(head->reason), head->minor);
    }
    text_fmt(to, "body %d length %d:%llu keep %d expect %d te %d upgrade " STR_FMT
             " eof %d bytes %u\n", (int)head->body, head->has_length,
             (unsigned long long)head->length, head->keep_alive, head->expect_continue,
             head->te_trailers, STR_ARG(head->upgrade), r->until_eof, head->bytes);
    dump_fields(to, head, "");
}

/* A reader at work on one message. */
struct lab_run {
    struct h1_read r;
    struct head head, trailers;
    struct bufq in, out;
    struct arena arena;
    struct text dump, body;
    char body_bytes[DUMP_MAX];
    bool got_head;
};

static inline uint32_t written(const struct h1_lab *lab, struct lab_run *run,
                               const struct head *head, char to[DUMP_MAX]) {
    struct bufq tx;
    bufq_init(&tx, 65536, run->in.copies);
    if (lab->request) {
        h1_write_request(&tx, head, false);
    } else {
        h1_write_response(&tx, head, &(struct h1_response){.framing = H1_TX_CLOSE});
    }
    uint32_t len = bufq_read(&tx, to, DUMP_MAX);
    assert_int_equal(len, tx.bytes);
    bufq_fini(&tx);
    return len;
}

/* What goes out as it came is what would be made of the same line and fields. */
static inline void write_both_ways(const struct h1_lab *lab, struct lab_run *run) {
    static char as_it_came[DUMP_MAX], made[DUMP_MAX];
    struct field fields[64];
    struct head head = *run->r.head;
    uint32_t len = written(lab, run, &head, as_it_came);
    assert_true(head.field_count <= sizeof fields / sizeof fields[0]);
    for (uint32_t i = 0; i < head.field_count; i++) {
        fields[i] = head.fields[i];
        lab_wholes += fields[i].whole;
        fields[i].whole = false;
    }
    lab_wholes += head.line_whole;
    head.fields = fields;
    head.line_whole = false;
    assert_int_equal(written(lab, run, &head, made), len);
    assert_memory_equal(made, as_it_came, len);
}

static inline void take_body(struct lab_run *run) {
    char bytes[DUMP_MAX];
    uint32_t len = bufq_read(&run->out, bytes, sizeof bytes);
    text_str(&run->body, (struct str){bytes, len});
    bufq_drop(&run->out, len);
}

static inline void run_some(struct h1_lab *lab, struct lab_run *run) {
    for (;;) {
        uint32_t before = run->in.bytes;
        enum h1_result result;
        if (run->r.phase == H1_LINE || run->r.phase == H1_FIELDS) {
            result = h1_read_head(&run->r, &run->in);
        } else if (run->r.phase == H1_BODY || run->r.phase == H1_TRAILERS) {
            result = h1_read_body(&run->r, &run->in, &run->out);
            assert_true(run->out.bytes <= lab->room);
            take_body(run);
        } else {
            return;
        }
        if (result == H1_GOT_HEAD) {
            assert_false(run->got_head);
            run->got_head = true;
            dump_head(&run->dump, lab, &run->r);
            write_both_ways(lab, run);
        } else if (result != H1_MORE || run->in.bytes == before || run->in.bytes == 0) {
            return;
        }
    }
}

static inline void run_end(struct h1_lab *lab, struct lab_run *run) {
    static const char *const phases[] = {"in the line", "in the fields", "in the body",
                                         "in the trailers", "complete", "tunnel", "broken"};
    if (lab->eof && run->r.phase == H1_BODY && run->r.until_eof) {
        run->r.phase = H1_END;
    }
    text_char(&run->dump, '[');
    text_str(&run->dump, (struct str){run->body.p, run->body.len});
    text_str(&run->dump, STR("]\n"));
    if (run->r.head == &run->trailers && run->r.phase == H1_END) {
        dump_fields(&run->dump, &run->trailers, "trailer ");
    }
    text_fmt(&run->dump, "%s", phases[run->r.phase]);
    if (run->r.phase == H1_BROKEN) {
        lab_refusals[run->r.refusal] = true;
        text_fmt(&run->dump, " %d %s %s\n", run->r.refuse, close_word(run->r.why),
                 refuse_word(run->r.refusal));
    } else {
        char rest[DUMP_MAX];
        uint32_t len = bufq_read(&run->in, rest, sizeof rest);
        text_str(&run->dump, STR(", left <"));
        text_str(&run->dump, (struct str){rest, len});
        text_str(&run->dump, STR(">\n"));
    }
    text_char(&run->dump, '\0');
    assert_false(run->dump.cut);
}

/* Reads the bytes, which arrive in pieces that end at the cuts (ascending); the dump is the
 * result. */
static inline const char *lab_read(struct h1_lab *lab, const char *bytes, size_t len,
                            const size_t *cuts, size_t cut_count) {
    static struct lab_run run;
    memset(&run, 0, sizeof run);
    arena_init(&run.arena, &lab->chunks);
    bufq_init(&run.in, 65536, &lab->copies);
    bufq_init(&run.out, lab->room, &lab->copies);
    run.dump = text_on(lab->dump, DUMP_MAX);
    run.body = text_on(run.body_bytes, DUMP_MAX);
    h1_read_start(&run.r, lab->request, &run.head, &run.trailers, &run.arena, &lab->limits);
    run.r.no_body = lab->head_only;
    size_t at = 0;
    for (size_t i = 0; i <= cut_count; i++) {
        size_t end = i < cut_count ? cuts[i] : len;
        lab_push(&run.in, bytes + at, end - at);
        at = end;
        run_some(lab, &run);
    }
    run_end(lab, &run);
    bufq_fini(&run.in);
    bufq_fini(&run.out);
    arena_fini(&run.arena);
    assert_int_equal(lab->chunks.live, 0);
    assert_int_equal(lab->copies.live, 0);
    return lab->dump;
}

static inline void lab_same(struct h1_lab *lab, const char *bytes, size_t len, const size_t *cuts,
                     size_t cut_count, const char *want) {
    const char *got = lab_read(lab, bytes, len, cuts, cut_count);
    if (strcmp(got, want) != 0) {
        fail_msg("cut at %zu (%zu cuts):\n%s\nis not what it is in one piece:\n%s",
                 cut_count > 0 ? cuts[0] : 0, cut_count, got, want);
    }
}

/* The result, which is the same however the bytes are cut: whole, at each place, at each pair of
 * places (in steps, where there are many), byte by byte; and with little room for the body. */
static inline const char *lab_all(struct h1_lab *lab, const char *bytes, size_t len) {
    static char want[DUMP_MAX];
    static size_t every[DUMP_MAX];
    assert_true(len < DUMP_MAX);
    memcpy(want, lab_read(lab, bytes, len, NULL, 0), DUMP_MAX);
    for (size_t i = 1; i < len; i++) {
        every[i - 1] = i;
        lab_same(lab, bytes, len, &i, 1, want);
    }
    lab_same(lab, bytes, len, every, len > 0 ? len - 1 : 0, want);
    size_t step = len > 300 ? len / 60 : 3;
    for (size_t i = 1; i < len; i += step) {
        for (size_t j = i + 1; j < len; j += step) {
            size_t two[] = {i, j};
            lab_same(lab, bytes, len, two, 2, want);
        }
    }
    uint32_t room = lab->room;
    for (lab->room = 1; lab->room < 8; lab->room += 2) {
        lab_same(lab, bytes, len, NULL, 0, want);
        lab_same(lab, bytes, len, every, len > 0 ? len - 1 : 0, want);
    }
    lab->room = room;
    return want;
}

#endif
