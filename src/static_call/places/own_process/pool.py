"""Memory for trampolines, literals and keys: pieces of arenas, near where they are wanted."""

from __future__ import annotations

import ctypes
import os
from collections import OrderedDict
from collections.abc import Iterator, MutableSequence
from typing import Any, NamedTuple

from static_call.errors import StaticCallError
from static_call.locks import Lock, alone
from static_call.places.own_process import libc, maps

ARENA = 1 << 20
"""Bytes of an arena. Only the pages that are used take memory."""

REACH = (1 << 27) - ARENA
"""The least reach of a direct branch from any piece of an arena, counted from the arena's address:
B reaches 128 MiB (Arm ARM C6.2.26)."""

_PROT_READ, _PROT_WRITE, _PROT_EXEC, _PROT_BTI = 1, 2, 4, 0x10
_MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_FIXED_NOREPLACE = 0x02, 0x20, 0x100000
_ATTEMPTS = 8  # another thread may map something where there was room


class NoRoom(StaticCallError):
    """The kernel gives no more memory for trampolines."""


class Kind(NamedTuple):
    """Pieces of the same kind can be used for each other.

    Attributes:
        size: Their size in bytes.
        align: What their address is a multiple of.
    """

    size: int
    align: int


class Piece:
    """A piece of a pool. It belongs to the caller from the return of `take` until `give`.

    Attributes:
        address: Where it is.
        kind: Its size and alignment.
    """

    __slots__ = ("_pool", "address", "kind")

    address: int
    kind: Kind

    def __init__(self, pool: Pool, address: int, kind: Kind) -> None:
        self._pool, self.address, self.kind = pool, address, kind

    def give(self) -> None:
        """Gives it back, to be the last of its kind that is used again. Twice does nothing."""
        self._pool.give(self)


class Pool:
    """Memory with the same rights, never both writable and executable.

    An exception such as KeyboardInterrupt may come at any moment. Only `_owner` says who has a
    piece, and it changes by one store. The rest says where to look next, and may be out of date.
    """

    def __init__(
        self,
        *,
        executable: bool = False,
        writable: bool = False,
        guarded: bool = False,
    ) -> None:
        """A pool without memory yet.

        Args:
            executable: Whether it is for code.
            writable: Whether this process writes it.
            guarded: Whether indirect branches into it must land on a landing pad (PROT_BTI).
        """
        self._protection = _PROT_READ | (
            _PROT_EXEC * executable | _PROT_WRITE * writable | _PROT_BTI * guarded
        )
        self._lock = Lock()
        self._owner: dict[int, Piece] = {}
        # Addresses, the oldest first. A dict would be slow to find its first after many are gone.
        self._free: dict[Kind, OrderedDict[int, None]] = {}
        self._last: dict[int, tuple[int, Kind]] = {}  # by arena, the piece that was cut last

    def forked(self) -> None:
        """In the child of a fork: a thread that held the lock is not there."""
        self._lock = Lock()

    def ranges(self) -> Iterator[range]:
        """The addresses of its arenas."""
        for arena in list(self._last):
            yield range(arena, arena + ARENA)

    def take(
        self, size: int, align: int, near: int | None = None, *, into: MutableSequence[Any]
    ) -> int:
        """Takes a piece; returns its address. It holds zeros, or what was in it when given back.

        Args:
            size: Its size in bytes.
            align: What its address is a multiple of.
            near: An address that it should be within REACH of; it is further away if there is no
                room.
            into: The Piece is added to it before it is taken, so no exception can come between.

        Raises:
            NoRoom: The kernel gives no more memory.
        """
        kind = Kind(size, align)
        with alone(self._lock, "making or closing a static call"):
            address = self._find(kind, near)
            into.append(piece := Piece(self, address, kind))
            self._owner[address] = piece
            del self._free[kind][address]
        return address

    def give(self, piece: Piece) -> None:
        """Takes a piece back, if it was not given back before."""
        with alone(self._lock, "making or closing a static call"):
            if self._owner.get(piece.address) is piece:
                self._free[piece.kind][piece.address] = None
                del self._owner[piece.address]

    def unmap(self) -> None:
        """Gives all its memory back to the kernel. The caller must know that nobody uses it."""
        for arena in list(self._last):
            self._last.pop(arena)
            libc.munmap(arena, ARENA)

    def _find(self, kind: Kind, near: int | None) -> int:
        """A free piece's address; it is in `_free`."""
        if kind.size > ARENA:
            raise NoRoom(f"{kind.size} bytes are more than an arena of the pool has")
        self._free.setdefault(kind, OrderedDict())
        if near is not None:
            address = self._existing(kind, near)
            if address is None and self._map_near(near):
                address = self._existing(kind, near)
            if address is not None:
                return address
        # Anywhere, then: an arena that is out of reach of one address serves all that are.
        address = self._existing(kind, None)
        if address is None:
            self._map_anywhere()
            address = self._existing(kind, None)
        assert address is not None
        return address

    def _existing(self, kind: Kind, near: int | None) -> int | None:
        """A free piece in an arena that there is, within reach of `near`; None if there is none."""
        free = self._free[kind]
        for address in free:
            if near is None or _reaches(address & -ARENA, near):
                if address not in self._owner:
                    return address
                del free[address]  # the thread that took it was interrupted
                return self._existing(kind, near)
        for arena in reversed(self._last):
            if (near is None or _reaches(arena, near)) and self._cut(arena, kind):
                return self._last[arena][0]
        return None

    def _cut(self, arena: int, kind: Kind) -> bool:
        """Makes the next piece of an arena a free one; False if the arena has no room."""
        last, before = self._last[arena]
        if last not in self._owner and before.size:  # the thread that cut it was interrupted
            self._free[before].setdefault(last)
        start = -(-(last + before.size) // kind.align) * kind.align
        if start + kind.size > arena + ARENA:
            return False
        self._last[arena] = start, kind
        self._free[kind][start] = None
        return True

    def _map_near(self, near: int) -> bool:
        """Maps an arena within reach of an address; False if there is no room."""
        for _ in range(_ATTEMPTS):
            # The farthest piece of the arena must reach `near`, and somewhat further.
            where = maps.room(maps.mappings(), ARENA, near, REACH)
            if where is None:
                return False
            address = self._mmap(where, _MAP_FIXED_NOREPLACE)
            if address == where:
                self._last[where] = where, Kind(0, 1)
                return True
            if address is not None:  # a kernel before 4.17 takes it for a hint
                libc.munmap(address, ARENA)
        return False

    def _map_anywhere(self) -> None:
        """Maps an arena, aligned so that a piece's address gives its arena."""
        address = self._mmap_aligned()
        self._last[address] = address, Kind(0, 1)

    def _mmap(self, where: int, flags: int, size: int = ARENA) -> int | None:
        flags |= _MAP_PRIVATE | _MAP_ANONYMOUS
        return libc.mmap(where, size, self._protection, flags)

    def _mmap_aligned(self) -> int:
        address = self._mmap(0, 0, 2 * ARENA)
        if address is None:
            why = os.strerror(ctypes.get_errno())
            raise NoRoom(f"no memory for the pool of trampolines: mmap: {why}")
        start = -(-address // ARENA) * ARENA
        if start > address:
            libc.munmap(address, start - address)
        if (end := address + 2 * ARENA) > start + ARENA:
            libc.munmap(start + ARENA, end - start - ARENA)
        return start


def _reaches(arena: int, near: int) -> bool:
    return max(abs(arena - near), abs(arena + ARENA - near)) <= REACH
