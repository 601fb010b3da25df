/* CRC-32 as in zlib, gzip and PNG: three versions that one static call can call, and two hooks. */
#ifndef CHECKSUM_H
#define CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "static_call.h"

/* Continues the CRC of earlier bytes (0 if there were none) with `size` more. */
uint32_t crc32_bitwise(uint32_t crc, const unsigned char *data, size_t size);
uint32_t crc32_table(uint32_t crc, const unsigned char *data, size_t size);
uint32_t crc32_acle(uint32_t crc, const unsigned char *data, size_t size);

DECLARE_STATIC_CALL(crc32, crc32_bitwise);

/* Called with every block that was read and the CRC so far. By default nobody listens. */
void trace_stderr(const char *name, size_t size, uint32_t crc);

DECLARE_STATIC_CALL(trace, trace_stderr);

/* Asked about every file before it is read; anything but 0 refuses it. By default all are allowed. */
int policy_no_dotfiles(const char *name);

DECLARE_STATIC_CALL(policy, policy_no_dotfiles);

#endif
