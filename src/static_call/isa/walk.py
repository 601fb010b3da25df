"""Follows straight-line A64 code: trampolines, linker veneers, PLT entries, stubs.

Executes the few instructions that such code consists of on known register values, with no machine.
The cost of a call, a trampoline's destination and a veneer's are all found this way.
"""

from __future__ import annotations

from collections.abc import Iterator

from static_call.isa import a64
from static_call.isa.isa import Executed, Read
from static_call.records import NamedTuple

__all__ = ["Detour", "Executed", "Read", "detour", "walk"]

_MASK = (1 << 64) - 1
# autia1716 is in PLT entries linked with -z pac-plt; signatures are assumed to be right.
_SKIPPED = frozenset({"nop", "bti", "bti c", "bti j", "bti jc", "autia1716"})


def walk(read: Read, start: int, limit: int = 64) -> Iterator[Executed]:
    """Executes from `start` to RET, what it cannot follow, or `limit` instructions."""
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
    """Executes one instruction on the registers in `known`; None if it cannot be followed."""
    after = pc + a64.WORD
    match insn.name:
        case name if name in _SKIPPED:
            return Executed(pc, insn, after)
        case "b":
            return Executed(pc, insn, insn["i"], branch="direct")
        case "br":
            return Executed(pc, insn, known.get(insn["n"]), branch="indirect")
        case "ret":
            return Executed(pc, insn, None, branch="return")
        case "cbz" | "cbnz" if insn["t"] in known:
            zero = known[insn["t"]] & (1 << 8 * insn.size) - 1 == 0
            if zero != (insn.name == "cbz"):
                return Executed(pc, insn, after)
            return Executed(pc, insn, insn["i"], branch="direct")
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

    Attributes:
        target: the address that it branches to; None where that cannot be known.
        got: the address of the word that it loaded the target from, or None.
        size: instructions in it.
    """

    target: int | None
    got: int | None
    size: int


def detour(read: Read, address: int) -> Detour | None:
    """Where the code at an address leads, if it does nothing but branch; else None.

    GNU ld's and lld's veneers and PLT entries use x16 and x17 alone, as AAPCS64 6.1.1 says.
    """
    loaded: dict[int, int] = {}  # by register, where its value came from
    for count, done in enumerate(walk(read, address, limit=8), 1):
        if done.insn.name in ("b", "br"):
            got = loaded.get(done.insn["n"]) if done.indirect else None
            return Detour(done.next, got, count)
        if done.writes is not None:
            if done.writes not in (16, 17):
                return None
            loaded.pop(done.writes, None)
            if done.load is not None:
                loaded[done.writes] = done.load
    return None
