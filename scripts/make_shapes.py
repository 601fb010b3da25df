"""Prints src/static_call/design/shapes.py: the shapes of the shipped designs, from their texts.

`make shapes` writes them to that file.
"""

from __future__ import annotations

from pathlib import Path

from static_call.design import notation
from static_call.design.shape import Shape, Template

HEAD = '''\
"""The shapes of the shipped designs, so that a run of the program need not read their texts.

Made by scripts/make_shapes.py from shipped/*.s (make shapes): do not edit. A test compares.
"""

# ruff: noqa: E501
# fmt: off
from __future__ import annotations

from static_call.design.shape import Fixup, Literal, Shape, Template
from static_call.isa.instruction import Kind, Operand, Symbol

'''


def shapes() -> dict[str, Shape]:
    """The shapes, from the texts."""
    found = {}
    for path in sorted(Path(notation.SHIPPED).glob("*.s")):
        text = notation.read_text(path.read_text(encoding="utf-8"), path.name)
        found[path.stem] = text.shape
    return found


def template(one: Template, names: dict[str, str]) -> str:
    """A template's source, on a line."""
    fixups = "".join(
        f"Fixup({offset}, {names[repr(operand)]}, {symbol!r}), "
        for offset, operand, symbol in one.fixups
    )
    idle = "".join(
        f"({at}, ({', '.join(f'({mask:#x}, {value:#x})' for mask, value in patterns)},)), "
        for at, patterns in one.idle
    )
    return (
        f"Template({one.form!r}, {one.mask:#x}, {one.value:#x}, "
        f"({fixups.rstrip()}), ({idle.rstrip()}))"
    )


def main() -> None:
    """Prints the file."""
    every = shapes()
    operands: dict[str, str] = {}
    for shape in every.values():
        for one in shape.templates:
            for fixup in one.fixups:
                operands.setdefault(repr(fixup.operand), f"_{len(operands)}")
    print(HEAD, end="")
    for operand, name in operands.items():
        print(f"{name} = {operand}")
    print("\nSHAPES: dict[str, Shape] = {")
    for design, shape in every.items():
        print(f"    {design!r}: Shape(")
        for field, value in shape._asdict().items():
            if field != "templates":
                print(f"        {field}={value!r},")
        print("        templates=(")
        for one in shape.templates:
            print(f"            {template(one, operands)},")
        print("        ),\n    ),")
    print('}\n"""By the design\'s name."""')


if __name__ == "__main__":
    main()
