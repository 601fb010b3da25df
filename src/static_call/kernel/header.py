"""The assembly of a design's trampoline in a Linux tree: arch/arm64/include/asm/static_call.h."""

from __future__ import annotations

from collections.abc import Sequence

from static_call.design.design import Design
from static_call.design.text import NEW, Contents, Item, Quad
from static_call.isa import a64
from static_call.kernel.code import RETURN0, fill, parameters, renamed

_HINTS = {name: hint for hint, name in a64.HINTS.items() if name in {"bti", *a64.PADS["br x16"]}}
"""Instructions that an assembler may not know with the kernel's -march, as hints."""
_COLUMN = 72
"""The column of a macro's backslashes."""


def trampoline(design: Design) -> str:
    """The text of arch/arm64/include/asm/static_call.h."""
    slots = iter(parameters(design))
    params = {id(item): next(slots) for item in design.cells}
    body = [
        '.pushsection\t.static_call.text, \\"ax\\"',
        f".align\t{_align(design).bit_length() - 1}",
        '.irp\ttramp, " STATIC_CALL_TRAMP_STR(name) "',
        ".globl\t\\\\tramp",
        ".type\t\\\\tramp, %function",
    ]
    lines = ["\t" + one for one in body]
    numbers = _numbers(design)
    apart: list[str] = []
    for index, item in enumerate(design.items):
        number = numbers.get(index)
        lead = f"{number}:" if number else ""
        if item.cell:
            quad = ".quad\t" if item.is_literal else ""
            code = f'{quad}" {params[id(item)]} "'
        else:
            code = _hint(_numbered(design, item.contents[""], index))
        if item.offset is None:
            apart += ['\t.pushsection\t.rodata, \\"a\\"', "\t.align\t3", f"{lead}\t{code}",
                      "\t.popsection"]  # fmt: skip
            continue
        if item.offset == design.entry:
            lines.append("\\\\tramp:")
        lines.append(f"{lead}\t{code}")
    lines += ["\t.size\t\\\\tramp, . - \\\\tramp", "\t.endr", "\t.popsection", *apart]
    names = ", ".join(["name", *params.values()])
    macros = [f"#define __ARCH_DEFINE_STATIC_CALL_TRAMP({names})", "\tasm("]
    macros += [f'\t    "{line}\\n"' for line in lines]
    macros[-1] += ")"
    first = "near" if "near" in design.forms else "far"
    return fill(
        "asm_static_call.h",
        name=design.name,
        trampoline=_macro(macros),
        define=_macro(_define(design, "", first, "func")),
        null=_macro(_define(design, "NULL_", "null", "")),
        ret0=_macro(_define(design, "RET0_", "ret0", "")),
    )


def _define(design: Design, kind: str, form: str, func: str) -> list[str]:
    """ARCH_DEFINE_STATIC_CALL_TRAMP, or the same macro with NULL_ or RET0_ in its name."""
    head = f"#define ARCH_DEFINE_STATIC_CALL_{kind}TRAMP({', '.join(filter(None, ['name', func]))})"
    if form not in design.forms:
        return [head, f"\tARCH_DEFINE_STATIC_CALL_TRAMP(name, {RETURN0})"]
    arguments = ["name"]
    for index, item in enumerate(design.items):
        if item.cell:
            contents = item.holds(form) or item.contents.get(NEW) or _nothing(item)
            argument = _numbered(design, contents, index).removeprefix(".quad\t")
            arguments.append(f'"{argument}"'.replace('target"', '" #func').replace('"" ', ""))
    return [head, f"\t__ARCH_DEFINE_STATIC_CALL_TRAMP({', '.join(arguments)})"]


def _nothing(item: Item) -> Contents:
    """What a cell holds before any form has been written to it."""
    return Quad(0) if item.is_literal else a64.decode(0)


def _index(design: Design, label: str) -> int:
    """Which item a label is at."""
    for index, item in enumerate(design.items):
        at = item.label == label if item.offset is None else item.offset == design.labels.get(label)
        if at:
            return index
    raise AssertionError(label)


def _apart(design: Design, index: int) -> tuple[bool, int]:
    """An item's position in the macro: items in other sections come last."""
    return design.items[index].offset is None, index


def _numbers(design: Design) -> dict[int, int]:
    """The local labels, from 1, of the items that other items refer to."""
    used = set()
    for item in design.items:
        for contents in item.contents.values():
            values = [contents.value] if isinstance(contents, Quad) else [
                symbol.name for _, symbol in contents.symbols]  # fmt: skip
            used |= {_index(design, v) for v in values if isinstance(v, str) and v != "target"}
    return {index: number for number, index in enumerate(sorted(used), 1)}


def _numbered(design: Design, contents: Contents, index: int) -> str:
    """Contents of the item `index` as assembly with local labels."""
    numbers = _numbers(design)

    def name(label: str) -> str:
        if label == "target":
            return label
        at = _index(design, label)
        later = _apart(design, at) > _apart(design, index)
        return f"{numbers[at]}{'f' if later else 'b'}"

    return renamed(contents, name)


def _hint(line: str) -> str:
    plain = line.replace("\t", " ")
    return f"hint\t{_HINTS[plain]} /* {plain} */" if plain in _HINTS else line


def _align(design: Design) -> int:
    """The trampoline's alignment, in bytes.

    The design's alignment, or more if an ADRP could be in the last 8 bytes of a page: the module
    loader replaces such an ADRP with ADR or a branch, for Cortex-A53 erratum 843419.
    """
    adrps = [
        item.offset
        for item in design.items
        for contents in item.contents.values()
        if item.offset is not None and not isinstance(contents, Quad) and contents.name == "adrp"
    ]
    align = design.align
    while align < a64.PAGE and any(
        (at + offset) % a64.PAGE >= a64.PAGE - 8
        for at in range(0, a64.PAGE, align)
        for offset in adrps
    ):
        align *= 2
    return align


def _macro(lines: Sequence[str]) -> str:
    """Lines of a macro's definition, with their backslashes."""
    padded = []
    for line in lines[:-1]:
        width = len(line.expandtabs(8))
        padded.append(line + "\t" * max(1, -(-(_COLUMN - width) // 8)) + "\\")
    return "\n".join([*padded, lines[-1]])
