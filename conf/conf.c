/* The door's verbs: a file, a text or flags become a conf. */
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "conf/conf_priv.h"

#define FILE_BYTES_MAX (4u * 1024 * 1024)

static void load_init(struct load *load, const char *path, struct conf_errors *errors) {
    *load = (struct load){.conf = mem_zero(sizeof(struct conf)), .errors = errors};
    load->conf->path = mem_copy(path, strlen(path));
    defaults_set(load, CONF_SECTION_global, 0);
}

/* errors: how many there were before. */
static struct conf *load_fini(struct load *load, uint32_t errors) {
    struct conf *conf = load->conf;
    load_check(load);
    for (uint32_t i = 0; i < load->part_count; i++) {
        mem_free(load->parts[i].server_seen);
    }
    mem_free(load->parts);
    if (load->errors->count != errors) {
        if (load->errors->look != NULL) {
            load->errors->look(conf, load->errors);
        }
        conf_free(conf);
        return NULL;
    }
    return conf;
}

static struct conf *load_bytes(const char *path, struct str text, struct conf_errors *errors) {
    struct load load;
    uint32_t before = errors->count;
    load_init(&load, path, errors);
    load_lines(&load, text);
    if (load.conf->listener_count == 0) {
        load_error(&load, load.line != 0 ? load.line : 1, "there is no listener; write [listener "
                   "NAME] and bind = :80 below it");
    }
    return load_fini(&load, before);
}

struct conf *conf_load_text(const char *name, const char *text, struct conf_errors *errors) {
    return load_bytes(name, str_of(text), errors);
}

/* NULL with errno set. */
static char *file_read(int fd, uint32_t *len) {
    uint32_t cap = 16 * 1024;
    char *text = mem_alloc(cap);
    *len = 0;
    for (;;) {
        ssize_t got = read(fd, text + *len, cap - *len);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got == 0) {
            return text;
        }
        if (got > 0) {
            *len += (uint32_t)got;
        }
        if (got < 0 || *len > FILE_BYTES_MAX) {
            int saved = got < 0 ? errno : EFBIG;
            mem_free(text);
            errno = saved;
            return NULL;
        }
        if (*len == cap) {
            cap *= 2;
            text = mem_grow(text, cap);
        }
    }
}

struct conf *conf_load(const char *path, struct conf_errors *errors) {
    uint32_t len;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = fd >= 0 ? file_read(fd, &len) : NULL;
    int why = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (text == NULL) {
        conf_error(errors, path, 1, "the file can not be read: %s", strerror(why));
        return NULL;
    }
    struct conf *conf = load_bytes(path, (struct str){text, len}, errors);
    mem_free(text);
    return conf;
}

static void flag_set(struct load *load, const char *flag, const char *key,
                     const char *const *values, uint32_t count, bool needed) {
    load->flag = flag;
    for (uint32_t i = 0; i < count; i++) {
        load_key(load, str_of(key), str_trim(str_of(values[i])));
    }
    if (needed && count == 0) {
        load_error(load, 0, "%s ADDR is missing", flag);
    }
}

struct conf *conf_of_flags(const struct conf_flags *flags, struct conf_errors *errors) {
    struct load load;
    uint32_t before = errors->count;
    load_init(&load, "command line", errors);
    load_part(&load, CONF_SECTION_listener, STR("main"));
    flag_set(&load, "--bind", "bind", flags->bind, flags->bind_count, true);
    flag_set(&load, "--certificate", "certificate", flags->certificate, flags->certificate_count,
             false);
    flag_set(&load, "--key", "key", flags->key, flags->key_count, false);
    load_key(&load, STR("backend"), STR("main"));
    load_part(&load, CONF_SECTION_backend, STR("main"));
    flag_set(&load, "--backend", "server", flags->backend, flags->backend_count, true);
    return load_fini(&load, before);
}

struct conf_hash_on conf_hash_on(struct str text) {
    const struct str header = STR("header:"), cookie = STR("cookie:");
    if (str_eq(text, STR("client"))) {
        return (struct conf_hash_on){.what = CONF_HASH_CLIENT};
    }
    if (str_eq(text, STR("path"))) {
        return (struct conf_hash_on){.what = CONF_HASH_PATH};
    }
    if (str_starts(text, header)) {
        struct str name = {text.p + header.len, text.len - header.len};
        return (struct conf_hash_on){CONF_HASH_HEADER, name};
    }
    if (str_starts(text, cookie)) {
        struct str name = {text.p + cookie.len, text.len - cookie.len};
        return (struct conf_hash_on){CONF_HASH_COOKIE, name};
    }
    return (struct conf_hash_on){.what = CONF_HASH_NOTHING};
}
