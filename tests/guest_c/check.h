/* What the test programs share: cases by name, functions written at run time, threads. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "static_call.h"

struct test {
	const char *name;
	void (*run)(void);
};

static int failures;
static const char *skipped;

#define CHECK(got, wanted)                                                                         \
	do {                                                                                       \
		long got_ = (long)(got), wanted_ = (long)(wanted);                                 \
		if (got_ != wanted_) {                                                             \
			if (__atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED) < 5)                \
				printf("%s:%d: %s is %ld, not %s = %ld\n", __FILE__, __LINE__,     \
				       #got, got_, #wanted, wanted_);                              \
		}                                                                                  \
	} while (0)

/* Runs the tests that are named, or all; a line for each. */
static inline int run_tests(const struct test *tests, size_t count, int argc, char **argv)
{
	struct timespec before, after;
	int failed = 0;
	long ms;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < count; i++) {
		int wanted = argc < 2;

		for (int at = 1; at < argc; at++)
			wanted |= !strcmp(argv[at], tests[i].name);
		if (!wanted)
			continue;
		failures = 0;
		skipped = NULL;
		clock_gettime(CLOCK_MONOTONIC, &before);
		tests[i].run();
		clock_gettime(CLOCK_MONOTONIC, &after);
		ms = (after.tv_sec - before.tv_sec) * 1000 +
		     (after.tv_nsec - before.tv_nsec) / 1000000;
		if (skipped && !failures)
			printf("skip %s: %s\n", tests[i].name, skipped);
		else
			printf("%s %s %ld ms\n", failures ? "FAIL" : "ok", tests[i].name, ms);
		failed |= failures;
	}
	return !!failed;
}

typedef int function(int);

/* A function f(x) = 100 x + number, in a new page at an address or anywhere. */
static inline function *write_function(int number, void *at)
{
	const uint32_t code[] = {
		0xd503245f, /* bti c */
		0x52800c81, /* mov w1, #100 */
		0x1b017c00, /* mul w0, w0, w1 */
		0x11000000 | (uint32_t)number << 10, /* add w0, w0, #number */
		0xd65f03c0, /* ret */
	};
	void *page = mmap(at, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	memcpy(page, code, sizeof(code));
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
	__builtin___clear_cache((char *)page, (char *)page + sizeof(code));
	return (function *)(uintptr_t)page;
}

/* The same out of a branch's reach. */
static inline function *write_far_function(int number)
{
	uintptr_t here = (uintptr_t)write_far_function & ~(uintptr_t)0xffff;
	function *far = write_function(number, (void *)(here + ((uintptr_t)256 << 20)));
	intptr_t distance = (intptr_t)((uintptr_t)far - here);

	if (distance < (intptr_t)192 << 20 && distance > -((intptr_t)192 << 20)) {
		printf("the far function is near: %#lx\n", (unsigned long)far);
		exit(2);
	}
	return far;
}

static inline int count_files(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static inline pthread_t start(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, argument))
		abort();
	return thread;
}

/* Runs a function in a child: 0 if it made no CHECK fail. */
static inline int in_child(void (*run)(void))
{
	int status = -1;
	pid_t child = fork();

	if (!child) {
		alarm(200);
		failures = 0;
		run();
		_exit(failures ? 1 : skipped ? 77 : 0);
	}
	waitpid(child, &status, 0);
	return status;
}

#endif
