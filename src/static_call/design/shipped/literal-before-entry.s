// Literal before the entry: literal, BTI, slot in one 16-byte store
//
// Versions four to six of the arm64 patches (2021). One store pair writes the literal, the same BTI
// again and the slot, so that they agree for anyone who reads them as data. Instruction fetch gives no
// such promise, and neither BTI nor RET may be modified while it may execute.

        .isa    a64
        .source 20211105145917.2828911-3-ardb@kernel.org
        .align  4

literal: { near, far: .quad target | null: .quad 0 }
entry:  bti     c
slot:   { near: b target | far: nop | null: ret }
        ldr     x16, literal
        cbz     x16, 1f
        br      x16
1:      ret

retarget:                       // x0 literal, x1 its new value, x2 slot, w3 its new word
        ldr     w4, [x0, #8]
        orr     x4, x4, x3, lsl #32
        stp     x1, x4, [x0]
        dc      cvau, x0
        dsb     ish
        ic      ivau, x0
        dsb     ish
        isb
