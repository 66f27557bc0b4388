#include "scrypt.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 128
#define SCRATCH_BYTES ((size_t)LODE_SCRYPT_LANES_MAX * 1024 * BLOCK_BYTES)
#define SCRATCH_KEPT_MAX 4

/* Each width is compiled with both its functions; one of them has no use. */
#pragma GCC diagnostic ignored "-Wunused-function"

#define CORE(name) narrow_##name
#define TARGET
#define LANES 1
#include "scrypt_core.h"

#if defined(__x86_64__)

#define CORE(name) avx2_##name
#define TARGET __attribute__((target("avx2")))
#define LANES 2
#include "scrypt_core.h"

#define CORE(name) avx2_one_##name
#define TARGET __attribute__((target("avx2")))
#define LANES 1
#include "scrypt_core.h"

#define CORE(name) avx512_##name
#define TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,prefer-vector-width=512")))
#define LANES 4
#include "scrypt_core.h"

#define CORE(name) avx512_one_##name
#define TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw")))
#define LANES 1
#include "scrypt_core.h"

#endif

static const lode_scrypt_core NARROW = {
#if defined(__x86_64__)
    .name = "sse2",
#else
    .name = "portable",
#endif
    .widths = {{1, narrow_mix}, {2, narrow_mix_pair}},
    .lanes = 2,
};

#if defined(__x86_64__)
static const lode_scrypt_core AVX2 = {
    .name = "avx2",
    .widths = {{1, avx2_one_mix}, {2, avx2_one_mix_pair}, {4, avx2_mix_pair}},
    .lanes = 4,
};
static const lode_scrypt_core AVX512 = {
    .name = "avx512",
    .widths = {{1, avx512_one_mix}, {2, avx512_one_mix_pair}, {4, avx512_mix}, {8, avx512_mix_pair}},
    .lanes = 8,
};
#endif

static const lode_scrypt_core *available[3];
static size_t available_count;
static _Atomic(const lode_scrypt_core *) current = &NARROW;

void lode_scrypt_setup(void) {
    available_count = 0;
    available[available_count++] = &NARROW;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) {
        available[available_count++] = &AVX2;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
        available[available_count++] = &AVX512;
    }
#endif
    atomic_store_explicit(&current, available[available_count - 1], memory_order_release);
}

const lode_scrypt_core *lode_scrypt_current(void) {
    return atomic_load_explicit(&current, memory_order_acquire);
}

int lode_scrypt_select(const char *name) {
    for (size_t i = 0; i < available_count; i++) {
        if (strcmp(available[i]->name, name) == 0) {
            atomic_store_explicit(&current, available[i], memory_order_release);
            return 0;
        }
    }
    return -1;
}

static _Atomic(void *) kept[SCRATCH_KEPT_MAX];

void *lode_scrypt_scratch_take(void) {
    for (size_t i = 0; i < SCRATCH_KEPT_MAX; i++) {
        void *scratch = atomic_exchange_explicit(&kept[i], NULL, memory_order_acquire);
        if (scratch != NULL) {
            return scratch;
        }
    }
    return aligned_alloc(64, SCRATCH_BYTES);
}

void lode_scrypt_scratch_give(void *scratch) {
    for (size_t i = 0; i < SCRATCH_KEPT_MAX; i++) {
        void *empty = NULL;
        if (atomic_compare_exchange_strong_explicit(&kept[i], &empty, scratch, memory_order_release,
                                                    memory_order_relaxed)) {
            return;
        }
    }
    free(scratch);
}

/* HMAC-SHA256 (RFC 2104) with the key already absorbed: the states after the inner and outer padded key. */
typedef struct {
    uint32_t inner[8], outer[8];
} hmac_key;

static void hmac_key_set(const lode_sha256_backend *sha256, hmac_key *key, const uint8_t *secret, size_t bytes) {
    uint8_t block[64] = {0};
    if (bytes > 64) {
        uint32_t hash[8];
        lode_sha256(sha256, hash, secret, bytes);
        lode_store_words(block, hash, 8);
    } else if (bytes != 0) {
        memcpy(block, secret, bytes);
    }
    for (int i = 0; i < 64; i++) {
        block[i] ^= 0x36;
    }
    memcpy(key->inner, LODE_SHA256_IV, 32);
    sha256->compress(key->inner, block, 1);
    for (int i = 0; i < 64; i++) {
        block[i] ^= 0x36 ^ 0x5c;
    }
    memcpy(key->outer, LODE_SHA256_IV, 32);
    sha256->compress(key->outer, block, 1);
}

/* One block of PBKDF2 with one iteration: HMAC(key, salt || number); `inner` has taken `done` bytes, key included. */
static void pbkdf2_block(const lode_sha256_backend *sha256, const hmac_key *key, const uint32_t inner[8],
                         uint64_t done, const uint8_t *rest, size_t rest_bytes, uint32_t number, uint32_t out[8]) {
    uint8_t message[68], digest[32];
    uint32_t hash[8];
    memcpy(hash, inner, 32);
    if (rest_bytes != 0) {
        memcpy(message, rest, rest_bytes);
    }
    lode_store_be32(message + rest_bytes, number);
    lode_sha256_finish(sha256, hash, done, message, rest_bytes + 4);
    lode_store_words(digest, hash, 8);
    memcpy(out, key->outer, 32);
    lode_sha256_finish(sha256, out, 64, digest, 32);
}

/* `count` blocks of PBKDF2 of the salt, as words. */
static void pbkdf2(const lode_sha256_backend *sha256, const hmac_key *key, const uint8_t *salt, size_t bytes,
                   uint32_t (*out)[8], uint32_t count) {
    uint32_t inner[8];
    size_t whole = bytes / 64;
    memcpy(inner, key->inner, 32);
    sha256->compress(inner, salt, whole);
    for (uint32_t i = 0; i < count; i++) {
        pbkdf2_block(sha256, key, inner, 64 + whole * 64, salt + whole * 64, bytes % 64, i + 1, out[i]);
    }
}

/* The block to mix, its words in the little-endian order salsa20 works on. */
static void scrypt_open(const lode_sha256_backend *sha256, hmac_key *key, uint32_t block[32], const uint8_t *data,
                        size_t bytes) {
    uint32_t words[4][8];
    hmac_key_set(sha256, key, data, bytes);
    pbkdf2(sha256, key, data, bytes, words, 4);
    for (int i = 0; i < 32; i++) {
        block[i] = lode_swap32(words[i / 8][i % 8]);
    }
}

static void scrypt_close(const lode_sha256_backend *sha256, const hmac_key *key, const uint32_t block[32],
                         uint8_t hash[32]) {
    uint8_t salt[BLOCK_BYTES];
    uint32_t words[1][8];
    for (int i = 0; i < 32; i++) {
        lode_store_le32(salt + 4 * i, block[i]);
    }
    pbkdf2(sha256, key, salt, BLOCK_BYTES, words, 1);
    lode_store_words(hash, words[0], 8);
}

void lode_scrypt(const lode_sha256_backend *sha256, const lode_scrypt_core *core, uint8_t hash[32],
                 const uint8_t *data, size_t bytes, void *scratch) {
    hmac_key key;
    uint32_t block[32];
    scrypt_open(sha256, &key, block, data, bytes);
    core->widths[0].mix(block, scratch);
    scrypt_close(sha256, &key, block, hash);
}

void lode_scrypt_headers(const lode_sha256_backend *sha256, const lode_scrypt_core *core, uint8_t (*hashes)[32],
                         const uint8_t (*headers)[80], size_t count, void *scratch) {
    hmac_key keys[LODE_SCRYPT_LANES_MAX];
    uint32_t blocks[LODE_SCRYPT_LANES_MAX * 32];
    while (count != 0) {
        size_t lanes = count < core->lanes ? count : core->lanes;
        for (size_t i = 0; i < lanes; i++) {
            scrypt_open(sha256, &keys[i], blocks + 32 * i, headers[i], 80);
        }
        size_t width = 0;
        while (core->widths[width].lanes < lanes) {
            width++;
        }
        memset(blocks + 32 * lanes, 0, (core->widths[width].lanes - lanes) * BLOCK_BYTES);
        core->widths[width].mix(blocks, scratch);
        for (size_t i = 0; i < lanes; i++) {
            scrypt_close(sha256, &keys[i], blocks + 32 * i, hashes[i]);
        }
        hashes += lanes;
        headers += lanes;
        count -= lanes;
    }
}
