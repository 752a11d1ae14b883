/* Any bytes as a response: read the same however they are cut, and, where they are taken, read by
 * a careless client as the same one response, before gyre and behind it. */
#include <stdio.h>

#include "base/mem.h"
#include "h1_feed.h"
#include "naive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct feed feed;
static struct naive naive;

static void check_head(const struct feed *f) {
    const struct head *h = &f->head;
    ensure(h->status >= 100 && h->status <= 599 && feed_clean(h->reason));
    bool bodyless = h->status < 200 || h->status == 204 || h->status == 304 || f->r.no_body;
    ensure(!bodyless || (h->body == BODY_NONE && f->r.phase == H1_END));
    ensure(!f->r.until_eof || (!h->keep_alive && h->body == BODY_STREAM));
    /* Who frames a body where there can be none may send it, too: no reuse after that. */
    bool framed = feed_count(h, FIELD_TRANSFER_ENCODING) > 0 ||
                  (head_find(h, FIELD_CONTENT_LENGTH) != NULL &&
                   !str_eq(head_find(h, FIELD_CONTENT_LENGTH)->value, STR("0")));
    ensure(!framed || h->status >= 200);
    ensure(!framed || h->status != 204 || !h->keep_alive);
    ensure(h->upgrade.len == 0 || h->status == 101);
}

static bool status_is(const struct head *h) {
    char digits[4];
    snprintf(digits, sizeof digits, "%03u", h->status % 1000u);
    return naive.words[1].len == 3 && memcmp(naive.words[1].p, digits, 3) == 0;
}

static enum naive_result second_opinion(bool head_only, struct str flat) {
    memset(&naive, 0, offsetof(struct naive, body));
    naive.head_only = head_only;
    return naive_read(&naive, flat);
}

static void check_before(const struct feed *f, const uint8_t *bytes, uint32_t size) {
    char *flat = mem_copy((const char *)bytes, size);
    enum naive_result result = second_opinion(f->r.no_body, (struct str){flat, size});
    if (f->r.phase == H1_END || f->r.until_eof) {
        ensure(result == NAIVE_DONE && naive.used == f->taken && status_is(&f->head));
        ensure(naive.until_eof == f->r.until_eof);
        ensure(str_eq((struct str){naive.body, naive.body_len},
                      (struct str){f->body.p, f->body.len}));
    } else {
        ensure(result == NAIVE_SHORT);
    }
    mem_free(flat);
}

/* As it is framed for a client of HTTP/1.1, and for an old one. */
static enum h1_framing framing_for(const struct feed *f, bool old) {
    const struct head *h = &f->head;
    if (h->body == BODY_NONE) {
        return H1_TX_NONE;
    }
    return h->body == BODY_LENGTH ? H1_TX_LENGTH : old ? H1_TX_CLOSE : H1_TX_CHUNKED;
}

static void check_behind(struct feed *f, bool old) {
    struct str body = {f->body.p, f->body.len};
    struct h1_response how = {.framing = framing_for(f, old), .close = old,
                              .head_only = f->r.no_body,
                              .date = STR("Thu, 01 Jan 1970 00:00:00 GMT")};
    struct bufq tx;
    bufq_init(&tx, FEED_MAX, &feed_copies);
    h1_write_response(&tx, &f->head, &how);
    if (how.framing == H1_TX_CHUNKED) {
        feed_write_chunks(&tx, body, f->trailers.field_count > 0 ? &f->trailers : NULL);
    } else {
        bufq_copy(&tx, body.p, body.len);
    }
    struct str flat = feed_flat(&tx);
    ((char *)(uintptr_t)flat.p)[flat.len] = '\0';
    ensure(second_opinion(f->r.no_body, flat) == NAIVE_DONE && naive.used == flat.len);
    ensure(status_is(&f->head) && str_eq(naive.words[0], STR("HTTP/1.1")));
    ensure(str_eq((struct str){naive.body, naive.body_len}, body));
    ensure(naive.until_eof == (how.framing == H1_TX_CLOSE));
    ensure(naive.upgrades == 0 && naive.connections == (old ? 1 : 0));
    mem_free((char *)(uintptr_t)flat.p);
    bufq_fini(&tx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > FEED_MAX) {
        return 0;
    }
    feed_both(&feed, false, data[0], data + 1, (uint32_t)size - 1);
    if (feed.got_head && feed.r.phase != H1_BROKEN) {
        check_head(&feed);
        check_before(&feed, data + 1, (uint32_t)size - 1);
        /* A 101 opens a tunnel, which only who asked for it can write. */
        if (feed.head.status != 101 && (feed.r.phase == H1_END || feed.r.until_eof)) {
            head_drop_hop_by_hop(&feed.head);
            head_drop(&feed.head, FIELD_CONTENT_LENGTH);
            check_behind(&feed, false);
            check_behind(&feed, true);
        }
    }
    feed_end(&feed);
    return 0;
}
