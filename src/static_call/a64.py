"""A64 instructions: one table, from which words are encoded, decoded, parsed and printed.

The table holds what trampolines, retargets, landing pads and call sites use. Each row gives the
instruction's 32 bits, high to low, as the Arm ARM (DDI 0487, chapter C6) draws them, and its
assembly as GNU as takes it. Everything else here is derived from the rows.

Addresses and immediates are ints; a word is an int of 32 bits. PC-relative operands are absolute
addresses (of a page, for ADRP): encoding and decoding take the address `at` of the instruction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from static_call.errors import StaticCallError

WORD = 4
"""Bytes in an instruction."""

PAGE = 0x1000
"""Bytes in what ADRP calls a page, whatever the system's page size."""

_ADDRESS = (1 << 64) - 1


class A64Error(StaticCallError):
    """An instruction cannot be encoded."""


class OutOfRange(A64Error):
    """An immediate or a PC-relative address is beyond what the instruction can hold."""


class Misaligned(A64Error):
    """An immediate or an address is not a multiple of what the instruction counts in."""


class BadRegister(A64Error):
    """A register's number or kind does not fit the instruction."""


class BadSyntax(A64Error):
    """A line of assembly is not one of the table's instructions.

    column: where in the line, from 0.
    """

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name in an operand, whose value comes later; `lo12` takes its low 12 bits."""

    name: str
    lo12: bool = False

    def __str__(self) -> str:
        return f":lo12:{self.name}" if self.lo12 else self.name


Value = int | Symbol

_CONDITIONS = "eq ne cs cc mi pl vs vc hi ls ge lt gt le al nv".split()
_OPTIONS = {
    1: "oshld", 2: "oshst", 3: "osh", 5: "nshld", 6: "nshst", 7: "nsh",
    9: "ishld", 10: "ishst", 11: "ish", 13: "ld", 14: "st", 15: "sy",
}  # fmt: skip

# Operands, in the table's `assembly`: a kind and the letters of the fields that hold it.
#   x:n w:n   a register, 31 is the zero register      s:n   a 64-bit one, 31 is SP
#   #i #i*8   an unsigned immediate, in units of 8     ~i*8  a signed one
#   #b+32     an unsigned immediate, from 32 on        o:o   a barrier option
#   @i*4      a PC-relative address, in units of 4     @@il  a PC-relative page (fields i, l joined)
#   lsl:s     an amount to shift left
_OPERAND = re.compile(r"(x:|w:|s:|o:|lsl:|#|~|@@|@)([a-z]+)(?:\*(\d+))?(?:\+(\d+))?")
_TOKEN = re.compile(r"\[|\]!|\]|lsl\s*#\d+|[^\s,\[\]]+")


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand of a row: its kind (see the comment above) and where its bits are."""

    kind: str
    name: str
    bits: tuple[tuple[int, int], ...]  # (lowest bit, width), most significant part first
    unit: int = 1
    bias: int = 0

    @property
    def width(self) -> int:
        return sum(width for _, width in self.bits)

    def insert(self, value: int, at: int) -> int:
        """The operand's bits in a word at address `at`.

        Raises OutOfRange, Misaligned or BadRegister where the value does not fit.
        """
        if self.kind in ("x:", "w:", "s:") and not 0 <= value <= 31:
            raise BadRegister(f"there is no register {value}")
        if self.kind == "@@":
            distance, unit = _signed(value - (at & -PAGE), 64), PAGE
        elif self.kind == "@":
            distance, unit = _signed(value - at, 64), self.unit
        else:
            distance, unit = value - self.bias, self.unit
        if distance % unit:
            raise Misaligned(f"{value:#x} is not a multiple of {unit}")
        low, high = self.span
        if not low <= distance // unit <= high:
            raise OutOfRange(self._range(value, at))
        raw, word = distance // unit, 0
        for low, width in reversed(self.bits):
            word |= (raw & ((1 << width) - 1)) << low
            raw >>= width
        return word

    def extract(self, word: int, at: int) -> int:
        """The operand's value in `word` at address `at`."""
        raw = 0
        for low, width in self.bits:
            raw = raw << width | (word >> low & ((1 << width) - 1))
        if self.kind == "@@":
            return (at & -PAGE) + _signed(raw, self.width) * PAGE & _ADDRESS
        if self.kind == "@":
            return at + _signed(raw, self.width) * self.unit & _ADDRESS
        if self.kind == "~":
            return _signed(raw, self.width) * self.unit
        return raw * self.unit + self.bias

    @property
    def span(self) -> tuple[int, int]:
        """The lowest and the highest count of units that fit."""
        if self.kind in ("@", "@@", "~"):
            half = 1 << self.width - 1
            return -half, half - 1
        return 0, (1 << self.width) - 1

    def _range(self, value: int, at: int) -> str:
        unit = PAGE if self.kind == "@@" else self.unit
        low, high = (count * unit + self.bias for count in self.span)
        if self.kind in ("@", "@@"):
            return f"{value:#x} is out of reach from {at:#x}: the offset must be {low:#x}..{high:#x}"
        return f"{value:#x} is out of range: {low:#x}..{high:#x}"

    def parse(self, text: str) -> Value:
        """The value that an operand's text stands for.

        Raises ValueError where it cannot be one, A64Error where it never fits.
        """
        if self.kind in ("x:", "w:", "s:"):
            return self._register(text.lower())
        if self.kind == "o:" and text.lower() in _OPTIONS.values():
            return next(value for value, name in _OPTIONS.items() if name == text.lower())
        if self.kind == "lsl:" and (match := re.fullmatch(r"lsl\s*#(\d+)", text.lower())):
            return int(match[1])
        if self.kind != "lsl:" and re.fullmatch(r"#?-?(0x[0-9a-f]+|0|[1-9]\d*)", text.lower()):
            value = int(text.removeprefix("#"), 0)
            if self.kind not in ("@", "@@"):  # whether an address is in reach, encoding knows
                self.insert(value, 0)
            return value
        match = re.fullmatch(r"#?(:lo12:)?([A-Za-z_.$][\w.$]*|\d+[bf])", text)
        relative = self.kind in ("@", "@@")
        if match and (relative or self.kind == "#") and bool(match[1]) != relative:
            return Symbol(match[2], lo12=bool(match[1]))
        raise ValueError(f"expected {self.what}")

    def _register(self, text: str) -> int:
        letter = "w" if self.kind == "w:" else "x"
        special = {"sp": 31} if self.kind == "s:" else {f"{letter}zr": 31}
        if letter == "x":
            special["lr"] = 30
        if text in special:
            return special[text]
        if (match := re.fullmatch(rf"{letter}(\d|[12]\d|30)", text)) is None:
            raise ValueError(f"expected {self.what}")
        return int(match[1])

    @property
    def what(self) -> str:
        """What the operand is, for an error's text."""
        return {
            "x:": "a 64-bit register", "w:": "a 32-bit register", "s:": "a 64-bit register or sp",
            "o:": "a barrier option", "lsl:": "lsl and an amount",
            "@": "a label or an address", "@@": "a label or an address",
        }.get(self.kind, "an immediate")  # fmt: skip

    def format(self, value: Value, symbolise: Callable[[int], str]) -> str:
        """The operand as assembly; `symbolise` names addresses."""
        if isinstance(value, Symbol):
            return str(value)
        if self.kind == "o:":
            return _OPTIONS.get(value, f"#{value:#x}")
        if self.kind in ("@", "@@"):
            return symbolise(value)
        if self.kind == "~":
            return f"#{value}"
        if self.kind == "lsl:":
            return f"lsl #{value}"
        if self.kind == "#":
            return f"#{value:#x}"
        if value == 31:
            return {"x:": "xzr", "w:": "wzr", "s:": "sp"}[self.kind]
        return f"{'w' if self.kind == 'w:' else 'x'}{value}"


@dataclass(frozen=True, slots=True)
class Row:
    """One instruction of the table.

    name    its mnemonic, with the words that are part of it ("dc cvau", "bti c")
    mask    the bits that identify it, and `value`, what they are
    tokens  its assembly behind the name: Operands, and the words and brackets between them
    cmodx   "every" if it is on the list of instructions that may be modified while they may
            execute (Arm ARM B2.2.5) in every edition, "newer" if in newer ones, "" if in none
    alias   the row is only another way to write what another row decodes to
    """

    name: str
    mask: int
    value: int
    tokens: tuple[Operand | str, ...]
    cmodx: str
    alias: bool

    @property
    def operands(self) -> tuple[Operand, ...]:
        return tuple(token for token in self.tokens if isinstance(token, Operand))


def _row(name: str, bits: str, assembly: str = "", cmodx: str = "", *, alias: bool = False) -> Row:
    """A row from its text; in `bits`, high to low, `i26` is a field of 26 bits."""
    mask = value = 0
    low = 32
    fields: dict[str, tuple[int, int]] = {}
    for part in bits.split():
        if part[0] in "01":
            low -= len(part)
            mask |= ((1 << len(part)) - 1) << low
            value |= int(part, 2) << low
        else:
            low -= int(part[1:])
            fields[part[0]] = (low, int(part[1:]))
    assert low == 0, (name, bits)
    tokens: list[Operand | str] = []
    for text in _TOKEN.findall(assembly):
        if match := _OPERAND.fullmatch(text):
            kind, letters, unit, bias = match.groups()
            where = tuple(fields[letter] for letter in letters)
            tokens.append(Operand(kind, letters, where, int(unit or 1), int(bias or 0)))
        else:
            tokens.append(text)
    return Row(name, mask, value, tuple(tokens), cmodx, alias)


_HINTS = {
    1: "yield", 2: "wfe", 3: "wfi", 4: "sev", 5: "sevl", 7: "xpaclri",
    8: "pacia1716", 10: "pacib1716", 12: "autia1716", 14: "autib1716",
    16: "esb", 17: "psb csync", 18: "tsb csync", 20: "csdb",
    24: "paciaz", 25: "paciasp", 26: "pacibz", 27: "pacibsp",
    28: "autiaz", 29: "autiasp", 30: "autibz", 31: "autibsp",
    32: "bti", 34: "bti c", 36: "bti j", 38: "bti jc",
}  # fmt: skip

# The first row that matches decodes a word, so the special case stands before the general one.
TABLE: tuple[Row, ...] = (
    # Branches
    _row("b", "000101 i26", "@i*4", "every"),
    _row("bl", "100101 i26", "@i*4", "every"),
    *(
        _row(f"b.{condition}", f"01010100 i19 0 {number:04b}", "@i*4", "newer")
        for number, condition in enumerate(_CONDITIONS)
    ),
    _row("cbz", "00110100 i19 t5", "w:t, @i*4", "newer"),
    _row("cbz", "10110100 i19 t5", "x:t, @i*4", "newer"),
    _row("cbnz", "00110101 i19 t5", "w:t, @i*4", "newer"),
    _row("cbnz", "10110101 i19 t5", "x:t, @i*4", "newer"),
    _row("tbz", "00110110 b5 i14 t5", "w:t, #b, @i*4", "newer"),
    _row("tbz", "10110110 b5 i14 t5", "x:t, #b+32, @i*4", "newer"),
    _row("tbz", "00110110 b5 i14 t5", "x:t, #b, @i*4", "newer", alias=True),
    _row("tbnz", "00110111 b5 i14 t5", "w:t, #b, @i*4", "newer"),
    _row("tbnz", "10110111 b5 i14 t5", "x:t, #b+32, @i*4", "newer"),
    _row("tbnz", "00110111 b5 i14 t5", "x:t, #b, @i*4", "newer", alias=True),
    _row("br", "1101011000011111000000 n5 00000", "x:n"),
    _row("blr", "1101011000111111000000 n5 00000", "x:n"),
    _row("ret", "1101011001011111000000 11110 00000"),
    _row("ret", "1101011001011111000000 n5 00000", "x:n"),
    # Exceptions
    _row("svc", "11010100000 i16 00001", "#i", "every"),
    _row("hvc", "11010100000 i16 00010", "#i", "every"),
    _row("smc", "11010100000 i16 00011", "#i", "every"),
    _row("brk", "11010100001 i16 00000", "#i", "every"),
    _row("udf", "0000000000000000 i16", "#i", "newer"),
    # Hints: of these only NOP is on the CMODX list
    _row("nop", "11010101000000110010 0000000 11111", "", "every"),
    *(
        _row(name, f"11010101000000110010 {number:07b} 11111")
        for number, name in _HINTS.items()
    ),
    _row("hint", "11010101000000110010 i7 11111", "#i"),
    # Barriers, cache maintenance, system registers
    _row("dmb", "11010101000000110011 o4 10111111", "o:o"),
    _row("ssbb", "11010101000000110011 0000 10011111"),
    _row("pssbb", "11010101000000110011 0100 10011111"),
    _row("dsb", "11010101000000110011 o4 10011111", "o:o"),
    _row("isb", "11010101000000110011 1111 11011111", "", "every"),
    _row("isb", "11010101000000110011 i4 11011111", "#i", "every"),
    _row("dc cvau", "110101010000101101111011001 t5", "x:t"),
    _row("ic ivau", "110101010000101101110101001 t5", "x:t"),
    _row("mrs", "110101010011101100000000001 t5", "x:t, ctr_el0"),
    # Addresses and constants
    _row("adr", "0 l2 10000 i19 d5", "x:d, @il"),
    _row("adrp", "1 l2 10000 i19 d5", "x:d, @@il"),
    _row("add", "1001000100 i12 n5 d5", "s:d, s:n, #i"),
    _row("add", "1001000101 i12 n5 d5", "s:d, s:n, #i, lsl#12"),
    _row("add", "10001011000 m5 000000 n5 d5", "x:d, x:n, x:m"),
    _row("add", "10001011000 m5 s6 n5 d5", "x:d, x:n, x:m, lsl:s"),
    _row("sub", "1101000100 i12 n5 d5", "s:d, s:n, #i"),
    _row("sub", "1101000101 i12 n5 d5", "s:d, s:n, #i, lsl#12"),
    _row("orr", "10101010000 m5 000000 n5 d5", "x:d, x:n, x:m"),
    _row("orr", "10101010000 m5 s6 n5 d5", "x:d, x:n, x:m, lsl:s"),
    _row("mov", "10101010000 m5 000000 11111 d5", "x:d, x:m", alias=True),
    _row("mov", "11010010100 i16 d5", "x:d, #i", alias=True),
    _row("mov", "01010010100 i16 d5", "w:d, #i", alias=True),
    *(
        _row(name, f"{wide}{op}100101 {part:02b} i16 d5", f"{register}:d, #i, {shift}")
        for name, op in (("movn", "00"), ("movz", "10"), ("movk", "11"))
        for register, wide, parts in (("w", "0", 2), ("x", "1", 4))
        for part, shift in enumerate(("", "lsl#16", "lsl#32", "lsl#48")[:parts])
    ),
    # Loads and stores
    _row("ldr", "00011000 i19 t5", "w:t, @i*4"),
    _row("ldr", "01011000 i19 t5", "x:t, @i*4"),
    _row("ldr", "1011100101 000000000000 n5 t5", "w:t, [s:n]"),
    _row("ldr", "1011100101 i12 n5 t5", "w:t, [s:n, #i*4]"),
    _row("ldr", "1111100101 000000000000 n5 t5", "x:t, [s:n]"),
    _row("ldr", "1111100101 i12 n5 t5", "x:t, [s:n, #i*8]"),
    _row("str", "1011100100 000000000000 n5 t5", "w:t, [s:n]"),
    _row("str", "1011100100 i12 n5 t5", "w:t, [s:n, #i*4]"),
    _row("str", "1111100100 000000000000 n5 t5", "x:t, [s:n]"),
    _row("str", "1111100100 i12 n5 t5", "x:t, [s:n, #i*8]"),
    *(
        _row(name, f"{wide}010100{mode}{load} {offset} u5 n5 t5", form.replace("r:", register))
        for name, load in (("stp", "0"), ("ldp", "1"))
        for register, wide, size in (("w:", "0", 4), ("x:", "1", 8))
        for mode, offset, form in (
            ("10", "0000000", "r:t, r:u, [s:n]"),
            ("10", "i7", f"r:t, r:u, [s:n, ~i*{size}]"),
            ("01", "i7", f"r:t, r:u, [s:n], ~i*{size}"),
            ("11", "i7", f"r:t, r:u, [s:n, ~i*{size}]!"),
        )
    ),
    # What code around a trampoline and litmus tests use besides: comparisons and selections
    *(
        _row(name, f"{wide}{op}{kind}", form.replace("r:", register), alias=alias)
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
        )
    ),
    _row("add", "0001000100 i12 n5 d5", "w:d, w:n, #i"),
    _row("sub", "0101000100 i12 n5 d5", "w:d, w:n, #i"),
    _row("add", "00001011000 m5 000000 n5 d5", "w:d, w:n, w:m"),
    _row("orr", "00101010000 m5 000000 n5 d5", "w:d, w:n, w:m"),
    _row("mov", "00101010000 m5 000000 11111 d5", "w:d, w:m", alias=True),
    _row("add", "10001011001 m5 010 000 n5 d5", "s:d, s:n, w:m, uxtw"),
    _row("add", "10001011001 m5 110 000 n5 d5", "s:d, s:n, w:m, sxtw"),
    *(
        _row(name, f"{wide}{op}011010100 m5 {number ^ invert:04b} {inc} n5 d5",
             f"{form.replace('r:', register)}, {condition}", alias=alias)
        for register, wide in (("w:", "0"), ("x:", "1"))
        for name, op, inc, form, invert, alias in (
            ("csel", "0", "00", "r:d, r:n, r:m", 0, False),
            ("csinc", "0", "01", "r:d, r:n, r:m", 0, False),
        )
        for number, condition in enumerate(_CONDITIONS)
    ),
    *(
        _row("cset", f"{wide}0011010100 11111 {number ^ 1:04b} 01 11111 d5",
             f"{register}d, {condition}", alias=True)
        for register, wide in (("w:", "0"), ("x:", "1"))
        for number, condition in enumerate(_CONDITIONS[:14])
    ),
    # Addressing modes, acquire and release, exclusives, atomics (FEAT_LSE, FEAT_LRCPC)
    *(
        _row(name, f"{wide}111000{load}{bits}", form.replace("r:", register))
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
    _row("str", "11111000001 m5 011 1 10 n5 t5", "x:t, [s:n, x:m, lsl#3]"),
    _row("ldr", "11111000011 m5 011 1 10 n5 t5", "x:t, [s:n, x:m, lsl#3]"),
    _row("str", "10111000001 m5 011 1 10 n5 t5", "w:t, [s:n, x:m, lsl#2]"),
    _row("ldr", "10111000011 m5 011 1 10 n5 t5", "w:t, [s:n, x:m, lsl#2]"),
    *(
        _row(name, f"{wide}001000 {bits}", form.replace("r:", register))
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
        _row(name, f"{wide}111000 {acquire}{release}1 s5 {op} 00 n5 {target}", text, alias=alias)
        for register, wide in (("w:", "10"), ("x:", "11"))
        for suffix, acquire, release in (("", 0, 0), ("a", 1, 0), ("l", 0, 1), ("al", 1, 1))
        for base, op in (
            ("add", "0000"), ("clr", "0001"), ("eor", "0010"), ("set", "0011"), ("swp", "1000"),
        )
        for name, target, text, alias in (
            (f"{'' if base == 'swp' else 'ld'}{base}{suffix}", "t5",
             f"{register}s, {register}t, [s:n]", False),
            (f"st{base}{suffix}", "11111", f"{register}s, [s:n]", True),
        )
        if not alias or (base != "swp" and not acquire)
    ),
    _row("ldapr", "10111000101 11111 1100 00 n5 t5", "w:t, [s:n]"),
    _row("ldapr", "11111000101 11111 1100 00 n5 t5", "x:t, [s:n]"),
    # Exception entry and return, for litmus tests that write what cannot be executed
    _row("msr", "110101010001 1000010000 00001 t5", "elr_el1, x:t"),
    _row("eret", "1101011010011111000000 11111 00000"),
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction: a row of the table and its operands' values by field name.

    A word that is not in the table is one too: `row` is None and `word` is set.
    """

    row: Row | None
    fields: Mapping[str, Value]
    word: int = 0

    @property
    def name(self) -> str:
        """The mnemonic ("b", "bti c", "dc cvau"); "unknown" for a word not in the table."""
        return self.row.name if self.row else "unknown"

    @property
    def cmodx(self) -> str:
        """Whether it may be modified while it may execute: see Row."""
        return self.row.cmodx if self.row else ""

    def __getitem__(self, field: str) -> int:
        """A field's value, where it is a number."""
        value = self.fields[field]
        assert isinstance(value, int), f"{self} has a symbol in {field}"
        return value

    def __contains__(self, field: str) -> bool:
        return field in self.fields

    @property
    def symbols(self) -> list[tuple[Operand, Symbol]]:
        """The operands whose value is still a name."""
        if self.row is None:
            return []
        values = ((operand, self.fields[operand.name]) for operand in self.row.operands)
        return [(operand, value) for operand, value in values if isinstance(value, Symbol)]

    def bind(self, symbols: Mapping[str, int]) -> Instruction:
        """The same instruction with names replaced by addresses. Raises KeyError for a name."""
        fields = dict(self.fields)
        for operand, symbol in self.symbols:
            value = symbols[symbol.name]
            if symbol.lo12:
                value &= PAGE - 1
            elif operand.kind == "@@":
                value &= -PAGE
            fields[operand.name] = value
        return Instruction(self.row, fields, self.word)

    def encode(self, at: int = 0) -> int:
        """The word, for address `at`. Raises A64Error where an operand does not fit."""
        if self.row is None:
            return self.word
        word = self.row.value
        for operand in self.row.operands:
            try:
                word |= operand.insert(self[operand.name], at)
            except A64Error as error:
                raise type(error)(f"{self}: {error}") from None
        return word

    def format(self, symbolise: Callable[[int], str] = hex) -> str:
        """The instruction as GNU as takes it; `symbolise` names addresses."""
        if self.row is None:
            return f".inst {self.word:#010x}"
        texts = [
            token.replace("#", " #")
            if isinstance(token, str)
            else token.format(self.fields[token.name], symbolise)
            for token in self.row.tokens
        ]
        mnemonic, *words = self.name.split()
        text = ", ".join([*words, *texts]).replace("[, ", "[").replace(", ]", "]")
        return f"{mnemonic} {text}".rstrip()

    def __str__(self) -> str:
        return self.format()


def decode(word: int, at: int = 0) -> Instruction:
    """The instruction that a word at address `at` is. Never raises: see Instruction."""
    for row in _by_top_byte(word >> 24 & 0xFF):
        if word & row.mask == row.value:
            fields = {operand.name: operand.extract(word, at) for operand in row.operands}
            return Instruction(row, fields, word)
    return Instruction(None, {}, word & 0xFFFFFFFF)


@cache
def _by_top_byte(top: int) -> tuple[Row, ...]:
    word = top << 24
    return tuple(
        row for row in TABLE if not row.alias and not (word ^ row.value) & row.mask & 0xFF000000
    )


def assemble(line: str, at: int = 0, symbols: Mapping[str, int] | None = None) -> int:
    """The word that a line of assembly is at address `at`.

    >>> hex(assemble("b policy", at=0x800, symbols={"policy": 0x1000}))
    '0x14000200'

    Raises BadSyntax for the text, KeyError for a name without a value, A64Error for a value that
    does not fit.
    """
    return parse(line).bind(symbols or {}).encode(at)


def parse(line: str) -> Instruction:
    """The instruction that a line of assembly is, upper or lower case; its names stay Symbols.

    Raises BadSyntax with the column where the line stops making sense.
    """
    mnemonic = re.match(r"\s*(\S+)", line)
    if mnemonic is None:
        raise BadSyntax("expected an instruction")
    texts = [(match[0], match.start()) for match in _TOKEN.finditer(line)]
    rows = [row for row in TABLE if row.name.split()[0] == texts[0][0].lower()]
    if not rows:
        raise BadSyntax(f"{texts[0][0]} is not an instruction of the table", texts[0][1])
    furthest = BadSyntax("", -1)
    for row in rows:
        try:
            return _parse_as(row, texts, len(line))
        except BadSyntax as error:
            furthest = max(furthest, error, key=lambda error: error.column)
    raise furthest


def _parse_as(row: Row, texts: list[tuple[str, int]], end: int) -> Instruction:
    """The line's tokens read as `row`; BadSyntax at the first that doesn't fit."""
    expected = [*row.name.split(), *row.tokens]
    fields: dict[str, Value] = {}
    for token, (text, column) in zip(expected, texts):
        if isinstance(token, str):
            if re.sub(r"\s", "", text.lower()) != token:
                raise BadSyntax(f"expected {token}", column)
            continue
        try:
            fields[token.name] = token.parse(text)
        except (ValueError, A64Error) as error:
            raise BadSyntax(str(error), column) from None
    if len(texts) < len(expected):
        missing = expected[len(texts)]
        what = missing if isinstance(missing, str) else missing.what
        raise BadSyntax(f"expected {what}", end)
    if len(texts) > len(expected):
        raise BadSyntax("expected the end of the line", texts[len(expected)][1])
    return Instruction(row, fields)


def words(data: bytes) -> list[int]:
    """The words in a run of instructions; A64 instructions are little-endian always."""
    return [int.from_bytes(data[i : i + WORD], "little") for i in range(0, len(data), WORD)]


def _signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value
