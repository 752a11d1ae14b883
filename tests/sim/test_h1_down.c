/* Sessions and streams with clients, on the simulated ring: the owner is a small application, the
 * client is a script. Each script must give the same bytes however they travel.
 * Long by its tables. */
#include "h1_world.h"

#define LOG_MAX 4096

/* --- The application: what it does is in the path ------------------------------------------------ */

struct server {
    struct h1_world world;
    struct addr addr;
    int fd;
    struct connection_limit limit;
    struct listener *listener;
    struct task accepting, arriving;
    struct inbox inbox;
    char log_text[LOG_MAX];
    struct text log;               /* one word or two for each stream */
};

struct app {
    struct server *server;
    struct stream *st;
    struct task task;
    struct head *request;
    struct stream *local;
    uint32_t sent;
    bool answered, ended;
};

static void app_done(struct app *a, enum close_reason why) {
    text_fmt(&a->server->log, "%s%s ", a->st->why != CLOSE_NONE ? close_word(a->st->why) : "ok",
             a->st->rx_ended ? "" : "/half");
    if (a->local != NULL) {
        a->local->ops->release(a->local, CLOSE_NONE);
    }
    a->st->ops->release(a->st, why);
    task_cancel(a->server->world.ring, &a->task);
    mem_free(a);
}

static bool app_path(const struct app *a, const char *path) {
    return str_eq(a->request->path, str_of(path));
}

static void app_head(struct app *a, uint16_t status, enum body_kind body, uint64_t length) {
    struct head head;
    head_init(&head, &a->st->arena);
    head.status = status;
    head.body = body;
    head.has_length = body == BODY_LENGTH;
    head.length = length;
    if (status == 101) {
        head.upgrade = a->request->upgrade;
    }
    head_add(&head, FIELD_DATE, STR("Date"), STR("d"));
    a->st->ops->send_head(a->st, &head);
    a->answered = a->answered || status >= 200 || status == 101;
}

static void app_text(struct app *a, const char *text) {
    if (text[0] != '\0') {
        bufq_copy(&a->st->tx, text, (uint32_t)strlen(text));
    }
}

static void app_end(struct app *a) {
    a->st->tx_end = true;
    a->ended = true;
    a->st->ops->push(a->st, NULL);
}

static void app_answer(struct app *a, uint16_t status, const char *body) {
    app_head(a, status, BODY_LENGTH, strlen(body));
    app_text(a, body);
    app_end(a);
}

/* Sends back what comes, as it comes. */
/* Begins when it has all, or as much as fits: who answers before the body is whole ends the
 * connection. */
static void app_echo(struct app *a) {
    struct stream *st = a->st;
    if (!a->answered) {
        if (a->request->body != BODY_NONE && !st->rx_ended && bufq_room(&st->rx) > 0) {
            return;
        }
        if (a->request->body == BODY_NONE) {
            app_answer(a, 200, "hello");
            return;
        }
        app_head(a, 200, a->request->body, a->request->length);
    }
    uint32_t moved = bufq_move(&st->tx, &st->rx, bufq_room(&st->tx));
    if (st->rx_ended && st->rx.bytes == 0) {
        st->tx_end = a->ended = true;
    }
    if (moved > 0 || a->ended) {
        st->ops->push(st, st->trailers);
        st->ops->pull(st);
    }
}

static void app_big(struct app *a) {
    struct stream *st = a->st;
    const uint32_t total = 300000;
    if (!a->answered) {
        app_head(a, 200, BODY_STREAM, 0);
    }
    while (a->sent < total && bufq_room(&st->tx) > 0) {
        char piece[1000];
        memset(piece, 'a' + a->sent / 1000 % 26, sizeof piece);
        bufq_copy(&st->tx, piece, sizeof piece);
        a->sent += sizeof piece;
        a->ended = st->tx_end = a->sent == total;
        st->ops->push(st, NULL);
    }
}

static void app_local(struct app *a) {
    a->local = local_stream_new(&a->server->world.http, 404, NULL, &a->task);
    struct head *head = stream_take_head(a->local);
    head_add(head, FIELD_DATE, STR("Date"), STR("d"));
    a->st->ops->send_head(a->st, head);
    bufq_move(&a->st->tx, &a->local->rx, UINT32_MAX);
    app_end(a);
}

static void app_tunnel(struct app *a) {
    struct stream *st = a->st;
    if (!a->answered) {
        app_head(a, 101, BODY_NONE, 0);
        st->ops->tunnel(st);
        app_text(a, "<welcome>");
        st->ops->push(st, NULL);
        return;
    }
    bool bye = app_path(a, "/bye") && st->rx.bytes > 0;
    bufq_move(&st->tx, &st->rx, UINT32_MAX);
    st->ops->pull(st);
    if (!a->ended && (st->rx_ended || bye)) {
        app_end(a);
    } else if (!a->ended) {
        st->ops->push(st, NULL);
    }
}

/* False when the stream is gone. */
static bool app_first(struct app *a) {
    if (app_path(a, "/cut") || app_path(a, "/cut-chunks") || app_path(a, "/short")) {
        app_head(a, 200, app_path(a, "/cut-chunks") ? BODY_STREAM : BODY_LENGTH, 100);
        app_text(a, "part");
        a->st->tx_end = app_path(a, "/short");
        a->st->ops->push(a->st, NULL);
    } else if (app_path(a, "/early")) {
        app_answer(a, 200, "early");
    } else if (app_path(a, "/continue")) {
        app_head(a, 100, BODY_NONE, 0);
    } else if (app_path(a, "/hints")) {
        app_head(a, 103, BODY_NONE, 0);
        app_answer(a, 200, "x");
    } else if (app_path(a, "/204") || app_path(a, "/304")) {
        app_head(a, app_path(a, "/204") ? 204 : 304, BODY_NONE, 0);
        app_end(a);
    } else if (app_path(a, "/gone")) {
        app_done(a, CLOSE_NO_ROUTE);
        return false;
    } else if (app_path(a, "/local")) {
        app_local(a);
    }
    return true;
}

static void app_serve(struct app *a) {
    if (app_path(a, "/echo") || app_path(a, "/continue")) {
        app_echo(a);
    } else if (app_path(a, "/big")) {
        app_big(a);
    } else if (app_path(a, "/tunnel") || app_path(a, "/bye")) {
        app_tunnel(a);
    } else if (app_path(a, "/read") && !a->answered) {
        uint32_t bytes = a->st->rx.bytes;
        bufq_drop(&a->st->rx, bytes);
        if (a->st->rx_ended) {
            app_answer(a, 200, "read");
        } else if (bytes > 0) {
            a->st->ops->pull(a->st);
        }
    }
}

static bool app_lost(struct app *a) {
    if (a->answered) {
        app_done(a, a->st->why);
        return true;
    }
    switch (a->st->why) {
    case CLOSE_BODY_TIMEOUT:
        app_answer(a, 408, "slow");
        return false;
    case CLOSE_BODY_TOO_LARGE:
        app_answer(a, 413, "big");
        return false;
    case CLOSE_BAD_REQUEST:
        app_answer(a, 400, "bad");
        return false;
    default:
        app_done(a, a->st->why);
        return true;
    }
}

static void app_run(struct task *task) {
    struct app *a = container_of(task, struct app, task);
    struct stream *st = a->st;
    if ((st->ready & STREAM_HEAD) != 0) {
        a->request = stream_take_head(st);
        if (a->request->refuse != 0) {
            app_answer(a, a->request->refuse, "no");
        } else if (!app_first(a)) {
            return;
        }
    }
    if ((st->ready & STREAM_LOST) != 0 && !a->ended && app_lost(a)) {
        return;
    }
    if (!a->ended) {
        app_serve(a);
    }
    bool cut = a->answered && (app_path(a, "/cut") || app_path(a, "/cut-chunks"));
    if (cut || (a->answered && app_path(a, "/short"))) {
        app_done(a, cut ? CLOSE_BACKEND_CUT : CLOSE_NONE);
    } else if (a->ended && (st->ready & (STREAM_SENT | STREAM_LOST)) != 0 &&
               ((st->ready & STREAM_SENT) != 0 || st->why == CLOSE_CLIENT_GONE)) {
        app_done(a, CLOSE_NONE);
    }
}

static void arriving_run(struct task *task) {
    struct server *s = container_of(task, struct server, arriving);
    struct stream *st;
    while ((st = inbox_pop(&s->inbox)) != NULL) {
        struct app *a = mem_zero(sizeof *a);
        a->server = s;
        a->st = st;
        task_init(&a->task, app_run);
        st->owner = &a->task;
        task_wake(s->world.ring, &a->task);
    }
}

static void accepting_run(struct task *task) {
    struct server *s = container_of(task, struct server, accepting);
    int fd;
    while ((fd = listener_take(s->listener)) >= 0) {
        struct down_params params = {
            .wire = {.fd = fd, .limits = &s->world.limits.wire, .limit = &s->limit},
            .limits = &s->world.limits, .inbox = &s->inbox, .local.port = 80,
        };
        assert_true(h1_down_new(&s->world.http, &params));
    }
}

static void server_init(struct server *s, uint64_t seed, enum travel travel) {
    memset(s, 0, sizeof *s);
    world_init(&s->world, seed, travel);
    const char *why;
    assert_true(addr_parse(&s->addr, STR("10.0.0.1:80"), &why));
    s->fd = sys_listen(&s->addr, false, 16);
    assert_true(s->fd >= 0);
    s->limit.max = 100;
    s->log = text_on(s->log_text, LOG_MAX - 1);
    task_init(&s->accepting, accepting_run);
    task_init(&s->arriving, arriving_run);
    list_init(&s->inbox.streams);
    s->inbox.task = &s->arriving;
    s->listener = listener_new(&s->world.net, s->fd, &s->limit, &s->accepting);
}

static void server_fini(struct server *s) {
    listener_shut(s->listener);
    http_kill(&s->world.http, CLOSE_DRAIN);
    world_sleep(&s->world, 100);
    assert_int_equal(sys_close(s->fd), 0);
    world_fini(&s->world);
    assert_int_equal(s->limit.count, 0);
}

/* --- Scripts ------------------------------------------------------------------------------------- */

enum fate { OPEN, CLOSED, RESET };

struct script {
    const char *name;
    const char *sends[4];          /* each after a short wait */
    bool fin;                      /* then the client ends its side */
    uint32_t wait_ms;              /* until the end; 0: a second */
    enum fate fate;                /* of the connection, then */
    const char *got;               /* all that came */
    const char *log;               /* how the streams ended, at the application */
};

#define GET "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"
#define HELLO "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\n\r\nhello"
#define NO(status) "HTTP/1.1 " status "\r\nDate: d\r\nContent-Length: 2\r\n" \
    "Connection: close\r\n\r\nno"
#define CHUNKED "Host: h\r\nTransfer-Encoding: chunked\r\n\r\n"
#define UPGRADE "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
#define SWITCHED "HTTP/1.1 101 Switching Protocols\r\nDate: d\r\nConnection: upgrade\r\n" \
    "Upgrade: websocket\r\n\r\n<welcome>"

static const struct script scripts[] = {
    /* Keep-alive and pipelining. */
    {"one", {GET}, .got = HELLO, .log = "ok "},
    {"three, one by one", {GET, GET, GET}, .got = HELLO HELLO HELLO, .log = "ok ok ok "},
    {"pipelined", {GET GET GET}, .got = HELLO HELLO HELLO, .log = "ok ok ok "},
    {"pipelined with bodies", {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
     "PUT /echo HTTP/1.1\r\n" CHUNKED "2\r\nde\r\n0\r\n\r\n" GET},
     .got = "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 3\r\n\r\nabc"
            "HTTP/1.1 200 OK\r\nDate: d\r\nTransfer-Encoding: chunked\r\n\r\n@de" HELLO,
     .log = "ok ok ok "},
    {"empty lines between", {"\r\n\r\n" GET, "\r\n" GET}, .got = HELLO HELLO, .log = "ok ok "},
    {"too many empty lines", {"\r\n\r\n\r\n\r\n\r\n" GET}, .fate = CLOSED,
     .got = NO("400 Bad Request"), .log = "ok/half "},
    {"close asked for", {"GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET},
     .fate = CLOSED, .log = "ok ",
     .got = "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"},
    {"HTTP/1.0 is never kept", {"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"},
     .fate = CLOSED, .log = "ok ",
     .got = "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"},
    /* Responses without a body, and with one that has no length. */
    {"HEAD", {"HEAD /echo HTTP/1.1\r\nHost: h\r\n\r\n" GET}, .log = "ok ok ",
     .got = "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\n\r\n" HELLO},
    {"204", {"GET /204 HTTP/1.1\r\nHost: h\r\n\r\n" GET}, .log = "ok ok ",
     .got = "HTTP/1.1 204 No Content\r\nDate: d\r\n\r\n" HELLO},
    {"304", {"GET /304 HTTP/1.1\r\nHost: h\r\n\r\n" GET}, .log = "ok ok ",
     .got = "HTTP/1.1 304 Not Modified\r\nDate: d\r\n\r\n" HELLO},
    {"a page of ours", {"GET /local HTTP/1.1\r\nHost: h\r\n\r\n" GET}, .log = "ok ok ",
     .got = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html; charset=utf-8\r\nDate: d\r\n"
            "Content-Length: 119\r\n\r\n<!DOCTYPE html>\n<html lang=\"en\">\n"
            "<head><title>404 Not Found</title></head>\n<body><h1>404 Not Found</h1></body>\n"
            "</html>\n" HELLO},
    {"a page of ours to HEAD", {"HEAD /local HTTP/1.1\r\nHost: h\r\n\r\n" GET}, .log = "ok ok ",
     .got = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html; charset=utf-8\r\nDate: d\r\n"
            "Content-Length: 119\r\n\r\n" HELLO},
    /* Trailers, and what may be none. */
    {"trailers", {"POST /echo HTTP/1.1\r\n" CHUNKED "1\r\na\r\n0\r\nX: y\r\nHost: evil\r\n\r\n"},
     .log = "ok ",
     .got = "HTTP/1.1 200 OK\r\nDate: d\r\nTransfer-Encoding: chunked\r\n\r\n@aX: y\r\n"},
    /* Interim responses. */
    {"100-continue", {"POST /continue HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
     "Content-Length: 2\r\n\r\n", "ab" GET}, .log = "ok ok ",
     .got = "HTTP/1.1 100 Continue\r\nDate: d\r\n\r\n"
            "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 2\r\n\r\nab" HELLO},
    {"a final answer instead of a 100", {"POST /early HTTP/1.1\r\nHost: h\r\n"
     "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"}, .fate = CLOSED, .log = "ok/half ",
     .got = "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly"},
    {"early hints", {"GET /hints HTTP/1.1\r\nHost: h\r\n\r\n"}, .log = "ok ",
     .got = "HTTP/1.1 103 Early Hints\r\nDate: d\r\n\r\n"
            "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 1\r\n\r\nx"},
    {"early hints for HTTP/1.0", {"GET /hints HTTP/1.0\r\n\r\n"}, .fate = CLOSED, .log = "ok ",
     .got = "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"},
    {"an answer before the body", {"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n",
     "123456789" GET}, .fate = CLOSED, .log = "ok/half ",
     .got = "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly"},
    {"an answer before a body that is here", {"POST /early HTTP/1.1\r\nHost: h\r\n"
     "Content-Length: 0\r\n\r\n" GET}, .log = "ok ok ",
     .got = "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\n\r\nearly" HELLO},
    /* What is refused ends the connection, and nothing after it is a request. */
    {"refused", {"GET / HTTP/1.1\r\n\r\n" GET}, .fate = CLOSED, .got = NO("400 Bad Request"),
     .log = "ok/half "},
    {"refused after a good one", {GET "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET}, .fate = CLOSED,
     .got = HELLO NO("400 Bad Request"), .log = "ok ok/half "},
    {"an extension method", {"FROB / HTTP/1.1\r\nHost: h\r\n\r\n" GET}, .fate = CLOSED,
     .got = NO("501 Not Implemented"), .log = "ok/half "},
    {"too large", {"POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\nabc"},
     .fate = CLOSED, .got = NO("413 Content Too Large"), .log = "ok/half "},
    {"a TLS hello", {"\x16\x03\x01\x02"}, .fate = CLOSED, .got = NO("400 Bad Request"),
     .log = "ok/half "},
    {"a bad chunk", {"POST /read HTTP/1.1\r\n" CHUNKED "2\r\nab\r\nxyz\r\n" GET}, .fate = CLOSED,
     .got = "HTTP/1.1 400 Bad Request\r\nDate: d\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
            "bad", .log = "bad-request/half "},
    /* Time. */
    {"half a head", {"GET /echo HT"}, .wait_ms = 12000, .fate = CLOSED,
     .got = NO("408 Request Timeout"), .log = "ok/half "},
    {"half of a second head", {GET, "GET /ec"}, .wait_ms = 12000, .fate = CLOSED,
     .got = HELLO NO("408 Request Timeout"), .log = "ok ok/half "},
    {"nothing at all", {""}, .wait_ms = 12000, .fate = CLOSED, .got = "", .log = ""},
    {"idle", {GET}, .wait_ms = 22000, .fate = CLOSED, .got = HELLO, .log = "ok "},
    {"not yet idle for long", {GET}, .wait_ms = 15000, .got = HELLO, .log = "ok "},
    {"half a body", {"POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"},
     .wait_ms = 5000, .fate = CLOSED,
     .got = "HTTP/1.1 408 Request Timeout\r\nDate: d\r\nContent-Length: 4\r\n"
            "Connection: close\r\n\r\nslow", .log = "body-timeout/half "},
    {"no body while a 100 is awaited", {"POST /late HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n"
     "Expect: 100-continue\r\n\r\n"}, .wait_ms = 9000, .got = "", .log = ""},
    /* The client's FIN. */
    {"FIN when idle", {GET}, .fin = true, .fate = CLOSED, .got = HELLO, .log = "ok "},
    {"FIN in a head", {"GET /ec"}, .fin = true, .fate = CLOSED, .got = "", .log = ""},
    {"FIN in a body", {"POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"},
     .fin = true, .fate = CLOSED, .got = "", .log = "client-gone/half "},
    {"FIN while the request runs", {"GET /late HTTP/1.1\r\nHost: h\r\n\r\n"}, .fin = true,
     .fate = CLOSED, .got = "", .log = "client-gone "},
    /* A truncation is seen. */
    {"cut in a length", {"GET /cut HTTP/1.1\r\nHost: h\r\n\r\n"}, .fate = RESET, .log = "ok "},
    {"cut in chunks", {"GET /cut-chunks HTTP/1.1\r\nHost: h\r\n\r\n"}, .fate = RESET,
     .log = "ok "},
    {"cut before the close", {"GET /cut-chunks HTTP/1.0\r\n\r\n"}, .fate = RESET, .log = "ok "},
    {"less than promised", {"GET /short HTTP/1.1\r\nHost: h\r\n\r\n"}, .fate = RESET,
     .log = "ok "},
    {"no answer at all", {"GET /gone HTTP/1.1\r\nHost: h\r\n\r\n"}, .fate = CLOSED, .got = "",
     .log = "ok "},
    /* Tunnels: each side ends by itself. */
    {"a tunnel", {"GET /tunnel HTTP/1.1\r\n" UPGRADE "early", "more", GET}, .log = "",
     .got = SWITCHED "earlymore" GET},
    {"a tunnel that the client ends", {"GET /tunnel HTTP/1.1\r\n" UPGRADE "early", "more"},
     .fin = true, .fate = CLOSED, .got = SWITCHED "earlymore", .log = "ok "},
    {"a tunnel that the server ends", {"GET /bye HTTP/1.1\r\n" UPGRADE "x"}, .fate = CLOSED,
     .got = SWITCHED "x", .log = "ok/half "},
};

/* The chunks of a response depend on how its bytes travelled: they are joined into "@" and all the
 * data, then the trailers. */
static void join_chunks(char *text) {
    char *body = strstr(text, "Transfer-Encoding: chunked\r\n\r\n");
    if (body == NULL) {
        return;
    }
    char *from = body + strlen("Transfer-Encoding: chunked\r\n\r\n"), *to = from;
    size_t left = strlen(from);
    char *copy = mem_copy(from, left), *at = copy;
    unsigned long size;
    *to++ = '@';
    while ((size = strtoul(at, &at, 16)) > 0) {
        memcpy(to, at + 2, size);
        to += size;
        at += size + 4;
    }
    at += 2;
    while (strncmp(at, "\r\n", 2) != 0) {
        char *end = strstr(at, "\r\n") + 2;
        memcpy(to, at, (size_t)(end - at));
        to += end - at;
        at = end;
    }
    memcpy(to, at + 2, strlen(at + 2) + 1);
    mem_free(copy);
}

static bool ended(void *arg) {
    const struct peer *p = arg;
    return p->eof || p->reset;
}

static void script_check(const struct server *s, const struct script *row, const struct peer *p) {
    char *got = mem_copy((const char *)p->rx, p->rx_len);
    if (row->got != NULL) {
        join_chunks(got);
    }
    enum fate fate = p->reset ? RESET : p->eof ? CLOSED : OPEN;
    if (fate != row->fate || (row->got != NULL && strcmp(got, row->got) != 0) ||
        strcmp(s->log_text, row->log) != 0) {
        fail_msg("%s (travel %d, seed %llu): fate %d, log <%s>, got\n%s\nwanted %d <%s>\n%s",
                 row->name, s->world.travel, (unsigned long long)s->world.seed, fate, s->log_text,
                 got, row->fate, row->log, row->got);
    }
    mem_free(got);
}

static void script_run(const struct script *row, uint64_t seed, enum travel travel) {
    static struct server s;
    server_init(&s, seed, travel);
    struct peer *p = peer_dial(&s.addr, NULL);
    world_sleep(&s.world, 50);
    for (int i = 0; i < 4 && row->sends[i] != NULL; i++) {
        world_send(&s.world, p, row->sends[i], strlen(row->sends[i]));
        world_sleep(&s.world, 300);
    }
    if (row->fin) {
        peer_fin(p);
    }
    (void)sim_run_until(s.world.sim, ended, p, row->wait_ms == 0 ? 1000 : row->wait_ms);
    script_check(&s, row, p);
    peer_free(p);
    server_fini(&s);
}

static void scripts_give_the_same(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        for (int travel = 0; travel < TRAVEL_COUNT; travel++) {
            uint64_t seeds = travel == TRAVEL_ROUGH ? 10 : 1;
            for (uint64_t seed = 1; seed <= seeds; seed++) {
                script_run(&scripts[i], seed, (enum travel)travel);
            }
        }
    }
}

/* --- Bounds and stopping ------------------------------------------------------------------------- */

/* A client that sends requests and reads no answer: what waits for it is bounded, and so is what is
 * read of it. */
static void a_client_that_reads_nothing(void **state) {
    (void)state;
    static struct server s;
    server_init(&s, 1, TRAVEL_WHOLE);
    struct peer *p = peer_dial(&s.addr, NULL);
    world_sleep(&s.world, 50);
    peer_pause(p, true);
    for (int i = 0; i < 20000; i++) {
        peer_send_text(p, GET);
    }
    world_sleep(&s.world, 5000);
    assert_true(s.world.net.copies.live_peak < 40);
    assert_true(s.world.http.down_streams.live_peak == 1);
    peer_pause(p, false);
    world_sleep(&s.world, 5000);
    assert_int_equal(p->rx_len, 20000 * strlen(HELLO));
    peer_free(p);
    server_fini(&s);
}

static void a_large_answer(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        static struct server s;
        server_init(&s, seed, (enum travel)(seed % TRAVEL_COUNT));
        struct peer *p = peer_dial(&s.addr, NULL);
        world_sleep(&s.world, 50);
        peer_pause(p, true);
        peer_send_text(p, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n" GET);
        world_sleep(&s.world, 1000);
        peer_pause(p, false);
        world_sleep(&s.world, 20000);
        char *got = mem_copy((const char *)p->rx, p->rx_len);
        join_chunks(got);
        const char *at = strchr(got, '@');
        assert_non_null(at);
        for (uint32_t i = 0; i < 300000; i++) {
            assert_true(at[1 + i] == (char)('a' + i / 1000 % 26));
        }
        assert_string_equal(at + 1 + 300000, HELLO);
        mem_free(got);
        peer_free(p);
        server_fini(&s);
    }
}

static void draining_ends_idle_ones(void **state) {
    (void)state;
    static struct server s;
    server_init(&s, 1, TRAVEL_WHOLE);
    struct peer *idle = peer_dial(&s.addr, NULL), *busy = peer_dial(&s.addr, NULL);
    world_sleep(&s.world, 50);
    peer_send_text(idle, GET);
    peer_send_text(busy, "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na");
    world_sleep(&s.world, 200);
    assert_true(peer_has(idle, "hello") && !idle->eof);
    http_drain(&s.world.http);
    world_sleep(&s.world, 200);
    assert_true(idle->eof && !busy->eof);
    peer_send_text(busy, "bc" GET);
    world_sleep(&s.world, 200);
    assert_true(busy->eof && peer_has(busy, "Connection: close\r\n\r\nread"));
    assert_string_equal(s.log_text, "ok ok ");
    peer_free(idle);
    peer_free(busy);
    server_fini(&s);
}

static void killing_tells_the_owner(void **state) {
    (void)state;
    static struct server s;
    server_init(&s, 1, TRAVEL_WHOLE);
    struct peer *p = peer_dial(&s.addr, NULL);
    world_sleep(&s.world, 50);
    peer_send_text(p, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n");
    world_sleep(&s.world, 200);
    http_kill(&s.world.http, CLOSE_DRAIN);
    world_sleep(&s.world, 200);
    assert_string_equal(s.log_text, "drain ");
    assert_true(p->eof || p->reset);
    peer_free(p);
    server_fini(&s);
}

/* A reset at any moment of a conversation leaves nothing behind. */
static void resets_at_any_moment(void **state) {
    (void)state;
    for (uint64_t ms = 0; ms < 120; ms++) {
        static struct server s;
        server_init(&s, ms, TRAVEL_ROUGH);
        struct peer *p = peer_dial(&s.addr, NULL);
        peer_send_text(p, GET GET "POST /echo HTTP/1.1\r\n" CHUNKED "5\r\nhello\r\n"
                       "5\r\nhello\r\n0\r\n\r\nGET /big HTTP/1.1\r\nHost: h\r\n\r\n"
                       "GET /tunnel HTTP/1.1\r\n" UPGRADE "abc");
        world_sleep(&s.world, ms);
        peer_reset(p);
        world_sleep(&s.world, 2000);
        assert_int_equal(s.world.http.down_streams.live, 0);
        assert_int_equal(s.world.http.downs.live, 0);
        peer_free(p);
        server_fini(&s);
    }
}

/* An answer that is earlier than the rest of the body: where that is here, if unread, the connection
 * serves the next request, which begins behind it; else the head says that it will close. */
static void early_answers(void **state) {
    (void)state;
    static const struct {
        const char *sent, *got;
        bool closes;
    } rows[] = {
        {"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123456789" GET,
         "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\n\r\nearly" HELLO, false},
        {"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n123456789" GET,
         "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly", true},
        {"POST /early HTTP/1.1\r\n" CHUNKED "9\r\n123456789\r\n0\r\n\r\n" GET,
         "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly", true},
        {"POST /early HTTP/1.1\r\n" CHUNKED "3\r\n123\r\n0\r\n\r\n" GET,
         "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\n\r\nearly" HELLO, false},
    };
    static struct server s;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        server_init(&s, 1, TRAVEL_WHOLE);
        s.world.limits.rx_mark = 4;   /* the stream's: the rest stays in the wire */
        struct peer *p = peer_dial(&s.addr, NULL);
        world_sleep(&s.world, 50);
        peer_send(p, rows[i].sent, strlen(rows[i].sent));
        world_sleep(&s.world, 500);
        char *got = mem_copy((const char *)p->rx, p->rx_len);
        if (strcmp(got, rows[i].got) != 0 || p->eof != rows[i].closes || p->reset) {
            fail_msg("row %zu: eof %d, got\n%s", i, p->eof, got);
        }
        mem_free(got);
        peer_free(p);
        server_fini(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scripts_give_the_same),
        cmocka_unit_test(early_answers),
        cmocka_unit_test(a_client_that_reads_nothing),
        cmocka_unit_test(a_large_answer),
        cmocka_unit_test(draining_ends_idle_ones),
        cmocka_unit_test(killing_tells_the_owner),
        cmocka_unit_test(resets_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
