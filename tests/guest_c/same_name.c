/*
 * A static call of a name that other objects have too. In the libraries: OBJECT_call, _update, _query.
 * In the program: main, which loads the libraries that it is given and calls all of them.
 *
 * -DOBJECT=name; -DDEFINES where the object has its own; -DEXPORTS where it exports it; -DNUMBER=n for
 * its results; -DPROGRAM.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "static_call.h"

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)

static int slow(int a)
{
	return 1000 * NUMBER + a;
}

static int fast(int a)
{
	return 1000 * NUMBER + a + 500;
}

DECLARE_STATIC_CALL(policy, int(int));
#ifdef DEFINES
DEFINE_STATIC_CALL(policy, slow);
#endif
#ifdef EXPORTS
EXPORT_STATIC_CALL(policy);
#endif

#ifdef __cplusplus
extern "C" {
#endif
int PASTE(OBJECT, call)(int a);
int PASTE(OBJECT, update)(int to_fast);
int PASTE(OBJECT, query)(int a);
int PASTE(OBJECT, call)(int a)
{
	return static_call(policy)(a);
}

int PASTE(OBJECT, update)(int to_fast)
{
	return static_call_update(policy, to_fast ? fast : slow);
}

int PASTE(OBJECT, query)(int a)
{
	return static_call_query(policy)(a);
}
#ifdef __cplusplus
}
#endif

#ifdef PROGRAM
typedef int number_function(int);

struct object {
	const char *name;
	number_function *call, *update, *query;
};

static number_function *find(void *library, const char *object, const char *name)
{
	char symbol[64];
	void *found;

	snprintf(symbol, sizeof(symbol), "%s_%s", object, name);
	found = dlsym(library, symbol);
	if (!found) {
		printf("%s\n", dlerror());
		exit(2);
	}
	return (number_function *)(uintptr_t)found;
}

/* Arguments: for each library its name, its path, and flags for dlopen: l, g, d (deep), n (now). */
int main(int argc, char **argv)
{
	struct object objects[8] = { { "program", PASTE(OBJECT, call), PASTE(OBJECT, update),
				       PASTE(OBJECT, query) } };
	int count = 1, wrong = 0;

	for (int i = 1; i + 2 < argc; i += 3) {
		const char *how = argv[i + 2];
		void *library = dlopen(argv[i + 1], (strchr(how, 'n') ? RTLD_NOW : RTLD_LAZY) |
							    (strchr(how, 'g') ? RTLD_GLOBAL : RTLD_LOCAL) |
							    (strchr(how, 'd') ? RTLD_DEEPBIND : 0));
		struct object one = { argv[i], NULL, NULL, NULL };

		if (!library) {
			printf("%s\n", dlerror());
			return 2;
		}
		one.call = find(library, argv[i], "call");
		one.update = find(library, argv[i], "update");
		one.query = find(library, argv[i], "query");
		objects[count++] = one;
	}
	/* An update that returned 0 has changed what its own object's calls do, and its query. */
	for (int to_fast = 1; to_fast >= 0; to_fast--)
		for (int i = count - 1; i >= 0; i--) {
			int error = objects[i].update(to_fast), result = objects[i].call(5);

			if (!error && (result % 1000 != 5 + 500 * to_fast ||
				       objects[i].query(5) != result)) {
				printf("wrong: %s's update(%d) returned 0, its call %d, its query %d\n",
				       objects[i].name, to_fast, result, objects[i].query(5));
				wrong = 1;
			}
			printf("%s %d %d\n", objects[i].name, error, result);
		}
	return wrong;
}
#endif
