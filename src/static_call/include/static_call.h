/* SPDX-License-Identifier: MIT */
/*
 * Static calls for arm64 programs, with Linux's names.
 *
 * A static call is a function pointer that costs a direct branch. Callers branch to a trampoline,
 * `__SCT__name`; what it calls can be changed in the linked file or in the running program. Its
 * key, `__SCK__name`, holds the function that is called now.
 *
 *      int crc_bitwise(const void *data, int size);
 *
 *      DECLARE_STATIC_CALL(crc, crc_bitwise);          in a header, if others call it
 *      DEFINE_STATIC_CALL(crc, crc_bitwise);           in one file
 *
 *      static_call(crc)(data, size);
 *
 *      DEFINE_STATIC_CALL_NULL(name, func)             calls nothing until it is given a function
 *      DEFINE_STATIC_CALL_RET0(name, func)             returns 0 until then; func gives the type
 *      static_call_cond(name)(args)                    a call that may be one of nothing
 *      static_call_query(name)                         the function now called, or NULL
 *
 * For gcc and clang, C11 and C++17. docs/c.md says more, and why it is as it is.
 */
#ifndef STATIC_CALL_H
#define STATIC_CALL_H

#if !defined __aarch64__ || !defined __LP64__ || defined __AARCH64EB__
#error "static_call.h is for little-endian arm64 with 64-bit pointers"
#endif

/*
 * What is known of a static call: the function that it calls, NULL for none, and its trampoline.
 * Whoever changes it finds slot and literal by reading the trampoline's code.
 */
struct static_call_key {
	void (*func)(void);
	void (*tramp)(void);
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
#define DEFINE_STATIC_CALL_NULL(name, func) __STATIC_CALL_DEFINE(name, func, 0, "3f", "i"(0))

/* Defines one that returns 0: an integer, a pointer or a bool, but no floating-point 0. */
#define DEFINE_STATIC_CALL_RET0(name, func)                                                        \
	__STATIC_CALL_DEFINE(name, func, __static_call_return0, "2f", "i"(0))

/* Calls: static_call(name)(args). One that calls nothing returns at once, with no value. */
#define static_call(name) STATIC_CALL_TRAMP(name)

/* Calls and drops the value: for one that may call nothing. */
#define static_call_cond(name) (void)STATIC_CALL_TRAMP(name)

/* The function that is called now, or NULL; __static_call_return0 where 0 is returned. */
#define static_call_query(name)                                                                    \
	((__typeof__(&STATIC_CALL_TRAMP(name)))__atomic_load_n(&STATIC_CALL_KEY(name).func,        \
							       __ATOMIC_RELAXED))

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
extern "C" {
#else
#define __STATIC_CALL_TYPE(func) __typeof__(func)
#endif

/* What the key of a RET0 static call holds. Its trampoline returns 0 without it. */
extern long __static_call_return0(void) __attribute__((__visibility__("hidden")));

#ifdef __cplusplus
}
#endif

/*
 * Exported from a shared object; protected, so that calls from inside it are direct and go to its
 * own trampoline. With STATIC_CALL_HIDDEN, no other object sees it.
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
 * whatever its name is in assembly: static, in C++, renamed in link-time optimisation. It must
 * exist once. The key is marked used, so that the optimiser does not take it for a constant.
 */
#ifdef __clang__
#define __STATIC_CALL_ONCE __attribute__((__used__, __cold__, __noinline__))
#else
#define __STATIC_CALL_ONCE __attribute__((__used__, __cold__, __noipa__))
#endif

#define __STATIC_CALL_DEFINE(name, func_type, func_now, target, operand)                           \
	DECLARE_STATIC_CALL(name, func_type);                                                      \
	static __STATIC_CALL_ONCE void __STATIC_CALL_PASTE(__static_call_define_, name)(void)      \
	{                                                                                          \
		__asm__ volatile(                                                                  \
			__STATIC_CALL_CODE(__STATIC_CALL_TRAMP_STR(name), target)                  \
			__STATIC_CALL_KEEP(__STATIC_CALL_TRAMP_STR(name),                          \
					   __STATIC_CALL_KEY_STR(name))                            \
			__STATIC_CALL_RETURN0                                                      \
			: : operand);                                                              \
	}                                                                                          \
	__attribute__((__used__)) struct static_call_key STATIC_CALL_KEY(name) = {                 \
		(void (*)(void))(func_now),                                                        \
		(void (*)(void))STATIC_CALL_TRAMP(name),                                           \
	}

#endif
