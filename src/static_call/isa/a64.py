"""A64 instructions: one table, from which words are encoded, decoded, parsed and printed.

The table holds what trampolines, retargets, landing pads and call sites use. Each row gives the
instruction's 32 bits, high to low, as the Arm ARM (DDI 0487, chapter C6) draws them, and its
assembly as GNU as takes it. Everything else here is derived from the rows.

Addresses and immediates are ints; a word is an int of 32 bits. PC-relative operands are absolute
addresses (of a page, for ADRP): encoding and decoding take the address `at` of the instruction.
(Disassemblers write them so; GNU as takes a bare number there for a distance.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import NamedTuple

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
    """There is no register of this number."""


class BadSyntax(A64Error):
    """A line of assembly is not one of the table's instructions.

    column: where in the line, from 0.
    """

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.column = column


class Symbol(NamedTuple):
    """A name in an operand, whose value comes later; `lo12` takes its low 12 bits."""

    name: str
    lo12: bool = False

    def __str__(self) -> str:
        return f":lo12:{self.name}" if self.lo12 else self.name


Value = int | Symbol

_CONDITIONS = (
    "eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al", "nv",
)  # fmt: skip
_X = {f"x{number}": number for number in range(31)}
_LONG = {"fp": 29, "lr": 30, "ip0": 16, "ip1": 17}
_NAMES = {
    "x:": _X | {"xzr": 31} | _LONG,
    "s:": _X | {"sp": 31} | _LONG,
    "w:": {f"w{number}": number for number in range(31)} | {"wzr": 31},
    "o:": {
        "oshld": 1, "oshst": 2, "osh": 3, "nshld": 5, "nshst": 6, "nsh": 7,
        "ishld": 9, "ishst": 10, "ish": 11, "ld": 13, "st": 14, "sy": 15,
    },
}  # fmt: skip
"""What the values of some kinds of operand are called; first the name that is printed."""

_PRINTED = {
    kind: {value: name for name, value in reversed(names.items())} for kind, names in _NAMES.items()
}

# Operands, in the table's assembly: a kind and the letters of the fields that hold it.
#   x:n w:n   a register, 31 is the zero register      s:n   a 64-bit one, 31 is SP
#   #i #i*8   an unsigned immediate, in units of 8     %i*8  the same, printed in decimal
#   ~i*8      a signed one                             o:o   a barrier option
#   @i*4      a PC-relative address, in units of 4     @@il  a PC-relative page (fields i, l joined)
_OPERAND = re.compile(r"([xwso]:|#|%|~|@@|@)([a-z]+)(?:\*(\d+))?")
_TOKEN = re.compile(r"\]!|[\[\],]|#?[^\s,\[\]#]+|\S")
_NUMBER = re.compile(r"-?(?:0x[0-9a-f]{1,99}|[1-9][0-9]{0,99}|0)", re.IGNORECASE)
_SYMBOL = re.compile(r"(:lo12:)?([a-z_.$][\w.$]*|[0-9]+[bf])", re.IGNORECASE | re.ASCII)


def number(text: str) -> int | None:
    """The number that a text is, as GNU as writes decimal and hexadecimal; None if it isn't one."""
    return int(text, 0) if _NUMBER.fullmatch(text) else None


class Operand(NamedTuple):
    """One operand of a row: its kind (see the comment above) and where its bits are."""

    kind: str
    name: str
    bits: tuple[tuple[int, int], ...]  # (lowest bit, width), most significant part first
    unit: int = 1

    @property
    def width(self) -> int:
        """How many bits it has in a word."""
        return sum(width for _, width in self.bits)

    @property
    def relative(self) -> bool:
        """Whether the value is an address, and the bits are its distance."""
        return self.kind in ("@", "@@")

    @property
    def span(self) -> tuple[int, int]:
        """The lowest and the highest count of units that fit."""
        if self.relative or self.kind == "~":
            half = 1 << self.width - 1
            return -half, half - 1
        return 0, (1 << self.width) - 1

    def reach(self, at: int) -> tuple[int, int]:
        """The lowest and the highest address that a PC-relative operand at `at` can be."""
        low, high = (self._origin(at) + count * self.unit for count in self.span)
        return low, high + self.unit - 1 if self.kind == "@@" else high

    def insert(self, value: int, at: int) -> int:
        """The operand's bits in a word at address `at`.

        Raises OutOfRange, Misaligned or BadRegister where the value does not fit.
        """
        low, high = self.span
        if self.is_register and not low <= value <= high:
            raise BadRegister(f"there is no register {value}")
        if self.relative:
            count, rest = divmod(_signed(value - self._origin(at), 64), self.unit)
        else:
            count, rest = divmod(value, self.unit)
        if rest:
            raise Misaligned(f"{value:#x} is not a multiple of {self.unit}")
        if not low <= count <= high:
            limits = f"{low * self.unit:#x}..{high * self.unit:#x}"
            if self.relative:
                where = f"out of reach from {at:#x}: the offset must be"
                raise OutOfRange(f"{value:#x} is {where} {limits}")
            raise OutOfRange(f"{value:#x} is out of range: {limits}")
        word = 0
        for low, width in reversed(self.bits):
            word |= (count & ((1 << width) - 1)) << low
            count >>= width
        return word

    def extract(self, word: int, at: int) -> int:
        """The operand's value in `word` at address `at`."""
        count = 0
        for low, width in self.bits:
            count = count << width | (word >> low & ((1 << width) - 1))
        if self.relative:
            return self._origin(at) + _signed(count, self.width) * self.unit & _ADDRESS
        return (_signed(count, self.width) if self.kind == "~" else count) * self.unit

    def _origin(self, at: int) -> int:
        """The address that the distance of a PC-relative operand counts from."""
        return at & -PAGE if self.kind == "@@" else at

    def parse(self, text: str) -> Value:
        """The value that an operand's text stands for.

        Raises ValueError where it cannot be one, A64Error where it never fits.
        """
        value = _NAMES.get(self.kind, {}).get(text.lower())
        if value is not None:
            return value
        text = text.removeprefix("#")
        value = None if self.is_register else number(text)
        if value is not None:
            if not self.relative:  # whether an address is in reach, encoding knows
                self.insert(value, 0)
            return value
        symbol = _SYMBOL.fullmatch(text)
        if symbol and (self.relative or self.kind == "#") and bool(symbol[1]) != self.relative:
            return Symbol(symbol[2], lo12=bool(symbol[1]))
        raise ValueError(f"expected {self.what}")

    @property
    def is_register(self) -> bool:
        """Whether it is a general-purpose register, its zero register or SP."""
        return self.kind in ("x:", "w:", "s:")

    @property
    def what(self) -> str:
        """What the operand is, for an error's text."""
        return {
            "x:": "a 64-bit register", "w:": "a 32-bit register", "s:": "a 64-bit register or sp",
            "o:": "a barrier option", "@": "a label or an address", "@@": "a label or an address",
        }.get(self.kind, "an immediate")  # fmt: skip

    def format(self, value: Value, symbolise: Callable[[int], str]) -> str:
        """The operand as assembly; `symbolise` names addresses."""
        if isinstance(value, Symbol):
            return str(value)
        if self.relative:
            return symbolise(value)
        if printed := _PRINTED.get(self.kind, {}).get(value):
            return printed
        return f"#{value}" if self.kind in ("%", "~") else f"#{value:#x}"


class Row:
    """One instruction of the table.

    name    its mnemonic, with the words that are part of it ("dc cvau", "bti c")
    cmodx   "every" if it is on the list of instructions that may be modified while they may
            execute (Arm ARM B2.2.5) in every edition, "newer" if in newer ones, "" if in none
    alias   the row is only another way to write what another row decodes to

    Where its bits are is found out when it is first used: most programs use few rows.
    """

    def __init__(
        self, name: str, bits: str, assembly: str = "", cmodx: str = "", *, alias: bool = False
    ) -> None:
        """A row from its text; in `bits`, high to low, `i26` is a field of 26 bits."""
        self.name, self.cmodx, self.alias = name, cmodx, alias
        self._bits, self._assembly = bits, assembly

    def __repr__(self) -> str:
        return f"Row({self.name!r}, {self._bits!r}, {self._assembly!r})"

    def _parts(self) -> Iterator[tuple[str, int, int]]:
        """The parts of its bits: text, lowest bit, width."""
        low = 32
        for part in self._bits.split():
            width = len(part) if part[0] in "01" else int(part[1:])
            low -= width
            yield part, low, width
        assert low == 0, self

    @cached_property
    def mask(self) -> int:
        """The bits that identify it."""
        return sum((1 << width) - 1 << low for part, low, width in self._parts() if part[0] in "01")

    @cached_property
    def value(self) -> int:
        """What the bits of `mask` are."""
        return sum(int(part, 2) << low for part, low, _ in self._parts() if part[0] in "01")

    @cached_property
    def tokens(self) -> tuple[Operand | str, ...]:
        """Its assembly behind the name: Operands, and the words and punctuation between them."""
        fields = {part[0]: (low, width) for part, low, width in self._parts()}

        def token(text: str) -> Operand | str:
            match = _OPERAND.fullmatch(text)
            if match is None:
                return text
            kind, letters, unit = match.groups()
            bits = tuple(fields[letter] for letter in letters)
            return Operand(kind, letters, bits, PAGE if kind == "@@" else int(unit or 1))

        return tuple(token(text) for text in _TOKEN.findall(self._assembly))

    @cached_property
    def operands(self) -> tuple[Operand, ...]:
        """The operands among its tokens."""
        return tuple(token for token in self.tokens if isinstance(token, Operand))


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
    Row("b", "000101 i26", "@i*4", "every"),
    Row("bl", "100101 i26", "@i*4", "every"),
    *(
        Row(f"b.{condition}", f"01010100 i19 0 {number:04b}", "@i*4", "newer")
        for number, condition in enumerate(_CONDITIONS)
    ),
    Row("b.hs", "01010100 i19 0 0010", "@i*4", "newer", alias=True),
    Row("b.lo", "01010100 i19 0 0011", "@i*4", "newer", alias=True),
    Row("cbz", "00110100 i19 t5", "w:t, @i*4", "newer"),
    Row("cbz", "10110100 i19 t5", "x:t, @i*4", "newer"),
    Row("cbnz", "00110101 i19 t5", "w:t, @i*4", "newer"),
    Row("cbnz", "10110101 i19 t5", "x:t, @i*4", "newer"),
    Row("tbz", "00110110 b5 i14 t5", "w:t, %b, @i*4", "newer"),
    Row("tbz", "h1 0110110 b5 i14 t5", "x:t, %hb, @i*4", "newer"),
    Row("tbnz", "00110111 b5 i14 t5", "w:t, %b, @i*4", "newer"),
    Row("tbnz", "h1 0110111 b5 i14 t5", "x:t, %hb, @i*4", "newer"),
    Row("br", "1101011000011111000000 n5 00000", "x:n"),
    Row("blr", "1101011000111111000000 n5 00000", "x:n"),
    Row("ret", "1101011001011111000000 11110 00000"),
    Row("ret", "1101011001011111000000 n5 00000", "x:n"),
    # Exceptions
    Row("svc", "11010100000 i16 00001", "#i", "every"),
    Row("hvc", "11010100000 i16 00010", "#i", "every"),
    Row("smc", "11010100000 i16 00011", "#i", "every"),
    Row("brk", "11010100001 i16 00000", "#i", "every"),
    Row("udf", "0000000000000000 i16", "#i", "newer"),
    # Hints: of these only NOP is on the CMODX list
    Row("nop", "11010101000000110010 0000000 11111", "", "every"),
    *(Row(name, f"11010101000000110010 {number:07b} 11111") for number, name in _HINTS.items()),
    Row("hint", "11010101000000110010 i7 11111", "#i"),
    # Barriers, cache maintenance, system registers
    Row("dmb", "11010101000000110011 o4 10111111", "o:o"),
    Row("ssbb", "11010101000000110011 0000 10011111"),
    Row("pssbb", "11010101000000110011 0100 10011111"),
    Row("dsb", "11010101000000110011 o4 10011111", "o:o"),
    Row("isb", "11010101000000110011 1111 11011111", "", "every"),
    Row("isb", "11010101000000110011 i4 11011111", "#i", "every"),
    Row("dc cvau", "110101010000101101111011001 t5", ", x:t"),
    Row("ic ivau", "110101010000101101110101001 t5", ", x:t"),
    Row("mrs", "110101010011101100000000001 t5", "x:t, ctr_el0"),
    # Addresses and constants
    Row("adr", "0 l2 10000 i19 d5", "x:d, @il"),
    Row("adrp", "1 l2 10000 i19 d5", "x:d, @@il"),
    Row("add", "1001000100 i12 n5 d5", "s:d, s:n, #i"),
    Row("add", "100100010 s1 i12 n5 d5", "s:d, s:n, #i, lsl %s*12"),
    Row("add", "10001011000 m5 000000 n5 d5", "x:d, x:n, x:m"),
    Row("add", "10001011000 m5 s6 n5 d5", "x:d, x:n, x:m, lsl %s"),
    Row("sub", "1101000100 i12 n5 d5", "s:d, s:n, #i"),
    Row("sub", "110100010 s1 i12 n5 d5", "s:d, s:n, #i, lsl %s*12"),
    Row("orr", "10101010000 m5 000000 n5 d5", "x:d, x:n, x:m"),
    Row("orr", "10101010000 m5 s6 n5 d5", "x:d, x:n, x:m, lsl %s"),
    Row("mov", "10101010000 m5 000000 11111 d5", "x:d, x:m", alias=True),
    Row("mov", "11010010100 i16 d5", "x:d, #i", alias=True),
    Row("mov", "01010010100 i16 d5", "w:d, #i", alias=True),
    *(
        Row(name, f"{wide}{op}100101 {shift} i16 d5", f"{register}:d, #i{shifted}")
        for name, op in (("movn", "00"), ("movz", "10"), ("movk", "11"))
        for register, wide, shifts in (("w", "0", "0 s1"), ("x", "1", "s2"))
        for shift, shifted in (("00", ""), (shifts, ", lsl %s*16"))
    ),
    # Loads and stores
    Row("ldr", "00011000 i19 t5", "w:t, @i*4"),
    Row("ldr", "01011000 i19 t5", "x:t, @i*4"),
    Row("ldr", "1011100101 000000000000 n5 t5", "w:t, [s:n]"),
    Row("ldr", "1011100101 i12 n5 t5", "w:t, [s:n, #i*4]"),
    Row("ldr", "1111100101 000000000000 n5 t5", "x:t, [s:n]"),
    Row("ldr", "1111100101 i12 n5 t5", "x:t, [s:n, #i*8]"),
    Row("str", "1011100100 000000000000 n5 t5", "w:t, [s:n]"),
    Row("str", "1011100100 i12 n5 t5", "w:t, [s:n, #i*4]"),
    Row("str", "1111100100 000000000000 n5 t5", "x:t, [s:n]"),
    Row("str", "1111100100 i12 n5 t5", "x:t, [s:n, #i*8]"),
    *(
        Row(name, f"{wide}010100{mode}{load} {offset} u5 n5 t5", form.replace("r:", register))
        for name, load in (("stp", "0"), ("ldp", "1"))
        for register, wide, size in (("w:", "0", 4), ("x:", "1", 8))
        for mode, offset, form in (
            ("10", "0000000", "r:t, r:u, [s:n]"),
            ("10", "i7", f"r:t, r:u, [s:n, ~i*{size}]"),
            ("01", "i7", f"r:t, r:u, [s:n], ~i*{size}"),
            ("11", "i7", f"r:t, r:u, [s:n, ~i*{size}]!"),
        )
    ),
)


class Instruction:
    """An instruction: a row of the table and its operands' values by field name.

    A word that is not in the table is one too: `row` is None and `word` is set.
    """

    __slots__ = ("fields", "row", "word")

    def __init__(self, row: Row | None, fields: Mapping[str, Value], word: int = 0) -> None:
        """See the class."""
        self.row, self.fields, self.word = row, fields, word

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Instruction)
            and (self.row, self.fields) == (other.row, other.fields)
            and (self.row is not None or self.word == other.word)
        )

    def __repr__(self) -> str:
        return f"<{self}>"

    @property
    def name(self) -> str:
        """The mnemonic ("b", "bti c", "dc cvau"); "unknown" for a word not in the table."""
        return self.row.name if self.row else "unknown"

    @property
    def cmodx(self) -> str:
        """Whether it may be modified while it may execute: see Row."""
        return self.row.cmodx if self.row else ""

    def __getitem__(self, field: str) -> int:
        """A field's value, where it is a number. Raises KeyError where there is no such field."""
        if field not in self.fields:
            raise KeyError(field)
        return self.get(field)

    def __contains__(self, field: str) -> bool:
        return field in self.fields

    def get(self, field: str) -> int:
        """A field's value; 0 where the instruction has no such field."""
        value = self.fields.get(field, 0)
        assert isinstance(value, int), f"{self} has a symbol in {field}"
        return value

    @property
    def size(self) -> int:
        """The bytes of its first register: 4 for W, 8 for X, 0 where it has none."""
        first = self.row.operands[0].kind if self.row and self.row.operands else ""
        return {"w:": 4, "x:": 8, "s:": 8}.get(first, 0)

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
        """The instruction as GNU as takes it, where `symbolise` names addresses."""
        if self.row is None:
            return f".inst {self.word:#010x}"
        texts = [
            token if isinstance(token, str) else token.format(self.fields[token.name], symbolise)
            for token in self.row.tokens
        ]
        text = " ".join([self.row.name, *texts])
        return text.replace(" ,", ",").replace("[ ", "[").replace(" ]", "]")

    def __str__(self) -> str:
        return self.format()


def decode(word: int, at: int = 0, more: Sequence[Row] = ()) -> Instruction:
    """The instruction that a word at address `at` is, by the table and `more` rows.

    Never raises: see Instruction.
    """
    for row in (*_by_top_byte(word >> 24 & 0xFF), *more):
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


def parse(line: str, more: Sequence[Row] = ()) -> Instruction:
    """The instruction that a line of assembly is, by the table and `more` rows.

    Upper or lower case; its names stay Symbols.

    Raises BadSyntax with the column where the line stops making sense.
    """
    texts = [(match[0], match.start()) for match in _TOKEN.finditer(line)]
    if not texts:
        raise BadSyntax("expected an instruction", len(line))
    mnemonic, column = texts[0]
    rows = list(_by_mnemonic().get(mnemonic.lower(), ()))
    rows += [row for row in more if row.name == mnemonic.lower()]
    if not rows:
        raise BadSyntax(f"{mnemonic} is not an instruction of the table", column)
    errors = []
    for row in rows:
        try:
            return _parse_as(row, texts, len(line))
        except BadSyntax as error:
            errors.append(error)
    furthest = max(error.column for error in errors)
    messages = [str(error) for error in errors if error.column == furthest]
    wrong = [message for message in messages if not message.startswith("expected ")]
    text = " or ".join(dict.fromkeys(wrong[:1] or messages)).replace(" or expected ", " or ")
    raise BadSyntax(text, furthest)


@cache
def _by_mnemonic() -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {}
    for row in TABLE:
        rows.setdefault(row.name.partition(" ")[0], []).append(row)
    return rows


def _parse_as(row: Row, texts: list[tuple[str, int]], end: int) -> Instruction:
    """The line's tokens read as `row`; BadSyntax at the first that doesn't fit."""
    expected = [*row.name.split(), *row.tokens]
    fields: dict[str, Value] = {}
    for token, (text, column) in zip(expected, texts):
        if isinstance(token, str):
            if text.lower() != token:
                raise BadSyntax(f"expected {token}", column)
            continue
        try:
            fields[token.name] = token.parse(text)
        except (ValueError, A64Error) as error:
            raise BadSyntax(str(error), column) from None
    if len(texts) < len(expected):
        missing = expected[len(texts)]
        raise BadSyntax(f"expected {missing if isinstance(missing, str) else missing.what}", end)
    if len(texts) > len(expected):
        raise BadSyntax("expected the end of the line", texts[len(expected)][1])
    return Instruction(row, fields)


def words(data: bytes) -> list[int]:
    """The words in a run of instructions; A64 instructions are little-endian always."""
    return [int.from_bytes(data[i : i + WORD], "little") for i in range(0, len(data), WORD)]


def _signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value
