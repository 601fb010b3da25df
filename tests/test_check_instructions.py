"""The instructions that the checker knows besides the A64 table, against GNU as."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from static_call import a64
from static_call.check.instructions import assemble, decode

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
