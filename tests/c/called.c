/* A static call that is called, and whose key nothing looks at. */
#include "static_call.h"

static int zero(void)
{
	return 0;
}

DEFINE_STATIC_CALL(called, zero);

int main(void)
{
	return static_call(called)();
}
