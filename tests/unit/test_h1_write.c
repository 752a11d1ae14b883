/* Heads and chunks as they are written. */
#include "h1_lab.h"

struct page {
    struct h1_lab lab;
    struct arena arena;
    struct head head;
    struct bufq tx;
    char text[DUMP_MAX];
};

static int setup(void **state) {
    static struct page page;
    lab_init(&page.lab, true);
    arena_init(&page.arena, &page.lab.chunks);
    head_init(&page.head, &page.arena);
    bufq_init(&page.tx, 65536, &page.lab.copies);
    *state = &page;
    return 0;
}

static int teardown(void **state) {
    struct page *page = *state;
    bufq_fini(&page->tx);
    arena_fini(&page->arena);
    lab_fini(&page->lab);
    return 0;
}

static void add(struct page *page, const char *name, const char *value) {
    head_add(&page->head, field_id_of(str_of(name)), str_of(name), str_of(value));
}

static void assert_written(struct page *page, const char *want) {
    uint32_t len = bufq_read(&page->tx, page->text, DUMP_MAX - 1);
    page->text[len] = '\0';
    bufq_drop(&page->tx, len);
    assert_string_equal(page->text, want);
}

static void a_request(void **state) {
    struct page *page = *state;
    struct head *head = &page->head;
    head->method = METHOD_GET;
    head->method_name = STR("GET");
    head->target = STR("/a?b");
    add(page, "Accept", "*/*");
    add(page, "Connection", "close");
    add(page, "Host", "h:80");
    add(page, "Gone", "x");
    head->fields[3].dropped = true;
    add(page, "Content-Length", "99");
    add(page, "transfer-encoding", "chunked");
    add(page, "TE", "gzip");
    add(page, "Upgrade", "h2c");
    h1_write_request(&page->tx, head, false);
    assert_written(page, "GET /a?b HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\n\r\n");
    head->upgrade = STR("websocket");
    head->te_trailers = true;
    h1_write_request(&page->tx, head, false);
    assert_written(page, "GET /a?b HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\n"
                   "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    h1_write_request(&page->tx, head, true);
    assert_written(page, "GET /a?b HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\n"
                   "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    head->upgrade = STR("");
    h1_write_request(&page->tx, head, false);
    assert_written(page, "GET /a?b HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\n"
                   "TE: trailers\r\nConnection: TE\r\n\r\n");
    h1_write_request(&page->tx, head, true);
    assert_written(page, "GET /a?b HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\n"
                   "TE: trailers\r\nConnection: TE, close\r\n\r\n");
    head->te_trailers = false;
    h1_write_request(&page->tx, head, true);
    assert_written(page, "GET /a?b HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\n"
                   "Connection: close\r\n\r\n");
}

static void request_framing(void **state) {
    struct page *page = *state;
    struct head *head = &page->head;
    head->method = METHOD_POST;
    head->method_name = STR("POST");
    head->target = STR("/");
    head->authority = STR("h");
    h1_write_request(&page->tx, head, false);
    assert_written(page, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    head->body = BODY_LENGTH;
    head->length = UINT64_C(9999999999999999999);
    h1_write_request(&page->tx, head, false);
    assert_written(page, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999999999999\r\n\r\n");
    head->body = BODY_STREAM;
    h1_write_request(&page->tx, head, false);
    assert_written(page, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    head->body = BODY_NONE;
    head->method = METHOD_DELETE;
    head->method_name = STR("DELETE");
    h1_write_request(&page->tx, head, false);
    assert_written(page, "DELETE / HTTP/1.1\r\nHost: h\r\n\r\n");
    head->has_length = true;
    h1_write_request(&page->tx, head, false);
    assert_written(page, "DELETE / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
}

struct answer {
    uint16_t status;
    enum body_kind body;
    bool has_length;
    uint64_t length;
    struct h1_response how;
    const char *want;
};

/* By status, body and framing: what is told of the length (RFC 9110 8.6). */
static void response_framing(void **state) {
    struct page *page = *state;
    static const struct answer rows[] = {
        {200, BODY_LENGTH, true, 5, {.framing = H1_TX_LENGTH}, "200 OK\r\nContent-Length: 5\r\n"},
        {200, BODY_STREAM, false, 0, {.framing = H1_TX_CHUNKED},
         "200 OK\r\nTransfer-Encoding: chunked\r\n"},
        {200, BODY_STREAM, false, 0, {.framing = H1_TX_CLOSE, .close = true},
         "200 OK\r\nConnection: close\r\n"},
        {200, BODY_NONE, true, 0, {.framing = H1_TX_NONE}, "200 OK\r\nContent-Length: 0\r\n"},
        {200, BODY_NONE, true, 9, {.framing = H1_TX_NONE, .head_only = true},
         "200 OK\r\nContent-Length: 9\r\n"},
        {200, BODY_LENGTH, false, 9, {.framing = H1_TX_NONE, .head_only = true},
         "200 OK\r\nContent-Length: 9\r\n"},
        {200, BODY_NONE, false, 0, {.framing = H1_TX_NONE, .head_only = true}, "200 OK\r\n"},
        {304, BODY_NONE, true, 9, {.framing = H1_TX_NONE},
         "304 Not Modified\r\nContent-Length: 9\r\n"},
        {304, BODY_NONE, false, 0, {.framing = H1_TX_NONE}, "304 Not Modified\r\n"},
        {204, BODY_NONE, true, 9, {.framing = H1_TX_NONE, .close = true},
         "204 No Content\r\nConnection: close\r\n"},
        {205, BODY_NONE, false, 0, {.framing = H1_TX_NONE},
         "205 Reset Content\r\nContent-Length: 0\r\n"},
        {100, BODY_NONE, false, 0, {.framing = H1_TX_NONE}, "100 Continue\r\n"},
        {101, BODY_NONE, false, 0, {.framing = H1_TX_NONE, .close = true},
         "101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"},
        {599, BODY_NONE, false, 0, {.framing = H1_TX_NONE}, "599 \r\nContent-Length: 0\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct answer *row = &rows[i];
        struct head *head = &page->head;
        head->status = row->status;
        head->body = row->body;
        head->has_length = row->has_length;
        head->length = row->length;
        head->upgrade = row->status == 101 ? STR("websocket") : STR("");
        h1_write_response(&page->tx, head, &row->how);
        char want[256];
        snprintf(want, sizeof want, "HTTP/1.1 %s\r\n", row->want);
        assert_written(page, want);
    }
}

static void dates_and_reasons(void **state) {
    struct page *page = *state;
    struct head *head = &page->head;
    struct h1_response how = {.framing = H1_TX_NONE, .date = STR("today")};
    head->status = 200;
    head->reason = STR("Fine");
    h1_write_response(&page->tx, head, &how);
    assert_written(page, "HTTP/1.1 200 Fine\r\nDate: today\r\nContent-Length: 0\r\n\r\n");
    add(page, "date", "yesterday");
    add(page, "Set-Cookie", "a");
    add(page, "Set-Cookie", "b");
    h1_write_response(&page->tx, head, &how);
    assert_written(page, "HTTP/1.1 200 Fine\r\ndate: yesterday\r\nSet-Cookie: a\r\n"
                   "Set-Cookie: b\r\nContent-Length: 0\r\n\r\n");
}

/* The test's segments hold 256 bytes: heads go across many. */
static void long_heads(void **state) {
    struct page *page = *state;
    struct head *head = &page->head;
    char value[1000], want[4000];
    memset(value, 'v', sizeof value);
    head->status = 200;
    int len = snprintf(want, sizeof want, "HTTP/1.1 200 OK\r\n");
    for (uint32_t i = 1; i < 60; i++) {
        head_add(head, FIELD_OTHER, STR("X"), (struct str){value, i});
        len += snprintf(want + len, sizeof want - (size_t)len, "X: %.*s\r\n", (int)i, value);
    }
    head_add(head, FIELD_OTHER, STR("Y"), (struct str){value, 900});
    snprintf(want + len, sizeof want - (size_t)len, "Y: %.*s\r\nContent-Length: 0\r\n\r\n", 900,
             value);
    h1_write_response(&page->tx, head, &(struct h1_response){.framing = H1_TX_NONE});
    assert_written(page, want);
}

static void chunks(void **state) {
    struct page *page = *state;
    static const struct {
        uint32_t len;
        const char *want;
    } rows[] = {{1, "1\r\n"}, {15, "f\r\n"}, {16, "10\r\n"}, {0xabcdef12, "abcdef12\r\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        h1_write_chunk_line(&page->tx, rows[i].len);
        assert_written(page, rows[i].want);
    }
    h1_write_last_chunk(&page->tx, NULL);
    assert_written(page, "0\r\n\r\n");
    add(page, "X-Sum", "1");
    add(page, "Content-Length", "5");
    add(page, "Host", "evil");
    add(page, "Set-Cookie", "a");
    add(page, "Gone", "x");
    page->head.fields[4].dropped = true;
    h1_write_last_chunk(&page->tx, &page->head);
    assert_written(page, "0\r\nX-Sum: 1\r\n\r\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request, setup, teardown),
        cmocka_unit_test_setup_teardown(request_framing, setup, teardown),
        cmocka_unit_test_setup_teardown(response_framing, setup, teardown),
        cmocka_unit_test_setup_teardown(dates_and_reasons, setup, teardown),
        cmocka_unit_test_setup_teardown(long_heads, setup, teardown),
        cmocka_unit_test_setup_teardown(chunks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
