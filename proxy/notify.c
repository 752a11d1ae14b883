/* Messages to the service manager, from a socket that is there from the start. */
#include "notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* sd_notify(3) opens a socket for each message, and waits until it is read. Out of descriptors the
 * watchdog would starve and the manager kill us, amid what we could have survived; and a manager
 * that is stuck would stop the thread that heeds signals. */
static struct {
    int fd;
    struct sockaddr_un to;
    socklen_t len;
} notify = {.fd = -1};

void notify_open(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path != NULL ? strlen(path) : 0;
    if (len < 2 || len >= sizeof notify.to.sun_path || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    notify.to.sun_family = AF_UNIX;
    memcpy(notify.to.sun_path, path, len + 1);
    notify.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    if (path[0] == '@') {
        notify.to.sun_path[0] = '\0';
        notify.len--;
    }
    notify.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Not connected: whoever listens at the address when it is told is told. */
void notify_tell(const char *text) {
    if (notify.fd < 0) {
        (void)sd_notify(0, text);   /* none, or one on vsock, which systemd's own way knows */
        return;
    }
    (void)sendto(notify.fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
                 (struct sockaddr *)&notify.to, notify.len);
}

void notify_close(void) {
    if (notify.fd >= 0) {
        close(notify.fd);
        notify.fd = -1;
    }
}
