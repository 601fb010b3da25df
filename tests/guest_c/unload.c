/*
 * A program that loads and unloads the shared objects named first.so and second.so beside it, which
 * synchronize its static call; link it with -rdynamic.
 *
 * Usage: unload [TEST...]
 */
#include "check.h"

#include <dlfcn.h>

static int one(int a)
{
	return 100 * a + 1;
}

DEFINE_STATIC_CALL(shared, one);
EXPORT_STATIC_CALL(shared);

typedef int number_function(int);

static int stop, unblock;

static void *load(const char *name, number_function **synchronize)
{
	char path[4096], symbol[64];
	ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 64);
	void *library, *found;

	path[size < 0 ? 0 : size] = 0;
	snprintf(strrchr(path, '/'), 64, "/%s.so", name);
	library = dlopen(path, RTLD_NOW);
	snprintf(symbol, sizeof(symbol), "%s_synchronize_shared", name);
	found = library ? dlsym(library, symbol) : NULL;
	if (!found) {
		printf("%s\n", dlerror());
		exit(2);
	}
	*synchronize = (number_function *)(uintptr_t)found;
	return library;
}

static void *call_all(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		CHECK(static_call(shared)(5), 501);
	return none;
}

/* However many copies there are, and however often, the process reserves one signal. */
static void one_signal(void)
{
	int last = SIGRTMAX, first_number = SIGRTMIN;
	number_function *synchronize, *other;
	pthread_t threads[2];
	void *library;

	stop = 0;
	for (int i = 0; i < 2; i++)
		threads[i] = start(call_all, NULL);
	library = load("second", &other);
	for (int i = 0; i < 40; i++) {
		void *first = load("first", &synchronize);

		CHECK(synchronize(-1), 0);
		CHECK(dlclose(first), 0);
		CHECK(static_call_synchronize_timeout(shared, -1), 0);
		CHECK(other(-1), 0);
	}
	CHECK(dlclose(library), 0);
	stop = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	CHECK(SIGRTMAX, last);
	CHECK(SIGRTMIN, first_number);
}

static void *block_all(void *none)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while (!__atomic_load_n(&unblock, __ATOMIC_RELAXED))
		;
	pthread_sigmask(SIG_UNBLOCK, &all, NULL);
	return none;
}

/* What asked has been unloaded when the thread unblocks the signal. */
static void late_answer(void)
{
	number_function *synchronize;
	pthread_t thread;

	for (int i = 0; i < 3; i++) {
		void *first = load("first", &synchronize);

		unblock = 0;
		thread = start(block_all, NULL);
		usleep(50000);
		CHECK(synchronize(200), ETIMEDOUT);
		CHECK(dlclose(first), 0);
		__atomic_store_n(&unblock, 1, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
		CHECK(static_call_synchronize_timeout(shared, -1), 0);
	}
}

static const struct test TESTS[] = {
	{ "one_signal", one_signal },
	{ "late_answer", late_answer },
};

int main(int argc, char **argv)
{
	return run_tests(TESTS, sizeof(TESTS) / sizeof(TESTS[0]), argc, argv);
}
