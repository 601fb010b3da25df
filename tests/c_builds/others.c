/* What calls.h declares, in a separate file; calls and updates from a second file. */
#include "calls.h"

#ifdef __cplusplus
extern "C" {
#endif

int one(int a)
{
	return 100 * a + 1;
}

int two(int a)
{
	return 100 * a + 2;
}

/* The same code as `one`: a linker may fold the two. */
int one_again(int a)
{
	return 100 * a + 1;
}

int concealed(int a)
{
	return 100 * a + 3;
}

static void count(int *counter)
{
	++*counter;
}

DEFINE_STATIC_CALL(op, one);
DEFINE_STATIC_CALL(concealed_call, concealed);
DEFINE_STATIC_CALL(LONG_NAME, one);
DEFINE_STATIC_CALL(undefined_call, undefined);
DEFINE_STATIC_CALL_NULL(hook, count);
DEFINE_STATIC_CALL_RET0(zero, one);

int call_op(int a)
{
	return static_call(op)(a);
}

/* The static call is not last, so it is not a tail call; the one in call_op is. */
int call_hook(int *counter)
{
	static_call_cond(hook)(counter);
	return *counter;
}

int update_op(int (*func)(int))
{
	return static_call_update(op, func) ? -1 : static_call_update(hook, count);
}

#ifdef __cplusplus
}
#endif
