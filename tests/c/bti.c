/*
 * A separate program, without libc, so that every object in it has landing pads and the kernel
 * guards its pages: it calls through trampolines directly and through a register.
 */
#include "static_call.h"

static int nine(void)
{
	return 9;
}

DEFINE_STATIC_CALL(direct, nine);
DEFINE_STATIC_CALL_NULL(nothing, void(void));
DEFINE_STATIC_CALL_RET0(zero, nine);

int (*volatile by_register)(void) = static_call(direct);

__attribute__((noreturn, used)) static void run(void)
{
	static_call_cond(nothing)();
	int sum = static_call(direct)() * 10 + by_register() + static_call(zero)();
	register long status __asm__("x0") = sum;
	register long number __asm__("x8") = 93;

	__asm__ volatile("svc #0" : : "r"(status), "r"(number));
	__builtin_unreachable();
}

/* The kernel enters by an exception return: no pad is needed, but none is lost. */
__asm__(".globl _start\n"
	".type _start, %function\n"
	"_start: hint 34\n"
	"	b run\n");
