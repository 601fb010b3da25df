"""Dynamic relocations: the RELA and RELR tables of an ELF image.

What a loader does to memory before the program runs. Numbers are those of the ELF gABI and of
"ELF for the Arm 64-bit Architecture" (aaelf64, section 5.7). Addresses are link addresses.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import compress, count
from typing import NamedTuple

from static_call.packed import from_u64s, u32s, u64s

NONE = 0
ABS64 = 257
GLOB_DAT = 1025
JUMP_SLOT = 1026
COPY = 1024
RELATIVE = 1027
TPREL64 = 1030
TLSDESC = 1031
IRELATIVE = 1032
RELR = -1
"""Stands for an R_AARCH64_RELATIVE that a RELR table makes."""

RELA = struct.Struct("<QIIq")
"""An entry of a RELA table: place, type, symbol's index, addend (r_info's halves, apart)."""

WORD = 8
"""Bytes that a relocation changes, and bytes in an entry of a RELR table."""

_PACKED = (1 << 64) - 1  # stands for no offset
_BITMAP = 63  # places that a bitmap of a RELR table speaks of


class Relocation(NamedTuple):
    """A dynamic relocation.

    place   the address that it changes
    type    R_AARCH64_... as a number, or RELR
    symbol  the name of its symbol, or ""
    addend  with a RELR one, 0: its addend is what the file holds at the place
    offset  of its entry in the file, in bytes; None where it has none of its own: RELR, or packed
    """

    place: int
    type: int
    symbol: str
    addend: int
    offset: int | None


class Entry(NamedTuple):
    """An entry of a RELA table as the file has it; `offset` is where, None in a packed table."""

    place: int
    type: int
    symbol: int
    addend: int
    offset: int | None


class RelaTables:
    """The RELA tables of an image, by place.

    Kernels have some hundred thousand entries: they stay packed, and only places are sorted.
    """

    def __init__(self, tables: Sequence[tuple[int | None, bytes]]) -> None:
        """Takes each table's offset in the file, None where it was packed, and its contents."""
        self._data = b"".join(data[: len(data) // RELA.size * RELA.size] for _, data in tables)
        self._offsets = array("Q")
        for offset, data in tables:
            entries = len(data) // RELA.size
            if offset is None:
                self._offsets.extend([_PACKED] * entries)
            else:
                self._offsets.extend(range(offset, offset + RELA.size * entries, RELA.size))
        places = u64s(self._data)[::3]
        # Stable: of several entries for a place, the one that the loader applies last stays last.
        self._order = array("Q", sorted(range(len(places)), key=places.__getitem__))
        self._places = array("Q", map(places.__getitem__, self._order))

    def between(self, start: int, end: int) -> Iterator[Entry]:
        """The entries with start <= place < end."""
        at = bisect_left(self._places, start)
        while at < len(self._places) and self._places[at] < end:
            index = self._order[at]
            place, kind, symbol, addend = RELA.unpack_from(self._data, index * RELA.size)
            offset = self._offsets[index]
            yield Entry(place, kind, symbol, addend, None if offset == _PACKED else offset)
            at += 1

    def of_type(self, kind: int) -> Iterator[Entry]:
        """The entries of a type, as the tables list them."""
        types = u32s(self._data)[2::6]
        for index in compress(count(), map(kind.__eq__, types)):
            place, kind, symbol, addend = RELA.unpack_from(self._data, index * RELA.size)
            yield Entry(place, kind, symbol, addend, None)


# A packed table's groups: what all their relocations share (bionic, linker_reloc_iterators.h).
_BY_INFO, _BY_PLACE, _BY_ADDEND, _HAS_ADDEND = 1, 2, 4, 8


def unpack(table: bytes, limit: int) -> bytes:
    """The RELA table that a packed one stands for: "APS2", then numbers as SLEB128.

    How many relocations and the first place; then groups: how many and what they share.
    Raises ValueError for what is no such table, or has more than `limit` relocations.
    """
    if table[:4] != b"APS2":
        raise ValueError("does not start with APS2")
    at = 4

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(table) or shift > 63:
                raise ValueError("is cut off")
            byte = table[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                value -= (byte >> 6 & 1) << shift
                return _signed(value)

    total, place = number(), number()
    if not 0 <= total <= limit:
        raise ValueError(f"speaks of {total} relocations, more than the file can hold")
    done = bytearray()
    info = addend = 0
    while len(done) < RELA.size * total:
        size, flags = number(), number()
        if not 0 < size <= total - len(done) // RELA.size:
            raise ValueError(f"has a group of {size} relocations")
        step = number() if flags & _BY_PLACE else 0
        if flags & _BY_INFO:
            info = number()
        if not flags & _HAS_ADDEND:
            addend = 0
        elif flags & _BY_ADDEND:
            addend = _signed(addend + number())
        for _ in range(size):
            place = (place + (step if flags & _BY_PLACE else number())) % (1 << 64)
            if not flags & _BY_INFO:
                info = number()
            if flags & _HAS_ADDEND and not flags & _BY_ADDEND:
                addend = _signed(addend + number())
            done += RELA.pack(place, info & 0xFFFFFFFF, info >> 32 & 0xFFFFFFFF, addend)
    return bytes(done)


def _signed(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def relr_places(table: bytes) -> Iterator[int]:
    """The places that a RELR table relocates.

    An even word is a place; each odd word behind it is a bitmap: bit i, 1 to 63, stands for the
    i-th of the 63 words of memory that follow what was spoken of before.
    """
    base = 0
    for word in u64s(table):
        if not word & 1:
            yield word
            base = word + WORD
            continue
        at, word = base, word >> 1
        while word:
            if word & 1:
                yield at
            word >>= 1
            at += WORD
        base += _BITMAP * WORD


def relr_table(places: Sequence[int]) -> bytes:
    """The shortest RELR table for these places, which are sorted and even."""
    words = array("Q")
    at = 0
    while at < len(places):
        words.append(places[at])
        base = places[at] + WORD
        at += 1
        while at < len(places):
            bitmap = 0
            while at < len(places):
                bit, odd = divmod(places[at] - base, WORD)
                if odd or not 0 <= bit < _BITMAP:
                    break
                bitmap |= 2 << bit
                at += 1
            if not bitmap:
                break
            words.append(bitmap | 1)
            base += _BITMAP * WORD
    return from_u64s(words)
