// Inline stub: default: a branch, a literal, or a stub
//
// The default. It is Mark Rutland's slot + inline literal, made to keep two rules. The slot holds a
// branch or a NOP and nothing else, since every edition of the Arm ARM lets those be modified while
// they may execute (B2.2.5). And the literal always holds an address that can be branched to, so that
// a thread which was preempted past the slot gets to the right code whenever it goes on. NULL and RET0
// are branches to the trampoline's own stubs, so they need nothing from the image that it is in.

        .isa    a64
        .source Mark Rutland, linux-arm-kernel 2021-09-21, Re: [PATCH 2/4] arm64: implement support for static call trampolines
        .claims live cmodx fresh settled prefix atomic landing
        .align  3

        bti     c
slot:   { near: b target | far: nop | null: b null | ret0: b ret0 }
        ldr     x16, literal
        br      x16
literal: { near, far: .quad target | null: .quad null | ret0: .quad ret0 }
ret0:   bti     c
        mov     x0, #0
null:   bti     c
        ret

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
