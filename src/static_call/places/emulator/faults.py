"""What the emulated machine raises when the code that it runs does what it may not."""

from __future__ import annotations

from static_call.errors import StaticCallError


class EmulatorFault(StaticCallError):
    """The code that the machine ran did what it may not.

    Attributes:
        address: The address of the instruction, or of the data where no instruction did it.
    """

    def __init__(self, message: str, address: int) -> None:
        super().__init__(message)
        self.address: int = address


class OutOfBounds(EmulatorFault):
    """A run was ended because it executed too many instructions or took too long."""


def disassemble(data: bytes, pc: int) -> tuple[str, set[int]]:
    """An instruction that is not in the a64 table, by capstone: its text and registers.

    Args:
        data: The 4 bytes of the instruction.
        pc: Its address.
    """
    import re

    from capstone import CS_ARCH_ARM64, CS_MODE_ARM, Cs

    for insn in Cs(CS_ARCH_ARM64, CS_MODE_ARM).disasm(data, pc):
        text = f"{insn.mnemonic} {insn.op_str}".strip()
        numbers = {int(n) for n in re.findall(r"\b[xw](\d+)\b", text)}
        return text, numbers | ({31} if "sp" in text else set())
    return f".inst {int.from_bytes(data, 'little'):#010x}", set()
