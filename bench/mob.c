/* gyre-mob: many clients that mean no good, and what became of them.
 *
 *   gyre-mob --to ADDR --kind KIND [--connections N] [--sources N] [--every-ms N] [--seconds N]
 *
 *   head        begins a request head and goes on with a byte each --every-ms, for ever
 *   body        the same with a request body
 *   read        asks for /big with the least receive window there is, and reads nothing
 *   handshake   TLS handshakes one after the other on each connection; nothing is asked
 *   hello       sends the same ClientHello again and again, and goes once it is answered: the
 *               server has done its key exchange and its signature then, the client nothing
 *
 * Connections come from 127.0.0.11 and the --sources addresses behind it; one that is closed is
 * opened again. "ready" comes when all are open (each has had a handshake, on average); one JSON
 * object at SIGTERM, or when --seconds are over. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/ensure.h"
#include "base/log.h"
#include "bench/client.h"

#define CONNECTIONS_MAX 15000u
#define CONNECTING_MAX 256u    /* at a time: no server's backlog is to overflow */
#define SOURCE_FIRST 11u
#define READY_S 30u            /* for all to be open */
#define TICK_MS 10

enum kind { KIND_HEAD, KIND_BODY, KIND_READ, KIND_HANDSHAKE, KIND_HELLO, KINDS };

static const struct {
    const char *name;
    const char *opening;       /* sent at once; NULL: a handshake */
    bool drips;
    int rx_bytes;
} kinds[KINDS] = {
    {"head", "GET / HTTP/1.1\r\nHost: bench.test\r\nX-Slow: ", true, 0},
    {"body", "POST /hold HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 1000000\r\n\r\n", true, 0},
    {"read", "GET /big HTTP/1.1\r\nHost: bench.test\r\n\r\n", false, 1},
    {"handshake", NULL, false, 0},
    {"hello", NULL, false, 0},
};

enum member_state { MEMBER_CLOSED, MEMBER_CONNECTING, MEMBER_SHAKING, MEMBER_OPEN };

struct member {
    int fd;
    enum member_state state;
    SSL *ssl;
};

static struct {
    struct addr to;
    enum kind kind;
    uint64_t connections, sources, every_ms, seconds;
} params = {.kind = KINDS, .connections = 64, .sources = 16, .every_ms = 3000, .seconds = 60};

static struct {
    int epoll;
    struct member *members;
    SSL_CTX *context;
    uint8_t hello[1024];
    int hello_len;
    uint32_t connecting, open, next;   /* next: the next one to drip */
    uint64_t start_ns, dripped, drips; /* dripped: how many were due so far; drips: sent */
    uint64_t opened, lost, done, failed;
} mob;

/* --- One of them -------------------------------------------------------------------------- */

static void member_state_set(struct member *member, enum member_state state) {
    mob.connecting -= member->state == MEMBER_CONNECTING;
    mob.open -= member->state == MEMBER_OPEN;
    member->state = state;
    mob.connecting += state == MEMBER_CONNECTING;
    mob.open += state == MEMBER_OPEN;
}

static void member_close(struct member *member) {
    SSL_free(member->ssl);
    member->ssl = NULL;
    client_abort(member->fd);
    member_state_set(member, MEMBER_CLOSED);
}

static void member_open(struct member *member) {
    uint64_t index = (uint64_t)(member - mob.members);
    unsigned source = params.sources > 0 ? SOURCE_FIRST + (unsigned)(index % params.sources) : 0;
    member->fd = client_connect(&params.to, source, kinds[params.kind].rx_bytes, 0);
    member_state_set(member, MEMBER_CONNECTING);
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = member};
    ensure(epoll_ctl(mob.epoll, EPOLL_CTL_ADD, member->fd, &event) == 0);
}

static void member_wait(struct member *member, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = member};
    ensure(epoll_ctl(mob.epoll, EPOLL_CTL_MOD, member->fd, &event) == 0);
}

static bool member_send(struct member *member, const void *p, size_t len) {
    ssize_t res = send(member->fd, p, len, MSG_NOSIGNAL);
    return res == (ssize_t)len || (res < 0 && errno == EAGAIN);
}

/* The server's ServerHello has come; an alert, or an end, would be no work of it. */
static void member_answered(struct member *member) {
    uint8_t record[4096];
    ssize_t res = recv(member->fd, record, sizeof record, 0);
    bool answered = res > 5 && record[0] == 22 && record[5] == 2;
    mob.done += answered;
    mob.failed += !answered;
    member_close(member);
}

/* Goes on with a handshake. When it stands we say that we go, and wait until the server has gone,
 * so that it has seen all of it: a reset right behind our Finished would take that away. */
static void member_shake(struct member *member) {
    int res = SSL_do_handshake(member->ssl);
    if (res != 1) {
        int error = SSL_get_error(member->ssl, res);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
            mob.failed++;
            member_close(member);
        }
        return;
    }
    mob.done++;
    (void)SSL_shutdown(member->ssl);
    member_state_set(member, MEMBER_OPEN);
}

static void member_connected(struct member *member) {
    int err = 0;
    socklen_t len = sizeof err;
    ensure(getsockopt(member->fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0);
    bool well = err == 0;
    if (well && kinds[params.kind].opening != NULL) {
        const char *opening = kinds[params.kind].opening;
        well = member_send(member, opening, strlen(opening));
    } else if (well && params.kind == KIND_HELLO) {
        well = member_send(member, mob.hello, (size_t)mob.hello_len);
    }
    if (!well) {
        mob.failed++;
        member_close(member);
        return;
    }
    mob.opened++;
    if (params.kind == KIND_HANDSHAKE) {
        member->ssl = client_tls_new(mob.context, member->fd);
    }
    /* Whoever does not read does not want to be told that there is something. */
    member_wait(member, params.kind == KIND_READ ? EPOLLRDHUP : EPOLLIN | EPOLLRDHUP);
    bool slow = kinds[params.kind].opening != NULL;
    member_state_set(member, slow ? MEMBER_OPEN : MEMBER_SHAKING);
    if (params.kind == KIND_HANDSHAKE) {
        member_shake(member);
    }
}

static void member_ready(struct member *member, uint32_t events) {
    char drop[4096];
    switch (member->state) {
    case MEMBER_CLOSED:
        break;
    case MEMBER_CONNECTING:
        member_connected(member);
        break;
    case MEMBER_SHAKING:
        if (params.kind == KIND_HELLO) {
            member_answered(member);
        } else {
            member_shake(member);
        }
        break;
    case MEMBER_OPEN:
        /* Tickets come before the server's end; to a slow one an answer is the end. */
        if (params.kind == KIND_HANDSHAKE && recv(member->fd, drop, sizeof drop, 0) > 0) {
            break;
        }
        mob.lost += params.kind != KIND_HANDSHAKE || events & EPOLLERR;
        member_close(member);
        break;
    }
}

/* --- All of them -------------------------------------------------------------------------- */

static void mob_open(void) {
    for (uint32_t i = 0; i < params.connections && mob.connecting < CONNECTING_MAX; i++) {
        if (mob.members[i].state == MEMBER_CLOSED) {
            member_open(&mob.members[i]);
        }
    }
}

/* Evenly over the time, so that everybody's turn comes each every_ms. */
static void mob_drip(uint64_t now_ns) {
    uint64_t due = (now_ns - mob.start_ns) / 1000000 * params.connections / params.every_ms;
    for (; mob.dripped < due; mob.dripped++) {
        struct member *member = &mob.members[mob.next];
        mob.next = (mob.next + 1) % (uint32_t)params.connections;
        if (member->state == MEMBER_OPEN) {
            mob.drips += member_send(member, "a", 1);
        }
    }
}

/* True once everybody is at it. Handshakes are; connections are seen to be. */
static bool mob_ready(void) {
    return kinds[params.kind].opening != NULL ? mob.open == params.connections
                                              : mob.done >= params.connections;
}

static void mob_run(void) {
    bool told = false;
    mob.start_ns = clock_ns();
    uint64_t end_ns = mob.start_ns + params.seconds * CLIENT_S;
    for (uint64_t now; !client_leaving && (now = clock_ns()) < end_ns;) {
        if (mob.connecting < CONNECTING_MAX && mob.open < params.connections) {
            mob_open();
        }
        if (kinds[params.kind].drips) {
            mob_drip(now);
        }
        struct epoll_event events[256];
        int n = epoll_wait(mob.epoll, events, 256, TICK_MS);
        for (int i = 0; i < n; i++) {
            member_ready(events[i].data.ptr, events[i].events);
        }
        if (!told && mob_ready()) {
            told = true;
            printf("ready\n");
            fflush(stdout);
        } else if (!told && now > mob.start_ns + READY_S * CLIENT_S) {
            log_error("%u of %llu are open", mob.open, (unsigned long long)params.connections);
            exit(1);
        }
    }
}

static void mob_print(void) {
    double seconds = (double)(clock_ns() - mob.start_ns) / (double)CLIENT_S;
    printf("{\"kind\": \"%s\", \"connections\": %llu, \"open\": %u, \"opened\": %llu, "
           "\"lost\": %llu, \"drips\": %llu, \"done\": %llu, \"failed\": %llu, "
           "\"seconds\": %.3f}\n",
           kinds[params.kind].name, (unsigned long long)params.connections, mob.open,
           (unsigned long long)mob.opened, (unsigned long long)mob.lost,
           (unsigned long long)mob.drips, (unsigned long long)mob.done,
           (unsigned long long)mob.failed, seconds);
    fflush(stdout);
}

/* The first flight of a client that goes no further. */
static void hello_make(void) {
    SSL *ssl = client_tls_new(mob.context, -1);
    (void)SSL_do_handshake(ssl);
    mob.hello_len = BIO_read(SSL_get_wbio(ssl), mob.hello, sizeof mob.hello);
    ensure(mob.hello_len > 0 && mob.hello[0] == 22 && mob.hello[5] == 1);
    SSL_free(ssl);
}

static void mob_init(void) {
    client_begin();
    client_leave_on_signals();
    mob.epoll = epoll_create1(EPOLL_CLOEXEC);
    mob.members = calloc(params.connections, sizeof *mob.members);
    ensure(mob.epoll >= 0 && mob.members != NULL);
    mob.context = client_tls();
    hello_make();
}

static void options_read(int argc, char **argv) {
    static const struct option options[] = {{"to", required_argument, NULL, 'a'},
                                            {"kind", required_argument, NULL, 'k'},
                                            {"connections", required_argument, NULL, 'c'},
                                            {"sources", required_argument, NULL, 'o'},
                                            {"every-ms", required_argument, NULL, 'e'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'a': params.to = client_addr(optarg); break;
        case 'k':
            for (params.kind = 0; params.kind < KINDS; params.kind++) {
                if (strcmp(optarg, kinds[params.kind].name) == 0) {
                    break;
                }
            }
            break;
        case 'c': params.connections = client_number(optarg, CONNECTIONS_MAX); break;
        case 'o': params.sources = client_number(optarg, 200); break;
        case 'e': params.every_ms = client_number(optarg, 600000); break;
        case 's': params.seconds = client_number(optarg, 3600); break;
        default: exit(2);   /* getopt has said why */
        }
    }
    if (optind < argc || params.to.len == 0 || params.kind == KINDS ||
        params.connections == 0 || params.every_ms == 0) {
        log_error("usage: gyre-mob --to ADDR --kind head|body|read|handshake|hello "
                  "[--connections N] [--sources N] [--every-ms N] [--seconds N]");
        exit(2);
    }
}

int main(int argc, char **argv) {
    options_read(argc, argv);
    mob_init();
    mob_run();
    mob_print();
    for (uint32_t i = 0; i < params.connections; i++) {
        if (mob.members[i].state != MEMBER_CLOSED) {
            member_close(&mob.members[i]);
        }
    }
    SSL_CTX_free(mob.context);
    free(mob.members);
    return 0;
}
