/* Why the kernel refuses io_uring, told from what it answers, and what to do about it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ring/refusal_priv.h"

static bool read_number(const char **p, unsigned *number) {
    const char *begin = *p;
    for (*number = 0; **p >= '0' && **p <= '9' && *number < 100000; (*p)++) {
        *number = *number * 10 + (unsigned)(**p - '0');
    }
    return *p != begin;
}

/* "6.1.0-28-amd64" */
static void version_look(struct refusal *refusal) {
    struct utsname name;
    refusal->major = refusal->minor = 0;
    if (uname(&name) == 0) {
        const char *p = name.release;
        if (read_number(&p, &refusal->major) && *p == '.') {
            p++;
            read_number(&p, &refusal->minor);
        }
    }
}

static int disabled_look(void) {
    char text[16];
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    return len > 0 && text[0] >= '0' && text[0] <= '9' ? text[0] - '0' : -1;
}

void refusal_look(struct refusal *refusal, int err) {
    refusal->err = err;
    refusal->disabled = disabled_look();
    version_look(refusal);
}

/* EPERM has two causes that the kernel does not tell apart: its own switch, and a filter before
 * it. Where the switch is open it was the filter. */
static const char *not_permitted(int disabled) {
    if (disabled == 2) {
        return "it is switched off for every process (kernel.io_uring_disabled is 2): run "
               "\"sysctl -w kernel.io_uring_disabled=0\" and keep it in /etc/sysctl.d";
    }
    if (disabled == 1) {
        return "it is kept for privileged processes (kernel.io_uring_disabled is 1): set "
               "kernel.io_uring_group to a group that gyre's user is in, or run \"sysctl -w "
               "kernel.io_uring_disabled=0\"";
    }
    return "a seccomp filter forbids it, as the default profiles of Docker and containerd do: "
           "give the container a profile that allows io_uring_setup, io_uring_enter and "
           "io_uring_register (or --security-opt seccomp=unconfined); under systemd allow them "
           "in SystemCallFilter=";
}

static const char *cause_of(const struct refusal *refusal) {
    switch (refusal->err) {
    case EPERM:
        return not_permitted(refusal->disabled);
    case EACCES:
        return "a security module (SELinux, AppArmor) forbids it: allow io_uring in gyre's policy";
    case ENOSYS:
        return "there is no such system call: either this kernel was built without io_uring "
               "(CONFIG_IO_URING), or a sandbox (gVisor, a seccomp filter) hides it: run gyre "
               "outside of it, or on another kernel";
    case ENOMEM:
        return "there is no memory for the ring: raise the limit of locked memory (ulimit -l, "
               "LimitMEMLOCK=) and the memory limit of the container or service (MemoryMax=), or "
               "run fewer workers";
    case EMFILE:
    case ENFILE:
        return "there are no file descriptors left: raise the limit (ulimit -n, LimitNOFILE=)";
    case EINVAL:
    case EOPNOTSUPP:
        return "the kernel does not know what gyre asks of it: run Linux 6.1 or newer";
    default:
        return "the kernel gives no reason that gyre knows: see its log (dmesg)";
    }
}

void refusal_print(const struct refusal *refusal, char why[RING_WHY_MAX]) {
    struct text text = text_on(why, RING_WHY_MAX - 1);
    if (kernel_older(refusal->major, refusal->minor, KERNEL_FLOOR_MAJOR, KERNEL_FLOOR_MINOR) &&
        refusal->major != 0) {
        text_fmt(&text, "io_uring: Linux %u.%u is too old: gyre needs Linux 6.1 or newer",
                 refusal->major, refusal->minor);
    } else {
        const char *name = strerrorname_np(refusal->err);
        text_fmt(&text, "io_uring is refused (%s): ",
                 name != NULL ? name : "an error without a name");
        text_str(&text, str_of(cause_of(refusal)));
    }
    why[text.len] = '\0';
}
