"""Instructions as rows of a table, from which words are encoded, decoded, parsed and printed.

What every instruction set with words of 32 bits shares; the rows themselves are in a file for each
set: see a64.py. A row gives an instruction's 32 bits, high to low, as its manual draws them, and
its assembly as GNU as takes it. Everything else is derived from the rows.

Addresses and immediates are ints; a word is an int of 32 bits. PC-relative operands are absolute
addresses (of a page, for `@@`): encoding and decoding take the address `at` of the instruction.
(Disassemblers write them so; GNU as takes a bare number there for a distance.)

The patterns of assembly are compiled on first use, since they would slow the start of a run that
only decodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from static_call.errors import StaticCallError
from static_call.records import NamedTuple

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from typing import ClassVar

WORD = 4
"""Bytes in an instruction."""

PAGE = 0x1000
"""Bytes in what `@@` operands (A64's ADRP) call a page, whatever the system's page size."""

EDITIONS = ("every", "newer", "present")
"""The editions of a manual by what they let be modified while it may execute, the oldest first.

Each lists what those before it list. An instruction set's Cmodx says in words which they are."""


class CannotEncode(StaticCallError):
    """An instruction cannot be encoded."""


class OutOfRange(CannotEncode):
    """An immediate or a PC-relative address is beyond what the instruction can hold."""


class Misaligned(CannotEncode):
    """An immediate or an address is not a multiple of what the instruction counts in."""


class BadRegister(CannotEncode):
    """There is no register of this number."""


class BadSyntax(CannotEncode):
    """A line of assembly is not one of the table's instructions.

    Attributes:
        column: the column in the line, from 0.
    """

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.column = column


class Symbol(NamedTuple):
    """A name in an operand. Its value is not known yet.

    Attributes:
        name: the name.
        lo12: whether the operand takes only the value's low 12 bits.
    """

    name: str
    lo12: bool = False

    def __str__(self) -> str:
        return f":lo12:{self.name}" if self.lo12 else self.name


Value = int | Symbol
"""What an operand can be: a number, an address, a register's number, or a name."""


class Kind(NamedTuple):
    """A kind of operand.

    Attributes:
        what: what it is, for an error's text.
        names: the names of its values; if a value has several, the first is printed.
        size: bytes in the register; 0 if it is not a register.
        bits: bits in an address, if it is PC-relative.
    """

    what: str
    names: Mapping[str, int] = {}
    size: int = 0
    bits: int = 64


KINDS: Mapping[str, Kind] = {
    "#": Kind("an immediate"),
    "%": Kind("an immediate"),
    "~": Kind("an immediate"),
    "@@": Kind("a label or an address"),
    "@": Kind("a label or an address"),
}
"""The kinds of operand that every instruction set has, by how the rows write them.

`#i` is an unsigned immediate, and `#i*8` is one in units of 8; `%i*8` is the same, printed in
decimal; `~i*8` is a signed one; `@i*4` is a PC-relative address, in units of 4; `@@il` is a
PC-relative page, in the fields i and l joined.
"""

# Patterns, for re to compile when it first needs them.
_TOKEN = r"\]!|[\[\],]|#?[^\s,\[\]#]+|\S"
_NUMBER = r"(?i)-?(?:0x[0-9a-f]{1,99}|[1-9][0-9]{0,99}|0)"
_SYMBOL = r"(?ia)(:lo12:)?([a-z_.$][\w.$]*|[0-9]+[bf])"


def number(text: str) -> int | None:
    """The number that a text is, as GNU as writes decimal and hexadecimal; None if it isn't one."""
    return int(text, 0) if re.fullmatch(_NUMBER, text) else None


class Operand(NamedTuple):
    """One operand of a row.

    Attributes:
        kind: its kind, one of KINDS or of the instruction set's own kinds.
        name: the letters of its fields.
        bits: where its bits are in the word: the lowest bit and the width of each part, most
            significant part first.
        unit: the unit that it counts in.
        about: the kind's names and sizes.
    """

    kind: str
    name: str
    bits: tuple[tuple[int, int], ...]
    unit: int
    about: Kind

    @property
    def width(self) -> int:
        """How many bits it has in a word."""
        return sum(width for _, width in self.bits)

    @property
    def mask(self) -> int:
        """The bits of a word that it fills."""
        return sum(((1 << width) - 1) << low for low, width in self.bits)

    @property
    def relative(self) -> bool:
        """Whether the value is an address, and the bits are its distance."""
        return self.kind in ("@", "@@")

    @property
    def is_register(self) -> bool:
        """Whether it is a register."""
        return self.about.size > 0

    @property
    def what(self) -> str:
        """What the operand is, for an error's text."""
        return self.about.what

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

    def known(self, symbol: Symbol) -> int:
        """A mask of the bits of a symbol's value that the operand encodes."""
        if symbol.lo12:
            return PAGE - 1
        full = (1 << self.about.bits) - 1
        return full & -PAGE if self.kind == "@@" else full

    def insert(self, value: int, at: int) -> int:
        """The operand's bits in a word at address `at`.

        Raises:
            OutOfRange: the value is beyond what fits.
            Misaligned: it is not a multiple of the unit.
            BadRegister: there is no such register.
        """
        low, high = self.span
        if self.is_register and not low <= value <= high:
            raise BadRegister(f"there is no register {value}")
        if self.relative:
            count, rest = divmod(_signed(value - self._origin(at), self.about.bits), self.unit)
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
            address = self._origin(at) + _signed(count, self.width) * self.unit
            return address & (1 << self.about.bits) - 1
        return (_signed(count, self.width) if self.kind == "~" else count) * self.unit

    def _origin(self, at: int) -> int:
        """The address that the distance of a PC-relative operand counts from."""
        return at & -PAGE if self.kind == "@@" else at

    def parse(self, text: str) -> Value:
        """The value that an operand's text means.

        Raises:
            ValueError: the text cannot be such an operand.
            CannotEncode: the value can never fit.
        """
        value = self.about.names.get(text.lower())
        if value is not None:
            return value
        text = text.removeprefix("#")
        value = None if self.is_register else number(text)
        if value is not None:
            if not self.relative:  # whether an address is in reach is known when it is encoded
                self.insert(value, 0)
            return value
        symbol = re.fullmatch(_SYMBOL, text)
        if symbol and (self.relative or self.kind == "#") and bool(symbol[1]) != self.relative:
            return Symbol(symbol[2], lo12=bool(symbol[1]))
        raise ValueError(f"expected {self.what}")

    def format(self, value: Value, symbolise: Callable[[int], str]) -> str:
        """The operand as assembly; `symbolise` names addresses."""
        if isinstance(value, Symbol):
            return str(value)
        if self.relative:
            return symbolise(value)
        for name, named in self.about.names.items():
            if named == value:
                return name
        return f"#{value}" if self.kind in ("%", "~") else f"#{value:#x}"


class Row:
    """One instruction of a table. A set with its own kinds of operand has a subclass.

    The positions of its bits are worked out when it is first used: most runs use few rows.

    Attributes:
        name: its mnemonic, with the words that are part of it ("dc cvau", "bti c").
        cmodx: the oldest of EDITIONS that has it on the list of instructions that may be modified
            while they may execute; "" if none has.
        alias: whether the row is only another way to write what another row decodes to.
        kinds: the kinds of operand, by how the rows write them.
    """

    name: str
    cmodx: str
    alias: bool

    kinds: ClassVar[Mapping[str, Kind]] = KINDS

    def __init__(
        self, name: str, bits: str, assembly: str = "", cmodx: str = "", *, alias: bool = False
    ) -> None:
        """A row from its text; in `bits`, high to low, `i26` is a field of 26 bits."""
        self.name, self.cmodx, self.alias = name, cmodx, alias
        self._bits, self._assembly = bits, assembly

    def __repr__(self) -> str:
        return f"Row({self.name!r}, {self._bits!r}, {self._assembly!r})"

    def listed(self, edition: str) -> bool:
        """Whether an edition has it on the list: see Instruction.modifiable."""
        known = EDITIONS.index(edition)
        return self.cmodx != "" and EDITIONS.index(self.cmodx) <= known

    @cached_property
    def _pattern(self) -> str:
        """Its 32 bits, high to low: 0, 1, or - in a field."""
        parts = self._bits.split()
        pattern = "".join(part if part[0] in "01" else "-" * int(part[1:]) for part in parts)
        assert len(pattern) == 8 * WORD, self
        return pattern

    def may_begin(self, bits: str) -> bool:
        """Whether a word that begins with these bits (0 and 1, high to low) may be of this row."""
        first = self._bits.partition(" ")[0][: len(bits)]
        return first[0] not in "01" or bits.startswith(first)

    @cached_property
    def mask(self) -> int:
        """The bits that identify it."""
        return int(self._pattern.replace("0", "1").replace("-", "0"), 2)

    @cached_property
    def value(self) -> int:
        """The values of the bits of `mask`."""
        return int(self._pattern.replace("-", "0"), 2)

    @cached_property
    def tokens(self) -> tuple[Operand | str, ...]:
        """Its assembly after the name: Operands, and the words and punctuation between them."""
        fields: dict[str, tuple[int, int]] = {}
        low = 8 * WORD
        for part in self._bits.split():
            width = len(part) if part[0] in "01" else int(part[1:])
            low -= width
            fields[part[0]] = low, width
        spaced = self._assembly.replace("]!", "\0").replace("]", " ] ").replace("\0", " ]! ")
        texts = spaced.replace("[", " [ ").replace(",", " , ").split()
        return tuple(self._operand(text, fields) or text for text in texts)

    def _operand(self, text: str, fields: Mapping[str, tuple[int, int]]) -> Operand | None:
        """The operand that a piece of the assembly describes: its kind, its fields and its unit."""
        for kind, about in self.kinds.items():
            letters, _, unit = text.removeprefix(kind).partition("*")
            if text.startswith(kind) and letters.isalpha():
                bits = tuple(fields[letter] for letter in letters)
                count = PAGE if kind == "@@" else int(unit or 1)
                return Operand(kind, letters, bits, count, about)
        return None

    @cached_property
    def operands(self) -> tuple[Operand, ...]:
        """The operands among its tokens."""
        return tuple(token for token in self.tokens if isinstance(token, Operand))


class Instruction:
    """An instruction: a row of a table and its operands' values.

    A word that is not in the table is an Instruction too: its row is None.

    Attributes:
        row: the row, or None.
        fields: the operands' values, by their names.
        word: the word, if the row is None.
    """

    __slots__ = ("fields", "row", "word")

    fields: Mapping[str, Value]
    row: Row | None
    word: int

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

    def modifiable(self, edition: str = EDITIONS[-1]) -> bool:
        """Whether the manual lets it be modified while it may execute.

        Args:
            edition: one of EDITIONS; raises ValueError for another.
        """
        return self.row is not None and self.row.listed(edition)

    def __getitem__(self, field: str) -> int:
        """A field's value, which must be a number. Raises KeyError if there is no such field."""
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
        """The size in bytes of its first operand, if that is a register; else 0."""
        return self.row.operands[0].about.size if self.row and self.row.operands else 0

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
        """The word, for address `at`. Raises CannotEncode where an operand does not fit."""
        if self.row is None:
            return self.word
        word = self.row.value
        for operand in self.row.operands:
            try:
                word |= operand.insert(self[operand.name], at)
            except CannotEncode as error:
                raise type(error)(f"{self}: {error}") from None
        return word

    def format(self, symbolise: Callable[[int], str] = hex) -> str:
        """The instruction as GNU as takes it; `symbolise` gives names to addresses."""
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


class Table:
    """The rows of an instruction set, or some of them, for decoding and parsing.

    Attributes:
        rows: the rows. The first that matches decodes a word, so special cases come before the
            general case.
    """

    def __init__(self, *rows: Row) -> None:
        self.rows = rows
        self._by_top_byte: dict[int, tuple[Row, ...]] = {}  # at most 256

    def decode(self, word: int, at: int = 0) -> Instruction:
        """The instruction that a word at address `at` is. Never raises: see Instruction."""
        top = word >> 24 & 0xFF
        if top not in self._by_top_byte:
            bits = f"{top:08b}"
            self._by_top_byte[top] = tuple(
                row for row in self.rows if not row.alias and row.may_begin(bits)
            )
        for row in self._by_top_byte[top]:
            if word & row.mask == row.value:
                fields = {operand.name: operand.extract(word, at) for operand in row.operands}
                return Instruction(row, fields, word)
        return Instruction(None, {}, word & 0xFFFFFFFF)

    def listed(self, edition: str = EDITIONS[-1]) -> Sequence[str]:
        """The mnemonics that may be modified while they may execute: see Instruction.modifiable."""
        return sorted({row.name for row in self.rows if row.listed(edition)})

    @cached_property
    def _by_mnemonic(self) -> Mapping[str, Sequence[Row]]:
        rows: dict[str, list[Row]] = {}
        for row in self.rows:
            rows.setdefault(row.name.partition(" ")[0], []).append(row)
        return rows

    def parse(self, line: str, more: Sequence[Row] = ()) -> Instruction:
        """The instruction that a line of assembly is, by the table and `more` rows.

        Upper or lower case is accepted; names in it stay Symbols.

        Raises:
            BadSyntax: with the column where the line stops making sense.
        """
        texts = [(match[0], match.start()) for match in re.finditer(_TOKEN, line)]
        if not texts:
            raise BadSyntax("expected an instruction", len(line))
        mnemonic, column = texts[0]
        rows = list(self._by_mnemonic.get(mnemonic.lower(), ()))
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


def _parse_as(row: Row, texts: Sequence[tuple[str, int]], end: int) -> Instruction:
    """The line's tokens read as `row`; BadSyntax at the first that doesn't fit."""
    expected = [*row.name.split(), *row.tokens]
    fields: dict[str, Value] = {}
    for token, (text, column) in zip(expected, texts):
        if isinstance(token, str):
            if text.lower() != token:
                raise BadSyntax(f"expected {token}", column)
            continue
        try:
            value = token.parse(text)
        except (ValueError, CannotEncode) as error:
            raise BadSyntax(str(error), column) from None
        if fields.setdefault(token.name, value) != value:  # the second register of a pair
            raise BadSyntax("expected the register after the one before", column)
    if len(texts) < len(expected):
        missing = expected[len(texts)]
        raise BadSyntax(f"expected {missing if isinstance(missing, str) else missing.what}", end)
    if len(texts) > len(expected):
        raise BadSyntax("expected the end of the line", texts[len(expected)][1])
    return Instruction(row, fields)


def _signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value
