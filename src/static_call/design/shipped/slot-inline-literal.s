// Slot + inline literal: a branch, or a literal inline
//
// As Mark Rutland wrote it in the discussion of 2021-09-21: 24 bytes and one address to record. The
// mail has no code that patches it. The code here follows the order that the thread arrived at: the
// literal always and first, then the slot, then maintenance. RET is not among the instructions that
// may be modified while they may execute.

        .isa    a64
        .source Mark Rutland, linux-arm-kernel 2021-09-21, Re: [PATCH 2/4] arm64: implement support for static call trampolines
        .align  3

        bti     c
slot:   { near: b target | null: ret | far: nop }
        ldr     x16, 1f
        br      x16
1:      { near, far: .quad target }

retarget:                       // x0 slot, w1 its new word, x2 literal, x3 its new value
        str     x3, [x2]
        dmb     ishst
        str     w1, [x0]
        dc      cvau, x0
        dsb     ish
        ic      ivau, x0
        dsb     ish
        isb
