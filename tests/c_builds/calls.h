/*
 * The static calls that the files of this program share: one for each kind of target and each way
 * in which arguments and results travel.
 */
#ifndef CALLS_H
#define CALLS_H

#include <stddef.h>
#include <stdint.h>

#include "static_call.h"

#ifdef __cplusplus
#define WEAK extern "C" __attribute__((__weak__))
extern "C" {
#else
#define WEAK __attribute__((__weak__))
#endif

struct wide { /* returned in memory, by x8 */
	long at[9];
};
struct floats { /* returned in d0 to d3 */
	double at[4];
};
typedef double pair __attribute__((__vector_size__(16)));

/* In others.c, whatever -fvisibility says: `static-call set` is told their names. */
#pragma GCC visibility push(default)
int one(int a);
int two(int a);
int one_again(int a);
int run(int argc, char **argv);
#pragma GCC visibility pop
__attribute__((__visibility__("hidden"))) int concealed(int a);
__attribute__((__weak__)) int undefined(int a);
int call_op(int a);
int call_hook(int *counter);
int update_op(int (*func)(int));

DECLARE_STATIC_CALL(op, one);
DECLARE_STATIC_CALL(hook, void(int *));
DECLARE_STATIC_CALL(zero, one);
DECLARE_STATIC_CALL(concealed_call, concealed);
DECLARE_STATIC_CALL(undefined_call, undefined);

/* 200 characters. */
#define LONG_NAME                                                                                  \
	l123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789
DECLARE_STATIC_CALL(LONG_NAME, one);

#ifdef __cplusplus
}
#endif
#endif
