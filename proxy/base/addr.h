/* Socket addresses as the config writes them, and endpoints as a connection carries them. */
#ifndef GYRE_BASE_ADDR_H
#define GYRE_BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/str.h"

/* An address to bind or to dial: IPv4, IPv6 or a unix path. dual is set with the family AF_INET6
 * and the address ::, and says that whoever listens on it takes IPv4 too (IPV6_V6ONLY off); where
 * the machine has no IPv6 it listens on 0.0.0.0 instead. Without dual an IPv6 listener takes IPv6
 * alone (IPV6_V6ONLY on), so that 0.0.0.0:80 and [::]:80 can stand side by side. */
struct addr {
    socklen_t len;
    bool dual;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } sa;
};

/* The small form: who a connection comes from. Unix peers have no address (family AF_UNIX, the
 * rest zero); family 0 is unknown. An IPv4 address takes the first 4 bytes of ip; a v4-mapped
 * IPv6 address is kept as IPv4. */
struct endpoint {
    uint8_t family;
    uint16_t port;      /* host order */
    uint8_t ip[16];
};

/* A block of addresses: 10.0.0.0/8, ::1/128, a bare address, or "unix" (every unix peer). */
struct cidr {
    uint8_t family, bits;
    uint8_t ip[16];
};

#define ADDR_TEXT_MAX 128
#define ADDR_HOST_MAX 254   /* a name of 253 bytes (RFC 1035) and its NUL */

/* ADDR is HOST:PORT, [V6]:PORT, :PORT or unix:PATH. HOST must be a numeric address or a name that
 * the system resolves (blocking: for start-up only); of a name's addresses it is the first IPv4
 * one, else the first, as app servers that are told a name listen on IPv4. :PORT means every
 * address of both families (dual). On error returns false and *why says what would be right
 * (static text). */
bool addr_parse(struct addr *, struct str text, const char **why);
/* The same without looking anything up, and localhost is 127.0.0.1. Of another name *name is what
 * stands in text, and the address is 0.0.0.0 with the port. Else *name is empty. */
bool addr_parse_name(struct addr *, struct str *name, struct str text, const char **why);
/* Sets the address, of 4 or (AF_INET6) 16 bytes, and leaves the port as it is. */
void addr_set_ip(struct addr *, int family, const void *ip);
/* Writes HOST:PORT, [V6]:PORT, :PORT (dual) or unix:PATH; returns p. */
char *addr_print(const struct addr *, char p[ADDR_TEXT_MAX]);
/* The same socket address; dual is not looked at, as a socket's name does not tell it. */
bool addr_eq(const struct addr *, const struct addr *);
bool addr_is_any(const struct addr *);     /* 0.0.0.0 or ::, whatever the port */
uint16_t addr_port(const struct addr *);   /* 0 for unix */

void endpoint_of(struct endpoint *, const struct sockaddr *, socklen_t);
/* Writes the address without port; "unix" or "unknown" where there is none; returns p. */
char *endpoint_print(const struct endpoint *, char p[ADDR_TEXT_MAX]);
/* The same without a NUL; returns its end. */
char *endpoint_put(char p[ADDR_TEXT_MAX], const struct endpoint *);

/* What one client is given, so what limits and turns are counted by: an IPv4 address, or the /64
 * of an IPv6 one (RFC 6177), whose 2^64 addresses are its own to choose from. Comparable as one
 * number with its family. */
struct network {
    uint64_t bits;      /* as they stand in the address; unix and unknown: 0 */
    uint8_t family;
};
struct network endpoint_network(const struct endpoint *);
static inline bool network_eq(const struct network *a, const struct network *b) {
    return a->bits == b->bits && a->family == b->family;
}
/* For tables: with random secrets (the second one odd) nobody can choose addresses that share a
 * place. */
uint64_t network_hash(const struct network *, const uint64_t secrets[2]);

/* Bits set behind the prefix are an error: in a list of whom to trust they are a slip. */
bool cidr_parse(struct cidr *, struct str text, const char **why);
bool cidr_has(const struct cidr *, const struct endpoint *);

#endif
