/* Wires under random faults: a TCP relay made of wires alone, with both peers scripted; in half of
 * the worlds clients come with a PROXY header, which the relay hands on to the origin. Over many
 * seeds nothing is lost, mixed up or cut short without a visible end, nothing stands still, and all
 * pools are empty at the end. SIM_SEED=n runs one seed, SIM_SEEDS=n that many. Long,
 * as a world is one thing: the relay, both peers, and what they must have seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/net.h"
#include "sim/peer.h"
#include "sim/sim.h"
#include "sim/toy_tls.h"
#include "tls/tls.h"

#define SEEDS_DEFAULT 3000u
#define RINGS_MAX 2
#define PAIRS_MAX 6
#define LIMIT_MS (4u * 3600u * 1000u)

/* --- The relay: what is under test -------------------------------------------------------- */

struct relay {
    struct ring *ring;
    struct net net;
    struct tls_context *tls;
    struct listener *listener;
    struct task accepting;
    int fd;
    struct world *world;
    struct pool links;
};

struct link {
    struct relay *relay;
    struct wire *down, *up;
    struct task task;
    bool down_up, up_up, down_finished, up_finished;
};

enum kind { WHOLE, ROUGH, RUDE };   /* nothing may fail; the network may; the peers may, too */

struct world {
    struct sim *sim;
    uint64_t seed;
    enum kind kind;
    bool tls, is_unix, proxy;
    struct relay relays[RINGS_MAX];
    uint32_t ring_count, pair_count;
    struct connection_limit limit;
    struct wire_limits limits;
    struct addr down_addr, up_addr;
    struct peer_listener *origin;
    struct actor *actors[2 * PAIRS_MAX];
    uint32_t actor_count;
};

static void link_free(struct link *l) {
    task_cancel(l->relay->ring, &l->task);
    pool_put(&l->relay->links, l);
}

/* A truncation must be seen, so what ends early ends with a reset. */
static void link_cut(struct link *l) {
    l->down->reset = true;
    wire_shut(l->down, CLOSE_BACKEND_CUT);
    if (l->up != NULL) {
        l->up->reset = true;
        wire_shut(l->up, CLOSE_BACKEND_CUT);
    }
    link_free(l);
}

/* With a PROXY header, the client's goes on to the origin. False when there is no descriptor. */
static bool link_dial(struct link *l) {
    struct world *w = l->relay->world;
    uint8_t header[PROXYPROTO_WRITE_MAX];
    struct wire_params params = {.to = &w->up_addr, .limits = &w->limits};
    if (w->proxy) {
        params.preface = (struct str){(char *)header,
                                      proxyproto_write_v1(wire_told(l->down), header)};
    }
    l->up = wire_dial(&l->relay->net, &params, &l->task);
    return l->up != NULL;
}

/* False when the link is cut. */
static bool link_move(struct wire *from, struct wire *to, bool *finished) {
    uint32_t room;
    while (from->rx.bytes > 0 && (room = wire_room(to)) > 0) {
        bufq_move(wire_tx(to), &from->rx, room);
        wire_push(to);
        wire_pull(from);
    }
    if ((from->ready & WIRE_EOF) != 0 && from->rx.bytes == 0 && !*finished) {
        if (from->cut) {
            return false;
        }
        *finished = true;
        wire_finish(to);
    }
    return true;
}

static void link_run(struct task *task) {
    struct link *l = container_of(task, struct link, task);
    bool lost = (l->down->ready & WIRE_LOST) != 0;
    if (l->up == NULL && (lost || ((l->down->ready & WIRE_TOLD) != 0 && !link_dial(l)))) {
        link_cut(l);
        return;
    }
    if (l->up == NULL) {
        return;
    }
    l->down_up = l->down_up || (l->down->ready & WIRE_UP) != 0;
    l->up_up = l->up_up || (l->up->ready & WIRE_UP) != 0;
    if (((l->down->ready | l->up->ready) & WIRE_LOST) != 0) {
        link_cut(l);
        return;
    }
    l->down->ready &= WIRE_EOF;
    l->up->ready &= WIRE_EOF;
    if (!l->down_up || !l->up_up) {
        return;
    }
    if (!link_move(l->down, l->up, &l->up_finished) ||
        !link_move(l->up, l->down, &l->down_finished)) {
        link_cut(l);
        return;
    }
    if (l->down_finished && l->up_finished) {
        wire_end(l->down, CLOSE_TUNNEL_END);
        wire_end(l->up, CLOSE_TUNNEL_END);
        link_free(l);
    }
}

static void relay_accept(struct relay *r, int fd) {
    struct world *w = r->world;
    struct link *l = pool_get(&r->links);
    assert_non_null(l);
    *l = (struct link){.relay = r};
    task_init(&l->task, link_run);
    struct wire_params down = {.fd = fd, .tls = r->tls, .limits = &w->limits, .limit = &w->limit,
                               .proxy = w->proxy};
    l->down = wire_accept(&r->net, &down, &l->task);
    assert_non_null(l->down);
    if (!w->proxy && !link_dial(l)) {
        link_cut(l);
    }
}

static void relay_accepting(struct task *task) {
    struct relay *r = container_of(task, struct relay, accepting);
    int fd;
    while ((fd = listener_take(r->listener)) >= 0) {
        relay_accept(r, fd);
    }
}

static void relay_init(struct relay *r, struct world *w) {
    struct sim *sim = w->sim;
    struct ring_params params = {
        .buf_size = 1u << (6 + sim_draw(sim, 8)),
        .buf_max = 4 + (uint32_t)sim_draw(sim, 60),
        .handshakes_per_turn = 1 + (uint32_t)sim_draw(sim, 3),
        .one_shot = sim_draw(sim, 3) == 0,
    };
    r->world = w;
    r->ring = ring_new(&params, NULL);
    net_init(&r->net, r->ring);
    pool_init(&r->links, "links", sizeof(struct link), 0);
    if (w->tls) {
        char why[TLS_WHY_MAX];
        r->tls = tls_context_new(&(struct tls_params){0}, why);
    }
    do {
        r->fd = sys_listen(&w->down_addr, true, 16);
    } while (r->fd < 0);
    task_init(&r->accepting, relay_accepting);
    r->listener = listener_new(&r->net, r->fd, &w->limit, &r->accepting);
}

static void relay_fini(struct relay *r) {
    assert_int_equal(sys_close(r->fd), 0);
    assert_int_equal(net_wires(&r->net), 0);
    assert_int_equal(r->net.intakes.live, 0);
    assert_int_equal(r->net.senders.live, 0);
    assert_int_equal(r->net.sendvs.live, 0);
    assert_int_equal(r->net.copies.live, 0);
    assert_int_equal(r->net.records.live, 0);
    net_fini(&r->net);
    pool_fini(&r->links);
    if (r->tls != NULL) {
        tls_context_free(r->tls);
    }
    ring_free(r->ring);
}

/* --- The peers ---------------------------------------------------------------------------- */

#define ID_BYTES 8u

struct actor {
    struct world *world;
    struct peer *peer;
    struct toy_client *tls;      /* TLS clients */
    struct actor *other;         /* the same pair's other end, once an origin knows */
    uint32_t id;
    bool client, named;
    uint64_t to_send, sent, seen;
    bool finished;               /* said so: FIN, and close_notify before it */
    bool waits;                  /* for all of the other's bytes: a question and its answer */
    bool rude;                   /* will end in mid-stream */
    bool lied;                   /* with a FIN, which looks like an end */
    bool over;
    uint8_t head[ID_BYTES];      /* of what came: an origin learns its id from it */
    char line[PROXYPROTO_V1_MAX + 1];   /* origins: the PROXY header */
    uint32_t line_len;
};

/* Both streams of each pair differ everywhere, so that a mix-up shows. */
static uint8_t stream_byte(uint32_t id, bool client, uint64_t at) {
    if (client && at < ID_BYTES) {
        return (uint8_t)(id >> (8 * (at % 4)));
    }
    uint64_t x = (at + 1) * 0x9e3779b97f4a7c15u ^ (id * 2u + client) * 0xc2b2ae3d27d4eb4fu;
    return (uint8_t)(x >> 56 ^ x >> 23);
}

static void failed(const struct world *w, const char *what) {
    fail_msg("%s; replay: SIM_TRACE=1 SIM_SEED=%llu", what, (unsigned long long)w->seed);
}

/* Who the balancer in front says that a client is. */
static struct proxyproto_ends ends_of(uint32_t id) {
    struct proxyproto_ends ends = {true, {AF_INET, (uint16_t)id, {10}}, {AF_INET6, 443, {32, 1}}};
    memcpy(ends.client.ip, &id, sizeof id);
    return ends;
}

static uint32_t header_of(uint32_t id, bool v1, uint8_t to[PROXYPROTO_WRITE_MAX]) {
    struct proxyproto_ends ends = ends_of(id);
    struct proxyproto_more more = {.authority = STR("example.org")};
    return v1 ? proxyproto_write_v1(&ends, to) : proxyproto_write_v2(&ends, &more, to);
}

static void actor_flush(struct actor *a) {
    if (a->tls != NULL && a->tls->out.len > 0) {
        peer_send(a->peer, a->tls->out.p, a->tls->out.len);
        a->tls->out.len = 0;
    }
}

static void actor_over(struct actor *a) {
    a->over = true;
}

/* An origin waits with its first byte, a client with its last word. */
static bool actor_waits(const struct actor *a) {
    bool all = a->other != NULL && a->seen == a->other->to_send;
    return a->waits && !all && !a->peer->eof && a->sent == (a->client ? a->to_send : 0);
}

/* Sends some more, and ends where the script says so. */
static void actor_act(void *arg) {
    struct actor *a = arg;
    struct sim *sim = a->world->sim;
    if (a->over || a->finished || a->peer->state == PEER_REFUSED || actor_waits(a)) {
        return;
    }
    uint8_t bytes[4096];
    uint64_t left = a->to_send - a->sent;
    uint64_t max = left < sizeof bytes ? left : sizeof bytes;
    uint32_t len = max == 0 ? 0 : 1 + (uint32_t)sim_draw(sim, max);
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = stream_byte(a->id, a->client, a->sent + i);
    }
    a->sent += len;
    if (a->tls != NULL) {
        toy_client_send(a->tls, bytes, len);
        actor_flush(a);
    } else if (len > 0) {
        peer_send(a->peer, bytes, len);
    }
    if (a->sent < a->to_send) {
        sim_after(sim, sim_draw(sim, 4) == 0 ? sim_draw(sim, 200) : 0, actor_act, a);
    } else if (a->rude) {
        uint64_t how = sim_draw(sim, 3);
        sim_note(sim, "rude", a->id, a->client, (int64_t)how);
        a->lied = a->tls == NULL && (how != 0 || (a->world->is_unix && !a->client));
        if (how == 0) {
            peer_reset(a->peer);
        } else if (how == 1 || a->tls == NULL) {
            peer_close(a->peer);
        } else {
            peer_fin(a->peer);      /* without its close_notify */
            a->finished = true;
            return;
        }
        actor_over(a);
    } else if (a->tls == NULL || a->tls->up) {
        if (a->tls != NULL) {
            toy_client_end(a->tls);
            actor_flush(a);
        }
        peer_fin(a->peer);
        a->finished = true;
    } else {
        sim_after(sim, 10, actor_act, a);
    }
}

static void actor_named(struct actor *a) {
    memcpy(&a->id, a->head, sizeof a->id);
    a->named = true;
    for (uint32_t i = 0; i < a->world->actor_count; i++) {
        struct actor *other = a->world->actors[i];
        if (other->client && other->id == a->id) {
            a->other = other;
            if (other->other != NULL) {
                failed(a->world, "two connections for one client");
            }
            other->other = a;
        }
    }
    if (a->other == NULL) {
        failed(a->world, "an origin met a client that is none");
    }
    uint8_t header[PROXYPROTO_WRITE_MAX];
    uint32_t len = header_of(a->id, true, header);
    if (a->world->proxy && (len != a->line_len || memcmp(header, a->line, len) != 0)) {
        failed(a->world, "the origin was told of somebody else");
    }
    sim_after(a->world->sim, 0, actor_act, a);
}

/* How many of the bytes belong to the PROXY header. */
static size_t actor_see_header(struct actor *a, const uint8_t *bytes, size_t len) {
    size_t i = 0;
    while (i < len && (a->line_len == 0 || a->line[a->line_len - 1] != '\n')) {
        if (a->line_len == PROXYPROTO_V1_MAX) {
            failed(a->world, "no PROXY header came first");
        }
        a->line[a->line_len++] = (char)bytes[i++];
    }
    return i;
}

static void actor_see(struct actor *a, const uint8_t *bytes, size_t len) {
    size_t begin = a->world->proxy && !a->client ? actor_see_header(a, bytes, len) : 0;
    for (size_t i = begin; i < len; i++, a->seen++) {
        if (!a->client && a->seen < ID_BYTES) {
            a->head[a->seen] = bytes[i];
            if (a->seen + 1 == ID_BYTES) {
                actor_named(a);
            }
        } else if (bytes[i] != stream_byte(a->id, !a->client, a->seen)) {
            failed(a->world, "a byte is not what it should be");
        }
    }
}

/* The far side's end, as an honest receiver would believe it. */
static bool actor_saw_end(const struct actor *a) {
    return a->peer->eof && !a->peer->reset && (a->tls == NULL || a->tls->ended);
}

static void actor_changed(struct peer *peer) {
    struct actor *a = peer->user;
    if (a->tls != NULL) {
        toy_client_feed(a->tls, peer->rx, peer->rx_len);
        peer_drop(peer, peer->rx_len);
        if (a->tls->broken) {
            failed(a->world, "broken records");
        }
        actor_see(a, a->tls->plain.p, a->tls->plain.len);
        a->tls->plain.len = 0;
        if (peer->state == PEER_OPEN && !a->finished) {
            actor_flush(a);
        }
    } else {
        actor_see(a, peer->rx, peer->rx_len);
        peer_drop(peer, peer->rx_len);
    }
    if (a->waits && (a->client || a->named) && a->sent == (a->client ? a->to_send : 0)) {
        actor_act(a);
    }
    bool ended = peer->eof && ((a->finished && peer->tx_len == 0) || !actor_saw_end(a) ||
                               (!a->client && !a->named));
    if (peer->reset || peer->state == PEER_REFUSED || ended) {
        actor_over(a);
        if (peer->state == PEER_OPEN) {
            peer_close(peer);
        }
    }
}

static struct actor *actor_new(struct world *w, struct peer *peer, bool client) {
    struct sim *sim = w->sim;
    static const uint32_t sizes[] = {0, 10, 3000, 20000};
    struct actor *a = mem_zero(sizeof *a);
    assert_true(w->actor_count < 2 * PAIRS_MAX);
    w->actors[w->actor_count++] = a;
    a->world = w;
    a->client = client;
    a->peer = peer;
    a->to_send = ID_BYTES + sim_draw(sim, 1 + sizes[sim_draw(sim, 4)]);
    a->waits = sim_draw(sim, 2) == 0;
    a->rude = w->kind == RUDE && sim_draw(sim, 4) == 0;
    peer->user = a;
    peer->changed = actor_changed;
    return a;
}

static void origin_accepted(struct peer *peer) {
    actor_new(peer->listener->user, peer, false);
}

static void client_start(void *arg) {
    struct world *w = arg;
    struct actor *a = actor_new(w, peer_dial(&w->down_addr, NULL), true);
    a->id = (uint32_t)(w->actor_count * 0x01010101u) ^ (uint32_t)sim_draw(w->sim, 1u << 31);
    if (w->proxy) {
        uint8_t header[PROXYPROTO_WRITE_MAX];
        peer_send(a->peer, header, header_of(a->id, a->id & 1, header));
    }
    if (w->tls) {
        a->tls = mem_zero(sizeof *a->tls);
        toy_client_init(a->tls, "example.org");
        actor_flush(a);
    }
    actor_act(a);
}

/* --- A world ------------------------------------------------------------------------------ */

static void world_init(struct world *w, uint64_t seed, const struct sim_params *params) {
    const char *why;
    *w = (struct world){.seed = seed, .kind = (enum kind)(seed % 3), .tls = seed / 3 % 2 == 1,
                        .proxy = seed / 6 % 2 == 1};
    struct sim *sim = w->sim = sim_new(seed, params);
    w->is_unix = sim_draw(sim, 4) == 0;
    assert_true(addr_parse(&w->down_addr, STR("127.0.0.1:8443"), &why));
    struct str up = w->is_unix ? STR("unix:/run/app.sock") : STR("127.0.0.1:8001");
    assert_true(addr_parse(&w->up_addr, up, &why));
    bool patient = w->kind == WHOLE || sim_draw(sim, 2) == 0;
    w->limits = (struct wire_limits){
        .rx_mark = 1 + (uint32_t)sim_draw(sim, 1u << sim_draw(sim, 16)),
        .tx_mark = 1 + (uint32_t)sim_draw(sim, 1u << sim_draw(sim, 16)),
        .handshake_ms = patient ? 3600000 : 1000,
        .connect_ms = patient ? 3600000 : 1000,
        .send_ms = patient ? 3600000 : 1000,
        .linger_ms = 1 + (uint32_t)sim_draw(sim, 3000),
    };
    w->limit.max = 1 + (uint32_t)sim_draw(sim, 8);
    w->origin = peer_listen(&w->up_addr, 1 + (uint32_t)sim_draw(sim, 8));
    w->origin->user = w;
    w->origin->accepted = origin_accepted;
    w->ring_count = 1 + (uint32_t)sim_draw(sim, RINGS_MAX);
    for (uint32_t i = 0; i < w->ring_count; i++) {
        relay_init(&w->relays[i], w);
    }
    w->pair_count = 1 + (uint32_t)sim_draw(sim, PAIRS_MAX);
    for (uint32_t i = 0; i < w->pair_count; i++) {
        sim_after(sim, sim_draw(sim, 2) * sim_draw(sim, 100), client_start, w);
    }
}

static bool world_is_over(void *arg) {
    struct world *w = arg;
    uint32_t clients = 0;
    for (uint32_t i = 0; i < w->actor_count; i++) {
        clients += w->actors[i]->client;
        if (!w->actors[i]->over) {
            return false;
        }
    }
    for (uint32_t i = 0; i < w->ring_count; i++) {
        if (net_wires(&w->relays[i].net) > 0) {
            return false;
        }
    }
    return clients == w->pair_count;
}

static bool listeners_are_gone(void *arg) {
    struct world *w = arg;
    char text[200];
    return sim_leaks(w->sim, text, sizeof text) == w->ring_count;   /* their descriptors */
}

/* The one rule of a relay: who sees an honest end has seen everything. af_unix cannot send a
 * reset, so an origin there may take a cut for an end. */
static void actor_check(const struct actor *a) {
    const struct world *w = a->world;
    const struct actor *from = a->other;
    if (w->kind == WHOLE && (!actor_saw_end(a) || from == NULL || !from->finished)) {
        failed(w, "a connection was lost without cause");
    }
    bool may_be_cut = w->is_unix && !a->client;
    if (!actor_saw_end(a) || may_be_cut || (!a->client && !a->named) ||
        (from != NULL && from->lied)) {
        return;
    }
    if (from == NULL || !from->finished || (from->tls != NULL && from->rude)) {
        failed(w, "an end was seen that nobody had sent");
    } else if (a->seen != from->to_send) {
        failed(w, "bytes are missing, and nobody can see it");
    }
}

static void world_fini(struct world *w) {
    for (uint32_t i = 0; i < w->actor_count; i++) {
        actor_check(w->actors[i]);
    }
    for (uint32_t i = 0; i < w->ring_count; i++) {
        listener_shut(w->relays[i].listener);
    }
    assert_int_equal(sim_run_until(w->sim, listeners_are_gone, w, 60000), PEERS_MET);
    assert_int_equal(w->limit.count, 0);
    for (uint32_t i = 0; i < w->ring_count; i++) {
        relay_fini(&w->relays[i]);
    }
    for (uint32_t i = 0; i < w->actor_count; i++) {
        if (w->actors[i]->tls != NULL) {
            toy_client_fini(w->actors[i]->tls);
            mem_free(w->actors[i]->tls);
        }
        mem_free(w->actors[i]);
    }
    sim_free(w->sim);
}

/* Faults that end connections are no part of a world in which nothing may fail. */
static struct sim_params params_of(uint64_t seed) {
    struct sim_params p = sim_params_rough(seed);
    static const enum sim_fault ends[] = {SIM_RESET, SIM_REFUSE, SIM_SYN_DROP, SIM_EMFILE,
                                          SIM_SYS};
    for (size_t i = 0; seed % 3 == WHOLE && i < sizeof ends / sizeof ends[0]; i++) {
        p.chance[ends[i]] = 0;
    }
    return p;
}

static uint64_t run(uint64_t seed) {
    struct sim_params params = params_of(seed);
    struct world w;
    world_init(&w, seed, &params);
    enum peers_end end = sim_run_until(w.sim, world_is_over, &w, LIMIT_MS);
    if (end != PEERS_MET) {
        failed(&w, end == PEERS_STUCK ? "a deadlock" : "no end after four hours");
    }
    uint64_t hash = sim_trace_hash(w.sim);
    world_fini(&w);
    return hash;
}

static uint64_t number_from(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void test_relay(void **state) {
    (void)state;
    uint64_t first = number_from("SIM_SEED", 0);
    uint64_t count = number_from("SIM_SEEDS", getenv("SIM_SEED") != NULL ? 1 : SEEDS_DEFAULT);
    for (uint64_t seed = first; seed < first + count; seed++) {
        run(seed);
    }
}

static void test_replay(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        assert_true(run(seed) == run(seed));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay),
        cmocka_unit_test(test_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
