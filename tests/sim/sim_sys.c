/* Descriptors and files of gyre's side, and the door's sys_* calls over them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "sim/sim_priv.h"

/* --- Descriptors: the lowest free number, as the kernel does, so that reuse shows its bugs  */

int sim_fd_open(struct sim *sim, enum sim_fd_kind kind, struct sim_fd **opened) {
    if (sim->fd_open >= sim->params.fd_max) {
        return -EMFILE;
    }
    uint32_t i = 0;
    while (i < sim->fd_cap && sim->fds[i] != NULL) {
        i++;
    }
    if (i == sim->fd_cap) {
        uint32_t cap = sim->fd_cap == 0 ? 64 : sim->fd_cap * 2;
        sim->fds = world_grow(sim->fds, cap * sizeof *sim->fds);
        memset(sim->fds + sim->fd_cap, 0, (cap - sim->fd_cap) * sizeof *sim->fds);
        sim->fd_cap = cap;
    }
    *opened = sim->fds[i] = world_zero(sizeof **opened);
    (*opened)->kind = kind;
    sim->fd_open++;
    return SIM_FD_BASE + (int)i;
}

struct sim_fd *sim_fd_at(struct sim *sim, int fd) {
    bool known = fd >= SIM_FD_BASE && fd - SIM_FD_BASE < (int)sim->fd_cap;
    return known ? sim->fds[fd - SIM_FD_BASE] : NULL;
}

static void fd_end(struct sim_fd *f) {
    if (f->kind == SIM_FD_SOCKET) {
        sim_end_close(f->end);
    } else if (f->kind == SIM_FD_LISTENER) {
        sim_listener_free(f->listener);
    } else if (f->kind == SIM_FD_PIPE) {
        sim_tube_put(f->tube);
    }
    world_free(f);
}

void sim_fd_close(struct sim *sim, int fd) {
    struct sim_fd *f = sim_fd_at(sim, fd);
    ensure(f != NULL && "closes a descriptor that is not open");
    sim->fds[fd - SIM_FD_BASE] = NULL;
    sim->fd_open--;
    f->gone = true;
    if (f->op_count == 0) {
        fd_end(f);
    }
}

uint32_t sim_descriptors(const struct sim *sim) {
    return sim->fd_open;
}

void sim_fd_put(struct sim_fd *f) {
    ensure(f->op_count > 0);
    if (--f->op_count == 0 && f->gone) {
        fd_end(f);
    }
}

void sim_break(struct sim *sim, int fd) {
    struct sim_fd *f = sim_fd_at(sim, fd);
    ensure(f != NULL && f->kind == SIM_FD_SOCKET);
    sim_end_break(f->end);
}

static struct sim_fd *socket_at(struct sim *sim, int fd) {
    struct sim_fd *f = sim_fd_at(sim, fd);
    ensure(f != NULL && f->kind == SIM_FD_SOCKET && !f->closing);
    return f;
}

/* --- Files -------------------------------------------------------------------------------- */

struct sim_text_file *sim_text_file_at(struct sim *sim, const char *path, bool make) {
    list_each(node, &sim->files) {
        struct sim_text_file *file = container_of(node, struct sim_text_file, link);
        if (strcmp(file->path, path) == 0) {
            return file;
        }
    }
    if (!make) {
        return NULL;
    }
    struct sim_text_file *file = world_zero(sizeof *file);
    size_t len = strlen(path);
    file->path = memcpy(world_zero(len + 1), path, len);
    list_append(&sim->files, &file->link);
    return file;
}

void sim_text_file_append(struct sim_text_file *file, const void *p, uint32_t len) {
    if (file->cap - file->len < len) {
        file->cap = (file->len + len) * 2;
        file->bytes = world_grow(file->bytes, file->cap);
    }
    memcpy(file->bytes + file->len, p, len);
    file->len += len;
    file->appends++;
}

void sim_text_file_write(struct sim_text_file *file, uint64_t at, const void *p, uint32_t len) {
    static const char hole[4096];
    while (file->len < at + len) {
        uint64_t more = at + len - file->len;
        sim_text_file_append(file, hole, more < sizeof hole ? (uint32_t)more : sizeof hole);
    }
    memcpy(file->bytes + at, p, len);
}

struct str sim_file(struct sim *sim, const char *path) {
    struct sim_text_file *file = sim_text_file_at(sim, path, false);
    return file == NULL ? (struct str){"", 0} : (struct str){file->bytes, file->len};
}

uint32_t sim_file_appends(struct sim *sim, const char *path) {
    struct sim_text_file *file = sim_text_file_at(sim, path, false);
    return file == NULL ? 0 : file->appends;
}

/* --- The door's calls --------------------------------------------------------------------- */

int sys_socket(int family) {
    struct sim *sim = sim_current();
    struct sim_fd *f;
    int fd = sim_fault(sim, SIM_EMFILE)          ? -EMFILE
             : fault_hit(FAULT_SOCKET_PROCESS) ? fault_error(FAULT_SOCKET_PROCESS)
             : fault_hit(FAULT_SOCKET_MEMORY)  ? fault_error(FAULT_SOCKET_MEMORY)
                                               : sim_fd_open(sim, SIM_FD_SOCKET, &f);
    if (fd >= 0) {
        f->end = sim_end_new(sim, family);
    }
    sim_note(sim, "socket", fd, 0, 0);
    return fd;
}

int sys_listen(const struct addr *addr, bool reuseport, int backlog) {
    struct sim *sim = sim_current();
    if (sim_addr_taken(sim, addr, reuseport) || sim_fault(sim, SIM_SYS)) {
        return -EADDRINUSE;
    }
    struct sim_fd *f;
    int fd = sim_fault(sim, SIM_EMFILE) ? -EMFILE : sim_fd_open(sim, SIM_FD_LISTENER, &f);
    if (fd >= 0) {
        f->listener = sim_listener_new(sim, addr, backlog > 0 ? (uint32_t)backlog : 1, reuseport);
    }
    sim_note(sim, "listen", fd, addr_port(addr), 0);
    return fd;
}

int sys_adopt(int fd) {
    return sim_fd_at(sim_current(), fd) != NULL ? 0 : -EBADF;
}

int sys_probe_bind(const struct addr *addr) {
    struct sim *sim = sim_current();
    return sim_addr_taken(sim, addr, false) || sim_fault(sim, SIM_SYS) ? -EADDRINUSE : 0;
}

int sys_bound(int fd, struct addr *addr) {
    struct sim *sim = sim_current();
    struct sim_fd *f = sim_fd_at(sim, fd);
    ensure(f != NULL && f->kind != SIM_FD_FILE);
    if (sim_fault(sim, SIM_SYS)) {
        return -ENOBUFS;
    }
    *addr = f->kind == SIM_FD_LISTENER ? f->listener->addr : f->end->local;
    return 0;
}

int sys_peer(int fd, struct endpoint *from) {
    struct sim *sim = sim_current();
    struct sim_end *end = socket_at(sim, fd)->end;
    /* Only a connection that is dead has no peer, so a failure kills it. */
    if (sim_fault(sim, SIM_SYS) || fault_hit(FAULT_PEER)) {
        sim_end_break(end);
    }
    if (end->far == NULL || end->dead) {
        return -ENOTCONN;
    }
    endpoint_of(from, &end->remote.sa.any, end->remote.len);
    return 0;
}

int sys_nodelay(int fd) {
    struct sim *sim = sim_current();
    struct sim_end *end = socket_at(sim, fd)->end;
    bool fails = sim_fault(sim, SIM_SYS) || fault_hit(FAULT_NODELAY);
    return end->family == AF_UNIX || fails ? -EINVAL : 0;
}

int sys_connect_unix(int fd, const struct addr *to) {
    struct sim *sim = sim_current();
    struct sim_end *end = socket_at(sim, fd)->end;
    ensure(to->sa.any.sa_family == AF_UNIX);
    int res = sim_fault(sim, SIM_REFUSE)       ? -ECONNREFUSED
              : sim_fault(sim, SIM_BACKLOG)    ? -EAGAIN
              : fault_hit(FAULT_UNIX_FULL)     ? fault_error(FAULT_UNIX_FULL)
              : fault_hit(FAULT_UNIX_REFUSED)  ? fault_error(FAULT_UNIX_REFUSED)
              : fault_hit(FAULT_UNIX_DENIED)   ? fault_error(FAULT_UNIX_DENIED)
                                               : sim_end_connect(end, to);
    sim_note(sim, "connect_unix", fd, res, 0);
    return res;
}

int sys_shutdown(int fd, int how) {
    struct sim *sim = sim_current();
    struct sim_end *end = socket_at(sim, fd)->end;
    if (sim_fault(sim, SIM_SYS) || fault_hit(FAULT_SHUTDOWN)) {
        sim_end_break(end);
    }
    if (end->far == NULL || end->dead) {
        return -ENOTCONN;
    }
    if (how != SHUT_WR) {
        end->shut_read = true;
    }
    if (how != SHUT_RD) {
        sim_end_fin(end);
    }
    return 0;
}

int sys_reset_on_close(int fd) {
    socket_at(sim_current(), fd)->end->hard_close = true;
    return 0;
}

/* A peer of the simulated world has a receive buffer of nothing: what it has acknowledged it has
 * read. */
int sys_unsent(int fd) {
    struct sim *sim = sim_current();
    struct sim_end *end = socket_at(sim, fd)->end;
    if (sim_fault(sim, SIM_SYS)) {
        return -EINVAL;
    }
    return end->far == NULL ? 0 : (int)(end->far->in.ready + end->far->in.flying);
}

/* close(2) does not end ops in flight: a socket would go on receiving, and send no FIN. So only a
 * listener whose accept is cancelled already may be closed under it. */
int sys_close(int fd) {
    struct sim *sim = sim_current();
    struct sim_fd *f = sim_fd_at(sim, fd);
    ensure(f != NULL && (f->op_count == 0 || f->kind == SIM_FD_LISTENER));
    ensure(!sim_rings_want(sim, f) && "closes a descriptor with an op in flight");
    sim_note(sim, "sys_close", fd, 0, 0);
    sim_fd_close(sim, fd);
    return fault_hit(FAULT_CLOSE) ? fault_error(FAULT_CLOSE) : 0;
}

int sys_open_append(const char *path) {
    struct sim *sim = sim_current();
    if (sim_fault(sim, SIM_SYS)) {
        return -EACCES;
    }
    struct sim_fd *f;
    int fd = sim_fault(sim, SIM_EMFILE) ? -EMFILE : sim_fd_open(sim, SIM_FD_FILE, &f);
    if (fd >= 0) {
        f->file = sim_text_file_at(sim, path, true);
    }
    return fd;
}

/* A file of its own each time. */
int sys_open_spool(const char *folder) {
    struct sim *sim = sim_current();
    if (sim_fault(sim, SIM_SYS)) {
        return -ENOSPC;
    }
    struct sim_fd *f;
    bool short_of = sim_fault(sim, SIM_EMFILE) || fault_hit(FAULT_SPOOL_OPEN);
    int fd = short_of ? -EMFILE : sim_fd_open(sim, SIM_FD_FILE, &f);
    if (fd >= 0) {
        char path[4096];
        snprintf(path, sizeof path, "%s/spool-%llu", folder,
                 (unsigned long long)sim->spool_count++);
        f->file = sim_text_file_at(sim, path, true);
    }
    return fd;
}

void sys_random(void *to, uint32_t len) {
    struct sim *sim = sim_current();
    uint8_t *p = to;
    for (uint32_t i = 0; i < len; i++) {
        p[i] = (uint8_t)sim_draw(sim, 256);
    }
}

uint32_t sys_raise_nofile(void) {
    return sim_current()->params.fd_max;
}
