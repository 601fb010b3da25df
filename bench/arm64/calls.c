// SPDX-License-Identifier: MIT
/*
 * What a call executes, and what it takes: of a function that does nothing, by several ways.
 *
 *	calls time		nanoseconds a call
 *	calls count		instructions, by single steps (ptrace)
 *	calls once		each way once, for an emulator's log; prints where to look in it
 *
 * An instruction count is of all from the one that calls, or loads what is called, to the return
 * of what is called: of the target, or of the trampoline where there is none.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "static_call.h"

typedef void function(void);

void target(void);	      /* in target.c, linked in */
void target_of_library(void); /* in a shared object */

DEFINE_STATIC_CALL(near, target);
DEFINE_STATIC_CALL(far, target);
DEFINE_STATIC_CALL_NULL(null, target);
DEFINE_STATIC_CALL_RET0(ret0, target);

function *volatile pointer = target;

/* A function of each way that calls once, between two labels, and one that calls in a loop. */
#define WAY(name, call)                                                                            \
	extern char before_##name[], after_##name[];                                               \
	static __attribute__((__noinline__, __noclone__)) void once_##name(void)                   \
	{                                                                                          \
		__asm__ volatile("before_" #name ":");                                             \
		call;                                                                              \
		__asm__ volatile("after_" #name ":");                                              \
	}                                                                                          \
	static __attribute__((__noinline__, __noclone__)) void loop_##name(unsigned long count)    \
	{                                                                                          \
		while (count--) {                                                                  \
			call;                                                                      \
			__asm__ volatile("");                                                      \
		}                                                                                  \
	}

WAY(direct, target())
WAY(pointer, pointer())
WAY(plt, target_of_library())
WAY(near, static_call(near)())
WAY(far, static_call(far)())
WAY(null, static_call_cond(null)())
WAY(ret0, static_call(ret0)())

static const struct way {
	const char *name, *before, *after;
	function *once;
	void (*loop)(unsigned long);
} ways[] = {
#define ENTRY(name) { #name, before_##name, after_##name, once_##name, loop_##name },
	ENTRY(direct) ENTRY(pointer) ENTRY(plt) ENTRY(near) ENTRY(far) ENTRY(null) ENTRY(ret0)
};
enum { WAYS = sizeof(ways) / sizeof(*ways), ROUNDS = 11, CALLS = 200000 };

/* The static call `far` calls a copy of target() that no branch reaches. */
static int make_far(void)
{
	uintptr_t at = ((uintptr_t)target & -(uintptr_t)65536) + ((uintptr_t)1 << 30);
	uint32_t code = 0xd65f03c0; /* ret, as target() */
	void *page = mmap((void *)at, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return 1;
	memcpy(page, &code, sizeof(code));
	__builtin___clear_cache((char *)page, (char *)page + sizeof(code));
	if (mprotect(page, 65536, PROT_READ | PROT_EXEC))
		return 1;
	return static_call_update(far, (function *)page);
}

static void run_once(void)
{
	for (int way = 0; way < WAYS; way++)
		ways[way].once();
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time); /* this host has other work */
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

static void print_times(void)
{
	static double taken[WAYS][ROUNDS];

	for (int round = -1; round < ROUNDS; round++) {
		for (int way = 0; way < WAYS; way++) {
			double start = now();

			ways[way].loop(CALLS);
			if (round >= 0)
				taken[way][round] = (now() - start) / CALLS;
		}
	}
	for (int way = 0; way < WAYS; way++) {
		qsort(taken[way], ROUNDS, sizeof(double), compare);
		printf("time %s %.2f\n", ways[way].name, taken[way][ROUNDS / 2]);
	}
}

static int print_counts(void)
{
	pid_t child = fork();
	int status, way = 0;
	long count = -1;

	if (!child) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		run_once();
		_exit(0);
	}
	for (;;) {
		struct user_regs_struct registers;
		struct iovec io = { &registers, sizeof(registers) };

		if (waitpid(child, &status, 0) < 0 || WIFSIGNALED(status))
			return 1;
		if (WIFEXITED(status))
			return way == WAYS ? 0 : 1;
		if (ptrace(PTRACE_GETREGSET, child, NT_PRSTATUS, &io))
			return 1;
		if (way < WAYS && registers.pc == (uintptr_t)ways[way].before)
			count = 0;
		if (way < WAYS && count >= 0 && registers.pc == (uintptr_t)ways[way].after) {
			printf("count %s %ld\n", ways[way++].name, count);
			count = -1;
		}
		count += count >= 0;
		ptrace(PTRACE_SINGLESTEP, child, 0, 0);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int error = make_far();

	if (error) {
		fprintf(stderr, "no far target: %s\n", strerror(error));
		return 1;
	}
	run_once(); /* the procedure linkage table is filled */
	if (!strcmp(what, "time")) {
		print_times();
	} else if (!strcmp(what, "count")) {
		return print_counts();
	} else if (!strcmp(what, "once")) {
		for (int way = 0; way < WAYS; way++)
			printf("labels %s %p %p\n", ways[way].name, (const void *)ways[way].before,
			       (const void *)ways[way].after);
		fflush(stdout);
		run_once();
	} else {
		return 2;
	}
	return 0;
}
