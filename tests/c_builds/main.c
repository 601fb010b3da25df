/* Runs the tests of calls.c, which may be in a library; LIBRARY is the path of one to be loaded. */
#include <stdio.h>

#ifdef LIBRARY
#include <dlfcn.h>
#include <stdint.h>
#endif

#ifdef TWO_COPIES
#include "static_call.h"

static int three(int a)
{
	return 100 * a + 3;
}

static int four(int a)
{
	return 100 * a + 4;
}

DEFINE_STATIC_CALL(of_program, three);

/* The program's own static call, by its own copy of static_call.c. */
static int own(int (*func)(int), int result)
{
	int error = static_call_update(of_program, func);
	int now = static_call(of_program)(5);

	if (error || now != result)
		printf("FAIL own: %d, %d is not %d\n", error, now, result);
	return error || now != result;
}
#endif

#ifdef __cplusplus
extern "C"
#endif
int run(int argc, char **argv);

int main(int argc, char **argv)
{
	int failed = 0;
#ifdef LIBRARY
	void *library = dlopen(LIBRARY, RTLD_NOW);
	int (*loaded)(int, char **) =
		library ? (int (*)(int, char **))(uintptr_t)dlsym(library, "run") : NULL;

	if (!loaded) {
		printf("%s\n", dlerror());
		return 2;
	}
#define run loaded
#endif
#ifdef TWO_COPIES
	failed |= own(four, 504);
#endif
	failed |= run(argc, argv);
#ifdef LIBRARY
	dlclose(library);
#endif
#ifdef TWO_COPIES
	failed |= own(NULL, 5) | own(three, 503);
#endif
	return failed;
}
