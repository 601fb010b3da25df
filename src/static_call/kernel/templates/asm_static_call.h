/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef __ASM_STATIC_CALL_H
#define __ASM_STATIC_CALL_H

/*
 * Static calls out of line: every call is a BL to the static call's trampoline,
 * and arch_static_call_transform() retargets that. See kernel/static_call.c.
 *
 * The trampoline is entered by BL, or by BR X16 from a module's PLT or a
 * linker's veneer, and touches X16 alone, so it goes wherever a veneer may.
 *
 * Made by static-call from the design @name@.
 */
@trampoline@

@define@

@null@

@ret0@

#endif /* __ASM_STATIC_CALL_H */
