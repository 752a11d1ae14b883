/* Any bytes as a PROXY header: read the same however they are cut, taken just where an independent
 * reader takes them and with the same ends, and the same again once they are written anew. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/ensure.h"
#include "base/mem.h"
#include "net/proxyproto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- An independent reader: of all the bytes at once, by hand ----------------------------- */

struct reader {
    const uint8_t *p, *end;
};

static bool take(struct reader *r, const char *literal, size_t len) {
    if ((size_t)(r->end - r->p) < len || memcmp(r->p, literal, len) != 0) {
        return false;
    }
    r->p += len;
    return true;
}

/* A number in its one right form; at most `max`. */
static bool number(struct reader *r, unsigned base, unsigned digits_max, bool zeros, unsigned max,
                   unsigned *value) {
    unsigned digits = 0;
    const uint8_t *first = r->p;
    for (*value = 0; r->p < r->end && digits <= digits_max; digits++, r->p++) {
        const char *set = "0123456789abcdef0123456789ABCDEF";
        const char *at = *r->p != 0 ? strchr(set, *r->p) : NULL;
        unsigned digit = at != NULL ? (unsigned)(at - set) % 16 : 99;
        if (digit >= base) {
            break;
        }
        *value = *value * base + digit;
    }
    return digits > 0 && digits <= digits_max && *value <= max &&
           (zeros || digits == 1 || *first != '0');
}

static bool four(struct reader *r, uint8_t ip[16]) {
    for (int i = 0; i < 4; i++) {
        unsigned value;
        if ((i > 0 && !take(r, ".", 1)) || !number(r, 10, 3, false, 255, &value)) {
            return false;
        }
        ip[i] = (uint8_t)value;
    }
    return true;
}

/* Groups to the left of the gap and behind it; an IPv4 address may stand for the last two. */
static bool six(struct reader *r, uint8_t ip[16]) {
    uint8_t groups[20] = {0};
    int count = 0, gap = -1;
    if (take(r, "::", 2)) {
        gap = 0;
    }
    while (count < 8 && r->p < r->end && *r->p != ' ' && *r->p != '\r') {
        struct reader dotted = *r;
        unsigned value;
        if (count <= 6 && four(&dotted, groups + 2 * count)) {
            *r = dotted;
            count += 2;
            break;
        }
        if (!number(r, 16, 4, true, 0xffff, &value)) {
            return false;
        }
        groups[2 * count] = (uint8_t)(value >> 8);
        groups[2 * count++ + 1] = (uint8_t)value;
        if (take(r, "::", 2)) {
            if (gap >= 0) {
                return false;
            }
            gap = count;
        } else if (take(r, ":", 1)) {
            if (r->p == r->end || *r->p == ' ' || *r->p == ':') {
                return false;
            }
        } else {
            break;
        }
    }
    if (gap < 0 ? count != 8 : count > 7) {
        return false;
    }
    int left = gap < 0 ? 8 : gap;
    memset(ip, 0, 16);
    memcpy(ip, groups, 2u * (unsigned)left);
    memcpy(ip + 16 - 2 * (count - left), groups + 2 * left, 2u * (unsigned)(count - left));
    return true;
}

static struct endpoint end_of(bool v6, const uint8_t *ip, unsigned port) {
    struct endpoint e = {.family = v6 ? AF_INET6 : AF_INET, .port = (uint16_t)port};
    memcpy(e.ip, ip, v6 ? 16 : 4);
    if (v6 && memcmp(ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0) {
        e = (struct endpoint){.family = AF_INET, .port = (uint16_t)port};
        memcpy(e.ip, ip + 12, 4);
    }
    return e;
}

static bool v1(struct reader *r, struct proxyproto_ends *ends) {
    const uint8_t *begin = r->p;
    uint8_t client[16], local[16];
    unsigned client_port, local_port;
    if (take(r, "PROXY UNKNOWN", 13)) {
        if (r->p < r->end && *r->p != ' ' && *r->p != '\r') {
            return false;
        }
        while (r->p < r->end && *r->p != '\r' && *r->p != '\n') {
            r->p++;
        }
        return take(r, "\r\n", 2) && r->p - begin <= 107;
    }
    bool v6 = take(r, "PROXY TCP6 ", 11);
    bool (*address)(struct reader *, uint8_t *) = v6 ? six : four;
    if ((!v6 && !take(r, "PROXY TCP4 ", 11)) || !address(r, client) || !take(r, " ", 1) ||
        !address(r, local) || !take(r, " ", 1) || !number(r, 10, 5, false, 65535, &client_port) ||
        !take(r, " ", 1) || !number(r, 10, 5, false, 65535, &local_port) || !take(r, "\r\n", 2)) {
        return false;
    }
    *ends = (struct proxyproto_ends){true, end_of(v6, client, client_port),
                                     end_of(v6, local, local_port)};
    return r->p - begin <= 107;
}

static unsigned big(const uint8_t *p) {
    return p[0] * 256u + p[1];
}

static uint32_t crc32c(const uint8_t *p, size_t len, const uint8_t *zeros) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len; i++) {
        crc ^= p + i >= zeros && p + i < zeros + 4 ? 0 : p[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

/* The TLVs of p..end, of which the last must end there; sum: where the one sum's value stands. */
static bool tlvs(const uint8_t *p, const uint8_t *end, bool inner, const uint8_t **sum) {
    if (p == end) {
        return true;
    }
    if (end - p < 3 || end - p - 3 < (long)big(p + 1)) {
        return false;
    }
    const uint8_t *value = p + 3, *next = value + big(p + 1);
    if (!inner && *p == 3) {
        if (*sum != NULL || next - value != 4) {
            return false;
        }
        *sum = value;
    }
    if (!inner && ((*p == 5 && next - value > 128) ||
                   (*p == 0x20 && (next - value < 5 || !tlvs(value + 5, next, true, sum))))) {
        return false;
    }
    return tlvs(next, end, inner, sum);
}

static bool v2(struct reader *r, struct proxyproto_ends *ends, const uint8_t **sum) {
    static const unsigned sizes[] = {0, 12, 36, 216};
    const uint8_t *p = r->p;
    if (!take(r, "\r\n\r\n\0\r\nQUIT\n", 12) || r->end - r->p < 4 || (p[12] & 0xfe) != 0x20 ||
        r->end - r->p - 4 < (long)big(p + 14) || big(p + 14) > 4080) {
        return false;
    }
    r->p = p + 16 + big(p + 14);
    if (p[12] == 0x20) {
        return true;
    }
    unsigned family = p[13] / 16;
    if (p[13] % 16 > 1 || family > 3 || big(p + 14) < sizes[family] ||
        !tlvs(p + 16 + sizes[family], r->p, false, sum)) {
        return false;
    }
    if (*sum != NULL) {
        uint32_t crc = crc32c(p, (size_t)(r->p - p), *sum);
        if (big(*sum) != crc >> 16 || big(*sum + 2) != (crc & 0xffff)) {
            return false;
        }
    }
    unsigned size = family == 1 ? 4 : 16;
    ends->told = family != 0 && p[13] % 16 == 1;
    if (ends->told && family == 3) {
        ends->client.family = ends->local.family = AF_UNIX;
    } else if (ends->told) {
        ends->client = end_of(family == 2, p + 16, big(p + 16 + 2 * size));
        ends->local = end_of(family == 2, p + 16 + size, big(p + 18 + 2 * size));
    }
    return true;
}

static bool second_opinion(const uint8_t *p, uint32_t len, struct proxyproto_ends *ends,
                           uint32_t *used, const uint8_t **sum) {
    struct reader r = {p, p + len};
    *sum = NULL;
    *ends = (struct proxyproto_ends){0};
    bool taken = len > 0 && *p == '\r' ? v2(&r, ends, sum) : v1(&r, ends);
    *used = (uint32_t)(r.p - p);
    return taken;
}

/* --- The checks --------------------------------------------------------------------------- */

static bool ends_eq(const struct proxyproto_ends *a, const struct proxyproto_ends *b) {
    return a->told == b->told && memcmp(&a->client, &b->client, sizeof a->client) == 0 &&
           memcmp(&a->local, &b->local, sizeof a->local) == 0;
}

/* From a block of just that size, so that the sanitizer sees a read past it. */
static enum proxyproto_result read_exact(const uint8_t *p, uint32_t len,
                                        struct proxyproto_ends *ends, uint32_t *used) {
    uint8_t *exact = mem_alloc(len + 1);   /* one more, as 0 bytes are no block */
    memcpy(exact + 1, p, len);
    enum proxyproto_result result = proxyproto_read(exact + 1, len, ends, used);
    mem_free(exact);
    return result;
}

/* Byte by byte at first, then in steps up to the last byte that is needed. */
static uint32_t next_cut(uint32_t at, uint32_t needed) {
    if (at < 300 || at + 1 >= needed) {
        return at + 1;
    }
    return at + 61 < needed ? at + 61 : needed - 1;
}

/* In growing pieces the result is MORE until it is what it is for the whole, and stays that. */
static enum proxyproto_result read_cut(const uint8_t *p, uint32_t len,
                                       struct proxyproto_ends *ends, uint32_t *used) {
    enum proxyproto_result result = PROXYPROTO_MORE, whole;
    uint32_t needed = 0, last = 0;
    for (uint32_t at = 0; at <= len && result == PROXYPROTO_MORE; at = next_cut(at, needed)) {
        result = proxyproto_read(p, at, ends, used);
        last = at;
        ensure(result != PROXYPROTO_DONE || (at == *used && at >= needed));
        if (result == PROXYPROTO_MORE) {
            ensure(*used > at && *used <= PROXYPROTO_HEADER_MAX && !ends->told);
            needed = *used > needed ? *used : needed;
        }
    }
    struct proxyproto_ends again;
    uint32_t again_used;
    ensure(last == 0 || read_exact(p, last - 1, &again, &again_used) != PROXYPROTO_DONE);
    whole = read_exact(p, len, &again, &again_used);
    ensure(whole == result);
    ensure(result != PROXYPROTO_DONE || (again_used == *used && ends_eq(&again, ends)));
    return result;
}

/* Neither version can say what is not between IP addresses. */
static struct proxyproto_ends writable(const struct proxyproto_ends *ends) {
    return ends->told && ends->client.family != AF_UNIX ? *ends : (struct proxyproto_ends){0};
}

static void check_written(const struct proxyproto_ends *ends, struct str text) {
    struct proxyproto_ends wanted = writable(ends), got;
    const uint8_t *sum;
    uint8_t to[PROXYPROTO_WRITE_MAX];
    struct proxyproto_more more = {.tls = text.len % 2 == 1, .tls_version = text,
                                   .tls_cipher = text, .authority = text, .unique_id = text};
    for (int version = 1; version <= 2; version++) {
        uint32_t used, len = version == 1 ? proxyproto_write_v1(ends, to)
                                          : proxyproto_write_v2(ends, &more, to);
        ensure(len <= sizeof to && (version == 2 || len <= PROXYPROTO_V1_MAX));
        ensure(read_cut(to, len, &got, &used) == PROXYPROTO_DONE && used == len);
        ensure(ends_eq(&got, &wanted));
        ensure(second_opinion(to, len, &got, &used, &sum) && used == len);
        ensure(ends_eq(&got, &wanted));
        ensure(version == 1 || (sum != NULL) == wanted.told);
    }
}

/* Returns where a sum stands, which may be wrong. */
static uint32_t check(const uint8_t *p, uint32_t len) {
    struct proxyproto_ends ends, second;
    uint32_t used, second_used;
    const uint8_t *sum;
    enum proxyproto_result result = read_cut(p, len, &ends, &used);
    bool taken = second_opinion(p, len, &second, &second_used, &sum);
    ensure(taken == (result == PROXYPROTO_DONE));
    if (taken) {
        ensure(used == second_used && ends_eq(&ends, &second));
        check_written(&ends, (struct str){(const char *)p, len < 300 ? len : 300});
    }
    return sum != NULL ? (uint32_t)(sum - p) : 0;
}

/* A sum is put right and the header read again, as luck would not find it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 2 * PROXYPROTO_HEADER_MAX) {
        return 0;
    }
    uint32_t at = check(data, (uint32_t)size);
    if (at > 0) {
        uint8_t *p = mem_alloc(size);
        memcpy(p, data, size);
        uint32_t crc = crc32c(p, 16 + big(p + 14), p + at);
        for (unsigned i = 0; i < 4; i++) {
            p[at + i] = (uint8_t)(crc >> (24 - 8 * i));
        }
        check(p, (uint32_t)size);
        mem_free(p);
    }
    return 0;
}
