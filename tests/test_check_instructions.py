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
    text = f"AArch64 t\n{{ 0:X1=1; 0:X3=x; x=0x11223344; uint64_t 0:X0; }}\n P0 ;\n {code} ;\nlocations [0:X0]\n"
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
