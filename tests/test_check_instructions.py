"""The instructions that the checker knows besides the A64 table, against GNU as."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from static_call.isa import a64
from static_call.isa.a64_more import assemble, decode
from static_call.memory_model.explore import explore
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_reader import read
from static_call.memory_model.program import Program, Thread

LINES = """
cmp w2, #1 | cmp x1, x11 | adds x1, x2, x3 | subs w1, w2, #4 | sub x1, x2, x3 | and w2, w2, w4
eor x1, x2, x3 | eor w6, w2, w2 | add w1, w2, #1 | sub w1, w2, #1 | add w1, w2, w3 | mov w0, w1
add x1, x2, w3, sxtw | add x1, x2, w3, uxtw | csel x1, x14, x24, eq | csinc w1, w2, w3, ne
cset w8, eq | cset x8, lt | cset w1, hi | orr w1, w2, w3
str w5, [x4, w1, sxtw] | ldr w5, [x4, w1, uxtw] | ldr x5, [x4, x1] | ldr x5, [x4, x1, lsl #3]
str w5, [x4, x1, lsl #2] | str x5, [x4], #8 | ldr w5, [x4, #-4]! | ldur x1, [x2, #3]
stur w1, [x2, #-4] | stxr w1, x2, [x3] | stlxr w1, w2, [x3] | ldxr w1, [x2] | ldaxr x1, [x2]
stlr w1, [x2] | ldar x1, [sp] | ldapr w1, [x2] | ldapr x1, [x2]
cas w1, w2, [x3] | casl x1, x2, [x3] | casa w1, w2, [x3] | casal x1, x2, [x3]
swp w1, w2, [x3] | swpa w1, w2, [x3] | swpl w1, w2, [x3] | swpal x1, x2, [x3]
ldadd w1, w2, [x3] | ldadda w1, w2, [x3] | ldaddal x1, x2, [x3] | ldclr w1, w2, [x3]
ldeora w1, w2, [x3] | ldset w1, w2, [x3] | stadd w1, [x3] | staddl x1, [x3] | stclr x1, [x3]
msr elr_el1, x9 | eret
ldrb w1, [x2] | strb w1, [sp, #4095] | ldrh w1, [x2, #2] | strh w1, [x2] | ldrb w1, [x2, x3]
strh w1, [x2, w3, sxtw] | ldrh w1, [x2, w3, uxtw] | ldarb w1, [x2] | stlrh w1, [x2]
ldaprb w1, [x2] | ldxrh w1, [x2] | ldaxrb w1, [x2] | stxrb w1, w2, [x3] | stlxrh w1, w2, [x3]
ldxp x1, x2, [x3] | ldaxp w1, w2, [x3] | stxp w1, x2, x3, [x4] | stlxp w1, w2, w3, [x4]
clrex | isb sy | tst w1, w2 | tst x1, x2 | mvn w1, w2 | mvn x1, x2 | neg w1, w2 | neg x1, x2
ands x1, x2, x3 | bic w1, w2, w3 | orn x1, x2, x3
and w1, w2, #1 | and x1, x2, #-2 | eor x1, x2, #0xff00ff00ff00ff00 | orr w1, w2, #0x80000001
ands x1, x2, #7 | tst w1, #0xf0 | tst x1, #1 | eor w1, w2, #0x55555555 | and sp, x1, #-16
eor x1, x2, #0x7fffffffffffffff | orr x1, x2, #0xfffffffffffffffc
lsl x1, x2, #3 | lsl w1, w2, #31 | lsr x1, x2, #63 | lsr w1, w2, #4 | lsl x1, x2, #0
mov x1, #0x10000 | mov w1, #0x12340000 | mov x1, #-1 | mov w1, #-1 | mov w1, #-65536
add x1, x2, x3, lsl #3 | sub w1, w2, w3, lsr #31 | adds x1, x2, x3, asr #63 | orr x1, x2, x3, ror #4
eon x1, x2, x3 | bics w1, w2, w3, lsl #2 | mvn w1, w2, lsl #2 | cmp x1, x2, asr #1 | negs x1, x2
add x1, sp, w3, sxth #1 | sub w1, wsp, w3, uxtb | subs x1, x2, x3, sxtx #4 | cmn x1, w2, uxtw
add x1, x2, #-4 | subs w1, w2, #-1 | cmp w1, #-1 | add w1, wsp, #4 | cmp sp, #4, lsl #12
mov sp, x1 | bic x1, x2, #3 | asr x1, x2, #3 | ror w1, w2, #3 | lsl x1, x2, x3
rorv w1, w2, w3 | sbfm x1, x2, #3, #9 | bfi x1, x2, #3, #9
bfxil w1, w2, #3, #9 | ubfx x1, x2, #3, #9
sbfiz x1, x2, #3, #9 | sxtw x1, w2 | uxth w1, w2 | sxtb x1, w2 | extr x1, x2, x3, #7 | clz w1, w2
rbit x1, x2 | rev w1, w2 | rev x1, x2 | rev16 w1, w2 | rev32 x1, x2
mul w1, w2, w3 | mneg x1, x2, x3 | madd x1, x2, x3, x4 | umsubl x1, w2, w3, x4 | smull x1, w2, w3
umulh x1, x2, x3 | sdiv w1, w2, w3 | adcs x1, x2, x3 | ngc w1, w2
ccmp x1, x2, #0, eq | ccmn w1, #31, #15, lo | csinv x1, x2, x3, hs
csneg w1, w2, w3, vs | csetm x1, ne | cinc x1, x2, ne | cinv w1, w2, hi | cneg w1, w2, lt
ldrsb w1, [x2, #1] | ldrsh x1, [x2], #2 | ldrsw x1, [x2, x3, lsl #2] | ldr x1, [x2, w3, sxtw #3]
ldr w1, [x2, x3, sxtx] | ldrb w1, [x2, w3, uxtw #0] | ldr w1, [x2, w3, sxtw #0] | ldr x1, [x2, #-8]
strh w1, [x2, #2]! | ldurb w1, [x2, #-1] | ldursw x1, [x2] | ldapur x1, [x2, #8] | ldapursb w1, [x2]
stlur w1, [x2, #-4] | stlurh w1, [x2] | ldpsw x1, x2, [x3, #8]! | ldnp w1, w2, [x3, #4]
casp x0, x1, x2, x3, [x4] | caspal w2, w3, w4, w5, [sp] | casalb w1, w2, [x3] | cash w1, w2, [x3]
swpalb w1, w2, [x3] | ldaddalh w1, w2, [x3] | ldsmax x1, x2, [x3] | ldumina w1, w2, [x3]
stsminl x1, [x2] | stumaxb w1, [x2] | dc cvac, x1 | dc civac, x1 | ic iallu | ic ialluis
mrs x1, nzcv | msr nzcv, x1 | mrs x1, elr_el1 | dcps1 | dcps1 #3
mov x1, #0xffffffff | mov x1, #0xffff0000ffff0000 | mov x1, #0x1234000000000000 | mov w1, #0xffff
"""
INSTRUCTIONS = [line.strip() for line in LINES.replace("\n", "|").split("|") if line.strip()]


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-as") is None,
    reason="needs GNU as for arm64: Debian's binutils-aarch64-linux-gnu",
)
def test_words_are_those_of_gnu_as(tmp_path: Path) -> None:
    """Each assembles to the word that GNU as makes, and decodes to what assembles to it again."""
    source, made, binary = (tmp_path / name for name in ("a.s", "a.o", "a.bin"))
    source.write_text(".arch armv8.5-a\n" + "\n".join(INSTRUCTIONS) + "\n")
    subprocess.run(["aarch64-linux-gnu-as", source, "-o", made], check=True)
    objcopy = "aarch64-linux-gnu-objcopy"
    subprocess.run([objcopy, "-O", "binary", "-j", ".text", made, binary], check=True)
    words = a64.words(binary.read_bytes())
    assert len(words) == len(INSTRUCTIONS)
    for line, word in zip(INSTRUCTIONS, words):
        assert assemble(line) == word, line
        assert assemble(str(decode(word))) == word, line


NEWER = {
    # FEAT_CMPBR, at address 0x1000: the words in LLVM's own tests, llvm/test/MC/AArch64/CMPBR
    "cbgt w5, w5, 0xc00": 0x74052005, "cbgt x5, x5, 0x13fc": 0xF4051FE5,
    "cbge x2, x2, 0xc00": 0xF4222002, "cbhi w5, w5, 0xc00": 0x74452005,
    "cbhs x2, x2, 0x13fc": 0xF4621FE2, "cbeq w5, w5, 0xc00": 0x74C52005,
    "cbne x2, x2, 0xc00": 0xF4E22002, "cbhgt w5, w5, 0xc00": 0x7405E005,
    "cbhhs w5, w5, 0xc00": 0x7465E005, "cbhne w5, w5, 0xc00": 0x74E5E005,
    "cbbge w5, w5, 0xc00": 0x7425A005, "cbbhi w5, w5, 0xc00": 0x7445A005,
    "cbbeq w5, w5, 0xc00": 0x74C5A005, "cbgt w5, #63, 0x13fc": 0x751F9FE5,
    "cbgt x5, #0, 0xc00": 0xF5002005, "cbhi w5, #31, 0x13fc": 0x754F9FE5,
    "cblt w5, #63, 0x13fc": 0x753F9FE5, "cblo x5, #31, 0xc00": 0xF56FA005,
    "cbeq w5, #31, 0x13fc": 0x75CF9FE5, "cbne x5, #31, 0xc00": 0xF5EFA005,
    # FEAT_LRCPC3, FEAT_PAuth_LR, FEAT_CSSC, FEAT_HBC: the words that llvm-mc 19.1.7 makes
    "ldiapp x0, x6, [x4]": 0xD9461880, "ldiapp w0, w6, [x4], #8": 0x99460880,
    "stilp w1, w2, [x4]": 0x99021881, "stilp x1, x2, [x4, #-16]!": 0xD9020881,
    "paciasppc": 0xDAC1A3FE, "pacibsppc": 0xDAC1A7FE, "ctz x0, x1": 0xDAC01820,
    "cnt w0, w1": 0x5AC01C20, "abs x0, x1": 0xDAC02020, "bc.ne 0x1008": 0x54000051,
}  # fmt: skip


@pytest.mark.parametrize("line", NEWER)
def test_words_of_newer_instructions(line: str) -> None:
    """What GNU as of 2023 does not know yet has the words that LLVM gives it."""
    assert assemble(line, 0x1000) == NEWER[line]
    assert assemble(str(decode(NEWER[line], 0x1000)), 0x1000) == NEWER[line]


def value_of(line: str, x1: int, x2: int = 0) -> int:
    """What X0 holds after an instruction."""
    program = Program({0: assemble(line)}, {}, (Thread(0, {1: x1, 2: x2}),))
    (((path,),),) = (explore(program).paths,)
    return path.registers[0]


@pytest.mark.parametrize(
    ("line", "x1", "value"),
    [
        ("eor x0, x1, #0xff", 0x1F0, 0x10F),
        ("eor w0, w1, #0xff", 0xF00000001F0, 0x10F),
        ("and x0, x1, #-2", 0x11, 0x10),
        ("orr w0, w1, #0x80000001", 2, 0x80000003),
        ("bic x0, x1, x2", 0b1110, 0b1010),
        ("orn w0, w1, w2", 0b0100, 0xFFFFFFFF),
        ("mvn w0, w1", 1, 0xFFFFFFFE),
        ("neg x0, x1", 1, (1 << 64) - 1),
        ("lsl x0, x1, #3", 0x2000000000000001, 8),
        ("lsl w0, w1, #31", 3, 0x80000000),
        ("lsr x0, x1, #4", 0x123, 0x12),
        ("lsr w0, w1, #31", 0x180000000, 1),
        ("mov x0, #0x12340000", 0, 0x12340000),
        ("mov w0, #-2", 0, 0xFFFFFFFE),
        ("mov x0, #0xffffffff", 0, 0xFFFFFFFF),
        ("add x0, x1, x2, lsl #3", 1, 0x21),
        ("add w0, w1, w2, lsl #30", 1, 1),
        ("sub x0, x1, w2, uxtb #1", 0x10, 8),
        ("add x0, x2, w1, sxtb", 0xFF, 3),
        ("add x0, x2, w1, sxth #1", 0xFFFF, 2),
        ("eon x0, x1, x2", 0b0110, (1 << 64) - 3),
        ("and w0, w1, w2, ror #2", 3, 1),
        ("asr x0, x1, #4", 1 << 63, 0xF8 << 56),
        ("ror w0, w1, #4", 0x12345678, 0x81234567),
        ("lsl w0, w2, w1", 33, 8),
        ("asr w0, w1, w2", 0x80000000, 0xF8000000),
        ("sbfx x0, x1, #4, #4", 0x80, (1 << 64) - 8),
        ("bfi x1, x2, #4, #4", 0xFF, 0),  # X0 stays
        ("sxtw x0, w1", 0x80000000, 0xFFFFFFFF80000000),
        ("extr w0, w1, w2, #4", 0xF, 0xF0000000),
        ("madd x0, x1, x2, x1", 3, 15),
        ("msub x0, x1, x2, x1", 3, (1 << 64) - 9),
        ("smull x0, w1, w2", 0xFFFFFFFF, (1 << 64) - 4),
        ("umulh x0, x1, x2", 1 << 63, 2),
        ("smulh x0, x1, x2", 1 << 63, (1 << 64) - 2),
        ("sdiv w0, w1, w2", 0xFFFFFFF9, 0xFFFFFFFF),
        ("udiv x0, x1, xzr", 5, 0),
        ("clz w0, w1", 0x10000, 15),
        ("cls x0, x1", (1 << 64) - 1, 63),
        ("rbit w0, w1", 1, 0x80000000),
        ("rev x0, x1", 0x0102030405060708, 0x0807060504030201),
        ("rev16 w0, w1", 0x01020304, 0x02010403),
        ("rev32 x0, x1", 0x0102030405060708, 0x0403020108070605),
        ("cinc x0, x1, ne", 7, 8),
        ("csinv w0, w1, w2, eq", 7, 0xFFFFFFFB),
        ("cneg x0, x1, ne", 7, (1 << 64) - 7),
    ],
)
def test_values(line: str, x1: int, value: int) -> None:
    """What each computes, by hand from its description."""
    assert value_of(line, x1, 0b0100) == value


@pytest.mark.parametrize(
    ("lines", "states"),
    [
        ("TST W1,#2; CSET W0,EQ", "0:X0=1;"),
        ("TST X1,X1; CSET W0,NE", "0:X0=1;"),
        ("CMP X1,#1; CCMP X1,#2,#4,EQ; CSET W0,EQ", "0:X0=0;"),
        ("CMP X1,#2; CCMP X1,#1,#4,EQ; CSET W0,EQ", "0:X0=1;"),
        ("CMN X1,#-1; CSET W0,EQ", "0:X0=1;"),
        ("SUBS X2,XZR,X1; SBC X0,X1,X1", f"0:X0={2**64 - 1};"),
        ("MSR NZCV,XZR; MOV W2,#0x40000000; MSR NZCV,X2; CSET W0,EQ", "0:X0=1;"),
        ("CMP X1,X1; MRS X0,NZCV", f"0:X0={0x60000000};"),
        ("CBGT W1,#0,L; MOV X0,#7; L: NOP", "0:X0=0;"),
        ("MOV W2,#-1; CBGT W1,W2,L; MOV X0,#7; L: NOP", "0:X0=0;"),
        ("MOV W2,#-1; CBHI W1,W2,L; MOV X0,#7; L: NOP", "0:X0=7;"),
        ("MOV W2,#257; CBBEQ W1,W2,L; MOV X0,#7; L: NOP", "0:X0=0;"),
        ("CMP X1,#1; BC.EQ L; MOV X0,#7; L: NOP", "0:X0=0;"),
        ("MOV W0,#-1; STR W0,[X3]; LDRSB W0,[X3]", f"0:X0={0xFFFFFFFF};"),
        ("MOV W0,#-1; STR W0,[X3]; LDRSH X0,[X3]", f"0:X0={2**64 - 1};"),
        ("MOV W0,#-1; STUR W0,[X3]; LDRSW X0,[X3]", f"0:X0={2**64 - 1};"),
        ("ADD X3,X3,#4; LDR W0,[X3,#-4]", f"0:X0={0x11223344};"),
        ("MOV W2,#-1; ADD X3,X3,#4; LDR W0,[X3,W2,SXTW #2]", f"0:X0={0x11223344};"),
        ("STLUR W1,[X3]; LDAPUR W0,[X3]", "0:X0=1;"),
        ("LDIAPP W0,W2,[X3],#8; ADD W0,W0,W2", f"0:X0={0x11223344};"),
        ("STILP W1,W1,[X3]; LDR X0,[X3]", f"0:X0={1 << 32 | 1};"),
        ("MOV W2,#0x80; SWPB W2,W4,[X3]; LDSMAXB W1,W0,[X3]; LDRB W0,[X3]", "0:X0=1;"),
        ("MOV W2,#0x80; SWPB W2,W4,[X3]; LDUMAXB W1,W0,[X3]; LDRB W0,[X3]", "0:X0=128;"),
        ("LDADDH W1,W0,[X3]; LDRH W0,[X3]", f"0:X0={0x3345};"),
        ("MOV W4,#0x44; CASB W4,W1,[X3]; LDR W0,[X3]", f"0:X0={0x11223301};"),
        ("MVN X2,X1; TST X2,X2; CSET W0,MI", "0:X0=1;"),
        ("CMP W1,#1; BNE L; MOV X0,#7; L: ISB SY", "0:X0=7;"),
        ("LDRB W0,[X3,#1]", "0:X0=51;"),
        ("LDRH W0,[X3]", f"0:X0={0x3344};"),
        ("MOV W0,#-1; STRB W0,[X3]; LDR W0,[X3]", f"0:X0={0x112233FF};"),
        ("MOV W0,#-1; STRH W0,[X3,#2]; LDR W0,[X3]", f"0:X0={0xFFFF3344};"),
        ("LDXP W4,W5,[X3]; STXP W0,W5,W4,[X3]; CBNZ W0,L; LDR W0,[X3,#4]; L: NOP",
         f"0:X0=1; 0:X0={0x11223344};"),
        ("LDXR W4,[X3]; CLREX; STXR W0,W4,[X3]", "0:X0=1;"),
        ("LDXRB W4,[X3]; STXR W0,W4,[X3]", "0:X0=1;"),
        ("LDAXRH W4,[X3]; STLXRH W0,W4,[X3]", "0:X0=0; 0:X0=1;"),
    ],
)  # fmt: skip
def test_effects(lines: str, states: str) -> None:
    """What short sequences leave in X0, by hand: X1 is 1, X3 has the address of 0x11223344."""
    code = " ;\n ".join(lines.split("; "))
    initial = "0:X1=1; 0:X3=x; x=0x11223344; uint64_t 0:X0;"
    text = f"AArch64 t\n{{ {initial} }}\n P0 ;\n {code} ;\nlocations [0:X0]\n"
    assert " ".join(run(read(text)).states) == states


@pytest.mark.parametrize(
    "line",
    ["and w1, w2, #0", "eor x1, x2, #5", "mov x1, #0x123456789", "lsl w1, w2, #32", "tst x1, #-1",
     "mov w1, #0x100000000", "mov w1, #01"],
)  # fmt: skip
def test_no_such_immediate(line: str) -> None:
    """Immediates that no instruction has are refused, and numbers of no known base."""
    with pytest.raises(a64.A64Error):
        assemble(line)
