"""Where the memory of an ELF image comes from: its segments, sorted by address."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from static_call.elf.errors import Damaged, NotInFile
from static_call.elf.lazy import Records
from static_call.elf.reader import Reader
from static_call.records import NamedTuple

EXECUTABLE, WRITABLE = 1, 2
"""PF_X and PF_W."""

_TOP = 1 << 64


class Segment(NamedTuple):
    """A program header: `file_size` bytes of the file, then zeros up to `size` bytes.

    Attributes:
        type: PT_LOAD or another PT_ number.
        flags: PF_ bits.
        offset: where its bytes are in the file.
        address: where its memory begins.
        file_size: bytes of memory that the file holds.
        size: bytes of memory.
        align: the alignment of the address, in bytes.
    """

    type: int
    flags: int
    offset: int
    address: int
    file_size: int
    size: int
    align: int = 1

    @property
    def end(self) -> int:
        """The address after its memory."""
        return self.address + self.size

    @property
    def executable(self) -> bool:
        """Whether the program may execute it."""
        return bool(self.flags & EXECUTABLE)

    @property
    def writable(self) -> bool:
        """Whether the program, and so a loader, may write to it."""
        return bool(self.flags & WRITABLE)

    def holds(self, address: int, size: int) -> bool:
        """Whether the file holds these bytes of the segment's memory; it doesn't hold .bss."""
        return address - self.address + size <= self.file_size


class Segments:
    """The segments that memory consists of, in order of address.

    Attributes:
        starts: their addresses.
    """

    def __init__(
        self, file: Reader, every: Sequence[Segment] | Records[Segment], starts: array[int]
    ) -> None:
        """Takes the segments, in order of address, and their addresses.

        An object with half a million sections has as many segments, so `every` may make them on
        demand. Raises Damaged unless each is in the file and in the address space, and overlaps no
        other.
        """
        self._file, self._every = file, every
        self.starts: array[int] = starts
        before = 0
        for one in every:
            where = f"{file.path}: the segment at {one.address:#x}"
            if one.offset + one.file_size > file.stat.st_size:
                raise Damaged(
                    f"{where} ends at byte {one.offset + one.file_size:#x} of the file, "
                    f"which has {file.stat.st_size:#x}: is it truncated?"
                )
            if one.file_size > one.size or one.end > _TOP:
                raise Damaged(f"{where} has an impossible size")
            if one.address < before:
                raise Damaged(f"{where} overlaps the one before it")
            before = one.end

    @classmethod
    def of(cls, file: Reader, loaded: Sequence[Segment]) -> Segments:
        """Those of a linked file, in order of address. Raises Damaged."""
        return cls(file, loaded, array("Q", (one.address for one in loaded)))

    def __len__(self) -> int:
        """How many there are."""
        return len(self.starts)

    def __getitem__(self, index: int) -> Segment:
        """The segment of an index, which may be negative as in a list."""
        return self._every[index]

    def __iter__(self) -> Iterator[Segment]:
        """Each of them, in order."""
        return iter(self._every)

    def number(self, address: int) -> int:
        """The index of the segment that an address is in; -1 if it is in none."""
        number = bisect_right(self.starts, address) - 1
        return number if number >= 0 and address < self._every[number].end else -1

    def at(self, address: int) -> Segment | None:
        """The segment that an address is in."""
        number = self.number(address)
        return self._every[number] if number >= 0 else None

    def offset(self, address: int, size: int) -> int:
        """Where in the file `size` bytes of memory come from.

        Raises NotInFile for .bss and for addresses without memory.
        """
        segment = self.at(address)
        if segment is None:
            raise NotInFile(f"{self._file.path}: nothing is at {address:#x}")
        if not segment.holds(address, size):
            raise NotInFile(
                f"{self._file.path}: the {size} bytes at {address:#x} are not in the file: "
                "memory that starts as zeros (.bss)"
            )
        return segment.offset + address - segment.address
