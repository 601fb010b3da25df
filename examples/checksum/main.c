/*
 * checksum [FILE...]: prints the CRC-32 of each file, or of its input, and which version made it.
 *
 * The exit status is 1 if a file could not be read or the policy refused it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "checksum.h"

static const char *version(void)
{
	static const struct {
		uint32_t (*func)(uint32_t crc, const unsigned char *data, size_t size);
		const char *name;
	} versions[] = {
		{ crc32_bitwise, "crc32_bitwise" },
		{ crc32_table, "crc32_table" },
		{ crc32_acle, "crc32_acle" },
	};

	for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
		if (static_call_query(crc32) == versions[i].func)
			return versions[i].name;
	return "something else";
}

static int checksum(const char *name, FILE *file)
{
	static unsigned char block[1 << 16];
	uint32_t crc = 0;
	size_t size;

	while ((size = fread(block, 1, sizeof block, file)) > 0) {
		crc = static_call(crc32)(crc, block, size);
		static_call_cond(trace)(name, size, crc);
	}
	if (ferror(file)) {
		fprintf(stderr, "checksum: %s: %s\n", name, strerror(errno));
		return 1;
	}
	printf("%08lx  %s  (%s)\n", (unsigned long)crc, name, version());
	return 0;
}

static int checksum_file(const char *name)
{
	FILE *file;
	int status;

	if (static_call(policy)(name)) {
		fprintf(stderr, "checksum: %s: refused by the policy\n", name);
		return 1;
	}
	file = fopen(name, "rb");
	if (!file) {
		fprintf(stderr, "checksum: %s: %s\n", name, strerror(errno));
		return 1;
	}
	status = checksum(name, file);
	fclose(file);
	return status;
}

int main(int argc, char **argv)
{
	int status = 0;

	if (argc < 2)
		return checksum("-", stdin);
	for (int i = 1; i < argc; i++)
		status |= checksum_file(argv[i]);
	return status;
}
