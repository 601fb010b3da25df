"""The retarget of a design: machine code, and the steps that it takes.

A design's text ends in the code that changes its cells (slots and literals). Cell k, counted from
0 as the text lists them, has its address in x(2k) and its new contents in x(2k+1): a place that
can run code runs those words, and `steps` says, by running them here, what they do in which order.
A place that can't (a file, another process) takes the steps themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from static_call import a64

Read = Callable[[int, int], bytes]
"""Reads `size` bytes at an address; fewer where memory ends."""

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Cse:
    """A context synchronisation event on every PE that may be executing (Arm ARM B2.7.4.2).

    No instruction gives one on another PE, so the place expands it: an IPI in a kernel, membarrier
    SYNC_CORE in a process, an ISB where there is one PE.
    """

    def __str__(self) -> str:
        return "cse"


Code = Sequence[a64.Instruction | Cse]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a retarget.

    op       "store", a barrier as in assembly ("dmb ishst"), "dc cvau", "ic ivau", "isb" or "cse"
    address  the store's address, or one in the line that is maintained
    value    what a store writes, `size` bytes of it, little-endian
    """

    op: str
    address: int = 0
    value: int = 0
    size: int = 0

    def __str__(self) -> str:
        if self.op == "store":
            return (
                f"store {self.size} bytes at {self.address:#x}: {self.value:#0{2 * self.size + 2}x}"
            )
        return f"{self.op} {self.address:#x}" if self.address else self.op


def _offset(insn: a64.Instruction) -> int:
    return insn["i"] if "i" in insn else 0


def steps(code: Code, registers: Sequence[int], read: Read) -> tuple[Step, ...]:
    """What the code does, step by step, when entered with x0, x1, ... = `registers`.

    Loads see memory as `read` gives it, under the stores made so far.
    """
    x = [*registers, *[0] * (32 - len(registers))]
    taken: list[Step] = []

    def load(address: int, size: int) -> int:
        data = bytearray(read(address, size))
        for step in taken:
            for i, byte in enumerate(step.value.to_bytes(step.size, "little")):
                if 0 <= step.address + i - address < len(data):
                    data[step.address + i - address] = byte
        return int.from_bytes(data, "little")

    for insn in code:
        if isinstance(insn, Cse):
            taken.append(Step("cse"))
            continue
        size = 4 if insn.row and insn.row.tokens and _is_w(insn) else 8
        x[31] = 0
        match insn.name:
            case "str":
                value = x[insn["t"]] & (1 << 8 * size) - 1
                taken.append(Step("store", x[insn["n"]] + _offset(insn), value, size))
            case "stp":
                mask = (1 << 8 * size) - 1
                value = x[insn["t"]] & mask | (x[insn["u"]] & mask) << 8 * size
                taken.append(Step("store", x[insn["n"]] + _offset(insn), value, 2 * size))
            case "ldr":
                x[insn["t"]] = load(x[insn["n"]] + _offset(insn), size)
            case "orr":
                x[insn["d"]] = (
                    x[insn["n"]] | x[insn["m"]] << (insn["s"] if "s" in insn else 0) & _MASK
                )
            case "dc cvau" | "ic ivau":
                taken.append(Step(insn.name, x[insn["t"]]))
            case _:
                taken.append(Step(str(insn)))
    return tuple(taken)


RETARGET = ("str", "stp", "ldr", "orr", "dmb", "dsb", "isb", "dc cvau", "ic ivau")
"""The instructions that a retarget may use, besides cse."""


def _is_w(insn: a64.Instruction) -> bool:
    assert insn.row is not None
    return insn.row.operands[0].kind == "w:"


@dataclass(frozen=True, slots=True)
class Retarget:
    """A retarget of one trampoline, ready to be performed by a place.

    code       the design's retarget text, as instructions
    registers  what x0, x1, ... hold when it is entered: each cell's address and new contents
    steps      what the code then does: for a place that cannot run it
    """

    code: Code
    registers: tuple[int, ...]
    steps: tuple[Step, ...]
