// HotSpot far call: a BL to the callee, or to a stub that loads its address
//
// OpenJDK on AArch64 writes the stub's 64-bit literal first. Then it flips the BL, to the callee if
// that is in reach and to the stub otherwise, and then it cleans and invalidates.

        .source OpenJDK src/hotspot/cpu/aarch64/nativeInst_aarch64.cpp, NativeCall::set_destination_mt_safe
        .align  3

        stp     x29, x30, [sp, #-16]!
slot:   { near: bl target | far: bl stub }
        ldp     x29, x30, [sp], #16
        ret
stub:   ldr     x16, literal
        br      x16
literal: { near, far: .quad target }

retarget:                       // x0 slot, w1 its new word, x2 literal, x3 its new value
        str     x3, [x2]
        dmb     ish
        str     w1, [x0]
        dc      cvau, x0
        dsb     ish
        ic      ivau, x0
        dsb     ish
        isb
