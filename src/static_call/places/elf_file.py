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
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from static_call import relocation
from static_call.elf import Damaged, ElfError, Image
from static_call.relocation import RELA, WORD, Relocation
from static_call.retarget import Retarget
from static_call.static_call import BadTarget, KeyStore, Sharing
from static_call.symbols import IFUNC

_COPY = 1 << 20
_CHANGEABLE = (relocation.NONE, relocation.RELATIVE, relocation.ABS64, relocation.GLOB_DAT)


class NeedsRelocation(ElfError):
    """A pointer would have to be relocated when the file is loaded, and no relocation is there."""


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
        """Stores into the key, and takes a retarget's stores in their order."""
        if key is not None:
            self.write(key.key, key.function.to_bytes(WORD, "little"))
        for step in retarget.steps:
            if step.op == "store":
                self.write(step.address, step.value.to_bytes(step.size, "little"))

    def resolve(self, name: str) -> int:
        """The address of a symbol.

        Raises NoSuchSymbol, AmbiguousSymbol, and BadTarget for one whose address the loader finds.
        """
        symbol = self.image.symbol(name)
        if symbol.type == IFUNC:
            raise BadTarget(
                f"{self.image.path}: {name} is an indirect function (STT_GNU_IFUNC): "
                "which one it is, only the loader knows"
            )
        return symbol.value

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

        Raises NeedsRelocation, and elf.NotInFile for memory that the file doesn't hold.
        """
        image = self.image
        patches: list[Patch] = []
        unused: list[int] = []  # offsets of the RELA entries that store nothing any more
        relr = set(image.relr_places)
        for address, size in sorted(self._stores):
            data = self.read(address, size)
            if len(data) == size and data == image.read(address, size):
                continue
            patches.append((image.offset(address, size), data))
            value = int.from_bytes(data, "little")
            entry = self._relocation(address, size)
            if entry is not None and entry.offset is not None:
                patches[-1:] = self._relocate(entry, entry.offset, value, patches[-1])
                unused += [entry.offset] if not value else []
            elif entry is not None and not value:
                relr.remove(address)  # the loader adds to what is there, so it must not come here
            elif entry is None and size == WORD and self._depends_on_load_address(value):
                relr.add(self._new_place(address, value))
        patches += self._leading(unused) + self._relr_table(relr)
        self._check_agreement(patches)
        return patches

    def _check_agreement(self, patches: list[Patch]) -> None:
        """Refuses patches that undo each other: pointers that lie in the relocation tables."""
        contents: dict[int, int] = {}
        for offset, data in patches:
            for at, byte in enumerate(data, offset):
                if contents.setdefault(at, byte) != byte:
                    raise Damaged(f"{self.image.path}: relocations and pointers lie on each other")

    def _relocation(self, address: int, size: int) -> Relocation | None:
        """The relocation that makes the pointer at an address."""
        entries = list(self.image.relocations(address - WORD + 1, address + size))
        if any(entry.place != address or size != WORD for entry in entries):
            raise NeedsRelocation(
                f"{self.image.path}: a relocation at {entries[0].place:#x} makes a part of the "
                f"{size} bytes at {address:#x}"
            )
        return entries[-1] if entries else None

    def _relocate(self, entry: Relocation, at: int, value: int, memory: Patch) -> list[Patch]:
        """The changes that make a RELA entry, which is at `at`, store a value.

        It becomes R_AARCH64_RELATIVE, or R_AARCH64_NONE for 0. A loader takes both at any place of
        DT_RELA's table, whatever stood there before; only of the first DT_RELACOUNT ones it
        assumes that they are RELATIVE, see _leading. In DT_JMPREL's table neither may stand.
        """
        start, size = self.image.tables.plt
        if entry.type not in _CHANGEABLE or start <= at < start + size:
            raise NeedsRelocation(
                f"{self.image.path}: the pointer at {entry.place:#x} is made by a relocation of "
                f"type {entry.type} against {entry.symbol or 'no symbol'}, which must stay"
            )
        kind = relocation.RELATIVE if value else relocation.NONE
        patches = [(at, RELA.pack(entry.place, kind, 0, value - (value >> 63 << 64)))]
        # A linker leaves 0 there or the addend (--apply-dynamic-relocs); a loader stores over it.
        # Where nothing is stored any more, what is there counts.
        offset, _ = memory
        held = os.pread(self.image.fileno(), WORD, offset)
        if not value or held == (entry.addend % (1 << 64)).to_bytes(WORD, "little"):
            patches.append(memory)
        return patches

    def _leading(self, unused: list[int]) -> list[Patch]:
        """What DT_RELACOUNT becomes: it counts the R_AARCH64_RELATIVE at the table's start."""
        start, size = self.image.tables.rela
        count, at = self.image.dynamic.get(relocation.DT_RELACOUNT, (0, 0))
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
                f"to {value:#x}, and the file has none there"
            )
        return address

    def _relr_table(self, places: set[int]) -> list[Patch]:
        """The RELR table, if it changes; it keeps its size."""
        if places == set(self.image.relr_places):
            return []
        offset, size = self.image.tables.relr
        table = relocation.relr_table(sorted(places))
        if len(table) > size:
            raise NeedsRelocation(f"{self.image.path}: its RELR table has no room for more places")
        nothing = (1).to_bytes(WORD, "little")  # a bitmap of no places, as lld fills up, too
        return [(offset, table + nothing * ((size - len(table)) // WORD))]

    # Writing it

    def commit(self, output: str | os.PathLike[str] | None = None) -> None:
        """Replaces the file by one with the changes, or writes that to `output`.

        The new file is made beside the old one, complete, and then takes its name: with the old
        one's mode, owner and extended attributes. Other hard links keep the old one. A symbolic
        link stays one. `output` gets the permission bits alone.

        Raises what `patches` raises, ReadOnly, Changed and NotWritten: then the file is as it was.
        """
        patches = self.patches()
        source = os.path.realpath(self.image.path)
        target = source if output is None else os.path.realpath(output)
        try:
            _check_writable(target)
            with self._locked(source):
                if patches or target != source:
                    self._write(target, patches, keep=target == source)
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
            if _identity(os.stat(path)) != _identity(self.image.stat):
                raise Changed(f"{path}: it has changed since it was read: try again")
            yield
        finally:
            fcntl.flock(self.image.fileno(), fcntl.LOCK_UN)

    def _write(self, target: str, patches: list[Patch], *, keep: bool) -> None:
        """A copy of the file with the patches takes the target's name."""
        folder, name = os.path.split(target)
        fd, temporary = tempfile.mkstemp(prefix=f".{name[:200]}.", dir=folder)
        try:
            self._copy(fd)
            for offset, data in patches:
                _write_at(fd, offset, data)
            if keep:
                self._keep_owner(fd, target)
            os.fchmod(fd, stat.S_IMODE(self.image.stat.st_mode) & (0o7777 if keep else 0o777))
            os.fsync(fd)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        _sync(folder)

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
