"""An ELF file as a place: retargets are collected in memory, and then the file is replaced whole.

Nothing runs here, so only the stores of a retarget's steps matter.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from static_call.design.retarget import Retarget
from static_call.elf import arm64, dynamic, plt
from static_call.elf.errors import ElfError, NoSuchSymbol, NotInFile
from static_call.elf.image import Image
from static_call.elf.symbols import IFUNC
from static_call.errors import BadTarget
from static_call.key import KeyStore
from static_call.places import whole_file
from static_call.places.elf_changes import IN_PROCESS, Changes, Patch, Stores, Unsafe
from static_call.places.whole_file import NotWritten
from static_call.sharing import Sharing

_BIAS = 1 << 36  # a load address to try


class NotAsAsked(ElfError):
    """The new file does not say what was asked. It has been deleted; the old file stays."""


class ElfFile(Stores):
    """The file of an image, as a place.

    Attributes:
        live: False, as no thread executes it while it is changed.
        shared: what the StaticCall objects of its static calls share.
        image: the image; its file changes with commit.
    """

    live: bool = False

    def __init__(self, image: Image) -> None:
        """Changes nothing yet. Raises NotLinked."""
        image.require_linked()
        super().__init__(image)
        self.shared: Sharing = Sharing()
        self._relr: set[int] = set()  # the addresses that a RELR table relocates with the changes

    def perform(self, retarget: Retarget, key: KeyStore | None = None) -> None:
        """Stores into the key, and performs a retarget's stores in order.

        Raises Unsafe for a key that is in the middle of code.
        """
        image = self.image
        if key is not None:
            if key.key % image.pointer_size or (image.sections and image.code.holds(key.key)):
                raise Unsafe(f"{image.path}: the key at {key.key:#x} is not in data")
            self.write(key.key, key.data)
        for step in retarget.steps:
            if step.op == "store":
                self.write(step.address, step.value.to_bytes(step.size, image.order))

    # Symbols and code

    def resolve(self, name: str) -> int:
        """The address of a symbol.

        Raises:
            NoSuchSymbol: the file defines none of this name.
            AmbiguousSymbol: several are at different addresses.
            BadTarget: only a loader knows the address.
        """
        try:
            symbol = self.image.names.symbol(name)
        except NoSuchSymbol as error:
            return self._entry(name, error)
        if symbol.type == IFUNC:
            try:
                plt.resolve(self.image, name + plt.SUFFIX)
                remedy = f"{name}{plt.SUFFIX}, its PLT entry, calls it"
            except NoSuchSymbol:
                remedy = f"name one of the functions, or {IN_PROCESS}"
            raise BadTarget(
                f"{self.image.path}: {name} is an indirect function (STT_GNU_IFUNC): "
                f"only the loader knows which one it is: {remedy}"
            )
        return symbol.value

    def _entry(self, name: str, error: NoSuchSymbol) -> int:
        """The PLT entry with this name; else raises the error, which names an alternative."""
        if name.endswith(plt.SUFFIX):
            return plt.resolve(self.image, name)
        if self.image.names.named(name):
            entry = name + plt.SUFFIX
            try:
                address = plt.resolve(self.image, entry)
            except NoSuchSymbol:
                raise NoSuchSymbol(
                    f"{error}, and it has no PLT entry for it: call it somewhere in the program, "
                    f"or {IN_PROCESS}"
                ) from None
            raise NoSuchSymbol(f"{error}: say {entry} for its PLT entry at {address:#x}")
        raise error

    def executable(self, address: int, *, held: bool = False) -> bool:
        """Whether there is code at an address."""
        return self.image.code.holds(address)

    def guarded(self, address: int) -> bool:
        """Whether an indirect branch to an address must land on a pad."""
        return self.image.guarded and self.image.code.holds(address)

    # Writing it

    def patches(self) -> list[Patch]:
        """The changes made so far as changes of the file. Raises what Changes raises."""
        changes = Changes(self)
        self._relr = changes.relr
        return changes.patches

    def commit(
        self,
        output: str | os.PathLike[str] | None = None,
        check: Callable[[Image], None] | None = None,
    ) -> None:
        """Replaces the file by one with the changes, or writes that to `output`.

        Before the new file takes its name it is read back: memory and relocations must be what was
        asked for. If this raises, the file is as it was. whole_file.py says what else is preserved.

        Args:
            output: the path of a new file. Of the old file's status it gets the permission bits
                alone.
            check: looks at the new file, too, and may raise NotAsAsked.

        Raises:
            NeedsRelocation: see Changes.
            Unsafe: see Changes.
            NotInFile: see Changes.
            ReadOnly: nobody may write to the file.
            Changed: the file is no longer the one that was read.
            NotWritten: the new file cannot be written.
            NotAsAsked: the new file is not what was asked for.
        """
        patches = self.patches()
        source = os.path.realpath(self.image.path)
        target = source if output is None else os.path.realpath(output)

        def read_back(path: str) -> None:
            self._read_back(path, target, check)

        try:
            whole_file.check_writable(target)
            with whole_file.locked(self.image, source):
                if patches or target != source:
                    keep = target == source
                    whole_file.replace(self.image, target, patches, read_back, keep=keep)
                elif check:
                    check(self.image)
        except OSError as error:
            raise NotWritten(f"{target}: {error.strerror or error}: it is as it was") from error

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
                f"{text}: the new file is not what was asked for, so the old file stays"
            ) from None

    def _compare(self, copy: Image) -> None:
        """Checks that all stores are there, at any load address, and the rest is as it was."""
        old = self.image
        if (copy.type, copy.entry, [*copy.segments], [*copy.sections]) != (
            old.type, old.entry, [*old.segments], [*old.sections]
        ):  # fmt: skip
            raise NotAsAsked(f"{copy.path}: its headers have changed")
        tags, before = ({**one.loader.dynamic, dynamic.RELACOUNT: None} for one in (copy, old))
        if tags != before or set(copy.loader.relr_addresses) != self._relr:
            raise NotAsAsked(f"{copy.path}: its dynamic section or RELR table is wrong")
        for address, size in self.stores:
            value = self.number(address, size)
            if copy.read(address, size) != self.read(address, size):
                raise NotAsAsked(f"{copy.path}: {address:#x} is not what was stored")
            moved = self.must_move(value, size)
            for bias in (0, _BIAS) if copy.position_independent else (0,):
                if _loaded(copy, address, size, bias) != value + (bias if moved else 0):
                    raise NotAsAsked(
                        f"{copy.path}: a loader would not leave {value:#x} at {address:#x}"
                    )


def _loaded(image: Image, address: int, size: int, bias: int) -> int:
    """What a loader leaves at an address, from the file's bytes and the relocations alone.

    Raises NotAsAsked if there is a relocation that it does not know.
    """
    try:
        held = os.pread(image.fileno(), size, image.segments.offset(address, size))
        value = int.from_bytes(held, image.order)
    except NotInFile:
        value = 0
    for entry in image.loader.relocations(address, address + size):
        if entry.type == arm64.NONE:
            continue
        if entry.address != address or size != image.pointer_size:
            raise NotAsAsked(f"{image.path}: a relocation at {entry.address:#x} overwrites a part")
        if entry.type == arm64.RELR:
            value += bias
        elif entry.type == arm64.RELATIVE:
            value = entry.addend % (1 << 64) + bias
        else:
            # It has not been changed, so it is what it was: image.read has been compared.
            value = image.number(address, size)
            value += bias if image.segments.at(value) else 0
    return value
