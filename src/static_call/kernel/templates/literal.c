
/*
 * Where a trampoline's literal is: its ADRP and the instruction with the low
 * bits say so. The trampoline's alignment keeps the ADRP out of the last two
 * words of a page, where the module loader would replace it on CPUs with
 * erratum 843419.
 */
static void *@literal@_of(void *tramp)
{
	unsigned long at = (unsigned long)tramp @adrp@;
	u32 adrp = le32_to_cpup((__le32 *)at);
	u32 low = le32_to_cpup(tramp @low@);

	return (void *)(ALIGN_DOWN(at, SZ_4K) + aarch64_insn_adrp_get_offset(adrp) +
			aarch64_insn_decode_immediate(AARCH64_INSN_IMM_12, low) * @unit@);
}
