// SPDX-License-Identifier: MIT
/* A library with static calls of its own, and functions that say what it knows of them. */
#include <pthread.h>
#include <stdint.h>
#include "static_call.h"

/* Protected, or else the linker would branch to them by way of the procedure linkage table. */
__attribute__((visibility("protected"))) uint64_t library_one(uint64_t argument);
__attribute__((visibility("protected"))) uint64_t library_two(uint64_t argument);

DEFINE_STATIC_CALL(policy, library_one);
EXPORT_STATIC_CALL(policy);
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

static pthread_t updater;
static int stop, failed;

static void *update_policy(void *unused)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		if (static_call_update(policy, library_two) ||
		    static_call_update(policy, __static_call_return0) ||
		    static_call_update(policy, library_one))
			__atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
	return unused;
}

/* A thread in C updates the static call until it is stopped. Returns 0, or an errno value. */
int start_updater(void)
{
	__atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
	return pthread_create(&updater, 0, update_policy, 0);
}

/* Returns whether an update failed. */
int stop_updater(void)
{
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(updater, 0);
	return failed;
}
