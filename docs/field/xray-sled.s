// XRay sled: a function's first word is B over the sled, or STP
//
// LLVM's XRay on AArch64 patches the rest of the sled first, then its first word with a
// store-release, and then cleans and invalidates. Unpatching stores the first word alone. Here the
// entry sled is cut down to one call; the tracer that it calls is the target.

        .source LLVM compiler-rt/lib/xray/xray_AArch64.cpp
        .align  3

slot:   { null: b end | far: stp x0, x30, [sp, #-16]! }
load:   { new: nop | far: ldr x16, handler }
call:   { new: nop | far: blr x16 }
        ldp     x0, x30, [sp], #16
end:    ret
        nop
handler: { far: .quad target }

retarget:                       // x0 slot, w1; x2 load, w3; x4 call, w5; x6 handler, x7
        str     w3, [x2]
        str     w5, [x4]
        str     x7, [x6]
        dmb     ish             // the release
        str     w1, [x0]
        dc      cvau, x0
        dc      cvau, x2
        dc      cvau, x4
        dsb     ish
        ic      ivau, x0
        ic      ivau, x2
        ic      ivau, x4
        dsb     ish
        isb
