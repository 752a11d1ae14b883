/* ring/refusal: each cause for which the kernel refuses io_uring, told and proved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ring/refusal_priv.h"

static void says(int err, int disabled, unsigned major, unsigned minor, const char *cause,
                 const char *cure) {
    char why[RING_WHY_MAX];
    memset(why, 'x', sizeof why);
    refusal_print(&(struct refusal){err, disabled, major, minor}, why);
    assert_true(memchr(why, '\0', sizeof why) != NULL);
    assert_null(strchr(why, '\n'));
    if (strstr(why, cause) == NULL || strstr(why, cure) == NULL) {
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", why, cause, cure);
    }
}

static void test_each_cause(void **state) {
    (void)state;
    says(0, 0, 5, 15, "Linux 5.15 is too old", "6.1 or newer");
    says(0, 0, 6, 0, "Linux 6.0 is too old", "6.1 or newer");
    says(ENOSYS, -1, 5, 0, "Linux 5.0 is too old", "6.1 or newer");
    says(EPERM, 2, 6, 18, "kernel.io_uring_disabled is 2", "sysctl -w kernel.io_uring_disabled=0");
    says(EPERM, 1, 6, 18, "kernel.io_uring_disabled is 1", "kernel.io_uring_group");
    says(EPERM, 0, 6, 18, "seccomp", "io_uring_setup, io_uring_enter and io_uring_register");
    says(EPERM, -1, 6, 1, "seccomp", "SystemCallFilter=");
    says(EACCES, 0, 6, 12, "SELinux", "policy");
    says(ENOSYS, 0, 6, 12, "no such system call", "another kernel");
    says(ENOMEM, 0, 6, 12, "no memory", "LimitMEMLOCK=");
    says(EMFILE, 0, 6, 12, "descriptors", "LimitNOFILE=");
    says(ENFILE, 0, 6, 12, "descriptors", "LimitNOFILE=");
    says(EINVAL, 0, 6, 12, "EINVAL", "6.1 or newer");
    says(EIO, 0, 6, 12, "EIO", "dmesg");
    says(524, 0, 6, 12, "an error without a name", "dmesg");
}

/* A filter as a sandbox sets it: this system call answers err, all others are free. */
static void forbid(unsigned number, unsigned err) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        _exit(3);
    }
}

/* In a child, as a filter can not be taken off again. */
static void refused_with(unsigned number, unsigned err, const char *cause) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char why[RING_WHY_MAX];
        forbid(number, err);
        struct ring *ring = ring_new(&(struct ring_params){0}, why);
        _exit(ring == NULL && strstr(why, cause) != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_seccomp(void **state) {
    (void)state;
    refused_with(SYS_io_uring_setup, EPERM, "seccomp");
    refused_with(SYS_io_uring_setup, ENOSYS, "no such system call");
    refused_with(SYS_io_uring_setup, ENOMEM, "no memory");
    refused_with(SYS_io_uring_setup, EINVAL, "6.1 or newer");
    refused_with(SYS_io_uring_enter, EPERM, "seccomp");
    refused_with(SYS_io_uring_register, EPERM, "seccomp");
}

static void test_no_descriptors(void **state) {
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char why[RING_WHY_MAX];
        struct rlimit limit = {3, 3};
        setrlimit(RLIMIT_NOFILE, &limit);
        struct ring *ring = ring_new(&(struct ring_params){0}, why);
        _exit(ring == NULL && strstr(why, "descriptors") != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_cause),
        cmocka_unit_test(test_seccomp),
        cmocka_unit_test(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
