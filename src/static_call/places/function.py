"""A function in a place that runs code, and the arguments that it takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from static_call.errors import StaticCallError
from static_call.places.protocol import Argument, RunningPlace

_FULL = (1 << 64) - 1


@dataclass(frozen=True)
class Function:
    """A function in a place: callable, with integers and bytes.

    Bytes are copied, and the copy's address is passed. A bytearray afterwards has what the function
    left there. The result is x0, an unsigned integer of `bits` bits.

    Attributes:
        place: The place that runs it.
        address: The address of its first instruction.
        name: Its name.
        bits: The bits of its result that count: 32 for a C int.
    """

    place: RunningPlace
    address: int
    name: str
    bits: int = 64

    def __call__(self, *args: Argument) -> int:
        """Calls it: see the place's call."""
        return self.place.call(self.address, *args) & (1 << self.bits) - 1

    def __repr__(self) -> str:
        return f"<function {self.name} at {self.address:#x}>"


def arguments(args: Iterable[object]) -> list[Argument]:
    """The arguments of a call, integers as unsigned 64-bit values.

    Raises StaticCallError for one that is neither an integer nor bytes.
    """
    checked: list[Argument] = []
    for number, arg in enumerate(args):
        if isinstance(arg, int):
            checked.append(arg & _FULL)
        elif isinstance(arg, bytes | bytearray):
            checked.append(arg)
        else:
            raise StaticCallError(f"argument {number} is neither an integer nor bytes: {arg!r}")
    return checked
