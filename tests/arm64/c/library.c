// SPDX-License-Identifier: MIT
/* A library with static calls of its own, and functions that say what it knows of them. */
#include <pthread.h>
#include <stdint.h>
#include "static_call.h"

/* Protected, or else the linker would branch to them by way of the procedure linkage table. */
__attribute__((visibility("protected"))) uint64_t library_one(uint64_t argument);
__attribute__((visibility("protected"))) uint64_t library_two(uint64_t argument);

DEFINE_STATIC_CALL(policy, library_one);
DEFINE_STATIC_CALL_NULL(hook, library_one);
DEFINE_STATIC_CALL_RET0(quota, library_one);

uint64_t library_one(uint64_t argument)
{
	(void)argument;
	return 1;
}

uint64_t library_two(uint64_t argument)
{
	(void)argument;
	return 2;
}

uint64_t call_policy(uint64_t argument)
{
	return static_call(policy)(argument);
}

uint64_t call_hook(uint64_t argument)
{
	return static_call(hook)(argument);
}

uint64_t call_quota(uint64_t argument)
{
	return static_call(quota)(argument);
}

/* The address of the function that the key has, or 0. */
uint64_t query_policy(void)
{
	return (uint64_t)static_call_query(policy);
}
