/* gyre-steady: asks at a fixed rate, whatever the answers do, and says how long they took.
 *
 *   gyre-steady --to ADDR --rate N [--tls] [--connections N] [--seconds N] [--warmup-ms N]
 *               [--path PATH]
 *
 * The nth request is due at the start plus n / rate, or at the tick before, and its latency counts
 * from then: where no connection is free it waits, and its waiting is the server's fault and counts
 * (a closed loop would ask less just when the server is slow, and hide it). Ticks are TICK_US apart:
 * to sleep and wake for each of 50,000 requests a second is more work than to ask them. Every sample
 * is kept, so percentiles are exact. "ready" comes once all connections stand, one JSON object at
 * the end. late_*: how late this program itself was with requests that had a connection to go on;
 * away_max_us: the longest that it overslept, or took for what had come. Figures of a run that was
 * late, or away, itself mean little. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/ensure.h"
#include "base/log.h"
#include "bench/client.h"

#define CONNECTIONS_MAX 10000u
#define SAMPLES_MAX (16u * 1024u * 1024u)
#define CONNECT_S 20u      /* for all connections to stand */
#define DRAIN_S 5u         /* for the last answers to come */
#define TICK_US 100u

struct conn {
    int fd;
    SSL *ssl;
    bool busy, dead;
    uint32_t sample;           /* of the request that it carries */
    struct answer answer;
};

struct samples {
    uint32_t *us;
    uint32_t count;
};

static struct {
    struct addr to;
    uint64_t rate, connections, seconds, warmup_ms;
    const char *path;
    bool tls;
} params = {.connections = 32, .seconds = 5, .warmup_ms = 500, .path = "/"};

static struct {
    int epoll;
    struct conn *conns;
    uint32_t *free;            /* a queue: connections take turns */
    uint32_t free_head, free_count, live;
    char request[1024];
    size_t request_len;
    uint64_t start_ns;         /* the first request is due, the first of the warm-up */
    uint64_t due_count;        /* of the requests that are to be sent in all */
    uint64_t warmup_count;     /* the first of them, which are not counted */
    uint64_t next;             /* to be sent */
    uint64_t answered, errors;
    uint64_t away_max_ns;
    struct samples latency, late;
} load;

static uint64_t due_ns(uint64_t n) {
    uint64_t ns = n * CLIENT_S / params.rate;
    return load.start_ns + ns - ns % (TICK_US * 1000u);
}

static void sample_add(struct samples *samples, uint64_t ns) {
    uint64_t us = ns / 1000;
    samples->us[samples->count++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static void conn_free(struct conn *conn) {
    conn->busy = false;
    uint32_t at = (load.free_head + load.free_count++) % (uint32_t)params.connections;
    load.free[at] = (uint32_t)(conn - load.conns);
}

/* --- Answers ------------------------------------------------------------------------------ */

/* Counted from when it was due, with an answer or without. */
static void request_ended(struct conn *conn, bool well) {
    if (conn->sample >= load.warmup_count) {
        sample_add(&load.latency, clock_ns() - due_ns(conn->sample));
        load.answered += well;
        load.errors += !well;
    }
    conn->busy = false;
}

/* A connection that ends unasked is an error too: it was to be kept alive. */
static void conn_lost(struct conn *conn) {
    if (conn->busy) {
        request_ended(conn, false);
    } else {
        load.errors++;
        for (uint32_t i = 0; i < load.free_count; i++) {
            uint32_t *at = &load.free[(load.free_head + i) % params.connections];
            if (*at == (uint32_t)(conn - load.conns)) {
                *at = load.free[load.free_head];
                load.free_head = (load.free_head + 1) % (uint32_t)params.connections;
                load.free_count--;
                break;
            }
        }
    }
    conn->dead = true;
    load.live--;
    SSL_free(conn->ssl);
    conn->ssl = NULL;
    client_abort(conn->fd);
}

/* False where the bytes are no answer that we asked for. */
static bool conn_took(struct conn *conn, const char *p, size_t len) {
    while (len > 0) {
        enum answer_state state =
            conn->busy ? answer_take(&conn->answer, &p, &len) : ANSWER_WRONG;
        if (state == ANSWER_WRONG || (state == ANSWER_WHOLE && conn->answer.status != 200)) {
            return false;
        }
        if (state == ANSWER_WHOLE) {
            request_ended(conn, true);
            conn_free(conn);
        }
    }
    return true;
}

/* Bytes that came; 0: none for now; -1: the end, or an error. */
static ssize_t conn_read(struct conn *conn, char *p, size_t size) {
    if (conn->ssl == NULL) {
        ssize_t res = read(conn->fd, p, size);
        return res > 0 ? res : res < 0 && errno == EAGAIN ? 0 : -1;
    }
    int res = SSL_read(conn->ssl, p, (int)size);
    if (res > 0) {
        return res;
    }
    return SSL_get_error(conn->ssl, res) == SSL_ERROR_WANT_READ ? 0 : -1;
}

static void conn_readable(struct conn *conn) {
    static char buf[64 * 1024];
    ssize_t res;
    while (!conn->dead && (res = conn_read(conn, buf, sizeof buf)) != 0) {
        if (res < 0 || !conn_took(conn, buf, (size_t)res)) {
            conn_lost(conn);
        } else if (conn->ssl == NULL && (size_t)res < sizeof buf) {
            break;      /* that was all: what comes next is told */
        }
    }
}

/* --- Requests ----------------------------------------------------------------------------- */

static void request_send(struct conn *conn, uint64_t n) {
    conn->busy = true;
    conn->sample = (uint32_t)n;
    ssize_t len = (ssize_t)load.request_len;
    /* Shorter than any send buffer, which is empty: a short write is a broken connection. */
    ssize_t res = conn->ssl != NULL ? SSL_write(conn->ssl, load.request, (int)len)
                                    : write(conn->fd, load.request, (size_t)len);
    if (res != len) {
        conn_lost(conn);
    }
}

/* Sends all that is due, as far as there are connections. had_free: one was free all the time
 * since the last call, so whatever is late by now, is by us. */
static void requests_due(bool had_free) {
    uint64_t now = clock_ns();
    while (load.free_count > 0 && load.next < load.due_count && due_ns(load.next) <= now) {
        if (had_free && load.next >= load.warmup_count) {
            sample_add(&load.late, now - due_ns(load.next));
        }
        struct conn *conn = &load.conns[load.free[load.free_head]];
        load.free_head = (load.free_head + 1) % (uint32_t)params.connections;
        load.free_count--;
        request_send(conn, load.next++);
    }
}

/* Returns when it should be over. */
static uint64_t events_wait(uint64_t until_ns) {
    struct epoll_event events[256];
    uint64_t now = clock_ns(), wait = until_ns > now ? until_ns - now : 0;
    struct timespec timeout = {(time_t)(wait / CLIENT_S), (long)(wait % CLIENT_S)};
    int n = epoll_pwait2(load.epoll, events, 256, &timeout, NULL);
    uint64_t woke = clock_ns();
    for (int i = 0; i < n; i++) {
        struct conn *conn = &load.conns[events[i].data.u32];
        if (!conn->dead) {
            conn_readable(conn);
        }
    }
    return woke < until_ns ? woke : until_ns;
}

static void away_since(uint64_t ns) {
    uint64_t now = clock_ns(), away = now > ns ? now - ns : 0;
    load.away_max_ns = away > load.away_max_ns ? away : load.away_max_ns;
}

static void load_run(void) {
    load.start_ns = clock_ns();
    uint64_t end_ns = due_ns(load.due_count) + DRAIN_S * CLIENT_S;
    while (load.live > 0 && clock_ns() < end_ns) {
        bool idle = load.free_count == load.live;
        if (load.next == load.due_count && idle) {
            break;
        }
        bool had_free = load.free_count > 0;
        bool sends = had_free && load.next < load.due_count;
        uint64_t since = events_wait(sends ? due_ns(load.next) : end_ns);
        requests_due(had_free);
        if (load.next >= load.warmup_count) {
            away_since(since);
        }
    }
    /* What is not answered by now, or could not even be sent, counts with its age. */
    for (uint32_t i = 0; i < params.connections; i++) {
        if (load.conns[i].busy) {
            request_ended(&load.conns[i], false);
        }
    }
    for (uint64_t n = load.next; n < load.due_count; n++) {
        if (n >= load.warmup_count) {
            uint64_t now = clock_ns();
            sample_add(&load.latency, now > due_ns(n) ? now - due_ns(n) : 0);
            load.errors++;
        }
    }
}

/* --- Connections -------------------------------------------------------------------------- */

/* True once the connection stands; false: not yet. Exits where it fails. */
static bool conn_stands(struct conn *conn, SSL_CTX *context) {
    int err = 0;
    socklen_t len = sizeof err;
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof peer;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || err != 0) {
        log_error("connect: %s", strerror(err != 0 ? err : errno));
        exit(1);
    }
    if (getpeername(conn->fd, (struct sockaddr *)&peer, &peer_len) < 0) {
        return false;   /* ENOTCONN */
    }
    if (context == NULL) {
        return true;
    }
    if (conn->ssl == NULL) {
        conn->ssl = client_tls_new(context, conn->fd);
    }
    int res = SSL_do_handshake(conn->ssl);
    int want = res == 1 ? SSL_ERROR_NONE : SSL_get_error(conn->ssl, res);
    if (want != SSL_ERROR_NONE && want != SSL_ERROR_WANT_READ && want != SSL_ERROR_WANT_WRITE) {
        log_error("TLS handshake failed (%d)", want);
        exit(1);
    }
    return res == 1;
}

/* All together; polled, as no figure depends on it. */
static void conns_open(void) {
    SSL_CTX *context = params.tls ? client_tls() : NULL;
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.conns = calloc(params.connections, sizeof *load.conns);
    load.free = calloc(params.connections, sizeof *load.free);
    ensure(load.epoll >= 0 && load.conns != NULL && load.free != NULL);
    for (uint32_t i = 0; i < params.connections; i++) {
        load.conns[i].fd = client_connect(&params.to, 0, 0, 0);
    }
    uint64_t end_ns = clock_ns() + CONNECT_S * CLIENT_S;
    for (uint32_t i = 0; i < params.connections; i++) {
        while (!conn_stands(&load.conns[i], context)) {
            if (clock_ns() > end_ns) {
                log_error("%u of %llu connections stand", i,
                          (unsigned long long)params.connections);
                exit(1);
            }
            usleep(200);
        }
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = i};
        ensure(epoll_ctl(load.epoll, EPOLL_CTL_ADD, load.conns[i].fd, &event) == 0);
        load.live++;
        conn_free(&load.conns[i]);
    }
    SSL_CTX_free(context);
}

/* --- What came of it ---------------------------------------------------------------------- */

static int us_order(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The least sample that so many of a thousand do not exceed. */
static uint32_t sample_at(const struct samples *samples, uint64_t permille) {
    if (samples->count == 0) {
        return 0;
    }
    uint64_t rank = (samples->count * permille + 999) / 1000;
    return samples->us[rank > 0 ? rank - 1 : 0];
}

static void samples_sort(struct samples *samples) {
    qsort(samples->us, samples->count, sizeof *samples->us, us_order);
}

static void load_print(void) {
    samples_sort(&load.latency);
    samples_sort(&load.late);
    printf("{\"rate\": %llu, \"connections\": %llu, \"sent\": %u, \"answered\": %llu, "
           "\"errors\": %llu,\n \"p50_us\": %u, \"p90_us\": %u, \"p99_us\": %u, \"p999_us\": %u, "
           "\"max_us\": %u,\n \"late_p50_us\": %u, \"late_p99_us\": %u, \"late_max_us\": %u, "
           "\"away_max_us\": %llu}\n",
           (unsigned long long)params.rate, (unsigned long long)params.connections,
           load.latency.count, (unsigned long long)load.answered,
           (unsigned long long)load.errors, sample_at(&load.latency, 500),
           sample_at(&load.latency, 900), sample_at(&load.latency, 990),
           sample_at(&load.latency, 999), sample_at(&load.latency, 1000),
           sample_at(&load.late, 500), sample_at(&load.late, 990), sample_at(&load.late, 1000),
           (unsigned long long)(load.away_max_ns / 1000));
}

static void options_read(int argc, char **argv) {
    static const struct option options[] = {{"to", required_argument, NULL, 'a'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"tls", no_argument, NULL, 't'},
                                            {"connections", required_argument, NULL, 'c'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"warmup-ms", required_argument, NULL, 'w'},
                                            {"path", required_argument, NULL, 'p'},
                                            {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'a': params.to = client_addr(optarg); break;
        case 'r': params.rate = client_number(optarg, 10000000); break;
        case 't': params.tls = true; break;
        case 'c': params.connections = client_number(optarg, CONNECTIONS_MAX); break;
        case 's': params.seconds = client_number(optarg, 3600); break;
        case 'w': params.warmup_ms = client_number(optarg, 60000); break;
        case 'p': params.path = optarg; break;
        default: exit(2);   /* getopt has said why */
        }
    }
    if (optind < argc || params.to.len == 0 || params.rate == 0 || params.connections == 0 ||
        params.rate * params.seconds > SAMPLES_MAX) {
        log_error("usage: gyre-steady --to ADDR --rate N [--tls] [--connections N] "
                  "[--seconds N] [--warmup-ms N] [--path PATH]");
        exit(2);
    }
}

int main(int argc, char **argv) {
    options_read(argc, argv);
    int len = snprintf(load.request, sizeof load.request,
                       "GET %s HTTP/1.1\r\nHost: bench.test\r\n\r\n", params.path);
    ensure(len > 0 && (size_t)len < sizeof load.request);
    load.request_len = (size_t)len;
    load.warmup_count = params.rate * params.warmup_ms / 1000;
    load.due_count = load.warmup_count + params.rate * params.seconds;
    load.latency.us = calloc(load.due_count, sizeof(uint32_t));
    load.late.us = calloc(load.due_count, sizeof(uint32_t));
    ensure(load.latency.us != NULL && load.late.us != NULL);
    (void)prctl(PR_SET_TIMERSLACK, 1);
    client_begin();
    conns_open();
    printf("ready\n");
    fflush(stdout);
    load_run();
    load_print();
    return 0;
}
