/* SPDX-License-Identifier: MIT */
/*
 * Static calls for arm64 programs, with Linux's names.
 *
 * A static call is a function pointer that costs a direct branch. Callers branch to a trampoline,
 * `__SCT__name`, and what it calls can be changed: in the linked file by other tools, and in the
 * running process by the functions marked with a star. These are in static_call.c, which has to be
 * compiled into each program and each shared object that uses them. The key, `__SCK__name`, holds
 * the function that is called now.
 *
 *	DECLARE_STATIC_CALL(name, func)			in a header, for other files' calls
 *	DEFINE_STATIC_CALL(name, func)			in one file: calls func
 *	DEFINE_STATIC_CALL_NULL(name, func)		calls nothing; func gives the type
 *	DEFINE_STATIC_CALL_RET0(name, func)		returns 0; func gives the type
 *	EXPORT_STATIC_CALL(name)			in that file: for other objects, too
 *
 *	static_call(name)(args)				calls
 *	static_call_cond(name)(args)			calls, with no value: it may call nothing
 *	static_call_query(name)				the function that is called now, or NULL
 *
 *	static_call_update(name, func)			calls func from now on			*
 *	static_call_update_flags(name, func, flags)	the same, with weaker promises		*
 *	static_call_synchronize(name)			waits for threads in the trampoline	*
 *	static_call_synchronize_timeout(name, ms)	the same, for at most ms		*
 *	static_call_close()				closes the file that updates need	*
 *
 * A static call belongs to the program or shared object that defines it, and is hidden from others
 * unless it is exported. STATIC_CALL_HIDDEN, defined for a file, says that all static calls that the
 * file declares belong to its own object.
 *
 * For gcc and clang, C11 and C++17. docs/c.md says more, and gives the reasons.
 */
#ifndef STATIC_CALL_H
#define STATIC_CALL_H

#ifdef __cplusplus
#include <type_traits>
#endif

#if !defined __aarch64__ || !defined __LP64__ || defined __AARCH64EB__
#error "static_call.h is for little-endian arm64 with 64-bit pointers"
#endif

/*
 * What is known of a static call: the function that it calls, and its trampoline. Code that changes
 * it finds slot and literal by reading the trampoline's code. If it calls nothing, its function is
 * the trampoline and not NULL: so a position-independent file has a relocation there, and can still
 * be given another function after it is linked.
 */
struct static_call_key {
	void (*func)(void);
	void (*tramp)(void);
	unsigned int lock; /* 0, or the id of the thread that is changing it */
	unsigned int queue; /* of threads that wait for it: see "Locks" in static_call.c */
};

#define STATIC_CALL_TRAMP(name) __STATIC_CALL_PASTE(__SCT__, name)

/* The key, found by its symbol wherever it is: never a copy in the program. */
#define STATIC_CALL_KEY(name)                                                                      \
	(*__extension__({                                                                          \
		struct static_call_key *__static_call_at;                                          \
		__asm__(__STATIC_CALL_GOT("%1")                                                    \
			: "=r"(__static_call_at)                                                   \
			: "S"(&__STATIC_CALL_KEY(name)));                                          \
		__static_call_at;                                                                  \
	}))

/*
 * Names a static call that is defined elsewhere. `func` is a function or a function's type; in C++
 * also a pointer to one, so that a cast can pick an overloaded function.
 *
 * The symbols get their names as assembly names and not through extern "C", so that this works in a
 * namespace, and with a function that returns a class.
 */
#define DECLARE_STATIC_CALL(name, func)                                                            \
	extern __STATIC_CALL_TYPE(func) STATIC_CALL_TRAMP(name)                                    \
		__asm__(__STATIC_CALL_TRAMP_STR(name)) __STATIC_CALL_ATTRIBUTE;                    \
	extern struct static_call_key __STATIC_CALL_KEY(name)                                      \
		__asm__(__STATIC_CALL_KEY_STR(name)) __STATIC_CALL_ATTRIBUTE

/*
 * Defines a static call that calls `func`; exactly one file of a program or a library does this. If
 * `func` is a weak function that nobody defines, the static call returns at once.
 */
#define DEFINE_STATIC_CALL(name, func)                                                             \
	__STATIC_CALL_DEFINE(name, func, __STATIC_CALL_CAST(void (*)(void), func), "%0",           \
			     "S"(__STATIC_CALL_START(func)),                                       \
			     "i"(__STATIC_CALL_MAY_BE_NULL(func)))

/* Defines one that returns at once; `func` gives its type, as in DECLARE_STATIC_CALL. */
#define DEFINE_STATIC_CALL_NULL(name, func)                                                        \
	__STATIC_CALL_DEFINE(name, func, __STATIC_CALL_START(__STATIC_CALL_OWN(name)), "3f",       \
			     "i"(0), "i"(0));                                                      \
	__STATIC_CALL_ASSERT_X0(STATIC_CALL_TRAMP(name))

/* Defines one that returns 0: an integer, an enum, a bool or a pointer, and nothing else. */
#define DEFINE_STATIC_CALL_RET0(name, func)                                                        \
	__STATIC_CALL_DEFINE(name, func,                                                           \
			     __STATIC_CALL_CAST(void (*)(void), __static_call_return0), "2f",      \
			     "i"(0), "i"(0));                                                      \
	__STATIC_CALL_ASSERT_X0(STATIC_CALL_TRAMP(name))

/*
 * Lets other objects declare, call, query and update it. Use it in the file that defines it. The
 * symbol is protected: this object calls and updates its own static call, even if another object has
 * one of that name. Exports nothing if STATIC_CALL_HIDDEN is defined.
 */
#define EXPORT_STATIC_CALL(name) __STATIC_CALL_EXPORT(name)

/* Calls: static_call(name)(args). One that calls nothing returns at once, with no value. */
#define static_call(name) STATIC_CALL_TRAMP(name)

/* Calls and drops the value: for one that may call nothing. */
#define static_call_cond(name) (void)STATIC_CALL_TRAMP(name)

/* The function that is called now, or NULL; __static_call_return0 if 0 is returned. */
#define static_call_query(name)                                                                    \
	__STATIC_CALL_CAST(__typeof__(&STATIC_CALL_TRAMP(name)),                                   \
			   __static_call_func(&STATIC_CALL_KEY(name)))

/*
 * Makes a static call call `func`: NULL for nothing, __static_call_return0 to return 0. The type is
 * checked as in an assignment. Any number of threads may be calling and updating.
 *
 * A concurrent call runs the old function or the new one, whole. After 0 was returned, no thread
 * starts the old one. `func` may have been written a moment ago, if its writer has cleaned and
 * invalidated the caches. On failure this returns an errno value, and the static call is as it was,
 * unless docs/c.md says otherwise about that value. May be called in a signal handler.
 */
#define static_call_update(name, func) static_call_update_flags(name, func, 0)

/* The same. Each flag gives up a promise, and saves the membarrier(2) that it takes. */
#define static_call_update_flags(name, func, flags)                                                \
	__static_call_update(                                                                      \
		&STATIC_CALL_KEY(name), __STATIC_CALL_ADDRESS(name),                               \
		__STATIC_CALL_TARGET(__typeof__(&STATIC_CALL_TRAMP(name)), func),                  \
		__STATIC_CALL_FLAGS(__typeof__(&STATIC_CALL_TRAMP(name)), func, flags))

enum {
	/* `func` is older than the last context synchronisation of every thread: for example, as
	 * old as the file that it is in. If it is not, a thread may run what was there before. */
	STATIC_CALL_OLD_CODE = 1,
	/* After the update has returned, threads may go on starting the old function. */
	STATIC_CALL_UNSETTLED = 2,
};

/*
 * Waits until each other thread of the process has been outside the trampoline once. So after an
 * update no thread is on its way to an old function: it is in it or past it. Returns 0 or an errno
 * value: ETIMEDOUT if this was not known of some thread within STATIC_CALL_TIMEOUT milliseconds.
 *
 * The old function's code may go (dlclose, munmap, free) when no thread is *in* it either, which
 * only the program can know: see "When may the old function's memory go?" in docs/c.md.
 */
#define static_call_synchronize(name) __static_call_synchronize(__STATIC_CALL_ADDRESS(name))

/* The same, with a limit of `ms` milliseconds; without a limit if it is negative. */
#define static_call_synchronize_timeout(name, ms)                                                  \
	__static_call_synchronize_timeout(__STATIC_CALL_ADDRESS(name), ms)

enum { STATIC_CALL_TIMEOUT = 10000 };

/* ---- Internal from here on. ---------------------------------------------------------------- */

#define __STATIC_CALL_PASTE(a, b) __STATIC_CALL_PASTE_(a, b)
#define __STATIC_CALL_PASTE_(a, b) a##b
#define __STATIC_CALL_STR(x) __STATIC_CALL_STR_(x)
#define __STATIC_CALL_STR_(x) #x
#define __STATIC_CALL_KEY(name) __STATIC_CALL_PASTE(__SCK__, name)
#define __STATIC_CALL_KEY_STR(name) __STATIC_CALL_STR(__STATIC_CALL_KEY(name))
#define __STATIC_CALL_TRAMP_STR(name) __STATIC_CALL_STR(STATIC_CALL_TRAMP(name))
#define __STATIC_CALL_OWN(name) __STATIC_CALL_PASTE(__SCO__, name)
#define __STATIC_CALL_OWN_STR(name) __STATIC_CALL_STR(__STATIC_CALL_OWN(name))
#define __STATIC_CALL_STUB_STR(name) __STATIC_CALL_STR(__STATIC_CALL_PASTE(__SCS__, name))
#define __STATIC_CALL_EXPORT_STR(name) __STATIC_CALL_STR(__STATIC_CALL_PASTE(__SCE__, name))

/*
 * A symbol's address from the GOT, also in code that is not position-independent: an address that
 * the compiler takes there may be that of a PLT entry, or of a copy of the variable.
 */
#define __STATIC_CALL_GOT(symbol)                                                                  \
	"	adrp	%0, :got:" symbol "\n"                                                      \
	"	ldr	%0, [%0, :got_lo12:" symbol "]"

/*
 * The trampoline that this object's calls go to, or NULL if that cannot be told. The mark makes the
 * dynamic linker bind the calls when it fills this entry: an object that is loaded between the two
 * may have the same name. (The mark is meant for functions whose arguments lazy binding might spoil;
 * a static call's function may be one.)
 *
 * An object that defines the static call calls its own trampoline directly, even if the entry names
 * another one: GNU ld leaves the address of a protected function to the dynamic linker, and musl's
 * takes the first of that name. (A call that the compiler makes through the entry, under -fno-plt,
 * does go there.) So the entry must agree with the hidden name, which leads only to this object's
 * own. If there is no hidden name, its entry is like that of a name that nobody defines: 0, or with
 * gold the object's start.
 */
#define __STATIC_CALL_HIDDEN(symbol)                                                               \
	__extension__({                                                                            \
		void (*__static_call_is)(void);                                                    \
		__asm__("	.weak	" symbol "\n"                                               \
			"	.hidden	" symbol "\n"                                               \
			__STATIC_CALL_GOT(symbol)                                                  \
			: "=r"(__static_call_is));                                                 \
		__static_call_is;                                                                  \
	})
#define __STATIC_CALL_ADDRESS(name)                                                                \
	__extension__({                                                                            \
		void (*__static_call_at)(void);                                                    \
		__asm__("	.variant_pcs	" __STATIC_CALL_TRAMP_STR(name) "\n"                \
			__STATIC_CALL_GOT(__STATIC_CALL_TRAMP_STR(name))                           \
			: "=r"(__static_call_at));                                                 \
		__static_call_agreed(__static_call_at,                                             \
				     __STATIC_CALL_HIDDEN(__STATIC_CALL_OWN_STR(name)),            \
				     __STATIC_CALL_HIDDEN("__static_call_nobody"));                \
	})

/*
 * START: a function's first instruction. Under clang's CFI a function's address is that of an entry
 * in a jump table, or an expression if the function is weak.
 *
 * MAY_BE_NULL: whether a function is weak and so may have no address; if the compiler cannot tell,
 * it may.
 */
#ifdef __has_builtin
#if __has_builtin(__builtin_function_start)
#define __STATIC_CALL_START(func)                                                                  \
	__STATIC_CALL_CAST(void (*)(void), __builtin_function_start(func))
#endif
#endif
#ifndef __STATIC_CALL_START
#define __STATIC_CALL_START(func) __STATIC_CALL_CAST(void (*)(void), func)
#endif
#if defined __cplusplus && !defined __clang__
#define __STATIC_CALL_MAY_BE_NULL(func) (sizeof(__static_call_address<(func)>(0)) - 1)
#elif defined __clang__
#define __STATIC_CALL_MAY_BE_NULL(func)                                                            \
	(!__builtin_constant_p(!__STATIC_CALL_CAST(__UINTPTR_TYPE__, func)))
#else
#define __STATIC_CALL_MAY_BE_NULL(func) (!__builtin_constant_p(!(func)))
#endif

#ifdef __cplusplus
#define __STATIC_CALL_ASSERT(what, text) static_assert(what, text)
#else
#define __STATIC_CALL_ASSERT(what, text) _Static_assert(what, text)
#endif
#define __STATIC_CALL_NOT_X0                                                                       \
	"this static call does not return in x0 alone, so it cannot return nothing or 0: "         \
	"that is for void, integers, enums, bool and pointers"

#ifdef __cplusplus
extern "C++" {
/*
 * The type of a function, or of what a pointer points to. It is deduced, since g++ warns about an
 * explicit template argument whose type has attributes, as many library functions have.
 */
template <typename T> struct __static_call_type {
	typedef T type;
};
template <typename T> __static_call_type<T> __static_call_type_of(T *);

#ifndef __clang__
/* One char for a function whose address is known not to be null, and two for any other. */
template <bool> struct __static_call_known {
	typedef char type;
};
template <auto func>
static constexpr typename __static_call_known<(func != nullptr)>::type __static_call_address(int)
{
	return 0;
}
template <auto func> static constexpr short __static_call_address(long)
{
	return 0;
}
#endif

/* Whether a function's result is in x0 alone, or it has no result. */
template <typename T> struct __static_call_result {
	static constexpr bool in_x0 =
		std::is_void<T>::value ||
		((std::is_integral<T>::value || std::is_enum<T>::value ||
		  std::is_pointer<T>::value) &&
		 sizeof(typename std::conditional<std::is_void<T>::value, char, T>::type) <= 8);
};
template <typename T> struct __static_call_function;
template <typename R, typename... A>
struct __static_call_function<R (*)(A...)> : __static_call_result<R> {
};
template <typename R, typename... A>
struct __static_call_function<R (*)(A..., ...)> : __static_call_result<R> {
};
#ifdef __cpp_noexcept_function_type
template <typename R, typename... A>
struct __static_call_function<R (*)(A...) noexcept> : __static_call_result<R> {
};
template <typename R, typename... A>
struct __static_call_function<R (*)(A..., ...) noexcept> : __static_call_result<R> {
};
#endif
}
#define __STATIC_CALL_IN_X0(type) (__static_call_function<type>::in_x0)
#define __STATIC_CALL_FLAGS(type, target, flags)                                                   \
	(static_cast<unsigned int>(flags) | (__STATIC_CALL_IN_X0(type) ? 0 : __STATIC_CALL_WIDE))
#define __STATIC_CALL_TYPE(func)                                                                   \
	decltype(__static_call_type_of(*static_cast<__typeof__(func) *>(nullptr)))::type
#define __STATIC_CALL_CAST(type, value) (reinterpret_cast<type>(value))
extern "C" {
#else
#define __STATIC_CALL_TYPE(func) __typeof__(func)
#define __STATIC_CALL_CAST(type, value) ((type)(value))
/*
 * C cannot take a function's type apart. So all that can be checked is that it is not one of these,
 * and only if no argument has a type like char or float. In C23, where `()` is `(void)`, it can be
 * checked only for functions without arguments.
 */
__extension__ typedef __int128 __static_call_int128;
__extension__ typedef unsigned __int128 __static_call_uint128;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
typedef float __static_call_float();
typedef double __static_call_double();
typedef long double __static_call_long_double();
typedef _Complex float __static_call_complex_float();
typedef _Complex double __static_call_complex_double();
typedef _Complex long double __static_call_complex_long_double();
typedef __static_call_int128 __static_call_wide();
typedef __static_call_uint128 __static_call_unsigned_wide();
#pragma GCC diagnostic pop
#define __STATIC_CALL_IS(type, other) __builtin_types_compatible_p(type, __static_call_##other *)
#define __STATIC_CALL_IN_X0(type)                                                                  \
	(!(__STATIC_CALL_IS(type, float) || __STATIC_CALL_IS(type, double) ||                      \
	   __STATIC_CALL_IS(type, long_double) || __STATIC_CALL_IS(type, complex_float) ||         \
	   __STATIC_CALL_IS(type, complex_double) ||                                               \
	   __STATIC_CALL_IS(type, complex_long_double) || __STATIC_CALL_IS(type, wide) ||          \
	   __STATIC_CALL_IS(type, unsigned_wide)))
#define __STATIC_CALL_FLAGS(type, target, flags)                                                   \
	((unsigned int)(flags) | (__STATIC_CALL_IN_X0(type) ? 0 : __STATIC_CALL_WIDE) |            \
	 (unsigned int)(0 * sizeof(struct {                                                        \
		 _Static_assert(__STATIC_CALL_IN_X0(type) ||                                       \
				_Generic((target),                                                 \
					 void *: 0,                                                \
					 struct __static_call_zero *(*)(void): 0,                  \
					 default: 1),                                              \
				__STATIC_CALL_NOT_X0);                                             \
		 char unused;                                                                      \
	 })))
#endif
#define __STATIC_CALL_ASSERT_X0(func)                                                              \
	__STATIC_CALL_ASSERT(__STATIC_CALL_IN_X0(__typeof__(&func)), __STATIC_CALL_NOT_X0)
#define __STATIC_CALL_WIDE (1u << 31) /* a flag: the result is not in x0 alone */

/*
 * What the key of a RET0 static call holds; its trampoline returns 0 without calling it. No other
 * function has this type, so this function may be given for any type, and no other may.
 */
struct __static_call_zero {
	long is_ret0;
};
extern struct __static_call_zero *__static_call_return0(void)
	__attribute__((__visibility__("hidden")));

/* In static_call.c: hidden, since each program and shared object has its own. */
extern int __static_call_update(struct static_call_key *key, void (*tramp)(void),
				void (*func)(void), unsigned int flags)
	__attribute__((__visibility__("hidden")));
extern int __static_call_synchronize(void (*tramp)(void))
	__attribute__((__visibility__("hidden")));
extern int __static_call_synchronize_timeout(void (*tramp)(void), int ms)
	__attribute__((__visibility__("hidden")));
extern void static_call_close(void) __attribute__((__visibility__("hidden")));

static inline void (*__static_call_agreed(void (*tramp)(void), void (*own)(void),
					 void (*nobody)(void)))(void)
{
	return own == nobody || own == tramp ? tramp : 0;
}

static inline void (*__static_call_func(const struct static_call_key *key))(void)
{
	void (*func)(void) = __atomic_load_n(&key->func, __ATOMIC_RELAXED);

	return func == key->tramp ? 0 : func;
}

/* A new target for a pointer of `type`, which it must fit. */
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
		static_assert(__STATIC_CALL_IN_X0(T), __STATIC_CALL_NOT_X0);
	}
	template <typename Null>
	__static_call_target(
		Null, typename std::enable_if<std::is_same<Null, decltype(nullptr)>::value>::type * = 0)
		: func(nullptr)
	{
		static_assert(__STATIC_CALL_IN_X0(T), __STATIC_CALL_NOT_X0);
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
 * A declaration leaves open where the static call is: if the linker finds it in the same object, it
 * makes the calls direct. It cannot do that for code compiled with -fno-plt, so there is
 * STATIC_CALL_HIDDEN. In the assembly an export may come before the definition or after it, and has
 * the first word or the last.
 */
#ifdef STATIC_CALL_HIDDEN
#define __STATIC_CALL_ATTRIBUTE __attribute__((__visibility__("hidden")))
#define __STATIC_CALL_EXPORT(name) __STATIC_CALL_ASSERT(1, #name)
#else
#define __STATIC_CALL_ATTRIBUTE __attribute__((__visibility__("default")))
#define __STATIC_CALL_EXPORT(name)                                                                 \
	__attribute__((__used__, __cold__)) static void                                            \
		__STATIC_CALL_PASTE(__static_call_export_, name)(void)                             \
	{                                                                                          \
		__asm__ volatile("	.set	" __STATIC_CALL_EXPORT_STR(name) ", 1\n"            \
				 "	.protected	" __STATIC_CALL_TRAMP_STR(name) "\n"       \
				 "	.protected	" __STATIC_CALL_KEY_STR(name) "\n");       \
	}                                                                                          \
	__STATIC_CALL_ASSERT(1, #name)
#endif

/*
 * The trampoline is the design inline-stub; in position-independent code it is adrp-stub. There the
 * dynamic linker has to relocate the literal, and it must not write to text. So the literal is in
 * data, which is made read-only after that.
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

/*
 * Operands: the function, whether it may be NULL, the key, the trampoline's hidden name. If the
 * function may be NULL, there is a stub after the trampoline for its first target, because only at
 * load time is it known where that leads. The stub has its own literal: GNU ld has one entry in the
 * GOT for all local symbols of a section.
 *
 * If ld --gc-sections keeps a trampoline, the .reloc lines make it keep what an update needs.
 */
#define __STATIC_CALL_TEXT(name, tramp, key, target)                                               \
	"	.pushsection .static_call.text, \"ax\", %%progbits\n"                              \
	"	.p2align 3\n"                                                                      \
	"	.globl	" tramp "\n"                                                               \
	"	.ifndef	" __STATIC_CALL_EXPORT_STR(name) "\n"                                      \
	"	.hidden	" tramp "\n"                                                               \
	"	.hidden	" key "\n"                                                                 \
	"	.endif\n"                                                                          \
	"	.type	" tramp ", %%function\n"                                                   \
	"	.weak	%3\n"                                                                      \
	"	.hidden	%3\n"                                                                     \
	"%3:\n"                                                                                    \
	tramp ":\n"                                                                                \
	"	.if	%c1\n"                                                                     \
	__STATIC_CALL_CODE(tramp, "4f")                                                            \
	__STATIC_CALL_STUB_STR(name) ":\n"                                                         \
	"4:	hint	34\n"                                                                      \
	"	adrp	x16, 5f\n"                                                                 \
	"	ldr	x16, [x16, :lo12:5f]\n"                                                    \
	"	cbz	x16, 3b\n"                                                                 \
	"	br	x16\n"                                                                     \
	"	.pushsection .data.rel.ro.static_call, \"aw\", %%progbits\n"                       \
	"	.p2align 3\n"                                                                      \
	"5:	.quad	%0\n"                                                                      \
	"	.popsection\n"                                                                     \
	"	.else\n"                                                                           \
	__STATIC_CALL_CODE(tramp, target)                                                          \
	"	.endif\n"                                                                          \
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
 * The assembly is in a function that nobody calls, because only an operand can name a function
 * whatever its name in assembly is: static, in C++, renamed by link-time optimisation. The key is
 * marked as used, so that no optimiser takes it for a constant.
 */
#define __STATIC_CALL_DEFINE(name, func_type, func_now, target, ...)                               \
	DECLARE_STATIC_CALL(name, func_type);                                                      \
	/* In C++ ambiguous if it was declared with another type. */                               \
	extern __typeof__(STATIC_CALL_TRAMP(name)) __STATIC_CALL_OWN(name)                         \
		__asm__(__STATIC_CALL_OWN_STR(name)) __attribute__((__visibility__("hidden")));    \
	__attribute__((__used__, __cold__)) static void                                            \
		__STATIC_CALL_PASTE(__static_call_define_, name)(void)                             \
	{                                                                                          \
		_Pragma("GCC diagnostic push")                                                     \
		_Pragma("GCC diagnostic ignored \"-Waddress\"")                                    \
		__asm__ volatile(                                                                  \
			__STATIC_CALL_TEXT(name, __STATIC_CALL_TRAMP_STR(name), "%2", target)      \
			__STATIC_CALL_RETURN0                                                      \
			: : __VA_ARGS__, "S"(&__STATIC_CALL_KEY(name)),                            \
			"S"(__STATIC_CALL_START(__STATIC_CALL_OWN(name))));                        \
		_Pragma("GCC diagnostic pop")                                                      \
	}                                                                                          \
	__attribute__((__used__)) struct static_call_key __STATIC_CALL_KEY(name) = {               \
		func_now,                                                                          \
		__STATIC_CALL_START(__STATIC_CALL_OWN(name)),                                      \
		0,                                                                                 \
		0,                                                                                 \
	}

#endif
