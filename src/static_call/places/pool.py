"""Memory for trampolines, literals and keys: pieces of arenas, near to where they are wanted."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Iterator

from static_call.errors import StaticCallError
from static_call.places import maps

ARENA = 1 << 20
"""Bytes of an arena. Only the pages that are used take memory."""

REACH = (1 << 27) - ARENA
"""How far from an arena a direct branch out of any piece of it gets, at least (FACTS: 128 MiB)."""

_PROT_READ, _PROT_WRITE, _PROT_EXEC, _PROT_BTI = 1, 2, 4, 0x10
_MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_FIXED_NOREPLACE = 0x02, 0x20, 0x100000
_ATTEMPTS = 8  # another thread may map something where there was room

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


class NoRoom(StaticCallError):
    """The kernel gives no more memory for trampolines."""


class Pool:
    """Memory of one kind, which is never writable and executable."""

    def __init__(
        self,
        *,
        executable: bool = False,
        writable: bool = False,
        guarded: bool = False,
    ) -> None:
        """A pool without memory yet.

        guarded  whether indirect branches into it must land on a pad (PROT_BTI)
        """
        self._protection = _PROT_READ | (
            _PROT_EXEC * executable | _PROT_WRITE * writable | _PROT_BTI * guarded
        )
        self._arenas: list[int] = []
        self._next: dict[int, int] = {}  # where in an arena the untouched memory begins
        self._given: dict[tuple[int, int], deque[int]] = {}

    def ranges(self) -> Iterator[range]:
        """The addresses of its arenas."""
        for arena in self._arenas:
            yield range(arena, arena + ARENA)

    def take(self, size: int, align: int, near: int | None = None) -> int:
        """`size` bytes, a multiple of `align`, within REACH of `near` where that can be had.

        They are zeros, or what was given back. Raises NoRoom.
        """
        given = self._given.get((size, align), deque())
        for address in given:
            if near is None or _reaches(address & -ARENA, near):
                given.remove(address)
                return address
        for arena in reversed(self._arenas):
            reaches = near is None or _reaches(arena, near)
            if reaches and (cut := self._cut(arena, size, align)) is not None:
                return cut
        cut = self._cut(self._map(near, size), size, align)
        assert cut is not None
        return cut

    def give(self, address: int, size: int, align: int) -> None:
        """Takes a piece back. It will be the last of its kind to be used again."""
        self._given.setdefault((size, align), deque()).append(address)

    def _cut(self, arena: int, size: int, align: int) -> int | None:
        start = -(-self._next[arena] // align) * align
        if start + size > arena + ARENA:
            return None
        self._next[arena] = start + size
        return start

    def _map(self, near: int | None, size: int) -> int:
        if size > ARENA:
            raise NoRoom(f"{size} bytes are more than an arena of the pool has")
        address = None
        for _ in range(_ATTEMPTS if near is not None else 0):
            # The farthest piece of the arena has to reach `near`, and somewhat further.
            where = maps.room(maps.mappings(), ARENA, near or 0, REACH)
            if where is None:
                break
            address = self._mmap(where, _MAP_FIXED_NOREPLACE)
            if address == where:
                break
            if address is not None:  # a kernel before 4.17 takes it for a hint
                _libc.munmap(address, ARENA)
                address = None
        if address is None:
            # Far: anywhere. Aligned, so that pieces know their arena.
            address = self._mmap_aligned()
        self._arenas.append(address)
        self._next[address] = address
        return address

    def _mmap(self, where: int, flags: int, size: int = ARENA) -> int | None:
        flags |= _MAP_PRIVATE | _MAP_ANONYMOUS
        address: int | None = _libc.mmap(where, size, self._protection, flags, -1, 0)
        return None if address == _FAILED else address

    def _mmap_aligned(self) -> int:
        address = self._mmap(0, 0, 2 * ARENA)
        if address is None:
            why = os.strerror(ctypes.get_errno())
            raise NoRoom(f"no memory for the pool of trampolines: mmap: {why}")
        start = -(-address // ARENA) * ARENA
        if start > address:
            _libc.munmap(address, start - address)
        if (end := address + 2 * ARENA) > start + ARENA:
            _libc.munmap(start + ARENA, end - start - ARENA)
        return start


def _reaches(arena: int, near: int) -> bool:
    return max(abs(arena - near), abs(arena + ARENA - near)) <= REACH
