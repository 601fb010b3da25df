/*
 * What the generated static_call.c takes from the kernel, as a program under qemu-aarch64 has it:
 * stores and maintenance are done in plain memory, and each step is written down.
 */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;
typedef uint32_t __le32;
#define bool _Bool
#define true 1
#define false 0
#define NULL ((void *)0)
#define SZ_128M 0x08000000
#define SZ_4K 0x1000
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define ALIGN_DOWN(value, size) ((value) & ~((unsigned long)(size) - 1))
#define READ_ONCE(place) (*(volatile __typeof__(place) *)&(place))
#define EXPORT_SYMBOL_GPL(name) _Static_assert(1, "")
#define WARN_ONCE(condition, ...) ((condition) && (printf("warn\n"), 1))
#define WARN_ON_ONCE(condition) WARN_ONCE(condition)
#define __stringify(text) #text
#define STATIC_CALL_TRAMP_STR(name) __stringify(__SCT__##name)
#define AARCH64_INSN_BRANCH_NOLINK 0
#define AARCH64_INSN_IMM_12 12

struct mutex { int held; };
__attribute__((used)) static struct mutex text_mutex;
static void mutex_lock(struct mutex *lock) { if (lock->held++) abort(); }
static void mutex_unlock(struct mutex *lock) { if (--lock->held) abort(); }

static u32 le32_to_cpup(const void *at) { return *(const u32 *)at; }
static int aarch64_insn_read(void *at, u32 *word) { *word = le32_to_cpup(at); return 0; }
static bool aarch64_insn_is_b(u32 word) { return word >> 26 == 5; }

static char *image; /* what steps are told from */
static int aarch64_insn_write(void *at, u32 word)
{
	printf("str slot+%ld\n", (char *)at - image);
	*(volatile u32 *)at = word;
	return 0;
}
static int aarch64_insn_write_literal_u64(void *at, u64 value)
{
	printf("str literal\n");
	*(volatile u64 *)at = value;
	return 0;
}
static u32 aarch64_insn_gen_branch_imm(unsigned long pc, unsigned long to, int kind)
{
	if ((long)(to - pc) >= SZ_128M || (long)(to - pc) < -SZ_128M || kind)
		abort();
	return 0x14000000 | (((to - pc) >> 2) & 0x3ffffff);
}
static int aarch64_insn_adrp_get_offset(u32 word)
{
	return (int)(((word >> 5 & 0x7ffff) << 2 | (word >> 29 & 3)) << 11) >> 11 << 12;
}
static u64 aarch64_insn_decode_immediate(int kind, u32 word)
{
	return word >> 10 & 0xfff;
}

#define dmb(option) printf("dmb " #option "\n")
#define dsb(option) printf("dsb " #option "\n")
#define isb() printf("isb\n")
static void dcache_clean_pou(unsigned long start, unsigned long end)
{
	printf("dc cvau %ld\n", end - start);
}
static void icache_inval_pou(unsigned long start, unsigned long end)
{
	__builtin___clear_cache((char *)start, (char *)end);
	printf("ic ivau %ld\n", end - start);
}
static void kick_all_cpus_sync(void) { printf("kick\n"); }

static long __static_call_return0(void) { return 0; }
void arch_static_call_transform(void *site, void *tramp, void *func, bool tail);
