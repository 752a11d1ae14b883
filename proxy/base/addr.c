/* Addresses: text to socket address and back, endpoints, and blocks of addresses. */
#include "base/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>

#include "base/ensure.h"

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};   /* RFC 4291 2.5.5.2 */

static void addr_of_in(struct addr *a, const struct in_addr *ip, uint16_t port) {
    a->len = sizeof(a->sa.in);
    a->sa.in.sin_family = AF_INET;
    a->sa.in.sin_port = htons(port);
    a->sa.in.sin_addr = *ip;
}

/* A v4-mapped address is IPv4: an IPv6-only socket could neither bind nor dial it. */
static void addr_of_in6(struct addr *a, const struct in6_addr *ip, uint32_t scope, uint16_t port) {
    if (IN6_IS_ADDR_V4MAPPED(ip)) {
        struct in_addr v4;
        memcpy(&v4, &ip->s6_addr[12], sizeof(v4));
        addr_of_in(a, &v4, port);
        return;
    }
    a->len = sizeof(a->sa.in6);
    a->sa.in6.sin6_family = AF_INET6;
    a->sa.in6.sin6_port = htons(port);
    a->sa.in6.sin6_addr = *ip;
    a->sa.in6.sin6_scope_id = scope;
}

static bool parse_unix(struct addr *a, struct str path, const char **why) {
    if (path.len == 0 || path.p[path.len - 1] == '/') {
        *why = "unix: needs the path of a socket, as in unix:/run/app.sock";
        return false;
    }
    if (path.p[0] == '@') {
        *why = "abstract sockets have no owner and no mode; use a path, as in unix:/run/app.sock";
        return false;
    }
    if (path.len >= sizeof(a->sa.un.sun_path)) {
        *why = "the path of a unix socket is at most 107 bytes";
        return false;
    }
    if (memchr(path.p, '\0', path.len) != NULL) {
        *why = "a path holds no NUL byte";
        return false;
    }
    a->sa.un.sun_family = AF_UNIX;
    memcpy(a->sa.un.sun_path, path.p, path.len);
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    return true;
}

static bool parse_port(struct str text, uint16_t *port, const char **why) {
    uint64_t value;
    if (!str_to_u64(text, &value) || value < 1 || value > 65535) {
        *why = "the port is a number from 1 to 65535";
        return false;
    }
    *port = (uint16_t)value;
    return true;
}

/* [V6] with an optional %interface (RFC 4007 11), brackets taken off already. */
static bool parse_v6(struct addr *a, struct str text, uint16_t port, const char **why) {
    char host[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
    struct in6_addr ip;
    uint32_t scope = 0;
    *why = "between [ and ] stands an IPv6 address, as in [::1]:80";
    if (text.len >= sizeof(host) || memchr(text.p, '\0', text.len) != NULL) {
        return false;
    }
    memcpy(host, text.p, text.len);
    host[text.len] = '\0';
    char *percent = strchr(host, '%');
    if (percent != NULL) {
        *percent = '\0';
        scope = if_nametoindex(percent + 1);
        if (scope == 0) {
            *why = "behind the % stands the name of a network interface of this machine";
            return false;
        }
    }
    if (inet_pton(AF_INET6, host, &ip) != 1) {
        return false;
    }
    addr_of_in6(a, &ip, scope, port);
    return true;
}

static const char *resolve_why(int rc) {
    switch (rc) {
    case EAI_NONAME:
    case EAI_NODATA:
        return "the system knows no address of this name";
    case EAI_AGAIN:
        return "the name can not be resolved now; is a name server reachable?";
    default:
        return "the name can not be resolved";
    }
}

static bool parse_name(struct addr *a, const char *host, uint16_t port, const char **why) {
    struct addrinfo *all = NULL;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc = getaddrinfo(host, NULL, &hints, &all);
    if (rc != 0) {
        *why = resolve_why(rc);
        return false;
    }
    const struct addrinfo *chosen = NULL;
    for (const struct addrinfo *at = all; at != NULL; at = at->ai_next) {
        if (at->ai_family == AF_INET) {
            chosen = at;
            break;
        }
        if (at->ai_family == AF_INET6 && chosen == NULL) {
            chosen = at;
        }
    }
    if (chosen == NULL) {
        *why = resolve_why(EAI_NODATA);
    } else if (chosen->ai_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, chosen->ai_addr, sizeof(in));
        addr_of_in(a, &in.sin_addr, port);
    } else {
        struct sockaddr_in6 in6;
        memcpy(&in6, chosen->ai_addr, sizeof(in6));
        addr_of_in6(a, &in6.sin6_addr, in6.sin6_scope_id, port);
    }
    freeaddrinfo(all);
    return chosen != NULL;
}

/* What can not be a name is refused here, so that no slip is sent to a name server. A name of
 * digits and dots alone is a mistyped address; getaddrinfo would read 127.1 or 1 as one. */
static bool parse_host(struct addr *a, struct str text, uint16_t port, struct str *name,
                       const char **why) {
    char host[ADDR_HOST_MAX];
    struct in_addr ip;
    bool letters = false;
    if (text.len >= sizeof(host)) {
        *why = "a host name is at most 253 bytes";
        return false;
    }
    for (uint32_t i = 0; i < text.len; i++) {
        char c = char_lower(text.p[i]);
        bool letter = (c >= 'a' && c <= 'z') || c == '_' || c == '-';
        if (!letter && c != '.' && (c < '0' || c > '9')) {
            bool scheme = c == ':' && text.len - i > 2 && text.p[i + 1] == '/' &&
                          text.p[i + 2] == '/';
            *why = scheme   ? "an address has no scheme; write HOST:PORT"
                 : c == ':' ? "an IPv6 address stands in brackets, as in [::1]:80"
                 : c == '*' ? "for every address write :PORT"
                            : "a host is a numeric address or a name of letters, digits, - and .";
            return false;
        }
        letters = letters || letter;
    }
    memcpy(host, text.p, text.len);
    host[text.len] = '\0';
    if (inet_pton(AF_INET, host, &ip) == 1) {
        addr_of_in(a, &ip, port);
        return true;
    }
    if (!letters) {
        *why = "an IPv4 address has four numbers from 0 to 255, as in 127.0.0.1";
        return false;
    }
    if (name == NULL) {
        return parse_name(a, host, port, why);
    }
    bool local = str_eq_fold(text, STR("localhost"));   /* RFC 6761 6.3: no name server is asked */
    ip.s_addr = htonl(local ? INADDR_LOOPBACK : INADDR_ANY);
    addr_of_in(a, &ip, port);
    *name = local ? STR("") : text;
    return true;
}

static bool parse(struct addr *a, struct str text, struct str *name, const char **why) {
    uint16_t port;
    memset(a, 0, sizeof(*a));
    *why = "write HOST:PORT, [V6]:PORT, :PORT or unix:PATH";
    if (str_starts(text, STR("unix:"))) {
        return parse_unix(a, (struct str){text.p + 5, text.len - 5}, why);
    }
    uint32_t colon = text.len;
    while (colon > 0 && text.p[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0) {
        return false;
    }
    struct str host = {text.p, colon - 1};
    bool bracketed = host.len > 1 && host.p[0] == '[' && host.p[host.len - 1] == ']';
    if (host.len > 0 && !bracketed && (host.p[0] == '[' || host.p[host.len - 1] == ']')) {
        return false;   /* [::1 without port, most likely */
    }
    if (!parse_port((struct str){text.p + colon, text.len - colon}, &port, why)) {
        return false;
    }
    if (host.len == 0) {
        addr_of_in6(a, &in6addr_any, 0, port);
        a->dual = true;
        return true;
    }
    if (bracketed) {
        return parse_v6(a, (struct str){host.p + 1, host.len - 2}, port, why);
    }
    return parse_host(a, host, port, name, why);
}

bool addr_parse(struct addr *a, struct str text, const char **why) {
    return parse(a, text, NULL, why);
}

bool addr_parse_name(struct addr *a, struct str *name, struct str text, const char **why) {
    *name = STR("");
    return parse(a, text, name, why);
}

void addr_set_ip(struct addr *a, int family, const void *ip) {
    struct in_addr v4;
    struct in6_addr v6;
    uint16_t port = addr_port(a);
    memset(a, 0, sizeof(*a));
    if (family == AF_INET6) {
        memcpy(&v6, ip, sizeof(v6));
        addr_of_in6(a, &v6, 0, port);
    } else {
        memcpy(&v4, ip, sizeof(v4));
        addr_of_in(a, &v4, port);
    }
}

static void print_unix(struct text *t, const struct addr *a) {
    uint32_t base = (uint32_t)offsetof(struct sockaddr_un, sun_path);
    uint32_t len = a->len > base ? a->len - base : 0;
    const char *path = a->sa.un.sun_path;
    text_str(t, STR("unix:"));
    if (len > 0 && path[0] == '\0') {   /* abstract: only from a descriptor that we were handed */
        text_char(t, '@');
        text_str(t, (struct str){path + 1, len - 1});
        return;
    }
    text_str(t, (struct str){path, (uint32_t)strnlen(path, len)});
}

char *addr_print(const struct addr *a, char p[ADDR_TEXT_MAX]) {
    char ip[INET6_ADDRSTRLEN], name[IF_NAMESIZE];
    struct text t = text_on(p, ADDR_TEXT_MAX - 1);
    switch (a->sa.any.sa_family) {
    case AF_INET:
        text_str(&t, str_of(inet_ntop(AF_INET, &a->sa.in.sin_addr, ip, sizeof(ip))));
        break;
    case AF_INET6:
        if (a->dual) {
            break;
        }
        text_char(&t, '[');
        text_str(&t, str_of(inet_ntop(AF_INET6, &a->sa.in6.sin6_addr, ip, sizeof(ip))));
        if (a->sa.in6.sin6_scope_id != 0) {
            text_char(&t, '%');
            if (if_indextoname(a->sa.in6.sin6_scope_id, name) != NULL) {
                text_str(&t, str_of(name));
            } else {
                text_u64(&t, a->sa.in6.sin6_scope_id);
            }
        }
        text_char(&t, ']');
        break;
    case AF_UNIX:
        print_unix(&t, a);
        p[t.len] = '\0';
        return p;
    default:
        text_str(&t, STR("unknown"));
        p[t.len] = '\0';
        return p;
    }
    text_char(&t, ':');
    text_u64(&t, addr_port(a));
    p[t.len] = '\0';
    return p;
}

bool addr_eq(const struct addr *a, const struct addr *b) {
    if (a->sa.any.sa_family != b->sa.any.sa_family || addr_port(a) != addr_port(b)) {
        return false;
    }
    switch (a->sa.any.sa_family) {
    case AF_INET:
        return a->sa.in.sin_addr.s_addr == b->sa.in.sin_addr.s_addr;
    case AF_INET6:
        return memcmp(&a->sa.in6.sin6_addr, &b->sa.in6.sin6_addr, 16) == 0 &&
               a->sa.in6.sin6_scope_id == b->sa.in6.sin6_scope_id;
    case AF_UNIX:
        return a->len == b->len && memcmp(&a->sa.un, &b->sa.un, a->len) == 0;
    default:
        return true;
    }
}

bool addr_is_any(const struct addr *a) {
    switch (a->sa.any.sa_family) {
    case AF_INET:
        return a->sa.in.sin_addr.s_addr == htonl(INADDR_ANY);
    case AF_INET6:
        return IN6_IS_ADDR_UNSPECIFIED(&a->sa.in6.sin6_addr);
    default:
        return false;
    }
}

uint16_t addr_port(const struct addr *a) {
    switch (a->sa.any.sa_family) {
    case AF_INET:
        return ntohs(a->sa.in.sin_port);
    case AF_INET6:
        return ntohs(a->sa.in6.sin6_port);
    default:
        return 0;
    }
}

void endpoint_of(struct endpoint *e, const struct sockaddr *sa, socklen_t len) {
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    memset(e, 0, sizeof(*e));
    if (len < sizeof(sa->sa_family)) {
        return;
    }
    if (sa->sa_family == AF_INET && len >= sizeof(in)) {
        memcpy(&in, sa, sizeof(in));
        e->family = AF_INET;
        e->port = ntohs(in.sin_port);
        memcpy(e->ip, &in.sin_addr, 4);
    } else if (sa->sa_family == AF_INET6 && len >= sizeof(in6)) {
        memcpy(&in6, sa, sizeof(in6));
        bool mapped = memcmp(&in6.sin6_addr, mapped_prefix, sizeof(mapped_prefix)) == 0;
        e->family = mapped ? AF_INET : AF_INET6;
        e->port = ntohs(in6.sin6_port);
        memcpy(e->ip, &in6.sin6_addr.s6_addr[mapped ? 12 : 0], mapped ? 4 : 16);
    } else if (sa->sa_family == AF_UNIX) {
        e->family = AF_UNIX;
    }
}

/* By hand: it is asked for with every request. */
static char *ipv4_put(char *p, const uint8_t ip[4]) {
    for (unsigned i = 0; i < 4; i++) {
        p = u64_put(p, ip[i]);
        *p++ = '.';
    }
    return p - 1;
}

char *endpoint_put(char p[ADDR_TEXT_MAX], const struct endpoint *e) {
    if (e->family == AF_INET) {
        return ipv4_put(p, e->ip);
    }
    if (e->family == AF_INET6) {
        ensure(inet_ntop(e->family, e->ip, p, ADDR_TEXT_MAX) != NULL);
        return p + strlen(p);
    }
    struct str word = e->family == AF_UNIX ? STR("unix") : STR("unknown");
    memcpy(p, word.p, word.len);
    return p + word.len;
}

char *endpoint_print(const struct endpoint *e, char p[ADDR_TEXT_MAX]) {
    *endpoint_put(p, e) = '\0';
    return p;
}

/* A v4-mapped address is IPv4 in an endpoint already. */
struct network endpoint_network(const struct endpoint *e) {
    struct network network = {.family = e->family};
    memcpy(&network.bits, e->ip, e->family == AF_INET ? 4 : 8);
    return network;
}

uint64_t network_hash(const struct network *network, const uint64_t secrets[2]) {
    uint64_t x = (network->bits + network->family) ^ secrets[0];
    for (unsigned i = 0; i < 3; i++) {
        x ^= x >> 32;
        x *= secrets[1];
    }
    return x ^ x >> 29;
}

/* True when the first `bits` bits of a and b are the same. */
static bool bits_eq(const uint8_t *a, const uint8_t *b, uint32_t bits) {
    uint32_t bytes = bits / 8, rest = bits % 8;
    if (memcmp(a, b, bytes) != 0) {
        return false;
    }
    return rest == 0 || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0;
}

static bool bits_clear_from(const uint8_t *ip, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++) {
        if (ip[i / 8] & (0x80u >> (i % 8))) {
            return false;
        }
    }
    return true;
}

bool cidr_parse(struct cidr *c, struct str text, const char **why) {
    char host[INET6_ADDRSTRLEN];
    memset(c, 0, sizeof(*c));
    *why = "write an address, a block like 10.0.0.0/8 or fd00::/8, or unix";
    if (str_eq(text, STR("unix"))) {
        c->family = AF_UNIX;
        return true;
    }
    const char *slash = text.len ? memchr(text.p, '/', text.len) : NULL;
    struct str ip = {text.p, slash != NULL ? (uint32_t)(slash - text.p) : text.len};
    if (ip.len == 0 || ip.len >= sizeof(host) || memchr(ip.p, '\0', ip.len) != NULL) {
        return false;
    }
    memcpy(host, ip.p, ip.len);
    host[ip.len] = '\0';
    c->family = memchr(host, ':', ip.len) != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(c->family, host, c->ip) != 1) {
        return false;
    }
    uint64_t bits = c->family == AF_INET ? 32 : 128, bits_max = bits;
    if (slash != NULL &&
        (!str_to_u64((struct str){slash + 1, text.len - ip.len - 1}, &bits) || bits > bits_max)) {
        *why = c->family == AF_INET ? "behind the / stands a number from 0 to 32"
                                    : "behind the / stands a number from 0 to 128";
        return false;
    }
    if (!bits_clear_from(c->ip, (uint32_t)bits, (uint32_t)bits_max)) {
        *why = "the bits behind the prefix must be 0, as in 10.0.0.0/8";
        return false;
    }
    if (c->family == AF_INET6 && bits >= 96 && bits_eq(c->ip, mapped_prefix, 96)) {
        c->family = AF_INET;   /* as endpoint_of will show those peers */
        memmove(c->ip, c->ip + 12, 4);
        memset(c->ip + 4, 0, 12);
        bits -= 96;
    }
    c->bits = (uint8_t)bits;
    return true;
}

bool cidr_has(const struct cidr *c, const struct endpoint *e) {
    return c->family == e->family && bits_eq(c->ip, e->ip, c->bits);
}
