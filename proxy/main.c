/* The process: flags, privileges, signals, systemd; the work is the workers'. */
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/memory.h"
#include "doc.h"
#include "flags.h"
#include "notify.h"
#include "plan.h"
#include "worker.h"

/* Ticket keys are looked at, and workers are asked whether they live, so often at least. */
#define TICK_MS 10000

struct process {
    struct plan *plan;
    struct worker *workers;
    struct resolver *resolver;
    uint32_t started;
    int event_fd, signal_fd;
    int tick_ms;
    bool watched, stopping;
    uint64_t *beats;               /* of the last tick, by worker */
};

/* --- Configuration ------------------------------------------------------------------------ */

static void print_errors(struct conf_errors *errors) {
    for (uint32_t i = 0; i < errors->count; i++) {
        fprintf(stderr, "%s\n", errors->text[i]);
    }
    conf_errors_fini(errors);
}

static struct plan *load(const struct flags *flags, struct conf **conf) {
    struct conf_errors errors = {.look = plan_look};
    *conf = flags->fileless ? conf_of_flags(&flags->conf, &errors)
                            : conf_load(flags->path, &errors);
    struct plan *plan = *conf != NULL ? plan_new(*conf, &errors) : NULL;
    print_errors(&errors);
    return plan;
}

/* --- Privileges --------------------------------------------------------------------------- */

/* The log file is made before and given to the user, so that it can be reopened after. */
static bool drop_privileges(const struct plan *plan) {
    const struct conf_global *global = &plan->conf->global;
    if (geteuid() != 0) {
        return true;
    }
    if (global->user == NULL) {
        log_warn("running as root: name an unprivileged user with `user =` in [global]");
        return true;
    }
    const struct passwd *user = getpwnam(global->user);
    if (user == NULL) {
        log_error("user = %s: there is no such user", global->user);
        return false;
    }
    int fd = plan->log_is_file ? plan_open_log(plan) : -1;
    if (fd >= 0) {
        if (fchown(fd, user->pw_uid, user->pw_gid) != 0) {
            log_warn("can not give %s to %s: %s", global->access_log, global->user,
                     strerror(errno));
        }
        close(fd);
    }
    if (initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 ||
        setuid(user->pw_uid) != 0) {
        log_error("can not become user %s: %s", global->user, strerror(errno));
        return false;
    }
    return true;
}

/* --- Workers ------------------------------------------------------------------------------ */

static void workers_drain(struct process *p) {
    for (uint32_t i = 0; i < p->started; i++) {
        if (atomic_load(&p->workers[i].state) == WORKER_RUNNING) {
            worker_drain(&p->workers[i]);
        }
    }
}

static uint32_t workers_in(const struct process *p, enum worker_state state) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->started; i++) {
        count += atomic_load(&p->workers[i].state) == (int)state;
    }
    return count;
}

/* True once every worker runs; false when one could not, and then none does. */
static bool workers_start(struct process *p) {
    for (uint32_t i = 0; i < p->plan->worker_count; i++) {
        if (!worker_start(&p->workers[i], p->plan, i, p->event_fd)) {
            log_error("can not start a thread: %s", strerror(errno));
            break;
        }
        p->started++;
    }
    while (workers_in(p, WORKER_STARTING) > 0) {
        uint64_t changes;
        ssize_t n = read(p->event_fd, &changes, sizeof changes);
        ensure(n == sizeof changes || errno == EINTR);
    }
    for (uint32_t i = 0; i < p->started; i++) {
        if (atomic_load(&p->workers[i].state) == WORKER_FAILED) {
            log_error("%s", p->workers[i].why);
            return false;
        }
    }
    return p->started == p->plan->worker_count;
}

static void workers_join(struct process *p) {
    for (uint32_t i = 0; i < p->started; i++) {
        worker_join(&p->workers[i]);
    }
}

/* --- Signals and ticks -------------------------------------------------------------------- */

static void reopen_logs(struct process *p) {
    if (!p->plan->log_is_file) {
        return;
    }
    bool all = true;
    for (uint32_t i = 0; i < p->started; i++) {
        int fd = plan_open_log(p->plan);
        if (fd >= 0) {
            worker_reopen(&p->workers[i], fd);
        }
        all = all && fd >= 0;
    }
    if (all) {
        log_info("access log reopened");
    }
}

static void resolver_start(struct process *p) {
    const struct conf_global *global = &p->plan->conf->global;
    p->resolver = resolver_new(p->plan->registry, global->resolvers, global->resolver_count);
}

static void stop(struct process *p, const char *signal_name) {
    if (p->stopping) {
        log_warn("%s again: stopping at once", signal_name);
        _exit(1);
    }
    p->stopping = true;
    notify_tell("STOPPING=1\nSTATUS=finishing what is in flight");
    log_info("%s: finishing what is in flight, %llu s at most", signal_name,
             (unsigned long long)p->plan->conf->global.drain_timeout_ms / 1000);
    resolver_free(p->resolver);
    workers_drain(p);
}

static void take_signal(struct process *p) {
    struct signalfd_siginfo info;
    if (read(p->signal_fd, &info, sizeof info) != sizeof info) {
        return;
    }
    switch (info.ssi_signo) {
    case SIGTERM:
        stop(p, "SIGTERM");
        break;
    case SIGINT:
        stop(p, "SIGINT");
        break;
    case SIGUSR1:
        if (!p->stopping) {
            reopen_logs(p);
        }
        break;
    default:
        log_warn("SIGHUP: reloading is not there yet; restart to take up a new configuration");
        break;
    }
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The watchdog is fed only while every worker answers. */
static void tick(struct process *p) {
    memory_trim();
    tls_tickets_rotate(p->plan->tickets, now_ms() / 1000);
    if (p->stopping) {
        notify_tell("WATCHDOG=1");
        return;
    }
    bool alive = true;
    for (uint32_t i = 0; i < p->started; i++) {
        uint64_t beats = atomic_load(&p->workers[i].beats);
        alive = alive && beats != p->beats[i];
        p->beats[i] = beats;
        worker_ping(&p->workers[i]);
    }
    if (alive) {
        notify_tell("WATCHDOG=1");
    }
}

static void run(struct process *p) {
    struct pollfd fds[2] = {{.fd = p->signal_fd, .events = POLLIN},
                            {.fd = p->event_fd, .events = POLLIN}};
    for (uint32_t i = 0; i < p->started; i++) {
        p->beats[i] = UINT64_MAX;
    }
    uint64_t due_ms = 0;   /* ticks come in time, whatever signals come */
    while (workers_in(p, WORKER_DONE) < p->started) {
        uint64_t now = now_ms();
        if (now >= due_ms) {
            tick(p);
            due_ms = now + (uint64_t)p->tick_ms;
        }
        int n = poll(fds, 2, (int)(due_ms - now));
        if (n > 0 && (fds[0].revents & POLLIN) != 0) {
            take_signal(p);
        }
        uint64_t changes;
        if (n > 0 && (fds[1].revents & POLLIN) != 0) {
            (void)!read(p->event_fd, &changes, sizeof changes);
        }
    }
}

static int block_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void tell_ready(const struct process *p) {
    for (uint32_t i = 0; i < p->plan->socket_count; i++) {
        const struct plan_socket *s = &p->plan->sockets[i];
        char printed[ADDR_TEXT_MAX];
        bool tls = p->plan->conf->listeners[s->site].certificate.count > 0;
        log_info("[listener %s] listening on %s%s%s", p->plan->sites[s->site].name,
                 addr_print(&s->addr, printed), tls ? ", TLS" : "",
                 s->passed ? ", passed by systemd" : "");
    }
    log_info("gyre %s is ready: %u worker%s, at most %u clients", GYRE_VERSION, p->started,
             p->started == 1 ? "" : "s", p->plan->process_limit.max);
    char ready[64];
    snprintf(ready, sizeof ready, "READY=1\nSTATUS=serving with %u workers", p->started);
    notify_tell(ready);
}

static int serve(struct plan *plan) {
    struct process p = {.plan = plan, .tick_ms = TICK_MS};
    uint64_t watchdog_us;
    p.watched = sd_watchdog_enabled(0, &watchdog_us) > 0;
    if (p.watched && watchdog_us / 3000 < TICK_MS) {
        p.tick_ms = (int)(watchdog_us / 3000) + 1;
    }
    uint64_t memory_max = plan->conf->global.memory_max;
    memory_bound(memory_max != 0 ? memory_max : sys_memory() / 4);
    notify_open();
    p.signal_fd = block_signals();
    p.event_fd = eventfd(0, EFD_CLOEXEC);
    if (!plan_listen(plan) || !drop_privileges(plan)) {
        return 1;
    }
    plan_try_spool(plan);
    p.workers = mem_zero(plan->worker_count * sizeof *p.workers);
    p.beats = mem_zero(plan->worker_count * sizeof *p.beats);
    bool ok = workers_start(&p);
    if (ok) {
        resolver_start(&p);
        tell_ready(&p);
        run(&p);
    } else {
        workers_drain(&p);
    }
    workers_join(&p);
    if (ok) {
        log_info("stopped");
    }
    notify_close();
    mem_free(p.workers);
    mem_free(p.beats);
    close(p.signal_fd);
    close(p.event_fd);
    return ok ? 0 : 1;
}

int main(int argc, char **argv) {
    struct flags flags;
    tls_count_memory();
    flags_parse(&flags, argc, argv);
    log_init(false);
    struct conf *conf = NULL;
    struct plan *plan = NULL;
    int status = 0;
    switch (flags.mode) {
    case FLAGS_HELP:
        fputs(flags_help, stdout);
        break;
    case FLAGS_VERSION:
        printf("gyre %s\n", GYRE_VERSION);
        break;
    case FLAGS_DOC:
        status = doc_print(flags.doc);
        break;
    case FLAGS_WRONG:
        fprintf(stderr, "gyre: %s\ntry gyre --help\n", flags.why);
        status = 1;
        break;
    default:
        plan = load(&flags, &conf);
        status = plan == NULL ? 1 : 0;
        if (plan != NULL && flags.mode == FLAGS_RUN) {
            status = serve(plan);
        } else if (plan != NULL) {
            printf("%s: all is well\n", conf->path);
        }
        break;
    }
    if (plan != NULL) {
        plan_free(plan);
    }
    if (conf != NULL) {
        conf_free(conf);
    }
    flags_fini(&flags);
    return status;
}
