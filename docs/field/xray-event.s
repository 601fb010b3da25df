// XRay event: B over the sled of a custom event, or NOP, stored and left at that
//
// LLVM's XRay on AArch64 turns custom and typed events on with a store-release of a NOP over a B, and
// off with the B again, without cache maintenance. There the handler's address is constant; here it is
// stored too.

        .source LLVM compiler-rt/lib/xray/xray_AArch64.cpp
        .align  3

slot:   { null: b end | far: nop }
        stp     x0, x30, [sp, #-16]!
        ldr     x16, handler
        blr     x16
        ldp     x0, x30, [sp], #16
end:    ret
handler: { far: .quad target }

retarget:                       // x0 slot, w1 its new word, x2 handler, x3 its new value
        str     x3, [x2]
        dmb     ish             // the release
        str     w1, [x0]
