/* The configurations of fuzz_exchange: small numbers, so that small inputs reach them. */
#ifndef GYRE_TESTS_FUZZ_EXCHANGE_CONF_H
#define GYRE_TESTS_FUZZ_EXCHANGE_CONF_H

#include <stdio.h>
#include <string.h>

#include "base/ensure.h"
#include "base/str.h"

#define STAGE_MAX_BODY 6000u
#define STAGE_QUEUE_US 5000000u   /* queue_timeout */
#define STAGE_RESPONSE_US 12000000u   /* response_timeout */
#define STAGE_MEMORY 4096u        /* request_memory and response_memory; or, shrunk: */
#define SHRUNK_MEMORY 64u
#define SHRUNK_RESPONSE_MAX 1000u

/* What the upper three bits of a play's first byte choose: how its backend works. */
#define MODES 8u
struct mode {
    bool sync, idle_holds_slot, no_spool, sticky;
    uint32_t servers, slots, queue;
    uint32_t response_max;        /* 0: gyre's own */
};
static const struct mode modes[MODES] = {
    {.servers = 2},
    {.servers = 2, .sync = true},
    {.servers = 1, .sync = true, .slots = 1, .queue = 8},
    {.servers = 2, .sync = true, .slots = 1, .queue = 8, .idle_holds_slot = true,
     .sticky = true},
    {.servers = 1, .sync = true, .slots = 1, .queue = 1},
    {.servers = 1, .sync = true, .slots = 2, .queue = 8, .response_max = STAGE_MEMORY},
    {.servers = 2, .sync = true, .no_spool = true},
    {.servers = 1, .slots = 1, .queue = 8},
};

/* which: the lowest two bits. */
static void conf_write(char *ini, size_t size, const struct mode *mode, uint32_t which) {
    char max[64] = "";
    if (mode->response_max != 0) {
        snprintf(max, sizeof max, "response_max = %u\n", mode->response_max);
    }
    int len = snprintf(
        ini, size,
        "[global]\nworkers = %u\ndrain_timeout = 5s\n%s%s"
        "[listener web]\nbind = 127.0.0.1:80\nbackend = app\nmax_head = 2k\nmax_headers = 30\n"
        "max_body = %u\nhead_timeout = 10s\nbody_timeout = 10s\nidle_timeout = 8s\n"
        "send_timeout = 10s\ntunnel_timeout = 15s\n"
        "[backend app]\nserver = 127.0.0.1:8001\n%smode = %s\nslots = %u\nidle_holds_slot = %s\n"
        "queue = %u\nqueue_timeout = %us\nrequest_memory = %u\nresponse_memory = %u\n%s"
        "keepalive = %u\nkeepalive_timeout = 6s\nresponse_timeout = %us\nstall_timeout = 8s\n%s%s",
        which == 1 ? 2u : 1u, which == 2 ? "trusted_proxies = 10.0.0.1/32\n" : "",
        mode->no_spool ? "spool_max = 0\n" : "", STAGE_MAX_BODY,
        mode->servers == 2 ? "server = 127.0.0.1:8002\n" : "", mode->sync ? "sync" : "async",
        mode->slots, mode->idle_holds_slot ? "yes" : "no", mode->queue, STAGE_QUEUE_US / 1000000,
        STAGE_MEMORY, STAGE_MEMORY, max, which == 3 ? 0u : 2u,
        STAGE_RESPONSE_US / 1000000, mode->sticky ? "sticky = socketio\n" : "",
        which == 3 ? "[route other]\nhost = other\nbackend = none\n"
                     "[backend none]\nserver = 127.0.0.1:9\nconnect_timeout = 1s\n"
                   : "");
    ensure(len > 0 && (size_t)len < size);
}

#endif
