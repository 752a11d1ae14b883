/* Any bytes as a request: read the same however they are cut, and, where they are taken, read by
 * a careless server as the very same one request, before gyre and behind it. */
#include "base/mem.h"
#include "h1_feed.h"
#include "naive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct feed feed;
static struct naive naive;

/* Visible ASCII, which is what can not be taken for the end of a target. */
static bool is_visible(struct str s) {
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

static void check_line(const struct head *h) {
    ensure(h1_token_ok(h->method_name) && is_visible(h->target));
    ensure(h->method != METHOD_CONNECT && h->method != METHOD_TRACE);
    ensure(h->target.len > 0 && memchr(h->target.p, '#', h->target.len) == NULL);
    ensure(h->target.p[0] == '/' || (str_eq(h->target, STR("*")) && h->method == METHOD_OPTIONS));
    ensure(str_starts(h->target, h->path) && memchr(h->path.p, '?', h->path.len) == NULL);
    ensure(h->path.len == h->target.len || h->target.p[h->path.len] == '?');
}

static void check_host(const struct head *h) {
    const struct field *host = head_find(h, FIELD_HOST);
    ensure(host != NULL || h->minor == 0);
    ensure(host == NULL || str_eq(host->value, h->authority));
    ensure(h->authority.len > 0 || h->minor == 0);
    ensure(is_visible(h->authority));
    for (uint32_t i = 0; i < h->authority.len; i++) {
        ensure(strchr("/?#@\\\"<>{}|^`,", h->authority.p[i]) == NULL ||
               h->authority.p[i] == ',');
    }
}

static void check_head(const struct feed *f) {
    const struct head *h = &f->head;
    check_line(h);
    check_host(h);
    ensure(!f->r.until_eof && h->keep_alive <= h->minor);
    ensure(h->body != BODY_NONE || (h->length == 0 && feed_count(h, FIELD_TRANSFER_ENCODING) == 0));
    ensure(h->length <= f->limits.body_bytes_max && f->body.len <= f->limits.body_bytes_max);
    ensure(!h->expect_continue || (h->minor == 1 && h->body != BODY_NONE));
    ensure(h->upgrade.len == 0 || (h->minor == 1 && h->body == BODY_NONE));
    struct str protocol = h->upgrade;
    for (uint32_t i = 0; i < protocol.len; i++) {
        protocol.len = protocol.p[i] == '/' ? i : protocol.len;
    }
    ensure(!str_eq_fold(protocol, STR("h2c")) && is_visible(h->upgrade));
}

/* What has come is one request of the same method and body, and ends at the same byte. */
static void check_before(const struct feed *f, const uint8_t *bytes, uint32_t size) {
    char *flat = mem_copy((const char *)bytes, size);
    memset(&naive, 0, offsetof(struct naive, body));
    naive.request = true;
    enum naive_result result = naive_read(&naive, (struct str){flat, size});
    if (f->r.phase == H1_END) {
        ensure(result == NAIVE_DONE && naive.used == f->taken);
        ensure(str_eq(naive.words[0], f->head.method_name));
        ensure(str_eq((struct str){naive.body, naive.body_len},
                      (struct str){f->body.p, f->body.len}));
    } else {
        ensure(result == NAIVE_SHORT);
    }
    mem_free(flat);
}

/* What gyre sends on is one request, of the same meaning, to its last byte. */
static void check_behind(struct feed *f) {
    struct str body = {f->body.p, f->body.len};
    struct head *h = &f->head;
    struct bufq tx;
    bufq_init(&tx, FEED_MAX, &feed_copies);
    head_drop_hop_by_hop(h);
    head_drop(h, FIELD_CONTENT_LENGTH);
    h1_write_request(&tx, h, false);
    if (h->body == BODY_STREAM) {
        feed_write_chunks(&tx, body, f->trailers.field_count > 0 ? &f->trailers : NULL);
    } else {
        bufq_copy(&tx, body.p, body.len);
    }
    struct str flat = feed_flat(&tx);
    ((char *)(uintptr_t)flat.p)[flat.len] = '\0';
    memset(&naive, 0, offsetof(struct naive, body));
    naive.request = naive.cgi = true;
    ensure(naive_read(&naive, flat) == NAIVE_DONE && naive.used == flat.len);
    ensure(str_eq(naive.words[0], h->method_name) && str_eq(naive.words[1], h->target));
    ensure(str_eq(naive.words[2], STR("HTTP/1.1")));
    ensure(naive.hosts == 1 && str_eq(naive.host, h->authority));
    ensure(str_eq((struct str){naive.body, naive.body_len}, body));
    ensure(naive.chunked == (h->body == BODY_STREAM));
    ensure(naive.upgrades == (h->upgrade.len > 0) && str_eq(naive.upgrade, h->upgrade));
    ensure(naive.connections == (uint32_t)(h->upgrade.len > 0 || h->te_trailers));
    mem_free((char *)(uintptr_t)flat.p);
    bufq_fini(&tx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > FEED_MAX) {
        return 0;
    }
    feed_both(&feed, true, data[0], data + 1, (uint32_t)size - 1);
    if (feed.got_head && feed.r.phase != H1_BROKEN) {
        check_head(&feed);
        check_before(&feed, data + 1, (uint32_t)size - 1);
        if (feed.r.phase == H1_END) {
            check_behind(&feed);
        }
    }
    feed_end(&feed);
    return 0;
}
