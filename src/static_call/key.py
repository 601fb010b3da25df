"""A key: where a static call's current function is kept, and the lock of its updates.

A key of static_call.h has KEY_SIZE bytes: the function, the trampoline, the lock, and a word for
those who wait for the lock. C code reads and writes keys too. Without a function, a key holds the
trampoline's address instead, so that a loader relocates it. Linux's key, as declared in
include/linux/static_call_types.h, also begins with the function, and holds 0 if there is none; it
has no trampoline and no lock.
"""

from __future__ import annotations

from collections.abc import Callable

from static_call.design.target import RET0, Target
from static_call.errors import BadTarget, StaticCallError
from static_call.isa import a64
from static_call.isa.isa import Read
from static_call.records import NamedTuple

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

    @property
    def data(self) -> bytes:
        """The bytes that are stored at the key's address."""
        return self.function.to_bytes(POINTER, "little")


def new_key(function: int, trampoline: int) -> bytes:
    """The bytes of a new key as in static_call.h: it holds a function, and its lock is free."""
    words = (function, trampoline, 0)
    return b"".join(word.to_bytes(POINTER, "little") for word in words)


def owner(key: int, read: Read) -> int:
    """The address in a key where static_call.h's keys have their trampoline."""
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
            executable: Whether there is code at an address; None if the place cannot say.
            ours: Whether it is a key of static_call.h; None to find out from memory.
        """
        self.address: int = address
        self._entry, self._read, self._executable = entry, read, executable
        self._ours = ours

    @property
    def value(self) -> int:
        """The function that it holds, or what it holds instead of one: see null."""
        return int.from_bytes(self._read(self.address, POINTER), "little")

    @property
    def ours(self) -> bool:
        """Whether it is a key of static_call.h for this trampoline: it holds its address."""
        if self._ours is None:
            self._ours = self.leads_here(owner(self.address, self._read))
        return self._ours

    @property
    def null(self) -> int:
        """What it holds instead of a function when there is none: Linux's keys hold 0."""
        if not self.ours:
            return 0
        pointer = owner(self.address, self._read)
        return pointer if self.leads_here(pointer) else self._entry

    def holds(self, target: Target, resolve: Callable[[str], int]) -> int:
        """What it holds for a target. Raises BadTarget if that is RETURN0 and there is none."""
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
        """Whether an address is the trampoline's, or that of a branch to it, as clang's CFI makes.

        If the place cannot say what is code, any word that encodes such a branch counts.
        """
        if address == self._entry:
            return True
        if address % a64.WORD or (self._executable and not self._executable(address)):
            return False
        data = self._read(address, a64.WORD)
        insn = a64.decode(int.from_bytes(data, "little"), address)
        return insn.name == "b" and insn["i"] == self._entry
