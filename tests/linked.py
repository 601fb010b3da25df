"""A linked arm64 ELF file as it is in memory, read with pyelftools alone.

Tests compare what they find in files with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

R_AARCH64_NONE = 0
R_AARCH64_ABS64, R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT = 257, 1025, 1026
R_AARCH64_RELATIVE, R_AARCH64_IRELATIVE = 1027, 1032
DF_TEXTREL = 4
PF_X = 1
SHF_ALLOC, SHF_TLS = 2, 0x400


@dataclass(frozen=True)
class Relocation:
    """A dynamic relocation of the word at `offset`; `entry` is the address of its own entry."""

    entry: int
    offset: int
    type: int
    symbol: str
    addend: int


@dataclass(frozen=True)
class Symbol:
    """A symbol of .symtab or .dynsym: `visibility` is DEFAULT, PROTECTED or HIDDEN."""

    name: str
    value: int
    size: int
    type: str
    visibility: str
    defined: bool


@dataclass
class Linked:
    """A linked file. `data` may be changed and saved."""

    path: Path
    data: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self.data = bytearray(self.path.read_bytes())

    @property
    def elf(self) -> Any:
        """The file through pyelftools."""
        return ELFFile(BytesIO(bytes(self.data)))

    @cached_property
    def _segments(self) -> list[tuple[int, int, int, int]]:
        return [
            (s["p_vaddr"], s["p_offset"], s["p_filesz"], s["p_flags"])
            for s in self.elf.iter_segments("PT_LOAD")
        ]

    def _table(self, name: str) -> dict[str, Symbol]:
        section = self.elf.get_section_by_name(name)
        if not isinstance(section, SymbolTableSection):
            return {}
        return {
            symbol.name: Symbol(
                symbol.name,
                symbol["st_value"],
                symbol["st_size"],
                symbol["st_info"]["type"].removeprefix("STT_"),
                symbol["st_other"]["visibility"].removeprefix("STV_"),
                symbol["st_shndx"] != "SHN_UNDEF",
            )
            for symbol in section.iter_symbols()
            if symbol.name
        }

    @cached_property
    def symbols(self) -> dict[str, Symbol]:
        """The symbol table, by name."""
        return self._table(".symtab")

    @cached_property
    def exported(self) -> dict[str, Symbol]:
        """The dynamic symbol table, by name."""
        return self._table(".dynsym")

    @cached_property
    def relocations(self) -> list[Relocation]:
        """The dynamic relocations, without those of type NONE, which GNU ld pads with."""
        found = []
        for section in self.elf.iter_sections():
            if isinstance(section, RelocationSection) and section["sh_flags"] & SHF_ALLOC:
                symbols = self.elf.get_section(section["sh_link"])
                for count, one in enumerate(section.iter_relocations()):
                    index = one["r_info_sym"]
                    name = symbols.get_symbol(index).name if index else ""
                    entry = section["sh_addr"] + count * section["sh_entsize"]
                    found.append(
                        Relocation(
                            entry, one["r_offset"], one["r_info_type"], name, one["r_addend"]
                        )
                    )
        return [one for one in found if one.type != R_AARCH64_NONE]

    @property
    def text_relocations(self) -> list[Relocation]:
        """Those that would write to code."""
        return [
            one
            for one in self.relocations
            for start, _, size, flags in self._segments
            if flags & PF_X and start <= one.offset < start + size
        ]

    @property
    def has_textrel(self) -> bool:
        """Whether the dynamic section announces text relocations."""
        for section in self.elf.iter_sections():
            if isinstance(section, DynamicSection):
                for tag in section.iter_tags():
                    value = tag.entry.d_val
                    if tag.entry.d_tag == "DT_TEXTREL":
                        return True
                    if tag.entry.d_tag == "DT_FLAGS" and value & DF_TEXTREL:
                        return True
        return False

    def section_of(self, address: int) -> str:
        """The name of the section that an address is in, or ""."""
        for section in self.elf.iter_sections():
            start = section["sh_addr"]
            there = section["sh_flags"] & (SHF_ALLOC | SHF_TLS) == SHF_ALLOC
            if there and start <= address < start + section["sh_size"]:
                return str(section.name)
        return ""

    def offset(self, address: int) -> int:
        """Where in the file an address is."""
        for start, offset, size, _ in self._segments:
            if start <= address < start + size:
                return offset + address - start
        raise KeyError(f"{address:#x} is not in {self.path}")

    def relocated(self, one: Relocation) -> int:
        """What a relocation writes when the file is loaded at address 0."""
        if one.type in (R_AARCH64_RELATIVE, R_AARCH64_IRELATIVE):
            return one.addend
        return self.exported[one.symbol].value + one.addend

    @cached_property
    def _relocated(self) -> dict[int, int]:
        kinds = (R_AARCH64_ABS64, R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT, R_AARCH64_RELATIVE)
        return {one.offset: self.relocated(one) for one in self.relocations if one.type in kinds}

    def read(self, address: int, size: int) -> bytes:
        """Memory as the program finds it, loaded at address 0."""
        try:
            at = self.offset(address)
        except KeyError:
            return b""
        data = bytearray(self.data[at : at + size])
        for place, value in self._relocated.items():
            if address <= place and place + 8 <= address + size:
                data[place - address : place - address + 8] = value.to_bytes(8, "little")
        return bytes(data)

    def word(self, address: int) -> int:
        """The 64-bit word at an address, as the program finds it."""
        return int.from_bytes(self.read(address, 8), "little")

    def write(self, address: int, data: bytes) -> None:
        """Changes the file's bytes at an address."""
        at = self.offset(address)
        self.data[at : at + len(data)] = data

    def write_word(self, address: int, value: int) -> None:
        """Changes a 64-bit word, and what the dynamic linker will make of it."""
        self.write(address, value.to_bytes(8, "little"))
        for one in self.relocations:
            if one.offset == address:
                assert one.type == R_AARCH64_RELATIVE, f"{one} is not R_AARCH64_RELATIVE"
                self.write(one.entry + 16, value.to_bytes(8, "little"))

    def save(self, path: Path) -> Path:
        """Writes the file, executable, to another path."""
        path.write_bytes(self.data)
        path.chmod(0o755)
        return path
