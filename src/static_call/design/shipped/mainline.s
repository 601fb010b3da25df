// Mainline 2026: data literal, NULL returns 0 too
//
// Linux v7.0 with kCFI. Like data-literal without the test for 0: for NULL and RET0 the target is
// __static_call_return0.

        .isa    a64
        .source Linux commit 54ac9ff8f119
        .align  4

        bti     c
        adrp    x16, literal
        ldr     x16, [x16, :lo12:literal]
        br      x16

        .section .rodata
literal: { far: .quad target }

retarget:                       // x0 literal, x1 its new value
        str     x1, [x0]
