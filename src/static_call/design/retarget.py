"""The retarget of a design: machine code, and the steps that it takes.

A design's text ends in the code that changes its cells (slots and literals). Cell k, counted from
0 as the text lists them, has its address in x(2k) and its new contents in x(2k+1): a place that
can run code runs those words, and `steps` says, by running them here, what they do in which order.
A place that can't (a file, another process) takes the steps themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from static_call.errors import StaticCallError
from static_call.isa import a64

Read = Callable[[int, int], bytes]
"""Reads `size` bytes at an address; fewer where memory ends."""

_MASK = (1 << 64) - 1


class Unreadable(StaticCallError):
    """A retarget loads from where no memory is."""


class Cse:
    """A context synchronisation event on every PE that may be executing (Arm ARM B2.7.4.2).

    No instruction gives one on another PE, so the place expands it: an IPI in a kernel, membarrier
    SYNC_CORE in a process, an ISB where there is one PE.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cse)

    def __hash__(self) -> int:
        return hash(Cse)

    def __repr__(self) -> str:
        return "cse"


Code = Sequence[a64.Instruction | Cse]


class Step(NamedTuple):
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


RETARGET = ("str", "stp", "ldr", "orr", "dmb", "dsb", "isb", "dc cvau", "ic ivau")
"""The instructions that a retarget may use, besides cse."""


def allowed(insn: a64.Instruction) -> bool:
    """Whether a retarget may use the instruction, which is what `steps` can follow.

    Its operands are registers and numbers; what it loads or stores is at [register, offset], the
    register neither SP, which is the place's own, nor changed by it.
    """
    if insn.name not in RETARGET or insn.symbols or insn.row is None:
        return False
    if insn.name in ("str", "stp", "ldr"):
        return insn.row.tokens[-1] == "]" and insn["n"] != 31
    return True


def registers(insn: a64.Instruction, *, writes: bool) -> Iterator[tuple[str, int]]:
    """The registers that a retarget's instruction writes, or those that it reads: as the text
    names them, and by number, 31 for the zero register."""
    assert insn.row is not None
    for operand in insn.row.operands:
        written = operand.name == "d" or (insn.name == "ldr" and operand.name == "t")
        if operand.is_register and written == writes:
            number = insn[operand.name]
            yield operand.format(number, str), number


def steps(code: Code, registers: Sequence[int], read: Read) -> tuple[Step, ...]:
    """What the code does, step by step, when entered with x0, x1, ... = `registers`.

    Loads see memory as `read` gives it, under the stores made so far. Raises Unreadable where that
    gives nothing.
    """
    x = [*registers, *[0] * (32 - len(registers))]
    taken: list[Step] = []

    def load(address: int, size: int) -> int:
        data = bytearray(read(address, size))
        if len(data) < size:
            raise Unreadable(f"the retarget loads {size} bytes at {address:#x}: they are not there")
        for step in taken:
            for i, byte in enumerate(step.value.to_bytes(step.size, "little")):
                if 0 <= step.address + i - address < len(data):
                    data[step.address + i - address] = byte
        return int.from_bytes(data, "little")

    for insn in code:
        if isinstance(insn, Cse):
            taken.append(Step("cse"))
            continue
        x[31] = 0
        address, size = x[insn.get("n")] + insn.get("i") & _MASK, insn.size
        mask = (1 << 8 * size) - 1
        match insn.name:
            case "str":
                taken.append(Step("store", address, x[insn["t"]] & mask, size))
            case "stp":
                pair = x[insn["t"]] & mask | (x[insn["u"]] & mask) << 8 * size
                taken.append(Step("store", address, pair, 2 * size))
            case "ldr":
                x[insn["t"]] = load(address, size)
            case "orr":
                x[insn["d"]] = x[insn["n"]] | x[insn["m"]] << insn.get("s") & _MASK
            case "dc cvau" | "ic ivau":
                taken.append(Step(insn.name, x[insn["t"]]))
            case _:
                taken.append(Step(str(insn)))
    return tuple(taken)


class Retarget(NamedTuple):
    """A retarget of one trampoline, ready to be performed by a place.

    code       the design's retarget text, as instructions
    registers  what x0, x1, ... hold when it is entered: each cell's address and new contents
    steps      what the code then does: for a place that cannot run it
    keep       how many of its stores it takes until calls go to the new target
    """

    code: Code
    registers: tuple[int, ...]
    steps: tuple[Step, ...]
    keep: int = 1
