/* Static calls that the files of the test program share. */
#ifndef CALLS_H
#define CALLS_H

#include "static_call.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whatever -fvisibility says: main.cpp calls them, and may be in another object. */
#pragma GCC visibility push(default)
int add(int a, int b);
int sub(int a, int b);
int calls_self(int a);
int others(int a);
void hook_count(int a);
#pragma GCC visibility pop

DECLARE_STATIC_CALL(op, add);
DECLARE_STATIC_CALL(local_op, int(int, int));
DECLARE_STATIC_CALL(hook, hook_count);
DECLARE_STATIC_CALL(policy, calls_self);
DECLARE_STATIC_CALL(length, unsigned long(const char *));
DECLARE_STATIC_CALL(twice, calls_self);

#ifdef __cplusplus
}
#endif

#endif
