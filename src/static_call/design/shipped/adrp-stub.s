// ADRP stub: default for position-independent files
//
// Like inline-stub, but the literal is in .data.rel.ro, where the dynamic linker may write. Inline, it
// would need a relocation in text.

        .isa    a64
        .source Ard Biesheuvel, quoted in linux-arm-kernel 2021-09-21, Re: [PATCH 2/4] arm64: implement support for static call trampolines
        .claims live cmodx fresh settled prefix atomic landing
        .align  3

        bti     c
slot:   { near: b target | far: nop | null: b null | ret0: b ret0 }
        adrp    x16, literal
        ldr     x16, [x16, :lo12:literal]
        br      x16
ret0:   bti     c
        mov     x0, #0
null:   bti     c
        ret

        .section .data.rel.ro
literal: { near, far: .quad target | null: .quad null | ret0: .quad ret0 }

retarget:                       // x0 slot, w1 its new word, x2 literal, x3 its new value
        cse                     // no PE runs code older than the target's: see docs/designs.md
        str     x3, [x2]        // the literal always, and first
        dmb     ishst           // no new slot with the old literal, whatever that was
        str     w1, [x0]
        dc      cvau, x0
        dsb     ish
        ic      ivau, x0
        dsb     ish
        cse                     // no PE runs the old slot
