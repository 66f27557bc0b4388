/* SHA-256 in plain C, the choice of a backend, and whole messages. Source: FIPS 180-4. */
#include "sha256.h"

#include <stdatomic.h>
#include <string.h>

const uint32_t LODE_SHA256_K[64] __attribute__((aligned(64))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

const uint32_t LODE_SHA256_IV[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

uint32_t LODE_SHA256_PADDING64_WK[64] __attribute__((aligned(64)));

#define ROTR(x, n) ((x) >> (n) | (x) << (32 - (n)))
#define SIGMA0(x) (ROTR(x, 2) ^ ROTR(x, 13) ^ ROTR(x, 22))
#define SIGMA1(x) (ROTR(x, 6) ^ ROTR(x, 11) ^ ROTR(x, 25))
#define GAMMA0(x) (ROTR(x, 7) ^ ROTR(x, 18) ^ (x) >> 3)
#define GAMMA1(x) (ROTR(x, 17) ^ ROTR(x, 19) ^ (x) >> 10)
#define CHOOSE(e, f, g) ((g) ^ ((e) & ((f) ^ (g))))
#define MAJORITY(a, b, c) (((a) & (b)) | ((c) & ((a) | (b))))

/* One round; the callers rotate the names of the eight variables instead of moving their values. */
#define ROUND(a, b, c, d, e, f, g, h, wk)                                  \
    do {                                                                   \
        uint32_t t = (h) + SIGMA1(e) + CHOOSE(e, f, g) + (wk);             \
        (d) += t;                                                          \
        (h) = t + SIGMA0(a) + MAJORITY(a, b, c);                           \
    } while (0)

#define EIGHT_ROUNDS(WK, i)                    \
    do {                                       \
        ROUND(a, b, c, d, e, f, g, h, WK(i));  \
        ROUND(h, a, b, c, d, e, f, g, WK(i + 1)); \
        ROUND(g, h, a, b, c, d, e, f, WK(i + 2)); \
        ROUND(f, g, h, a, b, c, d, e, WK(i + 3)); \
        ROUND(e, f, g, h, a, b, c, d, WK(i + 4)); \
        ROUND(d, e, f, g, h, a, b, c, WK(i + 5)); \
        ROUND(c, d, e, f, g, h, a, b, WK(i + 6)); \
        ROUND(b, c, d, e, f, g, h, a, WK(i + 7)); \
    } while (0)

#define SCHEDULE_FIRST(i) (w[i] + LODE_SHA256_K[i])
#define SCHEDULE_NEXT(i)                                                                                        \
    ((w[(i) & 15] += GAMMA1(w[((i) + 14) & 15]) + w[((i) + 9) & 15] + GAMMA0(w[((i) + 1) & 15])) + LODE_SHA256_K[i])
#define SCHEDULE_PADDING(i) LODE_SHA256_PADDING64_WK[i]

#define STATE_IN                                                                      \
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];                  \
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7]

#define STATE_OUT    \
    state[0] += a;   \
    state[1] += b;   \
    state[2] += c;   \
    state[3] += d;   \
    state[4] += e;   \
    state[5] += f;   \
    state[6] += g;   \
    state[7] += h

/* Overwrites `w`. */
static void portable_block(uint32_t state[8], uint32_t w[16]) {
    STATE_IN;
    EIGHT_ROUNDS(SCHEDULE_FIRST, 0);
    EIGHT_ROUNDS(SCHEDULE_FIRST, 8);
    for (unsigned i = 16; i < 64; i += 16) {
        EIGHT_ROUNDS(SCHEDULE_NEXT, i);
        EIGHT_ROUNDS(SCHEDULE_NEXT, i + 8);
    }
    STATE_OUT;
}

static void portable_padding64(uint32_t state[8]) {
    STATE_IN;
    for (unsigned i = 0; i < 64; i += 8) {
        EIGHT_ROUNDS(SCHEDULE_PADDING, i);
    }
    STATE_OUT;
}

static void portable_compress(uint32_t state[8], const uint8_t *blocks, size_t count) {
    uint32_t w[16];
    for (; count; count--, blocks += 64) {
        lode_load_words(w, blocks, 16);
        portable_block(state, w);
    }
}

static void portable_hash_again(uint32_t hash[8]) {
    uint32_t w[16] = {[8] = 0x80000000, [15] = 256};
    memcpy(w, hash, 32);
    memcpy(hash, LODE_SHA256_IV, 32);
    portable_block(hash, w);
}

static void portable_merkle_climb(uint32_t hash[8], const uint32_t (*branch)[8], size_t depth) {
    uint32_t w[16];
    for (size_t i = 0; i < depth; i++) {
        memcpy(w, hash, 32);
        memcpy(w + 8, branch[i], 32);
        memcpy(hash, LODE_SHA256_IV, 32);
        portable_block(hash, w);
        portable_padding64(hash);
        portable_hash_again(hash);
    }
}

static void portable_merkle_climb_pair(uint32_t hashes[2][8], const uint32_t (*branch)[8], size_t depth) {
    portable_merkle_climb(hashes[0], branch, depth);
    portable_merkle_climb(hashes[1], branch, depth);
}

static void portable_scan(uint32_t hashes[LODE_SCAN_LANES_MAX][8], const uint32_t midstate[8],
                          const uint32_t tail[3], uint32_t nonce) {
    uint32_t w[16] = {tail[0], tail[1], tail[2], lode_swap32(nonce), 0x80000000, [15] = 640};
    memcpy(hashes[0], midstate, 32);
    portable_block(hashes[0], w);
    portable_hash_again(hashes[0]);
}

static void portable_header(uint32_t hash[8], const uint32_t header[20]) {
    uint32_t w[16], out[LODE_SCAN_LANES_MAX][8];
    memcpy(w, header, 64);
    memcpy(hash, LODE_SHA256_IV, 32);
    portable_block(hash, w);
    portable_scan(out, hash, header + 16, lode_swap32(header[19]));
    memcpy(hash, out[0], 32);
}

static const lode_sha256_backend PORTABLE = {
    .name = "portable",
    .compress = portable_compress,
    .hash_again = portable_hash_again,
    .merkle_climb = portable_merkle_climb,
    .merkle_climb_pair = portable_merkle_climb_pair,
    .header = portable_header,
    .scan = portable_scan,
    .scan_lanes = 1,
};

static _Atomic(const lode_sha256_backend *) current = &PORTABLE;

void lode_sha256_setup(void) {
    uint32_t w[16] = {0x80000000, [15] = 512};
    for (unsigned i = 0; i < 16; i++) {
        LODE_SHA256_PADDING64_WK[i] = SCHEDULE_FIRST(i);
    }
    for (unsigned i = 16; i < 64; i++) {
        LODE_SHA256_PADDING64_WK[i] = SCHEDULE_NEXT(i);
    }
    if (lode_sha256_ni() != NULL) {
        atomic_store_explicit(&current, lode_sha256_ni(), memory_order_release);
    }
}

const lode_sha256_backend *lode_sha256_current(void) {
    return atomic_load_explicit(&current, memory_order_acquire);
}

int lode_sha256_select(const char *name) {
    const lode_sha256_backend *known[] = {&PORTABLE, lode_sha256_ni()};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i] != NULL && strcmp(known[i]->name, name) == 0) {
            atomic_store_explicit(&current, known[i], memory_order_release);
            return 0;
        }
    }
    return -1;
}

void lode_sha256_finish(const lode_sha256_backend *backend, uint32_t state[8], uint64_t done, const uint8_t *rest,
                        size_t rest_bytes) {
    uint64_t bits = (done + rest_bytes) * 8;
    uint8_t last[128] = {0};
    size_t whole = rest_bytes / 64;
    backend->compress(state, rest, whole);
    rest_bytes -= whole * 64;
    if (rest_bytes != 0) {
        memcpy(last, rest + whole * 64, rest_bytes);
    }
    last[rest_bytes] = 0x80;
    size_t blocks = rest_bytes < 56 ? 1 : 2;
    lode_store_be32(last + blocks * 64 - 8, (uint32_t)(bits >> 32));
    lode_store_be32(last + blocks * 64 - 4, (uint32_t)bits);
    backend->compress(state, last, blocks);
}

void lode_sha256(const lode_sha256_backend *backend, uint32_t hash[8], const uint8_t *message, size_t bytes) {
    memcpy(hash, LODE_SHA256_IV, 32);
    lode_sha256_finish(backend, hash, 0, message, bytes);
}

void lode_sha256d(const lode_sha256_backend *backend, uint8_t out[32], const uint8_t *message, size_t bytes) {
    uint32_t hash[8];
    lode_sha256(backend, hash, message, bytes);
    backend->hash_again(hash);
    lode_store_words(out, hash, 8);
}
