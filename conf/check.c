/* What no single line shows: references, what is missing, and what does not go together. */
#include <stdio.h>
#include <stdlib.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "conf/conf_priv.h"

static uint32_t later(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* --- References ------------------------------------------------------------------------------ */

/* The index of the section that a NAME key names; -1 when the key is not set or the section not
 * there, which is told. */
static int32_t reference(struct load *load, const struct part *part, enum conf_key_id id,
                         const char *name, enum conf_section section) {
    char hint[HINT_MAX];
    if (name == NULL) {
        return -1;
    }
    struct nearest nearest = {.wanted = str_of(name)};
    for (uint32_t i = 0; i < load->part_count; i++) {
        const struct part *there = &load->parts[i];
        if (there->section == section) {
            if (str_eq(str_of(part_name(load, there)), nearest.wanted)) {
                return (int32_t)there->index;
            }
            nearest_show(&nearest, part_name(load, there));
        }
    }
    load->line = part->lines[id];
    value_error(load, key_row(id), nearest.wanted, "there is no [%s %s]%s", section_word(section),
                name, nearest_hint(&nearest, "", hint));
    return -1;
}

/* --- One section ----------------------------------------------------------------------------- */

static void needed_check(struct load *load, const struct part *part) {
    for (enum conf_key_id id = 0; id < KEY_COUNT; id++) {
        const struct conf_key *key = key_row(id);
        if (key->section == part->section && key->fallback == NULL && !part_has(part, id)) {
            load_error(load, part->line, PART_FMT " has no %s; write %s = %s",
                       PART_ARG(load, part), key->name, key->name, key->sample);
        }
    }
}

static void global_check(struct load *load, const struct part *part) {
    load->conf->global.user_line = part->lines[KEY_global_user];
    load->conf->global.access_log_line = part->lines[KEY_global_access_log];
    load->conf->global.spool_dir_line = part->lines[KEY_global_spool_dir];
    load->conf->global.secret_file_line = part->lines[KEY_global_secret_file];
}

static void listener_check(struct load *load, const struct part *part) {
    struct conf_listener *l = part_object(load, part);
    uint32_t redirect_line = part->lines[KEY_listener_redirect_https];
    uint32_t surplus = l->certificate.count;   /* the first key that has no certificate */
    if (l->redirect_https != 0 && part_has(part, KEY_listener_backend)) {
        load_error(load, later(redirect_line, part->lines[KEY_listener_backend]),
                   "redirect_https beside backend: a listener redirects or serves, drop one of "
                   "them");
    }
    if (l->redirect_https != 0 && part_has(part, KEY_listener_certificate)) {
        load_error(load, later(redirect_line, part->lines[KEY_listener_certificate]),
                   "redirect_https beside certificate: what comes over TLS needs no redirect to "
                   "https, drop one of them");
    }
    if (l->key.count > surplus && surplus == 0) {
        load_error(load, l->key.lines[0], "key without certificate: write certificate = FILE, or "
                   "drop the key");
    } else if (l->key.count > surplus) {
        load_error(load, l->key.lines[surplus], "more keys (%u) than certificates (%u): the nth "
                   "key belongs to the nth certificate", l->key.count, surplus);
    }
    l->backend_index = reference(load, part, KEY_listener_backend, l->backend,
                                 CONF_SECTION_backend);
}

static void route_check(struct load *load, const struct part *part) {
    struct conf_route *route = part_object(load, part);
    int32_t backend = reference(load, part, KEY_route_backend, route->backend,
                                CONF_SECTION_backend);
    route->backend_index = backend >= 0 ? (uint32_t)backend : 0;   /* -1 has been told */
    route->listener_index = reference(load, part, KEY_route_listener, route->listener,
                                      CONF_SECTION_listener);
    if (route->listener_index >= 0 &&
        load->conf->listeners[route->listener_index].redirect_https != 0) {
        load_error(load, part->lines[KEY_route_listener], "listener = %s: it redirects every "
                   "request to https, so that none reaches this route", route->listener);
    }
}

/* A PROXY header in front of it would be taken for a packet. */
static void server_check(struct load *load, const struct conf_server *server,
                         const struct key_set *own) {
    if (own->has[KEY_backend_addresses] && server->name[0] == '\0') {
        load_error(load, server->line, "addresses=%u behind an address that is no name: there is "
                   "nothing to look up, drop it", server->addresses);
    }
    if (server->protocol == CONF_PROTOCOL_UWSGI && server->send_proxy != CONF_PROXY_NO) {
        load_error(load, server->line, "send_proxy beside protocol = uwsgi: a packet says who the "
                   "client is, drop one of them");
    }
    if (server->idle_holds_slot && server->slots == 0) {
        load_error(load, server->line, "idle_holds_slot = yes without slots: there is nothing to "
                   "hold; add slots = N, the server's number of workers");
    }
}

static bool only_backups(const struct conf_backend *backend) {
    uint32_t backups = 0;
    for (uint32_t i = 0; i < backend->server_count; i++) {
        backups += backend->servers[i].backup;
    }
    return backups == backend->server_count;
}

static bool is_told(const struct load *load, uint32_t line) {
    uint32_t i = 0;
    while (i < load->errors->count && load->errors->lines[i] != line) {
        i++;
    }
    return i < load->errors->count;
}

/* A setting of something that nobody has asked for: it would be taken for granted, and is not. What
 * is written to be off may keep its settings. */
static void settings_check(struct load *load, const struct part *part) {
    static const struct {
        enum conf_key_id setting, of;
        const char *value;
    } rows[] = {
        {KEY_backend_hash_on, KEY_backend_balance, "hash"},
        {KEY_backend_sticky_name, KEY_backend_sticky, "cookie"},
        {KEY_backend_check_interval, KEY_backend_check, "/health"},
        {KEY_backend_check_timeout, KEY_backend_check, "/health"},
        {KEY_backend_check_expect, KEY_backend_check, "/health"},
        {KEY_backend_check_host, KEY_backend_check, "/health"},
        {KEY_backend_check_fall, KEY_backend_check, "/health"},
        {KEY_backend_check_rise, KEY_backend_check, "/health"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t line = part->lines[rows[i].setting];
        if (part_has(part, rows[i].setting) && !part_has(part, rows[i].of) &&
            !is_told(load, line)) {
            const char *of = key_row(rows[i].of)->name;
            load_error(load, line, "%s without %s: it has no effect; "
                       "write %s = %s as well, or drop it", key_row(rows[i].setting)->name, of, of,
                       rows[i].value);
        }
    }
}

/* As a user would write it. */
static const char *time_text(uint64_t ms, char to[24]) {
    bool whole = ms % 1000 == 0;
    snprintf(to, 24, "%llu%s", (unsigned long long)(whole ? ms / 1000 : ms), whole ? "s" : "ms");
    return to;
}

static void eject_check(struct load *load, const struct part *part) {
    const struct conf_backend *backend = part_object(load, part);
    char time[24], max[24];
    if (backend->eject_time_ms > backend->eject_time_max_ms) {
        load_error(load, later(part->lines[KEY_backend_eject_time],
                               part->lines[KEY_backend_eject_time_max]),
                   "eject_time is %s, and eject_time_max %s: the longest time can not be shorter",
                   time_text(backend->eject_time_ms, time),
                   time_text(backend->eject_time_max_ms, max));
    }
}

/* Servers take from their backend what does not stand behind their own address. */
static void backend_check(struct load *load, const struct part *part) {
    struct conf_backend *backend = part_object(load, part);
    for (uint32_t i = 0; i < backend->server_count; i++) {
        for (enum conf_key_id id = 0; id < KEY_COUNT; id++) {
            const struct conf_key *key = key_row(id);
            if (key->server && !part->server_seen[i].has[id]) {
                memcpy((char *)&backend->servers[i] + key->server_offset,
                       (char *)backend + key->offset, key->size);
            }
        }
        server_check(load, &backend->servers[i], &part->server_seen[i]);
    }
    settings_check(load, part);
    eject_check(load, part);
    if (backend->server_count > 0 && only_backups(backend)) {
        load_error(load, backend->servers[0].line, "[backend %s] has backups only: one server at "
                   "least is asked first, and is none", backend->name);
    }
}

/* --- All sections ---------------------------------------------------------------------------- */

/* A listener that answers everything with 404 is a slip. A route whose own listener was not found
 * may have meant any of them. */
static void reach_check(struct load *load) {
    const struct conf *conf = load->conf;
    bool any = false;
    for (uint32_t r = 0; r < conf->route_count; r++) {
        any = any || conf->routes[r].listener_index < 0;
    }
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        bool reached = any || l->backend != NULL || l->redirect_https != 0;
        for (uint32_t r = 0; !reached && r < conf->route_count; r++) {
            reached = conf->routes[r].listener_index == (int32_t)i;
        }
        if (!reached) {
            load_error(load, l->line, "[listener %s] has no backend, no redirect_https and no "
                       "route that reaches it; write backend = NAME", l->name);
        }
    }
}

/* True when a socket on `any` has the other's address as well. */
static bool addr_covers(const struct addr *any, const struct addr *other) {
    sa_family_t family = other->sa.any.sa_family;
    return addr_is_any(any) && addr_port(any) == addr_port(other) &&
           (any->sa.any.sa_family == family || (any->dual && family == AF_INET));
}

/* True when they collide. */
static bool binds_compare(struct load *load, const struct conf_listener *a, uint32_t i,
                          const struct conf_listener *b, uint32_t j) {
    char first[ADDR_TEXT_MAX], second[ADDR_TEXT_MAX];
    const struct addr *x = &a->binds[i], *y = &b->binds[j];
    if (!addr_eq(x, y) && !addr_covers(x, y) && !addr_covers(y, x)) {
        return false;
    }
    addr_print(x, first);
    addr_print(y, second);
    if (b->bind_lines[j] == 0) {
        load_error(load, 0, "--bind %s: %s has this address already", second, first);
    } else {
        load_error(load, b->bind_lines[j], "bind = %s: %s in line %u has this address already",
                   second, first, a->bind_lines[i]);
    }
    return true;
}

/* Told of the first one before it that has its address. */
static void bind_check(struct load *load, uint32_t b, uint32_t j) {
    const struct conf_listener *listeners = load->conf->listeners;
    for (uint32_t a = 0; a <= b; a++) {
        uint32_t count = a == b ? j : listeners[a].bind_count;
        for (uint32_t i = 0; i < count; i++) {
            if (binds_compare(load, &listeners[a], i, &listeners[b], j)) {
                return;
            }
        }
    }
}

static void binds_check(struct load *load) {
    for (uint32_t b = 0; b < load->conf->listener_count; b++) {
        for (uint32_t j = 0; j < load->conf->listeners[b].bind_count; j++) {
            bind_check(load, b, j);
        }
    }
}

/* What one route asks for, once for each of its hosts. */
struct ask {
    const struct conf_route *route;
    const char *host, *listener;   /* "": any */
    uint32_t line;
};

static int ask_compare(const struct ask *a, const struct ask *b) {
    int by = strcmp(a->host, b->host);
    if (by == 0) {
        by = strcmp(a->route->path, b->route->path);
    }
    return by != 0 ? by : strcmp(a->listener, b->listener);
}

static int ask_order(const void *a, const void *b) {
    const struct ask *x = a, *y = b;
    int by = ask_compare(x, y);
    return by != 0 ? by : (x->line > y->line) - (x->line < y->line);
}

static void routes_check(struct load *load) {
    const struct conf *conf = load->conf;
    struct ask *asks = NULL;
    uint32_t count = 0;
    for (uint32_t r = 0; r < conf->route_count; r++) {
        const struct conf_route *route = &conf->routes[r];
        uint32_t hosts = route->host.count;
        for (uint32_t h = 0; h < (hosts != 0 ? hosts : 1); h++) {
            asks = items_grow(asks, count, sizeof(*asks));
            asks[count++] = (struct ask){
                .route = route,
                .host = hosts != 0 ? route->host.items[h] : "",
                .listener = route->listener != NULL ? route->listener : "",
                .line = hosts != 0 ? route->host.lines[h] : route->line,
            };
        }
    }
    if (count != 0) {
        qsort(asks, count, sizeof(*asks), ask_order);
    }
    for (uint32_t i = 1, first = 0; i < count; i++) {
        if (ask_compare(&asks[first], &asks[i]) != 0) {
            first = i;
            continue;
        }
        const struct ask *a = &asks[first], *b = &asks[i];
        load_error(load, b->line, "[route %s] takes the same requests as [route %s] in line %u: "
                   "host %s, path %s", b->route->name, a->route->name, a->line,
                   *b->host != '\0' ? b->host : "(any)", b->route->path);
    }
    mem_free(asks);
}

/* False: there is no such backend, or it has no server, which has been told. */
static bool backend_is_http(const struct load *load, const struct conf_route *route) {
    if (load->conf->backend_count == 0 || route->backend == NULL) {
        return false;
    }
    const struct conf_backend *backend = &load->conf->backends[route->backend_index];
    bool found = strcmp(backend->name, route->backend) == 0;
    uint32_t http = 0;
    for (uint32_t i = 0; found && i < backend->server_count; i++) {
        http += backend->servers[i].protocol == CONF_PROTOCOL_HTTP;
    }
    return http > 0 && http == backend->server_count;
}

/* Where an app stands is told by its path, and only to who can be told. */
static void mount_check(struct load *load, const struct part *part) {
    const struct conf_route *route = part_object(load, part);
    if (!route->mount) {
        return;
    }
    if (route->path[strlen(route->path) - 1] != '/') {
        load_error(load, part->lines[KEY_route_mount], "mount = yes: path = %s must end in /",
                   route->path);
    }
    if (backend_is_http(load, route)) {
        load_error(load, part->lines[KEY_route_mount], "mount = yes: no server of [backend %s] "
                   "has protocol = uwsgi, and others can not be told", route->backend);
    }
}

static void sticky_check(struct load *load, const struct part *part) {
    const struct conf_backend *backend = part_object(load, part);
    if (backend->sticky == CONF_STICKY_COOKIE && load->conf->global.secret_file == NULL) {
        load_error(load, part->lines[KEY_backend_sticky], "sticky = cookie needs a secret to sign "
                   "with; make one with `(umask 077; head -c 32 /dev/urandom >/etc/gyre/secret)` "
                   "and write secret_file = /etc/gyre/secret in [global]");
    }
}

void load_check(struct load *load) {
    static void (*const check[CONF_SECTION_COUNT])(struct load *, const struct part *) = {
        [CONF_SECTION_global] = global_check,
        [CONF_SECTION_listener] = listener_check,
        [CONF_SECTION_route] = route_check,
        [CONF_SECTION_backend] = backend_check,
    };
    for (uint32_t i = 0; i < load->part_count; i++) {
        if (load->flag == NULL) {   /* which flags are missing has been told */
            needed_check(load, &load->parts[i]);
        }
        check[load->parts[i].section](load, &load->parts[i]);
    }
    for (uint32_t i = 0; i < load->part_count; i++) {
        if (load->parts[i].section == CONF_SECTION_route) {
            mount_check(load, &load->parts[i]);
        } else if (load->parts[i].section == CONF_SECTION_backend) {
            sticky_check(load, &load->parts[i]);
        }
    }
    reach_check(load);
    binds_check(load);
    routes_check(load);
}
