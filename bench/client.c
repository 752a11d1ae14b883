/* Sockets, TLS, answers and the clock, as the load generators need them. */
#include "bench/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <netinet/tcp.h>

#include "base/ensure.h"
#include "base/log.h"

void client_begin(void) {
    struct rlimit descriptors;
    ensure(getrlimit(RLIMIT_NOFILE, &descriptors) == 0);
    descriptors.rlim_cur = descriptors.rlim_max;
    ensure(setrlimit(RLIMIT_NOFILE, &descriptors) == 0);
    (void)signal(SIGPIPE, SIG_IGN);
}

uint64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * CLIENT_S + (uint64_t)now.tv_nsec;
}

static void must(int res, const char *what) {
    if (res < 0) {
        log_error("%s: %s", what, strerror(errno));
        exit(1);
    }
}

int client_connect(const struct addr *to, unsigned source, int rx_bytes, int mss) {
    int fd = socket(to->sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    must(fd, "socket");
    int on = 1;
    if (to->sa.any.sa_family != AF_UNIX) {
        must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    }
    if (rx_bytes > 0) {
        must(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rx_bytes, sizeof rx_bytes), "SO_RCVBUF");
    }
    if (mss > 0) {
        must(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss), "TCP_MAXSEG");
    }
    if (source > 0 && to->sa.any.sa_family == AF_INET) {
        struct sockaddr_in from = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + source)};
        /* The port is chosen by connect, and may be in use towards other peers. */
        must(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on), "NO_PORT");
        must(bind(fd, (struct sockaddr *)&from, sizeof from), "bind");
    }
    if (connect(fd, &to->sa.any, to->len) < 0 && errno != EINPROGRESS) {
        must(-1, "connect");
    }
    return fd;
}

void client_abort(int fd) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void)close(fd);
}

SSL_CTX *client_tls(void) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    ensure(context != NULL);
    ensure(SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1);
    ensure(SSL_CTX_set1_groups_list(context, "P-256") == 1);
    ensure(SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    return context;
}

SSL *client_tls_new(SSL_CTX *context, int fd) {
    SSL *ssl = SSL_new(context);
    ensure(ssl != NULL);
    if (fd >= 0) {
        ensure(SSL_set_fd(ssl, fd) == 1);
    } else {
        SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    }
    SSL_set_connect_state(ssl);
    return ssl;
}

/* What a whole head announces; false where that is nothing that we know. */
static bool answer_head(struct answer *answer) {
    static const char version[] = "HTTP/1.1 ";
    char *end;
    if (strncmp(answer->head, version, sizeof version - 1) != 0) {
        return false;
    }
    answer->status = (unsigned)strtoul(answer->head + sizeof version - 1, &end, 10);
    if (answer->status == 101) {
        return true;
    }
    const char *field = strcasestr(answer->head, "\r\ncontent-length:");
    if (field == NULL) {
        return false;
    }
    answer->body_left = strtoull(field + 17, &end, 10);
    return *end == '\r';
}

static enum answer_state answer_head_take(struct answer *answer, const char **p, size_t *len) {
    uint32_t had = answer->head_len, room = ANSWER_HEAD_MAX - 1 - had;
    uint32_t part = *len < room ? (uint32_t)*len : room;
    memcpy(answer->head + had, *p, part);
    uint32_t from = had > 3 ? had - 3 : 0;
    const char *end = memmem(answer->head + from, had + part - from, "\r\n\r\n", 4);
    if (end == NULL) {
        *p += part;
        *len -= part;
        answer->head_len += part;
        return part < room ? ANSWER_MORE : ANSWER_WRONG;
    }
    uint32_t whole = (uint32_t)(end + 4 - answer->head);
    answer->head[whole] = '\0';
    answer->head_len = 0;
    *p += whole - had;
    *len -= whole - had;
    return !answer_head(answer) ? ANSWER_WRONG
           : answer->body_left > 0 ? ANSWER_MORE : ANSWER_WHOLE;
}

enum answer_state answer_take(struct answer *answer, const char **p, size_t *len) {
    if (answer->body_left == 0) {
        enum answer_state state = answer_head_take(answer, p, len);
        if (state != ANSWER_MORE || answer->body_left == 0) {
            return state;
        }
    }
    size_t part = *len < answer->body_left ? *len : (size_t)answer->body_left;
    answer->body_left -= part;
    *p += part;
    *len -= part;
    return answer->body_left > 0 ? ANSWER_MORE : ANSWER_WHOLE;
}

uint64_t client_number(const char *text, uint64_t max) {
    uint64_t value;
    if (!str_to_u64(str_of(text), &value) || value > max) {
        log_error("%s is no number from 0 to %llu", text, (unsigned long long)max);
        exit(2);
    }
    return value;
}

struct addr client_addr(const char *text) {
    struct addr addr;
    const char *why;
    if (!addr_parse(&addr, str_of(text), &why)) {
        log_error("%s: %s", text, why);
        exit(2);
    }
    return addr;
}

volatile sig_atomic_t client_leaving;

static void signal_leave(int number) {
    (void)number;
    client_leaving = 1;
}

void client_leave_on_signals(void) {
    struct sigaction action = {.sa_handler = signal_leave};
    ensure(sigaction(SIGTERM, &action, NULL) == 0 && sigaction(SIGINT, &action, NULL) == 0);
}
