"""Changes of ELF files for tests, where pyelftools is not installed."""

from __future__ import annotations

import struct


def move_symbol(data: bytes, name: bytes, by: int) -> bytes:
    """A 64-bit ELF file with a symbol's value changed, in all its symbol tables.

    Elf64_Ehdr, Elf64_Shdr and Elf64_Sym of the System V ABI.
    """
    changed = bytearray(data)
    (table,) = struct.unpack_from("<Q", data, 40)
    (number,) = struct.unpack_from("<H", data, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + 64 * n) for n in range(number)]
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind not in (2, 11):  # SHT_SYMTAB, SHT_DYNSYM
            continue
        strings = sections[link][4]
        for at in range(offset, offset + size, 24):
            start = strings + struct.unpack_from("<I", data, at)[0]
            if data[start : data.index(0, start)] == name:
                (value,) = struct.unpack_from("<Q", data, at + 8)
                struct.pack_into("<Q", changed, at + 8, value + by)
    return bytes(changed)
