/*
 * Retargets static calls by the generated transform and calls them. Each line of output is a step,
 * or "= result" of a call with 7.
 */
#include "static_call.c"
#include <sys/mman.h>

extern char __executable_start[], end[]; /* from the linker: the program's memory */

static long one(long x) { return x + 1; }
static long two(long x) { return x + 2; }

extern long __SCT__plain(long), __SCT__none(long), __SCT__zero(long);
ARCH_DEFINE_STATIC_CALL_TRAMP(plain, one);
ARCH_DEFINE_STATIC_CALL_NULL_TRAMP(none);
ARCH_DEFINE_STATIC_CALL_RET0_TRAMP(zero);

static void update(const char *what, void *func)
{
	printf("to %s\n", what);
	arch_static_call_transform(NULL, __SCT__plain, func, false);
	printf("= %ld\n", __SCT__plain(7));
}

int main(void)
{
	static const u32 code[] = { 0xd503245f, 0x91000c00, 0xd65f03c0 }; /* bti c; add x0, x0, #3; ret */
	static u32 nothing[16];
	void *far = mmap((void *)0x7000000000, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (far == MAP_FAILED ||
	    mprotect(__executable_start, end - __executable_start, PROT_READ | PROT_WRITE | PROT_EXEC))
		return 1;
	memcpy(far, code, sizeof(code));
	__builtin___clear_cache(far, far + sizeof(code));
	image = (char *)__SCT__plain;

	printf("= %ld %ld %ld\n", __SCT__plain(7), __SCT__none(7), __SCT__zero(7));
	update("near", two);
	update("far", far);
	update("near", one);
	update("null", NULL);
	update("far", far);
	update("null", NULL);
	update("ret0", __static_call_return0);
	update("far", far);
	update("ret0", __static_call_return0);
	update("near", two);
	printf("to nothing\n");
	arch_static_call_transform(NULL, nothing + 4, two, false);
	return 0;
}
