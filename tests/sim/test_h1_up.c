/* Sessions and streams with servers, on the simulated ring: the owner asks, the origin is a script.
 * Each script must give the same however its bytes travel. */
#include "h1_world.h"

#define NOTES_MAX 8192

/* --- The owner: writes down what a stream tells --------------------------------------------------- */

struct asker {
    struct h1_world world;
    struct addr addr;
    struct peer_listener *listener;
    struct session *session;
    struct stream *st;
    struct task session_task, stream_task;
    struct head request;
    const char *body;              /* what is sent, by length or in chunks */
    bool tunnel, released, hold;   /* hold: takes no body while set */
    char notes_text[NOTES_MAX];
    struct text notes;
    char body_text[NOTES_MAX];
    struct text got;
};

static void note(struct asker *a, const char *what) {
    text_str(&a->notes, str_of(what));
}

static void take_body(struct asker *a) {
    struct stream *st = a->st;
    if (a->hold || st->rx.bytes == 0) {
        bufq_settle(&st->rx);
        return;
    }
    char bytes[NOTES_MAX];
    uint32_t len = bufq_read(&st->rx, bytes, sizeof bytes);
    text_str(&a->got, (struct str){bytes, len});
    bufq_drop(&st->rx, len);
    st->ops->pull(st);
}

static void take_head(struct asker *a) {
    struct stream *st = a->st;
    struct head *head = stream_take_head(st);
    text_fmt(&a->notes, "%d ", head->status);
    if (head->status == 101) {
        a->tunnel = true;
        st->ops->tunnel(st);
        bufq_copy(&st->tx, "hi", 2);
        st->ops->push(st, NULL);
    } else if (head->status < 200) {
        st->ops->pull(st);
    }
}

static void finish(struct asker *a, enum close_reason why) {
    text_fmt(&a->notes, "[" STR_FMT "]", (int)a->got.len, a->got.p);
    if (a->st->trailers != NULL) {
        text_fmt(&a->notes, " %u trailers", a->st->trailers->field_count);
    }
    if ((a->st->ready & STREAM_LOST) != 0) {
        text_fmt(&a->notes, " %s", close_word(a->st->why));
        note(a, a->st->may_retry ? " again" : "");
    }
    a->released = true;
    a->st->ops->release(a->st, why);
    a->st = NULL;
    task_cancel(a->world.ring, &a->stream_task);
}

static void stream_run(struct task *task) {
    struct asker *a = container_of(task, struct asker, stream_task);
    struct stream *st = a->st;
    while ((st->ready & STREAM_HEAD) != 0) {
        take_head(a);
    }
    take_body(a);
    if (st->rx.bytes > 0) {
        return;
    }
    if ((st->ready & STREAM_LOST) != 0) {
        finish(a, st->why);
    } else if (st->rx_ended && a->tunnel && !st->tx_end) {
        st->tx_end = true;
        st->ops->push(st, NULL);
    }
    if (a->st != NULL && st->rx_ended && (!a->tunnel || (st->ready & STREAM_SENT) != 0)) {
        finish(a, CLOSE_NONE);
    }
}

static void ask(struct asker *a) {
    a->st = a->session->ops->open(a->session, &a->stream_task);
    assert_non_null(a->st);
    assert_int_equal(a->session->ops->slots(a->session), 0);
    a->released = a->tunnel = false;
    a->got = text_on(a->body_text, NOTES_MAX);
    a->st->ops->send_head(a->st, &a->request);
    if (a->body != NULL) {
        bufq_copy(&a->st->tx, a->body, (uint32_t)strlen(a->body));
        a->st->tx_end = a->request.body == BODY_LENGTH
                            ? strlen(a->body) == a->request.length : true;
        a->st->ops->push(a->st, NULL);
    }
}

static void session_run(struct task *task) {
    struct asker *a = container_of(task, struct asker, session_task);
    struct session *session = a->session;
    if (session->dead) {
        text_fmt(&a->notes, " dead:%s", close_word(session->why));
        session_forget(session);
        a->session = NULL;
    } else if (session->idle && session->served > 0 && a->released) {
        note(a, " idle");
        a->released = false;
    } else if (session->idle && session->served == 0) {
        ask(a);
    }
}

static void asker_init(struct asker *a, uint64_t seed, enum travel travel) {
    memset(a, 0, sizeof *a);
    world_init(&a->world, seed, travel);
    const char *why;
    assert_true(addr_parse(&a->addr, STR("10.0.0.2:8000"), &why));
    a->notes = text_on(a->notes_text, NOTES_MAX - 1);
    task_init(&a->session_task, session_run);
    task_init(&a->stream_task, stream_run);
}

static void asker_fini(struct asker *a) {
    if (a->st != NULL) {
        a->st->ops->release(a->st, CLOSE_CLIENT_GONE);
        task_cancel(a->world.ring, &a->stream_task);
    }
    task_cancel(a->world.ring, &a->session_task);
    if (a->session != NULL) {
        session_forget(a->session);
    }
    world_fini(&a->world);
}

static void asker_dial(struct asker *a) {
    struct up_params params = {.to = &a->addr, .limits = &a->world.limits};
    a->session = h1_up_new(&a->world.http, &params, &a->session_task);
    assert_non_null(a->session);
}

/* --- Scripts ------------------------------------------------------------------------------------- */

enum kind { GET, HEAD, POST, HALF_POST, PUT, UPGRADE };
enum end { KEEP, FIN, RESET };

struct script {
    const char *name;
    enum kind kind;
    const char *sends[4];          /* by the origin, once it has the request's head */
    enum end end;                  /* then */
    const char *notes;
};

static void request_of(struct asker *a, enum kind kind) {
    static const struct str names[] = {{"GET", 3}, {"HEAD", 4}, {"POST", 4}, {"POST", 4},
                                       {"PUT", 3}, {"GET", 3}};
    static struct arena none;
    struct head *head = &a->request;
    head_init(head, &none);
    head->method = kind == HEAD ? METHOD_HEAD : kind == GET || kind == UPGRADE ? METHOD_GET
                   : kind == PUT ? METHOD_PUT : METHOD_POST;
    head->method_name = names[kind];
    head->target = STR("/");
    head->authority = STR("h");
    if (kind == POST || kind == HALF_POST) {
        head->body = BODY_LENGTH;
        head->length = 4;
        a->body = kind == POST ? "data" : "da";
    } else if (kind == PUT) {
        head->body = BODY_STREAM;
        a->body = "chunky";
    } else if (kind == UPGRADE) {
        head->upgrade = STR("WebSocket");
    }
}

#define OK "HTTP/1.1 200 OK\r\n"
#define HELLO OK "Content-Length: 5\r\n\r\nhello"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"
#define HINT "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
#define SWITCH "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"

static const struct script scripts[] = {
    {"a length", GET, {HELLO}, KEEP, "200 [hello] idle"},
    {"no body", GET, {OK "Content-Length: 0\r\n\r\n"}, KEEP, "200 [] idle"},
    {"chunks and trailers", GET, {CHUNKED "5;x\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n"}, KEEP,
     "200 [hello!] 1 trailers idle"},
    {"until the end", GET, {OK "\r\nhello", "world"}, FIN,
     "200 [helloworld] dead:linger"},
    {"closed by the server", GET, {OK "Connection: close\r\nContent-Length: 5\r\n\r\nhello"}, FIN,
     "200 [hello] dead:linger"},
    {"closed unannounced, after all", GET, {HELLO}, FIN, "200 [hello] idle dead:backend-idle"},
    {"HTTP/1.0", GET, {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"}, KEEP,
     "200 [hello] dead:linger"},
    {"HTTP/1.0 that keeps", GET,
     {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"}, KEEP,
     "200 [hello] idle"},
    {"HEAD", HEAD, {OK "Content-Length: 5\r\n\r\n"}, KEEP, "200 [] idle"},
    {"204 and 304", GET, {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"}, KEEP,
     "304 [] idle"},
    {"a POST", POST, {HELLO}, KEEP, "200 [hello] idle"},
    {"a chunked PUT", PUT, {HELLO}, KEEP, "200 [hello] idle"},
    /* Interim heads, one at a time. */
    {"hints", GET, {HINT HINT HELLO}, KEEP, "103 103 200 [hello] idle"},
    {"hints, slowly", GET, {HINT, HINT, HELLO}, KEEP, "103 103 200 [hello] idle"},
    {"hints without end", GET, {HINT HINT HINT HINT HINT HINT HINT HINT HINT HINT HINT HINT HINT
     HINT HINT HINT HINT HINT}, KEEP, "103 103 103 103 103 103 103 103 103 103 103 103 103 103 "
     "103 103 [] bad-response dead:bad-response"},
    {"100 with a body", GET, {"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nab" HELLO}, KEEP,
     "[] bad-response dead:bad-response"},
    /* Bodies where there are none: the client is unharmed, the connection goes. */
    {"HEAD with a body", HEAD, {HELLO}, KEEP, NULL},
    {"204 with chunks", GET, {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"
     "0\r\n\r\n"}, KEEP, "204 [] dead:linger"},
    {"204 with chunks, later", GET, {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n"
     "\r\n", "0\r\n\r\n"}, KEEP, "204 [] dead:linger"},
    {"something after the response", GET, {HELLO, "HTTP/1.1 200 OK\r\n"}, KEEP,
     "200 [hello] idle dead:backend-idle"},
    /* Malformed. */
    {"no HTTP", GET, {"SSH-2.0-OpenSSH_9.2\r\n"}, KEEP, "[] bad-response dead:bad-response"},
    {"two framings", GET, {OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
     KEEP, "[] bad-response dead:bad-response"},
    {"a bad chunk", GET, {CHUNKED "2\r\nab\r\nx\r\n"}, KEEP,
     "200 [ab] bad-response dead:bad-response"},
    {"status 700", GET, {"HTTP/1.1 700 x\r\n\r\n"}, KEEP, "[] bad-response dead:bad-response"},
    /* Ends in the wrong places. */
    {"nothing", GET, {NULL}, FIN, "[] backend-closed again dead:backend-closed"},
    {"a reset", GET, {NULL}, RESET, "[] backend-closed again dead:backend-closed"},
    {"half a head", GET, {"HTTP/1.1 200 O"}, FIN, "[] backend-cut dead:backend-cut"},
    {"half a length", GET, {OK "Content-Length: 5\r\n\r\nhel"}, FIN,
     "200 [hel] backend-cut dead:backend-cut"},
    {"half a chunk", GET, {CHUNKED "5\r\nhel"}, FIN, "200 [hel] backend-cut dead:backend-cut"},
    {"no last chunk", GET, {CHUNKED "5\r\nhello\r\n"}, FIN,
     "200 [hello] backend-cut dead:backend-cut"},
    {"a reset before the end", GET, {OK "\r\nhel"}, RESET,
     "200 [hel] backend-cut dead:backend-cut"},
    {"only hints", GET, {HINT}, FIN, "103 [] backend-cut dead:backend-cut"},
    {"an answer before all was sent", HALF_POST, {HELLO}, KEEP, "200 [hello] dead:linger"},
    /* Upgrades. */
    {"a tunnel", UPGRADE, {SWITCH "Upgrade: websocket\r\n\r\nearly", "more"}, FIN,
     "101 [earlymore] dead:linger"},
    {"a tunnel that ends at once", UPGRADE, {SWITCH "Upgrade: websocket\r\n\r\n"}, FIN,
     "101 [] dead:linger"},
    {"another protocol", UPGRADE, {SWITCH "Upgrade: h2c\r\n\r\n"}, KEEP,
     "[] bad-response dead:bad-response"},
    {"no protocol", UPGRADE, {SWITCH "\r\n"}, KEEP, "[] bad-response dead:bad-response"},
    {"101 unasked", GET, {SWITCH "Upgrade: websocket\r\n\r\n"}, KEEP,
     "[] bad-response dead:bad-response"},
    {"no upgrade", UPGRADE, {HELLO}, KEEP, "200 [hello] idle"},
};

static bool has_head(void *arg) {
    struct peer **p = arg;
    return *p != NULL && peer_has(*p, "\r\n\r\n");
}

static void taken(struct peer *p) {
    struct peer **slot = p->listener->user;
    *slot = p;
}

static void script_run(const struct script *row, uint64_t seed, enum travel travel) {
    static struct asker a;
    struct peer *origin = NULL;
    asker_init(&a, seed, travel);
    a.listener = peer_listen(&a.addr, 4);
    a.listener->user = &origin;
    a.listener->accepted = taken;
    request_of(&a, row->kind);
    asker_dial(&a);
    assert_int_equal(sim_run_until(a.world.sim, has_head, &origin, 5000), PEERS_MET);
    world_sleep(&a.world, 300);
    for (int i = 0; i < 4 && row->sends[i] != NULL; i++) {
        world_send(&a.world, origin, row->sends[i], strlen(row->sends[i]));
        world_sleep(&a.world, 300);
    }
    if (row->end == FIN) {
        peer_fin(origin);
    } else if (row->end == RESET) {
        peer_reset(origin);
    }
    world_sleep(&a.world, 1000);
    if (row->notes != NULL && strcmp(a.notes_text, row->notes) != 0) {
        fail_msg("%s (travel %d, seed %llu):\n<%s>, wanted\n<%s>", row->name, travel,
                 (unsigned long long)seed, a.notes_text, row->notes);
    }
    if (row->notes == NULL) {   /* a HEAD's body may be there at once, or come later */
        assert_non_null(strstr(a.notes_text, "200 []"));
        assert_non_null(strstr(a.notes_text, "dead:"));
    }
    peer_free(origin);
    peer_listener_close(a.listener);
    asker_fini(&a);
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

/* --- What a request looks like to the server ------------------------------------------------------ */

static void requests_as_written(void **state) {
    (void)state;
    static const struct {
        enum kind kind;
        const char *want;
    } rows[] = {
        {GET, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {POST, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\ndata"},
        {PUT, "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
              "6\r\nchunky\r\n0\r\n\r\n"},
        {UPGRADE, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static struct asker a;
        asker_init(&a, 1, TRAVEL_WHOLE);
        a.listener = peer_listen(&a.addr, 4);
        request_of(&a, rows[i].kind);
        asker_dial(&a);
        world_sleep(&a.world, 300);
        struct peer *origin = peer_take(a.listener);
        assert_non_null(origin);
        assert_int_equal(origin->rx_len, strlen(rows[i].want));
        assert_memory_equal(origin->rx, rows[i].want, origin->rx_len);
        peer_free(origin);
        peer_listener_close(a.listener);
        asker_fini(&a);
    }
}

/* A head that leaves no room in the wire's queue goes out, and what there is of the body. */
static void a_head_larger_than_the_mark(void **state) {
    (void)state;
    static const char target[] = "/0123456789012345678901234567890123456789012345678901234567890123456"
                                 "789012345678901234567890123456789";
    static struct asker a;
    asker_init(&a, 1, TRAVEL_TINY);
    assert_true(sizeof target > a.world.limits.wire.tx_mark);
    a.listener = peer_listen(&a.addr, 4);
    request_of(&a, HALF_POST);
    a.request.target = a.request.path = str_of(target);
    asker_dial(&a);
    world_sleep(&a.world, 1000);
    struct peer *origin = peer_take(a.listener);
    assert_non_null(origin);
    assert_true(peer_has(origin, "\r\n\r\nda"));
    peer_free(origin);
    peer_listener_close(a.listener);
    asker_fini(&a);
}

/* --- Sessions ------------------------------------------------------------------------------------- */

static void no_server(void **state) {
    (void)state;
    static struct asker a;
    asker_init(&a, 1, TRAVEL_WHOLE);
    asker_dial(&a);
    world_sleep(&a.world, 1000);
    assert_string_equal(a.notes_text, " dead:connect-refused");
    asker_fini(&a);
}

/* Forgotten at any moment, a session leaves nothing behind. */
static void forgotten_at_any_moment(void **state) {
    (void)state;
    for (uint64_t us = 0; us < 400; us++) {
        static struct asker a;
        asker_init(&a, us, TRAVEL_ROUGH);
        a.listener = peer_listen(&a.addr, 4);
        request_of(&a, us % 2 == 0 ? GET : PUT);
        asker_dial(&a);
        for (uint64_t step = 0; step < us && sim_step(a.world.sim); step++) {
            struct peer *origin = peer_take(a.listener);
            if (origin != NULL) {
                peer_send_text(origin, CHUNKED "5\r\nhello\r\n0\r\n\r\n");
            }
        }
        bool release_first = us % 3 == 0;
        if (!release_first && a.session != NULL) {
            session_forget(a.session);
            a.session = NULL;
        }
        asker_fini(&a);
    }
}

static void kept_connections(void **state) {
    (void)state;
    static struct asker a;
    asker_init(&a, 1, TRAVEL_WHOLE);
    a.listener = peer_listen(&a.addr, 4);
    request_of(&a, GET);
    asker_dial(&a);
    world_sleep(&a.world, 300);
    struct peer *origin = peer_take(a.listener);
    for (int i = 0; i < 3; i++) {
        peer_send_text(origin, HELLO);
        world_sleep(&a.world, 300);
        assert_int_equal(a.session->served, i + 1);
        assert_true(a.session->idle && a.session->ops->slots(a.session) == 1);
        ask(&a);
        world_sleep(&a.world, 300);
    }
    /* The race: the server has closed before it saw our request. */
    peer_close(origin);
    world_sleep(&a.world, 300);
    assert_string_equal(a.notes_text, "200 [hello] idle200 [hello] idle200 [hello] idle"
                        "[] backend-closed again dead:backend-closed");
    peer_listener_close(a.listener);
    asker_fini(&a);
}

static void killed_and_drained(void **state) {
    (void)state;
    static struct asker a;
    asker_init(&a, 1, TRAVEL_WHOLE);
    a.listener = peer_listen(&a.addr, 4);
    request_of(&a, GET);
    asker_dial(&a);
    world_sleep(&a.world, 300);
    a.session->ops->kill(a.session, CLOSE_DRAIN);
    world_sleep(&a.world, 300);
    assert_non_null(strstr(a.notes_text, "[] drain"));
    assert_non_null(strstr(a.notes_text, "dead:drain"));
    asker_dial(&a);
    world_sleep(&a.world, 300);
    a.session->ops->drain(a.session);
    struct peer *origin;
    while ((origin = peer_take(a.listener)) != NULL) {
        peer_send_text(origin, HELLO);
    }
    world_sleep(&a.world, 300);
    assert_non_null(strstr(a.notes_text, "200 [hello] dead:linger"));
    peer_listener_close(a.listener);
    asker_fini(&a);
}

/* An owner that takes no body: no more than the marks is held, and all of it is there later, also
 * when the server has long gone. */
static void an_owner_that_takes_nothing(void **state) {
    (void)state;
    for (int fin = 0; fin < 2; fin++) {
        static struct asker a;
        asker_init(&a, 1, TRAVEL_TINY);
        a.listener = peer_listen(&a.addr, 4);
        request_of(&a, GET);
        asker_dial(&a);
        a.hold = true;
        world_sleep(&a.world, 300);
        struct peer *origin = peer_take(a.listener);
        peer_send_text(origin, fin ? OK "\r\n" : OK "Content-Length: 3000\r\n\r\n");
        for (int i = 0; i < 300; i++) {
            peer_send_text(origin, "0123456789");
            world_sleep(&a.world, 1);
        }
        peer_fin(origin);
        world_sleep(&a.world, 300);
        assert_non_null(a.st);
        assert_in_range(a.st->rx.bytes, 100, 100);
        a.hold = false;
        task_wake(a.world.ring, &a.stream_task);
        world_sleep(&a.world, 3000);
        assert_int_equal(a.got.len, 3000);
        assert_null(strstr(a.notes_text, "backend-cut"));
        peer_free(origin);
        peer_listener_close(a.listener);
        asker_fini(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_as_written),
        cmocka_unit_test(a_head_larger_than_the_mark),
        cmocka_unit_test(scripts_give_the_same),
        cmocka_unit_test(no_server),
        cmocka_unit_test(kept_connections),
        cmocka_unit_test(killed_and_drained),
        cmocka_unit_test(an_owner_that_takes_nothing),
        cmocka_unit_test(forgotten_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
