/* CRC-32C (Castagnoli), reflected, polynomial 0x82f63b78. Source: RFC 3720, B.4. */
#ifndef LODE_CRC32C_H
#define LODE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Must run once before the next function. */
void lode_crc32c_setup(void);
/* Continue from `value`, the CRC of what came before (0 at the start). */
uint32_t lode_crc32c(uint32_t value, const uint8_t *data, size_t bytes);
/* The same from tables, whatever the CPU has. */
uint32_t lode_crc32c_tables(uint32_t value, const uint8_t *data, size_t bytes);

#endif
