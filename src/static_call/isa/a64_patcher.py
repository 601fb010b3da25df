"""What an A64 retarget may consist of, and what that does: see design/retarget.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from static_call.isa.instruction import Instruction
from static_call.isa.isa import Patcher, Step

INSTRUCTIONS = ("str", "stp", "ldr", "orr", "dmb", "dsb", "isb", "dc cvau", "ic ivau")
"""The instructions that a retarget may use, besides cse."""

REGISTERS = tuple(f"x{number}" for number in range(18))
"""The registers that a retarget may use: those that a call may change (AAPCS64 6.1.1), except x18,
which is the platform's."""

_MASK = (1 << 64) - 1
_ZERO = 31


def allowed(insn: Instruction) -> bool:
    """Whether a retarget may use the instruction, whose mnemonic is one of INSTRUCTIONS.

    Its operands are registers and numbers. It loads or stores at [register, offset]; the register
    is not SP, which belongs to the place, and is not changed.
    """
    if insn.symbols or insn.row is None:
        return False
    if insn.name in ("str", "stp", "ldr"):
        return insn.row.tokens[-1] == "]" and insn["n"] != 31
    return True


def uses(insn: Instruction, writes: bool) -> Iterator[tuple[str, int]]:
    """The registers that an instruction writes, or those that it reads: see Patcher."""
    assert insn.row is not None
    for operand in insn.row.operands:
        written = operand.name == "d" or (insn.name == "ldr" and operand.name == "t")
        number = insn[operand.name]
        if operand.is_register and written == writes and number != _ZERO:
            yield operand.format(number, str), number if number < len(REGISTERS) else -1


def perform(insn: Instruction, x: list[int], load: Callable[[int, int], int]) -> Step | None:
    """Does what an instruction does, with `x` for the registers, and gives the Step that it takes.

    `dc cvau`, `ic ivau` and barriers are Steps too; the op of a barrier is its text.
    """

    def get(field: str) -> int:
        return 0 if insn[field] == _ZERO else x[insn[field]]

    def put(field: str, value: int) -> None:
        if insn[field] != _ZERO:
            x[insn[field]] = value & _MASK

    size = insn.size
    mask = (1 << 8 * size) - 1
    address = get("n") + insn.get("i") & _MASK if "n" in insn else 0
    match insn.name:
        case "str":
            return Step("store", address, get("t") & mask, size)
        case "stp":
            pair = get("t") & mask | (get("u") & mask) << 8 * size
            return Step("store", address, pair, 2 * size)
        case "ldr":
            put("t", load(address, size))
        case "orr":
            put("d", get("n") | get("m") << insn.get("s"))
        case "dc cvau" | "ic ivau":
            return Step(insn.name, get("t"))
        case _:
            return Step(str(insn))
    return None


PATCHER = Patcher(INSTRUCTIONS, allowed, REGISTERS, uses, perform, ("dc cvau", "ic ivau"))
"""What an A64 retarget may consist of."""
