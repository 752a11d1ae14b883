/* Binding: what systemd passed, one socket per worker for TCP, one for all of a unix path. */
#include <errno.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "plan.h"

/* A descriptor of LISTEN_FDS that is bound to this address; -1: none. It is used up. */
static int take_passed(const struct addr *addr, int count, bool *used) {
    for (int i = 0; i < count; i++) {
        struct addr bound;
        int fd = SD_LISTEN_FDS_START + i;
        /* The same address may be passed for datagrams, too. */
        bool stream = !used[i] && sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0;
        if (stream && sys_bound(fd, &bound) == 0 && addr_eq(&bound, addr)) {
            used[i] = true;
            return fd;
        }
    }
    return -1;
}

static bool listen_failed(const struct plan *plan, const struct plan_socket *s, int err) {
    char printed[ADDR_TEXT_MAX];
    const struct conf_listener *listener = &plan->conf->listeners[s->site];
    const char *hint = "";
    if (err == -EADDRINUSE) {
        hint = ": another process listens there (see `ss -lptn`)";
    } else if (err == -EACCES) {
        hint = ": a port below 1024 needs root or CAP_NET_BIND_SERVICE, a unix path a folder that "
               "may be written";
    } else if (err == -EADDRNOTAVAIL) {
        hint = ": this machine does not have that address";
    }
    log_error("%s:%u: [listener %s] can not listen on %s: %s%s", plan->conf->path,
              listener->bind_lines[s->bind], listener->name,
              addr_print(&s->addr, printed), strerror(-err), hint);
    return false;
}

static bool socket_listen(struct plan *plan, struct plan_socket *s, int passed) {
    if (passed >= 0) {
        s->shared = s->passed = true;
        s->fds[0] = passed;
        int err = sys_adopt(passed);
        if (err != 0) {
            return listen_failed(plan, s, err);
        }
    } else if (s->addr.sa.any.sa_family == AF_UNIX) {
        s->shared = true;
        s->fds[0] = sys_listen(&s->addr, false, (int)LISTENER_BACKLOG);
        if (s->fds[0] < 0) {
            return listen_failed(plan, s, s->fds[0]);
        }
    } else {
        /* Another process could share a SO_REUSEPORT port without anybody's noticing. */
        int err = sys_probe_bind(&s->addr);
        if (err != 0) {
            return listen_failed(plan, s, err);
        }
    }
    for (uint32_t i = 0; i < plan->worker_count; i++) {
        s->fds[i] = s->shared ? s->fds[0] : sys_listen(&s->addr, true, (int)LISTENER_BACKLOG);
        if (s->fds[i] < 0) {
            return listen_failed(plan, s, s->fds[i]);
        }
    }
    return true;
}

bool plan_listen(struct plan *plan) {
    const struct conf *conf = plan->conf;
    uint32_t count = 0;
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        count += conf->listeners[i].bind_count;
    }
    plan->sockets = mem_zero(count * sizeof *plan->sockets);
    int passed = sd_listen_fds(1);
    passed = passed > 0 ? passed : 0;
    bool *used = mem_zero((size_t)passed * sizeof *used);
    bool ok = true;
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        for (uint32_t k = 0; k < conf->listeners[i].bind_count; k++) {
            struct plan_socket *s = &plan->sockets[plan->socket_count++];
            *s = (struct plan_socket){.site = i, .bind = k, .addr = conf->listeners[i].binds[k]};
            s->port = addr_port(&s->addr);
            s->fds = mem_zero(plan->worker_count * sizeof *s->fds);
            ok = socket_listen(plan, s, take_passed(&s->addr, passed, used)) && ok;
        }
    }
    for (int i = 0; i < passed; i++) {
        struct addr bound;
        char printed[ADDR_TEXT_MAX] = "?";
        if (!used[i] && sys_bound(SD_LISTEN_FDS_START + i, &bound) == 0) {
            addr_print(&bound, printed);
        }
        if (!used[i]) {
            log_warn("the socket %s that systemd passed belongs to no listener's bind", printed);
        }
    }
    mem_free(used);
    return ok;
}
