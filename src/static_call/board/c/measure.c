// SPDX-License-Identifier: MIT
/*
 * What calls and updates of static calls take here. Medians, lowest and highest of rounds in which the
 * ways take turns: nanoseconds and, where perf counts for us, cycles and instructions of user space.
 * The loop around a call is in it: `loop` is the loop alone.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "board.h"
#include "static_call.h"

enum { ROUNDS = 21, CALLS = 100000, UPDATES = 20 };

typedef void function(void);

#define NEVER_INLINE __attribute__((__noinline__))

static NEVER_INLINE void target(void)
{
	__asm__ volatile("");
}

static NEVER_INLINE void other(void)
{
	__asm__ volatile("" : : : "memory");
}

DEFINE_STATIC_CALL(near, target);
DEFINE_STATIC_CALL(far, target);
DEFINE_STATIC_CALL_NULL(null, target);
DEFINE_STATIC_CALL(updated, target);

static function *volatile pointer = target;
static function *far_copy; /* of target(), where no branch reaches */
static int calling;	   /* whether another thread calls */

#define LOOP(name, call)                                                                           \
	static NEVER_INLINE int name(void)                                                         \
	{                                                                                          \
		for (int i = 0; i < CALLS; i++) {                                                  \
			call;                                                                      \
			__asm__ volatile("");                                                      \
		}                                                                                  \
		return 0;                                                                          \
	}

LOOP(loop, (void)0)
LOOP(call_direct, target())
LOOP(call_pointer, pointer())
LOOP(call_near, static_call(near)())
LOOP(call_far, static_call(far)())
LOOP(call_null, static_call_cond(null)())

static int update(function *one, function *two, unsigned int flags)
{
	int error = 0;

	for (int i = 0; i < UPDATES && !error; i++)
		error = static_call_update_flags(updated, i % 2 ? one : two, flags);
	return error;
}

static int update_near(void)
{
	return update(target, other, 0);
}

static int update_near_old_code(void)
{
	return update(target, other, STATIC_CALL_OLD_CODE);
}

static int update_far(void)
{
	return far_copy ? update(target, far_copy, 0) : -1;
}

static int update_null(void)
{
	return update(target, 0, 0);
}

static struct way {
	const char *name;
	int (*run)(void);
	int times, error;
	double taken[3][ROUNDS]; /* nanoseconds, cycles, instructions; one call or update */
} ways[] = {
	{ .name = "loop", .run = loop, .times = CALLS },
	{ .name = "direct call", .run = call_direct, .times = CALLS },
	{ .name = "pointer call", .run = call_pointer, .times = CALLS },
	{ .name = "near call", .run = call_near, .times = CALLS },
	{ .name = "far call", .run = call_far, .times = CALLS },
	{ .name = "null call", .run = call_null, .times = CALLS },
	{ .name = "update, near to near", .run = update_near, .times = UPDATES },
	{ .name = "update, near to near, old code", .run = update_near_old_code, .times = UPDATES },
	{ .name = "update, near to far and back", .run = update_far, .times = UPDATES },
	{ .name = "update, near to null and back", .run = update_null, .times = UPDATES },
};
enum { WAYS = sizeof(ways) / sizeof(*ways), FIRST_UPDATE = 6 };

/* The first 64 bytes of perf_event_attr, since not every C library brings <linux/perf_event.h>. */
struct perf {
	uint32_t type, size;
	uint64_t config, period, sample, format, flags;
	uint32_t wakeup, breakpoint;
	uint64_t address;
};
enum { CYCLES = 0, INSTRUCTIONS = 1, EXCLUDE_KERNEL = 1 << 5, EXCLUDE_HYPERVISOR = 1 << 6 };

/* A counter of this thread's user space, or -1 where perf does not count for us. */
static int counter(uint64_t config)
{
	struct perf perf;

	memset(&perf, 0, sizeof(perf));
	perf.size = sizeof(perf);
	perf.config = config;
	perf.flags = EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR;
	return (int)syscall(SYS_perf_event_open, &perf, 0, -1, -1, 0ul);
}

static double counted(int file)
{
	uint64_t value = 0;

	return file >= 0 && read(file, &value, sizeof(value)) == sizeof(value) ? (double)value : 0;
}

static void make_far(void)
{
	uintptr_t at = ((uintptr_t)target & -(uintptr_t)65536) + ((uintptr_t)1 << 30);
	uint32_t code = 0xd65f03c0; /* ret */
	char *page = mmap((void *)at, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	memcpy(page, &code, sizeof(code));
	__builtin___clear_cache(page, page + sizeof(code));
	if (!mprotect(page, 65536, PROT_READ | PROT_EXEC))
		far_copy = (function *)(uintptr_t)page;
}

static void *keep_calling(void *unused)
{
	while (__atomic_load_n(&calling, __ATOMIC_RELAXED))
		static_call_cond(updated)();
	return unused;
}

static int compare(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

/* Measures ways from `first` on; `what` is added to their names. */
static void rounds(int first, const char *what, const int counters[2])
{
	static int printed;

	for (int round = -1; round < ROUNDS; round++) {
		for (int i = first; i < WAYS; i++) {
			double before[3] = { now() * 1e9, counted(counters[0]), counted(counters[1]) };
			double after[3];

			ways[i].error = ways[i].run();
			after[0] = now() * 1e9;
			after[1] = counted(counters[0]);
			after[2] = counted(counters[1]);
			for (int j = 0; round >= 0 && j < 3; j++)
				ways[i].taken[j][round] = (after[j] - before[j]) / ways[i].times;
		}
	}
	for (int i = first; i < WAYS; i++) {
		json("%s\n  \"%s%s\": {\"error\": %d", printed++ ? "," : "", ways[i].name, what,
		     ways[i].error);
		for (int j = 0; j < 3; j++) {
			const char *units[] = { "ns", "cycles", "instructions" };
			double *taken = ways[i].taken[j];

			qsort(taken, ROUNDS, sizeof(*taken), compare);
			if (!ways[i].error && (!j || counters[j - 1] >= 0))
				json(", \"%s\": [%.2f, %.2f, %.2f]", units[j], taken[ROUNDS / 2], taken[0],
				     taken[ROUNDS - 1]);
		}
		json("}");
	}
}

void measure(void)
{
	int counters[2] = { counter(CYCLES), counter(INSTRUCTIONS) };
	pthread_t caller;

	make_far();
	if (!far_copy || static_call_update(far, far_copy)) {
		for (int i = 0; i < WAYS; i++)
			if (ways[i].run == call_far)
				ways[i].run = update_far; /* fails, and says so */
		far_copy = 0;
	}
	rounds(0, "", counters);
	calling = 1;
	if (!pthread_create(&caller, 0, keep_calling, 0)) {
		rounds(FIRST_UPDATE, ", a thread calls", counters);
		__atomic_store_n(&calling, 0, __ATOMIC_RELAXED);
		pthread_join(caller, 0);
	}
	for (int i = 0; i < 2; i++)
		if (counters[i] >= 0)
			close(counters[i]);
}
