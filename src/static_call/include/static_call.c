/* SPDX-License-Identifier: MIT */
/*
 * Changes the static calls of the running process, for static_call.h. Compile it, as C or as C++,
 * into each program and each shared object that has calls of static_call_update() in it: several
 * copies in a process go well together, since it is the keys that have the locks.
 *
 * Code and literals are written through /proc/thread-self/mem: pages stay read-only, no page is
 * ever writable and executable, and after fork() a child's pages are its own. The steps are those of
 * the designs inline-stub and adrp-stub, in their order.
 *
 * That rests on the kernel storing 4 and 8 aligned bytes as one, as the loads and stores of its
 * memcpy() do (Linux, arch/arm64/lib/memcpy.S). Where the CPU has FEAT_MOPS newer kernels copy by
 * CPYP, CPYM and CPYE, which promise the order of bytes only: there an update is refused. To make
 * the page writable instead would do only if nobody else in the process changed the page's rights
 * meanwhile, which other copies of this file, and others, cannot be kept from.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* for the registers in ucontext_t */
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "static_call.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What this copy knows of its process, alone on its pages, which the kernel fills with zeros in a
 * child: locks of threads that the child does not have, and a file that has the parent's memory.
 */
static struct {
	unsigned int lock; /* for what follows, up to `users`, and `memory`; the last one to be taken */
	char checked; /* whether code that is written does run: see check_writes() */
	char translated;
	char forgotten; /* whether a child forgets all this */
	char open; /* whether `memory` is this process's */
	char closing; /* whether the last one to use it closes it */
	unsigned int users;
	unsigned int synchronizing; /* the lock for what follows */
	uintptr_t answer, questions; /* where a thread says where it is, and how many were asked */
} __attribute__((__aligned__(65536))) own;

/*
 * The file with this process's memory, or a parent's. It is left at a position that no other file
 * is at, the address of `own`: so it is seen if others have closed it, or put theirs in its place.
 */
static int memory = -1;
#define POSITION ((long)&own)

/* ---- System calls: no cancellation points, and errno stays as it is. ----------------------- */

/*
 * All in one piece: between two statements the compiler may put calls of its own, which count,
 * check or trace, and change registers.
 */
static long system_call_of_6(long number, long a, long b, long c, long d, long e, long f)
{
	long result;

	__asm__ volatile("mov	x8, %1\n"
			 "mov	x0, %2\n"
			 "mov	x1, %3\n"
			 "mov	x2, %4\n"
			 "mov	x3, %5\n"
			 "mov	x4, %6\n"
			 "mov	x5, %7\n"
			 "svc	#0\n"
			 "mov	%0, x0"
			 : "=r"(result)
			 : "r"(number), "r"(a), "r"(b), "r"(c), "r"(d), "r"(e), "r"(f)
			 : "x0", "x1", "x2", "x3", "x4", "x5", "x8", "memory", "cc");
	return result;
}

static long system_call(long number, long a, long b, long c, long d)
{
	return system_call_of_6(number, a, b, c, d, 0, 0);
}

static void pause_us(long us)
{
	struct timespec time = { 0, us * 1000 };

	system_call(SYS_nanosleep, (long)&time, 0, 0, 0);
}

static void set_signals(uint64_t blocked, uint64_t *before)
{
	system_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&blocked, (long)before, sizeof(blocked));
}

static unsigned int thread_id(void)
{
	return (unsigned int)system_call(SYS_gettid, 0, 0, 0, 0);
}

/* ---- Locks --------------------------------------------------------------------------------- */

/*
 * A lock is 0 or its owner's thread id: compare-and-swap takes it, a store of 0 gives it back, and
 * nothing else keeps others out. An owner that is no thread of this process was one of the process
 * that forked it: here it will never give the lock back, and whatever it has done of a retarget left
 * a trampoline that works, so it is taken over.
 *
 * Tries to take one: 0, or the id of the thread that has it.
 */
static unsigned int try_to_take(unsigned int *lock, unsigned int self)
{
	unsigned int owner = 0;

	if (__atomic_compare_exchange_n(lock, &owner, self, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return 0;
	if (owner != self &&
	    system_call(SYS_tgkill, system_call(SYS_getpid, 0, 0, 0, 0), owner, 0, 0) ==
		    -ESRCH &&
	    __atomic_compare_exchange_n(lock, &owner, self, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return 0;
	return owner;
}

/* Takes one that is held for a moment only, by threads that block all signals. */
static int take(unsigned int *lock, unsigned int self)
{
	unsigned int owner;

	while ((owner = try_to_take(lock, self))) {
		if (owner == self)
			return EDEADLK;
		pause_us(50);
	}
	return 0;
}

static void release(unsigned int *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

/*
 * Those that wait for a key's lock do so in turn, with no signal blocked. Each takes a ticket from
 * `queue`: its lower half is the ticket whose turn it is, the upper one the next to be given. Who
 * has the turn waits for the lock, and passes the turn on when it has it; who has not waits for that.
 *
 * A signal handler may leave this for ever (longjmp), or for long; and in a child there may be
 * tickets of the parent's threads. So a turn that is not taken while the lock is free is passed on
 * by those behind it, and who finds that it was passed over takes another ticket. Nor does everyone
 * stand in line: what takes the lock from another language may just take it, and give it back
 * without a word. So nobody sleeps for long.
 */
enum { FREE_MS = 20, LOOK_MS = 1 };
enum { WAIT_BITSET = 9 | 128, WAKE_BITSET = 10 | 128 }; /* linux/futex.h, private */

static unsigned int turn_of(unsigned int queue)
{
	return queue & 0xffff;
}

/* Waits while *word is `value`, to be woken by this ticket's number. */
static long wait_for(unsigned int *word, unsigned int value, unsigned int ticket, long ms)
{
	struct timespec until = { 0, 0 };
	long result;

	system_call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&until, 0, 0);
	until.tv_nsec += ms * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	result = system_call_of_6(SYS_futex, (long)word, WAIT_BITSET, value, (long)&until, 0,
			     (long)(1u << ticket % 32));
	if (result == -ENOSYS || result == -EPERM) /* denied */
		pause_us(50);
	return result;
}

static void wake(unsigned int *word, unsigned int ticket)
{
	system_call_of_6(SYS_futex, (long)word, WAKE_BITSET, INT_MAX, 0, 0, (long)(1u << ticket % 32));
}

/* Ends a ticket's turn, if it is its turn. */
static void pass_on(unsigned int *queue, unsigned int ticket)
{
	unsigned int line = __atomic_load_n(queue, __ATOMIC_RELAXED);

	while (turn_of(line) == ticket) {
		unsigned int next = (line & 0xffff0000u) | turn_of(line + 1);

		if (__atomic_compare_exchange_n(queue, &line, next, 0, __ATOMIC_SEQ_CST,
						__ATOMIC_RELAXED)) {
			if (turn_of(next) != next >> 16)
				wake(queue, turn_of(next));
			return;
		}
	}
}

/* Takes a key's lock in turn, and blocks all signals; `before` are those that were blocked. */
static int take_in_turn(struct static_call_key *key, unsigned int self, uint64_t *before)
{
	unsigned int *lock = &key->lock, *queue = &key->queue;
	unsigned int line, ticket = 0, owner = 0;
	int waits = 0;

	for (;;) {
		line = __atomic_load_n(queue, __ATOMIC_SEQ_CST);
		if (turn_of(line) == (waits ? ticket : line >> 16)) {
			set_signals(~(uint64_t)0, before);
			owner = try_to_take(lock, self);
			if (!owner || owner == self) {
				if (waits)
					pass_on(queue, ticket);
				if (!owner)
					return 0;
			}
			set_signals(*before, NULL);
		} else {
			owner = __atomic_load_n(lock, __ATOMIC_RELAXED);
		}
		if (owner == self)
			return EDEADLK;
		if (!waits) {
			ticket = __atomic_fetch_add(queue, 0x10000, __ATOMIC_SEQ_CST) >> 16;
			waits = 1;
		} else if (turn_of(line) == ticket) {
			wait_for(lock, owner, ticket, LOOK_MS);
		} else if ((int16_t)(turn_of(line) - ticket) > 0) {
			waits = 0; /* it was passed over */
		} else if (wait_for(queue, line, ticket, FREE_MS) == -ETIMEDOUT &&
			   !__atomic_load_n(lock, __ATOMIC_RELAXED)) {
			pass_on(queue, turn_of(line));
		}
	}
}

static void release_in_turn(struct static_call_key *key, const uint64_t *before)
{
	unsigned int line;

	/* Sequentially consistent, as is taking a ticket: one of the two sees the other. */
	__atomic_store_n(&key->lock, 0, __ATOMIC_SEQ_CST);
	line = __atomic_load_n(&key->queue, __ATOMIC_SEQ_CST);
	if (turn_of(line) != line >> 16)
		wake(&key->lock, turn_of(line));
	set_signals(*before, NULL);
}

/* ---- Trampolines --------------------------------------------------------------------------- */

#define BTI_C 0xd503245fu
#define NOP 0xd503201fu
#define B 0x14000000u
#define LDR_X16_16 0x58000050u /* from 8 bytes further on */
#define ADRP_X16 0x90000010u
#define LDR_X16_X16 0xf9400210u
#define BR_X16 0xd61f0200u
#define MOV_X0_0 0xd2800000u
#define RET 0xd65f03c0u

#define REACH ((int64_t)1 << 27) /* of B, in bytes */

struct trampoline {
	uintptr_t start, slot, literal, ret0, null, end;
};

static uint32_t word_at(uintptr_t at)
{
	return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
}

/* Finds slot and literal. ENOEXEC if a word is not as in inline-stub or adrp-stub. */
static int recognise(void (*tramp)(void), struct trampoline *found)
{
	uintptr_t at = (uintptr_t)tramp;
	uint32_t slot, load;

	if (!at || at % 8)
		return ENOEXEC;
	found->start = at;
	found->slot = at + 4;
	slot = word_at(at + 4);
	load = word_at(at + 8);
	if (word_at(at) != BTI_C || (slot != NOP && (slot & 0xfc000000u) != B))
		return ENOEXEC;
	if (load == LDR_X16_16) {
		found->literal = at + 16;
		found->ret0 = at + 24;
		at += 12;
	} else if ((load & 0x9f00001f) == ADRP_X16 &&
		   (word_at(at + 12) & 0xffc003ff) == LDR_X16_X16) {
		/* 21 bits, signed: the higher ones from bit 5 on, the lower two from bit 29 on. */
		int64_t pages = ((int32_t)((load & 0x00ffffe0u) << 8) >> 11) +
				(int32_t)(load >> 29 & 3);

		found->literal = ((at + 8) & ~(uintptr_t)4095) + (uintptr_t)(pages * 4096) +
				 (word_at(at + 12) >> 10 & 0xfff) * 8;
		found->ret0 = at + 20;
		at += 16;
	} else {
		return ENOEXEC;
	}
	found->null = found->ret0 + 8;
	found->end = found->ret0 + 16;
	return word_at(at) == BR_X16 && word_at(found->ret0) == BTI_C &&
			       word_at(found->ret0 + 4) == MOV_X0_0 &&
			       word_at(found->null) == BTI_C && word_at(found->null + 4) == RET
		       ? 0
		       : ENOEXEC;
}

/* What a slot holds that leads to an address: a branch, or if that does not reach, NOP. */
static uint32_t slot_for(uintptr_t slot, uintptr_t target)
{
	int64_t offset = (int64_t)(target - slot);

	return offset < -REACH || offset >= REACH ? NOP : B | ((uint32_t)(offset >> 2) & 0x03ffffff);
}

/* ---- Writing ------------------------------------------------------------------------------- */

/*
 * Stores an aligned word, and looks whether it is there: between finding the file in its place and
 * here, some other thread may have closed it, and opened another.
 */
static int store(int fd, uintptr_t at, const void *value, size_t size)
{
	long done = system_call(SYS_pwrite64, fd, (long)value, (long)size, (long)at);

	if (done < 0)
		return (int)-done;
	if (size == sizeof(uint64_t))
		return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED) ==
				       *(const uint64_t *)value
			       ? 0
			       : EIO;
	return word_at(at) == *(const uint32_t *)value ? 0 : EIO;
}

/* Makes the stored word the one that is fetched, once its fetcher synchronises its context. */
static void maintain(uintptr_t at)
{
	__asm__ volatile("dc cvau, %0\n"
			 "dsb ish\n"
			 "ic ivau, %0\n"
			 "dsb ish"
			 : : "r"(at) : "memory");
	if (own.translated) {
		/*
		 * What was translated is dropped where a page becomes writable, which for qemu-user
		 * does not mean that other threads may not execute it meanwhile.
		 */
		unsigned long size = getauxval(AT_PAGESZ);

		system_call(SYS_mprotect, (long)(at & -size), (long)size,
			    PROT_READ | PROT_WRITE | PROT_EXEC, 0);
		system_call(SYS_mprotect, (long)(at & -size), (long)size, PROT_READ | PROT_EXEC, 0);
	}
}

/*
 * A function in two versions, the one that returns 0 and the one that returns 1. Both words of its
 * slot may be stored while it may be executed. It is no function by its symbol, and is called by
 * address, so that whoever optimises a linked file leaves it as it is.
 */
__asm__("	.pushsection .static_call.text, \"ax\", %progbits\n"
	"	.p2align 3\n"
	"	.globl	__static_call_version\n"
	"	.hidden	__static_call_version\n"
	"	.type	__static_call_version, %object\n"
	"__static_call_version:\n"
	"	hint	34\n"
	"	b	. + 12\n"
	"	mov	x0, #1\n"
	"	ret\n"
	"	mov	x0, #0\n"
	"	ret\n"
	"	.size	__static_call_version, . - __static_call_version\n"
	"	.popsection\n");

static uintptr_t version_at(void)
{
	uintptr_t at;

	__asm__("adrp	%0, __static_call_version\n"
		"add	%0, %0, :lo12:__static_call_version"
		: "=r"(at));
	return at;
}

static int version(void)
{
	long result;

	__asm__ volatile("blr	%1\n"
			 "mov	%0, x0"
			 : "=r"(result)
			 : "r"(version_at())
			 : "x0", "x30", "memory");
	return (int)result;
}

/*
 * Whether code that is written runs. An emulator of user space may not see the kernel write, and go
 * on with its translation; ENOTSUP if it cannot be made to drop that.
 */
static int check_writes(int fd)
{
	uintptr_t slot = version_at() + 4;
	int before = version();
	uint32_t other = before ? B | 3 : NOP;
	int error = store(fd, slot, &other, sizeof(other));

	if (error)
		return error;
	for (;;) {
		maintain(slot);
		__asm__ volatile("isb" : : : "memory");
		if (version() != before)
			break;
		if (own.translated)
			return ENOTSUP;
		own.translated = 1;
	}
	own.checked = 1;
	return 0;
}

static int is_memory(int fd)
{
	return system_call(SYS_lseek, fd, 0, SEEK_CUR, 0) == POSITION;
}

static void close_file(int fd)
{
	system_call(SYS_close, fd, 0, 0, 0);
}

/* What is open of `memory`: this process's, or a parent's. */
static void close_memory(void)
{
	if (is_memory(memory))
		close_file(memory);
	own.open = own.closing = 0;
}

/* Opens the file anew: its descriptor, or a negative errno. */
static int open_memory(void)
{
	/* Not /proc/self, which has no memory once the first thread has ended. */
	long fd = system_call(SYS_openat, AT_FDCWD, (long)"/proc/thread-self/mem",
			      O_RDWR | O_CLOEXEC, 0);
	long error;

	/*
	 * Where the standard streams are closed it would be one of them, and what the program prints
	 * would go into its memory. What it prints in this moment doesn't: nothing is at position 0.
	 */
	if (fd >= 0 && fd <= 2) {
		long higher = system_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3, 0);

		close_file((int)fd);
		fd = higher == -EINVAL ? -EMFILE : higher; /* 3 is more than are allowed */
	}
	if (fd < 0)
		return (int)fd;
	error = system_call(SYS_lseek, fd, POSITION, SEEK_SET, 0);
	error = error < 0 ? error : own.checked ? 0 : -check_writes((int)fd);
	if (error < 0) {
		close_file((int)fd);
		return (int)error;
	}
	return (int)fd;
}

/*
 * Begins to write: returns the descriptor or a negative errno. It stays open, for several threads at
 * once, if the kernel makes a child forget it, which no translator does. Signals are blocked.
 */
static int begin_to_write(unsigned int self)
{
	int fd = memory, error = take(&own.lock, self);

	if (error)
		return -error;
	if (!own.open || !is_memory(memory)) {
		if (!own.open)
			close_memory(); /* a parent's */
		fd = open_memory();
		if (fd >= 0 && !own.translated && !own.forgotten)
			own.forgotten = !system_call(SYS_madvise, (long)&own, sizeof(own),
						     18 /* MADV_WIPEONFORK */, 0);
		if (fd >= 0 && own.forgotten) {
			memory = fd;
			own.open = 1;
			own.users = 0; /* of a file that is gone */
		}
	}
	own.users += own.open && fd == memory;
	release(&own.lock);
	return fd;
}

static void end_of_writing(unsigned int self, int fd)
{
	take(&own.lock, self);
	if (own.open && fd == memory)
		own.users -= own.users > 0;
	else if (is_memory(fd))
		close_file(fd);
	if (own.open && own.closing && !own.users)
		close_memory();
	release(&own.lock);
}

/* ---- The update ---------------------------------------------------------------------------- */

#define HAS_MOPS (1ul << 43) /* of AT_HWCAP2: asm/hwcap.h */

enum { SYNC_CORE = 32, REGISTER_SYNC_CORE = 64 }; /* linux/membarrier.h */

static long membarrier(int command)
{
	return system_call(SYS_membarrier, command, 0, 0, 0);
}

/* A context synchronisation event on every thread of the process. */
static int cse(void)
{
	long result = membarrier(SYNC_CORE);

	if (result == -EPERM) { /* not registered yet, or denied */
		result = membarrier(REGISTER_SYNC_CORE);
		if (!result)
			result = membarrier(SYNC_CORE);
	}
	return (int)-result;
}

static int retarget(int fd, struct static_call_key *key, const struct trampoline *trampoline,
		    void (*func)(void), uintptr_t target, unsigned int flags)
{
	uint64_t literal = target;
	uint32_t slot = slot_for(trampoline->slot, target);
	void (*before)(void) = key->func;
	int error = 0;

	/* If it does not work it fails here, where nothing is written yet. */
	if (!(flags & STATIC_CALL_OLD_CODE))
		error = cse();
	else if (!(flags & STATIC_CALL_UNSETTLED))
		error = (int)-membarrier(REGISTER_SYNC_CORE);
	if (error)
		return error;
	__atomic_store_n(&key->func, func, __ATOMIC_RELAXED);
	error = store(fd, trampoline->literal, &literal, sizeof(literal));
	if (error) {
		__atomic_store_n(&key->func, before, __ATOMIC_RELAXED);
		return error;
	}
	__asm__ volatile("dmb ishst" : : : "memory");
	error = store(fd, trampoline->slot, &slot, sizeof(slot));
	if (error) {
		/* The old slot: only if it was NOP is the new literal in use. */
		if (word_at(trampoline->slot) != NOP)
			__atomic_store_n(&key->func, before, __ATOMIC_RELAXED);
		return error;
	}
	maintain(trampoline->slot);
	return flags & STATIC_CALL_UNSETTLED ? 0 : cse();
}

/*
 * The trampoline is the one that the caller's calls go to, by the caller's word. A key that says
 * otherwise is another one's, or was overwritten: nothing that is in writable memory says where to
 * write.
 */
int __static_call_update(struct static_call_key *key, void (*tramp)(void), void (*func)(void),
			 unsigned int flags)
{
	struct trampoline trampoline;
	uintptr_t target = (uintptr_t)func;
	uint64_t signals = 0;
	unsigned int self;
	int error, fd;

	/* For a file that defines no static call and updates those of others. */
	__asm__ volatile(__STATIC_CALL_RETURN0 : : "i"(0));

	if (flags & ~(STATIC_CALL_OLD_CODE | STATIC_CALL_UNSETTLED | __STATIC_CALL_WIDE))
		return EINVAL;
	error = recognise(tramp, &trampoline);
	if (error)
		return error;
	if (key->tramp != tramp)
		return ENOEXEC;
	if (target % 4 || (target >= trampoline.start && target < trampoline.end))
		return EINVAL;
	if (!func) {
		func = tramp;
		target = trampoline.null;
	} else if (target == (uintptr_t)__static_call_return0) {
		target = trampoline.ret0;
	}
	if ((flags & __STATIC_CALL_WIDE) && target >= trampoline.start && target < trampoline.end)
		return EINVAL;
	if (getauxval(AT_HWCAP2) & HAS_MOPS)
		return ENOTSUP;

	self = thread_id();
	error = take_in_turn(key, self, &signals);
	if (error)
		return error;
	fd = begin_to_write(self);
	error = fd < 0 ? -fd : retarget(fd, key, &trampoline, func, target, flags);
	if (fd >= 0)
		end_of_writing(self, fd);
	release_in_turn(key, &signals);
	return error;
}

/* ---- Synchronisation ----------------------------------------------------------------------- */

#define LONGEST 1000 /* milliseconds that a thread is waited for */
#define QUESTION_SHIFT 48

/* A running thread is asked by a signal, which carries the address for the answer and a number. */
static void answer(int number, siginfo_t *info, void *context)
{
	uintptr_t question = (uintptr_t)info->si_value.sival_ptr;
	uintptr_t *cell = (uintptr_t *)(question & (((uintptr_t)1 << QUESTION_SHIFT) - 1));

	(void)number;
	/* One that is late finds another question there. */
	if (info->si_code == SI_QUEUE)
		__atomic_compare_exchange_n(cell, &question,
					    (uintptr_t)((ucontext_t *)context)->uc_mcontext.pc, 0,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

static int is_free(const struct sigaction *action)
{
	return action->sa_flags & SA_SIGINFO ? action->sa_sigaction == answer
					     : action->sa_handler == SIG_DFL;
}

/* Takes a real-time signal that nobody handles, `number` or a lower one; 0 if there is none. */
static int take_signal(int number)
{
	struct sigaction before, action;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = answer;
	action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
	sigfillset(&action.sa_mask);
	for (; number >= SIGRTMIN; number--) {
		if (sigaction(number, NULL, &before) || !is_free(&before) ||
		    sigaction(number, &action, &before))
			continue;
		if (is_free(&before))
			return number;
		sigaction(number, &before, NULL); /* another was quicker, say, another copy */
	}
	return 0;
}

/* Gives it back. Ignoring it drops those not delivered yet, which would end the process. */
static void give_signal(int number)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = SIG_IGN;
	sigaction(number, &action, NULL);
	action.sa_handler = SIG_DFL;
	sigaction(number, &action, NULL);
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A file of a thread, as a string; the number of its bytes, or less than 0. */
static long read_of_thread(int thread, const char *name, char *text, size_t size)
{
	char path[64];
	long fd, done;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", thread, name);
	fd = system_call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	done = system_call(SYS_read, fd, (long)text, (long)size - 1, 0);
	system_call(SYS_close, fd, 0, 0, 0);
	text[done > 0 ? done : 0] = 0;
	return done;
}

#define ENDED UINTPTR_MAX /* of the first thread, which stays in /proc */

/* Where a thread sleeps, by the kernel's word; 0 if it doesn't. */
static uintptr_t sleeps_at(int thread)
{
	char text[256];
	const char *last;
	uintptr_t pc;

	if (read_of_thread(thread, "syscall", text, sizeof(text)) <= 0)
		return 0;
	last = strrchr(text, ' '); /* "running", or numbers of which the last is the PC */
	if (!last)
		return 0;
	pc = (uintptr_t)strtoull(last, NULL, 16);
	/* A translator's threads sleep where it likes. */
	return !pc ? ENDED : own.translated ? 0 : pc;
}

/* Whether a thread is qemu-user's own: the second one, and one of ours never blocks SIGBUS there. */
static int is_translators(int thread, long count)
{
	char text[2048];
	const char *line;
	unsigned long long blocked;

	if (!own.translated || count != 2 ||
	    read_of_thread(thread, "status", text, sizeof(text)) <= 0)
		return 0;
	line = strstr(text, "SigBlk:");
	blocked = line ? strtoull(line + 7, NULL, 16) : 0;
	return (blocked >> (SIGTERM - 1) & 1) && (blocked >> (SIGBUS - 1) & 1);
}

/* Waits until a thread is outside of the trampoline, or has ended. Takes a signal if it needs one. */
static int wait_outside(int thread, const struct trampoline *trampoline, int *number)
{
	long process = system_call(SYS_getpid, 0, 0, 0, 0);
	uintptr_t question = 0, pc = 0;
	long until = now_ms() + LONGEST;
	int asleep = 0;

	while (now_ms() < until) {
		pc = question ? __atomic_load_n(&own.answer, __ATOMIC_ACQUIRE) : 0;
		if (pc == question)
			pc = 0;
		else
			question = 0;
		if (!pc)
			pc = sleeps_at(thread);
		/* If it was asked, too, it wakes up and answers, unless it blocks the signal. */
		if (pc && question && ++asleep < 100)
			pc = 0;
		if (pc && (pc < trampoline->start || pc >= trampoline->end))
			return 0;
		if (!question) {
			siginfo_t info;
			long error;

			if (!*number)
				*number = take_signal(SIGRTMAX);
			if (!*number)
				return EAGAIN;
			question = (uintptr_t)&own.answer | ++own.questions << QUESTION_SHIFT;
			__atomic_store_n(&own.answer, question, __ATOMIC_RELEASE);
			memset(&info, 0, sizeof(info));
			info.si_code = SI_QUEUE;
			info.si_pid = (pid_t)process;
			info.si_value.sival_ptr = (void *)question;
			error = system_call(SYS_rt_tgsigqueueinfo, process, thread, *number,
					    (long)&info);
			if (error == -ESRCH)
				return 0;
			if (error)
				question = 0; /* too many are queued, or: */
			if (error == -EINVAL) { /* a translator has fewer signals */
				give_signal(*number);
				*number = take_signal(*number - 1);
			}
		} else if (system_call(SYS_tgkill, process, thread, 0, 0) == -ESRCH) {
			return 0;
		}
		pause_us(20);
	}
	return ETIMEDOUT;
}

static long count_threads(void)
{
	struct stat task;
	long error = system_call(SYS_newfstatat, AT_FDCWD, (long)"/proc/self/task", (long)&task, 0);

	return error ? error : (long)task.st_nlink - 2;
}

/*
 * Waits for each thread that a reading of /proc/self/task shows, and counts them. A reading may end
 * at a thread that ends, but then it shows fewer than there were.
 */
static long wait_for_threads(long count, const struct trampoline *trampoline, int *number)
{
	long size = (count * 2 + 64) * 32, done, at, seen = 0;
	int self = (int)thread_id(), error = 0;
	char *entries;
	long fd = system_call(SYS_openat, AT_FDCWD, (long)"/proc/self/task",
			      O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	entries = (char *)malloc((size_t)size);
	done = entries ? system_call(SYS_getdents64, fd, (long)entries, size, 0) : -ENOMEM;
	system_call(SYS_close, fd, 0, 0, 0);
	for (at = 0; at < done && !error; at += *(unsigned short *)(entries + at + 16)) {
		int thread = atoi(entries + at + 19); /* struct linux_dirent64: d_name */

		seen += thread != 0;
		if (thread && thread != self && !is_translators(thread, seen))
			error = wait_outside(thread, trampoline, number);
	}
	free(entries);
	return error ? -error : done < 0 ? done : seen;
}

int __static_call_synchronize(const struct static_call_key *key, void (*tramp)(void))
{
	struct trampoline trampoline;
	unsigned int self = thread_id();
	int number = 0, readings;
	long count = 0, seen = 0;
	uint64_t signals = 0;
	int fd, error = recognise(tramp, &trampoline);

	(void)key;

	if (!error)
		error = take(&own.synchronizing, self);
	if (error)
		return error;
	set_signals(~(uint64_t)0, &signals);
	fd = begin_to_write(self); /* which finds out whether there is a translator */
	error = fd < 0 ? -fd : 0;
	if (fd >= 0)
		end_of_writing(self, fd);
	set_signals(signals, NULL);
	for (readings = 0; !error && readings < 100; readings++) {
		count = count_threads();
		seen = count < 0 ? count : wait_for_threads(count, &trampoline, &number);
		error = seen < 0 ? (int)-seen : 0;
		if (seen >= count)
			break;
	}
	if (!error && seen < count)
		error = ETIMEDOUT;
	/* A translator may have kept the signal for a thread that blocks it: that would be its end. */
	if (number && !(own.translated && error == ETIMEDOUT))
		give_signal(number);
	release(&own.synchronizing);
	return error;
}

/* Also when the object is unloaded, or the program ends: then other threads may be updating. */
__attribute__((__destructor__)) void static_call_close(void)
{
	uint64_t signals = 0;

	set_signals(~(uint64_t)0, &signals);
	take(&own.lock, thread_id());
	if (own.open && own.users)
		own.closing = 1;
	else
		close_memory();
	release(&own.lock);
	set_signals(signals, NULL);
}
#ifdef __cplusplus
}
#endif
