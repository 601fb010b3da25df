"""The parts of an ELF file that are not the program's code and data: none of them may change."""

from __future__ import annotations

from static_call.elf.headers import SHF_ALLOC, SHT_NOBITS, Part
from static_call.elf.image import Image
from static_call.elf.symbols import ENTRY_SIZE

_PROGBITS = 1
_PROGRAM = (0, _PROGBITS, SHT_NOBITS, 14, 15, 16)  # none; data; .bss; arrays of functions


def structure(image: Image) -> list[Part]:
    """The parts of an image's file that are headers, tables or names. Raises ElfError."""
    parts = list(image.headers.parts)
    for one in image.sections:
        if one.type not in _PROGRAM or (one.type == _PROGBITS and not one.flags & SHF_ALLOC):
            parts.append((one.offset, one.offset + one.size, "tables"))
    tables = image.loader.tables
    for offset, size in (tables.rela, tables.plt, tables.relr, tables.packed):
        parts.append((offset, offset + size, "relocations"))
    (symbols, _), (strings, size) = tables.symbols, tables.strings
    parts.append((strings, strings + size, "symbols' names"))
    if image.loader.dynamic and symbols:  # no tag says their size; linkers put the names after them
        end = strings if strings > symbols else symbols + ENTRY_SIZE
        parts.append((symbols, end, "symbols"))
    return [one for one in parts if one[0] < one[1]]
