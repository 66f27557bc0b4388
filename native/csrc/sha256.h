/* SHA-256 for share verification: one table of functions per way of computing it.
 *
 * "Words" are the eight or sixteen 32-bit numbers SHA-256 works on, in host order; a hash in words is turned into
 * bytes (big-endian words, the order a header carries) only where bytes leave this library.
 */
#ifndef LODE_SHA256_H
#define LODE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define LODE_SCAN_LANES_MAX 4

typedef struct {
    const char *name;
    /* Feed `count` blocks of 64 bytes into `state`. */
    void (*compress)(uint32_t state[8], const uint8_t *blocks, size_t count);
    /* hash = SHA-256 of the 32 bytes of `hash`. */
    void (*hash_again)(uint32_t hash[8]);
    /* Climb a merkle branch: hash = SHA-256d(hash || branch[i]) for every i below `depth`. */
    void (*merkle_climb)(uint32_t hash[8], const uint32_t (*branch)[8], size_t depth);
    /* The same for two hashes and one branch. */
    void (*merkle_climb_pair)(uint32_t hashes[2][8], const uint32_t (*branch)[8], size_t depth);
    /* hash = SHA-256d of the 80-byte header given as 20 words. */
    void (*header)(uint32_t hash[8], const uint32_t header[20]);
    /* SHA-256d of `scan_lanes` headers that share the first 76 bytes: state after 64 bytes, words 16..18, and
     * nonces nonce, nonce + 1, ... as they stand in the header (little-endian). */
    void (*scan)(uint32_t hashes[LODE_SCAN_LANES_MAX][8], const uint32_t midstate[8], const uint32_t tail[3],
                 uint32_t nonce);
    unsigned scan_lanes;
} lode_sha256_backend;

extern const uint32_t LODE_SHA256_K[64];
extern const uint32_t LODE_SHA256_IV[8];
/* Round constants plus message schedule of the padding block that follows a 64-byte message. */
extern uint32_t LODE_SHA256_PADDING64_WK[64];

/* Must run once before anything else here; chooses the fastest backend. */
void lode_sha256_setup(void);
/* The backend in force; never NULL after the set-up. */
const lode_sha256_backend *lode_sha256_current(void);
/* Returns 0, or -1 when the name is unknown or the CPU lacks it. */
int lode_sha256_select(const char *name);
/* The SHA-NI backend, or NULL when this CPU (or this build) has none. */
const lode_sha256_backend *lode_sha256_ni(void);

/* Finish a message: `state` has taken `done` bytes (a multiple of 64), `rest` is what is left of it. */
void lode_sha256_finish(const lode_sha256_backend *backend, uint32_t state[8], uint64_t done, const uint8_t *rest,
                        size_t rest_bytes);
void lode_sha256(const lode_sha256_backend *backend, uint32_t hash[8], const uint8_t *message, size_t bytes);
void lode_sha256d(const lode_sha256_backend *backend, uint8_t out[32], const uint8_t *message, size_t bytes);

static inline uint32_t lode_load_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint32_t lode_load_le32(const uint8_t *p) {
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static inline void lode_store_be32(uint8_t *p, uint32_t x) {
    p[0] = (uint8_t)(x >> 24);
    p[1] = (uint8_t)(x >> 16);
    p[2] = (uint8_t)(x >> 8);
    p[3] = (uint8_t)x;
}

static inline void lode_store_le32(uint8_t *p, uint32_t x) {
    p[0] = (uint8_t)x;
    p[1] = (uint8_t)(x >> 8);
    p[2] = (uint8_t)(x >> 16);
    p[3] = (uint8_t)(x >> 24);
}

static inline uint32_t lode_swap32(uint32_t x) {
    return __builtin_bswap32(x);
}

static inline void lode_store_words(uint8_t *out, const uint32_t *words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        lode_store_be32(out + 4 * i, words[i]);
    }
}

static inline void lode_load_words(uint32_t *words, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        words[i] = lode_load_be32(bytes + 4 * i);
    }
}

#endif
