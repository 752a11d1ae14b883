/* Values that are lists: an element a time, and each may come from a line of its own. */
#include <arpa/inet.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "conf/conf_priv.h"
#include "conf/types_priv.h"

static bool list_has_room(struct load *load, const struct conf_key *key, uint32_t count,
                          struct str element) {
    if (count >= key->max) {
        value_error(load, key, element, "there may be at most %llu",
                    (unsigned long long)key->max);
        return false;
    }
    return true;
}

static void stands_already(struct load *load, const struct conf_key *key, struct str element,
                           uint32_t line) {
    if (line == load->line) {   /* of the same list, or of flags */
        value_error(load, key, element, "it stands here twice");
    } else {
        value_error(load, key, element, "it stands in line %u already", line);
    }
}

static void list_add(struct load *load, const struct conf_key *key, struct conf_list *list,
                     struct str element, bool once) {
    for (uint32_t i = 0; once && i < list->count; i++) {
        if (str_eq(str_of(list->items[i]), element)) {
            stands_already(load, key, element, list->lines[i]);
            return;
        }
    }
    if (list_has_room(load, key, list->count, element)) {
        list->items = items_grow(list->items, list->count, sizeof(*list->items));
        list->lines = items_grow(list->lines, list->count, sizeof(*list->lines));
        list->lines[list->count] = load->line;
        list->items[list->count++] = mem_copy(element.p, element.len);
    }
}

/* Two certificates may share a key, but the same certificate twice is a slip. */
void type_set_files(struct load *load, const struct conf_key *key, void *member, struct str text) {
    struct str element;
    while (str_next_element(&text, &element)) {
        list_add(load, key, member, element, key == key_row(KEY_listener_certificate));
    }
}

static const char *labels_why(struct str name) {
    uint32_t label = 0;
    if (name.len >= ADDR_HOST_MAX) {    /* inih's lines are shorter, but not in every build of it */
        return "a host name is at most 253 bytes";
    }
    for (uint32_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        if (c == '*') {
            return "a wildcard is the whole first label, as in *.example.org";
        }
        if (c == ':') {
            return "a host stands without port";
        }
        if ((unsigned char)c >= 0x80) {
            return "write a name beyond ASCII in its xn-- form";
        }
        label = c == '.' ? 0 : label + 1;
        bool known = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        bool ends = c == '.' && (i == 0 || name.p[i - 1] == '.' || i == name.len - 1);
        if ((!known && c != '.') || ends || label > 63) {
            return "a host is labels of 1 to 63 letters, digits, - or _ with a dot between them";
        }
    }
    return NULL;
}

/* What a Host field may hold (RFC 3986 3.2.2), or a wildcard for its first labels. */
static const char *host_why(struct str host) {
    char ip[INET6_ADDRSTRLEN];
    struct in6_addr v6;
    if (str_eq(host, STR("*"))) {
        return "for every host leave the key out";
    }
    if (host.p[0] == '[') {
        uint32_t len = host.len >= 2 && host.p[host.len - 1] == ']' ? host.len - 2 : 0;
        if (len < sizeof(ip)) {
            memcpy(ip, host.p + 1, len);
            ip[len] = '\0';
            if (inet_pton(AF_INET6, ip, &v6) == 1) {
                return NULL;
            }
        }
        return "between [ and ] stands an IPv6 address";
    }
    if (str_starts(host, STR("*."))) {
        host.p += 2;
        host.len -= 2;
        if (host.len == 0) {
            return "a wildcard is the whole first label, as in *.example.org";
        }
    }
    return labels_why(host);
}

void type_set_hosts(struct load *load, const struct conf_key *key, void *member, struct str text) {
    struct str element;
    while (str_next_element(&text, &element)) {
        char *lower = mem_copy(element.p, element.len);
        for (uint32_t i = 0; i < element.len; i++) {
            lower[i] = char_lower(lower[i]);
        }
        struct str host = {lower, element.len};
        const char *why = host_why(host);
        if (why != NULL) {
            value_error(load, key, element, "%s", why);
        } else {
            list_add(load, key, member, host, true);
        }
        mem_free(lower);
    }
}

void type_set_blocks(struct load *load, const struct conf_key *key, void *member, struct str text) {
    struct conf_global *global = &load->conf->global;
    struct str element;
    ensure(member == &global->trusted_proxies);
    while (str_next_element(&text, &element)) {
        struct cidr block;
        const char *why;
        if (!cidr_parse(&block, element, &why)) {
            value_error(load, key, element, "%s", why);
        } else if (list_has_room(load, key, global->trusted_proxy_count, element)) {
            global->trusted_proxies =
                items_grow(global->trusted_proxies, global->trusted_proxy_count, sizeof(block));
            global->trusted_proxies[global->trusted_proxy_count++] = block;
        }
    }
}

void type_set_resolvers(struct load *load, const struct conf_key *key, void *member,
                        struct str text) {
    struct conf_global *global = &load->conf->global;
    struct str element, name;
    ensure(member == &global->resolvers);
    while (str_next_element(&text, &element)) {
        struct addr addr;
        const char *why;
        if (!addr_parse_name(&addr, &name, element, &why)) {
            value_error(load, key, element, "%s", why);
        } else if (name.len > 0 || addr.sa.any.sa_family == AF_UNIX || addr_is_any(&addr)) {
            value_error(load, key, element, "a name server has a numeric address, as in "
                        "127.0.0.1:53");
        } else if (list_has_room(load, key, global->resolver_count, element)) {
            global->resolvers = items_grow(global->resolvers, global->resolver_count, sizeof(addr));
            global->resolvers[global->resolver_count++] = addr;
        }
    }
}

/* Whether another listener has the address as well is seen when all were read. */
void type_set_addrs(struct load *load, const struct conf_key *key, void *member, struct str text) {
    struct conf_listener *listener = container_of(member, struct conf_listener, binds);
    struct str element;
    while (str_next_element(&text, &element)) {
        struct addr addr;
        const char *why;
        uint32_t count = listener->bind_count;
        if (!addr_parse(&addr, element, &why)) {
            value_error(load, key, element, "%s", why);
        } else if (list_has_room(load, key, count, element)) {
            listener->binds = items_grow(listener->binds, count, sizeof(addr));
            listener->bind_lines = items_grow(listener->bind_lines, count, sizeof(uint32_t));
            listener->binds[count] = addr;
            listener->bind_lines[count] = load->line;
            listener->bind_count++;
        }
    }
}

/* --- server = ADDR [key=value]... ------------------------------------------------------------- */

/* The next word of a value whose words have blanks between them. */
static bool word_next(struct str *rest, struct str *word) {
    uint32_t len = 0;
    *rest = str_trim(*rest);
    while (len < rest->len && rest->p[len] != ' ' && rest->p[len] != '\t') {
        len++;
    }
    *word = (struct str){rest->p, len};
    rest->p += len;
    rest->len -= len;
    return len > 0;
}

static void option_unknown(struct load *load, const struct conf_key *key, struct str element,
                           struct str name) {
    char hint[HINT_MAX], known[HINT_MAX];
    struct nearest nearest = {.wanted = name};
    struct text t = text_on(known, HINT_MAX - 1);
    text_str(&t, STR("; there is"));
    for (enum conf_key_id id = 0; id < KEY_COUNT; id++) {
        if (key_row(id)->server) {
            nearest_show(&nearest, key_row(id)->name);
            text_fmt(&t, " %s=", key_row(id)->name);
        }
    }
    known[t.len] = '\0';
    value_error(load, key, element, "unknown option " STR_FMT "%s", STR_ARG(name),
                nearest_hint(&nearest, known, hint));
}

static void option_set(struct load *load, const struct conf_key *key, struct str element,
                       struct str word, struct conf_server *server, struct key_set *seen) {
    const char *sign = memchr(word.p, '=', word.len);
    if (sign == NULL || sign == word.p || sign == word.p + word.len - 1) {
        value_error(load, key, element,
                    "behind an address stand options as in weight=2, without blanks round the =");
        return;
    }
    struct str name = {word.p, (uint32_t)(sign - word.p)};
    struct str value = {sign + 1, word.len - name.len - 1};
    enum conf_key_id id = key_find(CONF_SECTION_backend, name);
    if (id == KEY_COUNT || !key_row(id)->server) {
        option_unknown(load, key, element, name);
    } else if (seen->has[id]) {
        value_error(load, key, element, STR_FMT " stands twice", STR_ARG(name));
    } else {
        seen->has[id] = true;
        type_set(load, key_row(id), (char *)server + key_row(id)->server_offset, value);
    }
}

/* True when it may stand with those that are there. */
static bool server_is_new(struct load *load, const struct conf_key *key, struct str element,
                          const struct conf_backend *backend, const struct conf_server *server) {
    const struct addr *addr = &server->addr;
    if (addr_is_any(addr) && server->name[0] == '\0') {
        value_error(load, key, element, "a server has a host, as in 127.0.0.1:%u",
                    addr_port(addr));
        return false;
    }
    for (uint32_t i = 0; i < backend->server_count; i++) {
        if (addr_eq(&backend->servers[i].addr, addr) &&
            strcmp(backend->servers[i].name, server->name) == 0) {
            stands_already(load, key, element, backend->servers[i].line);
            return false;
        }
    }
    return list_has_room(load, key, backend->server_count, element);
}

/* A dot behind the name keeps the search domains of /etc/resolv.conf off. */
static bool name_set(struct load *load, const struct conf_key *key, struct str element,
                     struct str name, struct conf_server *server) {
    for (uint32_t i = 0; i < name.len; i++) {
        server->name[i] = char_lower(name.p[i]);
    }
    bool dot = name.len > 1 && name.p[name.len - 1] == '.';
    const char *why = labels_why((struct str){server->name, name.len - dot});
    if (why != NULL && name.len > 0) {
        value_error(load, key, element, "%s", why);
        return false;
    }
    return true;
}

void type_set_servers(struct load *load, const struct conf_key *key, void *member,
                      struct str text) {
    struct conf_backend *backend = container_of(member, struct conf_backend, servers);
    struct part *part = &load->parts[load->part_count - 1];
    struct str element, word, name;
    while (str_next_element(&text, &element)) {
        struct conf_server server = {.line = load->line};
        struct str rest = element;
        uint32_t count = backend->server_count;
        struct key_set seen = {0};
        const char *why;
        word_next(&rest, &word);
        bool good = addr_parse_name(&server.addr, &name, word, &why);
        if (!good) {
            value_error(load, key, element, "%s", why);
        }
        good = good && name_set(load, key, element, name, &server);
        while (word_next(&rest, &word)) {
            option_set(load, key, element, word, &server, &seen);
        }
        if (good && server_is_new(load, key, element, backend, &server)) {
            backend->servers = items_grow(backend->servers, count, sizeof(server));
            part->server_seen = items_grow(part->server_seen, count, sizeof(seen));
            backend->servers[count] = server;
            part->server_seen[count] = seen;
            backend->server_count++;
        }
    }
}
