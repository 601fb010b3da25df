// ADRP+ADD: address made in code, three words patched
//
// The second version of the arm64 patches (2020), reconstructed from what later mails say about it:
// a branch if the target is in reach; beyond that, ADRP and ADD make its address, up to 4 GiB away. A
// retarget rewrites ADRP and ADD one after the other, so a thread between the two goes to an address
// made of two halves; and neither may be modified under a running thread. It is here for comparison;
// the fallback that loads a pointer is data-literal.

        .isa    a64
        .source 20201028184114.6834-1-ardb@kernel.org
        .align  3

        bti     c
slot:   { near: b target | far: nop | null: ret }
page:   { far: adrp x16, target }
offset: { far: add x16, x16, :lo12:target }
        br      x16

retarget:                       // x0 slot, w1 its new word, x2 page, w3, x4 offset, w5
        str     w3, [x2]
        str     w5, [x4]
        dmb     ishst
        str     w1, [x0]
        dc      cvau, x0
        dc      cvau, x4
        dsb     ish
        ic      ivau, x0
        ic      ivau, x4
        dsb     ish
        isb
