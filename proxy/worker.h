/* One thread, one ring, and the rooms on it. */
#ifndef GYRE_WORKER_H
#define GYRE_WORKER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "plan.h"

enum worker_state { WORKER_STARTING, WORKER_RUNNING, WORKER_FAILED, WORKER_DONE };

struct worker {
    pthread_t thread;
    uint32_t index;
    struct plan *plan;
    int event_fd;                         /* written when the state changes */
    struct ring_params ring_params;       /* set before the start, where not the defaults */
    sem_t joined;                         /* the main thread will post no more */
    _Atomic int state;                    /* enum worker_state */
    _Atomic uint64_t beats;               /* pings answered */
    char why[RING_WHY_MAX];               /* with FAILED */

    /* Below: the thread's own. */
    struct ring *ring;
    struct net net;
    struct http http;
    struct upstream upstream;
    struct accesslog log;
    struct exchanges exchanges;
    struct tls_context **tls;             /* per listener; NULL where plain */
    struct door **doors;                  /* one per socket of the plan */
    bool draining, over;                  /* over: drained, and the ring has stopped */
    uint64_t hurry_ms;                    /* while draining: nobody lingers longer */
    struct timer drained;                 /* looks whether all is over */
    struct timer deadline;                /* drain_timeout */
    struct timer tunnels;                 /* shortly before it */
    struct post stop, ping, reopen;       /* each in flight at most once */
    _Atomic bool stop_sent, ping_sent, reopen_sent;
    int reopen_fd;
};

/* Makes the ring and its rooms, by the thread that will run them (a test may be that thread);
 * false: worker->why says what is in the way. Unmaking ensures that nothing is left of any
 * connection: every pool's live count is 0. */
bool worker_make(struct worker *, struct plan *, uint32_t index, const struct ring_params *);
void worker_unmake(struct worker *);
/* Starts the thread; its state says how it went. False: no thread could be made, errno says why. */
bool worker_start(struct worker *, struct plan *, uint32_t index, int event_fd);
/* By the main thread, while the state is RUNNING. */
void worker_drain(struct worker *);
void worker_ping(struct worker *);
void worker_reopen(struct worker *, int log_fd);
/* In state DONE: no more posts; waits until the rooms are unmade and the thread has ended. */
void worker_join(struct worker *);

#endif
