// SPDX-License-Identifier: MIT
/* Callers in C: threads that call a function they were given, until they are told to stop. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

typedef uint64_t (*function)(uint64_t);

/* What a thread's calls returned: how often 0, its own argument, 1, 2, 3, and what was none of it. */
enum { ZERO, ARGUMENT, ONE, TWO, THREE, WRONG, KINDS };

struct caller {
	pthread_t thread;
	function call;
	uint64_t seen[KINDS];
};

static atomic_int stop;
static struct caller *callers;
static unsigned count;

int add(int a, int b)
{
	return a + b;
}

uint64_t one(uint64_t argument)
{
	(void)argument;
	return 1;
}

uint64_t two(uint64_t argument)
{
	(void)argument;
	return 2;
}

uint64_t three(uint64_t argument)
{
	(void)argument;
	return 3;
}

static void *run(void *data)
{
	struct caller *me = data;

	for (uint64_t argument = 1000; !atomic_load_explicit(&stop, memory_order_relaxed); argument++) {
		uint64_t result = me->call(argument);

		if (result == argument)
			me->seen[ARGUMENT]++;
		else if (result <= 3)
			me->seen[result ? ARGUMENT + result : ZERO]++;
		else
			me->seen[WRONG]++;
	}
	return 0;
}

/* Starts threads that call a function. Returns 0, or an errno value. */
int start_callers(function call, unsigned threads)
{
	int error = 0;

	atomic_store(&stop, 0);
	callers = calloc(threads, sizeof(*callers));
	for (count = 0; callers && count < threads && !error; count++) {
		callers[count].call = call;
		error = pthread_create(&callers[count].thread, 0, run, &callers[count]);
	}
	return error;
}

/* Adds up what they saw so far. */
void look_at_callers(uint64_t seen[KINDS])
{
	for (int kind = 0; kind < KINDS; kind++)
		for (unsigned i = seen[kind] = 0; i < count; i++)
			seen[kind] += __atomic_load_n(&callers[i].seen[kind], __ATOMIC_RELAXED);
}

/* Ends them, and adds up what they saw. */
void stop_callers(uint64_t seen[KINDS])
{
	atomic_store(&stop, 1);
	for (unsigned i = 0; i < count; i++) {
		pthread_join(callers[i].thread, 0);
		for (int kind = 0; kind < KINDS; kind++)
			seen[kind] += callers[i].seen[kind];
	}
	free(callers);
	count = 0;
}

/* Calls in a loop, with no thread: for a target that is to be seen at once. */
uint64_t call_once(function call, uint64_t argument)
{
	return call(argument);
}
