"""The code of an ELF image, and searches in it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from functools import cached_property

from static_call.elf.headers import SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS, Headers
from static_call.elf.reader import Reader
from static_call.elf.segments import Segments

_CHUNK = 1 << 17
"""Bytes of code that are searched at once, 128 KiB: they fit in a second-level cache."""

_TOP = 1 << 64

Branches = Callable[[int, int, int], Iterator[tuple[int, int]]]
"""The branches that a relocatable object's relocations make: see layout.Layout.branches."""


class Code:
    """The code of an image: its executable sections; without sections, its executable segments."""

    def __init__(
        self, file: Reader, headers: Headers, segments: Segments, branches: Branches | None
    ) -> None:
        """Takes what says where the code is; nothing is read before it is asked for.

        Args:
            file: the image's file.
            headers: its headers; the sections must have their addresses.
            segments: the segments that memory consists of.
            branches: those of a relocatable object; None for a linked file.
        """
        self._file, self._headers, self._segments = file, headers, segments
        self._branches = branches

    @cached_property
    def _runs(self) -> list[tuple[int, int, int]]:
        """The address, file offset and size of each piece of code, in order of address."""
        return sorted(
            (one.address, one.offset, one.size)
            for one in self._headers.with_flags(SHF_ALLOC | SHF_EXECINSTR)
            if one.size and one.type != SHT_NOBITS
        ) or [(one.address, one.offset, one.file_size) for one in self._segments if one.executable]

    def holds(self, address: int) -> bool:
        """Whether there is code at an address: its segment, and section if known, is executable."""
        segment = self._segments.at(address)
        if segment is None or not segment.executable:
            return False
        number = bisect_right(self._runs, (address, _TOP, _TOP)) - 1
        start, _, size = self._runs[number] if number >= 0 else (0, 0, 0)
        return address < start + size

    def chunks(self, more: int = 0) -> Iterator[tuple[int, bytes, int]]:
        """The code as the file has it, in pieces: address, bytes and the address of the origin.

        The origin is where the section starts in a relocatable object, as only offsets in a
        section are known there; in a linked file it is 0. Raises Damaged.

        Args:
            more: how many bytes of the next piece to add to each.
        """
        done = 0
        for address, offset, size in self._runs:
            self._file.check(offset, size, "code")
            start = max(address, done) + 3 & -4  # nothing twice, even where sections overlap
            for at in range(start - address, size, _CHUNK):
                data = self._file(offset + at, min(_CHUNK + more, size - at))
                yield address + at, data, address if self._branches else 0
            done = max(done, address + size)

    def find(self, pattern: bytes) -> Iterator[int]:
        """The addresses, multiples of 4, where these bytes are in the code. Raises Damaged."""
        for address, data, _ in self.chunks(more=len(pattern) - 1):
            at = data.find(pattern)
            while at >= 0:
                if (address + at) % 4 == 0:
                    yield address + at
                at = data.find(pattern, at + 1)

    def sites(self, entries: Collection[int]) -> dict[int, int]:
        """How many BL and B in the code go to each of these addresses. Raises Damaged, ElfError."""
        from static_call.elf.sites import count_sites

        if self._branches is None:
            return count_sites(((address, data) for address, data, _ in self.chunks()), entries)
        relocated = dict.fromkeys(entries, 0)
        others = count_sites(self._without(self._branches, relocated), entries)
        return {entry: relocated[entry] + others[entry] for entry in entries}

    def _without(self, made: Branches, counts: dict[int, int]) -> Iterator[tuple[int, bytes]]:
        """An object's code without the branches that relocations make: these are counted here."""
        for address, data, section in self.chunks():
            rest = bytearray(data)
            for at, destination in made(section, address, address + len(data)):
                rest[at - address : at - address + 4] = bytes(4)
                if destination in counts:
                    counts[destination] += 1
            yield address, bytes(rest[: len(data)])
