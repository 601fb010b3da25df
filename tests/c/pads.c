/* A near function, one without a landing pad, and two far away: without a pad and with one. */
#include "static_call.h"

int near(void)
{
	return 1;
}

__asm__("	.text\n"
	"	.globl	bare\n"
	"	.type	bare, %function\n"
	"bare:	mov	w0, #2\n"
	"	ret\n"
	"	.size	bare, . - bare\n"
	"	.section .far, \"ax\"\n"
	"	.globl	away\n"
	"	.type	away, %function\n"
	"away:	mov	w0, #3\n"
	"	ret\n"
	"	.size	away, . - away\n"
	"	.globl	padded\n"
	"	.type	padded, %function\n"
	"padded: hint	#34\n"
	"	mov	w0, #4\n"
	"	ret\n"
	"	.size	padded, . - padded\n"
	"	.text\n");

DEFINE_STATIC_CALL(policy, near);

int main(void)
{
	return static_call(policy)();
}
