/* Shares of the Bitcoin family: parse a submit into its key, rebuild the header, hash it, compare. */
#ifndef LODE_SHARE_H
#define LODE_SHARE_H

#include <stddef.h>
#include <stdint.h>

#include "scrypt.h"
#include "sha256.h"

#define LODE_EXTRANONCE_BYTES_MAX 32
#define LODE_KEY_BYTES_MAX (2 * LODE_EXTRANONCE_BYTES_MAX + 12)
#define LODE_BRANCH_DEPTH_MAX 32

enum lode_algorithm { LODE_SHA256D, LODE_SCRYPT };

enum lode_verdict { LODE_LOW = 0, LODE_SHARE = 1, LODE_BLOCK = 2 };

/* Why a submit has no key; the order is the order in which the fields are looked at. */
enum lode_key_error {
    LODE_BAD_EXTRANONCE2 = -1,
    LODE_BAD_NTIME = -2,
    LODE_BAD_NONCE = -3,
    LODE_BAD_VERSION_BITS = -4,
    LODE_NTIME_OUT_OF_RANGE = -5,
};

typedef struct {
    enum lode_algorithm algorithm;
    uint32_t version, nbits, ntime_min, ntime_max;
    uint32_t prev_words[8];
    uint8_t network_target[32];
    size_t extranonce1_bytes, extranonce2_bytes, key_bytes;
    /* The coinbase after its first whole blocks: `varying_blocks` blocks with room for the extranonces at
     * `extranonce_at`, then `fixed_blocks` that are the same for every share, padding included. */
    uint32_t midstate[8];
    uint8_t *tail;
    size_t extranonce_at, varying_blocks, fixed_blocks;
    uint32_t branch[LODE_BRANCH_DEPTH_MAX][8];
    size_t depth;
} lode_job;

/* Text of one field of a submit: `bytes` characters of one byte each; NULL when it cannot be hexadecimal. */
typedef struct {
    const uint8_t *text;
    size_t bytes;
} lode_text;

/* Build the coinbase part of a job whose plain fields are set. Returns 0, or -1 when there is no memory. */
int lode_job_prepare(lode_job *job, const uint8_t *coinbase1, size_t coinbase1_bytes, const uint8_t *coinbase2,
                     size_t coinbase2_bytes);
void lode_job_release(lode_job *job);

/* Write `job->key_bytes` bytes to `key`; returns 0 or a lode_key_error. `extranonce1` has the job's length. */
int lode_job_key(const lode_job *job, uint8_t *key, const uint8_t *extranonce1, lode_text extranonce2,
                 lode_text ntime, lode_text nonce, lode_text version_bits, uint32_t version_mask);
/* The header of a key (`job->key_bytes` bytes) as words. */
void lode_job_header(const lode_job *job, const lode_sha256_backend *sha256, const uint8_t *key, uint32_t header[20]);
/* Hash and judge `count` keys; `targets` are 32 bytes each, little-endian. Returns 0, or -1 when there is no memory. */
int lode_job_verify(const lode_job *job, const uint8_t *keys, const uint8_t *targets, size_t count,
                    uint8_t (*hashes)[32], uint8_t *verdicts);

/* Whether a hash, read as a little-endian number, is not above a target (32 bytes, little-endian). */
int lode_meets(const uint8_t hash[32], const uint8_t target[32]);

/* Try `count` nonces from `first`. Returns 1 and the nonce when one meets the target, 0 when none does, -1 when there
 * is no memory; `done` is the number of nonces tried, up to the one found. */
int lode_scan(enum lode_algorithm algorithm, const uint8_t header[80], uint32_t first, uint64_t count,
              const uint8_t target[32], uint32_t *found, uint64_t *done);

#endif
