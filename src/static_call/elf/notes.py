"""Notes in an ELF file: the build-id, and the mark for BTI. Layouts are those of the ELF gABI;
numbers are those of glibc's elf.h and of aaelf64."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from static_call.elf.headers import PT_GNU_PROPERTY, SHT_NOTE, Extent, Headers
from static_call.elf.reader import Reader

_NOTE = struct.Struct("<3I4s")
_NT_GNU_BUILD_ID, _NT_GNU_PROPERTY_TYPE_0, _AARCH64_FEATURE_1_AND, _BTI = 3, 5, 0xC0000000, 1

_MOST = 1 << 20
"""The most bytes of a note segment or section. Linkers make a few hundred."""

_MOST_PROPERTIES = 1 << 12
"""The most bytes of a property note. Linkers make 32."""


def build_id(file: Reader, headers: Headers) -> bytes:
    """The build-id that a linker put into the file (NT_GNU_BUILD_ID); empty if there is none."""
    for offset, length in _extents(headers):
        data = file(offset, min(length, _MOST))
        at = 0
        while at + _NOTE.size <= len(data):
            name_size, size, kind, name = _NOTE.unpack_from(data, at)
            start = at + 12 + (name_size + 3 & -4)
            if (name_size, kind, name) == (4, _NT_GNU_BUILD_ID, b"GNU\0"):
                return data[start : start + size]
            at = start + (size + 3 & -4)
    return b""


def _extents(headers: Headers) -> Iterator[Extent]:
    """Where notes are in the file."""
    for segment in headers.notes:
        yield segment.offset, segment.file_size
    for _, section in headers.of_type(SHT_NOTE):
        yield section.offset, section.size


def guarded(file: Reader, headers: Headers) -> bool:
    """Whether the file is marked for BTI (GNU_PROPERTY_AARCH64_FEATURE_1_BTI).

    Linux and ld.so go by PT_GNU_PROPERTY, and so does this. Raises Damaged.
    """
    note = headers.others.get(PT_GNU_PROPERTY)
    if note is None:
        return False
    file.check(note.offset, note.file_size, "GNU property note")
    data = file(note.offset, min(note.file_size, _MOST_PROPERTIES))
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
