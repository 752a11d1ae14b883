/* The conf door: one ini file becomes checked settings. */
#ifndef GYRE_CONF_CONF_H
#define GYRE_CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/addr.h"

/* Settings are plain, immutable after conf_load, and shared by all rings. Every string ends with
 * NUL and belongs to the conf. Members are named as their keys, with the unit where there is one;
 * they, the parser, the defaults and the reference come from keys.def, a row each. */

enum conf_balance {
    CONF_BALANCE_ROUND_ROBIN,
    CONF_BALANCE_LEAST_REQUESTS,
    CONF_BALANCE_RANDOM,
    CONF_BALANCE_HASH,
};

/* Whether gyre takes whole messages off a backend's hands, or streams them. */
enum conf_mode { CONF_MODE_SYNC, CONF_MODE_ASYNC };
enum conf_protocol { CONF_PROTOCOL_HTTP, CONF_PROTOCOL_UWSGI };

/* What a client's requests go to the same server by. */
enum conf_sticky { CONF_STICKY_NO, CONF_STICKY_COOKIE, CONF_STICKY_SOCKETIO };

/* The PROXY protocol in front of a connection to a server. */
enum conf_proxy { CONF_PROXY_NO, CONF_PROXY_V1, CONF_PROXY_V2 };

struct conf_list {             /* a list key: comma-separated, and it may be repeated */
    char **items;
    uint32_t *lines;           /* where each stood */
    uint32_t count;
};

struct conf_global {
    uint32_t workers;          /* 0: auto, one per core that this process may use */
    const char *user;          /* NULL: stay who we are */
    uint32_t user_line;        /* 0: it was not set */
    const char *access_log;    /* "off", "stderr", "stdout", or a file's path */
    uint32_t access_log_line;
    uint64_t drain_timeout_ms;
    uint64_t memory_max;       /* bytes; 0: auto */
    const char *spool_dir;
    uint32_t spool_dir_line;
    uint64_t spool_max;        /* bytes */
    const char *secret_file;   /* NULL: none */
    uint32_t secret_file_line;
    uint32_t retry_budget;     /* percent */
    struct cidr *trusted_proxies;
    uint32_t trusted_proxy_count;
    struct addr *resolvers;    /* none: as /etc/resolv.conf says */
    uint32_t resolver_count;
    uint32_t line;             /* of the section; 0: there was none */
};

struct conf_listener {
    const char *name;
    uint32_t line;
    struct addr *binds;
    uint32_t *bind_lines;
    uint32_t bind_count;
    struct conf_list certificate, key;
    uint32_t redirect_https;   /* 0: no; else the port that the redirect names (443 for yes) */
    const char *backend;       /* NULL: none */
    int32_t backend_index;     /* in conf->backends, -1: none */
    uint64_t head_timeout_ms, body_timeout_ms, idle_timeout_ms, send_timeout_ms, tunnel_timeout_ms;
    uint64_t max_head, max_headers, max_body, max_connections, max_requests, max_pipelined;
    uint32_t max_connections_per_client;   /* 0: auto, half of what the listener may hold */
    uint64_t min_body_rate, min_send_rate; /* bytes a second; 0: any */
    bool accept_proxy, keep_underscores;
};

struct conf_route {
    const char *name;
    uint32_t line;
    struct conf_list host;     /* lower case; "example.org", "*.example.org"; none: every host */
    const char *path;          /* a prefix, "/" by default */
    bool mount;                /* it is where an app stands, and ends in "/" */
    const char *listener;      /* NULL: all */
    int32_t listener_index;    /* -1: all */
    const char *backend;
    uint32_t backend_index;
};

/* A set of statuses from 100 to 599. */
#define CONF_STATUS_MIN 100u
#define CONF_STATUS_MAX 599u
struct conf_statuses {
    uint64_t bits[8];
};
static inline bool conf_has_status(const struct conf_statuses *set, uint32_t status) {
    uint32_t at = status - CONF_STATUS_MIN;
    return status >= CONF_STATUS_MIN && status <= CONF_STATUS_MAX &&
           (set->bits[at / 64] >> at % 64 & 1) != 0;
}

static inline bool conf_has_statuses(const struct conf_statuses *set) {
    uint64_t any = 0;
    for (unsigned i = 0; i < sizeof set->bits / sizeof *set->bits; i++) {
        any |= set->bits[i];
    }
    return any != 0;
}

/* Ways in which a server fails a request. */
struct conf_faults {
    bool connect, reset, timeout;
    struct conf_statuses statuses;
};

struct conf_server {
    struct addr addr;          /* of one that has a name: 0.0.0.0 and its port */
    char name[ADDR_HOST_MAX];  /* of its host, in lower case; "": it has none */
    uint32_t addresses;        /* of a name: so many are servers, at most */
    uint32_t line;
    uint32_t weight;
    enum conf_proxy send_proxy;
    uint32_t slots;            /* 0: any number */
    bool idle_holds_slot;
    enum conf_protocol protocol;
    bool backup;
};

struct conf_backend {
    const char *name;
    uint32_t line;
    struct conf_server *servers;
    uint32_t server_count;
    enum conf_balance balance;
    const char *hash_on;       /* conf_hash_on reads it */
    enum conf_sticky sticky;
    const char *sticky_name;   /* of its cookie */
    uint64_t connect_timeout_ms, response_timeout_ms, stall_timeout_ms, keepalive_timeout_ms;
    uint64_t keepalive;
    uint32_t weight;           /* of servers that name none */
    enum conf_proxy send_proxy;
    enum conf_mode mode;
    uint32_t slots;
    bool idle_holds_slot;
    enum conf_protocol protocol;
    bool backup;               /* of servers that do not say */
    uint32_t addresses;
    uint64_t queue, queue_timeout_ms;
    uint64_t request_memory, response_memory, response_max;
    bool server_timing;
    const char *check;         /* "no", "tcp", or a path */
    const char *check_host;
    uint64_t check_interval_ms, check_timeout_ms;
    struct conf_statuses check_expect;
    uint32_t check_fall, check_rise;
    struct conf_faults eject;
    uint32_t eject_after;
    uint64_t eject_time_ms, eject_time_max_ms;
    uint64_t slow_start_ms;
    uint32_t retries;          /* 0: never */
    struct conf_faults retry_on;
};

struct conf {
    const char *path;          /* what messages name */
    struct conf_global global;
    struct conf_listener *listeners;
    uint32_t listener_count;
    struct conf_route *routes;
    uint32_t route_count;
    struct conf_backend *backends;
    uint32_t backend_count;
};

/* What of a request chooses its server with balance = hash. NOTHING: the text is none of these. */
enum conf_hash { CONF_HASH_NOTHING, CONF_HASH_CLIENT, CONF_HASH_PATH, CONF_HASH_HEADER,
                 CONF_HASH_COOKIE };
struct conf_hash_on {
    enum conf_hash what;
    struct str name;           /* of the field or cookie; in the text */
};
struct conf_hash_on conf_hash_on(struct str text);

/* What was wrong, in the order of the lines: "FILE:LINE: message". Zeroed before first use. Past
 * CONF_ERRORS_MAX the last one says that there are more. */
#define CONF_ERRORS_MAX 1000u
struct conf_errors {
    char **text;
    uint32_t *lines;
    uint32_t count;
    /* NULL, or called with a conf that has errors before it is freed, so that what it names can be
     * looked at all the same, and one run shows every error. Only its strings are to be relied
     * upon then: indexes may be missing. */
    void (*look)(const struct conf *, struct conf_errors *);
};

/* Reads and checks the whole file, so that one run shows every error. NULL when there was any.
 * Names of hosts to bind are resolved, those of servers are not. Files that the settings name are
 * not opened and users not looked up (whoever does that reports with conf_error and the setting's
 * line). */
struct conf *conf_load(const char *path, struct conf_errors *);
/* The same from memory; name is what messages call it. */
struct conf *conf_load_text(const char *name, const char *text, struct conf_errors *);
/* The conf behind `gyre --bind ... --backend ... [--certificate ... --key ...]`: one listener and
 * one backend, both named main. Its path is "command line" and its lines are 0. */
struct conf_flags {
    const char *const *bind, *const *backend, *const *certificate, *const *key;
    uint32_t bind_count, backend_count, certificate_count, key_count;
};
struct conf *conf_of_flags(const struct conf_flags *, struct conf_errors *);
void conf_free(struct conf *);

/* Puts an error in its place by line. Line 0: there is none, the message follows the path. */
void conf_error(struct conf_errors *, const char *path, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void conf_errors_fini(struct conf_errors *);

/* `gyre --doc keys` and `gyre --doc sample` (conf/gyre.ini), from keys.def. */
void conf_doc_keys(FILE *);
void conf_doc_sample(FILE *);

#endif
