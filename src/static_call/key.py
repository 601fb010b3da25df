"""A key: where a static call's current function is kept, and the lock of its updates.

A key of static_call.h has KEY_SIZE bytes: the function, the trampoline, the lock and padding, and
is written and read by C code too. Where there is no function, it holds the trampoline's address, so
that a loader relocates it. Linux's key (include/linux/static_call_types.h) begins with the function
as well, and holds 0 for none; what follows is not the trampoline, and it has no lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from static_call.design.design import RET0, Target
from static_call.design.retarget import Read
from static_call.errors import BadTarget, StaticCallError
from static_call.isa import a64

RETURN0 = "__static_call_return0"
"""Linux's function that returns 0. The key of a RET0 static call holds it, and it is the target of
a static call that is None or RET0 where the design has no form for that."""

KEY_SIZE = 24
"""Bytes of a key as in static_call.h."""

POINTER = 8
"""Bytes of the function and of the trampoline's address in a key."""

TRAMPOLINE, LOCK = 8, 16
"""Offsets in a key, in bytes; the function is at 0. The lock has 4 bytes: 0, or the id of the
thread that is in an update."""


class KeyStore(NamedTuple):
    """What an update stores into a key.

    Attributes:
        key: The key's address.
        function: The address of the function that it then holds.
        lock: The address of the 4 bytes that serialise the static call's updates, or None.
    """

    key: int
    function: int
    lock: int | None = None


def new_key(function: int, trampoline: int) -> bytes:
    """A key as in static_call.h that holds a function; its lock is free."""
    words = (function, trampoline, 0)
    return b"".join(word.to_bytes(POINTER, "little") for word in words)


def owner(key: int, read: Read) -> int:
    """What is in a key where static_call.h's has the address of its trampoline."""
    return int.from_bytes(read(key + TRAMPOLINE, POINTER), "little")


class Key:
    """The key of a trampoline, in memory.

    Attributes:
        address: The key's address.
    """

    def __init__(
        self,
        address: int,
        entry: int,
        read: Read,
        executable: Callable[[int], bool] | None,
        *,
        ours: bool | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            address: The key's address.
            entry: The address of its trampoline.
            read: Reads the memory that both are in.
            executable: Whether there is code at an address; None where nobody can say.
            ours: Whether it is a key of static_call.h; None to find out from the memory.
        """
        self.address = address
        self._entry, self._read, self._executable = entry, read, executable
        self._ours = ours

    @property
    def value(self) -> int:
        """The function that it holds; for one of static_call.h without a function, see null."""
        return int.from_bytes(self._read(self.address, POINTER), "little")

    @property
    def ours(self) -> bool:
        """Whether it is a key of static_call.h and of this trampoline: it has its address."""
        if self._ours is None:
            self._ours = self.leads_here(owner(self.address, self._read))
        return self._ours

    @property
    def null(self) -> int:
        """What it holds where there is no function: 0 in Linux's."""
        if not self.ours:
            return 0
        pointer = owner(self.address, self._read)
        return pointer if self.leads_here(pointer) else self._entry

    def holds(self, target: Target, resolve: Callable[[str], int]) -> int:
        """What it holds for a target. Raises BadTarget where that is RETURN0 and is not there."""
        if isinstance(target, int):
            return target
        if target is not RET0:
            return self.null
        try:
            return resolve(RETURN0)
        except StaticCallError as error:
            raise BadTarget(f"its key would point to {RETURN0}: {error}") from None

    def store(self, function: int) -> KeyStore:
        """The store of a function into it, under its lock if it has one."""
        return KeyStore(self.address, function, self.address + LOCK if self.ours else None)

    def leads_here(self, address: int) -> bool:
        """Whether an address is the trampoline's, or that of a branch to it, as in clang's CFI.

        Where nobody can say what is code, a word that is such a branch counts as one.
        """
        if address == self._entry:
            return True
        if address % a64.WORD or (self._executable and not self._executable(address)):
            return False
        data = self._read(address, a64.WORD)
        insn = a64.decode(int.from_bytes(data, "little"), address)
        return insn.name == "b" and insn["i"] == self._entry
