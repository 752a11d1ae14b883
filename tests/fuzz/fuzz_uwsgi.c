/* Any bytes as a request that goes to a server that speaks uwsgi: what is taken becomes a packet
 * that a careful reader takes apart again, every variable once and with the value it must have. */
#include <stdio.h>

#include "base/mem.h"
#include "h1_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PACKET_MAX 65539u

static struct feed feed;
static char packet[PACKET_MAX], want[PACKET_MAX];

struct var {
    struct str name, value;
};
static struct var vars[2048];
static uint32_t var_count;

/* --- A reader of packets ------------------------------------------------------------------ */

static struct str take_string(uint32_t *at, uint32_t end) {
    ensure(end - *at >= 2);
    uint32_t len = (uint8_t)packet[*at] + 256u * (uint8_t)packet[*at + 1];
    struct str s = {packet + *at + 2, len};
    ensure(len <= end - *at - 2);
    *at += len + 2;
    return s;
}

static void read_packet(uint32_t size) {
    uint32_t at = 4;
    ensure(size >= 4 && packet[0] == 0 && packet[3] == 0);
    ensure((uint8_t)packet[1] + 256u * (uint8_t)packet[2] == size - 4);
    for (var_count = 0; at < size; var_count++) {
        struct var *v = &vars[var_count];
        v->name = take_string(&at, size);
        v->value = take_string(&at, size);
        ensure(v->name.len > 0);
        for (uint32_t i = 0; i < var_count; i++) {
            ensure(!str_eq(vars[i].name, v->name));
        }
    }
}

static struct str value_of(struct str name) {
    for (uint32_t i = 0; i < var_count; i++) {
        if (str_eq(vars[i].name, name)) {
            return vars[i].value;
        }
    }
    ensure(false);
    return name;
}

/* --- What must be there ------------------------------------------------------------------- */

static bool is_forwarded(const struct field *f) {
    static const char *const never[] = {"proxy", "expect", "content-type", "content-length", "te",
                                        "connection", "keep-alive", "proxy-connection", "upgrade",
                                        "transfer-encoding", "http2-settings"};
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
        if (str_eq_fold(f->name, str_of(never[i]))) {
            return false;
        }
    }
    return !f->dropped && memchr(f->name.p, '_', f->name.len) == NULL;
}

/* HTTP_X_Y, letters in upper case, for x-y. */
static bool is_name_of(struct str name, const struct field *f) {
    bool same = name.len == f->name.len + 5 && memcmp(name.p, "HTTP_", 5) == 0;
    for (uint32_t i = 0; same && i < f->name.len; i++) {
        char c = f->name.p[i], v = name.p[i + 5];
        bool lower = c >= 'a' && c <= 'z';
        same = c == '-' ? v == '_' : v == (lower ? c - 32 : c);
    }
    return same;
}

static struct str join(const struct head *h, struct str name) {
    struct text text = text_on(want, sizeof want);
    bool any = false;
    for (uint32_t i = 0; i < h->field_count; i++) {
        const struct field *f = &h->fields[i];
        if (is_forwarded(f) && is_name_of(name, f)) {
            text_str(&text, !any ? STR("") : str_eq(name, STR("HTTP_COOKIE")) ? STR("; ")
                                                                              : STR(", "));
            text_str(&text, f->value);
            any = true;
        }
    }
    ensure(any && !text.cut);
    return (struct str){want, text.len};
}

static void check_fields(const struct head *h) {
    uint32_t of_fields = 0;
    for (uint32_t i = 0; i < var_count; i++) {
        if (str_starts(vars[i].name, STR("HTTP_"))) {
            ensure(str_eq(vars[i].value, join(h, vars[i].name)));
            of_fields++;
        }
    }
    ensure(var_count - of_fields == 13);
    for (uint32_t i = 0; i < h->field_count; i++) {
        bool found = !is_forwarded(&h->fields[i]);
        for (uint32_t k = 0; k < var_count; k++) {
            found = found || is_name_of(vars[k].name, &h->fields[i]);
        }
        ensure(found);
    }
}

static struct str decode(struct str path) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    struct str made = {want, 0};
    for (uint32_t i = 0; i < path.len; i++) {
        const char *a = NULL, *b = NULL;
        if (path.p[i] == '%' && i + 2 < path.len) {
            a = memchr(digits, path.p[i + 1], 32);
            b = memchr(digits, path.p[i + 2], 32);
        }
        want[made.len++] = a && b ? (char)((a - digits) % 16 * 16 + (b - digits) % 16) : path.p[i];
        i += a && b ? 2 : 0;
    }
    return made;
}

static void check_request(const struct head *h) {
    char length[24] = "";
    struct str rest = {h->path.p + h->script_name.len, h->path.len - h->script_name.len};
    if (h->body == BODY_LENGTH || h->has_length) {
        snprintf(length, sizeof length, "%llu", (unsigned long long)h->length);
    }
    ensure(str_eq(value_of(STR("REQUEST_METHOD")), h->method_name));
    ensure(str_eq(value_of(STR("REQUEST_URI")), h->target));
    ensure(str_eq(value_of(STR("SCRIPT_NAME")), decode(h->script_name)));
    ensure(str_eq(value_of(STR("PATH_INFO")), decode(rest)));
    ensure(str_eq(value_of(STR("CONTENT_LENGTH")), str_of(length)));
    struct str query = value_of(STR("QUERY_STRING")), name = value_of(STR("SERVER_NAME"));
    ensure(query.len == 0 ? h->target.len - h->path.len <= 1
                          : h->target.len == h->path.len + 1 + query.len &&
                                str_eq(query, (struct str){h->target.p + h->path.len + 1, query.len}));
    ensure(name.len > 0 && (h->authority.len == 0 || str_starts(h->authority, name)));
    ensure(memchr(name.p, ':', name.len) == NULL || name.p[0] == '[');
}

static bool has_nul(const struct head *h) {
    struct str first = decode(h->script_name);
    bool nul = memchr(first.p, 0, first.len) != NULL;
    struct str rest = decode((struct str){h->path.p + h->script_name.len,
                                          h->path.len - h->script_name.len});
    return nul || memchr(rest.p, 0, rest.len) != NULL;
}

/* Where the app stands is of no meaning to the writer: any part of the path. */
static void check_packet(struct feed *f, uint8_t luck) {
    static const struct conn_facts conn = {.client = {.family = AF_INET, .port = 1}};
    struct head *h = &f->head;
    struct bufq tx;
    bufq_init(&tx, FEED_MAX, &feed_copies);
    head_drop_hop_by_hop(h);
    h->conn = &conn;
    h->script_name = (struct str){h->path.p, luck % (h->path.len + 1)};
    if (h->body == BODY_STREAM) {   /* as it is where it was taken whole */
        h->body = BODY_LENGTH;
        h->length = f->body.len;
    }
    bool refused = uwsgi_write_request(&tx, h, &f->arena) != 0;
    uint32_t size = bufq_read(&tx, packet, sizeof packet);
    ensure(size == tx.bytes && refused == has_nul(h) && (size == 0) == refused);
    if (!refused) {
        read_packet(size);
        check_request(h);
        check_fields(h);
    }
    bufq_fini(&tx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > FEED_MAX) {
        return 0;
    }
    feed_read(&feed, true, data[0], true, data + 1, (uint32_t)size - 1);
    if (feed.got_head && feed.r.phase != H1_BROKEN) {
        check_packet(&feed, data[0]);
    }
    feed_end(&feed);
    return 0;
}
