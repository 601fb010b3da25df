"""The programs and libraries that are loaded into this process, and their static calls."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from static_call import find, notation
from static_call.elf import ElfError, Image
from static_call.errors import StaticCallError
from static_call.places import maps
from static_call.static_call import StaticCall
from static_call.symbols import IFUNC

if TYPE_CHECKING:
    from static_call.places.own_process import OwnProcess


class LoadedObject:
    """An ELF file that is loaded into this process; its static calls by name.

    path          the file's
    bias          what was added to its link addresses
    static_calls  those whose trampolines were found, in memory too
    """

    def __init__(
        self, process: OwnProcess, path: str, bias: int, image: Image, designs: Sequence[str] = ()
    ) -> None:
        """Finds its static calls. Raises elf.ElfError."""
        self.process, self.path, self.bias, self._image = process, path, bias, image
        names = (*designs, *notation.shipped())
        longest = find.longest_first(notation.load(name) for name in names)
        self.static_calls: dict[str, StaticCall] = {}
        for one in find.find(image, longest):
            if one.state is None:
                continue
            call = one.static_call(process, bias, self.resolve)
            try:
                _ = call.state  # of the memory: the file may be another one by now
            except StaticCallError:
                continue
            self.static_calls[one.name] = call

    def __repr__(self) -> str:
        return f"<{self.path} at {self.bias:#x}: {len(self.static_calls)} static calls>"

    def __iter__(self) -> Iterator[StaticCall]:
        return iter(self.static_calls.values())

    def __getitem__(self, name: str) -> StaticCall:
        """A static call by name. Raises find.NoSuchCall."""
        if name not in self.static_calls:
            raise find.NoSuchCall(f"{self.path} has no static call {name} in this process")
        return self.static_calls[name]

    def resolve(self, name: str) -> int:
        """The address of one of its symbols, or of any that dlsym finds. Raises StaticCallError."""
        try:
            symbol = self._image.symbol(name)
        except ElfError:
            return self.process.resolve(name)
        if not symbol.defined or symbol.type == IFUNC:
            return self.process.resolve(name)
        return symbol.value + self.bias


def loaded(process: OwnProcess, designs: Sequence[str] = ()) -> list[LoadedObject]:
    """The objects of this process that have static calls, in order of address."""
    objects = []
    for path, bias, image in _images():
        try:
            one = LoadedObject(process, path, bias, image, designs)
        except ElfError:
            continue
        if one.static_calls:
            objects.append(one)
    return objects


def _images() -> Iterator[tuple[str, int, Image]]:
    """The ELF files that code is mapped from, and what was added to their link addresses."""
    seen = set()
    page = os.sysconf("SC_PAGESIZE")
    for mapping in maps.mappings():
        if (
            "x" not in mapping.permissions
            or not mapping.path.startswith("/")
            or mapping.path in seen
        ):
            continue
        seen.add(mapping.path)
        try:
            image = Image.open(mapping.path)
        except (OSError, ElfError):
            continue  # deleted, or no ELF file: a device, a cache
        for segment in image.segments:
            first = segment.offset & -page <= mapping.offset < segment.offset + segment.file_size
            if segment.executable and first:
                linked = segment.address - segment.offset + mapping.offset
                yield mapping.path, mapping.start - linked, image
                break
