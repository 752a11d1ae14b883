/* ring/sys: binding, unix sockets, and the other short system calls. */
#include "ring_bench.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char folder[] = "/tmp/gyre-sys-XXXXXX";

static struct addr unix_addr(const char *name) {
    struct addr addr = {.len = sizeof addr.sa.un};
    addr.sa.un.sun_family = AF_UNIX;
    size_t len = strlen(folder);
    memcpy(addr.sa.un.sun_path, folder, len);
    addr.sa.un.sun_path[len] = '/';
    memcpy(addr.sa.un.sun_path + len + 1, name, strlen(name));
    return addr;
}

static void test_unix_listen(void **state) {
    (void)state;
    struct addr addr = unix_addr("socket");
    struct stat file;
    assert_int_equal(sys_probe_bind(&addr), 0);
    int fd = sys_listen(&addr, false, 4);
    assert_true(fd >= 0);
    /* Somebody listens: it is not taken away. */
    assert_int_equal(sys_listen(&addr, false, 4), -EADDRINUSE);
    assert_int_equal(sys_probe_bind(&addr), -EADDRINUSE);
    struct pollfd readable = {fd, POLLIN, 0};
    assert_int_equal(poll(&readable, 1, 1000), 1);
    int client = connect_now(&addr);
    assert_true(client >= 0);
    close(client);
    close(fd);
    /* Nobody does any more: the file is stale, and replaced. */
    assert_int_equal(lstat(addr.sa.un.sun_path, &file), 0);
    assert_int_equal(sys_probe_bind(&addr), 0);
    fd = sys_listen(&addr, false, 4);
    assert_true(fd >= 0);
    client = connect_now(&addr);
    assert_true(client >= 0);
    struct endpoint endpoint;
    assert_int_equal(sys_peer(client, &endpoint), 0);
    assert_int_equal(endpoint.family, AF_UNIX);
    close(client);
    close(fd);
    unlink(addr.sa.un.sun_path);
}

static void test_unix_listen_spares_files(void **state) {
    (void)state;
    struct addr addr = unix_addr("file");
    int fd = sys_open_append(addr.sa.un.sun_path);
    assert_true(fd >= 0);
    struct stat file;
    assert_int_equal(fstat(fd, &file), 0);
    assert_int_equal(file.st_mode & 0137, 0);   /* at most 0640 */
    assert_int_equal(sys_listen(&addr, false, 4), -EADDRINUSE);
    assert_int_equal(sys_probe_bind(&addr), -EADDRINUSE);
    assert_int_equal(lstat(addr.sa.un.sun_path, &file), 0);
    close(fd);
    unlink(addr.sa.un.sun_path);
    struct addr nowhere = unix_addr("no/such/folder");
    assert_int_equal(sys_listen(&nowhere, false, 4), -ENOENT);
}

static void test_connect_unix(void **state) {
    (void)state;
    struct addr addr = unix_addr("dial");
    int server = sys_listen(&addr, false, 0), fds[16], err = 0;
    unsigned count = 0;
    assert_true(server >= 0);
    while (err == 0 && count < 16) {
        fds[count] = sys_socket(AF_UNIX);
        err = sys_connect_unix(fds[count], &addr);
        assert_int_equal(fcntl(fds[count], F_GETFL) & O_NONBLOCK, 0);
        count++;
    }
    assert_int_equal(err, -EAGAIN);   /* the backlog is full, and nothing has blocked */
    int taken = accept(server, NULL, NULL);
    assert_true(taken >= 0);
    assert_int_equal(sys_connect_unix(fds[count - 1], &addr), 0);
    close(taken);
    close(server);
    while (count > 0) {
        close(fds[--count]);
    }
    int fd = sys_socket(AF_UNIX);
    assert_int_equal(sys_connect_unix(fd, &addr), -ECONNREFUSED);
    unlink(addr.sa.un.sun_path);
    assert_int_equal(sys_connect_unix(fd, &addr), -ENOENT);
    close(fd);
}

static void test_reuseport_and_probe(void **state) {
    (void)state;
    struct addr any = loopback(0), bound;
    int first = sys_listen(&any, true, 4);
    assert_true(first >= 0);
    assert_int_equal(sys_bound(first, &bound), 0);
    int second = sys_listen(&bound, true, 4);   /* as our other rings do */
    assert_true(second >= 0);
    assert_int_equal(sys_probe_bind(&bound), -EADDRINUSE);
    assert_int_equal(sys_listen(&bound, false, 4), -EADDRINUSE);
    close(first);
    assert_int_equal(sys_probe_bind(&bound), -EADDRINUSE);
    close(second);
    assert_int_equal(sys_probe_bind(&bound), 0);

    /* A connection of the last listener in TIME_WAIT is no reason to refuse. */
    first = sys_listen(&bound, true, 4);
    int client = connect_now(&bound);
    int server = accept(first, NULL, NULL);
    close(server);
    close(client);
    close(first);
    assert_int_equal(sys_probe_bind(&bound), 0);
    first = sys_listen(&bound, true, 4);
    assert_true(first >= 0);
    close(first);
}

static struct addr any_v6(uint16_t port, bool dual) {
    struct addr addr = {.len = sizeof addr.sa.in6, .dual = dual};
    addr.sa.in6.sin6_family = AF_INET6;
    addr.sa.in6.sin6_port = htons(port);
    return addr;
}

static void test_both_families(void **state) {
    (void)state;
    struct addr v4 = {.len = sizeof v4.sa.in}, bound;
    v4.sa.in.sin_family = AF_INET;
    int fd4 = sys_listen(&v4, true, 4);
    assert_true(fd4 >= 0);
    assert_int_equal(sys_bound(fd4, &bound), 0);
    uint16_t port = addr_port(&bound);
    struct addr v6 = any_v6(port, false), dual = any_v6(port, true);
    int fd6 = sys_listen(&v6, true, 4);
    if (fd6 == -EAFNOSUPPORT || fd6 == -EADDRNOTAVAIL) {
        /* A machine without IPv6: a dual address is IPv4 there. */
        close(fd4);
        fd6 = sys_listen(&dual, true, 4);
        assert_true(fd6 >= 0);
    } else {
        assert_true(fd6 >= 0);   /* "0.0.0.0:80, [::]:80" */
        assert_int_equal(sys_probe_bind(&dual), -EADDRINUSE);
        close(fd4);
        close(fd6);
        assert_int_equal(sys_probe_bind(&dual), 0);
        fd6 = sys_listen(&dual, true, 4);
        assert_true(fd6 >= 0);
    }
    struct addr to = loopback(port);
    int client = connect_now(&to);   /* ":PORT" takes IPv4 */
    assert_true(client >= 0);
    int server = accept(fd6, NULL, NULL);
    assert_true(server >= 0);
    struct endpoint endpoint;
    assert_int_equal(sys_peer(server, &endpoint), 0);
    assert_int_equal(endpoint.family, AF_INET);
    close(client);
    close(server);
    close(fd6);
}

/* As on a kernel without IPv6: no socket of that family. */
static void forbid_ipv6(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        _exit(3);
    }
}

static void test_without_ipv6(void **state) {
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct addr dual = any_v6(0, true), six = any_v6(0, false), bound;
        forbid_ipv6();
        int fd = sys_listen(&dual, true, 4);
        bool good = fd >= 0 && sys_bound(fd, &bound) == 0 && bound.sa.any.sa_family == AF_INET &&
                    sys_probe_bind(&dual) == 0 && sys_listen(&six, true, 4) == -EAFNOSUPPORT;
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_sockets(void **state) {
    (void)state;
    struct addr bound;
    int listener = listen_loopback(&bound, 4), on = 0;
    socklen_t len = sizeof on;
    int client = sys_socket(AF_INET);
    assert_int_equal(connect(client, &bound.sa.any, bound.len), 0);
    assert_int_equal(sys_nodelay(client), 0);
    assert_int_equal(getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    assert_true(on != 0);
    int server = accept(listener, NULL, NULL);
    assert_int_equal(getsockopt(server, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    assert_true(on != 0);
    assert_int_equal(sys_shutdown(client, SHUT_WR), 0);
    char byte;
    assert_int_equal(read(server, &byte, 1), 0);
    assert_int_equal(sys_reset_on_close(server), 0);
    assert_int_equal(sys_close(server), 0);
    assert_int_equal(sys_close(server), -EBADF);
    assert_int_equal(read(client, &byte, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    struct endpoint endpoint;
    assert_int_equal(sys_peer(client, &endpoint), -ENOTCONN);
    assert_int_equal(sys_close(client), 0);
    close(listener);
}

/* TCP counts bytes that are not acknowledged; a far end whose buffer is full acknowledges no more. A
 * unix socket counts the memory of what is not read. */
static void test_unsent(void **state) {
    (void)state;
    struct addr bound;
    int listener = listen_loopback(&bound, 4);
    int tcp[2] = {connect_now(&bound), 0}, local[2];
    assert_true(tcp[0] >= 0);
    tcp[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(tcp[1] >= 0);
    pair(local);
    static char bytes[65536];
    int *const pairs[] = {tcp, local};
    for (unsigned i = 0; i < 2; i++) {
        int *fds = pairs[i];
        assert_int_equal(sys_unsent(fds[0]), 0);
        size_t given = 0, taken = 0;
        ssize_t n;
        while ((n = send(fds[0], bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
            given += (size_t)n;
        }
        int unsent = sys_unsent(fds[0]);
        assert_true(unsent > 0 && (i == 1 || (size_t)unsent < given));
        while (taken < given) {
            n = read(fds[1], bytes, sizeof bytes);
            assert_true(n > 0);
            taken += (size_t)n;
        }
        for (unsigned ms = 0; sys_unsent(fds[0]) > 0 && ms < 5000; ms++) {
            usleep(1000);   /* the last acknowledgement may be a delayed one */
        }
        assert_int_equal(sys_unsent(fds[0]), 0);
        close(fds[0]);
        close(fds[1]);
    }
    close(listener);
    assert_int_equal(sys_unsent(listener), -EBADF);
}

static void test_files_luck_and_limits(void **state) {
    (void)state;
    struct addr fifo = unix_addr("fifo");
    assert_int_equal(mkfifo(fifo.sa.un.sun_path, 0600), 0);
    assert_int_equal(sys_open_append(fifo.sa.un.sun_path), -ENXIO);   /* and does not block */
    unlink(fifo.sa.un.sun_path);
    assert_int_equal(sys_open_append("/no/such/folder/file"), -ENOENT);

    uint8_t a[300] = {0}, b[300] = {0};
    sys_random(a, sizeof a);
    sys_random(b, sizeof b);
    assert_true(memcmp(a, b, sizeof a) != 0);

    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    uint32_t raised = sys_raise_nofile();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(raised, limit.rlim_cur);
    assert_int_equal(limit.rlim_cur, limit.rlim_max);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unix_listen),
        cmocka_unit_test(test_unix_listen_spares_files),
        cmocka_unit_test(test_connect_unix),
        cmocka_unit_test(test_reuseport_and_probe),
        cmocka_unit_test(test_both_families),
        cmocka_unit_test(test_without_ipv6),
        cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_unsent),
        cmocka_unit_test(test_files_luck_and_limits),
    };
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return rmdir(folder) != 0 || failed;
}
