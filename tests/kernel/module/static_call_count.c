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
#define LEAF_SIZE	2	/* instructions of a leaf: landing pad and RET */

typedef unsigned long leaf_fn(void);

leaf_fn static_call_far_leaf, static_call_near_leaf, static_call_other_leaf;

asm(".pushsection .text\n"
    "	.p2align 3\n"
    "static_call_near_leaf:\n"
    "	hint	#34\n"		/* bti c */
    "	ret\n"
    "static_call_other_leaf:\n"
    "	hint	#34\n"
    "	ret\n"
    ".popsection\n");

DEFINE_STATIC_CALL(counted, static_call_near_leaf);

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
 * One call each, in a function of its own: what a compiler would move out of a
 * loop, such as the pointer's address, stays. The barrier keeps the call from
 * becoming a branch.
 */
#define ONE(name, call)							\
	static noinline void name(void)					\
	{								\
		(void)(call);						\
		barrier();						\
	}

ONE(one_direct, static_call_near_leaf())
ONE(one_static, static_call(counted)())
static noinline void one_cond(void)
{
	static_call_cond(counted)();
	barrier();
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
#define COUNT(function)							\
({									\
	unsigned long flags;						\
	u64 before, after;						\
	int i;								\
									\
	function();	/* once before, so that nothing is new to the CPU */ \
	local_irq_save(flags);						\
	before = counter();						\
	for (i = 0; i < CALLS; i++)					\
		function();						\
	after = counter();						\
	local_irq_restore(flags);					\
	(s64)(after - before);						\
})

/*
 * What a call executes apart from the leaf's own instructions: 1 for a direct
 * BL. For NULL, where no leaf is called, all until it is back.
 */
static void report(const char *what, s64 count, s64 direct, int leaf)
{
	s64 more = count - direct;

	pr_info("call %s instructions=%lld rest=%lld\n", what,
		more / CALLS + 1 + LEAF_SIZE - leaf, more % CALLS);
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
	s64 direct;

	counter_start();
	pr_info("nops instructions=%lld\n", (COUNT(hundred_nops) - COUNT(no_nops)) / CALLS);
	pr_info("near=%px far=%px\n", static_call_near_leaf, static_call_far_leaf);
	direct = COUNT(one_direct);
	report("direct", direct, direct, LEAF_SIZE);
	report("near", COUNT(one_static), direct, LEAF_SIZE);
	static_call_update(counted, static_call_far_leaf);
	report("far", COUNT(one_static), direct, LEAF_SIZE);
	static_call_update(counted, NULL);
	report("null", COUNT(one_cond), direct, 0);
	static_call_update(counted, return0);
	report("ret0", COUNT(one_static), direct, 0);

	pr_info("update near-near instructions=%llu\n",
		count_update(static_call_near_leaf, static_call_other_leaf));
	pr_info("update near-far instructions=%llu\n",
		count_update(static_call_near_leaf, static_call_far_leaf));
	pr_info("update far-near instructions=%llu\n",
		count_update(static_call_far_leaf, static_call_near_leaf));
	pr_info("update near-null instructions=%llu\n",
		count_update(static_call_near_leaf, NULL));
	return 0;
}
module_init(static_call_count_init);

static void __exit static_call_count_exit(void)
{
}
module_exit(static_call_count_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Static calls: how many instructions a call executes");
