"""A trampoline design: its bytes at an address, its recogniser, its forms and their cost.

All of it is derived from the design's text, which notation.py reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from static_call import a64
from static_call.errors import StaticCallError
from static_call.retarget import Code, Read
from static_call.walk import walk

FORMS = ("near", "far", "null", "ret0")
"""What a trampoline can be made to do: branch, go through its literal, return, return 0."""

LITERAL = 8
"""Bytes in a literal."""

_FULL = (1 << 64) - 1


class Ret0(Enum):
    """The type of RET0."""

    RET0 = "RET0"

    def __repr__(self) -> str:
        return self.value

    __str__ = __repr__


RET0 = Ret0.RET0
"""The target that returns 0."""

Target = int | None | Ret0
"""An address, None (return at once) or RET0 (return 0)."""


class Unreachable(StaticCallError):
    """No form of the design reaches the target from where the trampoline is."""


class Unsupported(StaticCallError):
    """The design has no form for what was asked."""


@dataclass(frozen=True, slots=True)
class Quad:
    """A literal's contents: a number, or a label's address."""

    value: int | str

    def __str__(self) -> str:
        return f".quad {self.value:#x}" if isinstance(self.value, int) else f".quad {self.value}"


Contents = a64.Instruction | Quad


@dataclass(frozen=True, slots=True)
class Item:
    """One word or literal of a design.

    label     its first label, or ""
    offset    bytes from the start of the trampoline; None in another section
    size      4 for an instruction, 8 for a literal
    cell      whether retargeting changes it
    contents  by form; by "" where every form has the same. A form that a cell does not list
              leaves it as it is; in a new trampoline it holds 0 then.
    """

    label: str
    offset: int | None
    size: int
    cell: bool
    contents: Mapping[str, Contents]
    section: str = ".text"

    def holds(self, form: str) -> Contents | None:
        """The contents in a form; None where the form leaves it as it is."""
        return self.contents.get("", self.contents.get(form))


@dataclass(frozen=True, slots=True)
class Cell:
    """A slot or a literal of a trampoline at an address, and what a form puts into it.

    value  None where the form leaves it as it is
    """

    item: Item
    address: int
    value: int | None


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a recogniser found at an address.

    form      the form that the slots are in; where there are none, that the literal says
    target    the function called; None in the null form, RET0 in the ret0 form
    outside   the addresses of the literals in other sections, by label
    literals  the values of the literals, by label
    agrees    whether slots and literals say the same: after a completed retarget they do, but a
              linker may have put a veneer or a PLT entry behind the slot's branch
    """

    design: Design
    entry: int
    form: str
    target: Target
    outside: Mapping[str, int]
    literals: Mapping[str, int]
    agrees: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call through a trampoline executes, beyond the caller's BL and the target.

    instructions  executed, RET of the null and the ret0 form included
    loads         from memory
    taken         branches taken, `indirect` of them to an address in a register
    """

    instructions: int
    loads: int
    taken: int
    indirect: int


@dataclass(frozen=True, slots=True)
class _Fixup:
    """A place in the trampoline's code that depends on where something is."""

    offset: int
    operand: a64.Operand
    symbol: a64.Symbol


@dataclass(frozen=True, slots=True)
class _Template:
    """A form as a pattern: the bytes that every trampoline in it shares, and the fixups."""

    form: str
    mask: int
    value: int
    fixups: tuple[_Fixup, ...]


@dataclass(frozen=True)
class Design:
    """A trampoline design.

    name      the file's name without its ending
    about     the comment at the top of its text
    isa       the instruction set: "a64"
    sources   where it comes from: message ids, commits
    align     of the trampoline's first byte, in bytes
    size      of the trampoline, in bytes, literals in other sections apart
    entry     offset of the instruction that callers branch to
    labels    offsets of the labels in the trampoline
    outside   labels of the literals in other sections
    items     its words and literals, as the text lists them
    retarget  the code that changes its cells: see retarget.py
    """

    name: str
    about: str
    isa: str
    sources: tuple[str, ...]
    align: int
    size: int
    entry: int
    labels: Mapping[str, int] = field(hash=False)
    outside: tuple[str, ...]
    items: tuple[Item, ...] = field(hash=False)
    retarget: Code

    @property
    def summary(self) -> str:
        """The first line of `about`."""
        return self.about.partition("\n")[0]

    @cached_property
    def forms(self) -> tuple[str, ...]:
        """The forms that its cells list, in the order of FORMS."""
        listed = {form for item in self.items for form in item.contents}
        return tuple(form for form in FORMS if form in listed)

    @property
    def cells(self) -> list[Item]:
        """What retargeting changes, in the order of the retarget's registers."""
        return [item for item in self.items if item.cell]

    @property
    def slots(self) -> list[Item]:
        """The cells that hold an instruction."""
        return [item for item in self.cells if item.size == a64.WORD]

    def symbols(self, entry: int, outside: Mapping[str, int]) -> dict[str, int]:
        """The addresses of all labels of a trampoline whose entry is at `entry`."""
        base = entry - self.entry
        return {label: base + offset for label, offset in self.labels.items()} | dict(outside)

    def place(
        self, entry: int, form: str, target: int | None, outside: Mapping[str, int]
    ) -> list[Cell]:
        """The cells of a trampoline at `entry`, with what `form` puts into them.

        Raises a64.OutOfRange where the form does not reach.
        """
        symbols = self.symbols(entry, outside)
        if target is not None:
            symbols["target"] = target
        base = entry - self.entry
        cells = []
        for item in self.cells:
            at = outside[item.label] if item.offset is None else base + item.offset
            cells.append(Cell(item, at, _value(item.holds(form), at, symbols)))
        return cells

    def assemble(
        self, entry: int, form: str, target: int | None, outside: Mapping[str, int] | None = None
    ) -> list[tuple[int, bytes]]:
        """A new trampoline as (address, bytes): its code, then each literal in another section.

        entry    the address that callers branch to
        outside  the addresses of the literals in other sections, by label
        Raises a64.OutOfRange where the form does not reach the target or a literal.
        """
        outside = outside or {}
        symbols = self.symbols(entry, outside)
        if target is not None:
            symbols["target"] = target
        base = entry - self.entry
        text = bytearray(self.size)
        pieces = []
        for item in self.items:
            at = outside[item.label] if item.offset is None else base + item.offset
            data = (_value(item.holds(form), at, symbols) or 0).to_bytes(item.size, "little")
            if item.offset is None:
                pieces.append((at, data))
            else:
                text[item.offset : item.offset + item.size] = data
        return [(base, bytes(text)), *pieces]

    def form_for(self, entry: int, target: Target, outside: Mapping[str, int]) -> str:
        """The form that calls `target` from a trampoline at `entry`: near where that reaches.

        Raises Unsupported where the design has none for None or RET0, a64.Misaligned for a target
        that is no multiple of 4, Unreachable where no form gets there.
        """
        if target is None or target is RET0:
            form = "null" if target is None else "ret0"
            if form not in self.forms:
                raise Unsupported(f"the design {self.name} has no {form} form")
            return form
        assert isinstance(target, int)
        if target % a64.WORD:
            raise a64.Misaligned(f"the target {target:#x} is not aligned to {a64.WORD} bytes")
        for form in ("near", "far"):
            if form in self.forms:
                try:
                    self.place(entry, form, target, outside)
                except a64.OutOfRange:
                    continue
                return form
        raise Unreachable(
            f"no form of {self.name} reaches {target:#x} from {entry:#x}: "
            f"its forms are {', '.join(self.forms)}"
        )

    def recognise(self, entry: int, read: Read) -> Recognised | None:
        """The trampoline of this design whose entry is at `entry`, or None.

        read  gives memory as it is when the program runs: relocations applied
        """
        base = entry - self.entry
        data = read(base, self.size)
        if len(data) < self.size:
            return None
        block = int.from_bytes(data, "little")
        found = [
            recognised
            for template in self._templates
            if block & template.mask == template.value
            if (recognised := self._solve(template, entry, data, read))
        ]
        return next((one for one in found if one.agrees), found[0] if found else None)

    def _solve(self, template: _Template, entry: int, data: bytes, read: Read) -> Recognised | None:
        """The trampoline as the template's form, with target and literals; None if it isn't."""
        base = entry - self.entry
        known = {name: (at, _FULL) for name, at in self.symbols(entry, {}).items()}
        for fixup in template.fixups:
            word = int.from_bytes(data[fixup.offset : fixup.offset + a64.WORD], "little")
            value = fixup.operand.extract(word, base + fixup.offset)
            bits = _known_bits(fixup)
            before, before_bits = known.get(fixup.symbol.name, (0, 0))
            if value & ~bits or (before ^ value) & bits & before_bits:
                return None
            known[fixup.symbol.name] = (before | value, before_bits | bits)
        symbols = {name: value for name, (value, bits) in known.items() if bits == _FULL}
        if any(label not in symbols for label in self.outside):
            return None
        outside = {label: symbols[label] for label in self.outside}
        literals = {}
        agrees = True
        for item in (item for item in self.cells if item.size == LITERAL):
            at = outside[item.label] if item.offset is None else base + item.offset
            if len(raw := read(at, LITERAL)) < LITERAL:
                return None
            literals[item.label] = value = int.from_bytes(raw, "little")
            contents = item.holds(template.form)
            if isinstance(contents, Quad):
                if contents.value == "target":
                    symbols.setdefault("target", value)
                agrees &= _value(contents, at, symbols) == value
        target: Target = symbols.get("target")
        if template.form in ("null", "ret0"):
            target = None if template.form == "null" else RET0
        return Recognised(self, entry, template.form, target, outside, literals, agrees)

    @cached_property
    def _templates(self) -> list[_Template]:
        """The forms' patterns, one with a fixed meaning before one with a free target."""
        templates = [self._template(form) for form in self.forms]
        return sorted(
            templates,
            key=lambda one: (
                any(
                    isinstance(held := item.holds(one.form), Quad) and held.value == "target"
                    for item in self.items
                )
                or any(fixup.symbol.name == "target" for fixup in one.fixups)
            ),
        )

    def _template(self, form: str) -> _Template:
        mask = value = 0
        fixups = []
        for item in self.items:
            contents = item.holds(form)
            if item.offset is None or contents is None:
                continue
            if isinstance(contents, Quad):
                if not item.cell and isinstance(contents.value, int):
                    mask |= _FULL << 8 * item.offset
                    value |= contents.value << 8 * item.offset
                continue
            word_mask, word, free = self._pattern(contents, item.offset)
            fixups += free
            mask |= word_mask << 8 * item.offset
            value |= word << 8 * item.offset
        return _Template(form, mask, value, tuple(fixups))

    def _pattern(self, insn: a64.Instruction, offset: int) -> tuple[int, int, list[_Fixup]]:
        """The word's bits that never change, and what the others depend on."""
        fields = dict(insn.fields)
        mask = 0xFFFFFFFF
        fixups = []
        for operand, symbol in insn.symbols:
            if operand.kind == "@" and symbol.name in self.labels:
                fields[operand.name] = self.labels[symbol.name]
                continue
            fields[operand.name] = offset if operand.kind == "@" else 0
            mask &= ~sum(((1 << width) - 1) << low for low, width in operand.bits)
            fixups.append(_Fixup(offset, operand, symbol))
        return mask, a64.Instruction(insn.row, fields).encode(offset) & mask, fixups

    def cost(self, form: str) -> Cost:
        """What a call in this form executes, found by following the assembled trampoline."""
        entry = 16 * self.align + self.entry
        outside = {label: 1 << 20 | 8 * i for i, label in enumerate(self.outside)}
        target = 64 * self.align + a64.PAGE
        memory = self.assemble(entry, form, target, outside)
        instructions = loads = taken = indirect = 0
        for done in walk(_reader(memory), entry):
            instructions += 1
            loads += done.load is not None
            taken += done.taken
            indirect += done.indirect
            if done.next == target:
                break
        return Cost(instructions, loads, taken, indirect)

    def listing(self) -> Iterator[tuple[Item, str]]:
        """The items with their contents as text, forms and all."""
        for item in self.items:
            if "" in item.contents:
                yield item, str(item.contents[""])
            else:
                forms = (f"{form}: {contents}" for form, contents in item.contents.items())
                yield item, "{ " + " | ".join(forms) + " }"


def _value(contents: Contents | None, at: int, symbols: Mapping[str, int]) -> int | None:
    """Contents as a number for the address `at`."""
    if contents is None:
        return None
    if isinstance(contents, Quad):
        value = contents.value
        return symbols[value] if isinstance(value, str) else value
    return contents.bind(symbols).encode(at)


def _known_bits(fixup: _Fixup) -> int:
    """The bits of the address that the fixup's operand holds."""
    if fixup.symbol.lo12:
        return a64.PAGE - 1
    return _FULL & -a64.PAGE if fixup.operand.kind == "@@" else _FULL


def _reader(memory: list[tuple[int, bytes]]) -> Read:
    def read(address: int, size: int) -> bytes:
        for base, data in memory:
            if base <= address < base + len(data):
                return data[address - base : address - base + size]
        return b""

    return read
