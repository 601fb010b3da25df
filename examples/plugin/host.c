/*
 * Loads a plugin, makes its function a static call's target, and unloads it again, while threads go
 * on calling.
 *
 * Usage: host PLUGIN [TIMES [THREADS]]
 *
 * Compiled with -DDO_NOT_WAIT it leaves out the steps that wait, and crashes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plugin.h"
#include "static_call.h"

#define MOST 64

static unsigned built_in(unsigned x)
{
	return x + 1;
}

DEFINE_STATIC_CALL(work, built_in);

/*
 * Where the callers are, each in its own cache line: `calls` is odd while the caller is in a call.
 * What makes this right is that it counts around the call and not inside the plugin: no code of the
 * plugin runs outside what is counted, and neither does the trampoline.
 *
 * No barrier is needed before the call: an update makes all threads pass one (membarrier) after it
 * has changed where calls go. A caller that goes to the old function has stored its odd number
 * before that, so it is seen.
 */
struct caller {
	_Alignas(64) unsigned long calls;
	unsigned long wrong;
	pthread_t thread;
};

static struct caller callers[MOST];
static int caller_count, stop;

static unsigned counted_call(struct caller *self, unsigned x)
{
	unsigned result;

	__atomic_store_n(&self->calls, self->calls + 1, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	result = static_call(work)(x);
	__atomic_store_n(&self->calls, self->calls + 1, __ATOMIC_RELEASE);
	return result;
}

#ifndef DO_NOT_WAIT
/* Waits until each caller has left the call that it was in, if it was in one. */
static void wait_for_callers(void)
{
	for (int i = 0; i < caller_count; i++) {
		unsigned long before = __atomic_load_n(&callers[i].calls, __ATOMIC_ACQUIRE);

		while (before % 2 && __atomic_load_n(&callers[i].calls, __ATOMIC_ACQUIRE) == before)
			sched_yield();
	}
}
#endif

static void *call(void *self)
{
	struct caller *caller = (struct caller *)self;
	const struct timespec rest = { 0, 100000 };
	unsigned x = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		unsigned result = counted_call(caller, ++x);

		caller->wrong += result != x + 1 && result != x + 2;
		if (x % 65536 == 0)
			nanosleep(&rest, NULL);
	}
	return NULL;
}

static void must(int error, const char *what)
{
	if (error) {
		fprintf(stderr, "host: %s: %s\n", what, strerror(error));
		exit(2);
	}
}

static void *load(const char *path)
{
	void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	void *symbol = plugin ? dlsym(plugin, "plugin_work") : NULL;
	work_function *function;

	if (!symbol) {
		fprintf(stderr, "host: %s\n", dlerror());
		exit(2);
	}
	memcpy(&function, &symbol, sizeof(function));
	must(static_call_update(work, function), "update to the plugin");
	return plugin;
}

static void unload(void *plugin)
{
	/* No call that starts from here on goes to the plugin. */
	must(static_call_update(work, built_in), "update away from the plugin");
#ifndef DO_NOT_WAIT
	/* No call is on its way to it any more. (The count below would see such calls, too.) */
	must(static_call_synchronize_timeout(work, -1), "synchronize");
	/* And no call is in it. */
	wait_for_callers();
#endif
	dlclose(plugin);
}

int main(int argc, char **argv)
{
	int times = argc > 2 ? atoi(argv[2]) : 200;
	unsigned long calls = 0, wrong = 0;

	if (argc < 2)
		return fprintf(stderr, "usage: host PLUGIN [TIMES [THREADS]]\n"), 2;
	caller_count = argc > 3 ? atoi(argv[3]) : 4;
	if (caller_count < 1 || caller_count > MOST)
		return fprintf(stderr, "host: 1 to %d threads\n", MOST), 2;
	for (int i = 0; i < caller_count; i++)
		must(pthread_create(&callers[i].thread, NULL, call, &callers[i]), "thread");
	for (int i = 0; i < times; i++) {
		void *plugin = load(argv[1]);

		unload(plugin);
		if (dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD)) {
			fprintf(stderr, "host: the plugin is still loaded\n");
			return 1;
		}
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < caller_count; i++) {
		pthread_join(callers[i].thread, NULL);
		calls += callers[i].calls / 2;
		wrong += callers[i].wrong;
	}
	printf("loaded and unloaded %d times: %lu calls, %lu wrong\n", times, calls, wrong);
	return wrong != 0;
}
