"""A design's shape: what its trampolines look like, wherever they are and whatever their form.

A shape is all that is needed to find a trampoline in an image. text.py derives it from the design's
text. It consists of numbers and names alone, so shapes.py can keep those of the shipped designs:
then a run of the program need not read their texts to find that an image has no trampoline.
"""

from __future__ import annotations

from collections.abc import Mapping

from static_call.design.target import MEANINGS, Target
from static_call.isa.instruction import Operand, Symbol
from static_call.isa.isa import Isa, Read
from static_call.isa.sets import SETS
from static_call.records import NamedTuple


class Fixup(NamedTuple):
    """A word of the trampoline that depends on where something is.

    Attributes:
        offset: the word's offset, in bytes from the trampoline's start.
        operand: the operand whose bits depend on an address.
        symbol: what that is the address of.
    """

    offset: int
    operand: Operand
    symbol: Symbol


class Template(NamedTuple):
    """A form as a pattern. It takes the trampoline's bytes as one number, in the set's order.

    Attributes:
        form: the form.
        mask: the bits that all trampolines in this form share.
        value: the value of these bits.
        fixups: what its other bits depend on.
        idle: the slots that the form leaves unchanged: an offset, and the patterns that may be
            there, each a mask and a value of the word.
    """

    form: str
    mask: int
    value: int
    fixups: tuple[Fixup, ...]
    idle: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]


class Literal(NamedTuple):
    """A literal of a design.

    Attributes:
        label: its label, or "".
        offset: its offset in bytes from the trampoline's start; None in another section.
        cell: whether retargeting changes it.
        contents: a number, or a label whose address it is, by form; under "" if it is the same in
            every form. A form that is not listed leaves it unchanged.
    """

    label: str
    offset: int | None
    cell: bool
    contents: Mapping[str, int | str]

    def holds(self, form: str) -> int | str | None:
        """The contents in a form; None if the form leaves it unchanged."""
        return self.contents.get("", self.contents.get(form))


class Match(NamedTuple):
    """What a shape says of a trampoline that has it: see design.Recognised for the attributes."""

    form: str
    target: Target
    outside: Mapping[str, int]
    literals: Mapping[str, int]
    agrees: bool


class Shape(NamedTuple):
    """What the trampolines of a design look like.

    Attributes:
        set: the instruction set's name.
        size: the trampoline's size in bytes, without literals in other sections.
        entry: the offset of the instruction that callers branch to.
        align: the alignment of the trampoline's first byte, in bytes.
        labels: offsets of the labels in the trampoline.
        outside: labels of the literals in other sections.
        forms: the forms that it has, in the order of FORMS.
        literals: its literals.
        templates: a pattern for each form; forms with a fixed target come first.
    """

    set: str
    size: int
    entry: int
    align: int
    labels: Mapping[str, int]
    outside: tuple[str, ...]
    forms: tuple[str, ...]
    literals: tuple[Literal, ...]
    templates: tuple[Template, ...]

    @property
    def isa(self) -> Isa:
        """The instruction set."""
        return SETS[self.set]

    def symbols(self, entry: int, outside: Mapping[str, int]) -> dict[str, int]:
        """The addresses of all labels of a trampoline whose entry is at `entry`.

        Args:
            entry: the address that callers branch to.
            outside: the addresses of the literals in other sections, by label.
        """
        base = entry - self.entry
        return {label: base + offset for label, offset in self.labels.items()} | dict(outside)

    def shift(self, offset: int, size: int) -> int:
        """How far the `size` bytes at an offset are from the low end of the whole as a number."""
        return 8 * (offset if self.isa.order == "little" else self.size - offset - size)

    @property
    def common(self) -> tuple[int, int]:
        """The bits that its trampolines share in every form, as a mask and a value."""
        mask, value = self.templates[0].mask, self.templates[0].value
        for template in self.templates[1:]:
            mask &= template.mask & ~(value ^ template.value)
        return mask, value & mask

    def match(self, entry: int, read: Read) -> Match | None:
        """What the trampoline whose entry is at `entry` says, or None if it isn't one.

        Args:
            entry: the address that callers branch to.
            read: gives memory as the program will see it, with relocations applied.
        """
        base = entry - self.entry
        if base < 0 or base % self.isa.word or len(data := read(base, self.size)) < self.size:
            return None
        block = self.isa.number(data)
        first = None
        for template in self.templates:
            if block & template.mask == template.value and all(
                any(
                    block >> self.shift(offset, self.isa.word) & mask == value
                    for mask, value in patterns
                )
                for offset, patterns in template.idle
            ):
                found = self._solve(template, entry, block, read)
                if found is not None and found.agrees:
                    return found
                first = first or found
        return first

    def _solve(self, template: Template, entry: int, block: int, read: Read) -> Match | None:
        """The trampoline as the template's form, with target and literals; None if it isn't."""
        base = entry - self.entry
        full = self.isa.addresses
        known = {name: (at, full) for name, at in self.symbols(entry, {}).items()}
        for offset, operand, symbol in template.fixups:
            value = operand.extract(block >> self.shift(offset, self.isa.word), base + offset)
            bits = operand.known(symbol)
            before, before_bits = known.get(symbol.name, (0, 0))
            if value & ~bits or (before ^ value) & bits & before_bits:
                return None
            known[symbol.name] = (before | value, before_bits | bits)
        symbols = {name: value for name, (value, bits) in known.items() if bits == full}
        if any(label not in symbols for label in self.outside):
            return None
        outside = {label: symbols[label] for label in self.outside}
        literals = {}
        agrees = True
        for literal in self.literals:
            at = outside[literal.label] if literal.offset is None else base + literal.offset
            if len(raw := read(at, self.isa.pointer)) < self.isa.pointer:
                return None
            value = self.isa.number(raw)
            contents = literal.holds(template.form)
            if contents == "target":
                symbols.setdefault("target", value)
            fits = contents is None or value == (
                symbols[contents] if isinstance(contents, str) else contents
            )
            if literal.cell:
                literals[literal.label] = value
                agrees &= fits
            elif not fits:
                return None
        target: Target = symbols.get("target")
        if template.form in MEANINGS:
            target = MEANINGS[template.form]
        elif target is None:
            return None
        elif isinstance(target, int):
            target = self.meaning(target, symbols)
            agrees &= isinstance(target, int)  # else a retarget stopped after its literal
        return Match(template.form, target, outside, literals, agrees)

    def meaning(self, literal: int, symbols: Mapping[str, int]) -> Target:
        """What a literal's value means: None and RET0 where a form says so, else an address.

        Args:
            literal: the value.
            symbols: the addresses of the trampoline's labels.
        """
        for form, target in MEANINGS.items():
            for one in self.literals:
                held = one.holds(form) if one.cell else None
                if held is not None and literal == (
                    symbols[held] if isinstance(held, str) else held
                ):
                    return target
        return literal
