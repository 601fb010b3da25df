"""Dynamic relocations: the RELA and RELR tables of an ELF image.

What a loader does to memory before the program runs. Numbers are those of the ELF gABI and of
"ELF for the Arm 64-bit Architecture" (aaelf64, section 5.7). Addresses are link addresses.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from static_call.packed import from_u64s, u64s

NONE = 0
ABS64 = 257
GLOB_DAT = 1025
JUMP_SLOT = 1026
RELATIVE = 1027
TPREL64 = 1030
IRELATIVE = 1032
RELR = -1
"""Stands for an R_AARCH64_RELATIVE that a RELR table makes."""

DT_RELACOUNT = 0x6FFFFFF9
"""The tag of how many R_AARCH64_RELATIVE a RELA table starts with."""

RELA = struct.Struct("<QIIq")
"""An entry of a RELA table: place, type, symbol's index, addend (r_info's halves, apart)."""

WORD = 8
"""Bytes that a relocation changes, and bytes in an entry of a RELR table."""

_BITMAP = 63  # places that a bitmap of a RELR table speaks of


class Relocation(NamedTuple):
    """A dynamic relocation.

    place   the address that it changes
    type    R_AARCH64_... as a number, or RELR
    symbol  the name of its symbol, or ""
    addend  with a RELR one, 0: its addend is what the file holds at the place
    offset  of its entry in the file, in bytes; with a RELR one, None
    """

    place: int
    type: int
    symbol: str
    addend: int
    offset: int | None


class Entry(NamedTuple):
    """An entry of a RELA table as the file has it; `offset` is where."""

    place: int
    type: int
    symbol: int
    addend: int
    offset: int


class RelaTables:
    """The RELA tables of an image, by place.

    Kernels have some hundred thousand entries: they stay packed, and only places are sorted.
    """

    def __init__(self, tables: Sequence[tuple[int, bytes]]) -> None:
        """Takes each table's offset in the file and its contents."""
        self._data = b"".join(data[: len(data) // RELA.size * RELA.size] for _, data in tables)
        self._offsets = array("Q")
        for offset, data in tables:
            self._offsets.extend(range(offset, offset + len(data) - RELA.size + 1, RELA.size))
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
            yield Entry(place, kind, symbol, addend, self._offsets[index])
            at += 1


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
