/* Looks the names of servers up, again and again, in a thread of its own. */
/* 1.34 would rather have a thread of its own than be asked for its sockets (ares_getsock). */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "upstream/upstream_priv.h"

/* A TTL of 0, and what /etc/hosts says, which has none, is good for so long. */
#define TTL_MIN_MS 1000u
#define TTL_MAX_MS (24u * 3600u * 1000u)
/* After a failure: twice as long each further time. */
#define RETRY_MIN_MS 1000u
#define RETRY_MAX_MS 30000u
/* A name server has so long to answer; each is asked so often, a little longer each time. */
#define ASK_MS 2000
#define ASK_TRIES 2
/* Addresses of an answer; names that are looked up at once; pause between looks at places that are
 * awaited. */
#define FOUND_MAX 1024u
#define LOOKUPS_MAX 32u
#define SETTLE_MS 100u

struct lookup {
    struct resolver *resolver;
    struct name *name;
    ares_channel channel;          /* NULL: none runs. A new one each time, as resolv.conf may
                                    * have changed */
    int family;                    /* that is asked for */
    bool over;
    uint64_t due_ms;               /* the next */
    uint32_t failures;             /* in a row */
};

struct resolver {
    pthread_t thread;
    int stop_fd;
    char *asks;                    /* as c-ares takes them; NULL: the system's */
    struct lookup *lookups;
    uint32_t count, running;
    struct addr found[FOUND_MAX];
    struct pollfd fds[1 + LOOKUPS_MAX * ARES_GETSOCK_MAXNUM];
};

static uint64_t clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- One lookup --------------------------------------------------------------------------- */

static void lookup_failed(struct lookup *lookup, const char *why) {
    uint64_t pause = RETRY_MIN_MS;
    for (uint32_t i = 0; i < lookup->failures && pause < RETRY_MAX_MS; i++) {
        pause *= 2;
    }
    lookup->failures++;
    lookup->due_ms = clock_ms() + (pause < RETRY_MAX_MS ? pause : RETRY_MAX_MS);
    lookup->over = true;
    name_failed(lookup->name, why);
}

static uint32_t take(struct resolver *resolver, const struct ares_addrinfo *info, int *ttl) {
    uint32_t count = 0;
    const struct ares_addrinfo_node *node = info->nodes;
    for (; node != NULL && count < FOUND_MAX; node = node->ai_next) {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct addr *to = &resolver->found[count++];
        *to = (struct addr){0};
        if (node->ai_family == AF_INET6) {
            memcpy(&in6, node->ai_addr, sizeof in6);
            addr_set_ip(to, AF_INET6, &in6.sin6_addr);
        } else {
            memcpy(&in, node->ai_addr, sizeof in);
            addr_set_ip(to, AF_INET, &in.sin_addr);
        }
        *ttl = node->ai_ttl < *ttl ? node->ai_ttl : *ttl;
    }
    for (const struct ares_addrinfo_cname *c = info->cnames; c != NULL; c = c->next) {
        *ttl = c->ttl < *ttl ? c->ttl : *ttl;
    }
    return count;
}

static void lookup_found(struct lookup *lookup, const struct ares_addrinfo *info) {
    int ttl = TTL_MAX_MS / 1000;
    uint32_t count = take(lookup->resolver, info, &ttl);
    uint64_t ms = ttl > 0 ? (uint64_t)ttl * 1000 : 0;
    lookup->due_ms = clock_ms() + (ms > TTL_MIN_MS ? ms : TTL_MIN_MS);
    lookup->failures = 0;
    lookup->over = true;
    name_found(lookup->name, lookup->resolver->found, count);
}

static void lookup_ask(struct lookup *lookup, int family);

/* An app server that is told a name listens on IPv4, so IPv6 is for those that have nothing else,
 * and not for those whose IPv4 is not known just now. */
static void lookup_done(void *arg, int status, int timeouts, struct ares_addrinfo *info) {
    struct lookup *lookup = arg;
    (void)timeouts;
    bool nothing = status == ARES_ENODATA || status == ARES_ENOTFOUND ||
                   (status == ARES_SUCCESS && info->nodes == NULL);
    if (status == ARES_EDESTRUCTION) {
        return;
    }
    if (nothing && lookup->family == AF_INET) {
        lookup_ask(lookup, AF_INET6);
    } else if (nothing) {
        lookup_failed(lookup, "it has no address");
    } else if (status != ARES_SUCCESS) {
        lookup_failed(lookup, ares_strerror(status));
    } else {
        lookup_found(lookup, info);
    }
    if (info != NULL) {
        ares_freeaddrinfo(info);
    }
}

static void lookup_ask(struct lookup *lookup, int family) {
    const struct ares_addrinfo_hints hints = {.ai_family = family, .ai_socktype = SOCK_STREAM,
                                              .ai_flags = ARES_AI_NOSORT};
    lookup->family = family;
    ares_getaddrinfo(lookup->channel, lookup->name->host, NULL, &hints, lookup_done, lookup);
}

static void lookup_begin(struct lookup *lookup) {
    struct ares_options options = {.timeout = ASK_MS, .tries = ASK_TRIES};
    int status = ares_init_options(&lookup->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (status != ARES_SUCCESS) {
        lookup->channel = NULL;
        lookup_failed(lookup, ares_strerror(status));
        return;
    }
    lookup->over = false;
    lookup->resolver->running++;
    const char *asks = lookup->resolver->asks;
    status = asks != NULL ? ares_set_servers_ports_csv(lookup->channel, asks) : ARES_SUCCESS;
    if (status != ARES_SUCCESS) {
        lookup_failed(lookup, ares_strerror(status));
        return;
    }
    lookup_ask(lookup, AF_INET);
}

static void lookup_end(struct lookup *lookup) {
    ares_destroy(lookup->channel);
    lookup->channel = NULL;
    lookup->resolver->running--;
}

/* --- The thread --------------------------------------------------------------------------- */

/* How long nothing is due. */
static uint64_t begin_all(struct resolver *r) {
    uint64_t now = clock_ms(), wait = UINT64_MAX;
    for (uint32_t i = 0; i < r->count; i++) {
        struct lookup *lookup = &r->lookups[i];
        if (lookup->channel == NULL && lookup->due_ms <= now && r->running < LOOKUPS_MAX) {
            lookup_begin(lookup);
        }
        if (lookup->channel != NULL && lookup->over) {
            lookup_end(lookup);   /* in a file, or at once not */
        }
        if (lookup->channel == NULL) {
            uint64_t left = lookup->due_ms > now ? lookup->due_ms - now : 0;
            wait = left < wait ? left : wait;
        }
    }
    return r->running < LOOKUPS_MAX ? wait : UINT64_MAX;
}

static uint64_t settle_all(struct resolver *r) {
    bool waits = false;
    for (uint32_t i = 0; i < r->count; i++) {
        waits |= name_settle(r->lookups[i].name);
    }
    return waits ? SETTLE_MS : UINT64_MAX;
}

static uint32_t watch(struct resolver *r, const struct lookup *lookup, uint32_t count) {
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    unsigned bits = (unsigned)ares_getsock(lookup->channel, sockets, ARES_GETSOCK_MAXNUM);
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        bool reads = (bits >> i & 1) != 0;   /* c-ares's macros shift into the sign */
        bool writes = (bits >> (i + ARES_GETSOCK_MAXNUM) & 1) != 0;
        short events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
        if (events != 0) {
            r->fds[count++] = (struct pollfd){.fd = sockets[i], .events = events};
        }
    }
    return count;
}

static uint64_t patience_ms(const struct lookup *lookup) {
    struct timeval left, most = {.tv_sec = ASK_MS / 1000};
    const struct timeval *tv = ares_timeout(lookup->channel, &most, &left);
    return (uint64_t)tv->tv_sec * 1000 + (uint64_t)tv->tv_usec / 1000 + 1;
}

static void process(struct lookup *lookup, const struct pollfd *fds, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        bool reads = (fds[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0;
        bool writes = (fds[i].revents & POLLOUT) != 0;
        ares_process_fd(lookup->channel, reads ? fds[i].fd : ARES_SOCKET_BAD,
                        writes ? fds[i].fd : ARES_SOCKET_BAD);
    }
    ares_process_fd(lookup->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);   /* who is late */
    if (lookup->over) {
        lookup_end(lookup);
    }
}

/* Waits, at most so long, and does what has come; false: it is to stop. */
static bool turn(struct resolver *r, uint64_t wait_ms) {
    uint32_t ends[LOOKUPS_MAX], count = 1, running = 0;
    struct lookup *lookups[LOOKUPS_MAX];
    r->fds[0] = (struct pollfd){.fd = r->stop_fd, .events = POLLIN};
    for (uint32_t i = 0; i < r->count; i++) {
        struct lookup *lookup = &r->lookups[i];
        if (lookup->channel != NULL) {
            uint64_t patience = patience_ms(lookup);
            wait_ms = patience < wait_ms ? patience : wait_ms;
            count = watch(r, lookup, count);
            lookups[running] = lookup;
            ends[running++] = count;
        }
    }
    int n = poll(r->fds, count, wait_ms < 3600000 ? (int)wait_ms : 3600000);
    if (n < 0) {
        ensure(errno == EINTR);
        return true;
    }
    for (uint32_t i = 0, from = 1; i < running; from = ends[i++]) {
        process(lookups[i], &r->fds[from], ends[i] - from);
    }
    return (r->fds[0].revents & POLLIN) == 0;
}

static void *resolver_main(void *arg) {
    struct resolver *r = arg;
    uint64_t wait;
    do {
        wait = begin_all(r);
        uint64_t settle = settle_all(r);
        wait = settle < wait ? settle : wait;
    } while (turn(r, wait));
    for (uint32_t i = 0; i < r->count; i++) {
        if (r->lookups[i].channel != NULL) {
            lookup_end(&r->lookups[i]);
        }
    }
    return NULL;
}

static char *asks_of(const struct addr *asks, uint32_t count) {
    uint32_t cap = count * ADDR_TEXT_MAX;
    struct text text = text_on(mem_alloc(cap + 1), cap);
    for (uint32_t i = 0; i < count; i++) {
        char printed[ADDR_TEXT_MAX];
        text_str(&text, i > 0 ? STR(",") : STR(""));
        text_str(&text, str_of(addr_print(&asks[i], printed)));
    }
    text.p[text.len] = '\0';
    return text.p;
}

struct resolver *resolver_new(struct registry *registry, const struct addr *asks,
                              uint32_t ask_count) {
    if (registry->name_count == 0) {
        return NULL;
    }
    struct resolver *r = mem_zero(sizeof *r);
    ensure(ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS);
    r->asks = ask_count > 0 ? asks_of(asks, ask_count) : NULL;
    r->count = registry->name_count;
    r->lookups = mem_zero(r->count * sizeof *r->lookups);
    for (uint32_t i = 0; i < r->count; i++) {
        r->lookups[i] = (struct lookup){.resolver = r, .name = &registry->names[i]};
    }
    r->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ensure(r->stop_fd >= 0);
    int err = pthread_create(&r->thread, NULL, resolver_main, r);
    ensure(err == 0);
    return r;
}

void resolver_free(struct resolver *r) {
    if (r == NULL) {
        return;
    }
    uint64_t one = 1;
    ensure(write(r->stop_fd, &one, sizeof one) == sizeof one);
    pthread_join(r->thread, NULL);
    close(r->stop_fd);
    ares_library_cleanup();
    mem_free(r->lookups);
    mem_free(r->asks);
    mem_free(r);
}
