"""Relocatable objects (ET_REL: .o, .ko) as a linker or a module loader makes memory of them.

The sections get addresses one behind the other and the relocations are applied, so that the rest
of the package sees an image like any other. Each symbol that another file defines gets an address
of its own below the sections, where nothing is: whatever leads there can be named. Addresses are
of use in here alone; people get a section and an offset.

Numbers are those of the ELF gABI and of aaelf64, section 5.7.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from static_call.packed import from_u64s, u16s, u32s, u64s
from static_call.relocation import RelaTables
from static_call.symbols import ENTRY_SIZE

UNDEFINED, _RESERVED, _ABSOLUTE, _COMMON, _EXTENDED = 0, 0xFF00, 0xFFF1, 0xFFF2, 0xFFFF
_SPACING = 16  # bytes between the addresses of other files' symbols
_FIRST = 1 << 16  # alignment of the first section
_NOWHERE = 1 << 63  # what is not part of memory: debug information
_TOP = 1 << 64
_PAGE = 0xFFF


class _Field(NamedTuple):
    """How an instruction holds an address: its low bits, its page or its distance.

    of     "lo12", "page" or "distance"
    shift  low bits that are left out, since they are 0
    parts  (lowest bit, width) in the word, least significant part first
    """

    of: str
    shift: int
    parts: tuple[tuple[int, int], ...]


_LO12 = ((10, 12),)
_ADR = ((29, 2), (5, 19))
_FIELDS = {
    273: _Field("distance", 2, ((5, 19),)),  # LD_PREL_LO19
    274: _Field("distance", 0, _ADR),  # ADR_PREL_LO21
    275: _Field("page", 12, _ADR),  # ADR_PREL_PG_HI21
    276: _Field("page", 12, _ADR),  # ADR_PREL_PG_HI21_NC
    277: _Field("lo12", 0, _LO12),  # ADD_ABS_LO12_NC
    278: _Field("lo12", 0, _LO12),  # LDST8_ABS_LO12_NC
    279: _Field("distance", 2, ((5, 14),)),  # TSTBR14
    280: _Field("distance", 2, ((5, 19),)),  # CONDBR19
    282: _Field("distance", 2, ((0, 26),)),  # JUMP26
    283: _Field("distance", 2, ((0, 26),)),  # CALL26
    284: _Field("lo12", 1, _LO12),  # LDST16_ABS_LO12_NC
    285: _Field("lo12", 2, _LO12),  # LDST32_ABS_LO12_NC
    286: _Field("lo12", 3, _LO12),  # LDST64_ABS_LO12_NC
    299: _Field("lo12", 4, _LO12),  # LDST128_ABS_LO12_NC
}
_DATA = {257: (8, False), 258: (4, False), 260: (8, True), 261: (4, True)}
"""ABS64, ABS32, PREL64, PREL32: bytes, and whether it is the distance from the place."""


class OutOfReach(Exception):
    """A branch does not reach, with the sections where they are here."""


def addresses(sizes: Sequence[tuple[int, int, int]], symbols: int) -> list[int]:
    """Where the sections go, of (rank, size, alignment) each: ascending by rank.

    symbols  how many entries the symbol table has
    """
    at = -(-_SPACING * (symbols + 1) // _FIRST) * _FIRST
    result = [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda index: sizes[index][0]):
        _, size, alignment = sizes[index]
        at = -(-at // max(alignment, 1)) * max(alignment, 1)
        result[index] = at
        at += size
    return result


class Symbols:
    """The symbol table with the values that symbols get, from its entries in the file.

    bases     the sections' addresses, by number; None for what is no part of memory
    extended  the contents of SHT_SYMTAB_SHNDX: sections' numbers that 16 bits cannot hold
    """

    def __init__(self, entries: bytes, bases: Sequence[int | None], extended: bytes) -> None:
        """See the class."""
        words = u64s(entries[: len(entries) // ENTRY_SIZE * ENTRY_SIZE])
        sections: Sequence[int] = u16s(entries)[3 : 4 * len(words) : 12]
        if extended:
            long = u32s(extended)
            sections = [
                long[index] if number == _EXTENDED and index < len(long) else number
                for index, number in enumerate(sections)
            ]
        by_number = dict(enumerate(_NOWHERE if base is None else base for base in bases))
        by_number[_ABSOLUTE] = 0
        foreign = (UNDEFINED, _COMMON)
        self.values = array(
            "Q",
            (
                _SPACING * index
                if number in foreign
                else (by_number.get(number, _NOWHERE) + value) % _TOP
                for index, (number, value) in enumerate(zip(sections, words[1::3]))
            ),
        )
        words[1::3] = self.values
        self.entries = from_u64s(words)

    def foreign(self, address: int) -> int | None:
        """The number of another file's symbol whose address this is."""
        index, rest = divmod(address, _SPACING)
        known = 0 < index < len(self.values) and not rest and self.values[index] == address
        return index if known else None


class Relocations:
    """The relocations of one section.

    address  the section's
    tables   each RELA table's offset in the file and its contents
    """

    def __init__(
        self, address: int, tables: Sequence[tuple[int, bytes]], values: Sequence[int]
    ) -> None:
        """See the class."""
        self._address = address
        self._tables = RelaTables(tables)
        self._values = values

    def patches(
        self, start: int, end: int, read: Callable[[int], int]
    ) -> Iterator[tuple[int, bytes]]:
        """What they put into [start, end), as (address, bytes); the first may begin before.

        read  gives the word at an address, as the file has it
        Raises OutOfReach. Relocations of other types leave what the file has.
        """
        for entry in self._tables.between(start - self._address - 7, end - self._address):
            at = self._address + entry.place
            known = entry.symbol < len(self._values)
            value = (self._values[entry.symbol] if known else 0) + entry.addend
            if entry.type in _DATA:
                size, relative = _DATA[entry.type]
                stored = value - at if relative else value
                yield at, (stored % (1 << 8 * size)).to_bytes(size, "little")
            elif entry.type in _FIELDS and start <= at <= end - 4:
                yield at, _insert(_FIELDS[entry.type], read(at), at, value).to_bytes(4, "little")


def _insert(field: _Field, word: int, at: int, value: int) -> int:
    """The instruction with the address in it."""
    width = sum(width for _, width in field.parts)
    if field.of == "lo12":
        number = (value & _PAGE) >> field.shift
    else:
        origin = at & ~_PAGE if field.of == "page" else at
        number = ((value & ~_PAGE if field.of == "page" else value) - origin) >> field.shift
        if not -(1 << width - 1) <= number < 1 << width - 1:
            raise OutOfReach
    for low, bits in field.parts:
        mask = (1 << bits) - 1
        word = word & ~(mask << low) | (number & mask) << low
        number >>= bits
    return word
