/* SPDX-License-Identifier: MIT */
/*
 * Changes the static calls of the running process, for static_call.h. Compile it, as C or as C++,
 * into each program and each shared object that calls static_call_update(). Several copies in a
 * process work together, because the locks are in the keys.
 *
 * Code and literals are written through /proc/thread-self/mem: pages stay read-only, no page is
 * ever writable and executable, and after fork() a child's pages are its own. The steps are those of
 * the designs inline-stub and adrp-stub, in their order.
 *
 * This relies on the kernel writing 4 or 8 aligned bytes with one store, as the loads and stores of its
 * memcpy() do (Linux, arch/arm64/lib/memcpy.S). If the CPU has FEAT_MOPS, newer kernels copy with
 * CPYP, CPYM and CPYE, which promise the order of bytes only: there an update is refused. Making the
 * page writable instead would work only if nobody else in the process changed the page's rights at
 * the same time, and other copies of this file, and other code, cannot be kept from doing that.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* for the registers in ucontext_t */
#endif

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
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
 * What this copy knows about its process. It has its pages to itself, and the kernel fills them with
 * zeros in a child, which would otherwise have locks of threads that do not exist there, and a file
 * for the parent's memory.
 */
static struct {
	unsigned int lock; /* for the fields below and `memory`; taken after a key's */
	char checked; /* whether written code was seen to run: see check_writes() */
	char translated;
	char forgotten; /* whether a child forgets all of this */
	char open; /* whether `memory` is this process's */
	char closing; /* whether the last one to use it closes it */
	unsigned int users;
} __attribute__((__aligned__(65536))) own;

/*
 * The file for this process's memory, or a parent's. Its position is left at the address of `own`,
 * where no other file is: so we see it if others have closed it, or put theirs at its number.
 */
static int memory = -1;
#define POSITION ((long)&own)

/* ---- System calls: no cancellation points, and errno stays as it is. ----------------------- */

/*
 * One asm statement: between two of them the compiler may put its own calls, to count, check or
 * trace, and these change registers.
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

static int is_ended(long thread)
{
	return system_call(SYS_tgkill, system_call(SYS_getpid, 0, 0, 0, 0), thread, 0, 0) == -ESRCH;
}

/*
 * A lock is 0 or its owner's thread id: compare-and-swap takes it, a store of 0 gives it back, and
 * nothing else keeps others out. If the owner is not a thread of this process, it was one of the
 * process that forked it. It will never give the lock back here, and however far it got with a
 * retarget, the trampoline works. So the lock is taken over.
 *
 * Tries to take a lock: returns 0, or the id of the thread that had it. That one may have given it
 * back since, and have ended after that. So an ended owner is no proof that the lock is ours: only a
 * compare-and-swap that succeeds is.
 */
static unsigned int try_to_take(unsigned int *lock, unsigned int self)
{
	unsigned int owner = 0, ended;

	if (__atomic_compare_exchange_n(lock, &owner, self, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return 0;
	ended = owner;
	if (owner != self && is_ended(owner) &&
	    __atomic_compare_exchange_n(lock, &ended, self, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return 0;
	return owner;
}

/* Takes a lock that is held only for moments, by threads that block all signals. */
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
 * Threads wait for a key's lock in turn, with no signal blocked. Each takes a ticket from `queue`: the
 * lower half is the ticket whose turn it is, the upper half the next one to be given. The thread
 * whose turn it is waits for the lock, and passes the turn on when it has the lock; the others wait
 * for their turn.
 *
 * A signal handler may leave this for ever (longjmp), or for a long time, and in a child there may be
 * tickets of the parent's threads. So if a turn is not taken while nobody has the lock, the threads
 * that come next pass it on, and a thread that was passed over takes another ticket. Not everyone
 * waits in line, either: code in another language may just take the lock, and give it back without
 * waking anyone. So nobody sleeps for long.
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

/* Ends a ticket's turn, if it has the turn. */
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

/* Takes a key's lock in turn and blocks all signals; `before` gets those that were blocked. */
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
		} else if (wait_for(queue, line, ticket, FREE_MS) == -ETIMEDOUT) {
			owner = __atomic_load_n(lock, __ATOMIC_RELAXED);
			if (!owner || is_ended(owner))
				pass_on(queue, turn_of(line));
		}
	}
}

static void release_in_turn(struct static_call_key *key, const uint64_t *before)
{
	unsigned int line;

	/* Sequentially consistent, like taking a ticket: one of the two sees the other. */
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
#define LDR_X16_16 0x58000050u /* loads from 8 bytes further on */
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

/* Finds slot and literal; ENOEXEC if a word is not as in inline-stub or adrp-stub. */
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
		/* 21 bits, signed: the upper 19 start at bit 5, the lower two at bit 29. */
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

/* What a slot holds to lead to an address: a branch, or NOP if a branch does not reach. */
static uint32_t slot_for(uintptr_t slot, uintptr_t target)
{
	int64_t offset = (int64_t)(target - slot);

	return offset < -REACH || offset >= REACH ? NOP : B | ((uint32_t)(offset >> 2) & 0x03ffffff);
}

/* ---- Writing ------------------------------------------------------------------------------- */

/*
 * Stores an aligned word and checks that it is there: since the file was found, another thread may
 * have closed it and opened another one.
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

/* Makes the stored word the one that is fetched, once the PE that fetches has had a CSE. */
static void maintain(uintptr_t at)
{
	__asm__ volatile("dc cvau, %0\n"
			 "dsb ish\n"
			 "ic ivau, %0\n"
			 "dsb ish"
			 : : "r"(at) : "memory");
	if (own.translated) {
		/*
		 * qemu-user drops its translation of a page that becomes writable. Other threads may
		 * still execute the page during that time.
		 */
		unsigned long size = getauxval(AT_PAGESZ);

		system_call(SYS_mprotect, (long)(at & -size), (long)size,
			    PROT_READ | PROT_WRITE | PROT_EXEC, 0);
		system_call(SYS_mprotect, (long)(at & -size), (long)size, PROT_READ | PROT_EXEC, 0);
	}
}

/*
 * A function in two versions: one returns 0, the other returns 1. Both words of its slot may be
 * stored while it may be executed. Its symbol does not have the type of a function, and it is called
 * by address, so that tools that optimise linked files leave it alone.
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
 * Checks that written code runs. A user-mode emulator may not see the kernel's write, and go on with
 * its translation; ENOTSUP if it cannot be made to drop that.
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

/*
 * Opens a file with a descriptor of at least 3; returns it, or a negative errno. If the standard
 * streams are closed, the file would become one of them, and what the program prints would go into
 * it. What it prints at this very moment does no harm: nothing is at position 0 of its memory, and
 * the other files are only read.
 */
static int open_file(const char *path, int flags)
{
	long higher, fd = system_call(SYS_openat, AT_FDCWD, (long)path, flags, 0);

	if (fd < 0 || fd > 2)
		return (int)fd;
	higher = system_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3, 0);
	close_file((int)fd);
	return higher == -EINVAL ? -EMFILE : (int)higher; /* the limit is below 3 */
}

/* Closes `memory` if it is open, this process's or a parent's. */
static void close_memory(void)
{
	if (is_memory(memory))
		close_file(memory);
	own.open = own.closing = 0;
}

/* Opens the file again; returns its descriptor, or a negative errno. */
static int open_memory(void)
{
	/* Not /proc/self, which has no memory once the first thread has ended. */
	int fd = open_file("/proc/thread-self/mem", O_RDWR | O_CLOEXEC);
	long error;

	if (fd < 0)
		return fd;
	error = system_call(SYS_lseek, fd, POSITION, SEEK_SET, 0);
	error = error < 0 ? error : own.checked ? 0 : -check_writes(fd);
	if (error < 0) {
		close_file(fd);
		return (int)error;
	}
	return fd;
}

/*
 * Begins to write: returns the descriptor or a negative errno. The file stays open, for several
 * threads at once, if the kernel makes a child forget it; user-mode emulators don't. Signals are
 * blocked.
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
			own.users = 0; /* those of a file that is gone */
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

	/* If it does not work, it fails here, before anything is written. */
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
		/* The old slot: the new literal is in use only if this was NOP. */
		if (word_at(trampoline->slot) != NOP)
			__atomic_store_n(&key->func, before, __ATOMIC_RELAXED);
		return error;
	}
	maintain(trampoline->slot);
	return flags & STATIC_CALL_UNSETTLED ? 0 : cse();
}

/*
 * The caller passes the trampoline that its own calls go to. A key that names another one belongs to
 * that one, or was overwritten: nothing in writable memory decides where we write.
 */
int __static_call_update(struct static_call_key *key, void (*tramp)(void), void (*func)(void),
			 unsigned int flags)
{
	struct trampoline trampoline;
	uintptr_t target = (uintptr_t)func;
	uint64_t signals = 0;
	unsigned int self;
	int error, fd;

	/* For a file that defines no static calls and updates those of others. */
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

/*
 * Each thread is asked where it is. If it sleeps in the kernel, /proc says where, and it is not
 * disturbed. If it runs, it gets a signal whose handler says where it was interrupted. All threads
 * are asked before the first answer is waited for. While we wait for answers, nothing is held and no
 * signal is blocked: a handler of the program may leave by longjmp(), a thread may be cancelled, and
 * another thread may synchronize at the same time.
 *
 * The signal. The C library's SIGRTMIN and SIGRTMAX say which signals are the program's, and
 * __libc_allocate_rtsig() takes one out of that range. glibc has this function, musl and bionic do
 * not. We call it when this file is loaded, before the program can have looked at the range, and in
 * such a way that SIGRTMAX moves by one and SIGRTMIN does not: processes agree on signals by
 * SIGRTMIN + n. We do not call it if the program already uses real-time signals. Then, or if the
 * library has no such function, each synchronisation borrows a signal that nobody handles, ignores,
 * blocks or has pending, and gives it back. It is from the middle of the range, since programs count
 * from the ends.
 *
 * A reserved signal is idle between synchronisations: its handler is then abs(), a function of the C
 * library that does nothing and is never unloaded, and its mask is a mark. Any copy of this file
 * finds it by these two. So a process reserves one signal, and the copy that uses it next need not be
 * the one that reserved it. A signal that does not look as it was left is somebody else's, and is
 * left alone.
 */
#define IDLE 0x2763a1c9d4985a2dull /* the mark; without SIGKILL and SIGSTOP, which no mask has */
#define SIGNALS 64
#define SIGNAL(number) ((uint64_t)1 << ((number) - 1))

extern int __libc_allocate_rtsig(int high) __attribute__((__weak__));

/* The kernel's struct sigaction. We use its calls, as sanitizers replace the C library's. */
struct action {
	uintptr_t handler;
	unsigned long flags;
	uintptr_t restorer;
	uint64_t mask;
};

/*
 * A question to a thread. When the thread has left the handler or has ended, the question is closed
 * and may be used for another thread: so no late answer is taken for the answer to another question.
 * A child has its parent's questions: their threads have ended there, and will not answer.
 */
struct question {
	uint64_t number; /* carried by the signal; 0 if there is no question */
	uintptr_t pc;
	uint64_t left; /* the thread has left the handler, and all of this file */
	int thread;
	int signal;
};

#define QUESTIONS 512
extern struct question __static_call_questions[QUESTIONS]
	__attribute__((__visibility__("hidden")));
extern void __static_call_answer(void) __attribute__((__visibility__("hidden")));

/*
 * The handler. It is in assembly so that no tool can add to it: it runs in any thread, anywhere, on a
 * stack that may be nearly full. It reports that it is done by a tail call of
 * sigaddset(&question->left, 1), so what comes after that store is the C library's code. Once all
 * have answered, no thread is in this file because it was asked, and the file may be unloaded.
 */
__asm__("	.pushsection .bss.__static_call_questions, \"aw\", %nobits\n"
	"	.p2align 6\n"
	"	.globl	__static_call_questions\n"
	"	.hidden	__static_call_questions\n"
	"	.type	__static_call_questions, %object\n"
	"__static_call_questions:\n"
	"	.zero	512 * 32\n"
	"	.size	__static_call_questions, . - __static_call_questions\n"
	"	.popsection\n"
	"	.pushsection .text.__static_call_answer, \"ax\", %progbits\n"
	"	.p2align 2\n"
	"	.globl	__static_call_answer\n"
	"	.hidden	__static_call_answer\n"
	"	.type	__static_call_answer, %function\n"
	"__static_call_answer:\n"
	"	hint	34\n"
	"	ldr	w3, [x1, #8]\n" /* si_code */
	"	cmn	w3, #1\n" /* SI_QUEUE */
	"	b.ne	1f\n"
	"	ldr	x3, [x1, #24]\n" /* si_value */
	"	cbz	x3, 1f\n"
	"	and	x4, x3, #511\n"
	"	adrp	x5, __static_call_questions\n"
	"	add	x5, x5, :lo12:__static_call_questions\n"
	"	add	x5, x5, x4, lsl #5\n"
	"	ldr	x4, [x5]\n"
	"	cmp	x4, x3\n"
	"	b.ne	1f\n"
	"	ldr	x4, [x2, #440]\n" /* uc_mcontext.pc */
	"	str	x4, [x5, #8]\n"
	"	dmb	ish\n"
	"	add	x0, x5, #16\n"
	"	mov	w1, #1\n"
	"	adrp	x16, :got:sigaddset\n"
	"	ldr	x16, [x16, :got_lo12:sigaddset]\n"
	"	br	x16\n"
	"1:	ret\n"
	"	.size	__static_call_answer, . - __static_call_answer\n"
	"	.popsection\n");

static_assert(offsetof(siginfo_t, si_code) == 8 && offsetof(siginfo_t, si_value) == 24 &&
		      offsetof(ucontext_t, uc_mcontext) + offsetof(mcontext_t, pc) == 440 &&
		      offsetof(struct question, pc) == 8 && offsetof(struct question, left) == 16 &&
		      sizeof(struct question) == 32 && QUESTIONS == 512,
	      "the handler's numbers");

/* Also named here, so that link-time optimisation knows them. */
__attribute__((__used__)) static int (*const done_by)(sigset_t *, int) = sigaddset;
__attribute__((__used__)) static int (*const idle_by)(int) = abs;

static struct {
	unsigned int lock; /* for the fields below and the questions; taken with all signals blocked */
	int signal; /* the one whose handler is __static_call_answer, or was; 0 if none */
	int reserved; /* whether to keep it */
	int last; /* question */
	uint64_t serial;
	int proc; /* whose threads /proc shows: 1 this process's, 2 an emulator's, 0 not known */
} asking;

/* Until end_asking(), no handler can leave by longjmp(). */
static uint64_t begin_asking(void)
{
	uint64_t before = 0;

	set_signals(~(uint64_t)0, &before);
	take(&asking.lock, thread_id());
	return before;
}

static void end_asking(uint64_t signals)
{
	release(&asking.lock);
	set_signals(signals, NULL);
}

/* ---- What /proc says about threads. Signals are blocked, so no file is left open. ---- */

static int open_of_thread(int thread, const char *name)
{
	char path[64] = "/proc/self/task/", digits[16];
	size_t size = strlen(path), count = 0;

	for (; thread; thread /= 10)
		digits[count++] = (char)('0' + thread % 10);
	while (count)
		path[size++] = digits[--count];
	memcpy(path + size, name, strlen(name) + 1);
	return open_file(path, O_RDONLY | O_CLOEXEC);
}

static uint64_t after_tab(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	return line ? (uint64_t)strtoull(line + strlen(name), NULL, 16) : 0;
}

/* What the file "status" says about a thread. */
struct status {
	int sleeps; /* or is stopped */
	uint64_t blocked, pending; /* signals */
};

/* Less than 0 if nothing says so. */
static int status_of(int thread, struct status *status)
{
	char text[1025];
	long kept = 0, done;
	int fd = open_of_thread(thread, "/status"), found = -ENOENT;

	memset(status, 0, sizeof(*status));
	if (fd < 0)
		return fd;
	/* The lines SigPnd to SigCgt are 125 bytes; those before them may be of any length. */
	while (found < 0 && (done = system_call(SYS_read, fd, (long)(text + kept),
						 (long)sizeof(text) - 1 - kept, 0)) > 0) {
		kept += done;
		text[kept] = 0;
		status->sleeps |= strstr(text, "\nState:") && !strstr(text, "\nState:\tR");
		if (strstr(text, "\nSigCgt:")) {
			status->blocked = after_tab(text, "\nSigBlk:\t");
			status->pending = after_tab(text, "\nSigPnd:\t") |
					  after_tab(text, "\nShdPnd:\t");
			found = 0;
		} else if (kept > 256) {
			memmove(text, text + kept - 256, 256);
			kept = 256;
		}
	}
	system_call(SYS_close, fd, 0, 0, 0);
	return found;
}

/*
 * Whether /proc shows the threads that the program sees, or those of an emulator, which are not at
 * the program's addresses. Tried out with the mask of this thread, which blocks all signals.
 */
static int proc_tells(int self)
{
	struct status status;

	if (!asking.proc && !status_of(self, &status))
		asking.proc = !~(status.blocked | SIGNAL(SIGKILL) | SIGNAL(SIGSTOP)) ? 1 : 2;
	return asking.proc == 1;
}

#define ENDED UINTPTR_MAX

/* Where the kernel says a thread sleeps; 0 if it runs, or if that is not known. */
static uintptr_t sleeps_at(int thread)
{
	char text[256];
	const char *last;
	uintptr_t pc;
	int fd = open_of_thread(thread, "/syscall");
	long done = fd < 0 ? fd : system_call(SYS_read, fd, (long)text, (long)sizeof(text) - 1, 0);

	if (fd >= 0)
		system_call(SYS_close, fd, 0, 0, 0);
	if (done <= 0)
		return is_ended(thread) ? ENDED : 0;
	text[done] = 0;
	last = strrchr(text, ' '); /* "running", or numbers of which the last is the PC */
	if (!last)
		return 0;
	pc = (uintptr_t)strtoull(last, NULL, 16);
	if (!pc) /* the first thread, which stays in /proc */
		return ENDED;
	return asking.proc == 1 ? pc : 0;
}

/* ---- The signal. `asking.lock` is held. ---- */

static struct action action_of(int number)
{
	struct action found = { 0, 0, 0, 0 };

	if (system_call(SYS_rt_sigaction, number, 0, (long)&found, 8))
		found.handler = 1; /* not for us */
	return found;
}

static struct action answering(void)
{
	struct action action = { (uintptr_t)__static_call_answer,
				 SA_SIGINFO | SA_RESTART | SA_ONSTACK, 0, 0 };

	action.mask = ~(SIGNAL(SIGKILL) | SIGNAL(SIGSTOP));
	return action;
}

static struct action idle(void)
{
	struct action action = { 0, SA_SIGINFO | SA_RESTART | SA_ONSTACK, 0, IDLE };

	/* abs itself, not an entry of a table in this object, which may be unloaded. */
	__asm__("adrp %0, :got:abs\n\tldr %0, [%0, :got_lo12:abs]" : "=r"(action.handler));
	return action;
}

static struct action nothing(void)
{
	struct action action = { 0, 0, 0, 0 };

	return action;
}

static int is(struct action found, struct action expected)
{
	return found.handler == expected.handler &&
	       (!found.handler || found.mask == expected.mask);
}

/* Changes what a signal does, if it does what is expected; otherwise that stays. */
static int change(int number, struct action expected, struct action next)
{
	struct action found, last;

	if (!is(action_of(number), expected) ||
	    system_call(SYS_rt_sigaction, number, (long)&next, (long)&found, 8))
		return 0;
	if (is(found, expected))
		return 1;
	/* Somebody was quicker: put theirs back, so that their latest stays. */
	for (;;) {
		last = next;
		next = found;
		system_call(SYS_rt_sigaction, number, (long)&next, (long)&found, 8);
		if (is(found, last))
			return 0;
	}
}

static long send(int thread, int number, uint64_t question)
{
	long process = system_call(SYS_getpid, 0, 0, 0, 0);
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = number;
	info.si_code = SI_QUEUE;
	info.si_pid = (pid_t)process;
	info.si_uid = (uid_t)system_call(SYS_getuid, 0, 0, 0, 0);
	info.si_value.sival_ptr = (void *)(uintptr_t)question;
	return system_call(SYS_rt_tgsigqueueinfo, process, thread, number, (long)&info);
}

/* An emulator has fewer signals than the C library thinks: sending the others fails. */
static int can_be_sent(int number, int self)
{
	return proc_tells(self) || !send(self, number, 0);
}

/* Takes a signal for us, if it does what is expected. */
static int take_signal(int number, struct action expected, int self)
{
	if (!change(number, expected, idle()))
		return 0;
	if (can_be_sent(number, self) && change(number, idle(), answering()))
		return 1;
	change(number, idle(), nothing());
	return 0;
}

struct thread {
	int id;
	int looks;
	uint64_t question;
};

/*
 * The real-time signals that the program does not use, as far as we can tell. A thread that blocks
 * all of them is not waiting for any particular one; it is never sent ours.
 */
static uint64_t unused_signals(const struct thread *threads, long count, uint64_t *range)
{
	uint64_t all = 0, used = 0;
	struct status status;
	struct action found;
	long i;
	int number;

	for (number = SIGRTMIN; number <= SIGRTMAX; number++) {
		found = action_of(number);
		all |= SIGNAL(number);
		if (found.handler || found.mask == IDLE)
			used |= SIGNAL(number);
	}
	for (i = 0; i < count && asking.proc == 1; i++)
		if (!status_of(threads[i].id, &status))
			used |= status.pending | (~status.blocked & all ? status.blocked : 0);
	*range = all;
	return all & ~used;
}

/* The signal whose handler is ours now; 0 if there is none to be had. */
static int need_signal(const struct thread *threads, long count, int self)
{
	uint64_t unused, all;
	int number, i, size = SIGRTMAX - SIGRTMIN + 1;

	if (asking.signal && is(action_of(asking.signal), answering()))
		return asking.signal;
	asking.signal = 0;
	for (number = SIGNALS; number >= 32; number--)
		if (take_signal(number, idle(), self)) {
			asking.reserved = 1;
			return asking.signal = number;
		}
	unused = unused_signals(threads, count, &all);
	for (i = 0; i < size; i++) {
		number = SIGRTMIN + (size / 2 + (i % 2 ? size - (i + 1) / 2 : i / 2)) % size;
		if (unused & SIGNAL(number) && take_signal(number, nothing(), self)) {
			asking.reserved = 0;
			return asking.signal = number;
		}
	}
	return 0;
}

/* Whether a thread was asked and has not answered. */
static int is_open_question(const struct question *question)
{
	return question->number && !__atomic_load_n(&question->left, __ATOMIC_ACQUIRE);
}

/* Whether the signal may still come: then it must have a handler, even if this file is unloaded. */
static int is_expected(int number)
{
	int i;

	for (i = 0; i < QUESTIONS; i++)
		if (is_open_question(&__static_call_questions[i]) &&
		    __static_call_questions[i].signal == number &&
		    !is_ended(__static_call_questions[i].thread))
			return 1;
	return 0;
}

/* Gives it back when all have answered; on unload in any case, leaving nothing of this file. */
static void give_signal(int unload)
{
	int expected = asking.signal && is_expected(asking.signal);

	if (!asking.signal || (expected && !unload))
		return;
	change(asking.signal, answering(), asking.reserved || expected ? idle() : nothing());
	asking.signal = 0;
}

/* ---- Asking ---- */

static struct question *question_of(uint64_t number)
{
	struct question *question = &__static_call_questions[number % QUESTIONS];

	return number && question->number == number ? question : NULL;
}

/* A question that may be used; NULL if all are open. */
static struct question *new_question(void)
{
	struct question *question;
	int i;

	for (i = 0; i < 2 * QUESTIONS; i++) {
		asking.last = (asking.last + 1) % QUESTIONS;
		question = &__static_call_questions[asking.last];
		if (!is_open_question(question) || (i >= QUESTIONS && is_ended(question->thread)))
			return question;
	}
	return NULL;
}

static struct question *open_question_to(int thread)
{
	int i;

	for (i = 0; i < QUESTIONS; i++)
		if (__static_call_questions[i].thread == thread &&
		    is_open_question(&__static_call_questions[i]))
			return &__static_call_questions[i];
	return NULL;
}

/*
 * Sends a question, or joins one that already waits for an answer: another synchronisation's, or one
 * that its thread has blocked. So no thread gets more of them than it can take.
 */
static int ask(struct thread *thread, int again, const struct thread *threads, long count, int self)
{
	int number = need_signal(threads, count, self);
	struct question *question = again ? NULL : open_question_to(thread->id);
	long error;

	if (!number)
		return EAGAIN;
	if (question && question->signal == number) {
		thread->question = question->number;
		return 0;
	}
	question = new_question();
	if (!question)
		return 0;
	question->number = 0;
	question->pc = 0;
	question->left = 0;
	question->thread = thread->id;
	question->signal = number;
	thread->question = ++asking.serial * QUESTIONS + (uint64_t)asking.last;
	__atomic_store_n(&question->number, thread->question, __ATOMIC_RELEASE);
	error = send(thread->id, number, thread->question);
	if (error) {
		question->number = 0;
		thread->question = 0;
	}
	/* It has ended, or too many signals are queued: we will look at it again. */
	return error == -ESRCH || error == -EAGAIN ? 0 : (int)-error;
}

/* Where a thread said that it was; 0 if it has not said so yet. */
static uintptr_t answer_of(struct thread *thread)
{
	struct question *question = question_of(thread->question), *other;
	uintptr_t pc;
	int i;

	if (!question) { /* none; or it was answered, and its entry used again, in between */
		thread->question = 0;
		return 0;
	}
	if (!__atomic_load_n(&question->left, __ATOMIC_ACQUIRE))
		return 0;
	pc = question->pc;
	thread->question = 0;
	/* The handler does not interrupt itself: earlier questions have been answered, too. */
	for (i = 0; i < QUESTIONS; i++) {
		other = &__static_call_questions[i];
		if (other->thread == question->thread && other->number < question->number &&
		    other->signal == question->signal)
			other->number = 0;
	}
	return pc;
}


/*
 * Looks at a thread, and asks it. Returns -1 if it is outside the trampoline, or has been since this
 * began, 0 if that is not known yet, or an errno value.
 */
static int look_at(struct thread *thread, const struct trampoline *trampoline,
		   const struct thread *threads, long count, int self)
{
	const struct question *question = question_of(thread->question);
	uint64_t all = ~(uint64_t)0 << (SIGRTMIN - 1);
	int asked = !!thread->question, looks = thread->looks++;
	uintptr_t pc = answer_of(thread);
	struct status status;

	/* A thread that was asked answers, unless it sleeps, blocks the signal or has ended. */
	if (!pc && (asked ? looks % 8 == 0 : looks == 0 || asking.proc != 1))
		pc = sleeps_at(thread->id);
	if (!pc && thread->question && (looks < 16 || looks & (looks - 1)))
		return 0;
	/* It runs; or, rarely, the program took the signal from us and got the question itself. */
	if (!pc && proc_tells(self)) {
		if (!looks)
			return 0; /* it may be about to sleep */
		if (!status_of(thread->id, &status) && !status.sleeps) {
			/*
			 * A thread that blocks the signal would answer late, or its sigwait() would
			 * take it for one of the program's. Look again until it sleeps or unblocks it.
			 */
			if (!(~status.blocked & all) ||
			    (asking.signal && status.blocked & SIGNAL(asking.signal)) ||
			    (question && status.pending & SIGNAL(question->signal)))
				return 0;
		} else {
			pc = sleeps_at(thread->id);
		}
	}
	if (pc)
		return pc < trampoline->start || pc >= trampoline->end ? -1 : 0;
	return ask(thread, asked && thread->question, threads, count, self);
}

/* ---- All threads ---- */

/* Whether a thread is qemu-user's own: the second; none of ours blocks SIGBUS there. */
static int is_translators(int thread, long place, int self)
{
	uint64_t both = SIGNAL(SIGTERM) | SIGNAL(SIGBUS);
	struct status status;

	return place == 2 && !proc_tells(self) && !status_of(thread, &status) &&
	       (status.blocked & both) == both;
}

static long count_threads(void)
{
	struct stat task;
	long error = system_call(SYS_newfstatat, AT_FDCWD, (long)"/proc/self/task", (long)&task, 0);

	return error ? error : (long)task.st_nlink - 2;
}

/*
 * Lists the other threads; `count` is how many threads there were before. A thread that is newer
 * started outside the trampoline. Returns how many are listed, or less than 0.
 *
 * A reading may end early, at a thread that ends. It is complete if it shows `count` or more: the
 * kernel lists threads in the order in which they were made, so if it missed one of the old ones, it
 * came to no newer one, and shows fewer. ENOTSUP if this thread is not shown: then /proc belongs to
 * another PID namespace, where threads have other numbers.
 */
static long list_threads(long count, struct thread *threads, long size, int self)
{
	char *entries = (char *)threads;
	long fd = open_of_thread(0, ""), done, at, seen = 0, listed = 0;
	struct thread other = { 0, 0, 0 };
	unsigned short length;
	int is_ours = !self;

	if (fd < 0)
		return fd;
	done = system_call(SYS_getdents64, fd, (long)entries, size, 0);
	system_call(SYS_close, fd, 0, 0, 0);
	/* Each entry, a struct linux_dirent64, is larger than what we store over it. */
	for (at = 0; at < done; at += length) {
		memcpy(&length, entries + at + 16, sizeof(length));
		other.id = atoi(entries + at + 19);
		if (!other.id)
			continue;
		seen++;
		is_ours |= other.id == self;
		if (other.id != self && !is_translators(other.id, seen, self))
			threads[listed++] = other;
	}
	return done < 0 ? done : !is_ours ? -ENOTSUP : seen < count ? -EAGAIN : listed;
}

static long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Waits until each of the threads has been outside the trampoline. */
static int wait_for_threads(struct thread *threads, long count, const struct trampoline *trampoline,
			    long until, int self)
{
	long i, left = count, pause = 500, began, looked;
	uint64_t signals;
	int error, late;

	for (;;) {
		began = now_us();
		late = until >= 0 && began >= until; /* look at them once more */
		for (i = 0; i < left;) {
			signals = begin_asking();
			error = look_at(&threads[i], trampoline, threads, left, self);
			end_asking(signals);
			if (error > 0)
				return error;
			if (error)
				threads[i] = threads[--left];
			else
				i++;
		}
		if (!left || late)
			return left ? ETIMEDOUT : 0;
		/* Most of the time no signal is blocked, and the CPU is free for others. */
		looked = now_us() - began;
		pause_us(pause > looked * 16 ? pause : looked < 1250 ? looked * 16 : 20000);
		if (pause < 5000)
			pause += pause / 8;
	}
}

int __static_call_synchronize_timeout(void (*tramp)(void), int ms)
{
	struct thread some[128], *threads = some;
	struct trampoline trampoline;
	long count, size = sizeof(some), until = ms < 0 ? -1 : now_us() + ms * 1000L;
	int self = (int)thread_id(), error = recognise(tramp, &trampoline);
	uint64_t signals;

	if (error)
		return error;
	do {
		count = count_threads();
		if (count < 0)
			return (int)-count;
		if ((count + 8) * 32 > size) {
			if (threads != some)
				munmap(threads, (size_t)size);
			size = (count * 2 + 64) * 32;
			threads = (struct thread *)mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE,
							MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (threads == MAP_FAILED)
				return ENOMEM;
		}
		signals = begin_asking();
		count = list_threads(count, threads, size, self);
		end_asking(signals);
	} while (count == -EAGAIN && (until < 0 || now_us() < until));
	error = count == -EAGAIN ? ETIMEDOUT :
		count < 0	 ? (int)-count :
				   wait_for_threads(threads, count, &trampoline, until, self);
	signals = begin_asking();
	give_signal(0);
	end_asking(signals);
	if (threads != some)
		munmap(threads, (size_t)size);
	return error;
}

int __static_call_synchronize(void (*tramp)(void))
{
	return __static_call_synchronize_timeout(tramp, STATIC_CALL_TIMEOUT);
}

/* Reserves a signal, if no other copy has, and if the program uses none yet. */
__attribute__((__constructor__(101))) static void reserve_signal(void)
{
	struct thread threads[128];
	uint64_t signals = begin_asking(), all = 0;
	int self = (int)thread_id(), number = SIGNALS;
	long count;

	proc_tells(self);
	while (number && !is(action_of(number), idle()))
		number--;
	if (!number && __libc_allocate_rtsig) {
		count = list_threads(0, threads, sizeof(threads), 0);
		number = unused_signals(threads, count, &all) == all ? 0 : -1;
	}
	while (!number && __libc_allocate_rtsig) {
		number = __libc_allocate_rtsig(0);
		if (number > 0 && change(number, nothing(), idle()) && can_be_sent(number, self))
			break;
		if (number > 0) {
			change(number, idle(), nothing());
			number = 0;
		}
	}
	end_asking(signals);
}

/* Whether a thread may be in the handler: it was asked, and the signal is not pending. */
static int is_answering(int self)
{
	const struct question *question;
	struct status status;
	int i;

	for (i = 0; i < QUESTIONS; i++) {
		question = &__static_call_questions[i];
		if (!is_open_question(question) || is_ended(question->thread))
			continue;
		if (!proc_tells(self) || status_of(question->thread, &status) ||
		    !(status.pending & SIGNAL(question->signal)))
			return 1;
	}
	return 0;
}

/*
 * Makes sure that no signal has a handler in this file once it is unloaded. A thread that was asked
 * and has not answered will get the signal later, or is in the handler now: we wait for the latter.
 */
__attribute__((__destructor__)) static void leave_signal(void)
{
	uint64_t signals = begin_asking();
	long until = now_us() + 1000000;

	give_signal(1);
	while (is_answering((int)thread_id()) && now_us() < until)
		pause_us(100);
	end_asking(signals);
}

/* Also runs when the object is unloaded, or the program ends: other threads may be updating. */
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
