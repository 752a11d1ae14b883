/* Scripted peers: clients and origins that a test owns. The simulated ring implements this door
 * (virtual sockets); a scenario that uses nothing else can run on real sockets as well. */
#ifndef GYRE_TESTS_SIM_PEER_H
#define GYRE_TESTS_SIM_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/ensure.h"

/* The address that a test has written. */
static inline struct addr addr_of(const char *text) {
    struct addr addr;
    const char *why;
    ensure(addr_parse(&addr, str_of(text), &why));
    return addr;
}

enum peer_state {
    PEER_DIALING,
    PEER_OPEN,
    PEER_REFUSED,   /* could not connect */
    PEER_CLOSED,    /* by peer_close or peer_reset */
};

/* Read by tests, written by the implementation alone (but for user and changed). */
struct peer {
    enum peer_state state;
    uint8_t *rx;             /* all that came and was not dropped; grows */
    size_t rx_len;
    uint64_t rx_total;
    size_t tx_len;           /* given to peer_send and not yet in the socket */
    bool eof;                /* the far side's FIN has been read */
    bool reset;              /* the connection was reset (or timed out) */
    struct peer_listener *listener;     /* that accepted it; NULL for clients */
    void *user;
    void (*changed)(struct peer *);     /* NULL, or told: more in rx, EOF, reset, open, sent */
};

/* Starts to connect. from: the address to come from, or NULL for one of the peers' own. */
struct peer *peer_dial(const struct addr *to, const struct addr *from);
/* Bytes are kept until the socket takes them: a script need not wait for room. */
void peer_send(struct peer *, const void *, size_t len);
void peer_send_text(struct peer *, const char *text);
/* FIN, after what was sent; reading goes on. */
void peer_fin(struct peer *);
/* Closes as close(2) does: a reset where bytes were not read. What waits is lost. */
void peer_close(struct peer *);
void peer_reset(struct peer *);
/* Reads nothing while paused: the sender meets back-pressure. */
void peer_pause(struct peer *, bool paused);
/* Drops bytes from the front of rx. */
void peer_drop(struct peer *, size_t len);
bool peer_has(const struct peer *, const char *text);   /* somewhere in rx */
/* Closed when still open, and forgotten: the pointer is dead. */
void peer_free(struct peer *);

struct peer_listener {
    struct addr addr;               /* as bound: port 0 becomes a real one */
    uint32_t accepted_count;
    void *user;
    void (*accepted)(struct peer *);   /* NULL: the test takes them with peer_take */
};

/* NULL when the address is taken. */
struct peer_listener *peer_listen(const struct addr *, uint32_t backlog);
struct peer *peer_take(struct peer_listener *);     /* the next accepted one, or NULL */
void peer_listener_pause(struct peer_listener *, bool paused);   /* accepts nothing: backlog */
void peer_listener_close(struct peer_listener *);   /* refuses from now on; the pointer is dead */

/* --- The world that the peers live in ----------------------------------------------------- */

enum peers_end {
    PEERS_MET,      /* the condition became true */
    PEERS_LIMIT,    /* the time is over */
    PEERS_STUCK,    /* nothing can happen any more: a deadlock (simulated ring only) */
};
/* Runs everything until cond (NULL: never) holds or limit_ms have passed. */
enum peers_end peers_run(bool (*cond)(void *), void *arg, uint64_t limit_ms);
void peers_sleep(uint64_t ms);

#endif
