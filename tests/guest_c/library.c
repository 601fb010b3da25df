/* A shared object that updates its own static calls and the program's. */
#include <stddef.h>

#include "static_call.h"

#ifndef NAME
#define NAME library
#endif
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define EXPORT(name) PASTE(PASTE(NAME, _), name)

#ifdef __cplusplus
extern "C" {
#endif
int EXPORT(call)(int a);
int EXPORT(update)(int to_six);
int EXPORT(update_shared)(int what);
int EXPORT(synchronize_shared)(int ms);
#ifdef __cplusplus
}
#endif

static int five(int a)
{
	return 100 * a + 5;
}

static int six(int a)
{
	return 100 * a + 6;
}

DECLARE_STATIC_CALL(shared, int(int));

#ifndef NO_CALL_OF_ITS_OWN
DEFINE_STATIC_CALL(in_library, five);
EXPORT_STATIC_CALL(in_library);

int EXPORT(call)(int a)
{
	return static_call(in_library)(a);
}

int EXPORT(update)(int to_six)
{
	return static_call_update(in_library, to_six ? six : five);
}
#endif

/* 0: five, 1: six, 2: nothing, 3: 0 */
int EXPORT(update_shared)(int what)
{
	return what == 0   ? static_call_update(shared, five) :
	       what == 1   ? static_call_update(shared, six) :
	       what == 2   ? static_call_update(shared, NULL) :
			     static_call_update(shared, __static_call_return0);
}

/* For this many milliseconds; 0: as long as it takes by default */
int EXPORT(synchronize_shared)(int ms)
{
	return ms ? static_call_synchronize_timeout(shared, ms) : static_call_synchronize(shared);
}
