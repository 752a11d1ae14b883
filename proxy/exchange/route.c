/* From host, path and listener to a backend. Hosts stand in a hash table: however many they are, a
 * request takes as long. The routes of one host, and those without one, are gone through. */
#include <stdlib.h>

#include "base/addr.h"
#include "base/ensure.h"
#include "base/mem.h"
#include "exchange/exchange_priv.h"

/* A name is labels and dots: so many wildcards at most are true of one host. */
#define NESTED_MAX (ADDR_HOST_MAX / 2)
/* FNV-1a. */
#define HASH_START 14695981039346656037u
#define HASH_PRIME 1099511628211u

/* One host of one route. */
struct way {
    struct str host;            /* "" any, "example.org", or ".example.org" for *.example.org */
    bool wildcard;
    struct str path;            /* a prefix */
    bool mount;                 /* it ends in /, and is where the app stands */
    int32_t listener;           /* -1: all */
    uint32_t backend;
    uint32_t order;             /* in the file */
};

/* The ways of one host, in the order in which they are tried. A wildcard's name begins with its
 * dot. */
struct way_host {
    struct str name;
    bool wildcard;
    uint64_t hash;              /* of its characters, from the last to the first */
    const struct way *ways;
    uint32_t count;
};

struct router {
    struct way *ways;
    uint32_t way_count;
    struct way_host *hosts;
    uint32_t host_count;
    uint32_t longest;           /* of the names of hosts */
    struct way_host **slots;    /* hosts by hash, open addressing; half of them at least are NULL */
    uint32_t slot_mask;
    struct way_host any;        /* of any host */
    int32_t *defaults;          /* by listener: its backend, or -1 */
};

/* --- Making it ---------------------------------------------------------------------------- */

static int way_class(const struct way *w) {
    if (w->host.len == 0) {
        return 2;
    }
    return w->wildcard ? 1 : 0;
}

/* Exact hosts, wildcards, none, those of one host together; of one host the longest path, then a
 * route of this listener alone, then the file's order. */
static int way_compare(const void *left, const void *right) {
    const struct way *a = left, *b = right;
    if (way_class(a) != way_class(b)) {
        return way_class(a) - way_class(b);
    }
    if (a->host.len != b->host.len) {
        return a->host.len > b->host.len ? -1 : 1;
    }
    int by_name = a->host.len > 0 ? memcmp(a->host.p, b->host.p, a->host.len) : 0;
    if (by_name != 0) {
        return by_name;
    }
    if (a->path.len != b->path.len) {
        return a->path.len > b->path.len ? -1 : 1;
    }
    if ((a->listener < 0) != (b->listener < 0)) {
        return a->listener < 0 ? 1 : -1;
    }
    return a->order < b->order ? -1 : 1;
}

static void way_add(struct router *router, const struct conf_route *route, const char *host) {
    struct way *w = &router->ways[router->way_count];
    *w = (struct way){.path = str_of(route->path), .mount = route->mount,
                      .listener = route->listener_index,
                      .backend = route->backend_index, .order = router->way_count};
    w->host = str_of(host);
    if (w->host.len > 1 && host[0] == '*') {
        w->wildcard = true;
        w->host.p++;
        w->host.len--;
    }
    router->way_count++;
}

static uint64_t hash_add(uint64_t hash, char c) {
    return (hash ^ (uint8_t)char_lower(c)) * HASH_PRIME;
}

/* Where it stands, or the empty slot where it belongs. */
static struct way_host **slot_of(const struct router *router, uint64_t hash, struct str name,
                                 bool wildcard) {
    for (uint32_t i = (uint32_t)(hash ^ hash >> 32);; i++) {
        struct way_host **slot = &router->slots[i & router->slot_mask], *host = *slot;
        if (host == NULL || (host->hash == hash && host->wildcard == wildcard &&
                             str_eq_fold(host->name, name))) {
            return slot;
        }
    }
}

static void hosts_add(struct router *router, struct way_host *host) {
    ensure(host->name.len <= ADDR_HOST_MAX);    /* with a wildcard's dot */
    host->hash = HASH_START;
    for (uint32_t i = host->name.len; i > 0; i--) {
        host->hash = hash_add(host->hash, host->name.p[i - 1]);
    }
    struct way_host **slot = slot_of(router, host->hash, host->name, host->wildcard);
    ensure(*slot == NULL);
    *slot = host;
    router->longest = host->name.len > router->longest ? host->name.len : router->longest;
}

/* Of the ways, which are in order. */
static void hosts_make(struct router *router) {
    router->hosts = mem_zero(router->way_count * sizeof *router->hosts);
    uint32_t slots = 2;
    while (slots < 2 * router->way_count) {
        slots *= 2;
    }
    router->slots = mem_zero(slots * sizeof(*router->slots));
    router->slot_mask = slots - 1;
    for (uint32_t i = 0, n; i < router->way_count; i += n) {
        const struct way *first = &router->ways[i];
        for (n = 1; i + n < router->way_count && way_class(&first[n]) == way_class(first) &&
                    str_eq(first[n].host, first->host); n++) {
        }
        struct way_host *host =
            first->host.len == 0 ? &router->any : &router->hosts[router->host_count++];
        *host = (struct way_host){first->host, first->wildcard, 0, first, n};
        if (host != &router->any) {
            hosts_add(router, host);
        }
    }
}

struct router *router_new(const struct conf *conf) {
    struct router *router = mem_zero(sizeof *router);
    uint32_t count = 0;
    for (uint32_t i = 0; i < conf->route_count; i++) {
        count += conf->routes[i].host.count + 1;
    }
    router->ways = mem_zero(count * sizeof *router->ways);
    for (uint32_t i = 0; i < conf->route_count; i++) {
        const struct conf_route *route = &conf->routes[i];
        for (uint32_t k = 0; k < route->host.count; k++) {
            way_add(router, route, route->host.items[k]);
        }
        if (route->host.count == 0) {
            way_add(router, route, "");
        }
    }
    if (router->way_count > 0) {
        qsort(router->ways, router->way_count, sizeof *router->ways, way_compare);
    }
    hosts_make(router);
    router->defaults = mem_zero(conf->listener_count * sizeof *router->defaults);
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        router->defaults[i] = conf->listeners[i].backend_index;
    }
    return router;
}

void router_free(struct router *router) {
    mem_free(router->slots);
    mem_free(router->hosts);
    mem_free(router->ways);
    mem_free(router->defaults);
    mem_free(router);
}

/* --- Finding the way ------------------------------------------------------------------------ */

/* The authority without port, brackets kept. "[::1]:80" has its port behind the bracket. */
static struct str host_of(struct str authority) {
    for (uint32_t i = authority.len; i > 0; i--) {
        char c = authority.p[i - 1];
        if (c == ':') {
            return (struct str){authority.p, i - 1};
        }
        if (c < '0' || c > '9') {
            break;
        }
    }
    return authority;
}

/* Where an app stands its root may be asked for without a slash behind it. */
static bool path_matches(const struct way *w, struct str path) {
    return str_starts(path, w->path) ||
           (w->mount && str_eq(path, (struct str){w->path.p, w->path.len - 1}));
}

static const struct way *way_of(const struct way_host *host, uint32_t listener, struct str path) {
    for (uint32_t i = 0; i < host->count; i++) {
        const struct way *w = &host->ways[i];
        if ((w->listener < 0 || (uint32_t)w->listener == listener) && path_matches(w, path)) {
            return w;
        }
    }
    return NULL;
}

/* One pass from the end of the host, which meets the wildcards from the shortest to the longest;
 * then they are asked the other way round. No further than a name can be that is known. */
static const struct way *way_of_host(const struct router *router, uint32_t listener,
                                     struct str host, struct str path) {
    const struct way_host *found[NESTED_MAX], *exact = NULL;
    const struct way *w = NULL;
    uint32_t count = 0, last = host.len > router->longest ? host.len - router->longest : 0;
    uint64_t hash = HASH_START;
    for (uint32_t i = host.len; i > last; i--) {
        hash = hash_add(hash, host.p[i - 1]);
        if (host.p[i - 1] == '.' && i > 1) {
            struct str rest = {host.p + i - 1, host.len - (i - 1)};
            const struct way_host *wildcard = *slot_of(router, hash, rest, true);
            if (wildcard != NULL) {
                ensure(count < NESTED_MAX);
                found[count++] = wildcard;
            }
        }
    }
    if (last == 0) {
        exact = *slot_of(router, hash, host, false);
    }
    w = exact != NULL ? way_of(exact, listener, path) : NULL;
    while (w == NULL && count > 0) {
        w = way_of(found[--count], listener, path);
    }
    return w;
}

int32_t router_find(const struct router *router, uint32_t listener, struct str authority,
                    struct str path, uint32_t *mount) {
    const struct way *w = NULL;
    if (router->host_count > 0) {
        struct str host = host_of(authority);
        if (host.len > 1 && host.p[host.len - 1] == '.') {
            host.len--;   /* the root's dot names the same host */
        }
        w = way_of_host(router, listener, host, path);
    }
    if (w == NULL) {
        w = way_of(&router->any, listener, path);
    }
    *mount = w != NULL && w->mount ? w->path.len - 1 : 0;
    return w != NULL ? (int32_t)w->backend : router->defaults[listener];
}

/* --- A generation ------------------------------------------------------------------------- */

struct generation *generation_new(const struct conf *conf, struct registry *registry) {
    struct generation *generation = mem_zero(sizeof *generation);
    generation->conf = conf;
    generation->router = router_new(conf);
    generation->backends = mem_alloc(conf->backend_count * sizeof(*generation->backends));
    for (uint32_t i = 0; i < conf->backend_count; i++) {
        generation->backends[i] = registry_find(registry, str_of(conf->backends[i].name));
        ensure(generation->backends[i] != NULL);
    }
    return generation;
}

void generation_free(struct generation *generation) {
    router_free(generation->router);
    mem_free(generation->backends);
    mem_free(generation);
}
