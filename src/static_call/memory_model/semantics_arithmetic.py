"""What instructions do that change only registers: arithmetic, logic, bit fields, selections."""

from __future__ import annotations

from static_call.isa import a64
from static_call.memory_model.effects import FLAGS, PE, Semantics, State
from static_call.memory_model.operands import (
    field,
    holds,
    mask,
    register,
    register_size,
    sign,
    words,
)


def _adr(pe: PE, state: State, insn: a64.Instruction) -> None:
    state.set(insn["d"], insn["il"], 0, 0)


def _wide(pe: PE, state: State, insn: a64.Instruction) -> None:
    """MOVN, MOVZ, MOVK."""
    shift = field(insn, "s", 0)
    full = mask(register_size(insn, "d"))
    d, value = insn["d"], insn["i"] << shift
    if insn.name == "movk":
        value |= state.x[d] & ~(0xFFFF << shift)
        state.set(d, value & full, state.dep[d], state.pick[d])
    else:
        state.set(d, (~value if insn.name == "movn" else value) & full, 0, 0)


def _arithmetic(pe: PE, state: State, insn: a64.Instruction) -> None:
    """ADD and SUB of immediates and registers, and those that set flags."""
    n, d = register(insn, "n"), register(insn, "d")
    m = field(insn, "m", 31)
    bits = 8 * register_size(insn, "d")
    left, right = state.x[n] & (1 << bits) - 1, _second_operand(state, insn, bits)
    dep, pick = state.dep[n] | state.dep[m], state.pick[n] | state.pick[m]
    subtract = insn.name.startswith("sub")
    if subtract:
        right = ~right & (1 << bits) - 1
    total = left + right + subtract
    value = total & (1 << bits) - 1
    if insn.name.endswith("s"):
        top = 1 << bits - 1
        overflow = bool(~(left ^ right) & (left ^ value) & top)
        flags = bool(value & top) << 3 | (value == 0) << 2 | total >> bits << 1 | overflow
        state.set(FLAGS, flags, dep, pick)
    state.set(d, value, dep, pick)


def _logical(pe: PE, state: State, insn: a64.Instruction) -> None:
    """AND, ANDS, BIC, ORR, ORN, EOR of immediates and registers."""
    n, d = register(insn, "n"), register(insn, "d")
    m = field(insn, "m", 31)
    bits = 8 * register_size(insn, "d")
    left, right = state.x[n] & (1 << bits) - 1, _second_operand(state, insn, bits)
    dep, pick = state.dep[n] | state.dep[m], state.pick[n] | state.pick[m]
    if insn.name in ("bic", "orn"):
        right = ~right & (1 << bits) - 1
    value = {
        "and": left & right, "ands": left & right, "bic": left & right,
        "orr": left | right, "orn": left | right, "eor": left ^ right,
    }[insn.name]  # fmt: skip
    if insn.name == "ands":
        state.set(FLAGS, (value >> bits - 1) << 3 | (value == 0) << 2, dep, pick)
    state.set(d, value, dep, pick)


def _second_operand(state: State, insn: a64.Instruction, bits: int) -> int:
    """The immediate, or the shifted or extended register, in `bits` bits."""
    marks = words(insn)
    if "m" not in insn and "i" not in insn:
        value = int(marks[-1].lstrip("#"), 0)  # a logical immediate is part of its row
    elif "m" not in insn:
        value = insn["i"] << field(insn, "s", 0)
    elif "sxtw" in marks:
        value = sign(state.x[insn["m"]], 32)
    else:
        value = state.x[insn["m"]] & mask(4 if "uxtw" in marks else 8)
        value <<= field(insn, "s", 0)
    return value & (1 << bits) - 1


def _ubfm(pe: PE, state: State, insn: a64.Instruction) -> None:
    """UBFM, and so LSL and LSR."""
    n, bits = insn["n"], 8 * register_size(insn, "d")
    low, high, value = insn["i"], insn["j"], state.x[n] & (1 << bits) - 1
    if high >= low:
        value = value >> low & (1 << high - low + 1) - 1
    else:
        value = (value & (1 << high + 1) - 1) << bits - low
    state.set(insn["d"], value, state.dep[n], state.pick[n])


def _select(pe: PE, state: State, insn: a64.Instruction) -> None:
    """CSEL, CSINC: the result depends on the register chosen, and by pick on the flags."""
    chosen_first = pe.either(state, FLAGS, holds(words(insn)[-1], state.x[FLAGS]))
    chosen = insn["n" if chosen_first else "m"]
    value = state.x[chosen] + (insn.name == "csinc" and not chosen_first)
    pick = state.pick[chosen] | state.pick[FLAGS]
    state.set(insn["d"], value & mask(register_size(insn, "d")), state.dep[chosen], pick)


ROWS: tuple[tuple[str, str, Semantics], ...] = (
    # as in semantics.py
    ("adr|adrp", "", _adr),
    ("movz|movn|movk", "", _wide),
    ("add|sub|adds|subs", "", _arithmetic),
    ("and|ands|bic|orr|orn|eor", "", _logical),
    ("ubfm", "", _ubfm),
    ("csel|csinc", "", _select),
)
"""Rows of semantics.py's table."""
