/*
 * Threads call through a static call while others update it, for as long as it takes to show that
 * no call ever goes wrong. Prints a row for each mode; exits with 1 if something was wrong.
 *
 * Usage: torture [-e] [-t CALLERS] [-u UPDATERS] [-c CALLS] [-n UPDATES] [-s SECONDS] [MODE...]
 *
 *	-t	threads that call (4)
 *	-u	threads that update (1)
 *	-c, -n	how many calls and updates each mode makes at least (1,000,000 and 10,000)
 *	-s	a mode that has not made them after this many seconds has failed (60)
 *	-e	unfetched calls do not fail a mode: for a machine that QEMU emulates, see below
 *
 * Every target returns a value that tells which one it is. The updaters number their updates. When
 * the update with number n begins, `begun` is set to n, and when it has returned 0, `done` is. A
 * caller reads `done` of each updater, calls, and reads `begun`: the call must have reached the
 * target of an update from `done` to `begun`. Another target is counted as stale; another value as
 * wrong.
 *
 * Between `done` and the call the caller reads slot and literal, too. Where these led to a target
 * that was right, and the call still went to an older one, then it ran an instruction that was in
 * memory no more: it is counted as unfetched and not as stale. A CPU may do that if a cache was not
 * maintained or its context not synchronised. A translator of user programs may, too, where it is
 * not told of what was written. QEMU's whole machine has no caches and no pipeline: there it is
 * QEMU's own fault, which went on with a translation of code that has changed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "static_call.h"

typedef long target(long);
typedef unsigned long number; /* of an update */

DEFINE_STATIC_CALL_NULL(hook, long(long));

enum {
	MOST = 16, /* threads of each kind */
	RING = 64, /* targets of a kind and an updater, in turn */
	PAGE = 4096,
	BATCH = 64, /* calls between two turns of another CPU, where there is one thread for all */
};

enum kind { NEAR, FAR, NOTHING, ZERO, KINDS };
enum { NEAR_BIT = 1 << NEAR, FAR_BIT = 1 << FAR, NOTHING_BIT = 1 << NOTHING, ZERO_BIT = 1 << ZERO };

static struct mode {
	const char *name;
	int kinds; /* used in turn */
	int fresh; /* the target's code is written for each update */
	int signals; /* callers are interrupted, and the handlers call */
	int forks; /* updaters fork children, which update and are killed */
	int snapshots; /* the process is forked at any moment, and the copy goes on */
} MODES[] = {
	{ "near", NEAR_BIT, 0, 0, 0, 0 },
	{ "far", FAR_BIT, 0, 0, 0, 0 },
	{ "null", NEAR_BIT | FAR_BIT | NOTHING_BIT, 0, 0, 0, 0 },
	{ "ret0", NEAR_BIT | FAR_BIT | ZERO_BIT, 0, 0, 0, 0 },
	{ "mix", NEAR_BIT | FAR_BIT | NOTHING_BIT | ZERO_BIT, 0, 0, 0, 0 },
	{ "fresh", NEAR_BIT | FAR_BIT, 1, 0, 0, 0 },
	{ "signals", NEAR_BIT | FAR_BIT | NOTHING_BIT | ZERO_BIT, 0, 1, 0, 0 },
	{ "fork", NEAR_BIT | FAR_BIT | NOTHING_BIT | ZERO_BIT, 0, 0, 1, 0 },
	{ "killed", NEAR_BIT | FAR_BIT | NOTHING_BIT | ZERO_BIT, 0, 0, 0, 1 },
};

static struct {
	int callers, updaters;
	unsigned long calls, updates;
	double seconds;
	int forgiving;
} wanted = { 4, 1, 1000000, 10000, 60, 0 };

static struct mode *mode;
static int stop;
static struct {
	unsigned long calls, updates, wrong, stale, unfetched, failed, handled, in_trampoline, children;
} counted;

/* On separate cache lines, so that callers wait for nothing but the trampoline. */
static struct updater {
	number begun, done;
	char *ring[2]; /* near and far: a page for each target */
	int index;
	pthread_t thread;
} updaters[MOST] __attribute__((__aligned__(256)));

static struct caller {
	number since[MOST]; /* 0, or 1 + the `done` that a call began with */
	pthread_t thread;
	long argument;
} callers[MOST] __attribute__((__aligned__(256)));

#define COUNT(what, by) __atomic_fetch_add(&counted.what, (unsigned long)(by), __ATOMIC_RELAXED)

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* ---- Targets -------------------------------------------------------------------------------- */

static enum kind kind_of(number n)
{
	int count = __builtin_popcount((unsigned int)mode->kinds), skip = (int)(n % (number)count);
	int kind = 0;

	for (;; kind++)
		if (mode->kinds >> kind & 1 && !skip--)
			return (enum kind)kind;
}

/* What the target of an update returns: never 0, never negative. */
static long value_of(const struct updater *updater, number n)
{
	long which = mode->fresh ? (long)(n & 0xffffff) : (long)(n % RING);

	return 0x40000000 | (long)updater->index << 24 | which;
}

/* What a call with a negative argument returns that reaches it. */
static long result_of(const struct updater *updater, number n, long argument)
{
	switch (kind_of(n)) {
	case NOTHING:
		return argument;
	case ZERO:
		return 0;
	default:
		return value_of(updater, n);
	}
}

static void write_code(char *at, long value)
{
	const uint32_t code[] = {
		0xd503245f, /* bti c */
		0xd2800000 | (uint32_t)(value & 0xffff) << 5, /* mov x0, #value & 0xffff */
		0xf2a00000 | (uint32_t)(value >> 16 & 0xffff) << 5, /* movk x0, #value >> 16, lsl 16 */
		0xd65f03c0, /* ret */
	};

	if (mprotect(at, PAGE, PROT_READ | PROT_WRITE))
		die("mprotect");
	memcpy(at, code, sizeof(code));
	if (mprotect(at, PAGE, PROT_READ | PROT_EXEC))
		die("mprotect");
	__builtin___clear_cache(at, at + sizeof(code));
}

static char *page_of(const struct updater *updater, number n)
{
	return updater->ring[kind_of(n) == FAR] + n % RING * PAGE;
}

/* Pages for the targets of an updater, within a branch's reach or out of it. */
static char *map_ring(int index, int is_far)
{
	uintptr_t here = (uintptr_t)STATIC_CALL_TRAMP(hook);
	intptr_t away = (intptr_t)(is_far ? 1024 : 64) << 20, distance;
	char *ring = (char *)mmap((void *)((here & ~(uintptr_t)0xffff) + (uintptr_t)away +
					   (uintptr_t)index * 2 * RING * PAGE),
				  RING * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				  -1, 0);

	if (ring == MAP_FAILED)
		die("mmap");
	distance = (intptr_t)((uintptr_t)ring - here);
	if ((distance > -((intptr_t)120 << 20) && distance < (intptr_t)120 << 20) == is_far) {
		fprintf(stderr, "torture: no room for targets that are %s\n",
			is_far ? "far" : "near");
		exit(2);
	}
	return ring;
}

static target *target_of(const struct updater *updater, number n)
{
	return (target *)(uintptr_t)page_of(updater, n);
}

/* ---- Calls ---------------------------------------------------------------------------------- */

static int is_known(long result, long argument)
{
	if (result == argument)
		return mode->kinds & NOTHING_BIT;
	if (result == 0)
		return mode->kinds & ZERO_BIT;
	if (result >> 24 < 0x40 || result >> 24 >= 0x40 + wanted.updaters)
		return 0;
	return mode->fresh || (result & 0xffffff) < RING;
}

/* Where slot and literal are, and the trampoline's own two targets. */
static struct {
	const uint32_t *slot;
	const uint64_t *literal;
	uintptr_t null, ret0;
} hook_at;

/* Where these words lead to: B with its 26 bits of signed words (Arm ARM C6.2.26), or NOP. */
static uintptr_t led_to(uint32_t slot, uint64_t literal)
{
	if (slot >> 26 != 5)
		return literal;
	return (uintptr_t)hook_at.slot + (uintptr_t)(intptr_t)((int32_t)(slot << 6) >> 4);
}

static uintptr_t leads_to(void)
{
	return led_to(__atomic_load_n(hook_at.slot, __ATOMIC_RELAXED),
		      __atomic_load_n(hook_at.literal, __ATOMIC_RELAXED));
}

/* Finds them, of a trampoline of the design inline-stub or adrp-stub. */
static void look_at_hook(void)
{
	const uint32_t *tramp = (const uint32_t *)(uintptr_t)STATIC_CALL_TRAMP(hook);
	int error;

	hook_at.slot = tramp + 1;
	if (tramp[2] == 0x58000050) { /* ldr x16, . + 8 */
		hook_at.literal = (const uint64_t *)(tramp + 4);
	} else { /* adrp x16; ldr x16, [x16, ...] */
		intptr_t pages = (int32_t)((tramp[2] & 0x00ffffe0) << 8) >> 11;

		pages |= tramp[2] >> 29 & 3;
		hook_at.literal = (const uint64_t *)(((uintptr_t)(tramp + 2) & ~(uintptr_t)4095) +
						     (uintptr_t)(pages * 4096) +
						     (tramp[3] >> 10 & 0xfff) * 8);
	}
	error = static_call_update(hook, NULL);
	hook_at.null = leads_to();
	error = error ? error : static_call_update(hook, __static_call_return0);
	hook_at.ret0 = leads_to();
	if (error || hook_at.null == hook_at.ret0) {
		fprintf(stderr, "torture: update: %s\n", strerror(error));
		exit(2);
	}
}

static int is_target(const struct updater *updater, number n, uintptr_t address)
{
	switch (kind_of(n)) {
	case NOTHING:
		return address == hook_at.null;
	case ZERO:
		return address == hook_at.ret0;
	default:
		return address == (uintptr_t)page_of(updater, n);
	}
}

/* A call that is checked. Handlers call too, and then `caller` is NULL. */
static void call(struct caller *caller, long argument)
{
	number since[MOST], until;
	uintptr_t told;
	long result;
	int i, unfetched = 0;

	for (i = 0; i < wanted.updaters; i++) {
		since[i] = __atomic_load_n(&updaters[i].done, __ATOMIC_ACQUIRE);
		if (caller)
			__atomic_store_n(&caller->since[i], since[i] + 1, __ATOMIC_RELAXED);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	told = leads_to();
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	result = static_call(hook)(argument);
	for (i = 0; i < wanted.updaters; i++) {
		if (caller)
			__atomic_store_n(&caller->since[i], 0, __ATOMIC_RELEASE);
		until = __atomic_load_n(&updaters[i].begun, __ATOMIC_ACQUIRE);
		for (number n = since[i]; n <= until && n < since[i] + RING; n++)
			if (result == result_of(&updaters[i], n, argument))
				return;
			else
				unfetched |= is_target(&updaters[i], n, told);
		/* Enough updates that every target was in between. */
		if (until >= since[i] + RING && !mode->fresh && is_known(result, argument))
			return;
		if (mode->fresh && result >> 24 == (0x40 | updaters[i].index) &&
		    (result & 0xffffff) >= (long)(since[i] & 0xffffff) &&
		    (result & 0xffffff) <= (long)(until & 0xffffff))
			return;
	}
	if (!is_known(result, argument))
		COUNT(wrong, 1);
	else if (unfetched)
		COUNT(unfetched, 1);
	else
		COUNT(stale, 1);
}

static void *call_all(void *argument)
{
	struct caller *caller = (struct caller *)argument;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (int i = 0; i < BATCH; i++)
			call(caller, --caller->argument);
		if (caller->argument < -0x3fffffff)
			caller->argument = 0;
		COUNT(calls, BATCH);
		__asm__ volatile("yield");
	}
	return NULL;
}

/* ---- Updates -------------------------------------------------------------------------------- */

/* Waits until no call that may be in an old target is in the one with this number. */
static void wait_for_callers(const struct updater *updater, number n)
{
	for (int i = 0; i < wanted.callers; i++) {
		number since;

		while ((since = __atomic_load_n(&callers[i].since[updater->index],
						__ATOMIC_ACQUIRE)) != 0 &&
		       since - 1 <= n && !__atomic_load_n(&stop, __ATOMIC_RELAXED))
			sched_yield();
	}
}

static int update(struct updater *updater, number n)
{
	switch (kind_of(n)) {
	case NOTHING:
		return static_call_update(hook, NULL);
	case ZERO:
		return static_call_update(hook, __static_call_return0);
	default:
		if (mode->fresh) {
			if (n >= RING)
				wait_for_callers(updater, n - RING);
			write_code(page_of(updater, n), value_of(updater, n));
			return static_call_update(hook, target_of(updater, n));
		}
		return static_call_update_flags(hook, target_of(updater, n),
						n & 1 ? STATIC_CALL_OLD_CODE : 0);
	}
}

static void update_once(struct updater *updater)
{
	number n = updater->begun + 1;
	int error;

	__atomic_store_n(&updater->begun, n, __ATOMIC_SEQ_CST);
	error = update(updater, n);
	if (error) {
		fprintf(stderr, "torture: update: %s\n", strerror(error));
		COUNT(failed, 1);
	}
	__atomic_store_n(&updater->done, n, __ATOMIC_RELEASE);
}

/* In a child, which is alone: each call after an update must reach its target. */
static int update_alone(int updates)
{
	for (int i = 0; i < updates; i++) {
		update_once(&updaters[0]);
		if (static_call(hook)(-7) != result_of(&updaters[0], updaters[0].done, -7))
			return 0;
	}
	return 1;
}

/* A child that updates until it is killed; or exits, if a call goes wrong. */
static void fork_and_kill(unsigned int *random)
{
	int status = 0;
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (!child) {
		while (update_alone(100))
			;
		_exit(1);
	}
	usleep((useconds_t)(rand_r(random) % 3000));
	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
		COUNT(wrong, 1);
	COUNT(children, 1);
}

static void *update_all(void *argument)
{
	struct updater *updater = (struct updater *)argument;
	unsigned int random = (unsigned int)updater->index + 1;

	for (number n = 1; !__atomic_load_n(&stop, __ATOMIC_RELAXED); n++) {
		update_once(updater);
		COUNT(updates, 1);
		if (mode->forks && n % 500 == 0)
			fork_and_kill(&random);
	}
	return NULL;
}

/* ---- What else goes on ----------------------------------------------------------------------- */

static void on_signal(int signal, siginfo_t *info, void *context)
{
	uintptr_t pc = (uintptr_t)((ucontext_t *)context)->uc_mcontext.pc;
	uintptr_t start = (uintptr_t)STATIC_CALL_TRAMP(hook);

	(void)signal;
	(void)info;
	COUNT(handled, 1);
	if (pc >= start && pc < start + 40)
		COUNT(in_trampoline, 1);
	call(NULL, -5);
	COUNT(calls, 1);
}

static void *interrupt_all(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (int i = 0; i < wanted.callers; i++)
			pthread_kill(callers[i].thread, SIGUSR1);
		usleep(100);
	}
	return none;
}

/*
 * Copies of the process without the updaters, as if they had been killed where they were: whatever
 * they had done, a call reaches the target of the last update or of one that was not done; and the
 * copy can update.
 */
static void *copy_all(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		int status = 0;
		pid_t child = fork();

		if (child < 0)
			die("fork");
		if (!child) {
			counted.wrong = counted.stale = counted.unfetched = counted.failed = 0;
			for (int i = 0; i < 10; i++)
				call(NULL, -i - 1);
			wanted.updaters = 1;
			if (counted.wrong || counted.stale ||
			    (counted.unfetched && !wanted.forgiving))
				_exit(1);
			_exit(!update_alone(20) || counted.failed);
		}
		if (waitpid(child, &status, 0) != child || status)
			COUNT(wrong, 1);
		COUNT(children, 1);
		usleep(500);
	}
	return none;
}

/* ---- Modes ---------------------------------------------------------------------------------- */

static void start(pthread_t *thread, void *(*run)(void *), void *argument)
{
	int error = pthread_create(thread, NULL, run, argument);

	if (error) {
		errno = error;
		die("pthread_create");
	}
}

static int run(struct mode *chosen)
{
	pthread_t other;
	double begin, seconds;
	int i, late = 0;

	mode = chosen;
	memset(&counted, 0, sizeof(counted));
	stop = 0;
	for (i = 0; i < wanted.updaters; i++) {
		updaters[i].index = i;
		updaters[i].begun = updaters[i].done = 0;
		for (number n = 0; n < RING; n++) {
			write_code(updaters[i].ring[0] + n * PAGE, value_of(&updaters[i], n));
			write_code(updaters[i].ring[1] + n * PAGE, value_of(&updaters[i], n));
		}
	}
	/* What every updater's number 0 leads to, or would. */
	if (update(&updaters[0], 0)) {
		fprintf(stderr, "torture: the first update failed\n");
		return 1;
	}
	begin = now();
	for (i = 0; i < wanted.callers; i++) {
		memset(&callers[i], 0, sizeof(callers[i]));
		start(&callers[i].thread, call_all, &callers[i]);
	}
	for (i = 0; i < wanted.updaters; i++)
		start(&updaters[i].thread, update_all, &updaters[i]);
	if (mode->signals)
		start(&other, interrupt_all, NULL);
	if (mode->snapshots)
		start(&other, copy_all, NULL);
	while (!late && (__atomic_load_n(&counted.calls, __ATOMIC_RELAXED) < wanted.calls ||
			 __atomic_load_n(&counted.updates, __ATOMIC_RELAXED) < wanted.updates)) {
		usleep(5000);
		late = now() - begin > wanted.seconds;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	if (mode->signals || mode->snapshots)
		pthread_join(other, NULL);
	for (i = 0; i < wanted.updaters; i++)
		pthread_join(updaters[i].thread, NULL);
	for (i = 0; i < wanted.callers; i++)
		pthread_join(callers[i].thread, NULL);
	seconds = now() - begin;
	printf("%-8s  %7d  %8d  %10lu  %8lu  %5lu  %5lu  %9lu  %7.1f", mode->name, wanted.callers,
	       wanted.updaters, counted.calls, counted.updates, counted.wrong, counted.stale,
	       counted.unfetched, seconds);
	if (mode->signals)
		printf("  %lu signals, %lu in the trampoline", counted.handled,
		       counted.in_trampoline);
	if (mode->forks)
		printf("  %lu children killed", counted.children);
	if (mode->snapshots)
		printf("  %lu copies without updaters", counted.children);
	if (counted.failed)
		printf("  %lu updates failed", counted.failed);
	if (late)
		printf("  too slow");
	printf("\n");
	fflush(stdout);
	return late || counted.wrong || counted.stale || counted.failed ||
	       (counted.unfetched && !wanted.forgiving);
}

int main(int argc, char **argv)
{
	struct sigaction action;
	int option, bad = 0, count = sizeof(MODES) / sizeof(MODES[0]);

	while ((option = getopt(argc, argv, "et:u:c:n:s:")) != -1) {
		switch (option) {
		case 'e':
			wanted.forgiving = 1;
			break;
		case 't':
			wanted.callers = atoi(optarg);
			break;
		case 'u':
			wanted.updaters = atoi(optarg);
			break;
		case 'c':
			wanted.calls = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			wanted.updates = strtoul(optarg, NULL, 0);
			break;
		case 's':
			wanted.seconds = atof(optarg);
			break;
		default:
			return 2;
		}
	}
	if (wanted.callers < 1 || wanted.callers > MOST || wanted.updaters < 1 ||
	    wanted.updaters > MOST) {
		fprintf(stderr, "torture: from 1 to %d threads of each kind\n", MOST);
		return 2;
	}
	for (int i = 0; i < wanted.updaters; i++)
		for (int far = 0; far < 2; far++)
			updaters[i].ring[far] = map_ring(i, far);
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_signal;
	action.sa_flags = SA_SIGINFO | SA_RESTART;
	sigaction(SIGUSR1, &action, NULL);
	look_at_hook();
	printf("mode      callers  updaters       calls   updates  wrong  stale  unfetched  seconds\n");
	for (int i = optind; i < argc; i++) {
		int at = 0;

		while (at < count && strcmp(MODES[at].name, argv[i]))
			at++;
		if (at == count) {
			fprintf(stderr, "torture: no mode %s\n", argv[i]);
			return 2;
		}
		bad |= run(&MODES[at]);
	}
	for (int at = 0; optind == argc && at < count; at++)
		bad |= run(&MODES[at]);
	return bad;
}
