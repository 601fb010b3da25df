"""The memory of an ELF image, as a loader or a linker makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from static_call.elf.headers import Headers
from static_call.elf.reader import Reader
from static_call.elf.segments import Segments

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from static_call.elf.headers import Order

_BLOCK = 1 << 12
"""Bytes of memory that are made at once: a page, for which relocations are looked up together."""

_BLOCKS = 256
"""How many blocks are kept: 1 MiB. A trampoline is read once for each design, and its key soon
after, so the blocks around a few hundred trampolines serve most reads."""

Patches = Callable[[int, int, bytes], Iterator[tuple[int, bytes]]]
"""Says what relocations store over the file's bytes. Given a segment's index, an address in it and
the bytes that the file has there, it yields addresses and bytes. The first may begin before the
address, and the last may end after the bytes."""


class Memory:
    """The memory of an image.

    Attributes:
        segments: the segments that it consists of.
        order: the order of the bytes in a word.
        pointer_size: bytes in a pointer.
    """

    def __init__(
        self, file: Reader, segments: Segments, patches: Patches, headers: Headers
    ) -> None:
        """Takes the file, the segments, and what relocations store over them."""
        self.segments: Segments = segments
        self._file, self._patches = file, patches
        self.order: Order = headers.order
        self.pointer_size: int = headers.pointer_size
        self._blocks: dict[tuple[int, int], bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """Memory of the program, loaded where it was linked for, with its relocations applied.

        A symbol that another file defines counts as 0. What only a running program knows
        (R_AARCH64_IRELATIVE, TLS) stays as the file has it. There are fewer bytes if memory ends.
        """
        pieces: list[bytes] = []
        while size > 0:
            number = self.segments.number(address)
            if number < 0:
                break
            block, at = divmod(address - self.segments.starts[number], _BLOCK)
            data = self._blocks.get((number, block)) or self._keep(number, block)
            piece = data[at : at + size]
            if len(piece) == size and not pieces:
                return piece
            pieces.append(piece)
            address += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def number(self, address: int, size: int) -> int:
        """The number in `size` bytes of memory; bytes after the end of memory are left out."""
        return int.from_bytes(self.read(address, size), self.order)

    def word(self, address: int) -> int:
        """The instruction word at an address: 4 bytes."""
        return int.from_bytes(self.read(address, 4), self.order)

    def pointer(self, address: int) -> int:
        """The pointer at an address."""
        return int.from_bytes(self.read(address, self.pointer_size), self.order)

    def _keep(self, number: int, block: int) -> bytes:
        data = self._make(number, block)
        if len(self._blocks) >= _BLOCKS:
            self._blocks.clear()
        self._blocks[number, block] = data
        return data

    def _make(self, number: int, block: int) -> bytes:
        """A block of a segment's memory."""
        segment = self.segments[number]
        at = block * _BLOCK
        start = segment.address + at
        size = min(_BLOCK, segment.size - at)
        held = max(0, min(size, segment.file_size - at))
        data = bytearray(size)
        if held:
            data[:held] = self._file.part(segment.offset + at, held, "segment")
        for address, value in self._patches(number, start, bytes(data)):
            first = max(start - address, 0)
            end = min(len(value), start + size - address)
            data[address + first - start : address + end - start] = value[first:end]
        return bytes(data)
