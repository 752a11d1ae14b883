/* What all workers share: certificates, sites, limits, backends. */
#include "plan.h"

#include <errno.h>
#include <pwd.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* Body bytes that may wait on one client's connection: in its stream and in its wire. */
#define DOWN_STREAM_MARK (64u * 1024u)
#define DOWN_WIRE_TX_MARK (256u * 1024u)
/* How long a closed connection may take to say FIN too (RFC 9112 9.6). */
#define DOWN_LINGER_MS 5000u

/* Descriptors that are no connections: rings, logs, listeners, the C library's. */
#define DESCRIPTORS_RESERVED 64u
#define DESCRIPTORS_PER_WORKER 16u
/* Of so many descriptors one may be a pipe, which takes two. */
#define PIPES_SHARE 32u

static uint32_t cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    int n = CPU_COUNT(&set);
    return n > 0 ? (uint32_t)n : 1;
}

/* --- Certificates ------------------------------------------------------------------------- */

/* A list of a listener's certificates, which ends with NULL. */
static struct tls_certificate **load_certificates(const struct conf *conf, uint32_t index,
                                                  struct conf_errors *errors) {
    const struct conf_listener *listener = &conf->listeners[index];
    uint32_t count = listener->certificate.count;
    struct tls_certificate **list = mem_zero((count + 1) * sizeof *list);
    uint32_t loaded = 0;
    for (uint32_t i = 0; i < count; i++) {
        const char *key = i < listener->key.count ? listener->key.items[i] : NULL;
        char why[TLS_WHY_MAX];
        list[loaded] = tls_certificate_load(listener->certificate.items[i], key, why);
        if (list[loaded] == NULL) {
            /* The message begins with the file that is wrong. */
            bool in_key = key != NULL && str_starts(str_of(why), str_of(key)) &&
                          strcmp(key, listener->certificate.items[i]) != 0;
            uint32_t line = in_key ? listener->key.lines[i] : listener->certificate.lines[i];
            conf_error(errors, conf->path, line, "%s", why);
            if (!in_key && key != NULL && access(key, R_OK) != 0) {
                conf_error(errors, conf->path, listener->key.lines[i], "%s: can not be opened: %s",
                           key, strerror(errno));
            }
        } else {
            loaded++;
        }
    }
    return list;
}

static void free_certificates(struct tls_certificate **list) {
    for (struct tls_certificate **c = list; *c != NULL; c++) {
        tls_certificate_free(*c);
    }
    mem_free(list);
}

/* --- What else the configuration names ---------------------------------------------------- */

static void check_user(const struct conf *conf, struct conf_errors *errors) {
    if (conf->global.user != NULL && getpwnam(conf->global.user) == NULL) {
        conf_error(errors, conf->path, conf->global.user_line,
                   "user = %s: there is no such user; make one with `useradd --system %s`",
                   conf->global.user, conf->global.user);
    }
}

static void check_log_folder(const struct conf *conf, struct conf_errors *errors) {
    const char *log = conf->global.access_log;
    char *folder = mem_copy(log, strlen(log));
    char *slash = strrchr(folder, '/');
    struct stat st;
    if (slash != NULL) {
        *(slash == folder ? slash + 1 : slash) = '\0';
        if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) {
            conf_error(errors, conf->path, conf->global.access_log_line,
                       "access_log = %s: the folder %s is not there", log, folder);
        }
    }
    mem_free(folder);
}

/* True when the log is a file. */
static bool check_log(const struct conf *conf, struct conf_errors *errors) {
    const char *log = conf->global.access_log;
    if (strcmp(log, "stderr") == 0 || strcmp(log, "stdout") == 0 || strcmp(log, "off") == 0) {
        return false;
    }
    check_log_folder(conf, errors);
    return true;
}

/* Of the default no line can be named; that it can not be used is said at start. */
static void check_spool(const struct conf *conf, struct conf_errors *errors) {
    const struct conf_global *global = &conf->global;
    struct stat st;
    if (global->spool_dir_line == 0 || global->spool_max == 0) {
        return;
    }
    if (stat(global->spool_dir, &st) != 0) {
        conf_error(errors, conf->path, global->spool_dir_line, "spool_dir = %s: %s",
                   global->spool_dir, strerror(errno));
    } else if (!S_ISDIR(st.st_mode)) {
        conf_error(errors, conf->path, global->spool_dir_line, "spool_dir = %s: it is no folder",
                   global->spool_dir);
    }
}

void plan_try_spool(const struct plan *plan) {
    if (plan->store.max == 0) {
        return;
    }
    int fd = sys_open_spool(plan->store.folder);
    if (fd >= 0) {
        (void)sys_close(fd);
    } else {
        log_warn("spool_dir = %s: no file can be made there: %s; request bodies larger than "
                 "request_memory will be answered with 503", plan->store.folder, strerror(-fd));
    }
}

void plan_look(const struct conf *conf, struct conf_errors *errors) {
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        free_certificates(load_certificates(conf, i, errors));
    }
    check_user(conf, errors);
    (void)check_log(conf, errors);
    check_spool(conf, errors);
    struct secret secret;
    (void)plan_read_secret(conf, &secret, errors);
    explicit_bzero(&secret, sizeof secret);
}

static void plan_log(struct plan *plan) {
    const char *log = plan->conf->global.access_log;
    struct stat st;
    bool known = false;
    plan->log_fd = -1;
    if (strcmp(log, "stderr") == 0 || strcmp(log, "stdout") == 0) {
        plan->log_fd = strcmp(log, "stderr") == 0 ? STDERR_FILENO : STDOUT_FILENO;
        known = fstat(plan->log_fd, &st) == 0;
    } else if (plan->log_is_file) {
        known = stat(log, &st) == 0;
    }
    plan->log_whole_lines = known && !S_ISREG(st.st_mode);
}

int plan_open_log(const struct plan *plan) {
    if (!plan->log_is_file) {
        return plan->log_fd;
    }
    const char *path = plan->conf->global.access_log;
    int fd = sys_open_append(path);
    if (fd < 0) {
        log_error("can not open the access log %s: %s", path, strerror(-fd));
        return -1;
    }
    return fd;
}

/* --- Sites -------------------------------------------------------------------------------- */

static void site_init(struct site *site, uint32_t index, const struct conf_listener *listener) {
    *site = (struct site){
        .name = listener->name,
        .index = index,
        .multi_certificate = listener->certificate.count > 1,
        .accept_proxy = listener->accept_proxy,
        .limits = {
            .head_bytes_max = (uint32_t)listener->max_head,
            .field_count_max = (uint32_t)listener->max_headers,
            .keep_underscores = listener->keep_underscores,
            .head_ms = (uint32_t)listener->head_timeout_ms,
            .body_ms = (uint32_t)listener->body_timeout_ms,
            .idle_ms = (uint32_t)listener->idle_timeout_ms,
            .body_bytes_max = listener->max_body,
            .body_rate_min = (uint32_t)listener->min_body_rate,
            .request_count_max = (uint32_t)listener->max_requests,
            .rx_mark = DOWN_STREAM_MARK,
            .tx_mark = DOWN_STREAM_MARK,
            .wire = {
                .rx_mark = (uint32_t)listener->max_pipelined,
                .tx_mark = DOWN_WIRE_TX_MARK,
                .handshake_ms = (uint32_t)listener->head_timeout_ms,
                .send_ms = (uint32_t)listener->send_timeout_ms,
                .send_rate_min = (uint32_t)listener->min_send_rate,
                .linger_ms = DOWN_LINGER_MS,
            },
        },
    };
}

/* No one client, unless it is told so, may keep the others out. */
static struct client_counts *clients_new(const struct plan *plan,
                                         const struct conf_listener *listener, uint32_t max) {
    const struct conf_global *global = &plan->conf->global;
    uint32_t hold = max < plan->process_limit.max ? max : plan->process_limit.max;
    uint32_t each = listener->max_connections_per_client;
    each = each != 0 ? each : hold > 1 ? hold / 2 : 1;
    return client_counts_new(each, listener->name, global->trusted_proxies,
                             global->trusted_proxy_count);
}

/* So many more, so that it is the connection limit that is met first. */
#define SPARE 64u

/* Each client uses one connection to a server, and leaves one behind that is not up yet where it
 * goes away; idle ones are counted for the whole process. Never more than descriptors allow. */
static void bounds_init(struct plan *plan) {
    uint64_t clients = 0, servers = 0;
    uint32_t half = plan->process_limit.max;
    for (uint32_t i = 0; i < plan->conf->listener_count; i++) {
        clients += plan->limits[i].max;
    }
    clients = clients < half ? clients : half;
    for (uint32_t i = 0; i < plan->conf->backend_count; i++) {
        const struct conf_backend *backend = &plan->conf->backends[i];
        for (uint32_t k = 0; k < backend->server_count; k++) {
            const struct conf_server *server = &backend->servers[k];
            servers += backend->keepalive * (server->name[0] != '\0' ? server->addresses : 1);
        }
    }
    servers += 2 * clients;
    plan->bounds.clients = (uint32_t)clients + SPARE;
    plan->bounds.servers = (uint32_t)(servers < half ? servers : half) + SPARE;
}

/* A client may need a second descriptor, to its server: half of what there is may be clients. */
static void limits_init(struct plan *plan) {
    uint32_t descriptors = sys_raise_nofile();
    uint32_t pipes = descriptors / PIPES_SHARE / plan->worker_count;
    plan->bounds.pipes = pipes < PIPES_MAX ? pipes : PIPES_MAX;
    uint32_t reserved = DESCRIPTORS_RESERVED +
                        plan->worker_count * (DESCRIPTORS_PER_WORKER + 2 * plan->bounds.pipes);
    plan->process_limit.max = descriptors > reserved + 2 ? (descriptors - reserved) / 2 : 1;
    for (uint32_t i = 0; i < plan->conf->listener_count; i++) {
        plan->limits[i].max = (uint32_t)plan->conf->listeners[i].max_connections;
        plan->limits[i].parent = &plan->process_limit;
        plan->clients[i] = clients_new(plan, &plan->conf->listeners[i], plan->limits[i].max);
    }
}

static void plan_sign(struct plan *plan, struct conf_errors *errors) {
    struct secret secret;
    if (plan_read_secret(plan->conf, &secret, errors)) {
        registry_sign(plan->registry, (struct str){secret.bytes, secret.len});
    }
    explicit_bzero(&secret, sizeof secret);
}

struct plan *plan_new(const struct conf *conf, struct conf_errors *errors) {
    struct plan *plan = mem_zero(sizeof *plan);
    plan->conf = conf;
    plan->worker_count = conf->global.workers != 0 ? conf->global.workers : cores();
    plan->sites = mem_zero(conf->listener_count * sizeof *plan->sites);
    plan->limits = mem_zero(conf->listener_count * sizeof *plan->limits);
    plan->clients = mem_zero(conf->listener_count * sizeof *plan->clients);
    plan->certificates = mem_zero(conf->listener_count * sizeof *plan->certificates);
    plan->tickets = tls_tickets_new();
    uint32_t errors_before = errors->count;
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        site_init(&plan->sites[i], i, &conf->listeners[i]);
        plan->certificates[i] = load_certificates(conf, i, errors);
    }
    check_user(conf, errors);
    plan->log_is_file = check_log(conf, errors);
    check_spool(conf, errors);
    plan_log(plan);
    limits_init(plan);
    plan->store = (struct spool_store){.folder = conf->global.spool_dir,
                                       .max = conf->global.spool_max,
                                       .piece = SPOOL_PIECE_BYTES};
    bounds_init(plan);
    plan->registry = registry_new(conf, plan->worker_count);
    plan_sign(plan, errors);
    plan->generation = generation_new(conf, plan->registry);
    if (errors->count > errors_before) {
        plan_free(plan);
        return NULL;
    }
    return plan;
}

void plan_free(struct plan *plan) {
    generation_free(plan->generation);
    registry_free(plan->registry);
    for (uint32_t i = 0; i < plan->conf->listener_count; i++) {
        free_certificates(plan->certificates[i]);
        client_counts_free(plan->clients[i]);
    }
    for (uint32_t i = 0; i < plan->socket_count; i++) {
        if (plan->sockets[i].shared && plan->sockets[i].fds[0] >= 0) {
            (void)sys_close(plan->sockets[i].fds[0]);
        }
        mem_free(plan->sockets[i].fds);
    }
    mem_free(plan->sockets);
    tls_tickets_free(plan->tickets);
    mem_free(plan->certificates);
    mem_free(plan->clients);
    mem_free(plan->limits);
    mem_free(plan->sites);
    mem_free(plan);
}
