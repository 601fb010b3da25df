/* A plugin: one function, which sometimes takes its time. */
#define _POSIX_C_SOURCE 199309L
#include <time.h>

#include "plugin.h"

work_function plugin_work;

unsigned plugin_work(unsigned x)
{
	if (x % 256 == 0) {
		struct timespec time = { 0, 200000 };

		nanosleep(&time, 0);
	}
	return x + 2;
}
