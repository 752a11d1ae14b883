/* What all workers share, made from a configuration before there is any worker. */
#ifndef GYRE_PLAN_H
#define GYRE_PLAN_H

#include "conf/conf.h"
#include "exchange/exchange.h"
#include "net/net.h"
#include "tls/tls.h"
#include "upstream/upstream.h"

/* One bound address of a listener. */
struct plan_socket {
    uint32_t site, bind;         /* index of its listener, and of its bind there */
    struct addr addr;
    bool shared;                 /* one socket for all workers: unix, or passed by systemd */
    bool passed;                 /* by systemd */
    int *fds;                    /* one per worker; all the same where shared */
    uint16_t port;
};

/* What one worker's pools may hand out: none of them can grow without end, and no client that was
 * accepted finds one at its bound because of other clients. */
struct plan_bounds {
    uint32_t clients;     /* connections, requests, exchanges: the kernel may give all to one */
    uint32_t servers;     /* connections to servers: in use, abandoned while dialling, idle */
    uint32_t pipes;       /* for splices: as many as descriptors are to spare */
};

struct plan {
    const struct conf *conf;
    uint32_t worker_count;
    struct site *sites;                          /* one per listener of conf */
    struct connection_limit *limits;             /* one per listener, all below process_limit */
    struct connection_limit process_limit;
    struct client_counts **clients;              /* one per listener */
    struct plan_bounds bounds;
    struct tls_certificate ***certificates;      /* per listener */
    struct tls_tickets *tickets;
    struct plan_socket *sockets;
    uint32_t socket_count;
    struct registry *registry;
    struct generation *generation;
    struct spool_store store;
    bool log_is_file;
    bool log_whole_lines;                        /* a pipe or a terminal, not a regular file */
    int log_fd;                                  /* stderr or stdout; -1: off, or a file */
};

/* The dry build behind --check: loads all that the configuration names (certificates, the log
 * file's folder, the user), binds nothing. Errors are added with their lines; NULL if any. */
struct plan *plan_new(const struct conf *, struct conf_errors *);
/* For conf_errors.look: what is wrong with the files and users that a faulty conf names. */
void plan_look(const struct conf *, struct conf_errors *);
/* Binds and listens. False, with a logged reason, where an address can not be had. */
bool plan_listen(struct plan *);
#define SECRET_BYTES_MAX 4096u
struct secret {
    char bytes[SECRET_BYTES_MAX];
    uint32_t len;
};
/* The bytes of secret_file. False where there is none, or (an error, with its line) it is wrong. */
bool plan_read_secret(const struct conf *, struct secret *, struct conf_errors *);
/* Warns where the user that gyre runs as can make no file in spool_dir. */
void plan_try_spool(const struct plan *);
/* A new descriptor for the access log of one worker; -1 where there is none (logged). */
int plan_open_log(const struct plan *);
void plan_free(struct plan *);

#endif
