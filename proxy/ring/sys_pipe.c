/* Pipes, and bytes that go through them from socket to socket without being read. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "ring/ring.h"

int sys_pipe(int fds[2], uint32_t bytes) {
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        return -errno;
    }
    /* A user with many pipes gets short ones (pipe-user-pages-soft), which can not grow. */
    if (fcntl(fds[0], F_SETPIPE_SZ, (int)bytes) < (int)bytes) {
        close(fds[0]);
        close(fds[1]);
        return -EMFILE;
    }
    return 0;
}

int sys_splice(int from, int to, uint32_t len) {
    ssize_t moved = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    return moved >= 0 ? (int)moved : -errno;
}

int sys_nonblock(int fd, bool on) {
    return fcntl(fd, F_SETFL, on ? O_NONBLOCK : 0) == 0 ? 0 : -errno;
}
