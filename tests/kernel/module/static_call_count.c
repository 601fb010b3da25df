// SPDX-License-Identifier: GPL-2.0
/*
 * How many instructions a call executes, counted by the CPU.
 *
 * For QEMU with -icount and one CPU: there its PMU event INST_RETIRED counts
 * each instruction, and none that is not of this guest. That it does so exactly
 * is checked first, by 100 NOPs. To be loaded after static_call_far.ko.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/irqflags.h>
#include <linux/limits.h>
#include <linux/module.h>
#include <linux/static_call.h>

#include <asm/barrier.h>
#include <asm/sysreg.h>

#define CALLS		1000
#define UPDATES		100
#define INST_RETIRED	0x08

typedef unsigned long leaf_fn(void);

leaf_fn static_call_far_leaf;

static noinline unsigned long near_leaf(void)
{
	barrier();	/* or a compiler would know that nobody has to call it */
	return 1;
}

static noinline unsigned long other_leaf(void)
{
	barrier();
	return 2;
}

DEFINE_STATIC_CALL(counted, near_leaf);

static void counter_start(void)
{
	write_sysreg(INST_RETIRED, pmevtyper0_el0);
	write_sysreg(1, pmcntenset_el0);
	write_sysreg(read_sysreg(pmcr_el0) | 1, pmcr_el0);
	isb();
}

static __always_inline u64 counter(void)
{
	u64 value;

	isb();
	value = read_sysreg(pmevcntr0_el0);
	isb();
	return value;
}

/*
 * One call each, in a separate function: what a compiler would move out of a
 * loop, such as the pointer's address, stays. The barrier keeps the call from
 * becoming a branch.
 */
#define ONE(name, call)							\
	static noinline void name(void)					\
	{								\
		(void)(call);						\
		barrier();						\
	}

ONE(one_direct, near_leaf())
ONE(one_static, static_call(counted)())
static noinline void one_cond(void)
{
	static_call_cond(counted)();
	barrier();
}

/* What the ones above are without their call: a frame for the link register. */
static noinline void one_nothing(void)
{
	asm volatile("" : : : "x30", "memory");
}

static noinline void hundred_nops(void)
{
	asm volatile(".rept 100\n nop\n .endr");
}

static noinline void no_nops(void)
{
	barrier();
}

/* Instructions of CALLS calls, and of the loop around them. */
static noinline s64 count(void (*function)(void))
{
	unsigned long flags;
	u64 before, after;
	int i;

	function();	/* once before, so that nothing is new to the CPU */
	local_irq_save(flags);
	before = counter();
	for (i = 0; i < CALLS; i++)
		function();
	after = counter();
	local_irq_restore(flags);
	return after - before;
}

/*
 * What a call executes: without the leaf's own instructions, so 1 for a direct
 * BL. For NULL and RET0, where no leaf is called, all until it is back.
 */
static void report(const char *what, s64 more, int direct)
{
	pr_info("call %s instructions=%lld rest=%lld\n", what, more / CALLS + direct,
		more % CALLS);
}

static u64 count_update(leaf_fn *from, leaf_fn *to)
{
	u64 least = U64_MAX, before, after;
	int i;

	for (i = 0; i < UPDATES; i++) {
		static_call_update(counted, from);
		before = counter();
		static_call_update(counted, to);
		after = counter();
		least = min(least, after - before);	/* one that no interrupt was in */
	}
	return least;
}

static int __init static_call_count_init(void)
{
	leaf_fn *return0 = (void *)__static_call_return0;
	s64 nothing, direct;

	counter_start();
	pr_info("nops instructions=%lld\n", (count(hundred_nops) - count(no_nops)) / CALLS);
	pr_info("near=%px far=%px\n", near_leaf, static_call_far_leaf);
	nothing = count(one_nothing);
	direct = count(one_direct);
	report("direct+leaf", direct - nothing, 0);
	report("near", count(one_static) - direct, 1);
	static_call_update(counted, static_call_far_leaf);
	report("far", count(one_static) - direct, 1);
	static_call_update(counted, NULL);
	report("null", count(one_cond) - nothing, 0);
	static_call_update(counted, return0);
	report("ret0", count(one_static) - nothing, 0);

	pr_info("update near-near instructions=%llu\n",
		count_update(near_leaf, other_leaf));
	pr_info("update near-far instructions=%llu\n",
		count_update(near_leaf, static_call_far_leaf));
	pr_info("update far-near instructions=%llu\n",
		count_update(static_call_far_leaf, near_leaf));
	pr_info("update near-null instructions=%llu\n",
		count_update(near_leaf, NULL));
	return 0;
}
module_init(static_call_count_init);

static void __exit static_call_count_exit(void)
{
}
module_exit(static_call_count_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Static calls: how many instructions a call executes");
