/*
 * A program that loads the shared objects named first.so and second.so beside it, which update
 * their own static calls and the program's; link it with -rdynamic.
 *
 * Usage: loads [TEST...]
 */
#include "check.h"

#include <dlfcn.h>

static int one(int a)
{
	return 100 * a + 1;
}

DEFINE_STATIC_CALL(shared, one);
EXPORT_STATIC_CALL(shared);

static char folder[4096];

static void *load(const char *name)
{
	char path[4200];
	void *library;

	snprintf(path, sizeof(path), "%s/%s.so", folder, name);
	library = dlopen(path, RTLD_NOW);
	if (!library) {
		printf("%s\n", dlerror());
		exit(2);
	}
	return library;
}

typedef int number_function(int);

static number_function *find(void *library, const char *object, const char *name)
{
	char symbol[64];

	snprintf(symbol, sizeof(symbol), "%s_%s", object, name);
	return (number_function *)(uintptr_t)dlsym(library, symbol);
}

static int call_shared(int a)
{
	return static_call(shared)(a);
}

static const int RESULTS[] = { 505, 506, 5, 0 };

static void own_and_the_programs(void)
{
	void *first = load("first");

	CHECK(find(first, "first", "call")(5), 505);
	CHECK(find(first, "first", "update")(1), 0);
	CHECK(find(first, "first", "call")(5), 506);
	for (int what = 0; what < 4; what++) {
		CHECK(find(first, "first", "update_shared")(what), 0);
		CHECK(call_shared(5), RESULTS[what]);
		CHECK(static_call_update(shared, one), 0);
		CHECK(call_shared(5), 501);
	}
	dlclose(first);
}

/* This one defines no static call itself. */
static void only_the_programs(void)
{
	void *second = load("second");

	for (int what = 0; what < 4; what++) {
		CHECK(find(second, "second", "update_shared")(what), 0);
		CHECK(call_shared(5), RESULTS[what]);
	}
	CHECK(find(second, "second", "synchronize_shared")(0), 0);
	CHECK(static_call_update(shared, one), 0);
	dlclose(second);
}

/* Loaded, updated and unloaded: no file stays open, nothing is left of it. */
static void cycles(void)
{
	int before;

	CHECK(static_call_update(shared, one), 0);
	before = count_files();
	for (int i = 0; i < 20; i++) {
		void *first = load("first");

		CHECK(find(first, "first", "update")(1), 0);
		CHECK(find(first, "first", "call")(5), 506);
		CHECK(find(first, "first", "update_shared")(i % 4), 0);
		CHECK(find(first, "first", "synchronize_shared")(0), 0);
		CHECK(static_call_update(shared, one), 0);
		dlclose(first);
		CHECK(count_files(), before);
		CHECK(call_shared(5), 501);
	}
}

static void *update_with(void *update)
{
	for (int i = 0; i < 200; i++)
		CHECK(((number_function *)(uintptr_t)update)(i % 4), 0);
	return NULL;
}

static int stop;

static void *call_all(void *none)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		int result = call_shared(5), known = result == 501;

		for (int what = 0; what < 4; what++)
			known |= result == RESULTS[what];
		CHECK(known, 1);
	}
	return none;
}

/* Two copies of static_call.c update one static call, each in two threads. */
static void two_copies(void)
{
	void *libraries[] = { load("first"), load("second") };
	pthread_t updaters[4], caller = start(call_all, NULL);
	int held;

	for (int i = 0; i < 4; i++)
		updaters[i] = start(update_with,
				    (void *)(uintptr_t)find(libraries[i % 2],
							    i % 2 ? "second" : "first",
							    "update_shared"));
	for (int i = 0; i < 4; i++)
		pthread_join(updaters[i], NULL);
	held = static_call_query(shared) ? static_call_query(shared)(5) : 5;
	CHECK(call_shared(5), held);
	CHECK(STATIC_CALL_KEY(shared).lock, 0);
	stop = 1;
	pthread_join(caller, NULL);
	CHECK(static_call_update(shared, one), 0);
	dlclose(libraries[0]);
	dlclose(libraries[1]);
}

static const struct test TESTS[] = {
	{ "own_and_the_programs", own_and_the_programs },
	{ "only_the_programs", only_the_programs },
	{ "cycles", cycles },
	{ "two_copies", two_copies },
};

int main(int argc, char **argv)
{
	strncpy(folder, argv[0], sizeof(folder) - 1);
	if (strrchr(folder, '/'))
		*strrchr(folder, '/') = 0;
	return run_tests(TESTS, sizeof(TESTS) / sizeof(TESTS[0]), argc, argv);
}
