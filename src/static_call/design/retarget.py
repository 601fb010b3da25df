"""The retarget of a design: machine code, and the steps that it takes.

A design's text ends in the code that changes its cells (slots and literals). On A64, x(2k) holds
the address of cell k, and x(2k+1) its new contents; cells are counted from 0 as the text lists
them. A place that can run code runs those words. `steps` runs them here, to find out what they do
and in which order; a place that cannot run code (a file, another process) performs these steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from static_call.errors import StaticCallError
from static_call.isa.instruction import Instruction
from static_call.isa.isa import Isa, Read, Step
from static_call.records import NamedTuple

__all__ = ["Code", "Cse", "Read", "Retarget", "Step", "Unreadable", "steps"]


class Unreadable(StaticCallError):
    """A retarget loads from an address without memory."""


class Cse:
    """A context synchronisation event on every PE that may be executing (Arm ARM B2.7.4.2).

    No instruction causes one on another PE, so each place implements it: a kernel by an IPI, a
    process by membarrier SYNC_CORE, a machine with one PE by an ISB.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cse)

    def __hash__(self) -> int:
        return hash(Cse)

    def __repr__(self) -> str:
        return "cse"


Code = Sequence[Instruction | Cse]
"""The code of a retarget."""


def steps(code: Code, registers: Sequence[int], read: Read, isa: Isa) -> tuple[Step, ...]:
    """What the code does, step by step.

    Args:
        code: the retarget's instructions.
        registers: what the first of the instruction set's registers for a retarget hold at the
            start; the others hold 0.
        read: gives memory as it was before. Loads see it, and the stores made so far.
        isa: the instruction set.

    Raises:
        Unreadable: `read` does not give what the code loads.
    """
    values = [*registers, *[0] * (len(isa.patcher.registers) - len(registers))]
    taken: list[Step] = []

    def load(address: int, size: int) -> int:
        data = bytearray(read(address, size))
        if len(data) < size:
            raise Unreadable(f"the retarget loads {size} bytes at {address:#x}: they are not there")
        for step in taken:
            for i, byte in enumerate(step.data):
                if 0 <= step.address + i - address < len(data):
                    data[step.address + i - address] = byte
        return isa.number(data)

    for insn in code:
        step = Step("cse") if isinstance(insn, Cse) else isa.patcher.perform(insn, values, load)
        if step is not None:
            taken.append(step)
    return tuple(taken)


class Retarget(NamedTuple):
    """A retarget of one trampoline, ready to be performed by a place.

    Attributes:
        code: the design's retarget text, as instructions.
        registers: what x0, x1, ... hold when it is entered: each cell's address and new contents.
        steps: what the code then does, for a place that cannot run it.
        keep: after how many of its stores calls go to the new target.
    """

    code: Code
    registers: tuple[int, ...]
    steps: tuple[Step, ...]
    keep: int = 1
