"""What the emulated machine raises if the code that it runs does something that it may not."""

from __future__ import annotations

from static_call.errors import StaticCallError


class EmulatorFault(StaticCallError):
    """The code that the machine ran did something that it may not.

    Attributes:
        address: The address of the instruction, or of the data if no instruction did it.
    """

    def __init__(self, message: str, address: int) -> None:
        super().__init__(message)
        self.address: int = address


class OutOfBounds(EmulatorFault):
    """A run was ended because it executed too many instructions or took too long."""


def base(word: int) -> set[int]:
    """The base register of a load or store that the a64 table lacks; none for another word.

    Arm ARM C4.1: bits 28 to 25 are x1x0 in loads and stores, and bits 9 to 5 are the base register,
    except in LDR (literal), whose bits 29 to 24 are 011x00.
    """
    literal = word & 0x3B000000 == 0x18000000
    return {word >> 5 & 31} if word & 0x0A000000 == 0x08000000 and not literal else set()
