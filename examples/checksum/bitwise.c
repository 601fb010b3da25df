/* A bit at a time: no table, and it runs anywhere. */
#include "checksum.h"

uint32_t crc32_bitwise(uint32_t crc, const unsigned char *data, size_t size)
{
	crc = ~crc;
	while (size--) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}
