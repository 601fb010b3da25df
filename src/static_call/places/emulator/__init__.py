"""An emulated machine, by unicorn: functions, static calls, retargets, and loaded ELF files.

One PE is emulated, without caches: this shows what code does, never what another PE may still see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from static_call.elf.errors import NoSuchSymbol
from static_call.places.emulator.faults import EmulatorFault as EmulatorFault
from static_call.places.emulator.faults import OutOfBounds as OutOfBounds
from static_call.places.emulator.machine import Machine
from static_call.places.function import Function as Function

if TYPE_CHECKING:
    from static_call.places.emulator.elf import EmulatedElf


class Emulator(Machine):
    """An emulated machine into which ELF files can be loaded."""

    def __init__(self, *, instructions: int = 100_000_000, seconds: float = 30.0) -> None:
        """A machine that has only the function that returns 0.

        Args:
            instructions: The most instructions that one call or retarget may execute.
            seconds: The most time that one may take.
        """
        self._images: list[EmulatedElf] = []
        super().__init__(instructions=instructions, seconds=seconds)

    def load(self, path: str, designs: Sequence[str] = ()) -> EmulatedElf:
        """Loads an ELF file.

        Args:
            path: The file's path.
            designs: Files with your own designs that it may have.

        Raises:
            OSError: The file cannot be read.
            ElfError: It is not an ELF file that can be loaded.
            StaticCallError: There is no room for it.
        """
        from static_call.places.emulator.elf import EmulatedElf

        image = EmulatedElf(self, path, designs)
        self._images.append(image)
        return image

    def resolve(self, name: str) -> int:
        """The address of a symbol: of the files, in the order loaded, or of a function made here.

        Raises StaticCallError.
        """
        for image in self._images:
            try:
                return image.resolve(name)
            except NoSuchSymbol:
                continue
        return super().resolve(name)
