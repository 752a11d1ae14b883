/* From host, path and listener to a backend. */
#include <stdlib.h>

#include "base/mem.h"
#include "exchange/exchange_priv.h"

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

struct router {
    struct way *ways;           /* the first that matches is the right one */
    uint32_t way_count;
    int32_t *defaults;          /* by listener: its backend, or -1 */
};

static int way_class(const struct way *w) {
    if (w->host.len == 0) {
        return 2;
    }
    return w->wildcard ? 1 : 0;
}

/* Exact hosts, then wildcards from the longest, then none; among equals the longest path, then a
 * route of this listener alone, then the file's order. */
static int way_compare(const void *left, const void *right) {
    const struct way *a = left, *b = right;
    if (way_class(a) != way_class(b)) {
        return way_class(a) - way_class(b);
    }
    if (a->host.len != b->host.len) {
        return a->host.len > b->host.len ? -1 : 1;
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
    router->defaults = mem_zero(conf->listener_count * sizeof *router->defaults);
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        router->defaults[i] = conf->listeners[i].backend_index;
    }
    return router;
}

void router_free(struct router *router) {
    mem_free(router->ways);
    mem_free(router->defaults);
    mem_free(router);
}

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

static bool way_matches(const struct way *w, uint32_t listener, struct str host, struct str path) {
    if (w->listener >= 0 && (uint32_t)w->listener != listener) {
        return false;
    }
    if (w->wildcard) {
        if (host.len <= w->host.len || !str_ends_fold(host, w->host)) {
            return false;
        }
    } else if (w->host.len > 0 && !str_eq_fold(host, w->host)) {
        return false;
    }
    return path_matches(w, path);
}

int32_t router_find(const struct router *router, uint32_t listener, struct str authority,
                    struct str path, uint32_t *mount) {
    struct str host = host_of(authority);
    if (host.len > 1 && host.p[host.len - 1] == '.') {
        host.len--;   /* the root's dot names the same host */
    }
    *mount = 0;
    for (uint32_t i = 0; i < router->way_count; i++) {
        const struct way *w = &router->ways[i];
        if (way_matches(w, listener, host, path)) {
            *mount = w->mount ? w->path.len - 1 : 0;
            return (int32_t)w->backend;
        }
    }
    return router->defaults[listener];
}

struct generation *generation_new(const struct conf *conf, struct registry *registry) {
    struct generation *generation = mem_zero(sizeof *generation);
    generation->conf = conf;
    generation->registry = registry;
    generation->router = router_new(conf);
    return generation;
}

void generation_free(struct generation *generation) {
    router_free(generation->router);
    mem_free(generation);
}
