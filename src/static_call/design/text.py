"""What a design's text says: its words and literals, its forms, its retarget; and its shape."""

from __future__ import annotations

from collections.abc import Mapping

from static_call.design.retarget import Code
from static_call.design.shape import Fixup, Literal, Shape, Template
from static_call.design.target import FORMS
from static_call.isa.instruction import Instruction
from static_call.records import NamedTuple

NEW = "new"
"""Used where a cell has the name of a form: what the cell holds in a new trampoline, for the forms
that leave it unchanged."""

PROPERTIES = ("live", "cmodx", "fresh", "settled", "prefix", "atomic", "landing")
"""What a design can claim, and the checker checks: see docs/checker.md."""


class Quad(NamedTuple):
    """A literal's contents: a number, or a label's address.

    Attributes:
        value: the number or the label.
        directive: what makes it in assembly.
    """

    value: int | str
    directive: str = ".quad"

    def __str__(self) -> str:
        value = hex(self.value) if isinstance(self.value, int) else self.value
        return f"{self.directive} {value}"


Contents = Instruction | Quad
"""What an item holds: an instruction or a literal's contents."""


class Item(NamedTuple):
    """One word or literal of a design.

    Attributes:
        label: its first label, or "".
        offset: its offset in bytes from the start of the trampoline; None in another section.
        size: its size in bytes. The size does not say what the item is: see `is_literal`.
        cell: whether retargeting changes it.
        contents: its contents by form; under "" if they are the same in every form. A form that a
            cell does not list leaves it unchanged; a new trampoline in this form then has what NEW
            says, or else 0.
        section: the section that it is in.
    """

    label: str
    offset: int | None
    size: int
    cell: bool
    contents: Mapping[str, Contents]
    section: str = ".text"

    @property
    def is_literal(self) -> bool:
        """Whether it is a literal and not an instruction. All its contents are of one kind."""
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
        """The contents in a form; None if the form leaves it unchanged."""
        return self.contents.get("", self.contents.get(form))


class Text(NamedTuple):
    """A design's text, as notation.py reads it.

    Attributes:
        about: the comment at its top.
        set: the instruction set's name.
        sources: where the design comes from: message ids, commits.
        claims: which of PROPERTIES it claims to have.
        align: the alignment of the trampoline's first byte, in bytes.
        labels: the offsets of the labels in the trampoline.
        items: its words and literals, in order.
        retarget: the code that changes its cells: see retarget.py.
    """

    about: str
    set: str
    sources: tuple[str, ...]
    claims: tuple[str, ...]
    align: int
    labels: Mapping[str, int]
    items: tuple[Item, ...]
    retarget: Code

    @property
    def shape(self) -> Shape:
        """What its trampolines look like."""
        inside = [item for item in self.items if item.offset is not None]
        listed = {form for item in self.items for form in item.contents}
        forms = tuple(form for form in FORMS if form in listed)
        first = next((item.offset for item in inside if not item.is_literal), 0)
        literals = (
            Literal(
                item.label,
                item.offset,
                item.cell,
                {form: one.value for form, one in item.contents.items() if isinstance(one, Quad)},
            )
            for item in self.items
            if item.is_literal
        )
        bare = Shape(
            set=self.set,
            size=sum(item.size for item in inside),
            entry=self.labels.get("entry", first or 0),
            align=self.align,
            labels=self.labels,
            outside=tuple(item.label for item in self.items if item.offset is None),
            forms=forms,
            literals=tuple(literals),
            templates=(),
        )
        templates = [self._template(form, bare) for form in forms]
        return bare._replace(templates=tuple(sorted(templates, key=self._has_any_target)))

    def _has_any_target(self, template: Template) -> bool:
        """Whether a form's target is not fixed."""
        held = (item.holds(template.form) for item in self.items)
        return any(isinstance(one, Quad) and one.value == "target" for one in held) or any(
            fixup.symbol.name == "target" for fixup in template.fixups
        )

    def _template(self, form: str, shape: Shape) -> Template:
        mask = value = 0
        fixups: list[Fixup] = []
        idle = []
        for item in self.items:
            if item.offset is None or item.is_literal:
                continue
            contents = item.holds(form)
            if contents is None:
                held = (pattern(one, item.offset, self.labels) for one in item.contents.values())
                never = ((1 << 8 * item.size) - 1, 0)  # it may never have been written
                idle.append((item.offset, (never, *(one[:2] for one in held))))
                continue
            word_mask, word, free = pattern(contents, item.offset, self.labels)
            fixups += free
            mask |= word_mask << shape.shift(item.offset, item.size)
            value |= word << shape.shift(item.offset, item.size)
        return Template(form, mask, value, tuple(fixups), tuple(idle))


def pattern(
    contents: Contents, offset: int, labels: Mapping[str, int]
) -> tuple[int, int, list[Fixup]]:
    """A mask of a word's bits that never change, their value, and what the others depend on.

    Args:
        contents: the word, as an instruction.
        offset: its offset in the trampoline.
        labels: the offsets of the labels that move with it.
    """
    assert isinstance(contents, Instruction)
    fields = dict(contents.fields)
    mask = 0xFFFFFFFF
    fixups = []
    for operand, symbol in contents.symbols:
        if operand.kind == "@" and symbol.name in labels:
            fields[operand.name] = labels[symbol.name]
            continue
        fields[operand.name] = offset if operand.kind == "@" else 0
        mask &= ~operand.mask
        fixups.append(Fixup(offset, operand, symbol))
    return mask, Instruction(contents.row, fields).encode(offset) & mask, fixups
