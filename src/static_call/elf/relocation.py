"""Dynamic relocations: the RELA and RELR tables of an ELF image.

They say what a loader does to memory before the program runs; loader.py knows what the entries
mean. Layouts are those of the ELF gABI. Addresses are link addresses.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, count
from operator import attrgetter

from static_call.elf.errors import Damaged
from static_call.elf.packed import from_u64s, u32s, u64s
from static_call.elf.reader import Reader
from static_call.records import NamedTuple

RELA = struct.Struct("<QIIq")
"""An entry of a RELA table: address, type, symbol's index, addend. r_info comes as two halves."""

WORD = 8
"""Bytes that a relocation changes, and bytes in an entry of a RELR table."""

_PACKED = 1 << 63  # an offset that is in no file: where the entries of a packed table start
_BITMAP = 63  # words of memory that a bitmap of a RELR table is about

_PAGE = 12
"""How many bits an offset in a page has: entries are found by page of memory, at first of 4 KiB.
That is memory's block, so making a block reads few entries of other blocks."""

_PAGES = 1 << 16
"""The most pages, about 10 MiB of Python objects: beyond that pages become twice as large."""

_MOST = 1 << 31
"""The most entries: a number and one more bit fit in the 32 bits of an array's item."""

_CROWD = RELA.size << 17
"""The most bytes of a page's entries. A page of 4 KiB has 512 aligned words, and the largest, of
1 MiB, 1 << 17: a file with more is damaged, and would take all memory."""

_PIECE = RELA.size << 12
"""Bytes of a table that are searched at once, 96 KiB: they fit in a second-level cache."""


class Relocation(NamedTuple):
    """A dynamic relocation.

    Attributes:
        address: the address that it changes.
        type: a number that arm64.py names.
        symbol: the name of its symbol, or "".
        addend: its addend. For RELR it is 0: the addend is what the file holds at the address.
        offset: the offset of its entry in the file, in bytes; None if it has no entry of its own,
            in a RELR or packed table.
    """

    address: int
    type: int
    symbol: str
    addend: int
    offset: int | None


class Entry(NamedTuple):
    """An entry of a RELA table as the file has it.

    Attributes:
        address: the address that it changes; in a relocatable object, an offset in the section.
        type: a number that arm64.py names.
        symbol: the index of its symbol; 0 for none.
        addend: the addend, in bytes.
        offset: the offset of the entry in the file, in bytes; None in a packed table.
    """

    address: int
    type: int
    symbol: int
    addend: int
    offset: int | None


_address = attrgetter("address")


class RelaTables:
    """The RELA tables of an image, by address.

    A file may have millions of entries, in any order: they stay in the file. Kept are, for each
    page of memory, the numbers of its entries: the number of an entry, doubled; or, for several in
    a row, twice the number of the first plus one, and then the number of the last.
    """

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        tables: Iterable[tuple[int, int]],
        crowded: Exception,
        unpacked: bytes = b"",
    ) -> None:
        """Reads the tables once.

        Args:
            read: gives bytes of the file, by offset and size.
            tables: each table's offset in the file and its size, in bytes.
            crowded: the exception to raise if more relocations change a page than is possible.
            unpacked: the entries that a packed table holds, which a loader applies first.
        """
        self._file, self._crowded, self._unpacked = read, crowded, unpacked
        self._tables = [(_PACKED, len(unpacked)), *tables]
        self._shift = _PAGE
        self._runs: dict[int, array[int]] = {}
        self._firsts, self._offsets = array("Q"), array("Q")
        number = 0
        for offset, size in self._tables:
            self._firsts.append(number)
            self._offsets.append(offset)
            for _, data in self._pieces(offset, size // RELA.size * RELA.size):
                number = self._take(number, u64s(data)[::3])

    @classmethod
    def of(
        cls, file: Reader, tables: Iterable[tuple[int, int]], unpacked: bytes = b""
    ) -> RelaTables:
        """The tables at these offsets and with these sizes, in bytes, in a file. Raises Damaged."""
        crowded = Damaged(f"{file.path}: its relocations are more than memory has room for")
        return cls(file.whole, tables, crowded, unpacked)

    def _take(self, number: int, addresses: Sequence[int]) -> int:
        """Notes entries, the first of which has this number; returns the next entry's number."""
        if number + len(addresses) > _MOST:
            raise self._crowded
        before, alone, run = -1, True, array("I")
        for entry, address in enumerate(addresses, number):
            page = address >> self._shift
            if page != before:
                before, alone, run = page, True, self._runs.setdefault(page, array("I"))
                run.append(entry << 1)
            elif alone:
                alone = False
                run[-1] |= 1
                run.append(entry)
            else:
                run[-1] = entry
        while len(self._runs) > _PAGES:
            self._coarsen()
        return number + len(addresses)

    def _pieces(self, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        for at in range(offset, offset + size, _PIECE):
            yield at, self._read(at, min(_PIECE, offset + size - at))

    def _read(self, offset: int, size: int) -> bytes:
        if offset < _PACKED:
            return self._file(offset, size)
        return self._unpacked[offset - _PACKED : offset - _PACKED + size]

    def _coarsen(self) -> None:
        """Makes pages twice as large. The entries for one address stay in table order."""
        self._shift += 1
        runs: dict[int, array[int]] = {}
        for page, run in self._runs.items():
            runs.setdefault(page >> 1, array("I")).extend(run)
        self._runs = runs

    def between(self, start: int, end: int) -> Iterator[Entry]:
        """The entries with start <= address < end, sorted; those of one address in table order."""
        pages: Iterable[int] = range(start >> self._shift, (end - 1 >> self._shift) + 1)
        if end - start >> self._shift > len(self._runs):
            pages = sorted(self._runs)
        for page in pages:
            found = [
                entry
                for at, size in self._extents(self._runs.get(page, ()))
                for entry in self._entries(at, size)
                if start <= entry.address < end
            ]
            # A stable sort: of several entries for an address, the one applied last stays last.
            yield from sorted(found, key=_address)

    def _extents(self, run: Sequence[int]) -> list[tuple[int, int]]:
        """Where in the file a page's entries are: offsets and sizes."""
        extents = []
        numbers = iter(run)
        total = 0
        for first in numbers:
            last = next(numbers) if first & 1 else first >> 1
            table = bisect_right(self._firsts, first >> 1) - 1
            at = self._offsets[table] + ((first >> 1) - self._firsts[table]) * RELA.size
            extents.append((at, (last - (first >> 1) + 1) * RELA.size))
            total += extents[-1][1]
        if total > _CROWD:
            raise self._crowded
        return extents

    def _entries(self, offset: int, size: int) -> Iterator[Entry]:
        for at, data in self._pieces(offset, size):
            for index, (address, kind, symbol, addend) in enumerate(RELA.iter_unpack(data)):
                where = None if at >= _PACKED else at + index * RELA.size
                yield Entry(address, kind, symbol, addend, where)

    def of_type(self, kind: int) -> Iterator[Entry]:
        """The entries of a type, as the tables list them."""
        for offset, size in self._tables:
            for at, data in self._pieces(offset, size // RELA.size * RELA.size):
                for index in compress(count(), map(kind.__eq__, u32s(data)[2::6])):
                    yield from self._entries(at + index * RELA.size, RELA.size)


# A packed table's groups: what all their relocations share (bionic, linker_reloc_iterators.h).
_BY_INFO, _BY_ADDRESS, _BY_ADDEND, _HAS_ADDEND = 1, 2, 4, 8


def unpack(table: bytes, limit: int) -> bytes:
    """The RELA table that a packed one holds: "APS2", then numbers as SLEB128.

    The numbers are how many relocations there are, and the first address; then groups: for each,
    how many relocations it has, and what they share.

    Raises:
        ValueError: this is not such a table, or it has more than `limit` relocations. The text is
            what follows "the table".
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

    total, address = number(), number()
    if not 0 <= total <= limit:
        raise ValueError(f"speaks of {total} relocations, more than the file can hold")
    done = bytearray()
    info = addend = 0
    while len(done) < RELA.size * total:
        size, flags = number(), number()
        if not 0 < size <= total - len(done) // RELA.size:
            raise ValueError(f"has a group of {size} relocations")
        step = number() if flags & _BY_ADDRESS else 0
        if flags & _BY_INFO:
            info = number()
        if not flags & _HAS_ADDEND:
            addend = 0
        elif flags & _BY_ADDEND:
            addend = _signed(addend + number())
        for _ in range(size):
            address = (address + (step if flags & _BY_ADDRESS else number())) % (1 << 64)
            if not flags & _BY_INFO:
                info = number()
            if flags & _HAS_ADDEND and not flags & _BY_ADDEND:
                addend = _signed(addend + number())
            done += RELA.pack(address, info & 0xFFFFFFFF, info >> 32 & 0xFFFFFFFF, addend)
    return bytes(done)


def _signed(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def relr_addresses(table: bytes) -> Iterator[int]:
    """The addresses that a RELR table relocates.

    An even word is an address. Each odd word after it is a bitmap of the next 63 words of memory:
    bit i, from 1 to 63, says whether the i-th of them is relocated.
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


def relr_table(addresses: Sequence[int]) -> bytes:
    """The shortest RELR table for these addresses, which are sorted and even."""
    words = array("Q")
    at = 0
    while at < len(addresses):
        words.append(addresses[at])
        base = addresses[at] + WORD
        at += 1
        while at < len(addresses):
            bitmap = 0
            while at < len(addresses):
                bit, odd = divmod(addresses[at] - base, WORD)
                if odd or not 0 <= bit < _BITMAP:
                    break
                bitmap |= 2 << bit
                at += 1
            if not bitmap:
                break
            words.append(bitmap | 1)
            base += _BITMAP * WORD
    return from_u64s(words)
