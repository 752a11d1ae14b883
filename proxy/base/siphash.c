/* SipHash-2-4 (Aumasson, Bernstein, 2012): a hash of texts that others choose. */
#include "base/str.h"

struct sip {
    uint64_t v[4];
};

static uint64_t rotated(uint64_t x, unsigned by) {
    return x << by | x >> (64 - by);
}

static void sip_round(struct sip *sip) {
    uint64_t *v = sip->v;
    v[0] += v[1];
    v[1] = rotated(v[1], 13) ^ v[0];
    v[0] = rotated(v[0], 32);
    v[2] += v[3];
    v[3] = rotated(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotated(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotated(v[1], 17) ^ v[2];
    v[2] = rotated(v[2], 32);
}

static void sip_take(struct sip *sip, uint64_t word) {
    sip->v[3] ^= word;
    sip_round(sip);
    sip_round(sip);
    sip->v[0] ^= word;
}

/* Up to eight bytes, the first one lowest. */
static uint64_t word_of(const char *p, uint32_t len) {
    uint64_t word = 0;
    for (uint32_t i = 0; i < len; i++) {
        word |= (uint64_t)(uint8_t)p[i] << (8 * i);
    }
    return word;
}

uint64_t str_hash_secret(struct str s, const uint64_t secrets[2]) {
    struct sip sip = {{secrets[0] ^ 0x736f6d6570736575u, secrets[1] ^ 0x646f72616e646f6du,
                       secrets[0] ^ 0x6c7967656e657261u, secrets[1] ^ 0x7465646279746573u}};
    uint32_t at = 0;
    for (; at + 8 <= s.len; at += 8) {
        sip_take(&sip, word_of(s.p + at, 8));
    }
    sip_take(&sip, word_of(s.p + at, s.len - at) | (uint64_t)s.len << 56);
    sip.v[2] ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(&sip);
    }
    return sip.v[0] ^ sip.v[1] ^ sip.v[2] ^ sip.v[3];
}
