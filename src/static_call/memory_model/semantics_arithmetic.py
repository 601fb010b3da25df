"""What instructions do that change only registers: arithmetic, logic, bit fields, selections."""

from __future__ import annotations

from collections.abc import Callable

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


def _set(state: State, insn: a64.Instruction, value: int, *sources: int, pick: int = 0) -> None:
    """Sets the destination, whose value comes from these registers."""
    d = register(insn, "d")
    dep, picked = _from(state, sources)
    state.set(d, value & mask(register_size(insn, "d")), dep, picked | pick)


def _from(state: State, sources: tuple[int, ...]) -> tuple[int, int]:
    """The reads that the registers' values come from: their dep and their pick."""
    dep = pick = 0
    for source in sources:
        dep |= state.dep[source]
        pick |= state.pick[source]
    return dep, pick


def _add(state: State, left: int, right: int, carry: int, bits: int, *sources: int) -> int:
    """The sum. With `sources`, it sets the flags, which come from these registers."""
    total = left + right + carry
    value = total & (1 << bits) - 1
    if sources:
        top = 1 << bits - 1
        overflow = bool(~(left ^ right) & (left ^ value) & top)
        flags = bool(value & top) << 3 | (value == 0) << 2 | total >> bits << 1 | overflow
        state.set(FLAGS, flags, *_from(state, sources))
    return value


def _arithmetic(pe: PE, state: State, insn: a64.Instruction) -> None:
    """ADD and SUB of immediates and registers, ADC and SBC, and those that set flags."""
    n, m = register(insn, "n"), field(insn, "m", 31)
    bits = 8 * register_size(insn, "d")
    left, right = state.x[n] & (1 << bits) - 1, _second_operand(state, insn, bits)
    subtract = insn.name.startswith("s")
    if subtract:
        right = ~right & (1 << bits) - 1
    sources: tuple[int, ...] = (n, m)
    if insn.name[:3] in ("adc", "sbc"):
        carry, sources = state.x[FLAGS] >> 1 & 1, (n, m, FLAGS)
    else:
        carry = subtract
    dep, pick = _from(state, sources)
    value = _add(state, left, right, carry, bits, *(sources if insn.name[3:] == "s" else ()))
    state.set(register(insn, "d"), value, dep, pick)


def _compare_if(pe: PE, state: State, insn: a64.Instruction) -> None:
    """CCMP, CCMN: a comparison, or the given flags; which one comes from the flags by pick."""
    n, m = insn["n"], field(insn, "m", 31)
    bits = 8 * register_size(insn, "n")
    left, right = state.x[n] & (1 << bits) - 1, _second_operand(state, insn, bits)
    chosen = state.pick[FLAGS]
    if pe.either(state, FLAGS, holds(a64.CONDITIONS[insn["c"]], state.x[FLAGS])):
        subtract = insn.name == "ccmp"
        if subtract:
            right = ~right & (1 << bits) - 1
        _add(state, left, right, subtract, bits, n, m)
        state.pick[FLAGS] |= chosen
    else:
        state.set(FLAGS, insn["f"], 0, chosen)


_LOGIC: dict[str, Callable[[int, int], int]] = {
    "and": lambda left, right: left & right,
    "ands": lambda left, right: left & right,
    "bic": lambda left, right: left & ~right,
    "bics": lambda left, right: left & ~right,
    "orr": lambda left, right: left | right,
    "orn": lambda left, right: left | ~right,
    "eor": lambda left, right: left ^ right,
    "eon": lambda left, right: left ^ ~right,
}


def _logical(pe: PE, state: State, insn: a64.Instruction) -> None:
    n, m = register(insn, "n"), field(insn, "m", 31)
    bits = 8 * register_size(insn, "d")
    value = _LOGIC[insn.name](state.x[n], _second_operand(state, insn, bits)) & (1 << bits) - 1
    dep, pick = _from(state, (n, m))
    if insn.name in ("ands", "bics"):
        state.set(FLAGS, (value >> bits - 1) << 3 | (value == 0) << 2, dep, pick)
    state.set(register(insn, "d"), value, dep, pick)


def _second_operand(state: State, insn: a64.Instruction, bits: int) -> int:
    """The immediate, or the shifted or extended register, in `bits` bits."""
    marks = words(insn)
    if "m" not in insn and "i" not in insn:
        return int(marks[-1].lstrip("#"), 0) & (1 << bits) - 1  # a logical immediate is in its row
    if "m" not in insn:
        return insn["i"] << field(insn, "s", 0) & (1 << bits) - 1
    value, amount = state.x[insn["m"]] & (1 << bits) - 1, field(insn, "s", 0)
    for mark in marks:
        if mark[1:3] == "xt":  # UXTB, SXTH, ...
            width = {"b": 8, "h": 16, "w": 32, "x": 64}[mark[3]]
            value = sign(value, width) if mark[0] == "s" else value & (1 << width) - 1
            amount = field(insn, "a", 4 if "#4" in marks else 0)
        elif mark in ("lsr", "asr", "ror"):
            return _shift(mark, value, amount, bits)
    return value << amount & (1 << bits) - 1


def _shift(how: str, value: int, amount: int, bits: int) -> int:
    """A value of `bits` bits shifted by less than that."""
    full = (1 << bits) - 1
    if how == "lsl":
        return value << amount & full
    if how == "lsr":
        return value >> amount
    if how == "asr":
        return sign(value, bits) >> amount & full
    return (value >> amount | value << bits - amount) & full


def _variable_shift(pe: PE, state: State, insn: a64.Instruction) -> None:
    """LSLV, LSRV, ASRV, RORV."""
    n, m, bits = insn["n"], insn["m"], 8 * register_size(insn, "d")
    value = _shift(insn.name[:3], state.x[n] & (1 << bits) - 1, state.x[m] % bits, bits)
    _set(state, insn, value, n, m)


def _bit_field(pe: PE, state: State, insn: a64.Instruction) -> None:
    """UBFM, SBFM and BFM, and so LSL, LSR, ASR, SXTW, UBFX, BFI, ..."""
    n, bits = insn["n"], 8 * register_size(insn, "d")
    low, high, value = insn["i"], insn["j"], state.x[n] & (1 << bits) - 1
    width, at = (high - low + 1, 0) if high >= low else (high + 1, bits - low)
    value = value >> (low if high >= low else 0) & (1 << width) - 1
    if insn.name == "sbfm":
        value = sign(value, width)
    if insn.name == "bfm":
        kept = state.x[insn["d"]] & ~((1 << width) - 1 << at)
        _set(state, insn, kept | value << at, n, insn["d"])
    else:
        _set(state, insn, value << at, n)


def _extr(pe: PE, state: State, insn: a64.Instruction) -> None:
    n, m, bits = insn["n"], insn["m"], 8 * register_size(insn, "d")
    full = (1 << bits) - 1
    _set(state, insn, ((state.x[n] & full) << bits | state.x[m] & full) >> insn["i"], n, m)


def _multiply(pe: PE, state: State, insn: a64.Instruction) -> None:
    """MADD and MSUB, those of 32-bit factors, SMULH and UMULH."""
    n, m, a = insn["n"], insn["m"], field(insn, "a", 31)
    bits = 8 * register_size(insn, "n")
    left, right = (state.x[r] & (1 << bits) - 1 for r in (n, m))
    if insn.name[0] == "s":
        left, right = sign(left, bits), sign(right, bits)
    if insn.name.endswith("mulh"):
        _set(state, insn, left * right >> 64, n, m)
    else:
        product = -left * right if "sub" in insn.name else left * right
        _set(state, insn, state.x[a] + product, n, m, a)


def _divide(pe: PE, state: State, insn: a64.Instruction) -> None:
    """UDIV, SDIV: towards zero; a division by zero gives zero."""
    n, m, bits = insn["n"], insn["m"], 8 * register_size(insn, "d")
    left, right = (state.x[r] & (1 << bits) - 1 for r in (n, m))
    if insn.name == "sdiv":
        left, right = sign(left, bits), sign(right, bits)
    value = abs(left) // abs(right) if right else 0
    _set(state, insn, -value if (left < 0) != (right < 0) else value, n, m)


def _one_operand(pe: PE, state: State, insn: a64.Instruction) -> None:
    """CLZ, CLS, CTZ, CNT, ABS, RBIT, REV, REV16, REV32."""
    n, bits = insn["n"], 8 * register_size(insn, "d")
    value = state.x[n] & (1 << bits) - 1
    name = insn.name
    if name == "clz":
        result = bits - value.bit_length()
    elif name == "cls":
        signed = sign(value, bits)
        result = bits - 1 - (signed ^ signed >> 63).bit_length()
    elif name == "ctz":
        result = (value & -value).bit_length() - 1 if value else bits
    elif name == "cnt":
        result = value.bit_count()
    elif name == "abs":
        result = abs(sign(value, bits))
    elif name == "rbit":
        result = int(f"{value:0{bits}b}"[::-1], 2)
    else:
        size = int(name[3:] or bits) // 8
        data = value.to_bytes(bits // 8, "little")
        parts = (data[at : at + size][::-1] for at in range(0, len(data), size))
        result = int.from_bytes(b"".join(parts), "little")
    _set(state, insn, result, n)


def _select(pe: PE, state: State, insn: a64.Instruction) -> None:
    """CSEL, CSINC, CSINV, CSNEG: it depends on the register chosen, and by pick on the flags."""
    first = pe.either(state, FLAGS, holds(a64.CONDITIONS[insn["c"]], state.x[FLAGS]))
    chosen = insn["n" if first else "m"]
    value = state.x[chosen]
    if not first:
        value = {"csel": value, "csinc": value + 1, "csinv": ~value, "csneg": -value}[insn.name]
    _set(state, insn, value, chosen, pick=state.pick[FLAGS])


ROWS: tuple[tuple[str, str, Semantics], ...] = (
    # as in semantics.py
    ("adr|adrp", "", _adr),
    ("movz|movn|movk", "", _wide),
    ("add|sub|adc|sbc", "|s", _arithmetic),
    ("ccmp|ccmn", "", _compare_if),
    ("|".join(_LOGIC), "", _logical),
    ("lslv|lsrv|asrv|rorv", "", _variable_shift),
    ("ubfm|sbfm|bfm", "", _bit_field),
    ("extr", "", _extr),
    ("madd|msub|smaddl|smsubl|umaddl|umsubl|smulh|umulh", "", _multiply),
    ("udiv|sdiv", "", _divide),
    ("clz|cls|ctz|cnt|abs|rbit|rev|rev16|rev32", "", _one_operand),
    ("csel|csinc|csinv|csneg", "", _select),
)
"""Rows of semantics.py's table."""
