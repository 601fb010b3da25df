// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Static calls out of line: retargeting their trampolines.
 *
 * Made by static-call, which checks designs under Arm's memory model. The
 * trampoline in asm/static_call.h and the steps below are those of
 *
 * The design @name@:
 *
@text@
 */
#include <linux/bug.h>
#include <linux/cacheflush.h>
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/memory.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/smp.h>
#include <linux/static_call.h>

#include <asm/barrier.h>
#include <asm/insn.h>
#include <asm/@patching@>

/* The words of a trampoline that never change, by offset from its entry. */
static const struct {
	int offset;
	u32 mask;
	u32 word;
} fixed_words[] = {
@words@
};
@finders@
static bool is_trampoline(void *tramp)
{
	u32 word;
	int i;

	for (i = 0; i < ARRAY_SIZE(fixed_words); i++) {
		if (aarch64_insn_read(tramp + fixed_words[i].offset, &word))
			return false;
		if ((word & fixed_words[i].mask) != fixed_words[i].word)
			return false;
	}
@slots@
}
@helpers@
/*
 * Retargets a trampoline to @func, while other CPUs may be anywhere in it.
 *
 * Out of line, __static_call_update() holds cpus_read_lock() and nothing that
 * serialises it: text_mutex does, against other updates and against kprobes.
 */
void arch_static_call_transform(void *site, void *tramp, void *func, bool tail)
{
@cells@

	mutex_lock(&text_mutex);

	if (WARN_ONCE(!is_trampoline(tramp), "%pS is no trampoline\n", tramp))
		goto out;

@forms@

@steps@
out:
	mutex_unlock(&text_mutex);
}
EXPORT_SYMBOL_GPL(arch_static_call_transform);
