"""Following straight code: what linkers put between a call and its target, and what they don't."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from elftools.elf.elffile import ELFFile
from gnu import PREFIX, Memory, assemble, link
from toolchain import need, run

from static_call.isa import a64
from static_call.isa.walk import Detour, detour, walk

GNU_LD, LLD = f"{PREFIX}ld", "ld.lld"

START, FAR, FARTHER = 0x200000, 0x20000000, 0x900000000

PROGRAM = """
.globl start
start:  bl near_stub
        bl imported
        bl far
        {farther}
        ret
near_stub: b start
.section .far,"ax"
.globl far
far:    ret
.section .farther,"ax"
.globl farther
farther: ret
"""


class Linked(NamedTuple):
    """A program that a linker made: its memory, where it calls, its GOT entry for `imported`."""

    memory: Memory
    calls: list[int]
    got: int

    def word(self, at: int) -> int:
        """The 8 bytes at an address."""
        return int.from_bytes(self.memory.read(at, 8), "little")


def build(folder: Path, linker: str, options: str, *, farther: bool) -> Linked:
    """Links PROGRAM with a shared library that has `imported`."""
    if linker == LLD:
        need(linker)
    other = assemble(
        folder / "other.o", ".globl imported\n.type imported,%function\nimported: ret\n"
    )
    source = PROGRAM.format(farther="bl farther" if farther else "nop")
    code = assemble(folder / "code.o", source)
    library, program = folder / "lib.so", folder / "program"
    run(linker, "-shared", "-o", library, other)
    sections = [f"--section-start=.text={START:#x}", f"--section-start=.far={FAR:#x}"]
    if farther:
        sections.append(f"--section-start=.farther={FARTHER:#x}")
    run(linker, *options.split(), "-e", "start", *sections, "-o", program, code, library)
    elf: Any = ELFFile.load_from_path(str(program))
    pieces = [(one["sh_addr"], one.data()) for one in elf.iter_sections() if one["sh_addr"]]
    memory = Memory(pieces)
    words = a64.words(memory.read(START, 16))
    found = [a64.decode(word, START + 4 * k) for k, word in enumerate(words)]
    [slot] = elf.get_section_by_name(".rela.plt").iter_relocations()
    return Linked(memory, [insn["i"] for insn in found if insn.name == "bl"], slot["r_offset"])


@pytest.mark.parametrize(
    ("linker", "options", "farther", "plt", "veneers"),
    [
        (GNU_LD, "", True, 4, 3),
        (GNU_LD, "-pie", True, 4, 3),
        (GNU_LD, "-z force-bti", True, 5, 3),  # bti c before the entry's four
        (LLD, "", False, 4, 2),
        (LLD, "-pie", False, 4, 3),
        (LLD, "-shared -Bsymbolic -z force-bti", False, 4, 3),
    ],
)
def test_what_linkers_put_in_between(
    tmp_path: Path, linker: str, options: str, farther: bool, plt: int, veneers: int
) -> None:
    """A stub of one branch; a PLT entry (adrp, ldr, add, br) with its GOT slot; a veneer to 512 MiB
    away (adrp, add, br; lld's without -pie: ldr, br) and one to 36 GiB (ldr, adr, add, br)."""
    made = build(tmp_path, linker, options, farther=farther)
    stub, imported, far, *rest = made.calls
    read = made.memory.read
    assert detour(read, stub) == Detour(START, None, 1)
    if linker == LLD:  # its PLT comes after .far, so another veneer leads to the entry
        [imported] = [found.target for found in [detour(read, imported)] if found and found.target]
    assert detour(read, imported) == Detour(made.word(made.got), made.got, plt)
    literal = far + 8 if veneers == 2 else None
    assert detour(read, far) == Detour(FAR, literal, veneers)
    if farther:
        assert detour(read, rest[0]) == Detour(FARTHER, None, 4)
    assert detour(read, FAR) is None
    assert detour(read, START) is None


@pytest.mark.parametrize(
    "code",
    [
        "ret",
        "bti c; ret",
        "nop; nop; nop; nop; nop; nop; nop; nop; b .",
        "mov x0, #0; ret",
        "mov x0, #0; b .+8",
        "paciasp; b .+8",
        "stp x29, x30, [sp, #-16]!; mov x29, sp; bl .+64",
        "sub sp, sp, #16; b .+64",
        "adrp x0, .; add x0, x0, #8; br x16",
        "adrp x16, .; ldr x0, [x16]; br x0",
        "cbz x0, .+8; b .+64",
        "ldr x16, [x0]; br x16",
        "ldr x16, [x16]; br x16",
        "movz x17, #1; cmp x0, x17; b .+64",
        "udf #0",
    ],
)
def test_ordinary_code_is_no_detour(tmp_path: Path, code: str) -> None:
    """What does more than go elsewhere by x16 and x17, or depends on what it is called with."""
    text = link(tmp_path, code.replace("; ", "\n") + "\n", {}, f"-Ttext={START:#x}")[".text"]
    assert detour(Memory([(START, text)]).read, START) is None


def test_code_that_ends_is_no_detour() -> None:
    """Memory that ends before the branch, or where a branch goes."""
    nop = bytes.fromhex("1f2003d5")
    assert detour(Memory([(START, nop)]).read, START) is None
    assert detour(Memory([]).read, START) is None


@pytest.mark.parametrize(
    ("code", "target"),
    [
        (
            "movz x16, #0x1234, lsl #32; movk x16, #0x5678, lsl #16; movk x16, #4; br x16",
            0x123456780004,
        ),
        ("adr x16, .+8; add x16, x16, #1, lsl #12; br x16", START + 8 + 0x1000),
        ("adr x16, .+8; movz x17, #2; add x16, x16, x17, lsl #3; br x16", START + 24),
        ("ldr w16, 1f; br x16; 1: .quad 0xffffffff00000040", 0x40),
        ("ldr x16, 1f; br x16; 1: .quad 0xffffffff00000040", 0xFFFFFFFF00000040),
        ("adr x16, 1f; ldr x17, [x16, #8]; br x17; 1: .quad 0, 0x44", 0x44),
        ("ldr x16, 1f; cbz w16, 2f; br x16; 1: .quad 0xffffffff00000000; 2: b .+4", START + 24),
        ("ldr x16, 1f; cbnz x16, 2f; br x16; 1: .quad 0xffffffff00000000; 2: b .+4", START + 24),
        ("ldr x16, 1f; br x16; 1: .word 0", None),  # the literal is not all there
    ],
)
def test_values_are_followed_as_a_pe_computes_them(
    tmp_path: Path, code: str, target: int | None
) -> None:
    """Shifts, widths and loads; what cannot be known is None."""
    text = link(tmp_path, code.replace("; ", "\n") + "\n", {}, f"-Ttext={START:#x}")[".text"]
    found = detour(Memory([(START, text)]).read, START)
    assert found is not None
    assert found.target == target


def test_the_walk_ends() -> None:
    """A loop is followed as far as the limit; RET and what it cannot follow end it."""
    loop = Memory([(START, (0x14000000).to_bytes(4, "little"))])
    path = list(walk(loop.read, START, limit=5))
    assert [done.address for done in path] == [START] * 5
    assert all(done.taken and not done.indirect for done in path)
    assert detour(loop.read, START) == Detour(START, None, 1)
