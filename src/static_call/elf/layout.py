"""The memory that relocatable.py makes of a relocatable object (ET_REL: .o, .ko).

The sections get consecutive addresses. People are shown a section and an offset instead, or the
symbol of another file.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property

from static_call.elf import relocatable, segments
from static_call.elf.errors import Damaged, ElfError
from static_call.elf.headers import (
    PT_LOAD,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHT_CREL,
    SHT_NOBITS,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
    SHT_SYMTAB_SHNDX,
    Extent,
    Headers,
    Section,
)
from static_call.elf.lazy import Records
from static_call.elf.reader import Reader
from static_call.elf.relocation import RelaTables
from static_call.elf.segments import Segment, Segments
from static_call.elf.symbols import SymbolTable

_TABLES = 256
"""How many sections' relocations are kept: those of the blocks of memory that are kept."""


class Layout:
    """A relocatable object's sections with addresses.

    Attributes:
        segments: the sections that memory is made of, code first. The executable ones are
            together, since a branch in one must reach the others.
    """

    def __init__(self, file: Reader, headers: Headers) -> None:
        """Gives the sections of `headers` their addresses. Raises Damaged."""
        self._file, self._headers = file, headers
        parts = (
            (not flags & SHF_EXECINSTR, index)
            for index, flags in enumerate(headers.section_flags)
            if flags & SHF_ALLOC
        )
        self._parts = array("Q", (index for _, index in sorted(parts)))
        sections = headers.sections
        sizes = ((one.size, max(one.align, 8)) for one in map(sections.__getitem__, self._parts))
        try:
            starts = relocatable.addresses(sizes)
        except relocatable.OutOfReach:
            raise Damaged(f"{file.path}: its sections have impossible sizes") from None
        bases = array("Q", bytes(8 * len(sections)))
        for index, address in zip(self._parts, starts):
            bases[index] = address
        self._bases = bases

        def placed(index: int) -> Section:
            one = sections[index]
            return Section(*one[:3], bases[index], *one[4:])

        self._sections = headers.sections = Records(len(sections), placed)
        numbers = self._parts
        every = Records(len(starts), lambda n: _segment(sections[numbers[n]], starts[n]))
        self.segments: Segments = Segments(file, every, starts)
        self._relocations: dict[int, relocatable.Relocations] = {}

    # Memory

    def patches(self, number: int, start: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What a linker stores over bytes of a section: see memory.Patches. Raises ElfError."""
        order = self._headers.order

        def word(at: int) -> int:
            return int.from_bytes(data[at - start : at - start + 4], order)

        try:
            yield from self._relocations_of(number).patches(start, start + len(data), word)
        except relocatable.OutOfReach:
            raise ElfError(
                f"{self._file.path}: too large to look at as an object, as its branches do not "
                "reach across it: link it first"
            ) from None

    def branches(self, section: int, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The B and BL in [start, end) that relocations make: the address of each, and its target.

        Args:
            section: the address of the section that they are in.
            start: the first address.
            end: the address after the last one.
        """
        number = bisect_left(self.segments.starts, section)
        return self._relocations_of(number).branches(start, end)

    def _relocations_of(self, number: int) -> relocatable.Relocations:
        """The relocations of a section, by its segment's number."""
        if number not in self._relocations:
            if len(self._relocations) >= _TABLES:
                self._relocations.clear()
            self._relocations[number] = self._find_relocations(number)
        return self._relocations[number]

    def _find_relocations(self, number: int) -> relocatable.Relocations:
        tables = []
        for index in self._relocating.get(self._parts[number], ()):
            one = self._sections[index]
            if one.type != SHT_RELA:
                raise ElfError(
                    f"{self._file.path}: section {index} has relocations of a kind that is not "
                    f"known here (type {one.type:#x}, not SHT_RELA): link it first"
                )
            self._file.check(one.offset, one.size, "relocation table")
            tables.append((one.offset, one.size))
        return relocatable.Relocations(
            self.segments.starts[number], RelaTables.of(self._file, tables), self.symbols
        )

    @cached_property
    def _relocating(self) -> dict[int, list[int]]:
        """For each section's number, the numbers of the sections with its relocations."""
        found: dict[int, list[int]] = {}
        for index, one in self._headers.of_type(SHT_RELA, SHT_REL, SHT_CREL):
            if one.info < len(self._bases) and self._bases[one.info]:
                found.setdefault(one.info, []).append(index)
        return found

    @cached_property
    def symbols(self) -> relocatable.Symbols:
        """The symbol table, with the addresses that symbols get here. Raises Damaged."""
        table = self._table(SHT_SYMTAB, "symbol table")
        more = self._table(SHT_SYMTAB_SHNDX, "section index table")
        return relocatable.Symbols(self._file, table, more, self._bases)

    def _table(self, kind: int, what: str) -> Extent:
        """Where the table of a type is; (0, 0) if there is none."""
        found = self._headers.first(kind)
        if found is None:
            return (0, 0)
        self._file.check(found.offset, found.size, what)
        return found.offset, found.size

    def entries(self, offset: int, size: int) -> bytes:
        """Entries of the symbol table with the values that symbols get: see relocatable.Symbols."""
        return self.symbols.entries(offset, size)

    # Addresses for people

    def locate(self, address: int) -> tuple[str, int]:
        """The section that an address is in, and the offset in it; or "" and the address."""
        number = bisect_right(self.segments.starts, address) - 1
        # The end of a section is in no other one.
        if number < 0 or address > self.segments[number].end:
            return "", address
        section = self._sections[self._parts[number]]
        return self._headers.name(section), address - section.address

    def elsewhere(self, address: int) -> str:
        """What an address below the sections is: see Image.elsewhere."""
        found = self.symbols.foreign(address)
        if found is None:
            return ""
        index, addend = found
        if not index:
            return hex(addend)
        table = self._names if index < self.symbols.count else None
        name = table[index].name if table else ""
        section = self.symbols.section(index)
        if not name and 0 < section < len(self._sections):
            name = self._headers.name(self._sections[section])
        name = name or f"symbol {index}"
        return f"{name}{addend:+#x}" if addend else name

    @cached_property
    def _names(self) -> SymbolTable | None:
        """The symbol table for the names alone."""
        number = next((number for number, _ in self._headers.of_type(SHT_SYMTAB)), None)
        if number is None:
            return None
        return SymbolTable(self._file, *self._headers.symbol_table(number))


def _segment(section: Section, address: int) -> Segment:
    """A section as memory."""
    executable, writable = section.flags & SHF_EXECINSTR, section.flags & SHF_WRITE
    return Segment(
        PT_LOAD,
        (segments.EXECUTABLE if executable else 0) | (segments.WRITABLE if writable else 0),
        section.offset,
        address,
        0 if section.type == SHT_NOBITS else section.size,
        section.size,
    )
