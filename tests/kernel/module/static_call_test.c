// SPDX-License-Identifier: GPL-2.0
/*
 * Static calls under load: every change of target, while every CPU calls.
 *
 * Loading this module does nothing but define a static call and targets near
 * it. static_call_far.ko brings targets and a static call of its own from more
 * than 128 MiB away, and starts the test by static_call_test_run():
 *
 *  pairs	each ordered pair of targets, for both static calls: after the
 *		update every CPU has to get the new one
 *  stress	a thread on every CPU calls both without a pause, while they are
 *		updated to random targets; see struct race for what is checked,
 *		and fault_of() for what an emulator may do wrong
 *  tracepoint	the kernel's own static calls: a probe in this module, one in
 *		the far one, both, none; each event has to be seen as often as
 *		there are probes
 *
 * One table on the console; the last line has all the numbers.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitops.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <trace/events/kmem.h>

#include <asm/barrier.h>

#include "static_call_test.h"

static ulong calls = 10 * 1000 * 1000;
module_param(calls, ulong, 0444);
MODULE_PARM_DESC(calls, "calls under load, at least");

static uint updates = 50 * 1000;
module_param(updates, uint, 0444);
MODULE_PARM_DESC(updates, "updates under load, up to 1000000; 0 for no load");

static uint seconds = 800;
module_param(seconds, uint, 0444);
MODULE_PARM_DESC(seconds, "after which the load ends in any case, and the test has failed");

static bool null_is_ret0;
module_param(null_is_ret0, bool, 0444);
MODULE_PARM_DESC(null_is_ret0, "the design has no form for NULL: it calls __static_call_return0");

static DEFINE_TARGET(near_b, TO_NEAR_B)

DEFINE_TARGET(static_call_test_target, TO_NEAR_A)
EXPORT_SYMBOL_GPL(static_call_test_target);

DEFINE_STATIC_CALL(near, static_call_test_target);
SUBJECT(near);

static const char * const target_names[TARGETS] = {
	[TO_KERNEL] = "kernel", [TO_NEAR_A] = "near_a", [TO_NEAR_B] = "near_b",
	[TO_FAR_A] = "far_a", [TO_FAR_B] = "far_b", [TO_NULL] = "null", [TO_RET0] = "ret0",
};

static target_fn *target_functions[TARGETS];

/* Which target a result comes from; 0 if from none. */
static unsigned int target_of(u64 result, u64 arg)
{
	u64 number = result >> TARGET_SHIFT;

	if (result == arg)
		return TO_NULL;
	if (!result)
		return TO_RET0;
	if (result == hweight64(arg))
		return TO_KERNEL;
	if (number >= TARGETS || result != (arg | number << TARGET_SHIFT))
		return 0;
	return number;
}

/* What a call is to say after an update to this target. */
static unsigned int expected_of(unsigned int target)
{
	return target == TO_NULL && null_is_ret0 ? TO_RET0 : target;
}

/* pairs */

struct check {
	const struct subject *subject;
	unsigned int target;
	atomic_t wrong;
};

static void check_here(void *info)
{
	struct check *check = info;
	u64 arg = ARGUMENT_BIT + 0x1000 * check->target + raw_smp_processor_id();
	unsigned int target = target_of(check->subject->call(arg), arg);

	if (target != expected_of(check->target))
		atomic_inc(&check->wrong);
}

/* Updates, and returns on how many CPUs a call then went elsewhere. */
static unsigned int update_and_check(const struct subject *subject, unsigned int target)
{
	struct check check = { subject, target, ATOMIC_INIT(0) };

	subject->update(target_functions[target]);
	on_each_cpu(check_here, &check, true);
	if (subject->query() != target_functions[target])
		atomic_inc(&check.wrong);
	return atomic_read(&check.wrong);
}

static unsigned long pairs_done;

static unsigned long check_pairs(const struct subject *subject)
{
	unsigned long wrong = 0, bad;
	unsigned int from, to;

	for (from = 1; from < TARGETS; from++) {
		for (to = 1; to < TARGETS; to++) {
			bad = update_and_check(subject, from) + update_and_check(subject, to);
			if (bad)
				pr_err("%s: %s to %s: %lu wrong\n", subject->name,
				       target_names[from], target_names[to], bad);
			wrong += bad;
			pairs_done++;
		}
	}
	return wrong;
}

/* A trampoline, as far as the designs that patch code go. */
struct image {
	u32 words[10];
};

/*
 * Shows where targets are, and the trampoline's second word in each form: where
 * a design has its slot. Keeps the whole of it.
 */
static void show_targets(const struct subject *subject, struct image *images)
{
	unsigned int to;
	long distance;

	for (to = 1; to < TARGETS; to++) {
		subject->update(target_functions[to]);
		memcpy(&images[to], subject->trampoline, sizeof(*images));
		distance = (long)target_functions[to] - (long)subject->trampoline;
		if (to == TO_NULL || to == TO_RET0)
			distance = 0;
		pr_info("target %-6s %-6s trampoline=%px target=%px MiB=%ld words=%08x,%08x\n",
			subject->name, target_names[to], subject->trampoline,
			target_functions[to], distance / (1 << 20),
			images[to].words[0], images[to].words[1]);
	}
}

/* stress */

/*
 * What each update was to is known beforehand. The updater says which update
 * it begins and which one is done; a caller looks at the second before its call
 * and at the first after it. Between these two numbers are all the targets
 * that the call may have gone to: none that was replaced by an update which had
 * returned when the call began.
 */
struct race {
	const struct subject *subject;
	u8 *targets;
	unsigned int begun, done;
	struct image images[TARGETS];
};

struct caller {
	struct task_struct *task;
	unsigned long calls, exact;
	unsigned long faults[3];
	unsigned long by_target[TARGETS];
};

static struct race races[2];
static bool stop_callers;

enum fault {
	WRONG,		/* the static call's */
	STALE,		/* the emulator's, proved */
	UNPROVED,	/* one of these: an update since has made it go away */
};

static bool is_allowed(const struct race *race, unsigned int first, unsigned int last,
		       unsigned int target)
{
	for (; first <= last; first++)
		if (target == expected_of(race->targets[first]))
			return true;
	return false;
}

/*
 * Whose fault a call is that went wrong between two updates.
 *
 * With a host thread for each CPU, QEMU may translate old code once more after a
 * store has invalidated the translation and before it has changed the memory;
 * what it translated then stays, whatever the guest does, until somebody stores
 * to that page again (seen with QEMU 7.2). With all CPUs in one
 * host thread that cannot be.
 *
 * It is told by what no CPU may do: memory holds the trampoline of the right
 * target, word by word as it was when calls went there; this CPU cleans and
 * invalidates these words itself, with the barriers, and an ISB; and still it
 * executes what they were before.
 */
static enum fault fault_of(struct race *race, unsigned int first, unsigned int last, u64 arg)
{
	const void *trampoline = race->subject->trampoline;
	unsigned int done, begun, target, i;
	struct image now;

	done = smp_load_acquire(&race->done);
	memcpy(&now, trampoline, sizeof(now));
	for (i = 0; i < sizeof(now); i += 4)
		asm volatile("dc cvau, %0" : : "r" (trampoline + i) : "memory");
	dsb(ish);
	for (i = 0; i < sizeof(now); i += 4)
		asm volatile("ic ivau, %0" : : "r" (trampoline + i) : "memory");
	dsb(ish);
	isb();
	target = target_of(race->subject->call(arg), arg);
	begun = smp_load_acquire(&race->begun);

	if (!is_allowed(race, done, begun, target))
		for (i = done; i <= begun; i++)
			if (!memcmp(&now, &race->images[race->targets[i]], sizeof(now)))
				return STALE;
	return first == last && done == first && begun == last ? WRONG : UNPROVED;
}

static void call_once(struct race *race, struct caller *caller, u64 arg)
{
	unsigned int first = smp_load_acquire(&race->done), last, target;
	enum fault fault;

	target = target_of(race->subject->call(arg), arg);
	last = smp_load_acquire(&race->begun);
	caller->calls++;
	caller->exact += first == last;
	caller->by_target[target]++;
	if (likely(is_allowed(race, first, last, target)))
		return;
	fault = target ? fault_of(race, first, last, arg) : WRONG;
	if (!caller->faults[fault]++)
		pr_info("%s: a call went to %s (%u) between update %u, to %s, and %u: fault %d\n",
			race->subject->name, target ? target_names[target] : "nowhere known",
			target, first, target_names[race->targets[first]], last, fault);
}

static int caller_thread(void *data)
{
	struct caller *caller = data;
	u64 arg = ARGUMENT_BIT;

	while (!READ_ONCE(stop_callers)) {
		/* Arguments differ, so that a result of an earlier call is none of this one. */
		call_once(&races[arg & 1], caller, arg);
		arg = ARGUMENT_BIT | ((arg + 1) & (ARGUMENT_BIT - 1));
		/* YIELD: an emulator that runs the CPUs in turns goes on to the next one. */
		if (!(arg & 0xf))
			cpu_relax();
		if (!(arg & 0x3ff))
			cond_resched();
	}
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

static unsigned long total_calls(const struct caller *callers)
{
	unsigned long total = 0;
	int cpu;

	for_each_online_cpu(cpu)
		total += READ_ONCE(callers[cpu].calls);
	return total;
}

static u32 next_random(u32 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static int prepare_race(struct race *race, const struct subject *subject, u32 seed)
{
	unsigned int i;

	race->subject = subject;
	race->targets = kvmalloc(updates + 1, GFP_KERNEL);
	if (!race->targets)
		return -ENOMEM;
	for (i = 0; i <= updates; i++)
		race->targets[i] = 1 + next_random(&seed) % (TARGETS - 1);
	subject->update(target_functions[race->targets[0]]);
	return 0;
}

static void update_race(struct race *race, unsigned int number)
{
	/* Before the stores of the update: who sees one of these sees the number. */
	smp_store_mb(race->begun, number);
	race->subject->update(target_functions[race->targets[number]]);
	smp_store_release(&race->done, number);
}

static unsigned long stress_updates, stress_calls, stress_exact, stress_faults[3];
static u64 stress_ns, update_ns;

static unsigned long stress(const struct subject *one, const struct subject *other)
{
	struct caller *callers = kcalloc(nr_cpu_ids, sizeof(*callers), GFP_KERNEL);
	unsigned long wrong = 0, end = jiffies + seconds * HZ;
	u64 start = ktime_get_ns(), before;
	unsigned int number = 1, to;
	int cpu;

	if (!callers || prepare_race(&races[0], one, 1) || prepare_race(&races[1], other, 2)) {
		wrong = 1;
		goto out;
	}
	for_each_online_cpu(cpu) {
		struct task_struct *task;

		task = kthread_create(caller_thread, &callers[cpu], "caller/%d", cpu);
		if (IS_ERR(task)) {
			wrong = 1;
			continue;
		}
		kthread_bind(task, cpu);
		callers[cpu].task = task;
		wake_up_process(task);
	}
	while (time_before(jiffies, end)) {
		if (number <= updates) {
			before = ktime_get_ns();
			update_race(&races[number & 1], (number + 1) / 2);
			update_ns += ktime_get_ns() - before;
			stress_updates++;
			number++;
			/* Somewhere else in the callers' loops each time. */
			if (!(number & 0xff))
				schedule_timeout_uninterruptible(1);
		} else if (total_calls(callers) < calls) {
			schedule_timeout_uninterruptible(HZ / 10 + 1);
		} else {
			break;
		}
	}
	WRITE_ONCE(stop_callers, true);
	stress_ns = ktime_get_ns() - start;
	for_each_online_cpu(cpu) {
		struct caller *caller = &callers[cpu];

		if (!caller->task)
			continue;
		kthread_stop(caller->task);
		pr_info("caller cpu=%d calls=%lu exact=%lu wrong=%lu stale=%lu unproved=%lu\n",
			cpu, caller->calls, caller->exact, caller->faults[WRONG],
			caller->faults[STALE], caller->faults[UNPROVED]);
		for (to = 1; to < TARGETS; to++)
			pr_info("caller cpu=%d target=%-6s calls=%lu\n", cpu, target_names[to],
				caller->by_target[to]);
		if (!caller->calls)
			wrong++;
		stress_calls += caller->calls;
		stress_exact += caller->exact;
		for (to = 0; to < ARRAY_SIZE(caller->faults); to++)
			stress_faults[to] += caller->faults[to];
		wrong += caller->faults[WRONG];
	}
	if (stress_calls < calls || stress_updates < updates) {
		pr_err("only %lu calls and %lu updates in %u seconds\n", stress_calls,
		       stress_updates, seconds);
		wrong++;
	}
out:
	kvfree(races[0].targets);
	kvfree(races[1].targets);
	kfree(callers);
	return wrong;
}

/* tracepoint */

#define EVENTS 1000

/* What the test frees: others free at the same time, in interrupts too, and often NULL. */
#define NO_OBJECT ((void *)-1L)
static const void *traced_object = NO_OBJECT;
static unsigned long near_probes, far_probes;

static void near_probe(void *data, unsigned long ip, const void *object)
{
	if (object == READ_ONCE(traced_object))
		near_probes++;
}

/* The far module's probe is called by the kernel, and then calls this. */
void static_call_test_count_probe(const void *object)
{
	if (object == READ_ONCE(traced_object))
		far_probes++;
}
EXPORT_SYMBOL_GPL(static_call_test_count_probe);

static unsigned long events_seen;

static unsigned long check_events(const char *when, unsigned long near, unsigned long far)
{
	unsigned int i;

	near_probes = far_probes = 0;
	for (i = 0; i < EVENTS; i++) {
		void *object = kmalloc(8, GFP_KERNEL);

		WRITE_ONCE(traced_object, object);
		kfree(object);
		WRITE_ONCE(traced_object, NO_OBJECT);
	}
	events_seen += near_probes + far_probes;
	if (near_probes == near && far_probes == far)
		return 0;
	pr_err("tracepoint, %s: %lu and %lu events, not %lu and %lu\n", when, near_probes,
	       far_probes, near, far);
	return 1;
}

static unsigned long check_tracepoint(const struct far_module *far)
{
	unsigned long wrong;
	unsigned int i;

	wrong = check_events("no probe", 0, 0);
	for (i = 0; i < 10; i++) {
		wrong += !!register_trace_kfree(near_probe, NULL);
		wrong += check_events("near", EVENTS, 0);
		wrong += !!register_trace_kfree(far->probe, NULL);
		wrong += check_events("both", EVENTS, EVENTS);
		wrong += !!unregister_trace_kfree(near_probe, NULL);
		wrong += check_events("far", 0, EVENTS);
		wrong += !!unregister_trace_kfree(far->probe, NULL);
		wrong += check_events("none", 0, 0);
	}
	tracepoint_synchronize_unregister();
	return wrong;
}

static bool is_far(const void *from, const void *to)
{
	return abs((long)to - (long)from) >= SZ_128M;
}

int static_call_test_run(const struct far_module *far)
{
	struct subject one = near_subject, other = far->subject;
	unsigned long wrong;
	unsigned int i;

	one.trampoline = TRAMPOLINE(near);
	if (updates > 1000 * 1000)
		return -EINVAL;
	target_functions[TO_KERNEL] = __sw_hweight64;
	target_functions[TO_NEAR_A] = static_call_test_target;
	target_functions[TO_NEAR_B] = near_b;
	target_functions[TO_FAR_A] = far->targets[0];
	target_functions[TO_FAR_B] = far->targets[1];
	target_functions[TO_NULL] = NULL;
	target_functions[TO_RET0] = (void *)__static_call_return0;

	pr_info("cpus=%u kernel=%px near=%px far=%px\n", num_online_cpus(), __sw_hweight64,
		one.trampoline, other.trampoline);
	if (!is_far(one.trampoline, far->targets[0]) || !is_far(one.trampoline, far->targets[1])) {
		pr_info("NEAR the far module is near: nothing is tested\n");
		return -ERANGE;
	}
	wrong = near_subject.call(ARGUMENT_BIT) !=
		(ARGUMENT_BIT | (u64)TO_NEAR_A << TARGET_SHIFT);
	if (wrong)
		pr_err("near: its first target is not called\n");
	if (other.call(ARGUMENT_BIT) != 1) {
		pr_err("far: its first target, in the kernel, is not called\n");
		wrong++;
	}
	show_targets(&one, races[0].images);
	show_targets(&other, races[1].images);
	wrong += check_pairs(&one);
	wrong += check_pairs(&other);
	wrong += check_tracepoint(far);
	if (updates)
		wrong += stress(&one, &other);
	/* Nothing that goes away may remain a target. */
	for (i = 0; i < 2; i++)
		(i ? &other : &one)->update((void *)__static_call_return0);
	pr_info("%s wrong=%lu stale=%lu unproved=%lu pairs=%lu events=%lu calls=%lu updates=%lu exact=%lu ms=%llu ns_per_update=%llu\n",
		wrong ? "FAIL" : "PASS", wrong, stress_faults[STALE],
		stress_faults[UNPROVED], pairs_done, events_seen, stress_calls,
		stress_updates, stress_exact, stress_ns / NSEC_PER_MSEC,
		stress_updates ? update_ns / stress_updates : 0);
	return wrong ? -EIO : 0;
}
EXPORT_SYMBOL_GPL(static_call_test_run);

static int __init static_call_test_init(void)
{
	return 0;
}
module_init(static_call_test_init);

static void __exit static_call_test_exit(void)
{
}
module_exit(static_call_test_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Static calls: every change of target, while every CPU calls");
