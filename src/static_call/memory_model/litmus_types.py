"""The types that a litmus file gives to its variables and registers.

As in herd7, a location has the type that the initial state gives it, and otherwise `int`. What it
holds at the end is the lowest bytes of that type, and a condition compares that many.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Type(NamedTuple):
    """A type.

    Attributes:
        size: In bytes.
        signed: Whether its highest bit is a sign.
        instruction: Whether it is an instruction's word.
    """

    size: int
    signed: bool = False
    instruction: bool = False

    def cut(self, value: int) -> int:
        """The bits of a value that fit."""
        return value & (1 << 8 * self.size) - 1

    def number(self, value: int) -> int:
        """The number that these bits mean."""
        top = 1 << 8 * self.size - 1
        return (value ^ top) - top if self.signed else value

    def __str__(self) -> str:
        if self == INT:
            return "int"
        return "ins_t" if self.instruction else f"{'' if self.signed else 'u'}int{8 * self.size}_t"


INT = Type(4, signed=True)
"""The type of what has none."""

POINTER = Type(8)
"""The type of a pointer, and of a register as a whole."""

_NAMED = {
    **{f"u{name}": Type(size) for name, size in (("int8_t", 1), ("int16_t", 2), ("int32_t", 4))},
    "int8_t": Type(1, True), "int16_t": Type(2, True), "int32_t": Type(4, True), "int": INT,
    "char": Type(1, True), "long": Type(8, True), "int64_t": Type(8, True), "uint64_t": POINTER,
    "intptr_t": Type(8, True), "uintptr_t": POINTER, "label_t": POINTER, "void": POINTER,
    "ins_t": Type(4, instruction=True),
}  # fmt: skip

_TYPE = re.compile(
    r"(?:(?:const|volatile|struct)\s+)*([A-Za-z_]\w*)\s*((?:\*\s*)+|(?:\s(?=[\s\[A-Za-z_\d])))\s*"
)


def declared(text: str) -> tuple[Type | None, str]:
    """The type at the start of a declaration, None where there is none, and what comes after it.

    Raises:
        ValueError: the text starts with a type that is not known.
    """
    match = _TYPE.match(text)
    if match is None:
        return None, text
    rest = text[match.end() :]
    if "*" in match[2]:
        return POINTER, rest
    if match[1] not in _NAMED:
        raise ValueError(match[1])
    return _NAMED[match[1]], rest
