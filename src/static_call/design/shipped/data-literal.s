// Data literal: indirect branch always, one 64-bit store
//
// The third version of the arm64 patches (2020), as quoted in the discussion of 2021-09-21. The code is
// never patched; every call pays a load and an indirect branch.

        .isa    a64
        .source 20201120082103.4840-1-ardb@kernel.org
        .align  3

        bti     c
        adrp    x16, literal
        ldr     x16, [x16, :lo12:literal]
        cbz     x16, 1f
        br      x16
1:      ret

        .section .rodata
literal: { far: .quad target | null: .quad 0 }

retarget:                       // x0 literal, x1 its new value
        str     x1, [x0]
