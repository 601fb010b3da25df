"""The retarget of a design: machine code, and the steps that it takes.

A design's text ends in the code that changes its cells (slots and literals). On A64, cell k,
counted from 0 as the text lists them, has its address in x(2k) and its new contents in x(2k+1). A
place that can run code runs those words, and `steps` runs them here, to say what they do in which
order. A place that cannot (a file, another process) takes the steps themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from static_call.errors import StaticCallError
from static_call.isa.instruction import Instruction
from static_call.isa.isa import Isa, Read, Step
from static_call.records import NamedTuple

__all__ = ["Code", "Cse", "Read", "Retarget", "Step", "Unreadable", "steps"]


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


Code = Sequence[Instruction | Cse]
"""The code of a retarget."""


def steps(code: Code, registers: Sequence[int], read: Read, isa: Isa) -> tuple[Step, ...]:
    """What the code does, step by step.

    Args:
        code: the retarget's.
        registers: what the instruction set's first registers for a retarget hold at its start; the
            others hold 0.
        read: gives memory as it is before. Loads see it under the stores made so far.
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
        steps: what the code then does: for a place that cannot run it.
        keep: how many of its stores it takes until calls go to the new target.
    """

    code: Code
    registers: tuple[int, ...]
    steps: tuple[Step, ...]
    keep: int = 1
