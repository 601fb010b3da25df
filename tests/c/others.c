/* Calls what calls.c and names.cpp define, and defines one that names.cpp calls. */
#include "calls.h"

DECLARE_STATIC_CALL(hidden_name, int(int));

static int double_it(int a)
{
	return 2 * a;
}

DEFINE_STATIC_CALL(twice, double_it);

int others(int a)
{
	static_call_cond(hook)(1);
	return (int)static_call(length)("four") + static_call(op)(a, 3) + static_call(hidden_name)(a) +
	       (static_call_query(op) == add) + (static_call_query(hook) == 0) +
	       (static_call_query(twice) == double_it);
}
