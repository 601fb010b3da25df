"""What is mapped into this process (/proc/self/maps), and where there is room for more."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from static_call.errors import StaticCallError

_LOWEST = 1 << 16  # vm.mmap_min_addr is at most this


class NoProc(StaticCallError):
    """/proc/self cannot be read."""


class Mapping(NamedTuple):
    """One line of /proc/self/maps.

    Attributes:
        start: Its first address.
        end: The address after its last byte.
        permissions: As in "r-xp".
        offset: Where it begins in the file, in bytes.
        path: The file's path, "[heap]" and the like, or ""; a line feed in it is written \\012.
        device: The file system's device, as "08:01".
        inode: The file's inode; 0 if there is no file.
    """

    start: int
    end: int
    permissions: str
    offset: int
    path: str
    device: str = ""
    inode: int = 0

    @property
    def file(self) -> tuple[str, int, str]:
        """What distinguishes its file from others."""
        return self.device, self.inode, self.path

    def __contains__(self, address: object) -> bool:
        """Whether an address is in it."""
        return isinstance(address, int) and self.start <= address < self.end


def mappings() -> list[Mapping]:
    """The mappings of this process in order of address. Raises NoProc."""
    found = []
    for line in _lines("maps"):
        fields = line.split(None, 5)
        start, end = fields[0].split("-")
        path = fields[5].rstrip("\n") if len(fields) > 5 else ""
        found.append(
            Mapping(
                int(start, 16), int(end, 16), fields[1], int(fields[2], 16), path, fields[3],
                int(fields[4]),
            )
        )  # fmt: skip
    return found


def executable(known: Sequence[Mapping], address: int) -> bool:
    """Whether there is code at an address, given all mappings in order of address."""
    number = bisect_right(known, address, key=attrgetter("start")) - 1
    return number >= 0 and address < known[number].end and "x" in known[number].permissions


def guarded(address: int) -> bool:
    """Whether an indirect branch to an address needs a landing pad: its page has `bt` in smaps.

    Raises NoProc.
    """
    inside = False
    for line in _lines("smaps"):
        head, _, rest = line.rstrip().partition(" ")  # qemu-user may give no flags, and no space
        if head == "VmFlags:":
            if inside:
                return "bt" in rest.split()
        elif not head.endswith(":"):
            start, end = head.split("-")
            inside = int(start, 16) <= address < int(end, 16)
    return False


def room(taken: Sequence[Mapping], size: int, near: int, reach: int) -> int | None:
    """The closest room for a mapping: its address, or None if there is none.

    Args:
        taken: All mappings, in order of address.
        size: Bytes of room; the address will be a multiple of it.
        near: The address that it should be close to.
        reach: How far from `near` the room may begin and end, in bytes.
    """
    best: int | None = None
    low = _LOWEST
    for high, end in [*((one.start, one.end) for one in taken), (1 << 47, 0)]:
        # In the gap from low to high, the address closest to `near`.
        start = -(-max(low, min(near, high - size)) // size) * size
        if start + size > high:
            start -= size
        if start >= low and start + size <= high:
            farthest = max(abs(start - near), abs(start + size - near))
            if farthest <= reach and (best is None or abs(start - near) < abs(best - near)):
                best = start
        low = end
    return best


def _lines(name: str) -> list[str]:
    try:
        # A carriage return in a path does not end the line.
        with open(
            f"/proc/self/{name}", encoding="utf-8", errors="surrogateescape", newline="\n"
        ) as file:
            return file.readlines()
    except OSError as error:
        raise NoProc(f"cannot read /proc/self/{name}: {error.strerror}") from None
