// SPDX-License-Identifier: GPL-2.0
/*
 * Static calls and targets that are more than 128 MiB from those of
 * static_call_test.ko, and from the kernel.
 *
 * A module goes into the 128 MiB around the kernel where it fits, else into
 * 2 GiB. This one has 32 MiB of code, and two ballast modules have filled the
 * 128 MiB so far that no gap of that size is left. With KASLR the 2 GiB begin,
 * in 6.1, where the 128 MiB do: so a third one lies between.
 */

#include <linux/bitops.h>
#include <linux/module.h>

#include "static_call_test.h"

asm(".pushsection .text.padding, \"ax\"\n"
    "	.fill	(32 << 20) / 4, 4, 0xd503201f\n"	/* nop */
    ".popsection\n");

/* For static_call_count.ko, whose leaves are the same. */
unsigned long static_call_far_leaf(void);
noinline unsigned long static_call_far_leaf(void)
{
	barrier();
	return 1;
}
EXPORT_SYMBOL_GPL(static_call_far_leaf);

static DEFINE_TARGET(far_a, TO_FAR_A)
static DEFINE_TARGET(far_b, TO_FAR_B)

/* The first target is out of reach of a branch before the module is loaded. */
DEFINE_STATIC_CALL(far, __sw_hweight64);
SUBJECT(far);

static void far_probe(void *data, unsigned long ip, const void *object)
{
	static_call_test_count_probe(object);
}

static int __init static_call_far_init(void)
{
	struct far_module module = {
		.subject = far_subject,
		.targets = { far_a, far_b },
		.probe = far_probe,
	};

	module.subject.trampoline = TRAMPOLINE(far);
	return static_call_test_run(&module);
}
module_init(static_call_far_init);

static void __exit static_call_far_exit(void)
{
}
module_exit(static_call_far_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Static calls: targets that are far away");
