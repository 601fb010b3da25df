"""What the rest of the program must know about an instruction set, and the types for it.

The instruction set decides on sizes, the order of bytes, and what a literal is. Nothing may tell a
slot from a literal by its size, since in some sets both have 4 bytes. sets.py lists the sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from static_call.isa.instruction import Instruction
from static_call.records import NamedTuple

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from typing import Literal

    Order = Literal["little", "big"]
    """The order of the bytes of a number in memory, as int.from_bytes takes it."""

Read = Callable[[int, int], bytes]
"""Reads memory: called with an address and a size in bytes; returns fewer bytes if memory ends."""


class Executed(NamedTuple):
    """One executed instruction: its address, what it was, and where execution continues.

    Attributes:
        address: its address.
        insn: the instruction.
        next: the address executed next; None after a return, and if it cannot be known.
        load: the address that it loaded from, or None.
        writes: the register that it wrote, or None.
        branch: "direct" if it took a direct branch, "indirect" if it branched to an address in a
            register, "return" if that is predicted as a return; else "".
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
        order: the order of these bytes.
    """

    op: str
    address: int = 0
    value: int = 0
    size: int = 0
    order: Order = "little"

    @property
    def data(self) -> bytes:
        """The bytes that a store writes; none for other steps."""
        return self.value.to_bytes(self.size, self.order)

    def __str__(self) -> str:
        if self.op == "store":
            return (
                f"store {self.size} bytes at {self.address:#x}: {self.value:#0{2 * self.size + 2}x}"
            )
        return f"{self.op} {self.address:#x}" if self.address else self.op


class Patcher(NamedTuple):
    """What the code of a retarget may consist of: see design/retarget.py.

    Attributes:
        instructions: the mnemonics that it may use.
        allowed: whether it may use an instruction that has one of these mnemonics.
        registers: the registers that it may use, in order: cell k, counted from 0, has its address
            in register 2k of them, and its new contents in register 2k+1.
        uses: the registers that an instruction writes (`writes` true) or reads, each by its name in
            the text and its index in `registers`, -1 if it is not one of them. A register that
            always holds 0 is left out.
        perform: executes an instruction on the registers' values, and returns the Step that it
            makes, or None if it changes registers alone. It loads by `load(address, size)`.
        maintains: the ops of the Steps that maintain a cache line.
    """

    instructions: Sequence[str]
    allowed: Callable[[Instruction], bool]
    registers: Sequence[str]
    uses: Callable[[Instruction, bool], Iterator[tuple[str, int]]]
    perform: Callable[[Instruction, list[int], Callable[[int, int], int]], Step | None]
    maintains: Sequence[str]


class Cmodx(NamedTuple):
    """The rule for instructions that are modified while another PE may execute them.

    Attributes:
        rule: the section of the manual that has it.
        editions: the editions in words, by their names in instruction.EDITIONS, the oldest first.
        listed: the mnemonics on an edition's list, in alphabetical order.
        unchanged: the oldest edition by which a store of the value that is there already modifies
            nothing; "" if there is none.
    """

    rule: str
    editions: Mapping[str, str]
    listed: Callable[[str], Sequence[str]]
    unchanged: str = ""

    def may_rewrite(self, edition: str) -> bool:
        """Whether a store of the value that is there already modifies nothing."""
        known = [*self.editions]
        return self.unchanged != "" and known.index(self.unchanged) <= known.index(edition)

    def first(self, instructions: Iterable[Instruction]) -> str | None:
        """The oldest edition that lists all of these instructions; None if there is none."""
        held = [*instructions]
        return next((name for name in self.editions if all(i.modifiable(name) for i in held)), None)


class Isa(NamedTuple):
    """An instruction set, as designs, places and the checker need it.

    Attributes:
        name: its name in a design's `.isa`.
        word: bytes in an instruction.
        pointer: bytes in an address, and so in a literal.
        order: the order of the bytes of a word and of a literal in memory.
        literal: the directive that makes a literal in assembly.
        parse: the instruction that a line of assembly is; raises BadSyntax.
        decode: the instruction that a word at an address is.
        walk: executes straight-line code from an address, which `read` reads, for at most `limit`
            instructions; ends at a return and at what it cannot follow.
        patcher: what the code of a retarget may consist of.
        pads: the landing pads that an indirect branch needs, by mnemonic; None for an instruction
            that needs none.
        cmodx: the list of what may be modified while it may execute.
        common: instructions too frequent in code to search for trampolines by.
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
        """The highest address, which is also a mask of an address's bits."""
        return (1 << 8 * self.pointer) - 1

    def number(self, data: bytes | bytearray) -> int:
        """The value of a word's or a literal's bytes."""
        return int.from_bytes(data, self.order)

    def data(self, number: int, size: int) -> bytes:
        """The bytes of a word's or a literal's value."""
        return number.to_bytes(size, self.order)
