#include "share.h"

#include <stdlib.h>
#include <string.h>

#define NOT_HEX 0xff

static uint8_t hex_digit(uint8_t c) {
    uint8_t digit = (uint8_t)(c - '0');
    uint8_t letter = (uint8_t)((c | 0x20) - 'a');
    return digit < 10 ? digit : letter < 6 ? (uint8_t)(letter + 10) : NOT_HEX;
}

/* Parse exactly 2 * `bytes` digits. */
static int parse_bytes(lode_text field, uint8_t *out, size_t bytes) {
    if (field.text == NULL || field.bytes != 2 * bytes) {
        return -1;
    }
    for (size_t i = 0; i < bytes; i++) {
        uint8_t high = hex_digit(field.text[2 * i]), low = hex_digit(field.text[2 * i + 1]);
        if ((high | low) == NOT_HEX) {
            return -1;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

/* Parse a number of `digits_min` to 8 digits. */
static int parse_number(lode_text field, size_t digits_min, uint32_t *out) {
    uint32_t value = 0;
    if (field.text == NULL || field.bytes < digits_min || field.bytes > 8) {
        return -1;
    }
    for (size_t i = 0; i < field.bytes; i++) {
        uint8_t digit = hex_digit(field.text[i]);
        if (digit == NOT_HEX) {
            return -1;
        }
        value = value << 4 | digit;
    }
    *out = value;
    return 0;
}

int lode_job_prepare(lode_job *job, const uint8_t *coinbase1, size_t coinbase1_bytes, const uint8_t *coinbase2,
                     size_t coinbase2_bytes) {
    const lode_sha256_backend *sha256 = lode_sha256_current();
    size_t extranonce_bytes = job->extranonce1_bytes + job->extranonce2_bytes;
    size_t before = coinbase1_bytes % 64, whole = coinbase1_bytes - before;
    size_t message = before + extranonce_bytes + coinbase2_bytes;
    size_t blocks = (message + 9 + 63) / 64;
    uint64_t bits = ((uint64_t)whole + message) * 8;

    memcpy(job->midstate, LODE_SHA256_IV, 32);
    sha256->compress(job->midstate, coinbase1, whole / 64);

    job->tail = calloc(blocks, 64);
    if (job->tail == NULL) {
        return -1;
    }
    memcpy(job->tail, coinbase1 + whole, before);
    memcpy(job->tail + before + extranonce_bytes, coinbase2, coinbase2_bytes);
    job->tail[message] = 0x80;
    lode_store_be32(job->tail + blocks * 64 - 8, (uint32_t)(bits >> 32));
    lode_store_be32(job->tail + blocks * 64 - 4, (uint32_t)bits);

    job->extranonce_at = before;
    job->varying_blocks = (before + extranonce_bytes + 63) / 64;
    job->fixed_blocks = blocks - job->varying_blocks;
    job->key_bytes = extranonce_bytes + 12;
    return 0;
}

void lode_job_release(lode_job *job) {
    free(job->tail);
    job->tail = NULL;
}

int lode_job_key(const lode_job *job, uint8_t *key, const uint8_t *extranonce1, lode_text extranonce2,
                 lode_text ntime, lode_text nonce, lode_text version_bits, uint32_t version_mask) {
    uint32_t ntime_value, nonce_value, bits = 0, version = job->version;
    memcpy(key, extranonce1, job->extranonce1_bytes);
    key += job->extranonce1_bytes;
    if (parse_bytes(extranonce2, key, job->extranonce2_bytes) != 0) {
        return LODE_BAD_EXTRANONCE2;
    }
    key += job->extranonce2_bytes;
    if (parse_number(ntime, 8, &ntime_value) != 0) {
        return LODE_BAD_NTIME;
    }
    if (parse_number(nonce, 1, &nonce_value) != 0) {
        return LODE_BAD_NONCE;
    }
    if (version_bits.text == NULL || version_bits.bytes != 0) {
        if (parse_number(version_bits, 1, &bits) != 0 || (bits & ~version_mask) != 0) {
            return LODE_BAD_VERSION_BITS;
        }
        version = (job->version & ~version_mask) | bits;
    }
    if (ntime_value < job->ntime_min || ntime_value > job->ntime_max) {
        return LODE_NTIME_OUT_OF_RANGE;
    }
    lode_store_be32(key, ntime_value);
    lode_store_be32(key + 4, nonce_value);
    lode_store_be32(key + 8, version);
    return 0;
}

/* SHA-256d of the coinbase that the extranonces at the start of the key complete. */
static void coinbase_hash(const lode_job *job, const lode_sha256_backend *sha256, const uint8_t *key,
                          uint32_t hash[8]) {
    uint8_t varying[128];
    memcpy(varying, job->tail, job->varying_blocks * 64);
    memcpy(varying + job->extranonce_at, key, job->key_bytes - 12);
    memcpy(hash, job->midstate, 32);
    sha256->compress(hash, varying, job->varying_blocks);
    sha256->compress(hash, job->tail + job->varying_blocks * 64, job->fixed_blocks);
    sha256->hash_again(hash);
}

static void header_from_root(const lode_job *job, const uint8_t *key, const uint32_t root[8], uint32_t header[20]) {
    const uint8_t *numbers = key + job->key_bytes - 12;
    header[0] = lode_load_le32(numbers + 8);
    memcpy(header + 1, job->prev_words, 32);
    memcpy(header + 9, root, 32);
    header[17] = lode_load_le32(numbers);
    header[18] = lode_swap32(job->nbits);
    header[19] = lode_load_le32(numbers + 4);
}

void lode_job_header(const lode_job *job, const lode_sha256_backend *sha256, const uint8_t *key, uint32_t header[20]) {
    uint32_t root[8];
    coinbase_hash(job, sha256, key, root);
    sha256->merkle_climb(root, job->branch, job->depth);
    header_from_root(job, key, root, header);
}

int lode_meets(const uint8_t hash[32], const uint8_t target[32]) {
    for (int i = 7; i >= 0; i--) {
        uint32_t h = lode_load_le32(hash + 4 * i), t = lode_load_le32(target + 4 * i);
        if (h != t) {
            return h < t;
        }
    }
    return 1;
}

static uint8_t judge(const lode_job *job, const uint8_t hash[32], const uint8_t target[32]) {
    return lode_meets(hash, job->network_target) ? LODE_BLOCK : lode_meets(hash, target) ? LODE_SHARE : LODE_LOW;
}

static int verify_scrypt(const lode_job *job, const uint8_t *keys, const uint8_t *targets, size_t count,
                         uint8_t (*hashes)[32], uint8_t *verdicts) {
    const lode_sha256_backend *sha256 = lode_sha256_current();
    const lode_scrypt_core *core = lode_scrypt_current();
    void *scratch = lode_scrypt_scratch_take();
    if (scratch == NULL) {
        return -1;
    }
    for (size_t at = 0; at < count; at += core->lanes) {
        uint8_t headers[LODE_SCRYPT_LANES_MAX][80];
        size_t lanes = count - at < core->lanes ? count - at : core->lanes;
        for (size_t i = 0; i < lanes; i++) {
            uint32_t header[20];
            lode_job_header(job, sha256, keys + (at + i) * job->key_bytes, header);
            lode_store_words(headers[i], header, 20);
        }
        lode_scrypt_headers(sha256, core, hashes + at, (const uint8_t(*)[80])headers, lanes, scratch);
    }
    lode_scrypt_scratch_give(scratch);
    for (size_t i = 0; i < count; i++) {
        verdicts[i] = judge(job, hashes[i], targets + 32 * i);
    }
    return 0;
}

static void finish_sha256d(const lode_job *job, const lode_sha256_backend *sha256, const uint8_t *key,
                           const uint32_t root[8], uint8_t out[32]) {
    uint32_t header[20], hash[8];
    header_from_root(job, key, root, header);
    sha256->header(hash, header);
    lode_store_words(out, hash, 8);
}

int lode_job_verify(const lode_job *job, const uint8_t *keys, const uint8_t *targets, size_t count,
                    uint8_t (*hashes)[32], uint8_t *verdicts) {
    if (job->algorithm == LODE_SCRYPT) {
        return verify_scrypt(job, keys, targets, count, hashes, verdicts);
    }
    const lode_sha256_backend *sha256 = lode_sha256_current();
    size_t at = 0;
    for (; at + 2 <= count; at += 2) {
        const uint8_t *first = keys + at * job->key_bytes, *second = first + job->key_bytes;
        uint32_t roots[2][8];
        coinbase_hash(job, sha256, first, roots[0]);
        coinbase_hash(job, sha256, second, roots[1]);
        sha256->merkle_climb_pair(roots, job->branch, job->depth);
        finish_sha256d(job, sha256, first, roots[0], hashes[at]);
        finish_sha256d(job, sha256, second, roots[1], hashes[at + 1]);
    }
    if (at < count) {
        const uint8_t *last = keys + at * job->key_bytes;
        uint32_t root[8];
        coinbase_hash(job, sha256, last, root);
        sha256->merkle_climb(root, job->branch, job->depth);
        finish_sha256d(job, sha256, last, root, hashes[at]);
    }
    for (size_t i = 0; i < count; i++) {
        verdicts[i] = judge(job, hashes[i], targets + 32 * i);
    }
    return 0;
}

static int scan_sha256d(const uint8_t header[80], uint32_t first, uint64_t count, const uint8_t target[32],
                        uint32_t *found, uint64_t *done) {
    const lode_sha256_backend *sha256 = lode_sha256_current();
    const uint32_t target_top = lode_load_le32(target + 28);
    uint32_t midstate[8], tail[3];
    memcpy(midstate, LODE_SHA256_IV, 32);
    sha256->compress(midstate, header, 1);
    lode_load_words(tail, header + 64, 3);
    for (uint64_t at = 0; at < count; at += sha256->scan_lanes) {
        uint32_t hashes[LODE_SCAN_LANES_MAX][8];
        sha256->scan(hashes, midstate, tail, (uint32_t)(first + at));
        for (unsigned i = 0; i < sha256->scan_lanes && at + i < count; i++) {
            uint8_t hash[32];
            if (lode_swap32(hashes[i][7]) > target_top) {
                continue;
            }
            lode_store_words(hash, hashes[i], 8);
            if (lode_meets(hash, target)) {
                *found = (uint32_t)(first + at + i);
                *done = at + i + 1;
                return 1;
            }
        }
    }
    *done = count;
    return 0;
}

static int scan_scrypt(const uint8_t header[80], uint32_t first, uint64_t count, const uint8_t target[32],
                       uint32_t *found, uint64_t *done) {
    const lode_sha256_backend *sha256 = lode_sha256_current();
    const lode_scrypt_core *core = lode_scrypt_current();
    void *scratch = lode_scrypt_scratch_take();
    if (scratch == NULL) {
        return -1;
    }
    int result = 0;
    *done = count;
    for (uint64_t at = 0; at < count && result == 0; at += core->lanes) {
        uint8_t headers[LODE_SCRYPT_LANES_MAX][80], hashes[LODE_SCRYPT_LANES_MAX][32];
        size_t lanes = count - at < core->lanes ? (size_t)(count - at) : core->lanes;
        for (size_t i = 0; i < lanes; i++) {
            memcpy(headers[i], header, 76);
            lode_store_le32(headers[i] + 76, (uint32_t)(first + at + i));
        }
        lode_scrypt_headers(sha256, core, hashes, (const uint8_t(*)[80])headers, lanes, scratch);
        for (size_t i = 0; i < lanes && result == 0; i++) {
            if (lode_meets(hashes[i], target)) {
                *found = (uint32_t)(first + at + i);
                *done = at + i + 1;
                result = 1;
            }
        }
    }
    lode_scrypt_scratch_give(scratch);
    return result;
}

int lode_scan(enum lode_algorithm algorithm, const uint8_t header[80], uint32_t first, uint64_t count,
              const uint8_t target[32], uint32_t *found, uint64_t *done) {
    if (algorithm == LODE_SCRYPT) {
        return scan_scrypt(header, first, count, target, found, done);
    }
    return scan_sha256d(header, first, count, target, found, done);
}
