"""What stores into the memory of an ELF image change in its file: bytes, and relocations.

If a loader makes a pointer from a relocation, the relocation changes. A new pointer may need a
relocation that the file does not have. What more than one thing depends on is never changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from static_call.elf import arm64, dynamic, relocation
from static_call.elf.errors import Damaged, ElfError
from static_call.elf.image import Image
from static_call.elf.relocation import RELA, Relocation
from static_call.elf.structure import structure

IN_PROCESS = "set it in the running process"
"""A remedy, for messages."""

_PAGE = 1 << 12  # the smallest that arm64 has
_WIDEST = 16  # bytes that a relocation stores: R_AARCH64_TLSDESC
_CHANGEABLE = (arm64.NONE, arm64.RELATIVE, arm64.ABS64, arm64.GLOB_DAT)


class NeedsRelocation(ElfError):
    """A pointer must be relocated when the file is loaded, and there is no relocation for it."""


class Unsafe(ElfError):
    """A change would affect more than was asked, or a loader might undo it."""


Patch = tuple[int, bytes]
"""An offset in the file, and the bytes that will be there."""

Store = tuple[int, int]
"""The address and the size of what was stored, in bytes: at most a pointer."""


class Stores:
    """The memory of an image with stores made into it.

    Attributes:
        image: the image; its file does not change here.
        stores: what was stored.
    """

    def __init__(self, image: Image) -> None:
        """Starts without stores."""
        self.image: Image = image
        self.stores: set[Store] = set()
        self._bytes: dict[int, int] = {}  # by address

    def read(self, address: int, size: int) -> bytes:
        """The program's memory with the stores made so far; fewer bytes if memory ends."""
        data = self.image.read(address, size)
        if not self._bytes:
            return data
        return bytes(self._bytes.get(address + i, byte) for i, byte in enumerate(data))

    def write(self, address: int, data: bytes) -> None:
        """Stores bytes. Each 8 bytes of data are one pointer."""
        self._bytes.update(enumerate(data, address))
        size = self.image.pointer_size
        for at in range(0, len(data), size):
            self.stores.add((address + at, min(size, len(data) - at)))

    def number(self, address: int, size: int) -> int:
        """The number in `size` bytes of memory, with the stores made so far."""
        return int.from_bytes(self.read(address, size), self.image.order)

    def must_move(self, value: int, size: int) -> bool:
        """Whether a stored number must be relocated: it points into an image that may move.

        Two instructions never look like a pointer: the upper half of an address is not an
        instruction.
        """
        image = self.image
        return (
            size == image.pointer_size
            and image.position_independent
            and value != 0
            and image.segments.at(value) is not None
        )


class Changes:
    """What stores change in the file.

    Attributes:
        patches: the patches of memory and of relocations.
        relr: the addresses that the RELR table relocates afterwards.
    """

    def __init__(self, memory: Stores) -> None:
        """Finds them.

        Raises:
            NeedsRelocation: a pointer would have to be relocated, and cannot be.
            Unsafe: more than was asked would change, or a loader might undo it.
            NotInFile: the file does not hold the memory.
        """
        self._memory, self._image = memory, memory.image
        self._word = self._image.pointer_size
        self.relr: set[int] = set(self._image.loader.relr_addresses)
        stored, entries = self._collect()
        if stored or entries:
            self._check_safe(stored, entries)
        self.patches: list[Patch] = stored + entries

    def _collect(self) -> tuple[list[Patch], list[Patch]]:
        """The patches of memory and of relocations."""
        image = self._image
        memory: list[Patch] = []
        entries: list[Patch] = []
        unused: list[int] = []  # offsets of the RELA entries that store nothing any more
        for address, size in sorted(self._memory.stores):
            data = self._memory.read(address, size)
            if len(data) == size and data == image.read(address, size):
                continue
            memory.append((image.segments.offset(address, size), data))
            value = int.from_bytes(data, image.order)
            entry = self._relocation(address, size)
            if entry is not None and entry.offset is not None:
                entries.append(self._relocate(entry, entry.offset, value))
                if not self._counts(entry, value, memory[-1][0]):
                    del memory[-1]
                unused += [entry.offset] if not value else []
            elif entry is not None and not value:
                self.relr.remove(address)  # the loader adds to what is there, so it must not come
            elif entry is None and self._memory.must_move(value, size):
                self.relr.add(self._new_address(address, value))
        return memory, entries + self._leading(unused) + self._relr_table()

    # What may not change

    def _check_safe(self, memory: list[Patch], entries: list[Patch]) -> None:
        """Refuses changes that affect more than was asked, or that a loader may undo."""
        image = self._image
        if why := dynamic.unchangeable(image.loader.dynamic):
            raise Unsafe(f"{image.path}: {why}")
        if image.position_independent and not image.loader.dynamic and not image.sections:
            raise Unsafe(
                f"{image.path}: it has neither a dynamic section nor section headers, so its "
                "relocations cannot be found"
            )
        parts = structure(image)
        for offset, data in memory:
            self._check_one_segment(offset, len(data))
            for start, end, what in parts:
                if start < offset + len(data) and offset < end:
                    raise Unsafe(
                        f"{image.path}: byte {offset:#x} of the file, which would change, belongs "
                        f"to its {what}"
                    )
        for offset, data in entries:
            self._check_one_segment(offset, len(data))
        self._check_agreement(memory + entries)
        self._check_copied()

    def _check_one_segment(self, offset: int, size: int) -> None:
        """Refuses bytes of the file that are in memory twice, or at an unexpected address."""
        path, segments = self._image.path, self._image.segments
        having = [
            one
            for one in segments
            if one.offset < offset + size and offset < one.offset + one.file_size
        ]
        if len(having) != 1:
            many = f"{len(having)} segments" if having else "no segment"
            raise Unsafe(f"{path}: byte {offset:#x} of the file, which would change, is in {many}")
        if any((one.address - one.offset) % _PAGE for one in segments):
            return  # for a loader that copies: no pages are mapped
        shift = having[0].address - having[0].offset
        for one in segments:
            first, last = one.address & -_PAGE, one.end + _PAGE - 1 & -_PAGE
            within = first < offset + shift + size and offset + shift < last
            if within and one.address - one.offset != shift:
                raise Unsafe(
                    f"{path}: the segment at {one.address:#x} shares a page of memory with "
                    f"{offset + shift:#x} and has other bytes of the file there"
                )

    def _check_agreement(self, patches: list[Patch]) -> None:
        """Refuses patches that contradict each other: pointers in the relocation tables."""
        contents: dict[int, int] = {}
        for offset, data in patches:
            for at, byte in enumerate(data, offset):
                if contents.setdefault(at, byte) != byte:
                    raise Damaged(f"{self._image.path}: relocations and pointers overlap")

    def _check_copied(self) -> None:
        """Refuses stores into what a loader overwrites with another file's variable."""
        copied = self._image.loader.copied()
        for address, size in self._memory.stores:
            if any(at < address + size and address < at + length for at, length in copied):
                raise Unsafe(
                    f"{self._image.path}: a loader copies another file's variable over "
                    f"{address:#x} (R_AARCH64_COPY)"
                )

    # Relocations

    def _relocation(self, address: int, size: int) -> Relocation | None:
        """The relocation that makes the pointer at an address."""
        path = self._image.path
        entries = list(self._touching(address, size))
        if any(entry.address != address or size != self._word for entry in entries):
            raise NeedsRelocation(
                f"{path}: a relocation at {entries[0].address:#x} makes a part of the "
                f"{size} bytes at {address:#x}"
            )
        if len(entries) > 1:
            raise NeedsRelocation(
                f"{path}: {len(entries)} relocations make the pointer at {address:#x}, and "
                "which one counts depends on the loader"
            )
        return self._changeable(entries[0]) if entries else None

    def _touching(self, address: int, size: int) -> Iterator[Relocation]:
        """The relocations that store into some of these bytes."""
        for one in self._image.loader.relocations(address - _WIDEST + 1, address + size):
            stored = _WIDEST if one.type == arm64.TLSDESC else self._word
            if one.address + stored > address:
                yield one

    def _changeable(self, entry: Relocation) -> Relocation:
        """The relocation. Raises NeedsRelocation if it must stay.

        A loader accepts R_AARCH64_RELATIVE and R_AARCH64_NONE anywhere in DT_RELA's table. But it
        assumes that the first DT_RELACOUNT relocations are RELATIVE: see _leading. DT_JMPREL's
        table may have neither.
        """
        loader = self._image.loader
        pointer = f"{self._image.path}: the pointer at {entry.address:#x} is made by"
        if entry.type == arm64.RELR:
            return entry
        if entry.offset is None:
            raise NeedsRelocation(
                f"{pointer} a packed relocation (DT_ANDROID_RELA), which is not changed here: link "
                f"it with -Wl,--pack-dyn-relocs=none, or {IN_PROCESS}"
            )
        start, size = loader.tables.plt
        if entry.type not in _CHANGEABLE or start <= entry.offset < start + size:
            raise NeedsRelocation(
                f"{pointer} a relocation of type {entry.type} against "
                f"{entry.symbol or 'no symbol'}, which must stay: {IN_PROCESS}"
            )
        start, size = loader.tables.rela
        count, _ = loader.dynamic.get(dynamic.RELACOUNT, (0, 0))
        leading = start <= entry.offset < start + min(size, count * RELA.size)
        if leading and entry.type != arm64.RELATIVE:
            raise Damaged(
                f"{pointer} a relocation of type {entry.type} among the first {count}, which "
                "DT_RELACOUNT says are R_AARCH64_RELATIVE"
            )
        return entry

    def _relocate(self, entry: Relocation, at: int, value: int) -> Patch:
        """Makes the RELA entry at `at` store a value; for 0 it becomes R_AARCH64_NONE."""
        kind = arm64.RELATIVE if value else arm64.NONE
        return at, RELA.pack(entry.address, kind, 0, value - (value >> 63 << 64))

    def _counts(self, entry: Relocation, value: int, offset: int) -> bool:
        """Whether the pointer's own bytes change too, if a RELA entry makes it.

        A linker leaves 0 or the addend there (--apply-dynamic-relocs), and a loader overwrites it.
        If the entry no longer stores anything, these bytes are the pointer.
        """
        held = int.from_bytes(os.pread(self._image.fileno(), self._word, offset), self._image.order)
        return not value or held == entry.addend % (1 << 64)

    def _leading(self, unused: Iterable[int]) -> list[Patch]:
        """The new DT_RELACOUNT, the number of R_AARCH64_RELATIVE at the table's start."""
        start, size = self._image.loader.tables.rela
        count, at = self._image.loader.dynamic.get(dynamic.RELACOUNT, (0, 0))
        indexes = ((offset - start) // RELA.size for offset in unused if offset < start + size)
        first = min(indexes, default=count)
        patch = at, first.to_bytes(self._word, self._image.order)
        return [patch] if 0 <= first < count else []

    def _new_address(self, address: int, value: int) -> int:
        """The address, if a RELR table may relocate it and nothing did before."""
        segment, (_, size) = self._image.segments.at(address), self._image.loader.tables.relr
        if not size or not segment or not segment.writable or address % self._word:
            raise NeedsRelocation(
                f"{self._image.path}: the pointer at {address:#x} would need a relocation to point "
                f"to {value:#x}, and the file has none there: link it with -no-pie, or with "
                f"-Wl,-z,pack-relative-relocs (lld: -Wl,--pack-dyn-relocs=relr), or {IN_PROCESS}"
            )
        return address

    def _relr_table(self) -> list[Patch]:
        """The RELR table, if it changes; it keeps its size."""
        if self.relr == set(self._image.loader.relr_addresses):
            return []
        offset, size = self._image.loader.tables.relr
        table = relocation.relr_table(sorted(self.relr))
        if len(table) > size:
            raise NeedsRelocation(
                f"{self._image.path}: its RELR table has no room for more addresses: {IN_PROCESS}"
            )
        nothing = (1).to_bytes(
            self._word, self._image.order
        )  # a bitmap without addresses; lld does so
        return [(offset, table + nothing * ((size - len(table)) // self._word))]
