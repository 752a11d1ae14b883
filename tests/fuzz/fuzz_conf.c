/* Any bytes as a config file: taken whole or refused with errors that name their lines. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "conf/conf.h"

#define TEXT_MAX 16384u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In place of the C library's: what luck makes of an address is not asked of a name server. */
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict all) {
    (void)name;
    (void)service;
    (void)hints;
    (void)all;
    return EAI_NONAME;
}

/* The settings that were taken keep what their door promises. */
static void check_conf(const struct conf *conf) {
    ensure(conf->listener_count > 0);
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        ensure(l->bind_count > 0 && l->key.count <= l->certificate.count);
        ensure(l->backend == NULL || l->redirect_https == 0);
        ensure(l->backend == NULL ||
               strcmp(conf->backends[l->backend_index].name, l->backend) == 0);
    }
    for (uint32_t i = 0; i < conf->route_count; i++) {
        const struct conf_route *r = &conf->routes[i];
        ensure(r->path[0] == '/' && r->backend_index < conf->backend_count);
        ensure(strcmp(conf->backends[r->backend_index].name, r->backend) == 0);
        ensure((r->listener == NULL) == (r->listener_index < 0));
    }
    for (uint32_t i = 0; i < conf->backend_count; i++) {
        const struct conf_backend *b = &conf->backends[i];
        ensure(b->server_count > 0);
        for (uint32_t s = 0; s < b->server_count; s++) {
            ensure(b->servers[s].weight >= 1 && b->servers[s].weight <= 1000);
        }
    }
}

/* Errors or a conf, never both; errors in the order of their lines. */
static void check_result(struct conf *conf, const struct conf_errors *errors) {
    ensure((conf == NULL) == (errors->count > 0) && errors->count <= CONF_ERRORS_MAX);
    for (uint32_t i = 0; i < errors->count; i++) {
        ensure(strchr(errors->text[i], ':') != NULL && strchr(errors->text[i], '\n') == NULL);
        ensure(i == 0 || errors->lines[i - 1] <= errors->lines[i]);
    }
    if (conf != NULL) {
        check_conf(conf);
    }
    conf_free(conf);
}

/* Bytes that no C string holds come the way that they would: out of a file. */
static void load_file(const uint8_t *data, size_t size) {
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("gyre.ini", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    ensure(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    struct conf_errors errors = {0};
    check_result(conf_load(path, &errors), &errors);
    conf_errors_fini(&errors);
}

/* A comment in front moves every error by one line, and changes nothing else. */
static void load_text(const uint8_t *data, size_t size) {
    static const char comment[] = "; moved\n";
    const size_t more = sizeof comment - 1;
    char *text = mem_copy((const char *)data, size), *moved = mem_alloc(more + size + 1);
    memcpy(moved, comment, more);
    memcpy(moved + more, text, size + 1);
    struct conf_errors errors = {0}, later = {0};
    check_result(conf_load_text("t", text, &errors), &errors);
    check_result(conf_load_text("t", moved, &later), &later);
    /* A byte order mark is one at the beginning only. */
    bool marked = size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0;
    ensure(marked || errors.count == later.count);
    for (uint32_t i = 0; !marked && i < errors.count; i++) {
        bool cut = i == CONF_ERRORS_MAX - 1;   /* it says that there are more */
        ensure(errors.lines[i] == 0 || cut || later.lines[i] == errors.lines[i] + 1);
    }
    conf_errors_fini(&errors);
    conf_errors_fini(&later);
    mem_free(text);
    mem_free(moved);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > TEXT_MAX) {
        return 0;
    }
    if (memchr(data, '\0', size) != NULL) {
        load_file(data, size);
    } else {
        load_text(data, size);
    }
    return 0;
}
