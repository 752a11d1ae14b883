/* A listening socket that somebody else has made becomes like one of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "ring/ring.h"

static int option_of(int fd, int level, int name) {
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

/* Without them every answer in two pieces would wait for the client's acknowledgement (Nagle), and
 * a client that has vanished would never be noticed. */
static void test_tcp(void **state) {
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct addr addr = {.len = sizeof addr.sa.in};
    addr.sa.in.sin_family = AF_INET;
    addr.sa.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, &addr.sa.any, addr.len), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(sys_adopt(fd), 0);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(sys_bound(fd, &addr), 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, &addr.sa.any, addr.len), 0);
    int server = accept(fd, NULL, NULL);
    assert_true(server >= 0);
    assert_int_equal(option_of(server, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(server, SOL_SOCKET, SO_KEEPALIVE), 1);
    close(server);
    close(client);
    close(fd);
}

static void test_unix(void **state) {
    (void)state;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(sys_adopt(fd), 0);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    close(fd);
}

static void test_no_socket(void **state) {
    (void)state;
    assert_int_equal(sys_adopt(-1), -EBADF);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_no_socket),
    };
    return cmocka_run_group_tests_name("adopt", tests, NULL, NULL);
}
