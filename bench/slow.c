/* gyre-slow: many clients that mean well and are slow, before an app.
 *
 *   gyre-slow --to ADDR --kind KIND [--connections N] [--sources N] [--every-ms N] [--step N]
 *             [--size N] [--ready-s N] [--seconds N]
 *
 *   upload      sends POST /upload with --size bytes, --step of them each --every-ms
 *   download    asks for /big/SIZE, and reads --step bytes of it each --every-ms
 *   idle        asks for /quick, and then says nothing more
 *   mixed       a third of each
 *
 * Whoever has his answer asks again on the same connection, but for the idle ones. A connection
 * that is closed is opened again a second later. They come from 127.0.0.11 and the --sources
 * addresses behind it. "ready" comes when everybody is at it (has sent a first step, or taken one,
 * or has the answer behind which he is idle), or after --ready-s: a server that lets nobody get
 * there is what may be measured. One JSON object at SIGTERM, or when --seconds are over. */
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
#define CONNECTING_MAX 256u    /* at a time: no proxy's backlog is to overflow */
#define SOURCE_FIRST 11u
#define AGAIN_MS 1000u
#define TICK_MS 10
#define STEP_MAX (64u * 1024u)
/* What a slow reader has not read is to wait with the server, not in our kernel: a small receive
 * buffer, and segments as on an Ethernet, as loopback's make send buffers of megabytes. */
#define RX_BYTES 4096
#define MSS 1460
#define SHORT_BYTES 3u         /* "ok\n", the app's short answer */

enum kind { KIND_UPLOAD, KIND_DOWNLOAD, KIND_IDLE, KIND_MIXED, KINDS };

static const char *const kind_names[KINDS] = {"upload", "download", "idle", "mixed"};

enum client_state { CLIENT_CLOSED, CLIENT_CONNECTING, CLIENT_OPEN };

struct client {
    int fd;
    enum client_state state;
    enum kind kind;            /* never mixed */
    bool asking;               /* a request is under way */
    bool answered;             /* once at least: an idle one asks no more */
    bool at_it;
    uint8_t head_seen;         /* of the CRLFCRLF behind the answer's head */
    bool head_began;
    uint64_t to_send, to_read; /* of the bodies */
    uint64_t again_ns;         /* closed: opened not before */
};

static struct {
    struct addr to;
    enum kind kind;
    uint64_t connections, sources, every_ms, step, size, ready_s, seconds;
} params = {.kind = KINDS, .connections = 64, .sources = 16, .every_ms = 1000, .step = 2048,
            .size = 512 * 1024, .ready_s = 30, .seconds = 60};

static struct {
    int epoll;
    struct client *clients;
    char heads[KINDS][256];
    uint32_t connecting, open, at_it, next; /* next: whose step is the next one */
    uint64_t start_ns, steps_due;           /* steps_due: how many were due so far */
    uint64_t opened, failed;                /* failed: connections that did not come to stand */
    uint64_t answers, refused, lost;        /* of requests: 200, another status, no whole answer */
    uint64_t ended;                         /* connections, between two requests */
    uint64_t sent_bytes, read_bytes;
} slow;

/* --- One of them -------------------------------------------------------------------------- */

static void client_state_set(struct client *client, enum client_state state) {
    slow.connecting -= client->state == CLIENT_CONNECTING;
    slow.open -= client->state == CLIENT_OPEN;
    client->state = state;
    slow.connecting += state == CLIENT_CONNECTING;
    slow.open += state == CLIENT_OPEN;
}

static void client_close(struct client *client) {
    client_abort(client->fd);
    client->asking = false;
    client->again_ns = clock_ns() + AGAIN_MS * 1000000ull;
    client_state_set(client, CLIENT_CLOSED);
}

static void client_open(struct client *client) {
    uint64_t index = (uint64_t)(client - slow.clients);
    unsigned source = params.sources > 0 ? SOURCE_FIRST + (unsigned)(index % params.sources) : 0;
    client->fd = client_connect(&params.to, source, RX_BYTES, MSS);
    client_state_set(client, CLIENT_CONNECTING);
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = client};
    ensure(epoll_ctl(slow.epoll, EPOLL_CTL_ADD, client->fd, &event) == 0);
}

static void client_at_it(struct client *client) {
    slow.at_it += !client->at_it;
    client->at_it = true;
}

static void client_ask(struct client *client) {
    const char *head = slow.heads[client->kind];
    ssize_t len = (ssize_t)strlen(head);
    client->asking = true;
    client->head_began = false;
    client->head_seen = 0;
    client->to_send = client->kind == KIND_UPLOAD ? params.size : 0;
    client->to_read = client->kind == KIND_DOWNLOAD ? params.size : SHORT_BYTES;
    /* Behind a body that was sent whole and answered there is room; else the connection is gone. */
    if (send(client->fd, head, (size_t)len, MSG_NOSIGNAL) != len) {
        slow.lost++;
        client_close(client);
    }
}

/* Bytes of an answer. Servers write a status line in one piece. */
static void client_took(struct client *client, const char *p, size_t len) {
    slow.read_bytes += len;
    if (!client->asking || (!client->head_began && (len < 12 || memcmp(p + 9, "200", 3) != 0))) {
        slow.refused++;
        client_close(client);
        return;
    }
    client->head_began = true;
    for (; len > 0 && client->head_seen < 4; p++, len--) {
        bool expected = *p == "\r\n\r\n"[client->head_seen];
        client->head_seen = (uint8_t)(expected ? client->head_seen + 1 : *p == '\r');
    }
    if (len > client->to_read || client->to_send > 0) {
        slow.lost++;    /* more than there is, or before all was sent: not what was asked for */
        client_close(client);
        return;
    }
    client->to_read -= len;
    client_at_it(client);
    if (client->head_seen == 4 && client->to_read == 0) {
        slow.answers++;
        client->asking = false;
        client->answered = true;
    }
}

/* Reads so much at most; false when nothing more comes for now, or ever. */
static bool client_read(struct client *client, size_t max) {
    static char drop[STEP_MAX];
    ssize_t res = recv(client->fd, drop, max, 0);
    if (res > 0) {
        client_took(client, drop, (size_t)res);
        return client->state == CLIENT_OPEN;
    }
    if (res == 0 || errno != EAGAIN) {
        slow.lost += client->asking;
        slow.ended += !client->asking;
        client_close(client);
    }
    return false;
}

static void client_send(struct client *client) {
    static const char zeros[STEP_MAX];
    size_t len = client->to_send < params.step ? (size_t)client->to_send : params.step;
    ssize_t res = send(client->fd, zeros, len, MSG_NOSIGNAL);
    if (res > 0) {
        client->to_send -= (uint64_t)res;
        slow.sent_bytes += (uint64_t)res;
        client_at_it(client);
    }
}

/* What one does each --every-ms. A step behind the answer, the next request: an end that the
 * server announced with it has come by then. */
static void client_step(struct client *client) {
    if (client->kind == KIND_DOWNLOAD) {
        (void)client_read(client, params.step);
    }
    if (client->state == CLIENT_OPEN && !client->asking && client->kind != KIND_IDLE) {
        client_ask(client);
    } else if (client->state == CLIENT_OPEN && client->to_send > 0) {
        client_send(client);
    }
}

static void client_connected(struct client *client) {
    int err = 0;
    socklen_t len = sizeof err;
    ensure(getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0);
    if (err != 0) {
        slow.failed++;
        client_close(client);
        return;
    }
    slow.opened++;
    client_state_set(client, CLIENT_OPEN);
    /* A slow reader hears of an end when he reads it, behind all that came before. */
    struct epoll_event event = {.events = client->kind == KIND_DOWNLOAD ? 0 : EPOLLIN,
                                .data.ptr = client};
    ensure(epoll_ctl(slow.epoll, EPOLL_CTL_MOD, client->fd, &event) == 0);
    if (client->kind != KIND_IDLE || !client->answered) {
        client_ask(client);
    }
}

static void client_ready(struct client *client) {
    if (client->state == CLIENT_CONNECTING) {
        client_connected(client);
    } else if (client->state == CLIENT_OPEN) {
        while (client_read(client, STEP_MAX)) {
        }
    }
}

/* --- All of them -------------------------------------------------------------------------- */

static void slow_open(uint64_t now_ns) {
    for (uint32_t i = 0; i < params.connections && slow.connecting < CONNECTING_MAX; i++) {
        struct client *client = &slow.clients[i];
        if (client->state == CLIENT_CLOSED && client->again_ns <= now_ns) {
            client_open(client);
        }
    }
}

/* Evenly over the time, so that everybody's turn comes each every_ms. */
static void slow_step(uint64_t now_ns) {
    uint64_t due = (now_ns - slow.start_ns) / 1000000 * params.connections / params.every_ms;
    for (; slow.steps_due < due; slow.steps_due++) {
        struct client *client = &slow.clients[slow.next];
        slow.next = (slow.next + 1) % (uint32_t)params.connections;
        if (client->state == CLIENT_OPEN) {
            client_step(client);
        }
    }
}

static void slow_run(void) {
    bool told = false;
    slow.start_ns = clock_ns();
    uint64_t end_ns = slow.start_ns + params.seconds * CLIENT_S;
    uint64_t ready_ns = slow.start_ns + params.ready_s * CLIENT_S;
    for (uint64_t now; !client_leaving && (now = clock_ns()) < end_ns;) {
        if (slow.connecting + slow.open < params.connections) {
            slow_open(now);
        }
        slow_step(now);
        struct epoll_event events[256];
        int n = epoll_wait(slow.epoll, events, 256, TICK_MS);
        for (int i = 0; i < n; i++) {
            client_ready(events[i].data.ptr);
        }
        if (!told && (slow.at_it == params.connections || now > ready_ns)) {
            told = true;
            printf("ready\n");
            fflush(stdout);
        }
    }
}

static void slow_print(void) {
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {{"connections", params.connections}, {"open", slow.open},
                   {"at_it", slow.at_it}, {"opened", slow.opened}, {"failed", slow.failed},
                   {"answers", slow.answers}, {"refused", slow.refused}, {"lost", slow.lost},
                   {"ended", slow.ended}, {"sent_bytes", slow.sent_bytes},
                   {"read_bytes", slow.read_bytes}};
    printf("{\"kind\": \"%s\"", kind_names[params.kind]);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        printf(", \"%s\": %llu", figures[i].name, (unsigned long long)figures[i].value);
    }
    printf("}\n");
    fflush(stdout);
}

static void slow_init(void) {
    client_begin();
    client_leave_on_signals();
    slow.epoll = epoll_create1(EPOLL_CLOEXEC);
    slow.clients = calloc(params.connections, sizeof *slow.clients);
    ensure(slow.epoll >= 0 && slow.clients != NULL);
    for (uint32_t i = 0; i < params.connections; i++) {
        slow.clients[i].kind = params.kind == KIND_MIXED ? i % KIND_MIXED : params.kind;
    }
    unsigned long long size = params.size;
    snprintf(slow.heads[KIND_UPLOAD], sizeof *slow.heads,
             "POST /upload HTTP/1.1\r\nHost: bench.test\r\nContent-Length: %llu\r\n\r\n", size);
    snprintf(slow.heads[KIND_DOWNLOAD], sizeof *slow.heads,
             "GET /big/%llu HTTP/1.1\r\nHost: bench.test\r\n\r\n", size);
    snprintf(slow.heads[KIND_IDLE], sizeof *slow.heads,
             "GET /quick HTTP/1.1\r\nHost: bench.test\r\n\r\n");
}

static enum kind kind_of(const char *name) {
    enum kind kind = 0;
    while (kind < KINDS && strcmp(name, kind_names[kind]) != 0) {
        kind++;
    }
    return kind;
}

static void options_read(int argc, char **argv) {
    static const struct option options[] = {{"to", required_argument, NULL, 'a'},
                                            {"kind", required_argument, NULL, 'k'},
                                            {"connections", required_argument, NULL, 'c'},
                                            {"sources", required_argument, NULL, 'o'},
                                            {"every-ms", required_argument, NULL, 'e'},
                                            {"step", required_argument, NULL, 'p'},
                                            {"size", required_argument, NULL, 'z'},
                                            {"ready-s", required_argument, NULL, 'r'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'a': params.to = client_addr(optarg); break;
        case 'k': params.kind = kind_of(optarg); break;
        case 'c': params.connections = client_number(optarg, CONNECTIONS_MAX); break;
        case 'o': params.sources = client_number(optarg, 200); break;
        case 'e': params.every_ms = client_number(optarg, 600000); break;
        case 'p': params.step = client_number(optarg, STEP_MAX); break;
        case 'z': params.size = client_number(optarg, 1u << 30); break;
        case 'r': params.ready_s = client_number(optarg, 3600); break;
        case 's': params.seconds = client_number(optarg, 3600); break;
        default: exit(2);   /* getopt has said why */
        }
    }
    if (optind < argc || params.to.len == 0 || params.kind == KINDS || params.connections == 0 ||
        params.every_ms == 0 || params.step == 0 || params.size == 0) {
        log_error("usage: gyre-slow --to ADDR --kind upload|download|idle|mixed [--connections N] "
                  "[--sources N] [--every-ms N] [--step N] [--size N] [--ready-s N] "
                  "[--seconds N]");
        exit(2);
    }
}

int main(int argc, char **argv) {
    options_read(argc, argv);
    slow_init();
    slow_run();
    slow_print();
    for (uint32_t i = 0; i < params.connections; i++) {
        if (slow.clients[i].state != CLIENT_CLOSED) {
            client_close(&slow.clients[i]);
        }
    }
    free(slow.clients);
    return 0;
}
