"""What the rest of the program must know of an instruction set, and the words for it.

Sizes, the order of bytes, and what a literal is are the instruction set's: nothing may tell a slot
from a literal by its size, since there are sets where both have 4 bytes. The sets that there are
are in sets.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from static_call.isa.instruction import Instruction
from static_call.records import NamedTuple

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from typing import Literal

    Order = Literal["little", "big"]
    """The order of the bytes of a number in memory, as int.from_bytes takes it."""

Read = Callable[[int, int], bytes]
"""Reads memory: called with an address and a size in bytes; gives fewer where memory ends."""


class Executed(NamedTuple):
    """One executed instruction: where it was, what it was, where execution goes on.

    Attributes:
        address: where it is.
        insn: the instruction.
        next: the address executed next; None after a return and where that cannot be known.
        load: the address that it loaded from, or None.
        writes: the register that it wrote, or None.
        branch: "direct" if it branched, "indirect" if it did to an address in a register, "return"
            if it did and is predicted as a return; else "".
    """

    address: int
    insn: Instruction
    next: int | None
    load: int | None = None
    writes: int | None = None
    branch: Literal["", "direct", "indirect", "return"] = ""

    @property
    def taken(self) -> bool:
        """Whether it branched."""
        return self.branch != ""

    @property
    def indirect(self) -> bool:
        """Whether it branched to an address in a register, and not as a return."""
        return self.branch == "indirect"


class Step(NamedTuple):
    """One step of a retarget.

    Attributes:
        op: "store", a barrier as in assembly ("dmb ishst"), "dc cvau", "ic ivau", "isb" or "cse".
        address: the store's address, or one in the line that is maintained.
        value: what a store writes, as a number.
        size: how many bytes it writes.
        order: in which order.
    """

    op: str
    address: int = 0
    value: int = 0
    size: int = 0
    order: Order = "little"

    @property
    def data(self) -> bytes:
        """The bytes that a store writes; none for another step."""
        return self.value.to_bytes(self.size, self.order)

    def __str__(self) -> str:
        if self.op == "store":
            return (
                f"store {self.size} bytes at {self.address:#x}: {self.value:#0{2 * self.size + 2}x}"
            )
        return f"{self.op} {self.address:#x}" if self.address else self.op


class Patcher(NamedTuple):
    """What the code of a retarget may be made of: see design/retarget.py.

    Attributes:
        instructions: the mnemonics that it may use.
        allowed: whether it may use an instruction, whose mnemonic is one of these.
        registers: the registers that it may use, in order: cell k, counted from 0, has its address
            in register 2k of them, and its new contents in register 2k+1.
        uses: the registers that an instruction writes (`writes` true) or reads, each as the text
            names it, and as an index in `registers`; one that is beyond them has -1. A register
            that always holds 0 is not among them.
        perform: does what an instruction does, on the registers' values, and gives the Step that it
            takes outside of them, or None. It loads by `load(address, size)`.
        maintains: the ops of the Steps that maintain a cache line.
    """

    instructions: Sequence[str]
    allowed: Callable[[Instruction], bool]
    registers: Sequence[str]
    uses: Callable[[Instruction, bool], Iterator[tuple[str, int]]]
    perform: Callable[[Instruction, list[int], Callable[[int, int], int]], Step | None]
    maintains: Sequence[str]


class Cmodx(NamedTuple):
    """The list of instructions that may be modified while another PE may execute them.

    Attributes:
        rule: where the manual has it.
        editions: what Instruction.modifiable's editions are in words.
        listed: the mnemonics that are on it by an edition, in alphabetical order.
    """

    rule: str
    editions: Mapping[str, str]
    listed: Callable[[str], Sequence[str]]


class Isa(NamedTuple):
    """An instruction set, as designs, places and the checker need it.

    Attributes:
        name: as a design's `.isa` says it.
        word: bytes in an instruction.
        pointer: bytes in an address, and so in a literal.
        order: the order of the bytes of a word and of a literal in memory.
        literal: the directive that makes a literal in assembly.
        parse: the instruction that a line of assembly is; raises BadSyntax.
        decode: the instruction that a word at an address is.
        walk: executes straight code from an address, by what `read` gives, for at most `limit`
            instructions; ends at a return and at what it cannot follow.
        patcher: what the code of a retarget may be made of.
        pads: the landing pads that an indirect branch needs, by mnemonic; None for an instruction
            that needs none.
        cmodx: the list of what may be modified while it may execute.
        common: instructions that code is full of, which find no trampoline.
    """

    name: str
    word: int
    pointer: int
    order: Order
    literal: str
    parse: Callable[[str], Instruction]
    decode: Callable[[int, int], Instruction]
    walk: Callable[[Read, int, int], Iterator[Executed]]
    patcher: Patcher
    pads: Callable[[Instruction], frozenset[str] | None]
    cmodx: Cmodx
    common: frozenset[str]

    def __str__(self) -> str:
        return self.name

    @property
    def addresses(self) -> int:
        """The highest address, which is a mask of all."""
        return (1 << 8 * self.pointer) - 1

    def number(self, data: bytes | bytearray) -> int:
        """The number that a word's or a literal's bytes are."""
        return int.from_bytes(data, self.order)

    def data(self, number: int, size: int) -> bytes:
        """A word's or a literal's bytes."""
        return number.to_bytes(size, self.order)
