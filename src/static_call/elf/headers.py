"""The headers of an ELF file: what it is, its segments and its sections.

They are read with struct and not with a library, whose import would add a quarter to the time that
listing a kernel's static calls takes. Each number is checked before it is used, so a damaged file
gets one clear line. Layouts are those of the ELF gABI, for 64-bit little-endian files.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, count

from static_call.elf.errors import Damaged, ElfError, NotArm64, SymbolsOnly
from static_call.elf.lazy import Records
from static_call.elf.packed import u32s, u64s
from static_call.elf.reader import Reader
from static_call.elf.segments import Segment
from static_call.elf.symbols import ENTRY_SIZE, NAME, printable
from static_call.records import NamedTuple

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from typing import Literal

    Order = Literal["little", "big"]

_EHDR = struct.Struct("<4s4B8x2HI3QI6H")
_PHDR = struct.Struct("<2I6Q")
_SHDR = struct.Struct("<2I4Q2I2Q")

_MACHINES = {3: "x86", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "32-bit Arm",
             62: "x86-64", 243: "RISC-V", 258: "LoongArch"}  # fmt: skip
_ARM64 = 183  # EM_AARCH64
_TYPES = {1: "REL", 2: "EXEC", 3: "DYN"}

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_TLS, PT_GNU_PROPERTY = 1, 2, 3, 4, 7, 0x6474E553
"""Types of segments."""

SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS = 2, 3, 4, 7, 8
SHT_REL, SHT_DYNSYM, SHT_SYMTAB_SHNDX, SHT_RELR, SHT_CREL = 9, 11, 18, 19, 0x40000014
"""Types of sections."""

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
"""Flags of sections."""

_SHN_XINDEX = 0xFFFF
_PARTS = {PT_DYNAMIC: "dynamic section", PT_INTERP: "loader's path", PT_NOTE: "notes",
          PT_TLS: "thread-local variables", PT_GNU_PROPERTY: "property note"}  # fmt: skip
"""What segments other than PT_LOAD hold that other code reads, by type."""

_MOST_SECTIONS = 1 << 19
"""The most sections of a file: their headers have 32 MiB. Compilers make about ten thousand."""

Extent = tuple[int, int]
"""Where a table is in the file: its offset and its size, in bytes."""

Part = tuple[int, int, str]
"""A range of a file: its start, its end, and what it is."""


class Section(NamedTuple):
    """A section header, as in the ELF gABI.

    Attributes:
        name: an offset in the string table of the sections' names.
        type: an SHT_ number.
        flags: SHF_ bits.
        address: the address of its memory; in a relocatable object, the one that layout.py chose.
        offset: its offset in the file, in bytes.
        size: its size in bytes.
        link: the number of another section; its meaning depends on the type.
        info: more; its meaning depends on the type.
        align: the alignment of the address, in bytes.
        entry_size: bytes in each entry, if it is a table.
    """

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int


class Headers:
    """What the headers of an arm64 ELF file say.

    Attributes:
        type: "EXEC", "DYN" or "REL".
        order: the order of the bytes in a word.
        pointer_size: bytes in a pointer.
        entry: the address where execution begins.
        loaded: the program headers of type PT_LOAD, in order of address.
        notes: those of type PT_NOTE.
        others: those of other types, by type; the first of each.
        sections: the section headers; none in a file that was stripped of them.
        section_flags: the SHF_ bits of each section, without making the sections.
        parts: where the headers are, and what the segments hold besides memory.
    """

    order: Order = "little"
    pointer_size: int = 8
    type: str
    entry: int
    section_flags: array[int]

    def __init__(self, file: Reader, *, symbols_only: bool = False) -> None:
        """Reads them. Raises NotArm64, SymbolsOnly and Damaged.

        Args:
            file: the file.
            symbols_only: whether the file may be one that objcopy --only-keep-debug made.
        """
        self._file = file
        fields = self._read_header()
        self.type, self.entry, phoff, shoff, phentsize, phnum, shentsize, shnum = fields
        self.parts: list[Part] = [
            (0, _EHDR.size, "ELF header"),
            (phoff, phoff + phentsize * phnum, "program headers"),
            (shoff, shoff + shentsize * shnum, "section headers"),
        ]
        every: list[Segment] = []
        if self.type != "REL":
            if phnum == 0xFFFF or (shoff and not shnum):
                raise Damaged(
                    f"{file.path}: its header has counts that only relocatable objects have"
                )
            every = self._read_segments(phoff, phentsize, phnum)
        self.sections: Records[Section] = self._read_sections(shoff, shentsize, shnum)
        if not self._check_code(symbols_only):
            every = [one for one in every if one.type == PT_NOTE]
        if sum(one.type == PT_DYNAMIC for one in every) > 1:
            raise Damaged(f"{file.path}: it has two dynamic sections")
        loaded = (one for one in every if one.type == PT_LOAD and one.size)
        self.loaded: Sequence[Segment] = sorted(loaded, key=lambda one: one.address)
        self.notes: list[Segment] = [one for one in every if one.type == PT_NOTE]
        self.others: dict[int, Segment] = {
            one.type: one for one in reversed(every) if one.type != PT_LOAD
        }
        self.parts += [
            (one.offset, one.offset + one.file_size, _PARTS[one.type])
            for one in every
            if one.type in _PARTS
        ]

    def _read_header(self) -> tuple[str, int, int, int, int, int, int, int]:
        """The ELF header: type, entry; offsets of the tables; size and number of their entries."""
        path, data = self._file.path, self._file(0, _EHDR.size)
        if data[:4] != b"\x7fELF":
            from static_call.elf import foreign_file

            raise NotArm64(f"{path}: {foreign_file.advice(data, path)}")
        if len(data) < _EHDR.size:
            raise Damaged(f"{path}: the file ends within its ELF header")
        (_, klass, encoding, _, _, type_, machine, _, entry, phoff, shoff, _, _, phentsize,
         phnum, shentsize, shnum, self._section_names) = _EHDR.unpack(data)  # fmt: skip
        if klass != 2:
            raise NotArm64(f"{path}: a 32-bit ELF file, not one for arm64")
        if encoding != 1:
            raise NotArm64(f"{path}: a big-endian ELF file: only little-endian arm64 is supported")
        if machine != _ARM64:
            other = _MACHINES.get(machine, f"machine {machine}")
            raise NotArm64(f"{path}: an ELF file for {other}, not for arm64")
        if type_ not in _TYPES:
            other = "a core dump" if type_ == 4 else f"an ELF file of type {type_}"
            raise NotArm64(f"{path}: {other}, neither a linked file nor a relocatable object")
        return _TYPES[type_], entry, phoff, shoff, phentsize, phnum, shentsize, shnum

    def _read_segments(self, offset: int, size: int, number: int) -> list[Segment]:
        headers = self._entries(_PHDR, offset, size, number, "program header")
        return [
            Segment(kind, flags, at, address, file_size, memory_size, align)
            for kind, flags, at, address, _, file_size, memory_size, align in headers
        ]

    def _read_sections(self, offset: int, size: int, number: int) -> Records[Section]:
        if offset and not number:  # too many for the ELF header: the first section says how many
            (first,) = self._entries(_SHDR, offset, size, 1, "section header")
            number = first[5]
            if self._section_names == _SHN_XINDEX:
                self._section_names = first[6]
            if number > _MOST_SECTIONS:
                self._file.check(offset, number * size, "section header table")
                raise ElfError(
                    f"{self._file.path}: {number} sections: more than {_MOST_SECTIONS} are not "
                    "read here"
                )
        data = b""
        if number:
            data = self._table(_SHDR, offset, size, number, "section header")
        self._section_types, self.section_flags = u32s(data)[1::16], u64s(data)[1::8]
        return Records(number, lambda index: Section(*_SHDR.unpack_from(data, _SHDR.size * index)))

    def _entries(
        self, layout: struct.Struct, offset: int, size: int, count: int, what: str
    ) -> Iterable[tuple[int, ...]]:
        if not count:
            return ()
        return layout.iter_unpack(self._table(layout, offset, size, count, what))

    def _table(self, layout: struct.Struct, offset: int, size: int, count: int, what: str) -> bytes:
        if size != layout.size:
            raise Damaged(f"{self._file.path}: a {what} has {layout.size} bytes, not {size}")
        return self._file.part(offset, count * size, f"{what} table")

    def _check_code(self, symbols_only: bool) -> bool:
        """Whether the file has code. Raises SymbolsOnly if it has none but must have some."""
        code = [one for one in self.with_flags(SHF_EXECINSTR) if one.size]
        if not code or any(one.type != SHT_NOBITS for one in code):
            return True
        if not symbols_only:
            raise SymbolsOnly(
                f"{self._file.path}: holds symbols only, as objcopy --only-keep-debug makes it: "
                "give the file with the code, and this one with --debug-file"
            )
        return False

    # Sections

    def of_type(self, *types: int) -> Iterator[tuple[int, Section]]:
        """The sections of these types, with their numbers; no objects are made for the others."""
        for index in compress(count(), map(types.__contains__, self._section_types)):
            yield index, self.sections[index]

    def with_flags(self, wanted: int) -> Iterator[Section]:
        """The sections that have all these flags; no objects are made for the others."""
        for index, flags in enumerate(self.section_flags):
            if flags & wanted == wanted:
                yield self.sections[index]

    def first(self, kind: int) -> Section | None:
        """The first section of a type."""
        return next((one for _, one in self.of_type(kind)), None)

    def contents(self, name: str) -> bytes:
        """What the file holds of the section of this name; empty where there is none."""
        if not 0 < self._section_names < len(self.sections):
            return b""
        table = self.sections[self._section_names]
        names = self._file.part(table.offset, table.size, "string table")
        wanted = name.encode() + b"\0"
        for one in self.sections:
            if one.type != SHT_NOBITS and names.startswith(wanted, one.name):
                return self._file.part(one.offset, one.size, f"section {name}")
        return b""

    def name(self, section: Section) -> str:
        """The printable name of a section. Raises Damaged if sections have no names."""
        if not 0 < self._section_names < len(self.sections):
            raise Damaged(f"{self._file.path}: its sections have no names")
        names = self.sections[self._section_names]
        self._file.check(names.offset, names.size, "string table")
        size = max(min(NAME, names.size - section.name), 0)
        return printable(self._file(names.offset + section.name, size).partition(b"\0")[0])

    def symbol_table(self, index: int) -> tuple[Extent, Extent]:
        """Where a symbol table and its strings are, by the number of its section.

        Raises Damaged.
        """
        path = self._file.path
        if not 0 < index < len(self.sections):
            raise Damaged(f"{path}: there is no section {index}, which another one names")
        table = self.sections[index]
        if table.entry_size != ENTRY_SIZE:
            raise Damaged(
                f"{path}: a symbol table with entries of {table.entry_size} bytes, not {ENTRY_SIZE}"
            )
        if not 0 < table.link < len(self.sections) or self.sections[table.link].type != SHT_STRTAB:
            raise Damaged(f"{path}: section {table.link} is not a string table, and should be one")
        strings = self.sections[table.link]
        self._file.check(table.offset, table.size, "symbol table")
        self._file.check(strings.offset, strings.size, "string table")
        return (table.offset, table.size), (strings.offset, strings.size)
