"""What a loader does to the memory of a linked ELF image: its dynamic relocations.

A shared object and a position-independent program have a dynamic section, which says where the
relocations are. A kernel relocates itself and has no dynamic section: its relocations are in
sections that are part of the image.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise

from static_call.elf import arm64, dynamic, relocation
from static_call.elf.errors import Damaged, ElfError, NotInFile
from static_call.elf.headers import PT_DYNAMIC, SHF_ALLOC, SHT_RELA, SHT_RELR, Extent, Headers
from static_call.elf.packed import u64s
from static_call.elf.reader import Reader
from static_call.elf.relocation import Entry, RelaTables, Relocation
from static_call.elf.segments import Segments
from static_call.elf.symbols import SymbolTable
from static_call.records import NamedTuple

_TOP = 1 << 64
_NOWHERE = (0, 0)

_MOST_DYNAMIC = 1 << 20
"""The most bytes of a dynamic section. Linkers make a few hundred."""


class Tables(NamedTuple):
    """Where in the file the tables with relocations are.

    Each is an offset and a size, in bytes; (0, 0) if there is no such table.

    Attributes:
        rela: DT_RELA's.
        plt: DT_JMPREL's.
        relr: DT_RELR's.
        packed: DT_ANDROID_RELA's, which lld makes for --pack-dyn-relocs=android.
        symbols: the symbols that RELA entries refer to; the file does not give the table's size.
        strings: the names of these symbols.
    """

    rela: Extent
    plt: Extent
    relr: Extent
    packed: Extent
    symbols: Extent
    strings: Extent


class Loader:
    """The dynamic relocations of a linked image."""

    def __init__(self, file: Reader, headers: Headers, segments: Segments) -> None:
        """Takes the file; nothing is read before it is asked for."""
        self._file, self._headers, self._segments = file, headers, segments

    @cached_property
    def dynamic(self) -> dict[int, tuple[int, int]]:
        """The tags of PT_DYNAMIC: the value of each, and where in the file that is.

        Raises Damaged.
        """
        segment = self._headers.others.get(PT_DYNAMIC)
        if segment is None:
            return {}
        path = self._file.path
        self._file.check(segment.offset, segment.file_size, "dynamic section")
        if segment.file_size > _MOST_DYNAMIC:
            raise Damaged(f"{path}: its dynamic section has {segment.file_size} bytes")
        # A loader goes by the address, so the offset must mean the same bytes.
        where = self._held(
            segment.address, segment.file_size, f"dynamic section is at {segment.address:#x}"
        )
        if where != segment.offset:
            raise Damaged(
                f"{path}: its dynamic section is at byte {segment.offset:#x} of the file by "
                f"one header and at {where:#x} by another"
            )
        words = u64s(self._file.part(segment.offset, segment.file_size, "dynamic section"))
        tags: dict[int, tuple[int, int]] = {}
        for index in range(0, len(words) - 1, 2):
            if not words[index]:
                break
            tags[words[index]] = (words[index + 1], segment.offset + 8 * (index + 1))
        return tags

    @cached_property
    def tables(self) -> Tables:
        """Where the tables of relocations are. Raises ElfError for unsupported relocations."""
        if why := dynamic.unread(self.dynamic):
            raise ElfError(f"{self._file.path}: {why}")
        if self.dynamic:
            android = dynamic.ANDROID_RELR in self.dynamic
            return Tables(
                self._named_table(dynamic.RELA, dynamic.RELASZ),
                self._named_table(dynamic.JMPREL, dynamic.PLTRELSZ),
                self._named_table(dynamic.ANDROID_RELR, dynamic.ANDROID_RELRSZ)
                if android
                else self._named_table(dynamic.RELR, dynamic.RELRSZ),
                self._named_table(dynamic.ANDROID_RELA, dynamic.ANDROID_RELASZ),
                self._named_table(dynamic.SYMTAB, None),
                self._named_table(dynamic.STRTAB, dynamic.STRSZ),
            )
        rela, relr = (
            [one for _, one in self._headers.of_type(kind) if one.flags & SHF_ALLOC]
            for kind in (SHT_RELA, SHT_RELR)
        )
        if len(rela) > 1 or len(relr) > 1:
            raise ElfError(
                f"{self._file.path}: several relocation tables and no dynamic section that says "
                "which are applied"
            )
        symbols = strings = _NOWHERE
        if rela and rela[0].link:
            symbols, strings = self._headers.symbol_table(rela[0].link)
        found = [(one[0].offset, one[0].size) if one else _NOWHERE for one in (rela, relr)]
        return Tables(found[0], _NOWHERE, found[1], _NOWHERE, symbols, strings)

    def _named_table(self, tag: int, size_tag: int | None) -> Extent:
        """Where a table is that the dynamic section names."""
        address, _ = self.dynamic.get(tag, _NOWHERE)
        size, _ = self.dynamic.get(size_tag, _NOWHERE) if size_tag is not None else (0, 0)
        if not address or (size_tag is not None and not size):
            return _NOWHERE
        what = f"dynamic section names a table of {size} bytes at {address:#x}"
        return self._held(address, size, what), size

    def _held(self, address: int, size: int, what: str) -> int:
        """The file offset of something that must be in the file. Raises Damaged if it is not."""
        try:
            return self._segments.offset(address, size)
        except NotInFile:
            raise Damaged(f"{self._file.path}: its {what}, which the file does not hold") from None

    @cached_property
    def _rela(self) -> RelaTables:
        path, unpacked = self._file.path, b""
        if self.tables.packed[1]:
            # Each relocates another word of memory that the file holds: that bounds their number.
            data = self._file.part(*self.tables.packed, "packed relocation table")
            try:
                unpacked = relocation.unpack(data, self._file.stat.st_size // relocation.WORD)
            except ValueError as error:
                raise Damaged(f"{path}: its packed relocation table {error}") from None
        tables = [one for one in (self.tables.rela, self.tables.plt) if one[1]]
        for table in tables:
            self._file.check(*table, "relocation table")
        return RelaTables.of(self._file, tables, unpacked)

    @cached_property
    def _symbols(self) -> SymbolTable:
        return SymbolTable(self._file, self.tables.symbols, self.tables.strings)

    @cached_property
    def relr_addresses(self) -> array[int]:
        """The addresses that the RELR table relocates, sorted: a table may have any order.

        Raises Damaged for an address that the file does not hold, or that the table has twice.
        """
        addresses = array("Q")
        most = sum(one.file_size for one in self._segments) // relocation.WORD
        ascending = True
        for address in relocation.relr_addresses(self._file.part(*self.tables.relr, "RELR table")):
            # The file holds them all, and none comes twice: so its size bounds their number, too.
            segment = self._segments.at(address)
            held = segment is not None and segment.holds(address, relocation.WORD)
            if not held or len(addresses) > most:
                raise self._astray(address)
            ascending = ascending and (not addresses or addresses[-1] < address)
            addresses.append(address)
        if not ascending:
            addresses = array("Q", sorted(addresses))
        for before, address in pairwise(addresses):
            if address < before + relocation.WORD:
                raise self._astray(address)
        return addresses

    def _astray(self, address: int) -> Damaged:
        return Damaged(
            f"{self._file.path}: its RELR table relocates {address:#x}, which is not possible"
        )

    def relocations(self, start: int = 0, end: int = _TOP) -> Iterator[Relocation]:
        """The dynamic relocations with start <= address < end.

        In a loader's order: RELR first, then the entries for an address in the tables' order.
        """
        addresses = self.relr_addresses
        for address in addresses[bisect_left(addresses, start) : bisect_left(addresses, end)]:
            yield Relocation(address, arm64.RELR, "", 0, None)
        for entry in self._rela.between(start, end):
            name = self._symbols[entry.symbol].name if entry.symbol else ""
            yield Relocation(entry.address, entry.type, name, entry.addend, entry.offset)

    def relocation(self, address: int) -> Relocation | None:
        """The dynamic relocation that stores at an address; of several, the one applied last."""
        if self._nothing:
            return None
        found = list(self.relocations(address, address + 1))
        return found[-1] if found else None

    @cached_property
    def _nothing(self) -> bool:
        """Whether there are no relocations, as in a program that is not position-independent."""
        return not any(size for _, size in self.tables[:4])

    def copied(self) -> list[tuple[int, int]]:
        """Addresses and sizes of what R_AARCH64_COPY relocations overwrite."""
        return [
            (one.address, self._symbols[one.symbol].size) for one in self._rela.of_type(arm64.COPY)
        ]

    def patches(self, _: int, start: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What RELA entries store over bytes of memory: see memory.Patches."""
        for entry in self._rela.between(start - relocation.WORD + 1, start + len(data)):
            value = self._relocated(entry)
            if value is not None:
                yield entry.address, value.to_bytes(relocation.WORD, self._headers.order)

    def _relocated(self, entry: Entry) -> int | None:
        """What a relocation stores; None if that cannot be known here."""
        if entry.type == arm64.RELATIVE:
            return entry.addend % _TOP
        if entry.type in arm64.SYMBOLIC:
            if not entry.symbol:
                return entry.addend % _TOP
            symbol = self._symbols[entry.symbol]
            return (symbol.value + entry.addend) % _TOP if symbol.defined else 0
        return None
