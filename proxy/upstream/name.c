/* Servers given by name: addresses come to places of the backend, and go, while the rings run. */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "upstream/upstream_priv.h"

static bool is_absent(const struct server *place) {
    return atomic_load(&place->admin) == SERVER_ABSENT;
}

static bool has(const struct addr *addrs, uint32_t count, const struct addr *addr) {
    uint32_t i = 0;
    while (i < count && !addr_eq(&addrs[i], addr)) {
        i++;
    }
    return i < count;
}

/* The place that has the address, or had it last; NULL: none. */
static struct server *place_of(const struct name *name, const struct addr *addr) {
    for (uint32_t i = 0; i < name->place_count; i++) {
        struct server *place = &name->places[i];
        if (atomic_load(&place->moves) > 0 && addr_eq(&place->addr, addr)) {
            return place;
        }
    }
    return NULL;
}

/* --- Out and in --------------------------------------------------------------------------- */

/* No new requests; every ring closes what is idle there. */
static void place_leave(struct server *place) {
    struct backend *backend = place->backend;
    pthread_mutex_lock(&backend->verdicts);
    atomic_store(&place->admin, SERVER_ABSENT);
    server_shut_set(place);
    pthread_mutex_unlock(&backend->verdicts);
    atomic_fetch_sub(&backend->present, 1);
    server_tell(place);
}

/* True when no ring knows anything of it. Once each has had its post, none is still about to take a
 * slot that it saw before; without slots there are no more dials; and what was dialled is over. */
static bool place_is_free(struct server *place) {
    if (!is_absent(place)) {
        return false;
    }
    for (uint32_t r = 0; r < place->backend->ring_count; r++) {
        if (atomic_load(&place->counts[r].yielding)) {
            return false;
        }
    }
    return atomic_load(&place->used) == 0 &&
           atomic_load_explicit(&place->wires.count, memory_order_acquire) == 0 &&
           atomic_load(&place->kept) == 0;
}

/* What was known of the server before says nothing of this one. With the lock. */
static void place_forget(struct server *place) {
    struct backend *backend = place->backend;
    if (atomic_exchange(&place->ejected, false)) {
        atomic_fetch_sub(&backend->ejected, 1);
    }
    if (atomic_exchange(&place->rises_ms, 0) != 0) {
        atomic_fetch_sub(&backend->rising, 1);
    }
    atomic_store(&place->away_ms, 0);
    atomic_store(&place->retry_ms, 0);
    atomic_store(&place->trying, false);
    atomic_store(&place->seen, false);
    atomic_store(&place->ill, false);
    atomic_store(&place->failed, 0);
    place->away_told = false;
    place->ejections = 0;
    place->back_ms = 0;
    place->reset_us = 0;
    if (backend->sids != NULL) {
        sids_forget(backend->sids, place->index);
    }
}

/* The same address as before, if the place has it still; else the place is free. */
static void place_enter(struct name *name, struct server *place, const struct addr *addr) {
    struct backend *backend = place->backend;
    bool moves = atomic_load(&place->moves) == 0 || !addr_eq(&place->addr, addr);
    pthread_mutex_lock(&backend->verdicts);
    if (moves) {
        place_forget(place);
        place->addr = *addr;
        server_call(place);
        if (name->registry->secret.len > 0 && backend->sticky == CONF_STICKY_COOKIE) {
            server_sign(place, name->registry->secret);
        }
        atomic_fetch_add(&place->moves, 1);
    }
    atomic_store(&place->admin, SERVER_READY);
    server_shut_set(place);
    pthread_mutex_unlock(&backend->verdicts);
    atomic_fetch_add(&backend->present, 1);
}

/* --- Answers ------------------------------------------------------------------------------ */

static struct server *free_place(struct name *name) {
    for (uint32_t i = 0; i < name->place_count; i++) {
        if (place_is_free(&name->places[i])) {
            return &name->places[i];
        }
    }
    return NULL;
}

/* Those that are there already have not come, and need no slow start. */
static void wanted_enter(struct name *name, const struct addr *addr, bool first) {
    struct server *place = place_of(name, addr);
    if (place != NULL && !is_absent(place)) {
        return;
    }
    place = place != NULL ? place : free_place(name);
    if (place == NULL) {
        name->waits = true;
        return;
    }
    place_enter(name, place, addr);
    if (!first) {
        slow_start_begin(place, 0);
    }
    server_tell(place);
}

/* 0.0.0.0 is no address of a server, but what filters answer to have it not found; dialled, it is
 * this machine. */
static bool is_server(const struct name *name, const struct addr *addr) {
    return !addr_is_any(addr) && !has(name->wanted, name->wanted_count, addr);
}

/* The address with the name's port. */
static struct addr with_port(const struct name *name, const struct addr *found) {
    struct addr addr = name->port;
    bool v6 = found->sa.any.sa_family == AF_INET6;
    const void *ip = v6 ? (const void *)&found->sa.in6.sin6_addr : &found->sa.in.sin_addr;
    addr_set_ip(&addr, v6 ? AF_INET6 : AF_INET, ip);
    return addr;
}

static void say_come(const struct name *name, const struct addr *addr, bool known) {
    char printed[ADDR_TEXT_MAX];
    if (!known) {
        log_info("[backend %s] %s is an address of %s", name->backend->name,
                 addr_print(addr, printed), name->host);
    }
}

/* Takes over what was found, as far as there is room: first what was there before, so that an
 * answer in another order changes nothing. How many there were. */
static uint32_t want(struct name *name, const struct addr *found, uint32_t count) {
    struct addr *before = name->wanted;
    uint32_t before_count = name->wanted_count, all = 0;
    name->wanted = mem_zero(name->wanted_max * sizeof *name->wanted);
    name->wanted_count = 0;
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < count; i++) {
            struct addr addr = with_port(name, &found[i]);
            bool old = has(before, before_count, &addr);
            if (old != (pass == 0) || !is_server(name, &addr)) {
                continue;
            }
            all++;
            if (name->wanted_count < name->wanted_max) {
                name->wanted[name->wanted_count++] = addr;
                say_come(name, &addr, old);
            }
        }
    }
    if (all == 0) {
        mem_free(name->wanted);
        name->wanted = before;
        name->wanted_count = before_count;
    } else {
        mem_free(before);
    }
    return all;
}

static bool is_any_present(const struct name *name) {
    uint32_t i = 0;
    while (i < name->wanted_count &&
           (place_of(name, &name->wanted[i]) == NULL ||
            is_absent(place_of(name, &name->wanted[i])))) {
        i++;
    }
    return i < name->wanted_count;
}

/* While no other has a place an address that is gone is better than none. */
static void leave_all(struct name *name) {
    if (!is_any_present(name)) {
        return;
    }
    for (uint32_t i = 0; i < name->place_count; i++) {
        struct server *place = &name->places[i];
        if (!is_absent(place) && !has(name->wanted, name->wanted_count, &place->addr)) {
            log_info("[backend %s] %s is gone: it is no address of %s any more",
                     name->backend->name, place->name, name->host);
            place_leave(place);
        }
    }
}

static void enter_all(struct name *name, bool first) {
    name->waits = false;
    for (uint32_t i = 0; i < name->wanted_count; i++) {
        wanted_enter(name, &name->wanted[i], first);
    }
    leave_all(name);
}

bool name_settle(struct name *name) {
    bool waited = name->waits;
    if (waited) {
        enter_all(name, false);
    }
    return waited && name->waits;
}

static void say_crowded(struct name *name, uint32_t found) {
    bool crowded = found > name->wanted_max;
    if (crowded && !name->crowded) {
        log_warn("[backend %s] %s has %u addresses, of which %u are servers: see addresses",
                 name->backend->name, name->host, found, name->wanted_max);
    }
    name->crowded = crowded;
}

static void say_waits(struct name *name, bool waited) {
    if (name->waits && !waited) {
        log_warn("[backend %s] an address of %s waits for requests to end that run at addresses "
                 "that are gone; a higher number of addresses leaves more room",
                 name->backend->name, name->host);
    }
}

void name_found(struct name *name, const struct addr *found, uint32_t count) {
    bool first = name->wanted_count == 0, waited = name->waits;
    uint32_t all = want(name, found, count);
    if (all != 0) {
        stats_add(name->registry->lookups, STAT_LOOKUPS, 1);
    } else {
        name_failed(name, "none of its addresses is one of a server");
        return;
    }
    if (name->failing) {
        log_info("[backend %s] %s is resolved%s", name->backend->name, name->host,
                 first ? "" : " again");
        name->failing = false;
    }
    say_crowded(name, all);
    enter_all(name, first);
    say_waits(name, waited);
    if (first) {
        atomic_fetch_sub(&name->backend->unanswered, 1);
    }
}

void name_failed(struct name *name, const char *why) {
    stats_add(name->registry->lookups, STAT_LOOKUPS, 1);
    stats_add(name->registry->lookups, STAT_LOOKUPS_FAILED, 1);
    if (name->failing) {
        return;
    }
    name->failing = true;
    if (name->wanted_count > 0) {
        log_warn("[backend %s] %s can not be resolved: %s; its last addresses stay",
                 name->backend->name, name->host, why);
    } else {
        log_error("[backend %s] %s (line %u) can not be resolved: %s; it is tried again and again",
                  name->backend->name, name->host, name->line, why);
    }
}

uint64_t names_left_ms(const struct upstream *room, struct backend *backend) {
    if (atomic_load(&backend->unanswered) == 0) {
        return 0;
    }
    uint64_t now = ring_now_ms(room->ring) | 1, since = 0;
    if (atomic_compare_exchange_strong(&backend->unanswered_ms, &since, now)) {
        return backend->connect_ms;
    }
    uint64_t waited = now > since ? now - since : 0;
    return waited < backend->connect_ms ? backend->connect_ms - waited : 0;
}

/* --- Made with the registry --------------------------------------------------------------- */

static void name_init(struct name *name, struct registry *registry, struct server *first,
                      const struct conf_server *conf) {
    *name = (struct name){.registry = registry, .backend = first->backend,
                          .host = mem_copy(conf->name, strlen(conf->name)),
                          .line = conf->line, .port = conf->addr, .places = first,
                          .place_count = conf_server_places(conf),
                          .wanted_max = conf->addresses};
    atomic_fetch_add(&name->backend->unanswered, 1);
    atomic_fetch_sub(&name->backend->present, name->place_count);
    for (uint32_t i = 0; i < name->place_count; i++) {
        struct server *place = &name->places[i];
        place->named = place->counted = true;
        place->wires.max = UINT32_MAX;
        atomic_store(&place->admin, SERVER_ABSENT);
        server_shut_set(place);
    }
}

/* In the order of the configuration; names NULL: they are only counted. */
static uint32_t names_make(struct registry *registry, const struct conf *conf,
                           struct name *names) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < conf->backend_count; i++) {
        struct server *at = registry->backends[i].servers;
        for (uint32_t k = 0; k < conf->backends[i].server_count; k++) {
            const struct conf_server *server = &conf->backends[i].servers[k];
            if (server->name[0] != '\0' && names != NULL) {
                name_init(&names[count], registry, at, server);
            }
            count += server->name[0] != '\0';
            at += conf_server_places(server);
        }
    }
    return count;
}

void names_init(struct registry *registry, const struct conf *conf) {
    registry->lookups = aligned_alloc(_Alignof(struct stats), sizeof *registry->lookups);
    ensure(registry->lookups != NULL);
    memset(registry->lookups, 0, sizeof *registry->lookups);
    registry->name_count = names_make(registry, conf, NULL);
    registry->names = mem_zero(registry->name_count * sizeof *registry->names);
    (void)names_make(registry, conf, registry->names);
}

void names_fini(struct registry *registry) {
    for (uint32_t i = 0; i < registry->name_count; i++) {
        mem_free(registry->names[i].wanted);
        mem_free(registry->names[i].host);
    }
    mem_free(registry->names);
    free(registry->lookups);
    if (registry->secret.len > 0) {
        explicit_bzero((char *)registry->secret.p, registry->secret.len);
        mem_free((char *)registry->secret.p);
    }
}
