/* gyre-load: asks again as soon as it has been answered, on many connections at once. What it has
 * counted is what the server's time on the CPU is divided by.
 *
 *   gyre-load --to ADDR [--kind KIND] [--tls] [--connections N] [--together N] [--sources N]
 *             [--ms N] [--path PATH] [--first PATH] [--send N] [--resume] [--group NAME]
 *
 *   ask         requests on kept connections; --send: each with a body of so many bytes
 *   connect     a connection for each request, which the server closes
 *   handshake   a TLS handshake, and nothing is asked; --resume: with the ticket of the last one
 *   message     WebSocket messages of 64 bytes, each as soon as the one before has come back
 *
 * "ready" comes once every connection has done one of these, so that all stand, and are known to
 * the server. Then nothing happens until a line comes on stdin: the server's accounts are read
 * before it, and after the JSON object at the end, and nothing lies between but what is counted.
 * Keys are exchanged in the --group (P-256). Before "ready" so many are opened --together (256): no
 * server's backlog is to overflow. There --first is asked for, where --path is long under way.
 * Connections come from 127.0.0.11 and the --sources addresses behind it. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ensure.h"
#include "base/log.h"
#include "bench/client.h"
#include "bench/message.h"

#define CONNECTIONS_MAX 15000u
#define SOURCE_FIRST 11u
#define READY_S 60u
#define DRAIN_S 5u             /* for the last answers to come */
#define TICK_MS 10
#define SEND_MAX (64u * 1024u * 1024u)

enum kind { KIND_ASK, KIND_CONNECT, KIND_HANDSHAKE, KIND_MESSAGE, KINDS };
static const char *const kind_names[KINDS] = {"ask", "connect", "handshake", "message"};

enum phase { PHASE_PRIME, PHASE_RUN, PHASE_DRAIN };

enum conn_state {
    CONN_CLOSED,
    CONN_CONNECTING,
    CONN_SHAKING,
    CONN_TICKET,       /* the handshake stands; its ticket is yet to come */
    CONN_BUSY,         /* asked, and not answered */
    CONN_REST,         /* stands, and has nothing to do */
    CONN_ENDING,       /* done: the server is to close */
};

struct conn {
    int fd;
    SSL *ssl;
    SSL_SESSION *session;      /* for the next one: a ticket is good for one handshake */
    enum conn_state state;
    bool primed, tunnel;
    size_t sent;               /* of the request */
    uint32_t message_left;
    struct answer answer;
};

struct request {
    char *p;
    size_t len;
};

static struct {
    struct addr to;
    enum kind kind;
    uint64_t connections, together, sources, ms, send;
    const char *path, *first, *group;
    bool tls, resume;
} params = {.connections = 64, .together = 256, .sources = 16, .ms = 1000, .path = "/"};

static struct {
    int epoll;
    struct conn *conns;
    SSL_CTX *context;
    enum phase phase;
    uint32_t primed, active;   /* active: neither closed nor at rest */
    struct request request, first;
    char message[MESSAGE_UP_BYTES];
    uint64_t done, errors, resumed;
} load;

static void conn_open(struct conn *conn);

static bool conn_is_active(const struct conn *conn) {
    return conn->state != CONN_CLOSED && conn->state != CONN_REST;
}

static void conn_state_set(struct conn *conn, enum conn_state state) {
    load.active -= conn_is_active(conn);
    conn->state = state;
    load.active += conn_is_active(conn);
}

static void conn_close(struct conn *conn) {
    SSL_free(conn->ssl);
    conn->ssl = NULL;
    client_abort(conn->fd);
    conn->tunnel = false;
    conn->answer.head_len = 0;
    conn->answer.body_left = 0;
    conn_state_set(conn, CONN_CLOSED);
}

static void conn_failed(struct conn *conn, const char *what) {
    if (load.phase == PHASE_PRIME) {
        log_error("%s: no %s before anything is measured", kind_names[params.kind], what);
        exit(1);
    }
    load.errors++;
    conn_close(conn);
    if (load.phase == PHASE_RUN) {
        conn_open(conn);
    }
}

/* --- Bytes -------------------------------------------------------------------------------- */

/* Bytes that went or came; 0: none for now; -1: the end, or an error. */
static ssize_t conn_result(struct conn *conn, ssize_t res) {
    if (conn->ssl == NULL) {
        return res > 0 ? res : res < 0 && errno == EAGAIN ? 0 : -1;
    }
    int error = res > 0 ? SSL_ERROR_NONE : SSL_get_error(conn->ssl, (int)res);
    return res > 0 ? res : error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static ssize_t conn_write(struct conn *conn, const char *p, size_t len) {
    return conn_result(conn, conn->ssl != NULL ? SSL_write(conn->ssl, p, (int)len)
                                               : send(conn->fd, p, len, MSG_NOSIGNAL));
}

static ssize_t conn_read(struct conn *conn, char *p, size_t size) {
    return conn_result(conn, conn->ssl != NULL ? SSL_read(conn->ssl, p, (int)size)
                                               : recv(conn->fd, p, size, 0));
}

/* Nobody looks at a plain body, so it is not copied either: the server is to be what is slow.
 * Bytes, or as conn_result() has it. */
static ssize_t body_skip(struct conn *conn) {
    ssize_t res = recv(conn->fd, NULL, conn->answer.body_left, MSG_TRUNC);
    if (res > 0) {
        conn->answer.body_left -= (size_t)res;
    }
    return conn_result(conn, res);
}

/* --- One exchange ------------------------------------------------------------------------- */

static void conn_begin(struct conn *conn);

/* What was asked is done: it counts, and the next one begins, if there is to be one. */
static void conn_did(struct conn *conn) {
    if (load.phase == PHASE_PRIME) {
        load.primed += !conn->primed;
        conn->primed = true;
    } else {
        load.done++;
        load.resumed += conn->ssl != NULL && SSL_session_reused(conn->ssl);
    }
    bool closes = params.kind == KIND_CONNECT || params.kind == KIND_HANDSHAKE;
    if (closes) {
        conn_close(conn);
        if (load.phase == PHASE_RUN) {
            conn_open(conn);
        }
    } else if (load.phase == PHASE_RUN) {
        conn_begin(conn);
    } else {
        conn_state_set(conn, CONN_REST);
    }
}

/* True once all of it is out. */
static bool request_send(struct conn *conn) {
    const struct request *request = load.phase == PHASE_PRIME ? &load.first : &load.request;
    const char *p = conn->tunnel ? load.message : request->p;
    size_t len = conn->tunnel ? sizeof load.message : request->len;
    while (conn->sent < len) {
        ssize_t res = conn_write(conn, p + conn->sent, len - conn->sent);
        if (res < 0) {
            conn_failed(conn, "whole request");
        }
        if (res <= 0) {
            return false;
        }
        conn->sent += (size_t)res;
    }
    return true;
}

static void conn_begin(struct conn *conn) {
    conn->sent = 0;
    conn->message_left = MESSAGE_DOWN_BYTES;
    conn_state_set(conn, CONN_BUSY);
    (void)request_send(conn);
}

static void conn_answered(struct conn *conn) {
    if (conn->answer.status != (params.kind == KIND_MESSAGE ? 101 : 200)) {
        conn_failed(conn, "right answer");
    } else if (params.kind == KIND_CONNECT) {
        if (conn->ssl != NULL) {
            SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN);   /* or its ticket is good no more */
        }
        conn_state_set(conn, CONN_ENDING);
    } else if (params.kind == KIND_MESSAGE && !conn->tunnel) {
        conn->tunnel = true;
        conn_begin(conn);
    } else {
        conn_did(conn);
    }
}

/* What came of an answer, or of a message; what is behind it was not asked for. */
static enum answer_state conn_take(struct conn *conn, const char *p, size_t len) {
    enum answer_state state = ANSWER_MORE;
    if (conn->tunnel) {
        state = len < conn->message_left ? ANSWER_MORE : ANSWER_WHOLE;
        state = len > conn->message_left ? ANSWER_WRONG : state;
        conn->message_left -= (uint32_t)len;
        return state;
    }
    while (len > 0 && state == ANSWER_MORE) {
        state = answer_take(&conn->answer, &p, &len);
    }
    return len > 0 ? ANSWER_WRONG : state;
}

/* True where more of the answer is to be read. */
static bool conn_readable(struct conn *conn) {
    static char buf[64 * 1024];
    bool skips = conn->ssl == NULL && conn->answer.body_left > 0;
    ssize_t res = skips ? body_skip(conn) : conn_read(conn, buf, sizeof buf);
    if (res == 0) {
        return false;
    }
    enum answer_state state = res < 0 ? ANSWER_WRONG
                              : !skips ? conn_take(conn, buf, (size_t)res)
                              : conn->answer.body_left > 0 ? ANSWER_MORE : ANSWER_WHOLE;
    if (state == ANSWER_WRONG) {
        conn_failed(conn, "whole answer");
    } else if (state == ANSWER_WHOLE) {
        conn_answered(conn);
    }
    return state == ANSWER_MORE;
}

/* --- One connection ----------------------------------------------------------------------- */

static void conn_open(struct conn *conn) {
    uint64_t index = (uint64_t)(conn - load.conns);
    unsigned source = params.sources > 0 ? SOURCE_FIRST + (unsigned)(index % params.sources) : 0;
    conn->fd = client_connect(&params.to, source, 0, 0);
    conn_state_set(conn, CONN_CONNECTING);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = conn};
    ensure(epoll_ctl(load.epoll, EPOLL_CTL_ADD, conn->fd, &event) == 0);
}

static void conn_connected(struct conn *conn) {
    int err = 0;
    socklen_t len = sizeof err;
    ensure(getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0);
    if (err != 0) {
        conn_failed(conn, strerror(err));
    } else if (!params.tls) {
        conn_begin(conn);
    } else {
        conn->ssl = client_tls_new(load.context, conn->fd);
        ensure(SSL_set_app_data(conn->ssl, conn) == 1);
        if (conn->session != NULL) {
            ensure(SSL_set_session(conn->ssl, conn->session) == 1);
            SSL_SESSION_free(conn->session);
            conn->session = NULL;
        }
        conn_state_set(conn, CONN_SHAKING);
    }
}

static int conn_ticket_came(SSL *ssl, SSL_SESSION *session) {
    struct conn *conn = SSL_get_app_data(ssl);
    SSL_SESSION_free(conn->session);
    conn->session = session;
    return 1;   /* it is ours now */
}

/* Where nothing is to be asked we say that we go, and wait until the server has gone, so that it
 * has seen all of it: a reset right behind our Finished would take that away. */
static void conn_shaken(struct conn *conn) {
    if (params.kind != KIND_HANDSHAKE) {
        conn_begin(conn);
    } else if (params.resume && conn->session == NULL) {
        conn_state_set(conn, CONN_TICKET);
    } else {
        (void)SSL_shutdown(conn->ssl);
        conn_state_set(conn, CONN_ENDING);
    }
}

static void conn_shake(struct conn *conn) {
    int res = SSL_do_handshake(conn->ssl);
    if (res == 1) {
        conn_shaken(conn);
    } else if (conn_result(conn, res) < 0) {
        conn_failed(conn, "handshake");
    }
}

static void conn_ticket_read(struct conn *conn) {
    char byte;
    if (conn_read(conn, &byte, 1) != 0) {
        conn_failed(conn, "ticket");
    } else if (conn->session != NULL) {
        conn_shaken(conn);
    }
}

static void conn_end_read(struct conn *conn) {
    char drop[4096];
    ssize_t res;
    while ((res = recv(conn->fd, drop, sizeof drop, 0)) > 0) {
    }
    if (res == 0) {
        conn_did(conn);
    } else if (errno != EAGAIN) {
        conn_failed(conn, "orderly end");
    }
}

static void conn_ready(struct conn *conn, uint32_t events) {
    enum conn_state before;
    do {   /* as far as it goes: an edge is told once */
        before = conn->state;
        switch (before) {
        case CONN_CLOSED: break;
        case CONN_CONNECTING: conn_connected(conn); break;
        case CONN_SHAKING: conn_shake(conn); break;
        case CONN_TICKET: conn_ticket_read(conn); break;
        case CONN_BUSY:
            if (request_send(conn)) {
                while (conn_readable(conn)) {
                }
            }
            break;
        case CONN_REST:
            if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
                conn_failed(conn, "connection that is kept");
            }
            break;
        case CONN_ENDING: conn_end_read(conn); break;
        }
    } while (conn->state != before && conn->state > CONN_CONNECTING && conn->state != CONN_REST);
}

/* --- All of them -------------------------------------------------------------------------- */

static void events_wait(int ms) {
    struct epoll_event events[256];
    int n = epoll_wait(load.epoll, events, 256, ms);
    for (int i = 0; i < n; i++) {
        conn_ready(events[i].data.ptr, events[i].events);
    }
}

static void load_prime(void) {
    uint64_t end_ns = clock_ns() + READY_S * CLIENT_S;
    for (uint32_t next = 0; load.primed < params.connections;) {
        while (next < params.connections && load.active < params.together) {
            conn_open(&load.conns[next++]);
        }
        events_wait(TICK_MS);
        if (clock_ns() > end_ns) {
            log_error("%u of %llu are ready", load.primed,
                      (unsigned long long)params.connections);
            exit(1);
        }
    }
}

static void load_run(void) {
    uint64_t start_ns = clock_ns(), end_ns = start_ns + params.ms * 1000000;
    load.phase = PHASE_RUN;
    for (uint32_t i = 0; i < params.connections && params.ms > 0; i++) {
        struct conn *conn = &load.conns[i];
        if (conn->state == CONN_REST) {
            conn_begin(conn);
        } else {
            conn_open(conn);
        }
    }
    for (uint64_t now; (now = clock_ns()) < end_ns;) {
        events_wait((int)((end_ns - now) / 1000000) + 1);
    }
    load.phase = PHASE_DRAIN;
    end_ns = clock_ns() + DRAIN_S * CLIENT_S;
    do {
        events_wait(params.ms > 0 ? TICK_MS : 0);
    } while (load.active > 0 && clock_ns() < end_ns);
    load.errors += load.active;
    printf("{\"kind\": \"%s\", \"connections\": %llu, \"done\": %llu, \"errors\": %llu, "
           "\"resumed\": %llu, \"seconds\": %.6f}\n",
           kind_names[params.kind], (unsigned long long)params.connections,
           (unsigned long long)load.done, (unsigned long long)load.errors,
           (unsigned long long)load.resumed, (double)(clock_ns() - start_ns) / (double)CLIENT_S);
    fflush(stdout);
}

static struct request request_new(const char *path) {
    char head[1024];
    const char *close = params.kind == KIND_CONNECT ? "Connection: close\r\n" : "";
    int len = params.kind == KIND_MESSAGE ? snprintf(head, sizeof head, MESSAGE_ASKED)
              : params.send == 0
                  ? snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: bench.test\r\n%s\r\n",
                             path, close)
                  : snprintf(head, sizeof head,
                             "POST %s HTTP/1.1\r\nHost: bench.test\r\nContent-Length: %llu\r\n%s"
                             "\r\n", path, (unsigned long long)params.send, close);
    ensure(len > 0 && (size_t)len < sizeof head);
    struct request request = {.len = (size_t)len + params.send};
    request.p = malloc(request.len);
    ensure(request.p != NULL);
    memset(request.p, 'x', request.len);
    memcpy(request.p, head, (size_t)len);
    return request;
}

static void load_init(void) {
    client_begin();
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.conns = calloc(params.connections, sizeof *load.conns);
    ensure(load.epoll >= 0 && load.conns != NULL);
    load.context = client_tls();
    if (params.group != NULL && SSL_CTX_set1_groups_list(load.context, params.group) != 1) {
        log_error("OpenSSL knows no group %s", params.group);
        exit(2);
    }
    if (params.resume) {
        SSL_CTX_set_session_cache_mode(load.context,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(load.context, conn_ticket_came);
    }
    load.request = request_new(params.path);
    load.first = request_new(params.first != NULL ? params.first : params.path);
    memcpy(load.message, "\x82\xc0mask", 6);   /* binary, whole, masked, 64 bytes */
}

static void options_read(int argc, char **argv) {
    static const struct option options[] = {{"to", required_argument, NULL, 'a'},
                                            {"kind", required_argument, NULL, 'k'},
                                            {"tls", no_argument, NULL, 't'},
                                            {"connections", required_argument, NULL, 'c'},
                                            {"together", required_argument, NULL, 'g'},
                                            {"sources", required_argument, NULL, 'o'},
                                            {"ms", required_argument, NULL, 'm'},
                                            {"path", required_argument, NULL, 'p'},
                                            {"first", required_argument, NULL, 'f'},
                                            {"send", required_argument, NULL, 's'},
                                            {"resume", no_argument, NULL, 'r'},
                                            {"group", required_argument, NULL, 'x'},
                                            {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'a': params.to = client_addr(optarg); break;
        case 'k':
            for (params.kind = 0; params.kind < KINDS; params.kind++) {
                if (strcmp(optarg, kind_names[params.kind]) == 0) {
                    break;
                }
            }
            break;
        case 't': params.tls = true; break;
        case 'c': params.connections = client_number(optarg, CONNECTIONS_MAX); break;
        case 'g': params.together = client_number(optarg, CONNECTIONS_MAX); break;
        case 'o': params.sources = client_number(optarg, 200); break;
        case 'm': params.ms = client_number(optarg, 3600000); break;
        case 'p': params.path = optarg; break;
        case 'f': params.first = optarg; break;
        case 's': params.send = client_number(optarg, SEND_MAX); break;
        case 'r': params.resume = true; break;
        case 'x': params.group = optarg; break;
        default: exit(2);   /* getopt has said why */
        }
    }
    if (optind < argc || params.to.len == 0 || params.kind == KINDS ||
        params.connections == 0 || params.together == 0 ||
        (params.kind == KIND_HANDSHAKE && !params.tls)) {
        log_error("usage: gyre-load --to ADDR [--kind ask|connect|handshake|message] [--tls] "
                  "[--connections N] [--together N] [--sources N] [--ms N] [--path PATH] "
                  "[--first PATH] [--send N] [--resume] [--group NAME]");
        exit(2);
    }
}

int main(int argc, char **argv) {
    options_read(argc, argv);
    load_init();
    load_prime();
    printf("ready\n");
    fflush(stdout);
    char line;
    if (read(STDIN_FILENO, &line, 1) == 1) {
        load_run();
    }
    for (uint32_t i = 0; i < params.connections; i++) {
        if (load.conns[i].state != CONN_CLOSED) {
            conn_close(&load.conns[i]);
        }
        SSL_SESSION_free(load.conns[i].session);
    }
    SSL_CTX_free(load.context);
    free(load.conns);
    free(load.request.p);
    free(load.first.p);
    return 0;
}
