/* A static call and its update as functions, to be run one instruction after the other. */
#include "static_call.h"

int first(int a)
{
	return 100 * a + 1;
}

int second(int a)
{
	return 100 * a + 2;
}

DEFINE_STATIC_CALL(op, first);

int update(int (*func)(int), unsigned int flags)
{
	return static_call_update_flags(op, func, flags);
}

int call(int a)
{
	return static_call(op)(a);
}

int main(void)
{
	return update(second, 0) + call(1);
}
