/* What the files of net share about a wire's inside. */
#ifndef GYRE_NET_PRIV_H
#define GYRE_NET_PRIV_H

#include "net/net.h"

#define WIRE_MAGIC 0x57495245u
#define NET_MAGIC 0x4e455421u

/* How often sends in flight are looked at. */
#define NET_SWEEP_MS 250u
/* A peer whose send has stood for so long does not keep receive buffers waiting any longer, and is
 * looked at. */
#define STALLED_MS 200u

/* A gathered send: the kernel reads it until the completion. */
#define SENDV_MAX 32
struct sendv {
    struct msghdr msg;
    struct iovec iov[SENDV_MAX];
};

/* wire.c: life and death. */
void wire_lost(struct wire *, enum close_reason);   /* tells the owner, stops the ops */
void wire_starved(struct wire *);                   /* lost for want of memory: peers see it */
void wire_join(struct wire *);                      /* at the end of every done */
void wire_wake(struct wire *, unsigned ready);      /* sets bits and wakes the owner */
void wire_begin(struct wire *);                     /* accepted: the handshake, or up at once */
void wire_up(struct wire *);                        /* bytes may flow now */
void wire_ending(struct wire *);                    /* a wire that ends: what is next */
void wire_close_limit(struct connection_limit *);   /* counts a connection off */

/* wire_io.c: bytes. */
void wire_rx_done(struct op *, int res, struct seg *, bool armed);
void wire_tx_done(struct op *, int res, struct seg *, bool armed);
void wire_turn_run(struct task *);
void wire_read(struct wire *);                      /* arms the receive where there is room */
void wire_send(struct wire *);                      /* starts a send where there is something */

/* preface.c: the PROXY header of an accepted wire, which has an intake. */
void wire_preface_received(struct wire *, struct seg *, uint32_t len);
void wire_preface_ended(struct wire *);
/* pace.c */
void pace_waits(struct sender *);                   /* a send of it is in flight */
void pace_sent(struct sender *, uint32_t len);      /* the kernel has taken so much of it */
/* With a send in flight: why its peer is to be given up; CLOSE_NONE: it is not. */
enum close_reason pace_judge(struct sender *);

/* sender.c */
struct sender *sender_get(struct wire *);           /* NULL: no memory, and tx_failed is set */
void sender_free(struct wire *);                    /* drops what waits; its op is idle */
void sender_settle(struct wire *);                  /* gives it back where all has left */
bool sender_is_lost(const struct wire *);           /* bytes that should follow are lost */

void sender_waits(struct sender *, struct net *);   /* its op is in flight: it is looked at */
/* A send has failed: the kernel takes no more. */
void wire_send_failed(struct wire *, int res);

/* splice.c */
void splice_break(struct splice *);                 /* one of its wires comes to an end */
void splice_look(struct splice *);                  /* an op of one of its wires has ended */
void pipes_trim(struct net *);

/* dial.c */
void wire_dial_start(struct wire *);
void wire_dial_done(struct op *, int res, struct seg *, bool armed);

/* net.c: memory has come home, and may not be needed again soon. */
void net_trim_later(struct net *);

#endif
