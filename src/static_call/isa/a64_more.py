"""The A64 rows that litmus tests and the code around trampolines use, besides those of a64.py.

They are in a file apart because they would slow the start of every run, and because tests compare
a64.TABLE with every word that objdump and capstone know. A design's text may not use them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache

from static_call.isa import a64
from static_call.isa.a64 import CONDITIONS, Row
from static_call.isa.instruction import Instruction, Table

MORE: tuple[Row, ...] = (
    # Arithmetic, comparisons and selections
    *(
        Row(name, f"{wide}{op}{kind}", form.replace("r:", register), alias=alias)
        for register, wide in (("w:", "0"), ("x:", "1"))
        for name, op, kind, form, alias in (
            ("cmp", "11", "10001 00 i12 n5 11111", "r:n, #i", True),
            ("cmp", "11", "01011 000 m5 000000 n5 11111", "r:n, r:m", True),
            ("adds", "01", "10001 00 i12 n5 d5", "r:d, r:n, #i", False),
            ("adds", "01", "01011 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("subs", "11", "10001 00 i12 n5 d5", "r:d, r:n, #i", False),
            ("subs", "11", "01011 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("sub", "10", "01011 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("and", "00", "01010 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("eor", "10", "01010 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("ands", "11", "01010 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("bic", "00", "01010 001 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("orn", "01", "01010 001 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("tst", "11", "01010 000 m5 000000 n5 11111", "r:n, r:m", True),
            ("mvn", "01", "01010 001 m5 000000 11111 d5", "r:d, r:m", True),
            ("neg", "10", "01011 000 m5 000000 11111 d5", "r:d, r:m", True),
        )
    ),
    Row("ubfm", "0101001100 i6 j6 n5 d5", "w:d, w:n, %i, %j"),
    Row("ubfm", "1101001101 i6 j6 n5 d5", "x:d, x:n, %i, %j"),
    *(
        Row(f"b{condition}", f"01010100 i19 0 {number:04b}", "@i*4", alias=True)
        for condition, number in (*zip(CONDITIONS, range(16)), ("hs", 2), ("lo", 3))
    ),
    Row("isb", "11010101000000110011 1111 11011111", "sy", alias=True),
    Row("clrex", "11010101000000110011 1111 01011111"),
    Row("add", "0001000100 i12 n5 d5", "w:d, w:n, #i"),
    Row("sub", "0101000100 i12 n5 d5", "w:d, w:n, #i"),
    Row("add", "00001011000 m5 000000 n5 d5", "w:d, w:n, w:m"),
    Row("orr", "00101010000 m5 000000 n5 d5", "w:d, w:n, w:m"),
    Row("mov", "00101010000 m5 000000 11111 d5", "w:d, w:m", alias=True),
    Row("add", "10001011001 m5 010 000 n5 d5", "s:d, s:n, w:m, uxtw"),
    Row("add", "10001011001 m5 110 000 n5 d5", "s:d, s:n, w:m, sxtw"),
    *(
        Row(
            name,
            f"{wide}{op}011010100 m5 {number ^ invert:04b} {inc} n5 d5",
            f"{form.replace('r:', register)}, {condition}",
            alias=alias,
        )
        for register, wide in (("w:", "0"), ("x:", "1"))
        for name, op, inc, form, invert, alias in (
            ("csel", "0", "00", "r:d, r:n, r:m", 0, False),
            ("csinc", "0", "01", "r:d, r:n, r:m", 0, False),
        )
        for number, condition in enumerate(CONDITIONS)
    ),
    *(
        Row(
            "cset",
            f"{wide}0011010100 11111 {number ^ 1:04b} 01 11111 d5",
            f"{register}d, {condition}",
            alias=True,
        )
        for register, wide in (("w:", "0"), ("x:", "1"))
        for number, condition in enumerate(CONDITIONS[:14])
    ),
    # Addressing modes, acquire and release, exclusives, atomics (FEAT_LSE, FEAT_LRCPC)
    *(
        Row(name, f"{wide}111000{load}{bits}", form.replace("r:", register))
        for register, wide in (("w:", "10"), ("x:", "11"))
        for names, load in ((("str", "stur"), "00"), (("ldr", "ldur"), "01"))
        for name, bits, form in (
            (names[0], "0 i9 01 n5 t5", "r:t, [s:n], ~i"),
            (names[0], "0 i9 11 n5 t5", "r:t, [s:n, ~i]!"),
            (names[1], "0 000000000 00 n5 t5", "r:t, [s:n]"),
            (names[1], "0 i9 00 n5 t5", "r:t, [s:n, ~i]"),
            (names[0], "1 m5 011 0 10 n5 t5", "r:t, [s:n, x:m]"),
            (names[0], "1 m5 010 0 10 n5 t5", "r:t, [s:n, w:m, uxtw]"),
            (names[0], "1 m5 110 0 10 n5 t5", "r:t, [s:n, w:m, sxtw]"),
        )
    ),
    # Bytes and halfwords
    *(
        Row(f"{name}{suffix}", f"{wide}{bits}", form)
        for suffix, wide, scale in (("b", "00", 1), ("h", "01", 2))
        for name, bits, form in (
            *(
                row
                for load, name in (("0", "str"), ("1", "ldr"))
                for row in (
                    (name, f"1110010{load} 000000000000 n5 t5", "w:t, [s:n]"),
                    (name, f"1110010{load} i12 n5 t5", f"w:t, [s:n, #i*{scale}]"),
                    (name, f"1110000{load}1 m5 011 0 10 n5 t5", "w:t, [s:n, x:m]"),
                    (name, f"1110000{load}1 m5 010 0 10 n5 t5", "w:t, [s:n, w:m, uxtw]"),
                    (name, f"1110000{load}1 m5 110 0 10 n5 t5", "w:t, [s:n, w:m, sxtw]"),
                )
            ),
            ("stxr", "001000 000 s5 0 11111 n5 t5", "w:s, w:t, [s:n]"),
            ("stlxr", "001000 000 s5 1 11111 n5 t5", "w:s, w:t, [s:n]"),
            ("ldxr", "001000 010 11111 0 11111 n5 t5", "w:t, [s:n]"),
            ("ldaxr", "001000 010 11111 1 11111 n5 t5", "w:t, [s:n]"),
            ("stlr", "001000 100 11111 1 11111 n5 t5", "w:t, [s:n]"),
            ("ldar", "001000 110 11111 1 11111 n5 t5", "w:t, [s:n]"),
            ("ldapr", "111000101 11111 1100 00 n5 t5", "w:t, [s:n]"),
        )
    ),
    # Exclusive pairs
    *(
        Row(name, f"1{wide}001000 {bits}", form.replace("r:", register))
        for register, wide in (("w:", "0"), ("x:", "1"))
        for name, bits, form in (
            ("stxp", "001 s5 0 u5 n5 t5", "w:s, r:t, r:u, [s:n]"),
            ("stlxp", "001 s5 1 u5 n5 t5", "w:s, r:t, r:u, [s:n]"),
            ("ldxp", "011 11111 0 u5 n5 t5", "r:t, r:u, [s:n]"),
            ("ldaxp", "011 11111 1 u5 n5 t5", "r:t, r:u, [s:n]"),
        )
    ),
    Row("str", "11111000001 m5 011 1 10 n5 t5", "x:t, [s:n, x:m, lsl #3]"),
    Row("ldr", "11111000011 m5 011 1 10 n5 t5", "x:t, [s:n, x:m, lsl #3]"),
    Row("str", "10111000001 m5 011 1 10 n5 t5", "w:t, [s:n, x:m, lsl #2]"),
    Row("ldr", "10111000011 m5 011 1 10 n5 t5", "w:t, [s:n, x:m, lsl #2]"),
    *(
        Row(name, f"{wide}001000 {bits}", form.replace("r:", register))
        for register, wide in (("w:", "10"), ("x:", "11"))
        for name, bits, form in (
            ("stxr", "000 s5 0 11111 n5 t5", "w:s, r:t, [s:n]"),
            ("stlxr", "000 s5 1 11111 n5 t5", "w:s, r:t, [s:n]"),
            ("ldxr", "010 11111 0 11111 n5 t5", "r:t, [s:n]"),
            ("ldaxr", "010 11111 1 11111 n5 t5", "r:t, [s:n]"),
            ("stlr", "100 11111 1 11111 n5 t5", "r:t, [s:n]"),
            ("ldar", "110 11111 1 11111 n5 t5", "r:t, [s:n]"),
            ("cas", "101 s5 0 11111 n5 t5", "r:s, r:t, [s:n]"),
            ("casl", "101 s5 1 11111 n5 t5", "r:s, r:t, [s:n]"),
            ("casa", "111 s5 0 11111 n5 t5", "r:s, r:t, [s:n]"),
            ("casal", "111 s5 1 11111 n5 t5", "r:s, r:t, [s:n]"),
        )
    ),
    *(
        Row(name, f"{wide}111000 {acquire}{release}1 s5 {op} 00 n5 {target}", text, alias=alias)
        for register, wide in (("w:", "10"), ("x:", "11"))
        for suffix, acquire, release in (("", 0, 0), ("a", 1, 0), ("l", 0, 1), ("al", 1, 1))
        for base, op in (
            ("add", "0000"),
            ("clr", "0001"),
            ("eor", "0010"),
            ("set", "0011"),
            ("swp", "1000"),
        )
        for name, target, text, alias in (
            (
                f"{'' if base == 'swp' else 'ld'}{base}{suffix}",
                "t5",
                f"{register}s, {register}t, [s:n]",
                False,
            ),
            (f"st{base}{suffix}", "11111", f"{register}s, [s:n]", True),
        )
        if not alias or (base != "swp" and not acquire)
    ),
    Row("ldapr", "10111000101 11111 1100 00 n5 t5", "w:t, [s:n]"),
    Row("ldapr", "11111000101 11111 1100 00 n5 t5", "x:t, [s:n]"),
    # Exception entry and return, for litmus tests that write instructions that cannot be executed
    Row("msr", "110101010001 1000010000 00001 t5", "elr_el1, x:t"),
    Row("eret", "1101011010011111000000 11111 00000"),
)

_BOTH = Table(*a64.TABLE, *MORE)

# Logical instructions with an immediate: its 13 bits are not a number, so each has its own row.

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
    return _BOTH.parse(line)


_IMMEDIATE = (
    r"(?ia)\s*(mov|lsl|lsr|tst|and|orr|eor|ands)\s+(([xw])\w+|sp)\s*,\s*(?:([xw]\w+)\s*,\s*)?"
    r"(#(-?(?:0x[0-9a-f]+|[0-9]+)))\s*"
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
    if name in ("lsl", "lsr"):
        if n is None or value >= bits:
            return line, ()
        low, high = (-value % bits, bits - 1 - value) if name == "lsl" else (value, bits - 1)
        return f"ubfm {d}, {n}, #{low}, #{high}", ()
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
    mask = value if wide else value << 32 | value
    if n is None or mask not in _mask_of():
        return line, ()
    return f"{name} {d}, {n}, {text}", (_logical(name, wide, _mask_of()[mask], text),)
