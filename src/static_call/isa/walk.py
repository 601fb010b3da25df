"""Follows straight code: trampolines, linker veneers, PLT entries, stubs.

Runs the few instructions that such code is made of on known register values, without a machine.
It is how the cost of a call, a trampoline's destination and a veneer's are found: one way for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from static_call.design.retarget import Read
from static_call.isa import a64

_MASK = (1 << 64) - 1
# autia1716: of PLT entries linked with -z pac-plt; what is signed is taken for right.
_SKIPPED = frozenset({"nop", "bti", "bti c", "bti j", "bti jc", "autia1716"})


class Executed(NamedTuple):
    """One executed instruction: where it was, what it was, where execution goes on.

    next    the address executed next; None after RET and where that cannot be known
    load    the address that it loaded from, or None
    writes  the register that it wrote, or None
    """

    address: int
    insn: a64.Instruction
    next: int | None
    load: int | None = None
    writes: int | None = None

    @property
    def taken(self) -> bool:
        """Whether it branched, be it to the instruction behind it."""
        return self.insn.name in ("b", "br", "ret") or self.next != self.address + a64.WORD

    @property
    def indirect(self) -> bool:
        """Whether it branched to an address in a register; RET, which is predicted, is apart."""
        return self.insn.name == "br"


def walk(read: Read, start: int, limit: int = 64) -> Iterator[Executed]:
    """Executes from `start`; ends at RET, at what it cannot follow, or after `limit`."""
    known: dict[int, int] = {}
    pc: int | None = start
    for _ in range(limit):
        if pc is None or len(data := read(pc, a64.WORD)) < a64.WORD:
            return
        done = _execute(a64.decode(int.from_bytes(data, "little"), pc), pc, known, read)
        if done is None:
            return
        yield done
        pc = done.next


def _execute(insn: a64.Instruction, pc: int, known: dict[int, int], read: Read) -> Executed | None:
    """One instruction on the registers in `known`; None where it is not one that it can follow."""
    after = pc + a64.WORD
    match insn.name:
        case name if name in _SKIPPED:
            return Executed(pc, insn, after)
        case "b":
            return Executed(pc, insn, insn["i"])
        case "br":
            return Executed(pc, insn, known.get(insn["n"]))
        case "ret":
            return Executed(pc, insn, None)
        case "cbz" | "cbnz" if insn["t"] in known:
            zero = known[insn["t"]] & (1 << 8 * insn.size) - 1 == 0
            return Executed(pc, insn, insn["i"] if zero == (insn.name == "cbz") else after)
        case "adr" | "adrp":
            return _write(pc, insn, known, insn["il"])
        case "movz":
            return _write(pc, insn, known, insn["i"] << insn.get("s"))
        case "movk" if insn["d"] in known:
            kept = known[insn["d"]] & ~(0xFFFF << insn.get("s"))
            return _write(pc, insn, known, kept | insn["i"] << insn.get("s"))
        case "add" if "m" in insn and insn["n"] in known and insn["m"] in known:
            return _write(pc, insn, known, known[insn["n"]] + (known[insn["m"]] << insn.get("s")))
        case "add" if "i" in insn and insn["n"] in known:
            return _write(pc, insn, known, known[insn["n"]] + (insn["i"] << insn.get("s")))
        case "ldr" if "n" not in insn:
            return _load(pc, insn, known, read, insn["i"])
        case "ldr" if insn["n"] in known:
            return _load(pc, insn, known, read, known[insn["n"]] + insn.get("i") & _MASK)
    return None


def _write(pc: int, insn: a64.Instruction, known: dict[int, int], value: int) -> Executed:
    if insn["d"] != 31:  # the zero register, or SP
        known[insn["d"]] = value & (1 << 8 * insn.size) - 1
    return Executed(pc, insn, pc + a64.WORD, writes=insn["d"])


def _load(pc: int, insn: a64.Instruction, known: dict[int, int], read: Read, at: int) -> Executed:
    data = read(at, insn.size)
    known.pop(insn["t"], None)
    if len(data) == insn.size and insn["t"] != 31:
        known[insn["t"]] = int.from_bytes(data, "little")
    return Executed(pc, insn, pc + a64.WORD, load=at, writes=insn["t"])


class Detour(NamedTuple):
    """Where a veneer, a PLT entry or a branch-only stub leads.

    target  the address that it branches to
    got     the address of the word that it loaded the target from, or None
    size    instructions in it
    """

    target: int | None
    got: int | None
    size: int


def detour(read: Read, address: int) -> Detour | None:
    """What the code at an address leads to, if it does nothing else.

    GNU ld's and lld's veneers and PLT entries use x16 and x17 alone, as AAPCS64 6.1.1 has them.
    """
    loaded: dict[int, int] = {}  # by register, where its value came from
    for count, done in enumerate(walk(read, address, limit=8), 1):
        if done.insn.name in ("b", "br"):
            got = loaded.get(done.insn["n"]) if done.insn.name == "br" else None
            return Detour(done.next, got, count)
        if done.writes is not None:
            if done.writes not in (16, 17):
                return None
            loaded.pop(done.writes, None)
            if done.load is not None:
                loaded[done.writes] = done.load
    return None
