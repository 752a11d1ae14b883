/* One ring, one listener, and an end by signal that leaves nothing behind. */
#include "bench/stage.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/log.h"

#define QUEUE_BYTES (256u * 1024u)   /* each way: four receive buffers */
#define LEAVE_MS 1u                  /* how often a stage that ends looks at what remains */

static void stage_accept_run(struct task *task) {
    struct stage *stage = container_of(task, struct stage, accept);
    for (int fd; !stage->leaving && (fd = listener_take(stage->listener)) >= 0;) {
        stage->accepted(stage, fd);
    }
}

/* Wires and listeners outlive their owners until the kernel has let go of them. */
static void stage_leave_fired(struct timer *timer) {
    struct stage *stage = container_of(timer, struct stage, leave);
    if (net_is_empty(&stage->net)) {
        ring_stop(stage->ring);
    } else {
        timer_arm(stage->ring, &stage->leave, LEAVE_MS);
    }
}

void stage_leave(struct stage *stage) {
    if (stage->leaving) {
        return;
    }
    stage->leaving = true;
    task_cancel(stage->ring, &stage->accept);
    listener_shut(stage->listener);
    stage->ended(stage);
    timer_arm(stage->ring, &stage->leave, LEAVE_MS);
}

static void stage_signal_done(struct op *op, int res, struct seg *seg, bool armed) {
    (void)res;
    (void)seg;
    (void)armed;
    stage_leave(container_of(op, struct stage, signal));
}

static void stage_signals(struct stage *stage) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    stage->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    op_init(&stage->signal, stage_signal_done);
    op_watch(stage->ring, &stage->signal, stage->signal_fd, POLLIN);
}

void stage_init(struct stage *stage, const struct addr *bind) {
    uint32_t descriptors = sys_raise_nofile();
    stage->bind_fd = sys_listen(bind, false, LISTENER_BACKLOG);
    if (stage->bind_fd < 0) {
        log_error("can not listen: %s", strerror(-stage->bind_fd));
        exit(1);
    }
    char why[RING_WHY_MAX];
    stage->ring = ring_new(&(struct ring_params){0}, why);
    if (stage->ring == NULL) {
        log_error("%s", why);
        exit(1);
    }
    net_init(&stage->net, stage->ring);
    stage->limit.max = descriptors / 2 - 16;   /* a relay has two for each client */
    stage->wires = (struct wire_limits){.rx_mark = QUEUE_BYTES, .tx_mark = QUEUE_BYTES,
                                        .connect_ms = 5000, .send_ms = 60000, .linger_ms = 1000};
    task_init(&stage->accept, stage_accept_run);
    timer_init(&stage->leave, stage_leave_fired);
    stage->listener = listener_new(&stage->net, stage->bind_fd, &stage->limit, &stage->accept);
    stage_signals(stage);
}

void stage_run(struct stage *stage) {
    ring_run(stage->ring);
}

void stage_fini(struct stage *stage) {
    net_fini(&stage->net);
    ring_free(stage->ring);
    (void)sys_close(stage->bind_fd);
    (void)sys_close(stage->signal_fd);
}

void stage_address(struct addr *addr, const char *text) {
    const char *why;
    if (!addr_parse(addr, str_of(text), &why)) {
        log_error("%s: %s", text, why);
        exit(2);
    }
}
