"""The programs and libraries that are loaded into this process, and their static calls.

/proc/self/maps has a path for each, but another file may be at that path now: after an upgrade or a
move, or because somebody put it there. So the file that is read is the mapped one, through
/proc/self/map_files if the kernel allows that, or else a file with the same inode. Its symbols,
notes and strings are compared with memory, and only what points to its trampoline is accepted as a
key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from static_call import image_calls
from static_call.calls import StaticCall
from static_call.design import notation
from static_call.elf.errors import ElfError
from static_call.elf.image import Image
from static_call.elf.symbols import IFUNC
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.places.own_process import maps
from static_call.places.own_process.maps import Mapping
from static_call.places.own_process.process import Process

_MAGIC, _EM_AARCH64 = b"\x7fELF", 183
_HEADERS = 20  # bytes, e_machine among them
_ALLOC, _EXECINSTR = 2, 4  # SHF_*
_SAME = {3: "strings", 5: "hash table", 7: "notes", 11: "symbols", 0x6FFFFFF6: "hash table"}
"""Types of sections (SHT_*) that have the file's bytes in memory for as long as it is loaded."""

_CODE = 64  # bytes of a function that are compared
_PIECE = 1 << 16
_DELETED = " (deleted)"


class Unreadable(StaticCallError):
    """The file that is mapped cannot be read, or is no longer what it was."""


class LoadedObject:
    """An ELF file that is loaded into this process, as loaded() finds it.

    Attributes:
        process: This process.
        path: The file's path, as /proc/self/maps has it.
        bias: What was added to its link addresses.
        static_calls: Its static calls, by name, if their trampolines were found in memory too.
        unreadable: "", or why its file cannot be read: then its static calls are not known.
    """

    def __init__(
        self,
        process: Process,
        path: str,
        bias: int,
        image: Image | None,
        designs: Sequence[str] = (),
        unreadable: str = "",
    ) -> None:
        """Finds its static calls. Raises ElfError."""
        self.process: Process = process
        self.path: str = path
        self.bias: int = bias
        self.unreadable: str = unreadable
        self._image = image
        self.static_calls: dict[str, StaticCall] = {}
        self._refused: dict[str, str] = {}
        names = (*designs, *notation.shipped())
        longest = image_calls.longest_first(notation.load(name) for name in names)
        for one in image_calls.find(image, longest) if image else ():
            if one.state is None:
                continue
            call = one.static_call(process, bias, self.resolve)
            if why := self._wrong(call):
                self._refused[one.name] = why
            else:
                self.static_calls[one.name] = call

    def _wrong(self, call: StaticCall) -> str:
        """Why a static call of the file is not one in memory too; "" if it is."""
        try:
            _ = call.state
        except StaticCallError as error:
            return str(error)
        if call.key is None:
            return ""
        assert self._image is not None
        segment = self._image.segments.at(call.key - self.bias)
        if segment is None or not segment.writable:
            return f"its key at {call.key:#x} is not in a writable segment of the file"
        if not call.has_own_key:
            return f"what is at {call.key:#x} is not its key: it does not point to the trampoline"
        return ""

    def __repr__(self) -> str:
        if self.unreadable:
            return f"<{self.path} at {self.bias:#x}: {self.unreadable}>"
        return f"<{self.path} at {self.bias:#x}: {len(self.static_calls)} static calls>"

    def __iter__(self) -> Iterator[StaticCall]:
        """Its static calls, in the order of `static_calls`."""
        return iter(self.static_calls.values())

    def __getitem__(self, name: str) -> StaticCall:
        """A static call by name.

        Raises:
            NoSuchCall: It has none of this name whose trampoline and key are in memory too.
            StaticCallError: Its file cannot be read.
        """
        if self.unreadable:
            raise Unreadable(f"{self.path}: {self.unreadable}")
        if name in self._refused:
            raise image_calls.NoSuchCall(f"{self.path}: {name}: {self._refused[name]}")
        if name not in self.static_calls:
            raise image_calls.NoSuchCall(f"{self.path} has no static call {name} in this process")
        return self.static_calls[name]

    def resolve(self, name: str) -> int:
        """The address of one of its symbols, or of any that dlsym finds.

        Raises StaticCallError if there is none, or if the code there is not the file's.
        """
        assert self._image is not None
        try:
            symbol = self._image.names.symbol(name)
        except ElfError:
            return self.process.resolve(name)
        if not symbol.defined or symbol.type == IFUNC:
            return self.process.resolve(name)
        size = min(symbol.size or a64.WORD, _CODE)
        address = symbol.value + self.bias
        mine = any(call.address == address for call in self)
        if not mine and self.process.read(address, size) != self._image.read(symbol.value, size):
            raise Unreadable(
                f"{self.path}: the code of {name} at {address:#x} is not that of the file: "
                "the file was changed after it was loaded, or the code was"
            )
        return address


def loaded(process: Process, designs: Sequence[str] = ()) -> list[LoadedObject]:
    """The objects of this process that have static calls, in order of address.

    After them come the objects whose files cannot be read, so nothing is known about them: see
    `unreadable`.

    Args:
        process: This process.
        designs: Files with your own designs that they may have.
    """
    now = maps.mappings()
    objects: list[LoadedObject] = []
    others: dict[tuple[object, ...], LoadedObject] = {}
    for mapping in now:
        if "x" in mapping.permissions and mapping.path.startswith("/"):
            try:
                one = _object(process, mapping, designs)
            except Unreadable as error:
                start = _start(process, mapping, now)
                if start is not None:
                    others.setdefault(
                        (mapping.file, start),
                        LoadedObject(process, mapping.path, start, None, (), str(error)),
                    )
                continue
            if one is not None and one.static_calls:
                objects.append(one)
    return [*objects, *others.values()]


class Trampolines:
    """The addresses of the trampolines of what is loaded, kept for as long as it is mapped."""

    def __init__(self, process: Process) -> None:
        """Looks up nothing yet."""
        self._process = process
        self._known: dict[tuple[object, ...], list[range]] = {}

    def ranges(self) -> list[range]:
        """The addresses of all trampolines of the objects that are loaded now."""
        known, self._known = self._known, {}
        for mapping in maps.mappings():
            if "x" in mapping.permissions and mapping.path.startswith("/"):
                key = _state(mapping)
                self._known[key] = known[key] if key in known else self._of(mapping)
        return [one for ranges in self._known.values() for one in ranges]

    def _of(self, mapping: Mapping) -> list[range]:
        try:
            one = _object(self._process, mapping)
        except Unreadable:
            return []  # nothing of it was updated from here
        return [call.trampoline.extent for call in one] if one else []


def _state(mapping: Mapping) -> tuple[object, ...]:
    """What distinguishes a mapping from another one that may be at its address later."""
    try:
        status = os.stat(mapping.path)
        changed = status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
    except OSError:
        changed = 0, 0, 0, 0
    return mapping.start, mapping.offset, mapping.file, changed


def _object(process: Process, mapping: Mapping, designs: Sequence[str] = ()) -> LoadedObject | None:
    """The object whose code begins in a mapping, or None. Raises Unreadable."""
    try:
        image = _open(process, mapping)
        if image is None or not image.linked:
            return None
        segment = next((one for one in image.segments if one.executable), None)
        page = os.sysconf("SC_PAGESIZE")
        if segment is None or not (
            segment.offset & -page <= mapping.offset < segment.offset + segment.file_size
        ):
            return None
        linked = segment.address - segment.offset + mapping.offset
        if linked > segment.address:
            return None  # a later part, with other rights
        bias = mapping.start - linked
        if "r" not in mapping.permissions:
            raise Unreadable("its text can be executed but not read, and an update reads it")
        status = image.stat
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
        if what := _differs(process, image, bias, code=device != mapping.device):
            raise Unreadable(what)
        return LoadedObject(process, mapping.path, bias, image, designs)
    except ElfError:
        return None  # not an ELF file (a device, a cache), or not for arm64


def _open(process: Process, mapping: Mapping) -> Image | None:
    """The file that is mapped. Raises Unreadable, and ElfError."""
    if not process.translated:
        # The mapped file itself, whatever is at its path. This takes CAP_CHECKPOINT_RESTORE.
        try:
            image = Image.open(f"/proc/self/map_files/{mapping.start:x}-{mapping.end:x}")
            if image.stat.st_ino == mapping.inode:
                image.path = mapping.path
                return image
            image.close()
        except OSError:
            pass
    why = "its file is not at this path in this process's view"
    if mapping.path.endswith(_DELETED):
        why = "its file was deleted or replaced after it was loaded: restart the program to see it"
    for path in _spellings(mapping.path):
        try:
            image = Image.open(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            why = f"its file cannot be read: {error.strerror}"
            continue
        # Under btrfs and overlayfs the device differs: then code is compared, too.
        if image.stat.st_ino == mapping.inode:
            return image
        image.close()
        if path == mapping.path:
            why = "another file is at its path now: restart the program to see it"
    raise Unreadable(why)


def _spellings(path: str) -> Iterator[str]:
    """The possible names of a file with this path in /proc/self/maps.

    A line feed is written there as \\012, and " (deleted)" follows the name of a file that is gone;
    a file's own name may contain either.
    """
    for one in (path, path.removesuffix(_DELETED)):
        yield one
        if "\\012" in one:
            yield one.replace("\\012", "\n")


def _differs(process: Process, image: Image, bias: int, *, code: bool) -> str:
    """Why memory may not be the file's, in words; "" if everything is equal that should be.

    Args:
        process: This process.
        image: The file.
        bias: What was added to its link addresses.
        code: Whether to compare code too, except sections that have trampolines.
    """
    entries = [one.value for one in image.names.starting(image_calls.TRAMPOLINE)] if code else []
    compared = False
    for section in image.sections:
        end = section.address + section.size
        what = _SAME.get(section.type) if section.flags & _ALLOC else None
        if code and section.flags & _EXECINSTR:
            what = None if any(section.address <= at < end for at in entries) else "instructions"
        for at in range(section.address, end, _PIECE) if what else ():
            size = min(_PIECE, end - at)
            if process.read(at + bias, size) != image.read(at, size):
                return f"its {what} in memory are not those of the file: it was changed"
            compared = True
    return "" if compared else "it has no section that can be compared with memory"


def _start(process: Process, mapping: Mapping, now: Sequence[Mapping]) -> int | None:
    """Where a mapped file's ELF header is in memory; None if there is none for arm64."""
    heads = [
        one.start
        for one in now
        if one.file == mapping.file and not one.offset and one.start <= mapping.start
    ]
    data = process.read(heads[-1], _HEADERS) if heads else b""
    if data[:4] != _MAGIC or int.from_bytes(data[18:20], "little") != _EM_AARCH64:
        return None
    return heads[-1]
