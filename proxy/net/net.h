/* The net's door: file descriptors become byte streams. */
#ifndef GYRE_NET_NET_H
#define GYRE_NET_NET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/close.h"
#include "base/pool.h"
#include "net/proxyproto.h"
#include "ring/ring.h"
#include "tls/tls.h"

/* --- The room: one per ring --------------------------------------------------------------- */

/* A bound on client connections that all rings share: a limit is a limit of the whole process. A
 * listener's limit has the process' (what the descriptors allow) as its parent. */
struct connection_limit {
    _Atomic uint32_t count;          /* now */
    uint32_t max;                    /* accepting pauses here */
    struct connection_limit *parent; /* NULL, or another bound that must hold as well */
};

/* Connections by client address (IPv6: by /64 network), of the whole process: all rings share it.
 * Memory is bounded by the connections that are counted. */
struct client_counts;
/* No address may have more than max; clients on unix sockets, those whose address is not known, and
 * the exempt ones (kept by reference) are not counted. listener: its name, for messages. */
struct client_counts *client_counts_new(uint32_t max, const char *listener,
                                        const struct cidr *exempt, uint32_t exempt_count);
/* Ensures that nobody is counted. */
void client_counts_free(struct client_counts *);
/* One more connection of this client, by any thread; false, and warns of it at most once a second,
 * where it has as many as it may. now_ms is the ring's clock. */
bool client_take(struct client_counts *, const struct endpoint *, uint64_t now_ms);
/* One less, for each that was taken. */
void client_give(struct client_counts *, const struct endpoint *);
uint32_t client_held(struct client_counts *, const struct endpoint *);

/* Pipes for splices that nobody uses now; of the others the count alone is known. */
#define PIPES_IDLE_MAX 16u
/* Where descriptors allow: who is slow holds one for long. */
#define PIPES_MAX 128u
struct pipes {
    int idle[PIPES_IDLE_MAX][2];
    uint32_t idle_count, live, max;  /* live: the idle ones as well */
};

struct net {
    unsigned magic;
    struct ring *ring;
    struct pool wires, intakes, senders, sendvs, splices;
    struct pipes pipes;
    uint32_t listeners;              /* that are not freed */
    struct segpool copies;           /* small copies: heads, rests */
    struct segpool records;          /* TLS records on their way out */
    struct list_node sends;          /* senders with a send in flight, oldest first */
    struct bufq nowhere;             /* what wire_tx has where there is no memory: failed */
    struct list_node endings;        /* wires that end by themselves (WIRE_ENDING) */
    struct timer sweep;              /* looks at `sends` for peers that take nothing */
    struct timer trim;               /* gives memory back that nobody has needed for a while */
    uint8_t refused;                 /* enum close_reason: why the last wire could not be had */
    uint32_t closing;                /* wires on their way out: each gives a descriptor back */
    /* Where descriptors run out somebody may have some to spare: relief is woken when an accept was
     * refused one (then is_short is set), and, while somebody has `wanted`, when one is back. */
    struct task *relief;
    uint32_t wanted;
    bool is_short;
};

void net_init(struct net *, struct ring *);
/* It must be empty. */
void net_fini(struct net *);
/* The most wires at a time (0: any number), and the most pipes, which take two descriptors each;
 * what else the room hands out goes with a wire, and is bounded by it and by its marks. */
void net_bound(struct net *, uint32_t wires, uint32_t pipes);
/* Now and then, here as in the rooms above: the pools give back what nobody has needed lately. */
void net_trim(struct net *);
/* False when wire_accept would be refused. */
bool net_has_room(const struct net *);
uint32_t net_wires(const struct net *);
/* True when no wire is left, and no listener whose accept is still in flight. */
bool net_is_empty(const struct net *);
/* Shuts the wires that end by themselves: those that still flush or linger. */
void net_shut_endings(struct net *);

/* --- Listeners ---------------------------------------------------------------------------- */

/* The longest backlog that a listening socket of ours should have: as many may be accepted at once
 * that have no place yet. */
#define LISTENER_BACKLOG 4096u

/* Accepts on fd, which stays the caller's, while limit and its parents allow; pauses at them and
 * resumes by itself. Each accepted descriptor waits in the listener until its owner, which is
 * woken, takes it. */
struct listener;
struct listener *listener_new(struct net *, int fd, struct connection_limit *, struct task *owner);
/* The next accepted connection, -1 when there is none that may be served. It is counted in the
 * limit; the wire that is made of it (wire_params.limit) counts it off again when it closes. */
int listener_take(struct listener *);
/* The owner can not serve another one now: pauses, and wakes the owner when it looks again. */
void listener_hold(struct listener *);
/* Stops accepting, and frees itself when its op is idle; owner forgotten. What was accepted and
 * not taken is closed. */
void listener_shut(struct listener *);

/* --- Wires -------------------------------------------------------------------------------- */

enum wire_state {
    WIRE_DIALING,
    WIRE_PREFACE,        /* accepted: its PROXY header is to come */
    WIRE_HANDSHAKE,
    WIRE_OPEN,
    WIRE_ENDING,
    WIRE_CLOSING
};

/* What has happened since the owner looked last. The owner clears what it has dealt with. */
enum wire_ready {
    WIRE_UP = 1,     /* dialled, told of, and the handshake is done: bytes may flow */
    WIRE_RX = 2,     /* rx has bytes that it had not before */
    WIRE_EOF = 4,    /* the peer ended its side; rx holds what came before. Cut off when TLS lacks
                        its close_notify: then wire->cut is set */
    WIRE_ROOM = 8,   /* tx has room again after it had none; or, where tell_sent, all is sent */
    WIRE_LOST = 16,  /* the connection died, `why` says of what; rx still holds what came */
    WIRE_TOLD = 32,  /* the PROXY header has come: wire_told says what. Before UP, and under TLS
                        before the handshake begins */
    WIRE_PLAIN = 64  /* instead of UP: the client speaks plain HTTP where TLS is due. What it sends
                        is dropped; what the owner pushes goes out as it is, so that it can answer,
                        and end. All within handshake_ms */
};

struct wire_limits {
    uint32_t rx_mark, tx_mark;   /* bytes that may wait here, each way */
    uint32_t handshake_ms;       /* PROXY header and TLS handshake, from the accept */
    uint32_t connect_ms;         /* dialling, retries of a full unix backlog included */
    uint32_t send_ms;            /* while something waits for the peer, and it takes nothing */
    uint32_t send_rate_min;      /* bytes a second that it must take then, on the average of
                                    send_ms; 0: any */
    uint32_t linger_ms;          /* after wire_end: until the peer's FIN */
};

struct wire_params {
    int fd;                           /* accept: passes to the wire */
    const struct addr *to;            /* dial: outlives the dialling */
    struct tls_context *tls;          /* NULL: plain */
    const struct wire_limits *limits; /* outlives the wire */
    struct connection_limit *limit;   /* may be NULL. accept: it is counted already; dial: counts
                                       * the wire, from here on until it is freed */
    bool proxy;                       /* accept: the peer begins with a PROXY header, or is lost
                                         with CLOSE_BAD_PROXY */
    struct str preface;               /* dial: bytes that go before all others; copied */
    struct client_counts *clients;    /* accept: may be NULL */
    struct endpoint client;           /* accept: who is counted there; family 0: not yet known */
};

/* How fast a peer takes what waits for it. Completed sends tell little of it: of a large socket
 * buffer they come in large steps, long after its peer has begun to read. So what counts is what
 * the kernel was given less what it still has. */
struct pace {
    bool waits;                       /* something has waited for the peer all the time, */
    bool known;                       /* and it was looked at since that began */
    uint64_t given;                   /* bytes, to the kernel */
    int64_t taken;                    /* of them by the peer, when it was looked at last, */
    uint64_t looked_ms, taken_ms;     /* then; and when it was seen to have taken some */
    uint64_t window_ms, window_bytes; /* the average's window: since when, and what was taken */
};

/* What comes before plain bytes, of a wire that speaks TLS or begins with a PROXY header. */
struct intake {
    struct bufq cipher;               /* received, not yet decrypted; and the PROXY header */
    struct proxyproto_ends told;      /* what that said */
};

/* What a wire has from the first byte that it is to send until the last one has left: the many that
 * are idle have none, and the few that send share a few that are warm. */
struct sender {
    struct wire *wire;
    struct bufq tx;                   /* plain bytes; the owner pushes there (wire_tx) */
    struct bufq sending;              /* on their way: cipher bytes under TLS */
    struct op op;
    struct list_node link;            /* in net->sends, while a send is in flight; then also: */
    uint64_t began_ms;                /* when it was started, */
    uint32_t asked;                   /* its bytes, */
    bool settling;                    /* it is cancelled, so that its buffers can be copied out, */
    struct sendv *sendv;              /* and what it gathers, or NULL */
    struct pace pace;
};

struct wire {
    unsigned magic;
    uint8_t state;                    /* enum wire_state */
    uint8_t why;                      /* enum close_reason, once LOST or CLOSING */
    uint8_t ready;                    /* enum wire_ready, a set; cleared by the owner */
    bool tell_sent;                   /* owner: wake me when all is sent (default: yes) */
    bool last;                        /* owner: what is pushed now is all, and its end follows */
    bool reset;                       /* owner: wire_shut shall send a reset */
    bool eof, cut;                    /* the peer has ended its side; without close_notify */
    bool dead;                        /* LOST was told: no more ops but the last */
    bool hung_up;                     /* the peer ended its side while rx had no room */
    bool tx_dead;                     /* the kernel takes no more: what is pushed is dropped */
    bool tls_failed;
    bool plain;                       /* TLS was due and plain HTTP came: PLAIN was told */
    bool fin_wanted, fin_sent, end_sent, end_told, close_sent;
    bool tx_failed;                   /* no memory for a sender */
    bool sent;                        /* the kernel took bytes; the owner may clear it */
    bool tx_reset;                    /* a send took the error of a reset */
    bool tls_waits;                   /* plain bytes may wait in tls though cipher is empty */
    bool held;                        /* nothing is received: a splice is to take it */
    bool surplus;                     /* more had come than the splice was to take, or the end */
    uint32_t lingered;                /* bytes that came in WIRE_ENDING */
    int fd;
    struct net *net;
    struct task *owner;
    const struct wire_limits *limits;
    struct connection_limit *limit;
    struct client_counts *clients;
    struct endpoint client;           /* who is counted in clients; family 0: nobody */
    uint32_t began_ms;                /* when the dialling was started: the clock's low bits */
    const struct addr *to;            /* NULL: accepted */
    struct tls *tls;
    struct intake *intake;            /* NULL: neither TLS nor a PROXY header */
    struct sender *sender;            /* NULL: nothing is to be sent */
    struct bufq rx;                   /* plain bytes that the owner drops */
    struct op op_rx, op_end;
    struct task turn;                 /* TLS, when it is its turn */
    struct timer stall;               /* dialling, PROXY header, handshake, linger */
    struct list_node endings;
    struct splice *splice;            /* from or to it; NULL: none */
};

/* Both return a wire that reads at once, or NULL (net->refused says why: at a bound, no memory, no
 * descriptor, no such family; the fd is closed then, with a reset where its client has too many).
 * Results come by waking owner. owner may be changed by wire_own at any time. */
struct wire *wire_accept(struct net *, const struct wire_params *, struct task *owner);
struct wire *wire_dial(struct net *, const struct wire_params *, struct task *owner);
void wire_own(struct wire *, struct task *owner);
/* For whoever learns later who the client of an accepted wire is: it is counted in
 * wire_params.clients from here on until it is freed. Once, and only where wire_params.client was
 * not known. False: this client has as many as it may, and the wire is to be shut, with a reset and
 * CLOSE_CLIENT_LIMIT. */
bool wire_count(struct wire *, const struct endpoint *);
/* What the PROXY header said, after TOLD; zero where none has come. As long as the wire. */
const struct proxyproto_ends *wire_told(const struct wire *);
/* The owner has dropped bytes of rx: read again where reading had stopped. Only consumption
 * re-arms a read. While rx has no room nothing is read, but the peer's death is still noticed. */
void wire_pull(struct wire *);
/* The queue of what is to be sent. The owner pushes there, and calls wire_push in the same turn:
 * until then the queue is valid. Without memory it is one that has failed and takes nothing; the
 * wire is lost with the push. */
struct bufq *wire_tx(struct wire *);
/* Bytes that tx has room for; where that is 0 ROOM tells of some. */
uint32_t wire_room(struct wire *);
/* The owner has pushed bytes to tx: send them. One send is in flight at any time. */
void wire_push(struct wire *);
/* True when nothing waits in tx or is on its way. */
bool wire_flushed(const struct wire *);
/* True when the kernel has taken no byte since the owner cleared `sent`, and none is on its way to
 * it: of a wire that is lost the peer has seen nothing more then. */
bool wire_sent_none(const struct wire *);
/* The owner will send no more: FIN (and close_notify) after what is in tx; reading goes on. */
void wire_finish(struct wire *);
/* Sends what is in tx, then FIN, reads and drops until the peer's FIN, linger_ms or 16 MiB (so that
 * no reset destroys the last answer, RFC 9112 9.6), closes. Owner forgotten at once. */
void wire_end(struct wire *, enum close_reason);
/* Closes without sending what waits; with a reset where wire->reset is set (a truncation must be
 * seen). Owner forgotten at once. */
void wire_shut(struct wire *, enum close_reason);

/* --- Splices: bytes that go from one wire to another without us ---------------------------- */

enum splice_state {
    SPLICE_HOLDING,      /* the one is not read any more, and what it has brought goes as ever */
    SPLICE_MOVING,       /* its bytes are ours to move; nobody else reads or sends */
    SPLICE_OVER          /* all are moved, or one of the wires is not what it was: as ever again */
};

/* While there is one, its owner pushes nothing to `to` once it moves; all else that may happen to a
 * wire may happen to both, and ends the splice. */
struct splice {
    uint8_t state;                    /* enum splice_state */
    bool readable;                    /* `from` is, the kernel says, and nothing was taken yet */
    struct net *net;
    struct wire *from, *to;           /* NULL when it is over */
    struct task *owner;               /* woken when it may go, and when it is over */
    struct task task;
    int pipe[2];
    uint32_t piped;                   /* bytes that are in it */
    uint64_t left;                    /* bytes that are to be taken of from, */
    uint64_t taken, given;            /* that were, and that `to` has of them: those that were in
                                         the pipe when `from` was lost are lost as well */
    uint64_t moved_us;                /* when some were taken last */
};

/* Moved at one go; then others have their turn, as this goes on for some 25 us. It is also what
 * makes 1 MiB answers cheapest where there are few clients: 96 KiB 0.7 of 512 KiB, 48 to 112 KiB
 * 0.7 to 0.8, 128 to 192 KiB 0.9 to 1.05 (1 to 16 connections). */
#define SPLICE_TURN_BYTES (96u * 1024u)

/* Reading of `from` stops, so that a splice may begin; NULL where none can be: TLS, no pipe, no
 * memory, or a wire that is at an end. */
struct splice *splice_hold(struct wire *from, struct wire *to, struct task *owner);
/* True when nothing is left of what was read of `from`, nor on its way to `to`. */
bool splice_may_go(const struct splice *);
/* Moves that many bytes, if nothing comes between. */
void splice_go(struct splice *, uint64_t bytes);
/* True while the next step is that of `to`, or ours. */
bool splice_is_full(const struct splice *);
/* Ends it, where it is not over, and frees it. What is in the pipe is lost. */
void splice_free(struct splice *);

#endif
