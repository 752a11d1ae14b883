/* gyre-relay-epoll: the same relay as gyre-relay, over epoll: what its ring is worth.
 *
 *   gyre-relay-epoll --bind ADDR --to ADDR
 *
 * Edge-triggered, one read and one send for each message, one buffer for all: no less can be done
 * with epoll. What a peer does not take at once is kept, and nothing more is read for it. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/tcp.h>

#include "base/ensure.h"
#include "base/log.h"
#include "bench/client.h"

#define BUFFER_BYTES (64u * 1024u)
#define EVENTS 256
#define BACKLOG 4096

struct side {
    struct pair *pair;
    int fd;
    bool hup, eof;             /* hup: the end is there to be read; eof: it has been */
    char *kept;                /* what this side has not taken yet */
    uint32_t kept_off, kept_len;
};

struct pair {
    struct side down, up;
    bool over;
    struct pair *next;         /* of those that are over: an event of this turn may name them */
};

static struct {
    struct addr bind, to;
    int epoll, listener;
    struct pair *over;
} relay;

static void pair_end(struct pair *pair) {
    if (!pair->over) {
        pair->over = true;
        pair->next = relay.over;
        relay.over = pair;
        (void)close(pair->down.fd);
        (void)close(pair->up.fd);
    }
}

static void pairs_free(void) {
    for (struct pair *pair; (pair = relay.over) != NULL;) {
        relay.over = pair->next;
        free(pair->down.kept);
        free(pair->up.kept);
        free(pair);
    }
}

/* How much of it was taken; -1: the peer is gone. ENOTCONN: it is still being connected to. */
static ssize_t side_send(struct side *to, const char *p, size_t len) {
    ssize_t res = send(to->fd, p, len, MSG_NOSIGNAL);
    return res >= 0 ? res : errno == EAGAIN || errno == ENOTCONN ? 0 : -1;
}

/* Sends what is kept. False where some of it still is, or the pair has ended. */
static bool side_flush(struct side *to) {
    ssize_t res = to->kept_len > 0 ? side_send(to, to->kept + to->kept_off, to->kept_len) : 0;
    if (res < 0) {
        pair_end(to->pair);
        return false;
    }
    to->kept_off += (uint32_t)res;
    to->kept_len -= (uint32_t)res;
    return to->kept_len == 0;
}

static void side_keep(struct side *to, const char *p, size_t len) {
    to->kept = to->kept != NULL ? to->kept : malloc(BUFFER_BYTES);
    ensure(to->kept != NULL && len <= BUFFER_BYTES);
    memcpy(to->kept, p, len);
    to->kept_off = 0;
    to->kept_len = (uint32_t)len;
}

/* A read that does not fill the buffer has emptied the socket, but for the end of the stream: what
 * comes later is a new event. */
static void flow(struct side *from, struct side *to) {
    static char buffer[BUFFER_BYTES];
    for (bool more = !from->eof; more && side_flush(to);) {
        ssize_t len = read(from->fd, buffer, sizeof buffer);
        if (len < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
            return;
        }
        ssize_t sent = len > 0 ? side_send(to, buffer, (size_t)len) : 0;
        if (len < 0 || sent < 0) {
            pair_end(from->pair);
            return;
        }
        if (sent < len) {
            side_keep(to, buffer + sent, (size_t)(len - sent));
        }
        from->eof = len == 0;
        more = len == (ssize_t)sizeof buffer || (len > 0 && from->hup);
    }
    if (from->eof && to->kept_len == 0 && !from->pair->over) {
        (void)shutdown(to->fd, SHUT_WR);
    }
}

static void side_watch(struct side *side) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = side};
    ensure(epoll_ctl(relay.epoll, EPOLL_CTL_ADD, side->fd, &event) == 0);
}

static void side_ready(struct side *side, uint32_t events) {
    struct pair *pair = side->pair;
    struct side *other = side == &pair->down ? &pair->up : &pair->down;
    if (pair->over) {
        return;
    }
    if (events & EPOLLERR) {
        pair_end(pair);
        return;
    }
    side->hup = side->hup || events & EPOLLRDHUP;
    if (events & EPOLLIN) {
        flow(side, other);
    }
    if (side->kept_len > 0 && !pair->over) {
        flow(other, side);
    }
    if (!pair->over && pair->down.eof && pair->up.eof && pair->down.kept_len == 0 &&
        pair->up.kept_len == 0) {
        pair_end(pair);
    }
}

static void side_no_delay(const struct addr *addr, int fd) {
    int on = 1;
    if (addr->sa.any.sa_family != AF_UNIX) {
        ensure(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    }
}

static void relay_accept(void) {
    for (int fd; (fd = accept4(relay.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct pair *pair = calloc(1, sizeof *pair);
        ensure(pair != NULL);
        side_no_delay(&relay.bind, fd);
        pair->down = (struct side){.pair = pair, .fd = fd};
        pair->up = (struct side){.pair = pair, .fd = client_connect(&relay.to, 0, 0, 0)};
        side_watch(&pair->down);
        side_watch(&pair->up);
    }
}

static void relay_listen(void) {
    struct rlimit descriptors;
    ensure(getrlimit(RLIMIT_NOFILE, &descriptors) == 0);
    descriptors.rlim_cur = descriptors.rlim_max;
    ensure(setrlimit(RLIMIT_NOFILE, &descriptors) == 0);
    int on = 1;
    relay.listener = socket(relay.bind.sa.any.sa_family,
                            SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (relay.listener < 0 ||
        setsockopt(relay.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(relay.listener, &relay.bind.sa.any, relay.bind.len) < 0 ||
        listen(relay.listener, BACKLOG) < 0) {
        log_error("can not listen: %s", strerror(errno));
        exit(1);
    }
    relay.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    ensure(relay.epoll >= 0 &&
           epoll_ctl(relay.epoll, EPOLL_CTL_ADD, relay.listener, &event) == 0);
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"bind", required_argument, NULL, 'b'},
                                            {"to", required_argument, NULL, 't'},
                                            {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == '?') {
            return 2;   /* getopt has said why */
        }
        *(c == 'b' ? &relay.bind : &relay.to) = client_addr(optarg);
    }
    if (optind < argc || relay.bind.len == 0 || relay.to.len == 0) {
        log_error("usage: gyre-relay-epoll --bind ADDR --to ADDR");
        return 2;
    }
    client_leave_on_signals();
    relay_listen();
    while (!client_leaving) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(relay.epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL) {
                relay_accept();
            } else {
                side_ready(events[i].data.ptr, events[i].events);
            }
        }
        pairs_free();
    }
    return 0;
}
