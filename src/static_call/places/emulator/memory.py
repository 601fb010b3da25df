"""The memory of the emulated machine: pages with rights, and symbols for what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import unicorn
from unicorn import UC_PROT_EXEC, UC_PROT_READ, UC_PROT_WRITE
from unicorn import arm64_const as arm64
from unicorn.unicorn import Uc, UcError

from static_call.errors import StaticCallError
from static_call.places.emulator.faults import EmulatorFault

PAGE = 0x1000
"""Bytes in a page."""

_BOTTOM = 0x1_0000_0000
_ARENA_SIZE = 1 << 16


class EmulatedMemory:
    """Memory of a unicorn engine.

    Attributes:
        uc: The engine.
        symbols: The addresses of functions that were put into it, by name.
    """

    def __init__(self) -> None:
        """Maps nothing yet."""
        self.uc: Any = Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.uc.ctl_set_cpu_model(arm64.UC_CPU_ARM64_MAX)
        self.symbols: dict[str, int] = {}
        self._arenas: dict[bool, tuple[int, int]] = {}
        self._guarded: list[range] = []

    def allocate(
        self, size: int, *, align: int = 16, at: int | None = None, executable: bool = False
    ) -> int:
        """Takes zeroed memory; returns its address.

        Args:
            size: The size in bytes.
            align: The address is a multiple of it, if `at` is None.
            at: The address. If None, there is room at the address that is chosen, and code and data
                are within reach of each other.
            executable: Whether it is for code; else it is for data, and writable.
        """
        if at is not None:
            self.map(at, size, write=not executable, execute=executable)
            return at
        start, end = self._arenas.get(executable, (0, 0))
        start += -start % align
        if start + size > end:
            start = self.room(_ARENA_SIZE + size)
            end = start + _ARENA_SIZE + size
            self.map(start, end - start, write=not executable, execute=executable)
            start += -start % align
        self._arenas[executable] = (start + size, end)
        return start

    def map(self, address: int, size: int, *, write: bool, execute: bool) -> None:
        """Maps whole pages for `size` bytes of zeroed memory at an address."""
        low, high = self.new_pages(address, size)
        protection = UC_PROT_READ | write * UC_PROT_WRITE | execute * UC_PROT_EXEC
        try:
            self.uc.mem_map(low, high - low, protection)
        except (UcError, OverflowError, ValueError):
            raise StaticCallError(f"cannot map {high - low:#x} bytes at {low:#x}") from None

    def new_pages(self, address: int, size: int) -> tuple[int, int]:
        """Where the pages to map for `size` bytes at an address begin and end.

        Raises StaticCallError if one of them is already mapped.
        """
        if not size:
            raise StaticCallError("nothing to map: no bytes")
        low, high = address & -PAGE, address + size + PAGE - 1 & -PAGE
        taken = [(start, end + 1) for start, end, _ in self.uc.mem_regions()]
        if any(start < high and low < end for start, end in taken):
            raise StaticCallError(f"there is memory already between {low:#x} and {high:#x}")
        return low, high

    def unmap(self, low: int, high: int) -> None:
        """Gives back pages that were mapped together, if they were."""
        if any((low, high) == (start, end + 1) for start, end, _ in self.uc.mem_regions()):
            self.uc.mem_unmap(low, high - low)

    def allow(self, page: int, *, write: bool, execute: bool) -> None:
        """Adds rights to the page at an address."""
        now = self._rights(page) or 0
        self.uc.mem_protect(page, PAGE, now | write * UC_PROT_WRITE | execute * UC_PROT_EXEC)

    def room(self, size: int) -> int:
        """The lowest address with `size` unmapped bytes; data and code lie close together."""
        start = _BOTTOM
        for low, high, _ in sorted(self.uc.mem_regions()):
            if start + size <= low:
                break
            start = max(start, high + 1)
        return start

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at an address; fewer where memory ends."""
        try:
            return bytes(self.uc.mem_read(address, size))
        except UcError:
            known = [
                high + 1 - address
                for low, high, _ in self.uc.mem_regions()
                if low <= address <= high
            ]
            return bytes(self.uc.mem_read(address, known[0])) if known and known[0] < size else b""

    def write(self, address: int, data: bytes) -> None:
        """Writes memory, read-only memory too. Raises EmulatorFault where none is mapped."""
        try:
            self.uc.mem_write(address, data)
        except UcError:
            raise EmulatorFault(f"no memory at {address:#x} to write to", address) from None
        if self.executable(address):
            self.uc.ctl_remove_cache(address, address + len(data))

    def resolve(self, name: str) -> int:
        """The address of a function by its name. Raises StaticCallError."""
        if name not in self.symbols:
            raise StaticCallError(f"no symbol {name} in the machine")
        return self.symbols[name]

    def executable(self, address: int, *, held: bool = False) -> bool:
        """Whether there is code at an address."""
        return any(
            low <= address <= high and protection & UC_PROT_EXEC
            for low, high, protection in self.uc.mem_regions()
        )

    def guarded(self, address: int) -> bool:
        """Whether an address is in an image marked for BTI, where landing pads are needed."""
        return any(address in pages for pages in self._guarded)

    def guard(self, pages: range) -> None:
        """Marks addresses as guarded: see guarded."""
        self._guarded.append(pages)

    def _rights(self, page: int) -> int | None:
        """The rights of a page; None if it is not mapped."""
        regions = self.uc.mem_regions()
        return next((rights for low, high, rights in regions if low <= page <= high), None)


@dataclass(frozen=True)
class Pages:
    """Pages used by one static call alone, whose address the caller chose.

    Attributes:
        memory: The memory that they are in.
        low: The address of the first page.
        high: The address after the last page.
    """

    memory: EmulatedMemory
    low: int
    high: int

    def give(self) -> None:
        """Unmaps them."""
        self.memory.unmap(self.low, self.high)
