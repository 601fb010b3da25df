"""This process's memory: read and written through /proc, and what is code in it.

Text is readable and executable, and never writable: the kernel writes it, through /proc/self/mem.
"""

from __future__ import annotations

import ctypes
import os

from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.places import descriptors
from static_call.places.own_process import foreign, libc, maps

_MEMORY = "/proc/thread-self/mem"  # not /proc/self, which has no memory once its thread has ended
_READ, _WRITE, _EXEC = 1, 2, 4
_HWCAP2_BTI, _HWCAP2_MOPS = 1 << 17, 1 << 43  # arch/arm64/include/uapi/asm/hwcap.h


class NotHere(StaticCallError):
    """The kernel or the process's configuration lacks something that static calls need."""


class UpdateFailed(StaticCallError):
    """The kernel refused a step of an update; the text says what was changed."""


class ProcessMemory:
    """The memory of this process, and the symbols and the code in it.

    Attributes:
        weak: Whether updates cause no context synchronisation event on other CPUs.
        translated: Whether this is user-mode emulation by qemu-user.
    """

    def __init__(self, *, weak: bool) -> None:
        """Opens nothing yet. Raises NotHere on a CPU where a store may be torn."""
        self.weak: bool = weak
        self.translated: bool = False
        capabilities = libc.capabilities()
        check_capabilities(capabilities)
        self._bti = bool(capabilities & _HWCAP2_BTI)
        self._memory = descriptors.Held(_MEMORY)
        self._symbols: dict[str, int] = {}
        self._maps: list[maps.Mapping] = []
        self._guarded: dict[int, bool] = {}  # pages, for as long as _maps holds

    def fd(self) -> int:
        """A file descriptor of this process's memory. Raises NotHere."""
        try:
            return self._memory.fileno()
        except OSError as error:
            raise NotHere(
                f"cannot open {_MEMORY}: {error.strerror}; "
                "text is written through it: mount /proc, or allow it"
            ) from None

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at an address; fewer where memory ends."""
        try:
            return os.pread(self.fd(), size, address) if 0 <= address < 1 << 63 else b""
        except OSError:
            return b""

    def executable(self, address: int, *, held: bool = False) -> bool:
        """Whether there is code at an address.

        Args:
            address: The address.
            held: Whether an object keeps it mapped, so that what /proc said earlier still holds.
        """
        if held and maps.executable(self._maps, address):
            return True
        if (now := maps.mappings()) != self._maps:
            self._maps, self._guarded = now, {}
        if self.translated and held:
            # qemu-user's maps lack some mappings, and show others with a neighbour's rights.
            return bool(self.read(address, a64.WORD))
        return maps.executable(self._maps, address)

    def guarded(self, address: int) -> bool:
        """Whether the page of an address is guarded, on a CPU with FEAT_BTI."""
        if not self._bti:
            return False
        known, page = self._guarded, address & -os.sysconf("SC_PAGESIZE")
        if page not in known:
            known[page] = maps.guarded(address)
        return known[page]

    def resolve(self, name: str) -> int:
        """The address of a symbol: a function made here, or else what dlsym finds.

        For the symbol of a certain library give `library.function`. Raises StaticCallError.
        """
        if name in self._symbols:
            return self._symbols[name]
        try:
            return foreign.address(getattr(libc.LIBC, name))
        except AttributeError:
            raise StaticCallError(f"no symbol {name} that dlsym finds in this process") from None

    def _store(self, address: int, data: bytes) -> None:
        """Writes new memory, which is not in use yet; the kernel maintains caches.

        Raises UpdateFailed.
        """
        try:
            done = os.pwrite(self.fd(), data, address)
        except OSError as error:
            raise UpdateFailed(
                f"cannot write to text through /proc/self/mem: {error.strerror}; "
                "the kernel may forbid it (boot with proc_mem.force_override=always)"
            ) from None
        if done != len(data):
            raise UpdateFailed(f"only {done} of {len(data)} bytes were written at {address:#x}")

    def _register(self) -> None:
        """Registers for membarrier; a second time does nothing. Raises NotHere."""
        if libc.membarrier(libc.REGISTER_SYNC_CORE):
            why = os.strerror(ctypes.get_errno())
            raise NotHere(
                f"membarrier PRIVATE_EXPEDITED_SYNC_CORE: {why}; without it a thread may start a "
                "former target at any time after an update: OwnProcess(weak=True) accepts that"
            )

    def _barrier(self) -> None:
        """A context synchronisation event on every CPU that runs a thread of this process."""
        if not self.weak and libc.membarrier(libc.SYNC_CORE):
            raise NotHere(f"membarrier: {os.strerror(ctypes.get_errno())}")

    def _retranslate(self, addresses: set[int]) -> None:
        """Makes qemu-user drop its translation of pages, which it does when they become writable.

        It does not check that a page is executable then, so other threads see no gap.
        """
        size = os.sysconf("SC_PAGESIZE")
        for page in {address & -size for address in addresses}:
            for rights in (_READ | _WRITE | _EXEC, _READ | _EXEC):
                libc.mprotect(page, size, rights)


def check_capabilities(capabilities: int) -> None:
    """Refuses a CPU on which the kernel's stores may be torn.

    Args:
        capabilities: AT_HWCAP2.

    Raises:
        NotHere: The CPU has FEAT_MOPS.
    """
    if capabilities & _HWCAP2_MOPS:
        raise NotHere(
            "the CPU has FEAT_MOPS: newer kernels copy with it, so a write to text may not be one "
            "store; boot with arm64.nomops to do without it"
        )
