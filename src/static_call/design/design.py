"""A trampoline design: its bytes at an address, its recogniser, its forms and their cost.

All of it is derived from the design's text, which notation.py reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from static_call.design.retarget import Code, Cse, Read
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.isa.walk import walk

FORMS = ("near", "far", "null", "ret0")
"""What a trampoline can be made to do: branch, go through its literal, return, return 0."""

NEW = "new"
"""Where a form stands in a cell: what it holds in a new trampoline, for forms that leave it."""

LITERAL = 8
"""Bytes in a literal."""

PROPERTIES = ("live", "cmodx", "fresh", "settled", "prefix", "atomic", "landing")
"""What a design can claim, and the checker checks: see docs/checker.md."""

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


_MEANINGS: Mapping[str, Target] = {"null": None, "ret0": RET0}


class Unreachable(StaticCallError):
    """No form of the design reaches the target from where the trampoline is."""


class Unsupported(StaticCallError):
    """The design has no form for what was asked."""


class Quad(NamedTuple):
    """A literal's contents: a number, or a label's address."""

    value: int | str

    def __str__(self) -> str:
        return f".quad {self.value:#x}" if isinstance(self.value, int) else f".quad {self.value}"


Contents = a64.Instruction | Quad


class Item(NamedTuple):
    """One word or literal of a design.

    label     its first label, or ""
    offset    bytes from the start of the trampoline; None in another section
    size      4 for an instruction, 8 for a literal
    cell      whether retargeting changes it
    contents  by form; by "" where every form has the same. A form that a cell does not list
              leaves it as it is; in a new trampoline it holds what NEW says then, else 0.
    """

    label: str
    offset: int | None
    size: int
    cell: bool
    contents: Mapping[str, Contents]
    section: str = ".text"

    @property
    def is_literal(self) -> bool:
        """Whether it is a literal; else it is an instruction. All its contents are alike."""
        return any(isinstance(one, Quad) for one in self.contents.values())

    @property
    def is_slot(self) -> bool:
        """Whether it is an instruction that retargeting patches."""
        return self.cell and not self.is_literal

    @property
    def title(self) -> str:
        """The label as the text writes it: 1 for one of several 1:."""
        return self.label.partition("@")[0]

    def holds(self, form: str) -> Contents | None:
        """The contents in a form; None where the form leaves it as it is."""
        return self.contents.get("", self.contents.get(form))


class Cell(NamedTuple):
    """A slot or a literal of a trampoline at an address, and what a form puts into it.

    value  None where the form leaves it as it is
    """

    item: Item
    address: int
    value: int | None


class Recognised(NamedTuple):
    """What a recogniser found at an address.

    form      the form that the slots are in; where there are none, that the literal says
    target    the function called; None where a call returns at once, RET0 where it returns 0: in
              those forms, and in the far form while the literal already or still says so
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


class Cost(NamedTuple):
    """What a call through a trampoline executes, beyond the caller's BL and the target.

    instructions  executed, RET of the null and the ret0 form included
    loads         from memory
    taken         branches taken, `indirect` of them to an address in a register
    """

    instructions: int
    loads: int
    taken: int
    indirect: int


class _Fixup(NamedTuple):
    """A place in the trampoline's code that depends on where something is."""

    offset: int
    operand: a64.Operand
    symbol: a64.Symbol


class _Template(NamedTuple):
    """A form as a pattern.

    mask, value  the bits that every trampoline in it shares
    fixups       what its other bits depend on
    idle         the slots that the form leaves as they are: an offset, and the patterns that may
                 stand there, each a mask and a value
    """

    form: str
    mask: int
    value: int
    fixups: tuple[_Fixup, ...]
    idle: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]


class Design:
    """A trampoline design.

    name      the file's name without its ending
    about     the comment at the top of its text
    isa       the instruction set: "a64"
    sources   where it comes from: message ids, commits
    claims    which of PROPERTIES it claims to have
    align     of the trampoline's first byte, in bytes
    labels    offsets of the labels in the trampoline
    items     its words and literals, as the text lists them
    retarget  the code that changes its cells: see retarget.py

    size      of the trampoline, in bytes, literals in other sections apart
    entry     offset of the instruction that callers branch to
    outside   labels of the literals in other sections
    forms     the forms that its cells list, in the order of FORMS
    cells     what retargeting changes, in the order of the retarget's registers
    slots     the cells that hold an instruction
    """

    def __init__(
        self,
        name: str,
        about: str,
        isa: str,
        sources: Sequence[str],
        align: int,
        labels: Mapping[str, int],
        items: Sequence[Item],
        retarget: Code,
        claims: Sequence[str] = (),
    ) -> None:
        """What the text says, as read: see the class."""
        self.claims = tuple(claims)
        self.name, self.about, self.isa, self.sources = name, about, isa, tuple(sources)
        self.align, self.labels, self.items, self.retarget = align, labels, tuple(items), retarget
        inside = [item for item in items if item.offset is not None]
        self.size = sum(item.size for item in inside)
        first = next((item.offset for item in inside if item.size == a64.WORD), 0)
        self.entry = labels.get("entry", first or 0)
        self.outside = tuple(item.label for item in items if item.offset is None)
        listed = {form for item in items for form in item.contents}
        self.forms = tuple(form for form in FORMS if form in listed)
        self.cells = [item for item in items if item.cell]
        self.slots = [item for item in self.cells if item.size == a64.WORD]

    def __repr__(self) -> str:
        return f"<design {self.name}>"

    @property
    def patched(self) -> list[a64.Instruction]:
        """The instructions that its slots hold, in any form."""
        held = (contents for slot in self.slots for contents in slot.contents.values())
        return [contents for contents in held if isinstance(contents, a64.Instruction)]

    @cached_property
    def retarget_to_old(self) -> Code:
        """The retarget for a target whose code every thread may run: without a leading cse."""
        return self.retarget[1:] if isinstance(self.retarget[0], Cse) else self.retarget

    @property
    def summary(self) -> str:
        """The first line of `about`."""
        return self.about.partition("\n")[0]

    def symbols(self, entry: int, outside: Mapping[str, int]) -> dict[str, int]:
        """The addresses of all labels of a trampoline whose entry is at `entry`."""
        base = entry - self.entry
        return {label: base + offset for label, offset in self.labels.items()} | dict(outside)

    def place(
        self, entry: int, form: str, target: int | None, outside: Mapping[str, int]
    ) -> list[Cell]:
        """The cells of a trampoline at `entry`, with what `form` puts into them.

        Raises a64.OutOfRange where the form does not reach, Unsupported where there is none.
        """
        return [Cell(*one) for one in self._contents(self.cells, entry, form, target, outside)]

    def assemble(
        self, entry: int, form: str, target: int | None, outside: Mapping[str, int] | None = None
    ) -> list[tuple[int, bytes]]:
        """A new trampoline as (address, bytes): its code, then each literal in another section.

        entry    the address that callers branch to
        outside  the addresses of the literals in other sections, by label
        Raises a64.OutOfRange where the form does not reach the target or a literal, a64.Misaligned
        where `entry` or a literal is not aligned, Unsupported where there is no such form.
        """
        outside = outside or {}
        text = bytearray()
        pieces = []
        base = entry - self.entry
        if base % self.align:
            raise a64.Misaligned(f"{self.name} at {base:#x}: not aligned to {self.align} bytes")
        for item, at, value in self._contents(self.items, entry, form, target, outside):
            if item.offset is None and at % LITERAL:
                raise a64.Misaligned(f"the literal at {at:#x} is not aligned to {LITERAL} bytes")
            if value is None:
                value = _value(item.contents.get(NEW), at, self.symbols(entry, outside))
            data = (value or 0).to_bytes(item.size, "little")
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

        Raises Unsupported where the design has none for None or RET0, a64.Misaligned for a target
        that is no multiple of 4, Unreachable where no form gets there.
        """
        if target is None or target is RET0:
            form = "null" if target is None else "ret0"
            if form not in self.forms:
                raise Unsupported(f"the design {self.name} has no {form} form")
            return form
        assert isinstance(target, int)
        if target & ~_FULL:
            raise a64.OutOfRange(f"the target {target:#x} is no 64-bit address")
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
        if base < 0 or base % a64.WORD or len(data := read(base, self.size)) < self.size:
            return None
        block = int.from_bytes(data, "little")
        first = None
        for template in self._templates:
            if block & template.mask == template.value and all(
                any(block >> 8 * offset & mask == value for mask, value in patterns)
                for offset, patterns in template.idle
            ):
                found = self._solve(template, entry, data, read)
                if found is not None and found.agrees:
                    return found
                first = first or found
        return first

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
        for item in (item for item in self.items if item.size == LITERAL):
            at = outside[item.label] if item.offset is None else base + item.offset
            if len(raw := read(at, LITERAL)) < LITERAL:
                return None
            value = int.from_bytes(raw, "little")
            contents = item.holds(template.form)
            if isinstance(contents, Quad) and contents.value == "target":
                symbols.setdefault("target", value)
            fits = contents is None or _value(contents, at, symbols) == value
            if item.cell:
                literals[item.label] = value
                agrees &= fits
            elif not fits:
                return None
        target: Target = symbols.get("target")
        if template.form in _MEANINGS:
            target = _MEANINGS[template.form]
        elif target is None:
            return None
        elif isinstance(target, int):
            target = self.meaning(target, symbols)
            agrees &= isinstance(target, int)  # else a retarget stopped after its literal
        return Recognised(self, entry, template.form, target, outside, literals, agrees)

    def meaning(self, literal: int, symbols: Mapping[str, int]) -> Target:
        """What a literal's value stands for: None and RET0 where a form says so, else an address.

        symbols  the trampoline's labels: see `symbols`
        """
        for form, target in _MEANINGS.items():
            held = [item.holds(form) for item in self.cells if item.size == LITERAL]
            if literal in [_value(contents, 0, symbols) for contents in held if contents]:
                return target
        return literal

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
        idle = []
        for item in self.items:
            if item.offset is None or item.size != a64.WORD:
                continue
            contents = item.holds(form)
            if contents is None:
                held = [self.pattern(one, item.offset)[:2] for one in item.contents.values()]
                idle.append((item.offset, ((0xFFFFFFFF, 0), *held)))
                continue
            word_mask, word, free = self.pattern(contents, item.offset)
            fixups += free
            mask |= word_mask << 8 * item.offset
            value |= word << 8 * item.offset
        return _Template(form, mask, value, tuple(fixups), tuple(idle))

    def pattern(
        self, contents: Contents, offset: int, labels: Mapping[str, int] | None = None
    ) -> tuple[int, int, list[_Fixup]]:
        """The word's bits that never change, what they are, and what the others depend on.

        labels  the offsets of those that are known; the design's own if None
        """
        assert isinstance(contents, a64.Instruction)
        labels = self.labels if labels is None else labels
        fields = dict(contents.fields)
        mask = 0xFFFFFFFF
        fixups = []
        for operand, symbol in contents.symbols:
            if operand.kind == "@" and symbol.name in labels:
                fields[operand.name] = labels[symbol.name]
                continue
            fields[operand.name] = offset if operand.kind == "@" else 0
            mask &= ~sum(((1 << width) - 1) << low for low, width in operand.bits)
            fixups.append(_Fixup(offset, operand, symbol))
        return mask, a64.Instruction(contents.row, fields).encode(offset) & mask, fixups

    def reach(self, form: str, entry: int) -> tuple[int, int] | None:
        """The lowest and the highest address that all operands reach which name the target in a
        form, of a trampoline at `entry`; None where any address will do."""
        spans = []
        for item in self.items:
            contents = item.holds(form)
            if item.offset is None or not isinstance(contents, a64.Instruction):
                continue
            at = entry - self.entry + item.offset
            for operand, symbol in contents.symbols:
                if symbol.name == "target" and operand.relative:
                    spans.append(operand.reach(at))
        return (max(low for low, _ in spans), min(high for _, high in spans)) if spans else None

    def cost(self, form: str) -> Cost:
        """What a call in this form executes, found by following the assembled trampoline.

        Raises Unsupported where there is no such form, or it does more than can be followed.
        """
        entry = (1 << 16) + self.entry
        outside = {label: (1 << 18) + LITERAL * i for i, label in enumerate(self.outside)}
        reach = self.reach(form, entry)
        target = (reach[1] if reach and reach[1] < 1 << 17 else 1 << 17) & -LITERAL
        memory = self.assemble(entry, form, target, outside)
        path = []
        for done in walk(_reader(memory), entry):
            path.append(done)
            if done.next == target or done.insn.name == "ret":
                return Cost(
                    instructions=len(path),
                    loads=sum(done.load is not None for done in path),
                    taken=sum(done.taken for done in path),
                    indirect=sum(done.indirect for done in path),
                )
        where = f"behind {path[-1].insn}" if path else "at the entry"
        raise Unsupported(f"cannot follow the {form} form of {self.name} {where}")

    @cached_property
    def indirect(self) -> frozenset[str]:
        """The forms in which a call ends in an indirect branch, for all that is known of them."""

        def is_indirect(form: str) -> bool:
            try:
                return self.cost(form).indirect > 0
            except Unsupported:
                return True

        return frozenset(filter(is_indirect, self.forms))

    def listing(self) -> Iterator[tuple[Item, str]]:
        """The items with their contents as text, forms and all."""
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
