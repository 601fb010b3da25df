"""An ELF file in the emulated machine: its functions can be called, its static calls updated.

There is no kernel and no dynamic linker. Functions of other files are missing: calling one is a
fault that names it. Constructors (DT_INIT_ARRAY) are not run. Thread-local variables start as the
file says. A program is linked so that its own come first, so only one program may have any.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from static_call import image_calls
from static_call.calls import StaticCall
from static_call.design import notation
from static_call.design.target import Target
from static_call.elf import arm64, plt, relocation
from static_call.elf.errors import NoSuchSymbol
from static_call.elf.image import Image
from static_call.elf.relocation import Relocation
from static_call.elf.symbols import IFUNC
from static_call.errors import StaticCallError
from static_call.places.emulator.machine import Machine
from static_call.places.function import Function

_PAGE = 0x1000
_LIMIT = 1 << 32  # bytes of memory that an image may take
_PIECE = 1 << 20
_HWCAP = 0  # the AT_HWCAP that ifunc resolvers are given: nothing optional
_RESOLVED = (arm64.ABS64, arm64.GLOB_DAT, arm64.JUMP_SLOT)


class EmulatedElf:
    """An image in a machine, made by Emulator.load.

    Attributes:
        machine: The machine.
        image: The file.
        bias: What was added to its link addresses: 0 for a file that is not position-independent.
    """

    def __init__(self, machine: Machine, path: str, designs: Sequence[str] = ()) -> None:
        """Loads a file: see Emulator.load."""
        self.machine: Machine = machine
        self.image: Image = Image.open(path)
        self.image.require_linked()
        names = (*designs, *notation.shipped())
        self._designs = image_calls.longest_first(notation.load(name) for name in names)
        self.bias: int = self._map()
        for segment in self.image.segments:
            for at in range(segment.address, segment.address + segment.file_size, _PIECE):
                size = min(_PIECE, segment.address + segment.file_size - at)
                machine.write(at + self.bias, self.image.read(at, size))
        self._thread_locals = self._reserve_thread_locals()
        self._relocate()

    @cached_property
    def static_calls(self) -> dict[str, StaticCall]:
        """Its static calls with a known design, by name, or by address if several have the name."""
        found = [one for one in image_calls.find(self.image, self._designs) if one.state]
        names = Counter(one.name for one in found)
        return {
            one.name if names[one.name] == 1 else hex(one.entry): one.static_call(
                self.machine, self.bias
            )
            for one in found
        }

    def static_call(self, name: str) -> StaticCall:
        """A static call by its name or its trampoline's address in the file, 0x...

        Raises NoSuchCall, NotATrampoline.
        """
        (found,) = image_calls.lookup(self.image, self._designs, [name])
        return found.static_call(self.machine, self.bias)

    def set_calls(self, changes: Mapping[str, Target | str]) -> None:
        """Retargets static calls.

        Args:
            changes: Their targets, by name or, as text, 0x..., by address in the file. A target
                that is an address is one in the file too.

        Raises:
            NoSuchCall: There is no static call of a name.
            ElfError: There are several of a name.
            NotATrampoline: What is there is not a trampoline of a known design.
            StaticCallError: One is named twice, or what StaticCall.update raises.
        """
        found = image_calls.lookup_to_change(self.image, self._designs, changes)
        for one, target in zip(found, changes.values()):
            moved = target + self.bias if isinstance(target, int) else target
            one.static_call(self.machine, self.bias, self.resolve).update(moved)

    def address(self, name: str) -> int:
        """Where a static call, a function or a file's address, 0x..., is in the machine."""
        if name.startswith("0x"):
            return self.static_call(name).address
        try:
            return self.static_call(name).address
        except image_calls.NoSuchCall:
            return self.resolve(name)

    def function(self, name: str, *, bits: int = 64) -> Function:
        """A function of the image.

        Args:
            name: Its symbol.
            bits: The bits of its result that count: 32 for a C int.
        """
        return Function(self.machine, self.resolve(name), name, bits)

    def resolve(self, name: str) -> int:
        """The address of a symbol in the machine.

        Raises ElfError if the file does not define it, or defines several.

        An indirect function (STT_GNU_IFUNC) is the one that its resolver chooses.
        """
        try:
            symbol = self.image.names.symbol(name)
        except NoSuchSymbol:
            if name.endswith(plt.SUFFIX):
                return plt.resolve(self.image, name) + self.bias
            raise
        address = symbol.value + self.bias
        return self.machine.call(address, _HWCAP) if symbol.type == IFUNC else address

    def _map(self) -> int:
        """Maps the segments where they were linked, or where there is room; returns the bias."""
        segments = self.image.segments
        if not segments:
            raise StaticCallError(f"{self.image.path}: it has nothing to load")
        low = segments[0].address & -_PAGE
        high = segments[-1].end + _PAGE - 1 & -_PAGE
        pages = sum((one.end - one.address) // _PAGE + 2 for one in segments)
        if pages * _PAGE > _LIMIT:
            raise StaticCallError(f"{self.image.path}: too big for the machine: {pages} pages")
        bias = self.machine.room(high - low) - low if self.image.position_independent else 0
        mapped = low
        for one in segments:
            # Segments may share a page, which then has the rights of both.
            start, end = max(one.address & -_PAGE, mapped), one.end + _PAGE - 1 & -_PAGE
            if one.address & -_PAGE < mapped:
                page = mapped - _PAGE + bias
                self.machine.allow(page, write=one.writable, execute=one.executable)
            if start < end:
                self.machine.map(
                    start + bias, end - start, write=one.writable, execute=one.executable
                )
            mapped = max(mapped, end)
        if self.image.guarded:
            self.machine.guard(range(low + bias, high + bias))
        return bias

    def _reserve_thread_locals(self) -> int:
        """Its thread-local variables' offset from the thread pointer, in bytes; 0 for none."""
        segment = self.image.thread_locals
        if segment is None or not segment.size:
            return 0
        path, first = self.image.path, self.image.program
        return self.machine.reserve_thread_locals(segment, path, first=first)

    def _relocate(self) -> None:
        """Does the dynamic linker's work; ifuncs come last, as their resolvers are run."""
        resolvers = []
        for one in self.image.loader.relocations():
            if one.type == arm64.IRELATIVE:
                resolvers.append(one)
            elif (value := self._value(one)) is not None:
                self.machine.write(one.address + self.bias, value.to_bytes(8, "little"))
        if self._thread_locals and (segment := self.image.thread_locals):
            start = self.machine.read(segment.address + self.bias, segment.file_size)
            self.machine.write(self.machine.thread + self._thread_locals, start)
        for one in resolvers:
            function = self.machine.call(one.addend + self.bias, _HWCAP)
            self.machine.write(one.address + self.bias, function.to_bytes(8, "little"))

    def _value(self, one: Relocation) -> int | None:
        """What a relocation stores; None for a type that this loader does not know."""
        linked = self.image.pointer(one.address)
        if one.type in (arm64.RELATIVE, arm64.RELR):
            return linked + self.bias & (1 << 64) - 1
        if one.type in _RESOLVED and one.symbol:
            return linked + self.bias if linked else self.machine.missing(one.symbol)
        if one.type == arm64.TPREL64 and one.offset is not None:
            # Against a symbol it is another file's variable, or one whose value is not read here.
            entry = os.pread(self.image.fileno(), relocation.RELA.size, one.offset)
            if relocation.RELA.unpack(entry)[2]:
                return self.machine.missing("a thread-local variable") - self.machine.thread
            return self._thread_locals + one.addend & (1 << 64) - 1
        return None
