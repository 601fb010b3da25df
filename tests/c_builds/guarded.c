/*
 * A program without a C library, so that every object in it has landing pads and its pages are
 * guarded: it updates a static call between near, far, NULL and RET0, and calls it by a branch and
 * by a register. The exit status is the number of the step that went wrong, or 0.
 *
 * static_call.c asks the C library for one thing in an update, the auxiliary vector; what else it
 * needs is for static_call_synchronize(), which nobody calls here: its symbols stay unresolved.
 */
#include "static_call.h"

unsigned long getauxval(unsigned long type);

#define AT_NULL 0

static unsigned long *auxiliary;

unsigned long getauxval(unsigned long type)
{
	const unsigned long *at;

	for (at = auxiliary; at[0] != AT_NULL; at += 2)
		if (at[0] == type)
			return at[1];
	return 0;
}

static int near(int a)
{
	return a + 1;
}

/* Out of reach: the linker is told to place .far away. */
__attribute__((__section__(".far"))) static int far(int a)
{
	return a + 2;
}

DEFINE_STATIC_CALL(op, near);

static int (*volatile by_register)(int) = static_call(op);

static int step(int (*func)(int), int result)
{
	return static_call_update(op, func) || static_call(op)(5) != result ||
	       by_register(5) != result;
}

__attribute__((__noreturn__, __used__)) void begin(unsigned long *stack);

__attribute__((__noreturn__, __used__)) void begin(unsigned long *stack)
{
	int (*const targets[])(int) = { near, far, 0, far, near, 0, near };
	const int results[] = { 6, 7, 5, 7, 6, 5, 6 };
	int wrong = 0;

	stack += stack[0] + 2; /* argc, argv, NULL */
	while (*stack)
		stack++; /* the environment */
	auxiliary = stack + 1;
	for (int i = 0; i < 7 && !wrong; i++)
		wrong = step(targets[i], results[i]) * (i + 1);
	if (!wrong && (static_call_update(op, __static_call_return0) || static_call(op)(5) ||
		       by_register(5)))
		wrong = 8;
	{
		register long status __asm__("x0") = wrong;
		register long number __asm__("x8") = 93;

		__asm__ volatile("svc #0" : : "r"(status), "r"(number));
	}
	__builtin_unreachable();
}

__asm__("	.globl	_start\n"
	"	.type	_start, %function\n"
	"_start: hint	34\n"
	"	mov	x0, sp\n"
	"	b	begin\n");
