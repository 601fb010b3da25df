/* CRC-32 as in zlib, gzip and PNG: three versions behind one static call, and two hooks. */
#ifndef CHECKSUM_H
#define CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "static_call.h"

/* Goes on from the CRC of what came before (0 for nothing) with `size` bytes more. */
uint32_t crc32_bitwise(uint32_t crc, const unsigned char *data, size_t size);
uint32_t crc32_table(uint32_t crc, const unsigned char *data, size_t size);
uint32_t crc32_acle(uint32_t crc, const unsigned char *data, size_t size);

DECLARE_STATIC_CALL(crc32, crc32_bitwise);

/* Told of every block that was read and the CRC up to it. Nobody listens by default. */
void trace_stderr(const char *name, size_t size, uint32_t crc);

DECLARE_STATIC_CALL(trace, trace_stderr);

/* Asked about every file before it is read; anything but 0 refuses it. By default all is allowed. */
int policy_no_dotfiles(const char *name);

DECLARE_STATIC_CALL(policy, policy_no_dotfiles);

#endif
