/* far: calls work through its static call, and prints which function that is and how far away. */
#include <stdint.h>
#include <stdio.h>

#include "work.h"

DEFINE_STATIC_CALL(work, far_work);

int main(void)
{
	uintptr_t trampoline = (uintptr_t)&static_call(work);
	uintptr_t func = (uintptr_t)static_call_query(work);
	uintptr_t distance = func > trampoline ? func - trampoline : trampoline - func;

	printf("work(41) = %d, ", static_call(work)(41));
	if (func == (uintptr_t)far_work || func == (uintptr_t)near_work)
		printf("by %s, %lu MiB from the trampoline\n",
		       func == (uintptr_t)far_work ? "far_work" : "near_work",
		       (unsigned long)(distance >> 20));
	else
		printf("by no function\n");
	return 0;
}
