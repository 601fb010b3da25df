/* Defines static calls of every kind: to a global, a static and a libc function, NULL and RET0. */
#include "calls.h"

unsigned long strlen(const char *s);

int add(int a, int b)
{
	return a + b;
}

int sub(int a, int b)
{
	return a - b;
}

static int local_add(int a, int b)
{
	return a + b + 1000;
}

static int counted;

void hook_count(int a)
{
	counted += a;
}

DEFINE_STATIC_CALL(op, add);
DEFINE_STATIC_CALL(local_op, local_add);
DEFINE_STATIC_CALL(length, strlen);
DEFINE_STATIC_CALL_NULL(hook, hook_count);
DEFINE_STATIC_CALL_RET0(policy, calls_self);
EXPORT_STATIC_CALL(op);
EXPORT_STATIC_CALL(policy);

int calls_self(int a)
{
	static_call_cond(hook)(1);
	return static_call(op)(a, 1) * 10000 + static_call(local_op)(a, 2) +
	       static_call(policy)(a) + counted;
}
