/* PROXY protocol headers, v1 and v2 (haproxy's proxy-protocol.txt), as bytes: read and written. */
#ifndef GYRE_NET_PROXYPROTO_H
#define GYRE_NET_PROXYPROTO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/str.h"

/* A line of v1, the worst case of the protocol's section 2.1. */
#define PROXYPROTO_V1_MAX 107u
/* A header of v2 could be 64 KiB long, and who sends it has not said yet who it is. Its authors
 * want it to fit into one segment (536 bytes), and what balancers send in TLVs (certificates'
 * names, cloud networks' ids) stays below 1 kB: a page is plenty, and is all that is held. */
#define PROXYPROTO_HEADER_MAX 4096u

/* Who is connected to whom. Not told: the sender speaks for itself (LOCAL), or does not know
 * (UNKNOWN, UNSPEC), and the connection's own addresses are the right ones. */
struct proxyproto_ends {
    bool told;
    struct endpoint client, local;   /* both AF_UNIX (no paths are kept), or both IP */
};

enum proxyproto_result { PROXYPROTO_MORE, PROXYPROTO_DONE, PROXYPROTO_BAD };

/* Reads the header that the bytes begin with. DONE: it is *used bytes long. MORE: so far it is
 * right, and at least *used bytes are needed to go on. BAD: whatever follows, it is none. The
 * result does not depend on how the bytes are cut. */
enum proxyproto_result proxyproto_read(const uint8_t *, uint32_t len, struct proxyproto_ends *,
                                       uint32_t *used);

/* What v2 says beside the ends; what is empty, or longer than its bound, is left out. */
struct proxyproto_more {
    bool tls;                        /* the client speaks TLS with us */
    struct str tls_version, tls_cipher;
    struct str authority;            /* the server name that it asked for */
    struct str unique_id;
};
#define PROXYPROTO_AUTHORITY_MAX 255u
#define PROXYPROTO_TLS_WORD_MAX 64u
#define PROXYPROTO_UNIQUE_ID_MAX 128u

/* The longest header that is written. */
#define PROXYPROTO_WRITE_MAX 640u

/* Both return the length. Ends that are not told, or not both IP: UNKNOWN or LOCAL. more may be
 * NULL. */
uint32_t proxyproto_write_v1(const struct proxyproto_ends *, uint8_t to[PROXYPROTO_WRITE_MAX]);
uint32_t proxyproto_write_v2(const struct proxyproto_ends *, const struct proxyproto_more *more,
                             uint8_t to[PROXYPROTO_WRITE_MAX]);

#endif
