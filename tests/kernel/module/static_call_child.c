// SPDX-License-Identifier: GPL-2.0
/*
 * Static calls that come and go: loading this module checks those it defines,
 * and fails where one goes wrong. To be loaded and unloaded many times.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitops.h>
#include <linux/module.h>

#include "static_call_test.h"

static bool null_is_ret0;
module_param(null_is_ret0, bool, 0444);

static DEFINE_TARGET(child_a, TO_NEAR_B)

DEFINE_STATIC_CALL(child, child_a);
DEFINE_STATIC_CALL(child_other, static_call_test_target);
DEFINE_STATIC_CALL_NULL(child_null, child_a);
DEFINE_STATIC_CALL_RET0(child_ret0, child_a);

static int wrong;

static void check(const char *what, u64 result, u64 expected)
{
	if (result == expected)
		return;
	pr_err("%s: %llx, not %llx\n", what, result, expected);
	wrong++;
}

static int __init static_call_child_init(void)
{
	const u64 arg = ARGUMENT_BIT + 5, null = null_is_ret0 ? 0 : arg;
	const u64 a = child_a(arg), other = static_call_test_target(arg);

	check("first", call_it(child, arg), a);
	check("first, another module's", call_it(child_other, arg), other);
	check("first, NULL", call_it(child_null, arg), null);
	check("first, RET0", call_it(child_ret0, arg), 0);
	static_call_cond(child_null)(arg);

	static_call_update(child, static_call_test_target);
	check("another module's", call_it(child, arg), other);
	static_call_update(child, NULL);
	check("NULL", call_it(child, arg), null);
	static_call_update(child, (void *)__static_call_return0);
	check("RET0", call_it(child, arg), 0);
	static_call_update(child, __sw_hweight64);
	check("the kernel's", call_it(child, arg), hweight64(arg));
	static_call_update(child, child_a);
	check("its own", call_it(child, arg), a);
	static_call_update(child_null, child_a);
	check("NULL to its own", call_it(child_null, arg), a);
	static_call_update(child_ret0, child_a);
	check("RET0 to its own", call_it(child_ret0, arg), a);
	return wrong ? -EIO : 0;
}
module_init(static_call_child_init);

static void __exit static_call_child_exit(void)
{
}
module_exit(static_call_child_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Static calls that come and go");
