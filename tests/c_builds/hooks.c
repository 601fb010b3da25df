/*
 * What a compiler calls at the start and the end of functions, or at each branch, where it was told
 * to. They leave no register as it was that they may change, as any function may.
 *
 * Compile this file without that instrumentation.
 */
void __cyg_profile_func_enter(void *function, void *caller);
void __cyg_profile_func_exit(void *function, void *caller);
void __sanitizer_cov_trace_pc(void);

static void clobber(void)
{
	__asm__ volatile(
		".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17\n"
		"	mov	x\\r, #77\n"
		".endr\n"
		".irp r, 0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
		"	movi	v\\r\\().16b, #77\n"
		".endr\n"
		: : : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11",
		"x12", "x13", "x14", "x15", "x16", "x17", "v0", "v1", "v2", "v3", "v4", "v5", "v6",
		"v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",
		"v27", "v28", "v29", "v30", "v31", "cc");
}

void __cyg_profile_func_enter(void *function, void *caller)
{
	(void)function;
	(void)caller;
	clobber();
}

void __cyg_profile_func_exit(void *function, void *caller)
{
	(void)function;
	(void)caller;
	clobber();
}

void __sanitizer_cov_trace_pc(void)
{
	clobber();
}
