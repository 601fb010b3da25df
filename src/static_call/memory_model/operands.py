"""Reads an instruction's operands, for those that execute it."""

from __future__ import annotations

from static_call.isa import a64
from static_call.memory_model.program import SP


def holds(condition: str, flags: int) -> bool:
    """Whether a condition holds, given N, Z, C, V as bits 3 to 0 (Arm ARM C1.2.4)."""
    n, z, c, v = (bool(flags >> bit & 1) for bit in (3, 2, 1, 0))
    return {
        "eq": z, "ne": not z, "cs": c, "cc": not c, "mi": n, "pl": not n, "vs": v, "vc": not v,
        "hi": c and not z, "ls": not c or z, "ge": n == v, "lt": n != v,
        "gt": n == v and not z, "le": n != v or z, "al": True, "nv": True,
    }[condition]  # fmt: skip


def words(insn: a64.Instruction) -> tuple[str, ...]:
    """The words and brackets in the instruction's assembly."""
    assert insn.row is not None
    return tuple(token for token in insn.row.tokens if isinstance(token, str))


def field(insn: a64.Instruction, name: str, absent: int) -> int:
    """A field's value, or `absent` where the instruction has no such field."""
    return insn[name] if name in insn else absent  # noqa: SIM401


def mask(size: int) -> int:
    """The bits of `size` bytes."""
    return (1 << 8 * size) - 1


def sign(value: int, bits: int) -> int:
    """The signed number in the lowest `bits` bits of a value."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def register_size(insn: a64.Instruction, name: str = "t") -> int:
    """The bytes of an operand's register: 4 or 8."""
    assert insn.row is not None
    return next(o.about.size for o in insn.row.operands if o.name == name)


def register(insn: a64.Instruction, name: str) -> int:
    """The index of an operand's register, which tells SP from the zero register."""
    number = insn[name]
    if number == 31 and insn.row is not None:
        for operand in insn.row.operands:
            if operand.name == name and operand.kind in ("s:", "v:"):
                return SP
    return number
