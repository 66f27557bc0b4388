#include "crc32c.h"

#include <string.h>

/* TABLE[k][b]: what byte b contributes when k more bytes follow it. */
static uint32_t TABLE[8][256];
static int has_sse42;

uint32_t lode_crc32c_tables(uint32_t value, const uint8_t *data, size_t bytes) {
    uint32_t crc = ~value;
    for (; bytes >= 8; bytes -= 8, data += 8) {
        uint32_t low = crc ^ ((uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
                              (uint32_t)data[3] << 24);
        crc = TABLE[7][low & 255] ^ TABLE[6][low >> 8 & 255] ^ TABLE[5][low >> 16 & 255] ^ TABLE[4][low >> 24] ^
              TABLE[3][data[4]] ^ TABLE[2][data[5]] ^ TABLE[1][data[6]] ^ TABLE[0][data[7]];
    }
    for (; bytes; bytes--, data++) {
        crc = TABLE[0][(crc ^ *data) & 255] ^ crc >> 8;
    }
    return ~crc;
}

#if defined(__x86_64__)

#include <immintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t value, const uint8_t *data, size_t bytes) {
    uint64_t crc = (uint32_t)~value;
    for (; bytes >= 8; bytes -= 8, data += 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        crc = _mm_crc32_u64(crc, word);
    }
    for (; bytes; bytes--, data++) {
        crc = _mm_crc32_u8((uint32_t)crc, *data);
    }
    return ~(uint32_t)crc;
}

#endif

void lode_crc32c_setup(void) {
    for (unsigned byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
        TABLE[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            TABLE[k][byte] = TABLE[0][TABLE[k - 1][byte] & 255] ^ TABLE[k - 1][byte] >> 8;
        }
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    has_sse42 = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

uint32_t lode_crc32c(uint32_t value, const uint8_t *data, size_t bytes) {
#if defined(__x86_64__)
    if (has_sse42) {
        return crc32c_sse42(value, data, bytes);
    }
#endif
    return lode_crc32c_tables(value, data, bytes);
}
