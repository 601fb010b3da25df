"""The A64 rows that litmus tests and the code around trampolines use, besides those of a64.py.

They are in a file apart because they would slow the start of every run, and because tests compare
a64.TABLE with every word that objdump and capstone know. A design's text may not use them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache

from static_call.isa import a64
from static_call.isa.a64 import CONDITIONS, Row
from static_call.isa.a64_data import DATA
from static_call.isa.a64_memory import MEMORY
from static_call.isa.instruction import Instruction, Table

_COMPARISONS = (
    # condition, its bits with a register, and with an immediate ("" where there is none)
    ("gt", "000", "000"), ("ge", "001", ""), ("hi", "010", "010"), ("hs", "011", ""),
    ("eq", "110", "110"), ("ne", "111", "111"), ("lt", "", "001"), ("lo", "", "011"),
)  # fmt: skip
_SWAPPED = {"lt": "gt", "le": "ge", "lo": "hi", "ls": "hs"}


def _compare_and_branch() -> Iterator[Row]:
    """CB, CBB and CBH (FEAT_CMPBR)."""
    for name, register, wide, low in (
        ("cb", "w:", "0", "00"), ("cb", "x:", "1", "00"), ("cbb", "w:", "0", "10"),
        ("cbh", "w:", "0", "11"),
    ):  # fmt: skip
        for condition, code, immediate in _COMPARISONS:
            if code:
                bits = f"{wide}1110100{code} m5 {low} i9 t5"
                yield Row(f"{name}{condition}", bits, f"{register}t, {register}m, @i*4", "newer")
            if immediate and low == "00":
                bits = f"{wide}1110101{immediate} n6 0 i9 t5"
                yield Row(f"{name}{condition}", bits, f"{register}t, %n, @i*4", "newer")
        for condition, other in _SWAPPED.items():
            code = next(code for c, code, _ in _COMPARISONS if c == other)
            bits = f"{wide}1110100{code} m5 {low} i9 t5"
            form = f"{register}m, {register}t, @i*4"
            yield Row(f"{name}{condition}", bits, form, "newer", alias=True)


MORE: tuple[Row, ...] = (
    *DATA,
    *MEMORY,
    # Branches, barriers, system registers, maintenance
    *(
        Row(f"b{condition}", f"01010100 i19 0 {number:04b}", "@i*4", "newer", alias=True)
        for condition, number in (*zip(CONDITIONS, range(16)), ("hs", 2), ("lo", 3))
    ),
    *(
        Row(f"bc.{condition}", f"01010100 i19 1 {number:04b}", "@i*4", "newer")
        for condition, number in zip(CONDITIONS, range(16))
    ),
    *_compare_and_branch(),
    Row("isb", "11010101000000110011 1111 11011111", "sy", alias=True),
    Row("clrex", "11010101000000110011 1111 01011111"),
    Row("dc cvac", "110101010000101101111010001 t5", ", x:t"),
    Row("dc civac", "110101010000101101111110001 t5", ", x:t"),
    Row("ic iallu", "11010101000010000111010100011111"),
    Row("ic ialluis", "11010101000010000111000100011111"),
    Row("mrs", "110101010011101101000010000 t5", "x:t, nzcv"),
    Row("msr", "110101010001101101000010000 t5", "nzcv, x:t"),
    Row("paciasppc", "11011010110000011010001111111110"),
    Row("pacibsppc", "11011010110000011010011111111110"),
    # Exception entry and return, for litmus tests that write instructions that cannot be executed
    Row("msr", "110101010001 1000010000 00001 t5", "elr_el1, x:t"),
    Row("mrs", "110101010011 1000010000 00001 t5", "x:t, elr_el1"),
    Row("eret", "1101011010011111000000 11111 00000"),
)

_BOTH = Table(*a64.TABLE, *MORE)

# Logical instructions with an immediate: its 13 bits are not a number, so each has its own row.

_OPPOSITE = {"add": "sub", "adds": "subs", "sub": "add", "subs": "adds", "cmp": "cmn", "cmn": "cmp"}
_INVERTED = {"bic": "and"}
_LOGICAL = {"and": "00", "orr": "01", "eor": "10", "ands": "11"}


@cache
def _masks() -> dict[int, int]:
    """What each N:immr:imms means in 64 bits (DecodeBitMasks, Arm ARM J1.1)."""
    masks = {}
    for bits in range(1 << 13):
        n, rotate, s = bits >> 12, bits >> 6 & 63, bits & 63
        length = (n << 6 | ~s & 63).bit_length() - 1
        size = 1 << max(length, 0)
        ones = (s & size - 1) + 1
        if length >= 1 and ones < size and rotate < size:
            element = (1 << ones) - 1
            element = (element >> rotate | element << size - rotate) & (1 << size) - 1
            masks[bits] = sum(element << at for at in range(0, 64, size))
    return masks


@cache
def _mask_of() -> dict[int, int]:
    return {mask: bits for bits, mask in _masks().items()}


def _logical(name: str, wide: bool, bits: int, text: str) -> Row:
    """The row of one immediate, which is spelt `text`."""
    register = "x:" if wide else "w:"
    to = "s:" if wide and name != "ands" else register
    code = f"{wide:d}{_LOGICAL[name]}100100 {bits:013b} n5 d5"
    return Row(name, code, f"{to}d, {register}n, {text}")


def _logical_of(word: int) -> Row | None:
    """The row of a word that is a logical instruction with an immediate."""
    bits, wide = word >> 10 & 0x1FFF, bool(word >> 31)
    if word >> 23 & 0x3F != 0b100100 or bits not in _masks() or (bits >> 12 and not wide):
        return None
    mask = _masks()[bits] & ((1 << 64) - 1 if wide else 0xFFFFFFFF)
    name = next(name for name, code in _LOGICAL.items() if int(code, 2) == word >> 29 & 3)
    return _logical(name, wide, bits, f"#{mask:#x}")


@lru_cache(maxsize=8192)  # a checker's program has some hundred words, at few addresses each
def decode(word: int, at: int = 0) -> Instruction:
    """The instruction that a word at address `at` is, by both files' rows. Never raises."""
    found = _BOTH.decode(word, at)
    logical = None if found.row else _logical_of(word)
    return Table(logical).decode(word, at) if logical else found


def parse(line: str) -> Instruction:
    """The instruction that a line of assembly is, by both files' rows.

    Raises what a64.parse does.
    """
    if match := re.fullmatch(_IMMEDIATE, line):
        line, more = _with_immediate(line, match)
        return _BOTH.parse(line, more)
    return _BOTH.parse(_plain(line))


_IMMEDIATE = (
    r"(?ia)\s*(mov|tst|and|orr|eor|ands|bic|add|adds|sub|subs|cmp|cmn)\s+"
    r"(([xw])\w+|w?sp)\s*,\s*(?:([xw]\w+|w?sp)\s*,\s*)?(#?(-?(?:0x[0-9a-f]+|[0-9]+)))\s*"
)


def assemble(line: str, at: int = 0, symbols: Mapping[str, int] | None = None) -> int:
    """The word that a line of assembly is at address `at`, by both files' rows.

    Raises what a64.assemble does.
    """
    return parse(line).bind(symbols or {}).encode(at)


def _with_immediate(line: str, match: re.Match[str]) -> tuple[str, tuple[Row, ...]]:
    """A line whose immediate is not simply a field, and the additional row that it needs."""
    name, d, n, text = match[1].lower(), match[2], match[4], match[5].lower()
    wide = d[0] in "xXsS"
    bits = 64 if wide else 32
    value = a64.number(match[6])
    if value is None or not -(1 << bits - 1) <= value < 1 << bits:
        return line, ()
    value &= (1 << bits) - 1
    if name in _OPPOSITE:  # ADD of -4 is SUB of 4; a positive number needs no help
        if -4096 < (value ^ 1 << bits - 1) - (1 << bits - 1) < 0:
            line = re.sub(r"\w+", _OPPOSITE[name], line, count=1).replace(
                text, f"#{-value % (1 << bits)}"
            )
        return line, ()
    if name == "mov":
        if n is not None or 0 <= value <= 0xFFFF:
            return line, ()
        for wanted, held in (("movz", value), ("movn", ~value & (1 << bits) - 1)):
            for shift in range(0, bits, 16):
                if held >> shift << shift == held and held >> shift <= 0xFFFF:
                    lsl = f", lsl #{shift}" if shift else ""
                    return f"{wanted} {d}, #{held >> shift:#x}{lsl}", ()
        name, n = "orr", "xzr" if wide else "wzr"
    if name == "tst":
        name, d, n = "ands", "xzr" if wide else "wzr", d
    if name in _INVERTED:
        name, value = _INVERTED[name], ~value & (1 << bits) - 1
        text = f"#{value:#x}"
    mask = value if wide else value << 32 | value
    if n is None or mask not in _mask_of():
        return line, ()
    return f"{name} {d}, {n}, {text}", (_logical(name, wide, _mask_of()[mask], text),)


# Aliases whose fields are computed from what is written (Arm ARM C6.2: UBFM, EXTR, CSINC, ...)

_FIELDS = r"(?ia)\s*(\w+)\s+([xw])(\w+)\s*,\s*(?:([xw]\w+)\s*,\s*)?([^,]+)(?:,([^,]+))?"
_EXTENDED = {"b": 7, "h": 15, "w": 31}
_OTHERWISE = {"cinc": "csinc", "cinv": "csinv", "cneg": "csneg"}


def _plain(line: str) -> str:
    """The line; if it is such an alias, the line that it is an alias of."""
    match = re.fullmatch(_FIELDS, line)
    if match is None:
        return line
    name, size, d, n = match[1].lower(), match[2], match[2] + match[3], match[4]
    bits = 64 if size in "xX" else 32
    first, second = match[5].strip(), (match[6] or "").strip()
    if name in _OTHERWISE and n and first.lower() in (*CONDITIONS[:14], "hs", "lo"):
        opposite = CONDITIONS[_condition(first.lower()) ^ 1]
        return f"{_OTHERWISE[name]} {d}, {n}, {n}, {opposite}"
    if re.fullmatch(r"[su]xt[bhw]", name) and n is None and not second:
        source = first if first[:1] in "xX" or bits == 32 else f"x{first[1:]}"
        return f"{name[0]}bfm {d}, {source}, #0, #{_EXTENDED[name[3]]}"
    low, width = a64.number(first.removeprefix("#")), a64.number(second.removeprefix("#"))
    if n is None or low is None or not 0 <= low < bits:
        return line
    if name in ("lsl", "lsr", "asr", "ror") and not second:
        return {
            "lsl": f"ubfm {d}, {n}, #{-low % bits}, #{bits - 1 - low}",
            "lsr": f"ubfm {d}, {n}, #{low}, #{bits - 1}",
            "asr": f"sbfm {d}, {n}, #{low}, #{bits - 1}",
            "ror": f"extr {d}, {n}, {n}, #{low}",
        }[name]
    kind = "bfm" if name[0] == "b" else f"{name[0]}bfm"
    if width is None or not 0 < width <= bits - low:
        return line
    if name in ("ubfx", "sbfx", "bfxil"):
        return f"{kind} {d}, {n}, #{low}, #{low + width - 1}"
    if name in ("ubfiz", "sbfiz", "bfi"):
        return f"{kind} {d}, {n}, #{-low % bits}, #{width - 1}"
    return line


def _condition(name: str) -> int:
    return CONDITIONS.index({"hs": "cs", "lo": "cc"}.get(name, name))
