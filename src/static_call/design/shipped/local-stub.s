// Local stub: literal never invalid, slot is B or NOP
//
// David Laight's, from the thread of versions four to six, 2021-10-26: with a stub in the trampoline,
// a NULL call is a far call to the stub. So the test for 0 goes, and the slot only holds B or NOP.

        .isa    a64
        .source 20211025122102.46089-3-frederic@kernel.org, reply of 2021-10-26
        .align  4

literal: { near, far: .quad target | null: .quad 1f }
entry:  bti     c
slot:   { near: b target | far, null: nop }
        ldr     x16, literal
        br      x16
1:      bti     c
        ret

retarget:                       // x0 literal, x1 its new value, x2 slot, w3 its new word
        str     x1, [x0]
        dmb     ishst
        str     w3, [x2]
        dc      cvau, x2
        dsb     ish
        ic      ivau, x2
        dsb     ish
        isb
