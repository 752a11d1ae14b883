/* The fast path and nothing else: keep-alive clients on the simulated ring ask for 1 KiB, one
 * worker relays it. tests/fastpath/run counts the instructions.
 *
 *   fastpath REQUESTS [log | async | hosts | tls CERTIFICATE KEY | apart]
 *
 * REQUESTS of each of the 32 clients. log: with the access log on. async: to a backend of that mode.
 * hosts: to one of a thousand. tls: over TLS, OpenSSL's on both sides, with these two files. apart:
 * of two workers, first the one has requests and then the other (tests/fastpath/apart). */
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/lab.h"
#include "sim/sim.h"

#define CLIENTS 32u
#define CLIENTS_APART 8u    /* each access to memory takes long to trace */
#define BODY_BYTES 1024

static const char asked[] = "GET /catalog/items?page=3 HTTP/1.1\r\n"
                            "Host: www.example.org\r\n"
                            "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) "
                            "Firefox/128.0\r\n"
                            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9\r\n"
                            "Accept-Language: en-US,en;q=0.5\r\n"
                            "Accept-Encoding: gzip, deflate, br\r\n"
                            "Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";
static const char answer_head[] = "HTTP/1.1 200 OK\r\n"
                                  "Server: gunicorn\r\n"
                                  "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                                  "Connection: keep-alive\r\n"
                                  "Content-Type: text/html; charset=utf-8\r\n"
                                  "Content-Length: 1024\r\n\r\n";
static char answer[sizeof answer_head - 1 + BODY_BYTES];

struct client {
    struct peer *peer;
    unsigned long left;
    unsigned worker;        /* whose it is, with "apart" */
    SSL *ssl;               /* NULL: plain */
    BIO *from_gyre;
    BIO *to_gyre;
    char heard[sizeof answer + 256];    /* over TLS; gyre adds fields */
};
static struct client clients[CLIENTS];

static void origin_hears(struct peer *peer) {
    if (peer_has(peer, "\r\n\r\n")) {
        peer_drop(peer, peer->rx_len);
        peer_send(peer, answer, sizeof answer);
    }
}

static void origin_accepts(struct peer *peer) {
    peer->changed = origin_hears;
}

static bool is_answer(const void *bytes, size_t len) {
    const char *text = bytes;
    if (len <= BODY_BYTES || memcmp(text + len - 8, "the end\n", 8) != 0) {
        return false;
    }
    ensure(memcmp(text, "HTTP/1.1 200 OK\r\n", 17) == 0);
    return true;
}

static bool all_served(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        if (clients[i].left > 0) {
            return false;
        }
    }
    return true;
}

/* --- TLS, of a client ----------------------------------------------------------------------- */

static void sealed_send(struct client *client) {
    char *sealed;
    long len = BIO_get_mem_data(client->to_gyre, &sealed);
    if (len > 0) {
        peer_send(client->peer, sealed, (size_t)len);
        ensure(BIO_reset(client->to_gyre) == 1);
    }
}

static void sealed_ask(struct client *client) {
    ensure(SSL_write(client->ssl, asked, sizeof asked - 1) == (int)sizeof asked - 1);
    sealed_send(client);
}

static size_t sealed_read(struct client *client) {
    size_t len = 0, more;
    while (SSL_read_ex(client->ssl, client->heard + len, sizeof client->heard - len, &more) == 1) {
        len += more;
        ensure(len < sizeof client->heard);
    }
    return len;
}

/* gyre makes a record of an answer: no piece of one is heard apart. */
static void sealed_hears(struct peer *peer) {
    struct client *client = peer->user;
    bool was_up = SSL_is_init_finished(client->ssl);
    ensure(BIO_write(client->from_gyre, peer->rx, (int)peer->rx_len) == (int)peer->rx_len);
    peer_drop(peer, peer->rx_len);
    if (!was_up && SSL_do_handshake(client->ssl) == 1) {
        sealed_ask(client);
    } else if (was_up && is_answer(client->heard, sealed_read(client)) && --client->left > 0) {
        sealed_ask(client);
    }
}

static void sealed_begin(struct client *client, SSL_CTX *context) {
    client->ssl = SSL_new(context);
    client->from_gyre = BIO_new(BIO_s_mem());
    client->to_gyre = BIO_new(BIO_s_mem());
    ensure(client->ssl != NULL && client->from_gyre != NULL && client->to_gyre != NULL);
    BIO_set_mem_eof_return(client->from_gyre, -1);
    SSL_set_bio(client->ssl, client->from_gyre, client->to_gyre);
    SSL_set_connect_state(client->ssl);
    ensure(SSL_do_handshake(client->ssl) == -1);
    sealed_send(client);
}

/* --- Clients -------------------------------------------------------------------------------- */

static void client_hears(struct peer *peer) {
    struct client *client = peer->user;
    if (is_answer(peer->rx, peer->rx_len)) {
        peer_drop(peer, peer->rx_len);
        if (--client->left > 0) {
            peer_send(peer, asked, sizeof asked - 1);
        }
    }
}

static void client_begin(struct client *client, const struct addr *gyre, unsigned long each,
                         SSL_CTX *context) {
    *client = (struct client){.peer = peer_dial(gyre, NULL), .left = each};
    client->peer->user = client;
    client->peer->changed = context != NULL ? sealed_hears : client_hears;
    if (context != NULL) {
        sealed_begin(client, context);
    } else {
        peer_send(client->peer, asked, sizeof asked - 1);
    }
}

static void clients_serve(struct sim *sim, const struct addr *gyre, unsigned long each, bool tls) {
    SSL_CTX *context = tls ? SSL_CTX_new(TLS_client_method()) : NULL;
    ensure(context != NULL || !tls);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        client_begin(&clients[i], gyre, each, context);
    }
    SSL_CTX_free(context);      /* the clients have theirs of it */
    ensure(sim_run_until(sim, all_served, NULL, 1000000) == PEERS_MET);
}

static unsigned long lines_in(struct str text) {
    unsigned long count = 0;
    for (uint32_t i = 0; i < text.len; i++) {
        count += text.p[i] == '\n';
    }
    return count;
}

/* --- One worker after the other -------------------------------------------------------------- */

/* Whoever traces the program sees it written: 1, the first worker has requests; 2, the other one;
 * 3, it is over. */
volatile unsigned phase;

static void worker_serves(struct sim *sim, unsigned worker, unsigned long each) {
    for (uint32_t i = 0; i < CLIENTS_APART; i++) {
        if (clients[i].worker == worker) {
            clients[i].left = each;
            peer_send(clients[i].peer, asked, sizeof asked - 1);
        }
    }
    ensure(sim_run_until(sim, all_served, NULL, 1000000) == PEERS_MET);
}

/* First as much of both as is measured, so that all is there that is made once. */
static void workers_serve(struct sim *sim, const struct lab *lab, const struct addr *gyre,
                          unsigned long each) {
    fprintf(stderr, "phase %p %p\n", (void *)(uintptr_t)&phase, __builtin_thread_pointer());
    uint32_t of_first = 0;
    for (uint32_t i = 0; i < CLIENTS_APART; i++) {
        client_begin(&clients[i], gyre, 1, NULL);
        ensure(sim_run_until(sim, all_served, NULL, 1000000) == PEERS_MET);
        clients[i].worker = lab->workers[0].http.downs.live == of_first;
        of_first = lab->workers[0].http.downs.live;
    }
    ensure(of_first > 0 && of_first < CLIENTS_APART);
    for (unsigned n = 0; n < 4; n++) {
        phase = n < 2 ? 0 : n - 1;
        worker_serves(sim, n % 2, each);
    }
    phase = 3;
}

/* --- gyre ----------------------------------------------------------------------------------- */

enum kind { KIND_PLAIN, KIND_LOG, KIND_ASYNC, KIND_HOSTS, KIND_TLS, KIND_APART, KINDS };
static const char *const kind_names[KINDS] = {"plain", "log", "async", "hosts", "tls", "apart"};

static enum kind kind_of(int argc, char **argv) {
    if (argc == 2) {
        return KIND_PLAIN;
    }
    for (enum kind kind = KIND_LOG; argc > 2 && kind < KINDS; kind++) {
        if (strcmp(argv[2], kind_names[kind]) == 0 && argc == (kind == KIND_TLS ? 5 : 3)) {
            return kind;
        }
    }
    return KINDS;
}

#define HOSTS 1000u

static void gyre_start(struct lab *lab, enum kind kind, char **files) {
    static char conf[100 * HOSTS];
    char certificate[512] = "";
    if (kind == KIND_TLS) {
        snprintf(certificate, sizeof certificate, "certificate = %s\nkey = %s\n", files[0],
                 files[1]);
    }
    size_t len = (size_t)snprintf(
        conf, sizeof conf, "[global]\nworkers = %d\naccess_log = %s\n"
        "[listener web]\nbind = 127.0.0.1:80\nbackend = app\nmax_requests = 1000000000\n%s"
        "[backend app]\nserver = 127.0.0.1:8001\nmode = %s\n",
        kind == KIND_APART ? 2 : 1, kind == KIND_LOG ? "/access.log" : "off", certificate,
        kind == KIND_ASYNC ? "async" : "sync");
    for (unsigned i = 0; kind == KIND_HOSTS && i < HOSTS; i++) {
        len += (size_t)snprintf(conf + len, sizeof conf - len,
                                "[route %u]\nbackend = app\nhost = www.example.%s%u\n", i,
                                i == 0 ? "org\n;" : "", i);
    }
    ensure(len < sizeof conf && lab_start(lab, true, conf, NULL));
}

int main(int argc, char **argv) {
    unsigned long each = argc >= 2 ? strtoul(argv[1], NULL, 10) : 0;
    enum kind kind = kind_of(argc, argv);
    if (each == 0 || kind == KINDS) {
        fprintf(stderr, "usage: fastpath REQUESTS [log | async | hosts | tls CERTIFICATE KEY | apart]\n");
        return 2;
    }
    memset(answer, 'x', sizeof answer);
    memcpy(answer, answer_head, sizeof answer_head - 1);
    memcpy(answer + sizeof answer - 8, "the end\n", 8);
    struct sim *sim = sim_new(1, NULL);
    struct addr origin = addr_of("127.0.0.1:8001"), gyre = addr_of("127.0.0.1:80");
    struct peer_listener *listener = peer_listen(&origin, 256);
    listener->accepted = origin_accepts;
    static struct lab lab;      /* not on the stack, where tests/fastpath/apart does not look */
    gyre_start(&lab, kind, argv + 3);
    if (kind == KIND_APART) {
        workers_serve(sim, &lab, &gyre, each);
    } else {
        clients_serve(sim, &gyre, each, kind == KIND_TLS);
    }
    ensure(lab_stop(&lab, 60000));
    ensure(kind != KIND_LOG || lines_in(sim_file(sim, "/access.log")) == each * CLIENTS);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        SSL_free(clients[i].ssl);
    }
    sim_free(sim);
    return 0;
}
