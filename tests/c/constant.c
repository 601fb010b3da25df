/* Prints which function the key holds: an optimiser that sees the whole program must not guess. */
#include <stdio.h>

#include "static_call.h"

static int one(void)
{
	return 1;
}

static int two(void)
{
	return 2;
}

DEFINE_STATIC_CALL(number, one);

int main(void)
{
	printf("%d %d\n", static_call(number)(), static_call_query(number) == two ? 2 : 1);
	return 0;
}
