/* scrypt with N = 1024, r = 1, p = 1, the proof of work of Litecoin. Source: RFC 7914. */
#ifndef LODE_SCRYPT_H
#define LODE_SCRYPT_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

#define LODE_SCRYPT_LANES_MAX 8

#define LODE_SCRYPT_WIDTHS_MAX 4

/* Mix blocks of 128 bytes in place, with 128 KiB of scratch memory a block, aligned to 64 bytes. */
typedef void (*lode_scrypt_mix)(uint32_t *blocks, void *scratch);

typedef struct {
    const char *name;
    /* How many blocks can be mixed at a time: ascending from 1, and `lanes` of them is the largest. */
    struct {
        unsigned lanes;
        lode_scrypt_mix mix;
    } widths[LODE_SCRYPT_WIDTHS_MAX];
    unsigned lanes;
} lode_scrypt_core;

/* Must run once before anything else here; chooses the widest core the CPU has. */
void lode_scrypt_setup(void);
const lode_scrypt_core *lode_scrypt_current(void);
/* Returns 0, or -1 when the name is unknown or the CPU lacks it. */
int lode_scrypt_select(const char *name);

/* Scratch memory, kept for the next caller when it is given back; NULL when there is no memory. */
void *lode_scrypt_scratch_take(void);
void lode_scrypt_scratch_give(void *scratch);

/* hash = scrypt(password = salt = data). */
void lode_scrypt(const lode_sha256_backend *sha256, const lode_scrypt_core *core, uint8_t hash[32],
                 const uint8_t *data, size_t bytes, void *scratch);
/* The same for `count` messages of 80 bytes each, as many at a time as the core has lanes. */
void lode_scrypt_headers(const lode_sha256_backend *sha256, const lode_scrypt_core *core, uint8_t (*hashes)[32],
                         const uint8_t (*headers)[80], size_t count, void *scratch);

#endif
