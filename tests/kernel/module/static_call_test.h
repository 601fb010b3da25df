/* SPDX-License-Identifier: GPL-2.0 */
/* What the test's modules know of each other. */
#ifndef STATIC_CALL_TEST_H
#define STATIC_CALL_TEST_H

#include <linux/static_call.h>
#include <linux/types.h>

/* Never inlined, as nobody's target may be. */
typedef unsigned long target_fn(__u64 arg);

/*
 * What a target returns says which one it is: its number in the top byte, the
 * argument in the others. Arguments have a bit above 2^32 set and an empty top
 * byte, so that no result is another one's: NULL leaves the argument as it is,
 * RET0 makes it 0, and the kernel's __sw_hweight64() at most 64.
 */
enum target {
	TO_KERNEL = 1,
	TO_NEAR_A,
	TO_NEAR_B,
	TO_FAR_A,
	TO_FAR_B,
	TO_NULL,
	TO_RET0,
	TARGETS
};

#define TARGET_SHIFT	56
#define ARGUMENT_BIT	(1ULL << 40)

#define DEFINE_TARGET(name, number)					\
	noinline unsigned long name(__u64 arg)				\
	{								\
		return arg | (__u64)(number) << TARGET_SHIFT;		\
	}

/* Calls a static call that may be NULL, and wants its result all the same. */
#ifdef CONFIG_HAVE_STATIC_CALL
#define call_it(name, arg)	static_call(name)(arg)
#define TRAMPOLINE(name)	((void *)STATIC_CALL_TRAMP_ADDR(name))
#else	/* a plain pointer, there to see that the test itself is right */
#define call_it(name, arg)						\
({									\
	target_fn *__f = READ_ONCE(STATIC_CALL_KEY(name).func);		\
	__f ? __f(arg) : (arg);						\
})
#define TRAMPOLINE(name)	((void *)&STATIC_CALL_KEY(name))
#endif

/*
 * Somebody who has a static call: the test module, or the one that is far.
 * The call is made from the module that defines it, by a direct branch.
 */
struct subject {
	const char *name;
	void *trampoline;
	unsigned long (*call)(__u64 arg);
	void (*update)(target_fn *func);
	target_fn *(*query)(void);
};

struct far_module {
	struct subject subject;
	target_fn *targets[2];		/* TO_FAR_A, TO_FAR_B */
	void (*probe)(void *data, unsigned long ip, const void *object);
};

unsigned long static_call_test_target(__u64 arg);	/* TO_NEAR_A */
void static_call_test_count_probe(const void *object);
int static_call_test_run(const struct far_module *far);

#define SUBJECT(_name)							\
	static unsigned long _name##_call(__u64 arg)			\
	{								\
		return call_it(_name, arg);				\
	}								\
	static void _name##_update(target_fn *func)			\
	{								\
		static_call_update(_name, func);			\
	}								\
	static target_fn *_name##_query(void)				\
	{								\
		return static_call_query(_name);			\
	}								\
	static const struct subject _name##_subject = {			\
		.name = #_name,						\
		.call = _name##_call,					\
		.update = _name##_update,				\
		.query = _name##_query,					\
	}

#endif
