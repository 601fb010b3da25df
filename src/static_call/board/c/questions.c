// SPDX-License-Identifier: MIT
/*
 * Asks one question: runs a litmus test again and again, and counts its outcomes.
 *
 * A test's code is words, which are copied to memory that is mapped twice: once to write and once to
 * execute, never both. There are many instances of a test at once, and each has its own code and its
 * own variables, a cache line for each variable. Before an instance runs, all that it may have
 * changed is put back, with the maintenance that Arm asks for, and each thread has an ISB: so each
 * run starts in the test's initial state. The threads start together, but for a random delay. Where
 * code starts in its cache line, and which CPUs the threads run on, changes from round to round.
 *
 * A thread's first word is `ldr x30, [sp, #104]`, and its code ends in a jump back to thread_end: see
 * run_thread. A thread that faults, since it branched to where there is no code, ends there.
 *
 * Each question is asked in a process of its own, which is killed if it does not end in time.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include "board.h"

enum { INSTANCES = 32, SWEEPS = 16, REGISTERS = 31, SPINS = 200, DELAY = 256, GRACE = 10 };

/* What is executed: x0 to x30 in and out, and where. It changes the registers that C wants kept. */
void run_thread(uint64_t *registers, uintptr_t entry);
extern char thread_end[];
__asm__(".text\n"
	"	.balign 4\n"
	"	.globl	run_thread, thread_end\n"
	"	.hidden	run_thread, thread_end\n"
	"	.type	run_thread, %function\n"
	"run_thread:\n"
	"	hint	#34\n" /* bti c */
	"	sub	sp, sp, #224\n"
	"	stp	x18, x19, [sp, #0]\n"
	"	stp	x20, x21, [sp, #16]\n"
	"	stp	x22, x23, [sp, #32]\n"
	"	stp	x24, x25, [sp, #48]\n"
	"	stp	x26, x27, [sp, #64]\n"
	"	stp	x28, x29, [sp, #80]\n"
	"	str	x0, [sp, #96]\n"
	"	ldr	x9, [x0, #240]\n"
	"	str	x9, [sp, #104]\n" /* the test's x30 */
	"	adr	x9, thread_end\n"
	"	stp	x9, x30, [sp, #112]\n"
	"	str	x1, [sp, #128]\n"
	"	mov	x30, x0\n"
	"	ldp	x0, x1, [x30, #0]\n"
	"	ldp	x2, x3, [x30, #16]\n"
	"	ldp	x4, x5, [x30, #32]\n"
	"	ldp	x6, x7, [x30, #48]\n"
	"	ldp	x8, x9, [x30, #64]\n"
	"	ldp	x10, x11, [x30, #80]\n"
	"	ldp	x12, x13, [x30, #96]\n"
	"	ldp	x14, x15, [x30, #112]\n"
	"	ldp	x16, x17, [x30, #128]\n"
	"	ldp	x18, x19, [x30, #144]\n"
	"	ldp	x20, x21, [x30, #160]\n"
	"	ldp	x22, x23, [x30, #176]\n"
	"	ldp	x24, x25, [x30, #192]\n"
	"	ldp	x26, x27, [x30, #208]\n"
	"	ldp	x28, x29, [x30, #224]\n"
	"	ldr	x30, [sp, #128]\n"
	"	isb\n"
	"	br	x30\n"
	"thread_end:\n" /* the test's x30 is at [sp, #104] */
	"	hint	#36\n" /* bti j */
	"	ldr	x30, [sp, #96]\n"
	"	stp	x0, x1, [x30, #0]\n"
	"	stp	x2, x3, [x30, #16]\n"
	"	stp	x4, x5, [x30, #32]\n"
	"	stp	x6, x7, [x30, #48]\n"
	"	stp	x8, x9, [x30, #64]\n"
	"	stp	x10, x11, [x30, #80]\n"
	"	stp	x12, x13, [x30, #96]\n"
	"	stp	x14, x15, [x30, #112]\n"
	"	stp	x16, x17, [x30, #128]\n"
	"	stp	x18, x19, [x30, #144]\n"
	"	stp	x20, x21, [x30, #160]\n"
	"	stp	x22, x23, [x30, #176]\n"
	"	stp	x24, x25, [x30, #192]\n"
	"	stp	x26, x27, [x30, #208]\n"
	"	stp	x28, x29, [x30, #224]\n"
	"	ldr	x0, [sp, #104]\n"
	"	str	x0, [x30, #240]\n"
	"	ldp	x18, x19, [sp, #0]\n"
	"	ldp	x20, x21, [sp, #16]\n"
	"	ldp	x22, x23, [sp, #32]\n"
	"	ldp	x24, x25, [sp, #48]\n"
	"	ldp	x26, x27, [sp, #64]\n"
	"	ldp	x28, x29, [sp, #80]\n"
	"	ldr	x30, [sp, #120]\n"
	"	add	sp, sp, #224\n"
	"	ret\n"
	"	.size	run_thread, . - run_thread\n");

static const struct question *question;
static struct answer *answer; /* shared with the process that waits */
static double deadline;

static char *writable, *executable, *data;
static size_t line, smallest, room[MOST_THREADS], per_instance; /* bytes */
static size_t shift[MOST_THREADS];		      /* of a thread's code in its room */
static uint64_t waits, waits_state = 1; /* of the next instance; long ones find a thread that slept */
static uint64_t registers[INSTANCES][MOST_THREADS][REGISTERS];

static int cpus[CPU_SETSIZE], cpu_count, cpu_of[MOST_THREADS];
static int arrived, generation, stop; /* of the barrier; whether the time is over */
static __thread volatile int running; /* a test's code */

static uint64_t random_of(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

/* Waits until all threads have come. It gives the CPU away, as there may be only one. */
static void meet(void)
{
	int mine = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == question->thread_count) {
		__atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&generation, mine + 1, __ATOMIC_RELEASE);
		return;
	}
	for (int spins = 0; __atomic_load_n(&generation, __ATOMIC_ACQUIRE) == mine; spins++)
		if (spins > SPINS)
			sched_yield();
}

static size_t code_at(int instance, int thread)
{
	size_t at = (size_t)instance * per_instance + shift[thread];

	for (int before = 0; before < thread; before++)
		at += room[before];
	return at;
}

static char *variable_at(int instance, int variable)
{
	return data + (size_t)(instance * question->variable_count + variable) * line;
}

static uint64_t value_of(const struct value *value, int instance)
{
	switch (value->kind) {
	case CODE:
		return (uintptr_t)executable + code_at(instance, value->of) + value->number;
	case ALIAS:
		return (uintptr_t)writable + code_at(instance, value->of) + value->number;
	case DATA:
		return (uintptr_t)variable_at(instance, value->of) + value->number;
	case WAITS:
		return waits;
	default:
		return value->number;
	}
}

/* A value as an outcome shows it: an address by its name in the test. */
static uint64_t shown(uint64_t value, int instance)
{
	for (int i = 0; i < question->thread_count; i++) {
		const struct thread *thread = &question->threads[i];
		uint64_t from = value - ((uintptr_t)executable + code_at(instance, i));

		if (from < 4 * (uint64_t)thread->word_count)
			return thread->address + from;
	}
	for (int i = 0; i < question->variable_count; i++) {
		uint64_t from = value - (uintptr_t)variable_at(instance, i);

		if (from < 8)
			return question->variables[i].address + from;
	}
	return value;
}

/* Makes code that was written fetchable, as for a CPU without IDC and DIC. */
static void maintain(size_t from, size_t to)
{
	from &= -smallest;
	for (size_t at = from; at < to; at += smallest)
		__asm__ volatile("dc cvau, %0" : : "r"(writable + at) : "memory");
	__asm__ volatile("dsb ish" : : : "memory");
	for (size_t at = from; at < to; at += smallest)
		__asm__ volatile("ic ivau, %0" : : "r"(executable + at) : "memory");
	__asm__ volatile("dsb ish" : : : "memory");
}

/* Puts an instance's code, variables and registers back. `all`: its code has moved. */
static void reset(int instance, int all)
{
	waits = (uint64_t)64 << random_of(&waits_state) % 12;
	for (int i = 0; i < question->thread_count; i++) {
		const struct thread *thread = &question->threads[i];
		size_t at = code_at(instance, i);
		uint32_t *words = (uint32_t *)(void *)(writable + at);

		size_t first = 4 * (size_t)thread->word_count, end = 0; /* what is changed here */

		for (int word = 0; word < thread->word_count; word++) {
			if (!all && __atomic_load_n(&words[word], __ATOMIC_RELAXED) == thread->words[word])
				continue;
			__atomic_store_n(&words[word], thread->words[word], __ATOMIC_RELAXED);
			first = first < 4 * (size_t)word ? first : 4 * (size_t)word;
			end = 4 * (size_t)word + 4;
		}
		if (first < end)
			maintain(at + first, at + end);
		memset(registers[instance][i], 0, sizeof(registers[instance][i]));
		for (int set = 0; set < thread->set_count; set++)
			registers[instance][i][thread->sets[set].reg] =
				value_of(&thread->sets[set].value, instance);
	}
	for (int i = 0; i < question->variable_count; i++) {
		uint64_t value = value_of(&question->variables[i].start, instance);

		memcpy(variable_at(instance, i), &value, 8);
	}
}

static void count(int instance)
{
	uint64_t values[MOST_WATCHED] = { 0 };
	int found;

	for (int i = 0; i < question->watched_count; i++) {
		const struct watched *watched = &question->watched[i];

		if (watched->thread >= 0)
			values[i] = registers[instance][watched->thread][watched->number];
		else
			memcpy(&values[i], variable_at(instance, watched->number),
			       (size_t)question->variables[watched->number].size);
		values[i] = shown(values[i], instance);
	}
	answer->runs++;
	for (found = 0; found < answer->outcomes; found++)
		if (!memcmp(values, answer->values[found], sizeof(values)))
			break;
	if (found == MOST_OUTCOMES) {
		answer->more = 1;
		return;
	}
	memcpy(answer->values[found], values, sizeof(values));
	answer->counts[found]++;
	if (found == answer->outcomes)
		answer->outcomes++;
}

/* Chooses CPUs, and where code starts in its cache line. Thread 0 does this while others wait. */
static void prepare(uint64_t *state)
{
	for (int i = 0; i < question->thread_count; i++) {
		int other = i + (int)(random_of(state) % (uint64_t)(cpu_count > i ? cpu_count - i : 1));

		if (cpu_count > i) {
			int cpu = cpus[i];

			cpus[i] = cpus[other];
			cpus[other] = cpu;
		}
		cpu_of[i] = cpu_count ? cpus[i % cpu_count] : -1;
		shift[i] = random_of(state) % (line / 4) * 4;
	}
	for (int instance = 0; instance < INSTANCES; instance++)
		reset(instance, 1);
}

static void go_to(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Runs all instances once. */
static void sweep(int thread, uint64_t *state)
{
	for (int instance = 0; instance < INSTANCES; instance++) {
		uintptr_t entry = (uintptr_t)executable + code_at(instance, thread);
		uint64_t chance = random_of(state);

		if (chance & 1) /* so that old code is in the instruction cache */
			__asm__ volatile("prfm plil1keep, [%0]" : : "r"(entry + (chance >> 8) % room[thread]));
		meet();
		for (uint64_t wait = chance & 2 ? (chance >> 16) % DELAY : 0; wait; wait--)
			__asm__ volatile("");
		running = 1;
		run_thread(registers[instance][thread], entry);
		running = 0;
	}
}

static void *work(void *number)
{
	int thread = (int)(intptr_t)number;
	uint64_t state = 0x9e3779b97f4a7c15u * (uint64_t)(thread + 1) ^ (uint64_t)(now() * 1e9);

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (!thread)
			prepare(&state);
		meet();
		go_to(cpu_of[thread]);
		for (int i = 0; i < SWEEPS && !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
			sweep(thread, &state);
			meet();
			for (int instance = 0; !thread && instance < INSTANCES; instance++) {
				count(instance);
				reset(instance, 0);
			}
			if (!thread)
				__atomic_store_n(&stop, now() > deadline, __ATOMIC_RELAXED);
			meet();
		}
	}
	return number;
}

/* A thread that faults in a test's code has ended, with the registers that it has. */
static void faulted(int signal, siginfo_t *info, void *context)
{
	mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;

	(void)info;
	if (!running) {
		struct sigaction usual;

		memset(&usual, 0, sizeof(usual));
		usual.sa_handler = SIG_DFL;
		sigaction(signal, &usual, 0);
		return;
	}
	((uint64_t *)(uintptr_t)machine->sp)[13] = machine->regs[30];
	machine->pc = (uintptr_t)thread_end;
	machine->pstate &= ~(3ul << 10); /* BTYPE: there is no landing pad to demand */
}

static void find_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return; /* more CPUs than the set can hold: they go where Linux puts them */
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((size_t)cpu, &set))
			cpus[cpu_count++] = cpu;
}

static size_t lines(size_t size)
{
	return (size + line - 1) / line * line;
}

/* Maps memory for the instances. Returns 0, or what failed. */
static const char *map(void)
{
	uint64_t ctr;
	size_t size, instruction, other;
	int file;

	__asm__("mrs %0, ctr_el0" : "=r"(ctr));
	instruction = (size_t)4 << (ctr & 15);
	other = (size_t)4 << (ctr >> 16 & 15);
	smallest = instruction < other ? instruction : other;
	line = instruction > other ? instruction : other;
	if (line < 128)
		line = 128; /* some CPUs have such lines, whatever the smallest is */
	per_instance = 0;
	for (int i = 0; i < question->thread_count; i++)
		per_instance += room[i] = lines(4 * (size_t)question->threads[i].word_count) + line;
	size = INSTANCES * per_instance;
	/* MFD_CLOEXEC; older C libraries have no memfd_create() */
	file = (int)syscall(SYS_memfd_create, "code", 1u);
	if (file < 0 || ftruncate(file, (off_t)size))
		return "no memory file";
	writable = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	executable = mmap(0, size, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
	data = mmap(0, INSTANCES * line * (size_t)(question->variable_count + 1), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	close(file);
	if (writable == MAP_FAILED || executable == MAP_FAILED || data == MAP_FAILED)
		return "no memory that can be executed";
	return 0;
}

static int run(void)
{
	pthread_t others[MOST_THREADS];
	struct sigaction action;

	if (map())
		return 2;
	find_cpus();
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = faulted;
	action.sa_flags = SA_SIGINFO;
	sigaction(SIGSEGV, &action, 0);
	sigaction(SIGILL, &action, 0);
	sigaction(SIGBUS, &action, 0);
	for (intptr_t i = 1; i < question->thread_count; i++)
		if (pthread_create(&others[i], 0, work, (void *)i))
			return 3;
	work(0);
	for (int i = 1; i < question->thread_count; i++)
		pthread_join(others[i], 0);
	return 0;
}

const char *ask(const struct question *asked, double seconds, struct answer *to)
{
	static char why[64];
	int status = 0;
	pid_t child;

	answer = mmap(0, sizeof(*answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (answer == MAP_FAILED)
		return "no memory";
	question = asked;
	deadline = now() + seconds;
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(run());
	}
	while (child > 0 && !waitpid(child, &status, WNOHANG)) {
		struct timespec pause = { 0, 1000000 };

		if (now() > deadline + GRACE) {
			kill(child, SIGKILL);
			waitpid(child, &status, 0);
			break;
		}
		nanosleep(&pause, 0);
	}
	memcpy(to, answer, sizeof(*to));
	munmap(answer, sizeof(*answer));
	if (child < 0)
		return "no process";
	if (WIFSIGNALED(status)) {
		snprintf(why, sizeof(why), WTERMSIG(status) == SIGKILL ? "hung" : "signal %d",
			 WTERMSIG(status));
		return why;
	}
	return !WEXITSTATUS(status)	   ? 0
	       : WEXITSTATUS(status) == 2 ? "no memory that can be executed"
					  : "no thread";
}
