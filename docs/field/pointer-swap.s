// Pointer swap: an indirect call through a 64-bit pointer, stored with release
//
// This is what a JIT or a plug-in loader with a table of function pointers does: it writes the code,
// cleans and invalidates it, then publishes its address as data.

        .align  3

        ldr     x16, pointer
        br      x16
pointer: { far: .quad target }

retarget:                       // x0 pointer, x1 its new value
        dmb     ish             // the release
        str     x1, [x0]
