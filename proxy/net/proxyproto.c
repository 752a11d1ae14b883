/* PROXY protocol headers: the grammar of v1, the bytes of v2, and both written. Sections are those
 * of haproxy's proxy-protocol.txt. */
#include <arpa/inet.h>

#include "base/ensure.h"
#include "net/proxyproto.h"

static const uint8_t v2_signature[12] = {'\r', '\n', '\r', '\n', 0,   '\r',
                                         '\n', 'Q',  'U',  'I',  'T', '\n'};
#define V2_HEAD 16u                /* the signature, command, family, length */

enum v2_command { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
/* The upper half of the family's byte, and the lower. */
enum v2_family { V2_UNSPEC, V2_INET, V2_INET6, V2_UNIX, V2_FAMILIES };
enum v2_transport { V2_TRANSPORT_UNSPEC, V2_STREAM };
#define V2_UNIX_PATH 108u

static const uint16_t v2_ends_bytes[V2_FAMILIES] = {
    [V2_INET] = 2 * (4 + 2), [V2_INET6] = 2 * (16 + 2), [V2_UNIX] = 2 * V2_UNIX_PATH,
};

enum v2_type {
    TYPE_AUTHORITY = 0x02, TYPE_CRC32C = 0x03, TYPE_UNIQUE_ID = 0x05, TYPE_SSL = 0x20,
    SUBTYPE_SSL_VERSION = 0x21, SUBTYPE_SSL_CIPHER = 0x23,
};
#define TLV_HEAD 3u                /* the type, and the length in two bytes */
#define SSL_HEAD 5u                /* the client's bits, and verify in four bytes */
#define SSL_CLIENT 0x01u           /* the client came over TLS */
#define CRC_BYTES 4u

/* --- Numbers ------------------------------------------------------------------------------ */

static uint16_t get_u16(const uint8_t *p) {
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put_u16(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static uint32_t get_u32(const uint8_t *p) {
    return (uint32_t)get_u16(p) << 16 | get_u16(p + 2);
}

static void put_u32(uint8_t *p, uint32_t value) {
    put_u16(p, value >> 16);
    put_u16(p + 2, value & 0xffff);
}

/* CRC32c (RFC 3385; Castagnoli's polynomial), half a byte at a time: headers are short. */
static uint32_t crc_add(uint32_t crc, const uint8_t *p, uint32_t len) {
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    for (uint32_t i = 0; i < len; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

/* Of the whole header, with zeros where the sum itself stands (2.2.3). */
static uint32_t header_crc(const uint8_t *p, uint32_t len, uint32_t at) {
    static const uint8_t zeros[CRC_BYTES];
    uint32_t crc = crc_add(0xffffffffu, p, at);
    crc = crc_add(crc, zeros, CRC_BYTES);
    return ~crc_add(crc, p + at + CRC_BYTES, len - at - CRC_BYTES);
}

/* --- Endpoints ---------------------------------------------------------------------------- */

/* As accept(2) would tell of it, v4-mapped addresses included: whoever is looked up in a list of
 * addresses must not have two faces. */
static void endpoint_make(struct endpoint *e, int family, const uint8_t *ip, uint16_t port) {
    if (family == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&in.sin_addr, ip, 4);
        endpoint_of(e, (const struct sockaddr *)&in, sizeof in);
    } else {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        memcpy(&in6.sin6_addr, ip, 16);
        endpoint_of(e, (const struct sockaddr *)&in6, sizeof in6);
    }
}

/* The 16 bytes of an IPv6 address, v4-mapped where it is IPv4. */
static void endpoint_ip6(const struct endpoint *e, uint8_t ip[16]) {
    if (e->family == AF_INET6) {
        memcpy(ip, e->ip, 16);
    } else {
        memset(ip, 0, 10);
        memset(ip + 10, 0xff, 2);
        memcpy(ip + 12, e->ip, 4);
    }
}

static bool endpoint_is_ip(const struct endpoint *e) {
    return e->family == AF_INET || e->family == AF_INET6;
}

static bool ends_are_ip(const struct proxyproto_ends *ends) {
    return ends->told && endpoint_is_ip(&ends->client) && endpoint_is_ip(&ends->local);
}

static bool ends_are_ipv4(const struct proxyproto_ends *ends) {
    return ends->client.family == AF_INET && ends->local.family == AF_INET;
}

/* --- Reading v1 (2.1) --------------------------------------------------------------------- */

/* Cuts off a word that ends with exactly one space, or with the line. */
static struct str word_next(struct str *rest) {
    const char *space = memchr(rest->p, ' ', rest->len);
    struct str word = {rest->p, space != NULL ? (uint32_t)(space - rest->p) : rest->len};
    uint32_t taken = word.len + (space != NULL ? 1 : 0);
    *rest = (struct str){rest->p + taken, rest->len - taken};
    return word;
}

/* inet_pton knows no leading zeros in IPv4, no zones, and wants all of the address. */
static bool v1_address(struct str word, int family, uint8_t ip[16]) {
    char text[INET6_ADDRSTRLEN];
    if (word.len >= sizeof text || memchr(word.p, '\0', word.len) != NULL) {
        return false;
    }
    memcpy(text, word.p, word.len);
    text[word.len] = '\0';
    return inet_pton(family, text, ip) == 1;
}

static bool v1_port(struct str word, uint16_t *port) {
    uint64_t value;
    if (word.len > 5 || (word.len > 1 && word.p[0] == '0') || !str_to_u64(word, &value) ||
        value > UINT16_MAX) {
        return false;
    }
    *port = (uint16_t)value;
    return true;
}

/* The line behind "PROXY TCP4 " or "PROXY TCP6 ": four words, and nothing beside them. */
static bool v1_ends(struct str rest, int family, struct proxyproto_ends *ends) {
    uint8_t client[16], local[16];
    uint16_t client_port, local_port;
    if (!v1_address(word_next(&rest), family, client) ||
        !v1_address(word_next(&rest), family, local) ||
        !v1_port(word_next(&rest), &client_port) || !v1_port(rest, &local_port)) {
        return false;
    }
    ends->told = true;
    endpoint_make(&ends->client, family, client, client_port);
    endpoint_make(&ends->local, family, local, local_port);
    return true;
}

#define V1_BEGIN STR("PROXY ")

/* True while the bytes may still become one of the beginnings of a line: what is none is refused
 * as soon as it shows. */
static bool v1_begins(struct str bytes) {
    static const struct str begins[] = {
        {"PROXY TCP4 ", 11}, {"PROXY TCP6 ", 11}, {"PROXY UNKNOWN ", 14}, {"PROXY UNKNOWN\r", 14},
    };
    for (uint32_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
        uint32_t len = bytes.len < begins[i].len ? bytes.len : begins[i].len;
        if (memcmp(bytes.p, begins[i].p, len) == 0) {
            return true;
        }
    }
    return false;
}

/* Of an UNKNOWN line the rest is ignored, whatever it says. */
static bool v1_line(struct str line, struct proxyproto_ends *ends) {
    struct str rest = {line.p + V1_BEGIN.len, line.len - V1_BEGIN.len};
    struct str word = word_next(&rest);
    if (str_eq(word, STR("UNKNOWN"))) {
        return true;
    }
    return v1_ends(rest, str_eq(word, STR("TCP4")) ? AF_INET : AF_INET6, ends);
}

/* A lone CR or LF ends nothing, and is no part of any line. */
static enum proxyproto_result v1_read(struct str bytes, struct proxyproto_ends *ends,
                                      uint32_t *used) {
    uint32_t end = 0, len = bytes.len < PROXYPROTO_V1_MAX ? bytes.len : PROXYPROTO_V1_MAX;
    while (end < len && bytes.p[end] != '\r' && bytes.p[end] != '\n') {
        end++;
    }
    if (!v1_begins(bytes) || (end < len && bytes.p[end] == '\n') ||
        end + 1 >= PROXYPROTO_V1_MAX) {
        return PROXYPROTO_BAD;
    }
    if (end + 1 >= len) {
        *used = len + 1;
        return PROXYPROTO_MORE;
    }
    if (bytes.p[end + 1] != '\n' || !v1_line((struct str){bytes.p, end}, ends)) {
        return PROXYPROTO_BAD;
    }
    *used = end + 2;
    return PROXYPROTO_DONE;
}

/* --- Reading v2 (2.2) --------------------------------------------------------------------- */

/* Where a TLV's value stands, and the next one begins. */
struct tlv {
    uint8_t type;
    uint32_t at, len;
};

/* False at the end, and where the TLV runs past it: then *at is not at the end. */
static bool tlv_next(const uint8_t *p, uint32_t *at, uint32_t end, struct tlv *tlv) {
    if (end - *at < TLV_HEAD) {
        return false;
    }
    *tlv = (struct tlv){p[*at], *at + TLV_HEAD, get_u16(p + *at + 1)};
    if (tlv->len > end - tlv->at) {
        return false;
    }
    *at = tlv->at + tlv->len;
    return true;
}

static bool ssl_is_right(const uint8_t *p, const struct tlv *ssl) {
    struct tlv tlv;
    uint32_t at = ssl->at + SSL_HEAD, end = ssl->at + ssl->len;
    if (ssl->len < SSL_HEAD) {
        return false;
    }
    while (tlv_next(p, &at, end, &tlv)) {
    }
    return at == end;
}

/* Nothing of what they say is used here; but a header that is not what it claims to be is none. One
 * sum at most: each is work over the whole header. */
static bool tlvs_are_right(const uint8_t *p, uint32_t at, uint32_t end) {
    struct tlv tlv;
    uint32_t sums = 0;
    bool right = true;
    while (right && tlv_next(p, &at, end, &tlv)) {
        if (tlv.type == TYPE_CRC32C) {
            right = ++sums == 1 && tlv.len == CRC_BYTES &&
                    get_u32(p + tlv.at) == header_crc(p, end, tlv.at);
        } else if (tlv.type == TYPE_SSL) {
            right = ssl_is_right(p, &tlv);
        } else if (tlv.type == TYPE_UNIQUE_ID) {
            right = tlv.len <= PROXYPROTO_UNIQUE_ID_MAX;
        }
    }
    return right && at == end;
}

/* Of AF_UNIX the paths are ignored: gyre tells unix clients apart nowhere. */
static void v2_ends(const uint8_t *p, uint8_t family, struct proxyproto_ends *ends) {
    ends->told = true;
    if (family == V2_UNIX) {
        ends->client.family = ends->local.family = AF_UNIX;
        return;
    }
    uint32_t size = family == V2_INET ? 4 : 16;
    int af = family == V2_INET ? AF_INET : AF_INET6;
    endpoint_make(&ends->client, af, p, get_u16(p + 2 * size));
    endpoint_make(&ends->local, af, p + size, get_u16(p + 2 * size + 2));
}

/* The bytes that are there of the first 16; total is set where all are. LOCAL's family is to be
 * ignored, so any will do. Over a stream nothing but streams can have been relayed. */
static bool v2_head(const uint8_t *p, uint32_t len, uint32_t *total) {
    uint32_t sign = len < sizeof v2_signature ? len : (uint32_t)sizeof v2_signature;
    if (memcmp(p, v2_signature, sign) != 0) {
        return false;
    }
    if (len > 12 && p[12] != V2_LOCAL && p[12] != V2_PROXY) {
        return false;
    }
    if (len > 13 && p[12] == V2_PROXY && (p[13] >> 4 >= V2_FAMILIES || (p[13] & 15) > V2_STREAM)) {
        return false;
    }
    if (len < V2_HEAD) {
        return true;
    }
    uint32_t body = get_u16(p + 14);
    *total = V2_HEAD + body;
    return *total <= PROXYPROTO_HEADER_MAX &&
           (p[12] == V2_LOCAL || body >= v2_ends_bytes[p[13] >> 4]);
}

static enum proxyproto_result v2_read(const uint8_t *p, uint32_t len,
                                      struct proxyproto_ends *ends, uint32_t *used) {
    uint32_t total = V2_HEAD;
    if (!v2_head(p, len, &total)) {
        return PROXYPROTO_BAD;
    }
    *used = total;
    if (len < total) {
        return PROXYPROTO_MORE;
    }
    if (p[12] == V2_LOCAL) {
        return PROXYPROTO_DONE;   /* all of the block is to be discarded, whatever it is */
    }
    uint8_t family = p[13] >> 4;
    if (!tlvs_are_right(p, V2_HEAD + v2_ends_bytes[family], total)) {
        return PROXYPROTO_BAD;
    }
    if (family != V2_UNSPEC && (p[13] & 15) == V2_STREAM) {
        v2_ends(p + V2_HEAD, family, ends);
    }
    return PROXYPROTO_DONE;
}

enum proxyproto_result proxyproto_read(const uint8_t *p, uint32_t len,
                                       struct proxyproto_ends *ends, uint32_t *used) {
    *ends = (struct proxyproto_ends){0};
    *used = 1;
    if (len == 0) {
        return PROXYPROTO_MORE;
    }
    if (p[0] == v2_signature[0]) {
        return v2_read(p, len, ends, used);
    }
    return v1_read((struct str){(const char *)p, len}, ends, used);
}

/* --- Writing ------------------------------------------------------------------------------ */

static void text_ip(struct text *text, const struct endpoint *e, bool ipv6) {
    char printed[ADDR_TEXT_MAX];
    text_str(text, ipv6 && e->family == AF_INET ? STR("::ffff:") : STR(""));
    text_str(text, str_of(endpoint_print(e, printed)));
    text_char(text, ' ');
}

/* UNKNOWN: the server then takes our own address for the client's, as it must without a header. */
uint32_t proxyproto_write_v1(const struct proxyproto_ends *ends,
                             uint8_t to[PROXYPROTO_WRITE_MAX]) {
    struct text text = text_on((char *)to, PROXYPROTO_V1_MAX);
    bool ipv6 = !ends_are_ipv4(ends);
    text_str(&text, V1_BEGIN);
    if (ends_are_ip(ends)) {
        text_str(&text, ipv6 ? STR("TCP6 ") : STR("TCP4 "));
        text_ip(&text, &ends->client, ipv6);
        text_ip(&text, &ends->local, ipv6);
        text_u64(&text, ends->client.port);
        text_char(&text, ' ');
        text_u64(&text, ends->local.port);
    } else {
        text_str(&text, STR("UNKNOWN"));
    }
    text_str(&text, STR("\r\n"));
    ensure(!text.cut);
    return text.len;
}

/* A header of v2 that grows; the head's length is set at the end. */
struct v2_pen {
    uint8_t *p;
    uint32_t len;
};

static void pen_put(struct v2_pen *pen, const void *bytes, uint32_t len) {
    ensure(len <= PROXYPROTO_WRITE_MAX - pen->len);
    if (len > 0) {
        memcpy(pen->p + pen->len, bytes, len);
    }
    pen->len += len;
}

static void pen_tlv(struct v2_pen *pen, enum v2_type type, const void *bytes, uint32_t len) {
    uint8_t head[TLV_HEAD] = {(uint8_t)type};
    put_u16(head + 1, len);
    pen_put(pen, head, sizeof head);
    pen_put(pen, bytes, len);
}

static void pen_text(struct v2_pen *pen, enum v2_type type, struct str text, uint32_t max) {
    if (text.len > 0 && text.len <= max) {
        pen_tlv(pen, type, text.p, text.len);
    }
}

static void pen_ends(struct v2_pen *pen, const struct proxyproto_ends *ends) {
    uint8_t client[16], local[16], ports[4];
    if (ends_are_ipv4(ends)) {
        pen_put(pen, ends->client.ip, 4);
        pen_put(pen, ends->local.ip, 4);
    } else {
        endpoint_ip6(&ends->client, client);
        endpoint_ip6(&ends->local, local);
        pen_put(pen, client, sizeof client);
        pen_put(pen, local, sizeof local);
    }
    put_u16(ports, ends->client.port);
    put_u16(ports + 2, ends->local.port);
    pen_put(pen, ports, sizeof ports);
}

/* verify is zero only for a certificate of the client's that was verified, and none is asked for.
 * The length is known when the inner TLVs are there. */
static void pen_ssl(struct v2_pen *pen, const struct proxyproto_more *more) {
    static const uint8_t head[SSL_HEAD] = {SSL_CLIENT, [SSL_HEAD - 1] = 1};
    uint32_t at = pen->len;
    pen_tlv(pen, TYPE_SSL, head, sizeof head);
    pen_text(pen, SUBTYPE_SSL_VERSION, more->tls_version, PROXYPROTO_TLS_WORD_MAX);
    pen_text(pen, SUBTYPE_SSL_CIPHER, more->tls_cipher, PROXYPROTO_TLS_WORD_MAX);
    put_u16(pen->p + at + 1, pen->len - at - TLV_HEAD);
}

static void pen_more(struct v2_pen *pen, const struct proxyproto_more *more) {
    pen_text(pen, TYPE_AUTHORITY, more->authority, PROXYPROTO_AUTHORITY_MAX);
    if (more->tls) {
        pen_ssl(pen, more);
    }
    pen_text(pen, TYPE_UNIQUE_ID, more->unique_id, PROXYPROTO_UNIQUE_ID_MAX);
}

/* Without ends it is LOCAL and no more: every server must take that, and then heeds the
 * connection's own addresses, while PROXY with UNSPEC it is free to refuse. The sum goes last; it
 * costs nothing that counts, and whoever knows it must verify it. */
uint32_t proxyproto_write_v2(const struct proxyproto_ends *ends,
                             const struct proxyproto_more *more,
                             uint8_t to[PROXYPROTO_WRITE_MAX]) {
    struct v2_pen pen = {.p = to};
    bool ip = ends_are_ip(ends);
    enum v2_family family = ends_are_ipv4(ends) ? V2_INET : V2_INET6;
    uint8_t facts[V2_HEAD - sizeof v2_signature] = {V2_LOCAL};
    if (ip) {
        facts[0] = V2_PROXY;
        facts[1] = (uint8_t)(family << 4 | V2_STREAM);
    }
    pen_put(&pen, v2_signature, sizeof v2_signature);
    pen_put(&pen, facts, sizeof facts);
    if (!ip) {
        return pen.len;
    }
    pen_ends(&pen, ends);
    if (more != NULL) {
        pen_more(&pen, more);
    }
    static const uint8_t zeros[CRC_BYTES];
    pen_tlv(&pen, TYPE_CRC32C, zeros, sizeof zeros);
    put_u16(to + V2_HEAD - 2, pen.len - V2_HEAD);
    put_u32(to + pen.len - CRC_BYTES, header_crc(to, pen.len, pen.len - CRC_BYTES));
    return pen.len;
}
