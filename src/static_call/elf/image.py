"""ELF images of arm64: memory as a loader makes it, symbols, relocations, and searches.

For linked files, little-endian: executables, shared objects, kernels (vmlinux); and for relocatable
objects, which relocatable.py lays out as a linker would. Headers are read here with struct, not by
a library: the import of one would add a quarter to the time that listing a kernel's static calls
takes, and each number of a header is checked before it is used, so that a damaged file gets one
clear line. Tables of symbols, which may have some hundred thousand entries, are passed over in
chunks as packed columns and never become a Python object for each entry.

The file is read by pread and never mapped: a file that another process truncates would end this
one by a signal. Layouts are those of the ELF gABI; numbers of arm64 are those of aaelf64.
"""

from __future__ import annotations

import os
import stat
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import compress, count, pairwise
from typing import NamedTuple, TypeVar, overload

from static_call.elf import dynamic, foreign_file, relocatable, relocation
from static_call.elf.errors import (
    AmbiguousSymbol,
    Damaged,
    ElfError,
    NoSuchSymbol,
    NotArm64,
    NotInFile,
    NotLinked,
    SymbolsOnly,
)
from static_call.elf.packed import u32s, u64s
from static_call.elf.reader import Reader
from static_call.elf.relocation import RelaTables, Relocation
from static_call.elf.sites import count_sites
from static_call.elf.symbols import ENTRY_SIZE, LOCAL, NAME, Symbol, SymbolTable, printable

_EHDR = struct.Struct("<4s4B8x2HI3QI6H")
_PHDR = struct.Struct("<2I6Q")
_SHDR = struct.Struct("<2I4Q2I2Q")
_NOTE = struct.Struct("<3I4s")

_MACHINES = {3: "x86", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "32-bit Arm",
             62: "x86-64", 243: "RISC-V", 258: "LoongArch"}  # fmt: skip
_ARM64 = 183
_TYPES = {1: "REL", 2: "EXEC", 3: "DYN"}
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE, _PT_TLS, _PT_GNU_PROPERTY = 1, 2, 3, 4, 7, 0x6474E553
_PF_X, _PF_W = 1, 2
_PARTS = {2: "dynamic section", 3: "loader's path", 4: "notes", 7: "thread-local variables",
          0x6474E553: "property note"}  # fmt: skip
"""What segments besides PT_LOAD hold that others read, by p_type."""
_SHT_SYMTAB, _SHT_STRTAB, _SHT_RELA, _SHT_NOTE, _SHT_NOBITS = 2, 3, 4, 7, 8
_SHT_REL, _SHT_DYNSYM, _SHT_RELR, _SHT_CREL = 9, 11, 19, 0x40000014
_SHT_SYMTAB_SHNDX, _SHN_XINDEX = 18, 0xFFFF
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_PROGRAM_TYPES = (0, 1, _SHT_NOBITS, 14, 15, 16)  # none, PROGBITS, NOBITS, arrays of functions
_NT_GNU_BUILD_ID, _NT_GNU_PROPERTY_TYPE_0, _AARCH64_FEATURE_1_AND, _BTI = 3, 5, 0xC0000000, 1

_CHUNK = 1 << 17  # bytes read at once in a search; fits a second-level cache
_BLOCK = 1 << 12  # bytes of memory that read() keeps ready
_BLOCKS = 256  # so many of them, and of sections' relocations
_NOTES = 1 << 20  # bytes of notes that are looked through
_NAMES = 64  # names whose symbols are kept
_MOST_SECTIONS = 1 << 19  # of a file, with headers of 32 MiB; compilers make some ten thousand
_MOST_DYNAMIC = 1 << 20  # bytes of a dynamic section; linkers make a few hundred
_TOP = 1 << 64
_NONE = (0, 0)

Record = TypeVar("Record")


class Segment(NamedTuple):
    """A program header: `file_size` bytes of the file, then zeros up to `size`."""

    type: int
    flags: int
    offset: int
    address: int
    file_size: int
    size: int
    align: int = 1

    @property
    def end(self) -> int:
        """The address behind its memory."""
        return self.address + self.size

    @property
    def executable(self) -> bool:
        """Whether the program may execute it."""
        return bool(self.flags & _PF_X)

    def holds(self, address: int, size: int) -> bool:
        """Whether the file holds memory at an address of the segment; .bss it doesn't."""
        return address - self.address + size <= self.file_size

    @property
    def writable(self) -> bool:
        """Whether the program, and so a loader, may write to it."""
        return bool(self.flags & _PF_W)


class Extent(NamedTuple):
    """Bytes of a file, from `start` to before `end`, and what they are."""

    start: int
    end: int
    what: str


class Tables(NamedTuple):
    """The offset in the file and the size, in bytes, of what relocations are made of.

    rela, plt, relr   DT_RELA, DT_JMPREL and DT_RELR; (0, 0) for what is not there
    packed            DT_ANDROID_RELA: as lld's --pack-dyn-relocs=android makes it
    symbols, strings  what RELA entries refer to; the size of `symbols` is not known
    """

    rela: tuple[int, int]
    plt: tuple[int, int]
    relr: tuple[int, int]
    packed: tuple[int, int]
    symbols: tuple[int, int]
    strings: tuple[int, int]


class Section(NamedTuple):
    """A section header; `name` is an offset in the string table of sections' names."""

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


def _part(section: Section, address: int) -> Segment:
    """A section of a relocatable object as memory."""
    executable, writable = section.flags & _SHF_EXECINSTR, section.flags & _SHF_WRITE
    return Segment(
        _PT_LOAD,
        (_PF_X if executable else 0) | (_PF_W if writable else 0),
        section.offset,
        address,
        0 if section.type == _SHT_NOBITS else section.size,
        section.size,
    )


class Records(Sequence[Record]):
    """Records that are made when they are asked for: a file may have half a million of them."""

    def __init__(self, count: int, make: Callable[[int], Record]) -> None:
        """Takes their number, and what makes the one of an index."""
        self._numbers, self._make = range(count), make

    def __len__(self) -> int:
        """How many there are."""
        return len(self._numbers)

    def __iter__(self) -> Iterator[Record]:
        """One after the other."""
        return map(self._make, self._numbers)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """As of a list."""
        found = self._numbers[index]
        return self._make(found) if isinstance(found, int) else list(map(self._make, found))


class Image:
    """An arm64 ELF file: an executable, a shared object, a kernel, a relocatable object.

    path      as it was opened
    type      "EXEC", "DYN" or "REL"
    entry     the address where execution begins
    segments  the program headers with PT_LOAD, by address; of a relocatable object, its sections
    sections  the section headers; none in a file stripped of them
    stat      of the file, when it was opened
    debug     the file that its symbols are taken from besides, or None
    """

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, symbols_only: bool = False) -> Image:
        """The image that a file is.

        symbols_only  it may be what objcopy --only-keep-debug makes; nothing but its symbols and
                      sections is to be used then
        Raises OSError where it cannot be opened, NotArm64, SymbolsOnly and Damaged.
        """
        return cls(os.fspath(path), symbols_only=symbols_only)

    def __init__(self, path: str, *, symbols_only: bool = False) -> None:
        """See open."""
        self.path = path
        self._file = Reader(path)
        self.stat = self._file.stat
        # What is kept ready is in plain dictionaries: an image that is dropped closes its file at
        # once, since nothing that it holds refers to it.
        self._blocks: dict[tuple[int, int], bytes] = {}
        self._by_name: dict[str, list[Symbol]] = {}
        self.debug: Image | None = None
        self._object_tables: dict[int, relocatable.Relocations] = {}
        try:
            if not stat.S_ISREG(self.stat.st_mode):
                raise NotArm64(f"{path}: not a regular file")
            self._read_headers(symbols_only)
        except BaseException:
            self.close()  # a traceback keeps this object
            raise

    def close(self) -> None:
        """Closes the file; nothing can be read afterwards."""
        self._file.close()

    def __enter__(self) -> Image:
        """Closes itself at the end of a with statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """See __enter__."""
        self.close()

    def fileno(self) -> int:
        """The descriptor of the open file, read-only."""
        return self._file.fileno()

    @property
    def linked(self) -> bool:
        """Whether its addresses are a linker's; those of a relocatable object are made up here."""
        return self.type != "REL"

    def require_linked(self) -> None:
        """Raises NotLinked for a relocatable object."""
        if not self.linked:
            raise NotLinked(
                f"{self.path}: a relocatable object, whose code a linker or a module loader "
                "completes: link it first"
            )

    @property
    def position_independent(self) -> bool:
        """Whether it may be loaded at another address than it was linked for."""
        return self.type == "DYN"

    # Headers

    def _read_headers(self, symbols_only: bool) -> None:
        data = self._file(0, _EHDR.size)
        if data[:4] != b"\x7fELF":
            raise NotArm64(f"{self.path}: {foreign_file.advice(data, self.path)}")
        if len(data) < _EHDR.size:
            raise Damaged(f"{self.path}: the file ends within its ELF header")
        (_, klass, encoding, _, _, type_, machine, _, self.entry, phoff, shoff, _, _, phentsize,
         phnum, shentsize, shnum, self._section_names) = _EHDR.unpack(data)  # fmt: skip
        if klass != 2:
            raise NotArm64(f"{self.path}: a 32-bit ELF file, not one for arm64")
        if encoding != 1:
            raise NotArm64(f"{self.path}: a big-endian ELF file: only little-endian arm64 is known")
        if machine != _ARM64:
            other = _MACHINES.get(machine, f"machine {machine}")
            raise NotArm64(f"{self.path}: an ELF file for {other}, not for arm64")
        if type_ not in _TYPES:
            other = "a core dump" if type_ == 4 else f"an ELF file of type {type_}"
            raise NotArm64(f"{self.path}: {other}, neither linked nor to be linked")
        self.type = _TYPES[type_]
        self._headers_at = [
            Extent(0, _EHDR.size, "ELF header"),
            Extent(phoff, phoff + phentsize * phnum, "program headers"),
            Extent(shoff, shoff + shentsize * shnum, "section headers"),
        ]
        if not self.linked:
            self.sections = self._read_sections(shoff, shentsize, shnum)
            self._check_code(symbols_only)
            self._lay_out()
            self._others: dict[int, Segment] = {}
            self._notes: list[Segment] = []
            return
        if phnum == 0xFFFF or (shoff and not shnum):
            raise Damaged(f"{self.path}: header counts as only relocatable objects have them")
        headers = self._headers(_PHDR, phoff, phentsize, phnum, "program header")
        every = [
            Segment(kind, flags, offset, address, file_size, size, align)
            for kind, flags, offset, address, _, file_size, size, align in headers
        ]
        self.sections = self._read_sections(shoff, shentsize, shnum)
        if not self._check_code(symbols_only):
            every = [one for one in every if one.type == _PT_NOTE]
        loaded = (one for one in every if one.type == _PT_LOAD and one.size)
        self.segments: Sequence[Segment] = sorted(loaded, key=lambda one: one.address)
        self._starts = array("Q", (one.address for one in self.segments))
        self._check_segments()
        self._notes = [one for one in every if one.type == _PT_NOTE]
        self._headers_at += [
            Extent(one.offset, one.offset + one.file_size, _PARTS[one.type])
            for one in every
            if one.type in _PARTS
        ]
        self._others = {one.type: one for one in reversed(every) if one.type != _PT_LOAD}
        if sum(one.type == _PT_DYNAMIC for one in every) > 1:
            raise Damaged(f"{self.path}: it has two dynamic sections")

    def _check_code(self, symbols_only: bool) -> bool:
        """Whether the file has code. Raises SymbolsOnly where it has not, but must."""
        code = [one for one in self.sections if one.flags & _SHF_EXECINSTR and one.size]
        if not code or any(one.type != _SHT_NOBITS for one in code):
            return True
        if not symbols_only:
            raise SymbolsOnly(
                f"{self.path}: holds symbols only, as objcopy --only-keep-debug makes it: give the "
                "file with the code, and this one with --debug-file"
            )
        return False

    def _read_sections(self, offset: int, size: int, number: int) -> Sequence[Section]:
        if offset and not number:  # too many for the ELF header: the first section says how many
            (first,) = self._headers(_SHDR, offset, size, 1, "section header")
            number = first[5]
            if self._section_names == _SHN_XINDEX:
                self._section_names = first[6]
            if number > _MOST_SECTIONS:
                self._check_inside(offset, number * size, "section header table")
                raise ElfError(
                    f"{self.path}: {number} sections: more than {_MOST_SECTIONS} are not read here"
                )
        self._section_types, self._section_flags = array("I"), array("Q")
        if not number:
            return ()
        data = self._header_table(_SHDR, offset, size, number, "section header")
        self._section_types, self._section_flags = u32s(data)[1::16], u64s(data)[1::8]
        return Records(number, lambda index: Section(*_SHDR.unpack_from(data, _SHDR.size * index)))

    def _of_type(self, *types: int) -> Iterator[tuple[int, Section]]:
        """The sections of these types, with their numbers; the others are not made."""
        for index in compress(count(), map(types.__contains__, self._section_types)):
            yield index, self.sections[index]

    def _headers(
        self, layout: struct.Struct, offset: int, size: int, count: int, what: str
    ) -> Iterable[tuple[int, ...]]:
        if not count:
            return ()
        return layout.iter_unpack(self._header_table(layout, offset, size, count, what))

    def _header_table(
        self, layout: struct.Struct, offset: int, size: int, count: int, what: str
    ) -> bytes:
        if size != layout.size:
            raise Damaged(f"{self.path}: a {what} has {layout.size} bytes, not {size}")
        return self._inside(offset, count * size, f"{what} table")

    def _check_segments(self) -> None:
        """Every segment lies in the file and in the address space, none on another."""
        before = 0
        for one in self.segments:
            where = f"{self.path}: the segment at {one.address:#x}"
            if one.offset + one.file_size > self.stat.st_size:
                raise Damaged(
                    f"{where} ends at byte {one.offset + one.file_size:#x} of the file, "
                    f"which has {self.stat.st_size:#x}: is it truncated?"
                )
            if one.file_size > one.size or one.end > _TOP:
                raise Damaged(f"{where} has an impossible size")
            if one.address < before:
                raise Damaged(f"{where} overlaps the one before it")
            before = one.end

    def _inside(self, offset: int, size: int, what: str) -> bytes:
        """Bytes that must be there: all of them, or Damaged."""
        self._check_inside(offset, size, what)
        return self._file.whole(offset, size)

    def _check_inside(self, offset: int, size: int, what: str) -> None:
        if offset + size > self.stat.st_size:
            raise Damaged(
                f"{self.path}: its {what} ends at byte {offset + size:#x}, "
                f"the file at {self.stat.st_size:#x}: is it truncated?"
            )

    @property
    def thread_locals(self) -> Segment | None:
        """What each thread's variables are made from (PT_TLS), where it has such variables."""
        return self._others.get(_PT_TLS)

    @property
    def program(self) -> bool:
        """Whether it is a program, not a shared object: its thread-local variables come first."""
        flags, _ = self.dynamic.get(dynamic.FLAGS_1, (0, 0))
        return self.type == "EXEC" or _PT_INTERP in self._others or bool(flags & dynamic.PIE)

    def section(self, name: str) -> bytes:
        """The contents of the section of this name; empty where there is none."""
        if not 0 < self._section_names < len(self.sections):
            return b""
        table = self.sections[self._section_names]
        names = self._inside(table.offset, table.size, "string table")
        wanted = name.encode() + b"\0"
        for one in self.sections:
            if one.type != _SHT_NOBITS and names.startswith(wanted, one.name):
                return self._inside(one.offset, one.size, f"section {name}")
        return b""

    @cached_property
    def build_id(self) -> bytes:
        """What a linker noted as the build's own (NT_GNU_BUILD_ID); empty where it did not."""
        places = [(one.offset, one.file_size) for one in self._notes]
        places += [(one.offset, one.size) for one in self.sections if one.type == _SHT_NOTE]
        for offset, length in places:
            data = self._file(offset, min(length, _NOTES))
            at = 0
            while at + _NOTE.size <= len(data):
                name_size, size, kind, name = _NOTE.unpack_from(data, at)
                start = at + 12 + (name_size + 3 & -4)
                if (name_size, kind, name) == (4, _NT_GNU_BUILD_ID, b"GNU\0"):
                    return data[start : start + size]
                at = start + (size + 3 & -4)
        return b""

    @cached_property
    def guarded(self) -> bool:
        """Whether it is marked for BTI: its code is mapped guarded where the machine has BTI.

        PT_GNU_PROPERTY says so, which is what Linux and ld.so go by. A kernel is never marked.
        """
        note = self._others.get(_PT_GNU_PROPERTY)
        if note is None:
            return False
        self._check_inside(note.offset, note.file_size, "GNU property note")
        data = self._file(note.offset, min(note.file_size, _BLOCK))
        if len(data) < _NOTE.size:
            return False
        name_size, size, kind, name = _NOTE.unpack_from(data)
        if (name_size, kind, name) != (4, _NT_GNU_PROPERTY_TYPE_0, b"GNU\0"):
            return False
        at, end = _NOTE.size, min(_NOTE.size + size, len(data))
        while at + 12 <= end:
            kind, size, value = struct.unpack_from("<3I", data, at)
            if kind == _AARCH64_FEATURE_1_AND:
                return bool(value & _BTI)
            at += 8 + (size + 7 & -8)
        return False

    # Memory

    def read(self, address: int, size: int) -> bytes:
        """Memory of the program, loaded where it was linked for, relocations applied.

        A symbol that another file defines counts as 0; what only a running program knows
        (R_AARCH64_IRELATIVE, TLS) stays as the file has it. Fewer bytes where memory ends.
        """
        pieces = []
        while size > 0:
            number = bisect_right(self._starts, address) - 1
            if number < 0 or address >= self.segments[number].end:
                break
            block, at = divmod(address - self._starts[number], _BLOCK)
            piece = self._block(number, block)[at : at + size]
            pieces.append(piece)
            address += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _block(self, number: int, block: int) -> bytes:
        """A block of a segment's memory, kept: a trampoline is looked at once for each design."""
        data = self._blocks.get((number, block))
        if data is None:
            data = self._make_block(number, block)
            if len(self._blocks) >= _BLOCKS:
                self._blocks.clear()
            self._blocks[number, block] = data
        return data

    def _make_block(self, number: int, block: int) -> bytes:
        segment = self.segments[number]
        at = block * _BLOCK
        start = segment.address + at
        size = min(_BLOCK, segment.size - at)
        held = max(0, min(size, segment.file_size - at))
        data = bytearray(size)
        if held:
            data[:held] = self._inside(segment.offset + at, held, "segment")
        patches = self._patches if self.linked else self._object_patches
        for place, value in patches(number, start, bytes(data)):
            first = max(start - place, 0)  # it may begin before the block, and end after it
            end = min(len(value), start + size - place)
            data[place + first - start : place + end - start] = value[first:end]
        return bytes(data)

    def _patches(self, _: int, start: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What the loader stores into a block, by address."""
        for entry in self._rela.between(start - relocation.WORD + 1, start + len(data)):
            value = self._relocated(entry)
            if value is not None:
                yield entry.place, value.to_bytes(relocation.WORD, "little")

    def _relocated(self, entry: relocation.Entry) -> int | None:
        """What a relocation stores; None where that cannot be known here."""
        if entry.type == relocation.RELATIVE:
            return entry.addend % _TOP
        if entry.type in (relocation.ABS64, relocation.GLOB_DAT, relocation.JUMP_SLOT):
            if not entry.symbol:
                return entry.addend % _TOP
            symbol = self._relocation_symbols[entry.symbol]
            return (symbol.value + entry.addend) % _TOP if symbol.defined else 0
        return None

    def segment(self, address: int) -> Segment | None:
        """The PT_LOAD segment that an address is in."""
        number = bisect_right(self._starts, address) - 1
        return (
            self.segments[number] if number >= 0 and address < self.segments[number].end else None
        )

    def offset(self, address: int, size: int) -> int:
        """Where in the file memory comes from. Raises NotInFile for .bss and where nothing is."""
        segment = self.segment(address)
        if segment is None:
            raise NotInFile(f"{self.path}: nothing is at {address:#x}")
        if not segment.holds(address, size):
            raise NotInFile(
                f"{self.path}: the {size} bytes at {address:#x} are not in the file: "
                "memory that starts as zeros (.bss)"
            )
        return segment.offset + address - segment.address

    def structure(self) -> list[Extent]:
        """What the file holds besides the program's code and data: nothing of it may change."""
        parts = list(self._headers_at)
        for one in self.sections:
            if one.type not in _PROGRAM_TYPES or (one.type == 1 and not one.flags & _SHF_ALLOC):
                parts.append(Extent(one.offset, one.offset + one.size, "tables"))
        tables = self.tables
        for offset, size in (tables.rela, tables.plt, tables.relr, tables.packed):
            parts.append(Extent(offset, offset + size, "relocations"))
        (symbols, _), (strings, size) = tables.symbols, tables.strings
        parts.append(Extent(strings, strings + size, "symbols' names"))
        if self.dynamic and symbols:  # its size is not said; linkers put the names after it
            end = strings if strings > symbols else symbols + ENTRY_SIZE
            parts.append(Extent(symbols, end, "symbols"))
        return [one for one in parts if one.start < one.end]

    def copied(self) -> list[tuple[int, int]]:
        """Addresses and sizes of what R_AARCH64_COPY relocations overwrite."""
        return [
            (one.place, self._relocation_symbols[one.symbol].size)
            for one in self._rela.of_type(relocation.COPY)
        ]

    def executable(self, address: int) -> bool:
        """Whether there is code at an address: in an executable segment and, if told, section."""
        segment = self.segment(address)
        if segment is None or not segment.executable:
            return False
        number = bisect_right(self._code_runs, (address, _TOP, _TOP)) - 1
        start, _, size = self._code_runs[number] if number >= 0 else (0, 0, 0)
        return address < start + size

    # Relocations

    @cached_property
    def dynamic(self) -> dict[int, tuple[int, int]]:
        """The tags of PT_DYNAMIC: the value of each, and where in the file that is."""
        segment = self._others.get(_PT_DYNAMIC)
        if segment is None:
            return {}
        self._check_inside(segment.offset, segment.file_size, "dynamic section")
        if segment.file_size > _MOST_DYNAMIC:
            raise Damaged(f"{self.path}: its dynamic section has {segment.file_size} bytes")
        # A loader goes by the address, so the offset must mean the same bytes.
        where = self._held(
            segment.address, segment.file_size, f"dynamic section is at {segment.address:#x}"
        )
        if where != segment.offset:
            raise Damaged(
                f"{self.path}: its dynamic section is at byte {segment.offset:#x} of the file by "
                f"one header and at {where:#x} by another"
            )
        data = self._inside(segment.offset, segment.file_size, "dynamic section")
        words = u64s(data)
        tags: dict[int, tuple[int, int]] = {}
        for index in range(0, len(words) - 1, 2):
            if not words[index]:
                break
            tags[words[index]] = (words[index + 1], segment.offset + 8 * (index + 1))
        return tags

    @cached_property
    def tables(self) -> Tables:
        """Where the tables of relocations are.

        PT_DYNAMIC says so, as it does to a loader. A kernel relocates itself and has none: there
        it is the sections that are part of the image.

        Raises ElfError where there are relocations that are not known here.
        """
        if why := dynamic.unread(self.dynamic):
            raise ElfError(f"{self.path}: {why}")
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
            [one for one in self.sections if one.type == kind and one.flags & _SHF_ALLOC]
            for kind in (_SHT_RELA, _SHT_RELR)
        )
        if len(rela) > 1 or len(relr) > 1:
            raise ElfError(
                f"{self.path}: several relocation tables and no dynamic section that says which "
                "are applied"
            )
        symbols, strings = self._linked(rela[0].link) if rela and rela[0].link else (_NONE, _NONE)
        tables = [self._extent(found[0]) if found else _NONE for found in (rela, relr)]
        return Tables(tables[0], _NONE, tables[1], _NONE, symbols, strings)

    def _named_table(self, tag: int, size_tag: int | None) -> tuple[int, int]:
        """The file offset and size of a table that the dynamic section names."""
        address, _ = self.dynamic.get(tag, _NONE)
        size, _ = self.dynamic.get(size_tag, _NONE) if size_tag is not None else (0, 0)
        if not address or (size_tag is not None and not size):
            return _NONE
        what = f"dynamic section names a table of {size} bytes at {address:#x}"
        return self._held(address, size, what), size

    def _held(self, address: int, size: int, what: str) -> int:
        """The file offset of what must be there, or Damaged."""
        try:
            return self.offset(address, size)
        except NotInFile:
            raise Damaged(f"{self.path}: its {what}, which the file does not hold") from None

    def _extent(self, section: Section | None) -> tuple[int, int]:
        return (section.offset, section.size) if section else _NONE

    @cached_property
    def _rela(self) -> RelaTables:
        unpacked = b""
        if self.tables.packed[1]:
            # No two words of memory that the file holds have the same place: that bounds them.
            data = self._inside(*self.tables.packed, "packed relocation table")
            try:
                unpacked = relocation.unpack(data, self.stat.st_size // relocation.WORD)
            except ValueError as error:
                raise Damaged(f"{self.path}: its packed relocation table {error}") from None
        tables = [one for one in (self.tables.rela, self.tables.plt) if one[1]]
        for table in tables:
            self._check_inside(*table, "relocation table")
        return self._rela_tables(tables, unpacked)

    def _rela_tables(self, extents: Iterable[tuple[int, int]], unpacked: bytes = b"") -> RelaTables:
        crowded = Damaged(f"{self.path}: its relocations are more than memory has room for")
        return RelaTables(self._file.whole, extents, crowded, unpacked)

    @cached_property
    def _relocation_symbols(self) -> SymbolTable:
        return SymbolTable(self._file, self.tables.symbols, self.tables.strings)

    @cached_property
    def relr_places(self) -> array[int]:
        """The places that the RELR table relocates, ascending, in whatever order it has them."""
        places = array("Q")
        most = sum(one.file_size for one in self.segments) // relocation.WORD
        ascending = True
        for place in relocation.relr_places(self._inside(*self.tables.relr, "RELR table")):
            # Held by the file, none twice: so the file's size bounds their number, too.
            segment = self.segment(place)
            held = segment is not None and segment.holds(place, relocation.WORD)
            if not held or len(places) > most:
                raise self._astray(place)
            ascending = ascending and (not places or places[-1] < place)
            places.append(place)
        if not ascending:
            places = array("Q", sorted(places))
        for before, place in pairwise(places):
            if place < before + relocation.WORD:
                raise self._astray(place)
        return places

    def _astray(self, place: int) -> Damaged:
        return Damaged(f"{self.path}: its RELR table relocates {place:#x}, which cannot be")

    def relocations(self, start: int = 0, end: int = _TOP) -> Iterator[Relocation]:
        """The dynamic relocations with start <= place < end.

        As a loader takes them: RELR first, and the entries for a place in their order.
        """
        places = self.relr_places
        for place in places[bisect_left(places, start) : bisect_left(places, end)]:
            yield Relocation(place, relocation.RELR, "", 0, None)
        for entry in self._rela.between(start, end):
            name = self._relocation_symbols[entry.symbol].name if entry.symbol else ""
            yield Relocation(entry.place, entry.type, name, entry.addend, entry.offset)

    def relocation(self, address: int) -> Relocation | None:
        """The dynamic relocation whose place is an address; the last applied of several."""
        found = list(self.relocations(address, address + 1))
        return found[-1] if found else None

    # Relocatable objects

    def _lay_out(self) -> None:
        """Gives the sections that memory is made of their addresses, code first.

        Executable ones lie together, as a branch from one has to reach the others.
        """
        parts = (
            (not flags & _SHF_EXECINSTR, index)
            for index, flags in enumerate(self._section_flags)
            if flags & _SHF_ALLOC
        )
        self._parts = array("Q", (index for _, index in sorted(parts)))
        sections = self.sections
        sizes = ((one.size, max(one.align, 8)) for one in map(sections.__getitem__, self._parts))
        try:
            starts = relocatable.addresses(sizes)
        except relocatable.OutOfReach:
            raise Damaged(f"{self.path}: its sections have impossible sizes") from None
        bases = array("Q", bytes(8 * len(sections)))
        for index, address in zip(self._parts, starts):
            bases[index] = address
        self._bases = bases

        def placed(index: int) -> Section:
            one = sections[index]
            return Section(*one[:3], bases[index], *one[4:])

        self.sections = Records(len(sections), placed)
        numbers = self._parts
        self.segments = Records(len(starts), lambda n: _part(sections[numbers[n]], starts[n]))
        self._starts = starts
        self._check_segments()

    def _object_patches(self, number: int, start: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What a linker stores into a block of a section, by address."""

        def word(at: int) -> int:
            return int.from_bytes(data[at - start : at - start + 4], "little")

        try:
            yield from self._object_relocations(number).patches(start, start + len(data), word)
        except relocatable.OutOfReach:
            raise ElfError(
                f"{self.path}: too large to look at as an object, as its branches do not reach "
                "across it: link it first"
            ) from None

    def _object_relocations(self, number: int) -> relocatable.Relocations:
        """The relocations of a section, by its segment's number."""
        if number not in self._object_tables:
            if len(self._object_tables) >= _BLOCKS:
                self._object_tables.clear()
            self._object_tables[number] = self._find_object_relocations(number)
        return self._object_tables[number]

    def _find_object_relocations(self, number: int) -> relocatable.Relocations:
        tables = []
        for index in self._relocating.get(self._parts[number], ()):
            one = self.sections[index]
            if one.type != _SHT_RELA:
                raise ElfError(
                    f"{self.path}: section {index} has relocations of a kind that is not known "
                    f"here (type {one.type:#x}, not SHT_RELA): link it first"
                )
            self._check_inside(one.offset, one.size, "relocation table")
            tables.append((one.offset, one.size))
        return relocatable.Relocations(
            self._starts[number], self._rela_tables(tables), self._object_symbols
        )

    @cached_property
    def _relocating(self) -> dict[int, list[int]]:
        """By a section's number the numbers of the sections with its relocations."""
        found: dict[int, list[int]] = {}
        for index, one in self._of_type(_SHT_RELA, _SHT_REL, _SHT_CREL):
            if one.info < len(self._bases) and self._bases[one.info]:
                found.setdefault(one.info, []).append(index)
        return found

    def _first(self, kind: int) -> Section | None:
        return next((one for _, one in self._of_type(kind)), None)

    @cached_property
    def _object_symbols(self) -> relocatable.Symbols:
        """The symbol table of a relocatable object, with the addresses that symbols get."""
        table = self._first(_SHT_SYMTAB)
        more = self._first(_SHT_SYMTAB_SHNDX)
        if table:
            self._check_inside(table.offset, table.size, "symbol table")
        if more:
            self._check_inside(more.offset, more.size, "section index table")
        return relocatable.Symbols(self._file, self._extent(table), self._extent(more), self._bases)

    def elsewhere(self, address: int) -> str:
        """What an address stands for that is not in a relocatable object's memory; or "".

        A symbol of another file, or one whose section is not part of memory.
        """
        found = None if self.linked else self._object_symbols.foreign(address)
        if found is None:
            return ""
        index, addend = found
        if not index:
            return hex(addend)
        table = self._first(_SHT_SYMTAB)
        inside = table is not None and ENTRY_SIZE * (index + 1) <= table.size
        name = self._symbol_tables[0][index].name if inside else ""
        section = self._object_symbols.section(index)
        if not name and 0 < section < len(self.sections):
            name = self._section_name(self.sections[section])
        name = name or f"symbol {index}"
        return f"{name}{addend:+#x}" if addend else name

    def locate(self, address: int) -> tuple[str, int]:
        """The section and the offset in it, in a relocatable object; else "" and the address."""
        if self.linked:
            return "", address
        number = bisect_right(self._starts, address) - 1
        if number < 0 or address > self.segments[number].end:  # its end is in no other section
            return "", address
        section = self.sections[self._parts[number]]
        return self._section_name(section), address - section.address

    def where(self, address: int) -> str:
        """An address for people: 0x..., or what stands for it in a relocatable object."""
        section, offset = self.locate(address)
        return f"{section}+{offset:#x}" if section else self.elsewhere(address) or hex(address)

    def _section_name(self, section: Section) -> str:
        if not 0 < self._section_names < len(self.sections):
            raise Damaged(f"{self.path}: its sections have no names")
        names = self.sections[self._section_names]
        self._check_inside(names.offset, names.size, "string table")
        size = max(min(NAME, names.size - section.name), 0)
        return printable(self._file(names.offset + section.name, size).partition(b"\0")[0])

    # Symbols

    def _linked(self, index: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Where a symbol table is and where its strings are, by the number of its section."""
        if not 0 < index < len(self.sections):
            raise Damaged(f"{self.path}: there is no section {index}, which another one names")
        table = self.sections[index]
        if table.entry_size != ENTRY_SIZE:
            raise Damaged(
                f"{self.path}: a symbol table with entries of {table.entry_size} bytes, "
                f"not {ENTRY_SIZE}"
            )
        if not 0 < table.link < len(self.sections) or self.sections[table.link].type != _SHT_STRTAB:
            raise Damaged(f"{self.path}: section {table.link} is no string table, as it should be")
        strings = self.sections[table.link]
        self._check_inside(table.offset, table.size, "symbol table")
        self._check_inside(strings.offset, strings.size, "string table")
        return self._extent(table), self._extent(strings)

    @cached_property
    def _symbol_tables(self) -> list[SymbolTable]:
        """.symtab, which strip takes away, and .dynsym; then those of the file with symbols."""
        own = [
            SymbolTable(self._symbol_reader(one), *self._linked(index))
            for kind in (_SHT_SYMTAB, _SHT_DYNSYM)
            for index, one in self._of_type(kind)
        ]
        return own + (self.debug._symbol_tables if self.debug else [])

    @property
    def stripped(self) -> bool:
        """Whether it has no table of all its symbols, nor has another file's."""
        files = [self, self.debug] if self.debug else [self]
        return all(one._first(_SHT_SYMTAB) is None for one in files)

    def use_symbols_of(self, debug: Image) -> None:
        """Takes the symbols of a file besides its own: see debug_file.py, which checks it."""
        self.debug = debug
        self._by_name.clear()
        self.__dict__.pop("_symbol_tables", None)

    def _symbol_reader(self, section: Section) -> Callable[[int, int], bytes]:
        """Reads the file; of a relocatable object's symbols, with the addresses they get."""
        if self.linked or section.type != _SHT_SYMTAB:
            return self._file
        return self._object_symbols.entries

    def symbols(self, *prefixes: str) -> list[Symbol]:
        """The symbols that the file defines and whose name starts with one of the prefixes."""
        found = {
            (symbol.name, symbol.value): symbol
            for table in reversed(self._symbol_tables)
            for symbol in table.named(*prefixes)
            if symbol.defined
        }
        return list(found.values())

    def symbol(self, name: str) -> Symbol:
        """The symbol of this name that the file defines; a global one before local ones.

        Raises NoSuchSymbol, and AmbiguousSymbol where local ones lie at several addresses.
        """
        found = self.named(name)
        defined = [one for one in found if one.defined]
        if not defined:
            why = "it is another file's" if found else "none has this name"
            if self.stripped and not found:
                why = "its symbols are stripped: give the file that has them with --debug-file"
            raise NoSuchSymbol(f"{self.path}: no symbol {name}: {why}")
        chosen = [one for one in defined if one.binding != LOCAL] or defined
        addresses = sorted({one.value for one in chosen})
        if len(addresses) > 1:
            places = ", ".join(map(hex, addresses))
            raise AmbiguousSymbol(f"{self.path}: {name} is at {places}: say which by the address")
        return min(chosen, key=lambda one: one.preference)

    def named(self, name: str) -> list[Symbol]:
        """All symbols of this name, those of other files too."""
        if name not in self._by_name:
            if len(self._by_name) >= _NAMES:
                self._by_name.clear()
            self._by_name[name] = [
                one for table in self._symbol_tables for one in table.named(name + "\0")
            ]
        return self._by_name[name]

    def names(self, addresses: Collection[int]) -> dict[int, str]:
        """What is exactly at these addresses, by its symbol; the rest is left out.

        Of several names a function's, a global one's and then the first in the alphabet.
        """
        best: dict[int, Symbol] = {}
        for table in self._symbol_tables:
            for symbol in table.at(set(addresses)):
                other = best.get(symbol.value, symbol)
                if symbol.defined:
                    best[symbol.value] = min(symbol, other, key=lambda one: one.preference)
        return {address: symbol.name for address, symbol in best.items()}

    def function(self, address: int) -> Symbol | None:
        """The function that an address is in, by the symbols' sizes."""
        found = [
            one
            for table in self._symbol_tables
            for one in table.functions_around(address)
            if one.defined
        ]
        return min(found, key=lambda one: one.preference, default=None)

    # Searches

    @cached_property
    def _code_runs(self) -> list[tuple[int, int, int]]:
        """Address, file offset and size of what is in executable sections, by address.

        Of a file without sections, of its executable segments.
        """
        wanted = _SHF_ALLOC | _SHF_EXECINSTR
        code = (
            self.sections[index]
            for index, flags in enumerate(self._section_flags)
            if flags & wanted == wanted
        )
        return sorted(
            (one.address, one.offset, one.size)
            for one in code
            if one.size and one.type != _SHT_NOBITS
        ) or [(one.address, one.offset, one.file_size) for one in self.segments if one.executable]

    def find(self, pattern: bytes) -> Iterator[int]:
        """The addresses, multiples of 4, where these bytes are in the code."""
        for address, data, _ in self.code(more=len(pattern) - 1):
            at = data.find(pattern)
            while at >= 0:
                if (address + at) % 4 == 0:
                    yield address + at
                at = data.find(pattern, at + 1)

    def code(self, more: int = 0) -> Iterator[tuple[int, bytes, int]]:
        """The code in chunks, as the file has it: address, bytes and the address of the origin.

        Each chunk has `more` bytes of the next one. The origin is where a section starts in a
        relocatable object, whose offsets alone are sure; in a linked file 0.
        """
        done = 0
        for address, offset, size in self._code_runs:
            self._check_inside(offset, size, "code")
            start = max(address, done) + 3 & -4  # nothing twice, even where sections overlap
            for at in range(start - address, size, _CHUNK):
                data = self._file(offset + at, min(_CHUNK + more, size - at))
                yield address + at, data, 0 if self.linked else address
            done = max(done, address + size)

    def sites(self, entries: Collection[int]) -> dict[int, int]:
        """How many BL and B in the code go to each of these addresses."""
        if self.linked:
            return count_sites(((address, data) for address, data, _ in self.code()), entries)
        relocated = dict.fromkeys(entries, 0)
        others = count_sites(self._other_branches(relocated), entries)
        return {entry: relocated[entry] + others[entry] for entry in entries}

    def _other_branches(self, counts: dict[int, int]) -> Iterator[tuple[int, bytes]]:
        """An object's code without the branches that relocations make; those are counted here."""
        for address, data, section in self.code():
            number = bisect_left(self._starts, section)
            rest = bytearray(data)
            branches = self._object_relocations(number).branches(address, address + len(data))
            for at, destination in branches:
                rest[at - address : at - address + 4] = bytes(4)
                if destination in counts:
                    counts[destination] += 1
            yield address, bytes(rest[: len(data)])
