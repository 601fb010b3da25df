// Slot + ADRP literal: a branch, or a literal in .rodata
//
// As Ard Biesheuvel put it together in the discussion of 2021-09-21. The mail has no code that patches
// it. The code here follows the order that the thread arrived at: the literal always and first, then
// the slot, then maintenance. RET is not among the instructions that may be modified while they may
// execute.

        .isa    a64
        .source Ard Biesheuvel, quoted in linux-arm-kernel 2021-09-21, Re: [PATCH 2/4] arm64: implement support for static call trampolines
        .align  3

        bti     c
slot:   { near: b target | far: nop | null: ret }
        adrp    x16, literal
        ldr     x16, [x16, :lo12:literal]
        br      x16

        .section .rodata
literal: { near, far: .quad target }

retarget:                       // x0 slot, w1 its new word, x2 literal, x3 its new value
        str     x3, [x2]
        dmb     ishst
        str     w1, [x0]
        dc      cvau, x0
        dsb     ish
        ic      ivau, x0
        dsb     ish
        isb
