/*
 * What static_call_synchronize() does to a program's signals and threads, and what they do to it.
 * C and C++, any kind of link.
 *
 * Usage: synchronize [TEST...]. Prints ok, FAIL or skip for each test.
 */
#include "check.h"

#include <poll.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/time.h>

#ifdef __cplusplus
extern "C" {
#endif

static int one(int a)
{
	return 100 * a + 1;
}

static int two(int a)
{
	return 100 * a + 2;
}

DEFINE_STATIC_CALL(op, one);

/* The real-time signals that both C libraries leave to programs, by number. */
enum { FIRST = 35, LAST = 64 };

static int stop;

static void *call_all(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		int result = static_call(op)(5);

		CHECK(result == 501 || result == 502, 1);
	}
	return none;
}

static pthread_t threads[400];
static int thread_count;

/* They block SIGALRM, which is for the first thread, also while that blocks it for a moment. */
static void start_threads(void *(*run)(void *), int count)
{
	pthread_attr_t small;
	sigset_t alarms, before;

	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarms, &before);
	__atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[thread_count++], &small, run, NULL))
			abort();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void end_threads(void)
{
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	while (thread_count)
		pthread_join(threads[--thread_count], NULL);
}

static void (*handler_of(int number))(int)
{
	struct sigaction now;

	memset(&now, 0, sizeof(now));
	sigaction(number, NULL, &now);
	return now.sa_handler;
}

static int without_handler(void)
{
	int count = 0;

	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		count += handler_of(number) == SIG_DFL;
	return count;
}

static void set_all(void (*handler)(int))
{
	for (int number = FIRST; number <= LAST; number++)
		signal(number, handler);
}

static int called;

static void mine(int number)
{
	(void)number;
	__atomic_fetch_add(&called, 1, __ATOMIC_RELAXED);
}

/* ---- Threads ------------------------------------------------------------------------------- */

/* More than there are CPUs, all at once; range and handlers of signals are as they were. */
static void busy(void)
{
	int before = without_handler(), last = SIGRTMAX;

	start_threads(call_all, 16);
	for (int i = 0; i < 2; i++) {
		CHECK(static_call_update(op, i % 2 ? one : two), 0);
		CHECK(static_call_synchronize_timeout(op, -1), 0);
	}
	end_threads();
	CHECK(without_handler(), before);
	CHECK(SIGRTMAX, last);
	CHECK(static_call_synchronize(op), 0);
}

static int polling, interrupted;
static int wakes[2];

static void *poll_once(void *none)
{
	struct pollfd file = { wakes[0], POLLIN, 0 };

	__atomic_fetch_add(&polling, 1, __ATOMIC_RELAXED);
	if (poll(&file, 1, -1) < 0)
		__atomic_fetch_add(&interrupted, 1, __ATOMIC_RELAXED);
	return none;
}

/* A thread that sleeps is not woken, and one that sleeps is known at once; many are. */
static void sleeping(void)
{
	if (pipe(wakes))
		abort();
	polling = interrupted = 0;
	start_threads(poll_once, 399);
	start_threads(call_all, 1);
	while (__atomic_load_n(&polling, __ATOMIC_RELAXED) < 399)
		usleep(1000);
	usleep(100000);
	for (int i = 0; i < 5; i++)
		CHECK(static_call_synchronize_timeout(op, -1), 0);
	CHECK(interrupted, 0);
	CHECK(write(wakes[1], "", 1), 1);
	end_threads();
	close(wakes[0]);
	close(wakes[1]);
}

static void *come_and_go(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		pthread_t thread;

		if (!pthread_create(&thread, NULL, poll_once, NULL))
			pthread_join(thread, NULL);
	}
	return none;
}

static void new_threads(void)
{
	if (pipe(wakes) || write(wakes[1], "", 1) != 1)
		abort();
	start_threads(come_and_go, 3);
	for (int i = 0; i < 20; i++)
		CHECK(static_call_synchronize_timeout(op, -1), 0);
	end_threads();
	close(wakes[0]);
	close(wakes[1]);
}

static int unblock;

/* Blocks all signals and neither sleeps nor calls; then lets those come that wait. */
static void *block_all(void *none)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while (!__atomic_load_n(&unblock, __ATOMIC_RELAXED))
		;
	pthread_sigmask(SIG_UNBLOCK, &all, NULL);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		;
	return none;
}

/* Nobody can know where such a thread is. What it answers later does no harm. */
static void blocked(void)
{
	unblock = 0;
	start_threads(block_all, 2);
	usleep(50000);
	for (int i = 0; i < 3; i++)
		CHECK(static_call_synchronize_timeout(op, 300), ETIMEDOUT);
	__atomic_store_n(&unblock, 1, __ATOMIC_RELAXED);
	CHECK(static_call_synchronize_timeout(op, -1), 0);
	end_threads();
	CHECK(static_call_synchronize_timeout(op, -1), 0);
}

static void *block_and_poll(void *none)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	return poll_once(none);
}

/* One that blocks them and sleeps is known, whatever signals there are. */
static void blocked_sleeping(void)
{
	if (pipe(wakes))
		abort();
	polling = 0;
	start_threads(block_and_poll, 4);
	while (__atomic_load_n(&polling, __ATOMIC_RELAXED) < 4)
		usleep(1000);
	set_all(mine);
	for (int i = 0; i < 20; i++)
		CHECK(static_call_synchronize_timeout(op, -1), 0);
	set_all(SIG_DFL);
	CHECK(write(wakes[1], "", 1), 1);
	end_threads();
	close(wakes[0]);
	close(wakes[1]);
}

static char small_stack[2][16384];

/* On the least alternate stack that the system takes. */
static void *with_small_stack(void *which)
{
	stack_t stack;
	static int next;

	memset(&stack, 0, sizeof(stack));
	stack.ss_sp = small_stack[__atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)];
	stack.ss_size = MINSIGSTKSZ;
	CHECK(sigaltstack(&stack, NULL), 0);
	return call_all(which);
}

static void alternate_stack(void)
{
	start_threads(with_small_stack, 2);
	usleep(20000);
	for (int i = 0; i < 5; i++)
		CHECK(static_call_synchronize_timeout(op, -1), 0);
	end_threads();
}

/* ---- What interrupts it -------------------------------------------------------------------- */

static sigjmp_buf out;

static void jump(int number)
{
	(void)number;
	siglongjmp(out, 1);
}

static void set_alarm(int us)
{
	struct itimerval time = { { 0, 0 }, { 0, 0 } };

	time.it_value.tv_usec = us;
	setitimer(ITIMER_REAL, &time, NULL);
}

static __attribute__((__noinline__)) void synchronize_until_jump(int us)
{
	if (sigsetjmp(out, 1))
		return;
	set_alarm(us);
	for (;;)
		static_call_synchronize_timeout(op, -1);
}

/* A handler leaves it for ever, many times: then it works as before, and no file is left open. */
static void jumped_out_of(void)
{
	int files = count_files();

	signal(SIGALRM, jump);
	start_threads(call_all, 4);
	for (int i = 0; i < 20; i++)
		synchronize_until_jump(1000 + i * 211);
	signal(SIGALRM, SIG_DFL);
	CHECK(static_call_synchronize_timeout(op, -1), 0);
	end_threads();
	CHECK(count_files(), files);
}

static int in_handler;

static void synchronize_in_handler(int number)
{
	(void)number;
	CHECK(static_call_synchronize_timeout(op, -1), 0);
	if (++in_handler < 10)
		set_alarm(1500);
}

static void nested(void)
{
	in_handler = 0;
	signal(SIGALRM, synchronize_in_handler);
	start_threads(call_all, 2);
	set_alarm(1500);
	while (in_handler < 10)
		CHECK(static_call_synchronize_timeout(op, -1), 0);
	signal(SIGALRM, SIG_IGN);
	set_alarm(0);
	signal(SIGALRM, SIG_DFL);
	end_threads();
}

static void *synchronize_for_ever(void *none)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;)
		static_call_synchronize_timeout(op, -1);
	return none;
}

static void cancelled(void)
{
	start_threads(call_all, 2);
	for (int i = 0; i < 10; i++) {
		pthread_t thread = start(synchronize_for_ever, NULL);

		usleep(3000);
		pthread_cancel(thread);
		pthread_join(thread, NULL);
		CHECK(static_call_synchronize_timeout(op, -1), 0);
	}
	end_threads();
}

static void *synchronize_until_stopped(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		CHECK(static_call_synchronize_timeout(op, -1), 0);
	return none;
}

static void synchronize_with_caller(void)
{
	CHECK(static_call_synchronize_timeout(op, -1), 0);
	thread_count = 0;
	start_threads(call_all, 1);
	CHECK(static_call_synchronize_timeout(op, -1), 0);
	end_threads();
}

static void forked(void)
{
	start_threads(call_all, 1);
	start_threads(synchronize_until_stopped, 2);
	for (int i = 0; i < 10; i++)
		CHECK(in_child(synchronize_with_caller), 0);
	end_threads();
}

/* ---- The program's signals ----------------------------------------------------------------- */

/* Those that wait for a sigwait() stay, at both ends of the range. */
static void waited_for(void)
{
	int numbers[] = { SIGRTMIN, SIGRTMAX - 1, SIGRTMAX }, got, queued;
	struct timespec none = { 0, 0 };
	union sigval value;
	siginfo_t info;
	sigset_t set;

	for (int i = 0; i < 3; i++) {
		sigemptyset(&set);
		sigaddset(&set, numbers[i]);
		pthread_sigmask(SIG_BLOCK, &set, NULL);
		start_threads(call_all, 1);
		for (got = 0; got < 3; got++) {
			value.sival_int = got;
			if (sigqueue(getpid(), numbers[i], value) && errno == EINVAL && i)
				break; /* the emulator has fewer signals */
		}
		queued = got;
		CHECK(static_call_synchronize_timeout(op, -1), 0);
		got = 0;
		while (sigtimedwait(&set, &info, &none) == numbers[i])
			CHECK(info.si_value.sival_int, got++);
		CHECK(got, queued);
		end_threads();
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	}
}

/* Signals that have a handler, or are ignored, stay so: where all do, it is refused. */
static void all_taken(void)
{
	void (*const handlers[])(int) = { mine, SIG_IGN };

	start_threads(call_all, 1);
	for (int i = 0; i < 2; i++) {
		called = 0;
		set_all(handlers[i]);
		signal(34, handlers[i]); /* musl's own: this fails there */
		CHECK(static_call_synchronize(op), EAGAIN);
		for (int number = FIRST; number <= LAST; number++)
			CHECK(handler_of(number) == handlers[i], 1);
		CHECK(called, 0);
		set_all(SIG_DFL);
		signal(34, SIG_DFL);
		/* It borrows one now, and gives it back. */
		CHECK(static_call_synchronize_timeout(op, -1), 0);
		for (int number = FIRST; number <= LAST; number++)
			CHECK(handler_of(number) == SIG_DFL, 1);
	}
	end_threads();
}

/* The program installs its handlers whenever it likes, for any signal: they are not taken away. */
static void installed_meanwhile(void)
{
	called = 0;
	start_threads(call_all, 2);
	start_threads(synchronize_until_stopped, 1);
	for (int i = 0; i < 300; i++) {
		int number = i % 2 ? SIGRTMAX - i / 2 % 3 : SIGRTMIN + i / 2 % 3;

		signal(number, mine);
		usleep(300);
		CHECK(handler_of(number) == mine, 1);
		signal(number, SIG_DFL);
	}
	end_threads();
	CHECK(called, 0);
}

/* Where no signal can be queued it is refused in time. */
static void no_queue(void)
{
	struct rlimit before, none;
	int error;

	getrlimit(RLIMIT_SIGPENDING, &before);
	none = before;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_SIGPENDING, &none);
	start_threads(call_all, 1);
	error = static_call_synchronize_timeout(op, 300);
	CHECK(error == ETIMEDOUT || error == EAGAIN, 1); /* EAGAIN by an emulator */
	setrlimit(RLIMIT_SIGPENDING, &before);
	CHECK(static_call_synchronize_timeout(op, -1), 0);
	end_threads();
}

static const struct test TESTS[] = {
	{ "busy", busy },
	{ "sleeping", sleeping },
	{ "new_threads", new_threads },
	{ "blocked", blocked },
	{ "blocked_sleeping", blocked_sleeping },
	{ "alternate_stack", alternate_stack },
	{ "jumped_out_of", jumped_out_of },
	{ "nested", nested },
	{ "cancelled", cancelled },
	{ "forked", forked },
	{ "waited_for", waited_for },
	{ "installed_meanwhile", installed_meanwhile },
	{ "no_queue", no_queue },
	{ "all_taken", all_taken },
};

#ifdef __cplusplus
}
#endif

int main(int argc, char **argv)
{
	return run_tests(TESTS, sizeof(TESTS) / sizeof(TESTS[0]), argc, argv);
}
