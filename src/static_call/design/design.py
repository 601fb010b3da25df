"""A trampoline design: its bytes at an address, its recogniser, its forms and their cost.

All of it is derived from the design's text, which notation.py reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

from static_call.design.retarget import Code, Cse
from static_call.design.shape import Shape
from static_call.design.target import RET0, Target, Unreachable, Unsupported
from static_call.design.text import NEW, Contents, Item, Quad, Text
from static_call.isa.instruction import Instruction, Misaligned, OutOfRange
from static_call.isa.isa import Isa, Read
from static_call.records import NamedTuple

LITERAL = 8
"""Bytes in an A64 literal; see Isa.pointer."""

_LONGEST = 64  # instructions that a trampoline is followed for


class Cell(NamedTuple):
    """A slot or a literal of a trampoline at an address, and what a form puts into it.

    Attributes:
        item: the slot or literal.
        address: where it is.
        value: what the form puts there; None if it leaves the item unchanged.
    """

    item: Item
    address: int
    value: int | None


class Recognised(NamedTuple):
    """What a recogniser found at an address.

    Attributes:
        design: the design.
        entry: the address that callers branch to.
        form: the form that the slots are in; without slots, the form that the literal implies.
        target: the function called; None if a call returns at once, RET0 if it returns 0. This is
            so in the null and ret0 forms, and in the far form while the literal already or still
            says so.
        outside: the addresses of the literals in other sections, by label.
        literals: the values of the literals, by label.
        agrees: whether slots and literals say the same. After a complete retarget they do, unless a
            linker has put a veneer or a PLT entry between the slot's branch and the target.
    """

    design: Design
    entry: int
    form: str
    target: Target
    outside: Mapping[str, int]
    literals: Mapping[str, int]
    agrees: bool


class Cost(NamedTuple):
    """What a call through a trampoline executes, beyond the caller's BL and the target.

    Attributes:
        instructions: instructions executed, including the return of the null and ret0 forms.
        loads: loads from memory.
        taken: branches taken.
        indirect: those of the branches that go to an address in a register.
    """

    instructions: int
    loads: int
    taken: int
    indirect: int


class Design:
    """A trampoline design: a shape, which finds it, and a text, which is read when it is needed.

    Attributes:
        name: the file's name without its ending.
        shape: what its trampolines look like.
    """

    name: str
    shape: Shape

    def __init__(self, name: str, shape: Shape, text: Callable[[], Text]) -> None:
        """A design. `text` returns its text, and is called at most once."""
        self.name, self.shape, self._text = name, shape, text

    def __repr__(self) -> str:
        return f"<design {self.name}>"

    @property
    def isa(self) -> Isa:
        """The instruction set."""
        return self.shape.isa

    @property
    def size(self) -> int:
        """The size of the trampoline in bytes, without literals in other sections."""
        return self.shape.size

    @property
    def entry(self) -> int:
        """The offset of the instruction that callers branch to, in bytes."""
        return self.shape.entry

    @property
    def align(self) -> int:
        """The alignment of the trampoline's first byte, in bytes."""
        return self.shape.align

    @property
    def labels(self) -> Mapping[str, int]:
        """The offsets of the labels in the trampoline, in bytes."""
        return self.shape.labels

    @property
    def outside(self) -> tuple[str, ...]:
        """The labels of the literals in other sections."""
        return self.shape.outside

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that its cells list, in the order of FORMS."""
        return self.shape.forms

    @cached_property
    def text(self) -> Text:
        """What its text says. The first use reads it, and raises what that raises."""
        return self._text()

    @property
    def about(self) -> str:
        """The comment at the top of its text."""
        return self.text.about

    @property
    def summary(self) -> str:
        """The first line of `about`."""
        return self.about.partition("\n")[0]

    @property
    def sources(self) -> tuple[str, ...]:
        """Where it comes from: message ids, commits."""
        return self.text.sources

    @property
    def claims(self) -> tuple[str, ...]:
        """Which of PROPERTIES it claims to have."""
        return self.text.claims

    @property
    def items(self) -> tuple[Item, ...]:
        """Its words and literals, as the text lists them."""
        return self.text.items

    @property
    def retarget(self) -> Code:
        """The code that changes its cells: see retarget.py."""
        return self.text.retarget

    @cached_property
    def cells(self) -> list[Item]:
        """What retargeting changes, in the order of the retarget's registers."""
        return [item for item in self.items if item.cell]

    @cached_property
    def slots(self) -> list[Item]:
        """The cells that hold an instruction."""
        return [item for item in self.items if item.is_slot]

    @cached_property
    def pads(self) -> frozenset[str]:
        """The mnemonics that all its branches to an address in a register may land on."""
        held = (one for item in self.items for one in item.contents.values())
        found = [self.isa.pads(one) for one in held if isinstance(one, Instruction)]
        pads = [one for one in found if one is not None]
        return frozenset.intersection(*pads) if pads else frozenset()

    @property
    def patched(self) -> list[Instruction]:
        """The instructions that its slots hold, in any form."""
        held = (contents for slot in self.slots for contents in slot.contents.values())
        return [contents for contents in held if isinstance(contents, Instruction)]

    @cached_property
    def retarget_to_old(self) -> Code:
        """The retarget for a target whose code every thread may run: without a leading cse."""
        return self.retarget[1:] if isinstance(self.retarget[0], Cse) else self.retarget

    def symbols(self, entry: int, outside: Mapping[str, int]) -> dict[str, int]:
        """The addresses of all labels of a trampoline whose entry is at `entry`: see Shape."""
        return self.shape.symbols(entry, outside)

    def meaning(self, literal: int, symbols: Mapping[str, int]) -> Target:
        """What a literal's value means: see Shape."""
        return self.shape.meaning(literal, symbols)

    def recognise(self, entry: int, read: Read) -> Recognised | None:
        """The trampoline of this design whose entry is at `entry`, or None.

        Args:
            entry: the address that callers branch to.
            read: gives memory as the program will see it, with relocations applied.
        """
        found = self.shape.match(entry, read)
        return None if found is None else Recognised(self, entry, *found)

    def fill(
        self, entry: int, form: str, target: int | None, outside: Mapping[str, int]
    ) -> list[Cell]:
        """The cells of a trampoline at `entry`, with what `form` puts into them.

        Args:
            entry: the address that callers branch to.
            form: the form.
            target: the function's address, for forms that name it.
            outside: the addresses of the literals in other sections, by label.

        Raises:
            OutOfRange: the form does not reach the target or a literal.
            Unsupported: there is no such form.
        """
        return [Cell(*one) for one in self._contents(self.cells, entry, form, target, outside)]

    def assemble(
        self, entry: int, form: str, target: int | None, outside: Mapping[str, int] | None = None
    ) -> list[tuple[int, bytes]]:
        """A new trampoline as (address, bytes): its code, then each literal in another section.

        Args:
            entry: the address that callers branch to.
            form: the form that it is in.
            target: the function's address, for forms that name it.
            outside: the addresses of the literals in other sections, by label.

        Raises:
            OutOfRange: the form does not reach the target or a literal.
            Misaligned: `entry` or a literal is not aligned.
            Unsupported: there is no such form.
        """
        outside = outside or {}
        text = bytearray()
        pieces = []
        base = entry - self.entry
        if base % self.align:
            raise Misaligned(f"{self.name} at {base:#x}: not aligned to {self.align} bytes")
        for item, at, value in self._contents(self.items, entry, form, target, outside):
            if item.offset is None and at % item.size:
                raise Misaligned(f"the literal at {at:#x} is not aligned to {item.size} bytes")
            if value is None:
                value = _value(item.contents.get(NEW), at, self.symbols(entry, outside))
            data = self.isa.data(value or 0, item.size)
            if item.offset is None:
                pieces.append((at, data))
            else:
                text += data
        return [(base, bytes(text)), *pieces]

    def _contents(
        self,
        items: Sequence[Item],
        entry: int,
        form: str,
        target: int | None,
        outside: Mapping[str, int],
    ) -> Iterator[tuple[Item, int, int | None]]:
        """The items, their addresses, and what the form puts there."""
        if form not in self.forms:
            raise Unsupported(f"the design {self.name} has no {form} form")
        symbols = self.symbols(entry, outside)
        if target is not None:
            symbols["target"] = target
        base = entry - self.entry
        for item in items:
            at = outside[item.label] if item.offset is None else base + item.offset
            yield item, at, _value(item.holds(form), at, symbols)

    def form_for(self, entry: int, target: Target, outside: Mapping[str, int]) -> str:
        """The form that calls `target` from a trampoline at `entry`: near where that reaches.

        Raises:
            Unsupported: there is no form for None or for RET0.
            Misaligned: the target is not a multiple of an instruction's size.
            OutOfRange: the target is not an address.
            Unreachable: no form reaches the target.
        """
        if target is None or target is RET0:
            form = "null" if target is None else "ret0"
            if form not in self.forms:
                raise Unsupported(f"the design {self.name} has no {form} form")
            return form
        assert isinstance(target, int)
        if target & ~self.isa.addresses:
            bits = 8 * self.isa.pointer
            raise OutOfRange(f"the target {target:#x} is not a {bits}-bit address")
        if target % self.isa.word:
            raise Misaligned(f"the target {target:#x} is not aligned to {self.isa.word} bytes")
        for form in ("near", "far"):
            if form in self.forms:
                try:
                    self.fill(entry, form, target, outside)
                except OutOfRange:
                    continue
                return form
        raise Unreachable(
            f"no form of {self.name} reaches {target:#x} from {entry:#x}: "
            f"its forms are {', '.join(self.forms)}"
        )

    def reach(self, form: str, entry: int) -> tuple[int, int] | None:
        """The lowest and the highest target that a form of a trampoline at `entry` reaches.

        None where any address will do.
        """
        spans = []
        for item in self.items:
            contents = item.holds(form)
            if item.offset is None or not isinstance(contents, Instruction):
                continue
            at = entry - self.entry + item.offset
            for operand, symbol in contents.symbols:
                if symbol.name == "target" and operand.relative:
                    spans.append(operand.reach(at))
        return (max(low for low, _ in spans), min(high for _, high in spans)) if spans else None

    def cost(self, form: str) -> Cost:
        """What a call in this form executes, found by following the assembled trampoline.

        Raises Unsupported if there is no such form, or if its code cannot be followed.
        """
        entry = (1 << 16) + self.entry
        size = self.isa.pointer
        outside = {label: (1 << 18) + size * i for i, label in enumerate(self.outside)}
        reach = self.reach(form, entry)
        target = (reach[1] if reach and reach[1] < 1 << 17 else 1 << 17) & -size
        memory = self.assemble(entry, form, target, outside)
        path = []
        for done in self.isa.walk(_reader(memory), entry, _LONGEST):
            path.append(done)
            if done.next == target or done.branch == "return":
                return Cost(
                    instructions=len(path),
                    loads=sum(done.load is not None for done in path),
                    taken=sum(done.taken for done in path),
                    indirect=sum(done.indirect for done in path),
                )
        where = f"after {path[-1].insn}" if path else "at the entry"
        raise Unsupported(f"cannot follow the {form} form of {self.name} {where}")

    @cached_property
    def indirect(self) -> frozenset[str]:
        """The forms in which a call ends in an indirect branch, as far as is known."""

        def is_indirect(form: str) -> bool:
            try:
                return self.cost(form).indirect > 0
            except Unsupported:
                return True

        return frozenset(filter(is_indirect, self.forms))

    def listing(self) -> Iterator[tuple[Item, str]]:
        """The items with their contents as text, including the forms."""
        for item in self.items:
            if "" in item.contents:
                yield item, re.sub(r"@\d+", "", str(item.contents[""]))
            else:
                forms: dict[str, list[str]] = {}
                for form, contents in item.contents.items():
                    forms.setdefault(re.sub(r"@\d+", "", str(contents)), []).append(form)
                cell = " | ".join(f"{', '.join(names)}: {text}" for text, names in forms.items())
                yield item, "{ " + cell + " }"


def _value(contents: Contents | None, at: int, symbols: Mapping[str, int]) -> int | None:
    """Contents as a number for the address `at`."""
    if contents is None:
        return None
    if isinstance(contents, Quad):
        value = contents.value
        return symbols[value] if isinstance(value, str) else value
    return contents.bind(symbols).encode(at)


def _reader(memory: list[tuple[int, bytes]]) -> Read:
    def read(address: int, size: int) -> bytes:
        for base, data in memory:
            if base <= address < base + len(data):
                return data[address - base : address - base + size]
        return b""

    return read
