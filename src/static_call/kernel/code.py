"""What a design becomes in a Linux tree: the part that the header and the transform share.

header.py makes the assembly of the trampoline, transform.py the C that retargets it. The templates
have what every design shares. The rest comes from the design: the trampoline's words from its
items, the transform's steps from what its retarget code does, in that order. The C has the design's
text in its first comment, so the tree itself says what was put into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from static_call.design import notation
from static_call.design.design import Design
from static_call.design.retarget import steps
from static_call.design.text import Contents, Quad
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.isa.isa import Step
from static_call.isa.sets import A64

_FOLDER = Path(__file__).parent / "templates"
RETURN0 = "__static_call_return0"
"""Linux's function that returns 0."""


class Unportable(StaticCallError):
    """A Linux tree cannot have this design."""


def unportable(design: Design, why: str) -> Unportable:
    """The error for a design that cannot be ported, with the reason."""
    return Unportable(f"the design {design.name} cannot be ported: {why}")


def check(design: Design) -> None:
    """Raises Unportable, with the reason, for a design that cannot be in the kernel."""
    if design.isa != A64:
        raise unportable(design, f"its instructions are {design.isa}'s, and the kernel's are a64's")
    if len(design.slots) > 1:
        names = ", ".join(slot.title for slot in design.slots)
        raise unportable(design, f"it has more than one slot ({names}); the kernel patches one")
    if not re.fullmatch(r"[\w.+-]+", design.name, re.ASCII):
        raise unportable(design, "its name has more than letters, digits and .+-_")
    for item in design.items:
        for form, contents in item.contents.items():
            _check_contents(design, form, contents)
    for label in design.outside:
        where_outside(design, label)
    retarget_steps(design)


def _check_contents(design: Design, form: str, contents: Contents) -> None:
    """Refuses contents that the kernel could not write, or could not know the address for."""
    if isinstance(contents, Quad):
        if contents.value in design.outside:
            raise unportable(design, f"{contents} is the address of a literal")
        return
    for operand, symbol in contents.symbols:
        if symbol.name == "target" and (contents.name != "b" or form != "near"):
            raise unportable(
                design, f"{form}: {contents}: the kernel makes B reach a near target, no more"
            )
        if symbol.name in design.outside and (operand.kind == "@" or form):
            raise unportable(
                design, f"{contents}: only ADRP and :lo12:, outside of cells, reach .rodata"
            )


def reaches_all(design: Design) -> bool:
    """Whether there is a form for every target: a module can be out of a branch's reach."""
    return "far" in design.forms or not has_branch(design)


def is_branch(contents: Contents | None) -> bool:
    """Whether contents are a B to the target."""
    return isinstance(contents, a64.Instruction) and any(
        symbol.name == "target" for _, symbol in contents.symbols
    )


def has_branch(design: Design) -> bool:
    """Whether its slot reaches a near target by B."""
    return any(is_branch(slot.holds("near")) for slot in design.slots)


# The design's text in the generated C.


def text(design: Design) -> str:
    """The design in the notation that notation.read takes, without its comments and claims.

    Two designs are the same to the kernel where their texts are.
    """
    lines = [f"\t.align\t{design.align.bit_length() - 1}"]
    section = ".text"
    for item in design.items:
        if item.section != section:
            section = item.section
            lines.append(f"\t.section\t{section}")
        name = item.label if item.offset is None else name_at(design, item.offset)
        forms: dict[str, list[str]] = {}
        for form, contents in item.contents.items():
            forms.setdefault(renamed(contents, lambda label: known(design, label)), []).append(form)
        body = "".join(forms)
        if "" not in item.contents:
            parts = (f"{', '.join(names)}: {one}" for one, names in forms.items())
            body = f"{{ {' | '.join(parts)} }}".replace("\t", " ")
        lines.append(f"{name and name + ':'}\t{body}")
    lines += ["retarget:", *("\t" + str(step).replace(" ", "\t", 1) for step in design.retarget)]
    return "\n".join(lines) + "\n"


def design_of(source: str) -> Design | None:
    """The design whose text a generated C file contains; None if it contains none.

    Raises NotationError for a text that was changed so that it cannot be read.
    """
    found = re.search(r"^ \* The design (.+):\n \*\n((?: \*.*\n)+?) \*/", source, re.MULTILINE)
    if found is None:
        return None
    lines = (line[2:] for line in found[2].splitlines())
    return notation.read("\n".join(lines), found[1], found[1])


def known(design: Design, label: str) -> str:
    """A label's name, if it is one of the trampoline's; else the label."""
    return name_at(design, design.labels[label]) if label in design.labels else label


def name_at(design: Design, offset: int) -> str:
    """A single name for an offset that may have several, or a number; "" if it has no name."""
    names = sorted(label for label, at in design.labels.items() if at == offset)
    if "entry" in names:
        return "entry"
    return next((name for name in names if "@" not in name), f"at{offset}" if names else "")


def renamed(contents: Contents, name: Callable[[str], str]) -> str:
    """Contents as assembly, with other names for its labels."""
    if isinstance(contents, Quad):
        value = contents.value
        return f".quad\t{name(value) if isinstance(value, str) else hex(value)}"
    fields = dict(contents.fields)
    for operand, symbol in contents.symbols:
        fields[operand.name] = a64.Symbol(name(symbol.name), symbol.lo12)
    return str(a64.Instruction(contents.row, fields, contents.word)).replace(" ", "\t", 1)


# The design's cells and steps, as the C names them.


def parameters(design: Design) -> Iterator[str]:
    """The cells' names in C: slot, literal; literal0, literal1, ... where there are several."""
    literals = len(design.cells) - len(design.slots)
    count = 0
    for item in design.cells:
        if item.is_slot:
            yield "slot"
        else:
            yield f"literal{count}" if literals > 1 else "literal"
            count += 1


class Outside(NamedTuple):
    """How a literal in another section is found.

    Attributes:
        adrp: the offset of the ADRP, in bytes.
        low: the offset of the instruction that has the low 12 bits.
        unit: the unit of these bits, in bytes.
    """

    adrp: int
    low: int
    unit: int


def where_outside(design: Design, label: str) -> Outside:
    """How the literal with this label is found. Raises Unportable if no code gives its address."""
    adrp = low = None
    unit = 1
    for item in design.items:
        contents = item.contents.get("")
        if contents is None or isinstance(contents, Quad) or item.offset is None:
            continue
        for operand, symbol in contents.symbols:
            if symbol.name == label and operand.kind == "@@":
                adrp = item.offset
            elif symbol.name == label and symbol.lo12:
                low, unit = item.offset, operand.unit
    if adrp is None or low is None:
        raise unportable(design, f"no ADRP and low 12 bits say where {label} is")
    return Outside(adrp, low, unit)


class CellStep(NamedTuple):
    """A step of the retarget, and the cell that it concerns.

    Attributes:
        op: what it does: see Step.
        cell: the cell's number; -1 for a step that concerns no cell.
        line: the design's line of assembly.
    """

    op: str
    cell: int
    line: str


def retarget_steps(design: Design) -> list[CellStep]:
    """The retarget's steps, found by running it on numbers that identify the cells.

    Raises Unportable for a step that does not concern one cell, or that the kernel cannot do.
    """
    spans = {}
    registers: list[int] = []
    for number, item in enumerate(design.cells):
        base = 1 << 32 if item.offset is not None else 1 << 40
        address = base + (item.offset if item.offset is not None else 16 * number)
        value = (0x5A5A0000 + number) | (0 if item.is_slot else 0xA5A5 << 48)
        spans[address] = number, item.size, value
        registers += [address, value]
    found = []
    lines = [str(insn) for insn in design.retarget if str(insn).split()[0] not in ("ldr", "orr")]
    for line, step in zip(lines, _taken(design, registers)):
        cell = -1
        if step.op == "store":
            cell, size, value = spans.get(step.address, (-1, 0, 0))
            if step.size > design.isa.pointer:
                raise unportable(design, f"{line} stores {step.size} bytes at once")
            if (size, value) != (step.size, step.value):
                raise unportable(design, f"{line} does not store the contents of one cell")
        elif step.op in design.isa.patcher.maintains:
            cell = next((n for at, (n, size, _) in spans.items()
                         if at <= step.address < at + size), -1)  # fmt: skip
            if cell < 0:
                raise unportable(design, f"{line} is not about a cell")
        found.append(CellStep(step.op, cell, line))
    return found


def _taken(design: Design, registers: Sequence[int]) -> tuple[Step, ...]:
    """What the retarget does with cells that hold nothing yet."""
    return steps(design.retarget, registers, lambda _, size: bytes(size), design.isa)


def fill(template: str, **parts: str) -> str:
    """A file of templates/, with each @name@ in it replaced by that part."""
    source = (_FOLDER / template).read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda found: parts[found[1]], source)
