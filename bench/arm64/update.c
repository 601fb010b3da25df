// SPDX-License-Identifier: MIT
/*
 * What an update takes: ours, the same stores by hand, and what hookers do. Microseconds, medians;
 * the ways take turns.
 *
 *	update THREADS		that many threads call meanwhile
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "static_call.h"

enum { ROUNDS = 41, UPDATES = 40, MOST = 4 };

static __attribute__((__noinline__)) int one(int argument)
{
	return argument + 1;
}

static __attribute__((__noinline__)) int two(int argument)
{
	return argument + 2;
}

DEFINE_STATIC_CALL(ours, one);
DEFINE_STATIC_CALL(by_hand, one);

static int memory;
static int stop;

static void barrier(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0))
		abort();
}

static void maintain(const void *at)
{
	__asm__ volatile("dc cvau, %0\n\tdsb ish\n\tic ivau, %0\n\tdsb ish" : : "r"(at) : "memory");
}

/* A trampoline of inline-stub: bti c; slot; ldr x16, literal; br x16; literal. */
static char *trampoline(void)
{
	return (char *)(uintptr_t)STATIC_CALL_TRAMP(by_hand);
}

static uint32_t branch(const char *from, int (*to)(int))
{
	return 0x14000000 | ((uint32_t)(((uintptr_t)to - (uintptr_t)from) >> 2) & 0x3ffffff);
}

static void with_static_call_update(int (*target)(int))
{
	if (static_call_update(ours, target))
		abort();
}

static void with_static_call_update_of_old_code(int (*target)(int))
{
	if (static_call_update_flags(ours, target, STATIC_CALL_OLD_CODE))
		abort();
}

/* The same stores through the same kind of file, the same maintenance, the same two membarriers. */
static void with_stores_by_hand(int (*target)(int))
{
	char *at = trampoline();
	uint64_t literal = (uintptr_t)target;
	uint32_t slot = branch(at + 4, target);

	barrier();
	if (pwrite(memory, &literal, 8, (off_t)(uintptr_t)(at + 16)) != 8)
		abort();
	__asm__ volatile("dmb ishst" : : : "memory");
	if (pwrite(memory, &slot, 4, (off_t)(uintptr_t)(at + 4)) != 4)
		abort();
	maintain(at + 4);
	barrier();
}

static char *alias, *code; /* two mappings of one memfd: to write, and to execute */

/* Plain stores through a second, writable mapping of the code. */
static void with_stores_through_an_alias(int (*target)(int))
{
	barrier();
	__atomic_store_n((uint64_t *)(alias + 16), (uintptr_t)target, __ATOMIC_RELAXED);
	__asm__ volatile("dmb ishst" : : : "memory");
	__atomic_store_n((uint32_t *)(alias + 4), branch(code + 4, target), __ATOMIC_RELAXED);
	maintain(code + 4);
	barrier();
}

static char *hooked; /* a page of code */

/* As hookers do: a page made writable, a jump copied over code, no barrier for other threads. */
static void with_mprotect_and_memcpy(int (*target)(int))
{
	struct {
		uint32_t ldr, br;
		uint64_t address;
	} jump = { 0x58000050, 0xd61f0200, (uintptr_t)target };
	long page = sysconf(_SC_PAGESIZE);

	if (mprotect(hooked, (size_t)page, PROT_READ | PROT_WRITE | PROT_EXEC))
		abort();
	memcpy(hooked, &jump, sizeof(jump));
	__builtin___clear_cache(hooked, hooked + sizeof(jump));
	if (mprotect(hooked, (size_t)page, PROT_READ | PROT_EXEC))
		abort();
}

static const struct way {
	const char *name;
	void (*update)(int (*target)(int));
} ways[] = {
	{ "static_call_update", with_static_call_update },
	{ "by_hand", with_stores_by_hand },
	{ "static_call_update_old_code", with_static_call_update_of_old_code },
	{ "alias", with_stores_through_an_alias },
	{ "mprotect", with_mprotect_and_memcpy },
};
enum { WAYS = sizeof(ways) / sizeof(*ways) };

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

static void *run(void *unused)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		if ((unsigned)static_call(ours)(1) - 2 > 1 || (unsigned)static_call(by_hand)(1) - 2 > 1)
			abort();
	return unused;
}

static void prepare(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int file = memfd_create("code", 0);

	memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	/* Near to the functions, as branches have to reach them. */
	hooked = mmap((char *)((uintptr_t)one & -page) + (16 << 20), page, PROT_READ | PROT_EXEC,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory < 0 || file < 0 || ftruncate(file, (off_t)page) || hooked == MAP_FAILED)
		abort();
	alias = mmap(0, page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	code = mmap((char *)((uintptr_t)one & -page) + (32 << 20), page, PROT_READ | PROT_EXEC,
		    MAP_SHARED, file, 0);
	if (alias == MAP_FAILED || code == MAP_FAILED)
		abort();
	memcpy(alias, trampoline(), 40);
	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
}

int main(int argc, char **argv)
{
	static double taken[WAYS][ROUNDS];
	int (*targets[])(int) = { one, two };
	int threads = argc > 1 ? atoi(argv[1]) : 0;
	pthread_t callers[MOST];

	if (threads > MOST)
		return 2;
	prepare();
	for (int thread = 0; thread < threads; thread++)
		if (pthread_create(&callers[thread], 0, run, 0))
			abort();
	for (int round = -1; round < ROUNDS; round++) {
		for (int way = 0; way < WAYS; way++) {
			double start = now();

			for (int update = 0; update < UPDATES; update++)
				ways[way].update(targets[update % 2]);
			if (round >= 0)
				taken[way][round] = (now() - start) / UPDATES;
		}
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int thread = 0; thread < threads; thread++)
		pthread_join(callers[thread], 0);
	for (int way = 0; way < WAYS; way++) {
		qsort(taken[way], ROUNDS, sizeof(double), compare);
		printf("update/%d %s %.2f\n", threads, ways[way].name, taken[way][ROUNDS / 2]);
	}
	return 0;
}
