/* Servers given by name: addresses that come, go and come again under load, on whole gyres of one
 * to four rings. What a name server would say is told to name.c here, as resolve.c does. Long, as
 * each way in which an address can come or go is a scene of one lab. */
#include "eject_lab.h"

#define KEPT "keepalive = 64\nkeepalive_timeout = 1h\n"
#define NOBODY 0u

static struct name *name;
static const char *glob = "";          /* of [global] */

/* Origin i is at 127.0.0.(i + 1):8000. */
static void open_with(uint64_t seed, const struct sim_params *params, const char *server,
                      const char *backend) {
    memset(&scene, 0, sizeof scene);
    said_begin();
    scene.sim = sim_new(seed, params);
    char ini[2048];
    snprintf(ini, sizeof ini, "[global]\nworkers = %u\n%s[listener web]\nbind = 127.0.0.1:80\n"
             "backend = app\n[backend app]\nmode = async\n%s%s%s%s\n",
             WORKERS(seed), glob,
             strstr(backend, "balance = ") != NULL ? "" : "balance = round_robin\n",
             strstr(backend, "keepalive = ") != NULL ? "" : "keepalive = 0\n", backend, server);
    for (uint32_t i = 0; i < SERVERS_MAX; i++) {
        char text[32];
        snprintf(text, sizeof text, "127.0.0.%u:8000", i + 1);
        scene.origins[i].addr = addr_of(text);
        origin_listen(&scene.origins[i]);
    }
    scene.origin_count = SERVERS_MAX;
    assert_true(lab_start(&scene.lab, true, ini, NULL));
    struct registry *registry = scene.lab.workers[0].upstream.registry;
    scene.backend = &registry->backends[0];
    assert_int_equal(registry->name_count, 1);
    name = &registry->names[0];
}

static void open_name(uint64_t seed, const char *backend) {
    open_with(seed, NULL, "server = app.internal:8000 addresses=3", backend);
}

/* "1 3": the addresses of the first and the third origin, in that order; ports are not looked at. */
static void tell(const char *answer) {
    struct addr found[16];
    uint32_t count = 0;
    for (const char *p = answer; *p != '\0'; p++) {
        if (*p != ' ') {
            char text[32];
            snprintf(text, sizeof text, "127.0.0.%c:9", *p);
            found[count++] = addr_of(text);
        }
    }
    name_found(name, found, count);
}

static struct server *place_at(uint32_t origin) {
    for (uint32_t i = 0; i < name->place_count; i++) {
        if (atomic_load(&name->places[i].admin) != SERVER_ABSENT &&
            addr_eq(&name->places[i].addr, &scene.origins[origin].addr)) {
            return &name->places[i];
        }
    }
    return NULL;
}

/* Exactly these are servers, each once. */
static void expect_servers(const char *origins) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < SERVERS_MAX; i++) {
        bool wanted = strchr(origins, (char)('1' + i)) != NULL;
        if ((place_at(i) != NULL) != wanted) {
            fail_msg("127.0.0.%u is %sa server", i + 1, wanted ? "not " : "");
        }
        count += wanted;
    }
    assert_int_equal(atomic_load(&scene.backend->present), count);
}

static uint32_t all_requests(void) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < SERVERS_MAX; i++) {
        sum += scene.origins[i].requests;
    }
    return sum;
}

/* --- The first answer --------------------------------------------------------------------- */

/* Who comes before it waits for it. */
static void before_the_answer(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        open_name(seed, "");
        struct peer *clients[8];
        for (uint32_t i = 0; i < 8; i++) {
            clients[i] = ask();
        }
        wait_ms(1000);
        for (uint32_t i = 0; i < 8; i++) {
            assert_false(is_over(clients[i]));
        }
        name_failed(name, "nobody answers");
        name_failed(name, "nobody answers");
        assert_int_equal(said_count("[backend app] app.internal (line 10) can not be resolved: "
                                    "nobody answers; it is tried again and again"), 1);
        tell("2 1");
        for (uint32_t i = 0; i < 8; i++) {
            assert_int_equal(status_of(clients[i]), 200);
        }
        expect_servers("12");
        assert_in_range(scene.origins[0].requests, 1, 7);
        assert_int_equal(said_count("[backend app] app.internal is resolved"), 1);
        assert_int_equal(said_count("is an address of app.internal"), 2);
        assert_int_equal(said_count("[backend app] 127.0.0.2:8000 is an address of app.internal"), 1);
        end();
    }
}

/* A name that nobody knows is no reason to let clients wait for long, and each again. */
static void never_an_answer(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        open_name(seed, "connect_timeout = 1s\n");
        name_failed(name, "it has no address");
        uint64_t began = now_ms();
        assert_int_equal(asked(), 503);
        assert_in_range(now_ms() - began, 990, 1100);
        began = now_ms();
        assert_int_equal(asked(), 503);
        assert_true(now_ms() - began < 100);
        tell("1");
        assert_int_equal(shares(&scene.origins[0], 4), 4);
        end();
    }
    open_name(1, "queue = 0\n");
    assert_int_equal(asked(), 503);
    tell("1");
    assert_int_equal(asked(), 200);
    end();
}

/* A backup that has an address is asked meanwhile, and not after. */
static void a_backup_meanwhile(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        open_with(seed, NULL, "server = app.internal:8000\nserver = 127.0.0.6:8000 backup=yes", "");
        assert_int_equal(shares(&scene.origins[5], 6), 6);
        tell("1 2");
        assert_int_equal(shares(&scene.origins[5], 6), 0);
        end();
    }
}

/* --- Changes ------------------------------------------------------------------------------ */

/* What runs at an address that is gone ends there; what comes goes elsewhere; nothing stays open. */
static void a_change(void **state) {
    (void)state;
    static const char *const balances[] = {"round_robin", "least_requests", "random", "hash"};
    for (uint64_t seed = 0; seed < 16; seed++) {
        char keys[128];
        snprintf(keys, sizeof keys, KEPT "balance = %s\n", balances[seed / 4]);
        open_name(seed, keys);
        tell("1 2");
        scene.origins[0].mood = scene.origins[1].mood = HOLDS;
        struct peer *clients[48];
        for (uint32_t i = 0; i < 24; i++) {
            clients[i] = ask();
        }
        wait_ms(50);
        uint32_t had = scene.origins[0].requests;
        assert_int_equal(all_requests(), 24);
        assert_true(had > 0);
        tell("3 2");
        expect_servers("23");
        assert_int_equal(said_count("[backend app] 127.0.0.1:8000 is gone: it is no address of "
                                    "app.internal any more"), 1);
        for (uint32_t i = 24; i < 48; i++) {
            clients[i] = ask();
        }
        wait_ms(50);
        assert_int_equal(scene.origins[0].requests, had);
        assert_int_equal(links_of(&scene.origins[0]), had);
        let_go(&scene.origins[0]);
        let_go(&scene.origins[1]);
        for (uint32_t i = 0; i < 48; i++) {
            assert_int_equal(status_of(clients[i]), 200);
        }
        wait_ms(50);
        assert_int_equal(links_of(&scene.origins[0]), 0);
        assert_true(links_of(&scene.origins[1]) > 0);
        origin_leave(&scene.origins[0]);
        assert_in_range(shares(&scene.origins[2], 20), seed / 4 == 3 ? 0 : 1, 20);
        end();
    }
}

/* The last answer stays where there is no other, and an answer that is the same says nothing. */
static void what_changes_nothing(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        open_name(seed, KEPT);
        tell("1 2");
        (void)shares(&scene.origins[0], 8);
        uint32_t links = links_of(&scene.origins[0]);
        name_failed(name, "SERVFAIL");
        name_failed(name, "SERVFAIL");
        name_found(name, NULL, 0);
        struct addr any = addr_of("0.0.0.0:1");
        name_found(name, &any, 1);
        expect_servers("12");
        assert_in_range(shares(&scene.origins[0], 16), 4, 12);
        tell("2 1");
        tell("1 2 2 1");
        assert_true(links_of(&scene.origins[0]) >= links);   /* nothing was closed */
        assert_int_equal(said_count("app.internal can not be resolved: SERVFAIL; its last addresses "
                                    "stay"), 1);
        assert_int_equal(said_count("app.internal is resolved again"), 1);
        assert_int_equal(said_count("app.internal"), 4);
        assert_int_equal(stats_get(name->registry->lookups, STAT_LOOKUPS), 7);
        assert_int_equal(stats_get(name->registry->lookups, STAT_LOOKUPS_FAILED), 4);
        end();
    }
}

/* More than there may be: those that are there stay, whatever the order. */
static void too_many(void **state) {
    (void)state;
    open_name(1, "");
    tell("5 1 3 2 4");
    expect_servers("135");
    tell("4 3 2 1 5 6");
    expect_servers("135");
    tell("4 2 1 5");
    expect_servers("145");
    assert_int_equal(said_count("app.internal has 5 addresses, of which 3 are servers"), 1);
    assert_int_equal(said_count("of which"), 1);
    tell("1 5");
    tell("1 5 2 3");
    assert_int_equal(said_count("of which"), 2);
    end();
}

/* An address that comes again, while its requests still run too, is the server that it was. */
static void flapping(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        open_name(seed, KEPT);
        tell("1 2");
        struct server *place = place_at(0);
        scene.origins[0].mood = HOLDS;
        struct peer *held[10];
        for (uint32_t i = 0; i < 10; i++) {
            held[i] = ask();
        }
        wait_ms(50);
        for (uint32_t i = 0; i < 50; i++) {
            tell("2");
            wait_ms(i % 3);
            tell("2 1");
            wait_ms(i % 4);
        }
        assert_ptr_equal(place_at(0), place);
        assert_int_equal(atomic_load(&place->moves), 1);
        let_go(&scene.origins[0]);
        for (uint32_t i = 0; i < 10; i++) {
            assert_int_equal(status_of(held[i]), 200);
        }
        assert_in_range(shares(&scene.origins[0], 16), 4, 12);
        end();
    }
}

/* --- Places ------------------------------------------------------------------------------- */

/* A place has another address only once nothing runs at the one before; until then what is there
 * is asked, though it is gone: it is better than nothing. */
static void a_place_that_is_held(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        open_with(seed, NULL, "server = app.internal:8000 addresses=1", KEPT);
        assert_int_equal(name->place_count, 2);
        tell("1");
        scene.origins[0].mood = HOLDS;
        struct peer *first = ask();
        wait_ms(20);
        tell("2");
        scene.origins[1].mood = HOLDS;
        struct peer *second = ask();
        wait_ms(20);
        tell("3");
        expect_servers("2");
        assert_int_equal(said_count("an address of app.internal waits for requests to end"), 1);
        struct peer *third = ask();
        wait_ms(20);
        assert_true(name_settle(name));
        assert_int_equal(scene.origins[1].requests, 2);
        let_go(&scene.origins[0]);
        assert_int_equal(status_of(first), 200);
        wait_ms(20);
        assert_false(name_settle(name));
        expect_servers("3");
        assert_int_equal(shares(&scene.origins[2], 3), 3);
        let_go(&scene.origins[1]);
        assert_int_equal(status_of(second), 200);
        assert_int_equal(status_of(third), 200);
        wait_ms(20);
        for (uint32_t i = 0; i < 20; i++) {   /* two places do for any number of addresses */
            const char *const answers[] = {"4", "1", "5", "2"};
            tell(answers[i % 4]);
            assert_false(name_settle(name));
            assert_int_equal(asked(), 200);
            wait_ms(20);
        }
        assert_int_equal(said_count("waits for requests"), 1);
        end();
    }
}

/* A slot may be on its way to a ring, or wait for a descriptor: no connection, and yet a hold. */
static void a_slot_on_its_way(void **state) {
    (void)state;
    open_with(1, NULL, "server = app.internal:8000 addresses=1", "");
    tell("1");
    struct server *place = place_at(0);
    assert_true(slot_take_of(place));
    tell("2");
    wait_ms(20);
    tell("3");
    assert_true(name_settle(name));
    expect_servers("2");
    slot_give(&scene.lab.workers[1].upstream, scene.backend, place);
    assert_false(name_settle(name));
    assert_ptr_equal(place_at(2), place);
    end();
}

static void fill_end(struct peer *fill[4]) {
    for (uint32_t i = 0; i < 4; i++) {
        peer_free(fill[i]);
    }
}

/* Whose connection is still being made is no less held. */
static void a_place_that_is_dialled(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        open_with(seed, NULL, "server = app.internal:8000 addresses=1", "connect_timeout = 10s\n");
        peer_listener_close(scene.origins[0].listener);
        scene.origins[0].listener = peer_listen(&scene.origins[0].addr, 1);
        peer_listener_pause(scene.origins[0].listener, true);
        struct peer *fill[4];
        for (uint32_t i = 0; i < 4; i++) {
            fill[i] = peer_dial(&scene.origins[0].addr, NULL);
        }
        tell("1");
        struct server *place = place_at(0);
        struct peer *client = ask();
        wait_ms(50);
        if (seed % 3 == 2) {                  /* its client is gone before */
            peer_free(client);
            wait_ms(50);
            assert_int_equal(atomic_load(&place->wires.count), 1);
        }
        tell("2");
        assert_int_equal(asked(), 200);
        wait_ms(50);
        tell("3");
        if (seed % 3 == 2) {
            expect_servers("3");
            fill_end(fill);
            end();
            continue;
        }
        wait_ms(50);
        assert_true(name_settle(name));
        expect_servers("2");
        assert_true(addr_eq(&place->addr, &scene.origins[0].addr));
        if (seed % 2 == 0) {                  /* its client goes, and so does the dial */
            peer_free(client);
        } else {                              /* it is late, and goes on to one that is there */
            assert_int_equal(status_of(client), 200);
        }
        wait_ms(50);
        assert_false(name_settle(name));
        expect_servers("3");
        assert_int_equal(asked(), 200);
        fill_end(fill);
        end();
    }
}

/* What was known of the one says nothing of the next. */
static void a_new_server_is_new(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        open_with(seed, NULL, "server = app.internal:8000 addresses=2",
                  seed % 2 ? "eject_time = 1h\neject_time_max = 1h\n" : "");
        tell("1 2");
        struct server *place = place_at(0);
        if (seed % 2) {
            scene.origins[0].mood = CUTS;
            for (uint32_t i = 0; !atomic_load(&place->ejected); i++) {
                assert_true(i < 100);
                (void)asked();
            }
        } else {
            origin_leave(&scene.origins[0]);
            (void)asked();
            (void)asked();
            assert_true(atomic_load(&place->away_ms) != 0);
        }
        assert_int_equal(shares(&scene.origins[1], 4), 4);
        for (uint32_t i = 0; place_at(2) != place; i++) {   /* whichever place it is given */
            assert_true(i < 4);
            tell("2");
            wait_ms(20);
            tell(i % 2 ? "2 4" : "2 3");
            tell("2 3 4");
            tell("2 3");
            if (place_at(2) != place) {
                tell("2 4");
                tell("2 5");
            }
            wait_ms(20);
        }
        assert_int_equal(atomic_load(&scene.backend->ejected), 0);
        assert_in_range(shares(&scene.origins[2], 16), 4, 12);
        end();
    }
}

/* One that comes while others are there has its slow start. */
static void slow_start(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        open_name(seed, "slow_start = 100s\n");
        tell("1");
        assert_int_equal(atomic_load(&scene.backend->rising), 0);
        tell("1 2");
        assert_int_equal(atomic_load(&scene.backend->rising), 1);
        assert_in_range(shares(&scene.origins[1], 44), 2, 8);
        wait_ms(100000);
        assert_in_range(shares(&scene.origins[1], 44), 20, 24);
        tell("1 3");
        wait_ms(10);
        tell("1");
        wait_ms(10);
        tell("1 4");
        tell("1 5");
        (void)asked();   /* from then on */
        wait_ms(200000);
        (void)asked();
        assert_int_equal(atomic_load(&scene.backend->rising), 0);
        end();
    }
}

/* Nobody checks a place that is empty, and the next address begins well. */
static void checks(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        open_with(seed, NULL, "server = app.internal:8000 addresses=1",
                  "check = /health\ncheck_interval = 1s\ncheck_fall = 2\ncheck_rise = 2\n");
        wait_ms(5000);
        assert_int_equal(lab_stat(&scene.lab, STAT_CHECKS), 0);
        scene.origins[0].ill = true;
        tell("1");
        wait_ms(5000);
        assert_int_equal(said_count("127.0.0.1:8000 is ill"), 1);
        tell("2");
        wait_ms(20);
        tell("3");
        wait_ms(20);
        tell("4");
        wait_ms(10000);
        assert_int_equal(said_count("is ill"), 1);
        assert_int_equal(said_count("is well again"), 0);
        for (uint32_t i = 0; i < name->place_count; i++) {
            assert_true(!atomic_load(&name->places[i].ill) ||
                        addr_eq(&name->places[i].addr, &scene.origins[0].addr));
        }
        uint64_t checked = lab_stat(&scene.lab, STAT_CHECKS);
        wait_ms(10000);
        assert_in_range(lab_stat(&scene.lab, STAT_CHECKS) - checked, 8, 12);
        end();
    }
}

static bool is_missed(void *arg) {
    const uint64_t *count = arg;
    return lab_stat(&scene.lab, STAT_CHECKS_FAILED) == *count;
}

static void await_missed(uint64_t count) {
    assert_int_equal(sim_run_until(scene.sim, is_missed, &count, 10000), PEERS_MET);
}

/* One check that the one before has missed, and one of its own, are not two in a row. */
static void checks_begin_anew(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        open_with(seed, NULL, "server = app.internal:8000 addresses=1",
                  "check = /health\ncheck_interval = 1s\ncheck_fall = 2\n");
        scene.origins[0].ill = scene.origins[2].ill = true;
        tell("1");
        struct server *place = place_at(0);
        await_missed(1);
        tell("2");
        wait_ms(20);
        tell("3");
        assert_ptr_equal(place_at(2), place);
        await_missed(2);
        scene.origins[2].ill = false;
        wait_ms(10000);
        assert_int_equal(said_count("is ill"), 0);
        end();
    }
}

/* Of few servers all are compared, whatever places are empty. */
static void least_requests(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 32; seed += 4) {
        open_with(seed, NULL, "server = app.internal:8000 addresses=8",
                  "balance = least_requests\n");
        tell("1 2");
        scene.origins[0].mood = scene.origins[1].mood = HOLDS;
        struct peer *clients[20];
        for (uint32_t i = 0; i < 20; i++) {
            clients[i] = ask();
            wait_ms(5);
        }
        assert_int_equal(scene.origins[0].requests, 10);
        let_go(&scene.origins[0]);
        let_go(&scene.origins[1]);
        for (uint32_t i = 0; i < 20; i++) {
            assert_int_equal(status_of(clients[i]), 200);
        }
        end();
    }
}

/* Orders are for servers: of one that is not there nothing can be said, and they go with it. */
static void orders(void **state) {
    (void)state;
    open_name(2, "");
    tell("1 2");
    struct server *place = place_at(0);
    server_set_admin(place, SERVER_DISABLED);
    assert_int_equal(shares(&scene.origins[0], 4), 0);
    tell("2");
    server_set_admin(place, SERVER_READY);
    assert_int_equal(shares(&scene.origins[0], 4), 0);
    expect_servers("2");
    tell("1 2");
    assert_in_range(shares(&scene.origins[0], 16), 4, 12);
    end();
}

/* A signature is of the address, wherever it stands. */
static void cookies(void **state) {
    (void)state;
    char secret[] = "/tmp/gyre-name-XXXXXX", ini[128];
    int fd = mkstemp(secret);
    assert_int_equal(write(fd, "0123456789abcdef0123456789abcdef", 32), 32);
    close(fd);
    snprintf(ini, sizeof ini, "secret_file = %s\n", secret);
    glob = ini;
    open_with(0, NULL, "server = app.internal:8000 addresses=1", "sticky = cookie\n");
    glob = "";
    unlink(secret);
    tell("1");
    char first[STICKY_LEN], other[STICKY_LEN];
    struct str value = {first, STICKY_LEN};
    memcpy(first, place_at(0)->sticky, STICKY_LEN);
    assert_ptr_equal(sticky_find(scene.backend, value), place_at(0));
    tell("2");
    assert_null(sticky_find(scene.backend, value));
    memcpy(other, place_at(1)->sticky, STICKY_LEN);
    assert_memory_not_equal(first, other, STICKY_LEN);
    wait_ms(20);
    tell("3");
    wait_ms(20);
    assert_null(sticky_find(scene.backend, value));
    tell("1");
    assert_ptr_equal(sticky_find(scene.backend, value), place_at(0));
    assert_null(sticky_find(scene.backend, (struct str){other, STICKY_LEN}));
    end();
}

/* --- At random ---------------------------------------------------------------------------- */

struct storm {
    uint64_t luck;
    uint32_t asked, lost, answers;
    struct peer *clients[64];
};

static uint32_t draw(struct storm *storm, uint32_t below) {
    storm->luck = storm->luck * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(storm->luck >> 33) % below;
}

/* What is left of the place on any ring. */
static uint32_t holders(const struct server *place) {
    uint32_t sum = atomic_load(&place->used) + atomic_load(&place->wires.count) +
                   atomic_load(&place->kept);
    for (uint32_t r = 0; r < scene.lab.plan->worker_count; r++) {
        struct upstream *room = &scene.lab.workers[r].upstream;
        const struct local_server *local = local_server_of(room, scene.backend, place);
        sum += local->idle_count + !list_empty(&local->others) +
               atomic_load(&place->counts[r].requests) + atomic_load(&place->counts[r].yielding);
    }
    return sum;
}

/* Whatever is told to it, a place that anything is left of keeps its address. */
static void storm_tell(const char *answer) {
    uint32_t moves[16], held[16];
    for (uint32_t i = 0; i < name->place_count; i++) {
        moves[i] = atomic_load(&name->places[i].moves);
        held[i] = holders(&name->places[i]);
    }
    if (answer != NULL) {
        tell(answer);
    } else {
        (void)name_settle(name);
    }
    for (uint32_t i = 0; i < name->place_count; i++) {
        assert_true(held[i] == 0 || atomic_load(&name->places[i].moves) == moves[i]);
    }
}

static void storm_answer(struct storm *storm, char *answer) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < SERVERS_MAX; i++) {
        if (draw(storm, 3) == 0) {
            answer[count++] = (char)('1' + i);
        }
    }
    answer[count] = '\0';
    if (count == 0) {
        name_failed(name, "the name server is away");
        strcpy(answer, "");
    } else {
        storm_tell(answer);
    }
    storm->answers++;
}

static void storm_client(struct storm *storm, struct peer **at) {
    if (*at == NULL) {
        *at = ask();
        storm->asked++;
    } else if (draw(storm, 16) == 0) {
        peer_free(*at);               /* it goes away */
        *at = NULL;
    } else if (is_over(*at)) {
        storm->lost += !peer_has(*at, "HTTP/1.1 200");
        peer_free(*at);
        *at = NULL;
    }
}

static void storm_mood(struct storm *storm) {
    struct origin *origin = &scene.origins[draw(storm, SERVERS_MAX)];
    if (origin->mood == HOLDS) {
        let_go(origin);
    } else {
        origin->mood = HOLDS;
    }
}

/* No client loses anything by it, no place is two servers', and in the end the last answer counts
 * and nothing is left at the others. */
static void storms(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct storm storm = {.luck = seed * 77 + 1};
        struct sim_params params = sim_params_clean();
        params.latency_us = 3000;
        params.late_us = 3000;
        params.chance[SIM_LATE] = params.chance[SIM_SHORT_SEND] = seed % 2 ? 1500 : 0;
        char server[96], backend[64];
        snprintf(server, sizeof server, "server = app.internal:8000 addresses=%u slots=%u",
                 1 + (uint32_t)(seed % 6), seed % 5 == 0 ? 3 : 0);
        snprintf(backend, sizeof backend, "%s%s", seed % 3 ? KEPT : "",
                 seed % 4 == 0 ? "balance = least_requests\n" : "");
        open_with(seed, &params, server, backend);
        char answer[16];
        for (uint32_t i = 0; i < 3000; i++) {
            storm_client(&storm, &storm.clients[draw(&storm, 64)]);
            if (draw(&storm, 40) == 0) {
                storm_answer(&storm, answer);
            }
            if (draw(&storm, 60) == 0) {
                storm_mood(&storm);
            }
            if (draw(&storm, 4) == 0) {
                storm_tell(NULL);
                wait_ms(draw(&storm, 4));
            }
        }
        for (uint32_t i = 0; i < SERVERS_MAX; i++) {
            let_go(&scene.origins[i]);
        }
        for (uint32_t i = 0; i < 64; i++) {
            if (storm.clients[i] != NULL) {
                storm.lost += status_of(storm.clients[i]) != 200;
            }
        }
        assert_int_equal(storm.lost, 0);
        assert_true(storm.asked > 200 && storm.answers > 30);
        tell("2");
        for (uint32_t i = 0; name_settle(name); i++) {
            assert_true(i < 100);
            wait_ms(20);
        }
        expect_servers("2");
        assert_int_equal(shares(&scene.origins[1], 20), 20);
        wait_ms(100);
        for (uint32_t i = 0; i < SERVERS_MAX; i++) {
            assert_true(i == 1 || links_of(&scene.origins[i]) == NOBODY);
        }
        end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(before_the_answer, said_failed),
        cmocka_unit_test_teardown(never_an_answer, said_failed),
        cmocka_unit_test_teardown(a_backup_meanwhile, said_failed),
        cmocka_unit_test_teardown(a_change, said_failed),
        cmocka_unit_test_teardown(what_changes_nothing, said_failed),
        cmocka_unit_test_teardown(too_many, said_failed),
        cmocka_unit_test_teardown(flapping, said_failed),
        cmocka_unit_test_teardown(a_place_that_is_held, said_failed),
        cmocka_unit_test_teardown(a_slot_on_its_way, said_failed),
        cmocka_unit_test_teardown(a_place_that_is_dialled, said_failed),
        cmocka_unit_test_teardown(a_new_server_is_new, said_failed),
        cmocka_unit_test_teardown(slow_start, said_failed),
        cmocka_unit_test_teardown(checks, said_failed),
        cmocka_unit_test_teardown(checks_begin_anew, said_failed),
        cmocka_unit_test_teardown(least_requests, said_failed),
        cmocka_unit_test_teardown(orders, said_failed),
        cmocka_unit_test_teardown(cookies, said_failed),
        cmocka_unit_test_teardown(storms, said_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
