/* A static call that nobody calls. */
#include "static_call.h"

static int lonely(void)
{
	return 1;
}

DEFINE_STATIC_CALL(unused, lonely);
