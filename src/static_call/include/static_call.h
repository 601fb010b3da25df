/* SPDX-License-Identifier: MIT */
/*
 * Static calls for arm64 programs, with Linux's names.
 *
 * A static call is a function pointer that costs a direct branch. Callers branch to a trampoline,
 * `__SCT__name`, and what that calls can be changed: in the linked file by other tools, and in the
 * running process by those functions here that are marked with a star. They are in static_call.c,
 * which is to be compiled into each program and each shared object that uses them. The key,
 * `__SCK__name`, holds the function that is called now.
 *
 *	DECLARE_STATIC_CALL(name, func)			in a header, for other files' calls
 *	DEFINE_STATIC_CALL(name, func)			in one file: calls func
 *	DEFINE_STATIC_CALL_NULL(name, func)		calls nothing; func gives the type
 *	DEFINE_STATIC_CALL_RET0(name, func)		returns 0; func gives the type
 *
 *	static_call(name)(args)				calls
 *	static_call_cond(name)(args)			calls, with no value: it may call nothing
 *	static_call_query(name)				the function that is called now, or NULL
 *
 *	static_call_update(name, func)			calls func from now on			*
 *	static_call_update_flags(name, func, flags)	the same, with weaker promises		*
 *	static_call_synchronize(name)			waits for threads in the trampoline	*
 *	static_call_synchronize_timeout(name, ms)	the same, for so long at most		*
 *	static_call_close()				closes the file that updates need	*
 *
 * Shared objects export their static calls, unless STATIC_CALL_HIDDEN is defined.
 *
 * For gcc and clang, C11 and C++17. docs/c.md says more, and why it is as it is.
 */
#ifndef STATIC_CALL_H
#define STATIC_CALL_H

#if !defined __aarch64__ || !defined __LP64__ || defined __AARCH64EB__
#error "static_call.h is for little-endian arm64 with 64-bit pointers"
#endif

/*
 * What is known of a static call: the function that it calls, and its trampoline. Whoever changes it
 * finds slot and literal by reading the trampoline's code. One that calls nothing has its trampoline
 * for its function, and not NULL: so a position-independent file has a relocation there, and can be
 * given another function when it is linked already.
 */
struct static_call_key {
	void (*func)(void);
	void (*tramp)(void);
	unsigned int lock; /* 0, or the id of the thread that is changing it */
};

#define STATIC_CALL_KEY(name) __STATIC_CALL_PASTE(__SCK__, name)
#define STATIC_CALL_TRAMP(name) __STATIC_CALL_PASTE(__SCT__, name)

/*
 * Names a static call that is defined elsewhere. `func` is a function or a function's type; in C++
 * also a pointer to one, so that a cast can pick an overloaded function.
 *
 * The symbols' names are given as assembly names and not by extern "C", so that this works in a
 * namespace, and with a function that returns a class.
 */
#define DECLARE_STATIC_CALL(name, func)                                                            \
	extern __STATIC_CALL_TYPE(func) STATIC_CALL_TRAMP(name)                                    \
		__asm__(__STATIC_CALL_TRAMP_STR(name)) __STATIC_CALL_ATTRIBUTE;                    \
	extern struct static_call_key STATIC_CALL_KEY(name)                                        \
		__asm__(__STATIC_CALL_KEY_STR(name)) __STATIC_CALL_ATTRIBUTE

/* Defines a static call that calls `func`; one file of a program or a library does that. */
#define DEFINE_STATIC_CALL(name, func) __STATIC_CALL_DEFINE(name, func, func, "%0", "S"(func))

/* Defines one that returns at once; `func` gives its type, as in DECLARE_STATIC_CALL. */
#define DEFINE_STATIC_CALL_NULL(name, func)                                                        \
	__STATIC_CALL_DEFINE(name, func, STATIC_CALL_TRAMP(name), "3f", "i"(0))

/* Defines one that returns 0: an integer, a pointer or a bool, but no floating-point 0. */
#define DEFINE_STATIC_CALL_RET0(name, func)                                                        \
	__STATIC_CALL_DEFINE(name, func, __static_call_return0, "2f", "i"(0))

/* Calls: static_call(name)(args). One that calls nothing returns at once, with no value. */
#define static_call(name) STATIC_CALL_TRAMP(name)

/* Calls and drops the value: for one that may call nothing. */
#define static_call_cond(name) (void)STATIC_CALL_TRAMP(name)

/* The function that is called now, or NULL; __static_call_return0 where 0 is returned. */
#define static_call_query(name)                                                                    \
	__STATIC_CALL_CAST(__typeof__(&STATIC_CALL_TRAMP(name)),                                   \
			   __static_call_func(&STATIC_CALL_KEY(name)))

/*
 * Makes a static call call `func`: NULL for nothing, __static_call_return0 to return 0. The type is
 * checked as in an assignment. Any number of threads may be calling and updating.
 *
 * A concurrent call runs the old function or the new one, whole. After 0 was returned no thread
 * starts the old one, and `func` may have been written a moment ago, if its writer has cleaned and
 * invalidated the caches. Otherwise it returns an errno value, and the static call is as it was,
 * unless docs/c.md says otherwise of that value. May be called in a signal handler.
 */
#define static_call_update(name, func) static_call_update_flags(name, func, 0)

/* The same. `flags` give up a promise, and spare the membarrier(2) that it takes. */
#define static_call_update_flags(name, func, flags)                                                \
	__static_call_update(                                                                      \
		&STATIC_CALL_KEY(name),                                                            \
		__STATIC_CALL_TARGET(__typeof__(&STATIC_CALL_TRAMP(name)), func), flags)

enum {
	/* `func` is older than the last context synchronisation of every thread: say, as old as
	 * the file that it is in. If it is not, a thread may run what was in its place before. */
	STATIC_CALL_OLD_CODE = 1,
	/* After the update has returned, threads may start the old function, for any time. */
	STATIC_CALL_UNSETTLED = 2,
};

/*
 * Waits until each other thread of the process was outside of the trampoline once. So after an
 * update none is on its way to an old function: they are in it or past it. Returns 0 or an errno
 * value: ETIMEDOUT if of some thread that was not known in STATIC_CALL_TIMEOUT milliseconds.
 *
 * The old function's code may go (dlclose, munmap, free) when besides no thread is *in* it, which
 * only the program can know: see "When may the old function's memory go?" in docs/c.md.
 */
#define static_call_synchronize(name) __static_call_synchronize(&STATIC_CALL_KEY(name))

/* The same with a time limit of so many milliseconds; without one if it is negative. */
#define static_call_synchronize_timeout(name, ms)                                                  \
	__static_call_synchronize_timeout(&STATIC_CALL_KEY(name), ms)

enum { STATIC_CALL_TIMEOUT = 10000 };

/* ---- What follows is not for use. ---------------------------------------------------------- */

#define __STATIC_CALL_PASTE(a, b) __STATIC_CALL_PASTE_(a, b)
#define __STATIC_CALL_PASTE_(a, b) a##b
#define __STATIC_CALL_STR(x) __STATIC_CALL_STR_(x)
#define __STATIC_CALL_STR_(x) #x
#define __STATIC_CALL_KEY_STR(name) __STATIC_CALL_STR(STATIC_CALL_KEY(name))
#define __STATIC_CALL_TRAMP_STR(name) __STATIC_CALL_STR(STATIC_CALL_TRAMP(name))

#ifdef __cplusplus
extern "C++" {
template <typename T> struct __static_call_type {
	typedef T type;
};
template <typename T> struct __static_call_type<T *> {
	typedef T type;
};
}
#define __STATIC_CALL_TYPE(func) __static_call_type<__typeof__(func)>::type
#define __STATIC_CALL_CAST(type, value) (reinterpret_cast<type>(value))
extern "C" {
#else
#define __STATIC_CALL_TYPE(func) __typeof__(func)
#define __STATIC_CALL_CAST(type, value) ((type)(value))
#endif

/*
 * What the key of a RET0 static call holds; its trampoline returns 0 without it. The type is one
 * that no other function has, so that this one may be given for any type, and no other may.
 */
struct __static_call_zero {
	long is_ret0;
};
extern struct __static_call_zero *__static_call_return0(void)
	__attribute__((__visibility__("hidden")));

/* In static_call.c: hidden, since each program and shared object has its own. */
extern int __static_call_update(struct static_call_key *key, void (*func)(void), unsigned int flags)
	__attribute__((__visibility__("hidden")));
extern int __static_call_synchronize(const struct static_call_key *key)
	__attribute__((__visibility__("hidden")));
extern int __static_call_synchronize_timeout(const struct static_call_key *key, int ms)
	__attribute__((__visibility__("hidden")));
extern void static_call_close(void) __attribute__((__visibility__("hidden")));

static inline void (*__static_call_func(const struct static_call_key *key))(void)
{
	void (*func)(void) = __atomic_load_n(&key->func, __ATOMIC_RELAXED);

	return func == key->tramp ? 0 : func;
}

/* A new target for a pointer of `type`, which it must suit. */
#ifdef __cplusplus
}
extern "C++" {
template <typename T> struct __static_call_target {
	T func;
	__static_call_target(T target) : func(target) {}
	template <typename Zero>
	__static_call_target(Zero *(*target)(), decltype(Zero::is_ret0) = 0)
		: func(reinterpret_cast<T>(reinterpret_cast<void (*)()>(target)))
	{
	}
};
}
#define __STATIC_CALL_TARGET(type, target)                                                         \
	(reinterpret_cast<void (*)()>(__static_call_target<type>(target).func))
#else
#define __STATIC_CALL_TARGET(type, target)                                                         \
	((void (*)(void))(type){ _Generic(                                                         \
		(target),                                                                          \
		struct __static_call_zero *(*)(void): (type)(void (*)(void))__static_call_return0, \
		default: (target)) })
#endif

/*
 * A trampoline is exported but protected: calls from inside its own object are direct, and go to
 * it. The key may be copied into a program that is not position-independent, as any exported
 * variable, so it is not.
 */
#ifdef STATIC_CALL_HIDDEN
#define __STATIC_CALL_ATTRIBUTE __attribute__((__visibility__("hidden")))
#define __STATIC_CALL_VISIBILITY ".hidden"
#else
#define __STATIC_CALL_ATTRIBUTE __attribute__((__visibility__("default")))
#define __STATIC_CALL_VISIBILITY ".protected"
#endif

/*
 * The trampoline is the design inline-stub; in position-independent code it is adrp-stub. There
 * the literal needs a relocation by the dynamic linker, which must not write to text: so it lies in
 * data, which is read-only once that is done.
 */
#if defined __PIC__ || defined __PIE__
#define __STATIC_CALL_LOAD                                                                         \
	"	adrp	x16, 1f\n"                                                                 \
	"	ldr	x16, [x16, :lo12:1f]\n"
#define __STATIC_CALL_LITERAL(target)                                                              \
	"	.pushsection .data.rel.ro.static_call, \"aw\", %%progbits\n"                       \
	"	.p2align 3\n"                                                                      \
	"1:	.quad	" target "\n"                                                              \
	"	.popsection\n"
#else
#define __STATIC_CALL_LOAD "	ldr	x16, 1f\n"
#define __STATIC_CALL_LITERAL(target) "1:	.quad	" target "\n"
#endif

/* `hint 34` is `bti c` for every assembler. */
#define __STATIC_CALL_CODE(tramp, target)                                                          \
	"	.pushsection .static_call.text, \"ax\", %%progbits\n"                              \
	"	.p2align 3\n"                                                                      \
	"	.globl	" tramp "\n"                                                               \
	"	" __STATIC_CALL_VISIBILITY " " tramp "\n"                                          \
	"	.type	" tramp ", %%function\n"                                                   \
	tramp ":\n"                                                                                \
	"	hint	34\n"                                                                      \
	"	b	" target "\n"                                                              \
	__STATIC_CALL_LOAD                                                                         \
	"	br	x16\n"                                                                     \
	__STATIC_CALL_LITERAL(target)                                                              \
	"2:	hint	34\n"                                                                      \
	"	mov	x0, #0\n"                                                                  \
	"3:	hint	34\n"                                                                      \
	"	ret\n"                                                                             \
	"	.size	" tramp ", . - " tramp "\n"

/* Where ld --gc-sections keeps a trampoline, it keeps what it needs to be changed. */
#define __STATIC_CALL_KEEP(tramp, key)                                                             \
	"	.reloc	" tramp ", R_AARCH64_NONE, " key "\n"                                      \
	"	.reloc	" tramp ", R_AARCH64_NONE, __static_call_return0\n"                        \
	"	.popsection\n"

/* Once for each assembly, and once for each link. */
#define __STATIC_CALL_RETURN0                                                                      \
	"	.pushsection .text.__static_call_return0, \"axG\", %%progbits, "                   \
		"__static_call_return0, comdat\n"                                                  \
	"	.ifndef	__static_call_return0\n"                                                   \
	"	.p2align 2\n"                                                                      \
	"	.weak	__static_call_return0\n"                                                   \
	"	.hidden	__static_call_return0\n"                                                   \
	"	.type	__static_call_return0, %%function\n"                                       \
	"__static_call_return0:\n"                                                                 \
	"	hint	34\n"                                                                      \
	"	mov	x0, #0\n"                                                                  \
	"	ret\n"                                                                             \
	"	.size	__static_call_return0, . - __static_call_return0\n"                        \
	"	.endif\n"                                                                          \
	"	.popsection\n"

/*
 * The assembly stands in a function that nobody calls, since only an operand can name a function
 * whatever its name is in assembly: static, in C++, renamed in link-time optimisation. The key is
 * marked as used, so that no optimiser takes it for a constant.
 */
#define __STATIC_CALL_DEFINE(name, func_type, func_now, target, operand)                           \
	DECLARE_STATIC_CALL(name, func_type);                                                      \
	__attribute__((__used__, __cold__)) static void                                            \
		__STATIC_CALL_PASTE(__static_call_define_, name)(void)                             \
	{                                                                                          \
		__asm__ volatile(                                                                  \
			__STATIC_CALL_CODE(__STATIC_CALL_TRAMP_STR(name), target)                  \
			__STATIC_CALL_KEEP(__STATIC_CALL_TRAMP_STR(name),                          \
					   __STATIC_CALL_KEY_STR(name))                            \
			__STATIC_CALL_RETURN0                                                      \
			: : operand);                                                              \
	}                                                                                          \
	__attribute__((__used__)) struct static_call_key STATIC_CALL_KEY(name) = {                 \
		__STATIC_CALL_CAST(void (*)(void), func_now),                                      \
		__STATIC_CALL_CAST(void (*)(void), STATIC_CALL_TRAMP(name)),                       \
		0,                                                                                 \
	}

#endif
