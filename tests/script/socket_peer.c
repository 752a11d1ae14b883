/* Scripted peers on real sockets: non-blocking, one poll(2) for all of them. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/ensure.h"
#include "base/list.h"
#include "base/mem.h"
#include "sim/peer.h"

#define READ_MAX 65536u
#define POLLED_MAX 8192u

struct socket_peer {
    struct peer peer;
    struct list_node link;         /* peers */
    struct list_node taken;        /* in its listener, until peer_take */
    int fd;                        /* -1: closed */
    uint8_t *tx;
    size_t tx_at, tx_cap;          /* what is sent already lies before tx_at */
    bool paused, fin_wanted, fin_sent, freed;
};

struct socket_listener {
    struct peer_listener listener;
    struct list_node link;         /* listeners */
    struct list_node accepted;     /* not yet taken */
    int fd;
    bool paused;
};

static struct list_node peers = {&peers, &peers}, listeners = {&listeners, &listeners};

static struct socket_peer *of(struct peer *peer) {
    return container_of(peer, struct socket_peer, peer);
}

/* --- Birth and death --------------------------------------------------------------------- */

static struct socket_peer *peer_new(int fd, enum peer_state state) {
    struct socket_peer *p = mem_zero(sizeof *p);
    p->fd = fd;
    p->peer.state = state;
    list_append(&peers, &p->link);
    return p;
}

static void peer_leave(struct socket_peer *p) {
    if (p->fd >= 0) {
        close(p->fd);
        p->fd = -1;
    }
    if (p->peer.state != PEER_REFUSED) {
        p->peer.state = PEER_CLOSED;
    }
    p->peer.tx_len = 0;
}

static void peer_refused(struct socket_peer *p) {
    p->peer.state = PEER_REFUSED;
    peer_leave(p);
}

struct peer *peer_dial(const struct addr *to, const struct addr *from) {
    int fd = socket(to->sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ensure(fd >= 0);
    struct socket_peer *p = peer_new(fd, PEER_DIALING);
    if (from != NULL && bind(fd, &from->sa.any, from->len) != 0) {
        peer_refused(p);
    } else if (connect(fd, &to->sa.any, to->len) == 0) {
        p->peer.state = PEER_OPEN;
    } else if (errno != EINPROGRESS) {
        peer_refused(p);
    }
    return &p->peer;
}

void peer_close(struct peer *peer) {
    peer_leave(of(peer));
}

void peer_reset(struct peer *peer) {
    struct socket_peer *p = of(peer);
    struct linger hard = {.l_onoff = 1};
    if (p->fd >= 0) {
        setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    peer_leave(p);
}

static void peer_bury(struct socket_peer *p) {
    list_remove(&p->link);
    list_remove(&p->taken);
    mem_free(p->tx);
    mem_free(p->peer.rx);
    mem_free(p);
}

/* True while descriptors are being looked at: who is freed then is buried after it. */
static bool in_round;

void peer_free(struct peer *peer) {
    struct socket_peer *p = of(peer);
    peer_leave(p);
    peer->changed = NULL;
    p->freed = true;
    if (!in_round) {
        peer_bury(p);
    }
}

/* --- What a script does ------------------------------------------------------------------ */

void peer_send(struct peer *peer, const void *bytes, size_t len) {
    struct socket_peer *p = of(peer);
    ensure(!p->fin_wanted);
    if (p->fd < 0 || len == 0) {
        return;
    }
    if (p->tx_at > 0) {
        memmove(p->tx, p->tx + p->tx_at, peer->tx_len);
        p->tx_at = 0;
    }
    if (p->tx_cap - peer->tx_len < len) {
        p->tx_cap = (peer->tx_len + len) * 2;
        p->tx = mem_grow(p->tx, p->tx_cap);
    }
    memcpy(p->tx + peer->tx_len, bytes, len);
    peer->tx_len += len;
}

void peer_send_text(struct peer *peer, const char *text) {
    peer_send(peer, text, strlen(text));
}

void peer_fin(struct peer *peer) {
    of(peer)->fin_wanted = true;
}

void peer_pause(struct peer *peer, bool paused) {
    of(peer)->paused = paused;
}

void peer_drop(struct peer *peer, size_t len) {
    ensure(len <= peer->rx_len);
    peer->rx_len -= len;
    if (peer->rx_len > 0) {
        memmove(peer->rx, peer->rx + len, peer->rx_len);
    }
}

bool peer_has(const struct peer *peer, const char *text) {
    return peer->rx_len > 0 && memmem(peer->rx, peer->rx_len, text, strlen(text)) != NULL;
}

/* --- A move ------------------------------------------------------------------------------ */

static short wanted(const struct socket_peer *p) {
    const struct peer *peer = &p->peer;
    if (peer->state == PEER_DIALING) {
        return POLLOUT;
    }
    bool reads = !p->paused && !peer->eof && !peer->reset;
    bool sends = peer->tx_len > 0 || (p->fin_wanted && !p->fin_sent);
    return (short)((reads ? POLLIN : 0) | (sends && !peer->reset ? POLLOUT : 0));
}

static void was_reset(struct socket_peer *p) {
    p->peer.reset = true;
    p->peer.tx_len = 0;
}

static void move_dial(struct socket_peer *p) {
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0) {
        peer_refused(p);
    } else {
        p->peer.state = PEER_OPEN;
    }
}

static void move_read(struct socket_peer *p) {
    struct peer *peer = &p->peer;
    peer->rx = mem_grow(peer->rx, peer->rx_len + READ_MAX);
    ssize_t n = recv(p->fd, peer->rx + peer->rx_len, READ_MAX, 0);
    if (n > 0) {
        peer->rx_len += (size_t)n;
        peer->rx_total += (uint64_t)n;
    } else if (n == 0) {
        peer->eof = true;
    } else if (errno != EAGAIN && errno != EINTR) {
        was_reset(p);
    }
}

static void move_send(struct socket_peer *p) {
    ssize_t n = send(p->fd, p->tx + p->tx_at, p->peer.tx_len, MSG_NOSIGNAL);
    if (n >= 0) {
        p->tx_at += (size_t)n;
        p->peer.tx_len -= (size_t)n;
    } else if (errno == EPIPE) {
        p->peer.tx_len = 0;      /* the far side takes no more; what it sent can still be read */
    } else if (errno != EAGAIN && errno != EINTR) {
        was_reset(p);
    }
}

static void peer_act(struct socket_peer *p, short events) {
    if (p->peer.state == PEER_DIALING) {
        move_dial(p);
    } else {
        if ((wanted(p) & POLLIN) != 0 && (events & (POLLIN | POLLHUP | POLLERR)) != 0) {
            move_read(p);
        }
        if (p->peer.tx_len > 0 && (events & POLLOUT) != 0) {
            move_send(p);
        }
        if (p->fin_wanted && !p->fin_sent && p->peer.tx_len == 0) {
            p->fin_sent = true;
            shutdown(p->fd, SHUT_WR);
        }
    }
    if (p->peer.changed != NULL) {
        p->peer.changed(&p->peer);
    }
}

/* --- Listeners --------------------------------------------------------------------------- */

struct peer_listener *peer_listen(const struct addr *addr, uint32_t backlog) {
    int family = addr->sa.any.sa_family, one = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ensure(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, &addr->sa.any, addr->len) != 0 || listen(fd, (int)backlog) != 0) {
        close(fd);
        return NULL;
    }
    struct socket_listener *l = mem_zero(sizeof *l);
    l->fd = fd;
    l->listener.addr = *addr;
    if (family != AF_UNIX) {
        l->listener.addr.len = sizeof l->listener.addr.sa;
        getsockname(fd, &l->listener.addr.sa.any, &l->listener.addr.len);
    }
    list_init(&l->accepted);
    list_append(&listeners, &l->link);
    return &l->listener;
}

static struct socket_listener *listener_of(struct peer_listener *listener) {
    return container_of(listener, struct socket_listener, listener);
}

static void listener_accept(struct socket_listener *l) {
    int fd;
    while ((fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct socket_peer *p = peer_new(fd, PEER_OPEN);
        p->peer.listener = &l->listener;
        l->listener.accepted_count++;
        if (l->listener.accepted != NULL) {
            l->listener.accepted(&p->peer);
        } else {
            list_append(&l->accepted, &p->taken);
        }
    }
}

struct peer *peer_take(struct peer_listener *listener) {
    struct list_node *node = list_pop(&listener_of(listener)->accepted);
    return node == NULL ? NULL : &container_of(node, struct socket_peer, taken)->peer;
}

void peer_listener_pause(struct peer_listener *listener, bool paused) {
    listener_of(listener)->paused = paused;
}

void peer_listener_close(struct peer_listener *listener) {
    struct socket_listener *l = listener_of(listener);
    struct peer *peer;
    while ((peer = peer_take(listener)) != NULL) {
        peer_free(peer);
    }
    if (l->listener.addr.sa.any.sa_family == AF_UNIX) {
        unlink(l->listener.addr.sa.un.sun_path);
    }
    list_remove(&l->link);
    close(l->fd);
    mem_free(l);
}

/* --- The world: this machine ------------------------------------------------------------- */

struct polled {
    struct pollfd fds[POLLED_MAX];
    struct socket_peer *peers[POLLED_MAX];          /* NULL: a listener */
    struct socket_listener *listeners[POLLED_MAX];
    nfds_t count;
};

static void polled_add(struct polled *all, int fd, short events, struct socket_peer *p,
                       struct socket_listener *l) {
    ensure(all->count < POLLED_MAX);
    all->fds[all->count] = (struct pollfd){.fd = fd, .events = events};
    all->peers[all->count] = p;
    all->listeners[all->count++] = l;
}

static void dead_bury(void) {
    struct list_node *next;
    for (struct list_node *node = peers.next; node != &peers; node = next) {
        next = node->next;
        struct socket_peer *p = container_of(node, struct socket_peer, link);
        if (p->freed) {
            peer_bury(p);
        }
    }
}

static void round_run(int timeout_ms) {
    static struct polled all;
    all.count = 0;
    list_each(node, &listeners) {
        struct socket_listener *l = container_of(node, struct socket_listener, link);
        if (!l->paused) {
            polled_add(&all, l->fd, POLLIN, NULL, l);
        }
    }
    list_each(node, &peers) {
        struct socket_peer *p = container_of(node, struct socket_peer, link);
        if (p->fd >= 0 && wanted(p) != 0) {
            polled_add(&all, p->fd, wanted(p), p, NULL);
        }
    }
    if (poll(all.fds, all.count, timeout_ms) <= 0) {
        return;
    }
    in_round = true;
    for (nfds_t i = 0; i < all.count; i++) {
        struct socket_peer *p = all.peers[i];
        if (all.fds[i].revents != 0 && p != NULL && !p->freed && p->fd == all.fds[i].fd) {
            peer_act(p, all.fds[i].revents);
        } else if (all.fds[i].revents != 0 && p == NULL) {
            listener_accept(all.listeners[i]);
        }
    }
    in_round = false;
    dead_bury();
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The condition may look at what threads change, so nobody sleeps long. */
enum peers_end peers_run(bool (*cond)(void *), void *arg, uint64_t limit_ms) {
    uint64_t end_ms = now_ms() + limit_ms;
    while (cond == NULL || !cond(arg)) {
        if (now_ms() >= end_ms) {
            return PEERS_LIMIT;
        }
        round_run(1);
    }
    return PEERS_MET;
}

void peers_sleep(uint64_t ms) {
    peers_run(NULL, NULL, ms);
}
