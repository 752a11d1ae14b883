/* secret_file: what gyres that work together sign with. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plan.h"

#define SECRET_BYTES_MIN 32u

/* NULL, or what is wrong with the file. */
static const char *secret_wrong(int fd) {
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        return strerror(errno);
    }
    if (!S_ISREG(st.st_mode)) {
        return "it is no regular file";
    }
    if ((st.st_mode & (S_IROTH | S_IWOTH)) != 0) {
        return "everybody may read or write it; chmod 600 it";
    }
    if (st.st_size < (off_t)SECRET_BYTES_MIN) {
        return "it is too short: at least 32 bytes are needed; make one with "
               "`(umask 077; head -c 32 /dev/urandom >FILE)`";
    }
    return st.st_size > (off_t)SECRET_BYTES_MAX ? "it is too long: at most 4096 bytes are taken"
                                                : NULL;
}

static const char *secret_take(int fd, struct secret *secret) {
    ssize_t n = 1;
    while (n > 0 && secret->len < SECRET_BYTES_MAX) {
        n = read(fd, secret->bytes + secret->len, SECRET_BYTES_MAX - secret->len);
        secret->len += n > 0 ? (uint32_t)n : 0;
    }
    if (n < 0) {
        return strerror(errno);
    }
    return secret->len < SECRET_BYTES_MIN ? "it is being written" : NULL;
}

bool plan_read_secret(const struct conf *conf, struct secret *secret, struct conf_errors *errors) {
    const char *path = conf->global.secret_file;
    secret->len = 0;
    if (path == NULL) {
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const char *wrong = secret_wrong(fd);
    wrong = wrong == NULL ? secret_take(fd, secret) : wrong;
    if (wrong != NULL) {
        conf_error(errors, conf->path, conf->global.secret_file_line, "secret_file = %s: %s", path,
                   wrong);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return wrong == NULL;
}
