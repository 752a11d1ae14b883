/* uwsgi packets, byte by byte. */
#include "h1_lab.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define PACKET_BYTES (80u * 1024u)

struct page {
    struct h1_lab lab;
    struct arena arena;
    struct conn_facts conn;
    struct head head;
    struct bufq tx;
    char packet[PACKET_BYTES];
    uint32_t packet_len;
    char text[PACKET_BYTES];   /* the variables, a line each */
};

static void endpoint_set(struct endpoint *endpoint, const char *ip, uint16_t port) {
    *endpoint = (struct endpoint){.family = AF_INET, .port = port};
    inet_pton(AF_INET, ip, endpoint->ip);
}

static void target_set(struct page *page, const char *target) {
    page->head.target = str_of(target);
    page->head.path = (struct str){target, (uint32_t)strcspn(target, "?")};
}

static int setup(void **state) {
    static struct page page;
    memset(&page, 0, sizeof page);
    lab_init(&page.lab, true);
    arena_init(&page.arena, &page.lab.chunks);
    head_init(&page.head, &page.arena);
    bufq_init(&page.tx, 65536, &page.lab.copies);
    endpoint_set(&page.conn.client, "192.0.2.7", 40000);
    page.conn.local.port = 8080;
    page.head.conn = &page.conn;
    page.head.method = METHOD_GET;
    page.head.method_name = STR("GET");
    page.head.authority = STR("h:80");
    target_set(&page, "/a?b");
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

static enum refusal make(struct page *page) {
    enum refusal why = uwsgi_write_request(&page->tx, &page->head, &page->arena);
    page->packet_len = bufq_read(&page->tx, page->packet, sizeof page->packet);
    bufq_drop(&page->tx, page->packet_len);
    assert_int_equal(page->tx.bytes, 0);
    return why;
}

/* --- A reader of packets that shares nothing with the writer ------------------------------------- */

static uint32_t u16_at(const struct page *page, uint32_t at) {
    assert_true(at + 2 <= page->packet_len);
    return (uint8_t)page->packet[at] | (uint32_t)(uint8_t)page->packet[at + 1] << 8;
}

/* NAME=value, a line each; what can not be seen as \xx. */
static const char *read_vars(struct page *page) {
    assert_true(page->packet_len >= 4);
    assert_int_equal(page->packet[0], 0);
    assert_int_equal(u16_at(page, 1), page->packet_len - 4);
    assert_int_equal(page->packet[3], 0);
    struct text text = text_on(page->text, sizeof page->text);
    bool name = true;
    for (uint32_t at = 4; at < page->packet_len; name = !name) {
        uint32_t len = u16_at(page, at);
        at += 2;
        assert_true(len <= page->packet_len - at);
        assert_true(!name || len > 0);
        for (uint32_t i = 0; i < len; i++, at++) {
            char c = page->packet[at];
            if ((unsigned char)c < ' ' || c == 0x7f) {
                text_fmt(&text, "\\%02x", (uint8_t)c);
            } else {
                text_char(&text, c);
            }
        }
        text_char(&text, name ? '=' : '\n');
    }
    assert_true(name);
    text_char(&text, '\0');
    assert_false(text.cut);
    return page->text;
}

/* The value of one variable, of which there is exactly one; NULL: there is none. */
static const char *var(struct page *page, const char *name) {
    static char value[PACKET_BYTES];
    const char *found = NULL;
    for (const char *line = read_vars(page); *line != '\0'; line = strchr(line, '\n') + 1) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == '=') {
            assert_null(found);
            found = line + strlen(name) + 1;
        }
    }
    if (found == NULL) {
        return NULL;
    }
    memcpy(value, found, strcspn(found, "\n"));
    value[strcspn(found, "\n")] = '\0';
    return value;
}

static const char *made(struct page *page, const char *name) {
    assert_int_equal(make(page), REFUSE_NONE);
    return var(page, name);
}

/* --- Tests --------------------------------------------------------------------------------------- */

static void every_byte(void **state) {
    struct page *page = *state;
    static const char want[] =
        "\0\x32\x01\0"
        "\x0c\0QUERY_STRING" "\x01\0" "b"
        "\x0e\0REQUEST_METHOD" "\x03\0" "GET"
        "\x0b\0REQUEST_URI" "\x04\0" "/a?b"
        "\x0b\0SCRIPT_NAME" "\0\0"
        "\x09\0PATH_INFO" "\x02\0" "/a"
        "\x0c\0CONTENT_TYPE" "\0\0"
        "\x0e\0CONTENT_LENGTH" "\0\0"
        "\x0f\0SERVER_PROTOCOL" "\x08\0" "HTTP/1.1"
        "\x0b\0SERVER_NAME" "\x01\0" "h"
        "\x0b\0SERVER_PORT" "\x04\0" "8080"
        "\x0e\0REQUEST_SCHEME" "\x04\0" "http"
        "\x0b\0REMOTE_ADDR" "\x09\0" "192.0.2.7"
        "\x0b\0REMOTE_PORT" "\x05\0" "40000"
        "\x09\0HTTP_HOST" "\x04\0" "h:80"
        "\x10\0HTTP_X_REAL_NAME" "\x05\0" "gy re"
        "\x0b\0HTTP_ACCEPT" "\0\0";
    add(page, "Host", "h:80");
    add(page, "x-Real-naMe", "gy re");
    add(page, "Accept", "");
    assert_int_equal(make(page), REFUSE_NONE);
    assert_int_equal(page->packet_len, sizeof want - 1);
    assert_memory_equal(page->packet, want, sizeof want - 1);
}

static void a_body_over_tls(void **state) {
    struct page *page = *state;
    page->head.method_name = STR("POST");
    page->head.body = BODY_LENGTH;
    page->head.length = UINT64_C(9999999999999999999);
    page->head.minor = 0;
    page->conn.tls = (struct tls *)page;   /* that there is one is all that matters */
    add(page, "Content-Type", "text/plain");
    add(page, "Content-Length", "17");
    assert_int_equal(make(page), REFUSE_NONE);
    assert_string_equal(read_vars(page),
        "QUERY_STRING=b\nREQUEST_METHOD=POST\nREQUEST_URI=/a?b\nSCRIPT_NAME=\nPATH_INFO=/a\n"
        "CONTENT_TYPE=text/plain\nCONTENT_LENGTH=9999999999999999999\nSERVER_PROTOCOL=HTTP/1.0\n"
        "SERVER_NAME=h\nSERVER_PORT=8080\nREQUEST_SCHEME=https\nHTTPS=on\nREMOTE_ADDR=192.0.2.7\n"
        "REMOTE_PORT=40000\n");
    page->head.length = 0;
    assert_string_equal(made(page, "CONTENT_LENGTH"), "0");
    page->head.body = BODY_NONE;
    page->head.has_length = true;
    assert_string_equal(made(page, "CONTENT_LENGTH"), "0");
}

static void paths(void **state) {
    struct page *page = *state;
    static const struct {
        const char *target, *script_name, *got_script, *got_path, *got_query;
    } rows[] = {
        {"/", "", "", "/", ""},
        {"/?", "", "", "/", ""},
        {"/a/b?c=d?e&f", "", "", "/a/b", "c=d?e&f"},
        {"/%61/%2F%2f?%61", "", "", "/a///", "%61"},
        {"/%C3%bc", "", "", "/\xc3\xbc", ""},
        {"/%ff%80", "", "", "/\xff\x80", ""},
        {"/%0d%0aX:%20y", "", "", "/\\0d\\0aX: y", ""},
        {"/%2500%25", "", "", "/%00%", ""},                /* decoded once */
        {"/%", "", "", "/%", ""},
        {"/%4", "", "", "/%4", ""},
        {"/%zz%4g%g4%%41", "", "", "/%zz%4g%g4%A", ""},
        {"/a/../b//./c;d", "", "", "/a/../b//./c;d", ""},  /* as every WSGI server has it */
        {"/a+b", "", "", "/a+b", ""},
        {"*", "", "", "*", ""},
        {"/app/x%20y?q", "/app", "/app", "/x y", "q"},
        {"/app/", "/app", "/app", "/", ""},
        {"/app?q", "/app", "/app", "", "q"},
        {"/%61pp/x", "/%61pp", "/app", "/x", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        target_set(page, rows[i].target);
        page->head.script_name = (struct str){page->head.path.p,
                                              (uint32_t)strlen(rows[i].script_name)};
        assert_string_equal(made(page, "REQUEST_URI"), rows[i].target);
        assert_string_equal(var(page, "SCRIPT_NAME"), rows[i].got_script);
        assert_string_equal(var(page, "PATH_INFO"), rows[i].got_path);
        assert_string_equal(var(page, "QUERY_STRING"), rows[i].got_query);
    }
}

static void no_nul_in_a_path(void **state) {
    struct page *page = *state;
    static const char *const targets[] = {"/%00", "/a%00b?c", "/%%00", "/%0%00"};
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        target_set(page, targets[i]);
        assert_int_equal(make(page), REFUSE_PATH_NUL);
        assert_int_equal(page->packet_len, 0);
    }
    target_set(page, "/a?%00");
    assert_string_equal(made(page, "QUERY_STRING"), "%00");
}

static void fields_of_one_name(void **state) {
    struct page *page = *state;
    add(page, "Cookie", "a=1");
    add(page, "X-A", "1");
    add(page, "Content-Type", "text/a");
    add(page, "x-a", "2");
    add(page, "Forwarded", "for=a");
    add(page, "X-Ab", "other");
    add(page, "COOKIE", "b=2; c");
    add(page, "X-A", "gone");
    page->head.fields[7].dropped = true;
    add(page, "X-a", "");
    add(page, "content-type", "text/b");
    add(page, "forwarded", "for=b");
    assert_string_equal(made(page, "HTTP_COOKIE"), "a=1; b=2; c");
    assert_string_equal(var(page, "HTTP_X_A"), "1, 2, ");
    assert_string_equal(var(page, "HTTP_X_AB"), "other");
    assert_string_equal(var(page, "HTTP_FORWARDED"), "for=a, for=b");
    assert_string_equal(var(page, "CONTENT_TYPE"), "text/a, text/b");
    assert_null(var(page, "HTTP_CONTENT_TYPE"));
}

static void a_first_field_that_was_dropped(void **state) {
    struct page *page = *state;
    add(page, "X-Real-IP", "1.2.3.4");
    page->head.fields[0].dropped = true;
    add(page, "X-Real-IP", "192.0.2.7");
    assert_string_equal(made(page, "HTTP_X_REAL_IP"), "192.0.2.7");
}

static void fields_that_end_here(void **state) {
    struct page *page = *state;
    static const char *const names[] = {
        "Proxy", "PROXY", "proxy", "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade",
        "Transfer-Encoding", "HTTP2-Settings", "Expect", "Content-Length", "X_Real_IP",
        "X-Real_IP", "_", "Content_Length", "Transfer_Encoding", "Cookie_"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        add(page, names[i], "evil");
    }
    page->head.te_trailers = true;
    page->head.upgrade = STR("websocket");
    assert_int_equal(make(page), REFUSE_NONE);
    assert_null(strstr(read_vars(page), "HTTP_"));
    assert_null(strstr(page->text, "evil"));
    /* But what only looks like them goes on. */
    add(page, "Proxy-Authorization", "a");
    add(page, "Proxy-", "b");
    add(page, "Http-Proxy", "c");
    add(page, "!#$%&'*+.^`|~", "d");
    assert_string_equal(made(page, "HTTP_PROXY_AUTHORIZATION"), "a");
    assert_string_equal(var(page, "HTTP_PROXY_"), "b");
    assert_string_equal(var(page, "HTTP_HTTP_PROXY"), "c");
    assert_string_equal(var(page, "HTTP_!#$%&'*+.^`|~"), "d");
    assert_null(var(page, "HTTP_PROXY"));
}

static void names_and_ports(void **state) {
    struct page *page = *state;
    static const struct {
        const char *authority;
        uint16_t local_port;
        bool tls;
        const char *name, *port;
    } rows[] = {
        {"h", 80, false, "h", "80"},
        {"Example.ORG:81", 8443, true, "Example.ORG", "8443"},
        {"[::1]:81", 80, false, "[::1]", "80"},
        {"[::1]", 80, false, "[::1]", "80"},
        {"h:", 80, false, "h", "80"},
        {"", 80, false, "localhost", "80"},          /* HTTP/1.0 without Host */
        {"h:81", 0, false, "h", "81"},               /* by a unix socket */
        {"h", 0, false, "h", "80"},
        {"h:", 0, true, "h", "443"},
        {"[::1]", 0, true, "[::1]", "443"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        page->head.authority = str_of(rows[i].authority);
        page->conn.local.port = rows[i].local_port;
        page->conn.tls = rows[i].tls ? (struct tls *)page : NULL;
        assert_string_equal(made(page, "SERVER_NAME"), rows[i].name);
        assert_string_equal(var(page, "SERVER_PORT"), rows[i].port);
    }
    page->conn.client = (struct endpoint){.family = AF_INET6, .port = 1, .ip = {[15] = 1}};
    assert_string_equal(made(page, "REMOTE_ADDR"), "::1");
    assert_string_equal(var(page, "REMOTE_PORT"), "1");
    page->conn.client = (struct endpoint){.family = AF_UNIX};
    assert_string_equal(made(page, "REMOTE_ADDR"), "unix");
    assert_null(var(page, "REMOTE_PORT"));
}

/* The largest packet that there is, and one byte more. */
static void the_largest(void **state) {
    struct page *page = *state;
    assert_int_equal(make(page), REFUSE_NONE);
    uint32_t left = 65535 - (page->packet_len - 4) - (2 + sizeof "HTTP_X" - 1 + 2);
    char *value = malloc(left + 1);
    assert_non_null(value);
    memset(value, 'v', left + 1);
    struct field *f = head_add(&page->head, FIELD_OTHER, STR("X"), (struct str){value, left + 1});
    assert_int_equal(make(page), REFUSE_PACKET_TOO_LARGE);
    assert_int_equal(page->packet_len, 0);
    f->value.len = left;
    assert_int_equal(strlen(made(page, "HTTP_X")), left);
    assert_int_equal(page->packet_len, 65535 + 4);
    /* What would wrap round 16 bits to a small size does not. */
    f->value.len = left / 2;
    for (int i = 0; i < 3; i++) {
        head_add(&page->head, FIELD_OTHER, STR("X"), (struct str){value, left / 2});
    }
    assert_int_equal(make(page), REFUSE_PACKET_TOO_LARGE);
    assert_int_equal(page->packet_len, 0);
    free(value);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_over_tls, setup, teardown),
        cmocka_unit_test_setup_teardown(paths, setup, teardown),
        cmocka_unit_test_setup_teardown(no_nul_in_a_path, setup, teardown),
        cmocka_unit_test_setup_teardown(fields_of_one_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_first_field_that_was_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(fields_that_end_here, setup, teardown),
        cmocka_unit_test_setup_teardown(names_and_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(the_largest, setup, teardown),
    };
    return cmocka_run_group_tests_name("uwsgi", tests, NULL, NULL);
}
