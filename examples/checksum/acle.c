/* Eight bytes per instruction: for a CPU with FEAT_CRC32 (HWCAP_CRC32), which most have. */
#include <arm_acle.h>
#include <string.h>

#include "checksum.h"

uint32_t crc32_acle(uint32_t crc, const unsigned char *data, size_t size)
{
	crc = ~crc;
	for (; size >= 8; size -= 8, data += 8) {
		uint64_t word;

		memcpy(&word, data, sizeof word);
		crc = __crc32d(crc, word);
	}
	while (size--)
		crc = __crc32b(crc, *data++);
	return ~crc;
}
