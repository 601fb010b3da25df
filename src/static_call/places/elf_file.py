"""An ELF file as a place: retargets are collected in memory, and then the file is replaced whole.

Nothing runs here, so of a retarget's steps only the stores count. Three things are particular to a
file. A pointer in it may be made by the loader, from a relocation: then that is what changes. A
pointer to somewhere new may need a relocation that isn't there. And others read the file: they
find the old one or the new one at its path, never anything between.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from static_call.calls import BadTarget, KeyStore, Sharing
from static_call.design.retarget import Retarget
from static_call.elf import dynamic, plt, relocation
from static_call.elf.image import Damaged, ElfError, Image, NoSuchSymbol, NotInFile
from static_call.elf.relocation import RELA, WORD, Relocation
from static_call.elf.symbols import IFUNC
from static_call.places import temporary

_COPY = 1 << 20
_PAGE = 1 << 12  # the smallest that arm64 has
_BIAS = 1 << 36  # a load address to try
_WIDEST = 16  # bytes that a relocation stores: R_AARCH64_TLSDESC
_IN_PROCESS = "set it in the running process"
_CHANGEABLE = (relocation.NONE, relocation.RELATIVE, relocation.ABS64, relocation.GLOB_DAT)


class NeedsRelocation(ElfError):
    """A pointer would have to be relocated when the file is loaded, and no relocation is there."""


class Unsafe(ElfError):
    """A change would reach further than it should, or a loader might undo it."""


class NotAsAsked(ElfError):
    """The file that was written does not say what was asked. It is gone; the old one stays."""


class ReadOnly(ElfError):
    """Nobody may write to the file."""


class Changed(ElfError):
    """The file is no longer the one that was read, or somebody else is changing it."""


class NotWritten(ElfError):
    """The new file could not be written: a full disk, or missing permission. The old one stays."""


class CannotRun(ElfError):
    """Code in a file cannot be called."""


Patch = tuple[int, bytes]
"""An offset in the file, and the bytes that are to be there."""


class ElfFile:
    """The place that an image's file is.

    live  False: nobody executes it while it is changed
    """

    live = False

    def __init__(self, image: Image) -> None:
        """See the class."""
        image.require_linked()
        self.shared = Sharing()
        self.image = image
        self._memory: dict[int, int] = {}  # stored bytes, by address
        self._stores: set[tuple[int, int]] = set()  # address and size of what was stored, up to 8
        self._places: set[int] = set()  # what a RELR table relocates with the changes

    def read(self, address: int, size: int) -> bytes:
        """Memory of the program with the changes made so far; fewer bytes where it ends."""
        data = self.image.read(address, size)
        if not self._memory:
            return data
        return bytes(self._memory.get(address + i, byte) for i, byte in enumerate(data))

    def write(self, address: int, data: bytes) -> None:
        """Changes memory; the file changes with commit. Each 8 bytes of data are one pointer."""
        self._memory.update(enumerate(data, address))
        for at in range(0, len(data), WORD):
            self._stores.add((address + at, min(WORD, len(data) - at)))

    def perform(self, retarget: Retarget, key: KeyStore | None = None) -> None:
        """Stores into the key, and takes a retarget's stores in their order.

        Raises Unsafe for a key that is in the middle of code.
        """
        if key is not None:
            if key.key % WORD or (self.image.sections and self.image.executable(key.key)):
                raise Unsafe(f"{self.image.path}: the key at {key.key:#x} is not in data")
            self.write(key.key, key.function.to_bytes(WORD, "little"))
        for step in retarget.steps:
            if step.op == "store":
                self.write(step.address, step.value.to_bytes(step.size, "little"))

    def resolve(self, name: str) -> int:
        """The address of a symbol.

        Raises NoSuchSymbol, AmbiguousSymbol, and BadTarget for one whose address the loader finds.
        """
        try:
            symbol = self.image.symbol(name)
        except NoSuchSymbol as error:
            return self._entry(name, error)
        if symbol.type == IFUNC:
            try:
                plt.resolve(self.image, name + plt.SUFFIX)
                remedy = f"{name}{plt.SUFFIX}, its PLT entry, calls it"
            except NoSuchSymbol:
                remedy = f"name one of the functions, or {_IN_PROCESS}"
            raise BadTarget(
                f"{self.image.path}: {name} is an indirect function (STT_GNU_IFUNC): "
                f"which one it is, only the loader knows: {remedy}"
            )
        return symbol.value

    def _entry(self, name: str, error: NoSuchSymbol) -> int:
        """The PLT entry of this name, or else the error, which says so where it would do."""
        if name.endswith(plt.SUFFIX):
            return plt.resolve(self.image, name)
        if self.image.named(name):
            entry = name + plt.SUFFIX
            try:
                address = plt.resolve(self.image, entry)
            except NoSuchSymbol:
                raise NoSuchSymbol(
                    f"{error}, and it has no PLT entry for it: call it somewhere in the program, "
                    f"or {_IN_PROCESS}"
                ) from None
            raise NoSuchSymbol(f"{error}: say {entry} for its PLT entry at {address:#x}")
        raise error

    def executable(self, address: int, *, held: bool = False) -> bool:
        """Whether there is code at an address."""
        return self.image.executable(address)

    def guarded(self, address: int) -> bool:
        """Whether an indirect branch to an address must land on a pad."""
        return self.image.guarded and self.image.executable(address)

    def pointer(self, target: object, prototype: type | None) -> tuple[int, object]:
        """Raises BadTarget: no function of this process is in a file."""
        raise BadTarget(f"{target!r} is no address, function, name, None or RET0")

    def parameter(self, address: int, prototype: type | None) -> object:
        """Raises CannotRun."""
        raise CannotRun(f"{self.image.path}: code in a file cannot be called; load it first")

    def call(self, address: int, *args: int | bytes | bytearray) -> int:
        """Raises CannotRun."""
        raise CannotRun(f"{self.image.path}: code in a file cannot be called; load it first")

    # What changes in the file

    def patches(self) -> list[Patch]:
        """The changes made so far as changes of the file: of memory and of relocations.

        Raises NeedsRelocation, Unsafe, and elf.NotInFile for memory that the file doesn't hold.
        """
        image = self.image
        memory: list[Patch] = []
        entries: list[Patch] = []
        unused: list[int] = []  # offsets of the RELA entries that store nothing any more
        relr = set(image.relr_places)
        for address, size in sorted(self._stores):
            data = self.read(address, size)
            if len(data) == size and data == image.read(address, size):
                continue
            memory.append((image.offset(address, size), data))
            value = int.from_bytes(data, "little")
            entry = self._relocation(address, size)
            if entry is not None and entry.offset is not None:
                entries.append(self._relocate(entry, entry.offset, value))
                if not self._counts(entry, value, memory[-1][0]):
                    del memory[-1]
                unused += [entry.offset] if not value else []
            elif entry is not None and not value:
                relr.remove(address)  # the loader adds to what is there, so it must not come here
            elif entry is None and size == WORD and self._depends_on_load_address(value):
                relr.add(self._new_place(address, value))
        entries += self._leading(unused) + self._relr_table(relr)
        self._places = relr
        if memory or entries:
            self._check_safe(memory, entries)
        return memory + entries

    def _check_safe(self, memory: list[Patch], entries: list[Patch]) -> None:
        """Refuses what changes more than was asked, or what a loader may undo."""
        image = self.image
        if why := dynamic.unchangeable(image.dynamic):
            raise Unsafe(f"{image.path}: {why}")
        if image.position_independent and not image.dynamic and not image.sections:
            raise Unsafe(
                f"{image.path}: it has neither a dynamic section nor section headers, so its "
                "relocations cannot be found"
            )
        structure = image.structure()
        for offset, data in memory:
            self._check_one_segment(offset, len(data))
            for part in structure:
                if part.start < offset + len(data) and offset < part.end:
                    raise Unsafe(
                        f"{image.path}: byte {offset:#x} of the file, which would change, belongs "
                        f"to its {part.what}"
                    )
        for offset, data in entries:
            self._check_one_segment(offset, len(data))
        self._check_agreement(memory + entries)
        copied = image.copied()
        for address, size in self._stores:
            if any(at < address + size and address < at + length for at, length in copied):
                raise Unsafe(
                    f"{image.path}: a loader copies another file's variable over {address:#x} "
                    "(R_AARCH64_COPY)"
                )

    def _check_one_segment(self, offset: int, size: int) -> None:
        """Refuses bytes of the file that are in memory twice, or not where they seem to be."""
        segments = self.image.segments
        having = [
            one
            for one in segments
            if one.offset < offset + size and offset < one.offset + one.file_size
        ]
        if len(having) != 1:
            many = f"{len(having)} segments" if having else "no segment"
            raise Unsafe(
                f"{self.image.path}: byte {offset:#x} of the file, which would change, is in {many}"
            )
        if any((one.address - one.offset) % _PAGE for one in segments):
            return  # for a loader that copies: no pages are mapped
        shift = having[0].address - having[0].offset
        for one in segments:
            first, last = one.address & -_PAGE, one.end + _PAGE - 1 & -_PAGE
            within = first < offset + shift + size and offset + shift < last
            if within and one.address - one.offset != shift:
                raise Unsafe(
                    f"{self.image.path}: the segment at {one.address:#x} shares a page of memory "
                    f"with {offset + shift:#x} and has other bytes of the file there"
                )

    def _check_agreement(self, patches: list[Patch]) -> None:
        """Refuses patches that undo each other: pointers that lie in the relocation tables."""
        contents: dict[int, int] = {}
        for offset, data in patches:
            for at, byte in enumerate(data, offset):
                if contents.setdefault(at, byte) != byte:
                    raise Damaged(f"{self.image.path}: relocations and pointers lie on each other")

    def _relocation(self, address: int, size: int) -> Relocation | None:
        """The relocation that makes the pointer at an address."""
        image = self.image
        entries = [
            one
            for one in image.relocations(address - _WIDEST + 1, address + size)
            if one.place + (_WIDEST if one.type == relocation.TLSDESC else WORD) > address
        ]
        if any(entry.place != address or size != WORD for entry in entries):
            raise NeedsRelocation(
                f"{image.path}: a relocation at {entries[0].place:#x} makes a part of the "
                f"{size} bytes at {address:#x}"
            )
        if len(entries) > 1:
            raise NeedsRelocation(
                f"{image.path}: {len(entries)} relocations make the pointer at {address:#x}, and "
                "which one counts depends on the loader"
            )
        return self._changeable(entries[0]) if entries else None

    def _changeable(self, entry: Relocation) -> Relocation:
        """The relocation. Raises NeedsRelocation where it must stay.

        A loader takes R_AARCH64_RELATIVE and R_AARCH64_NONE at any place of DT_RELA's table,
        whatever stood there before; only of the first DT_RELACOUNT ones it assumes that they are
        RELATIVE, see _leading. In DT_JMPREL's table neither may stand.
        """
        image = self.image
        pointer = f"{image.path}: the pointer at {entry.place:#x} is made by"
        if entry.type == relocation.RELR:
            return entry
        if entry.offset is None:
            raise NeedsRelocation(
                f"{pointer} a packed relocation (DT_ANDROID_RELA), which is not changed here: link "
                f"it with -Wl,--pack-dyn-relocs=none, or {_IN_PROCESS}"
            )
        start, size = image.tables.plt
        if entry.type not in _CHANGEABLE or start <= entry.offset < start + size:
            raise NeedsRelocation(
                f"{pointer} a relocation of type {entry.type} against "
                f"{entry.symbol or 'no symbol'}, which must stay: {_IN_PROCESS}"
            )
        start, size = image.tables.rela
        count, _ = image.dynamic.get(dynamic.RELACOUNT, (0, 0))
        leading = start <= entry.offset < start + min(size, count * RELA.size)
        if leading and entry.type != relocation.RELATIVE:
            raise Damaged(
                f"{pointer} a relocation of type {entry.type} among the first {count}, which "
                "DT_RELACOUNT says are R_AARCH64_RELATIVE"
            )
        return entry

    def _relocate(self, entry: Relocation, at: int, value: int) -> Patch:
        """Makes a RELA entry, which is at `at`, store a value; R_AARCH64_NONE does for 0."""
        kind = relocation.RELATIVE if value else relocation.NONE
        return at, RELA.pack(entry.place, kind, 0, value - (value >> 63 << 64))

    def _counts(self, entry: Relocation, value: int, offset: int) -> bool:
        """Whether the pointer's own bytes change, too, when a RELA entry makes it.

        A linker leaves 0 there or the addend (--apply-dynamic-relocs); a loader stores over it.
        Where nothing is stored any more, what is there counts.
        """
        held = os.pread(self.image.fileno(), WORD, offset)
        return not value or held == (entry.addend % (1 << 64)).to_bytes(WORD, "little")

    def _leading(self, unused: list[int]) -> list[Patch]:
        """What DT_RELACOUNT becomes: it counts the R_AARCH64_RELATIVE at the table's start."""
        start, size = self.image.tables.rela
        count, at = self.image.dynamic.get(dynamic.RELACOUNT, (0, 0))
        indexes = ((offset - start) // RELA.size for offset in unused if offset < start + size)
        first = min(indexes, default=count)
        return [(at, first.to_bytes(WORD, "little"))] if 0 <= first < count else []

    def _depends_on_load_address(self, value: int) -> bool:
        """Whether a pointer must be relocated: it points into an image that may lie anywhere.

        No two instructions look like one: addresses have an upper half that is no instruction.
        """
        image = self.image
        return image.position_independent and value != 0 and image.segment(value) is not None

    def _new_place(self, address: int, value: int) -> int:
        """The address, if a RELR table may relocate it, where nothing did before."""
        segment = self.image.segment(address)
        if not self.image.tables.relr[1] or not segment or not segment.writable or address % WORD:
            raise NeedsRelocation(
                f"{self.image.path}: the pointer at {address:#x} would need a relocation to point "
                f"to {value:#x}, and the file has none there: link it with -no-pie, or with "
                f"-Wl,-z,pack-relative-relocs (lld: -Wl,--pack-dyn-relocs=relr), or {_IN_PROCESS}"
            )
        return address

    def _relr_table(self, places: set[int]) -> list[Patch]:
        """The RELR table, if it changes; it keeps its size."""
        if places == set(self.image.relr_places):
            return []
        offset, size = self.image.tables.relr
        table = relocation.relr_table(sorted(places))
        if len(table) > size:
            raise NeedsRelocation(
                f"{self.image.path}: its RELR table has no room for more places: {_IN_PROCESS}"
            )
        nothing = (1).to_bytes(WORD, "little")  # a bitmap of no places, as lld fills up, too
        return [(offset, table + nothing * ((size - len(table)) // WORD))]

    # Writing it

    def commit(
        self,
        output: str | os.PathLike[str] | None = None,
        check: Callable[[Image], None] | None = None,
    ) -> None:
        """Replaces the file by one with the changes, or writes that to `output`.

        The new file is made beside the old one, complete, and then takes its name: with the old
        one's mode, owner and extended attributes. Other hard links keep the old one. A symbolic
        link stays one. `output` gets the permission bits alone. Before it takes the name it is
        read again: memory and relocations have to be what was asked for. `check` is then given
        it, too, and may raise NotAsAsked.

        Raises what `patches` raises, ReadOnly, Changed, NotWritten and NotAsAsked: then the file
        is as it was.
        """
        patches = self.patches()
        source = os.path.realpath(self.image.path)
        target = source if output is None else os.path.realpath(output)
        try:
            _check_writable(target)
            with self._locked(source):
                if patches or target != source:
                    self._write(target, patches, check, keep=target == source)
                elif check:
                    check(self.image)
        except OSError as error:
            raise NotWritten(f"{target}: {error.strerror or error}: it is as it was") from error

    @contextmanager
    def _locked(self, path: str) -> Iterator[None]:
        """Keeps others like us away, once it is sure that the file is still the one that was read.

        The lock is on the file that was opened. Whoever waited for it finds another one at the
        path.
        """
        try:
            fcntl.flock(self.image.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Changed(f"{path}: another process is changing it") from None
        try:
            self._check_unchanged(os.stat(path))
            yield
        finally:
            fcntl.flock(self.image.fileno(), fcntl.LOCK_UN)

    def _check_unchanged(self, now: os.stat_result) -> None:
        if _identity(now) != _identity(self.image.stat):
            raise Changed(f"{self.image.path}: it has changed since it was read: try again")

    def _write(
        self,
        target: str,
        patches: list[Patch],
        check: Callable[[Image], None] | None,
        *,
        keep: bool,
    ) -> None:
        """A copy of the file with the patches takes the target's name."""
        with temporary.beside(target) as (fd, path):
            self._copy(fd)
            for offset, data in patches:
                _write_at(fd, offset, data)
            self._check_unchanged(os.fstat(self.image.fileno()))
            self._read_back(path, target, check)
            if keep:
                self._keep_owner(fd, target)
            os.fchmod(fd, stat.S_IMODE(self.image.stat.st_mode) & (0o7777 if keep else 0o777))
            os.fsync(fd)
            os.replace(path, target)
        _sync(os.path.dirname(target))

    # Reading it back

    def _read_back(self, path: str, target: str, check: Callable[[Image], None] | None) -> None:
        """Opens the new file and compares what it says with what was asked. Raises NotAsAsked."""
        try:
            with Image.open(path) as copy:
                self._compare(copy)
                if check:
                    check(copy)
        except ElfError as error:
            text = str(error).replace(path, target)
            raise NotAsAsked(
                f"{text}: the new file is not what was asked for, so the old stays"
            ) from None

    def _compare(self, copy: Image) -> None:
        """Everything that was stored is there, at any load address, and the rest is as it was."""
        old = self.image
        if (copy.type, copy.entry, [*copy.segments], [*copy.sections]) != (
            old.type, old.entry, [*old.segments], [*old.sections]
        ):  # fmt: skip
            raise NotAsAsked(f"{copy.path}: its headers have changed")
        tags, before = ({**one.dynamic, dynamic.RELACOUNT: None} for one in (copy, old))
        if tags != before or set(copy.relr_places) != self._places:
            raise NotAsAsked(f"{copy.path}: its dynamic section or RELR table is wrong")
        for address, size in self._stores:
            asked = self.read(address, size)
            if copy.read(address, size) != asked:
                raise NotAsAsked(f"{copy.path}: {address:#x} is not what was stored")
            value = int.from_bytes(asked, "little")
            moved = size == WORD and self._depends_on_load_address(value)
            for bias in (0, _BIAS) if copy.position_independent else (0,):
                if _loaded(copy, address, size, bias) != value + (bias if moved else 0):
                    raise NotAsAsked(
                        f"{copy.path}: a loader would not leave {value:#x} at {address:#x}"
                    )

    def _copy(self, fd: int) -> None:
        """Copies the image's file; where the file system shares blocks, without writing them."""
        source, size, at = self.image.fileno(), self.image.stat.st_size, 0
        with suppress(OSError, AttributeError):  # not on this system, or not on this file system
            while at < size and (count := os.copy_file_range(source, fd, size - at, at, at)):
                at += count
        while at < size:
            data = os.pread(source, min(_COPY, size - at), at)
            if not data:
                raise Changed(f"{self.image.path}: it became shorter while it was copied")
            _write_at(fd, at, data)
            at += len(data)

    def _keep_owner(self, fd: int, path: str) -> None:
        """Owner and extended attributes: the first must be kept, the others where it is allowed."""
        owner = (self.image.stat.st_uid, self.image.stat.st_gid)
        made = os.fstat(fd)
        if owner != (made.st_uid, made.st_gid):
            try:
                os.fchown(fd, *owner)
            except PermissionError:
                raise NotWritten(
                    f"{path}: only its owner or root can replace it, as the new file is to have "
                    "the same owner and group: write a copy instead"
                ) from None
        with suppress(OSError, AttributeError):
            for name in os.listxattr(self.image.fileno()):
                with suppress(OSError):
                    os.setxattr(fd, name, os.getxattr(self.image.fileno(), name))


def _loaded(image: Image, address: int, size: int, bias: int) -> int:
    """What a loader leaves at an address, from the file's bytes and the relocations alone.

    Raises NotAsAsked where there is a relocation that it does not know.
    """
    try:
        value = int.from_bytes(
            os.pread(image.fileno(), size, image.offset(address, size)), "little"
        )
    except NotInFile:
        value = 0
    for entry in image.relocations(address, address + size):
        if entry.type == relocation.NONE:
            continue
        if entry.place != address or size != WORD:
            raise NotAsAsked(f"{image.path}: a relocation at {entry.place:#x} overwrites a part")
        if entry.type == relocation.RELR:
            value += bias
        elif entry.type == relocation.RELATIVE:
            value = entry.addend % (1 << 64) + bias
        else:
            # It has not been changed, so it is what it was: image.read has been compared.
            value = int.from_bytes(image.read(address, size), "little")
            value += bias if image.segment(value) else 0
    return value


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What tells one state of a file from another."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _check_writable(path: str) -> None:
    """Refuses to replace what may not be written, even where replacing it would be allowed."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise NotWritten(f"{path}: not a regular file")
    if not status.st_mode & 0o222 or not os.access(path, os.W_OK):
        raise ReadOnly(f"{path}: it is read-only")


def _write_at(fd: int, offset: int, data: bytes) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        offset, data = offset + count, data[count:]


def _sync(folder: str) -> None:
    """Makes a rename last; where directories cannot be synced, it lasts when the system likes."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
